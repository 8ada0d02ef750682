// SPDX-License-Identifier: Apache-2.0
// Status values, memory, text, map, digests, files and the log.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/base.h"

static void expect_status(HdStatus *status, HdCode code, const char *message) {
    assert_non_null(status);
    assert_int_equal(hd_status_code(status), code);
    assert_string_equal(hd_status_message(status), message);
    hd_status_free(status);
}

// ---- status --------------------------------------------------------------------------------------------------

static void test_status(void **state) {
    (void)state;
    expect_status(hd_error(HD_BAD_DATA, "key '%s' is %d", "a", 3), HD_BAD_DATA, "key 'a' is 3");
    expect_status(hd_error(HD_IO, "%s", "two\nlines\r\n\x1b[31m\x7f"), HD_IO, "two lines   [31m ");
    expect_status(hd_annotate(hd_error(HD_LIMIT, "full"), "slot %d", 4), HD_LIMIT, "slot 4: full");
    assert_null(hd_annotate(NULL, "nothing"));
    assert_int_equal(hd_status_code(NULL), HD_OK);
    assert_string_equal(hd_status_message(NULL), "");
    hd_status_free(NULL);
    char *long_text = hd_xcalloc(5001, 1);
    memset(long_text, 'x', 5000);
    expect_status(hd_error(HD_USAGE, "%s", long_text), HD_USAGE, long_text);
    free(long_text);
}

static void test_codes(void **state) {
    (void)state;
    assert_int_equal(hd_code_exit(HD_OK), 0);
    assert_int_equal(hd_code_exit(HD_USAGE), 2);
    assert_int_equal(hd_code_exit(HD_BAD_DATA), 1);
    assert_string_equal(hd_code_name(HD_BAD_DATA), "BAD_DATA");
    for (int code = 0; code < HD_CODE_COUNT; code++) assert_in_range(hd_code_exit((HdCode)code), 0, 2);
}

static HdStatus *try_twice(HdStatus *first) {
    HD_TRY(first);
    return hd_error(HD_INTERNAL, "second");
}

static void test_try(void **state) {
    (void)state;
    expect_status(try_twice(hd_error(HD_IO, "first")), HD_IO, "first");
    expect_status(try_twice(NULL), HD_INTERNAL, "second");
}

static void test_assert(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        fclose(stderr);
        signal(SIGABRT, SIG_DFL);
        HD_ASSERT(1 + 1 == 3);
        _exit(0);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT);
}

// ---- memory --------------------------------------------------------------------------------------------------

static bool all_zero(const char *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (data[i]) return false;
    return true;
}

static void test_arena(void **state) {
    (void)state;
    HdArena arena = {0};
    char *kept[600];
    size_t sizes[600], total = 0;
    for (int i = 0; i < 600; i++) {
        sizes[i] = i % 50 == 7 ? 100000 + (size_t)i : (size_t)(i * 37 % 3000);
        kept[i] = hd_arena_alloc(&arena, sizes[i]);
        assert_int_equal((uintptr_t)kept[i] % 16, 0);
        assert_true(all_zero(kept[i], sizes[i]));
        memset(kept[i], i % 251 + 1, sizes[i]);
        total += sizes[i];
    }
    for (int i = 0; i < 600; i++)                          // nobody wrote into anybody else's
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal((unsigned char)kept[i][k], i % 251 + 1);
    assert_true(arena.total >= total);
    assert_string_equal(hd_arena_strndup(&arena, "abcdef", 3), "abc");
    assert_string_equal(hd_arena_printf(&arena, "%d-%s", 7, "x"), "7-x");
    hd_arena_free(&arena);
    assert_null(arena.head);
    assert_non_null(HD_NEW_ARRAY(&arena, int, 0));
    hd_arena_free(&arena);
}

static void test_vec(void **state) {
    (void)state;
    HD_VEC(int) v = {0};
    for (int i = 0; i < 10000; i++) hd_vec_push(&v, i);
    assert_int_equal(v.len, 10000);
    for (int i = 0; i < 10000; i++) assert_int_equal(v.data[i], i);
    hd_vec_reserve(&v, 50000);
    assert_true(v.cap >= 50000 && v.len == 10000 && v.data[9999] == 9999);
    hd_vec_free(&v);
    assert_true(!v.data && !v.len && !v.cap);
}

// ---- text, map, digest ---------------------------------------------------------------------------------------

static void test_text(void **state) {
    (void)state;
    assert_true(hd_str_eq(HD_STR("abc"), hd_str("abc")));
    assert_false(hd_str_eq(HD_STR("abc"), HD_STR("abd")));
    assert_false(hd_str_eq(HD_STR("abc"), HD_STR("abcd")));
    assert_true(hd_str_is((HdStr){NULL, 0}, ""));
    assert_true(hd_str_starts(HD_STR("blk.3.x"), "blk."));
    assert_false(hd_str_starts(HD_STR("bl"), "blk."));
    static const char *const items[] = {"a{b,c}", "", "d"};
    HdStr rest = HD_STR("a{b,c},,d");
    for (size_t i = 0; i < 3; i++) {
        assert_non_null(rest.data);
        assert_true(hd_str_is(hd_next_item(&rest, ','), items[i]));
    }
    assert_null(rest.data);
    rest = HD_STR("");
    assert_true(hd_next_item(&rest, ' ').len == 0 && !rest.data);
    HdBuf buf = {0};
    hd_buf_str(&buf, "a");
    hd_buf_bytes(&buf, "\0b", 2);
    for (int i = 0; i < 300; i++) hd_buf_printf(&buf, "%d,", i);
    assert_int_equal(buf.len, 3 + 10 * 2 + 90 * 3 + 200 * 4);
    assert_int_equal(buf.data[buf.len], 0);
    assert_memory_equal(buf.data, "a\0b0,1,2,", 9);
    hd_buf_free(&buf);
    char big[1000] = {0};
    memset(big, 'y', 999);
    hd_buf_printf(&buf, "%s|", big);
    assert_int_equal(buf.len, 1000);
    assert_int_equal(buf.data[999], '|');
    hd_buf_free(&buf);
}

static void test_map(void **state) {
    (void)state;
    HdMap map = {0};
    HdArena arena = {0};
    uint32_t value;
    assert_false(hd_map_get(&map, HD_STR("a"), &value));
    for (uint32_t i = 0; i < 20000; i++) assert_true(hd_map_put(&map, hd_str(hd_arena_printf(&arena, "blk.%u.w", i)), i));
    assert_true(hd_map_put(&map, (HdStr){NULL, 0}, 77));   // the empty key is a key
    for (uint32_t i = 0; i < 20000; i++) {
        assert_true(hd_map_get(&map, hd_str(hd_arena_printf(&arena, "blk.%u.w", i)), &value));
        assert_int_equal(value, i);
    }
    assert_false(hd_map_put(&map, HD_STR("blk.5.w"), 99));
    assert_true(hd_map_get(&map, HD_STR("blk.5.w"), &value) && value == 5);
    assert_true(hd_map_get(&map, HD_STR(""), &value) && value == 77);
    assert_false(hd_map_get(&map, HD_STR("blk.20000.w"), &value));
    assert_int_equal(map.len, 20001);
    hd_map_free(&map);
    hd_arena_free(&arena);
}

// From the reference implementation (Python's xxhash): XXH3 of `len` bytes (37 i + 11) mod 256.
static const struct { size_t len; const char *hex; } digests[] = {
    {0, "99aa06d3014798d86001c324468d497f"},      {1, "885f487031a569684a4139caf4136257"},
    {3, "d2f76a3b5388f28b505118c313121c0e"},      {8, "acabfc73a36cbcfb2f685e863b34edb1"},
    {9, "428f8225bc32ed204d47bbb9821d4d08"},      {16, "465d964535f22d7aaf8b52bc8abd84af"},
    {17, "e0b749d9e42a6e14261ec05370486e62"},     {128, "b0adb160b0d7e62efc7e5a4d38ed3773"},
    {129, "ca19d202aba3e00afd5fb995ce889f09"},    {240, "60776a21568c1469e3382cc948003965"},
    {241, "8fe4da37d29ec7b9859dc8ab6dd85c7c"},    {1000, "e6a06ffc409ddbe635b90186550dbb50"},
    {100000, "b5963cd82e4122b0282fdb51499d169e"},
};

static void test_digest(void **state) {
    (void)state;
    uint8_t *data = hd_xmalloc(100000);
    char hex[33];
    for (size_t i = 0; i < 100000; i++) data[i] = (uint8_t)(i * 37 + 11);
    for (size_t k = 0; k < HD_COUNT(digests); k++) {
        hd_digest_hex(hd_digest(data, digests[k].len), hex);
        assert_string_equal(hex, digests[k].hex);
        HdHasher *hasher = hd_hasher_new();
        for (size_t at = 0, step = 1; at < digests[k].len; at += step, step = step * 3 + 1)
            hd_hasher_add(hasher, data + at, HD_MIN(step, digests[k].len - at));
        hd_digest_hex(hd_hasher_finish(hasher), hex);
        assert_string_equal(hex, digests[k].hex);
    }
    free(data);
}

// ---- files ---------------------------------------------------------------------------------------------------

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/heddle-base-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static const char *in_folder(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static size_t count_entries(void) {
    DIR *dir = opendir(folder);
    size_t count = 0;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static int remove_folder(void **state) {
    (void)state;
    DIR *dir = opendir(folder);
    if (!dir) return -1;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && unlink(in_folder(entry->d_name)) != 0) rmdir(in_folder(entry->d_name));
    closedir(dir);
    return rmdir(folder);
}

static void expect_content(const char *path, const char *text) {
    HdBuf buf;
    HdMapping mapping;
    assert_null(hd_read_file(path, &buf));
    assert_int_equal(buf.len, strlen(text));
    assert_string_equal(buf.data, text);
    hd_buf_free(&buf);
    assert_null(hd_map_file(path, &mapping));
    assert_int_equal(mapping.len, strlen(text));
    assert_non_null(mapping.data);
    assert_memory_equal(mapping.data, text, mapping.len);
    hd_unmap_file(&mapping);
    hd_unmap_file(&mapping);                               // twice is harmless
}

static void test_write_and_read(void **state) {
    (void)state;
    assert_null(hd_write_file(in_folder("a"), "hello", 5));
    expect_content(in_folder("a"), "hello");
    assert_null(hd_write_file(in_folder("a"), "", 0));
    expect_content(in_folder("a"), "");
    HdSpan spans[] = {{"one", 3}, {NULL, 0}, {"two", 3}};
    assert_null(hd_write_spans(in_folder("a"), spans, 3));
    expect_content(in_folder("a"), "onetwo");
    assert_int_equal(count_entries(), 1);
}

// A reader that mapped the old file keeps it whole; a link stays a link.
static void test_write_is_a_replacement(void **state) {
    (void)state;
    HdMapping old;
    char target[256];
    struct stat info;
    assert_null(hd_write_file(in_folder("a"), "old text", 8));
    assert_null(hd_map_file(in_folder("a"), &old));
    snprintf(target, sizeof target, "%s", in_folder("a"));
    assert_int_equal(symlink(target, in_folder("link")), 0);
    assert_null(hd_write_file(in_folder("link"), "new", 3));
    assert_memory_equal(old.data, "old text", 8);
    hd_unmap_file(&old);
    expect_content(in_folder("a"), "new");
    assert_int_equal(lstat(in_folder("link"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    unlink(in_folder("link"));
}

static void test_file_errors(void **state) {
    (void)state;
    HdMapping mapping;
    HdBuf buf;
    char message[256];
    size_t before = count_entries();
    snprintf(message, sizeof message, "%s: cannot open: No such file or directory", in_folder("none"));
    expect_status(hd_map_file(in_folder("none"), &mapping), HD_NOT_FOUND, message);
    hd_unmap_file(&mapping);
    expect_status(hd_read_file(in_folder("none"), &buf), HD_NOT_FOUND, message);
    snprintf(message, sizeof message, "%s: cannot map: not a regular file", folder);
    expect_status(hd_map_file(folder, &mapping), HD_IO, message);
    snprintf(message, sizeof message, "%s: cannot read: Is a directory", folder);
    expect_status(hd_read_file(folder, &buf), HD_IO, message);
    snprintf(message, sizeof message, "%s: cannot write: it is a folder", folder);
    expect_status(hd_write_file(folder, "x", 1), HD_IO, message);
    snprintf(message, sizeof message, "%s: cannot create: No such file or directory", in_folder("none/x"));
    expect_status(hd_write_file(in_folder("none/x"), "x", 1), HD_NOT_FOUND, message);
    assert_int_equal(count_entries(), before);
}

// A disk that is full while the file is written.
static void test_no_room(void **state) {
    (void)state;
    char message[256], bytes[4096] = {0};
    struct rlimit old, small = {1024, RLIM_INFINITY};
    assert_null(hd_write_file(in_folder("a"), "old", 3));
    size_t before = count_entries();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    snprintf(message, sizeof message, "%s: cannot write: File too large", in_folder("a"));
    HdStatus *status = hd_write_file(in_folder("a"), bytes, sizeof bytes);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    expect_status(status, HD_IO, message);
    expect_content(in_folder("a"), "old");
    assert_int_equal(count_entries(), before);
}

static void test_devices(void **state) {
    (void)state;
    struct stat info;
    assert_null(hd_write_file("/dev/null", "x", 1));
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));                    // still the device
    expect_status(hd_write_file("/dev/full", "x", 1), HD_IO, "/dev/full: cannot write: No space left on device");
}

// ---- UTF-8 ---------------------------------------------------------------------------------------------------

static void test_utf8(void **state) {
    (void)state;
    HdBuf text = {0};
    for (int32_t code = 0; code <= 0x10FFFF; code++) {
        size_t used;
        text.len = 0;
        hd_buf_utf8(&text, code);
        bool surrogate = code >= 0xD800 && code <= 0xDFFF;
        assert_int_equal(hd_utf8_decode(text.data, text.len, &used), surrogate ? HD_ILL_FORMED : code);
        assert_int_equal(used, surrogate ? 1 : text.len);
        assert_int_equal(text.len, code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);
        if (text.len > 1) assert_int_equal(hd_utf8_decode(text.data, 1, &used), HD_INCOMPLETE);
    }
    hd_buf_free(&text);
}

// ---- log -----------------------------------------------------------------------------------------------------

static void keep_line(void *user, HdLogLevel level, const char *line) { hd_buf_printf(user, "%d:%s;", (int)level, line); }

static void test_log(void **state) {
    (void)state;
    HdBuf lines = {0};
    HdLog log = {HD_LOG_INFO, keep_line, &lines};
    hd_log(&log, HD_LOG_ERROR, "e%d", 1);
    hd_log(&log, HD_LOG_INFO, "i");
    hd_log(&log, HD_LOG_DEBUG, "d");
    hd_log(NULL, HD_LOG_ERROR, "nobody");
    assert_string_equal(lines.data, "0:e1;2:i;");
    hd_buf_free(&lines);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),  cmocka_unit_test(test_codes),          cmocka_unit_test(test_try),
        cmocka_unit_test(test_assert),  cmocka_unit_test(test_arena),          cmocka_unit_test(test_vec),
        cmocka_unit_test(test_text),    cmocka_unit_test(test_map),            cmocka_unit_test(test_digest),
        cmocka_unit_test(test_utf8),    cmocka_unit_test(test_log),            cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_write_and_read), cmocka_unit_test(test_file_errors), cmocka_unit_test(test_write_is_a_replacement),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
