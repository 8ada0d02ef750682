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

typedef struct PassCtx PassCtx;
typedef HdStatus *PassRun(IrGraph *graph, PassCtx *ctx);

// ---- tables.c: the tables of passes.def and missed.def -----------------------------------------------------------

typedef struct PassInfo { const char *name; IrNumerics numerics; bool mandatory; PassRun *run; const char *doc; } PassInfo;
typedef struct PassOptionInfo { PassId pass; const char *name, *initial, *values, *doc; } PassOptionInfo;
typedef struct PassRuleInfo { PassId pass; const char *name, *doc; } PassRuleInfo;
typedef struct PassMissedInfo { const char *name, *text; } PassMissedInfo;
const PassInfo *pass_info(PassId pass);
uint32_t pass_phase(PassId pass);                                         // 0: may stand anywhere
const PassOptionInfo *pass_option_info(PassId pass, uint32_t index);      // NULL: it has no more options
const PassRuleInfo *pass_rule_info(PassRule rule);
const PassMissedInfo *pass_missed_info(PassMissed reason);
static inline const char *pass_name(PassId pass) { return pass_info(pass)->name; }
static inline const char *pass_rule_name(PassRule rule) { return pass_rule_info(rule)->name; }

// ---- pipeline.c: pipelines as text -------------------------------------------------------------------------------

enum { PASS_MOST_OPTIONS = 8, PASS_STEP_NAME = 48 };

// One place in a pipeline. Its name is the pass's, "cse#2" where that pass stands for the second time.
typedef struct PassStep {
    PassId pass;
    uint32_t nth;                          // from 1
    const char *options[PASS_MOST_OPTIONS];   // values, in the order of passes.def; NULL: the default
} PassStep;
const char *pass_step_name(const PassStep *step, char out_name[PASS_STEP_NAME]);

typedef struct PassEvent {
    const PassStep *step;
    PassRule rule;
    const IrGraph *graph;
    IrOpRef node;                          // 0: the whole graph
    bool fired;
    PassMissed reason;
    IrValue operand;                       // of a miss: the value that prevented it, where it is one; else 0
} PassEvent;

typedef struct PassConfig {
    const IrTarget *target;
    const char *passes;                    // NULL: the target's default; else "canonicalize,delta-net{form=wy,chunk=32}"; `default` inside is the default list
    const char *const *sets;               // "delta-net{form=wy}": changes an option of the pass in the list; set_count of them
    size_t set_count;
    const char *const *disabled;           // names of steps that are left out ("cse#2"); disabled_count of them
    size_t disabled_count;
    const char *start_from, *stop_after;   // names of steps: only these and what is between them run; NULL: from the beginning, to the end
    // Called for every rewrite and every miss; for a rewrite, returning false refuses it. May be NULL.
    bool (*event)(void *user, const PassEvent *event);
    // Called before and after each pass over a graph; may be NULL. An error of `after` ends the run.
    void (*before)(void *user, const PassStep *step, const IrGraph *graph);
    HdStatus *(*after)(void *user, const PassStep *step, const IrGraph *graph);
    void *user;
    PassRun *const *runs;                  // by PassId: what runs in place of the built-in pass where it is not NULL; NULL: none. Tests seed faults so
} PassConfig;

typedef struct PassPipeline { HdArena arena; HD_VEC(PassStep) steps; } PassPipeline;
// Reads the configuration's pipeline: what remains after sets, disabled passes, start and stop. USAGE errors name what is wrong and list what would be right.
HD_MUST_USE HdStatus *pass_pipeline(const PassConfig *config, PassPipeline *out_pipeline);
void pass_pipeline_free(PassPipeline *pipeline);
// The options of a step as "{a=b,c=d}", those that are left at their initial values only for `all`; "" where there are none.
void pass_step_options(const PassStep *step, bool all, HdBuf *out_text);
// The pipeline as text with every option.
void pass_pipeline_text(const PassPipeline *pipeline, HdBuf *out_text);
// The step of this name; USAGE, beginning with `option`, when there is none.
HD_MUST_USE HdStatus *pass_find_step(const PassPipeline *pipeline, const char *option, const char *name, size_t *out_index);
// Checks the text of a pipeline and of the sets without running anything: names and options (USAGE errors that list the valid ones), the order of
// PASS_PHASE, and that every mandatory pass is there (before the start of a pipeline that begins in its middle: it has run).
HD_MUST_USE HdStatus *pass_check(const PassConfig *config);
// The pass of this name; USAGE when there is none.
HD_MUST_USE HdStatus *pass_find(HdStr name, PassId *out_pass);
const char *pass_default_pipeline(const IrTarget *target);

// ---- manager.c: running them -------------------------------------------------------------------------------------

// What a pass sees while it runs.
struct PassCtx {
    const PassConfig *config;
    const IrTarget *target;
    const PassStep *step;
    uint32_t fired[RULE_COUNT], missed[RULE_COUNT][MISSED_COUNT];
};

// Runs the pipeline over the module: passes before specialise on @model, the rest on every graph but @model. The pipeline used, with all options, is
// stored in the module key "pipeline" (after a start in its middle: behind what the key said). counts may be NULL. Checks what pass_check does, before
// anything is changed, but for mandatory passes: a part of a pipeline may be run, such as one pass.
HD_MUST_USE HdStatus *pass_run(IrModule *module, const PassConfig *config, PassCtx *out_counts);
// One pass over one graph, with the checks and calls of pass_run; `step` is of a pipeline that still exists.
HD_MUST_USE HdStatus *pass_run_step(IrGraph *graph, const PassStep *step, PassCtx *ctx);

// For passes: may this rewrite happen? Counts it when it may.
bool pass_fire(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node);
void pass_missed(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node, PassMissed reason);
// The same where one value prevented it.
void pass_missed_for(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node, PassMissed reason, IrValue operand);
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
