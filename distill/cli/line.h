/* distill/cli/line.h - a line from a person at a terminal: edited, with those before it at hand. Leans on base/mem.h. */
#ifndef KD_CLI_LINE_H
#define KD_CLI_LINE_H

#include "distill/base/mem.h"

/* What came before, oldest first. {0} is empty. */
typedef struct {
    char **lines;
    size_t n, cap;
} kd_line_history;
kd_code kd_line_remember(kd_line_history *h, kd_str line); /* unless it repeats the last one */
void kd_line_history_clear(kd_line_history *h);

typedef enum { KD_LINE_READ, KD_LINE_END, KD_LINE_BREAK /* Ctrl-C */, KD_LINE_ERROR } kd_line_how;
/* Shows prompt on out and reads a line from in into *line (replaced), without its end. Arrows, Home, End, Ctrl-A E B F U K W L D and P N do what they do
 * in a shell; a long line scrolls sideways. in must be a terminal; it is left as it was found. */
kd_line_how kd_line_read(kd_buf *line, int in, int out, const char *prompt, const kd_line_history *h);

/* The editor alone, for kd_line_read and tests: the bytes of keys, one after another. */
typedef struct {
    kd_buf text;
    size_t at;             /* the cursor, in bytes */
    size_t shown;          /* place in the history; h->n: the new line */
    kd_buf kept;           /* the new line, while others are looked at */
    unsigned char seq[16]; /* an escape sequence or character that is not whole yet */
    size_t n_seq;
} kd_line_editor;
typedef enum { KD_KEY_MORE, KD_KEY_DONE, KD_KEY_END, KD_KEY_BREAK, KD_KEY_REDRAW } kd_key_what;
kd_key_what kd_line_key(kd_line_editor *ed, unsigned char byte, const kd_line_history *h);
void kd_line_editor_clear(kd_line_editor *ed);
/* Columns that s takes on a terminal, about: wide characters take two, marks none. */
size_t kd_line_width(kd_str s);

#endif
