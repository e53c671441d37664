/* distill/cli/calibrate.h - where the importance of a conversion comes from: a file, or a text or study run through the model. Leans on
 * convert/importance.h, measure.h. */
#ifndef KD_CLI_CALIBRATE_H
#define KD_CLI_CALIBRATE_H

#include "convert/importance.h"
#include "distill/cli/cli.h"

#define KD_CALIBRATE_OPTIONS                                                                                                               \
    {"calibration",                                                                                                                        \
     0,                                                                                                                                    \
     KD_OPT_PATH,                                                                                                                          \
     "FILE",                                                                                                                               \
     NULL,                                                                                                                                 \
     "text, .jsonl or study to run through the model: columns that matter there are stored better (default: what the study of --study "    \
     "taught; none: leave it out)",                                                                                                        \
     "Importance"},                                                                                                                        \
        {"calibration-tokens", 0, KD_OPT_INT, "N", "16384", "tokens of it; 0 = all", "Importance", .min = 0, .max = 1e15},                 \
        {"imatrix", 0, KD_OPT_PATH, "FILE", NULL, "importance from llama.cpp's imatrix file instead (GGUF or .dat)", "Importance"}, {      \
        "save-imatrix", 0, KD_OPT_PATH, "FILE", NULL, "keep the importance: GGUF, or llama.cpp's older form if named .dat", "Importance"   \
    }

typedef struct {
    kd_importance *importance; /* NULL: none is wanted, or nothing to make it from */
    const char *from;          /* the file it comes from */
    const char *what;          /* of a study: which rows; static */
    uint64_t tokens;           /* run through the model; 0: read */
    double seconds;
} kd_calibration;
/* What the options ask for; searched: the conversion has a type that searches. Errors: usage, files, the forward pass. */
kd_code kd_calibrate(kd_calibration *c, kd_cli *cli, const char *src, const char *adapter, const char *study, bool searched, kd_err *e);
void kd_calibration_clear(kd_calibration *c);

#endif
