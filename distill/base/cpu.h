/* distill/base/cpu.h - what instructions this machine has, and a cap on what we use. Includes nothing of ours.
 * Set once before any kernel is chosen; library code never reads the environment (distill/cli and tests pass KD_CPU on). */
#ifndef KD_BASE_CPU_H
#define KD_BASE_CPU_H

#include <stdbool.h>

typedef enum { KD_CPU_SCALAR, KD_CPU_AVX2, KD_CPU_AVX512 } kd_cpu_level; /* avx2: with FMA and F16C; avx512: F, BW, VL, DQ */
typedef struct {
    kd_cpu_level level;
    bool avx512_vnni, avx512_bf16, avx_vnni, amx_bf16, amx_int8; /* false when the cap is below them */
} kd_cpu;
const kd_cpu *kd_cpu_get(void); /* detected at first use, capped */
/* "scalar", "avx2", "avx512" (without its extensions: "avx512-base"); false for another word. NULL lifts the cap. Call before kernels run. */
bool kd_cpu_cap(const char *level);
const char *kd_cpu_describe(void); /* "avx512 vnni bf16"; static */

#endif
