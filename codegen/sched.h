// SPDX-License-Identifier: Apache-2.0
// What the schedules of operations with segments and states share (sched_common.c).
#ifndef HEDDLE_CODEGEN_SCHED_H
#define HEDDLE_CODEGEN_SCHED_H

#include "codegen/codegen.h"

// The first operation of this kind in the group's region; 0: none.
IrOpRef cg_find_op(const IrGraph *graph, IrOpRef group, IrOpKind kind);
// The same where the group is made for it: its operands are checked (cg_check_operands). INTERNAL: there is none.
HD_MUST_USE HdStatus *cg_group_op(const IrGraph *graph, IrOpRef group, IrOpKind kind, const IrOp **out_op);
// Type of a value seen from inside the group.
static inline const IrType *cg_type(const IrGraph *graph, IrValue value) { return &ir_value(graph, value)->type; }

// Address of an operand of a special operation. It is stored whatever views stand between: only reshapes may (cg_check_operands).
KirRef cg_operand(CgBuild *build, IrValue value);
// Address of the group's result that is `value`, as it is or reshaped; 0: nobody reads it.
KirRef cg_result(CgBuild *build, IrValue value);
// That operands are region arguments, reshaped at most; that results are yielded.
HD_MUST_USE HdStatus *cg_check_operands(const IrGraph *graph, const IrOp *op);
HD_MUST_USE HdStatus *cg_check_results(const IrGraph *graph, IrOpRef group, const IrOp *op);

// for (iv = begin; iv < end; iv++)
KirRef cg_loop_begin(KirFn *fn, KirRef begin, KirRef end, KirLoop *out_loop);
static inline void cg_loop_end(KirFn *fn, KirLoop *loop) { kir_for_end(fn, loop, NULL); }

void cg_first_lane(CgBuild *build, KirIf *out_if);               // opens a branch that lane 0 takes alone (GPUs)
KirRef cg_load_i32(KirFn *fn, KirRef ptr, int64_t bytes);         // the i32 at ptr + bytes, as i64
KirRef cg_scratch_words(CgBuild *build, int64_t words);           // ptr to so many words of 4 bytes
KirRef cg_order_key(KirFn *fn, KirRef x);                         // integers that compare like these float32, -0 as 0
KirRef cg_ceil_div(KirFn *fn, KirRef a, int64_t by);              // of i64 >= 0
// base + ((a0 * n1 + a1) * n2 + a2) * bytes for count pairs; n[0] is not used.
KirRef cg_element(KirFn *fn, KirRef base, uint32_t count, const KirRef *a, const int64_t *n, int64_t bytes);

// 16 f32 at ptr, or the first `valid` of them (i64; 0: all).
KirRef cg_load16(KirFn *fn, KirRef ptr, KirRef valid);
void cg_store16(KirFn *fn, KirRef ptr, KirRef value, KirRef valid);
KirRef cg_load_f32(KirFn *fn, KirRef ptr, int64_t bytes);         // one f32 at ptr + bytes
void cg_prefetch_row(KirFn *fn, KirRef row, int64_t n);           // n f32 at `row` are read soon (SIMD)
KirRef cg_lane_numbers(KirFn *fn);                                // i32 x 16: 0, 1, .., 15

// A row of the segment table.
typedef struct CgSegment { KirRef slot, position, first, count, plane_in, plane_out; } CgSegment;
CgSegment cg_segment(CgBuild *build, KirRef index);
// Parts of at most `size` tokens, of which each segment begins one: the part number `index` is the segment's tokens passed.. (count of them).
// Beyond the last part: 0 tokens of segment 0.
typedef struct CgPart { CgSegment segment; KirRef passed, count; } CgPart;
CgPart cg_find_part(CgBuild *build, KirRef index, int64_t size);
// Parts that there can be: ceil(T / size) + S, times `factor`.
IrExpr cg_part_count(int64_t size, int64_t factor);
// Address of a plane of a recurrent state, or (plane 0) of an append-only one.
KirRef cg_state_base(CgBuild *build, IrValue state, KirRef slot, KirRef plane);

// The key head that value head j reads (attribute `heads`).
KirRef cg_key_head(KirFn *fn, const IrOp *op, KirRef j, int64_t nk, int64_t nv);

// Attention over the cache, whole or in spans: d channels, H query heads of which G share each of `heads` cache heads.
typedef struct CgAttention { const IrOp *op; int64_t H, heads, d, G; float scale; IrDtype cache; } CgAttention;
HD_MUST_USE HdStatus *cg_attention_find(const IrGraph *graph, IrOpRef group, IrOpKind kind, CgAttention *out_attention);
// Address of position 0 of a cache head: the keys (operand 1) or the values (2) of a slot.
KirRef cg_attention_cache(CgBuild *build, const CgAttention *attention, uint32_t operand, KirRef slot, KirRef head);
int64_t cg_attention_row_bytes(const CgAttention *attention);     // from one position to the next
// The yields of an attention group as sinks: each has the elements of the attention's result, in a shape that they can be found in.
HD_MUST_USE HdStatus *cg_attention_plan(const IrGraph *graph, IrOpRef group, const IrOp *op, CgUnit *out_unit);
// What the launch costs: the group's bytes, and keys and values of the positions seen, read once.
void cg_attention_account(CgBuild *build, const IrOp *op);

// An embedding: a row of a native matrix for each token.
typedef struct CgEmbed {
    const IrOp *op;
    IrDtype dtype;
    int64_t width;               // elements of a row
    KirRef ids, table, result, columns, row_bytes;   // ptr; i64
} CgEmbed;
HD_MUST_USE HdStatus *cg_embed_plan(const IrGraph *graph, IrOpRef group, bool (*can_decode)(IrDtype dtype), CgEmbed *out_embed);
// Parameters, units, bytes and flops of the launch; lanes: of a work group, 0: SIMD.
CgBuild *cg_embed_begin(CgGroupBuilder *builder, const IrGraph *graph, CgEmbed *embed, uint32_t lanes);
// Where the token's row lies in the table, and where it goes.
void cg_embed_token(KirFn *fn, const CgEmbed *embed, KirRef token, KirRef *out_row, KirRef *out_to);

// ---- sched_argmax.c --------------------------------------------------------------------------------------------
// cg_order_key; INT_MAX for a number that is not finite.
KirRef cg_argmax_key(KirFn *fn, KirRef x);
// Results of an argmax; 0: nobody reads it.
typedef struct CgArgMax { KirRef values, columns; } CgArgMax;
// Stores what a run has, by its largest key: value and column, or infinity and -1.
void cg_argmax_store(KirFn *fn, const CgArgMax *to, KirRef number, KirRef key, KirRef value, KirRef column);

// ---- sched_moe.c -----------------------------------------------------------------------------------------------
// Dispatch plans, laid out as ir/moe_plan.h says. One that is being made of the experts `ids` [T, k]:
typedef struct CgPlan { CgBuild *build; KirFn *fn; int64_t experts, ranks, tile; KirRef ids, words, tokens, rows; } CgPlan;   // rows: T * k

// The launch of a moe_plan group; lanes: of a work group, 0: SIMD.
HD_MUST_USE HdStatus *cg_plan_begin(CgGroupBuilder *builder, const IrGraph *graph, IrOpRef group, uint32_t lanes, CgPlan *out_plan);
// Address of word fixed + index * scale.
KirRef cg_plan_word(const CgPlan *plan, int64_t fixed, KirRef index, int64_t scale);
void cg_plan_put(const CgPlan *plan, KirRef ptr, KirRef value);
KirRef cg_plan_expert(const CgPlan *plan, KirRef row);            // that this row is for
// Writes the tiles of one expert, whose `count` sorted rows begin at `start`, behind `used` others; gives how many there are then.
KirRef cg_plan_list_tiles(const CgPlan *plan, KirRef expert, KirRef start, KirRef count, KirRef used);
// The words of tiles from number `used` on become zero: every step-th from the first-th on (i64 both).
void cg_plan_clear_tiles(const CgPlan *plan, KirRef used, KirRef first, KirRef step);

// What a grouped product (a grouped_linear with a plan) reads: how many tiles its plan has room for; where the sorted rows and
// the tiles of the plan at `plan` (ptr) are.
IrExpr cg_plan_bound(const IrGraph *graph, const IrOp *op);
void cg_plan_open(CgBuild *build, const IrOp *op, KirRef plan, KirRef *out_rows, KirRef *out_tiles);

// ---- chunk_plan.c ----------------------------------------------------------------------------------------------
// The delta rule by chunks: delta.chunk_prep has a unit per chunk and value head, delta.chunk_scan walks through those of a segment. A segment's
// chunks follow those of the segments before it; rows of a chunk beyond its tokens are not written, and not read.

typedef struct CgChunk {
    CgBuild *build;
    KirFn *fn;
    const IrOp *op;
    int64_t nk, nv, dk, dv, size;
    KirRef q, k, head, key_head;
    KirRef first, m, row;        // of the chunk: first token, tokens, first padded row
} CgChunk;
// The group's operation of this kind, of which everything has been checked.
HD_MUST_USE HdStatus *cg_chunk_op(const IrGraph *graph, IrOpRef group, IrOpKind kind, const IrOp **out_op);
CgChunk cg_chunk(CgBuild *build, const IrOp *op, const IrType *value);                       // value: the type of v or o
KirRef cg_chunk_key_row(const CgChunk *x, KirRef base, KirRef i);                            // of token i of the chunk: in q or k
KirRef cg_chunk_token_row(const CgChunk *x, KirRef base, KirRef i, int64_t n);               // in [T, nv, n]: v, g, beta, o
KirRef cg_chunk_padded_row(const CgChunk *x, KirRef base, KirRef i, int64_t n);              // in a result over padded rows, [E, nv, n]
void cg_chunk_find(CgChunk *x, KirRef index);                                                // goes to a chunk: 0 tokens where no segment has it
KirRef cg_chunk_rows_before(const CgChunk *x, KirRef segment);                               // padded rows of the segments before `segment`
IrExpr cg_chunk_units(const CgBuild *build, const IrOp *op);                                 // of delta.chunk_prep

// ---- conv_plan.c -----------------------------------------------------------------------------------------------
// A convolution's group has one launch per yield; a work unit is a segment and a head: a row of the yield, or CG_CONV_BLOCK channels
// where nothing needs whole rows.

enum { CG_CONV_BLOCK = 64, CG_CONV_MOST_TAPS = 16 };
typedef struct CgConvYield { CgUnit unit; IrType type; bool whole_rows; int64_t heads, d; } CgConvYield;   // d: channels of a unit

// The group's convolution, and its yields as sinks.
HD_MUST_USE HdStatus *cg_conv_group(const IrGraph *graph, IrOpRef group, const IrOp **out_op, CgUnit *out_all);
// How the rows of yield `index` of all->sinks are dealt out, before anything is emitted for it.
HD_MUST_USE HdStatus *cg_conv_plan(CgBuild *build, const IrOp *op, const CgUnit *all, uint32_t index, CgConvYield *out_yield);
// The convolution's channel that is the first of this head's (i64).
KirRef cg_conv_channel(CgBuild *build, const IrOp *op, const CgConvYield *yield, KirRef head);
// Evaluates and stores the yield's row, or the unit's block of it, for one token. `row`: where the convolution's values of this token
// lie, from the unit's first channel `channel` on.
void cg_conv_store(CgBuild *build, const IrOp *op, CgConvYield *yield, KirRef row, KirRef channel, KirRef token, KirRef head);

#endif
