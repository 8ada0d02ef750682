// SPDX-License-Identifier: Apache-2.0
// Matching of operands with signatures: see rule.h for the notation.
#include "ir/rule.h"

#include <string.h>

static const char *op_name(const Rule *r) { return ir_op_info(r->build->kind)->name; }

// ---- data type classes ---------------------------------------------------------------------------------------

#define BIT(dtype) (1ull << IR_##dtype)
static const uint64_t every = (1ull << IR_DTYPE_COUNT) - 1;

static const struct { const char *name; uint64_t mask; } classes[] = {
    {"act", BIT(F32) | BIT(BF16) | BIT(Q8A)},       // what a matrix product multiplies
    {"cache", BIT(F32) | BIT(F16)},                 // what a KV cache is kept in
    {"weight", ~(BIT(I32) | BIT(I8) | BIT(Q8A))},   // what a file stores a matrix in
};

static uint64_t class_mask(HdStr name) {
    IrDtype dtype;
    for (size_t i = 0; i < HD_COUNT(classes); i++)
        if (hd_str_is(name, classes[i].name)) return classes[i].mask & every;
    return ir_dtype_named(name, &dtype) ? 1ull << dtype : 0;
}

bool rule_is_weight(IrDtype dtype) { return class_mask(HD_STR("weight")) >> dtype & 1; }

// ---- the notation --------------------------------------------------------------------------------------------

static void skip_blanks(const char **at) {
    while (**at == ' ') ++*at;
}

static bool take(const char **at, const char *text) {
    skip_blanks(at);
    if (strncmp(*at, text, strlen(text)) != 0) return false;
    return *at += strlen(text), true;
}

static HdStr take_word(const char **at) {
    skip_blanks(at);
    size_t len = strcspn(*at, " :;,[]->");
    HdStr word = {*at, len};
    return *at += len, word;
}

// The dimension a word of a shape stands for; 0 while it is unbound.
static IrDim *var_dim(Rule *r, HdStr name) {
    for (uint32_t i = 0; i < r->var_count; i++)
        if (hd_str_eq(r->vars[i].name, name)) return &r->vars[i].dim;
    HD_ASSERT(r->var_count < RULE_VARS);
    r->vars[r->var_count].name = name;
    return &r->vars[r->var_count++].dim;
}

IrDim rule_dim(Rule *r, const char *name) { return *var_dim(r, hd_str(name)); }
void rule_bind(Rule *r, const char *name, IrDim dim) { *var_dim(r, hd_str(name)) = dim; }

typedef struct Shape {
    HdStr dtype;
    bool lead;
    uint32_t rank;
    HdStr dims[4];
} Shape;

static Shape take_shape(const char **at) {
    Shape shape = {.dtype = take_word(at)};
    HD_ASSERT(take(at, "["));
    shape.lead = take(at, "..");
    if (shape.lead) take(at, ",");
    while (!take(at, "]")) {
        HD_ASSERT(shape.rank < 4);
        shape.dims[shape.rank++] = take_word(at);
        take(at, ",");
    }
    return shape;
}

static bool dim_matches(Rule *r, HdStr pattern, IrDim dim) {
    int64_t number;
    if (hd_parse_i64(pattern, &number)) return dim == number;
    IrDim *bound = var_dim(r, pattern);
    if (*bound == 0) *bound = dim;
    return *bound == dim;
}

static bool lead_matches(Rule *r, const IrType *type, uint32_t count) {
    if (!r->lead_bound) {
        r->lead_bound = true;
        r->lead_count = count;
        memcpy(r->lead, type->dims, count * sizeof r->lead[0]);
    }
    return r->lead_count == count && memcmp(r->lead, type->dims, count * sizeof r->lead[0]) == 0;
}

static bool shape_matches(Rule *r, const Shape *shape, const IrType *type) {
    uint32_t lead = type->rank - shape->rank;
    if (!(class_mask(shape->dtype) >> type->dtype & 1) || type->rank < shape->rank || (lead && !shape->lead)) return false;
    if (shape->lead && !lead_matches(r, type, lead)) return false;
    for (uint32_t i = 0; i < shape->rank; i++)
        if (!dim_matches(r, shape->dims[i], type->dims[lead + i])) return false;
    return true;
}

// The shape as it is wanted, words that are bound replaced by what they are bound to.
static void print_shape(Rule *r, const Shape *shape, HdBuf *out_text) {
    const char *comma = "";
    hd_buf_printf(out_text, HD_STR_FMT "[%s", HD_STR_ARG(shape->dtype), shape->lead ? ".." : "");
    if (shape->lead) comma = ", ";
    for (uint32_t i = 0; i < shape->rank; i++, comma = ", ") {
        int64_t number;
        hd_buf_str(out_text, comma);
        IrDim bound = hd_parse_i64(shape->dims[i], &number) ? number : *var_dim(r, shape->dims[i]);
        if (bound) ir_print_dim(r->graph, bound, out_text);
        else hd_buf_bytes(out_text, shape->dims[i].data, shape->dims[i].len);
    }
    hd_buf_str(out_text, "]");
}

HdStatus *rule_operand_error(const Rule *r, uint32_t index, HdStr role, const char *wanted) {
    HdBuf have = {0};
    ir_print_type(r->graph, &r->in[index], &have);
    HdStatus *status = hd_error(HD_BAD_DATA, "%s: operand %u (" HD_STR_FMT ") is %s, must be %s", op_name(r), index,
                                HD_STR_ARG(role), have.data, wanted);
    hd_buf_free(&have);
    return status;
}

static HdStatus *match_operand(Rule *r, uint32_t index, HdStr role, const Shape *shape) {
    Rule before = *r;
    if (shape_matches(r, shape, &r->in[index])) return NULL;
    *r = before;
    HdBuf wanted = {0};
    print_shape(r, shape, &wanted);
    HdStatus *status = rule_operand_error(r, index, role, wanted.data);
    hd_buf_free(&wanted);
    return status;
}

// Matches the operands from `first` on against "role: shape; role: shape" and returns where the text stops.
HdStatus *rule_match_from(Rule *r, uint32_t first, const char **at) {
    for (uint32_t index = first; **at && !take(at, "->"); index++) {
        HdStr role = take_word(at);
        HD_ASSERT(take(at, ":") && index < r->build->operand_count);
        Shape shape = take_shape(at);
        HD_TRY(match_operand(r, index, role, &shape));
        take(at, ";");
        skip_blanks(at);
    }
    return NULL;
}

HdStatus *rule_match(Rule *r, const char *signature) { return rule_match_from(r, 0, &signature); }

static void add_result(Rule *r, const Shape *shape) {
    IrType *out = &r->out[(*r->out_count)++];
    *out = (IrType){.rank = (shape->lead ? r->lead_count : 0) + shape->rank};
    HD_ASSERT(ir_dtype_named(shape->dtype, &out->dtype) && out->rank <= 4);
    if (shape->lead) memcpy(out->dims, r->lead, r->lead_count * sizeof r->lead[0]);
    for (uint32_t i = 0; i < shape->rank; i++) {
        int64_t number;
        out->dims[out->rank - shape->rank + i] = hd_parse_i64(shape->dims[i], &number) ? number : *var_dim(r, shape->dims[i]);
    }
}

void rule_give(Rule *r, const char *results) {
    do {
        Shape shape = take_shape(&results);
        add_result(r, &shape);
    } while (take(&results, ","));
}

// A whole signature with results.
HdStatus *rule_apply(Rule *r, const char *signature) {
    HD_TRY(rule_match_from(r, 0, &signature));
    rule_give(r, signature);
    return NULL;
}

// ---- new dimensions, errors

// Binds `name` to the dimension with this expression, adding it to the graph where that is allowed.
HdStatus *rule_bind_expr(Rule *r, const char *name, const IrExpr *expr) {
    IrDim dim;
    if (!ir_dim_find(r->graph, expr, &dim)) {
        if (!r->grow) {
            HdBuf text = {0};
            ir_print_expr(expr, &text);
            HdStatus *status = rule_error(r, "the graph has no dimension %s = %s", name, text.data);
            hd_buf_free(&text);
            return status;
        }
        dim = ir_dim(r->grow, name, expr);
    }
    return rule_bind(r, name, dim), NULL;
}

HdStatus *rule_error(const Rule *r, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    HdStatus *status = hd_verror(HD_BAD_DATA, fmt, args);
    va_end(args);
    return hd_annotate(status, "%s", op_name(r));
}

