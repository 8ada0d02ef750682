// SPDX-License-Identifier: Apache-2.0
// The block decoders of SIMT kernels. What they use exists on a CPU too, so the CPU's emitter runs them here, a lane after another,
// against what ggml makes of its own blocks (tests/data/quant-blocks.gguf), and of random ones against the interpreter's decoders.
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "codegen/kir_internal.h"
#include "codegen/simt/decode.h"
#include "runtime/gguf.h"
#include "tests/unit/kernel_fixture.h"

#define DTYPES(each_dtype) for (IrDtype each_dtype = 0; each_dtype < IR_DTYPE_COUNT; each_dtype++) if (simt_can_decode(each_dtype))

static const GgmlTypeInfo *ggml_of(IrDtype dtype) { return ggml_type_info((uint32_t)ir_dtype_info(dtype)->ggml); }

// A work unit is a row, a block of it and sixteen elements of the block.
static KirFn *decode_kernel(IrDtype dtype) {
    const IrDtypeInfo *info = ir_dtype_info(dtype);
    KirFn *fn = kir_new(info->name);
    KirRef blocks = kir_param(fn, KT_PTR, "blocks"), out = kir_param(fn, KT_PTR, "out"), per_row = kir_param(fn, KT_I64, "sixteens");
    KirLoop unit;
    kir_for_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), kir_i64(fn, 1), 0, NULL, &unit);
    KirRef row = kir_sdiv(fn, unit.iv, per_row), in_row = kir_srem(fn, unit.iv, per_row), values[16];
    bool plain = info->block == 1;                           // then the row is one block
    KirRef per_block = plain ? per_row : kir_i64(fn, info->block / 16);
    KirRef block_bytes = plain ? kir_mul(fn, per_row, kir_i64(fn, 16 * info->block_bytes)) : kir_i64(fn, info->block_bytes);
    KirRef index = kir_add(fn, kir_mul(fn, row, kir_sdiv(fn, per_row, per_block)), kir_sdiv(fn, in_row, per_block));
    KirRef block = kir_offset(fn, blocks, kir_mul(fn, index, block_bytes));
    simt_decode16(fn, dtype, &(SimtPlace){block, kir_srem(fn, in_row, per_block), 0}, values);
    for (int i = 0; i < 16; i++) kir_store(fn, kir_at(fn, out, unit.iv, 64, 4 * i), values[i]);
    kir_for_end(fn, &unit, NULL);
    return fn;
}

static Kernels all_kernels(void) {
    Kernels kernels = kernels_open("cpu:native");
    DTYPES(dtype) kernels_add(&kernels, decode_kernel(dtype));
    kernels_link(&kernels);
    return kernels;
}

static float *decode(Kernels *kernels, IrDtype dtype, const void *blocks, uint64_t rows, uint64_t columns) {
    float *values = hd_xcalloc(rows * columns, sizeof *values);
    const void *args[] = {blocks, values, (const void *)(uintptr_t)(columns / 16)};
    kernels_call(kernels, ir_dtype_info(dtype)->name, (int64_t)(rows * columns / 16), args, HD_COUNT(args));
    return values;
}

// ---- values --------------------------------------------------------------------------------------------------------

static void test_all_types(void **state) {
    (void)state;
    uint32_t count = 0;
    DTYPES(dtype) count++;
    assert_int_equal(count, 26);
    assert_false(simt_can_decode(IR_I32) || simt_can_decode(IR_I8) || simt_can_decode(IR_Q8A));
}

static const GgufTensor *tensor_of(const GgufFile *file, IrDtype dtype) {
    for (size_t i = 0; i < gguf_tensor_count(file); i++)
        if (gguf_tensor_at(file, i)->type == ggml_of(dtype)) return gguf_tensor_at(file, i);
    fail_msg("no blocks of %s", ir_dtype_info(dtype)->name);
    return NULL;
}

// What ggml makes of NAME is NAME.f32; what is f32 already stays.
static const GgufTensor *expected_of(const GgufFile *file, const GgufTensor *blocks) {
    char name[32];
    snprintf(name, sizeof name, HD_STR_FMT ".f32", HD_STR_ARG(blocks->name));
    return blocks->type->id == GGML_F32 ? blocks : gguf_find_tensor(file, name);
}

static void test_against_ggml(void **state) {
    (void)state;
    GgufFile *file;
    expect_ok(gguf_open(TEST_DATA "/quant-blocks.gguf", NULL, &file));
    Kernels kernels = all_kernels();
    DTYPES(dtype) {
        const GgufTensor *blocks = tensor_of(file, dtype), *expected = expected_of(file, blocks);
        assert_true(expected && blocks->ne[1] > 1 && expected->bytes == blocks->ne[0] * blocks->ne[1] * sizeof(float));
        float *values = decode(&kernels, dtype, blocks->data, blocks->ne[1], blocks->ne[0]);
        if (memcmp(values, expected->data, expected->bytes) != 0) fail_msg("%s differs from ggml", blocks->type->name);
        free(values);
    }
    kernels_close(&kernels);
    gguf_close(file);
}

static uint32_t next_random(void) {
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

// Every bit of a block at random, scales too: fields that ggml's quantisation rarely fills, subnormal scales, infinity. A number that
// is none has no certain bits.
static void test_random_bytes(void **state) {
    (void)state;
    enum { ROWS = 500, COLUMNS = 512 };
    Kernels kernels = all_kernels();
    DTYPES(dtype) {
        const IrDtypeInfo *info = ir_dtype_info(dtype);
        size_t bytes = (size_t)ROWS * COLUMNS / info->block * info->block_bytes;
        uint8_t *blocks = hd_xcalloc(bytes, 1);
        float *expected = hd_xcalloc((size_t)ROWS * COLUMNS, sizeof *expected);
        for (size_t i = 0; i < bytes; i++) blocks[i] = (uint8_t)next_random();
        for (size_t i = 0; dtype == IR_MXFP4 && i < bytes; i += info->block_bytes) blocks[i] %= 255;      // 255 is no exponent
        assert_true(ggml_dequantise(ggml_of(dtype)->id, blocks, (uint64_t)ROWS * COLUMNS, expected));
        float *values = decode(&kernels, dtype, blocks, ROWS, COLUMNS);
        for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++)
            if (memcmp(&values[i], &expected[i], sizeof *values) != 0 && !(isnan(values[i]) && isnan(expected[i])))
                fail_msg("%s: element %zu is %a, not %a", info->name, i, (double)values[i], (double)expected[i]);
        free(values);
        free(expected);
        free(blocks);
    }
    kernels_close(&kernels);
}

// ---- form ----------------------------------------------------------------------------------------------------------

// A power of two up to 64 that certainly divides an integer or an address.
static int64_t divisor(const KirFn *fn, KirRef ref) {
    const KirOp *op = kir_value(fn, ref)->op;
    if (!op) return 1;
    int64_t a = op->operand_count > 0 ? divisor(fn, op->operands[0]) : 1, b = op->operand_count > 1 ? divisor(fn, op->operands[1]) : 1;
    switch (op->kind) {
    case KIR_OP_const_int: return op->number && (op->number & -op->number) < 64 ? op->number & -op->number : 64;
    case KIR_OP_table: return 64;
    case KIR_OP_param: return kir_type_eq(kir_type(fn, ref), KT_PTR) ? 32 : 1;           // as a tensor in a file
    case KIR_OP_zext: return a;
    case KIR_OP_offset: case KIR_OP_add: return HD_MIN(a, b);
    case KIR_OP_mul: return HD_MIN(a * b, 64);
    default: return 1;
    }
}

// Scalars only, and each access at a multiple of its size: a GPU needs it.
static void check_ops(const KirFn *fn, const KirBlock *block) {
    for (const KirOp *op = block->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->result_count; i++) assert_int_equal(kir_type(fn, op->result + i).lanes, 1);
        if (op->kind == KIR_OP_load) {
            int64_t bytes = kir_scalar_bits((KirScalar)kir_type(fn, op->result).scalar) / 8;
            if (divisor(fn, op->operands[0]) < bytes) fail_msg("%s: a load of %d bytes may be misaligned", kir_name(fn), (int)bytes);
        }
        for (int i = 0; i < 2 && op->body[i]; i++) check_ops(fn, op->body[i]);
    }
}

static void test_form(void **state) {
    (void)state;
    DTYPES(dtype) {
        KirFn *fn = decode_kernel(dtype);
        expect_ok(kir_verify(fn, KIR_SIMT));
        check_ops(fn, fn->prelude);
        check_ops(fn, fn->entry);
        kir_free(fn);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_types),
        cmocka_unit_test(test_against_ggml),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
