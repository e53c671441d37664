/* teacher/local.c - a model of ours as the teacher: leases work, keeps the engine full, commits what each step finished.
 * Leans on teacher.h, distill/engine, datasets/render.h. */
#include "datasets/render.h"
#include "distill/base/clock.h"
#include "distill/base/hash.h"
#include "distill/engine/engine.h"
#include "distill/model/loaded.h"
#include "teacher/result_logprobs.h"
#include "teacher/teacher.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* One question on its way through the engine; lives from lease to commit, in one of two lists: flying or done. */
typedef struct flight {
    struct flight *next, *prev;
    struct run *run;
    int64_t prompt;
    int sample;
    bool opened;           /* the prompt ends inside a thought */
    kd_buf text, logprobs; /* the answer; packed */
    const char *finish;
    int64_t prompt_tokens, completion_tokens;
    double seconds, first;
} flight;

typedef struct run {
    kd_study *study;
    kd_work *work;
    kd_engine *engine;
    const kd_teach_opts *o;
    const kd_local_opts *lo;
    kd_render render;
    bool plain;      /* no chat template: contents, a line each */
    kd_request like; /* what every request takes besides */
    kd_sampling sampling;
    size_t max_tokens, context, parallel;
    int64_t run, settings;
    flight *aloft, *done;
    size_t flying, waiting_commit;
    bool no_memory;
    kd_teach_report *r;
} run;

/* Everything that the run opens. */
typedef struct {
    kd_loaded l;
    kd_chat *chat;
} loaded;

static void unload(loaded *l) {
    kd_chat_free(l->chat);
    kd_unload(&l->l);
}

static kd_code load(loaded *l, const kd_local_opts *o, kd_err *e) {
    kd_code c = kd_load(&l->l, o->model, o->adapter, KD_LOAD_ALL | (o->no_adapter ? KD_LOAD_BASE : 0), e);
    if (!c) c = kd_chat_open(&l->chat, l->l.source.path, o->chat_template, e);
    if (!c && !kd_chat_has(l->chat) && !o->ignore_missing_template)
        c = kd_fail(e, KD_EUNSUPPORTED, "%s: a model without a chat template: give one with --chat-template", o->model);
    return c;
}

static void hash_file(kd_sha256 *h, const char *path) {
    kd_map *m;
    if (kd_map_open(&m, path, NULL)) return;
    size_t n = kd_map_size(m), part = 1 << 20;
    uint64_t size = n;
    kd_sha256_add(h, &size, sizeof size);
    kd_sha256_add(h, kd_map_data(m), n < part ? n : part);
    if (n > part) kd_sha256_add(h, kd_map_data(m) + (n > 2 * part ? n - part : part), n > 2 * part ? part : n - part);
    kd_map_close(m);
}

static void hash_dir(kd_sha256 *h, const char *dir) {
    char **names;
    size_t n;
    if (kd_list_dir(dir, &names, &n, NULL)) return;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(names[i]);
        if ((len > 12 && !strcmp(names[i] + len - 12, ".safetensors")) || (len > 5 && !strcmp(names[i] + len - 5, ".json"))) {
            char *p = kd_path_join(dir, names[i]);
            kd_sha256_add(h, names[i], len);
            if (p) hash_file(h, p);
            kd_free(p);
        }
    }
    kd_names_free(names, n);
}

/* Tells models apart whatever their path: sizes, first and last megabyte of the weight files, and the adapter. 16 digits. */
static void fingerprint(char out[17], const kd_loaded *l) {
    kd_sha256 h;
    unsigned char d[32];
    kd_sha256_init(&h);
    if (l->source.kind == KD_SOURCE_GGUF)
        hash_file(&h, l->source.path);
    else
        hash_dir(&h, l->source.path);
    if (l->adapter_dir) hash_dir(&h, l->adapter_dir);
    kd_sha256_end(&h, d);
    kd_hex(d, 8, out);
}

static void push(flight **list, flight *f) {
    f->next = *list, f->prev = NULL;
    if (*list) (*list)->prev = f;
    *list = f;
}

static void pull(flight **list, flight *f) {
    if (f->prev)
        f->prev->next = f->next;
    else
        *list = f->next;
    if (f->next) f->next->prev = f->prev;
}

static void drop(flight **list) {
    while (*list) {
        flight *f = *list;
        pull(list, f);
        kd_buf_clear(&f->text), kd_buf_clear(&f->logprobs);
        kd_free(f);
    }
}

static void on_done(void *user, const kd_result *res) {
    flight *f = user;
    run *r = f->run;
    r->flying--;
    pull(&r->aloft, f);
    push(&r->done, f);
    if (kd_buf_append(&f->text, res->text, res->text_len)) r->no_memory = true;
    if (kd_result_logprobs(&f->logprobs, res, r->render.tokenizer, r->lo->logprobs_step, NULL)) r->no_memory = true;
    f->finish = kd_finish_name(res->finish);
    f->prompt_tokens = (int64_t)res->prompt_tokens;
    f->completion_tokens = (int64_t)res->n;
    f->first = 1e-9 * (double)res->prompt_ns;
    f->seconds = 1e-9 * (double)(res->prompt_ns + res->generate_ns);
    r->waiting_commit++;
}

static kd_code plain_prompt(kd_buf *text, const kd_json_node *conversation, kd_err *e) {
    for (const kd_json_node *m = kd_json_first(kd_json_get(conversation, "messages")); m; m = kd_json_next(m)) {
        kd_str s = kd_json_string(kd_json_get(m, "content"));
        if (kd_buf_append(text, s.data ? s.data : "", s.len) || kd_buf_putc(text, '\n'))
            return kd_fail(e, KD_ENOMEM, "prompt: out of memory");
    }
    return KD_OK;
}

/* The prompt's tokens, and whether it opens a thought. */
static kd_code prompt_of(const run *r, const kd_work_item *item, int32_t **tokens, size_t *n, bool *opened, kd_err *e) {
    kd_json *doc;
    kd_buf text = {0};
    *tokens = NULL, *opened = false;
    kd_code c = kd_teach_conversation(&doc, item, r->o->system, NULL, e);
    if (c) return c;
    if (!r->plain)
        c = kd_render_prompt(&text, tokens, n, opened, &r->render, kd_json_root(doc), e);
    else {
        kd_ids ids = {0};
        c = plain_prompt(&text, kd_json_root(doc), e);
        if (!c) c = kd_tokenizer_encode(r->render.tokenizer, &ids, text.data, text.len, KD_TOK_ADD_SPECIAL, e);
        *tokens = ids.id, *n = ids.n;
    }
    kd_buf_clear(&text);
    kd_json_free(doc);
    return c;
}

static kd_code fail_item(run *r, const kd_work_item *item, const char *reason, kd_err *e) {
    kd_attempt a = {.prompt = item->prompt,
                    .sample = item->sample,
                    .reason = reason,
                    .prompt_tokens = -1,
                    .completion_tokens = -1,
                    .cost = 0,
                    .final = true};
    r->r->failed++;
    kd_code c = kd_study_commit(r->study, r->settings, r->run, NULL, 0, &a, 1, NULL, e);
    return c ? c : kd_work_release(r->work, item->prompt, item->sample, e);
}

static kd_code launch(run *r, const kd_work_item *item, kd_err *e) {
    int32_t *tokens = NULL;
    size_t n = 0;
    bool opened;
    kd_err why = {0};
    kd_code c = prompt_of(r, item, &tokens, &n, &opened, &why);
    if (c == KD_ENOMEM) {
        kd_free(tokens);
        return kd_fail(e, c, "%s", why.msg);
    }
    if (!c && n >= r->context) c = kd_fail(&why, KD_EINVAL, "a prompt of %zu tokens leaves no room in a context of %zu", n, r->context);
    if (c) { /* this question cannot be asked; the others can */
        kd_free(tokens);
        return fail_item(r, item, why.msg, e);
    }
    flight *f = kd_calloc(1, sizeof *f);
    if (!f) {
        kd_free(tokens);
        return kd_fail(e, KD_ENOMEM, "generate: out of memory");
    }
    *f = (flight){.run = r, .prompt = item->prompt, .sample = item->sample, .opened = opened};
    size_t room = r->context - n;
    /* The stream of random numbers is a function of the question and the sample number, not of when or in which study it is asked. */
    kd_request q = {.prompt = tokens,
                    .prompt_n = n,
                    .sampling = r->sampling,
                    .seed = r->o->seed,
                    .stream = kd_hash64(tokens, n * sizeof *tokens, (uint64_t)item->sample),
                    .max_tokens = r->max_tokens < room ? r->max_tokens : room,
                    .stop = r->o->stop,
                    .stops = r->o->stops,
                    .on_done = on_done,
                    .user = f};
    q.thought_opened = opened;
    q.min_tokens = r->like.min_tokens, q.max_thinking = r->like.max_thinking, q.no_loop_guard = r->like.no_loop_guard;
    q.grammar = r->like.grammar;
    q.logprobs = r->lo->logprobs, q.top_logprobs = r->lo->top_logprobs;
    c = kd_engine_submit(r->engine, &q, NULL, &why);
    kd_free(tokens);
    if (c) {
        kd_free(f);
        return c == KD_ENOMEM ? kd_fail(e, c, "%s", why.msg) : fail_item(r, item, why.msg, e);
    }
    r->flying++;
    push(&r->aloft, f);
    return KD_OK;
}

/* Verdicts on the questions that have new answers. */
static kd_code judge(run *r, const kd_answer *a, size_t n, kd_err *e) {
    int64_t *prompts = kd_calloc(n + 1, sizeof *prompts);
    size_t m = 0;
    if (!prompts) return kd_fail(e, KD_ENOMEM, "generate: out of memory");
    for (size_t i = 0; i < n; i++)
        if (!m || prompts[m - 1] != a[i].prompt) prompts[m++] = a[i].prompt;
    kd_code c = r->o->judge(r->o->judge_ctx, r->study, r->settings, prompts, m, e);
    kd_free(prompts);
    return c;
}

/* Writes what is finished, in one transaction. */
static kd_code commit(run *r, kd_err *e) {
    if (r->no_memory) return kd_fail(e, KD_ENOMEM, "generate: out of memory");
    if (!r->waiting_commit) return KD_OK;
    size_t n = 0, added = 0;
    kd_answer *a = kd_calloc(r->waiting_commit, sizeof *a);
    if (!a) return kd_fail(e, KD_ENOMEM, "generate: out of memory");
    for (flight *f = r->done; f; f = f->next, n++) {
        a[n] = (kd_answer){.prompt = f->prompt,
                           .sample = f->sample,
                           .finish = f->finish,
                           .logprobs = kd_buf_view(&f->logprobs),
                           .prompt_tokens = f->prompt_tokens,
                           .completion_tokens = f->completion_tokens,
                           .reasoning_tokens = -1,
                           .cached_tokens = -1,
                           .cost = 0,
                           .seconds = f->seconds,
                           .first_token_seconds = f->first};
        a[n].thought_from = kd_thought_split(kd_buf_view(&f->text), f->opened, &a[n].thought, &a[n].answer);
    }
    kd_code c = kd_study_commit(r->study, r->settings, r->run, a, n, NULL, 0, &added, e);
    if (!c && r->o->judge) c = judge(r, a, n, e);
    kd_free(a);
    if (c) return c;
    for (flight *f = r->done; f; f = f->next) {
        r->r->prompt_tokens += (uint64_t)f->prompt_tokens;
        r->r->completion_tokens += (uint64_t)f->completion_tokens;
    }
    drop(&r->done);
    r->waiting_commit = 0;
    r->r->answered += added;
    r->r->duplicates += n - added;
    return KD_OK;
}

static void show(const run *r, const kd_watch *w, double began) {
    char text[96];
    double s = kd_now() - began;
    kd_engine_stats st = kd_engine_get_stats(r->engine);
    snprintf(text, sizeof text, "%zu at once, %.0f tokens/s", st.running, s > 0 ? (double)st.generated_tokens / s : 0);
    kd_emit(w, (kd_event){.kind = KD_EV_STEP,
                          .stage = "generate",
                          .done = r->r->done_before + r->r->answered + r->r->failed,
                          .total = r->r->total,
                          .unit = "answers",
                          .text = text});
}

static kd_code ask(run *r, const kd_watch *w, kd_err *e) {
    kd_work_item items[16];
    kd_code c = KD_OK;
    bool dry = false; /* the queue gave nothing last time */
    bool verdicts = r->o->work.until || r->o->work.adaptive;
    bool looked = false; /* at everything, with nothing on its way */
    double began = kd_now(), last_beat = began, last_look = 0;
    size_t ahead = r->parallel + r->parallel / 2 + 4;
    while (!c) {
        int stop = kd_stopping(w);
        if (stop) return kd_fail(e, (kd_code)stop, "stopped; run it again to go on");
        while (!c && r->flying < ahead && (!dry || kd_now() - last_look > (verdicts ? 0.025 : 2))) {
            size_t want = ahead - r->flying, n = 0;
            c = kd_work_next(r->work, items, want < 16 ? want : 16, &n, e);
            dry = n == 0, last_look = kd_now();
            for (size_t i = 0; !c && i < n; i++) c = launch(r, &items[i], e);
            if (!n) break;
        }
        if (c || (!r->flying && dry && (!verdicts || (looked && !kd_work_open_questions(r->work))))) break;
        if (!r->flying && dry) { /* a verdict just given may ask for more: the queue looks when its time has come */
            if (looked) nanosleep(&(struct timespec){0, 25000000}, NULL); /* another process has what is open */
            kd_work_look(r->work);
            looked = true, last_look = 0;
            continue;
        }
        looked = false;
        size_t left;
        c = kd_engine_step(r->engine, &left, e);
        if (!c && r->waiting_commit) {
            c = commit(r, e);
            dry = dry && r->flying;
        }
        if (!c && kd_now() - last_beat > 20) c = kd_work_beat(r->work, e), last_beat = kd_now();
        show(r, w, began);
    }
    r->r->seconds = kd_now() - began;
    return c;
}

static void engine_of(run *r, const loaded *l, const kd_local_opts *o, kd_engine_options *eo) {
    const kd_config *c = &l->l.model->config;
    r->max_tokens = r->o->max_tokens > 0 ? (size_t)r->o->max_tokens : 1024;
    r->context = o->context && o->context < c->context ? o->context : c->context;
    r->parallel = o->parallel ? o->parallel : 32;
    r->sampling = (kd_sampling){.temperature = r->o->temperature >= 0 ? (float)r->o->temperature : 0.7f,
                                .top_p = r->o->top_p >= 0 ? (float)r->o->top_p : 0.95f,
                                .min_p = r->o->min_p >= 0 ? (float)r->o->min_p : 0,
                                .top_k = r->o->top_k >= 0 ? (uint32_t)r->o->top_k : 0};
    *eo = (kd_engine_options){.threads = o->threads,
                              .sequences = r->parallel,
                              .context = r->context,
                              .memory = o->memory,
                              .draft = 8,
                              .exact = o->exact,
                              .kv = (kd_kv_kind)o->kv};
}

/* The settings under which this model's answers stand in the study. */
static kd_code settings_of(kd_study *s, int64_t *id, const kd_teach_opts *o, const kd_local_opts *lo, const loaded *l, kd_buf *json,
                           bool find, kd_err *e) {
    char print[17];
    fingerprint(print, &l->l);
    kd_teach_opts known = *o;
    known.temperature = o->temperature >= 0 ? o->temperature : 0.7;
    known.top_p = o->top_p >= 0 ? o->top_p : 0.95;
    known.max_tokens = o->max_tokens > 0 ? o->max_tokens : 1024;
    kd_buf more = {0};
    static const char *const kv[] = {"", ",\"kv_type\":\"q8_0\"", ",\"kv_type\":\"f32\""}; /* answers differ by it */
    bool shaped = lo->shape_json && *lo->shape_json;
    kd_code c =
        kd_buf_printf(&more, "%s%s%s%s", lo->exact ? ",\"exact\":true" : "", kv[lo->kv], shaped ? "," : "", shaped ? lo->shape_json : "");
    if (!c && lo->logprobs) c = kd_buf_printf(&more, ",\"logprobs\":%zu", lo->top_logprobs);
    if (c) {
        kd_buf_clear(&more);
        return kd_fail(e, c, "settings: out of memory");
    }
    c = kd_teach_settings(json, &known, "local", kd_path_base(lo->model), print, more.len ? more.data + 1 : NULL, e);
    kd_buf_clear(&more);
    if (c) return c;
    return find ? kd_study_settings_find(s, id, json->data, e) : kd_study_settings(s, id, json->data, NULL, e);
}

static kd_code shape(run *r, const kd_local_opts *lo, const kd_tokenizer *tok, size_t V, kd_err *e) {
    kd_sampling own = r->sampling;
    r->like.sampling = own;
    kd_code c = lo->shape(lo->shape_ctx, &r->like, tok, V, e);
    r->sampling = r->like.sampling;
    r->sampling.temperature = own.temperature, r->sampling.top_p = own.top_p, r->sampling.top_k = own.top_k, r->sampling.min_p = own.min_p;
    return c;
}

kd_code kd_teach_local(kd_study *s, const kd_teach_opts *o, const kd_local_opts *lo, const kd_watch *w, kd_teach_report *rep, kd_err *e) {
    loaded l = {0};
    run r = {.study = s, .o = o, .lo = lo, .r = rep};
    kd_engine_options eo;
    kd_buf json = {0};
    kd_work_state state;
    memset(rep, 0, sizeof *rep);
    kd_code c = o->prefill ? kd_fail(e, KD_EINVAL, "--prefill is for a teacher at a URL") : KD_OK;
    if (!c && lo->top_logprobs > KD_TOP_MOST)
        c = kd_fail(e, KD_EINVAL, "log-probabilities: expected at most %d alternatives, found %zu", KD_TOP_MOST, lo->top_logprobs);
    if (!c) c = load(&l, lo, e);
    if (!c) c = settings_of(s, &r.settings, o, lo, &l, &json, false, e);
    if (!c) c = kd_work_open(&r.work, s, r.settings, &o->work, e);
    if (!c) c = kd_work_count(r.work, &state, e);
    if (c) goto done;
    rep->settings = r.settings, rep->total = state.total, rep->done_before = state.done;
    if (state.done == state.total) goto done;
    r.plain = !kd_chat_has(l.chat);
    r.render = (kd_render){.chat = l.chat, .tokenizer = l.l.tokenizer, .now = lo->now};
    engine_of(&r, &l, lo, &eo);
    c = lo->shape ? shape(&r, lo, l.l.tokenizer, l.l.model->config.V, e) : KD_OK;
    if (!c) c = kd_sampling_check(&r.sampling, l.l.model->config.V, e);
    if (!c) c = kd_engine_new(&r.engine, l.l.model, l.l.adapter, l.l.tokenizer, &eo, e);
    if (!c) c = kd_run_begin(s, &r.run, "generate", json.data, NULL, e);
    if (!c && o->judge) c = o->judge(o->judge_ctx, s, r.settings, NULL, 0, e);
    if (c) goto done;
    kd_emit(w, (kd_event){.kind = KD_EV_BEGIN, .stage = "generate", .done = state.done, .total = state.total, .unit = "answers"});
    c = ask(&r, w, e);
    kd_emit(w,
            (kd_event){
                .kind = KD_EV_END, .stage = "generate", .done = rep->done_before + rep->answered, .total = rep->total, .unit = "answers"});
    kd_code ended = kd_run_end(s, r.run,
                               c == KD_OK                                 ? "done"
                               : c == KD_EINTERRUPT || c == KD_ETERMINATE ? "interrupted"
                                                                          : "failed",
                               c ? NULL : e);
    c = c ? c : ended;
done:
    kd_engine_free(r.engine);
    drop(&r.aloft); /* what was still being generated; its leases end with the work */
    drop(&r.done);
    kd_work_close(r.work);
    kd_buf_clear(&json);
    unload(&l);
    return c;
}

kd_code kd_teach_local_plan(kd_study *s, const kd_teach_opts *o, const kd_local_opts *lo, kd_local_plan *p, kd_err *e) {
    loaded l = {0};
    run r = {.study = s, .o = o, .lo = lo};
    kd_engine_options eo;
    kd_buf json = {0};
    kd_work_state state = {0};
    memset(p, 0, sizeof *p);
    kd_code c = load(&l, lo, e);
    if (!c) c = settings_of(s, &r.settings, o, lo, &l, &json, true, e);
    if (!c) c = kd_work_plan(s, r.settings, &o->work, &state, e);
    if (!c) {
        engine_of(&r, &l, lo, &eo);
        kd_engine_plan plan = kd_engine_plan_of(l.l.model, &eo);
        *p = (kd_local_plan){.total = state.total,
                             .missing = state.total - state.done,
                             .weights = plan.weights,
                             .work = plan.work,
                             .kv = plan.kv_full,
                             .parallel = r.parallel};
    }
    kd_buf_clear(&json);
    unload(&l);
    return c;
}
