/* datasets/db.c - the one file that knows SQLite. Owns connections, statements, the busy wait, the sandbox for users' expressions, and the
 * translation of SQLite's result codes into ours. Leans on base. */
#include "datasets/db.h"

#include "distill/base/clock.h"
#include "distill/base/file.h"

#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct kd_db {
    sqlite3 *c;
    char *path;
    int patience_ms;
    bool writing;
};
struct kd_stmt {
    sqlite3_stmt *s;
    kd_db *db;
    int bound; /* first failure of a bind, or SQLITE_OK */
};

/* One place decides what a result code means for the caller and says it with the file's name. */
static kd_code db_fail(kd_db *db, int rc, const char *doing, kd_err *e) {
    const char *why = db->c ? sqlite3_errmsg(db->c) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_NOMEM: return kd_fail(e, KD_ENOMEM, "%s: no memory (%s)", db->path, doing);
    case SQLITE_NOTADB: return kd_fail(e, KD_EFORMAT, "%s: not a study: expected an SQLite database, found another kind of file", db->path);
    case SQLITE_CORRUPT:
        return kd_fail(e, KD_EFORMAT, "%s: the study is damaged (%s, while: %s); `sqlite3 %s .recover` may save what is left", db->path,
                       why, doing, db->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return kd_fail(e, KD_ELIMIT, "%s: locked by another program for %.0f s (%s)", db->path, db->patience_ms / 1000.0, doing);
    case SQLITE_READONLY: return kd_fail(e, KD_EIO, "%s: cannot be written: the file or its folder is read-only (%s)", db->path, doing);
    case SQLITE_PERM:
    case SQLITE_CANTOPEN: return kd_fail(e, KD_EIO, "%s: cannot be opened: %s (%s)", db->path, why, doing);
    case SQLITE_FULL: return kd_fail(e, KD_EIO, "%s: the disk is full (%s); nothing of this step was written", db->path, doing);
    case SQLITE_IOERR: return kd_fail(e, KD_EIO, "%s: reading or writing failed: %s, code %d (%s)", db->path, why, rc, doing);
    case SQLITE_INTERRUPT: return kd_fail(e, KD_EINTERRUPT, "%s: interrupted (%s)", db->path, doing);
    case SQLITE_AUTH: return kd_fail(e, KD_EINVAL, "not allowed here: %s", why);
    case SQLITE_TOOBIG: return kd_fail(e, KD_EFORMAT, "%s: a value is longer than a study can hold (%s)", db->path, doing);
    case SQLITE_CONSTRAINT: return kd_fail(e, KD_EBUG, "%s: %s (%s)", db->path, why, doing);
    case SQLITE_ERROR: return kd_fail(e, KD_EFORMAT, "%s: %s (%s)", db->path, why, doing);
    default: return kd_fail(e, KD_EIO, "%s: SQLite says %d, %s (%s)", db->path, rc, why, doing);
    }
}

/* Waits 0.1, 0.2, 0.4 ... 51.2, then 51.2 ms between tries until patience ends. What was slept counts, not the clock: a process that was stopped meanwhile has not
 * waited. */
static int busy_wait(void *ctx, int tries) {
    const kd_db *db = ctx;
    const double slept = tries < 9 ? 0.1 * ((1 << tries) - 1) : 51.1 + 51.2 * (tries - 9);
    if (slept >= db->patience_ms) return 0;
    nanosleep(&(struct timespec){.tv_nsec = 100000L << (tries < 9 ? tries : 9)}, NULL);
    return 1;
}

static kd_code check_file(const char *path, kd_db_mode mode, kd_err *e) {
    struct stat st;
    if (!path || !*path) return kd_fail(e, KD_EINVAL, "study: expected a file name, found an empty one");
    if (stat(path, &st) != 0) {
        if (mode == KD_DB_CREATE) return KD_OK;
        return kd_fail(e, KD_ENOENT, "%s: no such study", path);
    }
    if (!S_ISREG(st.st_mode))
        return kd_fail(e, KD_EFORMAT, "%s: not a study: expected a file, found %s", path,
                       S_ISDIR(st.st_mode) ? "a folder" : "something else");
    return KD_OK;
}

/* What makes a database of a stranger harmless and our own one safe. */
static int configure(kd_db *db, kd_db_mode mode) {
    sqlite3 *c = db->c;
    sqlite3_extended_result_codes(c, 1);
    sqlite3_busy_handler(c, busy_wait, db);
    sqlite3_db_config(c, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)0);
    sqlite3_db_config(c, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)0);
    sqlite3_db_config(c, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)0);
    sqlite3_db_config(c, SQLITE_DBCONFIG_ENABLE_VIEW, 0, (int *)0);
    sqlite3_db_config(c, SQLITE_DBCONFIG_DQS_DML, 0, (int *)0);
    sqlite3_db_config(c, SQLITE_DBCONFIG_DQS_DDL, 0, (int *)0);
    sqlite3_limit(c, SQLITE_LIMIT_ATTACHED, 0);
    int rc = sqlite3_exec(c, "PRAGMA cell_size_check=ON; PRAGMA cache_size=-8000; PRAGMA mmap_size=0; PRAGMA page_size=8192", 0, 0, 0);
    if (rc == SQLITE_OK) /* touches the file: finds out here that it is none of SQLite's */
        rc = sqlite3_exec(c, "SELECT count(*) FROM sqlite_schema", 0, 0, 0);
    if (rc == SQLITE_OK && mode == KD_DB_READ) return sqlite3_exec(c, "PRAGMA query_only=ON", 0, 0, 0);
    if (rc != SQLITE_OK) return rc;
    /* Two processes that make the same file at once: SQLite answers busy without asking the handler here. */
    for (double from = kd_now(); (rc = sqlite3_exec(c, "PRAGMA journal_mode=WAL", 0, 0, 0)) % 256 == SQLITE_BUSY;) {
        if ((kd_now() - from) * 1000 >= db->patience_ms) return rc;
        sqlite3_sleep(10);
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(c, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA journal_size_limit=67108864", 0, 0, 0);
    return rc;
}

/* SQLite reads "file:..." and ":memory:" as more than names: a leading ./ keeps a name a name. */
static char *plain_name(const char *path, bool immutable) {
    kd_buf b = {0};
    kd_code rc = immutable ? kd_buf_puts(&b, "file:") : KD_OK;
    if (!rc && path[0] != '/') rc = kd_buf_puts(&b, "./");
    for (const char *p = path; *p && !rc; p++)
        rc = immutable && strchr("%?#", *p) ? kd_buf_printf(&b, "%%%02X", (unsigned)(unsigned char)*p) : kd_buf_putc(&b, *p);
    if (!rc && immutable) rc = kd_buf_puts(&b, "?immutable=1");
    char *s = rc ? NULL : kd_buf_take(&b);
    kd_buf_clear(&b);
    return s;
}

static int open_as(kd_db *db, kd_db_mode mode, bool immutable) {
    char *name = plain_name(db->path, immutable);
    if (!name) return SQLITE_NOMEM;
    /* A reader opens for writing too, where it may, and then swears off it: the last one to close folds the log in and leaves one file. */
    int flags =
        immutable ? SQLITE_OPEN_READONLY | SQLITE_OPEN_URI : SQLITE_OPEN_READWRITE | (mode == KD_DB_CREATE ? SQLITE_OPEN_CREATE : 0);
    int rc = sqlite3_open_v2(name, &db->c, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) rc = configure(db, mode);
    kd_free(name);
    return rc;
}

static bool log_left(const char *path) {
    kd_buf b = {0};
    struct stat st;
    bool left = kd_buf_printf(&b, "%s-wal", path) != KD_OK || (stat(b.data, &st) == 0 && st.st_size > 0);
    kd_buf_clear(&b);
    return left;
}

kd_code kd_db_open(kd_db **out, const char *path, kd_db_mode mode, kd_err *e) {
    *out = NULL;
    kd_code rc = check_file(path, mode, e);
    if (rc) return rc;
    kd_db *db = kd_calloc(1, sizeof *db);
    if (!db || !(db->path = kd_strdup(path))) {
        kd_free(db);
        return kd_fail(e, KD_ENOMEM, "%s: no memory to open", path);
    }
    db->patience_ms = 30000;
    bool existed = access(path, F_OK) == 0;
    int s = open_as(db, mode, false);
    int low = s & 0xff;
    if (mode == KD_DB_READ && (low == SQLITE_CANTOPEN || low == SQLITE_READONLY) && !log_left(path)) {
        sqlite3_close(db->c);
        db->c = NULL;
        s = open_as(db, mode, true);
    }
    if (s != SQLITE_OK) {
        rc = db_fail(db, s, "opening", e);
        if (!existed && rc == KD_EIO) rc = kd_fail(e, KD_ECREATE, "%s: cannot be created: %s", path, sqlite3_errmsg(db->c));
        kd_db_close(db);
        return rc;
    }
    *out = db;
    return KD_OK;
}

void kd_db_close(kd_db *db) {
    if (!db) return;
    sqlite3_close_v2(db->c);
    kd_free(db->path);
    kd_free(db);
}

const char *kd_db_path(const kd_db *db) { return db->path; }

void kd_db_patience(kd_db *db, int ms) { db->patience_ms = ms; }

int kd_db_patience_of(const kd_db *db) { return db->patience_ms; }

kd_code kd_db_relax(kd_db *db, kd_err *e) { return kd_db_exec(db, "PRAGMA synchronous=NORMAL", e); }

kd_code kd_db_exec(kd_db *db, const char *sql, kd_err *e) {
    int rc = sqlite3_exec(db->c, sql, 0, 0, 0);
    return rc == SQLITE_OK ? KD_OK : db_fail(db, rc, sql, e);
}

kd_code kd_db_int(kd_db *db, const char *sql, int64_t *out, kd_err *e) {
    kd_stmt *q = NULL;
    bool row = false;
    *out = 0;
    kd_code rc = kd_stmt_new(&q, db, sql, e);
    if (!rc && !(rc = kd_stmt_step(q, &row, e)) && row) *out = kd_col_int(q, 0);
    kd_stmt_free(q);
    return rc;
}

kd_code kd_db_begin(kd_db *db, kd_err *e) {
    kd_code rc = kd_db_exec(db, "BEGIN IMMEDIATE", e);
    db->writing = rc == KD_OK;
    return rc;
}

kd_code kd_db_commit(kd_db *db, kd_err *e) {
    kd_code rc = kd_db_exec(db, "COMMIT", e);
    if (rc) kd_db_rollback(db);
    db->writing = false;
    return rc;
}

/* In WAL mode "full" is "normal" and a sync of the log behind each commit, which SQLite does while it holds the lock. */
kd_code kd_db_begin_brief(kd_db *db, kd_err *e) {
    kd_code rc = kd_db_exec(db, "PRAGMA synchronous=NORMAL", e);
    return rc ? rc : kd_db_begin(db, e);
}

kd_code kd_db_commit_brief(kd_db *db, kd_err *e) {
    sqlite3_file *log = NULL;
    kd_code rc = kd_db_commit(db, e);
    if (rc) return rc;
    int code = sqlite3_file_control(db->c, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (code == SQLITE_OK && log && log->pMethods) code = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
    kd_db_full(db);
    return code == SQLITE_OK ? KD_OK : kd_fail(e, KD_EIO, "%s: its log could not be written through to the disk (code %d)", db->path, code);
}

/* The way back; also after a rollback. Cannot fail outside a transaction. */
void kd_db_full(kd_db *db) { sqlite3_exec(db->c, "PRAGMA synchronous=FULL", 0, 0, 0); }

void kd_db_rollback(kd_db *db) {
    if (!sqlite3_get_autocommit(db->c)) sqlite3_exec(db->c, "ROLLBACK", 0, 0, 0);
    db->writing = false;
}

bool kd_db_writing(const kd_db *db) { return db->writing; }

int64_t kd_db_last_id(const kd_db *db) { return sqlite3_last_insert_rowid(db->c); }

int64_t kd_db_changes(const kd_db *db) { return sqlite3_changes(db->c); }

static bool pure_function(const char *name) {
    static const char *const names[] = {"->",           "->>",       "abs",        "avg",     "coalesce",  "count",
                                        "glob",         "hex",       "ifnull",     "iif",     "instr",     "json_array_length",
                                        "json_extract", "json_type", "json_valid", "length",  "like",      "lower",
                                        "ltrim",        "max",       "min",        "nullif",  "replace",   "round",
                                        "row_number",   "rtrim",     "sign",       "substr",  "substring", "sum",
                                        "total",        "trim",      "typeof",     "unicode", "upper"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sqlite3_stricmp(name, names[i]) == 0) return true;
    return false;
}

static int authorize(void *ctx, int action, const char *a, const char *b, const char *schema, const char *inner) {
    (void)ctx, (void)schema, (void)inner;
    static const char *const tables[] = {"prompts",   "samples", "labels",   "settings", "attempts", "runs",   "totals", "prompt_labels",
                                         "json_each", "kd_all",  "kd_short", "kd_some",  "kd_even",  "kd_rows" /* select.c's own */};
    switch (action) {
    case SQLITE_SELECT: return SQLITE_OK;
    case SQLITE_READ:
        for (size_t i = 0; a && i < sizeof tables / sizeof *tables; i++)
            if (sqlite3_stricmp(a, tables[i]) == 0) return SQLITE_OK;
        return a && !*a ? SQLITE_OK : SQLITE_DENY; /* "": a subquery's own columns */
    case SQLITE_FUNCTION: return b && pure_function(b) ? SQLITE_OK : SQLITE_DENY;
    default: return SQLITE_DENY;
    }
}

void kd_db_sandbox(kd_db *db) {
    sqlite3_limit(db->c, SQLITE_LIMIT_EXPR_DEPTH, 200);
    sqlite3_limit(db->c, SQLITE_LIMIT_SQL_LENGTH, 200000);
    sqlite3_limit(db->c, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000);
    sqlite3_set_authorizer(db->c, authorize, NULL);
}

kd_code kd_stmt_new(kd_stmt **out, kd_db *db, const char *sql, kd_err *e) {
    *out = NULL;
    const char *tail = NULL;
    kd_stmt *q = kd_calloc(1, sizeof *q);
    if (!q) return kd_fail(e, KD_ENOMEM, "%s: no memory for a statement", db->path);
    q->db = db;
    int rc = sqlite3_prepare_v3(db->c, sql, -1, SQLITE_PREPARE_PERSISTENT, &q->s, &tail);
    if (rc != SQLITE_OK || !q->s || (tail && *tail)) {
        kd_code code = rc != SQLITE_OK ? db_fail(db, rc, sql, e) : kd_fail(e, KD_EBUG, "expected one SQL statement, found: %s", sql);
        kd_stmt_free(q);
        return code;
    }
    *out = q;
    return KD_OK;
}

void kd_stmt_free(kd_stmt *q) {
    if (!q) return;
    sqlite3_finalize(q->s);
    kd_free(q);
}

static void bound(kd_stmt *q, int rc) {
    if (q->bound == SQLITE_OK) q->bound = rc;
}

void kd_bind_int(kd_stmt *q, int i, int64_t v) { bound(q, sqlite3_bind_int64(q->s, i, v)); }

void kd_bind_double(kd_stmt *q, int i, double v) { bound(q, sqlite3_bind_double(q->s, i, v)); }

void kd_bind_text(kd_stmt *q, int i, kd_str v) {
    bound(q, v.data ? sqlite3_bind_text64(q->s, i, v.data, v.len, SQLITE_STATIC, SQLITE_UTF8) : sqlite3_bind_null(q->s, i));
}

void kd_bind_blob(kd_stmt *q, int i, kd_str v) {
    bound(q, v.data ? sqlite3_bind_blob64(q->s, i, v.data, v.len, SQLITE_STATIC) : sqlite3_bind_null(q->s, i));
}

void kd_bind_null(kd_stmt *q, int i) { bound(q, sqlite3_bind_null(q->s, i)); }

kd_code kd_stmt_step(kd_stmt *q, bool *row, kd_err *e) {
    *row = false;
    int rc = q->bound;
    q->bound = SQLITE_OK;
    if (rc == SQLITE_OK) rc = sqlite3_step(q->s);
    if (rc == SQLITE_ROW) {
        *row = true;
        return KD_OK;
    }
    kd_code code = rc == SQLITE_DONE ? KD_OK : db_fail(q->db, rc, sqlite3_sql(q->s), e);
    sqlite3_reset(q->s);
    return code;
}

kd_code kd_stmt_run(kd_stmt *q, kd_err *e) {
    bool row = true;
    kd_code rc = KD_OK;
    while (!rc && row) rc = kd_stmt_step(q, &row, e);
    return rc;
}

void kd_stmt_reset(kd_stmt *q) {
    if (q) sqlite3_reset(q->s);
}

bool kd_col_null(kd_stmt *q, int i) { return sqlite3_column_type(q->s, i) == SQLITE_NULL; }

bool kd_col_is_number(kd_stmt *q, int i) {
    int t = sqlite3_column_type(q->s, i);
    return t == SQLITE_INTEGER || t == SQLITE_FLOAT;
}

bool kd_col_is_int(kd_stmt *q, int i) { return sqlite3_column_type(q->s, i) == SQLITE_INTEGER; }

int64_t kd_col_int(kd_stmt *q, int i) { return sqlite3_column_int64(q->s, i); }

double kd_col_double(kd_stmt *q, int i) { return sqlite3_column_double(q->s, i); }

kd_str kd_col_text(kd_stmt *q, int i) {
    if (kd_col_null(q, i)) return (kd_str){NULL, 0};
    const char *p = sqlite3_column_blob(q->s, i); /* blob first: the bytes as stored, no conversion */
    size_t n = (size_t)sqlite3_column_bytes(q->s, i);
    return p ? (kd_str){p, n} : (kd_str){"", 0};
}
