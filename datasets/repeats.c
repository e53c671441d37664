/* datasets/repeats.c - how much of a text only says again what it said. Leans on label.h, base/mem, base/hash. */
#include "datasets/label.h"
#include "datasets/measures.h"

#include "distill/base/hash.h"
#include "distill/base/mem.h"

#include <string.h>

enum { WINDOW = 8, LEAST_TAIL = 24, TIMES = 3 };
#define TAIL_LOOK ((size_t)1 << 20) /* how far back a loop is looked for */

/* Length of the longest tail of s that is one period said TIMES times or more: the failure function of the reversed text gives for every tail its
 * shortest period (Knuth, Morris, Pratt 1977). */
static size_t looping_tail(const char *s, size_t n, uint32_t *fail) {
    size_t best = 0, k = 0;
    const char *last = s + n - 1;
    fail[0] = 0;
    for (size_t i = 1; i < n; i++) {
        char c = *(last - i);
        while (k && *(last - k) != c) k = fail[k - 1];
        k += *(last - k) == c;
        fail[i] = (uint32_t)k;
        if (i + 1 >= LEAST_TAIL && i + 1 >= TIMES * (i + 1 - k)) best = i + 1;
    }
    return best;
}

/* Bytes that lie in windows of WINDOW words seen before. slots: power of two > count. */
static size_t said_again(const kd_word *w, size_t count, uint64_t *seen, size_t slots) {
    size_t bytes = 0, covered = 0; /* everything before covered is counted */
    uint64_t roll = 0, top = 1;
    const uint64_t base = 0x9e3779b97f4a7c15ULL;
    for (int i = 0; i < WINDOW; i++) top *= base;
    for (size_t i = 0; i < count; i++) {
        roll = roll * base + w[i].hash;
        if (i >= WINDOW) roll -= top * w[i - WINDOW].hash;
        if (i + 1 < WINDOW) continue;
        uint64_t key = roll ^ (roll >> 29) ? roll ^ (roll >> 29) : 1;
        size_t at = (size_t)(key * 0xbf58476d1ce4e5b9ULL >> 20) & (slots - 1);
        while (seen[at] && seen[at] != key) at = (at + 1) & (slots - 1);
        if (seen[at]) {
            size_t from = w[i + 1 - WINDOW].start;
            from = from > covered ? from : covered;
            bytes += w[i].end - from;
            covered = w[i].end;
        } else {
            seen[at] = key;
        }
    }
    return bytes;
}

kd_code kd_label_repeats(double *out, kd_str text, kd_err *e) {
    *out = 0;
    size_t n = text.len < UINT32_MAX ? text.len : UINT32_MAX - 1;
    size_t look = n < TAIL_LOOK ? n : TAIL_LOOK, slots = 16;
    if (n < LEAST_TAIL) return KD_OK;
    kd_code rc = KD_OK;
    uint32_t *fail = kd_realloc_array(NULL, look, sizeof *fail);
    kd_word *words = kd_realloc_array(NULL, n / 2 + 2, sizeof *words);
    uint64_t *seen = NULL;
    size_t count = 0, tail = 0, again = 0;
    if (fail && words) {
        tail = looping_tail(text.data + n - look, look, fail);
        count = kd_words_cut(text.data, n, words);
        while (slots < 2 * count) slots *= 2;
        if ((seen = kd_calloc(slots, sizeof *seen))) again = said_again(words, count, seen, slots);
    }
    if (seen)
        *out = (double)(tail > again ? tail : again) / (double)n;
    else
        rc = kd_fail(e, KD_ENOMEM, "no memory to measure a text of %zu bytes", n);
    kd_free(fail);
    kd_free(words);
    kd_free(seen);
    return rc;
}
