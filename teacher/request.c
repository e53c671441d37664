/* teacher/request.c - see request.h: options checked, bodies written, worst cases reckoned, the plan of a run. */
#include "teacher/request.h"

#include "teacher/http.h"

#include <math.h>
#include <string.h>
#include <strings.h>

enum { ALLOWANCE = 64 }; /* tokens of a template around a prompt, for the worst case */

/* ---- options ---- */
static kd_code check_extra(kd_asking *q, kd_err *e) {
    static const char *const ours[] = {"model", "messages", "tools", "stream", "stream_options", "n", "logprobs", "top_logprobs"};
    static const char *const most[] = {"max_tokens", "max_completion_tokens"};
    const char *text = q->ro->extra_body;
    kd_code c = kd_json_parse(&q->extra, text, strlen(text), "--extra-body", e);
    const kd_json_node *o = kd_json_root(q->extra);
    double said = 0;
    int64_t v;
    if (!c && kd_json_typeof(o) != KD_JSON_OBJECT) c = kd_fail(e, KD_EINVAL, "--extra-body: expected a JSON object");
    for (size_t i = 0; !c && i < sizeof ours / sizeof *ours; i++)
        if (kd_json_get(o, ours[i])) c = kd_fail(e, KD_EINVAL, "--extra-body: \"%s\" cannot be set there", ours[i]);
    for (int i = 0; !c && i < 2; i++) /* either takes the place of --max-tokens */
        if (kd_json_int(kd_json_get(o, most[i]), &v) && v > 0) said = fmax(said, (double)v);
    q->most = said > 0 ? said : q->most;
    return c;
}

static kd_code check_headers(const kd_remote_opts *ro, kd_err *e) {
    static const char *const secret[] = {"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"};
    for (size_t i = 0; i < ro->n_headers; i++) {
        size_t n = strcspn(ro->headers[i], ":");
        if (!n || !ro->headers[i][n] || strpbrk(ro->headers[i], "\r\n")) return kd_fail(e, KD_EINVAL, "--header: expected \"Name: value\"");
        for (size_t k = 0; k < sizeof secret / sizeof *secret; k++)
            if (strlen(secret[k]) == n && !strncasecmp(ro->headers[i], secret[k], n))
                return kd_fail(
                    e, KD_EINVAL,
                    "--header %s: a secret on the command line is seen by every user of the machine: use --api-key-file or the environment",
                    secret[k]);
    }
    return KD_OK;
}

kd_code kd_asking_init(kd_asking *q, const kd_teach_opts *o, const kd_remote_opts *ro, kd_err *e) {
    *q = (kd_asking){.o = o, .ro = ro, .most = o->max_tokens > 0 ? (double)o->max_tokens : 0};
    kd_code c = kd_url_check(ro->url, e);
    if (c) return c;
    if (!ro->model || !*ro->model) return kd_fail(e, KD_EINVAL, "%s: --teacher-model NAME is needed", ro->url);
    if (!strncmp(ro->url, "http://", 7) && !kd_url_local(ro->url) && !ro->insecure_http)
        return kd_fail(e, KD_EINVAL,
                       "%s: plain http to another machine would show key and answers to everyone between; use https, or --insecure-http",
                       ro->url);
    c = check_headers(ro, e);
    if (!c && ro->extra_body) c = check_extra(q, e);
    if (!c && ro->budget >= 0 && (ro->price_input < 0 || ro->price_output < 0 || q->most <= 0))
        c = kd_fail(e, KD_EINVAL,
                    "a budget needs --price-input, --price-output and --max-tokens: without them no request's worst case is known");
    if (c) kd_asking_clear(q);
    return c;
}

void kd_asking_clear(kd_asking *q) {
    kd_json_free(q->extra);
    q->extra = NULL;
}

kd_code kd_asking_settings(kd_buf *json, const kd_asking *q, kd_err *e) {
    kd_buf more = {0};
    kd_teach_opts known = *q->o;
    kd_code c = KD_OK;
    if (!q->ro->send_seed) known.seed = 0;
    if (q->extra) c = kd_buf_printf(&more, "\"extra_body\":%s", q->ro->extra_body);
    if (!c && q->ro->logprobs >= 0) c = kd_buf_printf(&more, "%s\"logprobs\":%d", more.len ? "," : "", q->ro->logprobs);
    c = c ? kd_fail(e, c, "settings: out of memory") : kd_teach_settings(json, &known, q->ro->url, q->ro->model, NULL, more.data, e);
    kd_buf_clear(&more);
    return c;
}

/* ---- bodies ---- */
/* True, with its key written, if a member of ours is given and --extra-body does not say otherwise. */
static bool member(kd_jsonw *w, const kd_asking *q, const char *key, bool given) {
    if (!given || (q->extra && kd_json_get(kd_json_root(q->extra), key))) return false;
    kd_jsonw_key(w, key);
    return true;
}

static void write_sampling(kd_jsonw *w, const kd_asking *q, const kd_work_item *item) {
    const kd_teach_opts *o = q->o;
    const struct {
        const char *key;
        double v;
    } f[] = {{"temperature", o->temperature}, {"top_p", o->top_p}, {"min_p", o->min_p}};
    for (size_t i = 0; i < sizeof f / sizeof *f; i++)
        if (member(w, q, f[i].key, f[i].v >= 0)) kd_jsonw_double(w, f[i].v);
    if (member(w, q, "top_k", o->top_k >= 0)) kd_jsonw_int(w, o->top_k);
    bool otherwise = q->extra && kd_json_get(kd_json_root(q->extra), "max_completion_tokens");
    if (member(w, q, "max_tokens", o->max_tokens > 0 && !otherwise)) kd_jsonw_int(w, o->max_tokens);
    if (member(w, q, "seed", q->ro->send_seed)) /* another for every sample of a question, or they would all be one */
        kd_jsonw_int(w, (int64_t)((o->seed + (uint64_t)item->sample) & INT32_MAX));
    if (member(w, q, "stop", o->stops > 0)) {
        kd_jsonw_array(w);
        for (size_t i = 0; i < o->stops; i++) kd_jsonw_cstr(w, o->stop[i]);
        kd_jsonw_end_array(w);
    }
}

kd_code kd_asking_body(kd_buf *out, const kd_asking *q, const kd_work_item *item, kd_err *e) {
    kd_json *doc;
    kd_code c = kd_teach_conversation(&doc, item, q->o->system, e);
    if (c) return c;
    kd_jsonw w = {.out = out};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "model"), kd_jsonw_cstr(&w, q->ro->model);
    kd_jsonw_key(&w, "messages"), kd_jsonw_node(&w, kd_json_get(kd_json_root(doc), "messages"));
    if (item->tools.len) kd_jsonw_key(&w, "tools"), kd_jsonw_raw(&w, item->tools);
    write_sampling(&w, q, item);
    if (q->ro->logprobs >= 0)
        kd_jsonw_key(&w, "logprobs"), kd_jsonw_bool(&w, true), kd_jsonw_key(&w, "top_logprobs"), kd_jsonw_int(&w, q->ro->logprobs);
    kd_jsonw_key(&w, "stream"), kd_jsonw_bool(&w, q->ro->stream);
    if (q->ro->stream) {
        kd_jsonw_key(&w, "stream_options");
        kd_jsonw_object(&w);
        kd_jsonw_key(&w, "include_usage"), kd_jsonw_bool(&w, true);
        kd_jsonw_end_object(&w);
    }
    for (const kd_json_node *n = kd_json_first(q->extra ? kd_json_root(q->extra) : NULL); n; n = kd_json_next(n))
        kd_jsonw_key_str(&w, kd_json_key(n)), kd_jsonw_node(&w, n);
    kd_jsonw_end_object(&w);
    kd_json_free(doc);
    return w.code ? kd_fail(e, KD_ENOMEM, "request: out of memory") : KD_OK;
}

/* ---- cost ---- */
bool kd_asking_priced(const kd_asking *q) { return q->ro->price_input >= 0 || q->ro->price_output >= 0; }

double kd_asking_price(const kd_asking *q, int64_t prompt, int64_t completion, int64_t cached) {
    double in = (double)(prompt > 0 ? prompt : 0), out = (double)(completion > 0 ? completion : 0), p = 0;
    double apart = q->ro->cached_priced ? fmin(in, (double)(cached > 0 ? cached : 0)) : 0;
    if (q->ro->price_input > 0) p += (in - apart) * q->ro->price_input / 1e6;
    p += apart * q->ro->price_cached / 1e6;
    if (q->ro->price_output > 0) p += out * q->ro->price_output / 1e6;
    return p;
}

double kd_asking_worst_tokens(const kd_asking *q, size_t n) { return (double)n + ALLOWANCE + q->most; }

double kd_asking_worst_price(const kd_asking *q, size_t n) {
    double in = fmax(q->ro->price_input, q->ro->cached_priced ? q->ro->price_cached : 0);
    return (fmax(0, in) * ((double)n + ALLOWANCE) + fmax(0, q->ro->price_output) * q->most) / 1e6;
}

/* ---- the plan ---- */
kd_code kd_teach_remote_plan(kd_study *s, const kd_teach_opts *o, const kd_remote_opts *ro, kd_remote_plan *p, kd_err *e) {
    kd_buf json = {0}, body = {0};
    kd_work *work = NULL;
    kd_prompts *rows = NULL;
    kd_work_state state;
    kd_spend spend;
    int64_t id;
    memset(p, 0, sizeof *p);
    kd_asking q;
    kd_code c = kd_asking_init(&q, o, ro, e);
    if (c) return c;
    c = kd_asking_settings(&json, &q, e);
    if (!c) c = kd_study_settings(s, &id, json.data, NULL, e);
    if (!c) c = kd_work_open(&work, s, id, &o->work, e);
    if (!c) c = kd_work_count(work, &state, e);
    if (!c) c = kd_study_spend(s, id, &spend, e);
    uint64_t n = 0, bytes = 0;
    if (!c) c = kd_prompts_open(&rows, s, o->work.split, o->work.limit, NULL, e);
    for (bool more = true; !c && more;) {
        kd_prompt row;
        c = kd_prompts_next(rows, &row, &more, e);
        if (!c && more) {
            body.len = 0;
            c = kd_asking_body(&body, &q, &(kd_work_item){.prompt = row.id, .messages = row.messages, .tools = row.tools}, e);
            n++, bytes += body.len + ALLOWANCE;
        }
    }
    if (!c) {
        p->total = state.total, p->missing = state.total - state.done;
        p->prompt_tokens = n ? (uint64_t)((double)bytes / (double)n * (double)p->missing) : 0;
        p->completion_tokens = p->missing * (uint64_t)q.most;
        p->cost = ro->price_input >= 0 && ro->price_output >= 0 && q.most > 0
                      ? (double)p->prompt_tokens * ro->price_input / 1e6 + (double)p->completion_tokens * ro->price_output / 1e6
                      : -1;
        p->spent = spend.cost;
    }
    kd_prompts_close(rows);
    kd_work_close(work);
    kd_buf_clear(&body);
    kd_buf_clear(&json);
    kd_asking_clear(&q);
    return c;
}
