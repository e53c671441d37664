/* distill/cli/cmd_demo.c - the whole pipe on questions of our own making: each step is the command a user would type, run as a process of its own.
 * What a step printed with --json is kept in OUT/report/STEP.json; a step that has it is not run again, one that was cut off goes on. Leans on
 * datasets/problems.h. */
#include "datasets/problems.h"
#include "distill/base/clock.h"
#include "distill/base/file.h"
#include "distill/cli/cli.h"
#include "distill/model/source.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const kd_opt options[] = {
    {"model", 'm', KD_OPT_PATH, "PATH", NULL, "the student: a folder or a .gguf", "Models"},
    {"teacher", 0, KD_OPT_STRING, "PATH|URL", NULL, "who answers the questions; the student itself unless given", "Models"},
    {"teacher-model", 0, KD_OPT_STRING, "NAME", NULL, "the model's name at that URL", "Models"},
    {"questions", 0, KD_OPT_INT, "N", "300", "train questions", "Sizes", .min = 12, .max = 100000},
    {"samples", 0, KD_OPT_INT, "K", "8", "answers to each", "Sizes", .min = 1, .max = 1000},
    {"test-questions", 0, KD_OPT_INT, "N", "240", "questions of the forms that training sees", "Sizes", .min = 12, .max = 100000},
    {"form-questions", 0, KD_OPT_INT, "N", "60", "questions of the three forms that it does not see", "Sizes", .min = 3, .max = 100000},
    {"max-tokens", 0, KD_OPT_INT, "N", "96", "length of an answer at most", "Sizes", .min = 16, .max = 100000},
    {"learning-rate", 0, KD_OPT_FLOAT, "LR", "5e-4", "of the adapter", "Training", .min = 1e-9, .max = 1},
    {"epochs", 0, KD_OPT_FLOAT, "N", "3", "times through the kept answers", "Training", .min = 0.01, .max = 1000},
    {"type", 't', KD_OPT_STRING, "TYPE", "q8_0", "of the exported model", "Export"},
    {0}};

enum { MAX_ARGS = 40 };
typedef struct {
    kd_cli *cli;
    const char *dir;
    char self[4096], study[4096], run[4096], out[4096], report[4096], text[32][64];
    size_t texts;
} demo;

/* A number as an argument, kept until the end. */
static const char *number(demo *d, double v) {
    char *s = d->text[d->texts++ % 32];
    snprintf(s, 64, "%.12g", v);
    return s;
}

static kd_code path_of(demo *d, char out[4096], const char *name, kd_err *e) {
    int n = snprintf(out, 4096, "%s/%s", d->dir, name);
    return n > 0 && n < 4096 ? KD_OK : kd_fail(e, KD_EINVAL, "demo: %s: a path too long", d->dir);
}

/* Signals reach the child as they reach us (one process group); we wait for it to save. */
static kd_code wait_for(pid_t pid, const char *step, kd_err *e) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return kd_fail_errno(e, KD_EBUG, errno, "demo: %s", step);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return KD_OK;
    if (WIFEXITED(status) && (WEXITSTATUS(status) == 130 || WEXITSTATUS(status) == 143))
        return kd_fail(e, WEXITSTATUS(status) == 130 ? KD_EINTERRUPT : KD_ETERMINATE, "demo: %s was stopped; the same command goes on",
                       step);
    if (WIFSIGNALED(status))
        return kd_fail(e, KD_ELIMIT, "demo: %s was killed by signal %d; the same command goes on", step, WTERMSIG(status));
    return kd_fail(e, WEXITSTATUS(status) == 75 ? KD_ELIMIT : KD_EFORMAT, "demo: %s ended with exit status %d", step, WEXITSTATUS(status));
}

/* Runs distill with args (NULL-terminated), standard output into OUT/report/STEP.json, unless that is there already. */
static kd_code step(demo *d, const char *name, const char *const *args, kd_err *e) {
    char json[4200], part[4200];
    const char *argv[MAX_ARGS + 3] = {d->self};
    int n = 1;
    snprintf(json, sizeof json, "%s/%s.json", d->report, name);
    snprintf(part, sizeof part, "%s/%s.part", d->report, name);
    if (kd_file_exists(json)) return KD_OK;
    bool resumed = kd_file_exists(part);
    for (; *args; args++) argv[n++] = *args;
    argv[n++] = "--json";
    kd_note(d->cli, "== %s%s", name, resumed ? " (goes on)" : "");
    posix_spawn_file_actions_t io;
    pid_t pid;
    posix_spawn_file_actions_init(&io);
    posix_spawn_file_actions_addopen(&io, 1, part, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    double began = kd_now();
    int rc = posix_spawn(&pid, d->self, &io, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&io);
    if (rc) return kd_fail_errno(e, KD_EBUG, rc, "demo: %s", d->self);
    kd_code c = wait_for(pid, name, e);
    kd_buf text = {0};
    if (c) return c;
    if (!(c = kd_file_read(&text, part, 1 << 24, e))) {
        kd_buf whole = {0};
        while (text.len && text.data[text.len - 1] == '\n') text.len--;
        if (text.len) text.data[text.len] = 0;
        c = kd_buf_printf(&whole, "{\"step_seconds\":%.3f,\"resumed\":%s,\"result\":%s}\n", kd_now() - began, resumed ? "true" : "false",
                          text.len ? text.data : "null");
        c = c ? kd_fail(e, c, "demo: out of memory") : kd_file_write(json, whole.data, whole.len, e);
        kd_buf_clear(&whole);
    }
    kd_buf_clear(&text);
    if (!c) remove(part);
    return c;
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static kd_code import_all(demo *d, kd_err *e) {
    static const char *const splits[] = {"train", "dev", "test", "forms"};
    kd_code c = KD_OK;
    for (int i = 0; !c && i < 4; i++) {
        char name[64], file[4200];
        snprintf(name, sizeof name, "1-import-%s", splits[i]);
        snprintf(file, sizeof file, "%s/questions/%s.jsonl", d->dir, splits[i]);
        c = step(d, name, ARGS("import", d->study, file, "--split", splits[i], "--task", "math"), e);
    }
    return c;
}

static kd_code pipe_of(demo *d, kd_err *e) {
    kd_cli *cli = d->cli;
    const char *model = kd_opt_string(cli, "model"), *teacher = kd_opt_string(cli, "teacher"), *name = kd_opt_string(cli, "teacher-model");
    const char *max = number(d, (double)kd_opt_int(cli, "max-tokens")), *threads = number(d, cli->threads),
               *seed = number(d, (double)cli->seed);
    char test_rows[4200];
    snprintf(test_rows, sizeof test_rows, "%s/test-answers.jsonl", d->dir);
    kd_code c = import_all(d, e);
    if (!c)
        c = step(d, "2-generate",
                 ARGS("generate", d->study, "--teacher", teacher ? teacher : model, "--split", "train", "--samples",
                      number(d, (double)kd_opt_int(cli, "samples")), "--max-tokens", max, "--temperature", "0.6", "--threads", threads,
                      "--seed", seed, name ? "--teacher-model" : NULL, name),
                 e);
    if (!c) c = step(d, "3-label", ARGS("label", d->study), e);
    if (!c) c = step(d, "4-stats", ARGS("stats", d->study), e);
    if (!c)
        c = step(d, "5-train",
                 ARGS("train", d->study, "--model", model, "-o", d->run, "--learning-rate", number(d, kd_opt_float(cli, "learning-rate")),
                      "--epochs", number(d, kd_opt_float(cli, "epochs")), "--batch-size", "16", "--schedule", "linear", "--warmup-ratio",
                      "0.05", "--threads", threads, "--seed", seed),
                 e);
    if (!c)
        c = step(d, "6-eval-test",
                 ARGS("eval", d->study, "--model", d->run, "--base", "--split", "test", "--max-tokens", max, "--threads", threads, "--seed",
                      seed),
                 e);
    if (!c)
        c = step(d, "6-eval-forms",
                 ARGS("eval", d->study, "--model", d->run, "--base", "--split", "forms", "--max-tokens", max, "--threads", threads,
                      "--seed", seed),
                 e);
    if (!c) c = step(d, "7-convert", ARGS("convert", d->run, d->out, "--type", kd_opt_string(cli, "type"), "--threads", threads), e);
    if (!c)
        c = step(d, "8-export-test-answers", ARGS("export", d->study, test_rows, "--format", "messages", "--select", "split = 'test'"), e);
    if (!c) c = step(d, "9-compare", ARGS("compare", d->run, d->out, "--data", test_rows, "--limit", "4096", "--threads", threads), e);
    return c;
}

/* ---- the table ---- */
static kd_json *load(const demo *d, const char *name) {
    char path[4200];
    kd_buf text = {0};
    kd_json *doc = NULL;
    snprintf(path, sizeof path, "%s/%s.json", d->report, name);
    if (!kd_file_read(&text, path, 1 << 24, NULL)) (void)kd_json_parse(&doc, text.data, text.len, path, NULL);
    kd_buf_clear(&text);
    return doc;
}

static const kd_json_node *result(const kd_json *doc) { return doc ? kd_json_get(kd_json_root(doc), "result") : NULL; }
static double num(const kd_json_node *o, const char *key) { return kd_json_number(kd_json_get(o, key), 0); }
static double pair(const kd_json_node *o, const char *key, int i) {
    const kd_json_node *n = kd_json_first(kd_json_get(o, key));
    return kd_json_number(i ? kd_json_next(n) : n, 0);
}

static void eval_rows(demo *d, const char *file, const char *what) {
    kd_json *doc = load(d, file);
    const kd_json_node *s = result(doc), *b = kd_json_get(s, "base"), *p = kd_json_get(s, "paired");
    (void)kd_out(d->cli, "%-22s base    %5.1f %% [%4.1f, %4.1f]   student %5.1f %% [%4.1f, %4.1f]   of %.0f\n", what,
                 100 * num(b, "pass@1"), 100 * pair(b, "ci95", 0), 100 * pair(b, "ci95", 1), 100 * num(s, "pass@1"),
                 100 * pair(s, "ci95", 0), 100 * pair(s, "ci95", 1), num(s, "n"));
    double difference = num(p, "difference"), pv = num(p, "p");
    (void)kd_out(d->cli, "%-22s %+.1f points [%.1f, %.1f], p = %.2g: %s\n", "", 100 * difference, 100 * pair(p, "ci95", 0),
                 100 * pair(p, "ci95", 1), pv,
                 pv >= 0.05       ? "no difference shown"
                 : difference > 0 ? "the student is better"
                                  : "the student is worse");
    kd_json_free(doc);
}

static void funnel_rows(demo *d) {
    kd_json *doc = load(d, "4-stats");
    const kd_json_node *s = result(doc);
    for (const kd_json_node *n = kd_json_first(kd_json_get(s, "funnel")); n; n = kd_json_next(n))
        (void)kd_out(d->cli, "  %-28s %6.0f left   (%.0f fail it alone)\n", kd_json_string(kd_json_get(n, "step")).data, num(n, "left"),
                     num(n, "fails_alone"));
    kd_json_free(doc);
}

static void stage_row(demo *d, const char *file, const char *what, const char *rate, const char *unit) {
    kd_json *doc = load(d, file);
    const kd_json_node *o = doc ? kd_json_root(doc) : NULL;
    char t[32];
    (void)kd_out(d->cli, "  %-10s %10s", what, kd_human_time(num(o, "step_seconds"), t));
    if (rate) (void)kd_out(d->cli, "   %8.0f %s", num(result(doc), rate), unit);
    (void)kd_out(d->cli, "%s\n",
                 kd_json_bool(kd_json_get(o, "resumed"), false) ? "   (went on after a stop: the time of its last part)" : "");
    kd_json_free(doc);
}

static uint64_t size_of(const char *path) {
    uint64_t n = 0, part;
    char **names;
    size_t count;
    if (!kd_is_dir(path)) return kd_file_size(path, &n, NULL) ? 0 : n;
    if (kd_list_dir(path, &names, &count, NULL)) return 0;
    for (size_t i = 0; i < count; i++) {
        char *p = kd_path_join(path, names[i]);
        if (p && !kd_is_dir(p) && !kd_file_size(p, &part, NULL)) n += part;
        kd_free(p);
    }
    kd_names_free(names, count);
    return n;
}

static void table(demo *d) {
    char a[32], b[32], c[32], adapter[4200];
    kd_cli *cli = d->cli;
    (void)kd_out(cli, "\nAccuracy on questions that training did not see (greedy, 95 %% intervals)\n");
    eval_rows(d, "6-eval-test", "known forms");
    eval_rows(d, "6-eval-forms", "forms never trained on");
    (void)kd_out(cli, "\nAnswers of the teacher, and what was kept\n");
    funnel_rows(d);
    (void)kd_out(cli, "\nStages\n");
    stage_row(d, "2-generate", "generate", "tokens_per_second", "tokens/s");
    stage_row(d, "3-label", "label", NULL, NULL);
    stage_row(d, "5-train", "train", "tokens_per_second", "tokens/s");
    stage_row(d, "6-eval-test", "eval", NULL, NULL);
    stage_row(d, "6-eval-forms", "eval forms", NULL, NULL);
    stage_row(d, "7-convert", "convert", NULL, NULL);
    stage_row(d, "9-compare", "compare", NULL, NULL);
    snprintf(adapter, sizeof adapter, "%s/adapter", d->run);
    (void)kd_out(cli, "\nSizes       model %s, adapter %s, %s %s\n", kd_human_bytes(size_of(kd_opt_string(cli, "model")), a),
                 kd_human_bytes(size_of(adapter), b), d->out, kd_human_bytes(size_of(d->out), c));
    kd_json *doc = load(d, "9-compare");
    const kd_json_node *r = result(doc);
    (void)kd_out(cli, "Price       of %s: KL mean %.5f, 99 %% %.4f nats; top-1 the same %.2f %%; perplexity %.4f -> %.4f\n",
                 kd_opt_string(cli, "type"), num(r, "kl_mean"), num(r, "kl_p99"), 100 * num(r, "top1"), num(r, "ppl_a"), num(r, "ppl_b"));
    kd_json_free(doc);
}

/* The settings of a demo folder: another demo's answers must not be told as this one's. */
static kd_code same_settings(demo *d, kd_err *e) {
    char path[4200];
    kd_buf now = {0}, then = {0};
    snprintf(path, sizeof path, "%s/settings.yaml", d->dir);
    kd_code c = kd_cli_config_yaml(d->cli, &now);
    if (c)
        c = kd_fail(e, c, "demo: out of memory");
    else if (!kd_file_exists(path))
        c = kd_file_write(path, now.data, now.len, e);
    else if (!(c = kd_file_read(&then, path, 1 << 20, e)) && (then.len != now.len || memcmp(then.data, now.data, now.len)))
        c = kd_fail(e, KD_EINVAL, "demo: %s was begun with other settings (%s); give another folder, or those settings", d->dir, path);
    kd_buf_clear(&now);
    kd_buf_clear(&then);
    return c;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    demo *d = kd_calloc(1, sizeof *d);
    char questions[4096], type[64];
    if (!d) return kd_fail(e, KD_ENOMEM, "demo: out of memory");
    d->cli = cli, d->dir = cli->n_args ? cli->args[0] : "demo";
    ssize_t n = readlink("/proc/self/exe", d->self, sizeof d->self - 1);
    kd_code c = n > 0 ? KD_OK : kd_fail_errno(e, KD_EBUG, errno, "demo: /proc/self/exe");
    if (!c && !kd_opt_string(cli, "model")) c = kd_fail(e, KD_EINVAL, "demo: --model PATH is needed (make demo fetches one)");
    snprintf(type, sizeof type, "student-%.40s.gguf", kd_opt_string(cli, "type"));
    if (!c && !(c = path_of(d, d->study, "study.db", e)) && !(c = path_of(d, d->run, "run", e)) &&
        !(c = path_of(d, d->report, "report", e)) && !(c = path_of(d, questions, "questions", e)))
        c = path_of(d, d->out, type, e);
    if (!c && cli->dry_run) {
        kd_free(d);
        return kd_out(cli,
                      "12 steps into %s: import, generate, label, stats, train, eval twice, convert, export, compare; nothing was run\n",
                      cli->n_args ? cli->args[0] : "demo");
    }
    if (!c) c = kd_mkdirs(d->report, e);
    if (!c) c = same_settings(d, e);
    if (!c && !kd_is_dir(questions))
        c = kd_problems_write(questions,
                              &(kd_problem_counts){.train = (size_t)kd_opt_int(cli, "questions"),
                                                   .dev = 120,
                                                   .test = (size_t)kd_opt_int(cli, "test-questions"),
                                                   .forms = (size_t)kd_opt_int(cli, "form-questions")},
                              cli->seed + 1, NULL, e);
    if (!c) c = pipe_of(d, e);
    if (!c) table(d);
    kd_free(d);
    return c;
}

const kd_cmd kd_cmd_demo = {
    .name = "demo",
    .help = "the whole pipe on a real model and questions of our own making",
    .usage = "--model PATH [DIR]",
    .about = "Writes arithmetic questions, samples the teacher (the model itself unless --teacher names a better one), keeps the right "
             "answers, trains an\n"
             "adapter, asks base and student questions that neither saw, exports, compares, and prints a table. Killed anywhere, the same "
             "command goes on.",
    .opts = options,
    .min_args = 0,
    .max_args = 1,
    .run = run,
};
