/* distill/cli/train_say.c - see train_job.h: the plan before the first update, and what came of the last. */
#include "distill/cli/train_job.h"

#include "distill/base/clock.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

/* What packing saves: tokens of every update of one time through, beside what padding to the longest would make of them. */
static kd_code packing(const kd_train_job *j, size_t *rows, size_t *padded, kd_err *e) {
    kd_order order = {0};
    const size_t B = j->o.batch_size;
    *rows = *padded = 0;
    kd_code code = j->o.mix.sources ? kd_order_mix(&order, &j->o.mix, !j->o.no_shuffle, j->o.seed, e)
                                    : kd_order_init(&order, j->lessons.n, !j->o.no_shuffle, j->o.seed, e);
    for (size_t at = 0; at < j->lessons.n && code == KD_OK; at += B) {
        size_t longest = 0;
        for (size_t i = at; i < at + B; i++) {
            const kd_lesson *l = &j->lessons.at[kd_order_at(&order, i)];
            longest = l->n > longest ? l->n : longest;
            *rows += kd_lesson_rows(l);
        }
        *padded += longest * B;
    }
    kd_order_clear(&order);
    return code;
}

/* Lines of the plan about data: sources, packing, evaluations, what is installed. */
static kd_code say_sources(const kd_train_job *j, kd_buf *out) {
    kd_code code = KD_OK;
    size_t rows, padded;
    double sum = 0;
    for (size_t i = 0; i < j->data.parts; i++) sum += j->data.part[i].weight;
    for (size_t i = 0; i < j->data.parts && j->data.parts > 1 && code == KD_OK; i++) {
        const kd_train_part *p = &j->data.part[i];
        code = kd_buf_printf(out, "\n  %-24s %zu lessons, %zu tokens to learn", p->name, p->lessons, p->loss_tokens);
        if (code == KD_OK && p->weight > 0) code = kd_buf_printf(out, ", %.0f %% of the lessons drawn", 100 * p->weight / sum);
    }
    if (code == KD_OK && packing(j, &rows, &padded, NULL) == KD_OK && padded)
        code = kd_buf_printf(
            out,
            "\npacked end to end: %zu rows a time through, none of them padding; padded to the longest they would be %zu (%.0f %% waste)",
            rows, padded, 100 * (1 - (double)rows / (double)padded));
    if (code == KD_OK && j->ext)
        code = kd_buf_printf(out, "\ninstalled: %u new tokens, %s chat template, %s end of turn; base written to %s/base", j->ext->n,
                             j->ext->has_template ? "a" : "the model's own", j->ext->eos >= 0 ? "an" : "the model's own",
                             kd_opt_string(j->cli, "output"));
    if (code == KD_OK && j->eval) {
        code = kd_buf_puts(out, "\nevaluated on ");
        if (code == KD_OK) code = kd_train_eval_text(out, j->eval);
    }
    return code;
}

kd_code kd_train_show_lessons(kd_train_job *j, kd_err *e) {
    const kd_tokenizer *t = j->ext ? j->ext->tokenizer : j->tokenizer;
    kd_code code = KD_OK;
    if (!t || j->cli->quiet || j->cli->json || (!j->cli->verbose && !isatty(2))) return KD_OK;
    for (size_t i = 0, first = 0; i < j->data.parts && code == KD_OK; first += j->data.part[i++].lessons)
        code = kd_lesson_show(j->cli, &j->lessons.at[first], t, e);
    return code;
}

kd_code kd_train_say_plan(kd_train_job *j, kd_err *e) {
    kd_cli *cli = j->cli;
    if (cli->json && !cli->dry_run) return KD_OK;
    if (cli->json) {
        size_t rows, padded;
        kd_code measured = packing(j, &rows, &padded, e);
        if (measured != KD_OK) return measured;
        kd_jsonw *w = kd_out_json(cli);
        kd_jsonw_object(w);
        for (int k = 0; k < KD_MEM_KINDS; k++) {
            kd_jsonw_key(w, kd_mem_name((kd_mem_kind)k));
            kd_jsonw_int(w, (int64_t)j->plan.bytes[k]);
        }
        const struct {
            const char *key;
            uint64_t value;
        } more[] = {{"total", j->plan.total},
                    {"limit", j->plan.limit},
                    {"rows", j->plan.shape.rows},
                    {"recompute", j->plan.shape.recompute},
                    {"trained_parameters", j->plan.trained},
                    {"updates", j->plan.steps},
                    {"lessons", j->lessons.n},
                    {"tokens", j->data.tokens},
                    {"loss_tokens", j->data.loss_tokens},
                    {"rows_to_compute", rows},
                    {"padded_tokens", padded},
                    {"dropped", j->data.dropped},
                    {"cut", j->data.cut},
                    {"empty", j->data.empty},
                    {"new_tokens", j->ext ? j->ext->n : 0}};
        for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
            kd_jsonw_key(w, more[i].key);
            kd_jsonw_int(w, (int64_t)more[i].value);
        }
        kd_jsonw_end_object(w);
        return kd_out_json_end(cli, e);
    }
    kd_buf text = {0};
    kd_code code = kd_buf_printf(&text, "%zu lessons, %zu tokens, %zu to learn", j->lessons.n, j->data.tokens, j->data.loss_tokens);
    if (code == KD_OK && j->data.dropped) code = kd_buf_printf(&text, "; %zu too long, left out", j->data.dropped);
    if (code == KD_OK && j->data.cut) code = kd_buf_printf(&text, "; %zu too long, cut by %zu tokens", j->data.cut, j->data.cut_tokens);
    if (code == KD_OK && j->data.empty) code = kd_buf_printf(&text, "; %zu with nothing to learn, left out", j->data.empty);
    if (code == KD_OK) code = say_sources(j, &text);
    if (code == KD_OK) code = kd_buf_puts(&text, "\nmemory:\n");
    if (code == KD_OK) code = kd_train_plan_text(&text, &j->plan, &j->m->config);
    if (code != KD_OK)
        code = kd_fail(e, KD_ENOMEM, "no memory for the plan");
    else if (cli->dry_run)
        code = kd_out_str(cli, kd_buf_view(&text));
    else
        kd_note(cli, "%.*s", (int)text.len - 1, text.data);
    kd_buf_clear(&text);
    return code;
}

/* What was gained and what forgotten. */
static void say_evals(kd_train_job *j, const kd_run_report *r) {
    const kd_eval_line *a = &r->before, *b = &r->after;
    if (!isnan(a->loss) && !isnan(b->loss)) kd_note(j->cli, "held-out loss %.4f -> %.4f", a->loss, b->loss);
    if (!isnan(a->pass1) && !isnan(b->pass1))
        kd_note(j->cli, "pass@1 %.1f %% -> %.1f %% of %llu questions", 100 * a->pass1, 100 * b->pass1, (unsigned long long)b->questions);
    if (!isnan(a->general) && !isnan(b->general))
        kd_note(j->cli, "general text %.4f -> %.4f nats a token: %s", a->general, b->general,
                b->general > a->general ? "so much was forgotten" : "nothing was forgotten");
    if (r->stopped_early)
        kd_note(j->cli, "stopped at update %llu: no better evaluation in %lld", (unsigned long long)r->steps,
                (long long)kd_opt_int(j->cli, "patience"));
    if (r->result_step != r->steps)
        kd_note(j->cli, "the result is of update %llu, the best evaluation", (unsigned long long)r->result_step);
}

static void put_eval(kd_jsonw *w, const char *key, const kd_eval_line *l) {
    kd_jsonw_key(w, key);
    kd_jsonw_object(w);
    kd_jsonw_key(w, "eval_loss"), kd_jsonw_double(w, l->loss);
    kd_jsonw_key(w, "general_loss"), kd_jsonw_double(w, l->general);
    kd_jsonw_key(w, "pass@1"), kd_jsonw_double(w, l->pass1);
    kd_jsonw_end_object(w);
}

kd_code kd_train_say_result(kd_train_job *j, const kd_run_report *r, kd_err *e) {
    kd_cli *cli = j->cli;
    const char *dir = kd_opt_string(cli, "output");
    const double rate = r->seconds > 0 ? (double)r->tokens / r->seconds : 0;
    if (!cli->json) {
        if (r->first == r->steps)
            kd_note(cli, "%s was trained already: %llu updates", dir, (unsigned long long)r->steps);
        else
            kd_note(cli, "%llu updates, loss %.4f -> %.4f, %.0f tokens/s, %.0f GFLOPS, peak %.0f MB (planned %.0f)",
                    (unsigned long long)(r->steps - r->first), r->loss_first, r->loss_last, rate,
                    r->seconds > 0 ? r->flops / r->seconds / 1e9 : 0, (double)kd_peak_rss() / 1e6, (double)j->plan.total / 1e6);
        say_evals(j, r);
        return kd_out(cli, "%s\n", dir);
    }
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    kd_jsonw_key(w, "run");
    kd_jsonw_cstr(w, dir);
    kd_jsonw_key(w, "updates");
    kd_jsonw_int(w, (int64_t)r->steps);
    kd_jsonw_key(w, "resumed_from");
    kd_jsonw_int(w, (int64_t)r->first);
    kd_jsonw_key(w, "loss_first");
    kd_jsonw_double(w, r->loss_first);
    kd_jsonw_key(w, "loss_last");
    kd_jsonw_double(w, r->loss_last);
    kd_jsonw_key(w, "tokens_per_second");
    kd_jsonw_double(w, rate);
    kd_jsonw_key(w, "flops_per_second");
    kd_jsonw_double(w, r->seconds > 0 ? r->flops / r->seconds : 0);
    kd_jsonw_key(w, "padded_tokens_per_second");
    kd_jsonw_double(w, r->seconds > 0 ? (double)r->padded / r->seconds : 0);
    kd_jsonw_key(w, "result_step");
    kd_jsonw_int(w, (int64_t)r->result_step);
    kd_jsonw_key(w, "stopped_early");
    kd_jsonw_bool(w, r->stopped_early);
    if (j->eval) put_eval(w, "before", &r->before), put_eval(w, "after", &r->after);
    kd_jsonw_key(w, "planned_bytes");
    kd_jsonw_int(w, (int64_t)j->plan.total);
    kd_jsonw_key(w, "peak_rss_bytes");
    kd_jsonw_int(w, (int64_t)kd_peak_rss());
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}
