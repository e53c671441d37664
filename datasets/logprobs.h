/* datasets/logprobs.h - log-probabilities as a study keeps them (bodies.logprobs), and as JSON again. Leans on base.
 *
 * The form: one byte of version, then
 *   version 0   zlib of the JSON text of the array: for whatever the others cannot give back to the letter
 *   version 2   the step, a float: 0 exact, else what values are multiples of; a varint each for the lengths of the first two parts, and three parts, zlib each:
 *     words      shape, text and a NUL: a letter a member, in the order they came, of a token ('t' token, 'l' logprob, 'b' bytes, 'i' id, 'T' top_logprobs), '/',
 *                of an alternative; then a byte, how numbers are spelt: 0 the shortest decimal of the double, 1 the shortest of the float;
 *                varints: n tokens, s words, m alternatives in all; s times: varint length, text, a byte for its bytes: 0 they are the text's, 1 null, 2 others:
 *                varint count, bytes; with 'i' a varint id
 *     places     n varints: how many alternatives a token has; n varints: which of them it is, from 1, or 0; a varint for the word of each token that is none;
 *                m bytes: the words of the alternatives, their lowest 8 bits; m varints: what is above
 *     values     of the tokens that are none of their alternatives, then of the alternatives. Exact: floats (IEEE 754 binary32), byte 3 of all, then 2, 1, 0,
 *                for exponents lie together and pack well. Rounded: varints, in steps, of a token as it is, of an alternative what is added to the one before
 *                it (the first of a token: to 0); signs by zigzag
 *   version 1   read, no more written: zlib of words, then n varints (each token's word), n (how many alternatives), m (their words), and n + m floats, exact
 *   varint: seven bits a byte, least first, 0x80 says that more follow. Words are numbered by first use. */
#ifndef KD_DATASETS_LOGPROBS_H
#define KD_DATASETS_LOGPROBS_H

#include "distill/base/json.h"

/* out += the compact form of a "content" array of log-probabilities. step 0: reading gives back the array, member for member and digit for digit. step > 0
 * (nats, to 1): the same with each logprob the multiple of step that is nearest (half a step off at most, in float32). Errors: KD_ENOMEM. */
kd_code kd_logprobs_pack(kd_buf *out, const kd_json_node *array, double step, kd_err *e);
/* out += the array as JSON text without white space. Errors: KD_EFORMAT damaged; KD_ENOMEM. Bounded: at most 1 GiB of text. */
kd_code kd_logprobs_unpack(kd_buf *out, kd_str packed, kd_err *e);

#endif
