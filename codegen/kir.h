// SPDX-License-Identifier: Apache-2.0
// The kernel IR: one function in structured SSA form, built by schedules, printed as .hkr, checked by kir_verify and turned into
// machine code by an emitter. There is no optimiser on this level: schedules unroll in C, LLVM does the rest.
//
// A kernel is   void name(const uint64_t *args, int64_t begin, int64_t end, uint8_t *scratch)   (runtime/abi.h): it does work
// units begin..end-1. The unit index is a parameter, never a built-in block index. There are two profiles. SIMD (CPU): a thread runs
// the kernel, on logical vectors as wide as the schedule likes (usually 16 x f32 or 64 x i8); a target with narrower registers splits
// them. SIMT (GPU): the lanes of a work group run it together, on single numbers; they share arrays and meet at barriers, which stand
// where control flow is the same for all lanes. On CUDA the 32 lanes of a warp also see each other's registers and multiply small matrices.
#ifndef HEDDLE_KIR_H
#define HEDDLE_KIR_H

#include "runtime/base/base.h"

typedef enum KirScalar { KIR_I1, KIR_I8, KIR_I16, KIR_I32, KIR_I64, KIR_F32, KIR_PTR, KIR_SCALAR_COUNT } KirScalar;
// lanes 1: a scalar; up to 64; ptr has 1. lanes 0: not a value but a shared array of that scalar
typedef struct KirType { uint8_t scalar, lanes; } KirType;

#define KIR_T(s, n) ((KirType){(s), (n)})
#define KT_I1 KIR_T(KIR_I1, 1)
#define KT_I8 KIR_T(KIR_I8, 1)
#define KT_I16 KIR_T(KIR_I16, 1)
#define KT_I32 KIR_T(KIR_I32, 1)
#define KT_I64 KIR_T(KIR_I64, 1)
#define KT_F32 KIR_T(KIR_F32, 1)
#define KT_PTR KIR_T(KIR_PTR, 1)
#define KT_F32x16 KIR_T(KIR_F32, 16)
#define KT_I32x16 KIR_T(KIR_I32, 16)
#define KT_I16x16 KIR_T(KIR_I16, 16)
#define KT_I8x16 KIR_T(KIR_I8, 16)
#define KT_I8x64 KIR_T(KIR_I8, 64)

typedef enum KirOpKind {
#define KIR_OP(name, text, operands, result, profiles, doc) KIR_OP_##name,
#include "codegen/kops.def"
#undef KIR_OP
    KIR_OP_COUNT
} KirOpKind;

typedef enum KirPred { KIR_EQ, KIR_NE, KIR_LT, KIR_LE, KIR_GT, KIR_GE } KirPred;
typedef enum KirProfile { KIR_SIMD = 1, KIR_SIMT = 2 } KirProfile;
enum { KIR_WARP = 32 };       // lanes of a warp

typedef uint32_t KirRef;      // a value; 0 is none
typedef struct KirFn KirFn;

// ---- building (kir_build.c) ----------------------------------------------------------------------------------
// Values are built where the cursor stands: at the end of the innermost open `for` or `if`. A wrong type is a defect of the
// schedule and aborts with a message that names the operation. Operations that work lane by lane accept a scalar where the other
// operand is a vector: it is splat. Constants, tables and parameters go in front of everything wherever the cursor is.

KirFn *kir_new(const char *name);
void kir_free(KirFn *fn);
const char *kir_name(const KirFn *fn);
void kir_set_name(KirFn *fn, const char *name);
KirType kir_type(const KirFn *fn, KirRef value);

// SIMT: how many lanes a work group has, 1 to 1024; 0 (the default): a SIMD kernel.
void kir_set_lanes(KirFn *fn, uint32_t lanes);
uint32_t kir_lanes(const KirFn *fn);
// CUDA: how many work groups shall fit on a multiprocessor at once, which bounds the registers of a lane; 0 (the default): the compiler
// decides.
void kir_set_resident(KirFn *fn, uint32_t groups);
// SIMT: the i64 parameter that says how many bytes of scratch a work group has; needed by kernels that use kir_scratch.
void kir_set_scratch_bytes(KirFn *fn, KirRef param);

// Argument slots in order of creation: slot 0, 1, ... `text` is for readers of the dump.
KirRef kir_param(KirFn *fn, KirType type, const char *text);
uint32_t kir_param_count(const KirFn *fn);
KirRef kir_unit_begin(KirFn *fn);                       // i64
KirRef kir_unit_end(KirFn *fn);                         // i64
KirRef kir_scratch(KirFn *fn);                          // ptr, 64-byte aligned
KirRef kir_lane(KirFn *fn);                             // i64; SIMT only, as the next ones
KirRef kir_group(KirFn *fn);                            // i64
KirRef kir_groups(KirFn *fn);                           // i64
KirRef kir_table(KirFn *fn, const void *bytes, size_t len, const char *text);   // constant data, copied

KirRef kir_int(KirFn *fn, KirType type, int64_t value);
KirRef kir_i64(KirFn *fn, int64_t value);
KirRef kir_float(KirFn *fn, KirType type, float value);
#define KIR_UNARY(name) KirRef kir_##name(KirFn *fn, KirRef a);
#define KIR_BINARY(name) KirRef kir_##name(KirFn *fn, KirRef a, KirRef b);
KIR_BINARY(add) KIR_BINARY(sub) KIR_BINARY(mul) KIR_BINARY(min) KIR_BINARY(max)
KIR_BINARY(sdiv) KIR_BINARY(srem) KIR_BINARY(and) KIR_BINARY(or) KIR_BINARY(xor) KIR_BINARY(shl) KIR_BINARY(lshr) KIR_BINARY(ashr)
KIR_BINARY(div) KIR_UNARY(neg) KIR_UNARY(abs) KIR_UNARY(sqrt) KIR_UNARY(rint) KIR_UNARY(floor)
KirRef kir_fma(KirFn *fn, KirRef a, KirRef b, KirRef c);
KirRef kir_fma_exact(KirFn *fn, KirRef a, KirRef b, KirRef c);
enum { KIR_MAX_PRODUCTS = 16 };
KirRef kir_sum_products(KirFn *fn, uint32_t count, const KirRef *a, const KirRef *b);
KirRef kir_cmp(KirFn *fn, KirPred pred, KirRef a, KirRef b);
KirRef kir_select(KirFn *fn, KirRef mask, KirRef a, KirRef b);
// Conversions keep the lanes and take the scalar type wanted.
KirRef kir_sext(KirFn *fn, KirRef a, KirScalar to);
KirRef kir_zext(KirFn *fn, KirRef a, KirScalar to);
KirRef kir_trunc(KirFn *fn, KirRef a, KirScalar to);
KirRef kir_itof(KirFn *fn, KirRef a);
KirRef kir_ftoi(KirFn *fn, KirRef a, KirScalar to);
KIR_UNARY(f16_f32) KIR_UNARY(f32_f16) KIR_UNARY(bf16_f32) KIR_UNARY(f32_bf16)
KirRef kir_bitcast(KirFn *fn, KirRef a, KirType to);
KirRef kir_splat(KirFn *fn, KirRef scalar, uint32_t lanes);
KirRef kir_extract(KirFn *fn, KirRef vector, uint32_t lane);
KirRef kir_shuffle(KirFn *fn, KirRef a, KirRef b, const uint8_t *lanes, uint32_t count);
KirRef kir_lookup(KirFn *fn, KirRef table, KirRef index);
KIR_UNARY(reduce_add) KIR_UNARY(reduce_max)
KIR_BINARY(offset)                                      // ptr, i64
KirRef kir_offset_const(KirFn *fn, KirRef ptr, int64_t bytes);
// ptr + index * scale + displacement, the usual address
KirRef kir_at(KirFn *fn, KirRef ptr, KirRef index, int64_t scale, int64_t displacement);
KirRef kir_load(KirFn *fn, KirType type, KirRef ptr);
void kir_store(KirFn *fn, KirRef ptr, KirRef value);
KirRef kir_load_part(KirFn *fn, KirType type, KirRef ptr, KirRef count);
void kir_store_part(KirFn *fn, KirRef ptr, KirRef count, KirRef value);
void kir_prefetch(KirFn *fn, KirRef ptr);
void kir_prefetch_later(KirFn *fn, KirRef ptr);
// SIMT: an array in the memory that a work group shares; its length stands in the operation.
KirRef kir_shared(KirFn *fn, KirScalar scalar, uint32_t count);
KirRef kir_shared_load(KirFn *fn, KirRef array, KirRef index);
void kir_shared_store(KirFn *fn, KirRef array, KirRef index, KirRef value);
uint32_t kir_shared_bytes(const KirFn *fn);              // of all its shared arrays
void kir_barrier(KirFn *fn);
KirRef kir_dot_u8i8(KirFn *fn, KirRef acc, KirRef a, KirRef b);
KirRef kir_dot_u7i8(KirFn *fn, KirRef acc, KirRef a, KirRef b);
KirRef kir_dot_i8i8(KirFn *fn, KirRef acc, KirRef a, KirRef b);
KirRef kir_dot_bf16(KirFn *fn, KirRef acc, KirRef a, KirRef b);
KirRef kir_dot_i8(KirFn *fn, KirRef acc, KirRef a, KirRef b);
// SIMT: copies of 16 bytes that run beside what follows, until a wait for all but the last `batches` commits.
void kir_copy_async(KirFn *fn, KirRef array, KirRef index, KirRef ptr);
void kir_copy_commit(KirFn *fn);
void kir_copy_wait(KirFn *fn, uint32_t batches);
// SIMT: what the 32 lanes of a warp do together, where control flow is the same for all of them. words: of a row, 4 or 8 (kops.def says
// which lane has what); stride: words from row to row.
KirRef kir_shuffle_xor(KirFn *fn, KirRef value, uint32_t bits);
KirRef kir_fragment_a(KirFn *fn, KirRef array, KirRef index, uint32_t stride, uint32_t words);
KirRef kir_fragment_b(KirFn *fn, KirRef array, KirRef index, uint32_t stride, uint32_t words);
KirRef kir_mma_i8(KirFn *fn, KirRef acc, KirRef a, KirRef b);
KirRef kir_mma_bf16(KirFn *fn, KirRef acc, KirRef a, KirRef b);

enum { KIR_MAX_CARRIED = 80 };
typedef struct KirLoop { KirRef op, iv; uint32_t count; KirRef carried[KIR_MAX_CARRIED], results[KIR_MAX_CARRIED]; } KirLoop;
// for (iv = lower; iv < upper; iv += step); inside, carried[i] is the value of this round.
void kir_for_begin(KirFn *fn, KirRef lower, KirRef upper, KirRef step, uint32_t count, const KirRef *init, KirLoop *out_loop);
void kir_for_end(KirFn *fn, KirLoop *loop, const KirRef *next);         // fills loop->results
// if (cond) { .. yield } else { .. yield }; both sides yield `count` values of the same types.
typedef struct KirIf { KirRef op; uint32_t count; KirRef then_yield[KIR_MAX_CARRIED], results[KIR_MAX_CARRIED]; } KirIf;
void kir_if_begin(KirFn *fn, KirRef cond, KirIf *out_if);
void kir_if_else(KirFn *fn, KirIf *branch, uint32_t count, const KirRef *yields);
void kir_if_end(KirFn *fn, KirIf *branch, const KirRef *yields);        // fills branch->results; without kir_if_else: no results

// ---- numbers in two parts (kir_math.c); f32, lane by lane --------------------------------------------------------
// hi is the rounded result, lo what rounding took from it.
typedef struct KirPair { KirRef hi, lo; } KirPair;
KirPair kir_exact_sum(KirFn *fn, KirRef a, KirRef b);         // a + b = hi + lo
KirPair kir_exact_product(KirFn *fn, KirRef a, KirRef b);     // a * b = hi + lo
// A sum of many numbers whose error does not grow with their number (W. Kahan, 1965): sum += x, and *rest becomes what the
// addition has lost, which is to be part of the next x. In the end the result is sum + rest. Both begin at 0.
void kir_accumulate(KirFn *fn, KirRef *sum, KirRef *rest, KirRef x);

// ---- math (kir_math.c): polynomials of ours, the same on all targets; scalar or any lanes of f32 ----------------
// Sources and error bounds (in ulp against float64, tested) stand in kir_math.c.
// decay: e^x, of x below -40 e^-40: sums of products of a few such factors hold no subnormal numbers, which a processor takes a hundred
// times as long for.
KIR_UNARY(exp) KIR_UNARY(decay) KIR_UNARY(log1p) KIR_UNARY(sigmoid) KIR_UNARY(silu) KIR_UNARY(softplus)

// ---- print, verify (kir_print.c, kir_verify.c) ---------------------------------------------------------------
void kir_print(const KirFn *fn, HdBuf *out_text);
HD_MUST_USE HdStatus *kir_verify(const KirFn *fn, KirProfile profile);
bool kir_uses(const KirFn *fn, KirOpKind kind);         // does the kernel hold such an operation?

#endif
