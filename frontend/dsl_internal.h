// SPDX-License-Identifier: Apache-2.0
// What the files of the frontend share: the model under construction.
#ifndef HEDDLE_DSL_INTERNAL_H
#define HEDDLE_DSL_INTERNAL_H

#include "frontend/dsl.h"

struct Model {
    const GgufFile *file;
    DslOptions options;
    HdStatus *error;                 // the first one; all calls after it do nothing
    HdArena arena;
    const char *arch;                // general.architecture
    char prefix[32];                 // "blk.3." inside a block, else empty

    IrModule *module;
    IrGraph *graph;

    HdMap tensors;                   // name -> index in file order
    bool *used;                      // by that index
    HD_VEC(const char *) ignored;    // patterns
    HdBuf identity;                  // content of the fingerprint: architecture, hyperparameters and tensors as text
};

// ---- builder.c
// PREFIX + name, in the model's arena.
const char *dsl_full_name(Model *m, const char *name);
// Whether the pattern list of `ignore` covers this name.
bool dsl_ignored(const Model *m, HdStr name);

// ---- weights.c
const GgufTensor *dsl_find(const Model *m, const char *full_name);   // NULL when absent; does not count as use
// Fails when a tensor is left that was neither used nor ignored.
void dsl_check_all_used(Model *m);

// ---- ops.c
static inline bool dsl_is_none(Tensor x) { return x.value == 0; }
IrType dsl_type(const Model *m, Tensor x);
// Builds an operation and gives its first result (none when it has none); type errors become the model's error.
typedef struct DslOp {
    IrOpKind kind;
    uint32_t operands, attrs;
    Tensor operand[7];
    IrAttr attr[3];
    const IrType *given;             // reshape: the result's type
    Tensor *out_second;              // the second result, of operations that have one
} DslOp;
Tensor dsl_op(Model *m, const DslOp *op);
#define DSL_OP(m, ...) dsl_op((m), &(DslOp){__VA_ARGS__})
Tensor dsl_reshape(Model *m, Tensor x, uint32_t rank, const IrDim *dims);

#endif
