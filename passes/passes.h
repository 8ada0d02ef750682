// SPDX-License-Identifier: Apache-2.0
// Passes: graph in, graph out. One pass per file, listed in passes.def; every rewrite goes through pass_fire.
//
//   @model ─ canonicalize ─ cse ─ dce ─ specialise ─► @decode, @small, @prefill, @load, then for each:
//   delta-net ─ moe-dispatch ─ quantise-activations ─ cse ─ merge-projections ─ select-layout ─ fuse-epilogue ─ fuse-norm ─ dce ─
//   partition ─ schedule ─ plan-memory
//
// Contract of every pass and rule:
//   1. The graph verifies before and after (the manager checks).
//   2. Values change by no more than the numerics class in passes.def (quantise-activations changes them as quant_act is defined to).
//   3. A rule that is near to fire and does not says why: pass_missed with a reason of missed.def that a MISS row of passes.def declares for it.
//      tests/passes shows every rule and every such reason by an example.
//   4. A rule never increases the bytes a step moves, and is monotonic: running a pass again changes nothing.
#ifndef HEDDLE_PASSES_H
#define HEDDLE_PASSES_H

#include "ir/ir.h"
#include "ir/target.h"

typedef enum PassId {
#define PASS(name, text, numerics, mandatory, doc) PASS_##name,
#include "passes/passes.def"
#undef PASS
    PASS_COUNT
} PassId;

typedef enum PassRule {
#define RULE(pass, name, text, doc) RULE_##pass##_##name,
#include "passes/passes.def"
#undef RULE
    RULE_COUNT
} PassRule;

typedef enum PassMissed {
#define MISSED(name, text) MISSED_##name,
#include "passes/missed.def"
#undef MISSED
    MISSED_COUNT
} PassMissed;

// ---- manager.c: pipelines --------------------------------------------------------------------------------------

typedef struct PassEvent { PassId pass; PassRule rule; const IrGraph *graph; IrOpRef node; bool fired; PassMissed reason; } PassEvent;

typedef struct PassConfig {
    const IrTarget *target;
    const char *passes;                    // NULL: the target's default; else "canonicalize,delta-net{form=wy,chunk=32}"; `default` inside is the default list
    const char *const *sets;               // "delta-net{form=wy}": changes an option of the pass in the list; set_count of them
    size_t set_count;
    // Called for every rewrite and every miss; for a rewrite, returning false refuses it. May be NULL.
    bool (*event)(void *user, const PassEvent *event);
    // Called after each pass over a graph (for dumps); may be NULL.
    void (*after)(void *user, const char *pass, const IrGraph *graph);
    void *user;
} PassConfig;

// What a pass sees while it runs.
typedef struct PassCtx {
    const PassConfig *config;
    const IrTarget *target;
    PassId pass;
    const char *options[8];                // values, in the order of passes.def
    uint32_t fired[RULE_COUNT], missed[RULE_COUNT][MISSED_COUNT];
} PassCtx;

typedef HdStatus *PassRun(IrGraph *graph, PassCtx *ctx);

// Checks the text of a pipeline and of the sets without running anything: names and options (USAGE errors that list the valid ones), the order of
// PASS_PHASE, and that every mandatory pass is there.
HD_MUST_USE HdStatus *pass_check(const PassConfig *config);
// Runs the pipeline over the module: passes before specialise on @model, the rest on every graph but @model. The pipeline used, with all options, is
// stored in the module key "pipeline". counts may be NULL. Checks what pass_check does, before anything is changed, but for mandatory passes: a part
// of a pipeline may be run, such as one pass.
HD_MUST_USE HdStatus *pass_run(IrModule *module, const PassConfig *config, PassCtx *out_counts);
const char *pass_default_pipeline(const IrTarget *target);
const char *pass_name(PassId pass);
const char *pass_rule_name(PassRule rule);
const char *pass_missed_text(PassMissed reason);

// For passes: may this rewrite happen? Counts it when it may.
bool pass_fire(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node);
void pass_missed(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node, PassMissed reason);
const char *pass_option(const PassCtx *ctx, const char *name);            // the value, or the default
int64_t pass_option_int(const PassCtx *ctx, const char *name);

// ---- one function per pass, in files of the same name ----------------------------------------------------------
#define PASS(name, text, numerics, mandatory, doc) PassRun pass_##name;
#include "passes/passes.def"
#undef PASS

// ---- grow.c: making groups -------------------------------------------------------------------------------------

typedef struct PassGroup { HD_VEC(IrOpRef) members; } PassGroup;
// Would the members, taken out and put into one fused operation, leave a graph without cycles and with states in order?
bool pass_group_legal(const IrGraph *graph, const PassGroup *group, PassMissed *out_reason);
// Does it. Views that members read are copied into the region; the views left without readers are erased. Returns the fused operation.
IrOpRef pass_group_make(IrGraph *graph, const PassGroup *group, IrGroup kind);

#endif
