/* convert/modelfile.h - a Modelfile for Ollama beside a GGUF file. Leans on model/chat.h, model/tokenizer.h. */
#ifndef KD_CONVERT_MODELFILE_H
#define KD_CONVERT_MODELFILE_H

#include "distill/base/mem.h"

/* *out += FROM, TEMPLATE and the stops for the model at gguf, named as it will lie beside it. The template is found by rendering the model's
 * own: what its text is before and behind each role's turn; it is written only if, put together again, it gives what the model's own renders for
 * conversations with and without a system prompt. *warn += what it does not say (a line each), empty if it says all.
 * Errors: those of opening; KD_ENOMEM. Test: tests/convert/test_modelfile.c */
kd_code kd_modelfile(kd_buf *out, kd_buf *warn, const char *gguf, const char *name, kd_err *e);

#endif
