/* tests/datasets/fuzz_code.c - programs out of answers, tests out of gold answers and rows, outputs compared: bounded, and sound for any bytes.
 * The first byte parts the input: gold and answer. */
#include "datasets/code_int.h"
#include "datasets/row_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void harness(const kd_tests *t, kd_str code) {
    for (kd_lang l = KD_LANG_PYTHON; l <= KD_LANG_JS; l++) {
        kd_buf program = {0}, tests = {0}, whole = {0};
        kd_json *doc = NULL;
        if (kd_program(&whole, l, t, code, NULL) || kd_harness(&program, &tests, l, t, code, "kd-1 ", NULL) ||
            kd_json_parse(&doc, tests.data, tests.len, "tests", NULL))
            abort();
        kd_json_free(doc);
        kd_buf_clear(&program);
        kd_buf_clear(&tests);
        kd_buf_clear(&whole);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    const char *cut = size ? memchr(text, 0, size) : NULL;
    const kd_str a = {text, cut ? (size_t)(cut - text) : size}, b = {cut ? cut + 1 : text, cut ? size - a.len - 1 : 0};
    kd_tests t;
    kd_lang found;
    char why[160];
    for (int l = KD_LANG_NONE; l <= KD_LANG_JS; l++) {
        const kd_str code = kd_code_extract(b, (kd_lang)l, KD_STR("f"), &found);
        if (code.data && (code.data < b.data || code.data + code.len > b.data + b.len)) abort();
    }
    for (int how = KD_SAME_LINES; how <= KD_SAME_EXACT; how++) {
        const kd_compare c = {(kd_same_how)how, how == KD_SAME_TOKENS ? 1e-6 : 0};
        if (!kd_output_same(a, a, &c, why) || kd_output_same(a, b, &c, why) != kd_output_same(b, a, &c, why)) {
            if (c.tolerance <= 0) abort(); /* a tolerance is of the expected one */
        }
    }
    if (kd_tests_read(&t, a, NULL) == KD_OK) {
        harness(&t, b);
        kd_tests_clear(&t);
    }
    kd_json *doc = NULL;
    if (kd_json_parse(&doc, a.data, a.len, "row", NULL) == KD_OK) {
        kd_buf out = {0};
        kd_row_used used;
        if (kd_row_tests(&out, kd_json_root(doc), &used, NULL) == KD_OK && out.len) {
            if (kd_tests_read(&t, kd_buf_view(&out), NULL)) abort();
            kd_tests_clear(&t);
        }
        if (!kd_value_same(kd_json_root(doc), kd_json_root(doc), 0)) abort();
        kd_buf_clear(&out);
        kd_json_free(doc);
    }
    return 0;
}
