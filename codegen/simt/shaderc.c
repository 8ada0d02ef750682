// SPDX-License-Identifier: Apache-2.0
// GLSL to SPIR-V, in this process.
#include "codegen/simt/emit.h"

#include <shaderc/shaderc.h>
#include <string.h>

// The first line of the compiler's output, which names the line of the shader.
static HdStatus *failed(const char *name, const char *message) {
    return hd_error(HD_INTERNAL, "kernel %s: its GLSL does not compile: %.*s", name, (int)strcspn(message, "\n"), message);
}

HdStatus *simt_compile_glsl(const char *name, const HdBuf *text, HdBuf *out_spirv) {
    shaderc_compiler_t compiler = shaderc_compiler_initialize();
    shaderc_compile_options_t options = shaderc_compile_options_initialize();
    if (!compiler || !options) return hd_error(HD_INTERNAL, "shaderc cannot be started");
    shaderc_compile_options_set_target_env(options, shaderc_target_env_vulkan, shaderc_env_version_vulkan_1_2);
    shaderc_compile_options_set_optimization_level(options, shaderc_optimization_level_performance);
    shaderc_compilation_result_t result =
        shaderc_compile_into_spv(compiler, text->data, text->len, shaderc_compute_shader, name, "main", options);
    HdStatus *status = NULL;
    if (shaderc_result_get_compilation_status(result) == shaderc_compilation_status_success)
        hd_buf_bytes(out_spirv, shaderc_result_get_bytes(result), shaderc_result_get_length(result));
    else status = failed(name, shaderc_result_get_error_message(result));
    shaderc_result_release(result);
    shaderc_compile_options_release(options);
    shaderc_compiler_release(compiler);
    return status;
}
