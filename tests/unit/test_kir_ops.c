// SPDX-License-Identifier: Apache-2.0
// Every kernel operation as machine code, for several targets, against plain C over edge values.
#include "kernel_fixture.h"

#include "codegen/kir_internal.h"

#include <float.h>
#include <math.h>

typedef union Num { int64_t i; float f; } Num;
enum { A, B, C, DIVISOR, SHIFT, OPERANDS }; // edge values three times; divisors without 0 and -1; shift amounts below the width
enum { INT_SET = 1 << KIR_I8 | 1 << KIR_I16 | 1 << KIR_I32 | 1 << KIR_I64, FLOAT_SET = 1 << KIR_F32, SAME = KIR_SCALAR_COUNT };

static uint64_t low_bits(int64_t value, uint32_t bits) { return (uint64_t)value & (UINT64_MAX >> (64 - bits)); }
static KirRef as_number(KirFn *fn, KirRef mask, KirRef like) {
    KirType type = kir_type(fn, like);
    return type.scalar == KIR_F32 ? kir_select(fn, mask, kir_float(fn, type, 1), kir_float(fn, type, 0))
                                  : kir_select(fn, mask, kir_int(fn, type, 1), kir_int(fn, type, 0));
}
// The sum makes a signalling NaN quiet (emit.c, float_pick).
static KirRef fits(KirFn *fn, KirRef x) {
    x = kir_add(fn, x, kir_float(fn, kir_type(fn, x), 0));
    return kir_min(fn, kir_max(fn, x, kir_float(fn, KT_F32, -1e9f)), kir_float(fn, KT_F32, 1e9f));
}
static float c_fits(float x) { x = x > -1e9f ? x : -1e9f; return x < 1e9f ? x : 1e9f; }
static bool target_has_fma;
static uint32_t float_bits(float value) { union { float f; uint32_t u; } x = {value}; return x.u; }
static float bits_float(uint32_t bits) { union { uint32_t u; float f; } x = {bits}; return x.f; }

// X(name, scalars of the operands, scalar of the result, how it is built, what C says). Integers travel sign-extended; results
// are cut to their width.
#define LANE_CASES(X)                                                                                                            \
    X(add, INT_SET, SAME, kir_add(fn, a, b), .i = (int64_t)((uint64_t)x.i + (uint64_t)y.i))                                      \
    X(sub, INT_SET, SAME, kir_sub(fn, a, b), .i = (int64_t)((uint64_t)x.i - (uint64_t)y.i))                                      \
    X(mul, INT_SET, SAME, kir_mul(fn, a, b), .i = (int64_t)((uint64_t)x.i * (uint64_t)y.i))                                      \
    X(min, INT_SET, SAME, kir_min(fn, a, b), .i = HD_MIN(x.i, y.i))                                                              \
    X(max, INT_SET, SAME, kir_max(fn, a, b), .i = HD_MAX(x.i, y.i))                                                              \
    X(sdiv, INT_SET, SAME, kir_sdiv(fn, a, v[DIVISOR]), .i = x.i / n[DIVISOR].i)                                                 \
    X(srem, INT_SET, SAME, kir_srem(fn, a, v[DIVISOR]), .i = x.i % n[DIVISOR].i)                                                 \
    X(and, INT_SET, SAME, kir_and(fn, a, b), .i = x.i & y.i)                                                                     \
    X(or, INT_SET, SAME, kir_or(fn, a, b), .i = x.i | y.i)                                                                       \
    X(xor, INT_SET, SAME, kir_xor(fn, a, b), .i = x.i ^ y.i)                                                                     \
    X(shl, INT_SET, SAME, kir_shl(fn, a, v[SHIFT]), .i = (int64_t)((uint64_t)x.i << n[SHIFT].i))                                 \
    X(lshr, INT_SET, SAME, kir_lshr(fn, a, v[SHIFT]), .i = (int64_t)(low_bits(x.i, bits) >> n[SHIFT].i))                         \
    X(ashr, INT_SET, SAME, kir_ashr(fn, a, v[SHIFT]), .i = x.i >> n[SHIFT].i)                                                    \
    X(eq, INT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_EQ, a, b), a), .i = x.i == y.i)                                           \
    X(ne, INT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_NE, a, b), a), .i = x.i != y.i)                                           \
    X(lt, INT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_LT, a, b), a), .i = x.i < y.i)                                            \
    X(le, INT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_LE, a, b), a), .i = x.i <= y.i)                                           \
    X(gt, INT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_GT, a, b), a), .i = x.i > y.i)                                            \
    X(ge, INT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_GE, a, b), a), .i = x.i >= y.i)                                           \
    X(select, INT_SET, SAME, kir_select(fn, kir_cmp(fn, KIR_LT, a, b), v[C], a), .i = x.i < y.i ? n[C].i : x.i)                  \
    X(logic, INT_SET, SAME, as_number(fn, kir_xor(fn, kir_cmp(fn, KIR_LT, a, b), kir_cmp(fn, KIR_LT, v[C], a)), a),              \
      .i = (x.i < y.i) ^ (n[C].i < x.i))                                                                                         \
    X(constant, INT_SET, SAME, kir_add(fn, a, kir_int(fn, KIR_T(kir_type(fn, a).scalar, 1), -77)),                               \
      .i = (int64_t)((uint64_t)x.i - 77))                                                                                        \
    X(sext32, 1 << KIR_I8 | 1 << KIR_I16, KIR_I32, kir_sext(fn, a, KIR_I32), .i = x.i)                                           \
    X(zext32, 1 << KIR_I8 | 1 << KIR_I16, KIR_I32, kir_zext(fn, a, KIR_I32), .i = (int64_t)low_bits(x.i, bits))                  \
    X(sext64, 1 << KIR_I8 | 1 << KIR_I32, KIR_I64, kir_sext(fn, a, KIR_I64), .i = x.i)                                           \
    X(zext64, 1 << KIR_I16 | 1 << KIR_I32, KIR_I64, kir_zext(fn, a, KIR_I64), .i = (int64_t)low_bits(x.i, bits))                 \
    X(trunc8, 1 << KIR_I16 | 1 << KIR_I32 | 1 << KIR_I64, KIR_I8, kir_trunc(fn, a, KIR_I8), .i = x.i)                            \
    X(trunc16, 1 << KIR_I32 | 1 << KIR_I64, KIR_I16, kir_trunc(fn, a, KIR_I16), .i = x.i)                                        \
    X(itof, INT_SET, KIR_F32, kir_itof(fn, a), .f = (float)x.i)                                                                  \
    X(bits_to_f32, 1 << KIR_I32, KIR_F32, kir_bitcast(fn, a, KIR_T(KIR_F32, kir_type(fn, a).lanes)),                             \
      .f = bits_float((uint32_t)x.i))                                                                                            \
    X(fadd, FLOAT_SET, SAME, kir_add(fn, a, b), .f = x.f + y.f)                                                                  \
    X(fsub, FLOAT_SET, SAME, kir_sub(fn, a, b), .f = x.f - y.f)                                                                  \
    X(fmul, FLOAT_SET, SAME, kir_mul(fn, a, b), .f = x.f * y.f)                                                                  \
    X(fdiv, FLOAT_SET, SAME, kir_div(fn, a, b), .f = x.f / y.f)                                                                  \
    X(fmin, FLOAT_SET, SAME, kir_min(fn, a, b), .f = x.f < y.f ? x.f : y.f)                                                      \
    X(fmax, FLOAT_SET, SAME, kir_max(fn, a, b), .f = x.f > y.f ? x.f : y.f)                                                      \
    X(fma, FLOAT_SET, SAME, kir_fma(fn, a, b, v[C]), .f = target_has_fma ? fmaf(x.f, y.f, n[C].f) : x.f * y.f + n[C].f)          \
    X(fma_exact, FLOAT_SET, SAME, kir_fma_exact(fn, a, b, v[C]),                                                                 \
      .f = target_has_fma ? fmaf(x.f, y.f, n[C].f) : (float)((double)x.f * (double)y.f + (double)n[C].f))                        \
    X(sum_products, FLOAT_SET, SAME, kir_sum_products(fn, 2, (KirRef[]){a, b}, (KirRef[]){b, v[C]}),                             \
      .f = (float)((double)x.f * (double)y.f + (double)y.f * (double)n[C].f))                                                    \
    X(apart, FLOAT_SET, SAME, kir_add(fn, kir_mul(fn, a, b), v[C]), .f = x.f * y.f + n[C].f)                                     \
    X(neg, FLOAT_SET, SAME, kir_neg(fn, a), .f = -x.f)                                                                           \
    X(abs, FLOAT_SET, SAME, kir_abs(fn, a), .f = fabsf(x.f))                                                                     \
    X(sqrt, FLOAT_SET, SAME, kir_sqrt(fn, a), .f = sqrtf(x.f))                                                                   \
    X(rint, FLOAT_SET, SAME, kir_rint(fn, a), .f = rintf(x.f))                                                                   \
    X(floor, FLOAT_SET, SAME, kir_floor(fn, a), .f = floorf(x.f))                                                                \
    X(feq, FLOAT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_EQ, a, b), a), .f = x.f == y.f)                                        \
    X(fne, FLOAT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_NE, a, b), a), .f = x.f != y.f)                                        \
    X(flt, FLOAT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_LT, a, b), a), .f = x.f < y.f)                                         \
    X(fle, FLOAT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_LE, a, b), a), .f = x.f <= y.f)                                        \
    X(fgt, FLOAT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_GT, a, b), a), .f = x.f > y.f)                                         \
    X(fge, FLOAT_SET, SAME, as_number(fn, kir_cmp(fn, KIR_GE, a, b), a), .f = x.f >= y.f)                                        \
    X(fconstant, FLOAT_SET, SAME, kir_add(fn, a, kir_float(fn, KT_F32, 1e-5f)), .f = x.f + 1e-5f)                                \
    X(ftoi32, FLOAT_SET, KIR_I32, kir_ftoi(fn, fits(fn, a), KIR_I32), .i = (int32_t)c_fits(x.f))                                 \
    X(ftoi64, FLOAT_SET, KIR_I64, kir_ftoi(fn, fits(fn, a), KIR_I64), .i = (int64_t)c_fits(x.f))                                 \
    X(f32_to_bits, FLOAT_SET, KIR_I32, kir_bitcast(fn, a, KIR_T(KIR_I32, kir_type(fn, a).lanes)),                                \
      .i = (int32_t)float_bits(x.f))                                                                                             \
    X(f32_f16, FLOAT_SET, KIR_I16, kir_f32_f16(fn, a), .i = hd_f32_to_f16(x.f))                                                  \
    X(f32_bf16, FLOAT_SET, KIR_I16, kir_f32_bf16(fn, a), .i = hd_f32_to_bf16(x.f))

#define X(name, in, out, build, ref) \
    static KirRef build_##name(KirFn *fn, const KirRef *v) { KirRef a = v[A], b = v[B]; (void)b; return build; } \
    static Num ref_##name(const Num *n, uint32_t bits) { Num x = n[A], y = n[B]; (void)y, (void)bits; return (Num){ref}; }
LANE_CASES(X)
#undef X

static const struct LaneCase {
    const char *name;
    uint32_t in;
    uint8_t out;
    KirRef (*build)(KirFn *fn, const KirRef *v);
    Num (*ref)(const Num *n, uint32_t bits);
} lane_cases[] = {
#define X(name, in, out, build, ref) {#name, in, out, build_##name, ref_##name},
    LANE_CASES(X)
#undef X
};

// ---- numbers in memory -------------------------------------------------------------------------------------------

static uint32_t bytes_of(KirScalar scalar) { return kir_scalar_bits(scalar) / 8; }

static void put(uint8_t *at, KirScalar scalar, Num value) {
    if (scalar == KIR_F32) memcpy(at, &value.f, 4);
    else memcpy(at, &value.i, bytes_of(scalar));           // little-endian
}

static Num get(const uint8_t *at, KirScalar scalar) {
    Num value = {0};
    if (scalar == KIR_F32) memcpy(&value.f, at, 4);
    else memcpy(&value.i, at, bytes_of(scalar));
    uint32_t unused = 64 - kir_scalar_bits(scalar);
    if (scalar != KIR_F32) value.i = (int64_t)((uint64_t)value.i << unused) >> unused;
    return value;
}

static bool same(KirScalar scalar, Num got, Num want) {
    if (scalar != KIR_F32) return low_bits(got.i, kir_scalar_bits(scalar)) == low_bits(want.i, kir_scalar_bits(scalar));
    return (isnan(got.f) && isnan(want.f)) || !memcmp(&got.f, &want.f, 4);
}

static const float float_edges[] = {
    0.0f, -0.0f, 1, -1, 1.5f, 2.5f, -2.5f, 0.5f, -0.5f, 3.14159274f, 1e-5f, -1e-5f, 65504, 65519.996f, 65520, -65536, 65535,
    6.1035156e-5f, 6.0976e-5f, 5.9604645e-8f, 2.9802322e-8f, 2.98023259e-8f, 1e-8f, 1.0009765625f, 1.00048828125f,
    1.00146484375f, 8388607.5f, 8388608, 16777216, 1e9f, -123456.78f, FLT_MAX, -FLT_MAX, FLT_MIN, 1e-40f, FLT_TRUE_MIN,
    INFINITY, -INFINITY, NAN, __builtin_nansf("0x12345"), 70000, -1e5f, 3.3895314e38f, 1.00390625f, 1.01171875f,
};
static const int64_t int_edges[] = {
    0, 1, -1, 2, 3, 7, 16, -16, 100, 127, -128, 128, 255, 256, 1000, 32767, -32768, 32768, 65535, 1000000007, INT32_MAX,
    INT32_MIN, 4294967295, INT64_MAX, INT64_MIN, 81985529216486895,
};
static const int64_t divisors[] = {1, 2, 3, -2, 7, -7, 64, 127, -128};

static Num edge(KirScalar scalar, uint32_t i) {
    if (scalar == KIR_F32) return (Num){.f = float_edges[i % HD_COUNT(float_edges)]};
    uint8_t raw[8];
    put(raw, scalar, (Num){.i = int_edges[i % HD_COUNT(int_edges)]});
    return get(raw, scalar);
}

static Num operand(KirScalar scalar, uint32_t which, uint32_t i) {
    uint32_t count = scalar == KIR_F32 ? HD_COUNT(float_edges) : HD_COUNT(int_edges);
    switch (which) {
    case A: return edge(scalar, i);
    case B: return edge(scalar, i / count);
    case C: return edge(scalar, i * 7 + i / count);
    case DIVISOR: return (Num){.i = divisors[i / count % HD_COUNT(divisors)]};
    default: return (Num){.i = i / count % kir_scalar_bits(scalar)};
    }
}

// ---- lane by lane --------------------------------------------------------------------------------------------------

enum { COUNT = 2048, STRIDE = COUNT * 8, MAX_OUT = 64 };   // all pairs of edge values and more; bytes of one array
static uint8_t inputs[OPERANDS][STRIDE], outputs[MAX_OUT * STRIDE];
static bool kinds_seen[KIR_OP_COUNT];

static void note_kinds(const KirFn *fn) {
    for (uint32_t i = 0; i < KIR_OP_COUNT; i++) kinds_seen[i] = kinds_seen[i] || fn->kinds[i];
}

// One kernel with all operations on `lanes` numbers: result k of unit u at out + k * STRIDE.
static void build_lanes(KirFn *fn, KirScalar scalar, uint8_t lanes) {
    KirRef pointers[OPERANDS], v[OPERANDS] = {0}, out;
    for (int i = 0; i < OPERANDS; i++) pointers[i] = kir_param(fn, KT_PTR, "in");
    out = kir_param(fn, KT_PTR, "out");
    KirLoop loop;
    kir_for_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), kir_i64(fn, 1), 0, NULL, &loop);
    int64_t step = (int64_t)lanes * bytes_of(scalar);
    for (int i = 0; i < (scalar == KIR_F32 ? DIVISOR : OPERANDS); i++)
        v[i] = kir_load(fn, KIR_T(scalar, lanes), kir_at(fn, pointers[i], loop.iv, step, 0));
    for (size_t k = 0; k < HD_COUNT(lane_cases); k++) {
        if (!(lane_cases[k].in >> scalar & 1)) continue;
        KirRef result = lane_cases[k].build(fn, v);
        kir_store(fn, kir_at(fn, out, loop.iv, lanes * bytes_of(kir_type(fn, result).scalar), (int64_t)k * STRIDE), result);
    }
    kir_for_end(fn, &loop, NULL);
}

static void check_lanes(const char *target, KirScalar scalar, uint8_t lanes) {
    for (size_t k = 0; k < HD_COUNT(lane_cases); k++) {
        const struct LaneCase *c = &lane_cases[k];
        if (!(c->in >> scalar & 1)) continue;
        KirScalar out = c->out == SAME ? scalar : c->out;
        for (uint32_t i = 0; i < COUNT; i++) {
            Num n[OPERANDS];
            for (int o = 0; o < OPERANDS; o++) n[o] = get(&inputs[o][i * bytes_of(scalar)], scalar);
            if (scalar != KIR_F32 && !n[DIVISOR].i) continue;
            Num got = get(&outputs[k * STRIDE + i * bytes_of(out)], out), want = c->ref(n, kir_scalar_bits(scalar));
            if (same(out, got, want)) continue;
            if (out == KIR_F32)
                fail_msg("%s %s %s x %u, case %u: %a, not %a", target, c->name, kir_scalar_name(scalar), lanes, i, got.f, want.f);
            fail_msg("%s %s %s x %u, case %u: %lld, not %lld", target, c->name, kir_scalar_name(scalar), lanes, i,
                     (long long)got.i, (long long)want.i);
        }
    }
}

static void test_lanes(void **state) {
    static const KirScalar kinds[] = {KIR_I8, KIR_I16, KIR_I32, KIR_I64, KIR_F32};
    static const uint8_t lanes[] = {1, 4, 16};
    assert_true(HD_COUNT(lane_cases) <= MAX_OUT);
    Kernels kernels = kernels_open(*state);
    target_has_fma = ir_target_has_fma(&kernels.target);
    char name[32];
    for (size_t s = 0; s < HD_COUNT(kinds); s++) {
        for (size_t l = 0; l < HD_COUNT(lanes); l++) {
            snprintf(name, sizeof name, "%s_%u", kir_scalar_name(kinds[s]), lanes[l]);
            KirFn *fn = kernels_new(&kernels, name);
            build_lanes(fn, kinds[s], lanes[l]);
            note_kinds(fn);
            kernels_add(&kernels, fn);
        }
    }
    kernels_link(&kernels);
    for (size_t s = 0; s < HD_COUNT(kinds); s++) {
        for (uint32_t o = 0; o < OPERANDS; o++)
            for (uint32_t i = 0; i < COUNT; i++) put(&inputs[o][i * bytes_of(kinds[s])], kinds[s], operand(kinds[s], o, i));
        for (size_t l = 0; l < HD_COUNT(lanes); l++) {
            snprintf(name, sizeof name, "%s_%u", kir_scalar_name(kinds[s]), lanes[l]);
            memset(outputs, 0xa5, sizeof outputs);
            kernels_call(&kernels, name, COUNT / lanes[l],
                         (const void *[]){inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], outputs}, OPERANDS + 1);
            check_lanes(*state, kinds[s], lanes[l]);
        }
    }
    kernels_close(&kernels);
}

// ---- half precision: all 65536 bit patterns ------------------------------------------------------------------------

static void build_convert(KirFn *fn, uint8_t lanes, KirRef (*convert)(KirFn *fn, KirRef a), KirScalar from, KirScalar to) {
    KirRef x = kir_param(fn, KT_PTR, "x"), y = kir_param(fn, KT_PTR, "y");
    KirLoop loop;
    kir_for_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), kir_i64(fn, 1), 0, NULL, &loop);
    KirRef value = kir_load(fn, KIR_T(from, lanes), kir_at(fn, x, loop.iv, lanes * bytes_of(from), 0));
    kir_store(fn, kir_at(fn, y, loop.iv, lanes * bytes_of(to), 0), convert(fn, value));
    kir_for_end(fn, &loop, NULL);
    note_kinds(fn);
}

static void test_halves(void **state) {
    static uint16_t halves[65536], back[65536];
    static float floats[65536];
    Kernels kernels = kernels_open(*state);
    static const struct {
        const char *name;
        KirRef (*convert)(KirFn *fn, KirRef a);
        uint8_t lanes;
        KirScalar from, to;
    } made[] = {
        {"f16_16", kir_f16_f32, 16, KIR_I16, KIR_F32},   {"f16_1", kir_f16_f32, 1, KIR_I16, KIR_F32},
        {"bf16_16", kir_bf16_f32, 16, KIR_I16, KIR_F32}, {"bf16_1", kir_bf16_f32, 1, KIR_I16, KIR_F32},
        {"back_f16", kir_f32_f16, 16, KIR_F32, KIR_I16}, {"back_bf16", kir_f32_bf16, 16, KIR_F32, KIR_I16},
    };
    for (size_t i = 0; i < HD_COUNT(made); i++) {
        KirFn *fn = kernels_new(&kernels, made[i].name);
        build_convert(fn, made[i].lanes, made[i].convert, made[i].from, made[i].to);
        kernels_add(&kernels, fn);
    }
    kernels_link(&kernels);
    for (uint32_t i = 0; i < 65536; i++) halves[i] = (uint16_t)i;
    for (int k = 0; k < 4; k++) {
        kernels_call(&kernels, made[k].name, 65536 / made[k].lanes, (const void *[]){halves, floats}, 2);
        for (uint32_t i = 0; i < 65536; i++) {
            float want = k < 2 ? hd_f16_to_f32((uint16_t)i) : hd_bf16_to_f32((uint16_t)i);
            if (!same(KIR_F32, (Num){.f = floats[i]}, (Num){.f = want}))
                fail_msg("%s %s of %04x: %a, not %a", (char *)*state, made[k].name, i, floats[i], want);
        }
        // And back: the same bits; a NaN comes back quiet.
        kernels_call(&kernels, k < 2 ? "back_f16" : "back_bf16", 65536 / 16, (const void *[]){floats, back}, 2);
        for (uint32_t i = 0; i < 65536; i++) assert_int_equal(back[i], isnan(floats[i]) ? i | (k < 2 ? 0x200 : 0x40) : i);
    }
    kernels_close(&kernels);
}

// ---- across lanes --------------------------------------------------------------------------------------------------

static const uint8_t reversed_pairs[16] = {31, 0, 30, 1, 29, 2, 28, 3, 27, 4, 26, 5, 25, 6, 24, 7};

// In: 32 floats x and 16 i32 at 128. Out, in floats: shuffle 16, splat 16, extract 1, reductions of 16 and of 4 lanes; then i32
// reductions at 192.
static void build_across(KirFn *fn) {
    KirRef x = kir_param(fn, KT_PTR, "x"), y = kir_param(fn, KT_PTR, "y");
    KirRef a = kir_load(fn, KT_F32x16, x), b = kir_load(fn, KT_F32x16, kir_offset_const(fn, x, 64));
    KirRef short_part = kir_shuffle(fn, a, b, (const uint8_t[]){2, 18, 5, 31}, 4),
           i = kir_load(fn, KT_I32x16, kir_offset_const(fn, x, 128));
    KirRef outs[] = {kir_shuffle(fn, a, b, reversed_pairs, 16),
                     kir_splat(fn, kir_extract(fn, b, 3), 16),
                     kir_extract(fn, a, 15),
                     kir_reduce_add(fn, a),
                     kir_reduce_max(fn, b),
                     kir_reduce_add(fn, short_part),
                     kir_reduce_max(fn, short_part),
                     kir_shuffle(fn, a, b, (const uint8_t[]){20}, 1),
                     kir_reduce_add(fn, kir_extract(fn, a, 2))};
    int64_t at = 0;
    for (size_t k = 0; k < HD_COUNT(outs); k++) {
        kir_store(fn, kir_offset_const(fn, y, at), outs[k]);
        at += 4 * kir_type(fn, outs[k]).lanes;
    }
    kir_store(fn, kir_offset_const(fn, y, 192), kir_reduce_add(fn, i));
    kir_store(fn, kir_offset_const(fn, y, 196), kir_reduce_max(fn, i));
    KirRef bytes = kir_bitcast(fn, kir_load(fn, KT_I8x64, x), KT_I32x16);      // lanes of another size
    kir_store(fn, kir_offset_const(fn, y, 200), kir_reduce_add(fn, bytes));
    KirRef any = kir_select(fn, kir_cmp(fn, KIR_LT, kir_unit_begin(fn), kir_i64(fn, 1)), a, b);   // one i1 chooses vectors
    kir_store(fn, kir_offset_const(fn, y, 208), any);
    note_kinds(fn);
}

static float tree_add(const float *x, int n) {
    float t[16];
    memcpy(t, x, sizeof(float) * (size_t)n);
    for (n /= 2; n; n /= 2)
        for (int i = 0; i < n; i++) t[i] += t[i + n];
    return t[0];
}

static void test_across(void **state) {
    struct { float f[32]; int32_t i[16]; } in;
    struct {
        float shuffle[16], splat[16], extract, add16, max16, add4, max4, pick, same;
        float pad[9];
        int32_t iadd, imax, bits, pad2;
        float any[16];
    } out;
    for (int i = 0; i < 32; i++) in.f[i] = (float)((i * 37) % 101 - 50) * 1.1f + 1e5f * (float)(i % 3);
    for (int i = 0; i < 16; i++) in.i[i] = i * 1000000 - (i & 3) * 9999999;
    Kernels kernels = kernels_open(*state);
    KirFn *fn = kernels_new(&kernels, "across");
    build_across(fn);
    kernels_add(&kernels, fn);
    kernels_link(&kernels);
    kernels_call(&kernels, "across", 1, (const void *[]){&in, &out}, 2);
    for (int i = 0; i < 16; i++) {
        assert_true(out.shuffle[i] == in.f[reversed_pairs[i]] && out.splat[i] == in.f[19] && out.any[i] == in.f[i]);
    }
    float part[4] = {in.f[2], in.f[18], in.f[5], in.f[31]}, max16 = in.f[16], max4 = part[0];
    for (int i = 17; i < 32; i++) max16 = HD_MAX(max16, in.f[i]);
    for (int i = 1; i < 4; i++) max4 = HD_MAX(max4, part[i]);
    assert_true(out.extract == in.f[15] && out.add16 == tree_add(in.f, 16) && out.max16 == max16 &&
                out.add4 == tree_add(part, 4) && out.max4 == max4);
    assert_true(out.pick == in.f[20] && out.same == in.f[2]);
    int32_t iadd = 0, imax = INT32_MIN, bits = 0;
    for (int i = 0; i < 16; i++) {
        iadd += in.i[i];
        imax = HD_MAX(imax, in.i[i]);
        int32_t word;
        memcpy(&word, &in.f[i], 4);
        bits = (int32_t)((uint32_t)bits + (uint32_t)word);
    }
    assert_int_equal(out.iadd, iadd);
    assert_int_equal(out.imax, imax);
    assert_int_equal(out.bits, bits);
    kernels_close(&kernels);
}

// ---- tables --------------------------------------------------------------------------------------------------------

static void test_lookup(void **state) {
    static const uint8_t lanes[] = {16, 32, 64};
    int8_t table[16], index[64], out[64];
    for (int i = 0; i < 16; i++) table[i] = (int8_t)(i * i * 5 - 127);
    for (int i = 0; i < 64; i++) index[i] = (int8_t)((i * 7 + i / 16) % 16);
    Kernels kernels = kernels_open(*state);
    char name[HD_COUNT(lanes)][16];
    for (size_t l = 0; l < HD_COUNT(lanes); l++) {
        snprintf(name[l], sizeof name[l], "lookup_%u", lanes[l]);
        KirFn *fn = kernels_new(&kernels, name[l]);
        KirRef from = kir_param(fn, KT_PTR, "index"), to = kir_param(fn, KT_PTR, "out");
        KirRef bytes = kir_load(fn, KT_I8x16, kir_table(fn, table, sizeof table, "squares"));
        kir_store(fn, to, kir_lookup(fn, bytes, kir_load(fn, KIR_T(KIR_I8, lanes[l]), from)));
        note_kinds(fn);
        kernels_add(&kernels, fn);
    }
    kernels_link(&kernels);
    for (size_t l = 0; l < HD_COUNT(lanes); l++) {
        memset(out, 0x55, sizeof out);
        kernels_call(&kernels, name[l], 1, (const void *[]){index, out}, 2);
        for (int i = 0; i < lanes[l]; i++) assert_int_equal(out[i], table[index[i]]);
    }
    kernels_close(&kernels);
}

// ---- partial vectors, at the last byte of a page ----------------------------------------------------------------------

// copy(from, to, count): one partial load and store.
static void build_part(KirFn *fn, KirType type) {
    KirRef from = kir_param(fn, KT_PTR, "from"), to = kir_param(fn, KT_PTR, "to"), whole = kir_param(fn, KT_PTR, "whole"),
           count = kir_param(fn, KT_I64, "count");
    KirRef value = kir_load_part(fn, type, from, count);
    kir_store(fn, whole, value);
    kir_store_part(fn, to, count, value);
    note_kinds(fn);
}

static void check_part(Kernels *kernels, const char *name, KirType type, uint8_t *from_end, uint8_t *to_end) {
    uint32_t size = bytes_of(type.scalar);
    for (uint32_t count = 0; count <= type.lanes; count++) {
        uint8_t whole[512], want[512] = {0}, *from = from_end - count * size, *to = to_end - count * size;
        for (uint32_t i = 0; i < count * size; i++) from[i] = want[i] = (uint8_t)(i * 7 + 1);
        memset(to_end - 512, 0xee, 512);
        kernels_call(kernels, name, 1, (const void *[]){from, to, whole, (void *)(uintptr_t)count}, 4);
        assert_memory_equal(whole, want, type.lanes * size);
        assert_memory_equal(to, want, count * size);
        for (uint8_t *p = to_end - 512; p < to; p++) assert_int_equal(*p, 0xee);
    }
}

static uint8_t *guarded_end(uint8_t **out_map) {
    *out_map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(*out_map != MAP_FAILED);
    assert_int_equal(mprotect(*out_map + 4096, 4096, PROT_NONE), 0);
    return *out_map + 4096;
}

static void test_part(void **state) {
    static const KirType types[] = {{KIR_F32, 16}, {KIR_F32, 4}, {KIR_F32, 1},  {KIR_F32, 8}, {KIR_F32, 2}, {KIR_I32, 16},
                                    {KIR_I8, 64},  {KIR_I8, 16}, {KIR_I16, 16}, {KIR_I16, 4}, {KIR_I64, 8}, {KIR_I8, 1}};
    char names[HD_COUNT(types)][32];
    Kernels kernels = kernels_open(*state);
    for (size_t i = 0; i < HD_COUNT(types); i++) {
        snprintf(names[i], sizeof names[i], "part_%s_%u", kir_scalar_name(types[i].scalar), types[i].lanes);
        KirFn *fn = kernels_new(&kernels, names[i]);
        build_part(fn, types[i]);
        kernels_add(&kernels, fn);
    }
    kernels_link(&kernels);
    uint8_t *from_map, *to_map, *from = guarded_end(&from_map), *to = guarded_end(&to_map);
    for (size_t i = 0; i < HD_COUNT(types); i++) check_part(&kernels, names[i], types[i], from, to);
    munmap(from_map, 8192);
    munmap(to_map, 8192);
    kernels_close(&kernels);
}

// ---- products ----------------------------------------------------------------------------------------------------------

typedef KirRef DotOp(KirFn *fn, KirRef acc, KirRef a, KirRef b);

static void build_dot(KirFn *fn, DotOp *op, KirType acc_type, KirType in_type) {
    KirRef acc = kir_param(fn, KT_PTR, "acc"), a = kir_param(fn, KT_PTR, "a"), b = kir_param(fn, KT_PTR, "b");
    KirRef sum = op(fn, kir_load(fn, acc_type, acc), kir_load(fn, in_type, a), kir_load(fn, in_type, b));
    kir_store(fn, acc, sum);
    note_kinds(fn);
}

// What a's bytes are: at most `most`, or signed; then b has no -128.
static const struct DotKind { const char *name; DotOp *op; uint8_t most; bool is_signed; } dots[] = {
    {"u8i8", kir_dot_u8i8, 255, false}, {"u7i8", kir_dot_u7i8, 127, false}, {"i8i8", kir_dot_i8i8, 255, true}};

static int32_t dot_reference(const struct DotKind *kind, int32_t acc, const uint8_t *a, const uint8_t *b, uint32_t lane) {
    for (uint32_t i = lane * 4; i < (lane + 1) * 4; i++)
        acc = (int32_t)((uint32_t)acc + (uint32_t)((kind->is_signed ? (int8_t)a[i] : a[i]) * (int8_t)b[i]));
    return acc;
}

static void check_dot(Kernels *kernels, const char *name, const struct DotKind *kind, uint32_t lanes) {
    static const uint8_t extremes[][2] = {{0xff, 0x80}, {0x80, 0x80}, {0x7f, 0x7f}, {0x80, 0x7f}, {0x7f, 0x80}};
    _Alignas(16) uint8_t a[64], b[64];
    uint32_t seed = 12345;
    for (size_t round = 0; round < 200; round++) {
        int32_t acc[16], want[16];
        for (uint32_t i = 0; i < lanes * 4; i++) {
            seed = seed * 1664525 + 1013904223;
            bool extreme = round < HD_COUNT(extremes);
            a[i] = (extreme ? extremes[round][0] : seed >> 24) & kind->most;
            b[i] = extreme ? extremes[round][1] : (uint8_t)(seed >> 16);
            if (kind->is_signed && b[i] == 0x80) b[i] = 0x81;
        }
        for (uint32_t i = 0; i < lanes; i++)
            acc[i] = (int32_t)(seed ^ (i * 0x12345678u)), want[i] = dot_reference(kind, acc[i], a, b, i);
        kernels_call(kernels, name, 1, (const void *[]){acc, a, b}, 3);
        if (memcmp(acc, want, sizeof(int32_t) * lanes)) fail_msg("%s %s: wrong in round %zu", kernels->target.name, name, round);
    }
}

static void test_dots(void **state) {
    Kernels kernels = kernels_open(*state);
    char names[HD_COUNT(dots)][3][16];
    for (size_t i = 0; i < HD_COUNT(dots); i++)
        for (uint32_t l = 0; l < 3; l++) {
            snprintf(names[i][l], sizeof names[i][l], "%s_%u", dots[i].name, 4u << l);
            KirFn *fn = kernels_new(&kernels, names[i][l]);
            build_dot(fn, dots[i].op, KIR_T(KIR_I32, (uint8_t)(4 << l)), KIR_T(KIR_I8, (uint8_t)(16 << l)));
            kernels_add(&kernels, fn);
        }
    kernels_link(&kernels);
    for (size_t i = 0; i < HD_COUNT(dots); i++)
        for (uint32_t l = 0; l < 3; l++) check_dot(&kernels, names[i][l], &dots[i], 4u << l);
    kernels_close(&kernels);
}

// Numbers whose products and sums are exact, where the processor has the instruction; everywhere else the emitter refuses.
static void test_dot_bf16(void **state) {
    Kernels kernels = kernels_open(*state);
    KirFn *fn = kernels_new(&kernels, "bf16");
    build_dot(fn, kir_dot_bf16, KIR_T(KIR_F32, 32), KIR_T(KIR_I16, 64));
    IrFeature needed = ir_target_bf16_feature(&kernels.target);
    if (!ir_target_has(&kernels.target, needed)) {
        HdBuf object = {0}, message = {0};
        hd_buf_printf(&message, "dot_bf16 needs %s, which", ir_feature_name(needed));
        HdStatus *status = cg_emit_object(kernels.emitter, fn, NULL, &object);
        assert_int_equal(hd_status_code(status), HD_UNSUPPORTED);
        assert_non_null(strstr(hd_status_message(status), message.data));
        hd_buf_free(&message);
        hd_status_free(status);
        kir_free(fn);
    } else {
        kernels_add(&kernels, fn);
        kernels_link(&kernels);
        float acc[32], want[32];
        uint16_t a[64], b[64];
        for (int i = 0; i < 64; i++) a[i] = hd_f32_to_bf16((float)(i % 17 - 8)), b[i] = hd_f32_to_bf16((float)(i % 5) * 0.25f);
        for (int i = 0; i < 32; i++)
            acc[i] = (float)i, want[i] = (float)i + hd_bf16_to_f32(a[2 * i]) * hd_bf16_to_f32(b[2 * i]) +
                                         hd_bf16_to_f32(a[2 * i + 1]) * hd_bf16_to_f32(b[2 * i + 1]);
        kernels_call(&kernels, "bf16", 1, (const void *[]){acc, a, b}, 3);
        assert_memory_equal(acc, want, sizeof want);
    }
    kernels_close(&kernels);
}

// ---- control, scratch, tables, parameters --------------------------------------------------------------------------------

// out[u] = sum over i = 0, 3, 6 .. < n of (i even ? table[i & 7] : i * scale) + number of rounds of an inner loop; through
// scratch.
static void build_control(KirFn *fn) {
    static const int32_t table[8] = {5, 10, -15, 20, -25, 30, 35, 40};
    KirRef n = kir_param(fn, KT_I64, "n"), out = kir_param(fn, KT_PTR, "out"), scale = kir_param(fn, KT_I32, "scale");
    KirRef numbers = kir_table(fn, table, sizeof table, "numbers"), zero = kir_int(fn, KT_I32, 0);
    assert_int_equal(numbers, kir_table(fn, table, sizeof table, "again"));
    KirLoop units, loop, inner;
    kir_for_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), kir_i64(fn, 1), 0, NULL, &units);
    kir_for_begin(fn, kir_i64(fn, 0), n, kir_i64(fn, 3), 2, (KirRef[]){zero, zero}, &loop);
    KirIf branch;
    KirRef odd = kir_cmp(fn, KIR_NE, kir_and(fn, loop.iv, kir_i64(fn, 1)), kir_i64(fn, 0));
    kir_if_begin(fn, odd, &branch);
    KirRef then_value = kir_mul(fn, kir_trunc(fn, loop.iv, KIR_I32), scale);
    kir_if_else(fn, &branch, 1, &then_value);
    KirRef else_value = kir_load(fn, KT_I32, kir_at(fn, numbers, kir_and(fn, loop.iv, kir_i64(fn, 7)), 4, 0));
    kir_if_end(fn, &branch, &else_value);
    kir_for_begin(fn, loop.iv, kir_i64(fn, 5), kir_i64(fn, 1), 1, &loop.carried[1], &inner);
    KirRef more = kir_add(fn, inner.carried[0], kir_int(fn, KT_I32, 1));
    kir_for_end(fn, &inner, &more);
    KirRef next[2] = {kir_add(fn, loop.carried[0], branch.results[0]), inner.results[0]};
    kir_for_end(fn, &loop, next);
    kir_store(fn, kir_scratch(fn), loop.results[0]);
    kir_prefetch(fn, out);
    kir_prefetch_later(fn, out);
    KirIf plain;                                          // no results, no else
    kir_if_begin(fn, kir_cmp(fn, KIR_GT, units.iv, kir_i64(fn, 2)), &plain);
    kir_store(fn, kir_scratch(fn), kir_add(fn, loop.results[0], kir_int(fn, KT_I32, 1000)));
    kir_if_end(fn, &plain, NULL);
    KirRef sum = kir_add(fn, kir_load(fn, KT_I32, kir_scratch(fn)), loop.results[1]);
    kir_store(fn, kir_at(fn, out, units.iv, 4, 0), sum);
    kir_for_end(fn, &units, NULL);
    note_kinds(fn);
}

static int32_t control_reference(int64_t unit, int64_t n, int32_t scale) {
    static const int32_t table[8] = {5, 10, -15, 20, -25, 30, 35, 40};
    int32_t sum = 0, rounds = 0;
    for (int64_t i = 0; i < n; i += 3) {
        sum += i & 1 ? (int32_t)i * scale : table[i & 7];
        for (int64_t k = i; k < 5; k++) rounds++;
    }
    return (unit > 2 ? sum + 1000 : sum) + rounds;
}

static void test_control(void **state) {
    Kernels kernels = kernels_open(*state);
    KirFn *fn = kernels_new(&kernels, "control");
    build_control(fn);
    kernels_add(&kernels, fn);
    kernels_link(&kernels);
    for (int64_t n = -1; n < 20; n++) {
        int32_t out[6];
        memset(out, 0, sizeof out);
        kernels_call(&kernels, "control", 5,
                     (const void *[]){(void *)(intptr_t)n, out, (void *)(uintptr_t)(0xdeadbeef00000000u | 0xfffffff9u)}, 3);
        for (int64_t u = 0; u < 6; u++) assert_int_equal(out[u], u < 5 ? control_reference(u, n, -7) : 0);
    }
    kernels_close(&kernels);
}

// Every operation of the CPU profile was in some kernel above.
static void test_coverage(void **state) {
    (void)state;
    enum { PROFILE_B = 1, PROFILE_C = 1, PROFILE_G = 0 };
#define KIR_OP(name, text, operands, result, profiles, doc) \
    if (PROFILE_##profiles && !kinds_seen[KIR_OP_##name]) fail_msg("no kernel here holds %s", text);
#include "codegen/kops.def"
#undef KIR_OP
}

int main(int argc, char **argv) {
    // Without fma and f16c, with AVX2, with AVX-512, and what else this machine has.
    static char v2[] = "cpu:x86-64-v2", avx[] = "cpu:x86-64-v2+avx", v3[] = "cpu:x86-64-v3", v4[] = "cpu:x86-64-v4",
                native[32] = "cpu:native";
    if (hd_cpu_has("avx512bf16")) strcat(native, "+avx512bf16");   // which it may leave out (hd_cpu_gains)
#define FOR_TARGET(t)                                                                                                            \
    cmocka_unit_test_prestate(test_lanes, t), cmocka_unit_test_prestate(test_halves, t),                                         \
        cmocka_unit_test_prestate(test_across, t), cmocka_unit_test_prestate(test_part, t),                                      \
        cmocka_unit_test_prestate(test_lookup, t),                                                                              \
        cmocka_unit_test_prestate(test_dots, t), cmocka_unit_test_prestate(test_dot_bf16, t),                                    \
        cmocka_unit_test_prestate(test_control, t)
    if (argc == 2) {                                      // the target, perhaps another machine's (kernel_fixture.h)
        const struct CMUnitTest one[] = {FOR_TARGET(argv[1]), cmocka_unit_test(test_coverage)};
        return cmocka_run_group_tests_name(argv[1], one, NULL, NULL);
    }
    const struct CMUnitTest with_avx512[] = {FOR_TARGET(v2), FOR_TARGET(avx),    FOR_TARGET(v3),
                                             FOR_TARGET(v4), FOR_TARGET(native), cmocka_unit_test(test_coverage)};
    const struct CMUnitTest with_avx2[] = {FOR_TARGET(v2), FOR_TARGET(avx), FOR_TARGET(v3), FOR_TARGET(native),
                                           cmocka_unit_test(test_coverage)};
    const struct CMUnitTest with_sse[] = {FOR_TARGET(v2), FOR_TARGET(native), cmocka_unit_test(test_coverage)};
    if (hd_cpu_has("avx512bw")) return cmocka_run_group_tests_name("AVX-512", with_avx512, NULL, NULL);
    if (hd_cpu_has("avx2")) return cmocka_run_group_tests_name("AVX2", with_avx2, NULL, NULL);
    return cmocka_run_group_tests_name("SSE4.2", with_sse, NULL, NULL);
}
