// SPDX-License-Identifier: Apache-2.0
// The type rule of every operation: one application that ops.def's documentation allows, with the result types written by
// hand, and those that it forbids, with the exact message.
#include "ir/ir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

// Operands are weights, which may have any type.
static const char *const values =
    "dim N2 = 2*T\n"
    "dim E7 = 7 + T\n"
    "dim E16 = 16*S + 16*ceil(T/16)\n"
    "dim P4 = 2 + 40 + 3*T + 9*ceil(T/4)\n" // 2 + 5E with E = 8, and k = 3
    "dim Q8 = 42 + T + 3*ceil(T/4)\n"
    "%x = weight \"x\" : f32[T, 8] %y = weight \"y\" : f32[S, 8] %x3 = weight \"x3\" : f32[T, 2, 8] %x64 = weight \"x64\" : "
    "f32[T, 64]\n"
    "%x48 = weight \"x48\" : f32[T, 48] %v8 = weight \"v8\" : f32[8] %v1 = weight \"v1\" : f32[1] %v9 = weight \"v9\" : f32[9]\n"
    "%col = weight \"col\" : f32[T, 1] %h = weight \"h\" : f16[T, 8] %q = weight \"q\" : q8a[T, 64] %b = weight \"b\" : bf16[T, "
    "64]\n"
    "%w = weight \"w\" : q8_0[5, 64] %w8 = weight \"w8\" : f32[5, 8] %wr = weight \"wr\" : f16[5, 8]:r16 %wt = weight \"wt\" : "
    "q4_k[3, 256]\n"
    "%i = weight \"i\" : i32[T] %ik = weight \"ik\" : i32[T, 3] %i1 = weight \"i1\" : i32[T, 1] %ie = weight \"ie\" : i32[E7, 3] "
    "%r = weight \"r\" : i32[R]\n"
    "%p = weight \"p\" : i32[P4] %ex = weight \"ex\" : f32[8, 5, 8] %xk = weight \"xk\" : f32[T, 3, 8] %k3 = weight \"k3\" : "
    "f32[T, 3]\n"
    "%t4 = weight \"t4\" : f32[T, 4] %t3 = weight \"t3\" : f32[T, 3, 3] %t10 = weight \"t10\" : f32[T, 10]\n"
    "%seg = weight \"seg\" : i32[S, 8] %seg7 = weight \"seg7\" : i32[S, 7]\n"
    "%q6 = weight \"q6\" : f32[T, 6, 8] %k2 = weight \"k2\" : f32[T, 2, 8] %g6 = weight \"g6\" : f32[T, 6] %v6 = weight \"v6\" : "
    "f32[T, 6, 4]\n"
    "%k4 = weight \"k4\" : f32[T, 4, 8] %s5 = weight \"s5\" : f32[T, 6, 5, 8] %t5 = weight \"t5\" : f32[T, 6, 5]\n"
    "%U = weight \"U\" : f32[E16, 6, 4] %W = weight \"W\" : f32[E16, 6, 8] %PP = weight \"P\" : f32[E16, 6, 16] %cc = weight "
    "\"c\" : f32[E16, 6]\n"
    "%kc = state \"kc\" kv : f16[C, 2, 8] %vc = state \"vc\" kv : f16[C, 2, 8] %kf = state \"kf\" kv : f32[C, 2, 8] %k4c = state "
    "\"k4c\" kv : f32[C, 4, 8]\n"
    "%cw = weight \"cw\" : f32[8, 4] %c1 = weight \"c1\" : f32[8, 1] %win = state \"win\" conv : f32[3, 8] %win2 = state "
    "\"win2\" conv : f32[2, 8]\n"
    "%d = state \"d\" delta : f32[6, 8, 4] %d4 = state \"d4\" delta : f32[4, 8, 4]\n";

#define RUNS "%y1, %y2 = argmax %x64 {width = 10} : f32[T, 7], i32[T, 7]\n"
static const struct { const char *op, *message;
} cases[] = {
    {"%z = reshape %x : f32[T, 2, 4]", NULL},
    {"%z = reshape %x : f32[N2, 4]", NULL},
    {"%z = reshape %x : f32[8, T]", NULL},
    {"%z = reshape %wt : q4_k[3, 1, 256]", NULL},
    {"%z = reshape %x : f32[S, 8]", "reshape: operand 0 (x) is f32[T, 8], must be of the elements of f32[S, 8]"},
    {"%z = reshape %x : f32[T, 9]", "operand 0 (x) is f32[T, 8], must be of the elements of f32[T, 9]"},
    {"%z = reshape %x : i32[T, 8]", "operand 0 (x) is f32[T, 8], must be of the elements of i32[T, 8]"},
    {"%z = reshape %wt : q4_k[1, 768]", "operand 0 (x) is q4_k[3, 256], must be of the elements of q4_k[1, 768]"},
    {"%z = reshape %wr : f16[40]", "reshape: operand 0 (x) is f16[5, 8]:r16, must be in native layout"},
    {"%z = slice %x3 {axis = 1, begin = 1, end = 2} : f32[T, 1, 8]", NULL},
    {"%z = slice %w {axis = 1, begin = 32, end = 64} : q8_0[5, 32]", NULL},
    {"%z = slice %x {axis = 0, begin = 0, end = 1} : f32[1, 8]",
     "slice: operand 0 (x) is f32[T, 8], must be of a fixed size along the axis"},
    {"%z = slice %x {axis = 2, begin = 0, end = 1} : f32[1, 8]", "slice: axis = 2 must be in 0..1"},
    {"%z = slice %x {axis = 1, begin = 4, end = 9} : f32[T, 5]", "slice: end = 9 must be in 1..8"},
    {"%z = slice %x {axis = 1, begin = 4, end = 4} : f32[T, 5]", "slice: begin = 4 must be in 0..3"},
    {"%z = slice %w {axis = 1, begin = 16, end = 48} : q8_0[5, 32]", "slice: begin = 16 cuts a block"},
    {"%z = slice %w {axis = 1, begin = 0, end = 48} : q8_0[5, 32]",
     "slice: result 0: the last dimension of q8_0 must be a multiple of 32"},
    {"%z = slice %q {axis = 1, begin = 0, end = 32} : q8a[T, 32]", "must be of another data type: q8a rows cannot be cut"},
    {"%z = concat %x, %x48 {axis = 1} : f32[T, 56]", NULL},
    {"%z = concat %x, %y {axis = 1} : f32[T, 16]",
     "concat: operand 1 (part) is f32[S, 8], must be as operand 0 in all but the axis"},
    {"%z = concat %x, %x {axis = 0} : f32[T, 8]",
     "concat: operand 0 (part) is f32[T, 8], must be of a fixed size along the axis"},
    {"%z = concat %q, %q {axis = 1} : q8a[T, 128]",
     "concat: operand 0 (x) is q8a[T, 64], must be of another data type: q8a rows cannot be joined"},
    {"%z = add %x3, %v8 : f32[T, 2, 8]", NULL},
    {"%z = sub %x, %col : f32[T, 8]", NULL},
    {"%z = mul %x, %v1 : f32[T, 8]", NULL},
    {"%z = div %x, %x : f32[T, 8]", NULL},
    {"%z = add %x, %v9 : f32[T, 8]", "add: operand 1 (b) is f32[9], must be f32[T, 8] or broadcast to it"},
    {"%z = mul %v8, %x : f32[T, 8]", "mul: operand 1 (b) is f32[T, 8], must be f32[8] or broadcast to it"},
    {"%z = sub %h, %x : f16[T, 8]", "sub: operand 0 (a) is f16[T, 8], must be f32"},
    {"%z = div %x, %h : f32[T, 8]", "div: operand 1 (b) is f16[T, 8], must be f32[T, 8] or broadcast to it"},
    {"%z = scale %x {value = 2} : f32[T, 8]", NULL},
    {"%z = neg %x : f32[T, 8]", NULL},
    {"%z = exp %x : f32[T, 8]", NULL},
    {"%z = sigmoid %x : f32[T, 8]", NULL},
    {"%z = silu %x3 : f32[T, 2, 8]", NULL},
    {"%z = softplus %x : f32[T, 8]", NULL},
    {"%z = neg %i : f32[T]", "neg: operand 0 (a) is i32[T], must be f32[..]"},
    {"%z = cast %x {to = bf16} : bf16[T, 8]", NULL},
    {"%z = cast %h {to = f32} : f32[T, 8]", NULL},
    {"%z = cast %h {to = bf16} : bf16[T, 8]", "cast: no cast from f16 to bf16"},
    {"%z = cast %x64 {to = q8_0} : q8_0[T, 64]", "cast: no cast from f32 to q8_0"},
    {"%z = rms_norm %x3, %v8 {eps = 1e-06} : f32[T, 2, 8]", NULL},
    {"%z = rms_norm %x, %v9 {eps = 1e-06} : f32[T, 8]", "rms_norm: operand 1 (w) is f32[9], must be f32[8]"},
    {"%z = l2_norm %x3 {eps = 1e-06, scale = 1} : f32[T, 2, 8]", NULL},
    {"%z = l2_norm %x3 {eps = 1e-06} : f32[T, 2, 8]", "l2_norm: attribute scale is missing"},
    {"%z = softmax %x : f32[T, 8]", NULL},
    {"%z = sum %x3 : f32[T, 2, 1]", NULL},
    {"%z = quant_act %x64 : q8a[T, 64]", NULL},
    {"%z = quant_act %x48 : q8a[T, 64]", "quant_act: operand 0 (x) is f32[T, 48], must be of rows in whole groups of 32"},
    {"%z = rope %x3, %t4 : f32[T, 2, 8]", NULL},
    {"%z = rope %x3, %t10 : f32[T, 2, 8]", "rope: operand 1 (table) is f32[T, 10], must be of an even width of at most d"},
    {"%z = rope %t3, %k3 : f32[T, 3, 3]", "rope: operand 1 (table) is f32[T, 3], must be of an even width of at most d"},
    {"%z = embed %i, %w : f32[T, 64]", NULL},
    {"%z = embed %i, %wr : f32[T, 8]", "embed: operand 1 (w) is f16[5, 8]:r16, must be in native layout"},
    {"%z = embed %x, %w : f32[T, 64]", "embed: operand 0 (ids) is f32[T, 8], must be i32[T]"},
    {"%z = take_rows %x, %r : f32[R, 8]", NULL},
    {"%z = take_rows %x3, %r : f32[R, 8]", "take_rows: operand 0 (x) is f32[T, 2, 8], must be f32[T, D]"},
    {"%y1, %y2 = argmax %x64 {width = 10} : f32[T, 7], i32[T, 7]", NULL},
    {RUNS "%y3, %y4 = top_runs %x64, %y1, %y2 {k = 7, width = 10} : f32[T, 7, 11], i32[T, 1]", NULL},
    {RUNS "%y3, %y4 = top_runs %x64, %y1, %y2 {k = 8, width = 10} : f32[T, 8, 11], i32[T, 1]",
     "top_runs: k = 8 must be in 1..7"},
    {RUNS "%y3, %y4 = top_runs %x64, %y1, %y2 {k = 1, width = 9} : f32[T, 1, 10], i32[T, 1]",
     "top_runs: operand 1 (values) is f32[T, 7], must be f32[T, 8]"},
    {"%y1, %y2 = argmax %x64 {width = 65} : f32[T, 1], i32[T, 1]", "argmax: width = 65 must be in 1..64"},
    {"%z = linear %x64, %w : f32[T, 5]", NULL},
    {"%z = linear %q, %w : f32[T, 5]", NULL},
    {"%z = linear %b, %w : f32[T, 5]", NULL},
    {"%z = linear %x, %wr : f32[T, 5]", NULL},
    {"%z = linear %x, %w : f32[T, 5]", "linear: operand 1 (w) is q8_0[5, 64], must be weight[N, 8]"},
    {"%z = linear %h, %wr : f32[T, 5]", "linear: operand 0 (x) is f16[T, 8], must be act[T, K]"},
    {"%z = linear %x, %ik : f32[T, 5]", "linear: operand 1 (w) is i32[T, 3], must be weight[N, 8]"},
    {"%y1, %y2, %y3 = multi_linear %x, %wr, %w8, %cc : f32[T, 5], f32[T, 5], f32[T, 8]",
     "multi_linear: operand 3 (w) is f32[E16, 6], must be weight[N, 8]"},
    {"%y1, %y2 = multi_linear %x, %wr, %w8 : f32[T, 5], f32[T, 5]", NULL},
    {"%y1 = multi_linear %x, %wr, %w8 : f32[T, 5]", "multi_linear gives 2 results, not 1"},
    {"%z = grouped_linear %x, %ex, %ik : f32[T, 3, 5]", NULL},
    {"%z = grouped_linear %xk, %ex, %ik, %p : f32[T, 3, 5]", NULL},
    {"%z = grouped_linear %x3, %ex, %ik : f32[T, 3, 5]", "grouped_linear: operand 2 (ids) is i32[T, 3], must be i32[T, 2]"},
    {"%z = grouped_linear %x, %w8, %ik : f32[T, 3, 5]", "grouped_linear: operand 1 (w) is f32[5, 8], must be weight[E, N, 8]"},
    {"%z = grouped_linear %x, %ex, %ik, %x : f32[T, 3, 5]", "grouped_linear: operand 3 (plan) is f32[T, 8], must be i32[P]"},
    {"%z, %o = topk %x {k = 3} : f32[T, 3], i32[T, 3]", NULL},
    {"%z, %o = topk %x {k = 9} : f32[T, 9], i32[T, 9]", "topk: k = 9 must be in 1..8"},
    {"%z = moe_plan %ik {tile = 4, experts = 8} : i32[P4]", NULL},
    {"%z = moe_plan %i1 {tile = 4, experts = 8} : i32[Q8]", NULL},
    {"%z = moe_plan %ik {tile = 0, experts = 8} : i32[P4]", "moe_plan: tile = 0 must be in 1..1048576"},
    {"%z = moe_plan %ie {tile = 4, experts = 8} : i32[P4]", "moe_plan: operand 0 (ids) is i32[E7, 3], must be of a token count "
                                                            "whose quotient by the tile can be written as a dimension"},
    {"%z = moe_sum %xk, %k3 : f32[T, 8]", NULL},
    {"%z = moe_sum %x3, %k3 : f32[T, 8]", "moe_sum: operand 1 (weights) is f32[T, 3], must be f32[T, 2]"},
    {"kv_append %k2, %kc, %seg", NULL},
    {"kv_append %k4, %kc, %seg", "kv_append: operand 1 (cache) is f16[C, 2, 8], must be cache[C, 4, 8]"},
    {"kv_append %k2, %kc, %seg7", "kv_append: operand 2 (segments) is i32[S, 7], must be i32[S, 8]"},
    {"kv_append %k2, %win, %seg", "kv_append: operand 1 must be a kv state, is conv"},
    {"%z = attention %q6, %kc, %vc, %seg {scale = 1} : f32[T, 6, 8]", NULL},
    {"%z = attention %q6, %kc, %kf, %seg {scale = 1} : f32[T, 6, 8]",
     "attention: operand 2 (v) is f32[C, 2, 8], must be of the data type of k"},
    {"%z = attention %q6, %k4c, %k4c, %seg {scale = 1} : f32[T, 6, 8]", "attention: H = 6 is no multiple of Hkv = 4"},
    {"%z = attention %q6, %k2, %vc, %seg {scale = 1} : f32[T, 6, 8]", "attention: operand 1 must be a kv state, is no state"},
    {"%1, %2, %3 = attention.spans %q6, %kc, %vc, %seg {scale = 1, spans = 5} : f32[T, 6, 5, 8], f32[T, 6, 5], f32[T, 6, 5]", NULL},
    {"%1, %2, %3 = attention.spans %q6, %kc, %vc, %seg {scale = 1, spans = 65} : f32[T, 6, 65, 8], f32[T, 6, 65], f32[T, 6, 65]",
     "attention.spans: spans = 65 must be in 1..64"},
    {"%1, %2, %3 = attention.spans %q6, %k4c, %k4c, %seg {scale = 1, spans = 5} : f32[T, 6, 5, 8], f32[T, 6, 5], f32[T, 6, 5]",
     "attention.spans: H = 6 is no multiple of Hkv = 4"},
    {"%z = attention.merge %s5, %t5, %t5 : f32[T, 6, 8]", NULL},
    {"%z = attention.merge %s5, %t5, %g6 : f32[T, 6, 8]", "attention.merge: operand 2 (total) is f32[T, 6], must be f32[T, 6, 5]"},
    {"%z = conv1d %x, %cw, %win, %seg : f32[T, 8]", NULL},
    {"%z = conv1d %x, %cw, %win2, %seg : f32[T, 8]", "conv1d: operand 2 (window) is f32[2, 8], must be f32[3, 8]"},
    {"%z = conv1d %x, %c1, %win, %seg : f32[T, 8]", "conv1d: operand 1 (w) is f32[8, 1], must be of at least two taps"},
    {"%z = delta_rule %k2, %k2, %v6, %g6, %g6, %d, %seg {heads = mod} : f32[T, 6, 4]", NULL},
    {"%z = delta.step %k2, %k2, %v6, %g6, %g6, %d, %seg {heads = div} : f32[T, 6, 4]", NULL},
    {"%z = delta.scan %k2, %k2, %v6, %g6, %g6, %d, %seg {heads = mod} : f32[T, 6, 4]", NULL},
    {"%z = delta.scan %k2, %k2, %v6, %g6, %g6, %d4, %seg {heads = mod} : f32[T, 6, 4]",
     "delta.scan: operand 5 (state) is f32[4, 8, 4], must be f32[6, 8, 4]"},
    {"%z = delta.scan %k4, %k4, %v6, %g6, %g6, %d, %seg {heads = mod} : f32[T, 6, 4]",
     "delta.scan: nv = 6 is no multiple of nk = 4"},
    {"%z = delta.scan %k2, %k2, %v6, %g6, %g6, %d, %seg {heads = odd} : f32[T, 6, 4]",
     "delta.scan: heads = odd must be mod or div"},
    {"%z = delta.scan %k2, %k2, %v6, %g6, %g6, %kc, %seg {heads = mod} : f32[T, 6, 4]",
     "delta.scan: operand 5 must be a delta state, is kv"},
    {"%1, %2, %3, %4 = delta.chunk_prep %k2, %k2, %v6, %g6, %g6, %seg {heads = mod, chunk = 16} : f32[E16, 6, 4], f32[E16, 6, "
     "8], f32[E16, 6, 16], f32[E16, 6]",
     NULL},
    {"%z = delta.chunk_scan %k2, %k2, %U, %W, %PP, %cc, %d, %seg {heads = mod, chunk = 16} : f32[T, 6, 4]", NULL},
    {"%z = delta.chunk_scan %k2, %k2, %U, %W, %PP, %cc, %d, %seg {heads = mod, chunk = 8} : f32[T, 6, 4]",
     "delta.chunk_scan: operand 2 (U) is f32[E16, 6, 4], must be f32[E, nv, dv]"},
    {"%z = pack %w {layout = r16} : q8_0[5, 64]:r16", NULL},
    {"%z = pack %ex {layout = r16} : f32[8, 5, 8]:r16", NULL},
    {"%z = pack %wr {layout = r16} : f16[5, 8]:r16", "pack: the matrix is in layout r16 already"},
    {"%z = pack %ik {layout = r16} : i32[T, 3]", "pack: operand 0 (w) is i32[T, 3], must be weight[N, K]"},
    {"%z = silu %kf : f32[C, 2, 8]", "silu: operand 0 is state \"kf\", must be an ordinary value"},
};

static void test_rules(void **state) {
    (void)state;
    bool allowed[IR_OP_COUNT] = {0};
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        HdBuf text = {0};
        IrModule *module = NULL;
        hd_buf_printf(&text, "module \"m\" { graph @g {\n%s%s\nreturn } }", values, cases[i].op);
        HdStatus *status = ir_parse_module("t", (HdStr){text.data, text.len}, &module);
        const char *message = hd_status_message(status), *wanted = cases[i].message ? cases[i].message : "";
        size_t at = strlen(message) - HD_MIN(strlen(wanted), strlen(message));
        if (!status != !cases[i].message || strcmp(message + at, wanted) != 0)
            fail_msg("%s\n%s\n%s", cases[i].op, message, wanted);
        for (int kind = 0; module && kind < IR_OP_COUNT; kind++)
            for (size_t op = 1; op < module->graphs.data[0]->ops.len; op++)
                if ((int)module->graphs.data[0]->ops.data[op].kind == kind) allowed[kind] = true;
        hd_status_free(status);
        ir_module_free(module);
        hd_buf_free(&text);
    }
    for (int kind = 0; kind < IR_OP_COUNT; kind++)
        if (!allowed[kind] && kind != IR_OP_fused) fail_msg("%s has no case", ir_op_info((IrOpKind)kind)->name);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
