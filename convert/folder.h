/* convert/folder.h - inside of the room: configs compared, and what a Hugging Face folder needs made of a GGUF file. Leans on plan.h. */
#ifndef KD_CONVERT_FOLDER_H
#define KD_CONVERT_FOLDER_H

#include "convert/plan.h"

/* The same arithmetic: family, sizes, biases, and every rotary frequency within rounding. */
bool kd_config_same(const kd_config *a, const kd_config *b);
/* Finds the llama3 scaling that rope.factors came from and puts it in their place; false if none fits. */
bool kd_rope_fit_llama3(kd_config *c);

#endif
