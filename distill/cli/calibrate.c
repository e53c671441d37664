/* distill/cli/calibrate.c - see calibrate.h. Leans on measure.h, model/loaded.h. */
#include "distill/cli/calibrate.h"

#include "convert/convert.h"
#include "distill/base/clock.h"
#include "distill/cli/measure.h"

#include <string.h>

void kd_calibration_clear(kd_calibration *c) {
    kd_importance_free(c->importance);
    kd_mix_free(c->mix);
    *c = (kd_calibration){0};
}

/* The selection that a run recorded, in *text; NULL: none. */
static kd_code recorded_selection(kd_buf *text, const char **select, const kd_source *s, kd_err *e) {
    *select = NULL;
    if (!s->run) return KD_OK;
    char *path = kd_path_join(s->run, "config.yaml");
    kd_code c = !path                  ? kd_fail(e, KD_ENOMEM, "%s: out of memory", s->run)
                : kd_file_exists(path) ? kd_file_read(text, path, 1 << 22, e)
                                       : KD_OK;
    const kd_str found = kd_card_recorded(kd_buf_view(text), "select");
    if (!c && found.len && !kd_str_is(found, "null") && !memchr(found.data, '\\', found.len)) {
        char *own = kd_strndup(found.data, found.len);
        kd_buf_clear(text);
        c = own ? kd_buf_append(text, own, found.len) : KD_ENOMEM;
        kd_free(own);
        if (c) c = kd_fail(e, c, "%s: out of memory", s->run);
        *select = text->data;
    }
    kd_free(path);
    return c;
}

bool kd_calibrate_targets(const kd_cli *cli) { return kd_opt_given(cli, "target-size") || kd_opt_given(cli, "target-kl"); }

static kd_code search(kd_calibration *k, kd_cli *cli, kd_loaded *a, const kd_compare_row *rows, size_t n, uint64_t room, kd_pool *pool,
                      kd_err *e) {
    kd_mix_target t = {.kl = kd_opt_float(cli, "target-kl")};
    if (kd_opt_given(cli, "target-size")) {
        const uint64_t size = kd_opt_size(cli, "target-size");
        if (size <= room)
            return kd_fail(e, KD_EINVAL, "--target-size: what is no matrix (vocabulary, norms) takes %.1f MB alone", (double)room / 1e6);
        t.bytes = size - room;
    }
    return kd_mix_search(&k->mix, a->model, a->adapter, k->importance, rows, n, &t, pool, cli->watch, e);
}

static kd_code collect(kd_calibration *k, kd_cli *cli, const char *src, const char *adapter, const char *text_file, uint64_t room,
                       kd_err *e) {
    kd_loaded a = {0};
    kd_chat *chat = NULL;
    kd_pool *pool = NULL;
    kd_buf text = {0};
    const char *select = NULL;
    kd_measure_rows r = {.limit = (uint64_t)kd_opt_int(cli, "calibration-tokens")};
    kd_compare_row *views = NULL;
    kd_code c = kd_cli_pool(cli, &pool, e);
    if (!c) c = kd_load(&a, src, adapter, KD_LOAD_ALL, e);
    if (!c) c = recorded_selection(&text, &select, &a.source, e);
    if (!c) c = kd_chat_open(&chat, a.source.path, NULL, e);
    if (!c)
        c = kd_measure_read_lessons(&r, text_file, select, &(kd_render){.chat = chat, .tokenizer = a.tokenizer, .now = kd_unix_ms() / 1000},
                                    e);
    if (!c && !r.n) c = kd_fail(e, KD_EFORMAT, "%s: nothing to calibrate on: no rows, or none that could be rendered", text_file);
    if (!c && !(views = kd_calloc(r.n, sizeof *views))) c = kd_fail(e, KD_ENOMEM, "out of memory");
    for (size_t i = 0; !c && i < r.n; i++) views[i] = (kd_compare_row){r.at[i].tokens, NULL, r.at[i].n};
    if (!c && !k->importance)
        c = kd_importance_collect(&k->importance, a.model, a.adapter, views, r.n, (size_t)kd_opt_int(cli, "context"), pool, cli->watch, e);
    if (!c && k->from == text_file) c = kd_importance_set_dataset(k->importance, k->from, e), k->tokens = r.tokens, k->what = r.what;
    if (!c && kd_calibrate_targets(cli)) c = search(k, cli, &a, views, r.n, room, pool, e);
    kd_free(views);
    kd_buf_clear(&text);
    kd_measure_clear(&r);
    kd_chat_free(chat);
    kd_unload(&a);
    return c;
}

static kd_code check(kd_cli *cli, const char *text, const char *file, bool none, bool searched, kd_err *e) {
    const bool target = kd_calibrate_targets(cli);
    if (kd_opt_given(cli, "target-size") && kd_opt_given(cli, "target-kl"))
        return kd_fail(e, KD_EINVAL, "convert: --target-size or --target-kl, not both");
    if (target && kd_opt_string(cli, "type")) return kd_fail(e, KD_EINVAL, "convert: --type says what a target would search: one of them");
    if (target && !kd_str_ends(kd_str_of(cli->args[1]), ".gguf"))
        return kd_fail(e, KD_EINVAL, "convert: a mix of types goes into a GGUF file");
    if (text && !none && file && !target) return kd_fail(e, KD_EINVAL, "convert: --calibration or --imatrix, not both");
    if (!searched && !target && !kd_opt_string(cli, "save-imatrix") && ((text && !none) || file))
        return kd_fail(e, KD_EINVAL,
                       "convert: importance is for types that search their blocks' scales: give --type (q4_k_m, q4_0, iq4_xs ...)");
    return KD_OK;
}

kd_code kd_calibrate(kd_calibration *k, kd_cli *cli, const char *src, const char *adapter, const char *study, bool searched, uint64_t room,
                     kd_err *e) {
    const char *text = kd_opt_string(cli, "calibration"), *file = kd_opt_string(cli, "imatrix"), *keep = kd_opt_string(cli, "save-imatrix");
    const double start = kd_now();
    const bool none = text && !strcmp(text, "none"), target = kd_calibrate_targets(cli);
    bool is_study = false;
    *k = (kd_calibration){0};
    kd_code c = check(cli, text, file, none, searched, e);
    if (c || (!searched && !keep && !target)) return c;
    if (!text && (target || !file) && study && (c = kd_measure_is_study(study, &is_study, e))) return c;
    const char *rows = none ? NULL : text ? text : is_study ? study : target ? kd_opt_string(cli, "data") : NULL;
    k->from = file ? file : rows;
    if (target && !rows) return kd_fail(e, KD_EINVAL, "convert: a target is measured: --calibration FILE or --study STUDY is needed");
    if (!k->from) return keep ? kd_fail(e, KD_EINVAL, "convert: --save-imatrix needs --calibration FILE or --study STUDY") : KD_OK;
    if (!kd_file_exists(k->from) || (rows && !kd_file_exists(rows)))
        return kd_fail(e, KD_ENOENT, "%s: no such file", kd_file_exists(k->from) ? rows : k->from);
    if (file) c = kd_importance_read(&k->importance, file, e);
    if (!c && !cli->dry_run && (!file || target)) c = collect(k, cli, src, adapter, rows, room, e); /* running a text is work */
    if (!c && keep && !cli->dry_run) c = kd_importance_write(k->importance, keep, (uint32_t)kd_opt_int(cli, "context"), e);
    k->seconds = kd_now() - start;
    return c;
}
