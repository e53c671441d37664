/* distill/cli/serve_form.c - forms that answers are held to (JSON schemas, regular expressions), compiled on the connections' threads and kept for the next
 * request that asks for the same: what its states allow has been found out by then. */
#include "distill/cli/serve.h"

#include <string.h>

enum { KEPT_FORMS = 16 };

/* What tells forms apart: a letter for the kind, and the text. */
static kd_code text_of(kd_buf *out, const ask *a) {
    kd_code c = kd_buf_putc(out, a->schema ? 's' : a->regex.data ? 'r' : 'o');
    if (!c && a->regex.data) c = kd_buf_append(out, a->regex.data, a->regex.len);
    if (!c && a->schema) {
        kd_jsonw w = {.out = out};
        kd_jsonw_node(&w, a->schema);
        c = w.code;
    }
    return c;
}

static void form_free(form *f) {
    if (!f) return;
    kd_grammar_free(f->grammar);
    kd_buf_clear(&f->text);
    kd_free(f);
}

/* The kept form of that text, first in line now, or NULL. */
static form *find(serve *s, const kd_buf *text) {
    for (form **p = &s->forms; *p; p = &(*p)->next)
        if (kd_str_eq(kd_buf_view(&(*p)->text), kd_buf_view(text))) {
            form *f = *p;
            *p = f->next;
            f->next = s->forms, s->forms = f;
            f->users++;
            return f;
        }
    return NULL;
}

/* Those beyond the last used KEPT_FORMS that nobody uses go. */
static void trim(serve *s) {
    size_t n = 0;
    for (form **p = &s->forms; *p;) {
        form *f = *p;
        if (n++ < KEPT_FORMS || f->users) {
            p = &f->next;
            continue;
        }
        *p = f->next;
        form_free(f);
    }
}

static kd_code compile(form **out, const ask *a, kd_buf *text, kd_err *e) {
    form *f = kd_calloc(1, sizeof *f);
    if (!f) return kd_fail(e, KD_ENOMEM, "out of memory");
    kd_code c = a->schema       ? kd_grammar_new_schema(&f->grammar, a->schema, e)
                : a->regex.data ? kd_grammar_new_regex(&f->grammar, a->regex.data, a->regex.len, e)
                                : kd_grammar_new_json(&f->grammar, true, e);
    if (c) {
        kd_free(f);
        return c;
    }
    f->text = *text, *text = (kd_buf){0};
    f->users = 1;
    *out = f;
    return KD_OK;
}

bool form_take(serve *s, job *j, ask_error *x) {
    const ask *a = j->a;
    kd_buf text = {0};
    kd_err e = {0};
    if (!a->schema && !a->regex.data && !a->any_object) return true;
    if (text_of(&text, a)) {
        kd_buf_clear(&text);
        return ask_fail(x, 500, NULL, "out of memory");
    }
    pthread_mutex_lock(&s->lock);
    j->form = find(s, &text);
    pthread_mutex_unlock(&s->lock);
    if (!j->form) {
        kd_code c = compile(&j->form, a, &text, &e);
        if (c) {
            kd_buf_clear(&text);
            return ask_fail(x, c == KD_ENOMEM ? 500 : 400, a->regex.data ? "regex" : "response_format", "%s", e.msg);
        }
        pthread_mutex_lock(&s->lock);
        j->form->next = s->forms, s->forms = j->form;
        trim(s);
        pthread_mutex_unlock(&s->lock);
    }
    kd_buf_clear(&text);
    return true;
}

void form_let_go(serve *s, form *f) {
    if (!f) return;
    pthread_mutex_lock(&s->lock);
    f->users--;
    pthread_mutex_unlock(&s->lock);
}

void form_drop_all(serve *s) {
    while (s->forms) {
        form *f = s->forms;
        s->forms = f->next;
        form_free(f);
    }
}
