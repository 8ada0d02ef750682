// SPDX-License-Identifier: Apache-2.0
// Dimensions: canonical expressions over T, S, C and R, and the table of named ones in a graph. Because expressions
// are canonical and each has one symbol, two dimensions are equal exactly when their IrDim is.
#include "ir/ir_internal.h"

#include <string.h>

int64_t ir_sat_mul(int64_t a, int64_t b) {
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

int64_t ir_sat_add(int64_t a, int64_t b) {
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

// ---- expressions ---------------------------------------------------------------------------------------------

IrExpr ir_expr_number(int64_t value) { return (IrExpr){.constant = value}; }

IrExpr ir_expr_base(uint32_t symbol) {
    IrExpr expr = {0};
    expr.coef[symbol] = 1;
    return expr;
}

static bool in_range(int64_t value) { return value >= -IR_DIM_MAX && value <= IR_DIM_MAX; }

static bool add_in_range(int64_t *sum, int64_t term) {
    if (!in_range(*sum) || !in_range(term) || !in_range(*sum + term)) return false;
    return *sum += term, true;
}

static bool add_ceil(IrExpr *expr, int64_t coef, int64_t div, uint32_t sym) {
    if (!in_range(coef) || div < 1 || div > IR_DIM_MAX || sym >= IR_SYM_BASE_COUNT) return false;
    if (coef == 0) return true;
    if (div == 1) return add_in_range(&expr->coef[sym], coef);
    for (uint32_t i = 0; i < expr->ceils; i++)
        if (expr->ceil[i].div == div && expr->ceil[i].sym == sym) return add_in_range(&expr->ceil[i].coef, coef);
    if (expr->ceils == HD_COUNT(expr->ceil)) return false;
    expr->ceil[expr->ceils].coef = coef;
    expr->ceil[expr->ceils].div = div;
    expr->ceil[expr->ceils++].sym = sym;
    return true;
}

static void drop_zero_ceils(IrExpr *expr) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < expr->ceils; i++)
        if (expr->ceil[i].coef) expr->ceil[kept++] = expr->ceil[i];
    expr->ceils = kept;
}

static bool ceils_in_order(const IrExpr *expr) {
    return expr->ceils < 2 || expr->ceil[0].sym < expr->ceil[1].sym ||
           (expr->ceil[0].sym == expr->ceil[1].sym && expr->ceil[0].div < expr->ceil[1].div);
}

bool ir_expr_add(IrExpr *sum, const IrExpr *term) {
    IrExpr out = *sum;
    if (!add_in_range(&out.constant, term->constant)) return false;
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++)
        if (!add_in_range(&out.coef[i], term->coef[i])) return false;
    for (uint32_t i = 0; i < term->ceils; i++) {
        if (!add_ceil(&out, term->ceil[i].coef, term->ceil[i].div, term->ceil[i].sym)) return false;
        drop_zero_ceils(&out);
    }
    if (!ceils_in_order(&out)) {
        IrExpr swapped = out;
        memcpy(&swapped.ceil[0], &out.ceil[1], sizeof swapped.ceil[0]);
        memcpy(&swapped.ceil[1], &out.ceil[0], sizeof swapped.ceil[0]);
        out = swapped;
    }
    return *sum = out, true;
}

bool ir_expr_canonical(IrExpr *expr) {
    if (expr->ceils > HD_COUNT(expr->ceil)) return false;
    IrExpr sum = {0};
    if (!ir_expr_add(&sum, expr)) return false;
    return *expr = sum, true;
}

static bool scale_in_range(int64_t *value, int64_t factor) {
    int64_t product;
    if (__builtin_mul_overflow(*value, factor, &product) || !in_range(product)) return false;
    return *value = product, true;
}

bool ir_expr_scale(IrExpr *expr, int64_t factor) {
    IrExpr out = *expr;
    bool fits = scale_in_range(&out.constant, factor);
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) fits = fits && scale_in_range(&out.coef[i], factor);
    for (uint32_t i = 0; i < out.ceils; i++) fits = fits && scale_in_range(&out.ceil[i].coef, factor);
    if (!fits || !ir_expr_canonical(&out)) return false;
    return *expr = out, true;
}

// The only term of `expr`, when that is one base symbol with coefficient 1; IR_SYM_BASE_COUNT otherwise.
static uint32_t single_base(const IrExpr *expr) {
    uint32_t found = IR_SYM_BASE_COUNT;
    if (expr->constant || expr->ceils) return found;
    for (uint32_t i = 0; i < IR_SYM_BASE_COUNT; i++) {
        if (expr->coef[i] == 0) continue;
        if (expr->coef[i] != 1 || found != IR_SYM_BASE_COUNT) return IR_SYM_BASE_COUNT;
        found = i;
    }
    return found;
}

static bool is_number(const IrExpr *expr) {
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++)
        if (expr->coef[i]) return false;
    return expr->ceils == 0;
}

// Exact for a number and for what is divisible term by term; one ceil term for a base symbol; else not expressible.
bool ir_expr_ceil_div(const IrExpr *of, int64_t div, IrExpr *out_expr) {
    if (div < 1) return false;
    IrExpr whole = *of;
    uint32_t base = single_base(of);
    if (is_number(of) && of->constant >= 0) return *out_expr = ir_expr_number(hd_ceil_div(of->constant, div)), true;
    if (base < IR_SYM_BASE_COUNT) {
        *out_expr = (IrExpr){0};
        return add_ceil(out_expr, 1, div, base);
    }
    int64_t factor = ir_expr_take_factor(&whole);
    if (factor % div != 0) return false;
    return *out_expr = whole, ir_expr_scale(out_expr, factor / div);
}

bool ir_expr_eq(const IrExpr *a, const IrExpr *b) {
    if (a->constant != b->constant || a->ceils != b->ceils || memcmp(a->coef, b->coef, sizeof a->coef) != 0) return false;
    for (uint32_t i = 0; i < a->ceils; i++)
        if (a->ceil[i].coef != b->ceil[i].coef || a->ceil[i].div != b->ceil[i].div || a->ceil[i].sym != b->ceil[i].sym)
            return false;
    return true;
}

static int64_t gcd(int64_t a, int64_t b) {
    a = a < 0 ? -a : a;
    b = b < 0 ? -b : b;
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

int64_t ir_expr_take_factor(IrExpr *expr) {
    int64_t factor = gcd(expr->constant, 0);
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) factor = gcd(factor, expr->coef[i]);
    for (uint32_t i = 0; i < expr->ceils; i++) factor = gcd(factor, expr->ceil[i].coef);
    if (factor <= 1) return 1;
    expr->constant /= factor;
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) expr->coef[i] /= factor;
    for (uint32_t i = 0; i < expr->ceils; i++) expr->ceil[i].coef /= factor;
    return factor;
}

// a + b * c, kept between the ends of int64.
static int64_t add_product(int64_t a, int64_t b, int64_t c) {
    int64_t product, sum;
    if (__builtin_mul_overflow(b, c, &product)) product = (b < 0) != (c < 0) ? INT64_MIN : INT64_MAX;
    if (__builtin_add_overflow(a, product, &sum)) sum = product < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}

int64_t ir_expr_eval(const IrExpr *expr, const IrBinding *binding) {
    int64_t value = expr->constant;
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) value = add_product(value, expr->coef[i], binding->value[i]);
    for (uint32_t i = 0; i < expr->ceils; i++) {
        int64_t of = binding->value[expr->ceil[i].sym], div = expr->ceil[i].div;
        value = add_product(value, expr->ceil[i].coef, of / div + (of % div > 0));
    }
    return value;
}

// ---- the table of a graph ------------------------------------------------------------------------------------

bool ir_dim_find(const IrGraph *graph, const IrExpr *expr, IrDim *out_dim) {
    if (is_number(expr)) return *out_dim = expr->constant, expr->constant >= 0;
    for (size_t i = 0; i < graph->syms.len; i++)
        if (ir_expr_eq(&graph->syms.data[i].expr, expr)) return *out_dim = ir_sym((uint32_t)i), true;
    return false;
}

static bool sym_named(const IrGraph *graph, const char *name) {
    for (size_t i = 0; i < graph->syms.len; i++)
        if (strcmp(graph->syms.data[i].name, name) == 0) return true;
    return false;
}

static const char *free_name(IrGraph *graph, const char *name) {
    char text[80];
    snprintf(text, sizeof text, "%.60s", name);
    for (unsigned suffix = 2; sym_named(graph, text); suffix++) snprintf(text, sizeof text, "%.60s%u", name, suffix);
    return ir_intern(graph->module, hd_str(text));
}

IrDim ir_dim(IrGraph *graph, const char *name, const IrExpr *expr) {
    IrExpr canonical = *expr;
    IrDim dim;
    HD_ASSERT(ir_expr_canonical(&canonical));
    if (ir_dim_find(graph, &canonical, &dim)) return dim;
    HD_ASSERT(!is_number(&canonical));
    hd_vec_reserve(&graph->syms, graph->syms.len + 1);
    graph->syms.data[graph->syms.len].name = free_name(graph, name);
    graph->syms.data[graph->syms.len].expr = canonical;
    return ir_sym((uint32_t)graph->syms.len++);
}

IrExpr ir_dim_expr(const IrGraph *graph, IrDim dim) {
    return ir_dim_is_sym(dim) ? graph->syms.data[ir_dim_sym(dim)].expr : ir_expr_number(dim);
}

int64_t ir_dim_eval(const IrGraph *graph, IrDim dim, const IrBinding *binding) {
    return ir_dim_is_sym(dim) ? ir_expr_eval(&graph->syms.data[ir_dim_sym(dim)].expr, binding) : dim;
}

bool ir_graph_bound(const IrGraph *graph, IrBinding *out_bound) {
    HdBuf key = {0};
    IrBinding bound;
    hd_buf_printf(&key, "bounds.%s", graph->name);
    const char *text = ir_module_key(graph->module, key.data);
    hd_buf_free(&key);
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) {
        size_t len = text ? strcspn(text, " ") : 0;
        bool last = i == IR_SYM_BASE_COUNT - 1;
        if (!text || !hd_parse_i64((HdStr){text, len}, &bound.value[i]) || bound.value[i] < 1 || text[len] != (last ? '\0' : ' ')) return false;
        text += len + !last;
    }
    *out_bound = bound;
    return true;
}

// ---- types ---------------------------------------------------------------------------------------------------

bool ir_type_eq(const IrType *a, const IrType *b) {
    return a->dtype == b->dtype && a->layout == b->layout && a->rank == b->rank &&
           memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]) == 0;
}

int64_t ir_dim_most(const IrGraph *graph, IrDim dim) {
    IrBinding bound;
    if (!ir_dim_is_sym(dim)) return dim;
    return ir_graph_bound(graph, &bound) ? ir_dim_eval(graph, dim, &bound) : 0;
}

int64_t ir_type_elements(const IrGraph *graph, const IrType *type, const IrBinding *binding) {
    int64_t count = 1;
    for (uint32_t i = 0; i < type->rank; i++) count = ir_sat_mul(count, HD_MAX(ir_dim_eval(graph, type->dims[i], binding), 0));
    return count;
}

int64_t ir_type_bytes(const IrGraph *graph, const IrType *type, const IrBinding *binding) {
    const IrDtypeInfo *dtype = ir_dtype_info(type->dtype);
    return ir_sat_mul(ir_type_elements(graph, type, binding) / dtype->block, dtype->block_bytes);
}
