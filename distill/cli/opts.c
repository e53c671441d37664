/* distill/cli/opts.c - option values: flags and environment into the table's kinds. The config file is config.c. */
#include "distill/cli/state.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const kd_opt kd_common_opts[] = {
    {"dry-run", 'n', KD_OPT_FLAG, NULL, NULL, "print the plan (memory, disk, requests, time, cost) and do nothing", "Everywhere"},
    {"json", 0, KD_OPT_FLAG, NULL, NULL, "print one JSON object, or one a line, on stdout", "Everywhere"},
    {"quiet", 'q', KD_OPT_FLAG, NULL, NULL, "no progress and no remarks on stderr", "Everywhere"},
    {"verbose", 'v', KD_OPT_FLAG, NULL, NULL, "say more; twice, say still more", "Everywhere"},
    {"threads", 0, KD_OPT_INT, "N", "0", "processors to use; 0 is all that this process may have", "Everywhere", .min = 0, .max = 4096},
    {"seed", 0, KD_OPT_INT, "N", "0", "seed of every random choice", "Everywhere", .min = 0, .max = 9.2e18},
    {"memory", 0, KD_OPT_SIZE, "SIZE", NULL, "most resident memory to plan for (16G); what the machine has otherwise", "Everywhere"},
    {"config", 0, KD_OPT_PATH, "FILE", NULL, "options from a YAML file, under the same names", "Everywhere"},
    {"help", 'h', KD_OPT_FLAG, NULL, NULL, "this text", "Everywhere"},
    {0}};

static size_t count_of(const kd_opt *o) {
    size_t n = 0;
    while (o && o[n].kind != KD_OPT_END) n++;
    return n;
}

kd_code kd_opts_init(kd_cli *cli, const kd_cmd *cmd, kd_err *e) {
    const size_t own = count_of(cmd->opts), common = count_of(kd_common_opts);
    kd_cli_state *s = kd_calloc(1, sizeof *s);
    *cli = (kd_cli){.cmd = cmd, .state = s};
    if (s) s->values = kd_calloc(own + common, sizeof *s->values);
    if (!s || !s->values) return kd_fail(e, KD_ENOMEM, "%s: no memory", cmd->name);
    for (size_t i = 0; i < own; i++) s->values[s->n_values++] = (kd_opt_value){.opt = &cmd->opts[i], .word = -1};
    for (size_t i = 0; i < common; i++) {
        /* a command may state a common option of its own, with another default or help */
        bool stated = false;
        for (size_t k = 0; k < own; k++) stated |= strcmp(cmd->opts[k].name, kd_common_opts[i].name) == 0;
        if (!stated) s->values[s->n_values++] = (kd_opt_value){.opt = &kd_common_opts[i], .word = -1};
    }
    return KD_OK;
}

void kd_opts_forget(kd_opt_value *v) {
    for (size_t i = 0; i < v->n; i++) kd_free(v->values[i]);
    kd_free(v->values);
    *v = (kd_opt_value){.opt = v->opt, .word = -1};
}

void kd_opts_clear(kd_cli *cli) {
    kd_cli_state *s = cli->state;
    if (s) {
        for (size_t i = 0; s->values && i < s->n_values; i++) kd_opts_forget(&s->values[i]);
        kd_free(s->values);
        kd_pool_free(s->pool);
        kd_buf_clear(&s->line);
        kd_free(s);
    }
    for (size_t i = 0; i < cli->n_args; i++) kd_free(cli->args[i]);
    kd_free(cli->args);
    *cli = (kd_cli){0};
}

static bool same_name(const char *known, const char *name, size_t len) {
    size_t i = 0;
    for (; i < len && known[i]; i++)
        if (known[i] != (name[i] == '_' ? '-' : name[i])) return false;
    return i == len && !known[i];
}

kd_opt_value *kd_opts_find(const kd_cli *cli, const char *name, size_t len) {
    for (size_t i = 0; i < cli->state->n_values; i++)
        if (same_name(cli->state->values[i].opt->name, name, len)) return &cli->state->values[i];
    return NULL;
}

const char *kd_opts_nearest(const kd_cli *cli, const char *name, size_t len) {
    const char *best = NULL;
    size_t least = len / 3 + 2;
    for (size_t i = 0; i < cli->state->n_values; i++) {
        const kd_opt *o = cli->state->values[i].opt;
        if (o->hidden) continue;
        if (len >= 3 && strncmp(o->name, name, len) == 0) return o->name; /* "temp" means temperature */
        const size_t d = kd_edit_distance((kd_str){name, len}, kd_str_of(o->name), least);
        if (d < least) {
            least = d;
            best = o->name;
        }
    }
    return best;
}

/* ---- one value ---- */

static kd_code out_of_range(const kd_opt *o, const char *text, const char *where, kd_code bad, kd_err *e) {
    return kd_fail(e, bad, "%s: %s is out of range, expected %.15g to %.15g", where, text, o->min, o->max);
}

static bool within(const kd_opt *o, double v) { return !(o->max > o->min) || (v >= o->min && v <= o->max); }

static kd_code read_int(kd_opt_value *v, const char *text, const char *where, kd_code bad, kd_err *e) {
    char *end;
    errno = 0;
    const long long n = strtoll(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)*text)) return kd_fail(e, bad, "%s: '%s' is no whole number", where, text);
    if (errno || !within(v->opt, (double)n)) return out_of_range(v->opt, text, where, bad, e);
    v->as.i = n;
    return KD_OK;
}

static kd_code read_size(kd_opt_value *v, const char *text, const char *where, kd_code bad, kd_err *e) {
    static const char units[] = "KMGT";
    char *end = NULL;
    errno = 0;
    const long double n = isdigit((unsigned char)*text) ? strtold(text, &end) : -1;
    if (!end || n < 0 || errno || strpbrk(text, "xXpP")) return kd_fail(e, bad, "%s: '%s' is no size (300M, 1.5G, 4096)", where, text);
    long double scale = 1;
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        for (const char *u = units; u <= unit; u++) scale *= 1024;
        end++;
        if (*end == 'i' && end[1] == 'B') end++;
    }
    if (*end == 'B') end++;
    if (*end) return kd_fail(e, bad, "%s: '%s' is no size (300M, 1.5G, 4096)", where, text);
    if (n * scale >= 0x1p64L || !within(v->opt, (double)(n * scale))) {
        return v->opt->max > v->opt->min ? out_of_range(v->opt, text, where, bad, e)
                                         : kd_fail(e, bad, "%s: '%s' is too large", where, text);
    }
    v->as.size = (uint64_t)(n * scale);
    return KD_OK;
}

static kd_code read_float(kd_opt_value *v, const char *text, const char *where, kd_code bad, kd_err *e) {
    char *end;
    const double x = strtod(text, &end);
    if (end == text || *end || isspace((unsigned char)*text) || !isfinite(x)) return kd_fail(e, bad, "%s: '%s' is no number", where, text);
    if (!within(v->opt, x)) return out_of_range(v->opt, text, where, bad, e);
    v->as.f = x;
    return KD_OK;
}

static kd_code read_flag(kd_opt_value *v, const char *text, const char *where, kd_code bad, kd_err *e) {
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, yes[i]) == 0) return v->as.flag = true, KD_OK;
        if (strcmp(text, no[i]) == 0) return v->as.flag = false, KD_OK;
    }
    return kd_fail(e, bad, "%s: '%s' is neither true nor false", where, text);
}

static kd_code read_word(kd_opt_value *v, const char *text, const char *where, kd_code bad, kd_err *e) {
    const size_t n = strlen(text);
    size_t least = n / 3 + 2;
    kd_str near = {NULL, 0};
    int place = 0;
    for (const char *w = v->opt->arg; w; place++) {
        const char *bar = strchr(w, '|');
        const kd_str word = {w, bar ? (size_t)(bar - w) : strlen(w)};
        if (kd_str_is(word, text)) {
            v->word = place;
            return KD_OK;
        }
        const size_t d = kd_edit_distance(word, (kd_str){text, n}, least);
        if (d < least) {
            least = d;
            near = word;
        }
        w = bar ? bar + 1 : NULL;
    }
    if (near.data)
        return kd_fail(e, bad, "%s: '%s' is not one of %s; did you mean %.*s?", where, text, v->opt->arg, (int)near.len, near.data);
    return kd_fail(e, bad, "%s: '%s' is not one of %s", where, text, v->opt->arg);
}

static kd_code interpret(kd_opt_value *v, const char *text, const char *where, kd_code bad, kd_err *e) {
    switch (v->opt->kind) {
    case KD_OPT_FLAG: return read_flag(v, text, where, bad, e);
    case KD_OPT_INT: return read_int(v, text, where, bad, e);
    case KD_OPT_SIZE: return read_size(v, text, where, bad, e);
    case KD_OPT_FLOAT: return read_float(v, text, where, bad, e);
    case KD_OPT_ENUM: return read_word(v, text, where, bad, e);
    case KD_OPT_PATH: return *text ? KD_OK : kd_fail(e, bad, "%s: the path is empty", where);
    default: return KD_OK;
    }
}

kd_code kd_opts_set(kd_opt_value *v, kd_opt_source from, const char *text, const char *where, kd_code bad, kd_err *e) {
    if (v->n > 0 && v->from > from) return KD_OK;
    const kd_code c = interpret(v, text, where, bad, e);
    if (c) return c;
    const bool adds = v->opt->kind == KD_OPT_STRINGS || (v->opt->kind == KD_OPT_FLAG && v->as.flag); /* -v -v counts */
    if (!adds || v->from != from) {
        for (size_t i = 0; i < v->n; i++) kd_free(v->values[i]);
        v->n = 0;
    }
    if (kd_grow((void **)&v->values, &v->cap, v->n + 1, sizeof *v->values) || !(v->values[v->n] = kd_strdup(text)))
        return kd_fail(e, KD_ENOMEM, "%s: no memory", where);
    v->n++;
    v->from = from;
    return KD_OK;
}

/* ---- flags ---- */

typedef struct {
    kd_cli *cli;
    char **argv;
    int argc, at;
} words;

static kd_code unknown(const kd_cli *cli, const char *flag, const char *name, size_t len, kd_err *e) {
    const char *near = kd_opts_nearest(cli, name, len);
    if (near) return kd_fail(e, KD_EINVAL, "%s: unknown option %s; did you mean --%s?", cli->cmd->name, flag, near);
    return kd_fail(e, KD_EINVAL, "%s: unknown option %s (see distill help %s)", cli->cmd->name, flag, cli->cmd->name);
}

static kd_code long_flag(words *w, kd_err *e) {
    const char *arg = w->argv[w->at++], *name = arg + 2, *equals = strchr(name, '=');
    const size_t len = equals ? (size_t)(equals - name) : strlen(name);
    char where[80];
    kd_opt_value *v = kd_opts_find(w->cli, name, len);
    (void)snprintf(where, sizeof where, "--%.*s", (int)(len > 70 ? 70 : len), name);
    if (!v && len > 3 && strncmp(name, "no-", 3) == 0 && (v = kd_opts_find(w->cli, name + 3, len - 3)) && v->opt->kind == KD_OPT_FLAG) {
        if (equals) return kd_fail(e, KD_EINVAL, "%s takes no value", where);
        return kd_opts_set(v, KD_FROM_FLAG, "false", where, KD_EINVAL, e);
    }
    if (!v || (v->opt->kind != KD_OPT_FLAG && strncmp(name, "no-", 3) == 0 && !same_name(v->opt->name, name, len)))
        return unknown(w->cli, where, name, len, e);
    if (equals) return kd_opts_set(v, KD_FROM_FLAG, equals + 1, where, KD_EINVAL, e);
    if (v->opt->kind == KD_OPT_FLAG) return kd_opts_set(v, KD_FROM_FLAG, "true", where, KD_EINVAL, e);
    if (w->at == w->argc || strncmp(w->argv[w->at], "--", 2) == 0)
        return kd_fail(e, KD_EINVAL, "%s needs a value (%s)%s", where, v->opt->arg ? v->opt->arg : "VALUE",
                       w->at == w->argc ? "" : "; one that starts with -- is written after =");
    return kd_opts_set(v, KD_FROM_FLAG, w->argv[w->at++], where, KD_EINVAL, e);
}

static kd_code short_flags(words *w, kd_err *e) {
    const char *arg = w->argv[w->at++];
    for (const char *s = arg + 1; *s; s++) {
        kd_opt_value *v = NULL;
        char where[3] = {'-', *s, '\0'};
        for (size_t i = 0; i < w->cli->state->n_values && !v; i++)
            if (w->cli->state->values[i].opt->letter == *s) v = &w->cli->state->values[i];
        if (!v) return unknown(w->cli, arg, arg + 1, strlen(arg + 1), e);
        if (v->opt->kind == KD_OPT_FLAG) {
            const kd_code c = kd_opts_set(v, KD_FROM_FLAG, "true", where, KD_EINVAL, e);
            if (c) return c;
            continue;
        }
        if (s[1]) return kd_opts_set(v, KD_FROM_FLAG, s[1] == '=' ? s + 2 : s + 1, where, KD_EINVAL, e);
        if (w->at == w->argc) return kd_fail(e, KD_EINVAL, "%s needs a value (%s)", where, v->opt->arg ? v->opt->arg : "VALUE");
        return kd_opts_set(v, KD_FROM_FLAG, w->argv[w->at++], where, KD_EINVAL, e);
    }
    return KD_OK;
}

kd_code kd_opts_flags(kd_cli *cli, int argc, char **argv, kd_err *e) {
    words w = {.cli = cli, .argv = argv, .argc = argc};
    size_t cap = 0;
    bool only_args = false;
    kd_code c = KD_OK;
    while (w.at < argc && !c) {
        const char *arg = argv[w.at];
        if (!only_args && strcmp(arg, "--") == 0) {
            only_args = true;
            w.at++;
        } else if (!only_args && arg[0] == '-' && arg[1] == '-') {
            c = long_flag(&w, e);
        } else if (!only_args && arg[0] == '-' && arg[1]) {
            c = short_flags(&w, e);
        } else {
            if (kd_grow((void **)&cli->args, &cap, cli->n_args + 1, sizeof *cli->args) || !(cli->args[cli->n_args] = kd_strdup(arg)))
                return kd_fail(e, KD_ENOMEM, "%s: no memory", cli->cmd->name);
            cli->n_args++;
            w.at++;
        }
    }
    return c;
}

kd_code kd_opts_env(kd_cli *cli, char **env, kd_err *e) {
    static const char prefix[] = "DISTILL_";
    for (; env && *env; env++) {
        if (strncmp(*env, prefix, sizeof prefix - 1) != 0) continue;
        const char *equals = strchr(*env, '=');
        const size_t len = equals ? (size_t)(equals - *env) : 0;
        char where[96], name[96];
        if (len <= sizeof prefix - 1 || len >= sizeof where) continue;
        memcpy(where, *env, len);
        where[len] = '\0';
        for (size_t i = sizeof prefix - 1; i <= len; i++) name[i - sizeof prefix + 1] = (char)tolower((unsigned char)where[i]);
        kd_opt_value *v = kd_opts_find(cli, name, strlen(name));
        if (!v || strcmp(v->opt->name, "help") == 0) continue; /* another command's, or another program's */
        const kd_code c = kd_opts_set(v, KD_FROM_ENV, equals + 1, where, KD_ECONFIG, e);
        if (c) return c;
    }
    return KD_OK;
}

static kd_code count_args(const kd_cli *cli, kd_err *e) {
    const kd_cmd *m = cli->cmd;
    if (cli->n_args < (size_t)m->min_args)
        return kd_fail(e, KD_EINVAL, "%s: %s expected (distill %s [OPTIONS] %s)", m->name, cli->n_args ? "more arguments" : "arguments",
                       m->name, m->usage ? m->usage : "");
    if (m->max_args >= 0 && cli->n_args > (size_t)m->max_args)
        return kd_fail(e, KD_EINVAL, "%s: argument '%s' is one too many (distill %s [OPTIONS] %s)", m->name, cli->args[m->max_args],
                       m->name, m->usage ? m->usage : "");
    return KD_OK;
}

kd_code kd_opts_finish(kd_cli *cli, kd_err *e) {
    for (size_t i = 0; i < cli->state->n_values; i++) {
        kd_opt_value *v = &cli->state->values[i];
        char where[80];
        (void)snprintf(where, sizeof where, "default of --%s", v->opt->name);
        if (v->n > 0 || !v->opt->def) continue;
        const kd_code c = kd_opts_set(v, KD_FROM_DEFAULT, v->opt->def, where, KD_EBUG, e);
        if (c) return c;
    }
    cli->dry_run = kd_opt_flag(cli, "dry-run");
    cli->json = kd_opt_flag(cli, "json");
    cli->quiet = kd_opt_flag(cli, "quiet");
    cli->verbose = kd_opt_flag(cli, "verbose") ? (int)kd_opts_find(cli, "verbose", 7)->n : 0;
    cli->threads = (int)kd_opt_int(cli, "threads");
    cli->seed = (uint64_t)kd_opt_int(cli, "seed");
    cli->memory = kd_opt_size(cli, "memory");
    cli->state->help = kd_opt_flag(cli, "help");
    return cli->state->help ? KD_OK : count_args(cli, e);
}

/* ---- getters ---- */

static const kd_opt_value *need(const kd_cli *cli, const char *name, unsigned kinds) {
    const kd_opt_value *v = kd_opts_find(cli, name, strlen(name));
    if (!v || !(1u << v->opt->kind & kinds)) {
        (void)fprintf(stderr, "distill: our bug: option %s of %s is asked for %s\n", name, cli->cmd->name,
                      v ? "as another kind" : "and not stated");
        abort();
    }
    return v;
}

bool kd_opt_flag(const kd_cli *cli, const char *name) { return need(cli, name, 1u << KD_OPT_FLAG)->as.flag; }
int64_t kd_opt_int(const kd_cli *cli, const char *name) { return need(cli, name, 1u << KD_OPT_INT)->as.i; }
uint64_t kd_opt_size(const kd_cli *cli, const char *name) { return need(cli, name, 1u << KD_OPT_SIZE)->as.size; }
double kd_opt_float(const kd_cli *cli, const char *name) { return need(cli, name, 1u << KD_OPT_FLOAT)->as.f; }
int kd_opt_word(const kd_cli *cli, const char *name) { return need(cli, name, 1u << KD_OPT_ENUM)->word; }

const char *kd_opt_string(const kd_cli *cli, const char *name) {
    const kd_opt_value *v = need(cli, name, 1u << KD_OPT_STRING | 1u << KD_OPT_PATH | 1u << KD_OPT_ENUM);
    return v->n > 0 ? v->values[v->n - 1] : NULL;
}

size_t kd_opt_strings(const kd_cli *cli, const char *name, const char *const **values) {
    const kd_opt_value *v = need(cli, name, 1u << KD_OPT_STRINGS);
    *values = (const char *const *)v->values;
    return v->n;
}

bool kd_opt_given(const kd_cli *cli, const char *name) {
    const kd_opt_value *v = need(cli, name, ~0u);
    return v->n > 0 && v->from != KD_FROM_DEFAULT;
}

const char *kd_opt_typed_in(const kd_cli *cli, const char *group) {
    for (size_t i = 0; i < cli->state->n_values; i++) {
        const kd_opt_value *v = &cli->state->values[i];
        if (v->from == KD_FROM_FLAG && v->opt->group && strcmp(v->opt->group, group) == 0) return v->opt->name;
    }
    return NULL;
}
