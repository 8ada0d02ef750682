// SPDX-License-Identifier: Apache-2.0
// Joins element-wise operations to the product, attention, convolution or routing before them, and makes head-wise chains one
// stage.
//
// Each rule has an anchor (where a group starts) and says what may join it (passes/growth.c does the growing):
//   matmul     linear, multi_linear     arithmetic on [T, N] of the same shape: residual add, SwiGLU over two results, gates,
//   bf16 casts grouped    grouped_linear           its twin (same rows, experts and plan) and arithmetic on [T, k, N] attention
//   attention                arithmetic on its elements, through views (the output gate) conv       conv1d arithmetic, then
//   slices that cover the channels, heads, norms route      topk                     the softmax before, sum and division of its
//   values after heads      norm, rope, kv_append    row operations over the same [T, H]
#include "passes/internal.h"

#include <stdlib.h>
#include <string.h>

// ---- what may join ---------------------------------------------------------------------------------------------

static bool joins_product(const PassGrowth *growth, IrOpRef op, IrValue via, PassMissed *out_reason)
{
    *out_reason = MISSED_not_elementwise;
    if (!pass_is_arithmetic(growth->graph, op)) return false;
    IrType type = pass_type(growth->graph, op);
    *out_reason = MISSED_other_shape;
    return pass_same_dims(&type, &ir_value(growth->graph, via)->type);
}

static bool joins_attention(const PassGrowth *growth, IrOpRef op, IrValue via, PassMissed *out_reason)
{
    *out_reason = MISSED_not_elementwise;
    (void)via;
    if (!pass_is_arithmetic(growth->graph, op)) return false;
    IrType type = pass_type(growth->graph, op);
    const IrType *heads = &growth->anchor; // [T, H, d]
    *out_reason = MISSED_other_shape;
    bool flat = type.rank == 2 && type.dims[0] == heads->dims[0] && type.dims[1] == heads->dims[1] * heads->dims[2];
    return flat || pass_same_dims(&type, heads);
}

static bool joins_route(const PassGrowth *growth, IrOpRef op, IrValue via, PassMissed *out_reason)
{
    *out_reason = MISSED_not_elementwise;
    if (pass_role(growth->graph, op) == IR_ROLE_ELEMENTWISE && !pass_is_arithmetic(growth->graph, op)) return false;
    return pass_joins_rows(growth, op, via, out_reason) && pass_type(growth->graph, op).dtype == IR_F32;
}

// ---- convolution -----------------------------------------------------------------------------------------------

// The one reader of a value, if there is one; else 0.
static IrOpRef only_reader(const IrGraph *graph, IrValue value)
{
    IrOpRef user = 0;
    return pass_users(graph, value, &user, 1) == 1 && !pass_is_result(graph, value) ? user : 0;
}

// Adds the chain behind a slice of the channels: reshape to heads, then one norm.
static void add_head_chain(PassGrowth *growth, IrOpRef slice)
{
    IrGraph *graph = growth->graph;
    IrOpRef reshape = only_reader(graph, ir_op(graph, slice)->results[0]);
    if (!pass_grow_add(growth, slice) || !reshape || ir_op(graph, reshape)->kind != IR_OP_reshape) return;
    IrOpRef norm = only_reader(graph, ir_op(graph, reshape)->results[0]);
    if (!pass_grow_add(growth, reshape) || !norm) return;
    IrOpKind kind = ir_op(graph, norm)->kind;
    if (kind == IR_OP_l2_norm || kind == IR_OP_rms_norm) pass_grow_add(growth, norm);
}

// Do the readers of `value` slice its channels so that each is in exactly one slice?
static bool slices_cover(const IrGraph *graph, IrValue value, IrOpRef *out_slices, uint32_t *out_count)
{
    const IrType *type = &ir_value(graph, value)->type;
    uint32_t count = pass_users(graph, value, out_slices, 8);
    int64_t covered = 0;
    *out_count = count;
    if (!count || count > 8 || pass_is_result(graph, value)) return false;
    for (bool found = true; found && covered < ir_type_last(type);) {
        found = false;
        for (uint32_t i = 0; i < count; i++) {
            const IrOp *op = ir_op(graph, out_slices[i]);
            if (op->kind != IR_OP_slice || op->attr[IR_ATTR_AXIS].i != 1) return false;
            if (op->attr[IR_ATTR_BEGIN].i != covered || op->attr[IR_ATTR_END].i <= covered) continue;
            covered = op->attr[IR_ATTR_END].i;
            found = true;
            break;
        }
    }
    int64_t total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += ir_op(graph, out_slices[i])->attr[IR_ATTR_END].i - ir_op(graph, out_slices[i])->attr[IR_ATTR_BEGIN].i;
    return covered == ir_type_last(type) && total == covered;
}

static void grow_conv(PassGrowth *growth)
{
    IrOpRef slices[8], tail = growth->group.members.data[0];
    uint32_t count;
    pass_grow(growth); // the activation
    for (size_t i = 0; i < growth->group.members.len; i++) {
        const IrOp *op = ir_op(growth->graph, growth->group.members.data[i]);
        if (only_reader(growth->graph, op->results[0]) == 0 ||
            !pass_contains(&growth->group, only_reader(growth->graph, op->results[0])))
            tail = growth->group.members.data[i];
    }
    if (!slices_cover(growth->graph, ir_op(growth->graph, tail)->results[0], slices, &count)) {
        pass_missed(growth->ctx, growth->rule, growth->graph, tail, MISSED_channels);
        return;
    }
    for (uint32_t i = 0; i < count; i++) add_head_chain(growth, slices[i]);
}

// ---- anchors ---------------------------------------------------------------------------------------------------

// A grouped_linear over the same rows, experts and plan as the anchor: gate beside up.
static void add_twin(PassGrowth *growth)
{
    const IrOp anchor = *ir_op(growth->graph, growth->group.members.data[0]);
    IR_FOR_OPS(growth->graph, 0, ref)
    {
        const IrOp *op = ir_op(growth->graph, ref);
        if (op->kind != IR_OP_grouped_linear || ref == growth->group.members.data[0] || op->operand_count != anchor.operand_count)
            continue;
        IrType type = pass_type(growth->graph, ref);
        bool twin = op->operands[0] == anchor.operands[0] && op->operands[2] == anchor.operands[2] &&
                    pass_same_dims(&type, &growth->anchor);
        if (twin && op->operand_count == 4) twin = op->operands[3] == anchor.operands[3];
        if (twin) {
            pass_grow_add(growth, ref);
            return;
        }
    }
}

typedef struct Anchor {
    IrOpKind kind;
    uint32_t min_rank;
    PassRule rule;
    IrGroup group;
    bool (*accepts)(const PassGrowth *, IrOpRef, IrValue, PassMissed *);
    bool through_views;
} Anchor;

static const Anchor anchors[] = {
    {IR_OP_linear, 2, RULE_fuse_epilogue_matmul, IR_GROUP_MATMUL, joins_product, false},
    {IR_OP_multi_linear, 2, RULE_fuse_epilogue_matmul, IR_GROUP_MATMUL, joins_product, false},
    {IR_OP_grouped_linear, 3, RULE_fuse_epilogue_grouped, IR_GROUP_GROUPED, joins_product, false},
    {IR_OP_attention, 3, RULE_fuse_epilogue_attention, IR_GROUP_ATTENTION, joins_attention, true},
    {IR_OP_conv1d, 2, RULE_fuse_epilogue_conv, IR_GROUP_CONV, joins_product, false},
    {IR_OP_topk, 2, RULE_fuse_epilogue_topk, IR_GROUP_TOPK, joins_route, false},
    {IR_OP_rms_norm, 3, RULE_fuse_epilogue_heads, IR_GROUP_ROWWISE, pass_joins_rows, false},
    {IR_OP_l2_norm, 3, RULE_fuse_epilogue_heads, IR_GROUP_ROWWISE, pass_joins_rows, false},
    {IR_OP_rope, 3, RULE_fuse_epilogue_heads, IR_GROUP_ROWWISE, pass_joins_rows, false},
    {IR_OP_kv_append, 3, RULE_fuse_epilogue_heads, IR_GROUP_ROWWISE, pass_joins_rows, false},
};

static void fuse_at(IrGraph *graph, PassCtx *ctx, const Anchor *anchor, IrOpRef ref)
{
    PassGrowth growth = {.graph = graph,
                         .ctx = ctx,
                         .rule = anchor->rule,
                         .kind = anchor->group,
                         .accepts = anchor->accepts,
                         .through_views = anchor->through_views,
                         .anchor = pass_type(graph, ref)};
    hd_vec_push(&growth.group.members, ref);
    if (anchor->kind == IR_OP_grouped_linear) add_twin(&growth);
    if (anchor->kind == IR_OP_conv1d) grow_conv(&growth);
    else pass_grow(&growth);
    pass_grow_finish(&growth);
}

// Anchors of the table's first kinds come first over the whole graph, so that an operation joins a product rather than a row
// chain.
HdStatus *pass_fuse_epilogue(IrGraph *graph, PassCtx *ctx)
{
    PassWalk walk = pass_walk_begin(graph);
    for (size_t a = 0; a < HD_COUNT(anchors); a++) {
        pass_walk_restart(&walk);
        for (IrOpRef ref; (ref = pass_walk_next(&walk));)
            if (ir_op(graph, ref)->kind == anchors[a].kind && pass_type(graph, ref).rank >= anchors[a].min_rank)
                fuse_at(graph, ctx, &anchors[a], ref);
    }
    pass_walk_end(&walk);
    return NULL;
}
