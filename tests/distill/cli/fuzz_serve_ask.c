/* tests/distill/cli/fuzz_serve_ask.c - any bytes as the body of a request, chat and completion. What is taken must be whole; what is refused, explained. */
#include "distill/cli/serve.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void whole(const ask *a) {
    kd_err e = {0};
    kd_json *doc;
    if (a->choices < 1 || a->choices > ASK_MOST_CHOICES || a->stops > ASK_MOST_STOPS || a->top_logprobs > ASK_MOST_TOP) abort();
    for (size_t i = 0; i < a->stops; i++)
        if (!a->stop[i] || !*a->stop[i]) abort();
    for (size_t i = 0; i < a->sampling.biases; i++)
        if (a->sampling.bias[i].id < 0 || isnan(a->sampling.bias[i].bias)) abort();
    if (kd_sampling_check(&a->sampling, INT32_MAX, &e) && !strstr(e.msg, "logit bias")) abort();
    if (!a->chat && (!a->n_prompts || a->n_prompts > ASK_MOST_PROMPTS)) abort();
    for (size_t i = 0; i < a->n_prompts; i++)
        if (!a->prompts[i].tokens && !a->prompts[i].text.data) abort();
    const kd_buf *said[] = {&a->conversation, &a->literal};
    for (size_t i = 0; i < 2 && a->chat; i++) { /* what templates are given is JSON again, with messages in it */
        if (!said[i]->len && i) continue;
        if (kd_json_parse(&doc, said[i]->data, said[i]->len, "conversation", &e)) abort();
        if (!kd_json_count(kd_json_get(kd_json_root(doc), "messages"))) abort();
        kd_json_free(doc);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const ask defaults = {.sampling = {.temperature = 0.7f}};
    for (int chat = 0; chat < 2; chat++) {
        ask a;
        ask_error x;
        if (ask_parse(&a, (kd_str){(const char *)data, size}, chat != 0, &defaults, &x))
            whole(&a);
        else if (x.status < 400 || !x.message[0] || !x.type)
            abort();
        if (x.status) {
            kd_buf out = {0};
            kd_json *doc;
            say_error(&out, &x);
            if (kd_json_parse(&doc, out.data, out.len, "error", NULL)) abort();
            kd_json_free(doc);
            kd_buf_clear(&out);
        }
        ask_clear(&a);
    }
    return 0;
}
