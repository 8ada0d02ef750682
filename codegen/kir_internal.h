// SPDX-License-Identifier: Apache-2.0
// How the kernel IR is stored: operations in blocks, blocks in operations, all in one arena. Shared by kir_*.c and the emitters
// only.
#ifndef HEDDLE_KIR_INTERNAL_H
#define HEDDLE_KIR_INTERNAL_H

#include "codegen/kir.h"

typedef struct KirOp KirOp;

// A sequence of operations. Arguments: unit begin and end in the entry block; the induction variable and the carried values in a
// loop's.
typedef struct KirBlock {
    struct KirBlock *parent;
    KirOp *first, *last;
    KirRef first_arg;                    // arguments have consecutive numbers
    uint32_t arg_count, yield_count;
    KirRef *yields;
} KirBlock;

typedef struct KirTable { const uint8_t *bytes; size_t len; const char *text; } KirTable;

struct KirOp {
    KirOpKind kind;
    KirPred pred;                        // cmp
    uint32_t operand_count, result_count;
    KirRef *operands;
    KirRef result;                       // the first one; further results have the next numbers
    int64_t number;                      // const_int: value; param: slot; table: row of tables; extract: lane; shared: elements;
                                         // fragment: words from row to row; shuffle_xor: bits; copy_wait: batches
    float real;                          // const_float
    const char *text;                    // param: name for readers
    const uint8_t *lanes;                // shuffle: one per result lane
    KirBlock *body[2];                   // for: [0]; if: then, else (NULL: none)
    KirBlock *block;                     // where it stands
    KirOp *next;
};

typedef struct KirValue { KirType type; KirOp *op; KirBlock *block; } KirValue;   // op NULL: an argument of block

enum { KIR_CONST_BUCKETS = 64 };
typedef struct KirConst { struct KirConst *next; KirOp *op; } KirConst;

struct KirFn {
    HdArena arena;
    const char *name;
    HD_VEC(KirValue) values;             // [0] is none
    HD_VEC(KirOp *) params;
    HD_VEC(KirTable) tables;
    HD_VEC(KirOp *) open;                // `for` and `if` that are not finished, outermost first
    KirBlock *prelude;                   // constants, tables, parameters: before the entry block, visible everywhere
    KirBlock *entry, *cursor;
    KirRef scratch, lane, group, groups; // 0: not asked for
    uint32_t lanes;                      // of a work group; 0: SIMD
    uint32_t resident;                   // SIMT: work groups on a multiprocessor; 0: as it comes
    uint32_t scratch_param;              // SIMT: the slot that holds the bytes of scratch of a work group
    bool kinds[KIR_OP_COUNT];            // holds such an operation
    KirConst *consts[KIR_CONST_BUCKETS];
};

static inline const KirValue *kir_value(const KirFn *fn, KirRef ref) { return &fn->values.data[ref]; }
static inline bool kir_type_eq(KirType a, KirType b) { return a.scalar == b.scalar && a.lanes == b.lanes; }

const char *kir_op_name(KirOpKind kind);                 // "add"
const char *kir_scalar_name(KirScalar scalar);           // "f32"
uint32_t kir_scalar_bits(KirScalar scalar);
int kir_op_arity(KirOpKind kind);                        // -1: as the builder says
// Do the lanes of a warp do it together? (These stand together in kops.def.)
static inline bool kir_is_of_warp(KirOpKind kind) { return kind >= KIR_OP_shuffle_xor && kind <= KIR_OP_mma_bf16; }
void kir_type_text(KirType type, HdBuf *out_text);       // "f32x16"
const char *kir_pred_name(KirPred pred);

// A new operation at the end of `block`, without results; operands are copied. The caller fills attributes and calls
// kir_op_results.
KirOp *kir_op_append(KirFn *fn, KirBlock *block, KirOpKind kind, uint32_t count, const KirRef *operands);
KirRef kir_op_result(KirFn *fn, KirOp *op, KirType type);    // adds one result
KirBlock *kir_block_new(KirFn *fn, KirBlock *parent);

// Is the operation well-formed by itself: operands, types, attributes? NULL, or what is wrong. The one place with these rules.
const char *kir_check_op(const KirFn *fn, const KirOp *op);
// Does `value` stand in `block` or around it?
bool kir_visible(const KirFn *fn, KirRef value, const KirBlock *block);

#endif
