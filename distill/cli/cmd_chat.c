/* distill/cli/cmd_chat.c - talk to a model. Leans on distill/engine, datasets/render.h, line.h, serve.h's thinker. */
#include "datasets/render.h"
#include "distill/base/clock.h"
#include "distill/cli/cli.h"
#include "distill/cli/line.h"
#include "distill/cli/sampling_opts.h"
#include "distill/cli/serve.h"
#include "distill/engine/engine.h"
#include "distill/model/loaded.h"

#include <signal.h>
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
    {"stop", 0, KD_OPT_STRINGS, "TEXT", NULL, "ends an answer; may be given more than once", "Sampling"},
    KD_SAMPLING_OPTIONS,
    {"draft", 0, KD_OPT_INT, "N", "8", "tokens guessed ahead (0: none); no answer changes by it", "Engine", .min = 0, .max = 16},
    {"exact", 0, KD_OPT_FLAG, NULL, NULL, "f32 arithmetic instead of 8-bit activations", "Engine"},
    {"kv-type", 0, KD_OPT_ENUM, "f16|q8_0|f32", "f16", "type of keys and values", "Engine"},
    {0}};

typedef struct {
    kd_cli *cli;
    kd_engine *engine;
    kd_render render;
    kd_request request;
    kd_buf *turns; /* [n] objects of a JSON array */
    size_t n, cap;
    kd_buf answer;
    thinker think; /* only to tell thought from answer on the screen */
    bool person, colour, thinking;
    uint64_t asked;
    size_t tokens, prompt_tokens, shared;
    double seconds, first;
    const char *finish;
    kd_code code;
} talk;

static volatile sig_atomic_t interrupted;
static void on_interrupt(int sig) {
    (void)sig;
    interrupted = 1;
}

/* ---- an answer ---- */

static void print(talk *t, const char *s, size_t n) {
    if (n && !t->code) t->code = kd_out_str(t->cli, (kd_str){s, n});
    fflush(stdout);
}

/* On a terminal with colours the thought is dim; elsewhere text goes out as it is. */
static void on_token(void *user, const kd_piece *p) {
    talk *t = user;
    kd_buf thought = {0}, answer = {0};
    if (t->cli->json || !p->len) return;
    if (!t->colour) {
        print(t, p->text, p->len);
        return;
    }
    if (think_push(&t->think, (kd_str){p->text, p->len}, false, &thought, &answer)) t->code = KD_ENOMEM;
    if (thought.len) {
        if (!t->thinking) print(t, "\033[2m", 4);
        t->thinking = true;
        print(t, thought.data, thought.len);
    }
    if (answer.len) {
        if (t->thinking) print(t, "\033[0m\n\n", 6);
        t->thinking = false;
        print(t, answer.data, answer.len);
    }
    kd_buf_clear(&thought);
    kd_buf_clear(&answer);
}

static void on_done(void *user, const kd_result *r) {
    talk *t = user;
    kd_buf thought = {0}, answer = {0};
    t->tokens = r->n, t->seconds = 1e-9 * (double)r->generate_ns, t->first = 1e-9 * (double)r->prompt_ns;
    t->prompt_tokens = r->prompt_tokens, t->shared = r->shared_tokens;
    t->finish = kd_finish_name(r->finish);
    if (kd_buf_append(&t->answer, r->text, r->text_len)) t->code = KD_ENOMEM;
    if (t->colour && !t->cli->json && !think_push(&t->think, (kd_str){"", 0}, true, &thought, &answer)) {
        print(t, thought.data, thought.len);
        print(t, t->thinking ? "\033[0m" : "", t->thinking ? 4 : 0);
        print(t, answer.data, answer.len);
    }
    t->thinking = false;
    kd_buf_clear(&thought);
    kd_buf_clear(&answer);
}

static kd_code add_turn(talk *t, const char *role, kd_str content) {
    if (kd_grow((void **)&t->turns, &t->cap, t->n + 1, sizeof *t->turns)) return KD_ENOMEM;
    t->turns[t->n] = (kd_buf){0};
    kd_jsonw w = {.out = &t->turns[t->n++]};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "role"), kd_jsonw_cstr(&w, role);
    kd_jsonw_key(&w, "content"), kd_jsonw_str(&w, content);
    kd_jsonw_end_object(&w);
    return w.code;
}

static void drop_turns(talk *t, size_t keep) {
    while (t->n > keep) kd_buf_clear(&t->turns[--t->n]);
}

static kd_code prompt_of(talk *t, int32_t **tokens, bool *opened, kd_err *e) {
    kd_buf whole = {0}, text = {0};
    kd_json *doc = NULL;
    kd_code c = kd_buf_puts(&whole, "{\"messages\":[");
    for (size_t i = 0; i < t->n && !c; i++) c = kd_buf_printf(&whole, "%s%s", i ? "," : "", t->turns[i].data);
    if (!c) c = kd_buf_puts(&whole, "]}");
    c = c ? kd_fail(e, c, "chat: out of memory") : kd_json_parse(&doc, whole.data, whole.len, "conversation", e);
    if (!c) c = kd_render_prompt(&text, tokens, &t->request.prompt_n, opened, &t->render, kd_json_root(doc), e);
    kd_json_free(doc);
    kd_buf_clear(&whole);
    kd_buf_clear(&text);
    return c;
}

/* Steps until the answer is there; Ctrl-C ends it where a person sits, and the program elsewhere. */
static kd_code generate(talk *t, kd_err *e) {
    uint64_t id;
    size_t left = 1;
    interrupted = 0;
    kd_code c = kd_engine_submit(t->engine, &t->request, &id, e);
    if (!t->person) return c ? c : kd_engine_run(t->engine, t->cli->watch, e);
    while (!c && left) {
        if (interrupted) kd_engine_cancel(t->engine, id);
        c = kd_engine_step(t->engine, &left, e);
    }
    return c;
}

/* Answers the conversation as it stands: the answer is printed as it comes, and joins it without its thought. */
static kd_code answer(talk *t, kd_err *e) {
    int32_t *tokens = NULL;
    bool opened = false;
    kd_code c = prompt_of(t, &tokens, &opened, e);
    t->answer.len = 0;
    kd_buf_clear(&t->think.held);
    t->think = (thinker){.at = opened ? THINK_IN : THINK_MAYBE};
    t->request.prompt = tokens, t->request.stream = t->asked++, t->request.thought_opened = opened;
    if (!c) c = generate(t, e);
    kd_free(tokens);
    if (!c && t->code) c = kd_fail(e, t->code, "chat: the answer could not be written");
    if (c) return c;
    kd_str a = kd_buf_view(&t->answer);
    char *end = a.len ? memmem(a.data, a.len, "</think>", 8) : NULL;
    if (end) a = (kd_str){end + 8, a.len - (size_t)(end + 8 - a.data)};
    return add_turn(t, "assistant", a) ? kd_fail(e, KD_ENOMEM, "chat: out of memory") : KD_OK;
}

static kd_code after(talk *t, kd_err *e) {
    if (t->cli->json) {
        kd_jsonw *w = kd_out_json(t->cli);
        kd_jsonw_object(w);
        kd_jsonw_key(w, "answer"), kd_jsonw_str(w, kd_buf_view(&t->answer));
        kd_jsonw_key(w, "finish"), kd_jsonw_cstr(w, t->finish);
        kd_jsonw_key(w, "tokens"), kd_jsonw_int(w, (int64_t)t->tokens);
        kd_jsonw_key(w, "seconds"), kd_jsonw_double(w, t->first + t->seconds);
        kd_jsonw_end_object(w);
        return kd_out_json_end(t->cli, e);
    }
    kd_code c = kd_out(t->cli, "\n");
    bool whole = !strcmp(t->finish, "stop");
    const char *why = !strcmp(t->finish, "length") ? "the answer is as long as it may be (--max-tokens, or the context's end)"
                      : !strcmp(t->finish, "loop") ? "it went round in circles (--no-loop-guard lets it)"
                                                   : "stopped";
    if (t->person && !whole) kd_note(t->cli, "[%s]", why);
    if (t->cli->verbose)
        kd_note(t->cli, "[%zu tokens in %.1f s, %.1f a second; first after %.2f s, %zu of %zu prompt tokens kept; %s]", t->tokens,
                t->seconds, t->tokens > 1 && t->seconds > 0 ? (double)(t->tokens - 1) / t->seconds : 0.0, t->first, t->shared,
                t->prompt_tokens, t->finish);
    return c;
}

static kd_code put_question(talk *t, kd_str question, kd_err *e) {
    size_t had = t->n;
    kd_code c = add_turn(t, "user", question) ? kd_fail(e, KD_ENOMEM, "chat: out of memory") : answer(t, e);
    if (c == KD_EINVAL && t->person) { /* the conversation has outgrown the context, or the like: say so and go on without this turn */
        kd_warn(t->cli, "%s", e->msg);
        kd_note(t->cli, "[/clear forgets the conversation]");
        kd_err_clear(e);
        drop_turns(t, had);
        return KD_OK;
    }
    return c ? c : after(t, e);
}

/* ---- commands ---- */

static const char help_text[] = "/again          another answer to the last question\n"
                                "/undo           forget the last question and its answer\n"
                                "/clear          forget the conversation\n"
                                "/system [TEXT]  say what the system turn says, or set it (forgets the conversation)\n"
                                "/history        the conversation so far\n"
                                "/help           this\n"
                                "/exit           leave (so does Ctrl-D)\n"
                                "A line that ends in \\ goes on in the next. Ctrl-C stops an answer.";

/* The content of a turn, as text. */
static kd_code show_turn(talk *t, const kd_buf *turn, kd_err *e) {
    kd_json *doc;
    kd_code c = kd_json_parse(&doc, turn->data, turn->len, "turn", e);
    if (c) return c;
    const kd_json_node *o = kd_json_root(doc);
    kd_str role = kd_json_string(kd_json_get(o, "role")), text = kd_json_string(kd_json_get(o, "content"));
    c = kd_out(t->cli, "[%.*s] ", (int)role.len, role.data);
    if (!c) c = kd_out_str(t->cli, text);
    if (!c) c = kd_out(t->cli, "\n");
    kd_json_free(doc);
    return c;
}

static bool turn_is(const talk *t, size_t i, const char *role) {
    char head[40];
    int n = snprintf(head, sizeof head, "{\"role\":\"%s\"", role);
    return i < t->n && !strncmp(t->turns[i].data, head, (size_t)n);
}

static kd_code set_system(talk *t, kd_str text, kd_err *e) {
    drop_turns(t, 0);
    return text.len && add_turn(t, "system", text) ? kd_fail(e, KD_ENOMEM, "chat: out of memory") : KD_OK;
}

/* A line that begins with a slash. *leave: it ends the talk. */
static kd_code command(talk *t, kd_str line, bool *leave, kd_err *e) {
    kd_code c = KD_OK;
    bool sys = turn_is(t, 0, "system");
    if (kd_str_is(line, "/exit") || kd_str_is(line, "/quit") || kd_str_is(line, "/bye"))
        *leave = true;
    else if (kd_str_is(line, "/help") || kd_str_is(line, "/?"))
        kd_note(t->cli, "%s", help_text);
    else if (kd_str_is(line, "/clear"))
        drop_turns(t, sys), kd_note(t->cli, "[forgotten]");
    else if (kd_str_is(line, "/undo"))
        t->n >= 2u + sys ? (drop_turns(t, t->n - 2), kd_note(t->cli, "[the last question is forgotten]"))
                         : kd_note(t->cli, "[there is none]");
    else if (kd_str_is(line, "/again")) {
        if (t->n < 2u + sys) return kd_note(t->cli, "[there is no question yet]"), KD_OK;
        drop_turns(t, t->n - 1);
        c = answer(t, e);
        if (!c) c = after(t, e);
    } else if (kd_str_is(line, "/history")) {
        for (size_t i = 0; i < t->n && !c; i++) c = show_turn(t, &t->turns[i], e);
    } else if (kd_str_is(line, "/system")) {
        sys ? (void)(c = show_turn(t, &t->turns[0], e)) : kd_note(t->cli, "[none of yours; the template may have its own]");
    } else if (kd_str_starts(line, "/system ")) {
        c = set_system(t, (kd_str){line.data + 8, line.len - 8}, e);
        if (!c) kd_note(t->cli, "[set; the conversation begins anew]");
    } else
        kd_note(t->cli, "[no such command: %.*s; /help lists them]", (int)line.len, line.data);
    return c;
}

/* ---- the talk ---- */

/* A person's next question, its lines joined. */
static kd_line_how read_person(kd_buf *question, kd_line_history *h, const char *prompt) {
    kd_buf line = {0};
    kd_line_how how;
    question->len = 0;
    for (bool more = true; more;) {
        how = kd_line_read(&line, 0, 2, question->len ? "... " : prompt, h);
        if (how != KD_LINE_READ) break;
        if (line.len) kd_line_remember(h, kd_buf_view(&line));
        more = line.len && line.data[line.len - 1] == '\\';
        if (more) line.data[line.len - 1] = '\n';
        if (line.len && kd_buf_append(question, line.data, line.len)) how = KD_LINE_ERROR;
    }
    kd_buf_clear(&line);
    return how;
}

static kd_code with_person(talk *t, kd_err *e) {
    kd_line_history h = {0};
    kd_buf question = {0};
    kd_code c = KD_OK;
    bool leave = false;
    struct sigaction mine = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART}, was;
    sigemptyset(&mine.sa_mask);
    sigaction(SIGINT, &mine, &was);
    kd_note(t->cli, "/help says what there is; Ctrl-C stops an answer, Ctrl-D leaves");
    while (!c && !leave) {
        kd_line_how how = read_person(&question, &h, "> ");
        if (how == KD_LINE_END) break;
        if (how == KD_LINE_ERROR) c = kd_fail(e, KD_EIO, "chat: the terminal cannot be read");
        if (how == KD_LINE_BREAK) kd_note(t->cli, "[Ctrl-D or /exit leaves]");
        if (how != KD_LINE_READ || !question.len) continue;
        c = question.data[0] == '/' ? command(t, kd_buf_view(&question), &leave, e) : put_question(t, kd_buf_view(&question), e);
    }
    sigaction(SIGINT, &was, NULL);
    kd_line_history_clear(&h);
    kd_buf_clear(&question);
    return c;
}

static kd_code converse(talk *t, kd_err *e) {
    const char *prompt = kd_opt_string(t->cli, "prompt");
    char *line = NULL;
    size_t cap = 0;
    kd_code c = KD_OK;
    if (prompt) return put_question(t, kd_str_of(prompt), e);
    t->person = isatty(0) && isatty(2);
    if (t->person) return with_person(t, e);
    for (ssize_t n; !c && (n = getline(&line, &cap, stdin)) >= 0;) {
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = 0;
        if (n) c = put_question(t, (kd_str){line, (size_t)n}, e);
    }
    free(line);
    return c;
}

static void request_of(talk *t, const kd_cli *cli, const kd_sampling_opts *s) {
    t->request = (kd_request){.sampling = s->sampling,
                              .seed = cli->seed,
                              .max_tokens = (size_t)kd_opt_int(cli, "max-tokens"),
                              .keep_answer = true,
                              .on_token = on_token,
                              .on_done = on_done,
                              .user = t};
    kd_sampling_opts_apply(s, &t->request);
    t->request.sampling.temperature = (float)kd_opt_float(cli, "temperature");
    t->request.sampling.top_p = (float)kd_opt_float(cli, "top-p");
    t->request.sampling.top_k = (uint32_t)kd_opt_int(cli, "top-k");
    t->request.sampling.min_p = (float)kd_opt_float(cli, "min-p");
    t->request.stops = kd_opt_strings(cli, "stop", &t->request.stop);
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_loaded l = {0};
    kd_chat *chat = NULL;
    kd_sampling_opts s = {0};
    const char *term = getenv("TERM"), *plain = getenv("NO_COLOR");
    talk t = {.cli = cli, .colour = isatty(1) && !(plain && *plain) && !(term && !strcmp(term, "dumb"))};
    const char *model = kd_opt_string(cli, "model"), *system = kd_opt_string(cli, "system");
    if (!model) return kd_fail(e, KD_EINVAL, "chat: --model PATH is needed");
    kd_code c = kd_load(&l, model, kd_opt_string(cli, "adapter"), KD_LOAD_ALL, e);
    if (!c) c = kd_chat_open(&chat, l.source.path, kd_opt_string(cli, "chat-template"), e);
    if (!c && !kd_chat_has(chat))
        c = kd_fail(e, KD_EUNSUPPORTED, "%s: a model without a chat template: give one with --chat-template", model);
    if (!c) c = kd_sampling_opts_read(&s, cli, l.tokenizer, l.model->config.V, e);
    if (!c)
        c = kd_engine_new(&t.engine, l.model, l.adapter, l.tokenizer,
                          &(kd_engine_options){.threads = cli->threads,
                                               .sequences = 1,
                                               .memory = cli->memory,
                                               .draft = (size_t)kd_opt_int(cli, "draft"),
                                               .exact = kd_opt_flag(cli, "exact"),
                                               .kv = (kd_kv_kind)kd_opt_word(cli, "kv-type")},
                          e);
    t.render = (kd_render){.chat = chat, .tokenizer = l.tokenizer, .now = kd_unix_ms() / 1000};
    if (!c) request_of(&t, cli, &s);
    if (!c && system) c = set_system(&t, kd_str_of(system), e);
    if (!c) c = converse(&t, e);
    kd_engine_free(t.engine);
    drop_turns(&t, 0);
    kd_free(t.turns);
    kd_buf_clear(&t.answer);
    kd_buf_clear(&t.think.held);
    kd_sampling_opts_clear(&s);
    kd_chat_free(chat);
    kd_unload(&l);
    return c;
}

const kd_cmd kd_cmd_chat = {
    .name = "chat",
    .help = "talk to a model",
    .usage = "--model PATH [-p TEXT]",
    .about =
        "Lines from the terminal (or standard input) are questions; the conversation goes on until its end. Thoughts are shown, and "
        "left out of what\n"
        "the model reads of its own earlier turns. At a terminal, /help lists commands, arrows edit the line and bring earlier ones back, "
        "Ctrl-C stops an\n"
        "answer.",
    .opts = options,
    .run = run,
};
