// SPDX-License-Identifier: Apache-2.0
// Puts what no fusion took into groups of its own, so that the body holds groups only.
//
// Views move into the groups that read them. Element-wise and row operations read through any view; the others read contiguous
// rows: a reshape is the same bytes, a slice or concat in front of them is copied by a row group first. A view that is a result
// of the graph is copied too.
#include "passes/internal.h"

#include <stdlib.h>

// Group kind of an operation that stands alone; false: no kind holds it.
static bool group_of(const IrGraph *graph, IrOpRef ref, IrGroup *out_group)
{
    switch (ir_op(graph, ref)->kind) {
    case IR_OP_linear:
    case IR_OP_multi_linear: *out_group = IR_GROUP_MATMUL; return true;
    case IR_OP_grouped_linear: *out_group = IR_GROUP_GROUPED; return true;
    case IR_OP_topk: *out_group = IR_GROUP_TOPK; return true;
    case IR_OP_moe_plan: *out_group = IR_GROUP_MOE_PLAN; return true;
    case IR_OP_embed: *out_group = IR_GROUP_EMBED; return true;
    case IR_OP_take_rows: *out_group = IR_GROUP_ROWS; return true;
    case IR_OP_attention: *out_group = IR_GROUP_ATTENTION; return true;
    case IR_OP_conv1d: *out_group = IR_GROUP_CONV; return true;
    case IR_OP_delta_step:
    case IR_OP_delta_scan: *out_group = IR_GROUP_DELTA; return true;
    case IR_OP_delta_chunk_prep: *out_group = IR_GROUP_DELTA_PREP; return true;
    case IR_OP_delta_chunk_scan: *out_group = IR_GROUP_DELTA_CHUNK; return true;
    case IR_OP_pack: *out_group = IR_GROUP_PACK; return true;
    default:
        *out_group = IR_GROUP_ROWWISE;
        return pass_role(graph, ref) == IR_ROLE_ELEMENTWISE || pass_role(graph, ref) == IR_ROLE_REDUCE;
    }
}

static bool make_single(IrGraph *graph, PassCtx *ctx, IrOpRef ref, IrGroup kind)
{
    PassGroup group = {0};
    if (!pass_fire(ctx, RULE_partition_single, graph, ref)) return false;
    hd_vec_push(&group.members, ref);
    pass_group_make(graph, &group, kind);
    hd_vec_free(&group.members);
    return true;
}

// Does an operation that wants contiguous rows read this value, directly or through views?
static bool has_row_reader(const IrGraph *graph, IrValue value)
{
    IrOpRef users[64];
    uint32_t count = HD_MIN(pass_users(graph, value, users, HD_COUNT(users)), HD_COUNT(users));
    for (uint32_t i = 0; i < count; i++) {
        IrRole role = pass_role(graph, users[i]);
        if (role == IR_ROLE_SPECIAL || role == IR_ROLE_CONTRACT) return true;
        if (role == IR_ROLE_VIEW && has_row_reader(graph, ir_op(graph, users[i])->results[0])) return true;
    }
    return false;
}

static bool needs_copy(const IrGraph *graph, IrOpRef view)
{
    IrValue value = ir_op(graph, view)->results[0];
    return pass_is_result(graph, value) || (ir_op(graph, view)->kind != IR_OP_reshape && has_row_reader(graph, value));
}

HdStatus *pass_partition(IrGraph *graph, PassCtx *ctx)
{
    PassWalk walk = pass_walk_begin(graph);
    for (IrOpRef ref; (ref = pass_walk_next(&walk));)
        if (pass_role(graph, ref) == IR_ROLE_VIEW && needs_copy(graph, ref)) make_single(graph, ctx, ref, IR_GROUP_ROWWISE);
    pass_walk_restart(&walk);
    HdStatus *status = NULL;
    for (IrOpRef ref; !status && (ref = pass_walk_next(&walk));) {
        const IrOp *op = ir_op(graph, ref);
        IrGroup kind;
        if (op->kind == IR_OP_fused || pass_role(graph, ref) == IR_ROLE_VIEW) continue;
        if (!group_of(graph, ref, &kind))
            status = hd_error(HD_UNSUPPORTED,
                              "@%s: no group kind holds the operation %s (layer %d); groups are listed in ir/targets.def",
                              graph->name, ir_op_info(op->kind)->name, op->layer);
        else if (!make_single(graph, ctx, ref, kind))
            status = hd_error(HD_UNSUPPORTED, "@%s: partition was refused for %s (layer %d), so the graph cannot be compiled",
                              graph->name, ir_op_info(op->kind)->name, op->layer);
    }
    pass_walk_end(&walk);
    return status;
}
