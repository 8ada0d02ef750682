// SPDX-License-Identifier: Apache-2.0
// What a file says: typed access for every stored type, the writer, and the scan for values that are not finite.
#include "gguf_raw.h"

#include <math.h>
#include <unistd.h>

static GgufFile *open_bytes(const HdBuf *bytes) {
    GgufFile *file;
    HdStatus *status = gguf_open_memory("t.gguf", bytes->data, bytes->len, NULL, &file);
    if (status) fail_msg("%s", hd_status_message(status));
    return file;
}

static GgufFile *open_raw(Raw *raw, HdBuf *out_bytes) {
    raw_build(raw, out_bytes);
    return open_bytes(out_bytes);
}

// ---- which getter takes which type ---------------------------------------------------------------------------

static const char *const type_names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
static const size_t type_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// The value 1 (of any type): "x" for strings.
static void put_one(HdBuf *buf, uint32_t type) {
    float f32 = 1;
    double f64 = 1;
    uint64_t integer = 1;
    if (type == GGUF_STRING) raw_text(buf, "x");
    else if (type == GGUF_F32) hd_buf_bytes(buf, &f32, sizeof f32);
    else if (type == GGUF_F64) hd_buf_bytes(buf, &f64, sizeof f64);
    else hd_buf_bytes(buf, &integer, type_bytes[type]);
}

static bool is_integer(uint32_t type) {
    return type != GGUF_F32 && type != GGUF_F64 && type != GGUF_BOOL && type != GGUF_STRING && type != GGUF_ARRAY;
}

static void check(HdStatus *status, bool want_good, const char *found) {
    if (want_good) {
        if (status) fail_msg("%s", hd_status_message(status));
        return;
    }
    assert_int_equal(hd_status_code(status), HD_BAD_DATA);
    expect_message(status, "t.gguf: key 'k' is ", found);
}

// Every getter on the scalar or array `k` of type `type`.
static void check_getters(const GgufFile *file, uint32_t type, bool is_array) {
    HdArena arena = {0};
    uint32_t u32 = 0;
    uint64_t u64 = 0, n_ints = 0, n_bools = 0, n_texts = 0;
    float f32 = 0;
    bool flag = false, integer = is_integer(type), floating = type == GGUF_F32 || type == GGUF_F64;
    HdStr text = {0}, *texts = NULL;
    int64_t *ints = NULL;
    uint8_t *bools = NULL;
    char found[64];
    snprintf(found, sizeof found, is_array ? "is an array of %s; it has to be " : "is of type %s; it has to be ",
             type_names[type]);
    check(gguf_get_u32(file, "k", &u32), !is_array && integer, found);
    check(gguf_get_u64(file, "k", &u64), !is_array && integer, found);
    check(gguf_get_f32(file, "k", &f32), !is_array && (integer || floating), found);
    check(gguf_get_bool(file, "k", &flag), !is_array && type == GGUF_BOOL, found);
    check(gguf_get_string(file, "k", &text), !is_array && type == GGUF_STRING, found);
    check(gguf_get_ints(file, "k", &arena, &ints, &n_ints), is_array && integer, found);
    check(gguf_get_bools(file, "k", &arena, &bools, &n_bools), is_array && (integer || type == GGUF_BOOL), found);
    check(gguf_get_strings(file, "k", &arena, &texts, &n_texts), is_array && type == GGUF_STRING, found);
    assert_true(u32 == (!is_array && integer) && u64 == u32);
    assert_true(f32 == (!is_array && (integer || floating) ? 1.0f : 0.0f));
    if (ints) assert_true(n_ints == 3 && ints[0] == 1 && ints[2] == 1);
    if (bools) assert_true(n_bools == 3 && bools[0] == 1 && bools[2] == 1);
    if (texts) assert_true(n_texts == 3 && hd_str_is(texts[0], "x") && hd_str_is(texts[2], "x"));
    hd_arena_free(&arena);
}

static void test_getters_by_type(void **state) {
    (void)state;
    for (uint32_t type = 0; type < GGUF_VALUE_TYPE_COUNT; type++) {
        if (type == GGUF_ARRAY) continue;
        HdBuf bytes;
        Raw scalar = RAW_NEW, array = RAW_NEW;
        raw_key(&scalar, "k", type);
        put_one(&scalar.keys, type);
        GgufFile *file = open_raw(&scalar, &bytes);
        check_getters(file, type, false);
        double number = 0;
        int64_t integer = 0;
        assert_true(gguf_scalar_f64(gguf_find_key(file, "k"), &number) == (type != GGUF_STRING) &&
                    number == (type != GGUF_STRING));
        assert_true(gguf_scalar_i64(gguf_find_key(file, "k"), &integer) == (is_integer(type) || type == GGUF_BOOL));
        gguf_close(file);
        hd_buf_free(&bytes);
        raw_key_array(&array, "k", type, 3);
        for (int i = 0; i < 3; i++) put_one(&array.keys, type);
        file = open_raw(&array, &bytes);
        check_getters(file, type, true);
        gguf_close(file);
        hd_buf_free(&bytes);
        assert_string_equal(gguf_value_type_name((GgufValueType)type), type_names[type]);
    }
}

static void put_scalar(Raw *raw, const char *key, uint32_t type, uint64_t bits) {
    raw_key(raw, key, type);
    hd_buf_bytes(&raw->keys, &bits, type_bytes[type]);
}

static void test_ranges(void **state) {
    (void)state;
    HdBuf bytes;
    HdArena arena = {0};
    uint32_t u32;
    uint64_t u64, count;
    int64_t i64, *ints;
    uint8_t *bools;
    float f32;
    double f64, wide = 1e300;
    uint64_t wide_bits;
    memcpy(&wide_bits, &wide, sizeof wide_bits);
    Raw raw = RAW_NEW;
    put_scalar(&raw, "minus", GGUF_I32, (uint64_t)-3);
    put_scalar(&raw, "big", GGUF_U64, 1ull << 32);
    put_scalar(&raw, "most", GGUF_U64, UINT64_MAX);
    put_scalar(&raw, "wide", GGUF_F64, wide_bits);
    raw_key_array(&raw, "u64s", GGUF_U64, 2);
    raw_u64(&raw.keys, 1);
    raw_u64(&raw.keys, 1ull << 63);
    raw_key_array(&raw, "i16s", GGUF_I16, 2);
    raw_u16(&raw.keys, 2);
    raw_u16(&raw.keys, (uint16_t)-2);
    raw_key_array(&raw, "none", GGUF_U8, 0);
    GgufFile *file = open_raw(&raw, &bytes);
    expect_message(gguf_get_u32(file, "minus", &u32), "t.gguf", "key 'minus' is -3; it has to be 0 or more");
    expect_message(gguf_get_u64(file, "minus", &u64), "t.gguf", "key 'minus' is -3");
    expect_message(gguf_get_u32(file, "big", &u32), "t.gguf", "key 'big' is 4294967296; it has to be at most 4294967295");
    expect_message(gguf_get_f32(file, "wide", &f32), "t.gguf", "does not fit f32");
    expect_message(gguf_get_ints(file, "u64s", &arena, &ints, &count), "t.gguf", "key 'u64s': element 1 is larger than 2^63 - 1");
    expect_message(gguf_get_bools(file, "i16s", &arena, &bools, &count), "t.gguf", "key 'i16s': element 0 is neither 0 nor 1");
    assert_null(gguf_get_u64(file, "most", &u64));
    assert_true(u64 == UINT64_MAX);
    assert_false(gguf_scalar_i64(gguf_find_key(file, "most"), &i64));
    assert_true(gguf_scalar_f64(gguf_find_key(file, "most"), &f64) && f64 == 0x1p64);
    assert_true(gguf_scalar_i64(gguf_find_key(file, "minus"), &i64) && i64 == -3);
    assert_null(gguf_get_ints(file, "i16s", &arena, &ints, &count));
    assert_true(count == 2 && ints[0] == 2 && ints[1] == -2);
    assert_null(gguf_get_bools(file, "none", &arena, &bools, &count));
    assert_int_equal(count, 0);
    HdStatus *missing = gguf_get_u32(file, "absent", &u32);
    assert_int_equal(hd_status_code(missing), HD_NOT_FOUND);
    expect_message(missing, "t.gguf", "key 'absent' is missing");
    gguf_close(file);
    hd_buf_free(&bytes);
    hd_arena_free(&arena);
}

// ---- writer --------------------------------------------------------------------------------------------------

static const float row[6] = {1, 2, 3, 4, 5, 6};
static const uint8_t blocks[2 * 34] = {0, 0x3c, 1, 2, 3};

static GgufWriter *write_sample(uint32_t alignment) {
    static const HdStr texts[] = {{"a", 1}, {"", 0}, {"c\0d", 3}};
    static const int64_t ints[] = {-1, 0, INT64_MAX};
    GgufWriter *writer = gguf_writer_new("test");
    if (alignment) gguf_writer_u32(writer, "general.alignment", alignment);
    gguf_writer_u32(writer, "u32", UINT32_MAX);
    gguf_writer_u64(writer, "u64", UINT64_MAX);
    gguf_writer_f32(writer, "f32", 0.5f);
    gguf_writer_bool(writer, "bool", true);
    gguf_writer_string(writer, "string", HD_STR("text"));
    gguf_writer_strings(writer, "strings", texts, 3);
    gguf_writer_ints(writer, "ints", ints, 3);
    gguf_writer_tensor(writer, "vector", GGML_F32, 1, (const uint64_t[]){6}, row);
    gguf_writer_tensor(writer, "matrix", GGML_Q8_0, 2, (const uint64_t[]){32, 2}, blocks);
    gguf_writer_tensor(writer, "bytes", GGML_I8, 3, (const uint64_t[]){3, 2, 1}, blocks);
    return writer;
}

static void check_sample_keys(const GgufFile *file) {
    HdArena arena = {0};
    uint32_t u32;
    uint64_t u64, count;
    float f32;
    bool flag;
    HdStr text, *texts;
    int64_t *ints;
    assert_null(gguf_get_string(file, "general.architecture", &text));
    assert_true(hd_str_is(text, "test"));
    assert_null(gguf_get_u32(file, "u32", &u32));
    assert_true(u32 == UINT32_MAX);
    assert_null(gguf_get_u64(file, "u64", &u64));
    assert_true(u64 == UINT64_MAX);
    assert_null(gguf_get_f32(file, "f32", &f32));
    assert_true(f32 == 0.5f);
    assert_null(gguf_get_bool(file, "bool", &flag));
    assert_true(flag);
    assert_null(gguf_get_string(file, "string", &text));
    assert_true(hd_str_is(text, "text"));
    assert_null(gguf_get_strings(file, "strings", &arena, &texts, &count));
    assert_true(count == 3 && hd_str_is(texts[0], "a") && texts[1].len == 0 && hd_str_eq(texts[2], (HdStr){"c\0d", 3}));
    assert_null(gguf_get_ints(file, "ints", &arena, &ints, &count));
    assert_true(count == 3 && ints[0] == -1 && ints[1] == 0 && ints[2] == INT64_MAX);
    hd_arena_free(&arena);
}

static void check_sample_tensors(const GgufFile *file, uint64_t alignment) {
    const GgufTensor *vector = gguf_find_tensor(file, "vector"), *matrix = gguf_find_tensor(file, "matrix"),
                     *bytes = gguf_find_tensor(file, "bytes");
    assert_int_equal(gguf_tensor_count(file), 3);
    assert_ptr_equal(gguf_tensor_at(file, 1), matrix);
    assert_true(vector->n_dims == 1 && vector->ne[0] == 6 && vector->ne[1] == 1 && vector->ne[3] == 1 && vector->bytes == 24);
    assert_true(matrix->n_dims == 2 && matrix->ne[0] == 32 && matrix->ne[1] == 2 && matrix->bytes == 68);
    assert_true(bytes->n_dims == 3 && bytes->bytes == 6 && bytes->part == 0);
    assert_memory_equal(vector->data, row, 24);
    assert_memory_equal(matrix->data, blocks, 68);
    assert_memory_equal(bytes->data, blocks, 6);
    for (size_t i = 0; i < 3; i++) {
        const GgufTensor *tensor = gguf_tensor_at(file, i);
        assert_int_equal(tensor->offset % alignment, 0);
        assert_ptr_equal(tensor->data, gguf_part_mapping(file, 0)->data + tensor->offset);
    }
    assert_null(gguf_find_tensor(file, "vecto"));
}

static void test_writer(void **state) {
    (void)state;
    static const uint32_t alignments[] = {0, 8, 64, 4096};
    for (size_t i = 0; i < HD_COUNT(alignments); i++) {
        HdBuf bytes, again;
        GgufWriter *writer = write_sample(alignments[i]);
        gguf_writer_finish(writer, &bytes);
        gguf_writer_finish(writer, &again);                // the same calls, the same bytes
        assert_int_equal(again.len, bytes.len);
        assert_memory_equal(again.data, bytes.data, bytes.len);
        gguf_writer_free(writer);
        GgufFile *file = open_bytes(&bytes);
        check_sample_keys(file);
        check_sample_tensors(file, alignments[i] ? alignments[i] : 32);
        assert_string_equal(gguf_path(file), "t.gguf");
        gguf_close(file);
        hd_buf_free(&bytes);
        hd_buf_free(&again);
    }
}

static void test_save(void **state) {
    (void)state;
    char path[] = "/tmp/heddle-gguf-XXXXXX";
    HdBuf bytes;
    GgufFile *file;
    close(mkstemp(path));
    GgufWriter *writer = write_sample(0);
    gguf_writer_finish(writer, &bytes);
    assert_null(gguf_writer_save(writer, path));
    gguf_writer_free(writer);
    assert_null(gguf_open(path, NULL, &file));
    assert_int_equal(gguf_part_mapping(file, 0)->len, bytes.len);
    assert_memory_equal(gguf_part_mapping(file, 0)->data, bytes.data, bytes.len);
    assert_string_equal(gguf_path(file), path);
    check_sample_tensors(file, 32);
    gguf_close(file);
    assert_int_equal(truncate(path, (off_t)bytes.len / 2), 0);
    unlink(path);
    hd_buf_free(&bytes);
    expect_message(gguf_open(path, NULL, &file), path, "cannot open");
}

static void test_writer_without_tensors(void **state) {
    (void)state;
    HdBuf bytes;
    GgufWriter *writer = gguf_writer_new(NULL);
    gguf_writer_finish(writer, &bytes);
    gguf_writer_free(writer);
    assert_int_equal(bytes.len, 24);
    GgufFile *file = open_bytes(&bytes);
    assert_int_equal(gguf_key_count(file), 0);
    assert_int_equal(gguf_tensor_count(file), 0);
    assert_int_equal(gguf_part_count(file), 1);
    gguf_close(file);
    hd_buf_free(&bytes);
}

// A file by another writer, taken apart and put together again, is the same file.
static void test_copy(void **state) {
    (void)state;
    GgufFile *file;
    HdBuf bytes;
    assert_null(gguf_open(TEST_DATA "/quant-blocks.gguf", NULL, &file));
    GgufWriter *writer = gguf_writer_new(NULL);
    for (size_t i = 0; i < gguf_key_count(file); i++) gguf_writer_copy_key(writer, gguf_key_at(file, i));
    for (size_t i = 0; i < gguf_tensor_count(file); i++) {
        const GgufTensor *tensor = gguf_tensor_at(file, i);
        char name[64];
        snprintf(name, sizeof name, HD_STR_FMT, HD_STR_ARG(tensor->name));
        gguf_writer_tensor(writer, name, (GgmlType)tensor->type->id, tensor->n_dims, tensor->ne, tensor->data);
    }
    gguf_writer_finish(writer, &bytes);
    gguf_writer_free(writer);
    assert_int_equal(bytes.len, gguf_part_mapping(file, 0)->len);
    assert_memory_equal(bytes.data, gguf_part_mapping(file, 0)->data, bytes.len);
    gguf_close(file);
    hd_buf_free(&bytes);
}

// Every type of value survives copying, arrays and general.alignment included.
static void test_copy_keys(void **state) {
    (void)state;
    HdBuf bytes, copied;
    Raw raw = RAW_NEW;
    raw_key_u32(&raw, "general.alignment", 8);
    for (uint32_t type = 0; type < GGUF_VALUE_TYPE_COUNT; type++) {
        if (type == GGUF_ARRAY) continue;
        raw_key(&raw, type_names[type], type);
        put_one(&raw.keys, type);
        char key[16];
        snprintf(key, sizeof key, "%ss", type_names[type]);
        raw_key_array(&raw, key, type, 3);
        for (int i = 0; i < 3; i++) put_one(&raw.keys, type);
    }
    raw.alignment = 8;
    raw_row(&raw, "x", 2, GGML_F32, 0);
    raw.data_bytes = 8;
    GgufFile *file = open_raw(&raw, &bytes);
    GgufWriter *writer = gguf_writer_new(NULL);
    for (size_t i = 0; i < gguf_key_count(file); i++) gguf_writer_copy_key(writer, gguf_key_at(file, i));
    gguf_writer_tensor(writer, "x", GGML_F32, 1, (const uint64_t[]){2}, gguf_find_tensor(file, "x")->data);
    gguf_writer_finish(writer, &copied);
    assert_int_equal(copied.len, bytes.len);
    assert_memory_equal(copied.data, bytes.data, bytes.len);
    gguf_writer_free(writer);
    gguf_close(file);
    hd_buf_free(&bytes);
    hd_buf_free(&copied);
}

// ---- not finite ----------------------------------------------------------------------------------------------

// Where to put an infinity into block 1: f16 unless noted. From the block layouts of ggml-common.h.
static const struct { GgmlType type; size_t offset; } poisons[] = {
    {GGML_F16, 0},   {GGML_Q4_0, 0},   {GGML_Q4_1, 0},    {GGML_Q4_1, 2},   {GGML_Q5_0, 0},    {GGML_Q5_1, 0},  {GGML_Q5_1, 2},
    {GGML_Q8_0, 0},  {GGML_Q2_K, 80},  {GGML_Q2_K, 82},   {GGML_Q3_K, 108}, {GGML_Q4_K, 0},    {GGML_Q4_K, 2},  {GGML_Q5_K, 0},
    {GGML_Q5_K, 2},  {GGML_Q6_K, 208}, {GGML_IQ2_XXS, 0}, {GGML_IQ2_XS, 0}, {GGML_IQ3_XXS, 0}, {GGML_IQ1_S, 0}, {GGML_IQ4_NL, 0},
    {GGML_IQ3_S, 0}, {GGML_IQ2_S, 0},  {GGML_IQ4_XS, 0},  {GGML_TQ1_0, 52}, {GGML_TQ2_0, 64},  {GGML_Q1_0, 0},  {GGML_Q2_0, 0},
};
static const struct { GgmlType type; size_t offset, len; const char *bytes; } other_poisons[] = {
    {GGML_F32, 0, 4, "\0\0\x80\x7f"}, {GGML_F32, 0, 4, "\1\0\x80\xff"}, {GGML_BF16, 0, 2, "\x80\xff"}, {GGML_F16, 0, 2, "\1\x7e"},
    {GGML_F64, 0, 8, "\0\0\0\0\0\0\xf0\x7f"}, {GGML_MXFP4, 0, 1, "\xff"}, {GGML_IQ1_M, 48, 8, "\0\0\0\0\0\xc0\0\x70"},
};

static void check_poison(GgmlType id, size_t offset, const void *poison, size_t len) {
    const GgmlTypeInfo *type = ggml_type_info(id);
    uint8_t *data = hd_xcalloc(3, type->block_bytes);
    HdBuf bytes;
    for (int poisoned = 0; poisoned < 2; poisoned++) {
        if (poisoned) memcpy(data + type->block_bytes + offset, poison, len);
        GgufWriter *writer = gguf_writer_new("test");
        gguf_writer_tensor(writer, "fine", GGML_F32, 1, (const uint64_t[]){6}, row);
        gguf_writer_tensor(writer, "blk.1.w", id, 2, (const uint64_t[]){type->block, 3}, data);
        gguf_writer_finish(writer, &bytes);
        gguf_writer_free(writer);
        GgufFile *file = open_bytes(&bytes);
        HdStatus *status = gguf_check_finite(file);
        if (poisoned) {
            assert_int_equal(hd_status_code(status), HD_NOT_FINITE);
            expect_message(status, "t.gguf",
                           type->block > 1 ? "tensor 'blk.1.w': the scale of block 1 is" : "tensor 'blk.1.w': element 1 is");
        } else {
            assert_null(status);
        }
        gguf_close(file);
        hd_buf_free(&bytes);
    }
    free(data);
}

static void test_not_finite(void **state) {
    (void)state;
    for (size_t i = 0; i < HD_COUNT(poisons); i++) check_poison(poisons[i].type, poisons[i].offset, "\0\x7c", 2);
    for (size_t i = 0; i < HD_COUNT(other_poisons); i++)
        check_poison(other_poisons[i].type, other_poisons[i].offset, other_poisons[i].bytes, other_poisons[i].len);
    GgufFile *file;
    assert_null(gguf_open(TEST_DATA "/quant-blocks.gguf", NULL, &file));
    assert_null(gguf_check_finite(file));
    gguf_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_getters_by_type), cmocka_unit_test(test_ranges),    cmocka_unit_test(test_writer),
        cmocka_unit_test(test_save),            cmocka_unit_test(test_copy),      cmocka_unit_test(test_writer_without_tensors),
        cmocka_unit_test(test_copy_keys),       cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
