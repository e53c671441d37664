/* teacher/endpoint.c - see endpoint.h; and the files that name endpoints and hold keys. */
#include "teacher/endpoint.h"

#include "distill/base/file.h"
#include "distill/base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REST_AFTER = 2, REST_MOST = 60 };

/* ---- those of a run ---- */
static kd_code open_one(kd_endpoint *p, const kd_remote_opts *ro, const char *key, kd_err *e) {
    kd_buf url = {0}, secret = {0};
    size_t n = strlen(p->url), k = 0;
    const char **lines = kd_calloc(ro->n_headers + 2, sizeof *lines);
    while (n && p->url[n - 1] == '/') n--;
    kd_code c = lines ? kd_buf_printf(&url, "%.*s/chat/completions", (int)n, p->url) : KD_ENOMEM;
    if (!c && key) c = kd_buf_printf(&secret, "Authorization: Bearer %s", key);
    if (c) {
        c = kd_fail(e, KD_ENOMEM, "generate: out of memory");
    } else {
        lines[k++] = "Content-Type: application/json";
        if (secret.len) lines[k++] = secret.data;
        for (size_t i = 0; i < ro->n_headers; i++) lines[k++] = ro->headers[i];
        c = kd_http_target_new(&p->target, url.data, lines, k, e);
    }
    if (secret.data) explicit_bzero(secret.data, secret.cap);
    kd_buf_clear(&secret), kd_buf_clear(&url);
    kd_free(lines);
    return c;
}

static kd_prices over(const kd_prices *own, const kd_prices *all) {
    return (kd_prices){own->input >= 0 ? own->input : all->input, own->output >= 0 ? own->output : all->output,
                       own->cached >= 0 ? own->cached : all->cached, own->reasoning >= 0 ? own->reasoning : all->reasoning};
}

kd_code kd_endpoints_new(kd_endpoint **out, size_t *n, const kd_remote_opts *ro, kd_err *e) {
    size_t count = ro->n_endpoints ? ro->n_endpoints : 1;
    kd_endpoint *v = kd_calloc(count, sizeof *v);
    kd_code c = v ? KD_OK : kd_fail(e, KD_ENOMEM, "generate: out of memory");
    *out = v, *n = v ? count : 0;
    for (size_t i = 0; i < count && !c; i++) {
        kd_endpoint_opts one = {.url = ro->url, .key = ro->key, .prices = ro->prices};
        if (ro->n_endpoints) one = ro->endpoints[i];
        size_t most = one.concurrency && one.concurrency < ro->concurrency ? one.concurrency : ro->concurrency;
        v[i] = (kd_endpoint){.url = one.url,
                             .model = one.model ? one.model : ro->model,
                             .prices = over(&one.prices, &ro->prices),
                             .pace = kd_pace_of((double)most)};
        c = open_one(&v[i], ro, one.key ? one.key : ro->key, e);
    }
    return c;
}

void kd_endpoints_free(kd_endpoint *v, size_t n) {
    for (size_t i = 0; i < n; i++) kd_http_target_free(v[i].target);
    kd_free(v);
}

kd_endpoint *kd_endpoint_choose(kd_endpoint *v, size_t n, const kd_endpoint *not_this, double now, double *next) {
    kd_endpoint *best = NULL;
    double least = INFINITY;
    for (size_t i = 0; i < n; i++) {
        kd_endpoint *p = &v[i];
        double window = fmax(1, floor(kd_pace_window(&p->pace))), from = p->pace.hold;
        if (p->health == KD_GONE) continue;
        if (p->health == KD_RESTING) window = 1, from = fmax(from, p->until);
        if ((double)p->flying >= window) {
            p->full_at = now;
            continue;
        }
        if (from > now) {
            *next = fmin(*next, from - now);
            continue;
        }
        double full = (double)p->flying / window + (p == not_this ? 1 : 0);
        if (full < least) least = full, best = p;
    }
    return best;
}

void kd_endpoint_good(kd_endpoint *p) {
    p->failures = 0, p->rest = 0, p->good++;
    if (p->health == KD_RESTING) p->health = KD_WELL;
}

void kd_endpoint_bad(kd_endpoint *p, bool alone, double now) {
    p->failures++;
    if (alone || p->failures < REST_AFTER || (p->health == KD_RESTING && p->until > now)) return;
    p->rest = fmin(REST_MOST, fmax(1, 2 * p->rest));
    p->health = KD_RESTING, p->until = now + p->rest;
}

/* ---- keys ---- */
kd_code kd_key_read(kd_buf *key, const char *path, kd_err *e) {
    struct stat st;
    char text[65536 + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kd_fail_errno(e, KD_ENOENT, errno, "%s", path);
    kd_code c = KD_OK;
    ssize_t n = 0;
    if (fstat(fd, &st))
        c = kd_fail_errno(e, KD_EIO, errno, "%s", path);
    else if (!S_ISREG(st.st_mode))
        c = kd_fail(e, KD_EAUTH, "%s: expected a file with the key", path);
    else if (st.st_mode & (S_IRWXG | S_IRWXO))
        c = kd_fail(e, KD_EAUTH, "%s: others may read it (mode %03o): chmod 600 it first", path, (unsigned)(st.st_mode & 0777));
    else if ((n = read(fd, text, sizeof text - 1)) < 0)
        c = kd_fail_errno(e, KD_EIO, errno, "%s", path);
    close(fd);
    while (n > 0 && strchr(" \t\r\n", text[n - 1])) n--;
    text[n > 0 ? n : 0] = 0;
    if (!c && (n <= 0 || strpbrk(text, "\r\n") || strlen(text) != (size_t)n))
        c = kd_fail(e, KD_EAUTH, "%s: expected one line with the key", path);
    if (!c && kd_buf_append(key, text, (size_t)n)) c = kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    explicit_bzero(text, sizeof text);
    return c;
}

/* ---- the file of endpoints ---- */
static kd_str trimmed(const char *p, size_t n) {
    while (n && strchr(" \t\r", *p)) p++, n--;
    while (n && strchr(" \t\r", p[n - 1])) n--;
    return (kd_str){p, n};
}

static kd_code read_text(const char **out, const kd_json_node *n, kd_arena *arena, const char *where, const char *what, kd_err *e) {
    kd_str s = kd_json_string(n);
    if (!n) return KD_OK;
    if (!s.len || strlen(s.data) != s.len) return kd_fail(e, KD_ECONFIG, "%s: \"%s\": expected a text", where, what);
    *out = kd_arena_strndup(arena, s.data, s.len);
    return *out ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: out of memory", where);
}

static kd_code read_amount(double *out, const kd_json_node *n, const char *where, const char *what, kd_err *e) {
    if (!n) return KD_OK;
    *out = kd_json_number(n, -1);
    return *out >= 0 && *out <= 1e9 ? KD_OK : kd_fail(e, KD_ECONFIG, "%s: \"%s\": expected a number that is not negative", where, what);
}

static kd_code read_endpoint(kd_endpoint_opts *p, const kd_json_node *o, kd_arena *arena, const char *where, kd_err *e) {
    static const char *const known[] = {"url",         "model",        "api_key_file", "concurrency",
                                        "price_input", "price_output", "price_cached", "price_reasoning"};
    const char *file = NULL;
    double most = 0;
    kd_code c = kd_json_typeof(o) == KD_JSON_OBJECT ? KD_OK : kd_fail(e, KD_ECONFIG, "%s: expected a JSON object", where);
    *p = (kd_endpoint_opts){.prices = KD_PRICES_NONE};
    for (const kd_json_node *m = kd_json_first(o); m && !c; m = kd_json_next(m)) {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && !kd_str_is(kd_json_key(m), known[i])) i++;
        if (i == sizeof known / sizeof *known)
            c = kd_fail(
                e, KD_ECONFIG,
                "%s: unknown member \"%.40s\"; known: url, model, api_key_file, concurrency, price_input, price_output, price_cached, "
                "price_reasoning",
                where, kd_json_key(m).data);
    }
    if (!c) c = read_text(&p->url, kd_json_get(o, "url"), arena, where, "url", e);
    if (!c && !p->url) c = kd_fail(e, KD_ECONFIG, "%s: \"url\" is needed", where);
    if (!c) c = read_text(&p->model, kd_json_get(o, "model"), arena, where, "model", e);
    if (!c) c = read_text(&file, kd_json_get(o, "api_key_file"), arena, where, "api_key_file", e);
    if (!c) c = read_amount(&most, kd_json_get(o, "concurrency"), where, "concurrency", e);
    double *const to[] = {&p->prices.input, &p->prices.output, &p->prices.cached, &p->prices.reasoning};
    for (size_t i = 0; i < 4 && !c; i++) c = read_amount(to[i], kd_json_get(o, known[4 + i]), where, known[4 + i], e);
    p->concurrency = (size_t)most;
    kd_buf key = {0};
    if (!c && file && !(c = kd_key_read(&key, file, e)) && !(p->key = kd_arena_strndup(arena, key.data, key.len)))
        c = kd_fail(e, KD_ENOMEM, "%s: out of memory", where);
    if (key.data) explicit_bzero(key.data, key.cap);
    kd_buf_clear(&key);
    return c;
}

void kd_endpoints_forget(kd_endpoint_opts *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (v[i].key) explicit_bzero((char *)(uintptr_t)v[i].key, strlen(v[i].key)); /* ours: out of the arena */
}

kd_code kd_endpoints_read(kd_endpoint_opts **out, size_t *n, kd_arena *arena, const char *path, kd_err *e) {
    enum { MOST = 1024 };
    kd_buf text = {0};
    kd_endpoint_opts *v = kd_arena_alloc(arena, MOST * sizeof *v);
    kd_code c = v ? kd_file_read(&text, path, 16 << 20, e) : kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    size_t at = 0, line = 0;
    *out = v, *n = 0;
    while (!c && at < text.len) {
        char where[300];
        const char *p = text.data + at;
        size_t len = strcspn(p, "\n");
        len = at + len > text.len ? text.len - at : len;
        at += len + 1, line++;
        kd_str s = trimmed(p, len);
        if (!s.len || s.data[0] == '#') continue;
        snprintf(where, sizeof where, "%.240s, line %zu", path, line);
        kd_json *doc = NULL;
        if (*n == MOST)
            c = kd_fail(e, KD_ECONFIG, "%s: more than %d endpoints", where, MOST);
        else if (!(c = kd_json_parse(&doc, s.data, s.len, where, e)))
            c = read_endpoint(&v[(*n)++], kd_json_root(doc), arena, where, e);
        else if (c == KD_EFORMAT)
            c = KD_ECONFIG;
        kd_json_free(doc);
    }
    if (!c && !*n) c = kd_fail(e, KD_ECONFIG, "%s: no endpoint in it", path);
    kd_buf_clear(&text);
    if (c && v) kd_endpoints_forget(v, *n);
    return c;
}
