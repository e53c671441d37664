/* convert/card.h - inside of the room: what stands beside the weights in a model's folder: config texts, chat templates, the model card.
 * Leans on plan.h. */
#ifndef KD_CONVERT_CARD_H
#define KD_CONVERT_CARD_H

#include "convert/plan.h"

typedef struct {
    struct {
        kd_str name, source;
    } v[32];
    size_t n;
} kd_card_templates;

/* Views live until kd_card_clear; {NULL,0} where there is nothing. */
typedef struct {
    kd_str name, size_label, license, base, base_name, base_url;
    kd_str config, generation, tokenizer_config, readme; /* texts of the files, as they are */
    kd_str source, run, run_config;                      /* names of what the model was made from, and RUN/config.yaml */
    kd_card_templates templates;
    kd_arena arena;
} kd_card;
/* From the folder that the plan's model came from, or the keys of its GGUF file (names, licence and lineage alone). */
kd_code kd_card_read(kd_card *c, kd_plan *p, const kd_convert_options *o, kd_err *e);
void kd_card_clear(kd_card *c);
/* The chat templates of a folder: chat_template.jinja and additional_chat_templates/NAME.jinja, else chat_template.json, else
 * tokenizer_config.json. */
kd_code kd_card_templates_read(kd_card *c, const char *dir, kd_err *e);
/* Where the output came from: keys under distill. */
kd_code kd_card_lineage(kd_plan *p, kd_gguf_writer *w, kd_err *e);
/* *b += README.md of a folder: the source's own where the model stays the same, else one that says where it came from. */
kd_code kd_card_readme(kd_buf *b, kd_plan *p, const kd_convert_options *o, kd_err *e);
/* "135M", "1.5B". */
void kd_size_label(uint64_t parameters, char s[16]);

#endif
