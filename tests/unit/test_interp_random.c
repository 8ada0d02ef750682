// SPDX-License-Identifier: Apache-2.0
// The reference interpreter on random graphs: two sequences in one call give the same bits as each in calls of its own, in
// another slot.
#include "interp_fixture.h"

#include "tests/support/random_graph.h"

enum { GRAPHS = 200, FIRST = 5, SECOND = 20, TOKENS = FIRST + SECOND, CONTEXT = 64 };

// Moderate values of either sign, other ones in other weights.
static HdStatus *wave_rows(void *user, const char *name, uint64_t columns, uint64_t begin, uint64_t end, float *out_rows) {
    (void)user;
    double phase = (double)(hd_digest(name, strlen(name)).lo % 1000);
    for (uint64_t i = 0; i < (end - begin) * columns; i++)
        out_rows[i] = (float)(0.3 * sin(phase + 0.7 * (double)(begin * columns + i)));
    return NULL;
}

static IrInterp *wave_interp(void) { return ir_interp_new(&(IrWeights){.rows = wave_rows}, 4, 2, CONTEXT); }

// `count` tokens of a sequence; position: how many it has had.
static void run_part(IrInterp *interp, const IrGraph *graph, const int32_t *tokens, int32_t slot, int32_t position,
                     int32_t count) {
    int32_t segment[8] = {slot, position, 0, count, 0, 0}, rows[] = {0, 0, count - 1};
    expect_ok(ir_interp_run(interp, graph,
                            &(IrCall){.tokens = tokens,
                                      .token_count = (uint32_t)count,
                                      .segments = segment,
                                      .segment_count = 1,
                                      .rows = rows,
                                      .row_count = 3}));
}

// What every operation of the call with both sequences gave; then the window of tokens that a sequence alone has to give again.
typedef struct Record { float *values[4096]; uint64_t first, count; uint32_t compared; } Record;

static float **record_place(Record *record, const IrGraph *graph, IrOpRef op, uint32_t result) {
    const IrValue value = ir_op(graph, op)->results[result];
    assert_true(value < HD_COUNT(record->values));
    return ir_value(graph, value)->type.dims[0] == IR_DIM_T ? &record->values[value] : NULL;
}

static void keep(void *user, const IrGraph *graph, IrOpRef op, uint32_t result, float *values, uint64_t count) {
    float **place = record_place(user, graph, op, result);
    if (!place) return;
    free(*place);
    *place = memcpy(hd_xmalloc(count * sizeof **place), values, count * sizeof **place);
}

static void compare(void *user, const IrGraph *graph, IrOpRef op, uint32_t result, float *values, uint64_t count) {
    Record *record = user;
    float **place = record_place(record, graph, op, result);
    if (!place) return;
    uint64_t row = count / record->count;
    if (memcmp(*place + record->first * row, values, count * sizeof *values) != 0)
        fail_msg("%s differs", ir_op_info(ir_op(graph, op)->kind)->name);
    record->compared++;
}

// Two steps, so that the second starts from the states of the first.
static uint32_t check_graph(const IrGraph *graph) {
    IrInterp *both = wave_interp(), *alone = wave_interp();
    Record record = {.compared = 0};
    ir_interp_trace(both, keep, &record);
    ir_interp_trace(alone, compare, &record);
    for (int32_t step = 0; step < 2; step++) {
        int32_t tokens[TOKENS], rows[] = {0, 7, TOKENS - 1};
        int32_t table[] = {2, step * FIRST, 0, FIRST, 0, 0, 0, 0, 1, step * SECOND, FIRST, SECOND, 0, 0, 0, 0};
        for (int32_t t = 0; t < TOKENS; t++) tokens[t] = (7 * t + 3 * step) % RG_VOCAB;
        expect_ok(ir_interp_run(
            both, graph,
            &(IrCall){
                .tokens = tokens, .token_count = TOKENS, .segments = table, .segment_count = 2, .rows = rows, .row_count = 3}));
        record.first = 0, record.count = FIRST;
        run_part(alone, graph, tokens, 0, step * FIRST, FIRST);
        record.first = FIRST, record.count = SECOND;
        run_part(alone, graph, tokens + FIRST, 3, step * SECOND, SECOND);
    }
    for (size_t i = 0; i < HD_COUNT(record.values); i++) free(record.values[i]);
    ir_interp_free(both);
    ir_interp_free(alone);
    return record.compared;
}

static void test_company_changes_nothing(void **state) {
    (void)state;
    uint32_t compared = 0;
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        IrModule *module = ir_module_new("random");
        IrGraph *graph = rg_graph(module, "model", &(RgOptions){.seed = seed, .pieces = 4});
        expect_ok(ir_verify(graph));
        compared += check_graph(graph);
        ir_module_free(module);
    }
    assert_true(compared > 40 * GRAPHS);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_company_changes_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
