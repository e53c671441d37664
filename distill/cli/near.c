/* distill/cli/near.c - the nearest known word, for messages about unknown ones. */
#include "distill/cli/state.h"

enum { LONGEST = 64 };

/* Optimal string alignment distance, three rows of the table at a time. */
size_t kd_edit_distance(kd_str a, kd_str b, size_t limit) {
    size_t rows[3][LONGEST + 1];
    if (a.len > LONGEST || b.len > LONGEST) return limit + 1;
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.len; j++) last[j] = before[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t d = last[j - 1] + (a.data[i - 1] != b.data[j - 1]);
            if (last[j] + 1 < d) d = last[j] + 1;
            if (now[j - 1] + 1 < d) d = now[j - 1] + 1;
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1] && before[j - 2] + 1 < d)
                d = before[j - 2] + 1;
            now[j] = d;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.len] > limit ? limit + 1 : last[b.len];
}
