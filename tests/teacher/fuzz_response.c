/* tests/teacher/fuzz_response.c - any bytes as the body of an answer: whole, as a stream, and as an error. Whatever is taken must hold together. */
#include "teacher/response.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_str body = {(const char *)data, size};
    for (int stream = 0; stream < 2; stream++) {
        kd_response r = {0};
        kd_err e = {0};
        if (kd_response_parse(&r, body, stream != 0, 0, &e)) {
            if (r.answer.len || r.thought.len || r.logprobs.len || !e.msg[0]) abort(); /* a failure leaves counts and a reason */
        } else {
            if (r.empty && (r.answer.len || r.thought.len || !r.finish[0])) abort();
            if (r.thought.len && r.thought_from == KD_THOUGHT_NONE) abort();
            if (stream && !r.finish[0]) abort();
        }
        kd_response_clear(&r);
    }
    char said[64];
    memset(said, 'x', sizeof said);
    kd_response_error(said, sizeof said, body);
    if (strnlen(said, sizeof said) == sizeof said) abort();
    return 0;
}
