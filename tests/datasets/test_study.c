/* tests/datasets/test_study.c - the study file: opening and its errors, settings, thoughts, commits, spend, selection. */
#include "study_help.h"

#include "datasets/db.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void sql(const char *path, const char *text) {
    sqlite3 *c;
    char *msg = NULL;
    assert_int_equal(sqlite3_open(path, &c), SQLITE_OK);
    if (sqlite3_exec(c, text, 0, 0, &msg) != SQLITE_OK) fail_msg("%s", msg);
    sqlite3_close(c);
}

static int64_t sql_int(const char *path, const char *text) {
    sqlite3 *c;
    sqlite3_stmt *q;
    assert_int_equal(sqlite3_open(path, &c), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(c, text, -1, &q, 0), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t v = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(c);
    return v;
}

static void test_open(void **state) {
    (void)state;
    kd_study *s = NULL;
    FAILS(KD_ENOENT, "no such study", kd_study_open(&s, in_tmp("absent.study"), KD_STUDY_READ, &e));
    assert_null(s);
    FAILS(KD_ENOENT, "no such study", kd_study_open(&s, in_tmp("absent.study"), KD_STUDY_WRITE, &e));
    FAILS(KD_EFORMAT, "a folder", kd_study_open(&s, tmp_dir, KD_STUDY_CREATE, &e));
    FAILS(KD_ECREATE, "cannot be created", kd_study_open(&s, in_tmp("no/such/folder.study"), KD_STUDY_CREATE, &e));
    write_text(
        in_tmp("text.study"),
        "Once upon a time there was a file that was no database, and it was long enough to look like one, almost, but not quite, no.");
    FAILS(KD_EFORMAT, "not a study", kd_study_open(&s, in_tmp("text.study"), KD_STUDY_CREATE, &e));
    sql(in_tmp("other.db"), "CREATE TABLE t(x)");
    FAILS(KD_EFORMAT, "but not a study", kd_study_open(&s, in_tmp("other.db"), KD_STUDY_CREATE, &e));
    write_text(in_tmp("zero.study"), "");
    FAILS(KD_EFORMAT, "empty", kd_study_open(&s, in_tmp("zero.study"), KD_STUDY_READ, &e));
    OK(kd_study_open(&s, in_tmp("zero.study"), KD_STUDY_CREATE, &e)); /* as a kill before the first table leaves it */
    OK(kd_study_check(s, &e));
    kd_study_close(s);
    OK(kd_study_open(&s, in_tmp("zero.study"), KD_STUDY_WRITE, &e));
    kd_study_close(s);
    sql(in_tmp("zero.study"), "PRAGMA user_version=99");
    FAILS(KD_EFORMAT, "newer", kd_study_open(&s, in_tmp("zero.study"), KD_STUDY_READ, &e));
    kd_study_close(NULL);
}

/* Names that SQLite would read as more than names. */
static void test_odd_names(void **state) {
    (void)state;
    static const char *const names[] = {":memory:", "file:x.study?mode=memory", "a b%20?#.study"};
    char cwd[512];
    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_int_equal(chdir(tmp_dir), 0);
    for (int i = 0; i < 3; i++) {
        kd_study *s = NULL;
        OK(kd_study_open(&s, names[i], KD_STUDY_CREATE, &e));
        kd_study_close(s);
        assert_int_equal(access(names[i], F_OK), 0);
        OK(kd_study_open(&s, names[i], KD_STUDY_READ, &e));
        kd_study_close(s);
    }
    kd_study *s = NULL;
    FAILS(KD_EINVAL, "empty", kd_study_open(&s, "", KD_STUDY_CREATE, &e));
    assert_int_equal(chdir(cwd), 0);
}

static void test_damage(void **state) {
    (void)state;
    kd_study *s = study_of("damaged.study", 2000);
    kd_study_close(s);
    uint64_t size = 0;
    OK(kd_file_size(in_tmp("damaged.study"), &size, &e));
    int fd = open(in_tmp("damaged.study"), O_RDWR);
    char junk[4096];
    memset(junk, 0x5a, sizeof junk);
    for (off_t at = 3 * 8192; at + 8192 < (off_t)size; at += 8192) /* every page but the first three */
        assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
    close(fd);
    OK(kd_study_open(&s, in_tmp("damaged.study"), KD_STUDY_READ, &e));
    FAILS(KD_EFORMAT, "damaged", kd_study_check(s, &e));
    kd_prompts *p = NULL;
    kd_prompt row;
    bool more = true;
    kd_err e;
    kd_code rc = kd_prompts_open(&p, s, NULL, 0, NULL, &e);
    while (!rc && more) rc = kd_prompts_next(p, &row, &more, &e);
    assert_int_equal(rc, KD_EFORMAT);
    assert_non_null(strstr(e.msg, "damaged"));
    kd_prompts_close(p);
    kd_study_close(s);
    assert_int_equal(truncate(in_tmp("damaged.study"), 8192 + 100), 0);
    rc = kd_study_open(&s, in_tmp("damaged.study"), KD_STUDY_WRITE, &e);
    assert_int_equal(rc, KD_EFORMAT);
}

/* Another program holds the lock for a while: waited for; for longer than our patience: an error that says so.
 * (The other one is forked before anything is open here: SQLite's locks do not survive a fork.) */
static void test_locked(void **state) {
    (void)state;
    int64_t settings;
    int ready[2], status;
    char c;
    kd_study_close(study_of("locked.study", 3));
    assert_int_equal(pipe(ready), 0);
    int pid = fork();
    if (pid == 0) {
        sqlite3 *other;
        int rc = sqlite3_open(in_tmp("locked.study"), &other);
        rc |= sqlite3_exec(other, "BEGIN IMMEDIATE", 0, 0, 0);
        rc |= write(ready[1], "x", 1) != 1;
        usleep(500000);
        rc |= sqlite3_exec(other, "COMMIT", 0, 0, 0);
        sqlite3_close(other);
        _exit(rc ? 1 : 0);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    kd_db *db = NULL;
    OK(kd_db_open(&db, in_tmp("locked.study"), KD_DB_WRITE, &e));
    kd_db_patience(db, 100);
    FAILS(KD_ELIMIT, "locked by another program", kd_db_begin(db, &e));
    kd_db_close(db);
    kd_study *s = NULL;
    OK(kd_study_open(&s, in_tmp("locked.study"), KD_STUDY_WRITE, &e));
    OK(kd_study_settings(s, &settings, "{\"a\":1}", NULL, &e));
    kd_study_close(s);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_read_only(void **state) {
    (void)state;
    kd_study *s = study_of("ro.study", 3);
    kd_study_close(s);
    int pid = fork();
    if (pid == 0) { /* as an ordinary user where tests run as root */
        int64_t id;
        kd_err e;
        chmod(in_tmp("ro.study"), 0444);
        chmod(tmp_dir, 0555);
        if (geteuid() == 0 && setuid(65534) != 0) _exit(9);
        kd_code rc = kd_study_open(&s, in_tmp("ro.study"), KD_STUDY_WRITE, &e);
        if (!rc) rc = kd_study_settings(s, &id, "{}", NULL, &e);
        if (rc != KD_EIO || !strstr(e.msg, "read-only")) _exit(1);
        rc = kd_study_open(&s, in_tmp("ro.study"), KD_STUDY_READ, &e); /* reading goes on, from an immutable open */
        if (rc) _exit(2);
        kd_prompts *p = NULL;
        uint64_t count = 0;
        if (kd_prompts_open(&p, s, "train", 0, &count, &e) || count != 3) _exit(3);
        kd_prompts_close(p);
        kd_study_close(s);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    chmod(tmp_dir, 0755);
    if (WEXITSTATUS(status)) fail_msg("step %d", WEXITSTATUS(status));
}

static void test_settings(void **state) {
    (void)state;
    kd_study *s = NULL;
    int64_t a, b, c;
    char ha[65], hb[65], hc[65];
    kd_buf text = {0};
    OK(kd_study_open(&s, in_tmp("settings.study"), KD_STUDY_CREATE, &e));
    OK(kd_study_settings(s, &a, "{\"teacher\":\"local\", \"temperature\":1, \"stop\":[\"a\",\"b\"]}", ha, &e));
    OK(kd_study_settings(s, &b, "{\"stop\":[\"a\",\"b\"],\"temperature\":1.0,\"teacher\":\"local\"}", hb, &e));
    OK(kd_study_settings(s, &c, "{\"stop\":[\"b\",\"a\"],\"temperature\":1.0,\"teacher\":\"local\"}", hc, &e));
    assert_int_equal(a, b);
    assert_string_equal(ha, hb);
    assert_int_not_equal(a, c);
    assert_string_not_equal(ha, hc);
    static const char raw[] = "{\"b\":[1e2,0.70,-0.0],\"a\":{\"z\":null,\"y\":\"\\u00e9\"}}";
    OK(kd_json_canonical(&text, raw, sizeof raw - 1, &e));
    assert_string_equal(text.data, "{\"a\":{\"y\":\"\xc3\xa9\",\"z\":null},\"b\":[100,0.7,0]}");
    kd_buf_clear(&text);
    FAILS(KD_EINVAL, "object", kd_study_settings(s, &a, "[1]", NULL, &e));
    FAILS(KD_EFORMAT, "settings", kd_study_settings(s, &a, "{oops", NULL, &e));
    int64_t run;
    OK(kd_run_begin(s, &run, "generate", "{\"teacher\":\"local\"}", "{\"from\":\"x\"}", &e));
    OK(kd_run_end(s, run, "done", &e));
    assert_int_equal(sql_int(in_tmp("settings.study"), "SELECT count(*) FROM runs WHERE how='done' AND ended >= started"), 1);
    kd_study_close(s);
}

static void test_thoughts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool opened;
        kd_thought_from from;
        const char *thought, *answer;
    } rows[] = {
        {"42", false, KD_THOUGHT_NONE, NULL, "42"},
        {"", false, KD_THOUGHT_NONE, NULL, ""},
        {"<think>\na\n</think>\n\nb", false, KD_THOUGHT_TAGS, "\na\n", "\n\nb"},
        {"<think></think>b", false, KD_THOUGHT_TAGS, "", "b"},
        {"a</think>b", false, KD_THOUGHT_CLOSE, "a", "b"},
        {"a</think>b", true, KD_THOUGHT_CLOSE, "a", "b"},
        {"</think>", true, KD_THOUGHT_CLOSE, "", ""},
        {"<think>a", false, KD_THOUGHT_UNCLOSED, "a", ""},
        {"a", true, KD_THOUGHT_OPENED, "a", ""},
        {"<think>a</think>b</think>c", false, KD_THOUGHT_TAGS, "a", "b</think>c"},
        {"x <think>a", false, KD_THOUGHT_NONE, NULL, "x <think>a"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kd_str thought, answer;
        kd_buf whole = {0};
        assert_int_equal(kd_thought_split(kd_str_of(rows[i].text), rows[i].opened, &thought, &answer), rows[i].from);
        assert_true(kd_str_is(answer, rows[i].answer));
        assert_true(rows[i].thought ? kd_str_is(thought, rows[i].thought) : !thought.data);
        OK(kd_completion(&whole, rows[i].from, thought, answer));
        assert_string_equal(whole.data ? whole.data : "", rows[i].text);
        kd_buf_clear(&whole);
    }
    kd_buf b = {0};
    OK(kd_completion(&b, KD_THOUGHT_REASONING_CONTENT, KD_STR("why"), KD_STR("42")));
    assert_string_equal(b.data, "<think>\nwhy\n</think>\n\n42");
    kd_buf_clear(&b);
}

static void test_commit(void **state) {
    (void)state;
    kd_study *s = study_of("commit.study", 4);
    int64_t set;
    size_t added = 0;
    kd_spend spend;
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\",\"model\":\"m\"}", NULL, &e));
    kd_answer a[3] = {answer_of(1, 0, "two"), answer_of(1, 1, "bad \xff utf8"), answer_of(2, 0, "")};
    a[0].thought = KD_STR("a\0b");
    a[0].thought_from = KD_THOUGHT_TAGS;
    a[0].raw = KD_STR("{\"raw\":true}");
    kd_attempt f = {.prompt = 3,
                    .sample = 0,
                    .reason = "http 500",
                    .status = 500,
                    .prompt_tokens = 7,
                    .completion_tokens = -1,
                    .cost = 1.0,
                    .seconds = -1};
    OK(kd_study_commit(s, set, 0, a, 3, &f, 1, &added, &e));
    assert_int_equal(added, 3);
    OK(kd_study_commit(s, set, 0, a, 2, NULL, 0, &added, &e)); /* the same again: nothing new, but their cost is told */
    assert_int_equal(added, 0);
    OK(kd_study_spend(s, set, &spend, &e));
    assert_int_equal(spend.samples, 3);
    assert_int_equal(spend.attempts, 3);
    assert_int_equal(spend.prompt_tokens, 57);
    assert_int_equal(spend.completion_tokens, 25);
    assert_true(spend.cost == 2.25 && spend.cost_failed == 1.5);
    /* A prompt that is not there: the whole group stays out. */
    kd_answer bad[2] = {answer_of(3, 5, "x"), answer_of(99, 0, "y")};
    kd_err e;
    assert_int_equal(kd_study_commit(s, set, 0, bad, 2, NULL, 0, &added, &e), KD_EBUG);
    assert_int_equal(added, 0);
    FAILS(KD_EINVAL, "answer 0", kd_study_commit(s, set, 0, (kd_answer[]){answer_of(0, 0, "")}, 1, NULL, 0, NULL, &e));
    assert_int_equal(sql_int(in_tmp("commit.study"), "SELECT count(*) FROM samples"), 3);
    assert_int_equal(sql_int(in_tmp("commit.study"), "SELECT count(*) FROM attempts WHERE reason='duplicate'"), 2);
    assert_int_equal(sql_int(in_tmp("commit.study"), "SELECT length(CAST(thought AS BLOB)) FROM samples WHERE prompt=1 AND number=0"), 3);
    assert_int_equal(sql_int(in_tmp("commit.study"), "SELECT count(*) FROM samples WHERE answer='bad \xef\xbf\xbd utf8'"), 1);
    assert_int_equal(sql_int(in_tmp("commit.study"), "SELECT count(*) FROM bodies"), 1);
    OK(kd_study_check(s, &e));
    kd_study_close(s);
}

static int select_all(kd_study *s, const kd_select_opts *o, char *out, size_t cap) {
    kd_select *q = NULL;
    kd_row r;
    bool more = true;
    int n = 0;
    size_t at = 0;
    uint64_t rows = 0;
    OK(kd_select_open(&q, s, o, &e));
    OK(kd_select_count(q, &rows, NULL, &e));
    out[0] = 0;
    for (;;) {
        OK(kd_select_next(q, &r, &more, &e));
        if (!more) break;
        at += (size_t)snprintf(out + at, cap - at, "%lld.%d ", (long long)r.prompt, r.sample);
        n++;
    }
    kd_select_close(q);
    assert_int_equal(rows, n);
    return n;
}

static void test_select(void **state) {
    (void)state;
    kd_study *s = study_of("select.study", 5);
    int64_t one, two;
    char got[400];
    OK(kd_study_settings(s, &one, "{\"teacher\":\"t\",\"n\":1}", NULL, &e));
    OK(kd_study_settings(s, &two, "{\"teacher\":\"t\",\"n\":2}", NULL, &e));
    kd_answer a[] = {answer_of(2, 1, "It is \\boxed{2}"), answer_of(2, 0, "#### 3"), answer_of(1, 0, "The answer is 0."),
                     answer_of(4, 0, "6")};
    a[3].finish = "length";
    OK(kd_study_commit(s, two, 0, a, 4, NULL, 0, NULL, &e));
    OK(kd_study_commit(s, one, 0, (kd_answer[]){answer_of(2, 0, "so 2")}, 1, NULL, 0, NULL, &e));
    kd_select *q = NULL;
    FAILS(KD_ECHECK, "distill label", kd_select_open(&q, s, NULL, &e));
    kd_label_report r;
    OK(kd_label_run(s, NULL, NULL, &r, &e));
    assert_int_equal(r.looked, 5);
    assert_int_equal(r.written, 20);
    assert_int_equal(r.right, 4);
    assert_int_equal(r.wrong, 1);
    assert_int_equal(select_all(s, NULL, got, sizeof got), 3);
    assert_string_equal(got, "1.0 2.0 2.1 ");
    select_all(s, &(kd_select_opts){.any = true}, got, sizeof got);
    assert_string_equal(got, "1.0 2.0 2.0 2.1 4.0 ");
    select_all(s, &(kd_select_opts){.any = true, .settings = one}, got, sizeof got);
    assert_string_equal(got, "2.0 ");
    select_all(s, &(kd_select_opts){.select = "math = 'wrong' or finished = 0"}, got, sizeof got);
    assert_string_equal(got, "2.0 4.0 ");
    select_all(s, &(kd_select_opts){.select = "length(answer) > 5 and answer like '%boxed%' and gold = '2'"}, got, sizeof got);
    assert_string_equal(got, "2.1 ");
    select_all(s, &(kd_select_opts){.select = "prompt in (select prompt from samples group by prompt having count(*) > 1)"}, got,
               sizeof got);
    assert_string_equal(got, "2.0 2.0 2.1 ");
    static const struct {
        const char *select, *say;
    } bad[] = {
        {"", "empty"},
        {"math =", "select"},
        {"1; DROP TABLE labels", "found ;"},
        {"1) UNION SELECT (1", "too many"},
        {"(1", "too few"},
        {"1 -- x", "--"},
        {"1 /* x", "/*"},
        {"'abc", "never closed"},
        {"mathh = 1", "no column or label mathh"},
        {"\"right\" = math", "no column or label"},
        {"load_extension('x') is null", "may not use"},
        {"random() > 0", "may not use"},
        {"randomblob(1000000000) is null", "may not use"},
        {"(select count(*) from sqlite_master) > 0", "may not use"},
        {"(select count(*) from owners) > 0", "may not use"},
        {"exists (with recursive t(x) as (select 1 union all select x+1 from t) select 1 from t where x < 0)", "may not use"},
        {"(select count(*) from pragma_database_list) > 0", "select"},
        {"writefile('/tmp/x', 'y') > 0", "select"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_err e;
        kd_code rc = kd_select_open(&q, s, &(kd_select_opts){.select = bad[i].select}, &e);
        if (rc != KD_EINVAL || !strstr(e.msg, bad[i].say)) fail_msg("%s: code %d, %s", bad[i].select, (int)rc, rc ? e.msg : "accepted");
        assert_null(q);
    }
    /* Test rows are refused where they must be. */
    sql(in_tmp("select.study"), "UPDATE prompts SET split='test' WHERE id=4");
    kd_row row;
    bool more = true;
    OK(kd_select_open(&q, s, &(kd_select_opts){.any = true, .refuse_test = true}, &e));
    kd_err e;
    kd_code rc = KD_OK;
    while (!rc && more) rc = kd_select_next(q, &row, &more, &e);
    assert_int_equal(rc, KD_ECHECK);
    assert_non_null(strstr(e.msg, "split test"));
    kd_select_close(q);
    kd_study_close(s);
}

static void test_taking(void **state) {
    (void)state;
    kd_study *s = study_of("taking.study", 4);
    int64_t set;
    char got[400];
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    /* Question 1: 3 of 3 right; 2: 1 of 2; 3: 0 of 1. Lengths fall with the number. */
    kd_answer a[] = {answer_of(1, 0, "well then, I think it must be 0"),
                     answer_of(1, 1, "it must be 0"),
                     answer_of(1, 2, "0"),
                     answer_of(2, 0, "surely 2"),
                     answer_of(2, 1, "9"),
                     answer_of(3, 0, "77")};
    for (int i = 0; i < 6; i++) a[i].completion_tokens = i == 5 ? -1 : 10 - 3 * a[i].sample;
    OK(kd_study_commit(s, set, 0, a, 6, NULL, 0, NULL, &e));
    OK(kd_label_run(s, NULL, NULL, NULL, &e));
    const struct {
        kd_select_opts o;
        const char *rows;
    } asks[] = {
        {{.any = true, .per_question = 1}, "1.0 2.0 3.0 "},
        {{.any = true, .per_question = 1, .prefer = KD_PREFER_SHORTEST}, "1.2 2.1 3.0 "},
        {{.any = true, .per_question = 2, .prefer = KD_PREFER_LONGEST}, "1.0 1.1 2.0 2.1 3.0 "},
        {{.any = true, .easiest = 0.9, .hardest = 0.1}, "2.0 2.1 "},
        {{.any = true, .easiest = 1.0, .hardest = 0.0}, "1.0 1.1 1.2 2.0 2.1 3.0 "},
        {{.any = true, .max_tokens = 7}, "1.1 1.2 2.1 3.0 "},
        {{.any = true, .max_tokens = 7, .per_question = 1}, "1.1 2.1 3.0 "},
        {{.select = "pass_rate > 0.4 and math = 'right'", .per_question = 2}, "1.0 1.1 2.0 "},
    };
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        select_all(s, &asks[i].o, got, sizeof got);
        if (strcmp(got, asks[i].rows) != 0) fail_msg("ask %zu: %s", i, got);
    }
    char again[400];
    const kd_select_opts chance = {.any = true, .per_question = 1, .prefer = KD_PREFER_RANDOM, .seed = 3},
                         even = {.any = true, .balance = "math", .seed = 1};
    assert_int_equal(select_all(s, &chance, got, sizeof got), 3);
    select_all(s, &chance, again, sizeof again);
    assert_string_equal(got, again);
    assert_int_equal(select_all(s, &even, got, sizeof got), 4); /* two wrong ones, and two of the four right ones */
    kd_select *q = NULL;
    FAILS(KD_EINVAL, "no column or label colour", kd_select_open(&q, s, &(kd_select_opts){.any = true, .balance = "colour"}, &e));
    FAILS(KD_EINVAL, "no column or label", kd_select_open(&q, s, &(kd_select_opts){.any = true, .balance = "math\" FROM x --"}, &e));
    OK(kd_select_open(&q, s, &even, &e));
    assert_string_equal(kd_select_text(q), "1; as many of each math; seed 1");
    kd_select_close(q);
    /* Kept under a name. */
    char h1[65], h2[65];
    kd_arena arena = {0};
    kd_select_opts o;
    OK(kd_selection_save(s, "short", &asks[1].o, h1, &e));
    OK(kd_selection_save(s, "short", &asks[1].o, h2, &e)); /* the same again is fine */
    assert_string_equal(h1, h2);
    FAILS(KD_EINVAL, "stands for", kd_selection_save(s, "short", &asks[2].o, NULL, &e));
    OK(kd_selection_load(s, "short", &arena, &o, h2, &e));
    assert_string_equal(h1, h2);
    select_all(s, &o, got, sizeof got);
    assert_string_equal(got, asks[1].rows);
    FAILS(KD_ENOENT, "there are: short", kd_selection_load(s, "long", &arena, &o, NULL, &e));
    kd_arena_clear(&arena);
    kd_study_close(s);
}

/* A study of schema 1 is brought forward when it is opened, by a reader too; its rows are there as before. */
static void test_migration(void **state) {
    (void)state;
    for (int reader = 0; reader < 2; reader++) {
        kd_study *s = study_of(reader ? "old-r.study" : "old-w.study", 3);
        const char *path = in_tmp(reader ? "old-r.study" : "old-w.study");
        kd_study_close(s);
        sql(path, "DROP TABLE batches; DROP INDEX attempts_key; DROP TABLE prompt_labels; DROP TABLE selections; ALTER TABLE leases DROP "
                  "COLUMN flying; ALTER TABLE leases DROP COLUMN worst; PRAGMA user_version=1");
        OK(kd_study_open(&s, path, reader ? KD_STUDY_READ : KD_STUDY_WRITE, &e));
        OK(kd_study_check(s, &e));
        kd_study_close(s);
        assert_int_equal(sql_int(path, "PRAGMA user_version"), 5);
        assert_int_equal(sql_int(path, "SELECT count(*) FROM prompts"), 3);
        assert_int_equal(sql_int(path, "SELECT count(*) FROM selections"), 0);
    }
}

/* Every allocation of ours failing in turn: an error or success, nothing half-written, nothing lost from memory (ASan looks). */
static void test_allocations(void **state) {
    (void)state;
    kd_study *s = study_of("alloc.study", 3);
    int64_t set;
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    kd_study_close(s);
    bool clean = false;
    for (long k = 1; !clean && k < 2000; k++) {
        kd_work *w = NULL;
        kd_work_item items[4];
        kd_select *q = NULL;
        kd_row row;
        size_t n = 0;
        bool more;
        kd_err e;
        kd_buf stats = {0};
        kd_answer a = answer_of(1, (int)k, "The answer is 0 \xff");
        a.raw = KD_STR("raw");
        s = NULL;
        kd_alloc_fail_at(k);
        kd_code rc = kd_study_open(&s, in_tmp("alloc.study"), KD_STUDY_WRITE, &e);
        if (!rc && !(rc = kd_work_open(&w, s, set, &(kd_work_opts){.split = "train"}, &e)) && !(rc = kd_work_next(w, items, 4, &n, &e)) &&
            !(rc = kd_study_commit(s, set, 0, &a, 1, NULL, 0, NULL, &e)) && !(rc = kd_label_run(s, NULL, NULL, NULL, &e)) &&
            !(rc = kd_select_open(&q, s, NULL, &e)) && !(rc = kd_select_next(q, &row, &more, &e)) &&
            !(rc = kd_stats_json(&stats, s, NULL, &e)))
            clean = kd_alloc_count() < k;
        kd_alloc_fail_at(0);
        if (rc && rc != KD_ENOMEM) fail_msg("allocation %ld: code %d: %s", k, (int)rc, e.msg);
        kd_select_close(q);
        kd_work_close(w);
        kd_study_close(s);
        kd_buf_clear(&stats);
    }
    assert_true(clean);
    OK(kd_study_open(&s, in_tmp("alloc.study"), KD_STUDY_WRITE, &e));
    OK(kd_study_check(s, &e));
    assert_int_equal(sql_int(in_tmp("alloc.study"), "SELECT count(*) FROM leases"), 0);
    kd_study_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),        cmocka_unit_test(test_odd_names), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_locked),      cmocka_unit_test(test_read_only), cmocka_unit_test(test_settings),
        cmocka_unit_test(test_thoughts),    cmocka_unit_test(test_commit),    cmocka_unit_test(test_select),
        cmocka_unit_test(test_allocations), cmocka_unit_test(test_taking),    cmocka_unit_test(test_migration),
    };
    return cmocka_run_group_tests_name("study", tests, make_tmp, drop_tmp);
}
