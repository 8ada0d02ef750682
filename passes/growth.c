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

// Does an operation outside the group, or what it reads, read a member's result?
static bool reads_group(const PassGrowth *growth, IrOpRef ref, uint8_t *seen)
{
    if (pass_contains(&growth->group, ref)) return true;
    if (seen[ref]) return false;
    seen[ref] = 1;
    const IrOp *op = ir_op(growth->graph, ref);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        IrOpRef producer = pass_producer(growth->graph, op->operands[i]);
        if (producer && reads_group(growth, producer, seen)) return true;
    }
    return false;
}

// The operand through which the group would depend on itself with `op` in it; 0 where the order of state accesses makes the cycle.
static IrValue cyclic_operand(PassGrowth *growth, IrOpRef op)
{
    uint8_t *seen = hd_xcalloc(growth->graph->ops.len, 1);
    IrValue found = 0;
    hd_vec_push(&growth->group.members, op);
    for (size_t m = 0; m < growth->group.members.len && !found; m++) {
        const IrOp *member = ir_op(growth->graph, growth->group.members.data[m]);
        for (uint32_t i = 0; i < member->operand_count && !found; i++) {
            IrOpRef producer = pass_producer(growth->graph, member->operands[i]);
            if (producer && !pass_contains(&growth->group, producer) && reads_group(growth, producer, seen)) found = member->operands[i];
        }
    }
    growth->group.members.len--;
    free(seen);
    return found;
}

void pass_grow_miss(PassGrowth *growth, IrOpRef op, PassMissed reason, IrValue operand)
{
    if (pass_contains(&growth->said, op)) return;
    hd_vec_push(&growth->said.members, op);
    if (reason == MISSED_cycle) operand = cyclic_operand(growth, op);
    pass_missed_for(growth->ctx, growth->rule, growth->graph, op, reason, operand);
}

// ---- may an operation join? ------------------------------------------------------------------------------------

static bool view_allowed(const PassGrowth *growth, IrOpRef ref)
{
    const IrOp *view = ir_op(growth->graph, ref);
    if (growth->views == PASS_VIEWS_RESHAPE) return view->kind == IR_OP_reshape;
    return growth->views == PASS_VIEWS_COLUMNS && view->kind != IR_OP_reshape &&
           view->attr[IR_ATTR_AXIS].i + 1 == pass_type(growth->graph, ref).rank;
}

// Does the value come from a member, through views or not? One of the views not being allowed clears *allowed.
static bool from_member(const PassGrowth *growth, IrValue value, bool *allowed)
{
    IrOpRef producer = pass_producer(growth->graph, value);
    if (!producer || pass_contains(&growth->group, producer)) return producer != 0;
    if (pass_role(growth->graph, producer) != IR_ROLE_VIEW) return false;
    bool from = false;
    const IrOp *view = ir_op(growth->graph, producer);
    for (uint32_t i = 0; i < view->operand_count; i++) from = from_member(growth, view->operands[i], allowed) || from;
    if (from && !view_allowed(growth, producer)) *allowed = false;
    return from;
}

static bool is_made_first(const PassGrowth *growth, IrOpRef op) { return op && (op == growth->prologue[0] || op == growth->prologue[1]); }

// Can a kernel compute each piece of the group by itself, as far as this member reads others? Of an argmax whoever adds it knows.
static bool member_is_local(const PassGrowth *growth, IrOpRef ref, PassMissed *out_reason, IrValue *out_operand)
{
    const IrOp *op = ir_op(growth->graph, ref);
    IrType type = pass_type(growth->graph, ref);
    if (pass_role(growth->graph, ref) == IR_ROLE_VIEW || op->kind == IR_OP_argmax) return true;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        bool allowed = true;
        if (is_made_first(growth, pass_producer(growth->graph, op->operands[i])) || !from_member(growth, op->operands[i], &allowed)) continue;
        *out_operand = op->operands[i];
        *out_reason = MISSED_whole_row;
        if (pass_reads(growth->graph, ref, i) != PASS_READS_ANY_VIEW) return false;
        *out_reason = MISSED_view;
        if (!allowed) return false;
        *out_reason = MISSED_other_shape;
        if (growth->equal_dims && !pass_same_dims(&ir_value(growth->graph, op->operands[i])->type, &type)) return false;
    }
    return true;
}

static bool group_is_legal(const PassGrowth *growth, PassMissed *out_reason, IrValue *out_operand)
{
    for (size_t i = 0; i < growth->group.members.len; i++)
        if (!member_is_local(growth, growth->group.members.data[i], out_reason, out_operand)) return false;
    *out_operand = 0;
    return pass_group_legal(growth->graph, &growth->group, out_reason);
}

// Adds the operation if the group stays legal; *out_operand is the value that prevents it, where it is one.
static bool add(PassGrowth *growth, IrOpRef op, PassMissed *out_reason, IrValue *out_operand)
{
    hd_vec_push(&growth->group.members, op);
    if (group_is_legal(growth, out_reason, out_operand)) return true;
    growth->group.members.len--;
    return false;
}

bool pass_grow_add(PassGrowth *growth, IrOpRef op)
{
    PassMissed reason;
    IrValue operand;
    bool added = add(growth, op, &reason, &operand);
    if (!added) pass_grow_miss(growth, op, reason, operand);
    return added;
}

// ---- candidates ------------------------------------------------------------------------------------------------

// Tries the readers of `value`; a view is looked through. Nothing joins while reasons are reported.
static bool try_readers(PassGrowth *growth, IrValue value, IrValue via, bool report)
{
    IrOpRef users[64];
    uint32_t count = HD_MIN(pass_users(growth->graph, value, users, HD_COUNT(users)), HD_COUNT(users));
    for (uint32_t i = 0; i < count; i++) {
        PassMissed reason = MISSED_taken;
        IrValue operand = value;
        if (pass_contains(&growth->group, users[i])) continue;
        if (pass_role(growth->graph, users[i]) == IR_ROLE_VIEW) {
            if (growth->views == PASS_VIEWS_RESHAPE && ir_op(growth->graph, users[i])->kind == IR_OP_reshape &&
                try_readers(growth, ir_op(growth->graph, users[i])->results[0], via, report))
                return true;
            continue;
        }
        bool free = ir_op(growth->graph, users[i])->kind != IR_OP_fused;
        if (free && growth->accepts(growth, users[i], via, &reason) && add(growth, users[i], &reason, &operand)) return true;
        if (report) pass_grow_miss(growth, users[i], reason, operand);
    }
    return false;
}

static bool grow_forward(PassGrowth *growth, bool report)
{
    for (size_t m = 0; m < growth->group.members.len; m++) {
        IrOp op = *ir_op(growth->graph, growth->group.members.data[m]);
        for (uint32_t r = 0; r < op.result_count; r++) {
            bool ids = ir_value(growth->graph, op.results[r])->type.dtype == IR_I32; // no reader of these computes with them
            if (!ids && try_readers(growth, op.results[r], op.results[r], report)) return true;
        }
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

// `via` is a result of the member that reads the value. Producers are no near miss unless only legality keeps them out.
static bool try_producer(PassGrowth *growth, IrValue value, IrValue via, bool report)
{
    IrOpRef producer = pass_producer(growth->graph, value);
    PassMissed reason;
    IrValue operand;
    if (!producer || pass_contains(&growth->group, producer) || ir_op(growth->graph, producer)->kind == IR_OP_fused) return false;
    const IrOp op = *ir_op(growth->graph, producer);
    if (pass_role(growth->graph, producer) == IR_ROLE_VIEW) {
        for (uint32_t i = 0; i < op.operand_count; i++)
            if (try_producer(growth, op.operands[i], via, report)) return true;
        return false;
    }
    if (op.result_count != 1 || !growth->accepts(growth, producer, via, &reason)) return false;
    if (!growth->pull_shared && !only_members_read(growth, op.results[0])) return false;
    if (add(growth, producer, &reason, &operand)) return true;
    if (report) pass_grow_miss(growth, producer, reason, operand);
    return false;
}

static bool grow_backward(PassGrowth *growth, bool report)
{
    for (size_t m = 0; m < growth->group.members.len; m++) {
        const IrOp op = *ir_op(growth->graph, growth->group.members.data[m]);
        IrRole role = pass_role(growth->graph, growth->group.members.data[m]);
        if (role == IR_ROLE_VIEW || is_made_first(growth, growth->group.members.data[m])) continue;
        if (pass_reads(growth->graph, growth->group.members.data[m], 0) != PASS_READS_ANY_VIEW) continue;
        IrValue via = op.result_count ? op.results[0] : op.operands[0];
        for (uint32_t i = 0; i < op.operand_count; i++)
            if (try_producer(growth, op.operands[i], via, report)) return true;
    }
    return false;
}

void pass_grow(PassGrowth *growth)
{
    while (grow_forward(growth, false) || grow_backward(growth, false)) {}
    grow_forward(growth, true);
    grow_backward(growth, true);
}

// The first view behind `after` (0: of all) whose first operand is a member's result, no member itself; 0: none.
static IrOpRef next_view(const PassGrowth *growth, IrOpRef after)
{
    const IrGraph *graph = growth->graph;
    IrOpRef found = 0;
    for (size_t m = 0; m < growth->group.members.len; m++) {
        const IrOp *member = ir_op(graph, growth->group.members.data[m]);
        for (uint32_t r = 0; r < member->result_count; r++) {
            const IrOpRefs *users = ir_users(graph, member->results[r]);
            for (size_t i = 0; i < users->len; i++) {
                IrOpRef ref = users->data[i];
                bool fits = pass_role(graph, ref) == IR_ROLE_VIEW && ir_op(graph, ref)->operands[0] == member->results[r] &&
                            !pass_contains(&growth->group, ref) && (!after || ir_is_before(graph, after, ref));
                if (fits && (!found || ir_is_before(graph, ref, found))) found = ref;
            }
        }
    }
    return found;
}

// Views between members become members: left outside they would make the group yield what only its own views read.
static void absorb_views(PassGrowth *growth)
{
    const IrGraph *graph = growth->graph;
    for (IrOpRef view = 0; (view = next_view(growth, view));) {
        IrValue value = ir_op(graph, view)->results[0];
        if (only_members_read(growth, value) && ir_use_count(graph, value)) hd_vec_push(&growth->group.members, view);
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
    hd_vec_free(&growth->said.members);
    return made;
}
