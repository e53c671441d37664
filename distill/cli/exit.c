/* distill/cli/exit.c - from error codes to exit statuses. */
#include "distill/cli/cli.h"

int kd_exit_status(kd_code c) {
    switch (c) {
    case KD_OK: return 0;
    case KD_ECHECK: return 1;
    case KD_EINVAL: return 64;
    case KD_EFORMAT:
    case KD_EUNSUPPORTED: return 65;
    case KD_ENOENT: return 66;
    case KD_EUNREACHABLE: return 69;
    case KD_EBUG: return 70;
    case KD_ENOMEM: return 71;
    case KD_ECREATE: return 73;
    case KD_EIO: return 74;
    case KD_ELIMIT: return 75;
    case KD_EAUTH: return 77;
    case KD_ECONFIG: return 78;
    case KD_EINTERRUPT: return 130;
    case KD_ETERMINATE: return 143;
    }
    return 70;
}
