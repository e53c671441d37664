/* tests/distill/model/test_packed.c - packed weights read exactly as their forms are defined (golden/packed, made in numpy), for converting alone; what is
 * missing, misshapen or of another variant refused by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "distill/format/safetensors.h"
#include "distill/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOLDEN "tests/distill/model/golden/packed/"
static const char *const CASES[] = {"fp8-block", "fp8-tensor", "gptq",          "gptq-order", "gptq-v2", "gptq-8bit",
                                    "awq",       "ct-pack4",   "ct-pack4-asym", "ct-int8",    "ct-fp8"};

#define must(call)                                                                                                                         \
    do {                                                                                                                                   \
        kd_err must_e = {0};                                                                                                               \
        kd_err *er = &must_e;                                                                                                              \
        if (call) fail_msg("%s: %s", #call, must_e.msg);                                                                                   \
    } while (0)

static void exact(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char path[200], name[96];
        kd_safetensors *want;
        kd_model *m, *no;
        kd_err e = {0};
        snprintf(path, sizeof path, GOLDEN "%s/expect.safetensors", CASES[i]);
        must(kd_safetensors_open(&want, path, er));
        snprintf(path, sizeof path, GOLDEN "%s", CASES[i]);
        must(kd_model_open_stored(&m, path, er));
        assert_true(kd_model_stored_only(m));
        for (int r = 0; r < KD_MATS; r++) {
            const kd_mat *mat = kd_model_mat(m, (kd_role)r, 0);
            const kd_tensor *t = kd_tensors_find(kd_safetensors_tensors(want), kd_name_hf(name, (kd_role)r, 0));
            float *v = malloc(mat->rows * mat->cols * sizeof *v);
            assert_non_null(t);
            assert_int_equal(mat->type, KD_PACKED_TYPE);
            kd_mat_rows(mat, 0, mat->rows, v);
            if (memcmp(v, t->data, t->bytes)) fail_msg("%s: %s: other values", CASES[i], name);
            memset(v, 0, mat->cols * sizeof *v);
            kd_mat_rows(mat, mat->rows - 3, 1, v); /* one row out of a tile */
            assert_memory_equal(v, (const char *)t->data + (mat->rows - 3) * mat->cols * sizeof *v, mat->cols * sizeof *v);
            free(v);
        }
        kd_model_free(m);
        kd_safetensors_close(want);
        assert_int_equal(kd_model_open(&no, path, &e), KD_EUNSUPPORTED); /* nobody runs it by mistake */
        assert_non_null(strstr(e.msg, "quantization_config"));
    }
}

static void configs(void **state) {
    (void)state;
    static const struct {
        const char *json, *message;
    } BAD[] = {
        {"{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}", "quant_method: 'bitsandbytes'"},
        {"{\"quant_method\":\"hqq\"}", "'hqq'"},
        {"{}", "quant_method: ''"},
        {"{\"quant_method\":\"gptq\",\"bits\":3,\"group_size\":128}", "bits: only 4 and 8"},
        {"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":0}", "group_size"},
        {"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":-2}", "group_size"},
        {"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":\"128\"}", "group_size"},
        {"{\"quant_method\":\"gptq\",\"bits\":4,\"checkpoint_format\":\"marlin\"}", "checkpoint_format"},
        {"{\"quant_method\":\"gptq\",\"bits\":4,\"is_marlin_format\":true}", "is_marlin_format"},
        {"{\"quant_method\":\"gptq\",\"bits\":4,\"dynamic\":{\"-:a\":{}}}", "dynamic"},
        {"{\"quant_method\":\"awq\",\"bits\":8}", "bits: only 4"},
        {"{\"quant_method\":\"awq\",\"bits\":4,\"version\":\"gemv\"}", "version: only gemm"},
        {"{\"quant_method\":\"awq\",\"bits\":4,\"zero_point\":false}", "zero_point"},
        {"{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}", "fmt: only e4m3"},
        {"{\"quant_method\":\"fp8\",\"scale_fmt\":\"ue8m0\"}", "scale_fmt"},
        {"{\"quant_method\":\"fp8\",\"weight_block_size\":[128]}", "weight_block_size"},
        {"{\"quant_method\":\"fp8\",\"weight_block_size\":[0,128]}", "weight_block_size"},
        {"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,1e30]}", "weight_block_size"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"marlin-24\"}", "format"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{}}", "config_groups"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":2,"
         "\"type\":\"int\"}}}}",
         "num_bits"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":4,"
         "\"type\":\"float\"}}}}",
         "config_groups"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"int-quantized\",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"},"
         "\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":8}}}}",
         "sparsity_config"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":4}},"
         "\"b\":{\"weights\":{\"num_bits\":8}}}}",
         "config_groups"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        kd_json *doc;
        kd_packing p;
        kd_err e = {0};
        must(kd_json_parse(&doc, BAD[i].json, strlen(BAD[i].json), "test", er));
        kd_code c = kd_packing_read(&p, kd_json_root(doc), "config.json", &e);
        if ((c != KD_EUNSUPPORTED && c != KD_EFORMAT) || !strstr(e.msg, BAD[i].message)) fail_msg("%s: code %d, %s", BAD[i].json, c, e.msg);
        kd_json_free(doc);
    }
    kd_packing p = {.kind = KD_PACK_AWQ};
    must(kd_packing_read(&p, NULL, "config.json", er));
    assert_int_equal(p.kind, KD_PACK_NONE);
}

static char dir[64];
static void put(const char *name, const void *p, size_t n) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    must(kd_file_write(path, p, n, er));
}
/* The golden folder `from` again, but for what change makes of a tensor (false: left out). */
typedef bool changer(const kd_tensor *t, uint64_t *shape, kd_dtype *type, void *bytes);
static kd_code opened(const char *from, changer *change, kd_err *e) {
    char path[200];
    kd_safetensors *s;
    kd_safetensors_writer *w;
    kd_model *m = NULL;
    kd_buf b = {0};
    void *copies[64];
    size_t sizes[64], n = 0;
    snprintf(path, sizeof path, GOLDEN "%s/config.json", from);
    must(kd_file_read(&b, path, 1 << 20, er));
    put("config.json", b.data, b.len);
    kd_buf_clear(&b);
    snprintf(path, sizeof path, GOLDEN "%s/model.safetensors", from);
    must(kd_safetensors_open(&s, path, er));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    must(kd_safetensors_writer_new(&w, path, 0, er));
    for (size_t i = 0; i < kd_tensors_count(kd_safetensors_tensors(s)); i++) {
        const kd_tensor *t = kd_tensors_at(kd_safetensors_tensors(s), i);
        uint64_t shape[KD_MAX_DIMS];
        kd_dtype type = t->type;
        memcpy(shape, t->shape, sizeof shape);
        copies[n] = malloc(t->bytes + 1);
        memcpy(copies[n], t->data, t->bytes);
        if (!change(t, shape, &type, copies[n])) {
            free(copies[n]);
            continue;
        }
        must(kd_safetensors_writer_declare(w, t->name.data, type, t->ndim, shape, NULL, er));
        kd_tensor_size((int)type, t->ndim, shape, &sizes[n++]);
    }
    must(kd_safetensors_writer_begin(w, er));
    for (size_t i = 0; i < n; i++) {
        must(kd_safetensors_writer_put(w, i, copies[i], sizes[i], er));
        free(copies[i]);
    }
    must(kd_safetensors_writer_commit(w, er));
    kd_safetensors_writer_free(w);
    kd_safetensors_close(s);
    kd_code c = kd_model_open_stored(&m, dir, e);
    kd_model_free(m);
    return c;
}
static const char *target;
static bool leave_out(const kd_tensor *t, uint64_t *shape, kd_dtype *type, void *bytes) {
    (void)shape, (void)type, (void)bytes;
    return !strstr(t->name.data, target);
}
static bool shorten(const kd_tensor *t, uint64_t *shape, kd_dtype *type, void *bytes) {
    (void)type, (void)bytes;
    if (strstr(t->name.data, target)) shape[0] /= 2;
    return true;
}
static bool retype(const kd_tensor *t, uint64_t *shape, kd_dtype *type, void *bytes) {
    (void)bytes;
    if (strstr(t->name.data, target))
        *type = kd_dtype_get((int)*type)->bytes == 4 ? KD_F32 : kd_dtype_get((int)*type)->bytes == 2 ? KD_I16 : KD_U8;
    if (strstr(t->name.data, target) && t->type == KD_F32) *type = KD_I32;
    (void)shape;
    return true;
}
static bool far_group(const kd_tensor *t, uint64_t *shape, kd_dtype *type, void *bytes) {
    (void)shape, (void)type;
    if (strstr(t->name.data, target)) ((int32_t *)bytes)[3] = 2;
    return true;
}
static bool trained_bias(const kd_tensor *t, uint64_t *shape, kd_dtype *type, void *bytes) {
    (void)shape, (void)type;
    if (strstr(t->name.data, target)) ((unsigned char *)bytes)[5] = 1;
    return true;
}

static void tensors(void **state) {
    (void)state;
    static const struct {
        const char *from, *tensor;
        changer *change;
    } BAD[] = {{"gptq", "q_proj.qzeros", leave_out},
               {"gptq", "k_proj.scales", leave_out},
               {"gptq", "down_proj.qweight", leave_out},
               {"gptq", "up_proj.qweight", shorten},
               {"gptq", "up_proj.scales", shorten},
               {"gptq", "up_proj.qzeros", shorten},
               {"gptq", "o_proj.scales", retype},
               {"gptq", "o_proj.qweight", retype},
               {"gptq-order", "v_proj.g_idx", shorten},
               {"gptq-order", "v_proj.g_idx", far_group},
               {"awq", "q_proj.qzeros", leave_out},
               {"awq", "gate_proj.qweight", shorten},
               {"fp8-block", "q_proj.weight_scale_inv", leave_out},
               {"fp8-block", "q_proj.weight_scale_inv", shorten},
               {"fp8-block", "q_proj.weight_scale_inv", retype},
               {"fp8-tensor", "up_proj.weight_scale", leave_out},
               {"ct-pack4", "up_proj.weight_scale", leave_out},
               {"ct-pack4", "up_proj.weight_scale", shorten},
               {"ct-pack4", "up_proj.weight_packed", shorten},
               {"ct-pack4-asym", "up_proj.weight_zero_point", shorten},
               {"ct-int8", "up_proj.weight_scale", leave_out},
               {"ct-fp8", "up_proj.weight", retype},
               {"gptq", "q_proj.bias", trained_bias}};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        kd_err e = {0};
        target = BAD[i].tensor;
        kd_code c = opened(BAD[i].from, BAD[i].change, &e);
        char module[32];
        snprintf(module, sizeof module, "%.*s", (int)(strchr(target, '.') - target), target);
        if ((c != KD_EFORMAT && c != KD_EUNSUPPORTED) || !strstr(e.msg, module))
            fail_msg("%s %s: code %d, %s", BAD[i].from, target, c, e.msg);
    }
}

static int setup(void **state) {
    (void)state;
    strcpy(dir, "/tmp/kd-packed-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    return kd_remove_tree(dir, NULL);
}
int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(exact), cmocka_unit_test(configs), cmocka_unit_test(tensors)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
