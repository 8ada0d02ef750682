// SPDX-License-Identifier: Apache-2.0
// Growing a group from an anchor: readers of its results join when the rule accepts them, then producers that it alone reads.
#include "passes/internal.h"

#include <stdlib.h>
#include <string.h>

bool pass_same_dims(const IrType *a, const IrType *b)
{
    bool same = a->rank == b->rank;
    for (uint32_t i = 0; i < a->rank && same; i++) same = a->dims[i] == b->dims[i];
    return same;
}

bool pass_same_rows(const IrType *a, const IrType *b)
{
    bool same = a->rank == b->rank;
    for (uint32_t i = 0; i + 1 < a->rank && same; i++) same = a->dims[i] == b->dims[i];
    return same;
}

bool pass_is_arithmetic(const IrGraph *graph, IrOpRef op)
{
    IrOpKind kind = ir_op(graph, op)->kind;
    return pass_role(graph, op) == IR_ROLE_ELEMENTWISE && kind != IR_OP_rope && kind != IR_OP_kv_append && kind != IR_OP_moe_sum;
}

bool pass_joins_rows(const PassGrowth *growth, IrOpRef op, IrValue via, PassMissed *out_reason)
{
    IrRole role = pass_role(growth->graph, op);
    IrType type = pass_type(growth->graph, op);
    (void)via;
    *out_reason = MISSED_not_elementwise;
    if (role != IR_ROLE_ELEMENTWISE && role != IR_ROLE_REDUCE) return false;
    *out_reason = MISSED_other_shape;
    return pass_same_rows(&type, &growth->anchor);
}

bool pass_grow_add(PassGrowth *growth, IrOpRef op)
{
    PassMissed reason;
    hd_vec_push(&growth->group.members, op);
    if (pass_group_legal(growth->graph, &growth->group, &reason)) return true;
    growth->group.members.len--;
    pass_missed(growth->ctx, growth->rule, growth->graph, op, reason);
    return false;
}

// Tries the readers of `value`; a view is looked through. `report` only in the last round, so that each miss is said once.
static bool try_readers(PassGrowth *growth, IrValue value, IrValue via, bool report)
{
    IrOpRef users[64];
    uint32_t count = HD_MIN(pass_users(growth->graph, value, users, HD_COUNT(users)), HD_COUNT(users));
    for (uint32_t i = 0; i < count; i++) {
        PassMissed reason = MISSED_not_elementwise;
        if (pass_contains(&growth->group, users[i])) continue;
        if (pass_role(growth->graph, users[i]) == IR_ROLE_VIEW) {
            if (growth->through_views && try_readers(growth, ir_op(growth->graph, users[i])->results[0], via, report))
                return true;
            continue;
        }
        if (!growth->accepts(growth, users[i], via, &reason)) {
            if (report) pass_missed(growth->ctx, growth->rule, growth->graph, users[i], reason);
        } else if (!report && pass_grow_add(growth, users[i])) {
            return true;
        }
    }
    return false;
}

static bool grow_forward(PassGrowth *growth, bool report)
{
    for (size_t m = 0; m < growth->group.members.len; m++) {
        IrOp op = *ir_op(growth->graph, growth->group.members.data[m]);
        for (uint32_t r = 0; r < op.result_count; r++)
            if (try_readers(growth, op.results[r], op.results[r], report)) return true;
    }
    return false;
}

// Do only members read this value, views looked through?
static bool only_members_read(const PassGrowth *growth, IrValue value)
{
    IrOpRef users[64];
    uint32_t count = pass_users(growth->graph, value, users, HD_COUNT(users));
    bool only = count <= HD_COUNT(users) && !pass_is_result(growth->graph, value);
    for (uint32_t i = 0; i < count && only; i++) {
        bool view = pass_role(growth->graph, users[i]) == IR_ROLE_VIEW;
        only = pass_contains(&growth->group, users[i]) ||
               (view && only_members_read(growth, ir_op(growth->graph, users[i])->results[0]));
    }
    return only;
}

// `via` is a result of the member that reads the value.
static bool try_producer(PassGrowth *growth, IrValue value, IrValue via)
{
    IrOpRef producer = pass_producer(growth->graph, value);
    PassMissed reason;
    if (!producer || pass_contains(&growth->group, producer) || ir_op(growth->graph, producer)->kind == IR_OP_fused) return false;
    const IrOp op = *ir_op(growth->graph, producer);
    if (pass_role(growth->graph, producer) == IR_ROLE_VIEW) {
        for (uint32_t i = 0; i < op.operand_count; i++)
            if (try_producer(growth, op.operands[i], via)) return true;
        return false;
    }
    if (op.result_count != 1 || !growth->accepts(growth, producer, via, &reason)) return false;
    if (!growth->pull_shared && !only_members_read(growth, op.results[0])) return false;
    return pass_grow_add(growth, producer);
}

static bool grow_backward(PassGrowth *growth)
{
    for (size_t m = 0; m < growth->group.members.len; m++) {
        const IrOp op = *ir_op(growth->graph, growth->group.members.data[m]);
        IrRole role = pass_role(growth->graph, growth->group.members.data[m]);
        // A contraction reads whole rows: its operands are made before it. The scores of a topk are a row of the same unit.
        if (role == IR_ROLE_CONTRACT || (role == IR_ROLE_SPECIAL && op.kind != IR_OP_topk)) continue;
        IrValue via = op.result_count ? op.results[0] : op.operands[0];
        for (uint32_t i = 0; i < op.operand_count; i++)
            if (try_producer(growth, op.operands[i], via)) return true;
    }
    return false;
}

void pass_grow(PassGrowth *growth)
{
    while (grow_forward(growth, false) || grow_backward(growth)) {}
    grow_forward(growth, true);
}

// Views between members become members: left outside they would make the group yield what only its own views read.
static void absorb_views(PassGrowth *growth)
{
    IR_FOR_OPS(growth->graph, 0, ref)
    {
        const IrOp *op = ir_op(growth->graph, ref);
        if (pass_role(growth->graph, ref) != IR_ROLE_VIEW || pass_contains(&growth->group, ref)) continue;
        IrOpRef producer = pass_producer(growth->graph, op->operands[0]);
        if (!producer || !pass_contains(&growth->group, producer) || !only_members_read(growth, op->results[0])) continue;
        if (ir_use_count(growth->graph, op->results[0])) hd_vec_push(&growth->group.members, ref);
    }
}

bool pass_grow_finish(PassGrowth *growth)
{
    IrOpRef anchor = growth->group.members.data[0];
    bool made = growth->group.members.len > 1 && pass_fire(growth->ctx, growth->rule, growth->graph, anchor);
    if (made) {
        absorb_views(growth);
        pass_group_make(growth->graph, &growth->group, growth->kind);
    }
    hd_vec_free(&growth->group.members);
    return made;
}
