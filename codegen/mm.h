// SPDX-License-Identifier: Apache-2.0
// Groups with matrix products, for all targets (mm_jobs.c): what there is to multiply. How it is multiplied: cpu/mm.h, simt/product.h.
//
// Yields that depend on the same products form a component: gate and up projection of a SwiGLU share a work unit, independent projections
// do not. On the CPU each component has a launch of its own, on a GPU they share one.
#ifndef HEDDLE_CODEGEN_MM_H
#define HEDDLE_CODEGEN_MM_H

#include "codegen/codegen.h"

enum { MM_MAX_FACTORS = 8, MM_MAX_OUTS = 8, MM_MAX_PANELS = 2 };

typedef struct MmFactor {
    IrValue result, weight;
    IrDtype dtype;
    bool native;                 // rows as in the file
    KirRef base;                 // ptr: the matrix
    // of the CPU's kernels:
    bool expanded;               // packed, and decoded to thread scratch first: to quants and scales, or for float32 activations to float32
    KirRef panel[MM_MAX_PANELS]; // ptr: the panels of this work unit
    KirRef packed[MM_MAX_PANELS];   // ptr, expanded: what they are made from
    uint32_t scratch, stage;     // native or expanded: where the panels are made; native: what mm_decode needs
} MmFactor;

typedef struct MmOut { IrValue value, yield; KirRef to; int64_t element_bytes; } MmOut;   // value: yield below its reshapes

typedef struct MmJob {
    const IrGraph *graph;
    IrOpRef op;                  // one of the contractions: x, ids and plan are its operands
    IrType x;
    int64_t columns, rows, experts;   // K, N, E (1: no experts)
    uint32_t factor_count, out_count;
    MmFactor factors[MM_MAX_FACTORS];
    MmOut outs[MM_MAX_OUTS];
    IrOpRef argmax;              // on a GPU: of the one factor, by runs of IR_GPU_RUN columns; 0: none
    CgBuild *build;
    KirFn *fn;
    KirRef x_base, x_bytes, k, n;   // x_bytes: of a row of activations
    // of the CPU's kernels:
    bool many;                   // mm_job_expect_many
    uint32_t panel_count;        // of this work unit
    KirRef tile_scratch;         // int8 activations: see MmProduct
    KirRef row0;                 // i64: first row of the first panel among those of all experts
    KirRef n0[MM_MAX_PANELS], valid[MM_MAX_PANELS];   // i64: first row of the panel; how many it has, 0: 16 always
} MmJob;

// One token of a tile: its activation row and its row of results.
typedef struct MmToken {
    KirRef x, row;               // ptr; i64: number of the row among all rows [.., N]
    KirRef coord[3];             // i64: the row's coordinates
} MmToken;
typedef void MmTokenAt(const MmJob *job, void *user, KirRef index, MmToken *out_token);

// Row t * k + r of a grouped product with `ranks` k: its token and rank, and where its activations lie.
void mm_grouped_token(const MmJob *job, int64_t ranks, KirRef row, MmToken *out_token);

// Components of the group, in order of their first yield. The error names what no kernel can be made for.
HD_MUST_USE HdStatus *mm_jobs(const IrTarget *target, const IrGraph *graph, IrOpRef group, MmJob out_jobs[MM_MAX_OUTS],
                              uint32_t *out_count);
// build->bytes += what the epilogues read from outside: operands of element-wise operations, each once.
void mm_account_operands(const MmJob *job);

#endif
