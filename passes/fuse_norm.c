// SPDX-License-Identifier: Apache-2.0
// Makes row operations around a norm one stage: the sums before it, the norm, the quantisation of its result; also a sum over
// expert ranks with what follows. All work on whole token rows [T, n]; what others read as well is a result of the group.
#include "passes/internal.h"

#include <stdlib.h>

static bool is_anchor(const IrGraph *graph, IrOpRef ref)
{
    switch (ir_op(graph, ref)->kind) {
    case IR_OP_rms_norm:
    case IR_OP_quant_act:
    case IR_OP_moe_sum: return pass_type(graph, ref).rank == 2;
    default: return false;
    }
}

HdStatus *pass_fuse_norm(IrGraph *graph, PassCtx *ctx)
{
    pass_erase_unread_views(graph);
    PassWalk walk = pass_walk_begin(graph);
    for (IrOpRef ref; (ref = pass_walk_next(&walk));) {
        if (!is_anchor(graph, ref)) continue;
        PassGrowth growth = {.graph = graph,
                             .ctx = ctx,
                             .rule = RULE_fuse_norm_norm,
                             .kind = IR_GROUP_ROWWISE,
                             .accepts = pass_joins_rows,
                             .views = PASS_VIEWS_COLUMNS,
                             .pull_shared = true,
                             .anchor = pass_type(graph, ref)};
        hd_vec_push(&growth.group.members, ref);
        pass_grow(&growth);
        pass_grow_finish(&growth);
    }
    pass_walk_end(&walk);
    return NULL;
}
