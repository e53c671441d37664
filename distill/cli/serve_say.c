/* distill/cli/serve_say.c - answers, chunks of streams and errors, as OpenAI's clients read them. */
#include "distill/base/utf8.h"
#include "distill/cli/serve.h"

#include <math.h>
#include <string.h>

void say_error(kd_buf *out, const ask_error *x) {
    kd_jsonw w = {.out = out};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "error");
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "message"), kd_jsonw_cstr(&w, x->message);
    kd_jsonw_key(&w, "type"), kd_jsonw_cstr(&w, x->type);
    kd_jsonw_key(&w, "param"), kd_jsonw_cstr(&w, *x->param ? x->param : NULL);
    kd_jsonw_key(&w, "code"), kd_jsonw_cstr(&w, x->code);
    kd_jsonw_end_object(&w);
    kd_jsonw_end_object(&w);
}

/* OpenAI knows no "loop": its clients, some of them strict, read "length" there; stop_reason says what it was. */
static const char *finish_name(kd_finish f) { return f == KD_FINISH_STOP ? "stop" : "length"; }

static kd_code piece_of(const serve *s, int32_t id, kd_buf *b) {
    b->len = 0;
    return kd_tokenizer_piece(s->tokenizer, id, b, NULL);
}

/* Two of OpenAI's habits: a probability of none is -9999; a token's text is text, its bytes are beside it. */
static void put_logprob(kd_jsonw *w, float v) { kd_jsonw_double(w, isfinite(v) ? (double)v : -9999.0); }

static kd_code put_token(kd_jsonw *w, const serve *s, int32_t id, float logprob) {
    kd_buf b = {0};
    kd_code c = piece_of(s, id, &b);
    kd_jsonw_key(w, "token"), kd_jsonw_str(w, (kd_str){b.data ? b.data : "", b.len});
    kd_jsonw_key(w, "logprob"), put_logprob(w, logprob);
    kd_jsonw_key(w, "bytes");
    kd_jsonw_array(w);
    for (size_t i = 0; b.data && i < b.len; i++) kd_jsonw_int(w, (unsigned char)b.data[i]);
    kd_jsonw_end_array(w);
    kd_buf_clear(&b);
    return c;
}

static kd_code add_chat_logprob(choice *c, const kd_piece *p) {
    const serve *s = c->of->of;
    kd_code code = c->logprobs.len ? kd_buf_putc(&c->logprobs, ',') : KD_OK;
    kd_jsonw w = {.out = &c->logprobs, .code = code};
    kd_jsonw_object(&w);
    code = put_token(&w, s, p->id, p->logprob);
    kd_jsonw_key(&w, "top_logprobs");
    kd_jsonw_array(&w);
    for (size_t i = 0; i < p->top_k && !code; i++) {
        kd_jsonw_object(&w);
        code = put_token(&w, s, p->top[i].id, p->top[i].logprob);
        kd_jsonw_end_object(&w);
    }
    kd_jsonw_end_array(&w);
    kd_jsonw_end_object(&w);
    return code ? code : w.code;
}

/* Completions: four arrays, each in a buffer of its own. */
static kd_code add_text_logprob(choice *c, const kd_piece *p) {
    const serve *s = c->of->of;
    kd_buf b = {0}, *all[4] = {&c->logprobs, &c->lp[0], &c->lp[1], &c->lp[2]};
    kd_jsonw w[4];
    kd_code code = piece_of(s, p->id, &b);
    for (size_t i = 0; i < 4 && !code; i++) code = all[i]->len ? kd_buf_putc(all[i], ',') : KD_OK;
    for (size_t i = 0; i < 4; i++) w[i] = (kd_jsonw){.out = all[i], .code = code};
    kd_jsonw_str(&w[0], (kd_str){b.data ? b.data : "", b.len});
    put_logprob(&w[1], p->logprob);
    kd_jsonw_object(&w[2]);
    size_t length = kd_utf8_count(b.data ? b.data : "", b.len);
    for (size_t i = 0; i < p->top_k && !code; i++) {
        code = piece_of(s, p->top[i].id, &b);
        kd_jsonw_key_str(&w[2], (kd_str){b.data ? b.data : "", b.len}), put_logprob(&w[2], p->top[i].logprob);
    }
    kd_jsonw_end_object(&w[2]);
    kd_jsonw_int(&w[3], (int64_t)c->offset);
    c->offset += length;
    kd_buf_clear(&b);
    for (size_t i = 0; i < 4 && !code; i++) code = w[i].code;
    return code;
}

static void put_raw_array(kd_jsonw *w, const char *key, const kd_buf *items) {
    kd_jsonw_key(w, key);
    kd_jsonw_array(w);
    if (items->len) kd_jsonw_raw(w, kd_buf_view(items));
    kd_jsonw_end_array(w);
}

static void put_logprobs(kd_jsonw *w, const choice *c) {
    kd_jsonw_key(w, "logprobs");
    if (!c->of->a->logprobs) {
        kd_jsonw_null(w);
        return;
    }
    kd_jsonw_object(w);
    put_raw_array(w, c->of->a->chat ? "content" : "tokens", &c->logprobs);
    if (c->of->a->chat) {
        kd_jsonw_key(w, "refusal"), kd_jsonw_null(w);
    } else {
        put_raw_array(w, "token_logprobs", &c->lp[0]);
        put_raw_array(w, "top_logprobs", &c->lp[1]);
        put_raw_array(w, "text_offset", &c->lp[2]);
    }
    kd_jsonw_end_object(w);
}

static void put_head(kd_jsonw *w, const job *j, const char *object) {
    kd_jsonw_object(w);
    kd_jsonw_key(w, "id"), kd_jsonw_cstr(w, j->name);
    kd_jsonw_key(w, "object"), kd_jsonw_cstr(w, object);
    kd_jsonw_key(w, "created"), kd_jsonw_int(w, j->created);
    kd_jsonw_key(w, "model"), kd_jsonw_cstr(w, j->of->model);
}

static void put_finish(kd_jsonw *w, const choice *c, bool ended) {
    kd_jsonw_key(w, "finish_reason"), kd_jsonw_cstr(w, ended ? finish_name(c->finish) : NULL);
    if (ended && c->finish == KD_FINISH_LOOP) kd_jsonw_key(w, "stop_reason"), kd_jsonw_cstr(w, "loop");
}

static void put_usage(kd_jsonw *w, const job *j) {
    int64_t made = 0, thought = 0, cached = 0;
    for (size_t i = 0; i < j->n; i++) {
        made += (int64_t)j->choices[i].tokens, thought += (int64_t)j->choices[i].thought_tokens;
        if (i % j->a->choices == 0) cached += (int64_t)j->choices[i].shared;
    }
    kd_jsonw_object(w);
    kd_jsonw_key(w, "prompt_tokens"), kd_jsonw_int(w, (int64_t)j->prompt_tokens);
    kd_jsonw_key(w, "completion_tokens"), kd_jsonw_int(w, made);
    kd_jsonw_key(w, "total_tokens"), kd_jsonw_int(w, (int64_t)j->prompt_tokens + made);
    kd_jsonw_key(w, "prompt_tokens_details");
    kd_jsonw_object(w);
    kd_jsonw_key(w, "cached_tokens"), kd_jsonw_int(w, cached);
    kd_jsonw_end_object(w);
    kd_jsonw_key(w, "completion_tokens_details");
    kd_jsonw_object(w);
    kd_jsonw_key(w, "reasoning_tokens"), kd_jsonw_int(w, thought);
    kd_jsonw_end_object(w);
    kd_jsonw_end_object(w);
}

/* One event of a stream. thought, answer: what is new; the first of a chat names the role. */
static kd_code put_chunk(choice *c, const kd_buf *thought, const kd_buf *answer, bool first, bool last) {
    job *j = c->of;
    pthread_mutex_lock(&j->lock);
    kd_code code = kd_buf_puts(&j->out, "data: ");
    kd_jsonw w = {.out = &j->out, .code = code};
    put_head(&w, j, j->a->chat ? "chat.completion.chunk" : "text_completion");
    kd_jsonw_key(&w, "choices");
    kd_jsonw_array(&w);
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "index"), kd_jsonw_int(&w, (int64_t)c->index);
    if (j->a->chat) {
        kd_jsonw_key(&w, "delta");
        kd_jsonw_object(&w);
        if (first) kd_jsonw_key(&w, "role"), kd_jsonw_cstr(&w, "assistant");
        if (thought->len) kd_jsonw_key(&w, "reasoning_content"), kd_jsonw_str(&w, kd_buf_view(thought));
        if (answer->len || first) kd_jsonw_key(&w, "content"), kd_jsonw_str(&w, (kd_str){answer->data ? answer->data : "", answer->len});
        kd_jsonw_end_object(&w);
    } else {
        kd_jsonw_key(&w, "text"), kd_jsonw_str(&w, (kd_str){answer->data ? answer->data : "", answer->len});
    }
    put_logprobs(&w, c);
    put_finish(&w, c, last);
    kd_jsonw_end_object(&w);
    kd_jsonw_end_array(&w);
    if (j->a->usage) kd_jsonw_key(&w, "usage"), kd_jsonw_null(&w);
    kd_jsonw_end_object(&w);
    code = w.code ? w.code : kd_buf_puts(&j->out, "\n\n");
    pthread_cond_broadcast(&j->moved);
    pthread_mutex_unlock(&j->lock);
    c->logprobs.len = c->lp[0].len = c->lp[1].len = c->lp[2].len = 0;
    return code;
}

kd_code say_piece(choice *c, const kd_piece *p, bool last) {
    const job *j = c->of;
    kd_buf thought = {0}, answer = {0};
    kd_code code = KD_OK;
    bool ends = p->id >= 0 && !j->a->ignore_eos && kd_tokenizer_is_eog(j->of->tokenizer, p->id);
    if (j->a->logprobs && p->id >= 0 && !ends) code = j->a->chat ? add_chat_logprob(c, p) : add_text_logprob(c, p);
    if (code) return code;
    if (!j->a->stream) return think_push(&c->think, (kd_str){p->text, p->len}, last, &c->thought, &c->text);
    code = think_push(&c->think, (kd_str){p->text, p->len}, last, &thought, &answer);
    bool first = !c->begun && j->a->chat;
    if (!code && (first || thought.len || answer.len || last || c->logprobs.len))
        code = put_chunk(c, &thought, &answer, first, last), c->begun = true;
    kd_buf_clear(&thought);
    kd_buf_clear(&answer);
    return code;
}

kd_code say_end(job *j) {
    pthread_mutex_lock(&j->lock);
    kd_code c = KD_OK;
    if (j->a->usage) {
        c = kd_buf_puts(&j->out, "data: ");
        kd_jsonw w = {.out = &j->out, .code = c};
        put_head(&w, j, j->a->chat ? "chat.completion.chunk" : "text_completion");
        kd_jsonw_key(&w, "choices");
        kd_jsonw_array(&w);
        kd_jsonw_end_array(&w);
        kd_jsonw_key(&w, "usage"), put_usage(&w, j);
        kd_jsonw_end_object(&w);
        c = w.code ? w.code : kd_buf_puts(&j->out, "\n\n");
    }
    if (!c) c = kd_buf_puts(&j->out, "data: [DONE]\n\n");
    pthread_mutex_unlock(&j->lock);
    return c;
}

kd_code say_whole(kd_buf *out, job *j) {
    kd_jsonw w = {.out = out};
    put_head(&w, j, j->a->chat ? "chat.completion" : "text_completion");
    kd_jsonw_key(&w, "choices");
    kd_jsonw_array(&w);
    for (size_t i = 0; i < j->n; i++) {
        choice *c = &j->choices[i];
        kd_str text = {c->text.data ? c->text.data : "", c->text.len};
        kd_jsonw_object(&w);
        kd_jsonw_key(&w, "index"), kd_jsonw_int(&w, (int64_t)i);
        if (j->a->chat) {
            kd_jsonw_key(&w, "message");
            kd_jsonw_object(&w);
            kd_jsonw_key(&w, "role"), kd_jsonw_cstr(&w, "assistant");
            if (c->thought.len) kd_jsonw_key(&w, "reasoning_content"), kd_jsonw_str(&w, kd_buf_view(&c->thought));
            kd_jsonw_key(&w, "content"), kd_jsonw_str(&w, text);
            kd_jsonw_end_object(&w);
        } else {
            kd_jsonw_key(&w, "text"), kd_jsonw_str(&w, text);
        }
        put_logprobs(&w, c);
        put_finish(&w, c, true);
        kd_jsonw_end_object(&w);
    }
    kd_jsonw_end_array(&w);
    kd_jsonw_key(&w, "usage"), put_usage(&w, j);
    kd_jsonw_end_object(&w);
    return w.code;
}
