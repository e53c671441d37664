/* convert/plan.h - inside of the room: the list of what will be written, and the pass that writes it. Leans on convert.h, model/adapter.h. */
#ifndef KD_CONVERT_PLAN_H
#define KD_CONVERT_PLAN_H

#include "convert/convert.h"
#include "distill/format/gguf.h"
#include "distill/format/safetensors.h"
#include "distill/model/adapter.h"

/* One tensor of the output: its name and type, and where its rows come from. Row s of the output is row row_map[s] of the source. */
typedef struct {
    char name[96];
    kd_dtype type;
    kd_role role;
    uint32_t layer;
    int ndim;
    uint64_t shape[3];
    size_t rows, cols, row_bytes; /* a vector is one row */
    const kd_mat *from;           /* [mats] as stored, in Hugging Face's order of rows; rows / mats of each, one behind the other */
    size_t mats;                  /* 1, or the experts of a stack */
    const float *values;          /* or: [rows, cols] f32, in the same order; then from is NULL */
    const uint32_t *row_map;      /* or NULL; of one matrix */
    const float **importance;     /* [mats] of [cols], each or the whole may be NULL */
    size_t without;               /* matrices that are searched and have none, though some was given */
    const kd_lora *lora;          /* merged in, or NULL */
    const kd_lora *embed;         /* LoRA of an embedding (its A and B the other way round), or NULL */
    uint32_t embed_rows;          /* columns of embed's A */
    const kd_token_rows *tokens;  /* rows that the adapter brings along, or NULL ... */
    const float *token_rows;      /* ... [n,cols] */
    size_t index;                 /* in the writer */
    bool nonfinite;               /* found while writing */
} kd_item;

typedef struct {
    kd_item *v;
    size_t n, cap;
    kd_arena arena;   /* vectors and row maps */
    kd_config config; /* of the output: a head may come untied; factors borrowed from the model */
    kd_model *model;
    kd_safetensors *st; /* the source's, for the types of its vectors; NULL if it is a GGUF file */
    kd_adapter *adapter;
    kd_source source;
    const kd_convert_type *type; /* NULL: as stored, or by */
    const kd_mix *mix;           /* a search's choice, or NULL */
    bool gguf;                   /* the output is */
    kd_convert_result result;
    double check_seconds;
    bool stopped; /* by a signal, and what is written was kept */
} kd_plan;

/* Opens src (and adapter) and lists the output. */
kd_code kd_plan_make(kd_plan *p, const char *src, const kd_convert_options *o, bool gguf, kd_pool *pool, kd_err *e);
void kd_plan_clear(kd_plan *p);

/* Gives the matrices that are searched their importance. Errors: KD_EFORMAT sizes that do not fit, or entries of another model altogether. */
kd_code kd_plan_weigh(kd_plan *p, const kd_importance *im, kd_err *e);
void kd_plan_warn_unweighted(const kd_plan *p, const kd_watch *watch);

/* Where the bytes go: either writer, the other NULL. */
typedef struct {
    kd_gguf_writer *gguf;
    kd_safetensors_writer *st;
    struct kd_resume *resume; /* or NULL */
} kd_sink;
kd_code kd_sink_declare(const kd_sink *s, kd_plan *p, kd_err *e);
kd_place kd_sink_place(const kd_sink *s, size_t i); /* of tensor i, once the writer has begun */
/* Computes and writes every tensor. KD_EINTERRUPT or KD_ETERMINATE when watch says stop. */
kd_code kd_pump(kd_plan *p, const kd_sink *s, const kd_convert_options *o, kd_pool *pool, const kd_watch *watch, kd_err *e);

/* Every key of a GGUF file but the tensors. */
kd_code kd_write_keys(kd_plan *p, kd_gguf_writer *w, const kd_convert_options *o, kd_err *e);
/* config.json, tokenizer files, chat template, generation_config.json, README.md into dir. */
kd_code kd_write_folder(kd_plan *p, const char *dir, const kd_convert_options *o, kd_err *e);

#endif
