/* distill/model/template_render.c - a template rendered over a conversation: the context as transformers makes it. Leans on template_run.h. */
#include "distill/model/template_run.h"

#include <string.h>

static const char *const thoughts[] = {"reasoning_content", "thinking", "reasoning"};

static bool is_none(kd_tval v) { return v.type == KD_TV_NONE; }

/* A message as transformers hands it over: no null members, and its thought under thinking (first) and reasoning_content (last). */
static bool normal_message(kd_trun *r, const kd_tdict *in, kd_tval *out) {
    kd_tval thought = kd_tv(KD_TV_NONE), v;
    for (size_t i = 0; i < 3 && is_none(thought); i++) kd_td_str(in, kd_str_of(thoughts[i]), &thought);
    if (!kd_td_new(r, out, (size_t)in->n + 2)) return false;
    kd_tdict *d = out->u.dict;
    if (!is_none(thought) && !kd_td_set(r, d, kd_tv_lit("thinking"), thought)) return false;
    for (uint32_t i = 0; i < in->n; i++) {
        v = in->values[i];
        if (!is_none(v) && !kd_td_set(r, d, in->keys[i], v)) return false;
    }
    return is_none(thought) || kd_td_set(r, d, kd_tv_lit("reasoning_content"), thought);
}

static bool make_messages(kd_trun *r, kd_tval *out) {
    const kd_json_node *m = r->in->messages;
    if (kd_json_typeof(m) != KD_JSON_ARRAY) return kd_tr_fail(r, KD_EINVAL, "messages: expected an array of objects");
    for (const kd_json_node *c = kd_json_first(m); c; c = kd_json_next(c))
        if (kd_json_typeof(c) != KD_JSON_OBJECT) return kd_tr_fail(r, KD_EINVAL, "messages: expected an array of objects");
    if (!kd_tv_from_json(r, out, m)) return false;
    size_t n = out->u.seq->n;
    out->u.seq->n = r->in->leave_out < n ? n - r->in->leave_out : 0;
    for (size_t i = 0; !r->in->exact_messages && i < out->u.seq->n; i++)
        if (!normal_message(r, out->u.seq->at[i].u.dict, &out->u.seq->at[i])) return false;
    return true;
}

static bool give(kd_trun *r, const char *name, kd_tval v) {
    for (uint32_t i = 0; i < r->t->n_names; i++)
        if (kd_str_is(r->t->names[i], name)) r->context[i] = v;
    return true;
}

static bool give_json(kd_trun *r, const char *name, const kd_json_node *n) {
    kd_tval v = kd_tv(KD_TV_NONE);
    return (!n || kd_tv_from_json(r, &v, n)) && give(r, name, v);
}

static bool make_context(kd_trun *r) {
    kd_tval v;
    int id;
    if (!(r->context = kd_tr_alloc(r, (r->t->n_names + 1) * sizeof *r->context))) return false;
    for (uint32_t i = 0; i < r->t->n_names; i++)
        if (kd_te_global_id(r->t->names[i], &id)) {
            r->context[i] = kd_tv(KD_TV_FUNC);
            r->context[i].u.i = id;
        }
    for (size_t i = 0; i < r->in->n_strings; i++)
        give(r, r->in->strings[i].name, kd_tv_view(r->in->strings[i].value.data, r->in->strings[i].value.len));
    if (!make_messages(r, &v)) return false;
    give(r, "messages", v);
    give(r, "add_generation_prompt", kd_tv_bool(r->in->add_generation_prompt));
    if (!give_json(r, "tools", r->in->tools) || !give_json(r, "documents", r->in->documents)) return false;
    for (const kd_json_node *c = kd_json_first(r->in->extra); c; c = kd_json_next(c))
        if (memchr(kd_json_key(c).data, 0, kd_json_key(c).len) == NULL && !give_json(r, kd_json_key(c).data, c)) return false;
    return true;
}

kd_code kd_template_render(kd_buf *out, kd_template_spans *spans, const kd_template *t, const kd_template_input *in, kd_err *e) {
    kd_trun r = {.t = t, .in = in, .e = e, .spans = spans};
    size_t had = spans ? spans->n : 0;
    r.max_steps = r.max_bytes = SIZE_MAX / 2; /* the context is the caller's own */
    r.max_output = in->max_output ? in->max_output : 8u << 20;
    r.sink = &r.root;
    r.piped = kd_tv_lit("");
    bool ok = make_context(&r);
    r.steps = 0;
    r.max_steps = in->max_steps ? in->max_steps : 20000000;
    r.max_bytes = r.bytes + (in->max_bytes ? in->max_bytes : 32u << 20);
    kd_tact *act = ok ? kd_tr_alloc(&r, sizeof *act + t->fn->slots * sizeof(kd_tval)) : NULL;
    if (act) {
        act->fn = t->fn;
        kd_te_exec_root(&r, act);
    }
    if (r.code == KD_OK && kd_buf_append(out, r.root.data, r.root.len) != KD_OK)
        r.code = kd_fail(e, KD_ENOMEM, "%s: no memory for %zu bytes of output", t->name, r.root.len);
    if (r.code != KD_OK && spans) spans->n = had;
    kd_buf_clear(&r.root);
    for (kd_tchunk *c = r.heap, *next; c; c = next) {
        next = c->next;
        kd_free(c);
    }
    return r.code;
}
