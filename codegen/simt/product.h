// SPDX-License-Identifier: Apache-2.0
// What the schedules of matrix products share: sched_product.c (few tokens) and sched_tile.c (many); sched_int8.c, where activations are int8.
#ifndef HEDDLE_CODEGEN_SIMT_PRODUCT_H
#define HEDDLE_CODEGEN_SIMT_PRODUCT_H

#include "codegen/cpu/mm.h"
#include "codegen/simt/sched.h"

enum { SIMT_TILE_ROWS = 64, SIMT_TILE_TOKENS = 32 };

typedef struct SimtProduct {
    MmJob *job;
    CgBuild *build;
    KirFn *fn;
    uint32_t tokens, rows;       // of a unit
    KirRef n0;                   // i64: the unit's first row
    KirRef expert;               // i64; 0: no experts
    KirRef row;                  // shared: the one row of activations (shared_column, simt_int8_shared); 0: rows are read where they are
    KirRef sums[MM_MAX_FACTORS]; // shared, few tokens: [tokens][lanes]
    KirRef tile;                 // shared, many tokens: simt_tile_shared floats
} SimtProduct;

// ---- sched_product.c -------------------------------------------------------------------------------------------

// 16 columns from column 16 * part on of row `row` (i64, of this expert) of a factor's matrix; beyond the last row the last once more.
void simt_decode_part(const SimtProduct *p, const MmFactor *f, KirRef row, KirRef part, KirRef out_values[16]);
// The epilogue and its stores for one row of the matrix (a column of the results) and token; sums: of each factor.
void simt_store_results(const SimtProduct *p, KirRef column, const MmToken *of_token, const KirRef *sums);

// ---- sched_int8.c ----------------------------------------------------------------------------------------------

static inline bool simt_is_int8(const MmJob *job) { return job->x.dtype == IR_Q8A; }
// acc[t] += the 32 columns of group `group` (i64) of a matrix row at `row` (ptr) times those of token t, whose row is at x[t] or in p->row.
void simt_int8_group(const SimtProduct *p, IrDtype dtype, KirRef row, KirRef group, const KirRef *x, KirRef *acc);
// Words of a row in shared memory, and where its parts lie.
uint32_t simt_int8_row(const MmJob *job);
CgQ8Row simt_int8_shared(KirFn *fn, KirRef array, int64_t columns);

// ---- sched_tile.c ----------------------------------------------------------------------------------------------

bool simt_tile_fits(const MmJob *job);
uint32_t simt_tile_shared(const MmJob *job);
// A tile of results: rows from p->n0 on, tokens from first_token on, of which there are `count` in all.
void simt_tile(const SimtProduct *p, KirRef first_token, KirRef count, MmTokenAt *at, void *user);

#endif
