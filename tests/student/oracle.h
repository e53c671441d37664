/* tests/student/oracle.h - reads what tests/oracle/models holds: lessons, expectations, tensors to compare with. For the tests of student. */
#ifndef KD_TEST_ORACLE_H
#define KD_TEST_ORACLE_H

#include "distill/base/cpu.h"
#include "distill/base/json.h"
#include "distill/format/safetensors.h"
#include "distill/math/codec.h"
#include "student/trainer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const oracle_names[] = {"llama-tied-rope3", "llama-untied-spm", "qwen2-tied", "qwen3-untied"};
enum { ORACLES = 4, SEQUENCES = 8 };

#define OK(call)                                                                                                                           \
    do {                                                                                                                                   \
        kd_err e_ = {0};                                                                                                                   \
        kd_code c_ = (call);                                                                                                               \
        if (c_ != KD_OK) fail_msg("%s: code %d: %s", #call, (int)c_, e_.msg);                                                              \
    } while (0)
#define ERR &e_

static inline char *oracle_path(char *s, size_t n, const char *model, const char *file) {
    snprintf(s, n, "tests/oracle/models/%s%s%s", model, file[0] ? "/" : "", file);
    return s;
}

static inline kd_json *oracle_json(const char *model, const char *file) {
    char path[300];
    kd_buf text = {0};
    kd_json *doc = NULL;
    OK(kd_file_read(&text, oracle_path(path, sizeof path, model, file), 1u << 26, ERR));
    OK(kd_json_parse(&doc, text.data, text.len, path, ERR));
    kd_buf_clear(&text);
    return doc;
}

/* The eight sequences. all: every token has loss. */
static inline void oracle_lessons(kd_lesson out[SEQUENCES], const char *model, bool all) {
    char path[300];
    kd_buf text = {0};
    OK(kd_file_read(&text, oracle_path(path, sizeof path, model, "sequences.jsonl"), 1u << 26, ERR));
    char *line = text.data;
    for (size_t i = 0; i < SEQUENCES; i++) {
        char *end = strchr(line, '\n');
        kd_json *doc = NULL;
        OK(kd_json_parse(&doc, line, (size_t)(end - line), path, ERR));
        const kd_json_node *tokens = kd_json_get(kd_json_root(doc), "tokens"), *loss = kd_json_get(kd_json_root(doc), "loss");
        kd_lesson *l = &out[i];
        *l = (kd_lesson){.n = kd_json_count(tokens), .row = i + 1, .weight = 1};
        l->tokens = kd_calloc(l->n, sizeof *l->tokens);
        l->loss = kd_calloc(l->n, 1);
        const kd_json_node *a = kd_json_first(tokens), *b = kd_json_first(loss);
        for (size_t k = 0; k < l->n; k++, a = kd_json_next(a), b = kd_json_next(b)) {
            l->tokens[k] = (int32_t)kd_json_number(a, -1);
            l->loss[k] = all || kd_json_number(b, 0) != 0;
        }
        kd_json_free(doc);
        line = end + 1;
    }
    kd_buf_clear(&text);
}
static inline void oracle_lessons_clear(kd_lesson l[SEQUENCES]) {
    for (size_t i = 0; i < SEQUENCES; i++) {
        kd_free(l[i].tokens);
        kd_free(l[i].loss);
    }
}

/* ||got - want|| / ||want|| of the named tensor of an open file. */
static inline double oracle_deviation(const kd_safetensors *f, const char *name, const float *got, size_t n) {
    const kd_tensor *t = kd_tensors_find(kd_safetensors_tensors(f), name);
    if (!t) fail_msg("no %s in the oracle", name);
    assert_int_equal(kd_tensor_elements(t), n);
    double off = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        float w;
        memcpy(&w, (const char *)t->data + i * sizeof w, sizeof w);
        off += ((double)got[i] - (double)w) * ((double)got[i] - (double)w);
        norm += (double)w * (double)w;
    }
    return norm > 0 ? sqrt(off / norm) : sqrt(off);
}
/* The worst deviation of any trained array from a file of them; every one must be there. */
static inline double oracle_worst(const kd_params *p, const float *slab, const char *model, const char *file) {
    char path[300];
    kd_safetensors *f = NULL;
    OK(kd_safetensors_open(&f, oracle_path(path, sizeof path, model, file), ERR));
    assert_int_equal(kd_tensors_count(kd_safetensors_tensors(f)), p->n);
    double worst = 0;
    for (size_t i = 0; i < p->n; i++) {
        double d = oracle_deviation(f, p->at[i].name, slab + p->at[i].at, p->at[i].n);
        if (!(d <= worst)) worst = d;
    }
    kd_safetensors_close(f);
    return worst;
}

#endif
