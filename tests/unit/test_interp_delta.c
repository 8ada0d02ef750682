// SPDX-License-Identifier: Apache-2.0
// The reference interpreter: the gated delta rule token by token and in chunks, against a form of it that shares nothing with
// either:
//   S_t = e^g (I - beta k k') S_{t-1} + beta k v'   in long double.
#include "interp_fixture.h"

enum { NK = 2, NV = 4, DK = 6, DV = 5, TOKENS = 131, WIDTH = NV * DV };
static const int chunks[] = {16, 32, 64};

typedef enum Decay { MILD, STRONG, MIXED } Decay;

typedef struct Delta { Rig rig; float *q, *k, *v, *g, *beta; bool by_division; } Delta;

static float decay_of(Decay decay, uint64_t *seed) {
    float mild = random_float(seed, -0.1, 0), strong = -16 * (float)log1p(exp(random_float(seed, 4, 6)));   // A = -16, dt = 5
    return decay == MILD ? mild : decay == STRONG ? strong : random_float(seed, 0, 1) < 0.9 ? mild : strong;
}

static void normalise(float *rows, int count, int width) {
    for (int r = 0; r < count; r++) {
        double sum = 0;
        for (int i = 0; i < width; i++) sum += (double)rows[r * width + i] * rows[r * width + i];
        for (int i = 0; i < width; i++) rows[r * width + i] = (float)(rows[r * width + i] / sqrt(sum));
    }
}

static void make_tables(Delta *d, Decay decay) {
    uint64_t seed = 77;
    d->q = random_floats(1, TOKENS * NK * DK, -1, 1), d->k = random_floats(2, TOKENS * NK * DK, -1, 1);
    d->v = random_floats(3, TOKENS * WIDTH, -1, 1), d->beta = random_floats(4, TOKENS * NV, 0, 1),
    d->g = random_floats(5, TOKENS * NV, 0, 1);
    normalise(d->q, TOKENS * NK, DK);
    normalise(d->k, TOKENS * NK, DK);
    for (int i = 0; i < TOKENS * NV; i++) d->g[i] = decay_of(decay, &seed);
}

typedef struct Operands { IrValue q, k, v, g, beta, table; } Operands;

static IrValue state_of(Rig *rig, const char *name) { return ir_state(rig->graph, IR_STATE_DELTA, name, TYPE(F32, NV, DK, DV)); }

static void add_chunked(Rig *rig, const Operands *x, const char *heads, int chunk) {
    char name[16];
    snprintf(name, sizeof name, "chunk%d", chunk);
    IrValue U = BUILD(rig, delta_chunk_prep, OPERANDS(x->q, x->k, x->v, x->g, x->beta, x->table),
                      ATTRS(NAME(HEADS, heads), INT(CHUNK, chunk)));
    IrValue W = sibling(rig, U, 1), P = sibling(rig, U, 2), g = sibling(rig, U, 3);
    result(rig, ir_intern(rig->module, hd_str(name)),
           BUILD(rig, delta_chunk_scan, OPERANDS(x->q, x->k, U, W, P, g, state_of(rig, name), x->table),
                 ATTRS(NAME(HEADS, heads), INT(CHUNK, chunk))));
}

// Results "rule", "scan", "chunk16", "chunk32", "chunk64"; with_step: "step" alone.
static void open_delta(Delta *d, Decay decay, const char *heads, uint32_t slots, uint32_t planes, bool with_step) {
    Rig *rig = &d->rig;
    rig_open(rig, slots, planes, TOKENS);
    make_tables(d, decay);
    d->by_division = strcmp(heads, "div") == 0;
    IrType keys = TYPE(F32, IR_DIM_T, NK, DK);
    Operands x = {reshaped(rig, by_token(rig, "q", d->q, TOKENS, NK * DK), keys),
                  reshaped(rig, by_token(rig, "k", d->k, TOKENS, NK * DK), keys),
                  reshaped(rig, by_token(rig, "v", d->v, TOKENS, WIDTH), TYPE(F32, IR_DIM_T, NV, DV)),
                  by_token(rig, "g", d->g, TOKENS, NV),
                  by_token(rig, "b", d->beta, TOKENS, NV),
                  segments_input(rig)};
    if (with_step) {
        result(rig, "step",
               BUILD(rig, delta_step, OPERANDS(x.q, x.k, x.v, x.g, x.beta, state_of(rig, "step"), x.table),
                     ATTRS(NAME(HEADS, heads))));
        return;
    }
    result(
        rig, "rule",
        BUILD(rig, delta_rule, OPERANDS(x.q, x.k, x.v, x.g, x.beta, state_of(rig, "rule"), x.table), ATTRS(NAME(HEADS, heads))));
    result(
        rig, "scan",
        BUILD(rig, delta_scan, OPERANDS(x.q, x.k, x.v, x.g, x.beta, state_of(rig, "scan"), x.table), ATTRS(NAME(HEADS, heads))));
    for (size_t i = 0; i < HD_COUNT(chunks); i++) add_chunked(rig, &x, heads, chunks[i]);
    expect_ok(ir_verify(rig->graph));
}

static void close_delta(Delta *d) {
    rig_close(&d->rig);
    free(d->q), free(d->k), free(d->v), free(d->g), free(d->beta);
}

static void naive_token(const Delta *d, int t, int j, long double S[DK][DV], float *out) {
    int head = d->by_division ? j / (NV / NK) : j % NK;
    const float *q = d->q + (t * NK + head) * DK, *k = d->k + (t * NK + head) * DK, *v = d->v + (t * NV + j) * DV;
    long double decay = expl(d->g[t * NV + j]), beta = d->beta[t * NV + j], next[DK][DV];
    for (int a = 0; a < DK; a++)
        for (int c = 0; c < DV; c++) {
            long double sum = beta * k[a] * v[c];
            for (int b = 0; b < DK; b++) sum += decay * ((a == b) - beta * k[a] * k[b]) * S[b][c];
            next[a][c] = sum;
        }
    memcpy(S, next, sizeof next);
    for (int c = 0; c < DV; c++) {
        long double sum = 0;
        for (int a = 0; a < DK; a++) sum += S[a][c] * q[a];
        out[c] = (float)sum;
    }
}

// Tokens first..first+count-1 of a sequence that begins at `first`.
static float *naive(const Delta *d, int first, int count) {
    float *out = hd_xcalloc((size_t)count * WIDTH, sizeof *out);
    for (int j = 0; j < NV; j++) {
        long double S[DK][DV] = {{0}};
        for (int t = 0; t < count; t++) naive_token(d, first + t, j, S, out + t * WIDTH + j * DV);
    }
    return out;
}

// ---- token by token ------------------------------------------------------------------------------------------

// Two tokens of one head, two by two: computed in Python after the formulas of the reference.
static void test_rule_by_hand(void **state) {
    (void)state;
    static const float k[] = {1, 0, 0.6f, 0.8f}, q[] = {0.5f, 0.5f, 1, -1}, v[] = {1, 2, 3, -1}, g[] = {-0.1f, -0.7f},
                       beta[] = {0.5f, 0.9f};
    Rig rig;
    rig_open(&rig, 1, 1, 2);
    IrType one = TYPE(F32, IR_DIM_T, 1, 2);
    IrValue o = BUILD(
        &rig, delta_rule,
        OPERANDS(reshaped(&rig, by_token(&rig, "q", q, 2, 2), one), reshaped(&rig, by_token(&rig, "k", k, 2, 2), one),
                 reshaped(&rig, by_token(&rig, "v", v, 2, 2), one), by_token(&rig, "g", g, 2, 1), by_token(&rig, "b", beta, 2, 1),
                 ir_state(rig.graph, IR_STATE_DELTA, "s", TYPE(F32, 1, 2, 2)), segments_input(&rig)),
        ATTRS(NAME(HEADS, "mod")));
    result(&rig, "o", o);
    run_slot(rig.interp, &rig, 0, 0, 2);
    expect_near(got(rig.interp, "o", 4), (float[]){0.25f, 0.5f, -0.26489174365997314f, 0.7302165031433105f}, 4, 1e-7);
    rig_close(&rig);
}

static void test_rule_and_heads(void **state) {
    (void)state;
    static const char *const heads[] = {"mod", "div"};
    for (int i = 0; i < 2; i++) {
        Delta d;
        open_delta(&d, MILD, heads[i], 1, 1, false);
        float *wanted = naive(&d, 0, TOKENS);
        run_slot(d.rig.interp, &d.rig, 0, 0, TOKENS);
        expect_near(got(d.rig.interp, "rule", TOKENS * WIDTH), wanted, TOKENS * WIDTH, 1e-7);
        expect_values(d.rig.interp, "scan", TOKENS * WIDTH, got(d.rig.interp, "rule", TOKENS * WIDTH));
        d.by_division = !d.by_division;
        float *other = naive(&d, 0, TOKENS);
        assert_true(nmse(other, wanted, TOKENS * WIDTH) > 0.1);
        free(wanted), free(other);
        close_delta(&d);
    }
}

// Any split into calls gives the same bits, and so does one step per token.
static void test_split_changes_nothing(void **state) {
    (void)state;
    static const uint32_t sizes[][3] = {{1, 3, 64}, {64, 63, 4}, {1, 1, 1}, {130, 1, 1}};
    Delta d, steps;
    open_delta(&d, MILD, "mod", 2, 1, false);
    open_delta(&steps, MILD, "mod", 1, 1, true);
    float *whole = hd_xcalloc(TOKENS * WIDTH, sizeof *whole);
    run_slot(d.rig.interp, &d.rig, 0, 0, TOKENS);
    memcpy(whole, got(d.rig.interp, "rule", TOKENS * WIDTH), TOKENS * WIDTH * sizeof *whole);
    for (size_t s = 0; s < HD_COUNT(sizes); s++) {
        ir_interp_reset(d.rig.interp, 1);
        for (uint32_t at = 0, i = 0, count; at < TOKENS; at += count, i++) {
            count = HD_MIN(sizes[s][HD_MIN(i, 2u)], TOKENS - at);
            run_slot(d.rig.interp, &d.rig, 1, (int32_t)at, count);
            assert_memory_equal(got(d.rig.interp, "rule", count * WIDTH), whole + at * WIDTH, count * WIDTH * sizeof *whole);
        }
    }
    for (uint32_t t = 0; t < TOKENS; t++) {
        run_slot(steps.rig.interp, &steps.rig, 0, (int32_t)t, 1);
        assert_memory_equal(got(steps.rig.interp, "step", WIDTH), whole + t * WIDTH, WIDTH * sizeof *whole);
    }
    expect_error(call_with(steps.rig.interp, &steps.rig, 0, 2, (int32_t[8]){0, 0, 0, 2}, 1),
                 "segment 0 has 2 tokens, delta.step takes one");
    close_delta(&d);
    close_delta(&steps);
    free(whole);
}

// Plane 0 stays as it is while plane 1 goes on from it.
static void test_planes(void **state) {
    (void)state;
    Delta d;
    open_delta(&d, MILD, "mod", 1, 2, false);
    float *wanted = naive(&d, 0, 9);
    run_slot(d.rig.interp, &d.rig, 0, 0, 6);
    for (int again = 0; again < 2; again++) {
        expect_ok(call_with(d.rig.interp, &d.rig, 6, 2, (int32_t[8]){0, 6, 0, 2, 0, 1}, 1));
        expect_near(got(d.rig.interp, "rule", 2 * WIDTH), wanted + 6 * WIDTH, 2 * WIDTH, 1e-7);
        expect_near(got(d.rig.interp, "chunk16", 2 * WIDTH), wanted + 6 * WIDTH, 2 * WIDTH, 1e-6);
    }
    expect_ok(call_with(d.rig.interp, &d.rig, 8, 1, (int32_t[8]){0, 8, 0, 1, 1, 1}, 1));
    expect_near(got(d.rig.interp, "rule", WIDTH), wanted + 8 * WIDTH, WIDTH, 1e-7);
    expect_near(got(d.rig.interp, "chunk64", WIDTH), wanted + 8 * WIDTH, WIDTH, 1e-6);
    free(wanted);
    close_delta(&d);
}

// ---- chunks --------------------------------------------------------------------------------------------------

static void expect_chunks(const Delta *d, const float *wanted, uint64_t count) {
    for (size_t i = 0; i < HD_COUNT(chunks); i++) {
        char name[16];
        snprintf(name, sizeof name, "chunk%d", chunks[i]);
        double error = nmse(got(d->rig.interp, name, count), wanted, count);
        if (!(error <= 1e-13)) fail_msg("%s: NMSE %g over %u values", name, error, (unsigned)count);
    }
}

// A prompt, then one token more in a call of its own, which shows that the state is right too.
static void check_chunks(Decay decay, uint32_t count) {
    Delta d;
    open_delta(&d, decay, "mod", 1, 1, false);
    float *wanted = naive(&d, 0, (int)count + 1);
    run_slot(d.rig.interp, &d.rig, 0, 0, count);
    expect_near(got(d.rig.interp, "rule", count * WIDTH), wanted, count * WIDTH, 1e-6);
    expect_chunks(&d, wanted, count * WIDTH);
    run_slot(d.rig.interp, &d.rig, 0, (int32_t)count, 1);
    expect_chunks(&d, wanted + count * WIDTH, WIDTH);
    free(wanted);
    close_delta(&d);
}

static const uint32_t prompts[] = {1, 2, 15, 16, 17, 63, 64, 65, 130};

static void test_chunks(void **state) {
    (void)state;
    for (size_t i = 0; i < HD_COUNT(prompts); i++) check_chunks(MILD, prompts[i]);
}

static void test_chunks_strong_decay(void **state) {
    (void)state;
    for (size_t i = 0; i < HD_COUNT(prompts); i++) check_chunks(STRONG, prompts[i]);
}

static void test_chunks_mixed_decay(void **state) {
    (void)state;
    for (size_t i = 0; i < HD_COUNT(prompts); i++) check_chunks(MIXED, prompts[i]);
}

// Segments that fill no chunk, one in the middle of the call that is empty, and padding at its end.
static void test_chunks_of_segments(void **state) {
    (void)state;
    Delta d;
    open_delta(&d, MILD, "mod", 4, 1, false);
    float *wanted = hd_xcalloc(TOKENS * WIDTH, sizeof *wanted), *part;
    static const int32_t parts[][2] = {{0, 17}, {17, 70}, {90, 33}};
    for (int i = 0; i < 3; i++) {
        part = naive(&d, parts[i][0], parts[i][1]);
        memcpy(wanted + parts[i][0] * WIDTH, part, (size_t)(parts[i][1] * WIDTH) * sizeof *part);
        free(part);
    }
    static const int32_t table[] = {3, 0, 0,  17, 0, 0, 0, 0, 2, 0, 17, 0,  0, 0, 0, 0,
                                    0, 0, 17, 70, 0, 0, 0, 0, 1, 0, 90, 33, 0, 0, 0, 0};
    expect_ok(call_with(d.rig.interp, &d.rig, 0, TOKENS, table, 4));
    expect_near(got(d.rig.interp, "rule", TOKENS * WIDTH), wanted, TOKENS * WIDTH, 1e-7);
    expect_chunks(&d, wanted, TOKENS * WIDTH);
    free(wanted);
    close_delta(&d);
}

// Rows of a chunk without a token are zero: 3 tokens in chunks of 2, rows 0 to 2 of 6.
static void test_padding_of_chunks(void **state) {
    (void)state;
    static const float k[] = {1, 1, 1}, v[] = {2, 4, 6}, g[] = {-1, -2, -3}, beta[] = {0.5f, 0.5f, 0.5f};
    Rig rig;
    rig_open(&rig, 1, 1, 3);
    IrType one = TYPE(F32, IR_DIM_T, 1, 1);
    IrValue key = reshaped(&rig, by_token(&rig, "k", k, 3, 1), one), value = reshaped(&rig, by_token(&rig, "v", v, 3, 1), one);
    IrValue U = BUILD(
        &rig, delta_chunk_prep,
        OPERANDS(key, key, value, by_token(&rig, "g", g, 3, 1), by_token(&rig, "b", beta, 3, 1), segments_input(&rig)),
        ATTRS(NAME(HEADS, "mod"), INT(CHUNK, 2)));
    result(&rig, "U", U);
    result(&rig, "W", sibling(&rig, U, 1));
    result(&rig, "P", sibling(&rig, U, 2));
    result(&rig, "g", sibling(&rig, U, 3));
    run_slot(rig.interp, &rig, 0, 0, 3);
    const double e1 = exp(-1), e2 = exp(-2), e3 = exp(-3);
    EXPECT(&rig, "U", 1, (float)(2 - 0.5 * e2), 3, 0, 0, 0);
    EXPECT(&rig, "W", (float)(0.5 * e1), (float)(0.5 * e3 - 0.5 * e2 * 0.5 * e1), (float)(0.5 * e3), 0, 0, 0);
    EXPECT(&rig, "P", 1, 0, (float)e2, 1, 1, 0, 0, 0, 0, 0, 0, 0);
    EXPECT(&rig, "g", -1, -2, -3, 0, 0, 0);
    IrInterp *fresh = rig_fresh(&rig, 2, 1, 3);        // one token, then two of another sequence: rows 0, 2 and 3 of 8
    expect_ok(call_with(fresh, &rig, 0, 3, (int32_t[]){1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0}, 2));
    expect_values(fresh, "g", 8, (float[]){-1, 0, -2, -3, 0, 0, 0, 0});
    expect_values(fresh, "U", 8, (float[]){1, 0, 2, (float)(3 - 0.5 * e3 * 2), 0, 0, 0, 0});
    ir_interp_free(fresh);
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rule_by_hand),
        cmocka_unit_test(test_rule_and_heads),
        cmocka_unit_test(test_split_changes_nothing),
        cmocka_unit_test(test_planes),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunks_strong_decay),
        cmocka_unit_test(test_chunks_mixed_decay),
        cmocka_unit_test(test_chunks_of_segments),
        cmocka_unit_test(test_padding_of_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
