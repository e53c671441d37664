/* datasets/evaluate.c - see evaluate.h. Walks a selection question by question; memory: one question's answers and two arrays. */
#include "datasets/evaluate.h"

#include "datasets/label.h"
#include "distill/base/json.h"
#include "distill/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The answers of one question. */
typedef struct {
    char *final; /* bare final answer, or NULL */
    kd_verdict verdict;
} vote;
typedef struct {
    int64_t prompt;
    bool gold;
    vote *at;
    size_t n, cap;
} question;

static void forget(question *q) {
    for (size_t i = 0; i < q->n; i++) kd_free(q->at[i].final);
    q->n = 0;
}

void kd_wilson(double p, double n, double ci[2]) {
    const double z = 1.959963984540054;
    if (n <= 0) {
        ci[0] = 0, ci[1] = 1;
        return;
    }
    double mid = p + z * z / (2 * n), half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)), by = 1 + z * z / n;
    ci[0] = fmax(0, (mid - half) / by), ci[1] = fmin(1, (mid + half) / by);
}

void kd_eval_clear(kd_eval *v) {
    kd_free(v->prompt), kd_free(v->mean);
    memset(v, 0, sizeof *v);
}

/* Share of the most frequent answers that is right: answers are grouped by exact equality. */
static kd_code consensus(double *out, const question *q, int k, kd_err *e) {
    size_t best = 0, tied = 0, right = 0;
    for (int i = 0; i < k; i++) {
        size_t votes = 0;
        bool first = true;
        for (int j = 0; j < k; j++) {
            kd_verdict v = i == j ? KD_RIGHT : KD_WRONG;
            if (!q->at[i].final || !q->at[j].final)
                v = KD_WRONG;
            else if (i != j) {
                kd_code c = kd_math_equal(&v, kd_str_of(q->at[i].final), kd_str_of(q->at[j].final), e);
                if (c) return c;
            }
            votes += v == KD_RIGHT;
            first = first && !(v == KD_RIGHT && j < i);
        }
        if (!votes || !first) continue;
        if (votes > best) best = votes, tied = 0, right = 0;
        if (votes == best) tied++, right += q->at[i].verdict == KD_RIGHT;
    }
    *out = tied ? (double)right / (double)tied : 0;
    return KD_OK;
}

typedef struct {
    kd_eval *v;
    size_t cap_p, cap_m;
    double sum, square, passk, consk, tokens;
    uint64_t answers;
} tally;

static kd_code close_question(tally *t, question *q, int k, kd_err *e) {
    if (!q->n) return KD_OK;
    if (!q->gold || q->n < (size_t)k) {
        *(q->gold ? &t->v->incomplete : &t->v->without_gold) += 1;
        forget(q);
        return KD_OK;
    }
    size_t right = 0;
    double cons;
    for (int i = 0; i < k; i++) right += q->at[i].verdict == KD_RIGHT;
    kd_code c = consensus(&cons, q, k, e);
    size_t n = (size_t)t->v->questions;
    if (!c && (kd_grow((void **)&t->v->prompt, &t->cap_p, n + 1, sizeof *t->v->prompt) ||
               kd_grow((void **)&t->v->mean, &t->cap_m, n + 1, sizeof *t->v->mean)))
        c = kd_fail(e, KD_ENOMEM, "eval: out of memory");
    if (!c) {
        double m = (double)right / k;
        t->v->prompt[n] = q->prompt, t->v->mean[n] = (float)m;
        t->v->questions++;
        t->sum += m, t->square += m * m, t->passk += right > 0, t->consk += cons;
    }
    forget(q);
    return c;
}

/* The verdict on a program, as its label has it; unknown where it has none. */
static kd_code code_verdict(kd_judgement *j, const kd_row *row, kd_err *e) {
    kd_json *doc = NULL;
    kd_code c = kd_json_parse(&doc, row->labels.data, row->labels.len, "labels", e);
    const kd_str v = kd_json_string(kd_json_get(kd_json_root(doc), "code"));
    j->verdict = kd_str_is(v, "right") ? KD_RIGHT : kd_str_is(v, "wrong") ? KD_WRONG : KD_UNKNOWN;
    kd_json_free(doc);
    return c;
}

static kd_code add_answer(tally *t, question *q, const kd_row *row, int k, kd_err *e) {
    kd_judgement j = {0};
    kd_code c = KD_OK;
    if (q->n >= (size_t)k) /* more samples than asked for: the first k count */
        return KD_OK;
    if (kd_grow((void **)&q->at, &q->cap, q->n + 1, sizeof *q->at)) return kd_fail(e, KD_ENOMEM, "eval: out of memory");
    const bool code = kd_str_is(row->task, "code");
    if (row->gold.data) c = code ? code_verdict(&j, row, e) : kd_label_math(&j, row->answer, row->gold, e);
    kd_str final = code ? (kd_str){NULL, 0} : kd_math_final(row->answer, NULL); /* programs have no votes */
    q->at[q->n] = (vote){.final = final.data ? kd_strndup(final.data, final.len) : NULL, .verdict = j.verdict};
    q->n++;
    *(j.verdict == KD_RIGHT ? &t->v->right : j.verdict == KD_WRONG ? &t->v->wrong : &t->v->unknown) += row->gold.data != NULL;
    t->v->truncated += kd_str_is(row->finish, "length");
    t->tokens += row->completion_tokens > 0 ? (double)row->completion_tokens : 0, t->answers++;
    return c;
}

static void finish(kd_eval *v, const tally *t) {
    double n = (double)v->questions;
    if (!v->questions) return;
    v->pass1 = t->sum / n, v->passk = t->passk / n, v->consk = t->consk / n;
    v->mean_tokens = t->answers ? t->tokens / (double)t->answers : 0;
    double var = n > 1 ? fmax(0, (t->square - n * v->pass1 * v->pass1) / (n - 1)) : 0, eff = n;
    if (v->k > 1 && var > 0 && v->pass1 > 0 && v->pass1 < 1)
        eff = fmax(n, v->pass1 * (1 - v->pass1) / (var / n)); /* never fewer than the questions themselves */
    kd_wilson(v->pass1, eff, v->ci);
}

kd_code kd_evaluate(kd_eval *out, kd_study *s, int64_t settings, const char *split, uint64_t limit, int k, const char *where, kd_err *e) {
    kd_select *sel = NULL;
    question q = {0};
    tally t = {.v = out};
    uint64_t seen = 0;
    memset(out, 0, sizeof *out);
    out->k = k;
    kd_code c = kd_select_open(&sel, s, &(kd_select_opts){.select = where, .split = split, .settings = settings, .any = !where}, e);
    for (bool more = true; !c && more;) {
        kd_row row;
        if ((c = kd_select_next(sel, &row, &more, e)) || !more) break;
        if (!q.n || row.prompt != q.prompt) {
            c = close_question(&t, &q, k, e);
            if (limit && seen == limit) break;
            q.prompt = row.prompt, q.gold = row.gold.data != NULL, seen++;
        }
        if (!c) c = add_answer(&t, &q, &row, k, e);
    }
    if (!c) c = close_question(&t, &q, k, e);
    forget(&q);
    kd_free(q.at);
    kd_select_close(sel);
    if (c)
        kd_eval_clear(out);
    else
        finish(out, &t);
    return c;
}

/* Two-sided exact binomial(n, 1/2): P of a split at least as uneven as b : n - b. */
static double binomial_p(uint64_t n, uint64_t b) {
    uint64_t low = b < n - b ? b : n - b;
    double p = 0;
    if (!n) return 1;
    for (uint64_t i = 0; i <= low; i++)
        p += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) - (double)n * M_LN2);
    return fmin(1, 2 * p);
}

/* Sign-flip test of the sum of d: how often random signs reach it. */
static double flip_p(const double *d, size_t n, double sum) {
    enum { FLIPS = 20000 };
    kd_rng r = {.key = 20250101, .stream = n};
    size_t hits = 0;
    for (int f = 0; f < FLIPS; f++) {
        double x = 0;
        uint32_t bits = 0;
        for (size_t i = 0; i < n; i++) {
            if (i % 32 == 0) bits = kd_rng_u32(&r);
            x += (bits >> (i % 32) & 1) ? d[i] : -d[i];
        }
        hits += fabs(x) >= fabs(sum) - 1e-9;
    }
    return ((double)hits + 1) / (FLIPS + 1);
}

void kd_eval_compare(kd_paired *out, const kd_eval *a, const kd_eval *b) {
    memset(out, 0, sizeof *out);
    double *d = kd_malloc((size_t)(a->questions + 1) * sizeof *d), sum = 0, square = 0;
    size_t n = 0, j = 0;
    out->p = 1;
    for (size_t i = 0; d && i < a->questions; i++) {
        while (j < b->questions && b->prompt[j] < a->prompt[i]) j++;
        if (j == b->questions || b->prompt[j] != a->prompt[i]) continue;
        double x = (double)b->mean[j] - (double)a->mean[i];
        out->better += x > 1e-9, out->worse += x < -1e-9;
        sum += x, square += x * x;
        d[n++] = x;
    }
    out->questions = n;
    if (n) {
        double mean = sum / (double)n, sd = n > 1 ? sqrt(fmax(0, (square - (double)n * mean * mean) / (double)(n - 1))) : 0;
        double half = 1.959963984540054 * sd / sqrt((double)n);
        out->difference = mean;
        out->ci[0] = fmax(-1, mean - half), out->ci[1] = fmin(1, mean + half);
        out->p = a->k == 1 && b->k == 1 ? binomial_p(out->better + out->worse, out->better) : flip_p(d, n, sum);
    }
    kd_free(d);
}
