// SPDX-License-Identifier: Apache-2.0
// What the compiler compiles for, and what of it the devices of this machine run.
#include "cli/compiler.h"

#include "cli/device_target.h"
#include "codegen/codegen.h"
#include "runtime/cpu_features.h"
#include "runtime/device/facts.h"

typedef struct Devices { const RtFacts *list; uint32_t count; } Devices;

static bool runs(const RtFacts *facts, RtDeviceKind type) { return facts->type == type && facts->name[0] && !facts->lacks[0]; }

static void put(HdBuf *out, bool here, const char *target, const char *text) { hd_buf_printf(out, "%c %-21s %s\n", here ? '*' : ' ', target, text); }

// ---- processors ----------------------------------------------------------------------------------------------

static bool runs_here(const IrTarget *target)
{
    for (int i = 0; i < IR_FEATURE_COUNT; i++)
        if (ir_target_has(target, (IrFeature)i) && !hd_cpu_has(ir_feature_name((IrFeature)i))) return false;
    return true;
}

static void list_processors(HdBuf *out)
{
    IrTarget target;
    const char *name;
    HdStatus *status = ir_target_parse("cpu:native", &target);
    if (!status) hd_buf_printf(out, "* cpu:native            this machine: %s\n", target.name);
    hd_status_free(status);
    for (size_t i = 0; (name = ir_target_cpu_name(i)); i++) {
        char text[160];
        snprintf(text, sizeof text, "cpu:%s", name);
        status = ir_target_parse(text, &target);
        if (!status) put(out, runs_here(&target), text, runs_here(&target) ? "runs on this machine" : "runs on others: compile here, run there");
        hd_status_free(status);
    }
}

// ---- GPUs ----------------------------------------------------------------------------------------------------

static void list_vulkan(const Devices *devices, HdBuf *out)
{
    HdBuf text = {0};
    bool here = false;
    hd_buf_str(&text, "Vulkan 1.2 with buffer addresses");
    for (uint32_t i = 0; i < devices->count; i++) {
        if (!runs(&devices->list[i], RT_KIND_VULKAN)) continue;
        hd_buf_printf(&text, "%s %s", here ? "," : "; this machine:", devices->list[i].name);
        here = true;
    }
    put(out, here, "vulkan", text.data);
    hd_buf_free(&text);
}

static void list_cuda_devices(const Devices *devices, HdBuf *out)
{
    for (uint32_t i = 0; i < devices->count; i++) {
        IrTarget target;
        char text[600];
        if (!runs(&devices->list[i], RT_KIND_CUDA)) continue;
        HdStatus *status = cg_cuda_target(devices->list[i].capability, &target);
        snprintf(text, sizeof text, "this machine: %s", devices->list[i].name);
        if (!status) put(out, true, target.name, text);
        hd_status_free(status);
    }
}

static void list_cuda(const Devices *devices, HdBuf *out)
{
    int archs[CG_MOST_CUDA_ARCHS];
    uint32_t count = 0;
    HdBuf text = {0};
    HdStatus *status = cg_cuda_archs(archs, &count);
    hd_buf_str(&text, "machine code for one architecture, cuda:compute_N PTX for it and newer ones; ");
    if (status) hd_buf_printf(&text, "not now: %s", hd_status_message(status));
    for (uint32_t i = 0; i < count; i++) hd_buf_printf(&text, "%s%d", i ? " " : "N: ", archs[i]);
    put(out, false, "cuda:sm_N", text.data);
    if (!status) list_cuda_devices(devices, out);
    hd_status_free(status);
    hd_buf_free(&text);
}

void heddle_list_targets(const RtFacts *list, uint32_t count, HdBuf *out_text)
{
    const Devices devices = {list, count};
    list_processors(out_text);
    hd_buf_str(out_text, "  cpu:NAME+FEATURE-FEATURE adds and removes features, of x86-64:");
    ir_isa_features(IR_ISA_X86_64, out_text);
    hd_buf_str(out_text, "; of aarch64:");
    ir_isa_features(IR_ISA_AARCH64, out_text);
    hd_buf_str(out_text, "\n");
    list_vulkan(&devices, out_text);
    list_cuda(&devices, out_text);
    put(out_text, false, "@FILE.json", "a device of any machine that `heddle devices --save FILE.json` described there");
    put(out_text, false, "cpu:emulated-cuda", "CUDA's kernels as C++ on this machine, for tests; cuda:emulated: over a stand-in for the driver");
}
