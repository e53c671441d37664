/* tests/convert/test_importance.c - importance collected as transformers' own activations have it, through llama.cpp's files and back, refused where
 * they lie, and used by the types that search. */
#include "tests/convert/convert_help.h"

#include "convert/convert.h"
#include "distill/format/gguf.h"
#include "distill/math/codec.h"

#include <math.h>

#define ORACLE "tests/oracle/models/"

typedef struct {
    kd_compare_row rows[16];
    int32_t tokens[16][512];
    size_t n;
} text;
static void read_rows(text *t, const char *model) {
    char path[200];
    kd_buf b = {0};
    snprintf(path, sizeof path, ORACLE "%s/sequences.jsonl", model);
    must(kd_file_read(&b, path, 1 << 20, er));
    t->n = 0;
    for (char *save = NULL, *line = strtok_r(b.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save), t->n++) {
        kd_json *doc;
        size_t n = 0;
        must(kd_json_parse(&doc, line, strlen(line), path, er));
        for (const kd_json_node *v = kd_json_first(kd_json_get(kd_json_root(doc), "tokens")); v; v = kd_json_next(v))
            t->tokens[t->n][n++] = (int32_t)kd_json_number(v, -1);
        t->rows[t->n] = (kd_compare_row){t->tokens[t->n], NULL, n};
        kd_json_free(doc);
    }
    kd_buf_clear(&b);
}
static kd_importance *collect(const char *model, size_t window) {
    static text t;
    char path[200];
    kd_model *m;
    kd_importance *im;
    snprintf(path, sizeof path, ORACLE "%s", model);
    must(kd_model_open(&m, path, er));
    read_rows(&t, model);
    must(kd_importance_collect(&im, m, NULL, t.rows, t.n, window, pool, NULL, er));
    kd_model_free(m);
    return im;
}

static void as_transformers(void **state) {
    (void)state;
    static const char *const MODELS[] = {"llama-tied-rope3", "qwen3-untied"};
    for (int i = 0; i < 2; i++) {
        char path[200];
        kd_buf b = {0};
        kd_json *doc;
        kd_importance *im = collect(MODELS[i], 512);
        snprintf(path, sizeof path, "tests/convert/golden/importance-%s.json", MODELS[i]);
        must(kd_file_read(&b, path, 1 << 20, er));
        must(kd_json_parse(&doc, b.data, b.len, path, er));
        assert_int_equal(kd_json_count(kd_json_root(doc)), 8);
        for (const kd_json_node *x = kd_json_first(kd_json_root(doc)); x; x = kd_json_next(x)) {
            const kd_importance_entry *e = kd_importance_find(im, kd_json_key(x).data);
            size_t j = 0;
            assert_non_null(e);
            assert_int_equal(e->rows[0], (int)kd_json_number(kd_json_get(x, "rows"), 0));
            assert_int_equal(e->cols, kd_json_count(kd_json_get(x, "mean")));
            for (const kd_json_node *v = kd_json_first(kd_json_get(x, "mean")); v; v = kd_json_next(v), j++)
                if (!(fabs((double)e->mean[j] - kd_json_number(v, NAN)) <= 2e-5 * kd_json_number(v, NAN)))
                    fail_msg("%s %s column %zu: %g, transformers has %g", MODELS[i], e->name, j, (double)e->mean[j],
                             kd_json_number(v, NAN));
        }
        kd_json_free(doc);
        kd_buf_clear(&b);
        kd_importance_free(im);
    }
}

static void through_files(void **state) {
    (void)state;
    kd_importance *im = collect("qwen3-untied", 64), *back;
    must(kd_importance_set_dataset(im, "some text.txt", er));
    static const char *const FILES[] = {"a.gguf", "a.dat", "a.imatrix"};
    for (int f = 0; f < 3; f++) {
        must(kd_importance_write(im, temp(FILES[f]), 64, er));
        must(kd_importance_read(&back, temp(FILES[f]), er));
        assert_int_equal(kd_importance_count(im), kd_importance_count(back));
        assert_string_equal(kd_importance_dataset(back), "some text.txt");
        for (size_t i = 0; i < kd_importance_count(im); i++) {
            const kd_importance_entry *x = kd_importance_at(im, i), *y = kd_importance_at(back, i);
            assert_string_equal(x->name, y->name);
            assert_int_equal(x->cols, y->cols);
            if (f != 1) assert_int_equal(x->rows[0], y->rows[0]);
            for (size_t j = 0; j < x->cols; j++) assert_true(fabsf(x->mean[j] - y->mean[j]) <= 3e-7f * x->mean[j]);
        }
        kd_importance_free(back);
    }
    kd_importance_free(im);
}

/* A stack of three experts of four columns, the second without data. */
static void stack(const char *path, const float *sums, const float *counts, size_t n_counts) {
    kd_gguf_writer *w;
    size_t a, b;
    must(kd_gguf_writer_new(&w, path, 0, er));
    must(kd_gguf_writer_str(w, "general.type", KD_STR("imatrix"), er));
    must(kd_gguf_writer_declare(w, "blk.0.ffn_up_exps.weight.in_sum2", KD_F32, 2, (uint64_t[]){3, 4}, &a, er));
    must(kd_gguf_writer_declare(w, "blk.0.ffn_up_exps.weight.counts", KD_F32, 2, (uint64_t[]){n_counts, 1}, &b, er));
    must(kd_gguf_writer_begin(w, er));
    must(kd_gguf_writer_put(w, a, sums, 48, er));
    must(kd_gguf_writer_put(w, b, counts, 4 * n_counts, er));
    must(kd_gguf_writer_commit(w, er));
    kd_gguf_writer_free(w);
}

static void experts(void **state) {
    (void)state;
    const float sums[12] = {2, 4, 6, 8, 0, 0, 0, 0, 3, 3, 3, 9}, counts[3] = {2, 0, 3};
    kd_importance *im, *old;
    const float *v;
    kd_err e = {0};
    stack(temp("e.gguf"), sums, counts, 3);
    must(kd_importance_read(&im, temp("e.gguf"), er));
    must(kd_importance_of(&v, im, "blk.0.ffn_up_exps.weight", 4, 3, 0, er));
    assert_true(v && v[0] == 1 && v[3] == 4);
    must(kd_importance_of(&v, im, "blk.0.ffn_up_exps.weight", 4, 3, 1, er));
    assert_null(v); /* no data: searched with all columns alike, never 0/0 */
    must(kd_importance_of(&v, im, "blk.0.ffn_up_exps.weight", 4, 3, 2, er));
    assert_true(v && v[0] == 1 && v[3] == 3);
    must(kd_importance_of(&v, im, "blk.1.ffn_up_exps.weight", 4, 3, 2, er));
    assert_null(v);
    assert_int_equal(kd_importance_of(&v, im, "blk.0.ffn_up_exps.weight", 5, 3, 2, &e), KD_EFORMAT);
    assert_non_null(strstr(e.msg, "blk.0.ffn_up_exps.weight"));
    /* the older form has no counts: one long row, 1 where there was no data */
    must(kd_importance_write(im, temp("e.dat"), 512, er));
    must(kd_importance_read(&old, temp("e.dat"), er));
    must(kd_importance_of(&v, old, "blk.0.ffn_up_exps.weight", 4, 3, 2, er));
    assert_true(v && v[0] == 1 && v[3] == 3);
    must(kd_importance_of(&v, old, "blk.0.ffn_up_exps.weight", 4, 3, 1, er));
    assert_true(v && v[0] == 1 && v[3] == 1);
    kd_importance_free(old);
    kd_importance_free(im);
    stack(temp("s.gguf"), sums, counts, 1); /* one count for the stack */
    must(kd_importance_read(&im, temp("s.gguf"), er));
    must(kd_importance_of(&v, im, "blk.0.ffn_up_exps.weight", 4, 3, 2, er));
    assert_true(v && v[3] == 4.5f);
    kd_importance_free(im);
}

static void put_bytes(const char *path, const void *p, size_t n) { must(kd_file_write(path, p, n, er)); }

static void refuses(void **state) {
    (void)state;
    const float bad[3][12] = {{NAN}, {INFINITY}, {-1}}, counts[3] = {2, 1, 3}, negative[3] = {2, -1, 3}, strange[3] = {NAN, 1, 1};
    kd_importance *im;
    kd_err e = {0};
    for (int i = 0; i < 3; i++) {
        stack(temp("bad.gguf"), bad[i], counts, 3);
        assert_int_equal(kd_importance_read(&im, temp("bad.gguf"), &e), KD_EFORMAT);
        assert_non_null(strstr(e.msg, "blk.0.ffn_up_exps.weight: column 0"));
        assert_null(im);
    }
    stack(temp("bad.gguf"), bad[2], negative, 3);
    assert_int_equal(kd_importance_read(&im, temp("bad.gguf"), &e), KD_EFORMAT);
    stack(temp("bad.gguf"), (const float[12]){0}, strange, 3);
    assert_int_equal(kd_importance_read(&im, temp("bad.gguf"), &e), KD_EFORMAT);
    assert_non_null(strstr(e.msg, "count of rows"));
    stack(temp("bad.gguf"), (const float[12]){0}, counts, 2); /* 12 sums, 2 counts, 3 rows */
    assert_int_equal(kd_importance_read(&im, temp("bad.gguf"), &e), KD_EFORMAT);
    /* a model is no importance */
    must(kd_convert(ORACLE "qwen2-tied", temp("model.gguf"), &(kd_convert_options){0}, false, pool, NULL, NULL, er));
    assert_int_equal(kd_importance_read(&im, temp("model.gguf"), &e), KD_EFORMAT);
    assert_non_null(strstr(e.msg, "general.type"));
    /* the older form, cut and lying */
    static const unsigned char whole[] = {1, 0, 0, 0, 2, 0, 0, 0, 'w', 'x', 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 64, 64};
    put_bytes(temp("d.dat"), whole, sizeof whole);
    must(kd_importance_read(&im, temp("d.dat"), er));
    assert_true(kd_importance_at(im, 0)->mean[0] == 1);
    kd_importance_free(im);
    for (size_t n = 0; n < sizeof whole; n++) {
        put_bytes(temp("d.dat"), whole, n);
        assert_int_equal(kd_importance_read(&im, temp("d.dat"), &e), KD_EFORMAT);
        assert_true(e.msg[0]);
    }
    unsigned char lie[sizeof whole];
    for (int at = 0; at < 18; at += at == 4 ? 6 : 4) { /* counts, lengths and sizes of 2^31 - 1 and -1 */
        memcpy(lie, whole, sizeof lie);
        if (at == 10) continue; /* calls: any will do */
        memset(lie + at, 255, 4);
        put_bytes(temp("d.dat"), lie, sizeof lie);
        assert_int_equal(kd_importance_read(&im, temp("d.dat"), &e), KD_EFORMAT);
        lie[at + 3] = 127;
        put_bytes(temp("d.dat"), lie, sizeof lie);
        assert_int_equal(kd_importance_read(&im, temp("d.dat"), &e), KD_EFORMAT);
    }
}

/* sum over the matrices of a model of importance * (a - b)^2 */
static double weighted_gap(const char *a, const char *b, const kd_importance *im) {
    kd_model *x, *y;
    double sum = 0;
    must(kd_model_open(&x, a, er));
    must(kd_model_open(&y, b, er));
    for (uint32_t l = 0; l < x->config.L; l++)
        for (int r = 0; r < KD_MATS; r++) {
            const kd_mat *p = kd_model_mat(x, (kd_role)r, l), *q = kd_model_mat(y, (kd_role)r, l);
            char name[96];
            const float *w;
            float *u = malloc(p->cols * sizeof *u), *v = malloc(p->cols * sizeof *v);
            must(kd_importance_of(&w, im, kd_name_gguf(name, (kd_role)r, l), p->cols, 1, 0, er));
            for (size_t i = 0; i < p->rows; i++) {
                kd_dequantize(p->type, kd_mat_row(p, i), u, p->cols);
                kd_dequantize(q->type, kd_mat_row(q, i), v, p->cols);
                for (size_t j = 0; j < p->cols; j++) sum += (double)w[j] * pow((double)u[j] - (double)v[j], 2);
            }
            free(u);
            free(v);
        }
    kd_model_free(x);
    kd_model_free(y);
    return sum;
}

static void used(void **state) {
    (void)state;
    static const char *const TYPES[] = {"q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "mxfp4"};
    const char *src = ORACLE "qwen3-untied";
    kd_importance *im = collect("qwen3-untied", 512);
    kd_convert_result r;
    kd_gguf *g;
    kd_str s;
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        kd_convert_options o = {.type = TYPES[i]};
        must(kd_convert(src, temp("plain.gguf"), &o, false, pool, NULL, NULL, er));
        o.importance = im, o.importance_name = "/somewhere/im.gguf";
        must(kd_convert(src, temp("weighed.gguf"), &o, false, pool, NULL, &r, er));
        assert_true(r.weighted > 0 && !r.unweighted);
        double a = weighted_gap(src, temp("plain.gguf"), im), b = weighted_gap(src, temp("weighed.gguf"), im);
        if (!(b < a)) fail_msg("%s: weighted error %g without importance, %g with", TYPES[i], a, b);
    }
    must(kd_gguf_open(&g, temp("weighed.gguf"), er));
    assert_true(kd_gguf_str(g, "quantize.imatrix.file", &s) && kd_str_is(s, "im.gguf"));
    kd_gguf_close(g);
    kd_importance_free(im);
    /* of another model: none of its tensors */
    stack(temp("other.gguf"), (const float[12]){1}, (const float[3]){1, 1, 1}, 3);
    must(kd_importance_read(&im, temp("other.gguf"), er));
    kd_err e = {0};
    assert_int_equal(kd_convert(src, temp("no.gguf"), &(kd_convert_options){.type = "q4_0", .importance = im}, false, pool, NULL, NULL, &e),
                     KD_EFORMAT);
    assert_non_null(strstr(e.msg, "another model"));
    kd_importance_free(im);
}

static void no_memory(void **state) {
    (void)state;
    static text t;
    kd_model *m;
    kd_importance *im;
    must(kd_model_open(&m, ORACLE "qwen2-tied", er));
    read_rows(&t, "qwen2-tied");
    for (int way = 0; way < 3; way++)
        for (long n = 1;; n++) {
            kd_err e = {0};
            kd_alloc_fail_at(n);
            kd_code c = way == 0 ? kd_importance_collect(&im, m, NULL, t.rows, 1, 16, NULL, NULL, &e)
                                 : kd_importance_read(&im, temp(way == 1 ? "a.gguf" : "a.dat"), &e);
            if (!c) {
                if (way == 0) (void)kd_importance_write(im, temp("mem.gguf"), 16, &e);
                kd_importance_free(im);
            }
            bool reached = kd_alloc_count() >= n;
            kd_alloc_fail_at(0);
            if (!reached) {
                assert_int_equal(c, KD_OK);
                break;
            }
            if (c && !e.msg[0]) fail_msg("allocation %ld: code %d without a message", n, c);
        }
    kd_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_transformers), cmocka_unit_test(through_files), cmocka_unit_test(experts),
                                       cmocka_unit_test(refuses),         cmocka_unit_test(used),          cmocka_unit_test(no_memory)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
