/* tests/convert/test_mix.c - the search for a mix keeps its word: size, KL as the comparison measures it on the file, more room is less loss; the model
 * it worked on is as it was, with and without an adapter. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "convert/compare.h"
#include "convert/convert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "tests/oracle/models/qwen3-untied"
#define TIED "tests/oracle/models/qwen2-tied"
static char temp_dir[64], file[128];
static kd_pool *pool;
static kd_compare_row rows[8];
static int32_t tokens[8][512];
static size_t n_rows;

#define must(call)                                                                                                                         \
    do {                                                                                                                                   \
        kd_err must_e = {0};                                                                                                               \
        kd_err *er = &must_e;                                                                                                              \
        if (call) fail_msg("%s: %s", #call, must_e.msg);                                                                                   \
    } while (0)

static void read_rows(const char *model) {
    char path[200];
    kd_buf b = {0};
    snprintf(path, sizeof path, "%s/sequences.jsonl", model);
    must(kd_file_read(&b, path, 1 << 20, er));
    n_rows = 0;
    for (char *save = NULL, *line = strtok_r(b.data, "\n", &save); line && n_rows < 4; line = strtok_r(NULL, "\n", &save), n_rows++) {
        kd_json *doc;
        size_t n = 0;
        must(kd_json_parse(&doc, line, strlen(line), path, er));
        for (const kd_json_node *v = kd_json_first(kd_json_get(kd_json_root(doc), "tokens")); v && n < 48; v = kd_json_next(v))
            tokens[n_rows][n++] = (int32_t)kd_json_number(v, -1);
        rows[n_rows] = (kd_compare_row){tokens[n_rows], NULL, n};
        kd_json_free(doc);
    }
    kd_buf_clear(&b);
}

static int setup(void **state) {
    (void)state;
    strcpy(temp_dir, "/tmp/kd-mix-XXXXXX");
    if (!mkdtemp(temp_dir) || kd_pool_new(&pool, 2, NULL)) return -1;
    snprintf(file, sizeof file, "%s/m.gguf", temp_dir);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    kd_pool_free(pool);
    return kd_remove_tree(temp_dir, NULL);
}

/* KL of what lies at file against model with adapter, on the rows. */
static double kl_of(const char *model, const char *adapter) {
    kd_model *a, *b;
    kd_adapter *ad = NULL;
    kd_scorer *sa, *sb;
    kd_comparison r;
    must(kd_model_open(&a, model, er));
    must(kd_model_open(&b, file, er));
    if (adapter) must(kd_adapter_open(&ad, adapter, &a->config, er));
    must(kd_scorer_new(&sa, a, ad, NULL, pool, er));
    must(kd_scorer_new(&sb, b, NULL, NULL, pool, er));
    must(kd_compare(&r, sa, sb, a->config.V, rows, n_rows, 128, NULL, er));
    kd_scorer_free(sa), kd_scorer_free(sb);
    kd_adapter_free(ad);
    kd_model_free(a), kd_model_free(b);
    return r.kl_mean;
}

typedef struct {
    double search, file;
    uint64_t bytes;
} outcome;

static outcome run(const char *model, const char *adapter, kd_mix_target t, bool twice) {
    kd_model *m;
    kd_adapter *ad = NULL;
    kd_importance *im;
    kd_mix *mix, *again = NULL;
    read_rows(model);
    must(kd_model_open(&m, model, er));
    if (adapter) must(kd_adapter_open(&ad, adapter, &m->config, er));
    must(kd_importance_collect(&im, m, ad, rows, n_rows, 128, pool, NULL, er));
    t.tokens = 2048;
    must(kd_mix_search(&mix, m, ad, im, rows, n_rows, &t, pool, NULL, er));
    if (twice) { /* the model is as it was, threads do not matter */
        must(kd_mix_search(&again, m, ad, im, rows, n_rows, &t, NULL, NULL, er));
        assert_memory_equal(mix->type, again->type, mix->L * KD_MATS + 2);
        assert_true(fabs(mix->measured - again->measured) <= 1e-6 * mix->measured);
    }
    must(kd_convert(model, file, &(kd_convert_options){.mix = mix, .importance = im, .adapter = adapter}, false, pool, NULL, NULL, er));
    outcome o = {mix->measured, kl_of(model, adapter), mix->bytes};
    kd_mix_free(mix), kd_mix_free(again);
    kd_importance_free(im);
    kd_adapter_free(ad);
    kd_model_free(m);
    return o;
}

static uint64_t matrices(const char *model, double bits) {
    kd_model *m;
    size_t r, c;
    uint64_t n = 0;
    must(kd_model_open(&m, model, er));
    for (int k = 0; k < KD_MATS; k++) kd_role_shape(&m->config, (kd_role)k, &r, &c), n += (uint64_t)m->config.L * r * c;
    kd_role_shape(&m->config, KD_EMBED, &r, &c);
    n += r * c * (m->config.tied ? 1 : 2);
    kd_model_free(m);
    return (uint64_t)((double)n * bits / 8);
}

static void sizes(void **state) {
    (void)state;
    static const char *const MODELS[] = {MODEL, TIED};
    for (int i = 0; i < 2; i++) { /* rows of 88 take F16 alone in the second: there is less to choose */
        double last = INFINITY;
        for (double bits = i ? 9 : 5; bits <= (i ? 12 : 8); bits += 1.5) {
            const uint64_t most = matrices(MODELS[i], bits);
            outcome o = run(MODELS[i], NULL, (kd_mix_target){.bytes = most}, i && bits == 9);
            if (o.bytes > most || o.bytes < 0.9 * (double)most) fail_msg("%g bits: %zu bytes of %zu", bits, (size_t)o.bytes, (size_t)most);
            /* the search looks at every position, the comparison at all but the last of a row */
            if (!(fabs(o.search - o.file) < 0.1 * o.file)) fail_msg("%g bits: KL %g in the search, %g of the file", bits, o.search, o.file);
            assert_true(o.file < last);
            last = o.file;
        }
    }
    /* no worse than one type for all at the same size */
    const uint64_t plain = matrices(MODEL, 5.5);
    outcome o = run(MODEL, NULL, (kd_mix_target){.bytes = plain}, false);
    must(kd_convert(MODEL, file, &(kd_convert_options){.type = "q5_0"}, false, pool, NULL, NULL, er));
    double q5 = kl_of(MODEL, NULL);
    if (!(o.file < q5)) fail_msg("KL %g of the mix, %g of q5_0", o.file, q5);
}

static void kl(void **state) {
    (void)state;
    uint64_t last = 0;
    for (double target = 1e-2; target > 5e-5; target /= 10) {
        outcome o = run(MODEL, NULL, (kd_mix_target){.kl = target}, target == 1e-3);
        if (!(o.search <= target)) fail_msg("target %g: KL %g", target, o.search);
        assert_true(o.bytes >= last);
        last = o.bytes;
    }
}

static void adapters(void **state) {
    (void)state;
    static const char *const ADAPTERS[] = {MODEL "/lora-end", MODEL "/dora-end"};
    for (int i = 0; i < 2; i++) {
        outcome o = run(MODEL, ADAPTERS[i], (kd_mix_target){.bytes = matrices(MODEL, 6)}, true);
        if (!(fabs(o.search - o.file) < 0.1 * o.file)) fail_msg("%s: KL %g in the search, %g of the file", ADAPTERS[i], o.search, o.file);
    }
}

static void refuses(void **state) {
    (void)state;
    kd_model *m;
    kd_mix *mix;
    kd_err e = {0};
    read_rows(MODEL);
    must(kd_model_open(&m, MODEL, er));
    assert_int_equal(kd_mix_search(&mix, m, NULL, NULL, rows, n_rows, &(kd_mix_target){.bytes = 1000}, pool, NULL, &e), KD_EINVAL);
    assert_non_null(strstr(e.msg, "--target-size"));
    assert_null(mix);
    assert_int_equal(kd_mix_search(&mix, m, NULL, NULL, rows, n_rows, &(kd_mix_target){.kl = 1e-14}, pool, NULL, &e), KD_EINVAL);
    assert_int_equal(kd_mix_search(&mix, m, NULL, NULL, rows, 0, &(kd_mix_target){.kl = 1e-2}, pool, NULL, &e), KD_EINVAL);
    for (long n = 1;; n += n < 60 ? 1 : 11) { /* each allocation failing in turn */
        kd_alloc_fail_at(n);
        kd_code c = kd_mix_search(&mix, m, NULL, NULL, rows, 1, &(kd_mix_target){.kl = 1e-2, .tokens = 8}, NULL, NULL, &e);
        bool reached = kd_alloc_count() >= n;
        kd_alloc_fail_at(0);
        if (!c) kd_mix_free(mix);
        if (!reached) {
            assert_int_equal(c, KD_OK);
            break;
        }
    }
    kd_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(kl), cmocka_unit_test(adapters),
                                       cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
