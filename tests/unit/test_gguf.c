// SPDX-License-Identifier: Apache-2.0
// Files that break the rules of the container: each is refused with one line that says what is wrong, and nothing is read outside
// of it. Names in capitals are the cases of llama.cpp's tests/test-gguf.cpp.
#include "gguf_raw.h"
#include "gguf_walk.h"

enum { F32 = GGML_F32, I8 = GGML_I8, I64 = GGML_I64, Q4_K = GGML_Q4_K };

// ---- magic, version, counts ----------------------------------------------------------------------------------

static void test_header(void **state) {
    (void)state;
    Raw empty = RAW_NEW;                                   // HEADER_EMPTY
    expect_good(&empty);
    Raw magic = RAW_NEW;                                   // HEADER_BAD_MAGIC
    magic.magic = "FUGG";
    expect_bad(&magic, "not a GGUF file");
    static const struct { uint32_t version; const char *fragment; } versions[] = {
        {0, "version 0; supported are 2 and 3"}, {1, "version 1; supported are 2 and 3"}, {4, "version 4; supported are 2 and 3"},
        {0x03000000, "big-endian"},              {0x02000000, "big-endian"},              {0xffffffff, "version 4294967295"},
    };
    for (size_t i = 0; i < HD_COUNT(versions); i++) {      // HEADER_BAD_VERSION_0, _1, _FUTURE
        Raw raw = RAW_NEW;
        raw.version = versions[i].version;
        expect_bad(&raw, versions[i].fragment);
    }
    Raw two = RAW_NEW;
    two.version = 2;
    expect_good(&two);
}

static void test_counts(void **state) {
    (void)state;
    static const uint64_t counts[] = {1, 2, 1ull << 31, 1ull << 61, 1ull << 63, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < HD_COUNT(counts); i++) {        // HEADER_BAD_N_TENSORS, HEADER_BAD_N_KV
        HdBuf bytes = {0};
        void *block;
        GgufFile *file;
        for (int which = 0; which < 2; which++) {
            bytes.len = 0;
            hd_buf_str(&bytes, "GGUF");
            raw_u32(&bytes, 3);
            raw_u64(&bytes, which ? 0 : counts[i]);
            raw_u64(&bytes, which ? counts[i] : 0);
            expect_message(raw_open(bytes.data, bytes.len, false, &block, &file), "t.gguf",
                           which ? " keys, but a file of 24 bytes" : " tensors, but a file of 24 bytes");
            free(block);
        }
        hd_buf_free(&bytes);
    }
    Raw fewer = RAW_NEW;                                   // one key announced, one tensor read as it: nothing crashes
    fewer.n_keys = 2;
    raw_key_u32(&fewer, "a", 1);
    raw_row(&fewer, "x", 32, F32, 0);
    fewer.data_bytes = 128;
    expect_bad(&fewer, "t.gguf");
}

// ---- keys ----------------------------------------------------------------------------------------------------

static void test_key_names(void **state) {
    (void)state;
    static const uint64_t lengths[] = {UINT64_MAX, 1ull << 40, 1ull << 63, 65536, 1000};
    for (size_t i = 0; i < HD_COUNT(lengths); i++) {       // KV_BAD_KEY_SIZE
        Raw raw = RAW_NEW;
        raw_u64(&raw.keys, lengths[i]);
        hd_buf_str(&raw.keys, "some_key_of_no_length");
        raw.n_keys = 1;
        expect_bad(&raw, "key 1: a name of ");
    }
    Raw empty = RAW_NEW;                                   // KV_EMPTY_KEY
    raw_key_u32(&empty, "ok", 1);
    raw_key_u32(&empty, "", 1);
    expect_bad(&empty, "key 2: its name is empty");
    Raw nul = RAW_NEW;
    raw_u64(&nul.keys, 3);
    hd_buf_bytes(&nul.keys, "a\0b", 3);
    raw_u32(&nul.keys, GGUF_U8);
    raw_u8(&nul.keys, 0);
    nul.n_keys = 1;
    expect_bad(&nul, "NUL");
    Raw twice = RAW_NEW;                                   // KV_DUPLICATE_KEY
    raw_key_u32(&twice, "my_key", 1);
    raw_key_u32(&twice, "my_key", 1);
    expect_bad(&twice, "key 'my_key': occurs twice");
    Raw escape = RAW_NEW;                                  // a terminal never sees what a name says to it
    raw_key_u32(&escape, "\x1b[2J", 1);
    raw_key_u32(&escape, "\x1b[2J", 1);
    expect_bad(&escape, "key ' [2J': occurs twice");
}

static void test_key_types(void **state) {
    (void)state;
    static const uint32_t bad[] = {13, 14, 255, 0x7fffffff, 0x80000000, UINT32_MAX};
    for (size_t i = 0; i < HD_COUNT(bad); i++) {           // KV_BAD_TYPE
        Raw scalar = RAW_NEW, array = RAW_NEW;
        raw_key(&scalar, "k", bad[i]);
        raw_u64(&scalar.keys, 0);
        expect_bad(&scalar, "key 'k': unknown value type");
        raw_key_array(&array, "k", bad[i], 1);
        raw_u64(&array.keys, 0);
        expect_bad(&array, "key 'k': unknown array element type");
    }
    Raw nested = RAW_NEW;
    raw_key_array(&nested, "k", GGUF_ARRAY, 1);
    raw_u32(&nested.keys, GGUF_U8);
    raw_u64(&nested.keys, 1);
    raw_u8(&nested.keys, 0);
    expect_bad(&nested, "key 'k': an array of arrays");
    Raw scalar = RAW_NEW, array = RAW_NEW;
    raw_key(&scalar, "k", GGUF_BOOL);
    raw_u8(&scalar.keys, 2);
    expect_bad(&scalar, "key 'k': a bool is 2");
    raw_key_array(&array, "k", GGUF_BOOL, 3);
    hd_buf_bytes(&array.keys, "\1\0\xff", 3);
    expect_bad(&array, "key 'k': a bool is 255");
}

static void test_value_sizes(void **state) {
    (void)state;
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 7, 1ull << 63, 1ull << 61, 1ull << 40, (1ull << 30) + 1, 6};
    for (size_t i = 0; i < HD_COUNT(lengths); i++) {       // KV_BAD_VALUE_SIZE
        Raw text = RAW_NEW, element = RAW_NEW;
        raw_key(&text, "k", GGUF_STRING);
        raw_u64(&text.keys, lengths[i]);
        hd_buf_str(&text.keys, "short");
        expect_bad(&text, "key 'k': a string of ");
        raw_key_array(&element, "k", GGUF_STRING, 2);
        raw_text(&element.keys, "fine");
        raw_u64(&element.keys, lengths[i]);
        hd_buf_str(&element.keys, "short");
        expect_bad(&element, "key 'k': string 1 of the array has ");
        for (uint32_t type = 0; type < GGUF_VALUE_TYPE_COUNT; type++) {
            if (type == GGUF_ARRAY) continue;
            Raw array = RAW_NEW;
            raw_key_array(&array, "k", type, lengths[i]);
            hd_buf_str(&array.keys, "short");
            expect_bad(&array, "key 'k': an array of ");
        }
    }
    Raw words = RAW_NEW;                                   // room for the length words, none for the strings
    raw_key_array(&words, "k", GGUF_STRING, 2);
    raw_u64(&words.keys, 4);
    raw_u64(&words.keys, 0);
    expect_bad(&words, "key 'k': the file ends inside the header");
}

static void test_alignment(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 1, 3, 4, 13, 33, 1u << 21, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < HD_COUNT(bad); i++) {           // KV_BAD_ALIGN, TENSORS_BAD_ALIGN, DATA_BAD_ALIGN
        Raw without = RAW_NEW, with = RAW_NEW;
        raw_key_u32(&without, "general.alignment", bad[i]);
        expect_bad(&without, "key 'general.alignment' is ");
        raw_key_u32(&with, "general.alignment", bad[i]);
        raw_row(&with, "x", 8, F32, 0);
        with.data_bytes = 64;
        expect_bad(&with, "it has to be a power of two from 8 to 1048576");
    }
    for (uint32_t type = 0; type < GGUF_VALUE_TYPE_COUNT; type++) {
        if (type == GGUF_U32) continue;
        Raw raw = RAW_NEW;                                 // KV_WRONG_TYPE_ALIGN
        raw_key(&raw, "general.alignment", type);
        if (type == GGUF_ARRAY) raw_u32(&raw.keys, GGUF_U32);
        raw_u64(&raw.keys, type == GGUF_ARRAY);
        raw_u64(&raw.keys, 0);
        static const size_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 16, 8, 8, 8};
        raw.keys.len -= 16 + (type == GGUF_ARRAY ? 4 : 0) - bytes[type];
        expect_bad(&raw, "key 'general.alignment' is of type");
    }
    static const uint32_t good[] = {8, 32, 64, 1u << 20};
    for (size_t i = 0; i < HD_COUNT(good); i++) {          // TENSORS_CUSTOM_ALIGN, DATA_CUSTOM_ALIGN
        Raw raw = RAW_NEW;
        raw.alignment = good[i];
        raw_key_u32(&raw, "general.alignment", good[i]);
        raw_row(&raw, "x", 2, F32, 0);
        raw_row(&raw, "y", 2, F32, good[i]);
        raw.data_bytes = good[i] + 8;
        expect_good(&raw);
    }
}

// ---- tensor infos --------------------------------------------------------------------------------------------

static void test_tensor_names(void **state) {
    (void)state;
    char name[65];
    memset(name, 'n', 64);
    name[64] = 0;
    Raw too_long = RAW_NEW, longest = RAW_NEW;             // TENSORS_BAD_NAME_SIZE
    raw_row(&too_long, name, 32, F32, 0);
    too_long.data_bytes = 128;
    expect_bad(&too_long, "tensor 1: a name of 64 bytes; the limit is 63");
    raw_row(&longest, name + 1, 32, F32, 0);
    longest.data_bytes = 128;
    expect_good(&longest);
    Raw huge = RAW_NEW;
    raw_u64(&huge.infos, UINT64_MAX);
    hd_buf_printf(&huge.infos, "%60s", "");
    huge.n_tensors = 1;
    expect_bad(&huge, "tensor 1: a name of 18446744073709551615 bytes");
    Raw empty = RAW_NEW;
    raw_row(&empty, "", 32, F32, 0);
    empty.data_bytes = 128;
    expect_bad(&empty, "tensor 1: its name is empty");
    Raw control = RAW_NEW;
    raw_row(&control, "a\nb", 32, F32, 0);
    control.data_bytes = 128;
    expect_bad(&control, "not printable");
    Raw twice = RAW_NEW;                                   // TENSORS_DUPLICATE_NAME
    raw_row(&twice, "my_tensor", 32, F32, 0);
    raw_row(&twice, "my_tensor", 32, F32, 128);
    twice.data_bytes = 256;
    expect_bad(&twice, "tensor 'my_tensor': occurs twice");
}

static void test_dimensions(void **state) {
    (void)state;
    static const uint32_t counts[] = {0, 5, 8, 9, 255, 1u << 31, UINT32_MAX};
    static const uint64_t ones[16] = {32, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (size_t i = 0; i < HD_COUNT(counts); i++) {        // TENSORS_BAD_N_DIMS
        Raw raw = RAW_NEW;
        raw_tensor(&raw, "x", counts[i], ones, F32, 0);
        raw.data_bytes = 128;
        expect_bad(&raw, " dimensions; it has to be 1 to 4");
    }
    static const struct { uint64_t ne[4]; uint32_t type; const char *fragment; } shapes[] = {
        {{0, 1, 1, 1}, F32, "size 0 in dimension 0"},                            // TENSORS_ZERO_DIM: we refuse
        {{32, 0, 1, 1}, F32, "size 0 in dimension 1"},
        {{32, 1, 1, 0}, F32, "size 0 in dimension 3"},
        {{UINT64_MAX, 1, 1, 1}, F32, "size -1 in dimension 0"},                  // TENSORS_BAD_SHAPE
        {{32, UINT64_MAX, 1, 1}, F32, "size -1 in dimension 1"},
        {{1ull << 63, 1, 1, 1}, F32, "size -9223372036854775808"},
        {{1ull << 62, 2, 1, 1}, I8, "overflows 63 bits"},                        // product 2^63
        {{1ull << 62, 4, 1, 1}, I8, "overflows 63 bits"},                        // product 2^64, which wraps to 0
        {{1ull << 32, (1ull << 32) + 1, 1, 1}, I8, "overflows 63 bits"},         // product 2^64 + 2^32, which wraps to 2^32
        {{(1ull << 32) + 16, 1ull << 32, 1, 1}, I8, "overflows 63 bits"},
        {{1ull << 62, 2, 1, 1}, GGML_TQ1_0, "the product of its sizes overflows"},   // although its bytes fit
        {{4ull * INT32_MAX, 4ull * INT32_MAX, 1, 1}, F32, "overflows 63 bits"},  // TENSORS_NE_TOO_BIG
        {{1ull << 61, 1, 1, 1}, F32, "size in bytes overflows 63 bits"},         // elements fit, bytes do not
        {{1ull << 60, 1, 1, 1}, I64, "size in bytes overflows 63 bits"},         // TENSORS_NBYTES_TOO_BIG
        {{1ull << 31, 1ull << 31, 2, 1}, GGML_Q8_0, "overflows 63 bits"},
        {{1ull << 20, 1ull << 20, 1ull << 20, 4}, GGML_F16, "overflows 63 bits"},
        {{INT64_MAX - 255, 1, 1, 1}, GGML_Q8_0, "overflows 63 bits"},            // bytes of blocks overflow
        {{INT64_MAX, 1, 1, 1}, I8, "overflows 63 bits"},                         // only the padding overflows
        {{33, 1, 1, 1}, GGML_Q8_0, "not a multiple of Q8_0's block of 32"},
        {{128, 2, 1, 1}, Q4_K, "not a multiple of Q4_K's block of 256"},
    };
    for (size_t i = 0; i < HD_COUNT(shapes); i++) {
        Raw raw = RAW_NEW;
        raw_tensor(&raw, "x", 4, shapes[i].ne, shapes[i].type, 0);
        raw.data_bytes = 512;
        expect_bad(&raw, shapes[i].fragment);
    }
}

static void test_tensor_types(void **state) {
    (void)state;
    static const uint32_t bad[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 255, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < HD_COUNT(bad); i++) {           // TENSORS_BAD_TYPE
        Raw raw = RAW_NEW;
        raw_row(&raw, "x", 256, bad[i], 0);
        raw.data_bytes = 2048;
        expect_bad(&raw, "is unknown or was removed from the format");
        assert_null(ggml_type_info(bad[i]));
    }
    for (uint32_t id = 0; id < 43; id++) {                 // all others are read, and the table agrees with itself
        const GgmlTypeInfo *type = ggml_type_info(id);
        if (!type) continue;
        Raw raw = RAW_NEW;
        raw_row(&raw, "x", 2 * type->block, id, 0);
        raw.data_bytes = 2 * type->block_bytes;
        expect_good(&raw);
        assert_ptr_equal(ggml_type_named(hd_str(type->name)), type);
        assert_int_equal(ggml_row_bytes(type, 3 * type->block), 3 * type->block_bytes);
    }
    assert_ptr_equal(ggml_type_named(HD_STR("q4_k")), ggml_type_info(12));
    assert_null(ggml_type_named(HD_STR("Q4_")));
}

// ---- offsets and data ----------------------------------------------------------------------------------------

static void test_offsets(void **state) {
    (void)state;
    static const struct { uint64_t x, y; const char *fragment; } cases[] = {
        {1, 128, "tensor 'x': its offset 1 is not a multiple of the alignment 32"},
        {0, 132, "tensor 'y': its offset 132 is not a multiple"}, // TENSORS_INCONSISTENT_ALIGN, DATA_INCONSISTENT_ALIGN
        {UINT64_MAX, 128, "tensor 'x': its offset 18446744073709551615 is not a multiple"}, // TENSORS_BAD_OFFSET
        {UINT64_MAX - 31, 128, "tensor 'x': its offset 18446744073709551584 plus its 128 bytes overflow"},
        {0, 0, "tensor 'y': its data at offset 0 overlaps that of 'x'"},
        {0, 96, "tensor 'y': its data at offset 96 overlaps that of 'x'"},
        {96, 0, "tensor 'x': its data at offset 96 overlaps that of 'y'"},
        {1ull << 63, 1ull << 63, "overlaps"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        Raw raw = RAW_NEW;
        raw_row(&raw, "x", 32, F32, cases[i].x);
        raw_row(&raw, "y", 32, F32, cases[i].y);
        raw.data_bytes = 512;
        expect_bad(&raw, cases[i].fragment);
    }
    Raw wraps = RAW_NEW;                                   // offset + bytes fits; with the header's size it does not
    raw_row(&wraps, "x", 8, F32, UINT64_MAX - 63);
    expect_bad(&wraps, "overflows 64 bits");
    Raw order = RAW_NEW, gap = RAW_NEW;                    // against file order, and with a hole: fine
    raw_row(&order, "x", 32, F32, 128);
    raw_row(&order, "y", 32, F32, 0);
    order.data_bytes = 256;
    expect_good(&order);
    raw_row(&gap, "x", 32, F32, 64);
    raw_row(&gap, "y", 32, F32, 4096);
    gap.data_bytes = 4096 + 128;
    expect_good(&gap);
}

// The data is too short: an error when it is wanted, none when only the header is.
static void expect_short(Raw *raw, const char *fragment) {
    HdBuf bytes;
    void *block;
    GgufFile *file;
    raw_build(raw, &bytes);
    expect_message(raw_open(bytes.data, bytes.len, false, &block, &file), "t.gguf", fragment);
    free(block);
    assert_null(raw_open(bytes.data, bytes.len, true, &block, &file));
    assert_null(gguf_tensor_at(file, 0)->data);
    gguf_close(file);
    free(block);
    hd_buf_free(&bytes);
}

static void test_short_data(void **state) {
    (void)state;
    Raw raw = RAW_NEW;                                     // DATA_NOT_ENOUGH_DATA
    raw_row(&raw, "x", 32, F32, 0);
    raw_row(&raw, "blk.0.y", 32, F32, 128);
    raw.data_bytes = 255;
    expect_short(&raw, "tensor 'blk.0.y': its data ends at byte 352, but the file has only 351: it is truncated");
    Raw past = RAW_NEW;
    raw_row(&past, "x", 32, F32, 1ull << 40);
    past.data_bytes = 255;
    expect_short(&past, "tensor 'x': its data ends at byte");
    Raw huge = RAW_NEW;                                    // DATA_MEM_SIZE_OVERFLOW, with sizes whose padding still fits
    raw_row(&huge, "x", 0x7fffffffffe00000, I8, 0);
    raw_row(&huge, "y", 0x7fffffffffe00000, I8, 0x7fffffffffe00000);
    huge.data_bytes = 32;
    expect_short(&huge, "tensor 'x': its data ends at byte");
}

// ---- every prefix, every byte --------------------------------------------------------------------------------

// A file with every kind of value and several tensors.
static void build_rich(HdBuf *out_bytes) {
    Raw raw = RAW_NEW;
    raw_key_text(&raw, "general.architecture", "test");
    for (uint32_t type = 0; type < GGUF_VALUE_TYPE_COUNT; type++) {
        if (type == GGUF_ARRAY) continue;
        static const size_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
        char key[16];
        snprintf(key, sizeof key, "s.%u", type);
        raw_key(&raw, key, type);
        if (type == GGUF_STRING) raw_text(&raw.keys, "text");
        else hd_buf_bytes(&raw.keys, "\1\0\0\0\0\0\0\0", bytes[type]);
        snprintf(key, sizeof key, "a.%u", type);
        raw_key_array(&raw, key, type, 2);
        for (int i = 0; i < 2; i++) {
            if (type == GGUF_STRING) raw_text(&raw.keys, "ab");
            else hd_buf_bytes(&raw.keys, "\1\0\0\0\0\0\0\0", bytes[type]);
        }
    }
    raw_key_u32(&raw, "general.alignment", 64);
    raw.alignment = 64;
    raw_row(&raw, "vector", 8, F32, 0);
    raw_tensor(&raw, "matrix", 2, (const uint64_t[]){32, 2}, GGML_Q8_0, 64);
    raw_tensor(&raw, "experts", 4, (const uint64_t[]){256, 1, 1, 1}, GGML_Q6_K, 192);
    raw.data_bytes = 192 + 210;
    raw_build(&raw, out_bytes);
}

static void test_every_prefix(void **state) {
    (void)state;
    HdBuf bytes;
    void *block;
    GgufFile *file;
    build_rich(&bytes);
    assert_null(raw_open(bytes.data, bytes.len, false, &block, &file));
    size_t header = gguf_header_bytes(file);
    gguf_close(file);
    free(block);
    for (size_t len = 0; len < bytes.len; len++) {
        expect_message(raw_open(bytes.data, len, false, &block, &file), "t.gguf", len >= header ? "tensor '" : "t.gguf");
        free(block);
        HdStatus *status = raw_open(bytes.data, len, true, &block, &file);
        assert_true((status == NULL) == (len >= header));
        if (!status) {                                     // a header alone shows what the whole file shows
            assert_int_equal(gguf_header_bytes(file), header);
            assert_memory_equal(gguf_header_data(file), bytes.data, header);
            assert_int_equal(gguf_tensor_count(file), 3);
        }
        hd_status_free(status);
        gguf_close(file);
        free(block);
    }
    hd_buf_free(&bytes);
}

static void open_and_read(const HdBuf *bytes, bool header_only) {
    void *block;
    GgufFile *file;
    HdStatus *status = raw_open(bytes->data, bytes->len, header_only, &block, &file);
    if (status) expect_message(status, "t.gguf", "t.gguf");
    else gguf_walk(file);
    gguf_close(file);
    free(block);
}

static void test_mutations(void **state) {
    (void)state;
    HdBuf bytes;
    uint64_t random = 42;
    build_rich(&bytes);
    open_and_read(&bytes, false);
    for (int i = 0; i < 20000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t at = (size_t)(random >> 33) % bytes.len;
        char old = bytes.data[at];
        bytes.data[at] = (char)(random >> 20);
        open_and_read(&bytes, i % 2);
        bytes.data[at] = old;
    }
    hd_buf_free(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),       cmocka_unit_test(test_counts),       cmocka_unit_test(test_key_names),
        cmocka_unit_test(test_key_types),    cmocka_unit_test(test_value_sizes),  cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_tensor_names), cmocka_unit_test(test_dimensions),   cmocka_unit_test(test_tensor_types),
        cmocka_unit_test(test_offsets),      cmocka_unit_test(test_short_data),   cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
