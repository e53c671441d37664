/* distill/engine/loop.c - the rule of loop.h, kept up token by token. */
#include "distill/engine/loop.h"

bool kd_loop_push(kd_loop *l, const int32_t *tokens, size_t n) {
    if (!n) return false;
    int32_t t = tokens[n - 1];
    size_t last = n - 1 < KD_LOOP_PERIOD ? n - 1 : KD_LOOP_PERIOD;
    bool round = false;
    for (size_t p = 1; p <= last; p++) {
        uint16_t r = tokens[n - 1 - p] == t ? (uint16_t)(l->run[p] + (l->run[p] < UINT16_MAX)) : 0;
        l->run[p] = r;
        round |= r >= KD_LOOP_TIMES * p && r >= KD_LOOP_LEAST;
    }
    return round;
}
