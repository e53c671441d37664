/* distill/cli/cmd_train.c - `distill train`: from lessons to an adapter or a model, in a run folder. Leans on student/run.h, train_data.h. */
#include "distill/base/clock.h"
#include "distill/base/cpu.h"
#include "distill/base/hash.h"
#include "distill/cli/train_job.h"

#include "distill/model/tokenizer.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const kd_opt options[] = {
    {"model", 'm', KD_OPT_PATH, "PATH", NULL, "what learns: a Hugging Face folder, a GGUF file, or a run", "Model"},
    {"output", 'o', KD_OPT_PATH, "RUN", NULL, "the run folder; the same command goes on with it", "Model"},
    {"adapter", 0, KD_OPT_PATH, "DIR", NULL, "start from this adapter (PEFT folder)", "Model"},
    {"chat-template", 0, KD_OPT_PATH, "FILE", NULL, "install this chat template: rows are rendered by it, and the result carries it",
     "Model"},
    {"add-tokens", 0, KD_OPT_STRING, "LIST", NULL,
     "tokens that the vocabulary shall have, comma-separated: <|im_start|>,<|im_end|>,<think>; new rows start at the mean of the others "
     "and are trained",
     "Model"},
    {"eos", 0, KD_OPT_STRING, "TOKEN", NULL, "what ends an assistant's turn, and a generation", "Model"},
    {"rope-theta", 0, KD_OPT_FLOAT, "X", NULL, "base of the rotary embedding, instead of the model's own", "Model", .min = 1, .max = 1e12},
    {"method", 0, KD_OPT_ENUM, "lora|dora|full|badam", "lora", "what is trained; badam: all weights of the layers, one layer at a time",
     "Method"},
    {"lora-rank", 0, KD_OPT_INT, "R", "16", "rank of the adapter", "Method", .min = 1, .max = 4096},
    {"lora-alpha", 0, KD_OPT_FLOAT, "A", "32", "its scale is alpha / rank", "Method", .min = 1e-6, .max = 1e6},
    {"lora-targets", 0, KD_OPT_STRING, "LIST", "all-linear",
     "modules, comma-separated: q_proj k_proj v_proj o_proj gate_proj up_proj down_proj", "Method"},
    {"lora-dropout", 0, KD_OPT_FLOAT, "P", "0", "share of an adapter's inputs left out", "Method", .min = 0, .max = 0.99},
    {"lora-rank-pattern", 0, KD_OPT_STRING, "LIST", NULL,
     "ranks of modules by PEFT's patterns: q_proj=8,layers.0.mlp.down_proj=32; the first that fits counts", "Method"},
    {"lora-alpha-pattern", 0, KD_OPT_STRING, "LIST", NULL, "alphas likewise", "Method"},
    {"modules-to-save", 0, KD_OPT_STRING, "LIST", NULL, "trained whole beside the adapter: embed_tokens, lm_head", "Method"},
    {"badam-switch-interval", 0, KD_OPT_INT, "N", "50", "updates before the next layer's turn", "Method", .min = 1, .max = 1e9},
    {"badam-switch-mode", 0, KD_OPT_ENUM, "descending|random", "descending", "from the last layer to the first, or shuffled", "Method"},
    {"rslora", 0, KD_OPT_FLAG, NULL, NULL, "scale by alpha / sqrt(rank)", "Method"},
    {"learning-rate", 0, KD_OPT_FLOAT, "LR", NULL, "its peak; 2e-4 for adapters, 2e-5 for full training unless given", "Optimization",
     .min = 0, .max = 1e3},
    {"schedule", 0, KD_OPT_ENUM, "constant|linear|cosine|wsd", "linear", "how the learning rate falls", "Optimization"},
    {"warmup-ratio", 0, KD_OPT_FLOAT, "X", "0", "share of the updates in which it rises", "Optimization", .min = 0, .max = 1},
    {"epochs", 0, KD_OPT_FLOAT, "N", "3", "times through the lessons", "Optimization", .min = 1e-9, .max = 1e6},
    {"max-steps", 0, KD_OPT_INT, "N", NULL, "updates, instead of epochs", "Optimization", .min = 1, .max = 1e12},
    {"batch-size", 0, KD_OPT_INT, "N", "16", "sequences an update", "Optimization", .min = 1, .max = 1e6},
    {"optimizer", 0, KD_OPT_ENUM, "adamw|sgd|adamw_8bit|adafactor|muon", "adamw",
     "which; adamw takes a byte a moment where --memory asks for it and this is not given", "Optimization"},
    {"weight-decay", 0, KD_OPT_FLOAT, "X", "0", "on matrices and embeddings, not on norms and biases", "Optimization", .min = 0,
     .max = 1e3},
    {"beta1", 0, KD_OPT_FLOAT, "X", "0.9", "of AdamW", "Optimization", .min = 0, .max = 0.999999999},
    {"beta2", 0, KD_OPT_FLOAT, "X", "0.999", "of AdamW", "Optimization", .min = 0, .max = 0.999999999},
    {"epsilon", 0, KD_OPT_FLOAT, "X", "1e-8", "of AdamW", "Optimization", .min = 0, .max = 1},
    {"momentum", 0, KD_OPT_FLOAT, "X", "0.95", "of Muon", "Optimization", .min = 1e-6, .max = 0.999999},
    {"ema", 0, KD_OPT_FLOAT, "D", "0", "the result is the running average of the weights with this decay; 0: the weights themselves",
     "Optimization", .min = 0, .max = 0.9999999},
    {"on-fault", 0, KD_OPT_ENUM, "stop|skip", "stop", "an update whose loss or gradient is not finite, or spikes", "Optimization"},
    {"loss-spike", 0, KD_OPT_FLOAT, "X", "0", "a loss above X times the mean of the last 32 updates' is a fault; 0: never", "Optimization",
     .min = 0, .max = 1e9},
    {"clip-norm", 0, KD_OPT_FLOAT, "X", "1", "longest gradient; 0 is no clipping", "Optimization", .min = 0, .max = 1e30},
    {"label-smoothing", 0, KD_OPT_FLOAT, "X", "0", "share of the target spread over all tokens", "Optimization", .min = 0, .max = 0.999},
    {"z-loss", 0, KD_OPT_FLOAT, "X", "0", "weight of the squared log of the softmax's sum", "Optimization", .min = 0, .max = 1},
    {"arithmetic", 0, KD_OPT_ENUM, "f32|bf16|auto", "f32",
     "what large products are computed in; sums and weights are f32; auto: bf16 where the CPU has it", "Optimization"},
    {"max-seq-length", 0, KD_OPT_INT, "N", NULL, "longest lesson in tokens; the model's context unless given", "Data", .min = 2,
     .max = 1e7},
    {"long-rows", 0, KD_OPT_ENUM, "drop|cut|refuse", "drop", "what happens to longer ones", "Data"},
    {"long", 0, KD_OPT_ENUM, "drop|cut|refuse", NULL, "--long-rows", "Data", .hidden = true},
    {"shuffle", 0, KD_OPT_FLAG, NULL, "true", "a new order each epoch; --no-shuffle keeps the order of the files", "Data"},
    {"select", 0, KD_OPT_STRING, "SQL|@NAME", NULL,
     "which samples of a study, or a selection kept in it (export --save); its verified answers unless given", "Data"},
    {"weight", 0, KD_OPT_STRING, "SQL", NULL, "a sample's weight in the loss, from columns and labels: \"1 - repeats\"; 0 leaves it out",
     "Data"},
    {"eval-split", 0, KD_OPT_STRING, "NAME", NULL, "measure on verified answers of this split of the study (dev)", "Evaluation"},
    {"eval-data", 0, KD_OPT_PATH, "FILE", NULL, "measure on this study's split, or on all rows of this FILE.jsonl", "Evaluation"},
    {"eval-every", 0, KD_OPT_INT, "N", "0", "updates between; 0: before the first and after the last", "Evaluation", .min = 0, .max = 1e12},
    {"eval-tokens", 0, KD_OPT_INT, "N", "0", "held-out lessons of about so many tokens in all; 0: every one", "Evaluation", .min = 0,
     .max = 1e12},
    {"eval-generate", 0, KD_OPT_INT, "N", "0", "the student answers the first N questions of the split itself: pass@1", "Evaluation",
     .min = 0, .max = 1e6},
    {"eval-samples", 0, KD_OPT_INT, "K", "1", "answers to each (more than one at temperature 0.7)", "Evaluation", .min = 1, .max = 1024},
    {"eval-max-tokens", 0, KD_OPT_INT, "N", "512", "length of an answer at most", "Evaluation", .min = 1, .max = 1e6},
    {"general", 0, KD_OPT_PATH, "FILE", NULL,
     "general text (or FILE.jsonl), measured too: its loss before and after says what was forgotten", "Evaluation"},
    {"general-tokens", 0, KD_OPT_INT, "N", "4096", "of it at most; 0: all", "Evaluation", .min = 0, .max = 1e12},
    {"patience", 0, KD_OPT_INT, "N", "0", "evaluations without a better one after which training ends; 0: none", "Evaluation", .min = 0,
     .max = 1e6},
    {"result", 0, KD_OPT_ENUM, "best|last", "best", "of which update the result is: of the best evaluation, or of the last", "Evaluation"},
    {"save-every", 0, KD_OPT_INT, "N", "0", "updates between checkpoints; 0 is every two minutes", "Run", .min = 0, .max = 1e12},
    {"keep", 0, KD_OPT_INT, "N", "2", "checkpoints kept", "Run", .min = 1, .max = 1e6},
    {"fresh", 0, KD_OPT_FLAG, NULL, NULL, "start over: what RUN holds of an earlier run is removed", "Run"},
    {"recompute", 0, KD_OPT_INT, "L", "-1", "layers whose activations are computed twice to save memory; -1: as memory asks", "Run",
     .min = -1, .max = 1e6},
    {"rows", 0, KD_OPT_INT, "N", "0", "most tokens in one pass; 0: as memory allows", "Run", .min = 0, .max = 1e9},
    {0}};

/* Options that may differ when a run goes on: they change nothing of its result. */
static const char *const free_keys[] = {"model",     "output", "adapter", "save-every", "keep", "fresh",
                                        "recompute", "rows",   "threads", "memory",     "long", NULL};

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

static kd_code read_saved(const kd_cli *cli, kd_train_method *m, kd_err *e) {
    const char *list = kd_opt_string(cli, "modules-to-save");
    for (const char *p = list ? list : ""; *p;) {
        const size_t n = strcspn(p, ", ");
        if (n == strlen("embed_tokens") && strncmp(p, "embed_tokens", n) == 0)
            m->embed = true;
        else if (n == strlen("lm_head") && strncmp(p, "lm_head", n) == 0)
            m->head = true;
        else if (n)
            return kd_fail(e, KD_EINVAL, "--modules-to-save: expected embed_tokens or lm_head, found %.*s", (int)n, p);
        p += n + (p[n] != 0);
    }
    return KD_OK;
}

/* An adapter to start from says its rank, alpha and kind; flags may only agree. */
static kd_code follow_adapter(kd_train_job *j, kd_err *e) {
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
    if (kd_opt_given(cli, "lora-rank-pattern") || kd_opt_given(cli, "lora-alpha-pattern") || kd_opt_given(cli, "modules-to-save"))
        return kd_fail(e, KD_EINVAL, "the adapter to start from says which ranks, alphas and modules it has");
    if (j->start->embed.r || j->start->head.r)
        return kd_fail(e, KD_EUNSUPPORTED, "the adapter has low-rank factors on embed_tokens or lm_head; such are not trained here");
    bool differ = false;
    j->ranks = kd_calloc((size_t)j->start->L * KD_MATS, sizeof *j->ranks);
    if (!j->ranks) return kd_fail(e, KD_ENOMEM, "no memory for ranks");
    for (uint32_t i = 0; i < j->start->L * KD_MATS; i++) {
        const kd_lora *one = &j->start->layers[i];
        j->ranks[i] = (kd_rank){one->r, one->alpha};
        if (!(a->targets >> i % KD_MATS & 1)) continue;
        if (!one->r) return kd_fail(e, KD_EUNSUPPORTED, "the adapter has %s in some layers only", kd_module_name((kd_role)(i % KD_MATS)));
        differ |= one->r != a->r || one->alpha != a->alpha;
    }
    if (differ) j->o.method.ranks = j->ranks;
    j->o.method.embed = j->start->saved_embed != NULL;
    j->o.method.head = j->start->saved_head != NULL;
    if (j->ext && j->ext->n)
        return kd_fail(e, KD_EUNSUPPORTED, "--add-tokens with --adapter: merge the adapter first (distill convert), then add tokens");
    if (j->start->rows.n && !a->tokens)
        return kd_fail(e, KD_EUNSUPPORTED,
                       "the adapter trains rows of tokens that do not follow each other; training goes on only from such that do");
    const float dropout = kd_opt_given(cli, "lora-dropout") ? l->dropout : a->dropout;
    *l = *a;
    l->dropout = dropout;
    l->base = NULL;
    return KD_OK;
}

static kd_code read_options(kd_train_job *j, kd_err *e) {
    const kd_cli *cli = j->cli;
    kd_train_options *o = &j->o;
    const char *method = kd_opt_string(cli, "method");
    const bool badam = strcmp(method, "badam") == 0, full = badam || strcmp(method, "full") == 0;
    *o = (kd_train_options){.method = {.method = full ? KD_FULL : KD_LORA_METHOD,
                                       .interval = badam ? (uint64_t)kd_opt_int(cli, "badam-switch-interval") : 0,
                                       .random_blocks = kd_opt_word(cli, "badam-switch-mode") == 1},
                            .any_state = !kd_opt_given(cli, "optimizer"),
                            .skip_faults = kd_opt_word(cli, "on-fault") == 1,
                            .spike = kd_opt_float(cli, "loss-spike"),
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
                                          .momentum = (float)kd_opt_float(cli, "momentum"),
                                          .ema = (float)kd_opt_float(cli, "ema"),
                                          .decay = (float)kd_opt_float(cli, "weight-decay")};
    const int arithmetic = kd_opt_word(cli, "arithmetic");
    if (arithmetic == 1 && !kd_cpu_get()->avx512_bf16)
        return kd_fail(e, KD_EUNSUPPORTED, "--arithmetic bf16: this CPU (%s) does not multiply bfloat16; use f32 or auto",
                       kd_cpu_describe());
    o->bf16 = arithmetic > 0 && kd_cpu_get()->avx512_bf16;
    if (badam && j->ext && j->ext->n)
        return kd_fail(e, KD_EUNSUPPORTED, "--method badam leaves the embedding as it is: new tokens would learn nothing");
    if (full) return KD_OK;
    o->method.lora = (kd_adapter_config){.r = (uint32_t)kd_opt_int(cli, "lora-rank"),
                                         .alpha = (float)kd_opt_float(cli, "lora-alpha"),
                                         .dropout = (float)kd_opt_float(cli, "lora-dropout"),
                                         .rslora = kd_opt_flag(cli, "rslora"),
                                         .dora = strcmp(method, "dora") == 0};
    if (j->ext && j->ext->n) o->method.lora.first_token = j->ext->first, o->method.lora.tokens = j->ext->n;
    kd_code code = read_targets(kd_opt_string(cli, "lora-targets"), &o->method.lora.targets, e);
    if (code == KD_OK) code = read_saved(cli, &o->method, e);
    const char *ranks = kd_opt_string(cli, "lora-rank-pattern"), *alphas = kd_opt_string(cli, "lora-alpha-pattern");
    if (code != KD_OK || (!ranks && !alphas)) return code;
    j->ranks = kd_calloc((size_t)j->m->config.L * KD_MATS, sizeof *j->ranks);
    if (!j->ranks) return kd_fail(e, KD_ENOMEM, "no memory for ranks");
    o->method.ranks = j->ranks;
    return kd_ranks_resolve(j->ranks, &j->m->config, &o->method.lora, ranks, alphas, e);
}

/* The student's own words: those of ext, or the model's. A model without a tokenizer may still learn rows of tokens. */
static kd_code open_words(kd_train_job *j, kd_err *e) {
    kd_err none = {0};
    if (j->ext) return KD_OK;
    kd_code code = kd_tokenizer_open(&j->tokenizer, j->m->path, &none);
    if (code == KD_ENOENT || code == KD_EUNSUPPORTED || code == KD_EFORMAT) {
        kd_note(j->cli, "no tokenizer: %s", none.msg);
        return KD_OK;
    }
    if (code != KD_OK) return kd_fail(e, code, "%s", none.msg);
    return kd_chat_open(&j->chat, j->m->path, NULL, e);
}

static kd_code read_data(kd_train_job *j, kd_err *e) {
    const kd_cli *cli = j->cli;
    char date[32];
    const bool known = !kd_opt_flag(cli, "fresh") && kd_run_peek(kd_opt_string(cli, "output"), "date", date, sizeof date);
    j->now = known ? strtoll(date, NULL, 10) : kd_unix_ms() / 1000;
    const size_t longest = (size_t)kd_opt_int(cli, "max-seq-length");
    const kd_train_source s = {.now = j->now,
                               .max_length = longest ? longest : j->m->config.context,
                               .longer = (kd_long)kd_opt_word(cli, kd_opt_given(cli, "long") ? "long" : "long-rows"),
                               .select = kd_opt_string(cli, "select"),
                               .weight = kd_opt_string(cli, "weight"),
                               .chat = j->ext ? j->ext->chat : j->chat,
                               .tokenizer = j->ext ? j->ext->tokenizer : j->tokenizer,
                               .installs = j->ext && j->ext->has_template,
                               .V = j->ext ? j->ext->V : j->m->config.V};
    uint64_t bytes = 0;
    kd_code code = kd_train_parts(&j->data, cli, e);
    if (code == KD_OK) code = kd_train_data_read(&j->lessons, &j->data, j->cli, &s, e);
    if (code == KD_OK) code = kd_train_eval_new(&j->eval, j->cli, &j->data, &s, &j->m->config, &j->o.held_rows, &bytes, e);
    j->o.held_bytes = bytes;
    for (size_t i = 0, first = 0; i < j->data.parts; first += j->data.part[i++].lessons) {
        j->names[i] = j->data.part[i].name;
        j->o.mix.first[i] = first;
        j->o.mix.n[i] = j->data.part[i].lessons;
        j->o.mix.weight[i] = j->data.part[i].weight;
    }
    j->o.mix.sources = j->data.part[0].weight > 0 ? j->data.parts : 0;
    return code;
}

static kd_code open_inputs(kd_train_job *j, kd_err *e) {
    const kd_cli *cli = j->cli;
    const char *model = kd_opt_string(cli, "model"), *adapter = kd_opt_string(cli, "adapter");
    if (!model) return kd_fail(e, KD_EINVAL, "train needs --model");
    if (!kd_opt_string(cli, "output")) return kd_fail(e, KD_EINVAL, "train needs -o RUN");
    kd_code code = kd_source_resolve(&j->source, model, e);
    if (code == KD_OK) code = kd_model_open(&j->m, j->source.path, e);
    if (code == KD_OK && !realpath(j->source.path, j->base)) snprintf(j->base, sizeof j->base, "%s", j->source.path);
    if (code == KD_OK && !adapter) adapter = j->source.adapter;
    if (code == KD_OK) code = kd_train_extension(&j->ext, j->cli, j->m, e);
    if (code == KD_OK) code = read_options(j, e);
    if (code == KD_OK && adapter) code = kd_adapter_open(&j->start, adapter, &j->m->config, e);
    if (code == KD_OK && adapter) code = follow_adapter(j, e);
    char *weights = adapter ? kd_path_join(adapter, "adapter_model.safetensors") : NULL;
    if (code == KD_OK && adapter)
        code = weights ? kd_sha256_file(weights, j->start_sha256, e) : kd_fail(e, KD_ENOMEM, "no memory to read %s", adapter);
    kd_free(weights);
    if (code == KD_OK) code = open_words(j, e);
    if (code == KD_OK) code = read_data(j, e);
    if (code == KD_OK && j->ext) j->m->config.V = j->ext->V; /* for the plan; the installed base is opened before training */
    if (code == KD_OK) code = kd_cli_pool(j->cli, &j->pool, e);
    return code;
}

/* The settings as they are recorded: the options, and as remarks what they stand for. */
static kd_code settings(const kd_train_job *j, kd_buf *out) {
    kd_code code = kd_cli_config_yaml(j->cli, out);
    const kd_adapter_config *l = &j->o.method.lora;
    if (code == KD_OK && j->start)
        code = kd_buf_printf(out, "# adapter_sha256: %s\n# adapter_form: r %u, alpha %g, rslora %d, dora %d, targets %x\n", j->start_sha256,
                             l->r, (double)l->alpha, l->rslora, l->dora, l->targets);
    if (code == KD_OK)
        code = kd_buf_printf(out,
                             "# base: %s\n# base_bytes: %llu\n# lessons: %zu\n# lessons_sha256: %s\n# updates: %llu\n# rows_at_once: "
                             "%zu\n# logit_rows_at_once: %zu\n# products: %s\n# optimizer_state: %s\n# date: %lld\n",
                             j->base, (unsigned long long)j->m->bytes, j->lessons.n, j->data.sha256, (unsigned long long)j->plan.steps,
                             j->plan.shape.rows, j->plan.shape.logit_rows, j->o.bf16 ? "bf16" : "f32", kd_optimizer_name(j->plan.optimizer),
                             (long long)j->now);
    for (size_t i = 0; i < j->data.parts && code == KD_OK; i++) {
        const kd_train_part *p = &j->data.part[i];
        code = kd_buf_printf(out, "# source_%zu: %s, %zu lessons, %zu tokens to learn", i, p->name, p->lessons, p->loss_tokens);
        if (code == KD_OK && p->weight > 0) code = kd_buf_printf(out, ", weight %g", p->weight);
        if (code == KD_OK && p->selection[0]) code = kd_buf_printf(out, ", selection %s", p->selection);
        if (code == KD_OK) code = kd_buf_putc(out, '\n');
    }
    if (code == KD_OK && j->ext)
        code = kd_buf_printf(out, "# installed: %u tokens from id %u, eos %d, vocabulary of %u rows\n", j->ext->n, j->ext->first,
                             (int)j->ext->eos, j->ext->V);
    if (code == KD_OK && j->eval) {
        code = kd_buf_puts(out, "# evaluated: ");
        if (code == KD_OK) code = kd_train_eval_text(out, j->eval);
        if (code == KD_OK) code = kd_buf_putc(out, '\n');
    }
    return code;
}

static void remark(void *ctx, const char *text) {
    kd_train_job *j = ctx;
    kd_warn(j->cli, "%s", text);
}

static kd_code plan(kd_train_job *j, kd_err *e) {
    char rows[32];
    if (j->run && j->o.rows == 0 && kd_run_recorded(j->run, "rows_at_once", rows, sizeof rows))
        j->o.rows = (size_t)strtoull(rows, NULL, 10);
    if (j->run && kd_run_recorded(j->run, "logit_rows_at_once", rows, sizeof rows)) j->o.logit_rows = (size_t)strtoull(rows, NULL, 10);
    if (j->run && j->o.any_state && kd_run_recorded(j->run, "optimizer_state", rows, sizeof rows)) {
        (void)kd_optimizer_named(rows, &j->o.optimizer.kind); /* a run goes on with the state it has */
        j->o.any_state = false;
    }
    return kd_train_plan_make(&j->plan, j->m, j->lessons.at, j->lessons.n, &j->o, kd_pool_threads(j->pool), e);
}

static kd_code evaluate(void *ctx, kd_trainer *t, kd_eval_line *line, kd_err *e) {
    return kd_train_eval_run(((kd_train_job *)ctx)->eval, t, line, e);
}

/* An adapter's folder gets the student's words; a trained model has its base's, which a GGUF base keeps inside. */
static kd_code beside(void *ctx, const char *dir, kd_err *e) {
    const kd_train_job *j = ctx;
    if (j->o.method.method == KD_FULL && j->m->kind == KD_SOURCE_HF) return KD_OK;
    return kd_words_copy(j->m, dir, e);
}

/* Everything up to the first update: the settings agree, the base is in place, the trainer made. */
static kd_code set_up(kd_train_job *j, kd_err *e) {
    kd_buf text = {0};
    kd_code code = kd_train_preflight(j->cli, j->m, j->ext, &j->o, &j->plan, e);
    if (code == KD_OK)
        code = settings(j, &text) == KD_OK ? kd_run_settle(j->run, kd_buf_view(&text), free_keys, e)
                                           : kd_fail(e, KD_ENOMEM, "no memory for the settings");
    kd_buf_clear(&text);
    if (code == KD_OK && j->ext) code = kd_train_install(j->ext, &j->m, kd_opt_string(j->cli, "output"), j->base, e);
    if (code == KD_OK) kd_train_export_check(j->cli, j->base, j->pool);
    if (code == KD_OK) code = kd_trainer_new(&j->t, j->m, j->lessons.at, j->lessons.n, &j->o, &j->plan, j->start, j->pool, e);
    if (code == KD_OK && j->eval) kd_train_eval_bind(j->eval, j->m, &j->o.method, j->pool);
    return code;
}

static kd_code work(kd_train_job *j, kd_err *e) {
    kd_cli *cli = j->cli;
    kd_code code = open_inputs(j, e);
    if (code == KD_OK && !cli->dry_run) code = kd_run_open(&j->run, kd_opt_string(cli, "output"), kd_opt_flag(cli, "fresh"), e);
    if (code == KD_OK) code = plan(j, e);
    if (code == KD_OK) code = kd_train_say_plan(j, e);
    if (code == KD_OK) code = kd_train_show_lessons(j, e);
    if (code != KD_OK || cli->dry_run) return code;
    code = set_up(j, e);
    if (code != KD_OK) return code;
    kd_run_report report;
    const kd_run_options ro = {.save_every = (uint64_t)kd_opt_int(cli, "save-every"),
                               .keep = (unsigned)kd_opt_int(cli, "keep"),
                               .base = j->base,
                               .evaluate = j->eval ? evaluate : NULL,
                               .eval_every = (uint64_t)kd_opt_int(cli, "eval-every"),
                               .patience = (unsigned)kd_opt_int(cli, "patience"),
                               .last = kd_opt_word(cli, "result") == 1,
                               .beside = beside,
                               .peak_flops = cli->quiet ? 0 : kd_train_peak(j->pool, j->o.bf16),
                               .sources = j->names,
                               .n_sources = j->data.parts,
                               .note = remark,
                               .ctx = j};
    code = kd_run_train(j->run, j->t, j->m, &j->o, &j->plan, &ro, cli->watch, &report, e);
    return code == KD_OK ? kd_train_say_result(j, &report, e) : code;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_train_job j = {.cli = cli};
    kd_code code = work(&j, e);
    kd_trainer_free(j.t);
    kd_run_close(j.run);
    kd_train_eval_free(j.eval);
    kd_lessons_clear(&j.lessons);
    kd_extension_free(j.ext);
    kd_chat_free(j.chat);
    kd_tokenizer_free(j.tokenizer);
    kd_adapter_free(j.start);
    kd_free(j.ranks);
    kd_model_free(j.m);
    kd_source_clear(&j.source);
    return code;
}

const kd_cmd kd_cmd_train = {
    .name = "train",
    .help = "teach a model: LoRA, DoRA or all weights",
    .usage = "STUDY|FILE...",
    .about = "A FILE.jsonl holds {\"tokens\":[...],\"loss\":[0|1 ...]}, {\"messages\":[...]} or "
             "{\"prompt\":...,\"completion\":...} a line; several sources may have\n"
             "shares, as A=0.75 B=0.25. RUN gets config.yaml, metrics.jsonl, evals.jsonl, checkpoints/ and, at the end, adapter/ "
             "(PEFT's layout) or\nmodel/ (Hugging Face's). Killed anywhere, the same command goes on to the very same weights.\n"
             "  distill train lessons.jsonl --model SmolLM2-135M.gguf -o run --epochs 2 --learning-rate 1e-3\n"
             "  distill train maths.study=0.75 general.jsonl=0.25 --model student -o run --eval-split dev --eval-every 50\n"
             "  distill train maths.study --select @good --weight \"1 - repeats\" --model base -o run --chat-template chatml.jinja \\\n"
             "      --add-tokens '<|im_start|>,<|im_end|>,<think>,</think>' --eos '<|im_end|>'\n"
             "  distill curves run -o run.html",
    .opts = options,
    .min_args = 1,
    .max_args = -1,
    .run = run};
