/* convert/folder.h - inside of the room: configs compared, and what a Hugging Face folder needs made of a GGUF file. Leans on plan.h. */
#ifndef KD_CONVERT_FOLDER_H
#define KD_CONVERT_FOLDER_H

#include "convert/plan.h"

/* The same arithmetic: family, sizes, biases, and every rotary frequency within rounding. */
bool kd_config_same(const kd_config *a, const kd_config *b);
/* Finds the llama3 scaling that rope.factors came from and puts it in their place; false if none fits. */
bool kd_rope_fit_llama3(kd_config *c);
/* The config.json that our converter left in a GGUF source, as long as it says the same as the file's keys; false: there is none. *out is
 * the caller's to clear, *text a view. */
bool kd_config_kept(kd_config *out, const kd_plan *p, kd_str *text);

#endif
