/* convert/card.c - reads what stands beside the weights: names, licence, chat templates, config texts. Leans on card.h, base/json.h. */
#include "convert/card.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 16 << 20 };

void kd_card_clear(kd_card *c) {
    kd_arena_clear(&c->arena);
    *c = (kd_card){0};
}

static kd_code keep(kd_card *c, kd_str s, kd_str *out, kd_err *e) {
    char *p = kd_arena_strndup(&c->arena, s.data, s.len);
    if (!p) return kd_fail(e, KD_ENOMEM, "no memory for a text of %zu bytes", s.len);
    *out = (kd_str){p, s.len};
    return KD_OK;
}

/* dir/name as a text; absent leaves *out alone. */
static kd_code read_text(kd_card *c, const char *dir, const char *name, kd_str *out, kd_err *e) {
    char *path = kd_path_join(dir, name);
    kd_buf b = {0};
    kd_code r = path ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dir);
    if (!r && kd_file_exists(path) && !(r = kd_file_read(&b, path, TEXT_MAX, e)))
        r = keep(c, (kd_str){b.data ? b.data : "", b.len}, out, e);
    kd_buf_clear(&b);
    kd_free(path);
    return r;
}

static kd_code add_template(kd_card *c, kd_str name, kd_str source, kd_err *e) {
    kd_card_templates *t = &c->templates;
    if (!name.data || !source.data) return KD_OK;
    if (t->n == sizeof t->v / sizeof *t->v) return kd_fail(e, KD_EFORMAT, "more than %zu chat templates", t->n);
    kd_code r = keep(c, name, &t->v[t->n].name, e);
    if (!r && !(r = keep(c, source, &t->v[t->n].source, e))) t->n++;
    return r;
}

/* "chat_template" of a JSON object: a string, or a list of {"name", "template"}. */
static kd_code json_templates(kd_card *c, const kd_json_node *root, kd_err *e) {
    const kd_json_node *t = kd_json_get(root, "chat_template");
    kd_code r = KD_OK;
    if (kd_json_typeof(t) == KD_JSON_STRING) return add_template(c, KD_STR("default"), kd_json_string(t), e);
    for (const kd_json_node *n = kd_json_typeof(t) == KD_JSON_ARRAY ? kd_json_first(t) : NULL; n && !r; n = kd_json_next(n))
        r = add_template(c, kd_json_string(kd_json_get(n, "name")), kd_json_string(kd_json_get(n, "template")), e);
    return r;
}

static kd_code file_templates(kd_card *c, const char *dir, const char *name, kd_err *e) {
    kd_str text = {0};
    kd_json *doc = NULL;
    kd_code r = read_text(c, dir, name, &text, e);
    if (r || !text.data) return r;
    if (!(r = kd_json_parse(&doc, text.data, text.len, name, e))) r = json_templates(c, kd_json_root(doc), e);
    kd_json_free(doc);
    return r;
}

static kd_code more_templates(kd_card *c, const char *dir, kd_err *e) {
    char *sub = kd_path_join(dir, "additional_chat_templates");
    char **names = NULL;
    size_t n = 0;
    kd_code r = sub ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dir);
    if (!r && kd_is_dir(sub)) r = kd_list_dir(sub, &names, &n, e);
    for (size_t i = 0; i < n && !r; i++) {
        kd_str name = kd_str_of(names[i]), text = {0};
        if (!kd_str_ends(name, ".jinja") || (r = read_text(c, sub, names[i], &text, e))) continue;
        name.len -= 6;
        r = add_template(c, name, text, e);
    }
    kd_names_free(names, n);
    kd_free(sub);
    return r;
}

kd_code kd_card_templates_read(kd_card *c, const char *dir, kd_err *e) {
    kd_str text = {0};
    kd_code r = read_text(c, dir, "chat_template.jinja", &text, e);
    if (!r && text.data) r = add_template(c, KD_STR("default"), text, e);
    if (!r) r = more_templates(c, dir, e);
    if (!r && !c->templates.n) r = file_templates(c, dir, "chat_template.json", e);
    if (!r && !c->templates.n) r = file_templates(c, dir, "tokenizer_config.json", e);
    return r;
}

/* "8x7B": what one expert and all that is shared take, as llama.cpp's converter counts. */
static void label_of(const kd_config *c, char s[16]) {
    char one[16];
    const uint64_t experts = (uint64_t)c->L * c->experts * 3 * c->expert_F * c->C, all = kd_config_parameters(c);
    if (!c->experts) {
        kd_size_label(all, s);
        return;
    }
    kd_size_label(all - experts + experts / c->experts, one);
    snprintf(s, 16, "%ux%.8s", (unsigned)c->experts, one);
}

void kd_size_label(uint64_t parameters, char s[16]) {
    double v = (double)parameters;
    const char *unit = v >= 1e12 ? "T" : v >= 1e9 ? "B" : v >= 1e6 ? "M" : "K";
    v /= v >= 1e12 ? 1e12 : v >= 1e9 ? 1e9 : v >= 1e6 ? 1e6 : 1e3;
    snprintf(s, 16, v < 9.95 ? "%.1f%s" : "%.0f%s", v, unit);
}

/* The value of a top-level key of the YAML at the head of a README.md: a scalar, or the first of a list. */
static kd_str yaml_value(kd_str text, const char *key) {
    size_t n = strlen(key), at = 4;
    bool below = false;
    if (!kd_str_starts(text, "---\n")) return (kd_str){0};
    while (at < text.len) {
        const char *line = text.data + at, *nl = memchr(line, '\n', text.len - at);
        size_t len = nl ? (size_t)(nl - line) : text.len - at;
        at += len + 1;
        if (len >= 3 && !memcmp(line, "---", 3)) break;
        size_t from = 0;
        if (below && len > 1 && memchr(line, '-', len) && (line[0] == ' ' || line[0] == '-'))
            from = (size_t)((const char *)memchr(line, '-', len) - line) + 1;
        else if (len > n && !memcmp(line, key, n) && line[n] == ':')
            from = n + 1, below = true;
        else {
            below = below && (len == 0 || line[0] == ' ');
            continue;
        }
        while (from < len && (line[from] == ' ' || line[from] == '"' || line[from] == '\'')) from++;
        while (len > from && (isspace((unsigned char)line[len - 1]) || line[len - 1] == '"' || line[len - 1] == '\'')) len--;
        if (len > from) return (kd_str){line + from, len - from};
    }
    return (kd_str){0};
}

/* tokenizer_config.json without its chat template, which has keys of its own. */
static kd_code strip_template(kd_card *c, kd_err *e) {
    kd_json *doc = NULL;
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    if (!c->tokenizer_config.data) return KD_OK;
    kd_code r = kd_json_parse(&doc, c->tokenizer_config.data, c->tokenizer_config.len, "tokenizer_config.json", e);
    if (r) return r;
    kd_jsonw_object(&w);
    for (const kd_json_node *n = kd_json_first(kd_json_root(doc)); n; n = kd_json_next(n))
        if (!kd_str_is(kd_json_key(n), "chat_template")) {
            kd_jsonw_key_str(&w, kd_json_key(n));
            kd_jsonw_node(&w, n);
        }
    kd_jsonw_end_object(&w);
    r = w.code ? kd_fail(e, w.code, "no memory for tokenizer_config.json") : keep(c, kd_buf_view(&b), &c->tokenizer_config, e);
    kd_buf_clear(&b);
    kd_json_free(doc);
    return r;
}

/* "some/SmolLM2-135M_x/" -> "SmolLM2 135M x" */
static kd_code nice_name(kd_card *c, const char *path, kd_str *out, kd_err *e) {
    size_t n = strlen(path);
    while (n && path[n - 1] == '/') n--;
    size_t from = n;
    while (from && path[from - 1] != '/') from--;
    kd_code r = keep(c, (kd_str){path + from, n - from}, out, e);
    for (size_t i = 0; i < out->len && !r; i++)
        if (out->data[i] == '-' || out->data[i] == '_') ((char *)(uintptr_t)out->data)[i] = ' ';
    return r;
}

/* What the model was made from. A GGUF file of ours says it of an earlier conversion. */
static kd_code read_lineage(kd_card *c, const kd_plan *p, kd_err *e) {
    const kd_gguf *g = kd_model_gguf(p->model);
    kd_code r = nice_name(c, p->source.path, &c->source, e);
    if (!r && p->source.run && !(r = nice_name(c, p->source.run, &c->run, e)))
        r = read_text(c, p->source.run, "config.yaml", &c->run_config, e);
    if (g && !p->source.run) {
        (void)kd_gguf_str(g, "distill.source", &c->source);
        (void)kd_gguf_str(g, "distill.run", &c->run);
        (void)kd_gguf_str(g, "distill.run.config", &c->run_config);
    }
    return r;
}

static kd_code read_keys(kd_card *c, const kd_plan *p, kd_err *e) {
    const kd_gguf *g = kd_model_gguf(p->model);
    if (!p->source.run) (void)kd_gguf_str(g, "general.name", &c->name);
    (void)kd_gguf_str(g, "general.license", &c->license);
    if (p->adapter) {
        if (!kd_gguf_str(g, "general.name", &c->base_name)) c->base_name = c->source;
        c->base = c->base_name;
        return KD_OK;
    }
    (void)kd_gguf_str(g, "general.base_model.0.name", &c->base_name);
    (void)kd_gguf_str(g, "general.base_model.0.repo_url", &c->base_url);
    c->base = kd_str_starts(c->base_url, "https://huggingface.co/") ? (kd_str){c->base_url.data + 23, c->base_url.len - 23} : c->base_name;
    (void)e;
    return KD_OK;
}

kd_code kd_card_read(kd_card *c, kd_plan *p, const kd_convert_options *o, kd_err *e) {
    const char *dir = p->source.path;
    char label[16];
    kd_code r = read_lineage(c, p, e);
    label_of(&p->config, label);
    if (r || (r = keep(c, kd_str_of(label), &c->size_label, e)) || (r = nice_name(c, p->source.run ? p->source.run : dir, &c->name, e)))
        return r;
    if (kd_model_gguf(p->model)) {
        r = read_keys(c, p, e);
        if (o->name) c->name = kd_str_of(o->name);
        return r;
    }
    if ((r = read_text(c, dir, "config.json", &c->config, e)) || (r = read_text(c, dir, "generation_config.json", &c->generation, e)) ||
        (r = read_text(c, dir, "tokenizer_config.json", &c->tokenizer_config, e)) || (r = strip_template(c, e)) ||
        (r = read_text(c, dir, "README.md", &c->readme, e)) || (r = kd_card_templates_read(c, dir, e)))
        return r;
    c->license = yaml_value(c->readme, "license");
    c->base = yaml_value(c->readme, "base_model");
    if (o->name) c->name = kd_str_of(o->name);
    if (p->adapter && (r = nice_name(c, dir, &c->base_name, e))) return r;
    if (p->adapter)
        c->base = c->base_name;
    else if (c->base.data) {
        kd_buf b = {0};
        char *z = kd_arena_strndup(&c->arena, c->base.data, c->base.len);
        if (!z || (r = nice_name(c, z, &c->base_name, e))) return z ? r : kd_fail(e, KD_ENOMEM, "no memory for a name");
        if (!strchr(z, '/') || strchr(z, ' ')) return KD_OK; /* no place on the hub */
        r = kd_buf_printf(&b, "https://huggingface.co/%s", z);
        r = r ? kd_fail(e, r, "no memory for a name") : keep(c, kd_buf_view(&b), &c->base_url, e);
        kd_buf_clear(&b);
    }
    return r;
}

kd_code kd_card_lineage(kd_plan *p, kd_gguf_writer *w, kd_err *e) {
    kd_card c = {0};
    kd_code r = read_lineage(&c, p, e);
    const kd_adapter_config *a = p->adapter ? &p->adapter->config : NULL;
    const struct {
        const char *key;
        kd_str v;
    } keys[] = {{"distill.adapter", a ? a->dora     ? KD_STR("dora")
                                        : a->rslora ? KD_STR("rslora")
                                                    : KD_STR("lora")
                                      : (kd_str){0}},
                {"distill.version", KD_STR(KD_VERSION)},
                {"distill.source", kd_model_gguf(p->model) && !p->source.run ? (kd_str){0} : c.source},
                {"distill.run", c.run},
                {"distill.run.config", c.run_config},
                {"distill.study.sha256", kd_card_recorded(c.run_config, "lessons_sha256")},
                {"distill.study.lessons", kd_card_recorded(c.run_config, "lessons")},
                {"distill.study.select", kd_card_recorded(c.run_config, "select")}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !r; i++)
        if (keys[i].v.data) r = kd_gguf_writer_str(w, keys[i].key, keys[i].v, e);
    kd_card_clear(&c);
    return r;
}
