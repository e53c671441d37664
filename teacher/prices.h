/* teacher/prices.h - what tokens cost, from flags or from a table in a file. Leans on base. */
#ifndef KD_TEACHER_PRICES_H
#define KD_TEACHER_PRICES_H

#include "distill/base/mem.h"

/* USD a million tokens; negative: not told. Cached prompt tokens cost what others do, reasoning tokens what completion tokens do, unless told apart. */
typedef struct {
    double input, output, cached, reasoning;
} kd_prices;
#define KD_PRICES_NONE ((kd_prices){-1, -1, -1, -1})

/* The prices of a model in a JSON file, an object by model name of
 *   {"input":..., "output":..., "cached":..., "reasoning":...}   USD a million tokens, or, as LiteLLM's table has them, USD a token:
 *   {"input_cost_per_token":..., "output_cost_per_token":..., "cache_read_input_token_cost":..., "output_cost_per_reasoning_token":...}
 * The model's own name, else what follows its last '/'. What *p has already (not negative) stays.
 * Errors: KD_ENOENT, KD_EFORMAT, KD_ECONFIG no such model (names the file and the model), or a price that is negative or no number. */
kd_code kd_prices_read(kd_prices *p, const char *path, const char *model, kd_err *e);

/* What usage said; -1 unknown. total tells whether reasoning tokens are a part of the completion's (OpenAI) or stand beside them. */
typedef struct {
    int64_t prompt, completion, reasoning, cached, total;
} kd_usage;
bool kd_usage_known(const kd_usage *u); /* prompt and completion were told */
double kd_usage_tokens(const kd_usage *u);
double kd_prices_cost(const kd_prices *p, const kd_usage *u);                 /* USD; what has no price costs nothing */
double kd_prices_worst(const kd_prices *p, double prompt, double completion); /* USD of so many tokens at most, of whatever kind */

#endif
