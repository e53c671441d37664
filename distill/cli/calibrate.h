/* distill/cli/calibrate.h - where the importance of a conversion comes from: a file, or a text or study run through the model; and the mix of types
 * that a target asks for. The options are convert's. Leans on convert/mix.h, measure.h. */
#ifndef KD_CLI_CALIBRATE_H
#define KD_CLI_CALIBRATE_H

#include "convert/mix.h"
#include "distill/cli/cli.h"

typedef struct {
    kd_importance *importance; /* NULL: none is wanted, or nothing to make it from */
    kd_mix *mix;               /* NULL: no target */
    const char *from;          /* the file it comes from */
    const char *what;          /* of a study: which rows; static */
    uint64_t tokens;           /* run through the model; 0: read */
    double seconds;
} kd_calibration;
/* Whether --target-size or --target-kl is given. */
bool kd_calibrate_targets(const kd_cli *cli);
/* What the options ask for; room: bytes of the file beside its matrices; searched: the conversion has a type that searches. Errors: usage, files, the forward pass. */
kd_code kd_calibrate(kd_calibration *c, kd_cli *cli, const char *src, const char *adapter, const char *study, bool searched, uint64_t room,
                     kd_err *e);
void kd_calibration_clear(kd_calibration *c);

#endif
