/* distill/cli/cmd_convert.c - format to format, with an adapter merged in. Leans on convert/convert.h. */
#include "convert/convert.h"

#include "distill/cli/cli.h"

#include <stdio.h>

static const kd_opt options[] = {
    {"type", 't', KD_OPT_STRING, "TYPE", NULL,
     "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs mxfp4: every matrix; q3_k_m q4_k_m ...: llama.cpp's mixes "
     "(default: as stored)",
     "Output"},
    {"split-size", 0, KD_OPT_SIZE, "SIZE", NULL, "cut the output into files of at most this", "Output"},
    {"name", 0, KD_OPT_STRING, "NAME", NULL, "the model's name in the file (general.name)", "Output"},
    {"force", 'f', KD_OPT_FLAG, NULL, NULL, "replace a folder whatever is in it", "Output"},
    {"adapter", 0, KD_OPT_PATH, "DIR", NULL, "merge this adapter in (LoRA, rsLoRA, DoRA in PEFT's layout, or a run folder)", "Source"},
    {"allow-nonfinite", 0, KD_OPT_FLAG, NULL, NULL, "convert weights with NaN or infinities, and say which", "Source"},
    {0}};

static void by_type(kd_cli *cli, const kd_convert_result *r) {
    char s[32];
    for (int t = 0; t < KD_TYPES; t++)
        if (r->type_tensors[t])
            (void)kd_out(cli, "%-8s %6zu tensors  %s\n", kd_dtype_get(t)->name, r->type_tensors[t], kd_human_bytes(r->type_bytes[t], s));
}

static kd_code as_json(kd_cli *cli, const char *src, const char *dst, const kd_convert_result *r, kd_err *e) {
    kd_jsonw *w = kd_out_json(cli);
    const struct {
        const char *key;
        uint64_t v;
    } numbers[] = {{"tensors", r->tensors}, {"bytes_in", r->bytes_in}, {"bytes_out", r->bytes_out}, {"fallbacks", r->fallbacks}, {"nonfinite", r->nonfinite}};
    kd_jsonw_object(w);
    kd_jsonw_key(w, "source"), kd_jsonw_cstr(w, src);
    kd_jsonw_key(w, "output"), kd_jsonw_cstr(w, dst);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        kd_jsonw_key(w, numbers[i].key), kd_jsonw_int(w, (int64_t)numbers[i].v);
    kd_jsonw_key(w, "types");
    kd_jsonw_object(w);
    for (int t = 0; t < KD_TYPES; t++)
        if (r->type_tensors[t])
            kd_jsonw_key(w, kd_dtype_get(t)->name), kd_jsonw_int(w, (int64_t)r->type_bytes[t]);
    kd_jsonw_end_object(w);
    kd_jsonw_key(w, "seconds"), kd_jsonw_double(w, r->seconds);
    kd_jsonw_key(w, "dry_run"), kd_jsonw_bool(w, cli->dry_run);
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_pool *pool;
    kd_convert_result r = {0};
    char in[32], out[32], took[32];
    const char *src = cli->args[0], *dst = cli->args[1];
    kd_convert_options o = {.type = kd_opt_string(cli, "type"),
                            .adapter = kd_opt_string(cli, "adapter"),
                            .name = kd_opt_string(cli, "name"),
                            .split_bytes = kd_opt_size(cli, "split-size"),
                            .allow_nonfinite = kd_opt_flag(cli, "allow-nonfinite"),
                            .force = kd_opt_flag(cli, "force")};
    kd_code c = kd_cli_pool(cli, &pool, e);
    if (!c)
        c = kd_convert(src, dst, &o, cli->dry_run, pool, cli->watch, &r, e);
    if (c)
        return c;
    if (cli->json)
        return as_json(cli, src, dst, &r, e);
    if (cli->quiet)
        return KD_OK;
    by_type(cli, &r);
    if (r.fallbacks)
        (void)kd_out(cli, "%zu matrices have rows that blocks of the type do not divide, and got another\n", r.fallbacks);
    return kd_out(cli, "%s -> %s, %s -> %s%s%s\n", src, dst, kd_human_bytes(r.bytes_in, in), kd_human_bytes(r.bytes_out, out),
                  cli->dry_run ? " (nothing written)" : " in ", cli->dry_run ? "" : kd_human_time(r.seconds, took));
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
             "  distill convert model.gguf folder/ --type bf16      back to what transformers loads",
    .opts = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
