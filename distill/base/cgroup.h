/* distill/base/cgroup.h - what a container lets this process have (cgroup v2, and v1 where it is still mounted).
 * Private to distill/base: clock.c and pool.c ask. Includes nothing of ours. */
#ifndef KD_BASE_CGROUP_H
#define KD_BASE_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

/* Processors' worth of time that the quotas allow, the tightest of our group and those above it; 0 = no quota. */
double kd_cgroup_cpus(void);
/* Memory limit, the tightest of our group and those above it, and the bytes that group uses (page cache that can be dropped not counted);
 * false = no limit. */
bool kd_cgroup_memory(uint64_t *limit, uint64_t *used);

#endif
