// SPDX-License-Identifier: Apache-2.0
// What the graph keeps about itself while it changes, against a walk over it: the readers of every value, and the order of a
// block.
#include "tests/support/random_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

// ---- by walking ------------------------------------------------------------------------------------------------

static uint32_t operands_equal(const IrGraph *graph, IrBlock block, IrValue value, IrOpRef only)
{
    uint32_t count = 0;
    IR_FOR_OPS(graph, block, ref) {
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->operand_count && (!only || only == ref); i++) count += op->operands[i] == value;
        if (op->region && !block) count += operands_equal(graph, op->region, value, only);
    }
    return count;
}

static uint32_t named_elsewhere(const IrGraph *graph, IrValue value)
{
    uint32_t count = 0;
    IR_FOR_OPS(graph, 0, ref) {
        IrBlock region = ir_op(graph, ref)->region;
        for (size_t i = 0; region && i < graph->blocks.data[region].yields.len; i++)
            count += graph->blocks.data[region].yields.data[i] == value;
    }
    for (size_t i = 0; i < graph->results.len; i++) count += graph->results.data[i].value == value;
    return count;
}

static void check_order(const IrGraph *graph, IrBlock block)
{
    IR_FOR_OPS(graph, block, ref) {
        for (IrOpRef later = ir_op(graph, ref)->next; later; later = ir_op(graph, later)->next)
            if (!ir_is_before(graph, ref, later) || ir_is_before(graph, later, ref)) fail_msg("%u and %u", ref, later);
        if (ir_op(graph, ref)->region) check_order(graph, ir_op(graph, ref)->region);
    }
}

static void check(const IrGraph *graph)
{
    for (IrValue value = 1; value < graph->values.len; value++) {
        const IrOpRefs *users = ir_users(graph, value);
        uint32_t reads = operands_equal(graph, 0, value, 0);
        assert_int_equal(users->len, reads);
        assert_int_equal(ir_use_count(graph, value), reads + named_elsewhere(graph, value));
        for (size_t i = 0; i < users->len; i++) {
            uint32_t entries = 0;
            for (size_t k = 0; k < users->len; k++) entries += users->data[k] == users->data[i];
            assert_int_equal(entries, operands_equal(graph, 0, value, users->data[i]));
        }
    }
    check_order(graph, 0);
    HdStatus *status = ir_verify(graph);
    if (status) fail_msg("%s", hd_status_message(status));
}

// ---- random changes --------------------------------------------------------------------------------------------

static IrOpRef random_op(const IrGraph *graph, uint64_t *state)
{
    IrOpRef found = 0;
    uint64_t count = 0;
    IR_FOR_OPS(graph, 0, ref)
        if (rg_next(state) % ++count == 0) found = ref;
    return found;
}

// A value of the same type that is there before `ref`; 0: none.
static IrValue equal_before(const IrGraph *graph, IrOpRef ref, IrValue like)
{
    for (IrOpRef before = ir_op(graph, ref)->prev; before; before = ir_op(graph, before)->prev) {
        const IrOp *op = ir_op(graph, before);
        if (op->result_count && op->results[0] != like &&
            ir_type_eq(&ir_value(graph, op->results[0])->type, &ir_value(graph, like)->type))
            return op->results[0];
    }
    return 0;
}

static bool is_unread(const IrGraph *graph, const IrOp *op)
{
    for (uint32_t i = 0; i < op->result_count; i++)
        if (operands_equal(graph, 0, op->results[i], 0) + named_elsewhere(graph, op->results[i])) return false;
    return op->result_count > 0;
}

static void change(IrGraph *graph, uint64_t *state)
{
    IrOpRef ref = random_op(graph, state);
    const IrOp op = *ir_op(graph, ref);
    uint32_t index = (uint32_t)(rg_next(state) % op.operand_count);
    IrValue other = equal_before(graph, ref, op.operands[index]);
    switch (rg_next(state) % 4) {
    case 0:
        if (other) ir_set_operand(graph, ref, index, other);
        break;
    case 1:
        other = op.result_count ? equal_before(graph, ref, op.results[0]) : 0;
        if (other) ir_replace_uses(graph, op.results[0], other);
        break;
    case 2:
        if (is_unread(graph, &op)) ir_erase(graph, ref);
        break;
    case 3:
        if (op.next && op.next != graph->blocks.data[0].last) ir_move_before(graph, ref, op.next); // stays where it is
        break;
    }
}

static void lists_are_what_a_walk_finds(void **state)
{
    (void)state;
    size_t erased = 0, twice = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        uint64_t random = seed;
        IrModule *module = ir_module_new("m");
        RgOptions options = {.seed = seed, .pieces = 5};
        IrGraph *graph = rg_graph(module, "model", &options);
        check(graph);
        if (seed % 2) rg_fuse(graph, seed, 40);
        for (int i = 0; i < 40; i++) change(graph, &random);
        check(graph);
        IrGraph *clone = ir_graph_clone(graph, "clone");
        for (int i = 0; i < 40; i++) change(clone, &random);
        check(graph);
        check(clone);
        for (size_t i = 1; i < clone->ops.len; i++) {
            const IrOp *op = &clone->ops.data[i];
            erased += op->dead;
            twice += !op->dead && op->operand_count > 1 && op->operands[0] == op->operands[1];
        }
        ir_module_free(module);
    }
    assert_true(erased > 50 && twice > 10);                  // the changes have come to these cases
}

// ---- order -----------------------------------------------------------------------------------------------------

static IrModule *one_value(IrValue *out_value)
{
    IrModule *module = ir_module_new("m");
    IrGraph *graph = ir_graph_new(module, "model");
    IrType weight = {IR_F32, IR_LAYOUT_NATIVE, 2, {8, 8}}, tokens = {IR_I32, IR_LAYOUT_NATIVE, 1, {IR_DIM_T}};
    IrValue operands[] = {ir_input(graph, IR_INPUT_TOKENS, tokens, 0), ir_weight(graph, "w", weight)};
    *out_value = ir_op1(graph, IR_OP_embed, 2, operands, 0, NULL);
    return module;
}

static IrOpRef neg_before(IrGraph *graph, IrValue value, IrOpRef before)
{
    HdStatus *status;
    IrBuild build = {.kind = IR_OP_neg, .operands = &value, .operand_count = 1, .before = before};
    IrOpRef ref = ir_build(graph, &build, &status);
    assert_null(status);
    return ref;
}

// However often something is put in one place, there is room.
static void order_has_room(void **state)
{
    (void)state;
    IrValue value;
    for (int way = 0; way < 3; way++) {
        IrModule *module = one_value(&value);
        IrGraph *graph = module->graphs.data[0];
        IrOpRef last = neg_before(graph, value, 0), before = last;
        for (int i = 0; i < 200; i++) {
            IrOpRef made = neg_before(graph, value, before);
            if (way == 0) before = made;                     // in front of the one before
            if (way == 2) ir_move_before(graph, made, i % 2 ? 0 : last);
            check_order(graph, 0);
        }
        ir_module_free(module);
    }
}

// An erased operation still tells where it stood.
static void erased_ones_tell_where_they_stood(void **state)
{
    (void)state;
    IrValue value;
    IrModule *module = one_value(&value);
    IrGraph *graph = module->graphs.data[0];
    IrOpRef embed = graph->blocks.data[0].first, one = neg_before(graph, value, 0), two = neg_before(graph, value, 0);
    ir_erase(graph, two);
    ir_erase(graph, one);
    assert_int_equal(ir_op(graph, two)->prev, one);
    assert_int_equal(ir_op(graph, one)->prev, embed);
    assert_int_equal(ir_op(graph, embed)->next, 0);
    ir_module_free(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_what_a_walk_finds),
        cmocka_unit_test(order_has_room),
        cmocka_unit_test(erased_ones_tell_where_they_stood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
