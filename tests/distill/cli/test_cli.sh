#!/usr/bin/env bash
# tests/distill/cli/test_cli.sh - the program as a shell sees it: exit statuses, where words go, help of every command. Prints TAP.
set -u
d=$PWD/${KD_BUILD:-build/release}/distill
case ${KD_BUILD:-} in /*) d=$KD_BUILD/distill ;; esac
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
run() { "$d" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null; rc=$?; }
# STATUS of the last run, and the whole of its stderr
said() { [ "$rc" -eq "$1" ] && [ "$(cat "$tmp/err")" = "$2" ]; }

run --version
[ "$rc" -eq 0 ] && grep -qxE 'distill [0-9]+\.[0-9]+\.[0-9]+' "$tmp/out" && [ ! -s "$tmp/err" ]
check "--version" $?
run
[ "$rc" -eq 64 ] && grep -q '^usage: distill COMMAND' "$tmp/err" && [ ! -s "$tmp/out" ]
check "no command: help on stderr, 64" $?
run help
[ "$rc" -eq 0 ] && grep -q '^  doctor ' "$tmp/out" && [ ! -s "$tmp/err" ]
check "help lists commands on stdout" $?
names=$(sed -n 's/^  \([a-z]*\)  .*/\1/p' "$tmp/out")
[ "$names" = "$(echo "$names" | sort)" ] && [ "$(echo "$names" | sort)" = "$(sed -n 's/KD_COMMAND(\(.*\))/\1/p' distill/cli/commands.def | sort)" ]
check "help lists every command of commands.def, sorted" $?
bad=0
for name in $names; do
    run help "$name"
    [ "$rc" -eq 0 ] && grep -q "^usage: distill $name " "$tmp/out" || bad=1
    cp "$tmp/out" "$tmp/first"
    run "$name" --help
    [ "$rc" -eq 0 ] && cmp -s "$tmp/first" "$tmp/out" || bad=1
    # every command takes the common options
    for option in --dry-run --json --quiet --verbose --threads --seed --config; do grep -q -- "$option" "$tmp/out" || bad=1; done
    run "$name" --no-such-option
    [ "$rc" -eq 64 ] && [ ! -s "$tmp/out" ] || bad=1
    [ "$bad" -eq 0 ] || { echo "# $name"; break; }
done
check "help NAME and NAME --help agree; unknown options are refused with 64" $bad

run docter
said 64 "distill: unknown command 'docter'; did you mean doctor?"
check "nearest command" $?
run help docter
said 64 "distill: unknown command 'docter'; did you mean doctor?"
check "nearest command of help" $?
run -q doctor
[ "$rc" -eq 64 ] && grep -q 'the command comes first' "$tmp/err"
check "an option before the command" $?
run generate "$tmp/none.study" --teacher x.gguf --rps 3
said 64 "distill: generate: --rps is for a remote teacher, this one is a model here"
check "a flag of remote teachers before a local one" $?
run generate "$tmp/none.study" --teacher http://127.0.0.1:1/v1 --parallel 3
said 64 "distill: generate: --parallel is for a local teacher, this one is an endpoint"
check "a flag of local teachers before an endpoint" $?
run export "$tmp/none.study" - --bare --logprobs
said 64 "distill: export: --logprobs are part of the lineage, which --bare leaves out"
check "log-probabilities without lineage" $?
run doctor one
[ "$rc" -eq 64 ] && grep -q "argument 'one' is one too many" "$tmp/err"
check "one argument too many" $?
run doctor --thread 2
said 64 "distill: doctor: unknown option --thread; did you mean --threads?"
check "nearest option" $?

run doctor
case $rc in 0) grep -q '^all is well$' "$tmp/out" ;; 1) grep -q '^distill: warning: ' "$tmp/err" ;; *) false ;; esac && grep -q '^kernels ' "$tmp/out"
check "doctor" $?
run doctor --json
{ [ "$rc" -eq 0 ] || [ "$rc" -eq 1 ]; } && [ "$(wc -l <"$tmp/out")" -eq 1 ] && python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); assert d["memory"] > 0 and d["kernels"]' "$tmp/out"
check "doctor --json is one object a line" $?
KD_CPU=scalar run doctor --json
[ "$rc" -eq 1 ] && grep -q '"kernels":"scalar"' "$tmp/out" && grep -q 'no AVX2' "$tmp/err"
check "KD_CPU caps the kernels, and doctor says no" $?
KD_CPU=sse9 run doctor
said 78 "distill: KD_CPU: 'sse9' is not one of scalar, avx2, avx512-base, avx512"
check "a wrong KD_CPU" $?
DISTILL_THREADS=1 run doctor --json
grep -q '"threads":"1"' "$tmp/out"
check "an option from the environment" $?
DISTILL_THREADS=many run doctor
said 78 "distill: DISTILL_THREADS: 'many' is no whole number"
check "a wrong one from the environment" $?
printf 'seed: 1\nthraeds: 2\n' >"$tmp/c.yaml"
run doctor --config "$tmp/c.yaml"
said 78 "distill: $tmp/c.yaml line 2: unknown key 'thraeds'; did you mean threads?"
check "an unknown key of the config file" $?
printf 'threads: 2\n' >"$tmp/c.yaml"
DISTILL_CONFIG=$tmp/c.yaml run doctor --json
grep -q '"threads":"2"' "$tmp/out"
check "the config file from the environment" $?
DISTILL_CONFIG=$tmp/c.yaml run doctor --json --threads 1
grep -q '"threads":"1"' "$tmp/out"
check "a flag over the config file" $?
run doctor --config "$tmp/none.yaml"
[ "$rc" -eq 66 ] && grep -q 'none.yaml' "$tmp/err"
check "no such config file" $?
"$d" doctor >/dev/full 2>"$tmp/err"
rc=$?
[ "$rc" -eq 74 ] && grep -q 'standard output: No space left on device' "$tmp/err"
check "stdout on a full disk: 74" $?
{ sleep 0.2; "$d" doctor 2>"$tmp/err"; echo $? >"$tmp/rc"; } | true
[ "$(cat "$tmp/rc")" -eq 141 ] && ! grep -q 'Broken pipe' "$tmp/err"
check "a reader that went away: 141, without a word" $?
echo "1..$n"
