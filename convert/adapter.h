/* convert/adapter.h - an adapter by itself, from PEFT's layout into what llama.cpp loads with --lora, or into PEFT's layout again. Leans on convert.h. */
#ifndef KD_CONVERT_ADAPTER_H
#define KD_CONVERT_ADAPTER_H

#include "convert/convert.h"

/* src: the base with o->adapter, a run folder or an adapter folder. dst: NAME.gguf (tensors in F32, or F16 if o->type says so), anything else
 * a PEFT folder. In GGUF: W' = W + alpha/r * B A for every matrix, one alpha for the file; rsLoRA's scale and alphas of single modules are in
 * B's values; q's and k's rows of B are in the order of the base's GGUF. Whole or not at all.
 * Errors: those of opening; KD_EINVAL no adapter, or a type that is neither; KD_EUNSUPPORTED what only a merge can say: DoRA, modules_to_save,
 * factors of a head that is tied to the embedding. Test: tests/convert/test_convert.c */
kd_code kd_convert_adapter(const char *src, const char *dst, const kd_convert_options *o, bool plan_only, kd_convert_result *result,
                           kd_err *e);

#endif
