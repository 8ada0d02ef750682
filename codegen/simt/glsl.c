// SPDX-License-Identifier: Apache-2.0
// GLSL for Vulkan. Floats are declared `precise`, so that nothing is contracted or reassociated.
#include "codegen/simt/emit.h"

static const SimtDialect glsl = {
    .name = "GLSL",
    .types = {[KIR_I1] = {"bool", "bool", NULL, NULL},
              [KIR_I8] = {"int8_t", "uint8_t", "I8($0).v", "I8($0).v = $1"},
              [KIR_I16] = {"int16_t", "uint16_t", "I16($0).v", "I16($0).v = $1"},
              [KIR_I32] = {"int", "uint", "I32($0).v", "I32($0).v = $1"},
              [KIR_I64] = {"int64_t", "uint64_t", "I64($0).v", "I64($0).v = $1"},
              [KIR_F32] = {"float", "float", "F32($0).v", "F32($0).v = $1"},
              [KIR_PTR] = {"uint64_t", "uint64_t", "Ptr($0).v", "Ptr($0).v = $1"}},
    .words = {SIMT_COMMON_WORDS,
              SIMT_OP(shl, "$T($0 << $1)", NULL),
              SIMT_OP(fma, NULL, "fma($0, $1, $2)"),
              SIMT_OP(fma_exact, NULL, "fma($0, $1, $2)"),
              SIMT_OP(abs, NULL, "abs($0)"),
              SIMT_OP(sqrt, NULL, "sqrt($0)"),
              SIMT_OP(rint, NULL, "roundEven($0)"),
              SIMT_OP(floor, NULL, "floor($0)"),
              SIMT_OP(bitcast, "intBitsToFloat($0)", "floatBitsToInt($0)"),
              SIMT_OP(f16_f32, "unpackHalf2x16(uint(uint16_t($0))).x", NULL),
              SIMT_OP(bf16_f32, "uintBitsToFloat(uint(uint16_t($0)) << 16)", NULL),
              SIMT_OP(offset, "$0 + uint64_t($1)", NULL),
              SIMT_OP(lane, "int64_t(gl_LocalInvocationID.x)", NULL),
              SIMT_OP(group, "int64_t(gl_WorkGroupID.x)", NULL),
              SIMT_OP(groups, "int64_t(gl_NumWorkGroups.x)", NULL),
              SIMT_OP(barrier, "memoryBarrier(), barrier()", NULL),
              SIMT_OP(shared_load, "$0[uint($1)]", "$0[uint($1)]"),
              SIMT_OP(shared_store, "$0[uint($1)] = $2", "$0[uint($1)] = $2"),
              SIMT_OP(dot_i8, "dot_i8($0, $1, $2)", NULL),
              SIMT_OP(copy_async, "for (uint w = 0; w < 4; w++) $0[uint($1) + w] = I32(($2) + uint64_t(4 * w)).v", NULL),
              SIMT_OP(copy_commit, "", NULL),
              SIMT_OP(copy_wait, "", NULL)},
    .declare_float = "precise ",
    .argument = "Ptr(push.args + %u * 8).v",
    .scratch = "push.scratch + uint64_t(gl_WorkGroupID.x) * Ptr(push.args + %u * 8).v",
    .float_bits = "uintBitsToFloat(0x%08xu)",
};

static const char prologue[] =
    "#version 460\n"
    "#extension GL_EXT_buffer_reference : require\n"
    "#extension GL_EXT_scalar_block_layout : require\n"
    "#extension GL_EXT_shader_explicit_arithmetic_types : require\n"
    "#extension GL_EXT_shader_8bit_storage : require\n"
    "#extension GL_EXT_shader_16bit_storage : require\n";

static const char declarations[] =
    "layout(buffer_reference, scalar, buffer_reference_align = 1) buffer I8 { int8_t v; };\n"
    "layout(buffer_reference, scalar, buffer_reference_align = 2) buffer I16 { int16_t v; };\n"
    "layout(buffer_reference, scalar, buffer_reference_align = 4) buffer I32 { int v; };\n"
    "layout(buffer_reference, scalar, buffer_reference_align = 4) buffer F32 { float v; };\n"
    "layout(buffer_reference, scalar, buffer_reference_align = 8) buffer I64 { int64_t v; };\n"
    "layout(buffer_reference, scalar, buffer_reference_align = 8) buffer Ptr { uint64_t v; };\n"
    "layout(push_constant, scalar) uniform Push { uint64_t args; int64_t begin, end; uint64_t scratch; } push;\n";

static const char to_bf16[] =
    "int16_t f32_bf16(float x) {   // nearest even; a NaN stays a quiet NaN\n"
    "    uint u = floatBitsToUint(x);\n"
    "    return int16_t((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);\n"
    "}\n";

static const char to_f16[] =
    "int16_t f32_f16(float x) {   // nearest even, which packHalf2x16 does not promise\n"
    "    uint u = floatBitsToUint(x), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;\n"
    "    if (a > 0x7f800000u) return int16_t(sign | 0x7e00u);\n"
    "    if (a >= 0x477ff000u) return int16_t(sign | 0x7c00u);\n"
    "    if (a < 0x33000001u) return int16_t(sign);\n"
    "    uint e = a >> 23, m = (a & 0x7fffffu) | 0x800000u, shift = e < 113u ? 126u - e : 13u;\n"
    "    uint q = m >> shift, rest = m & ((1u << shift) - 1u), tie = 1u << (shift - 1u);\n"
    "    q += rest > tie || (rest == tie && (q & 1u) != 0u) ? 1u : 0u;\n"
    "    return int16_t(sign | (e < 113u ? q : q + ((e - 113u) << 10)));\n"
    "}\n";

static const char dot_i8[] =
    "int dot_i8(int sum, int a, int b) {   // bytes, lowest first, with their signs\n"
    "    for (int at = 0; at < 32; at += 8) sum += bitfieldExtract(a, at, 8) * bitfieldExtract(b, at, 8);\n"
    "    return sum;\n"
    "}\n";

static void print_arrays(const KirFn *fn, HdBuf *out) {
    for (size_t i = 0; i < fn->tables.len; i++) {
        hd_buf_printf(out, "const uint t%zu[] = ", i);
        simt_print_words(&fn->tables.data[i], out);
        hd_buf_printf(out, ";   // %s\n", fn->tables.data[i].text);
    }
    for (const KirOp *op = fn->prelude->first; op; op = op->next) {
        if (op->kind != KIR_OP_shared) continue;
        hd_buf_printf(out, "shared %s ", glsl.types[kir_value(fn, op->result)->type.scalar].name);
        simt_print_name(fn, op->result, out);
        hd_buf_printf(out, "[%lld];\n", (long long)op->number);
    }
}

HdStatus *simt_print_glsl(const KirFn *fn, HdBuf *out_text) {
    hd_buf_printf(out_text, "%s// %s\nlayout(local_size_x = %u) in;\n%s", prologue, fn->name, HD_MAX(fn->lanes, 1), declarations);
    if (kir_uses(fn, KIR_OP_f32_bf16)) hd_buf_str(out_text, to_bf16);
    if (kir_uses(fn, KIR_OP_f32_f16)) hd_buf_str(out_text, to_f16);
    if (kir_uses(fn, KIR_OP_dot_i8)) hd_buf_str(out_text, dot_i8);
    print_arrays(fn, out_text);
    hd_buf_str(out_text, "\nvoid main() {\n");
    for (uint32_t i = 0; i < 2; i++) {
        hd_buf_str(out_text, "    int64_t ");
        simt_print_name(fn, fn->entry->first_arg + i, out_text);
        hd_buf_printf(out_text, " = push.%s;\n", i ? "end" : "begin");
    }
    HdStatus *status = simt_print_body(fn, &glsl, out_text);
    hd_buf_str(out_text, "}\n");
    return status;
}
