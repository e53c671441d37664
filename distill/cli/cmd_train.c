/* distill/cli/cmd_train.c - `distill train`: from lessons to an adapter or a model, in a run folder. Leans on student/run.h, train_data.h. */
#include "distill/base/clock.h"
#include "distill/base/cpu.h"
#include "distill/base/hash.h"
#include "distill/cli/train_data.h"
#include "student/run.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const kd_opt options[] = {
    {"model", 'm', KD_OPT_PATH, "PATH", NULL, "what learns: a Hugging Face folder, a GGUF file, or a run", "Model"},
    {"output", 'o', KD_OPT_PATH, "RUN", NULL, "the run folder; the same command goes on with it", "Model"},
    {"adapter", 0, KD_OPT_PATH, "DIR", NULL, "start from this adapter (PEFT folder)", "Model"},
    {"method", 0, KD_OPT_ENUM, "lora|dora|full", "lora", "what is trained", "Method"},
    {"lora-rank", 0, KD_OPT_INT, "R", "16", "rank of the adapter", "Method", .min = 1, .max = 4096},
    {"lora-alpha", 0, KD_OPT_FLOAT, "A", "32", "its scale is alpha / rank", "Method", .min = 1e-6, .max = 1e6},
    {"lora-targets", 0, KD_OPT_STRING, "LIST", "all-linear",
     "modules, comma-separated: q_proj k_proj v_proj o_proj gate_proj up_proj down_proj", "Method"},
    {"lora-dropout", 0, KD_OPT_FLOAT, "P", "0", "share of an adapter's inputs left out", "Method", .min = 0, .max = 0.99},
    {"rslora", 0, KD_OPT_FLAG, NULL, NULL, "scale by alpha / sqrt(rank)", "Method"},
    {"learning-rate", 0, KD_OPT_FLOAT, "LR", NULL, "its peak; 2e-4 for adapters, 2e-5 for full training unless given", "Optimization",
     .min = 0, .max = 1e3},
    {"schedule", 0, KD_OPT_ENUM, "constant|linear|cosine|wsd", "linear", "how the learning rate falls", "Optimization"},
    {"warmup-ratio", 0, KD_OPT_FLOAT, "X", "0", "share of the updates in which it rises", "Optimization", .min = 0, .max = 1},
    {"epochs", 0, KD_OPT_FLOAT, "N", "3", "times through the lessons", "Optimization", .min = 1e-9, .max = 1e6},
    {"max-steps", 0, KD_OPT_INT, "N", NULL, "updates, instead of epochs", "Optimization", .min = 1, .max = 1e12},
    {"batch-size", 0, KD_OPT_INT, "N", "16", "sequences an update", "Optimization", .min = 1, .max = 1e6},
    {"optimizer", 0, KD_OPT_ENUM, "adamw|sgd", "adamw", "which", "Optimization"},
    {"weight-decay", 0, KD_OPT_FLOAT, "X", "0", "on matrices and embeddings, not on norms and biases", "Optimization", .min = 0,
     .max = 1e3},
    {"beta1", 0, KD_OPT_FLOAT, "X", "0.9", "of AdamW", "Optimization", .min = 0, .max = 0.999999999},
    {"beta2", 0, KD_OPT_FLOAT, "X", "0.999", "of AdamW", "Optimization", .min = 0, .max = 0.999999999},
    {"epsilon", 0, KD_OPT_FLOAT, "X", "1e-8", "of AdamW", "Optimization", .min = 0, .max = 1},
    {"clip-norm", 0, KD_OPT_FLOAT, "X", "1", "longest gradient; 0 is no clipping", "Optimization", .min = 0, .max = 1e30},
    {"label-smoothing", 0, KD_OPT_FLOAT, "X", "0", "share of the target spread over all tokens", "Optimization", .min = 0, .max = 0.999},
    {"z-loss", 0, KD_OPT_FLOAT, "X", "0", "weight of the squared log of the softmax's sum", "Optimization", .min = 0, .max = 1},
    {"arithmetic", 0, KD_OPT_ENUM, "f32|bf16|auto", "f32",
     "what large products are computed in; sums and weights are f32; auto: bf16 where the CPU has it", "Optimization"},
    {"max-seq-length", 0, KD_OPT_INT, "N", NULL, "longest lesson in tokens; the model's context unless given", "Data", .min = 2,
     .max = 1e7},
    {"long", 0, KD_OPT_ENUM, "drop|cut|refuse", "drop", "what happens to longer ones", "Data"},
    {"shuffle", 0, KD_OPT_FLAG, NULL, "true", "a new order each epoch; --no-shuffle keeps the order of the files", "Data"},
    {"select", 0, KD_OPT_STRING, "EXPR", NULL, "which samples of a study; its verified answers unless given", "Data"},
    {"chat-template", 0, KD_OPT_PATH, "FILE", NULL, "instead of the model's own", "Data"},
    {"save-every", 0, KD_OPT_INT, "N", "0", "updates between checkpoints; 0 is every two minutes", "Run", .min = 0, .max = 1e12},
    {"keep", 0, KD_OPT_INT, "N", "2", "checkpoints kept", "Run", .min = 1, .max = 1e6},
    {"fresh", 0, KD_OPT_FLAG, NULL, NULL, "start over: what RUN holds of an earlier run is removed", "Run"},
    {"recompute", 0, KD_OPT_INT, "L", "-1", "layers whose activations are computed twice to save memory; -1: as memory asks", "Run",
     .min = -1, .max = 1e6},
    {"rows", 0, KD_OPT_INT, "N", "0", "most tokens in one pass; 0: as memory allows", "Run", .min = 0, .max = 1e9},
    {0}};

/* Options that may differ when a run goes on: they change nothing of its result. */
static const char *const free_keys[] = {"model",     "output", "adapter", "save-every", "keep", "fresh",
                                        "recompute", "rows",   "threads", "memory",     NULL};

/* Everything that a run of the command holds. */
typedef struct {
    kd_cli *cli;
    kd_source source;
    kd_model *m;
    kd_adapter *start;
    kd_lessons lessons;
    kd_train_data data;
    kd_train_options o;
    kd_train_plan plan;
    kd_pool *pool;
    kd_run *run;
    kd_trainer *t;
    char base[PATH_MAX], start_sha256[65];
    int64_t now; /* the date that templates show: of the run's beginning, however often it goes on */
} job;

static kd_code read_targets(const char *list, uint32_t *targets, kd_err *e) {
    *targets = 0;
    if (strcmp(list, "all-linear") == 0 || strcmp(list, "all") == 0) {
        *targets = (1u << KD_MATS) - 1;
        return KD_OK;
    }
    for (const char *p = list; *p;) {
        const size_t n = strcspn(p, ", ");
        bool known = n == 0;
        for (kd_role r = 0; r < KD_MATS; r++)
            if (strlen(kd_module_name(r)) == n && strncmp(kd_module_name(r), p, n) == 0) {
                *targets |= 1u << r;
                known = true;
            }
        if (!known) return kd_fail(e, KD_EINVAL, "--lora-targets: no module is called %.*s", (int)n, p);
        p += n + (p[n] != 0);
    }
    return *targets ? KD_OK : kd_fail(e, KD_EINVAL, "--lora-targets names no module");
}

/* An adapter to start from says its rank, alpha and kind; flags may only agree. */
static kd_code follow_adapter(job *j, kd_err *e) {
    const kd_cli *cli = j->cli;
    const kd_adapter_config *a = &j->start->config;
    kd_adapter_config *l = &j->o.method.lora;
    if (j->o.method.method == KD_FULL)
        return kd_fail(e, KD_EUNSUPPORTED, "--method full does not start from an adapter; merge it first (distill convert)");
    if (kd_opt_given(cli, "lora-rank") && l->r != a->r)
        return kd_fail(e, KD_EINVAL, "--lora-rank %u, but the adapter's rank is %u", l->r, a->r);
    if (kd_opt_given(cli, "lora-alpha") && l->alpha != a->alpha)
        return kd_fail(e, KD_EINVAL, "--lora-alpha %g, but the adapter's alpha is %g", (double)l->alpha, (double)a->alpha);
    if (kd_opt_given(cli, "rslora") && l->rslora != a->rslora)
        return kd_fail(e, KD_EINVAL, "--rslora says %s, the adapter %s", l->rslora ? "yes" : "no", a->rslora ? "yes" : "no");
    if (kd_opt_given(cli, "method") && l->dora != a->dora)
        return kd_fail(e, KD_EINVAL, "--method %s, but the adapter is of %s", kd_opt_string(cli, "method"), a->dora ? "dora" : "lora");
    if (kd_opt_given(cli, "lora-targets") && l->targets != a->targets)
        return kd_fail(e, KD_EINVAL, "--lora-targets are not those of the adapter");
    for (uint32_t i = 0; i < j->start->L * KD_MATS; i++) {
        const kd_lora *one = &j->start->layers[i];
        if ((a->targets >> i % KD_MATS & 1) && (one->r != a->r || one->alpha != a->alpha))
            return kd_fail(e, KD_EUNSUPPORTED,
                           "the adapter has ranks or alphas that differ by module; training goes on only from even ones");
    }
    const float dropout = kd_opt_given(cli, "lora-dropout") ? l->dropout : a->dropout;
    *l = *a;
    l->dropout = dropout;
    l->base = NULL;
    return KD_OK;
}

static kd_code read_options(job *j, kd_err *e) {
    const kd_cli *cli = j->cli;
    kd_train_options *o = &j->o;
    const char *method = kd_opt_string(cli, "method");
    const bool full = strcmp(method, "full") == 0;
    *o = (kd_train_options){.method = {.method = full ? KD_FULL : KD_LORA_METHOD},
                            .learning_rate = kd_opt_given(cli, "learning-rate") ? kd_opt_float(cli, "learning-rate")
                                             : full                             ? 2e-5
                                                                                : 2e-4,
                            .warmup_ratio = kd_opt_float(cli, "warmup-ratio"),
                            .schedule = (kd_schedule_kind)kd_opt_word(cli, "schedule"),
                            .epochs = kd_opt_float(cli, "epochs"),
                            .max_steps = (uint64_t)kd_opt_int(cli, "max-steps"),
                            .batch_size = (size_t)kd_opt_int(cli, "batch-size"),
                            .no_shuffle = !kd_opt_flag(cli, "shuffle"),
                            .seed = cli->seed,
                            .clip_norm = kd_opt_float(cli, "clip-norm"),
                            .objective = {(float)kd_opt_float(cli, "label-smoothing"), (float)kd_opt_float(cli, "z-loss")},
                            .rows = (size_t)kd_opt_int(cli, "rows"),
                            .recompute = (int)kd_opt_int(cli, "recompute"),
                            .memory = cli->memory};
    o->optimizer = (kd_optimizer_options){.kind = (kd_optimizer_kind)kd_opt_word(cli, "optimizer"),
                                          .beta1 = (float)kd_opt_float(cli, "beta1"),
                                          .beta2 = (float)kd_opt_float(cli, "beta2"),
                                          .eps = (float)kd_opt_float(cli, "epsilon"),
                                          .decay = (float)kd_opt_float(cli, "weight-decay")};
    const int arithmetic = kd_opt_word(cli, "arithmetic");
    if (arithmetic == 1 && !kd_cpu_get()->avx512_bf16)
        return kd_fail(e, KD_EUNSUPPORTED, "--arithmetic bf16: this CPU (%s) does not multiply bfloat16; use f32 or auto",
                       kd_cpu_describe());
    o->bf16 = arithmetic > 0 && kd_cpu_get()->avx512_bf16;
    if (full) return KD_OK;
    o->method.lora = (kd_adapter_config){.r = (uint32_t)kd_opt_int(cli, "lora-rank"),
                                         .alpha = (float)kd_opt_float(cli, "lora-alpha"),
                                         .dropout = (float)kd_opt_float(cli, "lora-dropout"),
                                         .rslora = kd_opt_flag(cli, "rslora"),
                                         .dora = strcmp(method, "dora") == 0};
    return read_targets(kd_opt_string(cli, "lora-targets"), &o->method.lora.targets, e);
}

static kd_code open_inputs(job *j, kd_err *e) {
    const kd_cli *cli = j->cli;
    const char *model = kd_opt_string(cli, "model"), *adapter = kd_opt_string(cli, "adapter");
    if (!model) return kd_fail(e, KD_EINVAL, "train needs --model");
    if (!kd_opt_string(cli, "output")) return kd_fail(e, KD_EINVAL, "train needs -o RUN");
    kd_code code = kd_source_resolve(&j->source, model, e);
    if (code == KD_OK) code = kd_model_open(&j->m, j->source.path, e);
    if (code == KD_OK && !realpath(j->source.path, j->base)) snprintf(j->base, sizeof j->base, "%s", j->source.path);
    if (code == KD_OK && !adapter) adapter = j->source.adapter;
    if (code == KD_OK) code = read_options(j, e);
    if (code == KD_OK && adapter) code = kd_adapter_open(&j->start, adapter, &j->m->config, e);
    if (code == KD_OK && adapter) code = follow_adapter(j, e);
    char *weights = adapter ? kd_path_join(adapter, "adapter_model.safetensors") : NULL;
    if (code == KD_OK && adapter)
        code = weights ? kd_sha256_file(weights, j->start_sha256, e) : kd_fail(e, KD_ENOMEM, "no memory to read %s", adapter);
    kd_free(weights);
    char date[32];
    const bool known = !kd_opt_flag(cli, "fresh") && kd_run_peek(kd_opt_string(cli, "output"), "date", date, sizeof date);
    j->now = known ? strtoll(date, NULL, 10) : kd_unix_ms() / 1000;
    const kd_train_source s = {.now = j->now,
                               .max_length = (size_t)kd_opt_int(cli, "max-seq-length"),
                               .longer = (kd_long)kd_opt_word(cli, "long"),
                               .select = kd_opt_string(cli, "select"),
                               .chat_template = kd_opt_string(cli, "chat-template")};
    if (code == KD_OK) code = kd_train_data_read(&j->lessons, &j->data, j->cli, j->m, &s, e);
    if (code == KD_OK) code = kd_cli_pool(j->cli, &j->pool, e);
    return code;
}

/* The settings as they are recorded: the options, and as remarks what they stand for. */
static kd_code settings(const job *j, kd_buf *out) {
    kd_code code = kd_cli_config_yaml(j->cli, out);
    const kd_adapter_config *l = &j->o.method.lora;
    if (code == KD_OK && j->start)
        code = kd_buf_printf(out, "# adapter_sha256: %s\n# adapter_form: r %u, alpha %g, rslora %d, dora %d, targets %x\n", j->start_sha256,
                             l->r, (double)l->alpha, l->rslora, l->dora, l->targets);
    if (code == KD_OK)
        code = kd_buf_printf(out,
                             "# base: %s\n# base_bytes: %llu\n# lessons: %zu\n# lessons_sha256: %s\n# updates: %llu\n# rows_at_once: "
                             "%zu\n# products: %s\n# date: %lld\n",
                             j->base, (unsigned long long)j->m->bytes, j->lessons.n, j->data.sha256, (unsigned long long)j->plan.steps,
                             j->plan.shape.rows, j->o.bf16 ? "bf16" : "f32", (long long)j->now);
    return code;
}

static void remark(void *ctx, const char *text) {
    job *j = ctx;
    kd_warn(j->cli, "%s", text);
}

static kd_code plan(job *j, kd_err *e) {
    char rows[32];
    if (j->run && j->o.rows == 0 && kd_run_recorded(j->run, "rows_at_once", rows, sizeof rows))
        j->o.rows = (size_t)strtoull(rows, NULL, 10);
    return kd_train_plan_make(&j->plan, j->m, j->lessons.at, j->lessons.n, &j->o, kd_pool_threads(j->pool), e);
}

static kd_code say_plan(job *j, kd_err *e) {
    kd_cli *cli = j->cli;
    if (cli->json && !cli->dry_run) return KD_OK;
    if (cli->json) {
        kd_jsonw *w = kd_out_json(cli);
        kd_jsonw_object(w);
        for (int k = 0; k < KD_MEM_KINDS; k++) {
            kd_jsonw_key(w, kd_mem_name((kd_mem_kind)k));
            kd_jsonw_int(w, (int64_t)j->plan.bytes[k]);
        }
        const struct {
            const char *key;
            uint64_t value;
        } more[] = {{"total", j->plan.total},
                    {"limit", j->plan.limit},
                    {"rows", j->plan.shape.rows},
                    {"recompute", j->plan.shape.recompute},
                    {"trained_parameters", j->plan.trained},
                    {"updates", j->plan.steps},
                    {"lessons", j->lessons.n},
                    {"tokens", j->data.tokens},
                    {"loss_tokens", j->data.loss_tokens}};
        for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
            kd_jsonw_key(w, more[i].key);
            kd_jsonw_int(w, (int64_t)more[i].value);
        }
        kd_jsonw_end_object(w);
        return kd_out_json_end(cli, e);
    }
    kd_buf text = {0};
    kd_code code = kd_buf_printf(&text, "%zu lessons, %zu tokens, %zu to learn", j->lessons.n, j->data.tokens, j->data.loss_tokens);
    if (code == KD_OK && j->data.dropped) code = kd_buf_printf(&text, "; %zu too long, left out", j->data.dropped);
    if (code == KD_OK && j->data.cut) code = kd_buf_printf(&text, "; %zu too long, cut", j->data.cut);
    if (code == KD_OK && j->data.empty) code = kd_buf_printf(&text, "; %zu with nothing to learn, left out", j->data.empty);
    if (code == KD_OK) code = kd_buf_puts(&text, "\nmemory:\n");
    if (code == KD_OK) code = kd_train_plan_text(&text, &j->plan, &j->m->config);
    if (code != KD_OK)
        code = kd_fail(e, KD_ENOMEM, "no memory for the plan");
    else if (cli->dry_run)
        code = kd_out_str(cli, kd_buf_view(&text));
    else
        kd_note(cli, "%.*s", (int)text.len - 1, text.data);
    kd_buf_clear(&text);
    return code;
}

static kd_code say_result(job *j, const kd_run_report *r, kd_err *e) {
    kd_cli *cli = j->cli;
    const char *dir = kd_opt_string(cli, "output");
    const double rate = r->seconds > 0 ? (double)r->tokens / r->seconds : 0;
    if (!cli->json) {
        if (r->first == r->steps)
            kd_note(cli, "%s was trained already: %llu updates", dir, (unsigned long long)r->steps);
        else
            kd_note(cli, "%llu updates, loss %.4f -> %.4f, %.0f tokens/s, %.0f GFLOPS, peak %.0f MB (planned %.0f)",
                    (unsigned long long)(r->steps - r->first), r->loss_first, r->loss_last, rate,
                    r->seconds > 0 ? r->flops / r->seconds / 1e9 : 0, (double)kd_peak_rss() / 1e6, (double)j->plan.total / 1e6);
        return kd_out(cli, "%s\n", dir);
    }
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    kd_jsonw_key(w, "run");
    kd_jsonw_cstr(w, dir);
    kd_jsonw_key(w, "updates");
    kd_jsonw_int(w, (int64_t)r->steps);
    kd_jsonw_key(w, "resumed_from");
    kd_jsonw_int(w, (int64_t)r->first);
    kd_jsonw_key(w, "loss_first");
    kd_jsonw_double(w, r->loss_first);
    kd_jsonw_key(w, "loss_last");
    kd_jsonw_double(w, r->loss_last);
    kd_jsonw_key(w, "tokens_per_second");
    kd_jsonw_double(w, rate);
    kd_jsonw_key(w, "flops_per_second");
    kd_jsonw_double(w, r->seconds > 0 ? r->flops / r->seconds : 0);
    kd_jsonw_key(w, "planned_bytes");
    kd_jsonw_int(w, (int64_t)j->plan.total);
    kd_jsonw_key(w, "peak_rss_bytes");
    kd_jsonw_int(w, (int64_t)kd_peak_rss());
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code work(job *j, kd_err *e) {
    kd_cli *cli = j->cli;
    kd_buf text = {0};
    kd_code code = open_inputs(j, e);
    if (code == KD_OK && !cli->dry_run) code = kd_run_open(&j->run, kd_opt_string(cli, "output"), kd_opt_flag(cli, "fresh"), e);
    if (code == KD_OK) code = plan(j, e);
    if (code == KD_OK) code = say_plan(j, e);
    if (code != KD_OK || cli->dry_run) goto done;
    code = settings(j, &text) == KD_OK ? kd_run_settle(j->run, kd_buf_view(&text), free_keys, e)
                                       : kd_fail(e, KD_ENOMEM, "no memory for the settings");
    if (code == KD_OK) code = kd_trainer_new(&j->t, j->m, j->lessons.at, j->lessons.n, &j->o, &j->plan, j->start, j->pool, e);
    if (code != KD_OK) goto done;
    kd_run_report report;
    const kd_run_options ro = {.save_every = (uint64_t)kd_opt_int(cli, "save-every"),
                               .keep = (unsigned)kd_opt_int(cli, "keep"),
                               .base = j->base,
                               .note = remark,
                               .ctx = j};
    code = kd_run_train(j->run, j->t, j->m, &j->o, &j->plan, &ro, cli->watch, &report, e);
    if (code == KD_OK) code = say_result(j, &report, e);
done:
    kd_buf_clear(&text);
    return code;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    job j = {.cli = cli};
    kd_code code = work(&j, e);
    kd_trainer_free(j.t);
    kd_run_close(j.run);
    kd_lessons_clear(&j.lessons);
    kd_adapter_free(j.start);
    kd_model_free(j.m);
    kd_source_clear(&j.source);
    return code;
}

const kd_cmd kd_cmd_train = {.name = "train",
                             .help = "teach a model: LoRA, DoRA or all weights",
                             .usage = "STUDY|FILE...",
                             .about = "A FILE.jsonl holds {\"tokens\":[...],\"loss\":[0|1 ...]}, {\"messages\":[...]} or "
                                      "{\"prompt\":...,\"completion\":...} a line. RUN gets config.yaml,\n"
                                      "metrics.jsonl, checkpoints/ and, at the end, adapter/ (PEFT's layout) or model/ (Hugging Face's). "
                                      "Killed anywhere, the same command\n"
                                      "goes on to the very same weights.\n"
                                      "  distill train lessons.jsonl --model SmolLM2-135M.gguf -o run --epochs 2 --learning-rate 1e-3",
                             .opts = options,
                             .min_args = 1,
                             .max_args = -1,
                             .run = run};
