// SPDX-License-Identifier: Apache-2.0
// --verify: does a graph still give the values that it gave before a pass? Private to the workbench.
//
// Each value of the graph before is kept. When the graph after is run, every value that stands for one of these (it is the same, or its heir) is compared and then set
// to what it was: an operation is judged by right operands, so the first that is wrong is the one that was made wrong.
#ifndef HEDDLE_WORKBENCH_VERIFY_H
#define HEDDLE_WORKBENCH_VERIFY_H

#include "passes/workbench/workbench.h"

typedef struct WbTrace WbTrace;
// Runs the graph, as it is before a step, over calls that fit its step class, from zeroed state; `calls_of` (NULL: the graph itself) says whose class.
HD_MUST_USE HdStatus *wb_trace_new(const IrGraph *graph, const IrGraph *calls_of, const PassStep *step, const IrWeights *weights, WbTrace **out_trace);
void wb_trace_free(WbTrace *trace);                // NULL is fine
// Runs `graph`, of the same values or their heirs, over the same calls. tolerance: the largest NMSE allowed; 0: all bits are equal. An error is a failure too.
WbVerdict wb_trace_compare(const WbTrace *trace, const IrGraph *graph, double tolerance);
// How far values may be from what they were behind this pass.
double wb_tolerance(const PassStep *step, const IrGraph *after);
// ---- bisect.c ----

typedef struct WbSuspect {
    const IrGraph *before;                 // what the pass had
    const PassStep *step;
    const PassConfig *config;              // target, and what runs in place of built-in passes
    const WbTrace *trace;                  // what the graph gave; NULL: it is the verifier that finds it wrong
    double tolerance;
    const char *message;                   // of the verifier; what else it says of a graph on which the pass is not done yet does not count
} WbSuspect;
// Appends "rewrite 3 of 24, matmul-epilogue at %28 = linear (layer 0)"; nothing where it is no rewrite that makes the graph wrong.
void wb_find_rewrite(const WbSuspect *suspect, HdBuf *out_text);

#endif
