/* Models given what they lack: ids, texts and rows of new tokens, what stays as stored, refusals, and each allocation failing in turn. That words and log-probabilities are
 * transformers' is tests/distill/cli/test_base.sh's. */
#include "distill/model/extend.h"

#include "distill/base/file.h"
#include "distill/format/safetensors.h"
#include "distill/math/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORACLE "tests/oracle/models/"
#define OK(call)                                                                                                                           \
    do {                                                                                                                                   \
        kd_err e_ = {0};                                                                                                                   \
        const kd_code c_ = (call);                                                                                                         \
        if (c_ != KD_OK) fail_msg("%s: code %d: %s", #call, (int)c_, e_.msg);                                                              \
    } while (0)
#define ERR &e_

static char work[] = "/tmp/kd-extend-XXXXXX";
static const char *const models[] = {"llama-tied-rope3", "llama-untied-spm", "qwen2-tied", "qwen3-untied"};

/* Row `row` of the stored matrix against the mean of the first n rows. */
static void check_mean(const kd_mat *was, const kd_mat *now, size_t n, size_t row) {
    float *v = kd_calloc(was->cols, sizeof *v);
    double *sum = kd_calloc(was->cols, sizeof *sum);
    for (size_t r = 0; r < n; r++) {
        kd_dequantize(was->type, kd_mat_row(was, r), v, was->cols);
        for (size_t c = 0; c < was->cols; c++) sum[c] += (double)v[c];
    }
    kd_dequantize(now->type, kd_mat_row(now, row), v, now->cols);
    const double off = now->type == KD_F32 ? 1e-7 : 0x1p-8; /* bfloat16 keeps eight bits */
    for (size_t c = 0; c < was->cols; c++) assert_true(fabs((double)v[c] - sum[c] / (double)n) <= off * (1e-3 + fabs(sum[c] / (double)n)));
    kd_free(v);
    kd_free(sum);
}

static void test_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char dst[200], src[200];
        kd_model *m, *made;
        kd_extension *x;
        kd_tokenizer *t;
        snprintf(src, sizeof src, ORACLE "%s", models[i]);
        snprintf(dst, sizeof dst, "%s/%s", work, models[i]);
        OK(kd_model_open(&m, src, ERR));
        OK(kd_tokenizer_open(&t, src, ERR));
        OK(kd_extension_new(&x, m,
                            &(kd_extend_options){.tokens = "<|kd_new|>,<kd_thought>,<|kd_end|>", .eos = "<|kd_end|>", .rope_theta = 12345},
                            ERR));
        const size_t words = kd_tokenizer_size(t);
        assert_int_equal(x->n, 3);
        assert_int_equal(x->first, words);
        assert_int_equal(x->V, words + 3 > m->config.V ? words + 3 : m->config.V);
        assert_int_equal(x->eos, words + 2);
        assert_int_equal(kd_tokenizer_token(x->tokenizer, (int32_t)words).type, KD_TOKEN_CONTROL);
        assert_int_equal(kd_tokenizer_token(x->tokenizer, (int32_t)words + 1).type, KD_TOKEN_USER);
        assert_int_equal(kd_tokenizer_specials(x->tokenizer)->eos, words + 2);
        OK(kd_extension_write(x, m, dst, ERR));
        OK(kd_model_open(&made, dst, ERR));
        assert_int_equal(made->config.V, x->V);
        assert_true(made->config.rope.theta == 12345);
        for (size_t k = 0; k < 3; k++) {
            check_mean(&m->embed, &made->embed, words, words + k);
            check_mean(&m->head, &made->head, words, words + k);
        }
        for (size_t r = 0; r < words; r++) {
            assert_memory_equal(kd_mat_row(&m->embed, r), kd_mat_row(&made->embed, r), m->embed.row_bytes);
            assert_memory_equal(kd_mat_row(&m->head, r), kd_mat_row(&made->head, r), m->head.row_bytes);
        }
        for (uint32_t l = 0; l < m->config.L; l++)
            for (int r = 0; r < KD_MATS; r++) {
                const kd_mat *a = &m->layers[l].mat[r], *b = &made->layers[l].mat[r];
                assert_memory_equal(a->data, b->data, a->rows * a->row_bytes);
            }
        kd_model_free(made);
        kd_tokenizer_free(t);
        kd_extension_free(x);
        kd_model_free(m);
    }
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        kd_extend_options o;
        kd_code code;
        const char *says;
    } bad[] = {{{.tokens = "<a>,<b>,<a>"}, KD_EINVAL, "twice"},
               {{.tokens = ","}, KD_EINVAL, "names no token"},
               {{.tokens = "e"}, KD_EUNSUPPORTED, "is a word of the vocabulary"},
               {{.eos = "<none>"}, KD_EINVAL, "expected a token of the vocabulary"},
               {{.eos = "e"}, KD_EINVAL, "expected a token of the vocabulary"},
               {{.rope_theta = -1}, KD_EINVAL, "--rope-theta"},
               {{.rope_theta = NAN}, KD_EINVAL, "--rope-theta"},
               {{.template_file = "/nowhere"}, KD_ENOENT, "/nowhere"}};
    kd_model *m;
    OK(kd_model_open(&m, ORACLE "llama-untied-spm", ERR));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_extension *x;
        kd_err e = {0};
        const kd_code c = kd_extension_new(&x, m, &bad[i].o, &e);
        if (c != bad[i].code || !strstr(e.msg, bad[i].says)) fail_msg("case %zu: code %d: %s", i, (int)c, e.msg);
        assert_null(x);
    }
    kd_model_free(m);
}

/* Tokens that are there stay where they are; nothing new means that the weights are linked. */
static void test_known(void **state) {
    (void)state;
    kd_model *m, *made;
    kd_extension *x;
    char dst[200];
    OK(kd_model_open(&m, ORACLE "qwen2-tied", ERR));
    kd_tokenizer *t;
    OK(kd_tokenizer_open(&t, ORACLE "qwen2-tied", ERR));
    const kd_str eos = kd_tokenizer_token(t, kd_tokenizer_specials(t)->eos).text;
    char *name = kd_strndup(eos.data, eos.len);
    OK(kd_extension_new(&x, m, &(kd_extend_options){.tokens = name, .eos = name}, ERR));
    assert_true(x->n == 0 && x->known == 1 && x->V == m->config.V);
    snprintf(dst, sizeof dst, "%s/known", work);
    OK(kd_extension_write(x, m, dst, ERR));
    OK(kd_model_open(&made, dst, ERR));
    assert_memory_equal(m->embed.data, made->embed.data, m->embed.rows * m->embed.row_bytes);
    kd_model_free(made);
    kd_extension_free(x);
    kd_tokenizer_free(t);
    kd_model_free(m);
    kd_free(name);
}

static void test_memory(void **state) {
    (void)state;
    kd_model *m;
    kd_extension *x;
    char dst[200];
    const kd_extend_options o = {.tokens = "<|a|>,<b>", .eos = "<|a|>", .rope_theta = 5000};
    snprintf(dst, sizeof dst, "%s/memory", work);
    OK(kd_model_open(&m, ORACLE "qwen2-tied", ERR));
    kd_alloc_fail_at(0);
    OK(kd_extension_new(&x, m, &o, ERR));
    const long n = kd_alloc_count();
    kd_extension_free(x);
    /* the start, where most calls are ours, then samples of the many nodes of JSON */
    for (long i = 1; i <= n; i += i < 40 || i > n - 40 ? 1 : n / 300 + 1) {
        kd_alloc_fail_at(i);
        kd_err e = {0};
        const kd_code c = kd_extension_new(&x, m, &o, &e);
        if (c == KD_OK)
            kd_extension_free(x);
        else if (c != KD_ENOMEM)
            fail_msg("allocation %ld: code %d: %s", i, (int)c, e.msg);
    }
    kd_alloc_fail_at(0);
    OK(kd_extension_new(&x, m, &o, ERR));
    kd_alloc_fail_at(0);
    OK(kd_extension_write(x, m, dst, ERR));
    const long w = kd_alloc_count();
    for (long i = 1; i <= w; i += i < 40 || i > w - 40 ? 1 : w / 200 + 1) {
        OK(kd_remove_tree(dst, ERR));
        kd_alloc_fail_at(i);
        const kd_code c = kd_extension_write(x, m, dst, NULL);
        kd_alloc_fail_at(0);
        if (c == KD_OK) continue;
        assert_int_equal(c, KD_ENOMEM);
        assert_false(kd_is_dir(dst)); /* whole or not at all */
    }
    kd_extension_free(x);
    kd_model_free(m);
}

static int set_up(void **state) {
    (void)state;
    return mkdtemp(work) ? 0 : -1;
}
static int tear_down(void **state) {
    (void)state;
    return kd_remove_tree(work, NULL) == KD_OK ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_refusals), cmocka_unit_test(test_known),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
