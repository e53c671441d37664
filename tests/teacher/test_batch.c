/* tests/teacher/test_batch.c - a provider's batch API, played by the scripted server: files, batches, results in any order, what expires, what is cancelled, a key
 * refused, a process that died while submitting; and the files of run-batch. */
#include "remote_help.h"

#include "distill/base/json.h"
#include "teacher/batch.h"

/* ---- the provider ---- */
enum { MOST = 40 };
typedef struct {
    char *files[MOST], *outputs[MOST], *errors[MOST]; /* by number; outputs as they are downloaded */
    char marks[MOST][40];
    int n_files, n_batches, file_of[MOST];
    const char *state;  /* that every batch is in */
    int every, hiccups; /* of the requests only each so many is done (0: all); calls that fail first */
    int cancelled, refuse, posts;
    const char *authorization;
    int unauthorized;
} provider;

/* Lines of results for the requests of a file, the last first. */
static void work_off(provider *p, int b) {
    kd_buf out = {0}, err = {0};
    const char *all = p->files[p->file_of[b]], *line = all + strlen(all);
    int k = 0;
    while (line > all) {
        const char *end = line;
        while (line > all && line[-1] != '\n') line--;
        kd_json *doc = NULL;
        if (end - line > 2 && !kd_json_parse(&doc, line, (size_t)(end - line), "line", NULL)) {
            const char *id = kd_json_string(kd_json_get(kd_json_root(doc), "custom_id")).data;
            k++;
            if (k % 10 == 0)
                kd_buf_printf(&err,
                              "{\"custom_id\":\"%s\",\"response\":{\"status_code\":400,\"body\":{\"error\":{\"message\":\"too "
                              "long\"}}},\"error\":null}\n",
                              id);
            else if (!p->every || k % p->every == 0)
                kd_buf_printf(&out,
                              "{\"id\":\"r%d\",\"custom_id\":\"%s\",\"response\":{\"status_code\":200,\"body\":{\"choices\":[{\"message\":{"
                              "\"content\":\"for %s\"},"
                              "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}},\"error\":null}\n",
                              k, id, id);
            kd_json_free(doc);
        }
        if (line > all) line--;
    }
    kd_buf_puts(&out, "{\"custom_id\":\"somebody-1-0\",\"response\":{}}\nnot JSON at all\n"); /* none of ours */
    free(p->outputs[b]), free(p->errors[b]);
    p->outputs[b] = copy_of(out.data ? out.data : ""), p->errors[b] = copy_of(err.data ? err.data : "");
    kd_buf_clear(&out), kd_buf_clear(&err);
}

static void describe(const provider *p, int b, kd_buf *out) {
    bool over = strcmp(p->state, "in_progress") != 0;
    kd_buf_printf(out,
                  "{\"id\":\"batch_%d\",\"status\":\"%s\",\"metadata\":{\"distill\":\"%s\"},\"request_counts\":{\"total\":9,\"completed\":"
                  "7,\"failed\":1}",
                  b, p->state, p->marks[b]);
    if (over) kd_buf_printf(out, ",\"output_file_id\":\"out_%d\",\"error_file_id\":\"err_%d\"", b, b);
    kd_buf_puts(out, "}");
}

static void upload(provider *p, const request *q, kd_buf *out) {
    const char *at = strstr(q->body, "application/jsonl\r\n\r\n"), *end = at ? strstr(at, "\r\n--distill-") : NULL;
    if (!end || !strstr(q->body, "name=\"purpose\"\r\n\r\nbatch\r\n") || p->n_files == MOST) abort();
    at += strlen("application/jsonl\r\n\r\n");
    p->files[p->n_files] = calloc(1, (size_t)(end - at) + 1);
    memcpy(p->files[p->n_files], at, (size_t)(end - at));
    kd_buf_printf(out, "{\"id\":\"file_%d\"}", p->n_files++);
}

static void create(provider *p, const request *q, kd_buf *out) {
    kd_json *doc = NULL;
    if (kd_json_parse(&doc, q->body, strlen(q->body), "batch", NULL) || p->n_batches == MOST) abort();
    const kd_json_node *o = kd_json_root(doc);
    int b = p->n_batches++;
    p->file_of[b] = atoi(kd_json_string(kd_json_get(o, "input_file_id")).data + 5);
    snprintf(p->marks[b], sizeof p->marks[b], "%s", kd_json_string(kd_json_get(kd_json_get(o, "metadata"), "distill")).data);
    if (!kd_str_is(kd_json_string(kd_json_get(o, "endpoint")), "/v1/chat/completions")) abort();
    kd_json_free(doc);
    describe(p, b, out);
}

static void provide(void *ctx, const request *q, reply *a) {
    provider *p = ctx;
    kd_buf out = {0};
    int b = -1, n = 0;
    if (p->authorization && !strcasestr(q->head, p->authorization)) {
        p->unauthorized++;
        fprintf(stderr, "without a key: %s\n", q->head);
    }
    if (p->refuse) {
        a->status = 401, a->body = copy_of("{\"error\":{\"message\":\"no such key\"}}");
        return;
    }
    if (p->hiccups > 0) {
        p->hiccups--;
        a->status = 503, a->headers = "retry-after-ms: 10\r\n", a->body = copy_of("later");
        return;
    }
    if (!strncmp(q->head, "POST /v1/files ", 15))
        upload(p, q, &out);
    else if (!strncmp(q->head, "POST /v1/batches ", 17))
        create(p, q, &out);
    else if (sscanf(q->head, "POST /v1/batches/batch_%d/cancel%n", &b, &n) == 1 && n)
        p->cancelled++, describe(p, b, &out);
    else if (sscanf(q->head, "GET /v1/batches/batch_%d", &b) == 1)
        describe(p, b, &out);
    else if (!strncmp(q->head, "GET /v1/batches?", 16)) {
        kd_buf_puts(&out, "{\"data\":[");
        for (b = 0; b < p->n_batches; b++) kd_buf_puts(&out, b ? "," : ""), describe(p, b, &out);
        kd_buf_puts(&out, "],\"has_more\":false}");
    } else if (sscanf(q->head, "GET /v1/files/out_%d/content", &b) == 1) {
        work_off(p, b);
        kd_buf_puts(&out, p->outputs[b]);
    } else if (sscanf(q->head, "GET /v1/files/err_%d/content", &b) == 1)
        kd_buf_puts(&out, p->errors[b]);
    else
        a->status = 404, kd_buf_puts(&out, "{\"error\":{\"message\":\"no such page\"}}");
    a->body = copy_of(out.data ? out.data : "");
    kd_buf_clear(&out);
}

static void forget(provider *p) {
    for (int i = 0; i < MOST; i++) free(p->files[i]), free(p->outputs[i]), free(p->errors[i]);
}

static kd_remote_opts with_key(const server *s) {
    kd_remote_opts ro = remote(s);
    ro.key = "s3cret-key";
    return ro;
}

static void counted(void *ctx, const kd_sent_batch *b, const char *state, int64_t done, int64_t failed) {
    int *n = ctx;
    (void)failed;
    *n += strcmp(state, "in_progress") == 0 && done == 7 && b->remote[0] && b->requests > 0;
}

static void test_api(void **state) {
    (void)state;
    kd_study *s = study_of("api.study", 50);
    provider p = {.state = "in_progress", .hiccups = 2, .authorization = "Authorization: Bearer s3cret-key\r\n"};
    server *h = server_start(provide, &p);
    kd_teach_opts o = opts(2);
    kd_remote_opts ro = with_key(h);
    kd_batch_opts b = {.requests = 30};
    kd_batch_report r;
    int in_progress = 0;
    OK(kd_batch_submit(s, &o, &ro, &b, NULL, &r, &e));
    assert_int_equal(r.requests, 100);
    assert_int_equal(r.batches, 4); /* 30, 30, 30, 10 */
    assert_int_equal(p.n_batches, 4);
    OK(kd_batch_submit(s, &o, &ro, &b, NULL, &r, &e)); /* it is all out: nothing is asked twice */
    assert_int_equal(r.requests, 0);
    OK(kd_batch_status(s, NULL, &ro, counted, &in_progress, &r, &e));
    assert_int_equal(in_progress, 4);
    OK(kd_batch_fetch(s, NULL, &o, &ro, &b, NULL, &r, &e));
    assert_true(r.answered == 0 && r.waiting == 4);
    p.state = "completed";
    OK(kd_batch_fetch(s, NULL, &o, &ro, &b, NULL, &r, &e));
    assert_int_equal(r.answered, 90); /* each tenth was refused */
    assert_int_equal(r.failed, 10);
    assert_int_equal(r.freed, 0);
    OK(kd_batch_fetch(s, NULL, &o, &ro, &b, NULL, &r, &e));
    assert_int_equal(r.batches, 0);
    const char *study = in_tmp("api.study");
    assert_int_equal(sql(study, "SELECT count(*) FROM samples s WHERE answer LIKE 'for %-'||prompt||'-'||number"),
                     90); /* to whom it was asked of */
    assert_int_equal(sql(study, "SELECT count(*) FROM attempts WHERE reason LIKE 'batch: %too long%' AND final=1"), 10);
    assert_int_equal(sql(study, "SELECT count(*) FROM leases"), 0);
    assert_int_equal(sql(study, "SELECT count(*) FROM owners"), 0);
    assert_int_equal(sql(study, "SELECT round(1e6*total(cost)) FROM totals"), 90 * 20);
    /* the same settings as live requests: what failed is all that generate would ask */
    kd_remote_plan plan;
    OK(kd_teach_remote_plan(s, &o, &ro, &plan, &e));
    assert_int_equal(plan.missing, 10);
    assert_int_equal(p.unauthorized, 0);
    kd_study_close(s);
    server_stop(h);
    forget(&p);
}

/* What ended early keeps what it did; the rest is asked again. */
static void test_early_end(void **state) {
    (void)state;
    static const char *const states[] = {"expired", "cancelled"};
    for (int i = 0; i < 2; i++) {
        char name[40];
        snprintf(name, sizeof name, "%s.study", states[i]);
        kd_study *s = study_of(name, 20);
        provider p = {.state = "in_progress", .every = 2};
        server *h = server_start(provide, &p);
        kd_teach_opts o = opts(1);
        kd_remote_opts ro = with_key(h);
        kd_batch_report r;
        OK(kd_batch_submit(s, &o, &ro, &(kd_batch_opts){0}, NULL, &r, &e));
        if (i) OK(kd_batch_cancel(s, NULL, &ro, &r, &e));
        assert_int_equal(p.cancelled, i);
        p.state = states[i];
        OK(kd_batch_fetch(s, NULL, &o, &ro, &(kd_batch_opts){0}, NULL, &r, &e));
        assert_int_equal(r.answered, 8);
        assert_int_equal(r.failed, 2);
        assert_int_equal(r.freed, 10);
        OK(kd_batch_submit(s, &o, &ro, &(kd_batch_opts){0}, NULL, &r, &e));
        assert_int_equal(r.requests, 12);
        kd_study_close(s);
        server_stop(h);
        forget(&p);
    }
}

static void test_faults(void **state) {
    (void)state;
    kd_study *s = study_of("faults.study", 10);
    provider p = {.state = "completed", .refuse = 1};
    server *h = server_start(provide, &p);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = with_key(h);
    kd_batch_report r;
    FAILS(KD_EAUTH, "no such key", kd_batch_submit(s, &o, &ro, &(kd_batch_opts){0}, NULL, &r, &e));
    assert_int_equal(sql(in_tmp("faults.study"), "SELECT count(*) FROM leases"), 0); /* nothing was begun: free again */
    p.refuse = 0;
    /* a process died behind the creation of a batch: the mark finds it again */
    OK(kd_batch_submit(s, &o, &ro, &(kd_batch_opts){0}, NULL, &r, &e));
    kd_db *db = NULL;
    OK(kd_db_open(&db, in_tmp("faults.study"), KD_DB_WRITE, &e));
    OK(kd_db_exec(db, "UPDATE batches SET remote=NULL, state='taken', created=created-1000000 WHERE remote IS NOT NULL", &e));
    kd_db_close(db);
    OK(kd_batch_fetch(s, NULL, &o, &ro, &(kd_batch_opts){0}, NULL, &r, &e));
    assert_int_equal(r.answered, 9);
    /* one that the provider never heard of is free again */
    OK(kd_batch_submit(s, &o, &ro, &(kd_batch_opts){0}, NULL, &r, &e));
    assert_int_equal(r.requests, 1);
    p.n_batches = 0;
    OK(kd_db_open(&db, in_tmp("faults.study"), KD_DB_WRITE, &e));
    OK(kd_db_exec(db, "UPDATE batches SET remote=NULL, state='taken', created=created-1000000 WHERE ended IS NULL", &e));
    kd_db_close(db);
    OK(kd_batch_submit(s, &o, &ro, &(kd_batch_opts){0}, NULL, &r, &e));
    assert_int_equal(r.requests, 1);
    /* a hard budget holds here too */
    ro.budget = 0.0012, o.work.samples = 3;
    FAILS(KD_ELIMIT, "budget", kd_batch_submit(s, &o, &ro, &(kd_batch_opts){0}, NULL, &r, &e));
    assert_true(r.requests <= 2);
    kd_study_close(s);
    server_stop(h);
    forget(&p);
}

static void test_offline(void **state) {
    (void)state;
    kd_study *s = study_of("offline.study", 10);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = {.url = "http://localhost/v1", .model = "m", .budget = -1, .prices = KD_PRICES_NONE, .logprobs = -1};
    kd_batch_report r;
    kd_batch_opts b = {.file = in_tmp("requests.jsonl")};
    OK(kd_batch_submit(s, &o, &ro, &b, NULL, &r, &e));
    assert_int_equal(r.requests, 10);
    FAILS(KD_ECREATE, "is there already", kd_batch_submit(s, &o, &ro, &b, NULL, &r, &e));
    kd_buf text = {0}, back = {0};
    OK(kd_file_read(&text, b.file, 1 << 20, &e));
    int lines = 0;
    for (char *p = text.data, *end; *p; p = end + 1, lines++) {
        end = strchr(p, '\n');
        kd_json *doc = NULL;
        OK(kd_json_parse(&doc, p, (size_t)(end - p), "line", &e));
        const kd_json_node *q = kd_json_root(doc);
        assert_true(kd_str_is(kd_json_string(kd_json_get(q, "method")), "POST") &&
                    kd_str_is(kd_json_string(kd_json_get(q, "url")), "/v1/chat/completions"));
        assert_true(kd_json_get(kd_json_get(q, "body"), "messages") && !kd_json_get(kd_json_get(q, "body"), "stream"));
        if (lines < 7) /* as vLLM's run-batch writes them */
            kd_buf_printf(&back,
                          "{\"id\":\"vllm-%d\",\"custom_id\":\"%s\",\"response\":{\"status_code\":200,\"request_id\":\"x\",\"body\":{"
                          "\"choices\":[{\"message\":{\"content\":"
                          "\"4\",\"reasoning_content\":\"hm\"},\"finish_reason\":\"length\"}]}},\"error\":null}\n",
                          lines, kd_json_string(kd_json_get(q, "custom_id")).data);
        kd_json_free(doc);
    }
    assert_int_equal(lines, 10);
    write_text(in_tmp("back.jsonl"), back.data);
    b.file = in_tmp("back.jsonl");
    OK(kd_batch_fetch(s, NULL, &o, &ro, &b, NULL, &r, &e));
    assert_true(r.answered == 7 && r.waiting == 1);
    OK(kd_batch_fetch(s, NULL, &o, &ro, &b, NULL, &r, &e));
    assert_true(r.answered == 0 && r.duplicates == 7);
    assert_int_equal(sql(in_tmp("offline.study"), "SELECT count(*) FROM samples WHERE thought='hm' AND finish='length'"), 7);
    OK(kd_batch_cancel(s, NULL, &ro, &r, &e)); /* the rest will never come */
    assert_int_equal(r.freed, 3);
    assert_int_equal(sql(in_tmp("offline.study"), "SELECT count(*) FROM leases"), 0);
    kd_study_close(s);
    kd_buf_clear(&text), kd_buf_clear(&back);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_api), cmocka_unit_test(test_early_end), cmocka_unit_test(test_faults),
                                       cmocka_unit_test(test_offline)};
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("batch", tests, make_tmp, drop_tmp);
}
