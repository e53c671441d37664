/* distill/base/json.h - JSON in and out (RFC 8259). The one room that includes cJSON. Leans on mem.h, err.h.
 * Strings keep their length: U+0000 inside a string survives parsing and writing. */
#ifndef KD_BASE_JSON_H
#define KD_BASE_JSON_H

#include "distill/base/mem.h"

typedef struct kd_json kd_json;           /* a whole document; owns its nodes */
typedef struct kd_json_node kd_json_node; /* borrowed from a document; NULL stands for "absent" in every getter */
typedef enum { KD_JSON_ABSENT, KD_JSON_NULL, KD_JSON_BOOL, KD_JSON_NUMBER, KD_JSON_STRING, KD_JSON_ARRAY, KD_JSON_OBJECT } kd_json_type;

/* Parses exactly one value (white space around it allowed). Bytes that are not UTF-8, a duplicate key, depth over 200 and anything
 * behind the value are errors; lone surrogate escapes (\ud800) are read as U+FFFD. what names the text in messages.
 * Errors: KD_EFORMAT with line, column and what was expected; KD_ENOMEM. Then *out = NULL. */
kd_code kd_json_parse(kd_json **out, const char *text, size_t len, const char *what, kd_err *e);
void kd_json_free(kd_json *doc);
const kd_json_node *kd_json_root(const kd_json *doc);

kd_json_type kd_json_typeof(const kd_json_node *n);
size_t kd_json_count(const kd_json_node *n); /* elements or members; 0 for others */
const kd_json_node *kd_json_get(const kd_json_node *obj, const char *key);
const kd_json_node *kd_json_first(const kd_json_node *n); /* first element or member: walk with next, O(1) each */
const kd_json_node *kd_json_next(const kd_json_node *n);
kd_str kd_json_key(const kd_json_node *member);
kd_str kd_json_string(const kd_json_node *n); /* {NULL,0} unless a string; data is NUL-terminated besides */
bool kd_json_bool(const kd_json_node *n, bool otherwise);
double kd_json_number(const kd_json_node *n, double otherwise);
bool kd_json_int(const kd_json_node *n, int64_t *out); /* true if an integer, exact over all of int64 */
kd_str kd_json_number_text(const kd_json_node *n);     /* the number as it was written: tells 1 from 1.0, keeps digits */

/* Writing: commas, escapes and shortest round-trip numbers are seen to; nesting is checked by assert (our own mistake).
 * Memory failures are sticky in w->code. {.out = &buf} starts one. */
typedef struct {
    kd_buf *out;
    kd_code code;
    int depth;
    bool need_comma, after_key, ascii; /* ascii: escape everything above 0x7e as \uXXXX */
    bool python;                       /* python: ", " and ": " between items, as json.dumps writes */
} kd_jsonw;
void kd_jsonw_object(kd_jsonw *w);
void kd_jsonw_end_object(kd_jsonw *w);
void kd_jsonw_array(kd_jsonw *w);
void kd_jsonw_end_array(kd_jsonw *w);
void kd_jsonw_key(kd_jsonw *w, const char *key);
void kd_jsonw_key_str(kd_jsonw *w, kd_str key);
void kd_jsonw_str(kd_jsonw *w, kd_str s);       /* malformed UTF-8 is written as U+FFFD, Python's errors='replace' */
void kd_jsonw_cstr(kd_jsonw *w, const char *s); /* NULL writes null */
void kd_jsonw_int(kd_jsonw *w, int64_t v);
void kd_jsonw_double(kd_jsonw *w, double v); /* NaN and infinities are written as null; an integral value as 3.0 */
void kd_jsonw_bool(kd_jsonw *w, bool v);
void kd_jsonw_null(kd_jsonw *w);
void kd_jsonw_raw(kd_jsonw *w, kd_str json);            /* one value, trusted */
void kd_jsonw_node(kd_jsonw *w, const kd_json_node *n); /* a parsed value again, numbers as written, members in order */

/* Shortest decimal text that strtod reads back as v, into s (at least 32 bytes); returns its length. */
size_t kd_double_text(double v, char *s);

#endif
