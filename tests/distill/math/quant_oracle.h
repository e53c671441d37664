/* tests/distill/math/quant_oracle.h - the arrays of tests/oracle/quant.safetensors, for tests and the bench. */
#ifndef QUANT_ORACLE_H
#define QUANT_ORACLE_H

#include "distill/base/file.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORACLE_ROWS = 16, ORACLE_COLS = 512 };

static kd_map *oracle_map;

static void oracle_open(void) {
    kd_err e;
    if (!oracle_map && kd_map_open(&oracle_map, "tests/oracle/quant.safetensors", &e) != KD_OK) {
        fprintf(stderr, "%s\n", e.msg);
        abort();
    }
}
/* The bytes of a tensor, an aligned copy kept till the end; NULL where the oracle has none. */
static void *oracle_get(const char *name, size_t *size) {
    static struct {
        char name[32];
        void *data;
        size_t size;
    } kept[64];
    size_t slot = 0;
    while (slot < 64 && kept[slot].data && strcmp(kept[slot].name, name) != 0) slot++;
    assert(slot < 64);
    if (kept[slot].data) {
        if (size) *size = kept[slot].size;
        return kept[slot].data;
    }
    oracle_open();
    const unsigned char *p = kd_map_data(oracle_map);
    uint64_t n;
    memcpy(&n, p, 8);
    assert(n < kd_map_size(oracle_map) - 8);
    char key[64];
    int len = snprintf(key, sizeof key, "\"%s\":{", name);
    const char *at = memmem(p + 8, n, key, (size_t)len);
    if (!at) return NULL;
    const char *off = strstr(at, "\"data_offsets\":[");
    char *comma;
    size_t a = strtoull(off + strlen("\"data_offsets\":["), &comma, 10), b = strtoull(comma + 1, NULL, 10);
    assert(a < b && b <= kd_map_size(oracle_map) - 8 - n);
    void *copy = kd_aligned_alloc(64, b - a);
    memcpy(copy, p + 8 + n + a, b - a);
    snprintf(kept[slot].name, sizeof kept[slot].name, "%s", name);
    kept[slot].data = copy;
    kept[slot].size = b - a;
    if (size) *size = b - a;
    return copy;
}

#endif
