// SPDX-License-Identifier: Apache-2.0
// Shared by region*.c only.
#ifndef HEDDLE_CODEGEN_REGION_INTERNAL_H
#define HEDDLE_CODEGEN_REGION_INTERNAL_H

#include "codegen/codegen.h"

// An element of an index space with the given dimensions. A reshape keeps the place: the space is changed only where an
// operation needs the coordinates of its own shape.
typedef struct CgPlace { uint32_t rank; IrDim dims[4]; CgIndex at[4]; } CgPlace;

// The place in a space of the same elements with other dimensions.
CgPlace cg_place_in(KirFn *fn, const CgPlace *place, const IrType *type);
// The position in row-major order; all but the slowest dimension are numbers.
CgIndex cg_place_linear(KirFn *fn, const CgPlace *place);
static inline bool cg_place_has_dims(uint32_t rank, const IrDim *dims, const IrType *type) {
    bool same = rank == type->rank;
    for (uint32_t i = 0; same && i < rank; i++) same = dims[i] == type->dims[i];
    return same;
}

// Two shapes of the same elements, cut into groups of dimensions a0..a1-1 and b0..b1-1 with equal products, fastest first;
// dimensions of 1 may be left out. false: some dimension that is not the slowest of its group is symbolic.
typedef struct CgDimGroup { uint32_t a0, a1, b0, b1; } CgDimGroup;
bool cg_split_dims(uint32_t rank_a, const IrDim *a, uint32_t rank_b, const IrDim *b, CgDimGroup out_groups[4],
                   uint32_t *out_count);

typedef struct CgBinding { IrValue value; bool in_memory, natural; KirRef base, lanes, stride[3]; } CgBinding;
// What the elements of a normed row are multiplied with, as the sum of two f32: rounded once, a row's factor would be an
// error that all its elements share and no later sum averages out. For `sum`, hi is the sum.
typedef struct CgPrepared { IrValue value; KirPair factor; } CgPrepared;
typedef struct CgMemo { IrValue value; CgPlace place; uint32_t lanes; KirRef valid, result; } CgMemo;

struct CgRegion {
    CgBuild *build;
    const IrGraph *graph;
    KirFn *fn;
    HD_VEC(CgBinding) bindings;
    HD_VEC(CgPrepared) prepared;
    HD_VEC(CgMemo) memo;             // of the evaluation in progress
};

const CgBinding *cg_region_binding(const CgRegion *region, IrValue value);   // NULL: none
// Is `value` read from memory without any work (through views at most)?
bool cg_region_is_stored(const CgRegion *region, IrValue value);
// Bytes of an element: f32 and i32 4, halves 2.
int64_t cg_element_bytes(IrDtype dtype);
// cg_region_store of one row of `n` elements, converted to data type `as` (f32 values to f16; else the type that they have).
void cg_region_store_as(CgRegion *region, IrValue value, KirRef to, const CgIndex *at, int64_t n, IrDtype as);
// What a loop body binds and prepares is gone after it.
typedef struct CgScope { size_t bindings, prepared; CgBinding *binding; CgPrepared *factor; } CgScope;
CgScope cg_region_enter(CgRegion *region);
void cg_region_leave(CgRegion *region, CgScope *scope);
// The row of a value as an address per dimension, ending at column 0.
void cg_row_start(const CgIndex *row, uint32_t rank, CgIndex out_at[4]);
// Makes sure that 16 lanes of `value` cost a load: writes its row to scratch if they do not.
void cg_region_keep_row(CgRegion *region, IrValue value, const CgIndex *row);
// Scratch for a row or rows of f32, and its address.
KirRef cg_region_scratch(CgRegion *region, int64_t elements);

#endif
