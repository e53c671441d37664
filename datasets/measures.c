/* datasets/measures.c - what can be measured of a text without a model: compression, copies, refusals, form. Leans on measures.h, base. */
#include "datasets/measures.h"

#include "distill/base/gz.h"

#include <string.h>
#include <strings.h>

kd_code kd_measure_compress(double *out, kd_str text, kd_err *e) {
    kd_buf z = {0};
    *out = 1;
    if (text.len < 64) return KD_OK;
    const kd_code rc = kd_zip(&z, text.data, text.len, 1, e);
    if (!rc) *out = (double)z.len / (double)text.len;
    kd_buf_clear(&z);
    return rc;
}

kd_code kd_measure_copied(double *out, const kd_scan *text, const kd_scan *prompt, kd_scan_room *room, kd_err *e) {
    size_t slots = 16, found = 0;
    kd_roll roll = {0};
    *out = 0;
    if (text->n_words < KD_WINDOW || prompt->n_words < KD_WINDOW) return KD_OK;
    while (slots < 8 * prompt->n_words) slots *= 2; /* sparse: a window that is not there is told at once */
    if (kd_grow((void **)&room->keys, &room->keys_cap, slots, sizeof *room->keys))
        return kd_fail(e, KD_ENOMEM, "no memory to compare %zu words with %zu", text->n_words, prompt->n_words);
    uint64_t *seen = room->keys;
    memset(seen, 0, slots * sizeof *seen);
    for (size_t i = 0; i < prompt->n_words; i++) {
        const uint64_t key = kd_roll_on(&roll, prompt->words, i);
        if (i + 1 < KD_WINDOW) continue;
        size_t at = (size_t)(key >> 40) & (slots - 1);
        while (seen[at] && seen[at] != key) at = (at + 1) & (slots - 1);
        seen[at] = key;
    }
    roll = (kd_roll){0};
    for (size_t i = 0; i < text->n_words; i++) {
        const uint64_t key = kd_roll_on(&roll, text->words, i);
        if (i + 1 < KD_WINDOW) continue;
        size_t at = (size_t)(key >> 40) & (slots - 1);
        while (seen[at] && seen[at] != key) at = (at + 1) & (slots - 1);
        found += seen[at] != 0;
    }
    *out = (double)found / (double)(text->n_words - KD_WINDOW + 1);
    return KD_OK;
}

/* ---- refusals ---- */
bool kd_measure_refusal(kd_str answer) {
    static const char *const begins[] = {"i'm sorry",        "i am sorry",      "sorry, ",       "i can't help",    "i cannot help",
                                         "i can't assist",   "i cannot assist", "i'm unable to", "i am unable to",  "i can't provide",
                                         "i cannot provide", "i won't ",        "as an ai",      "i'm not able to", "i am not able to",
                                         "i cannot fulfill", "i can't fulfill"};
    size_t i = 0;
    while (i < answer.len && (answer.data[i] == ' ' || answer.data[i] == '\n' || answer.data[i] == '*' || answer.data[i] == '"')) i++;
    const kd_str s = {answer.data + i, answer.len - i};
    char head[64];
    size_t n = 0;
    for (size_t k = 0; k < s.len && n < sizeof head - 1; k++) { /* a typographic apostrophe is an apostrophe */
        if (s.len - k >= 3 && memcmp(s.data + k, "\xe2\x80\x99", 3) == 0) {
            head[n++] = '\'';
            k += 2;
        } else {
            head[n++] = s.data[k];
        }
    }
    head[n] = 0;
    for (size_t k = 0; k < sizeof begins / sizeof *begins; k++)
        if (strncasecmp(head, begins[k], strlen(begins[k])) == 0) return true;
    return false;
}

/* ---- form ---- */
static bool thought_open(kd_thought_from from) { return from == KD_THOUGHT_UNCLOSED || from == KD_THOUGHT_OPENED; }

const char *kd_measure_format(kd_thought_from from, const kd_scan *thought, const kd_scan *answer) {
    if (thought_open(from)) return "the thought never closes";
    if (from != KD_THOUGHT_NONE && thought->blank) return "the thought is empty";
    if (answer->blank) return "nothing outside the thought";
    if (answer->tags) return "a tag of thought inside the answer";
    if (answer->n_fences % 2) return "a code fence that never closes";
    if (answer->round) return "\\( and \\) do not match";
    if (answer->square) return "\\[ and \\] do not match";
    if (answer->displays % 2) return "$$ that never closes";
    if (answer->dollars) return "$ that never closes";
    return NULL;
}

/* The last \boxed{ has no closing brace. */
static bool box_open(kd_str t) {
    const char *at = NULL, *p = t.data, *end = t.data + t.len;
    while (p && (p = memmem(p, (size_t)(end - p), "\\boxed{", 7))) at = p += 7;
    int depth = 1;
    for (p = at; p && p < end && depth; p++) depth += *p == '{' ? 1 : *p == '}' ? -1 : 0;
    return at && depth;
}

const char *kd_measure_truncated(kd_thought_from from, kd_str finish, const kd_scan *answer, kd_str text) {
    static const char *const cuts[] = {"length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens"};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
        if (kd_str_is(finish, cuts[i])) return "the teacher cut it";
    if (thought_open(from)) return "the thought never closes";
    if (answer->n_fences % 2) return "ends inside a code fence";
    if (answer->displays % 2) return "ends inside $$";
    if (box_open(text)) return "ends inside a box";
    return NULL;
}
