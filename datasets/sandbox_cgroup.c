/* datasets/sandbox_cgroup.c - a memory group (cgroup v2) for one run, where the machine lets us have one: a folder beside our own group, if the one above
 * hands memory down to its children and is ours to write (a user's session under systemd is). Watching goes on besides. Leans on sandbox_int.h. */
#include "datasets/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool read_small(const char *path, char *out, size_t size) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t n = read(fd, out, size - 1);
    close(fd);
    out[n > 0 ? n : 0] = 0;
    return n > 0;
}

static bool write_small(const char *dir, const char *name, const char *text) {
    char path[4300];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return ok;
}

/* The folder above our own group: the line "0::PATH" of /proc/self/cgroup without its last part. */
static bool above_ours(char *out, size_t size) {
    char text[8192], *save = NULL;
    if (!read_small("/proc/self/cgroup", text, sizeof text)) return false;
    for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        if (strncmp(l, "0::/", 4) != 0) continue;
        char *slash = strrchr(l + 3, '/');
        if (!slash[1] || strstr(l, "/..")) return false; /* the root, or outside of what a container shows */
        *slash = 0;
        return snprintf(out, size, "/sys/fs/cgroup%s", l + 3) < (int)size;
    }
    return false;
}

static bool hands_memory_down(const char *dir) {
    char path[4300], text[1024];
    (void)snprintf(path, sizeof path, "%s/cgroup.subtree_control", dir);
    return read_small(path, text, sizeof text) && strstr(text, "memory");
}

void kd_memory_place_find(kd_memory_place *p) {
    char dir[4200];
    int procs;
    *p = (kd_memory_place){0};
    if (!above_ours(p->dir, sizeof p->dir) || !hands_memory_down(p->dir) || access(p->dir, W_OK) != 0) p->dir[0] = 0;
    if (!p->dir[0]) return;
    /* believed when one has been made, limited and joined by nobody */
    if (kd_memory_group_new(p, (uint64_t)64 << 20, dir, &procs)) {
        close(procs);
        kd_memory_group_free(dir);
    } else {
        p->dir[0] = 0;
    }
}

bool kd_memory_group_new(const kd_memory_place *p, uint64_t bytes, char dir[4200], int *procs) {
    static atomic_uint count;
    char path[4300], limit[32];
    if (!p->dir[0]) return false;
    (void)snprintf(dir, 4200, "%s/distill-%d-%u", p->dir, (int)getpid(), atomic_fetch_add(&count, 1));
    if (mkdir(dir, 0755) != 0) return false;
    (void)snprintf(limit, sizeof limit, "%llu", (unsigned long long)bytes);
    (void)snprintf(path, sizeof path, "%s/cgroup.procs", dir);
    bool ok = write_small(dir, "memory.max", limit);
    if (ok) (void)write_small(dir, "memory.swap.max", "0"); /* absent without swap */
    *procs = ok ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    if (*procs < 0) (void)rmdir(dir);
    return *procs >= 0;
}

void kd_memory_group_free(const char *dir) {
    for (int i = 0; i < 200 && rmdir(dir) != 0 && errno == EBUSY; i++) usleep(5000); /* the last of it is still going */
}

bool kd_memory_group_full(const char *dir) {
    char path[4300], text[1024];
    (void)snprintf(path, sizeof path, "%s/memory.events", dir);
    if (!read_small(path, text, sizeof text)) return false;
    const char *at = strstr(text, "oom_kill ");
    return at && atoll(at + 9) > 0;
}
