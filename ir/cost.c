// SPDX-License-Identifier: Apache-2.0
// What an operation costs: floating-point operations, and bytes that must be read and written at least once. Used for
// reports, rooflines and pass decisions; exact for matrix products, which dominate, and a count of the obvious loop for
// the rest. A view costs nothing; a fused operation has the arithmetic of its region and the bytes of its borders.
#include "ir/ir_internal.h"


typedef struct Site { const IrGraph *graph; const IrOp *op; const IrBinding *binding; } Site;   // an operation in a call

static const IrType *operand_type(const Site *s, uint32_t index) { return &ir_value(s->graph, s->op->operands[index])->type; }
static const IrType *result_type(const Site *s, uint32_t index) { return &ir_value(s->graph, s->op->results[index])->type; }

static double dim(const Site *s, const IrType *type, uint32_t axis) {
    return (double)ir_dim_eval(s->graph, type->dims[axis], s->binding);
}
static double elements(const Site *s, const IrType *type) { return (double)ir_type_elements(s->graph, type, s->binding); }
static double bytes(const Site *s, const IrType *type) { return (double)ir_type_bytes(s->graph, type, s->binding); }
static double last(const Site *s, const IrType *type) { return dim(s, type, type->rank - 1); }

// ---- arithmetic ------------------------------------------------------------------------------------------------

enum { EXP_FLOPS = 10 };   // a polynomial of degree 5 with its range reduction

// Per element of the first operand.
static double element_flops(IrOpKind kind) {
    switch (kind) {
    case IR_OP_exp: return EXP_FLOPS;
    case IR_OP_sigmoid: return EXP_FLOPS + 2;
    case IR_OP_silu: return EXP_FLOPS + 3;
    case IR_OP_softplus: return 2 * EXP_FLOPS;
    case IR_OP_rms_norm: return 4;      // square, add; scale, weight
    case IR_OP_l2_norm: return 3;
    case IR_OP_softmax: return EXP_FLOPS + 3;
    case IR_OP_quant_act: return 4;     // maximum, scale, round, sum
    case IR_OP_rope: return 3;          // two products and a sum
    case IR_OP_moe_sum: return 2;
    case IR_OP_cast:
    case IR_OP_add:
    case IR_OP_sub:
    case IR_OP_mul:
    case IR_OP_div:
    case IR_OP_scale:
    case IR_OP_neg:
    case IR_OP_sum: return 1;
    default: return 0;                  // views, look-ups, packing
    }
}

// 2 * rows * height * width for each matrix; rows (t, r) of the result for experts.
static double product_flops(const Site *s) {
    double flops = 0, width = last(s, operand_type(s, 1));
    for (uint32_t i = 0; i < s->op->result_count; i++) flops += 2 * elements(s, result_type(s, i)) * width;
    return flops;
}

// Scores and weighted sums over the whole cache: the most that the call can need.
static double attention_flops(const Site *s) {
    double scores = dim(s, operand_type(s, 0), 0) * dim(s, operand_type(s, 0), 1) * dim(s, operand_type(s, 1), 0);
    return scores * (4 * last(s, operand_type(s, 0)) + element_flops(IR_OP_softmax));
}

// Per token and value head: decay, S'k, beta (v - ..), rank-one update, S'q.
static double delta_flops(const Site *s) {
    const IrType *v = operand_type(s, 2), *state = operand_type(s, 5);
    return elements(s, v) / last(s, v) * (7 * dim(s, state, 1) * dim(s, state, 2) + 2 * last(s, v));
}

// Per row of a chunk: two products with K over the chunk, the triangular solve for U and W.
static double chunk_prep_flops(const Site *s) {
    const IrType *u = result_type(s, 0), *w = result_type(s, 1);
    double rows = elements(s, u) / last(s, u), chunk = last(s, result_type(s, 2));
    return rows * chunk * (4 * last(s, w) + last(s, w) + last(s, u));
}

// Per row: W S, Q S and the update of S, each dk * dv; P times the new values over the chunk.
static double chunk_scan_flops(const Site *s) {
    const IrType *u = operand_type(s, 2), *w = operand_type(s, 3), *p = operand_type(s, 4);
    return elements(s, u) / last(s, u) * (6 * last(s, u) * last(s, w) + 2 * last(s, p) * last(s, u));
}

static double op_flops(const Site *s) {
    switch (s->op->kind) {
    case IR_OP_linear: case IR_OP_multi_linear: case IR_OP_grouped_linear: return product_flops(s);
    case IR_OP_attention: case IR_OP_attention_spans: return attention_flops(s);
    case IR_OP_attention_merge: return 2 * elements(s, operand_type(s, 0));
    case IR_OP_conv1d: return 2 * elements(s, operand_type(s, 0)) * last(s, operand_type(s, 1));
    case IR_OP_delta_rule: case IR_OP_delta_step: case IR_OP_delta_scan: return delta_flops(s);
    case IR_OP_delta_chunk_prep: return chunk_prep_flops(s);
    case IR_OP_delta_chunk_scan: return chunk_scan_flops(s);
    default: return element_flops(s->op->kind) * elements(s, operand_type(s, 0));
    }
}

// ---- bytes -----------------------------------------------------------------------------------------------------

static double state_slots(const Site *s) { return (double)s->binding->value[IR_SYM_S]; }

// Of an expert tensor only the experts that can be chosen are read.
static double expert_bytes(const Site *s) {
    double experts = dim(s, operand_type(s, 1), 0), rows = elements(s, operand_type(s, 2));
    return bytes(s, operand_type(s, 1)) * HD_MIN(1.0, rows / experts);
}

static double row_bytes(const Site *s, const IrType *matrix, double rows) {
    return bytes(s, matrix) / HD_MAX(dim(s, matrix, 0), 1.0) * rows;
}

static double operand_read(const Site *s, uint32_t index) {
    const IrType *type = operand_type(s, index);
    IrOpKind kind = s->op->kind;
    IrStateKind state = ir_state_operand(kind, index);
    if (ir_op_info(kind)->role == IR_ROLE_VIEW) return 0;
    if (kind == IR_OP_embed && index == 1) return row_bytes(s, type, dim(s, operand_type(s, 0), 0));
    if (kind == IR_OP_take_rows && index == 0) return row_bytes(s, type, dim(s, operand_type(s, 1), 0));
    if (kind == IR_OP_grouped_linear && index == 1) return expert_bytes(s);
    if (kind == IR_OP_kv_append && index == 1) return 0;
    return state == IR_STATE_CONV || state == IR_STATE_DELTA ? bytes(s, type) * state_slots(s) : bytes(s, type);
}

static double operand_written(const Site *s, uint32_t index) {
    IrStateKind state = ir_state_operand(s->op->kind, index);
    if (state == IR_STATE_COUNT || !(ir_op_info(s->op->kind)->effect & IR_EFFECT_WRITE)) return 0;
    const IrType *type = operand_type(s, index);
    return state == IR_STATE_KV ? row_bytes(s, type, dim(s, operand_type(s, 0), 0)) : bytes(s, type) * state_slots(s);
}

static double result_written(const Site *s) {
    double sum = 0;
    if (ir_op_info(s->op->kind)->role == IR_ROLE_VIEW) return 0;
    for (uint32_t i = 0; i < s->op->result_count; i++) sum += bytes(s, result_type(s, i));
    return sum;
}

// What a member of a region reads of an argument: through a view all that the view shows.
static double member_read(const Site *s, uint32_t index) {
    if (s->op->kind == IR_OP_concat) return bytes(s, operand_type(s, index));
    return ir_op_info(s->op->kind)->role == IR_ROLE_VIEW ? bytes(s, result_type(s, 0)) : operand_read(s, index);
}

// Several members may read an argument, once from memory; slices of it are counted together, up to the whole.
static void region_arg(const Site *fused, IrValue arg, double *out_read, double *out_written) {
    double whole = bytes(fused, &ir_value(fused->graph, arg)->type), read = 0, sliced = 0;
    *out_written = 0;
    IR_FOR_OPS(fused->graph, fused->op->region, ref) {
        Site member = {fused->graph, ir_op(fused->graph, ref), fused->binding};
        for (uint32_t i = 0; i < member.op->operand_count; i++) {
            if (member.op->operands[i] != arg) continue;
            if (member.op->kind == IR_OP_slice) sliced += member_read(&member, i);
            else read = HD_MAX(read, member_read(&member, i));
            *out_written += operand_written(&member, i);
        }
    }
    *out_read = HD_MAX(read, HD_MIN(sliced, whole));
}

static IrCost fused_cost(const Site *s) {
    IrCost cost = {.bytes_written = result_written(s)};
    const IrBlockData *region = &s->graph->blocks.data[s->op->region];
    for (size_t i = 0; i < region->args.len; i++) {
        double read, written;
        region_arg(s, region->args.data[i], &read, &written);
        cost.bytes_read += read;
        cost.bytes_written += written;
    }
    IR_FOR_OPS(s->graph, s->op->region, ref) {
        Site member = {s->graph, ir_op(s->graph, ref), s->binding};
        cost.flops += op_flops(&member);
    }
    return cost;
}

IrCost ir_op_cost(const IrGraph *graph, IrOpRef ref, const IrBinding *binding) {
    Site site = {graph, ir_op(graph, ref), binding};
    if (site.op->kind == IR_OP_fused && site.op->region) return fused_cost(&site);
    IrCost cost = {.flops = op_flops(&site), .bytes_written = result_written(&site)};
    for (uint32_t i = 0; i < site.op->operand_count; i++) {
        cost.bytes_read += operand_read(&site, i);
        cost.bytes_written += operand_written(&site, i);
    }
    return cost;
}
