// SPDX-License-Identifier: Apache-2.0
// A thin layer over MLIR's C API: every operation of a kernel is made by mb_create. MLIR aborts on unknown names in debug builds
// only; the module is verified before it is lowered.
#include "codegen/cpu/emit_internal.h"

#include <mlir-c/Dialect/LLVM.h>

// ---- types and attributes --------------------------------------------------------------------------------------

static MlirStringRef text_ref(const char *text) { return mlirStringRefCreateFromCString(text); }

static MlirType scalar_type(const Emit *e, KirScalar scalar) {
    if (scalar == KIR_F32) return mlirF32TypeGet(e->context);
    if (scalar == KIR_PTR) return mlirLLVMPointerTypeGet(e->context, 0);
    return mlirIntegerTypeGet(e->context, kir_scalar_bits(scalar));
}

static MlirType vector_of(MlirType element, uint32_t lanes) {
    int64_t shape = lanes;
    return lanes == 1 ? element : mlirVectorTypeGet(1, &shape, element);
}

MlirType mb_type(const Emit *e, KirType type) { return vector_of(scalar_type(e, type.scalar), type.lanes); }

MlirNamedAttribute mb_attr(const Emit *e, const char *name, MlirAttribute attribute) {
    return mlirNamedAttributeGet(mlirIdentifierGet(e->context, text_ref(name)), attribute);
}

static MlirAttribute int_attr(const Emit *e, uint32_t bits, int64_t value) {
    return mlirIntegerAttrGet(mlirIntegerTypeGet(e->context, bits), value);
}

MlirNamedAttribute mb_attr_i64(const Emit *e, const char *name, int64_t value) {
    return mb_attr(e, name, int_attr(e, 64, value));
}
MlirNamedAttribute mb_attr_i32(const Emit *e, const char *name, int64_t value) {
    return mb_attr(e, name, int_attr(e, 32, value));
}

MlirNamedAttribute mb_attr_text(const Emit *e, const char *name, const char *text) {
    return mb_attr(e, name, mlirStringAttrGet(e->context, text_ref(text)));
}

// ---- operations ------------------------------------------------------------------------------------------------

MlirOperation mb_create(const Emit *e, const MbOp *desc) {
    MlirOperationState state = mlirOperationStateGet(text_ref(desc->name), e->location);
    mlirOperationStateAddResults(&state, desc->result_count, desc->results);
    mlirOperationStateAddOperands(&state, desc->operand_count, desc->operands);
    mlirOperationStateAddAttributes(&state, desc->attr_count, desc->attrs);
    mlirOperationStateAddOwnedRegions(&state, desc->region_count, desc->regions);
    return mlirOperationCreate(&state);
}

MlirOperation mb_insert(Emit *e, const MbOp *desc) {
    MlirOperation op = mb_create(e, desc);
    mlirBlockAppendOwnedOperation(e->block, op);
    return op;
}

MlirValue mb_op(Emit *e, const char *name, MlirType result, uint32_t count, const MlirValue *operands, uint32_t attrs,
                const MlirNamedAttribute *attr) {
    MbOp desc = {.name = name,
                 .operand_count = count,
                 .operands = operands,
                 .result_count = 1,
                 .results = &result,
                 .attr_count = attrs,
                 .attrs = attr};
    return mlirOperationGetResult(mb_insert(e, &desc), 0);
}

MlirValue mb_unary(Emit *e, const char *name, MlirType result, MlirValue a) { return mb_op(e, name, result, 1, &a, 0, NULL); }

MlirValue mb_binary(Emit *e, const char *name, MlirValue a, MlirValue b) {
    return mb_op(e, name, mlirValueGetType(a), 2, (MlirValue[]){a, b}, 0, NULL);
}

static MlirValue constant(Emit *e, KirType type, MlirAttribute scalar) {
    MlirType result = mb_type(e, type);
    MlirAttribute value = type.lanes == 1 ? scalar : mlirDenseElementsAttrSplatGet(result, scalar);
    MlirNamedAttribute attr = mb_attr(e, "value", value);
    return mb_op(e, "arith.constant", result, 0, NULL, 1, &attr);
}

MlirValue mb_int(Emit *e, KirType type, int64_t value) {
    return constant(e, type, int_attr(e, kir_scalar_bits(type.scalar), value));
}

// The bits travel as an integer: a NaN keeps its payload, and no decimal conversion is involved.
MlirValue mb_float(Emit *e, KirType type, float value) {
    union { float f; int32_t i; } bits = {value};
    if (value == value) return constant(e, type, mlirFloatAttrDoubleGet(e->context, mlirF32TypeGet(e->context), value));
    return mb_bitcast(e, mb_type(e, type), mb_int(e, KIR_T(KIR_I32, type.lanes), bits.i));
}

static MlirValue compare(Emit *e, const char *name, int64_t predicate, MlirValue a, MlirValue b) {
    MlirType type = mlirValueGetType(a);
    uint32_t lanes = mlirTypeIsAVector(type) ? (uint32_t)mlirShapedTypeGetDimSize(type, 0) : 1;
    MlirNamedAttribute attr = mb_attr_i64(e, "predicate", predicate);
    return mb_op(e, name, vector_of(scalar_type(e, KIR_I1), lanes), 2, (MlirValue[]){a, b}, 1, &attr);
}

MlirValue mb_cmp_int(Emit *e, int64_t predicate, MlirValue a, MlirValue b) { return compare(e, "arith.cmpi", predicate, a, b); }
MlirValue mb_cmp_float(Emit *e, int64_t predicate, MlirValue a, MlirValue b) { return compare(e, "arith.cmpf", predicate, a, b); }

MlirValue mb_select(Emit *e, MlirValue mask, MlirValue a, MlirValue b) {
    return mb_op(e, "arith.select", mlirValueGetType(a), 3, (MlirValue[]){mask, a, b}, 0, NULL);
}

MlirValue mb_bitcast(Emit *e, MlirType type, MlirValue a) { return mb_unary(e, "llvm.bitcast", type, a); }

// ---- lanes -----------------------------------------------------------------------------------------------------

static MlirAttribute i64_array(const Emit *e, const int64_t *values, uint32_t count) {
    return mlirDenseI64ArrayGet(e->context, count, values);
}

MlirValue mb_shuffle(Emit *e, MlirType result, MlirValue a, MlirValue b, const int64_t *lanes, uint32_t count) {
    MlirNamedAttribute attr = mb_attr(e, "mask", i64_array(e, lanes, count));
    return mb_op(e, "vector.shuffle", result, 2, (MlirValue[]){a, b}, 1, &attr);
}

static MlirValue shuffle_range(Emit *e, KirType result, MlirValue a, MlirValue b, uint32_t first) {
    int64_t lanes[64];
    for (uint32_t i = 0; i < result.lanes; i++) lanes[i] = first + i;
    return mb_shuffle(e, vector_of(scalar_type(e, result.scalar), result.lanes), a, b, lanes, result.lanes);
}

MlirValue mb_slice(Emit *e, KirType type, MlirValue a, uint32_t first, uint32_t count) {
    return count == type.lanes ? a : shuffle_range(e, KIR_T(type.scalar, (uint8_t)count), a, a, first);
}

MlirValue mb_concat(Emit *e, KirType part, MlirValue low, MlirValue high) {
    return shuffle_range(e, KIR_T(part.scalar, (uint8_t)(2 * part.lanes)), low, high, 0);
}

MlirValue mb_extract(Emit *e, KirType type, MlirValue vector, uint32_t lane) {
    int64_t position = lane;
    MlirNamedAttribute attr = mb_attr(e, "static_position", i64_array(e, &position, 1));
    return mb_op(e, "vector.extract", scalar_type(e, type.scalar), 1, &vector, 1, &attr);
}

// ---- memory, calls, loops ----------------------------------------------------------------------------------------

MlirValue mb_at(Emit *e, MlirValue pointer, MlirValue bytes) {
    int32_t dynamic = INT32_MIN;                          // GEPOp::kDynamicIndex: the index is an operand
    MlirNamedAttribute attrs[] = {
        mb_attr(e, "rawConstantIndices", mlirDenseI32ArrayGet(e->context, 1, &dynamic)),
        mb_attr(e, "elem_type", mlirTypeAttrGet(scalar_type(e, KIR_I8))),
    };
    return mb_op(e, "llvm.getelementptr", scalar_type(e, KIR_PTR), 2, (MlirValue[]){pointer, bytes}, HD_COUNT(attrs), attrs);
}

MlirValue mb_load(Emit *e, MlirType type, MlirValue pointer, uint32_t alignment) {
    MlirNamedAttribute attr = mb_attr_i64(e, "alignment", alignment);
    return mb_op(e, "llvm.load", type, 1, &pointer, 1, &attr);
}

void mb_store(Emit *e, MlirValue pointer, MlirValue value, uint32_t alignment) {
    MlirNamedAttribute attr = mb_attr_i64(e, "alignment", alignment);
    mb_insert(e, &(MbOp){.name = "llvm.store",
                         .operand_count = 2,
                         .operands = (MlirValue[]){value, pointer},
                         .attr_count = 1,
                         .attrs = &attr});
}

MlirValue mb_intrinsic(Emit *e, const char *name, MlirType result, uint32_t count, const MlirValue *operands) {
    int32_t segments[2] = {(int32_t)count, 0};
    MlirNamedAttribute attrs[] = {
        mb_attr_text(e, "intrin", name),
        mb_attr(e, "op_bundle_sizes", mlirDenseI32ArrayGet(e->context, 0, NULL)),
        mb_attr(e, "operandSegmentSizes", mlirDenseI32ArrayGet(e->context, 2, segments)),
    };
    return mb_op(e, "llvm.call_intrinsic", result, count, operands, HD_COUNT(attrs), attrs);
}

MbLoop mb_loop_begin(Emit *e, MlirValue upper) {
    MlirValue bounds[3] = {mb_int(e, KT_I64, 0), upper, mb_int(e, KT_I64, 1)};
    MlirType index = scalar_type(e, KIR_I64);
    MlirBlock body = mlirBlockCreate(1, &index, &e->location);
    MlirRegion region = mlirRegionCreate();
    mlirRegionAppendOwnedBlock(region, body);
    MlirOperation op = mb_insert(
        e, &(MbOp){.name = "scf.for", .operand_count = 3, .operands = bounds, .region_count = 1, .regions = &region});
    MbLoop loop = {e->block, body, op, mlirBlockGetArgument(body, 0)};
    e->block = body;
    return loop;
}

void mb_loop_end(Emit *e, MbLoop *loop) {
    mb_insert(e, &(MbOp){.name = "scf.yield"});
    e->block = loop->outer;
}
