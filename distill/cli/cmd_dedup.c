/* distill/cli/cmd_dedup.c - questions that are alike or stand in other files, told beside them. Leans on datasets/dedup.h. */
#include "datasets/dedup.h"
#include "distill/cli/cli.h"

enum { SHOWN = 90 };

typedef struct {
    kd_cli *cli;
    int64_t shown, most;
} teller;

/* At most SHOWN bytes of the first line, whole characters. */
static int shown_of(kd_str s) {
    size_t n = 0;
    while (n < s.len && n < SHOWN && s.data[n] != '\n') n++;
    while (n && n < s.len && ((unsigned char)s.data[n] & 0xc0) == 0x80) n--;
    return (int)n;
}

static void pair(void *ctx, const char *kind, int64_t prompt, kd_str text, const char *file, int64_t other, kd_str other_text,
                 double share) {
    teller *t = ctx;
    if (t->cli->json || t->shown++ >= t->most) return;
    (void)kd_out(t->cli, "%s %.2f\n  prompt %lld: %.*s\n", kind, share, (long long)prompt, shown_of(text), text.data);
    if (file)
        (void)kd_out(t->cli, "  %s:%lld: %.*s\n", file, (long long)other, shown_of(other_text), other_text.data);
    else
        (void)kd_out(t->cli, "  prompt %lld: %.*s\n", (long long)other, shown_of(other_text), other_text.data);
}

static kd_code tell(kd_cli *cli, const kd_dedup_report *r, kd_err *e) {
    if (!cli->json) {
        kd_code rc = kd_out(cli, "%llu questions: %llu say the words of one before, %llu more are alike (%llu pairs compared)\n",
                            (unsigned long long)r->prompts, (unsigned long long)r->exact, (unsigned long long)r->near,
                            (unsigned long long)r->compared);
        if (!rc && r->against)
            rc = kd_out(cli, "%llu share eight words in a row with the %llu questions of the files, %llu are taken from them\n",
                        (unsigned long long)r->touched, (unsigned long long)r->against, (unsigned long long)r->contaminated);
        return rc;
    }
    const struct {
        const char *key;
        uint64_t v;
    } list[] = {{"prompts", r->prompts},          {"exact", r->exact},     {"near", r->near},
                {"compared", r->compared},        {"against", r->against}, {"touched", r->touched},
                {"contaminated", r->contaminated}};
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        kd_jsonw_key(w, list[i].key);
        kd_jsonw_int(w, (int64_t)list[i].v);
    }
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_study *s = NULL;
    kd_dedup_report r = {0};
    teller t = {cli, 0, kd_opt_int(cli, "show")};
    kd_dedup_opts o = {.threshold = kd_opt_float(cli, "threshold"), .pair = pair, .ctx = &t};
    o.n_against = kd_opt_strings(cli, "against", &o.against);
    kd_code rc = kd_study_open(&s, cli->args[0], cli->dry_run ? KD_STUDY_READ : KD_STUDY_WRITE, e);
    if (!rc && cli->dry_run) {
        kd_prompts *p = NULL;
        rc = kd_prompts_open(&p, s, NULL, 0, &r.prompts, e);
        kd_prompts_close(p);
        if (!rc) rc = kd_out(cli, "%llu questions to look at\n", (unsigned long long)r.prompts);
    } else if (!rc) {
        rc = kd_cli_pool(cli, &o.pool, e);
        if (!rc && !(rc = kd_dedup_run(s, &o, cli->watch, &r, e))) rc = tell(cli, &r, e);
        if (r.bad) kd_warn(cli, "--against: %llu rows could not be read", (unsigned long long)r.bad);
    }
    kd_study_close(s);
    return rc;
}

static const kd_opt options[] = {{"threshold", 0, KD_OPT_FLOAT, "X", "0.8",
                                  "two questions are alike at this Jaccard of their runs of five words", "Questions", .min = 0.3, .max = 1},
                                 {"against", 0, KD_OPT_STRINGS, "FILE", NULL,
                                  "questions that the study must not hold, such as those of a benchmark", "Questions"},
                                 {"show", 0, KD_OPT_INT, "N", "10", "pairs shown", "Questions", .min = 0, .max = 1e9},
                                 {0}};

const kd_cmd kd_cmd_dedup = {
    .name = "dedup",
    .help = "questions that are alike or stand in other files",
    .usage = "STUDY",
    .about = "Deletes nothing. Writes beside the questions duplicate_of (the first question like it) and, with --against, contaminated (0 "
             "to 1: how\n"
             "much of the shorter of two questions is one run of the same words). Both are columns of every --select:\n\n"
             "  distill dedup my.study --against gsm8k-test.jsonl\n"
             "  distill export my.study clean.jsonl --select \"duplicate_of is null and coalesce(contaminated, 0) < 0.5\"\n",
    .opts = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
