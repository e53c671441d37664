/* tests/convert/test_convert.c - conversions against llama.cpp's own converter and quantizer (golden/), against the oracle models there and
 * back, adapters merged against PEFT's log-probabilities; and what a conversion leaves behind when it fails. */
#include "tests/convert/convert_help.h"

#include "convert/adapter.h"
#include "convert/convert.h"
#include "convert/inspect.h"
#include "distill/base/hash.h"
#include "distill/format/gguf.h"
#include "distill/format/safetensors.h"
#include "distill/math/ops.h"
#include "distill/model/score.h"
#include "distill/model/tokenizer.h"

#include <math.h>
#include <unistd.h>

#define ORACLE "tests/oracle/models/"
static const char *const MODELS[] = {"llama-tied-rope3", "llama-untied-spm", "qwen2-tied", "qwen3-untied"};
enum { N_MODELS = 4 };

static const char *oracle(const char *model, const char *file) {
    static char ring[4][256];
    static int at;
    at = (at + 1) % 4;
    snprintf(ring[at], sizeof ring[at], ORACLE "%s%s%s", model, file ? "/" : "", file ? file : "");
    return ring[at];
}
static kd_code convert(const char *src, const char *dst, const char *type, const char *adapter, kd_err *e) {
    return kd_convert(src, dst, &(kd_convert_options){.type = type, .adapter = adapter}, false, pool, NULL, NULL, e);
}
static kd_json *parse_file(const char *path) {
    kd_buf b = {0};
    kd_json *doc;
    must(kd_file_read(&b, path, 1 << 24, er));
    must(kd_json_parse(&doc, b.data, b.len, path, er));
    kd_buf_clear(&b);
    return doc;
}
static bool same(const char *a, const char *b) {
    kd_buf out = {0};
    kd_jsonw w = {.out = &out};
    bool equal = false;
    must(kd_inspect_diff(&w, a, b, pool, &equal, er));
    kd_buf_clear(&out);
    return equal;
}

/* A line of golden/MODEL.txt: a key with its number, or a tensor with type, shape and hash. */
static void check_line(const kd_gguf *g, char *line) {
    char *value = strchr(line, ' ');
    double have = 0;
    kd_str s;
    *value++ = 0;
    const kd_tensor *t = kd_tensors_find(kd_gguf_tensors(g), line);
    if (t && kd_str_starts(kd_str_of(value), "factors ")) {
        char *at = value + 8;
        for (size_t i = 0; i < kd_tensor_elements(t); i++) {
            double want = strtod(at, &at), got = (double)((const float *)t->data)[i];
            assert_true(fabs(got - want) <= 1e-6 * want);
        }
    } else if (t) {
        char hex[65], text[256], shape[64];
        kd_sha256_hex(t->data, t->bytes, hex);
        snprintf(text, sizeof text, "%s %s %.16s", kd_dtype_get((int)t->type)->name, kd_shape_text(t->ndim, t->shape, shape, sizeof shape),
                 hex);
        if (strcmp(text, value)) fail_msg("%s: %s, llama.cpp has %s", line, text, value);
    } else if (kd_gguf_str(g, line, &s)) {
        assert_true(kd_str_is(s, value));
    } else {
        if (!kd_gguf_f64(g, line, &have)) fail_msg("%s is missing", line);
        if (fabs(have - strtod(value, NULL)) > 1e-12 * fabs(have)) fail_msg("%s is %g, llama.cpp has %s", line, have, value);
    }
}

static void as_llama_cpp(void **state) {
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        char path[128];
        kd_buf b = {0};
        kd_gguf *g;
        size_t tensors = 0;
        must(convert(oracle(MODELS[m], NULL), temp("a.gguf"), "f32", NULL, er));
        must(kd_gguf_open(&g, temp("a.gguf"), er));
        snprintf(path, sizeof path, "tests/convert/golden/%s.txt", MODELS[m]);
        must(kd_file_read(&b, path, 1 << 20, er));
        for (char *save = NULL, *line = strtok_r(b.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            tensors += strstr(line, " f32 [") || strstr(line, " factors ");
            check_line(g, line);
        }
        assert_int_equal(tensors, kd_tensors_count(kd_gguf_tensors(g)));
        kd_gguf_close(g);
        kd_buf_clear(&b);
    }
}

/* Ids of every text of tokens.jsonl. */
static void check_tokens(const char *path, const char *model) {
    kd_tokenizer *t;
    kd_buf b = {0};
    must(kd_tokenizer_open(&t, path, er));
    must(kd_file_read(&b, oracle(model, "tokens.jsonl"), 1 << 20, er));
    size_t texts = 0;
    for (char *save = NULL, *line = strtok_r(b.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save), texts++) {
        kd_json *doc;
        kd_ids ids = {0};
        must(kd_json_parse(&doc, line, strlen(line), "tokens.jsonl", er));
        kd_str text = kd_json_string(kd_json_get(kd_json_root(doc), "text"));
        must(kd_tokenizer_encode(t, &ids, text.data, text.len, KD_TOK_PARSE_SPECIAL, er));
        const kd_json_node *want = kd_json_get(kd_json_root(doc), "tokens");
        assert_int_equal(ids.n, kd_json_count(want));
        size_t i = 0;
        for (const kd_json_node *n = kd_json_first(want); n; n = kd_json_next(n), i++)
            assert_int_equal(ids.id[i], (int)kd_json_number(n, -1));
        kd_ids_clear(&ids);
        kd_json_free(doc);
    }
    assert_true(texts > 20);
    kd_tokenizer_free(t);
    kd_buf_clear(&b);
}

static kd_config config_of(const char *dir) {
    char path[300];
    kd_buf b = {0};
    kd_config c;
    snprintf(path, sizeof path, "%s/config.json", dir);
    must(kd_file_read(&b, path, 1 << 20, er));
    must(kd_config_from_json(&c, b.data, b.len, path, er));
    kd_buf_clear(&b);
    return c;
}

static void same_files(const char *a, const char *b) {
    kd_buf x = {0}, y = {0};
    must(kd_file_read(&x, a, 1 << 22, er));
    must(kd_file_read(&y, b, 1 << 22, er));
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    kd_buf_clear(&x);
    kd_buf_clear(&y);
}

static void there_and_back(void **state) {
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        const char *src = oracle(MODELS[m], NULL);
        char back[128];
        must(convert(src, temp("b.gguf"), NULL, NULL, er));
        snprintf(back, sizeof back, "%s/%s", temp_dir, MODELS[m]);
        must(convert(temp("b.gguf"), back, NULL, NULL, er));
        assert_true(same(src, temp("b.gguf")));
        assert_true(same(src, back));
        check_tokens(temp("b.gguf"), MODELS[m]);
        check_tokens(back, MODELS[m]);
        kd_config a = config_of(src), b = config_of(back);
        assert_int_equal(a.tied, b.tied);
        assert_int_equal(a.bos, b.bos);
        assert_int_equal(a.eos[0], b.eos[0]);
        assert_int_equal(a.rope.kind, b.rope.kind);
        char x[160];
        snprintf(x, sizeof x, "%s/chat_template.jinja", back);
        same_files(oracle(MODELS[m], "chat_template.jinja"), x);
        /* a folder that holds a model may be written over, and once more from itself gives the same */
        must(convert(src, back, NULL, NULL, er));
        assert_true(same(src, back));
        assert_false(kd_file_exists(temp("b.gguf.partial")));
    }
}

/* A GGUF file of others: our own notes in it taken out, so that config.json must be made from keys and tensors. */
static void from_others(void **state) {
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        kd_gguf *g;
        kd_gguf_writer *w;
        char back[128];
        must(convert(oracle(MODELS[m], NULL), temp("c.gguf"), NULL, NULL, er));
        must(kd_gguf_open(&g, temp("c.gguf"), er));
        must(kd_gguf_writer_new(&w, temp("d.gguf"), 0, er));
        for (size_t i = 0; i < kd_gguf_count(g); i++)
            if (!kd_str_starts(kd_gguf_at(g, i)->key, "distill.")) must(kd_gguf_writer_copy(w, kd_gguf_at(g, i), er));
        const kd_tensors *set = kd_gguf_tensors(g);
        for (size_t i = 0; i < kd_tensors_count(set); i++) {
            const kd_tensor *t = kd_tensors_at(set, i);
            must(kd_gguf_writer_declare(w, t->name.data, t->type, t->ndim, t->shape, NULL, er));
        }
        must(kd_gguf_writer_begin(w, er));
        for (size_t i = 0; i < kd_tensors_count(set); i++)
            must(kd_gguf_writer_put(w, i, kd_tensors_at(set, i)->data, kd_tensors_at(set, i)->bytes, er));
        must(kd_gguf_writer_commit(w, er));
        kd_gguf_writer_free(w);
        kd_gguf_close(g);
        snprintf(back, sizeof back, "%s/others-%s", temp_dir, MODELS[m]);
        must(convert(temp("d.gguf"), back, NULL, NULL, er));
        assert_true(same(oracle(MODELS[m], NULL), back));
        check_tokens(back, MODELS[m]);
        kd_config a = config_of(oracle(MODELS[m], NULL)), b = config_of(back);
        float fa[64], fb[64], sa, sb;
        kd_config_inv_freq(&a, fa, &sa);
        kd_config_inv_freq(&b, fb, &sb);
        for (uint32_t i = 0; i < a.D / 2; i++) assert_true(fabsf(fa[i] - fb[i]) <= 2e-6f * fabsf(fa[i]));
    }
}

static void mixes(void **state) {
    (void)state;
    kd_buf b = {0};
    size_t lines = 0;
    must(kd_file_read(&b, "tests/convert/golden/mixes.txt", 1 << 20, er));
    for (char *save = NULL, *line = strtok_r(b.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save), lines++) {
        char mix[16], name[64], want[16];
        int tied, G;
        kd_role r;
        uint32_t layer;
        assert_int_equal(sscanf(line, "%15s %d %d %63s %15s", mix, &tied, &G, name, want), 5);
        kd_config c = {.arch = KD_LLAMA, .L = 16, .H = 4, .G = (uint32_t)G, .D = 64, .C = 256, .F = 512, .V = 64, .tied = tied != 0};
        assert_true(kd_name_parse(name, true, &r, &layer));
        kd_dtype got = kd_convert_type_of(kd_convert_type_named(mix), &c, r, layer, r == KD_DOWN ? 512 : 256);
        if (strcmp(kd_dtype_get((int)got)->name, want))
            fail_msg("%s of %s, tied %d, %d kv heads: %s, llama.cpp has %s", name, mix, tied, G, kd_dtype_get((int)got)->name, want);
    }
    assert_int_equal(lines, 2387);
    kd_buf_clear(&b);
    /* llama.cpp's fallbacks, seen on SmolLM2 (576 = 18 * 32), and F16 where nothing divides */
    kd_config c = {.arch = KD_LLAMA, .L = 30, .H = 9, .G = 3, .D = 64, .C = 576, .F = 1536, .V = 64, .tied = true};
    assert_int_equal(kd_convert_type_of(kd_convert_type_named("q4_k_m"), &c, KD_Q, 9, 576), KD_Q5_0);
    assert_int_equal(kd_convert_type_of(kd_convert_type_named("q4_k_m"), &c, KD_EMBED, 0, 576), KD_Q8_0);
    assert_int_equal(kd_convert_type_of(kd_convert_type_named("q4_k_m"), &c, KD_DOWN, 0, 1536), KD_Q6_K);
    assert_int_equal(kd_convert_type_of(kd_convert_type_named("q4_k"), &c, KD_Q, 9, 576), KD_F16);
    assert_int_equal(kd_convert_type_of(kd_convert_type_named("Q8_0"), &c, KD_Q, 9, 40), KD_F16);
}

/* Largest deviation of the log-probabilities of a model from an oracle's. */
static double deviation(const char *path, const kd_json_node *tokens, const kd_json_node *want) {
    kd_model *m;
    kd_scorer *s;
    int32_t id[512];
    size_t n = 0;
    const float *z;
    double worst = 0;
    must(kd_model_open(&m, path, er));
    must(kd_scorer_new(&s, m, NULL, &(kd_score_options){0}, pool, er));
    for (const kd_json_node *t = kd_json_first(tokens); t; t = kd_json_next(t)) id[n++] = (int32_t)kd_json_number(t, -1);
    kd_scorer_begin(s);
    const kd_json_node *lp = kd_json_first(want);
    for (size_t i = 0; i + 1 < n; i++, lp = kd_json_next(lp)) {
        must(kd_scorer_feed(s, id + i, 1, &z, er));
        double got = (double)z[id[i + 1]] - kd_logsumexp(z, m->config.V), d = fabs(got - kd_json_number(lp, NAN));
        worst = d > worst || isnan(d) ? d : worst;
    }
    kd_scorer_free(s);
    kd_model_free(m);
    return worst;
}

static void merged(void **state) {
    (void)state;
    static const char *const KINDS[] = {"lora", "rslora", "dora"};
    for (int m = 0; m < N_MODELS; m++) {
        kd_json *doc = parse_file(oracle(MODELS[m], "trajectories.json"));
        kd_buf b = {0};
        kd_json *seq;
        must(kd_file_read(&b, oracle(MODELS[m], "sequences.jsonl"), 1 << 20, er));
        char *second = strchr(b.data, '\n') + 1;
        must(kd_json_parse(&seq, second, strcspn(second, "\n"), "sequences", er));
        for (int k = 0; k < 3; k++) {
            char end[32];
            snprintf(end, sizeof end, "%s-end", KINDS[k]);
            const kd_json_node *want = kd_json_get(kd_json_get(kd_json_root(doc), KINDS[k]), "logprobs_of_sequence_1_at_end");
            const kd_json_node *tokens = kd_json_get(kd_json_root(seq), "tokens");
            assert_int_equal(kd_json_count(want) + 1, kd_json_count(tokens));
            must(convert(oracle(MODELS[m], NULL), temp("m.gguf"), NULL, oracle(MODELS[m], end), er));
            must(convert(oracle(MODELS[m], NULL), temp("merged"), NULL, oracle(MODELS[m], end), er));
            double a = deviation(temp("m.gguf"), tokens, want), c = deviation(temp("merged"), tokens, want);
            if (!(a < 3e-5 && c < 3e-5)) fail_msg("%s %s: log-probabilities deviate by %g (GGUF), %g (folder)", MODELS[m], KINDS[k], a, c);
            assert_false(same(oracle(MODELS[m], NULL), temp("m.gguf")));
        }
        kd_json_free(seq);
        kd_json_free(doc);
        kd_buf_clear(&b);
    }
    /* --adapter takes a run folder too */
    char here[300], link_[300];
    assert_non_null(getcwd(here, sizeof here - 64));
    strcat(here, "/" ORACLE "qwen3-untied/dora-end");
    must(kd_mkdirs(temp("run"), er));
    snprintf(link_, sizeof link_, "%s", temp("run/adapter"));
    assert_int_equal(symlink(here, link_), 0);
    must(convert(oracle("qwen3-untied", NULL), temp("r.gguf"), NULL, temp("run"), er));
    assert_true(same(temp("r.gguf"), temp("m.gguf"))); /* the last one merged above */
}

/* The factors of a GGUF adapter, multiplied out as llama.cpp does it, are what merging adds to the base's GGUF. */
static void adapter_alone(void **state) {
    (void)state;
    static const char *const KINDS[] = {"lora-end", "rslora-end"};
    for (int m = 0; m < N_MODELS; m++)
        for (int k = 0; k < 2; k++) {
            kd_gguf *g, *base, *merged_;
            double alpha, worst = 0;
            size_t pairs = 0;
            char dir[256];
            snprintf(dir, sizeof dir, "%s", oracle(MODELS[m], KINDS[k]));
            const kd_convert_options o = {.adapter = dir};
            must(kd_convert_adapter(oracle(MODELS[m], NULL), temp("lora.gguf"), &o, false, NULL, er));
            must(convert(oracle(MODELS[m], NULL), temp("base.gguf"), "f32", NULL, er));
            must(convert(oracle(MODELS[m], NULL), temp("sum.gguf"), "f32", o.adapter, er));
            must(kd_gguf_open(&g, temp("lora.gguf"), er));
            must(kd_gguf_open(&base, temp("base.gguf"), er));
            must(kd_gguf_open(&merged_, temp("sum.gguf"), er));
            assert_true(kd_gguf_f64(g, "adapter.lora.alpha", &alpha) && alpha > 0);
            for (size_t i = 0; i < kd_tensors_count(kd_gguf_tensors(g)); i++) {
                const kd_tensor *a = kd_tensors_at(kd_gguf_tensors(g), i);
                char name[96];
                if (!kd_str_ends(a->name, ".lora_a")) continue;
                snprintf(name, sizeof name, "%.*s", (int)a->name.len - 7, a->name.data);
                const kd_tensor *w = kd_tensors_find(kd_gguf_tensors(base), name), *s = kd_tensors_find(kd_gguf_tensors(merged_), name);
                strcat(name, ".lora_b");
                const kd_tensor *b = kd_tensors_find(kd_gguf_tensors(g), name);
                assert_true(w && s && b && b->shape[0] == w->shape[0] && a->shape[1] == w->shape[1] && a->shape[0] == b->shape[1]);
                const float *fa = a->data, *fb = b->data, *fw = w->data, *fs = s->data;
                size_t r = a->shape[0], in = a->shape[1];
                for (size_t y = 0; y < b->shape[0]; y++)
                    for (size_t x = 0; x < in; x++) {
                        double d = 0;
                        for (size_t q = 0; q < r; q++) d += (double)fb[y * r + q] * (double)fa[q * in + x];
                        double off = fabs((double)fs[y * in + x] - (double)fw[y * in + x] - alpha / (double)r * d);
                        worst = off > worst ? off : worst;
                    }
                pairs++;
            }
            assert_int_equal(pairs, kd_tensors_count(kd_gguf_tensors(g)) / 2);
            assert_true(pairs >= 14);
            if (worst > 3e-7) fail_msg("%s %s: off by %g", MODELS[m], KINDS[k], worst);
            kd_gguf_close(g);
            kd_gguf_close(base);
            kd_gguf_close(merged_);
            /* and into PEFT's layout again: the same merge */
            must(kd_convert_adapter(oracle(MODELS[m], NULL), temp("peft"), &o, false, NULL, er));
            must(convert(oracle(MODELS[m], NULL), temp("again.gguf"), "f32", temp("peft"), er));
            assert_true(same(temp("sum.gguf"), temp("again.gguf")));
            must(kd_remove_tree(temp("peft"), er));
        }
    kd_err e = {0};
    const kd_convert_options dora = {.adapter = oracle("qwen2-tied", "dora-end")}, none = {0};
    assert_int_equal(kd_convert_adapter(oracle("qwen2-tied", NULL), temp("no.gguf"), &dora, false, NULL, &e), KD_EUNSUPPORTED);
    assert_non_null(strstr(e.msg, "DoRA"));
    assert_int_equal(kd_convert_adapter(oracle("qwen2-tied", NULL), temp("no.gguf"), &none, false, NULL, &e), KD_EINVAL);
    assert_false(kd_file_exists(temp("no.gguf")));
}

static bool holds(const char *path, const char *text) {
    kd_buf b = {0};
    must(kd_file_read(&b, path, 1 << 20, er));
    bool yes = strstr(b.data, text) != NULL;
    kd_buf_clear(&b);
    return yes;
}
static void put_file(const char *path, const char *text) { must(kd_file_write(path, text, strlen(text), er)); }

/* Names, licence, base and lineage reach keys and cards, and what a file says cannot write into the card's structure. */
static void cards(void **state) {
    (void)state;
    kd_gguf *g;
    kd_str s;
    char here[300];
    must(convert(oracle("qwen2-tied", NULL), temp("carded"), NULL, NULL, er));
    put_file(temp("carded/README.md"), "---\nlicense: mit\nbase_model:\n- some/Base-0.1B\n---\n# Mine\n");
    must(convert(temp("carded"), temp("card.gguf"), NULL, NULL, er));
    must(kd_gguf_open(&g, temp("card.gguf"), er));
    assert_true(kd_gguf_str(g, "general.license", &s) && kd_str_is(s, "mit"));
    assert_true(kd_gguf_str(g, "general.base_model.0.name", &s) && kd_str_is(s, "Base 0.1B"));
    assert_true(kd_gguf_str(g, "general.base_model.0.repo_url", &s) && kd_str_is(s, "https://huggingface.co/some/Base-0.1B"));
    kd_gguf_close(g);
    must(convert(temp("carded"), temp("carded2"), "bf16", NULL, er));
    same_files(temp("carded/README.md"), temp("carded2/README.md")); /* the same model: its own card */
    must(convert(temp("card.gguf"), temp("carded3"), NULL, NULL, er));
    assert_true(holds(temp("carded3/README.md"), "license: \"mit\"\nbase_model: \"some/Base-0.1B\"\n"));
    /* a run */
    must(kd_mkdirs(temp("taught"), er));
    const kd_convert_options from = {.adapter = oracle("qwen2-tied", "rslora-end")};
    assert_non_null(getcwd(here, sizeof here - 64));
    strcat(here, "/" ORACLE "qwen2-tied");
    must(kd_convert_adapter(here, temp("taught/adapter"), &from, false, NULL, er)); /* names its base */
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "model: \"%s\"\nselect: \"math = 'right' | `x`\"\nlora-rank: 4\n# base: %s\n# lessons: 7\n# lessons_sha256: 0123abcd\n", here,
             here);
    put_file(temp("taught/config.yaml"), yaml);
    must(convert(temp("taught"), temp("taught.gguf"), "q8_0", NULL, er));
    must(kd_gguf_open(&g, temp("taught.gguf"), er));
    assert_true(kd_gguf_str(g, "distill.adapter", &s) && kd_str_is(s, "rslora"));
    assert_true(kd_gguf_str(g, "distill.study.sha256", &s) && kd_str_is(s, "0123abcd"));
    assert_true(kd_gguf_str(g, "distill.study.select", &s) && kd_str_is(s, "math = 'right' | `x`"));
    assert_true(kd_gguf_str(g, "distill.run", &s) && kd_str_is(s, "taught"));
    assert_true(kd_gguf_str(g, "general.name", &s) && kd_str_is(s, "taught"));
    assert_true(kd_gguf_str(g, "general.base_model.0.name", &s) && kd_str_is(s, "qwen2 tied"));
    kd_gguf_close(g);
    must(convert(temp("taught"), temp("taught-folder"), NULL, NULL, er));
    assert_true(holds(temp("taught-folder/README.md"), "base_model: \"qwen2 tied\"\n"));
    assert_true(holds(temp("taught-folder/README.md"), "| selection | `math = 'right'    x ` |\n"));
    assert_true(holds(temp("taught-folder/README.md"), "    lora-rank: 4\n"));
    /* onto a GGUF base: the base is named, and no longer the name */
    must(convert(oracle("qwen2-tied", NULL), temp("plain.gguf"), NULL, NULL, er));
    const kd_convert_options o = {.adapter = temp("taught"), .name = "pupil"};
    must(kd_convert(temp("plain.gguf"), temp("pupil.gguf"), &o, false, pool, NULL, NULL, er));
    must(kd_gguf_open(&g, temp("pupil.gguf"), er));
    assert_true(kd_gguf_str(g, "general.name", &s) && kd_str_is(s, "pupil"));
    assert_true(kd_gguf_str(g, "general.base_model.0.name", &s) && kd_str_is(s, "qwen2 tied"));
    kd_gguf_close(g);
}

static void every_type(void **state) {
    (void)state;
    for (size_t i = 0; kd_convert_type_at(i); i++) {
        const kd_convert_type *t = kd_convert_type_at(i);
        kd_convert_result r = {0};
        uint64_t size;
        must(kd_convert(oracle("qwen3-untied", NULL), temp("t.gguf"), &(kd_convert_options){.type = t->name}, false, pool, NULL, &r, er));
        assert_int_equal(r.tensors, 36);
        must(kd_file_size(temp("t.gguf"), &size, er));
        assert_int_equal(size, r.bytes_out);
        kd_model *m;
        must(kd_model_open(&m, temp("t.gguf"), er));
        uint32_t ft;
        assert_true(kd_gguf_u32(kd_model_gguf(m), "general.file_type", &ft) && (int)ft == t->file_type);
        kd_model_free(m);
        /* once more into itself: blocks are copied, not quantized twice */
        must(convert(temp("t.gguf"), temp("u.gguf"), NULL, NULL, er));
        assert_true(same(temp("t.gguf"), temp("u.gguf")));
    }
}

static void split(void **state) {
    (void)state;
    kd_convert_options o = {.split_bytes = 50000};
    must(kd_convert(oracle("qwen2-tied", NULL), temp("s.gguf"), &o, false, pool, NULL, NULL, er));
    assert_true(kd_file_exists(temp("s-00001-of-00004.gguf")));
    assert_true(same(oracle("qwen2-tied", NULL), temp("s-00002-of-00004.gguf")));
    must(kd_convert(temp("s-00001-of-00004.gguf"), temp("sharded"), &o, false, pool, NULL, NULL, er));
    assert_true(kd_file_exists(temp("sharded/model.safetensors.index.json")));
    assert_true(same(oracle("qwen2-tied", NULL), temp("sharded")));
}

static void refuses(void **state) {
    (void)state;
    const char *src = oracle("qwen2-tied", NULL);
    kd_err e = {0};
    assert_int_equal(convert(src, temp("x.gguf"), "q9_9", NULL, &e), KD_EINVAL);
    assert_int_equal(convert(src, temp("x"), "q8_0", NULL, &e), KD_EINVAL);
    assert_int_equal(convert(temp("nothing"), temp("x"), NULL, NULL, &e), KD_ENOENT);
    /* a folder with other things in it stays */
    must(kd_mkdirs(temp("thesis"), er));
    must(kd_file_write(temp("thesis/chapter1.tex"), "x", 1, er));
    assert_int_equal(convert(src, temp("thesis"), NULL, NULL, &e), KD_ECREATE);
    assert_non_null(strstr(e.msg, "chapter1.tex"));
    assert_true(kd_file_exists(temp("thesis/chapter1.tex")));
    /* NaN in a weight: named, refused, and nothing left behind; allowed when asked */
    kd_safetensors *s;
    kd_safetensors_writer *w;
    must(convert(src, temp("nan"), NULL, NULL, er));
    must(kd_safetensors_open(&s, temp("nan"), er));
    must(kd_safetensors_writer_new(&w, temp("nan/model.safetensors"), 0, er));
    const kd_tensors *set = kd_safetensors_tensors(s);
    for (size_t i = 0; i < kd_tensors_count(set); i++)
        must(kd_safetensors_writer_declare(w, kd_tensors_at(set, i)->name.data, KD_F32, kd_tensors_at(set, i)->ndim,
                                           kd_tensors_at(set, i)->shape, NULL, er));
    must(kd_safetensors_writer_begin(w, er));
    for (size_t i = 0; i < kd_tensors_count(set); i++) {
        const kd_tensor *t = kd_tensors_at(set, i);
        float *v = malloc(t->bytes);
        memcpy(v, t->data, t->bytes);
        if (!strcmp(t->name.data, "model.layers.1.mlp.up_proj.weight")) v[77] = NAN;
        must(kd_safetensors_writer_put(w, i, v, t->bytes, er));
        free(v);
    }
    must(kd_safetensors_writer_commit(w, er));
    kd_safetensors_writer_free(w);
    kd_safetensors_close(s);
    assert_int_equal(convert(temp("nan"), temp("n.gguf"), NULL, NULL, &e), KD_EFORMAT);
    assert_non_null(strstr(e.msg, "blk.1.ffn_up.weight"));
    assert_false(kd_file_exists(temp("n.gguf")));
    kd_convert_result r;
    must(kd_convert(temp("nan"), temp("n.gguf"), &(kd_convert_options){.allow_nonfinite = true}, false, pool, NULL, &r, er));
    assert_int_equal(r.nonfinite, 1);
    kd_buf b = {0};
    kd_jsonw j = {.out = &b};
    size_t faults = 0;
    must(kd_inspect(&j, temp("n.gguf"), KD_INSPECT_VERIFY | KD_INSPECT_TENSORS | KD_INSPECT_KEYS | KD_INSPECT_HASHES, pool, &faults, er));
    assert_int_equal(faults, 1);
    assert_non_null(strstr(b.data, "tensor blk.1.ffn_up.weight: 1 values"));
    kd_buf_clear(&b);
    /* a plan writes nothing */
    must(kd_convert(src, temp("plan.gguf"), &(kd_convert_options){.type = "q8_0"}, true, pool, NULL, &r, er));
    assert_true(r.bytes_out > 0 && !kd_file_exists(temp("plan.gguf")));
    char **names;
    size_t n;
    must(kd_list_dir(temp_dir, &names, &n, er));
    for (size_t i = 0; i < n; i++) assert_null(strstr(names[i], ".tmp-"));
    kd_names_free(names, n);
}

static int stop_now(void *ctx) {
    int *left = ctx;
    return (*left)-- > 0 ? 0 : KD_EINTERRUPT;
}

static void interrupted(void **state) {
    (void)state;
    int left = 0;
    kd_watch w = {.stop = stop_now, .ctx = &left};
    kd_err e = {0};
    must(kd_remove_tree(temp("i.gguf"), er));
    assert_int_equal(kd_convert(oracle("qwen2-tied", NULL), temp("i.gguf"), &(kd_convert_options){0}, false, pool, &w, NULL, &e),
                     KD_EINTERRUPT);
    assert_false(kd_file_exists(temp("i.gguf")));
    assert_int_equal(kd_convert(oracle("qwen2-tied", NULL), temp("i"), &(kd_convert_options){0}, false, pool, &w, NULL, &e), KD_EINTERRUPT);
    assert_false(kd_is_dir(temp("i")));
    assert_false(kd_is_dir(temp("i.partial")));
}

static void no_memory(void **state) {
    (void)state;
    const char *src = oracle("llama-untied-spm", NULL);
    for (int way = 0; way < 3; way++)
        for (long n = 1;; n = n < 64 ? n + 1 : n + 29) {
            kd_err e = {0};
            kd_alloc_fail_at(n);
            kd_code c = kd_convert(way == 2 ? temp("mem.gguf") : src, temp(way ? "mem-folder" : "mem.gguf"),
                                   &(kd_convert_options){.adapter = way == 1 ? ORACLE "llama-untied-spm/dora-end" : NULL}, false, NULL,
                                   NULL, NULL, &e);
            bool reached = kd_alloc_count() >= n;
            kd_alloc_fail_at(0);
            if (!reached) {
                assert_int_equal(c, KD_OK);
                break;
            }
            if (c == KD_EBUG || (c != KD_OK && !e.msg[0])) fail_msg("allocation %ld: code %d, %s", n, c, e.msg);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_llama_cpp), cmocka_unit_test(there_and_back), cmocka_unit_test(from_others), cmocka_unit_test(mixes),
        cmocka_unit_test(merged),       cmocka_unit_test(adapter_alone),  cmocka_unit_test(cards),       cmocka_unit_test(every_type),
        cmocka_unit_test(split),        cmocka_unit_test(refuses),        cmocka_unit_test(interrupted), cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
