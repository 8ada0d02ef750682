// SPDX-License-Identifier: Apache-2.0
// What the SIMT schedules share (sched_rows.c). A work unit belongs to one work group; its lanes take neighbouring elements of the
// last axis, so that loads and stores are joined by the hardware.
#ifndef HEDDLE_CODEGEN_SIMT_SCHED_H
#define HEDDLE_CODEGEN_SIMT_SCHED_H

#include "codegen/sched.h"

enum { SIMT_LANES = 64, SIMT_MOST_LANES = IR_GPU_MOST_LANES };

// Lanes for rows of n elements: a multiple of SIMT_LANES.
uint32_t simt_row_lanes(int64_t n);
// for (i = lane; i < n; i += lanes); i is an i64.
KirRef simt_deal_begin(CgBuild *build, KirRef n, KirLoop *out_loop);
static inline void simt_deal_end(CgBuild *build, KirLoop *loop) { kir_for_end(build->fn, loop, NULL); }
// The number at ptr of a plain type (f32, f16, bf16), as f32.
KirRef simt_load_number(KirFn *fn, IrDtype dtype, KirRef ptr);
// A block of a matrix goes to shared memory, as f32: `rows` rows of `step` columns (an even number) from `column` (i64) on, row r to
// array[to + r * (step + 1)] and on. `load` gives the numbers in row `row` and columns `column` and `column + 1` of the matrix, which has an
// even number of `columns`; beyond them stands 0.
typedef struct SimtBlock { KirRef array; int64_t to; uint32_t rows, step; KirRef column; int64_t columns; } SimtBlock;
typedef void SimtLoadPair(void *user, KirRef row, KirRef column, KirRef out_values[2]);
void simt_stage(CgBuild *build, const SimtBlock *block, SimtLoadPair *load, void *user);
KirRef simt_plus(KirFn *fn, KirRef a, int64_t b);                              // a + b, and row * stride + column: of i64
KirRef simt_index(KirFn *fn, KirRef row, int64_t stride, KirRef column);
static inline bool simt_is_plain(IrDtype dtype) { return ir_dtype_info(dtype)->block == 1; }

// ---- sched_delta_chunk.c -----------------------------------------------------------------------------------------
// Do a chunk and its share of the state fit the shared memory? For both operations of the chunked delta rule.
HD_MUST_USE HdStatus *simt_chunk_supported(const IrGraph *graph, const IrOp *op);

#endif
