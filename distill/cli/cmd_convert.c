/* distill/cli/cmd_convert.c - format to format, with an adapter merged in, and what that cost. Leans on convert/convert.h, measure.h. */
#include "convert/adapter.h"
#include "convert/convert.h"
#include "convert/modelfile.h"

#include "distill/base/clock.h"
#include "distill/cli/calibrate.h"
#include "distill/cli/measure.h"

#include <stdio.h>
#include <string.h>

static const kd_opt options[] = {
    {"type", 't', KD_OPT_STRING, "TYPE", NULL,
     "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs mxfp4: every matrix; q3_k_m q4_k_m ...: llama.cpp's "
     "mixes "
     "(default: as stored)",
     "Output"},
    {"target-size", 0, KD_OPT_SIZE, "SIZE", NULL,
     "search the mix of types that loses least in a file of at most this, by measured sensitivity", "Output"},
    {"target-kl", 0, KD_OPT_FLOAT, "X", NULL, "search the smallest mix whose mean KL is at most X nats on the calibration's text", "Output",
     .min = 1e-6, .max = 100},
    {"split-size", 0, KD_OPT_SIZE, "SIZE", NULL, "cut the output into files of at most this", "Output"},
    {"name", 0, KD_OPT_STRING, "NAME", NULL, "the model's name in the file (general.name)", "Output"},
    {"modelfile", 0, KD_OPT_FLAG, NULL, NULL, "a Modelfile for Ollama beside the GGUF file", "Output"},
    {"force", 'f', KD_OPT_FLAG, NULL, NULL, "replace a folder whatever is in it", "Output"},
    {"adapter", 0, KD_OPT_PATH, "DIR", NULL, "merge this adapter in (LoRA, rsLoRA, DoRA in PEFT's layout, or a run folder)", "Source"},
    {"adapter-only", 0, KD_OPT_FLAG, NULL, NULL, "the adapter by itself: NAME.gguf for llama.cpp's --lora, any other a PEFT folder",
     "Source"},
    {"allow-nonfinite", 0, KD_OPT_FLAG, NULL, NULL, "convert weights with NaN or infinities, and say which", "Source"},
    {"calibration", 0, KD_OPT_PATH, "FILE", NULL,
     "text, .jsonl or study to run through the model: columns that matter there are stored better (default: what the study of --study "
     "taught; none: leave it out)",
     "Importance"},
    {"calibration-tokens", 0, KD_OPT_INT, "N", "16384", "tokens of it; 0 = all", "Importance", .min = 0, .max = 1e15},
    {"imatrix", 0, KD_OPT_PATH, "FILE", NULL, "importance from llama.cpp's imatrix file instead (GGUF or .dat)", "Importance"},
    {"save-imatrix", 0, KD_OPT_PATH, "FILE", NULL, "keep the importance: GGUF, or llama.cpp's older form if named .dat", "Importance"},
    {"check", 0, KD_OPT_FLAG, NULL, "true", "with rows to measure on: end with KL, top-1 agreement and perplexity against the source",
     "Check"},
    {"data", 0, KD_OPT_PATH, "FILE", NULL,
     "rows to measure on: a study, .jsonl lines of text, messages, prompt/completion or tokens; any other file is one text", "Check"},
    {"study", 0, KD_OPT_PATH, "STUDY", NULL,
     "a study: measured on the answers of its test split, if it has any; importance from those that it taught", "Check"},
    {"max-kl", 0, KD_OPT_FLOAT, "X", NULL, "do not keep a result whose mean KL is above X nats (exit 1)", "Check", .min = 0, .max = 1e9},
    {"check-tokens", 0, KD_OPT_INT, "N", "4096", "tokens to measure on; 0 = all", "Check", .min = 0, .max = 1e15},
    {"context", 0, KD_OPT_INT, "N", "512", "tokens of a window", "Check", .min = 2, .max = 1e9},
    {0}};

static void by_type(kd_cli *cli, const kd_convert_result *r) {
    char s[32];
    for (int t = 0; t < KD_TYPES; t++)
        if (r->type_tensors[t])
            (void)kd_out(cli, "%-8s %6zu tensors  %s\n", kd_dtype_get(t)->name, r->type_tensors[t], kd_human_bytes(r->type_bytes[t], s));
}

/* The price of the conversion, measured before its output is kept. */
typedef struct {
    kd_cli *cli;
    const char *src, *adapter, *rows;
    const char *study; /* --study, or a study given as --data */
    kd_comparison result;
    const char *what; /* which rows */
    double seconds;
    bool done;
} check;

static kd_code price(void *ctx, const char *path, kd_err *e) {
    check *k = ctx;
    kd_cli *cli = k->cli;
    kd_loaded a = {0}, b = {0};
    kd_chat *chat = NULL;
    kd_measure_rows r = {.limit = (uint64_t)kd_opt_int(cli, "check-tokens")};
    double start = kd_now();
    kd_code c = kd_load(&a, k->src, k->adapter, KD_LOAD_ALL, e);
    if (!c) c = kd_load(&b, path, NULL, KD_LOAD_ALL, e);
    if (!c) c = kd_measure_same_words(&a, &b, e);
    if (!c) c = kd_chat_open(&chat, a.source.path, NULL, e);
    if (!c) c = kd_measure_read(&r, k->rows, &(kd_render){.chat = chat, .tokenizer = a.tokenizer, .now = kd_unix_ms() / 1000}, false, e);
    if (!c) c = kd_measure(cli, &k->result, &a, &b, &r, &(kd_measure_options){.window = (size_t)kd_opt_int(cli, "context")}, e);
    if (!c) k->done = true, k->what = r.what;
    kd_measure_clear(&r);
    kd_chat_free(chat);
    kd_unload(&a);
    kd_unload(&b);
    k->seconds = kd_now() - start;
    if (!c && kd_opt_given(cli, "max-kl") && !(k->result.kl_mean <= kd_opt_float(cli, "max-kl")))
        c = kd_fail(e, KD_ECHECK, "convert: mean KL %.6f is above --max-kl %g: not kept", k->result.kl_mean, kd_opt_float(cli, "max-kl"));
    return c;
}

/* Whether there is something to measure on, and somebody who wants it. */
static kd_code want_check(check *k, kd_cli *cli, kd_err *e) {
    const char *data = kd_opt_string(cli, "data"), *study = kd_opt_string(cli, "study");
    if (!study && data && kd_file_exists(data)) study = data; /* calibrate.c looks whether it is one */
    bool asked = kd_opt_given(cli, "max-kl") || (kd_opt_given(cli, "check") && kd_opt_flag(cli, "check"));
    *k = (check){.cli = cli, .src = cli->args[0], .adapter = kd_opt_string(cli, "adapter"), .rows = data ? data : study, .study = study};
    if (data && kd_opt_string(cli, "study")) return kd_fail(e, KD_EINVAL, "convert: --data or --study, not both");
    if (!kd_opt_flag(cli, "check")) {
        k->rows = NULL;
        return kd_opt_given(cli, "max-kl") ? kd_fail(e, KD_EINVAL, "convert: --max-kl needs the check that --no-check leaves out") : KD_OK;
    }
    if (!k->rows && asked) return kd_fail(e, KD_EINVAL, "convert: a check needs rows to measure on: --data FILE or --study STUDY");
    return k->rows && !kd_file_exists(k->rows) ? kd_fail(e, KD_ENOENT, "%s: no such file", k->rows) : KD_OK;
}

/* What the importance was made of, and how much of the output it reached. */
static void calibration_json(kd_jsonw *w, const kd_calibration *m, const kd_convert_result *r) {
    kd_jsonw_key(w, "importance"), kd_jsonw_object(w);
    kd_jsonw_key(w, "from"), kd_jsonw_cstr(w, m->from);
    kd_jsonw_key(w, "tokens"), kd_jsonw_int(w, (int64_t)m->tokens);
    kd_jsonw_key(w, "weighted"), kd_jsonw_int(w, (int64_t)r->weighted);
    kd_jsonw_key(w, "unweighted"), kd_jsonw_int(w, (int64_t)r->unweighted);
    kd_jsonw_key(w, "seconds"), kd_jsonw_double(w, m->seconds);
    kd_jsonw_end_object(w);
    if (!m->mix) return;
    kd_jsonw_key(w, "search"), kd_jsonw_object(w);
    kd_jsonw_key(w, "tokens"), kd_jsonw_int(w, (int64_t)m->mix->tokens);
    kd_jsonw_key(w, "probes"), kd_jsonw_int(w, (int64_t)m->mix->probes);
    kd_jsonw_key(w, "predicted_kl"), kd_jsonw_double(w, m->mix->predicted);
    kd_jsonw_key(w, "measured_kl"), kd_jsonw_double(w, m->mix->measured);
    kd_jsonw_key(w, "seconds"), kd_jsonw_double(w, m->mix->seconds);
    kd_jsonw_end_object(w);
}

static kd_code as_json(kd_cli *cli, const char *src, const char *dst, const kd_convert_result *r, const check *k, const kd_calibration *m,
                       bool kept, kd_err *e) {
    kd_jsonw *w = kd_out_json(cli);
    const struct {
        const char *key;
        uint64_t v;
    } numbers[] = {{"tensors", r->tensors},       {"bytes_in", r->bytes_in},   {"bytes_out", r->bytes_out},
                   {"bytes_resumed", r->resumed}, {"fallbacks", r->fallbacks}, {"nonfinite", r->nonfinite}};
    kd_jsonw_object(w);
    kd_jsonw_key(w, "source"), kd_jsonw_cstr(w, src);
    kd_jsonw_key(w, "output"), kd_jsonw_cstr(w, dst);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) kd_jsonw_key(w, numbers[i].key), kd_jsonw_int(w, (int64_t)numbers[i].v);
    kd_jsonw_key(w, "types");
    kd_jsonw_object(w);
    for (int t = 0; t < KD_TYPES; t++)
        if (r->type_tensors[t]) kd_jsonw_key(w, kd_dtype_get(t)->name), kd_jsonw_int(w, (int64_t)r->type_bytes[t]);
    kd_jsonw_end_object(w);
    kd_jsonw_key(w, "seconds"), kd_jsonw_double(w, r->seconds);
    if (m->from) calibration_json(w, m, r);
    if (k->done) {
        kd_jsonw_key(w, "check"), kd_jsonw_object(w);
        kd_measure_json(w, &k->result);
        kd_jsonw_key(w, "seconds"), kd_jsonw_double(w, k->seconds);
        kd_jsonw_end_object(w);
    }
    kd_jsonw_key(w, "kept"), kd_jsonw_bool(w, kept);
    kd_jsonw_key(w, "dry_run"), kd_jsonw_bool(w, cli->dry_run);
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code report(kd_cli *cli, const kd_convert_result *r, const check *k, const kd_calibration *m, bool kept, kd_err *e) {
    char in[32], out[32], took[32];
    const char *src = cli->args[0], *dst = cli->args[1];
    if (cli->json) return as_json(cli, src, dst, r, k, m, kept, e);
    if (cli->quiet) return KD_OK;
    by_type(cli, r);
    if (r->fallbacks) (void)kd_out(cli, "%zu matrices have rows that blocks of the type do not divide, and got another\n", r->fallbacks);
    if (r->resumed) (void)kd_out(cli, "resumed    %s of what a stopped run had written\n", kd_human_bytes(r->resumed, in));
    if (m->importance && m->tokens)
        (void)kd_out(cli, "importance %llu tokens of %s%s%s, for %zu matrices, in %s\n", (unsigned long long)m->tokens, m->from,
                     m->what ? ": " : "", m->what ? m->what : "", r->weighted, kd_human_time(m->seconds, took));
    else if (m->from)
        (void)kd_out(cli, "importance %s%s\n", m->from, m->importance ? "" : " (not run)");
    if (m->mix)
        (void)kd_out(cli, "search     %zu matrices tried alone on %zu tokens; the mix: KL %.6f measured there, %.6f predicted; in %s\n",
                     m->mix->probes, m->mix->tokens, m->mix->measured, m->mix->predicted, kd_human_time(m->mix->seconds, took));
    kd_code c = kd_out(cli, "%s -> %s, %s -> %s%s%s\n", src, dst, kd_human_bytes(r->bytes_in, in), kd_human_bytes(r->bytes_out, out),
                       cli->dry_run ? " (nothing written)"
                       : kept       ? " in "
                                    : " (not kept) in ",
                       cli->dry_run ? "" : kd_human_time(r->seconds, took));
    if (c || !k->done) return c;
    (void)kd_out(cli, "checked    A the source, B the result, on %s%s%s, in %s\n", k->rows, k->what ? ": " : "", k->what ? k->what : "",
                 kd_human_time(k->seconds, took));
    return kd_measure_print(cli, &k->result);
}

/* Modelfile into the folder of the GGUF file; what it cannot say is warned of. */
static kd_code modelfile(kd_cli *cli, const char *dst, kd_err *e) {
    kd_buf text = {0}, warn = {0}, path = {0};
    const char *base = kd_path_base(dst);
    kd_code c = kd_buf_printf(&path, "%.*sModelfile", (int)(base - dst), dst);
    c = c ? kd_fail(e, c, "no memory for a path") : kd_modelfile(&text, &warn, dst, base, e);
    if (!c) c = kd_file_write(path.data, text.data, text.len, e);
    for (char *save = NULL, *line = !c && warn.data ? strtok_r(warn.data, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
        kd_warn(cli, "Modelfile: %s", line);
    kd_buf_clear(&text);
    kd_buf_clear(&warn);
    kd_buf_clear(&path);
    return c;
}

/* Whether any matrix of the output has a type that searches and gains by it: all quantized ones but Q8_0. */
static bool searches(kd_cli *cli) {
    const char *name = kd_opt_string(cli, "type");
    const kd_convert_type *t = name ? kd_convert_type_named(name) : NULL;
    return t && kd_dtype_get((int)t->type)->quantized && t->type != KD_Q8_0 && kd_str_ends(kd_str_of(cli->args[1]), ".gguf");
}

/* Bytes of the output that are no matrix: header, vocabulary, vectors; with a little for what the search adds to the keys. */
static kd_code beside_matrices(kd_cli *cli, const kd_convert_options *o, uint64_t *room, kd_err *e) {
    kd_convert_options plan = *o;
    kd_convert_result r = {0};
    plan.type = "f16", plan.check = NULL;
    kd_code c = kd_convert(cli->args[0], cli->args[1], &plan, true, NULL, NULL, &r, e);
    if (!c) *room = r.bytes_out - r.type_bytes[KD_F16] + 4096;
    return c;
}

/* The check runs the source: better said before the work than behind it. */
static kd_code can_run(const char *src, kd_err *e) {
    kd_source s;
    kd_model *m = NULL;
    kd_code c = kd_source_resolve(&s, src, e);
    if (c) return c;
    c = kd_model_open(&m, s.path, e);
    kd_model_free(m);
    kd_source_clear(&s);
    return c;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_pool *pool;
    kd_convert_result r = {0};
    kd_calibration m = {0};
    check k;
    const bool ollama = kd_opt_flag(cli, "modelfile");
    kd_code c = want_check(&k, cli, e);
    if (!c && ollama &&
        (!kd_str_ends(kd_str_of(cli->args[1]), ".gguf") || kd_opt_flag(cli, "adapter-only") || kd_opt_given(cli, "split-size")))
        c = kd_fail(e, KD_EINVAL, "convert: --modelfile goes with one whole GGUF file");
    kd_convert_options o = {.type = kd_opt_string(cli, "type"),
                            .adapter = kd_opt_string(cli, "adapter"),
                            .name = kd_opt_string(cli, "name"),
                            .split_bytes = kd_opt_size(cli, "split-size"),
                            .allow_nonfinite = kd_opt_flag(cli, "allow-nonfinite"),
                            .force = kd_opt_flag(cli, "force"),
                            .check = k.rows ? price : NULL,
                            .check_ctx = &k};
    if (!c) c = kd_cli_pool(cli, &pool, e);
    uint64_t room = 0;
    if (!c && k.rows) c = can_run(cli->args[0], e);
    if (!c && kd_calibrate_targets(cli) && !kd_opt_string(cli, "type")) c = beside_matrices(cli, &o, &room, e);
    if (!c) c = kd_calibrate(&m, cli, cli->args[0], o.adapter, k.study, searches(cli) && !kd_opt_flag(cli, "adapter-only"), room, e);
    o.importance = m.importance, o.importance_name = m.from, o.mix = m.mix;
    if (!c && cli->dry_run && kd_calibrate_targets(cli))
        kd_note(cli, "a target's mix is searched only when it is written: what follows is the model as stored");
    if (!c && kd_opt_flag(cli, "adapter-only"))
        c = k.rows ? kd_fail(e, KD_EINVAL, "convert: an adapter by itself is not checked against its source")
                   : kd_convert_adapter(cli->args[0], cli->args[1], &o, cli->dry_run, &r, e);
    else if (!c)
        c = kd_convert(cli->args[0], cli->args[1], &o, cli->dry_run, pool, cli->watch, &r, e);
    if (!c && ollama && !cli->dry_run) c = modelfile(cli, cli->args[1], e);
    if (!c || (c == KD_ECHECK && k.done)) /* the figures are wanted most when the answer is no */
    {
        kd_code out = report(cli, &r, &k, &m, !c && !cli->dry_run, c ? NULL : e);
        c = c ? c : out;
    }
    kd_calibration_clear(&m);
    return c;
}

const kd_cmd kd_cmd_convert = {
    .name = "convert",
    .help = "a model from one format into another, quantized, with an adapter merged in",
    .usage = "SRC DST",
    .about = "SRC: a Hugging Face folder, a .gguf (any part of a split one), a run folder of train, a PEFT adapter folder.\n"
             "DST: NAME.gguf, NAME.safetensors (weights alone), anything else: a Hugging Face folder.\n"
             "\n"
             "  distill convert SmolLM2-135M/ small.gguf --type q4_k_m\n"
             "  distill convert run/ student.gguf --type q8_0       base and adapter of a run, merged\n"
             "  distill convert model.gguf folder/ --type bf16      back to what transformers loads\n"
             "  distill convert run/ student.gguf -t q4_k_m --study math.study --max-kl 0.05\n"
             "  distill convert model/ small.gguf --target-size 800M --calibration text.txt\n"
             "  distill convert model/ small.gguf -t q3_k_m --calibration text.txt --save-imatrix model.imatrix.gguf",
    .opts = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
