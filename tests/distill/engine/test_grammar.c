/* tests/distill/engine/test_grammar.c - forms: regular expressions against PCRE2 on every short text, schemas against texts that fit and texts that do not, walks at random
 * that must be JSON, masks against a step for every token, hostile forms, and answers of an engine held to a form. */
#include "distill/base/clock.h"
#include "distill/base/regex.h"
#include "distill/base/rng.h"
#include "distill/base/utf8.h"
#include "distill/engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool fits(kd_grammar *g, const char *s, size_t n) {
    kd_grammar_state at = kd_grammar_start(g, false);
    assert_int_equal(kd_grammar_step(g, at, s, n, &at, NULL), KD_OK);
    return at != KD_GRAMMAR_DEAD && kd_grammar_accepts(g, at);
}

static void regex_is_pcre(void **state) {
    (void)state;
    static const char *const patterns[] = {"a*b",
                                           "(a|b)*abb",
                                           "a{2,3}b?",
                                           "[^a]+",
                                           "(?:ab|a)(c|bcd)?",
                                           "a??b+?",
                                           "(a*)*b",
                                           "(a|ab)(c|bcd)(d*)",
                                           "[a-c]{0,4}",
                                           "a|b|cd|",
                                           "x?(a(b(c)?)?)?",
                                           "\\w\\d?",
                                           "[\\da]\\s",
                                           ".b.",
                                           "(ab){2,}c?",
                                           "((a|b){1,2}c){1,2}",
                                           "[]a]b",
                                           "\\x61\\u0062",
                                           "a\\.b|\\{c\\}",
                                           "(?<n>a)b",
                                           "\xc3\xa9|a",
                                           "[\xc3\xa0-\xc3\xbf]a",
                                           "(?i)aB"};
    static const char alphabet[] = "abcd.1\xc3\xa9 {";
    for (size_t k = 0; k < sizeof patterns / sizeof *patterns; k++) {
        kd_grammar *g;
        kd_regex *r;
        kd_err e = {0};
        kd_buf whole = {0};
        if (kd_grammar_new_regex(&g, patterns[k], strlen(patterns[k]), &e)) fail_msg("%s", e.msg);
        bool fold = !strncmp(patterns[k], "(?i)", 4);
        char pcre[200];
        snprintf(pcre, sizeof pcre, "%s\\A(?:%s)\\z", fold ? "(?i)" : "",
                 !strcmp(patterns[k], "\\x61\\u0062") ? "ab"
                 : !strcmp(patterns[k], "\\w\\d?")    ? "[a-zA-Z0-9_][0-9]?" /* ECMAScript's */
                                                      : patterns[k] + (fold ? 4 : 0));
        if (kd_regex_new(&r, pcre, strlen(pcre), &e)) fail_msg("%s", e.msg);
        size_t n = sizeof alphabet - 1, yes = 0;
        for (size_t code = 0, most = 1 + n + n * n + n * n * n + n * n * n * n + n * n * n * n * n;
             code<most; code += code> 16200 ? 7 : 1) {
            char s[8];
            size_t len = 0, c = code;
            for (; c; c = (c - 1) / n) s[len++] = alphabet[(c - 1) % n];
            if (!kd_utf8_valid(s, len)) {
                assert_false(fits(g, s, len));
                continue;
            }
            bool found;
            size_t a, b;
            assert_int_equal(kd_regex_find(r, s, len, 0, &found, &a, &b, NULL, 0, &e), KD_OK);
            if (found != fits(g, s, len)) fail_msg("%s: '%.*s' %s", patterns[k], (int)len, s, found ? "should fit" : "should not fit");
            yes += found;
        }
        if (!yes) fail_msg("%s: no text fits", patterns[k]);
        kd_regex_free(r);
        kd_buf_clear(&whole);
        kd_grammar_free(g);
    }
    static const char *const refused[][2] = {{"(?=a)b", "look-around"},
                                             {"(a)\\1", "back reference"},
                                             {"\\bword", "word border"},
                                             {"a++", "possessive"},
                                             {"(a", "no )"},
                                             {"a)", "no ("},
                                             {"[a", "no ]"},
                                             {"*a", "nothing to repeat"},
                                             {"a{3,2}", "backwards"},
                                             {"a{200000}", "100000"},
                                             {"a^b", "anchor"},
                                             {"[z-a]", "backwards"},
                                             {"a\\", "backslash"},
                                             {"a{x", "brace"},
                                             {"\xff", "UTF-8"}};
    for (size_t k = 0; k < sizeof refused / sizeof *refused; k++) {
        kd_grammar *g;
        kd_err e = {0};
        if (!kd_grammar_new_regex(&g, refused[k][0], strlen(refused[k][0]), &e) || !strstr(e.msg, refused[k][1]))
            fail_msg("%s: '%s'", refused[k][0], e.msg);
    }
}

static kd_code compile(kd_grammar **g, const char *schema, kd_err *e) {
    kd_json *doc;
    kd_code c = kd_json_parse(&doc, schema, strlen(schema), "schema", e);
    if (c) fail_msg("%s", e->msg);
    c = kd_grammar_new_schema(g, kd_json_root(doc), e);
    kd_json_free(doc);
    return c;
}

#define PERSON                                                                                                                             \
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":130},"    \
    "\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"a\",\"b\"]},\"maxItems\":2}},\"required\":[\"name\",\"age\"]}"
#define TREE                                                                                                                               \
    "{\"$ref\":\"#/$defs/"                                                                                                                 \
    "n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"number\"},\"kids\":{\"type\":\"array\",\"items\":{\"$"    \
    "ref\":\"#/$defs/n\"}},\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{\"type\":\"null\"}]}},\"required\":[\"v\"]}}}"

/* schema; texts that fit, each ended by a line; texts that do not. */
static const char *const schemas[][3] = {
    {PERSON,
     "{\"name\":\"x\",\"age\":7}\n{\"name\": \"\", \"age\": 130, \"tags\": [\"a\", \"b\"]}\n{\n  \"name\": \"\\u00e9\\\"\",\n  \"age\": "
     "0,\n  \"tags\": []\n}\n",
     "{\"name\":\"x\"}\n{\"age\":7,\"name\":\"x\"}\n{\"name\":\"x\",\"age\":131}\n{\"name\":\"x\",\"age\":-1}\n{\"name\":\"x\",\"age\":07}"
     "\n{\"name\":\"x\",\"age\":7,\"tags\":[\"c\"]}\n{\"name\":\"x\",\"age\":7,\"tags\":[\"a\",\"a\",\"a\"]}\n{\"name\":\"x\",\"age\":7,"
     "\"z\":1}\n{\"name\":\"x\",\"age\":7,}\n"},
    {TREE, "{\"v\":1.5}\n{\"v\":-2e3,\"kids\":[{\"v\":0},{\"v\":1,\"kids\":[]}],\"next\":{\"v\":3,\"next\":null}}\n",
     "{\"v\":\"1\"}\n{\"kids\":[]}\n{\"v\":1,\"kids\":[1]}\n{\"v\":1,\"next\":[]}\n"},
    {"{\"type\":\"string\",\"pattern\":\"^[a-z]+@[a-z]+$\"}", "\"a@b\"\n", "\"@b\"\n\"a@b \"\na@b\n\"A@b\"\n"},
    {"{\"type\":\"string\",\"pattern\":\"b+\"}", "\"abc\"\n\"b\"\n\"a\\nb\xe2\x82\xac\"\n", "\"ac\"\n\"\"\n"},
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"ab\"\n\"\xe2\x82\xac\\n\xc3\xa9\"\n\"\\ud83d\\ude00x\"\n",
     "\"a\"\n\"abcd\"\n\"\\ud83d\\ude00\"\n\"\\ud83dx\"\n"},
    {"{\"type\":\"string\",\"format\":\"date\"}", "\"2024-02-29\"\n", "\"2024-13-01\"\n\"24-01-01\"\n"},
    {"{\"type\":\"string\",\"format\":\"ipv4\"}", "\"127.0.0.1\"\n\"255.255.255.255\"\n", "\"256.0.0.1\"\n\"1.2.3\"\n"},
    {"{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":105}", "-12\n-9\n0\n7\n99\n104\n", "-13\n105\n-0\n1.0\n1000\n"},
    {"{\"type\":\"integer\",\"minimum\":123}", "123\n200\n999\n1000\n98765\n", "122\n99\n0\n-5\n"},
    {"{\"type\":\"integer\",\"maximum\":-5}", "-5\n-10\n-12345\n", "-4\n0\n5\n"},
    {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "0\n0.25\n1\n1.0\n0.0\n", "1.5\n-0.5\n1.01\n2\n"},
    {"{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":10}", "0.5\n1\n9.99\n10\n", "0\n0.0\n10.5\n-1\n"},
    {"{\"type\":\"number\",\"exclusiveMinimum\":-3,\"exclusiveMaximum\":3}", "-2.9\n0\n2.75\n", "-3\n3\n-3.5\n"},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":3}", "[1,2]\n[1, 2, 3]\n",
     "[1]\n[]\n[1,2,3,4]\n[1,\"2\"]\n"},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"string\"},{\"type\":\"integer\"}],\"items\":false,\"minItems\":2}", "[\"a\",1]\n",
     "[\"a\"]\n[1,\"a\"]\n[\"a\",1,2]\n"},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"string\"}],\"items\":{\"type\":\"null\"},\"maxItems\":3}",
     "[]\n[\"a\"]\n[\"a\",null,null]\n", "[null]\n[\"a\",null,null,null]\n"},
    {"{\"enum\":[\"red\",3,null,{\"a\":[1,true]}]}", "\"red\"\n3\nnull\n{\"a\": [1, true]}\n{\"a\":[1,true]}\n",
     "\"blue\"\n4\n{\"a\":[1]}\n"},
    {"{\"const\":\"a\\\"b\"}", "\"a\\\"b\"\n", "\"ab\"\n"},
    {"{\"type\":[\"string\",\"null\"]}", "\"x\"\nnull\n", "1\n"},
    {"{\"oneOf\":[{\"type\":\"boolean\"},{\"type\":\"object\",\"properties\":{\"k\":{\"const\":1}},\"required\":[\"k\"]}]}",
     "true\n{\"k\":1}\n", "{}\n{\"k\":2}\n"},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"},\"ab\":{\"type\":\"null\"}},\"additionalProperties\":{\"type\":"
     "\"integer\"}}",
     "{}\n{\"a\":null}\n{\"ab\":null}\n{\"x\":1}\n{\"a\":null,\"abc\":1,\"\xc3\xa9\":2}\n{\"aa\":1}\n",
     "{\"a\":1}\n{\"ab\":1}\n{\"x\":null}\n{\"x\":1,\"a\":null}\n"},
    {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"},\"minProperties\":1,\"maxProperties\":2}",
     "{\"a\":1}\n{\"a\":1,\"b\":2}\n", "{}\n{\"a\":1,\"b\":2,\"c\":3}\n"},
    {"{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{\"type\":\"integer\"},\"c\":{\"type\":\"integer\"}},\"required\":[\"b\"]}",
     "{\"b\":1}\n{\"a\":{\"x\":[1,{}]},\"b\":1,\"c\":2}\n{\"b\":1,\"c\":2}\n", "{\"a\":1}\n{\"c\":1}\n{\"b\":1,\"a\":2}\n"},
    {"{}", "{\"a\":[1,2.5e-3,\"x\",null,true,{}]}\n[]\n-0.5\n\"\"\n", "{a:1}\n[1,]\n01\n'x'\ntru\n"},
    {"true", "1\n", "\n"},
    {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"integer\"}]}", "5\n", "\"x\"\n"},
    {"{\"type\":\"integer\",\"nullable\":true,\"title\":\"T\",\"x-own\":1}", "5\nnull\n", "true\n"},
};

static void schemas_hold(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof schemas / sizeof *schemas; k++) {
        kd_grammar *g;
        kd_err e = {0};
        if (compile(&g, schemas[k][0], &e)) fail_msg("%s: %s", schemas[k][0], e.msg);
        for (int want = 1; want >= 0; want--)
            for (const char *s = schemas[k][want ? 1 : 2], *end; *s; s = end + 1) {
                end = strchr(s, '\n');
                while (*s == '{' && end[1] == ' ') end = strchr(end + 1, '\n'); /* a text of several lines: indented ones belong to it */
                if (*s == '{' && end[-1] != '}' && strchr(end + 1, '\n')) end = strchr(end + 1, '\n');
                if (fits(g, s, (size_t)(end - s)) != want)
                    fail_msg("%s: '%.*s' %s", schemas[k][0], (int)(end - s), s, want ? "should fit" : "should not fit");
            }
        kd_grammar_free(g);
    }
}

static void schemas_refused(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"{\"not\":{}}", "\"not\""},
                                         {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"uniqueItems\":true}}}",
                                          "/properties/a"},
                                         {"{\"$ref\":\"http://x\"}", "within the schema"},
                                         {"{\"$ref\":\"#/$defs/no\"}", "leads nowhere"},
                                         {"{\"type\":\"strange\"}", "strange"},
                                         {"{\"type\":\"string\",\"format\":\"iban\"}", "iban"},
                                         {"{\"type\":\"string\",\"pattern\":\"(?=x)\"}", "look-around"},
                                         {"{\"type\":\"string\",\"pattern\":\"a\",\"minLength\":1}", "together"},
                                         {"{\"type\":\"number\",\"minimum\":0.5}", "whole number"},
                                         {"{\"if\":{}}", "\"if\""},
                                         {"3", "expected"},
                                         {"false", "no text"},
                                         {"{\"$ref\":\"#\"}", "no text"},
                                         {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "no text"},
                                         {"{\"enum\":[]}", "enum"},
                                         {"{\"type\":\"integer\",\"multipleOf\":3}", "multipleOf"},
                                         {"{\"type\":\"object\",\"required\":[\"x\"],\"properties\":{}}", "lack"},
                                         {"{\"allOf\":[{},{}]}", "allOf"},
                                         {"{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", "minItems"},
                                         {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", "no text"},
                                         {"{\"type\":\"string\",\"maxLength\":10000000}", "100000"}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        kd_grammar *g;
        kd_err e = {0};
        if (!compile(&g, bad[k][0], &e) || !strstr(e.msg, bad[k][1])) fail_msg("%s: '%s'", bad[k][0], e.msg);
        assert_null(g);
    }
}

/* Any way through a form, taken at random, gives JSON, and never ends in a place that nothing leads out of. */
static void walks_are_json(void **state) {
    (void)state;
    kd_rng r = {.key = 11};
    size_t ended = 0;
    for (size_t k = 0; k < sizeof schemas / sizeof *schemas; k++)
        for (int walk = 0; walk < 12; walk++) {
            kd_grammar *g;
            kd_buf text = {0};
            kd_json *doc;
            kd_err e = {0};
            assert_int_equal(compile(&g, schemas[k][0], &e), KD_OK);
            kd_grammar_state at = kd_grammar_start(g, walk % 2 != 0);
            for (int step = 0; step < 300; step++) {
                unsigned char ways[256];
                size_t n = 0;
                if (kd_grammar_accepts(g, at) && (kd_grammar_ends(g, at) || kd_rng_below(&r, 4) == 0)) break;
                for (int c = 0; c < 256; c++) {
                    kd_grammar_state to;
                    assert_int_equal(kd_grammar_step(g, at, &(char){(char)c}, 1, &to, &e), KD_OK);
                    if (to && (strchr("\"}],:", c) || kd_rng_below(&r, 3) == 0 || c >= 0x80)) ways[n++] = (unsigned char)c;
                }
                if (!n) continue;
                char c = (char)ways[kd_rng_below(&r, n)];
                assert_int_equal(kd_grammar_step(g, at, &c, 1, &at, &e), KD_OK);
                assert_int_equal(kd_buf_append(&text, &c, 1), KD_OK);
            }
            if (kd_grammar_accepts(g, at)) {
                ended++;
                if (kd_json_parse(&doc, text.data, text.len, "walk", &e) && !strstr(e.msg, "duplicate"))
                    fail_msg("%s: %s: '%s'", schemas[k][0], e.msg, text.data);
                kd_json_free(doc);
            }
            kd_buf_clear(&text);
            kd_grammar_free(g);
        }
    assert_true(ended > 150);
}

static const char *const models[] = {"tests/oracle/models/llama-tied-rope3", "tests/oracle/models/llama-untied-spm",
                                     "tests/oracle/models/qwen3-untied"};

static void masks_are_steps(void **state) {
    (void)state;
    static const char *const before[] = {
        "", "{", "{\"name\"", "{\"name\": \"a\xc3", "{\"name\": \"ab\", \"age\": 1", "{\n  \"name\": \"\\u00"};
    for (size_t m = 0; m < 3; m++) {
        kd_tokenizer *tok;
        kd_token_trie *trie;
        kd_grammar *g;
        kd_err e = {0};
        if (kd_tokenizer_open(&tok, models[m], &e)) fail_msg("%s", e.msg);
        size_t V = kd_tokenizer_size(tok) + 13, allowed = 0; /* rows of the embedding beyond the vocabulary */
        assert_int_equal(kd_token_trie_new(&trie, tok, V, &e), KD_OK);
        assert_int_equal(compile(&g, PERSON, &e), KD_OK);
        uint64_t *mask = kd_calloc((V + 63) / 64, 8);
        for (size_t k = 0; k < 12; k++) {
            kd_grammar_state s, to;
            bool first = k >= 6;
            const char *text = before[k % 6];
            assert_int_equal(kd_grammar_step(g, kd_grammar_start(g, false), text, strlen(text), &s, &e), KD_OK);
            assert_true(s != KD_GRAMMAR_DEAD);
            assert_int_equal(kd_grammar_mask(g, trie, s, first, mask, &e), KD_OK);
            for (size_t id = 0; id < V; id++) {
                kd_buf b = {0};
                kd_token t = kd_tokenizer_token(tok, (int32_t)id);
                assert_int_equal(kd_tokenizer_piece(tok, (int32_t)id, &b, &e), KD_OK);
                bool drop = first && kd_token_trie_strips(trie) && b.len && b.data[0] == ' ',
                     plain = b.len && t.type != KD_TOKEN_CONTROL && t.type != KD_TOKEN_UNKNOWN;
                assert_int_equal(kd_grammar_step(g, s, b.data ? b.data + drop : "", b.len - drop, &to, &e), KD_OK);
                if (plain && !t.special) assert_int_equal(mask[id / 64] >> (id % 64) & 1, to != KD_GRAMMAR_DEAD);
                if (!b.len || t.type == KD_TOKEN_CONTROL) assert_false(mask[id / 64] >> (id % 64) & 1);
                allowed += mask[id / 64] >> (id % 64) & 1;
                kd_buf_clear(&b);
            }
        }
        assert_true(allowed > 100);
        kd_free(mask);
        kd_grammar_free(g);
        kd_token_trie_free(trie);
        kd_tokenizer_free(tok);
    }
}

/* What a stranger may send must cost little: compiled or refused, walked or cut, in bounded time and memory. */
static void hostile(void **state) {
    (void)state;
    kd_grammar *g;
    kd_err e = {0};
    static const char *const patterns[] = {"(a*)*(a*)*(a*)*b",
                                           "((((a{0,50}){0,50}){0,50}){0,50}){0,50}",
                                           "(a|b|ab)*c{0,9999}",
                                           "(.{0,300}x){0,300}",
                                           "(((((((a?)?)?)?)?)?)?){1000}",
                                           "\\p{L}{1,5000}",
                                           "(a{0,9}){0,99999}"};
    for (size_t k = 0; k < sizeof patterns / sizeof *patterns; k++) {
        kd_grammar_state at;
        char text[3000];
        memset(text, 'a', sizeof text);
        kd_code c = kd_grammar_new_regex(&g, patterns[k], strlen(patterns[k]), &e);
        if (c) {
            assert_int_equal(c, KD_ELIMIT);
            continue;
        }
        c = kd_grammar_step(g, kd_grammar_start(g, false), text, k == 3 ? 300 : sizeof text, &at, &e);
        assert_true(c == KD_OK || c == KD_ELIMIT);
        assert_true(kd_grammar_sizes(g).bytes < (size_t)1 << 30);
        kd_grammar_free(g);
    }
    /* Long ones: stacks of repetitions, and keys that a walk would go down byte by byte. */
    kd_buf long_one = {0};
    kd_buf_puts(&long_one, "a");
    for (int i = 0; i < 20000; i++) kd_buf_puts(&long_one, "{1}");
    assert_int_equal(kd_grammar_new_regex(&g, long_one.data, 30000, &e), KD_ELIMIT);
    assert_int_equal(kd_grammar_new_regex(&g, long_one.data, long_one.len, &e), KD_ELIMIT);
    long_one.len = 0;
    kd_buf_puts(&long_one, "{\"type\":\"object\",\"additionalProperties\":true,\"properties\":{\"");
    for (int i = 0; i < 500000; i++) kd_buf_putc(&long_one, 'k');
    kd_buf_puts(&long_one, "\":{}}}");
    assert_int_equal(compile(&g, long_one.data, &e), KD_ELIMIT);
    kd_buf_clear(&long_one);
    /* A schema nested as deep as JSON may be, and values nested deeper than any reader follows. */
    kd_buf b = {0};
    for (int i = 0; i < 95; i++) kd_buf_puts(&b, "{\"type\":\"array\",\"items\":");
    kd_buf_puts(&b, "true");
    for (int i = 0; i < 95; i++) kd_buf_puts(&b, "}");
    assert_int_equal(compile(&g, b.data, &e), KD_OK);
    kd_grammar_free(g);
    kd_buf_clear(&b);
    assert_int_equal(kd_grammar_new_json(&g, false, &e), KD_OK);
    kd_grammar_state at = kd_grammar_start(g, false);
    size_t depth = 0;
    for (; depth < 5000 && at; depth++) assert_int_equal(kd_grammar_step(g, at, "[", 1, &at, &e), KD_OK);
    assert_in_range(depth, 100, 200);
    kd_grammar_free(g);
}

/* ---- an engine's answers ---- */

typedef struct {
    kd_buf text;
    kd_finish finish;
    size_t n;
    int32_t tokens[256];
} got;
static void on_done(void *user, const kd_result *r) {
    got *t = user;
    t->finish = r->finish, t->n = r->n;
    memcpy(t->tokens, r->tokens, (r->n < 256 ? r->n : 256) * sizeof *r->tokens);
    kd_buf_append(&t->text, r->text, r->text_len);
}

static void answers_hold(void **state) {
    (void)state;
    for (size_t m = 0; m < 3; m++) {
        kd_model *model;
        kd_tokenizer *tok;
        kd_grammar *g, *re;
        kd_err e = {0};
        static got all[2][16];
        memset(all, 0, sizeof all);
        if (kd_model_open(&model, models[m], &e) || kd_tokenizer_open(&tok, models[m], &e)) fail_msg("%s", e.msg);
        assert_int_equal(compile(&g, PERSON, &e), KD_OK);
        assert_int_equal(kd_grammar_new_regex(&re, "(yes|no), [a-z]{3,9}\\.", 22, &e), KD_OK);
        size_t whole = 0;
        for (int way = 0; way < 2; way++) {
            kd_engine *en;
            kd_engine_options o = {.threads = 2, .sequences = way ? 2 : 16, .draft = way ? 8 : 0, .draft_always = true};
            assert_int_equal(kd_engine_new(&en, model, NULL, tok, &o, &e), KD_OK);
            for (size_t i = 0; i < 16; i++) {
                int32_t prompt[3] = {5, 9, 12};
                kd_request r = {.prompt = prompt,
                                .prompt_n = 3,
                                .seed = 8,
                                .stream = i,
                                .max_tokens = 200,
                                .sampling = {.temperature = 1, .top_k = i % 2 ? 40 : 0},
                                .on_done = on_done,
                                .user = &all[way][i]};
                r.grammar = i % 4 == 3 ? re : g, r.no_loop_guard = true;
                r.thought_opened = i % 8 == 0, r.max_thinking = 10;
                if (kd_engine_submit(en, &r, NULL, &e)) fail_msg("%s", e.msg);
            }
            if (kd_engine_run(en, NULL, &e)) fail_msg("%s", e.msg);
            kd_engine_free(en);
        }
        for (size_t i = 0; i < 16; i++) {
            got *t = &all[0][i];
            assert_int_equal(t->n, all[1][i].n);
            assert_memory_equal(t->tokens, all[1][i].tokens, sizeof t->tokens);
            const char *text = t->text.data ? t->text.data : "";
            if (i % 8 == 0) {
                text = strstr(text, "</think>");
                assert_non_null(text);
                text += 8 + strspn(text + 8, " \n");
            }
            if (t->finish != KD_FINISH_STOP) continue;
            whole++;
            if (!fits(i % 4 == 3 ? re : g, text, strlen(text))) fail_msg("%s, answer %zu: '%s'", models[m], i, text);
            if (i % 4 == 3) continue;
            kd_json *doc;
            if (kd_json_parse(&doc, text, strlen(text), "answer", &e)) fail_msg("%s: '%s'", e.msg, text);
            kd_json_free(doc);
        }
        assert_true(whole >= 4);
        for (size_t i = 0; i < 16; i++) kd_buf_clear(&all[0][i].text), kd_buf_clear(&all[1][i].text);
        kd_grammar_free(g), kd_grammar_free(re);
        kd_tokenizer_free(tok);
        kd_model_free(model);
    }
}

static void without_memory(void **state) {
    (void)state;
    long at = 0;
    for (bool failed = true; failed; at += at < 200 ? 1 : 17) {
        kd_json *doc;
        kd_grammar *g = NULL;
        kd_grammar_state s;
        assert_int_equal(kd_json_parse(&doc, TREE, strlen(TREE), "schema", NULL), KD_OK);
        kd_alloc_fail_at(at + 1);
        kd_code c = kd_grammar_new_schema(&g, kd_json_root(doc), NULL);
        if (!c) c = kd_grammar_step(g, kd_grammar_start(g, false), "{\"v\": 1, \"kids\": [{", 20, &s, NULL);
        failed = kd_alloc_count() > at;
        kd_alloc_fail_at(0);
        assert_true(c == KD_OK || c == KD_ENOMEM);
        kd_grammar_free(g);
        kd_json_free(doc);
        assert_in_range(at, 0, 100000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(regex_is_pcre),   cmocka_unit_test(schemas_hold),
                                       cmocka_unit_test(schemas_refused), cmocka_unit_test(walks_are_json),
                                       cmocka_unit_test(masks_are_steps), cmocka_unit_test(hostile),
                                       cmocka_unit_test(answers_hold),    cmocka_unit_test(without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
