#!/usr/bin/env bash
# tests/distill/cli/test_render.sh - render and preview as a user calls them. Prints TAP.
set -u
d=$PWD/${KD_BUILD:-build/release}/distill
case ${KD_BUILD:-} in /*) d=$KD_BUILD/distill ;; esac
m=tests/oracle/models/qwen2-tied
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
unset "${!DISTILL_@}" KD_CPU
n=0
check() { # NAME STATUS(0 = passed)
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        sed 's/^/# /' "$tmp/out" "$tmp/err" 2>/dev/null
    fi
}
run() { "$d" "$@" >"$tmp/out" 2>"$tmp/err" <"$tmp/in"; rc=$?; }
: >"$tmp/in"
cat >"$tmp/a.jsonl" <<'END'
{"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"}]}

{"messages":[{"role":"user","content":"R"}],"add_generation_prompt":true}
END
run render --model $m "$tmp/a.jsonl"
printf '<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n' >"$tmp/want"
[ $rc -eq 0 ] && cmp -s "$tmp/out" "$tmp/want" && [ ! -s "$tmp/err" ]
check "render prints the template's own text" $?
cp "$tmp/a.jsonl" "$tmp/in"
run render --model $m --json -
[ $rc -eq 0 ] && [ "$(wc -l <"$tmp/out")" -eq 2 ] && [ "$(grep -cE '^\{"text":"<\|im_start\|>user\\n.*","tokens":\[[0-9,]+\]\}$' "$tmp/out")" -eq 2 ]
check "render --json prints text and tokens a line, from standard input too" $?
run render --model $m --json --lesson "$tmp/a.jsonl"
[ $rc -eq 0 ] && grep -qE '^\{"text":"<\|im_start\|>user\\nQ<\|im_end\|>\\n<\|im_start\|>assistant\\nA<\|im_end\|>","tokens":\[[0-9,]+\],"loss":\[(0,)+1,1\]\}$' "$tmp/out" &&
    [ "$(sed -n 2p "$tmp/out")" = '{"text":"","tokens":[],"loss":[]}' ] && grep -q '1 of 2 rows teach nothing' "$tmp/err"
check "render --lesson marks what is learned, and tells of rows that teach nothing" $?
run render --model $m --json --lesson --quiet "$tmp/a.jsonl"
[ $rc -eq 0 ] && [ ! -s "$tmp/err" ]
check "render --quiet says nothing" $?
sed -n 1p "$tmp/out" >"$tmp/lesson.jsonl"
run render --model $m --json --lesson "$tmp/lesson.jsonl"
[ $rc -eq 0 ] && [ "$(sed 's/"text":".*",//' "$tmp/out")" = "$(sed 's/"text":".*",//' "$tmp/lesson.jsonl")" ]
check "what render --lesson prints is a lesson itself" $?
printf '%s' "{{ strftime_now('%d %B %Y') }} {{ tools[0].name }} {{ x }} {{ messages|length }} {{ documents|length }}
" >"$tmp/t.jinja"
echo '[{"name":"f"}]' >"$tmp/tools.json"
echo '[{"text":"a"},{"text":"b"}]' >"$tmp/docs.json"
sed -n 1p "$tmp/a.jsonl" >"$tmp/one.jsonl"
run render --model $m --chat-template "$tmp/t.jinja" --date 2024-02-29 --tools "$tmp/tools.json" --documents "$tmp/docs.json" --template-vars '{"x":1.0}' "$tmp/one.jsonl"
[ $rc -eq 0 ] && [ "$(cat "$tmp/out")" = "29 February 2024 f 1.0 2 2" ]
check "--chat-template, --date, --tools, --documents, --template-vars" $?
run render --model $m --date 2023-02-29 "$tmp/one.jsonl"
[ $rc -eq 64 ] && grep -q 'there is no 2023-02-29' "$tmp/err"
check "a date that is none is refused with 64" $?
run render "$tmp/one.jsonl"
[ $rc -eq 64 ] && grep -q -- '--model PATH is needed' "$tmp/err"
check "without a model: 64" $?
run render --model $m "$tmp/none.jsonl"
[ $rc -eq 66 ]
check "a file that is not there: 66" $?
printf '{{ a.b }}' >"$tmp/t.jinja"
run render --model $m --chat-template "$tmp/t.jinja" "$tmp/one.jsonl"
[ $rc -eq 65 ] && grep -q "one.jsonl:1: .*t.jinja: line 1, column 5: 'a' is undefined" "$tmp/err"
check "a template's error names file, line and column: 65" $?
printf '{%% for %%}' >"$tmp/t.jinja"
run render --model $m --chat-template "$tmp/t.jinja" "$tmp/one.jsonl"
[ $rc -eq 65 ] && grep -q "t.jinja: line 1, column 8: " "$tmp/err"
check "a template that cannot be read: 65" $?
run preview --model $m "$tmp/a.jsonl"
[ $rc -eq 0 ] && grep -q '2 learned (in brackets)' "$tmp/out" && grep -qF '[A]|[<|im_end|>]|' "$tmp/out" && ! grep -q "$(printf '\033')" "$tmp/out"
check "preview brackets what is learned where there is no terminal" $?
run preview --model $m --json --limit 1 "$tmp/a.jsonl"
[ $rc -eq 0 ] && [ "$(wc -l <"$tmp/out")" -eq 1 ] && grep -q '"raw":{"messages"' "$tmp/out" && grep -q '"loss":\[0' "$tmp/out"
check "preview --json --limit" $?
cat >"$tmp/q.jsonl" <<'END'
{"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"<think>\nt\n</think>\n\nA"}]}
END
"$d" import -q "$tmp/study.db" "$tmp/q.jsonl" >"$tmp/out" 2>"$tmp/err" && run preview --model $m --all "$tmp/study.db"
[ $rc -eq 0 ] && grep -q '^sample 1: ' "$tmp/out" && grep -qF '<think>' "$tmp/out" && grep -q ' learned (in brackets)' "$tmp/out"
check "preview of a study shows its samples with their thoughts" $?
echo "1..$n"
