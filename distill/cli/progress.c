/* distill/cli/progress.c - what the terminal shows of a long task, and the signals that end one. Leans on event.h, clock.h.
 *
 * Events may come from any thread; one lock orders them. On a terminal a small thread redraws the bar a few times a second, so that
 * it lives while a step takes long; elsewhere a plain line appears every so often. */
#include "distill/cli/state.h"

#include "distill/base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH = 4, MEMORY = 32, BAR = 24 };

typedef struct {
    const char *name, *unit;
    uint64_t done, total, first;
    double start, last_line;
    double at[MEMORY]; /* the recent past, for a rate that follows: a ring of moments a second apart */
    uint64_t done_at[MEMORY];
    int next, held;
    bool shown; /* has had a bar or a line */
    char text[160];
} stage;

struct kd_progress {
    kd_progress_options o;
    kd_watch watch;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool ticking, ending, drawn;
    stage stages[DEPTH];
    int depth; /* stages begun; those beyond DEPTH are not shown */
};

kd_progress *kd_progress_now;

/* ---- signals ---- */

static volatile sig_atomic_t stop_code, stages_open, bar_on_tty;

static void on_signal(int sig) {
    const int code = sig == SIGINT ? KD_EINTERRUPT : KD_ETERMINATE, status = sig == SIGINT ? 130 : 143;
    /* Nothing to save, or asked a second time: leave at once. */
    if (stop_code != 0 || stages_open == 0) {
        if (bar_on_tty) (void)!write(STDERR_FILENO, "\r\033[K\033[?25h", 10);
        _exit(status);
    }
    stop_code = code;
}

static void on_bus_error(int sig) {
    static const char text[] = "distill: an input file was shortened while it was being read, or its disk failed\n";
    (void)sig;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(74);
}

void kd_progress_signals(void) {
    struct sigaction a = {.sa_flags = SA_RESTART};
    (void)sigemptyset(&a.sa_mask);
    a.sa_handler = on_signal;
    (void)sigaction(SIGINT, &a, NULL);
    (void)sigaction(SIGTERM, &a, NULL);
    a.sa_handler = on_bus_error;
    (void)sigaction(SIGBUS, &a, NULL);
    a.sa_handler = SIG_IGN; /* a closed pipe or connection is an error of write, not a death */
    (void)sigaction(SIGPIPE, &a, NULL);
}

/* ---- drawing; p->lock is held ---- */

static void put(const kd_progress *p, const char *s, size_t n) {
    while (n > 0) {
        const ssize_t got = write(p->o.fd, s, n);
        if (got <= 0) return; /* nobody there to see */
        s += got;
        n -= (size_t)got;
    }
}

static void erase(kd_progress *p) {
    if (p->drawn) put(p, "\r\033[K", 4);
    p->drawn = false;
    bar_on_tty = 0;
}

static stage *top(kd_progress *p) { return p->depth > 0 && p->depth <= DEPTH ? &p->stages[p->depth - 1] : NULL; }

static int columns(const kd_progress *p) {
    struct winsize w;
    return ioctl(p->o.fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

static double rate_of(const stage *s, double now) {
    const int oldest = s->held < MEMORY ? 0 : s->next;
    const double since = s->held ? s->at[oldest] : s->start;
    const uint64_t from = s->held ? s->done_at[oldest] : s->first;
    return now - since > 0.05 && s->done > from ? (double)(s->done - from) / (now - since) : 0;
}

static void remember(stage *s, double now) {
    const int newest = (s->next + MEMORY - 1) % MEMORY;
    if (s->held && now - s->at[newest] < 1) return;
    s->at[s->next] = now;
    s->done_at[s->next] = s->done;
    s->next = (s->next + 1) % MEMORY;
    if (s->held < MEMORY) s->held++;
}

static const char *rate_text(double rate, const char *unit, char s[64]) {
    if (rate <= 0)
        s[0] = '\0';
    else if (rate >= 1 || strcmp(unit, "bytes") == 0)
        (void)snprintf(s, 64, rate >= 100 ? "%.0f/s" : "%.1f/s", rate);
    else
        (void)snprintf(s, 64, "%.1f s each", 1 / rate);
    if (rate > 0 && strcmp(unit, "bytes") == 0) {
        char b[32];
        (void)snprintf(s, 64, "%s/s", kd_human_bytes((uint64_t)rate, b));
    }
    return s;
}

static const char *count_text(const stage *s, char out[96]) {
    char a[32], b[32];
    if (s->unit && strcmp(s->unit, "bytes") == 0 && s->total)
        (void)snprintf(out, 96, "%s/%s", kd_human_bytes(s->done, a), kd_human_bytes(s->total, b));
    else if (s->unit && strcmp(s->unit, "bytes") == 0)
        (void)snprintf(out, 96, "%s", kd_human_bytes(s->done, a));
    else if (s->total)
        (void)snprintf(out, 96, "%ju/%ju %s", (uintmax_t)s->done, (uintmax_t)s->total, s->unit ? s->unit : "");
    else
        (void)snprintf(out, 96, "%ju %s", (uintmax_t)s->done, s->unit ? s->unit : "");
    return out;
}

/* One line that says where a stage stands, without the bar. */
static void describe(const stage *s, double now, char *out, size_t cap) {
    char count[96], rate[64], left[48] = "", t[32];
    const double r = rate_of(s, now);
    (void)rate_text(r, s->unit ? s->unit : "", rate);
    if (s->total > s->done && r > 0) (void)snprintf(left, sizeof left, ", %s left", kd_human_time((double)(s->total - s->done) / r, t));
    char pass[32];
    (void)snprintf(out, cap, "%s%s%s, %s%s%s%s", count_text(s, count), *rate ? ", " : "", rate, kd_human_time(now - s->start, pass), left,
                   *s->text ? "  " : "", s->text);
}

/* How many bytes of s fill at most width columns, taking a character for one column. */
static size_t fit(const char *s, size_t width) {
    size_t i = 0;
    while (s[i] && width > 0) {
        i++;
        while (((unsigned char)s[i] & 0xc0) == 0x80) i++;
        width--;
    }
    return i;
}

static void draw(kd_progress *p, double now) {
    stage *s = top(p);
    if (!s || !p->o.tty || p->o.quiet || now - s->start < p->o.patience) return;
    char about[512], line[1024];
    size_t n = 0;
    const size_t width = (size_t)columns(p) - 1;
    describe(s, now, about, sizeof about);
    n += (size_t)snprintf(line, sizeof line, "\r%.40s ", s->name ? s->name : "");
    size_t used = n - 1;
    if (s->total > 0 && width > used + BAR + 30) {
        const uint64_t done = s->done < s->total ? s->done : s->total;
        const int full = (int)((double)done / (double)s->total * BAR);
        for (int i = 0; i < BAR; i++)
            n += (size_t)snprintf(line + n, sizeof line - n, "%s", p->o.utf8 ? (i < full ? "\u2501" : "\u2500") : (i < full ? "#" : "."));
        n += (size_t)snprintf(line + n, sizeof line - n, " %3d%% ", (int)((double)done / (double)s->total * 100));
        used += BAR + 6;
    }
    const size_t take = fit(about, width > used ? width - used : 0);
    n += (size_t)snprintf(line + n, sizeof line - n, "%.*s\033[K", (int)take, about);
    put(p, line, n);
    p->drawn = s->shown = true;
    bar_on_tty = 1;
}

static void plain_line(kd_progress *p, stage *s, double now) {
    const double waited = now - s->start, every = p->o.every > 0 ? p->o.every : waited < 60 ? 10 : waited < 600 ? 30 : 60;
    if (p->o.tty || p->o.quiet || waited < p->o.patience || (s->shown && now - s->last_line < every)) return;
    char about[512], line[640];
    describe(s, now, about, sizeof about);
    const int n = snprintf(line, sizeof line, "%s: %s\n", s->name ? s->name : "", about);
    put(p, line, (size_t)n);
    s->shown = true;
    s->last_line = now;
}

static void say(kd_progress *p, const char *colour, const char *before, const char *text) {
    char line[1200];
    erase(p);
    const int n = p->o.colour && *colour ? snprintf(line, sizeof line - 1, "%s%s\033[0m%s", colour, before, text)
                                         : snprintf(line, sizeof line - 1, "%s%s", before, text);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
    line[len++] = '\n';
    put(p, line, len);
}

/* ---- events ---- */

static void finish(kd_progress *p, stage *s, double now) {
    if (!s->shown || p->o.quiet) return;
    char count[96], t[32], rate[64], line[400];
    const double took = now - s->start, r = took > 0 && s->done > s->first ? (double)(s->done - s->first) / took : 0;
    (void)rate_text(r, s->unit ? s->unit : "", rate);
    (void)snprintf(line, sizeof line, "%s in %s%s%s%s%s%s", count_text(s, count), kd_human_time(took, t), *rate ? " (" : "", rate,
                   *rate ? ")" : "", *s->text ? "  " : "", s->text);
    char name[64];
    (void)snprintf(name, sizeof name, "%.60s: ", s->name ? s->name : "");
    say(p, "\033[1m", name, line);
}

static void take_counts(stage *s, const kd_event *ev) {
    s->done = ev->done;
    if (ev->total) s->total = ev->total;
    if (ev->unit) s->unit = ev->unit;
    if (ev->text) {
        size_t n = 0;
        for (; ev->text[n] && n < sizeof s->text - 1; n++) s->text[n] = (unsigned char)ev->text[n] < 0x20 ? ' ' : ev->text[n];
        s->text[n] = '\0';
    }
}

static void begin(kd_progress *p, const kd_event *ev, double now) {
    stages_open = stages_open + 1;
    if (++p->depth > DEPTH) return;
    stage *s = top(p);
    *s = (stage){.name = ev->stage, .start = now, .last_line = now, .first = ev->done};
    take_counts(s, ev);
}

static void on_event(void *ctx, const kd_event *ev) {
    kd_progress *p = ctx;
    const double now = kd_now();
    (void)pthread_mutex_lock(&p->lock);
    stage *s = top(p);
    switch (ev->kind) {
    case KD_EV_BEGIN: begin(p, ev, now); break;
    case KD_EV_STEP:
        if (!s) break;
        take_counts(s, ev);
        remember(s, now);
        plain_line(p, s, now);
        break;
    case KD_EV_END:
        if (p->depth == 0) break;
        erase(p);
        if (s) {
            if (ev->done) take_counts(s, ev);
            finish(p, s, now);
        }
        p->depth--;
        stages_open = stages_open - 1;
        break;
    case KD_EV_NOTE:
        if (!p->o.quiet && ev->text) say(p, "", "", ev->text);
        break;
    case KD_EV_WARN:
        if (ev->text) say(p, "\033[33m", "distill: warning: ", ev->text);
        break;
    }
    (void)pthread_mutex_unlock(&p->lock);
}

static int on_stop(void *ctx) {
    (void)ctx;
    return stop_code;
}

static void *tick(void *arg) {
    kd_progress *p = arg;
    (void)pthread_mutex_lock(&p->lock);
    while (!p->ending) {
        struct timespec t;
        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        t.tv_nsec += 150000000;
        if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
        (void)pthread_cond_timedwait(&p->wake, &p->lock, &t);
        if (!p->ending) draw(p, kd_now());
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

kd_code kd_progress_new(kd_progress **out, const kd_progress_options *o, kd_err *e) {
    *out = NULL;
    kd_progress *p = kd_calloc(1, sizeof *p);
    if (!p) return kd_fail(e, KD_ENOMEM, "progress: no memory");
    p->o = *o;
    if (p->o.patience <= 0) p->o.patience = 2;
    p->watch = (kd_watch){.emit = on_event, .stop = on_stop, .ctx = p};
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (p->o.tty && !p->o.quiet) {
        sigset_t all, before;
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        p->ticking = pthread_create(&p->thread, NULL, tick, p) == 0; /* without it there is no bar, and no harm */
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    *out = p;
    return KD_OK;
}

void kd_progress_free(kd_progress *p) {
    if (!p) return;
    (void)pthread_mutex_lock(&p->lock);
    p->ending = true;
    erase(p);
    stages_open = 0;
    (void)pthread_cond_broadcast(&p->wake);
    (void)pthread_mutex_unlock(&p->lock);
    if (p->ticking) (void)pthread_join(p->thread, NULL);
    (void)pthread_cond_destroy(&p->wake);
    (void)pthread_mutex_destroy(&p->lock);
    kd_free(p);
}

const kd_watch *kd_progress_watch(kd_progress *p) { return &p->watch; }

void kd_progress_say(kd_progress *p, const char *line) {
    (void)pthread_mutex_lock(&p->lock);
    say(p, "", "", line);
    (void)pthread_mutex_unlock(&p->lock);
}

void kd_progress_hide(kd_progress *p) {
    (void)pthread_mutex_lock(&p->lock);
    erase(p);
    (void)pthread_mutex_unlock(&p->lock);
}
