/* distill/cli/ask_opts.c - see ask_opts.h. */
#include "distill/cli/ask_opts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

kd_teach_opts kd_asked(const kd_cli *cli) {
    const char *split = kd_opt_string(cli, "split");
    kd_teach_opts o = {.temperature = kd_opt_given(cli, "temperature") ? kd_opt_float(cli, "temperature") : -1,
                       .top_p = kd_opt_given(cli, "top-p") ? kd_opt_float(cli, "top-p") : -1,
                       .min_p = kd_opt_given(cli, "min-p") ? kd_opt_float(cli, "min-p") : -1,
                       .top_k = kd_opt_given(cli, "top-k") ? kd_opt_int(cli, "top-k") : -1,
                       .max_tokens = kd_opt_given(cli, "max-tokens") ? kd_opt_int(cli, "max-tokens") : -1,
                       .system = kd_opt_string(cli, "system"),
                       .prefill = kd_opt_string(cli, "prefill"),
                       .seed = cli->seed};
    o.work = (kd_work_opts){.split = strcmp(split, "all") ? split : NULL,
                            .limit = (uint64_t)kd_opt_int(cli, "limit"),
                            .samples = (int)kd_opt_int(cli, "samples")};
    o.stops = kd_opt_strings(cli, "stop", &o.stop);
    return o;
}

/* The key: from its file, which nobody else may read, or from the environment. *key is the caller's. */
static kd_code read_key(const kd_cli *cli, kd_buf *key, kd_err *e) {
    const char *file = kd_opt_string(cli, "api-key-file"), *v = getenv("DISTILL_API_KEY");
    if (file) return kd_key_read(key, file, e);
    v = v && *v ? v : getenv("OPENAI_API_KEY");
    return v && *v && kd_buf_puts(key, v) ? kd_fail(e, KD_ENOMEM, "generate: out of memory") : KD_OK;
}

static double given(const kd_cli *cli, const char *name) { return kd_opt_given(cli, name) ? kd_opt_float(cli, name) : -1; }

kd_code kd_endpoint_asked(kd_remote_opts *ro, kd_buf *key, const kd_cli *cli, const char *url, const char *model, kd_err *e) {
    const char *table = kd_opt_string(cli, "prices");
    *ro = (kd_remote_opts){.url = url,
                           .model = model,
                           .ca_file = kd_opt_string(cli, "ca-file"),
                           .extra_body = kd_opt_string(cli, "extra-body"),
                           .timeout = kd_opt_float(cli, "timeout"),
                           .retries = -1,
                           .budget = given(cli, "budget"),
                           .prices = {given(cli, "price-input"), given(cli, "price-output"), given(cli, "price-cached"),
                                      given(cli, "price-reasoning")},
                           .logprobs = kd_opt_given(cli, "logprobs") ? (int)kd_opt_int(cli, "logprobs") : -1,
                           .logprobs_step = kd_opt_float(cli, "logprobs-step"),
                           .send_seed = kd_opt_given(cli, "seed"),
                           .insecure_http = kd_opt_flag(cli, "insecure-http")};
    ro->n_headers = kd_opt_strings(cli, "header", &ro->headers);
    kd_code c = table && model ? kd_prices_read(&ro->prices, table, model, e) : KD_OK;
    if (!c) c = read_key(cli, key, e);
    ro->key = key->len ? key->data : NULL;
    return c;
}

void kd_key_forget(kd_buf *key) {
    if (key->data) explicit_bzero(key->data, key->cap);
    kd_buf_clear(key);
}

void kd_guard_process(void) {
    struct rlimit lim;
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (!getrlimit(RLIMIT_NOFILE, &lim) && lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &lim);
    }
}
