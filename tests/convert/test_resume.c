/* tests/convert/test_resume.c - a conversion that was killed, or stopped by a signal, goes on from what it wrote: into one GGUF file, split ones, a file that
 * must pass a check, a folder, a sharded one. What is no longer whole is computed anew; the result is the unbroken run's, and nothing lies beside it. */
#include "tests/convert/convert_help.h"

#include "convert/convert.h"

#include <sys/wait.h>
#include <unistd.h>

#define MODEL "tests/oracle/models/qwen3-untied"
enum { WINDOW = 4096 };

static kd_code passes(void *ctx, const char *path, kd_err *e) {
    (void)ctx;
    return kd_file_exists(path) ? KD_OK : kd_fail(e, KD_ECHECK, "%s: nothing there to check", path);
}

typedef struct {
    const char *name, *type;
    uint64_t split;
    bool check;
} way;
static const way WAYS[] = {{"one.gguf", "q8_0", 0, false},          {"split.gguf", "q8_0", 20000, false}, {"checked.gguf", "q8_0", 0, true},
                           {"both.gguf", "q8_0", 20000, true},      {"folder", "bf16", 0, false},         {"sharded", "bf16", 30000, true},
                           {"weights.safetensors", "f32", 0, false}};

static kd_code convert(const way *w, const char *dir, const kd_watch *watch, kd_convert_result *r, kd_err *e) {
    char dst[200];
    snprintf(dst, sizeof dst, "%s/%s", dir, w->name);
    return kd_convert(MODEL, dst,
                      &(kd_convert_options){.type = w->type, .window = WINDOW, .split_bytes = w->split, .check = w->check ? passes : NULL},
                      false, watch ? NULL : pool, watch, r, e);
}

/* 0: go on; then as a kill would, nobody cleaning up, or as a signal does. */
typedef struct {
    int left;
    bool kill;
} end;
static int end_now(void *ctx) {
    end *x = ctx;
    if (x->left-- > 0) return 0;
    if (x->kill) _exit(9);
    return KD_EINTERRUPT;
}

static void same_trees(const char *a, const char *b) {
    char command[300];
    snprintf(command, sizeof command, "diff -r %s %s", a, b);
    assert_int_equal(system(command), 0);
}

static char fresh[100], onward[100];
static void begin(const way *w) {
    snprintf(fresh, sizeof fresh, "%s/fresh", temp_dir);
    snprintf(onward, sizeof onward, "%s/onward", temp_dir);
    must(kd_remove_tree(fresh, er));
    must(kd_remove_tree(onward, er));
    must(kd_mkdirs(fresh, er));
    must(kd_mkdirs(onward, er));
    kd_convert_result r;
    must(convert(w, fresh, NULL, &r, er));
    assert_int_equal(r.resumed, 0);
}
static void broken_off(const way *w, int steps, bool kill) {
    int status;
    const pid_t child = fork();
    if (!child) {
        end x = {steps, kill};
        kd_watch watch = {.stop = end_now, .ctx = &x};
        _exit(convert(w, onward, &watch, NULL, NULL) == KD_EINTERRUPT ? 130 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), kill ? 9 : 130);
}

static void goes_on(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof WAYS / sizeof *WAYS; i++)
        for (int kill = 0; kill < 2; kill++) {
            const way *w = &WAYS[i];
            kd_convert_result r;
            begin(w);
            broken_off(w, 6, kill);
            must(convert(w, onward, NULL, &r, er));
            if (r.resumed < 4 * WINDOW) fail_msg("%s, %d: %llu bytes were taken over", w->name, kill, (unsigned long long)r.resumed);
            same_trees(fresh, onward);
            /* twice in a row: what the second took over is there for the third */
            begin(w);
            broken_off(w, 5, kill);
            broken_off(w, 8, !kill);
            must(convert(w, onward, NULL, &r, er));
            if (r.resumed < 6 * WINDOW) fail_msg("%s, %d: %llu bytes were taken over", w->name, kill, (unsigned long long)r.resumed);
            same_trees(fresh, onward);
        }
}

/* A byte of what was written last but two is not what it was: that window is computed, the others are taken. */
static void damaged(void **state) {
    (void)state;
    kd_convert_result r;
    char **names, left[300] = "";
    size_t n;
    uint64_t size;
    begin(&WAYS[0]);
    broken_off(&WAYS[0], 6, true);
    must(kd_list_dir(onward, &names, &n, er));
    for (size_t i = 0; i < n; i++)
        if (strstr(names[i], ".tmp-")) snprintf(left, sizeof left, "%s/%.100s", onward, names[i]);
    kd_names_free(names, n);
    must(kd_file_size(left, &size, er));
    FILE *f = fopen(left, "r+b");
    assert_non_null(f);
    /* the head takes no more than half of it: somewhere among the windows */
    for (long at = (long)size / 8; at < (long)size; at += (long)size / 8) {
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        const int byte = fgetc(f);
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        assert_int_equal(fputc(byte ^ 1, f), byte ^ 1);
    }
    fclose(f);
    must(convert(&WAYS[0], onward, NULL, &r, er));
    same_trees(fresh, onward);
}

/* Another type, another source, or a journal that is cut: nothing is taken. */
static void of_another(void **state) {
    (void)state;
    kd_convert_result r;
    const way other = {"one.gguf", "q5_0", 0, false};
    begin(&other);
    broken_off(&WAYS[0], 6, false);
    must(convert(&other, onward, NULL, &r, er));
    assert_int_equal(r.resumed, 0);
    same_trees(fresh, onward);
    begin(&WAYS[0]);
    broken_off(&WAYS[0], 6, false);
    char journal[200];
    snprintf(journal, sizeof journal, "%s/one.gguf.resume", onward);
    assert_int_equal(truncate(journal, 20), 0);
    must(convert(&WAYS[0], onward, NULL, &r, er));
    assert_int_equal(r.resumed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(goes_on), cmocka_unit_test(damaged), cmocka_unit_test(of_another)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
