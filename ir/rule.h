// SPDX-License-Identifier: Apache-2.0
// The notation in which types.c writes the types of operands and results. Private to the IR.
//
//   "q: f32[T, H, d]; k: cache[C, G, d] -> f32[T, H, d]"
//
// gives each operand a role, the data types it may have and its shape. A data type is one of dtypes.def or a class (act,
// cache, weight). A word in a shape stands for one dimension and is bound by its first appearance; a number stands for
// itself; a leading `..` stands for any further leading dimensions, bound by the first operand that has them. Results
// follow `->`. Symbolic dimensions are equal when their IrDim is.
#ifndef HEDDLE_IR_RULE_H
#define HEDDLE_IR_RULE_H

#include "ir/ir_internal.h"

enum { RULE_VARS = 12 };

typedef struct Rule {
    const IrGraph *graph;
    IrGraph *grow;                          // where new dimensions may be added; NULL: nowhere
    const IrBuild *build;
    IrType in[32], *out;
    uint32_t *out_count;
    IrAttrValue attr[IR_ATTR_COUNT];
    struct { HdStr name; IrDim dim; } vars[RULE_VARS];
    uint32_t var_count;
    uint32_t lead_count;                    // of `..`
    IrDim lead[4];
    bool lead_bound;
} Rule;

// Matches operands first, first + 1, .. with "role: shape; role: shape" and returns where the text stopped.
HD_MUST_USE HdStatus *rule_match_from(Rule *rule, uint32_t first, const char **at);
HD_MUST_USE HdStatus *rule_match(Rule *rule, const char *operands);
void rule_give(Rule *rule, const char *results);                          // "f32[T, k], i32[T, k]"
HD_MUST_USE HdStatus *rule_apply(Rule *rule, const char *signature);      // operands -> results

// The dimension that a word stands for; 0 while unbound. Words live as long as the rule runs.
IrDim rule_dim(Rule *rule, const char *name);
void rule_bind(Rule *rule, const char *name, IrDim dim);
// Binds `name` to the dimension with this expression, adding it to the graph where that is allowed.
HD_MUST_USE HdStatus *rule_bind_expr(Rule *rule, const char *name, const IrExpr *expr);

bool rule_is_weight(IrDtype dtype);                                       // what a file stores a matrix in
// "linear: ..." and "linear: operand 1 (w) is f32[3], must be ...".
HD_MUST_USE HdStatus *rule_error(const Rule *rule, const char *fmt, ...) HD_PRINTF(2, 3);
HD_MUST_USE HdStatus *rule_operand_error(const Rule *rule, uint32_t index, HdStr role, const char *wanted);

#endif
