/* distill/base/hash.h - SHA-256 (FIPS 180-4) for contents, a fast 64-bit hash (SipHash-2-4) for tables. Leans on mem.h. */
#ifndef KD_BASE_HASH_H
#define KD_BASE_HASH_H

#include "distill/base/mem.h"

typedef struct {
    uint32_t h[8];
    uint64_t n;
    unsigned char block[64];
} kd_sha256;
void kd_sha256_init(kd_sha256 *s);
void kd_sha256_add(kd_sha256 *s, const void *p, size_t n);
void kd_sha256_end(kd_sha256 *s, unsigned char out[32]);
void kd_sha256_hex(const void *p, size_t n, char out[65]); /* lower case, NUL-terminated */
void kd_hex(const unsigned char *p, size_t n, char *out);  /* 2n digits and a NUL */
kd_code kd_sha256_file(const char *path, char out[65], kd_err *e);

uint64_t kd_siphash(const void *p, size_t n, uint64_t k0, uint64_t k1); /* the key as two little-endian words */
uint64_t kd_hash64(const void *p, size_t n, uint64_t seed);             /* kd_siphash under a key made of seed */

#endif
