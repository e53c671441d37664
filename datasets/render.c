/* datasets/render.c - conversations through the model's template: text, prompts, and how a turn begins and ends in it. Leans on render_int.h. */
#include "datasets/render_int.h"

#include <string.h>

static const kd_json_node *member(const kd_json_node *conversation, const char *key, const kd_json_node *otherwise) {
    const kd_json_node *n = kd_json_get(conversation, key);
    kd_json_type t = kd_json_typeof(n);
    return t == KD_JSON_ABSENT || t == KD_JSON_NULL ? otherwise : n;
}

kd_code kd_render_text(kd_buf *out, const kd_render *r, const kd_json_node *conversation, size_t leave_out, bool generate, kd_err *e) {
    kd_template_input in = {.messages = kd_json_get(conversation, "messages"),
                            .leave_out = leave_out,
                            .tools = member(conversation, "tools", r->tools),
                            .documents = member(conversation, "documents", r->documents),
                            .extra = member(conversation, "chat_template_kwargs", r->extra),
                            .add_generation_prompt = generate,
                            .now = r->now};
    size_t n = kd_json_count(in.messages);
    if (kd_json_typeof(in.messages) != KD_JSON_ARRAY) return kd_fail(e, KD_EFORMAT, "messages: expected an array of messages");
    if (n <= leave_out) return kd_fail(e, KD_EFORMAT, "messages: expected at least one%s", n ? " before the answer" : "");
    return kd_chat_render(out, NULL, r->chat, &in, e);
}

/* text's ids behind *tokens, control tokens recognised. tokens may be NULL. */
static kd_code encode(int32_t **tokens, size_t *n, const kd_render *r, kd_str text, kd_err *e) {
    kd_ids ids = {0};
    if (!tokens) return KD_OK;
    kd_code c = kd_tokenizer_encode(r->tokenizer, &ids, text.data ? text.data : "", text.len, KD_TOK_PARSE_SPECIAL, e);
    if (c != KD_OK) {
        kd_ids_clear(&ids);
        return c;
    }
    *tokens = ids.id;
    *n = ids.n;
    return KD_OK;
}

kd_code kd_render_chat(kd_buf *text, int32_t **tokens, size_t *n, const kd_render *r, const kd_json_node *conversation, kd_err *e) {
    size_t had = text->len;
    bool generate = kd_json_bool(kd_json_get(conversation, "add_generation_prompt"), false);
    kd_code c = kd_render_text(text, r, conversation, 0, generate, e);
    return c == KD_OK ? encode(tokens, n, r, (kd_str){text->data + had, text->len - had}, e) : c;
}

static bool is_assistant(const kd_json_node *message) { return kd_str_is(kd_json_string(kd_json_get(message, "role")), "assistant"); }

static const kd_json_node *last_of(const kd_json_node *list) {
    const kd_json_node *last = NULL;
    for (const kd_json_node *n = kd_json_first(list); n; n = kd_json_next(n)) last = n;
    return last;
}

kd_code kd_render_prompt(kd_buf *text, int32_t **tokens, size_t *n, bool *opened, const kd_render *r, const kd_json_node *conversation,
                         kd_err *e) {
    size_t had = text->len;
    const kd_json_node *messages = kd_json_get(conversation, "messages");
    kd_code c = kd_render_text(text, r, conversation, is_assistant(last_of(messages)), true, e);
    if (c != KD_OK) return c;
    kd_str s = {text->data + had, text->len - had};
    *opened = kd_render_opened(s);
    return encode(tokens, n, r, s, e);
}

/* ---- thoughts ---- */

static bool blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static size_t last_text(kd_str s) {
    size_t n = s.len;
    while (n && blank(s.data[n - 1])) n--;
    return n;
}

bool kd_render_opened(kd_str prompt) { return kd_str_ends((kd_str){prompt.data, last_text(prompt)}, "<think>"); }

static const char *find(kd_str s, const char *z) { return s.len ? memmem(s.data, s.len, z, strlen(z)) : NULL; }

kd_code kd_render_fit(kd_buf *out, kd_str s, kd_str prompt, const kd_turn *t, bool ended, kd_err *e) {
    const char *open = find(s, "<think>"), *close = find(s, "</think>");
    size_t lead = 0, before = strlen(t->before), behind = strlen(t->behind);
    while (lead < s.len && blank(s.data[lead])) lead++;
    bool begins = open == s.data + lead && open != NULL, unopened = close && (!open || open > close);
    kd_code c = KD_OK;
    if (kd_render_opened(prompt)) {
        if (begins) { /* the prompt's tag stands for its own, with the white space behind it */
            size_t k = lead + 7, had = prompt.len - last_text(prompt);
            for (; had && k < s.len && blank(s.data[k]); had--) k++;
            s = (kd_str){s.data + k, s.len - k};
        } else if (!close && ended) {
            c = kd_buf_puts(out, "\n</think>\n\n");
        }
    } else if (unopened) {
        c = kd_buf_puts(out, s.len && s.data[0] == '\n' ? "<think>" : "<think>\n");
    } else if (before && !kd_str_starts(s, t->before)) {
        c = kd_buf_puts(out, t->before);
    }
    if (c == KD_OK) c = kd_buf_append(out, s.data ? s.data : "", s.len);
    if (c == KD_OK && ended && behind && !kd_str_ends(s, t->behind)) c = kd_buf_puts(out, t->behind);
    return c == KD_OK ? c : kd_fail(e, c, "no memory for a lesson");
}

/* ---- how a turn stands in the template ---- */

static const char marker[] = "kdTheAnswerStandsHere";

/* {"messages": [the first at, assistant's marker], "tools": ...} */
static kd_code marked(kd_json **out, const kd_json_node *conversation, size_t at, kd_err *e) {
    static const char *const others[] = {"tools", "documents", "chat_template_kwargs"};
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    kd_jsonw_object(&w);
    for (size_t i = 0; i < 3; i++)
        if (kd_json_get(conversation, others[i])) {
            kd_jsonw_key(&w, others[i]);
            kd_jsonw_node(&w, kd_json_get(conversation, others[i]));
        }
    kd_jsonw_key(&w, "messages");
    kd_jsonw_array(&w);
    for (const kd_json_node *n = kd_json_first(kd_json_get(conversation, "messages")); n && at; n = kd_json_next(n), at--)
        kd_jsonw_node(&w, n);
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "role");
    kd_jsonw_cstr(&w, "assistant");
    kd_jsonw_key(&w, "content");
    kd_jsonw_cstr(&w, marker);
    kd_jsonw_end_object(&w);
    kd_jsonw_end_array(&w);
    kd_jsonw_end_object(&w);
    kd_code c = w.code ? kd_fail(e, w.code, "no memory for a lesson") : kd_json_parse(out, b.data, b.len, "lesson", e);
    kd_buf_clear(&b);
    return c;
}

static bool all_blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!blank(s[i])) return false;
    return true;
}

/* The first control token of tail, and the white space before it. */
static kd_code find_end(kd_turn *t, const kd_render *r, kd_str tail, kd_err *e) {
    kd_ids ids = {0};
    kd_code c = kd_tokenizer_encode(r->tokenizer, &ids, tail.data, tail.len, KD_TOK_PARSE_SPECIAL, e);
    for (size_t i = 0; i < ids.n && c == KD_OK; i++) {
        kd_token k = kd_tokenizer_token(r->tokenizer, ids.id[i]);
        if (k.type != KD_TOKEN_CONTROL && !kd_tokenizer_is_eog(r->tokenizer, ids.id[i])) continue;
        const char *at = memmem(tail.data, tail.len, k.text.data, k.text.len);
        t->end = ids.id[i];
        if (at && all_blank(tail.data, (size_t)(at - tail.data))) {
            kd_free(t->behind);
            t->behind = kd_strndup(tail.data, (size_t)(at - tail.data));
        }
        break;
    }
    kd_ids_clear(&ids);
    return c;
}

kd_code kd_turn_find(kd_turn *t, const kd_render *r, const kd_json_node *conversation, size_t at, kd_str prompt, kd_err *e) {
    const kd_specials *sp = kd_tokenizer_specials(r->tokenizer);
    kd_json *doc = NULL;
    kd_buf full = {0};
    *t = (kd_turn){kd_strdup(""), kd_strdup(""), -1};
    kd_code c = t->before && t->behind ? marked(&doc, conversation, at, e) : KD_ENOMEM;
    kd_err unable = {0};
    if (c == KD_OK) { /* a template that will not have the marker: what is known of the tokenizer must do */
        c = kd_render_text(&full, r, kd_json_root(doc), 0, false, &unable);
        if (c == KD_ENOMEM) goto done;
        c = KD_OK;
    }
    const char *here = full.len ? memmem(full.data, full.len, marker, sizeof marker - 1) : NULL;
    if (c == KD_OK && here) {
        size_t from = (size_t)(here - full.data), to = from + sizeof marker - 1;
        if (prompt.len <= from && memcmp(full.data, prompt.data, prompt.len) == 0 && all_blank(full.data + prompt.len, from - prompt.len)) {
            kd_free(t->before);
            t->before = kd_strndup(full.data + prompt.len, from - prompt.len);
        }
        c = find_end(t, r, (kd_str){full.data + to, full.len - to}, e);
    }
    if (t->end < 0) t->end = sp->eot >= 0 ? sp->eot : sp->eos;
done:
    if (c == KD_OK && (!t->before || !t->behind)) c = KD_ENOMEM;
    if (c == KD_ENOMEM) kd_fail(e, c, "no memory for a lesson");
    if (c != KD_OK) kd_turn_clear(t);
    kd_buf_clear(&full);
    kd_json_free(doc);
    return c;
}

void kd_turn_clear(kd_turn *t) {
    kd_free(t->before);
    kd_free(t->behind);
    *t = (kd_turn){NULL, NULL, -1};
}

kd_code kd_render_turn_end(int32_t *token, const kd_render *r, kd_err *e) {
    static const char one[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"?\"}]}";
    kd_json *doc;
    kd_buf prompt = {0};
    kd_turn t = {NULL, NULL, -1};
    *token = -1;
    kd_code c = kd_json_parse(&doc, one, sizeof one - 1, "turn", e);
    if (c == KD_OK) c = kd_render_text(&prompt, r, kd_json_root(doc), 0, true, e);
    if (c == KD_OK) c = kd_turn_find(&t, r, kd_json_root(doc), 1, kd_buf_view(&prompt), e);
    *token = t.end;
    kd_turn_clear(&t);
    kd_buf_clear(&prompt);
    kd_json_free(doc);
    return c;
}

/* What the template writes behind an answer, without the white space around it. */
static kd_code behind_answer(kd_buf *out, const kd_render *r, const kd_json_node *conversation, kd_err *e) {
    kd_json *doc = NULL;
    kd_buf full = {0};
    kd_code c = marked(&doc, conversation, 1, e);
    if (c == KD_OK) c = kd_render_text(&full, r, kd_json_root(doc), 0, false, e);
    const char *at = c == KD_OK && full.len ? memmem(full.data, full.len, marker, sizeof marker - 1) : NULL;
    if (at) {
        kd_str tail = {at + sizeof marker - 1, full.len - (size_t)(at - full.data) - (sizeof marker - 1)};
        while (tail.len && blank(tail.data[0])) tail.data++, tail.len--;
        tail.len = last_text(tail);
        if (kd_buf_append(out, tail.data, tail.len) != KD_OK) c = kd_fail(e, KD_ENOMEM, "no memory for a lesson");
    }
    kd_json_free(doc);
    kd_buf_clear(&full);
    return c;
}

kd_code kd_render_check_end(int32_t *token, const kd_render *r, kd_err *e) {
    static const char one[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"?\"}]}";
    kd_json *doc;
    kd_buf tail = {0};
    kd_ids ids = {0};
    kd_err unable = {0};
    *token = -1;
    kd_code c = kd_render_turn_end(token, r, e);
    if (c == KD_OK) c = kd_json_parse(&doc, one, sizeof one - 1, "turn", e);
    if (c != KD_OK) return c;
    /* a template that will not have such a turn is judged by its lessons */
    c = behind_answer(&tail, r, kd_json_root(doc), &unable) == KD_ENOMEM ? kd_fail(e, KD_ENOMEM, "no memory for a lesson") : KD_OK;
    if (c == KD_OK && tail.len) c = kd_tokenizer_encode(r->tokenizer, &ids, tail.data, tail.len, KD_TOK_PARSE_SPECIAL, e);
    bool there = tail.len == 0;
    for (size_t i = 0; i < ids.n; i++) there |= ids.id[i] == *token;
    if (c == KD_OK && !there)
        c = kd_fail(e, KD_EUNSUPPORTED,
                    "the template ends an assistant's turn with '%.60s', which is no token of the model: give it one with --add-tokens and "
                    "say so with --eos",
                    tail.data);
    else if (c == KD_OK && *token < 0)
        c = kd_fail(e, KD_EUNSUPPORTED, "neither the template nor the tokenizer says how an assistant's turn ends: give --eos TOKEN");
    kd_json_free(doc);
    kd_ids_clear(&ids);
    kd_buf_clear(&tail);
    return c;
}

/* ---- tokens ---- */

/* ids of text as it stands behind other text: SentencePiece would put a space before its first word, so a newline goes first and is taken
 * away again. */
static kd_code encode_middle(kd_ids *out, const kd_tokenizer *t, kd_str text, unsigned flags, kd_err *e) {
    if (!kd_tokenizer_space_prefix(t) || !text.len) return kd_tokenizer_encode(t, out, text.data ? text.data : "", text.len, flags, e);
    kd_buf b = {0};
    kd_ids line = {0}, both = {0};
    kd_code c = kd_buf_putc(&b, '\n');
    if (c == KD_OK) c = kd_buf_append(&b, text.data, text.len);
    if (c != KD_OK) kd_fail(e, c, "no memory for a lesson");
    if (c == KD_OK) c = kd_tokenizer_encode(t, &line, "\n", 1, 0, e);
    if (c == KD_OK) c = kd_tokenizer_encode(t, &both, b.data, b.len, flags, e);
    if (c == KD_OK && (both.n < line.n || memcmp(both.id, line.id, line.n * sizeof *line.id) != 0))
        c = kd_tokenizer_encode(t, out, text.data, text.len, flags, e);
    else
        for (size_t i = line.n; i < both.n && c == KD_OK; i++)
            if ((c = kd_ids_push(out, both.id[i])) != KD_OK) kd_fail(e, c, "no memory for a lesson");
    kd_ids_clear(&line);
    kd_ids_clear(&both);
    kd_buf_clear(&b);
    return c;
}

/* Pushes the token of a tag that the vocabulary holds as a control token: true, and the caller skips its text. */
static bool tag_token(const kd_tokenizer *t, const char *tag, int32_t *id) {
    *id = kd_tokenizer_find(t, kd_str_of(tag));
    return *id >= 0 && kd_tokenizer_token(t, *id).type == KD_TOKEN_CONTROL;
}

kd_code kd_render_encode(kd_ids *out, const kd_render *r, kd_str text, bool parse_special, kd_err *e) {
    static const char *const tags[] = {"<think>", "</think>"};
    kd_code c = KD_OK;
    for (size_t i = 0; i < 2 && !parse_special; i++) {
        int32_t id;
        const char *at = find(text, tags[i]);
        if (!at || !tag_token(r->tokenizer, tags[i], &id)) continue;
        size_t n = (size_t)(at - text.data), skip = n + strlen(tags[i]);
        c = encode_middle(out, r->tokenizer, (kd_str){text.data, n}, 0, e);
        if (c == KD_OK && (c = kd_ids_push(out, id)) != KD_OK) kd_fail(e, c, "no memory for a lesson");
        if (c != KD_OK) return c;
        text = (kd_str){text.data + skip, text.len - skip};
    }
    return encode_middle(out, r->tokenizer, text, parse_special ? KD_TOK_PARSE_SPECIAL : 0, e);
}
