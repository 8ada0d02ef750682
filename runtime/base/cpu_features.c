// SPDX-License-Identifier: Apache-2.0
// Which instruction set extensions can be used. x86-64: cpuid. Bits: Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 2, CPUID; AMD64 Architecture Programmer's Manual, volume 3, appendix E. Wide registers count only when the operating system
// saves them (XCR0). aarch64: what Linux passes to every program (Documentation/arch/arm64/elf_hwcaps.rst).
#include "runtime/cpu_features.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

typedef enum { EAX, EBX, ECX, EDX } Register;
enum { XCR0_NONE = 0, XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6 };   // SSE and AVX state; with opmask, ZMM_Hi256 and Hi16_ZMM

static const struct Feature { const char *name; uint32_t leaf, subleaf; Register reg; uint32_t bit, state; } features[] = {
    {"sse4.2", 1, 0, ECX, 20, XCR0_NONE},
    {"avx", 1, 0, ECX, 28, XCR0_AVX},
    {"avx2", 7, 0, EBX, 5, XCR0_AVX},
    {"fma", 1, 0, ECX, 12, XCR0_AVX},
    {"f16c", 1, 0, ECX, 29, XCR0_AVX},
    {"bmi2", 7, 0, EBX, 8, XCR0_NONE},
    {"avx512f", 7, 0, EBX, 16, XCR0_AVX512},
    {"avx512bw", 7, 0, EBX, 30, XCR0_AVX512},
    {"avx512vl", 7, 0, EBX, 31, XCR0_AVX512},
    {"avx512dq", 7, 0, EBX, 17, XCR0_AVX512},
    {"avx512cd", 7, 0, EBX, 28, XCR0_AVX512},
    {"avx512vnni", 7, 0, ECX, 11, XCR0_AVX512},
    {"avx512bf16", 7, 1, EAX, 5, XCR0_AVX512},
    {"avx512vbmi", 7, 0, ECX, 1, XCR0_AVX512},
    {"avxvnni", 7, 1, EAX, 4, XCR0_AVX},
};

static bool leaf_bit(uint32_t leaf, uint32_t subleaf, Register reg, uint32_t bit) {
    uint32_t r[4] = {0};
    if (!__get_cpuid_count(leaf, subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX])) return false;
    return r[reg] >> bit & 1;
}

static uint32_t saved_state(void) {
    enum { OSXSAVE = 27 };
    if (!leaf_bit(1, 0, ECX, OSXSAVE)) return 0;
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has(const struct Feature *feature) {
    if ((saved_state() & feature->state) != feature->state) return false;
    return leaf_bit(feature->leaf, feature->subleaf, feature->reg, feature->bit);
}

// Intel's cores take two cycles for vdpbf16ps, 64 operations, and do as many by fma in one (Sapphire and Emerald Rapids, measured: 87 against
// 179 GFLOPS). AMD's take one.
static bool gains(const struct Feature *feature) {
    unsigned highest, b, c, d;
    if (strcmp(feature->name, "avx512bf16")) return true;
    return __get_cpuid(0, &highest, &b, &c, &d) && b != signature_INTEL_ebx;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

static const struct Feature { const char *name; unsigned long word, bit; } features[] = {
    {"neon", AT_HWCAP, HWCAP_ASIMD},
    {"dotprod", AT_HWCAP, HWCAP_ASIMDDP},
    {"i8mm", AT_HWCAP2, HWCAP2_I8MM},
    {"bf16", AT_HWCAP2, HWCAP2_BF16},
};

static bool has(const struct Feature *feature) { return getauxval(feature->word) & feature->bit; }
static bool gains(const struct Feature *feature) { return (void)feature, true; }

#else

static const struct Feature { const char *name; } features[] = {{""}};
static bool has(const struct Feature *feature) { return (void)feature, false; }
static bool gains(const struct Feature *feature) { return (void)feature, false; }

#endif

enum { COUNT = sizeof features / sizeof *features };

const char *hd_cpu_feature(size_t index) { return index < COUNT ? features[index].name : NULL; }

static const struct Feature *find(const char *name) {
    for (size_t i = 0; i < COUNT; i++)
        if (!strcmp(features[i].name, name)) return &features[i];
    return NULL;
}

bool hd_cpu_has(const char *feature) {
    const struct Feature *found = find(feature);
    return found && has(found);
}

bool hd_cpu_gains(const char *feature) { return hd_cpu_has(feature) && gains(find(feature)); }

void hd_cpu_name(char *out_text, size_t size) {
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(out_text, size, "CPU");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        snprintf(out_text, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (file) fclose(file);
}
