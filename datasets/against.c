/* datasets/against.c - runs of 8 and 13 words of the questions of other files, and the longest run shared. Leans on against.h, import.h, base. */
#include "datasets/against.h"

#include "datasets/import.h"
#include "distill/base/gz.h"
#include "distill/base/json.h"
#include "distill/base/utf8.h"

#include <string.h>

enum {
    SHOWN = 120,
    A_GRAM = 8,
    KNOWN = 64,
    TABLE = 1 << 24
}; /* bytes of a question kept to show; questions remembered a gram; counted a text; cells compared at most */

typedef struct {
    size_t words_end; /* in words */
    size_t shown;     /* in text */
    uint32_t shown_len, file;
    size_t line;
} question;
typedef struct {
    uint64_t key; /* 0: free */
    uint32_t question;
} gram;

struct kd_against {
    uint32_t *words; /* their hashes, question after question */
    question *q;
    char **files;
    kd_buf text;
    size_t n, n_words, n_files, words_cap, q_cap, files_cap;
    gram *grams; /* of 8 words, or of all where there are fewer */
    size_t slots, used;
    uint64_t *longs; /* of 13 words */
    size_t long_slots, long_used;
    kd_scan_room room;
};

kd_code kd_against_new(kd_against **out, kd_err *e) {
    *out = kd_calloc(1, sizeof **out);
    return *out ? KD_OK : kd_fail(e, KD_ENOMEM, "decontamination: no memory");
}

void kd_against_free(kd_against *a) {
    if (!a) return;
    for (size_t i = 0; i < a->n_files; i++) kd_free(a->files[i]);
    kd_free(a->files);
    kd_free(a->words);
    kd_free(a->q);
    kd_free(a->grams);
    kd_free(a->longs);
    kd_buf_clear(&a->text);
    kd_scan_room_clear(&a->room);
    kd_free(a);
}

size_t kd_against_count(const kd_against *a) { return a->n; }

/* The hash of n words from w on; never 0. */
static uint64_t gram_of(const kd_word *w, size_t n) {
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ w[i].hash) * 0x9e3779b97f4a7c15ULL;
        h ^= h >> 32;
    }
    return h ? h : 1;
}

static size_t place(uint64_t key, size_t slots) { return (size_t)(key * 0xbf58476d1ce4e5b9ULL >> 20) & (slots - 1); }

static kd_code more_grams(kd_against *a, size_t more) {
    if ((a->used + more) * 2 <= a->slots) return KD_OK;
    size_t slots = a->slots ? a->slots : 1024;
    while (slots < (a->used + more) * 4) slots *= 2;
    gram *g = kd_calloc(slots, sizeof *g);
    if (!g) return KD_ENOMEM;
    for (size_t i = 0; i < a->slots; i++) {
        if (!a->grams[i].key) continue;
        size_t at = place(a->grams[i].key, slots);
        while (g[at].key) at = (at + 1) & (slots - 1);
        g[at] = a->grams[i];
    }
    kd_free(a->grams);
    a->grams = g;
    a->slots = slots;
    return KD_OK;
}

static kd_code more_longs(kd_against *a, size_t more) {
    if ((a->long_used + more) * 2 <= a->long_slots) return KD_OK;
    size_t slots = a->long_slots ? a->long_slots : 1024;
    while (slots < (a->long_used + more) * 4) slots *= 2;
    uint64_t *g = kd_calloc(slots, sizeof *g);
    if (!g) return KD_ENOMEM;
    for (size_t i = 0; i < a->long_slots; i++) {
        if (!a->longs[i]) continue;
        size_t at = place(a->longs[i], slots);
        while (g[at]) at = (at + 1) & (slots - 1);
        g[at] = a->longs[i];
    }
    kd_free(a->longs);
    a->longs = g;
    a->long_slots = slots;
    return KD_OK;
}

static void put_gram(kd_against *a, uint64_t key, uint32_t q) {
    size_t at = place(key, a->slots), same = 0;
    for (; a->grams[at].key; at = (at + 1) & (a->slots - 1))
        if (a->grams[at].key == key && (a->grams[at].question == q || ++same == A_GRAM)) return;
    a->grams[at] = (gram){key, q};
    a->used++;
}

static void put_long(kd_against *a, uint64_t key) {
    size_t at = place(key, a->long_slots);
    while (a->longs[at] && a->longs[at] != key) at = (at + 1) & (a->long_slots - 1);
    a->long_used += a->longs[at] == 0;
    a->longs[at] = key;
}

static kd_code file_number(kd_against *a, const char *file, uint32_t *out) {
    if (!a->n_files || strcmp(a->files[a->n_files - 1], file) != 0) {
        if (kd_grow((void **)&a->files, &a->files_cap, a->n_files + 1, sizeof *a->files)) return KD_ENOMEM;
        if (!(a->files[a->n_files] = kd_strdup(file))) return KD_ENOMEM;
        a->n_files++;
    }
    *out = (uint32_t)a->n_files - 1;
    return KD_OK;
}

kd_code kd_against_add(kd_against *a, kd_str text, const char *file, size_t line, kd_err *e) {
    kd_scan scan;
    question q = {.line = line};
    kd_code rc = kd_scan_text(&scan, &a->room, text, e);
    if (rc || scan.n_words == 0) return rc;
    const size_t n = scan.n_words, shown = text.len < SHOWN ? text.len : SHOWN - kd_utf8_partial(text.data, SHOWN);
    if (kd_grow((void **)&a->words, &a->words_cap, a->n_words + n, sizeof *a->words) ||
        kd_grow((void **)&a->q, &a->q_cap, a->n + 1, sizeof *a->q) || more_grams(a, n) || more_longs(a, n) || file_number(a, file, &q.file))
        return kd_fail(e, KD_ENOMEM, "%s:%zu: no memory to compare with it", file, line);
    q.shown = a->text.len;
    q.shown_len = (uint32_t)shown;
    if (kd_buf_append(&a->text, text.data, shown)) return kd_fail(e, KD_ENOMEM, "%s:%zu: no memory to compare with it", file, line);
    for (size_t i = 0; i < n; i++) a->words[a->n_words++] = (uint32_t)scan.words[i].hash;
    q.words_end = a->n_words;
    if (n < KD_SHORT_GRAM) put_gram(a, gram_of(scan.words, n), (uint32_t)a->n);
    for (size_t i = 0; i + KD_SHORT_GRAM <= n; i++) put_gram(a, gram_of(scan.words + i, KD_SHORT_GRAM), (uint32_t)a->n);
    for (size_t i = 0; i + KD_LONG_GRAM <= n; i++) put_long(a, gram_of(scan.words + i, KD_LONG_GRAM));
    a->q[a->n++] = q;
    return KD_OK;
}

kd_code kd_question_text(kd_buf *out, kd_str messages, kd_err *e) {
    kd_json *doc = NULL;
    kd_code rc = kd_json_parse(&doc, messages.data, messages.len, "messages", e), b = KD_OK;
    out->len = 0;
    for (int all = 0; all < 2 && !rc && !b && out->len == 0; all++) /* a system prompt that all questions share tells nothing of one */
        for (const kd_json_node *m = kd_json_first(kd_json_root(doc)); m && !b; m = kd_json_next(m)) {
            if (!all && !kd_str_is(kd_json_string(kd_json_get(m, "role")), "user")) continue;
            const kd_json_node *content = kd_json_get(m, "content");
            const kd_str s = kd_json_string(content);
            b = kd_buf_append(out, s.data, s.len);
            for (const kd_json_node *p = kd_json_typeof(content) == KD_JSON_ARRAY ? kd_json_first(content) : NULL; p && !b;
                 p = kd_json_next(p)) {
                const kd_str t = kd_json_string(kd_json_get(p, "text"));
                b = kd_buf_append(out, t.data, t.len);
            }
            if (!b) b = kd_buf_putc(out, '\n');
        }
    kd_json_free(doc);
    return rc ? rc : b ? kd_fail(e, b, "no memory for a question") : KD_OK;
}

kd_code kd_against_file(kd_against *a, const char *path, uint64_t *bad, kd_err *e) {
    kd_lines *in = NULL;
    kd_arena arena = {0};
    kd_buf text = {0};
    kd_row_form form = KD_ROW_SNIFF;
    kd_str line;
    bool more = true;
    *bad = 0;
    kd_code rc = kd_lines_open(&in, path, e);
    while (!rc && !(rc = kd_lines_next(in, &line, &more, e)) && more) {
        kd_row_parts row;
        kd_err why;
        kd_str rest = line;
        if (kd_lines_number(in) == 1 && (rc = kd_question_head_check(path, line, e))) break;
        while (rest.len && (*rest.data == ' ' || *rest.data == '\t')) rest.data++, rest.len--;
        if (!rest.len) continue;
        const kd_code bad_row = kd_row_parse(&row, &arena, line, form, &why);
        if (bad_row == KD_ENOMEM) {
            rc = kd_fail(e, bad_row, "%s: %s", path, why.msg);
        } else if (bad_row) {
            ++*bad;
        } else {
            form = row.form;
            rc = kd_question_text(&text, row.messages, e);
            if (!rc) rc = kd_against_add(a, kd_buf_view(&text), path, kd_lines_number(in), e);
        }
        kd_arena_clear(&arena);
    }
    kd_lines_close(in);
    kd_arena_clear(&arena);
    kd_buf_clear(&text);
    return rc;
}

/* ---- looking ---- */
static bool has_long(const kd_against *a, uint64_t key) {
    if (!a->long_slots) return false;
    size_t at = place(key, a->long_slots);
    while (a->longs[at] && a->longs[at] != key) at = (at + 1) & (a->long_slots - 1);
    return a->longs[at] != 0;
}

typedef struct {
    uint32_t question[KNOWN], count[KNOWN];
    size_t n;
} tally;

/* Is the gram in some question? Those that hold it are counted. */
static bool count_gram(const kd_against *a, uint64_t key, tally *t) {
    bool found = false;
    if (!a->slots) return false;
    for (size_t at = place(key, a->slots); a->grams[at].key; at = (at + 1) & (a->slots - 1)) {
        if (a->grams[at].key != key) continue;
        size_t k = 0;
        found = true;
        while (k < t->n && t->question[k] != a->grams[at].question) k++;
        if (k == KNOWN) continue;
        if (k == t->n) {
            t->question[t->n] = a->grams[at].question;
            t->count[t->n++] = 0;
        }
        t->count[k]++;
    }
    return found;
}

/* Words of the longest run that both have: the common table of lengths, a row at a time. row: [m + 1], zeroed. */
static size_t longest_run(const kd_word *x, size_t n, const uint32_t *y, size_t m, uint32_t *row) {
    uint32_t best = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = m; k; k--) {
            row[k] = (uint32_t)x[i].hash == y[k - 1] ? row[k - 1] + 1 : 0;
            best = row[k] > best ? row[k] : best;
        }
    return best;
}

static bool has_gram(const kd_against *a, uint64_t key, uint32_t q) {
    for (size_t at = place(key, a->slots); a->grams[at].key; at = (at + 1) & (a->slots - 1))
        if (a->grams[at].key == key && a->grams[at].question == q) return true;
    return false;
}

/* The same where the table would be too large: the longest stretch of runs of 8 that the question holds, in linear time. It may join two places of the
 * question that follow each other in the text. */
static size_t longest_stretch(const kd_against *a, const kd_word *x, size_t n, uint32_t q) {
    size_t best = 0, run = 0;
    for (size_t i = 0; i + KD_SHORT_GRAM <= n; i++) {
        run = has_gram(a, gram_of(x + i, KD_SHORT_GRAM), q) ? run + 1 : 0;
        best = run > best ? run : best;
    }
    return best ? best + KD_SHORT_GRAM - 1 : 0;
}

kd_code kd_against_look(const kd_against *a, kd_scan_room *room, kd_str text, kd_contamination *out, kd_err *e) {
    kd_scan scan;
    tally t = {.n = 0};
    size_t hits = 0, longs = 0, best = 0;
    *out = (kd_contamination){0};
    kd_code rc = kd_scan_text(&scan, room, text, e);
    if (rc || scan.n_words == 0) return rc;
    const size_t n = scan.n_words, grams = n < KD_SHORT_GRAM ? 1 : n - KD_SHORT_GRAM + 1;
    for (size_t i = 0; i < grams; i++) hits += count_gram(a, gram_of(scan.words + i, n < KD_SHORT_GRAM ? n : KD_SHORT_GRAM), &t);
    for (size_t i = 0; i + KD_LONG_GRAM <= n; i++) longs += has_long(a, gram_of(scan.words + i, KD_LONG_GRAM));
    if (!t.n) return KD_OK;
    for (size_t k = 1; k < t.n; k++)
        if (t.count[k] > t.count[best]) best = k;
    const question *q = &a->q[t.question[best]];
    const size_t from = t.question[best] ? a->q[t.question[best] - 1].words_end : 0, m = q->words_end - from;
    if (kd_grow((void **)&room->table, &room->table_cap, m + 1, sizeof *room->table))
        return kd_fail(e, KD_ENOMEM, "no memory to compare %zu words with %zu", n, m);
    memset(room->table, 0, (m + 1) * sizeof *room->table);
    const size_t run =
        n <= TABLE / m ? longest_run(scan.words, n, a->words + from, m, room->table) : longest_stretch(a, scan.words, n, t.question[best]);
    out->run = run < m ? run : m;
    out->share = (double)out->run / (double)(n < m ? n : m);
    out->grams8 = (double)hits / (double)grams;
    out->grams13 = n >= KD_LONG_GRAM ? (double)longs / (double)(n - KD_LONG_GRAM + 1) : 0;
    out->file = a->files[q->file];
    out->line = q->line;
    out->text = (kd_str){a->text.data + q->shown, q->shown_len};
    return KD_OK;
}
