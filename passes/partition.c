// SPDX-License-Identifier: Apache-2.0
// Puts what no fusion took into groups of its own, so that the body holds groups only.
//
// Views move into the groups that read them, where these read through them (pass_reads); others are copied by a row group
// first. A view that is a result of the graph is copied too.
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
    case IR_OP_argmax: *out_group = IR_GROUP_ARGMAX; return true;
    case IR_OP_top_runs: *out_group = IR_GROUP_TOP_RUNS; return true;
    case IR_OP_attention_spans: *out_group = IR_GROUP_ATTENTION_SPANS; return true;
    case IR_OP_attention:
    case IR_OP_attention_merge: *out_group = IR_GROUP_ATTENTION; return true;
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

static HdStatus *make_single(IrGraph *graph, PassCtx *ctx, IrOpRef ref, IrGroup kind)
{
    PassGroup group = {0};
    const IrOp *op = ir_op(graph, ref);
    if (!pass_fire(ctx, RULE_partition_single, graph, ref))
        return hd_error(HD_UNSUPPORTED, "a group for %s (layer %d) was refused, so the graph cannot be compiled",
                        ir_op_info(op->kind)->name, op->layer);
    hd_vec_push(&group.members, ref);
    pass_group_make(graph, &group, kind);
    hd_vec_free(&group.members);
    return NULL;
}

// Is there a reader of `value` who does not read through the view? `value` is the view's result or, seen through further views
// (only reshapes?), what these make of it.
static bool stops_reader(const IrGraph *graph, IrOpRef view, IrValue value, bool reshapes)
{
    const IrOpRefs *users = ir_users(graph, value);
    for (size_t u = 0; u < users->len; u++) {
        IrOpRef ref = users->data[u];
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->operand_count; i++) {
            if (op->operands[i] != value) continue;
            if (pass_role(graph, ref) == IR_ROLE_VIEW) {
                if (stops_reader(graph, view, op->results[0], reshapes && op->kind == IR_OP_reshape)) return true;
                continue;
            }
            bool direct = value == ir_op(graph, view)->results[0];
            bool comes_here = direct || (reshapes && pass_reads(graph, ref, i) == PASS_READS_RESHAPES);
            if (comes_here && !pass_reads_view(graph, ref, i, view)) return true;
        }
    }
    return false;
}

static bool needs_copy(const IrGraph *graph, IrOpRef view)
{
    IrValue value = ir_op(graph, view)->results[0];
    return pass_is_result(graph, value) || stops_reader(graph, view, value, true);
}

void pass_erase_unread_views(IrGraph *graph)
{
    IrOpRef before;
    for (IrOpRef ref = graph->blocks.data[0].last; ref; ref = before) {
        before = ir_op(graph, ref)->prev;
        if (pass_role(graph, ref) == IR_ROLE_VIEW && !ir_use_count(graph, ir_op(graph, ref)->results[0])) ir_erase(graph, ref);
    }
}

HdStatus *pass_partition(IrGraph *graph, PassCtx *ctx)
{
    pass_erase_unread_views(graph);
    PassWalk walk = pass_walk_begin(graph);
    HdStatus *status = NULL;
    for (IrOpRef ref; !status && (ref = pass_walk_next(&walk));)
        if (pass_role(graph, ref) == IR_ROLE_VIEW && needs_copy(graph, ref))
            status = make_single(graph, ctx, ref, IR_GROUP_ROWWISE);
    pass_walk_restart(&walk);
    for (IrOpRef ref; !status && (ref = pass_walk_next(&walk));) {
        const IrOp *op = ir_op(graph, ref);
        IrGroup kind;
        if (op->kind == IR_OP_fused || pass_role(graph, ref) == IR_ROLE_VIEW) continue;
        if (group_of(graph, ref, &kind)) status = make_single(graph, ctx, ref, kind);
        else
            status = hd_error(HD_UNSUPPORTED, "no group kind of ir/targets.def holds the operation %s (layer %d)",
                              ir_op_info(op->kind)->name, op->layer);
    }
    pass_walk_end(&walk);
    return status;
}
