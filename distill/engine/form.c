/* distill/engine/form.c - an answer is held to its form: before each draw, tokens that would break it are taken out, and those that end the answer unless it
 * may end. The form begins behind the thought, if there is one: the prompt's own, or one that the answer opens with a "<think>" of one token. */
#include "distill/engine/engine_seq.h"

#include <math.h>
#include <string.h>

kd_code form_begin(kd_engine *en, seq *s, kd_err *e) {
    kd_code c = KD_OK;
    if (!s->r.grammar) return KD_OK;
    if (!en->tok) return kd_fail(e, KD_EINVAL, "a form needs a tokenizer");
    if (!en->trie) {
        c = kd_token_trie_new(&en->trie, en->tok, en->V, e);
        en->think_token = kd_tokenizer_find(en->tok, KD_STR("<think>"));
        if (en->think_token >= 0 && ((size_t)en->think_token >= en->V || kd_tokenizer_token(en->tok, en->think_token).special))
            en->think_token = -1;
    }
    if (c) return c;
    kd_grammar_enter(s->r.grammar);
    s->form = s->r.thought_opened ? FORM_WAITS : FORM_HOLDS;
    s->form_at = kd_grammar_start(s->r.grammar, false);
    return KD_OK;
}

void form_leave(seq *s) {
    if (s->form != FORM_NONE) kd_grammar_leave(s->r.grammar);
    s->form = FORM_NONE;
}

/* The state behind one token more. */
static kd_code take(const kd_engine *en, const seq *s, size_t t, int32_t id, kd_grammar_state *at, kd_err *e) {
    kd_buf b = {0};
    (void)t;
    kd_code c = kd_tokenizer_piece(en->tok, id, &b, e);
    bool drop = t == 0 && b.len && b.data[0] == ' ' && kd_token_trie_strips(en->trie);
    if (!c) c = kd_grammar_step(s->r.grammar, *at, b.data ? b.data + drop : "", b.len - drop, at, e);
    kd_buf_clear(&b);
    return c;
}

static bool ends(const kd_engine *en, const seq *s, int32_t id) {
    for (size_t i = 0; i < s->r.stop_tokens_n; i++)
        if (s->r.stop_tokens[i] == id) return true;
    return kd_tokenizer_is_eog(en->tok, id);
}

static kd_code mask(kd_engine *en, draw *d, kd_grammar_state at, size_t t, kd_err *e) {
    seq *s = d->s;
    size_t words = (en->V + 63) / 64;
    if (!d->allowed && !(d->allowed = kd_malloc(words * sizeof *d->allowed))) return kd_fail(e, KD_ENOMEM, "no memory for a form's mask");
    kd_code c = kd_grammar_mask(s->r.grammar, en->trie, at, t == 0, d->allowed, e);
    if (c) return c;
    d->may_end = kd_grammar_accepts(s->r.grammar, at);
    if (t == 0 && en->think_token >= 0) d->allowed[en->think_token / 64] |= (uint64_t)1 << (en->think_token % 64);
    const kd_specials *sp = kd_tokenizer_specials(en->tok);
    for (size_t i = 0; i < sp->eogs && d->may_end; i++)
        if (sp->eog[i] >= 0 && (size_t)sp->eog[i] < en->V) d->allowed[sp->eog[i] / 64] |= (uint64_t)1 << (sp->eog[i] % 64);
    for (size_t i = 0; i < s->r.stop_tokens_n && d->may_end; i++)
        d->allowed[s->r.stop_tokens[i] / 64] |= (uint64_t)1 << (s->r.stop_tokens[i] % 64);
    return KD_OK;
}

static kd_code nothing(const kd_engine *en, draw *d, kd_err *e) {
    size_t words = (en->V + 63) / 64;
    if (!d->allowed && !(d->allowed = kd_malloc(words * sizeof *d->allowed))) return kd_fail(e, KD_ENOMEM, "no memory for a form's mask");
    memset(d->allowed, 0, words * sizeof *d->allowed);
    d->may_end = false;
    return KD_OK;
}

kd_code form_masks(kd_engine *en, size_t n, kd_err *e) {
    kd_grammar_state at = KD_GRAMMAR_DEAD;
    kd_code c = KD_OK;
    for (size_t i = 0; i < n && !c; i++) {
        draw *d = &en->draws[i];
        seq *s = d->s;
        size_t t = s->ids.n - s->r.prompt_n + d->ahead;
        d->held = s->form == FORM_HOLDS;
        if (!d->held) continue;
        if (!d->ahead)
            at = s->form_at;
        else
            c = take(en, s, t - 1, s->ids.id[s->ids.n + d->ahead - 1], &at, e);
        if (!c) c = mask(en, d, at, t, e);
        if (c == KD_ELIMIT) { /* the form has grown past its bounds: this answer alone is cut */
            kd_err_clear(e);
            c = nothing(en, d, e);
        }
    }
    return c;
}

kd_code form_push(kd_engine *en, seq *s, int32_t id, size_t was, bool *over, kd_err *e) {
    size_t t = s->ids.n - 1 - s->r.prompt_n; /* the token is among ids already */
    kd_code c = KD_OK;
    *over = false;
    if (s->form == FORM_NONE || ends(en, s, id)) return KD_OK;
    if (s->form == FORM_HOLDS && t == 0 && id == en->think_token) {
        s->form = FORM_WAITS;
    } else if (s->form == FORM_WAITS && s->thought == THOUGHT_DONE) {
        s->form = FORM_HOLDS; /* what stands behind the closing tag in the same token is the answer's */
        s->form_at = kd_grammar_start(s->r.grammar, true);
        size_t from = s->thought_from > was && s->thought_from <= s->text.len ? s->thought_from : s->text.len;
        kd_grammar_state at = s->form_at;
        c = kd_grammar_step(s->r.grammar, at, s->text.data + from, s->text.len - from, &at, e);
        if (at != KD_GRAMMAR_DEAD) s->form_at = at;
    } else if (s->form == FORM_HOLDS && s->forced) {
        s->form_at = kd_grammar_start(s->r.grammar, true); /* the empty line behind a forced tag */
    } else if (s->form == FORM_HOLDS) {
        c = take(en, s, t, id, &s->form_at, e);
        *over = !c && (s->form_at == KD_GRAMMAR_DEAD || kd_grammar_ends(s->r.grammar, s->form_at));
    }
    return c;
}

size_t form_cut(kd_engine *en, seq *s, const int32_t *guesses, size_t n) {
    size_t t = s->ids.n - s->r.prompt_n, k = 0;
    kd_grammar_state at = s->form_at;
    if (s->form == FORM_NONE) return n;
    if (s->form == FORM_WAITS || (t == 0 && en->think_token >= 0)) return 0;
    for (; k < n; k++) {
        if (ends(en, s, guesses[k]) || take(en, s, t + k, guesses[k], &at, NULL) || at == KD_GRAMMAR_DEAD ||
            kd_grammar_ends(s->r.grammar, at))
            break;
    }
    return k;
}
