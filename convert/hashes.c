/* convert/hashes.c - see hashes.h. */
#include "convert/hashes.h"

#include "distill/base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 1 << 20, HEX = 64 };

/* 64 digits at s, in lower case; false: something else stands there. */
static bool is_hash(kd_str s, char out[HEX + 1]) {
    if (s.len < HEX) return false;
    for (size_t i = 0; i < HEX; i++) {
        const char c = s.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))) return false;
        out[i] = c >= 'A' && c <= 'F' ? (char)(c + 32) : c;
    }
    out[HEX] = 0;
    return s.len == HEX || s.data[HEX] == ' ' || s.data[HEX] == '\n' || s.data[HEX] == '\r' || s.data[HEX] == '\t';
}

/* The next line of *rest, without its end; false: there is none. */
static bool next_line(kd_str *rest, kd_str *line) {
    if (!rest->len) return false;
    const char *end = memchr(rest->data, '\n', rest->len);
    *line = (kd_str){rest->data, end ? (size_t)(end - rest->data) : rest->len};
    const size_t used = line->len + (end != NULL);
    rest->data += used, rest->len -= used;
    if (line->len && line->data[line->len - 1] == '\r') line->len--;
    return true;
}

/* "HASH  NAME" or "HASH *NAME". */
static bool entry(kd_str line, char hash[HEX + 1], kd_str *name) {
    if (line.len < HEX + 3 || !is_hash(line, hash)) return false;
    *name = (kd_str){line.data + HEX + 2, line.len - HEX - 2};
    return kd_path_plain(*name);
}

/* A small text file beside, or nothing. */
static bool text_of(kd_buf *b, const char *dir, const char *name, const char *suffix) {
    kd_buf path = {0};
    kd_buf_clear(b);
    const bool there = !kd_buf_printf(&path, "%s/%s%s", dir, name, suffix) && kd_file_exists(path.data) && !kd_is_dir(path.data) &&
                       !kd_file_read(b, path.data, LIST_MAX, NULL);
    kd_buf_clear(&path);
    return there;
}

/* What is known of dir/base, and who says so. */
static bool known(const char *dir, const char *base, const char *path, kd_str sums, char hash[HEX + 1], const char **who) {
    kd_buf b = {0};
    kd_str rest, line, name;
    bool found = false;
    if ((found = text_of(&b, dir, base, ".sha256") && is_hash(kd_buf_view(&b), hash))) *who = ".sha256";
    for (rest = sums; !found && next_line(&rest, &line);)
        if (entry(line, hash, &name) && kd_str_is(name, base)) found = true, *who = "SHA256SUMS";
    if (!found) {
        kd_buf note = {0};
        if (!kd_buf_printf(&note, ".cache/huggingface/download/%s", base) && text_of(&b, dir, note.data, ".metadata")) {
            rest = kd_buf_view(&b); /* commit, hash, time */
            const bool begun = next_line(&rest, &line);
            if (begun && next_line(&rest, &line) && line.len == HEX && is_hash(line, hash)) found = true, *who = "the download's notes";
        }
        kd_buf_clear(&note);
    }
    if (!found) {
        char *real = realpath(path, NULL);
        const kd_str own = kd_str_of(real ? kd_path_base(real) : "");
        if (real && own.len == HEX && is_hash(own, hash)) found = true, *who = "its name in the cache";
        free(real);
    }
    kd_buf_clear(&b);
    return found;
}

typedef struct {
    void (*fault)(void *ctx, const char *msg);
    void *ctx;
    size_t *checked;
} checker;

static kd_code check(const checker *k, const char *path, const char *hash, const char *who, kd_err *e) {
    char is[HEX + 1], msg[256];
    kd_code c = kd_sha256_file(path, is, e);
    if (c) return c;
    ++*k->checked;
    if (strcmp(is, hash)) {
        snprintf(msg, sizeof msg, "%.100s: SHA-256 %.16s..., by %s it should be %.16s...", kd_path_base(path), is, who, hash);
        k->fault(k->ctx, msg);
    }
    return KD_OK;
}

/* Files that the list names besides those of the set: tokenizer, config. */
static kd_code others(const checker *k, const kd_tensors *set, const char *dir, kd_str sums, kd_err *e) {
    kd_str line, name;
    char hash[HEX + 1], msg[256];
    kd_code c = KD_OK;
    while (!c && next_line(&sums, &line)) {
        bool own = false;
        if (!entry(line, hash, &name)) continue;
        for (size_t i = 0; i < kd_tensors_files(set) && !own; i++)
            own = kd_str_is(name, kd_path_base(kd_map_path(kd_tensors_map(set, (uint32_t)i))));
        if (own) continue;
        char *base = kd_strndup(name.data, name.len), *path = base ? kd_path_join(dir, base) : NULL;
        if (!path)
            c = kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dir);
        else if (kd_file_exists(path))
            c = check(k, path, hash, "SHA256SUMS", e);
        else {
            snprintf(msg, sizeof msg, "%.100s: SHA256SUMS names it, it is not there", base);
            k->fault(k->ctx, msg);
        }
        kd_free(path);
        kd_free(base);
    }
    return c;
}

kd_code kd_hashes_check(const kd_tensors *set, void (*fault)(void *ctx, const char *msg), void *ctx, size_t *checked, kd_err *e) {
    const checker k = {fault, ctx, checked};
    kd_buf sums = {0};
    kd_code c = KD_OK;
    *checked = 0;
    for (size_t i = 0; i < kd_tensors_files(set) && !c; i++) {
        const char *path = kd_map_path(kd_tensors_map(set, (uint32_t)i)), *base = kd_path_base(path), *who = "";
        char *dir = base == path ? kd_strdup(".") : kd_strndup(path, (size_t)(base - path)), hash[HEX + 1];
        if (!dir) c = kd_fail(e, KD_ENOMEM, "%s: no memory for a path", path);
        if (!c && !i) (void)text_of(&sums, dir, "SHA256SUMS", ""); /* all files of a set lie in one folder */
        if (!c && known(dir, base, path, kd_buf_view(&sums), hash, &who)) c = check(&k, path, hash, who, e);
        if (!c && i + 1 == kd_tensors_files(set)) c = others(&k, set, dir, kd_buf_view(&sums), e);
        kd_free(dir);
    }
    kd_buf_clear(&sums);
    return c;
}
