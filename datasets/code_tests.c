/* datasets/code_tests.c - the tests that a gold answer of a task of code holds, read and checked. Leans on code_int.h. Their form: datasets/README.md. */
#include "datasets/code_int.h"

#include <stdio.h>
#include <string.h>

static kd_code bad(kd_err *e, const char *what) { return kd_fail(e, KD_EFORMAT, "gold tests: expected %s", what); }

static kd_str text_of(const kd_json_node *root, const char *key) {
    const kd_str s = kd_json_string(kd_json_get(root, key));
    return s.len ? s : (kd_str){NULL, 0};
}

static bool identifier(kd_str s) {
    if (!s.len || s.len > 200 || (s.data[0] >= '0' && s.data[0] <= '9')) return false;
    for (size_t i = 0; i < s.len; i++) {
        const char c = s.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$')) return false;
    }
    return true;
}

static kd_code read_compare(kd_tests *t, const kd_json_node *root, kd_err *e) {
    static const char *const words[] = {"lines", "tokens", "exact"};
    const kd_json_node *n = kd_json_get(root, "compare"), *tolerance = kd_json_get(root, "tolerance");
    size_t i = 0;
    if (n) {
        while (i < 3 && !kd_str_is(kd_json_string(n), words[i])) i++;
        if (i == 3) return bad(e, "compare to be lines, tokens or exact");
        t->compare.how = (kd_same_how)i;
    }
    t->compare.tolerance = kd_json_number(tolerance, 0);
    if (tolerance && !(t->compare.tolerance >= 0 && t->compare.tolerance < 1e9)) return bad(e, "tolerance to be a number, 0 or more");
    return KD_OK;
}

static kd_code read_limits(kd_tests *t, const kd_json_node *root, kd_err *e) {
    const kd_json_node *time = kd_json_get(root, "time_limit"), *memory = kd_json_get(root, "memory_limit");
    if (kd_json_typeof(time) == KD_JSON_NULL) time = NULL;
    if (kd_json_typeof(memory) == KD_JSON_NULL) memory = NULL;
    if (time) t->seconds = kd_json_number(time, -1);
    if (time && !(t->seconds > 0 && t->seconds <= 600)) return bad(e, "time_limit to be seconds, more than 0, at most 600");
    const double mib = memory ? kd_json_number(memory, -1) : 0;
    if (memory && !(mib >= 1 && mib <= 65536)) return bad(e, "memory_limit to be MiB, 1 to 65536");
    t->memory = (uint64_t)(mib * 1048576);
    return KD_OK;
}

static kd_code read_pairs(kd_tests *t, const kd_json_node *root, kd_err *e) {
    const kd_json_node *name = kd_json_get(root, "fn_name");
    t->inputs = kd_json_get(root, "inputs");
    t->outputs = kd_json_get(root, "outputs");
    if (kd_json_typeof(t->inputs) != KD_JSON_ARRAY || kd_json_typeof(t->outputs) != KD_JSON_ARRAY)
        return bad(e, "inputs and outputs to be arrays");
    t->n = kd_json_count(t->inputs);
    if (t->n != kd_json_count(t->outputs)) return bad(e, "as many outputs as inputs");
    t->name = kd_json_string(name);
    t->kind = t->name.len ? KD_TESTS_FUNCTION : KD_TESTS_STDIN;
    if (t->name.len && !identifier(t->name)) return bad(e, "fn_name to be a name");
    if (t->kind == KD_TESTS_FUNCTION) return KD_OK;
    for (const kd_json_node *n = kd_json_first(t->inputs); n; n = kd_json_next(n))
        if (kd_json_typeof(n) != KD_JSON_STRING && kd_json_typeof(n) != KD_JSON_ARRAY)
            return bad(e, "inputs to be text, or lists of lines");
    for (const kd_json_node *n = kd_json_first(t->outputs); n; n = kd_json_next(n))
        if (kd_json_typeof(n) != KD_JSON_STRING && kd_json_typeof(n) != KD_JSON_ARRAY)
            return bad(e, "outputs to be text, or lists of lines");
    return KD_OK;
}

static kd_code read_asserts(kd_tests *t, const kd_json_node *root, kd_err *e) {
    t->kind = KD_TESTS_ASSERT;
    t->asserts = kd_json_typeof(root) == KD_JSON_ARRAY ? root : kd_json_get(root, "asserts");
    t->test = text_of(root, "test");
    t->setup = text_of(root, "setup");
    t->prompt = text_of(root, "prompt");
    t->name = text_of(root, "entry_point");
    if (t->name.len && !identifier(t->name)) return bad(e, "entry_point to be a name");
    if (t->asserts && kd_json_typeof(t->asserts) != KD_JSON_ARRAY) return bad(e, "asserts to be a list of statements");
    for (const kd_json_node *n = kd_json_first(t->asserts); n; n = kd_json_next(n))
        if (kd_json_typeof(n) != KD_JSON_STRING) return bad(e, "asserts to be a list of statements");
    t->n = kd_json_count(t->asserts) + (t->test.len > 0);
    return KD_OK;
}

kd_code kd_tests_read(kd_tests *t, kd_str gold, kd_err *e) {
    *t = (kd_tests){0};
    kd_code rc = kd_json_parse(&t->doc, gold.data, gold.len, "gold tests", e);
    if (rc) return rc;
    const kd_json_node *root = kd_json_root(t->doc);
    const kd_str lang = text_of(root, "language");
    t->lang = kd_lang_named(lang);
    if (lang.len && !t->lang)
        rc = kd_fail(e, KD_EFORMAT, "gold tests: expected language to be python, c, cpp or javascript, found %.*s",
                     (int)(lang.len < 40 ? lang.len : 40), lang.data);
    else if (kd_json_get(root, "inputs") || kd_json_get(root, "outputs"))
        rc = read_pairs(t, root, e);
    else if (kd_json_typeof(root) == KD_JSON_ARRAY || kd_json_get(root, "asserts") || kd_json_get(root, "test"))
        rc = read_asserts(t, root, e);
    else
        rc = bad(e, "inputs and outputs, asserts, or test");
    if (!rc && !t->n) rc = bad(e, "at least one test");
    if (!rc) rc = read_compare(t, root, e);
    if (!rc) rc = read_limits(t, root, e);
    if (rc) kd_tests_clear(t);
    return rc;
}

void kd_tests_clear(kd_tests *t) {
    kd_json_free(t->doc);
    *t = (kd_tests){0};
}

bool kd_tests_look(kd_str gold) {
    if (gold.len < 12 || gold.data[0] != '{' || gold.data[gold.len - 1] != '}') return false;
    static const char *const keys[] = {"\"inputs\"", "\"asserts\"", "\"test\""};
    bool any = false;
    for (int i = 0; i < 3 && !any; i++) any = memmem(gold.data, gold.len, keys[i], strlen(keys[i])) != NULL;
    kd_tests t;
    if (!any || kd_tests_read(&t, gold, NULL)) return false;
    kd_tests_clear(&t);
    return true;
}
