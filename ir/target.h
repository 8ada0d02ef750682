// SPDX-License-Identifier: Apache-2.0
// Compilation targets (target.c): "cpu:native", "cpu:x86-64-v3", "cpu:znver4", "cpu:x86-64-v3+avxvnni-f16c", "cpu:neoverse-n1";
// "vulkan"; "cuda:sm_90", "cuda:compute_80"; for tests "cpu:emulated-cuda", "cpu:emulated-cuda-75" and "cuda:emulated".
#ifndef HEDDLE_TARGET_H
#define HEDDLE_TARGET_H

#include "../runtime/base/core.h"   // relative, since this header is installed for passes of one's own

typedef enum IrIsa {
#define IR_ISA(name, text, least, triple, emulation) IR_ISA_##name,
#include "targets.def"
#undef IR_ISA
} IrIsa;

typedef enum IrFeature {
#define IR_FEATURE(name, isa, text, doc) IR_FEATURE_##name,
#include "targets.def"
#undef IR_FEATURE
    IR_FEATURE_COUNT
} IrFeature;

typedef enum IrGroup {
#define IR_GROUP(name, text, doc) IR_GROUP_##name,
#include "targets.def"
#undef IR_GROUP
    IR_GROUP_COUNT
} IrGroup;

typedef enum IrBackend { IR_CPU, IR_VULKAN, IR_CUDA, IR_EMULATED, IR_STAND_IN } IrBackend;   // the last two: CUDA kernels on the host

// Columns of a row that a work group of any GPU can keep beside its sums: Vulkan promises 16 KiB of shared memory.
enum { IR_GPU_MOST_NORMED = 3072 };
// The same of a quantised row on CUDA, which has 48 KiB.
enum { IR_CUDA_MOST_QUANTISED = 28672 };
enum { IR_GPU_MOST_LANES = 256 };    // of a work group
enum { IR_GPU_RUN = 64 };            // columns of a product's row of which a work group finds the largest

typedef struct IrTarget {
    IrBackend backend;
    char name[160];          // canonical: "cpu:znver4", "cpu:x86-64-v3+avxvnni"; native is stored as what it resolved to
    // of a GPU that is known (--target @FILE); NULL, 0: any of its kind
    const char *device;
    uint32_t most_lanes, most_shared;    // of a work group: lanes, bytes of shared memory; 0: not known
    uint64_t most_buffer;                // bytes of a buffer; 0: not known
    int arch;                // CUDA: 90 for sm_90; emulated: which form of the kernels
    bool ptx;                // CUDA: code for compute_90, which the driver compiles for that and newer ones
    // of the CPU:
    IrIsa isa;
    const char *llvm_cpu;    // for LLVM's target-cpu: the best level of the instruction set that `features` hold, so that nothing else is emitted
    const char *tune_cpu;    // for LLVM's tune-cpu: whose latencies the scheduler assumes
    uint64_t features;       // bit IrFeature
} IrTarget;

static inline bool ir_target_has(const IrTarget *target, IrFeature feature) { return target->features >> feature & 1; }
// a * b + c rounded once, as an instruction?
static inline bool ir_target_has_fma(const IrTarget *target) {
    return target->isa == IR_ISA_AARCH64 || ir_target_has(target, IR_FEATURE_FMA);
}
// What the instruction set calls products of bf16 pairs.
static inline IrFeature ir_target_bf16_feature(const IrTarget *target) {
    return target->isa == IR_ISA_AARCH64 ? IR_FEATURE_BF16 : IR_FEATURE_AVX512BF16;
}
static inline bool ir_target_is_gpu(const IrTarget *target) { return target->backend != IR_CPU; }
// Are the kernels CUDA C, wherever they run?
static inline bool ir_target_is_cuda(const IrTarget *target) { return ir_target_is_gpu(target) && target->backend != IR_VULKAN; }
// Parses a target; "cpu:native" asks the machine. Errors (USAGE) list the valid names.
HD_MUST_USE HdStatus *ir_target_parse(const char *text, IrTarget *out_target);
// The processor that has these features and no others; UNSUPPORTED: it is neither x86-64-v2 nor aarch64.
HD_MUST_USE HdStatus *ir_target_of_features(uint64_t features, IrTarget *out_target);
// LLVM's feature string: "+avx2,-avx512f,..." for every feature of the target's instruction set.
void ir_target_llvm_features(const IrTarget *target, HdBuf *out_text);
// As LLVM and lld name the instruction set: "x86_64-unknown-linux-gnu", "elf_x86_64".
const char *ir_isa_triple(IrIsa isa);
const char *ir_isa_emulation(IrIsa isa);
// The features of an instruction set, each behind a space.
void ir_isa_features(IrIsa isa, HdBuf *out_text);
const char *ir_feature_name(IrFeature feature);
bool ir_feature_named(HdStr name, IrFeature *out_feature);   // of any instruction set
const char *ir_group_name(IrGroup group);
const char *ir_group_doc(IrGroup group);
bool ir_group_named(const char *name, IrGroup *out_group);
struct IrOp;
// What a fused operation is, once partition has decided; false: not yet, or no fused operation.
bool ir_op_group(const struct IrOp *op, IrGroup *out_group);
// Stages after a group's own in which it still reads its operands.
int32_t ir_group_later(const IrTarget *target, IrGroup group);
// The cpu names of the table, for `heddle targets`; NULL after the last.
const char *ir_target_cpu_name(size_t index);

#endif
