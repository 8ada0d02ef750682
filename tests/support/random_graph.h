// SPDX-License-Identifier: Apache-2.0
// Random valid graphs, the same for the same seed: sequences of small pieces of a model (projections, attention, delta
// rule, experts, ..) on a stream f32[T, D], in which every operation of ops.def turns up. Used to test the text form, the
// verifier, the interpreter and the passes.
//
// Unless `wild` is set the graphs can be run: names are plain, constants moderate and values stay finite. Calls need token
// ids below RG_VOCAB, and one token per segment where `step` is set.
#ifndef HEDDLE_TESTS_RANDOM_GRAPH_H
#define HEDDLE_TESTS_RANDOM_GRAPH_H

#include "ir/ir.h"

#include <math.h>
#include <string.h>

enum { RG_VOCAB = 40, RG_STREAMS = 64 };

typedef struct RgOptions {
    uint64_t seed;
    uint32_t pieces;         // how many; 0: 1..12
    bool wild;               // odd names and constants, values of every data type, unused results: for text and verifier only
    bool step;               // delta.step may occur
    bool single;             // T = S = R = 1 as numbers
} RgOptions;

typedef struct Rg {
    uint64_t state;
    RgOptions options;
    IrGraph *graph;
    IrDim tokens, segments, rows;
    int64_t width;           // D
    IrValue streams[RG_STREAMS];
    uint32_t stream_count, named;
    bool roped;              // the table's width is fixed by its first use
    int64_t rope_width;
    float theta;
} Rg;

// ---- choices -------------------------------------------------------------------------------------------------

static inline uint64_t rg_next(uint64_t *state) {   // splitmix64
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static inline uint32_t rg_below(Rg *g, uint32_t count) { return (uint32_t)(rg_next(&g->state) % count); }
static inline bool rg_chance(Rg *g, uint32_t percent) { return rg_below(g, 100) < percent; }
static inline int64_t rg_pick(Rg *g, const int64_t *values, uint32_t count) { return values[rg_below(g, count)]; }
#define RG_PICK(g, ...) rg_pick((g), (const int64_t[]){__VA_ARGS__}, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

// A constant around 1, or any float at all when wild.
static inline float rg_float(Rg *g) {
    union { uint32_t bits; float value; } any = {(uint32_t)rg_next(&g->state)};
    if (g->options.wild && rg_chance(g, 80)) return any.value;
    return 0.25f + (float)rg_below(g, 1000) / 700.0f;
}

static inline float rg_eps(Rg *g) { return g->options.wild ? rg_float(g) : (float)(1e-6 * (1 + rg_below(g, 10))); }

// A name that has not been given yet.
static inline const char *rg_name(Rg *g, const char *stem) {
    static const char *const odd[] = {"",           ".weight",    " \"quoted\"",   "\\back\\slash",
                                      "\nnew line", "\t\x01\x7f", " \xc3\xa9\xff", "%{}[]:=//"};
    HdBuf text = {0};
    hd_buf_printf(&text, "%s.%u%s", stem, g->named++, g->options.wild ? odd[rg_below(g, HD_COUNT(odd))] : "");
    const char *name = ir_intern(g->graph->module, (HdStr){text.data, text.len});
    hd_buf_free(&text);
    return name;
}

// ---- types and sources ---------------------------------------------------------------------------------------

static inline IrType rg_type1(IrDtype dtype, IrDim a) { return (IrType){.dtype = dtype, .rank = 1, .dims = {a}}; }
static inline IrType rg_type2(IrDtype dtype, IrDim a, IrDim b) { return (IrType){.dtype = dtype, .rank = 2, .dims = {a, b}}; }
static inline IrType rg_type3(IrDtype dtype, IrDim a, IrDim b, IrDim c) {
    return (IrType){.dtype = dtype, .rank = 3, .dims = {a, b, c}};
}

static inline bool rg_is_weight(IrDtype dtype) { return dtype != IR_I32 && dtype != IR_I8 && dtype != IR_Q8A; }

// A weight type whose blocks fill rows of `width`.
static inline IrDtype rg_weight_dtype(Rg *g, int64_t width) {
    for (;;) {
        IrDtype dtype = (IrDtype)rg_below(g, IR_DTYPE_COUNT);
        if (rg_is_weight(dtype) && width % ir_dtype_info(dtype)->block == 0) return dtype;
    }
}

static inline IrValue rg_vector(Rg *g, int64_t n) { return ir_weight(g->graph, rg_name(g, "vector"), rg_type1(IR_F32, n)); }

static inline IrValue rg_matrix(Rg *g, int64_t rows, int64_t width) {
    IrType type = rg_type2(rg_weight_dtype(g, width), rows, width);
    type.layout = rg_chance(g, 20) ? (IrLayout)rg_below(g, IR_LAYOUT_COUNT) : IR_LAYOUT_NATIVE;
    return ir_weight(g->graph, rg_name(g, "matrix"), type);
}

static inline IrValue rg_experts(Rg *g, int64_t experts, int64_t rows, int64_t width) {
    return ir_weight(g->graph, rg_name(g, "experts"), rg_type3(rg_weight_dtype(g, width), experts, rows, width));
}

static inline IrValue rg_tokens(Rg *g) { return ir_input(g->graph, IR_INPUT_TOKENS, rg_type1(IR_I32, g->tokens), 0); }
static inline IrValue rg_segments(Rg *g) { return ir_input(g->graph, IR_INPUT_SEGMENTS, rg_type2(IR_I32, g->segments, 8), 0); }
static inline IrValue rg_rows(Rg *g) { return ir_input(g->graph, IR_INPUT_ROWS, rg_type1(IR_I32, g->rows), 0); }

static inline IrValue rg_rope_table(Rg *g) {
    if (!g->roped) g->rope_width = RG_PICK(g, 2, 4, 8), g->theta = g->options.wild ? rg_float(g) : 1e4f;
    g->roped = true;
    return ir_input(g->graph, IR_INPUT_ROPE, rg_type2(IR_F32, g->tokens, g->rope_width), g->theta);
}

// ---- operations ----------------------------------------------------------------------------------------------

#define RG_ATTRS(...) sizeof((IrAttr[]){__VA_ARGS__}) / sizeof(IrAttr), (IrAttr[]){__VA_ARGS__}
#define RG_INT(id, x) {IR_ATTR_##id, {.i = (x)}}
#define RG_F32(id, x) {IR_ATTR_##id, {.f = (x)}}
#define RG_NAME(id, x) {IR_ATTR_##id, {.name = (x)}}

static inline IrValue rg_op(Rg *g, IrOpKind kind, uint32_t count, const IrValue *operands, uint32_t attr_count,
                            const IrAttr *attrs) {
    return ir_op1(g->graph, kind, count, operands, attr_count, attrs);
}
#define RG_OP(g, kind, attr_count_and_attrs, ...) \
    rg_op((g), IR_OP_##kind, sizeof((IrValue[]){__VA_ARGS__}) / sizeof(IrValue), (IrValue[]){__VA_ARGS__}, attr_count_and_attrs)
#define RG_NO_ATTRS 0, NULL

static inline IrType rg_type_of(const Rg *g, IrValue value) { return ir_value(g->graph, value)->type; }

// Result `index` of the operation that made `first`.
static inline IrValue rg_result(const Rg *g, IrValue first, uint32_t index) {
    return ir_op(g->graph, ir_value(g->graph, first)->op)->results[index];
}

static inline IrValue rg_reshape(Rg *g, IrValue x, IrType type) {
    HdStatus *status;
    IrBuild build = {.kind = IR_OP_reshape, .operands = &x, .operand_count = 1, .given = &type, .given_count = 1};
    IrOpRef op = ir_build(g->graph, &build, &status);
    if (status) hd_assert_failed(__FILE__, __LINE__, hd_status_message(status));
    return ir_op(g->graph, op)->results[0];
}

static inline IrValue rg_slice(Rg *g, IrValue x, int64_t axis, int64_t begin, int64_t end) {
    return ir_op1(g->graph, IR_OP_slice, 1, &x, RG_ATTRS(RG_INT(AXIS, axis), RG_INT(BEGIN, begin), RG_INT(END, end)));
}

static inline IrValue rg_unary(Rg *g, IrOpKind kind, IrValue x) { return ir_op1(g->graph, kind, 1, &x, 0, NULL); }
static inline IrValue rg_binary(Rg *g, IrOpKind kind, IrValue a, IrValue b) {
    return ir_op1(g->graph, kind, 2, (IrValue[]){a, b}, 0, NULL);
}

static inline IrValue rg_rms(Rg *g, IrValue x) {
    IrType type = rg_type_of(g, x);
    return ir_op1(g->graph, IR_OP_rms_norm, 2, (IrValue[]){x, rg_vector(g, ir_type_last(&type))},
                  RG_ATTRS(RG_F32(EPS, rg_eps(g))));
}

static inline IrValue rg_l2(Rg *g, IrValue x) {
    return ir_op1(g->graph, IR_OP_l2_norm, 1, &x, RG_ATTRS(RG_F32(EPS, rg_eps(g)), RG_F32(SCALE, rg_float(g))));
}

static inline IrValue rg_cast(Rg *g, IrValue x, IrDtype to) {
    return ir_op1(g->graph, IR_OP_cast, 1, &x, RG_ATTRS({IR_ATTR_TO, {.dtype = to}}));
}

// x as a matrix product may take it: as it is, quantised, or rounded.
static inline IrValue rg_activation(Rg *g, IrValue x) {
    IrType type = rg_type_of(g, x);
    if (rg_chance(g, 60) || ir_type_last(&type) % 32 != 0) return x;
    return rg_chance(g, 50) ? rg_unary(g, IR_OP_quant_act, x) : rg_cast(g, x, IR_BF16);
}

static inline IrValue rg_packed(Rg *g, IrValue w) {
    if (ir_value(g->graph, w)->type.layout != IR_LAYOUT_NATIVE || rg_chance(g, 80)) return w;
    return ir_op1(g->graph, IR_OP_pack, 1, &w, RG_ATTRS({IR_ATTR_LAYOUT, {.layout = IR_LAYOUT_R16}}));
}

static inline IrValue rg_linear(Rg *g, IrValue x, int64_t rows) {
    IrType type = rg_type_of(g, x);
    IrValue w = rg_packed(g, rg_matrix(g, rows, ir_type_last(&type)));
    return rg_binary(g, IR_OP_linear, rg_activation(g, x), w);
}

// [T, D] to [T, heads, d].
static inline IrValue rg_heads(Rg *g, IrValue x, int64_t heads, int64_t d) {
    return rg_reshape(g, rg_linear(g, x, heads * d), rg_type3(IR_F32, g->tokens, heads, d));
}

// Back to the stream's width, from [T, ..].
static inline IrValue rg_output(Rg *g, IrValue x, int64_t heads, int64_t d) {
    return rg_linear(g, rg_reshape(g, x, rg_type2(IR_F32, g->tokens, heads * d)), g->width);
}

// ---- pieces: each takes a stream f32[T, D] and gives another --------------------------------------------------

static inline IrValue rg_piece_unary(Rg *g, IrValue x) {
    switch (rg_below(g, 6)) {
    case 0: return ir_op1(g->graph, IR_OP_scale, 1, &x, RG_ATTRS(RG_F32(VALUE, rg_float(g))));
    case 1: return rg_unary(g, IR_OP_neg, x);
    case 2: return rg_unary(g, IR_OP_sigmoid, x);
    case 3: return rg_unary(g, IR_OP_silu, x);
    case 4: return rg_unary(g, IR_OP_softplus, x);
    default: return rg_unary(g, IR_OP_exp, rg_unary(g, IR_OP_neg, rg_unary(g, IR_OP_softplus, x)));   // at most 1
    }
}

// Second operands of every broadcast shape; products and quotients with bounded ones.
static inline IrValue rg_piece_binary(Rg *g, IrValue x, IrValue y) {
    IrValue b = y;
    switch (rg_below(g, 4)) {
    case 0: b = rg_vector(g, g->width); break;
    case 1: b = rg_vector(g, 1); break;
    case 2: b = rg_unary(g, IR_OP_sum, rg_rms(g, y)); break;
    default: break;
    }
    switch (rg_below(g, 4)) {
    case 0: return rg_binary(g, IR_OP_add, x, b);
    case 1: return rg_binary(g, IR_OP_sub, x, b);
    case 2: return rg_binary(g, IR_OP_mul, x, rg_unary(g, IR_OP_sigmoid, b));
    default: return rg_binary(g, IR_OP_div, x, rg_unary(g, IR_OP_softplus, rg_unary(g, IR_OP_sigmoid, b)));
    }
}

static inline IrValue rg_piece_norm(Rg *g, IrValue x) {
    switch (rg_below(g, 4)) {
    case 0: return rg_rms(g, x);
    case 1: return rg_l2(g, x);
    case 2: return rg_unary(g, IR_OP_softmax, x);
    default: return rg_cast(g, rg_cast(g, x, rg_chance(g, 50) ? IR_F16 : IR_BF16), IR_F32);
    }
}

// There and back through other shapes; N = n*T is a named dimension unless T is a number.
static inline IrValue rg_piece_views(Rg *g, IrValue x) {
    int64_t n = RG_PICK(g, 2, 4, 8, 16), cut = 1 + rg_below(g, (uint32_t)g->width - 1);
    IrType flat = rg_type2(IR_F32, g->tokens, g->width);
    IrExpr rows = ir_dim_expr(g->graph, g->tokens);
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) rows.coef[i] *= n;
    rows.constant *= n;
    if (rg_chance(g, 50)) {
        IrDim many = ir_dim(g->graph, "N", &rows);
        return rg_reshape(g, rg_unary(g, IR_OP_silu, rg_reshape(g, x, rg_type2(IR_F32, many, g->width / n))), flat);
    }
    IrValue parts[2] = {rg_slice(g, x, 1, cut, g->width), rg_slice(g, x, 1, 0, cut)};
    return ir_op1(g->graph, IR_OP_concat, 2, parts, RG_ATTRS(RG_INT(AXIS, 1)));
}

static inline IrValue rg_piece_linear(Rg *g, IrValue x) {
    return rg_linear(g, rg_linear(g, x, RG_PICK(g, 1, 17, 32, 256)), g->width);
}

// Some projections that read x once; their sum.
static inline IrValue rg_piece_multi_linear(Rg *g, IrValue x) {
    IrValue operands[9] = {rg_activation(g, x)};
    uint32_t count = 1 + rg_below(g, 8);
    for (uint32_t i = 1; i <= count; i++) operands[i] = rg_matrix(g, g->width, g->width);
    IrValue first = ir_op1(g->graph, IR_OP_multi_linear, count + 1, operands, 0, NULL), sum = first;
    for (uint32_t i = 1; i < count; i++) sum = rg_binary(g, IR_OP_add, sum, rg_result(g, first, i));
    return sum;
}

static inline IrValue rg_grouped(Rg *g, IrValue x, IrValue w, IrValue ids, IrValue plan) {
    return ir_op1(g->graph, IR_OP_grouped_linear, plan ? 4 : 3, (IrValue[]){rg_activation(g, x), w, ids, plan}, 0, NULL);
}

static inline IrValue rg_piece_experts(Rg *g, IrValue x) {
    int64_t experts = RG_PICK(g, 2, 4, 7), k = 1 + rg_below(g, (uint32_t)experts), inner = RG_PICK(g, 5, 32, 256);
    IrValue probs = rg_unary(g, IR_OP_softmax, rg_linear(g, x, experts));
    IrValue weights = ir_op1(g->graph, IR_OP_topk, 1, &probs, RG_ATTRS(RG_INT(K, k))), ids = rg_result(g, weights, 1), plan = 0;
    if (rg_chance(g, 50))
        plan = ir_op1(g->graph, IR_OP_moe_plan, 1, &ids, RG_ATTRS(RG_INT(EXPERTS, experts), RG_INT(TILE, RG_PICK(g, 1, 4, 16))));
    IrValue up = rg_grouped(g, x, rg_experts(g, experts, inner, g->width), ids, plan);
    IrValue down = rg_grouped(g, rg_unary(g, IR_OP_silu, up), rg_experts(g, experts, g->width, inner), ids, plan);
    return rg_binary(g, IR_OP_moe_sum, down, rg_binary(g, IR_OP_div, weights, rg_unary(g, IR_OP_sum, weights)));
}

// Whole, or in spans that are merged.
static inline IrValue rg_attention(Rg *g, const IrValue operands[4], bool split) {
    IrAttr scale = RG_F32(SCALE, rg_float(g));
    if (!split) return ir_op1(g->graph, IR_OP_attention, 4, operands, 1, &scale);
    IrValue sums = ir_op1(g->graph, IR_OP_attention_spans, 4, operands, RG_ATTRS(scale, RG_INT(SPANS, 3)));
    return ir_op1(g->graph, IR_OP_attention_merge, 3, (IrValue[]){sums, rg_result(g, sums, 1), rg_result(g, sums, 2)}, 0, NULL);
}

static inline IrValue rg_piece_attention(Rg *g, IrValue x) {
    int64_t groups = RG_PICK(g, 1, 2), heads = groups * RG_PICK(g, 1, 2, 3), d = RG_PICK(g, 8, 16);
    IrValue table = rg_rope_table(g), segments = rg_segments(g);
    IrType cache = rg_type3(rg_chance(g, 50) ? IR_F16 : IR_F32, IR_DIM_C, groups, d);
    IrValue q = rg_binary(g, IR_OP_rope, rg_rms(g, rg_heads(g, x, heads, d)), table);
    IrValue k = rg_binary(g, IR_OP_rope, rg_rms(g, rg_heads(g, x, groups, d)), table), v = rg_heads(g, x, groups, d);
    IrValue keys = ir_state(g->graph, IR_STATE_KV, rg_name(g, "k"), cache),
            values = ir_state(g->graph, IR_STATE_KV, rg_name(g, "v"), cache);
    ir_op1(g->graph, IR_OP_kv_append, 3, (IrValue[]){k, keys, segments}, 0, NULL);
    ir_op1(g->graph, IR_OP_kv_append, 3, (IrValue[]){v, values, segments}, 0, NULL);
    IrValue o = rg_attention(g, (IrValue[]){q, keys, values, segments}, heads == 3 * groups && d == 16);
    return rg_output(g, o, heads, d);
}

static inline IrValue rg_conv(Rg *g, IrValue u, int64_t channels) {
    int64_t taps = RG_PICK(g, 2, 4);
    IrValue w = ir_weight(g->graph, rg_name(g, "conv"), rg_type2(IR_F32, channels, taps));
    IrValue window = ir_state(g->graph, IR_STATE_CONV, rg_name(g, "window"), rg_type2(IR_F32, taps - 1, channels));
    return ir_op1(g->graph, IR_OP_conv1d, 4, (IrValue[]){u, w, window, rg_segments(g)}, 0, NULL);
}

static inline IrValue rg_chunked(Rg *g, const IrValue in[7], const char *heads) {
    IrAttr attrs[2] = {RG_NAME(HEADS, heads), RG_INT(CHUNK, RG_PICK(g, 2, 4, 16))};
    IrValue u = ir_op1(g->graph, IR_OP_delta_chunk_prep, 6, (IrValue[]){in[0], in[1], in[2], in[3], in[4], in[6]}, 2, attrs);
    IrValue rest[8] = {in[0], in[1], u, rg_result(g, u, 1), rg_result(g, u, 2), rg_result(g, u, 3), in[5], in[6]};
    return ir_op1(g->graph, IR_OP_delta_chunk_scan, 8, rest, 2, attrs);
}

// A gated delta net: g = -softplus, beta = sigmoid, normalised q and k, so that the state stays bounded.
static inline IrValue rg_piece_delta(Rg *g, IrValue x) {
    int64_t nk = RG_PICK(g, 1, 2), nv = nk * RG_PICK(g, 1, 3), dk = RG_PICK(g, 4, 8), dv = RG_PICK(g, 4, 8);
    const char *heads = rg_chance(g, 50) ? "mod" : "div";
    IrValue mixed = rg_unary(g, IR_OP_silu, rg_conv(g, rg_linear(g, x, 2 * nk * dk), 2 * nk * dk));
    IrType head = rg_type3(IR_F32, g->tokens, nk, dk);
    IrValue in[7] = {rg_l2(g, rg_reshape(g, rg_slice(g, mixed, 1, 0, nk * dk), head)),
                     rg_l2(g, rg_reshape(g, rg_slice(g, mixed, 1, nk * dk, 2 * nk * dk), head)),
                     rg_heads(g, x, nv, dv),
                     rg_unary(g, IR_OP_neg, rg_unary(g, IR_OP_softplus, rg_linear(g, x, nv))),
                     rg_unary(g, IR_OP_sigmoid, rg_linear(g, x, nv)),
                     ir_state(g->graph, IR_STATE_DELTA, rg_name(g, "delta"), rg_type3(IR_F32, nv, dk, dv)), rg_segments(g)};
    static const IrOpKind forms[] = {IR_OP_delta_rule, IR_OP_delta_scan, IR_OP_delta_step};
    bool step = g->options.step || g->options.wild || g->options.single;
    IrValue o = rg_chance(g, 40) ? rg_chunked(g, in, heads)
                                 : ir_op1(g->graph, forms[rg_below(g, step ? 3 : 2)], 7, in, RG_ATTRS(RG_NAME(HEADS, heads)));
    return rg_output(g, o, nv, dv);
}

// Views of a weight of any data type, left unused or returned: for text and verifier only.
static inline void rg_oddity(Rg *g) {
    IrDtype dtype = (IrDtype)rg_below(g, IR_DTYPE_COUNT);
    int64_t block = ir_dtype_info(dtype)->block, parts = RG_PICK(g, 1, 2, 3);
    IrType type = {.dtype = dtype, .rank = dtype == IR_Q8A ? 2 : 1 + rg_below(g, 4), .dims = {2, 3, 4, 5}};
    type.dims[type.rank - 1] = block * parts;
    IrValue x = ir_weight(g->graph, rg_name(g, "odd"), type);
    uint32_t axis = dtype == IR_Q8A ? 0 : rg_below(g, type.rank);   // rows of q8a stay whole
    IrValue y = rg_slice(g, x, axis, 0, axis == type.rank - 1 ? block : 1);
    IrValue z = ir_op1(g->graph, IR_OP_concat, 2, (IrValue[]){x, y}, RG_ATTRS(RG_INT(AXIS, axis)));
    if (rg_chance(g, 50)) hd_vec_push(&g->graph->results, ((IrResult){rg_name(g, "odd result"), z}));
}

static inline IrValue rg_piece(Rg *g, IrValue x, IrValue y) {
    switch (rg_below(g, 10)) {
    case 0: return rg_piece_unary(g, x);
    case 1: return rg_piece_binary(g, x, y);
    case 2: return rg_piece_norm(g, x);
    case 3: return rg_piece_views(g, x);
    case 4: return rg_piece_linear(g, x);
    case 5: return rg_piece_multi_linear(g, x);
    case 6: return rg_piece_experts(g, x);
    case 7: return rg_piece_attention(g, x);
    case 8: return rg_piece_delta(g, x);
    default: return rg_conv(g, x, g->width);
    }
}

// ---- the graph -----------------------------------------------------------------------------------------------

static inline void rg_ends(Rg *g) {
    IrValue last = g->streams[g->stream_count - 1];
    IrValue rows = rg_binary(g, IR_OP_take_rows, rg_rms(g, last), rg_rows(g)), logits = rg_linear(g, rows, RG_VOCAB);
    hd_vec_push(&g->graph->results, ((IrResult){ir_intern(g->graph->module, HD_STR("logits")), logits}));
    if (rg_chance(g, 30)) hd_vec_push(&g->graph->results, ((IrResult){rg_name(g, "hidden"), last}));
    if (g->options.wild && rg_chance(g, 30)) {
        int64_t width = 1 + rg_below(g, RG_VOCAB), k = 1 + rg_below(g, (uint32_t)hd_ceil_div(RG_VOCAB, width));
        IrValue values = ir_op1(g->graph, IR_OP_argmax, 1, &logits, RG_ATTRS(RG_INT(WIDTH, width)));
        IrValue runs[] = {logits, values, rg_result(g, values, 1)};
        IrValue top = ir_op1(g->graph, IR_OP_top_runs, 3, runs, RG_ATTRS(RG_INT(K, k), RG_INT(WIDTH, width)));
        hd_vec_push(&g->graph->results, ((IrResult){ir_intern(g->graph->module, HD_STR("argmax")), rg_result(g, top, 1)}));
    }
}

// A new graph in `module`. It has results "logits" f32[R, RG_VOCAB] and sometimes "hidden.<n>" f32[T, D] and, if wild, "argmax" i32[R, 1].
static inline IrGraph *rg_graph(IrModule *module, const char *name, const RgOptions *options) {
    Rg g = {.state = options->seed, .options = *options, .graph = ir_graph_new(module, name)};
    g.tokens = options->single ? 1 : IR_DIM_T;
    g.segments = options->single ? 1 : IR_DIM_S;
    g.rows = options->single ? 1 : IR_DIM_R;
    g.width = RG_PICK(&g, 32, 64, 256);
    IrValue table = ir_weight(g.graph, rg_name(&g, "embedding"), rg_type2(rg_weight_dtype(&g, g.width), RG_VOCAB, g.width));
    g.streams[g.stream_count++] = rg_binary(&g, IR_OP_embed, rg_tokens(&g), table);
    uint32_t pieces = options->pieces ? options->pieces : 1 + rg_below(&g, 12);
    for (uint32_t i = 0; i < pieces && g.stream_count < RG_STREAMS; i++) {
        IrValue x = g.streams[rg_chance(&g, 70) ? g.stream_count - 1 : rg_below(&g, g.stream_count)];
        g.graph->layer = rg_chance(&g, 80) ? (int32_t)i : -1;
        if (rg_chance(&g, 40)) x = rg_rms(&g, x);
        g.streams[g.stream_count] = rg_piece(&g, x, g.streams[rg_below(&g, g.stream_count)]);
        g.stream_count++;
        if (options->wild && rg_chance(&g, 30)) rg_oddity(&g);
    }
    g.graph->layer = -1;
    rg_ends(&g);
    return g.graph;
}

#endif
