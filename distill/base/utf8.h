/* distill/base/utf8.h - UTF-8 and Unicode properties. The one room that includes utf8proc. Leans on mem.h, err.h. */
#ifndef KD_BASE_UTF8_H
#define KD_BASE_UTF8_H

#include "distill/base/mem.h"

bool kd_utf8_valid(const char *s, size_t n); /* strict: no surrogates, no overlong forms, nothing above U+10FFFF */
/* Reads one code point at s[0..n), n >= 1: its length in bytes in *len and the code point, or -1 for a malformed sequence, with *len the
 * bytes that one U+FFFD stands for (maximal subpart, as Python's errors='replace' and WHATWG do). */
int32_t kd_utf8_next(const char *s, size_t n, size_t *len);
size_t kd_utf8_put(char out[4], uint32_t cp); /* bytes written, 1..4 */
/* out += s with every malformed part replaced by U+FFFD. */
kd_code kd_utf8_replace(kd_buf *out, const char *s, size_t n);
size_t kd_utf8_count(const char *s, size_t n); /* code points, a malformed part counts 1 */
/* How many bytes at the end of s belong to a character that is not whole yet (0..3); for streaming. */
size_t kd_utf8_partial(const char *s, size_t n);

typedef enum { KD_NFC, KD_NFD, KD_NFKC, KD_NFKD } kd_normal_form;
kd_code kd_utf8_normalize(kd_buf *out, const char *s, size_t n, kd_normal_form f, kd_err *e); /* s valid */
kd_code kd_utf8_lower(kd_buf *out, const char *s, size_t n);                                  /* full lower case by simple mappings */
kd_code kd_utf8_upper(kd_buf *out, const char *s, size_t n);

/* General category as two letters packed: 'L'<<8|'u' for Lu; "Cn" where unassigned. */
unsigned kd_uc_category(uint32_t cp);
bool kd_uc_letter(uint32_t cp); /* L*  */
bool kd_uc_mark(uint32_t cp);   /* M*  */
bool kd_uc_number(uint32_t cp); /* N*  */
bool kd_uc_space(uint32_t cp);  /* White_Space */
bool kd_uc_punct(uint32_t cp);  /* P*, and the ASCII symbols as Python's and Hugging Face's is_punctuation count them */
uint32_t kd_uc_tolower(uint32_t cp);
uint32_t kd_uc_toupper(uint32_t cp);

#endif
