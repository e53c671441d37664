/* distill/cli/run.c - one run of the program: from argv to the exit status. Output helpers are in out.c. */
#include "distill/cli/state.h"

#include "distill/base/cpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool utf8_locale(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *v = getenv(names[i]);
        if (v && *v) return strcasestr(v, "utf-8") || strcasestr(v, "utf8");
    }
    return false;
}

static kd_code start_progress(const kd_cli *cli, kd_progress **p, kd_err *e) {
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    const bool tty = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    const kd_progress_options o = {.fd = STDERR_FILENO,
                                   .tty = tty,
                                   .colour = tty && !(no_colour && *no_colour),
                                   .quiet = cli->quiet,
                                   .utf8 = utf8_locale(),
                                   .verbose = cli->verbose};
    return kd_progress_new(p, &o, e);
}

static void complain(const kd_err *e) {
    if (e->msg[0]) (void)fprintf(stderr, "distill: %s\n", e->msg);
}

/* Everything said on stdout has arrived, or it is an error. A reader that went away is none to talk about. */
static int flushed(const kd_cli *cli, int status) {
    errno = 0;
    const bool bad = fflush(stdout) != 0 || ferror(stdout);
    const int why = cli && cli->state && cli->state->out_errno ? cli->state->out_errno : errno;
    if (!bad && !(cli && cli->state && cli->state->out_failed)) return status;
    if (why == EPIPE) return 141;
    if (status == 0 || status == 74) (void)fprintf(stderr, "distill: standard output: %s\n", strerror(why));
    return status ? status : 74;
}

static kd_code gather(kd_cli *cli, int argc, char **argv, kd_err *e) {
    kd_code c = kd_opts_flags(cli, argc, argv, e);
    if (!c && !kd_opt_flag(cli, "help")) c = kd_opts_env(cli, environ, e); /* help is given whatever the environment says */
    if (!c && kd_opt_string(cli, "config") && !kd_opt_flag(cli, "help")) c = kd_config_read(cli, kd_opt_string(cli, "config"), e);
    return c ? c : kd_opts_finish(cli, e);
}

static int run_command(const kd_cmd *cmd, int argc, char **argv) {
    kd_err e = {0};
    kd_cli cli;
    kd_code c = kd_opts_init(&cli, cmd, &e);
    if (!c) c = gather(&cli, argc, argv, &e);
    if (!c && cli.state->help) {
        kd_help_command(&cli.state->line, cmd);
        (void)fputs(cli.state->line.data ? cli.state->line.data : "", stdout);
    } else if (!c) {
        kd_progress *p = NULL;
        kd_progress_signals();
        c = start_progress(&cli, &p, &e);
        if (!c) {
            kd_progress_now = p;
            cli.watch = kd_progress_watch(p);
            c = cmd->run(&cli, &e);
        }
        kd_progress_now = NULL;
        kd_progress_free(p);
    }
    if (c == KD_EINTERRUPT && !e.msg[0]) (void)kd_fail(&e, c, "interrupted");
    if (c == KD_ETERMINATE && !e.msg[0]) (void)kd_fail(&e, c, "terminated");
    if (c && c != KD_ECHECK && !e.msg[0]) (void)kd_fail(&e, c, "%s: failed without a word (code %d)", cmd->name, (int)c);
    const int status = flushed(&cli, kd_exit_status(c));
    if (c && status != 141) complain(&e);
    kd_opts_clear(&cli);
    return status;
}

static int help(int argc, char **argv) {
    kd_buf out = {0};
    if (argc > 1 && strcmp(argv[1], "help") == 0 && argc > 2) {
        const kd_cmd *cmd = kd_command_named(argv[2]);
        if (!cmd) {
            const char *near = kd_command_nearest(argv[2]);
            (void)fprintf(stderr, near ? "distill: unknown command '%s'; did you mean %s?\n" : "distill: unknown command '%s'\n", argv[2],
                          near);
            return 64;
        }
        kd_help_command(&out, cmd);
    } else {
        kd_help_list(&out);
    }
    (void)fputs(out.data ? out.data : "", argc > 1 ? stdout : stderr);
    kd_buf_clear(&out);
    return argc > 1 ? flushed(NULL, 0) : 64;
}

int kd_cli_main(int argc, char **argv) {
    const char *cap = getenv("KD_CPU");
    if (cap && *cap && !kd_cpu_cap(cap)) {
        (void)fprintf(stderr, "distill: KD_CPU: '%s' is not one of scalar, avx2, avx512-base, avx512\n", cap);
        return 78;
    }
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return help(argc, argv);
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("distill " KD_VERSION);
        return flushed(NULL, 0);
    }
    const kd_cmd *cmd = kd_command_named(argv[1]);
    if (cmd) return run_command(cmd, argc - 2, argv + 2);
    const char *near = kd_command_nearest(argv[1]);
    if (argv[1][0] == '-')
        (void)fprintf(stderr, "distill: the command comes first, then its options: distill COMMAND %s (distill help lists the commands)\n",
                      argv[1]);
    else if (near)
        (void)fprintf(stderr, "distill: unknown command '%s'; did you mean %s?\n", argv[1], near);
    else
        (void)fprintf(stderr, "distill: unknown command '%s' (distill help lists the commands)\n", argv[1]);
    return 64;
}
