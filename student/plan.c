/* student/plan.c - how much memory training takes, by formula, and what makes it fit. Leans on trainer.h, base/clock.h. */
#include "student/trainer.h"

#include "distill/base/clock.h"
#include "student/tape.h"

#include <math.h>
#include <stdio.h>

enum { ROWS_BEST = 2048, ROWS_LEAST = 256 };
/* What a process of ours holds beside its planned buffers: the program, its libraries, OpenBLAS' packing buffers (one a thread). */
enum { BASE_BYTES = 24 << 20, THREAD_BYTES = 4 << 20 };

static size_t frozen_bytes(const kd_model *m) {
    const size_t embed = m->embed.rows * m->embed.row_bytes;
    return embed + (m->config.tied ? 0 : m->head.rows * m->head.row_bytes);
}

static void fill(kd_train_plan *p, const kd_model *m, const kd_train_options *o, const kd_params *params, size_t lesson_bytes,
                 int threads) {
    kd_net_plan(p->bytes, &m->config, &o->method, &p->shape, threads);
    const size_t slab = params->floats * sizeof(float);
    kd_optimizer_options optimizer = o->optimizer;
    optimizer.kind = p->optimizer;
    p->bytes[KD_MEM_WEIGHTS] = o->method.method == KD_FULL ? 0 : (size_t)m->bytes;
    if (o->method.interval) p->bytes[KD_MEM_WEIGHTS] = frozen_bytes(m); /* embedding and head stay as they are stored */
    p->bytes[KD_MEM_PARAMS] = slab;
    p->bytes[KD_MEM_GRADS] = params->grads * sizeof(float);
    p->bytes[KD_MEM_OPTIMIZER] = kd_optimizer_state_bytes(&optimizer, params);
    p->bytes[KD_MEM_WORK] += kd_optimizer_work_bytes(&optimizer, params, threads);
    p->bytes[KD_MEM_DATA] += lesson_bytes + kd_rows_bytes(p->shape.rows, o->batch_size);
    p->bytes[KD_MEM_WORK] += (size_t)o->held_bytes + BASE_BYTES + (size_t)threads * THREAD_BYTES;
    p->total = 0;
    for (int k = 0; k < KD_MEM_KINDS; k++) p->total += p->bytes[k];
}

static void shape_rows(kd_train_plan *p, const kd_train_options *o, size_t rows) {
    if (rows < p->longest) rows = p->longest;
    size_t update; /* rows of one update at most: no more are ever there at once */
    if (o->rows == 0 && kd_mul_size(p->longest, o->batch_size, &update) && update < rows) rows = update;
    if (o->rows == 0 && o->batch_size <= p->lessons && p->rows < rows) rows = p->rows > p->longest ? p->rows : p->longest;
    p->shape = (kd_net_shape){.rows = rows, .spans = o->batch_size, .positions = p->longest, .bf16 = o->bf16};
}

/* Rows and recomputation that fit: first without recomputing, rows falling; then with as little of it as does. */
static bool choose(kd_train_plan *p, const kd_model *m, const kd_train_options *o, const kd_params *params, size_t lesson_bytes,
                   int threads) {
    const uint32_t L = m->config.L;
    const bool fixed_r = o->recompute >= 0;
    for (int pass = fixed_r ? 1 : 0; pass < 2; pass++)
        for (size_t rows = o->rows ? o->rows : ROWS_BEST;; rows /= 2) {
            shape_rows(p, o, rows);
            uint32_t lo = pass ? 1 : 0, hi = pass ? L : 0;
            if (fixed_r) lo = hi = (uint32_t)o->recompute < L ? (uint32_t)o->recompute : L;
            for (uint32_t r = lo; r <= hi; r++) {
                p->shape.recompute = r;
                for (int few = 0; few < 2; few++) {
                    p->shape.logit_rows = o->logit_rows;
                    p->shape.logit_rows = kd_logit_rows(&p->shape, m->config.V, few);
                    fill(p, m, o, params, lesson_bytes, threads);
                    if (p->total <= p->limit) return true;
                }
            }
            if (o->rows || rows <= ROWS_LEAST || rows <= p->longest) break;
        }
    return false;
}

/* Then with a narrower state of the optimizer, where that is left to the plan. */
static bool choose_width(kd_train_plan *p, const kd_model *m, const kd_train_options *o, const kd_params *params, size_t lesson_bytes,
                         int threads) {
    p->optimizer = o->optimizer.kind;
    if (choose(p, m, o, params, lesson_bytes, threads)) return true;
    if (!o->any_state || p->optimizer != KD_ADAMW) return false;
    p->optimizer = KD_ADAMW_8BIT;
    return choose(p, m, o, params, lesson_bytes, threads);
}

/* " --optimizer adafactor would take 1.20 GB; ..." of ways that fit. */
static void alternatives(char *out, size_t n, const kd_train_plan *p, const kd_model *m, const kd_train_options *o, size_t lesson_bytes,
                         int threads) {
    struct {
        const char *flags;
        kd_optimizer_kind kind;
        bool lora;
        uint64_t interval;
    } ways[] = {{"--optimizer adamw_8bit", KD_ADAMW_8BIT, false, 0},
                {"--optimizer adafactor", KD_ADAFACTOR, false, 0},
                {"--method badam", KD_ADAMW, false, 50},
                {"--method lora", KD_ADAMW, true, 0}};
    int at = 0;
    out[0] = 0;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (o->method.method != KD_FULL && (ways[i].lora || ways[i].interval)) continue;
        kd_train_options other = *o;
        kd_train_plan q = *p;
        kd_params params = {0};
        other.optimizer.kind = ways[i].kind;
        other.any_state = false;
        if (ways[i].lora)
            other.method = (kd_train_method){.method = KD_LORA_METHOD, .lora = {.r = 16, .alpha = 32, .targets = (1u << KD_MATS) - 1}};
        if (ways[i].interval) other.method.interval = ways[i].interval;
        if (kd_params_list(&params, &m->config, &other.method, NULL) == KD_OK &&
            choose_width(&q, m, &other, &params, lesson_bytes, threads))
            at += snprintf(out + at, n - (size_t)at, "%s%s: %.2f GB", at ? ", " : "; would fit: ", ways[i].flags, (double)q.total / 1e9);
        kd_params_clear(&params);
        if ((size_t)at + 48 > n) break;
    }
}

kd_code kd_train_plan_make(kd_train_plan *plan, const kd_model *m, const kd_lesson *lessons, size_t n, const kd_train_options *o,
                           int threads, kd_err *e) {
    *plan = (kd_train_plan){0};
    if (o->batch_size == 0) return kd_fail(e, KD_EINVAL, "an update needs at least one sequence");
    if (o->method.interval && o->optimizer.ema > 0)
        return kd_fail(e, KD_EINVAL, "an average of weights is not kept when layers are trained in turn");
    size_t lesson_bytes = 0;
    plan->lessons = n;
    plan->longest = o->held_rows;
    for (size_t i = 0; i < n; i++) {
        const size_t rows = kd_lesson_rows(&lessons[i]);
        if (rows > plan->longest) plan->longest = rows;
        plan->rows += rows;
        plan->tokens += lessons[i].n;
        lesson_bytes += sizeof(kd_lesson) + lessons[i].n * (sizeof(int32_t) + 1);
        for (size_t k = 0; k < lessons[i].n; k++)
            if (lessons[i].tokens[k] < 0 || (uint32_t)lessons[i].tokens[k] >= m->config.V)
                return kd_fail(e, KD_EFORMAT, "row %zu: token %d is outside the model's vocabulary of %u", lessons[i].row,
                               (int)lessons[i].tokens[k], m->config.V);
    }
    if (n == 0 || plan->rows == 0) return kd_fail(e, KD_EFORMAT, "there is nothing to learn: no lesson has a token with loss");
    plan->steps = o->max_steps ? o->max_steps : (uint64_t)ceil(o->epochs * (double)n / (double)o->batch_size);
    if (plan->steps == 0) return kd_fail(e, KD_EINVAL, "no updates: give --epochs or --max-steps");
    plan->warmup = (uint64_t)ceil(o->warmup_ratio * (double)plan->steps);
    plan->limit = o->memory ? o->memory : kd_memory_free();
    kd_params params = {0};
    kd_code code = kd_params_list(&params, &m->config, &o->method, e);
    if (code == KD_OK) {
        plan->trained = params.trained;
        char ways[160];
        if (!choose_width(plan, m, o, &params, lesson_bytes, threads)) {
            const double least = (double)plan->total / 1e9;
            alternatives(ways, sizeof ways, plan, m, o, lesson_bytes, threads);
            code = kd_fail(e, KD_ELIMIT, "training needs at least %.2f GB (%zu rows, %u layers recomputed); %.2f GB may be used%s", least,
                           plan->shape.rows, plan->shape.recompute, (double)plan->limit / 1e9, ways);
        }
    }
    kd_params_clear(&params);
    return code;
}

kd_code kd_train_plan_text(kd_buf *out, const kd_train_plan *p, const kd_config *c) {
    kd_code code = KD_OK;
    for (int k = 0; k < KD_MEM_KINDS && code == KD_OK; k++)
        if (p->bytes[k]) code = kd_buf_printf(out, "  %-12s %9.1f MB\n", kd_mem_name((kd_mem_kind)k), (double)p->bytes[k] / 1e6);
    if (code == KD_OK)
        code = kd_buf_printf(
            out, "  %-12s %9.1f MB of %.1f MB: %zu rows at once, %u of %u layers recomputed, %.2fM parameters trained, %llu updates\n",
            "together", (double)p->total / 1e6, (double)p->limit / 1e6, p->shape.rows, p->shape.recompute, c->L, (double)p->trained / 1e6,
            (unsigned long long)p->steps);
    return code;
}
