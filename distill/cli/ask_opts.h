/* distill/cli/ask_opts.h - the flags that say what a teacher is asked and how an endpoint is reached, shared by generate and batch. Leans on cli.h, teacher.h. */
#ifndef KD_CLI_ASK_OPTS_H
#define KD_CLI_ASK_OPTS_H

#include "distill/cli/cli.h"
#include "teacher/teacher.h"

#define KD_ASK_OPTIONS                                                                                                                     \
    {"system", 0, KD_OPT_STRING, "TEXT", NULL, "a system turn, put first where a conversation has none", "Teacher"},                       \
        {"samples", 0, KD_OPT_INT, "K", "1", "answers to each question", "Questions", .min = 1, .max = 1e6},                               \
        {"split", 0, KD_OPT_STRING, "NAME", "train", "which questions: train, test, a name, or all", "Questions"},                         \
        {"limit", 0, KD_OPT_INT, "N", NULL, "only the first N questions in the order of import", "Questions", .min = 1, .max = 1e15},      \
        {"temperature", 0,        KD_OPT_FLOAT, "T", NULL, "0 is greedy (local: 0.7; remote: the provider's own)",                         \
         "Sampling",    .min = 0, .max = 100},                                                                                             \
        {"top-p",    0,        KD_OPT_FLOAT, "P", NULL, "keep the smallest set with this much probability (local: 0.95)",                  \
         "Sampling", .min = 0, .max = 1},                                                                                                  \
        {"top-k", 0, KD_OPT_INT, "K", NULL, "keep the K most likely tokens (local: 0 = all)", "Sampling", .min = 0, .max = 1e6},           \
        {"min-p",    0,        KD_OPT_FLOAT, "P", NULL, "keep tokens with this share of the best one's probability (local: 0)",            \
         "Sampling", .min = 0, .max = 1},                                                                                                  \
        {"max-tokens", 0, KD_OPT_INT, "N", NULL, "length of an answer at most (local: 1024)", "Sampling", .min = 1, .max = 1e9},           \
        {"stop", 0, KD_OPT_STRINGS, "TEXT", NULL, "ends an answer", "Sampling"},                                                           \
        {"logprobs", 0,        KD_OPT_INT, "K", NULL, "keep log-probabilities, and those of the K most likely tokens of every place",      \
         "Sampling", .min = 0, .max = 100},                                                                                                \
        {"logprobs-step", 0,        KD_OPT_FLOAT,                                                                                          \
         "NATS",          "0",      "keep them as multiples of it, in half the space (0.03); 0: to the last digit",                        \
         "Sampling",      .min = 0, .max = 1},                                                                                             \
    {                                                                                                                                      \
        "prefill", 0, KD_OPT_STRING, "TEXT", NULL, "how every answer begins (an assistant turn that the teacher goes on with)", "Remote"   \
    }

#define KD_ENDPOINT_OPTIONS                                                                                                                \
    {"teacher-model", 0, KD_OPT_STRING, "NAME", NULL, "the model's name at the URL", "Remote"},                                            \
        {"timeout", 0, KD_OPT_FLOAT, "SECONDS", "600", "of one request", "Remote", .min = 0.001, .max = 1e6},                              \
        {"api-key-file", 0, KD_OPT_PATH, "FILE", NULL, "holds the key, for nobody else to read (else DISTILL_API_KEY, OPENAI_API_KEY)",    \
         "Remote"},                                                                                                                        \
        {"ca-file", 0, KD_OPT_PATH, "FILE", NULL, "certificates to trust in the place of the system's", "Remote"},                         \
        {"header", 0, KD_OPT_STRINGS, "NAME: VALUE", NULL, "a header more", "Remote"},                                                     \
        {"extra-body", 0, KD_OPT_STRING, "JSON", NULL, "members more of every request", "Remote"},                                         \
        {"budget", 0, KD_OPT_FLOAT, "USD", NULL, "never spend more under these settings", "Remote", .min = 0, .max = 1e12},                \
        {"price-input", 0, KD_OPT_FLOAT, "USD", NULL, "a million prompt tokens", "Remote", .min = 0, .max = 1e9},                          \
        {"price-output", 0, KD_OPT_FLOAT, "USD", NULL, "a million completion tokens", "Remote", .min = 0, .max = 1e9},                     \
        {"price-cached", 0,        KD_OPT_FLOAT, "USD", NULL, "a million prompt tokens that usage calls cached (else --price-input)",      \
         "Remote",       .min = 0, .max = 1e9},                                                                                            \
        {"price-reasoning",                                                                                                                \
         0,                                                                                                                                \
         KD_OPT_FLOAT,                                                                                                                     \
         "USD",                                                                                                                            \
         NULL,                                                                                                                             \
         "a million completion tokens that usage calls reasoning (else --price-output)",                                                   \
         "Remote",                                                                                                                         \
         .min = 0,                                                                                                                         \
         .max = 1e9},                                                                                                                      \
        {"prices", 0, KD_OPT_PATH, "FILE", NULL, "prices by model: JSON, {\"NAME\": {\"input\":..., \"output\":...}}, or LiteLLM's table", \
         "Remote"},                                                                                                                        \
    {                                                                                                                                      \
        "insecure-http", 0, KD_OPT_FLAG, NULL, NULL, "allow plain http to another machine", "Remote"                                       \
    }

/* What the flags of KD_ASK_OPTIONS say. */
kd_teach_opts kd_asked(const kd_cli *cli);
/* What those of KD_ENDPOINT_OPTIONS say; url is of --teacher or NULL, the model's prices are looked up. key: the caller's, from its file or the environment, cleared
 * by kd_key_forget. */
kd_code kd_endpoint_asked(kd_remote_opts *ro, kd_buf *key, const kd_cli *cli, const char *url, const char *model, kd_err *e);
void kd_key_forget(kd_buf *key);
/* A key must not reach a core file, or a debugger of the same user; and many requests are many open files. Before the key is read. */
void kd_guard_process(void);

#endif
