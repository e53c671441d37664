/* tests/datasets/bench_measures.c - speed of the text measures, one core: each part of the walk, all together, and what is apart (deflate).
 *   bench_measures [FILE.jsonl]   texts of about 2,000 tokens made from a fixed seed, or the strings "text" of FILE (what the peers are given too).
 *   bench_measures --languages FILE.jsonl prints the language of each text.
 *   bench_measures --write FILE N writes N such texts. Figures are MB (10^6 bytes of UTF-8) a second of processor time. */
#include "datasets/label_int.h"
#include "datasets/measures.h"
#include "distill/base/gz.h"
#include "distill/base/json.h"
#include "distill/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Prose with numbers, formulas, lists and now and then a phrase of doubt; different words in every text. */
static void make_text(kd_buf *b, kd_rng *r) {
    static const char *const small[] = {"the", "of", "and",  "to",   "in",   "is",   "that", "it",  "for",
                                        "so",  "we", "have", "this", "then", "each", "are",  "can", "be"};
    static const char *const roots[] = {"train", "apple",  "number",   "sum",    "total",  "price",   "hour",   "mile",     "side",
                                        "angle", "value",  "equation", "remain", "divide", "multipl", "compar", "consider", "triangle",
                                        "rate",  "profit", "student",  "basket", "minute", "travel",  "reduc",  "factor"};
    static const char *const ends[] = {"", "s", "ed", "ing", "er", "ly", "ation"};
    b->len = 0;
    while (b->len < 8000) {
        for (uint64_t words = 6 + kd_rng_below(r, 14); words; words--) {
            const uint64_t kind = kd_rng_below(r, 20);
            if (kind < 8)
                (void)kd_buf_printf(b, "%s ", small[kd_rng_below(r, 18)]);
            else if (kind < 16)
                (void)kd_buf_printf(b, "%s%s ", roots[kd_rng_below(r, 26)], ends[kd_rng_below(r, 7)]);
            else if (kind < 18)
                (void)kd_buf_printf(b, "%d ", (int)kd_rng_below(r, 1000));
            else if (kind < 19)
                (void)kd_buf_printf(b, "\\(x_%d = \\frac{%d}{%d}\\) ", (int)kd_rng_below(r, 9), (int)kd_rng_below(r, 99),
                                    (int)kd_rng_below(r, 99));
            else
                (void)kd_buf_puts(b, kd_rng_below(r, 3) ? "let me check " : "Wait, ");
        }
        b->data[b->len - 1] = '.';
        (void)kd_buf_puts(b, kd_rng_below(r, 4) ? " " : kd_rng_below(r, 2) ? "\n" : "\n\n");
    }
}

typedef struct {
    kd_buf all;
    kd_str text[4096];
    size_t n, bytes;
} corpus;

static void finish(corpus *c, const size_t *ends) {
    for (size_t i = 0; i < c->n; i++) {
        const size_t from = i ? ends[i - 1] : 0;
        c->text[i] = (kd_str){c->all.data + from, ends[i] - from};
    }
    c->bytes = c->all.len;
}

static int load(corpus *c, const char *path) {
    static size_t ends[4096];
    kd_lines *in = NULL;
    kd_err e;
    kd_str line;
    bool more = true;
    if (kd_lines_open(&in, path, &e)) return fprintf(stderr, "%s\n", e.msg), 1;
    while (c->n < 4096 && !kd_lines_next(in, &line, &more, &e) && more) {
        kd_json *doc = NULL;
        if (kd_json_parse(&doc, line.data, line.len, path, &e)) return fprintf(stderr, "%s\n", e.msg), 1;
        const kd_str s = kd_json_string(kd_json_get(kd_json_root(doc), "text"));
        (void)kd_buf_append(&c->all, s.data, s.len);
        ends[c->n++] = c->all.len;
        kd_json_free(doc);
    }
    kd_lines_close(in);
    finish(c, ends);
    return 0;
}

static void make(corpus *c, size_t n) {
    static size_t ends[4096];
    kd_rng r = {1, 1, 0};
    kd_buf one = {0};
    for (; c->n < n && c->n < 4096; ends[c->n++] = c->all.len) {
        make_text(&one, &r);
        (void)kd_buf_append(&c->all, one.data, one.len);
    }
    kd_buf_clear(&one);
    finish(c, ends);
}

static int write_texts(const char *path, size_t n) {
    static corpus c;
    FILE *f = fopen(path, "w");
    if (!f) return perror(path), 1;
    make(&c, n);
    for (size_t i = 0; i < c.n; i++) {
        kd_buf line = {0};
        kd_jsonw w = {.out = &line};
        kd_jsonw_object(&w);
        kd_jsonw_key(&w, "text");
        kd_jsonw_str(&w, c.text[i]);
        kd_jsonw_end_object(&w);
        fprintf(f, "%s\n", line.data);
        kd_buf_clear(&line);
    }
    return fclose(f);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Every check that shares the walk, as `distill label` calls them. */
static const char *const together[] = {"repeats",           "empty", "language", "lang",        "format",  "truncated", "longest_line",
                                       "longest_paragraph", "turns", "waits",    "corrections", "refusal", "copied"};

static void measure(const corpus *c, const char *title, const char *const *names, size_t n_names, const kd_lexicon *x) {
    kd_label_room room = {.lexicon = x};
    const kd_check *checks[32];
    double best = 1e9, sum = 0;
    for (size_t k = 0; k < n_names; k++) checks[k] = kd_check_named(kd_str_of(names[k]));
    for (int round = 0; round < 5; round++) {
        const double from = now();
        for (size_t i = 0; i < c->n; i++) {
            kd_subject s = {.id = (int64_t)i,
                            .prompt = (int64_t)i,
                            .thought = {c->text[i].data, c->text[i].len * 3 / 4},
                            .answer = {c->text[i].data + c->text[i].len * 3 / 4, c->text[i].len - c->text[i].len * 3 / 4},
                            .question = {c->text[(i + 1) % c->n].data,
                                         c->text[(i + 1) % c->n].len < 300 ? c->text[(i + 1) % c->n].len : 300},
                            .finish = KD_STR("stop"),
                            .from = KD_THOUGHT_TAGS,
                            .room = &room};
            kd_label_room_next(&room, s.prompt);
            for (size_t k = 0; k < n_names; k++) {
                kd_value v = {0};
                kd_err e;
                if (checks[k]->judge(&s, &v, &e)) exit(1);
                sum += v.number;
            }
        }
        const double t = now() - from;
        best = t < best ? t : best;
    }
    printf("  %-34s %8.0f MB/s a core   (%.1f us a text; check %g)\n", title, (double)c->bytes / best / 1e6, best / (double)c->n * 1e6,
           sum / 5);
    kd_label_room_clear(&room);
}

static int tell_languages(const corpus *c, const kd_lexicon *x) {
    kd_scan_room room = {0};
    for (size_t i = 0; i < c->n; i++) {
        kd_scan scan;
        kd_telling o;
        if (kd_scan_text(&scan, &room, c->text[i], NULL)) return 1;
        kd_language_tell(&o, x, &scan, c->text[i], KD_NO_LANGUAGE);
        printf("%s\n", kd_language_code(o.language));
    }
    kd_scan_room_clear(&room);
    return 0;
}

int main(int argc, char **argv) {
    static corpus c;
    kd_lexicon *x = NULL;
    if (argc == 4 && strcmp(argv[1], "--write") == 0) return write_texts(argv[2], (size_t)atoi(argv[3]));
    if (kd_lexicon_new(&x, NULL)) return 1;
    if (argc == 3 && strcmp(argv[1], "--languages") == 0) return load(&c, argv[2]) || tell_languages(&c, x);
    if (argc > 1 ? load(&c, argv[1]) : (make(&c, 500), 0)) return 1;
    printf("text measures, %zu texts, %.1f MB, best of five, processor time\n", c.n, (double)c.bytes / 1e6);
    for (size_t k = 0; k < sizeof together / sizeof *together; k++) {
        const char *one = together[k];
        if (strcmp(one, "repeats") == 0 || strcmp(one, "language") == 0 || strcmp(one, "longest_line") == 0 || strcmp(one, "copied") == 0)
            measure(&c, one, &together[k], 1, x);
    }
    measure(&c, "all that share the walk (13 labels)", together, sizeof together / sizeof *together, x);
    measure(&c, "apart: compress (deflate, level 1)", (const char *const[]){"compress"}, 1, x);
    kd_lexicon_free(x);
    kd_buf_clear(&c.all);
    return 0;
}
