/* datasets/sandbox_start.c - starting one program inside bubblewrap: its files, its words, its limits. Leans on sandbox_int.h.
 *
 * The words to bubblewrap make: new user, process, network, IPC, host-name and cgroup namespaces; no capability; a new session; a root folder that is
 * read-only and holds /usr, a few device nodes and /box; no /proc (nothing in it is needed, and much of it is of use to attacks; /dev/stdin is a
 * file with the input instead); an environment of our own. sh is process 1 in there: what it waits for counts as its children's time, signals from
 * inside do not reach it, and everything ends with it. */
#include "datasets/sandbox_int.h"

#include "distill/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOBODY = 65534, WORDS = 200, BOX_FILES = 8, FIRST_FILE_FD = 7, FDS = FIRST_FILE_FD + BOX_FILES };
enum { FD_MARK = 3, FD_COLLECT = 4, FD_FILTER = 5, FD_STDIN_FILE = 6 };

/* dash counts processes by -p, others by -u. */
static const char script[] = "n=$1; c=$2; shift 2\n"
                             "if (ulimit -p $n) 2>/dev/null; then ulimit -p $n; else ulimit -u $n; fi\n"
                             "echo s >&3; exec 3>&- 5<&- 6<&-\n"
                             "\"$@\" 4>&-; s=$?\n"
                             "if [ $s = 0 ] && [ \"$c\" ]; then cat \"/box/$c\" >&4 || s=1; fi\n"
                             "exit $s";

kd_box_spec kd_box_defaults(const kd_box_spec *spec) {
    kd_box_spec s = *spec;
    if (!(s.cpu_seconds > 0)) s.cpu_seconds = 10;
    if (!(s.idle_seconds > 0)) s.idle_seconds = 10;
    if (!(s.wall_seconds > 0)) s.wall_seconds = 60 + 20 * s.cpu_seconds;
    if (!s.memory) s.memory = (uint64_t)1 << 30;
    if (!s.output) s.output = (uint64_t)16 << 20;
    if (!s.disk) s.disk = (uint64_t)64 << 20;
    if (s.processes <= 0) s.processes = 64;
    return s;
}

/* A memory file that holds data, at its beginning, never to be written again. */
static int memory_file(kd_str data) {
    const int fd = memfd_create("distill", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t at = 0;
    while (fd >= 0 && at < data.len) {
        const ssize_t n = write(fd, data.data + at, data.len - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            close(fd);
            return -1;
        }
        at += (size_t)n;
    }
    if (fd >= 0 && (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0 || lseek(fd, 0, SEEK_SET) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

typedef struct {
    const char *word[WORDS];
    size_t n;
    char number[BOX_FILES + 3][24], path[BOX_FILES][272];
    int fd[FDS]; /* in the child, fd[i] becomes i; -1: none */
    int group_fd;
    const kd_sandbox *box;
    const kd_box_spec *spec;
} launch;

static void say(launch *l, const char *a, const char *b, const char *c) {
    const char *const three[] = {a, b, c};
    for (int i = 0; i < 3; i++)
        if (three[i] && l->n + 1 < WORDS) l->word[l->n++] = three[i];
}

/* /bin and its like: a link into /usr today, a folder of its own on older systems. */
static void say_root_folder(launch *l, const char *path, const char *target) {
    struct stat st;
    if (lstat(path, &st) != 0) return;
    if (S_ISLNK(st.st_mode))
        say(l, "--symlink", target, path);
    else
        say(l, "--ro-bind", path, path);
}

static const char *say_number(launch *l, size_t slot, uint64_t v) {
    (void)snprintf(l->number[slot], sizeof l->number[slot], "%llu", (unsigned long long)v);
    return l->number[slot];
}

static void say_words(launch *l) {
    static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
    /* the same words, threads and digits on every machine: the order of a hash, the number of a library's workers */
    static const char *const environment[][2] = {{"PATH", "/usr/local/bin:/usr/bin:/bin"},
                                                 {"HOME", "/box"},
                                                 {"TMPDIR", "/box"},
                                                 {"LANG", "C.UTF-8"},
                                                 {"PYTHONHASHSEED", "0"},
                                                 {"PYTHONNOUSERSITE", "1"},
                                                 {"PYTHONUTF8", "1"},
                                                 {"PYTHONDONTWRITEBYTECODE", "1"},
                                                 {"OMP_NUM_THREADS", "1"},
                                                 {"OPENBLAS_NUM_THREADS", "1"},
                                                 {"MKL_NUM_THREADS", "1"},
                                                 {"TZ", "UTC"},
                                                 {"NODE_DISABLE_COLORS", "1"}};
    const kd_box_spec *s = l->spec;
    say(l, l->box->bwrap, "--unshare-all", "--unshare-user");
    say(l, "--die-with-parent", "--new-session", "--as-pid-1");
    say(l, "--cap-drop", "ALL", "--clearenv");
    say(l, "--uid", "65534", NULL);
    say(l, "--gid", "65534", NULL);
    say(l, "--hostname", "box", NULL);
    for (size_t i = 0; i < sizeof environment / sizeof *environment; i++) say(l, "--setenv", environment[i][0], environment[i][1]);
    say(l, "--ro-bind", "/usr", "/usr");
    say_root_folder(l, "/bin", "usr/bin");
    say_root_folder(l, "/lib", "usr/lib");
    say_root_folder(l, "/lib64", "usr/lib64");
    say_root_folder(l, "/lib32", "usr/lib32");
    say(l, "--ro-bind-try", "/etc/alternatives", "/etc/alternatives");
    say(l, "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache");
    say(l, "--perms", "0755", NULL);
    say(l, "--size", "65536", NULL);
    say(l, "--tmpfs", "/dev", NULL);
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) say(l, "--dev-bind", devices[i], devices[i]);
    say(l, "--size", "16777216", NULL);
    say(l, "--tmpfs", "/dev/shm", NULL);
    say(l, "--size", say_number(l, BOX_FILES, s->disk), NULL);
    say(l, "--tmpfs", "/box", NULL);
    say(l, "--symlink", "box", "/tmp");
    for (size_t i = 0; i < s->n_files; i++) {
        (void)snprintf(l->path[i], sizeof l->path[i], "/box/%.255s", s->files[i].name);
        say(l, "--perms", s->files[i].run ? "0755" : "0644", NULL);
        say(l, "--file", say_number(l, i, FIRST_FILE_FD + i), l->path[i]);
    }
    say(l, "--perms", "0444", NULL);
    say(l, "--file", "6", "/input");
    say(l, "--symlink", "/input", "/dev/stdin");
    say(l, "--remount-ro", "/dev", NULL);
    say(l, "--remount-ro", "/", NULL);
    say(l, "--chdir", "/box", NULL);
    say(l, "--seccomp", "5", "--");
    say(l, "/bin/sh", "-c", script);
    say(l, "sh", say_number(l, BOX_FILES + 1, l->box->count_processes ? (uint64_t)s->processes : 100000), s->collect ? s->collect : "");
    for (const char *const *a = s->argv; *a; a++) say(l, *a, NULL, NULL);
    l->word[l->n] = NULL;
}

static void limit(int what, uint64_t v) {
    const struct rlimit r = {v, v};
    (void)setrlimit((__rlimit_resource_t)what, &r);
}

/* Between fork and exec: nothing here may allocate or take a lock. */
static _Noreturn void child(const launch *l) {
    static const char *const environment[] = {"PATH=/usr/bin:/bin", NULL};
    const kd_box_spec *s = l->spec;
    int high[FDS];
    sigset_t none;
    for (int i = 1; i < 65; i++) (void)signal(i, SIG_DFL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setpgid(0, 0); /* a terminal's interrupt is ours to hear */
    if (l->group_fd >= 0 && write(l->group_fd, "0", 1) != 1) _exit(126);
    const int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); /* the first to go, if the machine itself runs out */
    if (oom >= 0) (void)!write(oom, "1000", 4);
    for (int i = 0; i < FDS; i++) high[i] = l->fd[i] < 0 ? -1 : fcntl(l->fd[i], F_DUPFD_CLOEXEC, 64);
    for (int i = 0; i < FDS; i++) {
        if (high[i] < 0)
            (void)close(i);
        else if (dup2(high[i], i) < 0)
            _exit(126);
    }
    if (syscall(SYS_close_range, FDS, ~0u, 0) != 0)
        for (int i = FDS; i < 65536; i++) (void)close(i);
    limit(RLIMIT_CPU, (uint64_t)s->cpu_seconds + 2);
    limit(RLIMIT_FSIZE, s->disk);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, 256);
    limit(RLIMIT_MSGQUEUE, 0);
    limit(RLIMIT_STACK, s->memory < ((uint64_t)128 << 20) ? s->memory / 2 : (uint64_t)64 << 20);
    if (!s->unlimited_space) limit(RLIMIT_AS, 4 * s->memory);
    if (l->box->root && (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0))
        _exit(126);
    (void)personality(ADDR_NO_RANDOMIZE); /* addresses in messages are the same on every run */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)execve(l->box->bwrap, (char *const *)(uintptr_t)l->word, (char *const *)(uintptr_t)environment);
    _exit(127);
}

static uint64_t resident_now(void) {
    char text[128] = "";
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    const char *second = n > 0 ? strchr(text, ' ') : NULL;
    if (fd >= 0) close(fd);
    return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : UINT64_MAX;
}

static kd_code check_spec(const kd_box_spec *s, kd_err *e) {
    size_t words = 0;
    while (s->argv && s->argv[words]) words++;
    if (!words || words > 40) return kd_fail(e, KD_EINVAL, "sandbox: expected 1 to 40 words of a program, found %zu", words);
    if (s->n_files > BOX_FILES) return kd_fail(e, KD_EINVAL, "sandbox: expected at most %d files, found %zu", BOX_FILES, s->n_files);
    for (size_t i = 0; i < s->n_files; i++)
        if (!kd_path_plain(kd_str_of(s->files[i].name)))
            return kd_fail(e, KD_EINVAL, "sandbox: %.60s: expected a plain file name", s->files[i].name);
    if (s->collect && !kd_path_plain(kd_str_of(s->collect)))
        return kd_fail(e, KD_EINVAL, "sandbox: %.60s: expected a plain file name", s->collect);
    return KD_OK;
}

/* Pipes and memory files of the child into l->fd; ends that we read into s. */
static bool open_fds(launch *l, kd_started *s) {
    const kd_box_spec *spec = l->spec;
    int *const ours[] = {NULL, &s->out, &s->errors, &s->mark, &s->collect};
    int p[2];
    for (int i = 1; i <= 4; i++) {
        if (pipe2(p, O_CLOEXEC) != 0) return false;
        *ours[i] = p[0];
        l->fd[i] = p[1];
        if (fcntl(p[0], F_SETFL, O_NONBLOCK) != 0) return false;
    }
    if ((l->fd[0] = memory_file(spec->input)) < 0 || (l->fd[FD_STDIN_FILE] = memory_file(spec->input)) < 0) return false;
    if ((l->fd[FD_FILTER] = memory_file(kd_buf_view(&l->box->filter))) < 0) return false;
    for (size_t i = 0; i < spec->n_files; i++)
        if ((l->fd[FIRST_FILE_FD + i] = memory_file(spec->files[i].data)) < 0) return false;
    return true;
}

static void shut(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

kd_code kd_sandbox_start(kd_sandbox *b, const kd_box_spec *spec, kd_started *s, kd_err *e) {
    *s = (kd_started){.pid = -1, .out = -1, .errors = -1, .mark = -1, .collect = -1};
    kd_code rc = check_spec(spec, e);
    if (rc) return rc;
    launch *l = kd_calloc(1, sizeof *l);
    if (!l) return kd_fail(e, KD_ENOMEM, "sandbox: no memory");
    *l = (launch){.box = b, .spec = spec, .group_fd = -1};
    for (int i = 0; i < FDS; i++) l->fd[i] = -1;
    if (!open_fds(l, s)) {
        rc = kd_fail_errno(e, errno == ENOMEM ? KD_ENOMEM : KD_EIO, errno, "sandbox: no pipe or memory file");
        goto done;
    }
    say_words(l);
    if (!kd_memory_group_new(&b->memory, spec->memory + spec->disk + ((uint64_t)32 << 20), s->group, &l->group_fd)) s->group[0] = 0;
    s->ours = resident_now();
    s->pid = fork();
    if (s->pid == 0) child(l);
    if (s->pid < 0) rc = kd_fail_errno(e, errno == ENOMEM ? KD_ENOMEM : KD_EIO, errno, "sandbox: no new process");
done:
    for (int i = 0; i < FDS; i++) shut(&l->fd[i]);
    shut(&l->group_fd);
    kd_free(l);
    if (rc) {
        shut(&s->out);
        shut(&s->errors);
        shut(&s->mark);
        shut(&s->collect);
        if (s->group[0]) kd_memory_group_free(s->group);
    }
    return rc;
}
