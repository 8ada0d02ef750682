// SPDX-License-Identifier: Apache-2.0
// The type rules. Each operation has a function ir_rule_<name>; most are a signature in the notation of rule.h, some add
// what a signature cannot say.
#include "ir/rule.h"

#include <stdlib.h>
#include <string.h>

enum { TILE_MAX = 1 << 20 };   // of experts, tiles and chunks

#define BIT(dtype) (1ull << IR_##dtype)
static const uint64_t plain = BIT(F32) | BIT(F16) | BIT(BF16) | BIT(I32) | BIT(I8);   // one element per block

// ---- smaller checks ------------------------------------------------------------------------------------------

static HdStatus *want_number(Rule *r, const char *name) {
    return ir_dim_is_sym(rule_dim(r, name)) ? rule_error(r, "dimension %s must be a number", name) : NULL;
}

static HdStatus *want_divides(Rule *r, const char *part, const char *whole) {
    HD_TRY(want_number(r, part));
    HD_TRY(want_number(r, whole));
    if (rule_dim(r, whole) % rule_dim(r, part) == 0) return NULL;
    return rule_error(r, "%s = %lld is no multiple of %s = %lld", whole, (long long)rule_dim(r, whole), part,
                      (long long)rule_dim(r, part));
}

static HdStatus *want_int(Rule *r, IrAttrId id, int64_t least, int64_t most) {
    if (r->attr[id].i >= least && r->attr[id].i <= most) return NULL;
    return rule_error(r, "%s = %lld must be in %lld..%lld", ir_attr_info(id)->name, (long long)r->attr[id].i, (long long)least,
                      (long long)most);
}

static HdStatus *want_heads(Rule *r) {
    const char *heads = r->attr[IR_ATTR_HEADS].name;
    if (strcmp(heads, "mod") == 0 || strcmp(heads, "div") == 0) return NULL;
    return rule_error(r, "heads = %.40s must be mod or div", heads);
}

static HdStatus *give_type(Rule *r, IrType type) {
    r->out[(*r->out_count)++] = type;
    return NULL;
}

// ---- views ---------------------------------------------------------------------------------------------------

static HdStatus *view_operands(Rule *r) {
    for (uint32_t i = 0; i < r->build->operand_count; i++)
        if (r->in[i].layout != IR_LAYOUT_NATIVE) return rule_operand_error(r, i, HD_STR("x"), "in native layout");
    return NULL;
}

static int by_expr(const void *a, const void *b) {
    const IrExpr *x = a, *y = b;
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++)
        if (x->coef[i] != y->coef[i]) return x->coef[i] < y->coef[i] ? -1 : 1;
    if (x->constant != y->constant) return x->constant < y->constant ? -1 : 1;
    for (uint32_t i = 0; i < HD_MIN(x->ceils, y->ceils); i++) {
        if (x->ceil[i].sym != y->ceil[i].sym) return x->ceil[i].sym < y->ceil[i].sym ? -1 : 1;
        if (x->ceil[i].div != y->ceil[i].div) return x->ceil[i].div < y->ceil[i].div ? -1 : 1;
        if (x->ceil[i].coef != y->ceil[i].coef) return x->ceil[i].coef < y->ceil[i].coef ? -1 : 1;
    }
    return (x->ceils > y->ceils) - (x->ceils < y->ceils);
}

// An element count as number * product of primitive expressions (no common factor), these in order.
typedef struct Product { int64_t number; uint32_t count; IrExpr factors[4]; } Product;

static Product type_product(const IrGraph *graph, const IrType *type) {
    Product product = {.number = 1};
    for (uint32_t i = 0; i < type->rank; i++) {
        IrExpr expr = ir_dim_expr(graph, type->dims[i]);
        product.number = ir_sat_mul(product.number, ir_dim_is_sym(type->dims[i]) ? ir_expr_take_factor(&expr) : type->dims[i]);
        if (ir_dim_is_sym(type->dims[i])) product.factors[product.count++] = expr;
    }
    qsort(product.factors, product.count, sizeof product.factors[0], by_expr);
    return product;
}

static bool same_elements(const IrGraph *graph, const IrType *a, const IrType *b) {
    Product x = type_product(graph, a), y = type_product(graph, b);
    if (x.number != y.number || x.number == INT64_MAX || x.count != y.count) return false;
    for (uint32_t i = 0; i < x.count; i++)
        if (!ir_expr_eq(&x.factors[i], &y.factors[i])) return false;
    return true;
}

static HdStatus *ir_rule_reshape(Rule *r) {
    HD_TRY(view_operands(r));
    if (r->build->given_count != 1) return rule_error(r, "needs its result type");
    IrType to = r->build->given[0];
    HD_TRY(hd_annotate(ir_check_type(r->graph, &to), "reshape: result"));
    bool rows_kept = (plain >> to.dtype & 1) || ir_type_last(&to) == ir_type_last(&r->in[0]);   // blocks stay whole
    bool same = to.dtype == r->in[0].dtype && to.layout == IR_LAYOUT_NATIVE && same_elements(r->graph, &r->in[0], &to);
    if (same && rows_kept) return give_type(r, to);
    HdBuf text = {0};
    hd_buf_str(&text, "of the elements of ");
    ir_print_type(r->graph, &to, &text);
    HdStatus *status = rule_operand_error(r, 0, HD_STR("x"), text.data);
    hd_buf_free(&text);
    return status;
}

static HdStatus *ir_rule_slice(Rule *r) {
    IrType type = r->in[0];
    HD_TRY(view_operands(r));
    HD_TRY(want_int(r, IR_ATTR_AXIS, 0, (int64_t)type.rank - 1));
    int64_t axis = r->attr[IR_ATTR_AXIS].i, begin = r->attr[IR_ATTR_BEGIN].i, end = r->attr[IR_ATTR_END].i;
    if (ir_dim_is_sym(type.dims[axis])) return rule_operand_error(r, 0, HD_STR("x"), "of a fixed size along the axis");
    HD_TRY(want_int(r, IR_ATTR_END, 1, type.dims[axis]));
    HD_TRY(want_int(r, IR_ATTR_BEGIN, 0, end - 1));
    bool last = axis == (int64_t)type.rank - 1;
    if (last && type.dtype == IR_Q8A)
        return rule_operand_error(r, 0, HD_STR("x"), "of another data type: q8a rows cannot be cut");
    if (last && begin % ir_dtype_info(type.dtype)->block != 0)
        return rule_error(r, "begin = %lld cuts a block", (long long)begin);
    type.dims[axis] = end - begin;
    return give_type(r, type);
}

static HdStatus *ir_rule_concat(Rule *r) {
    IrType type = r->in[0];
    HD_TRY(view_operands(r));
    HD_TRY(want_int(r, IR_ATTR_AXIS, 0, (int64_t)type.rank - 1));
    int64_t axis = r->attr[IR_ATTR_AXIS].i, sum = 0;
    if (axis == (int64_t)type.rank - 1 && type.dtype == IR_Q8A)
        return rule_operand_error(r, 0, HD_STR("x"), "of another data type: q8a rows cannot be joined");
    for (uint32_t i = 0; i < r->build->operand_count; i++) {
        IrType expected = r->in[i];
        if (axis >= (int64_t)expected.rank || ir_dim_is_sym(expected.dims[axis]))
            return rule_operand_error(r, i, HD_STR("part"), "of a fixed size along the axis");
        sum += expected.dims[axis];
        expected.dims[axis] = type.dims[axis];
        if (!ir_type_eq(&expected, &type)) return rule_operand_error(r, i, HD_STR("part"), "as operand 0 in all but the axis");
    }
    type.dims[axis] = sum;
    return give_type(r, type);
}

// ---- element-wise --------------------------------------------------------------------------------------------

static HdStatus *unary(Rule *r) { return rule_apply(r, "a: f32[..] -> f32[..]"); }

// Result as operand 0; operand 1 is broadcast: aligned at the last dimension, each equal or 1 or absent.
static HdStatus *binary(Rule *r) {
    const IrType *a = &r->in[0], *b = &r->in[1];
    if (a->dtype != IR_F32) return rule_operand_error(r, 0, HD_STR("a"), "f32");
    bool fits = b->dtype == IR_F32 && b->rank <= a->rank;
    for (uint32_t i = 1; fits && i <= b->rank; i++)
        fits = b->dims[b->rank - i] == 1 || b->dims[b->rank - i] == a->dims[a->rank - i];
    if (fits) return give_type(r, *a);
    HdBuf text = {0};
    ir_print_type(r->graph, a, &text);
    hd_buf_str(&text, " or broadcast to it");
    HdStatus *status = rule_operand_error(r, 1, HD_STR("b"), text.data);
    hd_buf_free(&text);
    return status;
}

static HdStatus *ir_rule_add(Rule *r) { return binary(r); }
static HdStatus *ir_rule_sub(Rule *r) { return binary(r); }
static HdStatus *ir_rule_mul(Rule *r) { return binary(r); }
static HdStatus *ir_rule_div(Rule *r) { return binary(r); }
static HdStatus *ir_rule_scale(Rule *r) { return unary(r); }
static HdStatus *ir_rule_neg(Rule *r) { return unary(r); }
static HdStatus *ir_rule_exp(Rule *r) { return unary(r); }
static HdStatus *ir_rule_sigmoid(Rule *r) { return unary(r); }
static HdStatus *ir_rule_silu(Rule *r) { return unary(r); }
static HdStatus *ir_rule_softplus(Rule *r) { return unary(r); }

static HdStatus *ir_rule_cast(Rule *r) {
    const uint64_t halves = BIT(F16) | BIT(BF16);
    IrDtype from = r->in[0].dtype, to = r->attr[IR_ATTR_TO].dtype;
    bool narrows = from == IR_F32 && (halves >> to & 1), widens = to == IR_F32 && (halves >> from & 1);
    if (!narrows && !widens) return rule_error(r, "no cast from %s to %s", ir_dtype_info(from)->name, ir_dtype_info(to)->name);
    IrType type = r->in[0];
    type.dtype = to;
    return give_type(r, type);
}

// ---- along the last axis -------------------------------------------------------------------------------------

static HdStatus *ir_rule_rms_norm(Rule *r) { return rule_apply(r, "x: f32[.., n]; w: f32[n] -> f32[.., n]"); }
static HdStatus *ir_rule_l2_norm(Rule *r) { return unary(r); }
static HdStatus *ir_rule_softmax(Rule *r) { return unary(r); }
static HdStatus *ir_rule_sum(Rule *r) { return rule_apply(r, "x: f32[.., n] -> f32[.., 1]"); }

static HdStatus *ir_rule_quant_act(Rule *r) {
    HD_TRY(rule_match(r, "x: f32[.., K]"));
    HD_TRY(want_number(r, "K"));
    if (rule_dim(r, "K") % ir_dtype_info(IR_Q8A)->block != 0)
        return rule_operand_error(r, 0, HD_STR("x"), "of rows in whole groups of 32");
    return rule_give(r, "q8a[.., K]"), NULL;
}

static HdStatus *ir_rule_rope(Rule *r) {
    HD_TRY(rule_match(r, "x: f32[T, H, d]; table: f32[T, n]"));
    HD_TRY(want_number(r, "d"));
    HD_TRY(want_number(r, "n"));
    if (rule_dim(r, "n") > rule_dim(r, "d") || rule_dim(r, "n") % 2)
        return rule_operand_error(r, 1, HD_STR("table"), "of an even width of at most d");
    return rule_give(r, "f32[T, H, d]"), NULL;
}

// ---- rows ----------------------------------------------------------------------------------------------------

static HdStatus *ir_rule_embed(Rule *r) {
    if (r->in[1].layout != IR_LAYOUT_NATIVE) return rule_operand_error(r, 1, HD_STR("w"), "in native layout");
    return rule_apply(r, "ids: i32[T]; w: weight[V, D] -> f32[T, D]");
}

static HdStatus *ir_rule_take_rows(Rule *r) { return rule_apply(r, "x: f32[T, D]; rows: i32[R] -> f32[R, D]"); }

static HdStatus *ir_rule_argmax(Rule *r) {
    HD_TRY(rule_match(r, "x: f32[R, V]"));
    HD_TRY(want_number(r, "V"));
    HD_TRY(want_int(r, IR_ATTR_WIDTH, 1, rule_dim(r, "V")));
    rule_bind(r, "P", hd_ceil_div(rule_dim(r, "V"), r->attr[IR_ATTR_WIDTH].i));
    return rule_give(r, "f32[R, P], i32[R, P]"), NULL;
}

static HdStatus *ir_rule_top_runs(Rule *r) {
    const char *argmax = "values: f32[R, P]; ids: i32[R, P]";
    HD_TRY(rule_match(r, "x: f32[R, V]"));
    HD_TRY(want_number(r, "V"));
    HD_TRY(want_int(r, IR_ATTR_WIDTH, 1, rule_dim(r, "V")));
    int64_t width = r->attr[IR_ATTR_WIDTH].i, runs = hd_ceil_div(rule_dim(r, "V"), width);
    if (runs > IR_MOST_RUNS) return rule_error(r, "width = %lld cuts x into more than %d runs", (long long)width, IR_MOST_RUNS);
    rule_bind(r, "P", runs);
    HD_TRY(rule_match_from(r, 1, &argmax));
    HD_TRY(want_int(r, IR_ATTR_K, 1, runs));
    rule_bind(r, "k", r->attr[IR_ATTR_K].i);
    rule_bind(r, "n", 1 + width);
    return rule_give(r, "f32[R, k, n], i32[R, 1]"), NULL;
}

// ---- matrix products -----------------------------------------------------------------------------------------

static HdStatus *ir_rule_linear(Rule *r) { return rule_apply(r, "x: act[T, K]; w: weight[N, K] -> f32[T, N]"); }

static HdStatus *ir_rule_multi_linear(Rule *r) {
    HD_TRY(rule_match(r, "x: act[T, K]"));
    for (uint32_t i = 1; i < r->build->operand_count; i++) {
        const char *weight = "w: weight[N, K]";
        rule_bind(r, "N", 0);
        HD_TRY(rule_match_from(r, i, &weight));
        rule_give(r, "f32[T, N]");
    }
    return NULL;
}

static HdStatus *ir_rule_grouped_linear(Rule *r) {
    const char *rest = "w: weight[E, N, K]; ids: i32[T, k]", *plan = "plan: i32[P]";
    HD_TRY(rule_match(r, r->in[0].rank == 3 ? "x: act[T, k, K]" : "x: act[T, K]"));
    HD_TRY(rule_match_from(r, 1, &rest));
    if (r->build->operand_count > 3) HD_TRY(rule_match_from(r, 3, &plan));
    return rule_give(r, "f32[T, k, N]"), NULL;
}

// ---- mixture of experts --------------------------------------------------------------------------------------

static HdStatus *ir_rule_topk(Rule *r) {
    HD_TRY(rule_match(r, "x: f32[T, E]"));
    HD_TRY(want_number(r, "E"));
    HD_TRY(want_int(r, IR_ATTR_K, 1, rule_dim(r, "E")));
    rule_bind(r, "k", r->attr[IR_ATTR_K].i);
    return rule_give(r, "f32[T, k], i32[T, k]"), NULL;
}

// P of moe_plan.h: 2 + 2E + k*T + 3 * (E + k*ceil(T/tile)).
static HdStatus *ir_rule_moe_plan(Rule *r) {
    HD_TRY(rule_match(r, "ids: i32[T, k]"));
    HD_TRY(want_number(r, "k"));
    HD_TRY(want_int(r, IR_ATTR_EXPERTS, 1, TILE_MAX));
    HD_TRY(want_int(r, IR_ATTR_TILE, 1, TILE_MAX));
    IrExpr words = ir_dim_expr(r->graph, rule_dim(r, "T")), tiles, head = ir_expr_number(2 + 5 * r->attr[IR_ATTR_EXPERTS].i);
    bool fits = ir_expr_ceil_div(&words, r->attr[IR_ATTR_TILE].i, &tiles) &&
                ir_expr_scale(&tiles, 3 * HD_MIN(rule_dim(r, "k"), IR_DIM_MAX / 3)) && ir_expr_scale(&words, rule_dim(r, "k")) &&
                ir_expr_add(&words, &tiles) && ir_expr_add(&words, &head);
    if (!fits)
        return rule_operand_error(r, 0, HD_STR("ids"),
                                  "of a token count whose quotient by the tile can be written as a dimension");
    HD_TRY(rule_bind_expr(r, "P", &words));
    return rule_give(r, "i32[P]"), NULL;
}

static HdStatus *ir_rule_moe_sum(Rule *r) { return rule_apply(r, "y: f32[T, k, N]; weights: f32[T, k] -> f32[T, N]"); }

// ---- state ---------------------------------------------------------------------------------------------------

static HdStatus *ir_rule_kv_append(Rule *r) {
    return rule_match(r, "x: f32[T, H, d]; cache: cache[C, H, d]; segments: i32[S, 8]");
}

static HdStatus *attention(Rule *r) {
    HD_TRY(rule_match(r, "q: f32[T, H, d]; k: cache[C, Hkv, d]; v: cache[C, Hkv, d]; segments: i32[S, 8]"));
    if (r->in[1].dtype != r->in[2].dtype) return rule_operand_error(r, 2, HD_STR("v"), "of the data type of k");
    return want_divides(r, "Hkv", "H");
}

static HdStatus *ir_rule_attention(Rule *r) {
    HD_TRY(attention(r));
    return rule_give(r, "f32[T, H, d]"), NULL;
}

static HdStatus *ir_rule_attention_spans(Rule *r) {
    HD_TRY(attention(r));
    HD_TRY(want_int(r, IR_ATTR_SPANS, 1, IR_MOST_SPANS));
    rule_bind(r, "spans", r->attr[IR_ATTR_SPANS].i);
    return rule_give(r, "f32[T, H, spans, d], f32[T, H, spans], f32[T, H, spans]"), NULL;
}

static HdStatus *ir_rule_attention_merge(Rule *r) {
    return rule_apply(r, "sums: f32[T, H, spans, d]; largest: f32[T, H, spans]; total: f32[T, H, spans] -> f32[T, H, d]");
}

static HdStatus *ir_rule_conv1d(Rule *r) {
    HD_TRY(rule_match(r, "u: f32[T, N]; w: f32[N, K]"));
    HD_TRY(want_number(r, "K"));
    if (rule_dim(r, "K") < 2) return rule_operand_error(r, 1, HD_STR("w"), "of at least two taps");
    rule_bind(r, "kept", rule_dim(r, "K") - 1);
    const char *rest = "window: f32[kept, N]; segments: i32[S, 8]";
    HD_TRY(rule_match_from(r, 2, &rest));
    return rule_give(r, "f32[T, N]"), NULL;
}

static HdStatus *delta(Rule *r) {
    HD_TRY(want_heads(r));
    HD_TRY(rule_match(r, "q: f32[T, nk, dk]; k: f32[T, nk, dk]; v: f32[T, nv, dv]; g: f32[T, nv]; beta: f32[T, nv]; "
                    "state: f32[nv, dk, dv]; segments: i32[S, 8]"));
    HD_TRY(want_divides(r, "nk", "nv"));
    return rule_give(r, "f32[T, nv, dv]"), NULL;
}

static HdStatus *ir_rule_delta_rule(Rule *r) { return delta(r); }
static HdStatus *ir_rule_delta_step(Rule *r) { return delta(r); }
static HdStatus *ir_rule_delta_scan(Rule *r) { return delta(r); }

// E = chunk * (ceil(T/chunk) + S): padded token rows, since each segment starts a chunk of its own.
static HdStatus *bind_chunks(Rule *r) {
    int64_t chunk = r->attr[IR_ATTR_CHUNK].i;
    HD_TRY(want_int(r, IR_ATTR_CHUNK, 1, TILE_MAX));
    IrExpr tokens = ir_dim_expr(r->graph, rule_dim(r, "T")), segments = ir_dim_expr(r->graph, rule_dim(r, "S")), rows;
    if (!ir_expr_ceil_div(&tokens, chunk, &rows) || !ir_expr_add(&rows, &segments) || !ir_expr_scale(&rows, chunk))
        return rule_operand_error(r, 0, HD_STR("q"),
                                  "of a token count whose quotient by the chunk can be written as a dimension");
    rule_bind(r, "chunk", chunk);
    return rule_bind_expr(r, "E", &rows);
}

static HdStatus *ir_rule_delta_chunk_prep(Rule *r) {
    HD_TRY(want_heads(r));
    HD_TRY(rule_match(
        r, "q: f32[T, nk, dk]; k: f32[T, nk, dk]; v: f32[T, nv, dv]; g: f32[T, nv]; beta: f32[T, nv]; segments: i32[S, 8]"));
    HD_TRY(want_divides(r, "nk", "nv"));
    HD_TRY(bind_chunks(r));
    return rule_give(r, "f32[E, nv, dv], f32[E, nv, dk], f32[E, nv, chunk], f32[E, nv]"), NULL;
}

static HdStatus *ir_rule_delta_chunk_scan(Rule *r) {
    HD_TRY(want_heads(r));
    const char *segments = "segments: i32[S, 8]",
               *rest = "U: f32[E, nv, dv]; W: f32[E, nv, dk]; P: f32[E, nv, chunk]; g: f32[E, nv]; state: f32[nv, dk, dv]";
    HD_TRY(rule_match(r, "q: f32[T, nk, dk]; k: f32[T, nk, dk]"));
    HD_TRY(rule_match_from(r, 7, &segments));
    HD_TRY(bind_chunks(r));
    HD_TRY(rule_match_from(r, 2, &rest));
    HD_TRY(want_divides(r, "nk", "nv"));
    return rule_give(r, "f32[T, nv, dv]"), NULL;
}

// ---- weights and groups --------------------------------------------------------------------------------------

static HdStatus *ir_rule_pack(Rule *r) {
    IrType type = r->in[0];
    HD_TRY(rule_match(r, type.rank == 3 ? "w: weight[E, N, K]" : "w: weight[N, K]"));
    if (type.layout == r->attr[IR_ATTR_LAYOUT].layout)
        return rule_error(r, "the matrix is in layout %s already", ir_layout_name(type.layout));
    type.layout = r->attr[IR_ATTR_LAYOUT].layout;
    return give_type(r, type);
}

// Result types as given, else those of the region's yields. What the region holds is the verifier's business.
static HdStatus *ir_rule_fused(Rule *r) {
    const IrBlockData *region = &r->graph->blocks.data[r->build->region];
    uint32_t count = r->build->given ? r->build->given_count : r->build->region ? (uint32_t)region->yields.len : 0;
    if (count > 8) return rule_error(r, "%u results, at most 8 are possible", count);
    for (uint32_t i = 0; i < count; i++)
        HD_TRY(give_type(r, r->build->given ? r->build->given[i] : ir_value(r->graph, region->yields.data[i])->type));
    return NULL;
}

// ---- inference -----------------------------------------------------------------------------------------------

static HdStatus *(*const rules[IR_OP_COUNT])(Rule *r) = {
#define IR_OP(name, text, min, max, results, effect, numerics, role, attrs, doc) [IR_OP_##name] = ir_rule_##name,
#include "ir/ops.def"
#undef IR_OP
};

static const struct { IrOpKind kind; uint32_t index; IrStateKind state; } state_operands[] = {
    {IR_OP_kv_append, 1, IR_STATE_KV},     {IR_OP_attention, 1, IR_STATE_KV},     {IR_OP_attention, 2, IR_STATE_KV},
    {IR_OP_attention_spans, 1, IR_STATE_KV}, {IR_OP_attention_spans, 2, IR_STATE_KV},
    {IR_OP_conv1d, 2, IR_STATE_CONV},      {IR_OP_delta_rule, 5, IR_STATE_DELTA}, {IR_OP_delta_step, 5, IR_STATE_DELTA},
    {IR_OP_delta_scan, 5, IR_STATE_DELTA}, {IR_OP_delta_chunk_scan, 6, IR_STATE_DELTA},
};

IrStateKind ir_state_operand(IrOpKind kind, uint32_t index) {
    for (size_t i = 0; i < HD_COUNT(state_operands); i++)
        if (state_operands[i].kind == kind && state_operands[i].index == index) return state_operands[i].state;
    return IR_STATE_COUNT;
}

// States stand where the operation wants a state of that kind, and nowhere else. A region argument is judged by what
// the fused operation is given for it, once that is built.
static HdStatus *check_state(const Rule *r, uint32_t index) {
    IrStateKind wanted = ir_state_operand(r->build->kind, index);
    IrValue value = ir_source(r->graph, r->build->operands[index]);
    if (value == 0 || r->build->kind == IR_OP_fused) return NULL;
    const IrValueData *data = ir_value(r->graph, value);
    bool is_state = data->kind == IR_VALUE_STATE;
    if (wanted == IR_STATE_COUNT)
        return is_state ? rule_error(r, "operand %u is state \"%s\", must be an ordinary value", index, data->name) : NULL;
    if (is_state && data->index == wanted) return NULL;
    return rule_error(r, "operand %u must be a %s state, is %s", index, ir_state_names[wanted],
                      is_state ? ir_state_names[data->index] : "no state");
}

static HdStatus *take_operands(Rule *r) {
    const IrOpInfo *info = ir_op_info(r->build->kind);
    uint32_t count = r->build->operand_count;
    if (count < info->min_operands || count > info->max_operands)
        return rule_error(r, "%u operands, must be %u..%u", count, info->min_operands, info->max_operands);
    for (uint32_t i = 0; i < count; i++) {
        IrValue value = r->build->operands[i];
        if (value == 0 || value >= r->graph->values.len) return rule_error(r, "operand %u is no value", i);
        HD_TRY(check_state(r, i));
        r->in[i] = ir_value(r->graph, value)->type;
    }
    return NULL;
}

static bool attr_in_range(const IrAttr *attr) {
    switch (ir_attr_info(attr->id)->kind) {
    case IR_ATTR_KIND_DTYPE: return (unsigned)attr->value.dtype < IR_DTYPE_COUNT;
    case IR_ATTR_KIND_LAYOUT: return (unsigned)attr->value.layout < IR_LAYOUT_COUNT;
    case IR_ATTR_KIND_NAME: return attr->value.name != NULL;
    default: return true;
    }
}

static HdStatus *take_attrs(Rule *r) {
    uint32_t must = ir_op_info(r->build->kind)->attrs, may = must, seen = 0;
    if (r->build->kind == IR_OP_fused) may |= 1u << IR_ATTR_KIND;   // set by partition
    for (uint32_t i = 0; i < r->build->attr_count; i++) {
        const IrAttr *attr = &r->build->attrs[i];
        if ((unsigned)attr->id >= IR_ATTR_COUNT) return rule_error(r, "attribute %u does not exist", (unsigned)attr->id);
        const char *name = ir_attr_info(attr->id)->name;
        if (!(may >> attr->id & 1)) return rule_error(r, "attribute %s does not belong here", name);
        if (seen >> attr->id & 1) return rule_error(r, "attribute %s is given twice", name);
        if (!attr_in_range(attr)) return rule_error(r, "attribute %s has no valid value", name);
        seen |= 1u << attr->id;
        r->attr[attr->id] = attr->value;
    }
    for (int id = 0; id < IR_ATTR_COUNT; id++)
        if (must >> id & 1 && !(seen >> id & 1))
            return rule_error(r, "attribute %s is missing", ir_attr_info((IrAttrId)id)->name);
    return NULL;
}

HdStatus *ir_infer_in(const IrGraph *graph, IrGraph *grow, const IrBuild *build, IrType out_types[8], uint32_t *out_count) {
    Rule rule = {.graph = graph, .grow = grow, .build = build, .out = out_types, .out_count = out_count};
    *out_count = 0;
    if ((unsigned)build->kind >= IR_OP_COUNT) return hd_error(HD_BAD_DATA, "operation %u does not exist", (unsigned)build->kind);
    if (build->region && build->kind != IR_OP_fused) return rule_error(&rule, "only fused operations have a region");
    HD_TRY(take_operands(&rule));
    HD_TRY(take_attrs(&rule));
    HD_TRY(rules[build->kind](&rule));
    for (uint32_t i = 0; i < *out_count; i++)
        HD_TRY(hd_annotate(ir_check_type(graph, &out_types[i]), "%s: result %u", ir_op_info(build->kind)->name, i));
    return NULL;
}

HdStatus *ir_infer(const IrGraph *graph, const IrBuild *build, IrType out_types[8], uint32_t *out_count) {
    return ir_infer_in(graph, NULL, build, out_types, out_count);
}

// ---- types and sources by themselves -------------------------------------------------------------------------

static HdStatus *check_dim(const IrGraph *graph, IrDim dim) {
    if (ir_dim_is_sym(dim) ? ir_dim_sym(dim) < graph->syms.len : dim >= 1 && dim <= IR_DIM_MAX) return NULL;
    return hd_error(HD_BAD_DATA, "dimension %lld must be in 1..2^40 or a symbol of the graph", (long long)dim);
}

HdStatus *ir_check_type(const IrGraph *graph, const IrType *type) {
    if ((unsigned)type->dtype >= IR_DTYPE_COUNT || (unsigned)type->layout >= IR_LAYOUT_COUNT)
        return hd_error(HD_BAD_DATA, "data type or layout does not exist");
    const IrDtypeInfo *info = ir_dtype_info(type->dtype);
    if (type->rank < 1 || type->rank > 4) return hd_error(HD_BAD_DATA, "rank %u must be 1..4", type->rank);
    for (uint32_t i = 0; i < type->rank; i++) HD_TRY(check_dim(graph, type->dims[i]));
    if (info->block > 1 && (ir_dim_is_sym(ir_type_last(type)) || ir_type_last(type) % info->block != 0))
        return hd_error(HD_BAD_DATA, "the last dimension of %s must be a multiple of %u", info->name, info->block);
    bool matrix = (type->rank == 2 || type->rank == 3) && rule_is_weight(type->dtype);
    if (type->layout != IR_LAYOUT_NATIVE && !matrix)
        return hd_error(HD_BAD_DATA, "layout %s is for weight matrices only", ir_layout_name(type->layout));
    return NULL;
}

// By input kind, then by state kind: data types and rank.
static const struct { uint64_t dtypes; uint32_t rank; const char *wanted; } sources[] = {
    [IR_INPUT_TOKENS] = {BIT(I32), 1, "i32[T]"},
    [IR_INPUT_SEGMENTS] = {BIT(I32), 2, "i32[S, 8]"},
    [IR_INPUT_ROWS] = {BIT(I32), 1, "i32[R]"},
    [IR_INPUT_ROPE] = {BIT(F32), 2, "f32[T, n] with an even n"},
    [IR_INPUT_COUNT + IR_STATE_KV] = {BIT(F32) | BIT(F16), 3, "f32 or f16 [C, H, d]"},
    [IR_INPUT_COUNT + IR_STATE_CONV] = {BIT(F32), 2, "f32[K-1, N]"},
    [IR_INPUT_COUNT + IR_STATE_DELTA] = {BIT(F32), 3, "f32[nv, dk, dv]"},
};

HdStatus *ir_check_source(const IrGraph *graph, const IrValueData *value) {
    const IrType *type = &value->type;
    HD_TRY(ir_check_type(graph, type));
    bool is_input = value->kind == IR_VALUE_INPUT;
    if (!is_input && (!value->name || !*value->name)) return hd_error(HD_BAD_DATA, "has no name");
    if (value->kind == IR_VALUE_WEIGHT) return NULL;
    if (value->index >= (is_input ? (uint32_t)IR_INPUT_COUNT : (uint32_t)IR_STATE_COUNT))
        return hd_error(HD_BAD_DATA, "is of no known kind");
    uint32_t row = is_input ? value->index : IR_INPUT_COUNT + value->index;
    bool fits = (sources[row].dtypes >> type->dtype & 1) && type->rank == sources[row].rank;
    if (is_input && value->index == IR_INPUT_SEGMENTS) fits = fits && type->dims[1] == 8;
    if (is_input && value->index == IR_INPUT_ROPE) fits = fits && !ir_dim_is_sym(type->dims[1]) && type->dims[1] % 2 == 0;
    if (fits) return NULL;
    return hd_error(HD_BAD_DATA, "%s must be %s", is_input ? ir_input_names[value->index] : ir_state_names[value->index],
                    sources[row].wanted);
}
