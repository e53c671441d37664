/* tests/datasets/test_import.c - rows of every form, bad ones, importing twice, splits, and export read back in. */
#include "study_help.h"

#include "distill/base/gz.h"
#include "distill/base/json.h"
#include "distill/base/rng.h"

typedef struct {
    const char *line;
    kd_row_form form;
    const char *messages, *completion, *thought, *gold, *reference, *meta;
} good_row;

static bool same(kd_str s, const char *z) { return z ? kd_str_is(s, z) : !s.data; }

static void test_rows(void **state) {
    (void)state;
    static const good_row rows[] = {
        {"{\"question\":\"2+2?\",\"answer\":\"two and two\\n#### 4\"}", KD_ROW_QUESTION, "[{\"content\":\"2+2?\",\"role\":\"user\"}]", NULL,
         NULL, "4", "two and two\n#### 4", NULL},
        {"{\"question\":\"2+2?\",\"answer\":4.0}", KD_ROW_QUESTION, "[{\"content\":\"2+2?\",\"role\":\"user\"}]", NULL, NULL, "4.0", NULL,
         NULL},
        {"{\"problem\":\"p\",\"solution\":\"so \\\\boxed{\\\\frac{1}{2}}.\",\"level\":\"5\",\"id\":7}", KD_ROW_QUESTION,
         "[{\"content\":\"p\",\"role\":\"user\"}]", NULL, NULL, "\\frac{1}{2}", "so \\boxed{\\frac{1}{2}}.", "{\"level\":\"5\",\"id\":7}"},
        {"{\"prompt\":\"a\",\"completion\":\"<think>t</think>b\"}", KD_ROW_PROMPT, "[{\"content\":\"a\",\"role\":\"user\"}]",
         "<think>t</think>b", "t", NULL, NULL, NULL},
        {"{\"prompt\":\"a\",\"completion\":\"\"}", KD_ROW_PROMPT, "[{\"content\":\"a\",\"role\":\"user\"}]", "", NULL, NULL, NULL, NULL},
        {"{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"b\",\"reasoning_"
         "content\":\"t\"}]}",
         KD_ROW_PROMPT, "[{\"content\":\"a\",\"role\":\"user\"}]", "<think>\nt\n</think>\n\nb", "t", NULL, NULL, NULL},
        {"{\"instruction\":\"do\",\"input\":\"this\",\"output\":\"done\",\"system\":\"s\"}", KD_ROW_ALPACA,
         "[{\"content\":\"s\",\"role\":\"system\"},{\"content\":\"do\\n\\nthis\",\"role\":\"user\"}]", "done", NULL, NULL, NULL, NULL},
        {"{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"b\"}"
         "]}",
         KD_ROW_SHAREGPT, "[{\"content\":\"s\",\"role\":\"system\"},{\"content\":\"a\",\"role\":\"user\"}]", "b", NULL, NULL, NULL, NULL},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":"
         "\"c\"},"
         "{\"content\":\"d\",\"role\":\"assistant\"}],\"split\":\"x\",\"labels\":{\"math\":\"right\"},\"lineage\":{}}",
         KD_ROW_MESSAGES,
         "[{\"content\":\"a\",\"role\":\"user\"},{\"content\":\"b\",\"role\":\"assistant\"},{\"content\":\"c\",\"role\":\"user\"}]", "d",
         NULL, NULL, NULL, NULL},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}],\"answer\":\"\"}", KD_ROW_MESSAGES,
         "[{\"content\":\"a\\u0000b\",\"role\":\"user\"}]", NULL, NULL, NULL, "", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kd_row_parts p;
        kd_arena a = {0};
        OK(kd_row_parse(&p, &a, kd_str_of(rows[i].line), KD_ROW_SNIFF, &e));
        if (p.form != rows[i].form || !same(p.messages, rows[i].messages) || !same(p.completion, rows[i].completion) ||
            !same(p.thought, rows[i].thought) || !same(p.gold, rows[i].gold) ||
            (!same(p.reference, rows[i].reference) && p.reference.len) || !same(p.meta, rows[i].meta))
            fail_msg("%s: messages %.*s, completion %.*s, gold %.*s, meta %.*s", rows[i].line, (int)p.messages.len, p.messages.data,
                     (int)p.completion.len, p.completion.data ? p.completion.data : "", (int)p.gold.len, p.gold.data ? p.gold.data : "",
                     (int)p.meta.len, p.meta.data ? p.meta.data : "");
        kd_arena_clear(&a);
    }
}

static void test_bad_rows(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"", "row"},
        {"[1,2]", "expected an object, found an array"},
        {"{\"text\":\"a\"}", "found none of them"},
        {"{\"messages\":[]}", "at least one message"},
        {"{\"messages\":\"a\"}", "found a string"},
        {"{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content: expected a string, found nothing"},
        {"{\"messages\":[{\"role\":\"\",\"content\":\"x\"}]}", "messages[0].role: expected a word, found an empty one"},
        {"{\"messages\":[{\"role\":5,\"content\":\"x\"}]}", "messages[0].role: expected a word, found a number"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}", "a question before"},
        {"{\"messages\":[7]}", "messages[0]: expected an object"},
        {"{\"prompt\":\"\"}", "found an empty one"},
        {"{\"prompt\":5}", "prompt: expected text or messages, found a number"},
        {"{\"prompt\":\"a\",\"completion\":5}", "completion: expected text"},
        {"{\"prompt\":\"a\",\"completion\":[{\"role\":\"user\",\"content\":\"b\"}]}", "one assistant message"},
        {"{\"conversations\":[{\"from\":\"alien\",\"value\":\"a\"}]}", "another speaker"},
        {"{\"conversations\":[{\"from\":\"gpt\",\"value\":\"a\"}]}", "a question before"},
        {"{\"instruction\":\"\",\"output\":\"x\"}", "an empty one"},
        {"{\"question\":\"q\",\"answer\":[1]}", "answer: expected a string or a number, found an array"},
        {"{\"prompt\":\"a\",\"tools\":{\"x\":1}}", "tools: expected an array"},
        {"{\"prompt\":\"a\",\"prompt\":\"b\"}", "row"},
        {"{\"prompt\":\"a\xff\"}", "row"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kd_row_parts p;
        kd_arena a = {0};
        kd_err e;
        kd_code rc = kd_row_parse(&p, &a, kd_str_of(rows[i][0]), KD_ROW_SNIFF, &e);
        if (rc != KD_EFORMAT || !strstr(e.msg, rows[i][1])) fail_msg("%s: code %d: %s", rows[i][0], (int)rc, rc ? e.msg : "accepted");
        kd_arena_clear(&a);
    }
}

typedef struct {
    int n;
    char last[300];
    size_t lines[8];
} told;

static void on_bad(void *ctx, const char *file, size_t line, const char *why) {
    told *t = ctx;
    (void)file;
    if (t->n < 8) t->lines[t->n] = line;
    t->n++;
    snprintf(t->last, sizeof t->last, "%s", why);
}

static void test_import(void **state) {
    (void)state;
    kd_study *s = NULL;
    kd_import_report r;
    told t = {0};
    write_text(in_tmp("a.jsonl"),
               "\xef\xbb\xbf{\"prompt\":\"a\",\"completion\":\"1\"}\r\n\n{\"prompt\":\"b\",\"completion\":\"2\"}\n{broken\n"
               "{\"prompt\":\"a\",\"completion\":\"3\"}\n{\"question\":\"other form\"}\n{\"prompt\":\"a\",\"completion\":\"1\"}");
    OK(kd_study_open(&s, in_tmp("import.study"), KD_STUDY_CREATE, &e));
    kd_import_opts o = {.bad_row = on_bad, .ctx = &t};
    OK(kd_import_file(s, in_tmp("a.jsonl"), &o, NULL, &r, &e));
    assert_int_equal(r.rows, 6);
    assert_int_equal(r.bad, 2);
    assert_int_equal(t.n, 2);
    assert_int_equal(t.lines[0], 4);
    assert_int_equal(t.lines[1], 6);
    assert_int_equal(r.prompts, 2);
    assert_int_equal(r.samples, 3);
    assert_int_equal(r.known, 1);
    OK(kd_import_file(s, in_tmp("a.jsonl"), &o, NULL, &r, &e)); /* again: nothing */
    assert_int_equal(r.prompts + r.samples, 0);
    assert_int_equal(r.known, 4);
    assert_int_equal(r.conflicts, 0);
    o.split = "test";
    OK(kd_import_file(s, in_tmp("a.jsonl"), &o, NULL, &r, &e)); /* as test rows: they stay train rows, and it is said */
    assert_int_equal(r.conflicts, 4);
    o.limit = 1;
    OK(kd_import_file(s, in_tmp("a.jsonl"), &o, NULL, &r, &e));
    assert_int_equal(r.rows, 1);
    FAILS(KD_ENOENT, "absent", kd_import_file(s, in_tmp("absent.jsonl"), &o, NULL, &r, &e));
    /* A gzip file that was cut: what came before it stays counted, and the cut is an error. */
    kd_buf z = {0}, text = {0};
    for (int i = 0; i < 5000; i++) kd_buf_printf(&text, "{\"question\":\"q%d %d\",\"answer\":\"%d\"}\n", i, i * 7919 % 10007, i);
    OK(kd_gzip(&z, text.data, text.len, 6, &e));
    OK(kd_file_write(in_tmp("b.jsonl.gz"), z.data, z.len, &e));
    OK(kd_import_file(s, in_tmp("b.jsonl.gz"), NULL, NULL, &r, &e));
    assert_int_equal(r.prompts, 5000);
    OK(kd_file_write(in_tmp("c.jsonl.gz"), z.data, z.len / 2, &e));
    kd_err e;
    assert_int_equal(kd_import_file(s, in_tmp("c.jsonl.gz"), NULL, NULL, &r, &e), KD_EFORMAT);
    kd_buf_clear(&z);
    kd_buf_clear(&text);
    OK(kd_study_check(s, &e));
    kd_study_close(s);
}

/* Content of a study as text, ids apart: two studies with the same rows give the same text. */
static void tell_all(kd_study *s, kd_buf *out) {
    kd_select *q = NULL;
    kd_row r;
    bool more = true;
    OK(kd_select_open(&q, s, &(kd_select_opts){.any = true}, &e));
    for (;;) {
        OK(kd_select_next(q, &r, &more, &e));
        if (!more) break;
        const kd_str v[] = {r.messages, r.tools, r.gold, r.task, r.split, r.thought, r.answer, kd_str_of(kd_thought_name(r.thought_from))};
        for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
            kd_buf_append(out, v[i].data, v[i].len);
            kd_buf_putc(out, '|');
        }
        kd_buf_printf(out, "%d\n", r.sample);
    }
    kd_select_close(q);
}

static void test_round_trip(void **state) {
    (void)state;
    static const struct {
        kd_row_form form;
        const char *file;
        bool apart; /* keeps a thought that was given apart where it was */
    } forms[] = {{KD_ROW_MESSAGES, "m.jsonl", true},
                 {KD_ROW_PROMPT, "p.jsonl.gz", true},
                 {KD_ROW_SHAREGPT, "s.jsonl", false},
                 {KD_ROW_ALPACA, "a2.jsonl.gz", false}};
    static const char plain[] =
        "{\"prompt\":\"a\",\"completion\":\"<think>\\n\\n1</think>\\n x\\u0000y\",\"answer\":\"1/2\",\"reference\":\"so\",\"level\":3}\n"
        "{\"prompt\":\"a\",\"completion\":\"second\",\"task\":\"text\"}\n"
        "{\"prompt\":\"b\",\"completion\":\"<think>cut\",\"split\":\"dev\"}\n"
        "{\"prompt\":\"c\",\"completion\":\"t</think>a\"}\n{\"prompt\":\"d\",\"completion\":\"\"}\n";
    static const char rich[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"name\":\"n\"},{\"role\":\"assistant\",\"content\":"
                               "\"\",\"reasoning\":\"r\"}],"
                               "\"tools\":[{\"type\":\"function\"}]}\n"
                               "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]},{\"role\":"
                               "\"assistant\",\"content\":\"ok\"}]}\n";
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        kd_study *a = NULL, *b = NULL;
        kd_buf ta = {0}, tb = {0};
        kd_import_report r;
        uint64_t rows = 0;
        char name[2][40];
        snprintf(name[0], 40, "from%zu.study", i);
        snprintf(name[1], 40, "to%zu.study", i);
        OK(kd_study_open(&a, in_tmp(name[0]), KD_STUDY_CREATE, &e));
        OK(kd_study_open(&b, in_tmp(name[1]), KD_STUDY_CREATE, &e));
        write_text(in_tmp("plain.jsonl"), plain);
        OK(kd_import_file(a, in_tmp("plain.jsonl"), NULL, NULL, &r, &e));
        assert_int_equal(r.bad, 0);
        write_text(in_tmp("rich.jsonl"), rich);
        if (forms[i].apart) OK(kd_import_file(a, in_tmp("rich.jsonl"), NULL, NULL, &r, &e));
        assert_int_equal(r.bad, 0);
        OK(kd_label_run(a, NULL, NULL, NULL, &e));
        OK(kd_export_file(a, in_tmp(forms[i].file), &(kd_export_opts){.form = forms[i].form, .select = {.any = true}}, NULL, &rows, &e));
        assert_int_equal(rows, forms[i].apart ? 7 : 5);
        OK(kd_import_file(b, in_tmp(forms[i].file), NULL, NULL, &r, &e));
        assert_int_equal(r.bad, 0);
        assert_int_equal(r.samples, rows);
        tell_all(a, &ta);
        tell_all(b, &tb);
        assert_int_equal(ta.len, tb.len);
        assert_memory_equal(ta.data, tb.data, ta.len);
        /* And once more out: the same bytes. */
        OK(kd_export_file(b, in_tmp("again.jsonl"), &(kd_export_opts){.form = forms[i].form, .bare = true, .select = {.any = true}}, NULL,
                          &rows, &e));
        OK(kd_export_file(a, in_tmp("first.jsonl"), &(kd_export_opts){.form = forms[i].form, .bare = true, .select = {.any = true}}, NULL,
                          &rows, &e));
        kd_buf_clear(&ta);
        kd_buf_clear(&tb);
        OK(kd_file_read(&ta, in_tmp("first.jsonl"), 1 << 20, &e));
        OK(kd_file_read(&tb, in_tmp("again.jsonl"), 1 << 20, &e));
        assert_string_equal(ta.data, tb.data);
        kd_buf_clear(&ta);
        kd_buf_clear(&tb);
        if (!forms[i].apart) {
            OK(kd_import_file(a, in_tmp("rich.jsonl"), NULL, NULL, &r, &e));
            kd_err e;
            assert_int_equal(kd_export_file(a, in_tmp("no.jsonl"), &(kd_export_opts){.form = forms[i].form, .select = {.any = true}}, NULL,
                                            &rows, &e),
                             KD_EUNSUPPORTED);
            assert_false(kd_file_exists(in_tmp("no.jsonl")));
        }
        kd_study_close(a);
        kd_study_close(b);
    }
}

/* ---- hostile rows, out and in again ---- */
static void piece(kd_buf *b, kd_rng *r, bool tags) {
    static const char *const pieces[] = {"a",
                                         " ",
                                         "\n",
                                         "\"",
                                         "\\",
                                         "\\u0041",
                                         "{\"x\":1}",
                                         "\t",
                                         "\x01",
                                         "\x7f",
                                         "\xc3\xa9",
                                         "\xe4\xbd\xa0",
                                         "\xf0\x9f\x98\x80",
                                         "\xef\xbf\xbd",
                                         "\xe2\x80\xa8",
                                         "1e999",
                                         "</s>",
                                         "<|im_end|>",
                                         "\r\n",
                                         "'",
                                         "$x$",
                                         "#### 5",
                                         "\\boxed{1}",
                                         "12345678901234567890123456789012345678901234567890"};
    static const char *const thought_tags[] = {"<think>", "</think>", "<think>\n", "\n</think>\n\n", "<thinking>"};
    const uint64_t k = kd_rng_below(r, 30);
    if (k == 0)
        OK(kd_buf_append(b, "\0", 1));
    else if (tags && k < 4)
        OK(kd_buf_puts(b, thought_tags[kd_rng_below(r, 5)]));
    else
        OK(kd_buf_puts(b, pieces[kd_rng_below(r, sizeof pieces / sizeof *pieces)]));
}

static kd_str text(kd_arena *a, kd_rng *r, bool tags, uint64_t most) {
    kd_buf b = {0};
    OK(kd_buf_puts(&b, ""));
    for (uint64_t n = kd_rng_below(r, most + 1); n; n--) piece(&b, r, tags);
    const kd_str s = {kd_arena_strndup(a, b.data, b.len), b.len};
    kd_buf_clear(&b);
    return s;
}

/* A study of answers of every kind of thought, as teachers give them. */
static void fill(kd_study *s, kd_rng *r, kd_arena *a, bool plain_thoughts) {
    int64_t set;
    kd_buf lines = {0};
    kd_import_report rep;
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\",\"model\":\"m\"}", NULL, &e));
    for (int i = 0; i < 30; i++) {
        kd_jsonw w = {.out = &lines};
        kd_jsonw_object(&w);
        kd_jsonw_key(&w, "prompt");
        kd_buf q = {0};
        const kd_str t = text(a, r, true, 8);
        OK(kd_buf_printf(&q, "q%d ", i));
        OK(kd_buf_append(&q, t.data, t.len));
        kd_jsonw_str(&w, kd_buf_view(&q));
        kd_buf_clear(&q);
        if (i % 3 == 0) kd_jsonw_key(&w, "answer"), kd_jsonw_raw(&w, i % 2 ? KD_STR("123456789012345678901234567890") : KD_STR("1.50"));
        kd_jsonw_key_str(&w, text(a, r, false, 3).len ? KD_STR("k\0ey\"") : KD_STR("\xe4\xbd\xa0"));
        kd_jsonw_raw(&w, KD_STR("{\"big\":18446744073709551616,\"tiny\":1e-400,\"list\":[null,true,{}]}"));
        kd_jsonw_end_object(&w);
        OK(kd_buf_putc(&lines, '\n'));
    }
    const char *file = in_tmp("hostile.jsonl");
    OK(kd_file_write(file, lines.data, lines.len, &e));
    OK(kd_import_file(s, file, NULL, NULL, &rep, &e));
    assert_int_equal(rep.bad, 0);
    for (int64_t i = 1; i <= (int64_t)rep.prompts; i++)
        for (int k = 0; k < 4; k++) {
            kd_answer x = answer_of(i, k, "");
            x.thought_from = (kd_thought_from)kd_rng_below(r, KD_THOUGHT_THINKING + 1);
            const bool apart = x.thought_from >= KD_THOUGHT_REASONING_CONTENT;
            if (x.thought_from < KD_THOUGHT_REASONING_CONTENT) { /* as a teacher's text is cut */
                kd_thought_from from = kd_thought_split(text(a, r, true, 12), kd_rng_below(r, 2), &x.thought, &x.answer);
                x.thought_from = from;
            } else {
                x.thought = text(a, r, !plain_thoughts, 8);
                if (!x.thought.len) x.thought = KD_STR("t");
                x.answer = text(a, r, !plain_thoughts, 8);
            }
            if (apart && plain_thoughts && !x.answer.len) x.answer = KD_STR("a"); /* sharegpt cannot hold it */
            x.finish = kd_rng_below(r, 2) ? "stop" : "length";
            x.completion_tokens = (int64_t)kd_rng_below(r, 5) - 1;
            OK(kd_study_commit(s, set, 0, &x, 1, NULL, 0, NULL, &e));
        }
    kd_buf_clear(&lines);
}

/* Prompts, and samples without their numbers: rows of one prompt that are the same are one. */
static void tell_samples(kd_study *s, kd_buf *out) {
    kd_select *q = NULL;
    kd_row r;
    bool more = true;
    OK(kd_select_open(&q, s, &(kd_select_opts){.any = true}, &e));
    for (;;) {
        OK(kd_select_next(q, &r, &more, &e));
        if (!more) break;
        OK(kd_buf_printf(out, "%s %d %lld ", kd_thought_name(r.thought_from), (int)r.finish.len, (long long)r.completion_tokens));
        OK(kd_buf_append(out, r.messages.data, r.messages.len));
        OK(kd_buf_putc(out, '|'));
        if (r.thought.data) OK(kd_buf_append(out, r.thought.data, r.thought.len));
        OK(kd_buf_putc(out, '|'));
        OK(kd_buf_append(out, r.answer.data, r.answer.len));
        OK(kd_buf_putc(out, '|'));
        if (r.gold.data) OK(kd_buf_append(out, r.gold.data, r.gold.len));
        OK(kd_buf_putc(out, '\n'));
    }
    kd_select_close(q);
}

static void test_hostile_round_trip(void **state) {
    (void)state;
    static const kd_row_form forms[] = {KD_ROW_MESSAGES, KD_ROW_PROMPT, KD_ROW_SHAREGPT, KD_ROW_ALPACA};
    kd_rng r = {5, 1, 0};
    for (int round = 0; round < 8; round++) {
        const kd_row_form form = forms[round % 4];
        kd_study *from = NULL, *to = NULL;
        kd_arena arena = {0};
        kd_buf a = {0}, b = {0};
        kd_import_report rep;
        uint64_t rows;
        char name[3][40];
        snprintf(name[0], 40, "h%d.study", round);
        snprintf(name[1], 40, "g%d.study", round);
        snprintf(name[2], 40, "h%d.jsonl%s", round, round % 2 ? ".gz" : "");
        OK(kd_study_open(&from, in_tmp(name[0]), KD_STUDY_CREATE, &e));
        OK(kd_study_open(&to, in_tmp(name[1]), KD_STUDY_CREATE, &e));
        fill(from, &r, &arena, form == KD_ROW_SHAREGPT || form == KD_ROW_ALPACA);
        const char *file = in_tmp(name[2]);
        OK(kd_export_file(from, file, &(kd_export_opts){.form = form, .select = {.any = true}}, NULL, &rows, &e));
        assert_int_equal(rows, 120);
        OK(kd_import_file(to, file, NULL, NULL, &rep, &e));
        assert_int_equal(rep.bad, 0);
        assert_int_equal(rep.samples + rep.known, rows);
        if (rep.known == 0) { /* two answers of the same words are one row of an import */
            tell_samples(from, &a);
            tell_samples(to, &b);
            if (a.len != b.len || memcmp(a.data, b.data, a.len) != 0) {
                size_t at = 0;
                while (at < a.len && at < b.len && a.data[at] == b.data[at]) at++;
                at = at > 60 ? at - 60 : 0;
                fail_msg("%s differs: ...%.160s\n...%.160s", kd_row_form_name(form), a.data + at, b.data + at);
            }
        }
        kd_buf_clear(&a);
        kd_buf_clear(&b);
        kd_arena_clear(&arena);
        kd_study_close(from);
        kd_study_close(to);
    }
}

static void test_other_containers(void **state) {
    (void)state;
    static const struct {
        const char *head, *told;
    } files[] = {{"PAR1\x15\x04", "Parquet"},
                 {"ARROW1", "Arrow"},
                 {"PK\x03\x04", "zip"},
                 {"\x28\xb5\x2f\xfd", "zstd"},
                 {"\xef\xbb\xbf [\n{\"prompt\":\"a\"}]", "JSON array"}};
    kd_study *s = NULL;
    kd_import_report r;
    OK(kd_study_open(&s, in_tmp("c.study"), KD_STUDY_CREATE, &e));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *path = in_tmp("other.jsonl");
        write_text(path, files[i].head);
        FAILS(KD_EUNSUPPORTED, files[i].told, kd_import_file(s, path, NULL, NULL, &r, &e));
    }
    const char *path = in_tmp("nulls.jsonl");
    write_text(path, "{\"messages\":null,\"instruction\":null,\"prompt\":\"a\",\"completion\":null,\"split\":null}\n");
    OK(kd_import_file(s, path, NULL, NULL, &r, &e));
    assert_int_equal(r.prompts, 1);
    assert_int_equal(r.bad, 0);
    kd_study_close(s);
}

/* Each allocation of one row failing in turn. */
static void test_allocations(void **state) {
    (void)state;
    static const char line[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":\"<think>a</think>b\"}],"
        "\"answer\":\"#### 5\",\"tools\":[{\"a\":1}],\"extra\":[1,2]}";
    bool clean = false;
    for (long k = 1; !clean && k < 1000; k++) {
        kd_row_parts p;
        kd_arena a = {0};
        kd_err e;
        kd_alloc_fail_at(k);
        kd_code rc = kd_row_parse(&p, &a, kd_str_of(line), KD_ROW_SNIFF, &e);
        clean = kd_alloc_count() < k;
        kd_alloc_fail_at(0);
        if (rc != (clean ? KD_OK : KD_ENOMEM)) fail_msg("allocation %ld: code %d: %s", k, (int)rc, rc ? e.msg : "taken for success");
        kd_arena_clear(&a);
    }
    assert_true(clean);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_bad_rows),
        cmocka_unit_test(test_import),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_hostile_round_trip),
        cmocka_unit_test(test_other_containers),
    };
    return cmocka_run_group_tests_name("import", tests, make_tmp, drop_tmp);
}
