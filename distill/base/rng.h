/* distill/base/rng.h - counter-based random numbers: the nth number of a stream is a function of (key, n) alone.
 * Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". Includes nothing of ours. */
#ifndef KD_BASE_RNG_H
#define KD_BASE_RNG_H

#include <stdint.h>

typedef struct {
    uint64_t key;    /* the seed */
    uint64_t stream; /* which sequence of that seed */
    uint64_t n;      /* how many 32-bit numbers are behind us */
} kd_rng;

void kd_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);
uint32_t kd_rng_at(uint64_t key, uint64_t stream, uint64_t n); /* the nth number, from 0 */
uint32_t kd_rng_u32(kd_rng *r);
uint64_t kd_rng_u64(kd_rng *r);
double kd_rng_uniform(kd_rng *r);                        /* [0,1), 53 bits: uses two numbers */
double kd_rng_normal(kd_rng *r);                         /* Box-Muller: uses four */
uint64_t kd_rng_below(kd_rng *r, uint64_t n);            /* 0..n-1 without bias; n >= 1 */
void kd_rng_shuffle(kd_rng *r, uint64_t *v, uint64_t n); /* Fisher-Yates */

#endif
