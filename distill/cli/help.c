/* distill/cli/help.c - --help out of the option tables. */
#include "distill/cli/state.h"

#include <stdio.h>
#include <string.h>

enum { COLUMN = 34, WIDTH = 100 };

/* text from column `at` on, wrapped at WIDTH and indented to COLUMN. A buffer that has no memory ends short; kd_help_* are for people. */
static void wrapped(kd_buf *out, const char *text, size_t at) {
    if (at >= COLUMN - 1) {
        (void)kd_buf_putc(out, '\n');
        at = 0;
    }
    (void)kd_buf_printf(out, "%*s", (int)(COLUMN - at), "");
    at = COLUMN;
    while (*text) {
        const size_t word = strcspn(text, " ");
        if (at > COLUMN && at + 1 + word > WIDTH) {
            (void)kd_buf_printf(out, "\n%*s", COLUMN, "");
            at = COLUMN;
        } else if (at > COLUMN) {
            (void)kd_buf_putc(out, ' ');
            at++;
        }
        (void)kd_buf_append(out, text, word);
        at += word;
        text += word;
        text += strspn(text, " ");
    }
    (void)kd_buf_putc(out, '\n');
}

static void option(kd_buf *out, const kd_opt *o) {
    kd_buf left = {0}, right = {0};
    if (o->letter)
        (void)kd_buf_printf(&left, "  -%c, --%s", o->letter, o->name);
    else
        (void)kd_buf_printf(&left, "      --%s", o->name);
    if (o->kind != KD_OPT_FLAG) (void)kd_buf_printf(&left, " %s", o->arg ? o->arg : "VALUE");
    (void)kd_buf_printf(&right, "%s", o->help ? o->help : "");
    if (o->kind == KD_OPT_STRINGS) (void)kd_buf_puts(&right, "; may be given many times");
    if (o->def) (void)kd_buf_printf(&right, " (default %s)", o->def);
    (void)kd_buf_append(out, left.data, left.len);
    wrapped(out, right.data ? right.data : "", left.len);
    kd_buf_clear(&left);
    kd_buf_clear(&right);
}

static const char *group_of(const kd_opt *o) { return o->group ? o->group : "Options"; }

static bool among(const kd_opt *list, const kd_opt *o) {
    for (; list && list->kind != KD_OPT_END; list++)
        if (strcmp(list->name, o->name) == 0) return true;
    return false;
}

/* The options group by group, in the order in which groups first appear, without those whose names are in `but`. */
static void options(kd_buf *out, const kd_opt *opts, const kd_opt *but) {
    for (const kd_opt *o = opts; o && o->kind != KD_OPT_END; o++) {
        bool headed = o->hidden || among(but, o);
        for (const kd_opt *p = opts; p < o && !headed; p++) headed = !p->hidden && !among(but, p) && strcmp(group_of(p), group_of(o)) == 0;
        if (headed) continue;
        (void)kd_buf_printf(out, "\n%s:\n", group_of(o));
        for (const kd_opt *p = o; p->kind != KD_OPT_END; p++)
            if (!p->hidden && !among(but, p) && strcmp(group_of(p), group_of(o)) == 0) option(out, p);
    }
}

void kd_help_command(kd_buf *out, const kd_cmd *cmd) {
    (void)kd_buf_printf(out, "distill %s - %s\n\nusage: distill %s [OPTIONS] %s\n", cmd->name, cmd->help, cmd->name,
                        cmd->usage ? cmd->usage : "");
    if (cmd->about) (void)kd_buf_printf(out, "\n%s%s", cmd->about, cmd->about[strlen(cmd->about) - 1] == '\n' ? "" : "\n");
    options(out, cmd->opts, NULL);
    options(out, kd_common_opts, cmd->opts);
}

void kd_help_list(kd_buf *out) {
    (void)kd_buf_puts(out, "distill - from a question file to a small quantized model that learned from a large one\n\n"
                           "usage: distill COMMAND [OPTIONS] ARGUMENTS\n\nCommands:\n");
    for (size_t i = 0; kd_command_at(i); i++) (void)kd_buf_printf(out, "  %-12s %s\n", kd_command_at(i)->name, kd_command_at(i)->help);
    (void)kd_buf_puts(out, "\ndistill help COMMAND says what a command takes; distill --version which distill this is.\n"
                           "Options may also come from the environment (DISTILL_NAME) and from --config FILE.\n");
}
