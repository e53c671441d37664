/* tests/datasets/study_help.h - a temporary folder and small studies for the tests of this room. */
#ifndef KD_TESTS_STUDY_HELP_H
#define KD_TESTS_STUDY_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datasets/import.h"
#include "datasets/label.h"
#include "datasets/study.h"
#include "distill/base/file.h"

static char tmp_dir[64];

static inline int make_tmp(void **state) {
    (void)state;
    strcpy(tmp_dir, "/tmp/kd-study-XXXXXX");
    return mkdtemp(tmp_dir) ? 0 : -1;
}

static inline int drop_tmp(void **state) {
    (void)state;
    return kd_remove_tree(tmp_dir, NULL);
}

/* A name in the folder; the last four stay valid. */
static inline const char *in_tmp(const char *name) {
    static char names[4][160];
    static int at;
    char *s = names[at++ % 4];
    snprintf(s, 160, "%s/%s", tmp_dir, name);
    return s;
}

static inline void write_text(const char *path, const char *text) {
    assert_int_equal(kd_file_write(path, text, strlen(text), NULL), KD_OK);
}

#pragma GCC diagnostic ignored "-Wshadow" /* e of OK and FAILS inside a test's own */
#define OK(call)                                                                                                                           \
    do {                                                                                                                                   \
        kd_err e;                                                                                                                          \
        kd_err_clear(&e);                                                                                                                  \
        kd_code ok_rc = (call);                                                                                                            \
        if (ok_rc) fail_msg("%s:%d: code %d: %s", __FILE__, __LINE__, (int)ok_rc, e.msg);                                                  \
    } while (0)
#define FAILS(code_, part, call)                                                                                                           \
    do {                                                                                                                                   \
        kd_err e;                                                                                                                          \
        kd_err_clear(&e);                                                                                                                  \
        assert_int_equal((call), code_);                                                                                                   \
        if (!strstr(e.msg, part)) fail_msg("%s:%d: expected \"%s\" in: %s", __FILE__, __LINE__, part, e.msg);                              \
    } while (0)

/* n questions "What is I + I?" with gold 2I into a new study. */
static inline kd_study *study_of(const char *name, int n) {
    kd_study *s = NULL;
    kd_buf b = {0};
    const char *file = in_tmp("questions.jsonl");
    kd_import_report r;
    for (int i = 0; i < n; i++) kd_buf_printf(&b, "{\"question\":\"What is %d + %d?\",\"answer\":\"%d\"}\n", i, i, 2 * i);
    write_text(file, b.data);
    kd_buf_clear(&b);
    OK(kd_study_open(&s, in_tmp(name), KD_STUDY_CREATE, &e));
    OK(kd_import_file(s, file, NULL, NULL, &r, &e));
    assert_int_equal(r.prompts, n);
    return s;
}

static inline kd_answer answer_of(int64_t prompt, int sample, const char *text) {
    return (kd_answer){.prompt = prompt,
                       .sample = sample,
                       .answer = kd_str_of(text),
                       .finish = "stop",
                       .prompt_tokens = 10,
                       .completion_tokens = 5,
                       .reasoning_tokens = -1,
                       .cached_tokens = -1,
                       .cost = 0.25,
                       .seconds = 0.5,
                       .first_token_seconds = -1};
}

#endif
