/* distill/engine/answer.c - a sequence takes its next token: text as far as it is certain, stop strings across token borders, ends, loop. */
#include "distill/base/clock.h"
#include "distill/engine/engine_seq.h"

#include <string.h>

void seq_free(seq *s) {
    if (!s) return;
    form_leave(s);
    kd_kv_free(s->kv);
    kd_ids_clear(&s->ids);
    kd_detokenizer_free(s->detok);
    kd_buf_clear(&s->text);
    kd_free(s->logprobs);
    kd_free(s->top);
    kd_arena_clear(&s->arena);
    kd_free(s);
}

/* The first place in text, from `from` on, where a stop string begins; SIZE_MAX if none. */
static size_t find_stop(const seq *s, size_t from) {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < s->r.stops; i++) {
        const char *at = memmem(s->text.data + from, s->text.len - from, s->r.stop[i], strlen(s->r.stop[i]));
        if (at && (size_t)(at - s->text.data) < best) best = (size_t)(at - s->text.data);
    }
    return best;
}

/* How many bytes at the end of text may be the beginning of a stop string. */
static size_t held_back(const seq *s) {
    size_t most = s->longest_stop ? s->longest_stop - 1 : 0, unsent = s->text.len - s->sent;
    for (size_t n = most < unsent ? most : unsent; n > 0; n--)
        for (size_t i = 0; i < s->r.stops; i++)
            if (strlen(s->r.stop[i]) > n && memcmp(s->text.data + s->text.len - n, s->r.stop[i], n) == 0) return n;
    return 0;
}

static void send(seq *s, const draw *d, size_t upto) {
    kd_piece p = {.id = d ? d->id : -1, .text = s->text.data ? s->text.data + s->sent : "", .len = upto - s->sent};
    if (d) p.logprob = d->logprob, p.top = d->top, p.top_k = s->r.top_logprobs;
    if (s->r.on_token && (d || p.len)) s->r.on_token(s->r.user, &p);
    s->sent = upto;
}

/* New text behind `was`: true if a stop string is in it; then text ends before it. */
static bool stopped(seq *s, size_t was) {
    if (!s->r.stops || s->text.len == was) return false;
    size_t at = find_stop(s, was < s->longest_stop ? 0 : was - s->longest_stop + 1);
    if (at == SIZE_MAX) return false;
    s->text.len = at;
    s->text.data[at] = '\0';
    return true;
}

static bool ends(const kd_engine *en, const seq *s, int32_t id) {
    for (size_t i = 0; i < s->r.stop_tokens_n; i++)
        if (s->r.stop_tokens[i] == id) return true;
    return en->tok && !s->r.ignore_eog && kd_tokenizer_is_eog(en->tok, id);
}

static kd_code keep_probs(seq *s, const draw *d) {
    size_t t = s->ids.n - s->r.prompt_n, k = s->r.top_logprobs;
    if (s->r.logprobs || k) {
        if (kd_grow((void **)&s->logprobs, &s->logprobs_cap, t, sizeof *s->logprobs) != KD_OK) return KD_ENOMEM;
        s->logprobs[t - 1] = d->logprob;
    }
    if (k) {
        if (kd_grow((void **)&s->top, &s->top_cap, t * k, sizeof *s->top) != KD_OK) return KD_ENOMEM;
        memcpy(s->top + (t - 1) * k, d->top, k * sizeof *s->top);
    }
    return KD_OK;
}

kd_code answer_push(kd_engine *en, seq *s, const draw *d, bool *done, kd_finish *finish, kd_err *e) {
    size_t was = s->text.len;
    bool over = false;
    *done = false;
    if (d->id < 0 && d->held) { /* min_tokens forbids the end, or a stop token is all that the form leaves: the form cannot go on */
        *done = true, *finish = d->may_end ? KD_FINISH_STOP : KD_FINISH_LENGTH;
        return KD_OK;
    }
    if (d->id < 0)
        return kd_fail(e, KD_EFORMAT, "%s: token %zu of request %llu has no finite logit to draw from",
                       en->model->path ? en->model->path : "model", s->ids.n - s->r.prompt_n, (unsigned long long)s->id);
    if (kd_ids_push(&s->ids, d->id) != KD_OK || keep_probs(s, d) != KD_OK)
        return kd_fail(e, KD_ENOMEM, "no memory for an answer of %zu tokens", s->ids.n);
    size_t t = s->ids.n - s->r.prompt_n;
    if (t == 1) s->t_first = (int64_t)kd_now_ns();
    bool end = ends(en, s, d->id);
    kd_code c = KD_OK;
    if (s->detok && !end) c = kd_detokenizer_push(s->detok, d->id, &s->text, e);
    if (c != KD_OK) return c;
    thought_push(en, s);
    if ((c = form_push(en, s, d->id, was, &over, e)) == KD_ELIMIT) {
        kd_err_clear(e);
        c = KD_OK, over = true, s->form_at = KD_GRAMMAR_DEAD; /* the form has grown past its bounds: this answer alone is cut */
    }
    if (c != KD_OK) return c;
    if (over && s->form_at == KD_GRAMMAR_DEAD) {
        *done = true, *finish = KD_FINISH_LENGTH;
    } else if (over || end || stopped(s, was)) {
        *done = true, *finish = KD_FINISH_STOP;
    } else if (s->ids.n >= s->limit) {
        *done = true, *finish = KD_FINISH_LENGTH;
    } else if (!s->r.no_loop_guard && kd_loop_push(&s->loop, s->ids.id + s->r.prompt_n, t)) {
        *done = true, *finish = KD_FINISH_LOOP;
    }
    if (*done && s->detok && (over || end || *finish != KD_FINISH_STOP)) {
        was = s->text.len;
        c = kd_detokenizer_end(s->detok, &s->text, e); /* the rest of a broken character, made whole */
        if (c != KD_OK) return c;
        if (stopped(s, was)) *finish = KD_FINISH_STOP;
    }
    send(s, d, *done ? s->text.len : s->text.len - held_back(s));
    return KD_OK;
}

void answer_end(kd_engine *en, seq *s, kd_finish finish) {
    int64_t now = (int64_t)kd_now_ns();
    size_t n = s->ids.n - s->r.prompt_n;
    (void)en;
    send(s, NULL, s->text.len);
    kd_result r = {.id = s->id,
                   .finish = finish,
                   .tokens = s->ids.id + s->r.prompt_n,
                   .n = n,
                   .text = s->text.data ? s->text.data : "",
                   .text_len = s->text.len,
                   .logprobs = s->logprobs,
                   .top = s->top,
                   .top_k = s->r.top_logprobs,
                   .prompt_tokens = s->r.prompt_n,
                   .shared_tokens = s->shared,
                   .thought_tokens = s->thought == THOUGHT_MAYBE ? 0 : s->thought_tokens,
                   .queued_ns = (s->admitted ? s->t_admit : now) - s->t_submit,
                   .prompt_ns = n ? s->t_first - s->t_admit : 0,
                   .generate_ns = n ? now - s->t_first : 0};
    if (s->r.on_done) s->r.on_done(s->r.user, &r);
    seq_free(s);
}
