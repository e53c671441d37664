/* distill/base/clock.h - time. Includes nothing of ours. */
#ifndef KD_BASE_CLOCK_H
#define KD_BASE_CLOCK_H

#include <stdint.h>

double kd_now(void); /* seconds of a clock that never goes back */
uint64_t kd_now_ns(void);
int64_t kd_unix_ms(void);                        /* milliseconds since 1970 by the wall clock */
void kd_iso_time(int64_t unix_ms, char out[32]); /* "2026-01-31T23:59:59.123Z" */
uint64_t kd_peak_rss(void);                      /* bytes; this process, so far */
uint64_t kd_memory_total(void);                  /* bytes this process may have: the machine's, or its cgroup's if less */
uint64_t kd_memory_free(void);                   /* bytes that could be had now (MemAvailable, cgroup) */

#endif
