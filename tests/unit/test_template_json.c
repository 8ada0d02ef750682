// SPDX-License-Identifier: Apache-2.0
// The JSON reader of the templates, and its writer: what RFC 8259 allows and nothing else, in order and with all digits.
#include "runtime/template/internal.h"

#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

static const HeddleTemplate nothing = {.name = "test"};

// Read, and written again on one line.
static void expect_json(const char *text, const char *expected) {
    TplRun run = {.template = &nothing};
    TplValue value;
    HdStatus *status = tpl_json_read(&run.arena, hd_str(text), &value);
    if (!status) status = tpl_put_json(&run, &tpl_json_plain, &value);
    if (status) fail_msg("%s: %s", text, hd_status_message(status));
    assert_string_equal(run.out.data, expected);
    hd_buf_free(&run.out);
    hd_arena_free(&run.arena);
}

static void expect_error(const char *text, size_t len, size_t byte) {
    HdArena arena = {0};
    TplValue value;
    char start[40];
    HdStatus *status = tpl_json_read(&arena, (HdStr){text, len}, &value);
    snprintf(start, sizeof start, "JSON, byte %zu: ", byte);
    if (!status || strncmp(hd_status_message(status), start, strlen(start)) != 0)
        fail_msg("%s: \"%s\", expected an error at %zu", text, hd_status_message(status), byte);
    hd_status_free(status);
    hd_arena_free(&arena);
}

static void test_values(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {" [ 1 , -2,true,false,null ,\"x\" ] \n", "[1, -2, true, false, null, \"x\"]"},
        {"{\"b\":1,\"a\":{},\"b\":[]}", "{\"b\": [], \"a\": {}}"},
        {"0", "0"},
        {"-0", "0"},
        {"-0.0", "-0.0"},
        {"1.0", "1.0"},
        {"1e2", "100.0"},
        {"1E-7", "1e-07"},
        {"1e400", "Infinity"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"9223372036854775808", "9223372036854775808"},
        {"-123456789012345678901234567890", "-123456789012345678901234567890"},
        {"0.1", "0.1"},
        {"123456789.125", "123456789.125"},
        {"5e-324", "5e-324"},
        {"1.7976931348623157e308", "1.7976931348623157e+308"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\ud83d\\ude00\\u0000\"",
         "\"\\\"\\\\/\\b\\f\\n\\r\\tA\xC3\xA9\xF0\x9F\x98\x80\\u0000\""},
        {"\"\\udbff\\udfff\"", "\"\xF4\x8F\xBF\xBF\""},
        {"\"\x7F \xE2\x80\xA8\"", "\"\x7F \xE2\x80\xA8\""},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) expect_json(cases[i][0], cases[i][1]);
}

static void test_errors(void **state) {
    (void)state;
    static const struct { const char *text; size_t byte;
    } cases[] = {
        {"", 1},
        {"  ", 3},
        {"[1", 3},
        {"[1,]", 4},
        {"[1 2]", 4},
        {"{", 2},
        {"{a:1}", 2},
        {"{\"a\" 1}", 6},
        {"{\"a\":}", 6},
        {"{\"a\":1,}", 8},
        {"{\"a\":1 \"b\":2}", 8},
        {"01", 1},
        {"-", 2},
        {"+1", 1},
        {"1.", 3},
        {".5", 1},
        {"1e", 3},
        {"1e+", 4},
        {"0x1", 2},
        {"NaN", 1},
        {"nul", 1},
        {"nulls", 5},
        {"'a'", 1},
        {"\"a", 3},
        {"\"a\nb\"", 3},
        {"\"\\x\"", 3},
        {"\"\\u12g4\"", 4},
        {"\"\\ud800\"", 4},
        {"\"\\ud800\\u0041\"", 4},
        {"\"\\udc00\"", 4},
        {"\"\xFF\"", 2},
        {"\"\xC0\x80\"", 2},
        {"\"\xED\xA0\x80\"", 2},
        {"1 1", 3},
        {"[}", 2},
        {"\"\\", 3},
        {"\"\\u12", 4},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) expect_error(cases[i].text, strlen(cases[i].text), cases[i].byte);
    expect_error("1\0", 2, 2);
    expect_error("\0", 1, 1);
    expect_error("\"a\0b\"", 5, 3);
}

// Many keys: found by the index, in their order, the last of equal ones counting.
static void test_many_keys(void **state) {
    (void)state;
    HdArena arena = {0};
    HdBuf text = {0};
    TplValue value;
    hd_buf_str(&text, "{");
    for (int i = 0; i < 1500; i++) hd_buf_printf(&text, "%s\"k%d\": %d", i ? ", " : "", i % 1000, i);
    hd_buf_str(&text, "}");
    assert_null(tpl_json_read(&arena, (HdStr){text.data, text.len}, &value));
    assert_int_equal(value.dict->count, 1000);
    for (int i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        assert_string_equal(strndupa(value.dict->keys[i].text.data, value.dict->keys[i].text.len), key);
        assert_int_equal(tpl_dict_named(value.dict, hd_str(key))->integer, i < 500 ? 1000 + i : i);
    }
    assert_null(tpl_dict_named(value.dict, HD_STR("k1000")));
    hd_buf_free(&text);
    hd_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_errors),
                                       cmocka_unit_test(test_many_keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
