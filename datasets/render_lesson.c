/* datasets/render_lesson.c - lessons: what a conversation, a pair, a row of tokens or a stored sample has to teach. Leans on render_int.h.
 * The last assistant turn is learned as the model would have written it behind its prompt. An earlier one is learned only where the
 * rendering of the last prompt still holds it, word for word and token for token; the rest are counted. */
#include "datasets/render_int.h"

#include <string.h>

void kd_lesson_clear(kd_lesson *l) {
    kd_free(l->tokens);
    kd_free(l->loss);
    *l = (kd_lesson){0};
}

static kd_code no_memory(kd_err *e) { return kd_fail(e, KD_ENOMEM, "no memory for a lesson"); }

static kd_code count_lesson(kd_lesson *l, kd_render_counts *counts) {
    l->n_loss = 0;
    for (size_t i = 0; i < l->n; i++) l->n_loss += l->loss[i];
    size_t learned = l->n_loss - (l->n && l->loss[0]); /* the first token of all is not predicted */
    if (!learned) {
        kd_lesson_clear(l);
        if (counts) counts->empty++;
    } else if (counts) {
        counts->lessons++;
        counts->tokens += l->n;
        counts->loss_tokens += learned;
    }
    return KD_OK;
}

kd_code kd_render_join(kd_lesson *out, kd_buf *text, const kd_render *r, kd_str prompt, kd_str completion, int32_t end, kd_err *e) {
    kd_ids ids = {0};
    *out = (kd_lesson){.weight = 1};
    kd_code c = kd_tokenizer_encode(r->tokenizer, &ids, prompt.data ? prompt.data : "", prompt.len, KD_TOK_PARSE_SPECIAL, e);
    size_t learned_from = ids.n;
    if (c == KD_OK) c = kd_render_encode(&ids, r, completion, false, e);
    if (c == KD_OK && end >= 0 && kd_ids_push(&ids, end) != KD_OK) c = no_memory(e);
    if (c == KD_OK && !(out->loss = kd_calloc(ids.n + 1, 1))) c = no_memory(e);
    if (c == KD_OK && text) {
        kd_str last = end >= 0 ? kd_tokenizer_token(r->tokenizer, end).text : (kd_str){NULL, 0};
        if (kd_buf_append(text, prompt.data ? prompt.data : "", prompt.len) != KD_OK ||
            kd_buf_append(text, completion.data ? completion.data : "", completion.len) != KD_OK ||
            kd_buf_append(text, last.data ? last.data : "", last.len) != KD_OK)
            c = no_memory(e);
    }
    if (c != KD_OK) {
        kd_ids_clear(&ids);
        kd_lesson_clear(out);
        return c;
    }
    memset(out->loss + learned_from, 1, ids.n - learned_from);
    out->tokens = ids.id;
    out->n = ids.n;
    return KD_OK;
}

/* ---- conversations ---- */

static const kd_json_node *nth(const kd_json_node *list, size_t i) {
    const kd_json_node *n = kd_json_first(list);
    while (n && i--) n = kd_json_next(n);
    return n;
}

static kd_str thought_of(const kd_json_node *message) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (size_t i = 0; i < 3; i++) {
        kd_str s = kd_json_string(kd_json_get(message, names[i]));
        if (s.data && s.len) return s;
    }
    return (kd_str){NULL, 0};
}

/* out += what the assistant wrote in a message: its thought in tags, then its content (text, or parts of type text). */
static kd_code written(kd_buf *out, const kd_json_node *message, kd_err *e) {
    kd_str thought = thought_of(message);
    const kd_json_node *content = kd_json_get(message, "content");
    kd_str s = kd_json_string(content);
    kd_code c = KD_OK;
    if (thought.data && !(s.len && memmem(s.data, s.len, "</think>", 8))) {
        bool open = kd_str_starts(thought, "\n"), close = kd_str_ends(thought, "\n");
        c = kd_buf_puts(out, open ? "<think>" : "<think>\n");
        if (c == KD_OK) c = kd_buf_append(out, thought.data, thought.len);
        if (c == KD_OK) c = kd_buf_puts(out, close ? "</think>" : "\n</think>");
        if (c == KD_OK && !kd_str_starts(s, "\n")) c = kd_buf_puts(out, "\n\n");
    }
    if (c == KD_OK && s.data) c = kd_buf_append(out, s.data, s.len);
    for (const kd_json_node *p = kd_json_typeof(content) == KD_JSON_ARRAY ? kd_json_first(content) : NULL; p && c == KD_OK;
         p = kd_json_next(p)) {
        kd_str part = kd_json_string(kd_json_get(p, "text"));
        if (part.data) c = kd_buf_append(out, part.data, part.len);
    }
    return c == KD_OK ? c : no_memory(e);
}

static bool calls_tools(const kd_json_node *message) { return kd_json_count(kd_json_get(message, "tool_calls")) > 0; }

/* A turn that calls tools has no raw text: what the template writes behind the prompt, up to its end, stands for it. *stable: it does so. */
static kd_code tool_turn(kd_lesson *out, kd_buf *text, const kd_render *r, const kd_json_node *conversation, size_t leave_out,
                         kd_str prompt, bool *stable, kd_err *e) {
    kd_buf full = {0};
    kd_ids ids = {0};
    kd_code c = kd_render_text(&full, r, conversation, leave_out, false, e);
    *stable = c == KD_OK && full.len > prompt.len && memcmp(full.data, prompt.data, prompt.len) == 0;
    if (c == KD_OK && *stable) c = kd_tokenizer_encode(r->tokenizer, &ids, prompt.data, prompt.len, KD_TOK_PARSE_SPECIAL, e);
    size_t from = ids.n, to;
    if (c == KD_OK && *stable) c = kd_render_encode(&ids, r, (kd_str){full.data + prompt.len, full.len - prompt.len}, true, e);
    for (to = from; to < ids.n && !kd_tokenizer_is_eog(r->tokenizer, ids.id[to]); to++) {}
    ids.n = to < ids.n ? to + 1 : ids.n;
    *out = (kd_lesson){.weight = 1};
    if (c == KD_OK && *stable && text && kd_tokenizer_decode(r->tokenizer, text, ids.id, ids.n, 0, e) != KD_OK) c = no_memory(e);
    if (c == KD_OK && *stable && !(out->loss = kd_calloc(ids.n + 1, 1))) c = no_memory(e);
    if (c == KD_OK && *stable) {
        memset(out->loss + from, 1, ids.n - from);
        out->tokens = ids.id;
        out->n = ids.n;
    } else {
        kd_ids_clear(&ids);
    }
    kd_buf_clear(&full);
    return c;
}

/* The lesson of the turn at number at alone: its prompt, what it wrote, its end. out->n = 0 where the template will not have it. */
static kd_code one_turn(kd_lesson *out, kd_buf *text, const kd_render *r, const kd_json_node *conversation, size_t at, kd_err *e) {
    const kd_json_node *messages = kd_json_get(conversation, "messages"), *message = nth(messages, at);
    size_t leave_out = kd_json_count(messages) - at;
    kd_buf prompt = {0}, raw = {0}, fitted = {0};
    kd_turn turn = {NULL, NULL, -1};
    bool stable = true;
    *out = (kd_lesson){0};
    kd_code c = kd_render_text(&prompt, r, conversation, leave_out, true, e);
    if (c == KD_OK && calls_tools(message)) {
        c = tool_turn(out, text, r, conversation, leave_out - 1, kd_buf_view(&prompt), &stable, e);
        goto done;
    }
    if (c == KD_OK) c = kd_turn_find(&turn, r, conversation, at, kd_buf_view(&prompt), e);
    if (c == KD_OK) c = written(&raw, message, e);
    if (c == KD_OK) c = kd_render_fit(&fitted, kd_buf_view(&raw), kd_buf_view(&prompt), &turn, true, e);
    if (c == KD_OK) c = kd_render_join(out, text, r, kd_buf_view(&prompt), kd_buf_view(&fitted), turn.end, e);
done:
    kd_turn_clear(&turn);
    kd_buf_clear(&prompt);
    kd_buf_clear(&raw);
    kd_buf_clear(&fitted);
    return c;
}

/* Gives an earlier turn its loss where the lesson begins with the very tokens of that turn alone. */
static kd_code earlier_turn(kd_lesson *lesson, bool *learned, const kd_render *r, const kd_json_node *conversation, size_t at, kd_err *e) {
    kd_lesson own = {0};
    kd_err unable = {0};
    *learned = false;
    kd_code c = at ? one_turn(&own, NULL, r, conversation, at, &unable) : KD_OK;
    if (c == KD_ENOMEM) return no_memory(e);
    if (c == KD_OK && own.n && own.n <= lesson->n && memcmp(own.tokens, lesson->tokens, own.n * sizeof *own.tokens) == 0) {
        *learned = true;
        for (size_t i = 0; i < own.n; i++) lesson->loss[i] |= own.loss[i];
    }
    kd_lesson_clear(&own);
    return KD_OK;
}

static bool wants_loss(const kd_json_node *message) {
    double weight = kd_json_number(kd_json_get(message, "weight"), 1);
    return kd_str_is(kd_json_string(kd_json_get(message, "role")), "assistant") && weight != 0 &&
           kd_json_bool(kd_json_get(message, "train"), true);
}

static kd_code of_messages(kd_lesson *out, kd_buf *text, kd_render_counts *counts, const kd_render *r, const kd_json_node *conversation,
                           kd_err *e) {
    const kd_json_node *messages = kd_json_get(conversation, "messages"), *n;
    size_t last = SIZE_MAX, i = 0, turns = 0, without = 0;
    if (kd_json_typeof(messages) != KD_JSON_ARRAY) return kd_fail(e, KD_EFORMAT, "messages: expected an array of messages");
    for (n = kd_json_first(messages); n; n = kd_json_next(n), i++)
        if (wants_loss(n)) last = i;
    *out = (kd_lesson){0};
    if (last == SIZE_MAX || last == 0) return count_lesson(out, counts);
    kd_code c = one_turn(out, text, r, conversation, last, e);
    if (c != KD_OK) return c;
    turns = out->n > 0;
    without = !out->n;
    i = 0;
    for (n = kd_json_first(messages); n && i < last && c == KD_OK && out->n; n = kd_json_next(n), i++) {
        bool learned;
        if (!wants_loss(n)) continue;
        c = earlier_turn(out, &learned, r, conversation, i, e);
        turns += learned;
        without += !learned;
    }
    if (c != KD_OK) {
        kd_lesson_clear(out);
        return c;
    }
    if (counts) {
        counts->turns += turns;
        counts->turns_without += without;
    }
    return count_lesson(out, counts);
}

/* ---- pairs ---- */

/* out = {"messages":[prompt's, completion's]} of a pair, where a string is one turn. */
static kd_code pair_messages(kd_json **out, const kd_json_node *line, kd_err *e) {
    static const char *const keys[] = {"prompt", "completion"}, *const roles[] = {"user", "assistant"};
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    kd_code c = KD_OK;
    kd_jsonw_object(&w);
    if (kd_json_get(line, "tools")) {
        kd_jsonw_key(&w, "tools");
        kd_jsonw_node(&w, kd_json_get(line, "tools"));
    }
    kd_jsonw_key(&w, "messages");
    kd_jsonw_array(&w);
    for (int i = 0; i < 2; i++) {
        const kd_json_node *v = kd_json_get(line, keys[i]);
        if (kd_json_typeof(v) == KD_JSON_ARRAY) {
            for (const kd_json_node *n = kd_json_first(v); n; n = kd_json_next(n)) kd_jsonw_node(&w, n);
            continue;
        }
        if (kd_json_typeof(v) != KD_JSON_STRING) c = kd_fail(e, KD_EFORMAT, "%s: expected a string or an array of messages", keys[i]);
        kd_jsonw_object(&w);
        kd_jsonw_key(&w, "role");
        kd_jsonw_cstr(&w, roles[i]);
        kd_jsonw_key(&w, "content");
        kd_jsonw_str(&w, kd_json_string(v));
        kd_jsonw_end_object(&w);
    }
    kd_jsonw_end_array(&w);
    kd_jsonw_end_object(&w);
    if (c == KD_OK) c = w.code ? no_memory(e) : kd_json_parse(out, b.data, b.len, "pair", e);
    kd_buf_clear(&b);
    return c;
}

/* Without a chat template a pair is plain text: prompt, completion, end of text. */
static kd_code plain_pair(kd_lesson *out, kd_buf *text, const kd_render *r, kd_str prompt, kd_str completion, kd_err *e) {
    kd_ids ids = {0};
    kd_lesson rest;
    kd_code c = kd_tokenizer_encode(r->tokenizer, &ids, "", 0, KD_TOK_ADD_SPECIAL, e);
    size_t head = ids.n;
    if (c == KD_OK) c = kd_render_join(&rest, text, r, prompt, completion, kd_tokenizer_specials(r->tokenizer)->eos, e);
    if (c != KD_OK) {
        kd_ids_clear(&ids);
        return c;
    }
    if (head && !kd_tokenizer_specials(r->tokenizer)->add_bos) head = 0;
    head = head > 1 ? 1 : head;
    *out = (kd_lesson){.n = head + rest.n, .weight = 1};
    out->tokens = kd_calloc(out->n + 1, sizeof *out->tokens);
    out->loss = kd_calloc(out->n + 1, 1);
    if (out->tokens && out->loss) {
        if (head) out->tokens[0] = ids.id[0];
        memcpy(out->tokens + head, rest.tokens, rest.n * sizeof *rest.tokens);
        memcpy(out->loss + head, rest.loss, rest.n);
    } else {
        kd_lesson_clear(out);
        c = no_memory(e);
    }
    kd_lesson_clear(&rest);
    kd_ids_clear(&ids);
    return c;
}

static kd_code of_pair(kd_lesson *out, kd_buf *text, kd_render_counts *counts, const kd_render *r, const kd_json_node *line, kd_err *e) {
    kd_str prompt = kd_json_string(kd_json_get(line, "prompt")), completion = kd_json_string(kd_json_get(line, "completion"));
    if (!kd_chat_has(r->chat) && prompt.data && completion.data) {
        kd_code c = plain_pair(out, text, r, prompt, completion, e);
        if (c == KD_OK && counts) counts->turns++;
        return c == KD_OK ? count_lesson(out, counts) : c;
    }
    kd_json *doc = NULL;
    kd_code c = pair_messages(&doc, line, e);
    if (c == KD_OK) c = of_messages(out, text, counts, r, kd_json_root(doc), e);
    kd_json_free(doc);
    return c;
}

/* ---- tokens as they are ---- */

static kd_code of_tokens(kd_lesson *out, kd_buf *text, kd_render_counts *counts, const kd_render *r, const kd_json_node *line, kd_err *e) {
    const kd_json_node *tokens = kd_json_get(line, "tokens"), *loss = kd_json_get(line, "loss");
    size_t n = kd_json_count(tokens), i = 0;
    if (kd_json_typeof(tokens) != KD_JSON_ARRAY || (loss && (kd_json_typeof(loss) != KD_JSON_ARRAY || kd_json_count(loss) != n)))
        return kd_fail(e, KD_EFORMAT, "tokens, loss: expected arrays of one length");
    *out = (kd_lesson){.n = n, .weight = 1, .tokens = kd_calloc(n + 1, sizeof *out->tokens), .loss = kd_calloc(n + 1, 1)};
    kd_code c = out->tokens && out->loss ? KD_OK : no_memory(e);
    const kd_json_node *t = kd_json_first(tokens), *f = kd_json_first(loss);
    for (; t && c == KD_OK; t = kd_json_next(t), i++) {
        int64_t id = -1, flag = 1;
        bool truth = kd_json_typeof(f) == KD_JSON_BOOL;
        if (!kd_json_int(t, &id) || id < 0 || id > INT32_MAX)
            c = kd_fail(e, KD_EFORMAT, "tokens[%zu]: expected a token id", i);
        else if (f && !truth && (!kd_json_int(f, &flag) || (flag != 0 && flag != 1)))
            c = kd_fail(e, KD_EFORMAT, "loss[%zu]: expected 0 or 1", i);
        else {
            out->tokens[i] = (int32_t)id;
            out->loss[i] = truth ? kd_json_bool(f, false) : flag == 1;
        }
        f = f ? kd_json_next(f) : NULL;
    }
    if (c == KD_OK && text && r && r->tokenizer) c = kd_tokenizer_decode(r->tokenizer, text, out->tokens, out->n, 0, e);
    if (c != KD_OK) {
        kd_lesson_clear(out);
        return c;
    }
    return count_lesson(out, counts);
}

/* ---- the face ---- */

kd_code kd_render_lesson(kd_lesson *out, kd_buf *text, kd_render_counts *counts, const kd_render *r, const kd_json_node *line, kd_err *e) {
    *out = (kd_lesson){0};
    if (kd_json_typeof(line) != KD_JSON_OBJECT) return kd_fail(e, KD_EFORMAT, "expected an object");
    if (kd_json_get(line, "tokens")) return of_tokens(out, text, counts, r, line, e);
    const bool messages = kd_json_get(line, "messages");
    if (!messages && !kd_json_get(line, "prompt"))
        return kd_fail(e, KD_EFORMAT, "expected \"messages\", \"prompt\" and \"completion\", or \"tokens\"");
    if (!r) return kd_fail(e, KD_EINVAL, "a line of text needs a tokenizer");
    return messages ? of_messages(out, text, counts, r, line, e) : of_pair(out, text, counts, r, line, e);
}

/* {"messages": M, "tools": T} of two texts of JSON. */
static kd_code sample_conversation(kd_json **out, kd_str messages, kd_str tools, kd_err *e) {
    kd_buf b = {0};
    kd_code c = kd_buf_puts(&b, "{\"messages\":");
    if (c == KD_OK) c = kd_buf_append(&b, messages.data ? messages.data : "", messages.len);
    if (c == KD_OK && tools.len && (c = kd_buf_puts(&b, ",\"tools\":")) == KD_OK) c = kd_buf_append(&b, tools.data, tools.len);
    if (c == KD_OK) c = kd_buf_putc(&b, '}');
    c = c == KD_OK ? kd_json_parse(out, b.data, b.len, "messages", e) : no_memory(e);
    kd_buf_clear(&b);
    return c;
}

kd_code kd_render_sample(kd_lesson *out, kd_buf *text, kd_render_counts *counts, const kd_render *r, kd_str messages, kd_str tools,
                         kd_str completion, bool ended, kd_err *e) {
    kd_json *doc = NULL;
    kd_buf prompt = {0}, fitted = {0};
    kd_turn turn = {NULL, NULL, -1};
    *out = (kd_lesson){0};
    kd_code c = sample_conversation(&doc, messages, tools, e);
    const kd_json_node *root = kd_json_root(doc);
    if (c == KD_OK) c = kd_render_text(&prompt, r, root, 0, true, e);
    if (c == KD_OK) c = kd_turn_find(&turn, r, root, kd_json_count(kd_json_get(root, "messages")), kd_buf_view(&prompt), e);
    if (c == KD_OK) c = kd_render_fit(&fitted, completion, kd_buf_view(&prompt), &turn, ended, e);
    if (c == KD_OK) c = kd_render_join(out, text, r, kd_buf_view(&prompt), kd_buf_view(&fitted), ended ? turn.end : -1, e);
    if (c == KD_OK && counts) counts->turns++;
    if (c == KD_OK) c = count_lesson(out, counts);
    kd_turn_clear(&turn);
    kd_buf_clear(&prompt);
    kd_buf_clear(&fitted);
    kd_json_free(doc);
    return c;
}
