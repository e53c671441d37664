/* distill/cli/sampling_opts.c - see sampling_opts.h. */
#include "distill/cli/sampling_opts.h"

#include "distill/base/file.h"
#include "distill/base/hash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ID=X: a token and what is added to its logit. */
static kd_code read_bias(kd_logit_bias *b, const char *text, kd_err *e) {
    char *end = NULL, *rest = NULL;
    long id = text[0] >= '0' && text[0] <= '9' ? strtol(text, &end, 10) : -1;
    double x = end && *end == '=' ? strtod(end + 1, &rest) : NAN;
    if (id < 0 || id > INT32_MAX || !rest || *rest || rest == end + 1 || isnan(x) || x == (double)INFINITY)
        return kd_fail(e, KD_EINVAL, "--logit-bias %s: expected ID=X, a token's id and a number or -inf", text);
    *b = (kd_logit_bias){(int32_t)id, (float)x};
    return KD_OK;
}

static kd_code read_form(kd_grammar **out, const kd_cli *cli, kd_err *e) {
    const char *file = kd_opt_string(cli, "json-schema"), *regex = kd_opt_string(cli, "regex");
    kd_buf text = {0};
    kd_json *doc = NULL;
    if (file && regex) return kd_fail(e, KD_EINVAL, "--json-schema and --regex: one form at a time");
    if (regex) return kd_grammar_new_regex(out, regex, strlen(regex), e);
    if (!file) return KD_OK;
    kd_code c = kd_file_read(&text, file, 16 << 20, e);
    if (!c) c = kd_json_parse(&doc, text.data ? text.data : "", text.len, file, e);
    if (!c) c = kd_grammar_new_schema(out, kd_json_root(doc), e);
    kd_json_free(doc);
    kd_buf_clear(&text);
    return c;
}

kd_code kd_sampling_opts_read(kd_sampling_opts *o, const kd_cli *cli, const kd_tokenizer *tok, size_t V, kd_err *e) {
    const char *const *bias, *const *breakers;
    size_t n = kd_opt_strings(cli, "logit-bias", &bias), nb = kd_opt_strings(cli, "dry-breaker", &breakers);
    kd_code c = KD_OK;
    *o = (kd_sampling_opts){.sampling = {.typical_p = (float)kd_opt_float(cli, "typical-p"),
                                         .repetition_penalty = (float)kd_opt_float(cli, "repetition-penalty"),
                                         .presence_penalty = (float)kd_opt_float(cli, "presence-penalty"),
                                         .frequency_penalty = (float)kd_opt_float(cli, "frequency-penalty"),
                                         .penalty_last = (uint32_t)kd_opt_int(cli, "penalty-last"),
                                         .dry_multiplier = (float)kd_opt_float(cli, "dry-multiplier"),
                                         .dry_base = (float)kd_opt_float(cli, "dry-base"),
                                         .dry_allowed_length = (uint32_t)kd_opt_int(cli, "dry-allowed-length"),
                                         .dry_last = (uint32_t)kd_opt_int(cli, "dry-last")},
                            .min_tokens = (size_t)kd_opt_int(cli, "min-tokens"),
                            .max_thinking = (size_t)kd_opt_int(cli, "max-thinking"),
                            .no_loop_guard = !kd_opt_flag(cli, "loop-guard")};
    if (n && !(o->bias = kd_calloc(n, sizeof *o->bias))) return kd_fail(e, KD_ENOMEM, "%s: out of memory", cli->cmd->name);
    for (size_t i = 0; i < n && !c; i++) {
        c = read_bias(&o->bias[i], bias[i], e);
        if (!c && (size_t)o->bias[i].id >= V) c = kd_fail(e, KD_EINVAL, "--logit-bias %s: the vocabulary has %zu tokens", bias[i], V);
    }
    o->sampling.bias = o->bias, o->sampling.biases = n;
    if (!c && (nb || o->sampling.dry_multiplier > 0)) c = kd_dry_new(&o->dry, tok, V, nb ? breakers : NULL, nb, e);
    o->sampling.dry_breakers = o->dry;
    if (!c) c = read_form(&o->form, cli, e);
    return c ? c : kd_sampling_check(&o->sampling, V, e);
}

void kd_sampling_opts_clear(kd_sampling_opts *o) {
    kd_free(o->bias);
    kd_dry_free(o->dry);
    kd_grammar_free(o->form);
    *o = (kd_sampling_opts){0};
}

void kd_sampling_opts_apply(const kd_sampling_opts *o, kd_request *r) {
    kd_sampling own = r->sampling;
    r->sampling = o->sampling;
    r->sampling.temperature = own.temperature, r->sampling.top_p = own.top_p, r->sampling.top_k = own.top_k, r->sampling.min_p = own.min_p;
    r->min_tokens = o->min_tokens, r->max_thinking = o->max_thinking, r->no_loop_guard = o->no_loop_guard;
    r->grammar = o->form;
}

static const kd_opt shared[] = {KD_SAMPLING_OPTIONS, {0}};

const char *kd_sampling_opts_given(const kd_cli *cli) {
    for (const kd_opt *o = shared; o->name; o++)
        if (kd_opt_given(cli, o->name)) return o->name;
    return NULL;
}

static kd_code put_schema(kd_jsonw *w, const char *file, kd_err *e) {
    kd_buf text = {0};
    kd_sha256 h;
    unsigned char d[32];
    char hex[65];
    kd_code c = kd_file_read(&text, file, 16 << 20, e);
    kd_sha256_init(&h);
    kd_sha256_add(&h, text.data ? text.data : "", text.len);
    kd_sha256_end(&h, d);
    kd_hex(d, 32, hex);
    kd_jsonw_cstr(w, hex);
    kd_buf_clear(&text);
    return c;
}

kd_code kd_sampling_opts_members(kd_buf *out, const kd_cli *cli, kd_err *e) {
    kd_jsonw w = {.out = out};
    kd_code c = KD_OK;
    size_t from = out->len;
    kd_jsonw_object(&w);
    for (const kd_opt *o = shared; o->name && !c; o++) {
        const char *const *v;
        if (!kd_opt_given(cli, o->name)) continue;
        kd_jsonw_key(&w, o->name);
        if (o->kind == KD_OPT_FLOAT) kd_jsonw_double(&w, kd_opt_float(cli, o->name));
        if (o->kind == KD_OPT_INT) kd_jsonw_int(&w, kd_opt_int(cli, o->name));
        if (o->kind == KD_OPT_FLAG) kd_jsonw_bool(&w, kd_opt_flag(cli, o->name));
        if (o->kind == KD_OPT_STRING) kd_jsonw_cstr(&w, kd_opt_string(cli, o->name));
        if (o->kind == KD_OPT_PATH) c = put_schema(&w, kd_opt_string(cli, o->name), e);
        if (o->kind != KD_OPT_STRINGS) continue;
        kd_jsonw_array(&w);
        for (size_t i = 0, n = kd_opt_strings(cli, o->name, &v); i < n; i++) kd_jsonw_cstr(&w, v[i]);
        kd_jsonw_end_array(&w);
    }
    kd_jsonw_end_object(&w);
    if (!c && w.code) c = kd_fail(e, KD_ENOMEM, "%s: out of memory", cli->cmd->name);
    if (c) return c;
    memmove(out->data + from, out->data + from + 1, out->len - from - 2); /* without the braces */
    out->len -= 2;
    out->data[out->len] = 0;
    return KD_OK;
}

static kd_code shape(void *ctx, kd_request *like, const kd_tokenizer *tok, size_t V, kd_err *e) {
    kd_sampling_shape *s = ctx;
    kd_sampling_opts_clear(&s->sampling); /* of a model before this one */
    kd_code c = kd_sampling_opts_read(&s->sampling, s->cli, tok, V, e);
    if (!c) kd_sampling_opts_apply(&s->sampling, like);
    return c;
}

kd_code kd_sampling_shape_into(kd_local_opts *l, kd_sampling_shape *s, const kd_cli *cli, kd_err *e) {
    *s = (kd_sampling_shape){.cli = cli};
    kd_code c = kd_sampling_opts_members(&s->members, cli, e);
    l->shape = shape, l->shape_ctx = s, l->shape_json = s->members.data;
    return c;
}

void kd_sampling_shape_clear(kd_sampling_shape *s) {
    kd_sampling_opts_clear(&s->sampling);
    kd_buf_clear(&s->members);
}
