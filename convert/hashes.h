/* convert/hashes.h - inside of the room: what others say that a model's files hash to, and whether they do. Leans on format, base/hash.h. */
#ifndef KD_CONVERT_HASHES_H
#define KD_CONVERT_HASHES_H

#include "distill/format/tensor.h"

/* Each file of the set, and each that SHA256SUMS in its folder names, against the SHA-256 that is known of it: FILE.sha256 or SHA256SUMS beside it (as
 * sha256sum writes them), the hub's notes of a download (.cache/huggingface/download/FILE.metadata), or its name in the hub's cache, where files lie under
 * their hash. *checked: files compared. fault is called for each that differs or is missing.
 * Errors: KD_ENOMEM, KD_EIO. Test: tests/convert/test_hashes.c */
kd_code kd_hashes_check(const kd_tensors *set, void (*fault)(void *ctx, const char *msg), void *ctx, size_t *checked, kd_err *e);

#endif
