#!/usr/bin/env bash
# tests/distill/cli/test_teacher_tls.sh - generate over TLS against a server of openssl's: whom it trusts, and that a key goes nowhere else: not into the study, not
# into words, not into a core file, not to another host. Prints TAP.
set -u
d=$PWD/${KD_BUILD:-build/release}/distill
case ${KD_BUILD:-} in /*) d=$KD_BUILD/distill ;; esac
command -v openssl >/dev/null || { echo "ok 1 - TLS # SKIP no openssl"; echo 1..1; exit 0; }
tmp=$(mktemp -d)
server=
stop() { [ -z "$server" ] || { kill "$server" "$(cat feeder)"; wait "$server"; } 2>/dev/null; server=; }
trap 'stop; rm -rf "$tmp"' EXIT
unset "${!DISTILL_@}" OPENAI_API_KEY
cd "$tmp" || exit 1
n=0
check() { # NAME STATUS(0 = passed)
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        sed 's/^/# /' "$tmp/out" "$tmp/err" 2>/dev/null
    fi
}
key=sk-Zq7LwvT3xR9b
(umask 077; echo "$key" >key)
port=$((20000 + RANDOM % 20000))
{
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca
    openssl req -newkey rsa:2048 -nodes -keyout k.pem -out r.csr -subj /CN=here
    echo "subjectAltName=IP:127.0.0.1,DNS:localhost" >here
    echo "subjectAltName=DNS:elsewhere.invalid" >elsewhere
    openssl x509 -req -in r.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile here -out good.pem
    openssl x509 -req -in r.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days -1 -extfile here -out expired.pem
    openssl x509 -req -in r.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile elsewhere -out wrong.pem
} >/dev/null 2>&1
body='{"choices":[{"message":{"content":"4"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}'
echo '{"question":"What is 2 + 2?","answer":"4"}' >q.jsonl
"$d" import s.study q.jsonl -q

serve() { # CERTIFICATE: answers one request with body, keeps what it was sent in seen
    stop
    port=$((port + 1))
    openssl s_server -quiet -accept "127.0.0.1:$port" -cert "$1" -key k.pem >seen 2>/dev/null < <(
        echo "$BASHPID" >feeder
        printf 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' ${#body} "$body"
        exec sleep 120
    ) &
    server=$!
    sleep 0.3
}
ask() { # OPTIONS...
    timeout 60 "$d" generate s.study --teacher "https://127.0.0.1:$port/v1" --teacher-model m --api-key-file key --max-tokens 10 --timeout 20 --retries 4 "$@" >out 2>err </dev/null
    rc=$?
}

serve good.pem
ask
[ "$rc" -eq 69 ] && grep -qi 'certificate' err
check "a certificate of nobody we trust: 69" $?
serve expired.pem
ask --ca-file ca.pem
[ "$rc" -eq 69 ] && grep -qi 'expired' err
check "an expired certificate: 69" $?
serve wrong.pem
ask --ca-file ca.pem
[ "$rc" -eq 69 ] && grep -qiE 'subject name|host' err
check "a certificate of another host: 69" $?
! grep -q "$key" seen
check "nobody without a good certificate is shown the key" $?
serve good.pem
ask --ca-file ca.pem
[ "$rc" -eq 0 ] && [ "$("$d" stats s.study --json | grep -o '"samples":1' | head -1)" = '"samples":1' ]
check "a CA of one's own: answered" $?
grep -aq "Authorization: Bearer $key" seen
check "the endpoint was shown the key" $?
! grep -arq "$key" s.study* out err
check "no byte of the key in the study, its log, or what was said" $?
timeout 60 "$d" generate s.study --teacher http://example.invalid/v1 --teacher-model m --api-key-file key >out 2>err </dev/null
[ $? -eq 64 ] && grep -q 'insecure-http' err
check "plain http to another machine is refused: 64" $?
timeout 60 "$d" generate s.study --samples 2 --teacher https://no-such-host.invalid/v1 --teacher-model m --api-key-file key --retries 2 >out 2>err </dev/null
[ $? -eq 69 ] && ! grep -q "$key" err
check "a name that nobody knows: 69" $?
chmod 644 key
ask --ca-file ca.pem --samples 2
[ "$rc" -eq 77 ] && grep -q 'others may read' err
check "a key file that others may read: 77" $?
chmod 600 key

# Where it connects, and every byte that it writes to files and sockets: TLS hides what is sent, so the key is in none of them.
if strace -o /dev/null true 2>/dev/null; then
    serve good.pem
    # a leak checker cannot look into what is traced
    ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" timeout 60 strace -f -qq -o trace -s 1000000 -e trace=connect,bind,sendto,sendmsg,sendmmsg,write,writev,pwrite64,pwritev,pwritev2 \
        "$d" generate s.study --teacher "https://localhost:$port/v1" --teacher-model m --api-key-file key --ca-file ca.pem --max-tokens 10 --timeout 20 -v >out 2>err </dev/null
    [ $? -eq 0 ] && grep -aq "Authorization: Bearer $key" seen
    check "traced: answered, and the endpoint was shown the key" $?
    # what is no address of the internet is the resolver's asking this machine for a name (nscd), which is not there
    [ "$(grep -a 'connect(' trace | grep -av AF_UNIX | grep -aoE 'htons\([0-9]+\)' | grep -av 'htons(0)' | sort -u)" = "htons($port)" ] && ! grep -a 'connect(' trace | grep -aE 'AF_INET' | grep -avE '"(127\.0\.0\.1|::1)"' | grep -q .
    check "connects to the endpoint that it was given, and nowhere else" $?
    [ "$(grep -acE '(write|send|pwrite)' trace)" -gt 10 ] && ! grep -aq "$key" trace && ! grep -aqF "$(printf %s "$key" | base64)" trace
    check "no byte of the key in anything written, to files or to sockets" $?
else
    n=$((n + 1)) && echo "ok $n - traced # SKIP no strace"
fi

# Killed by a fault while it asks: no core file is written, though the shell allows one.
stop
port=$((port + 1))
openssl s_server -quiet -accept "127.0.0.1:$port" -cert good.pem -key k.pem >seen 2>/dev/null < <(echo "$BASHPID" >feeder; exec sleep 120) &
server=$!
sleep 0.3
ulimit -c unlimited 2>/dev/null
"$d" generate s.study --samples 2 --teacher "https://127.0.0.1:$port/v1" --teacher-model m --api-key-file key --ca-file ca.pem --max-tokens 10 >out 2>err </dev/null &
pid=$!
for _ in $(seq 100); do grep -aq "$key" seen && break; sleep 0.1; done
grep -q '^Max core file size *0 *0 ' "/proc/$pid/limits"
check "no core file may be written" $?
kill -SEGV $pid
wait $pid 2>/dev/null
[ -z "$(find . -name 'core*')" ] && ! grep -arq "$key" s.study* out err
check "killed by a fault: no core, no key" $?
stop

echo "1..$n"
