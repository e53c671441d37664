/* tests/convert/fuzz_imatrix.c - any bytes as an imatrix file: refused, or every mean in it is a finite number of at least 0. */
#include "convert/importance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    static char path[64];
    kd_importance *im;
    kd_err e = {0};
    if (fd < 0) {
        fd = memfd_create("fuzz", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
    if (kd_importance_read(&im, path, &e)) {
        if (!e.msg[0] || im) abort();
        return 0;
    }
    for (size_t i = 0; i < kd_importance_count(im); i++) {
        const kd_importance_entry *x = kd_importance_at(im, i);
        const float *v;
        if (kd_importance_find(im, x->name) != x) abort();
        for (size_t k = 0; k < x->cols * x->mats; k++)
            if (!isfinite(x->mean[k]) || x->mean[k] < 0) abort();
        for (size_t k = 0; k < x->mats; k++)
            if (kd_importance_of(&v, im, x->name, x->cols, x->mats, k, &e)) abort();
        (void)kd_importance_of(&v, im, x->name, 4, 3, 2, &e);
    }
    kd_importance_free(im);
    return 0;
}
