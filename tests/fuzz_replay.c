/* tests/fuzz_replay.c - main of a fuzz entry outside a fuzzing build: runs it over the empty input, every file of its corpus, and every
 * truncation of each file under 4 KB, and prints TAP. The corpus of build/MODE/tests/ROOM/fuzz_NAME is tests/ROOM/corpus/fuzz_NAME,
 * looked for from the working folder up. Each input is copied to a heap block of exactly its size, so that ASan sees a byte too far. */
#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TRUNCATE_BELOW = 4096 };
static long inputs;

static void feed(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) abort();
    if (size) memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    inputs++;
}

/* tests/ROOM/corpus/fuzz_NAME out of .../tests/ROOM/fuzz_NAME; false if the program lies elsewhere. */
static int corpus_of(const char *program, char *out, size_t cap) {
    const char *tests = NULL;
    for (const char *p = program; (p = strstr(p, "tests/")); p++) tests = p;
    const char *name = strrchr(program, '/');
    if (!tests || !name || name < tests) return 0;
    const int n = snprintf(out, cap, "%.*s/corpus%s", (int)(name - tests), tests, name);
    return n > 0 && (size_t)n < cap;
}

static int feed_file(const char *path) {
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f) return 0;
    if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)fclose(f);
        return 0;
    }
    const size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size ? size : 1);
    const int ok = data && fread(data, 1, size, f) == size;
    (void)fclose(f);
    if (ok) {
        feed(data, size);
        for (size_t n = 0; size < TRUNCATE_BELOW && n < size; n++) feed(data, n);
    }
    free(data);
    return ok;
}

int main(int argc, char **argv) {
    char folder[PATH_MAX], path[2 * PATH_MAX];
    if (argc > 1) { /* files by name: to look at one finding */
        for (int i = 1; i < argc; i++)
            if (!feed_file(argv[i])) return fprintf(stderr, "%s: cannot be read\n", argv[i]), 66;
        return 0;
    }
    if (!corpus_of(argv[0], folder, sizeof folder)) return printf("1..1\nnot ok 1 - %s does not lie in a tests folder\n", argv[0]), 1;
    feed((const uint8_t *)"", 0);
    DIR *d = opendir(folder);
    int files = 0, bad = 0;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (entry->d_name[0] == '.') continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (feed_file(path))
            files++;
        else
            bad++;
    }
    if (d) (void)closedir(d);
    printf("1..1\n%s 1 - %s: %d files, %ld inputs\n", files > 0 && !bad ? "ok" : "not ok", folder, files, inputs);
    if (files == 0) printf("# no corpus\n");
    return files > 0 && !bad ? 0 : 1;
}
