/* tests/distill/math/hard_rows.h - rows that are made to break a quantizer; all finite. */
#ifndef HARD_ROWS_H
#define HARD_ROWS_H

#include "distill/base/rng.h"

#include <math.h>

enum { HARD_KINDS = 66 };
static void hard_row(kd_rng *rng, int kind, float *x, size_t n) {
    const float sizes[] = {1, 1e-3f, 1e-8f, 1e-38f, 1e-44f, 6e4f, 1e6f, 3.4e38f};
    float s = sizes[kind % 8];
    for (size_t i = 0; i < n; i++) {
        float g = (float)kd_rng_normal(rng);
        switch (kind / 8) {
        case 0: /* plain, of every size */ x[i] = g * s; break;
        case 1: /* mostly zeros */ x[i] = kd_rng_below(rng, 32) ? 0.0f : g * s; break;
        case 2: /* a constant */ x[i] = kind % 2 ? s : -s * 0.99f; break;
        case 3: /* ties of both signs */ x[i] = kd_rng_below(rng, 2) ? s : -s; break;
        case 4: /* zeros of both signs */ x[i] = kd_rng_below(rng, 2) ? 0.0f : -0.0f; break;
        case 5: /* one sign, many zeros */ x[i] = fabsf(g) * s * (float)kd_rng_below(rng, 3); break;
        case 6: /* ties of rounding */ x[i] = s * 0.001f * (float)((int)kd_rng_below(rng, 33) - 16); break;
        case 7: /* blocks of sizes far apart */ x[i] = g * (i / 32 % 2 ? s : 1.0f); break;
        default: /* small integers; ternary */
            x[i] = kind == 64 ? (float)((int)kd_rng_below(rng, 255) - 127) * 0.5f : 0.37f * (float)((int)kd_rng_below(rng, 3) - 1);
        }
        x[i] = isfinite(x[i]) ? x[i] : 3e38f;
    }
}

#endif
