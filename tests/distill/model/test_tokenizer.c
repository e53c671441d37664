/* tests/distill/model/test_tokenizer.c - ids and texts against Hugging Face's tokenizers: the oracle models, and random tokenizer.json files over
 * hostile texts (golden/tokens.jsonl.gz, written by make_token_golden.py); GGUF there and back; streams; threads; memory. */
#include "distill/base/gz.h"
#include "distill/base/utf8.h"
#include "distill/model/tokenizer.h"
#include "oracle.h"

#include <pthread.h>

#define GOLDEN "tests/distill/model/golden/tokens.jsonl.gz"

static kd_tokenizer *open_json(kd_str json) {
    kd_tokenizer *t = NULL;
    OK(kd_tokenizer_open_json(&t, json, (kd_str){0}, "golden", e));
    return t;
}

static kd_tokenizer *open_oracle(const char *name) {
    char path[256];
    kd_tokenizer *t = NULL;
    OK(kd_tokenizer_open_folder(&t, oracle_path(path, name, NULL), e));
    return t;
}

/* Fails with what was expected if ids are not those of list; list NULL or null: nothing is expected. */
static void check_ids(const kd_tokenizer *t, const char *text, size_t n, unsigned flags, const kd_json_node *list, const char *what) {
    kd_ids ids = {0};
    if (kd_json_typeof(list) != KD_JSON_ARRAY) return;
    OK(kd_tokenizer_encode(t, &ids, text, n, flags, e));
    size_t i = 0;
    for (const kd_json_node *v = kd_json_first(list); v; v = kd_json_next(v), i++)
        if (i >= ids.n || ids.id[i] != (int32_t)kd_json_number(v, -1))
            fail_msg("%s, flags %u: token %zu is %d, expected %d", what, flags, i, i < ids.n ? ids.id[i] : -1, (int)kd_json_number(v, -1));
    if (i != ids.n) fail_msg("%s, flags %u: %zu tokens, expected %zu", what, flags, ids.n, i);
    kd_ids_clear(&ids);
}

static void test_oracles(void **state) {
    (void)state;
    size_t lines = 0;
    for (int k = 0; k < ORACLE_COUNT; k++) {
        char path[256];
        kd_lines *in;
        kd_str line;
        bool more;
        kd_tokenizer *t = open_oracle(ORACLES[k]);
        OK(kd_lines_open(&in, oracle_path(path, ORACLES[k], "tokens.jsonl"), e));
        for (;;) {
            kd_json *doc;
            OK(kd_lines_next(in, &line, &more, e));
            if (!more) break;
            OK(kd_json_parse(&doc, line.data, line.len, path, e));
            const kd_str s = kd_json_string(kd_json_get(kd_json_root(doc), "text"));
            check_ids(t, s.data, s.len, KD_TOK_PARSE_SPECIAL, kd_json_get(kd_json_root(doc), "tokens"), line.data);
            kd_json_free(doc);
            lines++;
        }
        kd_lines_close(in);
        kd_tokenizer_free(t);
    }
    assert_int_equal(lines, 144);
}

static size_t from_hex(kd_str hex, char *out) {
    for (size_t i = 0; i + 1 < hex.len; i += 2) {
        const char two[3] = {hex.data[i], hex.data[i + 1], 0};
        out[i / 2] = (char)strtoul(two, NULL, 16);
    }
    return hex.len / 2;
}

static void check_texts(const kd_tokenizer *t, const kd_json_node *row, const char *what, bool added) {
    static char text[1 << 16];
    for (const kd_json_node *v = kd_json_first(kd_json_get(row, "texts")); v; v = kd_json_next(v)) {
        const size_t n = from_hex(kd_json_string(kd_json_get(v, "hex")), text);
        check_ids(t, text, n, KD_TOK_PARSE_SPECIAL, kd_json_get(v, "parse"), what);
        check_ids(t, text, n, 0, kd_json_get(v, "plain"), what);
        if (added) check_ids(t, text, n, KD_TOK_PARSE_SPECIAL | KD_TOK_ADD_SPECIAL, kd_json_get(v, "add"), what);
    }
}

static void check_decode(const kd_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, kd_str want, const char *what) {
    kd_buf whole = {0}, piece = {0}, joined = {0};
    kd_detokenizer *d;
    OK(kd_tokenizer_decode(t, &whole, ids, n, flags, e));
    if (!kd_str_eq(kd_buf_view(&whole), want)) fail_msg("%s: decoded '%s', expected '%.*s'", what, whole.data, (int)want.len, want.data);
    OK(kd_detokenizer_new(&d, t, flags, e));
    for (int round = 0; round < 2; round++) { /* what was ended begins anew */
        joined.len = 0;
        for (size_t i = 0; i <= n; i++) {
            piece.len = 0;
            if (i < n)
                OK(kd_detokenizer_push(d, ids[i], &piece, e));
            else
                OK(kd_detokenizer_end(d, &piece, e));
            assert_true(kd_utf8_valid(piece.data, piece.len)); /* never half a character */
            assert_int_equal(kd_buf_append(&joined, piece.data, piece.len), KD_OK);
        }
        assert_true(kd_str_eq(kd_buf_view(&joined), want));
    }
    kd_detokenizer_free(d);
    kd_buf_clear(&whole);
    kd_buf_clear(&piece);
    kd_buf_clear(&joined);
}

static void check_decodes(const kd_tokenizer *t, const kd_json_node *row, const char *what) {
    for (const kd_json_node *v = kd_json_first(kd_json_get(row, "decodes")); v; v = kd_json_next(v)) {
        int32_t ids[512];
        size_t n = 0;
        for (const kd_json_node *x = kd_json_first(kd_json_get(v, "ids")); x && n < 512; x = kd_json_next(x))
            ids[n++] = (int32_t)kd_json_number(x, -1);
        if (n == 512) continue;
        check_decode(t, ids, n, 0, kd_json_string(kd_json_get(v, "text")), what);
        check_decode(t, ids, n, KD_TOK_SKIP_SPECIAL, kd_json_string(kd_json_get(v, "skip")), what);
    }
}

/* As GGUF alone, and as the tokenizer.json written from that. */
static kd_tokenizer *through_gguf(const kd_tokenizer *t, size_t rows) {
    char dir[] = "/tmp/kd-tokenizer-XXXXXX", *path;
    kd_gguf_writer *w;
    kd_gguf *g;
    kd_tokenizer *u = NULL;
    if (!mkdtemp(dir) || !(path = kd_path_join(dir, "vocabulary.gguf"))) abort();
    OK(kd_gguf_writer_new(&w, path, 0, e));
    OK(kd_gguf_writer_str(w, "general.architecture", KD_STR("llama"), e));
    OK(kd_tokenizer_write_gguf(t, w, rows, e));
    OK(kd_gguf_writer_begin(w, e));
    OK(kd_gguf_writer_commit(w, e));
    kd_gguf_writer_free(w);
    OK(kd_gguf_open(&g, path, e));
    OK(kd_tokenizer_open_gguf(&u, g, e));
    kd_gguf_close(g);
    OK(kd_remove_tree(dir, e));
    kd_free(path);
    return u;
}

static kd_tokenizer *through_json(const kd_tokenizer *t) {
    kd_buf json = {0}, config = {0};
    kd_tokenizer *u = NULL;
    OK(kd_tokenizer_write_json(t, &json, e));
    OK(kd_tokenizer_write_config(t, &config, e));
    OK(kd_tokenizer_open_json(&u, kd_buf_view(&json), kd_buf_view(&config), "written", e));
    kd_buf_clear(&json);
    kd_buf_clear(&config);
    return u;
}

static void test_golden(void **state) {
    (void)state;
    kd_lines *in;
    kd_str line;
    bool more;
    size_t named = 0, all = 0;
    OK(kd_lines_open(&in, GOLDEN, e));
    for (;; all++) {
        kd_json *doc;
        char what[64];
        OK(kd_lines_next(in, &line, &more, e));
        if (!more) break;
        snprintf(what, sizeof what, "tokenizer %zu", all);
        OK(kd_json_parse(&doc, line.data, line.len, what, e));
        const kd_json_node *row = kd_json_root(doc);
        const kd_str name = kd_json_string(kd_json_get(row, "pre"));
        kd_tokenizer *t = open_json(kd_json_string(kd_json_get(row, "tokenizer")));
        check_texts(t, row, what, true);
        check_texts(t, row, what, true); /* words are remembered now */
        check_decodes(t, row, what);
        if (name.data) {
            assert_non_null(kd_tokenizer_pre(t));
            assert_string_equal(kd_tokenizer_pre(t), name.data);
            kd_tokenizer *g = through_gguf(t, kd_tokenizer_size(t) + 3), *j = through_json(g);
            check_texts(g, row, name.data, false);
            check_texts(j, row, name.data, false);
            kd_tokenizer_free(g);
            kd_tokenizer_free(j);
            named++;
        }
        kd_tokenizer_free(t);
        kd_json_free(doc);
    }
    kd_lines_close(in);
    assert_int_equal(named, 9);
    assert_true(all > 40);
}

/* A SentencePiece vocabulary through GGUF: merges, byte tokens, the space in front; special tokens in all of them. */
static void test_gguf_of_oracles(void **state) {
    (void)state;
    static const char *const texts[] = {"Hello, world!", "  two  spaces", "<s>é日本</s>x", "\xf0\x9f\x98\x80\xff", ""};
    for (int k = 0; k < ORACLE_COUNT; k++) {
        kd_tokenizer *t = open_oracle(ORACLES[k]), *g = through_gguf(t, kd_tokenizer_size(t)), *j = through_json(g);
        const kd_tokenizer *const others[] = {g, j};
        const kd_specials *s = kd_tokenizer_specials(t);
        for (int o = 0; o < 2; o++) {
            const kd_specials *z = kd_tokenizer_specials(others[o]);
            assert_true(z->bos == s->bos && z->eos == s->eos && z->pad == s->pad && z->unk == s->unk);
            assert_true(z->add_bos == s->add_bos && z->add_eos == s->add_eos);
            assert_int_equal(kd_tokenizer_size(others[o]), kd_tokenizer_size(t));
            for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                kd_ids a = {0}, b = {0};
                OK(kd_tokenizer_encode(t, &a, texts[i], strlen(texts[i]), KD_TOK_ADD_SPECIAL | KD_TOK_PARSE_SPECIAL, e));
                OK(kd_tokenizer_encode(others[o], &b, texts[i], strlen(texts[i]), KD_TOK_ADD_SPECIAL | KD_TOK_PARSE_SPECIAL, e));
                assert_int_equal(a.n, b.n);
                if (a.n) assert_memory_equal(a.id, b.id, a.n * sizeof *a.id);
                kd_ids_clear(&a);
                kd_ids_clear(&b);
            }
        }
        kd_tokenizer_free(t);
        kd_tokenizer_free(g);
        kd_tokenizer_free(j);
    }
}

static void test_specials(void **state) {
    (void)state;
    kd_tokenizer *t = open_oracle("qwen2-tied");
    const kd_specials *s = kd_tokenizer_specials(t);
    const int32_t end = kd_tokenizer_find(t, KD_STR("<|im_end|>")), text = kd_tokenizer_find(t, KD_STR("<|endoftext|>"));
    assert_true(end > 0 && text > 0);
    assert_int_equal(s->eos, end);
    assert_int_equal(s->pad, text);
    assert_int_equal(s->eot, end);
    assert_int_equal(s->bos, -1);
    assert_int_equal(s->eogs, 2);
    assert_true(kd_tokenizer_is_eog(t, end) && kd_tokenizer_is_eog(t, text) && !kd_tokenizer_is_eog(t, 0));
    const kd_token k = kd_tokenizer_token(t, end);
    assert_true(k.added && k.special && k.type == KD_TOKEN_CONTROL && kd_str_is(k.text, "<|im_end|>"));
    assert_null(kd_tokenizer_token(t, -1).text.data);
    assert_null(kd_tokenizer_token(t, (int32_t)kd_tokenizer_size(t)).text.data);
    assert_string_equal(kd_tokenizer_pre(t), "qwen2");
    kd_tokenizer_free(t);
    t = open_oracle("llama-untied-spm");
    kd_buf b = {0};
    OK(kd_tokenizer_piece(t, kd_tokenizer_find(t, KD_STR("<0x0A>")), &b, e));
    OK(kd_tokenizer_piece(t, kd_tokenizer_find(t, KD_STR("\xe2\x96\x81t")), &b, e));
    assert_string_equal(b.data, "\n t");
    kd_buf_clear(&b);
    assert_int_equal(kd_tokenizer_token(t, 0).type, KD_TOKEN_UNKNOWN);
    assert_true(kd_tokenizer_specials(t)->add_bos && !kd_tokenizer_specials(t)->add_eos);
    kd_tokenizer_free(t);
}

#define HEAD                                                                                                                               \
    "{\"added_tokens\":[],\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,\"decoder\":%s,\"model\":{\"type\":%s,\"vocab\":{"  \
    "\"a\":0},\"merges\":%s}}"

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *norm, *pre, *post, *dec, *type, *merges, *says;
        kd_code code;
    } cases[] = {
        {"null", "null", "null", "null", "\"Unigram\"", "[]", "Unigram", KD_EUNSUPPORTED},
        {"{\"type\":\"Precompiled\"}", "null", "null", "null", "\"BPE\"", "[]", "normalizer Precompiled", KD_EUNSUPPORTED},
        {"null", "{\"type\":\"UnicodeScripts\"}", "null", "null", "\"BPE\"", "[]", "pre-tokenizer UnicodeScripts", KD_EUNSUPPORTED},
        {"null", "null", "{\"type\":\"Nothing\"}", "null", "\"BPE\"", "[]", "post-processor Nothing", KD_EUNSUPPORTED},
        {"null", "null", "null", "{\"type\":\"WordPiece\"}", "\"BPE\"", "[]", "decoder WordPiece", KD_EUNSUPPORTED},
        {"null", "null", "null", "null", "\"BPE\",\"dropout\":0.1", "[]", "dropout", KD_EUNSUPPORTED},
        {"null", "null", "null", "null", "\"BPE\"", "[\"a b\"]", "merge 0: 'b'", KD_EFORMAT},
        {"null", "null", "null", "null", "\"BPE\"", "[\"a a a\"]", "two parts", KD_EFORMAT},
        {"null", "null", "null", "null", "\"BPE\"", "[\"a a\"]", "makes 'aa'", KD_EFORMAT},
        {"null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"},\"behavior\":\"Isolated\"}", "null", "null", "\"BPE\"", "[]",
         "intersection", KD_EUNSUPPORTED},
        {"null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{Thai}\"},\"behavior\":\"Isolated\"}", "null", "null", "\"BPE\"", "[]",
         "Thai", KD_EUNSUPPORTED},
        {"null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a{1,2}+\"},\"behavior\":\"Isolated\"}", "null", "null", "\"BPE\"", "[]",
         "repeat", KD_EUNSUPPORTED},
        {"null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}", "null", "null", "\"BPE\"", "[]",
         "regular expression", KD_EFORMAT},
        {"{\"type\":\"Strip\",\"strip_left\":1}", "null", "null", "null", "\"BPE\"", "[]", "strip_left", KD_EFORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[2048];
        kd_tokenizer *t = (void *)1;
        kd_err e = {0};
        const int n =
            snprintf(text, sizeof text, HEAD, cases[i].norm, cases[i].pre, cases[i].post, cases[i].dec, cases[i].type, cases[i].merges);
        assert_int_equal(kd_tokenizer_open_json(&t, (kd_str){text, (size_t)n}, (kd_str){0}, "case", &e), cases[i].code);
        assert_null(t);
        if (!strstr(e.msg, cases[i].says)) fail_msg("'%s' does not name %s", e.msg, cases[i].says);
    }
}

/* Quadratic time would not come back from these; what they give is checked by taking them apart and together again. */
static void test_long_runs(void **state) {
    (void)state;
    static const char *const units[] = {"a", " ", "\n", "e ", "\xf0\x9f\x98\x80", "\xff", "the ", "<"};
    const size_t want = 1000000;
    char *text = malloc(want + 8);
    for (int k = 0; k < ORACLE_COUNT; k++) {
        kd_tokenizer *t = open_oracle(ORACLES[k]);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            size_t n = 0;
            for (const size_t len = strlen(units[u]); n + len <= want; n += len) memcpy(text + n, units[u], len);
            kd_ids ids = {0};
            kd_buf back = {0}, clean = {0};
            OK(kd_tokenizer_encode(t, &ids, text, n, 0, e));
            OK(kd_tokenizer_decode(t, &back, ids.id, ids.n, 0, e));
            assert_int_equal(kd_utf8_replace(&clean, text, n), KD_OK);
            assert_true(kd_str_eq(kd_buf_view(&back), kd_buf_view(&clean)));
            kd_ids_clear(&ids);
            kd_buf_clear(&back);
            kd_buf_clear(&clean);
        }
        kd_tokenizer_free(t);
    }
    free(text);
}

typedef struct {
    const kd_tokenizer *t;
    const kd_ids *want;
    bool same;
} job;
static const char shared_text[] = "It's 2026; we're  1234567 strong.\n\n日本語 — naïve <|im_end|> 👨‍👩‍👧 'LL \xff end";

static void *encode_often(void *p) {
    job *j = p;
    j->same = true;
    for (int i = 0; i < 300; i++) {
        kd_ids ids = {0};
        if (kd_tokenizer_encode(j->t, &ids, shared_text, sizeof shared_text - 1, (unsigned)(i & 1) * KD_TOK_PARSE_SPECIAL, NULL))
            j->same = false;
        const kd_ids *w = &j->want[i & 1];
        j->same &= ids.n == w->n && memcmp(ids.id, w->id, ids.n * sizeof *ids.id) == 0;
        kd_ids_clear(&ids);
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    kd_tokenizer *t = open_oracle("qwen3-untied");
    kd_ids want[2] = {{0}, {0}};
    for (unsigned f = 0; f < 2; f++) OK(kd_tokenizer_encode(t, &want[f], shared_text, sizeof shared_text - 1, f * KD_TOK_PARSE_SPECIAL, e));
    pthread_t id[4];
    job jobs[4];
    for (int i = 0; i < 4; i++) {
        jobs[i] = (job){t, want, false};
        assert_int_equal(pthread_create(&id[i], NULL, encode_often, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(id[i], NULL);
        assert_true(jobs[i].same);
    }
    kd_ids_clear(&want[0]);
    kd_ids_clear(&want[1]);
    kd_tokenizer_free(t);
}

/* ---- memory ---- */

static kd_str small; /* a small tokenizer with every kind of stage */

static kd_code whole_life(kd_ids *ids, kd_buf *text, kd_err *e) {
    kd_tokenizer *t = NULL;
    kd_detokenizer *d = NULL;
    ids->n = text->len = 0;
    kd_code c = kd_tokenizer_open_json(&t, small, KD_STR("{\"bos_token\":\"<s>\",\"add_bos_token\":true}"), "small", e);
    if (!c) c = kd_tokenizer_encode(t, ids, shared_text, sizeof shared_text - 1, KD_TOK_ADD_SPECIAL, e);
    if (!c) c = kd_tokenizer_encode(t, ids, shared_text, sizeof shared_text - 1, KD_TOK_PARSE_SPECIAL, e);
    if (!c) c = kd_tokenizer_decode(t, text, ids->id, ids->n, 0, e);
    if (!c) c = kd_detokenizer_new(&d, t, 0, e);
    for (size_t i = 0; i < ids->n && !c; i++) c = kd_detokenizer_push(d, ids->id[i], text, e);
    if (!c) c = kd_detokenizer_end(d, text, e);
    if (!c) c = kd_tokenizer_write_config(t, text, e);
    kd_detokenizer_free(d);
    kd_tokenizer_free(t);
    return c;
}

static void test_memory(void **state) {
    (void)state;
    static const char pattern[] =
        "{\"added_tokens\":[{\"id\":8,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":true,\"rstrip\":true,\"normalized\":false,"
        "\"special\":true},"
        "{\"id\":9,\"content\":\"End\",\"single_word\":true,\"lstrip\":false,\"rstrip\":false,\"normalized\":true,\"special\":false}],"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"},{\"type\":\"Replace\","
        "\"pattern\":{\"Regex\":\"\\\\s+\"},\"content\":\" \"},"
        "{\"type\":\"Prepend\",\"prepend\":\"x\"},{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true},{\"type\":\"StripAccents\"}"
        "]},"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[aeiou]+\"},\"behavior\":"
        "\"MergedWithNext\",\"invert\":false},"
        "{\"type\":\"Digits\",\"individual_digits\":false},{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"always\","
        "\"split\":true}]},"
        "\"post_processor\":null,\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"_\"},"
        "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
        "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":1}]},"
        "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"byte_fallback\":true,\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\"_\":3,\"e\":4,\"ab\":"
        "5,\"_e\":6,\"n\":7},\"merges\":[\"a b\",\"_ e\"]}}";
    kd_ids ids = {0};
    kd_buf text = {0};
    small = (kd_str){pattern, sizeof pattern - 1};
    OK(whole_life(&ids, &text, e));
    long at = 1, failed = 0;
    for (;; at++) {
        kd_ids_clear(&ids);
        kd_buf_clear(&text);
        kd_alloc_fail_at(at);
        const kd_code c = whole_life(&ids, &text, NULL);
        const bool hit = kd_alloc_count() >= at;
        kd_alloc_fail_at(0);
        if (!hit) break;
        if (c == KD_OK) continue; /* words can be forgotten without harm */
        failed++;
        assert_int_equal(c, KD_ENOMEM);
    }
    assert_true(failed > 100);
    kd_ids_clear(&ids);
    kd_buf_clear(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracles),  cmocka_unit_test(test_golden),   cmocka_unit_test(test_gguf_of_oracles),
        cmocka_unit_test(test_specials), cmocka_unit_test(test_refusals), cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_threads),  cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
