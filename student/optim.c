/* student/optim.c - optimizers, clipping, schedules. Leans on optim.h. */
#include "student/optim.h"

#include "distill/math/adam8.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 1 << 15, PIECE = 32, SMALL = 4096 };

static const char *const optimizer_names[KD_OPTIMIZERS] = {"adamw", "sgd", "adamw_8bit", "adafactor", "muon"};
static const char *const schedule_names[KD_SCHEDULES] = {"constant", "linear", "cosine", "wsd"};
static bool named(const char *const *names, int n, const char *name, int *out) {
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) {
            *out = i;
            return true;
        }
    return false;
}
const char *kd_optimizer_name(kd_optimizer_kind k) { return optimizer_names[k]; }
const char *kd_schedule_name(kd_schedule_kind k) { return schedule_names[k]; }
bool kd_optimizer_named(const char *name, kd_optimizer_kind *out) {
    int i;
    if (!named(optimizer_names, KD_OPTIMIZERS, name, &i)) return false;
    *out = (kd_optimizer_kind)i;
    return true;
}
bool kd_schedule_named(const char *name, kd_schedule_kind *out) {
    int i;
    if (!named(schedule_names, KD_SCHEDULES, name, &i)) return false;
    *out = (kd_schedule_kind)i;
    return true;
}

/* ---- state ---- */
kd_state_form kd_optimizer_form(const kd_optimizer_options *o, const kd_param *q) {
    switch (o->kind) {
    case KD_ADAMW: return KD_FORM_ADAM;
    case KD_ADAMW_8BIT: return q->cols && q->n >= SMALL ? KD_FORM_ADAM8 : KD_FORM_ADAM;
    case KD_ADAFACTOR: return q->cols ? KD_FORM_FACTORED : KD_FORM_SECOND;
    case KD_MUON: return q->cols && q->role < KD_MATS ? KD_FORM_MOMENTUM : KD_FORM_ADAM;
    case KD_SGD:
    case KD_OPTIMIZERS: break;
    }
    return KD_FORM_NONE;
}

static void add_array(kd_state_array *out, size_t *n, const char *suffix, kd_dtype type, size_t rows, size_t cols) {
    const size_t at = *n ? out[*n - 1].at + (out[*n - 1].bytes + 63) / 64 * 64 : 0;
    out[*n] = (kd_state_array){suffix, type, rows, cols, rows * (cols ? cols : 1) * (type == KD_U8 ? 1 : sizeof(float)), at};
    ++*n;
}

size_t kd_optimizer_arrays(kd_state_array out[KD_STATE_ARRAYS], const kd_optimizer_options *o, const kd_param *q) {
    size_t n = 0;
    const size_t blocks = (q->n + KD_ADAM8_BLOCK - 1) / KD_ADAM8_BLOCK;
    switch (kd_optimizer_form(o, q)) {
    case KD_FORM_ADAM:
        add_array(out, &n, ".m", KD_F32, q->rows, q->cols);
        add_array(out, &n, ".v", KD_F32, q->rows, q->cols);
        break;
    case KD_FORM_ADAM8:
        add_array(out, &n, ".m8", KD_U8, q->rows, q->cols);
        add_array(out, &n, ".m8_scale", KD_F32, blocks, 0);
        add_array(out, &n, ".v8", KD_U8, q->rows, q->cols);
        add_array(out, &n, ".v8_scale", KD_F32, blocks, 0);
        break;
    case KD_FORM_FACTORED:
        add_array(out, &n, ".row", KD_F32, q->rows, 0);
        add_array(out, &n, ".col", KD_F32, q->cols, 0);
        break;
    case KD_FORM_SECOND: add_array(out, &n, ".v", KD_F32, q->rows, 0); break;
    case KD_FORM_MOMENTUM: add_array(out, &n, ".momentum", KD_F32, q->rows, q->cols); break;
    case KD_FORM_NONE: break;
    }
    if (o->ema > 0) add_array(out, &n, ".ema", KD_F32, q->rows, q->cols);
    return n;
}

static size_t bytes_of(const kd_optimizer_options *o, const kd_param *q) {
    kd_state_array a[KD_STATE_ARRAYS];
    const size_t n = kd_optimizer_arrays(a, o, q);
    return n ? a[n - 1].at + (a[n - 1].bytes + 63) / 64 * 64 : 0;
}

/* The largest block's state: blocks are active one at a time. */
size_t kd_optimizer_state_bytes(const kd_optimizer_options *o, const kd_params *p) {
    size_t most = 0;
    for (uint32_t b = 0; b < (p->blocks ? p->blocks : 1); b++) {
        size_t sum = 0;
        for (size_t i = 0; i < p->n; i++)
            if (!p->blocks || p->at[i].block == b) sum += bytes_of(o, &p->at[i]);
        if (sum > most) most = sum;
    }
    return most;
}

/* Elements of the largest array, and of the square of its smaller side. */
static void largest(const kd_optimizer_options *o, const kd_params *p, kd_state_form form, size_t *n, size_t *square, size_t *cols,
                    size_t *rows) {
    *n = *square = *cols = *rows = 0;
    for (size_t i = 0; i < p->n; i++) {
        const kd_param *q = &p->at[i];
        if (kd_optimizer_form(o, q) != form) continue;
        const size_t side = q->rows < q->cols ? q->rows : q->cols;
        if (q->n > *n) *n = q->n;
        if (side * side > *square) *square = side * side;
        if (q->cols > *cols) *cols = q->cols;
        if (q->rows > *rows) *rows = q->rows;
    }
}

static size_t work_floats(const kd_optimizer_options *o, const kd_params *p) {
    size_t n, square, cols, rows;
    if (o->kind == KD_MUON) {
        largest(o, p, KD_FORM_MOMENTUM, &n, &square, &cols, &rows);
        return 2 * ((n + 15) / 16 * 16) + 2 * ((square + 15) / 16 * 16);
    }
    if (o->kind != KD_ADAFACTOR) return 0;
    largest(o, p, KD_FORM_FACTORED, &n, &square, &cols, &rows);
    return cols;
}
static size_t pieces(const kd_params *p) {
    size_t chunks = 0, rows = 0;
    for (size_t i = 0; i < p->n; i++) {
        chunks += (p->at[i].n + CHUNK - 1) / CHUNK;
        if (p->at[i].rows > rows) rows = p->at[i].rows;
    }
    return chunks > rows / PIECE + 1 ? chunks : rows / PIECE + 1;
}
size_t kd_optimizer_work_bytes(const kd_optimizer_options *o, const kd_params *p, int threads) {
    return work_floats(o, p) * sizeof(float) + (o->kind == KD_MUON ? kd_gemm_scratch(threads) : 0) + (pieces(p) + 1) * sizeof(double) +
           2 * (p->n + 1) * sizeof(size_t);
}

void kd_optimizer_activate(kd_optimizer *o) {
    const kd_params *p = o->params;
    size_t at = 0;
    for (size_t i = 0; i < p->n; i++) {
        const bool active = kd_param_active(p, &p->at[i]);
        o->place[i] = at;
        at += active ? bytes_of(&o->o, &p->at[i]) : 0;
        o->first[i + 1] = o->first[i] + (active ? (p->at[i].n + CHUNK - 1) / CHUNK : 0);
    }
    if (at) memset(o->state, 0, at);
    o->steps = 0;
}

kd_code kd_optimizer_init(kd_optimizer *o, const kd_optimizer_options *opts, kd_params *p, kd_pool *pool, kd_err *e) {
    *o = (kd_optimizer){.o = *opts, .params = p, .pool = pool};
    const size_t state = kd_optimizer_state_bytes(opts, p), work = work_floats(opts, p);
    o->first = kd_calloc(p->n + 1, sizeof *o->first);
    o->place = kd_calloc(p->n + 1, sizeof *o->place);
    o->partial = kd_calloc(pieces(p) + 1, sizeof *o->partial);
    bool ok = o->first && o->place && o->partial;
    if (ok && state) ok = (o->state = kd_aligned_alloc(64, state)) != NULL;
    if (ok && work) ok = (o->work = kd_aligned_alloc(64, work * sizeof *o->work)) != NULL;
    if (ok && opts->kind == KD_MUON) {
        ok = (o->scratch = kd_aligned_alloc(64, kd_gemm_scratch(kd_pool_threads(pool)))) != NULL;
        if (ok) kd_gemm_hold(&(kd_gemm){.scratch = o->scratch}, NULL);
    }
    if (ok) {
        kd_optimizer_activate(o);
        return KD_OK;
    }
    kd_optimizer_clear(o);
    return kd_fail(e, KD_ENOMEM, "no memory for the state of the optimizer (%zu parameters)", p->floats);
}

void kd_optimizer_clear(kd_optimizer *o) {
    kd_free(o->first);
    kd_free(o->place);
    kd_free(o->partial);
    kd_free(o->state);
    kd_free(o->work);
    kd_free(o->scratch);
    *o = (kd_optimizer){0};
}

/* ---- loops over all that is active ---- */
typedef struct {
    kd_optimizer *o;
    kd_adamw adam;
    float scale;
} job;

/* Chunk number task: its parameter, where it begins in it, elements. */
static const kd_param *chunk(const kd_optimizer *o, size_t task, size_t *from, size_t *n) {
    size_t lo = 0, hi = o->params->n;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (o->first[mid] <= task)
            lo = mid;
        else
            hi = mid;
    }
    const kd_param *q = &o->params->at[lo];
    *from = (task - o->first[lo]) * CHUNK;
    *n = q->n - *from < CHUNK ? q->n - *from : CHUNK;
    return q;
}

static void norm_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t from, n;
    const kd_param *q = chunk(j->o, task, &from, &n);
    j->o->partial[task] = kd_sum_squares(kd_param_grad(j->o->params, q) + from, n);
}
double kd_optimizer_norm(kd_optimizer *o) {
    job j = {.o = o};
    const size_t chunks = o->first[o->params->n];
    kd_pool_run(o->pool, norm_task, &j, chunks);
    double sum = 0;
    for (size_t i = 0; i < chunks; i++) sum += o->partial[i];
    return sqrt(sum);
}

static void zero_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t from, n;
    const kd_param *q = chunk(j->o, task, &from, &n);
    memset(kd_param_grad(j->o->params, q) + from, 0, n * sizeof(float));
}
void kd_optimizer_zero(kd_optimizer *o) {
    job j = {.o = o};
    kd_pool_run(o->pool, zero_task, &j, o->first[o->params->n]);
}

static void step_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const kd_optimizer *o = j->o;
    size_t from, n;
    const kd_param *q = chunk(o, task, &from, &n);
    const size_t i = (size_t)(q - o->params->at);
    float *p = kd_param_value(o->params, q) + from, *g = kd_param_grad(o->params, q) + from;
    kd_adamw a = j->adam;
    kd_state_array s[KD_STATE_ARRAYS];
    (void)kd_optimizer_arrays(s, &o->o, q);
    if (!q->decay) a.decay = 0;
    switch (kd_optimizer_form(&o->o, q)) {
    case KD_FORM_ADAM:
        kd_adamw_step(p, g, (float *)kd_optimizer_at(o, i, &s[0]) + from, (float *)kd_optimizer_at(o, i, &s[1]) + from, n, j->scale, &a);
        break;
    case KD_FORM_ADAM8:
        kd_adam8_step(p, g, (uint8_t *)kd_optimizer_at(o, i, &s[0]) + from, (float *)kd_optimizer_at(o, i, &s[1]) + from / KD_ADAM8_BLOCK,
                      (uint8_t *)kd_optimizer_at(o, i, &s[2]) + from, (float *)kd_optimizer_at(o, i, &s[3]) + from / KD_ADAM8_BLOCK, n,
                      j->scale, &a, o->o.seed, o->steps, q->at / 16 * 256 + from);
        break;
    case KD_FORM_NONE: kd_sgd_step(p, g, n, j->scale, a.lr, a.decay); break;
    case KD_FORM_FACTORED:
    case KD_FORM_SECOND:
    case KD_FORM_MOMENTUM: break; /* as whole arrays */
    }
}

/* ema = d ema + (1 - d) p; the first step begins with the weights as they were before it. */
float *kd_optimizer_ema(const kd_optimizer *o, size_t i) {
    if (!(o->o.ema > 0)) return NULL;
    kd_state_array s[KD_STATE_ARRAYS];
    const size_t n = kd_optimizer_arrays(s, &o->o, &o->params->at[i]);
    return kd_optimizer_at(o, i, &s[n - 1]);
}
static void ema_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t from, n;
    const kd_param *q = chunk(j->o, task, &from, &n);
    const float *p = kd_param_value(j->o->params, q) + from, d = 1.0f - j->o->o.ema;
    float *to = kd_optimizer_ema(j->o, (size_t)(q - j->o->params->at)) + from;
    if (j->scale == 0)
        memcpy(to, p, n * sizeof *to);
    else
        for (size_t k = 0; k < n; k++) to[k] += d * (p[k] - to[k]);
}

void kd_optimizer_step(kd_optimizer *o, float lr, float scale) {
    const size_t chunks = o->first[o->params->n];
    job average = {.o = o, .scale = 0};
    if (o->o.ema > 0 && o->steps == 0) kd_pool_run(o->pool, ema_task, &average, chunks);
    o->steps++;
    job j = {.o = o, .scale = scale};
    j.adam = (kd_adamw){.lr = lr,
                        .beta1 = o->o.beta1,
                        .beta2 = o->o.beta2,
                        .eps = o->o.eps,
                        .decay = o->o.decay,
                        .correct1 = 1 - pow((double)o->o.beta1, (double)o->steps),
                        .correct2 = 1 - pow((double)o->o.beta2, (double)o->steps)};
    kd_pool_run(o->pool, step_task, &j, chunks);
    for (size_t i = 0; i < o->params->n && (o->o.kind == KD_ADAFACTOR || o->o.kind == KD_MUON); i++) {
        const kd_param *q = &o->params->at[i];
        if (!kd_param_active(o->params, q)) continue;
        if (o->o.kind == KD_ADAFACTOR)
            kd_adafactor_step(o, i, lr, scale);
        else if (kd_optimizer_form(&o->o, q) == KD_FORM_MOMENTUM)
            kd_muon_step(o, i, lr, scale);
    }
    average.scale = 1;
    if (o->o.ema > 0) kd_pool_run(o->pool, ema_task, &average, chunks);
}

double kd_clip_scale(double norm, double max_norm) {
    if (max_norm <= 0) return 1;
    double s = max_norm / (norm + 1e-6);
    return s < 1 ? s : 1;
}

double kd_schedule_factor(kd_schedule_kind k, uint64_t t, uint64_t T, uint64_t warmup) {
    if (t < warmup) return (double)(t + 1) / (double)warmup;
    if (t >= T) t = T ? T - 1 : 0;
    const double left = T > warmup ? (double)(T - t) / (double)(T - warmup) : 1;
    const double tail = ceil((double)T / 5);
    switch (k) {
    case KD_LINEAR: return left;
    case KD_COSINE: return 0.5 * (1 - cos(acos(-1.0) * left));
    case KD_WSD: return (double)(T - t) < tail ? (double)(T - t) / tail : 1;
    case KD_CONSTANT:
    case KD_SCHEDULES: break;
    }
    return 1;
}
