/* distill/cli/train_data.c - lessons for `train` from JSONL files. Leans on train_data.h, base/gz.h, base/hash.h. */
#include "distill/cli/train_data.h"

#include "distill/base/gz.h"
#include "distill/base/hash.h"

#include <string.h>

/* {"tokens":[...],"loss":[0|1 ...]}: lines that are tokens already. */
static kd_code token_line(kd_lesson *out, const kd_json_node *root, const char *path, size_t line, uint32_t vocab, kd_err *e) {
    const kd_json_node *tokens = kd_json_get(root, "tokens"), *loss = kd_json_get(root, "loss");
    const size_t n = kd_json_count(tokens);
    if (kd_json_typeof(tokens) != KD_JSON_ARRAY || kd_json_typeof(loss) != KD_JSON_ARRAY || kd_json_count(loss) != n)
        return kd_fail(e, KD_EFORMAT, "%s:%zu: expected \"tokens\" and \"loss\", arrays of one length", path, line);
    *out = (kd_lesson){.n = n, .row = line, .weight = 1};
    out->tokens = kd_calloc(n + 1, sizeof *out->tokens);
    out->loss = kd_calloc(n + 1, 1);
    kd_code code = out->tokens && out->loss ? KD_OK : kd_fail(e, KD_ENOMEM, "%s:%zu: no memory", path, line);
    const kd_json_node *t = kd_json_first(tokens), *f = kd_json_first(loss);
    for (size_t i = 0; i < n && code == KD_OK; i++, t = kd_json_next(t), f = kd_json_next(f)) {
        int64_t id = -1, flag = -1;
        if (!kd_json_int(t, &id) || id < 0 || id >= (int64_t)vocab)
            code = kd_fail(e, KD_EFORMAT, "%s:%zu: token %zu: expected an id below %u", path, line, i, vocab);
        else if ((!kd_json_int(f, &flag) || (flag != 0 && flag != 1)) && kd_json_typeof(f) != KD_JSON_BOOL)
            code = kd_fail(e, KD_EFORMAT, "%s:%zu: loss %zu: expected 0 or 1", path, line, i);
        else {
            out->tokens[i] = (int32_t)id;
            out->loss[i] = kd_json_typeof(f) == KD_JSON_BOOL ? kd_json_bool(f, false) : flag == 1;
            out->n_loss += out->loss[i];
        }
    }
    if (code != KD_OK) {
        kd_free(out->tokens);
        kd_free(out->loss);
        *out = (kd_lesson){0};
    }
    return code;
}

static kd_code add(kd_lessons *l, kd_train_data *d, kd_lesson *one, const char *path, size_t max, kd_long longer, kd_err *e) {
    bool teaches = false, keep = true;
    if (one->n > max) {
        if (longer == KD_LONG_REFUSE)
            return kd_fail(e, KD_EFORMAT, "%s:%zu: a lesson of %zu tokens; --max-seq-length is %zu", path, one->row, one->n, max);
        if (longer == KD_LONG_DROP) {
            d->dropped++;
            keep = false;
        } else {
            d->cut++;
            one->n = max;
        }
    }
    for (size_t i = 1; i < one->n && keep; i++)
        teaches |= one->loss[i] != 0;
    if (keep && !teaches) d->empty++;
    void *at = l->at;
    if (keep && teaches) {
        if (kd_grow(&at, &l->cap, l->n + 1, sizeof *l->at) != KD_OK) return kd_fail(e, KD_ENOMEM, "no memory for %zu lessons", l->n + 1);
        l->at = at;
        l->at[l->n++] = *one;
    } else {
        kd_free(one->tokens);
        kd_free(one->loss);
    }
    *one = (kd_lesson){0};
    return KD_OK;
}

static kd_code read_file(kd_lessons *l, kd_train_data *d, const char *path, uint32_t vocab, size_t max, kd_long longer, kd_err *e) {
    kd_lines *in = NULL;
    kd_code code = kd_lines_open(&in, path, e);
    for (bool more = true; code == KD_OK;) {
        kd_str line;
        code = kd_lines_next(in, &line, &more, e);
        if (code != KD_OK || !more) break;
        if (line.len == 0) continue;
        kd_json *doc = NULL;
        kd_lesson one = {0};
        code = kd_json_parse(&doc, line.data, line.len, path, e);
        if (code == KD_OK) code = token_line(&one, kd_json_root(doc), path, kd_lines_number(in), vocab, e);
        if (code == KD_OK) code = add(l, d, &one, path, max, longer, e);
        kd_free(one.tokens);
        kd_free(one.loss);
        kd_json_free(doc);
    }
    kd_lines_close(in);
    return code;
}

static void summarize(const kd_lessons *l, kd_train_data *d) {
    kd_sha256 h;
    unsigned char digest[32];
    kd_sha256_init(&h);
    for (size_t i = 0; i < l->n; i++) {
        const kd_lesson *one = &l->at[i];
        const uint64_t n = one->n;
        kd_sha256_add(&h, &n, sizeof n);
        kd_sha256_add(&h, one->tokens, one->n * sizeof *one->tokens);
        kd_sha256_add(&h, one->loss, one->n);
        kd_sha256_add(&h, &one->weight, sizeof one->weight);
        d->tokens += one->n;
        for (size_t k = 1; k < one->n; k++)
            d->loss_tokens += one->loss[k];
    }
    kd_sha256_end(&h, digest);
    kd_hex(digest, 32, d->sha256);
}

kd_code kd_train_data_read(kd_lessons *l, kd_train_data *d, kd_cli *cli, const kd_model *m, const kd_train_source *s, kd_err *e) {
    *d = (kd_train_data){0};
    const size_t max = s->max_length ? s->max_length : m->config.context;
    kd_code code = KD_OK;
    for (size_t i = 0; i < cli->n_args && code == KD_OK; i++)
        code = read_file(l, d, cli->args[i], m->config.V, max, s->longer, e);
    if (code == KD_OK && l->n == 0)
        code = kd_fail(e, KD_EFORMAT, "%s: nothing to learn: %zu lessons too long, %zu without a token to learn", cli->args[0], d->dropped, d->empty);
    if (code == KD_OK) summarize(l, d);
    return code;
}
