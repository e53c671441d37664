/* distill/model/extend.h - gives a model what it lacks to be a chat model: new tokens, an end of turn, a chat template, another rope base.
 * The new rows of the embedding and of an untied head start at the mean of the rows that stand for tokens; all else stays as stored. What comes of it
 * is a model of its own, of the source's kind: a Hugging Face folder, or a GGUF file. Leans on model.h, tokenizer.h, chat.h, format. */
#ifndef KD_MODEL_EXTEND_H
#define KD_MODEL_EXTEND_H

#include "distill/model/chat.h"
#include "distill/model/model.h"
#include "distill/model/tokenizer.h"

typedef struct {
    const char
        *tokens; /* "<|im_start|>,<|im_end|>,<think>": parted by commas; those that the vocabulary has already stay as they are; or NULL */
    const char *eos;           /* the token that ends a turn and a generation; or NULL: as it is */
    const char *template_file; /* or NULL: the model's own */
    double rope_theta;         /* 0: as it is */
} kd_extend_options;

typedef struct kd_extension {
    kd_tokenizer *tokenizer; /* with the new tokens */
    kd_chat *chat;           /* with the template, and eos_token as it is now */
    uint32_t V;              /* rows of the embedding, then */
    uint32_t first, n;       /* ids of the new tokens: first .. first + n; n may be 0 */
    uint32_t known;          /* tokens asked for that were there already */
    int32_t eos;             /* id, or -1 where it stays */
    bool has_template;       /* one is installed */
    double rope_theta;
    uint64_t bytes; /* that writing takes on disk, nearly; weights that need no change are linked, not copied, where the disk lets them */
    kd_buf json, config;          /* tokenizer.json, tokenizer_config.json */
    struct kd_extend_mean *means; /* private */
} kd_extension;

/* m is opened from a folder or a GGUF file (not a run). A token of the form <|...|>, and eos, is a control token (never made of plain text); any other is found
 * in plain text too. Errors: KD_EINVAL eos is no token, a rope base out of range; KD_EUNSUPPORTED the vocabulary or a stored type cannot take
 * them; those of tokenizer, chat, files. Then *out = NULL. Test: tests/distill/model/test_extend.c */
kd_code kd_extension_new(kd_extension **out, const kd_model *m, const kd_extend_options *o, kd_err *e);
void kd_extension_free(kd_extension *x);
/* dst (a folder or a .gguf file, as m is) appears whole. Every tensor but embedding and head has the source's bytes. */
kd_code kd_extension_write(const kd_extension *x, const kd_model *m, const char *dst, kd_err *e);

/* Writes what a model's user needs besides weights into dir (made if absent): tokenizer.json, tokenizer_config.json, chat_template.jinja and the like,
 * copied from a folder, or made of a GGUF's keys. A model that has no tokenizer leaves none. */
kd_code kd_words_copy(const kd_model *m, const char *dir, kd_err *e);

#endif
