/* distill/engine/draft.c - guessing ahead: where the end of a sequence occurred before (in its prompt, its answer, or another answer to the same
 * prompt), what followed there is put behind it, and one forward pass draws at all these places. A guess stands if it is what is drawn there, so no
 * answer changes; only how many a step gives. How many to guess is a matter of what they cost and how often they are right: both are measured as
 * they come. (Prompt lookup: Saxena 2023; a verified draft: Leviathan et al. 2023, arXiv:2211.17192, here with the draw itself as the test.) */
#include "distill/base/hash.h"
#include "distill/engine/engine_seq.h"

#include <string.h>

enum { LEAST_MATCH = 2, MOST_MATCH = DRAFT_BINS - 1, LOOK_BACK = 32768, PAST_TOKENS = 16384, EXPLORE = 24 };

typedef struct {
    const int32_t *next; /* what followed */
    size_t n, match;
} found;

/* The longest match, the latest among equals, of the end of have [n] with a place in text [m] that something follows. */
static void look(found *best, const int32_t *have, size_t n, const int32_t *text, size_t m) {
    int32_t last = have[n - 1];
    size_t from = m > LOOK_BACK ? m - LOOK_BACK : 0;
    for (size_t i = m; i-- > from + 1;) { /* text[i] would come next */
        if (text[i - 1] != last) continue;
        size_t k = 1;
        while (k < MOST_MATCH && k < n && k < i && text[i - 1 - k] == have[n - 1 - k]) k++;
        if (k > best->match) *best = (found){text + i, m - i, k};
        if (k == MOST_MATCH) return;
    }
}

static bool same_prompt(const seq *a, const seq *b) {
    return a->r.prompt_n == b->r.prompt_n && !memcmp(a->ids.id, b->ids.id, a->r.prompt_n * sizeof *a->ids.id);
}

static uint64_t prompt_hash(const seq *s) { return kd_hash64(s->ids.id, s->r.prompt_n * sizeof *s->ids.id, s->r.prompt_n); }

static found find(const kd_engine *en, const seq *s) {
    found best = {.match = LEAST_MATCH - 1};
    look(&best, s->ids.id, s->ids.n, s->ids.id, s->ids.n);
    for (size_t i = 0; i < en->running.n; i++) {
        const seq *o = en->running.v[i];
        if (o != s && same_prompt(s, o)) look(&best, s->ids.id, s->ids.n, o->ids.id + o->r.prompt_n, o->ids.n - o->r.prompt_n);
    }
    uint64_t h = prompt_hash(s);
    for (size_t i = 0; i < DRAFT_HISTORY; i++)
        if (en->drafting.past[i].prompt == h && en->drafting.past[i].ids.n)
            look(&best, s->ids.id, s->ids.n, en->drafting.past[i].ids.id, en->drafting.past[i].ids.n);
    return best;
}

/* What a step of so many rows takes, in units of its fixed part, as a line through the steps so far; until they differ, a row more costs a fifth. */
static double slope(const drafting *d) {
    double det = d->w * d->nn - d->n * d->n;
    if (d->w < 1 || det < 1e-3 * d->w * d->w) return 0.2;
    double b = (d->w * d->nns - d->n * d->ns) / det, a = (d->ns - b * d->n) / d->w;
    double per_row = a > 0 ? b / (a + b) : 1;
    return per_row < 0 ? 0 : per_row > 1 ? 1 : per_row;
}

/* How many guesses behind a match of that length give the most tokens a second, beside `others` rows. */
static size_t worth(const drafting *d, size_t match, size_t others, size_t most) {
    double p = d->accept[match], per_row = slope(d), best_rate = 0, tokens = 1, right = 1;
    size_t best = 0;
    for (size_t k = 0; k <= most; k++) {
        double rate = ((double)others + tokens) / (1 + per_row * (double)(others + k));
        if (rate > best_rate * 1.02) best_rate = rate, best = k;
        right *= p;
        tokens += right;
    }
    return best;
}

static void begin(drafting *d) {
    if (d->accept[MOST_MATCH] > 0) return;
    for (size_t m = 0; m < DRAFT_BINS; m++) d->accept[m] = m < 3 ? 0.3 : m < 6 ? 0.5 : 0.7;
}

void draft_propose(kd_engine *en, seq *s, size_t others, size_t room) {
    drafting *d = &en->drafting;
    size_t most = en->o.draft, left = s->limit - s->ids.n; /* tokens still to come: the last needs no guess behind it */
    s->ndraft = 0;
    if (most > room) most = room;
    if (left < 2 || !most) return;
    if (most > left - 1) most = left - 1;
    if (!(most = thought_cut(en, s, most))) return;
    begin(d);
    found f = find(en, s);
    if (f.match < LEAST_MATCH) return;
    size_t k = en->o.draft_always ? most : worth(d, f.match, others, most);
    if (!k && ++d->asked % EXPLORE == 0) k = 2; /* what is switched off is looked at again now and then */
    if (k > f.n) k = f.n;
    if (k > most) k = most;
    size_t at = (size_t)(f.next - s->ids.id); /* the buffer may move */
    bool own = f.next >= s->ids.id && f.next < s->ids.id + s->ids.n;
    if (!k || kd_grow((void **)&s->ids.id, &s->ids.cap, s->ids.n + k, sizeof *s->ids.id) != KD_OK) return;
    memcpy(s->ids.id + s->ids.n, own ? s->ids.id + at : f.next, k * sizeof *s->ids.id);
    s->ndraft = form_cut(en, s, s->ids.id + s->ids.n, k), s->match = f.match;
}

void draft_learn(kd_engine *en, const seq *s, size_t guessed, size_t right) {
    drafting *d = &en->drafting;
    en->stats.drafted_tokens += guessed;
    en->stats.accepted_tokens += right < guessed ? right : guessed;
    double *p = &d->accept[s->match], step = 1.0 / 24;
    for (size_t i = 0; i < right && i < guessed; i++) *p += step * (1 - *p);
    if (right < guessed) *p -= step * *p;
}

void draft_timed(kd_engine *en, size_t rows, int64_t ns) {
    drafting *d = &en->drafting;
    double n = (double)rows, t = (double)ns, keep = 0.98;
    if (!en->o.draft || rows > DRAFT_SEQS * (1 + DRAFT_MOST)) return;
    d->w = keep * d->w + 1;
    d->n = keep * d->n + n, d->ns = keep * d->ns + t;
    d->nn = keep * d->nn + n * n, d->nns = keep * d->nns + n * t;
}

void draft_keep(kd_engine *en, const seq *s) {
    drafting *d = &en->drafting;
    size_t n = s->ids.n - s->r.prompt_n;
    if (!en->o.draft || n < 4) return;
    if (n > PAST_TOKENS) n = PAST_TOKENS;
    int32_t *id = kd_malloc(n * sizeof *id);
    if (!id) return; /* nothing but speed is lost */
    memcpy(id, s->ids.id + s->r.prompt_n, n * sizeof *id);
    size_t at = d->next_past++ % DRAFT_HISTORY;
    kd_ids_clear(&d->past[at].ids);
    d->past[at].prompt = prompt_hash(s);
    d->past[at].ids = (kd_ids){id, n, n};
}

void draft_clear(kd_engine *en) {
    for (size_t i = 0; i < DRAFT_HISTORY; i++) kd_ids_clear(&en->drafting.past[i].ids);
}
