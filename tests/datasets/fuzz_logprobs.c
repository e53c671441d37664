/* tests/datasets/fuzz_logprobs.c - readers of one input: a packed form of either version that anybody may have made; and JSON, which must come back as it was, and
 * again as it is when rounded. The first byte says which. */
#include "distill/base/gz.h"
#include "datasets/logprobs.h"

#include <string.h>

/* Three parts, cut where the first two bytes say, as version 2 has them; a step from the third. */
static void parts(kd_buf *out, const uint8_t *p, size_t n) {
    kd_buf zipped[3] = {{0}};
    if (n >= 3) {
        float step = (float)p[2] / 256;
        size_t left = n - 3, a = p[0] % (left + 1), b = p[1] % (left - a + 1), len[3] = {a, b, left - a - b};
        const uint8_t *at = p + 3;
        bool well = !kd_buf_putc(out, 2) && !kd_buf_append(out, &step, 4);
        for (int i = 0; i < 3; at += len[i++]) well = well && !kd_zip(&zipped[i], at, len[i], 1, NULL);
        for (int i = 0; i < 2 && well; i++) /* a varint of two bytes */
            well = !kd_buf_putc(out, (char)((zipped[i].len & 127) | 128)) && !kd_buf_putc(out, (char)((zipped[i].len >> 7) & 127));
        for (int i = 0; i < 3 && well; i++) well = !kd_buf_append(out, zipped[i].data, zipped[i].len);
    }
    for (int i = 0; i < 3; i++) kd_buf_clear(&zipped[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_buf packed = {0}, text = {0}, back = {0};
    kd_json *doc = NULL;
    if (size < 1) return 0;
    if (*data % 4 == 1) { /* past zlib's checksum */
        if (!kd_buf_putc(&packed, 1) && !kd_zip(&packed, data + 1, size - 1, 1, NULL))
            (void)kd_logprobs_unpack(&back, kd_buf_view(&packed), NULL);
    } else if (*data % 4 == 3) {
        parts(&packed, data + 1, size - 1);
        (void)kd_logprobs_unpack(&back, kd_buf_view(&packed), NULL);
    } else if (!kd_json_parse(&doc, (const char *)data + 1, size - 1, "fuzz", NULL)) {
        kd_jsonw w = {.out = &text};
        kd_jsonw_node(&w, kd_json_root(doc));
        if (!kd_logprobs_pack(&packed, kd_json_root(doc), 0, NULL) &&
            (kd_logprobs_unpack(&back, kd_buf_view(&packed), NULL) || back.len != text.len || memcmp(back.data, text.data, text.len)))
            __builtin_trap();
        packed.len = back.len = 0;
        if (!kd_logprobs_pack(&packed, kd_json_root(doc), *data % 4 / 16.0 + 0.03, NULL) &&
            kd_logprobs_unpack(&back, kd_buf_view(&packed), NULL))
            __builtin_trap();
    }
    kd_json_free(doc);
    kd_buf_clear(&packed), kd_buf_clear(&text), kd_buf_clear(&back);
    return 0;
}
