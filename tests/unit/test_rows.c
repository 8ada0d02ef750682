// SPDX-License-Identifier: Apache-2.0
// Row-wise groups against the interpreter: norms, views, rope, caches, quantised rows, several results.
#include "tests/unit/group_fixture.h"

static const int32_t tokens[64] = {3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 7, 11, 32, 38, 46, 26, 43, 37, 0, 10, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24};
static const int32_t one_segment[][8] = {{0, 0, 0, 13, 0, 0, 0, 0}};
static const BenchCall one_call = {one_segment, 1, tokens, NULL, 0};

#define HEAD "module \"m\" {\n graph @g {\n %tokens = input tokens : i32[T]\n %segments = input segments : i32[S, 8]\n"
#define ROWS(value, D)                                                                                                                   \
    "%w" value " = weight \"" value "\" : f32[48, " D "]\n"
#define EMBED(value, D)                                                                                                                  \
    "%" value " = fused %tokens, %w" value " {kind = embed} (%.a: i32[T], %.b: f32[48, " D "]) {\n %.c = embed %.a, %.b : f32[T, " D "]\n" \
    "yield %.c\n } : f32[T, " D "]\n"
#define TAIL " }\n}\n"

static void check(const char *text, uint32_t count, const char *const *names, double most) {
    Bench b = bench_open(text, 2, 2, 64, 64, 3);
    bench_run_interp(&b, &one_call);
    bench_run_program(&b, &one_call);
    for (uint32_t i = 0; i < count; i++) bench_compare(&b, names[i], most);
    bench_close(&b);
}

static void test_norm(void **state) {
    (void)state;
    check(HEAD ROWS("x", "100") ROWS("y", "100") "%n = weight \"n\" : f32[100]\n" EMBED("x", "100") EMBED("y", "100")
        "%2, %3 = fused %x, %y, %n {kind = rowwise} (%.a: f32[T, 100], %.b: f32[T, 100], %.c: f32[100]) {\n"
        "%.d = add %.a, %.b : f32[T, 100]\n %.e = rms_norm %.d, %.c {eps = 1e-06} : f32[T, 100]\n yield %.d, %.e\n } : f32[T, 100], f32[T, 100]\n"
        "return sum = %2, norm = %3\n" TAIL, 2, (const char *[]){"sum", "norm"}, 2e-14);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_norm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
