/* tests/teacher/test_more.c - several endpoints, questions asked until they are right, several answers a request, prefill, log-probabilities, the plan, and a study
 * that cannot be written; against the scripted server. */
#include "remote_help.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include "distill/base/gz.h"
#include "distill/base/json.h"
#include "datasets/logprobs.h"

/* ---- several endpoints ---- */
typedef struct {
    int down_until, status; /* the first so many requests fail with this status; 0: the connection breaks */
    int wrong_model;
} ailing;

static void ail(void *ctx, const request *q, reply *a) {
    ailing *v = ctx;
    v->wrong_model += !strstr(q->body, "{\"model\":\"second\"");
    if (q->number < v->down_until) {
        a->status = v->status, a->body = copy_of("{\"error\":{\"message\":\"out\"}}");
        if (!v->status) a->no_answer = true, a->end = END_RESET;
        return;
    }
    good(NULL, q, a);
    a->delay_ms = 2;
}

static void slow_good(void *ctx, const request *q, reply *a) {
    good(ctx, q, a);
    a->delay_ms = 5;
}

static void test_rotate(void **state) {
    (void)state;
    static const int statuses[] = {0, 500, 503, 401};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        char name[40];
        snprintf(name, sizeof name, "rotate%d.study", statuses[i]);
        kd_study *s = study_of(name, 300);
        ailing v = {.down_until = statuses[i] == 401 ? 1000000 : 3, .status = statuses[i]};
        server *one = server_start(slow_good, NULL), *two = server_start(ail, &v);
        kd_endpoint_opts ends[] = {{.url = server_url(one), .prices = KD_PRICES_NONE},
                                   {.url = server_url(two), .model = "second", .prices = {3, 3, -1, -1}}};
        kd_teach_opts o = opts(1);
        kd_remote_opts ro = remote(one);
        kd_teach_report r;
        ro.endpoints = ends, ro.n_endpoints = 2, ro.url = NULL, ro.concurrency = 4;
        OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
        assert_int_equal(r.answered, 300);
        assert_int_equal(v.wrong_model, 0);
        if (statuses[i] == 401)
            assert_int_equal(server_requests(two) <= 4, 1); /* its key was refused: nothing more goes there */
        else
            assert_true(server_requests(two) > 3); /* well again, it has its share */
        kd_study_close(s);
        assert_int_equal(sql(in_tmp(name), "SELECT count(*) FROM samples WHERE json_extract(meta, '$.endpoint') IS NOT NULL"), 300);
        assert_int_equal(sql(in_tmp(name), "SELECT count(DISTINCT settings) FROM samples"), 1);
        server_stop(one), server_stop(two);
    }
}

static void test_rotate_dead(void **state) {
    (void)state;
    kd_study *s = study_of("dead.study", 5);
    server *one = server_start(good, NULL), *two = server_start(good, NULL);
    char a[64], b[64];
    snprintf(a, sizeof a, "%s", server_url(one)), snprintf(b, sizeof b, "%s", server_url(two));
    kd_remote_opts ro = remote(one);
    server_stop(one), server_stop(two);
    kd_endpoint_opts ends[] = {{.url = a, .prices = KD_PRICES_NONE}, {.url = b, .prices = KD_PRICES_NONE}};
    kd_teach_opts o = opts(1);
    kd_teach_report r;
    ro.endpoints = ends, ro.n_endpoints = 2, ro.url = NULL;
    FAILS(KD_EUNREACHABLE, "cannot be reached", kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    kd_study_close(s);
}

static void test_rotate_file(void **state) {
    (void)state;
    static const struct {
        const char *text, *why;
    } bad[] = {{"", "no endpoint"},
               {"# only this\n\n", "no endpoint"},
               {"{\"url\":\"http://x/v1\"}\n{\"url\":7}\n", "line 2: \"url\""},
               {"{\"model\":\"m\"}", "\"url\" is needed"},
               {"{\"url\":\"http://x/v1\",\"key\":\"sk-secret\"}", "unknown member \"key\""},
               {"{\"url\":\"http://x/v1\",\"concurrency\":-2}", "concurrency"},
               {"[1]", "expected a JSON object"},
               {"{\"url\":", "line 1"}};
    kd_arena arena = {0};
    kd_endpoint_opts *v;
    size_t n;
    kd_err err = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(in_tmp("ends.jsonl"), bad[i].text);
        kd_code c = kd_endpoints_read(&v, &n, &arena, in_tmp("ends.jsonl"), &err);
        if (c != KD_ECONFIG || !strstr(err.msg, bad[i].why) || strstr(err.msg, "sk-secret"))
            fail_msg("%s: code %d, %s", bad[i].text, (int)c, err.msg);
    }
    char text[400];
    write_text(in_tmp("key"), "sk-second\n");
    chmod(in_tmp("key"), 0600);
    snprintf(
        text, sizeof text,
        "# two of them\n{\"url\":\"http://127.0.0.1:1/v1\"}\n\n{\"url\":\"http://127.0.0.1:2/v1\",\"model\":\"m2\",\"api_key_file\":\"%s\","
        "\"concurrency\":7,\"price_input\":0.5}\n",
        in_tmp("key"));
    write_text(in_tmp("ends.jsonl"), text);
    OK(kd_endpoints_read(&v, &n, &arena, in_tmp("ends.jsonl"), &e));
    assert_int_equal(n, 2);
    assert_string_equal(v[1].key, "sk-second");
    assert_true(v[1].concurrency == 7 && v[1].prices.input == 0.5 && v[1].prices.output == -1 && !v[0].key);
    kd_endpoints_forget(v, n);
    assert_int_equal(v[1].key[0], 0);
    chmod(in_tmp("key"), 0640);
    assert_int_equal(kd_endpoints_read(&v, &n, &arena, in_tmp("ends.jsonl"), &err), KD_EAUTH);
    kd_arena_clear(&arena);
}

/* ---- until right, by pass rate ---- */
/* "What is I + I?" is right at its (I % 4)th answer; I % 4 = 3: never. */
static void sometimes(void *ctx, const request *q, reply *a) {
    int *asked = ctx, i = 0;
    const char *at = strstr(q->body, "What is ");
    char text[40];
    if (at) i = atoi(at + 8);
    int k = asked[i]++;
    snprintf(text, sizeof text, "The answer is %d", i % 4 < 3 && k >= i % 4 ? 2 * i : -1 - k);
    a->body = completion(text, 10, 5);
    a->delay_ms = 1 + q->number % 7;
}

static kd_code judge(void *ctx, kd_study *s, int64_t settings, const int64_t *prompts, size_t n, kd_err *err) {
    kd_buf where = {0};
    (*(int *)ctx)++;
    kd_buf_printf(&where, "settings = %lld", (long long)settings);
    for (size_t i = 0; i < n; i++) kd_buf_printf(&where, "%s%lld", i ? "," : " AND prompt IN (", (long long)prompts[i]);
    if (n) kd_buf_putc(&where, ')');
    kd_code c = kd_label_run(s, &(kd_label_opts){.select = where.data}, NULL, NULL, err);
    kd_buf_clear(&where);
    return c;
}

static void test_until(void **state) {
    (void)state;
    static int asked[200];
    int judged = 0;
    memset(asked, 0, sizeof asked);
    kd_study *s = study_of("until.study", 80);
    server *h = server_start(sometimes, asked);
    kd_teach_opts o = opts(5);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    o.work.until = 1, o.judge = judge, o.judge_ctx = &judged;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_int_equal(r.total, 80); /* questions */
    for (int i = 0; i < 80; i++) {
        int want = i % 4 < 3 ? i % 4 + 1 : 5;
        if (asked[i] != want) fail_msg("question %d was asked %d times, expected %d", i, asked[i], want);
    }
    assert_int_equal(r.answered, 20 * (1 + 2 + 3 + 5));
    int before = server_requests(h);
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e)); /* every question is settled */
    assert_true(server_requests(h) == before && r.done_before == 80);
    o.work.until = 2, o.work.samples = 6; /* more asks for what that lacks */
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    for (int i = 0; i < 80; i++) {
        int want = i % 4 < 3 ? i % 4 + 2 : 6;
        if (asked[i] != want) fail_msg("question %d was asked %d times, expected %d", i, asked[i], want);
    }
    kd_study_close(s);
    server_stop(h);
    assert_int_equal(sql(in_tmp("until.study"), "SELECT count(*) FROM leases"), 0);
}

/* Two answers for everybody, then more where they disagree: questions that are always right or always wrong are left for last. */
static void contested(void *ctx, const request *q, reply *a) {
    int *asked = ctx, i = 0;
    const char *at = strstr(q->body, "What is ");
    char text[40];
    if (at) i = atoi(at + 8);
    int k = asked[i]++;
    snprintf(text, sizeof text, "The answer is %d", i % 3 == 0 || (i % 3 == 1 && k % 2 == 0) ? 2 * i : -1 - k);
    a->body = completion(text, 10, 5);
}

static void test_adaptive(void **state) {
    (void)state;
    static int asked[200];
    int judged = 0, sum[3] = {0};
    memset(asked, 0, sizeof asked);
    kd_study *s = study_of("adaptive.study", 30);
    server *h = server_start(contested, asked);
    kd_teach_opts o = opts(10);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    o.work.adaptive = true, o.work.first = 2, o.judge = judge, o.judge_ctx = &judged;
    ro.budget = 0.0044; /* 20e-6 an answer, of which 60 go to everybody */
    FAILS(KD_ELIMIT, "budget", kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    for (int i = 0; i < 30; i++) sum[i % 3] += asked[i];
    printf("# always right %d, now and then %d, never %d answers\n", sum[0], sum[1], sum[2]);
    assert_true(sum[0] >= 20 && sum[2] >= 20 && sum[1] > sum[0] + 10 && sum[1] > sum[2] + 10);
    ro.budget = -1;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    for (int i = 0; i < 30; i++) assert_int_equal(asked[i], 10);
    kd_study_close(s);
    server_stop(h);
}

/* ---- several answers a request, prefill ---- */
static void several(void *ctx, const request *q, reply *a) {
    kd_json *doc = NULL;
    kd_buf b = {0};
    int64_t n = 1;
    int *most = ctx;
    if (kd_json_parse(&doc, q->body, strlen(q->body), "body", NULL)) abort();
    (void)kd_json_int(kd_json_get(kd_json_root(doc), "n"), &n);
    *most = n > *most ? (int)n : *most;
    kd_buf_puts(&b, "{\"choices\":[");
    for (int64_t i = n - 1; i >= 0; i--) /* in whatever order */
        kd_buf_printf(&b, "%s{\"index\":%lld,\"message\":{\"content\":\"%d of %lld\"},\"finish_reason\":\"stop\"}", i < n - 1 ? "," : "",
                      (long long)i, q->number, (long long)i);
    kd_buf_printf(&b, "],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":%lld}}", (long long)(5 * n));
    a->body = copy_of(b.data);
    if (q->number == 2) free(a->body), a->body = completion("only one", 10, 5); /* fewer than asked for: tried again */
    kd_buf_clear(&b);
    kd_json_free(doc);
}

static void test_choices(void **state) {
    (void)state;
    int most = 0;
    kd_study *s = study_of("choices.study", 20);
    server *h = server_start(several, &most);
    kd_teach_opts o = opts(6);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    ro.choices = 4;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_int_equal(r.answered, 120);
    assert_int_equal(most, 4);
    assert_true(server_requests(h) < 60);
    kd_study_close(s);
    const char *study = in_tmp("choices.study");
    assert_int_equal(sql(study, "SELECT count(*) FROM samples"), 120);
    assert_int_equal(sql(study, "SELECT count(DISTINCT answer) FROM samples"), 120);
    assert_int_equal(sql(study, "SELECT total(completion_tokens) FROM samples"), 600);
    assert_int_equal(sql(study, "SELECT total(flying) FROM leases"), 0);
    assert_int_equal(
        sql(study,
            "SELECT round(1e9*(SELECT total(cost) FROM totals)) = round(1e9*((SELECT total(cost) FROM samples)+(SELECT total(cost) FROM "
            "attempts)))"),
        1);
    server_stop(h);
}

static void continued(void *ctx, const request *q, reply *a) {
    int *bad = ctx;
    const char *last = strstr(q->body, "{\"role\":\"assistant\",\"content\":\"<think>\\nFirst\"}]");
    *bad += !last;
    a->body = completion(q->number % 2 ? ", add.\\n</think>\\n4" : "<think>\\nFirst, add.\\n</think>\\n4", 10, 5);
}

static void test_prefill(void **state) {
    (void)state;
    int bad = 0;
    kd_study *s = study_of("prefill.study", 6);
    server *h = server_start(continued, &bad);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    o.prefill = "<think>\nFirst";
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    kd_study_close(s);
    server_stop(h);
    assert_int_equal(bad, 0);
    assert_int_equal(sql(in_tmp("prefill.study"),
                         "SELECT count(*) FROM samples WHERE thought=char(10)||'First, add.'||char(10) AND answer=char(10)||'4' AND "
                         "thought_from='tags'"),
                     6);
}

/* ---- log-probabilities, the raw body ---- */
static const char list[] = "[{\"token\":\"4\",\"logprob\":-0.3132617473602295,\"bytes\":[52],\"top_logprobs\":[{\"token\":\"4\","
                           "\"logprob\":-0.3132617473602295,\"bytes\":[52]},"
                           "{\"token\":\"5\",\"logprob\":-1.3132617473602295,\"bytes\":[53]}]}]";

static void with_logprobs(void *ctx, const request *q, reply *a) {
    char body[1000];
    (void)ctx, (void)q;
    snprintf(body, sizeof body,
             "{\"choices\":[{\"index\":0,\"logprobs\":{\"content\":%s,\"refusal\":null},\"message\":{\"content\":\"4\"},\"finish_reason\":"
             "\"oddly\"}],\"x\":1.50}",
             list);
    a->body = copy_of(body);
}

static void read_blob(const char *study, const char *q, kd_buf *out) {
    kd_db *db = NULL;
    kd_stmt *st = NULL;
    bool row;
    OK(kd_db_open(&db, study, KD_DB_READ, &e));
    OK(kd_stmt_new(&st, db, q, &e));
    OK(kd_stmt_step(st, &row, &e));
    kd_str v = kd_col_text(st, 0);
    OK(kd_buf_append(out, v.data, v.len));
    kd_stmt_free(st);
    kd_db_close(db);
}

static void test_logprobs(void **state) {
    (void)state;
    kd_study *s = study_of("logprobs.study", 1);
    server *h = server_start(with_logprobs, NULL);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    kd_buf blob = {0}, text = {0};
    ro.logprobs = 2;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    kd_study_close(s);
    server_stop(h);
    read_blob(in_tmp("logprobs.study"), "SELECT logprobs FROM bodies", &blob);
    assert_int_equal(blob.data[0], 2);
    OK(kd_logprobs_unpack(&text, kd_buf_view(&blob), &e));
    assert_string_equal(text.data, list);
    blob.len = text.len = 0;
    read_blob(in_tmp("logprobs.study"), "SELECT body FROM bodies", &blob);
    OK(kd_unzip(&text, blob.data, blob.len, 1 << 20, &e));
    assert_string_equal(text.data, "{\"choices\":[{\"index\":0,\"logprobs\":{\"content\":null,\"refusal\":null},\"message\":{\"content\":"
                                   "\"4\"},\"finish_reason\":\"oddly\"}],"
                                   "\"x\":1.50}");
    assert_int_equal(sql(in_tmp("logprobs.study"), "SELECT count(*) FROM samples WHERE finish='oddly'"), 1);
    kd_buf_clear(&blob), kd_buf_clear(&text);
}

/* ---- the first word of a stream ---- */
static void late_word(void *ctx, const request *q, reply *a) {
    kd_buf b = {0};
    (void)ctx, (void)q;
    for (int i = 0; i < 40; i++) kd_buf_puts(&b, ": waiting\n\n"); /* trickles: the first word comes late */
    kd_buf_puts(&b, "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n");
    for (int i = 0; i < 40; i++) kd_buf_puts(&b, ": waiting\n\n");
    kd_buf_puts(&b, "data: {\"choices\":[{\"delta\":{\"content\":\"4\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
    a->headers = "Content-Type: text/event-stream\r\n";
    a->body = copy_of(b.data);
    a->pieces = 4;
    kd_buf_clear(&b);
}

static void test_first_word(void **state) {
    (void)state;
    kd_study *s = study_of("first.study", 4);
    server *h = server_start(late_word, NULL);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    ro.stream = true;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    kd_study_close(s);
    server_stop(h);
    assert_int_equal(sql(in_tmp("first.study"),
                         "SELECT count(*) FROM samples WHERE answer='4' AND first_token_seconds>0 AND first_token_seconds<=seconds"),
                     4);
}

/* ---- the plan writes nothing ---- */
static void test_plan(void **state) {
    (void)state;
    kd_study_close(study_of("plan.study", 10));
    kd_buf before = {0}, after = {0};
    const char *study = in_tmp("plan.study");
    kd_study *s = NULL;
    kd_remote_plan p;
    kd_teach_opts o = opts(3);
    kd_remote_opts ro = {.url = "https://example.invalid/v1", .model = "m", .budget = 1, .prices = {1, 2, -1, -1}, .logprobs = -1};
    OK(kd_file_read(&before, study, 1 << 30, &e));
    OK(kd_study_open(&s, study, KD_STUDY_READ, &e));
    OK(kd_teach_remote_plan(s, &o, &ro, &p, &e));
    assert_true(p.missing == 30 && p.cost > 0 && p.seconds < 0);
    kd_study_close(s);
    OK(kd_file_read(&after, study, 1 << 30, &e));
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    kd_buf_clear(&before), kd_buf_clear(&after);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rotate),      cmocka_unit_test(test_rotate_dead),
                                       cmocka_unit_test(test_rotate_file), cmocka_unit_test(test_until),
                                       cmocka_unit_test(test_adaptive),    cmocka_unit_test(test_choices),
                                       cmocka_unit_test(test_prefill),     cmocka_unit_test(test_logprobs),
                                       cmocka_unit_test(test_first_word),  cmocka_unit_test(test_plan)};
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("more", tests, make_tmp, drop_tmp);
}
