/* datasets/repeats.c - how much of a text only says again what it said. Leans on label.h, measures.h, base/mem. */
#include "datasets/label.h"
#include "datasets/measures.h"

#include "distill/base/mem.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { LEAST_TAIL = 24, TIMES = 3, PROBE = 8 };
#define TAIL_LOOK ((size_t)1 << 20) /* how far back a loop is looked for */

static inline uint64_t load8(const char *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* The failure function of the reversed text gives for every tail its shortest period (Knuth, Morris, Pratt 1977): linear for every text. */
static size_t tail_by_failures(const char *s, size_t n, uint32_t *fail) {
    size_t best = 0, k = 0;
    const char *last = s + n - 1;
    fail[0] = 0;
    for (size_t i = 1; i < n; i++) {
        char c = *(last - i);
        while (k && *(last - k) != c) k = fail[k - 1];
        k += *(last - k) == c;
        fail[i] = (uint32_t)k;
        if (i + 1 >= LEAST_TAIL && i + 1 >= TIMES * (i + 1 - k)) best = i + 1;
    }
    return best;
}

/* The greatest q in [low, high) at which the eight bytes of probe stand, or high if they stand nowhere. s[high + 7] can be read. */
static size_t find_back(const char *s, size_t low, size_t high, const char *probe) {
    size_t q = high;
#ifdef __SSE2__
    const __m128i a = _mm_set1_epi8(probe[0]), b = _mm_set1_epi8(probe[3]), c = _mm_set1_epi8(probe[7]);
    while (q >= low + 16) {
        const char *p = s + q - 16;
        __m128i m = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), a);
        m = _mm_and_si128(m, _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 3)), b));
        /* p + 7 + 15 is at most s + high + 6 */
        m = _mm_and_si128(m, _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 7)), c));
        for (unsigned bits = (unsigned)_mm_movemask_epi8(m); bits;) {
            const unsigned top = 31u - (unsigned)__builtin_clz(bits);
            if (memcmp(p + top, probe, PROBE) == 0) return q - 16 + top;
            bits &= ~(1u << top);
        }
        q -= 16;
    }
#endif
    while (q > low)
        if (memcmp(s + --q, probe, PROBE) == 0) return q;
    return high;
}

/* How many bytes before the end of s are equal to those p before them, from the end on; *spent += their number. */
static size_t same_as_before(const char *s, size_t n, size_t p, size_t *spent) {
    size_t m = 0;
    const size_t most = n - p;
    while (m + 8 <= most) {
        const uint64_t d = load8(s + n - m - 8) ^ load8(s + n - p - m - 8);
        if (d) {
            m += (size_t)__builtin_clzll(d) / 8; /* the byte nearest the end is the highest */
            *spent += m + 8;
            return m;
        }
        m += 8;
    }
    while (m < most && s[n - 1 - m] == s[n - 1 - p - m]) m++;
    *spent += m + 8;
    return m;
}

/* Length of the longest tail of s that is one period said TIMES times or more. Its last eight bytes stand a period earlier too, so periods are the
 * distances at which they are found. A tail of length len and period p <= len / 2 leaves no longer one with a period in (p, len - p]: inside it both periods
 * would hold, and their common divisor, and the byte before it breaks all three. Texts that make this dear are read by failures instead. */
static size_t looping_tail(const char *s, size_t n, kd_scan_room *room, kd_code *rc) {
    size_t best = 0, spent = 0;
    if (n < LEAST_TAIL) return 0;
    const size_t most = n / TIMES, end = n - PROBE; /* where the probe stands */
    const size_t low = end > most ? end - most : 0;
    for (size_t q = end; q > low;) {
        const size_t at = find_back(s, low, q, s + end);
        if (at == q) break;
        const size_t p = end - at, len = p + same_as_before(s, n, p, &spent);
        if (len >= TIMES * p && len >= LEAST_TAIL && len > best) best = len;
        q = len >= 2 * p && len - p >= p ? end - (len - p) : at;
        if (q > at) q = at;
        if (len >= 2 * p && end < len - p) break;
        if (spent > 8 * n + 4096) {
            if ((*rc = kd_grow((void **)&room->table, &room->table_cap, n, sizeof *room->table))) return 0;
            return tail_by_failures(s, n, room->table);
        }
    }
    return best;
}

/* Is tag in the set? If not it is put there. seen: buckets of four, a power of two of them, more than half free; 0 is a free place. */
static inline bool seen_before(uint32_t *seen, size_t buckets, size_t at, uint32_t tag) {
    for (;; at++) {
        uint32_t *four = seen + 4 * (at & (buckets - 1));
#ifdef __SSE2__
        const __m128i v = _mm_loadu_si128((const __m128i *)(void *)four);
        if (_mm_movemask_epi8(_mm_cmpeq_epi32(v, _mm_set1_epi32((int)tag)))) return true;
        const unsigned empty = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi32(v, _mm_setzero_si128()));
        if (empty) {
            four[(unsigned)__builtin_ctz(empty) / 4] = tag;
            return false;
        }
#else
        for (int k = 0; k < 4; k++) {
            if (four[k] == tag) return true;
            if (four[k] == 0) {
                four[k] = tag;
                return false;
            }
        }
#endif
    }
}

/* Bytes that lie in windows of KD_WINDOW words seen before; a window is known by 32 bits besides its bucket. seen: zeroed. */
static size_t said_again(const kd_word *w, size_t count, uint32_t *seen, size_t slots) {
    size_t bytes = 0, covered = 0; /* everything before covered is counted */
    kd_roll roll = {0};
    for (size_t i = 0; i < count; i++) {
        const uint64_t key = kd_roll_on(&roll, w, i);
        if (i + 1 < KD_WINDOW || !seen_before(seen, slots / 4, (size_t)(key >> 32), (uint32_t)key | 1)) continue;
        size_t from = w[i + 1 - KD_WINDOW].start;
        from = from > covered ? from : covered;
        bytes += w[i].end - from;
        covered = w[i].end;
    }
    return bytes;
}

kd_code kd_measure_repeats(double *out, const kd_scan *scan, kd_scan_room *room, kd_str text, kd_err *e) {
    *out = 0;
    if (!text.len) return KD_OK;
    const size_t look = text.len < TAIL_LOOK ? text.len : TAIL_LOOK;
    size_t slots = 16, again;
    kd_code rc = KD_OK;
    const size_t tail = looping_tail(text.data + text.len - look, look, room, &rc);
    while (slots < 2 * scan->n_words) slots *= 2;
    if (!rc && scan->n_words >= KD_WINDOW) rc = kd_grow((void **)&room->table, &room->table_cap, slots, sizeof *room->table);
    if (rc) return kd_fail(e, rc, "no memory to measure a text of %zu bytes", text.len);
    again = 0;
    if (scan->n_words > KD_WINDOW && tail < text.len) {
        memset(room->table, 0, slots * sizeof *room->table);
        again = said_again(scan->words, scan->n_words, room->table, slots);
    }
    *out = (double)(tail > again ? tail : again) / (double)text.len;
    return KD_OK;
}

kd_code kd_label_repeats(double *out, kd_str text, kd_err *e) {
    kd_scan_room room = {0};
    kd_scan scan;
    *out = 0;
    kd_code rc = kd_scan_text(&scan, &room, text, e);
    if (!rc) rc = kd_measure_repeats(out, &scan, &room, text, e);
    kd_scan_room_clear(&room);
    return rc;
}
