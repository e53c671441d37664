/* distill/model/tokenizer.h - text to token ids and back, exactly as Hugging Face's `tokenizers` does it: byte-level BPE and SentencePiece BPE
 * with byte fallback. Leans on source.h, format/gguf.h. (Chat templates are chat.h's.)
 * Opened from a Hugging Face folder (tokenizer.json, and what tokenizer_config.json, special_tokens_map.json, generation_config.json and
 * config.json say of special tokens) or from the tokenizer.ggml.* keys of a GGUF. What such a file asks for and we lack is refused by name.
 * An open tokenizer is never changed: every call may run on many threads at once. */
#ifndef KD_MODEL_TOKENIZER_H
#define KD_MODEL_TOKENIZER_H

#include "distill/format/gguf.h"
#include "distill/model/source.h"

typedef struct kd_tokenizer kd_tokenizer;

/* Errors: KD_ENOENT; KD_EFORMAT; KD_EUNSUPPORTED names the feature; KD_ENOMEM, KD_EIO. Then *out = NULL. */
kd_code kd_tokenizer_open(kd_tokenizer **out, const char *path, kd_err *e); /* anything kd_source_resolve takes */
kd_code kd_tokenizer_open_folder(kd_tokenizer **out, const char *dir, kd_err *e);
kd_code kd_tokenizer_open_gguf(kd_tokenizer **out, const kd_gguf *g, kd_err *e); /* g may be closed afterwards */
/* From the text of a tokenizer.json and, unless empty, of a tokenizer_config.json. what names it in messages. */
kd_code kd_tokenizer_open_json(kd_tokenizer **out, kd_str json, kd_str config, const char *what, kd_err *e);
void kd_tokenizer_free(kd_tokenizer *t);

/* Growable ids; {0} is empty. */
typedef struct {
    int32_t *id;
    size_t n, cap;
} kd_ids;
kd_code kd_ids_push(kd_ids *v, int32_t id);
void kd_ids_clear(kd_ids *v); /* frees; v is {0} */

enum {
    KD_TOK_ADD_SPECIAL = 1,   /* what the model adds around a text (bos and the like) */
    KD_TOK_PARSE_SPECIAL = 2, /* control tokens in the text become themselves; without it they are plain text, and no id of a control token
                                 comes out but the unknown token and what ADD_SPECIAL adds */
    KD_TOK_SKIP_SPECIAL = 4   /* decoding: leave control tokens out */
};
/* out += the ids of text[0..len), which may be any bytes: U+0000 counts as a character, malformed UTF-8 as U+FFFD (Python's
 * errors='replace'). Time is linear in len but for a logarithm. Errors: KD_ENOMEM; KD_ELIMIT (a foreign regular expression that runs
 * away); KD_EFORMAT (an unknown token that the vocabulary lacks). Then out is as before. Test: tests/distill/model/test_tokenizer.c */
kd_code kd_tokenizer_encode(const kd_tokenizer *t, kd_ids *out, const char *text, size_t len, unsigned flags, kd_err *e);
/* out += the text of ids, always valid UTF-8 (broken bytes become U+FFFD). Ids without a token stand for nothing. */
kd_code kd_tokenizer_decode(const kd_tokenizer *t, kd_buf *out, const int32_t *ids, size_t n, unsigned flags, kd_err *e);

/* Decoding as ids arrive: out += what is certain now, never half a character. All pieces joined are what kd_tokenizer_decode gives of all ids. */
typedef struct kd_detokenizer kd_detokenizer;
kd_code kd_detokenizer_new(kd_detokenizer **out, const kd_tokenizer *t, unsigned flags, kd_err *e); /* t must outlive it */
kd_code kd_detokenizer_push(kd_detokenizer *d, int32_t id, kd_buf *out, kd_err *e);
kd_code kd_detokenizer_end(kd_detokenizer *d, kd_buf *out, kd_err *e); /* the rest; then d is as new */
void kd_detokenizer_free(kd_detokenizer *d);

/* The vocabulary. Ids run from 0 to size-1; there may be holes (text.data NULL). The model's embedding may have more rows. */
size_t kd_tokenizer_size(const kd_tokenizer *t);
typedef enum { /* GGUF's numbers */
               KD_TOKEN_NONE = 0,
               KD_TOKEN_NORMAL = 1,
               KD_TOKEN_UNKNOWN = 2,
               KD_TOKEN_CONTROL = 3,
               KD_TOKEN_USER = 4,
               KD_TOKEN_UNUSED = 5,
               KD_TOKEN_BYTE = 6
} kd_token_type;
typedef struct {
    kd_str text; /* as the vocabulary writes it: byte-level alphabet or U+2581 for a space; added tokens literally */
    kd_token_type type;
    float score; /* SentencePiece: as the file has it, or made from the merges (higher merges first); 0 for byte-level */
    bool added, special, lstrip, rstrip, normalized, single_word; /* flags of an added token */
} kd_token;
kd_token kd_tokenizer_token(const kd_tokenizer *t, int32_t id);                        /* views; all zero for no token */
int32_t kd_tokenizer_find(const kd_tokenizer *t, kd_str text);                         /* by that text, added tokens first; -1 */
kd_code kd_tokenizer_piece(const kd_tokenizer *t, int32_t id, kd_buf *out, kd_err *e); /* out += the token's own bytes, unchecked */

typedef struct {
    int32_t bos, eos, unk, pad, sep, mask; /* -1 = none */
    int32_t eot, eom;                      /* ends a turn, a message (tool calls); -1 */
    const int32_t *eog;                    /* every token after which generation ends: eos, eot, eom, those generation_config names, and the
                                              control tokens known by their text (<|im_end|>, <|eot_id|>, <|endoftext|>, ...); ascending */
    size_t eogs;
    bool add_bos, add_eos; /* ADD_SPECIAL puts bos first, eos last */
} kd_specials;
const kd_specials *kd_tokenizer_specials(const kd_tokenizer *t);
bool kd_tokenizer_is_eog(const kd_tokenizer *t, int32_t id);

/* What a converter writes on. */
typedef enum { KD_TOKENIZER_BPE, KD_TOKENIZER_SPM } kd_tokenizer_kind; /* tokenizer.ggml.model "gpt2", "llama" */
kd_tokenizer_kind kd_tokenizer_kind_of(const kd_tokenizer *t);
const char *kd_tokenizer_pre(const kd_tokenizer *t);   /* tokenizer.ggml.pre: "llama-bpe", "qwen2", ...; NULL where no known name fits */
bool kd_tokenizer_space_prefix(const kd_tokenizer *t); /* tokenizer.ggml.add_space_prefix */
size_t kd_tokenizer_merges(const kd_tokenizer *t);     /* best first */
bool kd_tokenizer_merge(const kd_tokenizer *t, size_t i, kd_str *left, kd_str *right);
/* out += tokenizer.json (as it was read, where it came from one) and tokenizer_config.json (without chat_template unless read with one). */
kd_code kd_tokenizer_write_json(const kd_tokenizer *t, kd_buf *out, kd_err *e);
kd_code kd_tokenizer_write_config(const kd_tokenizer *t, kd_buf *out, kd_err *e);
/* Sets every tokenizer.ggml.* key (not the chat template); rows = the embedding's, >= size: holes and the rest become unused tokens.
 * Errors: KD_EUNSUPPORTED when GGUF has no words for this tokenizer (its pre-tokenizer or normalizer has no known name). */
kd_code kd_tokenizer_write_gguf(const kd_tokenizer *t, kd_gguf_writer *w, size_t rows, kd_err *e);

#endif
