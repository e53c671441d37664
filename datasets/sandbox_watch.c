/* datasets/sandbox_watch.c - processor time, memory and state of a tree of processes, by /proc. Leans on sandbox_int.h.
 * Orphans of a sandbox fall to its init, so the tree below it is whole. */
#include "datasets/sandbox_int.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_PROCESSES = 4096 }; /* looked at in one go: a fork bomb is past every limit long before */

struct kd_seen {
    pid_t pid;
    unsigned long long start; /* of the process: tells a new one with an old number */
    double cpu;               /* seconds, its own */
    bool again;               /* seen in this look too */
};

static kd_code slurp(kd_buf *b, const char *path) {
    b->len = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return KD_ENOENT;
    ssize_t n = 1;
    kd_code rc = KD_OK;
    while (n > 0 && !(rc = kd_buf_reserve(b, 4096)))
        if ((n = read(fd, b->data + b->len, 4095)) > 0) b->len += (size_t)n;
    if (b->data) b->data[b->len] = 0;
    close(fd);
    return rc ? rc : n < 0 ? KD_ENOENT : KD_OK;
}

bool kd_usage_can(void) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    return access(path, R_OK) == 0;
}

/* Everything of one process but its children. */
static kd_code look_one(kd_watching *w, pid_t pid, kd_usage *u) {
    static const char spaces[] = " \n";
    char path[64], *save = NULL, *p;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    kd_code rc = slurp(&w->text, path);
    if (rc) return rc == KD_ENOMEM ? rc : KD_OK; /* gone meanwhile */
    if (!w->text.data || !(p = strrchr(w->text.data, ')'))) return KD_OK;
    unsigned long long field[23] = {0};
    char state = 'S';
    int i = 3; /* as proc(5) counts */
    for (char *t = strtok_r(p + 1, spaces, &save); t && i <= 22; t = strtok_r(NULL, spaces, &save), i++) {
        if (i == 3) state = *t;
        field[i] = i == 3 ? 0 : strtoull(t, NULL, 10);
    }
    const double tick = 1.0 / (double)sysconf(_SC_CLK_TCK);
    const double own = (double)(field[14] + field[15]) * tick;
    w->reaped += own + (double)(field[16] + field[17]) * tick;
    u->tasks += state == 'Z' || state == 'X' ? 0 : (int)field[20];
    u->runnable |= state == 'R' || state == 'D';
    size_t k = 0;
    while (k < w->n && !(w->seen[k].pid == pid && w->seen[k].start == field[22])) k++;
    if (k == w->n) {
        if ((rc = kd_grow((void **)&w->seen, &w->cap, w->n + 1, sizeof *w->seen))) return rc;
        w->seen[w->n++] = (struct kd_seen){.pid = pid, .start = field[22]};
    }
    w->seen[k].again = true;
    w->seen[k].cpu = own;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if ((rc = slurp(&w->text, path))) return rc == KD_ENOMEM ? rc : KD_OK;
    static const char *const parts[] = {"\nRssAnon:", "\nRssShmem:"};
    for (int j = 0; j < 2 && w->text.data; j++)
        if ((p = strstr(w->text.data, parts[j]))) u->resident += strtoull(p + strlen(parts[j]), NULL, 10) << 10;
    return KD_OK;
}

/* A thread other than the first may be the one that runs. */
static void look_thread(kd_watching *w, pid_t pid, const char *tid, kd_usage *u) {
    char path[96];
    (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", (int)pid, tid);
    if (u->runnable || slurp(&w->text, path) || !w->text.data) return;
    const char *p = strrchr(w->text.data, ')');
    if (p && p[1] == ' ') u->runnable = p[2] == 'R' || p[2] == 'D';
}

/* Puts the children that each thread of pid has made on the stack. */
static kd_code push_children(kd_watching *w, pid_t pid, size_t *n, kd_usage *u) {
    char path[96];
    kd_code rc = KD_OK;
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    if (!d) return KD_OK;
    for (struct dirent *t; !rc && (t = readdir(d));) {
        if (t->d_name[0] == '.') continue;
        look_thread(w, pid, t->d_name, u);
        (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", (int)pid, t->d_name);
        if ((rc = slurp(&w->text, path))) {
            if (rc == KD_ENOENT) rc = KD_OK;
            continue;
        }
        char *p = w->text.data, *end;
        for (long c; p && (c = strtol(p, &end, 10)) > 0 && end != p && *n < MOST_PROCESSES && !rc; p = end)
            if (!(rc = kd_grow((void **)&w->stack, &w->stack_cap, *n + 1, sizeof *w->stack))) w->stack[(*n)++] = (pid_t)c;
    }
    closedir(d);
    return rc;
}

kd_code kd_usage_look(kd_watching *w, pid_t root, kd_usage *out) {
    size_t n = 0;
    int looked = 0;
    *out = (kd_usage){0};
    w->reaped = 0;
    for (size_t i = 0; i < w->n; i++) w->seen[i].again = false;
    kd_usage of_root = {0};
    kd_code rc = push_children(w, root, &n, &of_root);
    if (!rc && n) out->first = w->stack[0];
    while (!rc && n && looked++ < MOST_PROCESSES) {
        const pid_t pid = w->stack[--n];
        if (!(rc = look_one(w, pid, out))) rc = push_children(w, pid, &n, out);
    }
    if (!out->first) out->runnable = true; /* still being set up */
    /* Two sums, both at most the truth: what was ever seen of each process by itself (children that nobody waits for count too), and what the
     * living say with the children they have waited for (those too short to be seen). A parent is read before its children: nothing counts twice. */
    size_t keep = 0;
    double own = 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->seen[i].again) {
            own += w->seen[i].cpu;
            w->seen[keep++] = w->seen[i];
        } else {
            w->gone += w->seen[i].cpu;
        }
    w->n = keep;
    if (w->gone + own > w->most) w->most = w->gone + own;
    if (w->reaped > w->most) w->most = w->reaped;
    out->cpu = w->most;
    return rc;
}

void kd_usage_clear(kd_watching *w) {
    kd_buf_clear(&w->text);
    kd_free(w->seen);
    kd_free(w->stack);
    *w = (kd_watching){0};
}
