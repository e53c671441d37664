/* distill/cli/render_opts.h - the flags that say how conversations are rendered, shared by the commands that render. Leans on cli.h, datasets/render.h. */
#ifndef KD_CLI_RENDER_OPTS_H
#define KD_CLI_RENDER_OPTS_H

#include "datasets/render.h"
#include "distill/cli/cli.h"
#include "distill/model/tokenizer.h"

#define KD_RENDER_OPTIONS                                                                                                                   \
    {"model", 'm', KD_OPT_PATH, "PATH", NULL, "whose template and vocabulary: a folder, a .gguf (a vocabulary alone will do), a run",       \
     "Model"},                                                                                                                              \
        {"chat-template", 0, KD_OPT_PATH, "FILE", NULL, "this template instead of the model's own", "Model"},                               \
        {"tools", 0, KD_OPT_PATH, "FILE", NULL, "a JSON array of tools, for conversations that bring none", "Conversation"},                \
        {"documents", 0, KD_OPT_PATH, "FILE", NULL, "a JSON array of documents, likewise", "Conversation"},                                 \
        {"template-vars", 0, KD_OPT_STRING, "JSON", NULL, "an object of further variables of the template, as {\"enable_thinking\":false}", \
         "Conversation"},                                                                                                                   \
    {                                                                                                                                       \
        "date", 0, KD_OPT_STRING, "YYYY-MM-DD", NULL, "what templates call now (else the clock)", "Conversation"                            \
    }

typedef struct {
    kd_render render;
    kd_chat *chat;
    kd_tokenizer *tokenizer;
    kd_json *tools, *documents, *vars;
} kd_render_setup;
/* Opens what the flags name; their names must be in the command's table. */
kd_code kd_render_setup_open(kd_render_setup *s, kd_cli *cli, kd_err *e);
void kd_render_setup_close(kd_render_setup *s);
/* What a clock on the wall shows, as kd_template_input wants it; date NULL: now, here. */
kd_code kd_render_now(int64_t *now, const char *date, kd_err *e);

#endif
