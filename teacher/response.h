/* teacher/response.h - what an OpenAI-compatible endpoint answered: a chat completion, whole or as a stream of server-sent events. Leans on prices.h,
 * datasets/study.h. */
#ifndef KD_TEACHER_RESPONSE_H
#define KD_TEACHER_RESPONSE_H

#include "datasets/study.h"
#include "teacher/prices.h"

typedef struct {
    kd_buf thought, answer; /* owned */
    kd_thought_from thought_from;
    char finish[64]; /* as it came, whatever it is; "" if none */
    char model[96];  /* who says it answered */
    kd_usage usage;
    int choices;     /* how many the body has */
    bool refusal;    /* the message was a refusal */
    bool tool_calls; /* it asks for tools (the body has what for) */
    bool empty;      /* it ended, with a finish reason, and said nothing */
    kd_buf logprobs; /* {"token":...} array as it came, JSON text; empty if none */
} kd_response;

/* body: the text of the answer with status 200. stream: it is text/event-stream. choice: which, from 0, where several were asked for.
 * Errors: KD_EFORMAT, the reason in words fit for a table of attempts: not JSON, an error object inside, no such choice, nothing said and no finish reason, a stream
 * that ended without a finish reason. usage is filled as far as it was found even then. Then r is cleared but for the token counts. */
kd_code kd_response_parse(kd_response *r, kd_str body, bool stream, int choice, kd_err *e);
/* Puts prefill, which the conversation ended with, before what was said, unless the endpoint repeated it; a thought that it opened is found. */
kd_code kd_response_prefill(kd_response *r, const char *prefill, kd_err *e);
/* A stream so far: has it begun to say something (a delta that is not empty)? */
bool kd_response_began(kd_str body);
/* out += the body with null in the place of every list of log-probabilities: what is left to keep where these are kept by themselves. */
kd_code kd_response_rest(kd_buf *out, kd_str body, kd_err *e);
void kd_response_clear(kd_response *r);

/* The message of an error body, cut to fit: error.message, error (text), message, detail; else the first bytes of the body, printable. */
void kd_response_error(char *out, size_t n, kd_str body);

#endif
