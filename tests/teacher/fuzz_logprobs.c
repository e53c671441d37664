/* tests/teacher/fuzz_logprobs.c - two readers of one input: a packed form that anybody may have made; and JSON, which must come back as it was. The first byte says
 * which. */
#include "distill/base/gz.h"
#include "teacher/logprobs.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_buf packed = {0}, text = {0}, back = {0};
    kd_json *doc = NULL;
    if (size < 1) return 0;
    if (*data % 2) { /* past zlib's checksum */
        if (!kd_buf_putc(&packed, 1) && !kd_zip(&packed, data + 1, size - 1, 1, NULL))
            (void)kd_logprobs_unpack(&back, kd_buf_view(&packed), NULL);
    } else if (!kd_json_parse(&doc, (const char *)data + 1, size - 1, "fuzz", NULL)) {
        kd_jsonw w = {.out = &text};
        kd_jsonw_node(&w, kd_json_root(doc));
        if (!kd_logprobs_pack(&packed, kd_json_root(doc), NULL) &&
            (kd_logprobs_unpack(&back, kd_buf_view(&packed), NULL) || back.len != text.len || memcmp(back.data, text.data, text.len)))
            __builtin_trap();
    }
    kd_json_free(doc);
    kd_buf_clear(&packed), kd_buf_clear(&text), kd_buf_clear(&back);
    return 0;
}
