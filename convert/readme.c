/* convert/readme.c - the model card README.md of a folder, and what a run records about itself. Leans on card.h, model/tokenizer.h.
 * A card of others is kept as it is where the model stays the same; a merged model gets one of its own. What goes in comes from files of
 * others: in YAML it is quoted, in the text it is code. */
#include "convert/card.h"

#include "distill/model/config.h"

#include <string.h>

kd_str kd_card_recorded(kd_str yaml, const char *key) {
    size_t n = strlen(key);
    for (const char *at = yaml.data, *end = at + yaml.len; at && at < end;) {
        const char *nl = memchr(at, '\n', (size_t)(end - at)), *stop = nl ? nl : end, *from = at;
        at = nl ? nl + 1 : end;
        if (stop - from > 2 && from[0] == '#' && from[1] == ' ') from += 2;
        if ((size_t)(stop - from) < n + 2 || memcmp(from, key, n) || from[n] != ':' || from[n + 1] != ' ') continue;
        from += n + 2;
        if (stop - from >= 2 && from[0] == '"' && stop[-1] == '"') from++, stop--;
        return (kd_str){from, (size_t)(stop - from)};
    }
    return (kd_str){0};
}

/* key: "value" in the head of the card. */
static kd_code head(kd_buf *b, const char *key, kd_str v) {
    kd_jsonw w = {.out = b};
    if (!v.data || !v.len) return KD_OK;
    kd_code c = kd_buf_printf(b, "%s: ", key);
    if (c) return c;
    kd_jsonw_str(&w, v);
    return w.code ? w.code : kd_buf_putc(b, '\n');
}

/* | what | `value` |, without what would end the cell or the code. */
static kd_code cell(kd_buf *b, const char *what, kd_str v) {
    if (!v.data || !v.len) return KD_OK;
    kd_code c = kd_buf_printf(b, "| %s | `", what);
    for (size_t i = 0; i < v.len && i < 300 && !c; i++)
        c = kd_buf_putc(b, (unsigned char)v.data[i] < ' ' || v.data[i] == '`' || v.data[i] == '|' ? ' ' : v.data[i]);
    return c ? c : kd_buf_puts(b, "` |\n");
}

/* A text as an indented block. */
static kd_code block(kd_buf *b, kd_str s) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < s.len && !c; i++) {
        if (!i || s.data[i - 1] == '\n') c = kd_buf_puts(b, "    ");
        if (!c) c = kd_buf_putc(b, s.data[i]);
    }
    return c ? c : kd_buf_putc(b, '\n');
}

static kd_code text_of(kd_buf *b, const kd_plan *p, const kd_card *c) {
    static const struct {
        const char *key, *what;
    } RECORDED[] = {{"lessons", "lessons"},
                    {"lessons_sha256", "SHA-256 of the lessons"},
                    {"select", "selection"},
                    {"method", "method"},
                    {"lora-rank", "rank"},
                    {"lora-alpha", "alpha"},
                    {"learning-rate", "learning rate"},
                    {"epochs", "epochs"},
                    {"updates", "updates"},
                    {"seed", "seed"}};
    const bool own = p->source.run || p->adapter;
    kd_code r = kd_buf_puts(b, "---\n");
    if (!r) r = head(b, "license", c->license);
    if (!r) r = head(b, "base_model", c->base);
    if (!r) r = kd_buf_puts(b, "library_name: transformers\npipeline_tag: text-generation\n");
    if (!r && own) r = kd_buf_puts(b, "tags:\n- distill\n");
    if (!r) r = kd_buf_puts(b, "---\n\n# ");
    for (size_t i = 0; i < c->name.len && i < 200 && !r; i++)
        r = kd_buf_putc(b, (unsigned char)c->name.data[i] < ' ' || strchr("<>[]`|*#", c->name.data[i]) ? ' ' : c->name.data[i]);
    if (!r) r = kd_buf_puts(b, own ? "\n\nA student trained and merged by distill.\n" : "\n\nConverted by distill.\n");
    if (!r) r = kd_buf_puts(b, "\n| | |\n| --- | --- |\n");
    if (!r) r = cell(b, "architecture", kd_str_of(kd_config_type(&p->config)));
    if (!r) r = cell(b, "parameters", c->size_label);
    if (!r) r = cell(b, "made from", c->source);
    if (!r) r = cell(b, "run", c->run);
    for (size_t i = 0; i < sizeof RECORDED / sizeof *RECORDED && !r; i++)
        r = cell(b, RECORDED[i].what, kd_card_recorded(c->run_config, RECORDED[i].key));
    if (!r) r = cell(b, "distill", KD_STR(KD_VERSION));
    if (!r && c->run_config.data && !(r = kd_buf_puts(b, "\n## Settings of the run\n\n"))) r = block(b, c->run_config);
    return r;
}

kd_code kd_card_readme(kd_buf *b, kd_plan *p, const kd_convert_options *o, kd_err *e) {
    kd_card c = {0};
    kd_code r = kd_card_read(&c, p, o, e);
    if (!r && c.readme.data && !p->adapter && !p->source.run) {
        if (kd_buf_append(b, c.readme.data, c.readme.len)) r = kd_fail(e, KD_ENOMEM, "no memory for a model card");
    } else if (!r && text_of(b, p, &c)) {
        r = kd_fail(e, KD_ENOMEM, "no memory for a model card");
    }
    kd_card_clear(&c);
    return r;
}
