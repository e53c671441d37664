/* tests/convert/test_moe.c - mixtures of experts converted as llama.cpp's own converter does it (golden/moe-*.txt), quantized by llama-quantize's rules, and
 * back to the bit; packed weights on the way to other formats; both refused where they would be run. */
#include "tests/convert/convert_help.h"

#include "convert/convert.h"
#include "convert/inspect.h"
#include "distill/base/hash.h"
#include "distill/format/gguf.h"
#include "distill/format/safetensors.h"
#include "distill/math/codec.h"

#include <math.h>

#define GOLDEN "tests/convert/golden/"
#define PACKED "tests/distill/model/golden/packed/"
static const char *const MODELS[] = {"qwen3moe", "mixtral"};

static kd_code convert(const char *src, const char *dst, const char *type, kd_err *e) {
    return kd_convert(src, dst, &(kd_convert_options){.type = type}, false, pool, NULL, NULL, e);
}
static bool same(const char *a, const char *b) {
    kd_buf out = {0};
    kd_jsonw w = {.out = &out};
    bool equal = false;
    must(kd_inspect_diff(&w, a, b, pool, &equal, er));
    if (!equal) fprintf(stderr, "%.400s\n", out.data);
    kd_buf_clear(&out);
    return equal;
}

static void check_line(const kd_gguf *g, char *line) {
    char *value = strchr(line, ' '), hex[65], text[256], shape[64];
    double have = 0;
    kd_str s;
    *value++ = 0;
    const kd_tensor *t = kd_tensors_find(kd_gguf_tensors(g), line);
    if (t) {
        kd_sha256_hex(t->data, t->bytes, hex);
        snprintf(text, sizeof text, "%s %s %.16s", kd_dtype_get((int)t->type)->name, kd_shape_text(t->ndim, t->shape, shape, sizeof shape),
                 hex);
        if (strcmp(text, value)) fail_msg("%s: %s, llama.cpp has %s", line, text, value);
    } else if (kd_gguf_str(g, line, &s)) {
        if (!kd_str_is(s, value)) fail_msg("%s is %.*s, llama.cpp has %s", line, (int)s.len, s.data, value);
    } else if (!kd_gguf_f64(g, line, &have) || fabs(have - strtod(value, NULL)) > 1e-12 * fabs(have))
        fail_msg("%s is %g, llama.cpp has %s", line, have, value);
}

static void as_llama_cpp(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++) {
        char path[128], src[128];
        kd_buf b = {0};
        kd_gguf *g;
        size_t tensors = 0;
        snprintf(src, sizeof src, GOLDEN "moe/%s", MODELS[m]);
        must(convert(src, temp("a.gguf"), "f32", er));
        must(kd_gguf_open(&g, temp("a.gguf"), er));
        snprintf(path, sizeof path, GOLDEN "moe-%s.txt", MODELS[m]);
        must(kd_file_read(&b, path, 1 << 20, er));
        for (char *save = NULL, *line = strtok_r(b.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            tensors += strstr(line, " f32 [") != NULL;
            check_line(g, line);
        }
        assert_int_equal(tensors, kd_tensors_count(kd_gguf_tensors(g)));
        kd_gguf_close(g);
        kd_buf_clear(&b);
    }
}

/* The same without our own notes in it. */
static void anonymous(const char *from, const char *to) {
    kd_gguf *g;
    kd_gguf_writer *w;
    must(kd_gguf_open(&g, from, er));
    must(kd_gguf_writer_new(&w, to, 0, er));
    for (size_t i = 0; i < kd_gguf_count(g); i++)
        if (!kd_str_starts(kd_gguf_at(g, i)->key, "distill.")) must(kd_gguf_writer_copy(w, kd_gguf_at(g, i), er));
    const kd_tensors *set = kd_gguf_tensors(g);
    for (size_t i = 0; i < kd_tensors_count(set); i++) {
        const kd_tensor *t = kd_tensors_at(set, i);
        must(kd_gguf_writer_declare(w, t->name.data, t->type, t->ndim, t->shape, NULL, er));
    }
    must(kd_gguf_writer_begin(w, er));
    for (size_t i = 0; i < kd_tensors_count(set); i++)
        must(kd_gguf_writer_put(w, i, kd_tensors_at(set, i)->data, kd_tensors_at(set, i)->bytes, er));
    must(kd_gguf_writer_commit(w, er));
    kd_gguf_writer_free(w);
    kd_gguf_close(g);
}

static void there_and_back(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++) {
        char src[128], back[128], path[200];
        kd_buf b = {0};
        kd_config x, y;
        snprintf(src, sizeof src, GOLDEN "moe/%s", MODELS[m]);
        for (int others = 0; others < 2; others++) {
            must(convert(src, temp("b.gguf"), NULL, er));
            if (others) anonymous(temp("b.gguf"), temp("c.gguf"));
            snprintf(back, sizeof back, "%s/%s%d", temp_dir, MODELS[m], others);
            must(convert(temp(others ? "c.gguf" : "b.gguf"), back, "bf16", er));
            assert_true(same(src, back));
            assert_true(same(src, temp("b.gguf")));
            for (int side = 0; side < 2; side++) {
                snprintf(path, sizeof path, "%s/config.json", side ? back : src);
                must(kd_file_read(&b, path, 1 << 20, er));
                must(kd_config_from_json_stored(side ? &y : &x, b.data, b.len, path, er));
                kd_buf_clear(&b);
            }
            assert_string_equal(kd_config_type(&x), kd_config_type(&y));
            assert_int_equal(x.experts, y.experts);
            assert_int_equal(x.experts_used, y.experts_used);
            assert_int_equal(x.expert_F, y.expert_F);
            assert_true(x.norm_topk == y.norm_topk);
            assert_int_equal(x.F, y.F);
        }
        /* and quantized: the router stays, importance is by expert */
        kd_gguf *g;
        must(convert(src, temp("q.gguf"), "q4_0", er));
        must(kd_gguf_open(&g, temp("q.gguf"), er));
        assert_int_equal(kd_tensors_find(kd_gguf_tensors(g), "blk.1.ffn_gate_inp.weight")->type, KD_F32);
        assert_int_equal(kd_tensors_find(kd_gguf_tensors(g), "blk.1.ffn_up_exps.weight")->type, KD_Q4_0);
        kd_gguf_close(g);
    }
}

static void refuses_to_run(void **state) {
    (void)state;
    kd_model *m;
    kd_err e = {0};
    must(convert(GOLDEN "moe/qwen3moe", temp("q.gguf"), NULL, er));
    must(convert(GOLDEN "moe/mixtral", temp("m.gguf"), NULL, er));
    const char *const PATHS[] = {GOLDEN "moe/qwen3moe", GOLDEN "moe/mixtral", temp("q.gguf"), temp("m.gguf")};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kd_model_open(&m, PATHS[i], &e), KD_EUNSUPPORTED);
        assert_true(strstr(e.msg, "mixture of experts") || strstr(e.msg, "expert_count"));
        assert_null(m);
    }
    assert_int_equal(kd_convert(GOLDEN "moe/qwen3moe", temp("x.gguf"),
                                &(kd_convert_options){.adapter = "tests/oracle/models/qwen3-untied/lora-end"}, false, pool, NULL, NULL, &e),
                     KD_EUNSUPPORTED);
    assert_non_null(strstr(e.msg, "mixture of experts"));
}

static void mixes(void **state) {
    (void)state;
    kd_buf b = {0};
    size_t lines = 0;
    if (!kd_file_exists(GOLDEN "moe-mixes.txt")) skip();
    must(kd_file_read(&b, GOLDEN "moe-mixes.txt", 1 << 20, er));
    for (char *save = NULL, *line = strtok_r(b.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save), lines++) {
        char mix[16], arch[16], name[64], want[16];
        int E, G;
        kd_role r;
        uint32_t layer, expert;
        assert_int_equal(sscanf(line, "%15s %15s %d %d %63s %15s", mix, arch, &E, &G, name, want), 6);
        kd_config c = {.arch = !strcmp(arch, "llama") ? KD_LLAMA : KD_QWEN3,
                       .L = 16,
                       .H = 4,
                       .G = (uint32_t)G,
                       .D = 64,
                       .C = 256,
                       .F = 256,
                       .V = 64,
                       .experts = (uint32_t)E,
                       .experts_used = 2,
                       .expert_F = 256};
        assert_true(kd_name_parse_stored(name, &c, true, &r, &layer, &expert));
        kd_dtype got = r == KD_ROUTER ? KD_F32 : kd_convert_type_of(kd_convert_type_named(mix), &c, r, layer, 256);
        if (strcmp(kd_dtype_get((int)got)->name, want))
            fail_msg("%s of %s, %d experts: %s, llama.cpp has %s", name, mix, E, kd_dtype_get((int)got)->name, want);
    }
    assert_true(lines > 1000);
    kd_buf_clear(&b);
}

/* Packed folders become GGUF and folders whose values are those of the forms' definitions. */
static void packed(void **state) {
    (void)state;
    static const char *const CASES[] = {"fp8-block", "gptq", "gptq-order", "awq", "ct-pack4", "ct-pack4-asym"};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char src[128], want[160];
        kd_safetensors *s, *w;
        kd_buf b = {0};
        snprintf(src, sizeof src, PACKED "%s", CASES[i]);
        snprintf(want, sizeof want, PACKED "%s/expect.safetensors", CASES[i]);
        must(convert(src, temp("p.safetensors"), NULL, er));
        must(kd_safetensors_open(&s, temp("p.safetensors"), er));
        must(kd_safetensors_open(&w, want, er));
        for (size_t k = 0; k < kd_tensors_count(kd_safetensors_tensors(w)); k++) {
            const kd_tensor *t = kd_tensors_at(kd_safetensors_tensors(w), k), *u = kd_tensors_find(kd_safetensors_tensors(s), t->name.data);
            assert_true(u && u->type == KD_F32 && u->bytes == t->bytes);
            assert_memory_equal(u->data, t->data, t->bytes);
        }
        kd_safetensors_close(s);
        kd_safetensors_close(w);
        kd_buf_clear(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_llama_cpp), cmocka_unit_test(there_and_back), cmocka_unit_test(mixes),
                                       cmocka_unit_test(refuses_to_run), cmocka_unit_test(packed)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
