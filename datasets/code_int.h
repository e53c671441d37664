/* datasets/code_int.h - what the files that judge programs share. Private to datasets/code_*.c. Leans on label.h, sandbox.h, base. */
#ifndef KD_DATASETS_CODE_INT_H
#define KD_DATASETS_CODE_INT_H

#include "datasets/label.h"
#include "datasets/sandbox.h"
#include "distill/base/json.h"

typedef enum { KD_LANG_NONE, KD_LANG_PYTHON, KD_LANG_C, KD_LANG_CPP, KD_LANG_JS } kd_lang;
kd_lang kd_lang_named(kd_str name); /* by the words that fences and data sets use, in any case; KD_LANG_NONE: another */
const char *kd_lang_name(kd_lang l);

/* code_extract.c: the program of an answer: the last fenced block of language want that says `name` (or the last of that language), else the only
 * block, else the last one without a language, else an answer that is a bare program. want KD_LANG_NONE: any of the four. name may be {NULL,0}.
 * {NULL,0}: none. *found: its language, guessed where nothing says it. A view into answer. */
kd_str kd_code_extract(kd_str answer, kd_lang want, kd_str name, kd_lang *found);
bool kd_has_word(kd_str text, kd_str word); /* as a whole identifier */

/* code_compare.c */
typedef enum { KD_SAME_LINES, KD_SAME_TOKENS, KD_SAME_EXACT } kd_same_how;
typedef struct {
    kd_same_how how;
    double tolerance; /* > 0: tokens that are both numbers may differ by so much, absolutely or of the expected one */
} kd_compare;
/* Is the output what was expected? why (or NULL) receives where they part. */
bool kd_output_same(kd_str expected, kd_str found, const kd_compare *c, char why[160]);
/* Are two JSON values equal as Python's == has it (1 == 1.0 == true, lists in order)? */
bool kd_value_same(const kd_json_node *expected, const kd_json_node *found, double tolerance);

/* code_tests.c: the tests of a gold answer. */
typedef enum { KD_TESTS_STDIN, KD_TESTS_FUNCTION, KD_TESTS_ASSERT } kd_tests_kind;
typedef struct {
    kd_json *doc;
    kd_tests_kind kind;
    kd_lang lang;                         /* KD_LANG_NONE: that of the answer */
    size_t n;                             /* tests */
    const kd_json_node *inputs, *outputs; /* arrays of n (STDIN, FUNCTION) */
    kd_str name;                          /* the function, or the entry point of `test`; {NULL,0} */
    const kd_json_node *asserts;          /* array of n, or NULL */
    kd_str setup, test, prompt;
    kd_compare compare;
    double seconds; /* 0: the default */
    uint64_t memory;
} kd_tests;
/* Reads a gold answer (datasets/README.md, "Programs"). KD_EFORMAT says what is wrong with it. */
kd_code kd_tests_read(kd_tests *t, kd_str gold, kd_err *e);
void kd_tests_clear(kd_tests *t);
bool kd_tests_look(kd_str gold); /* does this text look like such a gold answer? */

/* code_harness.c: program += what runs the tests of kind FUNCTION or ASSERT over `code`, and tells of each by a line "mark JSON"; tests += its tests.json. */
kd_code kd_harness(kd_buf *program, kd_buf *tests, kd_lang lang, const kd_tests *t, kd_str code, const char *mark, kd_err *e);
/* What an answer's program is when tests stand beside it (HumanEval: a completion of its prompt). */
kd_code kd_program(kd_buf *out, kd_lang lang, const kd_tests *t, kd_str code, kd_err *e);

/* code_native.c: what calls a function of an answer in C or C++. */
typedef struct {
    kd_buf answer;  /* by itself; in C with kd_entry, the function's address */
    kd_buf program; /* C++: around the answer; C: beside it */
    kd_buf tests;   /* tests.json */
    kd_buf object;  /* C: the answer compiled; the caller's to fill */
    bool found;     /* the function's name stands in the answer at all */
} kd_native_program;
/* t of kind FUNCTION. It tells as the harness does, and {"i":test,"unmapped":why} where arguments or results and the function's types do not meet. */
kd_code kd_native(kd_native_program *p, kd_lang lang, const kd_tests *t, kd_str code, const char *mark, kd_err *e);
void kd_native_clear(kd_native_program *p);

#endif
