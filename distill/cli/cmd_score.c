/* distill/cli/cmd_score.c - log-probabilities of given text or tokens. Leans on model/score.h. */
#include "distill/base/gz.h"
#include "distill/cli/cli.h"
#include "distill/model/loaded.h"
#include "distill/model/score.h"

#include <stdio.h>
#include <string.h>

static const kd_opt options[] = {{"model", 'm', KD_OPT_PATH, "PATH", NULL, "the model: a folder, a .gguf, a run", "Model"},
                                 {"adapter", 0, KD_OPT_PATH, "DIR", NULL, "an adapter on it (PEFT folder or run)", "Model"},
                                 {"fast", 0, KD_OPT_FLAG, NULL, NULL, "8-bit activations instead of f32 arithmetic", "Model"},
                                 {"top", 0, KD_OPT_INT, "K", "0", "the K most likely tokens of every place besides", "Output", .min = 0,
                                  .max = 1000},
                                 {"text", 0, KD_OPT_STRING, "TEXT", NULL, "score this text instead of a file", "Input"},
                                 {0}};

/* Tokens of one line: {"text":...} as the model adds special tokens, or {"tokens":[...]} as they are. */
static kd_code tokens_of(kd_ids *ids, const kd_tokenizer *t, const kd_json_node *o, const char *what, kd_err *e) {
    kd_str text = kd_json_string(kd_json_get(o, "text"));
    const kd_json_node *list = kd_json_get(o, "tokens");
    ids->n = 0;
    if (text.data) return kd_tokenizer_encode(t, ids, text.data, text.len, KD_TOK_ADD_SPECIAL, e);
    if (kd_json_typeof(list) != KD_JSON_ARRAY) return kd_fail(e, KD_EFORMAT, "%s: expected {\"text\":...} or {\"tokens\":[...]}", what);
    for (const kd_json_node *n = kd_json_first(list); n; n = kd_json_next(n)) {
        int64_t v;
        if (!kd_json_int(n, &v) || v < 0 || v > INT32_MAX)
            return kd_fail(e, KD_EFORMAT, "%s: tokens: expected ids, found something else", what);
        if (kd_ids_push(ids, (int32_t)v)) return kd_fail(e, KD_ENOMEM, "%s: out of memory", what);
    }
    return KD_OK;
}

typedef struct {
    kd_scorer *scorer;
    size_t V, top;
    double *lp;      /* of the line's tokens from the second on */
    int32_t *top_id; /* [n, top] */
    double *top_lp;
    size_t cap;
} work;

static kd_code room(work *w, size_t n, kd_err *e) {
    size_t cap2 = w->cap, cap3 = w->cap;
    size_t k = w->top ? w->top : 1;
    if (kd_grow((void **)&w->lp, &w->cap, n, sizeof *w->lp) || kd_grow((void **)&w->top_id, &cap2, n, k * sizeof *w->top_id) ||
        kd_grow((void **)&w->top_lp, &cap3, n, k * sizeof *w->top_lp))
        return kd_fail(e, KD_ENOMEM, "score: out of memory");
    return KD_OK;
}

static kd_code score(work *w, const kd_ids *ids, kd_err *e) {
    size_t chunk = kd_scorer_chunk(w->scorer);
    kd_code c = room(w, ids->n + 1, e);
    kd_scorer_begin(w->scorer);
    for (size_t at = 0; !c && at + 1 < ids->n; at += chunk) {
        const float *z;
        size_t n = ids->n - 1 - at < chunk ? ids->n - 1 - at : chunk;
        if (ids->id[ids->n - 1] < 0 || (size_t)ids->id[ids->n - 1] >= w->V)
            return kd_fail(e, KD_EFORMAT, "score: token %d: expected 0..%zu", ids->id[ids->n - 1], w->V - 1);
        c = kd_scorer_feed(w->scorer, ids->id + at, n, &z, e);
        for (size_t i = 0; !c && i < n; i++) {
            double lse = kd_logsumexp(z + i * w->V, w->V);
            w->lp[at + i] = z[i * w->V + (size_t)ids->id[at + i + 1]] - lse;
            if (w->top) kd_top_logprobs(z + i * w->V, w->V, lse, w->top, w->top_id + (at + i) * w->top, w->top_lp + (at + i) * w->top);
        }
    }
    return c;
}

static kd_code print(kd_cli *cli, const work *w, const kd_ids *ids, kd_err *e) {
    size_t n = ids->n ? ids->n - 1 : 0;
    if (!cli->json) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += w->lp[i];
        return kd_out(cli, "%zu tokens, %.6f nats a token\n", ids->n, n ? -sum / (double)n : 0.0);
    }
    kd_jsonw *j = kd_out_json(cli);
    kd_jsonw_object(j);
    kd_jsonw_key(j, "tokens");
    kd_jsonw_array(j);
    for (size_t i = 0; i < ids->n; i++) kd_jsonw_int(j, ids->id[i]);
    kd_jsonw_end_array(j);
    kd_jsonw_key(j, "logprobs");
    kd_jsonw_array(j);
    for (size_t i = 0; i < n; i++) kd_jsonw_double(j, w->lp[i]);
    kd_jsonw_end_array(j);
    if (w->top) {
        kd_jsonw_key(j, "top");
        kd_jsonw_array(j);
        for (size_t i = 0; i < n; i++) {
            kd_jsonw_array(j);
            for (size_t k = 0; k < w->top && w->top_id[i * w->top + k] >= 0; k++) {
                kd_jsonw_array(j);
                kd_jsonw_int(j, w->top_id[i * w->top + k]);
                kd_jsonw_double(j, w->top_lp[i * w->top + k]);
                kd_jsonw_end_array(j);
            }
            kd_jsonw_end_array(j);
        }
        kd_jsonw_end_array(j);
    }
    kd_jsonw_end_object(j);
    return kd_out_json_end(cli, e);
}

/* FILE.jsonl[.gz] holds a line a text; any other file is one text. */
static kd_code each_line(kd_cli *cli, work *w, const kd_tokenizer *t, const char *path, kd_err *e) {
    kd_lines *lines;
    kd_ids ids = {0};
    bool more = true;
    kd_code c = kd_lines_open(&lines, path, e);
    if (c) return c;
    while (!c && more) {
        kd_str line;
        char what[300];
        kd_json *doc = NULL;
        if ((c = kd_lines_next(lines, &line, &more, e)) || !more) break;
        if (!line.len) continue;
        snprintf(what, sizeof what, "%s:%zu", path, kd_lines_number(lines));
        c = kd_json_parse(&doc, line.data, line.len, what, e);
        if (!c) c = tokens_of(&ids, t, kd_json_root(doc), what, e);
        if (!c) c = score(w, &ids, e);
        if (!c) c = print(cli, w, &ids, e);
        kd_json_free(doc);
    }
    kd_lines_close(lines);
    kd_ids_clear(&ids);
    return c;
}

static kd_code one_text(kd_cli *cli, work *w, const kd_tokenizer *t, kd_str text, kd_err *e) {
    kd_ids ids = {0};
    kd_code c = kd_tokenizer_encode(t, &ids, text.data, text.len, KD_TOK_ADD_SPECIAL, e);
    if (!c) c = score(w, &ids, e);
    if (!c) c = print(cli, w, &ids, e);
    kd_ids_clear(&ids);
    return c;
}

static bool is_jsonl(const char *path) {
    kd_str s = kd_str_of(path);
    return kd_str_ends(s, ".jsonl") || kd_str_ends(s, ".jsonl.gz");
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_loaded l;
    kd_pool *pool;
    work w = {.top = (size_t)kd_opt_int(cli, "top")};
    const char *text = kd_opt_string(cli, "text"), *model = kd_opt_string(cli, "model");
    if (!model || (!text && !cli->n_args))
        return kd_fail(e, KD_EINVAL, "score: expected --model PATH and a FILE, - or --text, found %s", model ? "no text" : "no model");
    kd_code c = kd_cli_pool(cli, &pool, e);
    if (!c) c = kd_load(&l, model, kd_opt_string(cli, "adapter"), KD_LOAD_ALL, e);
    if (c) return c;
    w.V = l.model->config.V;
    c = kd_scorer_new(&w.scorer, l.model, l.adapter, &(kd_score_options){.fast = kd_opt_flag(cli, "fast")}, pool, e);
    if (c) goto done;
    if (text) c = one_text(cli, &w, l.tokenizer, kd_str_of(text), e);
    for (size_t i = 0; !c && i < cli->n_args; i++) {
        kd_buf whole = {0};
        if (is_jsonl(cli->args[i]))
            c = each_line(cli, &w, l.tokenizer, cli->args[i], e);
        else if (!(c = kd_file_read(&whole, cli->args[i], (size_t)1 << 31, e)))
            c = one_text(cli, &w, l.tokenizer, kd_buf_view(&whole), e);
        kd_buf_clear(&whole);
    }
done:
    kd_scorer_free(w.scorer);
    kd_free(w.lp), kd_free(w.top_id), kd_free(w.top_lp);
    kd_unload(&l);
    return c;
}

const kd_cmd kd_cmd_score = {
    .name = "score",
    .help = "log-probabilities of text or tokens under a model",
    .usage = "--model PATH FILE|-",
    .about = "FILE.jsonl holds a line a text, {\"text\":...} or {\"tokens\":[...]}; any other file is one text. With --json a line each:\n"
             "{\"tokens\":[ids], \"logprobs\":[nats ...]}, logprobs[i] of tokens[i+1] given all before.",
    .opts = options,
    .min_args = 0,
    .max_args = -1,
    .run = run,
};
