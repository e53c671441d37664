/* datasets/scan.h - one walk over a text that finds what the measures ask for: words, letters by script, lines, marks. Leans on base.
 * Private to datasets. A room is memory that one thread uses again for text after text, so that nothing is allocated once it has grown. */
#ifndef KD_DATASETS_SCAN_H
#define KD_DATASETS_SCAN_H

#include "distill/base/mem.h"

/* A run of letters and digits; a character of three bytes or more is a word of its own (Han, kana, Hangul, typographic signs). */
typedef struct {
    uint32_t start, end; /* bytes */
    uint64_t hash;       /* of its bytes, ASCII letters in lower case */
} kd_word;

typedef enum {
    KD_LATIN,
    KD_GREEK,
    KD_CYRILLIC,
    KD_HEBREW,
    KD_ARABIC,
    KD_INDIC,
    KD_THAI,
    KD_HAN,
    KD_KANA,
    KD_HANGUL,
    KD_OTHER_SCRIPT,
    KD_SCRIPTS
} kd_script;

typedef struct {
    kd_word *words; /* in the room: until its next scan */
    size_t n_words;
    uint32_t *fences; /* where ``` stand, in order */
    size_t n_fences;
    uint64_t letters[KD_SCRIPTS]; /* a Han character or kana weighs as three; a single Greek letter is mathematics and counts for nothing */
    int64_t line, paragraph;      /* characters of the longest one; paragraphs are parted by blank lines */
    uint32_t tags;                /* <think> and </think> */
    int32_t round, square;        /* \( less \), \[ less \], outside fences */
    uint32_t displays;            /* $$ outside fences */
    uint32_t dollars;             /* $ that open or close nothing and are no price, outside fences */
    bool blank, ascii;            /* white space only; no byte above ASCII */
} kd_scan;

typedef struct {
    kd_word *words;
    uint32_t *fences, *table, *edges;
    uint64_t *keys;
    size_t words_cap, fences_cap, table_cap, keys_cap, edges_cap;
} kd_scan_room; /* {0} is empty */
void kd_scan_room_clear(kd_scan_room *r);

/* Reads text whole. O(n); malformed UTF-8 is bytes. Errors: KD_ENOMEM; KD_ELIMIT beyond 4 GiB.
 * Test: tests/datasets/test_scan.c (against a walk by definition), fuzz_scan.c. */
kd_code kd_scan_text(kd_scan *out, kd_scan_room *room, kd_str text, kd_err *e);

/* The hash that a word of these letters has. */
uint64_t kd_word_hash(const char *s, size_t n);
kd_script kd_script_of(uint32_t cp); /* KD_SCRIPTS: not a letter */

#endif
