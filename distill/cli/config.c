/* distill/cli/config.c - options from a YAML file and back into one. The one file that includes libyaml.
 *
 * The file is one mapping of option names to values, lists where an option may be given many times. A key that names a command holds
 * a mapping of that command's own, so that one file can serve a whole study. */
#include "distill/cli/state.h"

#include "distill/base/file.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

typedef struct {
    kd_cli *cli;
    const char *path;
    yaml_parser_t parser;
    yaml_event_t event;
    bool held; /* event holds one that must be deleted */
    kd_opt_value **seen;
    size_t n_seen, cap_seen;
    kd_err *e;
} reader;

static kd_code next(reader *r) {
    if (r->held) yaml_event_delete(&r->event);
    r->held = false;
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        if (r->parser.error == YAML_MEMORY_ERROR) return kd_fail(r->e, KD_ENOMEM, "%s: no memory", r->path);
        return kd_fail(r->e, KD_ECONFIG, "%s line %zu: %s%s%s", r->path, r->parser.problem_mark.line + 1,
                       r->parser.context ? r->parser.context : "", r->parser.context ? ", " : "",
                       r->parser.problem ? r->parser.problem : "no YAML");
    }
    r->held = true;
    return KD_OK;
}

static size_t line(const reader *r) { return r->event.start_mark.line + 1; }

static kd_code bad(const reader *r, const char *what) { return kd_fail(r->e, KD_ECONFIG, "%s line %zu: %s", r->path, line(r), what); }

/* A scalar that says "not set": plain, and empty, ~ or null. */
static bool is_null(const yaml_event_t *ev) {
    const char *s = (const char *)ev->data.scalar.value;
    return ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (!*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

static kd_code set(reader *r, kd_opt_value *v) {
    char where[600];
    const char *text = (const char *)r->event.data.scalar.value;
    if (strlen(text) != r->event.data.scalar.length) return bad(r, "a value with U+0000 in it");
    (void)snprintf(where, sizeof where, "%s line %zu: %s", r->path, line(r), v->opt->name);
    return kd_opts_set(v, KD_FROM_FILE, text, where, KD_ECONFIG, r->e);
}

/* The value of a known key: a scalar, or a list where many may be given. */
static kd_code value(reader *r, kd_opt_value *v) {
    kd_code c = next(r);
    if (c) return c;
    if (r->event.type == YAML_SCALAR_EVENT) return is_null(&r->event) ? KD_OK : set(r, v);
    if (r->event.type != YAML_SEQUENCE_START_EVENT || v->opt->kind != KD_OPT_STRINGS) return bad(r, "one value expected");
    for (;;) {
        if ((c = next(r))) return c;
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return KD_OK;
        if (r->event.type != YAML_SCALAR_EVENT) return bad(r, "a list of plain values expected");
        if ((c = set(r, v))) return c;
    }
}

/* Passes over a value that is another command's; the file stays checked as YAML. */
static kd_code skip(reader *r) {
    int depth = 0;
    do {
        const kd_code c = next(r);
        if (c) return c;
        if (r->event.type == YAML_MAPPING_START_EVENT || r->event.type == YAML_SEQUENCE_START_EVENT) depth++;
        if (r->event.type == YAML_MAPPING_END_EVENT || r->event.type == YAML_SEQUENCE_END_EVENT) depth--;
    } while (depth > 0);
    return KD_OK;
}

static kd_code unknown_key(const reader *r, const char *key, size_t len) {
    const char *near = kd_opts_nearest(r->cli, key, len);
    if (near) return kd_fail(r->e, KD_ECONFIG, "%s line %zu: unknown key '%s'; did you mean %s?", r->path, line(r), key, near);
    for (size_t i = 0; kd_command_at(i); i++)
        for (const kd_opt *o = kd_command_at(i)->opts; o && o->kind != KD_OPT_END; o++)
            if (strcmp(o->name, key) == 0)
                return kd_fail(r->e, KD_ECONFIG, "%s line %zu: '%s' is a key of %s, not of %s; put it under '%s:'", r->path, line(r), key,
                               kd_command_at(i)->name, r->cli->cmd->name, kd_command_at(i)->name);
    return kd_fail(r->e, KD_ECONFIG, "%s line %zu: unknown key '%s' (see distill help %s)", r->path, line(r), key, r->cli->cmd->name);
}

static kd_code mapping(reader *r, bool top);

static kd_code entry(reader *r, bool top) {
    if (r->event.type != YAML_SCALAR_EVENT) return bad(r, "a key expected");
    const char *key = (const char *)r->event.data.scalar.value;
    const size_t len = strlen(key);
    kd_opt_value *v = kd_opts_find(r->cli, key, len);
    const bool own = strcmp(key, r->cli->cmd->name) == 0;
    if (!v && top && (own || kd_command_named(key))) {
        if (!own) return skip(r);
        const kd_code c = next(r);
        if (c) return c;
        return r->event.type == YAML_MAPPING_START_EVENT ? mapping(r, false)
                                                         : bad(r, "the options of a command expected, as 'name: value'");
    }
    if (!v) return unknown_key(r, key, len);
    if (strcmp(v->opt->name, "config") == 0 || strcmp(v->opt->name, "help") == 0)
        return kd_fail(r->e, KD_ECONFIG, "%s line %zu: '%s' stands on the command line only", r->path, line(r), key);
    for (size_t i = 0; i < r->n_seen; i++)
        if (r->seen[i] == v) return kd_fail(r->e, KD_ECONFIG, "%s line %zu: '%s' is there twice", r->path, line(r), key);
    if (kd_grow((void **)&r->seen, &r->cap_seen, r->n_seen + 1, sizeof(kd_opt_value *)))
        return kd_fail(r->e, KD_ENOMEM, "%s: no memory", r->path);
    r->seen[r->n_seen++] = v;
    return value(r, v);
}

/* The entries of a mapping whose start is the present event. */
static kd_code mapping(reader *r, bool top) {
    for (;;) {
        kd_code c = next(r);
        if (c) return c;
        if (r->event.type == YAML_MAPPING_END_EVENT) return KD_OK;
        if ((c = entry(r, top))) return c;
    }
}

static kd_code document(reader *r) {
    kd_code c;
    bool done = false;
    for (;;) {
        if ((c = next(r))) return c;
        switch (r->event.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT: break;
        case YAML_DOCUMENT_START_EVENT:
            if (done) return bad(r, "a second document; one was expected");
            done = true;
            break;
        case YAML_MAPPING_START_EVENT:
            if ((c = mapping(r, true))) return c;
            break;
        case YAML_SCALAR_EVENT:
            if (is_null(&r->event)) break;
            return bad(r, "options expected, as 'name: value'");
        case YAML_STREAM_END_EVENT: return KD_OK;
        default: return bad(r, "options expected, as 'name: value'");
        }
    }
}

kd_code kd_config_read(kd_cli *cli, const char *path, kd_err *e) {
    reader r = {.cli = cli, .path = path, .e = e};
    kd_buf text = {0};
    kd_code c = kd_file_read(&text, path, 1 << 20, e);
    if (c) return c;
    if (!yaml_parser_initialize(&r.parser)) {
        kd_buf_clear(&text);
        return kd_fail(e, KD_ENOMEM, "%s: no memory", path);
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.data ? text.data : ""), text.len);
    c = document(&r);
    if (r.held) yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    kd_free(r.seen);
    kd_buf_clear(&text);
    return c;
}

/* A text as a YAML scalar; JSON's double quotes are YAML's. */
static kd_code scalar(kd_buf *out, const kd_opt_value *v, const char *text) {
    if (v->opt->kind == KD_OPT_INT || v->opt->kind == KD_OPT_FLOAT || v->opt->kind == KD_OPT_FLAG || v->opt->kind == KD_OPT_SIZE)
        return kd_buf_puts(out, text);
    kd_jsonw w = {.out = out};
    kd_jsonw_cstr(&w, text);
    return w.code;
}

kd_code kd_cli_config_yaml(const kd_cli *cli, kd_buf *out) {
    static const char *const momentary[] = {"dry-run", "json", "quiet", "verbose", "config", "help"};
    kd_code c = KD_OK;
    for (size_t i = 0; i < cli->state->n_values && !c; i++) {
        const kd_opt_value *v = &cli->state->values[i];
        bool leave = v->n == 0;
        for (size_t k = 0; k < sizeof momentary / sizeof *momentary; k++) leave |= strcmp(v->opt->name, momentary[k]) == 0;
        if (leave) continue;
        c = kd_buf_printf(out, "%s: ", v->opt->name);
        if (v->opt->kind != KD_OPT_STRINGS) {
            if (!c) c = scalar(out, v, v->values[v->n - 1]);
        } else {
            for (size_t k = 0; k < v->n && !c; k++) {
                c = kd_buf_puts(out, k ? ", " : "[");
                if (!c) c = scalar(out, v, v->values[k]);
            }
            if (!c) c = kd_buf_putc(out, ']');
        }
        if (!c) c = kd_buf_putc(out, '\n');
    }
    return c;
}
