// SPDX-License-Identifier: Apache-2.0
// From a SIMT kernel to what the module holds of it.
#include "codegen/simt/emit.h"

static HdStatus *dump(const char *prefix, const char *suffix, const HdBuf *bytes) {
    HdBuf path = {0};
    if (!prefix) return NULL;
    hd_buf_printf(&path, "%s%s", prefix, suffix);
    HdStatus *status = hd_write_file(path.data, bytes->data, bytes->len);
    hd_buf_free(&path);
    return status;
}

// What a language needs: source text, machine code, and the endings of their files.
typedef struct Route {
    HdStatus *(*print)(const KirFn *fn, HdBuf *out_text);
    HdStatus *(*compile)(const char *name, const IrTarget *target, const HdBuf *source, HdBuf *out_code);
    const char *source, *code;
} Route;

static HdStatus *compile_glsl(const char *name, const IrTarget *target, const HdBuf *source, HdBuf *out_code) {
    (void)target;
    return simt_compile_glsl(name, source, out_code);
}

HdStatus *simt_emit(const KirFn *fn, const IrTarget *target, const char *dump_prefix, HdBuf *out_code) {
    const Route vulkan = {simt_print_glsl, compile_glsl, ".comp", ".spv"};
    const Route cuda = {simt_print_cuda, simt_compile_cuda, ".cu", target->ptx ? ".ptx" : ".cubin"};
    const Route *route = target->backend == IR_CUDA ? &cuda : &vulkan;
    HdBuf text = {0}, source = {0};
    kir_print(fn, &text);
    HdStatus *status = dump(dump_prefix, ".hkr", &text);
    if (!status) status = route->print(fn, &source);
    if (!status) status = dump(dump_prefix, route->source, &source);
    if (!status && !out_code->len) status = route->compile(kir_name(fn), target, &source, out_code);
    if (!status) status = dump(dump_prefix, route->code, out_code);
    hd_buf_free(&text);
    hd_buf_free(&source);
    return status;
}
