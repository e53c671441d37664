/* distill/cli/train_data.c - lessons for `train`: rendered from a study's selection or from JSONL files. Leans on train_data.h, datasets/render.h,
 * datasets/study.h, base/hash.h. */
#include "distill/cli/train_data.h"

#include "datasets/study.h"
#include "distill/base/gz.h"
#include "distill/base/hash.h"
#include "distill/base/utf8.h"
#include "distill/model/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kd_code no_memory(kd_err *e) { return kd_fail(e, KD_ENOMEM, "no memory for lessons"); }

/* ---- arguments ---- */
/* FILE=0.75 where no file has that whole name. */
static kd_code take_part(kd_train_part *p, const char *arg, kd_err *e) {
    const char *eq = strrchr(arg, '=');
    *p = (kd_train_part){.weight = 0};
    size_t n = strlen(arg);
    if (eq && eq > arg && !kd_file_exists(arg)) {
        char *end;
        p->weight = strtod(eq + 1, &end);
        if (end == eq + 1 || *end || !(p->weight > 0) || !isfinite(p->weight))
            return kd_fail(e, KD_EINVAL, "%s: expected a weight above 0 behind '=', found '%s'", arg, eq + 1);
        n = (size_t)(eq - arg);
    }
    if (n >= sizeof p->path) return kd_fail(e, KD_EINVAL, "%.60s...: a path too long", arg);
    memcpy(p->path, arg, n);
    p->path[n] = 0;
    p->name = kd_path_base(p->path);
    return KD_OK;
}

kd_code kd_train_parts(kd_train_data *d, const kd_cli *cli, kd_err *e) {
    size_t weighted = 0;
    *d = (kd_train_data){.turn_end = -1};
    if (cli->n_args > KD_SOURCES_MAX) return kd_fail(e, KD_EINVAL, "at most %d sources, found %zu", KD_SOURCES_MAX, cli->n_args);
    for (size_t i = 0; i < cli->n_args; i++) {
        const kd_code c = take_part(&d->part[d->parts++], cli->args[i], e);
        if (c) return c;
        weighted += d->part[i].weight > 0;
    }
    if (weighted && weighted < d->parts)
        return kd_fail(e, KD_EINVAL, "%zu of %zu sources have a weight: give every one its share, as A=0.75 B=0.25", weighted, d->parts);
    return KD_OK;
}

static kd_code is_study(const char *path, bool *yes, kd_err *e) {
    static const char magic[] = "SQLite format 3";
    *yes = false;
    if (strcmp(path, "-") == 0) return KD_OK;
    kd_map *map = NULL;
    kd_code code = kd_map_open(&map, path, e);
    if (code == KD_OK) *yes = kd_map_size(map) > sizeof magic && memcmp(kd_map_data(map), magic, sizeof magic) == 0;
    kd_map_close(map);
    return code;
}

/* ---- the student's words ---- */
static kd_code words(kd_render *r, const kd_train_source *s, int32_t *end, kd_err *e) {
    *r = (kd_render){.chat = s->chat, .tokenizer = s->tokenizer, .now = s->now};
    if (!s->tokenizer) return kd_fail(e, KD_EUNSUPPORTED, "the model has no tokenizer: only rows of tokens can be learned");
    if (!kd_chat_has(s->chat))
        return kd_fail(e, KD_EUNSUPPORTED,
                       "the model has no chat template: give one with --chat-template FILE (and --eos TOKEN, --add-tokens LIST)");
    kd_code c = kd_render_check_end(end, r, e);
    const kd_specials *sp = kd_tokenizer_specials(s->tokenizer);
    if (c || !s->installs || *end == sp->eos) return c;
    const kd_str have = kd_tokenizer_token(s->tokenizer, sp->eos).text, want = kd_tokenizer_token(s->tokenizer, *end).text;
    return kd_fail(e, KD_EUNSUPPORTED,
                   "the template ends an assistant's turn with %.*s, but the model's end is %.*s: it would never stop; say --eos '%.*s'",
                   (int)want.len, want.data, have.data ? (int)have.len : 4, have.data ? have.data : "none", (int)want.len, want.data);
}

/* ---- reading ---- */
typedef struct {
    kd_lessons *l;
    kd_render_counts counts;
    kd_render render;
    const kd_train_source *s;
} reading;

static kd_code read_rows(reading *r, const char *path, kd_select *rows, kd_err *e) {
    kd_code code = KD_OK;
    for (bool more = true; code == KD_OK;) {
        kd_row row;
        kd_lesson one = {0};
        code = kd_select_next(rows, &row, &more, e);
        if (code != KD_OK || !more) break;
        code = kd_render_row(&one, NULL, &r->counts, &r->render, &row, e);
        if (code == KD_OK && !(row.weight >= 0 && isfinite(row.weight)))
            code = kd_fail(e, KD_EFORMAT, "%s: sample %lld: --weight gives %g, expected a number of at least 0", path,
                           (long long)row.sample_id, row.weight);
        one.weight = (float)row.weight;
        if (code == KD_OK && one.n && row.weight > 0) code = kd_lessons_add(r->l, &one, e);
        kd_lesson_clear(&one);
    }
    return code;
}

/* split: of held-out rows; NULL: what is learned, of which a test row is refused. */
static kd_code read_study(reading *r, const char *path, const char *split, char *selection, kd_err *e) {
    kd_study *study = NULL;
    kd_select *rows = NULL;
    kd_arena arena = {0};
    kd_select_opts o = {.select = r->s->select, .refuse_test = true};
    kd_code code = kd_study_open(&study, path, KD_STUDY_READ, e);
    if (code == KD_OK && split)
        o = (kd_select_opts){.select = "finished = 1 AND (gold IS NULL OR math = 'right')", .split = split};
    else if (code == KD_OK && o.select && o.select[0] == '@')
        code = kd_selection_load(study, o.select + 1, &arena, &o, selection, e);
    o.refuse_test = !split;
    o.weight = split ? NULL : r->s->weight;
    if (code == KD_OK) code = kd_select_open(&rows, study, &o, e);
    if (code == KD_OK) code = read_rows(r, path, rows, e);
    kd_select_close(rows);
    kd_study_close(study);
    kd_arena_clear(&arena);
    return code;
}

/* True if the first line of a file holds tokens already: then the model's words are not needed. */
static kd_code holds_tokens(const char *path, bool *yes, kd_err *e) {
    kd_lines *in = NULL;
    kd_json *doc = NULL;
    kd_str line = {NULL, 0};
    bool more = true;
    *yes = false;
    if (strcmp(path, "-") == 0) return KD_OK; /* cannot be read twice */
    kd_code code = kd_lines_open(&in, path, e);
    while (code == KD_OK && more && line.len == 0) code = kd_lines_next(in, &line, &more, e);
    if (code == KD_OK && more && kd_json_parse(&doc, line.data, line.len, path, NULL) == KD_OK)
        *yes = kd_json_typeof(kd_json_get(kd_json_root(doc), "tokens")) == KD_JSON_ARRAY;
    kd_json_free(doc);
    kd_lines_close(in);
    return code;
}

/* Drops, cuts or refuses lessons from first on that are longer than max. */
static kd_code limit_length(kd_lessons *l, kd_train_data *d, size_t first, const char *path, size_t max, kd_long longer, kd_err *e) {
    size_t kept = first;
    for (size_t i = first; i < l->n; i++) {
        kd_lesson *one = &l->at[i];
        bool keep = true;
        if (one->n > max) {
            if (longer == KD_LONG_REFUSE)
                return kd_fail(e, KD_EFORMAT, "%s: row %zu: a lesson of %zu tokens; --max-seq-length is %zu", path, one->row, one->n, max);
            keep = longer == KD_LONG_CUT;
            if (keep)
                d->cut++, d->cut_tokens += one->n - max;
            else
                d->dropped++;
            one->n = max;
        }
        bool teaches = false;
        for (size_t k = 1; k < one->n && keep; k++) teaches |= one->loss[k] != 0;
        if (keep && !teaches) d->empty++;
        if (keep && teaches)
            l->at[kept++] = *one;
        else
            kd_lesson_clear(one);
    }
    l->n = kept;
    return KD_OK;
}

static kd_code read_part(reading *r, kd_train_data *d, size_t part, kd_err *e) {
    bool study = false, tokens = false;
    kd_train_part *p = &d->part[part];
    const size_t first = r->l->n;
    kd_code code = is_study(p->path, &study, e);
    if (code == KD_OK && !study) code = holds_tokens(p->path, &tokens, e);
    if (code == KD_OK && !study && (r->s->select || r->s->weight) && d->parts == 1)
        code = kd_fail(e, KD_EINVAL, "%s: --select and --weight are for studies, this is a file of lessons", p->path);
    if (code == KD_OK && !tokens && d->turn_end < 0) code = words(&r->render, r->s, &d->turn_end, e);
    if (code == KD_OK && study)
        code = read_study(r, p->path, NULL, p->selection, e);
    else if (code == KD_OK)
        code = kd_lessons_read(r->l, &r->counts, p->path, tokens ? NULL : &r->render, r->s->V, e);
    if (code == KD_OK) code = limit_length(r->l, d, first, p->path, r->s->max_length, r->s->longer, e);
    if (code == KD_OK && r->l->n == first)
        code = kd_fail(e, KD_EFORMAT, "%s: nothing to learn: %zu lessons too long, %zu without a token to learn", p->path, d->dropped,
                       d->empty + r->counts.empty);
    for (size_t i = first; i < r->l->n && code == KD_OK; i++) {
        r->l->at[i].source = (uint16_t)part;
        p->tokens += r->l->at[i].n;
        for (size_t k = 1; k < r->l->at[i].n; k++) p->loss_tokens += r->l->at[i].loss[k];
    }
    p->lessons = r->l->n - first;
    return code;
}

static void summarize(const kd_lessons *l, kd_train_data *d) {
    kd_sha256 h;
    unsigned char digest[32];
    kd_sha256_init(&h);
    for (size_t i = 0; i < l->n; i++) {
        const kd_lesson *one = &l->at[i];
        const uint64_t n = one->n;
        kd_sha256_add(&h, &n, sizeof n);
        kd_sha256_add(&h, one->tokens, one->n * sizeof *one->tokens);
        kd_sha256_add(&h, one->loss, one->n);
        kd_sha256_add(&h, &one->weight, sizeof one->weight);
    }
    for (size_t i = 0; i < d->parts; i++) d->tokens += d->part[i].tokens, d->loss_tokens += d->part[i].loss_tokens;
    kd_sha256_end(&h, digest);
    kd_hex(digest, 32, d->sha256);
}

kd_code kd_train_data_read(kd_lessons *l, kd_train_data *d, kd_cli *cli, const kd_train_source *s, kd_err *e) {
    reading r = {.l = l, .s = s};
    kd_code code = KD_OK;
    for (size_t i = 0; i < d->parts && code == KD_OK; i++) code = read_part(&r, d, i, e);
    d->empty += r.counts.empty;
    if (code == KD_OK && r.counts.turns_without)
        kd_note(cli, "%zu assistant turns are rendered otherwise once others follow: present, but not learned", r.counts.turns_without);
    if (code == KD_OK) summarize(l, d);
    return code;
}

/* ---- what is held out ---- */
/* A text as pieces of 512 tokens, each a lesson of which every token counts. */
static kd_code read_text(kd_lessons *l, const char *path, size_t limit, const kd_train_source *s, kd_err *e) {
    enum { PIECE = 512 };
    kd_buf text = {0};
    kd_ids ids = {0};
    kd_code c = s->tokenizer ? kd_file_read(&text, path, (size_t)1 << 30, e)
                             : kd_fail(e, KD_EUNSUPPORTED, "%s: the model has no tokenizer for it", path);
    if (!c)
        c = kd_tokenizer_encode(s->tokenizer, &ids, text.data ? text.data : "", limit && text.len > limit * 16 ? limit * 16 : text.len, 0,
                                e);
    const size_t piece = s->max_length < PIECE ? s->max_length : PIECE, n = limit && ids.n > limit ? limit : ids.n;
    for (size_t at = 0; at + 1 < n && !c; at += piece) {
        const size_t take = n - at < piece ? n - at : piece;
        kd_lesson one = {.n = take, .n_loss = take, .weight = 1, .row = at};
        if (take < 2) break;
        one.tokens = kd_calloc(take, sizeof *one.tokens);
        one.loss = kd_malloc(take);
        if (!one.tokens || !one.loss) {
            kd_lesson_clear(&one);
            c = no_memory(e);
            break;
        }
        memcpy(one.tokens, ids.id + at, take * sizeof *one.tokens);
        memset(one.loss, 1, take);
        c = kd_lessons_add(l, &one, e);
    }
    kd_ids_clear(&ids);
    kd_buf_clear(&text);
    return c;
}

kd_code kd_held_read(kd_lessons *l, const char *path, const char *split, bool text, size_t limit, const kd_train_source *s, kd_err *e) {
    reading r = {.l = l, .s = s};
    kd_train_data lost = {0};
    const size_t len = strlen(path);
    bool study = false, tokens = false;
    int32_t end;
    kd_code c = is_study(path, &study, e);
    const bool lines = !study && ((len > 6 && !strcmp(path + len - 6, ".jsonl")) || (len > 9 && !strcmp(path + len - 9, ".jsonl.gz")));
    if (!c && !study && text && !lines) {
        c = read_text(l, path, limit, s, e);
    } else if (!c) {
        if (!study) c = holds_tokens(path, &tokens, e);
        if (!c && !tokens) c = words(&r.render, s, &end, e);
        if (!c && study) c = read_study(&r, path, split, NULL, e);
        if (!c && !study) c = kd_lessons_read(l, &r.counts, path, tokens ? NULL : &r.render, s->V, e);
        if (!c) c = limit_length(l, &lost, 0, path, s->max_length, KD_LONG_CUT, e);
    }
    size_t sum = 0;
    for (size_t i = 0; i < l->n && !c; i++) {
        if (limit && sum >= limit) kd_lesson_clear(&l->at[i]);
        sum += l->at[i].n;
    }
    while (l->n && !l->at[l->n - 1].n) l->n--;
    if (!c && !l->n)
        c = kd_fail(e, KD_EFORMAT, "%s: nothing to measure on%s%s", path, study ? ": no verified answers of the split " : "",
                    study ? split : "");
    return c;
}

/* ---- shown ---- */
static kd_code put_piece(kd_buf *out, const kd_tokenizer *t, int32_t id, kd_err *e) {
    kd_buf piece = {0}, clean = {0};
    kd_code c = kd_tokenizer_piece(t, id, &piece, e);
    if (!c && kd_utf8_replace(&clean, piece.data ? piece.data : "", piece.len)) c = no_memory(e);
    for (size_t i = 0; i < clean.len && !c; i++) {
        const unsigned char u = (unsigned char)clean.data[i];
        const kd_code put = u == '\n'               ? kd_buf_puts(out, "\\n")
                            : u < 0x20 || u == 0x7f ? kd_buf_printf(out, "\\x%02x", u)
                                                    : kd_buf_putc(out, (char)u);
        if (put) c = no_memory(e);
    }
    kd_buf_clear(&piece);
    kd_buf_clear(&clean);
    return c;
}

kd_code kd_lesson_show(kd_cli *cli, const kd_lesson *l, const kd_tokenizer *t, kd_err *e) {
    enum { BEFORE = 24, AFTER = 40 };
    const bool colour = isatty(2) && !getenv("NO_COLOR");
    size_t first = 1, shown = 0, learned = 0;
    kd_buf out = {0};
    while (first < l->n && !l->loss[first]) first++;
    for (size_t i = 1; i < l->n; i++) learned += l->loss[i];
    const size_t from = first > BEFORE ? first - BEFORE : 0;
    kd_code c = kd_buf_printf(&out, "row %zu: %zu tokens, %zu learned (%s): %s", l->row, l->n, learned, colour ? "green" : "in brackets",
                              from ? "... " : "")
                    ? no_memory(e)
                    : KD_OK;
    bool on = false;
    for (size_t i = from; i < l->n && shown < BEFORE + AFTER && !c; i++, shown++) {
        const bool now = i > 0 && l->loss[i];
        if (now != on && kd_buf_puts(&out, colour ? (now ? "\033[32m" : "\033[0m") : now ? "[" : "]")) c = no_memory(e);
        on = now;
        if (!c) c = put_piece(&out, t, l->tokens[i], e);
    }
    if (!c && on && kd_buf_puts(&out, colour ? "\033[0m" : "]")) c = no_memory(e);
    if (!c) kd_note(cli, "%s%s", out.data, from + shown < l->n ? " ..." : "");
    kd_buf_clear(&out);
    return c;
}
