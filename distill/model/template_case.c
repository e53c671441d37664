/* distill/model/template_case.c - upper, lower, title case and kinds of characters as Python's str knows them. Leans on base/utf8.h.
 * The table holds the mappings of Unicode's SpecialCasing.txt that are longer than one character and hold everywhere. */
#include "distill/base/utf8.h"
#include "distill/model/template_run.h"

#include <string.h>

typedef struct {
    uint16_t from, upper[3], title[3];
} special;
static const special specials[] = {{0x00df, {0x53, 0x53}, {0x53, 0x73}},
                                   {0x0149, {0x2bc, 0x4e}, {0x2bc, 0x4e}},
                                   {0x01f0, {0x4a, 0x30c}, {0x4a, 0x30c}},
                                   {0x0390, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
                                   {0x03b0, {0x3a5, 0x308, 0x301}, {0x3a5, 0x308, 0x301}},
                                   {0x0587, {0x535, 0x552}, {0x535, 0x582}},
                                   {0x1e96, {0x48, 0x331}, {0x48, 0x331}},
                                   {0x1e97, {0x54, 0x308}, {0x54, 0x308}},
                                   {0x1e98, {0x57, 0x30a}, {0x57, 0x30a}},
                                   {0x1e99, {0x59, 0x30a}, {0x59, 0x30a}},
                                   {0x1e9a, {0x41, 0x2be}, {0x41, 0x2be}},
                                   {0x1f50, {0x3a5, 0x313}, {0x3a5, 0x313}},
                                   {0x1f52, {0x3a5, 0x313, 0x300}, {0x3a5, 0x313, 0x300}},
                                   {0x1f54, {0x3a5, 0x313, 0x301}, {0x3a5, 0x313, 0x301}},
                                   {0x1f56, {0x3a5, 0x313, 0x342}, {0x3a5, 0x313, 0x342}},
                                   {0x1fb2, {0x1fba, 0x399}, {0x1fba, 0x345}},
                                   {0x1fb3, {0x391, 0x399}, {0x1fbc}},
                                   {0x1fb4, {0x386, 0x399}, {0x386, 0x345}},
                                   {0x1fb6, {0x391, 0x342}, {0x391, 0x342}},
                                   {0x1fb7, {0x391, 0x342, 0x399}, {0x391, 0x342, 0x345}},
                                   {0x1fbc, {0x391, 0x399}, {0x1fbc}},
                                   {0x1fc2, {0x1fca, 0x399}, {0x1fca, 0x345}},
                                   {0x1fc3, {0x397, 0x399}, {0x1fcc}},
                                   {0x1fc4, {0x389, 0x399}, {0x389, 0x345}},
                                   {0x1fc6, {0x397, 0x342}, {0x397, 0x342}},
                                   {0x1fc7, {0x397, 0x342, 0x399}, {0x397, 0x342, 0x345}},
                                   {0x1fcc, {0x397, 0x399}, {0x1fcc}},
                                   {0x1fd2, {0x399, 0x308, 0x300}, {0x399, 0x308, 0x300}},
                                   {0x1fd3, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
                                   {0x1fd6, {0x399, 0x342}, {0x399, 0x342}},
                                   {0x1fd7, {0x399, 0x308, 0x342}, {0x399, 0x308, 0x342}},
                                   {0x1fe2, {0x3a5, 0x308, 0x300}, {0x3a5, 0x308, 0x300}},
                                   {0x1fe3, {0x3a5, 0x308, 0x301}, {0x3a5, 0x308, 0x301}},
                                   {0x1fe4, {0x3a1, 0x313}, {0x3a1, 0x313}},
                                   {0x1fe6, {0x3a5, 0x342}, {0x3a5, 0x342}},
                                   {0x1fe7, {0x3a5, 0x308, 0x342}, {0x3a5, 0x308, 0x342}},
                                   {0x1ff2, {0x1ffa, 0x399}, {0x1ffa, 0x345}},
                                   {0x1ff3, {0x3a9, 0x399}, {0x1ffc}},
                                   {0x1ff4, {0x38f, 0x399}, {0x38f, 0x345}},
                                   {0x1ff6, {0x3a9, 0x342}, {0x3a9, 0x342}},
                                   {0x1ff7, {0x3a9, 0x342, 0x399}, {0x3a9, 0x342, 0x345}},
                                   {0x1ffc, {0x3a9, 0x399}, {0x1ffc}},
                                   {0xfb00, {0x46, 0x46}, {0x46, 0x66}},
                                   {0xfb01, {0x46, 0x49}, {0x46, 0x69}},
                                   {0xfb02, {0x46, 0x4c}, {0x46, 0x6c}},
                                   {0xfb03, {0x46, 0x46, 0x49}, {0x46, 0x66, 0x69}},
                                   {0xfb04, {0x46, 0x46, 0x4c}, {0x46, 0x66, 0x6c}},
                                   {0xfb05, {0x53, 0x54}, {0x53, 0x74}},
                                   {0xfb06, {0x53, 0x54}, {0x53, 0x74}},
                                   {0xfb13, {0x544, 0x546}, {0x544, 0x576}},
                                   {0xfb14, {0x544, 0x535}, {0x544, 0x565}},
                                   {0xfb15, {0x544, 0x53b}, {0x544, 0x56b}},
                                   {0xfb16, {0x54e, 0x546}, {0x54e, 0x576}},
                                   {0xfb17, {0x544, 0x53d}, {0x544, 0x56d}}};

static int32_t title_of(int32_t c) {
    if (c >= 0x1c4 && c <= 0x1cc) return c <= 0x1c6 ? 0x1c5 : c <= 0x1c9 ? 0x1c8 : 0x1cb;
    if (c >= 0x1f1 && c <= 0x1f3) return 0x1f2;
    if (c >= 0x10d0 && c <= 0x10ff) /* Georgian has no title case */
        return c;
    return (int32_t)kd_uc_toupper((uint32_t)c);
}

int32_t kd_tc_full(int32_t c, char how, int32_t out[3]) {
    if (how == 'L' || how == 'F') {
        if (c == 0x130) {
            out[0] = 'i';
            out[1] = 0x307;
            return 2;
        }
        if (how == 'F' && (c == 0xdf || c == 0x1e9e)) {
            out[0] = out[1] = 's';
            return 2;
        }
        out[0] = how == 'F' && c == 0x17f ? 's' : how == 'F' && c == 0x3c2 ? 0x3c3 : (int32_t)kd_uc_tolower((uint32_t)c);
        return 1;
    }
    if (c >= 0x1f80 && c <= 0x1faf) { /* Greek with iota below */
        int32_t base = (c < 0x1f90 ? 0x1f08 : c < 0x1fa0 ? 0x1f28 : 0x1f68) + (c & 7);
        out[0] = how == 'U' ? base : c | 8;
        out[1] = 0x399;
        return how == 'U' ? 2 : 1;
    }
    for (size_t i = 0; c >= 0xdf && i < sizeof specials / sizeof *specials && specials[i].from <= c; i++) {
        const uint16_t *to = how == 'U' ? specials[i].upper : specials[i].title;
        if (specials[i].from != c) continue;
        int32_t n = 0;
        while (n < 3 && to[n]) {
            out[n] = to[n];
            n++;
        }
        return n;
    }
    out[0] = how == 'T' ? title_of(c) : (int32_t)kd_uc_toupper((uint32_t)c);
    return 1;
}

/* Ranges of code points that Unicode 14's properties add to what categories tell. */
/* Other_Lowercase */
static const uint32_t other_lower[][2] = {{0xaa, 0xaa},       {0xba, 0xba},       {0x2b0, 0x2b8},     {0x2c0, 0x2c1},    {0x2e0, 0x2e4},
                                          {0x345, 0x345},     {0x37a, 0x37a},     {0x1d2c, 0x1d6a},   {0x1d78, 0x1d78},  {0x1d9b, 0x1dbf},
                                          {0x2071, 0x2071},   {0x207f, 0x207f},   {0x2090, 0x209c},   {0x2170, 0x217f},  {0x24d0, 0x24e9},
                                          {0x2c7c, 0x2c7d},   {0xa69c, 0xa69d},   {0xa770, 0xa770},   {0xa7f8, 0xa7f9},  {0xab5c, 0xab5f},
                                          {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}};
/* Other_Uppercase */
static const uint32_t other_upper[][2] = {{0x2160, 0x216f}, {0x24b6, 0x24cf}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};
/* digits that are not decimal: superscripts, circled and the like */
static const uint32_t other_digit[][2] = {{0xb2, 0xb3},     {0xb9, 0xb9},       {0x1369, 0x1371},   {0x19da, 0x19da},   {0x2070, 0x2070},
                                          {0x2074, 0x2079}, {0x2080, 0x2089},   {0x2460, 0x2468},   {0x2474, 0x247c},   {0x2488, 0x2490},
                                          {0x24ea, 0x24ea}, {0x24f5, 0x24fd},   {0x24ff, 0x24ff},   {0x2776, 0x277e},   {0x2780, 0x2788},
                                          {0x278a, 0x2792}, {0x10a40, 0x10a43}, {0x10e60, 0x10e68}, {0x11052, 0x1105a}, {0x1f100, 0x1f10a}};
/* letters with a numeric value */
static const uint32_t other_number[][2] = {
    {0x3405, 0x3405},   {0x3483, 0x3483},   {0x382a, 0x382a},   {0x3b4d, 0x3b4d},   {0x4e00, 0x4e00},   {0x4e03, 0x4e03},
    {0x4e07, 0x4e07},   {0x4e09, 0x4e09},   {0x4e5d, 0x4e5d},   {0x4e8c, 0x4e8c},   {0x4e94, 0x4e94},   {0x4e96, 0x4e96},
    {0x4ebf, 0x4ec0},   {0x4edf, 0x4edf},   {0x4ee8, 0x4ee8},   {0x4f0d, 0x4f0d},   {0x4f70, 0x4f70},   {0x5104, 0x5104},
    {0x5146, 0x5146},   {0x5169, 0x5169},   {0x516b, 0x516b},   {0x516d, 0x516d},   {0x5341, 0x5341},   {0x5343, 0x5345},
    {0x534c, 0x534c},   {0x53c1, 0x53c4},   {0x56db, 0x56db},   {0x58f1, 0x58f1},   {0x58f9, 0x58f9},   {0x5e7a, 0x5e7a},
    {0x5efe, 0x5eff},   {0x5f0c, 0x5f0e},   {0x5f10, 0x5f10},   {0x62fe, 0x62fe},   {0x634c, 0x634c},   {0x67d2, 0x67d2},
    {0x6f06, 0x6f06},   {0x7396, 0x7396},   {0x767e, 0x767e},   {0x8086, 0x8086},   {0x842c, 0x842c},   {0x8cae, 0x8cae},
    {0x8cb3, 0x8cb3},   {0x8d30, 0x8d30},   {0x9621, 0x9621},   {0x9646, 0x9646},   {0x964c, 0x964c},   {0x9678, 0x9678},
    {0x96f6, 0x96f6},   {0xf96b, 0xf96b},   {0xf973, 0xf973},   {0xf978, 0xf978},   {0xf9b2, 0xf9b2},   {0xf9d1, 0xf9d1},
    {0xf9d3, 0xf9d3},   {0xf9fd, 0xf9fd},   {0x20001, 0x20001}, {0x20064, 0x20064}, {0x200e2, 0x200e2}, {0x20121, 0x20121},
    {0x2092a, 0x2092a}, {0x20983, 0x20983}, {0x2098c, 0x2098c}, {0x2099c, 0x2099c}, {0x20aea, 0x20aea}, {0x20afd, 0x20afd},
    {0x20b19, 0x20b19}, {0x22390, 0x22390}, {0x22998, 0x22998}, {0x23b1b, 0x23b1b}, {0x2626d, 0x2626d}, {0x2f890, 0x2f890}};

static bool among(int32_t c, const uint32_t (*r)[2], size_t n) {
    size_t low = 0;
    while (n) { /* the first range that ends at or behind c */
        size_t half = n / 2;
        if (r[low + half][1] < (uint32_t)c) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return r[low][0] <= (uint32_t)c && (uint32_t)c <= r[low][1];
}
#define AMONG(c, table) ((uint32_t)(c) <= (table)[sizeof(table) / sizeof *(table)-1][1] && among(c, table, sizeof(table) / sizeof *(table)))

bool kd_tc_lower(int32_t c) { return kd_uc_category((uint32_t)c) == ('L' << 8 | 'l') || AMONG(c, other_lower); }

bool kd_tc_upper(int32_t c) { return kd_uc_category((uint32_t)c) == ('L' << 8 | 'u') || AMONG(c, other_upper); }

bool kd_tc_cased(int32_t c) { return kd_tc_lower(c) || kd_tc_upper(c) || kd_uc_category((uint32_t)c) == ('L' << 8 | 't'); }

bool kd_tc_ignorable(int32_t c) {
    unsigned k = kd_uc_category((uint32_t)c);
    return k == ('M' << 8 | 'n') || k == ('M' << 8 | 'e') || k == ('C' << 8 | 'f') || k == ('L' << 8 | 'm') || k == ('S' << 8 | 'k') ||
           c == '\'' || c == '.' || c == ':' || c == 0xb7 || c == 0x387 || c == 0x2018 || c == 0x2019 || c == 0x2024 || c == 0x2027;
}

bool kd_tc_is(int32_t c, int method) {
    unsigned k = kd_uc_category((uint32_t)c);
    switch (method) {
    case KD_TM_isalpha: return k >> 8 == 'L';
    case KD_TM_isdecimal: return k == ('N' << 8 | 'd');
    case KD_TM_isdigit: return k == ('N' << 8 | 'd') || AMONG(c, other_digit);
    case KD_TM_isnumeric: return k >> 8 == 'N' || AMONG(c, other_number);
    case KD_TM_isalnum: return k >> 8 == 'L' || k >> 8 == 'N';
    case KD_TM_isprintable: return c == ' ' || (k >> 8 != 'C' && k >> 8 != 'Z');
    default: return false;
    }
}

static bool put_cp(kd_trun *r, kd_buf *b, int32_t c) {
    char u[4];
    return kd_tr_write(r, b, u, kd_utf8_put(u, (uint32_t)c));
}

/* Whether the sigma at byte i ends a word: cased before it and not behind, ignorable ones skipped. */
static bool final_sigma(kd_str s, size_t i) {
    bool before = false;
    size_t n, p = i;
    while (p > 0) {
        do p--;
        while (p > 0 && ((unsigned char)s.data[p] & 0xc0) == 0x80);
        int32_t c = kd_tpl_cp(s.data + p, &n);
        if (kd_tc_ignorable(c)) continue;
        before = kd_tc_cased(c);
        break;
    }
    for (p = i + 2; before && p < s.len; p += n) {
        int32_t c = kd_tpl_cp(s.data + p, &n);
        if (!kd_tc_ignorable(c)) return !kd_tc_cased(c);
    }
    return before;
}

bool kd_ts_case(kd_trun *r, kd_tval *out, kd_tval v, char how) {
    kd_str s = kd_tv_text(v);
    kd_buf b = {0};
    bool ok = kd_tr_charge(r, s.len / 4), previous = false;
    size_t n;
    for (size_t i = 0; ok && i < s.len; i += n) {
        int32_t c = kd_tpl_cp(s.data + i, &n), to[3];
        char h = how;
        if (how == 'C')
            h = i ? 'L' : 'T';
        else if (how == 'T')
            h = previous ? 'L' : 'T';
        else if (how == 'S')
            h = kd_tc_upper(c) ? 'L' : kd_tc_lower(c) ? 'U' : 'N';
        previous = kd_tc_cased(c);
        if (h == 'N') {
            ok = kd_tr_write(r, &b, s.data + i, n);
            continue;
        }
        int32_t count = kd_tc_full(c, h, to);
        if (h == 'L' && c == 0x3a3 && how != 'F') to[0] = final_sigma(s, i) ? 0x3c2 : 0x3c3;
        for (int32_t k = 0; ok && k < count; k++) ok = put_cp(r, &b, to[k]);
    }
    ok = kd_tv_take(r, out, &b);
    out->flag = v.flag;
    return ok;
}
