// SPDX-License-Identifier: Apache-2.0
// heddle inspect: what is in a module or a GGUF file.
#include "cli/cli.h"
#include "runtime/device/cubin.h"
#include "runtime/module.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// ---- GGUF files ------------------------------------------------------------------------------------------------

static void print_value(const GgufValue *value)
{
    int64_t integer;
    double number;
    if (value->type == GGUF_ARRAY) {
        printf("%s[%" PRIu64 "]", gguf_value_type_name(value->elem_type), value->count);
    } else if (value->type == GGUF_STRING) {
        uint64_t len;
        memcpy(&len, value->data, sizeof len);
        printf("\"%.*s\"%s", (int)HD_MIN(len, 80), (const char *)value->data + 8, len > 80 ? " .." : "");
    } else if (gguf_scalar_i64(value, &integer)) {
        printf("%" PRId64, integer);
    } else if (gguf_scalar_f64(value, &number)) {
        printf("%g", number);
    }
}

static void print_tensor(const GgufTensor *tensor)
{
    char shape[96];
    int at = 0;
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        at += snprintf(shape + at, sizeof shape - (size_t)at, "%s%" PRIu64, i ? ", " : "", tensor->ne[i]);
    printf("  %-42.*s %-8s [%s]  %" PRIu64 " bytes\n", (int)tensor->name.len, tensor->name.data, tensor->type->name, shape,
           tensor->bytes);
}

static void inspect_gguf(const CliOptions *options, const GgufFile *file)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < gguf_key_count(file); i++) {
        const GgufValue *value = gguf_key_at(file, i);
        printf("%.*s = ", (int)value->key.len, value->key.data);
        print_value(value);
        printf("\n");
    }
    for (size_t i = 0; i < gguf_tensor_count(file); i++) bytes += gguf_tensor_at(file, i)->bytes;
    printf("%zu tensors, %" PRIu64 " bytes, %u file(s)\n", gguf_tensor_count(file), bytes, gguf_part_count(file));
    for (size_t i = 0; options->tensors && i < gguf_tensor_count(file); i++) print_tensor(gguf_tensor_at(file, i));
}

// ---- modules ---------------------------------------------------------------------------------------------------

// The one that all else is about has a star.
static void print_variants(const HeddleModule *module)
{
    printf("variants      %u, of which a machine takes the first that it runs\n", module->variant_count);
    for (uint32_t i = 0; i < module->variant_count; i++) {
        const RtVariant *variant = &module->variants[i];
        printf("%c %u           %-20s %s%s\n", i + 1 == module->info.variant ? '*' : ' ', i + 1, variant->target,
               variant->lacks[0] ? "this machine lacks " : "runs here", variant->lacks);
    }
}

static void print_module(const HeddleModule *module, const HeddleModuleInfo *info)
{
    printf("module        %s\n", info->path);
    if (module->variant_count > 1) print_variants(module);
    printf("digest        %s\nmodel         %s %s\nfingerprint   %s\n", info->digest, info->architecture, info->name,
           info->fingerprint);
    printf("target        %s\nnumerics      %s\nkv type       %s\nproducer      %s\npipeline      %s\n", info->target,
           info->numerics, info->kv_type, info->producer, info->pipeline);
    printf("vocabulary    %u\ncontext       %u\nper step      %u tokens, %u slots, %u logit rows\n", info->vocab,
           info->context_length, info->tokens_per_step, info->slots_per_step, info->rows_per_step);
    printf("kernels       %u, %" PRIu64 " bytes\nweights       %u, %" PRIu64 " bytes packed at load\nstates        %u\n",
           info->kernels, info->object_bytes, info->weights, info->packed_bytes, info->states);
}

static void print_tensors(const HeddleModule *module)
{
    printf("\nweights\n");
    for (uint32_t i = 0; i < module->weight_count; i++) {
        const RtWeight *weight = &module->weights[i];
        const RtTensor *tensor = &module->tensors[weight->tensor];
        printf("  %-42s %-8s %-7s %" PRIu64 " bytes\n", tensor->name, tensor->type->name, weight->layout,
               weight->packed_bytes ? weight->packed_bytes : tensor->bytes);
    }
    printf("\nstates\n");
    for (uint32_t i = 0; i < module->state_count; i++) {
        const RtState *state = &module->states[i];
        printf("  %-42s %-8s %-7s %" PRIu64 " bytes per %s\n", state->name, state->type, state->kind, state->row_bytes,
               state->append_only ? "position" : "plane");
    }
}

// What a GPU needs for each kernel; - where only its driver knows.
static void print_needs(const HeddleModule *module)
{
    printf("\nkernels        lanes  registers  shared  local       code\n");
    for (uint32_t k = 0; k < module->kernel_count; k++) {
        const RtKernel *kernel = &module->kernels[k];
        char registers[16] = "-", local[16] = "-";
        CubinUse use;
        if (rt_cubin_use(module->object + kernel->offset, kernel->bytes, kernel->name, &use)) {
            snprintf(registers, sizeof registers, "%u", use.registers);
            snprintf(local, sizeof local, "%u", use.local_bytes);
        }
        printf("              %6u %10s %7u %6s %10" PRIu64 "  %s\n", kernel->lanes, registers, kernel->shared, local, kernel->bytes, kernel->name);
    }
}

// How often a step class launches each kernel.
static void print_kernels(const HeddleModule *module)
{
    for (uint32_t c = 0; c < module->class_count; c++) {
        const RtClass *class = &module->classes[c];
        uint32_t *launches = hd_xcalloc(module->kernel_count + 1, sizeof *launches);
        for (uint32_t i = 0; i < class->launch_count; i++) launches[class->launches[i].kernel]++;
        int32_t stages = class->launch_count ? class->launches[class->launch_count - 1].stage + 1 : 0;
        printf("\n@%s: %u launches in %d stages\n", class->name, class->launch_count, stages);
        for (uint32_t k = 0; k < module->kernel_count; k++)
            if (launches[k]) printf("  %5u x %s\n", launches[k], module->kernels[k].name);
        free(launches);
    }
}

static void print_plan(const HeddleModule *module)
{
    printf("\nplan          tokens slots  rows        arena bytes  scratch bytes per thread\n");
    for (uint32_t c = 0; c < module->class_count; c++) {
        const RtClass *class = &module->classes[c];
        printf("  @%-10s %7" PRId64 " %5" PRId64 " %5" PRId64 " %18" PRIu64 " %10u\n", class->name, class->bound.value[RT_T],
               class->bound.value[RT_S], class->bound.value[RT_R], class->arena_bytes, class->scratch);
        for (uint32_t r = 0; r < class->result_count; r++)
            printf("    result %s [%s, %" PRIu64 "] at %" PRIu64 "\n", class->results[r].name,
                   class->results[r].rows == RT_ROWS_TOKENS ? "T" : "R", class->results[r].columns, class->results[r].offset);
    }
}

static HdStatus *inspect_module(const CliOptions *options)
{
    HeddleModule *module;
    HeddleModuleInfo info;
    HD_TRY(rt_module_open_variant(options->operand, options->variant == CLI_UNSET ? 0 : (uint32_t)options->variant, &module));
    heddle_module_info(module, &info);
    if (options->ir) {
        fwrite(info.graph, 1, info.graph_len, stdout);
    } else {
        print_module(module, &info);
        if (options->tensors) print_tensors(module);
        if (options->kernels && rt_module_is_for_gpu(module)) print_needs(module);
        if (options->kernels) print_kernels(module);
        if (options->plan) print_plan(module);
    }
    heddle_module_close(module);
    return NULL;
}

HdStatus *cmd_inspect(CliOptions *options)
{
    GgufFile *file;
    HdStr architecture;
    GgufOptions header_only = {.header_only = true};
    HD_TRY(gguf_open(options->operand, &header_only, &file));
    HdStatus *status = gguf_get_string(file, "general.architecture", &architecture);
    bool is_module = !status && hd_str_is(architecture, RT_ARCHITECTURE);
    hd_status_free(status);
    status = NULL;
    if (is_module) {
        status = inspect_module(options);
    } else if (options->kernels || options->plan || options->ir || options->variant != CLI_UNSET) {
        status = hd_error(HD_USAGE, "%s is a GGUF file of weights: --kernels, --plan, --ir and --variant show what is in a module "
                          "(heddle compile)", options->operand);
    } else {
        inspect_gguf(options, file);
    }
    gguf_close(file);
    return status;
}
