/* distill/cli/cmd_chat.c - talk to a model. Leans on distill/engine, datasets/render.h. */
#include "datasets/render.h"
#include "distill/base/clock.h"
#include "distill/cli/cli.h"
#include "distill/engine/engine.h"
#include "distill/model/loaded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const kd_opt options[] = {
    {"model", 'm', KD_OPT_PATH, "PATH", NULL, "who answers: a folder, a .gguf, a run", "Model"},
    {"adapter", 0, KD_OPT_PATH, "DIR", NULL, "an adapter on it (run or PEFT folder)", "Model"},
    {"chat-template", 0, KD_OPT_PATH, "FILE", NULL, "a chat template instead of the model's own", "Model"},
    {"system", 0, KD_OPT_STRING, "TEXT", NULL, "what the system turn says", "Talk"},
    {"prompt", 'p', KD_OPT_STRING, "TEXT", NULL, "ask this alone, print the answer, and end", "Talk"},
    {"temperature", 0, KD_OPT_FLOAT, "T", "0.7", "0 is greedy", "Sampling", .min = 0, .max = 100},
    {"top-p", 0, KD_OPT_FLOAT, "P", "0.95", "keep the smallest set with this much probability", "Sampling", .min = 0, .max = 1},
    {"top-k", 0, KD_OPT_INT, "K", "0", "keep the K most likely tokens (0 = all)", "Sampling", .min = 0, .max = 1e6},
    {"min-p", 0, KD_OPT_FLOAT, "P", "0", "keep tokens with this share of the best one's probability", "Sampling", .min = 0, .max = 1},
    {"max-tokens", 0, KD_OPT_INT, "N", "2048", "length of an answer at most", "Sampling", .min = 1, .max = 1e9},
    {"exact", 0, KD_OPT_FLAG, NULL, NULL, "f32 arithmetic instead of 8-bit activations", "Engine"},
    {0}};

typedef struct {
    kd_cli *cli;
    kd_engine *engine;
    kd_render render;
    kd_request request;
    kd_buf history; /* the turns so far: objects of a JSON array, without its brackets */
    kd_buf answer;
    uint64_t turns;
    size_t tokens;
    double seconds;
    const char *finish;
    kd_code code;
} talk;

static void on_token(void *user, const kd_piece *p) {
    talk *t = user;
    if (!t->cli->json && p->len) {
        t->code = t->code ? t->code : kd_out_str(t->cli, (kd_str){p->text, p->len});
        fflush(stdout);
    }
}

static void on_done(void *user, const kd_result *r) {
    talk *t = user;
    t->tokens = r->n, t->seconds = 1e-9 * (double)(r->prompt_ns + r->generate_ns), t->finish = kd_finish_name(r->finish);
    if (kd_buf_append(&t->answer, r->text, r->text_len)) t->code = KD_ENOMEM;
}

static kd_code add_turn(talk *t, const char *role, kd_str content) {
    kd_jsonw w = {.out = &t->history};
    kd_code c = t->history.len ? kd_buf_putc(&t->history, ',') : KD_OK;
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "role"), kd_jsonw_cstr(&w, role);
    kd_jsonw_key(&w, "content"), kd_jsonw_str(&w, content);
    kd_jsonw_end_object(&w);
    return c ? c : w.code;
}

/* One question: its answer is printed as it comes, and joins the history without its thought. */
static kd_code ask(talk *t, kd_str question, kd_err *e) {
    kd_buf whole = {0}, text = {0};
    kd_json *doc = NULL;
    int32_t *tokens = NULL;
    bool opened;
    kd_code c = add_turn(t, "user", question);
    if (!c) c = kd_buf_printf(&whole, "{\"messages\":[%s]}", t->history.data);
    c = c ? kd_fail(e, c, "chat: out of memory") : kd_json_parse(&doc, whole.data, whole.len, "conversation", e);
    if (!c) c = kd_render_prompt(&text, &tokens, &t->request.prompt_n, &opened, &t->render, kd_json_root(doc), e);
    t->answer.len = 0;
    t->request.prompt = tokens, t->request.stream = t->turns++;
    if (!c) c = kd_engine_submit(t->engine, &t->request, NULL, e);
    if (!c) c = kd_engine_run(t->engine, t->cli->watch, e);
    if (!c && t->code) c = kd_fail(e, t->code, "chat: the answer could not be written");
    if (!c) {
        kd_str a = kd_buf_view(&t->answer);
        char *end = a.len ? memmem(a.data, a.len, "</think>", 8) : NULL;
        if (end) a = (kd_str){end + 8, a.len - (size_t)(end + 8 - a.data)};
        if (add_turn(t, "assistant", a)) c = kd_fail(e, KD_ENOMEM, "chat: out of memory");
    }
    kd_json_free(doc);
    kd_free(tokens);
    kd_buf_clear(&whole);
    kd_buf_clear(&text);
    return c;
}

static kd_code after(talk *t, kd_err *e) {
    if (t->cli->json) {
        kd_jsonw *w = kd_out_json(t->cli);
        kd_jsonw_object(w);
        kd_jsonw_key(w, "answer"), kd_jsonw_str(w, kd_buf_view(&t->answer));
        kd_jsonw_key(w, "finish"), kd_jsonw_cstr(w, t->finish);
        kd_jsonw_key(w, "tokens"), kd_jsonw_int(w, (int64_t)t->tokens);
        kd_jsonw_key(w, "seconds"), kd_jsonw_double(w, t->seconds);
        kd_jsonw_end_object(w);
        return kd_out_json_end(t->cli, e);
    }
    kd_code c = kd_out(t->cli, "\n");
    if (t->cli->verbose) kd_note(t->cli, "%zu tokens in %.1f s (%s)", t->tokens, t->seconds, t->finish);
    return c;
}

static kd_code converse(talk *t, kd_err *e) {
    const char *prompt = kd_opt_string(t->cli, "prompt");
    char *line = NULL;
    size_t cap = 0;
    kd_code c = KD_OK;
    if (prompt) {
        c = ask(t, kd_str_of(prompt), e);
        return c ? c : after(t, e);
    }
    bool person = isatty(0) != 0;
    for (;;) {
        if (person) fputs("> ", stderr);
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0) break;
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = 0;
        if (!n) continue;
        if ((c = ask(t, (kd_str){line, (size_t)n}, e)) || (c = after(t, e))) break;
    }
    free(line);
    return c;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_loaded l = {0};
    kd_chat *chat = NULL;
    talk t = {.cli = cli};
    const char *model = kd_opt_string(cli, "model"), *system = kd_opt_string(cli, "system");
    if (!model) return kd_fail(e, KD_EINVAL, "chat: --model PATH is needed");
    kd_code c = kd_load(&l, model, kd_opt_string(cli, "adapter"), KD_LOAD_ALL, e);
    if (!c) c = kd_chat_open(&chat, l.source.path, kd_opt_string(cli, "chat-template"), e);
    if (!c && !kd_chat_has(chat))
        c = kd_fail(e, KD_EUNSUPPORTED, "%s: a model without a chat template: give one with --chat-template", model);
    if (!c)
        c = kd_engine_new(
            &t.engine, l.model, l.adapter, l.tokenizer,
            &(kd_engine_options){.threads = cli->threads, .sequences = 1, .kv_bytes = cli->memory, .exact = kd_opt_flag(cli, "exact")}, e);
    t.render = (kd_render){.chat = chat, .tokenizer = l.tokenizer, .now = kd_unix_ms() / 1000};
    t.request = (kd_request){.sampling = {.temperature = (float)kd_opt_float(cli, "temperature"),
                                          .top_p = (float)kd_opt_float(cli, "top-p"),
                                          .top_k = (uint32_t)kd_opt_int(cli, "top-k"),
                                          .min_p = (float)kd_opt_float(cli, "min-p")},
                             .seed = cli->seed,
                             .max_tokens = (size_t)kd_opt_int(cli, "max-tokens"),
                             .on_token = on_token,
                             .on_done = on_done,
                             .user = &t};
    if (!c && system && add_turn(&t, "system", kd_str_of(system))) c = kd_fail(e, KD_ENOMEM, "chat: out of memory");
    if (!c) c = converse(&t, e);
    kd_engine_free(t.engine);
    kd_buf_clear(&t.history);
    kd_buf_clear(&t.answer);
    kd_chat_free(chat);
    kd_unload(&l);
    return c;
}

const kd_cmd kd_cmd_chat = {
    .name = "chat",
    .help = "talk to a model",
    .usage = "--model PATH [-p TEXT]",
    .about = "Lines from the terminal (or standard input) are questions; the conversation goes on until its end. Thoughts are shown, and "
             "left out of what\n"
             "the model reads of its own earlier turns.",
    .opts = options,
    .run = run,
};
