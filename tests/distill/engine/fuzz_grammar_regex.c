/* tests/distill/engine/fuzz_grammar_regex.c - any bytes as a pattern: compiled or refused with a reason; what is compiled can be walked, and
 * what it accepts on the way is a text. */
#include "distill/base/json.h"
#include "distill/engine/grammar.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A walk that takes the first way it finds, from another byte each time. */
static void walk(kd_grammar *g, unsigned seed) {
    kd_grammar_state at = kd_grammar_start(g, seed & 1), to = at;
    kd_buf text = {0};
    kd_err e = {0};
    for (size_t i = 0; i < 120 && !kd_grammar_ends(g, at); i++) {
        unsigned k = 0, c = 0;
        for (; k < 256; k++) {
            c = (k + 37 * seed + (unsigned)i * 11) & 255;
            kd_code code = kd_grammar_step(g, at, &(char){(char)c}, 1, &to, &e);
            if (code && code != KD_ELIMIT) abort();
            if (code) goto done;
            if (to != KD_GRAMMAR_DEAD) break;
        }
        if (k == 256) { /* a way that leads nowhere: only nesting past the bound makes one */
            if (!kd_grammar_accepts(g, at) && i < 100) abort();
            break;
        }
        at = to;
        if (kd_buf_putc(&text, (char)c)) abort();
    }
done:
    kd_buf_clear(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_grammar *g = NULL;
    kd_err e = {0};
    if (size > 4096) return 0;
    kd_code c = kd_grammar_new_regex(&g, (const char *)data, size, &e);
    if (c) {
        if (g || !e.msg[0]) abort();
        return 0;
    }
    for (unsigned seed = 0; seed < 4; seed++) walk(g, seed);
    if (kd_grammar_sizes(g).bytes > (size_t)1 << 30) abort();
    kd_grammar_free(g);
    return 0;
}
