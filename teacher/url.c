/* teacher/url.c - what a URL given by a user may be (http.h). Leans on base alone. */
#include "teacher/http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Where the host of a URL stands in it; false if it is no http(s) URL. *user: it names a user before the host. */
static bool host_of(const char *url, const char **host, size_t *n, bool *user) {
    const char *at = !strncmp(url, "http://", 7) ? url + 7 : !strncmp(url, "https://", 8) ? url + 8 : NULL;
    if (!at) return false;
    size_t len = strcspn(at, "/?#\\"); /* some parsers end the host at a backslash: so it is no part of one here */
    const char *sign = memrchr(at, '@', len);
    *user = sign != NULL;
    *host = sign ? sign + 1 : at;
    len -= (size_t)(*host - at);
    *n = **host == '[' ? strcspn(*host, "]") + 1 : strcspn(*host, ":/?#\\");
    return *n > 0 && *n <= len;
}

bool kd_url_local(const char *url) {
    const char *at;
    char host[64], more;
    size_t n;
    bool user;
    unsigned a, b, c, d;
    if (!host_of(url, &at, &n, &user) || n >= sizeof host) return false;
    memcpy(host, at, n);
    host[n] = 0;
    return !strcasecmp(host, "localhost") || !strcmp(host, "[::1]") ||
           (sscanf(host, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &more) == 4 && a == 127 && b < 256 && c < 256 && d < 256);
}

kd_code kd_url_check(const char *url, kd_err *e) {
    const char *at;
    size_t n;
    bool user = false;
    if (!host_of(url, &at, &n, &user)) /* not quoted: it may hold a key all the same */
        return kd_fail(e, KD_EINVAL, "expected a URL that begins with http:// or https:// and names a host");
    if (user || strpbrk(url, "?#"))
        return kd_fail(e, KD_EINVAL,
                       "a URL with a user, a password, a query or a fragment would be written down with what it holds: give the API's base "
                       "alone, and the key by --api-key-file");
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= 0x20 || *p == '\\' || *p == 0x7f)
            return kd_fail(e, KD_EINVAL, "%s: a URL holds no white space, control characters or backslashes", url);
    return KD_OK;
}
