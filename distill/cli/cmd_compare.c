/* distill/cli/cmd_compare.c - KL, top-1 agreement and perplexity of two models on the same text. Leans on measure.h. */
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
    {"max-kl", 0, KD_OPT_FLOAT, "X", NULL, "exit 1 if the mean KL is above X nats", "Check", .min = 0, .max = 1e9},
    {0}};

static kd_code print(kd_cli *cli, const kd_comparison *r, kd_err *e) {
    if (!cli->json) return kd_measure_print(cli, r);
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    kd_measure_json(w, r);
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_loaded a = {0}, b = {0};
    kd_chat *chat = NULL;
    kd_measure_rows r = {.limit = (uint64_t)kd_opt_int(cli, "limit")};
    kd_comparison result;
    const char *data = kd_opt_string(cli, "data");
    if (!data) return kd_fail(e, KD_EINVAL, "compare: --data FILE is needed");
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
    if (!c) c = print(cli, &result, e);
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
