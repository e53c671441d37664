/* datasets/row_tests.c - the tests of a row of code, in the forms that open data sets use, as the one form that gold answers of code have. Leans on
 * code_int.h. Forms: datasets/README.md, "Programs". */
#include "datasets/row_int.h"

#include "datasets/code_int.h"

#include <string.h>

typedef struct {
    const kd_json_node *root;
    kd_row_used *used;
    kd_jsonw w;
    kd_buf strings; /* of inputs and outputs that are gathered case by case */
} gathering;

/* A member that is JSON, or text that holds JSON (*doc then owns it). */
static const kd_json_node *json_member(const kd_json_node *root, const char *key, kd_json **doc) {
    const kd_json_node *n = kd_json_get(root, key);
    const kd_str s = kd_json_string(n);
    *doc = NULL;
    if (!s.data) return n;
    if (kd_json_parse(doc, s.data, s.len, key, NULL)) return NULL;
    return kd_json_root(*doc);
}

static void use(gathering *g, const char *key) {
    if (kd_json_get(g->root, key) && g->used->n < sizeof g->used->key / sizeof *g->used->key) g->used->key[g->used->n++] = key;
}

static void put(kd_jsonw *w, const char *key, const kd_json_node *n) {
    if (!n || kd_json_typeof(n) == KD_JSON_NULL) return;
    kd_jsonw_key(w, key);
    kd_jsonw_node(w, n);
}

static void put_text(kd_jsonw *w, const char *key, kd_str s) {
    if (!s.len) return;
    kd_jsonw_key(w, key);
    kd_jsonw_str(w, s);
}

/* APPS, TACO: {"inputs":[...],"outputs":[...],"fn_name":...}. */
static bool from_input_output(gathering *g, const char *key) {
    kd_json *doc;
    const kd_json_node *n = json_member(g->root, key, &doc);
    const bool any = kd_json_count(kd_json_get(n, "inputs")) > 0;
    if (any) {
        static const char *const keys[] = {"inputs", "outputs", "fn_name", "language", "compare", "tolerance"};
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) put(&g->w, keys[i], kd_json_get(n, keys[i]));
        use(g, key);
    }
    kd_json_free(doc);
    return any;
}

/* One list of {"input","output"} behind others: key is "input" or "output". */
static void put_cases(kd_jsonw *w, const kd_json_node *const *lists, size_t n, const char *key) {
    for (size_t i = 0; i < n; i++)
        for (const kd_json_node *c = kd_json_first(lists[i]); c; c = kd_json_next(c)) {
            const kd_json_node *v = kd_json_get(c, key);
            if (v)
                kd_jsonw_node(w, v);
            else
                kd_jsonw_null(w);
        }
}

/* LiveCodeBench (public, private where it is readable), open-r1 (official_tests; verification_info.test_cases): lists of cases. */
static bool from_cases(gathering *g) {
    static const char *const keys[] = {"public_test_cases", "private_test_cases", "official_tests", "test_cases"};
    enum { LISTS = 5 };
    kd_json *docs[LISTS + 2] = {0};
    const kd_json_node *lists[LISTS] = {0}, *info = json_member(g->root, "verification_info", &docs[LISTS]),
                       *meta = json_member(g->root, "metadata", &docs[LISTS + 1]);
    size_t n = 0, cases = 0;
    for (size_t i = 0; i < 4; i++) {
        const kd_json_node *l = json_member(g->root, keys[i], &docs[i]);
        if (kd_json_typeof(l) == KD_JSON_ARRAY && kd_json_get(kd_json_first(l), "input")) {
            lists[n++] = l;
            cases += kd_json_count(l);
            use(g, keys[i]);
        }
    }
    const kd_json_node *l = kd_json_get(info, "test_cases");
    if (kd_json_count(l)) {
        lists[n++] = l;
        cases += kd_json_count(l);
        use(g, "verification_info");
    }
    if (cases) {
        const kd_json_node *one = kd_json_first(lists[0]), *name = kd_json_get(meta, "func_name");
        if (!kd_json_string(name).len) name = kd_json_get(one, "fn_name");
        kd_jsonw_key(&g->w, "inputs");
        kd_jsonw_array(&g->w);
        put_cases(&g->w, lists, n, "input");
        kd_jsonw_end_array(&g->w);
        kd_jsonw_key(&g->w, "outputs");
        kd_jsonw_array(&g->w);
        put_cases(&g->w, lists, n, "output");
        kd_jsonw_end_array(&g->w);
        if (kd_json_string(name).len) put(&g->w, "fn_name", name);
        if (kd_lang_named(kd_json_string(kd_json_get(info, "language")))) put(&g->w, "language", kd_json_get(info, "language"));
    }
    for (int i = 0; i < LISTS + 2; i++) kd_json_free(docs[i]);
    return cases > 0;
}

/* MBPP: test_list, test_setup_code or test_imports. */
static bool from_asserts(gathering *g) {
    const kd_json_node *list = kd_json_get(g->root, "test_list"), *imports = kd_json_get(g->root, "test_imports");
    kd_str setup = kd_json_string(kd_json_get(g->root, "test_setup_code"));
    if (!kd_json_count(list) || kd_json_typeof(list) != KD_JSON_ARRAY) return false;
    put(&g->w, "asserts", list);
    g->strings.len = 0;
    for (const kd_json_node *l = kd_json_first(imports); l && !setup.len; l = kd_json_next(l)) {
        const kd_str s = kd_json_string(l);
        if (kd_buf_append(&g->strings, s.data, s.len) || kd_buf_putc(&g->strings, '\n')) g->w.code = KD_ENOMEM;
    }
    put_text(&g->w, "setup", setup.len ? setup : kd_buf_view(&g->strings));
    use(g, "test_list");
    use(g, "test_setup_code");
    use(g, "test_imports");
    return true;
}

/* HumanEval: test defines check(candidate), entry_point names the function, prompt is the code that a completion goes on from. */
static bool from_check(gathering *g) {
    const kd_str test = kd_json_string(kd_json_get(g->root, "test")), entry = kd_json_string(kd_json_get(g->root, "entry_point"));
    const kd_str prompt = kd_json_string(kd_json_get(g->root, "prompt"));
    if (!test.len || !entry.len) return false;
    put_text(&g->w, "test", test);
    put_text(&g->w, "entry_point", entry);
    if (memmem(prompt.data, prompt.len, "def ", 4) && kd_has_word(prompt, entry)) put_text(&g->w, "prompt", prompt);
    use(g, "test");
    use(g, "entry_point");
    return true;
}

/* An answer, gold or tests that is an object or a list already is what we keep. */
static bool as_it_is(gathering *g, const char *key) {
    const kd_json_node *n = kd_json_get(g->root, key);
    if (kd_json_typeof(n) == KD_JSON_ARRAY && kd_json_typeof(kd_json_first(n)) == KD_JSON_STRING) {
        put(&g->w, "asserts", n);
    } else {
        if (!kd_json_get(n, "inputs") && !kd_json_get(n, "asserts") && !kd_json_get(n, "test")) return false;
        for (const kd_json_node *m = kd_json_first(n); m; m = kd_json_next(m)) {
            kd_jsonw_key_str(&g->w, kd_json_key(m));
            kd_jsonw_node(&g->w, m);
        }
    }
    use(g, key);
    return true;
}

static void put_limits(gathering *g) {
    static const char *const keys[] = {"time_limit", "memory_limit"};
    for (int i = 0; i < 2; i++)
        if (kd_json_number(kd_json_get(g->root, keys[i]), -1) > 0) {
            put(&g->w, keys[i], kd_json_get(g->root, keys[i]));
            use(g, keys[i]);
        }
}

kd_code kd_row_tests(kd_buf *out, const kd_json_node *root, kd_row_used *used, kd_err *e) {
    static const char *const ready[] = {"answer", "gold", "tests"};
    gathering g = {.root = root, .used = used, .w = {.out = out}};
    kd_tests t;
    const size_t before = out->len;
    bool any = false;
    used->n = 0;
    kd_jsonw_object(&g.w);
    for (int i = 0; i < 3 && !any; i++) any = as_it_is(&g, ready[i]);
    const bool whole = any;
    if (!any) any = from_input_output(&g, "input_output") || from_cases(&g) || from_asserts(&g) || from_check(&g);
    if (any && !whole) put_limits(&g);
    kd_jsonw_end_object(&g.w);
    kd_code rc = g.w.code;
    kd_buf_clear(&g.strings);
    if (!any) out->len = before;
    if (rc) return kd_fail(e, rc, "no memory for a row");
    if (!any || (rc = kd_tests_read(&t, (kd_str){out->data + before, out->len - before}, e))) return rc;
    kd_tests_clear(&t);
    return KD_OK;
}
