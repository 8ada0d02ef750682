// SPDX-License-Identifier: Apache-2.0
// What makes a kernel well-formed. The rules for one operation are a table: which scalars the operands may have and how types
// relate; the few that do not fit have a function. The builder applies the same rules while it builds.
#include "codegen/kir_internal.h"

#include <string.h>

// ---- names ---------------------------------------------------------------------------------------------------

static const struct { const char *text; int operands; } infos[KIR_OP_COUNT] = {
#define KIR_OP(name, text, operands, result, profiles, doc) {text, operands},
#include "codegen/kops.def"
#undef KIR_OP
};

typedef enum { RESULT_NONE, RESULT_SAME, RESULT_GIVEN, RESULT_MASK, RESULT_ELEM } ResultRule;
static const uint8_t result_rules[KIR_OP_COUNT] = {
#define KIR_OP(name, text, operands, result, profiles, doc) RESULT_##result,
#include "codegen/kops.def"
#undef KIR_OP
};

enum { PROFILE_B = KIR_SIMD | KIR_SIMT, PROFILE_C = KIR_SIMD, PROFILE_G = KIR_SIMT };
static const uint8_t profiles_of[KIR_OP_COUNT] = {
#define KIR_OP(name, text, operands, result, profiles, doc) PROFILE_##profiles,
#include "codegen/kops.def"
#undef KIR_OP
};

static const struct { const char *text; uint32_t bits; } scalars[KIR_SCALAR_COUNT] = {
    [KIR_I1] = {"i1", 1}, [KIR_I8] = {"i8", 8}, [KIR_I16] = {"i16", 16}, [KIR_I32] = {"i32", 32}, [KIR_I64] = {"i64", 64},
    [KIR_F32] = {"f32", 32}, [KIR_PTR] = {"ptr", 64},
};

const char *kir_op_name(KirOpKind kind) { return infos[kind].text; }
int kir_op_arity(KirOpKind kind) { return infos[kind].operands; }
const char *kir_scalar_name(KirScalar scalar) { return scalars[scalar].text; }
uint32_t kir_scalar_bits(KirScalar scalar) { return scalars[scalar].bits; }
const char *kir_pred_name(KirPred pred) { return (const char *[]){"eq", "ne", "lt", "le", "gt", "ge"}[pred]; }

void kir_type_text(KirType type, HdBuf *out_text) {
    hd_buf_str(out_text, type.scalar < KIR_SCALAR_COUNT ? kir_scalar_name(type.scalar) : "?");
    if (type.lanes != 1) hd_buf_printf(out_text, type.lanes ? "x%u" : "[]", type.lanes);
}

// ---- rules for one operation ---------------------------------------------------------------------------------

enum {
    S_I1 = 1 << KIR_I1,
    S_I8 = 1 << KIR_I8,
    S_I16 = 1 << KIR_I16,
    S_I32 = 1 << KIR_I32,
    S_I64 = 1 << KIR_I64,
    S_F32 = 1 << KIR_F32,
    S_PTR = 1 << KIR_PTR,
    S_INT = S_I8 | S_I16 | S_I32 | S_I64,
    S_BITS = S_INT | S_I1,
    S_NUM = S_INT | S_F32,
    S_DATA = S_NUM | S_PTR,
};

typedef const char *Rule(const KirFn *fn, const KirOp *op);
static KirType type_at(const KirFn *fn, const KirOp *op, uint32_t i) { return kir_value(fn, op->operands[i])->type; }
static KirType result_type(const KirFn *fn, const KirOp *op) { return kir_value(fn, op->result)->type; }
static bool is_in(KirType type, unsigned set) { return set >> type.scalar & 1; }
static uint32_t total_bits(KirType type) { return kir_scalar_bits(type.scalar) * type.lanes; }

static const char *rule_const_int(const KirFn *fn, const KirOp *op) {
    return is_in(result_type(fn, op), S_BITS) ? NULL : "an integer constant has an integer type";
}

static const char *rule_const_float(const KirFn *fn, const KirOp *op) {
    return is_in(result_type(fn, op), S_F32) ? NULL : "a float constant is f32";
}

static const char *rule_pointer(const KirFn *fn, const KirOp *op) {
    return kir_type_eq(result_type(fn, op), KT_PTR) ? NULL : "the result is a pointer";
}

static const char *rule_table(const KirFn *fn, const KirOp *op) {
    if (op->number < 0 || (size_t)op->number >= fn->tables.len) return "no such table";
    return fn->tables.data[op->number].len ? rule_pointer(fn, op) : "a table has at least one byte";
}

static const char *rule_param(const KirFn *fn, const KirOp *op) {
    KirType type = result_type(fn, op);
    return type.lanes == 1 && is_in(type, S_PTR | S_I64 | S_I32) ? NULL : "a parameter is ptr, i64 or i32";
}

static const char *rule_select(const KirFn *fn, const KirOp *op) {
    KirType mask = type_at(fn, op, 0), a = type_at(fn, op, 1);
    if (!is_in(mask, S_I1)) return "the mask is i1";
    if (!kir_type_eq(a, type_at(fn, op, 2)) || !kir_type_eq(a, result_type(fn, op)))
        return "both values and the result have the same type";
    return mask.lanes == 1 || mask.lanes == a.lanes ? NULL : "a mask has one lane, or as many as the values";
}

static const char *rule_pairs(const KirFn *fn, const KirOp *op) {
    (void)fn;
    return op->operand_count % 2 ? "the operands are pairs" : NULL;
}

static const char *rule_lanes_stay(const KirFn *fn, const KirOp *op) {
    return result_type(fn, op).lanes == type_at(fn, op, 0).lanes ? NULL : "a conversion keeps the lanes";
}

static const char *rule_wider(const KirFn *fn, const KirOp *op) {
    KirType to = result_type(fn, op);
    if (!is_in(to, S_INT) || total_bits(to) <= total_bits(type_at(fn, op, 0))) return "the result is a wider integer";
    return rule_lanes_stay(fn, op);
}

static const char *rule_narrower(const KirFn *fn, const KirOp *op) {
    KirType to = result_type(fn, op);
    if (!is_in(to, S_INT) || total_bits(to) >= total_bits(type_at(fn, op, 0))) return "the result is a narrower integer";
    return rule_lanes_stay(fn, op);
}

static const char *rule_to_f32(const KirFn *fn, const KirOp *op) {
    return is_in(result_type(fn, op), S_F32) ? rule_lanes_stay(fn, op) : "the result is f32";
}

static const char *rule_to_i16(const KirFn *fn, const KirOp *op) {
    return is_in(result_type(fn, op), S_I16) ? rule_lanes_stay(fn, op) : "the result is i16";
}

static const char *rule_to_int(const KirFn *fn, const KirOp *op) {
    return is_in(result_type(fn, op), S_I32 | S_I64) ? rule_lanes_stay(fn, op) : "the result is i32 or i64";
}

static const char *rule_bitcast(const KirFn *fn, const KirOp *op) {
    KirType to = result_type(fn, op);
    return is_in(to, S_NUM) && total_bits(to) == total_bits(type_at(fn, op, 0))
               ? NULL
               : "both types have the same size and neither is ptr or i1";
}

static const char *rule_splat(const KirFn *fn, const KirOp *op) {
    KirType from = type_at(fn, op, 0), to = result_type(fn, op);
    return from.lanes == 1 && to.lanes > 1 && from.scalar == to.scalar ? NULL : "a scalar becomes a vector of the same scalar";
}

static const char *rule_extract(const KirFn *fn, const KirOp *op) {
    return op->number >= 0 && op->number < type_at(fn, op, 0).lanes ? NULL : "no such lane";
}

static const char *rule_shuffle(const KirFn *fn, const KirOp *op) {
    KirType a = type_at(fn, op, 0), to = result_type(fn, op);
    if (!kir_type_eq(a, type_at(fn, op, 1)) || a.lanes == 1) return "both operands are vectors of the same type";
    if (a.scalar != to.scalar) return "the result has the operands' scalar";
    for (uint32_t i = 0; i < to.lanes; i++)
        if (op->lanes[i] >= 2 * a.lanes) return "no such lane";
    return NULL;
}

static const char *rule_vector(const KirFn *fn, const KirOp *op) {
    return type_at(fn, op, 0).lanes > 1 ? NULL : "the operand is a vector";
}

static const char *address(const KirFn *fn, const KirOp *op) {
    return kir_type_eq(type_at(fn, op, 0), KT_PTR) ? NULL : "the first operand is a pointer";
}

static const char *rule_offset(const KirFn *fn, const KirOp *op) {
    return kir_type_eq(type_at(fn, op, 1), KT_I64) ? address(fn, op) : "the second operand is i64";
}

static const char *rule_load(const KirFn *fn, const KirOp *op) {
    return is_in(result_type(fn, op), S_DATA) ? address(fn, op) : "i1 has no form in memory";
}

static const char *rule_store(const KirFn *fn, const KirOp *op) {
    return is_in(type_at(fn, op, 1), S_DATA) ? address(fn, op) : "i1 has no form in memory";
}

static const char *rule_load_part(const KirFn *fn, const KirOp *op) {
    return is_in(result_type(fn, op), S_NUM) ? rule_offset(fn, op) : "numbers only";
}

static const char *rule_store_part(const KirFn *fn, const KirOp *op) {
    return is_in(type_at(fn, op, 2), S_NUM) ? rule_offset(fn, op) : "numbers only";
}

// acc: n lanes of acc_scalar; a and b: factor * n lanes of scalar.
static const char *dot(const KirFn *fn, const KirOp *op, KirScalar acc_scalar, KirScalar scalar, uint32_t factor) {
    KirType acc = type_at(fn, op, 0), a = type_at(fn, op, 1);
    if (!kir_type_eq(a, type_at(fn, op, 2)) || a.scalar != scalar || acc.scalar != acc_scalar)
        return "wrong operand types for this product";
    return acc.lanes >= 4 && a.lanes == factor * acc.lanes ? NULL
                                                           : "the accumulator has at least 4 lanes and the operands fill them";
}

static const char *rule_lookup(const KirFn *fn, const KirOp *op) {
    KirType table = type_at(fn, op, 0), index = type_at(fn, op, 1);
    if (table.lanes != 16) return "a table has 16 bytes";
    if (index.scalar != KIR_I8 || index.lanes < 16) return "the indices are at least 16 bytes";
    return kir_type_eq(index, result_type(fn, op)) ? NULL : "the result has the type of the indices";
}
static const char *rule_dot_bytes(const KirFn *fn, const KirOp *op) { return dot(fn, op, KIR_I32, KIR_I8, 4); }
static const char *rule_dot_bf16(const KirFn *fn, const KirOp *op) { return dot(fn, op, KIR_F32, KIR_I16, 2); }

static bool yields_match(const KirFn *fn, const KirOp *op, const KirBlock *body) {
    if (body->yield_count != op->result_count) return false;
    for (uint32_t i = 0; i < op->result_count; i++)
        if (!kir_type_eq(kir_value(fn, body->yields[i])->type, kir_value(fn, op->result + i)->type)) return false;
    return true;
}

static const char *rule_for(const KirFn *fn, const KirOp *op) {
    const KirBlock *body = op->body[0];
    if (op->operand_count < 3 || !body || op->body[1]) return "a loop has bounds, a step and one body";
    for (uint32_t i = 0; i < 3; i++)
        if (!kir_type_eq(type_at(fn, op, i), KT_I64)) return "bounds and step are i64";
    if (body->arg_count != op->operand_count - 2 || op->result_count != op->operand_count - 3)
        return "the body takes the index and the carried values";
    for (uint32_t i = 0; i < op->result_count; i++) {
        KirType type = type_at(fn, op, 3 + i);
        if (!kir_type_eq(kir_value(fn, body->first_arg + 1 + i)->type, type) ||
            !kir_type_eq(kir_value(fn, op->result + i)->type, type))
            return "a carried value keeps its type";
    }
    return yields_match(fn, op, body) ? NULL : "a carried value keeps its type";
}

static const char *rule_if(const KirFn *fn, const KirOp *op) {
    if (op->operand_count != 1 || !kir_type_eq(type_at(fn, op, 0), KT_I1)) return "the condition is a scalar i1";
    if (!op->body[0] || (op->result_count && !op->body[1])) return "an if with results has two sides";
    for (int i = 0; i < 2 && op->body[i]; i++)
        if (!yields_match(fn, op, op->body[i])) return "both sides yield the same types";
    return NULL;
}

static const char *rule_lane(const KirFn *fn, const KirOp *op) {
    return kir_type_eq(result_type(fn, op), KT_I64) ? NULL : "the result is i64";
}

static const char *rule_shared(const KirFn *fn, const KirOp *op) {
    KirType type = result_type(fn, op);
    return !type.lanes && is_in(type, S_NUM) && op->number > 0 && op->number <= 1 << 20 ? NULL : "a shared array holds 1 to 2^20 numbers";
}

static const char *rule_shared_load(const KirFn *fn, const KirOp *op) {
    if (type_at(fn, op, 0).lanes) return "the first operand is a shared array";
    return kir_type_eq(type_at(fn, op, 1), KT_I64) ? NULL : "the index is i64";
}

static const char *rule_shared_store(const KirFn *fn, const KirOp *op) {
    KirType array = type_at(fn, op, 0);
    if (!kir_type_eq(type_at(fn, op, 2), KIR_T(array.scalar, 1))) return "the value has the array's scalar";
    return rule_shared_load(fn, op);
}

static const char *rule_scalar(const KirFn *fn, const KirOp *op) {
    return type_at(fn, op, 0).lanes == 1 ? NULL : "the operands are scalars";
}

// Words of this array at this index.
static const char *rule_words(const KirFn *fn, const KirOp *op) {
    if (!is_in(type_at(fn, op, 0), S_I32)) return "the array is one of i32";
    return rule_shared_load(fn, op);
}

static const char *rule_copy_async(const KirFn *fn, const KirOp *op) {
    return kir_type_eq(type_at(fn, op, 2), KT_PTR) ? rule_words(fn, op) : "the last operand is a pointer";
}

static const char *rule_copy_wait(const KirFn *fn, const KirOp *op) {
    (void)fn;
    return op->number >= 0 && op->number < 8 ? NULL : "waits for all but the last 0 to 7 batches";
}

static const char *rule_shuffle_xor(const KirFn *fn, const KirOp *op) {
    return op->number > 0 && op->number < KIR_WARP ? rule_scalar(fn, op) : "the lanes differ by 1 to 31";
}

static const char *fragment(const KirFn *fn, const KirOp *op, uint32_t small) {
    KirType type = result_type(fn, op);
    if (type.scalar != KIR_I32 || (type.lanes != small && type.lanes != 2 * small)) return "rows have four or eight words";
    return op->number >= 4 && op->number <= 1 << 10 ? rule_words(fn, op) : "rows are 4 to 1024 words apart";
}
static const char *rule_fragment_a(const KirFn *fn, const KirOp *op) { return fragment(fn, op, 2); }
static const char *rule_fragment_b(const KirFn *fn, const KirOp *op) { return fragment(fn, op, 1); }

static const char *factors(const KirFn *fn, const KirOp *op, uint32_t b_lanes) {
    bool fit = kir_type_eq(type_at(fn, op, 1), KIR_T(KIR_I32, 2 * b_lanes)) && kir_type_eq(type_at(fn, op, 2), KIR_T(KIR_I32, b_lanes));
    return fit && type_at(fn, op, 0).lanes == 4 ? NULL : "an accumulator and two fragments of equal rows";
}
static const char *rule_mma_i8(const KirFn *fn, const KirOp *op) { return factors(fn, op, type_at(fn, op, 2).lanes == 1 ? 1 : 2); }
static const char *rule_mma_bf16(const KirFn *fn, const KirOp *op) { return factors(fn, op, 2); }

// scalars: what the first operand may be; same: all operands have one type; rule: what is left to check.
static const struct { uint16_t scalars; bool same; Rule *rule; } rules[KIR_OP_COUNT] = {
    [KIR_OP_const_int] = {0, false, rule_const_int},
    [KIR_OP_const_float] = {0, false, rule_const_float},
    [KIR_OP_table] = {0, false, rule_table},
    [KIR_OP_param] = {0, false, rule_param},
    [KIR_OP_scratch] = {0, false, rule_pointer},
    [KIR_OP_add] = {S_NUM, true, NULL},
    [KIR_OP_sub] = {S_NUM, true, NULL},
    [KIR_OP_mul] = {S_NUM, true, NULL},
    [KIR_OP_min] = {S_NUM, true, NULL},
    [KIR_OP_max] = {S_NUM, true, NULL},
    [KIR_OP_sdiv] = {S_INT, true, NULL},
    [KIR_OP_srem] = {S_INT, true, NULL},
    [KIR_OP_and] = {S_BITS, true, NULL},
    [KIR_OP_or] = {S_BITS, true, NULL},
    [KIR_OP_xor] = {S_BITS, true, NULL},
    [KIR_OP_shl] = {S_INT, true, NULL},
    [KIR_OP_lshr] = {S_INT, true, NULL},
    [KIR_OP_ashr] = {S_INT, true, NULL},
    [KIR_OP_div] = {S_F32, true, NULL},
    [KIR_OP_fma] = {S_F32, true, NULL},
    [KIR_OP_fma_exact] = {S_F32, true, NULL},
    [KIR_OP_sum_products] = {S_F32, true, rule_pairs},
    [KIR_OP_neg] = {S_F32, true, NULL},
    [KIR_OP_abs] = {S_F32, true, NULL},
    [KIR_OP_sqrt] = {S_F32, true, NULL},
    [KIR_OP_rint] = {S_F32, true, NULL},
    [KIR_OP_floor] = {S_F32, true, NULL},
    [KIR_OP_cmp] = {S_NUM, true, NULL},
    [KIR_OP_select] = {S_I1, false, rule_select},
    [KIR_OP_sext] = {S_BITS, true, rule_wider},
    [KIR_OP_zext] = {S_BITS, true, rule_wider},
    [KIR_OP_trunc] = {S_INT, true, rule_narrower},
    [KIR_OP_itof] = {S_INT, true, rule_to_f32},
    [KIR_OP_ftoi] = {S_F32, true, rule_to_int},
    [KIR_OP_f16_f32] = {S_I16, true, rule_to_f32},
    [KIR_OP_f32_f16] = {S_F32, true, rule_to_i16},
    [KIR_OP_bf16_f32] = {S_I16, true, rule_to_f32},
    [KIR_OP_f32_bf16] = {S_F32, true, rule_to_i16},
    [KIR_OP_bitcast] = {S_NUM, true, rule_bitcast},
    [KIR_OP_splat] = {S_NUM | S_I1, true, rule_splat},
    [KIR_OP_extract] = {S_NUM | S_I1, true, rule_extract},
    [KIR_OP_shuffle] = {S_NUM, true, rule_shuffle},
    [KIR_OP_lookup] = {S_I8, false, rule_lookup},
    [KIR_OP_reduce_add] = {S_NUM, true, rule_vector},
    [KIR_OP_reduce_max] = {S_NUM, true, rule_vector},
    [KIR_OP_offset] = {S_PTR, false, rule_offset},
    [KIR_OP_load] = {S_PTR, false, rule_load},
    [KIR_OP_store] = {S_PTR, false, rule_store},
    [KIR_OP_load_part] = {S_PTR, false, rule_load_part},
    [KIR_OP_store_part] = {S_PTR, false, rule_store_part},
    [KIR_OP_prefetch] = {S_PTR, false, address},
    [KIR_OP_prefetch_later] = {S_PTR, false, address},
    [KIR_OP_dot_u8i8] = {S_I32, false, rule_dot_bytes},
    [KIR_OP_dot_u7i8] = {S_I32, false, rule_dot_bytes},
    [KIR_OP_dot_i8i8] = {S_I32, false, rule_dot_bytes},
    [KIR_OP_dot_bf16] = {S_F32, false, rule_dot_bf16},
    [KIR_OP_dot_i8] = {S_I32, true, rule_scalar},
    [KIR_OP_for] = {S_I64, false, rule_for},
    [KIR_OP_if] = {S_I1, false, rule_if},
    [KIR_OP_lane] = {0, false, rule_lane},
    [KIR_OP_group] = {0, false, rule_lane},
    [KIR_OP_groups] = {0, false, rule_lane},
    [KIR_OP_barrier] = {0, false, NULL},
    [KIR_OP_shared] = {0, false, rule_shared},
    [KIR_OP_shared_load] = {S_NUM, false, rule_shared_load},
    [KIR_OP_shared_store] = {S_NUM, false, rule_shared_store},
    [KIR_OP_copy_async] = {S_I32, false, rule_copy_async},
    [KIR_OP_copy_commit] = {0, false, NULL},
    [KIR_OP_copy_wait] = {0, false, rule_copy_wait},
    [KIR_OP_shuffle_xor] = {S_I32 | S_F32, true, rule_shuffle_xor},
    [KIR_OP_fragment_a] = {S_I32, false, rule_fragment_a},
    [KIR_OP_fragment_b] = {S_I32, false, rule_fragment_b},
    [KIR_OP_mma_i8] = {S_I32, false, rule_mma_i8},
    [KIR_OP_mma_bf16] = {S_F32, false, rule_mma_bf16},
};

static bool type_ok(KirType type) {
    if (type.scalar >= KIR_SCALAR_COUNT || !type.lanes || type.lanes > 64 || (type.lanes & (type.lanes - 1))) return false;
    return type.scalar != KIR_PTR || type.lanes == 1;
}

// Its first operand is a shared array.
static bool takes_array(KirOpKind kind) {
    return kind == KIR_OP_shared_load || kind == KIR_OP_shared_store || kind == KIR_OP_copy_async || kind == KIR_OP_fragment_a ||
           kind == KIR_OP_fragment_b;
}

static const char *check_operands(const KirFn *fn, const KirOp *op) {
    int arity = kir_op_arity(op->kind);
    if (arity >= 0 && op->operand_count != (uint32_t)arity) return "wrong number of operands";
    if (!op->operand_count) return arity < 0 ? "operands are missing" : NULL;
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (!type_at(fn, op, i).lanes && (i || !takes_array(op->kind)))
            return "a shared array is only loaded from and stored to";
    if (!is_in(type_at(fn, op, 0), rules[op->kind].scalars))
        return "the first operand has a type that this operation does not take";
    for (uint32_t i = 1; rules[op->kind].same && i < op->operand_count; i++)
        if (!kir_type_eq(type_at(fn, op, 0), type_at(fn, op, i))) return "the operands have different types";
    return NULL;
}

static const char *check_result(const KirFn *fn, const KirOp *op) {
    ResultRule rule = (ResultRule)result_rules[op->kind];
    if (kir_op_arity(op->kind) >= 0 && op->result_count != (rule != RESULT_NONE)) return "wrong number of results";
    for (uint32_t i = 0; i < op->result_count && op->kind != KIR_OP_shared; i++)
        if (!type_ok(kir_value(fn, op->result + i)->type)) return "lanes are a power of two up to 64";
    if (rule == RESULT_NONE || rule == RESULT_GIVEN) return NULL;
    KirType first = type_at(fn, op, 0);
    KirType want = rule == RESULT_SAME ? first : rule == RESULT_MASK ? KIR_T(KIR_I1, first.lanes) : KIR_T(first.scalar, 1);
    return kir_type_eq(result_type(fn, op), want) ? NULL : "the result has the wrong type";
}

const char *kir_check_op(const KirFn *fn, const KirOp *op) {
    const char *wrong = check_operands(fn, op);
    if (!wrong) wrong = check_result(fn, op);
    if (!wrong && rules[op->kind].rule) wrong = rules[op->kind].rule(fn, op);
    return wrong;
}

bool kir_visible(const KirFn *fn, KirRef value, const KirBlock *block) {
    for (const KirBlock *b = block; b; b = b->parent)
        if (kir_value(fn, value)->block == b) return true;
    return false;
}

// ---- the whole function --------------------------------------------------------------------------------------

typedef struct Check {
    const KirFn *fn;
    KirProfile profile;
    uint8_t *defined;
} Check; // defined[value]: its definition was passed

static HdStatus *bad(const Check *check, const KirOp *op, const char *what) {
    return hd_error(HD_INTERNAL, "kernel %s: %s: %s", check->fn->name, op ? kir_op_name(op->kind) : "body", what);
}

static const char *check_uses(const Check *check, const KirBlock *block, uint32_t count, const KirRef *refs) {
    for (uint32_t i = 0; i < count; i++) {
        if (!refs[i] || refs[i] >= check->fn->values.len) return "an operand is no value";
        if (!check->defined[refs[i]] || !kir_visible(check->fn, refs[i], block))
            return "an operand is used where it is not defined";
    }
    return NULL;
}

static HdStatus *check_block(const Check *check, const KirBlock *block);

static HdStatus *check_one(const Check *check, const KirBlock *block, const KirOp *op) {
    if ((unsigned)op->kind >= KIR_OP_COUNT)
        return hd_error(HD_INTERNAL, "kernel %s: unknown operation %u", check->fn->name, (unsigned)op->kind);
    if (!(profiles_of[op->kind] & check->profile)) return bad(check, op, "not in this profile");
    if (kir_is_of_warp(op->kind) && check->fn->lanes % KIR_WARP) return bad(check, op, "the work group is no number of whole warps");
    const char *wrong = op->block == block ? check_uses(check, block, op->operand_count, op->operands)
                                           : "the operation is in another block";
    if (wrong) return bad(check, op, wrong);
    for (int i = 0; i < 2; i++)
        if (op->body[i])
            HD_TRY(op->body[i]->parent == block ? check_block(check, op->body[i]) : bad(check, op, "a body hangs elsewhere"));
    wrong = kir_check_op(check->fn, op);
    if (wrong) return bad(check, op, wrong);
    memset(check->defined + op->result, 1, op->result_count);
    return NULL;
}

static HdStatus *check_block(const Check *check, const KirBlock *block) {
    if (block->arg_count) memset(check->defined + block->first_arg, 1, block->arg_count);
    for (const KirOp *op = block->first; op; op = op->next) HD_TRY(check_one(check, block, op));
    const char *wrong = check_uses(check, block, block->yield_count, block->yields);
    return wrong ? bad(check, NULL, wrong) : NULL;
}

HdStatus *kir_verify(const KirFn *fn, KirProfile profile) {
    if (fn->lanes > (profile == KIR_SIMT ? 1024 : 0))
        return hd_error(HD_INTERNAL, "kernel %s: a SIMT kernel has at most 1024 lanes, a SIMD kernel has none", fn->name);
    if (fn->open.len) return hd_error(HD_INTERNAL, "kernel %s: a loop or branch is not closed", fn->name);
    HdArena arena = {0};
    Check check = {fn, profile, HD_NEW_ARRAY(&arena, uint8_t, fn->values.len)};
    HdStatus *status = check_block(&check, fn->prelude);
    if (!status) status = check_block(&check, fn->entry);
    hd_arena_free(&arena);
    return status;
}
