/* convert/weigh.c - which matrix of the output is searched with which importance, and what is said of those that have none. Leans on plan.h. */
#include "convert/plan.h"

#include "distill/math/quant.h"

#include <stdio.h>
#include <string.h>

/* The entry that speaks of an item: by its own name; an embedding that is the head too is read as the head. */
static const char *entry_of(const kd_plan *p, const kd_importance *im, const kd_item *it, char s[96]) {
    kd_name_gguf(s, it->role, it->layer);
    if (it->role == KD_EMBED && p->config.tied && !kd_importance_find(im, s)) kd_name_gguf(s, KD_HEAD, 0);
    return s;
}

static kd_code weigh(kd_plan *p, kd_item *it, const kd_importance *im, kd_err *e) {
    char name[96];
    kd_code c = KD_OK;
    if (it->ndim < 2 || it->role >= KD_ROLES || !kd_quant_searches((int)it->type)) return KD_OK;
    if (it->from && it->from->type == it->type && !it->lora && !it->embed) return KD_OK; /* copied */
    if (it->role == KD_EMBED && !p->config.tied) return KD_OK; /* looked up, never multiplied: every column counts alike */
    if (!(it->importance = kd_arena_alloc(&p->arena, it->mats * sizeof *it->importance)))
        return kd_fail(e, KD_ENOMEM, "%s: no memory for its importance", p->source.path);
    entry_of(p, im, it, name);
    size_t found = 0;
    for (size_t k = 0; k < it->mats && !c; k++) {
        c = kd_importance_of(&it->importance[k], im, name, it->cols, it->mats, k, e);
        found += it->importance[k] != NULL;
    }
    it->without = it->mats - found;
    if (it->without)
        p->result.unweighted++;
    else
        p->result.weighted++;
    return c;
}

kd_code kd_plan_weigh(kd_plan *p, const kd_importance *im, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < p->n && !c; i++) c = weigh(p, &p->v[i], im, e);
    if (!c && !p->result.weighted && p->result.unweighted)
        c = kd_fail(e, KD_EFORMAT, "the importance given is of another model: none of its entries is of a tensor of %s", p->source.path);
    return c;
}

/* One line a tensor, for the first of them. */
void kd_plan_warn_unweighted(const kd_plan *p, const kd_watch *watch) {
    enum { SHOWN = 8, EXPERTS = 6 };
    size_t said = 0;
    for (size_t i = 0; i < p->n; i++) {
        const kd_item *it = &p->v[i];
        char s[256];
        if (!it->without) continue;
        if (++said > SHOWN) continue;
        int n = snprintf(s, sizeof s, "tensor %s: no importance", it->name);
        if (it->mats > 1) n += snprintf(s + n, sizeof s - (size_t)n, " for %zu of its %zu experts (", it->without, it->mats);
        size_t named = 0;
        for (size_t k = 0; it->mats > 1 && k < it->mats && named < EXPERTS; k++)
            if (!it->importance[k]) n += snprintf(s + n, sizeof s - (size_t)n, "%s%zu", named++ ? ", " : "", k);
        if (it->mats > 1) n += snprintf(s + n, sizeof s - (size_t)n, "%s)", it->without > EXPERTS ? " ..." : "");
        (void)snprintf(s + n, sizeof s - (size_t)n, ": searched with all columns alike");
        kd_emit(watch, (kd_event){.kind = KD_EV_WARN, .stage = "convert", .text = s});
    }
    if (said > SHOWN) {
        char s[80];
        snprintf(s, sizeof s, "%zu more tensors have no importance, or not for every expert", said - SHOWN);
        kd_emit(watch, (kd_event){.kind = KD_EV_WARN, .stage = "convert", .text = s});
    }
}
