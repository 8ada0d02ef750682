// SPDX-License-Identifier: Apache-2.0
// Changing kernels before they are compiled (CgOptions.visit): single mutations, which a good test has to notice, and a watch on
// the arguments of exponentials.
#ifndef HEDDLE_TESTS_CHANGE_KERNEL_H
#define HEDDLE_TESTS_CHANGE_KERNEL_H

#include "codegen/kir_internal.h"

#include <string.h>

// ---- walking and inserting -------------------------------------------------------------------------------------

typedef struct KcOps { HD_VEC(KirOp *) list; } KcOps;   // in the order of the text, without the prelude

static inline void kc_collect(const KirBlock *block, KcOps *out_ops) {
    for (KirOp *op = block->first; op; op = op->next) {
        hd_vec_push(&out_ops->list, op);
        for (int i = 0; i < 2; i++)
            if (op->body[i]) kc_collect(op->body[i], out_ops);
    }
}

// A new operation in front of `before`. Gives its result; 0 for one without (type.lanes 0).
static inline KirRef kc_insert(KirFn *fn, KirOp *before, KirOpKind kind, KirType type, uint32_t count, const KirRef *operands) {
    KirBlock *block = before->block;
    KirOp *last = block->last, *op = kir_op_append(fn, block, kind, count, operands), **at = &block->first;
    while (*at != before) at = &(*at)->next;
    block->last = last;
    last->next = NULL;
    *at = op;
    op->next = before;
    return type.lanes ? kir_op_result(fn, op, type) : 0;
}

// ---- exponentials ----------------------------------------------------------------------------------------------
// kir_exp and kir_decay are many operations in a row, of which the first compares the argument with a number that nothing else uses.

static inline uint32_t kc_exp_length(void) {
    KirFn *fn = kir_new("probe");
    KcOps ops = {0};
    kir_exp(fn, kir_load(fn, KT_F32, kir_scratch(fn)));
    kc_collect(fn->entry, &ops);
    uint32_t length = (uint32_t)ops.list.len - 1;
    hd_vec_free(&ops.list);
    kir_free(fn);
    return length;
}

static inline bool kc_is_exp(const KirFn *fn, const KirOp *op) {
    if (op->kind != KIR_OP_cmp || op->pred != KIR_LT) return false;
    const KirOp *low = kir_value(fn, op->operands[1])->op;
    return low && low->kind == KIR_OP_const_float && (low->real == -105.0f || low->real == -40.0f);
}

// Counts in notes[0] of RunProgram the arguments that were not <= 0 (NaN is none that is), in notes[1] all exponentials.
static inline void kc_watch_exp(KirFn *fn) {
    KcOps ops = {0};
    kc_collect(fn->entry, &ops);
    KirRef scratch = kir_scratch(fn), one = kir_float(fn, KT_F32, 1);
    for (size_t i = 0; i < ops.list.len; i++) {
        KirOp *op = ops.list.data[i];
        if (!kc_is_exp(fn, op)) continue;
        KirRef x = op->operands[0], wrong;
        KirType type = kir_type(fn, x);
        KirRef ok = kc_insert(fn, op, KIR_OP_cmp, KIR_T(KIR_I1, type.lanes), 2, (KirRef[]){x, kir_float(fn, type, 0)});
        kir_value(fn, ok)->op->pred = KIR_LE;
        KirRef flags[] = {ok, kir_float(fn, type, 0), kir_float(fn, type, 1)};
        wrong = kc_insert(fn, op, KIR_OP_select, type, 3, flags);
        if (type.lanes > 1) wrong = kc_insert(fn, op, KIR_OP_reduce_max, KT_F32, 1, &wrong);
        for (int n = 0; n < 2; n++) {
            KirRef at = kc_insert(fn, op, KIR_OP_offset, KT_PTR, 2, (KirRef[]){scratch, kir_i64(fn, 4 * n - 64)});
            KirRef note = kc_insert(fn, op, KIR_OP_load, KT_F32, 1, &at);
            KirRef sum = kc_insert(fn, op, KIR_OP_add, KT_F32, 2, (KirRef[]){note, n ? one : wrong});
            kc_insert(fn, op, KIR_OP_store, (KirType){0}, 2, (KirRef[]){at, sum});
        }
    }
    hd_vec_free(&ops.list);
}

// ---- mutations -------------------------------------------------------------------------------------------------
// One operation changed, in one of these ways. The insides of exponentials are left alone, for which there are the tests of
// kir_math.c, and so is the arithmetic of addresses.

typedef enum KcChange {
    KC_SIGN,          // - for +, + for -, the absolute value for a change of sign
    KC_NO_ADDEND,     // a b for a b + c
    KC_NO_PRODUCT,    // c for a b + c
    KC_FIRST,         // the first (of a product, a minimum, a choice)
    KC_SECOND,        // the second
    KC_BOUND,         // <= for <, < for <=, >= for >, > for >=
    KC_LATE,          // a loop without its first round
    KC_EARLY,         // a loop without its last round
    KC_EXP_OF_0,      // e^0 for e^x
    KC_CHANGES
} KcChange;

static inline const char *kc_change_name(KcChange change) {
    static const char *const names[] = {"sign", "no addend", "no product", "first", "second", "bound", "late", "early", "e^0"};
    return names[change];
}

static inline bool kc_among(const KirRef *refs, uint32_t count, KirRef value) {
    for (uint32_t i = 0; i < count; i++)
        if (refs[i] == value) return true;
    return false;
}

// Does the value only go into addresses?
static inline bool kc_is_address(const KcOps *ops, KirRef value) {
    for (size_t i = 0; i < ops->list.len; i++) {
        const KirOp *op = ops->list.data[i];
        for (int b = 0; b < 2 && op->body[b]; b++)
            if (kc_among(op->body[b]->yields, op->body[b]->yield_count, value)) return false;
        if (!kc_among(op->operands, op->operand_count, value) || op->kind == KIR_OP_offset) continue;
        if ((op->kind != KIR_OP_mul && op->kind != KIR_OP_add) || !kc_is_address(ops, op->result)) return false;
    }
    return true;
}

static inline bool kc_applies(const KirFn *fn, const KcOps *ops, const KirOp *op, KcChange change) {
    bool real = op->result_count && kir_value(fn, op->result)->type.scalar == KIR_F32;
    switch (change) {
    case KC_SIGN:
        if (op->kind != KIR_OP_add && op->kind != KIR_OP_sub) return op->kind == KIR_OP_neg;
        return real || !kc_is_address(ops, op->result);
    case KC_NO_ADDEND:
    case KC_NO_PRODUCT: return op->kind == KIR_OP_fma;
    case KC_FIRST:
    case KC_SECOND: return op->kind == KIR_OP_min || op->kind == KIR_OP_select || (op->kind == KIR_OP_mul && real);
    case KC_BOUND: return op->kind == KIR_OP_cmp && op->pred >= KIR_LT && !kc_is_exp(fn, op);
    case KC_LATE:
    case KC_EARLY: return op->kind == KIR_OP_for;
    case KC_EXP_OF_0: return kc_is_exp(fn, op);
    case KC_CHANGES: break;
    }
    return false;
}

// The operation gives its operand i: max(x, x).
static inline void kc_forward(KirOp *op, uint32_t i) {
    op->operands[0] = op->operands[1] = op->operands[i];
    op->kind = KIR_OP_max, op->operand_count = 2;
}

static inline void kc_apply(KirFn *fn, KirOp *op, KcChange change) {
    static const KirPred other[] = {[KIR_LT] = KIR_LE, [KIR_LE] = KIR_LT, [KIR_GT] = KIR_GE, [KIR_GE] = KIR_GT};
    KirRef *x = op->operands, zero;
    switch (change) {
    case KC_SIGN: op->kind = op->kind == KIR_OP_add ? KIR_OP_sub : op->kind == KIR_OP_sub ? KIR_OP_add : KIR_OP_abs; break;
    case KC_NO_ADDEND: op->kind = KIR_OP_mul, op->operand_count = 2; break;
    case KC_NO_PRODUCT: kc_forward(op, 2); break;
    case KC_FIRST: kc_forward(op, op->kind == KIR_OP_select); break;
    case KC_SECOND: kc_forward(op, 1 + (op->kind == KIR_OP_select)); break;
    case KC_BOUND: op->pred = other[op->pred]; break;
    case KC_LATE: x[0] = kc_insert(fn, op, KIR_OP_add, KT_I64, 2, (KirRef[]){x[0], x[2]}); break;
    case KC_EARLY: x[1] = kc_insert(fn, op, KIR_OP_sub, KT_I64, 2, (KirRef[]){x[1], x[2]}); break;
    case KC_EXP_OF_0:                                        // compared and chosen: the first two operations of an exponential
        zero = kir_float(fn, kir_type(fn, x[0]), 0);
        op->next->operands[2] = zero, x[0] = zero;
        break;
    case KC_CHANGES: break;
    }
}

// Applies mutation `number` of the kernel; or (number < 0) changes nothing and lists all mutations, a line for each, such as
// "bound of cmp 3" for the third cmp of the text outside exponentials.
static inline void kc_mutate(KirFn *fn, int64_t number, HdBuf *out_list) {
    uint32_t exp_length = kc_exp_length();
    int64_t count = 0, of_kind[KIR_OP_COUNT] = {0};
    KcOps ops = {0};
    kc_collect(fn->entry, &ops);
    for (size_t i = 0; i < ops.list.len; i++) {
        KirOp *op = ops.list.data[i];
        KirOpKind kind = op->kind;
        bool is_exp = kc_is_exp(fn, op);
        of_kind[kind] += !is_exp;
        for (int c = 0; c < KC_CHANGES; c++) {
            KcChange change = (KcChange)c;
            if (!kc_applies(fn, &ops, op, change)) continue;
            if (count++ == number) kc_apply(fn, op, change);
            if (number >= 0) continue;
            hd_buf_printf(out_list, "%s of %s %lld\n", kc_change_name(change), kir_op_name(kind), (long long)of_kind[kind]);
        }
        if (is_exp) i += exp_length - 1;
    }
    hd_vec_free(&ops.list);
}

#endif
