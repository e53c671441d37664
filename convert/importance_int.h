/* convert/importance_int.h - inside of the room: what the files of importance share. Leans on importance.h. */
#ifndef KD_CONVERT_IMPORTANCE_INT_H
#define KD_CONVERT_IMPORTANCE_INT_H

#include "convert/importance.h"

struct kd_importance {
    kd_importance_entry *v;
    size_t n, cap;
    kd_arena arena; /* names, means, counts */
    char *dataset;
};
/* An entry of zeros. Errors: KD_ENOMEM; KD_EFORMAT a name twice. */
kd_code kd_importance_add(kd_importance *im, const char *name, size_t name_len, size_t cols, size_t mats, kd_importance_entry **out,
                          kd_err *e);
void kd_importance_sort(kd_importance *im); /* by name: find needs it */

#endif
