/* convert/adapter.c - see adapter.h. Leans on card.h, model/loaded.h. Key and tensor names are facts of llama.cpp's adapter loader. */
#include "convert/adapter.h"

#include "convert/card.h"
#include "distill/base/clock.h"
#include "distill/math/codec.h"
#include "distill/model/loaded.h"

#include <stdio.h>
#include <string.h>

/* One factor of one matrix on its way out. */
typedef struct {
    kd_gguf_writer *w;
    kd_dtype type;
    size_t index;
} factor;

static kd_code put(const factor *f, const float *v, size_t n, kd_err *e) {
    if (f->type == KD_F32) return kd_gguf_writer_put(f->w, f->index, v, n * sizeof *v, e);
    unsigned char *half = kd_malloc(2 * n);
    kd_code c = half ? kd_quantize(KD_F16, v, half, n, NULL, e) : kd_fail(e, KD_ENOMEM, "no memory for %zu numbers", n);
    if (!c) c = kd_gguf_writer_put(f->w, f->index, half, 2 * n, e);
    kd_free(half);
    return c;
}

/* What B is multiplied by, so that the file's own alpha/r says the rest: exactly 1 for plain LoRA. */
static float left_over(const kd_lora *l, const kd_adapter_config *c) {
    if (!c->rslora && l->alpha == c->alpha) return 1;
    return (float)((double)l->scale * (double)l->r / (double)c->alpha);
}

/* B [out,r] in the order of the base's rows; for an embedding, A [r,V] the other way round. */
static kd_code put_b(const factor *f, const kd_lora *l, float by, size_t out, uint32_t heads_of, kd_err *e) {
    float *v = kd_malloc(out * l->r * sizeof *v);
    if (!v) return kd_fail(e, KD_ENOMEM, "no memory for %zu numbers", out * l->r);
    for (size_t o = 0; o < out; o++) {
        size_t to = heads_of ? kd_llama_permuted_row((uint32_t)o, heads_of) : o;
        for (size_t k = 0; k < l->r; k++) v[to * l->r + k] = by * l->b[o * l->r + k];
    }
    kd_code c = put(f, v, out * l->r, e);
    kd_free(v);
    return c;
}

static kd_code put_turned(const factor *f, const float *a, size_t r, size_t n, kd_err *e) {
    float *v = kd_malloc(r * n * sizeof *v);
    if (!v) return kd_fail(e, KD_ENOMEM, "no memory for %zu numbers", r * n);
    for (size_t k = 0; k < r; k++)
        for (size_t i = 0; i < n; i++) v[i * r + k] = a[k * n + i];
    kd_code c = put(f, v, r * n, e);
    kd_free(v);
    return c;
}

/* Declares both factors (put_data false), or writes them under the numbers that were given out then: 2i and 2i + 1. */
static kd_code one(kd_gguf_writer *w, const kd_loaded *m, kd_role r, uint32_t layer, kd_dtype type, bool put_data, size_t *index,
                   kd_convert_result *result, kd_err *e) {
    const kd_lora *l = kd_adapter_lora(m->adapter, r, layer);
    char name[96], full[112];
    size_t out, in;
    if (!l || !l->r) return KD_OK;
    kd_role_shape(&m->model->config, r, &out, &in);
    const bool embed = r == KD_EMBED; /* [V,C]: PEFT has A [r,V], B [C,r] */
    const uint64_t a_shape[2] = {embed ? out : l->r, embed ? l->r : in}, b_shape[2] = {embed ? in : out, l->r};
    kd_name_gguf(name, r, layer);
    if (!put_data) {
        snprintf(full, sizeof full, "%s.lora_a", name);
        kd_code c = kd_gguf_writer_declare(w, full, type, 2, a_shape, NULL, e);
        snprintf(full, sizeof full, "%s.lora_b", name);
        result->tensors += 2, result->type_tensors[type] += 2;
        result->type_bytes[type] += (a_shape[0] * a_shape[1] + b_shape[0] * b_shape[1]) * (type == KD_F32 ? 4 : 2);
        return c ? c : kd_gguf_writer_declare(w, full, type, 2, b_shape, NULL, e);
    }
    const factor a = {w, type, *index}, b = {w, type, *index + 1};
    *index += 2;
    kd_code c = embed ? put_turned(&a, l->a, l->r, out, e) : put(&a, l->a, l->r * in, e);
    const uint32_t heads_of = kd_role_permuted(m->model->config.arch, r) ? m->model->config.D : 0;
    return c ? c : put_b(&b, l, left_over(l, &m->adapter->config), embed ? in : out, heads_of, e);
}

static kd_code all(kd_gguf_writer *w, const kd_loaded *m, kd_dtype type, bool put_data, kd_convert_result *result, kd_err *e) {
    size_t index = 0;
    kd_code c = one(w, m, KD_EMBED, 0, type, put_data, &index, result, e);
    for (uint32_t l = 0; l < m->model->config.L && !c; l++)
        for (int r = 0; r < KD_MATS && !c; r++) c = one(w, m, (kd_role)r, l, type, put_data, &index, result, e);
    return c ? c : one(w, m, KD_HEAD, 0, type, put_data, &index, result, e);
}

static kd_code check(const kd_loaded *m, const char *src, kd_err *e) {
    const kd_adapter *a = m->adapter;
    static const char MERGE[] = "has no words in a GGUF adapter; merge it instead (convert without --adapter-only)";
    if (!a) return kd_fail(e, KD_EINVAL, "%s: there is no adapter in it; name one with --adapter", src);
    if (a->config.dora) return kd_fail(e, KD_EUNSUPPORTED, "%s: DoRA %s", m->adapter_dir, MERGE);
    if (a->rows.n) return kd_fail(e, KD_EUNSUPPORTED, "%s: rows of trained tokens (trainable_token_indices) %s", m->adapter_dir, MERGE);
    if (a->saved_embed || a->saved_head) return kd_fail(e, KD_EUNSUPPORTED, "%s: modules_to_save %s", m->adapter_dir, MERGE);
    if (m->model->config.tied && a->head.r)
        return kd_fail(e, KD_EUNSUPPORTED, "%s: lm_head adapted while tied to the embedding %s", m->adapter_dir, MERGE);
    return KD_OK;
}

static kd_code to_gguf(const kd_loaded *m, const char *dst, const kd_convert_options *o, kd_dtype type, bool plan_only,
                       kd_convert_result *result, kd_err *e) {
    kd_gguf_writer *w = NULL;
    kd_code c = kd_gguf_writer_new(&w, dst, 0, e);
    if (!c) c = kd_gguf_writer_str(w, "general.architecture", kd_str_of(kd_arch_name(m->model->config.arch)), e);
    if (!c) c = kd_gguf_writer_str(w, "general.type", KD_STR("adapter"), e);
    if (!c) c = kd_gguf_writer_str(w, "adapter.type", KD_STR("lora"), e);
    if (!c) c = kd_gguf_writer_f32(w, "adapter.lora.alpha", m->adapter->config.alpha, e);
    if (!c && o->name) c = kd_gguf_writer_str(w, "general.name", kd_str_of(o->name), e);
    if (!c) c = kd_gguf_writer_u32(w, "general.file_type", type == KD_F32 ? 0 : 1, e);
    if (!c) c = kd_gguf_writer_str(w, "distill.version", KD_STR(KD_VERSION), e);
    if (!c) c = all(w, m, type, false, result, e);
    if (!c && !plan_only) {
        if (!(c = kd_gguf_writer_begin(w, e)) && !(c = all(w, m, type, true, result, e))) {
            result->bytes_out = kd_gguf_writer_bytes(w);
            c = kd_gguf_writer_commit(w, e);
        }
    }
    kd_gguf_writer_free(w);
    return c;
}

kd_code kd_convert_adapter(const char *src, const char *dst, const kd_convert_options *o, bool plan_only, kd_convert_result *result,
                           kd_err *e) {
    kd_loaded m = {0};
    kd_convert_result r = {0};
    double start = kd_now();
    const kd_convert_type *t = o->type ? kd_convert_type_named(o->type) : NULL;
    const bool gguf = kd_str_ends(kd_str_of(dst), ".gguf");
    if (o->type && (!t || t->mix || (t->type != KD_F32 && (t->type != KD_F16 || !gguf))))
        return kd_fail(e, KD_EINVAL, "--type %s: an adapter is written as f32, in a GGUF file as f16 too", o->type);
    kd_code c = kd_load(&m, src, o->adapter, KD_LOAD_WEIGHTS, e);
    if (!c && (gguf || !m.adapter)) c = check(&m, src, e);
    if (!c && gguf)
        c = to_gguf(&m, dst, o, t ? t->type : KD_F32, plan_only, &r, e);
    else if (!c && !plan_only)
        c = kd_adapter_save(m.adapter, dst, &m.model->config, m.adapter->config.base ? m.adapter->config.base : m.source.path, e);
    r.seconds = kd_now() - start;
    if (result) *result = r;
    kd_unload(&m);
    return c;
}
