/* convert/folder.c - what a Hugging Face folder holds beside the weights: config.json, tokenizer, chat templates, generation settings.
 * Leans on plan.h, card.h, model/tokenizer.h. From a folder they are copied; from a GGUF file they are made, from the texts that our own
 * converter left in it where it made the file, else from its keys. */
#include "convert/card.h"
#include "convert/folder.h"

#include "distill/model/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static kd_code write_text(const char *dir, const char *name, kd_str s, kd_err *e) {
    char *path = kd_path_join(dir, name);
    kd_code c = path ? kd_file_write(path, s.data, s.len, e) : kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dir);
    kd_free(path);
    return c;
}

/* What torch would call the type of most weights. */
static const char *torch_dtype(const kd_plan *p) {
    const uint64_t *b = p->result.type_bytes;
    return b[KD_BF16] > b[KD_F16] && b[KD_BF16] > b[KD_F32] ? "bfloat16" : b[KD_F16] > b[KD_F32] ? "float16" : "float32";
}

/* config.json as it was but for what the conversion changed. */
static kd_code patch_config(kd_buf *out, const kd_plan *p, kd_str text, kd_err *e) {
    kd_json *doc = NULL;
    kd_jsonw w = {.out = out, .python = true};
    bool dtype = false, tied = false;
    kd_code c = kd_json_parse(&doc, text.data, text.len, "config.json", e);
    if (c) return c;
    kd_jsonw_object(&w);
    for (const kd_json_node *n = kd_json_first(kd_json_root(doc)); n; n = kd_json_next(n)) {
        kd_str k = kd_json_key(n);
        if (kd_str_is(k, "quantization_config")) continue;
        kd_jsonw_key_str(&w, k);
        if (kd_str_is(k, "torch_dtype") || kd_str_is(k, "dtype"))
            kd_jsonw_cstr(&w, torch_dtype(p)), dtype = true;
        else if (kd_str_is(k, "tie_word_embeddings"))
            kd_jsonw_bool(&w, p->config.tied), tied = true;
        else
            kd_jsonw_node(&w, n);
    }
    if (!dtype) kd_jsonw_key(&w, "torch_dtype"), kd_jsonw_cstr(&w, torch_dtype(p));
    if (!tied) kd_jsonw_key(&w, "tie_word_embeddings"), kd_jsonw_bool(&w, p->config.tied);
    kd_jsonw_end_object(&w);
    kd_json_free(doc);
    return w.code ? kd_fail(e, w.code, "no memory for config.json") : KD_OK;
}

static bool near(double a, double b) { return fabs(a - b) <= 2e-6 * (fabs(a) + fabs(b)); }

static bool same_rope(const kd_config *a, const kd_config *b) {
    float fa[2048], fb[2048], sa, sb;
    if (a->D != b->D || a->D / 2 > 2048) return false;
    kd_config_inv_freq(a, fa, &sa);
    kd_config_inv_freq(b, fb, &sb);
    for (uint32_t i = 0; i < a->D / 2; i++)
        if (!near((double)fa[i], (double)fb[i])) return false;
    return near((double)sa, (double)sb);
}

bool kd_config_same(const kd_config *a, const kd_config *b) {
    return a->arch == b->arch && a->L == b->L && a->C == b->C && a->H == b->H && a->G == b->G && a->D == b->D && a->F == b->F &&
           a->V == b->V && a->context == b->context && a->norm_eps == b->norm_eps && a->qkv_bias == b->qkv_bias && a->o_bias == b->o_bias &&
           a->mlp_bias == b->mlp_bias && a->qk_norm == b->qk_norm && a->experts == b->experts && a->experts_used == b->experts_used &&
           a->expert_F == b->expert_F && same_rope(a, b);
}

/* llama3 scaling whose factors are those of rope_freqs.weight. With s = (old/wavelen - low)/(high - low) a factor between 1 and the
 * largest is 1/((1-s)/factor + s): s is linear in the frequency, so two such points give old/(high-low) and low/(high-low), and with
 * low = 1 all three. Rounded to the whole numbers that people choose where those fit as well. */
bool kd_rope_fit_llama3(kd_config *c) {
    const float *f = c->rope.factors;
    uint32_t n = c->D / 2, first = 0, last = 0, found = 0;
    double top = 1;
    for (uint32_t i = 0; i < n; i++) top = (double)f[i] > top ? (double)f[i] : top;
    kd_config fit = *c;
    fit.rope = (kd_rope_config){.kind = KD_ROPE_LLAMA3,
                                .theta = c->rope.theta,
                                .factor = top,
                                .low_freq_factor = 1,
                                .high_freq_factor = 4,
                                .original_context = 8192,
                                .attention_factor = -1};
    for (uint32_t i = 0; i < n; i++)
        if ((double)f[i] > 1.0001 && (double)f[i] < top * 0.9999) {
            first = found ? first : i;
            last = i;
            found++;
        }
    double wave1 = pow(c->rope.theta, 2.0 * first / c->D) * 2 * M_PI, wave2 = pow(c->rope.theta, 2.0 * last / c->D) * 2 * M_PI;
    double s1 = (1 / (double)f[first] - 1 / top) / (1 - 1 / top), s2 = (1 / (double)f[last] - 1 / top) / (1 - 1 / top);
    if (found >= 2) {
        double slope = (s1 - s2) / (1 / wave1 - 1 / wave2), shift = slope / wave1 - s1;
        fit.rope.high_freq_factor = 1 + 1 / shift;
        fit.rope.original_context = slope / shift;
    } else if (found == 1) /* with the high factor of 4 that everyone takes */
        fit.rope.original_context = wave1 * (3 * s1 + 1);
    kd_config round_ = fit;
    round_.rope.high_freq_factor = round(fit.rope.high_freq_factor);
    round_.rope.original_context = round(fit.rope.original_context);
    if (same_rope(&round_, c)) fit = round_;
    for (double old = 8; !same_rope(&fit, c) && old <= 131072; old *= 2) fit.rope.high_freq_factor = 4, fit.rope.original_context = old;
    if (!same_rope(&fit, c)) return false;
    c->rope = fit.rope; /* the factors were the model's own */
    return true;
}

bool kd_config_kept(kd_config *out, const kd_plan *p, kd_str *text) {
    const kd_gguf *g = kd_model_gguf(p->model);
    if (!g || !kd_gguf_str(g, "distill.hf.config", text) ||
        kd_config_from_json_stored(out, text->data, text->len, "distill.hf.config", NULL))
        return false;
    if (kd_config_same(out, &p->model->config)) return true;
    kd_config_clear(out);
    return false;
}

static kd_code config_json(kd_buf *out, kd_plan *p, kd_err *e) {
    const kd_gguf *g = kd_model_gguf(p->model);
    kd_str text = {0};
    kd_config was;
    if (!g) {
        char *path = kd_path_join(p->source.path, "config.json");
        kd_buf b = {0};
        kd_code c = path ? kd_file_read(&b, path, 16 << 20, e) : kd_fail(e, KD_ENOMEM, "%s: no memory for a path", p->source.path);
        if (!c) c = patch_config(out, p, kd_buf_view(&b), e);
        kd_buf_clear(&b);
        kd_free(path);
        return c;
    }
    if (kd_config_kept(&was, p, &text)) {
        kd_config_clear(&was);
        return patch_config(out, p, text, e);
    }
    return kd_config_to_json(out, &p->config, torch_dtype(p), e);
}

/* Copies the files of a folder that say how to use the model. */
static kd_code copy_files(const char *from, const char *to, kd_err *e) {
    static const char *const NAMES[] = {
        "tokenizer.json",  "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",      "vocab.json", "merges.txt",
        "tokenizer.model", "chat_template.jinja",   "chat_template.json",      "generation_config.json", "LICENSE",    "LICENSE.txt",
        "NOTICE"};
    kd_code c = KD_OK;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES && !c; i++) {
        char *path = kd_path_join(from, NAMES[i]);
        kd_buf b = {0};
        if (!path) return kd_fail(e, KD_ENOMEM, "%s: no memory for a path", from);
        if (kd_file_exists(path) && !(c = kd_file_read(&b, path, 256 << 20, e))) c = write_text(to, NAMES[i], kd_buf_view(&b), e);
        kd_buf_clear(&b);
        kd_free(path);
    }
    return c;
}

static kd_code write_template(const char *dir, kd_str name, kd_str source, kd_err *e) {
    char file[300];
    if (kd_str_is(name, "default")) return write_text(dir, "chat_template.jinja", source, e);
    if (!kd_path_plain(name) || name.len > 200)
        return kd_fail(e, KD_EFORMAT, "chat template \"%.*s\": its name is no file name", (int)(name.len < 60 ? name.len : 60), name.data);
    snprintf(file, sizeof file, "additional_chat_templates/%.*s.jinja", (int)name.len, name.data);
    char *sub = kd_path_join(dir, "additional_chat_templates");
    kd_code c = sub ? kd_mkdirs(sub, e) : kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dir);
    kd_free(sub);
    return c ? c : write_text(dir, file, source, e);
}

static kd_code gguf_templates(const kd_gguf *g, const char *dir, kd_err *e) {
    static const char KEY[] = "tokenizer.chat_template";
    kd_code c = KD_OK;
    for (size_t i = 0; i < kd_gguf_count(g) && !c; i++) {
        const kd_gguf_kv *kv = kd_gguf_at(g, i);
        kd_str s, name = KD_STR("default");
        if (!kd_str_starts(kv->key, KEY) || kv->type != KD_GGUF_STRING || !kd_gguf_elem_str(kv, 0, &s)) continue;
        if (kv->key.len > sizeof KEY && kv->key.data[sizeof KEY - 1] == '.')
            name = (kd_str){kv->key.data + sizeof KEY, kv->key.len - sizeof KEY};
        else if (kv->key.len != sizeof KEY - 1)
            continue;
        c = write_template(dir, name, s, e);
    }
    return c;
}

static kd_code generation_json(kd_buf *out, const kd_tokenizer *t, kd_err *e) {
    const kd_specials *s = kd_tokenizer_specials(t);
    kd_jsonw w = {.out = out, .python = true};
    kd_jsonw_object(&w);
    if (s->bos >= 0) kd_jsonw_key(&w, "bos_token_id"), kd_jsonw_int(&w, s->bos);
    if (s->eos >= 0) {
        bool list = s->eot >= 0 && s->eot != s->eos;
        kd_jsonw_key(&w, "eos_token_id");
        if (list) kd_jsonw_array(&w);
        kd_jsonw_int(&w, s->eos);
        if (list) kd_jsonw_int(&w, s->eot), kd_jsonw_end_array(&w);
    }
    if (s->pad >= 0) kd_jsonw_key(&w, "pad_token_id"), kd_jsonw_int(&w, s->pad);
    kd_jsonw_end_object(&w);
    return w.code ? kd_fail(e, w.code, "no memory for generation_config.json") : KD_OK;
}

static kd_code from_gguf(kd_plan *p, const char *dir, kd_err *e) {
    const kd_gguf *g = kd_model_gguf(p->model);
    kd_tokenizer *t = NULL;
    kd_buf b = {0};
    kd_str s;
    kd_code c = kd_tokenizer_open_gguf(&t, g, e);
    if (c || (c = kd_tokenizer_write_json(t, &b, e)) || (c = write_text(dir, "tokenizer.json", kd_buf_view(&b), e))) goto done;
    b.len = 0;
    if (kd_gguf_str(g, "distill.hf.tokenizer_config", &s))
        c = write_text(dir, "tokenizer_config.json", s, e);
    else if (!(c = kd_tokenizer_write_config(t, &b, e)))
        c = write_text(dir, "tokenizer_config.json", kd_buf_view(&b), e);
    b.len = 0;
    if (c) goto done;
    if (kd_gguf_str(g, "distill.hf.generation_config", &s))
        c = write_text(dir, "generation_config.json", s, e);
    else if (!(c = generation_json(&b, t, e)))
        c = write_text(dir, "generation_config.json", kd_buf_view(&b), e);
    if (!c) c = gguf_templates(g, dir, e);
done:
    kd_tokenizer_free(t);
    kd_buf_clear(&b);
    return c;
}

/* Named templates of the source that live in a folder of their own. */
static kd_code named_templates(const char *from, const char *to, kd_err *e) {
    char *sub = kd_path_join(from, "additional_chat_templates");
    kd_code c = sub ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: no memory for a path", from);
    kd_card card = {0};
    if (!c && kd_is_dir(sub) && !(c = kd_card_templates_read(&card, from, e)))
        for (size_t i = 0; i < card.templates.n && !c; i++)
            if (!kd_str_is(card.templates.v[i].name, "default"))
                c = write_template(to, card.templates.v[i].name, card.templates.v[i].source, e);
    kd_card_clear(&card);
    kd_free(sub);
    return c;
}

kd_code kd_write_folder(kd_plan *p, const char *dir, const kd_convert_options *o, kd_err *e) {
    kd_buf b = {0};
    kd_code c = config_json(&b, p, e);
    if (!c) c = write_text(dir, "config.json", kd_buf_view(&b), e);
    b.len = 0;
    if (!c && !(c = kd_card_readme(&b, p, o, e))) c = write_text(dir, "README.md", kd_buf_view(&b), e);
    kd_buf_clear(&b);
    if (c) return c;
    if (kd_model_gguf(p->model)) return from_gguf(p, dir, e);
    if ((c = copy_files(p->source.path, dir, e))) return c;
    return named_templates(p->source.path, dir, e);
}
