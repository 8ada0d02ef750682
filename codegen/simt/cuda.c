// SPDX-License-Identifier: Apache-2.0
// CUDA C that includes no header of the toolkit, so that NVRTC alone compiles it. Nothing is contracted: the compiler is called with
// --fmad=false, or -ffp-contract=off where the same text is compiled for the host (emulate.c).
#include "codegen/simt/emit.h"

static const SimtDialect cuda = {
    .name = "CUDA C",
    .types = {[KIR_I1] = {"bool", "bool", NULL, NULL},
              [KIR_I8] = {"char8", "uchar8", "*(const char8 *)($0)", "*(char8 *)($0) = $1"},
              [KIR_I16] = {"short16", "ushort16", "*(const short16 *)($0)", "*(short16 *)($0) = $1"},
              [KIR_I32] = {"int32", "uint32", "*(const int32 *)($0)", "*(int32 *)($0) = $1"},
              [KIR_I64] = {"long64", "ulong64", "*(const long64 *)($0)", "*(long64 *)($0) = $1"},
              [KIR_F32] = {"float", "float", "*(const float *)($0)", "*(float *)($0) = $1"},
              [KIR_PTR] = {"ulong64", "ulong64", "*(const ulong64 *)($0)", "*(ulong64 *)($0) = $1"}},
    .words = {SIMT_COMMON_WORDS,
              SIMT_OP(shl, "$T($U($0) << $1)", NULL),
              SIMT_OP(fma, NULL, "fmaf($0, $1, $2)"),
              SIMT_OP(fma_exact, NULL, "fmaf($0, $1, $2)"),
              SIMT_OP(abs, NULL, "fabsf($0)"),
              SIMT_OP(sqrt, NULL, "sqrtf($0)"),
              SIMT_OP(rint, NULL, "rintf($0)"),
              SIMT_OP(floor, NULL, "floorf($0)"),
              SIMT_OP(bitcast, "bits_to_f32($0)", "f32_to_bits($0)"),
              SIMT_OP(f16_f32, "f16_f32($0)", NULL),
              SIMT_OP(bf16_f32, "bits_to_f32(int32(uint32(ushort16($0)) << 16))", NULL),
              SIMT_OP(offset, "$0 + $T($1)", NULL),
              SIMT_OP(lane, "long64(threadIdx.x)", NULL),
              SIMT_OP(group, "long64(blockIdx.x)", NULL),
              SIMT_OP(groups, "long64(gridDim.x)", NULL),
              SIMT_OP(barrier, "__syncthreads()", NULL),
              SIMT_OP(shared_load, "$0[$1]", "$0[$1]"),
              SIMT_OP(shared_store, "$0[$1] = $2", "$0[$1] = $2"),
              SIMT_OP(dot_i8, "__dp4a($1, $2, $0)", NULL),
              SIMT_OP(copy_async, "copy_async(&$0[$1], $2)", NULL),
              SIMT_OP(copy_commit, "copy_commit()", NULL),
              SIMT_OP(copy_wait, "copy_wait<$N>()", NULL),
              SIMT_OP(shuffle_xor, "__shfl_xor_sync(0xffffffffu, $0, $N)", "__shfl_xor_sync(0xffffffffu, $0, $N)"),
              SIMT_OP(fragment_a, "fragment_a_$F(&$0[$1], $N)", NULL),
              SIMT_OP(fragment_b, "fragment_b_$F(&$0[$1], $N)", NULL),
              SIMT_OP(mma_i8, "mma_i8($0, $1, $2)", NULL),
              SIMT_OP(mma_bf16, NULL, "mma_bf16($0, $1, $2)")},
    .declare_float = "",
    .argument = "args[%u]",
    .scratch = "ulong64(scratch) + blockIdx.x * args[%u]",
    .float_bits = "bits_to_f32(int32(0x%08xu))",
    .c_casts = true,
    .fragments = true,
    .tables_are_memory = true,
};

// Conversions by bits: the same on the device and on the host. f16 to f32 has an instruction, and is exact either way.
static const char helpers[] =
    "typedef signed char char8; typedef unsigned char uchar8; typedef short short16; typedef unsigned short ushort16;\n"
    "typedef int int32; typedef unsigned uint32; typedef long long long64; typedef unsigned long long ulong64;\n"
    "__device__ static inline float bits_to_f32(int32 x) { union { int32 i; float f; } u; u.i = x; return u.f; }\n"
    "__device__ static inline int32 f32_to_bits(float x) { union { int32 i; float f; } u; u.f = x; return u.i; }\n";

static const char to_bf16[] =
    "__device__ static inline short16 f32_bf16(float x) {   // nearest even; a NaN stays a quiet NaN\n"
    "    uint32 u = uint32(f32_to_bits(x));\n"
    "    return short16((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);\n"
    "}\n";

static const char to_f16[] =
    "__device__ static inline short16 f32_f16(float x) {   // nearest even\n"
    "    uint32 u = uint32(f32_to_bits(x)), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;\n"
    "    if (a > 0x7f800000u) return short16(sign | 0x7e00u);\n"
    "    if (a >= 0x477ff000u) return short16(sign | 0x7c00u);\n"
    "    if (a < 0x33000001u) return short16(sign);\n"
    "    uint32 e = a >> 23, m = (a & 0x7fffffu) | 0x800000u, shift = e < 113u ? 126u - e : 13u;\n"
    "    uint32 q = m >> shift, rest = m & ((1u << shift) - 1u), tie = 1u << (shift - 1u);\n"
    "    q += rest > tie || (rest == tie && (q & 1u) != 0u) ? 1u : 0u;\n"
    "    return short16(sign | (e < 113u ? q : q + ((e - 113u) << 10)));\n"
    "}\n";

static const char from_f16[] =
    "__device__ static inline float f16_f32(short16 h) {   // exact: 2^-14 times the number without its exponent, or with it\n"
    "#ifdef __CUDA_ARCH__\n"
    "    float converted;\n"
    "    asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(converted) : \"h\"(h));\n"
    "    return converted;\n"
    "#else\n"
    "    uint32 a = uint32(ushort16(h)) & 0x7fffu, sign = (uint32(ushort16(h)) & 0x8000u) << 16;\n"
    "    float x = a >= 0x7c00u ? bits_to_f32(int32((a << 13) | 0x7f800000u)) : bits_to_f32(int32(a << 13)) * 0x1p112f;\n"
    "    return bits_to_f32(f32_to_bits(x) | int32(sign));\n"
    "#endif\n"
    "}\n";

// Before sm_80 a copy is made at once. On the host both are what emulate.c says.
static const char copies[] =
    "__device__ static inline void copy_async(int32 *to, ulong64 from) {\n"
    "#if !defined __CUDA_ARCH__\n"
    "    emulated_copy(to, (const int32 *)from);\n"
    "#elif __CUDA_ARCH__ >= 800\n"
    "    asm volatile(\"{ .reg .u64 a; cvta.to.shared.u64 a, %0; cp.async.cg.shared.global [a], [%1], 16; }\" :: \"l\"(to), \"l\"(from) : \"memory\");\n"
    "#else\n"
    "    for (int i = 0; i < 4; i++) to[i] = ((const int32 *)from)[i];\n"
    "#endif\n"
    "}\n"
    "__device__ static inline void copy_commit() {\n"
    "#if !defined __CUDA_ARCH__\n"
    "    emulated_commit();\n"
    "#elif __CUDA_ARCH__ >= 800\n"
    "    asm volatile(\"cp.async.commit_group;\" ::: \"memory\");\n"
    "#endif\n"
    "}\n"
    "template <int N> __device__ static inline void copy_wait() {\n"
    "#if !defined __CUDA_ARCH__\n"
    "    emulated_wait(N);\n"
    "#elif __CUDA_ARCH__ >= 800\n"
    "    asm volatile(\"cp.async.wait_group %0;\" :: \"n\"(N) : \"memory\");\n"
    "#endif\n"
    "}\n";

// The registers of mma.sync, as the PTX ISA says which lane has what ("Matrix Fragments for mma.m16n8k16 / m16n8k32").
static const char fragments[] =
    "struct i32x2 { int32 x[2]; };\n"
    "struct i32x4 { int32 x[4]; };\n"
    "struct f32x4 { float x[4]; };\n"
    "__device__ static inline const int32 *my_word(const int32 *at, uint32 stride) { return at + (threadIdx.x >> 2 & 7u) * stride + (threadIdx.x & 3u); }\n"
    "__device__ static inline i32x2 fragment_a_i32x2(const int32 *at, uint32 stride) {\n"
    "    const int32 *w = my_word(at, stride);\n"
    "    return i32x2{{w[0], w[8 * stride]}};\n"
    "}\n"
    "__device__ static inline i32x4 fragment_a_i32x4(const int32 *at, uint32 stride) {\n"
    "    const int32 *w = my_word(at, stride);\n"
    "    return i32x4{{w[0], w[8 * stride], w[4], w[8 * stride + 4]}};\n"
    "}\n"
    "__device__ static inline int32 fragment_b_i32(const int32 *at, uint32 stride) { return *my_word(at, stride); }\n"
    "__device__ static inline i32x2 fragment_b_i32x2(const int32 *at, uint32 stride) {\n"
    "    const int32 *w = my_word(at, stride);\n"
    "    return i32x2{{w[0], w[4]}};\n"
    "}\n";

static const char products_of_i8[] =
    "__device__ static inline i32x4 mma_i8(i32x4 d, i32x4 a, i32x2 b) {\n"
    "#ifdef __CUDA_ARCH__\n"
    "    asm(\"mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\"\n"
    "        : \"+r\"(d.x[0]), \"+r\"(d.x[1]), \"+r\"(d.x[2]), \"+r\"(d.x[3])\n"
    "        : \"r\"(a.x[0]), \"r\"(a.x[1]), \"r\"(a.x[2]), \"r\"(a.x[3]), \"r\"(b.x[0]), \"r\"(b.x[1]));\n"
    "#else\n"
    "    emulated_mma_i8(d.x, a.x, b.x, 8);\n"
    "#endif\n"
    "    return d;\n"
    "}\n"
    "__device__ static inline i32x4 mma_i8(i32x4 d, i32x2 a, int32 b) {\n"
    "#ifdef __CUDA_ARCH__\n"
    "    asm(\"mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};\"\n"
    "        : \"+r\"(d.x[0]), \"+r\"(d.x[1]), \"+r\"(d.x[2]), \"+r\"(d.x[3]) : \"r\"(a.x[0]), \"r\"(a.x[1]), \"r\"(b));\n"
    "#else\n"
    "    emulated_mma_i8(d.x, a.x, &b, 4);\n"
    "#endif\n"
    "    return d;\n"
    "}\n";

static const char products_of_bf16[] =
    "__device__ static inline f32x4 mma_bf16(f32x4 d, i32x4 a, i32x2 b) {\n"
    "#ifdef __CUDA_ARCH__\n"
    "    asm(\"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\"\n"
    "        : \"+f\"(d.x[0]), \"+f\"(d.x[1]), \"+f\"(d.x[2]), \"+f\"(d.x[3])\n"
    "        : \"r\"(a.x[0]), \"r\"(a.x[1]), \"r\"(a.x[2]), \"r\"(a.x[3]), \"r\"(b.x[0]), \"r\"(b.x[1]));\n"
    "#else\n"
    "    emulated_mma_bf16(d.x, a.x, b.x);\n"
    "#endif\n"
    "    return d;\n"
    "}\n";

HdStatus *simt_print_cuda(const KirFn *fn, HdBuf *out_text) {
    hd_buf_str(out_text, helpers);
    if (kir_uses(fn, KIR_OP_f32_bf16)) hd_buf_str(out_text, to_bf16);
    if (kir_uses(fn, KIR_OP_f32_f16)) hd_buf_str(out_text, to_f16);
    if (kir_uses(fn, KIR_OP_f16_f32)) hd_buf_str(out_text, from_f16);
    if (kir_uses(fn, KIR_OP_copy_async)) hd_buf_str(out_text, copies);
    if (kir_uses(fn, KIR_OP_fragment_a)) hd_buf_str(out_text, fragments);
    if (kir_uses(fn, KIR_OP_mma_i8)) hd_buf_str(out_text, products_of_i8);
    if (kir_uses(fn, KIR_OP_mma_bf16)) hd_buf_str(out_text, products_of_bf16);
    for (size_t i = 0; i < fn->tables.len; i++) {
        hd_buf_printf(out_text, "__device__ static const uint32 t%zu[] = ", i);
        simt_print_words(&fn->tables.data[i], out_text);
        hd_buf_printf(out_text, ";   // %s\n", fn->tables.data[i].text);
    }
    hd_buf_printf(out_text, "\nextern \"C\" __global__ void __launch_bounds__(%u", HD_MAX(fn->lanes, 1));
    if (fn->resident) hd_buf_printf(out_text, ", %u", fn->resident);
    hd_buf_printf(out_text, ") %s(const ulong64 *args, long64 begin, long64 end, unsigned char *scratch) {\n", fn->name);
    const char *aligned = kir_uses(fn, KIR_OP_copy_async) ? "__align__(16) " : "";
    for (const KirOp *op = fn->prelude->first; op; op = op->next) {
        if (op->kind != KIR_OP_shared) continue;
        hd_buf_printf(out_text, "    __shared__ %s%s ", aligned, cuda.types[kir_value(fn, op->result)->type.scalar].name);
        simt_print_name(fn, op->result, out_text);
        hd_buf_printf(out_text, "[%lld];\n", (long long)op->number);
    }
    for (uint32_t i = 0; i < 2; i++) {
        hd_buf_str(out_text, "    long64 ");
        simt_print_name(fn, fn->entry->first_arg + i, out_text);
        hd_buf_printf(out_text, " = %s;\n", i ? "end" : "begin");
    }
    HdStatus *status = simt_print_body(fn, &cuda, out_text);
    hd_buf_str(out_text, "}\n");
    return status;
}
