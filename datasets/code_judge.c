/* datasets/code_judge.c - is a program right? Extracted, compiled once, run over its tests in the sandbox. Leans on code_int.h. */
#include "datasets/code_int.h"
#include "distill/base/hash.h"

#include <stdio.h>
#include <string.h>

#define COMPILE_SECONDS 60.0
#define MIB ((uint64_t)1 << 20)

typedef struct {
    kd_judgement *out;
    kd_sandbox *box;
    const kd_code_opts *o;
    kd_tests tests;
    kd_lang lang;
    kd_buf program, harness, steps, binary, input, text;
    kd_native_program native;
    kd_box_result r;
    char mark[32];
    kd_err *e;
} judging;

static void say(judging *j, kd_verdict v, bool machine, const char *a, const char *b, kd_str c) {
    while (c.len && (c.data[c.len - 1] == '\n' || c.data[c.len - 1] == ' ')) c.len--;
    j->out->verdict = v;
    j->out->machine = machine;
    (void)snprintf(j->out->reason, sizeof j->out->reason, "%s%s%.*s", a, b, (int)(c.len < 180 ? c.len : 180), c.len ? c.data : "");
    for (char *p = j->out->reason; *p; p++)
        if ((unsigned char)*p < ' ') *p = ' ';
}

/* The line of what it complained of that says most. */
static kd_str complaint(kd_str errors) {
    kd_str last = {NULL, 0}, rest = errors;
    while (rest.len) {
        const char *nl = memchr(rest.data, '\n', rest.len);
        const kd_str line = {rest.data, nl ? (size_t)(nl - rest.data) : rest.len};
        rest = (kd_str){rest.data + line.len + (nl != NULL), rest.len - line.len - (nl != NULL)};
        if (line.len && !kd_str_starts(line, "Node.js v")) last = line;
        if (memmem(line.data, line.len, "error: ", 7) || (kd_str_starts(line, "SyntaxError") || kd_str_starts(line, "ReferenceError")))
            return line;
    }
    return last;
}

static kd_code run(judging *j, const char *const *argv, const kd_box_file *files, size_t n, kd_str input, const char *collect) {
    const bool compiles = collect != NULL;
    const kd_box_spec s = {.argv = argv,
                           .files = files,
                           .n_files = n,
                           .input = input,
                           .collect = collect,
                           .cpu_seconds = compiles               ? COMPILE_SECONDS
                                          : j->tests.seconds > 0 ? j->tests.seconds
                                                                 : j->o->seconds,
                           .idle_seconds = j->o->idle_seconds,
                           .memory = compiles          ? 2048 * MIB
                                     : j->tests.memory ? j->tests.memory
                                                       : j->o->memory,
                           .disk = compiles ? 256 * MIB : 0,
                           .unlimited_space = j->lang == KD_LANG_JS};
    return kd_sandbox_run(j->box, &s, j->o->stop, j->o->ctx, &j->r, j->e);
}

/* What a run that did not end by itself, or not with 0, says of the program. false: it ended well. */
static bool ended_badly(judging *j, const char *where) {
    char what[160];
    const kd_box_spec d = kd_box_defaults(&(kd_box_spec){.cpu_seconds = j->tests.seconds > 0 ? j->tests.seconds : j->o->seconds,
                                                         .idle_seconds = j->o->idle_seconds,
                                                         .memory = j->tests.memory ? j->tests.memory : j->o->memory});
    const kd_str line = complaint(kd_buf_view(&j->r.errors));
    switch (j->r.end) {
    case KD_BOX_EXIT:
        if (j->r.status == 0) return false;
        (void)snprintf(what, sizeof what, "ended with status %d%s", j->r.status, line.len ? ": " : "");
        say(j, KD_WRONG, false, where, what, line);
        return true;
    case KD_BOX_SIGNAL: {
        const char *name = sigabbrev_np(j->r.status);
        (void)snprintf(what, sizeof what, "ended by signal %d (SIG%s)", j->r.status, name ? name : "?");
        say(j, KD_WRONG, false, where, what, (kd_str){NULL, 0});
        return true;
    }
    case KD_BOX_CPU: (void)snprintf(what, sizeof what, "more than %g s of processor time", d.cpu_seconds); break;
    case KD_BOX_IDLE: (void)snprintf(what, sizeof what, "waited for more than %g s", d.idle_seconds); break;
    case KD_BOX_MEMORY: (void)snprintf(what, sizeof what, "more than %llu MiB of memory", (unsigned long long)(d.memory / MIB)); break;
    case KD_BOX_OUTPUT: (void)snprintf(what, sizeof what, "more than %llu MiB of output", (unsigned long long)(d.output / MIB)); break;
    case KD_BOX_PROCESSES: (void)snprintf(what, sizeof what, "more than %d processes", d.processes); break;
    case KD_BOX_WALL:
        say(j, KD_UNKNOWN, true, where, "the machine is too busy: the time by the clock ran out before the processor time", line);
        return true;
    default: say(j, KD_UNKNOWN, true, "the sandbox failed: ", "", kd_buf_view(&j->r.errors)); return true;
    }
    say(j, KD_WRONG, false, where, what, (kd_str){NULL, 0});
    return true;
}

/* ---- a program over standard input ---- */
/* Text as it is; a list of lines joined. */
static kd_code text_of(kd_buf *b, const kd_json_node *n, kd_str *out) {
    kd_code rc = KD_OK;
    *out = kd_json_string(n);
    if (kd_json_typeof(n) != KD_JSON_ARRAY) return KD_OK;
    b->len = 0;
    for (const kd_json_node *l = kd_json_first(n); l && !rc; l = kd_json_next(l)) {
        const kd_str s = kd_json_typeof(l) == KD_JSON_NUMBER ? kd_json_number_text(l) : kd_json_string(l);
        rc = kd_buf_append(b, s.data, s.len);
        if (!rc) rc = kd_buf_putc(b, '\n');
    }
    *out = kd_buf_view(b);
    return rc;
}

static const char *memory_word(const judging *j, char word[48]) {
    const uint64_t m = j->tests.memory ? j->tests.memory : j->o->memory ? j->o->memory : 1024 * MIB;
    (void)snprintf(word, 48, "--max-old-space-size=%llu", (unsigned long long)(m / MIB));
    return word;
}

static bool js_module(kd_str code) {
    kd_str rest = code;
    while (rest.len) {
        const char *nl = memchr(rest.data, '\n', rest.len);
        if (kd_str_starts(rest, "import ") || kd_str_starts(rest, "export ")) return true;
        if (!nl) break;
        rest = (kd_str){nl + 1, (size_t)(rest.data + rest.len - nl - 1)};
    }
    return false;
}

static kd_code run_program(judging *j, kd_str input, const char *main_name) {
    char word[48];
    const char *const python[] = {"python3", "-B", main_name, NULL}, *const js[] = {"node", memory_word(j, word), main_name, NULL},
                      *const binary[] = {"/box/main", NULL};
    const bool compiled = j->lang == KD_LANG_C || j->lang == KD_LANG_CPP;
    const kd_box_file files[] = {compiled ? (kd_box_file){"main", kd_buf_view(&j->binary), true}
                                          : (kd_box_file){main_name, kd_buf_view(&j->program), false},
                                 {"tests.json", kd_buf_view(&j->native.tests), false}};
    return run(j, compiled ? binary : j->lang == KD_LANG_JS ? js : python, files, j->native.tests.len ? 2 : 1, input, NULL);
}

static kd_code judge_stdin(judging *j) {
    const kd_json_node *in = kd_json_first(j->tests.inputs), *want = kd_json_first(j->tests.outputs);
    const char *name = j->lang == KD_LANG_PYTHON ? "main.py" : js_module(kd_buf_view(&j->program)) ? "main.mjs" : "main.js";
    char where[48], why[160];
    kd_code rc = KD_OK;
    for (size_t i = 0; in && want && !rc; i++, in = kd_json_next(in), want = kd_json_next(want)) {
        kd_str input, expected;
        (void)snprintf(where, sizeof where, "test %zu of %zu: ", i + 1, j->tests.n);
        if ((rc = text_of(&j->input, in, &input)) || (rc = text_of(&j->text, want, &expected)))
            return kd_fail(j->e, rc, "code: no memory for a test");
        if ((rc = run_program(j, input, name)) || j->r.end == KD_BOX_STOPPED) return rc;
        if (ended_badly(j, where)) return KD_OK;
        if (!kd_output_same(expected, kd_buf_view(&j->r.out), &j->tests.compare, why)) {
            say(j, KD_WRONG, false, where, "", kd_str_of(why));
            return KD_OK;
        }
    }
    return rc;
}

/* ---- functions and statements ---- */
/* The next line of the harness in *rest, parsed; NULL: no more. */
static kd_json *next_told(const judging *j, kd_str *rest) {
    const size_t n = strlen(j->mark);
    for (;;) {
        const char *p = rest->len ? memmem(rest->data, rest->len, j->mark, n) : NULL;
        if (!p) return NULL;
        const bool begins = p == rest->data || p[-1] == '\n';
        *rest = (kd_str){p + n, (size_t)(rest->data + rest->len - p) - n};
        const char *nl = memchr(rest->data, '\n', rest->len);
        kd_json *doc = NULL;
        if (begins && nl && kd_json_parse(&doc, rest->data, (size_t)(nl - rest->data), "result", NULL) == KD_OK) return doc;
    }
}

/* A value as an excerpt of its JSON. */
static void excerpt(char *out, size_t size, const kd_json_node *n) {
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    kd_jsonw_node(&w, n);
    const int most = (int)size - 5;
    (void)snprintf(out, size, "%.*s%s", b.len < (size_t)most ? (int)b.len : most, b.data ? b.data : "", b.len > (size_t)most ? "..." : "");
    kd_buf_clear(&b);
}

/* APPS wraps an output in a list, LiveCodeBench writes it as text of JSON. */
static bool result_same(const kd_json_node *want, const kd_json_node *found, double tolerance) {
    if (kd_value_same(want, found, tolerance)) return true;
    if (kd_json_typeof(want) == KD_JSON_ARRAY) return kd_json_count(want) == 1 && kd_value_same(kd_json_first(want), found, tolerance);
    const kd_str text = kd_json_string(want);
    kd_json *doc = NULL;
    if (!text.data || kd_json_parse(&doc, text.data, text.len, "output", NULL)) return false;
    const bool same = kd_value_same(kd_json_root(doc), found, tolerance);
    kd_json_free(doc);
    return same;
}

/* One line against its test; false: the verdict is said. */
static bool told_right(judging *j, size_t i, const kd_json_node *told, const kd_json_node *want) {
    char where[48], a[80], b[80], why[200];
    (void)snprintf(where, sizeof where, "test %zu of %zu: ", i + 1, j->tests.n);
    const kd_str error = kd_json_string(kd_json_get(told, "error"));
    if (error.data) {
        say(j, KD_WRONG, false, where, "", error);
        return false;
    }
    const kd_str unmapped = kd_json_string(kd_json_get(told, "unmapped"));
    if (unmapped.data) {
        say(j, KD_UNKNOWN, false, where, "its function cannot be called so: ", unmapped);
        return false;
    }
    if (!want) return true;
    const kd_json_node *value = kd_json_get(told, "value");
    if (result_same(want, value, j->tests.compare.tolerance)) return true;
    excerpt(a, sizeof a, want);
    excerpt(b, sizeof b, value);
    (void)snprintf(why, sizeof why, "expected %s, found %s", a, value ? b : "nothing");
    say(j, KD_WRONG, false, where, "", kd_str_of(why));
    return false;
}

static kd_code judge_told(judging *j) {
    kd_str rest = kd_buf_view(&j->r.out);
    const kd_json_node *want = kd_json_first(j->tests.outputs);
    char where[48];
    size_t i = 0;
    for (; i < j->tests.n; i++) {
        kd_json *doc = next_told(j, &rest);
        if (!doc) break;
        const bool right = told_right(j, i, kd_json_root(doc), want);
        kd_json_free(doc);
        if (!right) return KD_OK;
        if (want) want = kd_json_next(want);
    }
    (void)snprintf(where, sizeof where, "test %zu of %zu: ", i + 1, j->tests.n);
    if (i < j->tests.n && !ended_badly(j, where)) say(j, KD_WRONG, false, where, "it ended before its tests did", (kd_str){NULL, 0});
    return KD_OK;
}

static kd_code judge_harness(judging *j) {
    char word[48];
    const char *const python[] = {"python3", "-B", "run.py", NULL}, *const js[] = {"node", memory_word(j, word), "main.js", NULL};
    const kd_box_file files[] = {{j->lang == KD_LANG_JS ? "main.js" : "run.py", kd_buf_view(&j->harness), false},
                                 {"tests.json", kd_buf_view(&j->steps), false},
                                 {"solution.py", kd_buf_view(&j->program), false}};
    kd_code rc;
    if (j->lang == KD_LANG_C || j->lang == KD_LANG_CPP) {
        if ((rc = run_program(j, (kd_str){NULL, 0}, "main")) || j->r.end == KD_BOX_STOPPED) return rc;
        if (j->tests.kind == KD_TESTS_ASSERT && !kd_json_count(j->tests.asserts)) { /* its own main: the exit status is the verdict */
            (void)ended_badly(j, "");
            return KD_OK;
        }
        return judge_told(j);
    }
    rc = run(j, j->lang == KD_LANG_JS ? js : python, files, j->lang == KD_LANG_JS ? 2 : 3, (kd_str){NULL, 0}, NULL);
    return rc || j->r.end == KD_BOX_STOPPED ? rc : judge_told(j);
}

/* One call of a compiler: collect into *out; *ready false: it did not come to that. */
static kd_code compile_once(judging *j, const char *const *argv, const kd_box_file *files, size_t n, const char *collect, kd_buf *out,
                            bool *ready) {
    *ready = false;
    kd_code rc = run(j, argv, files, n, (kd_str){NULL, 0}, collect);
    if (rc || j->r.end != KD_BOX_EXIT || j->r.status != 0 || !j->r.collected.len) return rc;
    *ready = true;
    out->len = 0;
    rc = kd_buf_append(out, j->r.collected.data, j->r.collected.len);
    return rc ? kd_fail(j->e, rc, "code: no memory for a program") : KD_OK;
}

/* Why the last call of a compiler made nothing. */
static void say_uncompiled(judging *j) {
    if (j->r.end == KD_BOX_EXIT)
        say(j, KD_WRONG, false, "does not compile: ", "", complaint(kd_buf_view(&j->r.errors)));
    else if (j->r.end == KD_BOX_WALL || j->r.end == KD_BOX_BROKEN)
        (void)ended_badly(j, "compiling: ");
    else
        say(j, KD_WRONG, false, "does not compile within its limits", "", (kd_str){NULL, 0});
}

/* *ready false: the verdict is said. */
static kd_code compile(judging *j, kd_str text, bool *ready) {
    static const char *const c[] = {"gcc", "-x", "c", "-std=gnu17", "-O2", "-w", "-o", "main", "main.c", "-lm", NULL},
                             *const cpp[] = {"g++", "-x", "c++", "-std=gnu++17", "-O2", "-w", "-o", "main", "main.c", "-lm", NULL};
    kd_code rc = compile_once(j, j->lang == KD_LANG_C ? c : cpp, &(kd_box_file){"main.c", text, false}, 1, "main", &j->binary, ready);
    if (!rc && !*ready && j->r.end != KD_BOX_STOPPED) say_uncompiled(j);
    return rc;
}

/* The last call of a compiler failed over what calls the function, the answer itself being well. */
static void say_uncalled(judging *j) {
    if (j->r.end == KD_BOX_EXIT)
        say(j, KD_UNKNOWN, false, "its function cannot be called: ", "", complaint(kd_buf_view(&j->r.errors)));
    else
        say_uncompiled(j);
}

/* What calls a function in C or C++. An answer that does not compile by itself is wrong; one that we cannot call cannot be told. */
static kd_code compile_native(judging *j, bool *ready) {
    static const char *const c[] = {"gcc", "-x", "c", "-std=gnu17", "-O2", "-w", "-c", "-o", "answer.o", "main.c", NULL},
                             *const cpp[] = {"g++", "-x", "c++", "-std=gnu++17", "-O2", "-w", "-c", "-o", "answer.o", "main.c", NULL},
                             *const beside[] = {"g++",  "-x",     "c++", "-std=gnu++17", "-O1",      "-w",  "-o",
                                                "main", "main.c", "-x",  "none",         "answer.o", "-lm", NULL};
    kd_native_program *p = &j->native;
    const kd_box_file answer = {"main.c", kd_buf_view(&p->answer), false};
    kd_code rc;
    *ready = false;
    if (!p->found) {
        say(j, KD_WRONG, false, "no function named ", "", j->tests.name);
        return KD_OK;
    }
    if (j->lang == KD_LANG_C) {
        rc = compile_once(j, c, &answer, 1, "answer.o", &p->object, ready);
        if (rc || j->r.end == KD_BOX_STOPPED) return rc;
        if (!*ready) {
            say_uncompiled(j);
            return KD_OK;
        }
        const kd_box_file both[] = {{"main.c", kd_buf_view(&p->program), false}, {"answer.o", kd_buf_view(&p->object), false}};
        rc = compile_once(j, beside, both, 2, "main", &j->binary, ready);
        if (!rc && !*ready && j->r.end != KD_BOX_STOPPED) say_uncalled(j);
        return rc;
    }
    rc = compile(j, kd_buf_view(&p->program), ready);
    if (rc || *ready || j->r.end == KD_BOX_STOPPED) return rc;
    char why[sizeof j->out->reason]; /* of the whole, should the answer by itself be well */
    const bool ended = j->r.end == KD_BOX_EXIT;
    memcpy(why, j->out->reason, sizeof why);
    bool alone;
    rc = compile_once(j, cpp, &answer, 1, "answer.o", &p->object, &alone);
    if (rc || j->r.end == KD_BOX_STOPPED) return rc;
    if (!alone)
        say_uncompiled(j);
    else if (ended)
        say(j, KD_UNKNOWN, false, "its function cannot be called: ", "", kd_str_of(why + strlen("does not compile: ")));
    return KD_OK;
}

static const char *program_of(kd_lang l) {
    return l == KD_LANG_PYTHON ? "python3" : l == KD_LANG_JS ? "node" : l == KD_LANG_C ? "gcc" : "g++";
}

static kd_code judge(judging *j, kd_str code) {
    const kd_tests *t = &j->tests;
    bool ready = true;
    const bool compiled = j->lang == KD_LANG_C || j->lang == KD_LANG_CPP;
    kd_code rc = kd_program(&j->program, j->lang, t, code, j->e);
    const bool native = compiled && t->kind == KD_TESTS_FUNCTION;
    if (!rc && native)
        rc = kd_native(&j->native, j->lang, t, kd_buf_view(&j->program), j->mark, j->e);
    else if (!rc && t->kind != KD_TESTS_STDIN)
        rc = kd_harness(&j->harness, &j->steps, j->lang, t, kd_buf_view(&j->program), j->mark, j->e);
    if (!rc && native) rc = compile_native(j, &ready);
    if (!rc && compiled && !native) rc = compile(j, kd_buf_view(t->kind == KD_TESTS_STDIN ? &j->program : &j->harness), &ready);
    if (rc || !ready || j->r.end == KD_BOX_STOPPED) return rc;
    (void)snprintf(j->out->reason, sizeof j->out->reason, "%zu test%s", t->n, t->n == 1 ? "" : "s");
    j->out->verdict = KD_RIGHT; /* until one says no */
    return t->kind == KD_TESTS_STDIN ? judge_stdin(j) : judge_harness(j);
}

/* Everything that can be told without running it; true: the verdict is said. */
static bool without_running(judging *j, kd_str code) {
    if (!code.data)
        say(j, KD_WRONG, false, "no program in the answer", "", (kd_str){NULL, 0});
    else if (j->lang == KD_LANG_NONE)
        say(j, KD_UNKNOWN, false, "a program in a language that is not judged", "", (kd_str){NULL, 0});
    else if (!j->box || kd_sandbox_missing(j->box))
        say(j, KD_UNKNOWN, true, "no sandbox: ", "", kd_str_of(j->box ? kd_sandbox_missing(j->box) : "not asked for"));
    else if (!kd_sandbox_has(program_of(j->lang)))
        say(j, KD_UNKNOWN, true, "not installed here: ", program_of(j->lang), (kd_str){NULL, 0});
    else
        return false;
    return true;
}

kd_code kd_label_code(kd_judgement *out, kd_sandbox *b, kd_str answer, kd_str gold, const kd_code_opts *o, kd_err *e) {
    static const kd_code_opts nothing;
    judging j = {.out = out, .box = b, .o = o ? o : &nothing, .e = e};
    kd_err why;
    kd_err_clear(&why);
    *out = (kd_judgement){0};
    kd_code rc = kd_tests_read(&j.tests, gold, &why);
    if (rc) {
        if (rc == KD_ENOMEM) return kd_fail(e, rc, "%s", why.msg);
        say(&j, KD_UNKNOWN, false, "", "", kd_str_of(why.msg));
        return KD_OK;
    }
    (void)snprintf(j.mark, sizeof j.mark, "kd-%016llx ",
                   (unsigned long long)(kd_hash64(answer.data, answer.len, 11) ^ kd_hash64(gold.data, gold.len, 12)));
    kd_lang want = j.tests.lang;
    if (!want && j.tests.kind == KD_TESTS_ASSERT) want = KD_LANG_PYTHON; /* assert lists and check() are Python's */
    const kd_str code = kd_code_extract(answer, want, j.tests.kind == KD_TESTS_STDIN ? (kd_str){NULL, 0} : j.tests.name, &j.lang);
    if (!without_running(&j, code)) rc = judge(&j, code);
    if (!rc && j.r.end == KD_BOX_STOPPED) rc = kd_fail(e, KD_EINTERRUPT, "stopped while a program ran");
    kd_tests_clear(&j.tests);
    kd_buf *const bufs[] = {&j.program, &j.harness, &j.steps, &j.binary, &j.input, &j.text};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) kd_buf_clear(bufs[i]);
    kd_native_clear(&j.native);
    kd_box_clear(&j.r);
    return rc;
}
