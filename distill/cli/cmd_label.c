/* distill/cli/cmd_label.c - judge the answers of a study. Leans on datasets/label.h. */
#include "datasets/label.h"
#include "distill/cli/cli.h"
#include "distill/cli/judge.h"
#include "distill/model/tokenizer.h"
#include "teacher/response.h"

static void put(kd_jsonw *w, const char *key, uint64_t v) {
    kd_jsonw_key(w, key);
    kd_jsonw_int(w, (int64_t)v);
}

/* j: of a judge, or NULL. */
static kd_code tell(kd_cli *cli, const kd_label_report *r, const kd_judge_report *j, kd_err *e) {
    kd_code c = KD_OK;
    if (!cli->json) {
        c = kd_out(cli, "%llu samples looked at, %llu labels written; %llu right, %llu wrong, %llu unknown\n",
                   (unsigned long long)r->looked, (unsigned long long)r->written, (unsigned long long)r->right,
                   (unsigned long long)r->wrong, (unsigned long long)r->unknown);
        if (!c && j)
            c = kd_out(cli, "judge: %llu samples, %llu questions new; %llu right, %llu wrong, %llu unknown, %llu without all their votes\n",
                       (unsigned long long)j->looked, (unsigned long long)j->added, (unsigned long long)j->right,
                       (unsigned long long)j->wrong, (unsigned long long)j->unknown, (unsigned long long)j->missing);
        return c;
    }
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    put(w, "samples", r->looked), put(w, "labels", r->written);
    put(w, "right", r->right), put(w, "wrong", r->wrong), put(w, "unknown", r->unknown);
    if (j) {
        kd_jsonw_key(w, "judge");
        kd_jsonw_object(w);
        put(w, "samples", j->looked), put(w, "questions", j->added), put(w, "right", j->right), put(w, "wrong", j->wrong);
        put(w, "unknown", j->unknown), put(w, "missing", j->missing), put(w, "without_gold", j->without);
        kd_jsonw_end_object(w);
    }
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

/* How many samples there are to look at; nothing is judged. */
static kd_code plan(kd_cli *cli, kd_study *s, const char *select, kd_err *e) {
    kd_select *q = NULL;
    kd_label_report r = {0};
    kd_judge_report j = {0};
    const bool judged = kd_opt_string(cli, "judge") != NULL;
    kd_code rc = kd_select_open(&q, s, &(kd_select_opts){.select = select, .any = true}, e);
    if (!rc) rc = kd_select_count(q, &r.looked, NULL, e);
    kd_select_close(q);
    j.looked = r.looked;
    j.missing = r.looked;
    return rc ? rc : tell(cli, &r, judged ? &j : NULL, e);
}

/* ---- --verify ---- */
static void tell_difference(void *ctx, int64_t sample, const char *what, const char *stored, const char *found) {
    kd_warn(ctx, "sample %lld: %s: stored %s, made anew %s", (long long)sample, what, stored, found);
}

/* The texts of a raw body, as the teacher read them. */
static kd_code reread(void *ctx, kd_str body, const char *prefill, kd_reread *out, kd_err *e) {
    kd_response r = {0};
    (void)ctx;
    size_t i = 0;
    while (i < body.len && (body.data[i] == '\n' || body.data[i] == '\r' || body.data[i] == ' ')) i++;
    const kd_str rest = {body.data + i, body.len - i};
    const bool stream =
        kd_str_starts(rest, "data:") || kd_str_starts(rest, "event:") || kd_str_starts(rest, ":") || kd_str_starts(rest, "id:");
    kd_code rc = kd_response_parse(&r, body, stream, 0, e); /* other choices of a body are samples without one */
    if (!rc) rc = kd_response_prefill(&r, prefill, e);
    out->from = r.thought_from;
    if (!rc) {
        out->thought = r.thought;
        out->answer = r.answer;
        r.thought = r.answer = (kd_buf){0};
    }
    kd_response_clear(&r);
    return rc;
}

static kd_code tell_verified(kd_cli *cli, const kd_label_report *r, kd_err *e) {
    kd_code rc = KD_OK;
    if (cli->json) {
        kd_jsonw *w = kd_out_json(cli);
        kd_jsonw_object(w);
        put(w, "samples", r->looked), put(w, "bodies", r->bodies), put(w, "labels", r->compared), put(w, "different", r->differ);
        kd_jsonw_end_object(w);
        rc = kd_out_json_end(cli, e);
    } else {
        rc = kd_out(cli, "%llu samples, %llu raw bodies read again, %llu labels made anew: %llu different\n", (unsigned long long)r->looked,
                    (unsigned long long)r->bodies, (unsigned long long)r->compared, (unsigned long long)r->differ);
    }
    return rc || !r->differ
               ? rc
               : kd_fail(e, KD_ECHECK, "label: %llu labels or texts are not what they are when made anew", (unsigned long long)r->differ);
}

static kd_code label(kd_cli *cli, kd_study *s, kd_label_opts *o, kd_err *e) {
    kd_label_report r = {0};
    kd_judge_report j = {0};
    const bool judged = kd_opt_string(cli, "judge") != NULL;
    if (o->verify) {
        o->reread = reread;
        o->differs = tell_difference;
        o->differs_ctx = cli;
        const kd_code rc = kd_label_run(s, o, cli->watch, &r, e);
        return rc ? rc : tell_verified(cli, &r, e);
    }
    kd_code rc = kd_label_run(s, o, cli->watch, &r, e);
    if (!rc && judged) rc = kd_cli_judge(cli, s, &j, e);
    if (!rc || j.looked) { /* what was had is told even when the judge was not done */
        const kd_code told = tell(cli, &r, judged ? &j : NULL, rc ? NULL : e);
        rc = rc ? rc : told;
    }
    if (!rc && j.missing)
        return kd_fail(e, KD_ELIMIT, "label: %llu samples lack votes that could not be had (distill stats); run it again to ask for them",
                       (unsigned long long)j.missing);
    return rc;
}

static kd_code check_options(const kd_cli *cli, const kd_label_opts *o, kd_err *e) {
    static const char *const of_judge[] = {"judge-model", "judge-prompt", "votes", "budget"};
    if (o->verify && (kd_opt_string(cli, "judge") || o->again || kd_opt_flag(cli, "agreement")))
        return kd_fail(e, KD_EINVAL, "label: --verify writes nothing: not together with --judge, --again or --agreement");
    for (size_t i = 0; i < sizeof of_judge / sizeof *of_judge && !kd_opt_string(cli, "judge"); i++)
        if (kd_opt_given(cli, of_judge[i]))
            return kd_fail(e, KD_EINVAL, "label: --%s is of a judge: it takes --judge besides", of_judge[i]);
    return KD_OK;
}

static kd_code agree(kd_cli *cli, kd_study *s, bool again, kd_err *e) {
    kd_agreement_report r;
    const kd_code rc = kd_agreement_run(s, again, cli->watch, &r, e);
    if (!rc)
        kd_note(cli, "agreement: %llu questions of %llu samples counted; %llu gold answers to be doubted", (unsigned long long)r.prompts,
                (unsigned long long)r.samples, (unsigned long long)r.doubted);
    return rc;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_study *s = NULL;
    kd_label_opts o = {.checks = kd_opt_string(cli, "checks"),
                       .select = kd_opt_string(cli, "select"),
                       .again = kd_opt_flag(cli, "again"),
                       .verify = kd_opt_flag(cli, "verify"),
                       .code = {.seconds = kd_opt_float(cli, "time-limit"), .memory = kd_opt_size(cli, "memory-limit")}};
    const char *model = kd_opt_string(cli, "model");
    kd_tokenizer *tokenizer = NULL;
    kd_code rc = check_options(cli, &o, e);
    if (!rc) rc = kd_cli_pool(cli, &o.pool, e);
    if (!rc && model && !(rc = kd_tokenizer_open(&tokenizer, model, e))) o.tokenizer = tokenizer;
    if (!rc && kd_opt_flag(cli, "sandbox") && !(rc = kd_sandbox_open(&o.sandbox, NULL, e)) && kd_sandbox_missing(o.sandbox))
        kd_warn(cli, "no sandbox: %s; programs are not run, their label is unknown", kd_sandbox_missing(o.sandbox));
    if (!rc) rc = kd_study_open(&s, cli->args[0], cli->dry_run || o.verify ? KD_STUDY_READ : KD_STUDY_WRITE, e);
    if (!rc) rc = cli->dry_run ? plan(cli, s, o.select, e) : label(cli, s, &o, e);
    if (!rc && !cli->dry_run && !o.verify && kd_opt_flag(cli, "agreement")) rc = agree(cli, s, o.again, e);
    kd_tokenizer_free(tokenizer);
    kd_study_close(s);
    kd_sandbox_close(o.sandbox);
    return rc;
}

static const kd_opt options[] = {
    {"checks", 0, KD_OPT_STRING, "LIST", NULL, "names of checks, parted by commas, or all (math,finished,repeats,empty)", "Labels"},
    {"select", 0, KD_OPT_STRING, "SQL", NULL, "only samples for which this expression holds", "Labels"},
    {"again", 0, KD_OPT_FLAG, NULL, NULL, "judge anew what is labelled already", "Labels"},
    {"model", 'm', KD_OPT_PATH, "PATH", NULL, "the student, in whose tokens thought_tokens counts (a vocabulary alone will do)", "Labels"},
    {"agreement", 0, KD_OPT_FLAG, NULL, NULL,
     "also what most samples of a question say (majority, agreement, agrees), and gold answers to be doubted", "Labels"},
    {"verify", 0, KD_OPT_FLAG, NULL, NULL, "write nothing: make the labels anew, from the raw bodies where they are, and compare",
     "Labels"},
    {"sandbox", 0, KD_OPT_FLAG, NULL, NULL,
     "run the programs of tasks of code, boxed in by bubblewrap (check code: python, c, c++, javascript)", "Programs"},
    {"time-limit", 0, KD_OPT_FLOAT, "S", "10", "processor seconds a run of a program, where its tests do not say", "Programs", .min = 0.1,
     .max = 600},
    {"memory-limit", 0, KD_OPT_SIZE, "SIZE", "1G", "memory of a program, where its tests do not say", "Programs", .min = 16777216,
     .max = 68719476736.0},
    KD_JUDGE_OPTIONS,
    {0}};

const kd_cmd kd_cmd_label = {
    .name = "label",
    .help = "judge the answers, delete nothing",
    .usage = "STUDY",
    .about = "Writes labels beside the samples: math (right, wrong, unknown), finished, repeats, empty. Only what lacks a label is judged, "
             "so that\n"
             "the same words after a kill, or after more answers came in, go on.\n",
    .opts = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
