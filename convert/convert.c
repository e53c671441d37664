/* convert/convert.c - the whole conversion: plan, room on the disk, outputs under names of their own until they are whole. Leans on plan.h. */
#include "convert/convert.h"

#include "convert/resume.h"

#include "distill/base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

kd_code kd_sink_declare(const kd_sink *s, kd_plan *p, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < p->n && !c; i++) {
        kd_item *it = &p->v[i];
        c = s->gguf ? kd_gguf_writer_declare(s->gguf, it->name, it->type, it->ndim, it->shape, &it->index, e)
                    : kd_safetensors_writer_declare(s->st, it->name, it->type, it->ndim, it->shape, &it->index, e);
    }
    return c;
}

/* name = STEM SUFFIX or STEM-00001-of-00002 SUFFIX of base, then .tmp-PID-N: what a writer leaves that was killed at work. 0: it is not. */
static long left_by(const char *name, const char *base) {
    const char *dot = strrchr(base, '.'), *mark = strstr(name, ".tmp-");
    const size_t stem = dot ? (size_t)(dot - base) : strlen(base), suffix = dot ? strlen(dot) : 0;
    char *end;
    if (!mark || strncmp(name, base, stem) || (size_t)(mark - name) < stem + suffix || strncmp(mark - suffix, base + stem, suffix))
        return 0;
    const size_t between = (size_t)(mark - name) - stem - suffix;
    if (between && (between != 15 || strspn(name + stem, "-of0123456789") < between)) return 0;
    const long pid = strtol(mark + 5, &end, 10);
    return pid > 0 && *end == '-' && strspn(end + 1, "0123456789") == strlen(end + 1) ? pid : 0;
}

/* Removes what killed runs left beside dst: files of processes that are no more, untouched for a minute (they may be another machine's). */
static void sweep(const char *dst) {
    const char *base = kd_path_base(dst);
    char *dir = base == dst ? kd_strdup(".") : kd_strndup(dst, (size_t)(base - dst)), **names = NULL;
    size_t n = 0;
    if (!dir || kd_list_dir(dir, &names, &n, NULL)) n = 0;
    for (size_t i = 0; i < n; i++) {
        const long pid = left_by(names[i], base);
        struct stat st;
        if (!pid || kill((pid_t)pid, 0) == 0 || errno != ESRCH) continue;
        char *path = kd_path_join(dir, names[i]);
        if (path && stat(path, &st) == 0 && S_ISREG(st.st_mode) && time(NULL) - st.st_mtime > 60) (void)unlink(path);
        kd_free(path);
    }
    if (names) kd_names_free(names, n);
    kd_free(dir);
}

/* Room for the output, and some to spare. */
static kd_code check_disk(const char *dst, uint64_t bytes, kd_err *e) {
    uint64_t room;
    if (kd_disk_free(dst, &room, e)) return KD_OK; /* a file system that will not say */
    if (room < bytes || room - bytes < (16u << 20))
        return kd_fail(e, KD_EIO, "%s: needs %llu MB, the disk has %llu MB free", dst, (unsigned long long)(bytes >> 20),
                       (unsigned long long)(room >> 20));
    kd_err_clear(e);
    return KD_OK;
}

static uint64_t weight_bytes(const kd_plan *p) {
    uint64_t n = 0;
    for (int t = 0; t < KD_TYPES; t++) n += p->result.type_bytes[t];
    return n;
}

kd_place kd_sink_place(const kd_sink *s, size_t i) {
    return s->gguf ? kd_gguf_writer_place(s->gguf, i) : kd_safetensors_writer_place(s->st, i);
}

/* Stopped by a signal: what is written stays for a run that goes on. */
static void keep(const kd_sink *s) {
    if (s->gguf)
        kd_gguf_writer_keep(s->gguf);
    else
        kd_safetensors_writer_keep(s->st);
}

/* before: a folder with what a stopped run left, which goes once it is open; or NULL. */
static kd_code pass(kd_plan *p, const kd_sink *s, const char *dst, const char *before, const kd_convert_options *o, kd_pool *pool,
                    const kd_watch *watch, kd_err *e) {
    kd_code c = check_disk(dst, p->result.bytes_out, e);
    if (c) return c;
    kd_plan_warn_unweighted(p, watch);
    kd_emit(watch, (kd_event){.kind = KD_EV_BEGIN, .stage = "convert", .total = p->result.bytes_out, .unit = "bytes"});
    kd_sink sink = *s;
    c = s->gguf ? kd_gguf_writer_begin(s->gguf, e) : kd_safetensors_writer_begin(s->st, e);
    if (!c) c = kd_resume_open(&sink.resume, p, s, dst, before, o->window ? o->window : 16u << 20, e);
    sweep(dst); /* what there is to go on with is open already */
    if (before) (void)kd_remove_tree(before, NULL);
    if (!c) c = kd_pump(p, &sink, o, pool, watch, e);
    const bool stopped = sink.resume && (c == KD_EINTERRUPT || c == KD_ETERMINATE);
    kd_resume_close(sink.resume, stopped);
    if (stopped) keep(s), p->stopped = true;
    kd_emit(watch,
            (kd_event){.kind = KD_EV_END, .stage = "convert", .done = p->result.bytes_out, .total = p->result.bytes_out, .unit = "bytes"});
    for (size_t i = 0; i < p->n && !c; i++)
        if (p->v[i].nonfinite) {
            char s_[160];
            snprintf(s_, sizeof s_, "tensor %s has NaN or infinity among its values", p->v[i].name);
            kd_emit(watch, (kd_event){.kind = KD_EV_WARN, .stage = "convert", .text = s_});
        }
    return c;
}

/* What the file says but llama.cpp does not hear by itself. */
static void warn_gguf(const kd_plan *p, const kd_watch *watch) {
    const kd_rope_config *r = &p->config.rope;
    char s[200];
    if (p->config.experts && !p->config.norm_topk)
        kd_emit(watch,
                (kd_event){.kind = KD_EV_WARN,
                           .stage = "convert",
                           .text = "norm_topk_prob is false: GGUF has no word for it, and llama.cpp makes the experts' weights sum to 1"});
    if (r->kind == KD_ROPE_YARN && (r->beta_fast != 32 || r->beta_slow != 1)) {
        snprintf(s, sizeof s,
                 "llama.cpp takes yarn's betas from its command line alone: run it with --yarn-beta-fast %g --yarn-beta-slow %g",
                 r->beta_fast, r->beta_slow);
        kd_emit(watch, (kd_event){.kind = KD_EV_WARN, .stage = "convert", .text = s});
    }
}

static kd_code write_gguf(kd_plan *p, const char *dst, const char *before, const kd_convert_options *o, bool plan_only, kd_pool *pool,
                          const kd_watch *watch, kd_err *e) {
    kd_sink s = {0};
    kd_code c = kd_gguf_writer_new(&s.gguf, dst, o->split_bytes, e);
    if (!c && !(c = kd_write_keys(p, s.gguf, o, e))) c = kd_sink_declare(&s, p, e);
    if (!c) c = kd_gguf_writer_measure(s.gguf, &p->result.bytes_out, e);
    if (!c && !plan_only && !(c = pass(p, &s, dst, before, o, pool, watch, e))) {
        p->result.bytes_out = kd_gguf_writer_bytes(s.gguf);
        c = kd_gguf_writer_commit(s.gguf, e);
    }
    kd_gguf_writer_free(s.gguf);
    return c;
}

/* Timed apart: what the check takes is no part of the conversion. */
static kd_code checked(kd_plan *p, const char *path, const kd_convert_options *o, kd_err *e) {
    double start = kd_now();
    kd_code c = o->check(o->check_ctx, path, e);
    p->check_seconds = kd_now() - start;
    return c;
}

/* Every file of stage into the folder of dst; the one that makes a set loadable, the first, comes last. */
static kd_code move_files(const char *stage, char *const *names, size_t n, const char *dst, kd_err *e) {
    const char *base = kd_path_base(dst);
    char *dir = kd_strndup(dst, (size_t)(base - dst));
    kd_code c = dir ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dst);
    for (size_t i = n; i-- && !c;) {
        char *from = kd_path_join(stage, names[i]), *to = base == dst ? kd_strdup(names[i]) : kd_path_join(dir, names[i]);
        if (!from || !to)
            c = kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dst);
        else if (rename(from, to))
            c = kd_fail(e, KD_ECREATE, "%s: %s", to, strerror(errno));
        kd_free(from);
        kd_free(to);
    }
    if (!c) c = kd_fsync_dir(base == dst ? "." : dir, e);
    kd_free(dir);
    return c;
}

/* STAGE is to be made anew: what a stopped run left there goes to STAGE.before, to be read from; *before NULL: nothing. */
static kd_code set_aside(const char *stage, kd_buf *name, const char **before, kd_err *e) {
    kd_code c = kd_buf_printf(name, "%s.before", stage);
    *before = NULL;
    if (c) return kd_fail(e, KD_ENOMEM, "%s: no memory for a path", stage);
    if (kd_is_dir(stage) && ((c = kd_remove_tree(name->data, e)) || (c = kd_rename_dir(stage, name->data, e)))) return c;
    if (kd_is_dir(name->data)) *before = name->data;
    return (c = kd_remove_tree(stage, e)) ? c : kd_mkdirs(stage, e);
}

/* A file that must pass a check is made in a folder of its own, DST.unchecked, and moved from there. */
static kd_code to_gguf(kd_plan *p, const char *dst, const kd_convert_options *o, bool plan_only, kd_pool *pool, const kd_watch *watch,
                       kd_err *e) {
    kd_buf stage = {0}, aside = {0};
    const char *before;
    char *file = NULL, *first = NULL, **names = NULL;
    size_t n = 0;
    warn_gguf(p, watch);
    if (plan_only || !o->check) return write_gguf(p, dst, NULL, o, plan_only, pool, watch, e);
    kd_code c = kd_buf_printf(&stage, "%s.unchecked", dst);
    if (c || !(file = kd_path_join(stage.data, kd_path_base(dst)))) {
        c = kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dst);
        goto done;
    }
    if (kd_is_dir(dst)) {
        c = kd_fail(e, KD_ECREATE, "%s: a folder stands where the file should be", dst);
        goto done;
    }
    if ((c = set_aside(stage.data, &aside, &before, e)) || (c = write_gguf(p, file, before, o, false, pool, watch, e)) ||
        (c = kd_list_dir(stage.data, &names, &n, e)))
        goto done;
    if (!(first = kd_path_join(stage.data, names[0])))
        c = kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dst);
    else if (!(c = checked(p, first, o, e)))
        c = move_files(stage.data, names, n, dst, e);
done:
    if (stage.data && !p->stopped) (void)kd_remove_tree(stage.data, NULL);
    kd_names_free(names, n);
    kd_free(first);
    kd_free(file);
    kd_buf_clear(&stage);
    kd_buf_clear(&aside);
    return c;
}

static kd_code weights(kd_plan *p, const char *path, const char *before, const kd_convert_options *o, bool plan_only, kd_pool *pool,
                       const kd_watch *watch, kd_err *e) {
    kd_sink s = {0};
    kd_code c = kd_safetensors_writer_new(&s.st, path, o->split_bytes, e);
    if (!c && !(c = kd_safetensors_writer_meta(s.st, "format", KD_STR("pt"), e))) c = kd_sink_declare(&s, p, e);
    if (!c && !plan_only && !(c = pass(p, &s, path, before, o, pool, watch, e))) {
        p->result.bytes_out = kd_safetensors_writer_bytes(s.st);
        c = kd_safetensors_writer_commit(s.st, e);
    }
    kd_safetensors_writer_free(s.st);
    return c;
}

/* A folder that holds nothing but a model may be replaced by another. */
static kd_code check_replaceable(const char *dst, kd_err *e) {
    static const char *const MINE[] = {"config.json",
                                       "generation_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "vocab.json",
                                       "merges.txt",
                                       "additional_chat_templates",
                                       "LICENSE",
                                       "LICENSE.txt",
                                       "NOTICE",
                                       "README.md"};
    char **names = NULL;
    size_t n = 0;
    kd_code c = kd_list_dir(dst, &names, &n, e);
    for (size_t i = 0; i < n && !c; i++) {
        kd_str s = kd_str_of(names[i]);
        bool ours = kd_str_starts(s, "tokenizer") || kd_str_starts(s, "chat_template") ||
                    (kd_str_starts(s, "model") && (kd_str_ends(s, ".safetensors") || kd_str_ends(s, ".index.json")));
        for (size_t k = 0; k < sizeof MINE / sizeof *MINE; k++) ours |= kd_str_is(s, MINE[k]);
        if (!ours)
            c = kd_fail(e, KD_ECREATE, "%s: the folder holds %s, which is no part of a model; --force replaces it all the same", dst,
                        names[i]);
    }
    kd_names_free(names, n);
    return c;
}

/* Everything goes into DST.partial, which takes dst's place when it is whole. */
static kd_code to_folder(kd_plan *p, const char *dst, const kd_convert_options *o, bool plan_only, kd_pool *pool, const kd_watch *watch,
                         kd_err *e) {
    kd_buf part = {0}, old = {0}, aside = {0};
    const char *before;
    char *file = NULL;
    size_t n = strlen(dst);
    while (n > 1 && dst[n - 1] == '/') n--;
    kd_code c = kd_buf_printf(&part, "%.*s.partial", (int)n, dst);
    if (!c) c = kd_buf_printf(&old, "%.*s.replaced", (int)n, dst);
    if (c || !(file = kd_path_join(part.data, "model.safetensors"))) {
        c = kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dst);
        goto done;
    }
    if (kd_file_exists(dst) && !kd_is_dir(dst))
        c = kd_fail(e, KD_ECREATE, "%s: a file stands where the folder should be", dst);
    else if (kd_is_dir(dst) && !o->force)
        c = check_replaceable(dst, e);
    if (c || plan_only) {
        c = c ? c : weights(p, file, NULL, o, true, pool, watch, e);
        goto done;
    }
    if ((c = set_aside(part.data, &aside, &before, e)) || (c = kd_write_folder(p, part.data, o, e)) ||
        (c = weights(p, file, before, o, false, pool, watch, e)) || (o->check && (c = checked(p, part.data, o, e))))
        goto done;
    bool replace = kd_is_dir(dst);
    if (replace && ((c = kd_remove_tree(old.data, e)) || (c = kd_rename_dir(dst, old.data, e)))) goto done;
    if (!(c = kd_rename_dir(part.data, dst, e)) && replace) c = kd_remove_tree(old.data, e);
done:
    if (c && part.data && !p->stopped) (void)kd_remove_tree(part.data, NULL);
    kd_buf_clear(&aside);
    kd_buf_clear(&part);
    kd_buf_clear(&old);
    kd_free(file);
    return c;
}

kd_code kd_convert(const char *src, const char *dst, const kd_convert_options *o, bool plan_only, kd_pool *pool, const kd_watch *watch,
                   kd_convert_result *result, kd_err *e) {
    kd_plan p = {0};
    double start = kd_now();
    kd_str d = kd_str_of(dst);
    bool gguf = kd_str_ends(d, ".gguf");
    if (o->check && kd_str_ends(d, ".safetensors"))
        return kd_fail(e, KD_EINVAL, "%s: weights alone are no model that can be checked; convert into a folder or a GGUF file", dst);
    kd_code c = kd_plan_make(&p, src, o, gguf, pool, e);
    if (!c) {
        p.result.bytes_out = weight_bytes(&p);
        c = gguf                             ? to_gguf(&p, dst, o, plan_only, pool, watch, e)
            : kd_str_ends(d, ".safetensors") ? weights(&p, dst, NULL, o, plan_only, pool, watch, e)
                                             : to_folder(&p, dst, o, plan_only, pool, watch, e);
    }
    p.result.seconds = kd_now() - start - p.check_seconds;
    if (result) *result = p.result;
    kd_plan_clear(&p);
    return c;
}
