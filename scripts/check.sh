#!/usr/bin/env bash
# Everything that `make test` does not look at: all tests again under AddressSanitizer and UndefinedBehaviorSanitizer, clang-tidy, clang-format.
#   scripts/check.sh            all of it
#   scripts/check.sh tests|tidy|format   one part
#   scripts/check.sh threads|memory      not in all: the engine and what it stands on under ThreadSanitizer (clang), under valgrind (make soak runs both)
set -uo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --check || exit 1
jobs=$(nproc)
bad=0

sources() { git ls-files '*.c' '*.h' 2>/dev/null | grep -vE '^tests/oracle/' || find distill datasets teacher student convert tests -name '*.[ch]'; }

run_tests() {
    echo "check: tests under ASan and UBSan"
    # setup has run; build-tests and run.sh are what `make test` does after it
    # not detect_stack_use_after_return: gcc 12 lays frames of 64-byte vectors at 32 bytes in the stack that it then uses (its bug 110027)
    ASAN_OPTIONS=strict_string_checks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
        make -s -j"$jobs" MODE=asan test || { echo "check: tests under ASan and UBSan failed"; bad=1; }
}

run_format() {
    echo "check: clang-format"
    sources | xargs clang-format --dry-run -Werror || { echo "check: clang-format wants changes (make format makes them)"; bad=1; }
}

# One file; the flags are those that the Makefile gives clang for kernels of one instruction set.
tidy_one() {
    local isa=
    case $1 in
    *_avx2.c) isa="-mavx2 -mfma -mf16c" ;;
    *_avxvnni.c) isa="-mavx2 -mfma -mf16c -mavxvnni" ;;
    *_avx512.c) isa="-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq" ;;
    *_avx512vnni.c) isa="-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni" ;;
    esac
    # shellcheck disable=SC2086
    clang-tidy --quiet "$1" -- -std=c11 -D_GNU_SOURCE -I. -DKD_VERSION='"0"' $isa 2>/dev/null | grep -A 3 -E '(warning|error):'
    return 0
}
export -f tidy_one

run_tidy() {
    echo "check: clang-tidy"
    local found
    found=$(sources | grep '\.c$' | grep -v '^tests/' | xargs -P "$jobs" -I{} bash -c 'tidy_one {}')
    [ -z "$found" ] || { echo "$found"; echo "check: clang-tidy found the above"; bad=1; }
}

# The tests of everything that runs on several threads below the trades: clang's ThreadSanitizer, since gcc's does not know of futexes' fences.
run_threads() {
    echo "check: the engine's tests under ThreadSanitizer"
    TSAN_OPTIONS="exitcode=66 ${TSAN_OPTIONS:-}" make -s -j"$jobs" CC="${TSAN_CC:-clang}" MODE=tsan B=build/tsan test-distill/base test-distill/math test-distill/model test-distill/engine ||
        { echo "check: tests under ThreadSanitizer failed"; bad=1; }
}

# valgrind 3.19 knows no AVX-512: the AVX2 kernels are what it sees.
run_memory() {
    local room test
    echo "check: the engine's tests under valgrind"
    make -s -j"$jobs" build-tests || { bad=1; return; }
    for room in engine math model; do
        for test in tests/distill/$room/test_*.c; do
            case $test in */test_gemm*.c | */test_grad.c | */test_quant.c | */test_tokenizer.c | */test_template.c) continue ;; esac # training's, converters' and readers'
            KD_CPU=avx2 valgrind -q --error-exitcode=99 --leak-check=full "build/release/${test%.c}" >"build/valgrind.log" 2>&1 &&
                echo "  $(basename "$test" .c): no error" || { tail -40 build/valgrind.log; echo "check: valgrind: $test"; bad=1; }
        done
    done
}

case ${1:-all} in
threads) run_threads ;;
memory) run_memory ;;
tests) run_tests ;;
tidy) run_tidy ;;
format) run_format ;;
all)
    run_format
    run_tidy
    run_tests
    ;;
*)
    echo "usage: scripts/check.sh [tests|tidy|format|threads|memory]" >&2
    exit 64
    ;;
esac
[ "$bad" -eq 0 ] && echo "check: all is well"
exit "$bad"
