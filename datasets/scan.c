/* datasets/scan.c - the walk over a text: 64 bytes at a time become masks (one bit a byte), and words, lines and marks are read off the masks.
 * Leans on scan.h, base/utf8. SSE2 where there is one (every x86-64), else a table; both give the same masks. */
#include "datasets/scan.h"

#include "distill/base/utf8.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { BLOCK = 64 };

/* Bit i is byte i of the block. */
typedef struct {
    uint64_t word;          /* ASCII letters, digits and everything above ASCII */
    uint64_t high, cont;    /* above ASCII; continuation bytes of UTF-8 */
    uint64_t three, four;   /* first bytes of characters that long */
    uint64_t newline, mark; /* \n; one of < ` $ \ */
    uint64_t letters;       /* how many ASCII letters there are */
} masks;

#ifdef __SSE2__
static inline uint64_t bits(__m128i m) { return (uint64_t)(unsigned)_mm_movemask_epi8(m); }

/* Bytes of x within [from, from + n): shifted so that one signed comparison tells. */
static inline __m128i within(__m128i x, int from, int n) {
    return _mm_cmplt_epi8(_mm_add_epi8(x, _mm_set1_epi8((char)(128 - from))), _mm_set1_epi8((char)(n - 128)));
}
static inline __m128i is(__m128i x, char c) { return _mm_cmpeq_epi8(x, _mm_set1_epi8(c)); }

static inline void classify(masks *m, const char *s) {
    __m128i letters = _mm_setzero_si128();
    *m = (masks){0};
    for (int i = 0; i < BLOCK; i += 16) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(s + i));
        const __m128i alpha = within(_mm_or_si128(x, _mm_set1_epi8(0x20)), 'a', 26);
        const __m128i plain = _mm_or_si128(alpha, within(x, '0', 10));
        letters = _mm_sub_epi8(letters, alpha);       /* at most four a byte */
        m->word |= bits(_mm_or_si128(plain, x)) << i; /* movemask takes the top bit: high bytes have it */
        m->high |= bits(x) << i;
        m->newline |= bits(is(x, '\n')) << i;
        m->mark |= bits(_mm_or_si128(_mm_or_si128(is(x, '<'), is(x, '`')), _mm_or_si128(is(x, '$'), is(x, '\\')))) << i;
    }
    letters = _mm_sad_epu8(letters, _mm_setzero_si128());
    m->letters = (uint64_t)(unsigned)_mm_cvtsi128_si32(letters) + (uint64_t)(unsigned)_mm_extract_epi16(letters, 4);
    if (!m->high) return;
    for (int i = 0; i < BLOCK; i += 16) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(s + i));
        m->cont |= bits(_mm_cmplt_epi8(x, _mm_set1_epi8(-64))) << i;
        m->three |= bits(_mm_cmpgt_epi8(x, _mm_set1_epi8(-33))) << i;
        m->four |= bits(_mm_cmpgt_epi8(x, _mm_set1_epi8(-17))) << i;
    }
    m->three &= m->high;
    m->four &= m->high;
    m->three &= ~m->four;
}
#else
static inline void classify(masks *m, const char *s) {
    *m = (masks){0};
    for (int i = 0; i < BLOCK; i++) {
        const unsigned char c = (unsigned char)s[i];
        const uint64_t bit = 1ULL << i;
        const bool alpha = (unsigned)((c | 0x20) - 'a') < 26;
        m->letters += alpha;
        if (alpha || (unsigned)(c - '0') < 10 || c >= 0x80) m->word |= bit;
        if (c >= 0x80) m->high |= bit;
        if ((c & 0xc0) == 0x80) m->cont |= bit;
        if (c >= 0xe0 && c < 0xf0) m->three |= bit;
        if (c >= 0xf0) m->four |= bit;
        if (c == '\n') m->newline |= bit;
        if (c == '<' || c == '`' || c == '$' || c == '\\') m->mark |= bit;
    }
}
#endif

/* ---- words ---- */
#define MIX1 0x9e3779b97f4a7c15ULL
#define MIX2 0xbf58476d1ce4e5b9ULL

static inline uint64_t lower8(uint64_t x) { return x | (~x >> 2 & 0x2020202020202020ULL); } /* ASCII alone: é and É stay apart */

static inline uint64_t stir(uint64_t h, uint64_t x) {
    h = (h ^ x) * MIX2;
    return h ^ h >> 29;
}

/* room: bytes that may be read from s on. The last eight bytes or less are shifted up, so that what is behind the word falls out. */
static inline uint64_t hash_from(const char *s, size_t n, size_t room) {
    uint64_t x = 0, h = n * MIX1;
    for (; n > 8; n -= 8, s += 8, room -= 8) {
        memcpy(&x, s, 8);
        h = stir(h, lower8(x));
    }
    if (room >= 8)
        memcpy(&x, s, 8);
    else
        memcpy(&x, s, n);
    return stir(h, lower8(x << (64 - 8 * n)));
}

uint64_t kd_word_hash(const char *s, size_t n) { return n ? hash_from(s, n, n) : 0; }

/* ---- scripts ---- */
kd_script kd_script_of(uint32_t cp) {
    static const struct {
        uint32_t from, to;
        kd_script script;
    } ranges[] = {{0x4e00, 0x9fff, KD_HAN},    {0x3040, 0x30ff, KD_KANA}, {0xac00, 0xd7af, KD_HANGUL}, {0x400, 0x52f, KD_CYRILLIC},
                  {0xc0, 0x24f, KD_LATIN},     {0x370, 0x3ff, KD_GREEK},  {0x590, 0x5ff, KD_HEBREW},   {0x600, 0x77f, KD_ARABIC},
                  {0x900, 0xdff, KD_INDIC},    {0xe00, 0xe7f, KD_THAI},   {0x1100, 0x11ff, KD_HANGUL}, {0x1e00, 0x1eff, KD_LATIN},
                  {0x3130, 0x318f, KD_HANGUL}, {0x3400, 0x4dbf, KD_HAN},  {0xf900, 0xfaff, KD_HAN},    {0xfb50, 0xfdff, KD_ARABIC},
                  {0xff21, 0xff5a, KD_LATIN},  {0x20000, 0x323af, KD_HAN}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (cp >= ranges[i].from && cp <= ranges[i].to) return ranges[i].script;
    return kd_uc_letter(cp) ? KD_OTHER_SCRIPT : KD_SCRIPTS;
}

/* Counts the characters above ASCII that begin at the bits of leads. */
static void count_high(kd_scan *o, kd_str t, size_t base, uint64_t leads) {
    for (; leads; leads &= leads - 1) {
        const size_t i = base + (size_t)__builtin_ctzll(leads);
        size_t len;
        const int32_t cp = kd_utf8_next(t.data + i, t.len - i, &len);
        if (cp < 0) continue;
        const kd_script script = kd_script_of((uint32_t)cp);
        if (script == KD_SCRIPTS) continue;
        const bool alone = script == KD_GREEK && (i == 0 || (unsigned char)t.data[i - 1] < 0x80) &&
                           (i + len >= t.len || (unsigned char)t.data[i + len] < 0x80);
        if (!alone) o->letters[script] += script == KD_HAN || script == KD_KANA ? 3 : 1;
    }
}

/* ---- lines ---- */
typedef struct {
    size_t line_at, paragraph_at; /* characters before this line, this paragraph */
    size_t newlines;              /* in this paragraph so far */
    size_t line_byte;             /* place where this line begins */
    size_t conts;                 /* continuation bytes so far */
    size_t paragraphs;            /* ended so far: the number of this one */
} lines;

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static bool all_blank(const char *from, const char *to) {
    while (from < to && is_blank(*from)) from++;
    return from == to;
}

static inline void end_line(kd_scan *o, lines *l, kd_str t, size_t at, size_t chars, bool last) {
    const int64_t line = (int64_t)(chars - l->line_at);
    if (line > o->line) o->line = line;
    if (last || all_blank(t.data + l->line_byte, t.data + at)) { /* a blank line ends a paragraph */
        const int64_t paragraph = (int64_t)(chars - l->paragraph_at - l->newlines);
        if (paragraph > o->paragraph) o->paragraph = paragraph;
        l->paragraph_at = chars + 1;
        l->newlines = 0;
        l->paragraphs++;
    } else {
        l->newlines++;
    }
    l->line_at = chars + 1;
    l->line_byte = at + 1;
}

/* ---- marks ---- */
typedef struct {
    bool fenced, pending; /* inside a fence; a $ waits for its other end */
    bool price;           /* the one that waits stands before a digit: alone it is money */
    size_t paragraph;     /* it stands in this one */
    size_t next;          /* marks before this place belong to one that was read */
} marking;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static void end_pending(kd_scan *o, marking *k) {
    o->dollars += k->pending && !k->price;
    k->pending = false;
}

/* A single $ opens before a solid character, and closes behind one unless a digit follows (the rule of pandoc's tex_math_dollars), within a paragraph. */
static void read_dollar(kd_scan *o, marking *k, kd_str t, size_t i, size_t paragraph) {
    const bool opens = i + 1 < t.len && !is_blank(t.data[i + 1]), digit = opens && is_digit(t.data[i + 1]);
    const char before = i > 0 ? t.data[i - 1] : ' ';
    if (k->pending && k->paragraph == paragraph && !is_blank(before) && !digit) {
        k->pending = false;
        return;
    }
    end_pending(o, k);
    if (!opens || (!digit && !is_blank(before) && strchr("})]", before))) { /* "5$ each" is money; "}$" closes what nothing opened */
        o->dollars += !is_blank(before) && strchr("})]", before) != NULL;
        return;
    }
    *k = (marking){k->fenced, true, digit, paragraph, k->next};
}

static kd_code read_mark(kd_scan *o, kd_scan_room *room, marking *k, kd_str t, size_t i, size_t paragraph) {
    const char *s = t.data + i;
    const size_t left = t.len - i;
    if (i < k->next) return KD_OK;
    if (*s == '`' && left >= 3 && s[1] == '`' && s[2] == '`') {
        const kd_code rc = kd_grow((void **)&room->fences, &room->fences_cap, o->n_fences + 1, sizeof *room->fences);
        if (rc) return rc;
        room->fences[o->n_fences++] = (uint32_t)i;
        k->fenced = !k->fenced;
        k->next = i + 3;
        while (k->next < t.len && t.data[k->next] == '`') k->next++; /* a fence of more is one */
    } else if (*s == '<') {
        o->tags += (left >= 7 && memcmp(s, "<think>", 7) == 0) || (left >= 8 && memcmp(s, "</think>", 8) == 0);
    } else if (!k->fenced && *s == '\\' && left >= 2) {
        o->round += s[1] == '(' ? 1 : s[1] == ')' ? -1 : 0;
        o->square += s[1] == '[' ? 1 : s[1] == ']' ? -1 : 0;
        k->next = i + 2; /* \\[2pt] opens nothing, \$ is no $ */
    } else if (!k->fenced && *s == '$' && left >= 2 && s[1] == '$') {
        o->displays++;
        k->next = i + 2;
    } else if (!k->fenced && *s == '$') {
        read_dollar(o, k, t, i, paragraph);
    }
    return KD_OK;
}

/* ---- the walk ---- */
typedef struct {
    size_t n;                       /* edges so far: where a word begins, where it ends, and so on by turns */
    uint64_t carry, carry3, carry4; /* of the block before: it ended inside a word; characters of three and four bytes that end here */
} wording;

/* edge: room for two a byte of the block. */
static inline void read_words(uint32_t *edge, wording *c, const masks *m, size_t base) {
    const uint64_t before = m->word << 1 | c->carry;
    uint64_t edges = m->word ^ before;
    uint32_t *p = edge + c->n;
    c->carry = m->word >> 63;
    if (m->three | m->four | c->carry3 | c->carry4) { /* words that touch: one ends where the next begins */
        const uint64_t forced = m->three | m->four | m->three << 3 | c->carry3 | m->four << 4 | c->carry4;
        const uint64_t both = forced & m->word & before;
        for (edges |= both; edges; edges &= edges - 1) {
            const int i = __builtin_ctzll(edges);
            *p++ = (uint32_t)base + (uint32_t)i;
            if (both >> i & 1) *p++ = (uint32_t)base + (uint32_t)i;
        }
        c->carry3 = m->three >> 61;
        c->carry4 = m->four >> 60;
    } else {
        for (; edges; edges &= edges - 1) *p++ = (uint32_t)base + (uint32_t)__builtin_ctzll(edges);
    }
    c->n = (size_t)(p - edge);
}

static void hash_words(kd_word *w, const uint32_t *edge, size_t n, kd_str t) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t start = edge[2 * i], end = edge[2 * i + 1];
        w[i] = (kd_word){start, end, hash_from(t.data + start, end - start, t.len - start)};
    }
}

/* Newlines and marks of a block in the order in which they stand. */
static kd_code read_signs(kd_scan *o, kd_scan_room *room, kd_str t, size_t base, const masks *m, lines *l, marking *k) {
    kd_code rc = KD_OK;
    for (uint64_t n = m->newline | m->mark; n && !rc; n &= n - 1) {
        const int i = __builtin_ctzll(n);
        if (m->mark >> i & 1) {
            rc = read_mark(o, room, k, t, base + (size_t)i, l->paragraphs);
            continue;
        }
        const uint64_t below = (1ULL << i) - 1;
        end_line(o, l, t, base + (size_t)i, base + (size_t)i - l->conts - (m->cont ? (size_t)__builtin_popcountll(m->cont & below) : 0),
                 false);
    }
    if (m->cont) l->conts += (size_t)__builtin_popcountll(m->cont);
    return rc;
}

kd_code kd_scan_text(kd_scan *o, kd_scan_room *room, kd_str t, kd_err *e) {
    masks m;
    wording c = {0};
    lines l = {0};
    marking k = {0};
    kd_code rc = KD_OK;
    *o = (kd_scan){.ascii = true};
    if (t.len >= UINT32_MAX - BLOCK) return kd_fail(e, KD_ELIMIT, "a text of %zu bytes: expected less than 4 GiB", t.len);
    for (size_t i = 0; i < t.len && !rc; i += BLOCK) {
        char last[BLOCK] = {0};
        const size_t left = t.len - i;
        if (left < BLOCK) memcpy(last, t.data + i, left);
        classify(&m, left < BLOCK ? last : t.data + i);
        if (c.n + 2 * BLOCK + 2 > room->edges_cap &&
            (rc = kd_grow((void **)&room->edges, &room->edges_cap, c.n + 2 * BLOCK + 2, sizeof *room->edges)))
            break;
        read_words(room->edges, &c, &m, i);
        o->letters[KD_LATIN] += m.letters;
        if (m.high) count_high(o, t, i, m.high & ~m.cont);
        o->ascii &= !m.high;
        rc = read_signs(o, room, t, i, &m, &l, &k);
    }
    if (c.n % 2) room->edges[c.n++] = (uint32_t)t.len;
    if (!rc) rc = kd_grow((void **)&room->words, &room->words_cap, c.n / 2, sizeof *room->words);
    if (rc) return kd_fail(e, rc, "no memory to measure a text of %zu bytes", t.len);
    hash_words(room->words, room->edges, c.n / 2, t);
    end_line(o, &l, t, t.len, t.len - l.conts, true);
    end_pending(o, &k);
    o->blank = all_blank(t.data, t.data + t.len);
    o->words = room->words;
    o->n_words = c.n / 2;
    o->fences = room->fences;
    return KD_OK;
}

void kd_scan_room_clear(kd_scan_room *r) {
    kd_free(r->words);
    kd_free(r->fences);
    kd_free(r->table);
    kd_free(r->edges);
    kd_free(r->keys);
    *r = (kd_scan_room){0};
}
