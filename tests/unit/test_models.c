// SPDX-License-Identifier: Apache-2.0
// The models, run by the interpreter, against logits computed in float64 by a program that shares no code with this one; and
// graphs with one seeded mistake each, which those logits have to find.
#include <stdarg.h>
#include <stddef.h>

#include "tests/unit/model_fixture.h"

#define RANDOM(name) TEST_DATA "/models/" name ".gguf"
#define TINY(name) MODEL_DATA "/" name ".gguf"

// The bounds are what rounding every intermediate value to float32 costs. In moe-e16-k4 a few tokens have short keys, which
// amplify it.
static const struct { const char *name, *path; double bound; } random_models[] = {
    {"h1-mha-tied", RANDOM("h1-mha-tied"), 1e-12},
    {"h2-gqa4", RANDOM("h2-gqa4"), 1e-12},
    {"h3-head256", RANDOM("h3-head256"), 1e-12},
    {"moe-e16-k4", RANDOM("moe-e16-k4"), 4e-12},
};

static void check_bound(const char *name, const char *what, double error, double bound) {
    print_message("%s, %s: NMSE %.3g\n", name, what, error);
    if (!(error <= bound)) fail_msg("%s, %s: NMSE %g is above %g", name, what, error, bound);
}

// ---- random models: every way of splitting, every layer --------------------------------------------------------

static void test_random_models(void **state) {
    (void)state;
    static const struct { const char *what; uint32_t sizes[4]; } splits[] = {
        {"one call", {1 << 20}}, {"calls of 1, 3, 64", {1, 3, 64}}, {"token by token", {1}}};
    for (size_t i = 0; i < HD_COUNT(random_models); i++) {
        GgufFile *file = open_gguf(random_models[i].path);
        Golden golden = golden_open(random_models[i].name);
        IrModule *module = build(file, NULL);
        assert_string_equal(ir_module_key(module, "kv.dtype"), "f32");
        for (size_t s = 0; s < HD_COUNT(splits); s++) {
            float *logits = run_split(file, model_graph(module), &golden, golden.count, splits[s].sizes);
            double error = nmse(logits, golden.logits, (uint64_t)golden.count * golden.vocab);
            check_bound(random_models[i].name, splits[s].what, error, random_models[i].bound);
            free(logits);
        }
        ir_module_free(module);
        gguf_close(golden.file);
        gguf_close(file);
    }
}

static void test_layers_of_random_models(void **state) {
    (void)state;
    for (size_t i = 0; i < HD_COUNT(random_models); i++) {
        GgufFile *file = open_gguf(random_models[i].path);
        Golden golden = golden_open(random_models[i].name);
        IrModule *module = build(file, &(ModelOptions){.probes = true});
        IrInterp *interp = interp_new(file, golden.count);
        float *logits = hd_xmalloc(sizeof *logits * golden.count * golden.vocab);
        run_call(interp, model_graph(module), golden.tokens, 0, golden.count, logits);
        int64_t layers = 0;
        assert_true(hd_parse_i64(hd_str(ir_module_key(module, "layers")), &layers));
        for (int64_t k = 0; k <= layers; k++) {
            char name[32];
            snprintf(name, sizeof name, "hidden.%d", (int)k);
            const GgufTensor *expected = gguf_find_tensor(golden.file, name);
            uint64_t count = 0;
            const float *hidden = ir_interp_result(interp, name, &count);
            assert_non_null(expected);
            assert_non_null(hidden);
            assert_int_equal(count, expected->ne[0] * expected->ne[1]);
            check_bound(random_models[i].name, name, nmse(hidden, (const float *)expected->data, count), random_models[i].bound);
        }
        free(logits);
        ir_interp_free(interp);
        ir_module_free(module);
        gguf_close(golden.file);
        gguf_close(file);
    }
}

// ---- trained models --------------------------------------------------------------------------------------------

static void check_trained(const char *name, const GgufFile *file, ModelKv kv, const char *what, uint32_t count, double bound) {
    Golden golden = golden_open(name);
    IrModule *module = build(file, &(ModelOptions){.kv = kv});
    check_bound(name, what, graph_nmse(file, model_graph(module), &golden, count), bound);
    ir_module_free(module);
    gguf_close(golden.file);
}

static void test_trained_models(void **state) {
    (void)state;
    static const struct { const char *name, *path; } models[] = {
        {"tiny-dense-bf16", TINY("tiny-dense-bf16")},     {"tiny-dense-q8_0", TINY("tiny-dense-q8_0")},
        {"tiny-dense-q4_k_m", TINY("tiny-dense-q4_k_m")}, {"tiny-moe-q8_0", TINY("tiny-moe-q8_0")},
        {"tiny-moe-q4_k_m", TINY("tiny-moe-q4_k_m")},
    };
    for (size_t i = 0; i < HD_COUNT(models); i++) {
        GgufFile *file = open_gguf(models[i].path);
        check_trained(models[i].name, file, MODEL_KV_F32, "one call", 128, 1e-11);
        gguf_close(file);
    }
}

// tiny-moe-bf16 is not stored: its matrices are those of tiny-moe-q8_0, rounded to bfloat16.
static void test_trained_moe_in_bf16(void **state) {
    (void)state;
    Draft *draft = draft_open(TINY("tiny-moe-q8_0"));
    for (size_t i = 0; i < draft->tensors.len; i++) {
        DraftTensor *tensor = &draft->tensors.data[i];
        if (tensor->type == GGML_F32) continue;
        uint64_t count = draft_elements(tensor);
        float *values = hd_xmalloc(count * sizeof *values);
        uint16_t *halves = HD_NEW_ARRAY(&draft->arena, uint16_t, count);
        assert_true(ggml_dequantise(tensor->type, tensor->data, count, values));
        for (uint64_t n = 0; n < count; n++) halves[n] = hd_f32_to_bf16(values[n]);
        tensor->type = GGML_BF16;
        tensor->data = halves;
        free(values);
    }
    GgufFile *file = draft_file(draft);
    check_trained("tiny-moe-bf16", file, MODEL_KV_F32, "one call", 128, 1e-11);
    gguf_close(file);
    draft_close(draft);
}

// A cache of half precision shows, but little.
static void test_f16_cache(void **state) {
    (void)state;
    GgufFile *file = open_gguf(TINY("tiny-dense-q8_0"));
    Golden golden = golden_open("tiny-dense-q8_0");
    IrModule *module = build(file, NULL);
    assert_string_equal(ir_module_key(module, "kv.dtype"), "f16");
    double error = graph_nmse(file, model_graph(module), &golden, 32);
    check_bound("tiny-dense-q8_0", "f16 cache", error, 1e-5);
    assert_true(error > 1e-11);
    ir_module_free(module);
    gguf_close(golden.file);
    gguf_close(file);
}

// ---- mistakes ----------------------------------------------------------------------------------------------------
// Each changes a correct graph at every place where it applies, and says at how many.

typedef HD_VEC(IrOpRef) OpList;

static OpList ops_of(IrGraph *graph, IrOpKind kind) {
    OpList list = {0};
    IR_FOR_OPS(graph, 0, ref)
        if (ir_op(graph, ref)->kind == kind) hd_vec_push(&list, ref);
    return list;
}

// The operation that made operand 0 of `op`; NULL for an input or weight.
static IrOp *maker(IrGraph *graph, const IrOp *op, uint32_t operand) {
    IrOpRef ref = ir_value(graph, op->operands[operand])->op;
    return ref ? ir_op(graph, ref) : NULL;
}

static IrOp *user(IrGraph *graph, const IrOp *op) {
    IR_FOR_OPS(graph, 0, ref)
        for (uint32_t i = 0; i < ir_op(graph, ref)->operand_count; i++)
            if (ir_op(graph, ref)->operands[i] == op->results[0]) return ir_op(graph, ref);
    return NULL;
}

static void set_operand(IrGraph *graph, const IrOp *op, uint32_t index, IrValue value) {
    ir_set_operand(graph, ir_value(graph, op->results[0])->op, index, value);
}

static bool is_kind(const IrOp *op, IrOpKind kind) { return op && op->kind == kind; }

static bool name_ends(IrGraph *graph, IrValue value, const char *end) {
    const char *name = ir_value(graph, value)->name;
    return name && strlen(name) >= strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

// Applies `change` to each operation of a kind; it says whether it did anything.
static int each(IrGraph *graph, IrOpKind kind, bool (*change)(IrGraph *graph, IrOp *op)) {
    OpList list = ops_of(graph, kind);
    int count = 0;
    for (size_t i = 0; i < list.len; i++) count += change(graph, ir_op(graph, list.data[i]));
    hd_vec_free(&list);
    return count;
}

static bool bypass(IrGraph *graph, IrOp *op) { return ir_replace_uses(graph, op->results[0], op->operands[0]), true; }

static bool pair_by_division(IrGraph *graph, IrOp *op) {
    return op->attr[IR_ATTR_HEADS].name = ir_intern(graph->module, HD_STR("div")), true;
}
static int heads_by_division(IrGraph *graph) { return each(graph, IR_OP_delta_rule, pair_by_division); }

static int rotate_all_channels(IrGraph *graph) {
    int count = 0;
    IR_FOR_OPS(graph, 0, ref) {
        const IrOp *op = ir_op(graph, ref);
        if (op->kind != IR_OP_rope) continue;
        ir_value(graph, op->operands[1])->type.dims[1] = ir_value(graph, op->operands[0])->type.dims[2];
        count++;
    }
    return count;
}

static int rotate_nothing(IrGraph *graph) { return each(graph, IR_OP_rope, bypass); }

static bool theta_10000(IrGraph *graph, IrOp *op) { return ir_value(graph, op->operands[1])->theta = 1e4f, true; }
static int another_base_frequency(IrGraph *graph) { return each(graph, IR_OP_rope, theta_10000); }

// Query and gate are the slices of the reshaped product with attn_q: all queries first, then all gates, is wrong.
static bool split_flat(IrGraph *graph, IrOp *op) {
    const IrOp *view = maker(graph, op, 0);
    if (!is_kind(view, IR_OP_reshape) || !is_kind(maker(graph, view, 0), IR_OP_linear)) return false;
    IrType type = ir_value(graph, op->results[0])->type;
    int64_t H = type.dims[1], d = type.dims[2], begin = op->attr[IR_ATTR_BEGIN].i * H;
    IrValue flat = view->operands[0], old = op->results[0];
    IrOpRef before = op->next;
    HdStatus *status = NULL;
    IrBuild slice = {.kind = IR_OP_slice, .operands = &flat, .operand_count = 1, .attr_count = 3, .before = before,
                     .attrs = (IrAttr[]){{IR_ATTR_AXIS, {.i = 1}}, {IR_ATTR_BEGIN, {.i = begin}},
                                         {IR_ATTR_END, {.i = begin + H * d}}}};
    IrOpRef part = ir_build(graph, &slice, &status);
    must(status);
    IrBuild reshape = {.kind = IR_OP_reshape, .operands = &ir_op(graph, part)->results[0], .operand_count = 1, .given = &type,
                       .given_count = 1, .before = before};
    IrOpRef wrong = ir_build(graph, &reshape, &status);
    must(status);
    ir_replace_uses(graph, old, ir_op(graph, wrong)->results[0]);
    return true;
}
static int queries_then_gates(IrGraph *graph) { return each(graph, IR_OP_slice, split_flat); }

// The attention's gate is the sigmoid that an [T, H, d] product uses.
static bool to_silu(IrGraph *graph, IrOp *op) {
    if (ir_value(graph, op->results[0])->type.rank != 3) return false;
    return op->kind = IR_OP_silu, true;
}
static int silu_for_the_attention_gate(IrGraph *graph) { return each(graph, IR_OP_sigmoid, to_silu); }

static bool scale_by_width(IrGraph *graph, IrOp *op) {
    return op->attr[IR_ATTR_SCALE].f = 1.0f / (float)ir_value(graph, op->operands[0])->type.dims[2], true;
}
static int scores_over_d(IrGraph *graph) { return each(graph, IR_OP_attention, scale_by_width); }

static bool after_convolution(IrGraph *graph, IrOp *op) {
    return is_kind(maker(graph, op, 0), IR_OP_conv1d) && bypass(graph, op);
}
static int no_silu_after_convolution(IrGraph *graph) { return each(graph, IR_OP_silu, after_convolution); }

static bool unscaled(IrGraph *graph, IrOp *op) {
    (void)graph;
    if (op->attr[IR_ATTR_SCALE].f == 1) return false;
    return op->attr[IR_ATTR_SCALE].f = 1, true;
}
static int query_of_delta_net_unscaled(IrGraph *graph) { return each(graph, IR_OP_l2_norm, unscaled); }

static bool z_gate_to_sigmoid(IrGraph *graph, IrOp *op) {
    if (ir_value(graph, op->results[0])->type.rank != 3 || is_kind(maker(graph, op, 0), IR_OP_conv1d)) return false;
    return op->kind = IR_OP_sigmoid, true;
}
static int sigmoid_for_the_delta_gate(IrGraph *graph) { return each(graph, IR_OP_silu, z_gate_to_sigmoid); }

static bool swap_gates(IrGraph *graph, IrOp *op) {
    IrValue g = op->operands[3];
    set_operand(graph, op, 3, op->operands[4]);
    return set_operand(graph, op, 4, g), true;
}
static int decay_for_strength(IrGraph *graph) { return each(graph, IR_OP_delta_rule, swap_gates); }

static bool without_bias(IrGraph *graph, IrOp *op) {
    return name_ends(graph, op->operands[1], "ssm_dt.bias") && bypass(graph, op);
}
static int no_time_step_bias(IrGraph *graph) { return each(graph, IR_OP_add, without_bias); }

static bool exchange_q_and_k(IrGraph *graph, IrOp *op) {
    IrValue q = op->operands[0];
    set_operand(graph, op, 0, op->operands[1]);
    return set_operand(graph, op, 1, q), true;
}
static int q_for_k_in_delta_net(IrGraph *graph) { return each(graph, IR_OP_delta_rule, exchange_q_and_k); }

// A norm after its gate: norm(o * silu(z)) for norm(o) * silu(z).
static bool gate_first(IrGraph *graph, IrOp *op) {
    IrOp *gated = user(graph, op);
    if (!is_kind(maker(graph, op, 0), IR_OP_delta_rule) || !is_kind(gated, IR_OP_mul)) return false;
    set_operand(graph, gated, 0, op->operands[0]);
    IrOpRef norm = ir_value(graph, op->results[0])->op;
    IrValue product = gated->results[0];
    ir_replace_uses(graph, product, op->results[0]);
    ir_set_operand(graph, norm, 0, product);
    ir_move_before(graph, norm, gated->next);
    return true;
}
static int gate_before_norm(IrGraph *graph) { return each(graph, IR_OP_rms_norm, gate_first); }

static int router_not_normalised(IrGraph *graph) { return each(graph, IR_OP_div, bypass); }

static bool shared_gate(IrGraph *graph, IrOp *op) {
    const IrOp *linear = maker(graph, op, 0);
    if (!is_kind(linear, IR_OP_linear)) return false;
    return name_ends(graph, linear->operands[1], "ffn_gate_inp_shexp.weight") && bypass(graph, op);
}
static int shared_expert_without_sigmoid(IrGraph *graph) { return each(graph, IR_OP_sigmoid, shared_gate); }

// silu(up) * gate for silu(gate) * up, in experts only.
static bool gate_for_up(IrGraph *graph, IrOp *op) {
    IrOp *product = user(graph, op);
    if (!is_kind(maker(graph, op, 0), IR_OP_grouped_linear) || !is_kind(product, IR_OP_mul)) return false;
    IrValue gate = op->operands[0], up = product->operands[1];
    set_operand(graph, product, 1, gate);
    set_operand(graph, op, 0, up);
    ir_move_before(graph, ir_value(graph, op->results[0])->op, ir_value(graph, product->results[0])->op);
    return true;
}
static int expert_up_for_gate(IrGraph *graph) { return each(graph, IR_OP_silu, gate_for_up); }

static const struct { const char *what; int (*change)(IrGraph *graph); const char *name, *path; } mistakes[] = {
#define MISTAKE(function, model) {#function, function, model, RANDOM(model)},
    MISTAKE(heads_by_division, "h2-gqa4")
    MISTAKE(heads_by_division, "moe-e16-k4")
    MISTAKE(rotate_all_channels, "h2-gqa4")
    MISTAKE(rotate_all_channels, "h3-head256")
    MISTAKE(rotate_nothing, "h1-mha-tied")
    MISTAKE(another_base_frequency, "h3-head256")
    MISTAKE(queries_then_gates, "h2-gqa4")
    MISTAKE(silu_for_the_attention_gate, "h1-mha-tied")
    MISTAKE(scores_over_d, "h1-mha-tied")
    MISTAKE(no_silu_after_convolution, "h1-mha-tied")
    MISTAKE(query_of_delta_net_unscaled, "h1-mha-tied")
    MISTAKE(sigmoid_for_the_delta_gate, "h1-mha-tied")
    MISTAKE(decay_for_strength, "h1-mha-tied")
    MISTAKE(no_time_step_bias, "h1-mha-tied")
    MISTAKE(q_for_k_in_delta_net, "h1-mha-tied")
    MISTAKE(gate_before_norm, "h1-mha-tied")
    MISTAKE(router_not_normalised, "moe-e16-k4")
    MISTAKE(shared_expert_without_sigmoid, "moe-e16-k4")
    MISTAKE(expert_up_for_gate, "moe-e16-k4")
#undef MISTAKE
};

static void test_mistakes_are_found(void **state) {
    (void)state;
    for (size_t i = 0; i < HD_COUNT(mistakes); i++) {
        GgufFile *file = open_gguf(mistakes[i].path);
        Golden golden = golden_open(mistakes[i].name);
        IrModule *module = build(file, NULL);
        IrGraph *graph = ir_graph_find(module, "model");
        double before = graph_nmse(file, graph, &golden, 24);
        int places = mistakes[i].change(graph);
        double after = graph_nmse(file, graph, &golden, 24);
        print_message("%s in %s: %d places, NMSE %.3g\n", mistakes[i].what, mistakes[i].name, places, after);
        assert_true(places > 0);
        assert_true(before <= 1e-11);
        assert_true(after > 1e-6 || isnan(after));
        ir_module_free(module);
        gguf_close(golden.file);
        gguf_close(file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_models),      cmocka_unit_test(test_layers_of_random_models),
        cmocka_unit_test(test_trained_models),     cmocka_unit_test(test_trained_moe_in_bf16),
        cmocka_unit_test(test_f16_cache),          cmocka_unit_test(test_mistakes_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
