/* datasets/against.h - questions that a study must not hold: which of them a text is taken from, and how much. Leans on scan.h, base. Private to datasets.
 * Words are compared in lower case without signs. Memory: some 30 bytes a word of the questions. */
#ifndef KD_DATASETS_AGAINST_H
#define KD_DATASETS_AGAINST_H

#include "datasets/scan.h"

enum { KD_SHORT_GRAM = 8, KD_LONG_GRAM = 13 }; /* of words: 13 is GPT-3's (Brown et al. 2020, appendix C), 8 finds what was reworded */

typedef struct kd_against kd_against;
kd_code kd_against_new(kd_against **out, kd_err *e);
void kd_against_free(kd_against *a);
/* Every row of a question file, in whatever form import reads; rows that cannot be read are counted in *bad. */
kd_code kd_against_file(kd_against *a, const char *path, uint64_t *bad, kd_err *e);
kd_code kd_against_add(kd_against *a, kd_str text, const char *file, size_t line, kd_err *e);
size_t kd_against_count(const kd_against *a);

typedef struct {
    double share;           /* words of the longest run that both have, of the words of the shorter text; 0 where no run of 8 is shared */
    double grams8, grams13; /* share of the text's runs of 8 and 13 words that stand in some question */
    size_t run;             /* words of that longest run */
    const char *file;       /* the question most runs are shared with; NULL: none */
    size_t line;
    kd_str text; /* its beginning */
} kd_contamination;
/* Reentrant with a room each. A question of fewer than 8 words is found only whole. Test: tests/datasets/test_near_dup.c */
kd_code kd_against_look(const kd_against *a, kd_scan_room *room, kd_str text, kd_contamination *out, kd_err *e);

/* The text of a conversation that is asked: the contents of its user turns, or of all if there is none, one a line. Into out (emptied first). */
kd_code kd_question_text(kd_buf *out, kd_str messages, kd_err *e);

#endif
