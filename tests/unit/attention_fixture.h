// SPDX-License-Identifier: Apache-2.0
// Graphs of one attention over the cache, whole or in spans, with gates behind it.
#ifndef HEDDLE_TESTS_ATTENTION_FIXTURE_H
#define HEDDLE_TESTS_ATTENTION_FIXTURE_H

#include "tests/unit/group_fixture.h"

enum { MOST = 1200 };

#define HEAD "module \"m\" {\n graph @g {\n %tokens = input tokens : i32[T]\n %segments = input segments : i32[S, 8]\n"
#define EMBED(name, D)                                                                      \
    "%w" name " = weight \"" name "\" : f32[97, " D "]\n%" name " = fused %tokens, %w" name \
    " {kind = embed} (%.a: i32[T], %.b: f32[97, " D "])"                                    \
    "{\n %.c = embed %.a, %.b : f32[T, " D "]\n yield %.c\n } : f32[T, " D "]\n"
#define CACHE(name, Hkv, d, kv)                                                                                        \
    "%s" name " = state \"" name "\" kv : " kv "[C, " Hkv ", " d "]\n"                                                 \
    "fused %" name ", %s" name ", %segments {kind = rowwise} (%.x: f32[T, " Hkv ", " d "], %.c: " kv "[C, " Hkv ", " d \
    "], %.s: i32[S, 8])"                                                                                               \
    " {\n kv_append %.x, %.c, %.s\n yield\n }\n"
#define SPLIT(name, from, H, d, HD)                                                                                     \
    "%" name " = fused %" from " {kind = rowwise} (%.x: f32[T, " HD "]) {\n %.a = reshape %.x : f32[T, " H ", " d "]\n" \
    "yield %.a\n }"                                                                                                     \
    " : f32[T, " H ", " d "]\n"
#define ROWS(H, Hkv, d, HD, KD, kv)                                                                                            \
    HEAD EMBED("q0", HD) EMBED("k0", KD) EMBED("v0", KD) EMBED("gate", HD) SPLIT("q", "q0", H, d, HD) SPLIT("k", "k0", Hkv,    \
    d, KD)                                                                                                                     \
    SPLIT("v", "v0", Hkv, d, KD) CACHE("k", Hkv, d, kv) CACHE("v", Hkv, d, kv)
// The attention; beside it the gated attention, flattened before or after the gate. `%.o` has been made.
#define GATES(H, d, HD)                                                                                                        \
    "%.f = reshape %.o : f32[T, " HD "]\n"                                                                                     \
    "%.b = sigmoid %.g : f32[T, " HD "]\n %.e = mul %.f, %.b : f32[T, " HD "]\n %.h = reshape %.g : f32[T, " H ", " d "]\n"    \
    "%.i = silu %.h : f32[T, " H ", " d "]\n %.j = mul %.o, %.i : f32[T, " H ", " d "]\n %.l = reshape %.j : f32[T, " HD "]\n" \
    "yield %.o, %.e, %.l\n } : f32[T, " H ", " d "], f32[T, " HD "], f32[T, " HD "]\n return o = %1, flat = %2, gated = %3\n"
#define CACHES(H, Hkv, d, kv) "%.q: f32[T, " H ", " d "], %.k: " kv "[C, " Hkv ", " d "], %.v: " kv "[C, " Hkv ", " d "], %.s: i32[S, 8]"
#define ATTENTION(H, Hkv, d, HD, KD, kv)                                                                                       \
    ROWS(H, Hkv, d, HD, KD, kv)                                                                                                \
    "%1, %2, %3 = fused %q, %sk, %sv, %segments, %gate {kind = attention} (" CACHES(H, Hkv, d, kv) ", %.g: f32[T, " HD "]) {\n" \
    "%.o = attention %.q, %.k, %.v, %.s {scale = 0.2} : f32[T, " H ", " d "]\n" GATES(H, d, HD) "}\n}\n"
#define SPANS(H, Hkv, d, HD, KD, kv, n)                                                                                        \
    ROWS(H, Hkv, d, HD, KD, kv)                                                                                                \
    "%u, %m, %l = fused %q, %sk, %sv, %segments {kind = attention_spans} (" CACHES(H, Hkv, d, kv) ") {\n"                      \
    "%.sums, %.most, %.all = attention.spans %.q, %.k, %.v, %.s {scale = 0.2, spans = " n "} : f32[T, " H ", " n ", " d "], f32[T, " H \
    ", " n "], f32[T, " H ", " n "]\n yield %.sums, %.most, %.all\n } : f32[T, " H ", " n ", " d "], f32[T, " H ", " n "], f32[T, " H ", " n \
    "]\n%1, %2, %3 = fused %u, %m, %l, %gate {kind = attention} (%.sums: f32[T, " H ", " n ", " d "], %.most: f32[T, " H ", " n      \
    "], %.all: f32[T, " H ", " n "], %.g: f32[T, " HD "]) {\n %.o = attention.merge %.sums, %.most, %.all : f32[T, " H ", " d "]\n"     \
    GATES(H, d, HD) "}\n}\n"

static inline int32_t *some_tokens(void) {
    static int32_t tokens[MOST];
    for (int32_t t = 0; t < MOST; t++) tokens[t] = (t * 31 + t / 7) % 97;
    return tokens;
}

// Two segments of unequal length; then they go on, and a third begins.
static inline void check_attention(const char *text, int32_t count, double most) {
    Bench b = bench_open(text, 3, 1, MOST, MOST, 3);
    int32_t segments[2][8] = {{2, 0, 0, count}, {0, 0, count, count / 2 + 1}};
    BenchCall call = {(const int32_t (*)[8])segments, 2, some_tokens(), NULL, 0};
    bench_check(&b, &call, "o", most);
    bench_compare(&b, "flat", most);
    bench_compare(&b, "gated", most);
    int32_t more[3][8] = {{0, count / 2 + 1, 1, 2}, {2, count, 0, 1}, {1, 0, 3, 5}};   // they go on, and a third begins
    BenchCall next = {(const int32_t (*)[8])more, 3, some_tokens() + 11, NULL, 0};
    bench_check(&b, &next, "o", most);
    bench_close(&b);
}

// The graph is refused, with a text like this.
static inline void check_refused(const char *text, const char *what) {
    IrModule *module;
    IrTarget target;
    CgProgram *program;
    HdBuf full = bench_text(text);
    expect_ok(ir_parse_module("group.hir", (HdStr){full.data, full.len}, &module));
    expect_ok(ir_target_parse(bench_target, &target));
    run_place(ir_graph_find(module, "g"), &(IrBinding){{1, 1, 1, 1}});
    HdStatus *status = cg_compile(module, &target, NULL, &program);
    assert_non_null(status);
    if (!strstr(hd_status_message(status), what)) fail_msg("%s, wanted: %s", hd_status_message(status), what);
    hd_status_free(status);
    ir_module_free(module);
    hd_buf_free(&full);
}

#endif
