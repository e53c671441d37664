/* tests/distill/model/test_template.c - chat templates against transformers (golden/templates.jsonl.gz, written by make_template_golden.py): what it
 * renders byte for byte, and refused where it raises. Positions of errors, bounds, generation spans, memory, and the templates of models. */
#include "distill/base/gz.h"
#include "distill/model/chat.h"
#include "oracle.h"

#include <pthread.h>

#define GOLDEN "tests/distill/model/golden/templates.jsonl.gz"
enum { CLOCK = 1700000000 }; /* 2023-11-14 22:13:20 */
static const kd_template_string TOKENS[] = {{"bos_token", {"<s>", 3}}, {"eos_token", {"</s>", 4}}};

static kd_json *parse(const char *text) {
    kd_json *doc = NULL;
    OK(kd_json_parse(&doc, text, strlen(text), "test", e));
    return doc;
}

/* A case of the golden file, rendered. */
static kd_code render_case(kd_buf *out, const kd_json_node *n, const kd_json_node *contexts, kd_err *e) {
    kd_str source = kd_json_string(kd_json_get(n, "template")), name = kd_json_string(kd_json_get(n, "context"));
    kd_template *t;
    kd_template_input in = {.now = CLOCK};
    kd_code c = kd_template_new(&t, source.data, source.len, "golden", e);
    if (c) return c;
    if (name.data) {
        in.extra = kd_json_get(contexts, name.data);
        in.messages = kd_json_get(in.extra, "messages");
        in.exact_messages = true;
    } else {
        in.messages = kd_json_get(n, "messages");
        in.tools = kd_json_get(n, "tools");
        in.documents = kd_json_get(n, "documents");
        in.extra = kd_json_get(n, "kwargs");
        in.add_generation_prompt = kd_json_bool(kd_json_get(n, "generate"), false);
        in.strings = TOKENS;
        in.n_strings = 2;
    }
    c = kd_template_render(out, NULL, t, &in, e);
    kd_template_free(t);
    return c;
}

static void check_case(const kd_json_node *n, const kd_json_node *contexts, size_t number, size_t counts[2]) {
    kd_str source = kd_json_string(kd_json_get(n, "template")), text = kd_json_string(kd_json_get(n, "text"));
    kd_buf out = {0};
    kd_err e = {0};
    kd_code c = render_case(&out, n, contexts, &e);
    if (kd_json_bool(kd_json_get(n, "error"), false)) {
        if (!c) fail_msg("case %zu: %s: transformers raises, we render %s", number, source.data, out.data);
        /* what transformers raises is no want of ours, but for integers that do not fit */
        if (c != KD_EFORMAT && c != KD_ELIMIT &&
            !(c == KD_EUNSUPPORTED &&
              (strstr(e.msg, "64 bits") || strstr(e.msg, "complex") || strstr(e.msg, "supported") || strstr(e.msg, "no text of its own"))))
            fail_msg("case %zu: %s: code %d: %s", number, source.data, c, e.msg);
        assert_non_null(strstr(e.msg, "golden: line "));
        assert_null(out.data);
        counts[1]++;
    } else {
        if (c) fail_msg("case %zu: %s: %s", number, source.data, e.msg);
        if (!kd_str_eq(kd_buf_view(&out), text) && (out.len || text.len))
            fail_msg("case %zu: %s: expected %s, found %s", number, source.data, text.data, out.data ? out.data : "");
        counts[0]++;
    }
    kd_buf_clear(&out);
}

static void test_golden(void **state) {
    (void)state;
    kd_lines *in;
    kd_str line;
    bool more;
    kd_json *contexts = NULL;
    size_t counts[2] = {0, 0};
    OK(kd_lines_open(&in, GOLDEN, e));
    for (;;) {
        kd_json *doc;
        OK(kd_lines_next(in, &line, &more, e));
        if (!more) break;
        OK(kd_json_parse(&doc, line.data, line.len, "golden", e));
        if (!contexts) {
            contexts = doc;
            continue;
        }
        check_case(kd_json_root(doc), kd_json_get(kd_json_root(contexts), "contexts"), kd_lines_number(in), counts);
        kd_json_free(doc);
    }
    kd_lines_close(in);
    kd_json_free(contexts);
    print_message("# %zu renderings and %zu refusals as transformers has them\n", counts[0], counts[1]);
    assert_true(counts[0] > 700 && counts[1] > 300);
}

static kd_code render(const char *source, const char *messages, const char *extra, kd_buf *out, kd_template_spans *spans, kd_err *e) {
    kd_json *m = parse(messages), *x = extra ? parse(extra) : NULL;
    kd_template *t;
    kd_code c = kd_template_new(&t, source, strlen(source), "t", e);
    if (!c) {
        kd_template_input in = {.messages = kd_json_root(m), .extra = kd_json_root(x), .strings = TOKENS, .n_strings = 2, .now = CLOCK};
        c = kd_template_render(out, spans, t, &in, e);
        kd_template_free(t);
    }
    kd_json_free(m);
    kd_json_free(x);
    return c;
}

static void expect_error(const char *source, kd_code code, const char *message) {
    kd_buf out = {0};
    kd_err e = {0};
    kd_code c = render(source, "[{\"role\":\"user\",\"content\":\"hi\"}]", NULL, &out, NULL, &e);
    if (c != code || strcmp(e.msg, message) != 0) fail_msg("%s: expected %d %s, found %d %s", source, code, message, c, e.msg);
    assert_int_equal(out.len, 0);
    kd_buf_clear(&out);
}

static void test_errors(void **state) {
    (void)state;
    expect_error("a\n  {{ foo.bar }}", KD_EFORMAT, "t: line 2, column 9: 'foo' is undefined");
    expect_error("é{{ messages[0].x.y }}", KD_EFORMAT, "t: line 1, column 18: 'dict object' has no attribute 'x'");
    expect_error("{{ raise_exception('Only é') }}", KD_EFORMAT, "t: line 1, column 19: Only é");
    expect_error("{% include 'x' %}", KD_EUNSUPPORTED, "t: line 1, column 4: the tag 'include' is not supported in chat templates");
    expect_error("x\n{% block a %}{% endblock %}", KD_EUNSUPPORTED,
                 "t: line 2, column 4: the tag 'block' is not supported in chat templates");
    expect_error("{{ [1]|random }}", KD_EUNSUPPORTED, "t: line 1, column 8: the filter 'random' is not supported");
    expect_error("{{ lipsum() }}", KD_EUNSUPPORTED, "t: line 1, column 10: the function 'lipsum' is not supported");
    expect_error("{{ 'a'|nope }}", KD_EFORMAT, "t: line 1, column 8: no filter named 'nope'");
    expect_error("{% if true %}{% if messages %}{{ 1 is nope }}{% endif %}{% endif %}", KD_EFORMAT,
                 "t: line 1, column 39: no test named 'nope'");
    expect_error("{% do 1 %}", KD_EFORMAT, "t: line 1, column 4: unknown tag 'do'");
    expect_error("{% for x in y %}", KD_EFORMAT, "t: line 1, column 15: the template ends before {% endfor else %}");
    expect_error("{{ (1 }}", KD_EFORMAT, "t: line 1, column 7: unexpected '}', expected ')'");
    expect_error("{{ 1 + 'a' }}", KD_EFORMAT, "t: line 1, column 6: unsupported operand type(s) for +: 'int' and 'str'");
    expect_error("{{ 1 < none }}", KD_EFORMAT, "t: line 1, column 4: '<' not supported between instances of 'int' and 'NoneType'");
    expect_error("{{ messages.append(1) }}", KD_EFORMAT, "t: line 1, column 19: access to attribute 'append' of 'list' object is unsafe");
    expect_error("{{ ''.__class__.__mro__ }}", KD_EFORMAT,
                 "t: line 1, column 16: access to attribute '__class__' of 'str' object is unsafe");
    expect_error("{{ 2**70 }}", KD_EUNSUPPORTED, "t: line 1, column 5: an integer beyond 64 bits");
    expect_error("\xff", KD_EFORMAT, "t: not valid UTF-8");
}

/* Every bound in turn ends a template that would not end by itself. */
static void test_bounds(void **state) {
    (void)state;
    static const char *const hostile[] = {
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(999) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(999) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for i in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "{% set n = namespace(s=[]) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% endfor %}{{ n.s }}",
        "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
        "{% set n = namespace(g=[1]) %}{% for i in range(9999) %}{% set n.g = n.g | map('abs') %}{% endfor %}{{ n.g | list }}",
        "{{ 'a' * 99999999999 }}",
        "{{ [1] * 99999999999 }}",
        "{{ 'a'.center(99999999999) }}",
        "{{ '%99999999d' % 1 }}",
        "{{ range(100001) }}",
        "{{ [1] | batch(99999999999, 0) | list }}",
        "{{ range(9999) | join('x' * 10000) }}",
        "{% set s = 'a' * 100000 %}{% for i in range(99999) %}{% if 'ab' in s %}{% endif %}{% endfor %}",
    };
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        kd_buf out = {0};
        kd_err e = {0};
        kd_code c = render(hostile[i], "[]", NULL, &out, NULL, &e);
        if (c != KD_ELIMIT) fail_msg("%s: expected a bound, found %d %s", hostile[i], c, e.msg);
        kd_buf_clear(&out);
    }
    static const struct {
        const char *open, *close;
    } deep[] = {{"(", ")"}, {"[", "]"}, {"-", ""}, {"not ", ""}, {"1+", ""}, {"", "|abs"}, {"a.", ""}, {"1 if 1 else ", ""}, {"{1:", "}"}};
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        kd_buf s = {0};
        kd_template *t;
        kd_err e = {0};
        kd_buf_puts(&s, "{{ ");
        for (int k = 0; k < 20000; k++) kd_buf_puts(&s, deep[i].open);
        kd_buf_puts(&s, i == 6 ? "b" : "1");
        for (int k = 0; k < 20000; k++) kd_buf_puts(&s, deep[i].close);
        kd_buf_puts(&s, " }}");
        kd_code c = kd_template_new(&t, s.data, s.len, "t", &e);
        if (c != KD_ELIMIT) fail_msg("%s: expected a bound, found %d %s", deep[i].open, c, e.msg);
        kd_buf_clear(&s);
    }
    kd_template *t;
    char *big = calloc(1, 2 << 20);
    memset(big, 'x', (2 << 20) - 1);
    assert_int_equal(kd_template_new(&t, big, (2 << 20) - 1, "t", NULL), KD_ELIMIT);
    free(big);
}

static void test_spans(void **state) {
    (void)state;
    static const char source[] = "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}!{% endgeneration "
                                 "%}{% else %}{{ m.content }}{% endif %}{% endfor %}";
    kd_buf out = {0};
    kd_template_spans spans = {0};
    kd_buf_puts(&out, "before ");
    OK(render(
        source,
        "[{\"role\":\"user\",\"content\":\"é\"},{\"role\":\"assistant\",\"content\":\"ab\"},{\"role\":\"assistant\",\"content\":\"\"}]",
        NULL, &out, &spans, e));
    assert_string_equal(out.data, "before éab!!");
    assert_int_equal(spans.n, 2);
    assert_int_equal(spans.at[0].start, 2);
    assert_int_equal(spans.at[0].end, 5);
    assert_int_equal(spans.at[1].start, 5);
    assert_int_equal(spans.at[1].end, 6);
    kd_free(spans.at);
    kd_buf_clear(&out);
}

static void test_reads(void **state) {
    (void)state;
    kd_template *t;
    size_t n;
    static const char source[] =
        "{% if tools %}{% for x in messages %}{{ enable_thinking }}{% set y = 1 %}{{ y }}{% endfor %}{% endif %}\r\n";
    OK(kd_template_new(&t, source, sizeof source - 1, NULL, e));
    assert_true(kd_template_reads(t, "tools") && kd_template_reads(t, "messages") && kd_template_reads(t, "enable_thinking"));
    assert_false(kd_template_reads(t, "documents") || kd_template_reads(t, "x") || kd_template_reads(t, "y"));
    assert_string_equal(kd_template_source(t, &n), source);
    assert_int_equal(n, sizeof source - 1);
    kd_template_free(t);
    kd_template_free(NULL);
}

/* ---- the same with every allocation failing in turn ---- */

static const char all_of_it[] = "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller }}{{ kwargs }}{{ varargs }}{% endmacro %}{{ m(1, "
                                "2, 3, c=4) }}{% call m(5) %}x{% endcall %}"
                                "{% set n = namespace(s='', d={'a': [1, 2.5, none]}) %}{% for k in messages if k.role recursive %}{% set "
                                "n.s = n.s ~ k.content ~ loop.index %}{{ loop.last }}{% endfor %}"
                                "{{ n.s | upper }}{{ n.d | tojson(indent=2) }}{{ [3, 1] | sort | map('string') | join(',') }}{{ 'a%sb' % "
                                "'c' }}{{ '{:>5}'.format('é') }}"
                                "{% filter trim %} {{ messages | selectattr('role') | list | length }}{% endfilter %}{% set q %}{{ "
                                "\"\\u00e9\" 'b' }}{% endset %}{{ q.split('b') }}"
                                "{% generation %}{{ messages | groupby('role') | first }}{% endgeneration %}{{ strftime_now('%Y') }}{{ "
                                "dict(a=1).items() | list }}{{ {1: 2, 3: 4, 5: 6, 7: 8, 9: 1, 2: 2, 4: 4, 6: 6, 8: 8, 10: 1} }}";

static void test_memory(void **state) {
    (void)state;
    kd_json *m = parse("[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"tool\",\"content\":null,\"reasoning\":\"r\"}]");
    kd_json *x = parse("{\"zz\":{\"a\":[1,2,123456789012345678901234567890]}}");
    bool done = false;
    long fails = 0;
    for (long k = 1; !done; k++) {
        kd_template *t = NULL;
        kd_buf out = {0};
        kd_template_spans spans = {0};
        kd_err e = {0};
        kd_alloc_fail_at(k);
        kd_code c = kd_template_new(&t, all_of_it, sizeof all_of_it - 1, "t", &e);
        if (!c) {
            kd_template_input in = {.messages = kd_json_root(m), .extra = kd_json_root(x), .now = CLOCK};
            c = kd_template_render(&out, &spans, t, &in, &e);
        }
        done = kd_alloc_count() < k;
        kd_alloc_fail_at(0);
        if (!done && c != KD_ENOMEM) fail_msg("allocation %ld: code %d: %s", k, c, e.msg);
        if (done && c) fail_msg("%s", e.msg);
        fails += !done;
        kd_template_free(t);
        kd_free(spans.at);
        kd_buf_clear(&out);
    }
    assert_true(fails > 30);
    kd_json_free(m);
    kd_json_free(x);
}

/* ---- one template on many threads ---- */

static kd_template *shared;
static kd_json *shared_messages;

static void *thread_main(void *ctx) {
    kd_buf *out = ctx;
    for (int i = 0; i < 200; i++) {
        kd_template_input in = {.messages = kd_json_root(shared_messages), .now = CLOCK};
        out->len = 0;
        if (kd_template_render(out, NULL, shared, &in, NULL)) break;
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    pthread_t id[4];
    kd_buf out[4] = {{0}};
    shared_messages = parse("[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"ho\"}]");
    OK(kd_template_new(&shared, all_of_it, sizeof all_of_it - 1, "t", e));
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&id[i], NULL, thread_main, &out[i]), 0);
    for (int i = 0; i < 4; i++) pthread_join(id[i], NULL);
    for (int i = 0; i < 4; i++) assert_true(out[i].len > 100 && kd_str_eq(kd_buf_view(&out[i]), kd_buf_view(&out[0])));
    for (int i = 0; i < 4; i++) kd_buf_clear(&out[i]);
    kd_template_free(shared);
    kd_json_free(shared_messages);
}

/* ---- the templates of the oracle models ---- */

static void test_chats(void **state) {
    (void)state;
    for (int k = 0; k < ORACLE_COUNT; k++) {
        char path[256];
        kd_lines *in;
        kd_chat *chat;
        kd_str line;
        bool more;
        size_t n = 0;
        OK(kd_chat_open(&chat, oracle_path(path, ORACLES[k], NULL), NULL, e));
        assert_true(kd_chat_has(chat));
        OK(kd_lines_open(&in, oracle_path(path, ORACLES[k], "chats.jsonl"), e));
        for (;; n++) {
            kd_json *doc;
            kd_buf out = {0};
            OK(kd_lines_next(in, &line, &more, e));
            if (!more) break;
            OK(kd_json_parse(&doc, line.data, line.len, path, e));
            const kd_json_node *root = kd_json_root(doc);
            kd_template_input input = {.messages = kd_json_get(root, "messages"),
                                       .add_generation_prompt = kd_json_bool(kd_json_get(root, "add_generation_prompt"), false)};
            OK(kd_chat_render(&out, NULL, chat, &input, e));
            assert_string_equal(out.data, kd_json_string(kd_json_get(root, "text")).data);
            kd_buf_clear(&out);
            kd_json_free(doc);
        }
        assert_true(n >= 4);
        kd_lines_close(in);
        kd_chat_free(chat);
    }
}

static void write_file(const char *dir, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void check_chat(const char *dir, const char *file, bool tools, const char *expected) {
    kd_chat *chat;
    kd_buf out = {0};
    kd_json *m = parse("[{\"role\":\"user\",\"content\":\"hi\"}]"), *t = parse("[{\"name\":\"f\"}]");
    OK(kd_chat_open(&chat, dir, file, e));
    kd_template_input in = {.messages = kd_json_root(m), .tools = tools ? kd_json_root(t) : NULL};
    OK(kd_chat_render(&out, NULL, chat, &in, e));
    assert_string_equal(out.data, expected);
    kd_buf_clear(&out);
    kd_json_free(m);
    kd_json_free(t);
    kd_chat_free(chat);
}

/* Where folders keep templates and tokens, and which of them wins. */
static void test_folders(void **state) {
    (void)state;
    char dir[] = "/tmp/kd_chat_XXXXXX", path[512];
    assert_non_null(mkdtemp(dir));
    write_file(dir, "config.json", "{\"model_type\":\"llama\"}");
    write_file(
        dir, "tokenizer_config.json",
        "{\"bos_token\":{\"content\":\"<b>\"},\"eos_token\":\"<e>\",\"pad_token\":null,\"image_token\":\"<i>\",\"add_bos_token\":true,"
        "\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"T{{ tools|length }}{{ eos_token "
        "}}\"},{\"name\":\"default\",\"template\":\"D{{ bos_token }}{{ image_token }}{{ pad_token }}|{{ add_bos_token }}\"}]}");
    check_chat(dir, NULL, false, "D<b><i>|");
    check_chat(dir, NULL, true, "T1<e>");
    write_file(dir, "special_tokens_map.json", "{\"bos_token\":\"<B>\"}");
    check_chat(dir, NULL, false, "D<B><i>|");
    write_file(dir, "chat_template.jinja", "J{{ messages[0].content }}\n");
    check_chat(dir, NULL, true, "Jhi");
    snprintf(path, sizeof path, "%s/own.jinja", dir);
    write_file(dir, "own.jinja", "own {{ eos_token }}");
    check_chat(dir, path, true, "own <e>");
    write_file(dir, "chat_template.jinja", "{% if %}");
    kd_chat *chat;
    kd_err err = {0};
    assert_int_equal(kd_chat_open(&chat, dir, NULL, &err), KD_EFORMAT);
    assert_non_null(strstr(err.msg, "chat_template.jinja: line 1, column 7: "));
    static const char *const files[] = {"config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
                                        "own.jinja"};
    for (size_t i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        remove(path);
    }
    remove(dir);
    assert_int_equal(kd_chat_open(&chat, dir, NULL, &err), KD_ENOENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden),  cmocka_unit_test(test_errors), cmocka_unit_test(test_bounds),
                                       cmocka_unit_test(test_spans),   cmocka_unit_test(test_reads),  cmocka_unit_test(test_memory),
                                       cmocka_unit_test(test_threads), cmocka_unit_test(test_chats),  cmocka_unit_test(test_folders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
