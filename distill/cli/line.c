/* distill/cli/line.c - see line.h. */
#include "distill/cli/line.h"

#include "distill/base/utf8.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

kd_code kd_line_remember(kd_line_history *h, kd_str line) {
    if (h->n && kd_str_is(line, h->lines[h->n - 1])) return KD_OK;
    char *copy = kd_strndup(line.data ? line.data : "", line.len);
    if (!copy || kd_grow((void **)&h->lines, &h->cap, h->n + 1, sizeof *h->lines)) {
        kd_free(copy);
        return KD_ENOMEM;
    }
    h->lines[h->n++] = copy;
    return KD_OK;
}

void kd_line_history_clear(kd_line_history *h) {
    for (size_t i = 0; i < h->n; i++) kd_free(h->lines[i]);
    kd_free(h->lines);
    *h = (kd_line_history){0};
}

void kd_line_editor_clear(kd_line_editor *ed) {
    kd_buf_clear(&ed->text);
    kd_buf_clear(&ed->kept);
    *ed = (kd_line_editor){0};
}

size_t kd_line_width(kd_str s) {
    size_t w = 0, len;
    for (size_t i = 0; i < s.len; i += len) {
        int32_t c = kd_utf8_next(s.data + i, s.len - i, &len);
        bool wide = (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) || (c >= 0xac00 && c <= 0xd7a3) ||
                    (c >= 0xf900 && c <= 0xfaff) || (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
                    (c >= 0xffe0 && c <= 0xffe6) || (c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd);
        w += c >= 0 && kd_uc_mark((uint32_t)c) ? 0 : wide ? 2 : 1;
    }
    return w;
}

/* ---- editing ---- */

static size_t before(const kd_line_editor *ed) {
    size_t i = ed->at;
    if (i) i--;
    while (i && ((unsigned char)ed->text.data[i] & 0xc0) == 0x80) i--;
    return i;
}

static size_t behind(const kd_line_editor *ed) {
    size_t i = ed->at;
    if (i < ed->text.len) i++;
    while (i < ed->text.len && ((unsigned char)ed->text.data[i] & 0xc0) == 0x80) i++;
    return i;
}

static void cut(kd_line_editor *ed, size_t from, size_t to) {
    if (from == to) return;
    memmove(ed->text.data + from, ed->text.data + to, ed->text.len - to);
    ed->text.len -= to - from;
    ed->at = from;
}

static void insert(kd_line_editor *ed, const unsigned char *s, size_t n) {
    if (kd_buf_append(&ed->text, s, n) || !ed->text.data) return; /* without memory a key does nothing */
    memmove(ed->text.data + ed->at + n, ed->text.data + ed->at, ed->text.len - n - ed->at);
    memcpy(ed->text.data + ed->at, s, n);
    ed->at += n;
}

static void show(kd_line_editor *ed, const kd_line_history *h, bool older) {
    size_t n = h ? h->n : 0;
    if (older ? ed->shown == 0 : ed->shown >= n) return;
    if (ed->shown == n) {
        ed->kept.len = 0;
        if (ed->text.len && kd_buf_append(&ed->kept, ed->text.data, ed->text.len)) return;
    }
    ed->shown = older ? ed->shown - 1 : ed->shown + 1;
    kd_str s = ed->shown == n ? (kd_str){ed->kept.data, ed->kept.len} : kd_str_of(h->lines[ed->shown]);
    ed->text.len = 0;
    if (s.len && kd_buf_append(&ed->text, s.data, s.len)) return;
    ed->at = ed->text.len;
}

static void erase_word(kd_line_editor *ed) {
    size_t i = ed->at;
    while (i && ed->text.data[i - 1] == ' ') i--;
    while (i && ed->text.data[i - 1] != ' ') i--;
    cut(ed, i, ed->at);
}

/* A whole escape sequence: ESC [ or O, then parameters and a letter or ~. */
static void sequence(kd_line_editor *ed, const kd_line_history *h) {
    unsigned char last = ed->seq[ed->n_seq - 1], first = ed->n_seq > 2 ? ed->seq[2] : 0;
    if (last == 'A' || last == 'B') show(ed, h, last == 'A');
    if (last == 'C') ed->at = behind(ed);
    if (last == 'D') ed->at = before(ed);
    if (last == 'H' || (last == '~' && (first == '1' || first == '7'))) ed->at = 0;
    if (last == 'F' || (last == '~' && (first == '4' || first == '8'))) ed->at = ed->text.len;
    if (last == '~' && first == '3') cut(ed, ed->at, behind(ed));
}

static kd_key_what control(kd_line_editor *ed, unsigned char b, const kd_line_history *h) {
    size_t at = ed->at;
    switch (b) {
    case '\r':
    case '\n': return KD_KEY_DONE;
    case 3: return KD_KEY_BREAK;
    case 4:
        if (!ed->text.len) return KD_KEY_END;
        cut(ed, at, behind(ed));
        break;
    case 1: ed->at = 0; break;
    case 2: ed->at = before(ed); break;
    case 5: ed->at = ed->text.len; break;
    case 6: ed->at = behind(ed); break;
    case 8:
    case 127: cut(ed, before(ed), at); break;
    case 11: ed->text.len = at; break;
    case 12: return KD_KEY_REDRAW;
    case 14:
    case 16: show(ed, h, b == 16); break;
    case 21: cut(ed, 0, at); break;
    case 23: erase_word(ed); break;
    case '\t': insert(ed, (const unsigned char *)" ", 1); break;
    default: break;
    }
    return KD_KEY_MORE;
}

kd_key_what kd_line_key(kd_line_editor *ed, unsigned char b, const kd_line_history *h) {
    if (ed->n_seq && ed->seq[0] == 27) {
        if (ed->n_seq < sizeof ed->seq) ed->seq[ed->n_seq++] = b;
        bool opens = ed->n_seq == 2 && (b == '[' || b == 'O'), ends = ed->n_seq > 2 ? b >= '@' && b <= '~' : !opens;
        if (ends && ed->n_seq > 2) sequence(ed, h);
        if (ends || ed->n_seq == sizeof ed->seq) ed->n_seq = 0;
        return KD_KEY_MORE;
    }
    if (b == 27) {
        ed->seq[0] = b, ed->n_seq = 1;
        return KD_KEY_MORE;
    }
    if (b < 0x20 || b == 127) {
        ed->n_seq = 0;
        return control(ed, b, h);
    }
    if (ed->n_seq == sizeof ed->seq) ed->n_seq = 0;
    ed->seq[ed->n_seq++] = b; /* characters go in whole */
    if (kd_utf8_valid((char *)ed->seq, ed->n_seq)) {
        insert(ed, ed->seq, ed->n_seq);
        ed->n_seq = 0;
    } else if (ed->n_seq >= 4 || !kd_utf8_partial((char *)ed->seq, ed->n_seq)) {
        ed->n_seq = 0;
    }
    return KD_KEY_MORE;
}

/* ---- the terminal ---- */

static void put(int fd, const char *s, size_t n) {
    while (n) {
        ssize_t k = write(fd, s, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return;
        s += k, n -= (size_t)k;
    }
}

/* The part of the line around the cursor that fits. */
static void draw(const kd_line_editor *ed, int out, const char *prompt) {
    struct winsize w;
    size_t columns = ioctl(out, TIOCGWINSZ, &w) == 0 && w.ws_col > 10 ? w.ws_col : 80,
           room = columns - kd_line_width(kd_str_of(prompt)) - 1, from = 0, to, len;
    const char *s = ed->text.data ? ed->text.data : "";
    while (kd_line_width((kd_str){s + from, ed->at - from}) >= room) {
        kd_utf8_next(s + from, ed->text.len - from, &len);
        from += len;
    }
    to = ed->text.len;
    while (to > ed->at && kd_line_width((kd_str){s + from, to - from}) > room) do
            to--;
        while (to > ed->at && ((unsigned char)s[to] & 0xc0) == 0x80);
    kd_buf b = {0};
    if (kd_buf_printf(&b, "\r%s", prompt) || kd_buf_append(&b, s + from, to - from) ||
        kd_buf_printf(&b, "\033[K\r\033[%zuC", kd_line_width(kd_str_of(prompt)) + kd_line_width((kd_str){s + from, ed->at - from}))) {
        kd_buf_clear(&b);
        return;
    }
    put(out, b.data, b.len);
    kd_buf_clear(&b);
}

static bool more_keys(int in) {
    struct pollfd p = {.fd = in, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

kd_line_how kd_line_read(kd_buf *line, int in, int out, const char *prompt, const kd_line_history *h) {
    struct termios was, raw;
    kd_line_editor ed = {.shown = h ? h->n : 0};
    kd_line_how how = KD_LINE_ERROR;
    if (tcgetattr(in, &was)) return KD_LINE_ERROR;
    raw = was;
    raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_iflag &= (tcflag_t) ~(ICRNL | IXON);
    raw.c_cc[VMIN] = 1, raw.c_cc[VTIME] = 0;
    if (tcsetattr(in, TCSADRAIN, &raw)) return KD_LINE_ERROR;
    draw(&ed, out, prompt);
    for (;;) {
        unsigned char b;
        ssize_t n = read(in, &b, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        kd_key_what k = kd_line_key(&ed, b, h);
        how = k == KD_KEY_DONE ? KD_LINE_READ : k == KD_KEY_END ? KD_LINE_END : k == KD_KEY_BREAK ? KD_LINE_BREAK : KD_LINE_ERROR;
        if (how != KD_LINE_ERROR) break;
        if (k == KD_KEY_REDRAW) put(out, "\033[H\033[2J", 7);
        if (!more_keys(in)) draw(&ed, out, prompt); /* what is pasted is drawn once */
    }
    draw(&ed, out, prompt);
    put(out, "\n", 1);
    tcsetattr(in, TCSADRAIN, &was);
    line->len = 0;
    if (how == KD_LINE_READ && ed.text.len && kd_buf_append(line, ed.text.data, ed.text.len)) how = KD_LINE_ERROR;
    kd_line_editor_clear(&ed);
    return how;
}
