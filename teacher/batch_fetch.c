/* teacher/batch_fetch.c - what came back from a batch: lines in any order, each an answer or an error. Leans on batch_int.h, response.h. */
#include "teacher/batch_int.h"

#include "distill/base/file.h"
#include "distill/base/gz.h"
#include "datasets/logprobs.h"
#include "teacher/response.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 64 };

typedef struct {
    kd_study *study;
    const kd_teach_opts *o;
    const kd_remote_opts *ro;
    const kd_watch *w;
    kd_batch_report *r;
    kd_sent_batch b; /* that the lines are of */
    int64_t run;
    kd_answer answers[GROUP];
    kd_attempt attempts[GROUP];
    kd_response parts[GROUP];
    kd_buf raw[2 * GROUP], logprobs[GROUP];
    char reasons[GROUP][256];
    size_t n, m;
    uint64_t odd; /* lines that are none of ours, or damaged */
} fetching;

static void forget(fetching *f) {
    for (size_t i = 0; i < f->n; i++) kd_response_clear(&f->parts[i]), kd_buf_clear(&f->logprobs[i]);
    for (size_t i = 0; i < 2 * GROUP; i++) kd_buf_clear(&f->raw[i]);
    f->n = f->m = 0;
}

static kd_code commit(fetching *f, kd_err *e) {
    size_t added = 0;
    for (size_t i = 0; i < f->n; i++) { /* views are set now that nothing moves */
        f->answers[i].thought = kd_buf_view(&f->parts[i].thought), f->answers[i].answer = kd_buf_view(&f->parts[i].answer);
        f->answers[i].thought_from = f->parts[i].thought_from;
        f->answers[i].finish = f->parts[i].finish[0] ? f->parts[i].finish : NULL;
        f->answers[i].raw = kd_buf_view(&f->raw[i]), f->answers[i].logprobs = kd_buf_view(&f->logprobs[i]);
        f->answers[i].meta = KD_STR("{\"batch\":true}");
    }
    for (size_t i = 0; i < f->m; i++) f->attempts[i].reason = f->reasons[i], f->attempts[i].raw = kd_buf_view(&f->raw[GROUP + i]);
    kd_code c = kd_study_commit(f->study, f->b.settings, f->run, f->answers, f->n, f->attempts, f->m, &added, e);
    if (!c) f->r->answered += added, f->r->duplicates += f->n - added, f->r->failed += f->m;
    forget(f);
    return c;
}

/* A line that brought no answer. The request ran or was refused: charged by its usage, or nothing, as providers do. */
static kd_code add_failure(fetching *f, int64_t prompt, int sample, int status, const char *reason, const kd_usage *u, kd_str raw,
                           kd_err *e) {
    bool priced = f->ro->prices.input >= 0 || f->ro->prices.output >= 0;
    double cost = u && kd_usage_known(u) ? kd_prices_cost(&f->ro->prices, u) : 0;
    kd_response_error(f->reasons[f->m], sizeof f->reasons[f->m], kd_str_of(reason));
    f->attempts[f->m] = (kd_attempt){.prompt = prompt,
                                     .sample = sample,
                                     .status = status,
                                     .prompt_tokens = u ? u->prompt : -1,
                                     .completion_tokens = u ? u->completion : -1,
                                     .cost = priced ? cost : -1,
                                     .seconds = -1,
                                     .final = true};
    f->r->cost += priced ? cost : 0;
    return kd_buf_append(&f->raw[GROUP + f->m++], raw.data ? raw.data : "", raw.len) ? kd_fail(e, KD_ENOMEM, "batch: out of memory")
                                                                                     : KD_OK;
}

static kd_code keep_body(fetching *f, const kd_response *p, kd_str body, kd_err *e) {
    kd_json *doc = NULL;
    if (!p->logprobs.len) return kd_buf_append(&f->raw[f->n], body.data, body.len) ? kd_fail(e, KD_ENOMEM, "batch: out of memory") : KD_OK;
    kd_code c = kd_json_parse(&doc, p->logprobs.data, p->logprobs.len, "logprobs", e);
    if (!c) c = kd_logprobs_pack(&f->logprobs[f->n], kd_json_root(doc), f->ro->logprobs_step, e);
    kd_json_free(doc);
    return c ? c : kd_response_rest(&f->raw[f->n], body, e);
}

static kd_code add_answer(fetching *f, int64_t prompt, int sample, kd_str body, kd_err *e) {
    kd_err why = {0};
    kd_response *p = &f->parts[f->n];
    *p = (kd_response){0};
    kd_code c = kd_response_parse(p, body, false, 0, &why);
    if (!c) c = kd_response_prefill(p, f->o->prefill, &why);
    if (c == KD_ENOMEM) return kd_fail(e, c, "%s", why.msg);
    if (c) {
        c = add_failure(f, prompt, sample, 200, why.msg, &p->usage, body, e);
        kd_response_clear(p);
        return c;
    }
    bool priced = f->ro->prices.input >= 0 || f->ro->prices.output >= 0;
    double cost = kd_usage_known(&p->usage) ? kd_prices_cost(&f->ro->prices, &p->usage) : 0;
    f->answers[f->n] = (kd_answer){.prompt = prompt,
                                   .sample = sample,
                                   .prompt_tokens = p->usage.prompt,
                                   .completion_tokens = p->usage.completion,
                                   .reasoning_tokens = p->usage.reasoning,
                                   .cached_tokens = p->usage.cached,
                                   .cost = priced ? cost : -1,
                                   .seconds = -1,
                                   .first_token_seconds = -1,
                                   .attempts = 1};
    f->r->cost += priced ? cost : 0;
    c = keep_body(f, p, body, e);
    f->n++;
    return c;
}

/* "MARK-PROMPT-SAMPLE" */
static bool read_id(kd_str id, char mark[33], int64_t *prompt, int *sample) {
    char text[96], *end;
    if (!id.len || id.len >= sizeof text || strlen(id.data) != id.len) return false;
    memcpy(text, id.data, id.len + 1);
    char *a = strchr(text, '-'), *b = a ? strchr(a + 1, '-') : NULL;
    if (!b || a == text || a - text > 32) return false;
    *a = 0;
    memcpy(mark, text, (size_t)(a - text) + 1);
    long long p = strtoll(a + 1, &end, 10);
    if (end != b || p < 1) return false;
    long k = strtol(b + 1, &end, 10);
    if (*end || end == b + 1 || k < 0 || k > 1000000) return false;
    *prompt = p, *sample = (int)k;
    return true;
}

/* The batch of a mark; lines of a file may be of several. false: none of this study. */
static kd_code right_batch(fetching *f, const char *mark, bool *ours, kd_err *e) {
    kd_sent_batch b;
    *ours = strcmp(f->b.mark, mark) == 0;
    if (*ours) return KD_OK;
    kd_code c = kd_batch_next(f->study, mark, 0, &b, ours, e);
    if (c || !*ours || strcmp(b.mark, mark) != 0) {
        *ours = false;
        return c;
    }
    if (f->n + f->m && (c = commit(f, e))) return c;
    f->b = b;
    return KD_OK;
}

static kd_code take_line(fetching *f, const kd_json_node *o, kd_err *e) {
    char mark[33], reason[300];
    int64_t prompt, status = 0;
    int sample;
    bool ours = read_id(kd_json_string(kd_json_get(o, "custom_id")), mark, &prompt, &sample);
    kd_code c = ours ? right_batch(f, mark, &ours, e) : KD_OK;
    if (c || !ours) {
        f->odd += !c;
        return c;
    }
    const kd_json_node *response = kd_json_get(o, "response"), *body = kd_json_get(response, "body"), *error = kd_json_get(o, "error");
    (void)kd_json_int(kd_json_get(response, "status_code"), &status);
    kd_buf text = {0};
    kd_jsonw w = {.out = &text};
    kd_jsonw_node(&w, kd_json_typeof(body) == KD_JSON_OBJECT ? body : o);
    if (w.code) {
        c = kd_fail(e, KD_ENOMEM, "batch: out of memory");
    } else if (kd_json_typeof(body) == KD_JSON_OBJECT && (status == 200 || status == 0)) {
        c = add_answer(f, prompt, sample, kd_buf_view(&text), e);
    } else {
        char said[240];
        kd_response_error(said, sizeof said, kd_buf_view(&text));
        kd_str code = kd_json_string(kd_json_get(error, "code"));
        snprintf(reason, sizeof reason, "batch: %.60s%s%s", code.len ? code.data : "", code.len ? ": " : "", said);
        c = add_failure(f, prompt, sample, (int)status, reason, NULL, kd_buf_view(&text), e);
    }
    kd_buf_clear(&text);
    return !c && (f->n == GROUP || f->m == GROUP) ? commit(f, e) : c;
}

static kd_code take_text(fetching *f, kd_str line, kd_err *e) {
    kd_json *doc;
    kd_err why = {0};
    while (line.len && strchr(" \t\r", line.data[line.len - 1])) line.len--;
    if (!line.len) return KD_OK;
    kd_code c = kd_json_parse(&doc, line.data, line.len, "line", &why);
    if (c == KD_ENOMEM) return kd_fail(e, c, "%s", why.msg);
    if (c) {
        f->odd++;
        return KD_OK;
    }
    c = take_line(f, kd_json_root(doc), e);
    kd_json_free(doc);
    return c;
}

static kd_code take_all(fetching *f, kd_str text, kd_err *e) {
    kd_code c = KD_OK;
    while (text.len && !c) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t n = end ? (size_t)(end - text.data) : text.len;
        c = take_text(f, (kd_str){text.data, n}, e);
        text.data += n + (end != NULL), text.len -= n + (end != NULL);
    }
    return c ? c : commit(f, e);
}

/* ---- from the provider ---- */
static kd_code take_file(fetching *f, kd_line *l, kd_str id, kd_err *e) {
    char path[256];
    if (!id.len) return KD_OK;
    if (id.len > 200 || strpbrk(id.data, "/?#& \t\r\n%")) return kd_fail(e, KD_EFORMAT, "the provider's answer: expected the id of a file");
    snprintf(path, sizeof path, "files/%s/content", id.data);
    kd_sent_batch b = f->b;
    kd_code c = kd_line_call(l, b.url, path, KD_HTTP_GET, NULL, (kd_str){NULL, 0}, e);
    return c ? c : take_all(f, kd_buf_view(&l->body), e);
}

static kd_code fetch_one(fetching *f, kd_line *l, kd_err *e) {
    static const char *const ended[] = {"completed", "expired", "cancelled", "failed"};
    char path[200], state[24];
    kd_json *doc = NULL;
    kd_sent_batch b = f->b;
    bool over = false, more;
    snprintf(path, sizeof path, "batches/%s", b.remote);
    kd_code c = kd_line_call(l, b.url, path, KD_HTTP_GET, NULL, (kd_str){NULL, 0}, e);
    if (c || (c = kd_json_parse(&doc, l->body.data ? l->body.data : "", l->body.len, "the provider's answer", e))) return c;
    const kd_json_node *o = kd_json_root(doc);
    snprintf(state, sizeof state, "%.23s",
             kd_json_string(kd_json_get(o, "status")).data ? kd_json_string(kd_json_get(o, "status")).data : "unknown");
    for (size_t i = 0; i < sizeof ended / sizeof *ended; i++) over |= !strcmp(state, ended[i]);
    c = take_file(f, l, kd_json_string(kd_json_get(o, "output_file_id")), e);
    f->b = b;
    if (!c) c = take_file(f, l, kd_json_string(kd_json_get(o, "error_file_id")), e);
    kd_json_free(doc);
    if (c || !over) {
        f->r->waiting += !over;
        return c;
    }
    kd_sent_batch left;
    c = kd_batch_next(f->study, b.mark, 0, &left, &more, e);
    if (!c && more) f->r->freed += (uint64_t)left.left;
    return c ? c : kd_batch_end(f->study, b.id, state, false, e);
}

static kd_code fetch_remote(fetching *f, const char *name, kd_err *e) {
    kd_line l;
    bool more = true;
    kd_code c = kd_line_open(&l, f->ro, e);
    if (!c) c = kd_batch_adopt(f->study, &l, e);
    for (int64_t after = 0; !c && !(c = kd_batch_next(f->study, name, after, &f->b, &more, e)) && more;) {
        after = f->b.id;
        f->r->batches++;
        if (f->b.remote[0])
            c = fetch_one(f, &l, e);
        else
            f->r->waiting++;
    }
    kd_line_close(&l);
    return c;
}

/* Files of run-batch: batches all of whose requests have come back are ended. */
static kd_code fetch_file(fetching *f, const char *path, kd_err *e) {
    kd_lines *lines;
    kd_str line;
    bool more = true;
    kd_code c = kd_lines_open(&lines, path, e);
    if (c) return c;
    while (!c && !(c = kd_lines_next(lines, &line, &more, e)) && more) c = take_text(f, line, e);
    kd_lines_close(lines);
    if (!c) c = commit(f, e);
    kd_sent_batch b;
    more = true;
    for (int64_t after = 0; !c && !(c = kd_batch_next(f->study, NULL, after, &b, &more, e)) && more; after = b.id) {
        if (strcmp(b.state, "file") != 0) continue;
        f->r->batches++;
        if (b.left == 0)
            c = kd_batch_end(f->study, b.id, "completed", false, e);
        else
            f->r->waiting++;
    }
    return c;
}

kd_code kd_batch_fetch(kd_study *s, const char *name, const kd_teach_opts *o, const kd_remote_opts *ro, const kd_batch_opts *b,
                       const kd_watch *w, kd_batch_report *r, kd_err *e) {
    char text[200];
    *r = (kd_batch_report){0};
    fetching *f = kd_calloc(1, sizeof *f);
    if (!f) return kd_fail(e, KD_ENOMEM, "batch: out of memory");
    f->study = s, f->o = o, f->ro = ro, f->w = w, f->r = r;
    kd_code c = kd_run_begin(s, &f->run, "batch", "{}", NULL, e);
    if (!c) c = b->file ? fetch_file(f, b->file, e) : fetch_remote(f, name, e);
    forget(f);
    if (f->odd) {
        snprintf(text, sizeof text, "%llu lines were passed over: damaged, or none of this study's", (unsigned long long)f->odd);
        kd_emit(w, (kd_event){.kind = KD_EV_WARN, .stage = "fetch", .text = text});
    }
    kd_code ended = f->run ? kd_run_end(s, f->run, c ? "failed" : "done", c ? NULL : e) : KD_OK;
    kd_free(f);
    return c ? c : ended;
}
