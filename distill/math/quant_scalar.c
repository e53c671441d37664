/* distill/math/quant_scalar.c - quant_body.h in plain C, a block at a time: the reference. Leans on quant.h. */
#include "distill/math/quant.h"

#define KD_W 1
#define KD_SEARCH kd_search_scalar
#include "distill/math/quant_body.h"
