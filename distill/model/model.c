/* distill/model/model.c - opens a model: finds every tensor its config promises, checks type and shape, leaves matrices where they are mapped.
 * Leans on model.h, format/gguf.h, format/safetensors.h, math/codec.h. */
#include "distill/model/model.h"

#include "distill/format/gguf.h"
#include "distill/format/safetensors.h"
#include "distill/math/codec.h"

#include <stdio.h>
#include <string.h>

struct kd_model_files {
    kd_gguf *gguf;
    kd_safetensors *st;
    kd_arena arena;          /* vectors as f32, layers, row maps */
    uint32_t *q_map, *k_map; /* rows of GGUF's permuted q and k, NULL elsewhere */
};

/* What opening carries along. */
typedef struct {
    kd_model *m;
    const kd_tensors *set;
    bool gguf;
    kd_err *e;
} opener;

static const char *name_of(const opener *o, char *s, kd_role r, uint32_t layer) {
    return o->gguf ? kd_name_gguf(s, r, layer) : kd_name_hf(s, r, layer);
}

static kd_code find(const opener *o, kd_role r, uint32_t layer, const kd_tensor **out) {
    char s[96], found[64];
    const char *name = name_of(o, s, r, layer), *path = o->m->path;
    const kd_tensor *t = kd_tensors_find(o->set, name);
    size_t rows, cols;
    if (!t) return kd_fail(o->e, KD_EFORMAT, "%s: tensor %s: expected by the config, found none", path, name);
    kd_role_shape(&o->m->config, r, &rows, &cols);
    if (cols ? t->ndim != 2 || t->shape[0] != rows || t->shape[1] != cols : t->ndim != 1 || t->shape[0] != rows)
        return kd_fail(o->e, KD_EFORMAT, "%s: tensor %s: expected shape [%zu%s%.0zu], found %s", path, name, rows, cols ? ", " : "", cols,
                       kd_shape_text(t->ndim, t->shape, found, sizeof found));
    if (!kd_can_read((int)t->type))
        return kd_fail(o->e, KD_EUNSUPPORTED, "%s: tensor %s: type %s, which we do not read as weights", path, name,
                       kd_dtype_get((int)t->type)->name);
    *out = t;
    return KD_OK;
}

static kd_code find_mat(const opener *o, kd_role r, uint32_t layer, kd_mat *mat) {
    const kd_tensor *t;
    kd_code c = find(o, r, layer, &t);
    if (c) return c;
    size_t row = 0;
    kd_dtype_row_bytes((int)t->type, (size_t)t->shape[1], &row);
    *mat = (kd_mat){.type = t->type, .rows = (size_t)t->shape[0], .cols = (size_t)t->shape[1], .row_bytes = row, .data = t->data};
    if (o->gguf && kd_role_permuted(o->m->config.arch, r)) mat->row_map = r == KD_Q ? o->m->files->q_map : o->m->files->k_map;
    o->m->bytes += t->bytes;
    return KD_OK;
}

static kd_code find_vec(const opener *o, kd_role r, uint32_t layer, const float **vec) {
    const kd_tensor *t;
    kd_code c = find(o, r, layer, &t);
    if (c) return c;
    size_t n = (size_t)t->shape[0];
    float *v = kd_arena_alloc(&o->m->files->arena, n * sizeof(float));
    if (!v) return kd_fail(o->e, KD_ENOMEM, "%s: out of memory", o->m->path);
    kd_dequantize(t->type, t->data, v, n);
    const uint32_t *map = r == KD_Q_BIAS ? o->m->files->q_map : o->m->files->k_map;
    if (o->gguf && kd_role_permuted(o->m->config.arch, r)) {
        float *w = kd_arena_alloc(&o->m->files->arena, n * sizeof(float));
        if (!w) return kd_fail(o->e, KD_ENOMEM, "%s: out of memory", o->m->path);
        for (size_t i = 0; i < n; i++) w[i] = v[map[i]];
        v = w;
    }
    o->m->bytes += t->bytes;
    *vec = v;
    return KD_OK;
}

/* Tensors that old checkpoints carry and nobody reads. */
static bool ignored(const char *name, bool gguf, const kd_config *c) {
    size_t n = strlen(name);
    if (gguf) return !strcmp(name, "rope_freqs.weight");
    return (n > 9 && !strcmp(name + n - 9, ".inv_freq")) || (c->tied && !strcmp(name, "lm_head.weight"));
}

/* Every tensor of the file must be one that the forward pass reads. */
static kd_code refuse_strangers(const opener *o) {
    for (size_t i = 0; i < kd_tensors_count(o->set); i++) {
        const kd_tensor *t = kd_tensors_at(o->set, i);
        kd_role r;
        uint32_t layer;
        bool known = kd_name_parse(t->name.data, o->gguf, &r, &layer) && kd_role_present(&o->m->config, r) && layer < o->m->config.L;
        if (!known && !ignored(t->name.data, o->gguf, &o->m->config))
            return kd_fail(o->e, KD_EUNSUPPORTED, "%s: tensor %s: not part of a dense %s model as its config describes it", o->m->path,
                           t->name.data, kd_arch_name(o->m->config.arch));
    }
    return KD_OK;
}

static kd_code find_layer(const opener *o, uint32_t l) {
    kd_layer *y = &o->m->layers[l];
    const kd_config *c = &o->m->config;
    const float **const vec[] = {&y->attn_norm, &y->mlp_norm, &y->q_norm, &y->k_norm};
    kd_code code = KD_OK;
    for (int r = KD_Q; !code && r <= KD_DOWN; r++) code = find_mat(o, (kd_role)r, l, &y->mat[r]);
    for (int r = KD_Q; !code && r <= KD_DOWN; r++)
        if (kd_role_present(c, (kd_role)(KD_Q_BIAS + r))) code = find_vec(o, (kd_role)(KD_Q_BIAS + r), l, &y->bias[r]);
    for (int r = KD_ATTN_NORM; !code && r <= KD_K_NORM; r++)
        if (kd_role_present(c, (kd_role)r)) code = find_vec(o, (kd_role)r, l, vec[r - KD_ATTN_NORM]);
    return code;
}

static uint32_t *permuted(kd_arena *a, uint32_t rows, uint32_t D) {
    uint32_t *map = kd_arena_alloc(a, rows * sizeof *map);
    for (uint32_t r = 0; map && r < rows; r++) map[r] = kd_llama_permuted_row(r, D);
    return map;
}

static kd_code find_all(opener *o) {
    kd_model *m = o->m;
    const kd_config *c = &m->config;
    struct kd_model_files *f = m->files;
    m->layers = kd_arena_alloc(&f->arena, c->L * sizeof *m->layers);
    if (m->layers && o->gguf && c->arch == KD_LLAMA) {
        f->q_map = permuted(&f->arena, c->H * c->D, c->D);
        f->k_map = permuted(&f->arena, c->G * c->D, c->D);
        if (!f->q_map || !f->k_map) return kd_fail(o->e, KD_ENOMEM, "%s: out of memory", m->path);
    }
    if (!m->layers) return kd_fail(o->e, KD_ENOMEM, "%s: out of memory", m->path);
    kd_code code = refuse_strangers(o);
    if (!code) code = find_mat(o, KD_EMBED, 0, &m->embed);
    if (!code) code = find_vec(o, KD_FINAL_NORM, 0, &m->final_norm);
    m->head = m->embed;
    if (!code && !c->tied) code = find_mat(o, KD_HEAD, 0, &m->head);
    for (uint32_t l = 0; !code && l < c->L; l++) code = find_layer(o, l);
    return code;
}

static kd_code open_hf(kd_model *m, opener *o, kd_err *e) {
    char *path = kd_path_join(m->path, "config.json");
    kd_buf text = {0};
    kd_code c = path ? kd_file_read(&text, path, 16 << 20, e) : kd_fail(e, KD_ENOMEM, "%s: out of memory", m->path);
    if (!c) c = kd_config_from_json(&m->config, text.data, text.len, path, e);
    if (!c) c = kd_safetensors_open(&m->files->st, m->path, e);
    if (!c) o->set = kd_safetensors_tensors(m->files->st);
    kd_buf_clear(&text);
    kd_free(path);
    return c;
}

static kd_code open_gguf(kd_model *m, opener *o, kd_err *e) {
    kd_code c = kd_gguf_open(&m->files->gguf, m->path, e);
    if (!c) c = kd_config_from_gguf(&m->config, m->files->gguf, e);
    if (!c) o->set = kd_gguf_tensors(m->files->gguf), o->gguf = true;
    return c;
}

kd_code kd_model_open(kd_model **out, const char *path, kd_err *e) {
    *out = NULL;
    kd_model *m = kd_calloc(1, sizeof *m);
    if (!m || !(m->files = kd_calloc(1, sizeof *m->files)) || !(m->path = kd_strdup(path))) {
        kd_model_free(m);
        return kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    }
    opener o = {.m = m, .e = e};
    m->kind = kd_is_dir(path) ? KD_SOURCE_HF : KD_SOURCE_GGUF;
    kd_code c = m->kind == KD_SOURCE_HF ? open_hf(m, &o, e) : open_gguf(m, &o, e);
    if (!c) c = find_all(&o);
    if (c)
        kd_model_free(m);
    else
        *out = m;
    return c;
}

void kd_model_free(kd_model *m) {
    if (!m) return;
    if (m->files) {
        kd_gguf_close(m->files->gguf);
        kd_safetensors_close(m->files->st);
        kd_arena_clear(&m->files->arena);
    }
    kd_config_clear(&m->config);
    kd_free(m->files);
    kd_free(m->path);
    kd_free(m);
}

const kd_mat *kd_model_mat(const kd_model *m, kd_role r, uint32_t layer) {
    if (r == KD_EMBED) return &m->embed;
    if (r == KD_HEAD) return &m->head;
    return r < KD_MATS && layer < m->config.L ? &m->layers[layer].mat[r] : NULL;
}

const float *kd_model_vec(const kd_model *m, kd_role r, uint32_t layer) {
    if (r == KD_FINAL_NORM) return m->final_norm;
    if (r >= KD_LAYER_ROLES || layer >= m->config.L) return NULL;
    const kd_layer *y = &m->layers[layer];
    switch (r) {
    case KD_ATTN_NORM: return y->attn_norm;
    case KD_MLP_NORM: return y->mlp_norm;
    case KD_Q_NORM: return y->q_norm;
    case KD_K_NORM: return y->k_norm;
    default: return r >= KD_Q_BIAS && r <= KD_DOWN_BIAS ? y->bias[r - KD_Q_BIAS] : NULL;
    }
}

const kd_gguf *kd_model_gguf(const kd_model *m) { return m->files->gguf; }
