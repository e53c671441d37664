/* teacher/response.h - what an OpenAI-compatible endpoint answered: a chat completion, whole or as a stream of server-sent events. Leans on base, datasets/study.h. */
#ifndef KD_TEACHER_RESPONSE_H
#define KD_TEACHER_RESPONSE_H

#include "datasets/study.h"

typedef struct {
    kd_buf thought, answer; /* owned */
    kd_thought_from thought_from;
    char finish[32];                                                           /* as it came; "" if none */
    char model[96];                                                            /* who says it answered */
    int64_t prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens; /* -1 unknown */
    bool refusal;                                                              /* the message was a refusal */
    bool tool_calls;                                                           /* it asks for tools (the body has what for) */
    bool empty;                                                                /* it ended, with a finish reason, and said nothing */
    kd_buf logprobs; /* {"token":...} array as it came, JSON text; empty if none */
} kd_response;

/* body: the text of the answer with status 200. stream: it is text/event-stream.
 * Errors: KD_EFORMAT, the reason in words fit for a table of attempts: not JSON, an error object inside, no choices, nothing said and no finish reason, a stream that ended
 * without a finish reason. usage is filled as far as it was found even then. Then r is cleared but for the token counts. */
kd_code kd_response_parse(kd_response *r, kd_str body, bool stream, kd_err *e);
void kd_response_clear(kd_response *r);

/* The message of an error body, cut to fit: error.message, error (text), message, detail; else the first bytes of the body, printable. */
void kd_response_error(char *out, size_t n, kd_str body);

#endif
