// SPDX-License-Identifier: Apache-2.0
// Checked arithmetic, 16-bit floats and number text.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <locale.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/base.h"

static uint64_t rng_state = 1;

static uint64_t random_u64(void) {                         // splitmix64
    uint64_t z = rng_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static float float_of(uint32_t bits) { float f; memcpy(&f, &bits, sizeof f); return f; }
static double double_of(uint64_t bits) { double d; memcpy(&d, &bits, sizeof d); return d; }
static uint32_t bits_of(float f) { uint32_t bits; memcpy(&bits, &f, sizeof bits); return bits; }

// ---- checked arithmetic --------------------------------------------------------------------------------------

static void test_checked(void **state) {
    (void)state;
    uint64_t out = 7;
    assert_true(hd_add_u64(UINT64_MAX - 1, 1, &out) && out == UINT64_MAX);
    out = 7;
    assert_false(hd_add_u64(UINT64_MAX, 1, &out));
    assert_true(hd_mul_u64(1ull << 32, (1ull << 32) - 1, &out) && out == 0xffffffff00000000u);
    out = 7;
    assert_false(hd_mul_u64(1ull << 32, 1ull << 32, &out));
    assert_false(hd_mul_u64(UINT64_MAX, 2, &out));
    assert_int_equal(out, 7);
    assert_true(hd_mul_u64(UINT64_MAX, 0, &out) && out == 0);
    assert_true(hd_align_u64(33, 32, &out) && out == 64);
    assert_true(hd_align_u64(64, 32, &out) && out == 64);
    assert_true(hd_align_u64(UINT64_MAX - 31, 32, &out) && out == UINT64_MAX - 31);
    assert_false(hd_align_u64(UINT64_MAX - 30, 32, &out));
    assert_int_equal(hd_align_up(1, 16), 16);
    assert_int_equal(hd_ceil_div(65, 64), 2);
}

// ---- f16 and bf16 against the compiler's own type and against nearest-value search ---------------------------

static void test_f16_all(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        _Float16 half;
        uint16_t narrow = (uint16_t)bits;
        memcpy(&half, &narrow, sizeof half);
        float want = (float)half, got = hd_f16_to_f32(narrow);
        if (isnan(want)) {
            assert_true(isnan(got) && isnan(hd_f16_to_f32(hd_f32_to_f16(got))));
            continue;
        }
        assert_int_equal(bits_of(got), bits_of(want));
        assert_int_equal(hd_f32_to_f16(got), bits);
    }
}

static void check_to_f16(float value) {
    _Float16 half = (_Float16)value;
    uint16_t want;
    memcpy(&want, &half, sizeof want);
    if (hd_f32_to_f16(value) != want) fail_msg("f16 of %a: %04x, want %04x", (double)value, hd_f32_to_f16(value), want);
}

static void test_to_f16(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x7c00; bits++) {       // the tie above each half, and its neighbours
        double next = bits == 0x7bff ? 65536.0 : (double)hd_f16_to_f32((uint16_t)(bits + 1));
        float tie = (float)(((double)hd_f16_to_f32((uint16_t)bits) + next) / 2);
        for (int step = -1; step <= 1; step++) {
            float value = float_of(bits_of(tie) + (uint32_t)step);
            check_to_f16(value);
            check_to_f16(-value);
        }
    }
    for (int i = 0; i < 200000; i++) {
        float value = float_of((uint32_t)random_u64());
        if (!isnan(value)) check_to_f16(value);
    }
    check_to_f16(INFINITY);
    assert_int_equal(hd_f32_to_f16(float_of(0x7f800001)) & 0x7e00, 0x7e00);
}

static void test_bf16(void **state) {
    (void)state;
    for (int i = 0; i < 200000; i++) {
        uint32_t bits = (uint32_t)random_u64();
        if (i % 4 == 0) bits = (bits & 0xffff0000u) | 0x8000u;      // ties
        float value = float_of(bits);
        uint16_t got = hd_f32_to_bf16(value);
        if (isnan(value)) {
            assert_true(isnan(hd_bf16_to_f32(got)));
            continue;
        }
        double low = (double)float_of(bits & 0xffff0000u), down = fabs((double)value - low),
               up = ldexp(1.0, ilogb(low == 0 ? 0x1p-126 : low) - 7);
        if (fabs(low) < 0x1p-126) up = 0x1p-133;
        uint32_t want = bits >> 16;
        if (down > up / 2 || (down == up / 2 && (want & 1))) want++;
        assert_int_equal(got, want);
    }
    assert_int_equal(hd_f32_to_bf16(INFINITY), 0x7f80);
    assert_int_equal(hd_f32_to_bf16(float_of(0xff800001)), 0xffc0);
}

// ---- text ----------------------------------------------------------------------------------------------------

// From Python: the %g text of the lowest precision that reads back.
static const struct { uint32_t bits; const char *text; } f32_texts[] = {
    {0x00000000, "0"}, {0x80000000, "-0"}, {0x3f800000, "1"}, {0x3dcccccd, "0.1"},
    {0x358637bd, "1e-06"}, {0x322bcc77, "1e-08"}, {0x7f7fffff, "3.4028235e+38"}, {0x00800000, "1.1754944e-38"},
    {0x00000001, "1e-45"}, {0x007fffff, "1.1754942e-38"}, {0x4b800000, "16777216"}, {0x4b7fffff, "16777215"},
    {0x49742400, "1e+06"}, {0x47c35000, "1e+05"}, {0x3eaaaaab, "0.33333334"}, {0x40490fdb, "3.1415927"},
    {0xc2f6e979, "-123.456"}, {0x501502f9, "1e+10"}, {0x3a83126f, "0.001"}, {0x38d1b717, "0.0001"},
    {0x9f767c45, "-5.219532e-20"}, {0x4164d839, "14.302789"}, {0xbde5c099, "-0.11218376"}, {0x5bc8fbbc, "1.1314356e+17"},
    {0xcb91ce37, "-19111022"}, {0xb0c11fde, "-1.4051655e-09"}, {0xf1446bea, "-9.7263235e+29"}, {0xd76d4330, "-2.6087282e+14"},
    {0xbd69fe29, "-0.05712715"}, {0xa6eb8c9e, "-1.6344515e-15"}, {0xec1d7da0, "-7.615784e+26"}, {0x87b0b125, "-2.6585653e-34"},
    {0x076ce2ef, "1.7821356e-34"}, {0xd7210dff, "-1.7708148e+14"}, {0x77330bdb, "3.6314906e+33"}, {0xc6a53877, "-21148.232"},
    {0xf17fd374, "-1.26678894e+30"}, {0x3fc1ea36, "1.51496"}, {0xa6233255, "-5.66202e-16"}, {0x0d464138, "6.1091965e-31"},
    {0x7f800000, "inf"}, {0xff800000, "-inf"}, {0x7fc00000, "nan"}, {0xffc00001, "nan"},
};
static const struct { uint64_t bits; const char *text; } f64_texts[] = {
    {0x0000000000000000, "0"},
    {0x8000000000000000, "-0"},
    {0x3ff0000000000000, "1"},
    {0x3fb999999999999a, "0.1"},
    {0x7fefffffffffffff, "1.7976931348623157e+308"},
    {0x0000000000000001, "5e-324"},
    {0x0010000000000000, "2.2250738585072014e-308"},
    {0x000fffffffffffff, "2.225073858507201e-308"},
    {0x4340000000000000, "9007199254740992"},
    {0x433fffffffffffff, "9007199254740991"},
    {0x3fd5555555555555, "0.3333333333333333"},
    {0x400921fb54442d18, "3.141592653589793"},
    {0x412e848000000000, "1e+06"},
    {0x3eb0c6f7a0b5ed8d, "1e-06"},
    {0x44b52d02c7e14af6, "1e+23"},
    {0x3d30000000000000, "5.6843418860808015e-14"},
    {0x2827688de6a16a3b, "2.9704598186234577e-115"},
    {0x5f2dd97f1cfb10f6, "3.0534183338726823e+150"},
    {0x3fd4235992edcf45, "0.3146575865605324"},
    {0xbb2edb20035b7399, "-1.2761724801771812e-23"},
    {0xc30d8b7628dbd25e, "-1039514241563211.8"},
    {0x7ff0000000000000, "inf"},
    {0xfff0000000000000, "-inf"},
    {0x7ff8000000000000, "nan"},
};

static void check_f32_text(float value, const char *want) {
    HdBuf buf = {0};
    double back;
    hd_buf_f32(&buf, value);
    if (want) assert_string_equal(buf.data, want);
    assert_true(hd_parse_f64((HdStr){buf.data, buf.len}, &back));
    if (isnan(value)) assert_true(isnan(back));
    else assert_int_equal(bits_of((float)back), bits_of(value));
    hd_buf_free(&buf);
}

static void check_f64_text(double value, const char *want) {
    HdBuf buf = {0};
    double back;
    hd_buf_f64(&buf, value);
    if (want) assert_string_equal(buf.data, want);
    assert_true(hd_parse_f64((HdStr){buf.data, buf.len}, &back));
    if (isnan(value)) assert_true(isnan(back));
    else assert_memory_equal(&back, &value, sizeof value);
    hd_buf_free(&buf);
}

static void check_float_texts(void) {
    for (size_t i = 0; i < HD_COUNT(f32_texts); i++) check_f32_text(float_of(f32_texts[i].bits), f32_texts[i].text);
    for (size_t i = 0; i < HD_COUNT(f64_texts); i++) check_f64_text(double_of(f64_texts[i].bits), f64_texts[i].text);
    for (int i = 0; i < 20000; i++) check_f32_text(float_of((uint32_t)random_u64()), NULL);
    for (int i = 0; i < 5000; i++) check_f64_text(double_of(random_u64()), NULL);
}

static void test_float_text(void **state) {
    (void)state;
    check_float_texts();
}

// The same in a locale whose decimal point is a comma. Systems may have none installed, so the test brings one: the 54 bytes that
// glibc's localedef makes of de_DE's LC_NUMERIC.
static const uint8_t comma_numeric[54] =
    "\x14\x11\x03\x20\x06\0\0\0\x20\0\0\0\x22\0\0\0\x24\0\0\0\x28\0\0\0\x2c\0\0\0\x30\0\0\0"
    ",\0.\0\x03\x03\0\0,\0\0\0.\0\0\0UTF-8";

static void test_comma_locale(void **state) {
    (void)state;
    char folder[] = "/tmp/heddle-locale-XXXXXX", path[128], text[16];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/comma", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/comma/LC_NUMERIC", folder);
    assert_null(hd_write_file(path, comma_numeric, sizeof comma_numeric));
    setenv("LOCPATH", folder, 1);
    assert_non_null(setlocale(LC_NUMERIC, "comma"));
    snprintf(text, sizeof text, "%g", 0.5);
    assert_string_equal(text, "0,5");
    check_float_texts();
    double out;
    assert_false(hd_parse_f64(HD_STR("0,5"), &out));
    setlocale(LC_NUMERIC, "C");
    unsetenv("LOCPATH");
    unlink(path);
    *strrchr(path, '/') = 0;
    rmdir(path);
    rmdir(folder);
}

static void test_parse_integers(void **state) {
    (void)state;
    static const char *const bad[] = {
        "", "-", "+1", " 1", "1 ", "0x10", "1.0", "--1", "1e3", "18446744073709551616", "99999999999999999999"};
    uint64_t u = 7;
    int64_t i = 7;
    for (size_t k = 0; k < HD_COUNT(bad); k++) {
        assert_false(hd_parse_u64(hd_str(bad[k]), &u));
        assert_false(hd_parse_i64(hd_str(bad[k]), &i));
    }
    assert_true(u == 7 && i == 7);
    assert_false(hd_parse_u64(HD_STR("-1"), &u));
    assert_false(hd_parse_i64(HD_STR("9223372036854775808"), &i));
    assert_false(hd_parse_i64(HD_STR("-9223372036854775809"), &i));
    assert_true(hd_parse_u64(HD_STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_true(hd_parse_i64(HD_STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_true(hd_parse_i64(HD_STR("9223372036854775807"), &i) && i == INT64_MAX);
    assert_true(hd_parse_i64((HdStr){"123456", 3}, &i) && i == 123);
}

static void test_parse_floats(void **state) {
    (void)state;
    static const char *const bad[] = {"",   "-",        ".",   "e5",     "1e",   "1e+", " 1",  "1 ",  "0x1p3",
                                      "+1", "infinity", "NAN", "nan(1)", "1.5f", "1,5", "--1", "1..2"};
    double d = 7;
    for (size_t k = 0; k < HD_COUNT(bad); k++) assert_false(hd_parse_f64(hd_str(bad[k]), &d));
    assert_true(d == 7);
    assert_true(hd_parse_f64(HD_STR("1e3"), &d) && d == 1000);
    assert_true(hd_parse_f64(HD_STR("-.5E-1"), &d) && d == -0.05);
    assert_true(hd_parse_f64(HD_STR("3."), &d) && d == 3);
    assert_true(hd_parse_f64((HdStr){"12345", 2}, &d) && d == 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checked),        cmocka_unit_test(test_f16_all),       cmocka_unit_test(test_to_f16),
        cmocka_unit_test(test_bf16),           cmocka_unit_test(test_float_text),    cmocka_unit_test(test_comma_locale),
        cmocka_unit_test(test_parse_integers), cmocka_unit_test(test_parse_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
