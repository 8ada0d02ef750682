// SPDX-License-Identifier: Apache-2.0
// Building kernels. Every builder appends one operation at the cursor and checks it at once with the verifier's rules: a schedule
// that builds nonsense is a defect of the compiler and stops with a message. Constants, tables and parameters go to a prelude
// whatever the cursor.
#include "codegen/kir_internal.h"

#include <stdlib.h>
#include <string.h>

// ---- storage -------------------------------------------------------------------------------------------------

_Noreturn static void build_failed(const KirFn *fn, const KirOp *op, const char *what) {
    HdBuf types = {0};
    for (uint32_t i = 0; i < op->operand_count; i++) {
        hd_buf_str(&types, i ? ", " : " of ");
        if (op->operands[i] < fn->values.len) kir_type_text(kir_value(fn, op->operands[i])->type, &types);
    }
    fprintf(stderr, "heddle: kernel %s: %s%s: %s\n", fn->name, kir_op_name(op->kind), types.data ? types.data : "", what);
    abort();
}

static KirRef value_new(KirFn *fn, KirType type, KirOp *op, KirBlock *block) {
    hd_vec_push(&fn->values, ((KirValue){type, op, block}));
    return (KirRef)(fn->values.len - 1);
}

KirBlock *kir_block_new(KirFn *fn, KirBlock *parent) {
    KirBlock *block = HD_NEW(&fn->arena, KirBlock);
    block->parent = parent;
    return block;
}

static KirRef block_arg(KirFn *fn, KirBlock *block, KirType type) {
    KirRef ref = value_new(fn, type, NULL, block);
    if (!block->arg_count++) block->first_arg = ref;
    return ref;
}

static KirRef *copy_refs(KirFn *fn, const KirRef *refs, uint32_t count) {
    KirRef *copy = HD_NEW_ARRAY(&fn->arena, KirRef, count);
    if (count) memcpy(copy, refs, count * sizeof *copy);
    return copy;
}

KirOp *kir_op_append(KirFn *fn, KirBlock *block, KirOpKind kind, uint32_t count, const KirRef *operands) {
    KirOp *op = HD_NEW(&fn->arena, KirOp);
    op->kind = kind;
    op->operand_count = count;
    op->operands = copy_refs(fn, operands, count);
    op->block = block;
    if (block->last) block->last->next = op;
    else block->first = op;
    block->last = op;
    fn->kinds[kind] = true;
    return op;
}

KirRef kir_op_result(KirFn *fn, KirOp *op, KirType type) {
    KirRef ref = value_new(fn, type, op, op->block);
    if (!op->result_count++) op->result = ref;
    return ref;
}

KirFn *kir_new(const char *name) {
    KirFn *fn = hd_xcalloc(1, sizeof *fn);
    kir_set_name(fn, name);
    value_new(fn, (KirType){0}, NULL, NULL);
    fn->prelude = kir_block_new(fn, NULL);
    fn->entry = fn->cursor = kir_block_new(fn, fn->prelude);
    block_arg(fn, fn->entry, KT_I64);
    block_arg(fn, fn->entry, KT_I64);
    return fn;
}

void kir_free(KirFn *fn) {
    if (!fn) return;
    hd_vec_free(&fn->values);
    hd_vec_free(&fn->params);
    hd_vec_free(&fn->tables);
    hd_vec_free(&fn->open);
    hd_arena_free(&fn->arena);
    free(fn);
}

void kir_set_lanes(KirFn *fn, uint32_t lanes) { fn->lanes = lanes; }
uint32_t kir_lanes(const KirFn *fn) { return fn->lanes; }
void kir_set_resident(KirFn *fn, uint32_t groups) { fn->resident = groups; }
void kir_set_scratch_bytes(KirFn *fn, KirRef param) { fn->scratch_param = (uint32_t)kir_value(fn, param)->op->number; }
const char *kir_name(const KirFn *fn) { return fn->name; }
void kir_set_name(KirFn *fn, const char *name) { fn->name = hd_arena_strndup(&fn->arena, name, strlen(name)); }
uint32_t kir_param_count(const KirFn *fn) { return (uint32_t)fn->params.len; }
KirRef kir_unit_begin(KirFn *fn) { return fn->entry->first_arg; }
KirRef kir_unit_end(KirFn *fn) { return fn->entry->first_arg + 1; }
bool kir_uses(const KirFn *fn, KirOpKind kind) { return fn->kinds[kind]; }

KirType kir_type(const KirFn *fn, KirRef value) {
    HD_ASSERT(value && value < fn->values.len);
    return kir_value(fn, value)->type;
}

// ---- one operation at the cursor -----------------------------------------------------------------------------

static void check(const KirFn *fn, const KirOp *op) {
    for (uint32_t i = 0; i < op->operand_count; i++) {
        KirRef ref = op->operands[i];
        if (!ref || ref >= fn->values.len) build_failed(fn, op, "an operand is no value");
        if (!kir_visible(fn, ref, op->block)) build_failed(fn, op, "an operand was made inside a loop or branch that is closed");
    }
    const char *wrong = kir_check_op(fn, op);
    if (wrong) build_failed(fn, op, wrong);
}

static KirRef op_typed(KirFn *fn, KirOpKind kind, KirType type, uint32_t count, const KirRef *operands) {
    KirOp *op = kir_op_append(fn, fn->cursor, kind, count, operands);
    KirRef result = kir_op_result(fn, op, type);
    check(fn, op);
    return result;
}

static void op_none(KirFn *fn, KirOpKind kind, uint32_t count, const KirRef *operands) {
    check(fn, kir_op_append(fn, fn->cursor, kind, count, operands));
}

static KirRef op_same(KirFn *fn, KirOpKind kind, uint32_t count, const KirRef *operands) {
    return op_typed(fn, kind, kir_type(fn, operands[0]), count, operands);
}

static KirRef op_scalar(KirFn *fn, KirOpKind kind, KirRef a, KirScalar to) {
    return op_typed(fn, kind, KIR_T(to, kir_type(fn, a).lanes), 1, &a);
}

// Splats the scalars among `refs` to the lanes of the others.
static void unify(KirFn *fn, uint32_t count, KirRef *refs) {
    uint32_t lanes = 1;
    for (uint32_t i = 0; i < count; i++) lanes = HD_MAX(lanes, kir_type(fn, refs[i]).lanes);
    for (uint32_t i = 0; i < count; i++) refs[i] = kir_splat(fn, refs[i], lanes);
}

static KirRef op_lanes(KirFn *fn, KirOpKind kind, uint32_t count, KirRef *operands) {
    unify(fn, count, operands);
    return op_same(fn, kind, count, operands);
}

// ---- prelude: constants, parameters, tables ------------------------------------------------------------------

static KirOp *prelude_op(KirFn *fn, KirOpKind kind, KirType type) {
    KirOp *op = kir_op_append(fn, fn->prelude, kind, 0, NULL);
    kir_op_result(fn, op, type);
    return op;
}

static KirConst **const_slot(KirFn *fn, KirOpKind kind, KirType type, uint64_t bits) {
    uint64_t hash = (bits ^ (uint64_t)kind << 40 ^ (uint64_t)type.scalar << 48 ^ (uint64_t)type.lanes << 52) *
                    UINT64_C(0x9e3779b97f4a7c15);
    return &fn->consts[hash >> 58];
}

static KirRef const_new(KirFn *fn, KirOpKind kind, KirType type, int64_t number, float real) {
    uint32_t real_bits;
    memcpy(&real_bits, &real, sizeof real);
    KirConst **slot = const_slot(fn, kind, type, (uint64_t)number ^ real_bits);
    for (KirConst *c = *slot; c; c = c->next)
        if (c->op->kind == kind && c->op->number == number && !memcmp(&c->op->real, &real, sizeof real) &&
            kir_type_eq(kir_type(fn, c->op->result), type))
            return c->op->result;
    KirOp *op = prelude_op(fn, kind, type);
    op->number = number;
    op->real = real;
    check(fn, op);
    KirConst *entry = HD_NEW(&fn->arena, KirConst);
    *entry = (KirConst){*slot, op};
    *slot = entry;
    return op->result;
}

KirRef kir_int(KirFn *fn, KirType type, int64_t value) {
    uint32_t unused = 64 - kir_scalar_bits(type.scalar);   // the number is kept sign-extended: one spelling per value
    if (unused < 64) value = (int64_t)((uint64_t)value << unused) >> unused;
    return const_new(fn, KIR_OP_const_int, type, value, 0);
}

KirRef kir_i64(KirFn *fn, int64_t value) { return kir_int(fn, KT_I64, value); }
KirRef kir_float(KirFn *fn, KirType type, float value) { return const_new(fn, KIR_OP_const_float, type, 0, value); }

KirRef kir_param(KirFn *fn, KirType type, const char *text) {
    KirOp *op = prelude_op(fn, KIR_OP_param, type);
    op->number = (int64_t)fn->params.len;
    op->text = hd_arena_strndup(&fn->arena, text, strlen(text));
    check(fn, op);
    hd_vec_push(&fn->params, op);
    return op->result;
}

KirRef kir_scratch(KirFn *fn) {
    if (!fn->scratch) fn->scratch = prelude_op(fn, KIR_OP_scratch, KT_PTR)->result;
    return fn->scratch;
}

// An operation without operands of which a kernel has one.
static KirRef prelude_once(KirFn *fn, KirRef *known, KirOpKind kind) {
    if (!*known) *known = prelude_op(fn, kind, KT_I64)->result;
    return *known;
}

KirRef kir_lane(KirFn *fn) { return prelude_once(fn, &fn->lane, KIR_OP_lane); }
KirRef kir_group(KirFn *fn) { return prelude_once(fn, &fn->group, KIR_OP_group); }
KirRef kir_groups(KirFn *fn) { return prelude_once(fn, &fn->groups, KIR_OP_groups); }

KirRef kir_shared(KirFn *fn, KirScalar scalar, uint32_t count) {
    KirOp *op = prelude_op(fn, KIR_OP_shared, KIR_T(scalar, 0));
    op->number = count;
    check(fn, op);
    return op->result;
}

uint32_t kir_shared_bytes(const KirFn *fn) {
    int64_t bytes = 0;
    for (const KirOp *op = fn->prelude->first; op; op = op->next)
        if (op->kind == KIR_OP_shared) bytes += op->number * kir_scalar_bits(kir_type(fn, op->result).scalar) / 8;
    return (uint32_t)HD_MIN(bytes, INT32_MAX);
}

static KirRef table_find(const KirFn *fn, const void *bytes, size_t len) {
    for (const KirOp *op = fn->prelude->first; op; op = op->next) {
        if (op->kind != KIR_OP_table) continue;
        const KirTable *table = &fn->tables.data[op->number];
        if (table->len == len && !memcmp(table->bytes, bytes, len)) return op->result;
    }
    return 0;
}

KirRef kir_table(KirFn *fn, const void *bytes, size_t len, const char *text) {
    KirRef known = table_find(fn, bytes, len);
    if (known) return known;
    uint8_t *copy = hd_arena_alloc(&fn->arena, len);
    memcpy(copy, bytes, len);
    hd_vec_push(&fn->tables, ((KirTable){copy, len, hd_arena_strndup(&fn->arena, text, strlen(text))}));
    KirOp *op = prelude_op(fn, KIR_OP_table, KT_PTR);
    op->number = (int64_t)fn->tables.len - 1;
    check(fn, op);
    return op->result;
}

// ---- arithmetic ----------------------------------------------------------------------------------------------

static bool const_i64(const KirFn *fn, KirRef ref, int64_t *out) {
    const KirOp *op = kir_value(fn, ref)->op;
    if (!op || op->kind != KIR_OP_const_int || !kir_type_eq(kir_type(fn, ref), KT_I64)) return false;
    *out = op->number;
    return true;
}

// Address arithmetic on constants is done here so that dumps stay readable; 0: not foldable.
static KirRef fold_i64(KirFn *fn, KirOpKind kind, KirRef a, KirRef b) {
    int64_t x = 0, y = 0;
    bool cx = const_i64(fn, a, &x), cy = const_i64(fn, b, &y);
    if (kind == KIR_OP_add && cx && cy) return kir_i64(fn, (int64_t)((uint64_t)x + (uint64_t)y));
    if (kind == KIR_OP_mul && cx && cy) return kir_i64(fn, (int64_t)((uint64_t)x * (uint64_t)y));
    if (kind == KIR_OP_add && cx && !x) return b;
    if (kind == KIR_OP_mul && cx && x == 1) return b;
    if (cy && !y && (kind == KIR_OP_add || kind == KIR_OP_sub || kind == KIR_OP_offset)) return a;
    if (cy && y == 1 && (kind == KIR_OP_mul || kind == KIR_OP_sdiv)) return a;
    return 0;
}

static KirRef binary(KirFn *fn, KirOpKind kind, KirRef a, KirRef b) {
    KirRef folded = fold_i64(fn, kind, a, b);
    return folded ? folded : op_lanes(fn, kind, 2, (KirRef[]){a, b});
}

#define BINARY(name) KirRef kir_##name(KirFn *fn, KirRef a, KirRef b) { return binary(fn, KIR_OP_##name, a, b); }
#define UNARY(name) KirRef kir_##name(KirFn *fn, KirRef a) { return op_same(fn, KIR_OP_##name, 1, &a); }
BINARY(add) BINARY(sub) BINARY(mul) BINARY(min) BINARY(max) BINARY(sdiv) BINARY(srem)
BINARY(and) BINARY(or) BINARY(xor) BINARY(shl) BINARY(lshr) BINARY(ashr) BINARY(div)
UNARY(neg) UNARY(abs) UNARY(sqrt) UNARY(rint) UNARY(floor)
#undef BINARY
#undef UNARY

KirRef kir_fma(KirFn *fn, KirRef a, KirRef b, KirRef c) { return op_lanes(fn, KIR_OP_fma, 3, (KirRef[]){a, b, c}); }
KirRef kir_fma_exact(KirFn *fn, KirRef a, KirRef b, KirRef c) { return op_lanes(fn, KIR_OP_fma_exact, 3, (KirRef[]){a, b, c}); }

KirRef kir_sum_products(KirFn *fn, uint32_t count, const KirRef *a, const KirRef *b) {
    KirRef refs[2 * KIR_MAX_PRODUCTS];
    HD_ASSERT(count && count <= KIR_MAX_PRODUCTS);
    for (uint32_t i = 0; i < count; i++) refs[2 * i] = a[i], refs[2 * i + 1] = b[i];
    return op_lanes(fn, KIR_OP_sum_products, 2 * count, refs);
}

KirRef kir_cmp(KirFn *fn, KirPred pred, KirRef a, KirRef b) {
    KirRef refs[2] = {a, b};
    unify(fn, 2, refs);
    KirOp *op = kir_op_append(fn, fn->cursor, KIR_OP_cmp, 2, refs);
    op->pred = pred;
    KirRef result = kir_op_result(fn, op, KIR_T(KIR_I1, kir_type(fn, refs[0]).lanes));
    check(fn, op);
    return result;
}

KirRef kir_select(KirFn *fn, KirRef mask, KirRef a, KirRef b) {
    KirRef refs[2] = {a, b};
    unify(fn, 2, refs);
    uint32_t lanes = kir_type(fn, mask).lanes;
    if (lanes > 1) for (int i = 0; i < 2; i++) refs[i] = kir_splat(fn, refs[i], lanes);
    return op_typed(fn, KIR_OP_select, kir_type(fn, refs[0]), 3, (KirRef[]){mask, refs[0], refs[1]});
}

KirRef kir_sext(KirFn *fn, KirRef a, KirScalar to) { return op_scalar(fn, KIR_OP_sext, a, to); }
KirRef kir_zext(KirFn *fn, KirRef a, KirScalar to) { return op_scalar(fn, KIR_OP_zext, a, to); }
KirRef kir_trunc(KirFn *fn, KirRef a, KirScalar to) { return op_scalar(fn, KIR_OP_trunc, a, to); }
KirRef kir_itof(KirFn *fn, KirRef a) { return op_scalar(fn, KIR_OP_itof, a, KIR_F32); }
KirRef kir_ftoi(KirFn *fn, KirRef a, KirScalar to) { return op_scalar(fn, KIR_OP_ftoi, a, to); }
KirRef kir_f16_f32(KirFn *fn, KirRef a) { return op_scalar(fn, KIR_OP_f16_f32, a, KIR_F32); }
KirRef kir_f32_f16(KirFn *fn, KirRef a) { return op_scalar(fn, KIR_OP_f32_f16, a, KIR_I16); }
KirRef kir_bf16_f32(KirFn *fn, KirRef a) { return op_scalar(fn, KIR_OP_bf16_f32, a, KIR_F32); }
KirRef kir_f32_bf16(KirFn *fn, KirRef a) { return op_scalar(fn, KIR_OP_f32_bf16, a, KIR_I16); }

KirRef kir_bitcast(KirFn *fn, KirRef a, KirType to) {
    return kir_type_eq(kir_type(fn, a), to) ? a : op_typed(fn, KIR_OP_bitcast, to, 1, &a);
}

// ---- lanes ---------------------------------------------------------------------------------------------------

KirRef kir_splat(KirFn *fn, KirRef scalar, uint32_t lanes) {
    KirType type = kir_type(fn, scalar);
    if (type.lanes == lanes) return scalar;
    KirType wide = KIR_T(type.scalar, (uint8_t)lanes);
    const KirOp *op = kir_value(fn, scalar)->op;
    if (op && op->kind == KIR_OP_const_int && type.lanes == 1) return kir_int(fn, wide, op->number);
    if (op && op->kind == KIR_OP_const_float && type.lanes == 1) return kir_float(fn, wide, op->real);
    return op_typed(fn, KIR_OP_splat, wide, 1, &scalar);
}

KirRef kir_extract(KirFn *fn, KirRef vector, uint32_t lane) {
    KirOp *op = kir_op_append(fn, fn->cursor, KIR_OP_extract, 1, &vector);
    op->number = lane;
    KirRef result = kir_op_result(fn, op, KIR_T(kir_type(fn, vector).scalar, 1));
    check(fn, op);
    return result;
}

KirRef kir_shuffle(KirFn *fn, KirRef a, KirRef b, const uint8_t *lanes, uint32_t count) {
    KirOp *op = kir_op_append(fn, fn->cursor, KIR_OP_shuffle, 2, (KirRef[]){a, b});
    op->lanes = memcpy(hd_arena_alloc(&fn->arena, count), lanes, count);
    KirRef result = kir_op_result(fn, op, KIR_T(kir_type(fn, a).scalar, (uint8_t)count));
    check(fn, op);
    return result;
}

static KirRef reduce(KirFn *fn, KirOpKind kind, KirRef a) {
    KirType type = kir_type(fn, a);
    return type.lanes == 1 ? a : op_typed(fn, kind, KIR_T(type.scalar, 1), 1, &a);
}

KirRef kir_reduce_add(KirFn *fn, KirRef a) { return reduce(fn, KIR_OP_reduce_add, a); }
KirRef kir_reduce_max(KirFn *fn, KirRef a) { return reduce(fn, KIR_OP_reduce_max, a); }

// ---- memory --------------------------------------------------------------------------------------------------

KirRef kir_offset(KirFn *fn, KirRef ptr, KirRef bytes) {
    KirRef folded = fold_i64(fn, KIR_OP_offset, ptr, bytes);
    return folded ? folded : op_same(fn, KIR_OP_offset, 2, (KirRef[]){ptr, bytes});
}

KirRef kir_offset_const(KirFn *fn, KirRef ptr, int64_t bytes) { return kir_offset(fn, ptr, kir_i64(fn, bytes)); }

KirRef kir_at(KirFn *fn, KirRef ptr, KirRef index, int64_t scale, int64_t displacement) {
    KirRef address = kir_offset(fn, ptr, kir_mul(fn, index, kir_i64(fn, scale)));
    return kir_offset_const(fn, address, displacement);   // apart: LLVM makes it the displacement of the instruction
}

KirRef kir_load(KirFn *fn, KirType type, KirRef ptr) { return op_typed(fn, KIR_OP_load, type, 1, &ptr); }
void kir_store(KirFn *fn, KirRef ptr, KirRef value) { op_none(fn, KIR_OP_store, 2, (KirRef[]){ptr, value}); }
void kir_prefetch(KirFn *fn, KirRef ptr) { op_none(fn, KIR_OP_prefetch, 1, &ptr); }
void kir_prefetch_later(KirFn *fn, KirRef ptr) { op_none(fn, KIR_OP_prefetch_later, 1, &ptr); }

KirRef kir_shared_load(KirFn *fn, KirRef array, KirRef index) {
    return op_typed(fn, KIR_OP_shared_load, KIR_T(kir_type(fn, array).scalar, 1), 2, (KirRef[]){array, index});
}

void kir_shared_store(KirFn *fn, KirRef array, KirRef index, KirRef value) {
    op_none(fn, KIR_OP_shared_store, 3, (KirRef[]){array, index, value});
}

void kir_barrier(KirFn *fn) { op_none(fn, KIR_OP_barrier, 0, NULL); }

KirRef kir_load_part(KirFn *fn, KirType type, KirRef ptr, KirRef count) {
    return op_typed(fn, KIR_OP_load_part, type, 2, (KirRef[]){ptr, count});
}

void kir_store_part(KirFn *fn, KirRef ptr, KirRef count, KirRef value) {
    op_none(fn, KIR_OP_store_part, 3, (KirRef[]){ptr, count, value});
}

KirRef kir_lookup(KirFn *fn, KirRef table, KirRef index) {
    return op_typed(fn, KIR_OP_lookup, kir_type(fn, index), 2, (KirRef[]){table, index});
}

KirRef kir_dot_u8i8(KirFn *fn, KirRef acc, KirRef a, KirRef b) { return op_same(fn, KIR_OP_dot_u8i8, 3, (KirRef[]){acc, a, b}); }
KirRef kir_dot_u7i8(KirFn *fn, KirRef acc, KirRef a, KirRef b) { return op_same(fn, KIR_OP_dot_u7i8, 3, (KirRef[]){acc, a, b}); }
KirRef kir_dot_i8i8(KirFn *fn, KirRef acc, KirRef a, KirRef b) { return op_same(fn, KIR_OP_dot_i8i8, 3, (KirRef[]){acc, a, b}); }
KirRef kir_dot_bf16(KirFn *fn, KirRef acc, KirRef a, KirRef b) { return op_same(fn, KIR_OP_dot_bf16, 3, (KirRef[]){acc, a, b}); }
KirRef kir_dot_i8(KirFn *fn, KirRef acc, KirRef a, KirRef b) { return op_same(fn, KIR_OP_dot_i8, 3, (KirRef[]){acc, a, b}); }
KirRef kir_mma_i8(KirFn *fn, KirRef acc, KirRef a, KirRef b) { return op_same(fn, KIR_OP_mma_i8, 3, (KirRef[]){acc, a, b}); }
KirRef kir_mma_bf16(KirFn *fn, KirRef acc, KirRef a, KirRef b) { return op_same(fn, KIR_OP_mma_bf16, 3, (KirRef[]){acc, a, b}); }

// ---- copies and warps ------------------------------------------------------------------------------------------

// An operation with a number; type lanes 0: no result.
static KirRef op_numbered(KirFn *fn, KirOpKind kind, int64_t number, KirType type, uint32_t count, const KirRef *operands) {
    KirOp *op = kir_op_append(fn, fn->cursor, kind, count, operands);
    op->number = number;
    KirRef result = type.lanes ? kir_op_result(fn, op, type) : 0;
    check(fn, op);
    return result;
}

void kir_copy_async(KirFn *fn, KirRef array, KirRef index, KirRef ptr) { op_none(fn, KIR_OP_copy_async, 3, (KirRef[]){array, index, ptr}); }
void kir_copy_commit(KirFn *fn) { op_none(fn, KIR_OP_copy_commit, 0, NULL); }
void kir_copy_wait(KirFn *fn, uint32_t batches) { op_numbered(fn, KIR_OP_copy_wait, batches, (KirType){0}, 0, NULL); }

KirRef kir_shuffle_xor(KirFn *fn, KirRef value, uint32_t bits) {
    return op_numbered(fn, KIR_OP_shuffle_xor, bits, kir_type(fn, value), 1, &value);
}

KirRef kir_fragment_a(KirFn *fn, KirRef array, KirRef index, uint32_t stride, uint32_t words) {
    return op_numbered(fn, KIR_OP_fragment_a, stride, KIR_T(KIR_I32, (uint8_t)(words / 2)), 2, (KirRef[]){array, index});
}

KirRef kir_fragment_b(KirFn *fn, KirRef array, KirRef index, uint32_t stride, uint32_t words) {
    return op_numbered(fn, KIR_OP_fragment_b, stride, KIR_T(KIR_I32, (uint8_t)(words / 4)), 2, (KirRef[]){array, index});
}

// ---- control -------------------------------------------------------------------------------------------------

static KirBlock *body_open(KirFn *fn, KirOp *op, int which) {
    op->body[which] = kir_block_new(fn, op->block);
    return fn->cursor = op->body[which];
}

static void body_yield(KirFn *fn, uint32_t count, const KirRef *yields) {
    fn->cursor->yields = copy_refs(fn, yields, count);
    fn->cursor->yield_count = count;
}

static KirOp *control_close(KirFn *fn, KirOpKind kind) {
    HD_ASSERT(fn->open.len && fn->open.data[fn->open.len - 1]->kind == kind);
    KirOp *op = fn->open.data[--fn->open.len];
    fn->cursor = op->block;
    return op;
}

static void control_results(KirFn *fn, KirOp *op, const KirBlock *body, KirRef *out_results) {
    for (uint32_t i = 0; i < body->yield_count; i++) {
        KirRef yield = body->yields[i];
        if (!yield || yield >= fn->values.len) build_failed(fn, op, "a yielded operand is no value");
        if (!kir_visible(fn, yield, body))
            build_failed(fn, op, "a yielded operand was made inside a loop or branch that is closed");
        out_results[i] = kir_op_result(fn, op, kir_type(fn, yield));
    }
    check(fn, op);
}

void kir_for_begin(KirFn *fn, KirRef lower, KirRef upper, KirRef step, uint32_t count, const KirRef *init, KirLoop *out_loop) {
    HD_ASSERT(count <= KIR_MAX_CARRIED);
    KirRef operands[3 + KIR_MAX_CARRIED] = {lower, upper, step};
    if (count) memcpy(operands + 3, init, count * sizeof *init);
    KirOp *op = kir_op_append(fn, fn->cursor, KIR_OP_for, 3 + count, operands);
    hd_vec_push(&fn->open, op);
    KirBlock *body = body_open(fn, op, 0);
    *out_loop = (KirLoop){.op = (KirRef)fn->open.len, .count = count, .iv = block_arg(fn, body, KT_I64)};
    for (uint32_t i = 0; i < count; i++) out_loop->carried[i] = block_arg(fn, body, kir_type(fn, init[i]));
}

void kir_for_end(KirFn *fn, KirLoop *loop, const KirRef *next) {
    HD_ASSERT(loop->op == fn->open.len);
    body_yield(fn, loop->count, next);
    KirOp *op = control_close(fn, KIR_OP_for);
    control_results(fn, op, op->body[0], loop->results);
}

void kir_if_begin(KirFn *fn, KirRef cond, KirIf *out_if) {
    KirOp *op = kir_op_append(fn, fn->cursor, KIR_OP_if, 1, &cond);
    hd_vec_push(&fn->open, op);
    *out_if = (KirIf){.op = (KirRef)fn->open.len};
    body_open(fn, op, 0);
}

void kir_if_else(KirFn *fn, KirIf *branch, uint32_t count, const KirRef *yields) {
    HD_ASSERT(branch->op == fn->open.len && count <= KIR_MAX_CARRIED);
    branch->count = count;
    if (count) memcpy(branch->then_yield, yields, count * sizeof *yields);
    body_yield(fn, count, yields);
    body_open(fn, fn->open.data[fn->open.len - 1], 1);
}

void kir_if_end(KirFn *fn, KirIf *branch, const KirRef *yields) {
    HD_ASSERT(branch->op == fn->open.len);
    body_yield(fn, branch->count, yields);
    KirOp *op = control_close(fn, KIR_OP_if);
    control_results(fn, op, op->body[0], branch->results);
}
