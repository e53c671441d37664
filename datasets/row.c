/* datasets/row.c - one line of a question file, whatever its form, read into a conversation, a completion and a reference. Leans on import.h, base. */
#include "datasets/import.h"
#include "datasets/code_int.h"
#include "datasets/math_int.h"
#include "datasets/row_int.h"
#include "datasets/study_int.h"

#include <stdio.h>
#include <string.h>

static const char *const form_names[] = {"sniff", "messages", "prompt", "alpaca", "sharegpt", "question"};

bool kd_row_form_named(const char *name, kd_row_form *out) {
    for (int i = KD_ROW_MESSAGES; i <= KD_ROW_QUESTION; i++)
        if (strcmp(name, form_names[i]) == 0) {
            *out = (kd_row_form)i;
            return true;
        }
    return false;
}

const char *kd_row_form_name(kd_row_form f) { return form_names[f]; }

/* What a row is being read into; messages are written as they are found. */
typedef struct {
    const kd_json_node *root;
    kd_jsonw *w;
    kd_arena *arena;
    kd_row_parts *out;
    const char *used[48]; /* members that have their place; the rest is meta */
    size_t n_used;
    kd_err *e;
} reading;

static const kd_json_node *member(reading *r, const char *key) {
    if (r->n_used < sizeof r->used / sizeof *r->used) r->used[r->n_used++] = key;
    const kd_json_node *n = kd_json_get(r->root, key);
    return kd_json_typeof(n) == KD_JSON_NULL ? NULL : n;
}

static const char *type_name(const kd_json_node *n) {
    static const char *const names[] = {"nothing", "null", "a boolean", "a number", "a string", "an array", "an object"};
    return names[kd_json_typeof(n)];
}

static kd_code wrong_type(reading *r, const char *what, const char *expected, const kd_json_node *n) {
    return kd_fail(r->e, KD_EFORMAT, "%s: expected %s, found %s", what, expected, type_name(n));
}

static kd_code keep(reading *r, kd_str v, kd_str *out) { return kd_str_keep(r->arena, v, out, r->e); }

/* A string, or a number or boolean as it is written; {NULL,0} when absent. */
static kd_code scalar(reading *r, const kd_json_node *n, const char *what, kd_str *out) {
    *out = (kd_str){NULL, 0};
    switch (kd_json_typeof(n)) {
    case KD_JSON_ABSENT:
    case KD_JSON_NULL: return KD_OK;
    case KD_JSON_STRING: return keep(r, kd_json_string(n), out);
    case KD_JSON_NUMBER: return keep(r, kd_json_number_text(n), out);
    case KD_JSON_BOOL: return keep(r, kd_json_bool(n, false) ? KD_STR("true") : KD_STR("false"), out);
    default: return wrong_type(r, what, "a string or a number", n);
    }
}

static void put_message(kd_jsonw *w, const char *role, kd_str content) {
    kd_jsonw_object(w);
    kd_jsonw_key(w, "content");
    kd_jsonw_str(w, content);
    kd_jsonw_key(w, "role");
    kd_jsonw_cstr(w, role);
    kd_jsonw_end_object(w);
}

/* ---- messages ---- */
static kd_code check_message(reading *r, const kd_json_node *m, size_t i) {
    char what[64];
    const kd_json_node *role = kd_json_get(m, "role"), *content = kd_json_get(m, "content");
    kd_json_type t = kd_json_typeof(content);
    snprintf(what, sizeof what, "messages[%zu]", i);
    if (kd_json_typeof(m) != KD_JSON_OBJECT) return wrong_type(r, what, "an object", m);
    if (kd_json_string(role).len == 0)
        return kd_fail(r->e, KD_EFORMAT, "%s.role: expected a word, found %s", what,
                       kd_json_typeof(role) == KD_JSON_STRING ? "an empty one" : type_name(role));
    if (t == KD_JSON_STRING || t == KD_JSON_ARRAY) return KD_OK;
    if ((t == KD_JSON_NULL || t == KD_JSON_ABSENT) && kd_json_count(kd_json_get(m, "tool_calls"))) return KD_OK;
    snprintf(what, sizeof what, "messages[%zu].content", i);
    return wrong_type(r, what, "a string", content);
}

/* The text of a content: a string, or the text parts of an array one after another. */
static kd_code content_text(reading *r, const kd_json_node *content, kd_buf *out) {
    kd_code rc = KD_OK;
    if (kd_json_typeof(content) == KD_JSON_STRING) {
        kd_str s = kd_json_string(content);
        rc = kd_buf_append(out, s.data, s.len);
    }
    if (kd_json_typeof(content) == KD_JSON_ARRAY)
        for (const kd_json_node *p = kd_json_first(content); p && !rc; p = kd_json_next(p)) {
            kd_str s = kd_json_string(kd_json_get(p, "text"));
            if (!s.data) return kd_fail(r->e, KD_EFORMAT, "content of the last assistant turn: expected parts of text, found another kind");
            rc = kd_buf_append(out, s.data, s.len);
        }
    return rc ? kd_fail(r->e, rc, "no memory for a row") : KD_OK;
}

/* The completion out of an assistant message: its content, and a thought that is given apart. */
static kd_code take_assistant(reading *r, const kd_json_node *m) {
    static const struct {
        const char *key;
        kd_thought_from from;
    } apart[] = {{"reasoning_content", KD_THOUGHT_REASONING_CONTENT},
                 {"reasoning", KD_THOUGHT_REASONING},
                 {"thinking", KD_THOUGHT_THINKING}};
    kd_buf text = {0};
    kd_row_parts *o = r->out;
    kd_code rc = content_text(r, kd_json_get(m, "content"), &text);
    if (!rc) rc = keep(r, text.len ? kd_buf_view(&text) : KD_STR(""), &o->answer);
    kd_buf_clear(&text);
    for (size_t i = 0; i < 3 && !rc && o->thought_from == KD_THOUGHT_NONE; i++) {
        kd_str t = kd_json_string(kd_json_get(m, apart[i].key));
        if (t.len && !(rc = keep(r, t, &o->thought))) o->thought_from = apart[i].from;
    }
    if (!rc && o->thought_from == KD_THOUGHT_NONE) o->thought_from = kd_thought_split(o->answer, false, &o->thought, &o->answer);
    return rc;
}

/* Writes messages [0, n) as they are, canonical; a last assistant turn becomes the completion instead. */
static kd_code take_messages(reading *r, const kd_json_node *list) {
    size_t n = kd_json_count(list), i = 0, last = (size_t)-1;
    kd_code rc = KD_OK;
    if (kd_json_typeof(list) != KD_JSON_ARRAY || n == 0) return wrong_type(r, "messages", "an array of at least one message", list);
    for (const kd_json_node *m = kd_json_first(list); m && !rc; m = kd_json_next(m), i++) {
        rc = check_message(r, m, i);
        if (!rc && kd_str_is(kd_json_string(kd_json_get(m, "role")), "assistant") && !kd_json_count(kd_json_get(m, "tool_calls"))) last = i;
    }
    if (rc) return rc;
    if (last != (size_t)-1 && last + 1 != n) /* what follows the last assistant turn is the question: nothing is taken away */
        last = (size_t)-1;
    if (last == 0) return kd_fail(r->e, KD_EFORMAT, "messages: expected a question before the assistant's turn, found none");
    i = 0;
    kd_jsonw_array(r->w);
    for (const kd_json_node *m = kd_json_first(list); m && !rc; m = kd_json_next(m), i++)
        rc = i == last ? take_assistant(r, m) : kd_canonical_node(r->w, m) ? kd_fail(r->e, KD_ENOMEM, "no memory for a row") : KD_OK;
    kd_jsonw_end_array(r->w);
    return rc;
}

static kd_code read_messages(reading *r) { return take_messages(r, member(r, "messages")); }

/* ---- sharegpt ---- */
static const char *sharegpt_role(kd_str from) {
    static const char *const pairs[][2] = {{"human", "user"},          {"user", "user"},         {"gpt", "assistant"},
                                           {"assistant", "assistant"}, {"chatgpt", "assistant"}, {"bing", "assistant"},
                                           {"bard", "assistant"},      {"model", "assistant"},   {"system", "system"},
                                           {"tool", "tool"},           {"observation", "tool"},  {"function_response", "tool"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (kd_str_is(from, pairs[i][0])) return pairs[i][1];
    return NULL;
}

static kd_code read_sharegpt(reading *r) {
    const kd_json_node *list = member(r, "conversations");
    kd_str system = kd_json_string(member(r, "system"));
    size_t n = kd_json_count(list), i = 0;
    kd_code rc = KD_OK;
    if (kd_json_typeof(list) != KD_JSON_ARRAY || n == 0) return wrong_type(r, "conversations", "an array of at least one turn", list);
    kd_jsonw_array(r->w);
    if (system.len) put_message(r->w, "system", system);
    for (const kd_json_node *m = kd_json_first(list); m && !rc; m = kd_json_next(m), i++) {
        const char *role = sharegpt_role(kd_json_string(kd_json_get(m, "from")));
        kd_str value = kd_json_string(kd_json_get(m, "value"));
        if (!role || !value.data)
            rc = kd_fail(r->e, KD_EFORMAT,
                         "conversations[%zu]: expected {\"from\": \"human\"|\"gpt\"|\"system\"|\"tool\", \"value\": text}, found %s", i,
                         role ? "no text" : "another speaker");
        else if (i + 1 == n && strcmp(role, "assistant") == 0 && n == 1)
            rc = kd_fail(r->e, KD_EFORMAT, "conversations: expected a question before the assistant's turn, found none");
        else if (i + 1 == n && strcmp(role, "assistant") == 0) {
            if (!(rc = keep(r, value, &r->out->answer)))
                r->out->thought_from = kd_thought_split(r->out->answer, false, &r->out->thought, &r->out->answer);
        } else {
            put_message(r->w, role, value);
        }
    }
    kd_jsonw_end_array(r->w);
    return rc;
}

/* ---- prompt/completion, alpaca, question/answer ---- */
/* A completion: text, or a list with one assistant message. */
static kd_code take_completion(reading *r, const kd_json_node *n, const char *what) {
    if (!n) return KD_OK;
    if (kd_json_typeof(n) == KD_JSON_ARRAY) {
        const kd_json_node *m = kd_json_first(n);
        if (kd_json_count(n) != 1 || !kd_str_is(kd_json_string(kd_json_get(m, "role")), "assistant"))
            return kd_fail(r->e, KD_EFORMAT, "%s: expected text or one assistant message, found %zu messages", what, kd_json_count(n));
        return take_assistant(r, m);
    }
    if (kd_json_typeof(n) != KD_JSON_STRING) return wrong_type(r, what, "text or one assistant message", n);
    kd_code rc = keep(r, kd_json_string(n), &r->out->answer);
    if (!rc) r->out->thought_from = kd_thought_split(r->out->answer, false, &r->out->thought, &r->out->answer);
    return rc;
}

static kd_code read_prompt(reading *r) {
    const kd_json_node *p = member(r, "prompt");
    kd_str system = kd_json_string(member(r, "system"));
    if (kd_json_typeof(p) == KD_JSON_ARRAY) {
        kd_code rc = take_messages(r, p);
        if (!rc && r->out->answer.data)
            return kd_fail(r->e, KD_EFORMAT, "prompt: expected to end with a question, found an assistant's turn at its end");
        return rc ? rc : take_completion(r, member(r, "completion"), "completion");
    }
    if (kd_json_string(p).len == 0)
        return kd_json_typeof(p) == KD_JSON_STRING ? kd_fail(r->e, KD_EFORMAT, "prompt: expected a question, found an empty one")
                                                   : wrong_type(r, "prompt", "text or messages", p);
    kd_jsonw_array(r->w);
    if (system.len) put_message(r->w, "system", system);
    put_message(r->w, "user", kd_json_string(p));
    kd_jsonw_end_array(r->w);
    return take_completion(r, member(r, "completion"), "completion");
}

static kd_code read_alpaca(reading *r) {
    kd_str instruction = kd_json_string(member(r, "instruction")), input = kd_json_string(member(r, "input"));
    kd_str system = kd_json_string(member(r, "system"));
    const kd_json_node *output = member(r, "output");
    kd_buf q = {0};
    if (instruction.len == 0)
        return kd_fail(r->e, KD_EFORMAT, "instruction: expected a question, found %s", instruction.data ? "an empty one" : "no text");
    kd_code rc = kd_buf_append(&q, instruction.data, instruction.len);
    if (!rc && input.len && !(rc = kd_buf_puts(&q, "\n\n"))) rc = kd_buf_append(&q, input.data, input.len);
    kd_jsonw_array(r->w);
    if (system.len) put_message(r->w, "system", system);
    put_message(r->w, "user", kd_buf_view(&q));
    kd_jsonw_end_array(r->w);
    kd_buf_clear(&q);
    return rc ? kd_fail(r->e, rc, "no memory for a row") : take_completion(r, output, "output");
}

static kd_code read_question(reading *r) {
    static const char *const names[] = {"question", "problem", "question_content", "text"};
    const kd_json_node *q = NULL;
    for (int i = 0; i < 4 && !q; i++) q = member(r, names[i]);
    if (kd_json_string(q).len == 0)
        return kd_json_typeof(q) == KD_JSON_STRING ? kd_fail(r->e, KD_EFORMAT, "question: expected text, found an empty one")
                                                   : wrong_type(r, "question", "text", q);
    kd_jsonw_array(r->w);
    put_message(r->w, "user", kd_json_string(q));
    kd_jsonw_end_array(r->w);
    return KD_OK;
}

/* ---- what every form may carry ---- */
/* A row of code: its tests are the gold answer. */
static kd_code take_tests(reading *r, bool *any) {
    kd_row_used used;
    kd_buf b = {0};
    kd_str solution = {NULL, 0};
    kd_code rc = kd_row_tests(&b, r->root, &used, r->e);
    *any = !rc && b.len > 0;
    if (*any) rc = keep(r, kd_buf_view(&b), &r->out->gold);
    for (size_t i = 0; *any && i < used.n; i++) (void)member(r, used.key[i]);
    if (!rc && *any && kd_json_typeof(kd_json_get(r->root, "solution")) == KD_JSON_STRING)
        rc = scalar(r, member(r, "solution"), "solution", &solution);
    if (!rc && *any && !solution.data && kd_json_typeof(kd_json_get(r->root, "reference")) == KD_JSON_STRING)
        rc = scalar(r, member(r, "reference"), "reference", &solution);
    r->out->reference = solution;
    kd_buf_clear(&b);
    return rc;
}

/* `answer` (or gold) is the reference: what stands behind its last ####, or inside a solution's last box, or the whole. */
static kd_code take_reference(reading *r) {
    kd_row_parts *o = r->out;
    kd_str whole, solution;
    bool tests;
    kd_code rc = take_tests(r, &tests);
    if (rc || tests) return rc;
    rc = scalar(r, member(r, "answer"), "answer", &whole);
    if (!rc && !whole.data) rc = scalar(r, member(r, "gold"), "gold", &whole);
    if (!rc) rc = scalar(r, member(r, o->form == KD_ROW_QUESTION ? "solution" : "reference"), "solution", &solution);
    if (rc) return rc;
    o->reference = solution.data ? solution : whole;
    if (!whole.data && solution.data) {
        o->gold = kd_last_boxed(solution);
        if (!o->gold.data && kd_last_of(solution, "####")) whole = solution;
    }
    if (whole.data && kd_tests_look(whole)) {
        o->gold = whole;
    } else if (whole.data) {
        const char *mark = kd_last_of(whole, "####");
        kd_str boxed = kd_last_boxed(whole);
        o->gold = kd_trim(mark ? (kd_str){mark + 4, (size_t)(whole.data + whole.len - mark - 4)} : boxed.data ? boxed : whole);
    }
    if (o->gold.data && o->gold.len == 0) o->gold = (kd_str){NULL, 0};
    if (o->gold.data && kd_str_eq(o->reference, o->gold)) o->reference = (kd_str){NULL, 0};
    return KD_OK;
}

static kd_code take_tools(reading *r) {
    const kd_json_node *tools = member(r, "tools");
    kd_json *doc = NULL;
    kd_buf b = {0};
    kd_code rc = KD_OK;
    if (kd_json_typeof(tools) == KD_JSON_STRING) { /* some files hold it as text */
        kd_str s = kd_json_string(tools);
        if (s.len == 0) return KD_OK;
        if ((rc = kd_json_parse(&doc, s.data, s.len, "tools", r->e))) return rc;
        tools = kd_json_root(doc);
    }
    if (tools && kd_json_typeof(tools) != KD_JSON_ARRAY) rc = wrong_type(r, "tools", "an array", tools);
    if (!rc && kd_json_count(tools)) {
        kd_jsonw w = {.out = &b};
        if ((rc = kd_canonical_node(&w, tools)))
            rc = kd_fail(r->e, rc, "no memory for a row");
        else
            rc = keep(r, kd_buf_view(&b), &r->out->tools);
    }
    kd_buf_clear(&b);
    kd_json_free(doc);
    return rc;
}

/* A thought given apart that stood in one text for want of a place: "<think>\n" thought "\n</think>\n\n" answer. */
static bool part_again(kd_row_parts *o) {
    kd_str t = o->thought, a = o->answer;
    if (o->thought_from != KD_THOUGHT_TAGS || t.len < 2 || t.data[0] != '\n' || t.data[t.len - 1] != '\n' || !kd_str_starts(a, "\n\n"))
        return false;
    o->thought = (kd_str){t.data + 1, t.len - 2};
    o->answer = (kd_str){a.data + 2, a.len - 2};
    return true;
}

/* What export told of where the thought stood: one text can be cut in more ways than one, and this says in which it was. Lineage that does not fit the
 * text is not believed. */
static kd_code take_thought_from(reading *r, kd_str name) {
    kd_row_parts *o = r->out;
    const kd_thought_from from = kd_thought_named(name);
    kd_buf whole = {0};
    if (!name.data || !kd_str_is(name, kd_thought_name(from)) || from == o->thought_from || o->thought_from >= KD_THOUGHT_REASONING_CONTENT)
        return KD_OK;
    if (from >= KD_THOUGHT_REASONING_CONTENT) {
        if (part_again(o)) o->thought_from = from;
        return KD_OK;
    }
    kd_str text = {NULL, 0};
    kd_code rc = kd_completion(&whole, o->thought_from, o->thought, o->answer)
                     ? kd_fail(r->e, KD_ENOMEM, "no memory for a row")
                     : keep(r, whole.data ? kd_buf_view(&whole) : KD_STR(""), &text);
    kd_buf_clear(&whole);
    if (rc) return rc;
    if (from == KD_THOUGHT_NONE || from == KD_THOUGHT_OPENED) {
        o->thought_from = from;
        o->thought = from == KD_THOUGHT_OPENED ? text : (kd_str){NULL, 0};
        o->answer = from == KD_THOUGHT_OPENED ? KD_STR("") : text;
    } else if (from == KD_THOUGHT_CLOSE) {
        kd_str thought, answer;
        if (kd_thought_split(text, true, &thought, &answer) != KD_THOUGHT_CLOSE) return KD_OK;
        o->thought_from = from;
        o->thought = thought;
        o->answer = answer;
    }
    return KD_OK;
}

static kd_code take_lineage(reading *r) {
    const kd_json_node *l = member(r, "lineage");
    r->out->tokens = -1;
    if (!r->out->answer.data || kd_json_typeof(l) != KD_JSON_OBJECT) return KD_OK;
    kd_code rc = kd_json_string(kd_json_get(l, "finish")).len ? keep(r, kd_json_string(kd_json_get(l, "finish")), &r->out->finish) : KD_OK;
    if (!kd_json_int(kd_json_get(l, "completion_tokens"), &r->out->tokens) || r->out->tokens < 0) r->out->tokens = -1;
    return rc ? rc : take_thought_from(r, kd_json_string(kd_json_get(l, "thought_from")));
}

static bool is_used(const reading *r, kd_str key) {
    for (size_t i = 0; i < r->n_used; i++)
        if (kd_str_is(key, r->used[i])) return true;
    return false;
}

/* Everything that has no place of its own, as one object. labels and lineage are what export wrote beside the row: they are made anew. */
static kd_code take_meta(reading *r) {
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    size_t n = 0;
    kd_code rc = KD_OK;
    member(r, "labels");
    kd_jsonw_object(&w);
    for (const kd_json_node *m = kd_json_first(r->root); m && !rc; m = kd_json_next(m)) {
        if (is_used(r, kd_json_key(m))) continue;
        kd_jsonw_key_str(&w, kd_json_key(m));
        rc = kd_canonical_node(&w, m);
        n++;
    }
    kd_jsonw_end_object(&w);
    if (rc || (rc = w.code))
        rc = kd_fail(r->e, rc, "no memory for a row");
    else if (n)
        rc = keep(r, kd_buf_view(&b), &r->out->meta);
    kd_buf_clear(&b);
    return rc;
}

/* A member that is null is not there: tables turned into rows are full of them. */
static bool there(const kd_json_node *root, const char *key) {
    const kd_json_type t = kd_json_typeof(kd_json_get(root, key));
    return t != KD_JSON_ABSENT && t != KD_JSON_NULL;
}

/* The richer form wins where a row has the members of two. */
static kd_row_form sniff(const kd_json_node *root) {
    if (there(root, "messages")) return KD_ROW_MESSAGES;
    if (there(root, "conversations")) return KD_ROW_SHAREGPT;
    if (there(root, "instruction")) return KD_ROW_ALPACA;
    if (there(root, "prompt")) return KD_ROW_PROMPT;
    if (there(root, "question_content") || (there(root, "text") && there(root, "test_list"))) return KD_ROW_QUESTION;
    return there(root, "question") || there(root, "problem") ? KD_ROW_QUESTION : KD_ROW_SNIFF;
}

static kd_code read_row(reading *r, kd_row_form form) {
    static kd_code (*const readers[])(reading *) = {NULL, read_messages, read_prompt, read_alpaca, read_sharegpt, read_question};
    kd_row_parts *o = r->out;
    if (kd_json_typeof(r->root) != KD_JSON_OBJECT) return wrong_type(r, "row", "an object", r->root);
    o->form = form == KD_ROW_SNIFF ? sniff(r->root) : form;
    if (o->form == KD_ROW_SNIFF)
        return kd_fail(r->e, KD_EFORMAT,
                       "row: expected a member messages, prompt, instruction, conversations or question, found none of them");
    kd_code rc = readers[o->form](r);
    if (!rc) rc = take_reference(r);
    if (!rc) rc = take_tools(r);
    if (!rc) rc = take_lineage(r);
    if (!rc) rc = scalar(r, member(r, "task"), "task", &o->task);
    if (!rc && !o->task.data && o->gold.data && kd_tests_look(o->gold)) o->task = KD_STR("code");
    if (!rc) rc = scalar(r, member(r, "split"), "split", &o->split);
    return rc ? rc : take_meta(r);
}

kd_code kd_row_parse(kd_row_parts *out, kd_arena *arena, kd_str line, kd_row_form form, kd_err *e) {
    kd_json *doc = NULL;
    kd_buf messages = {0}, whole = {0};
    kd_jsonw w = {.out = &messages};
    *out = (kd_row_parts){0};
    kd_code rc = kd_json_parse(&doc, line.data, line.len, "row", e);
    if (rc) return rc;
    reading r = {.root = kd_json_root(doc), .w = &w, .arena = arena, .out = out, .e = e};
    rc = read_row(&r, form);
    if (!rc && w.code) rc = kd_fail(e, w.code, "no memory for a row");
    if (!rc) rc = kd_str_keep(arena, kd_buf_view(&messages), &out->messages, e);
    if (!rc && out->answer.data) {
        if ((rc = kd_completion(&whole, out->thought_from, out->thought, out->answer)))
            kd_fail(e, rc, "no memory for a row");
        else
            rc = kd_str_keep(arena, whole.data ? kd_buf_view(&whole) : KD_STR(""), &out->completion, e);
    }
    kd_buf_clear(&messages);
    kd_buf_clear(&whole);
    kd_json_free(doc);
    return rc;
}
