/* distill/model/template_ast.h - what a chat template is once parsed. Private to template*.c. Leans on template.h. */
#ifndef KD_MODEL_TEMPLATE_AST_H
#define KD_MODEL_TEMPLATE_AST_H

#include "distill/model/template.h"

#define KD_T(x)                                                                                                                            \
    do {                                                                                                                                   \
        kd_code c_ = (x);                                                                                                                  \
        if (c_ != KD_OK) return c_;                                                                                                        \
    } while (0)

/* ---- values ---- */
typedef enum {
    KD_TV_MISSING, /* no value at all; never seen by a template */
    KD_TV_UNDEF,
    KD_TV_NONE,
    KD_TV_BOOL,
    KD_TV_INT,
    KD_TV_BIG, /* an integer beyond int64, as its decimal digits */
    KD_TV_FLOAT,
    KD_TV_STR,
    KD_TV_LIST,
    KD_TV_TUPLE,
    KD_TV_DICT,
    KD_TV_RANGE,
    KD_TV_VIEW, /* keys(), values() or items() of a dict */
    KD_TV_ITER, /* what Python makes a generator of: read once */
    KD_TV_NS,   /* namespace */
    KD_TV_MACRO,
    KD_TV_FUNC,   /* a global function */
    KD_TV_METHOD, /* a method bound to its object */
    KD_TV_LOOP,
    KD_TV_CYCLER,
    KD_TV_JOINER
} kd_tv_type;

enum { KD_TF_MARKUP = 1, KD_TF_GROUP = 2 }; /* flags: a string marked safe; a tuple that groupby made */

typedef struct kd_tval {
    uint8_t type, flag;
    size_t len; /* bytes of a string */
    union {
        int64_t i;
        double f;
        bool b;
        const char *s;
        struct kd_tseq *seq;
        struct kd_tdict *dict;
        struct kd_tundef *undef;
        struct kd_trange *range;
        struct kd_tview *view;
        struct kd_titer *iter;
        struct kd_tmacro *macro;
        struct kd_tmethod *method;
        struct kd_tloop *loop;
        struct kd_tcycle *cycle;
    } u;
} kd_tval;

/* ---- nodes ---- */
typedef enum {
    KD_TN_CONST,
    KD_TN_NAME,
    KD_TN_NSREF,
    KD_TN_TUPLE,
    KD_TN_LIST,
    KD_TN_DICT,
    KD_TN_COND,
    KD_TN_OR,
    KD_TN_AND,
    KD_TN_NOT,
    KD_TN_COMPARE,
    KD_TN_BINARY,
    KD_TN_NEG,
    KD_TN_POS,
    KD_TN_CONCAT,
    KD_TN_ATTR,
    KD_TN_ITEM,
    KD_TN_SLICE,
    KD_TN_CALL,
    KD_TN_FILTER,
    KD_TN_TEST,
    /* statements */
    KD_TN_OUTPUT,
    KD_TN_FOR,
    KD_TN_IF,
    KD_TN_SET,
    KD_TN_SETBLOCK,
    KD_TN_MACRO,
    KD_TN_CALLBLOCK,
    KD_TN_FILTERBLOCK,
    KD_TN_WITH,
    KD_TN_BREAK,
    KD_TN_CONTINUE,
    KD_TN_GENERATION,
    KD_TN_BODY
} kd_tn_kind;

typedef enum { KD_TO_ADD, KD_TO_SUB, KD_TO_MUL, KD_TO_DIV, KD_TO_FLOORDIV, KD_TO_MOD, KD_TO_POW } kd_to_binary;
typedef enum { KD_TO_EQ, KD_TO_NE, KD_TO_LT, KD_TO_LE, KD_TO_GT, KD_TO_GE, KD_TO_IN, KD_TO_NOTIN } kd_to_compare;

/* How a variable of a frame gets its first value when the frame is entered, as jinja2's idtracking decides it. */
typedef enum { KD_TL_PARAM, KD_TL_RESOLVE, KD_TL_ALIAS, KD_TL_UNDEF } kd_tl_action;
typedef struct {
    uint32_t slot, name, from; /* from: the slot of what an alias copies */
    uint8_t action;
    uint16_t hops; /* to the function that has it */
} kd_tload;
typedef struct {
    kd_tload *loads;
    uint32_t n;
} kd_tframe;
typedef struct {
    uint32_t slots; /* variables of one call */
} kd_tfn;

/* Children by kind:
 * CONST value            NAME name,hops,slot       NSREF name,hops,slot, attr name in value
 * TUPLE LIST list        DICT list keys, list2 values        COND a test, b then, c else or NULL
 * OR AND BINARY a,b      NOT NEG POS a             COMPARE a, list operands, ops in names     CONCAT list
 * ATTR a, name           ITEM a, b                 SLICE a,b,c or NULL
 * CALL FILTER TEST: a callee or value, list positional, list2 keyword values with names, b *args, c **kwargs, name, slot id of filter or test
 * OUTPUT list            FOR a target, b iter, c test, d body, e else   IF a, d body, list of elif IFs, e else
 * SET a target, b value  SETBLOCK a target, b filter or NULL, d body   MACRO name, list params, list2 defaults of the last m, d body
 * CALLBLOCK a call, list params, list2 defaults, d body   FILTERBLOCK b filter, d body   WITH list targets, list2 values, d body
 * GENERATION d body      BODY list
 * slot of FOR: of loop. m of a loop's target: its slot in the test's function. names of MACRO, CALLBLOCK, GENERATION: slots of caller, kwargs, varargs. */
#define KD_TPL_NONE UINT32_MAX
typedef struct kd_tnode kd_tnode;
struct kd_tnode {
    uint8_t kind, op, flags;
    uint16_t depth, hops;
    uint32_t at; /* byte of the source */
    uint32_t n, m, name, slot;
    kd_tnode *a, *b, *c, *d, *e;
    kd_tnode **list, **list2;
    uint32_t *names;
    kd_tval value;
    kd_tframe *frame, *frame2, *frame3; /* of the body, of else, of the loop's test */
    kd_tfn *fn, *fn2;                   /* macro, recursive loop; the loop's test */
};
enum {
    KD_TN_STORE = 1,     /* NAME: a target */
    KD_TN_RECURSIVE = 2, /* FOR */
    KD_TN_LOOPVAR = 4,   /* FOR: its body reads loop */
    KD_TN_CALLER = 8,    /* MACRO, CALLBLOCK: takes caller, kwargs, varargs */
    KD_TN_KWARGS = 16,
    KD_TN_VARARGS = 32,
    KD_TN_DATA = 64,    /* CONST: text between tags */
    KD_TN_XCALLER = 128 /* MACRO: caller is among its own parameters */
};

struct kd_template {
    kd_arena arena;
    char *name;
    kd_str given;  /* the source as it came */
    kd_str source; /* newlines made one, the last one dropped */
    kd_str *names; /* [n_names] interned */
    uint32_t n_names, cap_names;
    uint32_t *name_slots, cap_slots; /* hash table over names: id + 1 */
    bool *reads;                     /* [n_names] is asked of the context */
    kd_tnode *root;
    kd_tframe *frame;
    kd_tfn *fn;
    uint32_t nodes;
};

/* ---- lexer ---- */
typedef enum {
    KD_TK_EOF,
    KD_TK_DATA,
    KD_TK_VAR_BEGIN,
    KD_TK_VAR_END,
    KD_TK_BLOCK_BEGIN,
    KD_TK_BLOCK_END,
    KD_TK_NAME,
    KD_TK_STRING,
    KD_TK_INT,
    KD_TK_FLOAT,
    KD_TK_ADD,
    KD_TK_SUB,
    KD_TK_DIV,
    KD_TK_FLOORDIV,
    KD_TK_MUL,
    KD_TK_MOD,
    KD_TK_POW,
    KD_TK_TILDE,
    KD_TK_LBRACKET,
    KD_TK_RBRACKET,
    KD_TK_LPAREN,
    KD_TK_RPAREN,
    KD_TK_LBRACE,
    KD_TK_RBRACE,
    KD_TK_EQ,
    KD_TK_NE,
    KD_TK_GT,
    KD_TK_GE,
    KD_TK_LT,
    KD_TK_LE,
    KD_TK_ASSIGN,
    KD_TK_DOT,
    KD_TK_COLON,
    KD_TK_PIPE,
    KD_TK_COMMA,
    KD_TK_SEMICOLON
} kd_tk_kind;
typedef struct {
    kd_tk_kind kind;
    uint32_t at;
    kd_str text;   /* name or data; a string's value */
    kd_tval value; /* numbers */
} kd_ttoken;

enum { KD_TLEX_NEST = 200 };
typedef struct {
    kd_template *t;
    size_t pos;
    int state;  /* 0 text, 1 {{, 2 {% */
    bool begun; /* the tag's first token has been handed out */
    bool line_starting;
    uint32_t tag_at;
    char nest[KD_TLEX_NEST]; /* open brackets */
    int n_nest;
    kd_str pending; /* text of a raw block waiting to be handed out */
    uint32_t pending_at;
    kd_err *e;
} kd_tlex;
kd_code kd_tpl_lex(kd_tlex *l, kd_ttoken *tok);
const char *kd_tpl_token_name(const kd_ttoken *tok, char *buf, size_t n);

/* Fails with "NAME: line L, column C: ..." for byte at of the source; returns c. */
kd_code kd_tpl_fail(const kd_template *t, size_t at, kd_err *e, kd_code c, const char *fmt, ...) KD_PRINTF(5, 6);
#ifdef __clang_analyzer__ /* as kd_fail of err.h */
#define kd_tpl_fail(t, at, e, c, ...) (kd_tpl_fail((t), (at), (e), (c), __VA_ARGS__), (c))
#endif
void kd_tpl_where(const kd_template *t, size_t at, size_t *line, size_t *column);
/* *id of a name, made if new. */
kd_code kd_tpl_intern(kd_template *t, kd_str s, uint32_t *id, kd_err *e);

/* ---- parser: expressions in template_expr.c, statements in template_parse.c, what both stand on in template_node.c ---- */
typedef struct {
    kd_template *t;
    kd_tlex lex;
    kd_ttoken tok, ahead;
    bool has_ahead;
    int depth; /* of nested expressions and statements */
    kd_err *e;
} kd_tparse;
kd_code kd_tpl_next(kd_tparse *p);
kd_code kd_tpl_look(kd_tparse *p, const kd_ttoken **ahead);
bool kd_tpl_at(const kd_tparse *p, const char *keyword); /* the current token is that name */
kd_code kd_tpl_expect(kd_tparse *p, kd_tk_kind kind, const char *what);
kd_code kd_tpl_unexpected(kd_tparse *p, const char *expected); /* fails with the current token; expected: what should be there, or NULL */
#ifdef __clang_analyzer__
#define kd_tpl_unexpected(p, expected) (kd_tpl_unexpected((p), (expected)), KD_EFORMAT)
#endif
kd_code kd_tpl_node(kd_tparse *p, kd_tn_kind kind, uint32_t at, kd_tnode **out);
/* Growable list of nodes while parsing; sealed into the arena. */
typedef struct {
    kd_tnode **at;
    size_t n, cap;
} kd_tlist;
enum { KD_TPL_NEST = 150, KD_TPL_TREE = 1000, KD_TPL_NODES = 100000, KD_TPL_SOURCE = 1 << 20 };
kd_code kd_tpl_push(kd_tlist *l, kd_tnode *n, kd_err *e);
kd_code kd_tpl_seal(kd_tparse *p, kd_tlist *l, kd_tnode ***out, uint32_t *n);
kd_code kd_tpl_expr(kd_tparse *p, bool conditional, kd_tnode **out);
typedef struct {
    bool simple, no_conditional, parens, nsref;
    const char *end; /* a name that ends it too */
} kd_ttuple_opts;
kd_code kd_tpl_tuple(kd_tparse *p, kd_ttuple_opts o, kd_tnode **out);
kd_code kd_tpl_primary(kd_tparse *p, bool nsref, kd_tnode **out);
kd_code kd_tpl_filters(kd_tparse *p, kd_tnode *of, bool inline_start, kd_tnode **out);
void kd_tpl_deepen(kd_tnode *n, const kd_tnode *child); /* n is at least one deeper than child (NULL: nothing) */
kd_code kd_tpl_deep(kd_tparse *p, kd_tnode *n);         /* deepens n over all its children and checks the bound */
kd_code kd_tpl_enter(kd_tparse *p);                     /* one level of nesting more; p->depth-- leaves it */
kd_code kd_tpl_parse(kd_template *t, kd_err *e);
/* Gives every name its place, as jinja2's compiler does; checks filters, tests, break and continue. */
kd_code kd_tpl_resolve(kd_template *t, kd_err *e);

/* Filters and tests by name: -1 = there is none. */
int kd_tpl_filter_id(kd_str name);
int kd_tpl_test_id(kd_str name);

/* White space as Python's str.isspace and re's \s count it. */
bool kd_tpl_space(int32_t cp);
/* One valid code point at s, its length in *len. */
int32_t kd_tpl_cp(const char *s, size_t *len);

#endif
