/* distill/model/template.h - chat templates: an interpreter of the Jinja that transformers runs them with. Leans on base.
 * The yardstick is transformers 5's apply_chat_template: jinja2's immutable sandbox with trim_blocks and lstrip_blocks, break and continue,
 * {% generation %}, tojson as json.dumps(ensure_ascii=False) writes it, raise_exception, strftime_now. What a template renders there it
 * renders here byte for byte; what we lack (include, import, extends, block, autoescape, random, lipsum) is refused by name, with line and
 * column. Templates are hostile: steps, depth, memory and output are bounded, and nothing outside the context can be reached. */
#ifndef KD_MODEL_TEMPLATE_H
#define KD_MODEL_TEMPLATE_H

#include "distill/base/json.h"
#include "distill/base/mem.h"

typedef struct kd_template kd_template; /* parsed; read-only after: one may be rendered by many threads at once */

/* name stands in messages ("NAME: line 3, column 14: ..."). Errors: KD_EFORMAT syntax, unknown filter or test, not UTF-8; KD_EUNSUPPORTED a
 * feature that we lack; KD_ELIMIT nested too deep or beyond 1 MiB; KD_ENOMEM. Then *out = NULL. */
kd_code kd_template_new(kd_template **out, const char *source, size_t len, const char *name, kd_err *e);
void kd_template_free(kd_template *t);
const char *kd_template_source(const kd_template *t, size_t *len); /* as given; len may be NULL */
/* True if the template reads the variable of that name anywhere ("tools", "enable_thinking"); for warnings and plans. */
bool kd_template_reads(const kd_template *t, const char *variable);

typedef struct {
    const char *name; /* "bos_token" */
    kd_str value;
} kd_template_string;

typedef struct {
    const kd_json_node *messages;      /* an array of objects */
    size_t leave_out;                  /* so many of them at the end are left out */
    const kd_json_node *tools;         /* NULL or null: None */
    const kd_json_node *documents;     /* NULL or null: None */
    const kd_json_node *extra;         /* an object: its members are variables too and win over all others; NULL: none */
    const kd_template_string *strings; /* special tokens: those not given are undefined */
    size_t n_strings;
    bool add_generation_prompt;
    int64_t now;         /* what strftime_now shows: the wall clock's reading as seconds since 1970-01-01 00:00 on that same clock */
    bool exact_messages; /* false: as transformers does, null members of a message are dropped and its thought is there under
                             thinking and reasoning_content whichever of the two (or reasoning) it came under */
    size_t max_steps, max_bytes, max_output; /* 0: 20 million; 32 MiB beyond what the context takes; 8 MiB */
} kd_template_input;

/* Bytes [start,end) of the output inside a {% generation %} block. */
typedef struct {
    size_t start, end;
} kd_template_span;
typedef struct {
    kd_template_span *at; /* kd_free */
    size_t n, cap;
} kd_template_spans;

/* out += the text; spans (or NULL) receives the generation blocks in order. On error out is as it was.
 * Errors: KD_EFORMAT what transformers raises too (raise_exception's own words; undefined; wrong types); KD_EUNSUPPORTED;
 * KD_ELIMIT a bound was reached; KD_EINVAL messages is not an array of objects; KD_ENOMEM.
 * Test: tests/distill/model/test_template.c */
kd_code kd_template_render(kd_buf *out, kd_template_spans *spans, const kd_template *t, const kd_template_input *in, kd_err *e);

#endif
