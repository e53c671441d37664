/* tests/student/fuzz_evals.c - any bytes as RUN/evals.jsonl: no crash; what is read rises in steps, is no more than was asked for, and reads the same again. */
#include "student/evals.h"

#include "distill/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { UPTO = 1000 };
    char path[64];
    kd_evals v, w;
    kd_err e;
    snprintf(path, sizeof path, "/tmp/kd-fuzz-evals-%ld", (long)getpid());
    FILE *f = fopen(path, "wb");
    if (!f || (size && fwrite(data, 1, size, f) != size) || fclose(f) != 0) abort();
    if (kd_evals_open(&v, path, UPTO, &e) == KD_OK) {
        for (size_t i = 0; i < v.n; i++)
            if (v.at[i].step > UPTO || (i && v.at[i].step <= v.at[i - 1].step)) abort();
        const kd_eval_line *best = kd_evals_best(&v);
        if (best && (best->step == 0 || kd_evals_since_best(&v) >= v.n)) abort();
        if (kd_evals_open(&w, path, UPTO, &e) != KD_OK || w.n != v.n) abort();
        kd_evals_clear(&w);
        kd_evals_clear(&v);
    }
    (void)remove(path);
    return 0;
}
