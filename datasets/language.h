/* datasets/language.h - which language a text is in, how much of it is in another, and where it turns back on itself: what its small words tell.
 * Leans on scan.h. Private to datasets. */
#ifndef KD_DATASETS_LANGUAGE_H
#define KD_DATASETS_LANGUAGE_H

#include "datasets/scan.h"

typedef struct kd_lexicon kd_lexicon; /* small words by hash; read-only once made, shared by threads */
kd_code kd_lexicon_new(kd_lexicon **out, kd_err *e);
void kd_lexicon_free(kd_lexicon *x);

enum { KD_NO_LANGUAGE = -1 };
typedef struct {
    int language;        /* of most of it, or KD_NO_LANGUAGE when nothing tells */
    double share;        /* of its letters in the target language (see below); 1 without letters */
    int64_t turns;       /* places where it turns back: "wait", "hmm", "let me check", "on second thought", "alternatively", ... */
    int64_t waits;       /* of these, "wait" */
    int64_t corrections; /* of these, such as admit a fault: "i made a mistake", "that's not right", "scratch that", ... */
} kd_telling;
/* R1's consistency reward: the share of the text that is in the target language (Guo et al. 2025, arXiv:2501.12948, section 2.3.2), here by letters. A script
 * with one language (Han with kana, Hangul, Greek, ...) is counted by its letters; scripts of many (Latin, Cyrillic, Arabic) in stretches of 24 words, each of
 * which is foreign if the words of another language clearly outweigh the target's. Code between fences and LaTeX commands are of no language.
 * target KD_NO_LANGUAGE: the text's own. Test: tests/datasets/test_language.c; beside langdetect: scripts/bench_language.py. */
void kd_language_tell(kd_telling *out, const kd_lexicon *x, const kd_scan *scan, kd_str text, int target);
const char *kd_language_code(int language); /* ISO 639-1: "en", "zh"; "und" for KD_NO_LANGUAGE */
int kd_language_named(const char *code);    /* KD_NO_LANGUAGE if it is none of ours */

#endif
