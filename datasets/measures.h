/* datasets/measures.h - R1's filters as measures of one text: each is O(n), reentrant, and says a number, never a verdict. Leans on scan.h, base.
 * Private to datasets; label_text.c names them and writes them beside samples. Those of letters, lines and languages are read off the scan itself. */
#ifndef KD_DATASETS_MEASURES_H
#define KD_DATASETS_MEASURES_H

#include "datasets/scan.h"
#include "datasets/study.h"

/* Bytes after zlib's level 1 per byte before: 0.05 for a loop, 0.4 for prose; 1 for texts under 64 bytes. The one measure that is slow (deflate). */
kd_code kd_measure_compress(double *out, kd_str text, kd_err *e);
/* See kd_label_repeats (label.h); scan is of text, room lends memory. */
kd_code kd_measure_repeats(double *out, const kd_scan *scan, kd_scan_room *room, kd_str text, kd_err *e);
/* Share of the windows of KD_WINDOW words of text that stand in prompt. */
kd_code kd_measure_copied(double *out, const kd_scan *text, const kd_scan *prompt, kd_scan_room *room, kd_err *e);
bool kd_measure_refusal(kd_str answer); /* it begins by declining */
/* NULL if thought and answer are well formed, else what is wrong: a thought that never closes, nothing outside it, tags inside the answer, a code
 * fence, \(, $$ or $ that never closes. Static text. */
const char *kd_measure_format(kd_thought_from from, const kd_scan *thought, const kd_scan *answer);
/* NULL, or why it looks cut off: the teacher stopped it, the thought never closes, a fence, a box or a display is open where it ends. Static text. */
const char *kd_measure_truncated(kd_thought_from from, kd_str finish, const kd_scan *answer, kd_str text);

/* ---- windows of words ---- */
enum { KD_WINDOW = 8 };
#define KD_ROLL_BASE 0x9e3779b97f4a7c15ULL
typedef struct {
    uint64_t sum;
} kd_roll;
/* The hash of the window that ends with word i, asked for i = 0, 1, 2 ...: a polynomial over the words' hashes, stirred. Never 0. */
static inline uint64_t kd_roll_on(kd_roll *r, const kd_word *w, size_t i) {
    const uint64_t b2 = KD_ROLL_BASE * KD_ROLL_BASE, b4 = b2 * b2, b8 = b4 * b4; /* constants to the compiler */
    r->sum = r->sum * KD_ROLL_BASE + w[i].hash;
    if (i >= KD_WINDOW) r->sum -= b8 * w[i - KD_WINDOW].hash;
    const uint64_t h = (r->sum ^ r->sum >> 32) * 0xbf58476d1ce4e5b9ULL;
    return h ? h : 1;
}

#endif
