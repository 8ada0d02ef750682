// SPDX-License-Identifier: Apache-2.0
// The graph IR: typed values in SSA form, operations from ops.def, symbolic dimensions, states and weights by name.
//
// Values, operations and symbols are 32-bit indices into arrays of the graph (never pointers), so arrays may grow and
// graphs may be copied. The text form (.hir) is canonical: ir_print(ir_parse(x)) == x for everything printed.
//
//   module "qwen35" {
//     key "name" = "text"                                     metadata that later stages and the runtime need
//     graph @prefill {                                        one per step class; @model before specialise; @load packs weights
//       dim E = 64*S + 64*ceil(T/64)                           named dimensions over T, S, C, R
//       arena 123456                                           after plan-memory
//       %tokens = input tokens : i32[T]
//       %w0 = weight "blk.0.attn_norm.weight" : f32[128]
//       %s0 = state "blk.0.k" kv : f32[C, 2, 64]
//       %0 = embed %tokens, %w1 : f32[T, 128]
//       %1 = rms_norm %0, %w0 {eps = 1e-06} : f32[T, 128] at 4096 stage 2 layer 0
//       %2, %3 = topk %1 {k = 4} : f32[T, 4], i32[T, 4]
//       %4 = fused %1, %2 {kind = rowwise} (%a0: f32[T, 128], %a1: f32[T, 4]) {
//         %b0 = ...
//         yield %b0
//       } : f32[T, 128]
//       return logits = %4
//     }
//   }
//
// This header is what passes see (ir.h has the rest). It is installed, as is what it includes, and so includes relative to itself.
#ifndef HEDDLE_GRAPH_H
#define HEDDLE_GRAPH_H

#include "../runtime/base/core.h"

// ---- tables (dtypes.c) ---------------------------------------------------------------------------------------

typedef enum IrDtype {
#define IR_DTYPE(name, text, ggml, block, bytes) IR_##name,
#include "dtypes.def"
#undef IR_DTYPE
    IR_DTYPE_COUNT
} IrDtype;

typedef enum IrLayout {
#define IR_LAYOUT(name, text, doc) IR_LAYOUT_##name,
#include "layouts.def"
#undef IR_LAYOUT
    IR_LAYOUT_COUNT
} IrLayout;

typedef enum IrAttrId {
#define IR_ATTR(name, text, kind, doc) IR_ATTR_##name,
#include "attrs.def"
#undef IR_ATTR
    IR_ATTR_COUNT
} IrAttrId;

typedef enum IrAttrKind { IR_ATTR_KIND_INT, IR_ATTR_KIND_F32, IR_ATTR_KIND_DTYPE, IR_ATTR_KIND_LAYOUT, IR_ATTR_KIND_NAME } IrAttrKind;

typedef enum IrOpKind {
#define IR_OP(name, text, min, max, results, effect, numerics, role, attrs, doc) IR_OP_##name,
#include "ops.def"
#undef IR_OP
    IR_OP_COUNT
} IrOpKind;

typedef enum IrEffect { IR_EFFECT_PURE = 0, IR_EFFECT_READ = 1, IR_EFFECT_WRITE = 2, IR_EFFECT_UPDATE = 3 } IrEffect;
typedef enum IrNumerics { IR_NUMERICS_EXACT, IR_NUMERICS_ORDERED, IR_NUMERICS_BOUNDED } IrNumerics;
typedef enum IrRole { IR_ROLE_NONE, IR_ROLE_ELEMENTWISE, IR_ROLE_REDUCE, IR_ROLE_VIEW, IR_ROLE_CONTRACT, IR_ROLE_SPECIAL } IrRole;

typedef struct IrDtypeInfo { const char *name; int ggml; uint32_t block, block_bytes; } IrDtypeInfo;
typedef struct IrAttrInfo { const char *name; IrAttrKind kind; const char *doc; } IrAttrInfo;
typedef struct IrOpInfo {
    const char *name;                         // as printed
    uint8_t min_operands, max_operands, results;   // results 0: as many as the operation was built with
    IrEffect effect;
    IrNumerics numerics;
    IrRole role;
    uint32_t attrs;                           // bit IR_ATTR_x: must be present; no others may
    const char *doc;
} IrOpInfo;

const IrDtypeInfo *ir_dtype_info(IrDtype dtype);
int64_t ir_dtype_row_bytes(IrDtype dtype, int64_t columns);   // of a row as it lies in the file; whole blocks
bool ir_dtype_splits(IrDtype dtype);                      // has layout split: blocks whose size is no multiple of 4 bytes
const IrAttrInfo *ir_attr_info(IrAttrId attr);
const IrOpInfo *ir_op_info(IrOpKind kind);
const char *ir_layout_name(IrLayout layout);
bool ir_dtype_named(HdStr name, IrDtype *out_dtype);
bool ir_layout_named(HdStr name, IrLayout *out_layout);
bool ir_op_named(HdStr name, IrOpKind *out_kind);
bool ir_attr_named(HdStr name, IrAttrId *out_attr);
bool ir_dtype_from_ggml(uint32_t ggml_id, IrDtype *out_dtype);
// Largest NMSE that a kernel of a BOUNDED operation may show against the interpreter (at most four times the measured one).
double ir_op_bound(IrOpKind kind);

// How attention.spans splits `seen` positions: spans of this length, the last ones shorter or empty. A multiple of 32 at all lengths, so that
// a short context is not cut into crumbs.
enum { IR_MOST_SPANS = 64 };
enum { IR_MOST_RUNS = 1 << 24 };   // of a row of top_runs: numbers that a float32 holds
static inline int64_t ir_span_length(int64_t seen, int64_t spans) { return (seen + 32 * spans - 1) / (32 * spans) * 32; }
#define IR_NO_SCORE (-1e30)   // below every score: the largest of an empty span

// ---- dimensions (dims.c) -------------------------------------------------------------------------------------
// A dimension is a number (>= 0) or a symbol (< 0, see ir_sym). Symbols 0..3 are T (tokens in this call), S (segments),
// C (context capacity of the session) and R (rows whose logits are wanted); others are expressions over these.

typedef int64_t IrDim;
enum { IR_SYM_T, IR_SYM_S, IR_SYM_C, IR_SYM_R, IR_SYM_BASE_COUNT };
#define IR_DIM_T ir_sym(IR_SYM_T)
#define IR_DIM_S ir_sym(IR_SYM_S)
#define IR_DIM_C ir_sym(IR_SYM_C)
#define IR_DIM_R ir_sym(IR_SYM_R)
static inline IrDim ir_sym(uint32_t symbol) { return -(IrDim)symbol - 1; }
static inline bool ir_dim_is_sym(IrDim dim) { return dim < 0; }
static inline uint32_t ir_dim_sym(IrDim dim) { return (uint32_t)(-dim - 1); }

// constant + sum of coef[s] * s + sum of ceil_coef[i] * ceil(sym[i] / div[i]); printed terms in this order.
typedef struct IrExpr {
    int64_t constant, coef[IR_SYM_BASE_COUNT];
    uint32_t ceils;                                  // how many of the following, at most 2
    struct { int64_t coef, div; uint32_t sym; } ceil[2];
} IrExpr;
typedef struct IrBinding { int64_t value[IR_SYM_BASE_COUNT]; } IrBinding;   // T, S, C, R of one call
int64_t ir_expr_eval(const IrExpr *expr, const IrBinding *binding);

typedef struct IrType { IrDtype dtype; IrLayout layout; uint32_t rank; IrDim dims[4]; } IrType;   // dims: slowest first; rank 1..4
static inline IrDim ir_type_last(const IrType *type) { return type->dims[type->rank - 1]; }
bool ir_type_eq(const IrType *a, const IrType *b);

// ---- the graph (graph.c) -------------------------------------------------------------------------------------

typedef uint32_t IrValue;    // 0 is none
typedef uint32_t IrOpRef;    // 0 is none
typedef uint32_t IrBlock;    // 0 is the graph's body; others are regions of fused operations
typedef HD_VEC(IrOpRef) IrOpRefs;

typedef enum IrInputKind { IR_INPUT_TOKENS, IR_INPUT_SEGMENTS, IR_INPUT_ROWS, IR_INPUT_ROPE, IR_INPUT_COUNT } IrInputKind;   // i32[T], i32[S, 8], i32[R], f32[T, n]
typedef enum IrStateKind { IR_STATE_KV, IR_STATE_CONV, IR_STATE_DELTA, IR_STATE_COUNT } IrStateKind;   // append-only [C, ..]; recurrent, with planes

typedef enum IrValueKind { IR_VALUE_RESULT, IR_VALUE_ARG, IR_VALUE_INPUT, IR_VALUE_WEIGHT, IR_VALUE_STATE } IrValueKind;
typedef struct IrValueData {
    IrValueKind kind;
    IrType type;
    IrOpRef op;              // RESULT: its operation, and which result
    uint32_t index;          // RESULT, ARG: position; INPUT: IrInputKind; STATE: IrStateKind
    IrBlock block;           // ARG: the region; RESULT: where its operation stands
    const char *name;        // WEIGHT, STATE: the name in the file or module; else NULL
    float theta;             // INPUT rope: base frequency; 0 elsewhere
    int64_t offset;          // byte offset in the arena after plan-memory; -1: not placed
    IrValue heir;            // what took its place when a pass replaced it, or its copy in a region; 0: none. Who compares graphs follows these
} IrValueData;

typedef union IrAttrValue { int64_t i; float f; IrDtype dtype; IrLayout layout; const char *name; } IrAttrValue;
typedef struct IrOp {
    IrOpKind kind;
    IrBlock block, region;           // region: only of `fused`
    IrOpRef prev, next;              // in its block; of an erased one, prev is the operation before it as it was erased
    uint64_t order;                  // rises along the block
    uint32_t operand_count, result_count;
    IrValue operands[32];
    IrValue results[8];
    uint32_t attr_mask;
    IrAttrValue attr[IR_ATTR_COUNT];
    int32_t layer;                   // trunk layer it belongs to; -1: none
    int32_t stage;                   // after schedule; -1 before
    bool dead;                       // erased; skipped by iteration
} IrOp;

typedef struct IrBlockData { IrOpRef first, last, parent; HD_VEC(IrValue) args, yields; } IrBlockData;
typedef struct IrResult { const char *name; IrValue value; } IrResult;   // "logits", "hidden.3"

typedef struct IrModule IrModule;
typedef struct IrSymbol { const char *name; IrExpr expr; } IrSymbol;
typedef struct IrGraph {
    IrModule *module;
    const char *name;                // "model", "decode", "small", "prefill", "load"
    HD_VEC(IrSymbol) syms;      // 0..3: T S C R
    HD_VEC(IrValueData) values;      // 0 unused
    HD_VEC(IrOpRefs) users;          // by value: see ir_users
    HD_VEC(IrOp) ops;                // 0 unused
    HD_VEC(IrBlockData) blocks;      // 0: the body
    HD_VEC(IrResult) results;
    int64_t arena_bytes;             // after plan-memory; -1 before
    int32_t layer;                   // given to new operations; -1: none
} IrGraph;

const char *ir_module_key(const IrModule *module, const char *key);             // NULL when absent
const char *ir_intern(IrModule *module, HdStr text);         // equal texts give equal pointers

// The dimension with this expression: a number or T, S, C, R where it is one; else the symbol called `name` (added when new; a name
// that exists with another expression gets a numeric suffix).
IrDim ir_dim(IrGraph *graph, const char *name, const IrExpr *expr);
IrExpr ir_dim_expr(const IrGraph *graph, IrDim dim);
int64_t ir_dim_eval(const IrGraph *graph, IrDim dim, const IrBinding *binding);
int64_t ir_dim_most(const IrGraph *graph, IrDim dim);       // the most it can be in this graph (ir_graph_bound); 0: not known
// The largest T, S, C and R that the graph is made for: module key "bounds.<graph>" = "T S C R", made by specialise. False, with *out_bound unchanged,
// when the key is missing or is not four positive numbers (which the verifier refuses).
bool ir_graph_bound(const IrGraph *graph, IrBinding *out_bound);
int64_t ir_type_elements(const IrGraph *graph, const IrType *type, const IrBinding *binding);
int64_t ir_type_bytes(const IrGraph *graph, const IrType *type, const IrBinding *binding);   // native layout; Q8A included

// Values without an operation. Asking again for the same weight (name, layout), state or input gives the same value.
IrValue ir_input(IrGraph *graph, IrInputKind kind, IrType type, float theta);
IrValue ir_weight(IrGraph *graph, const char *name, IrType type);
IrValue ir_state(IrGraph *graph, IrStateKind kind, const char *name, IrType type);
IrValueData *ir_value(const IrGraph *graph, IrValue value);  // valid until a value is added
IrOp *ir_op(const IrGraph *graph, IrOpRef op);               // valid until an operation is added
// What a value of a region stands for: of an argument the operand of the fused operation, 0 while that is not built; others stand for themselves.
IrValue ir_source(const IrGraph *graph, IrValue value);

// Builds an operation. `attrs` is a list of (id, value) ended by count. Result types come from the type rule; a `reshape` takes the type
// from `given` (else NULL). Where a rule fails, `*out_status` is the error and 0 comes back.
typedef struct IrAttr { IrAttrId id; IrAttrValue value; } IrAttr;
typedef struct IrBuild {
    IrOpKind kind;
    const IrValue *operands; uint32_t operand_count;
    const IrAttr *attrs; uint32_t attr_count;
    const IrType *given;             // reshape: result type; fused: result types (NULL: those of the region's yields)
    uint32_t given_count;
    IrBlock region;                  // fused: its region, filled or still to be filled
    IrBlock block; IrOpRef before;   // 0: at the end of the block
} IrBuild;
IrOpRef ir_build(IrGraph *graph, const IrBuild *build, HdStatus **out_status);
// For code that knows its types to be right: aborts with the rule's text when they are not. Appends to the body.
IrValue ir_op1(IrGraph *graph, IrOpKind kind, uint32_t operand_count, const IrValue *operands, uint32_t attr_count, const IrAttr *attrs);
IrBlock ir_block_new(IrGraph *graph);                        // an empty region, to be given to a fused operation
IrValue ir_block_arg(IrGraph *graph, IrBlock block, IrType type);

// Changing. Operands are changed by these functions only, for they keep the lists of readers.
void ir_set_operand(IrGraph *graph, IrOpRef op, uint32_t index, IrValue value);   // index operand_count: one operand more
void ir_replace_uses(IrGraph *graph, IrValue from, IrValue to);   // in operands, yields and results; `to` becomes the heir
void ir_set_heir(IrGraph *graph, IrValue value, IrValue heir);    // behind the heirs that it has
void ir_erase(IrGraph *graph, IrOpRef op);                   // its results must be unused
void ir_move_before(IrGraph *graph, IrOpRef op, IrOpRef before);   // same block; before 0: to the end
void ir_move_to_block(IrGraph *graph, IrOpRef op, IrBlock block);  // appended there
uint32_t ir_use_count(const IrGraph *graph, IrValue value);  // as operand, yield and result
// The operations that read a value, once for each operand, in no order. Valid until the graph changes.
const IrOpRefs *ir_users(const IrGraph *graph, IrValue value);
bool ir_is_before(const IrGraph *graph, IrOpRef a, IrOpRef b);   // of two operations in one block
IrEffect ir_op_effect(const IrGraph *graph, const IrOp *op); // of a fused operation: of its region
#define IR_FOR_OPS(graph, block_, ref) for (IrOpRef ref = (graph)->blocks.data[block_].first; ref; ref = ir_op(graph, ref)->next)

// ---- types.c: the type rules -----------------------------------------------------------------------------------
// Checks operand types and attributes and gives the result types. The error names the operation and what is wrong with which operand.
HD_MUST_USE HdStatus *ir_infer(const IrGraph *graph, const IrBuild *build, IrType out_types[8], uint32_t *out_count);

// ---- print.c, verify.c ---------------------------------------------------------------------------------------
void ir_print_graph(const IrGraph *graph, HdBuf *out_text);
void ir_print_type(const IrGraph *graph, const IrType *type, HdBuf *out_text);
void ir_print_attrs(const IrOp *op, HdBuf *out_text);                            // " {eps = 1e-06}"; nothing where it has none
void ir_print_source(const IrGraph *graph, IrValue value, HdBuf *out_text);      // of a value without an operation: "weight \"blk.0.attn_norm.weight\" : f32[128]"
void ir_print_expr(const IrExpr *expr, HdBuf *out_text);                         // "64*S + 64*ceil(T/64)"
// SSA dominance, types by the rules, attributes, regions, single definition, states used by the right operations, placements and stages
// where present (live ranges of placed values do not overlap; producers in earlier stages than consumers).
HD_MUST_USE HdStatus *ir_verify(const IrGraph *graph);

#endif
