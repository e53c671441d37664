/* tests/datasets/fuzz_scan.c - any bytes through the walk over a text and what is measured of it; malformed UTF-8 too. */
#include "datasets/against.h"
#include "datasets/language.h"
#include "datasets/measures.h"
#include "datasets/near_dup.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static kd_lexicon *lexicon;
    kd_scan_room room = {0};
    kd_scan scan;
    kd_telling told;
    double v = 0, c = 0;
    char *exact = malloc(n + 1); /* a byte too far is seen */
    if (!exact || (!lexicon && kd_lexicon_new(&lexicon, NULL))) abort();
    memcpy(exact, data, n);
    const kd_str t = {exact, n};
    if (kd_scan_text(&scan, &room, t, NULL)) abort();
    for (size_t i = 0; i < scan.n_words; i++)
        if (scan.words[i].start >= scan.words[i].end || scan.words[i].end > n || (i && scan.words[i].start < scan.words[i - 1].end))
            abort();
    kd_language_tell(&told, lexicon, &scan, t, n ? data[0] % 40 - 1 : -1);
    if (!(told.share >= 0 && told.share <= 1) || told.waits > told.turns || told.corrections > told.turns) abort();
    if (kd_measure_repeats(&v, &scan, &room, t, NULL) || !(v >= 0 && v <= 1)) abort();
    kd_scan_room other = {0};
    if (kd_measure_copied(&c, &scan, &scan, &other, NULL) || (scan.n_words >= KD_WINDOW && c != 1)) abort();
    (void)kd_measure_format(KD_THOUGHT_NONE, &scan, &scan);
    (void)kd_measure_truncated(KD_THOUGHT_NONE, KD_STR("stop"), &scan, t);
    (void)kd_measure_refusal(t);
    kd_against *a = NULL;
    kd_contamination taken;
    if (kd_against_new(&a, NULL) || kd_against_add(a, t, "f", 1, NULL) || kd_against_look(a, &other, t, &taken, NULL)) abort();
    if (taken.share < 0 || taken.share > 1 || (scan.n_words && taken.share != 1)) abort();
    kd_against_free(a);
    kd_scan_room_clear(&other);
    kd_scan_room_clear(&room);
    free(exact);
    return 0;
}
