// SPDX-License-Identifier: Apache-2.0
// Numbers in two parts and elementary functions in single precision, as sequences of kernel operations: the same algorithm on
// every target and in every lane count.
//
// Sources: the reductions are the classical ones (W. J. Cody, W. Waite, Software Manual for the Elementary Functions, 1980; P. T.
// P. Tang, ACM TOMS 15, 1989). The polynomials are minimax polynomials in the relative error of the result, found for this
// project by the Remez exchange algorithm in 120-bit arithmetic, coefficients then rounded to float.
//
// Largest error against float64 in ulp of the result, with and without fma, over dense samples of the ranges in
// tests/unit/test_kir_math.c (results below the smallest normal float are counted in units of the smallest subnormal):
//
//   exp 0.94    log1p 0.78    sigmoid 0.95    softplus 1.42
//   silu 0.97 (x >= -80; to 1.5 at -87, below which exp x is subnormal)
#include "codegen/kir.h"

// ---- numbers in two parts --------------------------------------------------------------------------------------
// D. E. Knuth, The Art of Computer Programming 2, 4.2.2; T. J. Dekker, Numer. Math. 18, 1971.

KirPair kir_exact_sum(KirFn *fn, KirRef a, KirRef b) {
    KirRef sum = kir_add(fn, a, b), from_b = kir_sub(fn, sum, a), from_a = kir_sub(fn, sum, from_b);
    return (KirPair){sum, kir_add(fn, kir_sub(fn, a, from_a), kir_sub(fn, b, from_b))};
}

KirPair kir_exact_product(KirFn *fn, KirRef a, KirRef b) {
    KirRef product = kir_mul(fn, a, b);
    return (KirPair){product, kir_fma_exact(fn, a, b, kir_neg(fn, product))};
}

// The same where |a| >= |b|.
static KirPair exact_sum_of_larger(KirFn *fn, KirRef a, KirRef b) {
    KirRef sum = kir_add(fn, a, b);
    return (KirPair){sum, kir_sub(fn, b, kir_sub(fn, sum, a))};
}

// While the sum is smaller than x, what it reports as lost may be off, but by no more than an addition without it would lose.
void kir_accumulate(KirFn *fn, KirRef *sum, KirRef *rest, KirRef x) {
    KirPair both = exact_sum_of_larger(fn, *sum, x);
    *sum = both.hi, *rest = both.lo;
}

// ---- exp, log1p ------------------------------------------------------------------------------------------------

static KirType words_like(KirType type) { return KIR_T(KIR_I32, type.lanes); }

// a[0] + x (a[1] + x (a[2] + ...)), Horner's scheme.
static KirRef polynomial(KirFn *fn, KirRef x, const float *a, uint32_t count) {
    KirType type = kir_type(fn, x);
    KirRef sum = kir_float(fn, type, a[count - 1]);
    for (uint32_t i = count - 1; i-- > 0;) sum = kir_fma(fn, sum, x, kir_float(fn, type, a[i]));
    return sum;
}

// ln 2 in two parts; the high one has 15 bits, so that its product with an exponent is exact even without fma.
static const float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f, log2_e = 0x1.715476p+0f;

// 2^n for the integers n of `words`, -126..127.
static KirRef power_of_two(KirFn *fn, KirRef words) {
    KirType type = kir_type(fn, words);
    KirRef biased = kir_add(fn, words, kir_int(fn, type, 127));
    return kir_bitcast(fn, kir_shl(fn, biased, kir_int(fn, type, 23)), KIR_T(KIR_F32, type.lanes));
}

// exp x = 2^n exp r, n = round(x / ln 2), |r| <= ln 2 / 2; exp r = 1 + r + r^2 p(r), |error of p's part| < 2^-34. n comes out of
// the low bits of x / ln 2 + 1.5 * 2^23: no conversion, whose result is undefined for a NaN.
static KirPair exp_fraction(KirFn *fn, KirRef x, KirRef *out_n) {
    static const float p[] = {0x1p-1f, 0x1.555554p-3f, 0x1.55548cp-5f, 0x1.111274p-7f, 0x1.6d8f2ap-10f, 0x1.9f06d6p-13f};
    KirType type = kir_type(fn, x), words = words_like(type);
    KirRef magic = kir_float(fn, type, 0x1.8p+23f), shifted = kir_fma(fn, x, kir_float(fn, type, log2_e), magic);
    KirRef n = kir_sub(fn, shifted, magic);
    *out_n = kir_sub(fn, kir_bitcast(fn, shifted, words), kir_int(fn, words, 0x4b400000));
    KirRef r = kir_fma(fn, n, kir_float(fn, type, -ln2_high), x);
    r = kir_fma(fn, n, kir_float(fn, type, -ln2_low), r);
    KirRef square = kir_mul(fn, r, r);
    KirRef tail = kir_fma(fn, square, polynomial(fn, r, p, HD_COUNT(p)), r);
    return exact_sum_of_larger(fn, kir_float(fn, type, 1.0f), tail);
}

// The scale is applied as two factors, because n reaches -152 (result subnormal or 0, rounded once) and 129 (result infinite).
static KirRef exp_from(KirFn *fn, KirRef x, float least) {
    KirType type = kir_type(fn, x), words = words_like(type);
    KirRef n, low = kir_float(fn, type, least), high = kir_float(fn, type, 89.0f);
    x = kir_select(fn, kir_cmp(fn, KIR_LT, x, low), low, x);     // a NaN passes both
    x = kir_select(fn, kir_cmp(fn, KIR_GT, x, high), high, x);
    KirRef result = exp_fraction(fn, x, &n).hi, half = kir_ashr(fn, n, kir_int(fn, words, 1));
    result = kir_mul(fn, result, power_of_two(fn, half));
    return kir_mul(fn, result, power_of_two(fn, kir_sub(fn, n, half)));
}

KirRef kir_exp(KirFn *fn, KirRef x) { return exp_from(fn, x, -105.0f); }
KirRef kir_decay(KirFn *fn, KirRef x) { return exp_from(fn, x, -40.0f); }

// log(1 + x) = e ln 2 + log(1 + f), 1 + f = (1 + x) / 2^e in [3/4, 3/2). f is formed as x / 2^e + (1 / 2^e - 1): exactly x for e
// = 0, which keeps the relative accuracy of small x, and rounded once otherwise. log(1 + f) = f - f^2 / 2 + f^3 p(f), |relative
// error| < 2^-30. What the sum of e ln 2 and f loses is known exactly (e ln 2 is 0 or the larger one) and joins the small terms.
// x = -1 gives -infinity, x < -1 NaN; infinity and NaN stay.
KirRef kir_log1p(KirFn *fn, KirRef x) {
    static const float p[] = {-0x1p-1f, 0x1.55555ap-2f, -0x1.00006ep-2f, 0x1.999788p-3f, -0x1.5519bap-3f, 0x1.2460ap-3f,
                              -0x1.04aa38p-3f, 0x1.df420ep-4f, -0x1.75658ap-4f, 0x1.349cfp-5f};
    enum { THREE_QUARTERS = 0x3f400000, FOUR = 0x40800000, EXPONENT = -0x800000 };
    KirType type = kir_type(fn, x), words = words_like(type);
    KirRef one = kir_float(fn, type, 1.0f), bits = kir_bitcast(fn, kir_add(fn, x, one), words);
    KirRef shifted = kir_and(fn, kir_sub(fn, bits, kir_int(fn, words, THREE_QUARTERS)), kir_int(fn, words, EXPONENT)); // e * 2^23
    KirRef e = kir_itof(fn, kir_ashr(fn, shifted, kir_int(fn, words, 23)));
    KirRef scaled = kir_bitcast(fn, kir_sub(fn, kir_bitcast(fn, x, words), shifted), type); // x / 2^e
    KirRef scale = kir_bitcast(fn, kir_sub(fn, kir_int(fn, words, FOUR), shifted), type);   // 4 / 2^e: normal for all e
    KirRef f = kir_add(fn, scaled, kir_fma(fn, scale, kir_float(fn, type, 0.25f), kir_float(fn, type, -1.0f)));
    KirRef small = kir_mul(fn, kir_mul(fn, f, f), polynomial(fn, f, p, HD_COUNT(p)));
    small = kir_fma(fn, e, kir_float(fn, type, ln2_low), small);
    KirRef big = kir_mul(fn, e, kir_float(fn, type, ln2_high)), sum = kir_add(fn, big, f);
    small = kir_add(fn, small, kir_sub(fn, f, kir_sub(fn, sum, big)));
    KirRef result = kir_add(fn, sum, small);
    KirRef infinity = kir_float(fn, type, __builtin_inff()), minus_one = kir_float(fn, type, -1.0f);
    result = kir_select(fn, kir_cmp(fn, KIR_LT, x, infinity), result, x);      // infinity, NaN
    result = kir_select(fn, kir_cmp(fn, KIR_EQ, x, minus_one), kir_neg(fn, infinity), result);
    return kir_select(fn, kir_cmp(fn, KIR_LT, x, minus_one), kir_float(fn, type, __builtin_nanf("")), result);
}

// ---- sigmoid and what is made of it ----------------------------------------------------------------------------

// exp x for x <= 0, in two parts. 2^n is 2^(n + 64) 2^-64: n is -152..0.
static KirPair exp_of_negative(KirFn *fn, KirRef x) {
    KirType type = kir_type(fn, x), words = words_like(type);
    KirRef n, low = kir_float(fn, type, -105.0f), unit = kir_float(fn, type, 0x1p-64f);
    KirPair y = exp_fraction(fn, kir_select(fn, kir_cmp(fn, KIR_LT, x, low), low, x), &n);
    KirRef scale = power_of_two(fn, kir_add(fn, n, kir_int(fn, words, 64)));
    return (KirPair){kir_mul(fn, kir_mul(fn, y.hi, scale), unit), kir_mul(fn, kir_mul(fn, y.lo, scale), unit)};
}

// With z = exp(-|x|) <= 1, so that nothing overflows: 1 / (1 + z) for x >= 0, z / (1 + z) below. What the quotient lacks is the
// remainder over 1 + z; that is so small that 1 / (1 + z) need be known to a twentieth only.
static KirPair sigmoid_pair(KirFn *fn, KirRef x) {
    KirType type = kir_type(fn, x);
    KirRef zero = kir_float(fn, type, 0.0f), one = kir_float(fn, type, 1.0f), negative = kir_cmp(fn, KIR_LT, x, zero);
    KirPair z = exp_of_negative(fn, kir_neg(fn, kir_abs(fn, x))), below = exact_sum_of_larger(fn, one, z.hi);
    KirPair above = {kir_select(fn, negative, z.hi, one), kir_select(fn, negative, z.lo, zero)};
    KirRef quotient = kir_div(fn, above.hi, below.hi), minus = kir_neg(fn, quotient);
    KirRef rest = kir_fma(fn, minus, kir_add(fn, below.lo, z.lo), above.lo);
    KirRef remainder = kir_add(fn, kir_fma_exact(fn, minus, below.hi, above.hi), rest);
    KirRef inverse = kir_fma(fn, below.hi, kir_float(fn, type, -0.5f), kir_float(fn, type, 1.457f));
    return (KirPair){quotient, kir_mul(fn, remainder, inverse)};
}

// 1 / (1 + exp(-x))
KirRef kir_sigmoid(KirFn *fn, KirRef x) {
    KirPair s = sigmoid_pair(fn, x);
    return kir_add(fn, s.hi, s.lo);
}

// x / (1 + exp(-x)); NaN for minus infinity, as IEEE arithmetic gives.
KirRef kir_silu(KirFn *fn, KirRef x) {
    KirPair s = sigmoid_pair(fn, x);
    KirRef result = kir_fma_exact(fn, x, s.hi, kir_mul(fn, x, s.lo)), infinity = kir_float(fn, kir_type(fn, x), __builtin_inff());
    return kir_select(fn, kir_cmp(fn, KIR_LT, x, infinity), result, x);   // infinity times a rest of 0
}

// log(1 + exp x), and x itself above 20, where the two agree to float precision: the definition that the models are trained with
// (PyTorch's threshold). For very negative x it is exp x to full relative accuracy.
KirRef kir_softplus(KirFn *fn, KirRef x) {
    KirRef soft = kir_log1p(fn, kir_exp(fn, x));
    return kir_select(fn, kir_cmp(fn, KIR_GT, x, kir_float(fn, kir_type(fn, x), 20.0f)), x, soft);
}
