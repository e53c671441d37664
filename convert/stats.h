/* convert/stats.h - inside of the room: what the values of a tensor are like. Leans on format/tensor.h, base/pool.h. */
#ifndef KD_CONVERT_STATS_H
#define KD_CONVERT_STATS_H

#include "distill/base/json.h"
#include "distill/base/pool.h"
#include "distill/format/tensor.h"

enum { KD_STATS_BINS = 16 };
typedef struct {
    bool known;                             /* false: a type whose values are not weights */
    uint64_t n, zeros, nonfinite, outliers; /* outliers: beyond 6 standard deviations */
    double min, max, mean, std;
    uint64_t bins[KD_STATS_BINS]; /* equal parts of [min, max] */
} kd_stats;
/* Of every tensor of a set: stats [count]. Two passes over the data, given back behind it. */
kd_code kd_stats_of_set(kd_stats *stats, const kd_tensors *set, kd_pool *pool, kd_err *e);
void kd_weight_stats_json(kd_jsonw *w, const kd_stats *s); /* members of an open object */

#endif
