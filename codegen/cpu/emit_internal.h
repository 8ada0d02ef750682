// SPDX-License-Identifier: Apache-2.0
// Inside the CPU emitter: building MLIR operation by operation through the C API. Files: emit_mlir.c (this layer), emit.c (one
// row per kernel operation, control, the module), emit_special.c (conversions, partial memory, products: what depends on the
// target), object.c (LLVM, link).
#ifndef HEDDLE_CPU_EMIT_INTERNAL_H
#define HEDDLE_CPU_EMIT_INTERNAL_H

#include <mlir-c/BuiltinAttributes.h>
#include <mlir-c/BuiltinTypes.h>
#include <mlir-c/IR.h>

#include "codegen/kir_internal.h"
#include "ir/target.h"

typedef struct Emit {
    const IrTarget *target;
    const KirFn *fn;
    MlirContext context;
    MlirLocation location;
    MlirBlock module, top, block;        // module body; the function's first block; the cursor
    MlirValue buffer;                    // 64 bytes of stack for partial vectors, made at first use; null: none yet
    MlirValue *values;                   // by KirRef
} Emit;

// ---- emit_mlir.c: types, attributes, operations ----------------------------------------------------------------

MlirType mb_type(const Emit *e, KirType type);
MlirNamedAttribute mb_attr(const Emit *e, const char *name, MlirAttribute attribute);
MlirNamedAttribute mb_attr_i64(const Emit *e, const char *name, int64_t value);
MlirNamedAttribute mb_attr_i32(const Emit *e, const char *name, int64_t value);
MlirNamedAttribute mb_attr_text(const Emit *e, const char *name, const char *text);

typedef struct MbOp {                    // what an operation consists of
    const char *name;
    uint32_t operand_count, result_count, attr_count, region_count;
    const MlirValue *operands;
    const MlirType *results;
    const MlirNamedAttribute *attrs;
    MlirRegion *regions;
} MbOp;
MlirOperation mb_create(const Emit *e, const MbOp *desc);         // not inserted
MlirOperation mb_insert(Emit *e, const MbOp *desc);               // at the cursor

// One result; operands and attributes as arrays.
MlirValue mb_op(Emit *e, const char *name, MlirType result, uint32_t count, const MlirValue *operands, uint32_t attrs,
                const MlirNamedAttribute *attr);
MlirValue mb_unary(Emit *e, const char *name, MlirType result, MlirValue a);
MlirValue mb_binary(Emit *e, const char *name, MlirValue a, MlirValue b);          // result as a
MlirValue mb_int(Emit *e, KirType type, int64_t value);
MlirValue mb_float(Emit *e, KirType type, float value);
MlirValue mb_cmp_int(Emit *e, int64_t predicate, MlirValue a, MlirValue b);        // arith::CmpIPredicate
MlirValue mb_cmp_float(Emit *e, int64_t predicate, MlirValue a, MlirValue b);      // arith::CmpFPredicate
enum { MB_EQ = 0, MB_NE = 1, MB_SLT = 2, MB_SGT = 4, MB_ULT = 6, MB_UGT = 8, MB_UGE = 9 };       // integers
enum { MB_OEQ = 1, MB_OGT = 2, MB_OGE = 3, MB_OLT = 4, MB_OLE = 5, MB_UNE = 13 };                // floats
MlirValue mb_select(Emit *e, MlirValue mask, MlirValue a, MlirValue b);
MlirValue mb_bitcast(Emit *e, MlirType type, MlirValue a);
MlirValue mb_shuffle(Emit *e, MlirType result, MlirValue a, MlirValue b, const int64_t *lanes, uint32_t count);
MlirValue mb_slice(Emit *e, KirType type, MlirValue a, uint32_t first, uint32_t count);          // lanes first.. of a; type: of a
MlirValue mb_concat(Emit *e, KirType part, MlirValue low, MlirValue high);                       // part: type of both
MlirValue mb_extract(Emit *e, KirType type, MlirValue vector, uint32_t lane);                    // type: of the vector
MlirValue mb_at(Emit *e, MlirValue pointer, MlirValue bytes);                                    // pointer + i64
MlirValue mb_load(Emit *e, MlirType type, MlirValue pointer, uint32_t alignment);
void mb_store(Emit *e, MlirValue pointer, MlirValue value, uint32_t alignment);
MlirValue mb_intrinsic(Emit *e, const char *name, MlirType result, uint32_t count, const MlirValue *operands);
// A loop from 0 to `upper` in steps of 1 without carried values; the cursor stands in its body until mb_loop_end.
typedef struct MbLoop { MlirBlock outer, body; MlirOperation op; MlirValue index; } MbLoop;
MbLoop mb_loop_begin(Emit *e, MlirValue upper);
void mb_loop_end(Emit *e, MbLoop *loop);

// ---- emit_special.c ---------------------------------------------------------------------------------------------

typedef MlirValue EmitOp(Emit *e, const KirOp *op);       // a null value for operations without result
EmitOp emit_f16_f32, emit_f32_f16, emit_bf16_f32, emit_f32_bf16, emit_load_part, emit_store_part, emit_lookup, emit_dot_u8i8,
    emit_dot_u7i8, emit_dot_i8i8, emit_dot_bf16;

// ---- emit.c ------------------------------------------------------------------------------------------------------

// Is there a row for each operation of the CPU profile? False for SIMT operations. (tested)
bool emit_has_row(KirOpKind kind);
// Does the target have what the kernel asks for? A status that names the operation and the feature.
HD_MUST_USE HdStatus *emit_check(const KirFn *fn, const IrTarget *target);
// The kernel as an MLIR module, not yet lowered. The caller destroys it.
MlirModule emit_module(MlirContext context, const IrTarget *target, const KirFn *fn);

static inline KirType emit_type(const Emit *e, KirRef ref) { return kir_value(e->fn, ref)->type; }
static inline MlirValue emit_operand(const Emit *e, const KirOp *op, uint32_t i) { return e->values[op->operands[i]]; }

#endif
