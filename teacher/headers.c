/* teacher/headers.c - see headers.h. Forms of durations and names of headers: OpenAI's, Anthropic's, OpenRouter's and Azure's documentation; RFC 9110. */
#include "teacher/headers.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

void kd_head_clear(kd_head *h) {
    h->retry_after = h->left[0] = h->left[1] = h->reset[0] = h->reset[1] = -1;
    h->should_retry = -1, h->date = -1, h->type[0] = h->later[0] = 0;
}

/* ---- times ---- */
static int month_of(const char *name) {
    static const char *const names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    for (int i = 0; i < 12; i++)
        if (!strcasecmp(name, names[i])) return i;
    return -1;
}

int64_t kd_http_date(const char *v) {
    struct tm t = {0};
    char month[4] = "", zone[8] = "";
    double s = 0;
    int n = 0, east = 0;
    const char *comma = strchr(v, ',');
    if (sscanf(v, "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%lf%n", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min, &s, &n) == 6 && n) {
        int h = 0, m = 0;
        t.tm_mon--, t.tm_year -= 1900;
        if ((v[n] == '+' || v[n] == '-') && sscanf(v + n + 1, "%2d:%2d", &h, &m) == 2) east = (v[n] == '-' ? -60 : 60) * (60 * h + m);
    } else if (comma && sscanf(comma + 1, " %2d%*1[ -]%3s%*1[ -]%4d %2d:%2d:%lf %7s", &t.tm_mday, month, &t.tm_year, &t.tm_hour, &t.tm_min,
                               &s, zone) == 7) {
        t.tm_year -= t.tm_year >= 100 ? 1900 : t.tm_year < 70 ? -100 : 0;
        t.tm_mon = month_of(month);
    } else if (sscanf(v, "%*3s %3s %2d %2d:%2d:%lf %4d", month, &t.tm_mday, &t.tm_hour, &t.tm_min, &s, &t.tm_year) == 6) {
        t.tm_year -= 1900;
        t.tm_mon = month_of(month);
    } else
        return -1;
    if (t.tm_mon < 0 || t.tm_mon > 11 || t.tm_mday < 1 || t.tm_mday > 31 || t.tm_hour > 24 || t.tm_min > 60 || !(s >= 0 && s < 62))
        return -1;
    t.tm_sec = (int)s;
    return (int64_t)timegm(&t) - east;
}

double kd_span_seconds(const char *v, int64_t now) {
    double total = 0;
    const char *p = v;
    if (strchr(v, '-') && strchr(v, ':')) {
        int64_t when = kd_http_date(v);
        return when < 0 ? -1 : when > now ? (double)(when - now) : 0;
    }
    do {
        char *end;
        if (!isdigit((unsigned char)*p)) return -1;
        double x = strtod(p, &end);
        if (!*end && p == v) { /* a bare number: seconds, or a time since 1970 */
            if (x > 1e11) x /= 1000;
            return x < 1e9 ? x : x < 1e11 ? fmax(0, x - (double)now) : -1;
        }
        p = end;
        double unit = !strncmp(p, "ms", 2) ? 1e-3 : *p == 's' ? 1 : *p == 'm' ? 60 : *p == 'h' ? 3600 : *p == 'd' ? 86400 : 0;
        if (unit == 0) return -1;
        total += x * unit;
        p += unit < 1 ? 2 : 1;
    } while (*p);
    return total < 1e9 ? total : -1;
}

/* Seconds of "120" or of a date; -1 if neither. */
static double retry_seconds(const char *v, int64_t now) {
    char *end;
    double s = strtod(v, &end);
    if (end != v && isdigit((unsigned char)*v) && s < 1e7) {
        while (isspace((unsigned char)*end)) end++;
        if (!*end) return s;
    }
    int64_t when = kd_http_date(v);
    return when < 0 ? -1 : when > now ? (double)(when - now) : 0;
}

/* ---- lines ---- */
static const struct {
    const char *name;
    int kind;   /* 0 requests, 1 tokens */
    bool reset; /* else what is left */
} limits[] = {{"x-ratelimit-remaining-requests", 0, false},
              {"x-ratelimit-reset-requests", 0, true},
              {"x-ratelimit-remaining-tokens", 1, false},
              {"x-ratelimit-reset-tokens", 1, true},
              {"x-ratelimit-remaining", 0, false},
              {"x-ratelimit-reset", 0, true},
              {"anthropic-ratelimit-requests-remaining", 0, false},
              {"anthropic-ratelimit-requests-reset", 0, true},
              {"anthropic-ratelimit-tokens-remaining", 1, false},
              {"anthropic-ratelimit-tokens-reset", 1, true},
              {"anthropic-ratelimit-input-tokens-remaining", 1, false},
              {"anthropic-ratelimit-input-tokens-reset", 1, true},
              {"anthropic-ratelimit-output-tokens-remaining", 1, false},
              {"anthropic-ratelimit-output-tokens-reset", 1, true}};

static void limit_line(kd_head *h, const char *name, const char *v) {
    char *end = NULL;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        if (strcasecmp(name, limits[i].name) != 0) continue;
        double *to = limits[i].reset ? &h->reset[limits[i].kind] : &h->left[limits[i].kind];
        double x = limits[i].reset ? kd_span_seconds(v, h->date > 0 ? h->date : (int64_t)time(NULL)) : strtod(v, &end);
        if (!limits[i].reset && (end == v || !(x >= 0 && x < 1e15))) x = -1; /* "-1" says that there is no limit */
        if (x < 0) continue;
        *to = *to < 0 ? x : limits[i].reset ? fmax(*to, x) : fmin(*to, x);
    }
}

static void named_line(kd_head *h, const char *name, const char *v) {
    char *end;
    if (!strcasecmp(name, "retry-after-ms")) {
        double ms = strtod(v, &end);
        if (end != v && ms >= 0 && ms < 1e10) h->retry_after = ms / 1000;
    } else if (!strcasecmp(name, "retry-after"))
        snprintf(h->later, sizeof h->later, "%s", v);
    else if (!strcasecmp(name, "date"))
        h->date = kd_http_date(v);
    else if (!strcasecmp(name, "x-should-retry"))
        h->should_retry = !strcasecmp(v, "true") ? 1 : !strcasecmp(v, "false") ? 0 : -1;
    else if (!strcasecmp(name, "content-type"))
        snprintf(h->type, sizeof h->type, "%s", v);
    else
        limit_line(h, name, v);
}

void kd_head_line(kd_head *h, const char *p, size_t n) {
    char line[512];
    if (n >= 5 && !memcmp(p, "HTTP/", 5)) { /* a new answer begins (100-continue came before) */
        kd_head_clear(h);
        return;
    }
    if (!n || !strchr("rRdDxXcCaA", *p)) return; /* no name of ours begins otherwise */
    size_t len = n < sizeof line ? n : sizeof line - 1;
    memcpy(line, p, len);
    line[len] = 0;
    char *colon = strchr(line, ':');
    if (!colon) return;
    *colon = 0;
    char *v = colon + 1;
    while (isspace((unsigned char)*v)) v++;
    for (char *end = v + strlen(v); end > v && isspace((unsigned char)end[-1]);) *--end = 0;
    named_line(h, line, v);
}

void kd_head_end(kd_head *h, int64_t now) {
    if (h->retry_after < 0 && h->later[0]) h->retry_after = retry_seconds(h->later, h->date > 0 ? h->date : now);
}
