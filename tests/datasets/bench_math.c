/* tests/datasets/bench_math.c - verdicts a second, one core, processor time: plain numbers, plain numbers behind 1 KB of reasoning, and the table of pairs.
 * math-verify (PyPI) on the same rows: tests/datasets/compare_math_verify.py --bench. */
#include "datasets/label.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static double cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The texts of rows 0..n-1; compare_math_verify.py makes the same ones. */
static void row(int i, const char *before, char text[2048], char gold[32]) {
    const int v = i * 7919 % 100003, w = i % 5 ? v : v + 1;
    (void)snprintf(gold, 32, "%d", v);
    (void)snprintf(text, 2048, i % 2 ? "%s\\boxed{%d}" : "%s\n#### %d", before, w);
}

static void measure(const char *name, const char *before, int rows) {
    char text[2048], gold[32];
    int right = 0;
    kd_judgement j;
    const double from = cpu();
    for (int i = 0; i < rows; i++) {
        row(i, before, text, gold);
        if (kd_label_math(&j, kd_str_of(text), kd_str_of(gold), NULL)) return;
        right += j.verdict == KD_RIGHT;
    }
    const double t = cpu() - from;
    printf("math verdicts, %s: %.0f a second (%d rows, %d right)\n", name, rows / t, rows, right);
}

int main(void) {
    static char before[1025];
    static const char step[] = "Each day she sells 16 - 3 - 4 = 9 eggs for $2 each, so she makes 9 * 2 = 18 dollars. ";
    for (size_t n = 0; n + sizeof step < sizeof before; n += sizeof step - 1) memcpy(before + n, step, sizeof step - 1);
    measure("plain numbers", "", 400000);
    measure("plain numbers behind 1 KB", before, 200000);
    return 0;
}
