/* datasets/work_int.h - a queue as work.c and batches.c know it. Leans on study_int.h. Private to datasets. */
#ifndef KD_DATASETS_WORK_INT_H
#define KD_DATASETS_WORK_INT_H

#include "datasets/study_int.h"

typedef struct {
    int64_t prompt;
    int number;
} work_key;

struct kd_work {
    kd_db *db;
    int64_t settings, owner;
    int64_t last;       /* id of the last prompt of the filter */
    char *split;        /* or NULL */
    int samples, first; /* numbers at most; those that everybody gets */
    int until;          /* right answers wanted; 0: all samples are */
    bool adaptive;
    work_key at;    /* where the walk goes on */
    work_key *held; /* skipped, for somebody held them; until: questions that are not settled (number -1) */
    size_t n_held, cap_held;
    double beat, looked, look_took;
    bool more_held; /* until: what was held has room left that nobody asked for */
    kd_arena arena; /* the strings of the items given last */
    bool *have;     /* [samples] numbers of one prompt that are answered */
    int64_t *found; /* prompt ids of one walk */
    size_t cap_found;
    kd_stmt *walk, *numbers, *prompt, *lease, *sent, *spent, *room, *pick;
};

#endif
