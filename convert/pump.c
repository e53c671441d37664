/* convert/pump.c - the pass: rows are read, merged, quantized and written, window after window, over all workers. Leans on plan.h, math/codec.h.
 * A window is some megabytes of output. While the workers fill one, one of them writes the one before (task 0): computing and
 * writing overlap without a thread of their own. What is read stays in the map and is given back behind us, so memory does not grow. */
#include "convert/resume.h"

#include "distill/base/clock.h"
#include "distill/math/codec.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

enum { WINDOW = 16 << 20, PIECE = 128 << 10 /* elements a task */ };

/* Rows [first, first + rows) of one matrix of an item, at out in its window. A vector, and any row longer than PIECE, is one piece. */
typedef struct {
    kd_item *item;
    size_t mat, first, rows, at;
    bool nonfinite; /* found in it */
} piece;

typedef struct {
    unsigned char *bytes;
    size_t len, cap;
    piece *v;
    size_t n, n_cap, number; /* number: which window of the output */
} window;

typedef struct {
    kd_plan *plan;
    const kd_sink *sink;
    bool refuse_nonfinite;
    window fill, drain;
    float *rows; /* [workers, widest row] */
    size_t widest;
    kd_err write_err, compute_err;
    atomic_int failed; /* compute_err is taken */
    const kd_watch *watch;
    uint64_t done, size;
    size_t filled; /* windows begun */
} pump;

/* Row r of one matrix of the item (as the output orders them) in f32: w [cols]. */
static void load_row(const kd_item *it, size_t mat, size_t r, float *w) {
    size_t src = it->row_map ? it->row_map[r] : r;
    const int32_t own = it->token_rows ? it->tokens->row_of[src] : -1;
    if (own >= 0) {
        memcpy(w, it->token_rows + (size_t)own * it->cols, it->cols * sizeof *w);
        return;
    }
    if (it->from)
        kd_mat_rows(&it->from[mat], src, 1, w);
    else
        memcpy(w, it->values + (it->ndim == 1 ? 0 : src * it->cols), it->cols * sizeof *w);
    if (it->lora) kd_lora_merge_row(it->lora, src, w, it->cols);
    const kd_lora *l = it->embed; /* a [r,V], b [C,r]: E[v] += scale * B A[:,v] */
    for (size_t c = 0; l && c < it->cols; c++) {
        float s = 0;
        for (uint32_t k = 0; k < l->r; k++) s += l->b[c * l->r + k] * l->a[(size_t)k * it->embed_rows + src];
        w[c] += l->scale * s;
    }
}
/* Rows [r, r + n): packed ones together, since neighbours share words. */
static void load_rows(const kd_item *it, size_t mat, size_t r, size_t n, float *w) {
    if (it->from && (int)it->from->type == KD_PACKED_TYPE && !it->row_map)
        kd_mat_rows(&it->from[mat], r, n, w);
    else
        for (size_t i = 0; i < n; i++) load_row(it, mat, r + i, w + i * it->cols);
}
static bool is_packed(const kd_item *it) { return it->from && (int)it->from->type == KD_PACKED_TYPE; }

/* Bytes that need no arithmetic. */
static bool as_stored(const kd_item *it) { return it->from && it->from->type == it->type && !it->lora && !it->embed; }

static void fault(pump *p, const kd_item *it, kd_code c, const char *what) {
    if (!atomic_exchange(&p->failed, 1)) kd_fail(&p->compute_err, c, "%s: tensor %s: %s", p->plan->source.path, it->name, what);
}

static void compute(pump *p, piece *q, int worker) {
    kd_item *it = q->item;
    float *w = p->rows + (size_t)worker * p->widest;
    unsigned char *out = p->fill.bytes + q->at;
    const float *im = it->importance ? it->importance[q->mat] : NULL;
    bool raw = as_stored(it), finite = true;
    size_t tile = is_packed(it) ? KD_PACKED_ROWS : 1;
    for (size_t i = 0; i < q->rows; i += tile) {
        size_t r = q->first + i, n = q->rows - i < tile ? q->rows - i : tile;
        load_rows(it, q->mat, r, n, w);
        finite &= kd_all_finite(w, n * it->cols);
        for (size_t k = 0; k < n; k++, out += it->row_bytes) {
            size_t src = it->row_map ? it->row_map[r + k] : r + k;
            if (raw && !(it->token_rows && it->tokens->row_of[src] >= 0))
                memcpy(out, kd_mat_row(&it->from[q->mat], src), it->row_bytes);
            else if (kd_quantize(it->type, w + k * it->cols, out, it->cols, im, NULL))
                fault(p, it, KD_EBUG, "its rows cannot be written in its type");
        }
    }
    if (!finite) {
        q->nonfinite = true;
        if (p->refuse_nonfinite) fault(p, it, KD_EFORMAT, "NaN or infinity among its values; --allow-nonfinite converts it all the same");
    }
}

static kd_code drain(pump *p) {
    const window *w = &p->drain;
    bool finite = true;
    for (size_t i = 0; i < w->n; i++) {
        const piece *q = &w->v[i];
        size_t n = q->rows * q->item->row_bytes;
        kd_code c = p->sink->gguf ? kd_gguf_writer_put(p->sink->gguf, q->item->index, w->bytes + q->at, n, &p->write_err)
                                  : kd_safetensors_writer_put(p->sink->st, q->item->index, w->bytes + q->at, n, &p->write_err);
        if (c) return c;
        finite &= !q->nonfinite;
    }
    if (w->n) kd_resume_note(p->sink->resume, w->bytes, w->len, finite);
    return KD_OK;
}

/* The full window from what a killed run left, if it is there whole. */
static bool had(pump *p) {
    window *w = &p->fill;
    const kd_resume *r = p->sink->resume;
    if (!kd_resume_has(r, w->number, w->len)) return false;
    for (size_t i = 0; i < w->n; i++) {
        const piece *q = &w->v[i];
        const size_t row = q->mat * (q->item->rows / q->item->mats) + q->first;
        if (!kd_resume_read(r, kd_sink_place(p->sink, q->item->index), (uint64_t)row * q->item->row_bytes, w->bytes + q->at,
                            q->rows * q->item->row_bytes))
            return false;
    }
    if (!kd_resume_same(r, w->number, w->bytes, w->len)) return false;
    p->plan->result.resumed += w->len;
    return true;
}

static void task(void *ctx, size_t i, int worker) {
    pump *p = ctx;
    if (i == 0)
        (void)drain(p);
    else if (!atomic_load(&p->failed))
        compute(p, &p->fill.v[i - 1], worker);
}

static kd_code window_add(window *w, kd_item *it, size_t mat, size_t first, size_t rows, kd_err *e) {
    size_t n = rows * it->row_bytes;
    void *v = w->v;
    kd_code c = kd_grow(&v, &w->n_cap, w->n + 1, sizeof *w->v);
    w->v = v;
    if (!c && w->len + n > w->cap) {
        unsigned char *b = kd_realloc(w->bytes, w->len + n);
        if (b)
            w->bytes = b, w->cap = w->len + n;
        else
            c = KD_ENOMEM;
    }
    if (c) return kd_fail(e, c, "no memory for %zu bytes of output", w->len + n);
    w->v[w->n++] = (piece){it, mat, first, rows, w->len, false};
    w->len += n;
    return KD_OK;
}

/* A piece was computed: its fault is noted, and the pages of the source that it came from are given back. */
static void settle(const piece *q) {
    kd_item *it = q->item;
    it->nonfinite |= q->nonfinite;
    if (!it->from) return;
    const kd_mat *m = &it->from[q->mat];
    bool mapped = it->row_map || m->row_map, last = q->first + q->rows == m->rows;
    if (is_packed(it)) {
        const kd_tensor *t = ((const kd_packed *)m->data)->codes;
        if (last) kd_pages_release(t->data, t->bytes);
        return;
    }
    if (mapped && !last) return;
    uintptr_t page = 4096, from = (uintptr_t)m->data + (mapped ? 0 : q->first * m->row_bytes);
    uintptr_t to = from + (mapped ? m->rows : q->rows) * m->row_bytes;
    from = (from + page - 1) & ~(page - 1);
    to &= ~(page - 1);
    if (to > from) (void)madvise((void *)from, to - from, MADV_DONTNEED); /* a read-only map of a file: the bytes are still there */
}

/* Computes the window that is full while the one before is written; then they change places. */
static kd_code turn(pump *p, kd_pool *pool, kd_err *e) {
    p->fill.number = p->filled++;
    kd_pool_run(pool, task, p, had(p) ? 1 : p->fill.n + 1);
    if (atomic_load(&p->failed)) {
        if (e) *e = p->compute_err;
        return p->compute_err.code;
    }
    if (p->write_err.code) {
        if (e) *e = p->write_err;
        return p->write_err.code;
    }
    for (size_t i = 0; i < p->fill.n; i++) settle(&p->fill.v[i]);
    p->done += p->drain.len;
    window was = p->drain;
    p->drain = p->fill;
    p->fill = was;
    p->fill.n = p->fill.len = 0;
    kd_emit(p->watch,
            (kd_event){.kind = KD_EV_STEP, .stage = "convert", .done = p->done, .total = p->plan->result.bytes_out, .unit = "bytes"});
    return (kd_code)kd_stopping(p->watch);
}

static kd_code run(pump *p, kd_pool *pool, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < p->plan->n && !c; i++) {
        kd_item *it = &p->plan->v[i];
        size_t step = it->cols ? PIECE / it->cols : 1;
        step = step ? step : 1;
        size_t rows = it->rows / it->mats;
        for (size_t k = 0; k < it->mats && !c; k++)
            for (size_t r = 0; r < rows && !c; r += step) {
                c = window_add(&p->fill, it, k, r, rows - r < step ? rows - r : step, e);
                if (!c && p->fill.len >= p->size) c = turn(p, pool, e);
            }
    }
    for (int last = 0; last < 2 && !c; last++) /* what is full, then what was just computed */
        c = turn(p, pool, e);
    return c;
}

kd_code kd_pump(kd_plan *plan, const kd_sink *s, const kd_convert_options *o, kd_pool *pool, const kd_watch *watch, kd_err *e) {
    pump p = {.plan = plan, .sink = s, .refuse_nonfinite = !o->allow_nonfinite, .watch = watch, .size = o->window ? o->window : WINDOW};
    for (size_t i = 0; i < plan->n; i++) {
        size_t n = plan->v[i].cols * (is_packed(&plan->v[i]) ? KD_PACKED_ROWS : 1);
        p.widest = n > p.widest ? n : p.widest;
    }
    size_t workers = (size_t)kd_pool_threads(pool), n;
    kd_code c = KD_ENOMEM;
    if (kd_mul_size(p.widest, workers, &n)) p.rows = kd_aligned_alloc(64, (n + 16) * sizeof(float));
    c = p.rows ? run(&p, pool, e) : kd_fail(e, KD_ENOMEM, "no memory for %zu rows of %zu", workers, p.widest);
    for (size_t i = 0; i < plan->n; i++) plan->result.nonfinite += plan->v[i].nonfinite;
    kd_free(p.rows);
    kd_free(p.fill.bytes);
    kd_free(p.fill.v);
    kd_free(p.drain.bytes);
    kd_free(p.drain.v);
    return c;
}
