/* distill/base/regex.c - regular expressions by PCRE2. Leans on mem.h, err.h. */
#include "distill/base/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

enum { MATCH_LIMIT = 10000000, DEPTH_LIMIT = 100000, HEAP_LIMIT_KIB = 65536, JIT_STACK = 1 << 20 };

struct kd_regex {
    pcre2_general_context *general;
    pcre2_code *code;
    pcre2_match_context *limits;
    pcre2_match_data *match;
    pcre2_jit_stack *stack;
    char *pattern;
};

static void *take(PCRE2_SIZE n, void *unused) {
    (void)unused;
    return kd_malloc(n);
}

static void give(void *p, void *unused) {
    (void)unused;
    kd_free(p);
}

void kd_regex_free(kd_regex *r) {
    if (!r) return;
    pcre2_jit_stack_free(r->stack);
    pcre2_match_data_free(r->match);
    pcre2_match_context_free(r->limits);
    pcre2_code_free(r->code);
    pcre2_general_context_free(r->general);
    kd_free(r->pattern);
    kd_free(r);
}

static kd_code compile(kd_regex *r, size_t len, kd_err *e) {
    int rc;
    PCRE2_SIZE at;
    pcre2_compile_context *cc = pcre2_compile_context_create(r->general);
    if (!cc) return kd_fail(e, KD_ENOMEM, "regular expression: no memory");
    (void)pcre2_set_parens_nest_limit(cc, 200);
    r->code = pcre2_compile((PCRE2_SPTR)r->pattern, len, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &rc, &at, cc);
    pcre2_compile_context_free(cc);
    if (r->code) return KD_OK;
    if (rc == PCRE2_ERROR_HEAP_FAILED || rc == 121)
        return kd_fail(e, KD_ENOMEM, "regular expression: no memory"); /* 121: no memory to compile */
    PCRE2_UCHAR why[160];
    if (pcre2_get_error_message(rc, why, sizeof why) < 0) why[0] = '\0';
    return kd_fail(e, KD_EFORMAT, "regular expression '%.200s', offset %zu: %s", r->pattern, (size_t)at, (const char *)why);
}

kd_code kd_regex_new(kd_regex **out, const char *pattern, size_t len, kd_err *e) {
    *out = NULL;
    kd_regex *r = kd_calloc(1, sizeof *r);
    kd_code c = KD_OK;
    if (!r || !(r->pattern = kd_strndup(pattern, len)) || !(r->general = pcre2_general_context_create(take, give, NULL))) {
        c = kd_fail(e, KD_ENOMEM, "regular expression: no memory");
        goto done;
    }
    if ((c = compile(r, len, e))) goto done;
    r->match = pcre2_match_data_create_from_pattern(r->code, r->general);
    r->limits = pcre2_match_context_create(r->general);
    if (!r->match || !r->limits) {
        c = kd_fail(e, KD_ENOMEM, "regular expression: no memory");
        goto done;
    }
    (void)pcre2_set_match_limit(r->limits, MATCH_LIMIT);
    (void)pcre2_set_depth_limit(r->limits, DEPTH_LIMIT);
    (void)pcre2_set_heap_limit(r->limits, HEAP_LIMIT_KIB);
    /* Without a JIT, or without memory for it, the interpreter gives the same answers. */
    if (pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0 && (r->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK, r->general)))
        pcre2_jit_stack_assign(r->limits, NULL, r->stack);
done:
    if (c) {
        kd_regex_free(r);
        return c;
    }
    *out = r;
    return KD_OK;
}

kd_code kd_regex_find(kd_regex *r, const char *s, size_t n, size_t from, bool *found, size_t *start, size_t *end, size_t *groups,
                      int max_groups, kd_err *e) {
    *found = false;
    if (from > n) return kd_fail(e, KD_EINVAL, "regular expression '%.200s': start %zu of %zu bytes", r->pattern, from, n);
    if (n == 0) s = "";
    int rc = pcre2_match(r->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, r->match, r->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap and may get further */
        rc = pcre2_match(r->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, r->match, r->limits);
    if (rc == PCRE2_ERROR_NOMATCH) return KD_OK;
    if (rc == PCRE2_ERROR_NOMEMORY) return kd_fail(e, KD_ENOMEM, "regular expression '%.200s': no memory", r->pattern);
    if (rc < 0) {
        PCRE2_UCHAR why[160];
        if (pcre2_get_error_message(rc, why, sizeof why) < 0) why[0] = '\0';
        return kd_fail(e, KD_ELIMIT, "regular expression '%.200s' on %zu bytes: %s", r->pattern, n, (const char *)why);
    }
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(r->match);
    const uint32_t pairs = pcre2_get_ovector_count(r->match);
    if (v[0] > v[1]) return kd_fail(e, KD_EUNSUPPORTED, "regular expression '%.200s': \\K puts the start behind the end", r->pattern);
    *found = true;
    *start = v[0];
    *end = v[1];
    for (int i = 0; groups && i < max_groups; i++) {
        const bool took = (uint32_t)i < pairs && i < rc && v[2 * i] != PCRE2_UNSET;
        groups[2 * i] = took ? v[2 * i] : (size_t)-1;
        groups[2 * i + 1] = took ? v[2 * i + 1] : (size_t)-1;
    }
    return KD_OK;
}
