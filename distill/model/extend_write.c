/* distill/model/extend_write.c - an extended model on disk: a folder like the source's, or a GGUF file. Leans on extend_int.h, base/file.h. */
#include "distill/model/extend_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 512 << 20, PIECE = 4 << 20 };

static kd_code no_memory(kd_err *e) { return kd_fail(e, KD_ENOMEM, "no memory to write a model"); }

/* ---- the source's tensors ---- */
kd_code kd_extend_source_open(kd_extend_source *s, const kd_model *m, kd_err *e) {
    *s = (kd_extend_source){.tied = m->config.tied, .gguf = kd_model_gguf(m)};
    kd_code c = s->gguf ? KD_OK : kd_safetensors_open(&s->st, m->path, e);
    if (!c) s->set = s->gguf ? kd_gguf_tensors(s->gguf) : kd_safetensors_tensors(s->st);
    return c;
}

void kd_extend_source_close(kd_extend_source *s) {
    kd_safetensors_close(s->st);
    *s = (kd_extend_source){0};
}

const kd_tensor *kd_extend_table(const kd_extend_source *s, int which) {
    char name[96];
    const kd_role r = which ? KD_HEAD : KD_EMBED;
    if (which && s->tied) return NULL;
    return kd_tensors_find(s->set, s->gguf ? kd_name_gguf(name, r, 0) : kd_name_hf(name, r, 0));
}

/* ---- tensors, the same walk for both writers ---- */
typedef struct {
    const kd_extension *x;
    const kd_extend_source *s;
    kd_safetensors_writer *st;
    kd_gguf_writer *gguf;
} sink;

/* -1: copied as it is; 0, 1: the embedding, the head; -2: left out (a stored copy of a tied head). */
static int kind_of(const sink *k, const kd_tensor *t) {
    if (t == kd_extend_table(k->s, 0)) return 0;
    if (t == kd_extend_table(k->s, 1)) return 1;
    return k->s->tied && kd_str_is(t->name, k->s->gguf ? "output.weight" : "lm_head.weight") ? -2 : -1;
}

static kd_code put(const sink *k, size_t i, const void *p, size_t n, kd_err *e) {
    return k->gguf ? kd_gguf_writer_put(k->gguf, i, p, n, e) : kd_safetensors_writer_put(k->st, i, p, n, e);
}

static kd_code declare(const sink *k, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < kd_tensors_count(k->s->set) && !c; i++) {
        const kd_tensor *t = kd_tensors_at(k->s->set, i);
        assert(t);
        uint64_t shape[KD_MAX_DIMS];
        const int kind = kind_of(k, t);
        if (kind == -2) continue;
        memcpy(shape, t->shape, sizeof shape);
        if (kind >= 0) shape[0] = k->x->V;
        c = k->gguf ? kd_gguf_writer_declare(k->gguf, t->name.data, t->type, t->ndim, shape, NULL, e)
                    : kd_safetensors_writer_declare(k->st, t->name.data, t->type, t->ndim, shape, NULL, e);
    }
    return c;
}

static kd_code put_all(const sink *k, size_t i, const kd_tensor *t, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t at = 0; at < t->bytes && !c; at += PIECE)
        c = put(k, i, (const char *)t->data + at, t->bytes - at < PIECE ? t->bytes - at : PIECE, e);
    return c;
}

/* The source's rows, the mean where new tokens stand (and in rows between, if there are any). */
static kd_code put_table(const sink *k, size_t i, const kd_tensor *t, int which, kd_err *e) {
    const struct kd_extend_mean *mean = k->x->means ? &k->x->means[which] : NULL;
    const uint64_t rows = t->shape[0];
    kd_code c = KD_OK;
    if (!mean || !mean->row) return put_all(k, i, t, e);
    for (uint64_t r = 0; r < k->x->V && !c; r++) {
        const bool own = r >= rows || (r >= k->x->first && r < (uint64_t)k->x->first + k->x->n);
        c = put(k, i, own ? mean->row : (const char *)t->data + r * mean->bytes, mean->bytes, e);
    }
    return c;
}

static kd_code put_tensors(const sink *k, kd_err *e) {
    kd_code c = KD_OK;
    size_t index = 0;
    for (size_t i = 0; i < kd_tensors_count(k->s->set) && !c; i++) {
        const kd_tensor *t = kd_tensors_at(k->s->set, i);
        const int kind = kind_of(k, t);
        if (kind == -2) continue;
        c = kind < 0 ? put_all(k, index, t, e) : put_table(k, index, t, kind, e);
        kd_tensors_advise(k->s->set, t, KD_MAP_DONTNEED);
        index++;
    }
    return c;
}

/* ---- texts of a folder ---- */
static kd_code write_text(const char *dir, const char *name, kd_str s, kd_err *e) {
    char *path = kd_path_join(dir, name);
    kd_code c = path ? kd_file_write(path, s.data ? s.data : "", s.len, e) : no_memory(e);
    kd_free(path);
    return c;
}

static kd_code read_text(kd_buf *out, const char *dir, const char *name, bool *there, kd_err *e) {
    char *path = kd_path_join(dir, name);
    kd_code c = path ? KD_OK : no_memory(e);
    *there = !c && kd_file_exists(path);
    if (*there) c = kd_file_read(out, path, TEXT_MAX, e);
    kd_free(path);
    return c;
}

static kd_code copy_text(const char *from, const char *to, const char *name, kd_err *e) {
    kd_buf b = {0};
    bool there;
    kd_code c = read_text(&b, from, name, &there, e);
    if (!c && there) c = write_text(to, name, kd_buf_view(&b), e);
    kd_buf_clear(&b);
    return c;
}

/* Ids that end a generation: the new one first, then those of before. */
static void put_eos_ids(kd_jsonw *w, const kd_json_node *was, int32_t eos) {
    int64_t id;
    kd_jsonw_array(w);
    kd_jsonw_int(w, eos);
    if (kd_json_int(was, &id) && id != eos) kd_jsonw_int(w, id);
    for (const kd_json_node *n = kd_json_typeof(was) == KD_JSON_ARRAY ? kd_json_first(was) : NULL; n; n = kd_json_next(n))
        if (kd_json_int(n, &id) && id != eos) kd_jsonw_int(w, id);
    kd_jsonw_end_array(w);
}

static void put_rope(kd_jsonw *w, const kd_json_node *was, double theta) {
    if (kd_json_typeof(was) != KD_JSON_OBJECT) {
        kd_jsonw_node(w, was);
        return;
    }
    kd_jsonw_object(w);
    for (const kd_json_node *n = kd_json_first(was); n; n = kd_json_next(n)) {
        kd_jsonw_key_str(w, kd_json_key(n));
        if (kd_str_is(kd_json_key(n), "rope_theta"))
            kd_jsonw_double(w, theta);
        else
            kd_jsonw_node(w, n);
    }
    kd_jsonw_end_object(w);
}

/* One JSON file of the folder again, with what is new in it; nothing where the source has none. */
static kd_code patch(const kd_extension *x, const char *from, const char *to, const char *name, kd_err *e) {
    kd_buf text = {0}, out = {0};
    kd_json *doc = NULL;
    bool there, theta = false, config = !strcmp(name, "config.json");
    kd_jsonw w = {.out = &out, .python = true};
    kd_code c = read_text(&text, from, name, &there, e);
    if (!c && there) c = kd_json_parse(&doc, text.data, text.len, name, e);
    if (c || !there) goto done;
    const kd_json_node *root = kd_json_root(doc);
    kd_jsonw_object(&w);
    for (const kd_json_node *n = kd_json_first(root); n; n = kd_json_next(n)) {
        const kd_str key = kd_json_key(n);
        const bool rope = config && x->rope_theta != 0;
        kd_jsonw_key_str(&w, key);
        if (config && kd_str_is(key, "vocab_size"))
            kd_jsonw_int(&w, x->V);
        else if (x->eos >= 0 && kd_str_is(key, "eos_token_id") && config)
            kd_jsonw_int(&w, x->eos);
        else if (x->eos >= 0 && kd_str_is(key, "eos_token_id"))
            put_eos_ids(&w, n, x->eos);
        else if (x->eos >= 0 && kd_str_is(key, "eos_token"))
            kd_jsonw_str(&w, kd_chat_token(x->chat, "eos_token"));
        else if (rope && kd_str_is(key, "rope_theta"))
            kd_jsonw_double(&w, x->rope_theta), theta = true;
        else if (rope && (kd_str_is(key, "rope_parameters") || kd_str_is(key, "rope_scaling")))
            put_rope(&w, n, x->rope_theta), theta |= kd_json_get(n, "rope_theta") != NULL;
        else
            kd_jsonw_node(&w, n);
    }
    if (config && x->eos >= 0 && !kd_json_get(root, "eos_token_id")) kd_jsonw_key(&w, "eos_token_id"), kd_jsonw_int(&w, x->eos);
    if (config && x->rope_theta != 0 && !theta) kd_jsonw_key(&w, "rope_theta"), kd_jsonw_double(&w, x->rope_theta);
    kd_jsonw_end_object(&w);
    c = w.code ? no_memory(e) : write_text(to, name, kd_buf_view(&out), e);
done:
    kd_json_free(doc);
    kd_buf_clear(&text);
    kd_buf_clear(&out);
    return c;
}

static const char *const template_files[] = {"chat_template.jinja", "chat_template.json"};

static kd_code copy_templates(const char *from, const char *to, kd_err *e) {
    static const char SUB[] = "additional_chat_templates";
    kd_code c = KD_OK;
    for (size_t i = 0; i < 2 && !c; i++) c = copy_text(from, to, template_files[i], e);
    char *sub = kd_path_join(from, SUB), *into = kd_path_join(to, SUB);
    char **names = NULL;
    size_t n = 0;
    if (!c && (!sub || !into)) c = no_memory(e);
    if (!c && kd_is_dir(sub)) {
        c = kd_list_dir(sub, &names, &n, e);
        if (!c) c = kd_mkdirs(into, e);
        for (size_t i = 0; i < n && !c; i++) c = copy_text(sub, into, names[i], e);
        kd_names_free(names, n);
    }
    kd_free(sub);
    kd_free(into);
    return c;
}

static kd_code folder_texts(const kd_extension *x, const char *from, const char *to, kd_err *e) {
    static const char *const patched[] = {"config.json", "generation_config.json", "special_tokens_map.json"};
    static const char *const copied[] = {"vocab.json", "merges.txt", "tokenizer.model", "LICENSE", "LICENSE.txt", "NOTICE"};
    kd_code c = KD_OK;
    for (size_t i = 0; i < 3 && !c; i++) c = patch(x, from, to, patched[i], e);
    for (size_t i = 0; i < sizeof copied / sizeof *copied && !c; i++) c = copy_text(from, to, copied[i], e);
    if (!c) c = write_text(to, "tokenizer.json", kd_buf_view(&x->json), e);
    if (!c) c = write_text(to, "tokenizer_config.json", kd_buf_view(&x->config), e);
    if (c || !x->has_template) return c ? c : copy_templates(from, to, e);
    kd_str source = {NULL, 0};
    source.data = kd_template_source(kd_chat_template(x->chat, false), &source.len);
    return write_text(to, "chat_template.jinja", source, e);
}

/* ---- weights of a folder ---- */
static kd_code copy_bytes(const char *from, const char *to, kd_err *e) {
    kd_map *map = NULL;
    kd_writer *w = NULL;
    kd_code c = kd_map_open(&map, from, e);
    if (!c) c = kd_writer_open(&w, to, e);
    for (size_t at = 0, n = map ? kd_map_size(map) : 0; at < n && !c; at += PIECE)
        c = kd_writer_write(w, kd_map_data(map) + at, n - at < PIECE ? n - at : PIECE, e);
    if (!c) c = kd_writer_commit(w, e);
    kd_writer_close(w);
    kd_map_close(map);
    return c;
}

/* The source's files under another folder: the same bytes, by a hard link, or copied where the disk makes none. */
static kd_code link_weights(const kd_extend_source *s, const char *from, const char *to, kd_err *e) {
    kd_code c = copy_text(from, to, "model.safetensors.index.json", e);
    for (uint32_t i = 0; i < kd_tensors_files(s->set) && !c; i++) {
        const char *path = kd_map_path(kd_tensors_map(s->set, i));
        char *real = realpath(path, NULL), *name = kd_path_join(to, kd_path_base(path));
        if (!name)
            c = no_memory(e);
        else if (link(real ? real : path, name) != 0)
            c = copy_bytes(path, name, e);
        free(real);
        kd_free(name);
    }
    return c;
}

static kd_code write_weights(const kd_extension *x, const kd_extend_source *s, const char *to, kd_err *e) {
    sink k = {.x = x, .s = s};
    char *path = kd_path_join(to, "model.safetensors");
    kd_code c = path ? kd_safetensors_writer_new(&k.st, path, (uint64_t)5000000000u, e) : no_memory(e);
    if (!c) c = kd_safetensors_writer_meta(k.st, "format", KD_STR("pt"), e);
    if (!c) c = declare(&k, e);
    if (!c) c = kd_safetensors_writer_begin(k.st, e);
    if (!c) c = put_tensors(&k, e);
    if (!c) c = kd_safetensors_writer_commit(k.st, e);
    kd_safetensors_writer_free(k.st);
    kd_free(path);
    return c;
}

static kd_code write_folder(const kd_extension *x, const kd_extend_source *s, const char *from, const char *dst, kd_err *e) {
    kd_buf made = {0};
    kd_code c = kd_buf_printf(&made, "%s.tmp", dst) ? no_memory(e) : kd_remove_tree(made.data, e);
    if (!c) c = kd_mkdirs(made.data, e);
    if (!c) c = folder_texts(x, from, made.data, e);
    if (!c) c = x->n ? write_weights(x, s, made.data, e) : link_weights(s, from, made.data, e);
    if (!c) c = kd_fsync_dir(made.data, e);
    if (!c) c = kd_rename_dir(made.data, dst, e);
    if (c && made.data) (void)kd_remove_tree(made.data, NULL);
    kd_buf_clear(&made);
    return c;
}

/* ---- a GGUF file ---- */
static kd_code write_keys(const kd_extension *x, const kd_model *m, kd_gguf_writer *w, kd_err *e) {
    const kd_gguf *g = kd_model_gguf(m);
    const char *arch = kd_arch_name(m->config.arch);
    char key[96];
    kd_code c = KD_OK;
    for (size_t i = 0; i < kd_gguf_count(g) && !c; i++) {
        const kd_gguf_kv *kv = kd_gguf_at(g, i);
        if (kd_str_starts(kv->key, "tokenizer.ggml.") || kd_str_starts(kv->key, "distill.hf.") || kd_str_starts(kv->key, "split."))
            continue;
        if (x->has_template && kd_str_starts(kv->key, "tokenizer.chat_template")) continue;
        c = kd_gguf_writer_copy(w, kv, e);
    }
    if (!c) c = kd_tokenizer_write_gguf(x->tokenizer, w, x->V, e);
    snprintf(key, sizeof key, "%s.vocab_size", arch);
    if (!c) c = kd_gguf_writer_u32(w, key, x->V, e);
    snprintf(key, sizeof key, "%s.rope.freq_base", arch);
    if (!c && x->rope_theta != 0) c = kd_gguf_writer_f32(w, key, (float)x->rope_theta, e);
    if (c || !x->has_template) return c;
    kd_str source = {NULL, 0};
    source.data = kd_template_source(kd_chat_template(x->chat, false), &source.len);
    return kd_gguf_writer_str(w, "tokenizer.chat_template", source, e);
}

static kd_code write_gguf(const kd_extension *x, const kd_extend_source *s, const kd_model *m, const char *dst, kd_err *e) {
    sink k = {.x = x, .s = s};
    kd_code c = kd_gguf_writer_new(&k.gguf, dst, 0, e);
    if (!c) c = write_keys(x, m, k.gguf, e);
    if (!c) c = declare(&k, e);
    if (!c) c = kd_gguf_writer_begin(k.gguf, e);
    if (!c) c = put_tensors(&k, e);
    if (!c) c = kd_gguf_writer_commit(k.gguf, e);
    kd_gguf_writer_free(k.gguf);
    return c;
}

kd_code kd_extension_write(const kd_extension *x, const kd_model *m, const char *dst, kd_err *e) {
    kd_extend_source s;
    kd_code c = kd_extend_source_open(&s, m, e);
    if (!c) c = s.gguf ? write_gguf(x, &s, m, dst, e) : write_folder(x, &s, m->path, dst, e);
    kd_extend_source_close(&s);
    return c;
}

/* ---- words without weights ---- */
static kd_code words_of_gguf(const kd_model *m, const char *dir, kd_err *e) {
    const kd_gguf *g = kd_model_gguf(m);
    kd_tokenizer *t = NULL;
    kd_buf b = {0};
    kd_str source;
    if (!kd_gguf_find(g, "tokenizer.ggml.tokens")) return KD_OK;
    kd_code c = kd_tokenizer_open_gguf(&t, g, e);
    if (!c) c = kd_tokenizer_write_json(t, &b, e);
    if (!c) c = write_text(dir, "tokenizer.json", kd_buf_view(&b), e);
    b.len = 0;
    if (!c) c = kd_tokenizer_write_config(t, &b, e);
    if (!c) c = write_text(dir, "tokenizer_config.json", kd_buf_view(&b), e);
    if (!c && kd_gguf_str(g, "tokenizer.chat_template", &source)) c = write_text(dir, "chat_template.jinja", source, e);
    kd_tokenizer_free(t);
    kd_buf_clear(&b);
    return c;
}

kd_code kd_words_copy(const kd_model *m, const char *dir, kd_err *e) {
    static const char *const names[] = {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt",     "tokenizer.model"};
    kd_code c = kd_mkdirs(dir, e);
    if (c || kd_model_gguf(m)) return c ? c : words_of_gguf(m, dir, e);
    for (size_t i = 0; i < sizeof names / sizeof *names && !c; i++) c = copy_text(m->path, dir, names[i], e);
    return c ? c : copy_templates(m->path, dir, e);
}
