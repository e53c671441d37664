/* teacher/response.c - see response.h. Streams: server-sent events by the WHATWG's rules (comments, CR, LF, CRLF, data lines joined). */
#include "teacher/response.h"

#include "distill/base/json.h"
#include "distill/base/utf8.h"

#include <stdio.h>
#include <string.h>

void kd_response_clear(kd_response *r) {
    kd_buf_clear(&r->thought);
    kd_buf_clear(&r->answer);
    kd_buf_clear(&r->logprobs);
    memset(r, 0, sizeof *r);
    r->usage = (kd_usage){-1, -1, -1, -1, -1};
}

/* s into out as one line, cut to fit at a character's border. Nothing happens if there is no s. */
static void copy(char *out, size_t n, kd_str s) {
    if (!s.data) return;
    size_t k = 0;
    for (size_t i = 0; i < s.len && k + 1 < n; i++) out[k++] = (unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7f ? ' ' : s.data[i];
    while (k && kd_utf8_partial(out, k)) k--;
    if (!kd_utf8_valid(out, k))
        for (size_t i = 0; i < k; i++) out[i] = out[i] & (char)0x80 ? '?' : out[i];
    out[k] = 0;
}

static void count(int64_t *out, const kd_json_node *o, const char *key) {
    int64_t v;
    if (kd_json_int(kd_json_get(o, key), &v) && v >= 0) *out = v;
}

/* OpenAI's words, DeepSeek's (prompt_cache_hit_tokens), Anthropic's (input_tokens, ...). */
static void read_usage(kd_response *r, const kd_json_node *o) {
    const kd_json_node *u = kd_json_get(o, "usage");
    count(&r->usage.prompt, u, "prompt_tokens");
    count(&r->usage.completion, u, "completion_tokens");
    if (r->usage.prompt < 0) count(&r->usage.prompt, u, "input_tokens");
    if (r->usage.completion < 0) count(&r->usage.completion, u, "output_tokens");
    count(&r->usage.total, u, "total_tokens");
    count(&r->usage.reasoning, kd_json_get(u, "completion_tokens_details"), "reasoning_tokens");
    count(&r->usage.cached, kd_json_get(u, "prompt_tokens_details"), "cached_tokens");
    count(&r->usage.cached, u, "prompt_cache_hit_tokens");
    count(&r->usage.reasoning, u, "reasoning_tokens");
}

static kd_code append(kd_buf *b, kd_str s, kd_err *e) {
    return s.len && kd_buf_append(b, s.data, s.len) ? kd_fail(e, KD_ENOMEM, "answer: out of memory") : KD_OK;
}

/* out += a text, or the texts of an array of parts ({"type":"text","text":...}). */
static kd_code read_texts(kd_buf *out, const kd_json_node *n, kd_err *e) {
    kd_code c = KD_OK;
    if (kd_json_typeof(n) != KD_JSON_ARRAY) return append(out, kd_json_string(n), e);
    for (const kd_json_node *p = kd_json_first(n); !c && p; p = kd_json_next(p))
        c = append(out, kd_json_string(kd_json_typeof(p) == KD_JSON_OBJECT ? kd_json_get(p, "text") : p), e);
    return c;
}

/* content: text, or parts, of which those with a member "thinking" (a text or an array of parts) are the thought and a "refusal" is what it says. */
static kd_code read_content(kd_response *r, const kd_json_node *content, kd_err *e) {
    kd_code c = KD_OK;
    if (kd_json_typeof(content) != KD_JSON_ARRAY) return append(&r->answer, kd_json_string(content), e);
    for (const kd_json_node *p = kd_json_first(content); !c && p; p = kd_json_next(p)) {
        const kd_json_node *thinking = kd_json_get(p, "thinking");
        kd_str no = kd_json_string(kd_json_get(p, "refusal"));
        if (thinking) {
            if (r->thought_from == KD_THOUGHT_NONE) r->thought_from = KD_THOUGHT_THINKING;
            if (r->thought_from == KD_THOUGHT_THINKING) c = read_texts(&r->thought, thinking, e);
        } else if (no.len) {
            r->refusal = true;
            c = append(&r->answer, no, e);
        } else
            c = append(&r->answer, kd_json_string(kd_json_typeof(p) == KD_JSON_OBJECT ? kd_json_get(p, "text") : p), e);
    }
    return c;
}

/* A message, or a delta of one. */
static kd_code read_message(kd_response *r, const kd_json_node *m, kd_err *e) {
    static const struct {
        const char *key;
        kd_thought_from from;
    } fields[] = {{"reasoning_content", KD_THOUGHT_REASONING_CONTENT}, {"reasoning", KD_THOUGHT_REASONING}};
    kd_code c = KD_OK;
    for (int i = 0; !c && i < 2; i++) {
        kd_str s = kd_json_string(kd_json_get(m, fields[i].key));
        if (s.len && (r->thought_from == KD_THOUGHT_NONE || r->thought_from == fields[i].from)) {
            r->thought_from = fields[i].from;
            c = append(&r->thought, s, e);
        }
    }
    if (!c) c = read_content(r, kd_json_get(m, "content"), e);
    kd_str refusal = kd_json_string(kd_json_get(m, "refusal"));
    if (!c && refusal.len) {
        r->refusal = true;
        c = append(&r->answer, refusal, e);
    }
    r->tool_calls = r->tool_calls || kd_json_first(kd_json_get(m, "tool_calls")) != NULL;
    return c;
}

static kd_code error_inside(const kd_json_node *o, kd_err *e) {
    const kd_json_node *err = kd_json_get(o, "error");
    if (kd_json_typeof(err) == KD_JSON_ABSENT || kd_json_typeof(err) == KD_JSON_NULL) return KD_OK;
    char said[200] = "no message";
    copy(said, sizeof said, kd_json_string(kd_json_typeof(err) == KD_JSON_OBJECT ? kd_json_get(err, "message") : err));
    return kd_fail(e, KD_EFORMAT, "an error inside a 200: %s", said);
}

/* The choice of that index; where none says its index, the one at that place. */
static const kd_json_node *choice_of(const kd_json_node *o, int want) {
    const kd_json_node *choices = kd_json_get(o, "choices"), *found = NULL;
    int64_t at = 0, index;
    if (kd_json_typeof(choices) != KD_JSON_ARRAY) return NULL;
    for (const kd_json_node *c = kd_json_first(choices); c && !found; c = kd_json_next(c), at++)
        if (kd_json_int(kd_json_get(c, "index"), &index) ? index == want : at == want) found = c;
    return found;
}

static kd_code read_logprobs(kd_response *r, const kd_json_node *choice, kd_err *e) {
    const kd_json_node *lp = kd_json_get(kd_json_get(choice, "logprobs"), "content");
    kd_jsonw w = {.out = &r->logprobs};
    if (kd_json_typeof(lp) != KD_JSON_ARRAY || !kd_json_first(lp)) return KD_OK;
    if (r->logprobs.len) { /* arrays of a stream are joined */
        r->logprobs.len--;
        for (const kd_json_node *n = kd_json_first(lp); n && !w.code; n = kd_json_next(n)) {
            w.code = kd_buf_putc(&r->logprobs, ',');
            w.need_comma = false;
            kd_jsonw_node(&w, n);
        }
        w.code = w.code ? w.code : kd_buf_putc(&r->logprobs, ']');
    } else
        kd_jsonw_node(&w, lp);
    return w.code ? kd_fail(e, KD_ENOMEM, "answer: out of memory") : KD_OK;
}

/* One object: a whole completion or a chunk of a stream. */
static kd_code read_object(kd_response *r, const kd_json_node *o, const char *part, int want, kd_err *e) {
    read_usage(r, o);
    kd_code c = error_inside(o, e);
    const kd_json_node *choice = choice_of(o, want);
    int n = kd_json_typeof(kd_json_get(o, "choices")) == KD_JSON_ARRAY ? (int)kd_json_count(kd_json_get(o, "choices")) : 0;
    copy(r->model, sizeof r->model, kd_json_string(kd_json_get(o, "model")));
    r->choices = n > r->choices ? n : r->choices;
    if (c || !choice) return c;
    copy(r->finish, sizeof r->finish, kd_json_string(kd_json_get(choice, "finish_reason")));
    c = read_logprobs(r, choice, e);
    return c ? c : read_message(r, kd_json_get(choice, part), e);
}

static kd_code read_whole(kd_response *r, kd_str body, int want, kd_err *e) {
    kd_json *doc;
    kd_err why = {0};
    if (kd_json_parse(&doc, body.data, body.len, "body", &why))
        return why.code == KD_ENOMEM ? kd_fail(e, KD_ENOMEM, "%s", why.msg) : kd_fail(e, KD_EFORMAT, "not JSON: %.200s", why.msg);
    const kd_json_node *o = kd_json_root(doc);
    kd_code c = read_object(r, o, "message", want, e);
    const kd_json_node *choice = choice_of(o, want);
    if (!c && kd_json_typeof(kd_json_get(choice, "message")) != KD_JSON_OBJECT)
        c = kd_fail(e, KD_EFORMAT,
                    choice       ? "a choice without a message"
                    : r->choices ? "fewer choices than were asked for"
                                 : "no choices in the answer");
    kd_json_free(doc);
    return c;
}

/* One event's data. *done: "[DONE]" came. */
static kd_code read_event(kd_response *r, kd_str data, int want, bool *done, kd_err *e) {
    kd_json *doc;
    kd_err why = {0};
    if (!data.len) return KD_OK;
    if (kd_str_is(data, "[DONE]")) {
        *done = true;
        return KD_OK;
    }
    if (kd_json_parse(&doc, data.data, data.len, "event", &why))
        return why.code == KD_ENOMEM ? kd_fail(e, KD_ENOMEM, "%s", why.msg)
                                     : kd_fail(e, KD_EFORMAT, "an event that is not JSON: %.200s", why.msg);
    kd_code c = read_object(r, kd_json_root(doc), "delta", want, e);
    kd_json_free(doc);
    return c;
}

static kd_code read_stream(kd_response *r, kd_str body, int want, kd_err *e) {
    kd_buf data = {0};
    kd_code c = KD_OK;
    bool done = false, some = false;
    size_t at = body.len >= 3 && !memcmp(body.data, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (!c && !done && at < body.len) {
        const char *line = body.data + at;
        size_t n = 0;
        while (at + n < body.len && line[n] != '\n' && line[n] != '\r') n++;
        bool ended = at + n < body.len;
        at += n + 1 + (ended && line[n] == '\r' && at + n + 1 < body.len && line[n + 1] == '\n');
        if (!n && ended) { /* an empty line sends the event */
            c = read_event(r, kd_buf_view(&data), want, &done, e);
            data.len = 0, some = false;
            continue;
        }
        kd_str l = {line, n};
        if (!ended || !kd_str_starts(l, "data")) continue; /* comments, other fields, and a line that was cut */
        size_t skip = n > 4 && line[4] == ':' ? 5 : n == 4 ? 4 : 0;
        if (!skip) continue;
        skip += skip < n && line[skip] == ' ';
        if ((some && kd_buf_putc(&data, '\n')) || kd_buf_append(&data, line + skip, n - skip))
            c = kd_fail(e, KD_ENOMEM, "answer: out of memory");
        some = true;
    }
    kd_buf_clear(&data);
    if (!c && !r->finish[0]) c = kd_fail(e, KD_EFORMAT, "a stream that ended without a finish reason");
    return c;
}

/* A thought inside the content is split off; one given apart is what it is. */
static kd_code split(kd_response *r, kd_err *e) {
    if (r->thought_from != KD_THOUGHT_NONE || !r->answer.len) return KD_OK;
    kd_str all = kd_buf_view(&r->answer), thought, answer;
    size_t open = 0;
    while (open < all.len && strchr(" \t\r\n", all.data[open])) open++;
    kd_str rest = {all.data + open, all.len - open};
    bool open_tag = kd_str_starts(rest, "<think>");
    r->thought_from = kd_thought_split(open_tag ? rest : all, false, &thought,
                                       &answer); /* a closing tag alone tells as well: its other half was the prompt's */
    if (r->thought_from == KD_THOUGHT_NONE) return KD_OK;
    kd_buf kept = {0};
    kd_code c = append(&r->thought, thought, e);
    if (!c) c = append(&kept, answer, e);
    kd_buf_clear(&r->answer);
    r->answer = kept;
    return c;
}

kd_code kd_response_parse(kd_response *r, kd_str body, bool stream, int choice, kd_err *e) {
    kd_response_clear(r);
    kd_code c = !body.len ? kd_fail(e, KD_EFORMAT, "an empty body")
                : stream  ? read_stream(r, body, choice, e)
                          : read_whole(r, body, choice, e);
    if (!c) c = split(r, e);
    r->empty = !c && !r->answer.len && !r->thought.len && !r->tool_calls;
    if (r->empty && !r->finish[0]) c = kd_fail(e, KD_EFORMAT, "an empty answer without a finish reason");
    if (c) {
        kd_response kept = *r;
        kd_response_clear(r);
        r->usage = kept.usage;
    }
    return c;
}

kd_code kd_response_prefill(kd_response *r, const char *prefill, kd_err *e) {
    kd_buf all = {0}, said = {0};
    size_t n = prefill ? strlen(prefill) : 0;
    if (!n || r->thought_from >= KD_THOUGHT_REASONING_CONTENT) return KD_OK;
    kd_code c = kd_completion(&said, r->thought_from, kd_buf_view(&r->thought), kd_buf_view(&r->answer));
    bool repeated = !c && kd_str_starts(kd_buf_view(&said), prefill);
    if (!c && !repeated) c = kd_buf_append(&all, prefill, n);
    if (!c && !repeated && said.len) c = kd_buf_append(&all, said.data, said.len);
    kd_buf_clear(&said);
    if (c || repeated) {
        kd_buf_clear(&all);
        return c ? kd_fail(e, KD_ENOMEM, "answer: out of memory") : KD_OK;
    }
    kd_buf_clear(&r->thought), kd_buf_clear(&r->answer);
    r->answer = all, r->thought_from = KD_THOUGHT_NONE;
    return split(r, e);
}

/* Walks the events that are whole. */
bool kd_response_began(kd_str body) {
    kd_response r = {0};
    kd_response_clear(&r);
    read_stream(&r, body, 0, NULL);
    bool began = r.answer.len || r.thought.len || r.tool_calls;
    kd_response_clear(&r);
    return began;
}

/* n again, but for null in the place of logprobs.content. */
static void write_rest(kd_jsonw *w, const kd_json_node *n, int depth) {
    static const char *const path[] = {"choices", "", "logprobs", "content"}; /* "": each of an array */
    if (kd_json_typeof(n) == KD_JSON_ARRAY && depth == 1) {
        kd_jsonw_array(w);
        for (const kd_json_node *m = kd_json_first(n); m; m = kd_json_next(m)) write_rest(w, m, 2);
        kd_jsonw_end_array(w);
    } else if (kd_json_typeof(n) == KD_JSON_OBJECT && depth < 4) {
        kd_jsonw_object(w);
        for (const kd_json_node *m = kd_json_first(n); m; m = kd_json_next(m)) {
            bool on = kd_str_is(kd_json_key(m), path[depth]);
            kd_jsonw_key_str(w, kd_json_key(m));
            if (on && depth == 3)
                kd_jsonw_null(w);
            else if (on)
                write_rest(w, m, depth + 1);
            else
                kd_jsonw_node(w, m);
        }
        kd_jsonw_end_object(w);
    } else
        kd_jsonw_node(w, n);
}

kd_code kd_response_rest(kd_buf *out, kd_str body, kd_err *e) {
    kd_json *doc;
    kd_code c = kd_json_parse(&doc, body.data, body.len, "body", e);
    if (c) return c;
    kd_jsonw w = {.out = out};
    write_rest(&w, kd_json_root(doc), 0);
    kd_json_free(doc);
    return w.code ? kd_fail(e, w.code, "answer: out of memory") : KD_OK;
}

void kd_response_error(char *out, size_t n, kd_str body) {
    kd_json *doc = NULL;
    kd_str s = {0};
    if (body.len && !kd_json_parse(&doc, body.data, body.len, "body", NULL)) {
        const kd_json_node *o = kd_json_root(doc), *err = kd_json_get(o, "error");
        s = kd_json_string(kd_json_get(err, "message"));
        s = s.data ? s : kd_json_string(err);
        s = s.data ? s : kd_json_string(kd_json_get(o, "message"));
        s = s.data ? s : kd_json_string(kd_json_get(o, "detail"));
    }
    if (!s.data) s = body;
    out[0] = 0;
    copy(out, n < 300 ? n : 300, s);
    kd_json_free(doc);
}
