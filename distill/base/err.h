/* distill/base/err.h - the error record that every fallible function fills. Includes nothing of ours. */
#ifndef KD_BASE_ERR_H
#define KD_BASE_ERR_H

#if defined(__GNUC__)
#define KD_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define KD_PRINTF(f, a)
#endif

/* What went wrong, in the terms a caller can act on. distill/cli maps each to an exit status (sysexits where one fits). */
typedef enum {
    KD_OK = 0,
    KD_ECHECK,       /* a check said no                        exit 1   */
    KD_EINVAL,       /* an argument out of its domain          exit 64  */
    KD_EFORMAT,      /* data that breaks its format            exit 65  */
    KD_ENOENT,       /* no such input                          exit 66  */
    KD_EUNREACHABLE, /* teacher unreachable                    exit 69  */
    KD_EBUG,         /* our own mistake                        exit 70  */
    KD_ENOMEM,       /* memory                                 exit 71  */
    KD_ECREATE,      /* an output cannot be created            exit 73  */
    KD_EIO,          /* read or write failed, disk full        exit 74  */
    KD_ELIMIT,       /* stopped by a limit; running again mends  exit 75 */
    KD_EAUTH,        /* key refused                            exit 77  */
    KD_ECONFIG,      /* configuration                          exit 78  */
    KD_EUNSUPPORTED, /* a feature asked for that we lack       exit 65  */
    KD_EINTERRUPT,   /* stopped by SIGINT                      exit 130 */
    KD_ETERMINATE    /* stopped by SIGTERM                     exit 143 */
} kd_code;

typedef struct {
    kd_code code;
    char msg[508];
} kd_err; /* caller-owned, may be NULL, never allocates */

/* Fills *e (if not NULL) with code and message, cut to fit at a character border, and returns c.
 * Never fails, never allocates; e->msg may be among the arguments. Test: tests/distill/base/test_err.c */
kd_code kd_fail(kd_err *e, kd_code c, const char *fmt, ...) KD_PRINTF(3, 4);

/* Like kd_fail with ": strerror(errnum)" behind the message. */
kd_code kd_fail_errno(kd_err *e, kd_code c, int errnum, const char *fmt, ...) KD_PRINTF(4, 5);

/* clang's analyzer does not look into other files: this tells it that what comes back is the code that went in. */
#ifdef __clang_analyzer__
#define kd_fail(e, c, ...) (kd_fail((e), (c), __VA_ARGS__), (c))
#define kd_fail_errno(e, c, n, ...) (kd_fail_errno((e), (c), (n), __VA_ARGS__), (c))
#endif

/* Resets to KD_OK and an empty message; e may be NULL. */
void kd_err_clear(kd_err *e);

#endif
