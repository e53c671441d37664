/* datasets/render.h - a conversation as text and tokens, and as a lesson: tokens with the flag of which to learn. Leans on
 * model/chat.h, model/tokenizer.h, study.h.
 * A lesson is the prompt, rendered with the generation prompt; then what the model would have written, thoughts included; then the token
 * that ends its turn. So a template that drops earlier thoughts drops none of the lesson's. */
#ifndef KD_DATASETS_RENDER_H
#define KD_DATASETS_RENDER_H

#include "datasets/study.h"
#include "distill/model/chat.h"

typedef struct kd_tokenizer kd_tokenizer;
typedef struct {
    const kd_chat *chat;
    const kd_tokenizer *tokenizer;
    const kd_json_node *tools, *documents, *extra; /* where the conversation brings none of its own; NULL: none */
    int64_t now;                                   /* see kd_template_input */
} kd_render;

/* One thing to learn from. Arrays are the lesson's own. */
typedef struct {
    int32_t *tokens; /* [n] */
    uint8_t *loss;   /* [n] 1 = predicting this token counts */
    size_t n, n_loss;
    size_t row;      /* where it came from: line of its file from 1, or sample id of its study */
    float weight;    /* of its loss; 1 */
    uint16_t source; /* which of several sources it is of; 0 */
} kd_lesson;
void kd_lesson_clear(kd_lesson *l);

/* What a lesson could not take along. Counts add up over calls. */
typedef struct {
    size_t lessons;       /* made */
    size_t turns;         /* assistant turns that carry loss */
    size_t turns_without; /* assistant turns whose rendering is no stable prefix: present, but not learned */
    size_t empty;         /* nothing to learn in it: no lesson */
    size_t tokens, loss_tokens;
} kd_render_counts;

/* conversation: {"messages":[...], "tools":[...]?, "documents":[...]?, "chat_template_kwargs":{...}?, "add_generation_prompt":true?}.
 * *text += the template's own output, and *tokens (or NULL) its n ids, control tokens of the template recognised (kd_free).
 * Errors: those of kd_template_render and of the tokenizer. */
kd_code kd_render_chat(kd_buf *text, int32_t **tokens, size_t *n, const kd_render *r, const kd_json_node *conversation, kd_err *e);

/* The prompt of a conversation, ready for generation: as above with add_generation_prompt, its last assistant turn cut off if it ends with one.
 * *opened: it ends inside a thought ("<think>" is the prompt's own). */
kd_code kd_render_prompt(kd_buf *text, int32_t **tokens, size_t *n, bool *opened, const kd_render *r, const kd_json_node *conversation,
                         kd_err *e);

/* One lesson of a line: {"messages":[...]} | {"prompt":...,"completion":...} (text, or messages both) | {"tokens":[...],"loss":[0|1 ...]}.
 * text (or NULL) += what the tokens spell as rendered. out->n = 0 and counts->empty where there is nothing to learn.
 * Errors: KD_EFORMAT names the member at fault. Test: tests/datasets/test_render.c */
kd_code kd_render_lesson(kd_lesson *out, kd_buf *text, kd_render_counts *counts, const kd_render *r, const kd_json_node *line, kd_err *e);

/* One lesson of a stored sample: messages (JSON text of the conversation up to the answer), tools (JSON text or empty), and the raw completion, as
 * kd_completion gives it back. ended: the answer ran to its end, so the token that ends the turn follows and is learned. */
kd_code kd_render_sample(kd_lesson *out, kd_buf *text, kd_render_counts *counts, const kd_render *r, kd_str messages, kd_str tools,
                         kd_str completion, bool ended, kd_err *e);

/* The token that ends an assistant turn of this template (found by rendering), or -1. */
kd_code kd_render_turn_end(int32_t *token, const kd_render *r, kd_err *e);

/* As above, but sure: the template itself writes that token behind an answer, or writes nothing there and the tokenizer's end of text stands in. Errors:
 * KD_EUNSUPPORTED what it writes is no token of the model (a base model that was never told), or there is no end at all: the message says so. */
kd_code kd_render_check_end(int32_t *token, const kd_render *r, kd_err *e);

/* Many lessons in memory, in order. */
typedef struct {
    kd_lesson *at;
    size_t n, cap;
} kd_lessons;
void kd_lessons_clear(kd_lessons *l);
/* Every line of FILE.jsonl[.gz] ("-" = standard input); r may be NULL if the lines hold tokens. vocab > 0: ids must be below it.
 * Errors: KD_EFORMAT with file and line. */
kd_code kd_lessons_read(kd_lessons *l, kd_render_counts *counts, const char *path, const kd_render *r, uint32_t vocab, kd_err *e);
/* Takes lesson's arrays. */
kd_code kd_lessons_add(kd_lessons *l, kd_lesson *lesson, kd_err *e);
/* The row of a selection as a lesson, its thought put back; the end of the turn is learned unless it finished for another reason than "stop" or
 * "eos" (NULL counts as ended). row = the sample's id. */
kd_code kd_render_row(kd_lesson *out, kd_buf *text, kd_render_counts *counts, const kd_render *r, const kd_row *row, kd_err *e);
/* Every row of the selection, in its order. */
kd_code kd_lessons_select(kd_lessons *l, kd_render_counts *counts, kd_select *q, const kd_render *r, kd_err *e);

#endif
