/* distill/cli/select_opts.c - flags into a selection; selections by name. Leans on select_opts.h. */
#include "distill/cli/select_opts.h"

#include <stdlib.h>
#include <string.h>

static const char *const flags[] = {"select", "split", "all", "per-question", "prefer", "difficulty", "max-tokens", "balance"};

/* "0.1:0.9" */
static kd_code read_difficulty(const char *text, kd_select_opts *o, kd_err *e) {
    char *end = NULL;
    if (!text) return KD_OK;
    o->hardest = strtod(text, &end);
    const bool parted = *end == ':';
    if (parted) o->easiest = strtod(end + 1, &end);
    if (!parted || *end || !(o->hardest >= 0 && o->hardest <= o->easiest && o->easiest <= 1))
        return kd_fail(e, KD_EINVAL, "--difficulty: expected two pass rates such as 0.1:0.9, found %s", text);
    if (o->easiest == 0) return kd_fail(e, KD_EINVAL, "--difficulty: 0:0 takes only what is never right; say pass_rate = 0 in --select");
    return KD_OK;
}

bool kd_select_opts_given(const kd_cli *cli) {
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (kd_opt_given(cli, flags[i])) return true;
    return kd_opt_given(cli, "selection");
}

/* The name of a kept selection that is asked for: --selection NAME or --select @NAME; it goes with no other flag. */
static kd_code kept_name(const char **name, const kd_cli *cli, kd_err *e) {
    const char *select = kd_opt_string(cli, "select");
    const bool at = select && *select == '@';
    *name = at ? select + 1 : kd_opt_string(cli, "selection");
    if (!*name) return KD_OK;
    for (size_t i = at ? 1 : 0; i < sizeof flags / sizeof *flags; i++)
        if (kd_opt_given(cli, flags[i]))
            return kd_fail(e, KD_EINVAL,
                           "--%s besides selection %s: a kept selection says all of it; give its flags instead, or leave this one out",
                           flags[i], *name);
    if (at && kd_opt_given(cli, "selection")) return kd_fail(e, KD_EINVAL, "--selection besides --select @%s", *name);
    return KD_OK;
}

static kd_code read_flags(kd_select_opts *o, kd_cli *cli, kd_err *e) {
    const int prefer = kd_opt_word(cli, "prefer");
    *o = (kd_select_opts){.select = kd_opt_string(cli, "select"),
                          .split = kd_opt_string(cli, "split"),
                          .any = kd_opt_flag(cli, "all"),
                          .per_question = (int)kd_opt_int(cli, "per-question"),
                          .max_tokens = kd_opt_int(cli, "max-tokens"),
                          .balance = kd_opt_string(cli, "balance"),
                          .prefer = prefer > 0 ? (unsigned)prefer : KD_PREFER_FIRST,
                          .seed = cli->seed};
    if (kd_opt_given(cli, "prefer") && !o->per_question)
        return kd_fail(e, KD_EINVAL, "--prefer says which of a question's samples come first: it needs --per-question K");
    if (o->select && o->any) return kd_fail(e, KD_EINVAL, "--all besides --select: one of the two");
    return read_difficulty(kd_opt_string(cli, "difficulty"), o, e);
}

kd_code kd_select_opts_open(kd_study **s, kd_select_opts *o, kd_arena *arena, kd_cli *cli, kd_err *e) {
    const char *kept, *save = kd_opt_string(cli, "save");
    char hash[65];
    const bool writes = save && !cli->dry_run;
    kd_code rc = kept_name(&kept, cli, e);
    if (!rc && kept && save) rc = kd_fail(e, KD_EINVAL, "--save %s besides selection %s: it is kept already", save, kept);
    if (!rc && !kept) rc = read_flags(o, cli, e);
    if (!rc) rc = kd_study_open(s, cli->args[0], writes ? KD_STUDY_WRITE : KD_STUDY_READ, e);
    if (!rc && kept && !(rc = kd_selection_load(*s, kept, arena, o, hash, e))) kd_note(cli, "selection %s: %.12s", kept, hash);
    if (!rc && writes) { /* a selection that cannot be read is not kept */
        kd_select *q = NULL;
        rc = kd_select_open(&q, *s, o, e);
        kd_select_close(q);
        if (!rc && !(rc = kd_selection_save(*s, save, o, hash, e))) kd_note(cli, "selection %s: %.12s", save, hash);
    }
    return rc;
}
