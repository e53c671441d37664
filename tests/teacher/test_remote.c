/* tests/teacher/test_remote.c - the remote teacher against a scripted server: the faults of the table in teacher/README.md, budgets, limits.
 * Times are only bounded from below. */
#include "remote_help.h"

#include "distill/base/json.h"
#include "distill/base/rng.h"

/* What goes out, and what comes of it. */
typedef struct {
    int bad, authorized, seeds[8];
    char model[32];
} seen;

static void look_at(void *ctx, const request *q, reply *a) {
    seen *v = ctx;
    kd_json *doc = NULL;
    int64_t seed, most;
    if (kd_json_parse(&doc, q->body, strlen(q->body), "body", NULL)) v->bad++;
    const kd_json_node *o = kd_json_root(doc), *m = kd_json_first(kd_json_get(o, "messages"));
    if (!kd_str_is(kd_json_string(kd_json_get(m, "role")), "system") || !kd_str_is(kd_json_string(kd_json_get(m, "content")), "be brief"))
        v->bad++;
    if (!kd_json_int(kd_json_get(o, "seed"), &seed) || seed < 7 || seed > 8) v->bad++;
    if (!kd_json_int(kd_json_get(o, "max_completion_tokens"), &most) || most != 50 || kd_json_get(o, "max_tokens")) v->bad++;
    if (kd_json_number(kd_json_get(o, "temperature"), 0) != 0.5 || kd_json_get(o, "top_p")) v->bad++;
    v->seeds[seed & 7]++;
    v->authorized += strstr(q->head, "\r\nAuthorization: Bearer s3cret-key\r\n") != NULL;
    if (!strstr(q->head, "POST /v1/chat/completions HTTP/1.1\r\n") || strstr(q->head, "Expect:")) v->bad++;
    kd_json_free(doc);
    good(NULL, q, a);
}

static bool holds(const char *path, const char *word) {
    kd_buf b = {0};
    bool found = kd_file_read(&b, path, 1 << 30, NULL) == KD_OK && b.len && memmem(b.data, b.len, word, strlen(word));
    kd_buf_clear(&b);
    return found;
}

static void test_requests(void **state) {
    (void)state;
    kd_study *s = study_of("requests.study", 10);
    seen v = {0};
    server *h = server_start(look_at, &v);
    kd_teach_opts o = opts(2);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    o.system = "be brief", o.seed = 7, o.temperature = 0.5;
    ro.send_seed = true, ro.key = "s3cret-key", ro.extra_body = "{\"max_completion_tokens\":50}";
    kd_remote_plan p;
    OK(kd_teach_remote_plan(s, &o, &ro, &p, &e));
    assert_int_equal(p.missing, 20);
    assert_int_equal(p.completion_tokens, 1000);
    assert_int_equal(server_requests(h), 0);
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_int_equal(r.answered, 20);
    assert_int_equal(r.prompt_tokens, 200);
    assert_true(r.cost > 20 * 20e-6 - 1e-12 && r.cost < 20 * 20e-6 + 1e-12 && p.cost > r.cost);
    assert_int_equal(v.bad, 0);
    assert_int_equal(v.authorized, 20);
    assert_int_equal(v.seeds[7], 10); /* samples of a question have seeds of their own */
    assert_true(server_most(h) <= 8);
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e)); /* nothing is missing, nothing is asked */
    assert_int_equal(r.answered, 0);
    assert_int_equal(r.done_before, 20);
    assert_int_equal(server_requests(h), 20);
    o.work.samples = 3;
    kd_err err;
    kd_code c = kd_teach_remote(s, &o, &ro, NULL, &r, &err);
    assert_int_equal(v.bad, 10); /* seed 9 */
    assert_int_equal(c, KD_OK);
    assert_int_equal(r.answered, 10);
    kd_study_close(s);
    server_stop(h);
    assert_false(holds(in_tmp("requests.study"), "s3cret-key") || holds(in_tmp("requests.study-wal"), "s3cret-key"));
}

static void test_options(void **state) {
    (void)state;
    kd_study *s = study_of("options.study", 1);
    kd_teach_opts o = opts(1);
    kd_teach_report r;
    static const struct {
        const char *url, *extra, *header, *why;
    } t[] = {{"ftp://x/v1", NULL, NULL, "expected a URL"},
             {"http://me:secret@127.0.0.1/v1", NULL, NULL, "user"},
             {"https://example.invalid/v1?key=secret", NULL, NULL, "query"},
             {"http://example.invalid/v1", NULL, NULL, "plain http"},
             {"http://127.0.0.1.example.invalid/v1", NULL, NULL, "plain http"},
             {"http://127.0.0.1\\@example.invalid/v1", NULL, NULL, ""},
             {"http://127.0.0.1:1/v1", "{\"n\":4}", NULL, "\"n\" cannot be set"},
             {"http://127.0.0.1:1/v1", "[1]", NULL, "expected a JSON object"},
             {"http://127.0.0.1:1/v1", "{\"a\":1},\"x\":2", NULL, "--extra-body"},
             {"http://127.0.0.1:1/v1", NULL, "authorization: Bearer secret", "api-key-file"},
             {"http://127.0.0.1:1/v1", NULL, "X-A: b\r\nX-B: c", "Name: value"}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        const char *headers[] = {t[i].header};
        kd_remote_opts ro = {.url = t[i].url,
                             .model = "m",
                             .extra_body = t[i].extra,
                             .headers = headers,
                             .n_headers = t[i].header != NULL,
                             .budget = -1,
                             .logprobs = -1};
        kd_err err = {0};
        kd_code c = kd_teach_remote(s, &o, &ro, NULL, &r, &err);
        if ((c != KD_EINVAL && c != KD_EFORMAT) || !strstr(err.msg, t[i].why) || strstr(err.msg, "secret@") ||
            strstr(err.msg, "Bearer secret") || strstr(err.msg, "key=secret"))
            fail_msg("%s: code %d %s", t[i].url, (int)c, err.msg);
    }
    o.max_tokens = -1;
    FAILS(KD_EINVAL, "worst case",
          kd_teach_remote(
              s, &o, &(kd_remote_opts){.url = "http://127.0.0.1:1", .model = "m", .budget = 1, .prices = {1, 1, -1, -1}, .logprobs = -1},
              NULL, &r, &e));
    kd_study_close(s);
}

/* Every fault once, in the first requests; what must be said of it in the table of attempts. */
static const struct {
    const char *reason;
    reply a;
    const char *body;
} faults[] = {
    {"http 429: slow down", {.status = 429, .headers = "retry-after-ms: 20\r\n"}, "{\"error\":{\"message\":\"slow down\"}}"},
    {"http 429: ", {.status = 429}, ""},
    {"http 500: oops", {.status = 500}, "oops"},
    {"http 502: <html>", {.status = 502, .headers = "Content-Type: text/html\r\n"}, "<html>"},
    {"http 503: busy", {.status = 503, .headers = "Retry-After: 0\r\n"}, "{\"message\":\"busy\"}"},
    {"http 408: ", {.status = 408}, ""},
    {"http 409: ", {.status = 409}, ""},
    {"http 418: teapot", {.status = 418, .headers = "x-should-retry: true\r\n"}, "teapot"},
    {"cut: ", {.cut = 40, .end = END_RESET}, "GOOD"},
    {"cut: ", {.cut = 40, .end = END_CLOSE}, "GOOD"},
    {"cut: ", {.cut = 40, .end = END_HALF}, "GOOD"},
    {"cut: ", {.no_answer = true, .end = END_HALF}, NULL},
    {"cut: ", {.no_answer = true, .end = END_CLOSE}, NULL},
    {"cut: ", {.no_answer = true, .end = END_RESET}, NULL},
    {"cut: ", {.cut = 60, .pieces = 16, .end = END_CLOSE}, "GOOD"},
    {"timeout: ", {.no_answer = true, .end = END_STALL}, NULL},
    {"timeout: ", {.cut = 40, .end = END_STALL}, "GOOD"},
    {"not JSON", {.headers = "Content-Type: text/html\r\n"}, "<html>welcome</html>"},
    {"an empty body", {0}, ""},
    {"not JSON", {0}, "{\"choices\":[{\"message\":{\"content\":\"4"},
    {"an error inside a 200: boom", {0}, "{\"error\":{\"message\":\"boom\"}}"},
    {"no choices", {0}, "{\"choices\":7}"},
    {"a choice without a message", {0}, "{\"choices\":[{\"message\":[]}]}"},
    {"not JSON", {0}, "{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}"},
    {"an empty answer, finish reason stop", {0}, "{\"choices\":[{\"message\":{\"content\":\"\"},\"finish_reason\":\"stop\"}]}"},
    {"a stream that ended",
     {.headers = "Content-Type: text/event-stream\r\n", .pieces = 9},
     "data: {\"choices\":[{\"delta\":{\"content\":\"4\"}}]}\n\n"},
};
enum { FAULTS = sizeof faults / sizeof *faults };

static void faulty(void *ctx, const request *q, reply *a) {
    (void)ctx;
    if (q->number >= FAULTS) {
        good(NULL, q, a);
        return;
    }
    *a = faults[q->number].a;
    const char *b = faults[q->number].body;
    a->body = b && !strcmp(b, "GOOD") ? completion("half", 10, 5) : b ? copy_of(b) : NULL;
}

static void test_faults(void **state) {
    (void)state;
    kd_study *s = study_of("faults.study", 30);
    server *h = server_start(faulty, NULL);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    ro.concurrency = 16, ro.timeout = 1.5;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    kd_study_close(s);
    assert_int_equal(r.answered, 30);
    assert_int_equal(r.failed, 0);
    assert_int_equal(r.retried, FAULTS);
    assert_int_equal(server_requests(h), 30 + FAULTS);
    server_stop(h);
    const char *study = in_tmp("faults.study");
    assert_int_equal(sql(study, "SELECT count(*) FROM samples"), 30);
    assert_int_equal(sql(study, "SELECT count(*) FROM samples WHERE answer='half'"), 0);
    assert_int_equal(sql(study, "SELECT count(*) FROM attempts WHERE final=0"), FAULTS);
    assert_int_equal(sql(study, "SELECT count(*) FROM leases"), 0);
    for (int i = 0; i < FAULTS; i++) {
        char q[300];
        int same = 0;
        for (int k = 0; k < FAULTS; k++) same += strncmp(faults[k].reason, faults[i].reason, strlen(faults[i].reason)) == 0;
        snprintf(q, sizeof q, "SELECT count(*) FROM attempts WHERE substr(reason,1,%zu)='%s'", strlen(faults[i].reason), faults[i].reason);
        int64_t n = sql(study, q);
        if (n != same) fail_msg("%s: expected %d attempts, found %lld", faults[i].reason, same, (long long)n);
    }
}

/* A connection that was used before dies without a byte: libcurl alone would ask again and tell nobody, and the first asking may have been paid. */
static void die_later(void *ctx, const request *q, reply *a) {
    (void)ctx;
    good(NULL, q, a);
    if (q->number >= 20 && q->number % 4 == 0) a->no_answer = true, a->end = q->number % 8 ? END_CLOSE : END_RESET;
}

static void test_reused(void **state) {
    (void)state;
    char path[160];
    kd_study *s = study_of("reused.study", 60);
    server *h = server_start(die_later, NULL);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    ro.concurrency = 4;
    snprintf(path, sizeof path, "%s", in_tmp("reused.study"));
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    kd_study_close(s);
    holds_all(path, 60);
    assert_true(r.retried > 5);
    assert_int_equal(server_requests(h), 60 + (int)r.retried); /* every asking is a row: a sample or an attempt */
    assert_int_equal(sql(path, "SELECT count(*) FROM attempts WHERE substr(reason,1,5)='cut: ' AND cost>0.0001"), (int64_t)r.retried);
    server_stop(h);
}

/* ---- faults that end a run ---- */
typedef struct {
    int status, delay_ms;
    const char *headers, *body;
} always;

static void the_same(void *ctx, const request *q, reply *a) {
    const always *v = ctx;
    (void)q;
    a->status = v->status, a->headers = v->headers, a->body = copy_of(v->body);
}

static void test_refusals(void **state) {
    (void)state;
    kd_teach_opts o = opts(1);
    kd_teach_report r;
    kd_study *s = study_of("auth.study", 100);
    always no = {401, 0, NULL, "{\"error\":{\"message\":\"wrong key\"}}"};
    server *h = server_start(the_same, &no);
    kd_remote_opts ro = remote(h);
    ro.key = "s3cret-key";
    FAILS(KD_EAUTH, "wrong key", kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_true(server_requests(h) <= 8); /* what was in flight */
    server_stop(h);
    no = (always){403, 0, NULL, "no"};
    h = server_start(the_same, &no);
    ro.url = server_url(h);
    FAILS(KD_EAUTH, "http 403", kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    server_stop(h);
    kd_study_close(s);
    /* a question that is refused is not asked again in this run; three are not enough to blame the endpoint */
    static const int statuses[] = {400, 404, 422};
    s = study_of("bad.study", 3);
    for (int i = 0; i < 3; i++) {
        no = (always){statuses[i], 0, NULL, "{\"error\":{\"message\":\"too long\"}}"};
        h = server_start(the_same, &no);
        ro.url = server_url(h);
        OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
        assert_int_equal(r.failed, 3);
        assert_int_equal(server_requests(h), 3);
        server_stop(h);
    }
    kd_study_close(s);
    s = study_of("many.study", 100);
    h = server_start(the_same, &no);
    ro.url = server_url(h);
    FAILS(KD_ELIMIT, "refuses every request", kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_true(server_requests(h) <= 20);
    server_stop(h);
    kd_study_close(s);
}

static void test_redirect(void **state) {
    (void)state;
    char location[200];
    kd_study *s = study_of("redirect.study", 20);
    server *other = server_start(good, NULL);
    snprintf(location, sizeof location, "Location: http://127.0.0.2:%d/v1/chat/completions\r\n", server_port(other));
    always away = {307, 0, location, ""};
    server *h = server_start(the_same, &away);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    ro.key = "s3cret-key";
    FAILS(KD_ELIMIT, "http 307", kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_int_equal(server_requests(other), 0);
    server_stop(h);
    server_stop(other);
    kd_study_close(s);
}

static void test_unreachable(void **state) {
    (void)state;
    kd_study *s = study_of("nobody.study", 1);
    server *h = server_start(good, NULL);
    char url[64];
    snprintf(url, sizeof url, "%s", server_url(h));
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    server_stop(h); /* its port refuses now */
    ro.url = url;
    FAILS(KD_EUNREACHABLE, "cannot be reached", kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_true(r.cost == 0);
    kd_study_close(s);
    assert_int_equal(sql(in_tmp("nobody.study"), "SELECT count(*) FROM samples"), 0);
}

/* Trying again for long enough without one answer ends the run; it is no question's fault. */
static void test_never(void **state) {
    (void)state;
    kd_study *s = study_of("never.study", 40);
    always no = {429, 0, "retry-after-ms: 10\r\n", "quota"};
    server *h = server_start(the_same, &no);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    ro.retries = 2;
    FAILS(KD_ELIMIT, "quota", kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    server_stop(h);
    kd_study_close(s);
}

/* ---- limits ---- */
typedef struct {
    double since[400];
    int storm, most_in_storm, retry_at;
    char first[40];
} timing;

static void stormy(void *ctx, const request *q, reply *a) {
    timing *t = ctx;
    t->since[q->number % 400] = clock_s();
    if (clock_s() - t->since[0] < 0.6) {
        t->storm++;
        a->status = 429, a->headers = "Retry-After: 1\r\n", a->body = copy_of("wait");
    } else
        good(NULL, q, a);
}

static void test_storm(void **state) {
    (void)state;
    kd_study *s = study_of("storm.study", 40);
    timing t = {0};
    server *h = server_start(stormy, &t);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_int_equal(r.answered, 40);
    assert_true(t.storm <= 16); /* Retry-After held the others: no more than what was in flight, not every try that there is */
    server_stop(h);
    kd_study_close(s);
}

static void once_429(void *ctx, const request *q, reply *a) {
    timing *t = ctx;
    const char *what = strstr(q->body, "What is");
    if (q->number == 0) {
        snprintf(t->first, sizeof t->first, "%.30s", what);
        a->status = 429, a->headers = "retry-after-ms: 50\r\n", a->body = copy_of("wait");
        return;
    }
    if (!strncmp(what, t->first, strlen(t->first))) t->retry_at = q->number;
    a->delay_ms = 20;
    good(NULL, q, a);
}

/* A retry starts when it is due, not after the last question. */
static void test_due(void **state) {
    (void)state;
    kd_study *s = study_of("due.study", 100);
    timing t = {0};
    server *h = server_start(once_429, &t);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    ro.concurrency = 2;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_true(t.retry_at > 0 && t.retry_at < 60);
    server_stop(h);
    kd_study_close(s);
}

static void exhausted(void *ctx, const request *q, reply *a) {
    timing *t = ctx;
    t->since[q->number] = clock_s();
    good(NULL, q, a);
    a->headers = q->number == 1 ? "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 0m0.3s\r\n"
                                : "x-ratelimit-remaining-requests: 5\r\nx-ratelimit-reset-requests: 12ms\r\n";
}

static void test_rates(void **state) {
    (void)state;
    kd_study *s = study_of("rates.study", 5);
    timing t = {0};
    server *h = server_start(exhausted, &t);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    ro.concurrency = 1;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_true(t.since[2] - t.since[1] >= 0.29);
    server_stop(h);
    kd_study_close(s);
    s = study_of("rps.study", 8);
    h = server_start(exhausted, &t);
    ro.url = server_url(h), ro.concurrency = 8, ro.rps = 10;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_true(t.since[7] - t.since[0] >= 0.65); /* 8 of them, one in the bucket: 0.7 s, less what the way takes */
    server_stop(h);
    kd_study_close(s);
}

/* ---- budget ---- */
typedef struct {
    double cost;
    uint64_t in, out;
    kd_rng rng;
} till;

static void pricey(void *ctx, const request *q, reply *a) {
    till *t = ctx;
    int in = 10 + (int)kd_rng_below(&t->rng, 40), out = 1 + (int)kd_rng_below(&t->rng, 100);
    t->cost += in * 1e-6 + out * 2e-6;
    a->body = completion("x", in, out);
    if (q->number % 7 == 3) a->cut = 30, a->end = END_CLOSE; /* paid, never seen */
}

static void test_budget(void **state) {
    (void)state;
    kd_study *s = study_of("budget.study", 300);
    till t = {.rng = {.key = 5}};
    server *h = server_start(pricey, &t);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    double all = 0;
    ro.budget = 0.012;
    FAILS(KD_ELIMIT, "budget", kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    all += r.cost;
    int asked = server_requests(h);
    assert_true(asked > 20 && r.answered < 300);
    assert_true(t.cost <= ro.budget && all <= ro.budget && all >= t.cost - 1e-9);
    FAILS(KD_ELIMIT, "budget", kd_teach_remote(s, &o, &ro, NULL, &r, &e)); /* what was spent before counts */
    assert_int_equal(server_requests(h), asked);
    ro.budget = 0.02;
    FAILS(KD_ELIMIT, "budget", kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_true(server_requests(h) > asked && t.cost <= ro.budget && all + r.cost <= ro.budget);
    printf("# budget $%.4f: charged $%.6f, usage says $%.6f, %d requests\n", ro.budget, all + r.cost, t.cost, server_requests(h));
    server_stop(h);
    kd_study_close(s);
}

/* ---- streams ---- */
static void streaming(void *ctx, const request *q, reply *a) {
    static const char text[] = ": open\n\ndata: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm \xe2\x82\xac\"}}]}\n\ndata: "
                               "{\"choices\":[{\"delta\":{\"content\":\"4\"}}]}\n\n"
                               "data: {\"choices\":[{\"delta\":{\"content\":\"2\"},\"finish_reason\":\"stop\"}]}\n\ndata: "
                               "{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";
    (void)ctx;
    a->headers = q->number % 2 ? "Content-Type: text/event-stream; charset=utf-8\r\n" : "Content-Type: Text/Event-Stream\r\n";
    a->body = copy_of(text);
    a->pieces = 1 + (size_t)q->number % 13;
    if (q->number < 12) a->cut = 20 + 30 * (size_t)q->number, a->end = q->number % 3 ? END_CLOSE : END_RESET;
}

static void test_stream(void **state) {
    (void)state;
    kd_study *s = study_of("stream.study", 24);
    server *h = server_start(streaming, NULL);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    ro.stream = true, ro.concurrency = 24;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_int_equal(r.answered, 24);
    assert_int_equal(r.retried, 12);
    server_stop(h);
    kd_study_close(s);
    assert_int_equal(sql(in_tmp("stream.study"), "SELECT count(*) FROM samples WHERE answer='42' AND thought='hm \xe2\x82\xac' AND "
                                                 "completion_tokens=3 AND first_token_seconds>=0"),
                     24);
}

/* ---- stopping ---- */
static int stop_after;
static int stopping(void *ctx) { return server_requests(ctx) >= stop_after ? KD_EINTERRUPT : 0; }

static void test_stop(void **state) {
    (void)state;
    kd_study *s = study_of("stop.study", 60);
    server *h = server_start(slow, NULL);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    kd_watch w = {.stop = stopping, .ctx = h};
    stop_after = 20;
    FAILS(KD_EINTERRUPT, "run it again", kd_teach_remote(s, &o, &ro, &w, &r, &e));
    assert_int_equal(r.answered, server_requests(h)); /* what was in flight was waited for and kept */
    assert_true(r.answered >= 20 && r.answered < 60);
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_int_equal(server_requests(h), 60); /* nothing was asked twice */
    server_stop(h);
    kd_study_close(s);
}

/* Every allocation of ours failing in turn (test_machine.c: of the libraries, too) ends with a word for it or with the answers, and never hurts the study. */
static void test_memory(void **state) {
    (void)state;
    kd_study *s = study_of("memory.study", 2);
    server *h = server_start(good, NULL);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    ro.extra_body = "{\"x\":1}", ro.key = "k";
    long i = 1, step = 1;
    int failures = 0;
    for (int samples = 1; samples < 400; samples++) {
        kd_err err = {0};
        o.work.samples = samples;
        kd_alloc_fail_at(i);
        kd_code c = kd_teach_remote(s, &o, &ro, NULL, &r, &err);
        bool failed = kd_alloc_count() >= i;
        kd_alloc_fail_at(0);
        if (!failed) break;
        if (c && c != KD_ENOMEM) fail_msg("allocation %ld: code %d %s", i, (int)c, err.msg);
        failures += c != KD_OK;
        i += step;
    }
    assert_true(failures > 20);
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    OK(kd_study_check(s, &e));
    server_stop(h);
    kd_study_close(s);
    assert_int_equal(sql(in_tmp("memory.study"), "SELECT count(*) FROM leases"), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_requests),    cmocka_unit_test(test_options),  cmocka_unit_test(test_faults),
                                       cmocka_unit_test(test_reused),      cmocka_unit_test(test_refusals), cmocka_unit_test(test_redirect),
                                       cmocka_unit_test(test_unreachable), cmocka_unit_test(test_never),    cmocka_unit_test(test_storm),
                                       cmocka_unit_test(test_due),         cmocka_unit_test(test_rates),    cmocka_unit_test(test_budget),
                                       cmocka_unit_test(test_stream),      cmocka_unit_test(test_stop),     cmocka_unit_test(test_memory)};
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("remote", tests, make_tmp, drop_tmp);
}
