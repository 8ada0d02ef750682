// SPDX-License-Identifier: Apache-2.0
// Kernel IR of the SIMT profile as source text of a GPU language. The languages are near enough to each other and to C that one printer
// (print.c) serves them; a dialect is a table of words and a frame around the kernel's body (glsl.c, cuda.c).
#ifndef HEDDLE_CODEGEN_SIMT_EMIT_H
#define HEDDLE_CODEGEN_SIMT_EMIT_H

#include "codegen/kir_internal.h"
#include "ir/target.h"

// ---- print.c ---------------------------------------------------------------------------------------------------

// How a scalar type is written. load: $0 is the address; store: $0 the address, $1 the value; NULL: not of memory.
typedef struct SimtType { const char *name, *unsigned_name, *load, *store; } SimtType;
// How an operation is written. $0 $1 $2: operands; $T: type of the result; $U: its unsigned kin; $V: unsigned kin of the first operand's
// type; $F: type of the result as the kernel IR writes it; $N: the operation's number. NULL: not of this kind of operands; "": nothing.
typedef struct SimtWords { const char *ints, *floats; } SimtWords;

// Rows of a dialect's words, and those that all dialects share.
#define SIMT_OP(kind, ints, floats) [KIR_OP_##kind] = {ints, floats}
#define SIMT_COMMON_WORDS                                                                          \
    SIMT_OP(add, "$0 + $1", "$0 + $1"), \
    SIMT_OP(sub, "$0 - $1", "$0 - $1"), \
    SIMT_OP(mul, "$0 * $1", "$0 * $1"), \
    SIMT_OP(min, "$0 < $1 ? $0 : $1", "$0 < $1 ? $0 : $1"), \
    SIMT_OP(max, "$0 > $1 ? $0 : $1", "$0 > $1 ? $0 : $1"), \
    SIMT_OP(sdiv, "$0 / $1", NULL), \
    SIMT_OP(srem, "$0 % $1", NULL), \
    SIMT_OP(lshr, "$T($U($0) >> $U($1))", NULL), \
    SIMT_OP(ashr, "$T($0 >> $1)", NULL), \
    SIMT_OP(div, NULL, "$0 / $1"), \
    SIMT_OP(neg, NULL, "-$0"), \
    SIMT_OP(trunc, "$T($0)", NULL), \
    SIMT_OP(itof, "$T($0)", NULL), \
    SIMT_OP(ftoi, NULL, "$T($0)"), \
    SIMT_OP(f32_f16, NULL, "f32_f16($0)"), \
    SIMT_OP(f32_bf16, NULL, "f32_bf16($0)")

typedef struct SimtDialect {
    const char *name;
    SimtType types[KIR_SCALAR_COUNT];
    SimtWords words[KIR_OP_COUNT];
    const char *declare_float;       // in front of a float variable
    const char *argument;            // of slot %u, as an unsigned 64-bit number
    const char *scratch;             // address of the work group's scratch, whose size is in slot %u
    const char *float_bits;          // the float with the bits %08x
    bool c_casts;                    // (type)(x), else type(x)
    bool fragments;                  // has the types i32x2, i32x4 and f32x4
    bool tables_are_memory;          // a pointer into a table is an address; else tables are indexed by what follows the table
} SimtDialect;

// The body of the kernel: statements, indented once. UNSUPPORTED when the kernel holds what has no words.
HD_MUST_USE HdStatus *simt_print_body(const KirFn *fn, const SimtDialect *dialect, HdBuf *out_text);
// The words of a constant table, in braces.
void simt_print_words(const KirTable *table, HdBuf *out_text);
// Name of a value in the text.
void simt_print_name(const KirFn *fn, KirRef ref, HdBuf *out_text);

// ---- glsl.c: GLSL 4.60 for Vulkan 1.2 --------------------------------------------------------------------------
// Memory is reached through buffer references, so that no descriptor and no binding limit is in the way.

HD_MUST_USE HdStatus *simt_print_glsl(const KirFn *fn, HdBuf *out_text);

// ---- shaderc.c -------------------------------------------------------------------------------------------------

// GLSL to SPIR-V; `name` stands in messages.
HD_MUST_USE HdStatus *simt_compile_glsl(const char *name, const HdBuf *text, HdBuf *out_spirv);

// ---- cuda.c: CUDA C --------------------------------------------------------------------------------------------

HD_MUST_USE HdStatus *simt_print_cuda(const KirFn *fn, HdBuf *out_text);

// ---- nvrtc.c ---------------------------------------------------------------------------------------------------

// CUDA C to a cubin, or to PTX, as the target says; `name` stands in messages. UNSUPPORTED when there is no NVRTC, or one that does not
// know the architecture.
HD_MUST_USE HdStatus *simt_compile_cuda(const char *name, const IrTarget *target, const HdBuf *source, HdBuf *out_code);
// Which NVRTC that is: another may make other code of the same source.
HD_MUST_USE HdStatus *simt_nvrtc_version(HdBuf *out_text);

// ---- emulate.c: CUDA C on the host -----------------------------------------------------------------------------

// The option for c++ that is not the same on every machine.
const char *simt_emulated_option(void);
// C++ source of a kernel, behind that option. fn NULL: of the fibres that all kernels run on.
HD_MUST_USE HdStatus *simt_print_emulated(const KirFn *fn, HdBuf *out_text);
// Compiles a source to an object file, with the system's `c++`.
HD_MUST_USE HdStatus *simt_compile_emulated(const HdBuf *source, HdBuf *out_object);
// Links the objects of kernels and that of the fibres to a shared object, as the CPU device loads it.
HD_MUST_USE HdStatus *simt_link_emulated(const HdBuf *objects, size_t count, HdBuf *out_library);

// ---- emit.c ----------------------------------------------------------------------------------------------------

// From a kernel to what the module holds of it; code that is there already is kept. dump_prefix: writes every stage to files PREFIX.hkr,
// PREFIX.comp, ...; NULL: none.
HD_MUST_USE HdStatus *simt_emit(const KirFn *fn, const IrTarget *target, const char *dump_prefix, HdBuf *out_code);

#endif
