/* distill/base/cgroup.c - reading the limits of a container. Leans on nothing. */
#include "distill/base/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads a small file into s, NUL-terminated; false if there is none. */
static bool slurp(const char *path, char *s, size_t cap) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t n = 0;
    ssize_t got;
    while (n < cap - 1 && (got = read(fd, s + n, cap - 1 - n)) > 0) n += (size_t)got;
    (void)close(fd);
    s[n] = '\0';
    return n > 0;
}

/* The folder of our group: controller NULL for v2 ("0::/path"), else v1's line that names the controller. */
static bool own_group(const char *controller, char *path, size_t cap) {
    char text[4096];
    if (!slurp("/proc/self/cgroup", text, sizeof text)) return false;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *names = strchr(line, ':');
        char *group = names ? strchr(names + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        names++;
        bool match = false;
        if (!controller) {
            match = *names == '\0';
        } else {
            char *inner = NULL;
            for (char *w = strtok_r(names, ",", &inner); w; w = strtok_r(NULL, ",", &inner)) match |= strcmp(w, controller) == 0;
        }
        if (!match) continue;
        const int n =
            controller ? snprintf(path, cap, "/sys/fs/cgroup/%s%s", controller, group) : snprintf(path, cap, "/sys/fs/cgroup%s", group);
        return n > 0 && (size_t)n < cap;
    }
    return false;
}

/* Cuts the last folder off path; false at the mount. */
static bool up(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash || slash - path < (long)strlen("/sys/fs/cgroup")) return false;
    *slash = '\0';
    return true;
}

static bool read_in(const char *dir, const char *file, char *s, size_t cap) {
    char path[PATH_MAX + 64];
    const int n = snprintf(path, sizeof path, "%s/%s", dir, file);
    return n > 0 && (size_t)n < sizeof path && slurp(path, s, cap);
}

double kd_cgroup_cpus(void) {
    char dir[PATH_MAX], s[128];
    double best = 0;
    if (own_group(NULL, dir, sizeof dir)) do {
            double quota, period;
            if (read_in(dir, "cpu.max", s, sizeof s) && sscanf(s, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0 &&
                (best == 0 || quota / period < best))
                best = quota / period;
        } while (up(dir));
    if (own_group("cpu", dir, sizeof dir)) do {
            double quota, period;
            if (read_in(dir, "cpu.cfs_quota_us", s, sizeof s) && sscanf(s, "%lf", &quota) == 1 && quota > 0 &&
                read_in(dir, "cpu.cfs_period_us", s, sizeof s) && sscanf(s, "%lf", &period) == 1 && period > 0 &&
                (best == 0 || quota / period < best))
                best = quota / period;
        } while (up(dir));
    return best;
}

/* The value behind "key " in a memory.stat. */
static uint64_t stat_value(const char *text, const char *key) {
    const size_t n = strlen(key);
    for (const char *s = text; s; s = strchr(s, '\n')) {
        if (*s == '\n') s++;
        if (strncmp(s, key, n) == 0 && s[n] == ' ') return strtoull(s + n, NULL, 10);
    }
    return 0;
}

/* One version's limit: the tightest from our group upwards. */
static bool tightest(const char *controller, const char *limit_file, const char *used_file, const char *cache_key, uint64_t *limit,
                     uint64_t *used) {
    char dir[PATH_MAX], s[64], stat[8192];
    bool found = false;
    if (!own_group(controller, dir, sizeof dir)) return false;
    do {
        if (!read_in(dir, limit_file, s, sizeof s) || s[0] < '0' || s[0] > '9') continue;
        const uint64_t value = strtoull(s, NULL, 10);
        if (value >= (uint64_t)1 << 60 || (found && value >= *limit)) continue; /* v1 writes no limit as a huge number */
        found = true;
        *limit = value;
        *used = read_in(dir, used_file, s, sizeof s) ? strtoull(s, NULL, 10) : 0;
        const uint64_t cache = read_in(dir, "memory.stat", stat, sizeof stat) ? stat_value(stat, cache_key) : 0;
        *used -= cache < *used ? cache : *used;
    } while (up(dir));
    return found;
}

bool kd_cgroup_memory(uint64_t *limit, uint64_t *used) {
    uint64_t l1, u1;
    const bool v2 = tightest(NULL, "memory.max", "memory.current", "inactive_file", limit, used);
    if (!tightest("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", &l1, &u1)) return v2;
    if (!v2 || l1 < *limit) {
        *limit = l1;
        *used = u1;
    }
    return true;
}
