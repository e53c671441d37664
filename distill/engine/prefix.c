/* distill/engine/prefix.c - beginnings that prompts share: found by comparing tokens with every running sequence and with the prompts kept of
 * finished ones. Keys and values of a row depend on the tokens up to it alone (forward.h), so taking them over changes no bit. */
#include "distill/engine/engine_seq.h"

#include <string.h>

static size_t common(const int32_t *a, size_t n, const kd_ids *b) {
    size_t i = 0, end = n < b->n ? n : b->n;
    while (i < end && a[i] == b->id[i]) i++;
    return i;
}

void seq_list_remove(seq_list *l, size_t i) {
    memmove(l->v + i, l->v + i + 1, (l->n - i - 1) * sizeof *l->v);
    l->n--;
}

kd_code prefix_take(kd_engine *en, const int32_t *ids, size_t n, kd_kv **kv, size_t *len, bool *wait, kd_err *e) {
    const kd_kv *best = NULL;
    size_t computed = SHARE_LEAST - 1, coming = 0;
    prefix *hit = NULL;
    *kv = NULL, *len = 0, *wait = false;
    if (en->o.no_share) return KD_OK;
    for (size_t i = 0; i < en->running.n; i++) {
        const seq *s = en->running.v[i];
        size_t same = common(ids, n - 1, &s->ids), have = kd_kv_len(s->kv);
        if (same > coming) coming = same;
        if (same > have) same = have;
        if (same > computed) computed = same, best = s->kv;
    }
    for (size_t i = 0; i < en->nprefix; i++) {
        size_t same = common(ids, n - 1, &en->prefixes[i].ids);
        if (same > computed) computed = same, best = en->prefixes[i].kv, hit = &en->prefixes[i];
    }
    if (coming > computed && coming >= SHARE_LEAST && coming - computed >= SHARE_LEAST) {
        *wait = true;
        return KD_OK;
    }
    if (!best) return KD_OK;
    if (hit) hit->used = en->stats.steps;
    kd_code c = kd_kv_fork(kv, best, computed, e);
    if (c == KD_OK) *len = computed;
    return c;
}

static void drop(kd_engine *en, size_t i) {
    kd_kv_free(en->prefixes[i].kv);
    kd_ids_clear(&en->prefixes[i].ids);
    en->prefixes[i] = en->prefixes[--en->nprefix];
}

bool prefix_evict(kd_engine *en) {
    size_t oldest = 0;
    if (!en->nprefix) return false;
    for (size_t i = 1; i < en->nprefix; i++)
        if (en->prefixes[i].used < en->prefixes[oldest].used) oldest = i;
    drop(en, oldest);
    return true;
}

void prefix_keep(kd_engine *en, seq *s) {
    kd_kv *kv = s->kv;
    size_t n = s->r.keep_answer ? s->ids.n : s->r.prompt_n;
    s->kv = NULL;
    if (!kv) return;
    if (n > kd_kv_len(kv)) n = kd_kv_len(kv);
    bool known = en->o.no_share || n < SHARE_LEAST;
    for (size_t i = 0; !known && i < en->running.n; i++) known = common(s->ids.id, n, &en->running.v[i]->ids) == n;
    for (size_t i = 0; !known && i < en->nprefix; i++) known = common(s->ids.id, n, &en->prefixes[i].ids) == n;
    kd_ids ids = {kd_malloc(n * sizeof *ids.id), n, n};
    if (known || !ids.id) { /* without memory nothing is kept: nothing but time is lost */
        kd_free(ids.id);
        kd_kv_free(kv);
        return;
    }
    memcpy(ids.id, s->ids.id, n * sizeof *ids.id);
    kd_kv_truncate(kv, n);
    for (size_t i = 0; i < en->nprefix;) /* what this one contains need not be kept twice */
        if (common(en->prefixes[i].ids.id, en->prefixes[i].ids.n, &ids) == en->prefixes[i].ids.n)
            drop(en, i);
        else
            i++;
    if (en->nprefix == en->o.sequences + PREFIXES) prefix_evict(en);
    en->prefixes[en->nprefix++] = (prefix){ids, kv, en->stats.steps};
}
