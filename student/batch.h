/* student/batch.h - from lessons to micro-batches: the order of lessons, the rows of an update, their cut. Leans on datasets/render.h, net.h.
 * Sequences lie end to end with no padding; rows that no later loss can feel (behind a lesson's last learned token) are left out. */
#ifndef KD_STUDENT_BATCH_H
#define KD_STUDENT_BATCH_H

#include "datasets/render.h"
#include "student/net.h"

/* The endless row of epochs: each epoch all lessons once, shuffled by (seed, epoch) unless told not to. */
enum { KD_SOURCES_MAX = 16 };
typedef struct {
    size_t sources;
    size_t first[KD_SOURCES_MAX], n[KD_SOURCES_MAX]; /* lessons of each source lie together */
    double weight[KD_SOURCES_MAX];                   /* its share of the lessons drawn is weight / their sum */
} kd_source_mix;
typedef struct {
    size_t n, first;
    uint64_t seed, epoch, stream; /* of the permutation held */
    bool shuffle, have;
    uint64_t *perm;
    struct kd_mixed_order *mixed; /* several sources with weights; NULL: one row of epochs over all */
} kd_order;
kd_code kd_order_init(kd_order *o, size_t n, bool shuffle, uint64_t seed, kd_err *e);
/* Several sources with weights: each has its own endless row of epochs, and every place goes to the source that is furthest behind its share (the first of
 * equals), so that any stretch of the row holds the shares as nearly as whole lessons can. */
kd_code kd_order_mix(kd_order *o, const kd_source_mix *m, bool shuffle, uint64_t seed, kd_err *e);
size_t kd_order_at(kd_order *o, uint64_t place); /* the lesson at a place of the endless row; cheap while places rise */
void kd_order_clear(kd_order *o);

/* Rows of a lesson: tokens before its last learned one; 0: it teaches nothing. */
size_t kd_lesson_rows(const kd_lesson *l);

/* Buffers for the micro-batches of one update; nothing is allocated after init. */
typedef struct {
    size_t rows_max, batch_size;
    kd_micro micro; /* views into the arrays below */
    int32_t *tokens, *pos, *target, *loss_pos;
    uint32_t *loss_row;
    float *weight;
    double *loss;
    kd_span *spans, *loss_spans;
    /* of the update */
    const kd_lesson **lessons; /* [batch_size] */
    size_t next;               /* first lesson not yet in a micro-batch */
    size_t target_rows;        /* about so many rows a micro-batch */
    uint64_t row0, loss_row0;
    double total_weight; /* sum of sample weight over loss tokens */
    size_t tokens_in, loss_tokens;
    size_t rows_in, padded; /* rows computed; tokens that the update would be, padded to its longest lesson */
    uint16_t *source;       /* [rows_max] of the loss rows of the micro-batch */
} kd_rows;
/* rows: most rows at once; a longer lesson than that is the caller's mistake. */
kd_code kd_rows_init(kd_rows *b, size_t rows, size_t batch_size, kd_err *e);
void kd_rows_clear(kd_rows *b);
size_t kd_rows_bytes(size_t rows, size_t batch_size);
/* Begins an update of the lessons at places from .. from + batch_size of the order. */
void kd_rows_begin(kd_rows *b, const kd_lesson *all, kd_order *order, uint64_t from);
/* The next micro-batch, or NULL when the update is through. */
const kd_micro *kd_rows_next(kd_rows *b);

#endif
