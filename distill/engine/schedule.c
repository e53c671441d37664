/* distill/engine/schedule.c - one step: who joins, which rows go through the model, who gives way when memory is short, what was drawn.
 * The oldest sequence always moves: younger ones give their pages back and are computed again, with the same result (forward.h). */
#include "distill/base/clock.h"
#include "distill/engine/engine_seq.h"

#include <string.h>

static void sweep_cancelled(kd_engine *en) {
    for (int k = 0; k < 2; k++) {
        seq_list *l = k ? &en->running : &en->waiting;
        for (size_t i = 0; i < l->n;) {
            seq *s = l->v[i];
            if (!s->cancelled) {
                i++;
                continue;
            }
            seq_list_remove(l, i);
            if (s->kv && s->r.keep_answer) prefix_keep(en, s); /* the talk goes on */
            answer_end(en, s, KD_FINISH_CANCELLED);
        }
    }
}

/* True when s, of whom `shared` positions are there, fits beside those running, each of which may want a page soon. */
static bool fits(kd_engine *en, const seq *s, size_t shared) {
    size_t need = s->ids.n / PAGE_ROWS + 1 - shared / PAGE_ROWS + en->running.n;
    while (kd_kv_pages_left(en->kv_pool) < need)
        if (!prefix_evict(en)) return en->running.n == 0; /* alone, it fits: its limit was cut to that */
    return true;
}

static kd_code admit(kd_engine *en, kd_err *e) {
    for (size_t i = 0; i < en->waiting.n && en->running.n < en->o.sequences;) {
        seq *s = en->waiting.v[i];
        kd_kv *kv;
        size_t shared;
        bool wait;
        kd_code c = prefix_take(en, s->ids.id, s->ids.n, &kv, &shared, &wait, e);
        if (c != KD_OK) return c;
        if (wait) { /* others may pass: what they give does not depend on it */
            i++;
            continue;
        }
        if (!fits(en, s, shared)) {
            kd_kv_free(kv);
            return KD_OK;
        }
        if (!kv && (c = kd_kv_new(&kv, en->kv_pool, e)) != KD_OK) return c;
        if (kd_grow((void **)&en->running.v, &en->running.cap, en->running.n + 1, sizeof(seq *)) != KD_OK) {
            kd_kv_free(kv);
            return kd_fail(e, KD_ENOMEM, "no memory for %zu sequences", en->running.n + 1);
        }
        s->kv = kv;
        if (!s->admitted) {
            s->admitted = true, s->shared = shared, s->t_admit = (int64_t)kd_now_ns();
            en->stats.prompt_tokens += s->r.prompt_n;
            en->stats.shared_tokens += shared;
        }
        seq_list_remove(&en->waiting, i);
        en->running.v[en->running.n++] = s;
    }
    return KD_OK;
}

/* The youngest gives its pages back and waits, first in line. */
static kd_code preempt(kd_engine *en, kd_err *e) {
    if (kd_grow((void **)&en->waiting.v, &en->waiting.cap, en->waiting.n + 1, sizeof(seq *)) != KD_OK)
        return kd_fail(e, KD_ENOMEM, "no memory for %zu waiting requests", en->waiting.n + 1);
    seq *s = en->running.v[--en->running.n];
    kd_kv_free(s->kv);
    s->kv = NULL;
    memmove(en->waiting.v + 1, en->waiting.v, en->waiting.n++ * sizeof(seq *));
    en->waiting.v[0] = s;
    en->stats.preemptions++;
    return KD_OK;
}

/* Room for `rows` more positions of running[i]: kept prefixes go first, then, if may_preempt, younger sequences. *ok: there is room. */
static kd_code make_room(kd_engine *en, size_t i, size_t rows, bool may_preempt, bool *ok, kd_err *e) {
    seq *s = en->running.v[i];
    for (;;) {
        kd_code c = kd_kv_reserve(s->kv, kd_kv_len(s->kv) + rows, e);
        *ok = c == KD_OK;
        if (c != KD_ELIMIT) return c;
        kd_err_clear(e);
        if (prefix_evict(en)) continue;
        if (!may_preempt || i + 1 == en->running.n) return KD_OK;
        if ((c = preempt(en, e)) != KD_OK) return c;
    }
}

static bool decoding(const seq *s) { return kd_kv_len(s->kv) + 1 == s->ids.n && s->ids.n > s->r.prompt_n; }

/* Rows of s from where its keys and values end; with the last of its tokens come its guesses, and logits of all these. */
static void put(kd_engine *en, kd_batch *b, seq *s, size_t rows) {
    size_t len = kd_kv_len(s->kv), draws = len + rows == s->ids.n ? 1 + s->ndraft : 0;
    if (draws) rows += s->ndraft;
    memcpy(en->tokens + b->n, s->ids.id + len, rows * sizeof *en->tokens);
    en->batch[b->nseq++] = (kd_batch_seq){s->kv, rows};
    b->n += rows;
    for (size_t j = 0; j < draws; j++) {
        draw *d = &en->draws[b->nwant];
        d->s = s, d->ahead = j;
        d->logits = en->logits + b->nwant * en->V;
        en->want[b->nwant++] = b->n - draws + j;
    }
}

/* Guesses for s, as far as there is room for their keys and values. */
static kd_code guess(kd_engine *en, size_t i, size_t taken, kd_err *e) {
    seq *s = en->running.v[i];
    bool ok = true;
    size_t others = en->running.n - 1 - i;
    s->ndraft = 0;
    if (!en->o.draft || en->running.n > DRAFT_SEQS) return KD_OK;
    draft_propose(en, s, taken + others, en->max_draws - taken - others - 1);
    kd_code c = s->ndraft ? make_room(en, i, 1 + s->ndraft, false, &ok, e) : KD_OK;
    if (!ok) s->ndraft = 0;
    return c;
}

/* Rows of this step: one of every sequence that generates, then pieces of prompts in order of admission. */
static kd_code assemble(kd_engine *en, kd_batch *b, kd_err *e) {
    bool ok;
    kd_code c;
    *b = (kd_batch){.tokens = en->tokens, .seqs = en->batch, .want = en->want};
    for (size_t i = 0; i < en->running.n; i++) {
        if (!decoding(en->running.v[i])) continue;
        if ((c = make_room(en, i, 1, true, &ok, e)) != KD_OK) return c;
        if (ok && (c = guess(en, i, b->nwant, e)) != KD_OK) return c;
        if (ok)
            put(en, b, en->running.v[i], 1);
        else { /* the youngest of all, and no room: it gives way itself */
            if ((c = preempt(en, e)) != KD_OK) return c;
        }
    }
    for (size_t i = 0; i < en->running.n && b->n < en->o.rows; i++) {
        seq *s = en->running.v[i];
        if (decoding(s)) continue;
        size_t rows = s->ids.n - kd_kv_len(s->kv);
        if (rows > en->o.rows - b->n) rows = en->o.rows - b->n;
        if ((c = make_room(en, i, rows, b->n == 0, &ok, e)) != KD_OK) return c;
        if (ok) put(en, b, s, rows);
    }
    return KD_OK;
}

/* A sequence that has ended leaves. */
static void leave(kd_engine *en, seq *s, kd_finish finish) {
    for (size_t i = 0; i < en->running.n; i++)
        if (en->running.v[i] == s) {
            seq_list_remove(&en->running, i);
            break;
        }
    prefix_keep(en, s);
    draft_keep(en, s);
    answer_end(en, s, finish);
}

/* The draws of one sequence, d[0..n): each stands as long as the guess before it was what the model drew. */
static kd_code accept(kd_engine *en, draw *d, size_t n, kd_err *e) {
    seq *s = d[0].s;
    bool done = false;
    kd_finish finish = KD_FINISH_STOP;
    size_t taken = 0;
    if (s->cancelled) return KD_OK;
    for (; taken < n && !done; taken++) {
        int32_t guessed = taken + 1 < n ? s->ids.id[s->ids.n] : -1; /* before the push writes there */
        kd_code c = answer_push(en, s, &d[taken], &done, &finish, e);
        if (c != KD_OK) return c;
        en->stats.generated_tokens++;
        if (guessed != d[taken].id) {
            taken++;
            break;
        }
    }
    if (n > 1) {
        draft_learn(en, s, done ? taken - 1 : n - 1, taken - 1);
        kd_kv_truncate(s->kv, s->ids.n - 1);
    }
    s->ndraft = 0;
    if (done) leave(en, s, finish);
    return KD_OK;
}

static kd_code accept_all(kd_engine *en, size_t n, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t k = 0, m; k < n && c == KD_OK; k += m) {
        for (m = 1; k + m < n && en->draws[k + m].ahead; m++)
            ;
        c = accept(en, &en->draws[k], m, e);
    }
    return c;
}

kd_code kd_engine_step(kd_engine *en, size_t *left, kd_err *e) {
    kd_batch b;
    const uint64_t start = kd_now_ns();
    sweep_cancelled(en);
    kd_code c = admit(en, e);
    if (c == KD_OK && (c = assemble(en, &b, e)) == KD_OK && b.n) {
        en->stats.steps++;
        int64_t began = (int64_t)kd_now_ns();
        if ((c = kd_forward_run(en->forward, &b, en->logits, e)) == KD_OK && (c = form_masks(en, b.nwant, e)) == KD_OK) {
            const uint64_t drawn = kd_now_ns();
            draw_all_rows(en, b.nwant);
            en->stats.draw_ns += kd_now_ns() - drawn;
            if (b.nwant == b.n) draft_timed(en, b.n, (int64_t)kd_now_ns() - began);
            c = accept_all(en, b.nwant, e);
        }
    }
    en->stats.step_ns += kd_now_ns() - start;
    *left = en->waiting.n + en->running.n;
    return c;
}

kd_code kd_engine_run(kd_engine *en, const kd_watch *watch, kd_err *e) {
    size_t left = 1;
    kd_code c = KD_OK;
    while (c == KD_OK && left && (c = (kd_code)kd_stopping(watch)) == KD_OK) c = kd_engine_step(en, &left, e);
    return c;
}
