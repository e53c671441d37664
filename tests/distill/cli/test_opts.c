/* tests/distill/cli/test_opts.c - option tables: flags, environment, config file, defaults, and what is said of mistakes. */
#include "tests/distill/base/check.h"

#include "distill/cli/state.h"

static const kd_opt options[] = {{"samples", 'k', KD_OPT_INT, "K", "1", "answers a question", "Sampling", .min = 1, .max = 100},
                                 {"temperature", 0, KD_OPT_FLOAT, "T", "0.7", "how wild", "Sampling", .min = 0, .max = 5},
                                 {"method", 0, KD_OPT_ENUM, "lora|dora|full", "lora", "what is trained", "Training"},
                                 {"shuffle", 0, KD_OPT_FLAG, NULL, "true", "mix the lessons", "Training"},
                                 {"output", 'o', KD_OPT_PATH, "RUN", NULL, "where it goes", "Training"},
                                 {"split-size", 0, KD_OPT_SIZE, "SIZE", "2G", "size of a part", "Training"},
                                 {"stop", 0, KD_OPT_STRINGS, "TEXT", NULL, "ends an answer", "Sampling"},
                                 {"name", 0, KD_OPT_STRING, "NAME", NULL, "a name", "Training"},
                                 {"secret", 0, KD_OPT_INT, "N", NULL, "for tests", "Training", .hidden = true},
                                 {0}};
static kd_code nothing(kd_cli *cli, kd_err *e) {
    (void)cli, (void)e;
    return KD_OK;
}
static const kd_cmd cmd = {
    .name = "try", .help = "tries", .usage = "STUDY [FILE]", .opts = options, .min_args = 1, .max_args = 2, .run = nothing};

static kd_cli cli;
static kd_err err;

/* Parses words (parted by '|'), environment likewise, and a config text; what the program does before it runs a command. */
static kd_code parse(const char *flags, const char *env, const char *yaml) {
    char words[1000], vars[1000], *argv[50], *envv[50], path[] = "/tmp/kd-opts-XXXXXX";
    int argc = 0, n = 0;
    kd_err_clear(&err);
    (void)snprintf(words, sizeof words, "%s", flags);
    (void)snprintf(vars, sizeof vars, "%s", env);
    for (char *s = words, *w; *flags && (w = strsep(&s, "|"));) argv[argc++] = w;
    for (char *s = vars, *w; *env && (w = strsep(&s, "|"));) envv[n++] = w;
    envv[n] = NULL;
    kd_code c = kd_opts_init(&cli, &cmd, &err);
    if (!c) c = kd_opts_flags(&cli, argc, argv, &err);
    if (!c) c = kd_opts_env(&cli, envv, &err);
    if (!c && yaml) {
        const int fd = mkstemp(path);
        if (fd < 0 || write(fd, yaml, strlen(yaml)) != (ssize_t)strlen(yaml)) abort();
        (void)close(fd);
        c = kd_config_read(&cli, path, &err);
        (void)unlink(path);
    }
    return c ? c : kd_opts_finish(&cli, &err);
}

static void done(void) { kd_opts_clear(&cli); }

static void refused(const char *flags, const char *env, const char *yaml, kd_code code, const char *message) {
    assert_int_equal(parse(flags, env, yaml), code);
    char text[600];
    const char *at = strstr(err.msg, "/tmp/kd-opts-"); /* the file's name is random */
    (void)snprintf(text, sizeof text, "%s%s", at ? "FILE" : "", at ? at + strlen("/tmp/kd-opts-XXXXXX") : err.msg);
    assert_string_equal(text, message);
    done();
}

static void test_defaults(void **state) {
    (void)state;
    assert_int_equal(parse("study.db", "", NULL), KD_OK);
    const char *const *stops;
    assert_true(kd_opt_int(&cli, "samples") == 1);
    assert_true(kd_opt_float(&cli, "temperature") == 0.7);
    assert_int_equal(kd_opt_word(&cli, "method"), 0);
    assert_string_equal(kd_opt_string(&cli, "method"), "lora");
    assert_true(kd_opt_flag(&cli, "shuffle"));
    assert_null(kd_opt_string(&cli, "output"));
    assert_true(kd_opt_size(&cli, "split-size") == (uint64_t)2 << 30);
    assert_int_equal(kd_opt_strings(&cli, "stop", &stops), 0);
    assert_false(kd_opt_given(&cli, "samples"));
    assert_int_equal(cli.n_args, 1);
    assert_string_equal(cli.args[0], "study.db");
    assert_false(cli.json || cli.dry_run || cli.quiet || cli.verbose);
    done();
}

static void test_flags(void **state) {
    (void)state;
    assert_int_equal(
        parse(
            "-k|7|--temperature=1e-1|study|--method|full|--no-shuffle|-oRUN|--split_size|1.5K|--stop|a|--stop=--|-nqvv|--seed|9|--|--file",
            "", NULL),
        KD_OK);
    const char *const *stops;
    assert_true(kd_opt_int(&cli, "samples") == 7 && kd_opt_given(&cli, "samples"));
    assert_true(kd_opt_float(&cli, "temperature") == 0.1);
    assert_int_equal(kd_opt_word(&cli, "method"), 2);
    assert_false(kd_opt_flag(&cli, "shuffle"));
    assert_string_equal(kd_opt_string(&cli, "output"), "RUN");
    assert_true(kd_opt_size(&cli, "split-size") == 1536);
    assert_int_equal(kd_opt_strings(&cli, "stop", &stops), 2);
    assert_string_equal(stops[0], "a");
    assert_string_equal(stops[1], "--");
    assert_true(cli.dry_run && cli.quiet && cli.verbose == 2 && cli.seed == 9 && !cli.json);
    assert_int_equal(cli.n_args, 2);
    assert_string_equal(cli.args[1], "--file");
    done();
    assert_int_equal(parse("-|-k1|-k|2", "", NULL), KD_OK); /* "-" is an argument; the last word counts */
    assert_string_equal(cli.args[0], "-");
    assert_true(kd_opt_int(&cli, "samples") == 2);
    done();
    assert_int_equal(parse("--help", "", NULL), KD_OK); /* without its arguments */
    assert_true(cli.state->help);
    done();
}

static void test_precedence(void **state) {
    (void)state;
    static const char yaml[] = "samples: 2\ntemperature: 0.2\nmethod: dora\nstop: [x, y]\nname: file\nshuffle: off\n";
    const char *const *stops;
    assert_int_equal(parse("s|-k|4|--stop|z", "DISTILL_SAMPLES=3|DISTILL_TEMPERATURE=0.3|DISTILL_OTHER=1|PATH=x|DISTILL_SPLIT_SIZE=1M",
                           yaml),
                     KD_OK);
    assert_true(kd_opt_int(&cli, "samples") == 4);              /* flag */
    assert_true(kd_opt_float(&cli, "temperature") == 0.3);      /* environment */
    assert_string_equal(kd_opt_string(&cli, "method"), "dora"); /* file */
    assert_true(kd_opt_size(&cli, "split-size") == 1 << 20);
    assert_false(kd_opt_flag(&cli, "shuffle"));
    assert_int_equal(kd_opt_strings(&cli, "stop", &stops), 1); /* a list of higher rank replaces the lower one whole */
    assert_string_equal(stops[0], "z");
    assert_string_equal(kd_opt_string(&cli, "name"), "file");
    done();
}

static void test_mistakes_in_flags(void **state) {
    (void)state;
    refused("s|--sample|3", "", NULL, KD_EINVAL, "try: unknown option --sample; did you mean --samples?");
    refused("s|--temp|3", "", NULL, KD_EINVAL, "try: unknown option --temp; did you mean --temperature?");
    refused("s|--quux|3", "", NULL, KD_EINVAL, "try: unknown option --quux (see distill help try)");
    refused("s|--secrte|3", "", NULL, KD_EINVAL, "try: unknown option --secrte (see distill help try)"); /* hidden: not betrayed */
    refused("s|-z", "", NULL, KD_EINVAL, "try: unknown option -z (see distill help try)");
    refused("s|--samples", "", NULL, KD_EINVAL, "--samples needs a value (K)");
    refused("s|--samples|--json", "", NULL, KD_EINVAL, "--samples needs a value (K); one that starts with -- is written after =");
    refused("s|-k", "", NULL, KD_EINVAL, "-k needs a value (K)");
    refused("s|-k|x", "", NULL, KD_EINVAL, "-k: 'x' is no whole number");
    refused("s|-k|3.5", "", NULL, KD_EINVAL, "-k: '3.5' is no whole number");
    refused("s|-k|0", "", NULL, KD_EINVAL, "-k: 0 is out of range, expected 1 to 100");
    refused("s|-k|99999999999999999999", "", NULL, KD_EINVAL, "-k: 99999999999999999999 is out of range, expected 1 to 100");
    refused("s|--temperature|nan", "", NULL, KD_EINVAL, "--temperature: 'nan' is no number");
    refused("s|--temperature|-1", "", NULL, KD_EINVAL, "--temperature: -1 is out of range, expected 0 to 5");
    refused("s|--method|lara", "", NULL, KD_EINVAL, "--method: 'lara' is not one of lora|dora|full; did you mean lora?");
    refused("s|--method|lora|dora|x|y", "", NULL, KD_EINVAL, "try: argument 'x' is one too many (distill try [OPTIONS] STUDY [FILE])");
    refused("s|--split-size|3Q", "", NULL, KD_EINVAL, "--split-size: '3Q' is no size (300M, 1.5G, 4096)");
    refused("s|--split-size|-3", "", NULL, KD_EINVAL, "--split-size: '-3' is no size (300M, 1.5G, 4096)");
    refused("s|--split-size|0x10", "", NULL, KD_EINVAL, "--split-size: '0x10' is no size (300M, 1.5G, 4096)");
    refused("s|--split-size|99999999999T", "", NULL, KD_EINVAL, "--split-size: '99999999999T' is too large");
    refused("s|--no-samples", "", NULL, KD_EINVAL, "try: unknown option --no-samples; did you mean --samples?");
    refused("s|--no-shuffle=1", "", NULL, KD_EINVAL, "--no-shuffle takes no value");
    refused("s|--shuffle=maybe", "", NULL, KD_EINVAL, "--shuffle: 'maybe' is neither true nor false");
    refused("s|-o|", "", NULL, KD_EINVAL, "-o: the path is empty");
    refused("", "", NULL, KD_EINVAL, "try: arguments expected (distill try [OPTIONS] STUDY [FILE])");
    refused("s", "DISTILL_SAMPLES=many", NULL, KD_ECONFIG, "DISTILL_SAMPLES: 'many' is no whole number");
}

static void test_sizes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"4096", 4096},
                {"1k", 1024},
                {"1KiB", 1024},
                {"2M", 2 << 20},
                {"1.5G", (uint64_t)3 << 29},
                {"300MB", 300 << 20},
                {"1T", (uint64_t)1 << 40},
                {"9007199254740993", 9007199254740993},
                {"7B", 7}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char flags[100];
        (void)snprintf(flags, sizeof flags, "s|--split-size|%s", good[i].text);
        assert_int_equal(parse(flags, "", NULL), KD_OK);
        assert_true(kd_opt_size(&cli, "split-size") == good[i].bytes);
        done();
    }
}

static void test_config(void **state) {
    (void)state;
    static const char yaml[] =
        "# a comment\nsplit_size: 3M   # names with _ too\n\"name\": \"a: b\\n\"\nmethod: ~\nstop:\n  - one\n  - '2'\n"
        "try:\n  samples: 5\ndoctor:\n  threads: 9\n  deep: {x: [1, {y: 2}]}\n";
    const char *const *stops;
    assert_int_equal(parse("s", "", yaml), KD_OK);
    assert_true(kd_opt_size(&cli, "split-size") == 3 << 20);
    assert_string_equal(kd_opt_string(&cli, "name"), "a: b\n");
    assert_string_equal(kd_opt_string(&cli, "method"), "lora"); /* null: as if it were not there */
    assert_int_equal(kd_opt_strings(&cli, "stop", &stops), 2);
    assert_string_equal(stops[1], "2");
    done();
    assert_int_equal(parse("s", "", ""), KD_OK);
    done();
    assert_int_equal(parse("s", "", "---\n...\n"), KD_OK);
    done();
}

static void test_mistakes_in_config(void **state) {
    (void)state;
    refused("s", "", "name: x\nsampels: 3\n", KD_ECONFIG, "FILE line 2: unknown key 'sampels'; did you mean samples?");
    refused("s", "", "wholly-other: 3\n", KD_ECONFIG, "FILE line 1: unknown key 'wholly-other' (see distill help try)");
    refused("s", "", "samples: 3\n\nsamples: 4\n", KD_ECONFIG, "FILE line 3: 'samples' is there twice");
    refused("s", "", "samples: x\n", KD_ECONFIG, "FILE line 1: samples: 'x' is no whole number");
    refused("s", "", "samples: 1000\n", KD_ECONFIG, "FILE line 1: samples: 1000 is out of range, expected 1 to 100");
    refused("s", "", "samples: [1]\n", KD_ECONFIG, "FILE line 1: one value expected");
    refused("s", "", "samples:\n  deep: 1\n", KD_ECONFIG, "FILE line 2: one value expected");
    refused("s", "", "stop: [[a]]\n", KD_ECONFIG, "FILE line 1: a list of plain values expected");
    refused("s", "", "- a\n", KD_ECONFIG, "FILE line 1: options expected, as 'name: value'");
    refused("s", "", "just words\n", KD_ECONFIG, "FILE line 1: options expected, as 'name: value'");
    refused("s", "", "name: x\n---\nname: y\n", KD_ECONFIG, "FILE line 2: a second document; one was expected");
    refused("s", "", "name: &a x\nmethod: *a\n", KD_ECONFIG, "FILE line 2: one value expected");
    refused("s", "", "config: other.yaml\n", KD_ECONFIG, "FILE line 1: 'config' stands on the command line only");
    refused("s", "", "name: \"a\\0b\"\n", KD_ECONFIG, "FILE line 1: a value with U+0000 in it");
    refused("s", "", "try: 3\n", KD_ECONFIG, "FILE line 1: the options of a command expected, as 'name: value'");
    assert_int_equal(parse("s", "", "name: [unclosed\n"), KD_ECONFIG);
    assert_non_null(strstr(err.msg, " line "));
    done();
}

/* What a run writes down, read again, gives the same options. */
static void test_config_there_and_back(void **state) {
    (void)state;
    kd_buf once = {0}, twice = {0};
    assert_int_equal(parse("s|-k|5|--name|a \"b\": #c\\n\xc3\xa9|--stop|x, y|--stop|[z]|--no-shuffle|--json|--split-size|1.5G", "", NULL),
                     KD_OK);
    assert_int_equal(kd_cli_config_yaml(&cli, &once), KD_OK);
    done();
    assert_int_equal(parse("s", "", once.data), KD_OK);
    assert_int_equal(kd_cli_config_yaml(&cli, &twice), KD_OK);
    assert_string_equal(once.data, twice.data);
    assert_string_equal(kd_opt_string(&cli, "name"), "a \"b\": #c\\n\xc3\xa9");
    assert_false(cli.json); /* not a setting, a way of looking */
    done();
    kd_buf_clear(&once);
    kd_buf_clear(&twice);
}

static void test_help(void **state) {
    (void)state;
    kd_buf b = {0};
    kd_help_command(&b, &cmd);
    assert_non_null(strstr(b.data, "usage: distill try [OPTIONS] STUDY [FILE]"));
    assert_non_null(strstr(b.data, "  -k, --samples K                 answers a question (default 1)\n"));
    assert_non_null(strstr(b.data, "      --method lora|dora|full     what is trained (default lora)\n"));
    assert_null(strstr(b.data, "secret"));
    assert_non_null(strstr(b.data, "--dry-run"));
    const char *first = strstr(b.data, "Sampling:");
    assert_non_null(first);
    assert_null(strstr(first + 1, "Sampling:")); /* one heading a group */
    for (const char *line = b.data; *line; line = strchr(line, '\n') + 1) assert_true(strchr(line, '\n') - line <= 100);
    kd_buf_clear(&b);
}

static void test_distance(void **state) {
    (void)state;
    assert_int_equal(kd_edit_distance(KD_STR("samples"), KD_STR("sampels"), 9), 1); /* neighbours swapped */
    assert_int_equal(kd_edit_distance(KD_STR("kitten"), KD_STR("sitting"), 9), 3);
    assert_int_equal(kd_edit_distance(KD_STR(""), KD_STR("abc"), 9), 3);
    assert_int_equal(kd_edit_distance(KD_STR("abc"), KD_STR("xyz"), 1), 2);
    char longest[100] = {0};
    assert_int_equal(kd_edit_distance((kd_str){longest, 100}, KD_STR("a"), 5), 6);
}

static void test_exit_statuses(void **state) {
    (void)state;
    static const int expected[] = {0, 1, 64, 65, 66, 69, 70, 71, 73, 74, 75, 77, 78, 65, 130, 143};
    for (int c = KD_OK; c <= KD_ETERMINATE; c++) assert_int_equal(kd_exit_status((kd_code)c), expected[c]);
}

static kd_code parse_and_drop(void) {
    const kd_code c = parse("s|-k|5|--stop|x|--stop|y|--name|z", "DISTILL_METHOD=full", NULL);
    done();
    return c;
}

static void test_sweep(void **state) {
    (void)state;
    SWEEP(parse_and_drop(), );
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_defaults),
                                       cmocka_unit_test(test_flags),
                                       cmocka_unit_test(test_precedence),
                                       cmocka_unit_test(test_mistakes_in_flags),
                                       cmocka_unit_test(test_sizes),
                                       cmocka_unit_test(test_config),
                                       cmocka_unit_test(test_mistakes_in_config),
                                       cmocka_unit_test(test_config_there_and_back),
                                       cmocka_unit_test(test_help),
                                       cmocka_unit_test(test_distance),
                                       cmocka_unit_test(test_exit_statuses),
                                       cmocka_unit_test(test_sweep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
