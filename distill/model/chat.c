/* distill/model/chat.c - finds a model's chat template and special tokens, in a folder or a GGUF file. Leans on chat.h, source.h, base/file.h,
 * format/gguf.h. */
#include "distill/model/chat.h"

#include "distill/base/file.h"
#include "distill/format/gguf.h"
#include "distill/model/source.h"

#include <stdio.h>
#include <string.h>

enum { TEMPLATE_MAX = 1 << 20, CONFIG_MAX = 64 << 20 };

struct kd_chat {
    char *path;
    kd_template *chat, *tool_use; /* tool_use: where it differs */
    kd_template_string *tokens;   /* names and values are ours */
    size_t n, cap;
};

static kd_code no_memory(const char *path, kd_err *e) { return kd_fail(e, KD_ENOMEM, "%s: no memory for a chat template", path); }

/* ---- special tokens ---- */

static kd_template_string *find(const kd_chat *c, kd_str name) {
    for (size_t i = 0; i < c->n; i++)
        if (kd_str_is(name, c->tokens[i].name)) return &c->tokens[i];
    return NULL;
}

/* Sets a token; value.data NULL takes it away. */
static kd_code set_token(kd_chat *c, kd_str name, kd_str value, kd_err *e) {
    kd_template_string *t = find(c, name);
    char *copy = value.data ? kd_strndup(value.data, value.len) : NULL;
    if (value.data && !copy) return no_memory(c->path, e);
    if (!t) {
        char *z = kd_strndup(name.data, name.len);
        if (!z || kd_grow((void **)&c->tokens, &c->cap, c->n + 1, sizeof *c->tokens) != KD_OK) {
            kd_free(z);
            kd_free(copy);
            return no_memory(c->path, e);
        }
        t = &c->tokens[c->n++];
        *t = (kd_template_string){z, {NULL, 0}};
    }
    kd_free((char *)(uintptr_t)t->value.data);
    t->value = (kd_str){copy, value.len};
    return KD_OK;
}

/* Every member "..._token" that is a string, or an object with one under "content". */
static kd_code take_tokens(kd_chat *c, const kd_json_node *root, kd_err *e) {
    kd_code rc = KD_OK;
    for (const kd_json_node *n = kd_json_first(root); n && rc == KD_OK; n = kd_json_next(n)) {
        kd_json_type t = kd_json_typeof(n);
        kd_str value = kd_json_string(t == KD_JSON_OBJECT ? kd_json_get(n, "content") : n);
        if (!kd_str_ends(kd_json_key(n), "_token")) continue;
        if (value.data || t == KD_JSON_NULL) rc = set_token(c, kd_json_key(n), value, e);
    }
    return rc;
}

/* ---- a Hugging Face folder ---- */

/* dir/name into b; nothing if it is not there. */
static kd_code read_beside(kd_buf *b, const char *dir, const char *name, size_t limit, kd_err *e) {
    char *path = kd_path_join(dir, name);
    kd_code rc = path ? KD_OK : no_memory(dir, e);
    if (rc == KD_OK && kd_file_exists(path)) rc = kd_file_read(b, path, limit, e);
    kd_free(path);
    return rc;
}

static kd_code parse_beside(kd_json **doc, const char *dir, const char *name, kd_err *e) {
    kd_buf b = {0};
    *doc = NULL;
    kd_code rc = read_beside(&b, dir, name, CONFIG_MAX, e);
    if (rc == KD_OK && b.len) rc = kd_json_parse(doc, b.data, b.len, name, e);
    kd_buf_clear(&b);
    return rc;
}

static kd_code parse_template(kd_template **out, const char *path, const char *name, kd_str text, kd_err *e) {
    char label[512];
    snprintf(label, sizeof label, "%s: %s", kd_path_base(path), name);
    return *out || !text.data ? KD_OK : kd_template_new(out, text.data, text.len, label, e);
}

/* "chat_template" of a config: one text, or a list of {"name", "template"}. */
static kd_code config_template(kd_chat *c, const kd_json_node *v, kd_err *e) {
    kd_code rc = parse_template(&c->chat, c->path, "chat template", kd_json_string(v), e);
    for (const kd_json_node *n = kd_json_typeof(v) == KD_JSON_ARRAY ? kd_json_first(v) : NULL; n && rc == KD_OK; n = kd_json_next(n)) {
        kd_str name = kd_json_string(kd_json_get(n, "name")), text = kd_json_string(kd_json_get(n, "template"));
        if (kd_str_is(name, "default"))
            rc = parse_template(&c->chat, c->path, "chat template", text, e);
        else if (kd_str_is(name, "tool_use"))
            rc = parse_template(&c->tool_use, c->path, "chat template tool_use", text, e);
    }
    return rc;
}

static kd_code folder_template(kd_chat *c, const char *dir, const kd_json_node *config, kd_err *e) {
    kd_buf b = {0};
    kd_json *doc = NULL;
    kd_code rc = read_beside(&b, dir, "chat_template.jinja", TEMPLATE_MAX, e);
    bool own = b.data != NULL;
    if (rc == KD_OK && own) rc = parse_template(&c->chat, dir, "chat_template.jinja", kd_buf_view(&b), e);
    kd_buf_clear(&b);
    if (rc == KD_OK) rc = read_beside(&b, dir, "additional_chat_templates/tool_use.jinja", TEMPLATE_MAX, e);
    if (rc == KD_OK && b.data) rc = parse_template(&c->tool_use, dir, "tool_use.jinja", kd_buf_view(&b), e);
    kd_buf_clear(&b);
    if (rc == KD_OK && !own) rc = config_template(c, kd_json_get(config, "chat_template"), e);
    if (rc == KD_OK && !c->chat) rc = parse_beside(&doc, dir, "chat_template.json", e);
    if (rc == KD_OK && doc) rc = config_template(c, kd_json_get(kd_json_root(doc), "chat_template"), e);
    kd_json_free(doc);
    return rc;
}

static kd_code open_folder(kd_chat *c, const char *dir, bool wants_template, kd_err *e) {
    kd_json *config = NULL, *map = NULL;
    kd_code rc = parse_beside(&config, dir, "tokenizer_config.json", e);
    const kd_json_node *root = kd_json_root(config);
    if (rc == KD_OK && kd_json_typeof(kd_json_get(root, "added_tokens_decoder")) == KD_JSON_ABSENT)
        rc = parse_beside(&map, dir, "special_tokens_map.json", e);
    if (rc == KD_OK) rc = take_tokens(c, root, e);
    if (rc == KD_OK) rc = take_tokens(c, kd_json_root(map), e);
    /* Llama's tokenizer class has these where the files say nothing */
    kd_str class = kd_json_string(kd_json_get(root, "tokenizer_class"));
    if (kd_str_is(class, "LlamaTokenizer") || kd_str_is(class, "LlamaTokenizerFast")) {
        static const char *const own[][2] = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
        for (size_t i = 0; i < 3 && rc == KD_OK; i++)
            if (!find(c, kd_str_of(own[i][0]))) rc = set_token(c, kd_str_of(own[i][0]), kd_str_of(own[i][1]), e);
    }
    if (rc == KD_OK && wants_template) rc = folder_template(c, dir, root, e);
    kd_json_free(config);
    kd_json_free(map);
    return rc;
}

/* ---- GGUF ---- */

static kd_code gguf_template(kd_template **out, const kd_gguf *g, const char *path, const char *key, kd_err *e) {
    kd_str text;
    return kd_gguf_str(g, key, &text) ? parse_template(out, path, key, text, e) : KD_OK;
}

static kd_code open_gguf(kd_chat *c, const char *path, bool wants_template, kd_err *e) {
    static const char *const names[][2] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                           {"eos_token", "tokenizer.ggml.eos_token_id"},
                                           {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                           {"pad_token", "tokenizer.ggml.padding_token_id"},
                                           {"sep_token", "tokenizer.ggml.seperator_token_id"},
                                           {"cls_token", "tokenizer.ggml.cls_token_id"},
                                           {"mask_token", "tokenizer.ggml.mask_token_id"}};
    kd_gguf *g;
    kd_code rc = kd_gguf_open(&g, path, e);
    if (rc != KD_OK) return rc;
    const kd_gguf_kv *tokens = kd_gguf_find(g, "tokenizer.ggml.tokens");
    for (size_t i = 0; i < sizeof names / sizeof *names && rc == KD_OK; i++) {
        uint32_t id;
        kd_str text;
        if (tokens && kd_gguf_u32(g, names[i][1], &id) && kd_gguf_elem_str(tokens, id, &text))
            rc = set_token(c, kd_str_of(names[i][0]), text, e);
    }
    if (rc == KD_OK && wants_template) rc = gguf_template(&c->chat, g, path, "tokenizer.chat_template", e);
    if (rc == KD_OK && wants_template) rc = gguf_template(&c->tool_use, g, path, "tokenizer.chat_template.tool_use", e);
    kd_gguf_close(g);
    return rc;
}

/* ---- the face ---- */

kd_code kd_chat_open(kd_chat **out, const char *path, const char *template_file, kd_err *e) {
    kd_source s = {0};
    kd_buf text = {0};
    *out = NULL;
    kd_chat *c = kd_calloc(1, sizeof *c);
    kd_code rc = c && (c->path = kd_strdup(path)) ? kd_source_resolve(&s, path, e) : no_memory(path, e);
    if (rc == KD_OK) rc = s.kind == KD_SOURCE_GGUF ? open_gguf(c, s.path, !template_file, e) : open_folder(c, s.path, !template_file, e);
    if (rc == KD_OK && template_file) rc = kd_file_read(&text, template_file, TEMPLATE_MAX, e);
    if (rc == KD_OK && template_file) rc = kd_template_new(&c->chat, text.data ? text.data : "", text.len, template_file, e);
    kd_buf_clear(&text);
    kd_source_clear(&s);
    if (rc == KD_OK)
        *out = c;
    else
        kd_chat_free(c);
    return rc;
}

void kd_chat_free(kd_chat *c) {
    if (!c) return;
    for (size_t i = 0; i < c->n; i++) {
        kd_free((char *)(uintptr_t)c->tokens[i].name);
        kd_free((char *)(uintptr_t)c->tokens[i].value.data);
    }
    kd_free(c->tokens);
    kd_template_free(c->chat);
    kd_template_free(c->tool_use);
    kd_free(c->path);
    kd_free(c);
}

kd_code kd_chat_set_token(kd_chat *c, const char *name, kd_str value, kd_err *e) { return set_token(c, kd_str_of(name), value, e); }

bool kd_chat_has(const kd_chat *c) { return c->chat != NULL || c->tool_use != NULL; }

const kd_template *kd_chat_template(const kd_chat *c, bool tools) { return (tools && c->tool_use) || !c->chat ? c->tool_use : c->chat; }

kd_str kd_chat_token(const kd_chat *c, const char *name) {
    const kd_template_string *t = find(c, kd_str_of(name));
    return t ? t->value : (kd_str){NULL, 0};
}

kd_code kd_chat_render(kd_buf *out, kd_template_spans *spans, const kd_chat *c, const kd_template_input *in, kd_err *e) {
    kd_json_type tools = kd_json_typeof(in->tools);
    const kd_template *t = kd_chat_template(c, tools != KD_JSON_ABSENT && tools != KD_JSON_NULL);
    kd_template_input with = *in;
    if (!t) return kd_fail(e, KD_EUNSUPPORTED, "%s: a model without a chat template", c->path);
    size_t n = 0;
    kd_template_string *given = kd_malloc((c->n + 1) * sizeof *given);
    if (!given) return no_memory(c->path, e);
    for (size_t i = 0; i < c->n; i++)
        if (c->tokens[i].value.data) given[n++] = c->tokens[i];
    with.strings = given;
    with.n_strings = n;
    kd_code rc = kd_template_render(out, spans, t, &with, e);
    kd_free(given);
    return rc;
}
