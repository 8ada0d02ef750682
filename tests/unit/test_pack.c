// SPDX-License-Identifier: Apache-2.0
// Packed weights, read back by a slow reader written from the description in codegen/cpu/layout.h, and embedding rows: both give
// exactly the numbers that ggml's decoders give.
#include "codegen/cpu/layout.h"

#include <math.h>

#include "tests/unit/matmul_fixture.h"

static Fixture all;

static const struct { IrDtype dtype; int64_t rows, columns;
} packed[] = {{IR_F32, 20, 37},   {IR_F16, 20, 37},   {IR_BF16, 20, 37}, {IR_F32, 32, 64},  {IR_F16, 32, 64},
              {IR_BF16, 32, 64},  {IR_Q8_0, 20, 96},  {IR_Q8_0, 32, 64}, {IR_Q4_0, 20, 96}, {IR_Q4_K, 20, 512},
              {IR_Q5_K, 20, 512}, {IR_Q6_K, 20, 512}, {IR_Q6_K, 48, 256}, {IR_IQ4_NL, 20, 96}, {IR_IQ4_XS, 20, 512},
              {IR_MXFP4, 20, 96}, {IR_MXFP4, 32, 256}};
static const struct { IrDtype dtype; int64_t columns; } embedded[] = {
    {IR_F32, 37}, {IR_F16, 37}, {IR_BF16, 37}, {IR_Q4_0, 96}, {IR_Q4_1, 96}, {IR_Q5_0, 96}, {IR_Q5_1, 96}, {IR_Q8_0, 96},
    {IR_Q2_K, 512}, {IR_Q3_K, 512}, {IR_Q4_K, 512}, {IR_Q5_K, 512}, {IR_Q6_K, 512}, {IR_IQ4_NL, 96}, {IR_IQ4_XS, 512},
    {IR_MXFP4, 96}, {IR_NVFP4, 320}, {IR_TQ1_0, 512}, {IR_TQ2_0, 512}, {IR_IQ1_S, 512}, {IR_IQ1_M, 512}, {IR_IQ2_XXS, 512},
    {IR_IQ2_XS, 512}, {IR_IQ2_S, 512}, {IR_IQ3_XXS, 512}, {IR_IQ3_S, 512}};

static void packed_name(size_t i, char name[40]) {
    snprintf(name, 40, "%s.%lldx%lld", ir_dtype_info(packed[i].dtype)->name, (long long)packed[i].rows,
             (long long)packed[i].columns);
}

static void put_embed(HdBuf *text, size_t i) {
    const char *t = ir_dtype_info(embedded[i].dtype)->name;
    long long d = embedded[i].columns;
    hd_buf_printf(text,
                  "  graph @embed_%s {\n    %%tokens = input tokens : i32[T]\n    %%w = weight \"table.%s\" : %s[%d, %lld]\n", t,
                  t, t, VOCABULARY, d);
    hd_buf_printf(text, "    %%x = fused %%tokens, %%w {kind = embed} (%%a0 : i32[T], %%a1 : %s[%d, %lld]) {\n", t, VOCABULARY,
                  d);
    hd_buf_printf(text,
                  "      %%y = embed %%a0, %%a1 : f32[T, %lld]\n      yield %%y\n    } : f32[T, %lld]\n    return x = %%x\n  }\n",
                  d, d);
}

static int setup_all(void **state) {
    HdBuf text = {0};
    char name[40];
    (void)state;
    for (size_t i = 0; i < HD_COUNT(packed); i++) {
        packed_name(i, name);
        add_matrix(&all.weights, name, packed[i].dtype, packed[i].rows, packed[i].columns);
    }
    add_experts(&all.weights, "experts", IR_Q4_K, 3, 3 * 20, 256);
    hd_buf_str(&text, "module \"packing\" {\n");
    put_load(&text, &all.weights);
    for (size_t i = 0; i < HD_COUNT(embedded); i++) {
        snprintf(name, sizeof name, "table.%s", ir_dtype_info(embedded[i].dtype)->name);
        add_matrix(&all.weights, name, embedded[i].dtype, VOCABULARY, embedded[i].columns);
        put_embed(&text, i);
    }
    hd_buf_str(&text, "}\n");
    open_fixture(&all, &text);
    hd_buf_free(&text);
    return 0;
}

static int teardown_all(void **state) {
    (void)state;
    close_fixture(&all);
    return 0;
}

// ---- the slow reader -----------------------------------------------------------------------------------------------

static const int iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static float f16_at(const uint8_t *at) { return hd_f16_to_f32((uint16_t)(at[0] | at[1] << 8)); }

static float plain_value(IrDtype dtype, const uint8_t *panel, int64_t k, int64_t r) {
    float number;
    if (dtype == IR_F16) return f16_at(panel + 32 * k + 2 * r);
    if (dtype == IR_F32) return memcpy(&number, panel + 64 * k + 4 * r, 4), number;
    const uint8_t *half = panel + 64 * (k / 2) + 4 * r + 2 * (k % 2);
    return hd_bf16_to_f32((uint16_t)(half[0] | half[1] << 8));
}

// The nibble at element e of a block of 32 whose 4 vectors begin at `quants`.
static int nibble_at(const uint8_t *quants, int64_t e, int64_t r) {
    int byte = quants[e % 16 / 4 * 64 + 4 * r + e % 4];
    return e < 16 ? byte & 15 : byte >> 4;
}

static float pair_value(IrDtype dtype, const uint8_t *panel, int64_t k, int64_t r) {
    bool eight = dtype == IR_Q8_0;
    const uint8_t *pair = panel + k / 64 * (eight ? 1088 : 576);
    int64_t block = k % 64 / 32, e = k % 32;
    const uint8_t *quants = pair + 64 + block * (eight ? 512 : 256);
    int q = eight ? quants[e / 4 * 64 + 4 * r + e % 4] - 128 : nibble_at(quants, e, r) - 8;
    if (dtype == IR_IQ4_NL) q = iq4[q + 8];
    return (float)q * f16_at(pair + 32 * block + 2 * r);
}

static float mxfp4_value(const uint8_t *panel, int64_t k, int64_t r) {
    static const float e2m1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    const uint8_t *four = panel + k / 128 * 1088;
    int64_t block = k % 128 / 32;
    return e2m1[nibble_at(four + 64 + 256 * block, k % 32, r)] * ldexpf(1, four[16 * block + r] - 127);
}

static float iq4_xs_value(const uint8_t *panel, int64_t k, int64_t r) {
    const uint8_t *block = panel + k / 256 * 2240;
    int64_t group = k % 256 / 32;
    float scale = f16_at(block + 2 * r) * (float)(int8_t)block[64 + 16 * group + r];
    return scale * (float)iq4[nibble_at(block + 192 + 256 * group, k % 32, r)];
}

static float q4_or_q5_value(IrDtype dtype, const uint8_t *panel, int64_t k, int64_t r) {
    bool five = dtype == IR_Q5_K;
    const uint8_t *block = panel + k / 256 * (five ? 2880 : 2368), *part = block + 64 + k % 256 / 64 * (five ? 704 : 576);
    int64_t group = k % 64 / 32, l = k % 32, byte = 4 * r + l % 4;
    int nibbles = part[(five ? 192 : 64) + l / 4 * 64 + byte], q = group ? nibbles >> 4 : nibbles & 15;
    if (five) q |= (part[64 + 64 * group + byte] >> (l / 4) & 1) << 4;
    float scale = f16_at(block + 2 * r) * (float)part[16 * group + r],
          min = f16_at(block + 32 + 2 * r) * (float)part[32 + 16 * group + r];
    return scale * (float)q - min;
}

static float q6_value(const uint8_t *panel, int64_t k, int64_t r) {
    const uint8_t *block = panel + k / 256 * 3392, *part = block + 64 + k % 256 / 64 * 832;
    int64_t group = k % 64 / 16, vector = k % 16 / 4, byte = 4 * r + k % 4;
    const uint8_t *abc = part + 64 + 192 * group + byte;
    int q = vector < 3 ? abc[64 * vector] & 63 : (abc[0] >> 6) | (abc[64] >> 6) << 2 | (abc[128] >> 6) << 4;
    return f16_at(block + 2 * r) * (float)(int8_t)part[16 * group + r] * (float)(q - 32);
}

static float packed_value(IrDtype dtype, const uint8_t *panel, int64_t k, int64_t r) {
    switch (dtype) {
    case IR_Q8_0: case IR_Q4_0: case IR_IQ4_NL: return pair_value(dtype, panel, k, r);
    case IR_MXFP4: return mxfp4_value(panel, k, r);
    case IR_IQ4_XS: return iq4_xs_value(panel, k, r);
    case IR_Q4_K: case IR_Q5_K: return q4_or_q5_value(dtype, panel, k, r);
    case IR_Q6_K: return q6_value(panel, k, r);
    default: return plain_value(dtype, panel, k, r);
    }
}

// ---- tests ---------------------------------------------------------------------------------------------------------

static void expect_matrix(const char *name, const Matrix *m, const uint8_t *panels, int64_t first_row, int64_t rows) {
    uint64_t panel_bytes = cg_panel_bytes(m->dtype, (uint64_t)m->columns);
    float *want = malloc((size_t)m->columns * sizeof *want);
    assert_int_equal(panel_bytes % 64, 0);
    for (int64_t n = 0; n < (rows + 15) / 16 * 16; n++) {
        if (n < rows) dequantise(m, (uint64_t)(first_row + n), (uint64_t)(first_row + n + 1), want);
        for (int64_t k = 0; k < m->columns; k++) {
            float got = packed_value(m->dtype, panels + (uint64_t)(n / 16) * panel_bytes, k, n % 16),
                  wanted = n < rows ? want[k] : 0;
            if (got != wanted) fail_msg("%s: row %lld column %lld is %g, not %g", name, (long long)n, (long long)k, got, wanted);
        }
    }
    free(want);
}

static void test_packed_numbers_are_the_native_ones(void **state) {
    (void)state;
    for (size_t i = 0; i < HD_COUNT(packed); i++) {
        char name[40];
        packed_name(i, name);
        expect_matrix(name, &all.weights.matrix[i], packed_copy(&all.run, name), 0, packed[i].rows);
    }
}

static void test_experts_are_padded_each(void **state) {
    (void)state;
    const Matrix *m = &all.weights.matrix[HD_COUNT(packed)];
    uint64_t bytes = cg_layout_bytes(IR_Q4_K, IR_LAYOUT_R16, 20, 256);
    assert_int_equal(bytes, 2 * 2368);
    for (int64_t e = 0; e < 3; e++)
        expect_matrix("experts", m, packed_copy(&all.run, "experts") + (uint64_t)e * bytes, 20 * e, 20);
}

// The copies are poisoned before packing: padding must have been cleared too, so that equal weights pack to equal bytes.
static void test_padding_is_cleared(void **state) {
    (void)state;
    for (size_t i = 0; i < HD_COUNT(packed); i++) {
        char name[40];
        packed_name(i, name);
        if (!cg_panel_padded(packed[i].dtype, (uint64_t)packed[i].columns)) continue;
        const uint8_t *panel = packed_copy(&all.run, name);
        uint64_t bytes = cg_panel_bytes(packed[i].dtype, (uint64_t)packed[i].columns);
        for (uint64_t at = bytes - 2; at < bytes; at++)
            if (panel[at] || panel[at + bytes]) fail_msg("%s: byte %llu of a panel is not cleared", name, (unsigned long long)at);
    }
}

static void test_sizes(void **state) {
    (void)state;
    assert_int_equal(cg_layout_bytes(IR_Q8_0, IR_LAYOUT_NATIVE, 20, 96), 20 * 3 * 34);
    assert_int_equal(cg_layout_bytes(IR_Q8_0, IR_LAYOUT_R16, 20, 96), 2 * 2 * 1088);
    assert_int_equal(cg_layout_bytes(IR_F16, IR_LAYOUT_R16, 17, 37), 2 * 38 * 32);
    assert_int_equal(cg_layout_bytes(IR_Q6_K, IR_LAYOUT_R16, 16, 512), 2 * 3392);
    assert_int_equal(cg_layout_bytes(IR_Q5_0, IR_LAYOUT_R16, 16, 512), 0);
    assert_int_equal(cg_layout_bytes(IR_Q8_0, IR_LAYOUT_SPLIT, 20, 96), 20 * 112);   // 3 blocks of 34 bytes, rounded up to 16
    assert_int_equal(cg_layout_bytes(IR_Q6_K, IR_LAYOUT_SPLIT, 7, 2048), 7 * 8 * 210);
    assert_int_equal(cg_layout_bytes(IR_Q4_K, IR_LAYOUT_SPLIT, 7, 2048), 0);
    bool packable[IR_DTYPE_COUNT] = {0};                   // what the passes are told is what there is
#define IR_PACKED(name) packable[IR_##name] = true;
#include "ir/targets.def"
#undef IR_PACKED
    for (IrDtype t = 0; t < IR_DTYPE_COUNT; t++)
        assert_int_equal(packable[t], cg_layout_bytes(t, IR_LAYOUT_R16, 16, 512) != 0);
}

static void test_embedding_is_exact(void **state) {
    (void)state;
    for (size_t i = 0; i < HD_COUNT(embedded); i++) {
        const Matrix *m = &all.weights.matrix[HD_COUNT(packed) + 1 + i];
        char graph[40];
        float want[512];
        snprintf(graph, sizeof graph, "embed_%s", ir_dtype_info(embedded[i].dtype)->name);
        run_tokens(&all, graph, 0, TOKENS);
        const float *got = run_result(&all.run, graph, "x");
        for (int t = 0; t < TOKENS; t++) {
            dequantise(m, (uint64_t)all.tokens[t], (uint64_t)all.tokens[t] + 1, want);
            for (int64_t k = 0; k < m->columns; k++)
                if (memcmp(&got[t * m->columns + k], &want[k], 4))
                    fail_msg("@%s token %d column %lld: %.9g, not %.9g", graph, t, (long long)k, got[t * m->columns + k],
                             want[k]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_numbers_are_the_native_ones), cmocka_unit_test(test_experts_are_padded_each),
        cmocka_unit_test(test_padding_is_cleared), cmocka_unit_test(test_sizes), cmocka_unit_test(test_embedding_is_exact),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
