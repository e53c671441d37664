/* tests/datasets/fuzz_import_row.c - any line, read in every form: no crash, and what is read holds together. */
#include "datasets/import.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int f = KD_ROW_SNIFF; f <= KD_ROW_QUESTION; f++) {
        kd_row_parts p;
        kd_arena a = {0};
        kd_err e;
        if (kd_row_parse(&p, &a, (kd_str){(const char *)data, size}, (kd_row_form)f, &e) == KD_OK) {
            kd_buf whole = {0};
            if (!p.messages.len || p.messages.data[0] != '[') abort();
            if (p.completion.data) {
                if (kd_completion(&whole, p.thought_from, p.thought, p.answer)) abort();
                if (!kd_str_eq(kd_buf_view(&whole), p.completion) && whole.len) abort();
            }
            kd_buf_clear(&whole);
        }
        kd_arena_clear(&a);
    }
    return 0;
}
