// SPDX-License-Identifier: Apache-2.0
// Values: one short function for each operation that needs no weight of its own, and the one that builds them all.
#include "frontend/dsl_internal.h"

#include <string.h>

Tensor dsl_op(Model *m, const DslOp *op) {
    IrValue operands[HD_COUNT(op->operand)];
    for (uint32_t i = 0; i < op->operands; i++) {
        if (m->error || dsl_is_none(op->operand[i])) return (Tensor){0};
        operands[i] = op->operand[i].value;
    }
    IrBuild build = {.kind = op->kind, .operands = operands, .operand_count = op->operands, .attrs = op->attr,
                     .attr_count = op->attrs, .given = op->given, .given_count = op->given ? 1 : 0};
    HdStatus *status = NULL;
    IrOpRef ref = ir_build(m->graph, &build, &status);
    if (!ref) {
        dsl_fail(m, HD_INTERNAL, "%s%s", m->prefix, hd_status_message(status));
        hd_status_free(status);
        return (Tensor){0};
    }
    const IrOp *built = ir_op(m->graph, ref);
    if (op->out_second) *op->out_second = (Tensor){built->results[1]};
    return (Tensor){built->result_count ? built->results[0] : 0};
}

IrType dsl_type(const Model *m, Tensor x) { return ir_value(m->graph, x.value)->type; }

static Tensor unary(Model *m, IrOpKind kind, Tensor x) { return DSL_OP(m, .kind = kind, .operands = 1, .operand = {x}); }
static Tensor binary(Model *m, IrOpKind kind, Tensor a, Tensor b) {
    return DSL_OP(m, .kind = kind, .operands = 2, .operand = {a, b});
}

Tensor dsl_add(Model *m, Tensor a, Tensor b) { return binary(m, IR_OP_add, a, b); }
Tensor dsl_mul(Model *m, Tensor a, Tensor b) { return binary(m, IR_OP_mul, a, b); }
Tensor dsl_divide(Model *m, Tensor a, Tensor b) { return binary(m, IR_OP_div, a, b); }
Tensor dsl_sigmoid(Model *m, Tensor x) { return unary(m, IR_OP_sigmoid, x); }
Tensor dsl_silu(Model *m, Tensor x) { return unary(m, IR_OP_silu, x); }
Tensor dsl_softplus(Model *m, Tensor x) { return unary(m, IR_OP_softplus, x); }
Tensor dsl_softmax(Model *m, Tensor x) { return unary(m, IR_OP_softmax, x); }
Tensor dsl_sum(Model *m, Tensor x) { return unary(m, IR_OP_sum, x); }

Tensor dsl_rms_norm(Model *m, Tensor x, const char *name, float eps) {
    if (dsl_is_none(x)) return x;
    IrType type = dsl_type(m, x);
    Tensor w = dsl_vector(m, hd_arena_printf(&m->arena, "%s.weight", name), ir_type_last(&type));
    return DSL_OP(m, .kind = IR_OP_rms_norm, .operands = 2, .operand = {x, w}, .attrs = 1, .attr = {{IR_ATTR_EPS, {.f = eps}}});
}

Tensor dsl_l2_norm(Model *m, Tensor x, float eps, float scale) {
    return DSL_OP(m, .kind = IR_OP_l2_norm, .operands = 1, .operand = {x}, .attrs = 2,
                  .attr = {{IR_ATTR_EPS, {.f = eps}}, {IR_ATTR_SCALE, {.f = scale}}});
}

// ---- views ---------------------------------------------------------------------------------------------------

Tensor dsl_reshape(Model *m, Tensor x, uint32_t rank, const IrDim *dims) {
    if (dsl_is_none(x)) return x;
    IrType type = {.dtype = dsl_type(m, x).dtype, .rank = rank};
    memcpy(type.dims, dims, rank * sizeof *dims);
    return DSL_OP(m, .kind = IR_OP_reshape, .operands = 1, .operand = {x}, .given = &type);
}

Tensor dsl_heads(Model *m, Tensor x, int64_t count, int64_t width) {
    if (dsl_is_none(x)) return x;
    return dsl_reshape(m, x, 3, (IrDim[]){dsl_type(m, x).dims[0], count, width});
}

Tensor dsl_flat(Model *m, Tensor x) {
    if (dsl_is_none(x)) return x;
    IrType type = dsl_type(m, x);
    return dsl_reshape(m, x, 2, (IrDim[]){type.dims[0], type.dims[1] * type.dims[2]});
}

Tensor dsl_channels(Model *m, Tensor x, int64_t begin, int64_t count) {
    if (dsl_is_none(x)) return x;
    IrAttr axis = {IR_ATTR_AXIS, {.i = dsl_type(m, x).rank - 1}};
    return DSL_OP(m, .kind = IR_OP_slice, .operands = 1, .operand = {x}, .attrs = 3,
                  .attr = {axis, {IR_ATTR_BEGIN, {.i = begin}}, {IR_ATTR_END, {.i = begin + count}}});
}

Tensor dsl_topk(Model *m, Tensor x, int64_t k, Tensor *out_ids) {
    *out_ids = (Tensor){0};
    return DSL_OP(m, .kind = IR_OP_topk, .operands = 1, .operand = {x}, .attrs = 1, .attr = {{IR_ATTR_K, {.i = k}}},
                  .out_second = out_ids);
}
