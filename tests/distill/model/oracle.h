/* tests/distill/model/oracle.h - the oracle models of tests/oracle: their sequences and what is expected of them. For tests of model, student, convert. */
#ifndef KD_TEST_ORACLE_H
#define KD_TEST_ORACLE_H

#include "distill/base/file.h"
#include "distill/base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const ORACLES[] = {"llama-tied-rope3", "llama-untied-spm", "qwen2-tied", "qwen3-untied"};
enum { ORACLE_COUNT = 4 };

/* Runs a call that takes `e` as its kd_err and fails the test with the message it leaves. */
#define OK(call)                                                                                                                           \
    do {                                                                                                                                   \
        kd_err *const e = &oracle_err;                                                                                                     \
        if ((call) != KD_OK) fail_msg("%s: %s", #call, e->msg);                                                                            \
    } while (0)
static kd_err oracle_err;

static inline char *oracle_path(char *s, const char *model, const char *file) {
    snprintf(s, 256, "tests/oracle/models/%s%s%s", model, file ? "/" : "", file ? file : "");
    return s;
}

typedef struct {
    int32_t *tokens;
    unsigned char *loss;
    size_t n;
} oracle_seq;

/* sequences.jsonl; freed with oracle_free. */
static inline size_t oracle_sequences(oracle_seq *out, size_t max, const char *model) {
    char path[256];
    kd_buf text = {0};
    size_t count = 0;
    OK(kd_file_read(&text, oracle_path(path, model, "sequences.jsonl"), 1 << 24, e));
    for (char *p = text.data; p < text.data + text.len && count < max;) {
        char *end = strchr(p, '\n');
        end = end ? end : text.data + text.len;
        kd_json *doc;
        OK(kd_json_parse(&doc, p, (size_t)(end - p), path, e));
        const kd_json_node *t = kd_json_get(kd_json_root(doc), "tokens"), *l = kd_json_get(kd_json_root(doc), "loss");
        oracle_seq *s = &out[count++];
        s->n = 0;
        s->tokens = malloc(kd_json_count(t) * sizeof *s->tokens);
        s->loss = malloc(kd_json_count(t));
        for (t = kd_json_first(t), l = kd_json_first(l); t; t = kd_json_next(t), l = kd_json_next(l)) {
            s->tokens[s->n] = (int32_t)kd_json_number(t, -1);
            s->loss[s->n++] = kd_json_number(l, 0) != 0;
        }
        kd_json_free(doc);
        p = end + 1;
    }
    kd_buf_clear(&text);
    return count;
}
static inline void oracle_free(oracle_seq *s, size_t n) {
    for (size_t i = 0; i < n; i++) free(s[i].tokens), free(s[i].loss);
}

/* A JSON file of a model, parsed; freed with kd_json_free. */
static inline kd_json *oracle_json(const char *model, const char *file) {
    char path[256];
    kd_buf text = {0};
    kd_json *doc = NULL;
    OK(kd_file_read(&text, oracle_path(path, model, file), 1 << 24, e));
    OK(kd_json_parse(&doc, text.data, text.len, path, e));
    kd_buf_clear(&text);
    return doc;
}

#endif
