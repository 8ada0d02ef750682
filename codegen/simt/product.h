// SPDX-License-Identifier: Apache-2.0
// What the schedules of matrix products share: sched_product.c and, with int8 activations, sched_int8.c for few tokens; sched_tile*.c for
// many; and the argmax behind one, sched_runs.c.
#ifndef HEDDLE_CODEGEN_SIMT_PRODUCT_H
#define HEDDLE_CODEGEN_SIMT_PRODUCT_H

#include "codegen/mm.h"
#include "codegen/simt/decode.h"
#include "codegen/simt/sched.h"

enum { SIMT_TILE_ROWS = IR_GPU_RUN };   // a run of results is in one tile

typedef struct SimtProduct {
    MmJob *job;
    CgBuild *build;
    KirFn *fn;
    uint32_t tokens, rows;       // that are multiplied at a time
    KirRef n0;                   // i64: the unit's first row
    KirRef expert;               // i64; 0: no experts
    KirRef row;                  // shared: the one row of activations (shared_column, simt_int8_shared); 0: rows are read where they are
    KirRef sums[MM_MAX_FACTORS]; // shared, few tokens: [tokens][lanes]
    KirRef tile;                 // shared, many tokens: i32[simt_tile_shared]
    KirRef run;                        // job->argmax: shared, i32 [tokens][SIMT_TILE_ROWS], what it compares
    CgArgMax run_to;
} SimtProduct;

// ---- sched_product.c -------------------------------------------------------------------------------------------

// Address of row `row` (i64, of this expert) of a factor's matrix; beyond the last row the last once more.
KirRef simt_matrix_row(const SimtProduct *p, const MmFactor *f, KirRef row);
// Where the 16 columns from column 16 * part on lie in such a row (ptr).
SimtPlace simt_place(const SimtProduct *p, const MmFactor *f, KirRef row, KirRef part);
void simt_decode_part(const SimtProduct *p, const MmFactor *f, KirRef row, KirRef part, KirRef out_values[16]);
// The epilogue and its stores for one row of the matrix (a column of the results) and token; sums: of each factor.
void simt_store_results(const SimtProduct *p, KirRef column, const MmToken *of_token, const KirRef *sums);

// ---- sched_runs.c ----------------------------------------------------------------------------------------------

// Has job->argmax compare what is in `array` (p->run).
void simt_runs_open(SimtProduct *p, KirRef array);
// Puts a result there, of the unit's token number `token`. Behind a barrier, when all are there: stores the largest of each token; tokens from
// `first` on, of which there are `count` in all.
void simt_runs_keep(const SimtProduct *p, KirRef token, KirRef column, KirRef value);
void simt_runs_store(const SimtProduct *p, KirRef first, KirRef count, MmTokenAt *at, void *user);

// ---- sched_int8.c ----------------------------------------------------------------------------------------------

static inline bool simt_is_int8(const MmJob *job) { return job->x.dtype == IR_Q8A; }
// acc[t] += the 32 columns of group `group` (i64) of a matrix row at `row` (ptr) times those of token t, whose row is at x[t] or in p->row.
void simt_int8_group(const SimtProduct *p, const MmFactor *f, KirRef row, KirRef group, const KirRef *x, KirRef *acc);
// Words of a row in shared memory, and where its parts lie.
uint32_t simt_int8_row(const MmJob *job);
CgQ8Row simt_int8_shared(KirFn *fn, KirRef array, int64_t columns);

// ---- sched_tile.c ----------------------------------------------------------------------------------------------

// How a work group makes a tile of results, SIMT_TILE_ROWS times `tokens`: a lane adds up SIMT_TILE_SUMS of them for each of at most two
// factors. Then all come to shared memory as [factor][token][row].
enum { SIMT_TILE_SUMS = 32, SIMT_TILE_FACTORS = 2, SIMT_TILE_ROUNDS = 2 };
typedef struct SimtTileForm {
    const char *name;            // of the launch
    uint32_t tokens, lanes, step, parts, input;   // step: columns staged at a time, in so many parts; input: words of shared memory that they take
    uint32_t resident;           // kir_set_resident
    bool (*fits)(const IrTarget *target, const MmJob *job);
    // The lane's sums of a factor; x: rows of activations (ptr), of the token that the lane stages in each round.
    void (*multiply)(const SimtProduct *p, const MmFactor *f, const KirRef *x, KirRef out_sums[SIMT_TILE_SUMS]);
    void (*place)(const SimtProduct *p, uint32_t sum, KirRef *out_row, KirRef *out_token);   // i64: in the tile
} SimtTileForm;

// What a lane brings to shared memory in round 0, 1, ..: one of the parts of a step's columns, of a row of weights or activations (i64 both).
typedef struct SimtTask { KirRef item, part; } SimtTask;
SimtTask simt_task(KirFn *fn, uint32_t lanes, uint32_t parts, uint32_t round);
// The fastest form that all jobs have; NULL: none.
const SimtTileForm *simt_tile_form(const IrTarget *target, const MmJob *jobs, uint32_t count);
uint32_t simt_tile_shared(const SimtTileForm *form, const MmJob *job);   // words
// A tile of results: rows from p->n0 on, tokens from first_token on, of which there are `count` in all.
void simt_tile(const SimtTileForm *form, const SimtProduct *p, KirRef first_token, KirRef count, MmTokenAt *at, void *user);

// ---- sched_tile_int8.c, sched_tile_bf16.c ------------------------------------------------------------------------

extern const SimtTileForm simt_tile_int8_mma, simt_tile_int8_dot, simt_tile_bf16;
// Four warps share a tile of 64 x 64: each has 32 x 32, fragment (m, n) being 16 rows from 16 m on and 8 tokens from 8 n on.
enum { SIMT_WARP_M = 2, SIMT_WARP_N = 4 };
typedef struct SimtWarp { KirRef row, token, r, c; } SimtWarp;   // i64: first of the warp's part; lane / 4 and lane % 4 in the warp
SimtWarp simt_warp(KirFn *fn);
// Where sum (m * SIMT_WARP_N + n) * 4 + i of a lane lies: element i of fragment (m, n).
void simt_warp_place(const SimtProduct *p, uint32_t sum, KirRef *out_row, KirRef *out_token);
// base + row * stride + column as i64
static inline KirRef simt_shared_at(KirFn *fn, KirRef base, KirRef row, int64_t stride, KirRef column) {
    return kir_add(fn, base, kir_add(fn, kir_mul(fn, row, kir_i64(fn, stride)), column));
}
// Stages a step of columns in one half of the tile while the other is multiplied: stage(.., buffer: first word (i64), k: first column) and
// add(.., buffer, sums: count values, of any type) are told what to do, of `words` words each.
typedef struct SimtSteps {
    const SimtProduct *p;
    const MmFactor *f;
    const KirRef *x;             // as for multiply
    uint32_t words, step, count;
    void (*stage)(const struct SimtSteps *steps, KirRef buffer, KirRef k);
    void (*add)(const struct SimtSteps *steps, KirRef buffer, KirRef *sums);
} SimtSteps;
void simt_run_steps(const SimtSteps *steps, KirRef *sums);

#endif
