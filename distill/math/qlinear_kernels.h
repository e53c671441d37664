/* distill/math/qlinear_kernels.h - panels of quantized weights for 8-bit products, and what the instruction sets' files offer. Private to
 * distill/math. Leans on nothing of ours.
 *
 * A panel is 16 rows. Its codes (unsigned integers) are interleaved by four columns: a vector of 64 bytes holds, for each of the 16 rows, the
 * codes of four columns, so that one multiply-add of bytes against four broadcast activations gives 16 outputs and nothing is ever summed across
 * lanes. A block is 32 columns, eight such steps:
 *   8-bit codes  8 vectors, step s in vector s
 *   4-bit codes  4 vectors, step s in the low nibbles of vector s, step s + 4 in the high ones
 *   5-bit codes  4 vectors as above, then 8 words of 64 bits: bit i of word s is the fifth bit of byte i of step s
 * Weight = scale * (code - offset) + min; scale and min belong to 32 or to 16 columns (one or two a block), expanded to f32 before a tile runs. */
#ifndef KD_MATH_QLINEAR_KERNELS_H
#define KD_MATH_QLINEAR_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KD_QROWS = 16, KD_QBLOCK = 32, KD_QCOLS = 6 }; /* rows a panel, columns a block, x rows a tile at most */

typedef enum {
    KD_QK_4,  /* 4-bit codes */
    KD_QK_4M, /* with a min */
    KD_QK_4B, /* 4-bit codes into a book of signed bytes */
    KD_QK_5,  /* 5-bit codes */
    KD_QK_5M,
    KD_QK_8,  /* signed bytes, stored plus 128 (as they are where the machine multiplies through maddubs: kd_qkernels.signed_bytes) */
    KD_QK_6H, /* codes of at most 6 bits in bytes, scale of 16 columns */
    KD_QK_6HM,
    KD_QK_BF16, /* no codes: bf16, two columns a step (qlinear_bf16.c) */
    KD_QKINDS
} kd_qkind;
typedef enum { KD_QS_F16, KD_QS_BF16, KD_QS_SUPER, KD_QS_NONE, KD_QSCALES, KD_QS_EXPANDED = KD_QSCALES } kd_qscale;

/* How a stored type lies in panels. */
typedef struct {
    kd_qkind kind;
    kd_qscale scale;
    int offset;         /* taken off through the start of the integer sum */
    const int8_t *book; /* KD_QK_4B: 16 values */
} kd_qformat;
static inline size_t kd_qcode_bytes(kd_qkind k) { /* of a block */
    return k <= KD_QK_4B ? 256 : k <= KD_QK_5M ? 320 : k == KD_QK_BF16 ? 1024 : 512;
}
static inline bool kd_qhas_min(kd_qkind k) { return k == KD_QK_4M || k == KD_QK_5M || k == KD_QK_6HM; }
static inline size_t kd_qper(kd_qkind k) { /* scales a block */
    return k == KD_QK_6H || k == KD_QK_6HM ? 2 : 1;
}
/* Scales of 256 columns (KD_QS_SUPER: d f16[16], dmin f16[16] if min, then sub-scales int8[n][16], sub-mins int8[n][16] if min), or of one block
 * (f16 or bf16 [16], min f16[16] if min). */
static inline size_t kd_qscale_bytes(const kd_qformat *f) {
    if (f->scale == KD_QS_NONE) return 0;
    size_t n = f->scale == KD_QS_SUPER ? 32 + 8 * kd_qper(f->kind) * 16 : 32;
    return kd_qhas_min(f->kind) ? 2 * n : n;
}

/* 32 activations, a cache line, in bf16 where weights are, or in 8 bits: x = d * q, |q| <= 127. For the columns of each scale (one of 32 or two of 16), the sum of their q:
 * times -offset (start, where the integer sum begins), and times d (dsum, what a min is multiplied with). */
typedef struct {
    int8_t q[32];
    float d;
    int32_t start[2];
    float dsum[2];
    int32_t unused[3];
} kd_qact;
_Static_assert(sizeof(kd_qact) == 64, "a block of activations is a cache line");

/* A tile: P panels against M rows of activations; y[m * ldy + p * 16 + r] (+)= sum + bias. */
typedef struct {
    const uint8_t *codes[4];
    const void *scale[4]; /* a wide tile: as stored in the panel */
    const float *min[4];  /* others: scale and min expanded, f32 [blocks * per, 16] */
    const int8_t *book;
    size_t blocks;
    const kd_qact *x; /* rows of blocks */
    float *y;
    const float *bias; /* or NULL */
    size_t ldy, rows;  /* rows of y that there are, of P * 16 */
    bool accumulate;
} kd_qtile;
typedef void kd_qtile_fn(const kd_qtile *t);

/* Many rows of activations over a piece of two opened panels (qlinear_many.h for maddubs, qlinear_many512.h for VNNI). */
enum { KD_QPIECE = 8, KD_QMANY = 128 }; /* blocks opened at a time; rows that share an opening */
typedef struct {
    const int8_t *w[2];             /* [blocks, 8, 64], 64-byte aligned: code - offset; for VNNI the codes themselves */
    const int32_t *start[2];        /* [blocks * per, 16] -128 times their sum; not for VNNI, which begins with the activations' start */
    const float *scale[2], *min[2]; /* [blocks * per, 16] */
    const kd_qact *x;               /* rows of ldx blocks; codes as unsigned bytes q + 128, for VNNI as they are */
    float *acc;                     /* [N, 32] */
    const uint8_t *ahead[2];        /* what will be opened next, fetched meanwhile: as many bytes of each as ahead_bytes says */
    size_t blocks, ldx, N, ahead_bytes;
    bool first; /* sums begin at nought, not at acc */
} kd_qmany;
typedef void kd_qmany_fn(const kd_qmany *t);
typedef void kd_qopen_fn(const uint8_t *codes, size_t blocks, int offset, const int8_t *book, int8_t *w, int32_t *start);

typedef struct {
    const char *name;
    bool signed_bytes;
    kd_qtile_fn *wide[KD_QKINDS][KD_QSCALES];   /* four panels, one row; NULL where no type has such scales */
    kd_qtile_fn *tile[KD_QKINDS][KD_QCOLS + 1]; /* two panels, [M] rows; NULL where M is composed of smaller ones */
    void (*quantize)(kd_qact *out, const float *x, size_t blocks, int offset, size_t per);         /* one row */
    void (*scales)(float *scale, float *min, const void *src, const kd_qformat *f, size_t blocks); /* expands a panel's */
    kd_qopen_fn *open[KD_QKINDS]; /* NULL: a panel's codes are read where they lie */
    kd_qmany_fn *many[KD_QKINDS]; /* NULL: many rows go through the tiles too */
    size_t least;                 /* rows from which on that pays */
    bool unsigned_x;              /* the activations' codes plus 128 */
    /* y [N, rows <= 32] (+)= acc [N, 32] + bias */
    void (*finish)(const float *acc, size_t N, const float *bias, float *y, size_t ldy, size_t rows, bool accumulate);
} kd_qkernels;
#if defined(__x86_64__)
extern const kd_qkernels kd_qkernels_avx2, kd_qkernels_avxvnni, kd_qkernels_avx512vnni, kd_qkernels_avx512bf16;
#endif
const kd_qkernels *kd_qkernels_get(void); /* of this CPU, capped; NULL: none */

/* qpack.c: the format of a stored type; false if it has none. */
bool kd_qformat_of(int type, bool signed_bytes, kd_qformat *out);
#endif
