/* tests/convert/test_hashes.c - inspect --verify against every place where the hash of a file may be known: right, wrong, missing, and lists of nonsense. */
#include "tests/convert/convert_help.h"

#include "convert/inspect.h"
#include "distill/base/file.h"
#include "distill/base/hash.h"

#include <unistd.h>

#define MODEL "tests/oracle/models/qwen2-tied"

static void copy(const char *name, const char *to) {
    kd_buf b = {0};
    char from[200];
    snprintf(from, sizeof from, MODEL "/%s", name);
    must(kd_file_read(&b, from, 1 << 24, er));
    must(kd_file_write(to, b.data, b.len, er));
    kd_buf_clear(&b);
}
static int with_model(void **state) {
    if (setup(state) || kd_mkdirs(temp("m"), NULL)) return -1;
    copy("config.json", temp("m/config.json"));
    copy("tokenizer.json", temp("m/tokenizer.json"));
    copy("tokenizer_config.json", temp("m/tokenizer_config.json"));
    copy("model.safetensors", temp("m/model.safetensors"));
    return 0;
}

/* Faults found, how many hashes were known; the report holds text (or NULL). */
static void verify(const char *path, size_t faults, int checked, const char *text) {
    kd_buf b = {0};
    kd_jsonw j = {.out = &b};
    size_t found = 0;
    char want[40];
    must(kd_inspect(&j, path, KD_INSPECT_VERIFY, NULL, &found, er));
    snprintf(want, sizeof want, "\"hashes_checked\":%d}", checked);
    if (found != faults || !strstr(b.data, want) || (text && !strstr(b.data, text))) fail_msg("%zu faults: %s", found, b.data);
    kd_buf_clear(&b);
}
static void write_list(const char *path, const char *weights, const char *config, const char *more) {
    char text[600];
    snprintf(text, sizeof text, "%s  model.safetensors\n%s *config.json\n%s", weights, config, more);
    must(kd_file_write(path, text, strlen(text), er));
}

static void hashes(void **state) {
    (void)state;
    char weights[65], config[65], wrong[65];
    must(kd_sha256_file(temp("m/model.safetensors"), weights, er));
    must(kd_sha256_file(temp("m/config.json"), config, er));
    memcpy(wrong, weights, sizeof wrong);
    wrong[63] = wrong[63] == '0' ? '1' : '0';
    verify(temp("m"), 0, 0, NULL);
    write_list(temp("m/SHA256SUMS"), weights, config, "");
    verify(temp("m"), 0, 2, NULL);
    write_list(temp("m/SHA256SUMS"), wrong, config, "");
    verify(temp("m"), 1, 2, "model.safetensors: SHA-256");
    write_list(temp("m/SHA256SUMS"), weights, wrong, "");
    verify(temp("m"), 1, 2, "config.json: SHA-256");
    /* a file that is not there; lines that say nothing, or point elsewhere */
    char more[400];
    snprintf(more, sizeof more, "%s  gone.json\n%s  ../../etc/passwd\n%.30s  config.json\nnonsense\n\n", wrong, wrong, wrong);
    write_list(temp("m/SHA256SUMS"), weights, config, more);
    verify(temp("m"), 1, 2, "gone.json: SHA256SUMS names it");
    must(kd_remove_tree(temp("m/SHA256SUMS"), er));
    /* beside the file alone */
    must(kd_file_write(temp("m/model.safetensors.sha256"), wrong, 64, er));
    verify(temp("m"), 1, 1, "by .sha256");
    must(kd_file_write(temp("m/model.safetensors.sha256"), weights, 64, er));
    verify(temp("m"), 0, 1, NULL);
    must(kd_remove_tree(temp("m/model.safetensors.sha256"), er));
    /* the hub's notes of a download: commit, hash, time */
    char notes[200];
    must(kd_mkdirs(temp("m/.cache/huggingface/download"), er));
    snprintf(notes, sizeof notes, "0123456789abcdef0123456789abcdef01234567\n%s\n1700000000.5\n", wrong);
    must(kd_file_write(temp("m/.cache/huggingface/download/model.safetensors.metadata"), notes, strlen(notes), er));
    verify(temp("m"), 1, 1, "the download's notes");
    must(kd_remove_tree(temp("m/.cache"), er));
    /* the hub's cache: a link to a file under its hash */
    char blob[90], link_to[100];
    must(kd_mkdirs(temp("hub/blobs"), er));
    must(kd_mkdirs(temp("hub/snapshots/r"), er));
    copy("config.json", temp("hub/snapshots/r/config.json"));
    copy("tokenizer.json", temp("hub/snapshots/r/tokenizer.json"));
    copy("tokenizer_config.json", temp("hub/snapshots/r/tokenizer_config.json"));
    for (int k = 0; k < 2; k++) {
        snprintf(blob, sizeof blob, "hub/blobs/%s", k ? wrong : weights);
        snprintf(link_to, sizeof link_to, "../../blobs/%s", k ? wrong : weights);
        copy("model.safetensors", temp(blob));
        assert_int_equal(symlink(link_to, temp("hub/snapshots/r/model.safetensors")), 0);
        verify(temp("hub/snapshots/r"), (size_t)k, 1, k ? "its name in the cache" : NULL);
        assert_int_equal(unlink(temp("hub/snapshots/r/model.safetensors")), 0);
    }
}

static void no_memory(void **state) {
    (void)state;
    char hash[65];
    must(kd_sha256_file(temp("m/model.safetensors"), hash, er));
    write_list(temp("m/SHA256SUMS"), hash, hash, "");
    for (long n = 1;; n++) {
        kd_buf b = {0};
        kd_jsonw j = {.out = &b};
        size_t found;
        kd_err e = {0};
        kd_alloc_fail_at(n);
        const kd_code c = kd_inspect(&j, temp("m"), KD_INSPECT_VERIFY, NULL, &found, &e);
        const bool reached = kd_alloc_count() >= n;
        kd_alloc_fail_at(0);
        kd_buf_clear(&b);
        if (c == KD_EBUG || (c && !e.msg[0])) fail_msg("allocation %ld: code %d, %s", n, c, e.msg);
        if (!reached) break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hashes), cmocka_unit_test(no_memory)};
    return cmocka_run_group_tests(tests, with_model, teardown);
}
