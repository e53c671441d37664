/* distill/cli/cmd_compare.c - KL, top-1 agreement and perplexity of two models on the same text. Leans on measure.h. */
#include "convert/inspect.h"
#include "distill/base/clock.h"
#include "distill/cli/measure.h"

static const kd_opt options[] = {
    {"data", 0, KD_OPT_PATH, "FILE", NULL,
     "what to measure on: a study, .jsonl lines of text, messages, prompt/completion or tokens; any other file is one text", "Input"},
    {"context", 0, KD_OPT_INT, "N", "512", "tokens of a window", "Input", .min = 2, .max = 1e9},
    {"limit", 0, KD_OPT_INT, "N", "16384", "tokens at most; 0 = all", "Input", .min = 0, .max = 1e15},
    {"all-tokens", 0, KD_OPT_FLAG, NULL, NULL, "measure on prompts too, not only on what an assistant said", "Input"},
    {"adapter-a", 0, KD_OPT_PATH, "DIR", NULL, "an adapter on A", "Models"},
    {"adapter-b", 0, KD_OPT_PATH, "DIR", NULL, "an adapter on B", "Models"},
    {"fast", 0, KD_OPT_FLAG, NULL, NULL, "8-bit activations in both", "Models"},
    {"fast-b", 0, KD_OPT_FLAG, NULL, NULL, "8-bit activations in B alone: with A = B, the price of that arithmetic", "Models"},
    {"fast-error", 0, KD_OPT_FLAG, NULL, "true", "measure on the first tokens what 8-bit activations cost A, unless --fast", "Models"},
    {"tensor-errors", 0, KD_OPT_FLAG, NULL, NULL,
     "how far each tensor of B is from A's: largest difference, and root of squares relative to A's", "Check"},
    {"max-kl", 0, KD_OPT_FLOAT, "X", NULL, "exit 1 if the mean KL is above X nats", "Check", .min = 0, .max = 1e9},
    {0}};

enum { FAST_TOKENS = 2048 }; /* that the price of 8-bit activations is measured on: it costs a second pass in f32 */

/* A in f32 against A in 8-bit activations, on the first rows. */
static kd_code fast_error(kd_cli *cli, kd_comparison *out, const kd_loaded *a, const kd_measure_rows *all, size_t window, kd_err *e) {
    kd_measure_rows r = *all; /* a view */
    uint64_t tokens = 0;
    for (r.n = 0; r.n < all->n && tokens < FAST_TOKENS; r.n++) tokens += all->at[r.n].n;
    size_t last = r.n ? all->at[r.n - 1].n : 0;
    if (tokens > FAST_TOKENS && tokens - FAST_TOKENS + 2 <= last) all->at[r.n - 1].n = last - (size_t)(tokens - FAST_TOKENS);
    kd_code c = kd_measure(cli, out, a, a, &r, &(kd_measure_options){.window = window, .fast_b = true}, e);
    if (r.n) all->at[r.n - 1].n = last;
    return c;
}

/* The tensors that differ, as kd_inspect_diff lists them. */
static kd_code tensor_errors(kd_json **out, kd_cli *cli, kd_err *e) {
    kd_pool *pool;
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    bool same;
    kd_code c = kd_cli_pool(cli, &pool, e);
    if (!c) c = kd_inspect_diff(&w, cli->args[0], cli->args[1], pool, &same, e);
    if (!c) c = kd_json_parse(out, b.data, b.len, "tensor errors", e);
    kd_buf_clear(&b);
    return c;
}

static kd_code print(kd_cli *cli, const kd_comparison *r, const kd_comparison *fast, const kd_json_node *list, kd_err *e) {
    if (!cli->json) {
        kd_code c = kd_measure_print(cli, r);
        for (const kd_json_node *n = kd_json_first(list); n && !c; n = kd_json_next(n))
            c = kd_out(cli, "  %-44s %-6s %-6s largest %.4g, relative %.4g\n", kd_json_string(kd_json_get(n, "name")).data,
                       kd_json_string(kd_json_get(n, "a")).data, kd_json_string(kd_json_get(n, "b")).data,
                       kd_json_number(kd_json_get(n, "max_abs"), 0), kd_json_number(kd_json_get(n, "relative"), 0));
        return c || !fast
                   ? c
                   : kd_out(cli, "8-bit A    KL to its f32 %.6f nats, top-1 %.2f %% the same, perplexity %.4f and %.4f, on %llu tokens\n",
                            fast->kl_mean, 100 * fast->top1, fast->ppl_a, fast->ppl_b, (unsigned long long)fast->tokens);
    }
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    kd_measure_json(w, r);
    if (list) kd_jsonw_key(w, "tensor_errors"), kd_jsonw_node(w, list);
    if (fast) {
        kd_jsonw_key(w, "fast_kl_mean"), kd_jsonw_double(w, fast->kl_mean);
        kd_jsonw_key(w, "fast_top1"), kd_jsonw_double(w, fast->top1);
        kd_jsonw_key(w, "fast_ppl"), kd_jsonw_double(w, fast->ppl_b);
        kd_jsonw_key(w, "fast_tokens"), kd_jsonw_int(w, (int64_t)fast->tokens);
    }
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_loaded a = {0}, b = {0};
    kd_chat *chat = NULL;
    kd_measure_rows r = {.limit = (uint64_t)kd_opt_int(cli, "limit")};
    kd_comparison result = {0}, fast;
    kd_json *errors = NULL;
    const char *data = kd_opt_string(cli, "data");
    if (!data) return kd_fail(e, KD_EINVAL, "compare: --data FILE is needed");
    if (kd_opt_flag(cli, "tensor-errors") && (kd_opt_string(cli, "adapter-a") || kd_opt_string(cli, "adapter-b")))
        return kd_fail(e, KD_EINVAL, "compare: --tensor-errors looks at stored weights: merge the adapter first (distill convert)");
    kd_code c = kd_load(&a, cli->args[0], kd_opt_string(cli, "adapter-a"), KD_LOAD_ALL, e);
    if (!c) c = kd_load(&b, cli->args[1], kd_opt_string(cli, "adapter-b"), KD_LOAD_ALL, e);
    if (!c) c = kd_measure_same_words(&a, &b, e);
    if (!c) c = kd_chat_open(&chat, a.source.path, NULL, e);
    if (!c)
        c = kd_measure_read(&r, data, &(kd_render){.chat = chat, .tokenizer = a.tokenizer, .now = kd_unix_ms() / 1000},
                            kd_opt_flag(cli, "all-tokens"), e);
    if (!c)
        c = kd_measure(cli, &result, &a, &b, &r,
                       &(kd_measure_options){(size_t)kd_opt_int(cli, "context"), kd_opt_flag(cli, "fast"),
                                             kd_opt_flag(cli, "fast") || kd_opt_flag(cli, "fast-b")},
                       e);
    bool price = !kd_opt_flag(cli, "fast") && !kd_opt_flag(cli, "fast-b") && kd_opt_flag(cli, "fast-error");
    if (!c && price) c = fast_error(cli, &fast, &a, &r, (size_t)kd_opt_int(cli, "context"), e);
    if (c == KD_EINVAL && price && result.tokens) c = KD_OK, price = false, kd_err_clear(e); /* none of the first tokens counts */
    if (!c && kd_opt_flag(cli, "tensor-errors")) c = tensor_errors(&errors, cli, e);
    if (!c) c = print(cli, &result, price ? &fast : NULL, errors ? kd_json_get(kd_json_root(errors), "different") : NULL, e);
    kd_json_free(errors);
    if (!c && kd_opt_given(cli, "max-kl") && result.kl_mean > kd_opt_float(cli, "max-kl"))
        c = kd_fail(e, KD_ECHECK, "compare: mean KL %.6f is above --max-kl %g", result.kl_mean, kd_opt_float(cli, "max-kl"));
    kd_measure_clear(&r);
    kd_chat_free(chat);
    kd_unload(&a);
    kd_unload(&b);
    return c;
}

const kd_cmd kd_cmd_compare = {
    .name = "compare",
    .help = "what B lost against A: KL, top-1 agreement, perplexity",
    .usage = "A B --data FILE",
    .about = "Both models read the same tokens, in f32 arithmetic unless --fast. A line of messages or prompt/completion is rendered as "
             "training would, and\n"
             "measured where an assistant speaks.",
    .opts = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
