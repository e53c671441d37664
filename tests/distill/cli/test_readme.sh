#!/usr/bin/env bash
# tests/distill/cli/test_readme.sh - runs the README's blocks that are marked "sh run", each in a folder of its own, and checks that the targets and
# scripts that it names are there. Prints TAP.
set -u
root=$PWD
build=${KD_BUILD:-build/release}
case $build in /*) ;; *) build=$root/$build ;; esac
export PATH=$build:$PATH
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
unset "${!DISTILL_@}" KD_CPU
n=0
awk -v dir="$tmp" '/^```sh run$/ {on = 1; n++; next} /^```$/ {on = 0} on {print > (dir "/" n ".sh")}' README.md
for block in "$tmp"/*.sh; do
    [ -e "$block" ] || break
    n=$((n + 1))
    mkdir "$tmp/$n"
    # doctor may find this machine wanting (exit 1): that is no fault of the README
    if (cd "$tmp/$n" && bash -c 'trap "[ \$? -eq 1 ] && [[ \$BASH_COMMAND == *doctor* ]] || exit 1" ERR; . "$1"' - "$block" </dev/null) >"$tmp/log" 2>&1; then
        echo "ok $n - block $n of the README"
    else
        echo "not ok $n - block $n of the README"
        sed 's/^/# /' "$tmp/log"
    fi
done
[ "$n" -gt 0 ] || { n=1; echo "not ok 1 - the README has no block to run"; }
n=$((n + 1))
missing=
for target in $(grep -oE 'make (all|demo|test|check|fuzz|bench|install|help)' README.md | sort -u | cut -d' ' -f2); do make -n "$target" >/dev/null 2>&1 || grep -qE "^$target:" Makefile || missing="$missing $target"; done
for name in $(grep -oE '`(distill|teacher|student|convert|datasets)/[A-Za-z./_]*README.md`|`scripts/[a-z_.]*`' README.md | tr -d '`'); do [ -e "$name" ] || missing="$missing $name"; done
# what stands behind `distill in code: a command of its own
for command in $(grep -oE '`distill [a-z]+' README.md | sort -u | cut -d' ' -f2 | grep -v '^help$'); do
    distill help "$command" >/dev/null 2>&1 || missing="$missing distill-$command"
done
if [ -z "$missing" ]; then echo "ok $n - what the README names is there"; else echo "not ok $n - the README names what is not there:$missing"; fi
echo "1..$n"
