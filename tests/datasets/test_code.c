/* tests/datasets/test_code.c - programs out of answers, the tests that gold answers hold, and verdicts by running them. */
#include "code_help.h"

#include "datasets/evaluate.h"

static void test_extract(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        kd_lang want;
        const char *name, *code;
        kd_lang found;
    } rows[] = {
        {"a\n```python\nx = 1\n```\nb", KD_LANG_NONE, NULL, "x = 1\n", KD_LANG_PYTHON},
        {"```py\na\n```\nthen\n```python3\nb\n```", KD_LANG_NONE, NULL, "b\n", KD_LANG_PYTHON}, /* the last */
        {"```python\na\n```\n```\noutput\n```", KD_LANG_NONE, NULL, "a\n", KD_LANG_PYTHON},     /* the last of a language */
        {"```python\ndef f(): 1\n```\nuse:\n```python\nprint(2)\n```", KD_LANG_PYTHON, "f", "def f(): 1\n",
         KD_LANG_PYTHON}, /* the one that has it */
        {"```c++\na\n```\n```python\nb\n```", KD_LANG_CPP, NULL, "a\n", KD_LANG_CPP},
        {"```\nimport sys\n```", KD_LANG_NONE, NULL, "import sys\n", KD_LANG_PYTHON}, /* the only one */
        {"```\n#include <stdio.h>\nint main(){}\n```", KD_LANG_NONE, NULL, "#include <stdio.h>\nint main(){}\n", KD_LANG_C},
        {"```\n#include <iostream>\nint main(){std::cout;}\n```", KD_LANG_NONE, NULL, "#include <iostream>\nint main(){std::cout;}\n",
         KD_LANG_CPP},
        {"```\nconst x = 1\n```", KD_LANG_NONE, NULL, "const x = 1\n", KD_LANG_JS},
        {"```java\nclass A {}\n```", KD_LANG_NONE, NULL, "class A {}\n", KD_LANG_NONE},
        {"```text\nprint(1)\n```", KD_LANG_NONE, NULL, "print(1)\n", KD_LANG_PYTHON},
        {"~~~~js\n```\n~~~\nlet a\n~~~~\n", KD_LANG_NONE, NULL, "```\n~~~\nlet a\n", KD_LANG_JS},
        {"1. so\n   ```python\n   x\n   ```\n", KD_LANG_NONE, NULL, "   x\n", KD_LANG_PYTHON},
        {"```python\nwhile 1: cut", KD_LANG_NONE, NULL, "while 1: cut", KD_LANG_PYTHON},        /* never closed */
        {"import os\nprint(1)\n", KD_LANG_NONE, NULL, "import os\nprint(1)\n", KD_LANG_PYTHON}, /* a bare program */
        {"The `print` function.", KD_LANG_NONE, NULL, NULL, KD_LANG_NONE},
        {"```inline``` words", KD_LANG_NONE, NULL, NULL, KD_LANG_NONE},
        {"", KD_LANG_NONE, NULL, NULL, KD_LANG_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kd_lang found;
        const kd_str c = kd_code_extract(kd_str_of(rows[i].answer), rows[i].want, kd_str_of(rows[i].name), &found);
        if (rows[i].code ? !kd_str_is(c, rows[i].code) : c.data != NULL)
            fail_msg("%s: found \"%.*s\"", rows[i].answer, (int)c.len, c.data ? c.data : "");
        if (found != rows[i].found) fail_msg("%s: language %s", rows[i].answer, kd_lang_name(found));
    }
}

static void test_compare(void **state) {
    (void)state;
    static const struct {
        const char *a, *b;
        kd_compare c;
        bool same;
    } rows[] = {
        {"3\n", "3", {0}, true},
        {"3", "3\n\n\n", {0}, true},
        {"1 2  3 \n4", "1 2 3\n4 ", {0}, true},
        {"1 2\n3", "1\n2 3", {0}, false},
        {"1 2\n3", "1\n2 3", {KD_SAME_TOKENS, 0}, true},
        {"1\r\n2\r\n", "1\n2\n", {0}, true},
        {"1\n\n2", "1\n2", {0}, false},
        {"1\n\n2", "1\n2", {KD_SAME_TOKENS, 0}, true},
        {"Yes", "YES", {0}, false},
        {"0.5", "0.50", {0}, false},
        {"0.5", "0.50", {KD_SAME_LINES, 1e-9}, true},
        {"0.333333", "0.3333334", {KD_SAME_LINES, 1e-6}, true},
        {"1000000", "1000001", {KD_SAME_LINES, 1e-5}, true}, /* of the expected one */
        {"1000000", "1000020", {KD_SAME_LINES, 1e-5}, false},
        {"a 0.1", "b 0.1", {KD_SAME_LINES, 1}, false},
        {"nan", "0", {KD_SAME_LINES, 1}, false},
        {"", "", {0}, true},
        {"", "x", {0}, false},
        {"x", "", {0}, false},
        {"a\n", "a", {KD_SAME_EXACT, 0}, false},
        {"a b", "a b", {KD_SAME_EXACT, 0}, true},
    };
    char why[160];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (kd_output_same(kd_str_of(rows[i].a), kd_str_of(rows[i].b), &rows[i].c, why) != rows[i].same)
            fail_msg("row %zu: %s | %s", i, rows[i].a, rows[i].b);
    const kd_compare lines = {0};
    assert_false(kd_output_same(kd_str_of("1\n2 3\n"), kd_str_of("1\n2 4\n"), &lines, why));
    assert_string_equal(why, "line 2: expected \"3\", found \"4\"");
    assert_false(kd_output_same(kd_str_of("1\n2"), kd_str_of("1"), &lines, why));
    assert_string_equal(why, "line 2: expected \"2\", found the end");
}

static void test_tests(void **state) {
    (void)state;
    static const struct {
        const char *gold, *why; /* NULL: they are fine */
    } rows[] = {
        {"{\"inputs\":[\"1\"],\"outputs\":[\"2\"]}", NULL},
        {"{\"inputs\":[[1,2]],\"outputs\":[3],\"fn_name\":\"add\",\"language\":\"js\",\"tolerance\":1e-6,\"time_limit\":2.5,\"memory_"
         "limit\":64}",
         NULL},
        {"[\"assert f(1)\"]", NULL},
        {"{\"asserts\":[\"assert f(1)\"],\"setup\":\"import os\"}", NULL},
        {"{\"test\":\"def check(c): pass\",\"entry_point\":\"f\"}", NULL},
        {"{\"inputs\":[\"1\"],\"outputs\":[]}", "as many outputs as inputs"},
        {"{\"inputs\":[],\"outputs\":[]}", "at least one test"},
        {"{\"inputs\":\"1\",\"outputs\":\"2\"}", "arrays"},
        {"{\"inputs\":[1],\"outputs\":[2]}", "inputs to be text"},
        {"{\"inputs\":[[]],\"outputs\":[1],\"fn_name\":\"f(); import os\"}", "fn_name to be a name"},
        {"{\"inputs\":[\"1\"],\"outputs\":[\"2\"],\"compare\":\"about\"}", "lines, tokens or exact"},
        {"{\"inputs\":[\"1\"],\"outputs\":[\"2\"],\"tolerance\":-1}", "tolerance"},
        {"{\"inputs\":[\"1\"],\"outputs\":[\"2\"],\"time_limit\":0}", "time_limit"},
        {"{\"inputs\":[\"1\"],\"outputs\":[\"2\"],\"memory_limit\":1e12}", "memory_limit"},
        {"{\"inputs\":[\"1\"],\"outputs\":[\"2\"],\"language\":\"cobol\"}", "found cobol"},
        {"{\"asserts\":[1]}", "statements"},
        {"{}", "inputs and outputs, asserts, or test"},
        {"42", "inputs and outputs, asserts, or test"},
        {"{", "gold tests"},
    };
    kd_tests t;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kd_err e;
        kd_err_clear(&e);
        const kd_code rc = kd_tests_read(&t, kd_str_of(rows[i].gold), &e);
        if (rows[i].why ? rc != KD_EFORMAT || !strstr(e.msg, rows[i].why) : rc != KD_OK) fail_msg("%s: %s", rows[i].gold, e.msg);
        assert_true(kd_tests_look(kd_str_of(rows[i].gold)) == (!rows[i].why && rows[i].gold[0] == '{'));
        if (!rc) kd_tests_clear(&t);
    }
}

#define ADD "{\"inputs\":[\"1 2\\n\",\"3 4 5\\n\"],\"outputs\":[\"3\",\"12\\n\"]"
#define FN "{\"inputs\":[[1,2],[[3],[4]]],\"outputs\":[3,[[3,4]]],\"fn_name\":\"add\"}"
static const verdict_row verdicts[] = {
    {ADD "}", "```python\nprint(sum(map(int, input().split())))\n```", KD_RIGHT, "2 tests"},
    {ADD "}", "```python\nprint(3)\n```", KD_WRONG, "test 2 of 2: line 1: expected \"12\", found \"3\""},
    {ADD "}", "```python\nprint(1/0)\n```", KD_WRONG, "test 1 of 2: ended with status 1: ZeroDivisionError: division by zero"},
    {ADD ",\"time_limit\":0.5}", "```python\nwhile True: pass\n```", KD_WRONG, "test 1 of 2: more than 0.5 s of processor time"},
    {ADD ",\"memory_limit\":64}", "```python\na = 'x' * (100 << 20)\nprint(len(a))\n```", KD_WRONG,
     "test 1 of 2: more than 64 MiB of memory"},
    {ADD "}", "I would use Python.", KD_WRONG, "no program in the answer"},
    {ADD "}", "```java\nclass A {}\n```", KD_UNKNOWN, "a language that is not judged"},
    {ADD "}",
     "```python\nimport os, sys\nprint(sum(map(int, open('/dev/stdin').read().split())), flush=True)\nos.kill(os.getpid(), 11)\n```",
     KD_WRONG, "test 1 of 2: ended by signal 11 (SIGSEGV)"},
    {"{\"inputs\":[\"\"],\"outputs\":[[\"1\",2]]}", "```python\nprint(1)\nprint(2)\n```", KD_RIGHT, "1 test"},
    {"{\"inputs\":[\"\"],\"outputs\":[\"0.3333\"],\"tolerance\":1e-3}", "```python\nprint(1/3)\n```", KD_RIGHT, "1 test"},
    /* functions */
    {FN, "```python\nclass Solution:\n  def add(self, a: List[int], b):\n    print('noise')\n    return a + b\n```", KD_RIGHT, "2 tests"},
    {FN, "```python\ndef add(a, b): return (a + b) if a == 1 else a\n```", KD_WRONG, "test 2 of 2: expected [[3,4]], found [3]"},
    {FN, "```python\ndef add(a, b): raise ValueError('no')\n```", KD_WRONG, "test 1 of 2: ValueError: no"},
    {FN, "```python\ndef plus(a, b): return a + b\n```", KD_WRONG, "test 1 of 2: NameError: no function named add"},
    {FN, "```python\nimport os\ndef add(a, b): os._exit(0)\n```", KD_WRONG, "test 1 of 2: it ended before its tests did"},
    {FN, "```python\nimport sys\ndef add(a, b): sys.exit(0)\n```", KD_WRONG, "test 1 of 2: SystemExit: 0"},
    {FN, "```python\ndef add(a, b): return (\n```", KD_WRONG, "test 1 of 2: SyntaxError"},
    {"{\"inputs\":[\"[1, 2]\\n3\"],\"outputs\":[\"[1, 2, 3]\"],\"fn_name\":\"push\"}",
     "```python\ndef push(a, b): return tuple(a + [b])\n```", KD_RIGHT, "1 test"},
    {"{\"inputs\":[\"\\\"a\\\"\"],\"outputs\":[\"a\"],\"fn_name\":\"same\"}", "```python\ndef same(a): return a\n```", KD_RIGHT, "1 test"},
    /* statements */
    {"[\"assert f(1) == 2\",\"assert f(2) == 4\"]", "```python\ndef f(x): return x * 2\n```", KD_RIGHT, "2 tests"},
    {"[\"assert f(1) == 2\",\"assert f(2) == 5\"]", "```python\ndef f(x): return x * 2\n```", KD_WRONG,
     "test 2 of 2: false: assert f(2) == 5"},
    {"{\"asserts\":[\"assert math.floor(f(1)) == 2\"],\"setup\":\"import math\"}", "```python\ndef f(x): return 2.5\n```", KD_RIGHT,
     "1 test"},
    {"{\"test\":\"def check(candidate):\\n    assert candidate(1) == 2\\n\",\"entry_point\":\"inc\",\"prompt\":\"ONE = 1\\ndef "
     "inc(x):\\n\"}",
     "```python\n    return x + ONE\n```", KD_RIGHT, "1 test"}, /* a completion of the prompt */
    {"{\"test\":\"def check(candidate):\\n    assert candidate(1) == 2\\n\",\"entry_point\":\"inc\",\"prompt\":\"ONE = 1\\ndef "
     "inc(x):\\n\"}",
     "```python\ndef inc(x):\n    return x + ONE\n```", KD_RIGHT, "1 test"},
    {"{\"test\":\"def check(candidate):\\n    assert candidate(1) == 2\\n\",\"entry_point\":\"inc\"}",
     "```python\ndef inc(x): return 7\n```", KD_WRONG, "test 1 of 1: false:"},
};

static const verdict_row compiled[] = {
    {ADD "}", "```c\n#include <stdio.h>\nint main(void){long s=0,x;while(scanf(\"%ld\",&x)==1)s+=x;printf(\"%ld\\n\",s);}\n```", KD_RIGHT,
     "2 tests"},
    {ADD "}", "```c\nint main(void){return x;}\n```", KD_WRONG, "does not compile: main.c:1:23: error: "},
    {ADD "}", "```c\n#include \"/etc/passwd\"\nint main(void){}\n```", KD_WRONG, "does not compile: main.c:1:10: fatal error: /etc/passwd"},
    {"{\"asserts\":[\"assert(twice(2) == 4)\",\"assert(twice(3) == 7)\"],\"language\":\"c\"}", "```c\nint twice(int x){return 2*x;}\n```",
     KD_WRONG, "test 2 of 2: ended by signal 6 (SIGABRT)"},
    {"{\"asserts\":[\"assert(twice(2) == 4)\"],\"language\":\"c\"}", "```c\nint twice(int x){return 2*x;}\n```", KD_RIGHT, "1 test"},
    {"{\"asserts\":[\"assert(twice(2) == 4)\"],\"language\":\"c\"}", "```c\n#include <stdlib.h>\nint twice(int x){exit(0);}\n```", KD_WRONG,
     "it ended before its tests did"},
};
static const verdict_row cpp[] = {
    {ADD "}", "```cpp\n#include <iostream>\nint main(){long s=0,x;while(std::cin>>x)s+=x;std::cout<<s<<std::endl;}\n```", KD_RIGHT,
     "2 tests"},
    {"{\"test\":\"#include <cassert>\\nint main(){assert(twice(2)==4);}\",\"language\":\"cpp\"}",
     "```cpp\nint twice(int x){return x*x*x;}\n```", KD_WRONG, "ended by signal 6"},
};
static const verdict_row node[] = {
    {ADD "}",
     "```js\nconst t = require('fs').readFileSync('/dev/stdin', 'utf8').trim().split(/\\s+/).map(Number);\nconsole.log(t.reduce((a, b) => "
     "a + b, 0));\n```",
     KD_RIGHT, "2 tests"},
    {ADD "}", "```javascript\nlet s = '';\nprocess.stdin.on('data', (d) => s += d).on('end', () => console.log(s.length));\n```", KD_WRONG,
     "test 1 of 2: line 1: expected \"3\", found \"4\""},
    {FN, "```js\nvar add = function (a, b) { console.log('x'); return Array.isArray(a) ? [...a, ...b] : a + b; };\n```", KD_RIGHT,
     "2 tests"},
    {FN, "```js\nclass Solution { add(a, b) { return a; } }\n```", KD_WRONG, "test 1 of 2: expected 3, found 1"},
    {"{\"asserts\":[\"assert.strictEqual(f(1), 2)\"],\"language\":\"javascript\"}", "```js\nfunction f(x) { return x + 1; }\n```", KD_RIGHT,
     "1 test"},
    {ADD "}", "```js\nconst a = [];\nfor (;;) a.push(new Array(1e6).fill(1.5));\n```", KD_WRONG, ""},
};

static void test_python(void **state) {
    (void)state;
    check_rows(verdicts, sizeof verdicts / sizeof *verdicts);
}
static void test_c(void **state) {
    (void)state;
    if (kd_sandbox_has("gcc")) check_rows(compiled, sizeof compiled / sizeof *compiled);
}
static void test_cpp(void **state) {
    (void)state;
    if (kd_sandbox_has("g++"))
        check_rows(cpp, sizeof cpp / sizeof *cpp);
    else
        absent(cpp, "not installed here: g++");
}
static void test_node(void **state) {
    (void)state;
    if (kd_sandbox_has("node"))
        check_rows(node, sizeof node / sizeof *node);
    else
        absent(node, "not installed here: node");
}

/* The forms of open data sets, in and out again. */
static void test_import(void **state) {
    (void)state;
    static const struct {
        const char *row, *gold, *meta;
    } rows[] = {
        {"{\"problem_id\":7,\"question\":\"q\",\"input_output\":\"{\\\"inputs\\\":[\\\"1\\\"],\\\"outputs\\\":[\\\"2\\\"]}\","
         "\"difficulty\":\"x\"}",
         "{\"inputs\":[\"1\"],\"outputs\":[\"2\"]}", "{\"problem_id\":7,\"difficulty\":\"x\"}"},
        {"{\"question\":\"q\",\"input_output\":{\"fn_name\":\"f\",\"inputs\":[[1]],\"outputs\":[[2]]}}",
         "{\"inputs\":[[1]],\"outputs\":[[2]],\"fn_name\":\"f\"}", NULL},
        {"{\"text\":\"q\",\"code\":\"def f\",\"test_list\":[\"assert f(1)\"],\"test_setup_code\":\"\"}", "{\"asserts\":[\"assert f(1)\"]}",
         "{\"code\":\"def f\"}"},
        {"{\"prompt\":\"q\",\"test_list\":[\"assert f(1)\"],\"test_imports\":[\"import a\",\"import b\"]}",
         "{\"asserts\":[\"assert f(1)\"],\"setup\":\"import a\\nimport b\\n\"}", NULL},
        {"{\"prompt\":\"def f(x):\\n\",\"test\":\"def check(c): pass\",\"entry_point\":\"f\"}",
         "{\"test\":\"def check(c): pass\",\"entry_point\":\"f\",\"prompt\":\"def f(x):\\n\"}", NULL},
        {"{\"question_content\":\"q\",\"public_test_cases\":\"[{\\\"input\\\":\\\"1\\\",\\\"output\\\":\\\"2\\\",\\\"testtype\\\":"
         "\\\"functional\\\"}]\",\"private_"
         "test_cases\":\"eJxy\",\"metadata\":\"{\\\"func_name\\\":\\\"f\\\"}\"}",
         "{\"inputs\":[\"1\"],\"outputs\":[\"2\"],\"fn_name\":\"f\"}",
         "{\"private_test_cases\":\"eJxy\",\"metadata\":\"{\\\"func_name\\\":\\\"f\\\"}\"}"},
        {"{\"prompt\":\"q\",\"official_tests\":[{\"input\":\"1\",\"output\":\"2\"}],\"time_limit\":2.0,\"memory_limit\":256}",
         "{\"inputs\":[\"1\"],\"outputs\":[\"2\"],\"time_limit\":2.0,\"memory_limit\":256}", NULL},
        {"{\"problem\":\"q\",\"verification_info\":{\"language\":\"python\",\"test_cases\":[{\"type\":\"stdin_stdout\",\"input\":\"1\","
         "\"output\":\"2\"}]}}",
         "{\"inputs\":[\"1\"],\"outputs\":[\"2\"],\"language\":\"python\"}", NULL},
        {"{\"question\":\"q\",\"answer\":[\"assert f(1)\"]}", "{\"asserts\":[\"assert f(1)\"]}", NULL},
        {"{\"question\":\"q\",\"answer\":\"{\\\"asserts\\\":[\\\"assert f('#### 1')\\\"]}\"}", "{\"asserts\":[\"assert f('#### 1')\"]}",
         NULL}, /* as export writes it */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kd_arena a = {0};
        kd_row_parts p;
        OK(kd_row_parse(&p, &a, kd_str_of(rows[i].row), KD_ROW_SNIFF, &e));
        if (!kd_str_is(p.gold, rows[i].gold)) fail_msg("%s: gold %.*s", rows[i].row, (int)p.gold.len, p.gold.data ? p.gold.data : "");
        if (rows[i].meta ? !kd_str_is(p.meta, rows[i].meta) : p.meta.data != NULL)
            fail_msg("%s: meta %.*s", rows[i].row, (int)p.meta.len, p.meta.data ? p.meta.data : "");
        assert_true(kd_str_is(p.task, "code"));
        kd_arena_clear(&a);
    }
    kd_arena a = {0};
    kd_row_parts p;
    FAILS(KD_EFORMAT, "as many outputs",
          kd_row_parse(&p, &a, KD_STR("{\"question\":\"q\",\"input_output\":{\"inputs\":[\"1\"],\"outputs\":[]}}"), KD_ROW_SNIFF, &e));
    OK(kd_row_parse(&p, &a, KD_STR("{\"question\":\"q\",\"input_output\":\"\",\"answer\":\"5\"}"), KD_ROW_SNIFF,
                    &e)); /* no tests: a question like others */
    assert_true(kd_str_is(p.gold, "5"));
    kd_arena_clear(&a);
}

/* Labels of a study: refused without a sandbox; without bubblewrap unknown, and judged as soon as it is there. */
static void test_study(void **state) {
    (void)state;
    kd_study *s = NULL;
    kd_label_report r;
    kd_import_report ir;
    kd_sandbox *none = NULL;
    write_text(in_tmp("code.jsonl"),
               "{\"prompt\":\"q\",\"answer\":[\"assert f(1) == 1\"],\"completion\":\"```python\\ndef f(x): return x\\n```\"}\n"
               "{\"prompt\":\"r\",\"answer\":[\"assert f(1) == 1\"],\"completion\":\"```python\\ndef f(x): return 2\\n```\"}\n");
    OK(kd_study_open(&s, in_tmp("code.study"), KD_STUDY_CREATE, &e));
    OK(kd_import_file(s, in_tmp("code.jsonl"), NULL, NULL, &ir, &e));
    assert_int_equal(ir.samples, 2);
    FAILS(KD_EINVAL, "--sandbox", kd_label_run(s, &(kd_label_opts){.checks = "code"}, NULL, &r, &e));
    OK(kd_label_run(s, &(kd_label_opts){.checks = "all"}, NULL, &r, &e)); /* all that can be had without one */
    OK(kd_sandbox_open(&none, &(kd_sandbox_opts){.bwrap = "/nonexistent"}, &e));
    for (int i = 0; i < 2; i++) { /* again, for nothing was told about the answers */
        OK(kd_label_run(s, &(kd_label_opts){.sandbox = none, .checks = "code"}, NULL, &r, &e));
        assert_int_equal(r.unknown, 2);
    }
    if (!kd_sandbox_missing(box)) {
        kd_eval v; /* programs count by their label, and not before they have one */
        OK(kd_evaluate(&v, s, 0, "train", 0, 1, NULL, &e));
        assert_int_equal(v.unknown, 2);
        kd_eval_clear(&v);
        OK(kd_label_run(s, &(kd_label_opts){.sandbox = box, .checks = "code", .pool = pool}, NULL, &r, &e));
        OK(kd_evaluate(&v, s, 0, "train", 0, 1, NULL, &e));
        assert_int_equal(v.questions, 2);
        assert_int_equal(v.right, 1);
        assert_int_equal(v.wrong, 1);
        assert_true(v.pass1 == 0.5 && v.ci[0] < 0.5 && v.ci[1] > 0.5);
        kd_eval_clear(&v);
        assert_int_equal(r.right, 1);
        assert_int_equal(r.wrong, 1);
        OK(kd_label_run(s, &(kd_label_opts){.sandbox = box, .checks = "code"}, NULL, &r, &e));
        assert_int_equal(r.looked, 0);
        kd_select *q = NULL;
        uint64_t rows;
        OK(kd_label_run(s, &(kd_label_opts){.sandbox = box}, NULL, &r, &e));
        OK(kd_select_open(&q, s, &(kd_select_opts){0}, &e)); /* what is learned from without being told otherwise */
        OK(kd_select_count(q, &rows, NULL, &e));
        assert_int_equal(rows, 1);
        kd_select_close(q);
    }
    kd_sandbox_close(none);
    kd_study_close(s);
}

int main(void) {
    const struct CMUnitTest always[] = {
        cmocka_unit_test(test_extract), cmocka_unit_test(test_compare), cmocka_unit_test(test_tests),
        cmocka_unit_test(test_import),  cmocka_unit_test(test_study),
    };
    const struct CMUnitTest boxed[] = {
        cmocka_unit_test(test_extract), cmocka_unit_test(test_compare), cmocka_unit_test(test_tests),
        cmocka_unit_test(test_import),  cmocka_unit_test(test_study),   cmocka_unit_test(test_python),
        cmocka_unit_test(test_c),       cmocka_unit_test(test_cpp),     cmocka_unit_test(test_node),
    };
    OK(kd_sandbox_open(&box, NULL, &e));
    if (!kd_sandbox_missing(box)) return cmocka_run_group_tests_name("code", boxed, begin, finish);
    printf("ok 6 - test_python # SKIP no sandbox: %s\n", kd_sandbox_missing(box));
    return cmocka_run_group_tests_name("code", always, begin, finish);
}
