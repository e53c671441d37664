/* teacher/batch.c - see batch.h: making requests into files and batches of them; status, cancelling. What came back is batch_fetch.c's.
 * Source: OpenAI, Batch API reference; vLLM, run_batch. */
#include "teacher/batch_int.h"

#include "distill/base/clock.h"
#include "distill/base/file.h"
#include "teacher/response.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { CALLS = 5, TAKE = 64 };

/* ---- one request after another ---- */
static void on_done(void *ctx, void *user, const kd_http_answer *a) {
    kd_line *l = ctx;
    (void)user;
    l->done = true, l->status = a->status, l->wait = a->head->retry_after;
    kd_buf_clear(&l->body);
    l->body = *a->body;
    *a->body = (kd_buf){0};
    kd_err_clear(&l->err);
    l->code = a->end == KD_HTTP_OK
                  ? KD_OK
                  : kd_fail(&l->err, a->end == KD_HTTP_UNREACHABLE || a->end == KD_HTTP_TLS ? KD_EUNREACHABLE : KD_ELIMIT, "%s", a->why);
}

kd_code kd_line_open(kd_line *l, const kd_remote_opts *ro, kd_err *e) {
    *l = (kd_line){.ro = ro};
    kd_http_opts o = {.ca_file = ro->ca_file,
                      .timeout = ro->timeout > 0 ? ro->timeout : 600,
                      .max_body = (size_t)2 << 30,
                      .connections = 2};
    return kd_http_new(&l->http, &o, on_done, NULL, NULL, l, e);
}

void kd_line_close(kd_line *l) {
    kd_http_free(l->http);
    kd_buf_clear(&l->body);
}

static kd_code target_of(kd_http_target **t, const kd_line *l, const char *base, const char *path, const char *type, kd_err *e) {
    kd_buf url = {0}, secret = {0}, kind = {0};
    size_t n = strlen(base), k = 0;
    const char **lines = kd_calloc(l->ro->n_headers + 2, sizeof *lines);
    while (n && base[n - 1] == '/') n--;
    kd_code c = lines ? kd_buf_printf(&url, "%.*s/%s", (int)n, base, path) : KD_ENOMEM;
    if (!c && l->ro->key) c = kd_buf_printf(&secret, "Authorization: Bearer %s", l->ro->key);
    if (!c && type) c = kd_buf_printf(&kind, "Content-Type: %s", type);
    if (!c && secret.len) lines[k++] = secret.data;
    if (!c && kind.len) lines[k++] = kind.data;
    for (size_t i = 0; !c && i < l->ro->n_headers; i++) lines[k++] = l->ro->headers[i];
    c = c ? kd_fail(e, KD_ENOMEM, "batch: out of memory") : kd_http_target_new(t, url.data, lines, k, e);
    if (secret.data) explicit_bzero(secret.data, secret.cap);
    kd_buf_clear(&secret), kd_buf_clear(&url), kd_buf_clear(&kind);
    kd_free(lines);
    return c;
}

static kd_code judge_status(const kd_line *l, const char *base, const char *path, kd_err *e) {
    char said[320];
    if (l->status >= 200 && l->status < 300) return KD_OK;
    kd_response_error(said, sizeof said, kd_buf_view(&l->body));
    if (l->status == 401 || l->status == 403) return kd_fail(e, KD_EAUTH, "%s: the key was refused (http %d: %s)", base, l->status, said);
    return kd_fail(e, KD_ELIMIT, "%s/%.60s: http %d: %s", base, path, l->status, said);
}

kd_code kd_line_call(kd_line *l, const char *base, const char *path, kd_http_verb verb, const char *type, kd_str body, kd_err *e) {
    kd_http_target *t = NULL;
    kd_code c = kd_url_check(base, e);
    if (c) return c;
    if (!strncmp(base, "http://", 7) && !kd_url_local(base) && !l->ro->insecure_http)
        return kd_fail(e, KD_EINVAL,
                       "%s: plain http to another machine would show key and answers to everyone between; use https, or --insecure-http",
                       base);
    if ((c = target_of(&t, l, base, path, type, e))) return c;
    for (int tries = 0; tries < CALLS; tries++) {
        l->done = false;
        if ((c = kd_http_send(l->http, t, verb, body, l, e))) break;
        while (!c && !l->done) c = kd_http_poll(l->http, 200, e);
        if (c) break;
        c = l->code ? kd_fail(e, l->code, "%s: %s", base, l->err.msg) : judge_status(l, base, path, e);
        bool again = l->code ? l->code == KD_ELIMIT || tries < 2 : l->status == 429 || l->status >= 500 || l->status == 408;
        if (!c || !again || tries == CALLS - 1) break;
        double wait = l->wait >= 0 ? fmin(l->wait, 60) : ldexp(0.5, tries);
        nanosleep(&(struct timespec){(time_t)wait, (long)(fmod(wait, 1) * 1e9)}, NULL);
    }
    kd_http_free(l->http); /* before its target */
    l->http = NULL;
    kd_http_target_free(t);
    kd_buf kept = l->body;
    int status = l->status;
    l->body = (kd_buf){0};
    kd_err ignored;
    if (kd_line_open(l, l->ro, &ignored) && !c) c = kd_fail(e, ignored.code, "%s", ignored.msg);
    l->body = kept, l->status = status;
    return c;
}

/* ---- files of requests ---- */
static kd_code put_line(kd_buf *out, const char *mark, const kd_work_item *item, kd_str body) {
    char id[96];
    kd_jsonw w = {.out = out};
    snprintf(id, sizeof id, "%s-%lld-%d", mark, (long long)item->prompt, item->sample);
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "custom_id"), kd_jsonw_cstr(&w, id);
    kd_jsonw_key(&w, "method"), kd_jsonw_cstr(&w, "POST");
    kd_jsonw_key(&w, "url"), kd_jsonw_cstr(&w, "/v1/chat/completions");
    kd_jsonw_key(&w, "body"), kd_jsonw_raw(&w, body);
    kd_jsonw_end_object(&w);
    return w.code ? w.code : kd_buf_putc(out, '\n');
}

enum { MARK = 16 };
static const char blank[MARK + 1] = "################"; /* where the mark comes when the batch has one */

/* Leases and writes requests until the limits of a batch, or until nothing is to be had. *broke: the budget said no. */
static kd_code fill_file(kd_buf *out, uint64_t *n, kd_work *work, const kd_asking *q, const kd_batch_opts *b, bool *broke, kd_err *e) {
    uint64_t most = b->requests ? b->requests : 50000, bytes = b->bytes ? b->bytes : 100000000;
    kd_buf body = {0};
    kd_code c = KD_OK;
    *n = 0, *broke = false;
    while (!c && *n < most && out->len < bytes && !*broke) {
        kd_work_item items[TAKE];
        size_t had = 0, i = 0;
        c = kd_work_next(work, items, most - *n < TAKE ? (size_t)(most - *n) : TAKE, &had, e);
        if (c || !had) break;
        for (; i < had && !c && !*broke; i++) {
            size_t may = 0;
            body.len = 0;
            if ((c = kd_asking_body(&body, q, &items[i], q->ro->model, 1, true, e))) break;
            if (*n && out->len + body.len + 200 > bytes) { /* it opens the next one */
                bytes = out->len;
                break;
            }
            double worst = kd_asking_priced(q) ? kd_asking_worst_price(q, &q->ro->prices, body.len, 1) : -1;
            c = kd_work_sent(work, &(kd_work_try){items[i].prompt, items[i].sample, worst}, 1, q->ro->budget, &may, e);
            *broke = !c && !may;
            if (!c && may && put_line(out, blank, &items[i], kd_buf_view(&body))) c = kd_fail(e, KD_ENOMEM, "batch: out of memory");
            *n += !c && may;
        }
        for (; i < had && !c; i++) c = kd_work_release(work, items[i].prompt, items[i].sample, e);
    }
    kd_buf_clear(&body);
    return c;
}

/* Each line begins {"custom_id":"################-. */
static void write_mark(kd_buf *out, const char *mark) {
    const size_t at = strlen("{\"custom_id\":\"");
    for (size_t i = 0; i < out->len;) {
        memcpy(out->data + i + at, mark, MARK);
        char *end = memchr(out->data + i, '\n', out->len - i);
        i = end ? (size_t)(end - out->data) + 1 : out->len;
    }
}

/* ---- a batch at the provider ---- */
static kd_code text_of(const kd_line *l, const char *key, char *out, size_t cap, kd_err *e) {
    kd_json *doc;
    kd_code c = kd_json_parse(&doc, l->body.data ? l->body.data : "", l->body.len, "the provider's answer", e);
    kd_str v = kd_json_string(kd_json_get(kd_json_root(doc), key));
    if (!c && (!v.len || v.len >= cap)) c = kd_fail(e, KD_EFORMAT, "the provider's answer: expected a text \"%s\"", key);
    if (!c) memcpy(out, v.data, v.len + 1);
    kd_json_free(doc);
    for (char *p = out; !c && *p; p++) /* it goes into paths */
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *p))
            c = kd_fail(e, KD_EFORMAT, "the provider's answer: \"%s\" holds characters that no id has", key);
    return c;
}

static kd_code upload(kd_line *l, const char *base, const char *mark, kd_str lines, char id[128], kd_err *e) {
    kd_buf body = {0};
    char type[120];
    snprintf(type, sizeof type, "multipart/form-data; boundary=distill-%s", mark);
    kd_code c = kd_buf_printf(
        &body,
        "--distill-%s\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--distill-%s\r\nContent-Disposition: form-data; "
        "name=\"file\"; filename=\"distill-%s.jsonl\"\r\nContent-Type: application/jsonl\r\n\r\n",
        mark, mark, mark);
    if (!c) c = kd_buf_append(&body, lines.data, lines.len);
    if (!c) c = kd_buf_printf(&body, "\r\n--distill-%s--\r\n", mark);
    c = c ? kd_fail(e, KD_ENOMEM, "batch: out of memory") : kd_line_call(l, base, "files", KD_HTTP_POST, type, kd_buf_view(&body), e);
    kd_buf_clear(&body);
    return c ? c : text_of(l, "id", id, 128, e);
}

static kd_code create(kd_line *l, const char *base, const char *mark, const char *file, const char *window, char id[128], kd_err *e) {
    kd_buf body = {0};
    kd_jsonw w = {.out = &body};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "input_file_id"), kd_jsonw_cstr(&w, file);
    kd_jsonw_key(&w, "endpoint"), kd_jsonw_cstr(&w, "/v1/chat/completions");
    kd_jsonw_key(&w, "completion_window"), kd_jsonw_cstr(&w, window ? window : "24h");
    kd_jsonw_key(&w, "metadata");
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "distill"), kd_jsonw_cstr(&w, mark);
    kd_jsonw_end_object(&w);
    kd_jsonw_end_object(&w);
    kd_code c = w.code ? kd_fail(e, KD_ENOMEM, "batch: out of memory")
                       : kd_line_call(l, base, "batches", KD_HTTP_POST, "application/json", kd_buf_view(&body), e);
    kd_buf_clear(&body);
    return c ? c : text_of(l, "id", id, 128, e);
}

/* Looks through the provider's list for the mark; id stays "" if it is not there. */
static kd_code find_mark(kd_line *l, const kd_sent_batch *b, char id[128], kd_err *e) {
    char path[256] = "batches?limit=100";
    id[0] = 0;
    for (int page = 0; page < 50; page++) {
        kd_json *doc = NULL;
        kd_code c = kd_line_call(l, b->url, path, KD_HTTP_GET, NULL, (kd_str){NULL, 0}, e);
        if (c || (c = kd_json_parse(&doc, l->body.data ? l->body.data : "", l->body.len, "the provider's list of batches", e))) return c;
        kd_str last = {NULL, 0};
        for (const kd_json_node *n = kd_json_first(kd_json_get(kd_json_root(doc), "data")); n; n = kd_json_next(n)) {
            last = kd_json_string(kd_json_get(n, "id"));
            if (kd_str_is(kd_json_string(kd_json_get(kd_json_get(n, "metadata"), "distill")), b->mark) && last.len < 128)
                memcpy(id, last.data, last.len + 1);
        }
        bool more = kd_json_bool(kd_json_get(kd_json_root(doc), "has_more"), false) && last.len && last.len < 128;
        if (more) snprintf(path, sizeof path, "batches?limit=100&after=%s", last.data);
        kd_json_free(doc);
        if (id[0] || !more) return KD_OK;
    }
    return KD_OK;
}

kd_code kd_batch_adopt(kd_study *s, kd_line *l, kd_err *e) {
    kd_sent_batch b;
    bool more = true;
    char id[128];
    kd_code c = KD_OK;
    for (int64_t after = 0; !c && !(c = kd_batch_next(s, NULL, after, &b, &more, e)) && more; after = b.id) {
        if (strcmp(b.state, "taken") != 0 || kd_unix_ms() - b.created < 120000) continue; /* its process may be sending it now */
        c = find_mark(l, &b, id, e);
        if (!c) c = id[0] ? kd_batch_sent(s, b.id, id, e) : kd_batch_end(s, b.id, "never sent", false, e);
    }
    return c;
}

/* ---- submitting ---- */
static kd_code send_batch(kd_study *s, kd_line *l, const kd_sent_batch *b, kd_str lines, const char *window, kd_err *e) {
    char file[128], id[128];
    kd_code c = upload(l, b->url, b->mark, lines, file, e);
    if (!c) c = create(l, b->url, b->mark, file, window, id, e);
    if (!c) return kd_batch_sent(s, b->id, id, e);
    if (c == KD_EAUTH || (l->status >= 400 && l->status < 500)) /* refused: nothing was begun */
        (void)kd_batch_end(s, b->id, "refused", false, NULL);
    return c;
}

static kd_code submit_all(kd_study *s, kd_work *work, const kd_asking *q, const kd_batch_opts *b, kd_line *l, const kd_watch *w,
                          kd_batch_report *r, kd_err *e) {
    kd_code c = KD_OK;
    bool broke = false;
    for (uint64_t n = 1; !c && n && !broke;) {
        kd_buf lines = {0};
        kd_sent_batch batch;
        int stop = kd_stopping(w);
        if (stop) return kd_fail(e, (kd_code)stop, "stopped; run it again to go on");
        kd_batch_opts one = *b;
        if (b->file) one.requests = UINT64_MAX, one.bytes = UINT64_MAX; /* a file of one's own has no limits but the disk's */
        c = fill_file(&lines, &n, work, q, &one, &broke, e);
        if (!c && n) {
            c = kd_batch_take(&batch, work, b->file ? "file" : q->ro->url, b->file != NULL, e);
            if (!c) write_mark(&lines, batch.mark);
            if (!c && b->file && (c = kd_file_write(b->file, lines.data, lines.len, e)))
                (void)kd_batch_end(s, batch.id, "not written", false, NULL);
            if (!c && !b->file) c = send_batch(s, l, &batch, kd_buf_view(&lines), b->window, e);
            if (!c) r->batches++, r->requests += n;
            kd_emit(w, (kd_event){.kind = KD_EV_STEP, .stage = "submit", .done = r->requests, .unit = "requests"});
        }
        kd_buf_clear(&lines);
    }
    return !c && broke ? kd_fail(e, KD_ELIMIT, "the budget is reached: another request might pass it") : c;
}

kd_code kd_batch_submit(kd_study *s, const kd_teach_opts *o, const kd_remote_opts *ro, const kd_batch_opts *b, const kd_watch *w,
                        kd_batch_report *r, kd_err *e) {
    kd_asking q;
    kd_buf json = {0};
    kd_work *work = NULL;
    kd_line l = {0};
    int64_t settings;
    *r = (kd_batch_report){0};
    if (b->file && kd_file_exists(b->file)) return kd_fail(e, KD_ECREATE, "%s: is there already", b->file);
    if (o->work.until || o->work.adaptive)
        return kd_fail(e, KD_EINVAL, "batch: --until-correct and --adaptive need verdicts while asking: use generate");
    kd_code c = kd_asking_init(&q, o, ro, e);
    if (c) return c;
    c = kd_asking_settings(&json, &q, e);
    if (!c) c = kd_study_settings(s, &settings, json.data, NULL, e);
    if (!c && !b->file) c = kd_line_open(&l, ro, e);
    if (!c && !b->file) c = kd_batch_adopt(s, &l, e);
    if (!c) c = kd_work_open(&work, s, settings, &o->work, e);
    kd_emit(w, (kd_event){.kind = KD_EV_BEGIN, .stage = "submit", .unit = "requests"});
    if (!c) c = submit_all(s, work, &q, b, &l, w, r, e);
    kd_emit(w, (kd_event){.kind = KD_EV_END, .stage = "submit", .done = r->requests, .unit = "requests"});
    kd_work_close(work);
    kd_line_close(&l);
    kd_buf_clear(&json);
    kd_asking_clear(&q);
    return c;
}

/* ---- status, cancelling ---- */
static kd_code look_at(kd_line *l, const kd_sent_batch *b, kd_batch_told *told, void *ctx, kd_err *e) {
    char path[200];
    kd_json *doc;
    int64_t done = 0, failed = 0;
    if (!b->remote[0]) {
        if (told) told(ctx, b, b->state, 0, 0);
        return KD_OK;
    }
    snprintf(path, sizeof path, "batches/%s", b->remote);
    kd_code c = kd_line_call(l, b->url, path, KD_HTTP_GET, NULL, (kd_str){NULL, 0}, e);
    if (c || (c = kd_json_parse(&doc, l->body.data ? l->body.data : "", l->body.len, "the provider's answer", e))) return c;
    const kd_json_node *o = kd_json_root(doc), *n = kd_json_get(o, "request_counts");
    (void)kd_json_int(kd_json_get(n, "completed"), &done), (void)kd_json_int(kd_json_get(n, "failed"), &failed);
    kd_str state = kd_json_string(kd_json_get(o, "status"));
    if (told) told(ctx, b, state.len ? state.data : "unknown", done, failed);
    kd_json_free(doc);
    return KD_OK;
}

kd_code kd_batch_status(kd_study *s, const char *name, const kd_remote_opts *ro, kd_batch_told *told, void *ctx, kd_batch_report *r,
                        kd_err *e) {
    kd_line l;
    kd_sent_batch b;
    bool more = true;
    *r = (kd_batch_report){0};
    kd_code c = kd_line_open(&l, ro, e);
    for (int64_t after = 0; !c && !(c = kd_batch_next(s, name, after, &b, &more, e)) && more; after = b.id) {
        r->batches++, r->requests += (uint64_t)b.requests;
        c = look_at(&l, &b, told, ctx, e);
    }
    kd_line_close(&l);
    return c;
}

kd_code kd_batch_cancel(kd_study *s, const char *name, const kd_remote_opts *ro, kd_batch_report *r, kd_err *e) {
    kd_line l;
    kd_sent_batch b;
    bool more = true;
    char path[200];
    *r = (kd_batch_report){0};
    kd_code c = kd_line_open(&l, ro, e);
    for (int64_t after = 0; !c && !(c = kd_batch_next(s, name, after, &b, &more, e)) && more; after = b.id) {
        r->batches++;
        snprintf(path, sizeof path, "batches/%s/cancel", b.remote);
        if (b.remote[0])
            c = kd_line_call(&l, b.url, path, KD_HTTP_POST, "application/json", KD_STR("{}"), e); /* what is done stays to be fetched */
        else if (!strcmp(b.state, "file"))
            c = kd_batch_end(s, b.id, "cancelled", false, e), r->freed += (uint64_t)b.left;
    }
    kd_line_close(&l);
    return c;
}
