// SPDX-License-Identifier: Apache-2.0
// How a convolution's group is cut into launches and work units (sched.h): the same on all targets.
#include "codegen/sched.h"

// ---- where a yield finds its channels --------------------------------------------------------------------------

typedef struct Walk { CgIndex at[4]; const IrGraph *graph; const IrOp *conv; KirFn *fn; bool whole_rows; } Walk;

// Follows `value` down to the convolution, turning the position in w->at from the one shape into the other. false: it does
// not get there, or by something that mixes channels.
static bool find_channels(Walk *w, IrValue value) {
    const IrOp *op = cg_region_op(w->graph, value);
    if (!op || op == w->conv) return op != NULL;
    IrRole role = ir_op_info(op->kind)->role;
    w->whole_rows = w->whole_rows || role == IR_ROLE_REDUCE;
    if (op->kind == IR_OP_reshape && !cg_index_reshape(w->fn, cg_type(w->graph, value), w->at, cg_type(w->graph, op->operands[0]), w->at))
        return false;
    if (op->kind == IR_OP_slice) w->at[op->attr[IR_ATTR_AXIS].i].constant += op->attr[IR_ATTR_BEGIN].i;
    bool channelwise =
        op->kind == IR_OP_reshape || op->kind == IR_OP_slice || role == IR_ROLE_ELEMENTWISE || role == IR_ROLE_REDUCE;
    if (!channelwise || op->kind == IR_OP_rope || op->kind == IR_OP_moe_sum || op->kind == IR_OP_concat || op->kind == IR_OP_sum)
        return false;
    return find_channels(w, op->operands[0]);
}

HdStatus *cg_conv_group(const IrGraph *graph, IrOpRef group, const IrOp **out_op, CgUnit *out_all) {
    HD_TRY(cg_group_op(graph, group, IR_OP_conv1d, out_op));
    if (cg_type(graph, (*out_op)->operands[1])->dims[1] > CG_CONV_MOST_TAPS)
        return hd_error(HD_UNSUPPORTED, "conv1d: more than %d taps", CG_CONV_MOST_TAPS);
    return cg_unit_plan(graph, group, out_all);
}

// ---- a yield ---------------------------------------------------------------------------------------------------

// How the rows of a yield are dealt out, before anything is emitted for it.
HdStatus *cg_conv_plan(CgBuild *build, const IrOp *op, const CgUnit *all, uint32_t index, CgConvYield *out_yield) {
    IrValue value = all->sinks[index].value;
    const IrType *type = cg_type(build->graph, value);
    if (type->rank < 2 || type->rank > 3 || type->dims[0] != cg_type(build->graph, op->results[0])->dims[0])
        return hd_error(HD_UNSUPPORTED, "a conv group yields [T, n] or [T, H, d] only");
    Walk walk = {.graph = build->graph, .conv = op, .fn = build->fn};
    for (uint32_t i = 0; i < type->rank; i++)
        walk.at[i] = cg_index(kir_i64(build->fn, 0), ir_dim_is_sym(type->dims[i]) ? 0 : type->dims[i]);
    if (!find_channels(&walk, value)) return hd_error(HD_UNSUPPORTED, "a conv group yields channels of the convolution only");
    *out_yield = (CgConvYield){.type = *type, .whole_rows = walk.whole_rows || type->rank == 3};
    out_yield->unit = (CgUnit){.prefix = type->rank - 1, .sink_count = 1, .sinks = {all->sinks[index]}};
    for (uint32_t i = 0; i < type->rank; i++) out_yield->unit.dims[i] = type->dims[i];
    int64_t last = ir_type_last(type);
    bool blocks = !out_yield->whole_rows && last % CG_CONV_BLOCK == 0;
    out_yield->heads = type->rank == 3 ? type->dims[1] : blocks ? last / CG_CONV_BLOCK : 1;
    out_yield->d = blocks ? CG_CONV_BLOCK : last;
    return NULL;
}

KirRef cg_conv_channel(CgBuild *build, const IrOp *op, const CgConvYield *yield, KirRef head) {
    Walk walk = {.graph = build->graph, .conv = op, .fn = build->fn};
    uint32_t last = yield->type.rank - 1;
    bool blocks = last == 1 && yield->heads > 1;
    walk.at[0] = cg_index_number(0);   // only the channel is wanted
    if (last == 2) walk.at[1] = cg_index(head, yield->heads);
    walk.at[last] = blocks ? cg_index_sum(build->fn, cg_index_number(0), cg_index(head, yield->heads), CG_CONV_BLOCK) : cg_index_number(0);
    HD_ASSERT(find_channels(&walk, yield->unit.sinks[0].value));
    return cg_index_ref(build->fn, &walk.at[1]);
}

void cg_conv_store(CgBuild *build, const IrOp *op, CgConvYield *yield, KirRef row, KirRef channel, KirRef token, KirRef head) {
    KirFn *fn = build->fn;
    CgRegion *region = cg_region_new(build);
    KirRef base = kir_offset(fn, row, kir_mul(fn, channel, kir_i64(fn, -4)));
    cg_region_bind_memory(region, op->results[0], base, (KirRef[1]){0});
    if (yield->whole_rows || yield->heads == 1) {
        cg_unit_emit(region, &yield->unit, (KirRef[2]){token, head});
    } else {
        CgIndex at[2] = {cg_index(token, 0), cg_index_sum(fn, cg_index_number(0), cg_index(head, yield->heads), CG_CONV_BLOCK)};
        int64_t bytes = ir_dtype_info(yield->type.dtype)->block_bytes;
        KirRef to = kir_at(fn, yield->unit.sinks[0].to, token, ir_type_last(&yield->type) * bytes, 0);
        to = kir_at(fn, to, head, CG_CONV_BLOCK * bytes, 0);
        cg_region_store(region, 1, &yield->unit.sinks[0].value, &to, at, CG_CONV_BLOCK, 0);
    }
    cg_region_free(region);
}
