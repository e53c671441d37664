/* datasets/sandbox_filter.c - the seccomp filter of the sandbox: what no answer to a question needs and attacks live on is refused. Includes libseccomp;
 * leans on sandbox_int.h. Names that this kernel's headers lack are passed over: an unknown call cannot be made by that name. */
#include "datasets/sandbox_int.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Refused with EPERM. Namespaces and mounts, other processes, the kernel itself, keys, the clock, memory that no limit sees, System V and POSIX
 * objects, real-time scheduling. */
static const char *const refused[] = {
    "unshare",
    "setns",
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "mount_setattr",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "pidfd_open",
    "pidfd_getfd",
    "pidfd_send_signal",
    "kcmp",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "syslog",
    "sethostname",
    "setdomainname",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "iopl",
    "ioperm",
    "modify_ldt",
    "vm86",
    "vm86old",
    "quotactl",
    "quotactl_fd",
    "nfsservctl",
    "lookup_dcookie",
    "name_to_handle_at",
    "open_by_handle_at",
    "fanotify_init",
    "keyctl",
    "add_key",
    "request_key",
    "memfd_create",
    "memfd_secret",
    "vmsplice",
    "move_pages",
    "migrate_pages",
    "mbind",
    "set_mempolicy",
    "shmget",
    "shmat",
    "shmctl",
    "msgget",
    "msgsnd",
    "semget",
    "semop",
    "mq_open",
    "personality",
    "sched_setscheduler",
    "sched_setattr",
    "sched_setparam",
    "ioprio_set",
    "seccomp",
    "mlock",
    "mlock2",
    "mlockall",
    "vhangup",
    "uselib",
    "ustat",
    "sysfs",
    "_sysctl",
    "bind",
    "listen",
    "accept",
    "accept4",
};

static int refuse_more(scmp_filter_ctx f) {
    const uint64_t spaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    int rc = 0;
    for (int bit = 0; bit < 63 && !rc; bit++)
        if (spaces >> bit & 1) {
            const uint64_t mask = UINT64_C(1) << bit;
            rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, SCMP_A0_64(SCMP_CMP_MASKED_EQ, mask, mask));
        }
    /* its flags stand in memory, where a filter cannot look: libc goes back to clone */
    if (!rc) rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    /* sockets between its own processes only */
    if (!rc) rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1, SCMP_A0_64(SCMP_CMP_NE, AF_UNIX));
    /* typing into the terminal that we were started from */
    if (!rc) rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1, SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xffffffffu, TIOCSTI));
    if (!rc)
        rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                              SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xffffffffu, 0x541C)); /* TIOCLINUX */
    return rc;
}

static kd_code read_all(kd_buf *out, int fd, kd_err *e) {
    char part[4096];
    ssize_t n;
    if (lseek(fd, 0, SEEK_SET) < 0) return kd_fail_errno(e, KD_EUNSUPPORTED, errno, "sandbox: the seccomp filter cannot be read back");
    while ((n = read(fd, part, sizeof part)) > 0)
        if (kd_buf_append(out, part, (size_t)n)) return kd_fail(e, KD_ENOMEM, "sandbox: no memory for its filter");
    return n < 0 ? kd_fail_errno(e, KD_EUNSUPPORTED, errno, "sandbox: the seccomp filter cannot be read back") : KD_OK;
}

kd_code kd_sandbox_filter(kd_buf *out, kd_err *e) {
    kd_code code = KD_OK;
    int rc = 0;
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW); /* calls of another architecture's numbers kill: libseccomp's default */
    if (!f) return kd_fail(e, KD_ENOMEM, "sandbox: no memory for its filter");
    for (size_t i = 0; i < sizeof refused / sizeof *refused && !rc; i++) {
        const int nr = seccomp_syscall_resolve_name(refused[i]);
        if (nr >= 0) rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), nr, 0);
    }
    if (!rc) rc = refuse_more(f);
    const int fd = memfd_create("filter", MFD_CLOEXEC);
    if (!rc && fd >= 0) rc = seccomp_export_bpf(f, fd);
    if (rc)
        code = kd_fail_errno(e, KD_EUNSUPPORTED, -rc, "sandbox: no seccomp filter");
    else if (fd < 0)
        code = kd_fail_errno(e, KD_EUNSUPPORTED, errno, "sandbox: no memory file");
    else
        code = read_all(out, fd, e);
    if (fd >= 0) close(fd);
    seccomp_release(f);
    return code;
}
