/* datasets/sandbox_int.h - what the files of the sandbox share. Private to datasets/sandbox*.c. Leans on base. */
#ifndef KD_DATASETS_SANDBOX_INT_H
#define KD_DATASETS_SANDBOX_INT_H

#include "datasets/sandbox.h"

#include <sys/types.h>

/* sandbox_filter.c: out += the compiled seccomp filter that bubblewrap installs. Errors: KD_ENOMEM, KD_EUNSUPPORTED. */
kd_code kd_sandbox_filter(kd_buf *out, kd_err *e);

/* sandbox_watch.c: what the processes below one use, by /proc. */
typedef struct {
    double cpu;        /* seconds of all that were ever seen, the reaped children of each included; never falls */
    uint64_t resident; /* bytes now: private pages and shared memory of each process */
    int tasks;         /* threads now */
    bool runnable;     /* one of them runs, could run, or waits for a disk */
    pid_t first;       /* the child of the root: the init of the sandbox; 0: not there yet */
} kd_usage;
typedef struct {
    double gone, reaped, most; /* seconds: of processes that are no more; of the living and what they waited for; the larger sum so far */
    struct kd_seen *seen;      /* [cap], those of the last look */
    size_t n, cap;
    kd_buf text;
    pid_t *stack;
    size_t stack_cap;
} kd_watching;
bool kd_usage_can(void); /* the kernel tells the children of a process */
kd_code kd_usage_look(kd_watching *w, pid_t root, kd_usage *out);
void kd_usage_clear(kd_watching *w);

/* sandbox_cgroup.c: a memory group of our own (cgroup v2). */
typedef struct {
    char dir[4096]; /* where groups are made; "": none can be had */
} kd_memory_place;
void kd_memory_place_find(kd_memory_place *p);
/* Makes a group of at most `bytes`; *procs: the file that a process writes "0" into to be in it. false: none. */
bool kd_memory_group_new(const kd_memory_place *p, uint64_t bytes, char dir[4200], int *procs);
void kd_memory_group_free(const char *dir);
bool kd_memory_group_full(const char *dir); /* the kernel killed for it */

struct kd_sandbox {
    char bwrap[256], missing[400];
    kd_buf filter;
    bool root, count_processes; /* the kernel counts processes by user namespace (5.14) */
    kd_memory_place memory;
};

/* sandbox_start.c: one program under way. */
typedef struct {
    pid_t pid;                      /* of bubblewrap: our child */
    int out, errors, mark, collect; /* ends that we read, -1 when closed; mark: a byte comes when the program starts */
    char group[4200];               /* its memory group, "" if none */
    uint64_t ours;                  /* bytes that we had resident when it was forked off: the kernel counts them as its most */
} kd_started;
kd_code kd_sandbox_start(kd_sandbox *b, const kd_box_spec *spec, kd_started *s, kd_err *e);

#endif
