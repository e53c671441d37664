/* tests/distill/engine/bench_grammar.c - what holding an answer to a form costs a token: the vocabulary's trie, compiling, masks that are new and masks that
 * are known. KD_MODEL names the vocabulary (else an oracle's small one). */
#include "distill/engine/grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Processor time: others may use the machine. */
static double now(void) { return (double)clock() / CLOCKS_PER_SEC; }

static void walk(kd_grammar *g, const kd_token_trie *trie, const kd_tokenizer *tok, size_t V, const char *what, const char *text,
                 double compile) {
    kd_ids ids = {0};
    kd_buf b = {0};
    uint64_t *mask = kd_calloc((V + 63) / 64, 8);
    if (!mask || kd_tokenizer_encode(tok, &ids, text, strlen(text), 0, NULL)) exit(1);
    double took[2] = {0};
    for (int round = 0; round < 2; round++) {
        kd_grammar_state s = kd_grammar_start(g, false);
        double began = now();
        for (size_t i = 0, n = round ? 1000 * ids.n : ids.n; i < n; i++) { /* again: often enough to be measured */
            if (i % ids.n == 0) s = kd_grammar_start(g, false);
            b.len = 0;
            if (kd_grammar_mask(g, trie, s, false, mask, NULL) || kd_tokenizer_piece(tok, ids.id[i % ids.n], &b, NULL) ||
                kd_grammar_step(g, s, b.data, b.len, &s, NULL))
                exit(1);
            if (s == KD_GRAMMAR_DEAD) {
                printf("%s: the text does not fit at token %zu\n", what, i);
                exit(1);
            }
        }
        took[round] = now() - began;
    }
    kd_grammar_size z = kd_grammar_sizes(g);
    printf(
        "%-34s compile %6.2f ms; %3zu tokens: a first walk %7.1f us a token, again %5.2f us; %zu nodes, %zu states, %zu masks, %.1f MB\n",
        what, 1e3 * compile, ids.n, 1e6 * took[0] / (double)ids.n, 1e3 * took[1] / (double)ids.n, z.nodes, z.states, z.masks,
        1e-6 * (double)z.bytes);
    kd_ids_clear(&ids);
    kd_buf_clear(&b);
    kd_free(mask);
}

int main(void) {
    const char *path = getenv("KD_MODEL");
    kd_tokenizer *tok;
    kd_token_trie *trie;
    kd_grammar *g;
    kd_err e = {0};
    if (!path) path = "tests/oracle/models/qwen3-untied";
    if (kd_tokenizer_open(&tok, path, &e)) return fprintf(stderr, "%s\n", e.msg), 1;
    size_t V = kd_tokenizer_size(tok);
    double began = now();
    if (kd_token_trie_new(&trie, tok, V, &e)) return fprintf(stderr, "%s\n", e.msg), 1;
    printf("%s: %zu tokens, trie in %.1f ms\n", path, V, 1e3 * (now() - began));
    static const char *const schemas[][3] = {
        {"object of five",
         "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":130},"
         "\"mail\":{\"type\":\"string\",\"format\":\"email\"},"
         "\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"red\",\"green\",\"blue\"]},\"maxItems\":5},\"ok\":{\"type\":\"boolean\"}},"
         "\"required\":[\"name\",\"age\"]}",
         "{\"name\": \"Ada Lovelace, countess of the numbers\", \"age\": 36, \"mail\": \"ada@example.org\", \"tags\": [\"red\", \"blue\"], "
         "\"ok\": true}"},
        {"any JSON", "{}",
         "{\"a\": [1, 2, {\"b\": \"some longer text that goes on\"}], \"c\": null, \"d\": -12.5e3, \"list\": [[], {}, [true, false]]}"},
        {"string of at most 2000", "{\"type\":\"string\",\"maxLength\":2000}",
         "\"Every character counts here, so every place in this text is a state of its own, and none is met again.\""},
        {"tree, recursive",
         "{\"$ref\":\"#/$defs/"
         "n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"string\"},\"kids\":{\"type\":\"array\",\"items\":{\"$"
         "ref\":\"#/$defs/n\"}}},\"required\":[\"v\"]}}}",
         "{\"v\": \"root\", \"kids\": [{\"v\": \"left\", \"kids\": [{\"v\": \"leaf\"}]}, {\"v\": \"right\"}]}"}};
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        kd_json *doc;
        if (kd_json_parse(&doc, schemas[i][1], strlen(schemas[i][1]), "schema", &e)) return 1;
        began = now();
        if (kd_grammar_new_schema(&g, kd_json_root(doc), &e)) return fprintf(stderr, "%s\n", e.msg), 1;
        walk(g, trie, tok, V, schemas[i][0], schemas[i][2], now() - began);
        kd_grammar_free(g);
        kd_json_free(doc);
    }
    const char *pattern = "(The answer is|It is) (\\d{1,3}(,\\d{3})*|[a-z ]{3,40})\\.";
    began = now();
    if (kd_grammar_new_regex(&g, pattern, strlen(pattern), &e)) return fprintf(stderr, "%s\n", e.msg), 1;
    walk(g, trie, tok, V, "regular expression", "The answer is forty two and a little more.", now() - began);
    kd_grammar_free(g);
    kd_token_trie_free(trie);
    kd_tokenizer_free(tok);
    return 0;
}
