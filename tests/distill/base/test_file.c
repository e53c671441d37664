/* tests/distill/base/test_file.c */
#include "check.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>

static char *dir;
static char *at(const char *name) {
    static char path[4][512];
    static int turn;
    char *p = path[turn++ % 4];
    (void)snprintf(p, 512, "%s/%s", dir, name);
    return p;
}

static void test_write_and_map(void **state) {
    (void)state;
    kd_err e = {0};
    kd_map *m;
    assert_int_equal(kd_file_write(at("a"), "hello", 5, &e), KD_OK);
    assert_int_equal(kd_map_open(&m, at("a"), &e), KD_OK);
    assert_int_equal(kd_map_size(m), 5);
    assert_memory_equal(kd_map_data(m), "hello", 5);
    kd_map_advise(m, 2, SIZE_MAX, KD_MAP_DONTNEED);
    kd_map_advise(m, 9, 1, KD_MAP_WILLNEED);
    /* replaced by rename: the map keeps the old contents */
    assert_int_equal(kd_file_write(at("a"), "bye", 3, &e), KD_OK);
    assert_memory_equal(kd_map_data(m), "hello", 5);
    kd_map_close(m);
    kd_map_close(NULL);
    assert_int_equal(kd_file_write(at("empty"), NULL, 0, &e), KD_OK);
    assert_int_equal(kd_map_open(&m, at("empty"), &e), KD_OK);
    assert_int_equal(kd_map_size(m), 0);
    kd_map_close(m);
}

static void test_map_refuses(void **state) {
    (void)state;
    kd_err e = {0};
    kd_map *m;
    assert_int_equal(kd_map_open(&m, at("none"), &e), KD_ENOENT);
    assert_null(m);
    assert_non_null(strstr(e.msg, "none"));
    assert_int_equal(kd_map_open(&m, dir, &e), KD_ENOENT);
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    assert_int_equal(kd_map_open(&m, at("fifo"), &e), KD_ENOENT); /* and does not wait for a writer */
    assert_int_equal(kd_map_open(&m, "/dev/null", &e), KD_ENOENT);
}

static void test_read(void **state) {
    (void)state;
    kd_err e = {0};
    kd_buf b = {0};
    assert_int_equal(kd_file_write(at("r"), "0123456789", 10, &e), KD_OK);
    assert_int_equal(kd_buf_puts(&b, "<"), KD_OK);
    assert_int_equal(kd_file_read(&b, at("r"), 10, &e), KD_OK);
    assert_string_equal(b.data, "<0123456789");
    assert_int_equal(kd_file_read(&b, at("r"), 9, &e), KD_EFORMAT);
    assert_string_equal(b.data, "<0123456789");
    assert_int_equal(kd_file_read(&b, at("none"), 9, &e), KD_ENOENT);
    assert_int_equal(kd_file_read(&b, dir, 9, &e), KD_ENOENT);
    b.len = 0;
    assert_int_equal(kd_file_read(&b, "/proc/self/stat", 1 << 20, &e), KD_OK); /* says it is 0 bytes long */
    assert_true(b.len > 10);
    kd_buf_clear(&b);
}

static size_t entries(void) {
    char **names;
    size_t n;
    assert_int_equal(kd_list_dir(dir, &names, &n, NULL), KD_OK);
    kd_names_free(names, n);
    return n;
}

static void test_writer(void **state) {
    (void)state;
    kd_err e = {0};
    kd_writer *w;
    const size_t before = entries();
    assert_int_equal(kd_writer_open(&w, at("w"), &e), KD_OK);
    char big[300000];
    memset(big, 'b', sizeof big);
    assert_int_equal(kd_writer_write(w, "head", 4, &e), KD_OK);
    assert_int_equal(kd_writer_write(w, big, sizeof big, &e), KD_OK);
    assert_int_equal(kd_writer_pad(w, 5000, &e), KD_OK);
    assert_int_equal(kd_writer_write(w, "tail", 4, &e), KD_OK);
    assert_int_equal(kd_writer_offset(w), 4 + sizeof big + 5000 + 4);
    assert_int_equal(kd_writer_at(w, 0, "HEAD", 4, &e), KD_OK);
    assert_int_equal(kd_writer_at(w, kd_writer_offset(w) + 2, "far", 3, &e), KD_OK);
    assert_false(kd_file_exists(at("w"))); /* not before commit */
    assert_int_equal(kd_writer_commit(w, &e), KD_OK);
    kd_writer_close(w);
    kd_buf b = {0};
    assert_int_equal(kd_file_read(&b, at("w"), 1 << 20, &e), KD_OK);
    assert_int_equal(b.len, 4 + sizeof big + 5000 + 4 + 2 + 3);
    assert_memory_equal(b.data, "HEADbbb", 7);
    assert_memory_equal(b.data + 4 + sizeof big + 4999, "\0tail\0\0far", 10);
    kd_buf_clear(&b);
    assert_int_equal(entries(), before + 1);
    /* closing without commit leaves nothing, and what was there stays */
    assert_int_equal(kd_writer_open(&w, at("w"), &e), KD_OK);
    assert_int_equal(kd_writer_write(w, "x", 1, &e), KD_OK);
    kd_writer_close(w);
    kd_writer_close(NULL);
    assert_int_equal(entries(), before + 1);
    uint64_t size;
    assert_int_equal(kd_file_size(at("w"), &size, &e), KD_OK);
    assert_int_equal(size, 4 + sizeof big + 5000 + 4 + 2 + 3);
}

static void test_writer_refuses(void **state) {
    (void)state;
    kd_err e = {0};
    kd_writer *w;
    assert_int_equal(kd_writer_open(&w, at("no/such/folder"), &e), KD_ECREATE);
    assert_int_equal(kd_writer_open(&w, dir, &e), KD_ECREATE);
    assert_int_equal(kd_writer_open(&w, "/dev/null", &e), KD_ECREATE); /* rename would replace the device */
    assert_null(w);
}

static void test_writer_keeps_the_mode(void **state) {
    (void)state;
    struct stat st;
    assert_int_equal(kd_file_write(at("mode"), "1", 1, NULL), KD_OK);
    assert_int_equal(chmod(at("mode"), 0600), 0);
    assert_int_equal(kd_file_write(at("mode"), "2", 1, NULL), KD_OK);
    assert_int_equal(stat(at("mode"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* A full disk, played by a limit on file size: the first error sticks, commit reports it, the old file stays. */
static void test_full_disk(void **state) {
    (void)state;
    kd_err e = {0};
    kd_writer *w;
    struct rlimit old, small;
    char block[4096] = {0};
    assert_int_equal(kd_file_write(at("full"), "old", 3, &e), KD_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 8192;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(kd_writer_open(&w, at("full"), &e), KD_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    kd_code c = KD_OK;
    for (int i = 0; i < 200 && !c; i++) c = kd_writer_write(w, block, sizeof block, &e);
    assert_int_equal(c, KD_EIO);
    assert_int_equal(kd_writer_write(w, "x", 1, &e), KD_EIO);
    kd_err second = {0};
    assert_int_equal(kd_writer_commit(w, &second), KD_EIO);
    assert_non_null(strstr(second.msg, "full"));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    kd_writer_close(w);
    kd_buf b = {0};
    assert_int_equal(kd_file_read(&b, at("full"), 100, &e), KD_OK);
    assert_string_equal(b.data, "old");
    kd_buf_clear(&b);
}

/* Killed at any moment, a writer leaves the old file or the new one. */
static void test_killed(void **state) {
    (void)state;
    static char old_text[200000], new_text[200000];
    memset(old_text, 'o', sizeof old_text);
    memset(new_text, 'n', sizeof new_text);
    int changed = 0;
    for (int round = 0; round < 40; round++) {
        assert_int_equal(kd_file_write(at("k"), old_text, sizeof old_text, NULL), KD_OK);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            (void)kd_file_write(at("k"), new_text, sizeof new_text, NULL);
            _exit(0);
        }
        (void)usleep((useconds_t)(round * 100));
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        kd_buf b = {0};
        assert_int_equal(kd_file_read(&b, at("k"), 1 << 20, NULL), KD_OK);
        assert_int_equal(b.len, sizeof old_text);
        assert_true(memcmp(b.data, old_text, b.len) == 0 || memcmp(b.data, new_text, b.len) == 0);
        changed += b.data[0] == 'n';
        kd_buf_clear(&b);
    }
    print_message("# killed 40 times, %d after the rename\n", changed);
}

static void test_folders(void **state) {
    (void)state;
    kd_err e = {0};
    char **names;
    size_t n;
    assert_int_equal(kd_mkdirs(at("d/e//f/"), &e), KD_OK);
    assert_int_equal(kd_mkdirs(at("d/e/f"), &e), KD_OK);
    assert_true(kd_is_dir(at("d/e/f")));
    assert_int_equal(kd_file_write(at("d/e/file"), "x", 1, &e), KD_OK);
    assert_int_equal(kd_mkdirs(at("d/e/file/g"), &e), KD_ECREATE);
    assert_int_equal(kd_mkdirs(at("d/e/file"), &e), KD_ECREATE);
    assert_int_equal(symlink(dir, at("d/e/link")), 0);
    assert_int_equal(kd_list_dir(at("d/e"), &names, &n, &e), KD_OK);
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "f");
    assert_string_equal(names[1], "file");
    assert_string_equal(names[2], "link");
    kd_names_free(names, n);
    assert_int_equal(kd_list_dir(at("none"), &names, &n, &e), KD_ENOENT);
    assert_int_equal(kd_mkdirs(at("target"), &e), KD_OK);
    assert_int_equal(kd_rename_dir(at("d"), at("target"), &e), KD_ECREATE); /* must not exist */
    assert_int_equal(kd_rename_dir(at("d"), at("d2"), &e), KD_OK);
    assert_int_equal(kd_remove_tree(at("d2"), &e), KD_OK);
    assert_true(kd_is_dir(dir)); /* the link in it was not followed */
    assert_true(kd_file_exists(at("a")));
    assert_int_equal(kd_remove_tree(at("d2"), &e), KD_OK);
    uint64_t bytes = 0;
    assert_int_equal(kd_disk_free(at("not/there/yet"), &bytes, &e), KD_OK);
    assert_true(bytes > 0);
    assert_int_equal(kd_file_size(at("not/there"), &bytes, &e), KD_ENOENT);
}

static void test_paths(void **state) {
    (void)state;
    char *p = kd_path_join("a", "b");
    assert_string_equal(p, "a/b");
    kd_free(p);
    p = kd_path_join("a/", "b");
    assert_string_equal(p, "a/b");
    kd_free(p);
    p = kd_path_join("", "b");
    assert_string_equal(p, "b");
    kd_free(p);
    assert_string_equal(kd_path_base("x/y/z.gguf"), "z.gguf");
    assert_string_equal(kd_path_base("z"), "z");
    assert_true(kd_path_plain(KD_STR("model-00001-of-00002.safetensors")));
    assert_true(kd_path_plain(KD_STR("..a")));
    static const kd_str bad[] = {{"", 0}, {".", 1}, {"..", 2}, {"a/b", 3}, {"/", 1}, {"a\0b", 3}, {"a\nb", 3}, {"\x7f", 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(kd_path_plain(bad[i]));
    char longest[256];
    memset(longest, 'l', sizeof longest);
    assert_true(kd_path_plain((kd_str){longest, 255}));
    assert_false(kd_path_plain((kd_str){longest, 256}));
}

static kd_code read_again(kd_buf *b) {
    *b = (kd_buf){0};
    const kd_code c = kd_file_read(b, at("w"), 1 << 20, NULL);
    if (c) kd_buf_clear(b);
    return c;
}

static void test_sweep(void **state) {
    (void)state;
    kd_err e = {0};
    kd_map *m = NULL;
    kd_buf b;
    char **names;
    size_t n;
    uint64_t bytes;
    SWEEP(kd_map_open(&m, at("w"), &e), kd_map_close(m));
    SWEEP(read_again(&b), kd_buf_clear(&b));
    SWEEP(kd_file_write(at("s"), "x", 1, &e), );
    SWEEP(kd_mkdirs(at("p/q"), &e), );
    SWEEP(kd_list_dir(dir, &names, &n, &e), kd_names_free(names, n));
    SWEEP(kd_disk_free(at("x/y"), &bytes, &e), );
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_write_and_map),  cmocka_unit_test(test_map_refuses),
                                       cmocka_unit_test(test_read),           cmocka_unit_test(test_writer),
                                       cmocka_unit_test(test_writer_refuses), cmocka_unit_test(test_writer_keeps_the_mode),
                                       cmocka_unit_test(test_full_disk),      cmocka_unit_test(test_killed),
                                       cmocka_unit_test(test_folders),        cmocka_unit_test(test_paths),
                                       cmocka_unit_test(test_sweep)};
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
