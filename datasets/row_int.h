/* datasets/row_int.h - what row.c asks of row_tests.c. Private to datasets. Leans on json.h. */
#ifndef KD_DATASETS_ROW_INT_H
#define KD_DATASETS_ROW_INT_H

#include "distill/base/json.h"

typedef struct {
    const char *key[8]; /* members of the row that went into the tests */
    size_t n;
} kd_row_used;
/* out += the tests of this row as one JSON object, nothing if it has none. KD_EFORMAT: it has some, and they cannot be right. */
kd_code kd_row_tests(kd_buf *out, const kd_json_node *root, kd_row_used *used, kd_err *e);

#endif
