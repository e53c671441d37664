/* tests/distill/cli/test_serve_think.c - a thought is parted from its answer alike, wherever the pieces of a stream are cut. */
#include "distill/cli/serve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void cut_anywhere(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool opened;
        const char *thought, *answer;
    } cases[] = {
        {"Hello", false, "", "Hello"},
        {"  <b>Hello", false, "", "  <b>Hello"},
        {"<thin", false, "", "<thin"},
        {"", false, "", ""},
        {"<think>\nhm, 1 < 2 \n\n so\n</think>\n\nYes. </think> is a tag", false, "hm, 1 < 2 \n\n so", "Yes. </think> is a tag"},
        {"\n<think></think>Yes", false, "", "Yes"},
        {"\nhm </thing> so</think>\n\n  Yes\n", true, "hm </thing> so", "Yes\n"},
        {"cut of", true, "cut of", ""},
        {"cut of </thi", true, "cut of </thi", ""},
        {"<think>a\xc3\xa9</think>\xe2\x82\xac", false, "a\xc3\xa9", "\xe2\x82\xac"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        size_t n = strlen(cases[k].text);
        for (size_t a = 0; a <= n; a++)
            for (size_t b = a; b <= n; b++) {
                thinker t = {.at = cases[k].opened ? THINK_IN : THINK_MAYBE};
                kd_buf thought = {0}, answer = {0};
                const char *z = cases[k].text;
                assert_int_equal(think_push(&t, (kd_str){z, a}, false, &thought, &answer), KD_OK);
                assert_int_equal(think_push(&t, (kd_str){z + a, b - a}, false, &thought, &answer), KD_OK);
                assert_int_equal(think_push(&t, (kd_str){z + b, n - b}, false, &thought, &answer), KD_OK);
                assert_int_equal(think_push(&t, (kd_str){"", 0}, true, &thought, &answer), KD_OK);
                assert_string_equal(thought.len ? (thought.data[thought.len] = 0, thought.data) : "", cases[k].thought);
                assert_string_equal(answer.len ? (answer.data[answer.len] = 0, answer.data) : "", cases[k].answer);
                kd_buf_clear(&t.held), kd_buf_clear(&thought), kd_buf_clear(&answer);
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cut_anywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
