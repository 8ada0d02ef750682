// SPDX-License-Identifier: Apache-2.0
// The dispatch plan that `moe_plan` makes of ids [T, k]: i32 words that tell a grouped matrix product which rows belong
// to which expert. With E experts and tiles of `tile` rows:
//
//   word                    count      content
//   0                       1          how many tiles are used
//   1                       E          rows of expert e
//   1 + E                   E + 1      first sorted row of expert e; the last entry is T * k
//   2 + 2E                  T * k      sorted rows: t * k + r, ordered by expert, then token t, then rank r
//   2 + 2E + T * k          3 * bound  tiles in order of expert, then row: {expert, first sorted row, rows (1..tile)};
//                                      unused ones are zero
//
// An expert with n rows has ceil(n / tile) tiles, so all have at most E + ceil(T * k / tile); the bound is the slightly
// larger E + k * ceil(T / tile), which a dimension can express (its T is the call's token count).
#ifndef HEDDLE_MOE_PLAN_H
#define HEDDLE_MOE_PLAN_H

#include <stdint.h>

typedef struct IrMoePlan { int64_t experts, tile, ranks, tokens; } IrMoePlan;   // E, tile, k, T

enum { IR_MOE_TILE_WORDS = 3 };   // expert, first sorted row, rows
static inline int64_t ir_moe_plan_tile_bound(IrMoePlan p) { return p.experts + p.ranks * ((p.tokens + p.tile - 1) / p.tile); }
static inline int64_t ir_moe_plan_counts_at(IrMoePlan p) { return (void)p, 1; }
static inline int64_t ir_moe_plan_starts_at(IrMoePlan p) { return 1 + p.experts; }
static inline int64_t ir_moe_plan_rows_at(IrMoePlan p) { return 2 + 2 * p.experts; }
static inline int64_t ir_moe_plan_tiles_at(IrMoePlan p) { return ir_moe_plan_rows_at(p) + p.tokens * p.ranks; }
static inline int64_t ir_moe_plan_words(IrMoePlan p) {
    return ir_moe_plan_tiles_at(p) + IR_MOE_TILE_WORDS * ir_moe_plan_tile_bound(p);
}

#endif
