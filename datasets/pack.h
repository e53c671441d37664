/* datasets/pack.h - lessons laid end to end into rows of a length, so that little of a batch is padding. Leans on render.h.
 * Sequences of a row never see each other: starts says where each begins, positions count from 0 again. */
#ifndef KD_DATASETS_PACK_H
#define KD_DATASETS_PACK_H

#include "datasets/render.h"

typedef enum { KD_PACK_DROP, KD_PACK_CUT, KD_PACK_REFUSE } kd_pack_long; /* lessons longer than a row: left out, cut at the end, an error */
typedef struct {
    size_t length; /* tokens of a row */
    kd_pack_long longer;
    bool single; /* one lesson a row: no packing */
} kd_pack_opts;

typedef struct {
    uint32_t lesson; /* index into the lessons given */
    uint32_t n;      /* its tokens that are in: all, or length where it was cut */
} kd_pack_part;
typedef struct {
    kd_pack_part *parts; /* [n] */
    size_t n, tokens;    /* tokens <= length */
} kd_pack_row;
typedef struct {
    kd_pack_row *rows;
    size_t n;
    size_t dropped, cut, cut_tokens; /* lessons left out, lessons cut, tokens lost by that */
    size_t tokens, waste;            /* in rows; places of rows that stay empty */
} kd_packed;

/* Best fit: lessons in the order given, each into the row that it fills best among those it fits in (of equals the one that has had that room for longest), a new row where none
 * has room. Cost O(n log n). The same lessons and options give the same rows. Cutting never leaves a part without a token to learn:
 * such a lesson is dropped. Errors: KD_EINVAL length < 2; KD_EFORMAT a lesson too long with KD_PACK_REFUSE, named by its row; KD_ENOMEM.
 * Test: tests/datasets/test_pack.c */
kd_code kd_pack(kd_packed *out, const kd_lesson *lessons, size_t n, const kd_pack_opts *o, kd_err *e);
void kd_packed_clear(kd_packed *p);

#endif
