/* datasets/code_extract.c - where the program of an answer stands. Leans on code_int.h. */
#include "datasets/code_int.h"
#include "datasets/math_int.h"

#include <ctype.h>
#include <string.h>

typedef struct {
    kd_str text;
    kd_lang lang;
    bool tagged;
} block;

kd_lang kd_lang_named(kd_str name) {
    static const struct {
        const char *word;
        kd_lang lang;
    } words[] = {{"python", KD_LANG_PYTHON}, {"py", KD_LANG_PYTHON}, {"python3", KD_LANG_PYTHON}, {"pypy", KD_LANG_PYTHON},
                 {"pypy3", KD_LANG_PYTHON},  {"c", KD_LANG_C},       {"c11", KD_LANG_C},          {"c99", KD_LANG_C},
                 {"cpp", KD_LANG_CPP},       {"c++", KD_LANG_CPP},   {"cc", KD_LANG_CPP},         {"cxx", KD_LANG_CPP},
                 {"c++17", KD_LANG_CPP},     {"cpp17", KD_LANG_CPP}, {"c++20", KD_LANG_CPP},      {"js", KD_LANG_JS},
                 {"javascript", KD_LANG_JS}, {"node", KD_LANG_JS},   {"nodejs", KD_LANG_JS},      {"mjs", KD_LANG_JS}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i].word) == name.len && strncasecmp(words[i].word, name.data, name.len) == 0) return words[i].lang;
    return KD_LANG_NONE;
}

const char *kd_lang_name(kd_lang l) {
    static const char *const names[] = {"none", "python", "c", "cpp", "javascript"};
    return names[l];
}

static bool word_byte(char c) { return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80; }

bool kd_has_word(kd_str text, kd_str word) {
    if (!word.len) return false;
    const char *p = text.data, *end = text.data ? text.data + text.len : NULL;
    while (p && (p = memmem(p, (size_t)(end - p), word.data, word.len))) {
        const char *behind = p + word.len;
        if ((p == text.data || !word_byte(p[-1])) && (behind == end || !word_byte(*behind))) return true;
        p++;
    }
    return false;
}

static kd_str take_line(kd_str *rest) {
    const char *nl = memchr(rest->data, '\n', rest->len);
    const kd_str line = {rest->data, nl ? (size_t)(nl - rest->data) : rest->len};
    const size_t used = line.len + (nl != NULL);
    *rest = (kd_str){rest->data + used, rest->len - used};
    return line;
}

/* A fence: three or more of ` or ~ behind white space, and what follows. */
static size_t fence_of(kd_str line, char *mark, kd_str *info) {
    size_t i = 0, n = 0;
    while (i < line.len && (line.data[i] == ' ' || line.data[i] == '\t' || line.data[i] == '>')) i++;
    if (i == line.len || (line.data[i] != '`' && line.data[i] != '~')) return 0;
    *mark = line.data[i];
    while (i + n < line.len && line.data[i + n] == *mark) n++;
    *info = kd_trim((kd_str){line.data + i + n, line.len - i - n});
    if (n < 3 || (*mark == '`' && memchr(info->data, '`', info->len))) return 0;
    return n;
}

static kd_str first_word(kd_str info) {
    if (info.len && info.data[0] == '{') info = (kd_str){info.data + 1, info.len - 1}; /* {.python ...} */
    if (info.len && info.data[0] == '.') info = (kd_str){info.data + 1, info.len - 1};
    size_t n = 0;
    while (n < info.len && !strchr(" \t,{}:;", info.data[n])) n++;
    return (kd_str){info.data, n};
}

/* The next block at or behind *rest; one that never closes reaches to the end. */
static bool next_block(kd_str *rest, block *b) {
    char mark = 0, other;
    kd_str info, unused;
    size_t n = 0;
    while (rest->len && !(n = fence_of(take_line(rest), &mark, &info))) continue;
    if (!n) return false;
    const char *start = rest->data, *end = rest->data + rest->len;
    while (rest->len) {
        const kd_str line = take_line(rest);
        const size_t k = fence_of(line, &other, &unused);
        if (k >= n && other == mark && !unused.len) {
            end = line.data;
            break;
        }
    }
    kd_str word = first_word(info);
    static const char *const plain[] = {"text", "txt", "plaintext", "code", "plain"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (kd_str_is(word, plain[i])) word.len = 0;
    *b = (block){{start, (size_t)(end - start)}, kd_lang_named(word), word.len > 0};
    return true;
}

/* What a program without a language looks like. */
static kd_lang guess(kd_str text) {
    static const char *const python[] = {"def ", "import ", "from ", "print(", "class ", "n = ", "for ", "if __name__", "input("},
                             *const js[] = {"const ", "let ", "var ", "function ", "console.log", "'use strict'", "require("};
    kd_lang l = KD_LANG_NONE;
    kd_str rest = text;
    while (rest.len && l == KD_LANG_NONE) {
        const kd_str line = kd_trim(take_line(&rest));
        if (kd_str_starts(line, "#include"))
            l = memmem(text.data, text.len, "std::", 5) || memmem(text.data, text.len, "using namespace", 15) ||
                        memmem(text.data, text.len, "cout", 4) || memmem(text.data, text.len, "bits/stdc++", 11)
                    ? KD_LANG_CPP
                    : KD_LANG_C;
        for (size_t i = 0; i < sizeof js / sizeof *js && !l; i++)
            if (kd_str_starts(line, js[i])) l = KD_LANG_JS;
        for (size_t i = 0; i < sizeof python / sizeof *python && !l; i++)
            if (kd_str_starts(line, python[i])) l = KD_LANG_PYTHON;
    }
    return l;
}

/* An answer without fences is a program if its first line is one's. */
static kd_str bare(kd_str answer, kd_lang want, kd_lang *found) {
    static const char *const starts[] = {"import ", "from ",     "def ", "class ", "#include", "#!",     "# ",     "const ",
                                         "let ",    "function ", "var ", "//",     "/*",       "using ", "\"\"\"", "'use strict'"};
    const kd_str text = kd_trim(answer);
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (kd_str_starts(text, starts[i])) {
            const kd_lang l = guess(text);
            if (l == KD_LANG_NONE) break;
            *found = want ? want : l;
            return answer;
        }
    return (kd_str){NULL, 0};
}

kd_str kd_code_extract(kd_str answer, kd_lang want, kd_str name, kd_lang *found) {
    block b, named = {{NULL, 0}, KD_LANG_NONE, false}, last = named, untagged = named, only = named;
    size_t blocks = 0;
    kd_str rest = answer;
    *found = KD_LANG_NONE;
    while (next_block(&rest, &b)) {
        blocks++;
        only = b;
        if (!b.tagged) untagged = b;
        if (!b.lang || (want && b.lang != want)) continue;
        last = b;
        if (name.len && kd_has_word(b.text, name)) named = b;
    }
    if (!blocks) return bare(answer, want, found);
    b = named.text.data ? named : last.text.data ? last : blocks == 1 ? only : untagged;
    if (!b.text.data) return b.text;
    *found = want ? want : b.lang ? b.lang : b.tagged ? KD_LANG_NONE : guess(b.text);
    if (*found == KD_LANG_NONE && !b.tagged) *found = KD_LANG_PYTHON;
    return b.text;
}
