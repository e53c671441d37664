/* student/batch.c - the order of lessons and the cut of an update into micro-batches. Leans on batch.h, base/rng.h. */
#include "student/batch.h"

#include "distill/base/rng.h"

#include <string.h>

kd_code kd_order_init(kd_order *o, size_t n, bool shuffle, uint64_t seed, kd_err *e) {
    *o = (kd_order){.n = n, .shuffle = shuffle, .seed = seed};
    if (n == 0) return kd_fail(e, KD_EFORMAT, "there is nothing to learn: no lesson has a token with loss");
    if (!shuffle) return KD_OK;
    o->perm = kd_calloc(n, sizeof *o->perm);
    return o->perm ? KD_OK : kd_fail(e, KD_ENOMEM, "no memory for the order of %zu lessons", n);
}

struct kd_mixed_order {
    kd_source_mix mix;
    kd_order each[KD_SOURCES_MAX];
    uint64_t drawn[KD_SOURCES_MAX], place; /* of the places before `place` */
    double sum;
};

kd_code kd_order_mix(kd_order *o, const kd_source_mix *m, bool shuffle, uint64_t seed, kd_err *e) {
    *o = (kd_order){0};
    kd_code code = m->sources && m->sources <= KD_SOURCES_MAX ? KD_OK : kd_fail(e, KD_EINVAL, "expected 1 to %d sources", KD_SOURCES_MAX);
    struct kd_mixed_order *x = code == KD_OK ? kd_calloc(1, sizeof *x) : NULL;
    if (code == KD_OK && !x) return kd_fail(e, KD_ENOMEM, "no memory for the order of lessons");
    o->mixed = x;
    for (size_t i = 0; i < m->sources && code == KD_OK; i++) {
        code = kd_order_init(&x->each[i], m->n[i], shuffle, seed, e);
        x->each[i].first = m->first[i];
        x->each[i].stream = i + 1;
        x->sum += m->weight[i];
        o->n += m->n[i];
    }
    if (code == KD_OK)
        x->mix = *m;
    else
        kd_order_clear(o);
    return code;
}

/* The source that comes next, and which of its lessons in a row that is. */
static size_t next_source(struct kd_mixed_order *x) {
    size_t best = 0;
    double most = -1;
    for (size_t i = 0; i < x->mix.sources; i++) {
        const double behind = x->mix.weight[i] / x->sum * (double)(x->place + 1) - (double)x->drawn[i];
        if (i == 0 || behind > most + 1e-9) best = i, most = behind;
    }
    x->place++;
    x->drawn[best]++;
    return best;
}

static size_t mixed_at(struct kd_mixed_order *x, uint64_t place) {
    size_t s = 0;
    if (place < x->place) {
        memset(x->drawn, 0, sizeof x->drawn);
        x->place = 0;
    }
    while (x->place <= place) s = next_source(x);
    return kd_order_at(&x->each[s], x->drawn[s] - 1);
}

size_t kd_order_at(kd_order *o, uint64_t place) {
    if (o->mixed) return mixed_at(o->mixed, place);
    const uint64_t epoch = place / o->n;
    const size_t i = (size_t)(place % o->n);
    if (!o->shuffle) return o->first + i;
    if (!o->have || o->epoch != epoch) {
        for (size_t k = 0; k < o->n; k++) o->perm[k] = k;
        kd_rng r = {.key = o->seed, .stream = 0x6f726465u + (epoch << 32) + (o->stream << 56)}; /* "orde" */
        kd_rng_shuffle(&r, o->perm, o->n);
        o->epoch = epoch;
        o->have = true;
    }
    return o->first + (size_t)o->perm[i];
}

void kd_order_clear(kd_order *o) {
    kd_free(o->perm);
    for (size_t i = 0; o->mixed && i < KD_SOURCES_MAX; i++) kd_free(o->mixed->each[i].perm);
    kd_free(o->mixed);
    *o = (kd_order){0};
}

size_t kd_lesson_rows(const kd_lesson *l) {
    for (size_t i = l->n; i-- > 1;)
        if (l->loss[i]) return i;
    return 0;
}

size_t kd_rows_bytes(size_t rows, size_t batch_size) {
    return rows * (5 * sizeof(int32_t) + sizeof(float) + sizeof(double) + sizeof(uint16_t)) +
           batch_size * (2 * sizeof(kd_span) + sizeof(void *));
}

kd_code kd_rows_init(kd_rows *b, size_t rows, size_t batch_size, kd_err *e) {
    *b = (kd_rows){.rows_max = rows, .batch_size = batch_size};
    b->tokens = kd_calloc(rows, sizeof *b->tokens);
    b->pos = kd_calloc(rows, sizeof *b->pos);
    b->target = kd_calloc(rows, sizeof *b->target);
    b->loss_pos = kd_calloc(rows, sizeof *b->loss_pos);
    b->loss_row = kd_calloc(rows, sizeof *b->loss_row);
    b->weight = kd_calloc(rows, sizeof *b->weight);
    b->loss = kd_calloc(rows, sizeof *b->loss);
    b->source = kd_calloc(rows, sizeof *b->source);
    b->spans = kd_calloc(batch_size, sizeof *b->spans);
    b->loss_spans = kd_calloc(batch_size, sizeof *b->loss_spans);
    b->lessons = kd_calloc(batch_size, sizeof *b->lessons);
    if (b->tokens && b->pos && b->target && b->loss_pos && b->loss_row && b->weight && b->loss && b->source && b->spans && b->loss_spans &&
        b->lessons)
        return KD_OK;
    kd_rows_clear(b);
    return kd_fail(e, KD_ENOMEM, "no memory for micro-batches of %zu rows", rows);
}

void kd_rows_clear(kd_rows *b) {
    void *all[] = {b->tokens, b->pos,    b->target, b->loss_pos,   b->loss_row, b->weight,
                   b->loss,   b->source, b->spans,  b->loss_spans, b->lessons};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_free(all[i]);
    *b = (kd_rows){0};
}

void kd_rows_begin(kd_rows *b, const kd_lesson *all, kd_order *order, uint64_t from) {
    size_t rows = 0, longest = 0;
    b->next = 0;
    b->row0 = b->loss_row0 = 0;
    b->total_weight = 0;
    b->tokens_in = b->loss_tokens = 0;
    for (size_t i = 0; i < b->batch_size; i++) {
        const kd_lesson *l = b->lessons[i] = &all[kd_order_at(order, from + i)];
        rows += kd_lesson_rows(l);
        b->tokens_in += l->n;
        if (l->n > longest) longest = l->n;
        for (size_t k = 1; k < l->n; k++)
            if (l->loss[k]) {
                b->loss_tokens++;
                b->total_weight += (double)l->weight;
            }
    }
    b->rows_in = rows;
    b->padded = longest * b->batch_size;
    const size_t parts = (rows + b->rows_max - 1) / b->rows_max;
    b->target_rows = parts ? (rows + parts - 1) / parts : 0;
}

/* Appends the rows of one lesson. */
static void append(kd_rows *b, const kd_lesson *l, size_t rows) {
    kd_micro *m = &b->micro;
    const size_t s = m->n_spans++;
    b->spans[s] = (kd_span){m->N, rows, m->N, rows};
    b->loss_spans[s] = (kd_span){m->NL, 0, m->N, rows};
    for (size_t i = 0; i < rows; i++) {
        b->tokens[m->N + i] = l->tokens[i];
        b->pos[m->N + i] = (int32_t)i;
        if (!l->loss[i + 1]) continue;
        b->loss_row[m->NL] = (uint32_t)(m->N + i);
        b->target[m->NL] = l->tokens[i + 1];
        b->loss_pos[m->NL] = (int32_t)i;
        b->source[m->NL] = l->source;
        b->weight[m->NL] = (float)((double)l->weight / b->total_weight);
        b->loss_spans[s].nq++;
        m->NL++;
    }
    m->N += rows;
}

const kd_micro *kd_rows_next(kd_rows *b) {
    kd_micro *m = &b->micro;
    *m = (kd_micro){.tokens = b->tokens,
                    .pos = b->pos,
                    .spans = b->spans,
                    .loss_row = b->loss_row,
                    .target = b->target,
                    .weight = b->weight,
                    .loss_pos = b->loss_pos,
                    .loss_spans = b->loss_spans,
                    .loss = b->loss,
                    .row0 = b->row0,
                    .loss_row0 = b->loss_row0};
    while (b->next < b->batch_size) {
        const size_t rows = kd_lesson_rows(b->lessons[b->next]);
        if (m->N && (m->N + rows > b->rows_max || m->N >= b->target_rows)) break;
        if (rows) append(b, b->lessons[b->next], rows);
        b->next++;
    }
    b->row0 += m->N;
    b->loss_row0 += m->NL;
    return m->N ? m : NULL;
}
