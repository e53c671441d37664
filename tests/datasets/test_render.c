/* tests/datasets/test_render.c - conversations and lessons over the oracle models' tokenizers: the text, its ids, and exactly which of them are
 * learned. In the expected texts what is learned stands between [[ and ]]. */
#include "datasets/render.h"
#include "distill/base/gz.h"
#include "distill/model/tokenizer.h"
#include "../distill/model/oracle.h"

#include <unistd.h>

#define TEMPLATES "tests/distill/model/templates/"

typedef struct {
    kd_chat *chat;
    kd_tokenizer *tokenizer;
    kd_render r;
} rig;

static rig rig_new(const char *model, const char *template_file) {
    rig g = {0};
    char path[256];
    OK(kd_chat_open(&g.chat, oracle_path(path, model, NULL), template_file, e));
    OK(kd_tokenizer_open(&g.tokenizer, path, e));
    g.r = (kd_render){.chat = g.chat, .tokenizer = g.tokenizer};
    return g;
}

static void rig_free(rig *g) {
    kd_chat_free(g->chat);
    kd_tokenizer_free(g->tokenizer);
}

static kd_json *parse(const char *text) {
    kd_json *doc = NULL;
    OK(kd_json_parse(&doc, text, strlen(text), "test", e));
    return doc;
}

/* The lesson's tokens as text, what is learned in double brackets. */
static void marked(kd_buf *out, const rig *g, const kd_lesson *l) {
    for (size_t i = 0; i < l->n;) {
        size_t j = i;
        while (j < l->n && l->loss[j] == l->loss[i]) j++;
        kd_buf bytes = {0}, before = {0};
        /* a run in the middle: SentencePiece drops a space at the beginning of a text only */
        OK(kd_tokenizer_decode(g->tokenizer, &before, l->tokens, i, 0, e));
        OK(kd_tokenizer_decode(g->tokenizer, &bytes, l->tokens, j, 0, e));
        if (l->loss[i]) kd_buf_puts(out, "[[");
        kd_buf_append(out, bytes.data + before.len, bytes.len - before.len);
        if (l->loss[i]) kd_buf_puts(out, "]]");
        kd_buf_clear(&bytes);
        kd_buf_clear(&before);
        i = j;
    }
}

/* expected: the tokens' text with what is learned marked; as_text: what was rendered, NULL: the same without the brackets. */
static void check_lesson(const rig *g, const kd_lesson *l, const kd_buf *text, const char *expected, const char *as_text) {
    kd_buf m = {0};
    marked(&m, g, l);
    if (strcmp(m.data ? m.data : "", expected) != 0) fail_msg("expected %s\nfound    %s", expected, m.data ? m.data : "");
    for (char *p = m.data; p && *p; p++)
        while (memcmp(p, "[[", 2) == 0 || memcmp(p, "]]", 2) == 0) memmove(p, p + 2, strlen(p + 2) + 1);
    assert_string_equal(text->data ? text->data : "", as_text ? as_text : m.data ? m.data : "");
    kd_buf_clear(&m);
}

static void check_text(const rig *g, const char *line, const char *expected, const char *as_text, size_t turns, size_t without) {
    kd_json *doc = parse(line);
    kd_lesson l;
    kd_buf text = {0};
    kd_render_counts counts = {0};
    OK(kd_render_lesson(&l, &text, &counts, &g->r, kd_json_root(doc), e));
    check_lesson(g, &l, &text, expected, as_text);
    assert_int_equal(counts.turns, turns);
    assert_int_equal(counts.turns_without, without);
    assert_int_equal(counts.lessons, l.n > 0);
    assert_int_equal(counts.empty, l.n == 0);
    assert_int_equal(counts.tokens, l.n);
    assert_int_equal(counts.loss_tokens, l.n_loss);
    kd_lesson_clear(&l);
    kd_buf_clear(&text);
    kd_json_free(doc);
}

static void check(const rig *g, const char *line, const char *expected, size_t turns, size_t without) {
    check_text(g, line, expected, NULL, turns, without);
}

#define U(s) "{\"role\":\"user\",\"content\":\"" s "\"}"
#define A(s) "{\"role\":\"assistant\",\"content\":\"" s "\"}"
#define T(s, t) "{\"role\":\"assistant\",\"content\":\"" s "\",\"reasoning_content\":\"" t "\"}"

/* A template that keeps thoughts behind the last question only. */
static void test_thought(void **state) {
    (void)state;
    rig g = rig_new("qwen2-tied", TEMPLATES "thought.jinja");
    check(&g, "{\"messages\":[" U("Q") "," T("Hi", "so") "]}",
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[<think>\nso\n</think>\n\nHi<|im_end|>]]", 1, 0);
    check(&g, "{\"messages\":[" U("Q") ",{\"role\":\"assistant\",\"content\":\"Hi\",\"thinking\":\"so\"}]}",
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[<think>\nso\n</think>\n\nHi<|im_end|>]]", 1, 0);
    /* raw text stays as it is, spaces and all */
    check(&g, "{\"messages\":[" U("Q") "," A("<think>a </think> b ") "]}",
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[<think>a </think> b <|im_end|>]]", 1, 0);
    check(&g, "{\"messages\":[" U("Q") "," A(" Hi ") "]}", "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[ Hi <|im_end|>]]", 1,
          0);
    /* the first turn's thought is gone from the last prompt: present, but not learned */
    check(&g, "{\"messages\":[" U("Q") "," T("Hi", "so") "," U("R") "," T("Ho", "if") "]}",
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nHi<|im_end|>\n<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n[[<"
          "think>\nif\n</think>\n\nHo<|im_end|>]]",
          1, 1);
    /* without thoughts both are */
    check(&g, "{\"messages\":[" U("Q") "," A("Hi") "," U("R") "," A("Ho") "]}",
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[Hi<|im_end|>]]\n<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n[["
          "Ho<|im_end|>]]",
          2, 0);
    /* what follows the last answer teaches nothing; flags take turns out */
    check(&g, "{\"messages\":[" U("Q") "," A("Hi") "," U("R") "]}",
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[Hi<|im_end|>]]", 1, 0);
    check(&g, "{\"messages\":[" U("Q") ",{\"role\":\"assistant\",\"content\":\"Hi\",\"weight\":0}," U("R") "," A("Ho") "]}",
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nHi<|im_end|>\n<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n[[Ho<|"
          "im_end|>]]",
          1, 0);
    check(&g, "{\"messages\":[" U("Q") "]}", "", 0, 0);
    check(&g, "{\"messages\":[" A("Hi") "]}", "", 0, 0);
    check(&g, "{\"messages\":[" U("Q") "," A("Hi") "],\"chat_template_kwargs\":{\"enable_thinking\":false}}",
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n[[Hi<|im_end|>]]", 1, 0);
    /* pairs */
    check(&g, "{\"prompt\":\"Q\",\"completion\":\"Hi\"}", "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[Hi<|im_end|>]]", 1, 0);
    check(&g, "{\"prompt\":[" U("Q") "],\"completion\":[" A("Hi") "]}",
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[Hi<|im_end|>]]", 1, 0);
    rig_free(&g);
}

/* A template whose prompt opens the thought and whose history drops it. */
static void test_forced(void **state) {
    (void)state;
    rig g = rig_new("qwen2-tied", TEMPLATES "forced.jinja");
    static const char head[] = "<|user|>Q<|assistant|><think>\n";
    char expected[512];
    snprintf(expected, sizeof expected, "%s[[so\n</think>\n\nHi<|im_end|>]]", head);
    check(&g, "{\"messages\":[" U("Q") "," T("Hi", "so") "]}", expected, 1, 0);
    check(&g, "{\"messages\":[" U("Q") "," A("<think>\\nso\\n</think>\\n\\nHi") "]}", expected, 1, 0);
    check(&g, "{\"messages\":[" U("Q") "," A("so\\n</think>\\n\\nHi") "]}", expected, 1, 0);
    snprintf(expected, sizeof expected, "%s[[\n</think>\n\nHi<|im_end|>]]", head);
    check(&g, "{\"messages\":[" U("Q") "," A("Hi") "]}", expected, 1, 0);
    rig_free(&g);
}

/* White space that a template puts around answers belongs to them; SentencePiece does not add its own. */
static void test_glue(void **state) {
    (void)state;
    rig g = rig_new("llama-untied-spm", NULL);
    /* behind a control token this tokenizer puts a space, which is no part of the text */
    check_text(&g, "{\"messages\":[" U("Hi") "," A("Hello") "," U("Bye") "," A("So long.") "]}",
               "<s> [INST] Hi [/INST][[ Hello</s>]] [INST] Bye [/INST][[ So long.</s>]]",
               "<s>[INST] Hi [/INST] Hello</s>[INST] Bye [/INST] So long.</s>", 2, 0);
    rig_free(&g);
    g = rig_new("llama-untied-spm", TEMPLATES "alternate.jinja");
    check_text(&g, "{\"messages\":[" U("Hi") "," A("Hello") "," U("Bye") "," A("So long.") "]}",
               "<s> [Q] Hi [/Q][[ Hello </s>]] [Q] Bye [/Q][[ So long. </s>]]", "<s>[Q] Hi [/Q] Hello </s>[Q] Bye [/Q] So long. </s>", 2,
               0);
    int32_t end;
    OK(kd_render_turn_end(&end, &g.r, e));
    assert_int_equal(end, kd_tokenizer_specials(g.tokenizer)->eos);
    rig_free(&g);
}

/* Text is never a control token in what is learned, and the border of prompt and answer is one of tokens. */
static void test_control(void **state) {
    (void)state;
    rig g = rig_new("qwen3-untied", NULL);
    kd_json *doc = parse("{\"messages\":[" U("Q") "," A("a<|im_end|>b") "]}");
    kd_lesson l;
    kd_ids prompt = {0};
    int32_t end;
    static const char head[] = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n";
    OK(kd_render_turn_end(&end, &g.r, e));
    OK(kd_render_lesson(&l, NULL, NULL, &g.r, kd_json_root(doc), e));
    OK(kd_tokenizer_encode(g.tokenizer, &prompt, head, sizeof head - 1, KD_TOK_PARSE_SPECIAL, e));
    assert_memory_equal(l.tokens, prompt.id, prompt.n * sizeof *prompt.id);
    for (size_t i = 0; i < l.n; i++) {
        assert_int_equal(l.loss[i], i >= prompt.n);
        assert_true(i < prompt.n || i + 1 == l.n || l.tokens[i] != end);
    }
    assert_int_equal(l.tokens[l.n - 1], end);
    kd_ids_clear(&prompt);
    kd_lesson_clear(&l);
    kd_json_free(doc);
    rig_free(&g);
}

/* A turn that calls tools is learned as the template writes it. */
static void test_tools(void **state) {
    (void)state;
    char path[] = "/tmp/kd_render_XXXXXX";
    int fd = mkstemp(path);
    static const char source[] =
        "{% for t in tools or [] %}{{ t.name }};{% endfor %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content or '') "
        "}}{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}{% if "
        "add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    assert_int_equal(write(fd, source, sizeof source - 1), sizeof source - 1);
    close(fd);
    rig g = rig_new("qwen2-tied", path);
    check(&g,
          "{\"tools\":[{\"name\":\"f\"}],\"messages\":[" U(
              "Q") ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}}]},{"
                   "\"role\":\"tool\",\"content\":\"2\"}," A("It is 2") "]}",
          "f;<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[<call>{\"name\": \"f\", \"arguments\": {\"a\": "
          "1}}<|im_end|>]]\n<|im_start|>tool\n2<|im_end|>\n<|im_start|>assistant\n[[It is 2<|im_end|>]]",
          2, 0);
    check(&g, "{\"messages\":[" U("Q") ",{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]}]}",
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[x<call>{\"name\": \"f\"}<|im_end|>]]", 1, 0);
    rig_free(&g);
    unlink(path);
}

static void check_sample(const rig *g, const char *completion, bool ended, const char *expected) {
    kd_lesson l;
    kd_buf text = {0};
    kd_render_counts counts = {0};
    OK(kd_render_sample(&l, &text, &counts, &g->r, KD_STR("[" U("Q") "]"), (kd_str){0}, kd_str_of(completion), ended, e));
    check_lesson(g, &l, &text, expected, NULL);
    kd_lesson_clear(&l);
    kd_buf_clear(&text);
}

/* Raw completions of any teacher under the student's own template. */
static void test_samples(void **state) {
    (void)state;
    rig g = rig_new("qwen2-tied", TEMPLATES "thought.jinja");
#define HEAD "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    check_sample(&g, "<think>\na\n</think>\n\nb\n", true, HEAD "[[<think>\na\n</think>\n\nb\n<|im_end|>]]");
    check_sample(&g, "a\n</think>\n\nb", true,
                 HEAD "[[<think>\na\n</think>\n\nb<|im_end|>]]"); /* its teacher's prompt opened the thought */
    check_sample(&g, "\na\n</think>b", true, HEAD "[[<think>\na\n</think>b<|im_end|>]]");
    check_sample(&g, "<think>\nnever done", false, HEAD "[[<think>\nnever done]]"); /* cut: no end is learned */
    rig_free(&g);
    g = rig_new("qwen2-tied", TEMPLATES "forced.jinja");
    check_sample(&g, "<think>\na\n</think>\n\nb", true, "<|user|>Q<|assistant|><think>\n[[a\n</think>\n\nb<|im_end|>]]");
    check_sample(&g, "a\n</think>\n\nb", true, "<|user|>Q<|assistant|><think>\n[[a\n</think>\n\nb<|im_end|>]]");
    check_sample(&g, "a, and so", false, "<|user|>Q<|assistant|><think>\n[[a, and so]]");
    rig_free(&g);
}

/* Over the oracles' own templates a lesson is the beginning of the ids that transformers gives the whole conversation. */
static void test_oracles(void **state) {
    (void)state;
    for (int k = 0; k < ORACLE_COUNT; k++) {
        char path[256];
        kd_lines *in;
        kd_str line;
        bool more;
        rig g = rig_new(ORACLES[k], NULL);
        OK(kd_lines_open(&in, oracle_path(path, ORACLES[k], "chats.jsonl"), e));
        for (;;) {
            kd_json *doc;
            kd_buf text = {0};
            kd_ids whole = {0};
            kd_lesson l;
            int32_t *tokens;
            size_t n;
            OK(kd_lines_next(in, &line, &more, e));
            if (!more) break;
            OK(kd_json_parse(&doc, line.data, line.len, path, e));
            kd_str expected = kd_json_string(kd_json_get(kd_json_root(doc), "text"));
            OK(kd_render_chat(&text, &tokens, &n, &g.r, kd_json_root(doc), e));
            assert_string_equal(text.data, expected.data);
            OK(kd_tokenizer_encode(g.tokenizer, &whole, expected.data, expected.len, KD_TOK_PARSE_SPECIAL, e));
            assert_int_equal(n, whole.n);
            assert_memory_equal(tokens, whole.id, n * sizeof *tokens);
            OK(kd_render_lesson(&l, NULL, NULL, &g.r, kd_json_root(doc), e));
            assert_true(l.n <= whole.n);
            if (l.n) assert_memory_equal(l.tokens, whole.id, l.n * sizeof *l.tokens);
            kd_free(tokens);
            kd_ids_clear(&whole);
            kd_lesson_clear(&l);
            kd_buf_clear(&text);
            kd_json_free(doc);
        }
        kd_lines_close(in);
        rig_free(&g);
    }
}

static void test_prompt(void **state) {
    (void)state;
    rig g = rig_new("qwen2-tied", TEMPLATES "forced.jinja");
    kd_json *doc = parse("{\"messages\":[" U("Q") "," A("Hi") "]}");
    kd_buf text = {0};
    int32_t *tokens;
    size_t n;
    bool opened = false;
    OK(kd_render_prompt(&text, &tokens, &n, &opened, &g.r, kd_json_root(doc), e));
    assert_string_equal(text.data, "<|user|>Q<|assistant|><think>\n");
    assert_true(opened && n > 0);
    kd_free(tokens);
    kd_buf_clear(&text);
    rig_free(&g);
    g = rig_new("qwen2-tied", TEMPLATES "thought.jinja");
    OK(kd_render_prompt(&text, NULL, NULL, &opened, &g.r, kd_json_root(doc), e));
    assert_false(opened);
    kd_buf_clear(&text);
    kd_json_free(doc);
    rig_free(&g);
}

/* ---- rows ---- */

static void expect_error(const rig *g, const char *line, kd_code code, const char *message) {
    kd_json *doc = parse(line);
    kd_lesson l;
    kd_err e = {0};
    kd_code c = kd_render_lesson(&l, NULL, NULL, &g->r, kd_json_root(doc), &e);
    if (c != code || !strstr(e.msg, message)) fail_msg("%s: expected %d %s, found %d %s", line, code, message, c, e.msg);
    assert_null(l.tokens);
    kd_json_free(doc);
}

static void test_rows(void **state) {
    (void)state;
    rig g = rig_new("qwen2-tied", NULL);
    kd_lesson l;
    kd_json *doc = parse("{\"tokens\":[5,6,7],\"loss\":[1,0,true]}");
    OK(kd_render_lesson(&l, NULL, NULL, &g.r, kd_json_root(doc), e));
    assert_int_equal(l.n, 3);
    assert_true(l.tokens[0] == 5 && l.tokens[2] == 7 && l.loss[0] == 1 && l.loss[1] == 0 && l.loss[2] == 1 && l.n_loss == 2 &&
                l.weight == 1);
    kd_lesson_clear(&l);
    kd_json_free(doc);
    expect_error(&g, "[]", KD_EFORMAT, "expected an object");
    expect_error(&g, "{\"x\":1}", KD_EFORMAT, "expected \"messages\"");
    expect_error(&g, "{\"messages\":5}", KD_EFORMAT, "messages: expected an array");
    expect_error(&g, "{\"messages\":[1," A("x") "]}", KD_EINVAL, "expected an array of objects");
    expect_error(&g, "{\"prompt\":1,\"completion\":\"x\"}", KD_EFORMAT, "prompt: expected a string");
    expect_error(&g, "{\"prompt\":\"x\"}", KD_EFORMAT, "completion: expected a string");
    expect_error(&g, "{\"tokens\":[1,2],\"loss\":[1]}", KD_EFORMAT, "arrays of one length");
    expect_error(&g, "{\"tokens\":[1,-2],\"loss\":[1,1]}", KD_EFORMAT, "tokens[1]: expected a token id");
    expect_error(&g, "{\"tokens\":[1,2],\"loss\":[1,3]}", KD_EFORMAT, "loss[1]: expected 0 or 1");
    expect_error(&g, "{\"messages\":[{\"role\":\"user\"}," A("x") "]}", KD_EFORMAT, "line 1, column");
    rig_free(&g);
}

static void test_files(void **state) {
    (void)state;
    char path[] = "/tmp/kd_lessons_XXXXXX";
    int fd = mkstemp(path);
    static const char good[] =
        "{\"messages\":[" U("Q") "," A("Hi") "]}\n\n  \n{\"messages\":[" U("Q") "]}\r\n{\"tokens\":[1,2],\"loss\":[0,1]}\n";
    assert_int_equal(write(fd, good, sizeof good - 1), sizeof good - 1);
    rig g = rig_new("qwen2-tied", NULL);
    kd_lessons l = {0};
    kd_render_counts counts = {0};
    OK(kd_lessons_read(&l, &counts, path, &g.r, 0, e));
    assert_int_equal(l.n, 2);
    assert_true(l.at[0].row == 1 && l.at[1].row == 5 && counts.lessons == 2 && counts.empty == 1);
    kd_lessons_clear(&l);
    kd_err err = {0};
    assert_int_equal(kd_lessons_read(&l, &counts, path, &g.r, 2, &err), KD_EFORMAT);
    assert_non_null(strstr(err.msg, ":1: tokens["));
    kd_lessons_clear(&l);
    assert_int_equal(kd_lessons_read(&l, &counts, path, NULL, 0, &err), KD_EINVAL);
    kd_lessons_clear(&l);
    assert_int_equal(write(fd, "{\"tokens\":\n", 11), 11);
    assert_int_equal(kd_lessons_read(&l, &counts, path, &g.r, 0, &err), KD_EFORMAT);
    assert_non_null(strstr(err.msg, ":6: "));
    kd_lessons_clear(&l);
    close(fd);
    unlink(path);
    rig_free(&g);
}

static void test_memory(void **state) {
    (void)state;
    static const char *const models[] = {"qwen2-tied", "llama-untied-spm"};
    kd_json *doc = parse("{\"messages\":[" U("Q") "," T("Hi", "so") "," U("R") "," A("Ho") "]}");
    for (int m = 0; m < 2; m++) {
        rig g = rig_new(models[m], m ? NULL : TEMPLATES "thought.jinja");
        bool done = false;
        kd_lesson want = {0};
        for (long k = 1; !done; k++) {
            kd_lesson l;
            kd_buf text = {0};
            kd_render_counts counts = {0};
            kd_err err = {0};
            kd_alloc_fail_at(k);
            kd_code c = kd_render_lesson(&l, &text, &counts, &g.r, kd_json_root(doc), &err);
            done = kd_alloc_count() < k;
            kd_alloc_fail_at(0);
            if (c != KD_OK && (done || c != KD_ENOMEM)) fail_msg("allocation %ld: code %d %s", k, c, err.msg);
            if (k == 1) { /* what it should be */
                assert_int_equal(c, KD_ENOMEM);
                OK(kd_render_lesson(&want, NULL, NULL, &g.r, kd_json_root(doc), e));
            }
            if (c == KD_OK) /* the tokenizer's cache may do without memory */
                assert_true(l.n == want.n && memcmp(l.tokens, want.tokens, l.n * sizeof *l.tokens) == 0 &&
                            memcmp(l.loss, want.loss, l.n) == 0);
            else
                assert_null(l.tokens);
            kd_lesson_clear(&l);
            kd_buf_clear(&text);
        }
        kd_lesson_clear(&want);
        rig_free(&g);
    }
    kd_json_free(doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_thought), cmocka_unit_test(test_forced), cmocka_unit_test(test_glue),
                                       cmocka_unit_test(test_control), cmocka_unit_test(test_tools),  cmocka_unit_test(test_samples),
                                       cmocka_unit_test(test_oracles), cmocka_unit_test(test_prompt), cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_files),   cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
