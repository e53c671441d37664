/* distill/cli/cmd_bench.c - speed of prefill and decode, as llama-bench and llama-batched-bench measure it. Leans on engine/engine.h.
 * A point: B sequences of different random tokens. Prefill is the time until every prompt has given its first token; decode asks the same prompts
 * again, which the engine has kept, for --generate tokens each. */
#include "distill/base/clock.h"
#include "distill/base/rng.h"
#include "distill/cli/cli.h"
#include "distill/engine/engine.h"
#include "distill/model/loaded.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const kd_opt options[] = {
    {"model", 'm', KD_OPT_PATH, "PATH", NULL, "the model: a folder, a .gguf, a run", "Model"},
    {"adapter", 0, KD_OPT_PATH, "DIR", NULL, "an adapter on it (PEFT folder or run)", "Model"},
    {"exact", 0, KD_OPT_FLAG, NULL, NULL, "f32 arithmetic instead of 8-bit activations", "Model"},
    {"repack", 0, KD_OPT_FLAG, NULL, "true", "weights re-laid in panels; --no-repack keeps the shared mapping", "Model"},
    {"kv-type", 0, KD_OPT_ENUM, "f16|q8_0|f32", "f16", "type of keys and values", "Model"},
    {"prompt", 'p', KD_OPT_INT, "N", "512", "tokens of a prompt", "Work", .min = 1, .max = 1e7},
    {"generate", 0, KD_OPT_INT, "N", "128", "tokens generated behind each (0: prefill alone)", "Work", .min = 0, .max = 1e7},
    {"parallel", 0, KD_OPT_STRING, "B,B,...", "1", "how many sequences at once, point by point", "Work"},
    {"rows", 0, KD_OPT_INT, "N", "512", "rows of a forward pass at most", "Work", .min = 1, .max = 65536},
    {"repeat", 'r', KD_OPT_INT, "N", "1", "measure every point so often, print the best of each rate", "Work", .min = 1, .max = 1000},
    {0}};

typedef struct {
    kd_engine *engine;
    int32_t *tokens; /* [prompt] */
    size_t prompt, generate, V;
    uint64_t seed, next; /* next: of the sequences never seen before */
    double start;        /* seconds from the command's beginning to the first token */
    const kd_model *model;
} bench;

static kd_code submit(bench *b, uint64_t sequence, size_t max_tokens, kd_err *e) {
    for (size_t i = 0; i < b->prompt; i++) b->tokens[i] = (int32_t)(((uint64_t)kd_rng_at(b->seed, sequence, i) * b->V) >> 32);
    kd_request r = {.prompt = b->tokens,
                    .prompt_n = b->prompt,
                    .max_tokens = max_tokens,
                    .seed = b->seed,
                    .stream = sequence,
                    .ignore_eog = true,
                    .no_loop_guard = true,
                    .sampling = {.temperature = 1.0f}};
    return kd_engine_submit(b->engine, &r, NULL, e);
}

typedef struct {
    double seconds, attention; /* attention's share of them */
} spent;

/* What n sequences from `first` on take for max_tokens each. */
static kd_code timed(bench *b, uint64_t first, size_t n, size_t max_tokens, spent *out, const kd_watch *w, kd_err *e) {
    kd_code c = KD_OK;
    const uint64_t before = kd_engine_get_stats(b->engine).forward.attention;
    for (size_t i = 0; !c && i < n; i++) c = submit(b, first + i, max_tokens, e);
    double t = kd_now();
    if (!c) c = kd_engine_run(b->engine, w, e);
    out->seconds = kd_now() - t;
    out->attention = 1e-9 * (double)(kd_engine_get_stats(b->engine).forward.attention - before) / out->seconds;
    return c;
}

/* Panels are made, pages touched: a token behind a short prompt, so that no figure of the process counts a prompt twice. */
static kd_code warm_up(bench *b, double began, const kd_watch *w, kd_err *e) {
    const size_t prompt = b->prompt;
    spent seconds;
    if (b->prompt > 8) b->prompt = 8;
    kd_code c = timed(b, b->next++, 1, 1, &seconds, w, e);
    b->start = kd_now() - began;
    b->prompt = prompt;
    return c;
}

/* What a token costs at least: multiply-adds in the layers and in the head, bytes of weights read. */
static void costs(const kd_model *m, double *layers, double *head, double *bytes) {
    *layers = 0, *head = (double)m->head.rows * (double)m->head.cols, *bytes = (double)m->head.rows * (double)m->head.row_bytes;
    for (uint32_t l = 0; l < m->config.L; l++)
        for (int r = 0; r < KD_MATS; r++) {
            const kd_mat *w = &m->layers[l].mat[r];
            *layers += (double)w->rows * (double)w->cols, *bytes += (double)w->rows * (double)w->row_bytes;
        }
}

static kd_code print_point(kd_cli *cli, const bench *b, size_t parallel, spent prefill, spent decode, kd_err *e) {
    struct rusage u;
    double pp = (double)(parallel * b->prompt) / prefill.seconds, tg = b->generate ? (double)(parallel * b->generate) / decode.seconds : 0;
    getrusage(RUSAGE_SELF, &u);
    if (!cli->json) {
        char s[32];
        return kd_out(cli, "%8zu %8zu %8zu %14.1f %14.1f   %s\n", parallel, b->prompt, b->generate, pp, tg,
                      kd_human_bytes((uint64_t)u.ru_maxrss * 1024, s));
    }
    kd_jsonw *j = kd_out_json(cli);
    kd_jsonw_object(j);
    kd_jsonw_key(j, "parallel"), kd_jsonw_int(j, (int64_t)parallel);
    kd_jsonw_key(j, "prompt"), kd_jsonw_int(j, (int64_t)b->prompt);
    kd_jsonw_key(j, "generate"), kd_jsonw_int(j, (int64_t)b->generate);
    kd_jsonw_key(j, "prefill_tokens_per_second"), kd_jsonw_double(j, pp);
    kd_jsonw_key(j, "decode_tokens_per_second"), kd_jsonw_double(j, tg);
    kd_jsonw_key(j, "peak_rss_bytes"), kd_jsonw_int(j, (int64_t)u.ru_maxrss * 1024);
    double layers, head, bytes;
    costs(b->model, &layers, &head, &bytes);
    kd_jsonw_key(j, "start_seconds"), kd_jsonw_double(j, b->start);
    kd_jsonw_key(j, "prefill_gmac_per_second"), kd_jsonw_double(j, 1e-9 * (layers * pp + head * (double)parallel / prefill.seconds));
    kd_jsonw_key(j, "decode_gmac_per_second"), kd_jsonw_double(j, 1e-9 * (layers + head) * tg);
    kd_jsonw_key(j, "decode_weights_gb_per_second"), kd_jsonw_double(j, 1e-9 * bytes * tg / (double)parallel);
    kd_jsonw_key(j, "prefill_attention_share"), kd_jsonw_double(j, prefill.attention);
    kd_jsonw_key(j, "decode_attention_share"), kd_jsonw_double(j, decode.attention);
    kd_jsonw_end_object(j);
    return kd_out_json_end(cli, e);
}

static kd_code point(kd_cli *cli, bench *b, size_t parallel, kd_err *e) {
    spent prefill = {0}, decode = {0};
    for (int64_t r = 0; r < kd_opt_int(cli, "repeat"); r++) {
        spent p, d = {0};
        kd_code c = timed(b, b->next, parallel, 1, &p, cli->watch, e);
        if (!c && b->generate) c = timed(b, b->next, parallel, b->generate, &d, cli->watch, e);
        if (c) return c;
        b->next += parallel;
        if (r == 0 || p.seconds < prefill.seconds) prefill = p;
        if (r == 0 || d.seconds < decode.seconds) decode = d;
    }
    return print_point(cli, b, parallel, prefill, decode, e);
}

/* "1,8,32" */
static kd_code parse_parallel(const char *s, size_t **v, size_t *n, size_t *most, kd_err *e) {
    size_t cap = 0;
    for (const char *p = s; *p; p += *p == ',') {
        char *end;
        unsigned long x = strtoul(p, &end, 10);
        if (end == p || (*end && *end != ',') || x < 1 || x > 4096 || *p == '-' || *p == '+')
            return kd_fail(e, KD_EINVAL, "--parallel: expected counts from 1 to 4096 with commas between, found \"%s\"", s);
        if (kd_grow((void **)v, &cap, *n + 1, sizeof **v)) return kd_fail(e, KD_ENOMEM, "bench: out of memory");
        (*v)[(*n)++] = x;
        *most = x > *most ? x : *most;
        p = end;
    }
    return *n ? KD_OK : kd_fail(e, KD_EINVAL, "--parallel: expected counts, found nothing");
}

static kd_code dry_run(kd_cli *cli, const kd_model *m, const kd_engine_options *o, kd_err *e) {
    kd_engine_plan p = kd_engine_plan_of(m, o);
    char a[32], b[32], c[32];
    (void)e;
    return kd_out(cli, "weights %s, panels and buffers %s, keys and values %s (%llu bytes a token)\n", kd_human_bytes(p.weights, a),
                  kd_human_bytes(p.work, b), kd_human_bytes(p.kv_full, c), (unsigned long long)p.kv_a_token);
}

static kd_code run(kd_cli *cli, kd_err *e) {
    const char *model = kd_opt_string(cli, "model");
    size_t *parallel = NULL, n = 0, most = 0;
    kd_loaded l = {0};
    kd_pool *pool;
    bench b = {.prompt = (size_t)kd_opt_int(cli, "prompt"), .generate = (size_t)kd_opt_int(cli, "generate"), .seed = cli->seed};
    const double began = kd_now();
    if (!model) return kd_fail(e, KD_EINVAL, "bench: expected --model PATH");
    kd_code c = parse_parallel(kd_opt_string(cli, "parallel"), &parallel, &n, &most, e);
    if (!c) c = kd_cli_pool(cli, &pool, e);
    if (!c) c = kd_load(&l, model, kd_opt_string(cli, "adapter"), KD_LOAD_WEIGHTS, e);
    if (c) goto done;
    b.V = l.model->config.V, b.model = l.model;
    kd_engine_options o = {.pool = pool,
                           .sequences = most,
                           .context = b.prompt + b.generate + 1,
                           .rows = (size_t)kd_opt_int(cli, "rows"),
                           .kv = (kd_kv_kind)kd_opt_word(cli, "kv-type"),
                           .exact = kd_opt_flag(cli, "exact"),
                           .no_repack = !kd_opt_flag(cli, "repack"),
                           .memory = cli->memory};
    if (cli->dry_run) {
        c = dry_run(cli, l.model, &o, e);
        goto done;
    }
    b.tokens = kd_malloc(b.prompt * sizeof *b.tokens);
    c = b.tokens ? kd_engine_new(&b.engine, l.model, l.adapter, NULL, &o, e) : kd_fail(e, KD_ENOMEM, "bench: out of memory");
    if (!c) c = warm_up(&b, began, cli->watch, e);
    if (!c && !cli->json)
        c = kd_out(cli, "%8s %8s %8s %14s %14s   %s\n", "parallel", "prompt", "generate", "prefill tok/s", "decode tok/s", "peak memory");
    for (size_t i = 0; !c && i < n; i++) c = point(cli, &b, parallel[i], e);
done:
    kd_engine_free(b.engine);
    kd_free(b.tokens), kd_free(parallel);
    kd_unload(&l);
    return c;
}

const kd_cmd kd_cmd_bench = {
    .name = "bench",
    .help = "measure prefill and decode",
    .usage = "--model PATH",
    .about = "Every sequence has different random tokens; rates are totals over the sequences. The clock starts when panels are made and "
             "the weights\n"
             "have been read once.",
    .opts = options,
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
