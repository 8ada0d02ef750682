// SPDX-License-Identifier: Apache-2.0
// Models in several files, right and wrong, and files of other shapes on disk.
#include "gguf_raw.h"

#include <dirent.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/heddle-split-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static const char *part_path(int no, int count) {
    static char path[128];
    snprintf(path, sizeof path, "%s/m-%05d-of-%05d.gguf", folder, no + 1, count);
    return path;
}

static int empty_folder(void **state) {
    (void)state;
    DIR *dir = opendir(folder);
    if (!dir) return -1;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[384];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    return closedir(dir);
}

static int remove_folder(void **state) { return empty_folder(state) || rmdir(folder); }

// What part `no` of three says; tests change one thing.
typedef struct Part {
    int no, count, total;                                  // the split keys; -1: absent
    int tensors;                                           // "t<first>", ...
    int first, alignment;
} Part;

static const Part good_parts[3] = {{0, 3, 5, 0, 0, 64}, {1, 3, 5, 3, 0, 0}, {2, 3, 5, 2, 3, 0}};

static void write_part(const char *path, const Part *part, bool with_data) {
    HdBuf bytes;
    Raw raw = RAW_NEW;
    if (part->no == 0) raw_key_text(&raw, "general.architecture", "test");
    if (part->alignment) raw_key_u32(&raw, "general.alignment", (uint32_t)part->alignment);
    if (part->no >= 0) raw_key_u16(&raw, "split.no", (uint16_t)part->no);
    if (part->count >= 0) raw_key_u16(&raw, "split.count", (uint16_t)part->count);
    if (part->total >= 0) raw_key(&raw, "split.tensors.count", GGUF_I32), raw_u32(&raw.keys, (uint32_t)part->total);
    for (int i = 0; i < part->tensors; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", part->first + i);
        raw_row(&raw, name, 8, GGML_F32, (uint64_t)i * 32);
    }
    raw.data_bytes = with_data ? (uint64_t)part->tensors * 32 : 0;
    raw_build(&raw, &bytes);
    assert_null(hd_write_file(path, bytes.data, bytes.len));
    hd_buf_free(&bytes);
}

static void write_parts(const Part parts[3], bool with_data) {
    for (int no = 0; no < 3; no++) write_part(part_path(no, 3), &parts[no], with_data);
}

static void expect_refused(const char *path, const char *named, const char *fragment) {
    for (int header_only = 0; header_only < 2; header_only++) {
        GgufFile *file = (GgufFile *)1;
        char expected[128];
        snprintf(expected, sizeof expected, "%s", named);
        expect_message(gguf_open(path, &(GgufOptions){.header_only = header_only}, &file), expected, fragment);
        assert_null(file);
    }
}

static void test_good(void **state) {
    (void)state;
    GgufFile *file;
    write_parts(good_parts, true);
    assert_null(gguf_open(part_path(0, 3), NULL, &file));
    assert_int_equal(gguf_part_count(file), 3);
    assert_int_equal(gguf_tensor_count(file), 5);
    assert_int_equal(gguf_key_count(file), 5);             // of part 1 only
    for (size_t i = 0; i < 5; i++) {
        const GgufTensor *tensor = gguf_tensor_at(file, i);
        uint32_t part = i < 3 ? 1 : 2, index = (uint32_t)(i < 3 ? i : i - 3);
        char name[16];
        snprintf(name, sizeof name, "t%zu", i);
        assert_true(hd_str_is(tensor->name, name));
        assert_ptr_equal(gguf_find_tensor(file, name), tensor);
        assert_int_equal(tensor->part, part);
        assert_int_equal(tensor->data[0], 32 * index);     // the data of its own file
        assert_ptr_equal(tensor->data, gguf_part_mapping(file, part)->data + tensor->offset);
    }
    gguf_close(file);
}

static void test_headers_only(void **state) {
    (void)state;
    GgufFile *file;
    write_parts(good_parts, false);
    assert_null(gguf_open(part_path(0, 3), &(GgufOptions){.header_only = true}, &file));
    assert_int_equal(gguf_tensor_count(file), 5);
    assert_null(gguf_tensor_at(file, 4)->data);
    assert_int_equal(gguf_tensor_at(file, 4)->offset, 0);
    gguf_close(file);
    expect_message(gguf_open(part_path(0, 3), NULL, &file), "m-00002-of-00003.gguf", "tensor 't0': its data ends at byte");
}

static void test_bad_parts(void **state) {
    (void)state;
    static const struct { int part; Part wrong; int named; const char *fragment; } cases[] = {
        {1, {2, 3, 5, 3, 0, 0}, 1, "key 'split.no' is 2; by the file's name it has to be 1"},
        {1, {-1, 3, 5, 3, 0, 0}, 1, "key 'split.no' is missing from a part"},
        {2, {2, 4, 5, 2, 3, 0}, 2, "key 'split.count' is 4; part 1 says 3"},
        {2, {2, -1, 5, 2, 3, 0}, 2, "key 'split.count' is missing from a part"},
        {2, {2, 3, 6, 2, 3, 0}, 2, "key 'split.tensors.count' is 6; part 1 says 5"},
        {2, {2, 3, 5, 2, 2, 0}, 2, "tensor 't2': occurs twice"},
        {2, {2, 3, 5, 1, 3, 0}, 0, "key 'split.tensors.count' is 5, but the parts hold 4 tensors"},
        {0, {0, 3, -1, 0, 0, 0}, 0, "key 'split.tensors.count' is missing"},
        {0, {1, 3, 5, 0, 0, 0}, 0, "part 2 of 3 of a split model; open part 1"},
        {0, {0, 4, 5, 0, 0, 0}, 0, "has to be called NAME-00001-of-00004.gguf"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        char named[128];
        write_parts(good_parts, true);
        write_part(part_path(cases[i].part, 3), &cases[i].wrong, true);
        strcpy(named, part_path(cases[i].named, 3));
        expect_refused(part_path(0, 3), named, cases[i].fragment);
    }
}

static void test_wrong_file_opened(void **state) {
    (void)state;
    char named[128];
    write_parts(good_parts, true);
    strcpy(named, part_path(1, 3));
    expect_refused(named, named, "part 2 of 3 of a split model; open part 1, the file that ends in -00001-of-00003.gguf");
    unlink(part_path(1, 3));                               // a missing part
    strcpy(named, part_path(1, 3));
    expect_refused(part_path(0, 3), named, "part 2 of 3 of the split model is missing");
    snprintf(named, sizeof named, "%s/renamed.gguf", folder);
    write_part(named, &good_parts[0], true);
    expect_refused(named, named, "has to be called NAME-00001-of-00003.gguf");
}

// A single file may carry split keys, with any integer type; a count that is no integer is refused.
static void test_single(void **state) {
    (void)state;
    GgufFile *file;
    char path[128];
    snprintf(path, sizeof path, "%s/single.gguf", folder);
    write_part(path, &(Part){0, 1, 2, 2, 0, 0}, true);
    assert_null(gguf_open(path, NULL, &file));
    assert_int_equal(gguf_tensor_count(file), 2);
    gguf_close(file);
    HdBuf bytes;
    Raw raw = RAW_NEW;
    raw_key_text(&raw, "split.count", "3");
    raw_build(&raw, &bytes);
    assert_null(hd_write_file(path, bytes.data, bytes.len));
    hd_buf_free(&bytes);
    expect_refused(path, path, "key 'split.count' has to be an integer from 0 to 65535");
    Raw in_memory = RAW_NEW;
    raw_key_u16(&in_memory, "split.no", 0);
    raw_key_u16(&in_memory, "split.count", 2);
    raw_key_u32(&in_memory, "split.tensors.count", 0);
    expect_bad(&in_memory, "those can only be opened as files");
}

static void test_other_files(void **state) {
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/e.gguf", folder);
    expect_refused(path, path, "cannot open: No such file");
    expect_refused(folder, folder, "not a regular file");
    assert_null(hd_write_file(path, "", 0));
    expect_refused(path, path, "the file is empty");
    assert_null(hd_write_file(path, "GGUF\3\0\0\0", 8));
    expect_refused(path, path, "the file ends inside the header");
    assert_null(hd_write_file(path, "PK\3\4", 4));
    expect_refused(path, path, "not a GGUF file");
}

// Strings and arrays beyond 2^30, in files that could hold them (and have no blocks on the disk).
static void expect_sparse_refused(Raw *raw, const char *fragment) {
    HdBuf bytes;
    char path[128];
    snprintf(path, sizeof path, "%s/sparse.gguf", folder);
    raw_build(raw, &bytes);
    assert_null(hd_write_file(path, bytes.data, bytes.len));
    hd_buf_free(&bytes);
    assert_int_equal(truncate(path, (off_t)1 << 32), 0);
    expect_refused(path, path, fragment);
}

static void test_limits(void **state) {
    (void)state;
    Raw text = RAW_NEW, element = RAW_NEW, array = RAW_NEW;
    raw_key(&text, "k", GGUF_STRING);
    raw_u64(&text.keys, (1ull << 30) + 1);
    expect_sparse_refused(&text, "key 'k': a string of 1073741825 bytes; the limit is 1073741824");
    raw_key_array(&element, "k", GGUF_STRING, 1);
    raw_u64(&element.keys, (1ull << 30) + 1);
    expect_sparse_refused(&element, "key 'k': string 0 of the array has 1073741825 bytes; the limit is 1073741824");
    raw_key_array(&array, "k", GGUF_U8, (1ull << 30) + 1);
    expect_sparse_refused(&array, "key 'k': an array of 1073741825 u8; the limit is 1073741824");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_good, empty_folder),      cmocka_unit_test_teardown(test_headers_only, empty_folder),
        cmocka_unit_test_teardown(test_bad_parts, empty_folder), cmocka_unit_test_teardown(test_wrong_file_opened, empty_folder),
        cmocka_unit_test_teardown(test_single, empty_folder),    cmocka_unit_test_teardown(test_other_files, empty_folder),
        cmocka_unit_test_teardown(test_limits, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
