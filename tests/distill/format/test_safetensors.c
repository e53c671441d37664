/* tests/distill/format/test_safetensors.c - the reader against files of Python's package, the writer against the reader, and hostile files. */
#include "tests/distill/format/dump.h"

#include "distill/base/clock.h"

#include <sys/stat.h>

static void golden(void **state) {
    (void)state;
    char *got = dump_safetensors(GOLDEN "one.safetensors"), *want = slurp(GOLDEN "one.txt");
    assert_string_equal(got, want);
    kd_free(got);
    kd_free(want);
    want = slurp(GOLDEN "sharded.txt");
    static const char *const WAYS[] = {"sharded", "sharded/model.safetensors.index.json"};
    for (int i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN "%s", WAYS[i]);
        got = dump_safetensors(path);
        assert_string_equal(got, want);
        kd_free(got);
    }
    kd_free(want);
    kd_safetensors *s;
    must(kd_safetensors_open(&s, GOLDEN "one.safetensors", er));
    assert_true(kd_str_is(kd_safetensors_meta(s, "note"), "tab\tquote\" \u00e9 \U0001f40d"));
    assert_true(kd_str_is(kd_safetensors_meta(s, "format"), "pt"));
    assert_null(kd_safetensors_meta(s, "absent").data);
    assert_int_equal(kd_safetensors_meta_count(s), 2);
    assert_null(kd_tensors_find(kd_safetensors_tensors(s), "absent"));
    kd_safetensors_close(s);
}

/* Copies src to path by the writer, in pieces of step bytes, tensors backwards. */
static kd_code copy(const char *src, const char *path, uint64_t shard, size_t step, kd_err *e) {
    kd_safetensors *s = NULL;
    kd_safetensors_writer *w = NULL;
    kd_code c = kd_safetensors_open(&s, src, e);
    if (c || (c = kd_safetensors_writer_new(&w, path, shard, e))) goto done;
    const kd_tensors *set = kd_safetensors_tensors(s);
    for (size_t i = 0; i < kd_safetensors_meta_count(s) && !c; i++) {
        kd_str k, v;
        kd_safetensors_meta_at(s, i, &k, &v);
        c = kd_safetensors_writer_meta(w, k.data, v, e);
    }
    for (size_t i = 0; i < kd_tensors_count(set) && !c; i++) {
        const kd_tensor *t = kd_tensors_at(set, i);
        size_t k;
        c = kd_safetensors_writer_declare(w, t->name.data, t->type, t->ndim, t->shape, &k, e);
        if (!c) assert_int_equal(k, i);
    }
    if (c || (c = kd_safetensors_writer_begin(w, e))) goto done;
    for (size_t i = kd_tensors_count(set); i-- > 0 && !c;) {
        const kd_tensor *t = kd_tensors_at(set, i);
        for (size_t at = 0; at < t->bytes && !c; at += step)
            c = kd_safetensors_writer_put(w, i, (const char *)t->data + at, t->bytes - at < step ? t->bytes - at : step, e);
    }
    if (!c) c = kd_safetensors_writer_commit(w, e);
done:
    kd_safetensors_writer_free(w);
    kd_safetensors_close(s);
    return c;
}

static void round_trip(void **state) {
    (void)state;
    char *want = slurp(GOLDEN "one.txt");
    must(copy(GOLDEN "one.safetensors", temp("x.safetensors"), 0, 5, er));
    char *got = dump_safetensors(temp("x.safetensors"));
    assert_string_equal(got, want);
    kd_free(got);
    must(copy(GOLDEN "one.safetensors", temp("model.safetensors"), 100, 1000, er));
    assert_false(kd_file_exists(temp("model.safetensors")));
    got = dump_safetensors(temp("model.safetensors.index.json"));
    assert_string_equal(got, want);
    kd_free(got);
    got = dump_safetensors(temp_dir);
    assert_string_equal(got, want);
    kd_free(got);
    kd_free(want);
    /* every tensor lies aligned to its element, as torch wants it */
    kd_safetensors *s;
    must(kd_safetensors_open(&s, temp("x.safetensors"), er));
    const kd_tensors *set = kd_safetensors_tensors(s);
    for (size_t i = 0; i < kd_tensors_count(set); i++)
        assert_int_equal(kd_tensors_at(set, i)->offset % kd_dtype_get((int)kd_tensors_at(set, i)->type)->bytes, 0);
    assert_true(kd_str_is(kd_safetensors_meta(s, "format"), "pt"));
    kd_safetensors_close(s);
}

static void writer_refuses(void **state) {
    (void)state;
    kd_safetensors_writer *w;
    kd_err e = {0};
    must(kd_safetensors_writer_new(&w, temp("refused.safetensors"), 0, er));
    uint64_t shape[] = {2, 3}, huge[] = {UINT64_MAX / 4, 8};
    size_t k;
    assert_int_equal(kd_safetensors_writer_declare(w, "q", KD_Q8_0, 2, shape, &k, &e), KD_EINVAL);
    assert_int_equal(kd_safetensors_writer_declare(w, "h", KD_F32, 2, huge, &k, &e), KD_EINVAL);
    assert_int_equal(kd_safetensors_writer_declare(w, "../x", KD_F32, 2, shape, &k, &e), KD_EINVAL);
    assert_int_equal(kd_safetensors_writer_declare(w, "a", KD_F32, 7, shape, &k, &e), KD_EINVAL);
    must(kd_safetensors_writer_declare(w, "a", KD_F32, 2, shape, &k, er));
    assert_int_equal(kd_safetensors_writer_declare(w, "a", KD_F32, 2, shape, &k, &e), KD_EINVAL);
    assert_int_equal(kd_safetensors_writer_put(w, 0, shape, 4, &e), KD_EINVAL);
    must(kd_safetensors_writer_begin(w, er));
    assert_int_equal(kd_safetensors_writer_declare(w, "b", KD_F32, 2, shape, &k, &e), KD_EINVAL);
    must(kd_safetensors_writer_put(w, 0, shape, 16, er));
    assert_int_equal(kd_safetensors_writer_put(w, 0, shape, 16, &e), KD_EINVAL);
    assert_int_equal(kd_safetensors_writer_put(w, 1, shape, 16, &e), KD_EINVAL);
    assert_int_equal(kd_safetensors_writer_commit(w, &e), KD_EINVAL);
    assert_non_null(strstr(e.msg, "16 of its 24"));
    kd_safetensors_writer_free(w);
    char **names;
    size_t n;
    must(kd_list_dir(temp_dir, &names, &n, er));
    for (size_t i = 0; i < n; i++) assert_null(strstr(names[i], "refused"));
    kd_names_free(names, n);
}

static void truncated(void **state) {
    (void)state;
    kd_buf b = {0};
    must(kd_file_read(&b, GOLDEN "one.safetensors", 1 << 20, er));
    put_file(temp("cut.safetensors"), b.data, b.len);
    for (size_t n = b.len; n-- > 0;) {
        kd_safetensors *s;
        kd_err e = {0};
        assert_int_equal(truncate(temp("cut.safetensors"), (off_t)n), 0);
        refused("cut", kd_safetensors_open(&s, temp("cut.safetensors"), &e), &e, "cut.safetensors");
        assert_null(s);
    }
    kd_buf_putc(&b, 'x');
    put_file(temp("cut.safetensors"), b.data, b.len);
    kd_safetensors *s;
    kd_err e = {0};
    refused("a byte more", kd_safetensors_open(&s, temp("cut.safetensors"), &e), &e, "the tensors end at byte");
    kd_buf_clear(&b);
}

#define T(dtype, shape, at) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" at "}"
static const struct {
    const char *what, *header;
    size_t data;
    const char *word;
} HOSTILE[] = {
    {"no object", "[]", 0, "begin with '{'"},
    {"white space first", " {}", 0, "begin with '{'"},
    {"bytes behind", "{}x", 0, "expected the end"},
    {"duplicate name", "{\"a\":" T("F32", "[1]", "[0,4]") ",\"a\":" T("F32", "[1]", "[4,8]") "}", 8, "tensor a is there twice"},
    {"the same name escaped", "{\"a\":" T("F32", "[1]", "[0,4]") ",\"\\u0061\":" T("F32", "[1]", "[4,8]") "}", 8,
     "tensor a is there twice"},
    {"overlap", "{\"a\":" T("F32", "[2]", "[0,8]") ",\"b\":" T("F32", "[2]", "[4,12]") "}", 12, "an overlap"},
    {"hole", "{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[8,12]") "}", 12, "a hole"},
    {"hole before the first", "{\"a\":" T("F32", "[1]", "[4,8]") "}", 8, "a hole"},
    {"data left over", "{\"a\":" T("F32", "[1]", "[0,4]") "}", 8, "the file holds 8"},
    {"data missing", "{\"a\":" T("F32", "[2]", "[0,8]") "}", 4, "the file holds 4"},
    {"product wraps to 0", "{\"a\":" T("F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "does not fit"},
    {"2^62 elements of 4 bytes wrap to 0", "{\"a\":" T("F32", "[4611686018427387904]", "[0,0]") "}", 0, "does not fit"},
    {"a zero hides a wrap", "{\"a\":" T("F32", "[0,9223372036854775807,9223372036854775807]", "[0,0]") "}", 0, "does not fit"},
    {"end before begin", "{\"a\":" T("F32", "[1]", "[4,0]") "}", 4, "data_offsets are 4 to 0"},
    {"end wraps", "{\"a\":" T("F32", "[1]", "[18446744073709551612,18446744073709551616]") "}", 4, "below 2^64"},
    {"size by shape differs", "{\"a\":" T("F32", "[3]", "[0,8]") "}", 8, "takes 12 bytes"},
    {"negative", "{\"a\":" T("F32", "[-1]", "[0,4]") "}", 4, "whole number"},
    {"float", "{\"a\":" T("F32", "[1.0]", "[0,4]") "}", 4, "plain digits"},
    {"exponent", "{\"a\":" T("F32", "[1e0]", "[0,4]") "}", 4, "plain digits"},
    {"leading zero", "{\"a\":" T("F32", "[01]", "[0,4]") "}", 4, "plain digits"},
    {"unknown dtype", "{\"a\":" T("F4_E9", "[1]", "[0,4]") "}", 4, "dtype \"F4_E9\""},
    {"dtype of another kind", "{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "a string"},
    {"seven dimensions", "{\"a\":" T("F32", "[1,1,1,1,1,1,1]", "[0,4]") "}", 4, "dimensions"},
    {"field twice", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "\"dtype\" twice"},
    {"field missing", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "lacks shape"},
    {"unknown field", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "beside"},
    {"three offsets", "{\"a\":" T("F32", "[1]", "[0,4,8]") "}", 4, "']'"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
    {"metadata key twice", "{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, "metadata key a is there twice"},
    {"metadata of numbers", "{\"__metadata__\":{\"a\":1}}", 0, "a string"},
    {"path in a name", "{\"../../etc/x\":" T("F32", "[1]", "[0,4]") "}", 4, "parts of a path"},
    {"absolute name", "{\"/etc/x\":" T("F32", "[1]", "[0,4]") "}", 4, "parts of a path"},
    {"backslash path", "{\"a\\\\..\\\\b\":" T("F32", "[1]", "[0,4]") "}", 4, "parts of a path"},
    {"control byte in a name", "{\"a\\u001b[2J\":" T("F32", "[1]", "[0,4]") "}", 4, "control byte"},
    {"U+0000 in a name", "{\"a\\u0000b\":" T("F32", "[1]", "[0,4]") "}", 4, "U+0000"},
    {"empty name", "{\"\":" T("F32", "[1]", "[0,4]") "}", 4, "0 bytes"},
    {"lone surrogate", "{\"\\ud800\":" T("F32", "[1]", "[0,4]") "}", 4, "escape"},
    {"not UTF-8", "{\"a\xff\":" T("F32", "[1]", "[0,4]") "}", 4, "not UTF-8"},
    {"trailing comma", "{\"a\":" T("F32", "[1]", "[0,4]") ",}", 4, "a string"},
    {"unclosed", "{\"a\":" T("F32", "[1]", "[0,4]"), 4, "the end"},
    {"comment", "{/**/}", 0, "a string"},
};

static void write_st(const char *path, uint64_t claim, const char *header, size_t n, size_t data) {
    kd_buf b = {0};
    for (int i = 0; i < 8; i++) kd_buf_putc(&b, (char)(unsigned char)(claim >> (8 * i)));
    kd_buf_append(&b, header, n);
    for (size_t i = 0; i < data; i++) kd_buf_putc(&b, 0);
    put_file(path, b.data, b.len);
    kd_buf_clear(&b);
}

static void hostile(void **state) {
    (void)state;
    kd_safetensors *s;
    for (size_t i = 0; i < sizeof HOSTILE / sizeof *HOSTILE; i++) {
        kd_err e = {0};
        size_t n = strlen(HOSTILE[i].header);
        write_st(temp("h.safetensors"), n, HOSTILE[i].header, n, HOSTILE[i].data);
        refused(HOSTILE[i].what, kd_safetensors_open(&s, temp("h.safetensors"), &e), &e, HOSTILE[i].word);
        assert_non_null(strstr(e.msg, "h.safetensors"));
    }
    static const uint64_t CLAIMS[] = {0, 1, 3, 100, UINT64_MAX, UINT64_MAX - 7, (uint64_t)INT64_MAX + 1};
    for (size_t i = 0; i < sizeof CLAIMS / sizeof *CLAIMS; i++) {
        kd_err e = {0};
        write_st(temp("h.safetensors"), CLAIMS[i], "{}", 2, 0);
        refused("header length", kd_safetensors_open(&s, temp("h.safetensors"), &e), &e, "header");
    }
}

/* 100 MB of header: refused by its length; 16 MiB of nested arrays, of one string, of the most tensors there may be: all within 50 MB. */
static void large(void **state) {
    (void)state;
    kd_safetensors *s;
    kd_err e = {0};
    FILE *f = fopen(temp("big.safetensors"), "wb");
    uint64_t n = 100u << 20;
    fwrite(&n, 8, 1, f);
    fwrite("{", 1, 1, f);
    assert_int_equal(ftruncate(fileno(f), (off_t)n + 8), 0);
    fclose(f);
    refused("100 MB", kd_safetensors_open(&s, temp("big.safetensors"), &e), &e, "at most");
    char *deep = malloc(KD_SAFETENSORS_HEADER_MAX);
    memset(deep, '[', KD_SAFETENSORS_HEADER_MAX);
    memcpy(deep, "{\"a\":{\"dtype\":", 14);
    write_st(temp("big.safetensors"), KD_SAFETENSORS_HEADER_MAX, deep, KD_SAFETENSORS_HEADER_MAX, 0);
    refused("deep", kd_safetensors_open(&s, temp("big.safetensors"), &e), &e, "a string");
    memset(deep, 'x', KD_SAFETENSORS_HEADER_MAX);
    memcpy(deep, "{\"", 2);
    write_st(temp("big.safetensors"), KD_SAFETENSORS_HEADER_MAX, deep, KD_SAFETENSORS_HEADER_MAX, 0);
    refused("one string", kd_safetensors_open(&s, temp("big.safetensors"), &e), &e, "the end of the string");
    free(deep);
}

static void index_file(const char *map) {
    kd_buf b = {0};
    kd_buf_printf(&b, "{\"metadata\":{\"total_size\":4,\"deep\":[[[{}]],true,null,-1.5e3]},\"weight_map\":%s}", map);
    put_file(temp("i/model.safetensors.index.json"), b.data, b.len);
    kd_buf_clear(&b);
}

static void indexes(void **state) {
    (void)state;
    static const struct {
        const char *what, *map, *word;
    } BAD[] = {
        {"outside", "{\"a\":\"../secret.safetensors\"}", "of the same folder"},
        {"absolute", "{\"a\":\"/etc/secret.safetensors\"}", "of the same folder"},
        {"another kind", "{\"a\":\"passwd\"}", "of the same folder"},
        {"empty", "{\"a\":\"\"}", "of the same folder"},
        {"missing", "{\"a\":\"none.safetensors\"}", "none.safetensors"},
        {"link out", "{\"a\":\"link.safetensors\"}", "leads out"},
        {"not there", "{\"a\":\"ok.safetensors\",\"b\":\"ok.safetensors\"}", "tensor b is not in"},
        {"twice", "{\"a\":\"ok.safetensors\",\"a\":\"ok.safetensors\"}", "names tensor a twice"},
        {"in two files", "{\"a\":\"ok.safetensors\",\"b\":\"same.safetensors\"}", "tensor a is there twice"},
        {"a list", "[]", "'{'"},
        {"a number", "{\"a\":1}", "a string"},
        {"itself", "{\"a\":\"model.safetensors.index.json\"}", "of the same folder"},
    };
    must(kd_mkdirs(temp("i"), er));
    const char *h = "{\"a\":" T("F32", "[1]", "[0,4]") "}";
    write_st(temp("i/ok.safetensors"), strlen(h), h, strlen(h), 4);
    write_st(temp("i/same.safetensors"), strlen(h), h, strlen(h), 4);
    write_st(temp("secret.safetensors"), strlen(h), h, strlen(h), 4);
    assert_int_equal(symlink("../secret.safetensors", temp("i/link.safetensors")), 0);
    assert_int_equal(symlink("ok.safetensors", temp("i/inside.safetensors")), 0);
    kd_safetensors *s;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        kd_err e = {0};
        index_file(BAD[i].map);
        refused(BAD[i].what, kd_safetensors_open(&s, temp("i"), &e), &e, BAD[i].word);
    }
    index_file("{\"a\":\"inside.safetensors\"}");
    must(kd_safetensors_open(&s, temp("i"), er));
    kd_safetensors_close(s);
    /* the hub's cache: every file of a snapshot is a link to blobs beside it */
    must(kd_mkdirs(temp("hub/snapshots/abc"), er));
    must(kd_mkdirs(temp("hub/blobs"), er));
    write_st(temp("hub/blobs/0123"), strlen(h), h, strlen(h), 4);
    assert_int_equal(symlink("../../blobs/0123", temp("hub/snapshots/abc/model.safetensors")), 0);
    must(kd_safetensors_open(&s, temp("hub/snapshots/abc"), er));
    kd_safetensors_close(s);
    kd_err e = {0};
    must(kd_mkdirs(temp("links"), er));
    assert_int_equal(symlink("../secret.safetensors", temp("links/model.safetensors")), 0);
    refused("a folder's model is a link out", kd_safetensors_open(&s, temp("links"), &e), &e, "leads out");
    must(kd_mkdirs(temp("nothing"), er));
    assert_int_equal(kd_safetensors_open(&s, temp("nothing"), &e), KD_ENOENT);
}

static void no_memory(void **state) {
    (void)state;
    static const char *const PATHS[] = {GOLDEN "one.safetensors", GOLDEN "sharded"};
    for (int p = 0; p < 2; p++)
        for (long n = 1;; n++) {
            kd_safetensors *s;
            kd_err e = {0};
            kd_alloc_fail_at(n);
            kd_code c = kd_safetensors_open(&s, PATHS[p], &e);
            bool reached = kd_alloc_count() >= n;
            kd_alloc_fail_at(0);
            kd_safetensors_close(s);
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
        kd_code c = copy(GOLDEN "one.safetensors", temp("mem.safetensors"), 100, 1000, &e);
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
        cmocka_unit_test(large),     cmocka_unit_test(golden),  cmocka_unit_test(round_trip), cmocka_unit_test(writer_refuses),
        cmocka_unit_test(truncated), cmocka_unit_test(hostile), cmocka_unit_test(indexes),    cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
