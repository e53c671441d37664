/* datasets/sandbox.c - is there a sandbox, and a run from its start to its end: what it writes, what it uses, and how it ends. Leans on sandbox_int.h. */
#include "datasets/sandbox_int.h"

#include "distill/base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_MS = 10, ERRORS_KEPT = 4096, COLLECT_MOST = 64 << 20 };

bool kd_sandbox_has(const char *program) {
    static const char *const folders[] = {"/usr/local/bin", "/usr/bin", "/bin"};
    char path[300];
    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%.200s", folders[i], program);
        if (access(path, X_OK) == 0) return true;
    }
    return false;
}

/* ---- a run ---- */
typedef struct {
    const kd_box_spec *spec;
    kd_box_result *r;
    kd_started at;
    kd_watching watch;
    kd_usage use;
    bool begun, ending; /* the program itself has started; it is being killed */
    uint64_t errors_seen;
    double start, looked, idle, killed;
    struct pollfd fds[4];
} running;

/* The init of the sandbox dies, and all with it; bubblewrap then ends by itself and has counted them. */
static void finish(running *run, kd_box_end end) {
    if (run->ending) return;
    run->ending = true;
    run->r->end = end;
    run->killed = kd_now();
    kd_usage now;
    if (kd_usage_look(&run->watch, run->at.pid, &now) == KD_OK && now.first > 0)
        (void)kill(now.first, SIGKILL);
    else
        (void)kill(run->at.pid, SIGKILL);
}

/* The last ERRORS_KEPT bytes stay. */
static kd_code keep_errors(running *run, const char *p, size_t n) {
    kd_buf *b = &run->r->errors;
    run->errors_seen += n;
    if (n > ERRORS_KEPT) {
        p += n - ERRORS_KEPT;
        n = ERRORS_KEPT;
    }
    if (b->len + n > ERRORS_KEPT) {
        const size_t drop = b->len + n - ERRORS_KEPT;
        memmove(b->data, b->data + drop, b->len - drop);
        b->len -= drop;
    }
    if (run->errors_seen > run->spec->output) finish(run, KD_BOX_OUTPUT);
    return kd_buf_append(b, p, n);
}

static kd_code take(running *run, int which, const char *p, size_t n) {
    kd_box_result *r = run->r;
    if (which == 2) run->begun = true;
    if (which == 1) return keep_errors(run, p, n);
    if (which == 2 || run->ending) return KD_OK;
    kd_buf *b = which == 0 ? &r->out : &r->collected;
    const uint64_t most = which == 0 ? run->spec->output : COLLECT_MOST;
    const size_t room = b->len < most ? (size_t)(most - b->len) : 0;
    const kd_code rc = kd_buf_append(b, p, n < room ? n : room);
    if (n > room) finish(run, KD_BOX_OUTPUT);
    return rc;
}

static kd_code drain(running *run, int which) {
    char part[65536];
    for (int i = 0; i < 16; i++) { /* then the others, and a look at what it uses */
        const ssize_t n = read(run->fds[which].fd, part, sizeof part);
        if (n > 0) {
            const kd_code rc = take(run, which, part, (size_t)n);
            if (rc) return rc;
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return KD_OK;
        close(run->fds[which].fd);
        run->fds[which].fd = -1;
        return KD_OK;
    }
    return KD_OK;
}

static kd_code look(running *run, double now) {
    const kd_box_spec *s = run->spec;
    kd_box_result *r = run->r;
    const double before = run->use.cpu, passed = now - run->looked;
    const kd_code rc = kd_usage_look(&run->watch, run->at.pid, &run->use);
    run->looked = now;
    if (rc || run->ending) return rc;
    if (run->use.cpu > r->cpu) r->cpu = run->use.cpu;
    if (run->use.resident > r->memory) r->memory = run->use.resident;
    /* only what passes while nothing in there could run; a machine that keeps us from looking gives no more than a little of it */
    if (!run->use.runnable && run->use.cpu - before < 0.005) run->idle += passed < 0.05 ? passed : 0.05;
    if (run->use.resident > s->memory)
        finish(run, KD_BOX_MEMORY);
    else if (run->use.cpu > s->cpu_seconds)
        finish(run, KD_BOX_CPU);
    else if (run->use.tasks > s->processes + 1)
        finish(run, KD_BOX_PROCESSES);
    else if (run->idle > s->idle_seconds)
        finish(run, KD_BOX_IDLE);
    else if (now - run->start > s->wall_seconds)
        finish(run, KD_BOX_WALL);
    return KD_OK;
}

static bool open_ends(const running *run) { return run->fds[0].fd >= 0 || run->fds[1].fd >= 0; }

static kd_code attend(running *run, bool (*stop)(void *), void *ctx) {
    kd_code rc = KD_OK;
    double asked = run->start;
    while (!rc && open_ends(run)) {
        (void)poll(run->fds, 4, LOOK_MS);
        for (int i = 0; i < 4 && !rc; i++)
            if (run->fds[i].fd >= 0 && run->fds[i].revents) rc = drain(run, i);
        const double now = kd_now();
        if (!rc && now - run->looked >= LOOK_MS * 1e-3) rc = look(run, now);
        if (!rc && stop && now - asked > 0.05) {
            asked = now;
            if (stop(ctx)) finish(run, KD_BOX_STOPPED);
        }
        if (run->ending && now - run->killed > 2) (void)kill(run->at.pid, SIGKILL);
    }
    return rc;
}

/* How it ended by itself, and by what the kernel counted. */
static void conclude(running *run, int status, const struct rusage *u) {
    kd_box_result *r = run->r;
    const kd_box_spec *s = run->spec;
    const double cpu = (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) + 1e-6 * (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
    const uint64_t most = (uint64_t)u->ru_maxrss << 10;
    if (cpu > r->cpu) r->cpu = cpu;
    if (run->at.ours < s->memory && most > r->memory) r->memory = most;
    if (run->ending) return;
    r->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    r->end = r->status > 128 && r->status < 128 + 65 ? KD_BOX_SIGNAL : KD_BOX_EXIT;
    if (r->end == KD_BOX_SIGNAL) r->status -= 128;
    if (!run->begun)
        r->end = KD_BOX_BROKEN;
    else if (r->memory > s->memory)
        r->end = KD_BOX_MEMORY;
    else if (r->cpu > s->cpu_seconds)
        r->end = KD_BOX_CPU;
}

kd_code kd_sandbox_run(kd_sandbox *b, const kd_box_spec *spec, bool (*stop)(void *ctx), void *ctx, kd_box_result *r, kd_err *e) {
    if (b->missing[0]) return kd_fail(e, KD_EUNSUPPORTED, "sandbox: %s", b->missing);
    const kd_box_spec whole = kd_box_defaults(spec);
    running run = {.spec = &whole, .r = r};
    struct rusage u = {0};
    int status = 0;
    r->end = KD_BOX_BROKEN;
    r->status = 0;
    r->cpu = r->wall = 0;
    r->memory = 0;
    r->out.len = r->errors.len = r->collected.len = 0;
    kd_code rc = kd_sandbox_start(b, &whole, &run.at, e);
    if (rc) return rc;
    run.start = run.looked = kd_now();
    const int fds[] = {run.at.out, run.at.errors, run.at.mark, run.at.collect};
    for (int i = 0; i < 4; i++) run.fds[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    rc = attend(&run, stop, ctx);
    if (rc) finish(&run, KD_BOX_BROKEN);
    while (wait4(run.at.pid, &status, 0, &u) < 0 && errno == EINTR) continue;
    for (int i = 2; i < 4 && !rc; i++) /* what was said last */
        if (run.fds[i].fd >= 0) rc = drain(&run, i);
    while (!rc && run.fds[3].fd >= 0) rc = drain(&run, 3);
    for (int i = 0; i < 4; i++)
        if (run.fds[i].fd >= 0) close(run.fds[i].fd);
    conclude(&run, status, &u);
    if (run.at.group[0]) {
        if (r->end != KD_BOX_STOPPED && kd_memory_group_full(run.at.group)) r->end = KD_BOX_MEMORY;
        kd_memory_group_free(run.at.group);
    }
    r->wall = kd_now() - run.start;
    kd_usage_clear(&run.watch);
    return rc ? kd_fail(e, rc, "sandbox: no memory for what a program wrote") : KD_OK;
}

void kd_box_clear(kd_box_result *r) {
    kd_buf_clear(&r->out);
    kd_buf_clear(&r->errors);
    kd_buf_clear(&r->collected);
}

/* ---- is there one? ---- */
static void find_bwrap(kd_sandbox *b, const char *given) {
    static const char *const places[] = {"/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"};
    for (int i = 0; i < 3; i++) {
        const char *p = given ? given : places[i];
        if (access(p, X_OK) == 0) {
            (void)snprintf(b->bwrap, sizeof b->bwrap, "%s", p);
            return;
        }
    }
    (void)snprintf(b->missing, sizeof b->missing, "no bubblewrap: %.200s is not there (Debian: apt install bubblewrap)",
                   given ? given : places[0]);
}

static void miss(kd_sandbox *b, const char *what, kd_str text) {
    while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == ' ')) text.len--;
    const char *line = text.data ? memchr(text.data, '\n', text.len) : NULL;
    if (line) text.len = (size_t)(line - text.data);
    (void)snprintf(b->missing, sizeof b->missing, "%.100s%s%.*s", what, text.len ? ": " : "", (int)(text.len < 250 ? text.len : 250),
                   text.data ? text.data : "");
}

/* One program that says a word, and is then looked at from where its harm would show. */
static kd_code probe(kd_sandbox *b, kd_err *e) {
    static const char *const argv[] = {
        "/bin/sh", "-c", "test ! -e /proc/1 && test ! -e /home && test ! -e /root && ! (: >/usr/distill-probe) 2>/dev/null && echo here",
        NULL};
    kd_box_result r = {0};
    kd_err why;
    kd_err_clear(&why);
    kd_code rc = kd_sandbox_run(b, &(kd_box_spec){.argv = argv, .cpu_seconds = 5, .wall_seconds = 30}, NULL, NULL, &r, &why);
    if (rc == KD_ENOMEM)
        kd_fail(e, rc, "%s", why.msg);
    else if (rc)
        miss(b, "bubblewrap does not start", kd_str_of(why.msg));
    else if (r.end != KD_BOX_EXIT || r.status || !kd_str_is(kd_buf_view(&r.out), "here\n"))
        miss(b, r.end == KD_BOX_BROKEN ? "bubblewrap cannot make its namespaces here" : "the sandbox does not hold here",
             kd_buf_view(&r.errors));
    kd_box_clear(&r);
    return rc == KD_ENOMEM ? rc : KD_OK;
}

kd_code kd_sandbox_open(kd_sandbox **out, const kd_sandbox_opts *o, kd_err *e) {
    struct utsname u;
    int major = 0, minor = 0;
    kd_err why;
    kd_err_clear(&why);
    *out = NULL;
    kd_sandbox *b = kd_calloc(1, sizeof *b);
    if (!b) return kd_fail(e, KD_ENOMEM, "sandbox: no memory");
    b->root = geteuid() == 0;
    if (uname(&u) == 0 && sscanf(u.release, "%d.%d", &major, &minor) == 2) b->count_processes = major > 5 || (major == 5 && minor >= 14);
    find_bwrap(b, o ? o->bwrap : NULL);
    if (!b->missing[0] && !kd_usage_can())
        (void)snprintf(b->missing, sizeof b->missing, "this kernel does not tell the children of a process (/proc/PID/task/TID/children)");
    kd_code rc = b->missing[0] ? KD_OK : kd_sandbox_filter(&b->filter, &why);
    if (rc == KD_EUNSUPPORTED) {
        miss(b, "no seccomp filter", kd_str_of(why.msg));
        rc = KD_OK;
    }
    if (!rc && !b->missing[0] && !(o && o->no_cgroup)) kd_memory_place_find(&b->memory);
    if (!rc && !b->missing[0]) rc = probe(b, e);
    if (!rc && b->missing[0] && b->memory.dir[0] && b->bwrap[0]) { /* a group that cannot be joined: without it */
        b->memory.dir[0] = b->missing[0] = 0;
        rc = probe(b, e);
    }
    if (rc) {
        if (why.code) kd_fail(e, rc, "%s", why.msg);
        kd_sandbox_close(b);
        return rc;
    }
    *out = b;
    return KD_OK;
}

void kd_sandbox_close(kd_sandbox *b) {
    if (!b) return;
    kd_buf_clear(&b->filter);
    kd_free(b);
}

const char *kd_sandbox_missing(const kd_sandbox *b) { return b->missing[0] ? b->missing : NULL; }
bool kd_sandbox_cgroup(const kd_sandbox *b) { return b->memory.dir[0] != 0; }
