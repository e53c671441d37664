/* datasets/math_judge.h - one comparison under way. Leans on math_int.h. Private to datasets. */
#ifndef KD_DATASETS_MATH_JUDGE_H
#define KD_DATASETS_MATH_JUDGE_H

#include "datasets/math_int.h"

enum { KD_ITEMS = 256, KD_PAIRS = 2000 };
typedef struct {
    kd_math *m;
    const char *why; /* of the last verdict; static text */
    int work, depth;
} kd_pair;
kd_verdict kd_nodes_equal(kd_pair *p, kd_node *a, kd_node *g);
kd_verdict kd_texts(kd_pair *p, kd_str a, kd_str g); /* words against words, lower case */
kd_node *kd_number_words(kd_math *m, kd_str s);      /* "twenty-one", "five apples"; NULL if it begins with no number */

#endif
