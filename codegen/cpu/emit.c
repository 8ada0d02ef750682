// SPDX-License-Identifier: Apache-2.0
// Kernel IR to MLIR: one row per operation. Most rows are the name of an MLIR operation for integers and one for floats, with the
// same operands; the others have a function. No operation carries fast-math flags, and none becomes a call.
#include "codegen/cpu/emit_internal.h"

#include <mlir-c/Dialect/LLVM.h>

// ---- operations with a function ----------------------------------------------------------------------------------

static MlirValue no_value(void) { return (MlirValue){NULL}; }

static MlirValue emit_const_int(Emit *e, const KirOp *op) { return mb_int(e, emit_type(e, op->result), op->number); }
static MlirValue emit_const_float(Emit *e, const KirOp *op) { return mb_float(e, emit_type(e, op->result), op->real); }
static MlirValue emit_scratch(Emit *e, const KirOp *op) { return (void)op, mlirBlockGetArgument(e->top, 3); }

// A slot has 8 bytes (runtime/abi.h); an i32 is the low half of one.
static MlirValue emit_param(Emit *e, const KirOp *op) {
    KirType type = emit_type(e, op->result), slot = type.scalar == KIR_PTR ? KT_PTR : KT_I64;
    MlirValue address = mb_at(e, mlirBlockGetArgument(e->top, 0), mb_int(e, KT_I64, 8 * op->number));
    MlirValue value = mb_load(e, mb_type(e, slot), address, 8);
    return type.scalar == KIR_I32 ? mb_unary(e, "arith.trunci", mb_type(e, type), value) : value;
}

static void table_name(const Emit *e, const KirOp *op, HdBuf *out_name) {
    hd_buf_printf(out_name, "%s.table%lld", e->fn->name, (long long)op->number);
}

static MlirValue emit_table(Emit *e, const KirOp *op) {
    HdBuf name = {0};
    table_name(e, op, &name);
    MlirAttribute symbol = mlirFlatSymbolRefAttrGet(e->context, mlirStringRefCreate(name.data, name.len));
    MlirNamedAttribute attr = mb_attr(e, "global_name", symbol);
    hd_buf_free(&name);
    return mb_op(e, "llvm.mlir.addressof", mb_type(e, KT_PTR), 0, NULL, 1, &attr);
}

// a < b ? a : b, which is what minps computes: with a NaN the second operand. The same on all targets, but for a signalling NaN, which no
// arithmetic gives, and a constant: for aarch64 LLVM makes that fminnm.
static MlirValue float_pick(Emit *e, int64_t predicate, MlirValue a, MlirValue b) {
    return mb_select(e, mb_cmp_float(e, predicate, a, b), a, b);
}

static MlirValue pick(Emit *e, KirType type, bool smaller, MlirValue a, MlirValue b) {
    if (type.scalar == KIR_F32) return float_pick(e, smaller ? MB_OLT : MB_OGT, a, b);
    return mb_binary(e, smaller ? "arith.minsi" : "arith.maxsi", a, b);
}

static MlirValue emit_min(Emit *e, const KirOp *op) {
    return pick(e, emit_type(e, op->result), true, emit_operand(e, op, 0), emit_operand(e, op, 1));
}
static MlirValue emit_max(Emit *e, const KirOp *op) {
    return pick(e, emit_type(e, op->result), false, emit_operand(e, op, 0), emit_operand(e, op, 1));
}

static MlirValue emit_fma(Emit *e, const KirOp *op) {
    MlirValue a = emit_operand(e, op, 0), b = emit_operand(e, op, 1), c = emit_operand(e, op, 2);
    if (!ir_target_has_fma(e->target)) return mb_binary(e, "arith.addf", mb_binary(e, "arith.mulf", a, b), c);
    return mb_op(e, "math.fma", mlirValueGetType(a), 3, (MlirValue[]){a, b, c}, 0, NULL);
}

static MlirType double_type(const Emit *e, KirType type) {
    int64_t lanes = type.lanes;
    return lanes == 1 ? mlirF64TypeGet(e->context) : mlirVectorTypeGet(1, &lanes, mlirF64TypeGet(e->context));
}

static MlirValue double_operand(Emit *e, const KirOp *op, uint32_t i) {
    return mb_unary(e, "arith.extf", double_type(e, emit_type(e, op->result)), emit_operand(e, op, i));
}

// The product of two floats has at most 48 bits.
static MlirValue emit_fma_exact(Emit *e, const KirOp *op) {
    if (ir_target_has_fma(e->target)) return emit_fma(e, op);
    MlirValue product = mb_binary(e, "arith.mulf", double_operand(e, op, 0), double_operand(e, op, 1));
    return mb_unary(e, "arith.truncf", mb_type(e, emit_type(e, op->result)), mb_binary(e, "arith.addf", product, double_operand(e, op, 2)));
}

// Fused or not, the sum of an exact product and a number is rounded once.
static MlirValue emit_sum_products(Emit *e, const KirOp *op) {
    MlirValue sum = no_value();
    for (uint32_t i = 0; i < op->operand_count; i += 2) {
        MlirValue x[3] = {double_operand(e, op, i), double_operand(e, op, i + 1), sum};
        if (i && ir_target_has_fma(e->target)) sum = mb_op(e, "math.fma", mlirValueGetType(sum), 3, x, 0, NULL);
        else if (i) sum = mb_binary(e, "arith.addf", sum, mb_binary(e, "arith.mulf", x[0], x[1]));
        else sum = mb_binary(e, "arith.mulf", x[0], x[1]);
    }
    return mb_unary(e, "arith.truncf", mb_type(e, emit_type(e, op->result)), sum);
}

static MlirValue emit_cmp(Emit *e, const KirOp *op) {
    static const int64_t ints[] = {[KIR_EQ] = 0, [KIR_NE] = 1, [KIR_LT] = 2, [KIR_LE] = 3, [KIR_GT] = 4, [KIR_GE] = 5};
    static const int64_t floats[] = {[KIR_EQ] = 1, [KIR_NE] = 13, [KIR_LT] = 4, [KIR_LE] = 5, [KIR_GT] = 2, [KIR_GE] = 3};
    MlirValue a = emit_operand(e, op, 0), b = emit_operand(e, op, 1);
    return emit_type(e, op->operands[0]).scalar == KIR_F32 ? mb_cmp_float(e, floats[op->pred], a, b)
                                                           : mb_cmp_int(e, ints[op->pred], a, b);
}

static MlirValue emit_bitcast(Emit *e, const KirOp *op) {
    return mb_bitcast(e, mb_type(e, emit_type(e, op->result)), emit_operand(e, op, 0));
}

static MlirValue emit_extract(Emit *e, const KirOp *op) {
    KirType type = emit_type(e, op->operands[0]);
    MlirValue a = emit_operand(e, op, 0);
    return type.lanes == 1 ? a : mb_extract(e, type, a, (uint32_t)op->number);
}

static MlirValue emit_shuffle(Emit *e, const KirOp *op) {
    int64_t lanes[64];
    KirType type = emit_type(e, op->result);
    for (uint32_t i = 0; i < type.lanes; i++) lanes[i] = op->lanes[i];
    if (type.lanes > 1) return mb_shuffle(e, mb_type(e, type), emit_operand(e, op, 0), emit_operand(e, op, 1), lanes, type.lanes);
    KirType from = emit_type(e, op->operands[0]);
    return mb_extract(e, from, emit_operand(e, op, lanes[0] >= from.lanes), (uint32_t)lanes[0] % from.lanes);
}

static MlirValue emit_reduce(Emit *e, const KirOp *op) {
    KirType type = emit_type(e, op->operands[0]);
    MlirValue value = emit_operand(e, op, 0);
    while (type.lanes > 1) {
        uint32_t half = type.lanes / 2;
        MlirValue low = half == 1 ? mb_extract(e, type, value, 0) : mb_slice(e, type, value, 0, half);
        MlirValue high = half == 1 ? mb_extract(e, type, value, 1) : mb_slice(e, type, value, half, half);
        if (op->kind == KIR_OP_reduce_max) value = pick(e, type, false, low, high);
        else value = mb_binary(e, type.scalar == KIR_F32 ? "arith.addf" : "arith.addi", low, high);
        type.lanes = (uint8_t)half;
    }
    return value;
}

static MlirValue emit_offset(Emit *e, const KirOp *op) { return mb_at(e, emit_operand(e, op, 0), emit_operand(e, op, 1)); }
static MlirValue emit_load(Emit *e, const KirOp *op) {
    return mb_load(e, mb_type(e, emit_type(e, op->result)), emit_operand(e, op, 0), 1);
}

static MlirValue emit_store(Emit *e, const KirOp *op) {
    mb_store(e, emit_operand(e, op, 0), emit_operand(e, op, 1), 1);
    return no_value();
}

static MlirValue emit_prefetch(Emit *e, const KirOp *op) {
    MlirValue pointer = emit_operand(e, op, 0);
    int32_t locality = op->kind == KIR_OP_prefetch ? 3 : 2;
    MlirNamedAttribute attrs[] = {mb_attr_i32(e, "rw", 0), mb_attr_i32(e, "hint", locality), mb_attr_i32(e, "cache", 1)};
    mb_insert(e, &(MbOp){.name = "llvm.intr.prefetch",
                         .operand_count = 1,
                         .operands = &pointer,
                         .attr_count = HD_COUNT(attrs),
                         .attrs = attrs});
    return no_value();
}

// ---- control -------------------------------------------------------------------------------------------------------

static void emit_ops(Emit *e, const KirBlock *block);

static uint32_t gather(const Emit *e, uint32_t count, const KirRef *refs, MlirValue *out) {
    for (uint32_t i = 0; i < count; i++) out[i] = e->values[refs[i]];
    return count;
}

static MlirRegion emit_body(Emit *e, const KirBlock *body) {
    MlirRegion region = mlirRegionCreate();
    if (!body) return region;
    MlirBlock outer = e->block, block = mlirBlockCreate(0, NULL, NULL);
    mlirRegionAppendOwnedBlock(region, block);
    for (uint32_t i = 0; i < body->arg_count; i++)
        e->values[body->first_arg + i] = mlirBlockAddArgument(block, mb_type(e, emit_type(e, body->first_arg + i)), e->location);
    e->block = block;
    emit_ops(e, body);
    MlirValue yields[KIR_MAX_CARRIED];
    mb_insert(
        e, &(MbOp){.name = "scf.yield", .operand_count = gather(e, body->yield_count, body->yields, yields), .operands = yields});
    e->block = outer;
    return region;
}

static MlirValue emit_control(Emit *e, const KirOp *op, const char *name, uint32_t regions) {
    MlirRegion bodies[2] = {emit_body(e, op->body[0])};
    if (regions == 2) bodies[1] = emit_body(e, op->body[1]);
    MlirValue operands[3 + KIR_MAX_CARRIED];
    MlirType results[KIR_MAX_CARRIED];
    for (uint32_t i = 0; i < op->result_count; i++) results[i] = mb_type(e, emit_type(e, op->result + i));
    MlirOperation made = mb_insert(e, &(MbOp){.name = name,
                                              .operand_count = gather(e, op->operand_count, op->operands, operands),
                                              .operands = operands,
                                              .result_count = op->result_count,
                                              .results = results,
                                              .region_count = regions,
                                              .regions = bodies});
    for (uint32_t i = 0; i < op->result_count; i++) e->values[op->result + i] = mlirOperationGetResult(made, i);
    return no_value();
}

static MlirValue emit_for(Emit *e, const KirOp *op) { return emit_control(e, op, "scf.for", 1); }
static MlirValue emit_if(Emit *e, const KirOp *op) { return emit_control(e, op, "scf.if", 2); }

// ---- the table -----------------------------------------------------------------------------------------------------

// By scalar of the first operand: MLIR operation on integers, on floats; or a function.
static const struct Row { const char *on_ints, *on_floats; EmitOp *function; } rows[KIR_OP_COUNT] = {
    [KIR_OP_const_int] = {.function = emit_const_int},
    [KIR_OP_const_float] = {.function = emit_const_float},
    [KIR_OP_table] = {.function = emit_table},
    [KIR_OP_param] = {.function = emit_param},
    [KIR_OP_scratch] = {.function = emit_scratch},
    [KIR_OP_add] = {"arith.addi", "arith.addf", NULL},
    [KIR_OP_sub] = {"arith.subi", "arith.subf", NULL},
    [KIR_OP_mul] = {"arith.muli", "arith.mulf", NULL},
    [KIR_OP_min] = {.function = emit_min},
    [KIR_OP_max] = {.function = emit_max},
    [KIR_OP_sdiv] = {.on_ints = "arith.divsi"},
    [KIR_OP_srem] = {.on_ints = "arith.remsi"},
    [KIR_OP_and] = {.on_ints = "arith.andi"},
    [KIR_OP_or] = {.on_ints = "arith.ori"},
    [KIR_OP_xor] = {.on_ints = "arith.xori"},
    [KIR_OP_shl] = {.on_ints = "arith.shli"},
    [KIR_OP_lshr] = {.on_ints = "arith.shrui"},
    [KIR_OP_ashr] = {.on_ints = "arith.shrsi"},
    [KIR_OP_div] = {.on_floats = "arith.divf"},
    [KIR_OP_fma] = {.function = emit_fma},
    [KIR_OP_fma_exact] = {.function = emit_fma_exact},
    [KIR_OP_sum_products] = {.function = emit_sum_products},
    [KIR_OP_neg] = {.on_floats = "arith.negf"},
    [KIR_OP_abs] = {.on_floats = "math.absf"},
    [KIR_OP_sqrt] = {.on_floats = "math.sqrt"},
    [KIR_OP_rint] = {.on_floats = "math.roundeven"},
    [KIR_OP_floor] = {.on_floats = "math.floor"},
    [KIR_OP_cmp] = {.function = emit_cmp},
    [KIR_OP_select] = {.on_ints = "arith.select"},
    [KIR_OP_sext] = {.on_ints = "arith.extsi"},
    [KIR_OP_zext] = {.on_ints = "arith.extui"},
    [KIR_OP_trunc] = {.on_ints = "arith.trunci"},
    [KIR_OP_itof] = {.on_ints = "arith.sitofp"},
    [KIR_OP_ftoi] = {.on_floats = "arith.fptosi"},
    [KIR_OP_f16_f32] = {.function = emit_f16_f32},
    [KIR_OP_f32_f16] = {.function = emit_f32_f16},
    [KIR_OP_bf16_f32] = {.function = emit_bf16_f32},
    [KIR_OP_f32_bf16] = {.function = emit_f32_bf16},
    [KIR_OP_bitcast] = {.function = emit_bitcast},
    [KIR_OP_splat] = {"vector.broadcast", "vector.broadcast", NULL},
    [KIR_OP_extract] = {.function = emit_extract},
    [KIR_OP_shuffle] = {.function = emit_shuffle},
    [KIR_OP_lookup] = {.function = emit_lookup},
    [KIR_OP_reduce_add] = {.function = emit_reduce},
    [KIR_OP_reduce_max] = {.function = emit_reduce},
    [KIR_OP_offset] = {.function = emit_offset},
    [KIR_OP_load] = {.function = emit_load},
    [KIR_OP_store] = {.function = emit_store},
    [KIR_OP_load_part] = {.function = emit_load_part},
    [KIR_OP_store_part] = {.function = emit_store_part},
    [KIR_OP_prefetch] = {.function = emit_prefetch},
    [KIR_OP_prefetch_later] = {.function = emit_prefetch},
    [KIR_OP_dot_u8i8] = {.function = emit_dot_u8i8},
    [KIR_OP_dot_u7i8] = {.function = emit_dot_u7i8},
    [KIR_OP_dot_i8i8] = {.function = emit_dot_i8i8},
    [KIR_OP_dot_bf16] = {.function = emit_dot_bf16},
    [KIR_OP_for] = {.function = emit_for},
    [KIR_OP_if] = {.function = emit_if},
};

bool emit_has_row(KirOpKind kind) { return rows[kind].function || rows[kind].on_ints || rows[kind].on_floats; }

static MlirValue emit_by_name(Emit *e, const KirOp *op) {
    const struct Row *row = &rows[op->kind];
    MlirValue operands[3];
    const char *name = emit_type(e, op->operands[0]).scalar == KIR_F32 ? row->on_floats : row->on_ints;
    HD_ASSERT(name);
    return mb_op(e, name, mb_type(e, emit_type(e, op->result)), gather(e, op->operand_count, op->operands, operands), operands, 0,
                 NULL);
}

static void emit_ops(Emit *e, const KirBlock *block) {
    for (const KirOp *op = block->first; op; op = op->next) {
        EmitOp *function = rows[op->kind].function;
        MlirValue value = function ? function(e, op) : emit_by_name(e, op);
        if (!mlirValueIsNull(value)) e->values[op->result] = value;
    }
}

// ---- the module ----------------------------------------------------------------------------------------------------

// Instructions that the target lacks are refused here: LLVM would abort the process.
HdStatus *emit_check(const KirFn *fn, const IrTarget *target) {
    IrFeature bf16 = ir_target_bf16_feature(target);
    if (kir_uses(fn, KIR_OP_dot_bf16) && !ir_target_has(target, bf16))
        return hd_error(HD_UNSUPPORTED, "kernel %s: %s needs %s, which target %s lacks", fn->name, kir_op_name(KIR_OP_dot_bf16),
                        ir_feature_name(bf16), target->name);
    return NULL;
}

static void emit_global(Emit *e, const KirOp *op) {
    const KirTable *table = &e->fn->tables.data[op->number];
    HdBuf name = {0};
    table_name(e, op, &name);
    MlirType type = mlirLLVMArrayTypeGet(mb_type(e, KT_I8), (unsigned)table->len);
    MlirNamedAttribute attrs[] = {
        mb_attr(e, "global_type", mlirTypeAttrGet(type)),
        mb_attr(e, "constant", mlirUnitAttrGet(e->context)),
        mb_attr_text(e, "sym_name", name.data),
        mb_attr(e, "linkage", mlirLLVMLinkageAttrGet(e->context, MlirLLVMLinkageInternal)),
        mb_attr(e, "value", mlirStringAttrGet(e->context, mlirStringRefCreate((const char *)table->bytes, table->len))),
        mb_attr_i64(e, "alignment", 64),
        mb_attr_i32(e, "addr_space", 0),
    };
    hd_buf_free(&name);
    MlirRegion initializer = mlirRegionCreate();
    mb_insert(e, &(MbOp){.name = "llvm.mlir.global",
                         .attr_count = HD_COUNT(attrs),
                         .attrs = attrs,
                         .region_count = 1,
                         .regions = &initializer});
}

static void emit_function(Emit *e) {
    MlirType pointer = mb_type(e, KT_PTR), word = mb_type(e, KT_I64);
    MlirType inputs[4] = {pointer, word, word, pointer};
    MlirLocation locations[4] = {e->location, e->location, e->location, e->location};
    e->top = mlirBlockCreate(4, inputs, locations);
    MlirRegion body = mlirRegionCreate();
    mlirRegionAppendOwnedBlock(body, e->top);
    MlirNamedAttribute attrs[] = {
        mb_attr_text(e, "sym_name", e->fn->name),
        mb_attr(e, "function_type", mlirTypeAttrGet(mlirFunctionTypeGet(e->context, 4, inputs, 0, NULL))),
    };
    mb_insert(e,
              &(MbOp){.name = "func.func", .attr_count = HD_COUNT(attrs), .attrs = attrs, .region_count = 1, .regions = &body});
    e->block = e->top;
    for (uint32_t i = 0; i < 2; i++) e->values[e->fn->entry->first_arg + i] = mlirBlockGetArgument(e->top, 1 + i);
    emit_ops(e, e->fn->prelude);
    emit_ops(e, e->fn->entry);
    mb_insert(e, &(MbOp){.name = "func.return"});
}

MlirModule emit_module(MlirContext context, const IrTarget *target, const KirFn *fn) {
    HdArena arena = {0};
    MlirLocation location = mlirLocationUnknownGet(context);
    MlirModule module = mlirModuleCreateEmpty(location);
    Emit e = {.target = target, .fn = fn, .context = context, .location = location, .module = mlirModuleGetBody(module)};
    e.values = HD_NEW_ARRAY(&arena, MlirValue, fn->values.len);
    e.block = e.module;
    for (const KirOp *op = fn->prelude->first; op; op = op->next)
        if (op->kind == KIR_OP_table) emit_global(&e, op);
    emit_function(&e);
    hd_arena_free(&arena);
    return module;
}
