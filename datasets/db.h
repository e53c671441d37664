/* datasets/db.h - SQLite for this room: open, prepare, bind, step, and errors in our words. Leans on base. Private to datasets.
 * db.c is the only file that includes sqlite3.h. */
#ifndef KD_DATASETS_DB_H
#define KD_DATASETS_DB_H

#include "distill/base/mem.h"

typedef struct kd_db kd_db;     /* one connection; one thread at a time */
typedef struct kd_stmt kd_stmt; /* one prepared statement of it */
typedef enum { KD_DB_READ, KD_DB_WRITE, KD_DB_CREATE } kd_db_mode;

/* Opens path (a plain file name, never an SQLite URI), WAL, no triggers, no views of the file's own, checked cells. READ falls back to an
 * immutable open where the folder cannot be written and no log is left. */
kd_code kd_db_open(kd_db **out, const char *path, kd_db_mode mode, kd_err *e);
void kd_db_close(kd_db *db);
const char *kd_db_path(const kd_db *db);
void kd_db_patience(kd_db *db, int ms); /* how long a lock of others is waited for; 30000 at first */
int kd_db_patience_of(const kd_db *db);
kd_code kd_db_relax(kd_db *db, kd_err *e); /* commits survive a kill, not a power cut: for leases */

kd_code kd_db_exec(kd_db *db, const char *sql, kd_err *e);              /* statements of our own */
kd_code kd_db_int(kd_db *db, const char *sql, int64_t *out, kd_err *e); /* first column of the first row; 0 if none */
kd_code kd_db_begin(kd_db *db, kd_err *e);  /* immediate: a writer from the start, so that it cannot fail for a lock later */
kd_code kd_db_commit(kd_db *db, kd_err *e); /* rolls back if it fails */
void kd_db_rollback(kd_db *db);             /* no transaction is fine */
/* The same, with the sync of the log behind the lock's end: others wait for the writing alone. Where that sync fails (KD_EIO) the rows are there, and may not outlive a
 * power cut. After a rollback: kd_db_full. */
kd_code kd_db_begin_brief(kd_db *db, kd_err *e);
kd_code kd_db_commit_brief(kd_db *db, kd_err *e);
void kd_db_full(kd_db *db);
bool kd_db_writing(const kd_db *db); /* inside begin ... commit */
int64_t kd_db_last_id(const kd_db *db);
int64_t kd_db_changes(const kd_db *db);

/* Lets only read statements over the study's tables and pure functions be prepared from here on; no attach, no pragma, "x" is never a string.
 * For expressions of users, on a connection of their own. */
void kd_db_sandbox(kd_db *db);

/* what: for messages, may be NULL (the SQL is then told). sql must be one statement. */
kd_code kd_stmt_new(kd_stmt **out, kd_db *db, const char *sql, kd_err *e);
void kd_stmt_free(kd_stmt *q);
/* Binding: i from 1. Text and blobs are not copied: they must live until the statement is reset. Failures show at the next step. {NULL,0} binds NULL. */
void kd_bind_int(kd_stmt *q, int i, int64_t v);
void kd_bind_double(kd_stmt *q, int i, double v);
void kd_bind_text(kd_stmt *q, int i, kd_str v);
void kd_bind_blob(kd_stmt *q, int i, kd_str v);
void kd_bind_null(kd_stmt *q, int i);
kd_code kd_stmt_step(kd_stmt *q, bool *row, kd_err *e); /* *row false at the end, and then the statement is reset */
kd_code kd_stmt_run(kd_stmt *q, kd_err *e);             /* steps to the end and resets */
void kd_stmt_reset(kd_stmt *q);
/* Columns from 0, of the row just stepped to; views live until the next step or reset. */
bool kd_col_null(kd_stmt *q, int i);
bool kd_col_is_number(kd_stmt *q, int i);
bool kd_col_is_int(kd_stmt *q, int i);
int64_t kd_col_int(kd_stmt *q, int i);
double kd_col_double(kd_stmt *q, int i);
kd_str kd_col_text(kd_stmt *q, int i); /* text or blob; {NULL,0} for NULL */

#endif
