/* distill/cli/commands.c - the table of subcommands, made from commands.def. */
#include "distill/cli/state.h"

#include <string.h>

#define KD_COMMAND(name) extern const kd_cmd kd_cmd_##name;
#include "distill/cli/commands.def"
#undef KD_COMMAND

#define KD_COMMAND(name) &kd_cmd_##name,
static const kd_cmd *const table[] = {
#include "distill/cli/commands.def"
};
#undef KD_COMMAND

enum { COMMANDS = sizeof table / sizeof *table };

/* The ith by name, whatever the order of the lines in commands.def. */
const kd_cmd *kd_command_at(size_t i) {
    const kd_cmd *found = NULL;
    for (size_t place = 0; place <= i; place++) {
        const kd_cmd *next = NULL;
        for (size_t k = 0; k < COMMANDS; k++)
            if ((!found || strcmp(table[k]->name, found->name) > 0) && (!next || strcmp(table[k]->name, next->name) < 0)) next = table[k];
        if (!next) return NULL;
        found = next;
    }
    return found;
}

const kd_cmd *kd_command_named(const char *name) {
    for (size_t k = 0; k < COMMANDS; k++)
        if (strcmp(table[k]->name, name) == 0) return table[k];
    return NULL;
}

const char *kd_command_nearest(const char *name) {
    const char *best = NULL;
    size_t least = strlen(name) / 3 + 2;
    for (size_t k = 0; k < COMMANDS; k++) {
        const size_t d = kd_edit_distance(kd_str_of(name), kd_str_of(table[k]->name), least);
        if (d < least) {
            least = d;
            best = table[k]->name;
        }
    }
    return best;
}
