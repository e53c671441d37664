/* distill/engine/loop.h - the loop guard: says when a sequence has fallen into a cycle. Leans on base/err.h.
 * Rule: for some period p <= KD_LOOP_PERIOD, each of the last max(KD_LOOP_TIMES * p, KD_LOOP_LEAST) tokens equals the one p before it. So a
 * cycle is seen after four repetitions and 192 tokens at the least; a table of equal rows under that length does not trip it. */
#ifndef KD_ENGINE_LOOP_H
#define KD_ENGINE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KD_LOOP_PERIOD = 512, KD_LOOP_TIMES = 4, KD_LOOP_LEAST = 192 };
typedef struct {
    uint16_t run[KD_LOOP_PERIOD + 1]; /* run[p]: how many of the last tokens equal the one p before */
} kd_loop;                            /* {0} at the start of an answer */
/* tokens [n]: the answer so far, its last token new. O(KD_LOOP_PERIOD). True: it goes round. */
bool kd_loop_push(kd_loop *l, const int32_t *tokens, size_t n);

#endif
