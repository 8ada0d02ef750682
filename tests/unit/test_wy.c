// SPDX-License-Identifier: Apache-2.0
// Models compiled with the delta rule in chunks, run by the runtime, against logits in float64: prompts that end around the ends
// of chunks, calls that cut chunks, several slots in a step; ordinary decays, strong ones, and mixed ones, of which the old state
// depends. And the same models with a wrong kernel, which these logits have to find.
#include <stdarg.h>
#include <stddef.h>

#include "tests/unit/compile_fixture.h"

#include "tests/support/change_kernel.h"
#include "tests/support/folder.h"

#define BOUND 1e-10
enum { TOKENS = 130, SLOTS = 4 };

static const char *const names[] = {"h2-gqa4", "decay-strong", "decay-mixed"};
static const char *const forms[] = {"delta-net{form=scan}", "delta-net{form=wy,chunk=16}", "delta-net{form=wy,chunk=32}",
                                    "delta-net{form=wy,chunk=64}"};
static char objects[] = "test_wy_XXXXXX";   // folder of compiled kernels, which models share

// ---- a model, compiled and ready -------------------------------------------------------------------------------

typedef struct Compiled {
    Golden golden;
    HeddleWeights *weights;
    HeddleModule *module;
    HeddleModel *model;
    HeddleSession *session;
} Compiled;

// All logits of a prompt are wanted; steps hold as many rows as tokens, or no step would hold a whole chunk of 64.
static HeddleModule *compile_module(const GgufFile *file, const char *form, void (*visit)(void *, KirFn *), void *user) {
    const char *const sets[] = {form, "specialise{rows=512}"};
    return compile_model(file, "cpu:native", sets, HD_COUNT(sets), &(CgOptions){.cache_dir = objects, .visit = visit, .user = user});
}

static Compiled compile_with(const char *name, const char *form, void (*visit)(void *, KirFn *), void *user) {
    char path[512];
    snprintf(path, sizeof path, TEST_DATA "/models/%s.gguf", name);
    GgufFile *file = open_gguf(path);
    Compiled c = {.golden = golden_open(name), .module = compile_module(file, form, visit, user)};
    gguf_close(file);
    assert_true(c.golden.count >= TOKENS);
    must(heddle_weights_open(path, false, &c.weights));
    must(heddle_model_create(c.module, c.weights, NULL, &c.model));
    must(heddle_session_create(c.model, &(HeddleSessionOptions){.context = 256, .slots = SLOTS, .poison = true}, &c.session));
    return c;
}

static void compiled_free(Compiled *c) {
    heddle_session_free(c->session);
    heddle_model_free(c->model);
    heddle_module_close(c->module);
    heddle_weights_close(c->weights);
    gguf_close(c->golden.file);
}

// ---- calls -----------------------------------------------------------------------------------------------------

typedef struct Part { uint32_t slot, from, count; } Part;   // tokens from..from+count-1 of the golden

// One call; the worst NMSE of a part's logits.
static double run_parts(const Compiled *c, const Part *parts, uint32_t count) {
    HeddlePiece pieces[SLOTS];
    for (uint32_t i = 0; i < count; i++) {
        if (!parts[i].from) must(heddle_slot_reset(c->session, parts[i].slot));
        pieces[i] = (HeddlePiece){.slot = parts[i].slot, .tokens = c->golden.tokens + parts[i].from, .count = parts[i].count,
                                  .logits = HEDDLE_LOGITS_ALL};
    }
    must(heddle_eval(c->session, pieces, count));
    uint64_t rows;
    const float *logits = heddle_logits(c->session, &rows);
    double worst = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t values = (uint64_t)parts[i].count * c->golden.vocab;
        double error = nmse(logits, c->golden.logits + (uint64_t)parts[i].from * c->golden.vocab, values);
        if (!(error <= worst)) worst = error;
        logits += values;
    }
    return worst;
}

static void check(const Compiled *c, const char *what, uint32_t number, const Part *parts, uint32_t count) {
    double error = run_parts(c, parts, count);
    print_message("    %s %u: NMSE %.2e\n", what, number, error);
    if (!(error <= BOUND)) fail_msg("%s %u: NMSE %g", what, number, error);
}

static void check_prompts(const Compiled *c) {
    static const uint32_t counts[] = {1, 2, 15, 16, 17, 63, 64, 65, TOKENS};
    for (size_t i = 0; i < HD_COUNT(counts); i++) check(c, "prompt of", counts[i], &(Part){0, 0, counts[i]}, 1);
}

// In calls that end inside chunks; a chunk begins with each call.
static void check_splits(const Compiled *c) {
    static const uint32_t counts[] = {1, 15, 48, 66};
    for (uint32_t i = 0, at = 0; i < HD_COUNT(counts); at += counts[i++]) check(c, "after", at, &(Part){1, at, counts[i]}, 1);
}

static void check_slots(const Compiled *c) {
    static const Part first[] = {{3, 0, 65}, {0, 0, 17}, {2, 0, 1}, {1, 0, 64}};
    static const Part second[] = {{2, 1, 63}, {1, 64, 16}, {0, 17, 2}};
    static const Part third[] = {{0, 19, 111}, {3, 65, 65}, {1, 80, 1}, {2, 64, 33}};
    check(c, "slots", 1, first, HD_COUNT(first));
    check(c, "slots", 2, second, HD_COUNT(second));
    check(c, "slots", 3, third, HD_COUNT(third));
}

static HdDigest digest_of(const Compiled *c) {
    uint64_t rows;
    (void)run_parts(c, &(Part){0, 0, TOKENS}, 1);
    const float *logits = heddle_logits(c->session, &rows);
    return hd_digest(logits, rows * c->golden.vocab * sizeof *logits);
}

// Every form has bits of its own, unless strong decays hide where chunks begin.
static void check_model(const char *name, bool old_state_counts) {
    HdDigest digests[HD_COUNT(forms)];
    for (size_t f = 0; f < HD_COUNT(forms); f++) {
        Compiled c = compile_with(name, forms[f], NULL, NULL);
        digests[f] = digest_of(&c);
        print_message("%s %s\n", name, forms[f]);
        check_prompts(&c);
        check_splits(&c);
        check_slots(&c);
        compiled_free(&c);
        for (size_t other = 0; other < (old_state_counts ? f : HD_MIN(f, 1)); other++)
            if (digests[f].lo == digests[other].lo) fail_msg("%s: same bits by %s and %s", name, forms[f], forms[other]);
    }
}

static void test_ordinary_decays(void **state) {
    (void)state;
    check_model(names[0], false);
}

static void test_strong_decays(void **state) {
    (void)state;
    check_model(names[1], false);
}

static void test_mixed_decays(void **state) {
    (void)state;
    check_model(names[2], true);
}

// ---- wrong kernels ---------------------------------------------------------------------------------------------
// tests/unit/test_delta_kernels.c has all mutations; these few show that a whole model notices, too.

typedef struct Mutation { const char *kernel, *what; bool found; } Mutation;

static void mutate(void *user, KirFn *kernel) {
    Mutation *mutation = user;
    HdBuf list = {0};
    if (strncmp(kir_name(kernel), mutation->kernel, strlen(mutation->kernel))) return;
    kc_mutate(kernel, -1, &list);
    int64_t number = 0;
    for (const char *line = list.data, *end; (end = strchr(line, '\n')); line = end + 1, number++)
        if (hd_str_is((HdStr){line, (size_t)(end - line)}, mutation->what)) {
            kc_mutate(kernel, number, NULL);
            mutation->found = true;
            break;
        }
    hd_buf_free(&list);
}

static void test_wrong_kernels(void **state) {
    (void)state;
    static const struct { const char *kernel, *what; } wrong[] = {
        {"delta_prep", "no addend of fma 3"}, {"delta_prep", "no product of fma 4"}, {"delta_prep", "sign of neg 1"},
        {"delta_chunk", "sign of sub 5"}, {"delta_chunk", "no addend of fma 17"},
    };
    for (size_t i = 0; i < HD_COUNT(wrong); i++) {
        Mutation mutation = {wrong[i].kernel, wrong[i].what, false};
        Compiled c = compile_with("decay-mixed", forms[1], mutate, &mutation);
        assert_true(mutation.found);
        double error = run_parts(&c, &(Part){0, 0, TOKENS}, 1);
        print_message("%s, %s: NMSE %.2e\n", wrong[i].kernel, wrong[i].what, error);
        assert_false(error <= BOUND);
        compiled_free(&c);
    }
}

// ----------------------------------------------------------------------------------------------------------------

static int make_folder(void **state) { return (void)state, mkdtemp(objects) ? 0 : -1; }
static int remove_objects(void **state) { return (void)state, remove_folder(objects); }

static const struct CMUnitTest tests[] = {cmocka_unit_test(test_ordinary_decays), cmocka_unit_test(test_strong_decays),
                                          cmocka_unit_test(test_mixed_decays), cmocka_unit_test(test_wrong_kernels)};
int main(void) { return cmocka_run_group_tests(tests, make_folder, remove_objects); }
