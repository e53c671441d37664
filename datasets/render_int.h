/* datasets/render_int.h - what the files render*.c share. Leans on render.h, model/tokenizer.h. */
#ifndef KD_DATASETS_RENDER_INT_H
#define KD_DATASETS_RENDER_INT_H

#include "datasets/render.h"
#include "distill/model/tokenizer.h"

/* The template over a conversation's messages but the last leave_out. */
kd_code kd_render_text(kd_buf *out, const kd_render *r, const kd_json_node *conversation, size_t leave_out, bool generate, kd_err *e);

/* How an assistant turn stands in the template: white space before and behind it, and the token that ends it. */
typedef struct {
    char *before, *behind; /* "" mostly */
    int32_t end;           /* -1: none */
} kd_turn;
/* As it would be for the message at number at of the conversation, whose prompt is prompt. */
kd_code kd_turn_find(kd_turn *t, const kd_render *r, const kd_json_node *conversation, size_t at, kd_str prompt, kd_err *e);
void kd_turn_clear(kd_turn *t);

/* True if a prompt ends inside a thought: with "<think>" and at most white space. */
bool kd_render_opened(kd_str prompt);
/* out += the completion as it stands behind that prompt: the opening tag not twice and not missing, the turn's white space around. */
kd_code kd_render_fit(kd_buf *out, kd_str completion, kd_str prompt, const kd_turn *t, bool ended, kd_err *e);
/* out += ids of a piece of text in the middle of another, no control tokens in it but the first pair of thinking tags. */
kd_code kd_render_encode(kd_ids *out, const kd_render *r, kd_str text, bool parse_special, kd_err *e);
/* out = prompt's ids, the completion's with loss, the end's with loss (end -1: none). text (or NULL) += what they spell. */
kd_code kd_render_join(kd_lesson *out, kd_buf *text, const kd_render *r, kd_str prompt, kd_str completion, int32_t end, kd_err *e);

#endif
