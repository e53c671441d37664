/* distill/model/source.c - tells a Hugging Face folder, a GGUF file and a run folder apart. Leans on base/file.h, base/json.h. */
#include "distill/model/source.h"

#include "distill/base/json.h"

#include <stdio.h>
#include <string.h>

/* Allocates nothing: a lack of memory must not read as a lack of files. */
static bool has(const char *dir, const char *name) {
    char p[4352];
    const int n = snprintf(p, sizeof p, "%s/%s", dir, name);
    return n > 0 && (size_t)n < sizeof p && kd_file_exists(p);
}

static kd_code resolve(kd_source *out, const char *path, int depth, kd_err *e);

/* The base an adapter names in its adapter_config.json; *base is the caller's. */
static kd_code adapter_base(char **base, const char *dir, kd_err *e) {
    char *path = kd_path_join(dir, "adapter_config.json");
    kd_buf text = {0};
    kd_json *doc = NULL;
    kd_code c = path ? kd_file_read(&text, path, 1 << 20, e) : kd_fail(e, KD_ENOMEM, "%s: out of memory", dir);
    if (!c) c = kd_json_parse(&doc, text.data, text.len, path, e);
    if (!c) {
        kd_str s = kd_json_string(kd_json_get(kd_json_root(doc), "base_model_name_or_path"));
        if (!s.data || !s.len)
            c = kd_fail(e, KD_EFORMAT,
                        "%s: base_model_name_or_path: expected the path of the base model, found none; give the base with --model and this "
                        "with --adapter",
                        path);
        else if (!(*base = kd_strndup(s.data, s.len)))
            c = kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    }
    kd_json_free(doc);
    kd_buf_clear(&text);
    kd_free(path);
    return c;
}

/* An adapter folder as a model: its base, which may be relative to the working folder or to the adapter itself. */
static kd_code resolve_adapter(kd_source *out, const char *dir, const char *run, int depth, kd_err *e) {
    char *base = NULL, *beside = NULL;
    kd_code c = adapter_base(&base, dir, e);
    if (c) return c;
    const char *path = base;
    if (base[0] != '/' && !kd_file_exists(base) && !kd_is_dir(base)) {
        beside = kd_path_join(dir, base);
        if (beside && (kd_file_exists(beside) || kd_is_dir(beside))) path = beside;
    }
    /* a run that was moved as a whole: the base that `train` installed in it still lies beside the adapter */
    const char *own = !strcmp(kd_path_base(base), "base") ? "../base" : !strcmp(kd_path_base(base), "base.gguf") ? "../base.gguf" : NULL;
    if (own && !kd_file_exists(path) && !kd_is_dir(path)) {
        kd_free(beside);
        beside = kd_path_join(dir, own);
        if (beside) path = beside;
    }
    if (!kd_file_exists(path) && !kd_is_dir(path)) {
        c = kd_fail(e, KD_ENOENT, "%s: its base model %s is not there; give it with --model and the adapter with --adapter", dir, base);
        goto done;
    }
    c = resolve(out, path, depth + 1, e);
    if (c) goto done;
    if (out->adapter) {
        c = kd_fail(e, KD_EUNSUPPORTED, "%s: its base %s is an adapter itself; merge that first (distill convert)", dir, base);
        kd_source_clear(out);
        goto done;
    }
    out->adapter = kd_strdup(dir);
    kd_free(out->run);
    out->run = run ? kd_strdup(run) : NULL;
    if (!out->adapter || (run && !out->run)) {
        kd_source_clear(out);
        c = kd_fail(e, KD_ENOMEM, "%s: out of memory", dir);
    }
done:
    kd_free(base);
    kd_free(beside);
    return c;
}

static kd_code resolve_dir(kd_source *out, const char *path, int depth, kd_err *e) {
    kd_code c = KD_OK;
    if (has(path, "config.json")) {
        out->kind = KD_SOURCE_HF;
        out->path = kd_strdup(path);
        return out->path ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    }
    if (has(path, "adapter_config.json")) return resolve_adapter(out, path, NULL, depth, e);
    char *model = kd_path_join(path, "model"), *adapter = kd_path_join(path, "adapter");
    if (!model || !adapter)
        c = kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    else if (has(model, "config.json")) {
        c = resolve_dir(out, model, depth + 1, e);
        if (!c && !(out->run = kd_strdup(path))) kd_source_clear(out), c = kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    } else if (has(adapter, "adapter_config.json"))
        c = resolve_adapter(out, adapter, path, depth, e);
    else if (has(path, "config.yaml"))
        c = kd_fail(e, KD_ENOENT,
                    "%s: a run that has not finished: expected adapter/ or model/ in it; run `distill train` again to finish it", path);
    else
        c = kd_fail(e, KD_EFORMAT,
                    "%s: expected a model (config.json, adapter_config.json, or a run's adapter/ or model/), found none of them", path);
    kd_free(model);
    kd_free(adapter);
    return c;
}

static kd_code resolve(kd_source *out, const char *path, int depth, kd_err *e) {
    memset(out, 0, sizeof *out);
    if (depth > 3) return kd_fail(e, KD_EFORMAT, "%s: adapters that name each other as base", path);
    if (kd_is_dir(path)) return resolve_dir(out, path, depth, e);
    if (!kd_file_exists(path)) return kd_fail(e, KD_ENOENT, "%s: no such model", path);
    size_t n = strlen(path);
    if (n > 12 && !strcmp(path + n - 12, ".safetensors")) {
        const char *base = kd_path_base(path);
        char *dir = base == path ? kd_strdup(".") : kd_strndup(path, (size_t)(base - path));
        kd_code c = !dir                       ? kd_fail(e, KD_ENOMEM, "%s: out of memory", path)
                    : !has(dir, "config.json") ? kd_fail(e, KD_EFORMAT, "%s: expected config.json beside it, found none", path)
                                               : resolve_dir(out, dir, depth, e);
        kd_free(dir);
        return c;
    }
    out->kind = KD_SOURCE_GGUF;
    out->path = kd_strdup(path);
    return out->path ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
}

kd_code kd_source_resolve(kd_source *out, const char *path, kd_err *e) {
    kd_code c = resolve(out, path, 0, e);
    if (c) kd_source_clear(out);
    return c;
}

void kd_source_clear(kd_source *s) {
    kd_free(s->path);
    kd_free(s->adapter);
    kd_free(s->run);
    memset(s, 0, sizeof *s);
}
