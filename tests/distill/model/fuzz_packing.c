/* tests/distill/model/fuzz_packing.c - any JSON as a quantization_config: refused with a message, or within what the readers of packed rows take. */
#include "distill/model/packed.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_json *doc;
    kd_packing p;
    kd_err e = {0};
    if (kd_json_parse(&doc, (const char *)data, size, "fuzz", NULL)) return 0;
    if (kd_packing_read(&p, kd_json_root(doc), "fuzz", &e)) {
        if (!e.msg[0]) abort();
    } else if (p.kind != KD_PACK_NONE) {
        if (p.bits != 4 && p.bits != 8) abort();
        if (p.group > 1 << 20 || p.block[0] > 1 << 20 || p.block[1] > 1 << 20 || !p.block[0] != !p.block[1]) abort();
        if (p.kind == KD_PACK_AWQ && p.bits != 4) abort();
    }
    kd_json_free(doc);
    return 0;
}
