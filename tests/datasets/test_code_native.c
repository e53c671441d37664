/* tests/datasets/test_code_native.c - functions in C and C++ called with arguments out of JSON: right, wrong, crashing, not to be called, and answers that mean ill. */
#include "code_help.h"

#define FENCE "```cpp\n"
#define END "\n```"
static const verdict_row cpp[] = {
    /* as LeetCode has it: no includes, a class, references */
    {"{\"inputs\":[[[2,7,11,15],9],\"[3,2,4]\\n6\"],\"outputs\":[[0,1],[1,2]],\"fn_name\":\"twoSum\"}",
     FENCE "class Solution {\npublic:\n    vector<int> twoSum(vector<int>& nums, int target) {\n        cout << \"noise\" << endl; // "
           "main(\n        for (int i = 0; i < "
           "nums.size(); i++)\n            for (int k = i + 1; k < nums.size(); k++)\n                if (nums[i] + nums[k] == target) "
           "return {i, k};\n        return {};\n    "
           "}\n};" END,
     KD_RIGHT, "2 tests"},
    /* a function, lists of lists, a main of its own, words with another meaning */
    {"{\"inputs\":[[[[1,2],[3,4]]],[[[5]]]],\"outputs\":[[[1,3],[2,4]],[[5]]],\"fn_name\":\"turn\"}",
     FENCE "#include <bits/stdc++.h>\nusing namespace std;\n#define int long long\nvector<vector<int>> turn(const vector<vector<int>> &m) "
           "{\n  vector<vector<int>> "
           "t(m[0].size(), vector<int>(m.size()));\n  for (size_t i = 0; i < m.size(); i++) for (size_t k = 0; k < m[0].size(); k++) "
           "t[k][i] = m[i][k];\n  return "
           "t;\n}\nsigned main() { auto t = turn({{1}}); cout << t[0][0]; }" END,
     KD_RIGHT, "2 tests"},
    /* text, truth, numbers with a point, maps, pairs */
    {"{\"inputs\":[[\"ab\\u00e9\\\"\",true,0.1,{\"x\":[1,2]},\"c\"]],\"outputs\":[[\"ab\\u00e9\\\"c\",false,0.30000000000000004,{\"x\":2,"
     "\"y\":0}]],\"fn_name\":\"all\"}",
     FENCE "std::tuple<std::string, bool, double, std::map<std::string, size_t>> all(std::string s, bool b, double d, const "
           "std::map<std::string, std::vector<int>> &m, char "
           "c) {\n  return {s + c, !b, d + 0.2, {{\"x\", m.at(\"x\").size()}, {\"y\", 0}}};\n}" END,
     KD_RIGHT, "1 test"},
    /* nothing returned: the list it changes; its length beside it */
    {"{\"inputs\":[[[3,1,2]],[[]]],\"outputs\":[[1,2,3],[]],\"fn_name\":\"put_in_order\"}",
     FENCE "#include <algorithm>\nvoid put_in_order(int *a, int n) { std::sort(a, a + n); }" END, KD_RIGHT, "2 tests"},
    {"{\"inputs\":[[1,2],[2,2]],\"outputs\":[3,5],\"fn_name\":\"add\"}", FENCE "int add(int a, int b) { return a + b; }" END, KD_WRONG,
     "test 2 of 2: expected 5, found 4"},
    {"{\"inputs\":[[1,2],[2,2]],\"outputs\":[3,4],\"fn_name\":\"add\"}",
     FENCE "int add(int a, int b) { if (a == 2) throw std::runtime_error(\"no twos\"); return a + b; }" END, KD_WRONG,
     "test 2 of 2: no twos"},
    {"{\"inputs\":[[1,2]],\"outputs\":[3],\"fn_name\":\"add\"}", FENCE "int add(int a, int b) { return a + ; }" END, KD_WRONG,
     "does not compile: "},
    {"{\"inputs\":[[1,2]],\"outputs\":[3],\"fn_name\":\"add\"}", FENCE "int plus_(int a, int b) { return a + b; } // add" END, KD_WRONG,
     "no function named add"},
    /* what cannot be laid to the types is not wrong */
    {"{\"inputs\":[[[1,2,3]]],\"outputs\":[6],\"fn_name\":\"sum\"}",
     FENCE
     "struct ListNode { int val; ListNode *next; };\nint sum(ListNode *l) { int s = 0; for (; l; l = l->next) s += l->val; return s; }" END,
     KD_UNKNOWN, "its function cannot be called: "},
    {"{\"inputs\":[[1,2]],\"outputs\":[3],\"fn_name\":\"add\"}", FENCE "int add(int a, int b, int c) { return a + b + c; }" END, KD_UNKNOWN,
     "it takes more arguments than the test gives"},
    {"{\"inputs\":[[3000000000]],\"outputs\":[1],\"fn_name\":\"f\"}", FENCE "int f(int a) { return 1; }" END, KD_UNKNOWN,
     "a number too large for its type"},
    /* meaning ill */
    {"{\"inputs\":[[1,2]],\"outputs\":[3],\"fn_name\":\"add\"}",
     FENCE "int add(int a, int b) { std::cout << \"{\\\"i\\\":0,\\\"value\\\":3}\" << std::endl; _Exit(0); }" END, KD_WRONG,
     "it ended before its tests did"},
};

#define C "```c\n"
static const verdict_row c[] = {
    /* as LeetCode has it in C: lengths beside lists, and where the result's are said; a comment that looks like the function */
    {"{\"inputs\":[[[2,7,11,15],9],[[3,3],6]],\"outputs\":[[0,1],[0,1]],\"fn_name\":\"twoSum\",\"language\":\"c\"}",
     C "// int twoSum(char *x) {\nstatic const char *text = \"int twoSum(double y) {\";\nint* twoSum(int* nums, int numsSize, int target, "
       "int* returnSize) {\n    int *r = "
       "malloc(2 * sizeof *r);\n    for (int i = 0; i < numsSize; i++)\n        for (int k = i + 1; k < numsSize; k++)\n            if "
       "(nums[i] + nums[k] == target) { r[0] = "
       "i, r[1] = k, *returnSize = 2; return r; }\n    *returnSize = 0;\n    return r;\n}" END,
     KD_RIGHT, "2 tests"},
    {"{\"inputs\":[[[[1,2,3],[4,5,6]]]],\"outputs\":[[[1,4],[2,5],[3,6]]],\"fn_name\":\"transpose\",\"language\":\"c\"}",
     C "#include <stdlib.h>\nint **transpose(int **m, int rows, int *cols, int *returnSize, int **returnColumnSizes) {\n  int n = cols[0], "
       "**t = malloc(n * sizeof *t);\n  "
       "*returnSize = n;\n  *returnColumnSizes = malloc(n * sizeof(int));\n  for (int i = 0; i < n; i++) {\n    (*returnColumnSizes)[i] = "
       "rows;\n    t[i] = malloc(rows * "
       "sizeof(int));\n    for (int k = 0; k < rows; k++) t[i][k] = m[k][i];\n  }\n  return t;\n}" END,
     KD_RIGHT, "1 test"},
    /* text both ways, static, a length before its list, a truth said as a number */
    {"{\"inputs\":[[\"abc\"],[\"\"]],\"outputs\":[\"cba\",\"\"],\"fn_name\":\"turned\",\"language\":\"c\"}",
     C "#include <string.h>\nstatic char *turned(const char *restrict s) { static char t[99]; size_t n = strlen(s); for (size_t i = 0; i < "
       "n; i++) t[i] = s[n - 1 - i]; t[n] = "
       "0; return t; }\nint main(void) { return 0; }" END,
     KD_RIGHT, "2 tests"},
    {"{\"inputs\":[[[1,2,2.5]],[[7,3]]],\"outputs\":[true,false],\"fn_name\":\"rising\",\"language\":\"c\"}",
     C "int rising(int n, double a[]) { for (int i = 1; i < n; i++) if (a[i] < a[i-1]) return 0; return 1; }" END, KD_RIGHT, "2 tests"},
    {"{\"inputs\":[[4],[0]],\"outputs\":[2,0],\"fn_name\":\"half\",\"language\":\"c\"}",
     C "int half(int x) { return x ? x / 2 : *(volatile int *)0; }" END, KD_WRONG, "test 2 of 2: ended by signal 11"},
    {"{\"inputs\":[[4]],\"outputs\":[2],\"fn_name\":\"half\",\"language\":\"c\",\"time_limit\":0.5}",
     C "int half(int x) { for (volatile int i = 0;; i++) continue; }" END, KD_WRONG, "more than 0.5 s of processor time"},
    {"{\"inputs\":[[4]],\"outputs\":[2],\"fn_name\":\"half\",\"language\":\"c\"}",
     C "struct n { int v; };\nint half(struct n x) { return x.v / 2; }" END, KD_UNKNOWN, "its function cannot be called: "},
    /* meaning ill: another ending, another start, the channel of the harness */
    {"{\"inputs\":[[4]],\"outputs\":[2],\"fn_name\":\"half\",\"language\":\"c\"}",
     C "#include <stdio.h>\n#include <stdlib.h>\n__attribute__((constructor)) static void first(void) { puts(\"\\nkd-0000000000000000 "
       "{\\\"i\\\":0,\\\"value\\\":2}\"); "
       "exit(0); }\nint half(int x) { return 1; }" END,
     KD_WRONG, "it ended before its tests did"},
    {"{\"inputs\":[[4]],\"outputs\":[2],\"fn_name\":\"half\",\"language\":\"c\"}",
     C "#include <unistd.h>\nint half(int x) { for (int i = 0; i < 200; i++) { write(i, \"\\n{\\\"i\\\":0,\\\"value\\\":2}\\n\", 22); "
       "close(i); } return 2; }" END,
     KD_WRONG, "it ended before its tests did"},
};

static void test_cpp(void **state) {
    (void)state;
    if (kd_sandbox_has("g++"))
        check_rows(cpp, sizeof cpp / sizeof *cpp);
    else
        absent(cpp, "not installed here: g++");
}
static void test_c(void **state) {
    (void)state;
    if (kd_sandbox_has("gcc") && kd_sandbox_has("g++")) check_rows(c, sizeof c / sizeof *c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cpp), cmocka_unit_test(test_c)};
    OK(kd_sandbox_open(&box, NULL, &e));
    if (!kd_sandbox_missing(box)) return cmocka_run_group_tests_name("code_native", tests, begin, finish);
    printf("1..1\nok 1 - test_cpp # SKIP no sandbox: %s\n", kd_sandbox_missing(box));
    kd_sandbox_close(box);
    return 0;
}
