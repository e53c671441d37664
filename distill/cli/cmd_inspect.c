/* distill/cli/cmd_inspect.c - what is in a model file, for people and for programs. Leans on convert/inspect.h. */
#include "convert/inspect.h"

#include "distill/cli/cli.h"

#include <stdio.h>
#include <string.h>

static const kd_opt options[] = {
    {"tensors", 0, KD_OPT_FLAG, NULL, NULL, "list the tensors with range, mean, spread and outliers", "What"},
    {"keys", 0, KD_OPT_FLAG, NULL, NULL, "list the metadata keys of a GGUF file", "What"},
    {"hashes", 0, KD_OPT_FLAG, NULL, NULL, "SHA-256 of every tensor", "What"},
    {"verify", 0, KD_OPT_FLAG, NULL, NULL,
     "check everything that can be checked: shapes, values, hashes (SHA256SUMS, FILE.sha256, the hub's cache); exit "
     "status 1 if something is wrong",
     "What"},
    {"diff", 0, KD_OPT_PATH, "OTHER", NULL, "compare with another model, value by value; exit status 1 if they differ", "What"},
    {0}};

/* A value on one line. */
static void value(kd_cli *cli, const kd_json_node *n) {
    kd_buf b = {0};
    kd_jsonw w = {.out = &b, .python = true};
    if (kd_json_typeof(n) == KD_JSON_STRING) {
        kd_str s = kd_json_string(n);
        for (size_t i = 0; i < s.len; i++) /* escape sequences of a file never reach the terminal */
            (void)kd_buf_putc(&b, (unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7f ? ' ' : s.data[i]);
    } else
        kd_jsonw_node(&w, n);
    (void)kd_out_str(cli, kd_buf_view(&b));
    kd_buf_clear(&b);
}

static bool plain(const kd_json_node *n) {
    kd_json_type t = kd_json_typeof(n);
    return t != KD_JSON_OBJECT && t != KD_JSON_ARRAY;
}

static void members(kd_cli *cli, const kd_json_node *o, const char *indent) {
    for (const kd_json_node *n = kd_json_first(o); n; n = kd_json_next(n)) {
        kd_str k = kd_json_key(n);
        bool amount = kd_str_is(k, "bytes");
        char s[32];
        (void)kd_out(cli, "%s%-*.*s ", indent, (int)(24 - strlen(indent)), (int)(k.len < 60 ? k.len : 60), k.data);
        value(cli, n);
        (void)kd_out(cli, "%s%s%s\n", amount ? " (" : "", amount ? kd_human_bytes((uint64_t)kd_json_number(n, 0), s) : "",
                     amount ? ")" : "");
    }
}

static double number(const kd_json_node *o, const char *key) { return kd_json_number(kd_json_get(o, key), 0); }

static void show_types(kd_cli *cli, const kd_json_node *list) {
    char s[32];
    for (const kd_json_node *n = kd_json_first(list); n; n = kd_json_next(n))
        (void)kd_out(cli, "  %-8.*s %6.0f tensors %14.0f values  %s\n", (int)kd_json_string(kd_json_get(n, "type")).len,
                     kd_json_string(kd_json_get(n, "type")).data, number(n, "tensors"), number(n, "elements"),
                     kd_human_bytes((uint64_t)number(n, "bytes"), s));
}

/* "▁▂▃▅▇█": heights of a histogram by their logarithm, so that tails can be seen. */
static void bars(kd_cli *cli, const kd_json_node *bins) {
    static const char *const BAR[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double most = 1;
    for (const kd_json_node *n = kd_json_first(bins); n; n = kd_json_next(n))
        most = kd_json_number(n, 0) > most ? kd_json_number(n, 0) : most;
    int top = 0;
    while (most >= 2) most /= 2, top++;
    for (const kd_json_node *n = kd_json_first(bins); n; n = kd_json_next(n)) {
        double v = kd_json_number(n, 0);
        int h = v > 0 ? 1 : 0;
        while (v >= 2) v /= 2, h++;
        const int high = top ? (h * 8 + top) / (top + 1) : h * 8;
        (void)kd_out(cli, "%s", BAR[high < 8 ? high : 8]);
    }
}

static void show_tensors(kd_cli *cli, const kd_json_node *list) {
    for (const kd_json_node *n = kd_json_first(list); n; n = kd_json_next(n)) {
        kd_str name = kd_json_string(kd_json_get(n, "name")), type = kd_json_string(kd_json_get(n, "type")),
               hash = kd_json_string(kd_json_get(n, "sha256"));
        (void)kd_out(cli, "  %-44.*s %-7.*s ", (int)name.len, name.data, (int)type.len, type.data);
        value(cli, kd_json_get(n, "shape"));
        if (kd_json_get(n, "histogram")) {
            (void)kd_out(cli, "  [%.4g, %.4g] mean %.3g std %.3g outliers %.0f", number(n, "min"), number(n, "max"), number(n, "mean"),
                         number(n, "std"), number(n, "outliers"));
            if (number(n, "nonfinite") > 0) (void)kd_out(cli, " NaN or infinite %.0f", number(n, "nonfinite"));
            (void)kd_out(cli, " |");
            bars(cli, kd_json_get(n, "histogram"));
            (void)kd_out(cli, "|");
        }
        (void)kd_out(cli, "%s%.*s\n", hash.len ? "  " : "", (int)hash.len, hash.data ? hash.data : "");
    }
}

static void show_diff(kd_cli *cli, const kd_json_node *o) {
    for (const kd_json_node *n = kd_json_first(kd_json_get(o, "different")); n; n = kd_json_next(n)) {
        kd_str name = kd_json_string(kd_json_get(n, "name")), a = kd_json_string(kd_json_get(n, "a")),
               b = kd_json_string(kd_json_get(n, "b"));
        (void)kd_out(cli, "  %-44.*s %-6.*s %-6.*s largest %.4g, relative %.4g\n", (int)name.len, name.data, (int)a.len, a.data, (int)b.len,
                     b.data, number(n, "max_abs"), number(n, "relative"));
    }
    (void)kd_out(cli, "%.0f of %.0f tensors differ, %.0f are in one model only\n", (double)kd_json_count(kd_json_get(o, "different")),
                 number(o, "tensors"), number(o, "one_sided"));
}

static void show(kd_cli *cli, const kd_json_node *o) {
    if (kd_json_get(o, "different")) {
        show_diff(cli, o);
        return;
    }
    for (const kd_json_node *n = kd_json_first(o); n; n = kd_json_next(n)) {
        kd_str k = kd_json_key(n);
        char s[32];
        if (plain(n)) {
            bool amount = kd_str_is(k, "bytes");
            (void)kd_out(cli, "%-24.*s ", (int)k.len, k.data);
            value(cli, n);
            (void)kd_out(cli, "%s%s%s\n", amount ? " (" : "", amount ? kd_human_bytes((uint64_t)kd_json_number(n, 0), s) : "",
                         amount ? ")" : "");
            continue;
        }
        if (!kd_json_count(n) && !kd_str_is(k, "faults")) continue;
        (void)kd_out(cli, "%.*s%s\n", (int)k.len, k.data, kd_str_is(k, "faults") && !kd_json_count(n) ? ": none" : "");
        if (kd_str_is(k, "types"))
            show_types(cli, n);
        else if (kd_str_is(k, "tensors"))
            show_tensors(cli, n);
        else if (kd_json_typeof(n) == KD_JSON_OBJECT)
            members(cli, n, "  ");
        else
            for (const kd_json_node *f = kd_json_first(n); f; f = kd_json_next(f)) {
                (void)kd_out(cli, "  ");
                value(cli, f);
                (void)kd_out(cli, "\n");
            }
    }
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_pool *pool;
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    kd_json *doc = NULL;
    size_t faults = 0;
    bool same = true;
    const char *other = kd_opt_string(cli, "diff");
    unsigned what = (kd_opt_flag(cli, "tensors") ? KD_INSPECT_TENSORS | KD_INSPECT_STATS : 0u) |
                    (kd_opt_flag(cli, "keys") ? KD_INSPECT_KEYS : 0u) | (kd_opt_flag(cli, "verify") ? KD_INSPECT_VERIFY : 0u) |
                    (kd_opt_flag(cli, "hashes") ? KD_INSPECT_HASHES : 0u);
    kd_code c = kd_cli_pool(cli, &pool, e);
    if (!c) c = other ? kd_inspect_diff(&w, cli->args[0], other, pool, &same, e) : kd_inspect(&w, cli->args[0], what, pool, &faults, e);
    if (!c && cli->json) {
        kd_jsonw_raw(kd_out_json(cli), kd_buf_view(&b));
        c = kd_out_json_end(cli, e);
    } else if (!c && !(c = kd_json_parse(&doc, b.data, b.len, "inspect", e)))
        show(cli, kd_json_root(doc));
    kd_json_free(doc);
    kd_buf_clear(&b);
    return c ? c : faults || !same ? KD_ECHECK : KD_OK;
}

const kd_cmd kd_cmd_inspect = {
    .name = "inspect",
    .help = "what is in a model file: sizes, types, tokenizer, lineage, tensors",
    .usage = "FILE",
    .about = "FILE: GGUF, safetensors, a Hugging Face folder, an adapter, a run folder.\n"
             "\n"
             "  distill inspect model.gguf --tensors\n"
             "  distill inspect student.gguf --diff base/",
    .opts = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
