/* distill/model/token_parts.c - the stages that tokenizer.json describes: normalizer, pre_tokenizer, decoder, post_processor. A kind or an option
 * that we lack is refused by name. Leans on token_impl.h, base/json.h. */
#include "distill/model/token_impl.h"

static kd_code lacking(const kd_tokenizer *t, const char *part, kd_str name, kd_err *e) {
    return kd_fail(e, KD_EUNSUPPORTED, "%s: %s %.*s is not supported", t->what, part, (int)(name.len < 60 ? name.len : 60),
                   name.len ? name.data : "");
}

static kd_code wrong(const kd_tokenizer *t, const char *part, const char *key, const char *want, kd_err *e) {
    return kd_fail(e, KD_EFORMAT, "%s: %s: %s must be %s", t->what, part, key, want);
}

static kd_code get_bool(const kd_tokenizer *t, const kd_json_node *n, const char *part, const char *key, bool absent, bool *out,
                        kd_err *e) {
    const kd_json_node *v = kd_json_get(n, key);
    if (v && kd_json_typeof(v) != KD_JSON_BOOL) return wrong(t, part, key, "true or false", e);
    *out = kd_json_bool(v, absent);
    return KD_OK;
}

static kd_code get_string(kd_tokenizer *t, const kd_json_node *n, const char *part, const char *key, kd_str *out, kd_err *e) {
    const kd_json_node *v = kd_json_get(n, key);
    if (kd_json_typeof(v) != KD_JSON_STRING) return wrong(t, part, key, "a string", e);
    *out = kd_tok_keep(t, kd_json_string(v));
    return out->data ? KD_OK : kd_tok_enomem(e);
}

static kd_code get_char(kd_tokenizer *t, const kd_json_node *n, const char *part, const char *key, kd_str *out, kd_err *e) {
    const kd_code c = get_string(t, n, part, key, out, e);
    return c ? c : kd_utf8_count(out->data, out->len) == 1 ? KD_OK : wrong(t, part, key, "one character", e);
}

/* {"String": ...} or {"Regex": ...} */
static kd_code get_pattern(kd_tokenizer *t, const kd_json_node *n, const char *part, tok_pattern *p, bool scanners, kd_err *e) {
    const kd_json_node *v = kd_json_get(n, "pattern"), *regex = kd_json_get(v, "Regex");
    *p = (tok_pattern){.kind = SM_LITERAL};
    if (regex) {
        if (kd_json_typeof(regex) != KD_JSON_STRING) return wrong(t, part, "pattern", "a string", e);
        return kd_tok_pattern_regex(t, p, kd_json_string(regex), scanners, e);
    }
    return get_string(t, v, part, "String", &p->text, e);
}

static kd_code room(const kd_tokenizer *t, const char *part, size_t n, kd_err *e) {
    return n < TOK_STAGES_MAX ? KD_OK : kd_fail(e, KD_EUNSUPPORTED, "%s: more than %d %ss", t->what, TOK_STAGES_MAX, part);
}

typedef kd_code parse_fn(kd_tokenizer *t, const kd_json_node *n, kd_err *e);

static kd_code each(kd_tokenizer *t, const kd_json_node *n, const char *part, const char *key, parse_fn *fn, kd_err *e) {
    const kd_json_node *list = kd_json_get(n, key);
    if (kd_json_typeof(list) != KD_JSON_ARRAY) return wrong(t, part, key, "a list", e);
    kd_code c = KD_OK;
    for (const kd_json_node *v = kd_json_first(list); v && !c; v = kd_json_next(v)) c = fn(t, v, e);
    return c;
}

static bool nothing(const kd_json_node *n) { return !n || kd_json_typeof(n) == KD_JSON_NULL; }

/* ---- normalizer ---- */

kd_code kd_tok_parse_normalizer(kd_tokenizer *t, const kd_json_node *n, kd_err *e) {
    static const char part[] = "normalizer";
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    if (nothing(n)) return KD_OK;
    const kd_str type = kd_json_string(kd_json_get(n, "type"));
    if (kd_str_is(type, "Sequence")) return each(t, n, part, "normalizers", kd_tok_parse_normalizer, e);
    kd_code c = room(t, part, t->norms, e);
    if (c) return c;
    tok_norm *m = &t->norm[t->norms];
    *m = (tok_norm){0};
    bool found = false;
    for (unsigned f = 0; f < 4; f++) {
        if (!kd_str_is(type, forms[f])) continue;
        m->kind = NM_FORM;
        m->form = (kd_normal_form)f;
        found = true;
    }
    if (found) {
    } else if (kd_str_is(type, "Lowercase")) {
        m->kind = NM_LOWER;
    } else if (kd_str_is(type, "Replace")) {
        m->kind = NM_REPLACE;
        if ((c = get_pattern(t, n, part, &m->pattern, false, e)) || (c = get_string(t, n, part, "content", &m->content, e))) return c;
    } else if (kd_str_is(type, "Prepend")) {
        m->kind = NM_PREPEND;
        if ((c = get_string(t, n, part, "prepend", &m->content, e))) return c;
    } else if (kd_str_is(type, "Strip")) {
        m->kind = NM_STRIP;
        if ((c = get_bool(t, n, part, "strip_left", true, &m->left, e)) || (c = get_bool(t, n, part, "strip_right", true, &m->right, e)))
            return c;
    } else if (kd_str_is(type, "StripAccents")) {
        m->kind = NM_ACCENTS;
    } else if (kd_str_is(type, "ByteLevel")) {
        m->kind = NM_BYTE_LEVEL;
    } else {
        return lacking(t, part, type, e);
    }
    t->norms++;
    return KD_OK;
}

/* ---- pre-tokenizer ---- */

static kd_code add_pre(kd_tokenizer *t, tok_pre p, kd_err *e) {
    const kd_code c = room(t, "pre-tokenizer", t->pres, e);
    if (!c) t->pre[t->pres++] = p;
    return c;
}

static kd_code add_split(kd_tokenizer *t, tok_pattern pattern, tok_behavior behavior, bool invert, kd_err *e) {
    return add_pre(t, (tok_pre){.kind = ST_SPLIT, .pattern = pattern, .behavior = behavior, .invert = invert}, e);
}

static kd_code get_behavior(const kd_tokenizer *t, const kd_json_node *n, tok_behavior absent, tok_behavior *out, kd_err *e) {
    static const char *const names[][2] = {{"Isolated", "isolated"},
                                           {"Removed", "removed"},
                                           {"Contiguous", "contiguous"},
                                           {"MergedWithPrevious", "merged_with_previous"},
                                           {"MergedWithNext", "merged_with_next"}};
    const kd_json_node *v = kd_json_get(n, "behavior");
    *out = absent;
    if (!v) return KD_OK;
    for (unsigned k = 0; k < 5; k++) {
        if (!kd_str_is(kd_json_string(v), names[k][0]) && !kd_str_is(kd_json_string(v), names[k][1])) continue;
        *out = (tok_behavior)k;
        return KD_OK;
    }
    return wrong(t, "pre-tokenizer", "behavior", "one of Isolated, Removed, Contiguous, MergedWithPrevious, MergedWithNext", e);
}

static kd_code byte_level(kd_tokenizer *t, const kd_json_node *n, kd_err *e) {
    bool prefix, regex;
    kd_code c = get_bool(t, n, "ByteLevel", "add_prefix_space", true, &prefix, e);
    if (!c) c = get_bool(t, n, "ByteLevel", "use_regex", true, &regex, e);
    if (!c && prefix) c = add_pre(t, (tok_pre){.kind = ST_PREFIX_SPACE}, e);
    if (!c && regex) c = add_split(t, (tok_pattern){.kind = SM_SCAN, .scan = kd_tok_scan_gpt2}, SB_ISOLATED, false, e);
    return c ? c : add_pre(t, (tok_pre){.kind = ST_MAP_BYTES}, e);
}

/* "prepend_scheme", or what older files say instead */
static kd_code get_scheme(const kd_tokenizer *t, const kd_json_node *n, tok_pre *p, kd_err *e) {
    const kd_json_node *v = kd_json_get(n, "prepend_scheme");
    bool prefix;
    const kd_code c = get_bool(t, n, "Metaspace", "add_prefix_space", true, &prefix, e);
    if (c) return c;
    const kd_str s = kd_json_string(v);
    p->scheme = MS_ALWAYS;
    if (v && !kd_str_is(s, "always") && !kd_str_is(s, "first") && !kd_str_is(s, "never"))
        return wrong(t, "Metaspace", "prepend_scheme", "always, first or never", e);
    if (kd_str_is(s, "first")) p->scheme = MS_FIRST;
    if (kd_str_is(s, "never")) p->scheme = MS_NEVER;
    if (!prefix && v && p->scheme != MS_NEVER) return wrong(t, "Metaspace", "prepend_scheme", "never where add_prefix_space is false", e);
    if (!prefix) p->scheme = MS_NEVER;
    return KD_OK;
}

static kd_code metaspace(kd_tokenizer *t, const kd_json_node *n, kd_err *e) {
    tok_pre p = {.kind = ST_METASPACE};
    bool cut;
    size_t len;
    kd_code c = get_char(t, n, "Metaspace", "replacement", &p.replacement, e);
    if (!c) c = get_scheme(t, n, &p, e);
    if (!c) c = get_bool(t, n, "Metaspace", "split", true, &cut, e);
    if (!c) c = add_pre(t, p, e);
    if (c || !cut) return c;
    const tok_pattern by = {.kind = SM_CHAR, .cp = tok_cp((const unsigned char *)p.replacement.data, &len)};
    return add_split(t, by, SB_NEXT, false, e);
}

static bool is_white(uint32_t cp) { return kd_tok_class[cp] & TC_SPACE; }

/* \w+|[^\w\s]+ as Rust's regex has it */
static bool words(const unsigned char *s, size_t n, size_t i, size_t *end) {
    size_t len;
    const unsigned v = kd_tok_class[tok_cp(s + i, &len)] & (TC_WORD | TC_SPACE);
    *end = i + len;
    if (v & TC_SPACE) return false;
    while (*end < n && (kd_tok_class[tok_cp(s + *end, &len)] & (TC_WORD | TC_SPACE)) == v) *end += len;
    return true;
}

static kd_code split(kd_tokenizer *t, const kd_json_node *n, kd_err *e) {
    tok_pattern p;
    tok_behavior b;
    bool invert;
    kd_code c = get_pattern(t, n, "Split", &p, true, e);
    if (!c && !kd_json_get(n, "behavior")) c = wrong(t, "Split", "behavior", "given", e);
    if (!c) c = get_behavior(t, n, SB_ISOLATED, &b, e);
    if (!c) c = get_bool(t, n, "Split", "invert", false, &invert, e);
    return c ? c : add_split(t, p, b, invert, e);
}

static kd_code delimiter(kd_tokenizer *t, const kd_json_node *n, kd_err *e) {
    kd_str s;
    size_t len;
    const kd_code c = get_char(t, n, "CharDelimiterSplit", "delimiter", &s, e);
    return c ? c : add_split(t, (tok_pattern){.kind = SM_CHAR, .cp = tok_cp((const unsigned char *)s.data, &len)}, SB_REMOVED, false, e);
}

kd_code kd_tok_parse_pre(kd_tokenizer *t, const kd_json_node *n, kd_err *e) {
    static const char part[] = "pre-tokenizer";
    if (nothing(n)) return KD_OK;
    const kd_str type = kd_json_string(kd_json_get(n, "type"));
    bool flag;
    tok_behavior b;
    kd_code c;
    if (kd_str_is(type, "Sequence")) return each(t, n, part, "pretokenizers", kd_tok_parse_pre, e);
    if (kd_str_is(type, "ByteLevel")) return byte_level(t, n, e);
    if (kd_str_is(type, "Metaspace")) return metaspace(t, n, e);
    if (kd_str_is(type, "Split")) return split(t, n, e);
    if (kd_str_is(type, "CharDelimiterSplit")) return delimiter(t, n, e);
    if (kd_str_is(type, "Digits")) {
        if ((c = get_bool(t, n, part, "individual_digits", false, &flag, e))) return c;
        return flag ? add_split(t, (tok_pattern){.kind = SM_SCAN, .scan = kd_tok_scan_digit}, SB_ISOLATED, false, e)
                    : add_split(t, (tok_pattern){.kind = SM_CHAR, .is = kd_tok_numeric}, SB_CONTIGUOUS, false, e);
    }
    if (kd_str_is(type, "Punctuation")) {
        if ((c = get_behavior(t, n, SB_ISOLATED, &b, e))) return c;
        return add_split(t, (tok_pattern){.kind = SM_CHAR, .is = kd_tok_punct}, b, false, e);
    }
    if (kd_str_is(type, "WhitespaceSplit")) return add_split(t, (tok_pattern){.kind = SM_CHAR, .is = is_white}, SB_REMOVED, false, e);
    if (kd_str_is(type, "Whitespace")) return add_split(t, (tok_pattern){.kind = SM_SCAN, .scan = words}, SB_REMOVED, true, e);
    return lacking(t, part, type, e);
}

/* ---- decoder ---- */

static kd_code get_count(const kd_tokenizer *t, const kd_json_node *n, const char *key, size_t *out, kd_err *e) {
    int64_t v = 0;
    const kd_json_node *x = kd_json_get(n, key);
    if (!kd_json_int(x, &v) || v < 0) return wrong(t, "Strip", key, "a number from 0", e);
    *out = (size_t)v;
    return KD_OK;
}

kd_code kd_tok_parse_decoder(kd_tokenizer *t, const kd_json_node *n, kd_err *e) {
    static const char part[] = "decoder";
    if (nothing(n)) return KD_OK;
    const kd_str type = kd_json_string(kd_json_get(n, "type"));
    t->has_decoder = true;
    if (kd_str_is(type, "Sequence")) return each(t, n, part, "decoders", kd_tok_parse_decoder, e);
    kd_code c = room(t, part, t->decs, e);
    if (c) return c;
    tok_dec d = {0};
    if (kd_str_is(type, "ByteLevel")) {
        d.kind = DC_BYTE_LEVEL;
    } else if (kd_str_is(type, "ByteFallback")) {
        d.kind = DC_BYTE_FALLBACK;
    } else if (kd_str_is(type, "Fuse")) {
        d.kind = DC_FUSE;
    } else if (kd_str_is(type, "Replace")) {
        d.kind = DC_REPLACE;
        if ((c = get_pattern(t, n, part, &d.pattern, false, e)) || (c = get_string(t, n, part, "content", &d.content, e))) return c;
    } else if (kd_str_is(type, "Strip")) {
        d.kind = DC_STRIP;
        if ((c = get_char(t, n, part, "content", &d.content, e)) || (c = get_count(t, n, "start", &d.start, e)) ||
            (c = get_count(t, n, "stop", &d.stop, e)))
            return c;
    } else if (kd_str_is(type, "Metaspace")) {
        tok_pre p = {0};
        d.kind = DC_METASPACE;
        if ((c = get_char(t, n, part, "replacement", &d.content, e)) || (c = get_scheme(t, n, &p, e))) return c;
        d.drop_first = p.scheme != MS_NEVER;
    } else {
        return lacking(t, part, type, e);
    }
    t->dec[t->decs++] = d;
    return KD_OK;
}

/* ---- post-processor: the ids around a text ---- */

static kd_code check_id(const kd_tokenizer *t, const kd_json_node *n, kd_ids *to, kd_err *e) {
    int64_t id;
    if (!kd_json_int(n, &id) || id < 0 || (uint64_t)id >= t->size || !kd_tokenizer_token(t, (int32_t)id).text.data)
        return kd_fail(e, KD_EFORMAT, "%s: post-processor: a token id outside the vocabulary", t->what);
    return kd_ids_push(to, (int32_t)id) ? kd_tok_enomem(e) : KD_OK;
}

/* Ids in front go before those of earlier processors. */
static kd_code put_front(kd_tokenizer *t, kd_ids *more, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < t->before.n && !c; i++)
        if (kd_ids_push(more, t->before.id[i])) c = kd_tok_enomem(e);
    if (c) {
        kd_ids_clear(more);
        return c;
    }
    kd_ids_clear(&t->before);
    t->before = *more;
    return KD_OK;
}

static kd_code template_part(kd_tokenizer *t, const kd_json_node *v, const kd_json_node *tokens, kd_ids *front, bool *seen, kd_err *e) {
    const kd_json_node *sequence = kd_json_get(v, "Sequence"), *special = kd_json_get(v, "SpecialToken");
    if (sequence) {
        if (*seen || !kd_str_is(kd_json_string(kd_json_get(sequence, "id")), "A"))
            return lacking(t, "post-processor template without one A:", KD_STR("single"), e);
        *seen = true;
        return KD_OK;
    }
    const kd_str name = kd_json_string(kd_json_get(special, "id"));
    const kd_json_node *found = NULL;
    for (const kd_json_node *k = kd_json_first(tokens); k && name.data && !found; k = kd_json_next(k))
        if (kd_str_eq(kd_json_key(k), name)) found = k;
    const kd_json_node *ids = kd_json_get(found, "ids");
    if (kd_json_typeof(ids) != KD_JSON_ARRAY) return wrong(t, "post-processor", "single", "of sequences and special tokens with ids", e);
    kd_code c = KD_OK;
    for (const kd_json_node *k = kd_json_first(ids); k && !c; k = kd_json_next(k)) c = check_id(t, k, *seen ? &t->after : front, e);
    return c;
}

static kd_code template(kd_tokenizer *t, const kd_json_node *n, kd_err *e) {
    const kd_json_node *single = kd_json_get(n, "single"), *tokens = kd_json_get(n, "special_tokens");
    kd_ids front = {0};
    bool seen = false;
    if (kd_json_typeof(single) != KD_JSON_ARRAY) return wrong(t, "post-processor", "single", "a list", e);
    kd_code c = KD_OK;
    for (const kd_json_node *v = kd_json_first(single); v && !c; v = kd_json_next(v)) c = template_part(t, v, tokens, &front, &seen, e);
    if (!c && !seen) c = wrong(t, "post-processor", "single", "a template with the sequence A", e);
    if (c) {
        kd_ids_clear(&front);
        return c;
    }
    return put_front(t, &front, e);
}

/* RobertaProcessing and BertProcessing: "cls": [text, id], "sep": [text, id] */
static kd_code around(kd_tokenizer *t, const kd_json_node *n, kd_err *e) {
    kd_ids front = {0};
    kd_code c = check_id(t, kd_json_next(kd_json_first(kd_json_get(n, "cls"))), &front, e);
    if (!c) c = check_id(t, kd_json_next(kd_json_first(kd_json_get(n, "sep"))), &t->after, e);
    if (c) {
        kd_ids_clear(&front);
        return c;
    }
    return put_front(t, &front, e);
}

kd_code kd_tok_parse_post(kd_tokenizer *t, const kd_json_node *n, kd_err *e) {
    if (nothing(n)) return KD_OK;
    const kd_str type = kd_json_string(kd_json_get(n, "type"));
    if (kd_str_is(type, "Sequence")) return each(t, n, "post-processor", "processors", kd_tok_parse_post, e);
    if (kd_str_is(type, "ByteLevel")) return KD_OK; /* moves offsets, which we do not give */
    if (kd_str_is(type, "TemplateProcessing")) return template(t, n, e);
    if (kd_str_is(type, "RobertaProcessing") || kd_str_is(type, "BertProcessing")) return around(t, n, e);
    return lacking(t, "post-processor", type, e);
}
