/* student/view.h - a model in the midst of training, as the forward pass and the engine take it. Leans on trainer.h. */
#ifndef KD_STUDENT_VIEW_H
#define KD_STUDENT_VIEW_H

#include "student/trainer.h"

typedef struct {
    kd_model model;      /* m's weights, or views of the trained values where they are trained whole; shares m's files */
    kd_layer *layers;    /* of model */
    kd_adapter *adapter; /* a copy of the adapter's values, or NULL */
} kd_view;
/* Good until the next update. Errors: KD_ENOMEM. Test: tests/student/test_view.c */
kd_code kd_view_make(kd_view *v, kd_trainer *t, const kd_model *m, const kd_train_method *method, kd_err *e);
void kd_view_clear(kd_view *v);

#endif
