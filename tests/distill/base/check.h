/* tests/distill/base/check.h - what the tests of base share: cmocka, a scratch folder, the allocation sweep. */
#ifndef KD_TEST_BASE_CHECK_H
#define KD_TEST_BASE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "distill/base/err.h"
#include "distill/base/file.h"
#include "distill/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Runs `call` (an expression of kd_code) with its first, second, ... allocation failing, until it passes with none: every run before that must
 * say KD_ENOMEM. `undo` cleans up after the run that passed. Leaks are ASan's to find. */
#define SWEEP(call, undo)                                                                                                                  \
    do {                                                                                                                                   \
        long at_ = 1;                                                                                                                      \
        for (;; at_++) {                                                                                                                   \
            kd_alloc_fail_at(at_);                                                                                                         \
            kd_code c_ = (call);                                                                                                           \
            const bool failed_ = kd_alloc_count() >= at_;                                                                                  \
            kd_alloc_fail_at(0);                                                                                                           \
            if (!failed_) {                                                                                                                \
                assert_int_equal(c_, KD_OK);                                                                                               \
                undo;                                                                                                                      \
                break;                                                                                                                     \
            }                                                                                                                              \
            assert_int_equal(c_, KD_ENOMEM);                                                                                               \
            assert_true(at_ < 100000);                                                                                                     \
        }                                                                                                                                  \
        assert_true(at_ > 1);                                                                                                              \
    } while (0)

static inline char *scratch_folder(void) {
    const char *base = getenv("TMPDIR");
    char *dir = NULL;
    if (asprintf(&dir, "%s/kd-test-XXXXXX", base && *base ? base : "/tmp") < 0 || !mkdtemp(dir)) abort();
    return dir;
}

static inline void scratch_remove(char *dir) {
    if (kd_remove_tree(dir, NULL)) abort();
    free(dir);
}

#endif
