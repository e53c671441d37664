/* datasets/language.c - languages by their small words and scripts, and phrases of doubt. Leans on language.h, language_words.h, base/utf8. */
#include "datasets/language.h"

#include "datasets/language_words.h"
#include "distill/base/utf8.h"

#include <assert.h>
#include <string.h>

enum { LISTED = sizeof word_lists / sizeof *word_lists, SLOTS = 8192, STRETCH = 24, FULL = 12 };
#define TURN (1u << 31)
static_assert(LISTED < 31, "a bit a language, and one for turns");

struct kd_lexicon {
    struct {
        uint32_t tag, mask; /* which lists hold the word; 0: free */
    } slot[SLOTS];
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
} phrases[] = {{"wait", WAIT},
               {"hmm", PLAIN},
               {"hold on", PLAIN},
               {"on second thought", PLAIN},
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
               {"alternatively", PLAIN},
               {"i made a mistake", CORRECTION},
               {"i made an error", CORRECTION},
               {"i was wrong", CORRECTION},
               {"my mistake", CORRECTION},
               {"that's not right", CORRECTION},
               {"that is not right", CORRECTION},
               {"that's wrong", CORRECTION},
               {"that is wrong", CORRECTION},
               {"that's incorrect", CORRECTION},
               {"that can't be right", CORRECTION},
               {"scratch that", CORRECTION},
               {"let me correct", CORRECTION},
               {"let me fix", CORRECTION},
               {"let me start over", CORRECTION},
               {"oops", CORRECTION}};

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

static void read_turn(kd_telling *o, const char *s, size_t n) {
    for (size_t k = 0; k < sizeof phrases / sizeof *phrases; k++)
        if ((*s | 0x20) == phrases[k].text[0] && stands(s, n, phrases[k].text)) {
            o->turns++;
            o->waits += phrases[k].kind == WAIT;
            o->corrections += phrases[k].kind == CORRECTION;
            return;
        }
}

/* ---- the lexicon ---- */
static void add(kd_lexicon *x, const char *s, size_t n, uint32_t mask) {
    const uint64_t h = kd_word_hash(s, n);
    size_t at = h >> 51;
    while (x->slot[at].mask && x->slot[at].tag != (uint32_t)h) at = (at + 1) & (SLOTS - 1);
    x->slot[at].tag = (uint32_t)h;
    x->slot[at].mask |= mask;
}

static inline uint32_t look_up(const kd_lexicon *x, uint64_t h) {
    size_t at = h >> 51;
    while (x->slot[at].mask && x->slot[at].tag != (uint32_t)h) at = (at + 1) & (SLOTS - 1);
    return x->slot[at].mask;
}

/* A word as it is listed, and as it begins a sentence where its first letter is above ASCII (the hash folds ASCII itself). */
static void add_listed(kd_lexicon *x, const char *s, size_t n, uint32_t mask) {
    char title[64];
    size_t len;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] >= 0xe0 || s[i] == '\'') return; /* is cut into more than one word: never asked for whole */
    add(x, s, n, mask);
    const int32_t cp = kd_utf8_next(s, n, &len);
    if (cp < 0x80 || n >= sizeof title - 4) return;
    const size_t first = kd_utf8_put(title, kd_uc_toupper((uint32_t)cp));
    memcpy(title + first, s + len, n - len);
    add(x, title, first + n - len, mask);
}

kd_code kd_lexicon_new(kd_lexicon **out, kd_err *e) {
    kd_lexicon *x = *out = kd_calloc(1, sizeof *x);
    if (!x) return kd_fail(e, KD_ENOMEM, "no memory for the words of languages");
    for (int i = 0; i < LISTED; i++)
        for (const char *w = word_lists[i].words; *w;) {
            const size_t n = strcspn(w, " ");
            add_listed(x, w, n, 1u << i);
            w += n + (w[n] == ' ');
        }
    for (uint32_t cp = 0x1ea0; cp <= 0x1ef9; cp++) { /* letters of Vietnamese alone; each is a word to the scan */
        char s[4];
        add(x, s, kd_utf8_put(s, cp), 1u << kd_language_named("vi"));
    }
    for (size_t k = 0; k < sizeof phrases / sizeof *phrases; k++) add(x, phrases[k].text, strcspn(phrases[k].text, " '-"), TURN);
    return KD_OK;
}

void kd_lexicon_free(kd_lexicon *x) { kd_free(x); }

/* ---- telling ---- */
/* Of a script that many languages write: which one. By the first byte of a word. */
static kd_script script_of_word(unsigned char c) {
    return c < 0x80                ? KD_LATIN
           : c < 0xce              ? KD_LATIN
           : c >= 0xd0 && c < 0xd4 ? KD_CYRILLIC
           : c >= 0xd8 && c < 0xdc ? KD_ARABIC
                                   : KD_OTHER_SCRIPT;
}

static kd_script script_of_language(int i) {
    if (i >= LISTED) return by_script[i - LISTED].script;
    const unsigned char c = (unsigned char)word_lists[i].words[0];
    return c < 0xce ? KD_LATIN : script_of_word(c);
}

typedef struct {
    const kd_lexicon *x;
    kd_script script; /* whose words are weighed */
    int target;
    uint32_t score[32], total[32];
    uint64_t bytes, foreign, in_stretch; /* of words of the script: all; of another language; of this stretch */
    int words;
} weighing;

/* A stretch is foreign if the best other language has two full words more than the target and twice its weight. */
static void end_stretch(weighing *w) {
    uint32_t best = 0;
    for (int i = 0; i < LISTED; i++) {
        best = w->score[i] > best ? w->score[i] : best;
        w->total[i] += w->score[i];
    }
    const uint32_t ours = w->target >= 0 && w->target < LISTED ? w->score[w->target] : best;
    if (best >= ours + 2 * FULL && best >= 2 * ours) w->foreign += w->in_stretch;
    w->bytes += w->in_stretch;
    w->in_stretch = 0;
    w->words = 0;
    memset(w->score, 0, sizeof w->score);
}

static void weigh_words(kd_telling *o, weighing *w, const kd_scan *scan, kd_str t) {
    static const unsigned char weight[] = {0, FULL, FULL / 2, FULL / 3, FULL / 4, 2, 2, 1, 1};
    size_t fence = 0;
    for (size_t i = 0; i < scan->n_words; i++) {
        const kd_word *word = &scan->words[i];
        const size_t n = word->end - word->start;
        uint32_t mask = look_up(w->x, word->hash);
        while (fence < scan->n_fences && scan->fences[fence] < word->start) fence++;
        if (fence & 1) continue;
        const unsigned char c = (unsigned char)t.data[word->start];
        const bool known = mask != 0;
        if (mask & TURN) {
            read_turn(o, t.data + word->start, t.len - word->start);
            mask &= ~TURN;
        }
        if ((c >= '0' && c <= '9') || (n == 1 && c < 0x80)) continue;
        if (c >= 0xe0 ? !known || w->script != KD_LATIN : script_of_word(c) != w->script) continue;
        if (c < 0x80 && word->start > 0 && t.data[word->start - 1] == '\\') continue;
        w->in_stretch += n;
        if (mask) {
            const int k = __builtin_popcount(mask);
            const unsigned add_weight = weight[k < 8 ? k : 8];
            for (; mask; mask &= mask - 1) w->score[__builtin_ctz(mask)] += add_weight;
        }
        if (++w->words == STRETCH) end_stretch(w);
    }
    end_stretch(w);
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
    const double kept = written_by_many(script) && w->bytes ? 1 - (double)w->foreign / (double)w->bytes : 1;
    return (double)ours / (double)all * kept;
}

void kd_language_tell(kd_telling *o, const kd_lexicon *x, const kd_scan *scan, kd_str text, int target) {
    uint64_t most;
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
