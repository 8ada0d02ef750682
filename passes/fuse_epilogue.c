// SPDX-License-Identifier: Apache-2.0
// Joins element-wise operations to the product, attention, convolution or routing before them, and makes head-wise chains one
// stage. Each rule has an anchor, where a group starts, and says what may join it; passes/growth.c does the growing.
//
//   matmul       linear, multi_linear: arithmetic on [T, N], such as a residual add, SwiGLU over two results, gates, bf16 casts; on a GPU
//                also a sum over expert ranks that is added to the product, and the norm of the one row that is multiplied: each work
//                group makes it for itself (a launch less each); on CUDA also the quantisation of that row; on a GPU also the argmax of
//                a linear, whose runs of columns a work group has at hand
//   grouped      grouped_linear: its twin (same rows, experts and plan) and arithmetic on [T, k, N]
//   attention    attention, or the merge of its spans: arithmetic on its elements, through reshapes (the output gate)
//   delta        delta.step, on a GPU: arithmetic and norms of a head's row (the gated norm)
//   conv         conv1d: arithmetic, then slices that cover the channels, each with its heads and norm
//   topk         topk: the softmax before it, sum and division of its values after it
//   heads        norm, rope or kv_append: row operations over the same [T, H]
#include "passes/internal.h"

#include <stdlib.h>
#include <string.h>

// ---- what may join ---------------------------------------------------------------------------------------------

static bool joins_product(const PassGrowth *growth, IrOpRef op, IrValue via, PassMissed *out_reason)
{
    *out_reason = MISSED_not_elementwise;
    bool sums_ranks = ir_op(growth->graph, op)->kind == IR_OP_moe_sum && ir_target_is_gpu(growth->ctx->target);
    if (!pass_is_arithmetic(growth->graph, op) && !sums_ranks) return false;
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

// On rows of heads, as far as the lanes of a work group go.
static bool joins_delta(const PassGrowth *growth, IrOpRef op, IrValue via, PassMissed *out_reason)
{
    IrOpKind kind = ir_op(growth->graph, op)->kind;
    (void)via;
    *out_reason = MISSED_not_elementwise;
    if (!pass_is_arithmetic(growth->graph, op) && kind != IR_OP_rms_norm && kind != IR_OP_l2_norm) return false;
    IrType type = pass_type(growth->graph, op);
    *out_reason = MISSED_other_shape;
    return pass_same_dims(&type, &growth->anchor) && ir_type_last(&type) <= IR_GPU_MOST_LANES;
}

// ---- convolution -----------------------------------------------------------------------------------------------

// The one reader of a value, if there is one; else 0.
static IrOpRef only_reader(const IrGraph *graph, IrValue value)
{
    IrOpRef user = 0;
    return pass_users(graph, value, &user, 1) == 1 && !pass_is_result(graph, value) ? user : 0;
}

// Adds the chain behind a slice of the channels: reshape to heads of the same tokens, then one norm.
static void add_head_chain(PassGrowth *growth, IrOpRef slice)
{
    IrGraph *graph = growth->graph;
    IrOpRef reshape = only_reader(graph, ir_op(graph, slice)->results[0]);
    if (!pass_grow_add(growth, slice) || !reshape || ir_op(graph, reshape)->kind != IR_OP_reshape) return;
    IrType heads = pass_type(graph, reshape);
    if (heads.rank > 3 || heads.dims[0] != growth->anchor.dims[0]) return;
    IrOpRef norm = only_reader(graph, ir_op(graph, reshape)->results[0]);
    if (!pass_grow_add(growth, reshape) || !norm) return;
    IrOpKind kind = ir_op(graph, norm)->kind;
    if (kind == IR_OP_l2_norm || kind == IR_OP_rms_norm) pass_grow_add(growth, norm);
}

enum { MAX_SLICES = 8 }; // as many results as a group has

static bool is_channel_slice(const IrGraph *graph, IrOpRef ref)
{
    return ir_op(graph, ref)->kind == IR_OP_slice && ir_op(graph, ref)->attr[IR_ATTR_AXIS].i == 1;
}

// The slice that begins at a channel; 0: none.
static IrOpRef slice_from(const IrGraph *graph, const IrOpRef *slices, uint32_t count, int64_t channel)
{
    for (uint32_t i = 0; i < count; i++)
        if (ir_op(graph, slices[i])->attr[IR_ATTR_BEGIN].i == channel) return slices[i];
    return 0;
}

// Do slices take the channels apart, so that each is in exactly one?
static bool slices_cover(const IrGraph *graph, const IrOpRef *slices, uint32_t count, int64_t channels)
{
    int64_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        IrOpRef slice = slice_from(graph, slices, count, at);
        if (!slice) return false;
        at = ir_op(graph, slice)->attr[IR_ATTR_END].i;
    }
    return at == channels;
}

// How many members' results leave the group; the last such member (the anchor where there is none). A kernel computes the
// convolution anew for each result and moves the window on each time, so no channel may be in two of them.
static uint32_t count_leaving(const PassGrowth *growth, IrOpRef *out_member)
{
    uint32_t leaving = 0;
    *out_member = growth->group.members.data[0];
    for (size_t i = 0; i < growth->group.members.len; i++) {
        IrOpRef users[64], member = growth->group.members.data[i];
        IrValue value = ir_op(growth->graph, member)->results[0];
        uint32_t count = HD_MIN(pass_users(growth->graph, value, users, HD_COUNT(users)), HD_COUNT(users));
        bool leaves = pass_is_result(growth->graph, value);
        for (uint32_t u = 0; u < count; u++) leaves = leaves || !pass_contains(&growth->group, users[u]);
        leaving += leaves;
        if (leaves) *out_member = member;
    }
    return leaving;
}

static void grow_conv(PassGrowth *growth)
{
    IrGraph *graph = growth->graph;
    IrOpRef slices[MAX_SLICES];
    pass_grow(growth); // the activation
    IrOpRef tail;
    if (count_leaving(growth, &tail) > 1) {
        pass_grow_miss(growth, growth->group.members.data[0], MISSED_has_uses, ir_op(graph, tail)->results[0]);
        growth->group.members.len = 1;
        return;
    }
    IrValue value = ir_op(graph, tail)->results[0];
    uint32_t count = pass_users(graph, value, slices, MAX_SLICES), found = 0;
    for (uint32_t i = 0; i < HD_MIN(count, MAX_SLICES); i++) found += is_channel_slice(graph, slices[i]);
    if (!found) return;
    if (found == count && !pass_is_result(graph, value) && slices_cover(graph, slices, count, growth->anchor.dims[1])) {
        for (uint32_t i = 0; i < count; i++) add_head_chain(growth, slices[i]);
    } else {
        pass_grow_miss(growth, tail, MISSED_channels, value);
    }
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

static bool only_members_read(const PassGrowth *growth, IrValue value)
{
    const IrOpRefs *users = ir_users(growth->graph, value);
    bool only = !pass_is_result(growth->graph, value);
    for (size_t i = 0; i < users->len && only; i++) only = pass_contains(&growth->group, users->data[i]);
    return only;
}

static bool only_products_read(const IrGraph *graph, IrValue value);

// Is it a product whose kernel can norm the row that it multiplies, or the quantisation of that row?
static bool can_norm(const IrGraph *graph, IrOpRef ref)
{
    const IrOp *op = ir_op(graph, ref);
    if (op->kind == IR_OP_quant_act) return only_products_read(graph, op->results[0]);
    return op->kind == IR_OP_linear || op->kind == IR_OP_multi_linear || (op->kind == IR_OP_grouped_linear && op->operand_count == 3);
}

static bool only_products_read(const IrGraph *graph, IrValue value)
{
    const IrOpRefs *users = ir_users(graph, value);
    bool only = !pass_is_result(graph, value);
    for (size_t i = 0; i < users->len && only; i++) only = can_norm(graph, users->data[i]);
    return only;
}

// The group's own copy of a norm that others read, too: to norm a row again costs less than a launch for all.
static IrOpRef own_norm(PassGrowth *growth, IrOpRef norm)
{
    IrGraph *graph = growth->graph;
    const IrOp *op = ir_op(graph, norm);
    if (only_members_read(growth, op->results[0])) return norm;
    IrValue operands[2] = {op->operands[0], op->operands[1]};
    IrAttr eps = {IR_ATTR_EPS, {.f = op->attr[IR_ATTR_EPS].f}};
    IrBuild build = {.kind = IR_OP_rms_norm, .operands = operands, .operand_count = 2, .attrs = &eps, .attr_count = 1, .before = norm};
    IrOpRef copy = pass_build(graph, &build, norm);
    for (size_t i = 0; i < growth->group.members.len; i++) ir_set_operand(graph, growth->group.members.data[i], 0, ir_op(graph, copy)->results[0]);
    return copy;
}

// The norm of the row that the group's products multiply, where none but products reads it.
static void add_norm(PassGrowth *growth)
{
    IrGraph *graph = growth->graph;
    IrValue x = ir_op(graph, growth->group.members.data[0])->operands[0];
    IrOpRef norm = pass_producer(graph, x);
    if (!ir_target_is_gpu(growth->ctx->target) || !norm || ir_op(graph, norm)->kind != IR_OP_rms_norm) return;
    IrType type = pass_type(graph, norm);
    bool only_products = only_products_read(graph, x), one_row = ir_dim_most(graph, type.dims[0]) == 1;
    if (!only_products || !one_row || ir_type_last(&type) > IR_GPU_MOST_NORMED) {
        PassMissed reason = !only_products ? MISSED_has_uses : !one_row ? MISSED_many_tokens : MISSED_other_shape;
        pass_missed_for(growth->ctx, RULE_fuse_epilogue_norm, graph, norm, reason, x);
    } else if (pass_fire(growth->ctx, RULE_fuse_epilogue_norm, graph, norm)) {
        growth->prologue[0] = own_norm(growth, norm);
        hd_vec_push(&growth->group.members, growth->prologue[0]);
    }
}

typedef struct Anchor {
    IrOpKind kind;
    uint32_t min_rank;
    PassRule rule;
    IrGroup group;
    bool (*accepts)(const PassGrowth *, IrOpRef, IrValue, PassMissed *);
    PassViews views;
    bool equal_dims;
} Anchor;

static const Anchor anchors[] = {
    {IR_OP_linear, 2, RULE_fuse_epilogue_matmul, IR_GROUP_MATMUL, joins_product, PASS_VIEWS_NONE, true},
    {IR_OP_multi_linear, 2, RULE_fuse_epilogue_matmul, IR_GROUP_MATMUL, joins_product, PASS_VIEWS_NONE, true},
    {IR_OP_grouped_linear, 3, RULE_fuse_epilogue_grouped, IR_GROUP_GROUPED, joins_product, PASS_VIEWS_NONE, true},
    {IR_OP_attention, 3, RULE_fuse_epilogue_attention, IR_GROUP_ATTENTION, joins_attention, PASS_VIEWS_RESHAPE, true},
    {IR_OP_attention_merge, 3, RULE_fuse_epilogue_attention, IR_GROUP_ATTENTION, joins_attention, PASS_VIEWS_RESHAPE, true},
    {IR_OP_delta_step, 3, RULE_fuse_epilogue_delta, IR_GROUP_DELTA, joins_delta, PASS_VIEWS_NONE, true},
    {IR_OP_conv1d, 2, RULE_fuse_epilogue_conv, IR_GROUP_CONV, joins_product, PASS_VIEWS_NONE, true},
    {IR_OP_topk, 2, RULE_fuse_epilogue_topk, IR_GROUP_TOPK, joins_route, PASS_VIEWS_COLUMNS, false},
    {IR_OP_rms_norm, 3, RULE_fuse_epilogue_heads, IR_GROUP_ROWWISE, pass_joins_rows, PASS_VIEWS_COLUMNS, false},
    {IR_OP_l2_norm, 3, RULE_fuse_epilogue_heads, IR_GROUP_ROWWISE, pass_joins_rows, PASS_VIEWS_COLUMNS, false},
    {IR_OP_rope, 3, RULE_fuse_epilogue_heads, IR_GROUP_ROWWISE, pass_joins_rows, PASS_VIEWS_COLUMNS, false},
    {IR_OP_kv_append, 3, RULE_fuse_epilogue_heads, IR_GROUP_ROWWISE, pass_joins_rows, PASS_VIEWS_COLUMNS, false},
};

// The quantisation of the row that the group's products multiply, where nobody else reads it; with the norm that only it reads. Where
// others read the norm too, one stage makes both.
static void add_quantisation(PassGrowth *growth)
{
    IrGraph *graph = growth->graph;
    IrValue x = ir_op(graph, growth->group.members.data[0])->operands[0];
    IrOpRef quantise = pass_producer(graph, x);
    if (!ir_target_is_cuda(growth->ctx->target) || !quantise || ir_op(graph, quantise)->kind != IR_OP_quant_act) return;
    IrType type = pass_type(graph, quantise);
    IrValue from = ir_op(graph, quantise)->operands[0];
    IrOpRef norm = pass_producer(graph, from);
    bool normed = norm && ir_op(graph, norm)->kind == IR_OP_rms_norm, one_row = ir_dim_most(graph, type.dims[0]) == 1;
    bool alone = only_members_read(growth, x) && (!normed || only_reader(graph, from));
    if (!alone || !one_row || ir_type_last(&type) > IR_CUDA_MOST_QUANTISED) {
        PassMissed reason = !alone ? MISSED_has_uses : !one_row ? MISSED_many_tokens : MISSED_other_shape;
        pass_missed_for(growth->ctx, RULE_fuse_epilogue_quantise, graph, quantise, reason, x);
    } else if (pass_fire(growth->ctx, RULE_fuse_epilogue_quantise, graph, quantise)) {
        growth->prologue[0] = quantise;
        hd_vec_push(&growth->group.members, quantise);
        if (normed) hd_vec_push(&growth->group.members, growth->prologue[1] = norm);
    }
}

// The argmax of a linear's result, by the runs of columns that a work group makes.
static void add_argmax(PassGrowth *growth)
{
    IrGraph *graph = growth->graph;
    IrOpRef linear = growth->group.members.data[0], argmax = 0;
    if (!ir_target_is_gpu(growth->ctx->target) || ir_op(graph, linear)->kind != IR_OP_linear) return;
    IrValue x = ir_op(graph, linear)->results[0];
    for (IrOpRef user = 0; !argmax && (user = pass_next_user(graph, x, user));)
        if (ir_op(graph, user)->kind == IR_OP_argmax) argmax = user;
    if (!argmax) return;
    if (ir_op(graph, argmax)->attr[IR_ATTR_WIDTH].i != HD_MIN(ir_type_last(&growth->anchor), IR_GPU_RUN))
        pass_missed_for(growth->ctx, RULE_fuse_epilogue_argmax, graph, argmax, MISSED_other_shape, x);
    else if (pass_fire(growth->ctx, RULE_fuse_epilogue_argmax, graph, argmax)) hd_vec_push(&growth->group.members, argmax);
}

static void fuse_at(IrGraph *graph, PassCtx *ctx, const Anchor *anchor, IrOpRef ref)
{
    PassGrowth growth = {.graph = graph,
                         .ctx = ctx,
                         .rule = anchor->rule,
                         .kind = anchor->group,
                         .accepts = anchor->accepts,
                         .views = anchor->views,
                         .equal_dims = anchor->equal_dims,
                         .anchor = pass_type(graph, ref)};
    hd_vec_push(&growth.group.members, ref);
    if (anchor->kind == IR_OP_grouped_linear) add_twin(&growth);
    if (anchor->group == IR_GROUP_MATMUL || anchor->group == IR_GROUP_GROUPED) {
        add_norm(&growth);
        add_quantisation(&growth);
        add_argmax(&growth);
    }
    if (anchor->kind == IR_OP_conv1d) grow_conv(&growth);
    else pass_grow(&growth);
    pass_grow_finish(&growth);
}

// Anchors of the table's first kinds come first over the whole graph, so that an operation joins a product rather than a row
// chain.
HdStatus *pass_fuse_epilogue(IrGraph *graph, PassCtx *ctx)
{
    pass_erase_unread_views(graph);
    PassWalk walk = pass_walk_begin(graph);
    for (size_t a = 0; a < HD_COUNT(anchors); a++) {
        if (anchors[a].kind == IR_OP_delta_step && !ir_target_is_gpu(ctx->target)) continue;
        pass_walk_restart(&walk);
        for (IrOpRef ref; (ref = pass_walk_next(&walk));)
            if (ir_op(graph, ref)->kind == anchors[a].kind && pass_type(graph, ref).rank >= anchors[a].min_rank)
                fuse_at(graph, ctx, &anchors[a], ref);
    }
    pass_walk_end(&walk);
    return NULL;
}
