/* tests/convert/test_modelfile.c - Modelfiles of templates that Ollama has words for and of others. The module holds what it writes to the model's own
 * template; here is the text itself. Ollama was not at hand to read it: its syntax is taken from Ollama's documentation. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "convert/modelfile.h"

#include "convert/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORACLE "tests/oracle/models/"
static char temp_dir[64];
static const char *const IM =
    "FROM ./m.gguf\nTEMPLATE \"\"\"{{- range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
    "{{ if and (eq $i 0) (ne .Role \"system\") }}%s{{ end }}"
    "{{ if eq .Role \"system\" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n"
    "{{ else if eq .Role \"user\" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n"
    "{{ else if eq .Role \"assistant\" }}<|im_start|>assistant\n{{ .Content }}{{ if not $last }}<|im_end|>\n{{ end }}{{ end }}"
    "{{ if and $last (ne .Role \"assistant\") }}<|im_start|>assistant\n{{ end }}{{ end }}\"\"\"\nPARAMETER stop \"<|im_end|>\"\n";

static int setup(void **state) {
    (void)state;
    strcpy(temp_dir, "/tmp/kd-modelfile-XXXXXX");
    return mkdtemp(temp_dir) ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    return kd_remove_tree(temp_dir, NULL);
}

/* qwen2-tied as GGUF with another chat template (NULL: its own). */
static void model(char path[128], const char *jinja) {
    kd_err e = {0};
    char dir[128], file[160];
    snprintf(dir, sizeof dir, "%s/m", temp_dir);
    snprintf(file, sizeof file, "%s/chat_template.jinja", dir);
    snprintf(path, 128, "%s/m.gguf", temp_dir);
    if (kd_convert(ORACLE "qwen2-tied", dir, &(kd_convert_options){0}, false, NULL, NULL, NULL, &e)) fail_msg("%s", e.msg);
    if (jinja && kd_file_write(file, jinja, strlen(jinja), &e)) fail_msg("%s", e.msg);
    if (kd_convert(dir, path, &(kd_convert_options){0}, false, NULL, NULL, NULL, &e)) fail_msg("%s", e.msg);
}
static void check(const char *jinja, const char *absent, const char *warned) {
    char path[128], want[2048];
    kd_buf out = {0}, warn = {0};
    kd_err e = {0};
    model(path, jinja);
    if (kd_modelfile(&out, &warn, path, "m.gguf", &e)) fail_msg("%s", e.msg);
    if (absent) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(want, sizeof want, IM, absent);
#pragma GCC diagnostic pop
        assert_string_equal(out.data, want);
    } else {
        assert_null(strstr(out.data, "TEMPLATE"));
    }
    if (warned)
        assert_non_null(strstr(warn.data, warned));
    else
        assert_int_equal(warn.len, 0);
    kd_buf_clear(&out);
    kd_buf_clear(&warn);
}

#define LOOP "{% for m in messages %}"
#define TURN "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
#define CALL "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

static void said(void **state) {
    (void)state;
    check(NULL, "", NULL);
    check(LOOP "{% if loop.first and m['role'] != 'system' %}{{ '<|im_start|>system\\nBe {{kind}}<|im_end|>\\n' }}{% endif %}" TURN CALL,
          "<|im_start|>system\nBe {{ \"{{\" }}kind}}<|im_end|>\n", NULL);
    check("{% if tools %}{{ tools | tojson }}{% endif %}" LOOP TURN CALL, "", "has no tools");
}

static void not_said(void **state) {
    (void)state;
    check(LOOP "{% if loop.index0 == 4 %}{{ 'again ' }}{% endif %}" TURN CALL, NULL, "cannot be said");
    check(LOOP "{% if m['role'] == 'system' %}{{ raise_exception('no system prompt') }}{% endif %}" TURN CALL, NULL, "cannot be said");
    check(LOOP "{% if loop.first %}{{ '\"\"\"' }}{% endif %}" TURN CALL, NULL, "cannot be said");
    check("the same whatever they say", NULL, "cannot be said");
}

static void no_memory(void **state) {
    (void)state;
    char path[128];
    model(path, NULL);
    for (long n = 1;; n = n < 64 ? n + 1 : n + 97) {
        kd_buf out = {0}, warn = {0};
        kd_err e = {0};
        kd_alloc_fail_at(n);
        kd_code c = kd_modelfile(&out, &warn, path, "m.gguf", &e);
        bool reached = kd_alloc_count() >= n;
        kd_alloc_fail_at(0);
        if (!reached)
            assert_int_equal(c, KD_OK);
        else if (c && !e.msg[0])
            fail_msg("allocation %ld: code %d without words", n, c);
        kd_buf_clear(&out);
        kd_buf_clear(&warn);
        if (!reached) break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(said), cmocka_unit_test(not_said), cmocka_unit_test(no_memory)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
