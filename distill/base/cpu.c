/* distill/base/cpu.c - what the processor can do, read once by CPUID and XGETBV. Leans on nothing. */
#include "distill/base/cpu.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

static kd_cpu detected, current;
static char description[96];
static bool base_only; /* avx512 without its extensions */
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__) || defined(__i386__)
static uint64_t xcr0(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static bool bit(uint32_t word, int n) { return (word >> n & 1u) != 0; }

static void detect(kd_cpu *c) {
    uint32_t a, b, cx, d, b7 = 0, c7 = 0, d7 = 0, a71 = 0;
    if (!__get_cpuid(1, &a, &b, &cx, &d)) return;
    if (!bit(cx, 27)) return; /* OSXSAVE: without it the system saves no wide registers */
    const bool fma = bit(cx, 12), f16c = bit(cx, 29), avx = bit(cx, 28);
    const uint64_t saved = xcr0();
    if (__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) && a >= 1) {
        uint32_t b71, c71, d71;
        (void)__get_cpuid_count(7, 1, &a71, &b71, &c71, &d71);
    }
    if (!avx || (saved & 0x6) != 0x6 || !fma || !f16c || !bit(b7, 5)) return;
    c->level = KD_CPU_AVX2;
    c->avx_vnni = bit(a71, 4);
    if ((saved & 0xe6) != 0xe6 || !bit(b7, 16) || !bit(b7, 17) || !bit(b7, 30) || !bit(b7, 31)) return;
    c->level = KD_CPU_AVX512;
    c->avx512_vnni = bit(c7, 11);
    c->avx512_bf16 = bit(a71, 5);
    if ((saved & 0x60000) != 0x60000 || !bit(d7, 24)) return; /* tile state saved by the system, AMX-TILE */
    c->amx_bf16 = bit(d7, 22);
    c->amx_int8 = bit(d7, 25);
}
#else
static void detect(kd_cpu *c) { (void)c; }
#endif

static void describe(void) {
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    strcpy(description, names[current.level]);
    if (current.avx_vnni && current.level == KD_CPU_AVX2) strcat(description, " avxvnni");
    if (current.avx512_vnni) strcat(description, " vnni");
    if (current.avx512_bf16) strcat(description, " bf16");
    if (current.amx_bf16) strcat(description, " amx-bf16");
    if (current.amx_int8) strcat(description, " amx-int8");
}

static void start(void) {
    detect(&detected);
    current = detected;
    describe();
}

static void apply(kd_cpu_level cap) {
    current = detected;
    if (current.level > cap) current.level = cap;
    if (current.level < KD_CPU_AVX512 || base_only) current.avx512_vnni = current.avx512_bf16 = current.amx_bf16 = current.amx_int8 = false;
    if (current.level < KD_CPU_AVX2 || base_only) current.avx_vnni = false;
    describe();
}

const kd_cpu *kd_cpu_get(void) {
    (void)pthread_once(&once, start);
    return &current;
}

bool kd_cpu_cap(const char *level) {
    (void)pthread_once(&once, start);
    static const struct {
        const char *word;
        kd_cpu_level cap;
        bool base;
    } words[] = {{"scalar", KD_CPU_SCALAR, false},
                 {"avx2", KD_CPU_AVX2, false},
                 {"avx512", KD_CPU_AVX512, false},
                 {"avx512-base", KD_CPU_AVX512, true}};
    if (!level) {
        base_only = false;
        apply(KD_CPU_AVX512);
        return true;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i].word, level) == 0) {
            base_only = words[i].base;
            apply(words[i].cap);
            return true;
        }
    return false;
}

const char *kd_cpu_describe(void) {
    (void)pthread_once(&once, start);
    return description;
}
