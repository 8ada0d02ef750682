// SPDX-License-Identifier: Apache-2.0
// Compilation targets: "cpu:NAME[+feature|-feature]...". A parsed target has one canonical spelling, the one a module stores: the
// named cpu, then every difference from it in the order of the table.
#include "ir/target.h"
#include "ir/graph.h"

#include "runtime/base/base.h"
#include "runtime/cpu_features.h"

#include <string.h>

#define F(name) (UINT64_C(1) << IR_FEATURE_##name)

static const struct { const char *name; IrFeature least; const char *triple, *emulation; } isas[] = {
#define IR_ISA(name, text, least, triple, emulation) {text, IR_FEATURE_##least, triple, emulation},
#include "ir/targets.def"
#undef IR_ISA
};

static const struct { const char *name; IrIsa isa; } feature_rows[] = {
#define IR_FEATURE(name, isa, text, doc) {text, IR_ISA_##isa},
#include "ir/targets.def"
#undef IR_FEATURE
};

// What an extension needs besides itself; adding it adds these, removing one of these removes it. No processor has the byte and
// bf16 extensions of AVX-512 without BW and VL, or i8mm without dotprod, and the emitter relies on it.
static const uint64_t prerequisites[IR_FEATURE_COUNT] = {
    [IR_FEATURE_AVX] = F(SSE42),
    [IR_FEATURE_AVX2] = F(AVX),
    [IR_FEATURE_FMA] = F(AVX),
    [IR_FEATURE_F16C] = F(AVX),
    [IR_FEATURE_AVX512F] = F(AVX2) | F(FMA) | F(F16C),
    [IR_FEATURE_AVX512BW] = F(AVX512F),
    [IR_FEATURE_AVX512VL] = F(AVX512F),
    [IR_FEATURE_AVX512DQ] = F(AVX512F),
    [IR_FEATURE_AVX512CD] = F(AVX512F),
    [IR_FEATURE_AVX512VNNI] = F(AVX512BW) | F(AVX512VL),
    [IR_FEATURE_AVX512BF16] = F(AVX512BW) | F(AVX512VL),
    [IR_FEATURE_AVX512VBMI] = F(AVX512BW) | F(AVX512VL),
    [IR_FEATURE_AVXVNNI] = F(AVX2),
    [IR_FEATURE_DOTPROD] = F(NEON),
    [IR_FEATURE_I8MM] = F(DOTPROD),
    [IR_FEATURE_BF16] = F(NEON),
};

typedef struct Cpu { IrIsa isa; const char *name, *tune; uint64_t features; } Cpu;
static const Cpu cpus[] = {
#define IR_CPU(isa, text, llvm, features) {IR_ISA_##isa, text, llvm, features},
#include "ir/targets.def"
#undef IR_CPU
};

// The levels of the x86-64 psABI, best first, and the one of aarch64: what native is resolved to, and what LLVM is told as its target-cpu.
static const char *const levels[] = {"x86-64-v4", "x86-64-v3", "x86-64-v2", "aarch64"};

static const struct { const char *name, *doc; } groups[] = {
#define IR_GROUP(name, text, doc) {text, doc},
#include "ir/targets.def"
#undef IR_GROUP
};

const char *ir_isa_triple(IrIsa isa) { return isas[isa].triple; }
const char *ir_isa_emulation(IrIsa isa) { return isas[isa].emulation; }
const char *ir_feature_name(IrFeature feature) { return feature_rows[feature].name; }
const char *ir_group_name(IrGroup group) { return groups[group].name; }
const char *ir_group_doc(IrGroup group) { return groups[group].doc; }
const char *ir_target_cpu_name(size_t index) { return index < HD_COUNT(cpus) ? cpus[index].name : NULL; }

int32_t ir_group_later(const IrTarget *target, IrGroup group) {
    static const int32_t later[IR_GROUP_COUNT] = {
#define IR_LATER(group, stages) [IR_GROUP_##group] = (stages),
#include "ir/targets.def"
#undef IR_LATER
    };
    return ir_target_is_gpu(target) ? later[group] : 0;
}

void ir_isa_features(IrIsa isa, HdBuf *out_text) {
    for (IrFeature f = 0; f < IR_FEATURE_COUNT; f++)
        if (feature_rows[f].isa == isa) hd_buf_printf(out_text, " %s", feature_rows[f].name);
}

static bool feature_named(IrIsa isa, HdStr name, IrFeature *out_feature) {
    for (IrFeature f = 0; f < IR_FEATURE_COUNT; f++)
        if (feature_rows[f].isa == isa && hd_str_is(name, feature_rows[f].name)) return *out_feature = f, true;
    return false;
}

bool ir_feature_named(HdStr name, IrFeature *out_feature) {
    for (IrIsa isa = 0; isa < (IrIsa)HD_COUNT(isas); isa++)
        if (feature_named(isa, name, out_feature)) return true;
    return false;
}

bool ir_op_group(const IrOp *op, IrGroup *out_group) {
    return op->attr_mask >> IR_ATTR_KIND & 1 && ir_group_named(op->attr[IR_ATTR_KIND].name, out_group);
}

bool ir_group_named(const char *name, IrGroup *out_group) {
    for (size_t i = 0; i < IR_GROUP_COUNT; i++)
        if (!strcmp(groups[i].name, name)) return *out_group = (IrGroup)i, true;
    return false;
}

static const Cpu *cpu_named(HdStr name) {
    for (size_t i = 0; i < HD_COUNT(cpus); i++)
        if (hd_str_is(name, cpus[i].name)) return &cpus[i];
    return NULL;
}

// The best level all of whose features are there; NULL: none.
static const Cpu *best_level(uint64_t features) {
    for (size_t i = 0; i < HD_COUNT(levels); i++) {
        const Cpu *level = cpu_named(hd_str(levels[i]));
        if (!(level->features & ~features)) return level;
    }
    return NULL;
}

static uint64_t feature_add(uint64_t features, IrFeature feature) {
    features |= UINT64_C(1) << feature;
    for (IrFeature need = 0; need < IR_FEATURE_COUNT; need++)
        if ((prerequisites[feature] & ~features) >> need & 1) features = feature_add(features, need);
    return features;
}

static uint64_t feature_remove(uint64_t features, IrFeature feature) {
    features &= ~(UINT64_C(1) << feature);
    for (IrFeature user = 0; user < IR_FEATURE_COUNT; user++)
        if ((features >> user & 1) && (prerequisites[user] >> feature & 1)) features = feature_remove(features, user);
    return features;
}

// A hypervisor may hide a prerequisite only.
static uint64_t usable(uint64_t features) {
    for (IrFeature f = 0; f < IR_FEATURE_COUNT; f++)
        if ((features >> f & 1) && (prerequisites[f] & ~features)) features = feature_remove(features, f);
    return features;
}

static uint64_t machine_features(void) {
    uint64_t features = 0;
    for (IrFeature f = 0; f < IR_FEATURE_COUNT; f++)
        if (hd_cpu_gains(feature_rows[f].name)) features |= UINT64_C(1) << f;
    return usable(features);
}

// ---- parsing -------------------------------------------------------------------------------------------------

static HdStatus *unknown_cpu(const char *text) {
    HdBuf names = {0};
    for (size_t i = 0; i < HD_COUNT(cpus); i++) hd_buf_printf(&names, " cpu:%s", cpus[i].name);
    HdStatus *status = hd_error(HD_USAGE, "unknown target \"%s\"; targets: vulkan, cuda:sm_75 and newer, cuda:compute_75 and newer, "
                                "cpu:native%s, each of these with +FEATURE or -FEATURE", text, names.data);
    hd_buf_free(&names);
    return status;
}

static HdStatus *unknown_feature(const char *text, IrIsa isa, HdStr name) {
    HdBuf names = {0};
    ir_isa_features(isa, &names);
    HdStatus *status = hd_error(HD_USAGE, "target \"%s\": unknown feature \"" HD_STR_FMT "\"; features of %s:%s", text,
                                HD_STR_ARG(name), isas[isa].name, names.data);
    hd_buf_free(&names);
    return status;
}

static bool ends_name(char c) { return !c || c == '+' || c == '-'; }

// The longest name that `text` starts with: names hold minus signs themselves.
static const Cpu *cpu_prefix(const char *text, size_t *out_len) {
    const Cpu *best = NULL;
    *out_len = 0;
    for (size_t i = 0; i < HD_COUNT(cpus); i++) {
        size_t len = strlen(cpus[i].name);
        if (len > *out_len && !strncmp(text, cpus[i].name, len) && ends_name(text[len])) best = &cpus[i], *out_len = len;
    }
    return best;
}

static HdStatus *no_level(void) {
    return hd_error(HD_UNSUPPORTED, "the processor is neither x86-64-v2 nor aarch64");
}

static HdStatus *parse_base(const char *text, const char **cursor, const Cpu **out_cpu, uint64_t *out_features) {
    size_t len = strlen("native");
    if (!strncmp(*cursor, "native", len) && ends_name((*cursor)[len])) {
        *out_features = machine_features();
        *out_cpu = best_level(*out_features);
        if (!*out_cpu) return hd_annotate(no_level(), "target \"%s\"", text);
    } else {
        *out_cpu = cpu_prefix(*cursor, &len);
        if (!*out_cpu) return unknown_cpu(text);
        *out_features = (*out_cpu)->features;
    }
    *cursor += len;
    return NULL;
}

// A run of +feature and -feature, applied from left to right.
static HdStatus *parse_changes(const char *text, const char *cursor, IrIsa isa, uint64_t *features) {
    while (*cursor) {
        bool add = *cursor++ == '+';
        HdStr name = {cursor, strcspn(cursor, "+-")};
        IrFeature feature;
        if (!feature_named(isa, name, &feature)) return unknown_feature(text, isa, name);
        if (!add && feature == isas[isa].least)
            return hd_error(HD_USAGE, "target \"%s\": %s is the least this compiler emits and cannot be removed", text, feature_rows[feature].name);
        *features = add ? feature_add(*features, feature) : feature_remove(*features, feature);
        cursor += name.len;
    }
    return NULL;
}

static void canonical_name(const Cpu *cpu, IrTarget *target) {
    HdBuf name = {0};
    hd_buf_printf(&name, "cpu:%s", cpu->name);
    for (IrFeature f = 0; f < IR_FEATURE_COUNT; f++)
        if ((cpu->features ^ target->features) >> f & 1)
            hd_buf_printf(&name, "%c%s", ir_target_has(target, f) ? '+' : '-', feature_rows[f].name);
    HD_ASSERT(name.len < sizeof target->name);
    memcpy(target->name, name.data, name.len + 1);
    hd_buf_free(&name);
}

static IrTarget cpu_target(const Cpu *cpu, uint64_t features) {
    IrTarget target = {.isa = cpu->isa, .features = features, .llvm_cpu = best_level(features)->tune, .tune_cpu = cpu->tune};
    canonical_name(cpu, &target);
    return target;
}

// What every module for Vulkan may use: version 1.2 with buffer addresses and small integers (docs/MODULE_FORMAT.md).
static const IrTarget vulkan = {.backend = IR_VULKAN, .name = "vulkan:1.2"};

// The kernels of CUDA as C++ for this machine: slow, and only for tests.
static const IrTarget emulated = {.backend = IR_EMULATED, .name = "cpu:emulated-cuda", .arch = 80};
static const IrTarget emulated_75 = {.backend = IR_EMULATED, .name = "cpu:emulated-cuda-75", .arch = 75};   // without tensor cores

// The same for the CUDA device over a stand-in for the driver, that is, for tests of the device.
static const IrTarget stand_in = {.backend = IR_STAND_IN, .name = "cuda:emulated", .arch = 80};

// "sm_90" or "compute_80", as NVIDIA writes architectures; 75 (Turing) is the oldest.
static HdStatus *parse_cuda(const char *text, IrTarget *out_target) {
    const char *name = text + strlen("cuda:");
    bool ptx = !strncmp(name, "compute_", 8);
    int64_t arch = 0;
    bool known = (ptx || !strncmp(name, "sm_", 3)) && hd_parse_i64(hd_str(strchr(name, '_') + 1), &arch) && arch >= 75 && arch < 1000;
    if (!known) return hd_error(HD_USAGE, "unknown target \"%s\"; cuda:sm_75 and newer, or cuda:compute_75 and newer for PTX", text);
    *out_target = (IrTarget){.backend = IR_CUDA, .arch = (int)arch, .ptx = ptx};
    snprintf(out_target->name, sizeof out_target->name, "cuda:%s_%d", ptx ? "compute" : "sm", (int)arch);
    return NULL;
}

HdStatus *ir_target_parse(const char *text, IrTarget *out_target) {
    if (!strcmp(text, "vulkan") || !strcmp(text, vulkan.name)) return *out_target = vulkan, NULL;
    if (!strcmp(text, stand_in.name)) return *out_target = stand_in, NULL;
    if (!strncmp(text, "cuda:", 5)) return parse_cuda(text, out_target);
    if (!strcmp(text, emulated.name)) return *out_target = emulated, NULL;
    if (!strcmp(text, emulated_75.name)) return *out_target = emulated_75, NULL;
    if (strncmp(text, "cpu:", 4)) return unknown_cpu(text);
    const char *cursor = text + 4;
    const Cpu *cpu;
    uint64_t features;
    HD_TRY(parse_base(text, &cursor, &cpu, &features));
    HD_TRY(parse_changes(text, cursor, cpu->isa, &features));
    *out_target = cpu_target(cpu, features);
    return NULL;
}

HdStatus *ir_target_of_features(uint64_t features, IrTarget *out_target) {
    features = usable(features);
    const Cpu *level = best_level(features);
    if (!level) return no_level();
    *out_target = cpu_target(level, features);
    return NULL;
}

void ir_target_llvm_features(const IrTarget *target, HdBuf *out_text) {
    const char *separator = "";
    for (IrFeature f = 0; f < IR_FEATURE_COUNT; f++) {
        if (feature_rows[f].isa != target->isa) continue;
        hd_buf_printf(out_text, "%s%c%s", separator, ir_target_has(target, f) ? '+' : '-', feature_rows[f].name);
        separator = ",";
    }
}
