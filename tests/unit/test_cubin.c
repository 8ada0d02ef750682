// SPDX-License-Identifier: Apache-2.0
// What a cubin says of its kernels: of a real one (tests/data/two_kernels.cubin, which two_kernels.cu tells of), and of every damaged one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/device/cubin.h"

static HdBuf cubin;

static int load(void **state)
{
    (void)state;
    return hd_read_file(TEST_DATA "/two_kernels.cubin", &cubin) ? -1 : 0;
}

static int unload(void **state)
{
    (void)state;
    hd_buf_free(&cubin);
    return 0;
}

static bool use_of(const char *kernel, CubinUse *out_use)
{
    return rt_cubin_use((const uint8_t *)cubin.data, cubin.len, kernel, out_use);
}

// The numbers are those that ptxas reported.
static void kernels_tell_what_they_use(void **state)
{
    (void)state;
    CubinUse use;
    assert_true(use_of("light", &use));
    assert_true(use.registers == 8 && use.local_bytes == 0);
    assert_true(use_of("heavy", &use));
    assert_true(use.registers == 32 && use.local_bytes == 200);
    assert_false(use_of("other", &use));
    assert_false(use_of("", &use));
    assert_false(use_of("ligh", &use));
}

static void other_code_tells_nothing(void **state)
{
    (void)state;
    CubinUse use;
    static const uint8_t ptx[] = "//\n.version 9.0\n.target sm_80\n", spirv[] = {3, 2, 0x23, 7};
    assert_false(rt_cubin_use(ptx, sizeof ptx, "light", &use));
    assert_false(rt_cubin_use(spirv, sizeof spirv, "light", &use));
    assert_false(rt_cubin_use(spirv, 0, "light", &use));
    cubin.data[18] ^= 1;                                     // another machine's
    assert_false(use_of("light", &use));
    cubin.data[18] ^= 1;
}

// Copies as long as they are, so that a sanitizer sees what is read beside them.
static void damage_is_no_danger(void **state)
{
    (void)state;
    CubinUse use;
    uint32_t seed = 1;
    for (size_t len = 0; len < cubin.len; len += len < 4096 ? 1 : 7) {
        uint8_t *part = malloc(len ? len : 1);
        memcpy(part, cubin.data, len);
        rt_cubin_use(part, len, "heavy", &use);
        free(part);
    }
    for (int round = 0; round < 20000; round++) {
        uint8_t *copy = malloc(cubin.len);
        memcpy(copy, cubin.data, cubin.len);
        for (int i = 0; i < 4; i++) {
            size_t head = round % 2 ? sizeof(uint64_t) * 8 : cubin.len;
            seed = seed * 1664525 + 1013904223;
            copy[(seed >> 8) % head] = (uint8_t)(seed & 1 ? 0xff : seed >> 3);
        }
        rt_cubin_use(copy, cubin.len, "heavy", &use);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_tell_what_they_use),
        cmocka_unit_test(other_code_tells_nothing),
        cmocka_unit_test(damage_is_no_danger),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
