/* tests/distill/engine/bench_decode.c - what decode makes of the memory's bandwidth: rounds of a few steps of one sequence (or more), each between two
 * readings of a buffer far larger than any cache by all threads of the same pool, so that both feel the same neighbours.
 *   bench_decode MODEL [SEQUENCES CONTEXT THREADS ROUNDS]     KD_CPU caps the level */
#include "distill/base/clock.h"
#include "distill/base/cpu.h"
#include "distill/base/rng.h"
#include "distill/engine/engine.h"
#include "distill/model/loaded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { TASK = 1 << 20, TASKS = 256, STEPS = 8, MOST = 400 };
typedef struct {
    const char *data;
    uint64_t sum[64 * 8];
} reading;

/* A piece of the buffer. 512 bits at a time where the machine has them; whatever reads less is slower at nothing but this. */
#if defined(__x86_64__)
__attribute__((target("avx512f"))) static uint64_t read_512(const char *p) {
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (size_t i = 0; i < TASK; i += 256) {
        a = _mm512_xor_si512(a, _mm512_load_si512(p + i));
        b = _mm512_xor_si512(b, _mm512_load_si512(p + i + 64));
        c = _mm512_xor_si512(c, _mm512_load_si512(p + i + 128));
        d = _mm512_xor_si512(d, _mm512_load_si512(p + i + 192));
    }
    return (uint64_t)_mm512_reduce_add_epi64(_mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d)));
}
#endif
static void read_task(void *ctx, size_t task, int worker) {
    reading *r = ctx;
    const char *p = r->data + task * TASK;
    uint64_t sum = 0, v;
#if defined(__x86_64__)
    if (kd_cpu_get()->level >= KD_CPU_AVX512) {
        r->sum[worker % 64 * 8] += read_512(p);
        return;
    }
#endif
    for (size_t i = 0; i < TASK; i += 8) memcpy(&v, p + i, 8), sum ^= v;
    r->sum[worker % 64 * 8] += sum;
}
static double read_rate(reading *r, kd_pool *pool) {
    const double t = kd_now();
    kd_pool_run(pool, read_task, r, TASKS);
    return (double)TASK * TASKS / (kd_now() - t) * 1e-9;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}
static double median(double *v, size_t n) {
    qsort(v, n, sizeof *v, ascending);
    return v[n / 2];
}

static uint64_t weight_bytes(const kd_model *m) {
    uint64_t n = (uint64_t)m->head.rows * m->head.row_bytes;
    for (uint32_t l = 0; l < m->config.L; l++)
        for (int r = 0; r < KD_MATS; r++) n += (uint64_t)m->layers[l].mat[r].rows * m->layers[l].mat[r].row_bytes;
    return n;
}

static void began(void *user, const kd_piece *p) { /* user [2]: tokens of this sequence, sequences that have one */
    size_t **u = user;
    (void)p;
    if (!(*u[0])++) ++*u[1];
}

#define TRY(x)                                                                                                                             \
    if (x) return fprintf(stderr, "bench_decode: %s\n", e.msg), 1
int main(int argc, char **argv) {
    static reading r;
    static double before[MOST], ours[MOST], share[MOST];
    kd_loaded l;
    kd_err e = {0};
    kd_engine *en;
    kd_pool *pool;
    const char *level = getenv("KD_CPU");
    size_t B = argc > 2 ? strtoul(argv[2], NULL, 10) : 1, context = argc > 3 ? strtoul(argv[3], NULL, 10) : 32, left,
           rounds = argc > 5 ? strtoul(argv[5], NULL, 10) : 40;
    if (argc < 2 || rounds > MOST || (level && !kd_cpu_cap(level)))
        return fprintf(stderr, "bench_decode MODEL [SEQUENCES CONTEXT THREADS ROUNDS]\n"), 64;
    char *data = kd_large_alloc((size_t)TASK * TASKS);
    int32_t *prompt = kd_malloc(context * sizeof *prompt);
    size_t *tokens = kd_calloc(B, sizeof *tokens), *(*user)[2] = kd_malloc(B * sizeof *user), started = 0;
    if (!data || !prompt || !tokens || !user) return 1;
    memset(data, 1, (size_t)TASK * TASKS);
    r.data = data;
    TRY(kd_pool_new(&pool, argc > 4 ? atoi(argv[4]) : 0, &e));
    TRY(kd_load(&l, argv[1], NULL, KD_LOAD_WEIGHTS, &e));
    const kd_engine_options o = {.pool = pool, .sequences = B, .context = context + rounds * STEPS + 64};
    TRY(kd_engine_new(&en, l.model, l.adapter, NULL, &o, &e));
    for (size_t s = 0; s < B; s++) {
        for (size_t i = 0; i < context; i++) prompt[i] = (int32_t)((uint64_t)kd_rng_at(7, s, i) * l.model->config.V >> 32);
        const kd_request q = {.prompt = prompt,
                              .prompt_n = context,
                              .max_tokens = rounds * STEPS + 60,
                              .seed = 7,
                              .stream = s,
                              .ignore_eog = true,
                              .no_loop_guard = true,
                              .sampling = {.temperature = 1.0f},
                              .on_token = began,
                              .user = user[s]};
        user[s][0] = &tokens[s], user[s][1] = &started;
        TRY(kd_engine_submit(en, &q, NULL, &e));
    }
    while (started < B) TRY(kd_engine_step(en, &left, &e));
    const double bytes = (double)weight_bytes(l.model) + (double)kd_engine_get_stats(en).kv_bytes;
    const kd_engine_stats a = kd_engine_get_stats(en);
    double last = read_rate(&r, pool), best = last;
    for (size_t k = 0; k < rounds; k++) {
        const double t = kd_now();
        for (size_t i = 0; i < STEPS; i++) TRY(kd_engine_step(en, &left, &e));
        ours[k] = bytes * STEPS / (kd_now() - t) * 1e-9;
        before[k] = read_rate(&r, pool);
        share[k] = ours[k] / (0.5 * (last + before[k]));
        last = before[k], best = last > best ? last : best;
    }
    const kd_engine_stats z = kd_engine_get_stats(en);
    const double all = (double)(z.step_ns - a.step_ns), attention = (double)(z.forward.attention - a.forward.attention) / all,
                 head = (double)(z.forward.head - a.forward.head) / all, drawn = (double)(z.draw_ns - a.draw_ns) / all;
    printf("%zu x %zu tokens, %d threads: %.1f tok/s; weights and keys at %.1f GB/s in the median, memory read at %.1f (at best %.1f); "
           "round by round %.1f %% of it\n",
           B, context, kd_pool_threads(pool), (double)(B * STEPS * rounds) / all * 1e9, median(ours, rounds), median(before, rounds), best,
           100 * median(share, rounds));
    printf("  of a step: attention %.1f %%, head %.1f %%, draws %.1f %%, the other products and what stands between %.1f %%\n",
           100 * attention, 100 * head, 100 * drawn, 100 * (1 - attention - head - drawn));
    kd_engine_free(en);
    kd_unload(&l);
    kd_pool_free(pool);
    kd_free(prompt), kd_free(data), kd_free(tokens), kd_free(user);
    return 0;
}
