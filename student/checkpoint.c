/* student/checkpoint.c - checkpoints: written whole, checked when read. Leans on checkpoint.h, base/file.h, base/hash.h, base/json.h. */
#include "student/checkpoint.h"

#include "distill/base/hash.h"
#include "distill/base/json.h"
#include "distill/format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const files[] = {"trained.safetensors", "optimizer.safetensors", "state.json"};
enum { FILES = 3 };

static kd_code no_memory(kd_err *e) { return kd_fail(e, KD_ENOMEM, "no memory for a checkpoint"); }

/* ---- writing ---- */
/* The trained values as a safetensors file. */
static kd_code write_values(const char *path, const kd_params *p, kd_err *e) {
    kd_safetensors_writer *w = NULL;
    kd_code code = kd_safetensors_writer_new(&w, path, 0, e);
    for (size_t i = 0; i < p->n && code == KD_OK; i++) {
        const kd_param *q = &p->at[i];
        code = kd_safetensors_writer_declare(w, q->name, KD_F32, q->cols ? 2 : 1, (const uint64_t[2]){q->rows, q->cols}, NULL, e);
    }
    if (code == KD_OK) code = kd_safetensors_writer_begin(w, e);
    for (size_t i = 0; i < p->n && code == KD_OK; i++)
        code = kd_safetensors_writer_put(w, i, p->value + p->at[i].at, p->at[i].n * sizeof(float), e);
    if (code == KD_OK) code = kd_safetensors_writer_commit(w, e);
    kd_safetensors_writer_free(w);
    return code;
}

/* The optimizer's arrays of what is active, NAME + suffix. */
static kd_code write_optimizer(const char *path, const kd_params *p, const kd_optimizer *o, kd_err *e) {
    kd_safetensors_writer *w = NULL;
    kd_code code = kd_safetensors_writer_new(&w, path, 0, e);
    for (int pass = 0; pass < 2 && code == KD_OK; pass++) {
        size_t at = 0;
        for (size_t i = 0; i < p->n; i++) {
            kd_state_array a[KD_STATE_ARRAYS];
            const size_t n = kd_param_active(p, &p->at[i]) ? kd_optimizer_arrays(a, &o->o, &p->at[i]) : 0;
            for (size_t k = 0; k < n && code == KD_OK; k++, at++) {
                char name[192];
                snprintf(name, sizeof name, "%s%s", p->at[i].name, a[k].suffix);
                if (pass)
                    code = kd_safetensors_writer_put(w, at, kd_optimizer_at(o, i, &a[k]), a[k].bytes, e);
                else
                    code = kd_safetensors_writer_declare(w, name, a[k].type, a[k].cols ? 2 : 1, (const uint64_t[2]){a[k].rows, a[k].cols},
                                                         NULL, e);
            }
        }
        if (!pass && code == KD_OK) code = kd_safetensors_writer_begin(w, e);
    }
    if (code == KD_OK) code = kd_safetensors_writer_commit(w, e);
    kd_safetensors_writer_free(w);
    return code;
}

static kd_code write_state(const char *path, const kd_progress_state *s, const kd_train_guard *g, kd_err *e) {
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "format");
    kd_jsonw_int(&w, 1);
    kd_jsonw_key(&w, "step");
    kd_jsonw_int(&w, (int64_t)s->step);
    kd_jsonw_key(&w, "tokens");
    kd_jsonw_int(&w, (int64_t)s->tokens);
    kd_jsonw_key(&w, "loss_tokens");
    kd_jsonw_int(&w, (int64_t)s->loss_tokens);
    kd_jsonw_key(&w, "optimizer_steps");
    kd_jsonw_int(&w, (int64_t)g->optimizer_steps);
    kd_jsonw_key(&w, "skipped");
    kd_jsonw_int(&w, (int64_t)g->skipped);
    kd_jsonw_key(&w, "losses");
    kd_jsonw_array(&w);
    for (uint32_t i = 0; i < g->n; i++) kd_jsonw_double(&w, g->losses[i]);
    kd_jsonw_end_array(&w);
    kd_jsonw_end_object(&w);
    kd_code code = w.code == KD_OK ? kd_buf_putc(&b, '\n') : w.code;
    code = code == KD_OK ? kd_file_write(path, b.data, b.len, e) : no_memory(e);
    kd_buf_clear(&b);
    return code;
}

static kd_code write_manifest(const char *dir, kd_err *e) {
    kd_buf b = {0};
    kd_code code = KD_OK;
    for (int i = 0; i < FILES && code == KD_OK; i++) {
        char hex[65], *path = kd_path_join(dir, files[i]);
        code = path ? kd_sha256_file(path, hex, e) : no_memory(e);
        if (code == KD_OK && kd_buf_printf(&b, "%s  %s\n", hex, files[i]) != KD_OK) code = no_memory(e);
        kd_free(path);
    }
    char *path = kd_path_join(dir, "MANIFEST");
    if (code == KD_OK) code = path ? kd_file_write(path, b.data, b.len, e) : no_memory(e);
    kd_free(path);
    kd_buf_clear(&b);
    return code;
}

static kd_code write_all(kd_trainer *t, const char *dir, const kd_progress_state *s, kd_err *e) {
    const kd_params *p = kd_trainer_params(t);
    const kd_optimizer *o = kd_trainer_optimizer(t);
    char *path[FILES] = {kd_path_join(dir, files[0]), kd_path_join(dir, files[1]), kd_path_join(dir, files[2])};
    kd_code code = path[0] && path[1] && path[2] ? KD_OK : no_memory(e);
    if (code == KD_OK) code = kd_remove_tree(dir, e);
    if (code == KD_OK) code = kd_mkdirs(dir, e);
    if (code == KD_OK) code = write_values(path[0], p, e);
    if (code == KD_OK) code = write_optimizer(path[1], p, o, e);
    if (code == KD_OK) code = write_state(path[2], s, kd_trainer_guard(t), e);
    if (code == KD_OK) code = write_manifest(dir, e);
    if (code == KD_OK) code = kd_fsync_dir(dir, e);
    for (int i = 0; i < FILES; i++) kd_free(path[i]);
    return code;
}

/* Steps of the checkpoints in dir, rising; *n of them (kd_free). */
static kd_code list_steps(const char *dir, uint64_t **steps, size_t *n, kd_err *e) {
    char **names = NULL;
    size_t count = 0;
    *steps = NULL;
    *n = 0;
    if (!kd_is_dir(dir)) return KD_OK;
    kd_code code = kd_list_dir(dir, &names, &count, e);
    if (code == KD_OK && !(*steps = kd_calloc(count + 1, sizeof **steps))) code = no_memory(e);
    for (size_t i = 0; i < count && code == KD_OK; i++) {
        char again[40], *end;
        if (strncmp(names[i], "step-", 5) != 0) continue;
        unsigned long long step = strtoull(names[i] + 5, &end, 10);
        snprintf(again, sizeof again, "step-%llu", step);
        if (strcmp(again, names[i]) != 0) continue;
        size_t k = (*n)++;
        for (; k && (*steps)[k - 1] > step; k--) (*steps)[k] = (*steps)[k - 1];
        (*steps)[k] = step;
    }
    kd_names_free(names, count);
    return code;
}

static char *step_dir(const char *dir, uint64_t step, const char *prefix) {
    char name[48];
    snprintf(name, sizeof name, "%sstep-%llu", prefix, (unsigned long long)step);
    return kd_path_join(dir, name);
}

static bool sound(const char *dir);

static kd_code prune(const char *dir, unsigned keep, uint64_t spare, kd_err *e) {
    uint64_t *steps;
    size_t n;
    kd_code code = list_steps(dir, &steps, &n, e);
    for (size_t i = 0; code == KD_OK && i + (keep ? keep : 1) < n; i++) {
        if (spare && steps[i] == spare) continue;
        char *path = step_dir(dir, steps[i], "");
        code = path ? kd_remove_tree(path, e) : no_memory(e);
        kd_free(path);
    }
    kd_free(steps);
    return code;
}

kd_code kd_checkpoint_save(kd_trainer *t, const char *dir, const kd_progress_state *s, unsigned keep, uint64_t spare, kd_err *e) {
    char *made = step_dir(dir, s->step, ".tmp-"), *final = step_dir(dir, s->step, "");
    kd_code code = made && final ? kd_mkdirs(dir, e) : no_memory(e);
    if (code == KD_OK && !(kd_is_dir(final) && sound(final))) {
        code = kd_remove_tree(final, e);
        if (code == KD_OK) code = write_all(t, made, s, e);
        if (code == KD_OK) code = kd_rename_dir(made, final, e);
        if (code != KD_OK) (void)kd_remove_tree(made, NULL);
    }
    if (code == KD_OK) code = prune(dir, keep, spare, e);
    kd_free(made);
    kd_free(final);
    return code;
}

/* ---- reading ---- */
/* True if MANIFEST names exactly our files and every hash agrees. */
static bool sound(const char *dir) {
    kd_buf b = {0};
    char *path = kd_path_join(dir, "MANIFEST");
    bool ok = path && kd_file_read(&b, path, 1 << 16, NULL) == KD_OK && b.data;
    const char *at = b.data;
    for (int i = 0; i < FILES && ok; i++) {
        const size_t len = strlen(files[i]);
        char hex[65], *file = kd_path_join(dir, files[i]);
        ok = file && strnlen(at, 66 + len + 1) == 66 + len + 1 && memcmp(at + 64, "  ", 2) == 0 && memcmp(at + 66, files[i], len) == 0 &&
             at[66 + len] == '\n' && kd_sha256_file(file, hex, NULL) == KD_OK && memcmp(hex, at, 64) == 0;
        if (ok) at += 66 + len + 1;
        kd_free(file);
    }
    ok = ok && *at == 0;
    kd_free(path);
    kd_buf_clear(&b);
    return ok;
}

static kd_code read_array(void *to, const char *path, const kd_tensors *set, const char *name, kd_dtype type, size_t rows, size_t cols,
                          size_t bytes, kd_err *e) {
    const kd_tensor *t = kd_tensors_find(set, name);
    if (!t || t->type != type || t->ndim != (cols ? 2 : 1) || t->shape[0] != rows || (cols && t->shape[1] != cols))
        return kd_fail(e, KD_EFORMAT, "%s: expected tensor %s as %s [%zu, %zu]: the checkpoint is of another training", path, name,
                       kd_dtype_get((int)type)->name, rows, cols);
    memcpy(to, t->data, bytes);
    kd_tensors_advise(set, t, KD_MAP_DONTNEED); /* a checkpoint is not to stay in memory twice */
    return KD_OK;
}

static kd_code read_values(const char *path, const kd_tensors *set, const kd_params *p, kd_err *e) {
    kd_code code = KD_OK;
    for (size_t i = 0; i < p->n && code == KD_OK; i++) {
        const kd_param *q = &p->at[i];
        code = read_array(p->value + q->at, path, set, q->name, KD_F32, q->rows, q->cols, q->n * sizeof(float), e);
    }
    return code;
}
static kd_code read_optimizer(const char *path, const kd_tensors *set, const kd_params *p, const kd_optimizer *o, kd_err *e) {
    kd_code code = KD_OK;
    for (size_t i = 0; i < p->n; i++) {
        kd_state_array a[KD_STATE_ARRAYS];
        const size_t n = kd_param_active(p, &p->at[i]) ? kd_optimizer_arrays(a, &o->o, &p->at[i]) : 0;
        for (size_t k = 0; k < n && code == KD_OK; k++) {
            char name[192];
            snprintf(name, sizeof name, "%s%s", p->at[i].name, a[k].suffix);
            code = read_array(kd_optimizer_at(o, i, &a[k]), path, set, name, a[k].type, a[k].rows, a[k].cols, a[k].bytes, e);
        }
    }
    return code;
}

static kd_code read_tensors(kd_trainer *t, const char *dir, uint64_t step, kd_err *e) {
    const kd_params *p = kd_trainer_params(t);
    const kd_optimizer *o = kd_trainer_optimizer(t);
    kd_code code = KD_OK;
    kd_trainer_seek(t, step);
    for (int i = 0; i < 2 && code == KD_OK; i++) {
        if (i == 1 && !o->state) break;
        kd_safetensors *f = NULL;
        char *path = kd_path_join(dir, files[i]);
        code = path ? kd_safetensors_open(&f, path, e) : no_memory(e);
        const kd_tensors *set = code == KD_OK ? kd_safetensors_tensors(f) : NULL;
        if (code == KD_OK) code = i ? read_optimizer(path, set, p, o, e) : read_values(path, set, p, e);
        kd_safetensors_close(f);
        kd_free(path);
    }
    return code;
}

/* What the guards remembered; a checkpoint of an earlier build has none of it. */
static bool read_guard(const kd_json_node *root, int64_t step, kd_train_guard *g) {
    int64_t steps = step, skipped = 0;
    *g = (kd_train_guard){0};
    const kd_json_node *losses = kd_json_get(root, "losses");
    if (kd_json_get(root, "optimizer_steps") && !kd_json_int(kd_json_get(root, "optimizer_steps"), &steps)) return false;
    if (kd_json_get(root, "skipped") && !kd_json_int(kd_json_get(root, "skipped"), &skipped)) return false;
    if (steps < 0 || skipped < 0 || kd_json_count(losses) > KD_GUARD_LOSSES) return false;
    for (const kd_json_node *n = kd_json_first(losses); n; n = kd_json_next(n)) g->losses[g->n++] = kd_json_number(n, 0);
    g->optimizer_steps = (uint64_t)steps;
    g->skipped = (uint64_t)skipped;
    return true;
}

static kd_code read_state(const char *dir, kd_progress_state *s, kd_train_guard *g, kd_err *e) {
    kd_buf b = {0};
    kd_json *doc = NULL;
    char *path = kd_path_join(dir, files[2]);
    kd_code code = path ? kd_file_read(&b, path, 1 << 20, e) : no_memory(e);
    if (code == KD_OK) code = kd_json_parse(&doc, b.data, b.len, path, e);
    int64_t format = 0, step = -1, tokens = -1, loss_tokens = -1;
    const kd_json_node *root = kd_json_root(doc);
    if (code == KD_OK &&
        (!kd_json_int(kd_json_get(root, "format"), &format) || format != 1 || !kd_json_int(kd_json_get(root, "step"), &step) ||
         !kd_json_int(kd_json_get(root, "tokens"), &tokens) || !kd_json_int(kd_json_get(root, "loss_tokens"), &loss_tokens) || step < 1 ||
         tokens < 0 || loss_tokens < 0 || !read_guard(root, step, g)))
        code = kd_fail(e, KD_EFORMAT, "%s: expected format 1 with step, tokens and loss_tokens", path);
    if (code == KD_OK) *s = (kd_progress_state){(uint64_t)step, (uint64_t)tokens, (uint64_t)loss_tokens};
    kd_json_free(doc);
    kd_buf_clear(&b);
    kd_free(path);
    return code;
}

kd_code kd_checkpoint_load(kd_trainer *t, const char *dir, kd_progress_state *s, unsigned *skipped, kd_err *e) {
    uint64_t *steps;
    size_t n;
    *s = (kd_progress_state){0};
    kd_code code = list_steps(dir, &steps, &n, e);
    for (size_t i = n; i-- > 0 && code == KD_OK && s->step == 0;) {
        char *path = step_dir(dir, steps[i], "");
        if (!path)
            code = no_memory(e);
        else if (!sound(path)) {
            if (skipped) ++*skipped;
        } else {
            kd_train_guard g;
            code = read_state(path, s, &g, e);
            if (code == KD_OK) code = read_tensors(t, path, s->step, e);
            if (code == KD_OK) kd_trainer_resume(t, s->step, &g);
        }
        kd_free(path);
    }
    kd_free(steps);
    return code;
}

kd_code kd_checkpoint_load_step(kd_trainer *t, const char *dir, uint64_t step, kd_err *e) {
    kd_progress_state s;
    kd_train_guard g;
    char *path = step_dir(dir, step, "");
    kd_code code =
        !path         ? no_memory(e)
        : sound(path) ? read_state(path, &s, &g, e)
                      : kd_fail(e, KD_EFORMAT, "%s: the checkpoint of update %llu is not there, or damaged", dir, (unsigned long long)step);
    if (code == KD_OK) code = read_tensors(t, path, step, e);
    if (code == KD_OK) kd_trainer_resume(t, step, &g);
    kd_free(path);
    return code;
}
