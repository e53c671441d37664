/* distill/cli/judge.c - a teacher that judges: its questions out of the study, its answers by a teacher, its verdicts back as a label. Leans on judge.h,
 * teacher. */
#include "distill/cli/judge.h"

#include "distill/base/clock.h"
#include "distill/base/file.h"
#include "teacher/teacher.h"

#include <stdlib.h>
#include <string.h>

enum { TEMPLATE_MOST = 1 << 20 };

static double given(const kd_cli *cli, const char *name) { return kd_opt_given(cli, name) ? kd_opt_float(cli, name) : -1; }

static kd_code read_key(kd_cli *cli, kd_buf *key, kd_err *e) {
    const char *file = kd_opt_string(cli, "api-key-file");
    if (file) return kd_key_read(key, file, e);
    const char *v = getenv("DISTILL_API_KEY");
    v = v && *v ? v : getenv("OPENAI_API_KEY");
    return v && *v && kd_buf_puts(key, v) ? kd_fail(e, KD_ENOMEM, "judge: out of memory") : KD_OK;
}

static kd_code ask_remote(kd_cli *cli, kd_study *s, const kd_teach_opts *o, kd_teach_report *t, kd_err *e) {
    kd_buf key = {0};
    kd_remote_opts ro = {.url = kd_opt_string(cli, "judge"),
                         .model = kd_opt_string(cli, "judge-model"),
                         .ca_file = kd_opt_string(cli, "ca-file"),
                         .concurrency = (size_t)kd_opt_int(cli, "concurrency"),
                         .rps = kd_opt_float(cli, "rps"),
                         .rpm = kd_opt_float(cli, "rpm"),
                         .tpm = kd_opt_float(cli, "tpm"),
                         .timeout = kd_opt_float(cli, "timeout"),
                         .retries = (int)kd_opt_int(cli, "retries"),
                         .budget = given(cli, "budget"),
                         .prices = {given(cli, "price-input"), given(cli, "price-output"), -1, -1},
                         .logprobs = -1,
                         .send_seed = kd_opt_given(cli, "seed"),
                         .insecure_http = kd_opt_flag(cli, "insecure-http")};
    kd_code c = read_key(cli, &key, e);
    ro.key = key.len ? key.data : NULL;
    if (!c) c = kd_teach_remote(s, o, &ro, cli->watch, t, e);
    if (key.data) explicit_bzero(key.data, key.cap);
    kd_buf_clear(&key);
    return c;
}

static kd_code ask_local(kd_cli *cli, kd_study *s, const kd_teach_opts *o, kd_teach_report *t, kd_err *e) {
    const kd_local_opts l = {.model = kd_opt_string(cli, "judge"),
                             .threads = cli->threads,
                             .parallel = (size_t)kd_opt_int(cli, "parallel"),
                             .memory = cli->memory,
                             .now = kd_unix_ms() / 1000};
    return kd_teach_local(s, o, &l, cli->watch, t, e);
}

kd_code kd_cli_judge(kd_cli *cli, kd_study *s, kd_judge_report *r, kd_err *e) {
    const char *judge = kd_opt_string(cli, "judge"), *file = kd_opt_string(cli, "judge-prompt"), *name = kd_opt_string(cli, "judge-model");
    kd_judge_opts o = {.select = kd_opt_string(cli, "select"), .votes = (int)kd_opt_int(cli, "votes")};
    kd_buf text = {0};
    kd_teach_report t = {0};
    char split[32];
    kd_err told;
    kd_err_clear(&told);
    *r = (kd_judge_report){0};
    const bool url = !strncmp(judge, "http://", 7) || !strncmp(judge, "https://", 8);
    if (url && !name) return kd_fail(e, KD_EINVAL, "label: --judge URL takes --judge-model NAME besides");
    kd_code c = file ? kd_file_read(&text, file, TEMPLATE_MOST, e) : KD_OK;
    if (!c && file) o.text = text.len ? kd_buf_view(&text) : KD_STR("");
    if (!c) c = kd_judge_check(&o, split, e);
    if (!c) c = kd_judge_prepare(s, &o, cli->watch, r, e);
    if (!c) {
        const kd_teach_opts asked = {.work = {.split = split, .samples = o.votes},
                                     .temperature = kd_opt_given(cli, "judge-temperature") ? kd_opt_float(cli, "judge-temperature")
                                                    : o.votes == 1                         ? 0
                                                                                           : -1,
                                     .top_p = -1,
                                     .min_p = -1,
                                     .top_k = -1,
                                     .max_tokens = kd_opt_int(cli, "judge-max-tokens"),
                                     .seed = cli->seed,
                                     .purpose = "judge"};
        c = url ? ask_remote(cli, s, &asked, &t, e) : ask_local(cli, s, &asked, &t, e);
    }
    if (t.settings) { /* what was had is told even when asking ended early */
        const kd_code also = kd_judge_tell(s, &o, t.settings, name ? name : judge, cli->watch, r, &told);
        if (!c && also) c = kd_fail(e, also, "%s", told.msg);
    }
    kd_buf_clear(&text);
    return c;
}
