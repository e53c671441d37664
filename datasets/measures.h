/* datasets/measures.h - R1's filters as measures of one text: each is O(n), reentrant, and says a number, never a verdict. Leans on base.
 * Private to datasets; label.c names them and writes them beside samples. */
#ifndef KD_DATASETS_MEASURES_H
#define KD_DATASETS_MEASURES_H

#include "datasets/study.h"

/* Bytes after zlib's level 1 per byte before: 0.05 for a loop, 0.4 for prose; 1 for texts under 64 bytes. */
kd_code kd_measure_compress(double *out, kd_str text, kd_err *e);
/* Share of the letters of text that are of the script most letters of like are of (Latin, Cyrillic, Han with kana, Hangul, Arabic, ...); 1 when there
 * are no letters. Single Greek letters are mathematics and count for nothing. */
double kd_measure_language(kd_str text, kd_str like);
/* Characters of the longest line, and of the longest paragraph (parted by blank lines). */
void kd_measure_lines(kd_str text, int64_t *line, int64_t *paragraph);
/* "wait", "hmm", "let me check again", "on second thought", ...: places where a text turns back on itself. */
int64_t kd_measure_turns(kd_str text);
bool kd_measure_refusal(kd_str answer); /* it begins by declining */
/* Share of the 8-word windows of text that stand in prompt. */
kd_code kd_measure_copied(double *out, kd_str text, kd_str prompt, kd_err *e);
/* NULL if thought and answer are well formed, else what is wrong: a thought that never closes, nothing outside it, tags inside the answer, a code
 * fence or \( that never closes. Static text. */
const char *kd_measure_format(kd_thought_from from, kd_str thought, kd_str answer);

/* ---- words, shared with the search for near-duplicates ---- */
typedef struct {
    uint32_t start, end;
    uint64_t hash; /* of its letters in lower case */
} kd_word;
/* Cuts s into words: runs of letters and digits; a character of three bytes or more is a word of its own. out: room for n/2 + 2; returns how many. */
size_t kd_words_cut(const char *s, size_t n, kd_word *out);

#endif
