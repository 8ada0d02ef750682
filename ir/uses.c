// SPDX-License-Identifier: Apache-2.0
// Who reads a value. The lists are kept by all functions that build and change graphs, so that nobody walks a graph to find
// readers.
#include "ir/ir_internal.h"

void ir_add_user(IrGraph *graph, IrValue value, IrOpRef op) { hd_vec_push(&graph->users.data[value], op); }

void ir_remove_user(IrGraph *graph, IrValue value, IrOpRef op) {
    IrOpRefs *users = &graph->users.data[value];
    size_t i = users->len;
    while (i > 0 && users->data[i - 1] != op) i--;
    HD_ASSERT(i > 0);
    users->data[i - 1] = users->data[--users->len];
}

const IrOpRefs *ir_users(const IrGraph *graph, IrValue value) { return &graph->users.data[value]; }

void ir_set_operand(IrGraph *graph, IrOpRef ref, uint32_t index, IrValue value) {
    IrOp *op = ir_op(graph, ref);
    HD_ASSERT(index <= op->operand_count && index < HD_COUNT(op->operands));
    if (index < op->operand_count) ir_remove_user(graph, op->operands[index], ref);
    else op->operand_count++;
    op->operands[index] = value;
    ir_add_user(graph, value, ref);
}

// The yields of the block where a value is defined: no other names it.
static IrBlockData *home_of(const IrGraph *graph, IrValue value) { return &graph->blocks.data[ir_value(graph, value)->block]; }

void ir_replace_uses(IrGraph *graph, IrValue from, IrValue to) {
    HD_ASSERT(from && to);
    if (from == to) return;
    while (graph->users.data[from].len) {
        IrOpRef ref = graph->users.data[from].data[0];
        const IrOp *op = ir_op(graph, ref);
        uint32_t index = 0;
        while (index < op->operand_count && op->operands[index] != from) index++;
        HD_ASSERT(index < op->operand_count);
        ir_set_operand(graph, ref, index, to);
    }
    IrBlockData *home = home_of(graph, from);
    for (size_t i = 0; i < home->yields.len; i++)
        if (home->yields.data[i] == from) home->yields.data[i] = to;
    for (size_t i = 0; i < graph->results.len; i++)
        if (graph->results.data[i].value == from) graph->results.data[i].value = to;
    ir_set_heir(graph, from, to);
}

static IrValue last_heir(const IrGraph *graph, IrValue value) {
    while (ir_value(graph, value)->heir) value = ir_value(graph, value)->heir;
    return value;
}

void ir_set_heir(IrGraph *graph, IrValue value, IrValue heir) {
    IrValue last = last_heir(graph, value);
    if (last_heir(graph, heir) != last) ir_value(graph, last)->heir = heir;   // never in a circle
}

uint32_t ir_use_count(const IrGraph *graph, IrValue value) {
    const IrBlockData *home = home_of(graph, value);
    uint32_t uses = (uint32_t)ir_users(graph, value)->len;
    for (size_t i = 0; i < home->yields.len; i++) uses += home->yields.data[i] == value;
    for (size_t i = 0; i < graph->results.len; i++) uses += graph->results.data[i].value == value;
    return uses;
}
