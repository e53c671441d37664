/* distill/cli/cmd_curves.c - `distill curves`: the course of training runs, on the terminal, as SVG or as a page. Leans on curves.h. */
#include "distill/base/file.h"
#include "distill/cli/cli.h"
#include "distill/cli/curves.h"

#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const kd_opt options[] = {{"output", 'o', KD_OPT_PATH, "FILE", NULL, "write FILE.svg or FILE.html, complete in itself", "Output"},
                                 {"smooth", 0, KD_OPT_INT, "N", "0", "running mean over N updates; 0: a fiftieth of the longest run",
                                  "Output", .min = 0, .max = 1e6},
                                 {0}};

static size_t columns(void) {
    struct winsize w;
    return ioctl(1, TIOCGWINSZ, &w) == 0 && w.ws_col > 30 ? w.ws_col : 80;
}

static bool ends(const char *s, const char *with) { return kd_str_ends(kd_str_of(s), with); }

static kd_code as_json(kd_cli *cli, const kd_curve *c, kd_err *e) {
    kd_jsonw *w = kd_out_json(cli);
    const kd_eval_line *best = kd_evals_best(&c->evals);
    kd_jsonw_object(w);
    kd_jsonw_key(w, "run"), kd_jsonw_cstr(w, c->name);
    kd_jsonw_key(w, "updates"), kd_jsonw_int(w, (int64_t)c->n);
    kd_jsonw_key(w, "loss_first"), kd_jsonw_double(w, c->at[0].loss);
    kd_jsonw_key(w, "loss_last"), kd_jsonw_double(w, c->at[c->n - 1].loss);
    kd_jsonw_key(w, "tokens"), kd_jsonw_double(w, c->tokens);
    kd_jsonw_key(w, "tokens_per_second"), kd_jsonw_double(w, c->seconds > 0 ? c->tokens / c->seconds : NAN);
    kd_jsonw_key(w, "best_step");
    if (best)
        kd_jsonw_int(w, (int64_t)best->step);
    else
        kd_jsonw_null(w);
    kd_jsonw_key(w, "best_eval_loss"), kd_jsonw_double(w, best ? best->loss : NAN);
    kd_jsonw_key(w, "best_pass@1"), kd_jsonw_double(w, best ? best->pass1 : NAN);
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code draw(kd_cli *cli, const kd_curve *c, size_t n, kd_err *e) {
    const char *file = kd_opt_string(cli, "output");
    size_t window = (size_t)kd_opt_int(cli, "smooth"), longest = 1;
    kd_buf out = {0};
    kd_code code = KD_OK;
    for (size_t i = 0; i < n; i++) longest = c[i].n > longest ? c[i].n : longest;
    if (!window) window = longest / 50 ? longest / 50 : 1;
    for (size_t i = 0; i < n && cli->json && code == KD_OK; i++) code = as_json(cli, &c[i], e);
    if (!file && !cli->json) {
        code = kd_curves_text(&out, c, n, window, columns(), e);
        if (code == KD_OK) code = kd_out_str(cli, kd_buf_view(&out));
    } else if (file && code == KD_OK) {
        code = ends(file, ".svg") ? kd_curves_svg(&out, c, n, window, e) : kd_curves_html(&out, c, n, window, e);
        if (code == KD_OK && !cli->dry_run) code = kd_file_write(file, out.data, out.len, e);
        if (code == KD_OK) kd_note(cli, "%s %s: %zu runs, %zu bytes", cli->dry_run ? "would write" : "wrote", file, n, out.len);
    }
    kd_buf_clear(&out);
    return code;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    const char *file = kd_opt_string(cli, "output");
    if (file && !ends(file, ".svg") && !ends(file, ".html") && !ends(file, ".htm"))
        return kd_fail(e, KD_EINVAL, "curves: -o %s: expected a name that ends in .svg or .html", file);
    kd_curve *c = kd_calloc(cli->n_args, sizeof *c);
    kd_code code = c ? KD_OK : kd_fail(e, KD_ENOMEM, "no memory for curves");
    size_t n = 0;
    while (n < cli->n_args && code == KD_OK) {
        code = kd_curve_read(&c[n], cli->args[n], e);
        if (code == KD_OK) n++;
    }
    if (code == KD_OK) code = draw(cli, c, n, e);
    for (size_t i = 0; i < n; i++) kd_curve_clear(&c[i]);
    kd_free(c);
    return code;
}

const kd_cmd kd_cmd_curves = {.name = "curves",
                              .help = "draw loss, learning rate and evaluations of training runs",
                              .usage = "RUN... [-o FILE.svg|FILE.html]",
                              .about = "RUN is the folder of a run, finished or in the midst of it. Without -o a small plot of the losses "
                                       "is printed. The file needs no network.\n"
                                       "  distill curves run-a run-b -o curves.html",
                              .opts = options,
                              .min_args = 1,
                              .max_args = -1,
                              .run = run};
