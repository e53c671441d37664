/* tests/distill/model/fuzz_tokenizer.c - any bytes as a tokenizer.json and, behind the first NUL, as a text: refused, or what comes out holds
 * together. */
#include "distill/base/utf8.h"
#include "distill/model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_stream(const kd_tokenizer *t, const kd_ids *ids, const kd_buf *whole) {
    kd_buf out = {0};
    kd_detokenizer *d;
    if (kd_detokenizer_new(&d, t, 0, NULL)) abort();
    kd_code c = KD_OK;
    for (size_t i = 0; i < ids->n && !c; i++) {
        const size_t before = out.len;
        c = kd_detokenizer_push(d, ids->id[i], &out, NULL);
        if (!c && out.len > before && !kd_utf8_valid(out.data + before, out.len - before)) abort();
    }
    if (!c) c = kd_detokenizer_end(d, &out, NULL);
    if (c || !kd_str_eq(kd_buf_view(&out), kd_buf_view(whole))) abort();
    kd_detokenizer_free(d);
    kd_buf_clear(&out);
}

static void check_text(const kd_tokenizer *t, const char *s, size_t n, unsigned flags) {
    kd_ids ids = {0};
    kd_buf text = {0};
    kd_err e = {0};
    const kd_code c = kd_tokenizer_encode(t, &ids, s, n, flags, &e);
    if (c && (!e.msg[0] || ids.n)) abort();
    for (size_t i = 0; i < ids.n; i++) {
        const kd_token k = kd_tokenizer_token(t, ids.id[i]);
        if (!k.text.data) abort();
        if (flags == 0 && k.special && ids.id[i] != kd_tokenizer_specials(t)->unk) abort(); /* plain text became a control token */
    }
    if (!kd_tokenizer_decode(t, &text, ids.id, ids.n, 0, &e)) {
        if (!kd_utf8_valid(text.data ? text.data : "", text.len)) abort();
        check_stream(t, &ids, &text);
    }
    kd_ids_clear(&ids);
    kd_buf_clear(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *all = (const char *)data, *nul = size ? memchr(all, 0, size) : NULL;
    const size_t n = nul ? (size_t)(nul - all) : size;
    kd_tokenizer *t;
    kd_err e = {0};
    if (kd_tokenizer_open_json(&t, (kd_str){all, n}, (kd_str){0}, "fuzz", &e)) {
        if (!e.msg[0] || t) abort();
        return 0;
    }
    const char *text = nul ? nul + 1 : "";
    const size_t len = nul ? size - n - 1 : 0;
    check_text(t, text, len, 0);
    check_text(t, text, len, KD_TOK_PARSE_SPECIAL);
    check_text(t, text, len, KD_TOK_PARSE_SPECIAL | KD_TOK_ADD_SPECIAL);
    kd_buf json = {0};
    if (kd_tokenizer_write_json(t, &json, &e)) abort();
    kd_buf_clear(&json);
    kd_tokenizer_free(t);
    return 0;
}
