/* tests/distill/model/bench_tokenizer.c - how fast a text becomes ids, one thread.
 *   bench_tokenizer MODEL FILE.jsonl[.gz] [SECONDS [OUT.json]]: encodes the "text" of each line (else "question" and "answer") over and over, and prints one JSON object;
 * OUT.json receives the tokenizer.json of MODEL, for a peer to read.
 * Seconds are the processor's, so that a busy machine tells the same. Without arguments it says what it wants and leaves. */
#include "distill/base/clock.h"
#include "distill/base/gz.h"
#include "distill/base/json.h"
#include "distill/model/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double cpu(void) {
    struct timespec s;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &s);
    return (double)s.tv_sec + (double)s.tv_nsec * 1e-9;
}

static kd_buf *texts;
static size_t count, room;

static int keep(kd_str s) {
    if (!s.data) return 0;
    if (kd_grow((void **)&texts, &room, count + 1, sizeof *texts)) return 71;
    texts[count] = (kd_buf){0};
    return kd_buf_append(&texts[count++], s.data, s.len) ? 71 : 0;
}

static kd_code read_texts(const char *path, kd_err *e) {
    kd_lines *lines;
    kd_str line;
    bool more = true;
    kd_code c = kd_lines_open(&lines, path, e);
    if (c) return c;
    while (!(c = kd_lines_next(lines, &line, &more, e)) && more) {
        kd_json *doc;
        if ((c = kd_json_parse(&doc, line.data, line.len, path, e))) break;
        const kd_json_node *root = kd_json_root(doc);
        if (keep(kd_json_string(kd_json_get(root, "text"))) || keep(kd_json_string(kd_json_get(root, "question"))) ||
            keep(kd_json_string(kd_json_get(root, "answer"))))
            c = kd_fail(e, KD_ENOMEM, "no memory");
        kd_json_free(doc);
        if (c) break;
    }
    kd_lines_close(lines);
    return c;
}

int main(int argc, char **argv) {
    kd_err e = {0};
    kd_tokenizer *t = NULL;
    kd_ids ids = {0};
    if (argc < 3) return printf("usage: bench_tokenizer MODEL FILE.jsonl [SECONDS]\n"), 0;
    const double want = argc > 3 ? atof(argv[3]) : 2, t0 = cpu();
    kd_code c = kd_tokenizer_open(&t, argv[1], &e);
    const double load = cpu() - t0;
    if (!c) c = read_texts(argv[2], &e);
    size_t bytes = 0, rounds = 0, tokens = 0;
    double first = 0, best = 1e30;
    const double start = kd_now();
    while (!c && (rounds == 0 || kd_now() - start < want)) {
        const double r0 = cpu();
        bytes = tokens = 0;
        for (size_t i = 0; i < count && !c; i++) {
            ids.n = 0;
            c = kd_tokenizer_encode(t, &ids, texts[i].data, texts[i].len, 0, &e);
            bytes += texts[i].len;
            tokens += ids.n;
        }
        const double took = cpu() - r0;
        if (rounds++ == 0) first = took;
        if (took < best) best = took;
    }
    kd_buf json = {0};
    if (!c && argc > 4 && !(c = kd_tokenizer_write_json(t, &json, &e))) c = kd_file_write(argv[4], json.data, json.len, &e);
    kd_buf_clear(&json);
    if (c)
        fprintf(stderr, "bench_tokenizer: %s\n", e.msg);
    else
        printf("{\"texts\":%zu,\"bytes\":%zu,\"tokens\":%zu,\"load_seconds\":%.4f,\"first_mb_per_second\":%.2f,\"mb_per_second\":%.2f}\n",
               count, bytes, tokens, load, (double)bytes / first / 1e6, (double)bytes / best / 1e6);
    for (size_t i = 0; i < count; i++) kd_buf_clear(&texts[i]);
    kd_free(texts);
    kd_ids_clear(&ids);
    kd_tokenizer_free(t);
    return c ? 1 : 0;
}
