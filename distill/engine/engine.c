/* distill/engine/engine.c - an engine is made, planned and freed, and requests are taken in. What a step does is schedule.c's. */
#include "distill/base/clock.h"
#include "distill/engine/engine_seq.h"
#include "distill/math/linear.h"

#include <stdint.h>
#include <string.h>

enum { SEQUENCES = 32, ROWS = 512 };

const char *kd_finish_name(kd_finish f) {
    static const char *const names[] = {"stop", "length", "loop", "cancelled"};
    return (unsigned)f < 4 ? names[f] : "?";
}

static kd_dtype kv_type(const kd_config *c, kd_kv_kind k) {
    return k == KD_KV_F32 ? KD_F32 : k == KD_KV_Q8_0 && c->D % 32 == 0 ? KD_Q8_0 : KD_F16;
}

/* Defaults filled in. */
static kd_engine_options resolve(const kd_model *m, const kd_engine_options *o) {
    kd_engine_options r = o ? *o : (kd_engine_options){0};
    if (!r.sequences) r.sequences = SEQUENCES;
    if (!r.rows) r.rows = ROWS;
    if (r.draft > DRAFT_MOST) r.draft = DRAFT_MOST;
    if (r.rows < r.sequences) r.rows = r.sequences;
    if (r.draft && r.rows < DRAFT_SEQS * (1 + r.draft)) r.rows = DRAFT_SEQS * (1 + r.draft);
    if (!r.context) r.context = m->config.context;
    return r;
}

/* Rows of logits of a step at most. */
static size_t most_draws(const kd_engine_options *o) {
    size_t guessed = o->draft ? DRAFT_SEQS * (1 + o->draft) : 0;
    return guessed > o->sequences ? guessed : o->sequences;
}

static uint64_t kv_a_token(const kd_config *c, kd_dtype t) {
    size_t row = 0;
    kd_dtype_row_bytes((int)t, c->D, &row);
    return 2 * (uint64_t)c->L * c->G * row;
}

/* Bytes of the panels of every matrix. */
static uint64_t panels(const kd_model *m) {
    uint64_t n = kd_qmat_plan(&m->head);
    for (uint32_t l = 0; l < m->config.L; l++)
        for (int r = 0; r < KD_MATS; r++) n += kd_qmat_plan(&m->layers[l].mat[r]);
    return n;
}

kd_engine_plan kd_engine_plan_of(const kd_model *m, const kd_engine_options *o) {
    kd_engine_options r = resolve(m, o);
    const kd_config *c = &m->config;
    uint64_t a = kv_a_token(c, kv_type(c, r.kv)),
             wide = (uint64_t)c->C * 3 + 2 * (uint64_t)c->H * c->D + 2 * (uint64_t)c->G * c->D + 2 * (uint64_t)c->F;
    kd_engine_plan p = {.weights = m->bytes,
                        .work = 4 * (wide * r.rows + (uint64_t)c->V * most_draws(&r)) + (r.exact || r.no_repack ? 0 : panels(m)) +
                                kd_qlinear_scratch(c->F > c->C ? c->F : c->C, r.rows, r.pool ? kd_pool_threads(r.pool) : r.threads),
                        .kv_a_token = a,
                        .kv_full = a * r.context * r.sequences};
    uint64_t held = p.weights + p.work, room = r.memory > held ? r.memory - held : 0;
    p.kv_bound = r.kv_bytes ? r.kv_bytes : r.memory ? room : kd_memory_free() / 2;
    if (r.memory && p.kv_bound > room) p.kv_bound = room;
    return p;
}

static kd_code buffers(kd_engine *en, kd_err *e) {
    size_t S = en->o.sequences, D = en->max_draws, n;
    en->work_bytes = (kd_sample_work(en->V) + en->V * sizeof(float)) / 64 * 64 + 192;
    en->tokens = kd_calloc(en->o.rows, sizeof *en->tokens);
    en->batch = kd_calloc(S, sizeof *en->batch);
    en->want = kd_calloc(D, sizeof *en->want);
    en->draws = kd_calloc(D, sizeof *en->draws);
    en->prefixes = kd_calloc(S + PREFIXES, sizeof *en->prefixes);
    en->work = kd_aligned_alloc(64, en->work_bytes * (size_t)kd_pool_threads(en->pool));
    en->logits = kd_mul_size(D, en->V * sizeof(float), &n) ? kd_aligned_alloc(64, n) : NULL;
    if (!en->tokens || !en->batch || !en->want || !en->draws || !en->prefixes || !en->work || !en->logits)
        return kd_fail(e, KD_ENOMEM, "no memory for %zu rows of logits of %zu tokens", D, en->V);
    return KD_OK;
}

kd_code kd_engine_new(kd_engine **out, const kd_model *m, kd_adapter *adapter, const kd_tokenizer *tok, const kd_engine_options *o,
                      kd_err *e) {
    kd_engine *en = kd_calloc(1, sizeof *en);
    kd_code c;
    *out = NULL;
    if (!en) return kd_fail(e, KD_ENOMEM, "no memory for an engine");
    en->model = m, en->tok = tok, en->V = m->config.V, en->o = resolve(m, o), en->max_draws = most_draws(&en->o);
    kd_engine_plan plan = kd_engine_plan_of(m, o);
    if (en->o.memory && plan.kv_bound < plan.kv_a_token * PAGE_ROWS) {
        c = kd_fail(
            e, KD_EINVAL,
            "memory: %llu MiB at most were asked for; weights take %llu, panels and buffers %llu, a page of keys and values %llu KiB",
            (unsigned long long)en->o.memory >> 20, (unsigned long long)plan.weights >> 20, (unsigned long long)plan.work >> 20,
            (unsigned long long)(plan.kv_a_token * PAGE_ROWS) >> 10);
        goto done;
    }
    en->o.kv_bytes = plan.kv_bound;
    if (en->o.context > m->config.context) {
        c = kd_fail(e, KD_EINVAL, "context: %zu asked for, the model has %u", en->o.context, m->config.context);
        goto done;
    }
    en->pool = en->o.pool;
    en->own_pool = !en->pool;
    if (en->own_pool && (c = kd_pool_new(&en->pool, en->o.threads, e)) != KD_OK) goto done;
    kd_forward_options fo = {
        .max_rows = en->o.rows, .max_logits = en->max_draws, .fast = !en->o.exact, .no_repack = en->o.no_repack, .context = en->o.context};
    if ((c = kd_forward_new(&en->forward, m, adapter, &fo, en->pool, e)) != KD_OK) goto done;
    if ((c = kd_kv_pool_new(&en->kv_pool, &m->config, kv_type(&m->config, en->o.kv), PAGE_ROWS, en->o.kv_bytes, e)) != KD_OK) goto done;
    en->page_budget = kd_kv_pages_left(en->kv_pool);
    if (en->page_budget < en->o.context / PAGE_ROWS) en->o.context = en->page_budget * PAGE_ROWS;
    if (en->o.context < 2) {
        c = kd_fail(e, KD_EINVAL, "%llu bytes for keys and values hold no page of %zu", (unsigned long long)en->o.kv_bytes,
                    kd_kv_page_bytes(en->kv_pool));
        goto done;
    }
    if (tok) c = kd_tokenizer_encode(tok, &en->close_thought, "\n</think>\n\n", 11, KD_TOK_PARSE_SPECIAL, e);
    for (size_t i = 0; c == KD_OK && i < en->close_thought.n; i++)
        if (en->close_thought.id[i] < 0 || (size_t)en->close_thought.id[i] >= en->V)
            en->close_thought.n = 0; /* another model's tokenizer */
    if (c == KD_OK) c = buffers(en, e);
done:
    if (c != KD_OK)
        kd_engine_free(en);
    else
        *out = en;
    return c;
}

size_t kd_engine_context(const kd_engine *en) { return en->o.context; }

void kd_engine_free(kd_engine *en) {
    if (!en) return;
    for (size_t i = 0; i < en->waiting.n; i++) seq_free(en->waiting.v[i]);
    for (size_t i = 0; i < en->running.n; i++) seq_free(en->running.v[i]);
    kd_free(en->waiting.v);
    kd_free(en->running.v);
    while (prefix_evict(en))
        ;
    kd_free(en->prefixes);
    draft_clear(en);
    kd_token_trie_free(en->trie);
    for (size_t i = 0; en->draws && i < en->max_draws; i++) kd_free(en->draws[i].allowed);
    kd_ids_clear(&en->close_thought);
    kd_kv_pool_free(en->kv_pool);
    kd_forward_free(en->forward);
    if (en->own_pool) kd_pool_free(en->pool);
    kd_free(en->tokens);
    kd_free(en->batch);
    kd_free(en->want);
    kd_free(en->draws);
    kd_free(en->logits);
    kd_free(en->work);
    kd_free(en);
}

static kd_code check(const kd_engine *en, const kd_request *r, kd_err *e) {
    if (!r->prompt_n) return kd_fail(e, KD_EINVAL, "the prompt has no token");
    for (size_t i = 0; i < r->prompt_n; i++)
        if (r->prompt[i] < 0 || (size_t)r->prompt[i] >= en->V)
            return kd_fail(e, KD_EINVAL, "prompt: token %d at %zu is outside the vocabulary of %zu", r->prompt[i], i, en->V);
    if (r->prompt_n >= en->o.context)
        return kd_fail(e, KD_EINVAL, "the prompt of %zu tokens leaves no room in the context of %zu", r->prompt_n, en->o.context);
    for (size_t i = 0; i < r->stop_tokens_n; i++)
        if (r->stop_tokens[i] < 0 || (size_t)r->stop_tokens[i] >= en->V)
            return kd_fail(e, KD_EINVAL, "stop token %d is outside the vocabulary of %zu", r->stop_tokens[i], en->V);
    for (size_t i = 0; i < r->stops; i++)
        if (!r->stop[i] || !*r->stop[i]) return kd_fail(e, KD_EINVAL, "stop string %zu is empty", i + 1);
    if (r->top_logprobs > MAX_TOP || r->top_logprobs > en->V)
        return kd_fail(e, KD_EINVAL, "top log-probabilities: %zu asked for, at most %d", r->top_logprobs, MAX_TOP);
    return kd_sampling_check(&r->sampling, en->V, e);
}

static void *copy(kd_arena *a, const void *p, size_t n, size_t size) {
    void *q = n ? kd_arena_alloc(a, n * size) : NULL;
    if (q) memcpy(q, p, n * size);
    return q;
}

/* Everything the request points to becomes the sequence's own. */
static kd_code take(seq *s, const kd_request *r) {
    s->r = *r;
    s->r.prompt = NULL;
    s->r.sampling.bias = copy(&s->arena, r->sampling.bias, r->sampling.biases, sizeof *r->sampling.bias);
    s->r.stop_tokens = copy(&s->arena, r->stop_tokens, r->stop_tokens_n, sizeof *r->stop_tokens);
    const char **stop = r->stops ? kd_arena_alloc(&s->arena, r->stops * sizeof *stop) : NULL;
    s->r.stop = stop;
    if ((r->sampling.biases && !s->r.sampling.bias) || (r->stop_tokens_n && !s->r.stop_tokens) || (r->stops && !stop)) return KD_ENOMEM;
    for (size_t i = 0; i < r->stops; i++) {
        size_t n = strlen(r->stop[i]);
        if (!(stop[i] = kd_arena_strndup(&s->arena, r->stop[i], n))) return KD_ENOMEM;
        if (n > s->longest_stop) s->longest_stop = n;
    }
    s->ids.id = kd_malloc(r->prompt_n * sizeof *s->ids.id);
    if (!s->ids.id) return KD_ENOMEM;
    memcpy(s->ids.id, r->prompt, r->prompt_n * sizeof *s->ids.id);
    s->ids.n = s->ids.cap = r->prompt_n;
    return KD_OK;
}

kd_code kd_engine_submit(kd_engine *en, const kd_request *r, uint64_t *id, kd_err *e) {
    kd_code c = check(en, r, e);
    if (c != KD_OK) return c;
    seq *s = kd_calloc(1, sizeof *s);
    if (!s || take(s, r) != KD_OK || kd_grow((void **)&en->waiting.v, &en->waiting.cap, en->waiting.n + 1, sizeof(seq *)) != KD_OK) {
        seq_free(s);
        return kd_fail(e, KD_ENOMEM, "no memory for a request of %zu tokens", r->prompt_n);
    }
    if (en->tok && (c = kd_detokenizer_new(&s->detok, en->tok, r->show_special ? 0 : KD_TOK_SKIP_SPECIAL, e)) != KD_OK) {
        seq_free(s);
        return c;
    }
    if ((c = form_begin(en, s, e)) != KD_OK) {
        seq_free(s);
        return c;
    }
    if (r->thought_opened) s->thought = THOUGHT_IN;
    s->limit = r->max_tokens && r->max_tokens < en->o.context - r->prompt_n ? r->prompt_n + r->max_tokens : en->o.context;
    s->id = ++en->next_id;
    s->t_submit = (int64_t)kd_now_ns();
    en->waiting.v[en->waiting.n++] = s;
    if (id) *id = s->id;
    return KD_OK;
}

bool kd_engine_cancel(kd_engine *en, uint64_t id) {
    for (int k = 0; k < 2; k++) {
        seq_list *l = k ? &en->running : &en->waiting;
        for (size_t i = 0; i < l->n; i++)
            if (l->v[i]->id == id) return l->v[i]->cancelled = true;
    }
    return false;
}

kd_engine_stats kd_engine_get_stats(const kd_engine *en) {
    kd_engine_stats s = en->stats;
    s.waiting = en->waiting.n, s.running = en->running.n;
    s.forward = kd_forward_time(en->forward);
    s.kv_bytes = kd_kv_bytes(en->kv_pool);
    s.model_bytes = en->model->bytes;
    s.work_bytes =
        kd_forward_bytes(en->forward) + en->max_draws * en->V * sizeof(float) + en->work_bytes * (size_t)kd_pool_threads(en->pool);
    return s;
}
