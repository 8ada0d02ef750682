// SPDX-License-Identifier: Apache-2.0
// What the files of the IR share among themselves and nobody else sees.
#ifndef HEDDLE_IR_INTERNAL_H
#define HEDDLE_IR_INTERNAL_H

#include "ir/ir.h"

// Dimensions, coefficients and divisors stay within this, so that sums of a few products never overflow silently.
#define IR_DIM_MAX ((int64_t)1 << 40)

// ---- dims.c --------------------------------------------------------------------------------------------------
// Sums and products of expressions. They bring the result into canonical form (no zero terms, ceil(s/1) = s, equal
// ceils merged, ceils by symbol then divisor) and are false when it cannot be written as an IrExpr.
IrExpr ir_expr_number(int64_t value);
IrExpr ir_expr_base(uint32_t symbol);
bool ir_expr_canonical(IrExpr *expr);
bool ir_expr_add(IrExpr *sum, const IrExpr *term);
bool ir_expr_scale(IrExpr *expr, int64_t factor);
bool ir_expr_ceil_div(const IrExpr *of, int64_t div, IrExpr *out_expr);
bool ir_expr_eq(const IrExpr *a, const IrExpr *b);
// Largest number that divides every term; `expr` is divided by it.
int64_t ir_expr_take_factor(IrExpr *expr);
// The dimension that has this canonical expression already; false when the graph has none.
bool ir_dim_find(const IrGraph *graph, const IrExpr *expr, IrDim *out_dim);
// a * b and a + b for non-negative numbers, INT64_MAX where they would overflow.
int64_t ir_sat_mul(int64_t a, int64_t b);
int64_t ir_sat_add(int64_t a, int64_t b);

// ---- types.c -------------------------------------------------------------------------------------------------
// Rank, dimensions, and a last dimension that whole blocks of the data type fill.
HD_MUST_USE HdStatus *ir_check_type(const IrGraph *graph, const IrType *type);
// Which state operand `index` of such an operation must be; IR_STATE_COUNT when it must be an ordinary value.
IrStateKind ir_state_operand(IrOpKind kind, uint32_t index);
// ir_infer that may add the dimensions which a rule makes (chunk rows E, plan words P); `grow` NULL: they must be there.
HD_MUST_USE HdStatus *ir_infer_in(const IrGraph *graph, IrGraph *grow, const IrBuild *build, IrType out_types[8],
                                  uint32_t *out_count);
// As an ordinary check of a value without an operation: the type that an input or a state of this kind must have.
HD_MUST_USE HdStatus *ir_check_source(const IrGraph *graph, const IrValueData *value);

// ---- uses.c --------------------------------------------------------------------------------------------------
void ir_add_user(IrGraph *graph, IrValue value, IrOpRef op);
void ir_remove_user(IrGraph *graph, IrValue value, IrOpRef op);          // one entry

// ---- print.c -------------------------------------------------------------------------------------------------
extern const char *const ir_input_names[IR_INPUT_COUNT];   // "tokens", ..: as in `input tokens` and %tokens
extern const char *const ir_state_names[IR_STATE_COUNT];   // "kv", ..
void ir_print_dim(const IrGraph *graph, IrDim dim, HdBuf *out_text);
// "%7 = rms_norm", or "kv_append %6, %s0, %segments" without results: the names that ir_print_graph gives.
void ir_print_op_label(const IrGraph *graph, IrOpRef op, HdBuf *out_text);
void ir_print_value(const IrGraph *graph, IrValue value, HdBuf *out_text);
// Letter or underscore, then letters, digits, underscores, dots: what is printed without quotes.
bool ir_is_word(HdStr text);

#endif
