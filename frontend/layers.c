// SPDX-License-Identifier: Apache-2.0
// Products with weights, rows by index, and the operations that keep state between calls.
#include "frontend/dsl_internal.h"

#include <string.h>

static const char *with_suffix(Model *m, const char *name, const char *suffix) {
    return hd_arena_printf(&m->arena, "%s.%s", name, suffix);
}

// ---- products --------------------------------------------------------------------------------------------------

// y times the one number that an NVFP4 file keeps beside the matrix, if it does.
static Tensor times_scale(Model *m, Tensor y, const char *name) {
    const char *scale = with_suffix(m, name, "scale");
    return dsl_has(m, scale) ? dsl_mul(m, y, dsl_vector(m, scale, 1)) : y;
}

Tensor dsl_linear(Model *m, Tensor x, const char *name, int64_t N) {
    if (dsl_is_none(x)) return x;
    IrType type = dsl_type(m, x);
    Tensor w = dsl_weight(m, with_suffix(m, name, "weight"), false, 2, (int64_t[]){N, ir_type_last(&type)});
    return times_scale(m, DSL_OP(m, .kind = IR_OP_linear, .operands = 2, .operand = {x, w}), name);
}

// The entries of table [E] for ids [T, k], as [T, k, 1].
static Tensor by_expert(Model *m, Tensor table, Tensor ids, int64_t E) {
    int64_t k = dsl_type(m, ids).dims[1];
    IrExpr rows = {.coef[IR_SYM_T] = k};
    Tensor column = dsl_reshape(m, table, 2, (IrDim[]){E, 1});
    Tensor list = dsl_reshape(m, ids, 1, (IrDim[]){ir_dim(m->graph, "TK", &rows)});
    Tensor picked = DSL_OP(m, .kind = IR_OP_take_rows, .operands = 2, .operand = {column, list});
    return dsl_reshape(m, picked, 3, (IrDim[]){IR_DIM_T, k, 1});
}

static Tensor times_expert_scale(Model *m, Tensor y, Tensor ids, const char *name, int64_t E) {
    const char *scale = with_suffix(m, name, "scale");
    if (m->error || !dsl_has(m, scale)) return y;
    Tensor table = dsl_vector(m, scale, E);
    return dsl_is_none(table) ? table : dsl_mul(m, y, by_expert(m, table, ids, E));
}

Tensor dsl_expert_linear(Model *m, Tensor x, Tensor ids, const char *name, int64_t E, int64_t N) {
    if (dsl_is_none(x)) return x;
    IrType type = dsl_type(m, x);
    Tensor w = dsl_weight(m, with_suffix(m, name, "weight"), false, 3, (int64_t[]){E, N, ir_type_last(&type)});
    Tensor y = DSL_OP(m, .kind = IR_OP_grouped_linear, .operands = 3, .operand = {x, w, ids});
    return times_expert_scale(m, y, ids, name, E);
}

Tensor dsl_expert_sum(Model *m, Tensor y, Tensor weights) {
    return DSL_OP(m, .kind = IR_OP_moe_sum, .operands = 2, .operand = {y, weights});
}

// A product by one matrix of the model, or (E > 0) by each token's experts.
static Tensor product(Model *m, Tensor x, Tensor ids, int64_t E, const char *name, int64_t N) {
    return E ? dsl_expert_linear(m, x, ids, name, E, N) : dsl_linear(m, x, name, N);
}

static void share_out(Model *m, Tensor x, Tensor ids, int64_t E, const char *fused, size_t count, const Projection *parts) {
    bool joined = dsl_has(m, with_suffix(m, fused, "weight"));
    int64_t width = 0, begin = 0;
    for (size_t i = 0; i < count; i++) width += parts[i].width;
    Tensor all = joined ? product(m, x, ids, E, fused, width) : (Tensor){0};
    for (const Projection *part = parts; part < parts + count; begin += part++->width)
        *part->out = joined ? dsl_channels(m, all, begin, part->width) : product(m, x, ids, E, part->name, part->width);
}

void dsl_projections(Model *m, Tensor x, const char *fused, size_t count, const Projection *parts) {
    share_out(m, x, (Tensor){0}, 0, fused, count, parts);
}

void dsl_expert_projections(Model *m, Tensor x, Tensor ids, int64_t E, const char *fused, size_t count,
                            const Projection *parts) {
    share_out(m, x, ids, E, fused, count, parts);
}

// ---- what a call brings --------------------------------------------------------------------------------------

static Tensor input(Model *m, IrInputKind kind, IrType type, float theta) {
    return (Tensor){m->error ? 0 : ir_input(m->graph, kind, type, theta)};
}

static Tensor segments(Model *m) {
    return input(m, IR_INPUT_SEGMENTS, (IrType){.dtype = IR_I32, .rank = 2, .dims = {IR_DIM_S, 8}}, 0);
}

Tensor dsl_embed(Model *m, const char *name, int64_t V, int64_t D) {
    Tensor ids = input(m, IR_INPUT_TOKENS, (IrType){.dtype = IR_I32, .rank = 1, .dims = {IR_DIM_T}}, 0);
    Tensor w = dsl_weight(m, with_suffix(m, name, "weight"), false, 2, (int64_t[]){V, D});
    return times_scale(m, DSL_OP(m, .kind = IR_OP_embed, .operands = 2, .operand = {ids, w}), name);
}

Tensor dsl_wanted_rows(Model *m, Tensor x) {
    Tensor rows = input(m, IR_INPUT_ROWS, (IrType){.dtype = IR_I32, .rank = 1, .dims = {IR_DIM_R}}, 0);
    return DSL_OP(m, .kind = IR_OP_take_rows, .operands = 2, .operand = {x, rows});
}

Tensor dsl_rope(Model *m, Tensor x, int64_t n, float theta) {
    Tensor table = input(m, IR_INPUT_ROPE, (IrType){.dtype = IR_F32, .rank = 2, .dims = {IR_DIM_T, n}}, theta);
    return DSL_OP(m, .kind = IR_OP_rope, .operands = 2, .operand = {x, table});
}

// ---- state -----------------------------------------------------------------------------------------------------

static Tensor state(Model *m, IrStateKind kind, const char *name, IrType type) {
    return (Tensor){m->error ? 0 : ir_state(m->graph, kind, dsl_full_name(m, name), type)};
}

// Decided at the first cache: f32 when every matrix that the model can use is F32.
static IrDtype kv_dtype(Model *m) {
    if (m->options.choose_kv) return m->options.kv_dtype;
    m->options.choose_kv = true;
    m->options.kv_dtype = IR_F32;
    for (size_t i = 0; i < gguf_tensor_count(m->file); i++) {
        const GgufTensor *tensor = gguf_tensor_at(m->file, i);
        if (tensor->n_dims > 1 && tensor->type->id != GGML_F32 && !dsl_ignored(m, tensor->name)) m->options.kv_dtype = IR_F16;
    }
    return m->options.kv_dtype;
}

Tensor dsl_kv_cache(Model *m, const char *name, Tensor x) {
    if (dsl_is_none(x)) return x;
    IrType type = dsl_type(m, x);
    type.dims[0] = IR_DIM_C;
    type.dtype = kv_dtype(m);
    ir_module_set_key(m->module, "kv.dtype", ir_dtype_info(type.dtype)->name);
    Tensor cache = state(m, IR_STATE_KV, name, type);
    DSL_OP(m, .kind = IR_OP_kv_append, .operands = 3, .operand = {x, cache, segments(m)});
    return cache;
}

Tensor dsl_attention(Model *m, Tensor q, Tensor keys, Tensor values, float scale) {
    return DSL_OP(m, .kind = IR_OP_attention, .operands = 4, .operand = {q, keys, values, segments(m)}, .attrs = 1,
                  .attr = {{IR_ATTR_SCALE, {.f = scale}}});
}

Tensor dsl_causal_conv(Model *m, Tensor u, const char *name, int64_t K) {
    if (dsl_is_none(u)) return u;
    int64_t N = dsl_type(m, u).dims[1];
    Tensor w = dsl_weight(m, with_suffix(m, name, "weight"), true, 2, (int64_t[]){N, K});
    Tensor window = state(m, IR_STATE_CONV, "conv", (IrType){.dtype = IR_F32, .rank = 2, .dims = {K - 1, N}});
    return DSL_OP(m, .kind = IR_OP_conv1d, .operands = 4, .operand = {u, w, window, segments(m)});
}

Tensor dsl_delta_rule(Model *m, Tensor q, Tensor k, Tensor v, Tensor g, Tensor beta, const char *pairing) {
    if (dsl_is_none(q) || dsl_is_none(v)) return q;
    IrType key = dsl_type(m, q), value = dsl_type(m, v);
    IrType matrices = {.dtype = IR_F32, .rank = 3, .dims = {value.dims[1], key.dims[2], value.dims[2]}};
    Tensor S = state(m, IR_STATE_DELTA, "delta", matrices);
    return DSL_OP(m, .kind = IR_OP_delta_rule, .operands = 7, .operand = {q, k, v, g, beta, S, segments(m)}, .attrs = 1,
                  .attr = {{IR_ATTR_HEADS, {.name = ir_intern(m->module, hd_str(pairing))}}});
}
