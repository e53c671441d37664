/* datasets/near_dup.h - which of many texts are the same or nearly: MinHash signatures banded (LSH) over shingles of words. Leans on scan.h, base/pool.h.
 * Private to datasets. Memory: four bytes a shingle (about a word) and some 40 a text, kept; 16 a text more while a band is looked at. */
#ifndef KD_DATASETS_NEAR_DUP_H
#define KD_DATASETS_NEAR_DUP_H

#include "datasets/scan.h"
#include "distill/base/event.h"
#include "distill/base/pool.h"

enum { KD_SHINGLE = 5, KD_BANDS = 21, KD_BAND_ROWS = 6 }; /* words; at Jaccard 0.8 a pair is met with 0.998, at 0.5 with 0.28 */

typedef struct kd_near_dup kd_near_dup;
kd_code kd_near_dup_new(kd_near_dup **out, kd_err *e);
void kd_near_dup_free(kd_near_dup *d);
kd_code kd_near_dup_add(kd_near_dup *d, kd_str text, kd_err *e); /* texts are numbered from 0 */
size_t kd_near_dup_count(const kd_near_dup *d);

typedef struct {
    uint32_t first;   /* the lowest number of its cluster; its own if nothing before it is like it */
    uint32_t like;    /* the text that it was found alike to */
    float similarity; /* Jaccard of the two sets of shingles; 1 also where the words are the same */
} kd_near_like;
typedef struct {
    uint64_t exact, near; /* texts with the same words as one before, and others with a Jaccard of threshold or more */
    uint64_t compared;    /* pairs whose sets were compared, of candidates met */
    uint64_t candidates;
} kd_near_report;
/* likes [count]: clusters by union of pairs. Candidates are met in bands, passed by SimHash (Hamming distance of 64 bits), and measured exactly. In a
 * crowded bucket a text is compared with the first texts of up to 32 clusters. The same result for every number of threads.
 * threshold within (0, 1]. Errors: KD_ENOMEM, KD_EINVAL, and what the watch says. Source: Broder 1997; Charikar 2002; Leskovec et al., Mining of Massive
 * Datasets, chapter 3. Test: tests/datasets/test_near_dup.c against all pairs. */
kd_code kd_near_dup_find(kd_near_dup *d, double threshold, kd_pool *pool, kd_near_like *likes, const kd_watch *w, kd_near_report *r,
                         kd_err *e);
double kd_near_dup_jaccard(const kd_near_dup *d, size_t a, size_t b);

#endif
