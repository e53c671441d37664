/* tests/distill/base/test_gz.c - gzip files are made by Debian's gzip, not by ourselves. */
#include "check.h"

#include "distill/base/gz.h"

static char *dir;
static char path[600];

static void write_file(const char *name, const void *p, size_t n) {
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(kd_file_write(path, p, n, NULL), KD_OK);
}

static void test_there_and_back(void **state) {
    (void)state;
    kd_err e = {0};
    for (size_t n = 0; n < 300000; n = n * 3 + 1) {
        kd_buf in = {0}, z = {0}, out = {0};
        for (size_t i = 0; i < n; i++) assert_int_equal(kd_buf_putc(&in, (char)(i * i >> 5)), KD_OK);
        assert_int_equal(kd_buf_puts(&z, "before"), KD_OK);
        assert_int_equal(kd_zip(&z, in.data, n, 6, &e), KD_OK);
        assert_memory_equal(z.data, "before", 6);
        assert_int_equal(kd_buf_puts(&out, "kept"), KD_OK);
        assert_int_equal(kd_unzip(&out, z.data + 6, z.len - 6, n, &e), KD_OK);
        assert_int_equal(out.len, n + 4);
        if (n) assert_memory_equal(out.data + 4, in.data, n);
        if (n) {
            out.len = 4;
            assert_int_equal(kd_unzip(&out, z.data + 6, z.len - 6, n - 1, &e), KD_EFORMAT);
            assert_int_equal(out.len, 4);
        }
        assert_int_equal(kd_buf_putc(&z, 'x'), KD_OK);
        assert_int_equal(kd_unzip(&out, z.data + 6, z.len - 6, n, &e), KD_EFORMAT); /* a byte behind the end */
        kd_buf_clear(&in);
        kd_buf_clear(&z);
        kd_buf_clear(&out);
    }
}

static void test_damaged(void **state) {
    (void)state;
    kd_buf z = {0}, out = {0};
    kd_err e = {0};
    assert_int_equal(kd_zip(&z, "hello hello hello hello", 23, 9, &e), KD_OK);
    for (size_t n = 0; n < z.len; n++) assert_int_equal(kd_unzip(&out, z.data, n, 100, &e), KD_EFORMAT);
    for (size_t i = 0; i < z.len; i++) {
        z.data[i] ^= 0x55;
        out.len = 0;
        const kd_code c = kd_unzip(&out, z.data, z.len, 100, &e);
        assert_true(c == KD_EFORMAT); /* the checksum, if nothing else, must tell */
        z.data[i] ^= 0x55;
    }
    assert_int_equal(kd_unzip(&out, "not zlib at all", 15, 100, &e), KD_EFORMAT);
    assert_int_equal(kd_zip(&z, "", 0, 0, &e), KD_EINVAL);
    kd_buf_clear(&z);
    kd_buf_clear(&out);
}

/* A small stream that holds a great deal is stopped at the limit, not at the end of memory. */
static void test_bomb(void **state) {
    (void)state;
    kd_buf z = {0}, out = {0};
    char *zeros = kd_calloc(1, 50 << 20);
    assert_int_equal(kd_zip(&z, zeros, 50 << 20, 9, NULL), KD_OK);
    kd_free(zeros);
    assert_true(z.len < 100000);
    assert_int_equal(kd_unzip(&out, z.data, z.len, 1 << 20, NULL), KD_EFORMAT);
    assert_true(out.cap < 8 << 20);
    kd_buf_clear(&z);
    kd_buf_clear(&out);
}

static void lines_are(const char *const *expected, const size_t *lengths, size_t n) {
    kd_lines *l;
    kd_str line;
    bool more;
    kd_err e = {0};
    assert_int_equal(kd_lines_open(&l, path, &e), KD_OK);
    for (size_t i = 0; i < n; i++) {
        if (kd_lines_next(l, &line, &more, &e)) fail_msg("%s", e.msg);
        assert_true(more);
        assert_int_equal(line.len, lengths[i]);
        assert_memory_equal(line.data, expected[i], lengths[i]);
        assert_int_equal(kd_lines_number(l), i + 1);
    }
    assert_int_equal(kd_lines_next(l, &line, &more, &e), KD_OK);
    assert_false(more);
    assert_int_equal(kd_lines_next(l, &line, &more, &e), KD_OK);
    assert_false(more);
    uint64_t done, total;
    kd_lines_progress(l, &done, &total);
    assert_int_equal(done, total);
    kd_lines_close(l);
    kd_lines_close(NULL);
}

static void test_lines(void **state) {
    (void)state;
    static const char text[] = "one\n\ntw\0o\r\nthr\ree\n last";
    static const char *const expected[] = {"one", "", "tw\0o", "thr\ree", " last"};
    static const size_t lengths[] = {3, 0, 4, 6, 5};
    write_file("plain", text, sizeof text - 1);
    lines_are(expected, lengths, 5);
    write_file("empty", "", 0);
    lines_are(NULL, NULL, 0);
    write_file("byte", "\n", 1);
    lines_are((const char *const[]){""}, (const size_t[]){0}, 1);
    char command[1400];
    write_file("t", text, sizeof text - 1);
    (void)snprintf(command, sizeof command,
                   "cd %s && gzip -c t > t.gz && head -c 5 t > a && tail -c +6 t > b && gzip a b && cat a.gz b.gz > two.gz && (cat two.gz; "
                   "head -c 100 /dev/zero) > zeros.gz",
                   dir);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c)
    static const char *const names[] = {"t.gz", "two.gz", "zeros.gz"};
    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        lines_are(expected, lengths, 5);
    }
}

static kd_code read_all(size_t *lines, kd_err *e) {
    kd_lines *l;
    kd_str line;
    bool more = true;
    kd_code c = kd_lines_open(&l, path, e);
    *lines = 0;
    while (!c && more)
        if (!(c = kd_lines_next(l, &line, &more, e))) *lines += more;
    kd_lines_close(l);
    return c;
}

static void test_long_lines(void **state) {
    (void)state;
    kd_buf b = {0};
    size_t n;
    for (int i = 0; i < 50; i++) {
        for (int k = 0; k < i * 20000; k++) (void)kd_buf_putc(&b, 'x');
        (void)kd_buf_putc(&b, '\n');
    }
    write_file("long", b.data, b.len);
    assert_int_equal(read_all(&n, NULL), KD_OK);
    assert_int_equal(n, 50);
    kd_buf_clear(&b);
}

static void test_lines_refuse(void **state) {
    (void)state;
    kd_err e = {0};
    size_t n;
    kd_buf gz = {0};
    (void)snprintf(path, sizeof path, "%s/t.gz", dir);
    assert_int_equal(kd_file_read(&gz, path, 1 << 20, &e), KD_OK);
    for (size_t cut = 2; cut < gz.len; cut++) { /* cut anywhere, it is not whole */
        write_file("cut.gz", gz.data, cut);
        assert_int_equal(read_all(&n, &e), KD_EFORMAT);
    }
    assert_int_equal(kd_buf_puts(&gz, "garbage"), KD_OK);
    write_file("tail.gz", gz.data, gz.len);
    assert_int_equal(read_all(&n, &e), KD_EFORMAT);
    gz.data[gz.len - 12] ^= 1; /* the checksum */
    write_file("crc.gz", gz.data, gz.len - 7);
    assert_int_equal(read_all(&n, &e), KD_EFORMAT);
    assert_non_null(strstr(e.msg, "crc.gz"));
    kd_buf_clear(&gz);
    (void)snprintf(path, sizeof path, "%s/none", dir);
    assert_int_equal(read_all(&n, &e), KD_ENOENT);
    (void)snprintf(path, sizeof path, "%s", dir);
    assert_int_equal(read_all(&n, &e), KD_ENOENT);
}

static kd_code zip_twice(kd_buf *z, kd_buf *out) {
    *z = *out = (kd_buf){0};
    kd_code c = kd_zip(z, "some text to pack", 17, 6, NULL);
    if (!c) c = kd_unzip(out, z->data, z->len, 100, NULL);
    if (c) kd_buf_clear(z), kd_buf_clear(out);
    return c;
}

static void test_sweep(void **state) {
    (void)state;
    kd_buf z, out;
    size_t n;
    SWEEP(zip_twice(&z, &out), (kd_buf_clear(&z), kd_buf_clear(&out)));
    (void)snprintf(path, sizeof path, "%s/t.gz", dir);
    SWEEP(read_all(&n, NULL), );
    (void)snprintf(path, sizeof path, "%s/plain", dir);
    SWEEP(read_all(&n, NULL), );
}

static int make_dir(void **state) {
    (void)state;
    dir = scratch_folder();
    return 0;
}

static int drop_dir(void **state) {
    (void)state;
    scratch_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_damaged),
                                       cmocka_unit_test(test_bomb),           cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_long_lines),     cmocka_unit_test(test_lines_refuse),
                                       cmocka_unit_test(test_sweep)};
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
