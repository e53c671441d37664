/* distill/cli/serve_ask.c - the body of a request, checked member by member. Everything in it is hostile. What a member means is OpenAI's, or, for those that
 * OpenAI does not know, llama.cpp's server's and vLLM's. Members that nobody here knows are let pass; known ones that we cannot honour are refused. */
#include "distill/cli/serve.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ask_fail(ask_error *x, unsigned status, const char *param, const char *fmt, ...) {
    va_list v;
    *x = (ask_error){.status = status,
                     .type = status == 401   ? "authentication_error"
                             : status == 404 ? "not_found_error"
                             : status >= 500 ? "server_error"
                                             : "invalid_request_error"};
    if (param) snprintf(x->param, sizeof x->param, "%s", param);
    va_start(v, fmt);
    vsnprintf(x->message, sizeof x->message, fmt, v);
    va_end(v);
    return false;
}

static bool oom(ask_error *x) { return ask_fail(x, 500, NULL, "out of memory"); }

static const char *kind(const kd_json_node *n) {
    static const char *const names[] = {"nothing", "null", "a boolean", "a number", "a string", "an array", "an object"};
    return names[kd_json_typeof(n)];
}

/* The member, or NULL where it is absent or null. */
static const kd_json_node *member(const kd_json_node *o, const char *key) {
    const kd_json_node *n = kd_json_get(o, key);
    return kd_json_typeof(n) == KD_JSON_NULL ? NULL : n;
}

static bool get_bool(bool *out, const kd_json_node *o, const char *key, ask_error *x) {
    const kd_json_node *n = member(o, key);
    if (n && kd_json_typeof(n) != KD_JSON_BOOL) return ask_fail(x, 400, key, "%s: expected a boolean, found %s", key, kind(n));
    *out = kd_json_bool(n, *out);
    return true;
}

static bool get_number(float *out, const kd_json_node *o, const char *key, double lo, double hi, ask_error *x) {
    const kd_json_node *n = member(o, key);
    if (!n) return true;
    if (kd_json_typeof(n) != KD_JSON_NUMBER) return ask_fail(x, 400, key, "%s: expected a number, found %s", key, kind(n));
    double v = kd_json_number(n, 0);
    if (!(v >= lo && v <= hi)) return ask_fail(x, 400, key, "%s: expected %g to %g, found %g", key, lo, hi, v);
    *out = (float)v;
    return true;
}

static bool get_int(int64_t *out, const kd_json_node *o, const char *key, int64_t lo, int64_t hi, ask_error *x) {
    const kd_json_node *n = member(o, key);
    double d = kd_json_number(n, 0);
    if (!n) return true;
    if (!kd_json_int(n, out)) {
        if (kd_json_typeof(n) != KD_JSON_NUMBER || d != floor(d) || fabs(d) > 9e15)
            return ask_fail(x, 400, key, "%s: expected an integer, found %s", key,
                            kd_json_typeof(n) == KD_JSON_NUMBER ? "another number" : kind(n));
        *out = (int64_t)d; /* 1e3, 5.0 */
    }
    if (*out < lo || *out > hi)
        return ask_fail(x, 400, key, "%s: expected %lld to %lld, found %lld", key, (long long)lo, (long long)hi, (long long)*out);
    return true;
}

static bool get_size(size_t *out, const kd_json_node *o, const char *key, int64_t lo, int64_t hi, ask_error *x) {
    int64_t v = (int64_t)*out;
    if (!member(o, key)) return true;
    if (!get_int(&v, o, key, lo, hi, x)) return false;
    *out = (size_t)v;
    return true;
}

/* A string, or an array of them; none empty, none with U+0000. */
static bool get_strings(ask *a, const char ***out, size_t *n, const kd_json_node *o, const char *key, ask_error *x) {
    const kd_json_node *v = member(o, key);
    size_t count = kd_json_typeof(v) == KD_JSON_ARRAY ? kd_json_count(v) : 1, i = 0;
    if (!v) return true;
    if (count > ASK_MOST_STOPS) return ask_fail(x, 400, key, "%s: %zu strings, at most %d", key, count, ASK_MOST_STOPS);
    if (!(*out = kd_arena_alloc(&a->arena, (count + 1) * sizeof **out))) return oom(x);
    for (const kd_json_node *s = kd_json_typeof(v) == KD_JSON_ARRAY ? kd_json_first(v) : v; s && i < count; s = kd_json_next(s), i++) {
        kd_str t = kd_json_string(s);
        if (!t.data || !t.len || memchr(t.data, 0, t.len))
            return ask_fail(x, 400, key, "%s: expected a string that is not empty, or an array of them, found %s", key,
                            t.data ? "an empty one" : kind(s));
        (*out)[i] = t.data;
        if (kd_json_typeof(v) != KD_JSON_ARRAY) {
            i++;
            break;
        }
    }
    *n = i;
    return true;
}

/* {"50256": -100}: biases by token. */
static bool get_bias(ask *a, const kd_json_node *o, ask_error *x) {
    const kd_json_node *v = member(o, "logit_bias");
    size_t n = kd_json_count(v), i = 0;
    if (!v) return true;
    if (kd_json_typeof(v) != KD_JSON_OBJECT) return ask_fail(x, 400, "logit_bias", "logit_bias: expected an object, found %s", kind(v));
    if (n > 4096) return ask_fail(x, 400, "logit_bias", "logit_bias: %zu tokens, at most 4096", n);
    kd_logit_bias *b = kd_arena_alloc(&a->arena, (n + 1) * sizeof *b);
    if (!b) return oom(x);
    for (const kd_json_node *m = kd_json_first(v); m; m = kd_json_next(m), i++) {
        kd_str key = kd_json_key(m);
        char *end = NULL;
        long long id = key.len && key.len < 12 && key.data[0] >= '0' && key.data[0] <= '9' ? strtoll(key.data, &end, 10) : -1;
        double bias = kd_json_number(m, NAN);
        if (id < 0 || id > INT32_MAX || end != key.data + key.len)
            return ask_fail(x, 400, "logit_bias", "logit_bias: a key that is no token id");
        if (!(bias >= -100 && bias <= 100)) return ask_fail(x, 400, "logit_bias", "logit_bias: token %lld: expected -100 to 100", id);
        b[i] = (kd_logit_bias){(int32_t)id, bias == -100 ? -INFINITY : (float)bias};
    }
    a->sampling.bias = b, a->sampling.biases = n;
    return true;
}

static bool get_sampling(ask *a, const kd_json_node *o, ask_error *x) {
    kd_sampling *s = &a->sampling;
    size_t top_k = s->top_k, last = s->penalty_last, allowed = s->dry_allowed_length, dry_last = s->dry_last;
    bool loops = !a->no_loop_guard;
    bool ok = get_number(&s->temperature, o, "temperature", 0, 1000, x) && get_number(&s->top_p, o, "top_p", 0, 1, x) &&
              get_number(&s->min_p, o, "min_p", 0, 1, x) && get_number(&s->typical_p, o, "typical_p", 0, 1, x) &&
              get_number(&s->presence_penalty, o, "presence_penalty", -2, 2, x) &&
              get_number(&s->frequency_penalty, o, "frequency_penalty", -2, 2, x) &&
              get_number(&s->repetition_penalty, o, "repeat_penalty", 0, 1000, x) &&
              get_number(&s->repetition_penalty, o, "repetition_penalty", 0, 1000, x) &&
              get_number(&s->dry_multiplier, o, "dry_multiplier", 0, 1000, x) && get_number(&s->dry_base, o, "dry_base", 1, 1000, x) &&
              get_size(&top_k, o, "top_k", -1, INT32_MAX, x) && get_size(&last, o, "repeat_last_n", 1, INT32_MAX, x) &&
              get_size(&allowed, o, "dry_allowed_length", 1, INT32_MAX, x) &&
              get_size(&dry_last, o, "dry_penalty_last_n", -1, INT32_MAX, x) &&
              get_strings(a, &a->dry_breakers, &a->n_dry_breakers, o, "dry_sequence_breakers", x) && get_bias(a, o, x) &&
              get_bool(&a->ignore_eos, o, "ignore_eos", x) && get_bool(&loops, o, "loop_guard", x);
    s->top_k = top_k == SIZE_MAX ? 0 : (uint32_t)top_k, s->penalty_last = (uint32_t)last, s->dry_allowed_length = (uint32_t)allowed;
    s->dry_last = dry_last == SIZE_MAX ? 0 : (uint32_t)dry_last;
    a->no_loop_guard = !loops;
    return ok;
}

/* logprobs and top_logprobs; completions' logprobs is a number. */
static bool get_logprobs(ask *a, const kd_json_node *o, ask_error *x) {
    const kd_json_node *n = member(o, "logprobs");
    if (!a->chat) {
        if (!n || (kd_json_typeof(n) == KD_JSON_BOOL && !kd_json_bool(n, false))) return true;
        a->logprobs = true;
        return get_size(&a->top_logprobs, o, "logprobs", 0, ASK_MOST_TOP, x);
    }
    if (!get_bool(&a->logprobs, o, "logprobs", x) || !get_size(&a->top_logprobs, o, "top_logprobs", 0, ASK_MOST_TOP, x)) return false;
    if (a->top_logprobs && !a->logprobs) return ask_fail(x, 400, "top_logprobs", "top_logprobs: needs logprobs to be true");
    return true;
}

/* response_format: {"type":"text"|"json_object"|"json_schema"}; and, as vLLM has them, guided_json and guided_regex; regex is ours. */
static bool get_form(ask *a, const kd_json_node *o, ask_error *x) {
    const kd_json_node *f = member(o, "response_format"), *schema = member(o, "guided_json");
    const char *key = member(o, "regex") ? "regex" : "guided_regex";
    const kd_json_node *regex = member(o, key);
    kd_str type = kd_json_string(kd_json_get(f, "type"));
    if (regex && (!(a->regex = kd_json_string(regex)).data || !a->regex.len))
        return ask_fail(x, 400, key, "%s: expected a string that is not empty, found %s", key, kind(regex));
    if (f && kd_str_is(type, "json_schema")) {
        if (!(schema = member(member(f, "json_schema"), "schema"))) schema = member(f, "schema");
        if (!schema) return ask_fail(x, 400, "response_format", "response_format: type json_schema without json_schema.schema");
    } else if (f && kd_str_is(type, "json_object")) {
        if (!(schema = member(f, "schema"))) a->any_object = true;
    } else if (f && !kd_str_is(type, "text")) {
        return ask_fail(x, 400, "response_format", "response_format: expected an object whose type is text, json_object or json_schema");
    }
    if (schema && kd_json_typeof(schema) != KD_JSON_OBJECT && kd_json_typeof(schema) != KD_JSON_BOOL)
        return ask_fail(x, 400, "response_format", "response_format: the schema is %s, expected an object", kind(schema));
    a->schema = schema;
    if ((a->schema != NULL) + a->any_object + (a->regex.data != NULL) > 1)
        return ask_fail(x, 400, key, "%s: beside another form of the answer", key);
    return true;
}

/* What OpenAI or others offer and we do not, with the value that asks for nothing. */
static bool refuse(const ask *a, const kd_json_node *o, ask_error *x) {
    static const char *const never[] = {"functions", "function_call", "audio", "prediction", "suffix", "grammar", "web_search_options"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (member(o, never[i])) return ask_fail(x, 400, never[i], "%s: not supported here", never[i]);
    bool echo = false;
    int64_t best = (int64_t)a->choices;
    if (!get_bool(&echo, o, "echo", x) || !get_int(&best, o, "best_of", 1, ASK_MOST_CHOICES, x)) return false;
    if (echo) return ask_fail(x, 400, "echo", "echo: not supported here");
    if (best != (int64_t)a->choices) return ask_fail(x, 400, "best_of", "best_of: only as many as n are made here");
    for (const kd_json_node *m = kd_json_first(member(o, "modalities")); m; m = kd_json_next(m))
        if (!kd_str_is(kd_json_string(m), "text")) return ask_fail(x, 400, "modalities", "modalities: only text is made here");
    return true;
}

static bool get_all(ask *a, const kd_json_node *o, ask_error *x) {
    int64_t seed = 0;
    const kd_json_node *model = member(o, "model"), *options = member(o, "stream_options");
    if (model && kd_json_typeof(model) != KD_JSON_STRING)
        return ask_fail(x, 400, "model", "model: expected a string, found %s", kind(model));
    if (!get_bool(&a->stream, o, "stream", x)) return false;
    if (options && kd_json_typeof(options) != KD_JSON_OBJECT)
        return ask_fail(x, 400, "stream_options", "stream_options: expected an object, found %s", kind(options));
    if (!get_bool(&a->usage, options, "include_usage", x)) return false;
    if (!get_size(&a->choices, o, "n", 1, ASK_MOST_CHOICES, x)) return false;
    if (!get_size(&a->max_tokens, o, "max_tokens", 1, INT32_MAX, x) ||
        !get_size(&a->max_tokens, o, "max_completion_tokens", 1, INT32_MAX, x) ||
        !get_size(&a->min_tokens, o, "min_tokens", 0, INT32_MAX, x) || !get_size(&a->max_thinking, o, "max_thinking", 0, INT32_MAX, x))
        return false;
    if (member(o, "seed")) {
        if (!get_int(&seed, o, "seed", INT64_MIN, INT64_MAX, x)) return false;
        a->seeded = true, a->seed = (uint64_t)seed;
    }
    return get_strings(a, &a->stop, &a->stops, o, "stop", x) && get_sampling(a, o, x) && get_logprobs(a, o, x) && get_form(a, o, x) &&
           refuse(a, o, x);
}

/* ---- conversations ---- */

/* content: text, null, or parts of text, joined by line ends. */
static bool put_content(ask *a, kd_jsonw *w, const kd_json_node *n, size_t at, ask_error *x) {
    kd_buf joined = {0};
    (void)a;
    if (kd_json_typeof(n) == KD_JSON_STRING || !n || kd_json_typeof(n) == KD_JSON_NULL) {
        n ? kd_jsonw_node(w, n) : kd_jsonw_null(w);
        return true;
    }
    if (kd_json_typeof(n) != KD_JSON_ARRAY)
        return ask_fail(x, 400, "messages", "messages[%zu].content: expected a string or an array of parts, found %s", at, kind(n));
    for (const kd_json_node *p = kd_json_first(n); p; p = kd_json_next(p)) {
        kd_str type = kd_json_string(kd_json_get(p, "type")), text = kd_json_string(kd_json_get(p, "text"));
        bool ok = kd_str_is(type, "text") && text.data;
        if (ok && (kd_buf_append(&joined, joined.len ? "\n" : "", joined.len ? 1 : 0) || kd_buf_append(&joined, text.data, text.len))) {
            kd_buf_clear(&joined);
            return oom(x);
        }
        if (!ok) {
            kd_buf_clear(&joined);
            return ask_fail(x, 400, "messages", "messages[%zu].content: only parts of type \"text\" are understood here, found \"%.40s\"",
                            at, type.data ? type.data : "?");
        }
    }
    kd_jsonw_str(w, (kd_str){joined.data ? joined.data : "", joined.len});
    kd_buf_clear(&joined);
    return true;
}

/* arguments as the object that they spell, unless literal or they spell none. */
static void put_arguments(kd_jsonw *w, const kd_json_node *n, bool literal) {
    kd_json *doc = NULL;
    kd_str s = kd_json_string(n);
    if (!literal && s.data && kd_json_parse(&doc, s.data, s.len, "arguments", NULL) == KD_OK &&
        kd_json_typeof(kd_json_root(doc)) == KD_JSON_OBJECT)
        kd_jsonw_node(w, kd_json_root(doc));
    else
        kd_jsonw_node(w, n);
    kd_json_free(doc);
}

static void put_function(kd_jsonw *w, const kd_json_node *f, bool literal) {
    kd_jsonw_object(w);
    for (const kd_json_node *m = kd_json_first(f); m; m = kd_json_next(m)) {
        kd_jsonw_key_str(w, kd_json_key(m));
        if (kd_str_is(kd_json_key(m), "arguments"))
            put_arguments(w, m, literal);
        else
            kd_jsonw_node(w, m);
    }
    kd_jsonw_end_object(w);
}

static bool put_calls(kd_jsonw *w, const kd_json_node *calls, size_t at, bool literal, ask_error *x) {
    if (kd_json_typeof(calls) != KD_JSON_ARRAY)
        return ask_fail(x, 400, "messages", "messages[%zu].tool_calls: expected an array, found %s", at, kind(calls));
    kd_jsonw_array(w);
    for (const kd_json_node *c = kd_json_first(calls); c; c = kd_json_next(c)) {
        const kd_json_node *f = kd_json_get(c, "function");
        if (kd_json_typeof(f) != KD_JSON_OBJECT || !kd_json_string(kd_json_get(f, "name")).data)
            return ask_fail(x, 400, "messages", "messages[%zu].tool_calls: expected objects with a function that has a name", at);
        kd_jsonw_object(w);
        for (const kd_json_node *m = kd_json_first(c); m; m = kd_json_next(m)) {
            kd_jsonw_key_str(w, kd_json_key(m));
            if (m == f)
                put_function(w, f, literal);
            else
                kd_jsonw_node(w, m);
        }
        kd_jsonw_end_object(w);
    }
    kd_jsonw_end_array(w);
    return true;
}

static bool put_message(ask *a, kd_jsonw *w, const kd_json_node *m, size_t at, bool literal, ask_error *x) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function"};
    kd_str role = kd_json_string(kd_json_get(m, "role"));
    bool known = false;
    if (kd_json_typeof(m) != KD_JSON_OBJECT)
        return ask_fail(x, 400, "messages", "messages[%zu]: expected an object, found %s", at, kind(m));
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) known |= kd_str_is(role, roles[i]);
    if (!known)
        return ask_fail(x, 400, "messages", "messages[%zu].role: expected system, developer, user, assistant or tool, found %.40s", at,
                        role.data ? role.data : kind(kd_json_get(m, "role")));
    const kd_json_node *content = kd_json_get(m, "content"), *calls = member(m, "tool_calls");
    if (!member(m, "content") && !kd_json_count(calls) && !kd_str_is(role, "assistant"))
        return ask_fail(x, 400, "messages", "messages[%zu].content: expected a string, found %s", at, kind(content));
    kd_jsonw_object(w);
    kd_jsonw_key(w, "role"), kd_jsonw_str(w, kd_str_is(role, "developer") ? KD_STR("system") : role);
    kd_jsonw_key(w, "content");
    bool ok = put_content(a, w, content, at, x);
    for (const kd_json_node *n = kd_json_first(m); ok && n; n = kd_json_next(n)) {
        kd_str key = kd_json_key(n);
        if (kd_str_is(key, "role") || kd_str_is(key, "content") || kd_json_typeof(n) == KD_JSON_NULL) continue;
        kd_jsonw_key_str(w, key);
        if (kd_str_is(key, "tool_calls"))
            ok = put_calls(w, n, at, literal, x);
        else
            kd_jsonw_node(w, n);
    }
    if (ok) kd_jsonw_end_object(w);
    return ok;
}

static bool put_conversation(ask *a, kd_buf *out, const kd_json_node *o, bool literal, ask_error *x) {
    kd_jsonw w = {.out = out};
    size_t at = 0;
    const kd_json_node *tools = member(o, "tools"), *choice_ = member(o, "tool_choice"), *extra = member(o, "chat_template_kwargs");
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "messages");
    kd_jsonw_array(&w);
    for (const kd_json_node *m = kd_json_first(kd_json_get(o, "messages")); m; m = kd_json_next(m))
        if (!put_message(a, &w, m, at++, literal, x)) return false;
    kd_jsonw_end_array(&w);
    if (tools && kd_json_typeof(tools) != KD_JSON_ARRAY)
        return ask_fail(x, 400, "tools", "tools: expected an array, found %s", kind(tools));
    for (const kd_json_node *t = kd_json_first(tools); t; t = kd_json_next(t))
        if (!kd_json_string(kd_json_get(kd_json_get(t, "function"), "name")).data)
            return ask_fail(x, 400, "tools", "tools: expected objects with a function that has a name");
    if (choice_ && !kd_str_is(kd_json_string(choice_), "auto") && !kd_str_is(kd_json_string(choice_), "none"))
        return ask_fail(x, 400, "tool_choice", "tool_choice: only \"auto\" and \"none\" are honoured here");
    if (kd_json_count(tools) && !kd_str_is(kd_json_string(choice_), "none")) kd_jsonw_key(&w, "tools"), kd_jsonw_node(&w, tools);
    if (extra && kd_json_typeof(extra) != KD_JSON_OBJECT)
        return ask_fail(x, 400, "chat_template_kwargs", "chat_template_kwargs: expected an object, found %s", kind(extra));
    if (extra) kd_jsonw_key(&w, "chat_template_kwargs"), kd_jsonw_node(&w, extra);
    kd_jsonw_end_object(&w);
    return w.code ? oom(x) : true;
}

static bool get_conversation(ask *a, const kd_json_node *o, ask_error *x) {
    const kd_json_node *m = kd_json_get(o, "messages");
    bool calls = false;
    if (kd_json_typeof(m) != KD_JSON_ARRAY || !kd_json_count(m))
        return ask_fail(x, 400, "messages", "messages: expected an array that is not empty, found %s",
                        kd_json_typeof(m) == KD_JSON_ARRAY ? "none in it" : kind(m));
    for (const kd_json_node *n = kd_json_first(m); n; n = kd_json_next(n)) calls |= kd_json_count(member(n, "tool_calls")) > 0;
    return put_conversation(a, &a->conversation, o, false, x) && (!calls || put_conversation(a, &a->literal, o, true, x));
}

/* ---- prompts of completions ---- */

static bool get_ids(ask *a, struct ask_prompt *p, const kd_json_node *list, ask_error *x) {
    if (!(p->tokens = kd_arena_alloc(&a->arena, (kd_json_count(list) + 1) * sizeof *p->tokens))) return oom(x);
    for (const kd_json_node *n = kd_json_first(list); n; n = kd_json_next(n)) {
        int64_t id;
        if (!kd_json_int(n, &id) || id < 0 || id > INT32_MAX)
            return ask_fail(x, 400, "prompt", "prompt: expected token ids, found %s", kind(n));
        p->tokens[p->n++] = (int32_t)id;
    }
    return true;
}

static bool get_prompt(ask *a, struct ask_prompt *p, const kd_json_node *n, ask_error *x) {
    if (kd_json_typeof(n) == KD_JSON_ARRAY && kd_json_count(n)) return get_ids(a, p, n, x);
    p->text = kd_json_string(n);
    return p->text.data ? true
                        : ask_fail(x, 400, "prompt", "prompt: expected a string, token ids, or an array of either, found %s", kind(n));
}

static bool get_prompts(ask *a, const kd_json_node *o, ask_error *x) {
    const kd_json_node *p = kd_json_get(o, "prompt"), *first = kd_json_first(p);
    bool many = kd_json_typeof(p) == KD_JSON_ARRAY && kd_json_typeof(first) != KD_JSON_NUMBER;
    size_t n = many ? kd_json_count(p) : 1;
    if (n > ASK_MOST_PROMPTS || !n) return ask_fail(x, 400, "prompt", "prompt: expected 1 to %d, found %zu", ASK_MOST_PROMPTS, n);
    if (!(a->prompts = kd_arena_alloc(&a->arena, n * sizeof *a->prompts))) return oom(x);
    for (const kd_json_node *m = many ? first : p; a->n_prompts < n; m = kd_json_next(m))
        if (!get_prompt(a, &a->prompts[a->n_prompts++], m, x)) return false;
    return true;
}

bool ask_parse(ask *a, kd_str body, bool chat, const ask *d, ask_error *x) {
    kd_err e = {0};
    *a = (ask){.chat = chat,
               .sampling = d->sampling,
               .choices = 1,
               .max_tokens = d->max_tokens,
               .min_tokens = d->min_tokens,
               .max_thinking = d->max_thinking,
               .no_loop_guard = d->no_loop_guard,
               .stop = d->stop,
               .stops = d->stops,
               .seeded = d->seeded,
               .seed = d->seed};
    *x = (ask_error){0};
    kd_code c = kd_json_parse(&a->doc, body.data ? body.data : "", body.len, "body", &e);
    if (c) return c == KD_ENOMEM ? oom(x) : ask_fail(x, 400, NULL, "%s", e.msg);
    const kd_json_node *o = kd_json_root(a->doc);
    if (kd_json_typeof(o) != KD_JSON_OBJECT) return ask_fail(x, 400, NULL, "body: expected an object, found %s", kind(o));
    if (!get_all(a, o, x)) return false;
    if (!(chat ? get_conversation(a, o, x) : get_prompts(a, o, x))) return false;
    if (a->choices * (chat ? 1 : a->n_prompts) > ASK_MOST_PROMPTS)
        return ask_fail(x, 400, "n", "n: %zu answers in all, at most %d", a->choices * a->n_prompts, ASK_MOST_PROMPTS);
    return true;
}

void ask_clear(ask *a) {
    kd_json_free(a->doc);
    kd_buf_clear(&a->conversation);
    kd_buf_clear(&a->literal);
    kd_arena_clear(&a->arena);
    *a = (ask){0};
}
