/* datasets/export.c - selected samples as JSON lines that import reads back into the same rows. Leans on import.h, study.h, base. */
#include "datasets/import.h"

#include "datasets/logprobs.h"
#include "datasets/study_int.h"
#include "distill/base/file.h"
#include "distill/base/gz.h"
#include "distill/base/json.h"

#include <string.h>

typedef struct {
    kd_study *s;
    const kd_export_opts *o;
    kd_row_form form;
    kd_select *q;
    kd_stmt *prompt, *logprobs; /* what a kd_row does not carry */
    kd_db *db;
    kd_buf line, completion, list;
    kd_json *messages;
} exporting;

static void member_str(kd_jsonw *w, const char *key, kd_str v) {
    if (!v.data) return;
    kd_jsonw_key(w, key);
    kd_jsonw_str(w, v);
}

static void member_raw(kd_jsonw *w, const char *key, kd_str v) {
    if (!v.data) return;
    kd_jsonw_key(w, key);
    kd_jsonw_raw(w, v);
}

static void turn(kd_jsonw *w, const char *role_key, const char *role, const char *text_key, kd_str text) {
    kd_jsonw_object(w);
    kd_jsonw_key(w, role_key);
    kd_jsonw_cstr(w, role);
    kd_jsonw_key(w, text_key);
    kd_jsonw_str(w, text);
    kd_jsonw_end_object(w);
}

/* The assistant's turn; a thought that was given apart stays apart, in the field it came in. */
static void assistant_turn(exporting *x, kd_jsonw *w, const kd_row *r) {
    bool apart = r->thought_from >= KD_THOUGHT_REASONING_CONTENT;
    kd_jsonw_object(w);
    kd_jsonw_key(w, "role");
    kd_jsonw_cstr(w, "assistant");
    kd_jsonw_key(w, "content");
    kd_jsonw_str(w, apart ? r->answer : kd_buf_view(&x->completion));
    if (apart) {
        kd_jsonw_key(w, kd_thought_name(r->thought_from));
        kd_jsonw_str(w, r->thought);
    }
    kd_jsonw_end_object(w);
}

static void write_messages(exporting *x, kd_jsonw *w, const kd_row *r) {
    kd_jsonw_key(w, "messages");
    kd_jsonw_array(w);
    for (const kd_json_node *m = kd_json_first(kd_json_root(x->messages)); m; m = kd_json_next(m)) kd_jsonw_node(w, m);
    assistant_turn(x, w, r);
    kd_jsonw_end_array(w);
}

static void write_prompt(exporting *x, kd_jsonw *w, const kd_row *r) {
    kd_jsonw_key(w, "prompt");
    kd_jsonw_raw(w, r->messages);
    kd_jsonw_key(w, "completion");
    kd_jsonw_array(w);
    assistant_turn(x, w, r);
    kd_jsonw_end_array(w);
}

/* Role and text of message m; false if it is more than a text (parts, tool calls). */
static bool plain_message(const kd_json_node *m, kd_str *role, kd_str *text) {
    *role = kd_json_string(kd_json_get(m, "role"));
    *text = kd_json_string(kd_json_get(m, "content"));
    return role->data && text->data && kd_json_count(m) == 2;
}

static kd_code cannot(const exporting *x, const kd_row *r, const char *why, kd_err *e) {
    return kd_fail(e, KD_EUNSUPPORTED, "prompt %lld: %s cannot hold %s; export it as messages", (long long)r->prompt,
                   kd_row_form_name(x->form), why);
}

static kd_code write_sharegpt(exporting *x, kd_jsonw *w, const kd_row *r, kd_err *e) {
    static const char *const speakers[][2] = {{"user", "human"}, {"assistant", "gpt"}, {"system", "system"}, {"tool", "tool"}};
    kd_str role, text;
    if (r->thought_from >= KD_THOUGHT_REASONING_CONTENT && !x->completion.len) return cannot(x, r, "an empty answer", e);
    kd_jsonw_key(w, "conversations");
    kd_jsonw_array(w);
    for (const kd_json_node *m = kd_json_first(kd_json_root(x->messages)); m; m = kd_json_next(m)) {
        size_t i = 0;
        if (!plain_message(m, &role, &text)) return cannot(x, r, "a message of more than one text", e);
        while (i < 4 && !kd_str_is(role, speakers[i][0])) i++;
        if (i == 4) return cannot(x, r, "a role of another name", e);
        turn(w, "from", speakers[i][1], "value", text);
    }
    turn(w, "from", "gpt", "value", kd_buf_view(&x->completion));
    kd_jsonw_end_array(w);
    return KD_OK;
}

static kd_code write_alpaca(exporting *x, kd_jsonw *w, const kd_row *r, kd_err *e) {
    kd_str role = {0}, text = {0};
    const kd_json_node *m = kd_json_first(kd_json_root(x->messages));
    size_t n = kd_json_count(kd_json_root(x->messages));
    if (plain_message(m, &role, &text) && kd_str_is(role, "system")) {
        member_str(w, "system", text);
        m = kd_json_next(m);
        n--;
    }
    if (n != 1 || !plain_message(m, &role, &text) || !kd_str_is(role, "user")) return cannot(x, r, "more than one question", e);
    member_str(w, "instruction", text);
    member_str(w, "input", KD_STR(""));
    member_str(w, "output", kd_buf_view(&x->completion));
    return KD_OK;
}

/* The sample's log-probabilities, or null where it has none. */
static kd_code write_logprobs(exporting *x, kd_jsonw *w, const kd_row *r, kd_err *e) {
    bool row = false;
    kd_err why = {0};
    x->list.len = 0;
    kd_bind_int(x->logprobs, 1, r->sample_id);
    kd_code rc = kd_stmt_step(x->logprobs, &row, e);
    if (!rc && row && kd_col_text(x->logprobs, 0).len && (rc = kd_logprobs_unpack(&x->list, kd_col_text(x->logprobs, 0), &why)))
        kd_fail(e, rc, "sample %lld: %s", (long long)r->sample_id, why.msg);
    kd_stmt_reset(x->logprobs);
    kd_jsonw_key(w, "logprobs");
    if (x->list.len)
        kd_jsonw_raw(w, kd_buf_view(&x->list));
    else
        kd_jsonw_null(w);
    return rc;
}

/* What a reader of the file may want to know of where the row came from. */
static kd_code write_lineage(exporting *x, kd_jsonw *w, const kd_row *r, kd_err *e) {
    kd_code rc = KD_OK;
    kd_jsonw_key(w, "labels");
    kd_jsonw_raw(w, r->labels);
    kd_jsonw_key(w, "lineage");
    kd_jsonw_object(w);
    member_str(w, "teacher", r->teacher);
    member_str(w, "model", r->model);
    kd_jsonw_key(w, "sample");
    kd_jsonw_int(w, r->sample);
    member_str(w, "finish", r->finish);
    member_str(w, "source", r->source);
    member_str(w, "thought_from", kd_str_of(kd_thought_name(r->thought_from)));
    if (r->completion_tokens >= 0) {
        kd_jsonw_key(w, "completion_tokens");
        kd_jsonw_int(w, r->completion_tokens);
    }
    if (x->o->logprobs) rc = write_logprobs(x, w, r, e);
    kd_jsonw_end_object(w);
    return rc;
}

/* reference and the row's other members; they live in prompts alone. */
static kd_code write_prompt_rest(exporting *x, kd_jsonw *w, const kd_row *r, kd_err *e) {
    bool row;
    kd_bind_int(x->prompt, 1, r->prompt);
    kd_code rc = kd_stmt_step(x->prompt, &row, e);
    if (rc || !row) return rc;
    member_str(w, "answer", r->gold);
    member_str(w, "reference", kd_col_text(x->prompt, 0));
    member_raw(w, "tools", r->tools);
    member_str(w, "task", r->task);
    member_str(w, "split", r->split);
    kd_str meta = kd_col_text(x->prompt, 1);
    kd_json *doc = NULL;
    if (meta.len && !(rc = kd_json_parse(&doc, meta.data, meta.len, "prompts.meta", e)))
        for (const kd_json_node *m = kd_json_first(kd_json_root(doc)); m; m = kd_json_next(m)) {
            kd_jsonw_key_str(w, kd_json_key(m));
            kd_jsonw_node(w, m);
        }
    kd_json_free(doc);
    kd_stmt_reset(x->prompt);
    return rc;
}

static kd_code write_line(exporting *x, const kd_row *r, kd_err *e) {
    kd_code rc = KD_OK;
    x->line.len = x->completion.len = 0;
    kd_jsonw w = {.out = &x->line};
    if (kd_buf_puts(&x->completion, "") || kd_completion(&x->completion, r->thought_from, r->thought, r->answer))
        return kd_fail(e, KD_ENOMEM, "export: no memory");
    if ((rc = kd_json_parse(&x->messages, r->messages.data, r->messages.len, "prompts.messages", e))) return rc;
    kd_jsonw_object(&w);
    switch (x->form) {
    case KD_ROW_SHAREGPT: rc = write_sharegpt(x, &w, r, e); break;
    case KD_ROW_ALPACA: rc = write_alpaca(x, &w, r, e); break;
    case KD_ROW_PROMPT: write_prompt(x, &w, r); break;
    default: write_messages(x, &w, r);
    }
    if (!rc) rc = write_prompt_rest(x, &w, r, e);
    if (!rc && !x->o->bare) rc = write_lineage(x, &w, r, e);
    if (!rc) kd_jsonw_end_object(&w);
    kd_json_free(x->messages);
    x->messages = NULL;
    return rc ? rc : w.code ? kd_fail(e, w.code, "export: no memory") : KD_OK;
}

static void end_export(exporting *x) {
    kd_select_close(x->q);
    kd_stmt_free(x->prompt), kd_stmt_free(x->logprobs);
    kd_db_close(x->db);
    kd_buf_clear(&x->line);
    kd_buf_clear(&x->completion);
    kd_buf_clear(&x->list);
}

static kd_code begin_export(exporting *x, kd_err *e) {
    x->form = x->o->form == KD_ROW_SNIFF ? KD_ROW_MESSAGES : x->o->form;
    if (x->form == KD_ROW_QUESTION)
        return kd_fail(e, KD_EINVAL, "export: question holds no answers; choose messages, prompt, sharegpt or alpaca");
    kd_code rc = kd_db_open(&x->db, kd_study_path(x->s), KD_DB_READ, e);
    if (!rc) rc = kd_stmt_new(&x->prompt, x->db, "SELECT reference, meta FROM prompts WHERE id=?1", e);
    if (!rc && x->o->logprobs) rc = kd_stmt_new(&x->logprobs, x->db, "SELECT logprobs FROM bodies WHERE sample=?1", e);
    return rc ? rc : kd_select_open(&x->q, x->s, &x->o->select, e);
}

kd_code kd_export_lines(kd_study *s, const kd_export_opts *o, kd_code (*line)(void *ctx, kd_str line, kd_err *e), void *ctx, uint64_t *rows,
                        kd_err *e) {
    static const kd_export_opts nothing;
    exporting x = {.s = s, .o = o ? o : &nothing};
    kd_row r;
    bool more = true;
    uint64_t n = 0;
    kd_code rc = begin_export(&x, e);
    while (!rc && !(rc = kd_select_next(x.q, &r, &more, e)) && more) {
        if (!(rc = write_line(&x, &r, e))) rc = line(ctx, kd_buf_view(&x.line), e);
        n++;
    }
    end_export(&x);
    if (!rc && rows) *rows = n;
    return rc;
}

/* ---- into a file ---- */
enum { MEMBER = 1 << 20 }; /* bytes of text a gzip member */
typedef struct {
    kd_writer *w;
    bool gz;
    kd_buf text, packed;
    const kd_watch *watch;
    kd_event ev;
} sink;

static kd_code flush_text(sink *k, kd_err *e) {
    kd_str out = kd_buf_view(&k->text);
    k->packed.len = 0;
    if (k->gz && out.len) {
        kd_code rc = kd_gzip(&k->packed, out.data, out.len, 6, e);
        if (rc) return rc;
        out = kd_buf_view(&k->packed);
    }
    k->text.len = 0;
    return out.len ? kd_writer_write(k->w, out.data, out.len, e) : KD_OK;
}

static kd_code take_line(void *ctx, kd_str line, kd_err *e) {
    sink *k = ctx;
    kd_code rc = kd_buf_append(&k->text, line.data, line.len);
    if (!rc) rc = kd_buf_putc(&k->text, '\n');
    if (rc) return kd_fail(e, rc, "export: no memory");
    k->ev.done++;
    if (k->ev.done % 256 == 0) {
        kd_emit(k->watch, k->ev);
        int stop = kd_stopping(k->watch);
        if (stop) return kd_fail(e, (kd_code)stop, "export: interrupted; nothing was written");
    }
    return k->text.len < MEMBER ? KD_OK : flush_text(k, e);
}

kd_code kd_export_file(kd_study *s, const char *path, const kd_export_opts *o, const kd_watch *w, uint64_t *rows, kd_err *e) {
    if (strcmp(path, "-") == 0) return kd_fail(e, KD_EINVAL, "export: expected the name of a file, found -");
    sink k = {.gz = kd_str_ends(kd_str_of(path), ".gz"), .watch = w, .ev = {KD_EV_BEGIN, "export", 0, 0, "rows", path}};
    kd_code rc = kd_writer_open(&k.w, path, e);
    kd_emit(w, k.ev);
    k.ev.kind = KD_EV_STEP;
    if (!rc) rc = kd_export_lines(s, o, take_line, &k, rows, e);
    if (!rc) rc = flush_text(&k, e);
    if (!rc && k.gz && kd_writer_offset(k.w) == 0) { /* no rows: still a gzip file */
        if (!(rc = kd_gzip(&k.packed, "", 0, 6, e))) rc = kd_writer_write(k.w, k.packed.data, k.packed.len, e);
    }
    if (!rc) rc = kd_writer_commit(k.w, e);
    k.ev.kind = KD_EV_END;
    kd_emit(w, k.ev);
    kd_writer_close(k.w);
    kd_buf_clear(&k.text);
    kd_buf_clear(&k.packed);
    return rc;
}
