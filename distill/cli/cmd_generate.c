/* distill/cli/cmd_generate.c - ask a teacher: a model here, or an OpenAI-compatible endpoint. Leans on teacher. */
#include "distill/base/clock.h"
#include "distill/cli/cli.h"
#include "distill/cli/key.h"
#include "teacher/teacher.h"

#include <stdlib.h>
#include <string.h>

static const kd_opt options[] = {
    {"teacher", 0, KD_OPT_STRING, "PATH|URL", NULL, "who answers: a model here (folder, .gguf, run), or the base URL of an API, .../v1",
     "Teacher"},
    {"adapter", 0, KD_OPT_PATH, "DIR", NULL, "local: an adapter on the model (PEFT folder or run)", "Teacher"},
    {"chat-template", 0, KD_OPT_PATH, "FILE", NULL, "local: a chat template instead of the model's own", "Teacher"},
    {"system", 0, KD_OPT_STRING, "TEXT", NULL, "a system turn, put first where a conversation has none", "Teacher"},
    {"samples", 0, KD_OPT_INT, "K", "1", "answers to each question", "Questions", .min = 1, .max = 1e6},
    {"split", 0, KD_OPT_STRING, "NAME", "train", "which questions: train, test, a name, or all", "Questions"},
    {"limit", 0, KD_OPT_INT, "N", NULL, "only the first N questions in the order of import", "Questions", .min = 1, .max = 1e15},
    {"temperature", 0, KD_OPT_FLOAT, "T", NULL, "0 is greedy (local: 0.7; remote: the provider's own)", "Sampling", .min = 0, .max = 100},
    {"top-p", 0, KD_OPT_FLOAT, "P", NULL, "keep the smallest set with this much probability (local: 0.95)", "Sampling", .min = 0, .max = 1},
    {"top-k", 0, KD_OPT_INT, "K", NULL, "keep the K most likely tokens (local: 0 = all)", "Sampling", .min = 0, .max = 1e6},
    {"min-p", 0, KD_OPT_FLOAT, "P", NULL, "keep tokens with this share of the best one's probability (local: 0)", "Sampling", .min = 0,
     .max = 1},
    {"max-tokens", 0, KD_OPT_INT, "N", NULL, "length of an answer at most (local: 1024)", "Sampling", .min = 1, .max = 1e9},
    {"stop", 0, KD_OPT_STRINGS, "TEXT", NULL, "ends an answer; may be given more than once", "Sampling"},
    {"teacher-model", 0, KD_OPT_STRING, "NAME", NULL, "the model's name at the URL", "Remote"},
    {"concurrency", 0, KD_OPT_INT, "N", "32", "requests in flight at most", "Remote", .min = 1, .max = 100000},
    {"rps", 0, KD_OPT_FLOAT, "N", NULL, "requests a second at most", "Remote", .min = 0, .max = 1e9},
    {"rpm", 0, KD_OPT_FLOAT, "N", NULL, "requests a minute at most", "Remote", .min = 0, .max = 1e9},
    {"tpm", 0, KD_OPT_FLOAT, "N", NULL, "tokens a minute at most, prompts and --max-tokens counted", "Remote", .min = 0, .max = 1e12},
    {"timeout", 0, KD_OPT_FLOAT, "SECONDS", "600", "of one request", "Remote", .min = 0.001, .max = 1e6},
    {"retries", 0, KD_OPT_INT, "N", "6", "tries after the first", "Remote", .min = 0, .max = 1000},
    {"api-key-file", 0, KD_OPT_PATH, "FILE", NULL, "holds the key, for nobody else to read (else DISTILL_API_KEY, OPENAI_API_KEY)",
     "Remote"},
    {"ca-file", 0, KD_OPT_PATH, "FILE", NULL, "certificates to trust in the place of the system's", "Remote"},
    {"header", 0, KD_OPT_STRINGS, "NAME: VALUE", NULL, "a header more; may be given more than once", "Remote"},
    {"extra-body", 0, KD_OPT_STRING, "JSON", NULL, "members more of every request", "Remote"},
    {"budget", 0, KD_OPT_FLOAT, "USD", NULL, "never spend more under these settings", "Remote", .min = 0, .max = 1e12},
    {"price-input", 0, KD_OPT_FLOAT, "USD", NULL, "a million prompt tokens", "Remote", .min = 0, .max = 1e9},
    {"price-output", 0, KD_OPT_FLOAT, "USD", NULL, "a million completion tokens", "Remote", .min = 0, .max = 1e9},
    {"price-cached", 0, KD_OPT_FLOAT, "USD", NULL, "a million prompt tokens that usage calls cached (else --price-input)", "Remote",
     .min = 0, .max = 1e9},
    {"logprobs", 0, KD_OPT_INT, "K", NULL, "ask for the K most likely tokens of every place", "Remote", .min = 0, .max = 100},
    {"stream", 0, KD_OPT_FLAG, NULL, NULL, "take answers as server-sent events", "Remote"},
    {"insecure-http", 0, KD_OPT_FLAG, NULL, NULL, "allow plain http to another machine", "Remote"},
    {"parallel", 0, KD_OPT_INT, "N", "32", "local: sequences decoded together", "Local", .min = 1, .max = 4096},
    {"context", 0, KD_OPT_INT, "N", NULL, "local: positions of a sequence (the model's own)", "Local", .min = 16, .max = 1e9},
    {"exact", 0, KD_OPT_FLAG, NULL, NULL, "local: f32 arithmetic instead of 8-bit activations", "Local"},
    {0}};

static bool is_url(const char *s) { return !strncmp(s, "http://", 7) || !strncmp(s, "https://", 8); }

static kd_teach_opts asked(const kd_cli *cli) {
    const char *split = kd_opt_string(cli, "split");
    kd_teach_opts o = {.temperature = kd_opt_given(cli, "temperature") ? kd_opt_float(cli, "temperature") : -1,
                       .top_p = kd_opt_given(cli, "top-p") ? kd_opt_float(cli, "top-p") : -1,
                       .min_p = kd_opt_given(cli, "min-p") ? kd_opt_float(cli, "min-p") : -1,
                       .top_k = kd_opt_given(cli, "top-k") ? kd_opt_int(cli, "top-k") : -1,
                       .max_tokens = kd_opt_given(cli, "max-tokens") ? kd_opt_int(cli, "max-tokens") : -1,
                       .system = kd_opt_string(cli, "system"),
                       .seed = cli->seed};
    o.work = (kd_work_opts){.split = strcmp(split, "all") ? split : NULL,
                            .limit = (uint64_t)kd_opt_int(cli, "limit"),
                            .samples = (int)kd_opt_int(cli, "samples")};
    o.stops = kd_opt_strings(cli, "stop", &o.stop);
    return o;
}

/* The key: from its file, which nobody else may read, or from the environment. *key is the caller's. */
static kd_code read_key(kd_cli *cli, kd_buf *key, kd_err *e) {
    const char *file = kd_opt_string(cli, "api-key-file");
    if (!file) {
        const char *v = getenv("DISTILL_API_KEY");
        v = v && *v ? v : getenv("OPENAI_API_KEY");
        return v && *v && kd_buf_puts(key, v) ? kd_fail(e, KD_ENOMEM, "generate: out of memory") : KD_OK;
    }
    return kd_key_read(key, file, e);
}

static double given(const kd_cli *cli, const char *name) { return kd_opt_given(cli, name) ? kd_opt_float(cli, name) : -1; }

static kd_code plan_remote(kd_cli *cli, kd_study *s, const kd_teach_opts *o, const kd_remote_opts *ro, kd_err *e) {
    kd_remote_plan p;
    kd_code c = kd_teach_remote_plan(s, o, ro, &p, e);
    if (c) return c;
    if (!cli->json)
        return kd_out(cli,
                      p.cost >= 0 ? "requests     %llu missing of %llu\ntokens       at most %llu in, %llu out\ncost         at most "
                                    "$%.4f; spent so far $%.4f\n"
                                  : "requests     %llu missing of %llu\ntokens       at most %llu in, %llu out\ncost         not known "
                                    "without --price-input, --price-output and --max-tokens\n",
                      (unsigned long long)p.missing, (unsigned long long)p.total, (unsigned long long)p.prompt_tokens,
                      (unsigned long long)p.completion_tokens, p.cost, p.spent);
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    kd_jsonw_key(w, "requests"), kd_jsonw_int(w, (int64_t)p.missing);
    kd_jsonw_key(w, "total"), kd_jsonw_int(w, (int64_t)p.total);
    kd_jsonw_key(w, "max_prompt_tokens"), kd_jsonw_int(w, (int64_t)p.prompt_tokens);
    kd_jsonw_key(w, "max_completion_tokens"), kd_jsonw_int(w, (int64_t)p.completion_tokens);
    kd_jsonw_key(w, "max_cost"), p.cost >= 0 ? kd_jsonw_double(w, p.cost) : kd_jsonw_null(w);
    kd_jsonw_key(w, "spent"), kd_jsonw_double(w, p.spent);
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code remote(kd_cli *cli, kd_study *s, const kd_teach_opts *o, kd_teach_report *r, kd_err *e) {
    kd_buf key = {0};
    kd_remote_opts ro = {.url = kd_opt_string(cli, "teacher"),
                         .model = kd_opt_string(cli, "teacher-model"),
                         .ca_file = kd_opt_string(cli, "ca-file"),
                         .extra_body = kd_opt_string(cli, "extra-body"),
                         .concurrency = (size_t)kd_opt_int(cli, "concurrency"),
                         .rps = kd_opt_float(cli, "rps"),
                         .rpm = kd_opt_float(cli, "rpm"),
                         .tpm = kd_opt_float(cli, "tpm"),
                         .timeout = kd_opt_float(cli, "timeout"),
                         .retries = (int)kd_opt_int(cli, "retries"),
                         .budget = given(cli, "budget"),
                         .price_input = given(cli, "price-input"),
                         .price_output = given(cli, "price-output"),
                         .price_cached = kd_opt_float(cli, "price-cached"),
                         .cached_priced = kd_opt_given(cli, "price-cached"),
                         .logprobs = kd_opt_given(cli, "logprobs") ? (int)kd_opt_int(cli, "logprobs") : -1,
                         .stream = kd_opt_flag(cli, "stream"),
                         .send_seed = kd_opt_given(cli, "seed"),
                         .insecure_http = kd_opt_flag(cli, "insecure-http")};
    ro.n_headers = kd_opt_strings(cli, "header", &ro.headers);
    kd_code c = read_key(cli, &key, e);
    ro.key = key.len ? key.data : NULL;
    if (!c) c = cli->dry_run ? plan_remote(cli, s, o, &ro, e) : kd_teach_remote(s, o, &ro, cli->watch, r, e);
    if (key.data) explicit_bzero(key.data, key.cap);
    kd_buf_clear(&key);
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
        kd_jsonw_end_object(w);
        return kd_out_json_end(cli, e);
    }
    kd_note(cli, "%llu answers new, %llu there before, of %llu; %llu failed; %llu tokens in %.1f s (%.0f tokens/s)",
            (unsigned long long)r->answered, (unsigned long long)r->done_before, (unsigned long long)r->total,
            (unsigned long long)r->failed, (unsigned long long)r->completion_tokens, r->seconds, rate);
    return KD_OK;
}

static kd_code generate(kd_cli *cli, kd_err *e) {
    kd_teach_opts o = asked(cli);
    const char *teacher = kd_opt_string(cli, "teacher");
    kd_study *s;
    if (!teacher) return kd_fail(e, KD_EINVAL, "generate: --teacher PATH or --teacher URL is needed");
    kd_code c = kd_study_open(&s, cli->args[0], KD_STUDY_WRITE, e);
    if (c) return c;
    kd_teach_report r = {0};
    kd_local_opts l = {.model = teacher,
                       .adapter = kd_opt_string(cli, "adapter"),
                       .chat_template = kd_opt_string(cli, "chat-template"),
                       .threads = cli->threads,
                       .parallel = (size_t)kd_opt_int(cli, "parallel"),
                       .context = (size_t)kd_opt_int(cli, "context"),
                       .memory = cli->memory,
                       .exact = kd_opt_flag(cli, "exact"),
                       .now = kd_unix_ms() / 1000};
    if (is_url(teacher))
        c = remote(cli, s, &o, &r, e);
    else
        c = cli->dry_run ? plan(cli, s, &o, &l, e) : kd_teach_local(s, &o, &l, cli->watch, &r, e);
    if (!cli->dry_run && (!c || r.answered)) { /* what was had is told even when it ended early */
        kd_code told = report(cli, &r, c ? NULL : e);
        c = c ? c : told;
    }
    kd_study_close(s);
    if (!c && r.failed)
        return kd_fail(
            e, KD_ELIMIT,
            "generate: %llu answers could not be had; their reasons stand in the table attempts (distill stats); run it again to try again",
            (unsigned long long)r.failed);
    return c;
}

const kd_cmd kd_cmd_generate = {
    .name = "generate",
    .help = "ask a teacher, answers into the study",
    .usage = "STUDY --teacher PATH|URL",
    .about = "Asks for what is missing: every question of the split, --samples answers each, under these settings. Killed or stopped, the "
             "same command goes on;\n"
             "more --samples add to what is there.",
    .opts = options,
    .min_args = 1,
    .max_args = 1,
    .run = generate,
};
