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
    char *dir, *config, *metrics, *evals, *checkpoints, *adapter, *model, *base, *base_gguf;
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
    const char *all[] = {r->adapter, r->model, r->metrics, r->evals, r->checkpoints, r->base, r->base_gguf, r->config};
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
    r->evals = kd_path_join(dir, "evals.jsonl");
    r->base = kd_path_join(dir, "base");
    r->base_gguf = kd_path_join(dir, "base.gguf");
    r->checkpoints = kd_path_join(dir, "checkpoints");
    r->adapter = kd_path_join(dir, "adapter");
    r->model = kd_path_join(dir, "model");
    kd_code code = r->dir && r->config && r->metrics && r->evals && r->base && r->base_gguf && r->checkpoints && r->adapter && r->model
                       ? kd_mkdirs(dir, e)
                       : no_memory(e);
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
    char *all[] = {r->dir, r->config, r->metrics, r->evals, r->checkpoints, r->adapter, r->model, r->base, r->base_gguf};
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

static kd_code add_metrics(FILE *f, kd_run *r, const kd_train_report *s, size_t sources, kd_err *e) {
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
    kd_jsonw_key(&w, "padded_tokens");
    kd_jsonw_int(&w, (int64_t)s->padded);
    if (sources > 1) {
        kd_jsonw_key(&w, "source_loss");
        kd_jsonw_array(&w);
        for (size_t i = 0; i < sources; i++) kd_jsonw_double(&w, s->source[i].loss_tokens ? s->source[i].loss : NAN);
        kd_jsonw_end_array(&w);
    }
    kd_jsonw_key(&w, "tokens_per_second");
    kd_jsonw_double(&w, s->seconds > 0 ? (double)s->tokens / s->seconds : 0);
    kd_jsonw_key(&w, "flops_per_second");
    kd_jsonw_double(&w, s->seconds > 0 ? s->flops / s->seconds : 0);
    kd_jsonw_key(&w, "processor_seconds");
    kd_jsonw_double(&w, s->processor_seconds);
    kd_jsonw_key(&w, "peak_rss_bytes");
    kd_jsonw_int(&w, (int64_t)kd_peak_rss());
    if (s->skipped) {
        kd_jsonw_key(&w, "skipped");
        kd_jsonw_bool(&w, true);
    }
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
    kd_evals evals;
    uint64_t total, saved;
    double last_save;
    FILE *metrics;
} life;

static kd_code save(life *l, kd_err *e) {
    const kd_eval_line *best = kd_evals_best(&l->evals);
    if (l->saved == l->state.step) return KD_OK;
    /* the lines before the checkpoint that counts on them */
    if (fsync(fileno(l->metrics)) != 0) return kd_fail_errno(e, KD_EIO, errno, "%s", l->r->metrics);
    kd_code code = kd_checkpoint_save(l->t, l->r->checkpoints, &l->state, l->ro->keep ? l->ro->keep : 2, best ? best->step : 0, e);
    if (code != KD_OK) return code;
    l->saved = l->state.step;
    l->last_save = kd_now();
    return KD_OK;
}

static void show(const life *l, const kd_train_report *s) {
    char text[160], padded[32] = "", share[32] = "", apart[64] = "";
    size_t n = 0;
    const double rate = s->flops / s->seconds;
    if (s->padded > s->tokens) snprintf(padded, sizeof padded, " (%.0f padded)", (double)s->padded / s->seconds);
    /* more than the peak: it was measured while others had the machine, and says nothing */
    if (rate <= 1.02 * l->ro->peak_flops) snprintf(share, sizeof share, " %.0f%% of peak", 100 * rate / l->ro->peak_flops);
    for (size_t i = 0; i < l->ro->n_sources && l->ro->n_sources > 1 && n + 12 < sizeof apart; i++)
        n += (size_t)snprintf(apart + n, sizeof apart - n, "%s%.3f", i ? " " : " (", s->source[i].loss_tokens ? s->source[i].loss : 0.0);
    if (n) snprintf(apart + n, sizeof apart - n, ")");
    snprintf(text, sizeof text, "loss %.4f%s  %.0f tok/s%s  %.0f GFLOPS%s  %.2f GB  lr %.2e", s->loss, apart,
             (double)s->tokens / s->seconds, padded, rate / 1e9, share, (double)kd_peak_rss() / 1e9, s->learning_rate);
    kd_emit(l->w,
            (kd_event){.kind = KD_EV_STEP, .stage = "train", .done = l->state.step, .total = l->total, .unit = "updates", .text = text});
}

static void say(const life *l, const char *text) {
    if (l->ro->note) l->ro->note(l->ro->ctx, text);
}

static void say_eval(const life *l, const kd_eval_line *v) {
    char text[200];
    int n = snprintf(text, sizeof text, "update %llu:", (unsigned long long)v->step);
    if (!isnan(v->loss)) n += snprintf(text + n, sizeof text - (size_t)n, " held-out loss %.4f", v->loss);
    if (!isnan(v->pass1))
        n += snprintf(text + n, sizeof text - (size_t)n, " pass@1 %.1f%% of %llu", 100 * v->pass1, (unsigned long long)v->questions);
    if (!isnan(v->general)) n += snprintf(text + n, sizeof text - (size_t)n, " general text %.4f", v->general);
    if (kd_evals_best(&l->evals) == v) (void)snprintf(text + n, sizeof text - (size_t)n, " (the best so far)");
    kd_emit(l->w, (kd_event){.kind = KD_EV_NOTE, .stage = "train", .text = text});
}

/* Measures where this update asks for it and has not been measured; a better one is kept as a checkpoint. */
static kd_code evaluate(life *l, kd_err *e) {
    const uint64_t step = l->state.step, every = l->ro->eval_every;
    if (!l->ro->evaluate || kd_evals_of(&l->evals, step)) return KD_OK;
    if (step != 0 && step != l->total && (every == 0 || step % every != 0)) return KD_OK;
    kd_eval_line line = {step, NAN, NAN, NAN, 0};
    kd_code code = l->ro->evaluate(l->ro->ctx, l->t, &line, e);
    if (code == KD_OK) code = kd_evals_add(&l->evals, &line, e);
    if (code != KD_OK) return code;
    const kd_eval_line *best = kd_evals_best(&l->evals);
    say_eval(l, &l->evals.at[l->evals.n - 1]);
    return best && best->step == step ? save(l, e) : KD_OK;
}

static bool patience_ends(const life *l) { return l->ro->patience && kd_evals_since_best(&l->evals) >= l->ro->patience; }

/* A stop that came while evaluating: the update is whole, and is kept; the evaluation is done when the run goes on. */
static kd_code stopped(life *l, kd_code code, kd_err *e) {
    kd_err second = {0};
    if (l->state.step && save(l, &second) != KD_OK) return kd_fail(e, second.code, "%s", second.msg);
    return kd_fail(e, code, "stopped after update %llu of %llu; the same command goes on from there", (unsigned long long)l->state.step,
                   (unsigned long long)l->total);
}

static void add_up(life *l, kd_run_report *out, const kd_train_report *s) {
    l->state.step = s->step;
    l->state.tokens += s->tokens;
    l->state.loss_tokens += s->loss_tokens;
    if (isnan(out->loss_first)) out->loss_first = s->loss;
    out->loss_last = s->loss;
    out->seconds += s->seconds;
    out->flops += s->flops;
    out->tokens += s->tokens;
    out->padded += s->padded;
    out->loss_tokens += s->loss_tokens;
}

static kd_code updates(life *l, kd_run_report *out, kd_err *e) {
    for (;;) {
        kd_code code = evaluate(l, e);
        if (code == KD_EINTERRUPT || code == KD_ETERMINATE) return stopped(l, code, e);
        if (code != KD_OK) return code;
        out->stopped_early = l->state.step < l->total && patience_ends(l);
        if (l->state.step == l->total || out->stopped_early) break;
        kd_train_report s;
        code = kd_trainer_step(l->t, &s, e);
        if (code == KD_OK) code = add_metrics(l->metrics, l->r, &s, l->ro->n_sources, e);
        if (code != KD_OK) return code;
        if (s.skipped) say(l, s.why);
        add_up(l, out, &s);
        show(l, &s);
        const bool due = l->ro->save_every ? s.step % l->ro->save_every == 0 : kd_now() - l->last_save > SAVE_SECONDS;
        const int stop = l->state.step < l->total ? kd_stopping(l->w) : 0;
        if (stop) return stopped(l, (kd_code)stop, e);
        code = due ? evaluate(l, e) : KD_OK;
        if (code == KD_EINTERRUPT || code == KD_ETERMINATE) return stopped(l, code, e);
        if (code == KD_OK && due) code = save(l, e);
        if (code != KD_OK) return code;
    }
    return save(l, e);
}

static kd_code go_on(life *l, kd_err *e) {
    unsigned skipped = 0;
    kd_code code = kd_checkpoint_load(l->t, l->r->checkpoints, &l->state, &skipped, e);
    if (code == KD_OK && l->state.step > l->total)
        code = kd_fail(e, KD_ECONFIG, "%s is at update %llu, beyond the %llu asked for", l->r->dir, (unsigned long long)l->state.step,
                       (unsigned long long)l->total);
    if (code == KD_OK) code = cut_metrics(l->r, l->state.step, e);
    if (code == KD_OK) code = kd_evals_open(&l->evals, l->r->evals, l->state.step, e);
    if (code == KD_OK && skipped) say(l, "a damaged checkpoint was passed over");
    if (code != KD_OK) return code;
    l->saved = l->state.step;
    l->last_save = kd_now();
    l->metrics = fopen(l->r->metrics, "ae");
    return l->metrics ? KD_OK : kd_fail_errno(e, KD_ECREATE, errno, "%s", l->r->metrics);
}

/* The result with the files that the caller puts beside it: made under another name, then put in the place of an older one. */
static kd_code result_whole(life *l, const kd_model *m, const kd_train_options *o, const char *dir, kd_err *e) {
    kd_buf made = {0};
    const bool full = o->method.method == KD_FULL;
    kd_code code = kd_buf_printf(&made, "%s.new", dir) == KD_OK ? kd_remove_tree(made.data, e) : no_memory(e);
    if (code == KD_OK) code = full ? kd_save_model(l->t, m, made.data, e) : kd_save_adapter(l->t, m, &o->method, made.data, l->ro->base, e);
    if (code == KD_OK && l->ro->beside) code = l->ro->beside(l->ro->ctx, made.data, e);
    if (code == KD_OK) code = kd_fsync_dir(made.data, e);
    if (code == KD_OK) code = kd_remove_tree(dir, e);
    if (code == KD_OK) code = kd_rename_dir(made.data, dir, e);
    if (code != KD_OK && made.data) (void)kd_remove_tree(made.data, NULL);
    kd_buf_clear(&made);
    return code;
}

/* What the run leaves: of the best evaluation's update, or of the last. */
static kd_code finish(life *l, const kd_model *m, const kd_train_options *o, bool was_done, kd_run_report *out, kd_err *e) {
    const char *dir = o->method.method == KD_FULL ? l->r->model : l->r->adapter;
    const kd_eval_line *best = l->ro->last ? NULL : kd_evals_best(&l->evals);
    const kd_eval_line *zero = kd_evals_of(&l->evals, 0);
    out->result_step = best ? best->step : l->state.step;
    if (zero) out->before = *zero;
    const kd_eval_line *of = kd_evals_of(&l->evals, out->result_step);
    if (of) out->after = *of;
    if (was_done) return KD_OK;
    kd_code code = KD_OK;
    if (out->result_step != l->state.step) code = kd_checkpoint_load_step(l->t, l->r->checkpoints, out->result_step, e);
    return code == KD_OK ? result_whole(l, m, o, dir, e) : code;
}

kd_code kd_run_train(kd_run *r, kd_trainer *t, const kd_model *m, const kd_train_options *o, const kd_train_plan *plan,
                     const kd_run_options *ro, const kd_watch *w, kd_run_report *out, kd_err *e) {
    life l = {.r = r, .t = t, .ro = ro, .w = w, .total = plan->steps};
    const kd_eval_line nothing = {0, NAN, NAN, NAN, 0};
    *out = (kd_run_report){.loss_first = NAN, .loss_last = NAN, .before = nothing, .after = nothing};
    const char *result = o->method.method == KD_FULL ? r->model : r->adapter;
    kd_code code = go_on(&l, e);
    if (code == KD_OK) {
        out->first = out->steps = l.state.step;
        kd_emit(w, (kd_event){.kind = KD_EV_BEGIN, .stage = "train", .done = l.state.step, .total = l.total, .unit = "updates"});
        const bool was_done = (l.state.step == l.total || patience_ends(&l)) && kd_is_dir(result);
        code = updates(&l, out, e);
        out->steps = l.state.step;
        if (code == KD_OK) code = finish(&l, m, o, was_done, out, e);
        kd_emit(w, (kd_event){.kind = KD_EV_END, .stage = "train", .done = out->steps, .total = l.total, .unit = "updates"});
    }
    if (l.metrics) fclose(l.metrics);
    kd_evals_clear(&l.evals);
    out->done = code == KD_OK;
    return code;
}
