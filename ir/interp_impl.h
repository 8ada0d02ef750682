// SPDX-License-Identifier: Apache-2.0
// What the files of the reference interpreter (interp*.c) share. A value of the graph is a tensor; an operation is a
// function from tensors to tensors, found by its place in ops.def.
#ifndef HEDDLE_IR_INTERP_IMPL_H
#define HEDDLE_IR_INTERP_IMPL_H

#include "ir/ir.h"

// How the elements of a tensor are kept. All types of real numbers are f32 here (halves and dequantised weights are exactly
// representable), but for q8a: value * scale has up to 31 significant bits.
typedef enum IrForm { IR_FORM_F32, IR_FORM_I32, IR_FORM_F64 } IrForm;

// Rows of a weight that were not read yet: row (i, j, ..) of the tensor's leading dimensions is row first + i * stride[0] + j *
// stride[1] .. of the weight.
typedef struct IrRows { const char *name; int64_t first, stride[3]; } IrRows;

// Memory of one state, for all slots and planes. Every element is a float64: a KV cache and a convolution window hold f32 (or
// f16) values exactly; a delta matrix stays in float64, so that splitting a prompt into calls changes no bit of the result.
typedef struct IrStateStore {
    char *name;
    IrStateKind kind;
    IrDtype dtype;
    int64_t elements;              // of one plane of one slot
    uint32_t planes;               // 1 for an append-only state
    double *data;                  // [slots][planes][elements]
} IrStateStore;

typedef struct IrTensor {
    uint32_t refs;
    IrForm form;
    IrDtype dtype;
    uint32_t rank;
    int64_t dims[4], count;
    union { void *data; float *f; int32_t *i; double *d; };   // NULL while `rows` were not read, and for a state
    IrRows rows;                   // name NULL: not a weight
    IrStateStore *state;           // NULL: not a state
} IrTensor;

// One run of one graph.
typedef struct IrFrame {
    struct IrInterp *interp;
    const IrGraph *graph;
    const IrCall *call;
    IrBinding binding;
    IrTensor **cells;              // by IrValue; NULL before it is computed and after its last use
    uint32_t *uses;                // uses still to come
} IrFrame;

// An operation: `in` has op->operand_count tensors with data (weights that an operation reads by rows excepted), `out` the
// results, zeroed; views, pack and fused make their results themselves.
typedef HdStatus *IrRunOp(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out);
#define IR_OP(name, text, min, max, results, effect, numerics, role, attrs, doc) IrRunOp ir_run_##name;
#include "ir/ops.def"
#undef IR_OP

// ---- interp_tensor.c -----------------------------------------------------------------------------------------

// A zeroed tensor with one reference, of the type that `type` is in this call; without data when it is for a weight's rows or a
// state.
HD_MUST_USE HdStatus *ir_tensor_new(const IrFrame *frame, const IrType *type, bool with_data, IrTensor **out_tensor);
IrTensor *ir_tensor_ref(IrTensor *tensor);
void ir_tensor_drop(IrTensor *tensor);                         // NULL is fine
size_t ir_form_bytes(IrForm form);
static inline int64_t ir_tensor_last(const IrTensor *tensor) { return tensor->dims[tensor->rank - 1]; }
static inline int64_t ir_tensor_row_count(const IrTensor *tensor) {
    return ir_tensor_last(tensor) ? tensor->count / ir_tensor_last(tensor) : 0;
}
// Reads all rows of a weight into memory; nothing for other tensors.
HD_MUST_USE HdStatus *ir_tensor_materialise(const IrFrame *frame, IrTensor *tensor);
// Rows begin..end-1 (leading dimensions flattened) of a tensor of real numbers, read into `scratch` where they are not in memory.
HD_MUST_USE HdStatus *ir_tensor_rows(const IrFrame *frame, const IrTensor *tensor, int64_t begin, int64_t end, float *scratch,
                                     const float **out_rows);
// All elements as float64, exactly; the caller frees them.
double *ir_tensor_doubles(const IrTensor *tensor);

// The dot product of the interpreter: eight partial sums, so that compilers may use vectors; the same for the same two rows
// wherever they stand.
double ir_dot(const double *a, const double *b, int64_t count);
void *ir_scratch(size_t count, size_t bytes);                  // uninitialised; free() it

// ---- interp_state.c ------------------------------------------------------------------------------------------

typedef struct IrSegment { int64_t slot, position, first, count, plane_in, plane_out; } IrSegment;
enum { IR_SEGMENT_WORDS = 8 };
static inline int64_t ir_segment_count(const IrTensor *table) { return table->dims[0]; }
IrSegment ir_segment_at(const int32_t *table, int64_t index);
// Slots, planes and positions exist, tokens are within 0..tokens-1, no token and no slot has two segments.
HD_MUST_USE HdStatus *ir_check_segments(const struct IrInterp *interp, const int32_t *table, int64_t count, int64_t tokens);
// The state that a graph calls `value`; made when it is new. Another type than before is an error.
HD_MUST_USE HdStatus *ir_state_find(const IrFrame *frame, const IrValueData *value, IrStateStore **out_state);
double *ir_state_plane(const IrStateStore *state, int64_t slot, int64_t plane);
void ir_state_free(IrStateStore *state);

// ---- interp.c ------------------------------------------------------------------------------------------------

typedef struct IrOutcome { char *name; float *values; uint64_t count; } IrOutcome;
struct IrInterp {
    IrWeights weights;
    uint32_t slots, planes, context;
    HD_VEC(IrStateStore *) states;
    HD_VEC(IrOutcome) outcomes;    // results of the last run
    IrTrace trace;
    void *trace_user;
};

#endif
