/* distill/model/token_write.c - tokenizer.json and tokenizer_config.json: as they were read, or written anew for a tokenizer out of a GGUF.
 * Leans on token_impl.h, base/json.h. */
#include "distill/model/token_impl.h"

static void put_str(kd_jsonw *w, const char *key, kd_str v) {
    kd_jsonw_key(w, key);
    kd_jsonw_str(w, v);
}

static void put_text(kd_jsonw *w, const char *key, const char *v) {
    kd_jsonw_key(w, key);
    kd_jsonw_cstr(w, v);
}

static void put_bool(kd_jsonw *w, const char *key, bool v) {
    kd_jsonw_key(w, key);
    kd_jsonw_bool(w, v);
}

static void begin(kd_jsonw *w, const char *type) {
    kd_jsonw_object(w);
    put_text(w, "type", type);
}

void kd_tok_write_byte_level(kd_jsonw *w, bool prefix_space, bool regex) {
    begin(w, "ByteLevel");
    put_bool(w, "add_prefix_space", prefix_space);
    put_bool(w, "trim_offsets", true);
    put_bool(w, "use_regex", regex);
    kd_jsonw_end_object(w);
}

static void put_replace(kd_jsonw *w, const char *from, const char *to) {
    begin(w, "Replace");
    kd_jsonw_key(w, "pattern");
    kd_jsonw_object(w);
    put_text(w, "String", from);
    kd_jsonw_end_object(w);
    put_text(w, "content", to);
    kd_jsonw_end_object(w);
}

/* ---- stages of a SentencePiece tokenizer ---- */

static void spm_front(const kd_tokenizer *t, kd_jsonw *w) {
    kd_jsonw_key(w, "normalizer");
    if (t->pres) {
        kd_jsonw_null(w);
        kd_jsonw_key(w, "pre_tokenizer");
        begin(w, "Metaspace");
        put_text(w, "replacement", "\xe2\x96\x81");
        put_text(w, "prepend_scheme", "first");
        put_bool(w, "split", false);
        kd_jsonw_end_object(w);
        return;
    }
    begin(w, "Sequence");
    kd_jsonw_key(w, "normalizers");
    kd_jsonw_array(w);
    if (t->space_prefix) {
        begin(w, "Prepend");
        put_text(w, "prepend", "\xe2\x96\x81");
        kd_jsonw_end_object(w);
    }
    put_replace(w, " ", "\xe2\x96\x81");
    kd_jsonw_end_array(w);
    kd_jsonw_end_object(w);
    kd_jsonw_key(w, "pre_tokenizer");
    kd_jsonw_null(w);
}

static void spm_decoder(const kd_tokenizer *t, kd_jsonw *w) {
    begin(w, "Sequence");
    kd_jsonw_key(w, "decoders");
    kd_jsonw_array(w);
    put_replace(w, "\xe2\x96\x81", " ");
    begin(w, "ByteFallback");
    kd_jsonw_end_object(w);
    begin(w, "Fuse");
    kd_jsonw_end_object(w);
    if (t->space_prefix) {
        begin(w, "Strip");
        put_text(w, "content", " ");
        kd_jsonw_key(w, "start");
        kd_jsonw_int(w, 1);
        kd_jsonw_key(w, "stop");
        kd_jsonw_int(w, 0);
        kd_jsonw_end_object(w);
    }
    kd_jsonw_end_array(w);
    kd_jsonw_end_object(w);
}

/* ---- what goes around a text ---- */

static void template_sequence(kd_jsonw *w, const char *id, int type) {
    kd_jsonw_object(w);
    kd_jsonw_key(w, "Sequence");
    kd_jsonw_object(w);
    put_text(w, "id", id);
    kd_jsonw_key(w, "type_id");
    kd_jsonw_int(w, type);
    kd_jsonw_end_object(w);
    kd_jsonw_end_object(w);
}

static void template_tokens(const kd_tokenizer *t, kd_jsonw *w, const kd_ids *ids, int type) {
    for (size_t i = 0; i < ids->n; i++) {
        kd_jsonw_object(w);
        kd_jsonw_key(w, "SpecialToken");
        kd_jsonw_object(w);
        put_str(w, "id", kd_tokenizer_token(t, ids->id[i]).text);
        kd_jsonw_key(w, "type_id");
        kd_jsonw_int(w, type);
        kd_jsonw_end_object(w);
        kd_jsonw_end_object(w);
    }
}

static void put_post(const kd_tokenizer *t, kd_jsonw *w) {
    kd_jsonw_key(w, "post_processor");
    if (t->before.n + t->after.n == 0) {
        if (t->kind == KD_TOKENIZER_BPE)
            kd_tok_write_byte_level(w, true, true);
        else
            kd_jsonw_null(w);
        return;
    }
    begin(w, "TemplateProcessing");
    for (int pair = 0; pair < 2; pair++) {
        kd_jsonw_key(w, pair ? "pair" : "single");
        kd_jsonw_array(w);
        for (int k = 0; k <= pair; k++) {
            template_tokens(t, w, &t->before, k);
            template_sequence(w, k ? "B" : "A", k);
            template_tokens(t, w, &t->after, k);
        }
        kd_jsonw_end_array(w);
    }
    kd_jsonw_key(w, "special_tokens");
    kd_jsonw_object(w);
    const kd_ids *lists[2] = {&t->before, &t->after};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < lists[k]->n; i++) {
            const int32_t id = lists[k]->id[i];
            if (k == 1 && t->before.n && t->before.id[0] == id) continue;
            const kd_str text = kd_tokenizer_token(t, id).text;
            kd_jsonw_key_str(w, text);
            kd_jsonw_object(w);
            put_str(w, "id", text);
            kd_jsonw_key(w, "ids");
            kd_jsonw_array(w);
            kd_jsonw_int(w, id);
            kd_jsonw_end_array(w);
            kd_jsonw_key(w, "tokens");
            kd_jsonw_array(w);
            kd_jsonw_str(w, text);
            kd_jsonw_end_array(w);
            kd_jsonw_end_object(w);
        }
    kd_jsonw_end_object(w);
    kd_jsonw_end_object(w);
}

/* ---- the whole ---- */

static void put_added(const kd_tokenizer *t, kd_jsonw *w) {
    kd_jsonw_key(w, "added_tokens");
    kd_jsonw_array(w);
    for (size_t i = 0; i < t->size; i++) {
        const kd_token k = kd_tokenizer_token(t, (int32_t)i);
        if (!k.added) continue;
        kd_jsonw_object(w);
        kd_jsonw_key(w, "id");
        kd_jsonw_int(w, (int64_t)i);
        put_str(w, "content", k.text);
        put_bool(w, "single_word", k.single_word);
        put_bool(w, "lstrip", k.lstrip);
        put_bool(w, "rstrip", k.rstrip);
        put_bool(w, "normalized", k.normalized);
        put_bool(w, "special", k.special);
        kd_jsonw_end_object(w);
    }
    kd_jsonw_end_array(w);
}

static void put_model(const kd_tokenizer *t, kd_jsonw *w) {
    kd_jsonw_key(w, "model");
    begin(w, "BPE");
    kd_jsonw_key(w, "dropout");
    kd_jsonw_null(w);
    kd_jsonw_key(w, "unk_token");
    if (t->has_unk)
        kd_jsonw_str(w, t->unk);
    else
        kd_jsonw_null(w);
    kd_jsonw_key(w, "continuing_subword_prefix");
    kd_jsonw_null(w);
    kd_jsonw_key(w, "end_of_word_suffix");
    kd_jsonw_null(w);
    put_bool(w, "fuse_unk", t->fuse_unk);
    put_bool(w, "byte_fallback", t->byte_fallback);
    put_bool(w, "ignore_merges", t->ignore_merges);
    kd_jsonw_key(w, "vocab");
    kd_jsonw_object(w);
    for (size_t i = 0; i < t->size; i++) {
        const kd_str s = t->entry[i].model;
        if (!s.data || kd_tok_map_get(&t->by_text, s.data, s.len) != (int32_t)i) continue;
        kd_jsonw_key_str(w, s);
        kd_jsonw_int(w, (int64_t)i);
    }
    kd_jsonw_end_object(w);
    kd_jsonw_key(w, "merges");
    kd_jsonw_array(w);
    for (size_t i = 0; i < t->merges; i++) {
        kd_str a, b;
        (void)kd_tokenizer_merge(t, i, &a, &b);
        kd_jsonw_array(w);
        kd_jsonw_str(w, a);
        kd_jsonw_str(w, b);
        kd_jsonw_end_array(w);
    }
    kd_jsonw_end_array(w);
    kd_jsonw_end_object(w);
}

kd_code kd_tokenizer_write_json(const kd_tokenizer *t, kd_buf *out, kd_err *e) {
    if (t->json.len) return kd_buf_append(out, t->json.data, t->json.len) ? kd_tok_enomem(e) : KD_OK;
    kd_jsonw w = {.out = out};
    kd_jsonw_object(&w);
    put_text(&w, "version", "1.0");
    put_text(&w, "truncation", NULL);
    put_text(&w, "padding", NULL);
    put_added(t, &w);
    if (t->kind == KD_TOKENIZER_SPM)
        spm_front(t, &w);
    else
        kd_tok_pre_write(t, &w);
    put_post(t, &w);
    kd_jsonw_key(&w, "decoder");
    if (t->kind == KD_TOKENIZER_SPM)
        spm_decoder(t, &w);
    else
        kd_tok_write_byte_level(&w, true, true);
    put_model(t, &w);
    kd_jsonw_end_object(&w);
    return w.code ? kd_tok_enomem(e) : KD_OK;
}

kd_code kd_tokenizer_write_config(const kd_tokenizer *t, kd_buf *out, kd_err *e) {
    if (t->config.len) return kd_buf_append(out, t->config.data, t->config.len) ? kd_tok_enomem(e) : KD_OK;
    const kd_specials *s = &t->special;
    const struct {
        const char *key;
        int32_t id;
    } roles[] = {{"bos_token", s->bos}, {"eos_token", s->eos}, {"unk_token", s->unk},
                 {"pad_token", s->pad}, {"sep_token", s->sep}, {"mask_token", s->mask}};
    kd_jsonw w = {.out = out};
    kd_jsonw_object(&w);
    put_bool(&w, "add_bos_token", s->add_bos);
    put_bool(&w, "add_eos_token", s->add_eos);
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
        if (roles[k].id >= 0) put_str(&w, roles[k].key, kd_tokenizer_token(t, roles[k].id).text);
    put_bool(&w, "clean_up_tokenization_spaces", false);
    put_text(&w, "tokenizer_class", "PreTrainedTokenizerFast");
    kd_jsonw_end_object(&w);
    return w.code ? kd_tok_enomem(e) : KD_OK;
}
