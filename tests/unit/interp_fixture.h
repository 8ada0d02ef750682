// SPDX-License-Identifier: Apache-2.0
// A graph, its weights and an interpreter for the tests of the reference interpreter.
#ifndef HEDDLE_TESTS_INTERP_FIXTURE_H
#define HEDDLE_TESTS_INTERP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "ir/ir.h"
#include "tests/support/nmse.h"

typedef struct RigWeight { const char *name; const float *values; uint64_t rows, columns, reads; } RigWeight;
typedef struct Rig {
    IrModule *module;
    IrGraph *graph;
    IrInterp *interp;
    RigWeight weights[16];
    uint32_t weight_count;
} Rig;

static inline RigWeight *rig_weight(Rig *rig, const char *name) {
    for (uint32_t i = 0; i < rig->weight_count; i++)
        if (strcmp(rig->weights[i].name, name) == 0) return &rig->weights[i];
    return NULL;
}

static inline HdStatus *rig_rows(void *user, const char *name, uint64_t columns, uint64_t begin, uint64_t end, float *out_rows) {
    RigWeight *weight = rig_weight(user, name);
    if (!weight) return hd_error(HD_NOT_FOUND, "weight %s does not exist", name);
    assert_int_equal(columns, weight->columns);
    assert_true(begin <= end && end <= weight->rows);
    memcpy(out_rows, weight->values + begin * columns, (end - begin) * columns * sizeof *out_rows);
    weight->reads += end - begin;
    return NULL;
}

static inline void rig_open(Rig *rig, uint32_t slots, uint32_t planes, uint32_t context) {
    *rig = (Rig){.module = ir_module_new("test")};
    rig->graph = ir_graph_new(rig->module, "model");
    rig->interp = ir_interp_new(&(IrWeights){.user = rig, .rows = rig_rows}, slots, planes, context);
}

static inline void rig_close(Rig *rig) {
    ir_interp_free(rig->interp);
    ir_module_free(rig->module);
}

// Another interpreter with empty state for the same graph.
static inline IrInterp *rig_fresh(Rig *rig, uint32_t slots, uint32_t planes, uint32_t context) {
    return ir_interp_new(&(IrWeights){.user = rig, .rows = rig_rows}, slots, planes, context);
}

// ---- building ------------------------------------------------------------------------------------------------

static inline IrType typed(IrDtype dtype, uint32_t rank, const IrDim *dims) {
    IrType type = {.dtype = dtype, .rank = rank};
    memcpy(type.dims, dims, rank * sizeof *dims);
    return type;
}
#define TYPE(dtype, ...) typed(IR_##dtype, sizeof((IrDim[]){__VA_ARGS__}) / sizeof(IrDim), (IrDim[]){__VA_ARGS__})

static inline IrValue weight(Rig *rig, const char *name, IrType type, const float *values) {
    uint64_t columns = (uint64_t)ir_type_last(&type), rows = 1;
    for (uint32_t i = 0; i + 1 < type.rank; i++) rows *= (uint64_t)type.dims[i];
    assert_true(rig->weight_count < HD_COUNT(rig->weights));
    if (!rig_weight(rig, name)) rig->weights[rig->weight_count++] = (RigWeight){name, values, rows, columns, 0};
    return ir_weight(rig->graph, name, type);
}
// A matrix or vector of f32 numbers given in place.
#define WEIGHT(rig, name, values, ...) weight((rig), (name), TYPE(F32, __VA_ARGS__), (values))

static inline IrValue build(Rig *rig, IrOpKind kind, IrBuild args) {
    HdStatus *status;
    args.kind = kind;
    IrOpRef ref = ir_build(rig->graph, &args, &status);
    if (status) fail_msg("%s", hd_status_message(status));
    return ir_op(rig->graph, ref)->results[0];
}
#define OPERANDS(...) .operands = (IrValue[]){__VA_ARGS__}, .operand_count = sizeof((IrValue[]){__VA_ARGS__}) / sizeof(IrValue)
#define ATTRS(...) .attrs = (IrAttr[]){__VA_ARGS__}, .attr_count = sizeof((IrAttr[]){__VA_ARGS__}) / sizeof(IrAttr)
#define INT(id, value) {IR_ATTR_##id, {.i = (value)}}
#define FLOAT(id, value) {IR_ATTR_##id, {.f = (value)}}
#define NAME(id, value) {IR_ATTR_##id, {.name = (value)}}
#define BUILD(rig, kind, ...) build((rig), IR_OP_##kind, (IrBuild){__VA_ARGS__})
// Result `index` of the operation that made `first`.
static inline IrValue sibling(Rig *rig, IrValue first, uint32_t index) {
    return ir_op(rig->graph, ir_value(rig->graph, first)->op)->results[index];
}

static inline IrValue reshaped(Rig *rig, IrValue value, IrType type) {
    return BUILD(rig, reshape, OPERANDS(value), .given = &type, .given_count = 1);
}

static inline IrValue tokens_input(Rig *rig) { return ir_input(rig->graph, IR_INPUT_TOKENS, TYPE(I32, IR_DIM_T), 0); }
static inline IrValue segments_input(Rig *rig) { return ir_input(rig->graph, IR_INPUT_SEGMENTS, TYPE(I32, IR_DIM_S, 8), 0); }
static inline IrValue rows_input(Rig *rig) { return ir_input(rig->graph, IR_INPUT_ROWS, TYPE(I32, IR_DIM_R), 0); }

// f32[T, columns]: row `token` of a table of `rows` rows for each token of the call.
static inline IrValue by_token(Rig *rig, const char *name, const float *values, int64_t rows, int64_t columns) {
    return BUILD(rig, embed, OPERANDS(tokens_input(rig), WEIGHT(rig, name, values, rows, columns)));
}

static inline void result(Rig *rig, const char *name, IrValue value) {
    hd_vec_push(&rig->graph->results, ((IrResult){ir_intern(rig->module, hd_str(name)), value}));
}

// ---- running -------------------------------------------------------------------------------------------------

static inline void expect_ok(HdStatus *status) {
    if (status) fail_msg("%s", hd_status_message(status));
}

static inline void expect_error(HdStatus *status, const char *part) {
    assert_non_null(status);
    if (!strstr(hd_status_message(status), part)) fail_msg("'%s' does not say '%s'", hd_status_message(status), part);
    hd_status_free(status);
}

// A call with tokens first..first+count-1 and the given segments.
static inline HdStatus *call_with(IrInterp *interp, const Rig *rig, int32_t first, uint32_t count, const int32_t *segments,
                                  uint32_t segment_count) {
    int32_t *tokens = hd_xcalloc(count + 1, sizeof *tokens);
    for (uint32_t i = 0; i < count; i++) tokens[i] = first + (int32_t)i;
    HdStatus *status = ir_interp_run(
        interp, rig->graph,
        &(IrCall){.tokens = tokens, .token_count = count, .segments = segments, .segment_count = segment_count});
    free(tokens);
    return status;
}

// One segment of slot `slot` at position `first`, in plane 0.
static inline void run_slot(IrInterp *interp, const Rig *rig, int32_t slot, int32_t first, uint32_t count) {
    expect_ok(call_with(interp, rig, first, count, (int32_t[8]){slot, first, 0, (int32_t)count, 0, 0}, 1));
}

static inline void run(Rig *rig) { expect_ok(ir_interp_run(rig->interp, rig->graph, &(IrCall){0})); }

static inline const float *got(const IrInterp *interp, const char *name, uint64_t count) {
    uint64_t have;
    const float *values = ir_interp_result(interp, name, &have);
    assert_non_null(values);
    assert_int_equal(have, count);
    return values;
}

static inline bool same_float(float a, float b) { return a == b || (isnan(a) && isnan(b)); }

static inline void expect_values(const IrInterp *interp, const char *name, uint64_t count, const float *wanted) {
    const float *values = got(interp, name, count);
    for (uint64_t i = 0; i < count; i++)
        if (!same_float(values[i], wanted[i]))
            fail_msg("%s[%u] is %.9g, not %.9g", name, (unsigned)i, (double)values[i], (double)wanted[i]);
}
#define EXPECT(rig, name, ...)                                                                                                   \
    expect_values((rig)->interp, (name), sizeof((float[]){__VA_ARGS__}) / sizeof(float), (float[]){__VA_ARGS__})

static inline void expect_near(const float *values, const float *wanted, uint64_t count, double tolerance) {
    for (uint64_t i = 0; i < count; i++)
        if (!(fabs((double)values[i] - wanted[i]) <= tolerance))
            fail_msg("[%u] is %.9g, not %.9g", (unsigned)i, (double)values[i], (double)wanted[i]);
}

// ---- numbers -------------------------------------------------------------------------------------------------

// Uniform in low..high from a 64-bit counter (splitmix64).
static inline float random_float(uint64_t *seed, double low, double high) {
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (float)(low + (high - low) * (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0);
}

static inline float *random_floats(uint64_t seed, uint64_t count, double low, double high) {
    float *values = hd_xcalloc(count, sizeof *values);
    for (uint64_t i = 0; i < count; i++) values[i] = random_float(&seed, low, high);
    return values;
}

#endif
