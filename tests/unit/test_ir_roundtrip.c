// SPDX-License-Identifier: Apache-2.0
// 10,000 random graphs: the verifier accepts each, its text reads back to the same text, and together they hold every
// operation, attribute, data type, layout, source and plan that the IR knows.
#include "tests/support/random_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { GRAPHS = 10000 };

typedef struct Seen {
    bool op[IR_OP_COUNT], op_in_region[IR_OP_COUNT], attr[IR_ATTR_COUNT], dtype[IR_DTYPE_COUNT], layout[IR_LAYOUT_COUNT];
    bool input[IR_INPUT_COUNT], state[IR_STATE_COUNT], stage, layer, placed, dim, effect[4];
} Seen;

static void see_op(Seen *seen, const IrGraph *graph, const IrOp *op) {
    seen->op[op->kind] = true;
    if (op->block) seen->op_in_region[op->kind] = true;
    for (int id = 0; id < IR_ATTR_COUNT; id++)
        if (op->attr_mask >> id & 1) seen->attr[id] = true;
    seen->stage = seen->stage || op->stage >= 0;
    seen->layer = seen->layer || op->layer >= 0;
    if (op->kind == IR_OP_fused) seen->effect[ir_op_effect(graph, op)] = true;
}

static void see_value(Seen *seen, const IrValueData *data) {
    seen->dtype[data->type.dtype] = true;
    seen->layout[data->type.layout] = true;
    for (uint32_t i = 0; i < data->type.rank; i++)
        seen->dim = seen->dim || (ir_dim_is_sym(data->type.dims[i]) && ir_dim_sym(data->type.dims[i]) >= IR_SYM_BASE_COUNT);
    if (data->kind == IR_VALUE_INPUT) seen->input[data->index] = true;
    if (data->kind == IR_VALUE_STATE) seen->state[data->index] = true;
    seen->placed = seen->placed || data->offset >= 0;
}

static void see(Seen *seen, const IrGraph *graph) {
    for (size_t i = 1; i < graph->ops.len; i++)
        if (!graph->ops.data[i].dead) see_op(seen, graph, &graph->ops.data[i]);
    for (size_t i = 1; i < graph->values.len; i++) see_value(seen, &graph->values.data[i]);
}

static void must(HdStatus *status, uint64_t seed, const HdBuf *text) {
    if (!status) return;
    print_message("seed %llu: %s\n%s\n", (unsigned long long)seed, hd_status_message(status), text->data ? text->data : "");
    fail();
}

// One to three graphs; a plan only without oddities and numbers, whose sizes are not known before.
static IrModule *random_module(uint64_t seed) {
    uint64_t state = seed;
    IrModule *module = ir_module_new(seed % 3 ? "random" : "odd \"name\"\n");
    ir_module_set_key(module, "seed", seed % 5 ? "text" : "\\ \" \n \xe2\x82\xac");
    static const char *const names[] = {"model", "decode", "load.2"};
    for (uint64_t i = 0, count = 1 + rg_next(&state) % 8 / 6; i < count; i++) {
        RgOptions options = {.seed = rg_next(&state), .wild = rg_next(&state) % 2, .single = rg_next(&state) % 5 == 0};
        IrGraph *graph = rg_graph(module, names[i], &options);
        if (rg_next(&state) % 3 == 0) graph = ir_graph_clone(graph, "clone"), ir_graph_remove(module, module->graphs.data[i]);
        if (rg_next(&state) % 2) rg_fuse(graph, rg_next(&state), 40);
        if (rg_next(&state) % 3 == 0) rg_plan(graph, rg_next(&state));
        if (strcmp(graph->name, "clone") == 0) break;
    }
    return module;
}

static void check_module(uint64_t seed, Seen *seen) {
    IrModule *module = random_module(seed), *again = NULL;
    HdBuf text = {0}, second = {0};
    ir_print_module(module, &text);
    for (size_t i = 0; i < module->graphs.len; i++) {
        must(ir_verify(module->graphs.data[i]), seed, &text);
        see(seen, module->graphs.data[i]);
    }
    must(ir_parse_module("random.hir", (HdStr){text.data, text.len}, &again), seed, &text);
    ir_print_module(again, &second);
    if (text.len != second.len || memcmp(text.data, second.data, text.len) != 0) {
        print_message("seed %llu\n%s\n----\n%s\n", (unsigned long long)seed, text.data, second.data);
        fail();
    }
    for (size_t i = 0; i < again->graphs.len; i++) must(ir_verify(again->graphs.data[i]), seed, &text);
    ir_module_free(module);
    ir_module_free(again);
    hd_buf_free(&text);
    hd_buf_free(&second);
}

static void all_true(const bool *seen, int count, const char *what) {
    for (int i = 0; i < count; i++)
        if (!seen[i]) fail_msg("%s %d never occurred", what, i);
}

static void test_random_graphs(void **state) {
    (void)state;
    Seen seen = {0};
    for (uint64_t seed = 0; seed < GRAPHS; seed++) check_module(seed, &seen);
    all_true(seen.op, IR_OP_COUNT, "operation");
    seen.op_in_region[IR_OP_fused] = true;   // they do not nest
    all_true(seen.op_in_region, IR_OP_COUNT, "in a region: operation");
    all_true(seen.attr, IR_ATTR_COUNT, "attribute");
    all_true(seen.dtype, IR_DTYPE_COUNT, "data type");
    all_true(seen.layout, IR_LAYOUT_COUNT, "layout");
    all_true(seen.input, IR_INPUT_COUNT, "input");
    all_true(seen.state, IR_STATE_COUNT, "state");
    all_true(seen.effect, 4, "fused operation of effect");
    assert_true(seen.stage && seen.layer && seen.placed && seen.dim);
}

// The same seed gives the same text: the generator and everything it calls are deterministic.
static void test_same_seed(void **state) {
    (void)state;
    for (uint64_t seed = 100; seed < 120; seed++) {
        IrModule *a = random_module(seed), *b = random_module(seed);
        HdBuf x = {0}, y = {0};
        ir_print_module(a, &x);
        ir_print_module(b, &y);
        assert_string_equal(x.data, y.data);
        ir_module_free(a);
        ir_module_free(b);
        hd_buf_free(&x);
        hd_buf_free(&y);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_graphs), cmocka_unit_test(test_same_seed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
