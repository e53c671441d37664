/* distill/cli/cmd_compare.c - KL, top-1 agreement and perplexity of two models on the same text. Leans on convert/compare.h, datasets/render.h. */
#include "convert/compare.h"
#include "datasets/render.h"
#include "distill/base/clock.h"
#include "distill/base/gz.h"
#include "distill/cli/cli.h"
#include "distill/model/loaded.h"

#include <stdio.h>
#include <string.h>

static const kd_opt options[] = {
    {"data", 0, KD_OPT_PATH, "FILE", NULL, "text to measure on: .jsonl lines of text, messages, prompt/completion or tokens; any other file is one text", "Input"},
    {"context", 0, KD_OPT_INT, "N", "512", "tokens of a window", "Input", .min = 2, .max = 1e9},
    {"limit", 0, KD_OPT_INT, "N", "16384", "tokens at most; 0 = all", "Input", .min = 0, .max = 1e15},
    {"all-tokens", 0, KD_OPT_FLAG, NULL, NULL, "measure on prompts too, not only on what an assistant said", "Input"},
    {"adapter-a", 0, KD_OPT_PATH, "DIR", NULL, "an adapter on A", "Models"},
    {"adapter-b", 0, KD_OPT_PATH, "DIR", NULL, "an adapter on B", "Models"},
    {"fast", 0, KD_OPT_FLAG, NULL, NULL, "8-bit activations in both", "Models"},
    {"fast-b", 0, KD_OPT_FLAG, NULL, NULL, "8-bit activations in B alone: with A = B, the price of that arithmetic", "Models"},
    {"max-kl", 0, KD_OPT_FLOAT, "X", NULL, "exit 1 if the mean KL is above X nats", "Check", .min = 0, .max = 1e9},
    {0}};

typedef struct {
    kd_lesson *at; /* tokens, and loss where it is known */
    size_t n, cap;
    uint64_t tokens, limit;
} rows;

static void clear_rows(rows *r) {
    for (size_t i = 0; i < r->n; i++)
        kd_lesson_clear(&r->at[i]);
    kd_free(r->at);
}

/* Takes the lesson, cut to what is left of the limit. */
static kd_code add(rows *r, kd_lesson *l, kd_err *e) {
    if (r->limit && l->n > r->limit - r->tokens)
        l->n = (size_t)(r->limit - r->tokens);
    if (l->n < 2) {
        kd_lesson_clear(l);
        return KD_OK;
    }
    if (kd_grow((void **)&r->at, &r->cap, r->n + 1, sizeof *r->at)) {
        kd_lesson_clear(l);
        return kd_fail(e, KD_ENOMEM, "compare: out of memory");
    }
    r->tokens += l->n;
    r->at[r->n++] = *l;
    return KD_OK;
}

static kd_code add_text(rows *r, const kd_tokenizer *t, kd_str text, kd_err *e) {
    kd_ids ids = {0};
    kd_code c = kd_tokenizer_encode(t, &ids, text.data, text.len, KD_TOK_ADD_SPECIAL, e);
    kd_lesson l = {.tokens = ids.id, .n = ids.n};
    if (c)
        kd_ids_clear(&ids);
    return c ? c : add(r, &l, e);
}

static kd_code add_line(rows *r, const kd_render *render, const kd_json_node *o, bool all, kd_err *e) {
    kd_str text = kd_json_string(kd_json_get(o, "text"));
    if (text.data)
        return add_text(r, render->tokenizer, text, e);
    kd_lesson l = {0};
    kd_render_counts counts = {0};
    kd_code c = kd_render_lesson(&l, NULL, &counts, render, o, e);
    if (!c && all)
        kd_free(l.loss), l.loss = NULL;
    return c ? c : add(r, &l, e);
}

static kd_code read_rows(rows *r, const char *path, const kd_render *render, bool all, kd_err *e) {
    kd_str p = kd_str_of(path);
    kd_buf whole = {0};
    kd_lines *lines;
    kd_code c;
    if (!kd_str_ends(p, ".jsonl") && !kd_str_ends(p, ".jsonl.gz")) {
        if (!(c = kd_file_read(&whole, path, (size_t)1 << 31, e)))
            c = add_text(r, render->tokenizer, kd_buf_view(&whole), e);
        kd_buf_clear(&whole);
        return c;
    }
    if ((c = kd_lines_open(&lines, path, e)))
        return c;
    for (bool more = true; !c && more && (!r->limit || r->tokens < r->limit);) {
        kd_str line;
        char what[300];
        kd_json *doc = NULL;
        if ((c = kd_lines_next(lines, &line, &more, e)) || !more)
            break;
        if (!line.len)
            continue;
        snprintf(what, sizeof what, "%s:%zu", path, kd_lines_number(lines));
        if (!(c = kd_json_parse(&doc, line.data, line.len, what, e)))
            c = add_line(r, render, kd_json_root(doc), all, e);
        kd_json_free(doc);
    }
    kd_lines_close(lines);
    return c;
}

/* Both must mean the same by an id. */
static kd_code same_vocabulary(const kd_loaded *a, const kd_loaded *b, kd_err *e) {
    if (a->model->config.V != b->model->config.V)
        return kd_fail(e, KD_EFORMAT, "compare: %s has %u rows of logits, %s has %u: they do not speak of the same tokens", a->source.path, a->model->config.V, b->source.path,
                       b->model->config.V);
    size_t n = kd_tokenizer_size(a->tokenizer), m = kd_tokenizer_size(b->tokenizer);
    for (size_t i = 0; i < n && i < m; i++) {
        kd_token x = kd_tokenizer_token(a->tokenizer, (int32_t)i), y = kd_tokenizer_token(b->tokenizer, (int32_t)i);
        if (x.text.data && y.text.data && !kd_str_eq(x.text, y.text))
            return kd_fail(e, KD_EFORMAT, "compare: token %zu is '%.40s' in %s and '%.40s' in %s", i, x.text.data, a->source.path, y.text.data, b->source.path);
    }
    return KD_OK;
}

static kd_code print(kd_cli *cli, const kd_comparison *r, kd_err *e) {
    if (!cli->json)
        return kd_out(cli,
                      "tokens     %llu\nKL(A||B)   mean %.6f  median %.6f  99%% %.6f  max %.6f nats\ntop-1      %.2f %% the same\nperplexity A %.4f  B %.4f\n",
                      (unsigned long long)r->tokens, r->kl_mean, r->kl_median, r->kl_p99, r->kl_max, 100 * r->top1, r->ppl_a, r->ppl_b);
    const struct {
        const char *key;
        double v;
    } f[] = {{"kl_mean", r->kl_mean}, {"kl_median", r->kl_median}, {"kl_p99", r->kl_p99}, {"kl_max", r->kl_max},       {"top1", r->top1},
             {"ppl_a", r->ppl_a},     {"ppl_b", r->ppl_b},         {"seconds_a", r->seconds_a}, {"seconds_b", r->seconds_b}};
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    for (size_t i = 0; i < sizeof f / sizeof *f; i++)
        kd_jsonw_key(w, f[i].key), kd_jsonw_double(w, f[i].v);
    kd_jsonw_key(w, "tokens"), kd_jsonw_int(w, (int64_t)r->tokens);
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code measure(kd_cli *cli, kd_comparison *out, const kd_loaded *a, const kd_loaded *b, const rows *r, kd_err *e) {
    kd_pool *pool;
    kd_scorer *sa = NULL, *sb = NULL;
    bool fast = kd_opt_flag(cli, "fast");
    kd_compare_row *views = kd_calloc(r->n + 1, sizeof *views);
    kd_code c = views ? kd_cli_pool(cli, &pool, e) : kd_fail(e, KD_ENOMEM, "compare: out of memory");
    for (size_t i = 0; !c && i < r->n; i++)
        views[i] = (kd_compare_row){r->at[i].tokens, r->at[i].loss, r->at[i].n};
    if (!c)
        c = kd_scorer_new(&sa, a->model, a->adapter, &(kd_score_options){.fast = fast}, pool, e);
    if (!c)
        c = kd_scorer_new(&sb, b->model, b->adapter, &(kd_score_options){.fast = fast || kd_opt_flag(cli, "fast-b")}, pool, e);
    if (!c)
        c = kd_compare(out, sa, sb, a->model->config.V, views, r->n, (size_t)kd_opt_int(cli, "context"), cli->watch, e);
    kd_scorer_free(sa);
    kd_scorer_free(sb);
    kd_free(views);
    return c;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_loaded a = {0}, b = {0};
    kd_chat *chat = NULL;
    rows r = {.limit = (uint64_t)kd_opt_int(cli, "limit")};
    kd_comparison result;
    const char *data = kd_opt_string(cli, "data");
    if (!data)
        return kd_fail(e, KD_EINVAL, "compare: --data FILE is needed");
    kd_code c = kd_load(&a, cli->args[0], kd_opt_string(cli, "adapter-a"), KD_LOAD_ALL, e);
    if (!c)
        c = kd_load(&b, cli->args[1], kd_opt_string(cli, "adapter-b"), KD_LOAD_ALL, e);
    if (!c)
        c = same_vocabulary(&a, &b, e);
    if (!c)
        c = kd_chat_open(&chat, a.source.path, NULL, e);
    if (!c)
        c = read_rows(&r, data, &(kd_render){.chat = chat, .tokenizer = a.tokenizer, .now = kd_unix_ms() / 1000}, kd_opt_flag(cli, "all-tokens"), e);
    if (!c)
        c = measure(cli, &result, &a, &b, &r, e);
    if (!c)
        c = print(cli, &result, e);
    if (!c && kd_opt_given(cli, "max-kl") && result.kl_mean > kd_opt_float(cli, "max-kl"))
        c = kd_fail(e, KD_ECHECK, "compare: mean KL %.6f is above --max-kl %g", result.kl_mean, kd_opt_float(cli, "max-kl"));
    clear_rows(&r);
    kd_chat_free(chat);
    kd_unload(&a);
    kd_unload(&b);
    return c;
}

const kd_cmd kd_cmd_compare = {
    .name = "compare",
    .help = "what B lost against A: KL, top-1 agreement, perplexity",
    .usage = "A B --data FILE",
    .about = "Both models read the same tokens, in f32 arithmetic unless --fast. A line of messages or prompt/completion is rendered as training would, and\n"
             "measured where an assistant speaks.",
    .opts = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
