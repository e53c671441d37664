/* distill/base/rng.c - Philox4x32-10. Leans on nothing. */
#include "distill/base/rng.h"

#include <math.h>

void kd_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t kd_rng_at(uint64_t key, uint64_t stream, uint64_t n) {
    const uint64_t block = n / 4;
    const uint32_t ctr[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
    const uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    uint32_t out[4];
    kd_philox(ctr, k, out);
    return out[n % 4];
}

uint32_t kd_rng_u32(kd_rng *r) { return kd_rng_at(r->key, r->stream, r->n++); }

uint64_t kd_rng_u64(kd_rng *r) {
    const uint64_t low = kd_rng_u32(r);
    return (uint64_t)kd_rng_u32(r) << 32 | low;
}

double kd_rng_uniform(kd_rng *r) { return (double)(kd_rng_u64(r) >> 11) * 0x1p-53; }

double kd_rng_normal(kd_rng *r) {
    const double u = kd_rng_uniform(r), v = kd_rng_uniform(r);
    return sqrt(-2.0 * log(1.0 - u)) * cos(6.283185307179586476925 * v);
}

uint64_t kd_rng_below(kd_rng *r, uint64_t n) {
    const uint64_t excess = (0 - n) % n; /* 2^64 mod n: the first so many values would make some remainders likelier */
    uint64_t v;
    do v = kd_rng_u64(r);
    while (v < excess);
    return v % n;
}

void kd_rng_shuffle(kd_rng *r, uint64_t *v, uint64_t n) {
    for (uint64_t i = n; i > 1; i--) {
        const uint64_t j = kd_rng_below(r, i), x = v[i - 1];
        v[i - 1] = v[j];
        v[j] = x;
    }
}
