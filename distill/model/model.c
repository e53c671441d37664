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
    bool *used;              /* [tensors] of a packed folder: part of something */
    bool packed;             /* some matrix is */
};

/* What opening carries along. */
typedef struct {
    kd_model *m;
    const kd_tensors *set;
    bool gguf;
    kd_err *e;
    uint32_t expert; /* whose tensor is looked for */
    bool stored;
} opener;

static const char *name_of(const opener *o, char *s, kd_role r, uint32_t layer) {
    return kd_name_stored(s, &o->m->config, o->gguf, r, layer, o->expert);
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

static void use(const opener *o, const kd_tensor *t) {
    if (t && o->m->files->used) o->m->files->used[t - kd_tensors_at(o->set, 0)] = true;
}

/* A matrix that the folder keeps packed: mat->data is its kd_packed then. */
static kd_code find_packed(const opener *o, kd_role r, uint32_t layer, kd_mat *mat, bool *found) {
    char s[96];
    size_t rows, cols;
    kd_packed p;
    const size_t n = strlen(name_of(o, s, r, layer));
    kd_role_shape(&o->m->config, r, &rows, &cols);
    *found = false;
    if (!o->m->config.packing.kind || n < 8) return KD_OK;
    s[n - 7] = 0; /* ".weight" */
    kd_code c = kd_packed_find(&p, found, &o->m->config.packing, o->set, s, rows, cols, o->m->path, o->e);
    if (c || !*found) return c;
    kd_packed *own = kd_arena_alloc(&o->m->files->arena, sizeof *own);
    if (!own) return kd_fail(o->e, KD_ENOMEM, "%s: out of memory", o->m->path);
    *own = p;
    const kd_tensor *const parts[] = {p.codes, p.scales, p.zeros, p.order, p.shape};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) use(o, parts[i]), o->m->bytes += parts[i] ? parts[i]->bytes : 0;
    *mat = (kd_mat){.type = (kd_dtype)KD_PACKED_TYPE, .rows = rows, .cols = cols, .data = own};
    o->m->files->packed = true;
    return KD_OK;
}

static kd_code find_mat(const opener *o, kd_role r, uint32_t layer, kd_mat *mat) {
    const kd_tensor *t;
    bool found;
    kd_code c = find_packed(o, r, layer, mat, &found);
    if (c || found) return c;
    if ((c = find(o, r, layer, &t))) return c;
    use(o, t);
    size_t row = 0;
    kd_dtype_row_bytes((int)t->type, (size_t)t->shape[1], &row);
    *mat = (kd_mat){.type = t->type, .rows = (size_t)t->shape[0], .cols = (size_t)t->shape[1], .row_bytes = row, .data = t->data};
    if (o->gguf && kd_role_permuted(o->m->config.arch, r)) mat->row_map = r == KD_Q ? o->m->files->q_map : o->m->files->k_map;
    o->m->bytes += t->bytes;
    return KD_OK;
}

/* The experts of a layer: a tensor each, or slices of a stack. */
static kd_code find_experts(opener *o, kd_role r, uint32_t layer, kd_mat **out) {
    const uint32_t n = o->m->config.experts;
    kd_mat *v = kd_arena_alloc(&o->m->files->arena, n * sizeof *v);
    size_t rows, cols, row;
    char s[96], shape[64];
    kd_code c = v ? KD_OK : kd_fail(o->e, KD_ENOMEM, "%s: out of memory", o->m->path);
    *out = v;
    for (o->expert = 0; !c && !o->gguf && o->expert < n; o->expert++) c = find_mat(o, r, layer, &v[o->expert]);
    o->expert = 0;
    if (c || !o->gguf) return c;
    kd_role_shape(&o->m->config, r, &rows, &cols);
    const kd_tensor *t = kd_tensors_find(o->set, name_of(o, s, r, layer));
    if (!t) return kd_fail(o->e, KD_EFORMAT, "%s: tensor %s: expected by the config, found none", o->m->path, s);
    if (t->ndim != 3 || t->shape[0] != n || t->shape[1] != rows || t->shape[2] != cols)
        return kd_fail(o->e, KD_EFORMAT, "%s: tensor %s: expected shape [%u, %zu, %zu], found %s", o->m->path, s, n, rows, cols,
                       kd_shape_text(t->ndim, t->shape, shape, sizeof shape));
    if (!kd_can_read((int)t->type) || !kd_dtype_row_bytes((int)t->type, cols, &row))
        return kd_fail(o->e, KD_EUNSUPPORTED, "%s: tensor %s: type %s, which we do not read as weights", o->m->path, s,
                       kd_dtype_get((int)t->type)->name);
    for (uint32_t k = 0; k < n; k++)
        v[k] =
            (kd_mat){.type = t->type, .rows = rows, .cols = cols, .row_bytes = row, .data = (const char *)t->data + (size_t)k * rows * row};
    o->m->bytes += t->bytes;
    return KD_OK;
}

static kd_code find_vec(const opener *o, kd_role r, uint32_t layer, const float **vec) {
    const kd_tensor *t;
    kd_code c = find(o, r, layer, &t);
    if (c) return c;
    use(o, t);
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

/* AutoGPTQ leaves biases of zeros where the model has none. */
static bool zero_bias(const kd_tensor *t) {
    if (!kd_str_ends(t->name, ".bias")) return false;
    for (size_t i = 0; i < t->bytes; i++)
        if (((const unsigned char *)t->data)[i]) return false;
    return true;
}

/* Every tensor of the file must be one that the forward pass reads. */
static kd_code refuse_strangers(const opener *o) {
    for (size_t i = 0; i < kd_tensors_count(o->set); i++) {
        const kd_tensor *t = kd_tensors_at(o->set, i);
        const kd_config *c = &o->m->config;
        kd_role r;
        uint32_t layer, expert;
        bool known = o->m->files->used ? o->m->files->used[i]
                                       : kd_name_parse_stored(t->name.data, c, o->gguf, &r, &layer, &expert) && kd_role_present(c, r) &&
                                             layer < c->L && (!expert || expert < c->experts);
        if (!known && !ignored(t->name.data, o->gguf, c) && !(o->m->files->used && zero_bias(t)))
            return kd_fail(o->e, KD_EUNSUPPORTED, "%s: tensor %s: not part of a %s %s model as its config describes it", o->m->path,
                           t->name.data, c->experts ? "sparse" : "dense", kd_config_type(c));
    }
    return KD_OK;
}

static kd_code find_layer(opener *o, uint32_t l) {
    kd_layer *y = &o->m->layers[l];
    const kd_config *c = &o->m->config;
    const float **const vec[] = {&y->attn_norm, &y->mlp_norm, &y->q_norm, &y->k_norm};
    kd_code code = KD_OK;
    for (int r = KD_Q; !code && r <= KD_DOWN; r++)
        if (kd_role_present(c, (kd_role)r)) code = find_mat(o, (kd_role)r, l, &y->mat[r]);
    if (!code && c->experts) code = find_mat(o, KD_ROUTER, l, &y->router);
    for (int k = 0; !code && c->experts && k < 3; k++) code = find_experts(o, (kd_role)(KD_EXP_GATE + k), l, &y->experts[k]);
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
    if (c->packing.kind && !(f->used = kd_arena_alloc(&f->arena, kd_tensors_count(o->set) + 1)))
        return kd_fail(o->e, KD_ENOMEM, "%s: out of memory", m->path);
    kd_code code = f->used ? KD_OK : refuse_strangers(o);
    if (!code) code = find_mat(o, KD_EMBED, 0, &m->embed);
    if (!code) code = find_vec(o, KD_FINAL_NORM, 0, &m->final_norm);
    m->head = m->embed;
    if (!code && !c->tied) code = find_mat(o, KD_HEAD, 0, &m->head);
    for (uint32_t l = 0; !code && l < c->L; l++) code = find_layer(o, l);
    return code || !f->used ? code : refuse_strangers(o); /* what belongs to packed weights is known only now */
}

static kd_code open_hf(kd_model *m, opener *o, kd_err *e) {
    char *path = kd_path_join(m->path, "config.json");
    kd_buf text = {0};
    kd_code c = path ? kd_file_read(&text, path, 16 << 20, e) : kd_fail(e, KD_ENOMEM, "%s: out of memory", m->path);
    if (!c) c = (o->stored ? kd_config_from_json_stored : kd_config_from_json)(&m->config, text.data, text.len, path, e);
    if (!c) c = kd_safetensors_open(&m->files->st, m->path, e);
    if (!c) o->set = kd_safetensors_tensors(m->files->st);
    kd_buf_clear(&text);
    kd_free(path);
    return c;
}

static kd_code open_gguf(kd_model *m, opener *o, kd_err *e) {
    kd_code c = kd_gguf_open(&m->files->gguf, m->path, e);
    if (!c) c = (o->stored ? kd_config_from_gguf_stored : kd_config_from_gguf)(&m->config, m->files->gguf, e);
    if (!c) o->set = kd_gguf_tensors(m->files->gguf), o->gguf = true;
    return c;
}

static kd_code open_any(kd_model **out, const char *path, bool stored, kd_err *e) {
    *out = NULL;
    kd_model *m = kd_calloc(1, sizeof *m);
    if (!m || !(m->files = kd_calloc(1, sizeof *m->files)) || !(m->path = kd_strdup(path))) {
        kd_model_free(m);
        return kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    }
    opener o = {.m = m, .e = e, .stored = stored};
    m->kind = kd_is_dir(path) ? KD_SOURCE_HF : KD_SOURCE_GGUF;
    kd_code c = m->kind == KD_SOURCE_HF ? open_hf(m, &o, e) : open_gguf(m, &o, e);
    if (!c) c = find_all(&o);
    if (c)
        kd_model_free(m);
    else
        *out = m;
    return c;
}

kd_code kd_model_open(kd_model **out, const char *path, kd_err *e) { return open_any(out, path, false, e); }
kd_code kd_model_open_stored(kd_model **out, const char *path, kd_err *e) { return open_any(out, path, true, e); }
bool kd_model_stored_only(const kd_model *m) { return m->config.experts || m->files->packed; }

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

const kd_mat *kd_model_mats(const kd_model *m, kd_role r, uint32_t layer, size_t *n) {
    *n = 1;
    if (r < KD_ROUTER) return kd_model_mat(m, r, layer);
    if (r >= KD_ROLES || layer >= m->config.L || !m->config.experts) return NULL;
    if (r == KD_ROUTER) return &m->layers[layer].router;
    *n = m->config.experts;
    return m->layers[layer].experts[r - KD_EXP_GATE];
}

void kd_mat_rows(const kd_mat *m, size_t first, size_t n, float *out) {
    if ((int)m->type == KD_PACKED_TYPE) {
        kd_packed_rows(m->data, first, n, out);
        return;
    }
    for (size_t r = 0; r < n; r++) kd_dequantize(m->type, kd_mat_row(m, first + r), out + r * m->cols, m->cols);
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
