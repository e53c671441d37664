/* tests/teacher/bench_remote.c - how fast a remote teacher is asked, with every answer on disk. The server (fast_server.h) has one core, the client the other; the
 * peer is scripts/bench_aiohttp.py on the client's core against the same server. Shows besides: memory of 5,000 requests in flight, memory and start over a study of a
 * million rows.
 *   N=requests (20000; 0: not beside aiohttp)  FLIGHT=requests in flight (5000; 0: not)  ROWS=rows of the large study (1000000; 0: none)  LARGE=where that study is kept, to
 *   be used again  PEER_PYTHON=python3 with aiohttp */
#include "datasets/import.h"
#include "distill/base/clock.h"
#include "distill/base/file.h"
#include "teacher/teacher.h"

#include "fast_server.h"

static char dir[] = "/tmp/kd-bench-XXXXXX";

static void die(const kd_err *e) {
    fprintf(stderr, "bench_remote: %s\n", e->msg);
    exit(1);
}

static long env_number(const char *name, long otherwise) {
    const char *v = getenv(name);
    return v && *v ? atol(v) : otherwise;
}

/* A study of n questions, all of them answered under other settings where answered. */
static void make_study(const char *path, long n) {
    kd_err e = {0};
    kd_study *s;
    char file[200];
    snprintf(file, sizeof file, "%s/questions.jsonl", dir);
    FILE *f = fopen(file, "w");
    for (long i = 0; f && i < n; i++) fprintf(f, "{\"question\":\"What is %ld + %ld?\",\"answer\":\"%ld\"}\n", i, i, 2 * i);
    if (!f || fclose(f)) exit(1);
    if (kd_study_open(&s, path, KD_STUDY_CREATE, &e) || kd_import_file(s, file, NULL, NULL, NULL, &e)) die(&e);
    kd_study_close(s);
    unlink(file);
}

typedef struct {
    double seconds, cpu, user, rss; /* rss: MB at its peak, less what the process had before it asked */
    uint64_t answered;
} result;

static int at_once(void *ctx) { /* stops when an answer was asked for and had */
    volatile fast_seen *seen = ctx;
    return seen->requests ? KD_EINTERRUPT : 0;
}

/* One run in a process of its own, pinned; seed: settings of its own; first: until the first request is out, or NULL. */
static result ask(const char *study, const char *url, size_t concurrency, uint64_t limit, uint64_t seed, int core,
                  volatile fast_seen *first) {
    result *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), out;
    pid_t pid = fork();
    if (!pid) {
        kd_err e = {0};
        kd_study *s;
        kd_teach_report rep;
        struct rusage before, u;
        fast_pin(core);
        kd_teach_opts o = {
            .work = {.limit = limit}, .temperature = -1, .top_p = -1, .min_p = -1, .top_k = -1, .max_tokens = 100, .seed = seed};
        kd_remote_opts ro = {
            .url = url, .model = "fast", .concurrency = concurrency, .retries = -1, .budget = -1, .prices = KD_PRICES_NONE, .logprobs = -1};
        const kd_watch w = {.stop = at_once, .ctx = (void *)(uintptr_t)first};
        struct rlimit lim;
        if (!getrlimit(RLIMIT_NOFILE, &lim)) lim.rlim_cur = lim.rlim_max, setrlimit(RLIMIT_NOFILE, &lim);
        getrusage(RUSAGE_SELF, &before);
        double began = kd_now();
        if (kd_study_open(&s, study, KD_STUDY_WRITE, &e)) die(&e);
        const kd_code rc = kd_teach_remote(s, &o, &ro, first ? &w : NULL, &rep, &e);
        if (rc && !(first && rc == KD_EINTERRUPT)) die(&e);
        getrusage(RUSAGE_SELF, &u);
        r->seconds = kd_now() - began;
        r->user = (double)(u.ru_utime.tv_sec - before.ru_utime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec - before.ru_utime.tv_usec);
        r->cpu =
            r->user + (double)(u.ru_stime.tv_sec - before.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_stime.tv_usec - before.ru_stime.tv_usec);
        r->rss = (double)kd_peak_rss() / 1e6;
        r->answered = rep.answered;
        kd_study_close(s);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (status) exit(1);
    out = *r;
    munmap(r, sizeof *r);
    return out;
}

static void beside_aiohttp(const char *study, long n, size_t concurrency) {
    fast_server s = fast_start(&(fast_opts){.core = 1});
    const char *python = getenv("PEER_PYTHON");
    char cmd[400], line[100] = "";
    double peer = 0, used = 0;
    snprintf(cmd, sizeof cmd, "%s scripts/bench_aiohttp.py %s %ld %zu 0 2>/dev/null", python && *python ? python : "python3", s.url, n,
             concurrency);
    FILE *f = popen(cmd, "r");
    bool there = f && fgets(line, sizeof line, f) && sscanf(line, "%lf %lf", &peer, &used) == 2;
    if (f) pclose(f);
    result r = ask(study, s.url, concurrency, (uint64_t)n, concurrency, 0, NULL);
    double rate = (double)r.answered / r.seconds;
    printf("%6zu in flight: distill %7.0f requests/s, every answer committed, %5.1f us of processor a request (%.1f in the kernel)\n",
           concurrency, rate, 1e6 * r.cpu / (double)r.answered, 1e6 * (r.cpu - r.user) / (double)r.answered);
    if (there)
        printf("                  aiohttp %7.0f requests/s, nothing stored,         %5.1f us;  ratio %.2f\n", peer, used, rate / peer);
    else
        printf("                  peer aiohttp: absent (PEER_PYTHON=python3 with aiohttp)\n");
    fast_stop(&s);
}

/* Answers take a second, so what is allowed is in flight; a window of thousands is grown into, which takes some thousand answers each time it doubles. */
static void in_flight(long n) {
    char study[200];
    snprintf(study, sizeof study, "%s/flight.study", dir);
    make_study(study, 14 * n);
    fast_server s = fast_start(&(fast_opts){.core = 1, .delay_ms = 1000});
    result few = ask(study, s.url, 8, 16, 1, 0, NULL), r = ask(study, s.url, (size_t)n, 0, 2, 0, NULL);
    const double most = (double)s.seen->most_waiting, bound = 64 + 0.02 * most;
    printf("%ld allowed, answers take 1 s: %.0f in flight at most, %llu answers committed, %.0f a second over all, %.0f us of processor "
           "each\n",
           n, most, (unsigned long long)r.answered, (double)r.answered / r.seconds, 1e6 * r.cpu / (double)r.answered);
    printf("    resident %.1f MB at most (%.1f with 8): %.1f KB a request in flight; 64 MB + 20 KB a request are %.1f MB: %s\n", r.rss,
           few.rss, 1e3 * (r.rss - few.rss) / most, bound, r.rss < bound ? "kept" : "NOT KEPT");
    fast_stop(&s);
}

static void million(long rows) {
    char study[300];
    const char *large = getenv("LARGE");
    snprintf(study, sizeof study, "%s/large.study", dir);
    if (large && *large) snprintf(study, sizeof study, "%s", large);
    fast_server s = fast_start(&(fast_opts){.core = 1});
    if (access(study, F_OK)) {
        make_study(study, rows);
        const uint64_t part = (uint64_t)rows / 50;
        result some = ask(study, s.url, 64, part, 1, 0, NULL), all = ask(study, s.url, 64, 0, 1, 0, NULL);
        printf("study of %ld rows: %llu answers, resident %.1f MB at most; the other %llu, %.1f MB; %.0f requests/s, %.1f us of processor "
               "a request\n",
               rows, (unsigned long long)some.answered, some.rss, (unsigned long long)all.answered, all.rss,
               (double)all.answered / all.seconds, 1e6 * all.cpu / (double)all.answered);
    }
    for (int k = 0; k < 3; k++) {
        result again = ask(study, s.url, 64, 0, 1, 0, NULL); /* nothing is missing: all of it is start and end */
        printf("start over %ld rows, all answered: %.2f s (%.2f s of processor), resident %.1f MB\n", rows, again.seconds, again.cpu,
               again.rss);
    }
    fast_stop(&s);
    s = fast_start(&(fast_opts){.core = 1, .delay_ms = 5});
    result first = ask(study, s.url, 1, 0, (uint64_t)kd_now_ns(), 0, s.seen);
    printf("start over %ld rows, none answered under these settings, to the first answer: %.2f s (%.2f s of processor)\n", rows,
           first.seconds, first.cpu);
    fast_stop(&s);
}

int main(void) {
    char study[200];
    setvbuf(stdout, NULL, _IOLBF, 0);
    long n = env_number("N", 20000), rows = env_number("ROWS", 1000000), flight = env_number("FLIGHT", 5000);
    if (!mkdtemp(dir)) return 1;
    printf("teacher, remote: client on core 0, server on core 1\n");
    snprintf(study, sizeof study, "%s/small.study", dir);
    if (n > 0) make_study(study, n);
    static const size_t widths[] = {32, 64, 256};
    for (size_t i = 0; n > 0 && i < sizeof widths / sizeof *widths; i++) beside_aiohttp(study, n, widths[i]);
    if (flight > 0) in_flight(flight);
    if (rows > 0) million(rows);
    kd_remove_tree(dir, NULL);
    return 0;
}
