/* datasets/problems.c - see problems.h. */
#include "datasets/problems.h"

#include "distill/base/file.h"
#include "distill/base/hash.h"
#include "distill/base/json.h"
#include "distill/base/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const FORMS[KD_PROBLEM_FORMS] = {"gain",  "loss", "boxes",  "price", "share",    "packs", "give-and-find", "change",
                                                    "older", "walk", "chairs", "pages", "together", "twice", "wages"};

const char *kd_problem_form(int form) { return FORMS[form]; }

typedef struct {
    const char *name, *he;
} person;
static const person PEOPLE[] = {{"Anna", "She"},  {"Ben", "He"},    {"Clara", "She"}, {"David", "He"}, {"Elena", "She"},
                                {"Felix", "He"},  {"Grace", "She"}, {"Hugo", "He"},   {"Iris", "She"}, {"Jonas", "He"},
                                {"Karin", "She"}, {"Liam", "He"},   {"Maya", "She"},  {"Noah", "He"},  {"Olga", "She"},
                                {"Peter", "He"},  {"Rosa", "She"},  {"Simon", "He"},  {"Tara", "She"}, {"Victor", "He"}};
static const char *const THINGS[] = {"apples", "marbles", "pencils", "stickers", "shells",  "buttons",  "cookies", "stamps",
                                     "cards",  "books",   "coins",   "flowers",  "oranges", "balloons", "stones",  "eggs"};
static const char *const GOODS[][2] = {{"notebook", "notebooks"}, {"ball", "balls"}, {"cup", "cups"},     {"hat", "hats"},
                                       {"toy car", "toy cars"},   {"lamp", "lamps"}, {"plant", "plants"}, {"kite", "kites"}};

#define COUNT(a) (sizeof(a) / sizeof *(a))

typedef struct {
    person a, b;
    const char *thing, *good, *goods;
    int64_t x, y, z;
} draw;

static int64_t between(kd_rng *r, int64_t low, int64_t high) { return low + (int64_t)kd_rng_below(r, (uint64_t)(high - low + 1)); }

static draw draw_parts(kd_rng *r) {
    draw d;
    size_t a = (size_t)kd_rng_below(r, COUNT(PEOPLE)), b = (size_t)kd_rng_below(r, COUNT(PEOPLE) - 1),
           g = (size_t)kd_rng_below(r, COUNT(GOODS));
    b += b >= a;
    d.a = PEOPLE[a], d.b = PEOPLE[b];
    d.thing = THINGS[kd_rng_below(r, COUNT(THINGS))];
    d.good = GOODS[g][0], d.goods = GOODS[g][1];
    d.x = between(r, 2, 12), d.y = between(r, 2, 6), d.z = between(r, 2, 5);
    return d;
}

/* Forms of one step. */
static kd_code simple(kd_buf *t, int64_t *answer, int form, const draw *d) {
    const char *a = d->a.name, *s = d->thing;
    int64_t x = d->x, y = d->y;
    switch (form) {
    case 0:
        *answer = x + y;
        return kd_buf_printf(t, "%s has %" PRId64 " %s. %s finds %" PRId64 " more. How many %s does %s have now?", a, x, s, d->a.he, y, s,
                             a);
    case 1:
        *answer = x;
        return kd_buf_printf(t, "%s has %" PRId64 " %s and gives %" PRId64 " of them to %s. How many %s does %s have left?", a, x + y, s, y,
                             d->b.name, s, a);
    case 2:
        *answer = x * y;
        return kd_buf_printf(t, "There are %" PRId64 " boxes with %" PRId64 " %s in each box. How many %s are there in all?", y, x, s, s);
    case 3:
        *answer = x * y;
        return kd_buf_printf(t, "One %s costs %" PRId64 " dollars. How many dollars do %" PRId64 " %s cost?", d->good, x, y, d->goods);
    case 4:
        *answer = x;
        return kd_buf_printf(t, "%s shares %" PRId64 " %s equally among %" PRId64 " friends. How many %s does each friend get?", a, x * y,
                             s, y, s);
    case 8:
        *answer = x + y;
        return kd_buf_printf(t, "%s is %" PRId64 " years old. %s is %" PRId64 " years older than %s. How old is %s?", a, x, d->b.name, y, a,
                             d->b.name);
    default:
        *answer = x * y;
        return kd_buf_printf(t, "%s walks %" PRId64 " kilometers every day. How many kilometers does %s walk in %" PRId64 " days?", a, x, a,
                             y);
    }
}

/* Forms of two or three steps. */
static kd_code longer(kd_buf *t, int64_t *answer, int form, const draw *d) {
    const char *a = d->a.name, *b = d->b.name, *s = d->thing;
    int64_t x = d->x, y = d->y, z = d->z;
    switch (form) {
    case 5:
        *answer = x + y * z;
        return kd_buf_printf(t, "%s has %" PRId64 " %s. %s buys %" PRId64 " packs of %" PRId64 " %s. How many %s does %s have now?", a, x,
                             s, d->a.he, y, z, s, s, a);
    case 6:
        *answer = x + z;
        return kd_buf_printf(t,
                             "%s has %" PRId64 " %s. %s gives %" PRId64 " to %s and then finds %" PRId64
                             " more. How many %s does %s have now?",
                             a, x + y, s, d->a.he, y, b, z, s, a);
    case 7:
        *answer = z;
        return kd_buf_printf(t,
                             "%s buys %" PRId64 " %s for %" PRId64 " dollars each and pays with %" PRId64
                             " dollars. How many dollars does %s get back?",
                             a, y, d->goods, x, x * y + z, a);
    case 10:
        *answer = x * y - z;
        return kd_buf_printf(t,
                             "A hall has %" PRId64 " rows of %" PRId64 " chairs. People sit on %" PRId64
                             " of the chairs. How many chairs are free?",
                             y, x, z);
    case 11:
        *answer = z;
        return kd_buf_printf(t,
                             "A book has %" PRId64 " pages. %s reads %" PRId64 " pages a day for %" PRId64
                             " days. How many pages are left?",
                             x * y + z, a, x, y);
    case 12:
        *answer = 2 * x + y;
        return kd_buf_printf(t, "%s has %" PRId64 " %s. %s has %" PRId64 " more %s than %s. How many %s do they have together?", a, x, s, b,
                             y, s, a, s);
    case 13:
        *answer = 3 * x;
        return kd_buf_printf(t, "%s picks %" PRId64 " %s. %s picks twice as many. How many %s do they pick together?", a, x, s, b, s);
    default:
        *answer = x * y * z;
        return kd_buf_printf(t,
                             "%s earns %" PRId64 " dollars an hour and works %" PRId64
                             " hours a day. How many dollars does %s earn in %" PRId64 " days?",
                             a, x, z, a, y);
    }
}

kd_code kd_problem(kd_buf *text, int64_t *answer, int form, uint64_t seed, uint64_t n) {
    kd_rng r = {.key = seed, .stream = n * KD_PROBLEM_FORMS + (uint64_t)form};
    draw d = draw_parts(&r);
    bool one = form <= 4 || form == 8 || form == 9;
    return one ? simple(text, answer, form, &d) : longer(text, answer, form, &d);
}

/* The texts that were given already, by hash: open addressing, never full. */
typedef struct {
    uint64_t *at;
    size_t cap, n;
} seen;

static bool new_text(seen *s, kd_str t) {
    uint64_t h = kd_hash64(t.data, t.len, 0) | 1;
    size_t i = (size_t)h & (s->cap - 1);
    for (; s->at[i]; i = (i + 1) & (s->cap - 1))
        if (s->at[i] == h) return false;
    s->at[i] = h, s->n++;
    return true;
}

typedef struct {
    const char *dir, *suffix;
    uint64_t seed, next[KD_PROBLEM_FORMS]; /* the next number of each form */
    seen seen;
} maker;

static kd_code write_set(maker *m, const char *name, size_t count, int first, int forms, kd_err *e) {
    char *path = kd_path_join(m->dir, name);
    kd_buf out = {0}, text = {0};
    kd_code c = path ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: out of memory", name);
    for (size_t i = 0, tries = 0; !c && i < count; tries++) {
        int form = first + (int)(i % (size_t)forms);
        int64_t answer = 0;
        char number[32];
        kd_jsonw w = {.out = &out};
        text.len = 0;
        if (tries > 100 * count + 10000) {
            c = kd_fail(e, KD_EINVAL, "%s: there are not %zu different questions of these forms", path, count);
            break;
        }
        c = kd_problem(&text, &answer, form, m->seed, m->next[form]++);
        if (c || !new_text(&m->seen, kd_buf_view(&text))) continue;
        if (m->suffix) c = kd_buf_puts(&text, m->suffix);
        snprintf(number, sizeof number, "%" PRId64, answer);
        kd_jsonw_object(&w);
        kd_jsonw_key(&w, "question"), kd_jsonw_str(&w, kd_buf_view(&text));
        kd_jsonw_key(&w, "answer"), kd_jsonw_cstr(&w, number);
        kd_jsonw_key(&w, "form"), kd_jsonw_cstr(&w, kd_problem_form(form));
        kd_jsonw_end_object(&w);
        c = c ? c : w.code ? w.code : kd_buf_putc(&out, '\n');
        if (c) c = kd_fail(e, c, "%s: out of memory", path);
        i++;
    }
    if (!c) c = kd_file_write(path, out.data ? out.data : "", out.len, e);
    kd_buf_clear(&out);
    kd_buf_clear(&text);
    kd_free(path);
    return c;
}

kd_code kd_problems_write(const char *dir, const kd_problem_counts *n, uint64_t seed, const char *suffix, kd_err *e) {
    maker m = {.dir = dir, .suffix = suffix, .seed = seed};
    size_t all = n->train + n->dev + n->test + n->forms, trained = KD_PROBLEM_FORMS - KD_PROBLEM_KEPT_OUT;
    if (all > 1000000) return kd_fail(e, KD_EINVAL, "problems: expected at most 1000000, found %zu", all);
    for (m.seen.cap = 64; m.seen.cap < 4 * all; m.seen.cap *= 2)
        ;
    if (!(m.seen.at = kd_calloc(m.seen.cap, sizeof *m.seen.at))) return kd_fail(e, KD_ENOMEM, "problems: out of memory");
    kd_code c = kd_mkdirs(dir, e);
    /* Test before train and dev, so that its questions are the same whatever the size of training. */
    if (!c) c = write_set(&m, "test.jsonl", n->test, 0, (int)trained, e);
    if (!c) c = write_set(&m, "forms.jsonl", n->forms, (int)trained, KD_PROBLEM_KEPT_OUT, e);
    if (!c) c = write_set(&m, "dev.jsonl", n->dev, 0, (int)trained, e);
    if (!c) c = write_set(&m, "train.jsonl", n->train, 0, (int)trained, e);
    kd_free(m.seen.at);
    return c;
}
