#!/usr/bin/env bash
# Everything that `make test` does not look at: all tests again under AddressSanitizer and UndefinedBehaviorSanitizer, clang-tidy, clang-format.
#   scripts/check.sh            all of it
#   scripts/check.sh tests|tidy|format   one part
set -uo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --check || exit 1
jobs=$(nproc)
bad=0

sources() { git ls-files '*.c' '*.h' 2>/dev/null | grep -vE '^tests/oracle/' || find distill datasets teacher student convert tests -name '*.[ch]'; }

run_tests() {
    echo "check: tests under ASan and UBSan"
    # setup has run; build-tests and run.sh are what `make test` does after it
    ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
        make -s -j"$jobs" MODE=asan test || { echo "check: tests under ASan and UBSan failed"; bad=1; }
}

run_format() {
    echo "check: clang-format"
    sources | xargs clang-format --dry-run -Werror || { echo "check: clang-format wants changes (make format makes them)"; bad=1; }
}

run_tidy() {
    echo "check: clang-tidy"
    sources | grep '\.c$' | grep -vE '^tests/' |
        xargs -P "$jobs" -n 4 sh -c 'clang-tidy --quiet "$@" -- -std=c11 -D_GNU_SOURCE -I. -DKD_VERSION="\"0\"" 2>/dev/null' tidy |
        tee /tmp/distill-tidy.$$ | grep -E 'warning:|error:' && { echo "check: clang-tidy found the above"; bad=1; }
    rm -f /tmp/distill-tidy.$$
}

case ${1:-all} in
tests) run_tests ;;
tidy) run_tidy ;;
format) run_format ;;
all)
    run_format
    run_tidy
    run_tests
    ;;
*)
    echo "usage: scripts/check.sh [tests|tidy|format]" >&2
    exit 64
    ;;
esac
[ "$bad" -eq 0 ] && echo "check: all is well"
exit "$bad"
