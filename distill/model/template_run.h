/* distill/model/template_run.h - a chat template while it is rendered: values, memory, bounds. Private to template*.c. Leans on template_ast.h.
 * Functions that may fail return false after kd_tr_fail; values live in the run's heap until it ends. */
#ifndef KD_MODEL_TEMPLATE_RUN_H
#define KD_MODEL_TEMPLATE_RUN_H

#include "distill/model/template_ast.h"

/* ---- objects behind values ---- */
typedef struct kd_tseq {
    size_t n;
    kd_tval *at;
} kd_tseq;
typedef struct kd_tdict {
    uint32_t n, cap, n_index;
    kd_tval *keys, *values; /* in order of insertion */
    uint32_t *index;        /* open addressing: position + 1; NULL while small */
} kd_tdict;
typedef struct kd_tundef {
    const char *hint;  /* its whole message, or NULL */
    kd_tval name, obj; /* obj MISSING: a plain variable */
    bool unsafe;       /* the sandbox forbids what was asked for */
} kd_tundef;
typedef struct kd_trange {
    int64_t start, stop, step;
    size_t n;
} kd_trange;
typedef struct kd_tview {
    kd_tdict *dict;
    char what; /* k, v, i */
} kd_tview;
typedef struct kd_tact { /* the variables of one call of a function */
    struct kd_tact *parent;
    kd_tfn *fn;
    bool kept; /* a macro remembers it */
    struct kd_tact *free;
    kd_tval slot[];
} kd_tact;
typedef struct kd_tmacro {
    const kd_tnode *node;
    kd_tact *act; /* where it was made */
} kd_tmacro;
typedef struct kd_tmethod {
    kd_tval self;
    int id;
} kd_tmethod;
typedef struct kd_tcycle { /* cycler and joiner */
    kd_tseq items;
    size_t pos;
} kd_tcycle;

typedef struct {
    const kd_tval *at;
    size_t n;
    const kd_str *names; /* keyword arguments */
    const kd_tval *values;
    size_t n_names;
} kd_targs;

typedef enum {
    KD_TI_SEQ,
    KD_TI_STR,
    KD_TI_RANGE,
    KD_TI_DICT,
    KD_TI_EMPTY,
    KD_TI_LOOP,
    KD_TI_REVERSED, /* over what src is */
    KD_TI_TEST,
    KD_TI_MAP,
    KD_TI_SELECT,
    KD_TI_UNIQUE,
    KD_TI_BATCH,
    KD_TI_SLICE,
    KD_TI_ITEMS /* generators over in */
} kd_ti_kind;
typedef struct kd_titer {
    uint8_t kind, what; /* what: k, v, i of a dict; for SELECT 1 = keep what fails */
    bool started, done, attr;
    kd_tval src;
    size_t pos;
    struct kd_titer *in;
    kd_targs args; /* of the filter or test behind it */
    kd_tval extra; /* attribute, default, fill */
    kd_tdict *seen;
    const kd_tnode *node; /* TEST */
    kd_tact *act;
    int64_t count;
} kd_titer;

typedef struct kd_tloop {
    kd_titer *it;
    kd_tval iterable, before, current, after, changed; /* MISSING where there is none */
    int64_t index0, length;                            /* length -1: not asked for yet */
    const kd_tnode *recurse;
    kd_tact *act;
    int depth0;
} kd_tloop;

/* ---- methods: those of Python's own types that a template may call. What would change an object is there as well: asking for it is
 * refused, and does not fall through to a key of that name. ---- */
enum { KD_TM_STR = 1, KD_TM_LIST = 2, KD_TM_TUPLE = 4, KD_TM_DICT = 8, KD_TM_NUM = 16, KD_TM_OTHER = 32, KD_TM_UNSAFE = 64 };
/* A table, which clang-format would never settle on. */
/* clang-format off */
#define KD_TM_LIST_ALL(X) \
    X(capitalize, STR) X(casefold, STR) X(center, STR) X(count, STR | KD_TM_LIST | KD_TM_TUPLE) X(encode, STR) X(endswith, STR) \
    X(expandtabs, STR) X(find, STR) X(format, STR) X(format_map, STR) X(index, STR | KD_TM_LIST | KD_TM_TUPLE) X(isalnum, STR) \
    X(isalpha, STR) X(isascii, STR) X(isdecimal, STR) X(isdigit, STR) X(isidentifier, STR) X(islower, STR) X(isnumeric, STR) \
    X(isprintable, STR) X(isspace, STR) X(istitle, STR) X(isupper, STR) X(join, STR) X(ljust, STR) X(lower, STR) X(lstrip, STR) \
    X(maketrans, STR) X(partition, STR) X(removeprefix, STR) X(removesuffix, STR) X(replace, STR) X(rfind, STR) X(rindex, STR) \
    X(rjust, STR) X(rpartition, STR) X(rsplit, STR) X(rstrip, STR) X(split, STR) X(splitlines, STR) X(startswith, STR) X(strip, STR) \
    X(swapcase, STR) X(title, STR) X(translate, STR) X(upper, STR) X(zfill, STR) X(copy, LIST | KD_TM_DICT) X(get, DICT) X(items, DICT) \
    X(keys, DICT) X(values, DICT) X(fromkeys, DICT) X(append, LIST | KD_TM_UNSAFE) X(extend, LIST | KD_TM_UNSAFE) \
    X(insert, LIST | KD_TM_UNSAFE) X(remove, LIST | KD_TM_UNSAFE) X(reverse, LIST | KD_TM_UNSAFE) X(sort, LIST | KD_TM_UNSAFE) \
    X(clear, LIST | KD_TM_DICT | KD_TM_UNSAFE) X(pop, LIST | KD_TM_DICT | KD_TM_UNSAFE) X(popitem, DICT | KD_TM_UNSAFE) \
    X(setdefault, DICT | KD_TM_UNSAFE) X(update, DICT | KD_TM_UNSAFE) X(bit_length, NUM) X(is_integer, NUM) X(conjugate, NUM) \
    X(cycle, OTHER) X(changed, OTHER) X(next, OTHER) X(reset, OTHER)
/* clang-format on */
#define KD_TM_ENUM(name, on) KD_TM_##name,
typedef enum { KD_TM_LIST_ALL(KD_TM_ENUM) KD_TM_METHODS } kd_tm_id;
int kd_tm_find(kd_str name); /* -1 */
unsigned kd_tm_on(int id);   /* the types that have it */
const char *kd_tm_name(int id);

#define KD_TFL_ALL(X)                                                                                                                      \
    X(abs)                                                                                                                                 \
    X(attr)                                                                                                                                \
    X(batch)                                                                                                                               \
    X(capitalize)                                                                                                                          \
    X(center)                                                                                                                              \
    X(count)                                                                                                                               \
    X(d)                                                                                                                                   \
    X(default)                                                                                                                             \
    X(dictsort)                                                                                                                            \
    X(e)                                                                                                                                   \
    X(escape)                                                                                                                              \
    X(filesizeformat)                                                                                                                      \
    X(first)                                                                                                                               \
    X(float)                                                                                                                               \
    X(forceescape)                                                                                                                         \
    X(format)                                                                                                                              \
    X(groupby)                                                                                                                             \
    X(indent)                                                                                                                              \
    X(int)                                                                                                                                 \
    X(join)                                                                                                                                \
    X(last)                                                                                                                                \
    X(length)                                                                                                                              \
    X(list)                                                                                                                                \
    X(lower)                                                                                                                               \
    X(items)                                                                                                                               \
    X(map)                                                                                                                                 \
    X(min)                                                                                                                                 \
    X(max)                                                                                                                                 \
    X(pprint)                                                                                                                              \
    X(random)                                                                                                                              \
    X(reject)                                                                                                                              \
    X(rejectattr)                                                                                                                          \
    X(replace)                                                                                                                             \
    X(reverse)                                                                                                                             \
    X(round)                                                                                                                               \
    X(safe)                                                                                                                                \
    X(select)                                                                                                                              \
    X(selectattr)                                                                                                                          \
    X(slice)                                                                                                                               \
    X(sort)                                                                                                                                \
    X(string)                                                                                                                              \
    X(striptags) X(sum) X(title) X(trim) X(truncate) X(unique) X(upper) X(urlencode) X(urlize) X(wordcount) X(wordwrap) X(xmlattr) X(tojson)
#define KD_TFL_ENUM(name) KD_TFL_##name,
typedef enum { KD_TFL_ALL(KD_TFL_ENUM) KD_TFL_FILTERS } kd_tfl_id;

/* ---- a run ---- */
typedef struct kd_tchunk {
    struct kd_tchunk *next;
    size_t used, cap;
    max_align_t data[];
} kd_tchunk;
enum { KD_TR_TAILS = 4, KD_TR_DEPTH = 3000, KD_TR_MACROS = 200, KD_TR_NEST = 400 };
typedef struct {
    const kd_template *t;
    const kd_template_input *in;
    kd_err *e;
    kd_code code;
    uint32_t at; /* byte of the source at work, for messages */
    size_t steps, max_steps, bytes, max_bytes, max_output;
    int depth, macros, nest;
    kd_tchunk *heap;
    struct {
        const char *end;
        size_t room;
    } tail[KD_TR_TAILS]; /* strings that may grow where they are */
    unsigned next_tail;
    kd_tval *context; /* [t->n_names] */
    size_t buffered;  /* bytes in all buffers being written */
    kd_tval piped;    /* what a filter block's first filter is given */
    kd_buf *sink;     /* where output goes */
    kd_buf root;
    kd_template_spans *spans;
} kd_trun;

bool kd_tr_fail(kd_trun *r, kd_code c, const char *fmt, ...) KD_PRINTF(3, 4);
bool kd_tr_charge(kd_trun *r, size_t steps);
void *kd_tr_alloc(kd_trun *r, size_t n);                          /* zeroed, 16-aligned; NULL after kd_tr_fail */
bool kd_tr_write(kd_trun *r, kd_buf *b, const char *s, size_t n); /* bounded */
void kd_tr_drop(kd_trun *r, kd_buf *b);                           /* clears a buffer that kd_tr_write filled */
bool kd_tr_undefined(kd_trun *r, kd_tval u);                      /* fails with what is undefined; returns false */
/* clang's analyzer does not look into other files: both return false. */
#ifdef __clang_analyzer__
#define kd_tr_fail(r, c, ...) (kd_tr_fail((r), (c), __VA_ARGS__), false)
#define kd_tr_undefined(r, u) (kd_tr_undefined((r), (u)), false)
#endif

/* ---- values ---- */
static inline kd_tval kd_tv(kd_tv_type type) { return (kd_tval){.type = (uint8_t)type}; }
static inline kd_tval kd_tv_bool(bool b) { return (kd_tval){.type = KD_TV_BOOL, .u.b = b}; }
static inline kd_tval kd_tv_int(int64_t i) { return (kd_tval){.type = KD_TV_INT, .u.i = i}; }
static inline kd_tval kd_tv_float(double f) { return (kd_tval){.type = KD_TV_FLOAT, .u.f = f}; }
static inline kd_tval kd_tv_view(const char *s, size_t n) { return (kd_tval){.type = KD_TV_STR, .u.s = s, .len = n}; }
static inline kd_tval kd_tv_lit(const char *z) { return kd_tv_view(z, __builtin_strlen(z)); }
static inline kd_str kd_tv_text(kd_tval v) { return (kd_str){v.u.s, v.len}; }
bool kd_tv_dup(kd_trun *r, kd_tval *out, const char *s, size_t n);
bool kd_tv_take(kd_trun *r, kd_tval *out, kd_buf *b);                /* a string of b's bytes; b is cleared, also on failure */
bool kd_tv_join(kd_trun *r, kd_tval *out, kd_tval a, kd_tval b);     /* a + b of strings, growing a in place where it can */
bool kd_tv_seq(kd_trun *r, kd_tval *out, kd_tv_type type, size_t n); /* n MISSING items */
bool kd_tv_undef(kd_trun *r, kd_tval *out, const char *hint);
bool kd_tv_undef_name(kd_trun *r, kd_tval *out, kd_str name);
bool kd_tv_undef_member(kd_trun *r, kd_tval *out, kd_tval obj, kd_tval name, bool unsafe);

const char *kd_tv_type_name(kd_tval v); /* Python's */
bool kd_tv_truth(kd_tval v);
bool kd_tv_same(kd_tval a, kd_tval b); /* Python's is */
bool kd_tv_eq(kd_trun *r, kd_tval a, kd_tval b, bool *eq);
bool kd_tv_less(kd_trun *r, kd_to_compare op, kd_tval a, kd_tval b, bool *yes); /* op LT LE GT GE */
bool kd_tv_in(kd_trun *r, kd_tval x, kd_tval in, bool *yes);
bool kd_tv_is_number(kd_tval v); /* bool, int, big, float */
double kd_tv_number(kd_tval v);
bool kd_tv_index(kd_tval v, int64_t *i);           /* int or bool */
bool kd_tv_len(kd_trun *r, kd_tval v, int64_t *n); /* Python's len */
bool kd_tv_has_len(kd_tval v);
/* b += str(v) or repr(v) */
bool kd_tv_print(kd_trun *r, kd_buf *b, kd_tval v);
bool kd_tv_repr(kd_trun *r, kd_buf *b, kd_tval v);
bool kd_tv_str(kd_trun *r, kd_tval *out, kd_tval v);          /* str(v); a string as it is */
size_t kd_tv_float_repr(double f, char *s);                   /* Python's repr, at most 32 bytes */
bool kd_tv_json(kd_trun *r, kd_tval *out, const kd_targs *a); /* tojson */
bool kd_tv_from_json(kd_trun *r, kd_tval *out, const kd_json_node *n);

bool kd_td_new(kd_trun *r, kd_tval *out, size_t room);
bool kd_td_set(kd_trun *r, kd_tdict *d, kd_tval key, kd_tval value); /* fails if key cannot be hashed */
bool kd_td_get(kd_trun *r, const kd_tdict *d, kd_tval key, kd_tval *out, bool *found);
bool kd_td_str(const kd_tdict *d, kd_str key, kd_tval *out); /* by string; false if absent */

/* ---- iteration ---- */
bool kd_ti_new(kd_trun *r, kd_titer **out, kd_tval v); /* Python's iter; an iterator is itself */
bool kd_ti_next(kd_trun *r, kd_titer *it, kd_tval *out, bool *more);
bool kd_ti_all(kd_trun *r, kd_tval v, kd_tval *list); /* list(v) */

/* ---- doing things ---- */
bool kd_te_eval(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out);
bool kd_te_eval_call(kd_trun *r, kd_tact *act, const kd_tnode *n, const kd_tval *caller,
                     kd_tval *out);             /* caller: of a call block, or NULL */
void kd_te_exec_root(kd_trun *r, kd_tact *act); /* the whole template; r->code says how it went */
bool kd_te_call(kd_trun *r, kd_tval f, const kd_targs *a, kd_tval *out);
bool kd_te_macro(kd_trun *r, kd_tmacro *m, const kd_targs *a, kd_tval *out);
bool kd_te_loop(kd_trun *r, kd_tloop *l, kd_tval iterable, kd_tval *out);
bool kd_te_test_item(kd_trun *r, kd_titer *it, kd_tval item, bool *keep); /* a loop's test */
bool kd_te_binary(kd_trun *r, kd_to_binary op, kd_tval a, kd_tval b, kd_tval *out);
bool kd_te_item(kd_trun *r, kd_tval obj, kd_tval key, kd_tval *out);                  /* obj[key] as the sandbox does it */
bool kd_te_attr(kd_trun *r, kd_tval obj, kd_str name, kd_tval *out);                  /* obj.name as the sandbox does it */
bool kd_te_own_attr(kd_trun *r, kd_tval obj, kd_str name, kd_tval *out, bool *found); /* getattr without falling back to obj[name] */
bool kd_te_slice(kd_trun *r, kd_tval obj, kd_tval from, kd_tval to, kd_tval step, kd_tval *out);
bool kd_te_filter(kd_trun *r, int id, kd_tval v, const kd_targs *a, kd_tval *out);
bool kd_te_list_filter(kd_trun *r, int id, const kd_targs *a, kd_tval *out); /* a->at[0] is the value; both files of filters */
bool kd_te_text_filter(kd_trun *r, int id, const kd_targs *a, kd_tval *out);
bool kd_te_test(kd_trun *r, int id, kd_tval v, const kd_targs *a, bool *yes);
bool kd_te_method(kd_trun *r, kd_tval self, int id, const kd_targs *a, kd_tval *out);
bool kd_te_str_method(kd_trun *r, kd_tval self, int id, const kd_targs *a, kd_tval *out);
bool kd_te_format(kd_trun *r, kd_tval fmt, kd_tval args, kd_tval *out);          /* fmt % args */
bool kd_te_str_format(kd_trun *r, kd_tval fmt, const kd_targs *a, kd_tval *out); /* fmt.format(...) */
bool kd_te_global(kd_trun *r, int id, const kd_targs *a, kd_tval *out);
bool kd_te_global_id(kd_str name, int *id);
/* Arguments by Python's rules into out[n], MISSING where not given. names: as in the signature, separated by spaces; "/" ends those that
 * cannot be given by name. required: how many must be there. */
bool kd_te_bind(kd_trun *r, const char *who, const kd_targs *a, const char *names, int required, kd_tval *out);
bool kd_te_attr_path(kd_trun *r, kd_tval item, kd_tval path, kd_tval fallback, kd_tval *out); /* "a.b.0" of item; fallback MISSING: none */
bool kd_te_sort(kd_trun *r, kd_tval *at, kd_tval *keys, size_t n, bool reverse);              /* stable, at by keys */

int32_t kd_tc_full(int32_t c, char how, int32_t out[3]); /* its case mapping (U L T F) into out; how many code points */
bool kd_tc_cased(int32_t c);                             /* lower, upper or title case */
bool kd_tc_lower(int32_t c);
bool kd_tc_upper(int32_t c);
bool kd_tc_ignorable(int32_t c);
bool kd_tc_is(int32_t c, int method); /* isalnum isalpha isdecimal isdigit isnumeric isprintable of one character */
/* Upper, lower and other cases as Python's str has them. */
bool kd_ts_case(kd_trun *r, kd_tval *out, kd_tval s, char how); /* U upper, L lower, T title, C capitalize, S swapcase, F casefold */
size_t kd_ts_count(kd_tval s);                                  /* code points */
size_t kd_ts_offset(kd_tval s, size_t chars);                   /* bytes before that many */
bool kd_ts_escape(kd_trun *r, kd_tval *out, kd_tval s);         /* HTML's five, marked safe */
bool kd_ts_replace(kd_trun *r, kd_tval *out, kd_tval s, kd_tval old, kd_tval new, int64_t count);
bool kd_ts_strip(kd_trun *r, kd_tval *out, kd_tval s, kd_tval chars, int sides); /* 1 left, 2 right */
bool kd_ts_lines(kd_trun *r, kd_tval *out, kd_tval s, bool keep);
bool kd_ts_pad(kd_trun *r, kd_tval *out, kd_tval s, int64_t width, kd_str fill, char how); /* < > ^ as str.ljust, rjust, center */
size_t kd_ts_find(kd_str s, kd_str what, size_t from);                                     /* byte, or SIZE_MAX */

#endif
