/* distill/engine/draw.c - the rows of logits of a step become tokens: sampling and log-probabilities, a row a task. Leans on sample.h, ops.h. */
#include "distill/base/rng.h"
#include "distill/engine/engine_seq.h"

#include <math.h>
#include <string.h>

/* The k >= 1 largest of logits, falling, the lowest id first among equals; their log-probabilities. */
static void most_likely(kd_top *top, size_t k, const float *logits, size_t V, double lse) {
    size_t n = 0;
    for (size_t i = 0; i < V; i++) {
        float l = logits[i];
        if (n == k && !(l > top[n - 1].logprob)) continue;
        size_t at = n < k ? n++ : n - 1;
        for (; at > 0 && l > top[at - 1].logprob; at--) top[at] = top[at - 1];
        top[at] = (kd_top){(int32_t)i, l};
    }
    for (size_t i = 0; i < n; i++) top[i].logprob = (float)((double)top[i].logprob - lse);
}

static void ban_ends(const kd_engine *en, const seq *s, float *logits) {
    for (size_t i = 0; i < s->r.stop_tokens_n; i++) logits[s->r.stop_tokens[i]] = -INFINITY;
    if (!en->tok || s->r.ignore_eog) return;
    const kd_specials *sp = kd_tokenizer_specials(en->tok);
    for (size_t i = 0; i < sp->eogs; i++)
        if (sp->eog[i] >= 0 && (size_t)sp->eog[i] < en->V) logits[sp->eog[i]] = -INFINITY;
}

static void hold(const draw *d, size_t V) {
    for (size_t w = 0; w * 64 < V; w++) {
        uint64_t bits = d->allowed[w];
        for (size_t i = 64 * w; bits != UINT64_MAX && i < V && i < 64 * w + 64; i++)
            if (!(bits >> (i % 64) & 1)) d->logits[i] = -INFINITY;
    }
}

static void draw_row(void *ctx, size_t task, int worker) {
    kd_engine *en = ctx;
    draw *d = &en->draws[task];
    seq *s = d->s;
    char *work = en->work + (size_t)worker * en->work_bytes;
    float *raw = (float *)(work + kd_sample_work(en->V) / 64 * 64 + 64);
    size_t n = s->ids.n + d->ahead, t = n - s->r.prompt_n; /* the guesses before it stand behind ids.n */
    d->id = thought_forced(en, s, d->ahead);
    bool probs = s->r.logprobs || s->r.top_logprobs;
    double lse = 0;
    if (probs) {
        lse = kd_logsumexp(d->logits, en->V);
        if (s->r.top_logprobs) most_likely(d->top, s->r.top_logprobs, d->logits, en->V, lse);
        memcpy(raw, d->logits, en->V * sizeof *raw);
    }
    if (d->id >= 0) { /* forced */
        if (probs) d->logprob = (float)((double)d->logits[d->id] - lse);
        return;
    }
    if (d->held) hold(d, en->V);
    if (t < s->r.min_tokens || s->form == FORM_WAITS) ban_ends(en, s, d->logits);
    kd_rng rng = {.key = s->r.seed, .stream = s->r.stream, .n = 2 * (uint64_t)t};
    d->id = kd_sample(&s->r.sampling, d->logits, en->V, s->ids.id, n, kd_rng_uniform(&rng), work);
    if (probs) d->logprob = d->id < 0 ? 0 : (float)((double)raw[d->id] - lse);
}

void draw_all_rows(kd_engine *en, size_t n) { kd_pool_run(en->pool, draw_row, en, n); }
