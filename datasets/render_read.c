/* datasets/render_read.c - files of lessons. Leans on render.h, base/gz.h. */
#include "datasets/render.h"
#include "distill/base/gz.h"

#include <stdio.h>
#include <string.h>

void kd_lessons_clear(kd_lessons *l) {
    for (size_t i = 0; i < l->n; i++) kd_lesson_clear(&l->at[i]);
    kd_free(l->at);
    *l = (kd_lessons){0};
}

kd_code kd_lessons_add(kd_lessons *l, kd_lesson *lesson, kd_err *e) {
    if (kd_grow((void **)&l->at, &l->cap, l->n + 1, sizeof *l->at) != KD_OK) {
        kd_lesson_clear(lesson);
        return kd_fail(e, KD_ENOMEM, "no memory for %zu lessons", l->n + 1);
    }
    l->at[l->n++] = *lesson;
    *lesson = (kd_lesson){0};
    return KD_OK;
}

static kd_code check_ids(const kd_lesson *l, uint32_t vocab, kd_err *e) {
    for (size_t i = 0; vocab && i < l->n; i++)
        if ((uint32_t)l->tokens[i] >= vocab)
            return kd_fail(e, KD_EFORMAT, "tokens[%zu]: expected an id below %u, found %d", i, vocab, l->tokens[i]);
    return KD_OK;
}

/* One line; the lesson that comes of it is added, if any does. */
static kd_code add_line(kd_lessons *l, kd_render_counts *counts, kd_str line, size_t number, const kd_render *r, uint32_t vocab,
                        kd_err *e) {
    kd_json *doc = NULL;
    kd_lesson one = {0};
    kd_code c = kd_json_parse(&doc, line.data, line.len, "line", e);
    if (c == KD_OK) c = kd_render_lesson(&one, NULL, counts, r, kd_json_root(doc), e);
    if (c == KD_OK) c = check_ids(&one, vocab, e);
    one.row = number;
    if (c == KD_OK && one.n) c = kd_lessons_add(l, &one, e);
    kd_lesson_clear(&one);
    kd_json_free(doc);
    return c;
}

kd_code kd_lessons_read(kd_lessons *l, kd_render_counts *counts, const char *path, const kd_render *r, uint32_t vocab, kd_err *e) {
    kd_lines *in = NULL;
    kd_code c = kd_lines_open(&in, path, e);
    for (bool more = true; c == KD_OK && more;) {
        kd_str line;
        kd_err why = {0};
        c = kd_lines_next(in, &line, &more, e);
        if (c != KD_OK || !more) break;
        size_t blank = 0;
        while (blank < line.len && strchr(" \t\r", line.data[blank]) && line.data[blank]) blank++;
        if (blank == line.len) continue;
        c = add_line(l, counts, line, kd_lines_number(in), r, vocab, &why);
        if (c != KD_OK) kd_fail(e, c, "%s:%zu: %s", path, kd_lines_number(in), why.msg);
    }
    kd_lines_close(in);
    return c;
}

kd_code kd_render_row(kd_lesson *out, kd_buf *text, kd_render_counts *counts, const kd_render *r, const kd_row *row, kd_err *e) {
    kd_buf completion = {0};
    bool ended = !row->finish.len || kd_str_is(row->finish, "stop") || kd_str_is(row->finish, "eos");
    kd_err why = {0};
    *out = (kd_lesson){0};
    kd_code c = kd_completion(&completion, row->thought_from, row->thought, row->answer);
    if (c != KD_OK)
        kd_fail(&why, c, "no memory for a lesson");
    else
        c = kd_render_sample(out, text, counts, r, row->messages, row->tools, kd_buf_view(&completion), ended, &why);
    out->row = (size_t)row->sample_id;
    kd_buf_clear(&completion);
    return c == KD_OK ? c : kd_fail(e, c, "sample %lld: %s", (long long)row->sample_id, why.msg);
}

kd_code kd_lessons_select(kd_lessons *l, kd_render_counts *counts, kd_select *q, const kd_render *r, kd_err *e) {
    kd_code c = KD_OK;
    for (bool more = true; c == KD_OK;) {
        kd_row row;
        kd_lesson one = {0};
        c = kd_select_next(q, &row, &more, e);
        if (c != KD_OK || !more) break;
        c = kd_render_row(&one, NULL, counts, r, &row, e);
        if (c == KD_OK && one.n) c = kd_lessons_add(l, &one, e);
        kd_lesson_clear(&one);
    }
    return c;
}
