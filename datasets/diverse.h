/* datasets/diverse.h - samples of a question that differ most from each other. Leans on db.h. Private to datasets. */
#ifndef KD_DATASETS_DIVERSE_H
#define KD_DATASETS_DIVERSE_H

#include "datasets/db.h"

/* rows: a statement that gives (sample_id, prompt), those of a prompt together and in a fixed order. out += a JSON array of the ids of at most k samples of each
 * prompt: the first, then again and again the one whose nearest among those taken is farthest (greedy max-min, Gonzalez 1985). Distance is one less the
 * Jaccard of five-word shingles of the thoughts (of the answers where there is none), estimated from the 128 least hashes of each. Of equals the earlier
 * is taken. Memory: the texts of one prompt's samples as sketches, 512 bytes each. Errors: KD_ENOMEM, the database's. Test: tests/datasets/test_select.c */
kd_code kd_diverse_pick(kd_buf *out, kd_db *db, kd_stmt *rows, int k, kd_err *e);

#endif
