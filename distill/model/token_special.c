/* distill/model/token_special.c - which tokens begin and end texts and turns: from the files of a Hugging Face folder, and by the texts that
 * well-known models give them. Leans on token_impl.h, base/json.h, base/file.h. */
#include "distill/model/token_impl.h"

enum { CONFIG_MAX = 64 << 20 };

static bool in_list(kd_str s, const char *const *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (kd_str_is(s, v[i])) return true;
    return false;
}

static kd_code add_eog(kd_tokenizer *t, int64_t id, kd_err *e) {
    if (id < 0 || (uint64_t)id >= t->size) return KD_OK;
    size_t at = 0;
    while (at < t->eog.n && t->eog.id[at] < id) at++;
    if (at < t->eog.n && t->eog.id[at] == id) return KD_OK;
    if (kd_ids_push(&t->eog, (int32_t)id)) return kd_tok_enomem(e);
    memmove(t->eog.id + at + 1, t->eog.id + at, (t->eog.n - 1 - at) * sizeof *t->eog.id);
    t->eog.id[at] = (int32_t)id;
    return KD_OK;
}

kd_code kd_tok_special_finish(kd_tokenizer *t, kd_err *e) {
    /* Ends of turns, likeliest first; then other tokens behind which a model says nothing more. */
    static const char *const turn[] = {"<|eot_id|>",        "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
                                       "<|end_of_text|>",   "<EOT>",      "_<EOT>",  "[EOT]",         "<｜end▁of▁sentence｜>",
                                       "<end_of_utterance>"};
    static const char *const more[] = {"<|eom_id|>",    "<|return|>",  "<|call|>",   "<|flush|>",   "<|calls|>",
                                       "</s>",          "[EOS]",       "<eos>",      "<turn|>",     "<|tool_response>",
                                       "[e~[",          "<|fim_pad|>", "<fim-pad>",  "<fim_pad>",   "<|fim_repo|>",
                                       "<|repo_name|>", "<fim-repo>",  "<reponame>", "<|file_sep|>"};
    kd_specials *s = &t->special;
    kd_code c = KD_OK;
    for (size_t k = 0; k < sizeof turn / sizeof *turn && s->eot < 0; k++) {
        const int32_t id = kd_tokenizer_find(t, kd_str_of(turn[k]));
        if (id >= 0 && (t->entry[id].flags & TF_ADDED)) s->eot = id;
    }
    const int32_t eom = kd_tokenizer_find(t, KD_STR("<|eom_id|>"));
    if (s->eom < 0 && eom >= 0 && (t->entry[eom].flags & TF_ADDED)) s->eom = eom;
    for (size_t i = 0; i < t->nadded && !c; i++) {
        const kd_str text = t->entry[t->added[i]].added;
        if (in_list(text, turn, sizeof turn / sizeof *turn) || in_list(text, more, sizeof more / sizeof *more))
            c = add_eog(t, t->added[i], e);
    }
    if (!c) c = add_eog(t, s->eos, e);
    if (!c) c = add_eog(t, s->eot, e);
    if (!c) c = add_eog(t, s->eom, e);
    s->eog = t->eog.id;
    s->eogs = t->eog.n;
    s->add_bos = s->bos >= 0 && t->before.n && t->before.id[0] == s->bos;
    s->add_eos = s->eos >= 0 && t->after.n && t->after.id[t->after.n - 1] == s->eos;
    return c;
}

/* ---- the files of a folder ---- */

static const struct {
    const char *token, *id;
    size_t at;
} roles[] = {{"bos_token", "bos_token_id", offsetof(kd_specials, bos)}, {"eos_token", "eos_token_id", offsetof(kd_specials, eos)},
             {"unk_token", "unk_token_id", offsetof(kd_specials, unk)}, {"pad_token", "pad_token_id", offsetof(kd_specials, pad)},
             {"sep_token", "sep_token_id", offsetof(kd_specials, sep)}, {"mask_token", "mask_token_id", offsetof(kd_specials, mask)}};

static int32_t *role(kd_tokenizer *t, size_t k) { return (int32_t *)(void *)((char *)&t->special + roles[k].at); }

/* "bos_token": "<s>", or {"content": "<s>", ...} */
static void by_text(kd_tokenizer *t, const kd_json_node *root) {
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++) {
        const kd_json_node *v = kd_json_get(root, roles[k].token);
        const kd_str s = kd_json_typeof(v) == KD_JSON_OBJECT ? kd_json_string(kd_json_get(v, "content")) : kd_json_string(v);
        if (s.data && *role(t, k) < 0) *role(t, k) = kd_tokenizer_find(t, s);
    }
}

/* "eos_token_id": 2, or [2, 3]: each of them ends a generation */
static kd_code by_id(kd_tokenizer *t, const kd_json_node *root, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++) {
        const kd_json_node *v = kd_json_get(root, roles[k].id);
        const bool list = kd_json_typeof(v) == KD_JSON_ARRAY;
        int64_t id;
        if (kd_json_int(list ? kd_json_first(v) : v, &id) && id >= 0 && (uint64_t)id < t->size && *role(t, k) < 0)
            *role(t, k) = (int32_t)id;
        if (role(t, k) != &t->special.eos) continue;
        if (!list && kd_json_int(v, &id)) c = add_eog(t, id, e);
        for (const kd_json_node *x = list ? kd_json_first(v) : NULL; x && !c; x = kd_json_next(x))
            if (kd_json_int(x, &id)) c = add_eog(t, id, e);
        if (c) return c;
    }
    return c;
}

/* "add_bos_token" and "add_eos_token", where a file has either, replace what the post-processor adds. */
static kd_code flags(kd_tokenizer *t, const kd_json_node *root, kd_err *e) {
    const kd_json_node *bos = kd_json_get(root, "add_bos_token"), *eos = kd_json_get(root, "add_eos_token");
    if (kd_json_typeof(bos) != KD_JSON_BOOL && kd_json_typeof(eos) != KD_JSON_BOOL) return KD_OK;
    kd_ids_clear(&t->before);
    kd_ids_clear(&t->after);
    if (kd_json_bool(bos, false) && t->special.bos >= 0 && kd_ids_push(&t->before, t->special.bos)) return kd_tok_enomem(e);
    if (kd_json_bool(eos, false) && t->special.eos >= 0 && kd_ids_push(&t->after, t->special.eos)) return kd_tok_enomem(e);
    return KD_OK;
}

static kd_code read_file(kd_tokenizer *t, const char *dir, const char *name, bool texts, kd_err *e) {
    kd_buf b = {0};
    kd_json *doc = NULL;
    char *path = kd_path_join(dir, name);
    kd_code c = path ? KD_OK : kd_tok_enomem(e);
    if (!c && !kd_file_exists(path)) goto done;
    if (!c) c = kd_file_read(&b, path, CONFIG_MAX, e);
    if (!c) c = kd_json_parse(&doc, b.data, b.len, path, e);
    if (!c && texts) by_text(t, kd_json_root(doc));
    if (!c && !texts) c = by_id(t, kd_json_root(doc), e);
done:
    kd_json_free(doc);
    kd_buf_clear(&b);
    kd_free(path);
    return c;
}

kd_code kd_tok_special_config(kd_tokenizer *t, const char *dir, kd_err *e) {
    kd_json *doc = NULL;
    kd_code c = t->config.len ? kd_json_parse(&doc, t->config.data, t->config.len, "tokenizer_config.json", e) : KD_OK;
    if (!c) by_text(t, kd_json_root(doc));
    if (!c && dir) c = read_file(t, dir, "special_tokens_map.json", true, e);
    if (!c && dir) c = read_file(t, dir, "generation_config.json", false, e);
    if (!c && dir) c = read_file(t, dir, "config.json", false, e);
    if (!c) c = flags(t, kd_json_root(doc), e);
    kd_json_free(doc);
    if (t->special.unk < 0) t->special.unk = t->unk_id;
    return c ? c : kd_tok_special_finish(t, e);
}
