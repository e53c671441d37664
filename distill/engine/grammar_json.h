/* distill/engine/grammar_json.h - what compiles a JSON schema. Private to grammar_schema.c and grammar_value.c. */
#ifndef KD_ENGINE_GRAMMAR_JSON_H
#define KD_ENGINE_GRAMMAR_JSON_H

#include "distill/engine/grammar_int.h"

enum { S_MOST_SCHEMAS = 4000, S_LONGEST_KEY = 1000 };
typedef struct {
    const kd_json_node *node;
    uint32_t rule;
} s_known;
typedef struct {
    kd_grammar *g;
    const kd_json_node *root;
    s_known *rules; /* [known] schemas that are rules */
    size_t known, rules_cap;
    uint32_t ws, value, object, letter,
        rest;    /* rules: white space, any value, any object, a string's character, the rest of a string and its quote */
    kd_buf path; /* where in the schema we are */
    kd_code code;
    kd_err *e;
} s_compiler;

kd_code s_basics(s_compiler *s); /* the five rules */
/* fmt has one %s, for what. Returns the code (which is also G_NOWHERE's place: nobody looks once code is set). */
kd_code s_fail(s_compiler *s, kd_code c, const char *fmt, const char *what) __attribute__((format(printf, 3, 0)));
uint32_t s_rule(s_compiler *s, const kd_json_node *n); /* the rule of a schema, compiled at first use */
uint32_t s_literal(s_compiler *s, const kd_json_node *v, uint32_t next);
uint32_t s_literal_text(s_compiler *s, kd_str text, uint32_t next); /* a string, in quotes */
uint32_t s_string(s_compiler *s, const kd_json_node *n, uint32_t next);
uint32_t s_number(s_compiler *s, const kd_json_node *n, bool integer, uint32_t next);

#endif
