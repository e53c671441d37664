/* distill/cli/cmd_label.c - judge the answers of a study. Leans on datasets/label.h. */
#include "datasets/label.h"
#include "distill/cli/cli.h"
#include "distill/model/tokenizer.h"

static kd_code tell(kd_cli *cli, const kd_label_report *r, kd_err *e) {
    if (!cli->json)
        return kd_out(cli, "%llu samples looked at, %llu labels written; math: %llu right, %llu wrong, %llu unknown\n",
                      (unsigned long long)r->looked, (unsigned long long)r->written, (unsigned long long)r->right,
                      (unsigned long long)r->wrong, (unsigned long long)r->unknown);
    kd_jsonw *w = kd_out_json(cli);
    const struct {
        const char *key;
        uint64_t v;
    } list[] = {{"samples", r->looked}, {"labels", r->written}, {"right", r->right}, {"wrong", r->wrong}, {"unknown", r->unknown}};
    kd_jsonw_object(w);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        kd_jsonw_key(w, list[i].key);
        kd_jsonw_int(w, (int64_t)list[i].v);
    }
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

/* How many samples there are to look at; nothing is judged. */
static kd_code plan(kd_cli *cli, kd_study *s, const char *select, kd_err *e) {
    kd_select *q = NULL;
    kd_label_report r = {0};
    kd_code rc = kd_select_open(&q, s, &(kd_select_opts){.select = select, .any = true}, e);
    if (!rc) rc = kd_select_count(q, &r.looked, NULL, e);
    kd_select_close(q);
    return rc ? rc : tell(cli, &r, e);
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
    kd_label_report r;
    kd_label_opts o = {.checks = kd_opt_string(cli, "checks"), .select = kd_opt_string(cli, "select"), .again = kd_opt_flag(cli, "again")};
    const char *model = kd_opt_string(cli, "model");
    kd_tokenizer *tokenizer = NULL;
    kd_code rc = kd_cli_pool(cli, &o.pool, e);
    if (!rc && model && !(rc = kd_tokenizer_open(&tokenizer, model, e))) o.tokenizer = tokenizer;
    if (!rc) rc = kd_study_open(&s, cli->args[0], cli->dry_run ? KD_STUDY_READ : KD_STUDY_WRITE, e);
    if (!rc && cli->dry_run)
        rc = plan(cli, s, o.select, e);
    else if (!rc && !(rc = kd_label_run(s, &o, cli->watch, &r, e)))
        rc = tell(cli, &r, e);
    if (!rc && !cli->dry_run && kd_opt_flag(cli, "agreement")) rc = agree(cli, s, o.again, e);
    kd_tokenizer_free(tokenizer);
    kd_study_close(s);
    return rc;
}

static const kd_opt options[] = {
    {"checks", 0, KD_OPT_STRING, "LIST", NULL, "names of checks, parted by commas, or all (math,finished,repeats,empty)", "Labels"},
    {"select", 0, KD_OPT_STRING, "SQL", NULL, "only samples for which this expression holds", "Labels"},
    {"again", 0, KD_OPT_FLAG, NULL, NULL, "judge anew what is labelled already", "Labels"},
    {"model", 'm', KD_OPT_PATH, "PATH", NULL, "the student, in whose tokens thought_tokens counts (a vocabulary alone will do)", "Labels"},
    {"agreement", 0, KD_OPT_FLAG, NULL, NULL,
     "also what most samples of a question say (majority, agreement, agrees), and gold answers to be doubted", "Labels"},
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
