// SPDX-License-Identifier: Apache-2.0
// Shared by the passes; nothing here is for others.
#ifndef HEDDLE_PASSES_INTERNAL_H
#define HEDDLE_PASSES_INTERNAL_H

#include "passes/passes.h"

bool pass_contains(const PassGroup *group, IrOpRef op);
IrOpRef pass_producer(const IrGraph *graph, IrValue value);              // 0: not the result of an operation
IrRole pass_role(const IrGraph *graph, IrOpRef op);
// The first operation that reads `value` behind `after` (0: of all); 0: none.
IrOpRef pass_next_user(const IrGraph *graph, IrValue value, IrOpRef after);
// Operations of the body that read `value`, in order; returns how many there are, stores at most `capacity`.
uint32_t pass_users(const IrGraph *graph, IrValue value, IrOpRef *out_users, uint32_t capacity);
// Builds an operation whose types the pass knows to be right (else it aborts with the rule's text), in the layer of `like` (0: none).
IrOpRef pass_build(IrGraph *graph, const IrBuild *build, IrOpRef like);
// The same where the shapes of a graph may not allow the operation: 0 then. (A token count with a ceil has no quotient that is a dimension.)
IrOpRef pass_try_build(IrGraph *graph, const IrBuild *build, IrOpRef like);
// Through which views an operation reads an operand, so that no copy is made first: what works element by element or row by row reads through any;
// products and operations of their own kind want contiguous rows, which a reshape leaves alone; matrices and operands of groups are as they are.
typedef enum PassReads { PASS_READS_NO_VIEW, PASS_READS_RESHAPES, PASS_READS_ANY_VIEW } PassReads;
PassReads pass_reads(const IrGraph *graph, IrOpRef op, uint32_t operand);
bool pass_reads_view(const IrGraph *graph, IrOpRef op, uint32_t operand, IrOpRef view);
// Type of the first result, or of the first operand where there is no result.
IrType pass_type(const IrGraph *graph, IrOpRef op);
bool pass_is_result(const IrGraph *graph, IrValue value);                // a result of the graph

// Walks the operations of the body once each while groups are made and the order changes: operations that existed at the start, in the order of
// the moment, each once per restart; erased ones are left out. Between two steps no operation may move from behind the last one to before all
// that stands before it.
typedef struct PassWalk { const IrGraph *graph; uint8_t *seen; size_t count; IrOpRef last; } PassWalk;
PassWalk pass_walk_begin(const IrGraph *graph);
void pass_walk_restart(PassWalk *walk);
IrOpRef pass_walk_next(PassWalk *walk);                                  // 0: all seen
void pass_walk_end(PassWalk *walk);

// Where dce did not run, or was refused, views are left that no group takes with it, and that look like readers of a group.
void pass_erase_unread_views(IrGraph *graph);                            // partition.c

// ---- growth.c: how a group grows from an anchor ----------------------------------------------------------------

// Views through which members of a group may read each other. A kernel computes a group piece by piece (a panel of columns, a head, a row), so what
// a member reads of another must lie in the same piece.
typedef enum PassViews {
    PASS_VIEWS_NONE,
    PASS_VIEWS_COLUMNS,          // slices and concats of the last axis: rows stay rows
    PASS_VIEWS_RESHAPE,          // reshapes: the same place in memory; readers behind one are candidates too
} PassViews;

typedef struct PassGrowth PassGrowth;
struct PassGrowth {
    IrGraph *graph;
    PassCtx *ctx;
    PassRule rule;
    IrGroup kind;
    PassViews views;
    bool equal_dims;             // members have the dimensions of the members that they read
    bool pull_shared;            // producers that others read too may be pulled in
    IrOpRef prologue[2];         // members that their readers may want whole, since the kernel makes them before anything else; 0: none
    // May `op` join? `via` is a member's result: the one that it reads, or one of the member that reads it.
    bool (*accepts)(const PassGrowth *growth, IrOpRef op, IrValue via, PassMissed *out_reason);
    IrType anchor;               // type of the anchor's first result, or of its operand where it has none
    PassGroup group, said;       // said: operations whose miss has been reported
};

// Adds readers of the group, then producers that only the group reads, until nothing more may join. Then says why readers did not, and producers
// that would have made the group illegal: once for each operation.
void pass_grow(PassGrowth *growth);
// Adds one operation if the group stays legal; else reports the miss.
bool pass_grow_add(PassGrowth *growth, IrOpRef op);
// An `accepts`: element-wise operations and reductions over the anchor's rows.
bool pass_joins_rows(const PassGrowth *growth, IrOpRef op, IrValue via, PassMissed *out_reason);
// Makes the group if the caller lets the rule fire; frees the growth. True when made.
bool pass_grow_finish(PassGrowth *growth);
// operand: the value that prevented it; 0: none did.
void pass_grow_miss(PassGrowth *growth, IrOpRef op, PassMissed reason, IrValue operand);
// Are all dimensions but the last equal?
bool pass_same_rows(const IrType *a, const IrType *b);
bool pass_same_dims(const IrType *a, const IrType *b);
// Element-wise arithmetic: no rope, no cache write, no sum over ranks.
bool pass_is_arithmetic(const IrGraph *graph, IrOpRef op);

#endif
