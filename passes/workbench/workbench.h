// SPDX-License-Identifier: Apache-2.0
// The workbench for passes: what `heddle opt` and `heddle passes` do with a module once it is read.
#ifndef HEDDLE_WORKBENCH_H
#define HEDDLE_WORKBENCH_H

#include "passes/passes.h"
#include "runtime/base/predict.h"

// ---- run.c: a pipeline, watched ----------------------------------------------------------------------------------

typedef struct WbOptions {
    const char *graph;                     // reports and dumps are of this graph and of @model only; NULL: of all
    bool diff, explain, cost, verify;      // what is recorded; times always are
    bool pictures;                         // for wb_print_html
    bool bisect;                           // with `verify`: of a pass that changes values, the rewrite that does
    IrWeights weights;                     // for `verify`
    const char *explain_only;              // of --explain: a node ("%12"), a rule ("norm", "fuse-norm.norm"), NULL or "": everything
    const char *const *print_after;        // names of steps, or "all": the graphs after them are written to `dumps`
    size_t print_after_count;
    FILE *dumps;
    int64_t context;                       // positions that costs are for; 0: 4096
    const HdFigures *device;               // that costs have a predicted time for; NULL: they have none
} WbOptions;

typedef struct WbEvent {
    PassRule rule;
    bool fired;
    PassMissed reason;                     // of a miss
    const char *node, *operand;            // as printed before the pass; "" where there is none
    int32_t layer;                         // -1: none
} WbEvent;

// ---- cost.c: what a graph takes in one step ----------------------------------------------------------------------

typedef enum WbClass { WB_DECODE, WB_SMALL, WB_PREFILL, WB_CLASS_COUNT } WbClass;
const char *wb_class_name(WbClass class);
typedef struct WbCost {
    double launches;                       // operations that are no views; after partition: groups
    double bytes_read, bytes_written, flops;
    double arena;                          // bytes: after plan-memory the arena's, before it what lives at once in the order of the text
    double seconds;                        // predicted (runtime/base/predict.h); 0 without a device
} WbCost;
// With a device and out_each (may be NULL), appended are the predicted seconds of each operation of the body, without the waiting between stages.
typedef HD_VEC(double) WbSeconds;
WbCost wb_graph_cost(const IrGraph *graph, const IrBinding *at, const HdFigures *device, WbSeconds *out_each);

// ---- verify.c, bisect.c: does a graph still give what it gave before a pass? ----------------------------------------

typedef struct WbVerdict {
    bool ran, failed;
    uint64_t compared;                     // values
    double worst;                          // largest NMSE of these
    double error, allowed;                 // of a failure: NMSE; infinite where there is nothing to compare with
    IrOpRef op;                            // the first operation that gives another value; 0: none in particular
    char what[160];                        // "": the operation's value; else what of it ("state \"blk.0.k\"", "result logits")
} WbVerdict;

// One pass over one graph.
typedef struct WbRecord {
    const char *step, *graph;
    const char *file;                      // of a loaded pass; else NULL
    double seconds;
    uint32_t fired, missed;
    HD_VEC(WbEvent) events;
    HdBuf diff;                            // a unified diff of the graph's text; empty: unchanged
    WbCost before[WB_CLASS_COUNT], after[WB_CLASS_COUNT];   // of the classes that the graph is run for: @model for all
    bool costed[WB_CLASS_COUNT];
    WbVerdict verdict;
    const char *wrong;                     // of a failure: the operation, as in the diff, and its layer; "": none in particular
    const char *culprit;                   // of a failure under `bisect`: "rewrite 3 of 24, matmul-epilogue at %28 = linear (layer 0)"; NULL: none alone
} WbRecord;

// What a step is once it is compiled: a group may have become several launches.
typedef struct WbStep {
    const char *graph;
    double tokens, launches, stages, bytes, flops, arena;
} WbStep;

typedef struct WbReport {
    HdArena arena;
    const WbOptions *options;
    const IrTarget *target;
    HdBuf pipeline;                        // with all options
    HD_VEC(WbRecord) records;
    HD_VEC(WbStep) steps;                  // with `cost`, where nothing is left to do before code generation, which the caller asks
    IrBinding at[WB_CLASS_COUNT];          // what costs are for
    uint32_t fired[RULE_MOST], missed[RULE_MOST][MISSED_MOST];   // over the graphs that are reported
    struct WbAlbum *album;                 // NULL: no pictures
} WbReport;

// Runs the pipeline of `config`, whose callbacks are the workbench's own, and records. The report is to be freed also after an error; it refers to `options` and
// to the configuration's target.
HD_MUST_USE HdStatus *wb_run(IrModule *module, const PassConfig *config, const WbOptions *options, WbReport *out_report);
// The first failure of `verify` as a status (MISMATCH); NULL: there is none.
HD_MUST_USE HdStatus *wb_verified(const WbReport *report);
// The report of no pass at all: what the graphs cost as they are.
void wb_look(const IrModule *module, const WbOptions *options, WbReport *report);
void wb_report_free(WbReport *report);

// Weights by name, of the size that models have; the same for the same name.
IrWeights wb_random_weights(void);

// ---- explain.c ---------------------------------------------------------------------------------------------------

// USAGE when `only` names no node and no rule.
HD_MUST_USE HdStatus *wb_check_explain(const char *only);
bool wb_explains(const WbOptions *options, const WbEvent *event);
// "RULE" or "RULE:N": has it fired N times (once)? MISMATCH, with the reasons why it did not, when it has not; USAGE when there is no such rule.
HD_MUST_USE HdStatus *wb_check_requires(const char *const *requires, size_t count);
HD_MUST_USE HdStatus *wb_require(const uint32_t fired[RULE_MOST], const uint32_t missed[RULE_MOST][MISSED_MOST], const char *const *requires, size_t count);

// ---- diff.c ------------------------------------------------------------------------------------------------------

// Appends a unified diff with three lines of context; nothing when the texts are equal.
void wb_diff(HdStr before, HdStr after, const char *before_name, const char *after_name, HdBuf *out_text);

// ---- report.c: what was recorded, for people and for programs ----------------------------------------------------

typedef struct WbPrint { bool timing, colour; } WbPrint;
void wb_print_text(const WbReport *report, const WbPrint *print, HdBuf *out_text);
void wb_print_json(const WbReport *report, const WbPrint *print, HdBuf *out_text);
// "key": {"launches": .., "bytes_read": .., ..}
void wb_print_cost_json(const char *key, const WbCost *cost, HdBuf *out_text);

// ---- picture.c: the graphs between passes, as data for the page --------------------------------------------------

// Called before and after a pass over a graph, with the names that its record in the report has, and for each event between.
void wb_picture_before(WbReport *report, const IrGraph *graph, const IrNames *names);
void wb_picture_event(WbReport *report, const PassEvent *event);
void wb_picture_after(WbReport *report, const IrGraph *graph, const IrNames *names, const WbRecord *record);
void wb_pictures_free(WbReport *report);
// Appends the pictures as a JSON array; what is in it is told at the head of page/data.js.
void wb_print_pictures(const WbReport *report, HdBuf *out_json);

// ---- html.c, dot.c -----------------------------------------------------------------------------------------------

// One page that needs nothing else, of a report with pictures; `name`: of what was read.
void wb_print_html(const WbReport *report, const char *name, HdBuf *out_page);
// The graphs of a module for Graphviz: one digraph, a cluster for each graph, and in it one for each group.
void wb_print_dot(const IrModule *module, HdBuf *out_text);

// ---- slice.c -----------------------------------------------------------------------------------------------------

// Leaves of @model layers first .. end-1 of its trunk, and what is before and behind the trunk: what entered layer 0 enters layer `first`, and what left the last layer
// leaves layer end-1. USAGE when there are no such layers; UNSUPPORTED when more than one value goes from layer to layer.
HD_MUST_USE HdStatus *wb_slice_layers(IrGraph *graph, int32_t first, int32_t end);

// ---- describe.c --------------------------------------------------------------------------------------------------

// What there is to say of a pass, with its example worked; NULL: the list of passes and the default pipelines. USAGE when there is no such pass.
HD_MUST_USE HdStatus *wb_describe(const char *pass, bool colour, HdBuf *out_text);

#endif
