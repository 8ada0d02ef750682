// SPDX-License-Identifier: Apache-2.0
// The reference interpreter: states, segments, planes; convolution, KV cache, attention.
#include "interp_fixture.h"

// ---- convolution ---------------------------------------------------------------------------------------------

// Two channels, three taps; the last tap multiplies the current token.
static const float conv_u[] = {1, 10, 2, 20, 3, 30, 4, 40, 5, 50}, conv_w[] = {100, 10, 1, 0, 0, 2};
static const float conv_y[] = {1, 20, 12, 40, 123, 60, 234, 80, 345, 100};

static void open_conv(Rig *rig, uint32_t slots, uint32_t planes) {
    rig_open(rig, slots, planes, 16);
    IrValue window = ir_state(rig->graph, IR_STATE_CONV, "window", TYPE(F32, 2, 2));
    IrValue u = by_token(rig, "u", conv_u, 5, 2), w = WEIGHT(rig, "w", conv_w, 2, 3);
    result(rig, "y", BUILD(rig, conv1d, OPERANDS(u, w, window, segments_input(rig))));
    expect_ok(ir_verify(rig->graph));
}

static void test_conv_any_split(void **state) {
    (void)state;
    static const uint32_t splits[][5] = {{5}, {1, 1, 1, 1, 1}, {2, 3}, {3, 2}, {1, 4}, {4, 1}};
    for (size_t s = 0; s < HD_COUNT(splits); s++) {
        Rig rig;
        open_conv(&rig, 1, 1);
        for (uint32_t at = 0, i = 0; at < 5; at += splits[s][i++]) {
            run_slot(rig.interp, &rig, 0, (int32_t)at, splits[s][i]);
            expect_values(rig.interp, "y", 2 * splits[s][i], conv_y + 2 * at);
        }
        rig_close(&rig);
    }
}

// Slots do not see each other; a reset forgets one slot only.
static void test_conv_slots(void **state) {
    (void)state;
    Rig rig;
    open_conv(&rig, 2, 1);
    expect_ok(call_with(rig.interp, &rig, 0, 5, (int32_t[]){1, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0}, 2));
    EXPECT(&rig, "y", 1, 20, 12, 40, 3, 60, 34, 80, 345, 100);
    run_slot(rig.interp, &rig, 0, 2, 1);
    EXPECT(&rig, "y", 123, 60);
    ir_interp_reset(rig.interp, 0);
    run_slot(rig.interp, &rig, 1, 0, 1);
    EXPECT(&rig, "y", 451, 20);
    run_slot(rig.interp, &rig, 0, 0, 1);
    EXPECT(&rig, "y", 1, 20);
    rig_close(&rig);
}

// Plane 0 is read, plane 1 written: 0 is a snapshot to which one can return.
static void test_conv_planes(void **state) {
    (void)state;
    Rig rig;
    open_conv(&rig, 1, 2);
    run_slot(rig.interp, &rig, 0, 0, 2);
    for (int again = 0; again < 2; again++) {
        expect_ok(call_with(rig.interp, &rig, 2, 1, (int32_t[8]){0, 2, 0, 1, 0, 1}, 1));
        EXPECT(&rig, "y", 123, 60);
    }
    expect_ok(call_with(rig.interp, &rig, 3, 1, (int32_t[8]){0, 3, 0, 1, 1, 1}, 1));
    EXPECT(&rig, "y", 234, 80);
    expect_ok(call_with(rig.interp, &rig, 4, 1, (int32_t[8]){0, 2, 0, 1, 0, 0}, 1));
    EXPECT(&rig, "y", 125, 100);
    rig_close(&rig);
}

// Tokens outside all segments give zeros and leave no trace; nor does a segment without tokens.
static void test_padding_writes_nothing(void **state) {
    (void)state;
    Rig rig;
    open_conv(&rig, 2, 1);
    expect_ok(call_with(rig.interp, &rig, 0, 5, (int32_t[]){0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0}, 2));
    EXPECT(&rig, "y", 1, 20, 12, 40, 0, 0, 0, 0, 0, 0);
    run_slot(rig.interp, &rig, 0, 2, 3);
    expect_values(rig.interp, "y", 6, conv_y + 4);
    rig_close(&rig);
}

// ---- attention -----------------------------------------------------------------------------------------------

enum { H = 4, HKV = 2, D = 3, TOKENS = 9 };

typedef struct Attention { Rig rig; float *q, *k, *v; } Attention;

static void open_attention(Attention *a, IrDtype dtype, uint32_t slots) {
    rig_open(&a->rig, slots, 1, 16);
    Rig *rig = &a->rig;
    a->q = random_floats(1, TOKENS * H * D, -2, 2), a->k = random_floats(2, TOKENS * HKV * D, -2, 2),
    a->v = random_floats(3, TOKENS * HKV * D, -2, 2);
    IrType cache = typed(dtype, 3, (IrDim[]){IR_DIM_C, HKV, D});
    IrValue ck = ir_state(rig->graph, IR_STATE_KV, "k", cache), cv = ir_state(rig->graph, IR_STATE_KV, "v", cache),
            table = segments_input(rig);
    IrValue q = reshaped(rig, by_token(rig, "q", a->q, TOKENS, H * D), TYPE(F32, IR_DIM_T, H, D));
    IrValue kv[2] = {by_token(rig, "kx", a->k, TOKENS, HKV * D), by_token(rig, "vx", a->v, TOKENS, HKV * D)};
    HdStatus *status;
    for (int i = 0; i < 2; i++) {
        IrValue operands[] = {reshaped(rig, kv[i], TYPE(F32, IR_DIM_T, HKV, D)), i ? cv : ck, table};
        ir_build(rig->graph, &(IrBuild){.kind = IR_OP_kv_append, .operands = operands, .operand_count = 3}, &status);
        expect_ok(status);
    }
    result(rig, "o", BUILD(rig, attention, OPERANDS(q, ck, cv, table), ATTRS(FLOAT(SCALE, 0.5f))));
    expect_ok(ir_verify(rig->graph));
}

static void close_attention(Attention *a) {
    rig_close(&a->rig);
    free(a->q), free(a->k), free(a->v);
}

// Over the tables themselves: token t sees tokens from..t.
static void naive_attention(const Attention *a, int from, int t, float *out) {
    for (int h = 0; h < H; h++) {
        long double weight[TOKENS], total = 0, most = -INFINITY;
        for (int p = from; p <= t; p++) {
            weight[p] = 0;
            for (int c = 0; c < D; c++) weight[p] += 0.5L * a->q[(t * H + h) * D + c] * a->k[(p * HKV + h / 2) * D + c];
            most = weight[p] > most ? weight[p] : most;
        }
        for (int p = from; p <= t; p++) total += weight[p] = expl(weight[p] - most);
        for (int c = 0; c < D; c++) {
            long double sum = 0;
            for (int p = from; p <= t; p++) sum += weight[p] / total * a->v[(p * HKV + h / 2) * D + c];
            out[h * D + c] = (float)sum;
        }
    }
}

static void test_attention_any_split(void **state) {
    (void)state;
    static const uint32_t splits[][TOKENS] = {{9}, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {4, 5}, {8, 1}, {1, 3, 5}};
    float wanted[TOKENS * H * D], whole[TOKENS * H * D];
    for (size_t s = 0; s < HD_COUNT(splits); s++) {
        Attention a;
        open_attention(&a, IR_F32, 1);
        for (uint32_t at = 0, i = 0; at < TOKENS; at += splits[s][i++]) {
            uint32_t count = splits[s][i];
            for (uint32_t t = 0; t < count; t++) naive_attention(&a, 0, (int)(at + t), wanted + t * H * D);
            run_slot(a.rig.interp, &a.rig, 0, (int32_t)at, count);
            const float *o = got(a.rig.interp, "o", count * H * D);
            expect_near(o, wanted, count * H * D, 1e-6);
            if (s == 0) memcpy(whole, o, sizeof whole);
            assert_memory_equal(o, whole + at * H * D, count * H * D * sizeof *o);
        }
        close_attention(&a);
    }
}

// Two sequences in one call give what two calls give, whatever slot they are in.
static void test_attention_two_segments(void **state) {
    (void)state;
    Attention a;
    float wanted[TOKENS * H * D];
    open_attention(&a, IR_F32, 3);
    for (int t = 0; t < TOKENS; t++) naive_attention(&a, t < 5 ? 0 : 5, t, wanted + t * H * D);
    expect_ok(call_with(a.rig.interp, &a.rig, 0, 9, (int32_t[]){2, 0, 0, 5, 0, 0, 0, 0, 0, 0, 5, 4, 0, 0, 0, 0}, 2));
    float *both = random_floats(0, HD_COUNT(wanted), 0, 1);
    memcpy(both, got(a.rig.interp, "o", HD_COUNT(wanted)), sizeof wanted);
    expect_near(both, wanted, HD_COUNT(wanted), 1e-6);
    IrInterp *fresh = rig_fresh(&a.rig, 3, 1, 16);
    run_slot(fresh, &a.rig, 1, 0, 5);
    assert_memory_equal(got(fresh, "o", 5 * H * D), both, 5 * H * D * sizeof *both);
    expect_ok(call_with(fresh, &a.rig, 5, 4, (int32_t[8]){2, 0, 0, 4, 0, 0}, 1));
    assert_memory_equal(got(fresh, "o", 4 * H * D), both + 5 * H * D, 4 * H * D * sizeof *both);
    ir_interp_free(fresh);
    close_attention(&a);
    free(both);
}

// One head of two channels over three positions: Python's math module.
static void test_attention_by_hand(void **state) {
    (void)state;
    static const float q[] = {0, 0, 0, 0, 1, 2}, k[] = {1, 0, 0, 1, 1, 1}, v[] = {1, 2, 3, 4, 5, 6};
    Rig rig;
    HdStatus *status;
    rig_open(&rig, 1, 1, 3);
    IrType cache = TYPE(F32, IR_DIM_C, 1, 2), token = TYPE(F32, IR_DIM_T, 1, 2);
    IrValue ck = ir_state(rig.graph, IR_STATE_KV, "k", cache), cv = ir_state(rig.graph, IR_STATE_KV, "v", cache),
            table = segments_input(&rig);
    IrValue add_k[] = {reshaped(&rig, by_token(&rig, "kx", k, 3, 2), token), ck, table},
            add_v[] = {reshaped(&rig, by_token(&rig, "vx", v, 3, 2), token), cv, table};
    ir_build(rig.graph, &(IrBuild){.kind = IR_OP_kv_append, .operands = add_k, .operand_count = 3}, &status);
    expect_ok(status);
    ir_build(rig.graph, &(IrBuild){.kind = IR_OP_kv_append, .operands = add_v, .operand_count = 3}, &status);
    expect_ok(status);
    IrValue query = reshaped(&rig, by_token(&rig, "q", q, 3, 2), token);
    result(&rig, "o", BUILD(&rig, attention, OPERANDS(query, ck, cv, table), ATTRS(FLOAT(SCALE, 0.5f))));
    run_slot(rig.interp, &rig, 0, 0, 3);
    EXPECT(&rig, "o", 1, 2, 2, 3, 3.6403133869171143f, 4.640313148498535f);
    rig_close(&rig);
}

// A cache of halves holds rounded keys and values: the same as rounding the tables first.
static void test_kv_f16(void **state) {
    (void)state;
    Attention a, b;
    open_attention(&a, IR_F16, 1);
    open_attention(&b, IR_F32, 1);
    run_slot(b.rig.interp, &b.rig, 0, 0, TOKENS);
    assert_true(nmse(got(b.rig.interp, "o", TOKENS * H * D), got(b.rig.interp, "o", TOKENS * H * D), TOKENS * H * D) == 0);
    float *tables[] = {b.k, b.v};
    run_slot(a.rig.interp, &a.rig, 0, 0, TOKENS);
    assert_true(nmse(got(a.rig.interp, "o", TOKENS * H * D), got(b.rig.interp, "o", TOKENS * H * D), TOKENS * H * D) > 0);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < TOKENS * HKV * D; k++) tables[i][k] = hd_f16_to_f32(hd_f32_to_f16(tables[i][k]));
    run_slot(b.rig.interp, &b.rig, 0, 0, TOKENS);
    expect_values(a.rig.interp, "o", TOKENS * H * D, got(b.rig.interp, "o", TOKENS * H * D));
    close_attention(&a);
    close_attention(&b);
}

// ---- refusals ------------------------------------------------------------------------------------------------

static void test_bad_segments(void **state) {
    (void)state;
    static const struct { int32_t words[16]; uint32_t count; const char *text; } cases[] = {
        {{2, 0, 0, 1}, 1, "segment 0: slot 2, there are 2"},
        {{-1, 0, 0, 1}, 1, "segment 0: slot -1, there are 2"},
        {{0, 0, 0, 1, 2, 0}, 1, "segment 0: planes 2 and 0, there are 2"},
        {{0, 0, 0, 1, 0, -1}, 1, "segment 0: planes 0 and -1, there are 2"},
        {{0, 0, 0, 6}, 1, "segment 0: 6 tokens from token 0, the call has 5"},
        {{0, 0, -1, 1}, 1, "segment 0: 1 tokens from token -1"},
        {{0, 0, 2, -1}, 1, "segment 0: -1 tokens"},
        {{0, 12, 0, 5}, 1, "segment 0: positions 12..17, the context has 16"},
        {{0, -1, 0, 5}, 1, "segment 0: positions -1..4"},
        {{0, 0, 0, 2, 0, 0, 0, 0, 0, 2, 2, 2}, 2, "segments 0 and 1 have the same slot 0"},
        {{0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 1, 2}, 2, "segments 0 and 1 share tokens"},
    };
    Rig rig;
    open_conv(&rig, 2, 2);
    for (size_t i = 0; i < HD_COUNT(cases); i++)
        expect_error(call_with(rig.interp, &rig, 0, 5, cases[i].words, cases[i].count), cases[i].text);
    rig_close(&rig);
}

static void test_state_keeps_its_type(void **state) {
    (void)state;
    Rig rig;
    open_conv(&rig, 1, 1);
    run_slot(rig.interp, &rig, 0, 0, 1);
    IrGraph *first = rig.graph;
    rig.graph = ir_graph_new(rig.module, "other");
    IrValue window = ir_state(rig.graph, IR_STATE_CONV, "window", TYPE(F32, 1, 2));
    IrValue narrow = BUILD(&rig, slice, OPERANDS(WEIGHT(&rig, "w", conv_w, 2, 3)),
                           ATTRS(INT(AXIS, 1), INT(BEGIN, 0), INT(END, 2)));
    result(&rig, "y", BUILD(&rig, conv1d, OPERANDS(by_token(&rig, "u", conv_u, 5, 2), narrow, window, segments_input(&rig))));
    expect_error(call_with(rig.interp, &rig, 0, 1, (int32_t[8]){0, 0, 0, 1}, 1),
                 "state window has another type than in an earlier graph");
    rig.graph = first;
    run_slot(rig.interp, &rig, 0, 1, 1);
    EXPECT(&rig, "y", 12, 40);
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_any_split),      cmocka_unit_test(test_conv_slots),
        cmocka_unit_test(test_conv_planes),         cmocka_unit_test(test_padding_writes_nothing),
        cmocka_unit_test(test_attention_any_split), cmocka_unit_test(test_attention_two_segments),
        cmocka_unit_test(test_attention_by_hand),   cmocka_unit_test(test_kv_f16),
        cmocka_unit_test(test_bad_segments),        cmocka_unit_test(test_state_keeps_its_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
