// SPDX-License-Identifier: Apache-2.0
// ATTENTION on a CPU: what its two files share. sched_attention.c has the softmax, spans and the launch; attention_tile.c the two products of a tile.
//
// A work unit is a cache head and one token, or up to ATTENTION_TOKENS tokens of a sequence; it serves the query heads that share the cache head. Its
// rows are these heads of these tokens: row r is head r mod G of token r / G.
//
// The order of arithmetic is fixed by positions alone: tiles of 64 positions from position 0 on, a running softmax over the tiles of a span of 1024,
// spans merged from left to right. A score is 16 partial sums over the channels, halved; a tile's values are summed over rising positions and then join
// those of the span. Positions that a token does not see have the weight 0, which changes no sum.
#ifndef HEDDLE_CODEGEN_CPU_ATTENTION_H
#define HEDDLE_CODEGEN_CPU_ATTENTION_H

#include "codegen/sched.h"

enum { ATTENTION_TILE = 64, ATTENTION_LANES = 16, ATTENTION_TOKENS = 8 };

typedef struct Attention {
    CgBuild *build;
    KirFn *fn;
    CgAttention of;
    int64_t d, G, tokens;        // d, G of `of`; tokens: of a unit at most
    bool half;                   // the cache is f16
    KirRef position, rows;       // of this unit: its first token's position; how many rows it has (tokens 1: G)
    KirRef first;                // of this tile: its first position
    KirRef q, k, v;              // its first query row; position 0 of this head in the caches
    KirRef score, factor;        // scratch: [rows][64], scores, then weights; [rows], what the sums of earlier tiles are multiplied with
    KirRef span_m, span_l, span_o, all_m, all_l, all_o;   // scratch: [rows], [rows], [rows][width] of the span, and of all before it
    KirRef keys, values;         // scratch, tokens > 1: the tile's as float32, [64][width] and [width / 16][65][16]
} Attention;

// Of a row of sums in scratch, and of keys and values there: d rounded up to whole vectors.
static inline int64_t attention_width(const Attention *a) { return hd_ceil_div(a->d, ATTENTION_LANES) * ATTENTION_LANES; }
// Scratch of the tile.
void attention_tile_scratch(Attention *a);
// Scores of the first `count` positions (i64) of the tile; of rows and positions beyond any number.
void attention_scores(const Attention *a, KirRef count);
// span_o = span_o * factor + the values of these positions, weighted.
void attention_values(const Attention *a, KirRef count);

#endif
