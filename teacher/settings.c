/* teacher/settings.c - what changes an answer, as the study keeps it, and the conversation a teacher is shown. Leans on teacher.h, base/json.h. */
#include "distill/base/json.h"
#include "teacher/teacher.h"

#include <string.h>

static void number(kd_jsonw *w, const char *key, double v) {
    if (v >= 0) {
        kd_jsonw_key(w, key);
        kd_jsonw_double(w, v);
    }
}

kd_code kd_teach_settings(kd_buf *out, const kd_teach_opts *o, const char *teacher, const char *model, const char *fingerprint,
                          const char *extra, kd_err *e) {
    kd_jsonw w = {.out = out};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "teacher"), kd_jsonw_cstr(&w, teacher);
    kd_jsonw_key(&w, "model"), kd_jsonw_cstr(&w, model);
    if (fingerprint) kd_jsonw_key(&w, "fingerprint"), kd_jsonw_cstr(&w, fingerprint);
    number(&w, "temperature", o->temperature);
    number(&w, "top_p", o->top_p);
    number(&w, "min_p", o->min_p);
    if (o->top_k >= 0) kd_jsonw_key(&w, "top_k"), kd_jsonw_int(&w, o->top_k);
    if (o->max_tokens >= 0) kd_jsonw_key(&w, "max_tokens"), kd_jsonw_int(&w, o->max_tokens);
    if (o->system) kd_jsonw_key(&w, "system"), kd_jsonw_cstr(&w, o->system);
    if (o->stops) {
        kd_jsonw_key(&w, "stop");
        kd_jsonw_array(&w);
        for (size_t i = 0; i < o->stops; i++) kd_jsonw_cstr(&w, o->stop[i]);
        kd_jsonw_end_array(&w);
    }
    if (o->prefill) kd_jsonw_key(&w, "prefill"), kd_jsonw_cstr(&w, o->prefill);
    if (o->purpose) kd_jsonw_key(&w, "purpose"), kd_jsonw_cstr(&w, o->purpose);
    kd_jsonw_key(&w, "seed"), kd_jsonw_int(&w, (int64_t)(o->seed & INT64_MAX));
    kd_code c = w.code;
    if (!c && extra && *extra) c = kd_buf_printf(out, ",%s", extra);
    if (!c) w.code = c, kd_jsonw_end_object(&w), c = w.code;
    return c ? kd_fail(e, KD_ENOMEM, "settings: out of memory") : KD_OK;
}

kd_code kd_teach_conversation(kd_json **out, const kd_work_item *item, const char *system, const char *prefill, kd_err *e) {
    kd_json *doc = NULL;
    kd_buf text = {0};
    kd_jsonw w = {.out = &text};
    *out = NULL;
    kd_code c = kd_json_parse(&doc, item->messages.data, item->messages.len, "messages of a prompt", e);
    if (c) return c;
    const kd_json_node *first = kd_json_first(kd_json_root(doc));
    bool has_system = kd_str_is(kd_json_string(kd_json_get(first, "role")), "system") ||
                      kd_str_is(kd_json_string(kd_json_get(first, "role")), "developer");
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "messages");
    kd_jsonw_array(&w);
    if (system && !has_system) {
        kd_jsonw_object(&w);
        kd_jsonw_key(&w, "role"), kd_jsonw_cstr(&w, "system");
        kd_jsonw_key(&w, "content"), kd_jsonw_cstr(&w, system);
        kd_jsonw_end_object(&w);
    }
    for (const kd_json_node *m = first; m; m = kd_json_next(m)) kd_jsonw_node(&w, m);
    if (prefill) {
        kd_jsonw_object(&w);
        kd_jsonw_key(&w, "role"), kd_jsonw_cstr(&w, "assistant");
        kd_jsonw_key(&w, "content"), kd_jsonw_cstr(&w, prefill);
        kd_jsonw_end_object(&w);
    }
    kd_jsonw_end_array(&w);
    if (item->tools.len) kd_jsonw_key(&w, "tools"), kd_jsonw_raw(&w, item->tools);
    kd_jsonw_end_object(&w);
    c = w.code ? kd_fail(e, KD_ENOMEM, "conversation: out of memory") : kd_json_parse(out, text.data, text.len, "conversation", e);
    kd_buf_clear(&text);
    kd_json_free(doc);
    return c;
}
