// SPDX-License-Identifier: Apache-2.0
// The graph IR piece by piece: tables, dimensions, building and changing graphs, the canonical text, costs.
#include "ir/ir.h"
#include "ir/moe_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

// ---- tables --------------------------------------------------------------------------------------------------

// Every row is found under its own name, so no two rows share one.
static void test_tables(void **state) {
    (void)state;
    for (int i = 0; i < IR_OP_COUNT; i++) {
        IrOpKind kind;
        assert_true(ir_op_named(hd_str(ir_op_info((IrOpKind)i)->name), &kind) && (int)kind == i);
        assert_true(ir_op_info(kind)->min_operands >= 1 && ir_op_info(kind)->max_operands <= 32);
        assert_true((ir_op_bound(kind) > 0) == (ir_op_info(kind)->numerics == IR_NUMERICS_BOUNDED));
    }
    for (int i = 0; i < IR_ATTR_COUNT; i++) {
        IrAttrId attr;
        assert_true(ir_attr_named(hd_str(ir_attr_info((IrAttrId)i)->name), &attr) && (int)attr == i);
    }
    for (int i = 0; i < IR_DTYPE_COUNT; i++) {
        IrDtype dtype, by_id;
        const IrDtypeInfo *info = ir_dtype_info((IrDtype)i);
        assert_true(ir_dtype_named(hd_str(info->name), &dtype) && (int)dtype == i);
        if (info->ggml >= 0) assert_true(ir_dtype_from_ggml((uint32_t)info->ggml, &by_id) && by_id == dtype);
    }
    IrDtype none;
    assert_false(ir_dtype_from_ggml(4, &none));   // Q4_2, withdrawn
    assert_false(ir_dtype_from_ggml(UINT32_MAX, &none));
    assert_false(ir_dtype_named(HD_STR("q4"), &none));
}

// ---- dimensions ----------------------------------------------------------------------------------------------

static IrExpr expr_of(int64_t constant, int64_t t, int64_t s, int64_t ceil_coef, int64_t div) {
    IrExpr expr = {.constant = constant, .coef = {t, s}};
    if (div) {
        expr.ceils = 1;
        expr.ceil[0].coef = ceil_coef;
        expr.ceil[0].div = div;
        expr.ceil[0].sym = IR_SYM_T;
    }
    return expr;
}

static IrDim dim(IrGraph *graph, const char *name, IrExpr expr) { return ir_dim(graph, name, &expr); }

static void test_dims(void **state) {
    (void)state;
    IrModule *module = ir_module_new("m");
    IrGraph *graph = ir_graph_new(module, "model");
    assert_int_equal(dim(graph, "X", expr_of(17, 0, 0, 0, 0)), 17);
    assert_int_equal(dim(graph, "X", expr_of(0, 1, 0, 0, 0)), IR_DIM_T);
    assert_int_equal(dim(graph, "X", expr_of(0, 0, 1, 0, 0)), IR_DIM_S);
    assert_int_equal(dim(graph, "X", expr_of(0, 0, 0, 1, 1)), IR_DIM_T);        // ceil(T/1)
    assert_int_equal(dim(graph, "X", expr_of(5, 0, 0, 0, 64)), 5);              // 0 * ceil
    IrDim e = dim(graph, "E", expr_of(0, 0, 64, 64, 64));
    assert_true(ir_dim_is_sym(e) && ir_dim_sym(e) == IR_SYM_BASE_COUNT);
    assert_int_equal(dim(graph, "other", expr_of(0, 0, 64, 64, 64)), e);        // equal expressions, one symbol
    IrDim e2 = dim(graph, "E", expr_of(0, 0, 32, 32, 32));
    assert_int_not_equal(e2, e);
    assert_string_equal(graph->syms.data[ir_dim_sym(e2)].name, "E2");
    IrBinding call = {{130, 3, 1000, 2}};
    assert_int_equal(ir_dim_eval(graph, e, &call), 64 * 3 + 64 * 3);
    assert_int_equal(ir_dim_eval(graph, e2, &call), 32 * 5 + 32 * 3);
    assert_int_equal(ir_dim_eval(graph, IR_DIM_C, &call), 1000);
    assert_int_equal(ir_dim_eval(graph, 9, &call), 9);
    ir_module_free(module);
}

// Two ceils in either order are one dimension; equal ones add up.
static void test_ceil_order(void **state) {
    (void)state;
    IrModule *module = ir_module_new("m");
    IrGraph *graph = ir_graph_new(module, "model");
    IrExpr a = {.ceils = 2}, b = {.ceils = 2}, c = {.ceils = 2}, d = expr_of(0, 0, 0, 5, 8);
    a.ceil[0].coef = 2, a.ceil[0].div = 8, a.ceil[1].coef = 3, a.ceil[1].div = 4;
    b.ceil[0].coef = 3, b.ceil[0].div = 4, b.ceil[1].coef = 2, b.ceil[1].div = 8;
    c.ceil[0].coef = 2, c.ceil[0].div = 8, c.ceil[1].coef = 3, c.ceil[1].div = 8;
    assert_int_equal(ir_dim(graph, "A", &a), ir_dim(graph, "B", &b));
    assert_int_equal(ir_dim(graph, "C", &c), ir_dim(graph, "D", &d));
    ir_module_free(module);
}

static void test_type_sizes(void **state) {
    (void)state;
    IrModule *module = ir_module_new("m");
    IrGraph *graph = ir_graph_new(module, "model");
    IrBinding call = {{7, 1, 64, 1}};
    IrType acts = {.dtype = IR_F32, .rank = 2, .dims = {IR_DIM_T, 10}}, q4 = {.dtype = IR_Q4_K, .rank = 2, .dims = {3, 512}};
    IrType q8a = {.dtype = IR_Q8A, .rank = 2, .dims = {IR_DIM_T, 64}};
    assert_int_equal(ir_type_elements(graph, &acts, &call), 70);
    assert_int_equal(ir_type_bytes(graph, &acts, &call), 280);
    assert_int_equal(ir_type_bytes(graph, &q4, &call), 3 * 2 * 144);
    assert_int_equal(ir_type_bytes(graph, &q8a, &call), 7 * (64 + 2 * 4 + 2 * 4));   // values, scales, sums
    ir_module_free(module);
}

// P of the type rule is the size of the plan that moe_plan.h lays out, for every call.
static void test_moe_plan_words(void **state) {
    (void)state;
    IrModule *module = ir_module_new("m");
    IrGraph *graph = ir_graph_new(module, "model");
    for (int64_t tile = 1; tile <= 16; tile += 5) {
        IrValue scores = ir_weight(graph, "scores", (IrType){.dtype = IR_F32, .rank = 2, .dims = {IR_DIM_T, 12}});
        IrValue top = ir_op1(graph, IR_OP_topk, 1, &scores, 1, (IrAttr[]){{IR_ATTR_K, {.i = 3}}});
        IrValue ids = ir_op(graph, ir_value(graph, top)->op)->results[1];
        IrAttr attrs[] = {{IR_ATTR_EXPERTS, {.i = 12}}, {IR_ATTR_TILE, {.i = tile}}};
        IrValue plan = ir_op1(graph, IR_OP_moe_plan, 1, &ids, 2, attrs);
        for (int64_t tokens = 1; tokens < 70; tokens++) {
            IrBinding call = {{tokens, 1, 1, 1}};
            IrMoePlan layout = {.experts = 12, .tile = tile, .ranks = 3, .tokens = tokens};
            assert_int_equal(ir_type_elements(graph, &ir_value(graph, plan)->type, &call), ir_moe_plan_words(layout));
            assert_true(ir_moe_plan_tile_bound(layout) >= HD_MIN(12, tokens * 3) + (tokens * 3 - HD_MIN(12, tokens * 3)) / tile);
        }
    }
    ir_module_free(module);
}

// ---- modules and graphs --------------------------------------------------------------------------------------

static IrModule *parse(const char *text) {
    IrModule *module = NULL;
    HdStatus *status = ir_parse_module("test.hir", hd_str(text), &module);
    if (status) fail_msg("%s", hd_status_message(status));
    return module;
}

static void verifies(const IrGraph *graph) {
    HdStatus *status = ir_verify(graph);
    if (status) fail_msg("%s", hd_status_message(status));
}

static void prints(const IrModule *module, const char *expected) {
    HdBuf text = {0};
    ir_print_module(module, &text);
    assert_string_equal(text.data, expected);
    hd_buf_free(&text);
}

static void test_module(void **state) {
    (void)state;
    IrModule *module = ir_module_new("m");
    ir_module_set_key(module, "a", "1");
    ir_module_set_key(module, "b", "2");
    ir_module_set_key(module, "a", "3");
    assert_string_equal(ir_module_key(module, "a"), "3");
    assert_null(ir_module_key(module, "c"));
    assert_int_equal(module->keys.len, 2);
    assert_ptr_equal(ir_intern(module, HD_STR("word")), ir_intern(module, (HdStr){"words", 4}));
    IrGraph *one = ir_graph_new(module, "one");
    IrGraph *two = ir_graph_clone(one, "two");
    assert_ptr_equal(ir_graph_find(module, "two"), two);
    ir_graph_remove(module, one);
    assert_null(ir_graph_find(module, "one"));
    assert_ptr_equal(ir_graph_find(module, "two"), two);
    ir_module_free(module);
    ir_module_free(NULL);
}

static void test_sources_are_shared(void **state) {
    (void)state;
    IrModule *module = ir_module_new("m");
    IrGraph *graph = ir_graph_new(module, "model");
    IrType type = {.dtype = IR_Q8_0, .rank = 2, .dims = {4, 32}}, packed = type;
    packed.layout = IR_LAYOUT_R16;
    IrType table = {.dtype = IR_F32, .rank = 2, .dims = {IR_DIM_T, 8}},
           cache = {.dtype = IR_F16, .rank = 3, .dims = {IR_DIM_C, 2, 8}};
    assert_int_equal(ir_weight(graph, "w", type), ir_weight(graph, "w", type));
    assert_int_not_equal(ir_weight(graph, "w", type), ir_weight(graph, "w", packed));
    assert_int_not_equal(ir_weight(graph, "w", type), ir_weight(graph, "v", type));
    assert_int_equal(ir_input(graph, IR_INPUT_ROPE, table, 1e4f), ir_input(graph, IR_INPUT_ROPE, table, 1e4f));
    assert_int_equal(ir_state(graph, IR_STATE_KV, "k", cache), ir_state(graph, IR_STATE_KV, "k", cache));
    ir_module_free(module);
}

#define HEAD "module \"m\" {\n  graph @model {\n"
#define TAIL "  }\n}\n"
#define SOURCES                                                                                                     \
    "    %tokens = input tokens : i32[T]\n"                                                                         \
    "    %w0 = weight \"e\" : f32[9, 8]\n"

static const char *const diamond = HEAD SOURCES "    %0 = embed %tokens, %w0 : f32[T, 8]\n"
                                                "    %1 = silu %0 : f32[T, 8]\n"
                                                "    %2 = neg %0 : f32[T, 8]\n"
                                                "    %3 = add %1, %2 : f32[T, 8]\n"
                                                "    return y = %3\n" TAIL;

// The operation that stands at `position` in the body.
static IrOpRef at(const IrGraph *graph, int position) {
    IrOpRef ref = graph->blocks.data[0].first;
    while (position--) ref = ir_op(graph, ref)->next;
    return ref;
}

static IrValue result(const IrGraph *graph, int position) { return ir_op(graph, at(graph, position))->results[0]; }

static void test_replace_and_erase(void **state) {
    (void)state;
    IrModule *module = parse(diamond);
    IrGraph *graph = module->graphs.data[0];
    IrOpRef silu = at(graph, 1);
    assert_int_equal(ir_use_count(graph, result(graph, 0)), 2);
    assert_int_equal(ir_use_count(graph, result(graph, 3)), 1);   // of the graph's result
    ir_replace_uses(graph, result(graph, 1), result(graph, 0));
    assert_int_equal(ir_use_count(graph, result(graph, 0)), 3);
    ir_erase(graph, silu);
    assert_int_equal(ir_use_count(graph, result(graph, 0)), 2);
    verifies(graph);
    prints(module, HEAD SOURCES "    %0 = embed %tokens, %w0 : f32[T, 8]\n"
                                "    %1 = neg %0 : f32[T, 8]\n"
                                "    %2 = add %0, %1 : f32[T, 8]\n"
                                "    return y = %2\n" TAIL);
    ir_replace_uses(graph, result(graph, 2), result(graph, 1));   // the graph's result too
    ir_erase(graph, at(graph, 2));
    assert_int_equal(graph->results.data[0].value, result(graph, 1));
    verifies(graph);
    ir_module_free(module);
}

static void test_move_and_clone(void **state) {
    (void)state;
    IrModule *module = parse(diamond);
    IrGraph *graph = module->graphs.data[0], *copy = ir_graph_clone(graph, "copy");
    ir_move_before(graph, at(graph, 2), at(graph, 1));
    verifies(graph);
    assert_int_equal(ir_op(graph, at(graph, 1))->kind, IR_OP_neg);
    assert_int_equal(ir_op(copy, at(copy, 1))->kind, IR_OP_silu);   // the clone has its own list
    ir_move_before(graph, at(graph, 1), 0);
    assert_int_equal(ir_op(graph, at(graph, 3))->kind, IR_OP_neg);
    HdStatus *status = ir_verify(graph);
    assert_string_equal(hd_status_message(status), "@model: %2 = add: operand 1 (%3) is not defined before its use");
    hd_status_free(status);
    ir_graph_remove(module, graph);
    verifies(copy);
    ir_module_free(module);
}

// Grouping by hand, as partition does it.
static void test_fused(void **state) {
    (void)state;
    IrModule *module = parse(diamond);
    IrGraph *graph = module->graphs.data[0];
    IrOpRef silu = at(graph, 1), neg = at(graph, 2), add = at(graph, 3);
    IrValue x = result(graph, 0), sum = result(graph, 3);
    IrBlock region = ir_block_new(graph);
    IrValue arg = ir_block_arg(graph, region, ir_value(graph, x)->type);
    IrOpRef members[] = {silu, neg, add};
    for (int i = 0; i < 3; i++) {
        ir_move_to_block(graph, members[i], region);
        if (i < 2) ir_set_operand(graph, members[i], 0, arg);
    }
    hd_vec_push(&graph->blocks.data[region].yields, sum);
    HdStatus *status;
    IrAttr kind = {IR_ATTR_KIND, {.name = "rowwise"}};
    IrBuild build = {.kind = IR_OP_fused, .operands = &x, .operand_count = 1, .attrs = &kind, .attr_count = 1, .region = region};
    IrOpRef fused = ir_build(graph, &build, &status);
    assert_null(status);
    graph->results.data[0].value = ir_op(graph, fused)->results[0];
    verifies(graph);
    assert_int_equal(ir_op_effect(graph, ir_op(graph, fused)), IR_EFFECT_PURE);
    prints(module, HEAD SOURCES "    %0 = embed %tokens, %w0 : f32[T, 8]\n"
                                "    %1 = fused %0 {kind = rowwise} (%a0: f32[T, 8]) {\n"
                                "      %2 = silu %a0 : f32[T, 8]\n"
                                "      %3 = neg %a0 : f32[T, 8]\n"
                                "      %4 = add %2, %3 : f32[T, 8]\n"
                                "      yield %4\n"
                                "    } : f32[T, 8]\n"
                                "    return y = %1\n" TAIL);
    ir_replace_uses(graph, ir_op(graph, fused)->results[0], x);
    ir_erase(graph, fused);
    assert_true(ir_op(graph, add)->dead);
    verifies(graph);
    ir_module_free(module);
}

static void refuses(IrGraph *graph, IrBuild build, const char *message) {
    size_t ops = graph->ops.len, values = graph->values.len;
    HdStatus *status;
    assert_int_equal(ir_build(graph, &build, &status), 0);
    assert_string_equal(hd_status_message(status), message);
    hd_status_free(status);
    assert_int_equal(graph->ops.len, ops);
    assert_int_equal(graph->values.len, values);
}

static void test_build_refuses(void **state) {
    (void)state;
    IrModule *module = parse(diamond);
    IrGraph *graph = module->graphs.data[0];
    IrValue operands[] = {result(graph, 0), 0};
    IrType types[9] = {{0}};
    IrAttr none = {(IrAttrId)31, {.i = 0}};
    refuses(graph, (IrBuild){.kind = IR_OP_add, .operands = operands, .operand_count = 2}, "add: operand 1 is no value");
    refuses(graph, (IrBuild){.kind = (IrOpKind)200, .operands = operands, .operand_count = 1}, "operation 200 does not exist");
    refuses(graph, (IrBuild){.kind = IR_OP_reshape, .operands = operands, .operand_count = 1}, "reshape: needs its result type");
    refuses(graph, (IrBuild){.kind = IR_OP_reshape, .operands = operands, .operand_count = 1, .given = types, .given_count = 1},
            "reshape: result: rank 0 must be 1..4");
    refuses(graph, (IrBuild){.kind = IR_OP_silu, .operands = operands, .operand_count = 1, .attrs = &none, .attr_count = 1},
            "silu: attribute 31 does not exist");
    refuses(graph, (IrBuild){.kind = IR_OP_silu, .operands = operands, .operand_count = 1, .region = ir_block_new(graph)},
            "silu: only fused operations have a region");
    refuses(graph, (IrBuild){.kind = IR_OP_fused, .operands = operands, .operand_count = 1, .given = types, .given_count = 9},
            "fused: 9 results, at most 8 are possible");
    ir_module_free(module);
}

// ---- text ----------------------------------------------------------------------------------------------------

static void test_canonical_text(void **state) {
    (void)state;
    IrModule *module = parse("// any spacing, names and comments\n"
                             "module \"q\\x22\\n\" { // comment\n key \"k\"=\"\\x0a\\xff\" graph @step{dim Q=64*ceil(T/64)+64*S\n"
                             "arena 4096 %x=input tokens:i32[ T ] %unused=weight \"u\":f32[1]\n"
                             "%e=weight \"e \\\\\":q8_0[8,32] %p=weight \"p\":q8_0[3,32]:r16\n"
                             "%h=embed %x,%e:f32[T,32]at 64 stage 0 layer 2 // first\n"
                             "%n = l2_norm %h {scale=2.50, eps=0.000001} : f32[T, 32] %y=linear %n,%p:f32[T,3]\n"
                             "%v,%i=topk %y{k=2}:f32[T,2],i32[T,2]at 128\n"
                             "return \"odd name\"=%v,ids.0=%i}}");
    prints(module, "module \"q\\\"\\n\" {\n"
                   "  key \"k\" = \"\\n\\xff\"\n"
                   "  graph @step {\n"
                   "    arena 4096\n"
                   "    %tokens = input tokens : i32[T]\n"
                   "    %w0 = weight \"e \\\\\" : q8_0[8, 32]\n"
                   "    %w1 = weight \"p\" : q8_0[3, 32]:r16\n"
                   "    %0 = embed %tokens, %w0 : f32[T, 32] at 64 stage 0 layer 2\n"
                   "    %1 = l2_norm %0 {eps = 1e-06, scale = 2.5} : f32[T, 32]\n"
                   "    %2 = linear %1, %w1 : f32[T, 3]\n"
                   "    %3, %4 = topk %2 {k = 2} : f32[T, 2], i32[T, 2] at 128\n"
                   "    return \"odd name\" = %3, ids.0 = %4\n"
                   "  }\n"
                   "}\n");
    ir_module_free(module);
}

static void test_expressions(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"2*T", "2*T"},
                                           {"T - 1", "-1 + T"},
                                           {"ceil(T/8)", "ceil(T/8)"},
                                           {"S + T + S", "T + 2*S"},
                                           {"3 + 4*ceil(C/2) - R", "3 - R + 4*ceil(C/2)"},
                                           {"-T + 9", "9 - T"},
                                           {"ceil(S/4) + ceil(T/8) + ceil(T/8)", "2*ceil(T/8) + ceil(S/4)"}};
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        HdBuf text = {0}, expected = {0};
        hd_buf_printf(&text, HEAD "    dim D = %s\n %%w = weight \"w\" : f32[D] return y = %%w\n" TAIL, cases[i][0]);
        hd_buf_printf(&expected, HEAD "    dim D = %s\n    %%w0 = weight \"w\" : f32[D]\n    return y = %%w0\n" TAIL,
                      cases[i][1]);
        IrModule *module = parse(text.data);
        prints(module, expected.data);
        ir_module_free(module);
        hd_buf_free(&text);
        hd_buf_free(&expected);
    }
}

// ---- costs ---------------------------------------------------------------------------------------------------

static IrCost cost_at(const IrModule *module, int position) {
    const IrGraph *graph = module->graphs.data[0];
    return ir_op_cost(graph, at(graph, position), &(IrBinding){{6, 2, 100, 1}});
}

static void costs(IrCost cost, double flops, double bytes_read, double bytes_written) {
    assert_true(cost.flops == flops && cost.bytes_read == bytes_read && cost.bytes_written == bytes_written);
}

// By hand, at T = 6, S = 2, C = 100.
static void test_costs(void **state) {
    (void)state;
    IrModule *module = parse(
        HEAD "%tokens = input tokens : i32[T] %segments = input segments : i32[S, 8] %e = weight \"e\" : q8_0[1000, 32]\n"
             "%w = weight \"w\" : q4_0[64, 32] %x = weight \"x\" : f32[8, 16, 32] %k = state \"k\" kv : f16[C, 1, 32]\n"
             "%d = state \"d\" conv : f32[3, 32] %c = weight \"c\" : f32[32, 4]\n"
             "%0 = embed %tokens, %e : f32[T, 32]\n"
             "%1 = linear %0, %w : f32[T, 64]\n"
             "%2 = reshape %0 : f32[T, 1, 32]\n"
             "kv_append %2, %k, %segments\n"
             "%4 = conv1d %0, %c, %d, %segments : f32[T, 32]\n"
             "%5 = add %0, %4 : f32[T, 32]\n"
             "%6, %7 = topk %1 {k = 1} : f32[T, 1], i32[T, 1]\n"
             "%8 = grouped_linear %5, %x, %7 : f32[T, 1, 16]\n"
             "%9 = fused %0, %w, %k, %segments (%p: f32[T, 32], %q: q4_0[64, 32], %r: f16[C, 1, 32], %s: i32[S, 8]) {\n"
             "  %10 = linear %p, %q : f32[T, 64] %11 = neg %10 : f32[T, 64]\n"
             "  %12 = slice %p {axis = 1, begin = 0, end = 16} : f32[T, 16] yield %11 } : f32[T, 64]\n"
             "return y = %9" TAIL);
    costs(cost_at(module, 0), 0, 6 * 4 + 6 * 34, 6 * 32 * 4);                              // only the rows looked up
    costs(cost_at(module, 1), 2.0 * 6 * 64 * 32, 6 * 32 * 4 + 64 * 18, 6 * 64 * 4);
    costs(cost_at(module, 2), 0, 0, 0);                                                    // a view
    costs(cost_at(module, 3), 0, 6 * 32 * 4 + 2 * 8 * 4, 6 * 32 * 2);
    costs(cost_at(module, 4), 2.0 * 6 * 32 * 4, 6 * 32 * 4 + 32 * 4 * 4 + 2 * 3 * 32 * 4 + 2 * 8 * 4,
          2 * 3 * 32 * 4 + 6 * 32 * 4);
    costs(cost_at(module, 5), 6 * 32, 2 * 6 * 32 * 4, 6 * 32 * 4);
    costs(cost_at(module, 7), 2.0 * 6 * 16 * 32, 6 * 32 * 4 + 8 * 16 * 32 * 4 * 6 / 8.0 + 6 * 4, 6 * 16 * 4);   // 6 of 8 experts
    costs(cost_at(module, 8), 2.0 * 6 * 64 * 32 + 6 * 64, 6 * 32 * 4 + 64 * 18, 6 * 64 * 4);   // borders once, unused ones not
    ir_module_free(module);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables),
                                       cmocka_unit_test(test_dims),
                                       cmocka_unit_test(test_ceil_order),
                                       cmocka_unit_test(test_type_sizes),
                                       cmocka_unit_test(test_moe_plan_words),
                                       cmocka_unit_test(test_module),
                                       cmocka_unit_test(test_sources_are_shared),
                                       cmocka_unit_test(test_replace_and_erase),
                                       cmocka_unit_test(test_move_and_clone),
                                       cmocka_unit_test(test_fused),
                                       cmocka_unit_test(test_build_refuses),
                                       cmocka_unit_test(test_canonical_text),
                                       cmocka_unit_test(test_expressions),
                                       cmocka_unit_test(test_costs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
