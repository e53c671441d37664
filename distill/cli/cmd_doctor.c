/* distill/cli/cmd_doctor.c - what this machine has, and whether distill can work on it. */
#include "distill/base/clock.h"
#include "distill/base/cpu.h"
#include "distill/base/file.h"
#include "distill/cli/cli.h"
#include "distill/math/gemm.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

typedef struct {
    kd_cli *cli;
    kd_jsonw *json; /* NULL: lines for people */
    int bad;
} report;

static void fact(const report *r, const char *key, const char *value) {
    if (r->json) {
        kd_jsonw_key(r->json, key);
        kd_jsonw_cstr(r->json, value);
    } else {
        (void)kd_out(r->cli, "%-14s %s\n", key, value ? value : "not there");
    }
}

static void amount(const report *r, const char *key, uint64_t bytes) {
    char s[32];
    if (r->json) {
        kd_jsonw_key(r->json, key);
        kd_jsonw_int(r->json, bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes);
    } else {
        fact(r, key, kd_human_bytes(bytes, s));
    }
}

/* Says no, and why. */
static void fault(report *r, const char *what) {
    r->bad++;
    kd_warn(r->cli, "%s", what);
}

static void processor(char *out, size_t cap) {
    kd_buf text = {0};
    (void)snprintf(out, cap, "unknown");
    if (!kd_file_read(&text, "/proc/cpuinfo", 1 << 20, NULL) && text.data) {
        const char *line = strstr(text.data, "model name");
        const char *colon = line ? strchr(line, ':') : NULL;
        if (colon) (void)snprintf(out, cap, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    }
    kd_buf_clear(&text);
}

/* Versions of the libraries that this process has loaded, asked by name: each is included by one file of another room only. */
static const char *library_text(const char *symbol) {
    const char *(*ask)(void);
    void *found = dlsym(RTLD_DEFAULT, symbol);
    if (!found) return NULL;
    memcpy(&ask, &found, sizeof ask);
    return ask();
}

static void libraries(report *r) {
    static const struct {
        const char *name, *symbol;
    } known[] = {
        {"sqlite", "sqlite3_libversion"}, {"curl", "curl_version"},         {"zlib", "zlibVersion"},
        {"cjson", "cJSON_Version"},       {"utf8proc", "utf8proc_version"}, {"yaml", "yaml_get_version_string"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) fact(r, known[i].name, library_text(known[i].symbol));
    bool safe;
    fact(r, "openblas", kd_blas_describe(&safe));
    if (!safe) fault(r, "no OpenBLAS, or only its serial build, which has no locks: training is slow; install libopenblas0-pthread");
}

static kd_code run(kd_cli *cli, kd_err *e) {
    char cpu[160], threads[32], system[200];
    struct utsname u;
    uint64_t disk = 0;
    kd_pool *pool;
    kd_code c = kd_cli_pool(cli, &pool, e);
    if (c) return c;
    report r = {.cli = cli, .json = cli->json ? kd_out_json(cli) : NULL};
    if (r.json) kd_jsonw_object(r.json);
    processor(cpu, sizeof cpu);
    (void)snprintf(threads, sizeof threads, "%d", kd_pool_threads(pool));
    fact(&r, "distill", KD_VERSION);
    if (uname(&u) == 0) {
        (void)snprintf(system, sizeof system, "%s %s %s", u.sysname, u.release, u.machine);
        fact(&r, "system", system);
    }
    fact(&r, "processor", cpu);
    fact(&r, "kernels", kd_cpu_describe());
    fact(&r, "threads", threads);
    amount(&r, "memory", kd_memory_total());
    amount(&r, "memory_free", kd_memory_free());
    if (kd_disk_free(".", &disk, NULL) == KD_OK) amount(&r, "disk_free", disk);
    libraries(&r);
    if (kd_cpu_get()->level == KD_CPU_SCALAR)
        fault(&r, "no AVX2 with FMA and F16C here (or KD_CPU caps it): everything works, some ten times slower");
    if (kd_memory_free() < (uint64_t)1 << 30) fault(&r, "less than 1 GiB of memory is free");
    if (disk < (uint64_t)1 << 30) fault(&r, "less than 1 GiB of disk is free here");
    if (r.json) {
        kd_jsonw_key(r.json, "ok");
        kd_jsonw_bool(r.json, r.bad == 0);
        kd_jsonw_end_object(r.json);
        if ((c = kd_out_json_end(cli, e))) return c;
    } else if (r.bad == 0) {
        (void)kd_out(cli, "all is well\n");
    }
    return r.bad ? KD_ECHECK : KD_OK;
}

const kd_cmd kd_cmd_doctor = {
    .name = "doctor",
    .help = "what this machine has, and whether distill can work on it",
    .usage = "",
    .about = "Prints processor, kernels, memory, disk and library versions. Exit status 1 if something here stands in the way.",
    .run = run,
};
