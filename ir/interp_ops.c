// SPDX-License-Identifier: Apache-2.0
// Views, element-wise operations and operations along the last axis in the reference interpreter.
#include "ir/interp_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- views ---------------------------------------------------------------------------------------------------

// A tensor as [outer, axis, inner].
typedef struct Axis { int64_t outer, size, inner; } Axis;

static Axis axis_of(const IrTensor *x, uint32_t axis) {
    Axis shape = {.outer = 1, .size = x->dims[axis], .inner = 1};
    for (uint32_t i = 0; i < axis; i++) shape.outer *= x->dims[i];
    for (uint32_t i = axis + 1; i < x->rank; i++) shape.inner *= x->dims[i];
    return shape;
}

// Copies indices from.. of `x` to indices to.. of `y`, `count` of them along the axis.
static void copy_along(const IrTensor *x, int64_t from, IrTensor *y, int64_t to, int64_t count, uint32_t axis) {
    Axis a = axis_of(x, axis), b = axis_of(y, axis);
    size_t item = ir_form_bytes(x->form), bytes = (size_t)(count * a.inner) * item;
    for (int64_t o = 0; o < a.outer; o++)
        memcpy((char *)y->data + (size_t)((o * b.size + to) * b.inner) * item,
               (char *)x->data + (size_t)((o * a.size + from) * a.inner) * item, bytes);
}

static HdStatus *result_new(IrFrame *frame, const IrOp *op, bool with_data, IrTensor **out) {
    return ir_tensor_new(frame, &ir_value(frame->graph, op->results[0])->type, with_data, out);
}

// Whether rows that were not read yet stand one after another in their weight.
static bool contiguous_rows(const IrTensor *x) {
    int64_t expected = 1;
    for (int32_t axis = (int32_t)x->rank - 2; axis >= 0; axis--) {
        if (x->dims[axis] != 1 && x->rows.stride[axis] != expected) return false;
        expected *= x->dims[axis];
    }
    return true;
}

static void number_rows(IrTensor *x) {
    int64_t stride = 1;
    for (int32_t axis = (int32_t)x->rank - 2; axis >= 0; axis--) {
        x->rows.stride[axis] = stride;
        stride *= x->dims[axis];
    }
}

HdStatus *ir_run_reshape(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    IrTensor *x = in[0];
    IrDim last = ir_type_last(&ir_value(frame->graph, op->results[0])->type);
    bool by_rows = x->rows.name && contiguous_rows(x) && ir_dim_eval(frame->graph, last, &frame->binding) == ir_tensor_last(x);
    if (!by_rows) HD_TRY(ir_tensor_materialise(frame, x));
    HD_TRY(result_new(frame, op, !by_rows, out));
    out[0]->rows = x->rows;
    number_rows(out[0]);
    if (by_rows) return NULL;
    out[0]->rows.name = NULL;
    if (out[0]->count != x->count)
        return hd_error(HD_INTERNAL, "%lld elements become %lld", (long long)x->count, (long long)out[0]->count);
    memcpy(out[0]->data, x->data, (size_t)x->count * ir_form_bytes(x->form));
    return NULL;
}

HdStatus *ir_run_slice(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    IrTensor *x = in[0];
    uint32_t axis = (uint32_t)op->attr[IR_ATTR_AXIS].i;
    int64_t begin = op->attr[IR_ATTR_BEGIN].i, end = op->attr[IR_ATTR_END].i;
    bool by_rows = x->rows.name && axis + 1 < x->rank;
    if (!by_rows) HD_TRY(ir_tensor_materialise(frame, x));
    HD_TRY(result_new(frame, op, !by_rows, out));
    if (!by_rows) return copy_along(x, begin, out[0], 0, end - begin, axis), NULL;
    out[0]->rows = x->rows;
    out[0]->rows.first += begin * x->rows.stride[axis];
    return NULL;
}

HdStatus *ir_run_concat(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    uint32_t axis = (uint32_t)op->attr[IR_ATTR_AXIS].i;
    HD_TRY(result_new(frame, op, true, out));
    int64_t at = 0;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        copy_along(in[i], 0, out[0], at, in[i]->dims[axis], axis);
        at += in[i]->dims[axis];
    }
    return NULL;
}

// ---- element-wise --------------------------------------------------------------------------------------------

static double sigmoid(double a) { return 1 / (1 + exp(-a)); }
static double softplus(double a) { return a > 0 ? a + log1p(exp(-a)) : log1p(exp(a)); }

static double unary_value(const IrOp *op, double a) {
    switch (op->kind) {
    case IR_OP_scale: return a * op->attr[IR_ATTR_VALUE].f;
    case IR_OP_neg: return -a;
    case IR_OP_exp: return exp(a);
    case IR_OP_sigmoid: return sigmoid(a);
    case IR_OP_silu: return a * sigmoid(a);
    case IR_OP_softplus: return softplus(a);
    default: HD_ASSERT(!"a unary operation"); return 0;
    }
}

static HdStatus *unary(const IrOp *op, const IrTensor *a, IrTensor *out) {
    for (int64_t i = 0; i < a->count; i++) out->f[i] = (float)unary_value(op, a->f[i]);
    return NULL;
}

static double binary_value(IrOpKind kind, double a, double b) {
    switch (kind) {
    case IR_OP_add: return a + b;
    case IR_OP_sub: return a - b;
    case IR_OP_mul: return a * b;
    case IR_OP_div: return a / b;
    default: HD_ASSERT(!"a binary operation"); return 0;
    }
}

// Steps of `b` for one step along each of four axes that are aligned at the last one; 0 where it is broadcast.
static void broadcast_steps(const IrTensor *a, const IrTensor *b, int64_t dims[4], int64_t steps[4]) {
    int64_t step = 1;
    for (uint32_t i = 0; i < 4; i++) {
        int64_t size = i < b->rank ? b->dims[b->rank - 1 - i] : 1;
        dims[3 - i] = i < a->rank ? a->dims[a->rank - 1 - i] : 1;
        steps[3 - i] = size == 1 ? 0 : step;
        step *= size;
    }
}

static HdStatus *binary(const IrOp *op, const IrTensor *a, const IrTensor *b, IrTensor *out) {
    int64_t n[4], step[4], at = 0;
    broadcast_steps(a, b, n, step);
    for (int64_t i = 0; i < n[0]; i++)
        for (int64_t j = 0; j < n[1]; j++)
            for (int64_t k = 0; k < n[2]; k++) {
                const float *row = b->f + i * step[0] + j * step[1] + k * step[2];
                for (int64_t l = 0; l < n[3]; l++, at++) out->f[at] = (float)binary_value(op->kind, a->f[at], row[l * step[3]]);
            }
    return NULL;
}

#define UNARY(name)                                                                                                              \
    HdStatus *ir_run_##name(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {                               \
        return (void)frame, unary(op, in[0], out[0]);                                                                            \
    }
#define BINARY(name)                                                                                                             \
    HdStatus *ir_run_##name(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {                               \
        return (void)frame, binary(op, in[0], in[1], out[0]);                                                                    \
    }
UNARY(scale)
UNARY(neg)
UNARY(exp)
UNARY(sigmoid)
UNARY(silu)
UNARY(softplus)
BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)

HdStatus *ir_run_cast(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame;
    IrDtype to = op->attr[IR_ATTR_TO].dtype;
    for (int64_t i = 0; i < in[0]->count; i++) {
        float x = in[0]->f[i];
        out[0]->f[i] = to == IR_F16 ? hd_f16_to_f32(hd_f32_to_f16(x)) : to == IR_BF16 ? hd_bf16_to_f32(hd_f32_to_bf16(x)) : x;
    }
    return NULL;
}

// In float32, every product and sum rounded: what a kernel can do with the same bits.
static void rope_head(const float *x, const float *table, int64_t d, int64_t n, float *out) {
    int64_t half = n / 2;
    memcpy(out, x, (size_t)d * sizeof *out);
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half], c = table[i], s = table[i + half];
        out[i] = a * c - b * s;
        out[i + half] = a * s + b * c;
    }
}

HdStatus *ir_run_rope(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame, (void)op;
    const IrTensor *x = in[0], *table = in[1];
    int64_t heads = x->dims[1], d = x->dims[2], n = table->dims[1];
    for (int64_t unit = 0; unit < x->dims[0] * heads; unit++)
        rope_head(x->f + unit * d, table->f + unit / heads * n, d, n, out[0]->f + unit * d);
    return NULL;
}

// ---- along the last axis -------------------------------------------------------------------------------------

static double sum_of_squares(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sum;
}

HdStatus *ir_run_rms_norm(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame;
    const IrTensor *x = in[0], *w = in[1];
    int64_t n = ir_tensor_last(x);
    for (int64_t at = 0; at < x->count; at += n) {
        double root = sqrt(sum_of_squares(x->f + at, n) / (double)n + op->attr[IR_ATTR_EPS].f);
        for (int64_t i = 0; i < n; i++) out[0]->f[at + i] = (float)(x->f[at + i] / root * w->f[i]);
    }
    return NULL;
}

HdStatus *ir_run_l2_norm(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame;
    const IrTensor *x = in[0];
    int64_t n = ir_tensor_last(x);
    for (int64_t at = 0; at < x->count; at += n) {
        double root = sqrt(sum_of_squares(x->f + at, n) + op->attr[IR_ATTR_EPS].f);
        for (int64_t i = 0; i < n; i++) out[0]->f[at + i] = (float)(x->f[at + i] / root * op->attr[IR_ATTR_SCALE].f);
    }
    return NULL;
}

static void softmax_row(const float *x, int64_t n, float *out) {
    double most = x[0], total = 0;
    for (int64_t i = 1; i < n; i++) most = HD_MAX(most, x[i]);
    for (int64_t i = 0; i < n; i++) total += exp(x[i] - most);
    for (int64_t i = 0; i < n; i++) out[i] = (float)(exp(x[i] - most) / total);
}

HdStatus *ir_run_softmax(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame, (void)op;
    int64_t n = ir_tensor_last(in[0]);
    for (int64_t at = 0; at < in[0]->count; at += n) softmax_row(in[0]->f + at, n, out[0]->f + at);
    return NULL;
}

HdStatus *ir_run_sum(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame, (void)op;
    int64_t n = ir_tensor_last(in[0]);
    for (int64_t row = 0; row < ir_tensor_row_count(in[0]); row++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += in[0]->f[row * n + i];
        out[0]->f[row] = (float)sum;
    }
    return NULL;
}

// See IR_Q8A_TINY for the contract.
enum { GROUP = 32 };

static float squared_error(const float *x, float inverse) {
    float squares[GROUP];
    for (int i = 0; i < GROUP; i++) {
        float y = x[i] * inverse, lost = y - rintf(y);
        squares[i] = lost * lost;
    }
    for (int half = GROUP / 2; half; half /= 2)
        for (int i = 0; i < half; i++) squares[i] += squares[i + half];
    return squares[0];
}

static int best_top(const float *x, float reciprocal) {
    int best = IR_Q8A_TOP;
    float least = INFINITY;
    for (int top = IR_Q8A_TOP; top > IR_Q8A_TOP - IR_Q8A_TRIES; top--) {
        float error = squared_error(x, reciprocal * (float)top) * IR_Q8A_STEP(top);
        if (error < least) best = top, least = error;
    }
    return best;
}

static void quantise_group(const float *x, double *out) {
    float amax = 0;
    bool finite = true;
    for (int64_t i = 0; i < GROUP; i++) {
        finite = finite && isfinite(x[i]);
        amax = HD_MAX(amax, fabsf(x[i]));
    }
    bool tiny = !(amax >= IR_Q8A_TINY);
    float reciprocal = tiny ? 0 : 1 / amax, top = finite && !tiny ? (float)best_top(x, reciprocal) : IR_Q8A_TOP;
    float scale = tiny ? 0 : amax / top, inverse = reciprocal * top;
    for (int64_t i = 0; i < GROUP; i++) out[i] = finite ? (double)rintf(x[i] * inverse) * scale : NAN;
}

HdStatus *ir_run_quant_act(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame, (void)op;
    HD_ASSERT(ir_dtype_info(IR_Q8A)->block == GROUP);
    for (int64_t at = 0; at < in[0]->count; at += GROUP) quantise_group(in[0]->f + at, out[0]->d + at);
    return NULL;
}
