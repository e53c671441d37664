/* datasets/near_dup.c - shingles, MinHash bands, SimHash, and clusters of texts that are alike. Leans on near_dup.h, measures.h (windows of words). */
#include "datasets/near_dup.h"

#include "distill/base/hash.h"

#include <stdlib.h>
#include <string.h>

enum {
    FAR = 21,
    CROWD = 32,
    CHUNK = 4096
}; /* Hamming distance that no pair of Jaccard 0.7 keeps (5 sigma); first texts compared in a bucket */

typedef struct {
    uint64_t key;
    uint32_t id;
} keyed;

struct kd_near_dup {
    uint32_t *shingles;        /* of all texts, each text's sorted and without doubles */
    size_t *ends;              /* [n]: of its shingles */
    uint64_t *simhash, *whole; /* [n]: SimHash of its words; hash of its words in order */
    size_t n, n_shingles, shingles_cap, ends_cap, sim_cap, whole_cap;
    kd_scan_room room;
};

kd_code kd_near_dup_new(kd_near_dup **out, kd_err *e) {
    *out = kd_calloc(1, sizeof **out);
    return *out ? KD_OK : kd_fail(e, KD_ENOMEM, "near-duplicates: no memory");
}

void kd_near_dup_free(kd_near_dup *d) {
    if (!d) return;
    kd_free(d->shingles);
    kd_free(d->ends);
    kd_free(d->simhash);
    kd_free(d->whole);
    kd_scan_room_clear(&d->room);
    kd_free(d);
}

size_t kd_near_dup_count(const kd_near_dup *d) { return d->n; }

static uint64_t mix(uint64_t x) {
    x ^= x >> 31;
    x *= 0x7fb5d329728ea185ULL;
    x ^= x >> 27;
    x *= 0x81dadef4bc2dd44dULL;
    return x ^ x >> 33;
}

static int by_value(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Insertion for the short, qsort for the long. */
static void sort_values(uint32_t *v, size_t n) {
    if (n > 64) {
        qsort(v, n, sizeof *v, by_value);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        const uint32_t x = v[i];
        size_t k = i;
        for (; k && v[k - 1] > x; k--) v[k] = v[k - 1];
        v[k] = x;
    }
}

/* Each bit is the majority of that bit over the hashes (Charikar 2002). Counted in bytes, eight bits a step. */
static uint64_t simhash_of(const kd_word *w, size_t n) {
    int32_t count[64] = {0};
    uint64_t h = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t x = mix(w[i].hash);
        for (int b = 0; b < 64; b++) count[b] += (int)(x >> b & 1);
    }
    for (int b = 0; b < 64; b++) h |= (uint64_t)(2 * count[b] > (int32_t)n) << b;
    return h;
}

kd_code kd_near_dup_add(kd_near_dup *d, kd_str text, kd_err *e) {
    kd_scan scan;
    kd_code rc = kd_scan_text(&scan, &d->room, text, e);
    if (rc) return rc;
    const size_t most = scan.n_words > KD_SHINGLE ? scan.n_words - KD_SHINGLE + 1 : 1;
    if (d->n >= UINT32_MAX - 1) return kd_fail(e, KD_ELIMIT, "near-duplicates: more than %u texts", UINT32_MAX - 1);
    if (kd_grow((void **)&d->shingles, &d->shingles_cap, d->n_shingles + most, sizeof *d->shingles) ||
        kd_grow((void **)&d->ends, &d->ends_cap, d->n + 1, sizeof *d->ends) ||
        kd_grow((void **)&d->simhash, &d->sim_cap, d->n + 1, sizeof *d->simhash) ||
        kd_grow((void **)&d->whole, &d->whole_cap, d->n + 1, sizeof *d->whole))
        return kd_fail(e, KD_ENOMEM, "near-duplicates: no memory for text %zu", d->n + 1);
    uint32_t *s = d->shingles + d->n_shingles;
    uint64_t whole = scan.n_words;
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < scan.n_words; i++) whole = mix(whole + scan.words[i].hash);
    for (size_t i = 0; i + KD_SHINGLE <= scan.n_words; i++) {
        uint64_t h = 0;
        for (size_t k = 0; k < KD_SHINGLE; k++) h = (h ^ scan.words[i + k].hash) * 0x9e3779b97f4a7c15ULL;
        s[n++] = (uint32_t)(mix(h) >> 32);
    }
    if (!n) s[n++] = (uint32_t)(whole >> 32); /* too short for one: the words as they are */
    sort_values(s, n);
    for (size_t i = 0; i < n; i++)
        if (!i || s[i] != s[i - 1]) s[kept++] = s[i];
    d->n_shingles += kept;
    d->ends[d->n] = d->n_shingles;
    d->simhash[d->n] = simhash_of(scan.words, scan.n_words);
    d->whole[d->n++] = whole;
    return KD_OK;
}

double kd_near_dup_jaccard(const kd_near_dup *d, size_t a, size_t b) {
    const uint32_t *x = d->shingles + (a ? d->ends[a - 1] : 0), *y = d->shingles + (b ? d->ends[b - 1] : 0);
    const uint32_t *xe = d->shingles + d->ends[a], *ye = d->shingles + d->ends[b];
    const size_t all = (size_t)(xe - x) + (size_t)(ye - y);
    size_t both = 0;
    while (x < xe && y < ye) {
        const uint32_t p = *x, q = *y;
        both += p == q;
        x += p <= q;
        y += q <= p;
    }
    return (double)both / (double)(all - both);
}

/* ---- a band ---- */
typedef struct {
    const kd_near_dup *d;
    keyed *keys;
    uint32_t a[KD_BAND_ROWS], b[KD_BAND_ROWS]; /* of the band's hash functions */
} banding;

/* Keys of CHUNK texts: for each of the band's rows the least a x + b (mod 2^32) over the shingles. */
static void key_texts(void *ctx, size_t task, int worker) {
    const banding *g = ctx;
    const kd_near_dup *d = g->d;
    const size_t to = (task + 1) * CHUNK < d->n ? (task + 1) * CHUNK : d->n;
    (void)worker;
    for (size_t i = task * CHUNK; i < to; i++) {
        const uint32_t *s = d->shingles + (i ? d->ends[i - 1] : 0), *end = d->shingles + d->ends[i];
        uint32_t least[KD_BAND_ROWS];
        memset(least, 0xff, sizeof least);
        for (; s < end; s++)
            for (int r = 0; r < KD_BAND_ROWS; r++) {
                uint32_t h = *s * g->a[r] + g->b[r];
                h ^= h >> 15; /* high bits alone are not even enough for a minimum */
                h *= 0x2c1b3c6dU;
                least[r] = h < least[r] ? h : least[r];
            }
        uint64_t key = 0;
        for (int r = 0; r < KD_BAND_ROWS; r++) key = mix(key ^ least[r]);
        g->keys[i] = (keyed){key, (uint32_t)i};
    }
}

/* By key, texts of the same key in order: radix, least byte first, of the low 40 bits of the key; that is enough to bring equal ones together. */
static void sort_keys(keyed *v, keyed *tmp, size_t n) {
    for (int shift = 0; shift < 40; shift += 8) {
        size_t count[257] = {0};
        for (size_t i = 0; i < n; i++) count[(v[i].key >> shift & 255) + 1]++;
        for (int b = 0; b < 256; b++) count[b + 1] += count[b];
        for (size_t i = 0; i < n; i++) tmp[count[v[i].key >> shift & 255]++] = v[i];
        keyed *t = v;
        v = tmp;
        tmp = t;
    }
    memcpy(tmp, v, n * sizeof *v); /* five passes: the result lies in what was tmp */
}

static uint32_t root_of(kd_near_like *l, uint32_t i) {
    while (l[i].first != i) i = l[i].first = l[l[i].first].first;
    return i;
}

/* The later one of two clusters joins the earlier; what it was like is told of the later text. */
static void join(kd_near_like *l, uint32_t a, uint32_t b, float similarity) {
    const uint32_t x = root_of(l, a), y = root_of(l, b);
    if (x == y) return;
    const uint32_t low = x < y ? x : y, high = x < y ? y : x, later = a > b ? a : b;
    l[high].first = low;
    if (l[later].similarity < similarity) {
        l[later].like = a < b ? a : b;
        l[later].similarity = similarity;
    }
}

static bool far(const kd_near_dup *d, uint32_t a, uint32_t b) { return __builtin_popcountll(d->simhash[a] ^ d->simhash[b]) > FAR; }

/* One bucket: texts of one key, in order. */
static void compare_bucket(const kd_near_dup *d, const keyed *v, size_t n, double threshold, kd_near_like *l, kd_near_report *r) {
    uint32_t heads[CROWD];
    size_t n_heads = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t id = v[i].id;
        bool found = false;
        for (size_t k = 0; k < n_heads && !found; k++) {
            if ((found = root_of(l, heads[k]) == root_of(l, id))) break;
            r->candidates++;
            if (far(d, heads[k], id)) continue;
            r->compared++;
            const double j = kd_near_dup_jaccard(d, heads[k], id);
            if (j < threshold) continue;
            join(l, heads[k], id, (float)j);
            found = true;
        }
        if (!found && n_heads < CROWD) heads[n_heads++] = id;
    }
}

static void compare_band(const kd_near_dup *d, const keyed *v, double threshold, kd_near_like *l, kd_near_report *r) {
    for (size_t i = 0, k; i < d->n; i = k) {
        for (k = i + 1; k < d->n && v[k].key == v[i].key;) k++;
        if (k - i > 1) compare_bucket(d, v + i, k - i, threshold, l, r);
    }
}

/* Texts of the same words, told before any band. */
static void find_exact(const kd_near_dup *d, keyed *v, keyed *tmp, kd_near_like *l, kd_near_report *r) {
    for (size_t i = 0; i < d->n; i++) v[i] = (keyed){d->whole[i], (uint32_t)i};
    sort_keys(v, tmp, d->n);
    for (size_t i = 0, k; i < d->n; i = k)
        for (k = i + 1; k < d->n && v[k].key == v[i].key; k++) {
            join(l, v[i].id, v[k].id, 1);
            r->exact++;
        }
}

kd_code kd_near_dup_find(kd_near_dup *d, double threshold, kd_pool *pool, kd_near_like *l, const kd_watch *w, kd_near_report *r,
                         kd_err *e) {
    banding g = {.d = d};
    kd_event ev = {KD_EV_BEGIN, "dedup", 0, KD_BANDS, "bands", NULL};
    kd_code rc = KD_OK;
    *r = (kd_near_report){0};
    if (!(threshold > 0 && threshold <= 1))
        return kd_fail(e, KD_EINVAL, "near-duplicates: expected a threshold within (0, 1], found %g", threshold);
    keyed *tmp = kd_realloc_array(NULL, d->n + 1, sizeof *tmp);
    g.keys = kd_realloc_array(NULL, d->n + 1, sizeof *g.keys);
    if (!tmp || !g.keys) rc = kd_fail(e, KD_ENOMEM, "near-duplicates: no memory for %zu texts", d->n);
    for (size_t i = 0; i < d->n; i++) l[i] = (kd_near_like){(uint32_t)i, (uint32_t)i, 0};
    if (!rc) find_exact(d, g.keys, tmp, l, r);
    kd_emit(w, ev);
    ev.kind = KD_EV_STEP;
    for (int band = 0; band < KD_BANDS && !rc; band++) {
        for (int i = 0; i < KD_BAND_ROWS; i++) {
            const uint64_t h = mix((uint64_t)(unsigned)(band * KD_BAND_ROWS + i + 1) * 0x9e3779b97f4a7c15ULL);
            g.a[i] = (uint32_t)h | 1;
            g.b[i] = (uint32_t)(h >> 32);
        }
        kd_pool_run(pool, key_texts, &g, (d->n + CHUNK - 1) / CHUNK);
        sort_keys(g.keys, tmp, d->n);
        compare_band(d, g.keys, threshold, l, r);
        ev.done = (uint64_t)band + 1;
        kd_emit(w, ev);
        const int stop = kd_stopping(w);
        if (stop) rc = kd_fail(e, (kd_code)stop, "near-duplicates: interrupted; nothing was written");
    }
    for (size_t i = 0; i < d->n && !rc; i++) {
        l[i].first = root_of(l, (uint32_t)i);
        if (l[i].first != i) r->near++;
    }
    if (!rc) r->near -= r->exact; /* each of these has one before it too */
    ev.kind = KD_EV_END;
    kd_emit(w, ev);
    kd_free(tmp);
    kd_free(g.keys);
    return rc;
}
