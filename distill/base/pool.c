/* distill/base/pool.c - the worker pool. Leans on mem.h, err.h, cgroup.h; speaks futex to the kernel.
 *
 * A run publishes its tasks in one word, the ticket: run number in the high half, tasks not yet taken in the low half. A worker takes
 * one by compare-and-swap, so a worker that wakes late sees either nothing left or another run's number, and never a finished run's
 * arguments: those may only be read once a task is held, and a run does not end while one is held. */
#include "distill/base/pool.h"

#include "distill/base/cgroup.h"
#include "distill/base/clock.h"
#include "distill/base/mem.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPIN_NS = 30000, YIELD_NS = 120000 }; /* how long a worker waits hot, and then politely, before it sleeps */
#define CHUNK ((size_t)1 << 31)              /* tasks that fit the ticket's low half */

typedef struct {
    kd_pool *pool;
    int number;
    pthread_t thread;
    const char *ahead; /* the worker's own: what it fetches while it waits */
    size_t ahead_bytes;
} worker;

struct kd_pool {
    int threads, started;
    bool crowded; /* more threads than processors: spinning would only keep others from working */
    worker *workers;
    kd_pool_fn *fn; /* these three belong to the run in the ticket */
    void *ctx;
    size_t first, tasks;
    _Alignas(64) atomic_uint_fast64_t ticket;
    _Alignas(64) atomic_size_t finished;
    atomic_uint all_done;          /* futex: the caller waits here for the last task */
    _Alignas(64) atomic_uint bell; /* futex: rung by every run */
    atomic_int asleep;
    atomic_bool caller_asleep, stop;
};

static void futex_wait(atomic_uint *word, unsigned seen) { (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0); }

static void futex_wake(atomic_uint *word, int n) { (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0); }

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Takes tasks of the present run until none is left; counts them as finished in one go. */
static void work(kd_pool *p, int number) {
    size_t mine = 0, tasks = 0;
    uint_fast64_t seen = atomic_load_explicit(&p->ticket, memory_order_acquire);
    const uint_fast64_t run = seen >> 32;
    while (seen >> 32 == run && (seen & 0xffffffffu) != 0) {
        if (!atomic_compare_exchange_weak_explicit(&p->ticket, &seen, seen - 1, memory_order_acquire, memory_order_acquire)) continue;
        tasks = p->tasks;
        p->fn(p->ctx, p->first + (tasks - (size_t)(seen & 0xffffffffu)), number);
        mine++;
        seen = atomic_load_explicit(&p->ticket, memory_order_acquire);
    }
    if (mine == 0) return;
    if (atomic_fetch_add_explicit(&p->finished, mine, memory_order_seq_cst) + mine == tasks && number != 0 &&
        atomic_load_explicit(&p->caller_asleep, memory_order_seq_cst)) {
        atomic_store_explicit(&p->all_done, 1, memory_order_seq_cst);
        futex_wake(&p->all_done, 1);
    }
}

/* Waits hot, then politely, until *word is no longer seen; false if patience ran out. */
static bool spin(const kd_pool *p, atomic_uint *word, unsigned seen) {
    const uint64_t start = kd_now_ns();
    for (;;) {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != seen) return true;
            relax();
        }
        const uint64_t waited = kd_now_ns() - start;
        if (p->crowded || waited > SPIN_NS) (void)sched_yield();
        if (waited > (p->crowded ? SPIN_NS : YIELD_NS)) return false;
    }
}

/* Fetches what was asked for, a KiB at a time, until that is done or there is work. */
static void meanwhile(kd_pool *p, worker *me, unsigned heard) {
    while (me->ahead_bytes && atomic_load_explicit(&p->bell, memory_order_acquire) == heard) {
        const size_t n = me->ahead_bytes < 1024 ? me->ahead_bytes : 1024;
        for (size_t i = 0; i < n; i += 64) __builtin_prefetch(me->ahead + i, 0, 2);
        me->ahead += n, me->ahead_bytes -= n;
    }
    me->ahead_bytes = 0;
}

void kd_pool_meanwhile(kd_pool *p, int number, const void *at, size_t n) {
    if (p && p->workers && number > 0) p->workers[number].ahead = at, p->workers[number].ahead_bytes = n;
}

static void *worker_main(void *arg) {
    worker *me = arg;
    kd_pool *p = me->pool;
    unsigned heard = 0;
    for (;;) {
        meanwhile(p, me, heard);
        if (atomic_load_explicit(&p->bell, memory_order_acquire) == heard && !spin(p, &p->bell, heard)) {
            atomic_fetch_add_explicit(&p->asleep, 1, memory_order_seq_cst);
            while (atomic_load_explicit(&p->bell, memory_order_seq_cst) == heard) futex_wait(&p->bell, heard);
            atomic_fetch_sub_explicit(&p->asleep, 1, memory_order_seq_cst);
        }
        heard = atomic_load_explicit(&p->bell, memory_order_acquire);
        if (atomic_load_explicit(&p->stop, memory_order_acquire)) return NULL;
        work(p, me->number);
    }
}

static void ring(kd_pool *p) {
    atomic_fetch_add_explicit(&p->bell, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&p->asleep, memory_order_seq_cst) > 0) futex_wake(&p->bell, INT_MAX);
}

static void await(kd_pool *p) {
    const uint64_t start = kd_now_ns();
    while (atomic_load_explicit(&p->finished, memory_order_acquire) != p->tasks) {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&p->finished, memory_order_acquire) == p->tasks) return;
            relax();
        }
        const uint64_t waited = kd_now_ns() - start;
        if (p->crowded || waited > SPIN_NS) (void)sched_yield();
        if (waited <= YIELD_NS) continue;
        atomic_store_explicit(&p->all_done, 0, memory_order_seq_cst);
        atomic_store_explicit(&p->caller_asleep, true, memory_order_seq_cst);
        if (atomic_load_explicit(&p->finished, memory_order_seq_cst) != p->tasks) futex_wait(&p->all_done, 0);
        atomic_store_explicit(&p->caller_asleep, false, memory_order_seq_cst);
    }
}

void kd_pool_run(kd_pool *p, kd_pool_fn *fn, void *ctx, size_t tasks) {
    if (!p || p->threads == 1 || tasks <= 1) {
        for (size_t i = 0; i < tasks; i++) fn(ctx, i, 0);
        return;
    }
    for (size_t first = 0; first < tasks; first += CHUNK) {
        const size_t n = tasks - first < CHUNK ? tasks - first : CHUNK;
        p->fn = fn;
        p->ctx = ctx;
        p->first = first;
        p->tasks = n;
        atomic_store_explicit(&p->finished, 0, memory_order_relaxed);
        const uint_fast64_t run = (atomic_load_explicit(&p->ticket, memory_order_relaxed) >> 32) + 1;
        atomic_store_explicit(&p->ticket, (run << 32 & 0xffffffff00000000u) | n, memory_order_release);
        ring(p);
        work(p, 0);
        await(p);
    }
}

static int processors(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    const double quota = kd_cgroup_cpus();
    if (quota > 0 && quota < n) n = (int)(quota + 0.999);
    return n < 1 ? 1 : n;
}

kd_code kd_pool_new(kd_pool **out, int threads, kd_err *e) {
    *out = NULL;
    const int have = processors();
    if (threads < 0 || threads > 4096) return kd_fail(e, KD_EINVAL, "threads: %d, expected 0 (all) to 4096", threads);
    if (threads == 0) threads = have;
    kd_pool *p = kd_aligned_alloc(64, sizeof *p);
    if (!p) return kd_fail(e, KD_ENOMEM, "worker pool: no memory");
    *p = (kd_pool){.threads = threads, .crowded = threads > have};
    kd_code c = KD_OK;
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the caller's: workers inherit a full mask */
    if (threads > 1 && !(p->workers = kd_calloc((size_t)threads, sizeof *p->workers)))
        c = kd_fail(e, KD_ENOMEM, "worker pool: no memory for %d threads", threads);
    for (int i = 1; i < threads && !c; i++) {
        p->workers[i] = (worker){.pool = p, .number = i};
        const int rc = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
        if (rc)
            c = kd_fail_errno(e, KD_ENOMEM, rc, "worker pool: thread %d of %d", i + 1, threads);
        else
            p->started = i;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (c) {
        kd_pool_free(p);
        return c;
    }
    *out = p;
    return KD_OK;
}

void kd_pool_free(kd_pool *p) {
    if (!p) return;
    atomic_store_explicit(&p->stop, true, memory_order_release);
    ring(p);
    for (int i = 1; i <= p->started; i++) (void)pthread_join(p->workers[i].thread, NULL);
    kd_free(p->workers);
    kd_free(p);
}

int kd_pool_threads(const kd_pool *p) { return p ? p->threads : 1; }
