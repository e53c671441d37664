/* distill/engine/grammar_run.c - a form as it is walked: sets of places become states when they are met, their ways by byte class are kept, and the tokens
 * that may come in a state are found once by walking the vocabulary's trie. */
#include "distill/engine/grammar_int.h"

#include <stdlib.h>
#include <string.h>

enum { TABLE = 1 << 16, MOST_PAIRS_A_STATE = 8192, MOST_STATES = 400000, MOST_FRAMES = 1000000, KEEP_STATES = 20000, MOST_WORK = 4000000 };
static const size_t cache_bytes = (size_t)96 << 20;

static size_t mix(uint64_t h) {
    h ^= h >> 31, h *= 0x9e3779b97f4a7c15u, h ^= h >> 29, h *= 0xbf58476d1ce4e5b9u;
    return (size_t)(h ^ h >> 32);
}

static kd_code no_memory(kd_err *e) { return kd_fail(e, KD_ENOMEM, "grammar: out of memory"); }

/* ---- frames ---- */

static kd_code frame_of(kd_grammar *g, uint32_t node, uint32_t under, uint32_t *out, kd_err *e) {
    size_t h = mix((uint64_t)node << 32 | under) % TABLE;
    for (uint32_t f = g->frame_table[h]; f; f = g->frames[f].next_same)
        if (g->frames[f].node == node && g->frames[f].under == under) return *out = f, KD_OK;
    uint32_t depth = g->frames[under].depth + 1;
    *out = G_NONE;
    if (depth > G_MOST_DEPTH) return KD_OK; /* deeper than any reader follows: this way is closed */
    if (g->nframes >= MOST_FRAMES) return kd_fail(e, KD_ELIMIT, "grammar: more than %d nestings met", MOST_FRAMES);
    if (kd_grow((void **)&g->frames, &g->frames_cap, g->nframes + 1, sizeof *g->frames)) return no_memory(e);
    g->frames[g->nframes] = (g_frame){node, under, depth, g->frame_table[h]};
    g->frame_table[h] = *out = (uint32_t)g->nframes++;
    return KD_OK;
}

/* ---- closures: from places to the bytes that may come ---- */

typedef struct {
    size_t n, todo, seen;
    bool accepts;
} closing;

/* False if it was there. */
static bool see(kd_grammar *g, closing *c, uint64_t pair, kd_code *code) {
    if (2 * (c->seen + 1) > g->seen_cap) {
        size_t cap = g->seen_cap ? 2 * g->seen_cap : 256;
        uint64_t *fresh = kd_calloc(cap, sizeof *fresh);
        if (!fresh) {
            *code = KD_ENOMEM;
            return false;
        }
        for (size_t i = 0; i < g->seen_cap; i++)
            if (g->seen[i]) {
                size_t h = mix(g->seen[i]) % cap;
                while (fresh[h]) h = (h + 1) % cap;
                fresh[h] = g->seen[i];
            }
        kd_free(g->seen);
        g->seen = fresh, g->seen_cap = cap;
    }
    size_t h = mix(pair) % g->seen_cap;
    while (g->seen[h] && g->seen[h] != pair) h = (h + 1) % g->seen_cap;
    if (g->seen[h]) return false;
    g->seen[h] = pair;
    c->seen++;
    return true;
}

static kd_code push(kd_grammar *g, closing *c, uint32_t node, uint32_t frame) {
    kd_code code = KD_OK;
    if (!g->nodes[node].live || frame == G_NONE || !see(g, c, (uint64_t)node << 32 | frame, &code)) return code;
    if (c->seen > MOST_PAIRS_A_STATE) return KD_ELIMIT;
    if (kd_grow((void **)&g->todo, &g->todo_cap, c->todo + 1, sizeof *g->todo)) return KD_ENOMEM;
    g->todo[c->todo++] = (uint64_t)node << 32 | frame;
    return KD_OK;
}

/* Follows everything that takes no byte. Places that take one are collected in work. */
static kd_code close_over(kd_grammar *g, closing *c, kd_err *e) {
    kd_code code = KD_OK;
    while (c->todo && !code) {
        if (++g->spent > MOST_WORK) return kd_fail(e, KD_ELIMIT, "grammar: one token takes more than %d steps", MOST_WORK);
        uint64_t p = g->todo[--c->todo];
        uint32_t frame = (uint32_t)p, up;
        const g_node d = g->nodes[p >> 32];
        switch ((g_kind)d.kind) {
        case G_FAIL: break;
        case G_SPLIT:
            code = push(g, c, d.b, frame);
            if (!code) code = push(g, c, d.a, frame);
            break;
        case G_RETURN:
            if (frame == 0)
                c->accepts = true;
            else
                code = push(g, c, g->frames[frame].node, g->frames[frame].under);
            break;
        case G_CALL: /* a call that nothing follows needs no place to return to */
            up = frame;
            if (g->nodes[d.b].kind != G_RETURN) code = frame_of(g, d.b, frame, &up, e);
            if (!code) code = push(g, c, g->rules[d.a], up);
            break;
        case G_BYTES:
            if (kd_grow((void **)&g->work, &g->work_cap, c->n + 1, sizeof *g->work)) code = KD_ENOMEM;
            if (!code) g->work[c->n++] = p;
            break;
        }
    }
    if (code == KD_ENOMEM) return no_memory(e);
    return code && (!e || !e->code) ? kd_fail(e, KD_ELIMIT, "grammar: a state of more than %d places", MOST_PAIRS_A_STATE) : code;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The state of what work holds: a known one, or a new one. */
static kd_code state_of(kd_grammar *g, const closing *c, uint32_t *out, kd_err *e) {
    uint64_t h = c->accepts;
    if (!c->n && !c->accepts) return *out = KD_GRAMMAR_DEAD, KD_OK;
    if (c->n) qsort(g->work, c->n, sizeof *g->work, by_value);
    for (size_t i = 0; i < c->n; i++) h = mix(h ^ g->work[i]) + i;
    size_t at = (size_t)h % TABLE;
    for (uint32_t s = g->state_table[at]; s; s = g->states[s].next_same) {
        const g_state *t = &g->states[s];
        if (t->n == c->n && t->accepts == c->accepts && (!c->n || !memcmp(g->pairs + t->at, g->work, c->n * sizeof *g->work)))
            return *out = s, KD_OK;
    }
    if (g->nstates >= MOST_STATES) return kd_fail(e, KD_ELIMIT, "grammar: more than %d states met", MOST_STATES);
    if (kd_grow((void **)&g->states, &g->states_cap, g->nstates + 1, sizeof *g->states) ||
        kd_grow((void **)&g->pairs, &g->pairs_cap, g->npairs + c->n + 1, sizeof *g->pairs))
        return no_memory(e);
    if (c->n) memcpy(g->pairs + g->npairs, g->work, c->n * sizeof *g->work);
    g->states[g->nstates] = (g_state){.at = (uint32_t)g->npairs,
                                      .n = (uint32_t)c->n,
                                      .next_same = g->state_table[at],
                                      .accepts = c->accepts,
                                      .ends = c->accepts && !c->n};
    g->npairs += c->n;
    g->state_table[at] = *out = (uint32_t)g->nstates++;
    return KD_OK;
}

static closing begin_closing(kd_grammar *g) {
    if (g->seen_cap > 512) kd_free(g->seen), g->seen = NULL, g->seen_cap = 0; /* a large one is not wiped for every small one */
    if (g->seen) memset(g->seen, 0, g->seen_cap * sizeof *g->seen);
    return (closing){0};
}

static kd_code start_at(kd_grammar *g, uint32_t node, uint32_t *out, kd_err *e) {
    closing c = begin_closing(g);
    kd_code code = push(g, &c, node, 0);
    if (code) return no_memory(e);
    code = close_over(g, &c, e);
    return code ? code : state_of(g, &c, out, e);
}

/* Forgets ways and masks (not states): they are found again. */
static void forget(kd_grammar *g) {
    for (size_t i = 0; i < g->nstates; i++) {
        kd_free(g->states[i].go), kd_free(g->states[i].mask);
        g->states[i].go = NULL, g->states[i].mask = NULL;
    }
    g->tables = g->masks = 0;
}

static size_t mask_words(size_t V) { return (V + 63) / 64; }

static size_t held(const kd_grammar *g) {
    return g->tables * g->classes * sizeof(uint32_t) + g->masks * (g->masked_for ? mask_words(g->masked_for->V) * 8 : 0);
}

static kd_code make_step(kd_grammar *g, uint32_t from, uint8_t class, kd_err *e) {
    closing c = begin_closing(g);
    unsigned byte = g->byte_of[class];
    kd_code code = KD_OK;
    uint32_t to;
    g->spent += g->states[from].n / 4;
    for (size_t i = 0; i < g->states[from].n && !code; i++) {
        uint64_t p = g->pairs[g->states[from].at + i];
        const g_node d = g->nodes[p >> 32];
        if (g->sets[d.a].w[byte / 64] >> (byte % 64) & 1) code = push(g, &c, d.b, (uint32_t)p);
    }
    if (code == KD_ELIMIT) return kd_fail(e, code, "grammar: a state of more than %d places", MOST_PAIRS_A_STATE);
    if (code) return no_memory(e);
    if (e) e->code = KD_OK;
    code = close_over(g, &c, e);
    if (!code) code = state_of(g, &c, &to, e);
    if (!code) g->states[from].go[class] = to;
    return code;
}

static kd_code step(kd_grammar *g, uint32_t from, unsigned char byte, uint32_t *to, kd_err *e) {
    uint8_t class = g->class_of[byte];
    if (from == KD_GRAMMAR_DEAD) return *to = KD_GRAMMAR_DEAD, KD_OK;
    if (!g->states[from].go) {
        if (held(g) > cache_bytes) forget(g);
        uint32_t *go = kd_malloc(g->classes * sizeof *go);
        if (!go) return no_memory(e);
        memset(go, 0xff, g->classes * sizeof *go);
        g->states[from].go = go, g->tables++;
    }
    if (g->states[from].go[class] == G_NONE) {
        kd_code code = make_step(g, from, class, e);
        if (code) return code;
    }
    *to = g->states[from].go[class];
    return KD_OK;
}

kd_code g_run_begin(kd_grammar *g, kd_err *e) {
    kd_err own = {0};
    if (!g->frame_table) g->frame_table = kd_calloc(TABLE, sizeof *g->frame_table);
    if (!g->state_table) g->state_table = kd_calloc(TABLE, sizeof *g->state_table);
    if (!g->frame_table || !g->state_table || kd_grow((void **)&g->frames, &g->frames_cap, 1, sizeof *g->frames) ||
        kd_grow((void **)&g->states, &g->states_cap, 1, sizeof *g->states))
        return no_memory(e);
    g->frames[0] = (g_frame){0}, g->states[0] = (g_state){0};
    g->nframes = g->nstates = 1;
    kd_code code = KD_OK;
    for (int i = 0; i < 2 && !code; i++) code = start_at(g, g->begin[i], &g->start[i], &own);
    return code ? kd_fail(e, code, "%s", own.msg) : KD_OK;
}

void g_run_clear(kd_grammar *g) {
    forget(g);
    void *all[] = {g->frames, g->frame_table, g->states, g->state_table, g->pairs, g->work, g->todo, g->seen};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_free(all[i]);
    g->frames = NULL, g->frame_table = NULL, g->states = NULL, g->state_table = NULL, g->pairs = NULL, g->work = g->todo = g->seen = NULL;
    g->frames_cap = g->states_cap = g->pairs_cap = g->work_cap = g->todo_cap = g->seen_cap = 0;
    g->nframes = g->nstates = g->npairs = 0;
}

/* ---- the face ---- */

kd_grammar_state kd_grammar_start(const kd_grammar *g, bool after_thought) { return g->start[after_thought]; }
bool kd_grammar_accepts(const kd_grammar *g, kd_grammar_state s) { return g->states[s].accepts; }
bool kd_grammar_ends(const kd_grammar *g, kd_grammar_state s) { return g->states[s].ends; }

void kd_grammar_enter(kd_grammar *g) { g->users++; }
void kd_grammar_leave(kd_grammar *g) {
    if (--g->users || g->nstates < KEEP_STATES) return;
    g_run_clear(g);
    if (g_run_begin(g, NULL)) g->start[0] = g->start[1] = KD_GRAMMAR_DEAD; /* no memory: nothing fits any more, and nothing is walked */
}

kd_code kd_grammar_step(kd_grammar *g, kd_grammar_state from, const char *bytes, size_t n, kd_grammar_state *to, kd_err *e) {
    kd_err own = {0};
    kd_code code = KD_OK;
    g->spent = 0;
    for (size_t i = 0; i < n && from && !code; i++) code = step(g, from, (unsigned char)bytes[i], &from, &own);
    *to = from;
    return code ? kd_fail(e, code, "%s", own.msg) : KD_OK;
}

static kd_code walk_trie(kd_grammar *g, const kd_token_trie *t, uint32_t s, bool swallow, uint64_t *mask, kd_err *e) {
    uint32_t *at = kd_malloc((t->deepest + 1) * sizeof *at);
    kd_code code = at ? KD_OK : no_memory(e);
    if (at) at[0] = s;
    for (size_t i = 0; i < t->n && !code;) {
        uint32_t d = t->depth[i], to = s;
        if (d > 1 || !swallow || t->byte[i] != ' ') code = step(g, at[d - 1], t->byte[i], &to, e);
        if (code || to == KD_GRAMMAR_DEAD) {
            i = t->skip[i];
            continue;
        }
        at[d] = to;
        for (size_t k = t->first[i]; k < t->first[i + 1]; k++) mask[t->tokens[k] / 64] |= (uint64_t)1 << (t->tokens[k] % 64);
        i++;
    }
    kd_free(at);
    return code;
}

kd_code kd_grammar_mask(kd_grammar *g, const kd_token_trie *t, kd_grammar_state s, bool first, uint64_t *mask, kd_err *e) {
    size_t words = mask_words(t->V);
    kd_err own = {0};
    bool swallow = first && t->strips;
    g->spent = 0;
    if (g->masked_for != t) forget(g), g->masked_for = t;
    if (!swallow && g->states[s].mask) {
        memcpy(mask, g->states[s].mask, words * sizeof *mask);
        return KD_OK;
    }
    memset(mask, 0, words * sizeof *mask);
    kd_code code = walk_trie(g, t, s, swallow, mask, &own);
    if (code) return kd_fail(e, code, "%s", own.msg);
    uint64_t *keep = swallow || held(g) > cache_bytes ? NULL : kd_malloc(words * sizeof *keep);
    if (keep) memcpy(keep, mask, words * sizeof *mask), g->states[s].mask = keep, g->masks++;
    return KD_OK;
}

kd_grammar_size kd_grammar_sizes(const kd_grammar *g) {
    return (kd_grammar_size){.nodes = g->n,
                             .states = g->nstates - 1,
                             .masks = g->masks,
                             .bytes = held(g) + g->npairs * sizeof *g->pairs + g->nstates * sizeof *g->states +
                                      g->nframes * sizeof *g->frames + g->n * sizeof *g->nodes + 2 * TABLE * sizeof(uint32_t)};
}
