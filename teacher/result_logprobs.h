/* teacher/result_logprobs.h - log-probabilities of the engine's results in the form that a study keeps. Leans on distill/engine, datasets/logprobs.h. */
#ifndef KD_TEACHER_RESULT_LOGPROBS_H
#define KD_TEACHER_RESULT_LOGPROBS_H

#include "datasets/logprobs.h"
#include "distill/engine/engine.h"

/* out += r's log-probabilities, packed (kd_logprobs_pack, step as there): a member for each token drawn, as llama.cpp's server writes them, id, token, bytes, logprob,
 * top_logprobs of the same without the last; none is -9999. Nothing where r has none. Errors: KD_ENOMEM. */
kd_code kd_result_logprobs(kd_buf *out, const kd_result *r, const kd_tokenizer *t, double step, kd_err *e);

#endif
