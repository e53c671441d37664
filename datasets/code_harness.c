/* datasets/code_harness.c - the programs that run an answer's function or a list of statements, and tell of each test by a line of their own.
 * Leans on code_int.h. What is expected never enters the sandbox where it can stay outside: a function's results are compared here. */
#include "datasets/code_int.h"

#include <string.h>

/* What follows `mark` says {"i":test,"value":...}, {"i":test,"ok":true} or {"i":test,"error":"..."}. Whatever the answer prints goes elsewhere. */
static const char python_text[] =
    "import sys, os, json, types\n"
    "def _plain(o):\n"
    "    if isinstance(o, (set, frozenset)):\n"
    "        try: return sorted(o)\n"
    "        except TypeError: return list(o)\n"
    "    if hasattr(o, 'tolist'): return o.tolist()\n"
    "    if hasattr(o, '__iter__'): return list(o)\n"
    "    raise TypeError('a result of type ' + type(o).__name__)\n"
    "def _main():\n"
    "    with open('/box/tests.json', encoding='utf-8') as f: t = json.load(f)\n"
    "    with open('/box/solution.py', encoding='utf-8') as f: text = f.read()\n"
    "    out = os.fdopen(os.dup(1), 'w')\n"
    "    os.dup2(2, 1)\n"
    "    def say(**o): out.write('\\n' + t['mark'] + json.dumps(o, default=_plain) + '\\n'); out.flush()\n"
    "    def fault(i, e):\n"
    "        line, tb = None, e.__traceback__\n"
    "        while tb:\n"
    "            if tb.tb_frame.f_code.co_filename == 'test': line = x.splitlines()[tb.tb_lineno - 1].strip()\n"
    "            tb = tb.tb_next\n"
    "        if isinstance(e, AssertionError) and line: say(i=i, error=('false: ' + line)[:300])\n"
    "        else: say(i=i, error=(type(e).__name__ + ': ' + str(e))[:300])\n"
    "    m = types.ModuleType('solution')\n"
    "    sys.modules['solution'] = m\n"
    "    ns = m.__dict__\n"
    "    sys.setrecursionlimit(50000)\n"
    "    i = 0\n"
    "    try:\n"
    "        if t['name'] is not None and t['inputs'] is not None: exec(t['names'], ns)\n"
    "        given = dict(ns)\n"
    "        exec(compile(text, 'solution.py', 'exec'), ns)\n"
    "        if t['inputs'] is not None:\n"
    "            f = ns.get(t['name'])\n"
    "            if f is given.get(t['name']): f = None\n"
    "            if f is None:\n"
    "                if 'Solution' not in ns: raise NameError('no function named ' + t['name'])\n"
    "                f = getattr(ns['Solution'](), t['name'])\n"
    "        for i, x in enumerate(t['inputs'] if t['inputs'] is not None else t['steps']):\n"
    "            if t['inputs'] is None:\n"
    "                exec(compile(x, 'test', 'exec'), ns)\n"
    "                say(i=i, ok=True)\n"
    "                continue\n"
    "            args = [json.loads(l) for l in x.split('\\n') if l.strip()] if isinstance(x, str) else x\n"
    "            say(i=i, value=f(*args))\n"
    "    except BaseException as e:\n"
    "        fault(i, e)\n"
    "    os._exit(0)\n"
    "_main()\n";

/* What answers in the manner of LeetCode take for granted. */
static const char python_names[] =
    "from string import *\nfrom collections import *\nfrom heapq import *\nfrom bisect import *\nfrom copy import *\n"
    "from math import *\nfrom itertools import *\nfrom functools import *\nfrom operator import *\nfrom typing import *\n"
    "import string, re, collections, heapq, bisect, copy, math, random, itertools, functools, operator, typing, sys, json\n"
    "from builtins import *\n";

static const char js_text[] =
    "\n;(() => {\n"
    "  const fs = require('fs'), t = JSON.parse(fs.readFileSync('/box/tests.json', 'utf8'));\n"
    "  const plain = (k, v) => v instanceof Set ? [...v] : v instanceof Map ? Object.fromEntries(v) : typeof v === 'bigint' ? Number(v) : "
    "v === undefined ? "
    "null : v;\n"
    "  const say = (o) => fs.writeSync(1, '\\n' + t.mark + JSON.stringify(o, plain) + '\\n');\n"
    "  let i = 0;\n"
    "  globalThis.assert = require('assert');\n"
    "  try {\n"
    "    if (t.inputs !== null) {\n"
    "      if (typeof kd_function !== 'function') throw new ReferenceError('no function named ' + t.name);\n"
    "      for (; i < t.inputs.length; i++) {\n"
    "        const x = t.inputs[i];\n"
    "        const args = typeof x === 'string' ? x.split('\\n').filter((l) => l.trim()).map((l) => JSON.parse(l)) : x;\n"
    "        say({ i, value: kd_function(...args) });\n"
    "      }\n"
    "    } else for (; i < t.steps.length; i++) { kd_step(t.steps[i]); say({ i, ok: true }); }\n"
    "  } catch (e) { say({ i, error: (e && e.code === 'ERR_ASSERTION' && t.inputs === null ? 'false: ' + t.steps[i].trim() : String(e && "
    "e.name ? e.name + ': ' + e.message : "
    "e)).slice(0, 300) }); }\n"
    "  process.exit(0);\n"
    "})();\n";

/* The files of a harness: tests.json, and the program (python: beside solution.py, javascript: around the answer's own). */
static void put_tests(kd_jsonw *w, const kd_tests *t, const char *mark) {
    kd_jsonw_object(w);
    kd_jsonw_key(w, "mark");
    kd_jsonw_cstr(w, mark);
    kd_jsonw_key(w, "name");
    if (t->name.len)
        kd_jsonw_str(w, t->name);
    else
        kd_jsonw_null(w);
    kd_jsonw_key(w, "names");
    kd_jsonw_cstr(w, python_names);
    kd_jsonw_key(w, "inputs");
    if (t->kind == KD_TESTS_FUNCTION)
        kd_jsonw_node(w, t->inputs);
    else
        kd_jsonw_null(w);
    kd_jsonw_key(w, "steps");
    kd_jsonw_array(w);
}

static kd_code put_steps(kd_jsonw *w, kd_lang lang, const kd_tests *t, kd_buf *step) {
    bool first = true;
    kd_code rc = KD_OK;
    for (const kd_json_node *n = kd_json_first(t->asserts); n && !rc; n = kd_json_next(n)) {
        step->len = 0;
        const kd_str s = kd_json_string(n);
        if (first && t->setup.len && !(rc = kd_buf_append(step, t->setup.data, t->setup.len))) rc = kd_buf_putc(step, '\n');
        if (!rc) rc = kd_buf_append(step, s.data, s.len);
        if (!rc) kd_jsonw_str(w, kd_buf_view(step));
        first = lang == KD_LANG_JS; /* each is a scope of its own */
    }
    if (rc || !t->test.len) return rc;
    step->len = 0;
    if (first && t->setup.len && !(rc = kd_buf_append(step, t->setup.data, t->setup.len))) rc = kd_buf_putc(step, '\n');
    if (!rc) rc = kd_buf_append(step, t->test.data, t->test.len);
    /* HumanEval defines check(candidate) and leaves the call to us */
    const bool call = t->name.len && kd_has_word(t->test, KD_STR("check"));
    if (!rc && call) rc = kd_buf_printf(step, "\ncheck(%.*s)%s", (int)t->name.len, t->name.data, lang == KD_LANG_JS ? ";" : "");
    if (!rc) kd_jsonw_str(w, kd_buf_view(step));
    return rc;
}

static kd_code js_program(kd_buf *out, const kd_tests *t, kd_str code) {
    const int n = (int)t->name.len;
    const char *name = t->name.data;
    kd_code rc = kd_buf_append(out, code.data, code.len);
    if (!rc && t->kind == KD_TESTS_FUNCTION)
        rc = kd_buf_printf(out,
                           "\n;var kd_function = typeof %.*s === 'function' ? %.*s : typeof Solution === 'function' ? (...a) => new "
                           "Solution().%.*s(...a) : undefined;",
                           n, name, n, name, n, name);
    if (!rc && t->kind == KD_TESTS_ASSERT) rc = kd_buf_puts(out, "\n;var kd_step = (s) => eval(s);");
    return rc ? rc : kd_buf_puts(out, js_text);
}

/* Statements for a compiler: in a main of ours, which says at its end that it came there. A `test` has its own. */
static kd_code c_program(kd_buf *out, const kd_tests *t, kd_str code, const char *mark) {
    kd_code rc = kd_buf_puts(out, "#include <assert.h>\n#include <stdio.h>\n");
    if (!rc) rc = kd_buf_append(out, code.data, code.len);
    if (!rc) rc = kd_buf_printf(out, "\n%.*s\n", (int)t->setup.len, t->setup.len ? t->setup.data : "");
    if (!rc && t->test.len) rc = kd_buf_append(out, t->test.data, t->test.len);
    if (rc || !kd_json_count(t->asserts)) return rc;
    rc = kd_buf_puts(out, "\nint main(void) {\n");
    size_t i = 0;
    for (const kd_json_node *n = kd_json_first(t->asserts); n && !rc; n = kd_json_next(n)) {
        const kd_str s = kd_json_string(n);
        rc = kd_buf_append(out, s.data, s.len);
        /* the mark holds digits, letters, a dash and a space only */
        if (!rc) rc = kd_buf_printf(out, "\n; printf(\"\\n%s{\\\"i\\\":%zu,\\\"ok\\\":true}\\n\"); fflush(stdout);\n", mark, i++);
    }
    return rc ? rc : kd_buf_puts(out, "return 0; }\n");
}

kd_code kd_harness(kd_buf *program, kd_buf *tests, kd_lang lang, const kd_tests *t, kd_str code, const char *mark, kd_err *e) {
    kd_jsonw w = {.out = tests};
    kd_buf step = {0};
    put_tests(&w, t, mark);
    kd_code rc = put_steps(&w, lang, t, &step);
    kd_jsonw_end_array(&w);
    kd_jsonw_end_object(&w);
    kd_buf_clear(&step);
    if (!rc) rc = w.code;
    if (!rc)
        rc = lang == KD_LANG_PYTHON ? kd_buf_puts(program, python_text)
             : lang == KD_LANG_JS   ? js_program(program, t, code)
                                    : c_program(program, t, code, mark);
    return rc ? kd_fail(e, rc, "code: no memory for its tests") : KD_OK;
}

kd_code kd_program(kd_buf *out, kd_lang lang, const kd_tests *t, kd_str code, kd_err *e) {
    kd_code rc = KD_OK;
    if (t->prompt.len && t->name.len && lang == KD_LANG_PYTHON) {
        /* an answer that repeats the function keeps what stands before it: imports, and what it calls */
        kd_buf def = {0};
        const char *at = NULL;
        if (!(rc = kd_buf_printf(&def, "def %.*s", (int)t->name.len, t->name.data))) {
            const bool whole = memmem(code.data, code.len, def.data, def.len) != NULL;
            for (const char *p = t->prompt.data;
                 whole && p && (p = memmem(p, (size_t)(t->prompt.data + t->prompt.len - p), def.data, def.len)); p++)
                at = p;
            rc = kd_buf_append(out, t->prompt.data, whole && at ? (size_t)(at - t->prompt.data) : t->prompt.len);
            if (!rc) rc = kd_buf_putc(out, '\n');
        }
        kd_buf_clear(&def);
    }
    if (!rc) rc = kd_buf_append(out, code.data, code.len);
    return rc ? kd_fail(e, rc, "code: no memory for a program") : KD_OK;
}
