/* datasets/study_int.h - what the files of this room share behind study.h. Leans on study.h, db.h. Private to datasets. */
#ifndef KD_DATASETS_STUDY_INT_H
#define KD_DATASETS_STUDY_INT_H

#include "datasets/db.h"
#include "datasets/study.h"
#include "distill/base/json.h"

/* Statements kept prepared for the life of a study. */
typedef enum {
    KD_Q_SETTINGS_ADD,
    KD_Q_SETTINGS_GET,
    KD_Q_RUN_ADD,
    KD_Q_RUN_END,
    KD_Q_SAMPLE_ADD,
    KD_Q_BODY_ADD,
    KD_Q_LEASE_END,
    KD_Q_LEASE_LANDED,
    KD_Q_ATTEMPT_ADD,
    KD_Q_TOTALS_ADD,
    KD_Q_BEAT,
    KD_Q_PROMPT_ADD,
    KD_Q_PROMPT_GET,
    KD_Q_DIGEST_GET,
    KD_Q_NUMBER_MAX,
    KD_Q_LABEL_ADD,
    KD_Q_LABEL_NAME,
    KD_Q_COUNT
} kd_study_query;

struct kd_study {
    kd_db *db;
    kd_study_mode mode;
    double beat; /* kd_now() of the last sign of life */
    kd_stmt *kept[KD_Q_COUNT];
};
/* *out = the kept statement of that slot, prepared from sql at first use. */
kd_code kd_study_stmt(kd_study *s, kd_study_query slot, const char *sql, kd_stmt **out, kd_err *e);

#define KD_STUDY_APP 0x4b447374 /* PRAGMA application_id: "KDst" */
#define KD_STUDY_VERSION 5      /* PRAGMA user_version */

/* Who holds leases: this process, told apart from a later one with the same id, and from those of other machines and containers. */
typedef struct {
    char host[80]; /* boot id and process-id space: two processes with the same host can look each other up */
    int64_t pid;
    char start[24]; /* the kernel's start time of the process */
} kd_owner;
void kd_owner_self(kd_owner *o);
bool kd_owner_alive(const kd_owner *self, const kd_owner *o, int64_t beat_ms); /* of another host: by its last beat */
void kd_owner_text(char *out, size_t cap, kd_str v);
/* What was in the air for an owner that is gone becomes attempts "lost" at their worst; leases of owners that are gone end. In a transaction. */
kd_code kd_owner_lost(kd_db *db, int64_t owner, kd_err *e);
kd_code kd_owners_bury(kd_db *db, kd_err *e);

/* Row (settings, prompt, number) of samples; *added false if there was one. digest (32 bytes, or empty) marks imported ones. In a transaction. */
kd_code kd_sample_add(kd_study *s, int64_t settings, int64_t run, const kd_answer *a, kd_str digest, kd_str zipped, bool *added, kd_err *e);

/* Adds t to the sums of these settings. In a transaction. */
kd_code kd_totals_add(kd_study *s, int64_t settings, const kd_spend *t, kd_err *e);

/* Copies what a column view shows, so that it outlives the statement; {NULL,0} stays so. */
kd_code kd_str_keep(kd_arena *a, kd_str v, kd_str *out, kd_err *e);
kd_thought_from kd_thought_named(kd_str name);

kd_code kd_canonical_node(kd_jsonw *w, const kd_json_node *n);
/* ---- select.c, for funnel.c ---- */
/* "SELECT what FROM ... tail" over the rows taken (with options: of kd_rows, see kd_select_takes), or over every sample with its columns and labels. */
kd_code kd_select_ask(kd_select *q, const char *what, const char *tail, bool taken, kd_stmt **out, kd_err *e);
const char *kd_select_where(const kd_select *q); /* the condition alone */
bool kd_select_takes(const kd_select *q); /* options take a part of what the condition leaves: the rows taken have the name kd_rows */
/* Objects {source, step, fails_alone, left} into an open array by_source, and without source into whole (or NULL). */
kd_code kd_funnel_write(kd_jsonw *by_source, kd_jsonw *whole, kd_select *q, kd_err *e);
/* import.c: the identity of a prompt, sha256 over its messages and tools (or {NULL,0}), both canonical JSON. */
void kd_prompt_hash(kd_str messages, kd_str tools, unsigned char out[32]);

/* Questions to a judge stand in splits of their own, which "every split" leaves out (judge.h). */
#define KD_JUDGE_SPLIT "judge:"
#define KD_NOT_JUDGE(column) "(" column " < 'judge:' OR " column " >= 'judge;')"

bool kd_check_known(const char *name); /* label.c: a check that `distill label` can run */

#endif
