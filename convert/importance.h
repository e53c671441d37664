/* convert/importance.h - how much each input column of a matrix matters: the mean of its squared activations over some text. Collected by running
 * a model, read from and written to llama.cpp's imatrix files. Leans on model/forward.h, compare.h (rows), base/event.h. */
#ifndef KD_CONVERT_IMPORTANCE_H
#define KD_CONVERT_IMPORTANCE_H

#include "convert/compare.h"

/* Of one tensor, by its name in GGUF. A stack of experts has one row of means an expert. */
typedef struct {
    const char *name;
    size_t cols, mats;
    float *mean;    /* [mats, cols] of squares, finite, >= 0 */
    uint64_t *rows; /* [mats] how many rows of activations they are the mean of; 0: that matrix has no data, its means are 0 */
} kd_importance_entry;

typedef struct kd_importance kd_importance;
void kd_importance_free(kd_importance *im);
size_t kd_importance_count(const kd_importance *im);
const kd_importance_entry *kd_importance_at(const kd_importance *im, size_t i);
const kd_importance_entry *kd_importance_find(const kd_importance *im, const char *name); /* NULL if there is none */
const char *kd_importance_dataset(const kd_importance *im);                               /* what text it is of; NULL: not said */
kd_code kd_importance_set_dataset(kd_importance *im, const char *text, kd_err *e);

/* Means [cols] of matrix k of the mats that tensor name stacks. *out NULL: no data for it. Files of others may hold the stack as one long row, or one
 * count for the whole stack. Errors: KD_EFORMAT if the sizes do not fit, both named. */
kd_code kd_importance_of(const float **out, const kd_importance *im, const char *name, size_t cols, size_t mats, size_t k, kd_err *e);

/* llama.cpp's files, both forms: GGUF (general.type "imatrix", NAME.in_sum2 and NAME.counts) and the older one (by its lack of a magic).
 * Errors: KD_EFORMAT names the entry: sizes that do not fit, NaN, infinities, negative sums. Test: tests/convert/test_importance.c */
kd_code kd_importance_read(kd_importance **out, const char *path, kd_err *e);
/* NAME.dat: the older form; any other name: GGUF. window: tokens of a chunk. */
kd_code kd_importance_write(const kd_importance *im, const char *path, uint32_t window, kd_err *e);

/* Runs the rows, cut into pieces of at most window tokens, through the model in f32; every matrix of a layer and the head (as output.weight)
 * get an entry. Errors: KD_EINVAL no tokens; KD_EFORMAT activations that are not finite (tensor named); those of the forward pass. */
kd_code kd_importance_collect(kd_importance **out, const kd_model *m, kd_adapter *adapter, const kd_compare_row *rows, size_t n,
                              size_t window, kd_pool *pool, const kd_watch *w, kd_err *e);

#endif
