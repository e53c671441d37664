/* tests/teacher/test_response.c - what endpoints say, in every form known: where thoughts stand, usage, refusals, errors inside a 200, streams cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "teacher/response.h"

static kd_response r;
static kd_err e;

static kd_code whole(const char *body) {
    kd_err_clear(&e);
    kd_response_clear(&r);
    return kd_response_parse(&r, kd_str_of(body), false, 0, &e);
}

/* A completion around one message. */
static kd_code message(const char *m) {
    char body[2000];
    snprintf(body, sizeof body,
             "{\"model\":\"m-1\",\"choices\":[{\"index\":0,\"message\":%s,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":7,"
             "\"completion_tokens\":5}}",
             m);
    return whole(body);
}

static void is(const char *thought, kd_thought_from from, const char *answer) {
    assert_string_equal(r.thought.len ? r.thought.data : "", thought);
    assert_string_equal(r.answer.len ? r.answer.data : "", answer);
    assert_string_equal(kd_thought_name(r.thought_from), kd_thought_name(from));
}

static void test_thoughts(void **state) {
    (void)state;
    static const struct {
        const char *message, *thought, *answer;
        kd_thought_from from;
    } t[] = {
        {"{\"content\":\"42\"}", "", "42", KD_THOUGHT_NONE},
        {"{\"reasoning_content\":\"hm\",\"content\":\"42\"}", "hm", "42", KD_THOUGHT_REASONING_CONTENT},
        {"{\"content\":\"42\",\"reasoning\":\"hm\"}", "hm", "42", KD_THOUGHT_REASONING},
        {"{\"reasoning_content\":\"hm\",\"reasoning\":\"hm\",\"content\":\"42\"}", "hm", "42",
         KD_THOUGHT_REASONING_CONTENT}, /* said twice, kept once */
        {"{\"reasoning_content\":\"\",\"reasoning\":\"hm\",\"content\":\"42\"}", "hm", "42", KD_THOUGHT_REASONING},
        {"{\"reasoning_content\":null,\"content\":\"42\"}", "", "42", KD_THOUGHT_NONE},
        {"{\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\"},{\"type\":\"text\",\"text\":\"4\"},{\"type\":\"text\",\"text\":\"2\"}]"
         "}",
         "hm", "42", KD_THOUGHT_THINKING},
        {"{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"h\"},{\"type\":\"text\",\"text\":\"m\"}]},"
         "\"42\"]}",
         "hm", "42", KD_THOUGHT_THINKING},
        {"{\"content\":\"<think>hm</think>42\"}", "hm", "42", KD_THOUGHT_TAGS},
        {"{\"content\":\"\\n <think>hm</think>\\n42\"}", "hm", "\n42", KD_THOUGHT_TAGS},
        {"{\"content\":\"hm</think>\\n\\n42\"}", "hm", "\n\n42", KD_THOUGHT_CLOSE}, /* the opening tag was the prompt's */
        {"{\"content\":\"<think>hm\"}", "hm", "", KD_THOUGHT_UNCLOSED},
        {"{\"content\":\"a <think> b\"}", "", "a <think> b", KD_THOUGHT_NONE},
        {"{\"reasoning\":\"hm\",\"content\":\"a</think>b\"}", "hm", "a</think>b",
         KD_THOUGHT_REASONING}, /* given apart: the content is the answer */
        {"{\"reasoning_content\":\"hm\",\"content\":null}", "hm", "", KD_THOUGHT_REASONING_CONTENT},
        {"{\"content\":\"a\\u0000b\"}", "", "a", KD_THOUGHT_NONE},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        if (message(t[i].message)) fail_msg("%s: %s", t[i].message, e.msg);
        is(t[i].thought, t[i].from, t[i].answer);
        assert_string_equal(r.finish, "stop");
        assert_string_equal(r.model, "m-1");
        assert_int_equal(r.usage.prompt, 7);
        assert_int_equal(r.usage.completion, 5);
        assert_int_equal(r.usage.reasoning, -1);
        assert_false(r.refusal || r.empty || r.tool_calls);
    }
    assert_int_equal(r.answer.len, 3); /* the byte behind U+0000 is there */
    kd_response_clear(&r);
}

static void test_others(void **state) {
    (void)state;
    assert_int_equal(message("{\"content\":null,\"refusal\":\"I won't\"}"), KD_OK);
    assert_true(r.refusal);
    is("", KD_THOUGHT_NONE, "I won't");
    assert_int_equal(message("{\"content\":[{\"type\":\"refusal\",\"refusal\":\"no\"}]}"), KD_OK);
    assert_true(r.refusal);
    is("", KD_THOUGHT_NONE, "no");
    assert_int_equal(message("{\"content\":null,\"tool_calls\":[{\"id\":\"1\"}]}"), KD_OK);
    assert_true(r.tool_calls && !r.empty);
    assert_int_equal(message("{\"content\":\"\"}"), KD_OK);
    assert_true(r.empty);
    assert_int_equal(whole("{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"eos_token\"}]}"),
                     KD_OK); /* unknown reasons are kept */
    assert_string_equal(r.finish, "eos_token");
    assert_int_equal(r.usage.prompt, -1);
    assert_int_equal(whole("{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":"
                           "\"123456789012345678901234567890123456789012345678901234567890\\u20ac\\u20ac\"}]}"),
                     KD_OK);
    assert_string_equal(r.finish, "123456789012345678901234567890123456789012345678901234567890\xe2\x82\xac"); /* cut between characters */
    assert_int_equal(whole("{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":20,"
                           "\"completion_tokens_details\":{\"reasoning_tokens\":15},\"prompt_tokens_details\":{\"cached_tokens\":8}}}"),
                     KD_OK);
    assert_int_equal(r.usage.reasoning, 15);
    assert_int_equal(r.usage.cached, 8);
    assert_int_equal(whole("{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":-3,\"completion_tokens\":2.5,"
                           "\"prompt_cache_hit_tokens\":6}}"),
                     KD_OK);
    assert_int_equal(r.usage.prompt, -1); /* no count */
    assert_int_equal(r.usage.completion, -1);
    assert_int_equal(r.usage.cached, 6);
    assert_int_equal(whole("{\"choices\":[{\"message\":{\"content\":\"ab\"},\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,"
                           "\"top_logprobs\":[]},{\"token\":\"b\",\"logprob\":-1}]}}]}"),
                     KD_OK);
    assert_string_equal(r.logprobs.data, "[{\"token\":\"a\",\"logprob\":-0.5,\"top_logprobs\":[]},{\"token\":\"b\",\"logprob\":-1}]");
    kd_response_clear(&r);
}

static void test_failures(void **state) {
    (void)state;
    static const struct {
        const char *body, *why;
    } t[] = {
        {"", "empty body"},
        {" \n", "not JSON"},
        {"<html><body>502 Bad Gateway</body></html>", "not JSON"},
        {"{\"choices\":[{\"message\":{\"content\":\"x\"", "not JSON"},
        {"{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}", "not JSON"},
        {"[]", "no choices"},
        {"3", "no choices"},
        {"null", "no choices"},
        {"{}", "no choices"},
        {"{\"choices\":[]}", "no choices"},
        {"{\"choices\":null}", "no choices"},
        {"{\"choices\":{\"message\":{\"content\":\"x\"}}}", "no choices"},
        {"{\"choices\":[3]}", "without a message"},
        {"{\"choices\":[{\"message\":\"x\"}]}", "without a message"},
        {"{\"choices\":[{\"message\":{\"content\":7}}]}", "empty answer"},
        {"{\"choices\":[{\"message\":{\"content\":\"\"}}]}", "empty answer"},
        {"{\"error\":{\"message\":\"over\\u000aloaded\",\"code\":502},\"choices\":[]}", "an error inside a 200: over loaded"},
        {"{\"error\":\"bad\"}", "an error inside a 200: bad"},
        {"{\"error\":{}}", "no message"},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        if (whole(t[i].body) != KD_EFORMAT || !strstr(e.msg, t[i].why)) fail_msg("%s: code %d, %s", t[i].body, (int)e.code, e.msg);
        assert_true(!r.answer.data && !r.thought.data && !r.finish[0]);
    }
    char nul[] = "{\"choices\":[]}\0{}";
    assert_int_equal(kd_response_parse(&r, (kd_str){nul, sizeof nul - 1}, false, 0, &e), KD_EFORMAT);
    /* what it says that it cost counts, even then */
    assert_int_equal(whole("{\"error\":{\"message\":\"x\"},\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":12}}"), KD_EFORMAT);
    assert_int_equal(r.usage.prompt, 11);
    assert_int_equal(r.usage.completion, 12);
    kd_buf deep = {0};
    kd_buf_puts(&deep, "{\"choices\":[{\"message\":{\"content\":");
    for (int i = 0; i < 100000; i++) kd_buf_putc(&deep, '[');
    assert_int_equal(kd_response_parse(&r, kd_buf_view(&deep), false, 0, &e), KD_EFORMAT);
    kd_buf_clear(&deep);
    kd_response_clear(&r);
}

#define EV(x) "data: {\"choices\":[{\"index\":0,\"delta\":{" x "}}]}\n\n"
#define END "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n"

static kd_code stream(const char *body, size_t n) {
    char *exact = malloc(n ? n : 1); /* so that a byte too far is seen */
    memcpy(exact, body, n);
    kd_err_clear(&e);
    kd_code c = kd_response_parse(&r, (kd_str){exact, n}, true, 0, &e);
    free(exact);
    return c;
}

static const char plain[] = ": hello\n\n" EV("\"role\":\"assistant\",\"content\":null") EV("\"reasoning_content\":\"h\\u00e9\"")
    EV("\"reasoning_content\":\"m\"") EV("\"content\":\"4\xc3\xa9\"") EV("\"content\":\"2\"") END USAGE "data: [DONE]\n\n";

static void test_stream(void **state) {
    (void)state;
    static const char *const line_ends[] = {"\n", "\r", "\r\n"};
    for (int i = 0; i < 3; i++) { /* one text, three ways to end lines */
        kd_buf b = {0};
        for (const char *p = plain; *p; p++) *p == '\n' ? kd_buf_puts(&b, line_ends[i]) : kd_buf_putc(&b, *p);
        assert_int_equal(stream(b.data, b.len), KD_OK);
        is("h\xc3\xa9m", KD_THOUGHT_REASONING_CONTENT,
           "4\xc3\xa9"
           "2");
        assert_int_equal(r.usage.prompt, 3);
        assert_int_equal(r.usage.completion, 4);
        assert_string_equal(r.finish, "stop");
        kd_buf_clear(&b);
    }
    /* a byte order mark, fields we do not know, no space behind the colon, an event of two data lines, a comment between */
    static const char odd[] = "\xef\xbb\xbf"
                              "event: x\nid: 1\nretry: 5\ndata:{\"choices\":[{\"delta\":\ndata\n: keep-alive\ndata: "
                              "{\"content\":\"a<b\"},\"finish_reason\":\"length\"}]}\n\n";
    assert_int_equal(stream(odd, sizeof odd - 1), KD_OK);
    is("", KD_THOUGHT_NONE, "a<b");
    assert_string_equal(r.finish, "length");
    /* tags that come in pieces */
    static const char tags[] =
        EV("\"content\":\"<thi\"") EV("\"content\":\"nk>h\"") EV("\"content\":\"m</th\"") EV("\"content\":\"ink>42\"") END;
    assert_int_equal(stream(tags, sizeof tags - 1), KD_OK);
    is("hm", KD_THOUGHT_TAGS, "42");
    static const char lp[] =
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[{\"token\":\"a\"}]}}]}\n\n"
        "data: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"logprobs\":{\"content\":[{\"token\":\"b\"},{\"token\":\"c\"}]}}]}\n\n"
        "data: {\"choices\":[{\"delta\":{},\"logprobs\":{\"content\":[]}}]}\n\n" END;
    assert_int_equal(stream(lp, sizeof lp - 1), KD_OK);
    assert_string_equal(r.logprobs.data, "[{\"token\":\"a\"},{\"token\":\"b\"},{\"token\":\"c\"}]");
    static const char late[] = EV("\"content\":\"x\"") "data: {\"error\":{\"message\":\"gone\"}}\n\n" END;
    assert_int_equal(stream(late, sizeof late - 1), KD_EFORMAT);
    assert_string_equal(e.msg, "an error inside a 200: gone");
    static const char junk[] = EV("\"content\":\"x\"") "data: {oops\n\n" END;
    assert_int_equal(stream(junk, sizeof junk - 1), KD_EFORMAT);
    static const char silent[] = EV("\"content\":\"x\"") "data: [DONE]\n\n";
    assert_int_equal(stream(silent, sizeof silent - 1), KD_EFORMAT);
    assert_non_null(strstr(e.msg, "without a finish reason"));
    kd_response_clear(&r);
}

/* Cut at any byte before the event with the finish reason is over, it is a failure and never half an answer. */
static void test_cut(void **state) {
    (void)state;
    size_t n = sizeof plain - 1, over = (size_t)(strstr(plain, END) - plain) + sizeof END - 1;
    for (size_t i = 0; i <= n; i++) {
        kd_code c = stream(plain, i);
        if (i < over ? c != KD_EFORMAT || r.answer.len : c != KD_OK) fail_msg("cut at %zu of %zu: code %d %s", i, n, (int)c, e.msg);
        if (i >= over)
            is("h\xc3\xa9m", KD_THOUGHT_REASONING_CONTENT,
               "4\xc3\xa9"
               "2");
    }
    static const char one[] = "{\"choices\":[{\"message\":{\"content\":\"<think>a</"
                              "think>b\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}";
    for (size_t i = 0; i < sizeof one - 1; i++) assert_int_equal(kd_response_parse(&r, (kd_str){one, i}, false, 0, &e), KD_EFORMAT);
    kd_response_clear(&r);
}

static void test_error_text(void **state) {
    (void)state;
    static const struct {
        const char *body, *said;
    } t[] = {{"{\"error\":{\"message\":\"a\\nb\"}}", "a b"},
             {"{\"error\":\"x\"}", "x"},
             {"{\"message\":\"y\"}", "y"},
             {"{\"detail\":\"z\"}", "z"},
             {"plain \x01 text", "plain   text"},
             {"", ""},
             {"{\"error\":{\"code\":1}}", "{\"error\":{\"code\":1}}"}};
    char out[40];
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        kd_response_error(out, sizeof out, kd_str_of(t[i].body));
        assert_string_equal(out, t[i].said);
    }
    kd_response_error(out, 6, kd_str_of("ab\xe2\x82\xac\xe2\x82\xac"));
    assert_string_equal(out, "ab\xe2\x82\xac");
}

/* Every allocation failing in turn: out of memory is said, never a wrong answer. */
static void test_memory(void **state) {
    (void)state;
    static const char one[] = "{\"choices\":[{\"message\":{\"content\":\"<think>a</"
                              "think>b\"},\"finish_reason\":\"stop\",\"logprobs\":{\"content\":[{\"token\":\"b\"}]}}]}";
    for (int k = 0; k < 2; k++) {
        const char *body = k ? plain : one;
        long i = 1;
        for (;; i++) {
            kd_alloc_fail_at(i);
            kd_code c = kd_response_parse(&r, kd_str_of(body), k, 0, &e);
            bool failed = kd_alloc_count() >= i;
            kd_alloc_fail_at(0);
            if (!failed) {
                assert_int_equal(c, KD_OK);
                break;
            }
            if (c && c != KD_ENOMEM) fail_msg("allocation %ld: code %d, %s", i, (int)c, e.msg);
            if (!c && strcmp(r.answer.data, k ? "4\xc3\xa9"
                                                "2"
                                              : "b"))
                fail_msg("allocation %ld changed the answer", i);
        }
        assert_true(i > 5);
    }
    kd_response_clear(&r);
}

/* A stream has begun when something was said: not by its headers, comments, roles or empty deltas. */
static void test_began(void **state) {
    (void)state;
    static const char quiet[] = ": waiting\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n: on\n\n";
    static const char said[] = "data: {\"choices\":[{\"delta\":{\"reasoning\":\"h\"}}]}\n\n";
    char all[sizeof quiet + sizeof said];
    snprintf(all, sizeof all, "%s%s", quiet, said);
    for (size_t n = 0; n < strlen(all); n++) assert_false(kd_response_began((kd_str){all, n}));
    assert_true(kd_response_began(kd_str_of(all)));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_thoughts), cmocka_unit_test(test_others), cmocka_unit_test(test_failures),
                                       cmocka_unit_test(test_stream),   cmocka_unit_test(test_cut),    cmocka_unit_test(test_error_text),
                                       cmocka_unit_test(test_memory),   cmocka_unit_test(test_began)};
    return cmocka_run_group_tests_name("response", tests, NULL, NULL);
}
