#!/usr/bin/env bash
# The README's commands on a Debian that has nothing yet: makes one with debootstrap, copies what is committed into it, and runs there.
#   sudo scripts/bare.sh DIR [test|demo] [root|user]      (default: test, as a user with sudo)      MIRROR=URL  SUITE=bookworm
# DIR keeps the system, so that a second call is a machine set up already; what was printed is in DIR/home/tester/out.log or DIR/root/out.log.
# Needs root (chroot, mounts), debootstrap and git. Ends with the command's exit status; its mounts are gone then.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0"; exit 64; }
dir=$1 what=${2:-test} who=${3:-user}
case $what in test | demo) ;; *) echo "bare: $what: expected test or demo" >&2; exit 64 ;; esac
case $who in root) home=/root name=root ;; user) home=/home/tester name=tester ;; *) echo "bare: $who: expected root or user" >&2; exit 64 ;; esac
[ "$(id -u)" -eq 0 ] || { echo "bare: root is needed to make a system and to enter it" >&2; exit 77; }
command -v debootstrap >/dev/null || { echo "bare: debootstrap is needed (apt install debootstrap)" >&2; exit 69; }

[ -x "$dir/usr/bin/apt-get" ] || debootstrap --variant=minbase --include=ca-certificates "${SUITE:-bookworm}" "$dir" ${MIRROR:+"$MIRROR"}
# this machine's way to the network: name servers, certificates, and what pip is told by its environment
cp -L /etc/resolv.conf "$dir/etc/resolv.conf"
cp /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/ca-certificates.crt"
mounted=()
leave() { for m in "${mounted[@]}"; do umount -R "$m" 2>/dev/null || umount -l "$m"; done; }
trap leave EXIT
mount -t proc proc "$dir/proc"; mounted=("$dir/proc")
mount --rbind /dev "$dir/dev"; mounted=("$dir/dev" "${mounted[@]}")
mount --make-rslave "$dir/dev"
in_there() { chroot "$dir" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"; }
if [ "$who" = user ]; then
    [ -x "$dir/usr/bin/sudo" ] || { in_there apt-get -q update && in_there env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends sudo; }
    in_there id "$name" >/dev/null 2>&1 || in_there useradd -m -s /bin/bash "$name"
    echo "$name ALL=(ALL) NOPASSWD:ALL" >"$dir/etc/sudoers.d/$name"
fi
if [ ! -d "$dir$home/distill" ]; then
    git clone -q . "$dir$home/distill"
    in_there chown -R "$name" "$home/distill"
fi
status=0
in_there su -s /bin/bash "$name" -c "cd $home/distill && { time { scripts/setup.sh && make $what; }; } >>$home/out.log 2>&1" || status=$?
tail -40 "$dir$home/out.log"
exit "$status"
