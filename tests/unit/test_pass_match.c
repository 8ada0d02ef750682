// SPDX-License-Identifier: Apache-2.0
// Patterns of pass_match on a graph whose operations are known by their kinds, and the functions that build and replace.
#include "tests/unit/pass_fixture.h"

static const char graph_text_in[] = "module \"m\" {\n  graph @model {\n"
                                    "%tokens = input tokens : i32[T]\n"
                                    "%table = weight \"table\" : f32[100, 64]\n"
                                    "%norm = weight \"norm\" : f32[64]\n"
                                    "%w = weight \"w\" : f32[64, 64]\n"
                                    "%x = embed %tokens, %table : f32[T, 64]\n"
                                    "%n = rms_norm %x, %norm {eps = 1e-06} : f32[T, 64]\n"
                                    "%p, %q = multi_linear %n, %w, %w : f32[T, 64], f32[T, 64]\n"
                                    "%s = silu %p : f32[T, 64]\n"
                                    "%m = mul %q, %s : f32[T, 64]\n"
                                    "%d = sub %m, %x : f32[T, 64]\n"
                                    "%e = div %d, %d : f32[T, 64]\n"
                                    "return y = %e\n  }\n}\n";

static IrModule *module;
static IrGraph *graph;

static int make(void **state)
{
    (void)state;
    must(ir_parse_module("m", hd_str(graph_text_in), &module));
    graph = ir_graph_find(module, "model");
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    ir_module_free(module);
    return 0;
}

static IrOpRef op_of(IrOpKind kind)
{
    IR_FOR_OPS(graph, 0, ref)
        if (ir_op(graph, ref)->kind == kind) return ref;
    fail_msg("no such operation");
    return 0;
}

static IrValue result_of(IrOpKind kind) { return ir_op(graph, op_of(kind))->results[0]; }

static void trees_match(void **state)
{
    (void)state;
    PassMatch m;
    assert_true(pass_match(graph, op_of(IR_OP_rms_norm), "rms_norm(embed(ids, table), w)", &m));
    assert_int_equal(m.ops, 2);
    assert_int_equal(m.op[0], op_of(IR_OP_rms_norm));
    assert_int_equal(m.op[1], op_of(IR_OP_embed));
    assert_int_equal(m.values, 3);
    assert_int_equal(m.value[0], ir_op(graph, m.op[1])->operands[0]);
    assert_int_equal(m.value[2], ir_op(graph, m.op[0])->operands[1]);
    assert_true(pass_match(graph, op_of(IR_OP_silu), " silu( multi_linear (rms_norm(_, _), w , w) ) ", &m));
    assert_int_equal(m.values, 1);
    assert_int_equal(m.ops, 3);
}

static void other_trees_do_not(void **state)
{
    (void)state;
    static const char *const patterns[] = {"silu(x)", "rms_norm(silu(x), w)", "rms_norm(x)", "rms_norm(x, w, y)", "rms_norm(x, x)", "rms_norm(x, embed(_, _))"};
    PassMatch m;
    for (size_t i = 0; i < HD_COUNT(patterns); i++) assert_false(pass_match(graph, op_of(IR_OP_rms_norm), patterns[i], &m));
    assert_false(pass_match(graph, op_of(IR_OP_silu), "silu(multi_linear(_, w, embed(_, _)))", &m));
    assert_false(pass_match(graph, op_of(IR_OP_mul), "mul(multi_linear(_, _, _), _)", &m)); // which is its second result
}

static void a_word_is_one_value(void **state)
{
    (void)state;
    PassMatch m;
    assert_true(pass_match(graph, op_of(IR_OP_div), "div(x, x)", &m));
    assert_int_equal(m.value[0], result_of(IR_OP_sub));
    assert_false(pass_match(graph, op_of(IR_OP_sub), "sub(x, x)", &m));
    assert_true(pass_match(graph, op_of(IR_OP_sub), "sub(_, _)", &m));
    assert_int_equal(m.values, 0);
}

// mul has its silu behind, sub has its mul in front: only the first may be turned round.
static void orders_of_operands(void **state)
{
    (void)state;
    PassMatch m;
    assert_true(pass_match(graph, op_of(IR_OP_mul), "mul(silu(gate), up)", &m));
    assert_int_equal(m.op[1], op_of(IR_OP_silu));
    assert_int_equal(m.value[0], ir_op(graph, op_of(IR_OP_multi_linear))->results[0]);
    assert_int_equal(m.value[1], ir_op(graph, op_of(IR_OP_multi_linear))->results[1]);
    assert_true(pass_match(graph, op_of(IR_OP_mul), "mul(up, silu(gate))", &m));
    assert_int_equal(m.value[0], ir_op(graph, op_of(IR_OP_multi_linear))->results[1]);
    assert_true(pass_match(graph, op_of(IR_OP_sub), "sub(mul(silu(_), up), x)", &m));
    assert_int_equal(m.values, 2);
    assert_false(pass_match(graph, op_of(IR_OP_sub), "sub(x, mul(_, _))", &m));
}

static void what_others_read(void **state)
{
    (void)state;
    PassMatch m;
    assert_true(pass_match(graph, op_of(IR_OP_mul), "mul(_, silu(_))", &m) && pass_is_private(graph, &m));
    assert_true(pass_match(graph, op_of(IR_OP_sub), "sub(mul(_, _), embed(_, _))", &m));
    assert_false(pass_is_private(graph, &m)); // the norm reads the embedding too
    assert_true(pass_match(graph, op_of(IR_OP_div), "div(sub(_, _), _)", &m));
    assert_false(pass_is_private(graph, &m)); // twice
    assert_true(pass_match(graph, op_of(IR_OP_silu), "silu(multi_linear(_, _, _))", &m));
    assert_false(pass_is_private(graph, &m)); // the other result
}

static void building_and_replacing(void **state)
{
    (void)state;
    IrOpRef silu = op_of(IR_OP_silu), product = op_of(IR_OP_multi_linear);
    ir_op(graph, silu)->layer = 3;
    IrValue made = 0, p = ir_op(graph, product)->results[0], wrong[2] = {p, ir_op(graph, product)->operands[1]};
    expect_line(pass_make(graph, silu, &(IrBuild){.kind = IR_OP_rms_norm, .operands = wrong, .operand_count = 2}, &made), HD_BAD_DATA, "rms_norm", "a matrix for a norm");
    assert_int_equal(made, 0);
    must(pass_make(graph, silu, &(IrBuild){.kind = IR_OP_sigmoid, .operands = &p, .operand_count = 1}, &made));
    assert_int_equal(ir_value(graph, made)->op, ir_op(graph, silu)->prev);
    assert_int_equal(ir_op(graph, ir_value(graph, made)->op)->layer, 3);
    pass_replace(graph, silu, made);
    assert_true(ir_op(graph, silu)->dead);
    PassMatch m;
    assert_true(pass_match(graph, op_of(IR_OP_mul), "mul(_, sigmoid(multi_linear(_, _, _)))", &m));
    must(ir_verify(graph));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(trees_match, make, unmake),
        cmocka_unit_test_setup_teardown(other_trees_do_not, make, unmake),
        cmocka_unit_test_setup_teardown(a_word_is_one_value, make, unmake),
        cmocka_unit_test_setup_teardown(orders_of_operands, make, unmake),
        cmocka_unit_test_setup_teardown(what_others_read, make, unmake),
        cmocka_unit_test_setup_teardown(building_and_replacing, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
