// SPDX-License-Identifier: Apache-2.0
// What the tests of the chunked delta rule would notice: each kernel with one operation changed gives a wrong result. And what no
// result shows: that exponentials are taken of non-positive numbers only.
#include "tests/unit/delta_fixture.h"

#include "tests/support/change_kernel.h"
#include "tests/support/folder.h"

#include <sys/wait.h>

static bool named(const KirFn *kernel, const char *prefix) { return !strncmp(kir_name(kernel), prefix, strlen(prefix)); }
static bool of_chunks(const KirFn *kernel) { return named(kernel, "delta_prep") || named(kernel, "delta_chunk"); }

static Bench open_with(const char *text, void (*visit)(void *user, KirFn *kernel), void *user) {
    bench_options.visit = visit, bench_options.user = user;
    Bench bench = bench_open(text, 3, 2, MOST, MOST, 3);
    bench_options.visit = NULL;
    return bench;
}

enum { CALLS = 2, SEGMENTS = 3 };
static const int32_t calls[CALLS][SEGMENTS][8] = {{{2, 0, 0, 67, 0, 1}, {0, 0, 67, 3, 1, 0}, {1, 0, 70, 33, 0, 0}},
                                                  {{0, 3, 0, 37, 0, 1}, {2, 67, 37, 0, 1, 0}, {1, 33, 37, 64, 0, 1}}};

static BenchCall call_number(int i) { return (BenchCall){calls[i], SEGMENTS, some_tokens(5 * i), NULL, 0}; }

// ---- mutations -------------------------------------------------------------------------------------------------

typedef struct Mutant { const char *kernel; int64_t number; HdBuf list; } Mutant;   // number -1: unchanged, and listed

enum { WRONG = 1, INVALID };   // exit codes of a mutant's process; 0: it gave right results

static void mutate(void *user, KirFn *kernel) {
    Mutant *mutant = user;
    if (!named(kernel, mutant->kernel)) return;
    kc_mutate(kernel, mutant->number, &mutant->list);
    HdStatus *status = kir_verify(kernel, KIR_SIMD);
    if (status) _exit(INVALID);
}

// The worst NMSE against the interpreter.
static double mutant_nmse(Mutant *mutant) {
    double worst = 0;
    Bench bench = open_with(CHUNKS("32", "2", "4", "16", "16", "32", "64", "mod", "16"), mutate, mutant);
    set_decays(&bench, &all_decays[3]);
    for (int i = 0; i < CALLS; i++) {
        BenchCall call = call_number(i);
        bench_run_interp(&bench, &call);
        bench_run_program(&bench, &call);
        double errors[] = {bench_nmse(&bench, "o"), prepared_nmse(&bench, &call, 32)};
        for (int e = 0; e < 2; e++)
            if (!(errors[e] <= worst)) worst = errors[e] >= 0 ? errors[e] : INFINITY;    // a NaN would be overtaken
    }
    bench_close(&bench);
    return worst;
}

// In a process of its own, as it may write anywhere, or not end: that is noticed, too. Every test of the chunked form has a bound
// of at most 1e-10.
static bool is_noticed(const char *kernel, int64_t number) {
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        alarm(20);
        close(STDERR_FILENO);
        _exit(mutant_nmse(&(Mutant){kernel, number, {0}}) <= 1e-10 ? 0 : WRONG);
    }
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == INVALID) fail_msg("%s: mutation %d is no kernel", kernel, (int)number);
    return WIFSIGNALED(status) || WEXITSTATUS(status) == WRONG;
}

// Mutants that do what the kernel should.
static const struct { const char *kernel, *what, *why; } equivalent[] = {
    {"delta_prep", "bound of cmp 1", "the chunk after a segment's last is the next segment's, or has no tokens"},
    {"delta_prep", "bound of cmp 3", "loops over no tokens do nothing"},
    {"delta_chunk", "early of for 10", "what the last token brings does not decay: its factor is 1"},
};

static bool is_equivalent(const char *kernel, HdStr what) {
    for (size_t i = 0; i < HD_COUNT(equivalent); i++)
        if (!strcmp(equivalent[i].kernel, kernel) && hd_str_is(what, equivalent[i].what)) return true;
    return false;
}

static void check_mutants(const char *kernel, int64_t at_least) {
    Mutant none = {kernel, -1, {0}};
    double right = mutant_nmse(&none);
    if (!(right <= 2e-13)) fail_msg("NMSE %g", right);
    int64_t count = 0;
    for (const char *line = none.list.data, *end; (end = strchr(line, '\n')); line = end + 1, count++) {
        HdStr what = {line, (size_t)(end - line)};
        bool noticed = is_noticed(kernel, count), wanted = !is_equivalent(kernel, what);
        if (noticed != wanted) fail_msg("%s: %.*s: %s", kernel, (int)what.len, line, noticed ? "is noticed" : "is not noticed");
    }
    if (count < at_least) fail_msg("%s: %d mutants", kernel, (int)count);
    hd_buf_free(&none.list);
}

static void test_mutants_are_noticed(void **state) {
    (void)state;
    char folder[] = "delta_kernels_XXXXXX";
    bench_options = (CgOptions){.jobs = 1, .cache_dir = mkdtemp(folder)};     // what is not changed is compiled once
    check_mutants("delta_prep", 50);
    check_mutants("delta_chunk", 80);
    assert_int_equal(remove_folder(folder), 0);
}

// ---- exponentials ----------------------------------------------------------------------------------------------

// flip: the float sum to change into a difference first, counted over both kernels; -1: none. Sums are made of decays only.
typedef struct Watch { int64_t flip, sums; } Watch;

static void flip_sum(Watch *watch, KirFn *kernel) {
    KcOps ops = {0};
    kc_collect(kernel->entry, &ops);
    for (size_t i = 0; i < ops.list.len; i++) {
        KirOp *op = ops.list.data[i];
        if (kc_is_exp(kernel, op)) i += kc_exp_length() - 1;
        else if (op->kind == KIR_OP_add && kir_type(kernel, op->result).scalar == KIR_F32 && watch->sums++ == watch->flip)
            kc_apply(kernel, op, KC_SIGN);
    }
    hd_vec_free(&ops.list);
}

static void watch_kernel(void *user, KirFn *kernel) {
    if (!of_chunks(kernel)) return;
    flip_sum(user, kernel);
    kc_watch_exp(kernel);
}

// How many exponentials of positive arguments (or NaN) there are.
static float positive_arguments(Bench *bench, const Decays *decays) {
    memset(bench->run.notes, 0, sizeof bench->run.notes);
    set_decays(bench, decays);
    for (int i = 0; i < CALLS; i++) {
        BenchCall call = call_number(i);
        bench_run_program(bench, &call);
    }
    assert_true(bench->run.notes[1] > 100);
    return bench->run.notes[0];
}

static void test_exponents_are_not_positive(void **state) {
    (void)state;
    static const char *const texts[] = {CHUNKS("16", "2", "4", "16", "16", "32", "64", "mod", "16"),
                                        CHUNKS("32", "2", "4", "16", "16", "32", "64", "mod", "16"),
                                        CHUNKS("64", "2", "4", "16", "16", "32", "64", "mod", "16")};
    for (size_t i = 0; i < HD_COUNT(texts); i++) {
        Watch watch = {-1, 0};
        Bench bench = open_with(texts[i], watch_kernel, &watch);
        for (size_t d = 0; d < HD_COUNT(all_decays); d++) {
            float positive = positive_arguments(&bench, &all_decays[d]);
            if (positive != 0) fail_msg("%s: %g positive exponents", all_decays[d].what, (double)positive);
        }
        bench_close(&bench);
        for (int64_t flip = 0; i == 0 && flip < watch.sums; flip++) {         // a sum turned round is seen
            Bench wrong = open_with(texts[i], watch_kernel, &(Watch){flip, 0});
            assert_true(positive_arguments(&wrong, &all_decays[0]) > 0);
            bench_close(&wrong);
        }
        assert_int_equal(watch.sums, 4);
    }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(test_exponents_are_not_positive),
                                          cmocka_unit_test(test_mutants_are_noticed)};
int main(void) { return cmocka_run_group_tests(tests, NULL, NULL); }
