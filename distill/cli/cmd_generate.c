/* distill/cli/cmd_generate.c - ask a teacher: a model here, or an OpenAI-compatible endpoint. Leans on teacher. */
#include "datasets/label.h"
#include "datasets/sandbox.h"
#include "distill/base/clock.h"
#include "distill/cli/ask_opts.h"
#include "distill/cli/sampling_opts.h"

#include <string.h>
#include <sys/resource.h>

static const kd_opt options[] = {
    {"teacher", 0, KD_OPT_STRING, "PATH|URL", NULL, "who answers: a model here (folder, .gguf, run), or the base URL of an API, .../v1",
     "Teacher"},
    {"adapter", 0, KD_OPT_PATH, "DIR", NULL, "local: an adapter on the model (PEFT folder or run)", "Teacher"},
    {"chat-template", 0, KD_OPT_PATH, "FILE", NULL, "local: a chat template instead of the model's own", "Teacher"},
    KD_ASK_OPTIONS,
    {"until-correct", 0, KD_OPT_INT, "N", NULL, "ask a question until N of its answers are right, or --max-samples were given", "Questions",
     .min = 1, .max = 1e6},
    {"adaptive", 0, KD_OPT_FLAG, NULL, NULL, "beyond --samples, ask again where answers are as often right as wrong, up to --max-samples",
     "Questions"},
    {"sandbox", 0, KD_OPT_FLAG, NULL, NULL, "with --until-correct or --adaptive: run programs among the answers, boxed in by bubblewrap",
     "Questions"},
    {"max-samples", 0, KD_OPT_INT, "M", NULL, "answers to a question at most, with --until-correct or --adaptive", "Questions", .min = 1,
     .max = 1e6},
    KD_SAMPLING_OPTIONS, /* local */
    KD_ENDPOINT_OPTIONS,
    {"rotate", 0, KD_OPT_PATH, "FILE", NULL,
     "several endpoints in the place of --teacher: a JSON object a line, {\"url\":...}, with model, api_key_file, concurrency, prices",
     "Remote"},
    {"choices", 0, KD_OPT_INT, "N", "1", "answers asked for by one request (n), where the endpoint has that", "Remote", .min = 1,
     .max = 128},
    {"concurrency", 0, KD_OPT_INT, "N", "32", "requests in flight at most", "Remote", .min = 1, .max = 100000},
    {"rps", 0, KD_OPT_FLOAT, "N", NULL, "requests a second at most", "Remote", .min = 0, .max = 1e9},
    {"rpm", 0, KD_OPT_FLOAT, "N", NULL, "requests a minute at most", "Remote", .min = 0, .max = 1e9},
    {"tpm", 0, KD_OPT_FLOAT, "N", NULL, "tokens a minute at most, prompts and --max-tokens counted", "Remote", .min = 0, .max = 1e12},
    {"retries", 0, KD_OPT_INT, "N", "6", "tries after the first", "Remote", .min = 0, .max = 1000},
    {"stream", 0, KD_OPT_FLAG, NULL, NULL, "take answers as server-sent events", "Remote"},
    {"parallel", 0, KD_OPT_INT, "N", "32", "local: sequences decoded together", "Local", .min = 1, .max = 4096},
    {"context", 0, KD_OPT_INT, "N", NULL, "local: positions of a sequence (the model's own)", "Local", .min = 16, .max = 1e9},
    {"exact", 0, KD_OPT_FLAG, NULL, NULL, "local: f32 arithmetic instead of 8-bit activations", "Local"},
    {"kv-type", 0, KD_OPT_ENUM, "f16|q8_0|f32", "f16", "local: type of keys and values", "Local"},
    {0}};

static bool is_url(const char *s) { return !strncmp(s, "http://", 7) || !strncmp(s, "https://", 8); }

/* More samples where they help: until so many are right, or by pass rate. */
static kd_code ask_for_more(const kd_cli *cli, kd_work_opts *w, kd_err *e) {
    int until = (int)kd_opt_int(cli, "until-correct"), most = (int)kd_opt_int(cli, "max-samples");
    bool adaptive = kd_opt_flag(cli, "adaptive");
    if (!until && !adaptive)
        return most ? kd_fail(e, KD_EINVAL,
                              "--max-samples goes with --until-correct N or --adaptive; --samples says how many everybody gets")
                    : KD_OK;
    if (until && adaptive) return kd_fail(e, KD_EINVAL, "--until-correct and --adaptive: choose one of them");
    if (!most) return kd_fail(e, KD_EINVAL, "%s needs --max-samples M", until ? "--until-correct" : "--adaptive");
    if (until && kd_opt_given(cli, "samples")) return kd_fail(e, KD_EINVAL, "--until-correct takes --max-samples, not --samples");
    if (until > most) return kd_fail(e, KD_EINVAL, "--until-correct %d with --max-samples %d: that many can never be right", until, most);
    if (adaptive && w->samples >= most)
        return kd_fail(e, KD_EINVAL, "--adaptive: --max-samples %d leaves nothing beyond --samples %d", most, w->samples);
    w->until = until, w->adaptive = adaptive;
    w->first = w->samples, w->samples = most;
    return KD_OK;
}

/* The teacher asks, datasets reads the verdict: labels for what these questions have that lacks one. */
static kd_code judge(void *ctx, kd_study *s, int64_t settings, const int64_t *prompts, size_t n, kd_err *e) {
    kd_buf where = {0};
    kd_sandbox *box = ctx;
    kd_code c = kd_buf_printf(&where, "settings = %lld", (long long)settings);
    for (size_t i = 0; i < n && !c; i++) c = kd_buf_printf(&where, "%s%lld", i ? "," : " AND prompt IN (", (long long)prompts[i]);
    if (!c && n) c = kd_buf_putc(&where, ')');
    c = c ? kd_fail(e, KD_ENOMEM, "generate: out of memory")
          : kd_label_run(s, &(kd_label_opts){.select = where.data, .sandbox = box}, NULL, NULL, e);
    kd_buf_clear(&where);
    return c;
}

static kd_code plan_remote(kd_cli *cli, kd_study *s, const kd_teach_opts *o, const kd_remote_opts *ro, kd_err *e) {
    kd_remote_plan p;
    char t[32];
    kd_code c = kd_teach_remote_plan(s, o, ro, &p, e);
    if (c) return c;
    if (!cli->json) {
        c = kd_out(cli, "requests     %llu%s missing of %llu%s\ntokens       at most %llu in, %llu out\n", (unsigned long long)p.missing,
                   o->work.until ? " answers at most are" : "", (unsigned long long)p.total, o->work.until ? " questions" : "",
                   (unsigned long long)p.prompt_tokens, (unsigned long long)p.completion_tokens);
        if (!c)
            c = p.seconds >= 0 ? kd_out(cli, "time         %s, if answers take as long as the last ones\n", kd_human_time(p.seconds, t))
                               : kd_out(cli, "time         not known before the first answers under these settings\n");
        if (!c)
            c = p.cost >= 0
                    ? kd_out(cli, "cost         at most $%.4f; spent so far $%.4f\n", p.cost, p.spent)
                    : kd_out(cli, "cost         not known without --price-input and --price-output (or --prices), and --max-tokens\n");
        return c ? kd_fail(e, c, "standard output: cannot be written") : KD_OK;
    }
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    kd_jsonw_key(w, "requests"), kd_jsonw_int(w, (int64_t)p.missing);
    kd_jsonw_key(w, "total"), kd_jsonw_int(w, (int64_t)p.total);
    kd_jsonw_key(w, "max_prompt_tokens"), kd_jsonw_int(w, (int64_t)p.prompt_tokens);
    kd_jsonw_key(w, "max_completion_tokens"), kd_jsonw_int(w, (int64_t)p.completion_tokens);
    kd_jsonw_key(w, "max_cost"), p.cost >= 0 ? kd_jsonw_double(w, p.cost) : kd_jsonw_null(w);
    kd_jsonw_key(w, "spent"), kd_jsonw_double(w, p.spent);
    kd_jsonw_key(w, "seconds"), p.seconds >= 0 ? kd_jsonw_double(w, p.seconds) : kd_jsonw_null(w);
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

/* The endpoints of --rotate, with their prices. */
static kd_code rotate_opts(const kd_cli *cli, kd_remote_opts *ro, kd_endpoint_opts **ends, kd_arena *arena, kd_err *e) {
    const char *rotate = kd_opt_string(cli, "rotate"), *table = kd_opt_string(cli, "prices");
    kd_code c = rotate ? kd_endpoints_read(ends, &ro->n_endpoints, arena, rotate, e) : KD_OK;
    if (c || !rotate) return c;
    ro->endpoints = *ends;
    if (!ro->model) ro->model = (*ends)[0].model;
    for (size_t i = 0; i < ro->n_endpoints && table && !c; i++)
        if ((*ends)[i].model) c = kd_prices_read(&(*ends)[i].prices, table, (*ends)[i].model, e);
    return c;
}

static kd_code remote(kd_cli *cli, kd_study *s, const kd_teach_opts *o, kd_teach_report *r, kd_err *e) {
    kd_buf key = {0};
    kd_arena arena = {0};
    kd_remote_opts ro;
    kd_endpoint_opts *ends = NULL;
    kd_code c = kd_endpoint_asked(&ro, &key, cli, kd_opt_string(cli, "teacher"), kd_opt_string(cli, "teacher-model"), e);
    ro.concurrency = (size_t)kd_opt_int(cli, "concurrency");
    ro.choices = (int)kd_opt_int(cli, "choices");
    ro.rps = kd_opt_float(cli, "rps"), ro.rpm = kd_opt_float(cli, "rpm"), ro.tpm = kd_opt_float(cli, "tpm");
    ro.retries = (int)kd_opt_int(cli, "retries");
    ro.stream = kd_opt_flag(cli, "stream");
    if (!c) c = rotate_opts(cli, &ro, &ends, &arena, e);
    if (!c) c = cli->dry_run ? plan_remote(cli, s, o, &ro, e) : kd_teach_remote(s, o, &ro, cli->watch, r, e);
    kd_key_forget(&key);
    if (ends) kd_endpoints_forget(ends, ro.n_endpoints);
    kd_arena_clear(&arena);
    return c;
}

static kd_code plan(kd_cli *cli, kd_study *s, const kd_teach_opts *o, const kd_local_opts *l, kd_err *e) {
    kd_local_plan p;
    char a[32], b[32], d[32];
    kd_code c = kd_teach_local_plan(s, o, l, &p, e);
    if (c) return c;
    uint64_t tokens = p.missing * (uint64_t)(o->max_tokens > 0 ? o->max_tokens : 1024);
    if (cli->json) {
        kd_jsonw *w = kd_out_json(cli);
        kd_jsonw_object(w);
        kd_jsonw_key(w, "requests"), kd_jsonw_int(w, (int64_t)p.missing);
        kd_jsonw_key(w, "total"), kd_jsonw_int(w, (int64_t)p.total);
        kd_jsonw_key(w, "max_completion_tokens"), kd_jsonw_int(w, (int64_t)tokens);
        kd_jsonw_key(w, "weights_bytes"), kd_jsonw_int(w, (int64_t)p.weights);
        kd_jsonw_key(w, "work_bytes"), kd_jsonw_int(w, (int64_t)p.work);
        kd_jsonw_key(w, "kv_bytes"), kd_jsonw_int(w, (int64_t)p.kv);
        kd_jsonw_end_object(w);
        return kd_out_json_end(cli, e);
    }
    return kd_out(cli,
                  "answers      %llu missing of %llu, at most %llu tokens\nmemory       weights %s (mapped), panels and buffers %s, keys "
                  "and values of %zu full contexts %s\n",
                  (unsigned long long)p.missing, (unsigned long long)p.total, (unsigned long long)tokens, kd_human_bytes(p.weights, a),
                  kd_human_bytes(p.work, b), p.parallel, kd_human_bytes(p.kv, d));
}

static kd_code report(kd_cli *cli, const kd_teach_report *r, kd_err *e) {
    double rate = r->seconds > 0 ? (double)r->completion_tokens / r->seconds : 0;
    if (cli->json) {
        kd_jsonw *w = kd_out_json(cli);
        kd_jsonw_object(w);
        const struct {
            const char *key;
            uint64_t v;
        } n[] = {{"total", r->total},
                 {"done_before", r->done_before},
                 {"answered", r->answered},
                 {"failed", r->failed},
                 {"retried", r->retried},
                 {"prompt_tokens", r->prompt_tokens},
                 {"completion_tokens", r->completion_tokens},
                 {"settings", (uint64_t)r->settings}};
        for (size_t i = 0; i < sizeof n / sizeof *n; i++) kd_jsonw_key(w, n[i].key), kd_jsonw_int(w, (int64_t)n[i].v);
        kd_jsonw_key(w, "cost"), kd_jsonw_double(w, r->cost);
        kd_jsonw_key(w, "seconds"), kd_jsonw_double(w, r->seconds);
        kd_jsonw_key(w, "tokens_per_second"), kd_jsonw_double(w, rate);
        if (r->latency[0] > 0) {
            kd_jsonw_key(w, "latency_p50"), kd_jsonw_double(w, r->latency[0]);
            kd_jsonw_key(w, "latency_p90"), kd_jsonw_double(w, r->latency[1]);
            kd_jsonw_key(w, "latency_p99"), kd_jsonw_double(w, r->latency[2]);
        }
        kd_jsonw_end_object(w);
        return kd_out_json_end(cli, e);
    }
    kd_note(cli, "%llu answers new, %llu there before, of %llu; %llu failed; %llu tokens in %.1f s (%.0f tokens/s)",
            (unsigned long long)r->answered, (unsigned long long)r->done_before, (unsigned long long)r->total,
            (unsigned long long)r->failed, (unsigned long long)r->completion_tokens, r->seconds, rate);
    return KD_OK;
}

/* A connection a request (HTTP/1.1): fewer files than that make requests fail one by one; better to say it at once. */
static kd_code enough_files(const kd_cli *cli, kd_err *e) {
    struct rlimit lim;
    int64_t n = kd_opt_int(cli, "concurrency");
    if (!getrlimit(RLIMIT_NOFILE, &lim) && lim.rlim_cur != RLIM_INFINITY && (rlim_t)n + 64 > lim.rlim_cur)
        return kd_fail(e, KD_EINVAL, "--concurrency %lld: this process may open %llu files, and every request may need one (ulimit -n)",
                       (long long)n, (unsigned long long)lim.rlim_cur);
    return KD_OK;
}

static kd_code told(kd_cli *cli, const kd_teach_report *r, kd_code c, kd_err *e) {
    if (!cli->dry_run && (!c || r->answered)) { /* what was had is told even when it ended early */
        kd_code said = report(cli, r, c ? NULL : e);
        c = c ? c : said;
    }
    if (!c && r->failed)
        return kd_fail(
            e, KD_ELIMIT,
            "generate: %llu answers could not be had; their reasons stand in the table attempts (distill stats); run it again to try again",
            (unsigned long long)r->failed);
    return c;
}

static kd_code generate(kd_cli *cli, kd_err *e) {
    kd_teach_opts o = kd_asked(cli);
    const char *teacher = kd_opt_string(cli, "teacher"), *rotate = kd_opt_string(cli, "rotate");
    kd_study *s;
    if (!teacher && !rotate) return kd_fail(e, KD_EINVAL, "generate: --teacher PATH, --teacher URL or --rotate FILE is needed");
    if (teacher && rotate) return kd_fail(e, KD_EINVAL, "generate: --rotate FILE stands in the place of --teacher: choose one of them");
    kd_code c = ask_for_more(cli, &o.work, e);
    bool url = rotate || is_url(teacher);
    const char *lost = kd_opt_typed_in(cli, url ? "Local" : "Remote");
    if (!c && lost)
        c = kd_fail(e, KD_EINVAL, "generate: --%s is for a %s teacher, this one is %s", lost, url ? "local" : "remote",
                    url ? "an endpoint" : "a model here");
    if (url) kd_guard_process();
    if (!c && url) c = enough_files(cli, e);
    if (!c) c = kd_study_open(&s, cli->args[0], cli->dry_run ? KD_STUDY_READ : KD_STUDY_WRITE, e);
    if (c) return c;
    kd_sandbox *box = NULL;
    if (o.work.until || o.work.adaptive) o.judge = judge;
    if (kd_opt_flag(cli, "sandbox") && !o.judge)
        c = kd_fail(e, KD_EINVAL, "--sandbox goes with --until-correct N or --adaptive; distill label --sandbox judges what is there");
    if (!c && kd_opt_flag(cli, "sandbox")) c = kd_sandbox_open(&box, NULL, e);
    if (box && kd_sandbox_missing(box)) c = kd_fail(e, KD_EUNSUPPORTED, "generate: no sandbox: %s", kd_sandbox_missing(box));
    o.judge_ctx = box;
    kd_teach_report r = {0};
    kd_local_opts l = {.model = teacher,
                       .adapter = kd_opt_string(cli, "adapter"),
                       .chat_template = kd_opt_string(cli, "chat-template"),
                       .threads = cli->threads,
                       .parallel = (size_t)kd_opt_int(cli, "parallel"),
                       .context = (size_t)kd_opt_int(cli, "context"),
                       .memory = cli->memory,
                       .exact = kd_opt_flag(cli, "exact"),
                       .kv = kd_opt_word(cli, "kv-type"),
                       .logprobs = kd_opt_given(cli, "logprobs"),
                       .top_logprobs = (size_t)kd_opt_int(cli, "logprobs"),
                       .logprobs_step = kd_opt_float(cli, "logprobs-step"),
                       .now = kd_unix_ms() / 1000};
    kd_sampling_shape shape = {0};
    const char *mine = url ? kd_sampling_opts_given(cli) : NULL;
    if (!c && mine)
        c = kd_fail(e, KD_EINVAL, "generate: --%s is for a teacher here; what an endpoint understands goes into --extra-body", mine);
    else if (!c && !url)
        c = kd_sampling_shape_into(&l, &shape, cli, e);
    if (!c && url)
        c = remote(cli, s, &o, &r, e);
    else if (!c)
        c = cli->dry_run ? plan(cli, s, &o, &l, e) : kd_teach_local(s, &o, &l, cli->watch, &r, e);
    c = told(cli, &r, c, e);
    kd_sandbox_close(box);
    kd_sampling_shape_clear(&shape);
    kd_study_close(s);
    return c;
}

const kd_cmd kd_cmd_generate = {
    .name = "generate",
    .help = "ask a teacher, answers into the study",
    .usage = "STUDY --teacher PATH|URL | --rotate FILE",
    .about = "Asks for what is missing: every question of the split, --samples answers each, under these settings. Killed or stopped, the "
             "same command goes on;\n"
             "more --samples add to what is there.",
    .opts = options,
    .min_args = 1,
    .max_args = 1,
    .run = generate,
};
