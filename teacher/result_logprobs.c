/* teacher/result_logprobs.c - see result_logprobs.h. */
#include "teacher/result_logprobs.h"

#include <math.h>

static void put(kd_jsonw *w, const kd_tokenizer *t, kd_buf *piece, int32_t id, float logprob) {
    piece->len = 0;
    kd_code c = kd_tokenizer_piece(t, id, piece, NULL);
    if (c && !w->code) w->code = c;
    kd_jsonw_key(w, "id"), kd_jsonw_int(w, id);
    kd_jsonw_key(w, "token"), kd_jsonw_str(w, (kd_str){piece->data ? piece->data : "", piece->len});
    kd_jsonw_key(w, "bytes");
    kd_jsonw_array(w);
    for (size_t i = 0; piece->data && i < piece->len; i++) kd_jsonw_int(w, (unsigned char)piece->data[i]);
    kd_jsonw_end_array(w);
    kd_jsonw_key(w, "logprob"), kd_jsonw_double(w, isfinite(logprob) ? (double)logprob : -9999.0);
}

kd_code kd_result_logprobs(kd_buf *out, const kd_result *r, const kd_tokenizer *t, double step, kd_err *e) {
    if (!r->logprobs) return KD_OK;
    kd_buf text = {0}, piece = {0};
    kd_json *doc = NULL;
    kd_jsonw w = {.out = &text};
    kd_jsonw_array(&w);
    for (size_t i = 0; i < r->n; i++) {
        kd_jsonw_object(&w);
        put(&w, t, &piece, r->tokens[i], r->logprobs[i]);
        kd_jsonw_key(&w, "top_logprobs");
        kd_jsonw_array(&w);
        for (size_t k = 0; k < r->top_k; k++) {
            const kd_top *a = &r->top[i * r->top_k + k];
            kd_jsonw_object(&w);
            put(&w, t, &piece, a->id, a->logprob);
            kd_jsonw_end_object(&w);
        }
        kd_jsonw_end_array(&w);
        kd_jsonw_end_object(&w);
    }
    kd_jsonw_end_array(&w);
    kd_code c =
        w.code ? kd_fail(e, w.code, "log-probabilities: out of memory") : kd_json_parse(&doc, text.data, text.len, "log-probabilities", e);
    if (!c) c = kd_logprobs_pack(out, kd_json_root(doc), step, e);
    kd_json_free(doc);
    kd_buf_clear(&text), kd_buf_clear(&piece);
    return c;
}
