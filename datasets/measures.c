/* datasets/measures.c - what can be measured of a text without a model: scripts, lines, turns, refusals, copies, form. Leans on measures.h, base. */
#include "datasets/measures.h"

#include "distill/base/gz.h"
#include "distill/base/utf8.h"

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

/* ---- words ---- */
static unsigned char lower(unsigned char c) { return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 32) : c; }
static bool ascii_letter(unsigned char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool word_byte(unsigned char c) { return (c >= '0' && c <= '9') || ascii_letter(c) || c >= 0x80; }

size_t kd_words_cut(const char *s, size_t n, kd_word *out) {
    size_t count = 0, i = 0;
    while (i < n) {
        const unsigned char c = (unsigned char)s[i];
        if (!word_byte(c)) {
            i++;
            continue;
        }
        kd_word w = {(uint32_t)i, 0, 14695981039346656037ULL}; /* FNV-1a */
        const size_t alone = c >= 0xe0 ? (c >= 0xf0 ? 4 : 3) : 0;
        for (; i < n && word_byte((unsigned char)s[i]); i++) {
            if (alone ? i >= w.start + alone : (unsigned char)s[i] >= 0xe0) break;
            w.hash = (w.hash ^ lower((unsigned char)s[i])) * 1099511628211ULL;
        }
        w.end = (uint32_t)i;
        out[count++] = w;
    }
    return count;
}

enum { WINDOW = 8 };

/* hash[i] of the window of WINDOW words that begins at i; returns how many windows there are. */
static size_t windows(const kd_word *w, size_t n, uint64_t *hash) {
    if (n < WINDOW) return 0;
    for (size_t i = 0; i + WINDOW <= n; i++) {
        uint64_t h = 0;
        for (size_t k = 0; k < WINDOW; k++) h = (h ^ w[i + k].hash) * 0x9e3779b97f4a7c15ULL;
        hash[i] = h ? h : 1;
    }
    return n - WINDOW + 1;
}

kd_code kd_measure_copied(double *out, kd_str text, kd_str prompt, kd_err *e) {
    const kd_str both[2] = {prompt, text};
    kd_word *w = NULL;
    uint64_t *hash[2] = {NULL, NULL}, *seen = NULL;
    size_t n[2] = {0, 0}, slots = 16, found = 0;
    kd_code rc = KD_OK;
    *out = 0;
    if (text.len >= UINT32_MAX || prompt.len >= UINT32_MAX) return KD_OK;
    for (int i = 0; i < 2 && !rc; i++) {
        const size_t room = both[i].len / 2 + 2;
        kd_free(w);
        w = kd_realloc_array(NULL, room, sizeof *w);
        hash[i] = kd_realloc_array(NULL, room, sizeof *hash[i]);
        if (!w || !hash[i])
            rc = KD_ENOMEM;
        else
            n[i] = windows(w, kd_words_cut(both[i].data, both[i].len, w), hash[i]);
    }
    while (slots < 2 * n[0]) slots *= 2;
    if (!rc && !(seen = kd_calloc(slots, sizeof *seen))) rc = KD_ENOMEM;
    for (size_t i = 0; i < n[0] && !rc; i++) {
        size_t at = (size_t)(hash[0][i] >> 20) & (slots - 1);
        while (seen[at] && seen[at] != hash[0][i]) at = (at + 1) & (slots - 1);
        seen[at] = hash[0][i];
    }
    for (size_t i = 0; i < n[1] && !rc; i++) {
        size_t at = (size_t)(hash[1][i] >> 20) & (slots - 1);
        while (seen[at] && seen[at] != hash[1][i]) at = (at + 1) & (slots - 1);
        found += seen[at] != 0;
    }
    if (!rc && n[1]) *out = (double)found / (double)n[1];
    kd_free(w);
    kd_free(hash[0]);
    kd_free(hash[1]);
    kd_free(seen);
    return rc ? kd_fail(e, rc, "no memory to measure a text of %zu bytes", text.len) : KD_OK;
}

/* ---- scripts ---- */
enum { LATIN, GREEK, CYRILLIC, HEBREW, ARABIC, INDIC, THAI, HAN, HANGUL, OTHER, SCRIPTS };

static int script_of(uint32_t cp) {
    static const struct {
        uint32_t from, to;
        int script;
    } ranges[] = {{0xc0, 0x24f, LATIN},    {0x370, 0x3ff, GREEK},    {0x400, 0x52f, CYRILLIC}, {0x590, 0x5ff, HEBREW},
                  {0x600, 0x77f, ARABIC},  {0x900, 0xdff, INDIC},    {0xe00, 0xe7f, THAI},     {0x1100, 0x11ff, HANGUL},
                  {0x1e00, 0x1eff, LATIN}, {0x3040, 0x30ff, HAN},    {0x3130, 0x318f, HANGUL}, {0x3400, 0x4dbf, HAN},
                  {0x4e00, 0x9fff, HAN},   {0xac00, 0xd7af, HANGUL}, {0xf900, 0xfaff, HAN},    {0xfb50, 0xfdff, ARABIC},
                  {0xff21, 0xff5a, LATIN}, {0x20000, 0x323af, HAN}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (cp >= ranges[i].from && cp <= ranges[i].to) return ranges[i].script;
    return kd_uc_letter(cp) ? OTHER : -1;
}

/* Letters of s by script; a Han character weighs as three letters, about what it says. */
static void count_scripts(kd_str s, uint64_t count[SCRIPTS]) {
    size_t len = 0;
    memset(count, 0, SCRIPTS * sizeof *count);
    for (size_t i = 0; i < s.len; i += len) {
        const unsigned char c = (unsigned char)s.data[i];
        len = 1;
        if (c < 0x80) {
            count[LATIN] += ascii_letter(c);
            continue;
        }
        const int32_t cp = kd_utf8_next(s.data + i, s.len - i, &len);
        const int script = cp < 0 ? -1 : script_of((uint32_t)cp);
        if (script < 0) continue;
        const bool alone = script == GREEK && (i == 0 || (unsigned char)s.data[i - 1] < 0x80) &&
                           (i + len >= s.len || (unsigned char)s.data[i + len] < 0x80);
        if (!alone) count[script] += script == HAN ? 3 : 1;
    }
}

double kd_measure_language(kd_str text, kd_str like) {
    uint64_t a[SCRIPTS], b[SCRIPTS], all = 0;
    int target = LATIN;
    count_scripts(like, b);
    count_scripts(text, a);
    for (int i = 0; i < SCRIPTS; i++) {
        if (b[i] > b[target]) target = i;
        all += a[i];
    }
    return all ? (double)a[target] / (double)all : 1;
}

/* ---- lines, turns, refusals ---- */
void kd_measure_lines(kd_str text, int64_t *line, int64_t *paragraph) {
    int64_t in_line = 0, in_paragraph = 0;
    bool blank = true;
    *line = *paragraph = 0;
    for (size_t i = 0; i <= text.len; i++) {
        const char c = i < text.len ? text.data[i] : '\n';
        if (c == '\n') {
            if (in_line > *line) *line = in_line;
            if (blank || i == text.len) {
                if (in_paragraph > *paragraph) *paragraph = in_paragraph;
                in_paragraph = 0;
            }
            in_line = 0;
            blank = true;
            continue;
        }
        if (((unsigned char)c & 0xc0) == 0x80) continue; /* a character counts once */
        in_line++;
        in_paragraph++;
        blank = blank && (c == ' ' || c == '\t' || c == '\r');
    }
}

static bool at_word(kd_str s, size_t i, const char *what) {
    const size_t n = strlen(what);
    if (s.len - i < n || strncasecmp(s.data + i, what, n) != 0) return false;
    return i + n == s.len || !ascii_letter((unsigned char)s.data[i + n]);
}

int64_t kd_measure_turns(kd_str text) {
    static const char *const phrases[] = {"wait",
                                          "hmm",
                                          "hold on",
                                          "on second thought",
                                          "let me check",
                                          "let me re-check",
                                          "let me recheck",
                                          "let me double-check",
                                          "let me verify",
                                          "let me reconsider",
                                          "i made a mistake",
                                          "that's not right",
                                          "that is not right",
                                          "alternatively"};
    int64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        const unsigned char c = lower((unsigned char)text.data[i]);
        if ((c != 'w' && c != 'h' && c != 'o' && c != 'l' && c != 'i' && c != 't' && c != 'a') ||
            (i > 0 && ascii_letter((unsigned char)text.data[i - 1])))
            continue;
        for (size_t k = 0; k < sizeof phrases / sizeof *phrases; k++)
            if (phrases[k][0] == (char)c && at_word(text, i, phrases[k])) {
                n++;
                break;
            }
    }
    return n;
}

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
static size_t count_of(kd_str s, const char *what) {
    size_t n = 0;
    const size_t len = strlen(what);
    for (const char *p = s.data, *end = s.data + s.len; p && (p = memmem(p, (size_t)(end - p), what, len)); p += len) n++;
    return n;
}

static bool blank(kd_str s) {
    for (size_t i = 0; i < s.len; i++)
        if (!strchr(" \t\r\n", s.data[i]) || !s.data[i]) return false;
    return true;
}

const char *kd_measure_format(kd_thought_from from, kd_str thought, kd_str answer) {
    if (from == KD_THOUGHT_UNCLOSED || from == KD_THOUGHT_OPENED) return "the thought never closes";
    if (from != KD_THOUGHT_NONE && blank(thought)) return "the thought is empty";
    if (blank(answer)) return "nothing outside the thought";
    if (count_of(answer, "<think>") || count_of(answer, "</think>")) return "a tag of thought inside the answer";
    if (count_of(answer, "```") % 2) return "a code fence that never closes";
    if (count_of(answer, "\\(") != count_of(answer, "\\)")) return "\\( and \\) do not match";
    if (count_of(answer, "\\[") != count_of(answer, "\\]")) return "\\[ and \\] do not match";
    if (count_of(answer, "$$") % 2) return "$$ that never closes";
    return NULL;
}
