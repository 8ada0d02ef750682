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
// Opens a branch that lane 0 takes alone.
void simt_first_lane(CgBuild *build, KirIf *out_if);
// The number at ptr of a plain type (f32, f16, bf16), as f32.
KirRef simt_load_number(KirFn *fn, IrDtype dtype, KirRef ptr);
static inline bool simt_is_plain(IrDtype dtype) { return ir_dtype_info(dtype)->block == 1; }

#endif
