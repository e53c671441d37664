/* distill/cli/render_opts.c - see render_opts.h. Leans on base/file.h. */
#include "distill/cli/render_opts.h"

#include "distill/base/file.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

kd_code kd_render_now(int64_t *now, const char *date, kd_err *e) {
    struct tm tm = {0};
    int y, m, d, used = 0;
    if (!date) {
        time_t t = time(NULL);
        if (!localtime_r(&t, &tm)) return kd_fail(e, KD_EBUG, "the clock shows no date");
        *now = (int64_t)timegm(&tm);
        return KD_OK;
    }
    if (sscanf(date, "%4d-%2d-%2d%n", &y, &m, &d, &used) != 3 || date[used] || y < 1 || m < 1 || m > 12 || d < 1 || d > 31)
        return kd_fail(e, KD_EINVAL, "--date: expected YYYY-MM-DD, found %s", date);
    tm = (struct tm){.tm_year = y - 1900, .tm_mon = m - 1, .tm_mday = d};
    *now = (int64_t)timegm(&tm);
    if (tm.tm_mday != d) return kd_fail(e, KD_EINVAL, "--date: there is no %s", date);
    return KD_OK;
}

static kd_code read_json(kd_json **out, const kd_json_node **root, const char *path, kd_err *e) {
    kd_buf b = {0};
    if (!path) return KD_OK;
    kd_code c = kd_file_read(&b, path, 64 << 20, e);
    if (!c) c = kd_json_parse(out, b.data ? b.data : "", b.len, path, e);
    kd_buf_clear(&b);
    *root = kd_json_root(*out);
    if (!c && kd_json_typeof(*root) != KD_JSON_ARRAY) c = kd_fail(e, KD_EFORMAT, "%s: expected an array", path);
    return c;
}

kd_code kd_render_setup_open(kd_render_setup *s, kd_cli *cli, kd_err *e) {
    const char *model = kd_opt_string(cli, "model"), *vars = kd_opt_string(cli, "template-vars");
    *s = (kd_render_setup){0};
    if (!model) return kd_fail(e, KD_EINVAL, "%s: --model PATH is needed", cli->cmd->name);
    kd_code c = kd_render_now(&s->render.now, kd_opt_string(cli, "date"), e);
    if (!c) c = kd_tokenizer_open(&s->tokenizer, model, e);
    if (!c) c = kd_chat_open(&s->chat, model, kd_opt_string(cli, "chat-template"), e);
    if (!c) c = read_json(&s->tools, &s->render.tools, kd_opt_string(cli, "tools"), e);
    if (!c) c = read_json(&s->documents, &s->render.documents, kd_opt_string(cli, "documents"), e);
    if (!c && vars) {
        c = kd_json_parse(&s->vars, vars, strlen(vars), "--template-vars", e);
        s->render.extra = kd_json_root(s->vars);
        if (!c && kd_json_typeof(s->render.extra) != KD_JSON_OBJECT) c = kd_fail(e, KD_EINVAL, "--template-vars: expected an object");
    }
    s->render.chat = s->chat;
    s->render.tokenizer = s->tokenizer;
    if (c) kd_render_setup_close(s);
    return c;
}

void kd_render_setup_close(kd_render_setup *s) {
    kd_chat_free(s->chat);
    kd_tokenizer_free(s->tokenizer);
    kd_json_free(s->tools);
    kd_json_free(s->documents);
    kd_json_free(s->vars);
    *s = (kd_render_setup){0};
}
