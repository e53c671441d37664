/* datasets/code_native.c - a function of an answer in C or C++, called with the arguments of a test. C++ finds out the types by itself (code_native_text.h, around the
 * answer); a function in C is compiled alone, and its prototype read for that program. Leans on code_int.h. */
#include "datasets/code_int.h"

#include <string.h>

#include "datasets/code_native_text.h"

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }
static bool space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* The end of what begins at text[i] and is no code: a comment, a text, a character, a line for the preprocessor; i itself: it is code. */
static size_t past_aside(kd_str t, size_t i, bool line_begins) {
    const char c = t.data[i], next = i + 1 < t.len ? t.data[i + 1] : 0;
    if (c == '/' && next == '*') {
        const char *end = memmem(t.data + i + 2, t.len - i - 2, "*/", 2);
        return end ? (size_t)(end - t.data) + 2 : t.len;
    }
    if ((c == '/' && next == '/') || (c == '#' && line_begins)) {
        while (i < t.len && (t.data[i] != '\n' || t.data[i - 1] == '\\')) i++;
        return i;
    }
    if (c != '"' && (c != '\'' || (i && letter(t.data[i - 1])))) return i; /* 1'000 is a number */
    for (i++; i < t.len && t.data[i] != c && t.data[i] != '\n'; i++)
        if (t.data[i] == '\\' && i + 1 < t.len) i++;
    return i < t.len ? i + 1 : i;
}

/* out = the code with blanks for all that is none, so that places stay. */
static kd_code blank(kd_buf *out, kd_str t) {
    kd_code rc = KD_OK;
    bool begins = true;
    for (size_t i = 0; i < t.len && !rc;) {
        const size_t end = past_aside(t, i, begins);
        if (end == i) {
            begins = t.data[i] == '\n' || (begins && space(t.data[i]));
            rc = kd_buf_putc(out, t.data[i++]);
            continue;
        }
        for (; i < end && !rc; i++) rc = kd_buf_putc(out, t.data[i] == '\n' ? '\n' : ' ');
        begins = false;
    }
    return rc;
}

static size_t skip_space(kd_str t, size_t i) {
    while (i < t.len && space(t.data[i])) i++;
    return i;
}

/* What stands behind the parenthesis that closes the one at i, or t.len. */
static size_t past_parentheses(kd_str t, size_t i) {
    for (size_t depth = 0; i < t.len; i++) {
        if (t.data[i] == '(') depth++;
        if (t.data[i] == ')' && --depth == 0) return i + 1;
    }
    return t.len;
}

/* The head of the definition of name outside all braces, from its type to its last parenthesis; {NULL,0}: there is none. *at: where in it the name is. */
static kd_str head_of(kd_str t, kd_str name, size_t *at) {
    size_t depth = 0, from = 0;
    for (size_t i = 0; i < t.len; i++) {
        const char c = t.data[i];
        if (c == '{') depth++;
        if (c == '}' && depth) depth--;
        if (depth) continue;
        if (c == ';' || c == '}') from = i + 1;
        if (!letter(c) || (i && letter(t.data[i - 1]))) continue;
        if (t.len - i < name.len || memcmp(t.data + i, name.data, name.len) != 0) continue;
        const size_t open = skip_space(t, i + name.len), close = open < t.len && t.data[open] == '(' ? past_parentheses(t, open) : t.len;
        const size_t brace = skip_space(t, close);
        if (brace >= t.len || t.data[brace] != '{') continue;
        from = skip_space(t, from);
        *at = i - from;
        return (kd_str){t.data + from, close - from};
    }
    return (kd_str){NULL, 0};
}

/* A head of C as a prototype of C++ by the name kd_like. */
static kd_code put_prototype(kd_buf *out, kd_str head, size_t at, size_t name_len) {
    static const char *const gone[] = {"static", "inline", "extern", "restrict", "__restrict", "register", "_Noreturn"};
    kd_code rc = KD_OK;
    for (size_t i = 0; i < head.len && !rc;) {
        size_t n = 0;
        while (i + n < head.len && letter(head.data[i + n])) n++;
        const kd_str word = {head.data + i, n};
        bool left_out = false;
        for (size_t k = 0; k < sizeof gone / sizeof *gone; k++) left_out = left_out || kd_str_is(word, gone[k]);
        if (i == at)
            rc = kd_buf_puts(out, "kd_like"), i += name_len;
        else if (!n)
            rc = kd_buf_putc(out, head.data[i++]);
        else {
            if (!left_out) rc = kd_str_is(word, "_Bool") ? kd_buf_puts(out, "bool") : kd_buf_append(out, word.data, n);
            i += n;
        }
    }
    return rc ? rc : kd_buf_puts(out, ";\n");
}

/* An answer by itself: with what answers of that kind take for granted, its own main set aside. */
static kd_code put_answer(kd_buf *out, kd_lang lang, kd_str code, kd_str plain) {
    const bool includes = memmem(code.data, code.len, "#include", 8) != NULL;
    kd_code rc = KD_OK;
    if (lang == KD_LANG_CPP) {
        rc = kd_buf_puts(out, "#include <bits/stdc++.h>\n");
        if (!rc && !memmem(plain.data, plain.len, "std::", 5) && !kd_has_word(plain, KD_STR("namespace")))
            rc = kd_buf_puts(out, "using namespace std;\n");
    } else if (!includes)
        rc = kd_buf_puts(
            out,
            "#include <ctype.h>\n#include <limits.h>\n#include <math.h>\n#include <stdbool.h>\n#include <stdint.h>\n#include <stdio.h>\n"
            "#include <stdlib.h>\n#include <string.h>\n");
    if (!rc) rc = kd_buf_puts(out, "#define main kd_answer_main\n");
    if (!rc) rc = kd_buf_append(out, code.data, code.len);
    /* whatever words it has given another meaning */
    return rc ? rc : kd_buf_puts(out, "\n#undef main\n#undef int\n#undef void\n#undef return\n#undef char\n#undef const\n");
}

static kd_code put_text(kd_buf *out) {
    kd_code rc = KD_OK;
    for (size_t i = 0; i < sizeof native_text / sizeof *native_text && !rc; i++) rc = kd_buf_puts(out, native_text[i]);
    return rc;
}

kd_code kd_native(kd_native_program *p, kd_lang lang, const kd_tests *t, kd_str code, const char *mark, kd_err *e) {
    kd_buf plain = {0};
    size_t at = 0;
    const int n = (int)t->name.len;
    const char *name = t->name.data;
    kd_code rc = blank(&plain, code);
    const kd_str text = kd_buf_view(&plain), head = rc ? (kd_str){NULL, 0} : head_of(text, t->name, &at);
    p->found = !rc && kd_has_word(text, t->name);
    if (!rc) rc = put_answer(&p->answer, lang, code, text);
    if (!rc) rc = put_text(&p->program);
    if (!rc && lang == KD_LANG_CPP) {
        const bool member = !head.data && kd_has_word(text, KD_STR("Solution"));
        rc = kd_buf_append(&p->program, p->answer.data, p->answer.len);
        if (!rc)
            rc = kd_buf_printf(&p->program, "int main() { return kd_::run(&%s%.*s, \"%s\"); }\n", member ? "Solution::" : "::", n, name,
                               mark);
    } else if (!rc) {
        rc = kd_buf_printf(&p->answer, "void *kd_entry = (void *)%.*s;\n", n, name);
        if (!rc) rc = kd_buf_puts(&p->program, "extern \"C\" {\nextern void *kd_entry;\n");
        if (!rc && head.data) rc = put_prototype(&p->program, head, at, t->name.len);
        if (!rc) rc = kd_buf_printf(&p->program, "}\nint main() { return kd_::run((decltype(&kd_like))kd_entry, \"%s\"); }\n", mark);
    }
    if (!rc) {
        kd_jsonw w = {.out = &p->tests};
        kd_jsonw_node(&w, t->inputs);
        rc = w.code;
    }
    kd_buf_clear(&plain);
    return rc ? kd_fail(e, rc, "code: no memory for its tests") : KD_OK;
}

void kd_native_clear(kd_native_program *p) {
    kd_buf_clear(&p->answer), kd_buf_clear(&p->program), kd_buf_clear(&p->tests), kd_buf_clear(&p->object);
}
