// SPDX-License-Identifier: Apache-2.0
// Softmax attention of a tile of query rows over a range of positions (attend.c): what the schedules of sched_attention.c share.
#ifndef HEDDLE_CODEGEN_SIMT_ATTEND_H
#define HEDDLE_CODEGEN_SIMT_ATTEND_H

#include "codegen/simt/sched.h"

enum { SIMT_MOST_CHANNELS = 512, SIMT_MOST_SUMS = 64 };   // of a head; of a lane: rows times channels

// Row r of a tile is the query of token r / heads and of head r % heads among those that the tile takes; rows beyond the last token
// repeat it, and what they give is nobody's. There are tiles of many tokens, and of one.
typedef struct SimtAttend {
    CgBuild *build;
    KirFn *fn;
    CgAttention of;
    int64_t heads, tokens, blocks;       // of a tile; all its heads read one cache head, which has `blocks` tiles for a token's heads
    uint32_t rows, step;                 // rows of a tile; channels that are staged at once
    uint32_t score_lanes, channel_lanes; // lanes side by side along the positions of the scores, along the channels of the sums
    KirRef k, v, q;                      // of this tile: position 0 of its cache head; the first token's first head
    KirRef count, position;              // i64: tokens that there are; the first one's position
    KirRef scores, staged, parts, factor;   // shared: [rows][..], keys and queries of a step, [rows][lanes of a row], [rows]
} SimtAttend;

// Sums of a lane: rows[i] has channels[..] (i64; those beyond the last repeat it), and sum i * channels + j is theirs.
typedef struct SimtSums {
    uint32_t row_count, channel_count;
    KirRef row[SIMT_MOST_SUMS], channel[SIMT_MOST_SUMS], sum[SIMT_MOST_SUMS];
} SimtSums;

// Lanes of a work group.
uint32_t simt_attend_lanes(const CgAttention *of, bool many_tokens);
// Chooses the shape of tiles, and asks for the shared arrays.
SimtAttend simt_attend_begin(CgBuild *build, const CgAttention *of, bool many_tokens);
// Positions begin..end-1, of which a row sees those up to its own. Leaves in shared memory, for every row, its largest score in a->factor
// and the sum of its weights in a->parts (simt_attend_total).
void simt_attend(const SimtAttend *a, KirRef begin, KirRef end, SimtSums *out_sums);
KirRef simt_attend_total(const SimtAttend *a, KirRef row);
KirRef simt_attend_exists(const SimtAttend *a, KirRef row);     // i1: is the row a token's?

#endif
