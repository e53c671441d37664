/* distill/base/event.h - what a long task tells whoever watches it. Includes nothing of ours.
 * Library code calls kd_emit; distill/cli draws. */
#ifndef KD_BASE_EVENT_H
#define KD_BASE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { KD_EV_BEGIN, KD_EV_STEP, KD_EV_END, KD_EV_NOTE, KD_EV_WARN } kd_event_kind;
typedef struct {
    kd_event_kind kind;
    const char *stage;    /* "generate", "train", ...; static */
    uint64_t done, total; /* total 0 = unknown */
    const char *unit;     /* "answers", "updates", "tensors"; static */
    const char *text;     /* a note, or what to show beside the bar; valid during the call; may be NULL */
} kd_event;

/* Called from any thread, one call at a time is the receiver's business (lock there). stop, if not NULL, is asked between steps:
 * true = finish what is started, save, and return KD_EINTERRUPT or KD_ETERMINATE as stop says. */
typedef struct {
    void (*emit)(void *ctx, const kd_event *ev);
    int (*stop)(void *ctx); /* 0 go on, else a kd_code to return after saving */
    void *ctx;
} kd_watch; /* {0} or NULL: nobody watches */
void kd_emit(const kd_watch *w, kd_event ev);
int kd_stopping(const kd_watch *w);

#endif
