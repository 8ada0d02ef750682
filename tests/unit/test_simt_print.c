// SPDX-License-Identifier: Apache-2.0
// The same kernel as GLSL and as CUDA C, to the letter: what a person sees in `heddle compile --dump`.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "codegen/simt/emit.h"

// y[i] = scale(x[i]) halved by a table where the sum of its row is not above 1.
static KirFn *sample(void) {
    static const float halves[2] = {0.5f, 0.25f};
    KirFn *fn = kir_new("sample");
    kir_set_lanes(fn, 32);
    KirRef x = kir_param(fn, KT_PTR, "x"), n = kir_param(fn, KT_I64, "row length"), lane = kir_lane(fn);
    KirRef shared = kir_shared(fn, KIR_F32, 32), table = kir_table(fn, halves, sizeof halves, "halves"), zero = kir_float(fn, KT_F32, 0);
    KirLoop loop;
    kir_for_begin(fn, lane, n, kir_i64(fn, 32), 1, &zero, &loop);
    KirRef sum = kir_add(fn, loop.carried[0], kir_f16_f32(fn, kir_load(fn, KT_I16, kir_at(fn, x, loop.iv, 2, 0))));
    kir_for_end(fn, &loop, &sum);
    kir_shared_store(fn, shared, lane, loop.results[0]);
    kir_barrier(fn);
    KirRef first = kir_shared_load(fn, shared, kir_i64(fn, 0)), odd = kir_and(fn, lane, kir_i64(fn, 1));
    KirIf small;
    kir_if_begin(fn, kir_cmp(fn, KIR_LE, first, kir_float(fn, KT_F32, 1)), &small);
    KirRef y = kir_mul(fn, first, kir_load(fn, KT_F32, kir_at(fn, table, odd, 4, 0)));
    kir_if_else(fn, &small, 1, &y);
    kir_if_end(fn, &small, &first);
    kir_store(fn, kir_at(fn, x, lane, 2, 0), kir_f32_f16(fn, small.results[0]));
    return fn;
}

static const char glsl_body[] =
    "void main() {\n"
    "    int64_t i1 = push.begin;\n"
    "    int64_t i2 = push.end;\n"
    "    uint64_t x_0 = uint64_t(Ptr(push.args + 0 * 8).v);\n"
    "    int64_t row_length_1 = int64_t(Ptr(push.args + 1 * 8).v);\n"
    "    int64_t i5 = int64_t(gl_LocalInvocationID.x);\n"
    "    uint64_t p7 = uint64_t(0);\n"
    "    precise float f11 = 0.0f;\n"
    "    for (int64_t i10 = i5; i10 < row_length_1; i10 += int64_t(32)) {\n"
    "        int16_t h16 = I16(x_0 + uint64_t(i10 * int64_t(2))).v;\n"
    "        precise float f17 = unpackHalf2x16(uint(uint16_t(h16))).x;\n"
    "        precise float f18 = f11 + f17;\n"
    "        f11 = f18;\n"
    "    }\n"
    "    precise float f19 = f11;\n"
    "    sf6[uint(i5)] = f19;\n"
    "    memoryBarrier(), barrier();\n"
    "    precise float f20 = sf6[uint(int64_t(0))];\n"
    "    int64_t i22 = i5 & int64_t(1);\n"
    "    bool b24 = f20 <= 1.0f;\n"
    "    precise float f30;\n"
    "    if (b24) {\n"
    "        precise float f28 = uintBitsToFloat(t0[uint(p7 + uint64_t(i22 * int64_t(4))) >> 2]);\n"
    "        precise float f29 = f20 * f28;\n"
    "        f30 = f29;\n"
    "    } else {\n"
    "        f30 = f20;\n"
    "    }\n"
    "    int16_t h31 = f32_f16(f30);\n"
    "    I16(x_0 + uint64_t(i5 * int64_t(2))).v = h31;\n"
    "}\n";

static const char cuda_body[] =
    "    long64 i1 = begin;\n"
    "    long64 i2 = end;\n"
    "    ulong64 x_0 = ulong64(args[0]);\n"
    "    long64 row_length_1 = long64(args[1]);\n"
    "    long64 i5 = long64(threadIdx.x);\n"
    "    ulong64 p7 = ulong64(t0);\n"
    "    float f11 = 0.0f;\n"
    "    for (long64 i10 = i5; i10 < row_length_1; i10 += long64(32)) {\n"
    "        short16 h16 = *(const short16 *)(x_0 + (ulong64)(i10 * long64(2)));\n"
    "        float f17 = f16_f32(h16);\n"
    "        float f18 = f11 + f17;\n"
    "        f11 = f18;\n"
    "    }\n"
    "    float f19 = f11;\n"
    "    sf6[i5] = f19;\n"
    "    __syncthreads();\n"
    "    float f20 = sf6[long64(0)];\n"
    "    long64 i22 = i5 & long64(1);\n"
    "    bool b24 = f20 <= 1.0f;\n"
    "    float f30;\n"
    "    if (b24) {\n"
    "        float f28 = *(const float *)(p7 + (ulong64)(i22 * long64(4)));\n"
    "        float f29 = f20 * f28;\n"
    "        f30 = f29;\n"
    "    } else {\n"
    "        f30 = f20;\n"
    "    }\n"
    "    short16 h31 = f32_f16(f30);\n"
    "    *(short16 *)(x_0 + (ulong64)(i5 * long64(2))) = h31;\n"
    "}\n";

static void expect(HdStatus *(*print)(const KirFn *fn, HdBuf *out_text), const char *const *parts, size_t count) {
    KirFn *fn = sample();
    HdBuf text = {0};
    HdStatus *status = print(fn, &text);
    if (status) fail_msg("%s", hd_status_message(status));
    for (size_t i = 0; i < count; i++)
        if (!strstr(text.data, parts[i])) {
            fprintf(stderr, "%s", text.data);
            fail_msg("missing:\n%s", parts[i]);
        }
    hd_buf_free(&text);
    kir_free(fn);
}

static void test_glsl(void **state) {
    (void)state;
    const char *const parts[] = {glsl_body, "layout(local_size_x = 32) in;", "const uint t0[] = {0x3f000000u, 0x3e800000u};   // halves\n",
                                 "shared float sf6[32];", "int16_t f32_f16(float x)"};
    expect(simt_print_glsl, parts, HD_COUNT(parts));
}

static void test_cuda(void **state) {
    (void)state;
    const char *const parts[] = {cuda_body, "__launch_bounds__(32) sample(", "__device__ static const uint32 t0[] = {0x3f000000u, 0x3e800000u};   // halves\n",
                                 "    __shared__ float sf6[32];", "float f16_f32(short16 h)"};
    expect(simt_print_cuda, parts, HD_COUNT(parts));
}

// What has no words is refused, not left out.
static void test_refused(void **state) {
    (void)state;
    KirFn *fn = kir_new("wide");
    kir_store(fn, kir_param(fn, KT_PTR, "x"), kir_load(fn, KT_F32x16, kir_param(fn, KT_PTR, "y")));
    HdBuf text = {0};
    HdStatus *status = simt_print_glsl(fn, &text);
    assert_non_null(status);
    assert_string_equal(hd_status_message(status), "kernel wide: load: only single numbers are loaded (GLSL)");
    hd_status_free(status);
    hd_buf_free(&text);
    kir_free(fn);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_glsl), cmocka_unit_test(test_cuda), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
