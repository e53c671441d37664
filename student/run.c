/* student/run.c - the life of a run folder. Leans on run.h, base/clock.h, base/file.h, base/json.h. */
#include "student/run.h"

#include "distill/base/clock.h"
#include "distill/base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { SAVE_SECONDS = 120 };

struct kd_run {
    char *dir, *config, *metrics, *checkpoints, *adapter, *model;
    kd_buf settings; /* as recorded; empty: a new run */
    int lock;
};

static kd_code no_memory(kd_err *e) { return kd_fail(e, KD_ENOMEM, "no memory for the run folder"); }

static kd_code take_lock(kd_run *r, kd_err *e) {
    char *path = kd_path_join(r->dir, ".lock");
    if (!path) return no_memory(e);
    r->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    kd_code code = KD_OK;
    if (r->lock < 0)
        code = kd_fail_errno(e, KD_ECREATE, errno, "%s", path);
    else if (flock(r->lock, LOCK_EX | LOCK_NB) != 0)
        code = kd_fail(e, KD_ELIMIT, "%s: another process is training in this folder", r->dir);
    kd_free(path);
    return code;
}

static kd_code clear_folder(kd_run *r, kd_err *e) {
    /* settings last: until they are gone the rest is known to be half */
    const char *all[] = {r->adapter, r->model, r->metrics, r->checkpoints, r->config};
    kd_code code = KD_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && code == KD_OK; i++) code = kd_remove_tree(all[i], e);
    return code;
}

kd_code kd_run_open(kd_run **out, const char *dir, bool fresh, kd_err *e) {
    *out = NULL;
    kd_run *r = kd_calloc(1, sizeof *r);
    if (!r) return no_memory(e);
    r->lock = -1;
    r->dir = kd_strdup(dir);
    r->config = kd_path_join(dir, "config.yaml");
    r->metrics = kd_path_join(dir, "metrics.jsonl");
    r->checkpoints = kd_path_join(dir, "checkpoints");
    r->adapter = kd_path_join(dir, "adapter");
    r->model = kd_path_join(dir, "model");
    kd_code code = r->dir && r->config && r->metrics && r->checkpoints && r->adapter && r->model ? kd_mkdirs(dir, e) : no_memory(e);
    if (code == KD_OK) code = take_lock(r, e);
    if (code == KD_OK && fresh) code = clear_folder(r, e);
    if (code == KD_OK && kd_file_exists(r->config)) code = kd_file_read(&r->settings, r->config, 1 << 20, e);
    if (code == KD_OK)
        *out = r;
    else
        kd_run_close(r);
    return code;
}

void kd_run_close(kd_run *r) {
    if (!r) return;
    if (r->lock >= 0) close(r->lock);
    char *all[] = {r->dir, r->config, r->metrics, r->checkpoints, r->adapter, r->model};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_free(all[i]);
    kd_buf_clear(&r->settings);
    kd_free(r);
}

/* ---- settings ---- */
/* Takes the next line "[# ]key: value" of text; false at the end. Lines without a colon have an empty key. */
static bool next_line(kd_str *text, kd_str *line, kd_str *key, kd_str *value) {
    if (text->len == 0) return false;
    const char *nl = memchr(text->data, '\n', text->len);
    *line = (kd_str){text->data, nl ? (size_t)(nl - text->data) : text->len};
    const size_t used = line->len + (nl != NULL);
    *text = (kd_str){text->data + used, text->len - used};
    kd_str l = *line;
    if (l.len >= 2 && memcmp(l.data, "# ", 2) == 0) l = (kd_str){l.data + 2, l.len - 2};
    const char *colon = l.len ? memchr(l.data, ':', l.len) : NULL;
    *key = (kd_str){l.data, colon ? (size_t)(colon - l.data) : 0};
    size_t at = colon ? key->len + 1 : l.len;
    while (at < l.len && l.data[at] == ' ') at++;
    *value = (kd_str){l.data + at, l.len - at};
    return true;
}

/* The line of a key in text, {NULL,0} if there is none. */
static kd_str find_value(kd_str text, kd_str want) {
    kd_str line, key, value;
    while (next_line(&text, &line, &key, &value))
        if (key.len && kd_str_eq(key, want)) return value;
    return (kd_str){NULL, 0};
}

static bool copy_value(kd_str settings, const char *key, char *value, size_t n) {
    kd_str v = find_value(settings, kd_str_of(key));
    if (!v.data || v.len >= n) return false;
    memcpy(value, v.data, v.len);
    value[v.len] = 0;
    return true;
}

bool kd_run_recorded(const kd_run *r, const char *key, char *value, size_t n) {
    return copy_value(kd_buf_view(&r->settings), key, value, n);
}

bool kd_run_peek(const char *dir, const char *key, char *value, size_t n) {
    kd_buf text = {0};
    char *path = kd_path_join(dir, "config.yaml");
    bool there =
        path && kd_file_exists(path) && kd_file_read(&text, path, 1 << 20, NULL) == KD_OK && copy_value(kd_buf_view(&text), key, value, n);
    kd_buf_clear(&text);
    kd_free(path);
    return there;
}

static bool listed(const char *const *names, kd_str key) {
    for (; *names; names++)
        if (kd_str_is(key, *names)) return true;
    return false;
}

/* out += what lines of a say otherwise than b; back: only what b lacks. */
static kd_code differences(kd_buf *out, kd_str a, kd_str b, const char *const *free_keys, bool back) {
    kd_str line, key, value;
    kd_code code = KD_OK;
    while (code == KD_OK && next_line(&a, &line, &key, &value)) {
        if (key.len == 0 || listed(free_keys, key)) continue;
        const kd_str other = find_value(b, key);
        if (other.data ? back || kd_str_eq(other, value) : false) continue;
        const kd_str there = back ? other : value, now = back ? value : other;
        code = kd_buf_printf(out, "%s%.*s: %.*s there, %.*s now", out->len ? "; " : "", (int)key.len, key.data,
                             there.data ? (int)there.len : 7, there.data ? there.data : "not set", now.data ? (int)now.len : 7,
                             now.data ? now.data : "not set");
    }
    return code;
}

kd_code kd_run_settle(kd_run *r, kd_str settings, const char *const *free_keys, kd_err *e) {
    kd_buf diff = {0};
    kd_code code = KD_OK;
    if (r->settings.len) {
        code = differences(&diff, kd_buf_view(&r->settings), settings, free_keys, false);
        if (code == KD_OK) code = differences(&diff, settings, kd_buf_view(&r->settings), free_keys, true);
        if (code != KD_OK)
            code = no_memory(e);
        else if (diff.len)
            code = kd_fail(e, KD_ECONFIG, "%s holds a run of other settings (%s); use them, another -o, or --fresh to start over", r->dir,
                           diff.data);
    }
    if (code == KD_OK && !kd_str_eq(kd_buf_view(&r->settings), settings)) code = kd_file_write(r->config, settings.data, settings.len, e);
    kd_buf_clear(&diff);
    return code;
}

/* ---- metrics ---- */
/* Leaves the lines of updates 1..steps, in order and whole; KD_EFORMAT if they are not there. */
static kd_code cut_metrics(kd_run *r, uint64_t steps, kd_err *e) {
    kd_buf text = {0};
    if (!kd_file_exists(r->metrics)) {
        if (steps == 0) return KD_OK;
        return kd_fail(e, KD_EFORMAT, "%s: expected the lines of %llu updates, found no file; --fresh starts over", r->metrics,
                       (unsigned long long)steps);
    }
    kd_code code = kd_file_read(&text, r->metrics, (size_t)1 << 31, e);
    size_t at = 0;
    for (uint64_t i = 1; i <= steps && code == KD_OK; i++) {
        char start[48];
        const int n = snprintf(start, sizeof start, "{\"step\":%llu,", (unsigned long long)i);
        const char *nl = text.data && at < text.len ? memchr(text.data + at, '\n', text.len - at) : NULL;
        if (!nl || strncmp(text.data + at, start, (size_t)n) != 0)
            code = kd_fail(e, KD_EFORMAT, "%s: expected the line of update %llu of %llu, found another; --fresh starts over", r->metrics,
                           (unsigned long long)i, (unsigned long long)steps);
        else
            at = (size_t)(nl - text.data) + 1;
    }
    if (code == KD_OK && at < text.len) code = kd_file_write(r->metrics, text.data ? text.data : "", at, e);
    kd_buf_clear(&text);
    return code;
}

static kd_code add_metrics(FILE *f, kd_run *r, const kd_train_report *s, kd_err *e) {
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "step");
    kd_jsonw_int(&w, (int64_t)s->step);
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"loss", s->loss}, {"grad_norm", s->grad_norm}, {"learning_rate", s->learning_rate}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        kd_jsonw_key(&w, numbers[i].key);
        kd_jsonw_double(&w, numbers[i].value);
    }
    kd_jsonw_key(&w, "tokens");
    kd_jsonw_int(&w, (int64_t)s->tokens);
    kd_jsonw_key(&w, "loss_tokens");
    kd_jsonw_int(&w, (int64_t)s->loss_tokens);
    kd_jsonw_key(&w, "tokens_per_second");
    kd_jsonw_double(&w, s->seconds > 0 ? (double)s->tokens / s->seconds : 0);
    kd_jsonw_key(&w, "flops_per_second");
    kd_jsonw_double(&w, s->seconds > 0 ? s->flops / s->seconds : 0);
    kd_jsonw_key(&w, "peak_rss_bytes");
    kd_jsonw_int(&w, (int64_t)kd_peak_rss());
    kd_jsonw_end_object(&w);
    kd_code code = w.code == KD_OK ? kd_buf_putc(&b, '\n') : w.code;
    if (code != KD_OK)
        code = no_memory(e);
    else if (fwrite(b.data, 1, b.len, f) != b.len || fflush(f) != 0)
        code = kd_fail_errno(e, KD_EIO, errno, "%s", r->metrics);
    kd_buf_clear(&b);
    return code;
}

/* ---- training ---- */
typedef struct {
    kd_run *r;
    kd_trainer *t;
    const kd_run_options *ro;
    const kd_watch *w;
    kd_progress_state state;
    uint64_t total, saved;
    double last_save;
    FILE *metrics;
} life;

static kd_code save(life *l, kd_err *e) {
    if (l->saved == l->state.step) return KD_OK;
    /* the lines before the checkpoint that counts on them */
    if (fsync(fileno(l->metrics)) != 0) return kd_fail_errno(e, KD_EIO, errno, "%s", l->r->metrics);
    kd_code code = kd_checkpoint_save(l->t, l->r->checkpoints, &l->state, l->ro->keep ? l->ro->keep : 2, e);
    if (code != KD_OK) return code;
    l->saved = l->state.step;
    l->last_save = kd_now();
    return KD_OK;
}

static void show(const life *l, const kd_train_report *s) {
    char text[160];
    snprintf(text, sizeof text, "loss %.4f  %.0f tok/s  %.0f GFLOPS  lr %.2e", s->loss, (double)s->tokens / s->seconds,
             s->flops / s->seconds / 1e9, s->learning_rate);
    kd_emit(l->w,
            (kd_event){.kind = KD_EV_STEP, .stage = "train", .done = l->state.step, .total = l->total, .unit = "updates", .text = text});
}

static kd_code updates(life *l, kd_run_report *out, kd_err *e) {
    kd_code code = KD_OK;
    while (l->state.step < l->total && code == KD_OK) {
        kd_train_report s;
        code = kd_trainer_step(l->t, &s, e);
        if (code == KD_OK) code = add_metrics(l->metrics, l->r, &s, e);
        if (code != KD_OK) break;
        l->state.step = s.step;
        l->state.tokens += s.tokens;
        l->state.loss_tokens += s.loss_tokens;
        if (isnan(out->loss_first)) out->loss_first = s.loss;
        out->loss_last = s.loss;
        out->seconds += s.seconds;
        out->flops += s.flops;
        out->tokens += s.tokens;
        out->loss_tokens += s.loss_tokens;
        show(l, &s);
        const bool due = l->ro->save_every ? s.step % l->ro->save_every == 0 : kd_now() - l->last_save > SAVE_SECONDS;
        const int stop = l->state.step < l->total ? kd_stopping(l->w) : 0;
        if (due || stop || l->state.step == l->total) code = save(l, e);
        if (code == KD_OK && stop)
            code = kd_fail(e, (kd_code)stop, "stopped after update %llu of %llu; the same command goes on from there",
                           (unsigned long long)s.step, (unsigned long long)l->total);
    }
    out->steps = l->state.step;
    return code;
}

static kd_code go_on(life *l, kd_err *e) {
    unsigned skipped = 0;
    kd_code code = kd_checkpoint_load(l->t, l->r->checkpoints, &l->state, &skipped, e);
    if (code == KD_OK && l->state.step > l->total)
        code = kd_fail(e, KD_ECONFIG, "%s is at update %llu, beyond the %llu asked for", l->r->dir, (unsigned long long)l->state.step,
                       (unsigned long long)l->total);
    if (code == KD_OK) code = cut_metrics(l->r, l->state.step, e);
    if (code == KD_OK && skipped && l->ro->note) l->ro->note(l->ro->ctx, "a damaged checkpoint was passed over");
    if (code != KD_OK) return code;
    l->saved = l->state.step;
    l->last_save = kd_now();
    l->metrics = fopen(l->r->metrics, "ae");
    return l->metrics ? KD_OK : kd_fail_errno(e, KD_ECREATE, errno, "%s", l->r->metrics);
}

kd_code kd_run_train(kd_run *r, kd_trainer *t, const kd_model *m, const kd_train_options *o, const kd_train_plan *plan,
                     const kd_run_options *ro, const kd_watch *w, kd_run_report *out, kd_err *e) {
    life l = {.r = r, .t = t, .ro = ro, .w = w, .total = plan->steps};
    *out = (kd_run_report){.loss_first = NAN, .loss_last = NAN};
    const bool full = o->method.method == KD_FULL;
    const char *result = full ? r->model : r->adapter;
    kd_code code = go_on(&l, e);
    if (code == KD_OK) {
        out->first = out->steps = l.state.step;
        kd_emit(w, (kd_event){.kind = KD_EV_BEGIN, .stage = "train", .done = l.state.step, .total = l.total, .unit = "updates"});
        const bool was_done = l.state.step == l.total && kd_is_dir(result);
        code = updates(&l, out, e);
        if (code == KD_OK && !was_done)
            code = full ? kd_save_model(t, m, result, e) : kd_save_adapter(t, m, &o->method, result, ro->base, e);
        kd_emit(w, (kd_event){.kind = KD_EV_END, .stage = "train", .done = out->steps, .total = l.total, .unit = "updates"});
    }
    if (l.metrics) fclose(l.metrics);
    out->done = code == KD_OK;
    return code;
}
