// SPDX-License-Identifier: Apache-2.0
// What a pass is written with, a shipped one (one per file, listed in passes.def) or one of somebody's own, which --load-pass loads
// (docs/WRITING_A_PASS.md). It is installed, as is what it includes, and so includes relative to itself.
//
// Contract of every pass and rule:
//   1. The graph verifies before and after (the manager checks).
//   2. Values change by no more than the pass's numerics class (quantise-activations changes them as quant_act is defined to).
//   3. A rule that is near to fire and does not says why: pass_missed, with a reason that the table of the pass declares for it.
//      tests/passes shows every rule of the shipped passes and every such reason by an example.
//   4. A rule never increases the bytes a step moves, and is monotonic: running a pass again changes nothing.
#ifndef HEDDLE_PASS_H
#define HEDDLE_PASS_H

#include "../ir/graph.h"
#include "../ir/target.h"

typedef enum PassRule {
#define RULE(pass, name, text, doc) RULE_##pass##_##name,
#include "passes.def"
#undef RULE
    RULE_COUNT
} PassRule;

typedef enum PassMissed {
#define MISSED(name, text) MISSED_##name,
#include "missed.def"
#undef MISSED
    MISSED_COUNT
} PassMissed;

typedef struct PassCtx PassCtx;            // of one run of a pipeline
// Changes the graph, through rules that ask pass_fire. An error ends the run.
typedef HdStatus *PassRun(IrGraph *graph, PassCtx *ctx);

// ---- a pass of one's own -----------------------------------------------------------------------------------------
// The number of a rule, or of a reason, of the pass that runs: its place in the pass's table.
#define PASS_OWN_RULE(n) ((PassRule)(RULE_COUNT + (n)))
#define PASS_OWN_REASON(n) ((PassMissed)(MISSED_COUNT + (n)))

enum { PASS_MOST_OPTIONS = 8, PASS_MOST_OWN = 8 };
typedef struct PassOptionText { const char *name, *initial, *values, *doc; } PassOptionText;   // values: "int MIN MAX", or words separated by |
typedef struct PassReasonText { const char *name, *text; } PassReasonText;
// misses: names of missed.def or of the pass's own reasons, with blanks between them; NULL: it always fires where it is near.
typedef struct PassRuleText { const char *name, *doc, *misses; } PassRuleText;
typedef struct PassText {
    const char *name;                      // up to 32 lower-case letters, digits and dashes, and not that of another pass; NULL: the list ends
    const char *doc;
    IrNumerics numerics;                   // how far it may change values
    PassRun *run;
    const char *before;                    // the step of the default pipelines before which it runs there ("fuse-epilogue", "cse#2"); NULL: it runs where --passes names it
    PassOptionText options[PASS_MOST_OPTIONS];
    PassRuleText rules[PASS_MOST_OWN];
    PassReasonText reasons[PASS_MOST_OWN];
    const char *example;                   // statements of a graph @decode of one token that some rule fires in, for `heddle passes NAME`; NULL: none
} PassText;

// ---- manager.c: what rules report --------------------------------------------------------------------------------

// May this rewrite happen? Counts it when it may.
bool pass_fire(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node);
// It did not happen, because of `operand` where it is a value that prevented it.
void pass_missed(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node, PassMissed reason);
void pass_missed_for(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node, PassMissed reason, IrValue operand);
const char *pass_option(const PassCtx *ctx, const char *name);            // the value, or the default
int64_t pass_option_int(const PassCtx *ctx, const char *name);
const IrTarget *pass_target(const PassCtx *ctx);

// ---- match.c: patterns, and rules that replace what they match ---------------------------------------------------

enum { PASS_MOST_MATCHED = 16 };
typedef struct PassMatch {
    IrOpRef op[PASS_MOST_MATCHED];         // the operations of the pattern, in the order of its text: op[0] is the root
    IrValue value[PASS_MOST_MATCHED];      // its words, in the order in which they first appear
    uint32_t ops, values;
} PassMatch;
// Is `root` the operation at the root of this tree? "mul(x, sigmoid(x))": operations by their names, with all their operands; a word is any value, and
// where it stands again the same one; `_` is any value. The operands of add and mul may stand in either order; of an operation inside, the first order
// that fits it counts, even where the other would fit the whole. A value matches an operation whose first result it is.
bool pass_match(const IrGraph *graph, IrOpRef root, const char *pattern, PassMatch *out_match);
// Are the results of each matched operation but the root read once in all, so that nobody outside the match reads one?
bool pass_is_private(const IrGraph *graph, const PassMatch *match);
// A rule over every operation of the body that stands there when the walk begins and is not erased when its turn comes.
HdStatus *pass_each(IrGraph *graph, PassCtx *ctx, HdStatus *(*rule)(IrGraph *graph, PassCtx *ctx, IrOpRef op));
// Builds an operation with one result before `at`, in its layer. The error is the type rule's.
HD_MUST_USE HdStatus *pass_make(IrGraph *graph, IrOpRef at, const IrBuild *build, IrValue *out_value);
// `by` takes the place of the operation's only result.
void pass_replace(IrGraph *graph, IrOpRef op, IrValue by);

// ---- grow.c: reading graphs --------------------------------------------------------------------------------------

IrOpRef pass_producer(const IrGraph *graph, IrValue value);              // 0: not the result of an operation
IrRole pass_role(const IrGraph *graph, IrOpRef op);
// The first operation that reads `value` behind `after` (0: of all); 0: none.
IrOpRef pass_next_user(const IrGraph *graph, IrValue value, IrOpRef after);
// Operations of the body that read `value`, in order; returns how many there are, stores at most `capacity`.
uint32_t pass_users(const IrGraph *graph, IrValue value, IrOpRef *out_users, uint32_t capacity);
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

// ---- grow.c: making groups ---------------------------------------------------------------------------------------

typedef struct PassGroup { HD_VEC(IrOpRef) members; } PassGroup;
bool pass_contains(const PassGroup *group, IrOpRef op);
// Would the members, taken out and put into one fused operation, leave a graph without cycles and with states in order?
bool pass_group_legal(const IrGraph *graph, const PassGroup *group, PassMissed *out_reason);
// Does it. Views that members read are copied into the region; the views left without readers are erased. Returns the fused operation.
IrOpRef pass_group_make(IrGraph *graph, const PassGroup *group, IrGroup kind);
// All of a rule that knows its members, the first of which is the node that is reported: makes them one group if that is legal (too_many and cycle are
// the reasons why it would not be) and the rule may fire. What kinds of groups there are, and what each may hold: ir/targets.def. True when made.
bool pass_fuse(IrGraph *graph, PassCtx *ctx, PassRule rule, IrGroup kind, const IrOpRef *members, uint32_t count);

// ---- growth.c: how a group grows from an anchor ------------------------------------------------------------------

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
