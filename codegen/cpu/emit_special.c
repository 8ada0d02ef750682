// SPDX-License-Identifier: Apache-2.0
// Operations whose code depends on what the target has: half-precision conversions, partial vectors, products of short numbers.
#include "codegen/cpu/emit_internal.h"

static KirType lanes_of(KirScalar scalar, KirType like) { return KIR_T(scalar, like.lanes); }
static bool has(const Emit *e, IrFeature feature) { return ir_target_has(e->target, feature); }
static bool is_aarch64(const Emit *e) { return e->target->isa == IR_ISA_AARCH64; }

// ---- f16 and bf16 ------------------------------------------------------------------------------------------------
// LLVM converts by vcvtph2ps and vcvtps2ph with F16C, by fcvtl and fcvtn on aarch64. Without, integer arithmetic gives the same
// bits, quieted NaNs included; LLVM alone would call compiler-rt, which a kernel cannot.

static bool converts_halves(const Emit *e) { return is_aarch64(e) || has(e, IR_FEATURE_F16C); }

static MlirType half_type(const Emit *e, uint32_t lanes) {
    int64_t shape = lanes;
    MlirType half = mlirF16TypeGet(e->context);
    return lanes == 1 ? half : mlirVectorTypeGet(1, &shape, half);
}

static MlirValue add(Emit *e, MlirValue a, MlirValue b) { return mb_binary(e, "arith.addi", a, b); }
static MlirValue and_(Emit *e, MlirValue a, MlirValue b) { return mb_binary(e, "arith.andi", a, b); }
static MlirValue or_(Emit *e, MlirValue a, MlirValue b) { return mb_binary(e, "arith.ori", a, b); }
static MlirValue shl(Emit *e, MlirValue a, MlirValue b) { return mb_binary(e, "arith.shli", a, b); }
static MlirValue lshr(Emit *e, MlirValue a, MlirValue b) { return mb_binary(e, "arith.shrui", a, b); }
static MlirValue ashr(Emit *e, MlirValue a, MlirValue b) { return mb_binary(e, "arith.shrsi", a, b); }

// Rebiases the exponent (127 - 15 = 112); infinities and NaNs get it twice, subnormals are converted as integers times 2^-24.
static MlirValue f16_f32_by_integers(Emit *e, MlirValue half, KirType type) {
    KirType words = lanes_of(KIR_I32, type), floats = lanes_of(KIR_F32, type);
    MlirValue bits = mb_unary(e, "arith.extui", mb_type(e, words), half);
    MlirValue magnitude = and_(e, bits, mb_int(e, words, 0x7fff)), rebias = mb_int(e, words, 112 << 23);
    MlirValue normal = add(e, shl(e, magnitude, mb_int(e, words, 13)), rebias);
    MlirValue special = mb_cmp_int(e, MB_UGE, magnitude, mb_int(e, words, 0x7c00));
    normal = mb_select(e, special, add(e, normal, rebias), normal);
    MlirValue nan = mb_cmp_int(e, MB_UGT, magnitude, mb_int(e, words, 0x7c00));
    normal = mb_select(e, nan, or_(e, normal, mb_int(e, words, 0x400000)), normal);
    MlirValue small = mb_unary(e, "arith.sitofp", mb_type(e, floats), magnitude);
    small = mb_bitcast(e, mb_type(e, words), mb_binary(e, "arith.mulf", small, mb_float(e, floats, 0x1p-24f)));
    MlirValue result = mb_select(e, mb_cmp_int(e, MB_ULT, magnitude, mb_int(e, words, 0x400)), small, normal);
    MlirValue sign = shl(e, and_(e, bits, mb_int(e, words, 0x8000)), mb_int(e, words, 16));
    return mb_bitcast(e, mb_type(e, floats), or_(e, result, sign));
}

// Normal numbers: add half of the last place, less one for an even result, and cut; a carry walks into the exponent and to
// infinity. Subnormals: the float adder rounds when 0.5 is added, whose last place is 2^-24.
static MlirValue f32_f16_by_integers(Emit *e, MlirValue value, KirType type) {
    KirType words = lanes_of(KIR_I32, type), floats = lanes_of(KIR_F32, type);
    MlirType word_type = mb_type(e, words);
    MlirValue bits = mb_bitcast(e, word_type, value), magnitude = and_(e, bits, mb_int(e, words, 0x7fffffff));
    MlirValue odd = and_(e, lshr(e, magnitude, mb_int(e, words, 13)), mb_int(e, words, 1));
    MlirValue normal = add(e, add(e, magnitude, mb_int(e, words, (int32_t)0xc8000fff)), odd);
    normal = lshr(e, normal, mb_int(e, words, 13));
    MlirValue small = mb_binary(e, "arith.addf", mb_bitcast(e, mb_type(e, floats), magnitude), mb_float(e, floats, 0.5f));
    small = mb_binary(e, "arith.subi", mb_bitcast(e, word_type, small), mb_int(e, words, 0x3f000000));
    MlirValue result = mb_select(e, mb_cmp_int(e, MB_ULT, magnitude, mb_int(e, words, 0x38800000)), small, normal);
    result = mb_select(e, mb_cmp_int(e, MB_UGE, magnitude, mb_int(e, words, 0x47800000)), mb_int(e, words, 0x7c00), result);
    MlirValue payload = and_(e, lshr(e, magnitude, mb_int(e, words, 13)), mb_int(e, words, 0x3ff));
    MlirValue nan = mb_cmp_int(e, MB_UGT, magnitude, mb_int(e, words, 0x7f800000));
    result = mb_select(e, nan, or_(e, payload, mb_int(e, words, 0x7e00)), result);
    result = or_(e, result, and_(e, lshr(e, bits, mb_int(e, words, 16)), mb_int(e, words, 0x8000)));
    return mb_unary(e, "arith.trunci", mb_type(e, lanes_of(KIR_I16, type)), result);
}

MlirValue emit_f16_f32(Emit *e, const KirOp *op) {
    KirType type = emit_type(e, op->result);
    MlirValue half = emit_operand(e, op, 0);
    if (!converts_halves(e)) return f16_f32_by_integers(e, half, type);
    return mb_unary(e, "arith.extf", mb_type(e, type), mb_bitcast(e, half_type(e, type.lanes), half));
}

MlirValue emit_f32_f16(Emit *e, const KirOp *op) {
    KirType type = emit_type(e, op->result);
    MlirValue value = emit_operand(e, op, 0);
    if (!converts_halves(e)) return f32_f16_by_integers(e, value, type);
    return mb_bitcast(e, mb_type(e, type), mb_unary(e, "arith.truncf", half_type(e, type.lanes), value));
}

MlirValue emit_bf16_f32(Emit *e, const KirOp *op) {
    KirType type = emit_type(e, op->result), words = lanes_of(KIR_I32, type);
    MlirValue bits = mb_unary(e, "arith.extui", mb_type(e, words), emit_operand(e, op, 0));
    return mb_bitcast(e, mb_type(e, type), shl(e, bits, mb_int(e, words, 16)));
}

// By integers on all targets: vcvtneps2bf16 flushes subnormals.
MlirValue emit_f32_bf16(Emit *e, const KirOp *op) {
    KirType type = emit_type(e, op->result), words = lanes_of(KIR_I32, type);
    MlirValue bits = mb_bitcast(e, mb_type(e, words), emit_operand(e, op, 0)), sixteen = mb_int(e, words, 16);
    MlirValue high = lshr(e, bits, sixteen);
    MlirValue bias = add(e, and_(e, high, mb_int(e, words, 1)), mb_int(e, words, 0x7fff));
    MlirValue rounded = lshr(e, add(e, bits, bias), sixteen);
    MlirValue nan = mb_cmp_int(e, MB_UGT, and_(e, bits, mb_int(e, words, 0x7fffffff)), mb_int(e, words, 0x7f800000));
    MlirValue result = mb_select(e, nan, or_(e, high, mb_int(e, words, 0x40)), rounded);
    return mb_unary(e, "arith.trunci", mb_type(e, type), result);
}

// ---- partial vectors -----------------------------------------------------------------------------------------------
// Masked instructions where they exist for this element size. Elsewhere LLVM would branch once per lane; a loop over elements
// through a buffer on the stack is smaller, and partial vectors are the ends of rows.

static bool can_mask(const Emit *e, KirType type) {
    if (type.lanes == 1) return false;
    return kir_scalar_bits(type.scalar) >= 32 ? has(e, IR_FEATURE_AVX)
                                              : has(e, IR_FEATURE_AVX512BW) && has(e, IR_FEATURE_AVX512VL);
}

static KirType index_type(KirType type) {
    static const uint8_t scalar_of_bytes[9] = {[1] = KIR_I8, [2] = KIR_I16, [4] = KIR_I32, [8] = KIR_I64};
    return KIR_T(scalar_of_bytes[kir_scalar_bits(type.scalar) / 8], type.lanes);
}

// Lane i: i < count. The numbers 0..64 fit a lane of any size.
static MlirValue mask_of(Emit *e, KirType type, MlirValue count) {
    KirType ids = index_type(type), one = KIR_T(ids.scalar, 1);
    uint8_t raw[64 * 8] = {0};
    uint32_t bytes = kir_scalar_bits(ids.scalar) / 8;
    for (uint32_t i = 0; i < type.lanes; i++) raw[i * bytes] = (uint8_t)i;
    MlirAttribute value = mlirDenseElementsAttrRawBufferGet(mb_type(e, ids), type.lanes * bytes, raw);
    MlirNamedAttribute attr = mb_attr(e, "value", value);
    MlirValue lanes = mb_op(e, "arith.constant", mb_type(e, ids), 0, NULL, 1, &attr);
    if (one.scalar != KIR_I64) count = mb_unary(e, "arith.trunci", mb_type(e, one), count);
    return mb_cmp_int(e, MB_SLT, lanes, mb_unary(e, "vector.broadcast", mb_type(e, ids), count));
}

// One buffer serves the whole kernel: a partial access is over before the next begins.
static MlirValue buffer(Emit *e) {
    if (!mlirValueIsNull(e->buffer)) return e->buffer;
    MlirType byte = mb_type(e, KT_I8), pointer = mb_type(e, KT_PTR);
    MlirNamedAttribute size_attr = mb_attr_i64(e, "value", 64 * 8);
    MlirType word = mb_type(e, KT_I64);
    MbOp size_op = {.name = "arith.constant", .result_count = 1, .results = &word, .attr_count = 1, .attrs = &size_attr};
    MlirOperation size = mb_create(e, &size_op);
    MlirValue size_value = mlirOperationGetResult(size, 0);
    MlirNamedAttribute attrs[] = {mb_attr_i64(e, "alignment", 64), mb_attr(e, "elem_type", mlirTypeAttrGet(byte))};
    MbOp alloca_op = {.name = "llvm.alloca",
                      .operand_count = 1,
                      .operands = &size_value,
                      .result_count = 1,
                      .results = &pointer,
                      .attr_count = 2,
                      .attrs = attrs};
    MlirOperation space = mb_create(e, &alloca_op);
    mlirBlockInsertOwnedOperation(e->top, 0, space);       // the function's first block: allocated once, not per round of a loop
    mlirBlockInsertOwnedOperation(e->top, 0, size);
    return e->buffer = mlirOperationGetResult(space, 0);
}

static void copy_elements(Emit *e, KirScalar scalar, MlirValue from, MlirValue to, MlirValue count) {
    MbLoop loop = mb_loop_begin(e, count);
    MlirValue at = mb_binary(e, "arith.muli", loop.index, mb_int(e, KT_I64, kir_scalar_bits(scalar) / 8));
    mb_store(e, mb_at(e, to, at), mb_load(e, mb_type(e, KIR_T(scalar, 1)), mb_at(e, from, at), 1), 1);
    mb_loop_end(e, &loop);
}

static MlirValue zero_of(Emit *e, KirType type) { return type.scalar == KIR_F32 ? mb_float(e, type, 0) : mb_int(e, type, 0); }

MlirValue emit_load_part(Emit *e, const KirOp *op) {
    KirType type = emit_type(e, op->result);
    MlirValue pointer = emit_operand(e, op, 0), count = emit_operand(e, op, 1), zero = zero_of(e, type);
    if (can_mask(e, type)) {
        MlirNamedAttribute attr = mb_attr_i32(e, "alignment", 1);
        return mb_op(e, "llvm.intr.masked.load", mb_type(e, type), 3, (MlirValue[]){pointer, mask_of(e, type, count), zero}, 1,
                     &attr);
    }
    mb_store(e, buffer(e), zero, 1);
    copy_elements(e, type.scalar, pointer, buffer(e), count);
    return mb_load(e, mb_type(e, type), buffer(e), 1);
}

MlirValue emit_store_part(Emit *e, const KirOp *op) {
    KirType type = emit_type(e, op->operands[2]);
    MlirValue pointer = emit_operand(e, op, 0), count = emit_operand(e, op, 1), value = emit_operand(e, op, 2);
    if (can_mask(e, type)) {
        MlirNamedAttribute attr = mb_attr_i32(e, "alignment", 1);
        MlirValue operands[3] = {value, pointer, mask_of(e, type, count)};
        mb_insert(
            e,
            &(MbOp){.name = "llvm.intr.masked.store", .operand_count = 3, .operands = operands, .attr_count = 1, .attrs = &attr});
    } else {
        mb_store(e, buffer(e), value, 1);
        copy_elements(e, type.scalar, buffer(e), pointer, count);
    }
    return (MlirValue){NULL};
}

// ---- tables ----------------------------------------------------------------------------------------------------------
// pshufb and tbl look up within each 16 bytes, so a wider pshufb has the table in each of them.

static MlirValue repeated(Emit *e, MlirValue table, uint32_t lanes) {
    int64_t order[64];
    for (uint32_t i = 0; i < lanes; i++) order[i] = i % 16;
    return lanes == 16 ? table : mb_shuffle(e, mb_type(e, KIR_T(KIR_I8, (uint8_t)lanes)), table, table, order, lanes);
}

static const char *lookup_instruction(const Emit *e, uint32_t lanes) {
    if (is_aarch64(e)) return "llvm.aarch64.neon.tbl1.v16i8";
    return lanes == 64 ? "llvm.x86.avx512.pshuf.b.512" : lanes == 32 ? "llvm.x86.avx2.pshuf.b" : "llvm.x86.ssse3.pshuf.b.128";
}

static MlirValue lookup(Emit *e, uint32_t widest, KirType type, MlirValue table, MlirValue index) {
    if (type.lanes > widest) {
        KirType half = KIR_T(type.scalar, type.lanes / 2);
        MlirValue low = lookup(e, widest, half, table, mb_slice(e, type, index, 0, half.lanes));
        return mb_concat(e, half, low, lookup(e, widest, half, table, mb_slice(e, type, index, half.lanes, half.lanes)));
    }
    MlirValue operands[2] = {repeated(e, table, type.lanes), index};
    return mb_intrinsic(e, lookup_instruction(e, type.lanes), mb_type(e, type), 2, operands);
}

MlirValue emit_lookup(Emit *e, const KirOp *op) {
    uint32_t widest = has(e, IR_FEATURE_AVX512BW) ? 64 : has(e, IR_FEATURE_AVX2) ? 32 : 16;
    return lookup(e, widest, emit_type(e, op->result), emit_operand(e, op, 0), emit_operand(e, op, 1));
}

// ---- products ------------------------------------------------------------------------------------------------------
// A product is cut into pieces of the widest instruction. A piece of n accumulator lanes is one instruction, or arithmetic on
// another product.

typedef MlirValue Piece(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b);

static MlirValue by_pieces(Emit *e, Piece *piece, uint32_t widest, KirType acc_type, KirType in_type, MlirValue acc, MlirValue a,
                           MlirValue b) {
    if (acc_type.lanes <= widest) return piece(e, acc_type.lanes, acc, a, b);
    KirType half = KIR_T(acc_type.scalar, acc_type.lanes / 2), half_in = KIR_T(in_type.scalar, in_type.lanes / 2);
    MlirValue parts[2];
    for (uint32_t i = 0; i < 2; i++) {
        MlirValue acc_part = mb_slice(e, acc_type, acc, i * half.lanes, half.lanes);
        MlirValue a_part = mb_slice(e, in_type, a, i * half_in.lanes, half_in.lanes),
                  b_part = mb_slice(e, in_type, b, i * half_in.lanes, half_in.lanes);
        parts[i] = by_pieces(e, piece, widest, half, half_in, acc_part, a_part, b_part);
    }
    return mb_concat(e, half, parts[0], parts[1]);
}

static MlirValue emit_dot(Emit *e, const KirOp *op, Piece *piece, uint32_t widest) {
    return by_pieces(e, piece, widest, emit_type(e, op->result), emit_type(e, op->operands[1]), emit_operand(e, op, 0),
                     emit_operand(e, op, 1), emit_operand(e, op, 2));
}

// Accumulator lanes of the widest vpdpbusd; 0: none.
static uint32_t vnni_lanes(const Emit *e) { return has(e, IR_FEATURE_AVX512VNNI) ? 16 : has(e, IR_FEATURE_AVXVNNI) ? 8 : 0; }
static uint32_t madd_lanes(const Emit *e) { return has(e, IR_FEATURE_AVX512BW) ? 16 : has(e, IR_FEATURE_AVX2) ? 8 : 4; }

static MlirValue dot_instruction(Emit *e, const char *name, MlirValue acc, MlirValue a, MlirValue b, uint32_t lanes) {
    char full[64];
    snprintf(full, sizeof full, "llvm.x86.%s.%u", name, lanes * 32);
    return mb_intrinsic(e, full, mlirValueGetType(acc), 3, (MlirValue[]){acc, a, b});
}

static MlirValue piece_vpdpbusd(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b) {
    return dot_instruction(e, "avx512.vpdpbusd", acc, a, b, lanes);
}

// i32 lane i = a[2i] b[2i] + a[2i+1] b[2i+1], of numbers whose products fit 16 bits.
static MlirValue madd(Emit *e, uint32_t lanes, MlirValue a, MlirValue b) {
    MlirType sums = mb_type(e, KIR_T(KIR_I32, (uint8_t)lanes));
    if (is_aarch64(e)) {
        MlirValue products = mb_binary(e, "arith.muli", a, b);
        return mb_intrinsic(e, "llvm.aarch64.neon.saddlp.v4i32.v8i16", sums, 1, &products);
    }
    const char *name = lanes == 16  ? "llvm.x86.avx512.pmaddw.d.512"
                       : lanes == 8 ? "llvm.x86.avx2.pmadd.wd"
                                    : "llvm.x86.sse2.pmadd.wd";
    return mb_intrinsic(e, name, sums, 2, (MlirValue[]){a, b});
}

// Even and odd bytes as 16-bit numbers in place: no lane moves, and pmaddwd sums bytes 0 and 2, then 1 and 3, of each accumulator
// lane. Exact: no product exceeds 255 * 128, and sums have 32 bits.
static MlirValue even_and_odd(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b, bool is_signed) {
    KirType words = KIR_T(KIR_I16, (uint8_t)(2 * lanes));
    MlirValue eight = mb_int(e, words, 8);
    a = mb_bitcast(e, mb_type(e, words), a);
    b = mb_bitcast(e, mb_type(e, words), b);
    MlirValue a_even = is_signed ? ashr(e, shl(e, a, eight), eight) : and_(e, a, mb_int(e, words, 255));
    MlirValue even = madd(e, lanes, a_even, ashr(e, shl(e, b, eight), eight));
    MlirValue odd = madd(e, lanes, is_signed ? ashr(e, a, eight) : lshr(e, a, eight), ashr(e, b, eight));
    return add(e, acc, add(e, even, odd));
}

static MlirValue piece_bytes(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b) {
    return even_and_odd(e, lanes, acc, a, b, false);
}

static MlirValue piece_signed(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b) {
    return even_and_odd(e, lanes, acc, a, b, true);
}

// Two instructions in place of four: pmaddubsw saturates at 16 bits, which two products of at most 127 * 128 do not reach.
static MlirValue piece_maddubs(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b) {
    KirType words = KIR_T(KIR_I16, (uint8_t)(2 * lanes));
    const char *name = lanes == 16  ? "llvm.x86.avx512.pmaddubs.w.512"
                       : lanes == 8 ? "llvm.x86.avx2.pmadd.ub.sw"
                                    : "llvm.x86.ssse3.pmadd.ub.sw.128";
    MlirValue sums = mb_intrinsic(e, name, mb_type(e, words), 2, (MlirValue[]){a, b});
    return add(e, acc, madd(e, lanes, sums, mb_int(e, words, 1)));
}

// |a| times b with a's sign. (Of 512 bits there is no psignb.)
static MlirValue piece_psign(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b) {
    MlirValue negative = mb_binary(e, "arith.subi", mb_int(e, KIR_T(KIR_I8, (uint8_t)(4 * lanes)), 0), a);
    b = mb_intrinsic(e, lanes == 8 ? "llvm.x86.avx2.psign.b" : "llvm.x86.ssse3.psign.b.128", mlirValueGetType(b), 2, (MlirValue[]){b, a});
    return piece_maddubs(e, lanes, acc, mb_binary(e, "arith.maxsi", a, negative), b);
}

static MlirValue neon_dot(Emit *e, const char *name, MlirValue acc, MlirValue a, MlirValue b) {
    return mb_intrinsic(e, name, mlirValueGetType(acc), 3, (MlirValue[]){acc, a, b});
}

static MlirValue piece_usdot(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b) {
    (void)lanes;
    return neon_dot(e, "llvm.aarch64.neon.usdot.v4i32.v16i8", acc, a, b);
}

static MlirValue piece_sdot(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b) {
    (void)lanes;
    return neon_dot(e, "llvm.aarch64.neon.sdot.v4i32.v16i8", acc, a, b);
}

// sdot takes a as a signed number: (a - 128) b + 128 b. The second sum is the same for all rows of a panel, and LLVM keeps it.
static MlirValue piece_shifted_sdot(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b) {
    KirType sums = KIR_T(KIR_I32, (uint8_t)lanes);
    MlirValue b_sum = piece_sdot(e, lanes, mb_int(e, sums, 0), b, mb_int(e, KT_I8x16, 1));
    acc = add(e, acc, shl(e, b_sum, mb_int(e, sums, 7)));
    return piece_sdot(e, lanes, acc, mb_binary(e, "arith.xori", a, mb_int(e, KT_I8x16, -128)), b);
}

MlirValue emit_dot_u8i8(Emit *e, const KirOp *op) {
    if (has(e, IR_FEATURE_I8MM)) return emit_dot(e, op, piece_usdot, 4);
    if (has(e, IR_FEATURE_DOTPROD)) return emit_dot(e, op, piece_shifted_sdot, 4);
    return vnni_lanes(e) ? emit_dot(e, op, piece_vpdpbusd, vnni_lanes(e)) : emit_dot(e, op, piece_bytes, madd_lanes(e));
}

MlirValue emit_dot_u7i8(Emit *e, const KirOp *op) {
    if (has(e, IR_FEATURE_DOTPROD)) return emit_dot(e, op, piece_sdot, 4);
    if (vnni_lanes(e) || is_aarch64(e)) return emit_dot_u8i8(e, op);
    return emit_dot(e, op, piece_maddubs, madd_lanes(e));
}

MlirValue emit_dot_i8i8(Emit *e, const KirOp *op) {
    if (has(e, IR_FEATURE_DOTPROD)) return emit_dot(e, op, piece_sdot, 4);
    if (is_aarch64(e)) return emit_dot(e, op, piece_signed, 4);
    return emit_dot(e, op, piece_psign, HD_MIN(madd_lanes(e), 8));
}

static MlirValue piece_dpbf16(Emit *e, uint32_t lanes, MlirValue acc, MlirValue a, MlirValue b) {
    int64_t shape = 2 * lanes;
    MlirType type = mlirVectorTypeGet(1, &shape, mlirBF16TypeGet(e->context));
    a = mb_bitcast(e, type, a), b = mb_bitcast(e, type, b);
    return is_aarch64(e) ? neon_dot(e, "llvm.aarch64.neon.bfdot.v4f32.v8bf16", acc, a, b)
                         : dot_instruction(e, "avx512bf16.dpbf16ps", acc, a, b, lanes);
}

MlirValue emit_dot_bf16(Emit *e, const KirOp *op) { return emit_dot(e, op, piece_dpbf16, is_aarch64(e) ? 4 : 16); }
