/* tests/convert/convert_help.h - what tests of conversions begin with: a folder of their own, a pool of two, and calls that must succeed. */
#ifndef KD_TESTS_CONVERT_HELP_H
#define KD_TESTS_CONVERT_HELP_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "distill/base/file.h"
#include "distill/base/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char temp_dir[64];
static kd_pool *pool;

/* The call's last argument is er. */
#define must(call)                                                                                                                         \
    do {                                                                                                                                   \
        kd_err must_e = {0};                                                                                                               \
        kd_err *er = &must_e;                                                                                                              \
        if (call) fail_msg("%s: %s", #call, must_e.msg);                                                                                   \
    } while (0)

static int setup(void **state) {
    (void)state;
    strcpy(temp_dir, "/tmp/kd-convert-XXXXXX");
    return mkdtemp(temp_dir) && kd_pool_new(&pool, 2, NULL) == KD_OK ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    kd_pool_free(pool);
    return kd_remove_tree(temp_dir, NULL);
}
/* A path in the folder; eight may be in use. */
static inline const char *temp(const char *name) {
    static char ring[8][256];
    static int at;
    at = (at + 1) % 8;
    snprintf(ring[at], sizeof ring[at], "%s/%s", temp_dir, name);
    return ring[at];
}

#endif
