/* tests/distill/engine/bench_loop.c - where the loop guard speaks falsely: texts that repeat themselves for good reasons, and every text of the files given
 * (JSONL; "question" and "answer"). KD_MODEL names the vocabulary. What it costs a token is printed besides. */
#include "distill/base/file.h"
#include "distill/base/json.h"
#include "distill/engine/loop.h"
#include "distill/model/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double spent;
static size_t tokens;

/* Where it trips, in tokens; 0: never. */
static size_t trips(const kd_tokenizer *tok, kd_str s) {
    static kd_loop l;
    kd_ids ids = {0};
    size_t at = 0;
    memset(&l, 0, sizeof l);
    if (kd_tokenizer_encode(tok, &ids, s.data, s.len, 0, NULL)) exit(1);
    clock_t began = clock();
    for (size_t i = 0; i < ids.n && !at; i++)
        if (kd_loop_push(&l, ids.id, i + 1)) at = i + 1;
    spent += (double)(clock() - began) / CLOCKS_PER_SEC, tokens += ids.n;
    kd_ids_clear(&ids);
    return at;
}

/* %d in a row is its number, and a number that follows from it. */
static void row_of(kd_buf *b, const char *row, int i) {
    for (int k = 0; *row; row++)
        if (row[0] == '%' && row[1] == 'd')
            kd_buf_printf(b, "%d", k++ ? i * 7 % 100 : i), row++;
        else
            kd_buf_putc(b, *row);
}

static void repeat(kd_buf *b, const char *head, const char *row, int times, const char *tail) {
    b->len = 0;
    kd_buf_puts(b, head);
    for (int i = 0; i < times; i++) row_of(b, row, i);
    kd_buf_puts(b, tail);
}

static void structures(const kd_tokenizer *tok) {
    static const struct {
        const char *what, *head, *row;
    } all[] = {{"table, rows that count", "| n | square |\n|---|---|\n", "| %d | %d |\n"},
               {"table, equal rows", "| a | b | c |\n|---|---|---|\n", "| 0 | 0 | 0 |\n"},
               {"list that counts", "Steps:\n", "%d. Add %d to the sum.\n"},
               {"list, equal items", "Answers:\n", "- yes, that is right\n"},
               {"JSON, equal objects", "[", "{\"x\": 0, \"y\": 0, \"name\": \"point\"}, "},
               {"JSON, objects that count", "[", "{\"x\": %d, \"y\": %d, \"name\": \"point\"}, "},
               {"matrix of zeros", "[", "[0, 0, 0, 0, 0, 0, 0, 0], "},
               {"hex dump of zeros", "", "%d: 0000 0000 0000 0000 0000 0000 0000 0000  ................\n"},
               {"code, equal lines", "def f():\n", "    counter += 1\n"},
               {"code, lines that count", "", "    table[%d] = %d;\n"},
               {"counting", "", "%d, "},
               {"a rule of dashes", "", "----------"},
               {"a refrain every four lines", "",
                "Line %d of the song goes on to %d,\nla la la la la la,\nla la la la la la,\nand all of them sing it again.\n"},
               {"laughing", "", "ha"}};
    static const int times[] = {10, 20, 40, 80, 160};
    kd_buf b = {0};
    printf("repeated on purpose: trips at token (- = never), by how often\n%-30s", "");
    for (size_t k = 0; k < 5; k++) printf("%8d", times[k]);
    puts("");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        printf("%-30s", all[i].what);
        for (size_t k = 0; k < 5; k++) {
            repeat(&b, all[i].head, all[i].row, times[k], "\nThat is all.\n");
            size_t at = trips(tok, kd_buf_view(&b));
            at ? printf("%8zu", at) : printf("%8s", "-");
        }
        puts("");
    }
    kd_buf_clear(&b);
}

static void file(const kd_tokenizer *tok, const char *path) {
    kd_buf b = {0};
    kd_err e = {0};
    size_t texts = 0, tripped = 0, before = tokens;
    if (kd_file_read(&b, path, (size_t)1 << 30, &e)) exit((fprintf(stderr, "%s\n", e.msg), 1));
    for (char *s = b.data, *end; s && *s; s = end + 1) {
        kd_json *doc;
        if (!(end = strchr(s, '\n'))) end = s + strlen(s) - 1;
        if (kd_json_parse(&doc, s, (size_t)(end - s), path, NULL)) continue;
        for (const kd_json_node *m = kd_json_first(kd_json_root(doc)); m; m = kd_json_next(m)) {
            kd_str t = kd_json_string(m);
            if (!t.data) continue;
            texts++;
            tripped += trips(tok, t) > 0;
        }
        kd_json_free(doc);
    }
    printf("%s: %zu texts, %zu tokens: trips on %zu\n", path, texts, tokens - before, tripped);
    kd_buf_clear(&b);
}

int main(int argc, char **argv) {
    const char *path = getenv("KD_MODEL");
    kd_tokenizer *tok;
    kd_err e = {0};
    if (kd_tokenizer_open(&tok, path ? path : "tests/oracle/models/qwen3-untied", &e)) return fprintf(stderr, "%s\n", e.msg), 1;
    structures(tok);
    for (int i = 1; i < argc; i++) file(tok, argv[i]);
    printf("%.2f us a token\n", 1e6 * spent / (double)(tokens ? tokens : 1));
    kd_tokenizer_free(tok);
    return 0;
}
