/* datasets/math_int.h - what the files of the answer checker share: tokens, expression trees, values. Leans on label.h. Private to datasets.
 * The walk: math_final finds an answer, math_lex cuts it into tokens, math_parse makes a tree, math_rat compares constants exactly, math_num to
 * 2000 bits, math_sets reads intervals, math_equal decides. Every one is bounded: text, nodes, depth, digits, points. */
#ifndef KD_DATASETS_MATH_INT_H
#define KD_DATASETS_MATH_INT_H

#include "datasets/label.h"

kd_str kd_trim(kd_str s); /* white space of ASCII */
const char *kd_last_of(kd_str s, const char *what);
kd_str kd_last_boxed(kd_str s);                            /* inside of the last box that is closed and holds something */
const char *kd_number_end(const char *p, const char *end); /* of the plain number that starts at p, or NULL */

enum { KD_MATH_TEXT = 1000, KD_MATH_TOKENS = 1200, KD_MATH_NODES = 4000, KD_MATH_DEPTH = 60, KD_MATH_NAMES = 12 };

/* ---- tokens ---- */
typedef enum {
    TOK_END,
    TOK_NUM,  /* text: digits alone; scale: how many of them stand behind the point */
    TOK_NAME, /* one symbol: x, alpha */
    TOK_WORD, /* two letters or more that are no function: dollars */
    TOK_FUNC, /* sin, log, ... */
    TOK_PLUS,
    TOK_MINUS,
    TOK_TIMES,
    TOK_DIV,
    TOK_POW,
    TOK_SUB,
    TOK_PM,
    TOK_MP,
    TOK_OPEN,
    TOK_CLOSE, /* text[0]: ( [ { for a group, S for \{, A for \langle, B for a bar of one side */
    TOK_BAR,
    TOK_NORM,
    TOK_COMMA,
    TOK_SEMI,
    TOK_COLON,
    TOK_EQ,
    TOK_LT,
    TOK_GT,
    TOK_LE,
    TOK_GE,
    TOK_NE,
    TOK_APPROX,
    TOK_FACT,
    TOK_PERCENT,
    TOK_DEGREE,
    TOK_AMP,
    TOK_ROW,
    TOK_CUP,
    TOK_IN,
    TOK_MID,
    TOK_AND,
    TOK_OR,
    TOK_FRAC,
    TOK_SQRT,
    TOK_BINOM,
    TOK_CHOOSE,
    TOK_OVERLINE,
    TOK_BEGIN,
    TOK_ENDENV,
    TOK_INF,
    TOK_EMPTY,
    TOK_FIELD,
    TOK_DOTS,
    TOK_MONEY,
    TOK_VULGAR /* a fraction of one character: text "1/2" */
} kd_tok_kind;
typedef struct {
    kd_tok_kind kind;
    kd_str text;
    int scale;
    bool spaced; /* white space stood before it */
    bool other;  /* a number that another locale reads otherwise: 1.000 */
} kd_tok;
/* Tokens of s into t[0..KD_MATH_TOKENS), ended by TOK_END; false if there is a sign that means nothing to us, or too many. */
bool kd_math_lex(kd_tok *t, kd_str s, kd_arena *a);

/* ---- trees ---- */
typedef enum {
    N_NUM,
    N_NAME,
    N_PI,
    N_E,
    N_I,
    N_INF,
    N_ADD,
    N_MUL,
    N_DIV,
    N_NEG,
    N_POW,
    N_ROOT /* kids: radicand, degree */,
    N_FUNC,
    N_ABS,
    N_FACT,
    N_BINOM,
    N_PM /* kids: a, b; sign: 1 a+-b, -1 a-+b */,
    N_PERCENT,
    N_DEGREE,
    N_UNIT /* text */,
    N_TEXT,
    N_TUPLE /* open, close */,
    N_SET,
    N_LIST,
    N_REL /* ops */,
    N_CUP,
    N_MATRIX /* rows */,
    N_EMPTY,
    N_FIELD,
    N_RATIO,
    N_BASE,
    N_JUXT,
    N_APPROX,
    N_BUILDER
} kd_node_kind;
typedef struct kd_node kd_node;
struct kd_node {
    kd_node_kind kind;
    kd_str text;        /* N_NUM digits, N_NAME, N_FUNC, N_UNIT, N_TEXT */
    int scale;          /* N_NUM */
    int n, rows;        /* kids; N_MATRIX rows */
    int sign;           /* N_PM */
    char open, close;   /* N_TUPLE: ( or [ */
    bool any_or;        /* N_LIST: parted by "or" */
    bool other;         /* N_NUM: may be read otherwise in another locale */
    bool tight;         /* N_LIST: 3,5 without a space */
    unsigned char *ops; /* N_REL: n - 1 token kinds */
    kd_node **kid;
};
typedef struct {
    kd_arena *arena;
    int nodes;
} kd_math;
/* The tree of s; NULL: not mathematics that we read. */
kd_node *kd_math_parse(kd_math *m, kd_str s);
kd_node *kd_node_new(kd_math *m, kd_node_kind kind, int n, kd_node **kids); /* copies kids; NULL = no room */
kd_node *kd_node_int(kd_math *m, long v);
/* A copy with every name replaced by with; and with every plus-or-minus taken as side (+1, -1). NULL = no room. */
kd_node *kd_node_put(kd_math *m, const kd_node *n, kd_str name, const kd_node *with);
kd_node *kd_node_side(kd_math *m, const kd_node *n, int side);
bool kd_node_has(const kd_node *n, kd_node_kind kind);
bool kd_node_scalar(const kd_node *n); /* arithmetic alone, all the way down */

/* ---- values ---- */
typedef struct {
    kd_str name[KD_MATH_NAMES];
    long num[KD_MATH_NAMES], den[KD_MATH_NAMES];
    int n;
} kd_point;
bool kd_point_names(kd_point *p, const kd_node *n); /* collects the names of n; false if there are too many */
typedef enum { VAL_OK, VAL_NOT /* no rational */, VAL_UNDEFINED, VAL_LARGE, VAL_CLOSE /* too close to tell */ } kd_val;
/* *sign = sign of a - b at the point, exactly. */
kd_val kd_rat_cmp(const kd_node *a, const kd_node *b, const kd_point *p, int *sign);
/* The same to 2000 bits. complex: i and roots of negative numbers have values; then *sign is 0 or 2. */
kd_val kd_num_cmp(const kd_node *a, const kd_node *b, const kd_point *p, bool complex, int *sign);
/* Are a/b at p and q the same number? For equations that differ by a factor. */
kd_val kd_num_same_ratio(const kd_node *a, const kd_node *b, const kd_point *p, const kd_point *q, bool *same);

/* ---- sets of reals ---- */
typedef struct {
    kd_node *lo, *hi; /* N_INF, N_NEG of it, or constants */
    bool lo_closed, hi_closed;
} kd_piece;
typedef struct {
    kd_piece piece[16];
    int n;
} kd_pieces;
/* Reads n as a union of intervals, sorted and joined; false if it is none. */
bool kd_pieces_read(kd_math *m, kd_pieces *out, const kd_node *n);
kd_verdict kd_pieces_equal(const kd_pieces *a, const kd_pieces *b);
kd_val kd_const_cmp(const kd_node *a, const kd_node *b, int *sign); /* exact where it can be */

#endif
