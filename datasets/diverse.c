/* datasets/diverse.c - sketches of texts (bottom-k MinHash) and the greedy choice of those far apart. Leans on diverse.h, scan.h. */
#include "datasets/diverse.h"

#include "datasets/scan.h"

#include <string.h>

enum { SKETCH = 128, RUN = 5 };

typedef struct {
    int64_t id;
    uint32_t least[SKETCH]; /* ascending */
    uint32_t n;
    double nearest; /* distance to the nearest that is taken */
    bool taken;
} sketch;
typedef struct {
    kd_buf *out;
    kd_stmt *text;
    kd_scan_room room;
    sketch *s;
    size_t n, cap;
    int k;
    bool any;
} picking;

/* h into the SKETCH least of s, without doubles. */
static void keep_least(sketch *s, uint32_t h) {
    size_t at = s->n;
    if (s->n == SKETCH && h >= s->least[SKETCH - 1]) return;
    while (at && s->least[at - 1] > h) at--;
    if (at && s->least[at - 1] == h) return;
    const size_t last = s->n < SKETCH ? s->n++ : SKETCH - 1;
    memmove(s->least + at + 1, s->least + at, (last - at) * sizeof *s->least);
    s->least[at] = h;
}

static kd_code read_sketch(picking *p, int64_t id, kd_err *e) {
    kd_scan scan;
    bool row;
    if (kd_grow((void **)&p->s, &p->cap, p->n + 1, sizeof *p->s)) return kd_fail(e, KD_ENOMEM, "select: no memory");
    sketch *s = &p->s[p->n++];
    *s = (sketch){.id = id, .nearest = 2};
    kd_bind_int(p->text, 1, id);
    kd_code rc = kd_stmt_step(p->text, &row, e);
    if (!rc && row) rc = kd_scan_text(&scan, &p->room, kd_col_text(p->text, 0), e);
    for (size_t i = 0; !rc && row && i + RUN <= scan.n_words; i++) {
        uint64_t h = 0;
        for (size_t k = 0; k < RUN; k++) h = (h ^ scan.words[i + k].hash) * 0x9e3779b97f4a7c15ULL;
        keep_least(s, (uint32_t)((h ^ h >> 29) * 0xbf58476d1ce4e5b9ULL >> 32));
    }
    kd_stmt_reset(p->text);
    return rc;
}

/* One less the share that the SKETCH least of the union have in both: an unbiased estimate of the Jaccard distance (Broder 1997). */
static double distance(const sketch *a, const sketch *b) {
    size_t i = 0, k = 0, seen = 0, both = 0;
    while (seen < SKETCH && (i < a->n || k < b->n)) {
        const bool same = i < a->n && k < b->n && a->least[i] == b->least[k];
        const bool first = k == b->n || (i < a->n && a->least[i] <= b->least[k]);
        both += same;
        seen++;
        i += first || same;
        k += !first || same;
    }
    return seen ? 1 - (double)both / (double)seen : 0;
}

static kd_code take(picking *p, size_t i) {
    p->s[i].taken = true;
    for (size_t k = 0; k < p->n; k++) {
        const double d = distance(&p->s[k], &p->s[i]);
        if (d < p->s[k].nearest) p->s[k].nearest = d;
    }
    const kd_code rc = kd_buf_printf(p->out, "%s%lld", p->any ? "," : "", (long long)p->s[i].id);
    p->any = true;
    return rc;
}

static kd_code pick(picking *p, kd_err *e) {
    kd_code rc = KD_OK;
    for (int taken = 0; taken < p->k && (size_t)taken < p->n && !rc; taken++) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < p->n; i++)
            if (!p->s[i].taken && (best == SIZE_MAX || p->s[i].nearest > p->s[best].nearest)) best = i;
        rc = take(p, best);
    }
    p->n = 0;
    return rc ? kd_fail(e, rc, "select: no memory") : KD_OK;
}

kd_code kd_diverse_pick(kd_buf *out, kd_db *db, kd_stmt *rows, int k, kd_err *e) {
    picking p = {.out = out, .k = k};
    int64_t prompt = -1;
    bool row;
    kd_code rc = kd_buf_puts(out, "[") ? kd_fail(e, KD_ENOMEM, "select: no memory") : KD_OK;
    if (!rc) rc = kd_stmt_new(&p.text, db, "SELECT coalesce(nullif(thought, ''), answer) FROM samples WHERE id=?1", e);
    while (!rc && !(rc = kd_stmt_step(rows, &row, e)) && row) {
        const int64_t id = kd_col_int(rows, 0), of = kd_col_int(rows, 1);
        if (of != prompt) rc = pick(&p, e);
        prompt = of;
        if (!rc) rc = read_sketch(&p, id, e);
    }
    if (!rc) rc = pick(&p, e);
    if (!rc && kd_buf_puts(out, "]")) rc = kd_fail(e, KD_ENOMEM, "select: no memory");
    kd_stmt_free(p.text);
    kd_scan_room_clear(&p.room);
    kd_free(p.s);
    return rc;
}
