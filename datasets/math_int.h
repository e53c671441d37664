/* datasets/math_int.h - what the files of the answer checker share. Leans on label.h. Private to datasets. */
#ifndef KD_DATASETS_MATH_INT_H
#define KD_DATASETS_MATH_INT_H

#include "datasets/label.h"

kd_str kd_trim(kd_str s); /* white space of ASCII */
const char *kd_last_of(kd_str s, const char *what);
kd_str kd_last_boxed(kd_str s);                            /* inside of the last box that is closed and holds something */
const char *kd_number_end(const char *p, const char *end); /* of the plain number that starts at p, or NULL */

#endif
