/* distill/cli/cmd_serve.c - a model behind an OpenAI-compatible API. This thread drives the engine; serve.h says who does the rest. */
#include "distill/base/clock.h"
#include "distill/base/hash.h"
#include "distill/cli/sampling_opts.h"
#include "distill/cli/serve.h"
#include "distill/model/loaded.h"
#include "teacher/teacher.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static const kd_opt options[] = {
    {"model", 'm', KD_OPT_PATH, "PATH", NULL, "who answers: a folder, a .gguf, a run", "Model"},
    {"adapter", 0, KD_OPT_PATH, "RUN", NULL, "an adapter on it (run or PEFT folder)", "Model"},
    {"chat-template", 0, KD_OPT_PATH, "FILE", NULL, "a chat template instead of the model's own", "Model"},
    {"alias", 0, KD_OPT_STRING, "NAME", NULL, "what the API calls the model (else its file's name)", "Model"},
    {"host", 0, KD_OPT_STRING, "ADDRESS", "127.0.0.1", "where to listen; 0.0.0.0 or :: is everywhere", "Server"},
    {"port", 0, KD_OPT_INT, "N", "8080", "0: a free one", "Server", .min = 0, .max = 65535},
    {"api-key-file", 0, KD_OPT_PATH, "FILE", NULL, "holds the key that requests must bring, for nobody else to read", "Server"},
    {"clients", 0, KD_OPT_INT, "N", "256", "connections at once at most", "Server", .min = 1, .max = 10000},
    {"max-body", 0, KD_OPT_SIZE, "SIZE", "16M", "of a request's body", "Server", .min = 1024, .max = 1e9},
    {"reasoning", 0, KD_OPT_ENUM, "split|raw", "split", "a thought apart as reasoning_content, or within the content", "Server"},
    {"temperature", 0, KD_OPT_FLOAT, "T", "0.7", "where a request says nothing; 0 is greedy", "Sampling", .min = 0, .max = 100},
    {"top-p", 0, KD_OPT_FLOAT, "P", "0.95", "likewise: keep the smallest set with this much probability", "Sampling", .min = 0, .max = 1},
    {"top-k", 0, KD_OPT_INT, "K", "0", "likewise: keep the K most likely tokens (0 = all)", "Sampling", .min = 0, .max = 1e6},
    {"min-p", 0, KD_OPT_FLOAT, "P", "0", "likewise: keep tokens with this share of the best one's probability", "Sampling", .min = 0,
     .max = 1},
    {"max-tokens", 0, KD_OPT_INT, "N", "0", "likewise: length of an answer (0: to the context's end)", "Sampling", .min = 0, .max = 1e9},
    {"stop", 0, KD_OPT_STRINGS, "TEXT", NULL, "likewise: ends an answer", "Sampling"},
    KD_SAMPLING_OPTIONS,
    {"parallel", 0, KD_OPT_INT, "N", "32", "sequences decoded together", "Engine", .min = 1, .max = 4096},
    {"context", 0, KD_OPT_INT, "N", NULL, "positions of a sequence (the model's own)", "Engine", .min = 16, .max = 1e9},
    {"draft", 0, KD_OPT_INT, "N", "8", "tokens guessed ahead where few sequences run (0: none); no answer changes by it", "Engine",
     .min = 0, .max = 16},
    {"exact", 0, KD_OPT_FLAG, NULL, NULL, "f32 arithmetic instead of 8-bit activations", "Engine"},
    {"kv-type", 0, KD_OPT_ENUM, "f16|q8_0|f32", "f16", "type of keys and values", "Engine"},
    {0}};

/* Everything that a run opens. */
typedef struct {
    serve s;
    kd_loaded l;
    kd_chat *chat;
    kd_sampling_opts sampling;
    serve_http *http;
} server;

static kd_code load(server *v, kd_cli *cli, kd_err *e) {
    const char *model = kd_opt_string(cli, "model"), *alias = kd_opt_string(cli, "alias");
    if (!model) return kd_fail(e, KD_EINVAL, "serve: --model PATH is needed");
    kd_code c = kd_load(&v->l, model, kd_opt_string(cli, "adapter"), KD_LOAD_ALL, e);
    if (!c) c = kd_chat_open(&v->chat, v->l.source.path, kd_opt_string(cli, "chat-template"), e);
    if (c) return c;
    size_t n = strlen(model);
    while (n > 1 && model[n - 1] == '/') n--; /* a folder's name, not what is behind its slash */
    size_t from = n;
    while (from && model[from - 1] != '/') from--;
    v->s.model = alias ? kd_strdup(alias) : kd_strndup(model + from, n - from);
    v->s.tokenizer = v->l.tokenizer;
    v->s.has_template = kd_chat_has(v->chat);
    v->s.render = (kd_render){.chat = v->chat, .tokenizer = v->l.tokenizer, .now = kd_unix_ms() / 1000};
    v->s.V = v->l.model->config.V;
    return v->s.model ? KD_OK : kd_fail(e, KD_ENOMEM, "serve: out of memory");
}

static kd_code defaults(server *v, kd_cli *cli, kd_err *e) {
    serve *s = &v->s;
    const char *const *stop;
    kd_code c = kd_sampling_opts_read(&v->sampling, cli, v->l.tokenizer, s->V, e);
    if (c) return c;
    s->defaults.sampling = v->sampling.sampling;
    s->defaults.sampling.temperature = (float)kd_opt_float(cli, "temperature");
    s->defaults.sampling.top_p = (float)kd_opt_float(cli, "top-p");
    s->defaults.sampling.top_k = (uint32_t)kd_opt_int(cli, "top-k");
    s->defaults.sampling.min_p = (float)kd_opt_float(cli, "min-p");
    s->defaults.max_tokens = (size_t)kd_opt_int(cli, "max-tokens");
    s->defaults.min_tokens = v->sampling.min_tokens, s->defaults.max_thinking = v->sampling.max_thinking;
    s->defaults.no_loop_guard = v->sampling.no_loop_guard;
    s->defaults.stops = kd_opt_strings(cli, "stop", &stop);
    s->defaults.stop = (const char **)stop;
    s->defaults.seeded = kd_opt_given(cli, "seed"), s->defaults.seed = cli->seed;
    s->dry = v->sampling.dry, s->form = v->sampling.form;
    if (!s->dry) c = kd_dry_new(&s->dry, v->l.tokenizer, s->V, NULL, 0, e);
    v->sampling.dry = NULL;
    s->max_body = (size_t)kd_opt_size(cli, "max-body");
    s->split_thoughts = kd_opt_word(cli, "reasoning") == 0;
    s->started = kd_unix_ms() / 1000;
    if (getrandom(&s->entropy, sizeof s->entropy, GRND_NONBLOCK) != (ssize_t)sizeof s->entropy) s->entropy = kd_now_ns();
    return c ? c : kd_sampling_check(&s->defaults.sampling, s->V, e);
}

static kd_engine_options engine_options(const kd_cli *cli) {
    return (kd_engine_options){.threads = cli->threads,
                               .sequences = (size_t)kd_opt_int(cli, "parallel"),
                               .context = (size_t)kd_opt_int(cli, "context"),
                               .memory = cli->memory,
                               .draft = (size_t)kd_opt_int(cli, "draft"),
                               .exact = kd_opt_flag(cli, "exact"),
                               .kv = (kd_kv_kind)kd_opt_word(cli, "kv-type")};
}

static kd_code plan(kd_cli *cli, const server *v, const kd_engine_options *o, kd_err *e) {
    kd_engine_plan p = kd_engine_plan_of(v->l.model, o);
    char a[32], b[32], d[32];
    if (cli->json) {
        kd_jsonw *w = kd_out_json(cli);
        kd_jsonw_object(w);
        kd_jsonw_key(w, "weights_bytes"), kd_jsonw_int(w, (int64_t)p.weights);
        kd_jsonw_key(w, "work_bytes"), kd_jsonw_int(w, (int64_t)p.work);
        kd_jsonw_key(w, "kv_bytes"), kd_jsonw_int(w, (int64_t)p.kv_full);
        kd_jsonw_key(w, "kv_bytes_a_token"), kd_jsonw_int(w, (int64_t)p.kv_a_token);
        kd_jsonw_end_object(w);
        return kd_out_json_end(cli, e);
    }
    return kd_out(cli, "memory       weights %s (mapped), panels and buffers %s, keys and values of %zu full contexts %s\n",
                  kd_human_bytes(p.weights, a), kd_human_bytes(p.work, b), o->sequences, kd_human_bytes(p.kv_full, d));
}

/* Where it listens: a line for people, or an object for programs. */
static kd_code tell(kd_cli *cli, const server *v, const char *url, kd_err *e) {
    kd_engine_stats st = kd_engine_get_stats(v->s.engine);
    char a[32], b[32];
    if (!cli->json) {
        kd_note(cli, "%s: weights %s (mapped), buffers %s; %zu sequences at once, context %zu", v->s.model,
                kd_human_bytes(st.model_bytes, a), kd_human_bytes(st.work_bytes, b), (size_t)kd_opt_int(cli, "parallel"), v->s.context);
        kd_note(cli, "listening on %s/v1%s", url, v->s.key.len ? ", for those who have the key" : "");
        return KD_OK;
    }
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    kd_jsonw_key(w, "url"), kd_jsonw_cstr(w, url);
    kd_jsonw_key(w, "model"), kd_jsonw_cstr(w, v->s.model);
    kd_jsonw_key(w, "context"), kd_jsonw_int(w, (int64_t)v->s.context);
    kd_jsonw_end_object(w);
    kd_code c = kd_out_json_end(cli, e);
    fflush(stdout);
    return c;
}

/* Until a signal comes; then until what was taken is answered. */
static kd_code drive(server *v, kd_cli *cli, kd_err *e) {
    serve *s = &v->s;
    int stop = 0;
    kd_code c = KD_OK;
    double shown = 0;
    kd_emit(cli->watch, (kd_event){.kind = KD_EV_BEGIN,
                                   .stage = "serve",
                                   .unit = "tokens"}); /* from here a first signal is a wish, a second an order */
    while (!c && (!stop || atomic_load(&s->jobs))) {
        c = serve_turn(s, e);
        int now = kd_stopping(cli->watch);
        if (now && !stop) {
            stop = now;
            pthread_mutex_lock(&s->lock);
            atomic_store(&s->draining, true);
            pthread_mutex_unlock(&s->lock);
            serve_http_quiesce(v->http);
            if (atomic_load(&s->jobs)) kd_note(cli, "finishing %zu requests; a second signal ends at once", (size_t)atomic_load(&s->jobs));
        }
        if (kd_now() - shown > 0.2 && isatty(2)) {
            char text[64];
            snprintf(text, sizeof text, "%zu running, %zu waiting", s->stats.running, s->stats.waiting);
            kd_emit(cli->watch,
                    (kd_event){.kind = KD_EV_STEP, .stage = "serve", .done = s->stats.generated_tokens, .unit = "tokens", .text = text});
            shown = kd_now();
        }
    }
    if (c) serve_drop_all(s, e);
    serve_http_stop(v->http);
    v->http = NULL;
    kd_emit(cli->watch, (kd_event){.kind = KD_EV_END, .stage = "serve", .done = s->stats.generated_tokens, .unit = "tokens"});
    return c ? c : kd_fail(e, (kd_code)stop, "stopped; every request that was taken has been answered");
}

static bool loopback(const char *host) { return !strncmp(host, "127.", 4) || !strcmp(host, "::1") || !strcmp(host, "localhost"); }

static void close_all(server *v) {
    serve *s = &v->s;
    kd_engine_free(s->engine);
    form_drop_all(s);
    kd_dry_free(s->dry);
    if (s->key.data) explicit_bzero(s->key.data, s->key.cap);
    kd_buf_clear(&s->key);
    kd_free(s->model);
    kd_sampling_opts_clear(&v->sampling);
    kd_chat_free(v->chat);
    kd_unload(&v->l);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
}

static void open_locks(serve *s) {
    pthread_condattr_t attr;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->work, &attr);
    pthread_condattr_destroy(&attr);
}

static kd_code run(kd_cli *cli, kd_err *e) {
    server v = {.s = {.cli = cli}};
    const char *host = kd_opt_string(cli, "host"), *key = kd_opt_string(cli, "api-key-file");
    char url[160];
    open_locks(&v.s);
    kd_code c = key ? kd_key_read(&v.s.key, key, e) : KD_OK;
    if (!c) c = load(&v, cli, e);
    if (!c) c = defaults(&v, cli, e);
    kd_engine_options o = engine_options(cli);
    if (!c && cli->dry_run) {
        c = plan(cli, &v, &o, e);
        close_all(&v);
        return c;
    }
    if (!c) c = kd_engine_new(&v.s.engine, v.l.model, v.l.adapter, v.l.tokenizer, &o, e);
    if (!c) v.s.context = kd_engine_context(v.s.engine);
    if (!c) c = serve_http_start(&v.http, &v.s, host, (int)kd_opt_int(cli, "port"), (size_t)kd_opt_int(cli, "clients"), url, e);
    if (!c && !v.s.key.len && !loopback(host)) kd_warn(cli, "%s is open to others, and no key is asked for (--api-key-file)", host);
    if (!c) c = tell(cli, &v, url, e);
    if (!c) c = drive(&v, cli, e);
    if (v.http) serve_http_quiesce(v.http), serve_http_stop(v.http);
    close_all(&v);
    return c;
}

const kd_cmd kd_cmd_serve = {
    .name = "serve",
    .help = "a model behind an OpenAI-compatible API",
    .usage = "--model PATH [--port N]",
    .about = "Paths: /v1/chat/completions, /v1/completions, /v1/models, /health, /metrics. Many clients at once share the engine's batch; "
             "a request with a\n"
             "seed gives the tokens that generate gives. Example:\n"
             "  distill serve --model student.gguf --port 8080\n"
             "  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' -d "
             "'{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}'\n"
             "SIGTERM takes no more requests, answers those it has, and ends.",
    .opts = options,
    .run = run,
};
