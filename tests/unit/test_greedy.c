// SPDX-License-Identifier: Apache-2.0
// heddle_eval_greedy: the ids of the largest logits without the logits, found by the kernels of a GPU's module (cpu:emulated-cuda) and by the
// runtime where the module has none (cpu:native). Both give what heddle_argmax gives of heddle_eval's logits, or its error.
#include <stdarg.h>
#include <stddef.h>

#include "tests/unit/compile_fixture.h"

#include "tests/support/folder.h"

#define MODEL TEST_DATA "/models/h2-gqa4.gguf"
enum { LONG = 70, SHORT = 5, ROWS = LONG + 1 };   // more rows than a step holds

static const struct { const char *name; bool argmax; } targets[] = {{"cpu:native", false}, {"cpu:emulated-cuda", true}};
static char folder[] = "test_greedy_XXXXXX", damaged[64];

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

static void check_not_finite(HeddleSession *session, const Golden *golden) {
    int32_t id = 77;
    HeddlePiece piece = {.slot = 1, .tokens = golden->tokens, .count = SHORT, .logits = HEDDLE_LOGITS_LAST};
    HdStatus *status = heddle_eval_greedy(session, &piece, 1, &id);
    assert_int_equal(heddle_status_code(status), HEDDLE_NOT_FINITE);
    assert_non_null(strstr(heddle_status_message(status), "non-finite logits at position 4 of slot 1"));
    hd_status_free(status);
    status = heddle_eval_greedy(session, &piece, 1, &id);        // the slot is of no use now
    assert_int_equal(heddle_status_code(status), HEDDLE_NOT_FINITE);
    hd_status_free(status);
}

static void test_ids(void **state) {
    (void)state;
    GgufFile *file = open_gguf(MODEL);
    Golden golden = golden_open("h2-gqa4");
    write_damaged(file);
    for (size_t i = 0; i < HD_COUNT(targets); i++) {
        HeddleModuleInfo info;
        HeddleModule *module = compile_model(file, targets[i].name, NULL, 0, NULL);
        heddle_module_info(module, &info);
        assert_int_equal(info.argmax, targets[i].argmax);
        Ready whole = make_ready(module, MODEL), broken = make_ready(module, damaged);
        check_same_ids(whole.session, &golden);
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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ids)};
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
