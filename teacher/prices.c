/* teacher/prices.c - see prices.h. */
#include "teacher/prices.h"

#include "distill/base/file.h"
#include "distill/base/json.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *per_million, *per_token;
} members[] = {{"input", "input_cost_per_token"},
               {"output", "output_cost_per_token"},
               {"cached", "cache_read_input_token_cost"},
               {"reasoning", "output_cost_per_reasoning_token"}};

static kd_code read_model(kd_prices *p, const kd_json_node *o, const char *path, const char *model, kd_err *e) {
    double *const to[] = {&p->input, &p->output, &p->cached, &p->reasoning};
    for (int i = 0; i < 4; i++) {
        const kd_json_node *m = kd_json_get(o, members[i].per_million), *t = kd_json_get(o, members[i].per_token);
        const kd_json_node *n = m ? m : t;
        if (!n || kd_json_typeof(n) == KD_JSON_NULL) continue;
        double v = kd_json_number(n, -1) * (m ? 1 : 1e6);
        if (!(v >= 0 && v <= 1e9))
            return kd_fail(e, KD_ECONFIG, "%s: %s: %s: expected a price, a number that is not negative", path, model,
                           m ? members[i].per_million : members[i].per_token);
        if (*to[i] < 0) *to[i] = v;
    }
    return p->input >= 0 && p->output >= 0
               ? KD_OK
               : kd_fail(e, KD_ECONFIG, "%s: %s: expected \"input\" and \"output\", USD a million tokens", path, model);
}

kd_code kd_prices_read(kd_prices *p, const char *path, const char *model, kd_err *e) {
    kd_buf text = {0};
    kd_json *doc = NULL;
    kd_code c = kd_file_read(&text, path, (size_t)64 << 20, e);
    if (!c) c = kd_json_parse(&doc, text.data, text.len, path, e);
    const kd_json_node *o = kd_json_get(kd_json_root(doc), model);
    const char *slash = strrchr(model, '/');
    if (!o && slash) o = kd_json_get(kd_json_root(doc), slash + 1);
    if (!c && kd_json_typeof(o) != KD_JSON_OBJECT) c = kd_fail(e, KD_ECONFIG, "%s: no prices of the model %s", path, model);
    if (!c) c = read_model(p, o, path, model, e);
    kd_json_free(doc);
    kd_buf_clear(&text);
    return c;
}

bool kd_usage_known(const kd_usage *u) { return u->prompt >= 0 && u->completion >= 0; }

static double count(int64_t v) { return v > 0 ? (double)v : 0; }

/* Completion tokens, reasoning ones counted in. */
static double completion(const kd_usage *u) {
    double out = count(u->completion), thought = count(u->reasoning);
    bool beside = thought > 0 && (thought > out || (u->total >= 0 && (double)u->total == count(u->prompt) + out + thought));
    return beside ? out + thought : out;
}

double kd_usage_tokens(const kd_usage *u) { return count(u->prompt) + completion(u); }

double kd_prices_cost(const kd_prices *p, const kd_usage *u) {
    double in = count(u->prompt), out = completion(u), cost = 0;
    double cached = p->cached >= 0 ? fmin(in, count(u->cached)) : 0, thought = p->reasoning >= 0 ? fmin(out, count(u->reasoning)) : 0;
    if (p->input > 0) cost += (in - cached) * p->input / 1e6;
    if (p->output > 0) cost += (out - thought) * p->output / 1e6;
    return cost + cached * fmax(0, p->cached) / 1e6 + thought * fmax(0, p->reasoning) / 1e6;
}

double kd_prices_worst(const kd_prices *p, double prompt, double completion_tokens) {
    return (fmax(0, fmax(p->input, p->cached)) * prompt + fmax(0, fmax(p->output, p->reasoning)) * completion_tokens) / 1e6;
}
