/* distill/model/chat.h - the chat template that a model carries, with the special tokens it may name. Leans on template.h, source.h, format/gguf.h.
 * Hugging Face folder: chat_template.jinja, else chat_template.json or tokenizer_config.json (one template, or a list of named ones), special
 * tokens from tokenizer_config.json and special_tokens_map.json. GGUF: tokenizer.chat_template[.NAME] and the ids of tokenizer.ggml.*_token_id. */
#ifndef KD_MODEL_CHAT_H
#define KD_MODEL_CHAT_H

#include "distill/model/template.h"

typedef struct kd_chat kd_chat;

/* path: anything that --model takes. template_file: instead of the model's own template, or NULL. A model without one is opened all the same:
 * kd_chat_has says so and rendering is KD_EUNSUPPORTED. Errors: KD_ENOENT, those of kd_template_new, of json and gguf. */
kd_code kd_chat_open(kd_chat **out, const char *path, const char *template_file, kd_err *e);
void kd_chat_free(kd_chat *c);
/* From now on the template sees this text under that name ("eos_token"). Not while others render. */
kd_code kd_chat_set_token(kd_chat *c, const char *name, kd_str value, kd_err *e);
bool kd_chat_has(const kd_chat *c);
/* The template that transformers would choose: "tool_use" where tools are given and there is one of that name, else "default". */
const kd_template *kd_chat_template(const kd_chat *c, bool tools);
kd_str kd_chat_token(const kd_chat *c, const char *name); /* "bos_token", "eos_token", ...; {NULL,0} if there is none */
/* kd_template_render with the model's special tokens; in->strings are ignored. */
kd_code kd_chat_render(kd_buf *out, kd_template_spans *spans, const kd_chat *c, const kd_template_input *in, kd_err *e);

#endif
