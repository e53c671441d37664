/* distill/base/pool.h - a pool of worker threads for loops over arithmetic. Leans on err.h.
 * Work is cut by the caller, never by the number of threads, so results do not depend on it. */
#ifndef KD_BASE_POOL_H
#define KD_BASE_POOL_H

#include "distill/base/err.h"

#include <stddef.h>

typedef struct kd_pool kd_pool;

/* threads >= 1, the caller counted in; 0 = one a processor that this process may run on (sched_getaffinity, cgroup quota).
 * Workers spin some microseconds before they sleep, so that back-to-back loops start in about a microsecond. */
kd_code kd_pool_new(kd_pool **out, int threads, kd_err *e);
void kd_pool_free(kd_pool *p);
int kd_pool_threads(const kd_pool *p); /* NULL = 1 */

/* Calls fn(ctx, task, worker) for each task in 0..tasks-1, each once, on any worker in 0..threads-1, and returns when all are done.
 * Tasks are handed out in order, one at a time. pool NULL: all on the caller. Not reentrant: one run at a time a pool, no nesting. */
typedef void kd_pool_fn(void *ctx, size_t task, int worker);
void kd_pool_run(kd_pool *p, kd_pool_fn *fn, void *ctx, size_t tasks);
/* For a task to say of its own worker: while it waits for the next run, it fetches these n bytes into its cache (a hint: nothing is read). */
void kd_pool_meanwhile(kd_pool *p, int worker, const void *at, size_t n);

#endif
