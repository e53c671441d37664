/* distill/cli/cmd_batch.c - asking by file: submit, status, fetch, cancel. Leans on teacher/batch.h. */
#include "distill/cli/ask_opts.h"
#include "teacher/batch.h"

#include <string.h>

static const kd_opt options[] = {{"teacher", 0, KD_OPT_STRING, "URL", NULL, "submit: the base URL of an API that has batches, .../v1",
                                  "Teacher"},
                                 {"offline", 0, KD_OPT_PATH, "FILE", NULL,
                                  "submit writes the requests here (vLLM's run-batch reads them), fetch reads what came back", "Teacher"},
                                 {"batch", 0, KD_OPT_STRING, "ID", NULL, "only this batch, by its mark or the provider's id", "Teacher"},
                                 {"chunk-requests", 0, KD_OPT_INT, "N", "50000", "requests of a batch at most", "Teacher", .min = 1,
                                  .max = 1e9},
                                 {"chunk-size", 0, KD_OPT_SIZE, "SIZE", "100M", "bytes of a batch's file at most", "Teacher"},
                                 {"window", 0, KD_OPT_STRING, "TEXT", "24h", "completion window that the provider is told", "Teacher"},
                                 KD_ASK_OPTIONS,
                                 KD_ENDPOINT_OPTIONS,
                                 {0}};

static const char *const verbs[] = {"submit", "status", "fetch", "cancel"};

static void told(void *ctx, const kd_sent_batch *b, const char *state, int64_t done, int64_t failed) {
    kd_cli *cli = ctx;
    if (!cli->json) {
        (void)kd_out(cli, "%-16s  %-12s  %lld of %lld done, %lld failed  %s\n", b->mark, state, (long long)done, (long long)b->requests,
                     (long long)failed, b->remote);
        return;
    }
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    kd_jsonw_key(w, "batch"), kd_jsonw_cstr(w, b->mark);
    kd_jsonw_key(w, "id"), kd_jsonw_cstr(w, b->remote[0] ? b->remote : NULL);
    kd_jsonw_key(w, "state"), kd_jsonw_cstr(w, state);
    kd_jsonw_key(w, "requests"), kd_jsonw_int(w, b->requests);
    kd_jsonw_key(w, "completed"), kd_jsonw_int(w, done);
    kd_jsonw_key(w, "failed"), kd_jsonw_int(w, failed);
    kd_jsonw_key(w, "not_fetched"), kd_jsonw_int(w, b->left);
    kd_jsonw_end_object(w);
    (void)kd_out_json_end(cli, NULL);
}

static kd_code report(kd_cli *cli, const char *verb, const kd_batch_report *r, kd_err *e) {
    if (!cli->json) {
        if (!strcmp(verb, "submit"))
            kd_note(cli, "%llu requests in %llu batches", (unsigned long long)r->requests, (unsigned long long)r->batches);
        if (!strcmp(verb, "fetch"))
            kd_note(cli, "%llu answers new, %llu there before, %llu failed, %llu free to be asked again; %llu batches are not done",
                    (unsigned long long)r->answered, (unsigned long long)r->duplicates, (unsigned long long)r->failed,
                    (unsigned long long)r->freed, (unsigned long long)r->waiting);
        if (!strcmp(verb, "cancel")) kd_note(cli, "%llu batches told to stop; fetch takes in what is done", (unsigned long long)r->batches);
        if (!strcmp(verb, "status") && !r->batches) kd_note(cli, "no batch is out");
        return KD_OK;
    }
    if (!strcmp(verb, "status")) return KD_OK;
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    const struct {
        const char *key;
        uint64_t v;
    } n[] = {{"batches", r->batches}, {"requests", r->requests}, {"answered", r->answered}, {"duplicates", r->duplicates},
             {"failed", r->failed},   {"freed", r->freed},       {"waiting", r->waiting}};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) kd_jsonw_key(w, n[i].key), kd_jsonw_int(w, (int64_t)n[i].v);
    kd_jsonw_key(w, "cost"), kd_jsonw_double(w, r->cost);
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

/* Prices and model of a fetch: of the batch's own settings, unless a flag says otherwise. */
static kd_code model_of(kd_study *s, const char *name, char out[128], kd_err *e) {
    kd_sent_batch b;
    bool more;
    kd_code c = kd_batch_next(s, name, 0, &b, &more, e);
    memcpy(out, b.model, sizeof b.model);
    return c;
}

static kd_code plan(kd_cli *cli, kd_study *s, const kd_teach_opts *o, const kd_remote_opts *ro, kd_err *e) {
    kd_remote_plan p;
    kd_code c = kd_teach_remote_plan(s, o, ro, &p, e);
    uint64_t most = (uint64_t)kd_opt_int(cli, "chunk-requests");
    if (!c)
        c = kd_out(cli, "requests     %llu missing of %llu, in %llu batches or more\ntokens       at most %llu in, %llu out\n",
                   (unsigned long long)p.missing, (unsigned long long)p.total, (unsigned long long)((p.missing + most - 1) / most),
                   (unsigned long long)p.prompt_tokens, (unsigned long long)p.completion_tokens);
    if (!c && p.cost >= 0) c = kd_out(cli, "cost         at most $%.4f; spent so far $%.4f\n", p.cost, p.spent);
    return c;
}

static kd_code act(kd_cli *cli, kd_study *s, const char *verb, kd_err *e) {
    kd_buf key = {0};
    kd_remote_opts ro;
    kd_batch_report r = {0};
    char model[128] = "";
    const char *name = kd_opt_string(cli, "batch"), *url = kd_opt_string(cli, "teacher"), *given = kd_opt_string(cli, "teacher-model");
    kd_teach_opts o = kd_asked(cli);
    kd_batch_opts b = {.requests = (uint64_t)kd_opt_int(cli, "chunk-requests"),
                       .bytes = kd_opt_size(cli, "chunk-size"),
                       .window = kd_opt_string(cli, "window"),
                       .file = kd_opt_string(cli, "offline")};
    bool submit = !strcmp(verb, "submit");
    if (submit && !url && b.file) url = "http://localhost/v1"; /* a name for the settings: nothing is sent */
    if (submit && !url) return kd_fail(e, KD_EINVAL, "batch submit: --teacher URL or --offline FILE is needed");
    kd_code c = submit ? KD_OK : model_of(s, name, model, e);
    if (!c) c = kd_endpoint_asked(&ro, &key, cli, url, given || submit ? given : model[0] ? model : NULL, e);
    if (!c && submit)
        c = cli->dry_run ? plan(cli, s, &o, &ro, e) : kd_batch_submit(s, &o, &ro, &b, cli->watch, &r, e);
    else if (!c && cli->dry_run)
        c = KD_OK;
    else if (!c && !strcmp(verb, "status"))
        c = kd_batch_status(s, name, &ro, told, cli, &r, e);
    else if (!c && !strcmp(verb, "fetch"))
        c = kd_batch_fetch(s, name, &o, &ro, &b, cli->watch, &r, e);
    else if (!c)
        c = kd_batch_cancel(s, name, &ro, &r, e);
    kd_key_forget(&key);
    if (!cli->dry_run && (!c || r.requests || r.answered)) {
        kd_code said = report(cli, verb, &r, c ? NULL : e);
        c = c ? c : said;
    }
    if (!c && r.failed)
        return kd_fail(e, KD_ELIMIT, "batch: %llu requests brought no answer; their reasons stand in the table attempts",
                       (unsigned long long)r.failed);
    return c;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    const char *verb = NULL;
    kd_study *s;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(cli->args[0], verbs[i])) verb = verbs[i];
    if (!verb) return kd_fail(e, KD_EINVAL, "batch: expected submit, status, fetch or cancel, found %s", cli->args[0]);
    kd_guard_process();
    kd_code c = kd_study_open(&s, cli->args[1], cli->dry_run || !strcmp(verb, "status") ? KD_STUDY_READ : KD_STUDY_WRITE, e);
    if (c) return c;
    c = act(cli, s, verb, e);
    kd_study_close(s);
    return c;
}

const kd_cmd kd_cmd_batch = {
    .name = "batch",
    .help = "ask by file: a provider's batch API, or run-batch",
    .usage = "submit|status|fetch|cancel STUDY",
    .about = "submit sends what is missing in batches (or, with --offline FILE, writes it for vLLM's run-batch); status tells how far they "
             "are; fetch takes in what\n"
             "is done, of batches that expired or were cancelled too, and frees the rest to be asked again; cancel stops them. Answers are "
             "the same rows as those\n"
             "that generate asks for, under the same settings.",
    .opts = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
