/* distill/cli/curves_svg.c - curves as SVG and as a page. Leans on curves.h. Colours: Okabe and Ito's, told apart by all. */
#include "distill/cli/curves.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 960, LEFT = 70, RIGHT = 24, LOSS_HEIGHT = 320, SMALL_HEIGHT = 120, GAP = 56, TOP = 44, POINTS = 1500 };
static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b", "#8a6d00"};
enum { COLOURS = 8 };

/* Where data lie in the picture. */
typedef struct {
    kd_buf *out;
    kd_code code;
    double x0, x1, y0, y1; /* data */
    double top, height;    /* picture */
} panel;

#define PUT(p, ...)                                                                                                                        \
    do {                                                                                                                                   \
        if ((p)->code == KD_OK) (p)->code = kd_buf_printf((p)->out, __VA_ARGS__);                                                          \
    } while (0)

static double px(const panel *p, double x) { return LEFT + (x - p->x0) / (p->x1 - p->x0) * (WIDTH - LEFT - RIGHT); }
static double py(const panel *p, double y) { return p->top + (p->y1 - y) / (p->y1 - p->y0) * p->height; }

static kd_code put_text(kd_buf *out, const char *s) {
    kd_code c = KD_OK;
    for (; *s && c == KD_OK; s++)
        c = *s == '<'                  ? kd_buf_puts(out, "&lt;")
            : *s == '&'                ? kd_buf_puts(out, "&amp;")
            : *s == '"'                ? kd_buf_puts(out, "&quot;")
            : (unsigned char)*s < 0x20 ? kd_buf_putc(out, ' ')
                                       : kd_buf_putc(out, *s);
    return c;
}

/* Frame, grid, ticks and names of the axes. */
static void frame(panel *p, const char *name, bool percent) {
    double at[12];
    PUT(p, "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" fill=\"none\" stroke=\"#999\"/>\n", LEFT, p->top, WIDTH - LEFT - RIGHT,
        p->height);
    for (size_t i = 0, n = kd_ticks(p->y0, p->y1, p->height > 200 ? 6 : 3, at); i < n; i++) {
        char label[32];
        snprintf(label, sizeof label, percent ? "%.0f%%" : "%.4g", percent ? 100 * at[i] : at[i]);
        PUT(p, "<path d=\"M%d %.1fH%d\" stroke=\"#e2e2e2\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT, py(p, at[i]),
            WIDTH - RIGHT, LEFT - 8, py(p, at[i]) + 4, label);
    }
    for (size_t i = 0, n = kd_ticks(p->x0, p->x1, 8, at); i < n; i++)
        PUT(p, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"#e2e2e2\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.7g</text>\n",
            px(p, at[i]), p->top, p->top + p->height, px(p, at[i]), p->top + p->height + 16, at[i]);
    PUT(p, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"middle\">update</text>\n", (LEFT + WIDTH - RIGHT) / 2, p->top + p->height + 34);
    PUT(p, "<text x=\"16\" y=\"%.1f\" text-anchor=\"middle\" transform=\"rotate(-90 16 %.1f)\">%s</text>\n", p->top + p->height / 2,
        p->top + p->height / 2, name);
}

static double value_of(const kd_curve *c, size_t i, int which, size_t window) {
    return which == 0 ? c->at[i].loss : which == 1 ? kd_curve_smooth(c, i, window) : c->at[i].learning_rate;
}

/* which 0: losses, 1: their running mean, 2: learning rate. Long runs are thinned to every so many-th point. */
static void line(panel *p, const kd_curve *c, int which, size_t window, const char *colour, const char *style) {
    const size_t step = c->n / POINTS + 1;
    bool pen = false;
    PUT(p, "<path fill=\"none\" stroke=\"%s\" %s d=\"", colour, style);
    for (size_t i = 0; i < c->n; i += i + step < c->n || i + 1 == c->n ? step : c->n - 1 - i) {
        const double y = value_of(c, i, which, window);
        if (!isfinite(y)) {
            pen = false;
            continue;
        }
        PUT(p, "%c%.1f %.1f", pen ? 'L' : 'M', px(p, c->at[i].step), py(p, fmin(fmax(y, p->y0), p->y1)));
        pen = true;
    }
    PUT(p, "\"/>\n");
}

static double eval_of(const kd_eval_line *l, int which) { return which == 0 ? l->loss : which == 1 ? l->general : l->pass1; }

/* which 0: held-out loss (dots), 1: general text (squares), 2: pass@1 (dots). */
static void evals(panel *p, const kd_curve *c, int which, const char *colour) {
    static const char *const names[] = {"held-out loss", "general text", "pass@1"};
    bool pen = false;
    PUT(p, "<path fill=\"none\" stroke=\"%s\" stroke-dasharray=\"%s\" stroke-width=\"1.5\" d=\"", colour, which == 1 ? "2 4" : "6 3");
    for (size_t i = 0; i < c->evals.n; i++) {
        const double y = eval_of(&c->evals.at[i], which);
        if (!isfinite(y)) continue;
        PUT(p, "%c%.1f %.1f", pen ? 'L' : 'M', px(p, (double)c->evals.at[i].step), py(p, fmin(fmax(y, p->y0), p->y1)));
        pen = true;
    }
    PUT(p, "\"/>\n");
    for (size_t i = 0; i < c->evals.n; i++) {
        const double v = eval_of(&c->evals.at[i], which), x = px(p, (double)c->evals.at[i].step);
        if (!isfinite(v)) continue;
        const double y = py(p, fmin(fmax(v, p->y0), p->y1));
        if (which == 1)
            PUT(p, "<rect x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\" fill=\"%s\">", x - 3.5, y - 3.5, colour);
        else
            PUT(p, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\">", x, y, colour);
        PUT(p, "<title>%s %.5g at update %llu</title></%s>\n", names[which], v, (unsigned long long)c->evals.at[i].step,
            which == 1 ? "rect" : "circle");
    }
}

static void widen(panel *p, double v) {
    if (!isfinite(v)) return;
    if (v < p->y0) p->y0 = v;
    if (v > p->y1) p->y1 = v;
}

static bool measured(const kd_curve *c, size_t n, int which) {
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < c[k].evals.n; i++)
            if (isfinite(eval_of(&c[k].evals.at[i], which))) return true;
    return false;
}

static void settle(panel *p) {
    if (!(p->y0 <= p->y1)) p->y0 = 0, p->y1 = 1;
    const double room = p->y1 > p->y0 ? (p->y1 - p->y0) * 0.05 : fabs(p->y1) * 0.1 + 1e-12;
    p->y0 -= room;
    p->y1 += room;
}

static void loss_panel(panel *p, const kd_curve *c, size_t n, size_t window) {
    p->y0 = INFINITY, p->y1 = -INFINITY;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < c[k].n; i++) widen(p, c[k].at[i].loss);
        for (size_t i = 0; i < c[k].evals.n; i++) widen(p, c[k].evals.at[i].loss), widen(p, c[k].evals.at[i].general);
    }
    settle(p);
    frame(p, "loss (nats a token)", false);
    for (size_t k = 0; k < n; k++) {
        if (window > 1) line(p, &c[k], 0, 1, colours[k % COLOURS], "stroke-width=\"1\" stroke-opacity=\"0.3\"");
        line(p, &c[k], 1, window, colours[k % COLOURS], "stroke-width=\"2\"");
        if (measured(&c[k], 1, 0)) evals(p, &c[k], 0, colours[k % COLOURS]);
        if (measured(&c[k], 1, 1)) evals(p, &c[k], 1, colours[k % COLOURS]);
    }
}

static void legend(panel *p, const kd_curve *c, size_t n, size_t window) {
    double x = LEFT;
    for (size_t k = 0; k < n; k++) {
        char name[40];
        snprintf(name, sizeof name, "%.36s", c[k].name);
        if (x > WIDTH - 160) break; /* a page's table names the rest */
        PUT(p, "<path d=\"M%.0f 16h22\" stroke=\"%s\" stroke-width=\"3\"/><text x=\"%.0f\" y=\"20\">", x, colours[k % COLOURS], x + 28);
        if (p->code == KD_OK) p->code = put_text(p->out, name);
        PUT(p, "</text>\n");
        x += 46 + 7.4 * (double)strlen(name);
    }
    PUT(p, "<text x=\"%d\" y=\"36\" fill=\"#555\">", LEFT);
    if (window > 1)
        PUT(p, "thin: every update; thick: mean of %zu updates", window);
    else
        PUT(p, "line: every update");
    if (measured(c, n, 0)) PUT(p, "; dots: held-out loss");
    if (measured(c, n, 1)) PUT(p, "; squares: general text");
    PUT(p, "</text>\n");
}

kd_code kd_curves_svg(kd_buf *out, const kd_curve *c, size_t n, size_t window, kd_err *e) {
    const bool pass = measured(c, n, 2);
    const int height = TOP + LOSS_HEIGHT + GAP + SMALL_HEIGHT + (pass ? GAP + SMALL_HEIGHT : 0) + 48;
    panel p = {.out = out, .x0 = 0, .x1 = 1, .top = TOP, .height = LOSS_HEIGHT};
    for (size_t k = 0; k < n; k++) p.x1 = fmax(p.x1, c[k].at[c[k].n - 1].step);
    PUT(&p,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
        "font-size=\"12\" "
        "fill=\"#222\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
        WIDTH, height, WIDTH, height, WIDTH, height);
    legend(&p, c, n, window);
    loss_panel(&p, c, n, window);
    p.top += LOSS_HEIGHT + GAP;
    p.height = SMALL_HEIGHT;
    p.y0 = 0, p.y1 = 0;
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < c[k].n; i++) widen(&p, c[k].at[i].learning_rate);
    p.y1 = p.y1 > 0 ? p.y1 * 1.08 : 1;
    frame(&p, "learning rate", false);
    for (size_t k = 0; k < n; k++) line(&p, &c[k], 2, 1, colours[k % COLOURS], "stroke-width=\"2\"");
    if (pass) {
        p.top += SMALL_HEIGHT + GAP;
        p.y0 = 0, p.y1 = 0.02;
        for (size_t k = 0; k < n; k++)
            for (size_t i = 0; i < c[k].evals.n; i++) widen(&p, c[k].evals.at[i].pass1);
        p.y1 *= 1.08;
        frame(&p, "pass@1", true);
        for (size_t k = 0; k < n; k++) evals(&p, &c[k], 2, colours[k % COLOURS]);
    }
    PUT(&p, "</svg>\n");
    return p.code == KD_OK ? KD_OK : kd_fail(e, p.code, "no memory for a picture of curves");
}

static kd_code cell(kd_buf *out, double v, const char *format) {
    char s[32] = "";
    if (isfinite(v))
        snprintf(s, sizeof s, format[0] == '%' ? "%.1f %%" : format[0] == 'i' ? "%.0f" : "%.4f", format[0] == '%' ? 100 * v : v);
    return kd_buf_printf(out, "<td>%s</td>", s);
}

static kd_code row(kd_buf *out, const kd_curve *c, const char *colour) {
    const kd_eval_line nothing = {0, NAN, NAN, NAN, 0}, *best = kd_evals_best(&c->evals), *first = kd_evals_of(&c->evals, 0);
    const kd_eval_line *last = c->evals.n ? &c->evals.at[c->evals.n - 1] : &nothing;
    if (!best) best = &nothing;
    if (!first) first = &nothing;
    kd_code code = kd_buf_printf(out, "<tr><th style=\"border-left:8px solid %s\">", colour);
    if (code == KD_OK) code = put_text(out, c->name);
    if (code == KD_OK) code = kd_buf_puts(out, "</th>");
    const double v[] = {(double)c->n,
                        c->at[0].loss,
                        c->at[c->n - 1].loss,
                        best->loss,
                        best->pass1,
                        first->general,
                        last->general,
                        c->tokens,
                        c->seconds > 0 ? c->tokens / c->seconds : NAN,
                        (double)c->peak_bytes / 1e6};
    const char *const f[] = {"i", "f", "f", "f", "%", "f", "f", "i", "i", "i"};
    for (size_t i = 0; i < sizeof v / sizeof *v && code == KD_OK; i++) code = cell(out, v[i], f[i]);
    return code == KD_OK ? kd_buf_puts(out, "</tr>\n") : code;
}

kd_code kd_curves_html(kd_buf *out, const kd_curve *c, size_t n, size_t window, kd_err *e) {
    kd_code code =
        kd_buf_puts(out,
                    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>training curves</title>\n"
                    "<style>body{font:14px sans-serif;margin:24px;color:#222}svg{max-width:100%;height:auto}"
                    "table{border-collapse:collapse;margin-top:16px}td,th{padding:4px 10px;text-align:right;border-bottom:1px solid #ddd}"
                    "th:first-child{text-align:left}</style></head><body>\n");
    if (code == KD_OK) code = kd_curves_svg(out, c, n, window, e);
    if (code == KD_OK)
        code =
            kd_buf_puts(out,
                        "<table><tr><th>run</th><th>updates</th><th>first loss</th><th>last loss</th><th>best held-out</th><th>pass@1</th>"
                        "<th>general before</th><th>general after</th><th>tokens</th><th>tokens/s</th><th>peak MB</th></tr>\n");
    for (size_t k = 0; k < n && code == KD_OK; k++) code = row(out, &c[k], colours[k % COLOURS]);
    if (code == KD_OK) code = kd_buf_puts(out, "</table></body></html>\n");
    return code == KD_OK ? KD_OK : kd_fail(e, code, "no memory for a page of curves");
}
