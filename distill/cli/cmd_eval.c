/* distill/cli/cmd_eval.c - how often a model is right on questions it never saw, alone and beside its base. Leans on teacher (asks), datasets (judges).
 * The answers are samples of the study like any others, under the settings of this model: an eval that was killed goes on. */
#include "datasets/evaluate.h"
#include "datasets/label.h"
#include "datasets/sandbox.h"
#include "distill/base/clock.h"
#include "distill/cli/cli.h"
#include "distill/cli/sampling_opts.h"
#include "distill/model/source.h"
#include "teacher/teacher.h"

#include <stdio.h>
#include <string.h>

static const kd_opt options[] = {
    {"model", 'm', KD_OPT_PATH, "PATH", NULL, "who answers: a folder, a .gguf, a run", "Model"},
    {"adapter", 0, KD_OPT_PATH, "RUN", NULL, "an adapter on it (run or PEFT folder)", "Model"},
    {"base", 0, KD_OPT_FLAG, NULL, NULL, "ask the model without its adapter too, and compare the two question by question", "Model"},
    {"versus", 0, KD_OPT_PATH, "PATH", NULL, "another model to compare with, in the place of --base", "Model"},
    {"chat-template", 0, KD_OPT_PATH, "FILE", NULL, "a chat template instead of the model's own", "Model"},
    {"split", 0, KD_OPT_STRING, "NAME", "test", "which questions", "Questions"},
    {"limit", 0, KD_OPT_INT, "N", NULL, "only the first N questions", "Questions", .min = 1, .max = 1e15},
    {"samples", 0, KD_OPT_INT, "K", "1", "answers to each question", "Questions", .min = 1, .max = 1e6},
    {"sandbox", 0, KD_OPT_FLAG, NULL, NULL, "run the programs of questions of code, boxed in by bubblewrap", "Questions"},
    {"system", 0, KD_OPT_STRING, "TEXT", NULL, "a system turn, put first where a conversation has none", "Questions"},
    {"temperature", 0, KD_OPT_FLOAT, "T", NULL, "0 is greedy (0 for one sample, 0.7 for more)", "Sampling", .min = 0, .max = 100},
    {"top-p", 0, KD_OPT_FLOAT, "P", NULL, "keep the smallest set with this much probability (0.95)", "Sampling", .min = 0, .max = 1},
    {"top-k", 0, KD_OPT_INT, "K", NULL, "keep the K most likely tokens (0 = all)", "Sampling", .min = 0, .max = 1e6},
    {"min-p", 0, KD_OPT_FLOAT, "P", NULL, "keep tokens with this share of the best one's probability (0)", "Sampling", .min = 0, .max = 1},
    {"max-tokens", 0, KD_OPT_INT, "N", NULL, "length of an answer at most (1024)", "Sampling", .min = 1, .max = 1e9},
    KD_SAMPLING_OPTIONS,
    {"parallel", 0, KD_OPT_INT, "N", "32", "sequences decoded together", "Engine", .min = 1, .max = 4096},
    {"context", 0, KD_OPT_INT, "N", NULL, "positions of a sequence (the model's own)", "Engine", .min = 16, .max = 1e9},
    {"exact", 0, KD_OPT_FLAG, NULL, NULL, "f32 arithmetic instead of 8-bit activations", "Engine"},
    {"kv-type", 0, KD_OPT_ENUM, "f16|q8_0|f32", "f16", "type of keys and values", "Engine"},
    {0}};

/* Programs among the answers under these settings are run. */
static kd_code run_programs(kd_cli *cli, kd_study *s, int64_t settings, const char *split, kd_err *e) {
    char where[80];
    kd_label_opts o = {.select = where, .checks = "code"};
    kd_label_report r = {0};
    kd_select *q = NULL;
    uint64_t programs = 0;
    (void)snprintf(where, sizeof where, "settings = %lld AND task = 'code'", (long long)settings);
    kd_code c = kd_select_open(&q, s, &(kd_select_opts){.select = where, .split = split}, e);
    if (!c) c = kd_select_count(q, &programs, NULL, e);
    kd_select_close(q);
    if (c || !programs) return c;
    if (!kd_opt_flag(cli, "sandbox"))
        return kd_fail(e, KD_EINVAL, "eval: %llu answers are programs: --sandbox runs them, boxed in", (unsigned long long)programs);
    c = kd_sandbox_open(&o.sandbox, NULL, e);
    if (!c && kd_sandbox_missing(o.sandbox)) c = kd_fail(e, KD_EUNSUPPORTED, "eval: no sandbox: %s", kd_sandbox_missing(o.sandbox));
    if (!c) c = kd_cli_pool(cli, &o.pool, e);
    if (!c) c = kd_label_run(s, &o, cli->watch, &r, e);
    kd_sandbox_close(o.sandbox);
    return c;
}

/* One model's answers, there or asked for now, and what they say. */
static kd_code ask(kd_cli *cli, kd_study *s, const char *model, const char *adapter, bool base, kd_eval *v, kd_teach_report *r, kd_err *e) {
    const char *split = kd_opt_string(cli, "split");
    int k = (int)kd_opt_int(cli, "samples");
    kd_teach_opts o = {.temperature = kd_opt_given(cli, "temperature") ? kd_opt_float(cli, "temperature")
                                      : k > 1                          ? 0.7
                                                                       : 0,
                       .top_p = kd_opt_given(cli, "top-p") ? kd_opt_float(cli, "top-p") : -1,
                       .min_p = kd_opt_given(cli, "min-p") ? kd_opt_float(cli, "min-p") : -1,
                       .top_k = kd_opt_given(cli, "top-k") ? kd_opt_int(cli, "top-k") : -1,
                       .max_tokens = kd_opt_given(cli, "max-tokens") ? kd_opt_int(cli, "max-tokens") : -1,
                       .system = kd_opt_string(cli, "system"),
                       .seed = cli->seed,
                       .work = {.split = split, .limit = (uint64_t)kd_opt_int(cli, "limit"), .samples = k}};
    kd_local_opts l = {.model = model,
                       .adapter = adapter,
                       .no_adapter = base,
                       .chat_template = kd_opt_string(cli, "chat-template"),
                       .threads = cli->threads,
                       .parallel = (size_t)kd_opt_int(cli, "parallel"),
                       .context = (size_t)kd_opt_int(cli, "context"),
                       .memory = cli->memory,
                       .exact = kd_opt_flag(cli, "exact"),
                       .kv = kd_opt_word(cli, "kv-type"),
                       .now = kd_unix_ms() / 1000};
    kd_sampling_shape shape = {0};
    kd_code c = kd_sampling_shape_into(&l, &shape, cli, e);
    if (!c) c = kd_teach_local(s, &o, &l, cli->watch, r, e);
    if (!c && !r->total) c = kd_fail(e, KD_ENOENT, "eval: %s has no questions of the split '%s'", kd_study_path(s), split);
    if (!c) c = run_programs(cli, s, r->settings, split, e);
    if (!c) c = kd_evaluate(v, s, r->settings, split, (uint64_t)kd_opt_int(cli, "limit"), k, NULL, e);
    if (!c && !v->questions)
        c = kd_fail(e, KD_EFORMAT, "eval: none of the %llu questions of the split '%s' has an answer to check against",
                    (unsigned long long)r->total, split);
    kd_sampling_shape_clear(&shape);
    return c;
}

static void put_eval(kd_jsonw *w, const kd_eval *v) {
    kd_jsonw_key(w, "pass@1"), kd_jsonw_double(w, v->pass1);
    kd_jsonw_key(w, "pass@k"), kd_jsonw_double(w, v->passk);
    kd_jsonw_key(w, "cons@k"), kd_jsonw_double(w, v->consk);
    kd_jsonw_key(w, "k"), kd_jsonw_int(w, v->k);
    kd_jsonw_key(w, "n"), kd_jsonw_int(w, (int64_t)v->questions);
    kd_jsonw_key(w, "ci95");
    kd_jsonw_array(w);
    kd_jsonw_double(w, v->ci[0]), kd_jsonw_double(w, v->ci[1]);
    kd_jsonw_end_array(w);
    kd_jsonw_key(w, "right"), kd_jsonw_int(w, (int64_t)v->right);
    kd_jsonw_key(w, "wrong"), kd_jsonw_int(w, (int64_t)v->wrong);
    kd_jsonw_key(w, "unknown"), kd_jsonw_int(w, (int64_t)v->unknown);
    kd_jsonw_key(w, "truncated"), kd_jsonw_int(w, (int64_t)v->truncated);
    kd_jsonw_key(w, "mean_tokens"), kd_jsonw_double(w, v->mean_tokens);
}

static kd_code print_json(kd_cli *cli, const kd_eval *v, const kd_eval *base, const kd_paired *p, const kd_teach_report *r, kd_err *e) {
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    put_eval(w, v);
    kd_jsonw_key(w, "seconds"), kd_jsonw_double(w, r->seconds);
    kd_jsonw_key(w, "completion_tokens"), kd_jsonw_int(w, (int64_t)r->completion_tokens);
    if (base) {
        kd_jsonw_key(w, "base");
        kd_jsonw_object(w);
        put_eval(w, base);
        kd_jsonw_end_object(w);
        kd_jsonw_key(w, "paired");
        kd_jsonw_object(w);
        kd_jsonw_key(w, "difference"), kd_jsonw_double(w, p->difference);
        kd_jsonw_key(w, "ci95");
        kd_jsonw_array(w);
        kd_jsonw_double(w, p->ci[0]), kd_jsonw_double(w, p->ci[1]);
        kd_jsonw_end_array(w);
        kd_jsonw_key(w, "p"), kd_jsonw_double(w, p->p);
        kd_jsonw_key(w, "better"), kd_jsonw_int(w, (int64_t)p->better);
        kd_jsonw_key(w, "worse"), kd_jsonw_int(w, (int64_t)p->worse);
        kd_jsonw_key(w, "n"), kd_jsonw_int(w, (int64_t)p->questions);
        kd_jsonw_end_object(w);
    }
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code print_row(kd_cli *cli, const char *who, const kd_eval *v) {
    kd_code c = kd_out(cli, "%-8s pass@1 %5.1f %% [%.1f, %.1f]", who, 100 * v->pass1, 100 * v->ci[0], 100 * v->ci[1]);
    if (!c && v->k > 1) c = kd_out(cli, "  pass@%d %5.1f %%  cons@%d %5.1f %%", v->k, 100 * v->passk, v->k, 100 * v->consk);
    return c ? c
             : kd_out(cli, "  of %llu questions; %.0f tokens an answer, %llu cut off\n", (unsigned long long)v->questions, v->mean_tokens,
                      (unsigned long long)v->truncated);
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_study *s;
    kd_eval student = {0}, base = {0};
    kd_teach_report r = {0}, rb = {0};
    kd_paired p = {0};
    const char *model = kd_opt_string(cli, "model"), *versus = kd_opt_string(cli, "versus");
    bool two = kd_opt_flag(cli, "base") || versus;
    if (!model) return kd_fail(e, KD_EINVAL, "eval: --model PATH is needed");
    kd_code c = kd_study_open(&s, cli->args[0], KD_STUDY_WRITE, e);
    if (c) return c;
    if (two) c = ask(cli, s, versus ? versus : model, NULL, !versus, &base, &rb, e);
    if (!c) c = ask(cli, s, model, kd_opt_string(cli, "adapter"), false, &student, &r, e);
    if (!c && two) kd_eval_compare(&p, &base, &student);
    if (!c && cli->json)
        c = print_json(cli, &student, two ? &base : NULL, &p, &r, e);
    else if (!c) {
        if (two) c = print_row(cli, "base", &base);
        if (!c) c = print_row(cli, two ? "student" : "model", &student);
        if (!c && two)
            c = kd_out(cli, "paired   %+.1f points [%.1f, %.1f], p = %.2g; better on %llu, worse on %llu of %llu questions\n",
                       100 * p.difference, 100 * p.ci[0], 100 * p.ci[1], p.p, (unsigned long long)p.better, (unsigned long long)p.worse,
                       (unsigned long long)p.questions);
    }
    kd_eval_clear(&student);
    kd_eval_clear(&base);
    kd_study_close(s);
    return c;
}

const kd_cmd kd_cmd_eval = {
    .name = "eval",
    .help = "accuracy on questions that were not learned: pass@1, pass@k, cons@k",
    .usage = "STUDY --model M [--adapter RUN] --split test --samples K",
    .about = "Intervals are 95 % (Wilson). --base compares with the model without its adapter, question by question (sign-flip test).",
    .opts = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
