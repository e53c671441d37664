/* distill/base/clock.c - time, and what memory there is. Leans on cgroup.h. */
#include "distill/base/clock.h"

#include "distill/base/cgroup.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

uint64_t kd_now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double kd_now(void) { return (double)kd_now_ns() * 1e-9; }

int64_t kd_unix_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void kd_iso_time(int64_t unix_ms, char out[32]) {
    int64_t s = unix_ms / 1000, ms = unix_ms % 1000;
    if (ms < 0) {
        ms += 1000;
        s--;
    }
    const time_t t = (time_t)s;
    struct tm tm;
    char date[24];
    if (!gmtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099 || strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        strcpy(out, "0000-00-00T00:00:00.000Z"); /* beyond four digits of year */
        return;
    }
    (void)snprintf(out, 32, "%.19s.%03dZ", date, (int)ms);
}

uint64_t kd_peak_rss(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss * 1024 : 0;
}

/* A line of /proc/meminfo, in bytes. */
static uint64_t meminfo(const char *key) {
    FILE *f = fopen("/proc/meminfo", "re");
    char line[160];
    uint64_t bytes = 0;
    if (!f) return 0;
    const size_t n = strlen(key);
    while (fgets(line, sizeof line, f)) {
        unsigned long long kb;
        if (strncmp(line, key, n) == 0 && line[n] == ':' && sscanf(line + n + 1, "%llu", &kb) == 1) {
            bytes = (uint64_t)kb * 1024;
            break;
        }
    }
    (void)fclose(f);
    return bytes;
}

uint64_t kd_memory_total(void) {
    uint64_t limit, used;
    const uint64_t machine = meminfo("MemTotal");
    return kd_cgroup_memory(&limit, &used) && limit < machine ? limit : machine;
}

uint64_t kd_memory_free(void) {
    uint64_t limit, used;
    const uint64_t machine = meminfo("MemAvailable");
    if (!kd_cgroup_memory(&limit, &used)) return machine;
    const uint64_t left = limit > used ? limit - used : 0;
    return left < machine ? left : machine;
}
