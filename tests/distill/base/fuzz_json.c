/* tests/distill/base/fuzz_json.c - the JSON reader: what it takes, written out and read again, must be the same text. */
#include "distill/base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_json *d;
    kd_err e = {0};
    if (kd_json_parse(&d, (const char *)data, size, "input", &e)) {
        if (d || !e.msg[0]) abort();
        return 0;
    }
    for (int ascii = 0; ascii < 2; ascii++) {
        kd_buf once = {0}, twice = {0};
        kd_jsonw w = {.out = &once, .ascii = ascii != 0};
        kd_json *again;
        kd_jsonw_node(&w, kd_json_root(d));
        if (w.code || kd_json_parse(&again, once.data, once.len, "output", &e)) abort();
        w = (kd_jsonw){.out = &twice, .ascii = ascii != 0};
        kd_jsonw_node(&w, kd_json_root(again));
        if (once.len != twice.len || memcmp(once.data, twice.data, once.len) != 0) abort();
        kd_json_free(again);
        kd_buf_clear(&once);
        kd_buf_clear(&twice);
    }
    kd_json_free(d);
    return 0;
}
