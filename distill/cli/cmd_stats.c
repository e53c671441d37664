/* distill/cli/cmd_stats.c - a study in numbers. Leans on datasets/import.h; the numbers themselves are datasets/stats.c's. */
#include "datasets/import.h"
#include "distill/cli/select_opts.h"

#include <stdio.h>
#include <string.h>

/* A value for people: whole numbers plain, others with four digits. */
static void cell(char *s, size_t cap, const kd_json_node *n) {
    int64_t i;
    kd_str t = kd_json_string(n);
    switch (kd_json_typeof(n)) {
    case KD_JSON_STRING: (void)snprintf(s, cap, "%.*s", (int)(t.len < cap ? t.len : cap - 1), t.data); break;
    case KD_JSON_NUMBER:
        if (kd_json_int(n, &i))
            (void)snprintf(s, cap, "%lld", (long long)i);
        else
            (void)snprintf(s, cap, "%.4g", kd_json_number(n, 0));
        break;
    default: (void)snprintf(s, cap, "-");
    }
}

enum { CELL = 72, COLUMNS = 16 };

/* A list of objects of the same members as columns under a heading. */
static kd_code print_table(kd_cli *cli, kd_str title, const kd_json_node *list) {
    size_t width[COLUMNS] = {0}, n = 0;
    char s[CELL];
    kd_code rc = kd_out(cli, "\n%.*s\n", (int)title.len, title.data);
    for (const kd_json_node *row = kd_json_first(list); row; row = kd_json_next(row)) {
        n = 0;
        for (const kd_json_node *m = kd_json_first(row); m && n < COLUMNS; m = kd_json_next(m), n++) {
            cell(s, sizeof s, m);
            if (strlen(s) > width[n]) width[n] = strlen(s);
            if (kd_json_key(m).len > width[n]) width[n] = kd_json_key(m).len;
        }
    }
    n = 0;
    for (const kd_json_node *m = kd_json_first(kd_json_first(list)); m && n < COLUMNS && !rc; m = kd_json_next(m), n++)
        rc = kd_out(cli, "  %-*.*s", (int)width[n], (int)kd_json_key(m).len, kd_json_key(m).data);
    if (!rc) rc = kd_out(cli, "\n");
    for (const kd_json_node *row = kd_json_first(list); row && !rc; row = kd_json_next(row)) {
        n = 0;
        for (const kd_json_node *m = kd_json_first(row); m && n < COLUMNS && !rc; m = kd_json_next(m), n++) {
            cell(s, sizeof s, m);
            rc = kd_out(cli, kd_json_typeof(m) == KD_JSON_NUMBER ? "  %*s" : "  %-*s", (int)width[n], s);
        }
        if (!rc) rc = kd_out(cli, "\n");
    }
    return rc;
}

static kd_code print_all(kd_cli *cli, const kd_json_node *root) {
    char s[CELL];
    kd_code rc = KD_OK;
    for (const kd_json_node *m = kd_json_first(root); m && !rc; m = kd_json_next(m)) {
        if (kd_json_typeof(m) != KD_JSON_ARRAY) {
            cell(s, sizeof s, m);
            rc = kd_out(cli, "%-10.*s %s\n", (int)kd_json_key(m).len, kd_json_key(m).data, s);
        } else if (kd_json_count(m)) {
            rc = print_table(cli, kd_json_key(m), m);
        }
    }
    return rc;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_study *s = NULL;
    kd_buf b = {0};
    kd_json *doc = NULL;
    kd_arena arena = {0};
    kd_select_opts o = {0};
    kd_code rc = kd_select_opts_open(&s, &o, &arena, cli, e);
    if (!rc && kd_opt_flag(cli, "verify")) rc = kd_study_check(s, e);
    if (!rc) rc = kd_stats_json(&b, s, kd_select_opts_given(cli) ? &o : NULL, e);
    if (!rc && cli->json) {
        if ((rc = kd_out_str(cli, kd_buf_view(&b))) || (rc = kd_out_str(cli, KD_STR("\n"))))
            (void)kd_fail(e, rc, "standard output: cannot be written");
    } else if (!rc && !(rc = kd_json_parse(&doc, b.data, b.len, "stats", e))) {
        if ((rc = print_all(cli, kd_json_root(doc)))) (void)kd_fail(e, rc, "standard output: cannot be written");
    }
    kd_json_free(doc);
    kd_buf_clear(&b);
    kd_study_close(s);
    kd_arena_clear(&arena);
    return rc;
}

static const kd_opt options[] = {{"verify", 0, KD_OPT_FLAG, NULL, NULL, "read every page and index of the file first", "Study"},
                                 KD_SELECT_OPTIONS,
                                 {0}};

const kd_cmd kd_cmd_stats = {
    .name = "stats",
    .help = "counts, tokens, cost, pass rates, reasons",
    .usage = "STUDY",
    .about = "With a selection, its funnel: how many samples each condition turns away, alone and one behind the other, by source.\n\n"
             "  distill stats my.study --select "
             "\"math = 'right' and repeats < 0.2 and language > 0.95\" --per-question 2 --prefer diverse\n",
    .opts = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
