// SPDX-License-Identifier: Apache-2.0
// heddle_eval_greedy and heddle_eval_top: the largest logits without the others, found by the kernels of a GPU's module (cpu:emulated-cuda and,
// where there is a device, vulkan) and by the runtime where the module has none (cpu:native). All give what stands in heddle_eval's logits, or
// its error, and a sampler chooses the same from either.
#include <stdarg.h>
#include <stddef.h>

#include "tests/unit/compile_fixture.h"

#include "runtime/sampler.h"
#include "tests/support/folder.h"

#define MODEL TEST_DATA "/models/h2-gqa4.gguf"
enum { LONG = 70, SHORT = 5, ROWS = LONG + 1 };   // more rows than a step holds

// top: as many of the largest as the steps find; few: arg-max{top=4}, less than the row has runs
typedef struct Target { const char *name; bool argmax, few; uint32_t top; } Target;
static const Target targets[] = {{"cpu:native", false, false, 0}, {"cpu:emulated-cuda", true, false, 64}, {"cpu:emulated-cuda", true, true, 4},
                                 {"vulkan", true, false, 64}};
static char folder[] = "test_choices_XXXXXX", damaged[64];

// The model with a number that is not finite where only logits see it.
static void write_damaged(const GgufFile *file) {
    const GgufTensor *head = gguf_find_tensor(file, "output.weight");
    const HdMapping *bytes = gguf_part_mapping(file, 0);
    snprintf(damaged, sizeof damaged, "%s/damaged.gguf", folder);
    assert_non_null(head);
    FILE *out = fopen(damaged, "w+");
    assert_true(out && fwrite(bytes->data, 1, bytes->len, out) == bytes->len);
    assert_true(!fseek(out, (long)(head->offset + 301 * head->bytes / head->ne[1]), SEEK_SET) && fwrite(&(float){NAN}, 4, 1, out) == 1);
    fclose(out);
}

typedef struct Ready { HeddleWeights *weights; HeddleModel *model; HeddleSession *session; } Ready;

static Ready make_ready(HeddleModule *module, const char *path) {
    Ready r;
    must(heddle_weights_open(path, false, &r.weights));
    must(heddle_model_create(module, r.weights, NULL, &r.model));
    must(heddle_session_create(r.model, &(HeddleSessionOptions){.context = 128, .slots = 3, .poison = true}, &r.session));
    return r;
}

static void put_away(Ready *r) {
    heddle_session_free(r->session);
    heddle_model_free(r->model);
    heddle_weights_close(r->weights);
}

static void check_same_ids(HeddleSession *session, const Golden *golden) {
    const HeddlePiece pieces[] = {{.slot = 2, .tokens = golden->tokens + 9, .count = SHORT, .logits = HEDDLE_LOGITS_NONE},
                                  {.slot = 1, .tokens = golden->tokens, .count = LONG, .logits = HEDDLE_LOGITS_ALL},
                                  {.slot = 0, .tokens = golden->tokens + 3, .count = SHORT, .logits = HEDDLE_LOGITS_LAST}};
    int32_t want[ROWS], got[ROWS];
    uint64_t rows;
    must(heddle_eval(session, pieces, 3));
    const float *logits = heddle_logits(session, &rows);
    assert_int_equal(rows, ROWS);
    for (uint32_t i = 0; i < ROWS; i++) must(heddle_argmax(logits + (uint64_t)i * golden->vocab, golden->vocab, &want[i]));
    for (uint32_t slot = 0; slot < 3; slot++) must(heddle_slot_reset(session, slot));
    must(heddle_eval_greedy(session, pieces, 3, got));
    assert_memory_equal(got, want, sizeof want);
    assert_null(heddle_logits(session, &rows));
    assert_int_equal(rows, 0);
}

static void check_refused(HdStatus *status) {
    assert_int_equal(heddle_status_code(status), HEDDLE_NOT_FINITE);
    assert_non_null(strstr(heddle_status_message(status), "non-finite logits at position 4 of slot 1"));
    hd_status_free(status);
}

static void check_not_finite(HeddleSession *session, const Golden *golden) {
    int32_t id = 77;
    HeddleCandidate candidates[4];
    HeddlePiece piece = {.slot = 1, .tokens = golden->tokens, .count = SHORT, .logits = HEDDLE_LOGITS_LAST};
    check_refused(heddle_eval_greedy(session, &piece, 1, &id));
    must(heddle_slot_reset(session, 1));
    check_refused(heddle_eval_top(session, &piece, 1, 4, candidates));
    HdStatus *status = heddle_eval_greedy(session, &piece, 1, &id);        // the slot is of no use now
    assert_int_equal(heddle_status_code(status), HEDDLE_NOT_FINITE);
    hd_status_free(status);
}

// ---- the largest ---------------------------------------------------------------------------------------------------

static int falling(const void *a, const void *b) {
    const HeddleCandidate *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit ? 1 : -1) : x->id - y->id;
}

// All candidates of a row, in order.
static void sort_row(const float *logits, uint32_t vocab, HeddleCandidate *out) {
    for (uint32_t i = 0; i < vocab; i++) out[i] = (HeddleCandidate){(int32_t)i, logits[i]};
    qsort(out, vocab, sizeof *out, falling);
}

static void check_same_top(HeddleSession *session, const Golden *golden, uint32_t count) {
    static HeddleCandidate got[ROWS * HEDDLE_MOST_TOP], want[1024];
    const HeddlePiece pieces[] = {{.slot = 1, .tokens = golden->tokens, .count = LONG, .logits = HEDDLE_LOGITS_ALL},
                                  {.slot = 0, .tokens = golden->tokens + 3, .count = SHORT, .logits = HEDDLE_LOGITS_LAST}};
    uint64_t rows;
    for (uint32_t slot = 0; slot < 2; slot++) must(heddle_slot_reset(session, slot));
    must(heddle_eval(session, pieces, 2));
    float *logits = malloc(ROWS * golden->vocab * sizeof *logits);
    memcpy(logits, heddle_logits(session, &rows), ROWS * golden->vocab * sizeof *logits);
    for (uint32_t slot = 0; slot < 2; slot++) must(heddle_slot_reset(session, slot));
    must(heddle_eval_top(session, pieces, 2, count, got));
    assert_null(heddle_logits(session, &rows));
    for (uint32_t i = 0; i < ROWS; i++) {
        sort_row(logits + (uint64_t)i * golden->vocab, golden->vocab, want);
        assert_memory_equal(got + i * count, want, count * sizeof *want);
    }
    free(logits);
}

// ---- choices -------------------------------------------------------------------------------------------------------

static const HeddleSampling settings[] = {
    {.temp = 1, .top_k = 1, .top_p = 1, .repeat_penalty = 1},      {.temp = 0.6f, .top_k = 20, .top_p = 0.95f, .repeat_penalty = 1},
    {.temp = 1, .top_k = 64, .top_p = 1, .repeat_penalty = 1},     {.temp = 3, .top_k = 64, .top_p = 0.999f, .min_p = 0.01f, .repeat_penalty = 1},
    {.temp = 1.5f, .top_k = 4, .top_p = 0.9f, .repeat_penalty = 1}, {.temp = 0, .top_k = 20, .top_p = 1, .repeat_penalty = 1},
};

// A text by the logits and by the largest of them.
static void check_same_text(HeddleSession *session, const Golden *golden, HeddleSampling how, uint32_t length) {
    HeddleSampler *sampler;
    HeddleCandidate candidates[HEDDLE_MOST_TOP];
    uint64_t rows;
    must(heddle_sampler_create(&how, golden->vocab, &sampler));
    uint32_t needs = heddle_sampler_needs(sampler);
    assert_int_equal(needs, how.temp == 0 ? 1 : how.top_k);
    for (uint32_t slot = 0; slot < 2; slot++) must(heddle_slot_reset(session, slot));
    int32_t next[2] = {golden->tokens[0], golden->tokens[0]};
    for (uint32_t i = 0; i < length; i++) {
        HeddlePiece piece = {.slot = 0, .tokens = &next[0], .count = 1, .logits = HEDDLE_LOGITS_LAST};
        must(heddle_eval(session, &piece, 1));
        must(heddle_sampler_pick(sampler, heddle_logits(session, &rows), 0, i, &next[0]));
        piece.slot = 1, piece.tokens = &next[1];
        must(heddle_eval_top(session, &piece, 1, needs, candidates));
        must(heddle_sampler_pick_top(sampler, candidates, needs, 0, i, &next[1]));
        assert_int_equal(next[0], next[1]);
    }
    heddle_sampler_free(sampler);
}

static void check_texts(HeddleSession *session, const Golden *golden) {
    for (size_t i = 0; i < HD_COUNT(settings); i++) {
        HeddleSampling how = settings[i];
        how.seed = i;
        check_same_text(session, golden, how, 8);
    }
}

// Many seeds over one row, of few different numbers among others.
static void test_choices(void **state) {
    enum { VOCAB = 700 };
    float logits[VOCAB];
    HeddleCandidate sorted[VOCAB];
    (void)state;
    for (int i = 0; i < VOCAB; i++) logits[i] = i % 3 ? (float)(i * 2654435761u >> 20) / 500 : (float)(i % 5);
    sort_row(logits, VOCAB, sorted);
    for (size_t i = 0; i < HD_COUNT(settings); i++)
        for (uint64_t seed = 0; seed < 300; seed++) {
            HeddleSampling how = settings[i];
            HeddleSampler *sampler;
            int32_t by_logits, by_top;
            how.seed = seed;
            must(heddle_sampler_create(&how, VOCAB, &sampler));
            must(heddle_sampler_pick(sampler, logits, 0, (uint32_t)seed, &by_logits));
            must(heddle_sampler_pick_top(sampler, sorted, HEDDLE_MOST_TOP, 0, (uint32_t)seed, &by_top));
            assert_int_equal(by_logits, by_top);
            heddle_sampler_free(sampler);
        }
}

// ---- tests ---------------------------------------------------------------------------------------------------------

static void expect_usage(HdStatus *status, const char *text) {
    assert_int_equal(heddle_status_code(status), HEDDLE_USAGE);
    if (!strstr(heddle_status_message(status), text)) fail_msg("%s", heddle_status_message(status));
    hd_status_free(status);
}

static void test_refusals(void **state) {
    static const HeddleSampling all[] = {{.temp = 1, .top_k = 0, .top_p = 1, .repeat_penalty = 1}, {.temp = 1, .top_k = 10, .top_p = 1, .repeat_penalty = 1},
                                         {.temp = 0, .top_k = 5, .top_p = 1, .repeat_penalty = 1.1f}};
    HeddleCandidate candidates[5] = {{0}};
    HeddleSampler *sampler;
    int32_t id;
    (void)state;
    for (size_t i = 0; i < HD_COUNT(all); i++) {
        must(heddle_sampler_create(&all[i], 10, &sampler));
        assert_int_equal(heddle_sampler_needs(sampler), 0);
        expect_usage(heddle_sampler_pick_top(sampler, candidates, 5, 0, 0, &id), "the 5 largest logits are given; this sampler needs 10");
        heddle_sampler_free(sampler);
    }
}

static bool on_vulkan;
static void has_vulkan(void *user, const HeddleDeviceInfo *info) {
    if (!strcmp(info->type, "vulkan") && info->number >= 0 && !*info->lacks) *(bool *)user = true;
}

static void test_ids(void **state) {
    (void)state;
    GgufFile *file = open_gguf(MODEL);
    Golden golden = golden_open("h2-gqa4");
    write_damaged(file);
    for (size_t i = 0; i < HD_COUNT(targets); i++) {
        HeddleModuleInfo info;
        if ((strcmp(targets[i].name, "vulkan") == 0) != on_vulkan) continue;
        HeddleModule *module = compile_model(file, targets[i].name, (const char *const[]){"arg-max{top=4}"}, targets[i].few, NULL);
        heddle_module_info(module, &info);
        assert_int_equal(info.argmax, targets[i].argmax);
        assert_int_equal(info.top, targets[i].top);
        Ready whole = make_ready(module, MODEL), broken = make_ready(module, damaged);
        check_same_ids(whole.session, &golden);
        check_same_top(whole.session, &golden, 4);
        check_same_top(whole.session, &golden, HEDDLE_MOST_TOP);
        check_texts(whole.session, &golden);
        expect_usage(heddle_eval_top(whole.session, NULL, 0, 65, NULL), "the 65 largest logits are asked for; expected 1 to 64");
        check_not_finite(broken.session, &golden);
        HdStatus *status = heddle_keep_result(whole.session, "argmax");
        assert_non_null(strstr(heddle_status_message(status), "heddle_eval_greedy gives it"));
        hd_status_free(status);
        put_away(&whole);
        put_away(&broken);
        heddle_module_close(module);
    }
    gguf_close(golden.file);
    gguf_close(file);
}

static int make_folder(void **state) { return (void)state, mkdtemp(folder) ? 0 : -1; }
static int drop_folder(void **state) { return (void)state, remove_folder(folder); }

// test_choices vulkan: that device's part, 77 where there is none.
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choices), cmocka_unit_test(test_refusals), cmocka_unit_test(test_ids)};
    bool here = false;
    on_vulkan = argc > 1 && strcmp(argv[1], "vulkan") == 0;
    if (!on_vulkan) return cmocka_run_group_tests(tests, make_folder, drop_folder);
    heddle_devices(has_vulkan, &here);
    if (!here) return 77;
    const struct CMUnitTest ids[] = {cmocka_unit_test(test_ids)};
    return cmocka_run_group_tests(ids, make_folder, drop_folder);
}
