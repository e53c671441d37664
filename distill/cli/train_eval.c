/* distill/cli/train_eval.c - measuring a student between updates. Leans on train_eval.h, student/view.h, distill/engine, datasets/label.h. */
#include "distill/cli/train_eval.h"

#include "datasets/label.h"
#include "distill/engine/engine.h"
#include "student/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SEQUENCES = 16 };

typedef struct {
    int32_t *prompt;
    size_t n;
    char *gold;
    bool opened; /* the prompt ends inside a thought */
    unsigned right, answered;
    struct kd_train_eval *of;
} question;

struct kd_train_eval {
    kd_cli *cli;
    const kd_tokenizer *tokenizer;
    const kd_model *m;
    const kd_train_method *method;
    kd_pool *pool;
    kd_lessons held, general;
    question *q;
    size_t questions, cap, samples, max_tokens, longest;
    uint64_t kv_bytes;
    kd_code code; /* of judging, inside the engine's call */
    kd_err err;
};

/* ---- reading ---- */
static kd_code add_question(kd_train_eval *v, const kd_prompt *p, const kd_train_source *s, kd_err *e) {
    kd_buf b = {0}, text = {0};
    kd_json *doc = NULL;
    question q = {.of = v};
    const kd_render r = {.chat = s->chat, .tokenizer = s->tokenizer, .now = s->now};
    kd_code c = kd_buf_puts(&b, "{\"messages\":") || kd_buf_append(&b, p->messages.data, p->messages.len) ? KD_ENOMEM : KD_OK;
    if (!c && p->tools.len) c = kd_buf_puts(&b, ",\"tools\":") || kd_buf_append(&b, p->tools.data, p->tools.len) ? KD_ENOMEM : KD_OK;
    if (!c) c = kd_buf_putc(&b, '}');
    if (c) c = kd_fail(e, c, "no memory for questions");
    if (!c) c = kd_json_parse(&doc, b.data, b.len, "messages", e);
    if (!c) c = kd_render_prompt(&text, &q.prompt, &q.n, &q.opened, &r, kd_json_root(doc), e);
    if (!c && !(q.gold = kd_strndup(p->gold.data, p->gold.len))) c = kd_fail(e, KD_ENOMEM, "no memory for questions");
    void *at = v->q;
    if (!c && q.n + v->max_tokens <= s->max_length) {
        c = kd_grow(&at, &v->cap, v->questions + 1, sizeof *v->q) ? kd_fail(e, KD_ENOMEM, "no memory for questions") : KD_OK;
        v->q = at;
        if (!c) {
            if (q.n > v->longest) v->longest = q.n;
            v->q[v->questions++] = q;
            q = (question){0};
        }
    }
    kd_free(q.prompt);
    kd_free(q.gold);
    kd_json_free(doc);
    kd_buf_clear(&text);
    kd_buf_clear(&b);
    return c;
}

static kd_code read_questions(kd_train_eval *v, const char *path, const char *split, size_t limit, const kd_train_source *s, kd_err *e) {
    kd_study *study = NULL;
    kd_prompts *p = NULL;
    kd_code c = kd_study_open(&study, path, KD_STUDY_READ, e);
    if (!c) c = kd_prompts_open(&p, study, split, 0, NULL, e);
    for (bool more = true; !c && v->questions < limit;) {
        kd_prompt row;
        c = kd_prompts_next(p, &row, &more, e);
        if (c || !more) break;
        if (row.gold.data && row.gold.len) c = add_question(v, &row, s, e);
    }
    kd_prompts_close(p);
    kd_study_close(study);
    if (!c && !v->questions)
        c = kd_fail(
            e, KD_EFORMAT,
            "--eval-generate: %s has no question of the split '%s' with an answer to check against, short enough for --eval-max-tokens",
            path, split);
    return c;
}

/* Decoded together. */
static size_t sequences(const kd_train_eval *v) {
    const size_t all = v->questions * v->samples;
    return all < SEQUENCES ? all : SEQUENCES;
}

static size_t longest_rows(const kd_lessons *l, size_t most) {
    for (size_t i = 0; i < l->n; i++) {
        const size_t rows = kd_lesson_rows(&l->at[i]);
        if (rows > most) most = rows;
    }
    return most;
}

/* A file that is a study, among the sources. */
static const char *first_study(const kd_train_data *d) {
    for (size_t i = 0; i < d->parts; i++) {
        char head[16] = "";
        FILE *f = strcmp(d->part[i].path, "-") ? fopen(d->part[i].path, "re") : NULL;
        const size_t n = f ? fread(head, 1, sizeof head, f) : 0;
        if (f) (void)fclose(f);
        if (n == sizeof head && memcmp(head, "SQLite format 3", 16) == 0) return d->part[i].path;
    }
    return NULL;
}

kd_code kd_train_eval_new(kd_train_eval **out, kd_cli *cli, const kd_train_data *d, const kd_train_source *s, const kd_config *c,
                          size_t *rows, uint64_t *bytes, kd_err *e) {
    const char *data = kd_opt_string(cli, "eval-data"), *split = kd_opt_string(cli, "eval-split"), *general = kd_opt_string(cli, "general");
    const char *path = data ? data : first_study(d);
    const size_t generate = (size_t)kd_opt_int(cli, "eval-generate");
    *out = NULL;
    *rows = 0;
    *bytes = 0;
    const bool held = data || split;
    if ((kd_opt_int(cli, "eval-every") || kd_opt_int(cli, "patience") || generate) && !held)
        return kd_fail(e, KD_EINVAL,
                       "--eval-every, --eval-generate and --patience need something held out: --eval-split NAME or --eval-data FILE");
    if (kd_opt_int(cli, "patience") && !kd_opt_int(cli, "eval-every")) return kd_fail(e, KD_EINVAL, "--patience needs --eval-every N");
    if (split && !path)
        return kd_fail(e, KD_EINVAL, "--eval-split %s: no source is a study; --eval-data FILE names held-out lessons", split);
    if (split && strcmp(split, "train") == 0) return kd_fail(e, KD_EINVAL, "--eval-split train: that is what is learned");
    if (!held && !general) return KD_OK;
    kd_train_eval *v = kd_calloc(1, sizeof *v);
    if (!v) return kd_fail(e, KD_ENOMEM, "no memory for evaluations");
    v->cli = cli;
    v->tokenizer = s->tokenizer;
    v->samples = (size_t)kd_opt_int(cli, "eval-samples");
    v->max_tokens = (size_t)kd_opt_int(cli, "eval-max-tokens");
    const char *of = split ? split : "dev";
    kd_code code = KD_OK;
    if (held && !(generate && kd_opt_given(cli, "eval-tokens") && !kd_opt_int(cli, "eval-tokens")))
        code = kd_held_read(&v->held, path, of, false, (size_t)kd_opt_int(cli, "eval-tokens"), s, e);
    if (!code && general) code = kd_held_read(&v->general, general, of, true, (size_t)kd_opt_int(cli, "general-tokens"), s, e);
    if (!code && generate) code = read_questions(v, path, of, generate, s, e);
    *rows = longest_rows(&v->general, longest_rows(&v->held, 0));
    if (v->questions) {
        const uint64_t page = 2ull * c->L * c->G * c->D * sizeof(float);
        v->kv_bytes = page * (v->longest + v->max_tokens + 64) * sequences(v);
        *bytes = v->kv_bytes + 64ull * (uint64_t)c->V * sizeof(float) + ((uint64_t)16 << 20);
    }
    if (code)
        kd_train_eval_free(v);
    else
        *out = v;
    return code;
}

void kd_train_eval_free(kd_train_eval *v) {
    if (!v) return;
    for (size_t i = 0; i < v->questions; i++) {
        kd_free(v->q[i].prompt);
        kd_free(v->q[i].gold);
    }
    kd_free(v->q);
    kd_lessons_clear(&v->held);
    kd_lessons_clear(&v->general);
    kd_free(v);
}

void kd_train_eval_bind(kd_train_eval *v, const kd_model *m, const kd_train_method *method, kd_pool *pool) {
    v->m = m;
    v->method = method;
    v->pool = pool;
    for (size_t i = 0; i < v->questions; i++) v->q[i].of = v;
}

/* ---- measuring ---- */
static kd_code mean_loss(kd_train_eval *v, kd_trainer *t, const kd_lessons *l, double *mean, kd_err *e) {
    double sum = 0;
    size_t tokens = 0, most = 1;
    for (size_t i = 0; i < l->n; i++) most = l->at[i].n > most ? l->at[i].n : most;
    double *loss = kd_calloc(most, sizeof *loss);
    if (!loss) return kd_fail(e, KD_ENOMEM, "no memory for evaluations");
    kd_code code = KD_OK;
    for (size_t i = 0; i < l->n && !code; i++) {
        size_t n = 0;
        for (size_t k = 1; k < l->at[i].n; k++) n += l->at[i].loss[k] != 0;
        if (!n) continue;
        kd_trainer_score(t, &l->at[i], 1, loss);
        for (size_t k = 0; k < n; k++) sum += loss[k];
        tokens += n;
        code = (kd_code)kd_stopping(v->cli->watch);
    }
    *mean = tokens ? sum / (double)tokens : NAN;
    kd_free(loss);
    return code;
}

static void judge(void *user, const kd_result *r) {
    question *q = user;
    kd_str thought, answer;
    kd_judgement j;
    q->answered++;
    (void)kd_thought_split((kd_str){r->text, r->text_len}, q->opened, &thought, &answer);
    if (kd_label_math(&j, answer, kd_str_of(q->gold), &q->of->err) != KD_OK)
        q->of->code = q->of->err.code;
    else if (j.verdict == KD_RIGHT)
        q->right++;
}

static kd_code ask_all(kd_train_eval *v, kd_engine *en, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < v->questions && !c; i++) {
        question *q = &v->q[i];
        q->right = q->answered = 0;
        for (size_t k = 0; k < v->samples && !c; k++) {
            const kd_request r = {.prompt = q->prompt,
                                  .prompt_n = q->n,
                                  .sampling = {.temperature = v->samples > 1 ? 0.7f : 0.0f, .top_p = 0.95f},
                                  .seed = v->cli->seed,
                                  .stream = (uint64_t)i * 1000003u + k,
                                  .max_tokens = v->max_tokens,
                                  .on_done = judge,
                                  .user = q};
            c = kd_engine_submit(en, &r, NULL, e);
        }
    }
    return c ? c : kd_engine_run(en, v->cli->watch, e);
}

static kd_code pass1(kd_train_eval *v, kd_trainer *t, kd_eval_line *line, kd_err *e) {
    kd_view view;
    kd_engine *en = NULL;
    const kd_engine_options o = {.pool = v->pool,
                                 .sequences = sequences(v),
                                 .context = v->longest + v->max_tokens + 1,
                                 .rows = 256,
                                 .kv = KD_KV_F32,
                                 .kv_bytes = v->kv_bytes,
                                 .exact = true};
    kd_code c = kd_view_make(&view, t, v->m, v->method, e);
    if (c) return c;
    v->code = KD_OK;
    c = kd_engine_new(&en, &view.model, view.adapter, v->tokenizer, &o, e);
    if (!c) c = ask_all(v, en, e);
    if (!c && v->code) c = kd_fail(e, v->code, "%s", v->err.msg);
    double sum = 0;
    for (size_t i = 0; i < v->questions; i++) sum += (double)v->q[i].right / (double)v->samples;
    line->pass1 = sum / (double)v->questions;
    line->questions = v->questions;
    kd_engine_free(en);
    kd_view_clear(&view);
    return c;
}

kd_code kd_train_eval_run(kd_train_eval *v, kd_trainer *t, kd_eval_line *line, kd_err *e) {
    kd_code c = v->held.n ? mean_loss(v, t, &v->held, &line->loss, e) : KD_OK;
    if (!c && v->general.n) c = mean_loss(v, t, &v->general, &line->general, e);
    return c || !v->questions ? c : pass1(v, t, line, e);
}

static size_t tokens_of(const kd_lessons *l) {
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) n += l->at[i].n;
    return n;
}

kd_code kd_train_eval_text(kd_buf *out, const kd_train_eval *v) {
    kd_code c = KD_OK;
    const char *sep = "";
    if (v->held.n) c = kd_buf_printf(out, "%zu held-out lessons (%zu tokens)", v->held.n, tokens_of(&v->held)), sep = ", ";
    if (!c && v->questions) c = kd_buf_printf(out, "%s%zu questions to answer (%zu each)", sep, v->questions, v->samples), sep = ", ";
    if (!c && v->general.n) c = kd_buf_printf(out, "%s%zu tokens of general text", sep, tokens_of(&v->general));
    return c;
}
