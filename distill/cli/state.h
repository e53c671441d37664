/* distill/cli/state.h - private to the skeleton of distill/cli: option values, where they came from, the parts of a run. */
#ifndef KD_CLI_STATE_H
#define KD_CLI_STATE_H

#include "distill/cli/cli.h"

typedef enum { KD_FROM_DEFAULT, KD_FROM_FILE, KD_FROM_ENV, KD_FROM_FLAG } kd_opt_source;

typedef struct {
    const kd_opt *opt;
    kd_opt_source from;
    char **values; /* one text, or many for STRINGS; owned */
    size_t n, cap;
    union {
        int64_t i;
        uint64_t size;
        double f;
        bool flag;
    } as; /* the parsed value of a single one */
    int word;
} kd_opt_value;

typedef struct kd_cli_state {
    kd_opt_value *values; /* the command's options, then the common ones */
    size_t n_values;
    kd_pool *pool;
    kd_buf line; /* of kd_out and kd_out_json */
    kd_jsonw json;
    bool out_failed;
    int out_errno;
    bool help; /* --help was asked for */
} kd_cli_state;

/* opts.c */
extern const kd_opt kd_common_opts[];
kd_code kd_opts_init(kd_cli *cli, const kd_cmd *cmd, kd_err *e);
void kd_opts_clear(kd_cli *cli);
kd_code kd_opts_flags(kd_cli *cli, int argc, char **argv, kd_err *e);        /* argv behind the command's name; fills args too */
kd_code kd_opts_env(kd_cli *cli, char **env, kd_err *e);                     /* DISTILL_NAME */
kd_code kd_opts_finish(kd_cli *cli, kd_err *e);                              /* defaults, the common fields of cli, number of arguments */
kd_opt_value *kd_opts_find(const kd_cli *cli, const char *name, size_t len); /* '_' as '-'; NULL = unknown */
/* Sets a value from text if nothing of higher rank has set it. where: how messages name the place ("--samples", "run.yaml line 3"). */
kd_code kd_opts_set(kd_opt_value *v, kd_opt_source from, const char *text, const char *where, kd_code bad, kd_err *e);
void kd_opts_forget(kd_opt_value *v);
const char *kd_opts_nearest(const kd_cli *cli, const char *name, size_t len); /* NULL = nothing near */

/* near.c: distance in single edits (insert, delete, replace, swap of neighbours), counted up to limit + 1. */
size_t kd_edit_distance(kd_str a, kd_str b, size_t limit);

/* config.c */
kd_code kd_config_read(kd_cli *cli, const char *path, kd_err *e);

/* help.c */
void kd_help_command(kd_buf *out, const kd_cmd *cmd);
void kd_help_list(kd_buf *out);

/* commands.c */
const kd_cmd *kd_command_at(size_t i); /* sorted by name; NULL behind the last */
const kd_cmd *kd_command_named(const char *name);
const char *kd_command_nearest(const char *name);

/* progress.c */
typedef struct kd_progress kd_progress;
typedef struct {
    int fd; /* stderr, or a test's */
    bool tty, colour, quiet, utf8;
    int verbose;
    double patience; /* seconds before a bar or the first line appears; 0 = 2 */
    double every;    /* seconds between plain lines; 0 = 10, growing */
} kd_progress_options;
kd_code kd_progress_new(kd_progress **out, const kd_progress_options *o, kd_err *e);
void kd_progress_free(kd_progress *p); /* clears the bar */
const kd_watch *kd_progress_watch(kd_progress *p);
void kd_progress_say(kd_progress *p, const char *line); /* a line above the bar */
void kd_progress_hide(kd_progress *p);                  /* before others write to the terminal; drawn again at the next step */
void kd_progress_signals(void);                         /* installs the handlers of SIGINT, SIGTERM, SIGBUS; ignores SIGPIPE */
extern kd_progress *kd_progress_now;                    /* the one that kd_out and kd_note go through, or NULL */

#endif
