// SPDX-License-Identifier: Apache-2.0
// The graph IR: graph.h has graphs and what passes do with them; here are modules, the text form, the reference interpreter and cost.
#ifndef HEDDLE_IR_H
#define HEDDLE_IR_H

#include "ir/graph.h"
#include "runtime/base/base.h"

// ---- modules (graph.c) ---------------------------------------------------------------------------------------

typedef struct IrKey { const char *key, *value; } IrKey;
struct IrModule {
    HdArena arena;                   // names
    HdMap names;                     // of ir_intern: text to index in `texts`
    HD_VEC(const char *) texts;
    const char *name;
    HD_VEC(IrKey) keys;
    HD_VEC(IrGraph *) graphs;
};

IrModule *ir_module_new(const char *name);
void ir_module_free(IrModule *module);                       // with all graphs; NULL is fine
void ir_module_set_key(IrModule *module, const char *key, const char *value);   // replaces
IrGraph *ir_graph_new(IrModule *module, const char *name);
IrGraph *ir_graph_find(const IrModule *module, const char *name);   // NULL when absent
IrGraph *ir_graph_clone(const IrGraph *graph, const char *name);    // into the same module
void ir_graph_remove(IrModule *module, IrGraph *graph);
IrGraph *ir_graph_copy(const IrGraph *graph);                // with the same name, in no module's list
void ir_graph_free(IrGraph *graph);                          // a copy; NULL is fine

// ---- print.c, parse.c ----------------------------------------------------------------------------------------
void ir_print_module(const IrModule *module, HdBuf *out_text);
// The names that a graph's values have in print. They stay while the graph changes, and ir_names_update numbers what is new behind them: two prints by
// the same names differ only where the graph does.
typedef struct IrNames IrNames;
IrNames *ir_names_new(const IrGraph *graph);
void ir_names_free(IrNames *names);                          // NULL is fine
void ir_names_update(IrNames *names);                        // after the graph has changed
void ir_names_follow(IrNames *names, const IrGraph *graph);  // goes on with what a copy of the graph has become
void ir_names_graph(const IrNames *names, HdBuf *out_text);
void ir_names_value(const IrNames *names, IrValue value, HdBuf *out_text);   // "%none" for one that is newer than the names
void ir_names_op(const IrNames *names, IrOpRef op, HdBuf *out_text);         // "%7 = rms_norm"; without results "kv_append %6, %s0, %segments"
// Errors begin with "name:line:column: ".
HD_MUST_USE HdStatus *ir_parse_module(const char *name, HdStr text, IrModule **out_module);

// ---- interp.c: the reference interpreter ---------------------------------------------------------------------
// Runs a graph at any stage: float32 values, float64 sums. Slow and obvious.

// Gives row-major float32 values of weight `name`, rows begin..end-1 of its flattened leading dimensions. The graph takes a row to
// have `columns` values; rows of another length are an error.
typedef struct IrWeights {
    void *user;
    HdStatus *(*rows)(void *user, const char *name, uint64_t columns, uint64_t begin, uint64_t end, float *out_rows);
} IrWeights;
HdStatus *ir_weights_from_gguf(void *gguf_file, const char *name, uint64_t columns, uint64_t begin, uint64_t end, float *out_rows);   // user = GgufFile *

// The contract of quant_act, which every kernel follows bit by bit. All in float32, products and sums rounded apart. amax is the
// largest |x| of a group of 32. For top = 127, 126, 125:
//   y_i = x_i * (1 / amax * top),   value_i = y_i rounded to the nearest integer, ties to even
//   error = IR_Q8A_STEP(top) * sum of e_i^2,   e_i = y_i - value_i,   summed as e_i^2 + e_(i+16)^2, halved until one is left
// The first top of the least error counts: scale = amax / top, and the number meant is value * scale. Which grid fits a group is
// chance; the best of three has an eighth less squared error than the first. A group with amax < IR_Q8A_TINY (which keeps top / amax
// finite) has values and scale 0. One that holds an infinity or a NaN has a scale that is not finite.
enum { IR_Q8A_TOP = 127, IR_Q8A_TRIES = 3 };
#define IR_Q8A_STEP(top) (16129.0f / (float)((top) * (top)))   // (127 / top)^2
#define IR_Q8A_TINY 0x1p-100f

typedef struct IrInterp IrInterp;
// State for `slots` sequences of `context` tokens, each recurrent state with `planes` planes; zeroed.
IrInterp *ir_interp_new(const IrWeights *weights, uint32_t slots, uint32_t planes, uint32_t context);
void ir_interp_free(IrInterp *interp);
void ir_interp_reset(IrInterp *interp, uint32_t slot);
typedef struct IrCall {
    const int32_t *tokens; uint32_t token_count;         // T
    const int32_t *segments; uint32_t segment_count;     // [S, 8]: slot, first position, first token, count, plane in, plane out, 0, 0
    const int32_t *rows; uint32_t row_count;             // R
} IrCall;
// Runs graph; result `name` (f32) is read with ir_interp_result afterwards. States are kept in `interp` by name, across graphs.
HD_MUST_USE HdStatus *ir_interp_run(IrInterp *interp, const IrGraph *graph, const IrCall *call);
const float *ir_interp_result(const IrInterp *interp, const char *name, uint64_t *out_count);   // NULL when the graph has no such result
// Called after each operation with its result (as f32; i32 converted), for per-operation comparison; may be NULL. The run goes on with what it leaves in `values`
// where the result is of type f32, f16 or bf16.
typedef void (*IrTrace)(void *user, const IrGraph *graph, IrOpRef op, uint32_t result, float *values, uint64_t count);
void ir_interp_trace(IrInterp *interp, IrTrace trace, void *user);
// The states that runs have made: their elements, of all slots and planes; NULL behind the last.
double *ir_interp_state(const IrInterp *interp, size_t index, const char **out_name, uint64_t *out_count);

// ---- cost.c --------------------------------------------------------------------------------------------------
typedef struct IrCost { double flops, bytes_read, bytes_written; } IrCost;
IrCost ir_op_cost(const IrGraph *graph, IrOpRef op, const IrBinding *binding);

#endif
