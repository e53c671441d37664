/* distill/base/event.c - passing events to whoever watches. Leans on nothing. */
#include "distill/base/event.h"

#include <stddef.h>

void kd_emit(const kd_watch *w, kd_event ev) {
    if (w && w->emit) w->emit(w->ctx, &ev);
}

int kd_stopping(const kd_watch *w) { return w && w->stop ? w->stop(w->ctx) : 0; }
