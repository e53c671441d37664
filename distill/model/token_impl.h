/* distill/model/token_impl.h - what the token_*.c files share; nobody else includes it. Leans on base, tokenizer.h.
 * A tokenizer is a row of stages, as tokenizer.json has them: added tokens are cut out of the text, what lies between is normalized, cut into
 * words by pre-tokenizers, and each word becomes ids by byte-pair merges. Decoding is a row of stages too. */
#ifndef KD_MODEL_TOKEN_IMPL_H
#define KD_MODEL_TOKEN_IMPL_H

#include "distill/base/json.h"
#include "distill/base/regex.h"
#include "distill/base/utf8.h"
#include "distill/model/tokenizer.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

enum {
    TOK_IDS_MAX = 1 << 21,  /* ids of a small file lie below this (a large one may have 4 a token): memory is laid out by id */
    TOK_STAGES_MAX = 32,    /* of one kind, Sequences flattened */
    TOK_TEXT_MAX = 1 << 29, /* bytes of one text */
    TOK_REGEX_MAX = 1 << 20 /* bytes of an expression with its classes spelled out */
};

/* ---- code points (token_class.c) ---- */

enum {
    TC_L = 1,
    TC_N = 2,
    TC_M = 4,
    TC_P = 8,
    TC_S = 16,
    TC_SPACE = 32,
    TC_WORD = 64 /* Rust's \w */,
    TC_NEW = 128 /* not in Unicode 9 */
};
extern uint8_t kd_tok_class[0x110000]; /* filled by kd_tok_class_init, as Oniguruma's Unicode has them */
void kd_tok_class_init(void);
bool kd_tok_numeric(uint32_t cp); /* Rust's char::is_numeric */
bool kd_tok_punct(uint32_t cp);   /* what the Punctuation pre-tokenizer takes */
/* out += ranges of a class for PCRE2's [...]: a category ("L", "Lu", "^L" for all others, "Han"), "s", "w" ("^s", "^w" the others).
 * *known = false for another name. */
kd_code kd_tok_class_ranges(kd_buf *out, kd_str name, bool *known);

/* A code point of valid UTF-8. */
static inline uint32_t tok_cp(const unsigned char *p, size_t *len) {
    if (p[0] < 0x80) {
        *len = 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *len = 2;
        return (uint32_t)((p[0] & 0x1f) << 6 | (p[1] & 0x3f));
    }
    if (p[0] < 0xf0) {
        *len = 3;
        return (uint32_t)((p[0] & 0xf) << 12 | (p[1] & 0x3f) << 6 | (p[2] & 0x3f));
    }
    *len = 4;
    return (uint32_t)((p[0] & 7) << 18 | (p[1] & 0x3f) << 12 | (p[2] & 0x3f) << 6 | (p[3] & 0x3f));
}
/* The start of the code point that ends before i > 0. */
static inline size_t tok_back(const char *s, size_t i) {
    do i--;
    while (((unsigned char)s[i] & 0xc0) == 0x80);
    return i;
}

/* ---- vocabulary (token_vocab.c) ---- */

enum {
    TF_ADDED = 1,
    TF_SPECIAL = 2,
    TF_LSTRIP = 4,
    TF_RSTRIP = 8,
    TF_NORMALIZED = 16,
    TF_SINGLE = 32,
    TF_SKIP = 64 /* left out by SKIP_SPECIAL */
};
typedef struct {
    kd_str model, added; /* data NULL where the id has no such text */
    kd_str shown;        /* what decoding makes of an added token: its normalized text, where it is matched normalized */
    float score;
    uint8_t type, flags;
} tok_entry;

typedef struct { /* one place of a map: what a look needs lies in one cache line */
    kd_str key;
    uint32_t tag;
    int32_t id; /* -1 = free */
} tok_place;
typedef struct { /* text -> id, open addressing; the text of an id is found through the callers' get */
    tok_place *slot;
    size_t mask, n;
    uint64_t seed;
} tok_map;
kd_code kd_tok_map_init(tok_map *m, size_t expect, uint64_t seed);
void kd_tok_map_put(tok_map *m, kd_str key, int32_t id);           /* key stays borrowed; an equal key is replaced; room was made by init */
int32_t kd_tok_map_get(const tok_map *m, const char *s, size_t n); /* -1: not there */
void kd_tok_map_clear(tok_map *m);

typedef struct {
    int32_t left, right;
} tok_merge;
typedef struct {
    uint64_t key;
    uint32_t rank;
    int32_t made;
} tok_pair; /* key = left << 32 | right, all ones = free */
#define TOK_NO_RANK 0xffffffffu

/* ---- stages ---- */

typedef enum { SM_SCAN, SM_REGEX, SM_LITERAL, SM_CHAR } tok_match_kind;
/* A match that begins at i < n exactly, never empty; or false and *end, up to which none begins. */
typedef bool tok_scan_fn(const unsigned char *s, size_t n, size_t i, size_t *end);
typedef bool tok_char_fn(uint32_t cp);
typedef struct { /* what Split and Replace look for */
    tok_match_kind kind;
    tok_scan_fn *scan;
    tok_char_fn *is; /* SM_CHAR: one matching code point; NULL: the code point cp */
    uint32_t cp;
    kd_str text;   /* SM_LITERAL; SM_REGEX: in PCRE2's words */
    kd_str source; /* of a regular expression: as the file has it */
    size_t regex;  /* SM_REGEX: which of a workspace's */
} tok_pattern;

typedef enum { SB_ISOLATED, SB_REMOVED, SB_CONTIGUOUS, SB_PREVIOUS, SB_NEXT } tok_behavior;
/* ByteLevel is up to three stages (prefix, split, map), Metaspace two (rewrite, split). */
typedef enum { ST_SPLIT, ST_PREFIX_SPACE, ST_MAP_BYTES, ST_METASPACE } tok_pre_kind;
typedef struct {
    tok_pre_kind kind;
    tok_pattern pattern; /* SPLIT */
    tok_behavior behavior;
    bool invert;
    kd_str replacement; /* METASPACE: one character */
    enum { MS_ALWAYS, MS_FIRST, MS_NEVER } scheme;
} tok_pre;

typedef enum { NM_FORM, NM_LOWER, NM_REPLACE, NM_PREPEND, NM_STRIP, NM_ACCENTS, NM_BYTE_LEVEL } tok_norm_kind;
typedef struct {
    tok_norm_kind kind;
    kd_normal_form form;
    tok_pattern pattern; /* REPLACE */
    kd_str content;      /* REPLACE, PREPEND */
    bool left, right;    /* STRIP */
} tok_norm;

typedef enum { DC_BYTE_LEVEL, DC_BYTE_FALLBACK, DC_REPLACE, DC_FUSE, DC_STRIP, DC_METASPACE } tok_dec_kind;
typedef struct {
    tok_dec_kind kind;
    tok_pattern pattern;
    kd_str content;     /* REPLACE; STRIP and METASPACE: one character */
    size_t start, stop; /* STRIP */
    bool drop_first;    /* METASPACE */
} tok_dec;

/* ---- matching of added tokens (token_added.c) ---- */

typedef struct {
    uint32_t child, next;
    int32_t id;
    unsigned char byte;
} tok_node; /* first child, next sibling; 0 = none; id -1 = inner */
typedef struct {
    tok_node *node;
    size_t n, cap;
    uint32_t root[256]; /* child of the root by byte, 0 = none */
    int one;            /* the only first byte, or -1 */
} tok_trie;
kd_code kd_tok_trie_put(tok_trie *t, kd_str text, int32_t id, kd_err *e); /* the first of equal texts stays */
void kd_tok_trie_clear(tok_trie *t);

/* ---- scratch of one call (token_bpe.c) ---- */

typedef struct {
    uint32_t tag, at;
} tok_slot;
typedef struct { /* words met before, with their ids */
    tok_slot *slot;
    uint32_t *store; /* records: length | ids << 16, ids, bytes */
    size_t used, cap, words;
} tok_cache;

typedef struct {
    int32_t id, prev, next, made;
    uint32_t rank;
} tok_symbol;
typedef struct tok_work {
    struct tok_work *next;
    tok_cache cache[2]; /* [1]: while control tokens are forbidden, where that matters */
    tok_symbol *symbol;
    size_t symbols, symbol_cap;
    uint64_t *heap;
    size_t heap_n, heap_cap;
    kd_buf clean, norm[2], level[TOK_STAGES_MAX], letter;
    size_t made, limit; /* bytes that stages have made of a text, and may */
    kd_regex **regex;
    size_t regexes;
} tok_work;

typedef struct { /* one encode */
    const kd_tokenizer *t;
    tok_work *w;
    kd_ids *out;
    bool forbid; /* control tokens are plain text */
    kd_err *e;
} tok_call;

struct kd_tokenizer {
    kd_arena arena;
    kd_buf json, config; /* as read; json empty when it came from a GGUF */
    char *what;
    kd_tokenizer_kind kind;
    const char *pre_name;
    bool space_prefix;

    tok_entry *entry;
    size_t size;
    tok_map by_text; /* the model's vocabulary */
    bool no_twins;   /* no two entries of by_text have the same text */
    tok_map by_added;
    tok_map by_bytes;     /* raw mode with ignore_merges: the same with the byte-level alphabet undone */
    int32_t byte_id[256]; /* raw mode: id of each byte, -1 = none; otherwise of <0xNN> */
    tok_merge *merge;
    size_t merges;
    tok_pair *pair;
    size_t pair_mask;
    uint64_t seed;
    int32_t *added; /* ids of added tokens in matching order: special ones first */
    size_t nadded;

    bool from_gguf, prefix_first;
    bool raw; /* words are matched as bytes: the byte-level alphabet is the last stage */
    bool ignore_merges, fuse_unk, byte_fallback, has_unk;
    kd_str unk, subword_prefix, word_suffix;
    int32_t unk_id; /* -1: the vocabulary lacks it */
    bool wary;      /* forbidding control tokens changes what words become */

    tok_norm norm[TOK_STAGES_MAX];
    tok_pre pre[TOK_STAGES_MAX];
    tok_dec dec[TOK_STAGES_MAX];
    size_t norms, pres, decs;
    bool has_decoder;
    kd_ids before, after; /* what the post-processor puts around */
    tok_trie raw_trie, norm_trie;
    kd_str regex_text[3 * TOK_STAGES_MAX];
    size_t regexes;

    kd_specials special;
    kd_ids eog;

    pthread_mutex_t lock; /* guards idle */
    tok_work *idle;
    bool locked; /* lock was made */
};

kd_code kd_tok_work_get(const kd_tokenizer *t, tok_work **out, kd_err *e);
void kd_tok_work_put(const kd_tokenizer *t, tok_work *w);
void kd_tok_work_free(tok_work *w);
/* For a text of n bytes; and for n bytes more that a stage has made of it: KD_ELIMIT where stages multiply without end. */
void kd_tok_work_begin(tok_work *w, size_t n);
kd_code kd_tok_work_made(tok_work *w, size_t n, kd_err *e);
kd_code kd_tok_word(tok_call *c, const char *s, size_t n); /* ids of one word */

kd_code kd_tok_enomem(kd_err *e);
#ifdef __clang_analyzer__ /* as kd_fail of err.h */
#define kd_tok_enomem(e) (kd_tok_enomem(e), KD_ENOMEM)
#endif

/* token_vocab.c: after entries, merges and stages are known */
kd_code kd_tok_entry_reserve(kd_tokenizer *t, size_t size, kd_err *e);
kd_code kd_tok_vocab_index(kd_tokenizer *t, kd_err *e); /* by_text from entry[].model, unused ones left out */
kd_code kd_tok_merges_reserve(kd_tokenizer *t, size_t n, kd_err *e);
enum { TOK_AT_ONCE = 16 };
/* Merges i .. i + n, n <= TOK_AT_ONCE: their lookups go on side by side, where each would wait for memory. */
kd_code kd_tok_merge_set(kd_tokenizer *t, size_t i, const kd_str *left, const kd_str *right, size_t n, kd_err *e);
int32_t kd_tok_merge_made(const kd_tokenizer *t, size_t i);
kd_code kd_tok_finish(kd_tokenizer *t, kd_err *e);     /* pairs, raw mode, tries, specials' flags */
bool kd_tok_byte_of(uint32_t cp, unsigned char *byte); /* the byte-level alphabet */
extern const uint16_t kd_tok_byte_char[256];
kd_code kd_tok_unmap(kd_buf *out, kd_str text, bool *whole); /* *whole = false, out as before: a character outside it */

/* token_scan.c */
tok_scan_fn *kd_tok_scanner(kd_str pattern); /* hand-written matcher of a well-known expression, or NULL */
extern tok_scan_fn kd_tok_scan_gpt2, kd_tok_scan_digit;
/* token_regex.c */
kd_code kd_tok_regex_translate(kd_buf *out, kd_str onig, kd_err *e); /* Oniguruma's (Ruby) words into PCRE2's */
kd_code kd_tok_pattern_regex(kd_tokenizer *t, tok_pattern *p, kd_str onig, bool scanners, kd_err *e);
/* Segments of s by p, as `tokenizers` finds them: fn gets each with whether it matched; empty matches included. */
typedef kd_code tok_segment_fn(void *ctx, size_t start, size_t end, bool match);
kd_code kd_tok_segments(tok_work *w, const tok_pattern *p, const char *s, size_t n, tok_segment_fn *fn, void *ctx, kd_err *e);
/* token_split.c, token_norm.c */
kd_code kd_tok_pre(tok_call *c, size_t stage, const char *s, size_t n, bool first);
kd_code kd_tok_norm_run(const kd_tokenizer *t, tok_work *w, const char **s, size_t *n, bool *first, kd_err *e);
/* token_added.c: the text between added tokens goes to fn, their ids to out */
typedef kd_code tok_between_fn(tok_call *c, const char *s, size_t n, bool first);
kd_code kd_tok_added_split(tok_call *c, const tok_trie *trie, const char *s, size_t n, bool first, tok_between_fn *fn);
/* token_parts.c: stages out of tokenizer.json */
kd_code kd_tok_parse_normalizer(kd_tokenizer *t, const kd_json_node *n, kd_err *e);
kd_code kd_tok_parse_pre(kd_tokenizer *t, const kd_json_node *n, kd_err *e);
kd_code kd_tok_parse_decoder(kd_tokenizer *t, const kd_json_node *n, kd_err *e);
kd_code kd_tok_parse_post(kd_tokenizer *t, const kd_json_node *n, kd_err *e);
/* dir: the folder whose other files are asked too, or NULL */
kd_code kd_tok_open(kd_tokenizer **out, kd_str json, kd_str config, const char *dir, const char *what, kd_err *e);
kd_code kd_tok_new(kd_tokenizer **out, const char *what, kd_err *e);
kd_str kd_tok_keep(kd_tokenizer *t, kd_str s); /* a copy in the arena; data NULL = no memory */
/* token_pre.c: GGUF's names of pre-tokenizers */
kd_code kd_tok_pre_set(kd_tokenizer *t, kd_str name, kd_err *e); /* stages of a byte-level tokenizer */
const char *kd_tok_pre_name(const kd_tokenizer *t);              /* the name of the stages that t has; NULL if there is none */
void kd_tok_pre_write(const kd_tokenizer *t, kd_jsonw *w);       /* normalizer and pre_tokenizer of tokenizer.json */
void kd_tok_write_byte_level(kd_jsonw *w, bool prefix_space, bool regex);
/* token_special.c */
kd_code kd_tok_special_finish(kd_tokenizer *t, kd_err *e); /* eot, eom and eog by text */
kd_code kd_tok_special_config(kd_tokenizer *t, const char *dir,
                              kd_err *e); /* what the other files of a folder say; dir NULL: t->config alone */

#endif
