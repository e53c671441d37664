/* datasets/language.c - languages by their small words and scripts, and phrases of doubt. Leans on language.h, language_words.h, language_common.h,
 * base/utf8. */
#include "datasets/language.h"

#include "datasets/language_common.h"
#include "datasets/language_words.h"
#include "distill/base/utf8.h"

#include <assert.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { LISTED = sizeof word_lists / sizeof *word_lists, BUCKETS = 4096, A_BUCKET = 8, ROWS = 2048, STRETCH = 24, FULL = 10 };
#define TURN (1u << 31)
#define ROW 0xffffu
static_assert(LISTED < 31, "a bit a language, and one for turns");

/* The weight that a word gives to each language; all of it fits 24 words of 10. */
typedef uint8_t half __attribute__((vector_size(16)));
typedef struct {
    half low, high; /* of languages 0 to 15, 16 to 31 */
} weights;

struct kd_lexicon {
    struct {
        uint32_t tag[A_BUCKET], row[A_BUCKET]; /* row 0: free; TURN and its number << 16: a phrase of doubt may begin here */
    } bucket[BUCKETS];
    weights row[ROWS]; /* [0] is all zero; one a set of languages */
    uint32_t mask[ROWS];
    uint16_t letter[0x800 - 0x80]; /* row of a letter of two bytes */
    uint32_t rows;
    unsigned turn; /* which bits of the hash choose the bucket: such that none overflows */
    struct {
        uint16_t row, counts;
    } weighed[KD_SCRIPTS][256]; /* by first byte: all ones if its row is added; 1 if it is a word of the script */
};

/* Languages that their script tells, numbered behind those of the lists. */
static const struct {
    char code[4];
    kd_script script;
} by_script[] = {{"zh", KD_HAN},    {"ja", KD_KANA},  {"ko", KD_HANGUL}, {"el", KD_GREEK},
                 {"he", KD_HEBREW}, {"hi", KD_INDIC}, {"th", KD_THAI}};
enum { LANGUAGES = LISTED + (int)(sizeof by_script / sizeof *by_script) };

const char *kd_language_code(int i) {
    return i < 0 || i >= LANGUAGES ? "und" : i < LISTED ? word_lists[i].code : by_script[i - LISTED].code;
}

int kd_language_named(const char *code) {
    for (int i = 0; i < LANGUAGES; i++)
        if (strcmp(kd_language_code(i), code) == 0) return i;
    return KD_NO_LANGUAGE;
}

/* ---- phrases of doubt ---- */
enum { PLAIN, WAIT, CORRECTION };
static const struct {
    const char *text;
    int kind;
} phrases[] = {/* those that begin with the same word stand together */
               {"alternatively", PLAIN},
               {"hmm", PLAIN},
               {"hold on", PLAIN},
               {"i made a mistake", CORRECTION},
               {"i made an error", CORRECTION},
               {"i was wrong", CORRECTION},
               {"let me check", PLAIN},
               {"let me re-check", PLAIN},
               {"let me recheck", PLAIN},
               {"let me double-check", PLAIN},
               {"let me double check", PLAIN},
               {"let me verify", PLAIN},
               {"let me reconsider", PLAIN},
               {"let me re-read", PLAIN},
               {"let me think again", PLAIN},
               {"let's double-check", PLAIN},
               {"let's verify", PLAIN},
               {"let me correct", CORRECTION},
               {"let me fix", CORRECTION},
               {"let me start over", CORRECTION},
               {"my mistake", CORRECTION},
               {"on second thought", PLAIN},
               {"oops", CORRECTION},
               {"scratch that", CORRECTION},
               {"that's not right", CORRECTION},
               {"that is not right", CORRECTION},
               {"that's wrong", CORRECTION},
               {"that is wrong", CORRECTION},
               {"that's incorrect", CORRECTION},
               {"that can't be right", CORRECTION},
               {"wait", WAIT}};

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* what stands at s[0..n): words in any case, ' also as its typographic form. */
static bool stands(const char *s, size_t n, const char *what) {
    size_t i = 0;
    for (; *what; what++) {
        if (*what == '\'' && n - i >= 3 && memcmp(s + i, "\xe2\x80\x99", 3) == 0) {
            i += 3;
            continue;
        }
        if (i >= n || (letter(s[i]) ? s[i] | 0x20 : s[i]) != *what) return false;
        i++;
    }
    return i == n || !letter(s[i]);
}

/* first: of the phrases that begin with the word at s; they stand together. */
static void read_turn(kd_telling *o, const char *s, size_t n, size_t first) {
    const char *word = phrases[first].text;
    const size_t len = strcspn(word, " '-");
    for (size_t k = first; k < sizeof phrases / sizeof *phrases && memcmp(phrases[k].text, word, len) == 0; k++)
        if (stands(s + len, n - len, phrases[k].text + len)) {
            o->turns++;
            o->waits += phrases[k].kind == WAIT;
            o->corrections += phrases[k].kind == CORRECTION;
            return;
        }
}

/* Of a script that many languages write: which one. By the first byte of a word; 0 (no script) for digits. */
static kd_script script_of_word(unsigned char c) {
    return c < 0xce ? KD_LATIN : c >= 0xd0 && c < 0xd4 ? KD_CYRILLIC : c >= 0xd8 && c < 0xdc ? KD_ARABIC : KD_OTHER_SCRIPT;
}

/* ---- the lexicon ---- */
static inline size_t bucket_of(const kd_lexicon *x, uint64_t h) { return (size_t)(h >> x->turn) & (BUCKETS - 1); }

/* The row of a set of languages, made if new; 0 when there is no place. */
static uint32_t row_of(kd_lexicon *x, uint32_t mask) {
    static const uint8_t share[] = {0, FULL, FULL / 2, FULL / 3, FULL / 4, FULL / 5, 1, 1};
    uint32_t i = 1;
    while (i < x->rows && x->mask[i] != mask) i++;
    if (i < x->rows) return i;
    if (i == ROWS) return 0;
    const int k = __builtin_popcount(mask);
    for (int b = 0; b < LISTED; b++)
        if (mask >> b & 1) ((uint8_t *)&x->row[i])[b] = share[k < 7 ? k : 7];
    x->mask[i] = mask;
    x->rows++;
    return i;
}

static bool add(kd_lexicon *x, const char *s, size_t n, uint32_t mask, uint32_t turn) {
    const uint64_t h = kd_word_hash(s, n);
    const size_t at = bucket_of(x, h);
    int i = 0;
    while (i < A_BUCKET && x->bucket[at].row[i] && x->bucket[at].tag[i] != (uint32_t)h) i++;
    if (i == A_BUCKET) return false;
    const uint32_t before = x->bucket[at].row[i];
    x->bucket[at].tag[i] = (uint32_t)h;
    x->bucket[at].row[i] = row_of(x, x->mask[before & ROW] | mask) | (before & ~ROW) | turn;
    return x->bucket[at].row[i] != 0;
}

/* The row of the word of that hash, with TURN; 0 if it is not listed. Without a branch on what is found. */
static inline uint32_t look_up(const kd_lexicon *x, uint64_t h) {
    const uint32_t *tag = x->bucket[bucket_of(x, h)].tag, *row = x->bucket[bucket_of(x, h)].row;
#ifdef __SSE2__
    const __m128i t = _mm_set1_epi32((int)(uint32_t)h);
    const __m128i a = _mm_and_si128(_mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *)(const void *)tag), t),
                                    _mm_loadu_si128((const __m128i *)(const void *)row));
    const __m128i b = _mm_and_si128(_mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *)(const void *)(tag + 4)), t),
                                    _mm_loadu_si128((const __m128i *)(const void *)(row + 4)));
    __m128i r = _mm_or_si128(a, b);
    r = _mm_or_si128(r, _mm_srli_si128(r, 8));
    r = _mm_or_si128(r, _mm_srli_si128(r, 4));
    return (uint32_t)_mm_cvtsi128_si32(r);
#else
    uint32_t r = 0;
    for (int i = 0; i < A_BUCKET; i++) r |= tag[i] == (uint32_t)h ? row[i] : 0;
    return r;
#endif
}

/* A word as it is listed, and as it begins a sentence where its first letter is above ASCII (the hash folds ASCII itself). */
static bool add_listed(kd_lexicon *x, const char *s, size_t n, uint32_t mask) {
    char title[64];
    size_t len;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] >= 0xe0 || s[i] == '\'') return true; /* is cut into more than one word: never asked for whole */
    if (!add(x, s, n, mask, 0)) return false;
    const int32_t cp = kd_utf8_next(s, n, &len);
    if (cp < 0x80 || n >= sizeof title - 4) return true;
    const size_t first = kd_utf8_put(title, kd_uc_toupper((uint32_t)cp));
    memcpy(title + first, s + len, n - len);
    return add(x, title, first + n - len, mask, 0);
}

static bool add_list(kd_lexicon *x, const char *words, int language) {
    bool room = true;
    for (const char *w = words; *w && room;) {
        const size_t n = strcspn(w, " ");
        room = add_listed(x, w, n, 1u << language);
        w += n + (w[n] == ' ');
    }
    return room;
}

static bool fill(kd_lexicon *x) {
    bool room = true;
    for (int i = 0; i < LISTED && room; i++) room = add_list(x, word_lists[i].words, i);
    for (size_t i = 0; i < sizeof common_lists / sizeof *common_lists && room; i++)
        room = add_list(x, common_lists[i].words, kd_language_named(common_lists[i].code));
    for (uint32_t cp = 0x1ea0; cp <= 0x1ef9 && room; cp++) { /* letters of Vietnamese alone; each is a word to the scan */
        char s[4];
        room = add(x, s, kd_utf8_put(s, cp), 1u << kd_language_named("vi"), 0);
    }
    for (size_t k = sizeof phrases / sizeof *phrases; k-- && room;) { /* backwards: the first of those that begin alike is what stays */
        const size_t n = strcspn(phrases[k].text, " '-");
        if (k && strncmp(phrases[k - 1].text, phrases[k].text, n) == 0) continue;
        room = add(x, phrases[k].text, n, 0, TURN | (uint32_t)k << 16);
    }
    return room;
}

static void add_letters(kd_lexicon *x) {
    uint32_t mask[0x800 - 0x80] = {0};
    for (size_t i = 0; i < sizeof letter_lists / sizeof *letter_lists; i++)
        for (const char *p = letter_lists[i].letters; *p;) {
            size_t len;
            const uint32_t cp = (uint32_t)kd_utf8_next(p, strlen(p), &len), up = kd_uc_toupper(cp),
                           bit = 1u << kd_language_named(letter_lists[i].code);
            if (cp >= 0x80 && cp < 0x800) mask[cp - 0x80] |= bit;
            if (up >= 0x80 && up < 0x800) mask[up - 0x80] |= bit;
            p += len;
        }
    for (size_t i = 0; i < 0x800 - 0x80; i++)
        if (mask[i]) x->letter[i] = (uint16_t)row_of(x, mask[i]);
}

/* The row of the rarest letter above ASCII in a word that is not listed; 0 if there is none. */
static uint32_t row_of_letters(const kd_lexicon *x, const char *s, size_t n) {
    uint32_t best = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c < 0xc2 || c >= 0xe0 || ((unsigned char)s[i + 1] & 0xc0) != 0x80) continue;
        const uint32_t row = x->letter[((c & 0x1fu) << 6 | ((unsigned char)s[i + 1] & 0x3fu)) - 0x80];
        if (row && (!best || __builtin_popcount(x->mask[row]) < __builtin_popcount(x->mask[best]))) best = row;
    }
    return best;
}

/* Numbers are no words. Characters of three bytes are, if they are listed: Vietnamese letters; they do not count, for they are parts of words. */
static void which_words(kd_lexicon *x) {
    for (int script = 0; script < KD_SCRIPTS; script++)
        for (int c = 0; c < 256; c++) {
            const bool word = c < 0xe0 && !(c >= '0' && c <= '9') && script_of_word((unsigned char)c) == (kd_script)script;
            x->weighed[script][c].counts = word;
            x->weighed[script][c].row = word || (c >= 0xe0 && script == KD_LATIN) ? ROW : 0;
        }
}

kd_code kd_lexicon_new(kd_lexicon **out, kd_err *e) {
    kd_lexicon *x = *out = kd_aligned_alloc(64, sizeof *x);
    if (!x) return kd_fail(e, KD_ENOMEM, "no memory for the words of languages");
    for (unsigned turn = 52;; turn--) {
        memset(x, 0, sizeof *x);
        which_words(x);
        x->turn = turn;
        x->rows = 1;
        add_letters(x);
        if (fill(x)) return KD_OK;
        if (turn == 32) break;
    }
    kd_free(x);
    *out = NULL;
    return kd_fail(e, KD_EBUG, "the words of languages do not fit their table");
}

void kd_lexicon_free(kd_lexicon *x) { kd_free(x); }

/* ---- telling ---- */
static kd_script script_of_language(int i) {
    return i >= LISTED ? by_script[i - LISTED].script : script_of_word((unsigned char)word_lists[i].words[0]);
}

typedef struct {
    const kd_lexicon *x;
    kd_script script; /* whose words are weighed */
    int target;
    weights score; /* of this stretch */
    uint32_t total[32];
    uint64_t words, foreign; /* of the script: all, and those in stretches of another language */
} weighing;

/* A stretch is foreign if the best other language has two full words more than the target and twice its weight. */
static void end_stretch(weighing *w, unsigned words) {
    uint8_t score[32];
    unsigned best = 0;
    memcpy(score, &w->score, sizeof score);
    for (int i = 0; i < 32; i++) w->total[i] += score[i];
    for (int i = 0; i < 32; i++) best = score[i] > best ? score[i] : best;
    const unsigned ours = w->target >= 0 && w->target < LISTED ? score[w->target] : best;
    if (best >= ours + 2 * FULL && best >= 2 * ours) w->foreign += words;
    w->words += words;
}

static void weigh_words(kd_telling *o, weighing *w, const kd_scan *scan, kd_str t) {
    const kd_lexicon *x = w->x;
    const kd_word *end = scan->words + scan->n_words;
    size_t fence = 0, next = scan->n_fences ? scan->fences[0] : SIZE_MAX;
    half low = {0}, high = {0};
    unsigned words = 0;
    for (const kd_word *word = scan->words; word < end; word++) {
        while (word->start > next) next = ++fence < scan->n_fences ? scan->fences[fence] : SIZE_MAX;
        if (fence & 1) continue;
        const char *s = t.data + word->start;
        const unsigned char c = (unsigned char)*s;
        uint32_t row = look_up(x, word->hash);
        if (!scan->ascii && !row) row = row_of_letters(x, s, word->end - word->start);
        if (row & TURN) read_turn(o, s, t.len - word->start, row >> 16 & 0x7fff);
        const uint32_t command = s[-(word->start > 0)] == '\\'; /* of LaTeX */
        const weights *add_row = &x->row[row & x->weighed[w->script][c].row & (command - 1)];
        low += add_row->low;
        high += add_row->high;
        if ((words += x->weighed[w->script][c].counts) < STRETCH) continue;
        w->score = (weights){low, high};
        end_stretch(w, words);
        words = 0;
        low = high = (half){0};
    }
    w->score = (weights){low, high};
    end_stretch(w, words);
}

/* The script of most letters; kana makes Japanese of Han. */
static kd_script main_script(const kd_scan *scan, uint64_t *most) {
    uint64_t n[KD_SCRIPTS];
    int best = KD_LATIN;
    memcpy(n, scan->letters, sizeof n);
    if (n[KD_KANA] * 8 > n[KD_HAN] + n[KD_KANA]) {
        n[KD_KANA] += n[KD_HAN];
        n[KD_HAN] = 0;
    } else {
        n[KD_HAN] += n[KD_KANA];
        n[KD_KANA] = 0;
    }
    for (int i = 0; i < KD_SCRIPTS; i++)
        if (n[i] > n[best]) best = i;
    *most = n[best];
    return (kd_script)best;
}

static bool written_by_many(kd_script s) { return s == KD_LATIN || s == KD_CYRILLIC || s == KD_ARABIC; }

static int language_of(const weighing *w, kd_script script, uint64_t letters) {
    int best = 0, second = -1;
    if (letters == 0) return KD_NO_LANGUAGE;
    if (!written_by_many(script)) {
        for (int i = LISTED; i < LANGUAGES; i++)
            if (script_of_language(i) == script) return i;
        return KD_NO_LANGUAGE;
    }
    for (int i = 1; i < LISTED; i++)
        if (w->total[i] > w->total[best]) best = i;
    for (int i = 0; i < LISTED; i++)
        if (i != best && (second < 0 || w->total[i] > w->total[second])) second = i;
    return w->total[best] > w->total[second] ? best : KD_NO_LANGUAGE;
}

/* Letters that are of the target's script, those of foreign stretches taken off. */
static double share_of(const kd_scan *scan, const weighing *w, kd_script script, int target) {
    uint64_t all = 0, ours = scan->letters[script];
    for (int i = 0; i < KD_SCRIPTS; i++) all += scan->letters[i];
    if (all == 0) return 1;
    if (script == KD_KANA) ours += scan->letters[KD_HAN];
    if (script == KD_HAN && target == KD_NO_LANGUAGE) ours += scan->letters[KD_KANA];
    const double kept = written_by_many(script) && w->words ? 1 - (double)w->foreign / (double)w->words : 1;
    return (double)ours / (double)all * kept;
}

void kd_language_tell(kd_telling *o, const kd_lexicon *x, const kd_scan *scan, kd_str text, int target) {
    uint64_t most;
    if (target < 0 || target >= LANGUAGES) target = KD_NO_LANGUAGE;
    const kd_script mine = main_script(scan, &most), script = target >= 0 ? script_of_language(target) : mine;
    weighing w = {.x = x, .script = script, .target = target};
    *o = (kd_telling){.language = KD_NO_LANGUAGE, .share = 1};
    weigh_words(o, &w, scan, text);
    if (script != mine && written_by_many(mine)) { /* not in the target's script: what is it in? */
        weighing own = {.x = x, .script = mine, .target = KD_NO_LANGUAGE};
        kd_telling unused = {0};
        weigh_words(&unused, &own, scan, text);
        o->language = language_of(&own, mine, most);
    } else {
        o->language = language_of(&w, mine, most);
    }
    if (target == KD_NO_LANGUAGE && o->language != KD_NO_LANGUAGE && o->language < LISTED) {
        weighing again = {.x = x, .script = script, .target = o->language};
        kd_telling unused = {0};
        weigh_words(&unused, &again, scan, text);
        w = again;
    }
    o->share = share_of(scan, &w, script, target);
}
