/* tests/datasets/test_sandbox.c - the attack table: what a program tries in the sandbox, and what comes of it. The programs are Python, whose ctypes reach
 * every system call. */
#include "study_help.h"

#include "datasets/sandbox.h"
#include "datasets/sandbox_int.h"
#include "distill/base/clock.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>

static kd_sandbox *box;

static void run_python(const char *program, const char *input, const kd_box_spec *limits, kd_box_result *r) {
    static const char *const argv[] = {"python3", "-S", "main.py", NULL};
    kd_box_file file = {"main.py", kd_str_of(program), false};
    kd_box_spec s = *limits;
    if (!s.argv) s.argv = argv;
    s.files = &file;
    s.n_files = 1;
    s.input = kd_str_of(input);
    OK(kd_sandbox_run(box, &s, NULL, NULL, r, &e));
}

static const char *const end_names[] = {"exit", "signal", "cpu", "idle", "memory", "output", "processes", "wall", "stopped", "broken"};

typedef struct {
    const char *name, *program;
    kd_box_end end;
    int status;
    const char *out; /* the whole of standard output; NULL: not looked at */
} attack;

/* Each ends as the table says, within the limits of `run_attacks`, and leaves no process. */
static const attack attacks[] = {
    {"answers", "import sys\nprint(sum(map(int, sys.stdin.read().split())))", KD_BOX_EXIT, 0, "6\n"},
    {"its input is there by name too", "print(open('/dev/stdin').read().split())", KD_BOX_EXIT, 0, "['1', '2', '3']\n"},
    {"its exit status", "import sys\nsys.exit(7)", KD_BOX_EXIT, 7, ""},
    {"its signal", "import os\nos.abort()", KD_BOX_SIGNAL, SIGABRT, ""},
    {"endless loop", "while True: pass", KD_BOX_CPU, 0, NULL},
    {"endless loop in many threads' stead: processes", "import os\nfor i in range(3): os.fork()\nwhile True: pass", KD_BOX_CPU, 0, NULL},
    {"burns time in children that nobody waits for",
     "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n if os.fork() == 0:\n  t = "
     "time.process_time()\n  while "
     "time.process_time() < t + 0.3: pass\n  os._exit(0)\n time.sleep(0.35)",
     KD_BOX_CPU, 0, NULL},
    {"sleeps", "import time\ntime.sleep(1000)", KD_BOX_IDLE, 0, NULL},
    {"stops itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", KD_BOX_IDLE, 0, NULL},
    {"waits for input that never comes", "import os\nr, w = os.pipe()\nos.read(r, 1)", KD_BOX_IDLE, 0, NULL},
    {"ignores every signal and sleeps",
     "import signal, time\nfor s in range(1, 64):\n try: signal.signal(s, signal.SIG_IGN)\n except Exception: pass\ntime.sleep(1000)",
     KD_BOX_IDLE, 0, NULL},
    {"fork bomb", "import os\nwhile True:\n try: os.fork()\n except OSError: pass", KD_BOX_CPU, 0, NULL},
    {"fork bomb that sleeps",
     "import os, time\nwhile True:\n try:\n  if os.fork() == 0: time.sleep(1000)\n except OSError: time.sleep(1000)", KD_BOX_IDLE, 0, NULL},
    {"thread bomb",
     "import threading, time\nn = 0\ntry:\n while True: threading.Thread(target=time.sleep, args=(0.2,)).start(); n += 1\nexcept "
     "RuntimeError: "
     "print('refused', n < 64, flush=True)",
     KD_BOX_EXIT, 0, "refused True\n"},
    {"memory bomb", "a = []\nwhile True: a.append(bytearray(1 << 20))", KD_BOX_MEMORY, 0, NULL},
    {"memory bomb in shared pages",
     "import mmap, time\na = []\nwhile True:\n m = mmap.mmap(-1, 8 << 20)\n for i in range(0, 8 << 20, 4096): m[i] = 1\n a.append(m)",
     KD_BOX_MEMORY, 0, NULL},
    {"memory bomb in many processes",
     "import os, time\nfor i in range(4): os.fork()\na = bytearray(24 << 20)\nfor i in range(0, len(a), 4096): a[i] = 1\ntime.sleep(5)",
     KD_BOX_MEMORY, 0, NULL},
    {"asks for more space than there is", "try: bytearray(4 << 30)\nexcept MemoryError: print('refused')", KD_BOX_EXIT, 0, "refused\n"},
    {"memory that no process shows: memfd", "import os\ntry: os.memfd_create('x')\nexcept OSError as e: print(e.errno)", KD_BOX_EXIT, 0,
     "1\n"},
    {"endless output", "import os\nwhile True: os.write(1, b'x' * 65536)", KD_BOX_OUTPUT, 0, NULL},
    {"endless complaints", "import os\nwhile True: os.write(2, b'x' * 65536)", KD_BOX_OUTPUT, 0, NULL},
    {"fills its folder",
     "n = 0\ntry:\n for i in range(1000):\n  with open('f%d' % i, 'wb') as f: f.write(b'x' * (1 << 20)); n += 1\nexcept OSError as e: "
     "print(e.errno, n "
     "<= 8)",
     KD_BOX_EXIT, 0, "28 True\n"},
    {"writes one endless file",
     "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\ntry:\n with open('f', 'wb') as f:\n  while True: f.write(b'x' * (1 << "
     "20))\nexcept OSError as e: print(e.errno in (27, 28))",
     KD_BOX_EXIT, 0, "True\n"},
    {"writes outside",
     "import os\nfor p in ('/x', '/usr/x', '/usr/bin/x', '/etc/x', '/dev/x', '/input', '/usr/bin/python3'):\n try: open(p, 'ab'); "
     "print('open', "
     "p)\n except OSError as e: pass\nprint('done')",
     KD_BOX_EXIT, 0, "done\n"},
    {"looks for a home and secrets",
     "import os\nprint([p for p in ('/home', '/root', '/etc/passwd', '/etc/shadow', '/var', '/run', '/proc/1', '/proc/self', '/sys', "
     "'/boot', '/mnt') if "
     "os.path.exists(p)], sorted(os.environ)[:2], os.path.expanduser('~'))",
     KD_BOX_EXIT, 0, "[] ['HOME', 'LANG'] /box\n"},
    {"links out of its folder",
     "import os\nos.symlink('/etc/shadow', 'a'); os.symlink('../../../../root', 'b')\nfor p in ('a', 'b/.bashrc'):\n try: open(p); "
     "print('open')\n "
     "except OSError as e: print(e.errno)",
     KD_BOX_EXIT, 0, "2\n2\n"},
    {"the network", "import socket\ntry: socket.socket().connect(('127.0.0.1', 9)); print('open')\nexcept OSError as e: print(e.errno)",
     KD_BOX_EXIT, 0, "1\n"},
    {"a raw socket, a netlink socket, vsock",
     "import socket\nfor f, t in ((2, 3), (10, 2), (16, 3), (17, 3), (40, 1)):\n try: socket.socket(f, t); print('open')\n except OSError "
     "as e: "
     "print(e.errno, end=' ')",
     KD_BOX_EXIT, 0, "1 1 1 1 1 "},
    {"ptrace, reading and writing others' memory",
     "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\nfor n in (101, 310, 311, 312, 438):\n print(c.syscall(n, 16, 1, 0, 0, 0, "
     "0), "
     "ctypes.get_errno(), end=' ')",
     KD_BOX_EXIT, 0, "-1 1 -1 1 -1 1 -1 1 -1 1 "},
    {"namespaces, mounts, keys, bpf, io_uring, perf",
     "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\nfor n in (272, 308, 165, 166, 161, 155, 248, 250, 321, 425, 298, 323, 135):\n "
     "r = c.syscall(n, "
     "0x10000000, 0, 0, 0, 0, 0)\n if (r, ctypes.get_errno()) != (-1, 1): print(n, r, ctypes.get_errno())\nprint(c.syscall(56, 0x10000011, "
     "0, 0, 0, 0), "
     "c.syscall(435, 0, 0), ctypes.get_errno())",
     KD_BOX_EXIT, 0, "-1 -1 38\n"},
    {"calls by another architecture's numbers die",
     "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\nf = "
     "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\nprint(f())",
     KD_BOX_SIGNAL, SIGSYS, ""},
    {"kills everything it can reach, its parent first",
     "import os, signal\nfor s in (9, 15, 19):\n for p in (os.getppid(), 1, 0 if s == 15 else 1):\n  try:\n   if p: os.kill(p, s)\n  "
     "except OSError: "
     "pass\nprint('still here', flush=True)\n\ntry: os.kill(-1, 9)\nexcept OSError: pass\nprint('and here', flush=True)",
     KD_BOX_EXIT, 0, "still here\nand here\n"},
    {"kills its group", "import os\nos.killpg(0, 9)", KD_BOX_SIGNAL, SIGKILL, ""},
    {"a child that outlives it holds its output",
     "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork(): os._exit(0)\n time.sleep(1000)\nprint('done')", KD_BOX_EXIT, 0,
     "done\n"},
    {"becomes root, gets capabilities",
     "import os, ctypes\nr = []\nfor f in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.chroot('.'), lambda: os.mknod('d', "
     "0o60600, 2049), "
     "lambda: os.nice(-5)):\n try: f(); r.append('yes')\n except OSError as e: r.append(e.errno)\nprint(r, os.getuid())",
     KD_BOX_EXIT, 0, "[22, 22, 1, 1, 1] 65534\n"},
    {"raises its limits",
     "import resource as r\nfor l in (r.RLIMIT_CPU, r.RLIMIT_NPROC, r.RLIMIT_FSIZE, r.RLIMIT_AS):\n try: r.setrlimit(l, (-1, -1)); "
     "print('raised')\n "
     "except (ValueError, OSError): pass\nprint('done')",
     KD_BOX_EXIT, 0, "done\n"},
    {"types into the terminal it was started from",
     "import fcntl, termios\ntry: fcntl.ioctl(0, termios.TIOCSTI, b'x'); print('typed')\nexcept OSError as e: print(e.errno)", KD_BOX_EXIT,
     0, "1\n"},
    {"sees how it was started", "import os\nprint(sorted(os.listdir('/')), os.getppid(), len(os.listdir('.')))", KD_BOX_EXIT, 0, NULL},
    {"descriptors of ours", "import os\nr = []\nfor i in range(3, 256):\n try: os.fstat(i); r.append(i)\n except OSError: pass\nprint(r)",
     KD_BOX_EXIT, 0, "[]\n"},
};

static const kd_box_spec tight = {
    .cpu_seconds = 0.7, .idle_seconds = 0.7, .memory = 200 << 20, .output = 1 << 20, .disk = 8 << 20, .processes = 40};

enum { ATTACKS = sizeof attacks / sizeof *attacks };

typedef struct {
    size_t next, failed;
    char seen[ATTACKS][400];
    bool good[ATTACKS];
    pthread_mutex_t lock;
} table;

/* An end in words, in one line of printable characters. */
static void tell(char *out, size_t size, kd_box_end end, int status, const char *text, size_t n) {
    int at = snprintf(out, size, "%s", end_names[end]);
    if (end == KD_BOX_EXIT || end == KD_BOX_SIGNAL) at += snprintf(out + at, size - (size_t)at, " %d", status);
    if (!text || (end != KD_BOX_EXIT && end != KD_BOX_SIGNAL)) return;
    at += snprintf(out + at, size - (size_t)at, ", \"");
    for (size_t i = 0; i < n && i < 60; i++)
        at += snprintf(out + at, size - (size_t)at, text[i] == '\n' ? "\\n" : "%c", text[i] >= ' ' && text[i] < 127 ? text[i] : '?');
    (void)snprintf(out + at, size - (size_t)at, "\"");
}

static void *run_some(void *ctx) {
    table *t = ctx;
    kd_box_result r = {0};
    for (;;) {
        pthread_mutex_lock(&t->lock);
        const size_t i = t->next++;
        pthread_mutex_unlock(&t->lock);
        if (i >= ATTACKS) break;
        const attack *a = &attacks[i];
        run_python(a->program, "1 2 3", &tight, &r);
        t->good[i] = r.end == a->end && ((a->end != KD_BOX_EXIT && a->end != KD_BOX_SIGNAL) || r.status == a->status) &&
                     (!a->out || kd_str_is(kd_buf_view(&r.out), a->out) || (!*a->out && !r.out.len));
        tell(t->seen[i], sizeof t->seen[i], r.end, r.status, r.out.data ? r.out.data : "", r.out.len);
        if (!t->good[i])
            snprintf(t->seen[i] + strlen(t->seen[i]), sizeof t->seen[i] - strlen(t->seen[i]), " (cpu %.2f, memory %llu), errors \"%.*s\"",
                     r.cpu, (unsigned long long)r.memory, (int)(r.errors.len < 120 ? r.errors.len : 120),
                     r.errors.data ? r.errors.data : "");
    }
    kd_box_clear(&r);
    return NULL;
}

/* Runs all of them and prints the table: attack, expected, seen. How many were not as expected. */
static size_t run_attacks(const char *who) {
    static table t;
    pthread_t threads[4];
    size_t failed = 0;
    t = (table){.lock = PTHREAD_MUTEX_INITIALIZER};
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, run_some, &t), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < ATTACKS; i++) {
        const attack *a = &attacks[i];
        char expected[200];
        tell(expected, sizeof expected, a->end, a->status, a->out, a->out ? strlen(a->out) : 0);
        printf("# %s | %s | %s | %s%s\n", who, a->name, expected, t.seen[i], t.good[i] ? "" : " | NOT AS EXPECTED");
        failed += !t.good[i];
    }
    printf("# %s: %d attacks, %zu not as expected\n", who, (int)ATTACKS, failed);
    (void)fflush(stdout);
    return failed;
}

static void test_attacks(void **state) {
    (void)state;
    assert_int_equal(run_attacks(geteuid() ? "an ordinary user" : "root"), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

/* Whether memory is held by a group besides being watched: said, for not every machine has one to give. */
static void test_memory_group(void **state) {
    (void)state;
    kd_memory_place place;
    char dir[4200];
    int procs;
    kd_memory_place_find(&place);
    printf("# memory group (cgroup v2): %s\n", place.dir[0] ? place.dir : "none to be had here; memory is watched");
    if (!place.dir[0]) {
        assert_false(kd_memory_group_new(&place, 1 << 20, dir, &procs));
        return;
    }
    assert_true(kd_memory_group_new(&place, 16 << 20, dir, &procs));
    const pid_t pid = fork();
    if (pid == 0) { /* joins, and takes more than it may */
        if (write(procs, "0", 1) != 1) _exit(2);
        char *p = malloc(64 << 20);
        for (size_t i = 0; p && i < (size_t)64 << 20; i += 4096) ((volatile char *)p)[i] = 1;
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(procs);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(kd_memory_group_full(dir));
    kd_memory_group_free(dir);
}

/* A file of ours that everybody may read, and a port that listens: neither can be had from inside. */
static void test_outside(void **state) {
    (void)state;
    char program[600];
    kd_box_result r = {0};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    const int s = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s, 1), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&a, &len), 0);
    write_text(in_tmp("secret"), "secret");
    snprintf(
        program, sizeof program,
        "import os, socket\nprint(os.path.exists('%s'), os.path.exists('/tmp/..%s'))\ntry: socket.create_connection(('127.0.0.1', %d)); "
        "print('open')\nexcept OSError: print('closed')",
        in_tmp("secret"), in_tmp("secret"), ntohs(a.sin_port));
    run_python(program, "", &tight, &r);
    assert_string_equal(r.out.data, "False False\nclosed\n");
    run_python("open('left', 'w').write('x')\nopen('/tmp/left', 'a').write('x')", "", &tight, &r); /* nothing is left for the next */
    run_python("import os\nprint(os.listdir('/box'), os.listdir('/dev/shm'))", "", &tight, &r);
    assert_string_equal(r.out.data, "['main.py'] []\n");
    close(s);
    kd_box_clear(&r);
}

/* Verdicts by processor time: the same program, alone and beside four that take every core, ends the same way. */
static void *spin(void *ctx) {
    while (!atomic_load((_Atomic int *)ctx)) continue;
    return NULL;
}
static void test_load(void **state) {
    (void)state;
    pthread_t threads[6];
    _Atomic int stop = 0;
    kd_box_result r = {0};
    for (int i = 0; i < 6; i++) pthread_create(&threads[i], NULL, spin, &stop);
    const kd_box_spec limits = {.cpu_seconds = 1.5, .idle_seconds = 0.5};
    run_python("import time\nwhile time.process_time() < 0.6: pass\nprint('in time')", "", &limits, &r);
    const double wall = r.wall;
    stop = 1;
    for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
    assert_int_equal(r.end, KD_BOX_EXIT);
    assert_string_equal(r.out.data, "in time\n");
    assert_true(wall > 0.6 && r.cpu >= 0.6 && r.cpu < 1.5);
    kd_box_clear(&r);
}

static bool say_stop(void *ctx) {
    (void)ctx;
    return true;
}
static void test_limits_of_ours(void **state) {
    (void)state;
    static const char *const forever[] = {"sh", "-c", "while :; do :; done", NULL}, *const nothing[] = {NULL},
                             *const absent[] = {"no-such-program", NULL};
    kd_box_result r = {0};
    OK(kd_sandbox_run(box, &(kd_box_spec){.argv = forever}, say_stop, NULL, &r, &e));
    assert_int_equal(r.end, KD_BOX_STOPPED);
    OK(kd_sandbox_run(box, &(kd_box_spec){.argv = forever, .wall_seconds = 0.3}, NULL, NULL, &r, &e));
    assert_int_equal(r.end, KD_BOX_WALL);
    OK(kd_sandbox_run(box, &(kd_box_spec){.argv = absent}, NULL, NULL, &r, &e));
    assert_int_equal(r.end, KD_BOX_EXIT);
    assert_int_equal(r.status, 127);
    FAILS(KD_EINVAL, "1 to 40 words", kd_sandbox_run(box, &(kd_box_spec){.argv = nothing}, NULL, NULL, &r, &e));
    const kd_box_file bad = {"../x", KD_STR(""), false};
    FAILS(KD_EINVAL, "plain file name",
          kd_sandbox_run(box, &(kd_box_spec){.argv = forever, .files = &bad, .n_files = 1}, NULL, NULL, &r, &e));
    /* a file is handed out, a failure hands nothing out */
    static const char *const make[] = {"sh", "-c", "printf 'a\\000b' >made", NULL}, *const fails[] = {"sh", "-c", "echo x >made; exit 3",
                                                                                                      NULL};
    OK(kd_sandbox_run(box, &(kd_box_spec){.argv = make, .collect = "made"}, NULL, NULL, &r, &e));
    assert_int_equal(r.collected.len, 3);
    assert_memory_equal(r.collected.data, "a\0b", 3);
    OK(kd_sandbox_run(box, &(kd_box_spec){.argv = fails, .collect = "made"}, NULL, NULL, &r, &e));
    assert_int_equal(r.status, 3);
    assert_int_equal(r.collected.len, 0);
    kd_box_clear(&r);
}

/* What is not there is told, and nothing runs. */
static void test_missing(void **state) {
    (void)state;
    static const char *const argv[] = {"true", NULL};
    kd_sandbox *b = NULL;
    kd_box_result r = {0};
    OK(kd_sandbox_open(&b, &(kd_sandbox_opts){.bwrap = "/nonexistent/bwrap"}, &e));
    assert_non_null(strstr(kd_sandbox_missing(b), "no bubblewrap: /nonexistent/bwrap"));
    FAILS(KD_EUNSUPPORTED, "no bubblewrap", kd_sandbox_run(b, &(kd_box_spec){.argv = argv}, NULL, NULL, &r, &e));
    kd_sandbox_close(b);
    OK(kd_sandbox_open(&b, &(kd_sandbox_opts){.bwrap = "/bin/false"}, &e)); /* there, but makes no namespaces */
    assert_non_null(kd_sandbox_missing(b));
    FAILS(KD_EUNSUPPORTED, "namespaces", kd_sandbox_run(b, &(kd_box_spec){.argv = argv}, NULL, NULL, &r, &e));
    kd_sandbox_close(b);
    kd_box_clear(&r);
}

/* The whole table as an ordinary user too. */
static void test_as_user(void **state) {
    (void)state;
    if (geteuid() != 0) return; /* every other test is that */
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (setgroups(0, NULL) || setgid(1234) || setuid(1234)) _exit(2);
        if (kd_sandbox_open(&box, NULL, NULL) || kd_sandbox_missing(box)) _exit(3);
        _exit(run_attacks("an ordinary user") ? 5 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* We die, and what we started dies with us. */
static void test_parent_dies(void **state) {
    (void)state;
    int p[2];
    char byte;
    assert_int_equal(pipe(p), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        static const char *const argv[] = {"python3", "-c", "import time\ntime.sleep(100)", NULL};
        kd_box_result r = {0};
        fcntl(p[1], F_SETFD, FD_CLOEXEC);
        (void)kd_sandbox_run(box, &(kd_box_spec){.argv = argv, .idle_seconds = 60}, NULL, NULL, &r, NULL);
        _exit(0);
    }
    close(p[1]);
    usleep(300000);
    /* the grandchildren of this test: bubblewrap and below */
    char path[80], children[64] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    const int fd = open(path, O_RDONLY);
    assert_true(read(fd, children, sizeof children - 1) > 0);
    close(fd);
    const pid_t wrap = atoi(children);
    assert_true(wrap > 0 && kill(wrap, 0) == 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(read(p[0], &byte, 1), 0);
    close(p[0]);
    for (int i = 0; i < 300 && kill(wrap, 0) == 0; i++) usleep(10000);
    assert_int_not_equal(kill(wrap, 0), 0);
}

/* Each allocation failing in turn: an error or a whole run, no process left. */
static void test_no_memory(void **state) {
    (void)state;
    static const char *const argv[] = {"sh", "-c", "echo hello; echo x >f", NULL};
    for (long n = 1; n < 40; n++) {
        kd_box_result r = {0};
        kd_alloc_fail_at(n);
        const kd_code rc = kd_sandbox_run(box, &(kd_box_spec){.argv = argv, .collect = "f"}, NULL, NULL, &r, NULL);
        const long used = kd_alloc_count();
        kd_alloc_fail_at(0);
        assert_true(rc == KD_ENOMEM || (rc == KD_OK && r.end == KD_BOX_EXIT && kd_str_is(kd_buf_view(&r.out), "hello\n")));
        kd_box_clear(&r);
        if (used < n) break;
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static int close_box(void **state) {
    kd_sandbox_close(box);
    return drop_tmp(state);
}

int main(void) {
    OK(kd_sandbox_open(&box, NULL, &e));
    if (kd_sandbox_missing(box)) {
        const struct CMUnitTest alone[] = {cmocka_unit_test(test_missing)};
        printf("ok 2 - test_attacks # SKIP no sandbox: %s\n", kd_sandbox_missing(box));
        return cmocka_run_group_tests_name("sandbox", alone, make_tmp, close_box);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attacks),        cmocka_unit_test(test_outside),   cmocka_unit_test(test_load),
        cmocka_unit_test(test_limits_of_ours), cmocka_unit_test(test_missing),   cmocka_unit_test(test_as_user),
        cmocka_unit_test(test_parent_dies),    cmocka_unit_test(test_no_memory), cmocka_unit_test(test_memory_group),
    };
    return cmocka_run_group_tests_name("sandbox", tests, make_tmp, close_box);
}
