/* distill/cli/cli.h - what a subcommand is, and what it is handed. Leans on base.
 *
 * A subcommand is one file cmd_NAME.c that defines `const kd_cmd kd_cmd_NAME` and has one line in commands.def. Its option table
 * is the only list of its flags: parsing, --help, the config file, the environment and the defaults all come from it. Example:
 *
 *   static const kd_opt options[] = {
 *       {"samples", 0, KD_OPT_INT, "K", "1", "answers a question", "Sampling", .min = 1, .max = 1e6},
 *       {"method", 0, KD_OPT_ENUM, "lora|dora|full", "lora", "what is trained", "Training"},
 *       {0}};
 *   static kd_code run(kd_cli *cli, kd_err *e) { const int64_t k = kd_opt_int(cli, "samples"); ... }
 *   const kd_cmd kd_cmd_generate = {.name = "generate", .help = "ask a teacher", .usage = "STUDY", .opts = options,
 *                                   .min_args = 1, .max_args = 1, .run = run};
 *
 * Every command has besides: --dry-run (-n), --json, --quiet (-q), --verbose (-v), --threads, --seed, --memory, --config, --help (-h). */
#ifndef KD_CLI_CLI_H
#define KD_CLI_CLI_H

#include "distill/base/event.h"
#include "distill/base/json.h"
#include "distill/base/mem.h"
#include "distill/base/pool.h"

typedef enum {
    KD_OPT_END,
    KD_OPT_FLAG,  /* --name, --no-name; true|false in files and environment */
    KD_OPT_INT,   /* int64, min..max when they differ */
    KD_OPT_SIZE,  /* bytes: 300M, 1.5G, 4096 */
    KD_OPT_FLOAT, /* min..max when they differ */
    KD_OPT_STRING,
    KD_OPT_PATH,
    KD_OPT_ENUM,   /* one of the words in arg, parted by | */
    KD_OPT_STRINGS /* may be given many times; a list in files */
} kd_opt_kind;

typedef struct {
    const char *name; /* long name without dashes; '_' is taken for '-' wherever a user writes it */
    char letter;      /* short name, or 0 */
    kd_opt_kind kind;
    const char *arg;   /* ENUM: the words; others: what --help calls the value ("N", "FILE"); FLAG: NULL */
    const char *def;   /* the default as text; NULL: none (numbers read 0 then, strings NULL, flags false) */
    const char *help;  /* one sentence, lower case, no full stop */
    const char *group; /* heading in --help; options of a group stand together */
    double min, max;   /* INT, SIZE, FLOAT: the range, if max > min */
    bool hidden;       /* not in --help: another spelling, or for tests */
} kd_opt;

typedef struct kd_cli kd_cli;

typedef struct {
    const char *name, *help;                /* help: one line for the list of commands */
    const char *usage;                      /* the arguments behind the options: "STUDY FILE..." */
    const char *about;                      /* paragraphs and examples under the usage in --help, or NULL */
    const kd_opt *opts;                     /* ends with {0}; NULL = none */
    int min_args, max_args;                 /* how many arguments; max_args -1 = any number */
    kd_code (*run)(kd_cli *cli, kd_err *e); /* KD_ECHECK with an empty message: the command has said itself what is wrong */
} kd_cmd;

struct kd_cli {
    const kd_cmd *cmd;
    char **args; /* the arguments that are no options */
    size_t n_args;
    bool dry_run, json, quiet;
    int verbose; /* how often -v */
    int threads; /* 0 = all that this process may use */
    uint64_t seed;
    uint64_t memory;       /* bytes, 0 = no cap given */
    const kd_watch *watch; /* hand it down: draws progress, carries SIGINT and SIGTERM */
    struct kd_cli_state *state;
};

/* Values by long name, after flags > environment > config file > default. A name that is not in the table, or of another kind, is our
 * mistake and aborts. */
bool kd_opt_flag(const kd_cli *cli, const char *name);
int64_t kd_opt_int(const kd_cli *cli, const char *name);
uint64_t kd_opt_size(const kd_cli *cli, const char *name);
double kd_opt_float(const kd_cli *cli, const char *name);
const char *kd_opt_string(const kd_cli *cli, const char *name); /* STRING, PATH, ENUM; NULL if none */
size_t kd_opt_strings(const kd_cli *cli, const char *name, const char *const **values);
int kd_opt_word(const kd_cli *cli, const char *name);   /* ENUM: place of the word in arg, from 0; -1 if none */
bool kd_opt_given(const kd_cli *cli, const char *name); /* not the default: a flag, the environment or the file said it */
/* The first option of a group that a flag said (not the environment or a file, which serve many commands); NULL: none. */
const char *kd_opt_typed_in(const kd_cli *cli, const char *group);

/* The pool of cli->threads workers, made at first use, freed at the end. */
kd_code kd_cli_pool(kd_cli *cli, kd_pool **pool, kd_err *e);

/* Data out, on stdout, never through the bar: a line at a time. Write errors come back here or at the end of the command. */
kd_code kd_out(kd_cli *cli, const char *fmt, ...) KD_PRINTF(2, 3); /* as printf; end lines yourself */
kd_code kd_out_str(kd_cli *cli, kd_str s);
/* One JSON object a line: kd_jsonw *w = kd_out_json(cli); kd_jsonw_object(w); ...; kd_jsonw_end_object(w); return kd_out_json_end(cli, e); */
kd_jsonw *kd_out_json(kd_cli *cli);
kd_code kd_out_json_end(kd_cli *cli, kd_err *e);

/* A remark on stderr (not with -q), a warning on stderr (always); above the bar if there is one. */
void kd_note(kd_cli *cli, const char *fmt, ...) KD_PRINTF(2, 3);
void kd_warn(kd_cli *cli, const char *fmt, ...) KD_PRINTF(2, 3);

/* Sizes and durations for people: "1.5 GiB", "2 min 05 s". */
const char *kd_human_bytes(uint64_t bytes, char s[32]);
const char *kd_human_time(double seconds, char s[32]);

/* The resolved options as YAML, one line each in table order, for RUN/config.yaml: what --config reads again. */
kd_code kd_cli_config_yaml(const kd_cli *cli, kd_buf *out);

/* A whole run of the program: parses, runs, reports, and returns the exit status. */
int kd_cli_main(int argc, char **argv);
int kd_exit_status(kd_code c);

#endif
