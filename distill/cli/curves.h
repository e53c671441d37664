/* distill/cli/curves.h - the course of training runs as pictures: what is read of a run's folder, an SVG, a small plot of text. Leans on student/evals.h, base. */
#ifndef KD_CLI_CURVES_H
#define KD_CLI_CURVES_H

#include "student/evals.h"

typedef struct {
    double step, loss, learning_rate;
} kd_curve_point;
typedef struct {
    char *name;
    kd_curve_point *at; /* [n] rising steps */
    size_t n, cap;
    double tokens, seconds; /* of all updates */
    uint64_t peak_bytes;
    kd_evals evals;
} kd_curve;

/* RUN/metrics.jsonl (or such a file itself) and RUN/evals.jsonl. A last line that is not whole yet is left out: the run may be training.
 * Errors: KD_ENOENT; KD_EFORMAT names file and line. */
kd_code kd_curve_read(kd_curve *c, const char *path, kd_err *e);
void kd_curve_clear(kd_curve *c);
/* The mean of the losses of the window updates up to point i. */
double kd_curve_smooth(const kd_curve *c, size_t i, size_t window);
/* Ticks of an axis from lo to hi: steps of 1, 2 or 5 times a power of ten, about `about` of them; at most 12 into at. */
size_t kd_ticks(double lo, double hi, int about, double at[12]);

/* One <svg> element without anything from outside: loss (thin: every update; thick: the running mean over window; dots: held-out, squares: general text), learning
 * rate, and pass@1 where it was measured; labelled axes and a legend. */
kd_code kd_curves_svg(kd_buf *out, const kd_curve *c, size_t n, size_t window, kd_err *e);
/* A whole page with that picture and a table of figures. */
kd_code kd_curves_html(kd_buf *out, const kd_curve *c, size_t n, size_t window, kd_err *e);
/* Running means of the losses as text, width columns wide. */
kd_code kd_curves_text(kd_buf *out, const kd_curve *c, size_t n, size_t window, size_t width, kd_err *e);

#endif
