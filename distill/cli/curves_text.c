/* distill/cli/curves_text.c - curves on a terminal. Leans on curves.h. */
#include "distill/cli/curves.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 16, MARGIN = 9 };
static const char marks[] = "*o+x#@%=";

kd_code kd_curves_text(kd_buf *out, const kd_curve *c, size_t n, size_t window, size_t width, kd_err *e) {
    const size_t columns = width > MARGIN + 20 ? width - MARGIN - 1 : 20;
    double lo = INFINITY, hi = -INFINITY, last = 1;
    char grid[ROWS][512];
    const size_t cols = columns < 512 ? columns : 512;
    memset(grid, ' ', sizeof grid);
    for (size_t k = 0; k < n; k++) {
        last = fmax(last, c[k].at[c[k].n - 1].step);
        for (size_t i = 0; i < c[k].n; i++) {
            const double v = kd_curve_smooth(&c[k], i, window);
            if (isfinite(v)) lo = fmin(lo, v), hi = fmax(hi, v);
        }
    }
    if (!(lo <= hi)) return kd_fail(e, KD_EFORMAT, "no finite loss to draw");
    if (hi - lo < 1e-9) lo -= 0.5, hi += 0.5;
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < c[k].n; i++) {
            const double v = kd_curve_smooth(&c[k], i, window);
            if (!isfinite(v)) continue;
            const size_t x = (size_t)((c[k].at[i].step - 1) / fmax(last - 1, 1) * (double)(cols - 1) + 0.5);
            const size_t y = (size_t)((hi - v) / (hi - lo) * (ROWS - 1) + 0.5);
            grid[y][x < cols ? x : cols - 1] = marks[k % (sizeof marks - 1)];
        }
    kd_code code = kd_buf_printf(out, "loss, mean of %zu update%s\n", window, window == 1 ? "" : "s");
    for (size_t y = 0; y < ROWS && code == KD_OK; y++) {
        size_t end = cols;
        while (end && grid[y][end - 1] == ' ') end--;
        if (y % 5 == 0)
            code = kd_buf_printf(out, "%8.4g |%.*s\n", hi - (hi - lo) * (double)y / (ROWS - 1), (int)end, grid[y]);
        else
            code = kd_buf_printf(out, "%8s |%.*s\n", "", (int)end, grid[y]);
    }
    if (code == KD_OK) code = kd_buf_printf(out, "%8s +", "");
    for (size_t i = 0; i < cols && code == KD_OK; i++) code = kd_buf_putc(out, '-');
    if (code == KD_OK) code = kd_buf_printf(out, "\n%8s 1%*.0f updates\n", "", (int)cols - 1, last);
    for (size_t k = 0; k < n && code == KD_OK; k++) {
        const kd_eval_line *best = kd_evals_best(&c[k].evals);
        code = kd_buf_printf(out, "  %c %s: %zu updates, loss %.4f -> %.4f", marks[k % (sizeof marks - 1)], c[k].name, c[k].n,
                             c[k].at[0].loss, kd_curve_smooth(&c[k], c[k].n - 1, window));
        if (code == KD_OK && best && isfinite(best->loss)) code = kd_buf_printf(out, ", held out %.4f", best->loss);
        if (code == KD_OK && best && isfinite(best->pass1)) code = kd_buf_printf(out, ", pass@1 %.1f %%", 100 * best->pass1);
        if (code == KD_OK && best) code = kd_buf_printf(out, " (update %llu)", (unsigned long long)best->step);
        if (code == KD_OK) code = kd_buf_putc(out, '\n');
    }
    return code == KD_OK ? KD_OK : kd_fail(e, code, "no memory for a plot");
}
