/* distill/cli/out.c - what commands say: data on stdout, remarks on stderr, the shared pool, figures for people. */
#include "distill/cli/state.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

kd_code kd_cli_pool(kd_cli *cli, kd_pool **pool, kd_err *e) {
    if (!cli->state->pool) {
        const kd_code c = kd_pool_new(&cli->state->pool, cli->threads, e);
        if (c) return c;
    }
    *pool = cli->state->pool;
    return KD_OK;
}

kd_code kd_out_str(kd_cli *cli, kd_str s) {
    if (cli->state->out_failed) return KD_EIO;
    if (kd_progress_now && isatty(STDOUT_FILENO)) kd_progress_hide(kd_progress_now);
    if (s.len > 0 && fwrite(s.data, 1, s.len, stdout) != s.len) {
        cli->state->out_failed = true;
        cli->state->out_errno = errno;
        return KD_EIO;
    }
    return KD_OK;
}

kd_code kd_out(kd_cli *cli, const char *fmt, ...) {
    char small[1024];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    kd_code c = n < 0 ? KD_EIO : KD_OK;
    if (!c && (size_t)n < sizeof small) {
        c = kd_out_str(cli, (kd_str){small, (size_t)n});
    } else if (!c) {
        char *large = kd_malloc((size_t)n + 1);
        if (large) (void)vsnprintf(large, (size_t)n + 1, fmt, again);
        c = large ? kd_out_str(cli, (kd_str){large, (size_t)n}) : KD_ENOMEM;
        kd_free(large);
    }
    va_end(again);
    return c;
}

kd_jsonw *kd_out_json(kd_cli *cli) {
    cli->state->line.len = 0;
    cli->state->json = (kd_jsonw){.out = &cli->state->line};
    return &cli->state->json;
}

kd_code kd_out_json_end(kd_cli *cli, kd_err *e) {
    kd_cli_state *s = cli->state;
    if (!s->json.code) s->json.code = kd_buf_putc(&s->line, '\n');
    if (s->json.code) return kd_fail(e, KD_ENOMEM, "standard output: no memory for a line");
    const kd_code c = kd_out_str(cli, kd_buf_view(&s->line));
    if (c) return kd_fail_errno(e, c, s->out_errno, "standard output");
    return fflush(stdout) == 0 ? KD_OK : (s->out_failed = true, s->out_errno = errno, kd_fail_errno(e, KD_EIO, errno, "standard output"));
}

static void remark(const char *before, const char *fmt, va_list ap) {
    char text[1100];
    const int n = snprintf(text, sizeof text, "%s", before);
    (void)vsnprintf(text + n, sizeof text - (size_t)n, fmt, ap);
    if (kd_progress_now)
        kd_progress_say(kd_progress_now, text);
    else
        (void)fprintf(stderr, "%s\n", text);
}

void kd_note(kd_cli *cli, const char *fmt, ...) {
    if (cli->quiet) return;
    va_list ap;
    va_start(ap, fmt);
    remark("", fmt, ap);
    va_end(ap);
}

void kd_warn(kd_cli *cli, const char *fmt, ...) {
    (void)cli;
    va_list ap;
    va_start(ap, fmt);
    remark("distill: warning: ", fmt, ap);
    va_end(ap);
}

const char *kd_human_bytes(uint64_t bytes, char s[32]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    int u = 0;
    while (v >= 1023.95 && u < 6) v /= 1024, u++;
    (void)snprintf(s, 32, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
    return s;
}

const char *kd_human_time(double seconds, char s[32]) {
    if (!(seconds >= 0) || seconds > 8.64e8) return strcpy(s, "?");
    const long long whole = llround(seconds);
    if (seconds < 9.95)
        (void)snprintf(s, 32, "%.1f s", seconds);
    else if (whole < 60)
        (void)snprintf(s, 32, "%lld s", whole);
    else if (whole < 3600)
        (void)snprintf(s, 32, "%lld min %02lld s", whole / 60, whole % 60);
    else if (whole < 86400)
        (void)snprintf(s, 32, "%lld h %02lld min", whole / 3600, whole % 3600 / 60);
    else
        (void)snprintf(s, 32, "%lld d %02lld h", whole / 86400, whole % 86400 / 3600);
    return s;
}
