/* tests/distill/base/test_hash.c - vectors of FIPS 180-4, of the SipHash paper's reference, of Random123 (kat_vectors). */
#include "check.h"

#include "distill/base/hash.h"
#include "distill/base/rng.h"

#include <math.h>

static void test_sha256(void **state) {
    (void)state;
    char hex[65];
    kd_sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    kd_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    kd_sha256_hex(two, sizeof two - 1, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    kd_sha256 s;
    unsigned char sum[32];
    char block[1000];
    memset(block, 'a', sizeof block);
    kd_sha256_init(&s);
    for (int i = 0; i < 1000; i++) kd_sha256_add(&s, block, sizeof block);
    kd_sha256_end(&s, sum);
    kd_hex(sum, 32, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_sha256_in_pieces(void **state) {
    (void)state;
    unsigned char data[300], sum[32];
    char whole[65], pieces[65];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * 7);
    for (size_t n = 0; n <= sizeof data; n++) {
        kd_sha256 s;
        kd_sha256_hex(data, n, whole);
        kd_sha256_init(&s);
        for (size_t at = 0, step = 1; at < n; at += step, step = step * 2 % 67 + 1)
            kd_sha256_add(&s, data + at, step < n - at ? step : n - at);
        kd_sha256_end(&s, sum);
        kd_hex(sum, 32, pieces);
        assert_string_equal(whole, pieces);
    }
}

static void test_sha256_file(void **state) {
    (void)state;
    char *dir = scratch_folder(), *path = kd_path_join(dir, "f"), hex[65];
    kd_err e = {0};
    assert_int_equal(kd_file_write(path, "abc", 3, &e), KD_OK);
    assert_int_equal(kd_sha256_file(path, hex, &e), KD_OK);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    SWEEP(kd_sha256_file(path, hex, &e), );
    assert_int_equal(kd_sha256_file(dir, hex, &e), KD_ENOENT);
    kd_free(path);
    scratch_remove(dir);
}

static void test_siphash(void **state) {
    (void)state;
    unsigned char in[16];
    for (int i = 0; i < 16; i++) in[i] = (unsigned char)i;
    const uint64_t k0 = 0x0706050403020100, k1 = 0x0f0e0d0c0b0a0908;
    assert_true(kd_siphash(in, 0, k0, k1) == 0x726fdb47dd0e0e31);
    assert_true(kd_siphash(in, 1, k0, k1) == 0x74f839c593dc67fd);
    assert_true(kd_siphash(in, 8, k0, k1) == 0x93f5f5799a932462);
    assert_true(kd_siphash(in, 15, k0, k1) == 0xa129ca6149be45e5);
    assert_true(kd_hash64("a", 1, 1) != kd_hash64("a", 1, 2));
    assert_true(kd_hash64("a", 1, 1) == kd_hash64("a", 1, 1));
}

static void philox_is(const uint32_t c[4], const uint32_t k[2], const uint32_t expected[4]) {
    uint32_t out[4];
    kd_philox(c, k, out);
    assert_memory_equal(out, expected, sizeof out);
}

static void test_philox(void **state) {
    (void)state;
    philox_is((uint32_t[]){0, 0, 0, 0}, (uint32_t[]){0, 0}, (uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    philox_is((uint32_t[]){~0u, ~0u, ~0u, ~0u}, (uint32_t[]){~0u, ~0u}, (uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    philox_is((uint32_t[]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, (uint32_t[]){0xa4093822, 0x299f31d0},
              (uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

static void test_streams(void **state) {
    (void)state;
    kd_rng r = {.key = 7, .stream = 3};
    for (uint64_t i = 0; i < 1000; i++) assert_true(kd_rng_u32(&r) == kd_rng_at(7, 3, i)); /* the nth number depends on n alone */
    assert_true(kd_rng_at(7, 3, 0) != kd_rng_at(7, 4, 0) && kd_rng_at(7, 3, 0) != kd_rng_at(8, 3, 0));
    assert_true(kd_rng_at((uint64_t)1 << 32, 0, 0) != kd_rng_at(0, 0, 0) && kd_rng_at(0, (uint64_t)1 << 32, 0) != kd_rng_at(0, 0, 0));
    assert_true(kd_rng_at(0, 0, (uint64_t)1 << 34) != kd_rng_at(0, 0, 0));
    r.n = 0;
    (void)kd_rng_uniform(&r);
    assert_true(r.n == 2);
    (void)kd_rng_normal(&r);
    assert_true(r.n == 6);
}

static void test_distributions(void **state) {
    (void)state;
    enum { N = 200000 };
    kd_rng r = {.key = 1};
    double sum = 0, square = 0, usum = 0;
    for (int i = 0; i < N; i++) {
        const double u = kd_rng_uniform(&r), x = kd_rng_normal(&r);
        assert_true(u >= 0 && u < 1);
        usum += u;
        sum += x;
        square += x * x;
    }
    /* five standard errors each */
    assert_true(fabs(usum / N - 0.5) < 5 / sqrt(12.0 * N));
    assert_true(fabs(sum / N) < 5 / sqrt(N));
    assert_true(fabs(square / N - 1) < 5 * sqrt(2.0 / N));
    int seen[7] = {0};
    for (int i = 0; i < 70000; i++) seen[kd_rng_below(&r, 7)]++;
    for (int i = 0; i < 7; i++) assert_true(abs(seen[i] - 10000) < 500);
    for (int i = 0; i < 100; i++) assert_true(kd_rng_below(&r, 1) == 0);
    for (int i = 0; i < 100; i++) assert_true(kd_rng_below(&r, ((uint64_t)1 << 63) + 1) <= (uint64_t)1 << 63);
}

static void test_shuffle(void **state) {
    (void)state;
    uint64_t v[100];
    bool there[100] = {false};
    int moved = 0;
    for (uint64_t i = 0; i < 100; i++) v[i] = i;
    kd_rng r = {.key = 5};
    kd_rng_shuffle(&r, v, 100);
    for (uint64_t i = 0; i < 100; i++) {
        assert_false(there[v[i]]);
        there[v[i]] = true;
        moved += v[i] != i;
    }
    assert_true(moved > 80);
    kd_rng_shuffle(&r, v, 0);
    kd_rng_shuffle(&r, v, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sha256),        cmocka_unit_test(test_sha256_in_pieces),
                                       cmocka_unit_test(test_sha256_file),   cmocka_unit_test(test_siphash),
                                       cmocka_unit_test(test_philox),        cmocka_unit_test(test_streams),
                                       cmocka_unit_test(test_distributions), cmocka_unit_test(test_shuffle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
