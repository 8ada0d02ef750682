// SPDX-License-Identifier: Apache-2.0
// Graphs of one gated delta rule, token by token (DELTA) and by chunks (CHUNKS), whose inputs are embeddings of the
// tokens: weights q0, k0, v0, a (decay g = -A softplus(a)) and b (strength sigmoid(b)).
#ifndef HEDDLE_TESTS_DELTA_FIXTURE_H
#define HEDDLE_TESTS_DELTA_FIXTURE_H

#include "tests/unit/group_fixture.h"

enum { MOST = 600 };   // tokens of a call

#define HEAD "module \"m\" {\n graph @g {\n %tokens = input tokens : i32[T]\n %segments = input segments : i32[S, 8]\n"
#define EMBED(name, D)                                                                      \
    "%w" name " = weight \"" name "\" : f32[97, " D "]\n%" name " = fused %tokens, %w" name \
    " {kind = embed} (%.a: i32[T], %.b: f32[97, " D "])"                                    \
    "{\n %.c = embed %.a, %.b : f32[T, " D "]\n yield %.c\n } : f32[T, " D "]\n"
// Normalised rows of heads.
#define HEADS(name, from, H, d, HD, scale)                                                                              \
    "%" name " = fused %" from " {kind = rowwise} (%.x: f32[T, " HD "]) {\n %.a = reshape %.x : f32[T, " H ", " d "]\n" \
    "%.b = l2_norm %.a {eps = 1e-06, scale = " scale "} : f32[T, " H ", " d "]\n yield %.b\n } : f32[T, " H ", " d "]\n"
// Decays g = -A softplus(a) and strengths beta = sigmoid(b).
#define GATES(nv, A)                                                                                                        \
    "%g, %beta = fused %a, %b {kind = rowwise} (%.a: f32[T, " nv "], %.b: f32[T, " nv "]) {\n %.c = softplus %.a : f32[T, " \
    nv "]\n"                                                                                                                \
    "%.d = scale %.c {value = -" A "} : f32[T, " nv "]\n %.e = sigmoid %.b : f32[T, " nv "]\n yield %.d, %.e\n } : f32[T, " \
    nv "], f32[T, " nv "]\n"
#define SOURCES(nk, nv, dk, dv, KD, VD, A)                                                                                   \
    HEAD EMBED("q0", KD) EMBED("k0", KD) EMBED("v0", VD) EMBED("a", nv) EMBED("b", nv) HEADS("q", "q0", nk, dk, KD, "0.125") \
    HEADS("k", "k0", nk, dk, KD, "1") GATES(nv, A) "%s = state \"s\" delta : f32[" nv ", " dk ", " dv "]\n"                  \
    "%v = fused %v0 {kind = rowwise} (%.x: f32[T, " VD "]) {\n %.a = reshape %.x : f32[T, " nv ", " dv "]\n yield %.a\n"     \
    "} : f32[T, " nv ", " dv "]\n"
#define DELTA(op, nk, nv, dk, dv, KD, VD, heads, A)                                                                         \
    SOURCES(nk, nv, dk, dv, KD, VD, A)                                                                                      \
    "%o = fused %q, %k, %v, %g, %beta, %s, %segments {kind = delta} (%.q: f32[T, " nk ", " dk "], %.k: f32[T, " nk ", " dk  \
    "], "                                                                                                                   \
    "%.v: f32[T, " nv ", " dv "], %.g: f32[T, " nv "], %.b: f32[T, " nv "], %.s: f32[" nv ", " dk ", " dv                   \
    "], %.t: i32[S, 8]) {\n"                                                                                                \
    "%.o = " op " %.q, %.k, %.v, %.g, %.b, %.s, %.t {heads = " heads "} : f32[T, " nv ", " dv "]\n yield %.o\n } : f32[T, " \
    nv ", " dv "]\n"                                                                                                        \
    "return o = %o\n }\n}\n"

#define CHUNKS(size, nk, nv, dk, dv, KD, VD, heads, A)                                                                        \
    SOURCES(nk, nv, dk, dv, KD, VD, A) "dim E = " size "*S + " size "*ceil(T/" size ")\n"                                     \
    "%U, %W, %P, %G = fused %q, %k, %v, %g, %beta, %segments {kind = delta_prep} (%.q: f32[T, " nk ", " dk "], %.k: f32[T, "  \
    nk ", " dk "], "                                                                                                          \
    "%.v: f32[T, " nv ", " dv "], %.g: f32[T, " nv "], %.b: f32[T, " nv "], %.t: i32[S, 8]) {\n"                              \
    "%.1, %.2, %.3, %.4 = delta.chunk_prep %.q, %.k, %.v, %.g, %.b, %.t {heads = " heads ", chunk = " size "} : f32[E, " nv   \
    ", " dv "], f32[E, " nv ", "                                                                                              \
    dk "], f32[E, " nv ", " size "], f32[E, " nv "]\n yield %.1, %.2, %.3, %.4\n } : f32[E, " nv ", " dv "], f32[E, " nv ", " \
    dk "], f32[E, " nv ", "                                                                                                   \
    size "], f32[E, " nv "]\n"                                                                                                \
    "%o = fused %q, %k, %U, %W, %P, %G, %s, %segments {kind = delta_chunk} (%.q: f32[T, " nk ", " dk "], %.k: f32[T, " nk     \
    ", " dk "], "                                                                                                             \
    "%.1: f32[E, " nv ", " dv "], %.2: f32[E, " nv ", " dk "], %.3: f32[E, " nv ", " size "], %.4: f32[E, " nv "], %.s: f32[" \
    nv ", " dk ", " dv "], "                                                                                                  \
    "%.t: i32[S, 8]) {\n %.o = delta.chunk_scan %.q, %.k, %.1, %.2, %.3, %.4, %.s, %.t {heads = " heads ", chunk = " size     \
    "} : f32[T, " nv ", " dv "]\n"                                                                                            \
    "yield %.o\n } : f32[T, " nv ", " dv "]\n return o = %o, U = %U, W = %W, P = %P, G = %G\n }\n}\n"

static inline int32_t *some_tokens(int32_t from) {
    static int32_t tokens[MOST];
    for (int32_t t = 0; t < MOST; t++) tokens[t] = ((t + from) * 31 + (t + from) / 7) % 97;
    return tokens;
}

// ---- what delta.chunk_prep has made ----------------------------------------------------------------------------

// Marks the padded rows that have a token; returns how many rows there are.
static inline int64_t rows_with_tokens(const BenchCall *call, int64_t size, bool *out_has) {
    int64_t row = 0;
    for (uint32_t i = 0; i < call->segment_count; i++) {
        int64_t count = call->segments[i][3];
        for (int64_t t = 0; t < count; t++) out_has[row + t] = true;
        row += hd_ceil_div(count, size) * size;
    }
    return size * (hd_ceil_div(bench_token_count(call), size) + call->segment_count);
}

// Above e^-40, which kernels may take for a smaller factor (kir_decay).
#define DECAYED 1e-17f

// The worst NMSE of U, W, P and G over the rows that have a token; infinite if a row without one was written.
static inline double prepared_nmse(const Bench *bench, const BenchCall *call, int64_t size) {
    static const char *const names[] = {"U", "W", "P", "G"};
    bool has[2 * MOST] = {false};
    int64_t rows = rows_with_tokens(call, size, has);
    double worst = 0;
    for (size_t n = 0; n < HD_COUNT(names); n++) {
        uint64_t count;
        const float *want = ir_interp_result(bench->interp, names[n], &count), *got = bench_result(bench, names[n]);
        uint64_t width = count / (uint64_t)rows, used = 0;
        float *a = malloc(count * sizeof *a), *b = malloc(count * sizeof *b);
        for (int64_t r = 0; r < rows; r++, got += width, want += width) {
            for (uint64_t i = 0; i < width && !has[r]; i++)
                if (memcmp(&got[i], "\xff\xff\xff\xff", 4)) worst = INFINITY;
            if (!has[r]) continue;
            for (uint64_t i = 0; i < width; i++, used++) {
                bool nothing = fabsf(got[i]) < DECAYED && fabsf(want[i]) < DECAYED;
                a[used] = nothing ? 0 : got[i], b[used] = nothing ? 0 : want[i];
            }
        }
        bool all_decayed = true;
        for (uint64_t i = 0; i < used; i++) all_decayed = all_decayed && a[i] == 0 && b[i] == 0;
        double error = all_decayed ? 0 : nmse(a, b, used);
        if (!(error <= worst)) worst = error;
        free(a);
        free(b);
    }
    return worst;
}

// A sum c of decays that is rounded to float32 gives e^c, and with it W, a relative error of up to |c| 6e-8, hence the bound.
static inline void check_prepared(const Bench *bench, const BenchCall *call, int64_t size) {
    double error = prepared_nmse(bench, call, size);
    if (!(error <= 1e-10)) fail_msg("delta.chunk_prep: NMSE %g", error);
}

// ---- decays ----------------------------------------------------------------------------------------------------
// Kinds of weights `a` for A = 16, from random numbers: every token the same or few strong decays among weak ones, after which
// the old state counts again.

typedef struct Decays { const char *what; float common, scale, every_11th; } Decays;
static const Decays all_decays[] = {
    {"weak, g about -0.1", -5, 1, -5},
    {"dt = 5, g about -80", 5, 1, 5},
    {"mixed, g from -1e-3 to -80", -8, 1, 5},
    {"wide, g from -1e-7 to -70", -6, 5, 0},
    {"extreme, g = -1e4 among -3e-8", -20, 1, 625},
};

static inline void set_decays(Bench *bench, const Decays *decays) {
    uint64_t count, seed = 5;
    float *a = bench_values(bench, "a", &count);
    for (uint64_t i = 0; i < count; i++) {
        float random = bench_random(&seed);
        a[i] = i % 11 ? decays->common + decays->scale * random : decays->every_11th;
    }
    bench_reset(bench);
}

#endif
