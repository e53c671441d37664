/* distill/cli/cmd_merge.c - studies made on several machines, joined. Leans on datasets/merge.h. */
#include "datasets/merge.h"
#include "distill/cli/cli.h"

static kd_code report(kd_cli *cli, const char *src, const kd_merge_report *r, kd_err *e) {
    if (!cli->json) {
        kd_note(cli, "%s: %llu of %llu questions new, %llu of %llu answers, %llu of %llu attempts, %llu labels", src,
                (unsigned long long)r->prompts_new, (unsigned long long)r->prompts, (unsigned long long)r->samples_new,
                (unsigned long long)r->samples, (unsigned long long)r->attempts_new, (unsigned long long)r->attempts,
                (unsigned long long)r->labels_new);
        if (r->conflicts || r->prompts_differ || r->labels_differ)
            kd_warn(cli,
                    "%s: %llu answers stood under a number that is taken by another, both are kept; %llu questions and %llu labels differ, "
                    "what stood here stays",
                    src, (unsigned long long)r->conflicts, (unsigned long long)r->prompts_differ, (unsigned long long)r->labels_differ);
        return KD_OK;
    }
    const struct {
        const char *key;
        uint64_t v;
    } n[] = {{"prompts", r->prompts},
             {"prompts_new", r->prompts_new},
             {"prompts_differ", r->prompts_differ},
             {"samples", r->samples},
             {"samples_new", r->samples_new},
             {"conflicts", r->conflicts},
             {"attempts", r->attempts},
             {"attempts_new", r->attempts_new},
             {"labels_new", r->labels_new},
             {"labels_differ", r->labels_differ},
             {"runs_new", r->runs_new}};
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    kd_jsonw_key(w, "source"), kd_jsonw_cstr(w, src);
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) kd_jsonw_key(w, n[i].key), kd_jsonw_int(w, (int64_t)n[i].v);
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code plan(kd_cli *cli, kd_err *e) {
    for (size_t i = 1; i < cli->n_args; i++) {
        kd_study *s;
        kd_work_state n;
        kd_spend spend;
        kd_code c = kd_study_open(&s, cli->args[i], KD_STUDY_READ, e);
        if (c) return c;
        c = kd_work_plan(s, 0, &(kd_work_opts){0}, &n, e);
        if (!c) c = kd_study_spend(s, 0, &spend, e);
        kd_study_close(s);
        if (!c)
            c = kd_out(cli, "%s: %llu questions, %llu answers, %llu attempts to look at\n", cli->args[i], (unsigned long long)n.total,
                       (unsigned long long)spend.samples, (unsigned long long)spend.attempts);
        if (c) return c;
    }
    return KD_OK;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_study *dst;
    if (cli->dry_run) return plan(cli, e);
    kd_code c = kd_study_open(&dst, cli->args[0], KD_STUDY_CREATE, e);
    if (c) return c;
    for (size_t i = 1; i < cli->n_args && !c; i++) {
        kd_merge_report r;
        c = kd_study_merge(dst, cli->args[i], cli->watch, &r, e);
        if (!c) c = report(cli, cli->args[i], &r, e);
    }
    kd_study_close(dst);
    return c;
}

static const kd_opt options[] = {{0}};

const kd_cmd kd_cmd_merge = {
    .name = "merge",
    .help = "join studies made on several machines",
    .usage = "DST SRC...",
    .about = "Takes over what DST lacks: questions by content, answers by question, settings, number and what they say, attempts, labels, "
             "runs. Nothing comes\n"
             "twice, so a merge that was cut short is run again. Two different answers under one number are both kept, and told. DST is "
             "made if absent.",
    .opts = options,
    .min_args = 2,
    .max_args = -1,
    .run = run,
};
