/* distill/cli/judge.h - `label --judge`: a teacher asks, datasets reads the verdict. Leans on cli.h, datasets/judge.h. */
#ifndef KD_CLI_JUDGE_H
#define KD_CLI_JUDGE_H

#include "datasets/judge.h"
#include "distill/cli/cli.h"

#define KD_JUDGE_OPTIONS                                                                                                                   \
    {"judge", 0, KD_OPT_STRING, "PATH|URL", NULL, "a model that judges: one here, or the base URL of an API, .../v1", "Judge"},            \
        {"judge-model", 0, KD_OPT_STRING, "NAME", NULL, "its name at the URL", "Judge"},                                                   \
        {"judge-prompt",                                                                                                                   \
         0,                                                                                                                                \
         KD_OPT_PATH,                                                                                                                      \
         "FILE",                                                                                                                           \
         NULL,                                                                                                                             \
         "what it is asked, with {question} {answer} {gold} {thought}; its last line must be VERDICT: right or VERDICT: wrong",            \
         "Judge"},                                                                                                                         \
        {"votes", 0, KD_OPT_INT, "N", "1", "answers of the judge a sample; more than half decide", "Judge", .min = 1, .max = 1000},        \
        {"judge-temperature",                                                                                                              \
         0,                                                                                                                                \
         KD_OPT_FLOAT,                                                                                                                     \
         "T",                                                                                                                              \
         NULL,                                                                                                                             \
         "of the judge (one vote: 0; more: 0.7 here, the provider's own at a URL)",                                                        \
         "Judge",                                                                                                                          \
         .min = 0,                                                                                                                         \
         .max = 100},                                                                                                                      \
        {"judge-max-tokens", 0, KD_OPT_INT, "N", "1024", "length of its answer at most", "Judge", .min = 1, .max = 1e9},                   \
        {"concurrency", 0, KD_OPT_INT, "N", "32", "requests in flight at most", "Judge", .min = 1, .max = 100000},                         \
        {"rps", 0, KD_OPT_FLOAT, "N", NULL, "requests a second at most", "Judge", .min = 0, .max = 1e9},                                   \
        {"rpm", 0, KD_OPT_FLOAT, "N", NULL, "requests a minute at most", "Judge", .min = 0, .max = 1e9},                                   \
        {"tpm", 0, KD_OPT_FLOAT, "N", NULL, "tokens a minute at most", "Judge", .min = 0, .max = 1e12},                                    \
        {"timeout", 0, KD_OPT_FLOAT, "SECONDS", "600", "of one request", "Judge", .min = 0.001, .max = 1e6},                               \
        {"retries", 0, KD_OPT_INT, "N", "6", "tries after the first", "Judge", .min = 0, .max = 1000},                                     \
        {"api-key-file", 0, KD_OPT_PATH, "FILE", NULL, "holds the key, for nobody else to read (else DISTILL_API_KEY, OPENAI_API_KEY)",    \
         "Judge"},                                                                                                                         \
        {"ca-file", 0, KD_OPT_PATH, "FILE", NULL, "certificates to trust in the place of the system's", "Judge"},                          \
        {"budget", 0, KD_OPT_FLOAT, "USD", NULL, "never spend more on this judge", "Judge", .min = 0, .max = 1e12},                        \
        {"price-input", 0, KD_OPT_FLOAT, "USD", NULL, "a million prompt tokens", "Judge", .min = 0, .max = 1e9},                           \
        {"price-output", 0, KD_OPT_FLOAT, "USD", NULL, "a million completion tokens", "Judge", .min = 0, .max = 1e9},                      \
        {"insecure-http", 0, KD_OPT_FLAG, NULL, NULL, "allow plain http to another machine", "Judge"}, {                                   \
        "parallel", 0, KD_OPT_INT, "N", "32", "a judge here: sequences decoded together", "Judge", .min = 1, .max = 4096                   \
    }

/* Asks the judge for what is missing and writes the label "judge"; what was had is told in r and written even when it returns an error. */
kd_code kd_cli_judge(kd_cli *cli, kd_study *s, kd_judge_report *r, kd_err *e);

#endif
