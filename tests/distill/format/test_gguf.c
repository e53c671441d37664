/* tests/distill/format/test_gguf.c - the reader against files of Python's gguf package, the writer against the reader, and hostile files. */
#include "tests/distill/format/dump.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void golden(void **state) {
    (void)state;
    static const char *const CASES[][2] = {{"one.gguf", "one.gguf.txt"},
                                           {"aligned.gguf", "aligned.gguf.txt"},
                                           {"split-00001-of-00003.gguf", "split.gguf.txt"},
                                           {"split-00003-of-00003.gguf", "split.gguf.txt"}};
    for (size_t i = 0; i < 4; i++) {
        char a[128], b[128];
        snprintf(a, sizeof a, GOLDEN "%s", CASES[i][0]);
        snprintf(b, sizeof b, GOLDEN "%s", CASES[i][1]);
        char *got = dump_gguf(a), *want = slurp(b);
        assert_string_equal(got, want);
        kd_free(got);
        kd_free(want);
    }
    kd_gguf *g;
    must(kd_gguf_open(&g, GOLDEN "vocab.gguf", er));
    assert_int_equal(kd_tensors_count(kd_gguf_tensors(g)), 0);
    assert_int_equal(kd_gguf_version(g), 3);
    kd_gguf_close(g);
}

static void getters(void **state) {
    (void)state;
    kd_gguf *g;
    must(kd_gguf_open(&g, GOLDEN "aligned.gguf", er));
    kd_str s;
    uint32_t u;
    int64_t n;
    double d;
    bool b;
    assert_int_equal(kd_gguf_alignment(g), 64);
    assert_true(kd_gguf_str(g, "general.architecture", &s) && kd_str_is(s, "llama"));
    assert_true(kd_gguf_str(g, "kv.nul", &s) && s.len == 3 && !memcmp(s.data, "a\0b", 3));
    assert_false(kd_gguf_str(g, "kv.u8", &s));
    assert_false(kd_gguf_str(g, "absent", &s));
    assert_false(kd_gguf_str(g, "tokenizer.ggml.tokens", &s));
    assert_true(kd_gguf_u32(g, "kv.u32", &u) && u == 4000000000u);
    assert_true(kd_gguf_u32(g, "kv.u8", &u) && u == 200);
    assert_false(kd_gguf_u32(g, "kv.i32", &u)); /* negative */
    assert_false(kd_gguf_u32(g, "kv.u64", &u));
    assert_false(kd_gguf_u32(g, "kv.f32", &u));
    assert_false(kd_gguf_u32(g, "kv.bool", &u));
    assert_true(kd_gguf_i64(g, "kv.i16", &n) && n == -30000);
    assert_false(kd_gguf_i64(g, "kv.u64", &n));
    assert_true(kd_gguf_f64(g, "kv.u64", &d) && d == 9223372036854775813.0);
    assert_true(kd_gguf_f64(g, "kv.f32", &d) && d == 0.15625);
    assert_true(kd_gguf_f64(g, "kv.f64", &d) && d == 1e300);
    assert_true(kd_gguf_f64(g, "kv.i8", &d) && d == -100);
    assert_true(kd_gguf_bool(g, "kv.bool", &b) && b);
    assert_false(kd_gguf_bool(g, "kv.u8", &b));
    const kd_gguf_kv *kv = kd_gguf_find(g, "kv.ints");
    assert_true(kv && kd_gguf_elem_i64(kv, 1, &n) && n == -2);
    assert_false(kd_gguf_elem_i64(kv, 3, &n));
    assert_false(kd_gguf_elem_str(kv, 0, &s));
    kd_gguf_close(g);
}

/* Copies src to path by the writer, tensors backwards, in pieces of step bytes. */
static kd_code copy(const char *src, const char *path, uint64_t split, size_t step, uint32_t align, kd_err *e) {
    kd_gguf *g = NULL;
    kd_gguf_writer *w = NULL;
    kd_code c = kd_gguf_open(&g, src, e);
    if (c || (c = kd_gguf_writer_new(&w, path, split, e))) goto done;
    for (size_t i = 0; i < kd_gguf_count(g) && !c; i++) c = kd_gguf_writer_copy(w, kd_gguf_at(g, i), e);
    if (!c && align) c = kd_gguf_writer_u32(w, "general.alignment", align, e);
    const kd_tensors *set = kd_gguf_tensors(g);
    for (size_t i = 0; i < kd_tensors_count(set) && !c; i++) {
        const kd_tensor *t = kd_tensors_at(set, i);
        c = kd_gguf_writer_declare(w, t->name.data, t->type, t->ndim, t->shape, NULL, e);
    }
    if (c || (c = kd_gguf_writer_begin(w, e))) goto done;
    for (size_t i = kd_tensors_count(set); i-- > 0 && !c;) {
        const kd_tensor *t = kd_tensors_at(set, i);
        for (size_t at = 0; at < t->bytes && !c; at += step)
            c = kd_gguf_writer_put(w, i, (const char *)t->data + at, t->bytes - at < step ? t->bytes - at : step, e);
    }
    if (!c) c = kd_gguf_writer_commit(w, e);
done:
    kd_gguf_writer_free(w);
    kd_gguf_close(g);
    return c;
}

static void round_trip(void **state) {
    (void)state;
    char *want = slurp(GOLDEN "one.gguf.txt");
    must(copy(GOLDEN "one.gguf", temp("x.gguf"), 0, 1000, 0, er));
    char *got = dump_gguf(temp("x.gguf"));
    assert_string_equal(got, want);
    kd_free(got);
    /* The same order of keys and tensors: the same bytes as Python wrote. */
    kd_buf a = {0}, b = {0};
    must(kd_file_read(&a, temp("x.gguf"), 1 << 20, er));
    must(kd_file_read(&b, GOLDEN "one.gguf", 1 << 20, er));
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    kd_buf_clear(&a);
    kd_buf_clear(&b);
    must(copy(GOLDEN "one.gguf", temp("y.gguf"), 600, 100, 0, er));
    assert_false(kd_file_exists(temp("y.gguf")));
    got = dump_gguf(temp("y-00001-of-00004.gguf"));
    assert_string_equal(got, want);
    kd_free(got);
    kd_free(want);
    want = slurp(GOLDEN "aligned.gguf.txt");
    must(copy(GOLDEN "aligned.gguf", temp("z.gguf"), 600, 100, 0, er));
    got = dump_gguf(temp("z-00003-of-00004.gguf"));
    assert_string_equal(got, want);
    kd_free(got);
    kd_free(want);
    kd_err e = {0};
    kd_gguf *g;
    must(kd_remove_tree(temp("z-00004-of-00004.gguf"), er));
    assert_int_equal(kd_gguf_open(&g, temp("z-00001-of-00004.gguf"), &e), KD_ENOENT);
    assert_int_equal(rename(temp("y-00002-of-00004.gguf"), temp("y-00003-of-00004.gguf")), 0);
    refused("a part in another's place", kd_gguf_open(&g, temp("y-00001-of-00004.gguf"), &e), &e, "y-00002");
    assert_int_equal(rename(temp("y-00001-of-00004.gguf"), temp("lonely.gguf")), 0);
    refused("a part without its name", kd_gguf_open(&g, temp("lonely.gguf"), &e), &e, "its name should end in -00001-of-00004.gguf");
}

static void every_value(void **state) {
    (void)state;
    kd_gguf_writer *w;
    must(kd_gguf_writer_new(&w, temp("v.gguf"), 0, er));
    const int8_t i8[] = {-1, 127};
    const uint64_t u64[] = {UINT64_MAX, 0};
    const double f64[] = {-0.0, 1e-310};
    const bool bo[] = {true, false, true};
    const kd_str strs[] = {KD_STR("a\0b"), {NULL, 0}, KD_STR("c")};
    int16_t i16 = -5;
    must(kd_gguf_writer_str(w, "s", KD_STR("first"), er));
    must(kd_gguf_writer_set_array(w, "i8", KD_GGUF_I8, i8, 2, er));
    must(kd_gguf_writer_set_array(w, "u64", KD_GGUF_U64, u64, 2, er));
    must(kd_gguf_writer_set_array(w, "f64", KD_GGUF_F64, f64, 2, er));
    must(kd_gguf_writer_set_array(w, "bool", KD_GGUF_BOOL, bo, 3, er));
    must(kd_gguf_writer_set_array(w, "strs", KD_GGUF_STRING, strs, 3, er));
    must(kd_gguf_writer_set_array(w, "none", KD_GGUF_STRING, NULL, 0, er));
    must(kd_gguf_writer_set(w, "i16", KD_GGUF_I16, &i16, er));
    must(kd_gguf_writer_bool(w, "yes", true, er));
    must(kd_gguf_writer_f32(w, "f", 1.5f, er));
    must(kd_gguf_writer_str(w, "s", KD_STR("second"), er));
    kd_err e = {0};
    uint32_t bad = 12;
    assert_int_equal(kd_gguf_writer_set(w, "general.alignment", KD_GGUF_U32, &bad, &e), KD_EINVAL);
    assert_int_equal(kd_gguf_writer_str(w, "utf", KD_STR("\xff"), &e), KD_EINVAL);
    assert_int_equal(kd_gguf_writer_str(w, "", KD_STR("x"), &e), KD_EINVAL);
    must(kd_gguf_writer_begin(w, er));
    assert_int_equal(kd_gguf_writer_str(w, "late", KD_STR("x"), &e), KD_EINVAL);
    must(kd_gguf_writer_commit(w, er));
    kd_gguf_writer_free(w);
    kd_gguf *g;
    kd_str s;
    int64_t n;
    double d;
    must(kd_gguf_open(&g, temp("v.gguf"), er));
    assert_int_equal(kd_gguf_count(g), 10);
    assert_true(kd_gguf_str(g, "s", &s) && kd_str_is(s, "second"));
    assert_true(kd_gguf_elem_str(kd_gguf_find(g, "strs"), 0, &s) && s.len == 3 && s.data[1] == 0);
    assert_true(kd_gguf_elem_str(kd_gguf_find(g, "strs"), 1, &s) && s.len == 0);
    assert_true(kd_gguf_elem_i64(kd_gguf_find(g, "i8"), 0, &n) && n == -1);
    assert_true(kd_gguf_elem_f64(kd_gguf_find(g, "u64"), 0, &d) && d == (double)UINT64_MAX);
    assert_true(kd_gguf_elem_f64(kd_gguf_find(g, "f64"), 1, &d) && d == 1e-310);
    assert_true(kd_gguf_elem_i64(kd_gguf_find(g, "bool"), 2, &n) && n == 1);
    assert_int_equal(kd_gguf_find(g, "none")->count, 0);
    assert_true(kd_gguf_i64(g, "i16", &n) && n == -5);
    kd_gguf_close(g);
}

static void truncated(void **state) {
    (void)state;
    kd_buf b = {0};
    kd_gguf *g;
    kd_err e = {0};
    must(kd_file_read(&b, GOLDEN "one.gguf", 1 << 20, er));
    put_file(temp("cut.gguf"), b.data, b.len);
    for (size_t n = b.len; n-- > 0;) {
        assert_int_equal(truncate(temp("cut.gguf"), (off_t)n), 0);
        refused("cut", kd_gguf_open(&g, temp("cut.gguf"), &e), &e, "cut.gguf");
        assert_null(g);
    }
    kd_buf_putc(&b, 0);
    must(kd_file_write(temp("cut.gguf"), b.data, b.len, er));
    refused("a byte more", kd_gguf_open(&g, temp("cut.gguf"), &e), &e, "the tensors take");
    kd_buf_clear(&b);
}

/* A file by hand, every field as told. */
static void le(kd_buf *b, uint64_t v, int n) {
    for (int i = 0; i < n; i++) kd_buf_putc(b, (char)(unsigned char)(v >> (8 * i)));
}
static void str(kd_buf *b, const char *s) {
    le(b, strlen(s), 8);
    kd_buf_puts(b, s);
}
static kd_buf head(uint32_t version, uint64_t tensors, uint64_t keys) {
    kd_buf b = {0};
    kd_buf_puts(&b, "GGUF");
    le(&b, version, 4);
    le(&b, tensors, 8);
    le(&b, keys, 8);
    return b;
}
static void tensor(kd_buf *b, const char *name, uint32_t ndim, const uint64_t *ne, uint32_t type, uint64_t offset) {
    str(b, name);
    le(b, ndim, 4);
    for (uint32_t i = 0; i < ndim && i < 8; i++) le(b, ne[i], 8);
    le(b, type, 4);
    le(b, offset, 8);
}
static void key_u32(kd_buf *b, const char *key, uint32_t v) {
    str(b, key);
    le(b, KD_GGUF_U32, 4);
    le(b, v, 4);
}
/* Pads to 32, adds data bytes, writes, expects a refusal with word; clears b. */
static void expect(const char *what, kd_buf *b, size_t data, const char *word) {
    kd_gguf *g;
    kd_err e = {0};
    while (data && b->len % 32) kd_buf_putc(b, 0);
    for (size_t i = 0; i < data; i++) kd_buf_putc(b, 0);
    put_file(temp("h.gguf"), b->data, b->len);
    refused(what, kd_gguf_open(&g, temp("h.gguf"), &e), &e, word);
    assert_non_null(strstr(e.msg, "h.gguf"));
    kd_buf_clear(b);
}

static void hostile_header(void **state) {
    (void)state;
    kd_buf b = head(1, 0, 0);
    expect("version 1", &b, 0, "version 1");
    b = head(0x03000000, 0, 0);
    expect("big-endian", &b, 0, "big-endian");
    b = head(3, UINT64_MAX, 0);
    expect("tensors wrap (CVE-2024-21825 kind)", &b, 64, "tensors, at most");
    b = head(3, 0, UINT64_MAX);
    expect("keys wrap", &b, 64, "keys, at most");
    b = head(3, 1u << 17, 0);
    expect("more tensors than bytes", &b, 64, "bytes are left");
    b = head(3, 0, 60000);
    expect("more keys than bytes", &b, 64, "bytes are left");
    b = head(3, 0, 1);
    le(&b, UINT64_MAX, 8);
    expect("key length wraps (n + 1 = 0)", &b, 64, "at most 65535");
    b = head(3, 0, 1);
    le(&b, 60000, 8);
    expect("key past the end", &b, 64, "needs 60000 bytes");
    b = head(3, 0, 1);
    str(&b, "k");
    le(&b, 13, 4);
    expect("unknown type", &b, 64, "key k has type 13");
    b = head(3, 0, 1);
    str(&b, "k");
    le(&b, KD_GGUF_STRING, 4);
    le(&b, UINT64_MAX, 8);
    expect("string length wraps", &b, 64, "has 18446744073709551615 bytes");
    b = head(3, 0, 1);
    str(&b, "k");
    le(&b, KD_GGUF_STRING, 4);
    str(&b, "\xc3(");
    expect("a value that is not UTF-8", &b, 64, "not UTF-8");
    b = head(3, 0, 1);
    str(&b, "\xff\xfe");
    le(&b, KD_GGUF_U32, 4);
    expect("a key that is not UTF-8", &b, 64, "not UTF-8");
    b = head(3, 0, 1);
    str(&b, "");
    le(&b, KD_GGUF_U32, 4);
    expect("an empty key", &b, 64, "key 0 is empty");
    b = head(3, 0, 1);
    str(&b, "k");
    le(&b, KD_GGUF_BOOL, 4);
    le(&b, 2, 1);
    expect("a bool of 2", &b, 64, "bool 2");
    b = head(3, 0, 2);
    key_u32(&b, "k", 1);
    key_u32(&b, "k", 2);
    expect("duplicate keys", &b, 64, "key k is there twice");
}

static void hostile_arrays(void **state) {
    (void)state;
    static const struct {
        const char *what;
        uint32_t type;
        uint64_t count;
        const char *word;
    } BAD[] = {
        {"2^62 elements of 4 bytes wrap to 0", KD_GGUF_U32, 1ull << 62, "do not fit"},
        {"2^61 elements of 8 bytes wrap to 0", KD_GGUF_U64, 1ull << 61, "do not fit"},
        {"2^63 + 1 elements of 2 bytes", KD_GGUF_U16, (1ull << 63) + 1, "do not fit"},
        {"all the bytes there can be", KD_GGUF_U8, UINT64_MAX, "needs 18446744073709551615 bytes"},
        {"a few too many", KD_GGUF_U32, 100, "needs 400 bytes"},
        {"strings wrap", KD_GGUF_STRING, 1ull << 61, "strings need at least"},
        {"strings past the end", KD_GGUF_STRING, 1000, "strings need at least"},
        {"array of arrays", KD_GGUF_ARRAY, 1, "array of arrays"},
        {"element type unknown", 99, 1, "has type 99"},
        {"element type negative", 0xffffffff, 1, "has type 4294967295"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        kd_buf b = head(3, 0, 1);
        str(&b, "tokenizer.ggml.tokens");
        le(&b, KD_GGUF_ARRAY, 4);
        le(&b, BAD[i].type, 4);
        le(&b, BAD[i].count, 8);
        expect(BAD[i].what, &b, 32, BAD[i].word);
    }
    kd_buf b = head(3, 0, 1);
    str(&b, "general.alignment");
    le(&b, KD_GGUF_ARRAY, 4);
    le(&b, KD_GGUF_U32, 4);
    le(&b, 1, 8);
    le(&b, 32, 4);
    expect("array where a number should be", &b, 64, "general.alignment has type array");
    /* The getters do not mistake one for the other either. */
    b = head(3, 0, 1);
    str(&b, "a");
    le(&b, KD_GGUF_ARRAY, 4);
    le(&b, KD_GGUF_U32, 4);
    le(&b, 1, 8);
    le(&b, 7, 4);
    must(kd_file_write(temp("a.gguf"), b.data, b.len, er));
    kd_buf_clear(&b);
    kd_gguf *g;
    uint32_t u;
    kd_str s;
    must(kd_gguf_open(&g, temp("a.gguf"), er));
    assert_false(kd_gguf_u32(g, "a", &u));
    assert_false(kd_gguf_str(g, "a", &s));
    kd_gguf_close(g);
}

static void hostile_tensors(void **state) {
    (void)state;
    static const struct {
        const char *what;
        uint32_t ndim;
        uint64_t ne[5];
        uint32_t type;
        uint64_t offset;
        size_t data;
        const char *word;
    } BAD[] = {
        {"five dimensions", 5, {1, 1, 1, 1, 1}, 0, 0, 32, "5 dimensions"},
        {"2^32 dimensions", 0xffffffff, {1}, 0, 0, 32, "4294967295 dimensions"},
        {"product wraps to 0", 2, {1ull << 32, 1ull << 32}, 0, 0, 32, "does not fit"},
        {"product wraps to 32 (CVE-2025-53630 kind)", 2, {(1ull << 62) + 8, 4}, 0, 0, 32, "does not fit"},
        {"bytes wrap to 0", 1, {1ull << 62}, 0, 0, 32, "does not fit"},
        {"a zero hides a wrap", 3, {0, 1ull << 62, 1ull << 62}, 0, 0, 32, "does not fit"},
        {"negative dimension", 1, {UINT64_MAX}, 0, 0, 32, "does not fit"},
        {"padding wraps to 0 (CVE-2026-33298 kind)", 1, {UINT64_MAX / 4}, 0, 0, 32, "does not fit"},
        {"just below the wrap", 1, {(1ull << 61) - 9}, 0, 0, 32, "the tensors take"},
        {"rows no block divides", 2, {33, 1}, 8, 0, 64, "does not fit"},
        {"unknown type", 1, {4}, 40, 0, 32, "type 40"},
        {"a number of ours", 1, {4}, 101, 0, 32, "type 101"},
        {"removed type", 1, {32}, 4, 0, 32, "q4_2"},
        {"a type we lack", 1, {256}, 16, 0, 256, "iq2_xxs"},
        {"type far away", 1, {4}, 0xfffffff0, 0, 32, "type 4294967280"},
        {"offset misaligned", 1, {8}, 0, 4, 64, "misaligned"},
        {"hole", 1, {8}, 0, 32, 64, "a hole"},
        {"offset wraps", 1, {8}, 0, UINT64_MAX - 31, 64, "a hole"},
        {"data missing", 1, {64}, 0, 0, 32, "the tensors take"},
        {"data left over", 1, {8}, 0, 0, 64, "the tensors take"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        kd_buf b = head(3, 1, 0);
        tensor(&b, "w", BAD[i].ndim, BAD[i].ne, BAD[i].type, BAD[i].offset);
        expect(BAD[i].what, &b, BAD[i].data, BAD[i].word);
    }
    static const char *const NAMES[] = {"",         "../up",
                                        "/abs",     "a/../b",
                                        "a\\..\\b", "ctl\033[2J",
                                        "\xff",     "a-name-of-sixty-four-bytes-which-ggml-could-not-keep-with-its-end"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        kd_buf b = head(3, 1, 0);
        tensor(&b, NAMES[i], 1, (uint64_t[]){8}, 0, 0);
        expect(NAMES[i], &b, 32, "name");
    }
    kd_buf b = head(3, 2, 0);
    tensor(&b, "w", 1, (uint64_t[]){8}, 0, 0);
    tensor(&b, "w", 1, (uint64_t[]){8}, 0, 32);
    expect("duplicate names", &b, 64, "tensor w is there twice");
    b = head(3, 2, 0);
    tensor(&b, "v", 1, (uint64_t[]){8}, 0, 0);
    tensor(&b, "w", 1, (uint64_t[]){8}, 0, 0);
    expect("overlap", &b, 32, "an overlap");
    b = head(3, 3, 0);
    tensor(&b, "u", 1, (uint64_t[]){(1ull << 61) - 9}, 0, 0);
    tensor(&b, "v", 1, (uint64_t[]){(1ull << 61) - 9}, 0, (1ull << 63) - 32);
    tensor(&b, "w", 1, (uint64_t[]){32}, 0, UINT64_MAX - 63);
    expect("sizes add up past 2^64 (CVE-2026-27940 kind)", &b, 32, "past the end of any file");
}

static void hostile_alignment(void **state) {
    (void)state;
    static const uint32_t BAD[] = {0, 1, 3, 4, 31, 33, 48, 131072, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        kd_buf b = head(3, 1, 1);
        key_u32(&b, "general.alignment", BAD[i]);
        tensor(&b, "w", 1, (uint64_t[]){8}, 0, 0);
        expect("alignment", &b, 32, "general.alignment is");
    }
}

/* The worst headers that fit the limits, each opened by a child of its own: refused within a second of processor time and 200 MB (what
 * they take is printed; bounds are generous, the sanitizers' share is in them). */
static void extreme(const char *what, kd_buf *b, const char *word) {
    struct rusage u;
    int status;
    put_file(temp("h.gguf"), b->data, b->len);
    kd_buf_clear(b);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        kd_gguf *g;
        kd_err e = {0};
        struct rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        kd_code c = kd_gguf_open(&g, temp("h.gguf"), &e);
        getrusage(RUSAGE_SELF, &after);
        double ms = 1e3 * (double)(after.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_utime.tv_sec - before.ru_stime.tv_sec) +
                    1e-3 * (double)(after.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_utime.tv_usec - before.ru_stime.tv_usec);
        printf("# %s: %.0f ms, %ld MB more: %s\n", what, ms, (after.ru_maxrss - before.ru_maxrss) >> 10, e.msg);
        fflush(NULL);
        _exit(!c || !strstr(e.msg, word) ? 1 : ms > 1000 ? 2 : after.ru_maxrss - before.ru_maxrss > 200 << 10 ? 3 : 0);
    }
    assert_true(pid > 0 && wait4(pid, &status, 0, &u) == pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        fail_msg("%s: the child ended with %d (1 opened or other words, 2 too slow, 3 too large)", what, status);
}

static void extremes(void **state) {
    (void)state;
    char name[32];
    kd_buf b = head(3, 0, KD_GGUF_KEYS_MAX);
    for (uint32_t i = 0; i < KD_GGUF_KEYS_MAX; i++) {
        snprintf(name, sizeof name, "k%u", i == KD_GGUF_KEYS_MAX - 1 ? 0 : i);
        key_u32(&b, name, i);
    }
    extreme("65536 keys, the last there twice", &b, "twice");
    b = head(3, KD_GGUF_TENSORS_MAX, 0);
    for (uint32_t i = 0; i < KD_GGUF_TENSORS_MAX; i++) {
        snprintf(name, sizeof name, "t%u", i);
        tensor(&b, name, 1, (const uint64_t[]){8}, 0, 32 * (uint64_t)i);
    }
    for (uint32_t i = 0; i < 64; i++) kd_buf_putc(&b, 0);
    extreme("262144 tensors without their data", &b, "the tensors take");
    b = head(3, 0, 2);
    str(&b, "s");
    le(&b, KD_GGUF_ARRAY, 4);
    le(&b, KD_GGUF_STRING, 4);
    le(&b, 10u << 20, 8);
    assert_int_equal(kd_buf_reserve(&b, 80u << 20), KD_OK);
    memset(b.data + b.len, 0, 80u << 20);
    b.len += 80u << 20;
    key_u32(&b, "s", 1);
    extreme("80 MB of empty strings, and its key again", &b, "twice");
}

static void version_2(void **state) {
    (void)state;
    kd_buf b = head(2, 1, 1);
    kd_gguf *g;
    key_u32(&b, "k", 7);
    tensor(&b, "w", 1, (uint64_t[]){8}, 0, 0);
    while (b.len % 32) kd_buf_putc(&b, 0);
    for (int i = 0; i < 32; i++) kd_buf_putc(&b, 1);
    must(kd_file_write(temp("two.gguf"), b.data, b.len, er));
    kd_buf_clear(&b);
    must(kd_gguf_open(&g, temp("two.gguf"), er));
    assert_int_equal(kd_gguf_version(g), 2);
    const kd_tensor *t = kd_tensors_find(kd_gguf_tensors(g), "w");
    assert_true(t && t->ndim == 1 && t->shape[0] == 8 && ((const char *)t->data)[31] == 1);
    kd_gguf_close(g);
}

static void no_memory(void **state) {
    (void)state;
    static const char *const PATHS[] = {GOLDEN "one.gguf", GOLDEN "split-00001-of-00003.gguf"};
    for (int p = 0; p < 2; p++)
        for (long n = 1;; n++) {
            kd_gguf *g;
            kd_err e = {0};
            kd_alloc_fail_at(n);
            kd_code c = kd_gguf_open(&g, PATHS[p], &e);
            bool reached = kd_alloc_count() >= n;
            kd_alloc_fail_at(0);
            kd_gguf_close(g);
            if (!reached) {
                assert_int_equal(c, KD_OK);
                break;
            }
            assert_int_equal(c, KD_ENOMEM);
            assert_true(e.msg[0] != 0);
        }
    for (long n = 1;; n++) {
        kd_err e = {0};
        kd_alloc_fail_at(n);
        kd_code c = copy(GOLDEN "aligned.gguf", temp("mem.gguf"), 600, 1000, 0, &e);
        bool reached = kd_alloc_count() >= n;
        kd_alloc_fail_at(0);
        if (!reached) {
            assert_int_equal(c, KD_OK);
            break;
        }
        assert_int_equal(c, KD_ENOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),         cmocka_unit_test(getters),         cmocka_unit_test(round_trip),
        cmocka_unit_test(every_value),    cmocka_unit_test(truncated),       cmocka_unit_test(hostile_header),
        cmocka_unit_test(hostile_arrays), cmocka_unit_test(hostile_tensors), cmocka_unit_test(hostile_alignment),
        cmocka_unit_test(extremes),       cmocka_unit_test(version_2),       cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
