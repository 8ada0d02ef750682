// SPDX-License-Identifier: Apache-2.0
// Target names, their canonical form and what the processor has.
#include "ir/target.h"
#include "runtime/cpu_features.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static IrTarget parse(const char *text) {
    IrTarget target;
    HdStatus *status = ir_target_parse(text, &target);
    if (status) print_error("%s\n", hd_status_message(status));
    assert_null(status);
    return target;
}

static void test_canonical(void **state) {
    (void)state;
    static const struct { const char *text, *name, *llvm, *tune; } cases[] = {
        {"cpu:x86-64-v2", "cpu:x86-64-v2", "x86-64-v2", "x86-64-v2"},
        {"cpu:x86-64-v3", "cpu:x86-64-v3", "x86-64-v3", "x86-64-v3"},
        {"cpu:znver4", "cpu:znver4", "x86-64-v4", "znver4"},
        {"cpu:icelake-server", "cpu:icelake-server", "x86-64-v4", "icelake-server"},
        {"cpu:icelake-server-avx512vbmi", "cpu:icelake-server-avx512vbmi", "x86-64-v4", "icelake-server"},
        {"cpu:x86-64-v3+avxvnni-f16c", "cpu:x86-64-v3-f16c+avxvnni", "x86-64-v2", "x86-64-v3"},
        {"cpu:x86-64-v3+avx2+fma", "cpu:x86-64-v3", "x86-64-v3", "x86-64-v3"},
        {"cpu:x86-64-v3-fma+fma", "cpu:x86-64-v3", "x86-64-v3", "x86-64-v3"},
        {"cpu:x86-64-v2+avx2", "cpu:x86-64-v2+avx+avx2", "x86-64-v2", "x86-64-v2"},
        {"cpu:x86-64-v4+avx512vnni", "cpu:x86-64-v4+avx512vnni", "x86-64-v4", "x86-64-v4"},
        {"cpu:x86-64-v4-avx512f", "cpu:x86-64-v4-avx512f-avx512bw-avx512vl-avx512dq-avx512cd", "x86-64-v3", "x86-64-v4"},
        {"cpu:aarch64", "cpu:aarch64", "generic", "generic"},
        {"cpu:aarch64+bf16+i8mm", "cpu:aarch64+dotprod+i8mm+bf16", "generic", "generic"},
        {"cpu:neoverse-n1", "cpu:neoverse-n1", "generic", "neoverse-n1"},
        {"cpu:neoverse-v2-dotprod", "cpu:neoverse-v2-dotprod-i8mm", "generic", "neoverse-v2"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        IrTarget target = parse(cases[i].text), again = parse(target.name);
        assert_string_equal(target.name, cases[i].name);
        assert_string_equal(target.llvm_cpu, cases[i].llvm);
        assert_string_equal(target.tune_cpu, cases[i].tune);
        assert_string_equal(again.name, target.name);
        assert_int_equal(again.features, target.features);
    }
}

// The cpu with each feature of its instruction set, but the first, added or removed.
static IrTarget with_all(const char *cpu, char sign) {
    HdBuf text = {0}, names = {0};
    hd_buf_printf(&text, "cpu:%s", cpu);
    ir_isa_features(parse(text.data).isa, &names);
    assert_non_null(strtok(names.data, " "));
    for (const char *name; (name = strtok(NULL, " "));) hd_buf_printf(&text, "%c%s", sign, name);
    IrTarget target = parse(text.data);
    hd_buf_free(&text);
    hd_buf_free(&names);
    return target;
}

// The longest spelling still fits the field; an instruction set has its own features only, and the first of them always.
static void test_longest(void **state) {
    (void)state;
    static const uint64_t x86 = (UINT64_C(1) << (IR_FEATURE_AVXVNNI + 1)) - 1, all = (UINT64_C(1) << IR_FEATURE_COUNT) - 1;
    for (size_t i = 0; ir_target_cpu_name(i); i++) {
        IrTarget most = with_all(ir_target_cpu_name(i), '+'), least = with_all(ir_target_cpu_name(i), '-');
        bool aarch64 = most.isa == IR_ISA_AARCH64;
        assert_int_equal(most.features, aarch64 ? all & ~x86 : x86);
        assert_int_equal(least.features, UINT64_C(1) << (aarch64 ? IR_FEATURE_NEON : IR_FEATURE_SSE42));
    }
}

static void test_errors(void **state) {
    (void)state;
    static const struct { const char *text, *want; } cases[] = {
        {"cpu:pentium", "cpu:znver5"},
        {"metal", "cpu:native"},
        {"vulkan:1.1", "targets: vulkan, cuda:"},
        {"cuda:", "cuda:sm_75 and newer"},
        {"cuda:sm_70", "cuda:sm_75 and newer"},
        {"cuda:sm_90a", "cuda:sm_75 and newer"},
        {"cuda:compute_", "cuda:compute_75"},
        {"cuda:sm_90abc", "cuda:sm_75 and newer"},
        {"cuda:emulatedX", "cuda:sm_75 and newer"},
        {"", "cpu:x86-64-v2"},
        {"cpu:", "cpu:haswell"},
        {"cpu:x86-64-v3+vnni", "avx512vnni"},
        {"cpu:x86-64-v3+", "unknown feature \"\""},
        {"cpu:x86-64-v3-sse4.2", "cannot be removed"},
        {"cpu:aarch64+avx2", "unknown feature \"avx2\"; features of aarch64: neon dotprod i8mm bf16"},
        {"cpu:x86-64-v3+neon", "features of x86-64: sse4.2 avx "},
        {"cpu:neoverse-n1-neon", "neon is the least this compiler emits and cannot be removed"},
        {"cpu:nativeX", "unknown target"},
        {"cpu:x86-64-v3x", "unknown target"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        IrTarget target;
        HdStatus *status = ir_target_parse(cases[i].text, &target);
        assert_non_null(status);
        assert_int_equal(hd_status_code(status), HD_USAGE);
        if (!strstr(hd_status_message(status), cases[i].want)) fail_msg("%s: %s", cases[i].text, hd_status_message(status));
        hd_status_free(status);
    }
}

static void test_gpus(void **state) {
    (void)state;
    static const struct { const char *text, *name; IrBackend backend; int arch; bool ptx; } cases[] = {
        {"vulkan", "vulkan:1.2", IR_VULKAN, 0, false},
        {"vulkan:1.2", "vulkan:1.2", IR_VULKAN, 0, false},
        {"cuda:sm_75", "cuda:sm_75", IR_CUDA, 75, false},
        {"cuda:sm_120", "cuda:sm_120", IR_CUDA, 120, false},
        {"cuda:compute_80", "cuda:compute_80", IR_CUDA, 80, true},
        {"cpu:emulated-cuda", "cpu:emulated-cuda", IR_EMULATED, 80, false},
        {"cpu:emulated-cuda-75", "cpu:emulated-cuda-75", IR_EMULATED, 75, false},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        IrTarget target = parse(cases[i].text);
        assert_string_equal(target.name, cases[i].name);
        assert_true(target.backend == cases[i].backend && target.arch == cases[i].arch && target.ptx == cases[i].ptx);
        assert_true(ir_target_is_gpu(&target));
    }
    IrTarget cpu = parse("cpu:haswell");
    assert_false(ir_target_is_gpu(&cpu));
}

static void test_features_text(void **state) {
    (void)state;
    IrTarget target = parse("cpu:x86-64-v3+avxvnni");
    HdBuf text = {0};
    ir_target_llvm_features(&target, &text);
    assert_string_equal(text.data, "+sse4.2,+avx,+avx2,+fma,+f16c,+bmi2,-avx512f,-avx512bw,-avx512vl,-avx512dq,-avx512cd,-"
                                   "avx512vnni,-avx512bf16,-avx512vbmi,+avxvnni");
    text.len = 0;
    target = parse("cpu:neoverse-n1");
    ir_target_llvm_features(&target, &text);
    assert_string_equal(text.data, "+neon,+dotprod,-i8mm,-bf16");
    hd_buf_free(&text);
}

static bool line_has_word(const char *line, const char *word) {
    size_t len = strlen(word);
    for (const char *at = line; (at = strstr(at, word)); at += len)
        if ((at == line || at[-1] == ' ' || at[-1] == '\t') && (at[len] == ' ' || at[len] == '\n')) return true;
    return false;
}

// What we read from the processor against the flags that Linux shows.
static void test_machine(void **state) {
    (void)state;
    static const char *const linux_names[IR_FEATURE_COUNT] = {
        [IR_FEATURE_SSE42] = "sse4_2",
        [IR_FEATURE_AVX] = "avx",
        [IR_FEATURE_AVX2] = "avx2",
        [IR_FEATURE_FMA] = "fma",
        [IR_FEATURE_F16C] = "f16c",
        [IR_FEATURE_BMI2] = "bmi2",
        [IR_FEATURE_AVX512F] = "avx512f",
        [IR_FEATURE_AVX512BW] = "avx512bw",
        [IR_FEATURE_AVX512VL] = "avx512vl",
        [IR_FEATURE_AVX512DQ] = "avx512dq",
        [IR_FEATURE_AVX512CD] = "avx512cd",
        [IR_FEATURE_AVX512VNNI] = "avx512_vnni",
        [IR_FEATURE_AVX512BF16] = "avx512_bf16",
        [IR_FEATURE_AVX512VBMI] = "avx512vbmi",
        [IR_FEATURE_AVXVNNI] = "avx_vnni",
        [IR_FEATURE_NEON] = "asimd",
        [IR_FEATURE_DOTPROD] = "asimddp",
        [IR_FEATURE_I8MM] = "i8mm",
        [IR_FEATURE_BF16] = "bf16",
    };
    FILE *file = fopen("/proc/cpuinfo", "r");
    assert_non_null(file);
    char *line = NULL;
    size_t cap = 0;
    bool found = false, is_intel = false;
    while (!found && getline(&line, &cap, file) > 0) is_intel = is_intel || strstr(line, "GenuineIntel"), found = !strncmp(line, "flags", 5) || !strncmp(line, "Features", 8);
    fclose(file);
    assert_true(found);
    IrTarget native = parse("cpu:native");
    for (IrFeature f = 0; f < IR_FEATURE_COUNT; f++) {
        assert_non_null(linux_names[f]);
        assert_int_equal(hd_cpu_has(ir_feature_name(f)), line_has_word(line, linux_names[f]));
        assert_int_equal(ir_target_has(&native, f), hd_cpu_gains(ir_feature_name(f)));
        bool slow = f == IR_FEATURE_AVX512BF16 && is_intel;
        assert_int_equal(hd_cpu_gains(ir_feature_name(f)), hd_cpu_has(ir_feature_name(f)) && !slow);
    }
    free(line);
    assert_false(hd_cpu_has("mmx"));
    assert_null(strstr(native.name, "native"));
    assert_int_equal(parse(native.name).features, native.features);
}

static void test_groups(void **state) {
    (void)state;
    for (IrGroup g = 0; g < IR_GROUP_COUNT; g++) {
        IrGroup found;
        assert_true(ir_group_named(ir_group_name(g), &found));
        assert_int_equal(found, g);
        assert_true(strlen(ir_group_doc(g)) > 0);
    }
    IrGroup unused;
    assert_false(ir_group_named("everything", &unused));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical), cmocka_unit_test(test_longest), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_gpus), cmocka_unit_test(test_features_text), cmocka_unit_test(test_machine), cmocka_unit_test(test_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
