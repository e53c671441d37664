/* distill/cli/train_base.c - see train_base.h. Leans on base/file.h, base/clock.h, math/gemm.h. */
#include "distill/cli/train_base.h"

#include "convert/convert.h"
#include "distill/base/clock.h"
#include "distill/base/file.h"
#include "distill/math/gemm.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

kd_code kd_train_extension(kd_extension **out, kd_cli *cli, const kd_model *m, kd_err *e) {
    const kd_extend_options o = {.tokens = kd_opt_string(cli, "add-tokens"),
                                 .eos = kd_opt_string(cli, "eos"),
                                 .template_file = kd_opt_string(cli, "chat-template"),
                                 .rope_theta = kd_opt_float(cli, "rope-theta")};
    *out = NULL;
    if (!o.tokens && !o.eos && !o.template_file && o.rope_theta == 0) return KD_OK;
    const kd_code c = kd_extension_new(out, m, &o, e);
    if (!c && (*out)->known) kd_note(cli, "%u of the tokens to add are in the vocabulary already", (*out)->known);
    return c;
}

kd_code kd_train_install(const kd_extension *x, kd_model **m, const char *run, char *base, kd_err *e) {
    char *path = kd_path_join(run, (*m)->kind == KD_SOURCE_HF ? "base" : "base.gguf");
    kd_model *made = NULL;
    kd_code c = path ? KD_OK : kd_fail(e, KD_ENOMEM, "no memory for a path");
    if (!c && !kd_file_exists(path) && !kd_is_dir(path)) c = kd_extension_write(x, *m, path, e);
    if (!c) c = kd_model_open(&made, path, e);
    if (!c && made->config.V != x->V)
        c = kd_fail(e, KD_EFORMAT, "%s: expected %u rows of the vocabulary, found %u; --fresh starts over", path, x->V, made->config.V);
    if (!c && !realpath(path, base)) snprintf(base, PATH_MAX, "%s", path);
    if (!c) {
        kd_model_free(*m);
        *m = made;
    } else
        kd_model_free(made);
    kd_free(path);
    return c;
}

kd_code kd_train_preflight(const kd_cli *cli, const kd_model *m, const kd_extension *x, const kd_train_options *o, const kd_train_plan *p,
                           kd_err *e) {
    char need[32], have[32];
    const char *run = kd_opt_string(cli, "output");
    const bool full = o->method.method == KD_FULL;
    const uint64_t checkpoint = p->bytes[KD_MEM_PARAMS] + p->bytes[KD_MEM_OPTIMIZER] + (1u << 20);
    /* while a checkpoint is written those to keep are there, and the best */
    uint64_t bytes = checkpoint * ((uint64_t)kd_opt_int(cli, "keep") + 2) + p->bytes[KD_MEM_PARAMS] + (16u << 20), there = 0;
    char *base = kd_path_join(run, m->kind == KD_SOURCE_HF ? "base" : "base.gguf");
    if (!base) return kd_fail(e, KD_ENOMEM, "no memory for a path");
    if (x && !kd_file_exists(base) && !kd_is_dir(base)) bytes += x->bytes;
    kd_free(base);
    kd_code c = kd_disk_free(run, &there, e);
    if (!c && there < bytes)
        return kd_fail(e, KD_EIO, "%s: checkpoints and result need %s of disk, %s is free; --keep 1 needs less", run,
                       kd_human_bytes(bytes, need), kd_human_bytes(there, have));
    kd_buf text = {0};
    if (!c && full) c = kd_config_to_json(&text, &m->config, "float32", e);
    if (!c && full && m->config.rope.factors)
        c = kd_fail(e, KD_EUNSUPPORTED,
                    "%s: its rope factors have no words in config.json, so a fully trained model could not be saved; train an adapter",
                    m->path);
    kd_buf_clear(&text);
    return c;
}

void kd_train_export_check(kd_cli *cli, const char *base, kd_pool *pool) {
    kd_err why = {0};
    kd_convert_result r = {0};
    char *file = kd_path_join(kd_opt_string(cli, "output"), "student.gguf");
    const kd_code c = file ? kd_convert(base, file, &(kd_convert_options){0}, true, pool, NULL, &r, &why) : KD_OK;
    if (c != KD_OK) kd_warn(cli, "a GGUF file of this student cannot be made as things are: %s", why.msg);
    kd_free(file);
}

double kd_train_peak(kd_pool *pool, bool bf16) {
    enum { N = 640 };
    const kd_gemm g = {.pool = pool, .scratch = kd_aligned_alloc(64, kd_gemm_scratch(kd_pool_threads(pool))), .bf16 = bf16};
    float *a = kd_calloc((size_t)N * N, sizeof *a), *b = kd_calloc((size_t)N * N, sizeof *b), *c = kd_calloc((size_t)N * N, sizeof *c);
    double best = 0;
    if (g.scratch && a && b && c) {
        memset(g.scratch, 0, kd_gemm_scratch(kd_pool_threads(pool)));
        const kd_mat w = kd_mat_f32(b, N, N);
        for (int i = 0; i < 6; i++) {
            const double begin = kd_now();
            kd_gemm_y(&g, c, N, a, N, &w, NULL, N, 1, false);
            const double rate = 2.0 * N * N * N / (kd_now() - begin);
            if (i && rate > best) best = rate;
        }
    }
    kd_free(a);
    kd_free(b);
    kd_free(c);
    kd_free(g.scratch);
    return best;
}
