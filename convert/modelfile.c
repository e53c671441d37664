/* convert/modelfile.c - see modelfile.h. Roles are told by a letter: s system, u user, a assistant. */
#include "convert/modelfile.h"

#include "distill/model/chat.h"
#include "distill/model/tokenizer.h"

#include <string.h>

/* Text around the content of each role, what stands first without a system prompt, and what calls for an answer. */
typedef struct {
    kd_buf pre_s, post_s, pre_u, post_u, pre_a, post_a, absent, call;
} shape;

static void clear(shape *s) {
    kd_buf *all[] = {&s->pre_s, &s->post_s, &s->pre_u, &s->post_u, &s->pre_a, &s->post_a, &s->absent, &s->call};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_buf_clear(all[i]);
}

static const char *content(char role, size_t i, char s[8]) { /* i < 10 */
    const char text[8] = {(char)(role - 'a' + 'A'), 'Q', (char)('0' + i), 'Z'};
    return memcpy(s, text, 8);
}

/* The model's own rendering of turns of these roles. KD_EFORMAT and the like: the template will not have them in that order. */
static kd_code own(kd_buf *out, const kd_chat *chat, const char *roles, bool call, kd_err *e) {
    kd_buf text = {0};
    kd_json *doc = NULL;
    char s[8];
    kd_code c = kd_buf_putc(&text, '[');
    for (size_t i = 0; roles[i] && !c; i++)
        c = kd_buf_printf(&text, "%s{\"role\":\"%s\",\"content\":\"%s\"}", i ? "," : "",
                          roles[i] == 's'   ? "system"
                          : roles[i] == 'u' ? "user"
                                            : "assistant",
                          content(roles[i], i, s));
    if (!c) c = kd_buf_putc(&text, ']');
    if (!c) c = kd_json_parse(&doc, text.data, text.len, "turns", e);
    if (!c) c = kd_chat_render(out, NULL, chat, &(kd_template_input){.messages = kd_json_root(doc), .add_generation_prompt = call}, e);
    kd_json_free(doc);
    kd_buf_clear(&text);
    return c;
}

/* What our shape gives for the same turns. */
static kd_code ours(kd_buf *out, const shape *s, const char *roles, bool call) {
    char t[8];
    kd_code c = roles[0] != 's' ? kd_buf_append(out, s->absent.data, s->absent.len) : KD_OK;
    for (size_t i = 0; roles[i] && !c; i++) {
        const kd_buf *pre = roles[i] == 's' ? &s->pre_s : roles[i] == 'u' ? &s->pre_u : &s->pre_a;
        const kd_buf *post = roles[i] == 's' ? &s->post_s : roles[i] == 'u' ? &s->post_u : &s->post_a;
        c = kd_buf_append(out, pre->data, pre->len);
        if (!c) c = kd_buf_puts(out, content(roles[i], i, t));
        if (!c) c = kd_buf_append(out, post->data, post->len);
    }
    return !c && call ? kd_buf_append(out, s->call.data, s->call.len) : c;
}

/* The pieces of text between the contents of the turns: n + 1 of them; false if a content does not stand there once, in order. */
static bool pieces(kd_str *piece, kd_str text, const char *roles) {
    size_t at = 0, i = 0;
    char s[8];
    for (; roles[i]; i++) {
        const char *hit = text.data ? strstr(text.data + at, content(roles[i], i, s)) : NULL;
        if (!hit) return false;
        piece[i] = (kd_str){text.data + at, (size_t)(hit - text.data) - at};
        at = (size_t)(hit - text.data) + strlen(s);
    }
    piece[i] = (kd_str){text.data + at, text.len - at};
    return true;
}

static bool ends(kd_str s, kd_str with) { return s.len >= with.len && !memcmp(s.data + s.len - with.len, with.data, with.len); }
static bool starts(kd_str s, kd_str with) { return s.len >= with.len && !memcmp(s.data, with.data, with.len); }

/* Fills the shape from renderings of s u a u with and without a call for an answer, of s u a, and of u. bos: what the tokenizer puts there by
 * itself, or {0}. */
static kd_code derive(shape *s, bool *found, kd_str all, kd_str open, kd_str ended, kd_str one, kd_str bos) {
    kd_str p[5], q[5], t[4], r[2];
    *found = false;
    if (!pieces(p, all, "suau") || !pieces(q, open, "suau") || !pieces(t, ended, "sua") || !pieces(r, one, "u")) return KD_OK;
    kd_str call = p[4], post_u = q[4], post_a = t[3], first = r[0];
    if (!starts(call, post_u) || !starts(p[2], post_u) || !starts(p[3], post_a)) return KD_OK;
    const kd_str pre_u = {p[3].data + post_a.len, p[3].len - post_a.len};
    if (bos.len && starts(first, bos)) first = (kd_str){first.data + bos.len, first.len - bos.len};
    if (bos.len && starts(p[0], bos)) p[0] = (kd_str){p[0].data + bos.len, p[0].len - bos.len};
    if (!ends(p[1], pre_u) || !ends(first, pre_u)) return KD_OK;
    const struct {
        kd_buf *to;
        kd_str v;
    } parts[] = {{&s->pre_s, p[0]},
                 {&s->post_s, {p[1].data, p[1].len - pre_u.len}},
                 {&s->pre_u, pre_u},
                 {&s->post_u, post_u},
                 {&s->pre_a, {p[2].data + post_u.len, p[2].len - post_u.len}},
                 {&s->post_a, post_a},
                 {&s->absent, {first.data, first.len - pre_u.len}},
                 {&s->call, {call.data + post_u.len, call.len - post_u.len}}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (kd_buf_append(parts[i].to, parts[i].v.data, parts[i].v.len)) return KD_ENOMEM;
    *found = true;
    return KD_OK;
}

/* Whether both say the same of these turns; turns that the model's own refuses say nothing. */
static kd_code agree(bool *same, const shape *s, const kd_chat *chat, const char *roles, bool call, kd_str bos) {
    kd_buf a = {0}, b = {0};
    kd_code c = own(&a, chat, roles, call, NULL), d = KD_OK;
    if (c != KD_ENOMEM && c)
        c = KD_OK;
    else if (!c && !(d = bos.len && starts(kd_buf_view(&a), bos) ? kd_buf_append(&b, bos.data, bos.len) : KD_OK) &&
             !(d = ours(&b, s, roles, call)))
        *same = *same && kd_str_eq(kd_buf_view(&a), kd_buf_view(&b));
    kd_buf_clear(&a);
    kd_buf_clear(&b);
    return c ? c : d;
}

/* A text as Go's templates print it again. */
static kd_code literal(kd_buf *out, const kd_buf *v) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < v->len && !c; i++)
        if (v->data[i] == '{' && i + 1 < v->len && v->data[i + 1] == '{')
            c = kd_buf_puts(out, "{{ \"{{\" }}"), i++;
        else
            c = kd_buf_putc(out, v->data[i]);
    return c;
}

static kd_code write_template(kd_buf *out, const shape *s) {
    const struct {
        const char *code;
        const kd_buf *text;
    } parts[] = {{"TEMPLATE \"\"\"{{- range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}{{ if and (eq $i 0) (ne "
                  ".Role \"system\") }}",
                  &s->absent},
                 {"{{ end }}{{ if eq .Role \"system\" }}", &s->pre_s},
                 {"{{ .Content }}", &s->post_s},
                 {"{{ else if eq .Role \"user\" }}", &s->pre_u},
                 {"{{ .Content }}", &s->post_u},
                 {"{{ else if eq .Role \"assistant\" }}", &s->pre_a},
                 {"{{ .Content }}{{ if not $last }}", &s->post_a},
                 {"{{ end }}{{ end }}{{ if and $last (ne .Role \"assistant\") }}", &s->call}};
    kd_code c = KD_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !c; i++)
        if (!(c = kd_buf_puts(out, parts[i].code))) c = literal(out, parts[i].text);
    return c ? c : kd_buf_puts(out, "{{ end }}{{ end }}\"\"\"\n");
}

static kd_code stops(kd_buf *out, const kd_tokenizer *t) {
    const kd_specials *sp = kd_tokenizer_specials(t);
    const int32_t ids[] = {sp->eos, sp->eot};
    kd_code c = KD_OK;
    for (size_t i = 0; i < 2 && !c; i++) {
        kd_str s = ids[i] >= 0 && (!i || ids[1] != ids[0]) ? kd_tokenizer_token(t, ids[i]).text : (kd_str){0};
        kd_jsonw w = {.out = out};
        if (!s.data || !s.len) continue;
        if (!(c = kd_buf_puts(out, "PARAMETER stop "))) kd_jsonw_str(&w, s), c = w.code;
        if (!c) c = kd_buf_putc(out, '\n');
    }
    return c;
}

static kd_code chat_part(kd_buf *out, kd_buf *warn, const kd_chat *chat, kd_str bos, kd_err *e) {
    static const char *const TRY[] = {"u", "su", "ua", "sua", "uau", "suau", "suauau"};
    shape s = {0};
    kd_buf all = {0}, open = {0}, ended = {0}, one = {0};
    bool same = false;
    kd_code c = own(&all, chat, "suau", true, e);
    if (!c) c = own(&open, chat, "suau", false, e);
    if (!c) c = own(&ended, chat, "sua", false, e);
    if (!c) c = own(&one, chat, "u", true, e);
    if (c != KD_ENOMEM && c) { /* it takes no system prompt: nothing to go by */
        kd_err_clear(e);
        c = KD_OK;
    } else if (!c) {
        c = derive(&s, &same, kd_buf_view(&all), kd_buf_view(&open), kd_buf_view(&ended), kd_buf_view(&one), bos);
    }
    for (size_t i = 0; i < sizeof TRY / sizeof *TRY && !c && same; i++) {
        size_t n = strlen(TRY[i]);
        c = agree(&same, &s, chat, TRY[i], TRY[i][n - 1] == 'u', bos);
    }
    if (!c && same) {
        size_t from = out->len;
        c = write_template(out, &s);
        if (!c && strstr(out->data + from + 12, "\"\"\"") != out->data + out->len - 4) same = false, out->len = from, out->data[from] = 0;
    }
    if (!c && !same) c = kd_buf_puts(warn, "the chat template cannot be said as an Ollama template: Ollama will guess one\n");
    if (!c && same && kd_template_reads(kd_chat_template(chat, false), "tools"))
        c = kd_buf_puts(warn, "the Modelfile's template has no tools, the model's own has\n");
    clear(&s);
    kd_buf_clear(&all);
    kd_buf_clear(&open);
    kd_buf_clear(&ended);
    kd_buf_clear(&one);
    return c;
}

kd_code kd_modelfile(kd_buf *out, kd_buf *warn, const char *gguf, const char *name, kd_err *e) {
    kd_chat *chat = NULL;
    kd_tokenizer *t = NULL;
    kd_str bos = {0};
    kd_code c = kd_chat_open(&chat, gguf, NULL, e);
    if (!c) c = kd_tokenizer_open(&t, gguf, e);
    if (c) goto done;
    const kd_specials *sp = kd_tokenizer_specials(t);
    if (sp->add_bos && sp->bos >= 0) bos = kd_tokenizer_token(t, sp->bos).text;
    if ((c = kd_buf_printf(out, "FROM ./%s\n", name))) goto done;
    if (!kd_chat_has(chat))
        c = kd_buf_puts(warn, "the model has no chat template\n");
    else
        c = chat_part(out, warn, chat, bos, e);
    if (!c) c = stops(out, t);
done:
    if (c == KD_ENOMEM) c = kd_fail(e, c, "%s: no memory for a Modelfile", gguf);
    kd_tokenizer_free(t);
    kd_chat_free(chat);
    return c;
}
