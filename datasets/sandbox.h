/* datasets/sandbox.h - running a stranger's program where it can do no harm: bubblewrap's namespaces, a seccomp filter, resource limits, and a watch
 * over processor time, memory and silence. Leans on base. Linux only; as root it first becomes nobody. */
#ifndef KD_DATASETS_SANDBOX_H
#define KD_DATASETS_SANDBOX_H

#include "distill/base/mem.h"

typedef struct kd_sandbox kd_sandbox; /* shared by any number of threads */

typedef struct {
    const char *bwrap; /* NULL: /usr/bin/bwrap, /usr/local/bin/bwrap, /bin/bwrap */
    bool no_cgroup;    /* watch resident size even where a memory cgroup could be had */
} kd_sandbox_opts;
/* Looks for what it takes and runs one program to see that it holds. A machine where it does not (no bubblewrap, no user namespaces, a container that
 * forbids them) is no error: kd_sandbox_missing then says why, and kd_sandbox_run refuses. Errors: KD_ENOMEM. Test: tests/datasets/test_sandbox.c */
kd_code kd_sandbox_open(kd_sandbox **out, const kd_sandbox_opts *o, kd_err *e);
void kd_sandbox_close(kd_sandbox *b);
const char *kd_sandbox_missing(const kd_sandbox *b); /* NULL: it is there */
bool kd_sandbox_cgroup(const kd_sandbox *b);         /* memory is held by a cgroup, not by watching alone */

/* A file put into /box, the program's writable folder, home and working folder. */
typedef struct {
    const char *name; /* a plain file name */
    kd_str data;
    bool run; /* executable */
} kd_box_file;

typedef struct {
    const char *const *argv;  /* NULL-terminated; looked up in /usr/local/bin:/usr/bin:/bin */
    const kd_box_file *files; /* [n_files], at most 8 */
    size_t n_files;
    kd_str input;         /* standard input */
    const char *collect;  /* a file of /box whose bytes are wanted when the program ends with 0, or NULL */
    double cpu_seconds;   /* of all its processes together; 0: 10. This alone decides "too slow" */
    double idle_seconds;  /* without a process that could run; 0: 10. A sleep is ended by this, however loaded the machine */
    double wall_seconds;  /* 0: 60 + 20 cpu_seconds; beyond it nothing is told about the program (KD_BOX_WALL) */
    uint64_t memory;      /* bytes resident, all its processes together; 0: 1 GiB */
    uint64_t output;      /* bytes of standard output, and of standard error; 0: 16 MiB */
    uint64_t disk;        /* bytes of /box, and of one file; 0: 64 MiB */
    int processes;        /* threads count; 0: 64 */
    bool unlimited_space; /* no limit on address space (node reserves gigabytes); else 4 x memory */
} kd_box_spec;

typedef enum {
    KD_BOX_EXIT,   /* status: its exit status */
    KD_BOX_SIGNAL, /* status: the signal */
    KD_BOX_CPU,
    KD_BOX_IDLE,
    KD_BOX_MEMORY,
    KD_BOX_OUTPUT,
    KD_BOX_PROCESSES,
    KD_BOX_WALL,
    KD_BOX_STOPPED, /* stop said so */
    KD_BOX_BROKEN   /* the sandbox itself failed: errors says why; nothing is told about the program */
} kd_box_end;
typedef struct {
    kd_box_end end;
    int status;
    double cpu, wall; /* seconds */
    uint64_t memory;  /* bytes: the most that one process (by the kernel) or all of them (as watched) held */
    kd_buf out;       /* standard output, at most spec.output bytes */
    kd_buf errors;    /* the last 4 KiB of standard error */
    kd_buf collected;
} kd_box_result;
/* Runs a program and waits for it; when it returns, none of its processes is left. stop (or NULL) is asked now and then. r: {0}, or a result to be
 * used again. Errors: KD_ENOMEM, KD_EINVAL (a name that is no plain file name); KD_EUNSUPPORTED no sandbox. What the program did is in r, no error. */
kd_code kd_sandbox_run(kd_sandbox *b, const kd_box_spec *spec, bool (*stop)(void *ctx), void *ctx, kd_box_result *r, kd_err *e);
void kd_box_clear(kd_box_result *r);
kd_box_spec kd_box_defaults(const kd_box_spec *spec); /* with what stands for its zeros */
/* Is this program (a bare name) where the sandbox looks? */
bool kd_sandbox_has(const char *program);

#endif
