/* distill/model/rope.c - rotary frequencies and their scalings. Leans on config.h.
 * In f32 where transformers computes in f32, so that long positions turn by the same angles. */
#include "distill/model/config.h"

#include <math.h>

static float base_freq(const kd_config *c, uint32_t j) { return 1.0f / powf((float)c->rope.theta, (float)(2 * j) / (float)c->D); }

static float llama3_freq(const kd_rope_config *p, float f) {
    double old = p->original_context;
    float wavelen = (float)(2 * M_PI) / f;
    if (wavelen < (float)(old / p->high_freq_factor)) return f;
    if (wavelen > (float)(old / p->low_freq_factor)) return f / (float)p->factor;
    float smooth = ((float)old / wavelen - (float)p->low_freq_factor) / (float)(p->high_freq_factor - p->low_freq_factor);
    return (1 - smooth) * f / (float)p->factor + smooth * f;
}

static double get_mscale(double scale, double mscale) { return scale <= 1 ? 1.0 : 0.1 * mscale * log(scale) + 1.0; }

/* The dimension whose wave turns rotations times over the original context. */
static double correction_dim(const kd_config *c, double rotations) {
    return c->D * log(c->rope.original_context / (rotations * 2 * M_PI)) / (2 * log(c->rope.theta));
}

static void yarn(const kd_config *c, float *inv_freq, float *scale) {
    const kd_rope_config *p = &c->rope;
    double low = correction_dim(c, p->beta_fast), high = correction_dim(c, p->beta_slow);
    if (p->truncate) low = floor(low), high = ceil(high);
    low = fmax(low, 0), high = fmin(high, c->D - 1.0);
    if (low == high) high += 0.001;
    for (uint32_t j = 0; j < c->D / 2; j++) {
        float f = base_freq(c, j), ramp = ((float)j - (float)low) / (float)(high - low);
        float keep = 1 - fminf(fmaxf(ramp, 0), 1);
        inv_freq[j] = f / (float)p->factor * (1 - keep) + f * keep;
    }
    double a = p->attention_factor;
    if (a < 0)
        a = p->mscale != 0 && p->mscale_all_dim != 0 ? get_mscale(p->factor, p->mscale) / get_mscale(p->factor, p->mscale_all_dim)
                                                     : get_mscale(p->factor, 1);
    *scale = (float)a;
}

void kd_config_inv_freq(const kd_config *c, float *inv_freq, float *scale) {
    const kd_rope_config *p = &c->rope;
    *scale = 1;
    if (p->kind == KD_ROPE_YARN) {
        yarn(c, inv_freq, scale);
        return;
    }
    for (uint32_t j = 0; j < c->D / 2; j++) {
        float f = base_freq(c, j);
        if (p->kind == KD_ROPE_LINEAR)
            f /= (float)p->factor;
        else if (p->kind == KD_ROPE_LLAMA3)
            f = llama3_freq(p, f);
        inv_freq[j] = p->factors ? f / p->factors[j] : f;
    }
}

bool kd_config_rope_factors(const kd_config *c, float *factors) {
    if (c->rope.kind != KD_ROPE_LLAMA3 && !c->rope.factors) return false;
    for (uint32_t j = 0; j < c->D / 2; j++) {
        float f = base_freq(c, j);
        factors[j] = c->rope.factors ? c->rope.factors[j] : f / llama3_freq(&c->rope, f);
    }
    return true;
}
