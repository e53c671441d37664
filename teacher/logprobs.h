/* teacher/logprobs.h - log-probabilities as a study keeps them (bodies.logprobs), and as JSON again. Leans on base.
 *
 * The form: one byte of version, then
 *   version 0   zlib of the JSON text of the array: for whatever version 1 cannot give back to the letter
 *   version 1   zlib of
 *     shape      text and a NUL: a letter a member, in the order they came, of a token ('t' token, 'l' logprob, 'b' bytes, 'i' id, 'T' top_logprobs), '/', of an
 *                alternative; then a byte, how numbers are spelt: 0 the shortest decimal of the double, 1 the shortest of the float
 *     n, s, m    varints: tokens, strings, alternatives in all
 *     strings    s times: varint length, text, a byte for its bytes: 0 they are the text's, 1 null, 2 others: varint count, bytes; with 'i' a varint id
 *     which      n varints: the string of each token; then n varints: how many alternatives it has; then m varints: the string of each alternative
 *     values     n + m floats (IEEE 754 binary32, tokens first), byte 3 of all, then byte 2, 1, 0: exponents lie together and pack well
 *   varint: seven bits a byte, least first, 0x80 says that more follow. Strings are numbered by first use. */
#ifndef KD_TEACHER_LOGPROBS_H
#define KD_TEACHER_LOGPROBS_H

#include "distill/base/json.h"

/* out += the compact form of a "content" array of log-probabilities. Reading gives back the array, member for member and digit for digit.
 * Errors: KD_ENOMEM. */
kd_code kd_logprobs_pack(kd_buf *out, const kd_json_node *array, kd_err *e);
/* out += the array as JSON text without white space. Errors: KD_EFORMAT damaged; KD_ENOMEM. Bounded: at most 1 GiB of text. */
kd_code kd_logprobs_unpack(kd_buf *out, kd_str packed, kd_err *e);

#endif
