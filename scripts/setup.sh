#!/usr/bin/env bash
# Installs what building and testing distill takes, where it is missing. Says what it does; run again, it does nothing.
#   scripts/setup.sh          what `make` and `make test` need
#   scripts/setup.sh --check  besides, what `make check` and `make fuzz` need (clang and its tools)
# Debian 12 and its relatives (apt). sudo is used only when this is not root, and only if something is missing.
set -euo pipefail

build="gcc make libc6-dev libopenblas-pthread-dev libsqlite3-dev libcurl4-openssl-dev libcjson-dev zlib1g-dev libpcre2-dev
libutf8proc-dev libyaml-dev libmicrohttpd-dev libgmp-dev libmpfr-dev libcmocka-dev libseccomp-dev"
test="bash bc procps python3 sqlite3 openssl ca-certificates python3-pip bubblewrap nghttp2-proxy strace"
tools="clang clang-tidy clang-format libclang-rt-14-dev valgrind"

want="$build $test"
[ "${1:-}" = "--check" ] && want="$want $tools"

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "setup: this system has no apt; the following Debian packages, by whatever name they go here, are needed:" >&2
    echo "$want" | tr -s '\n' ' ' >&2
    echo >&2
    exit 0
fi

missing=
for package in $want; do
    # "ii" is installed; anything else (removed, half there, unknown) is not
    case $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true) in
    ii*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

echo "setup: installing$missing"
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: not root, and no sudo here: install these packages yourself:$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi
apt_get() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"; }
# The package lists may be fresh enough, stale or absent; they are fetched only when what is there does not do.
# shellcheck disable=SC2086
if ! apt_get install -y --no-install-recommends $missing >/tmp/distill-setup.$$ 2>&1; then
    apt_get update
    apt_get install -y --no-install-recommends $missing || { rm -f /tmp/distill-setup.$$; exit 1; }
fi
rm -f /tmp/distill-setup.$$
echo "setup: done"
