// SPDX-License-Identifier: Apache-2.0
// What only CUDA has: dot products of four bytes, shuffles, matrix fragments, copies in the background. The CUDA C of small kernels runs here
// as C++ (emulate.c) and is compared with plain loops over whole matrices. The emulation itself is tried too: it shows what is missing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/simt/emit.h"
#include "runtime/abi.h"

enum { LANES = 64 };

static uint32_t next_random(void) {
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static void expect_ok(HdStatus *status) {
    if (status) fail_msg("%s", hd_status_message(status));
}

static KirFn *kernel_new(const char *name) {
    KirFn *fn = kir_new(name);
    kir_set_lanes(fn, LANES);
    return fn;
}

// Verifies, prints, compiles and runs one work group. Takes the kernel.
static void run(KirFn *fn, const void *const *args, size_t count) {
    HdBuf source = {0}, objects[2] = {0}, library_file = {0};
    uint64_t slots[8];
    char path[64];
    expect_ok(kir_verify(fn, KIR_SIMT));
    for (int i = 0; i < 2; i++) {
        expect_ok(simt_print_emulated(i ? NULL : fn, &source));
        expect_ok(simt_compile_emulated(&source, &objects[i]));
        hd_buf_free(&source);
    }
    expect_ok(simt_link_emulated(objects, 2, &library_file));
    int fd = memfd_create("kernel", MFD_CLOEXEC);
    assert_int_equal(write(fd, library_file.data, library_file.len), (ssize_t)library_file.len);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail_msg("%s", dlerror());
    union { void *object; HeddleKernel *function; } symbol = {dlsym(library, kir_name(fn))};
    assert_non_null(symbol.object);
    for (size_t i = 0; i < count; i++) slots[i] = (uint64_t)(uintptr_t)args[i];
    symbol.function(slots, 0, 1, NULL);
    dlclose(library);
    close(fd);
    for (int i = 0; i < 2; i++) hd_buf_free(&objects[i]);
    hd_buf_free(&library_file);
    kir_free(fn);
}

static KirRef word_at(KirFn *fn, KirRef ptr, KirRef index) { return kir_load(fn, KT_I32, kir_at(fn, ptr, index, 4, 0)); }

static int byte_of(int32_t word, int i) { return (int8_t)((uint32_t)word >> (8 * i)); }

static void test_dot(void **state) {
    (void)state;
    static const int32_t edges[] = {0, -1, INT32_MIN, INT32_MAX, (int32_t)0x80808080u, 0x7f7f7f7f, (int32_t)0x80017fffu, 0x00ff0100};
    int32_t sum[LANES], a[LANES], b[LANES], out[LANES];
    KirFn *fn = kernel_new("dot");
    KirRef p[4], lane = kir_lane(fn);
    for (int i = 0; i < 4; i++) p[i] = kir_param(fn, KT_PTR, "x");
    kir_store(fn, kir_at(fn, p[3], lane, 4, 0), kir_dot_i8(fn, word_at(fn, p[0], lane), word_at(fn, p[1], lane), word_at(fn, p[2], lane)));
    for (int i = 0; i < LANES; i++) sum[i] = i % 3 ? (int32_t)next_random() / 4 : 0, a[i] = edges[i / 8], b[i] = edges[i % 8];
    run(fn, (const void *[]){sum, a, b, out}, 4);
    for (int i = 0; i < LANES; i++) {
        int want = sum[i];
        for (int k = 0; k < 4; k++) want += byte_of(a[i], k) * byte_of(b[i], k);
        assert_int_equal(out[i], want);
    }
}

static void test_shuffle(void **state) {
    (void)state;
    int32_t x[LANES], out[6][LANES];
    KirFn *fn = kernel_new("shuffle");
    KirRef from = kir_param(fn, KT_PTR, "x"), to = kir_param(fn, KT_PTR, "out"), lane = kir_lane(fn);
    for (uint32_t i = 0; i < 6; i++) {   // the last as floats
        KirRef value = kir_load(fn, i < 5 ? KT_I32 : KT_F32, kir_at(fn, from, lane, 4, 0));
        kir_store(fn, kir_at(fn, to, lane, 4, 4 * LANES * i), kir_shuffle_xor(fn, value, i < 5 ? 1u << i : 13));
    }
    for (int i = 0; i < LANES; i++) x[i] = 1 << 20 | i;
    run(fn, (const void *[]){x, out}, 2);
    for (int i = 0; i < LANES; i++)
        for (int s = 0; s < 6; s++) assert_int_equal(out[s][i], x[i ^ (s < 5 ? 1 << s : 13)]);
}

// ---- fragments -----------------------------------------------------------------------------------------------------

enum { STRIDE = 12, A_WORDS = 16 * STRIDE, B_WORDS = 8 * STRIDE, WARPS = LANES / KIR_WARP };

// Copies the warp's matrices to shared memory and stores element i of each lane's product twice added: D = C + A B' + A B'.
static KirFn *product(uint32_t words, bool bf16) {
    KirFn *fn = kernel_new("product");
    KirRef a = kir_param(fn, KT_PTR, "a"), b = kir_param(fn, KT_PTR, "b"), out = kir_param(fn, KT_PTR, "out");
    KirRef lane = kir_lane(fn), warp = kir_sdiv(fn, lane, kir_i64(fn, KIR_WARP)), shared = kir_shared(fn, KIR_I32, WARPS * (A_WORDS + B_WORDS));
    KirLoop loop;
    kir_for_begin(fn, lane, kir_i64(fn, WARPS * A_WORDS), kir_i64(fn, LANES), 0, NULL, &loop);
    kir_shared_store(fn, shared, loop.iv, word_at(fn, a, loop.iv));
    kir_for_end(fn, &loop, NULL);
    kir_for_begin(fn, lane, kir_i64(fn, WARPS * B_WORDS), kir_i64(fn, LANES), 0, NULL, &loop);
    kir_shared_store(fn, shared, kir_add(fn, loop.iv, kir_i64(fn, WARPS * A_WORDS)), word_at(fn, b, loop.iv));
    kir_for_end(fn, &loop, NULL);
    kir_barrier(fn);
    KirRef fa = kir_fragment_a(fn, shared, kir_mul(fn, warp, kir_i64(fn, A_WORDS)), STRIDE, words);
    KirRef fb = kir_fragment_b(fn, shared, kir_add(fn, kir_i64(fn, WARPS * A_WORDS), kir_mul(fn, warp, kir_i64(fn, B_WORDS))), STRIDE, words);
    KirRef d = bf16 ? kir_float(fn, KIR_T(KIR_F32, 4), 0) : kir_int(fn, KIR_T(KIR_I32, 4), 0);
    for (int i = 0; i < 2; i++) d = bf16 ? kir_mma_bf16(fn, d, fa, fb) : kir_mma_i8(fn, d, fa, fb);
    for (uint32_t i = 0; i < 4; i++) kir_store(fn, kir_at(fn, out, lane, 16, 4 * i), kir_extract(fn, d, i));
    return fn;
}

// Element k of a row of words.
static double element(const int32_t *row, int k, bool bf16) {
    if (!bf16) return byte_of(row[k / 4], k % 4);
    union { uint32_t u; float f; } value = {(uint32_t)row[k / 2] << (k % 2 ? 0 : 16) & 0xffff0000u};
    return (double)value.f;
}

static int32_t random_word(bool bf16) {
    uint32_t bits = next_random() ^ next_random() << 16;
    return (int32_t)(bf16 ? (bits & 0x807f807fu) | 0x3f803f80u : bits);   // bf16: between 1 and 2, both signs
}

static void check_product(uint32_t words, bool bf16) {
    static int32_t a[WARPS][16][STRIDE], b[WARPS][8][STRIDE];
    union { int32_t i; float f; } out[LANES][4];
    for (int w = 0; w < WARPS; w++)
        for (int k = 0; k < STRIDE; k++) {
            for (int r = 0; r < 16; r++) a[w][r][k] = random_word(bf16);
            for (int r = 0; r < 8; r++) b[w][r][k] = random_word(bf16);
        }
    run(product(words, bf16), (const void *[]){a, b, out}, 3);
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < 4; i++) {      // PTX ISA, fragments of mma.m16n8: rows lane / 4 and 8 on, columns 2 (lane % 4) and the next
            int w = lane / 32, row = lane % 32 / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            double sum = 0;
            for (int k = 0; k < (int)words * (bf16 ? 2 : 4); k++) sum += 2 * element(a[w][row], k, bf16) * element(b[w][column], k, bf16);
            if (bf16) assert_true((double)out[lane][i].f - sum <= 1e-5 && sum - (double)out[lane][i].f <= 1e-5);
            else assert_int_equal(out[lane][i].i, (int32_t)sum);
        }
}

static void test_products(void **state) {
    (void)state;
    check_product(8, false);
    check_product(4, false);
    check_product(8, true);
}

// ---- copies --------------------------------------------------------------------------------------------------------

// Two batches of 16 bytes a lane; waits for all but the last `batches` of them, if at all.
static void check_copies(bool waits, uint32_t batches, int arrived) {
    static _Alignas(16) int32_t x[2][LANES][4];
    int32_t out[2][LANES];
    KirFn *fn = kernel_new("copy");
    KirRef from = kir_param(fn, KT_PTR, "x"), to = kir_param(fn, KT_PTR, "out"), lane = kir_lane(fn), four = kir_i64(fn, 4);
    KirRef shared = kir_shared(fn, KIR_I32, 2 * LANES * 4), neighbour = kir_xor(fn, lane, kir_i64(fn, LANES - 1));
    for (int i = 0; i < 2 * LANES * 4; i++) x[i / 4 / LANES][i / 4 % LANES][i % 4] = i + 1;
    for (int i = 0; i < 2; i++) {
        KirRef at = kir_add(fn, kir_mul(fn, lane, four), kir_i64(fn, (int64_t)i * LANES * 4));
        for (int w = 0; w < 4; w++) kir_shared_store(fn, shared, kir_add(fn, at, kir_i64(fn, w)), kir_int(fn, KT_I32, 0));
        kir_copy_async(fn, shared, at, kir_at(fn, from, lane, 16, 16 * LANES * (int64_t)i));
        kir_copy_commit(fn);
    }
    if (waits) kir_copy_wait(fn, batches);
    kir_barrier(fn);
    for (int i = 0; i < 2; i++) {
        KirRef at = kir_add(fn, kir_mul(fn, neighbour, four), kir_i64(fn, (int64_t)i * LANES * 4 + 3));
        kir_store(fn, kir_at(fn, to, lane, 4, 4 * LANES * (int64_t)i), kir_shared_load(fn, shared, at));
    }
    run(fn, (const void *[]){x, out}, 2);
    for (int i = 0; i < 2; i++)
        for (int l = 0; l < LANES; l++) assert_int_equal(out[i][l], i < arrived ? x[i][LANES - 1 - l][3] : 0);
}

static void test_copies(void **state) {
    (void)state;
    check_copies(true, 0, 2);
    check_copies(true, 1, 1);
    check_copies(true, 2, 0);
    check_copies(false, 0, 0);
}

// ---- what is wrong -------------------------------------------------------------------------------------------------

// Half of a warp meets where the other half never comes: an endless wait on a GPU, a message here.
static void test_divergence(void **state) {
    (void)state;
    int ends[2], status;
    char text[256] = {0};
    int32_t out[LANES];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (!pid) {
        dup2(ends[1], 2);
        signal(SIGABRT, SIG_DFL);
        KirFn *fn = kernel_new("diverges");
        KirRef to = kir_param(fn, KT_PTR, "out"), lane = kir_lane(fn);
        KirIf half;
        kir_if_begin(fn, kir_cmp(fn, KIR_LT, kir_and(fn, lane, kir_i64(fn, 31)), kir_i64(fn, 16)), &half);
        kir_store(fn, kir_at(fn, to, lane, 4, 0), kir_shuffle_xor(fn, kir_trunc(fn, lane, KIR_I32), 16));
        kir_if_end(fn, &half, NULL);
        run(fn, (const void *[]){out}, 1);
        _exit(0);
    }
    close(ends[1]);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status) && strstr(text, "lanes wait for others that never come"));
}

static KirOp *last(KirFn *fn) { return fn->entry->last; }
static void bad_array(KirFn *fn) { kir_op_append(fn, fn->entry, KIR_OP_copy_async, 3, (KirRef[]){kir_shared(fn, KIR_F32, 16), kir_i64(fn, 0), kir_param(fn, KT_PTR, "x")}); }
static void bad_batches(KirFn *fn) { kir_copy_wait(fn, 0), last(fn)->number = 8; }
static void bad_bits(KirFn *fn) { kir_shuffle_xor(fn, kir_int(fn, KT_I32, 1), 1), last(fn)->number = 32; }
static void bad_stride(KirFn *fn) { kir_fragment_a(fn, kir_shared(fn, KIR_I32, 512), kir_i64(fn, 0), 12, 8), last(fn)->number = 3; }
static void bad_rows(KirFn *fn) { kir_fragment_b(fn, kir_shared(fn, KIR_I32, 512), kir_i64(fn, 0), 12, 8), fn->values.data[last(fn)->result].type.lanes = 4; }
static void bad_factors(KirFn *fn) {
    KirRef shared = kir_shared(fn, KIR_I32, 512), zero = kir_i64(fn, 0), a = kir_fragment_a(fn, shared, zero, 12, 8);
    kir_mma_i8(fn, kir_int(fn, KIR_T(KIR_I32, 4), 0), a, kir_fragment_b(fn, shared, zero, 12, 8));
    last(fn)->operands[2] = kir_fragment_b(fn, shared, zero, 12, 4);
}
static void bad_group(KirFn *fn) { kir_shuffle_xor(fn, kir_int(fn, KT_I32, 1), 1), kir_set_lanes(fn, 48); }
static void bad_dot(KirFn *fn) { kir_dot_i8(fn, kir_int(fn, KT_I32, 0), kir_int(fn, KT_I32, 1), kir_int(fn, KT_I32, 2)), last(fn)->operands[1] = kir_i64(fn, 1); }

static void test_verify(void **state) {
    (void)state;
    static const struct { void (*change)(KirFn *fn); const char *want; } cases[] = {
        {bad_array, "copy_async: "}, {bad_batches, "copy_wait: waits for all but the last 0 to 7"}, {bad_bits, "shuffle_xor: the lanes differ by 1 to 31"},
        {bad_stride, "fragment_a: rows are 4 to 1024"}, {bad_rows, "fragment_b: rows have four or eight words"},
        {bad_factors, "mma_i8: "}, {bad_group, "shuffle_xor: the work group is no number of whole warps"}, {bad_dot, "dot_i8: the operands have different types"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        KirFn *fn = kernel_new("broken");
        cases[i].change(fn);
        HdStatus *status = kir_verify(fn, KIR_SIMT);
        if (!status || !strstr(hd_status_message(status), cases[i].want)) fail_msg("case %zu: %s", i, status ? hd_status_message(status) : "accepted");
        hd_status_free(status);
        kir_free(fn);
    }
}

// GLSL has byte products and copies, in its own words, and no warps.
static void test_glsl(void **state) {
    (void)state;
    HdBuf text = {0}, spirv = {0};
    KirFn *fn = kernel_new("plain");
    KirRef x = kir_param(fn, KT_PTR, "x"), shared = kir_shared(fn, KIR_I32, 4), zero = kir_i64(fn, 0);
    kir_copy_async(fn, shared, zero, x);
    kir_copy_commit(fn);
    kir_copy_wait(fn, 0);
    KirRef word = kir_shared_load(fn, shared, zero);
    kir_store(fn, x, kir_dot_i8(fn, word, word, word));
    expect_ok(simt_print_glsl(fn, &text));
    assert_non_null(strstr(text.data, "    for (uint w = 0; w < 4; w++) sw4[uint(int64_t(0)) + w] = I32((x_0) + uint64_t(4 * w)).v;\n"
                                      "    int w6 = sw4[uint(int64_t(0))];\n"));
    assert_non_null(strstr(text.data, "I32(x_0).v = (dot_i8(w6, w6, w6));\n"));
    expect_ok(simt_compile_glsl("plain", &text, &spirv));
    kir_store(fn, x, kir_shuffle_xor(fn, word, 1));
    text.len = 0;
    HdStatus *status = simt_print_glsl(fn, &text);
    assert_string_equal(hd_status_message(status), "kernel plain: shuffle_xor: has no words (GLSL)");
    hd_status_free(status);
    hd_buf_free(&text);
    hd_buf_free(&spirv);
    kir_free(fn);
}

// The same in CUDA C, to the letter.
static void test_cuda(void **state) {
    (void)state;
    static const char *const parts[] = {
        "    copy_async(&sw4[long64(0)], x_0);\n    copy_commit();\n    copy_wait<1>();\n",
        "    i32x4 w6 = fragment_a_i32x4(&sw4[long64(0)], 12);\n",
        "    i32x2 w7 = fragment_b_i32x2(&sw4[long64(0)], 12);\n",
        " = mma_i8(i32x4(), w6, w7);\n",
        " = mma_bf16(f32x4(), w6, w7);\n",
        ".x[3];\n",
        "__shfl_xor_sync(0xffffffffu, ",
        "__dp4a(",
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        "cp.async.cg.shared.global [a], [%1], 16;",
    };
    HdBuf text = {0};
    KirFn *fn = kernel_new("warp");
    KirRef x = kir_param(fn, KT_PTR, "x"), shared = kir_shared(fn, KIR_I32, 512), zero = kir_i64(fn, 0);
    kir_copy_async(fn, shared, zero, x);
    kir_copy_commit(fn);
    kir_copy_wait(fn, 1);
    KirRef a = kir_fragment_a(fn, shared, zero, 12, 8), b = kir_fragment_b(fn, shared, zero, 12, 8);
    KirRef ints = kir_mma_i8(fn, kir_int(fn, KIR_T(KIR_I32, 4), 0), a, b), reals = kir_mma_bf16(fn, kir_float(fn, KIR_T(KIR_F32, 4), 0), a, b);
    KirRef one = kir_shuffle_xor(fn, kir_extract(fn, ints, 3), 1);
    kir_store(fn, x, kir_dot_i8(fn, one, one, one));
    kir_store(fn, x, kir_extract(fn, reals, 3));
    expect_ok(simt_print_cuda(fn, &text));
    for (size_t i = 0; i < HD_COUNT(parts); i++)
        if (!strstr(text.data, parts[i])) fail_msg("missing: %s\nin %s", parts[i], text.data);
    hd_buf_free(&text);
    kir_free(fn);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dot),    cmocka_unit_test(test_shuffle),    cmocka_unit_test(test_products),
                                       cmocka_unit_test(test_copies), cmocka_unit_test(test_divergence), cmocka_unit_test(test_verify),
                                       cmocka_unit_test(test_glsl),   cmocka_unit_test(test_cuda)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
