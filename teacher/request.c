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

static kd_code check_url(const kd_remote_opts *ro, const char *url, kd_err *e) {
    kd_code c = kd_url_check(url, e);
    if (!c && !strncmp(url, "http://", 7) && !kd_url_local(url) && !ro->insecure_http)
        c = kd_fail(e, KD_EINVAL,
                    "%s: plain http to another machine would show key and answers to everyone between; use https, or --insecure-http", url);
    return c;
}

static bool costed(const kd_prices *p) { return p->input >= 0 && p->output >= 0; }

static kd_code check_endpoints(const kd_asking *q, kd_err *e) {
    const kd_remote_opts *ro = q->ro;
    kd_code c = ro->n_endpoints ? KD_OK : check_url(ro, ro->url, e);
    bool all = !ro->n_endpoints && costed(&ro->prices);
    if (!c && (!ro->model || !*ro->model))
        c = kd_fail(e, KD_EINVAL, "%s: --teacher-model NAME is needed", ro->n_endpoints ? "--rotate" : ro->url);
    for (size_t i = 0; i < ro->n_endpoints && !c; i++) {
        c = check_url(ro, ro->endpoints[i].url, e);
        all = (i == 0 || all) && (costed(&ro->endpoints[i].prices) || costed(&ro->prices));
    }
    if (!c && ro->budget >= 0 && (!all || q->most <= 0))
        c = kd_fail(e, KD_EINVAL,
                    "a budget needs --price-input and --price-output (or --prices FILE), and --max-tokens: without them no request's worst "
                    "case is known");
    return c;
}

kd_code kd_asking_init(kd_asking *q, const kd_teach_opts *o, const kd_remote_opts *ro, kd_err *e) {
    *q = (kd_asking){.o = o, .ro = ro, .most = o->max_tokens > 0 ? (double)o->max_tokens : 0};
    kd_code c = ro->extra_body ? check_extra(q, e) : KD_OK;
    if (!c) c = check_endpoints(q, e);
    if (!c) c = check_headers(ro, e);
    if (!c && o->prefill && !*o->prefill) c = kd_fail(e, KD_EINVAL, "--prefill: expected a text, found an empty one");
    if (c) kd_asking_clear(q);
    return c;
}

void kd_asking_clear(kd_asking *q) {
    kd_json_free(q->extra);
    q->extra = NULL;
}

/* Who answers: the endpoint's URL, or, of several, "rotate"; models of other names than the first's are told, for they may be others. */
kd_code kd_asking_settings(kd_buf *json, const kd_asking *q, kd_err *e) {
    const kd_remote_opts *ro = q->ro;
    kd_buf more = {0};
    kd_teach_opts known = *q->o;
    kd_code c = KD_OK;
    bool others = false;
    if (!ro->send_seed) known.seed = 0;
    if (q->extra) c = kd_buf_printf(&more, "\"extra_body\":%s", ro->extra_body);
    if (!c && ro->logprobs >= 0) c = kd_buf_printf(&more, "%s\"logprobs\":%d", more.len ? "," : "", ro->logprobs);
    for (size_t i = 0; i < ro->n_endpoints; i++) others |= ro->endpoints[i].model && strcmp(ro->endpoints[i].model, ro->model) != 0;
    if (!c && others) {
        kd_jsonw w = {.out = &more};
        c = kd_buf_printf(&more, "%s\"models\":", more.len ? "," : "");
        kd_jsonw_array(&w);
        for (size_t i = 0; i < ro->n_endpoints; i++) kd_jsonw_cstr(&w, ro->endpoints[i].model ? ro->endpoints[i].model : ro->model);
        kd_jsonw_end_array(&w);
        c = c ? c : w.code;
    }
    const char *who = ro->n_endpoints ? "rotate" : ro->url;
    c = c ? kd_fail(e, c, "settings: out of memory") : kd_teach_settings(json, &known, who, ro->model, NULL, more.data, e);
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

kd_code kd_asking_body(kd_buf *out, const kd_asking *q, const kd_work_item *item, const char *model, int choices, bool batch, kd_err *e) {
    kd_json *doc;
    bool stream = q->ro->stream && !batch;
    kd_code c = kd_teach_conversation(&doc, item, q->o->system, q->o->prefill, e);
    if (c) return c;
    kd_jsonw w = {.out = out};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "model"), kd_jsonw_cstr(&w, model);
    kd_jsonw_key(&w, "messages"), kd_jsonw_node(&w, kd_json_get(kd_json_root(doc), "messages"));
    if (item->tools.len) kd_jsonw_key(&w, "tools"), kd_jsonw_raw(&w, item->tools);
    write_sampling(&w, q, item);
    if (q->ro->logprobs >= 0)
        kd_jsonw_key(&w, "logprobs"), kd_jsonw_bool(&w, true), kd_jsonw_key(&w, "top_logprobs"), kd_jsonw_int(&w, q->ro->logprobs);
    if (choices > 1) kd_jsonw_key(&w, "n"), kd_jsonw_int(&w, choices);
    if (!batch) kd_jsonw_key(&w, "stream"), kd_jsonw_bool(&w, stream);
    if (stream) {
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
bool kd_asking_priced(const kd_asking *q) {
    bool any = q->ro->prices.input >= 0 || q->ro->prices.output >= 0;
    for (size_t i = 0; i < q->ro->n_endpoints; i++) any |= q->ro->endpoints[i].prices.input >= 0 || q->ro->endpoints[i].prices.output >= 0;
    return any;
}

double kd_asking_worst_tokens(const kd_asking *q, size_t n, int choices) { return (double)n + ALLOWANCE + q->most * choices; }

double kd_asking_worst_price(const kd_asking *q, const kd_prices *p, size_t n, int choices) {
    return kd_prices_worst(p, (double)n + ALLOWANCE, q->most * choices);
}

/* ---- the plan ---- */
/* Bytes of the bodies of all questions, and how many these are. */
static kd_code measure(kd_study *s, const kd_asking *q, uint64_t *n, uint64_t *bytes, kd_err *e) {
    kd_prompts *rows = NULL;
    kd_buf body = {0};
    kd_code c = kd_prompts_open(&rows, s, q->o->work.split, q->o->work.limit, NULL, e);
    for (bool more = true; !c && more;) {
        kd_prompt row;
        c = kd_prompts_next(rows, &row, &more, e);
        if (!c && more) {
            body.len = 0;
            kd_work_item item = {.prompt = row.id, .messages = row.messages, .tools = row.tools};
            c = kd_asking_body(&body, q, &item, q->ro->model, 1, false, e);
            (*n)++, *bytes += body.len + ALLOWANCE;
        }
    }
    kd_prompts_close(rows);
    kd_buf_clear(&body);
    return c;
}

kd_code kd_teach_remote_plan(kd_study *s, const kd_teach_opts *o, const kd_remote_opts *ro, kd_remote_plan *p, kd_err *e) {
    kd_buf json = {0};
    kd_work_state state = {0};
    kd_spend spend = {0};
    int64_t id = 0;
    uint64_t n = 0, bytes = 0;
    double each = -1;
    *p = (kd_remote_plan){.cost = -1, .seconds = -1};
    kd_asking q;
    kd_code c = kd_asking_init(&q, o, ro, e);
    if (c) return c;
    c = kd_asking_settings(&json, &q, e);
    if (!c) c = kd_study_settings_find(s, &id, json.data, e);
    if (!c) c = kd_work_plan(s, id, &o->work, &state, e);
    if (!c && id) c = kd_study_spend(s, id, &spend, e);
    if (!c && id) c = kd_study_seconds(s, id, &each, e);
    if (!c) c = measure(s, &q, &n, &bytes, e);
    if (!c) {
        p->total = state.total, p->missing = state.total - state.done;
        if (o->work.until) p->missing *= (uint64_t)(o->work.samples ? o->work.samples : 1); /* at most */
        p->prompt_tokens = n ? (uint64_t)((double)bytes / (double)n * (double)p->missing) : 0;
        p->completion_tokens = p->missing * (uint64_t)q.most;
        const kd_prices *prices = ro->n_endpoints && !costed(&ro->prices) ? &ro->endpoints[0].prices : &ro->prices;
        if (costed(prices) && q.most > 0) p->cost = kd_prices_worst(prices, (double)p->prompt_tokens, (double)p->completion_tokens);
        p->spent = spend.cost;
        if (each >= 0) p->seconds = each * (double)p->missing / (double)(ro->concurrency ? ro->concurrency : 32);
    }
    kd_buf_clear(&json);
    kd_asking_clear(&q);
    return c;
}
