// SPDX-License-Identifier: Apache-2.0
// The kernel IR itself: what the verifier refuses, what the printer writes; and that machine code depends on nothing but kernel
// and target.
#include "kernel_fixture.h"

#include "codegen/kir_internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

// A small kernel with a loop, a branch, a table and a partial access.
static KirFn *sample(const char *name) {
    static const uint8_t bytes[3] = {1, 0xab, 255};
    KirFn *fn = kir_new(name);
    KirRef x = kir_param(fn, KT_PTR, "x"), n = kir_param(fn, KT_I64, "n"), start = kir_float(fn, KT_F32x16, 0);
    KirLoop loop;
    kir_for_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), kir_i64(fn, 1), 1, &start, &loop);
    KirRef value = kir_load_part(fn, KT_F32x16, kir_at(fn, x, loop.iv, 64, 4), n);
    KirRef next = kir_fma(fn, value, kir_float(fn, KT_F32, 0.1f), loop.carried[0]);
    kir_for_end(fn, &loop, &next);
    KirIf branch;
    kir_if_begin(fn, kir_cmp(fn, KIR_LE, n, kir_i64(fn, 3)), &branch);
    KirRef low = kir_extract(fn, loop.results[0], 5);
    kir_if_else(fn, &branch, 1, &low);
    KirRef high = kir_itof(fn,
                           kir_sext(fn, kir_load(fn, KT_I8, kir_offset_const(fn, kir_table(fn, bytes, 3, "t\"1"), 1)), KIR_I32));
    kir_if_end(fn, &branch, &high);
    kir_store(fn, x, branch.results[0]);
    return fn;
}

static const char golden[] =
    "kernel @sample(%0: i64 begin, %1: i64 end) {\n"
    "  %2: ptr = param 0 \"x\"\n"
    "  %3: i64 = param 1 \"n\"\n"
    "  %4: f32x16 = fconst 0\n"
    "  %5: i64 = const 1\n"
    "  %6: i64 = const 64\n"
    "  %7: i64 = const 4\n"
    "  %8: f32 = fconst 0.1\n"
    "  %9: f32x16 = fconst 0.1\n"
    "  %10: i64 = const 3\n"
    "  %11: ptr = table \"t\\221\" 01abff\n"
    "  for %0, %1, %5, %4 { %12: i64, %13: f32x16\n"
    "    %14: i64 = mul %12, %6\n"
    "    %15: ptr = offset %2, %14\n"
    "    %16: ptr = offset %15, %7\n"
    "    %17: f32x16 = load_part %16, %3\n"
    "    %18: f32x16 = fma %17, %9, %13\n"
    "    yield %18\n"
    "  } -> %19: f32x16\n"
    "  %20: i1 = cmp le %3, %10\n"
    "  if %20 {\n"
    "    %21: f32 = extract 5 %19\n"
    "    yield %21\n"
    "  } else {\n"
    "    %22: ptr = offset %11, %5\n"
    "    %23: i8 = load %22\n"
    "    %24: i32 = sext %23\n"
    "    %25: f32 = itof %24\n"
    "    yield %25\n"
    "  } -> %26: f32\n"
    "  store %2, %26\n"
    "}\n";

static void test_print(void **state) {
    (void)state;
    KirFn *fn = sample("sample");
    HdBuf text = {0};
    kir_print(fn, &text);
    assert_string_equal(text.data, golden);
    expect_ok(kir_verify(fn, KIR_SIMD));
    kir_free(fn);
    hd_buf_free(&text);
}

// What distinguishes kernels shows in the text.
static void test_print_distinguishes(void **state) {
    (void)state;
    HdBuf seen[8] = {{0}};
    for (int variant = 0; variant < 8; variant++) {
        KirFn *fn = kir_new("k");
        KirRef x = kir_param(fn, variant == 1 ? KT_I64 : KT_PTR, "x"), y = kir_param(fn, KT_PTR, "y");
        KirRef a = kir_load(fn, variant == 2 ? KT_I32x16 : KT_F32x16, y);
        a = kir_shuffle(fn, a, a, (const uint8_t[]){0, 1, 2, variant == 3}, 4);
        KirRef mask = kir_cmp(fn, variant == 4 ? KIR_LT : KIR_LE, a, a);
        kir_store(fn, y, kir_select(fn, mask, a, a));
        kir_store(fn, y, kir_load(fn, KT_I8, kir_table(fn, variant == 5 ? "ab" : "ac", 2, "t")));
        kir_store(fn, y, kir_float(fn, KT_F32, variant == 6 ? __builtin_nanf("1") : variant == 7 ? -0.0f : 0.0f));
        (void)x;
        kir_print(fn, &seen[variant]);
        kir_free(fn);
    }
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < i; k++) assert_string_not_equal(seen[i].data, seen[k].data);
    for (int i = 0; i < 8; i++) hd_buf_free(&seen[i]);
}

static void test_constants(void **state) {
    (void)state;
    KirFn *fn = kir_new("k");
    assert_int_equal(kir_i64(fn, 5), kir_i64(fn, 5));
    assert_int_equal(kir_int(fn, KT_I8, 255), kir_int(fn, KT_I8, -1));
    assert_int_not_equal(kir_int(fn, KT_I8, 1), kir_int(fn, KT_I16, 1));
    assert_int_not_equal(kir_float(fn, KT_F32, 0.0f), kir_float(fn, KT_F32, -0.0f));
    assert_int_equal(kir_splat(fn, kir_float(fn, KT_F32, 2), 16), kir_float(fn, KT_F32x16, 2));
    assert_int_equal(kir_add(fn, kir_i64(fn, 5), kir_mul(fn, kir_i64(fn, 2), kir_i64(fn, 3))), kir_i64(fn, 11));
    KirRef x = kir_param(fn, KT_PTR, "x");
    assert_int_equal(kir_offset_const(fn, x, 0), x);
    assert_true(kir_uses(fn, KIR_OP_param) && !kir_uses(fn, KIR_OP_offset));
    KirRef sum = kir_add(fn, kir_load(fn, KT_F32x16, x), kir_load(fn, KT_F32, x));    // a scalar is splat
    assert_int_equal(kir_type(fn, sum).lanes, 16);
    kir_free(fn);
}

// ---- refusals ----------------------------------------------------------------------------------------------------

static KirOp *find(const KirBlock *block, KirOpKind kind) {
    for (KirOp *op = block->first; op; op = op->next) {
        if (op->kind == kind) return op;
        for (int i = 0; i < 2; i++) {
            KirOp *inside = op->body[i] ? find(op->body[i], kind) : NULL;
            if (inside) return inside;
        }
    }
    return NULL;
}

static void break_operand(KirFn *fn) { find(fn->entry, KIR_OP_fma)->operands[2] = 0; }
static void break_range(KirFn *fn) { find(fn->entry, KIR_OP_fma)->operands[2] = 9999; }
static void break_types(KirFn *fn) { find(fn->entry, KIR_OP_fma)->operands[1] = fn->entry->first_arg; }
static void break_order(KirFn *fn) { find(fn->entry, KIR_OP_mul)->operands[0] = find(fn->entry, KIR_OP_offset)->result; }
static void break_scope(KirFn *fn) { find(fn->entry, KIR_OP_store)->operands[1] = find(fn->entry, KIR_OP_fma)->result; }
static void break_result(KirFn *fn) { fn->values.data[find(fn->entry, KIR_OP_cmp)->result].type = KT_I8; }
static void break_lanes(KirFn *fn) { fn->values.data[find(fn->entry, KIR_OP_load_part)->result].type.lanes = 12; }
static void break_kind(KirFn *fn) { find(fn->entry, KIR_OP_fma)->kind = KIR_OP_and; }
static void break_unknown(KirFn *fn) { find(fn->entry, KIR_OP_fma)->kind = KIR_OP_COUNT; }
static void break_arity(KirFn *fn) { find(fn->entry, KIR_OP_fma)->operand_count = 2; }
static void break_extract(KirFn *fn) { find(fn->entry, KIR_OP_extract)->number = 16; }
static void break_table(KirFn *fn) { find(fn->prelude, KIR_OP_table)->number = 1; }
static void break_yield(KirFn *fn) { find(fn->entry, KIR_OP_for)->body[0]->yields[0] = fn->entry->first_arg; }
static void break_yields(KirFn *fn) { find(fn->entry, KIR_OP_if)->body[1]->yield_count = 0; }
static void break_side(KirFn *fn) { find(fn->entry, KIR_OP_if)->body[1] = NULL; }
static void break_bounds(KirFn *fn) { find(fn->entry, KIR_OP_for)->operands[1] = find(fn->prelude, KIR_OP_param)->result; }
static void break_condition(KirFn *fn) { find(fn->entry, KIR_OP_if)->operands[0] = fn->entry->first_arg; }
static void break_nesting(KirFn *fn) { find(fn->entry, KIR_OP_for)->body[0]->parent = fn->prelude; }
static void break_open(KirFn *fn) {
    kir_if_begin(fn, kir_cmp(fn, KIR_EQ, fn->entry->first_arg, fn->entry->first_arg), &(KirIf){0});
}
static void break_profile(KirFn *fn) { kir_op_append(fn, fn->entry, KIR_OP_barrier, 0, NULL); }

static void test_verify(void **state) {
    (void)state;
    static const struct { void (*change)(KirFn *fn); const char *want; } cases[] = {
        {break_operand, "fma: an operand is no value"},
        {break_range, "fma: an operand is no value"},
        {break_types, "fma: the operands have different types"},
        {break_order, "mul: an operand is used where it is not defined"},
        {break_scope, "store: an operand is used where it is not defined"},
        {break_result, "cmp: the result has the wrong type"},
        {break_lanes, "load_part: lanes are a power of two"},
        {break_kind, "and: "},
        {break_unknown, "unknown operation"},
        {break_arity, "fma: wrong number of operands"},
        {break_extract, "extract: no such lane"},
        {break_table, "table: no such table"},
        {break_yield, "for: a carried value keeps its type"},
        {break_yields, "if: both sides yield the same types"},
        {break_side, "if: an if with results has two sides"},
        {break_bounds, "for: bounds and step are i64"},
        {break_condition, "if: "},
        {break_nesting, "for: a body hangs elsewhere"},
        {break_open, "a loop or branch is not closed"},
        {break_profile, "barrier: not in this profile"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        KirFn *fn = sample("sample");
        cases[i].change(fn);
        HdStatus *status = kir_verify(fn, KIR_SIMD);
        assert_int_equal(hd_status_code(status), HD_INTERNAL);
        if (!strstr(hd_status_message(status), cases[i].want)) fail_msg("case %zu: %s", i, hd_status_message(status));
        hd_status_free(status);
        kir_free(fn);
    }
    KirFn *fn = sample("sample");
    HdStatus *status = kir_verify(fn, KIR_SIMT);           // fine so far: nothing here is CPU only
    assert_null(status);
    kir_prefetch(fn, kir_scratch(fn));
    status = kir_verify(fn, KIR_SIMT);
    assert_non_null(strstr(hd_status_message(status), "prefetch: not in this profile"));
    hd_status_free(status);
    kir_free(fn);
}

// ---- SIMT --------------------------------------------------------------------------------------------------------

// Lane i of the group stores what lane 63 - i has.
static KirFn *turned_around(void) {
    KirFn *fn = kir_new("turned");
    kir_set_lanes(fn, 64);
    KirRef x = kir_param(fn, KT_PTR, "x"), array = kir_shared(fn, KIR_F32, 64), lane = kir_lane(fn);
    kir_shared_store(fn, array, lane, kir_load(fn, KT_F32, kir_at(fn, x, lane, 4, 0)));
    kir_barrier(fn);
    kir_store(fn, kir_at(fn, x, lane, 4, 0), kir_shared_load(fn, array, kir_sub(fn, kir_i64(fn, 63), lane)));
    return fn;
}

static void break_array(KirFn *fn) { find(fn->entry, KIR_OP_shared_load)->operands[0] = find(fn->prelude, KIR_OP_param)->result; }
static void break_index(KirFn *fn) { find(fn->entry, KIR_OP_shared_load)->operands[1] = find(fn->entry, KIR_OP_load)->result; }
static void break_element(KirFn *fn) { find(fn->entry, KIR_OP_shared_store)->operands[2] = fn->lane; }
static void break_use(KirFn *fn) { find(fn->entry, KIR_OP_store)->operands[1] = find(fn->prelude, KIR_OP_shared)->result; }
static void break_size(KirFn *fn) { find(fn->prelude, KIR_OP_shared)->number = 0; }
static void break_group(KirFn *fn) { kir_set_lanes(fn, 1025); }

static void test_simt(void **state) {
    (void)state;
    static const struct { void (*change)(KirFn *fn); const char *want; } cases[] = {
        {break_array, "shared_load: "},
        {break_index, "shared_load: the index is i64"},
        {break_element, "shared_store: the value has the array's scalar"},
        {break_use, "store: a shared array is only loaded from and stored to"},
        {break_size, "shared: a shared array holds 1 to 2^20 numbers"},
        {break_group, "at most 1024 lanes"},
    };
    for (size_t i = 0; i <= HD_COUNT(cases); i++) {
        KirFn *fn = turned_around();
        if (i < HD_COUNT(cases)) cases[i].change(fn);
        HdStatus *status = kir_verify(fn, KIR_SIMT);
        if (i == HD_COUNT(cases)) assert_null(status);
        else if (!status || !strstr(hd_status_message(status), cases[i].want)) fail_msg("case %zu: %s", i, hd_status_message(status));
        hd_status_free(status);
        kir_free(fn);
    }
    KirFn *fn = turned_around();
    HdStatus *status = kir_verify(fn, KIR_SIMD);
    assert_non_null(strstr(hd_status_message(status), "a SIMD kernel has none"));
    hd_status_free(status);
    HdBuf text = {0};
    kir_print(fn, &text);
    assert_non_null(strstr(text.data, "lanes 64 {"));
    assert_non_null(strstr(text.data, "f32[] = shared 64"));
    hd_buf_free(&text);
    kir_free(fn);
}

static void build_wrong_type(KirFn *fn) { kir_and(fn, kir_float(fn, KT_F32, 1), kir_float(fn, KT_F32, 1)); }
static void build_narrow(KirFn *fn) { kir_sext(fn, kir_i64(fn, 1), KIR_I32); }
static void build_nothing(KirFn *fn) { kir_store(fn, kir_param(fn, KT_PTR, "x"), 0); }
static void build_escape(KirFn *fn) {
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, 4), kir_i64(fn, 1), 0, NULL, &loop);
    KirRef inside = kir_add(fn, loop.iv, loop.iv);
    kir_for_end(fn, &loop, NULL);
    kir_store(fn, kir_param(fn, KT_PTR, "x"), inside);
}

// A schedule's defect stops at once with a line that names kernel and operation.
static void test_builder_aborts(void **state) {
    (void)state;
    static const struct { void (*build)(KirFn *fn); const char *want; } cases[] = {
        {build_wrong_type, "kernel broken: and of f32, f32: "}, {build_narrow, "kernel broken: sext of i64: "},
        {build_nothing, "kernel broken: store of ptr"}, {build_escape, "closed"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        if (!pid) {
            dup2(ends[1], 2);
            signal(SIGABRT, SIG_DFL);
            cases[i].build(kir_new("broken"));
            _exit(0);
        }
        close(ends[1]);
        char text[512] = {0};
        assert_true(read(ends[0], text, sizeof text - 1) > 0);
        close(ends[0]);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        if (!strstr(text, cases[i].want)) fail_msg("case %zu: %s", i, text);
    }
}

// ---- code --------------------------------------------------------------------------------------------------------

bool emit_has_row(KirOpKind kind);   // codegen/cpu/emit_internal.h, which needs the headers of MLIR

// Each operation of the CPU profile has a row in the emitter, and the others have none.
static void test_rows(void **state) {
    (void)state;
    enum { PROFILE_B = 1, PROFILE_C = 1, PROFILE_G = 0 };
#define KIR_OP(name, text, operands, result, profiles, doc) \
    if (emit_has_row(KIR_OP_##name) != PROFILE_##profiles) fail_msg("emitter row of %s", text);
#include "codegen/kops.def"
#undef KIR_OP
}

static void compile(const char *target_name, HdBuf *out_shared) {
    IrTarget target;
    CgEmitter *emitter;
    expect_ok(ir_target_parse(target_name, &target));
    expect_ok(cg_emitter_new(&target, &emitter));
    HdBuf objects[2] = {{0}};
    KirFn *kernels[2] = {sample("first"), sample("second")};
    for (int i = 0; i < 2; i++) {
        expect_ok(cg_emit_object(emitter, kernels[i], NULL, &objects[i]));
        kir_free(kernels[i]);
    }
    expect_ok(cg_link(&target, objects, 2, out_shared));
    for (int i = 0; i < 2; i++) hd_buf_free(&objects[i]);
    cg_emitter_free(emitter);
}

static void *compile_thread(void *out_shared) {
    compile("cpu:x86-64-v3", out_shared);
    return NULL;
}

static void assert_same_bytes(const HdBuf *a, const HdBuf *b) {
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->data, b->data, a->len);
}

// Equal kernels give equal bytes: again, from another folder, with another environment, and from two threads at once.
static void test_same_bytes(void **state) {
    (void)state;
    HdBuf first = {0}, other = {0}, threads[2] = {{0}};
    compile("cpu:x86-64-v3", &first);
    int here = open(".", O_RDONLY | O_DIRECTORY);
    assert_int_equal(chdir("/"), 0);
    setenv("TZ", "Asia/Tokyo", 1);
    setenv("SOURCE_DATE_EPOCH", "1", 1);
    compile("cpu:x86-64-v3", &other);
    assert_int_equal(fchdir(here), 0);
    close(here);
    assert_same_bytes(&first, &other);
    pthread_t ids[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&ids[i], NULL, compile_thread, &threads[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(ids[i], NULL);
    for (int i = 0; i < 2; i++) assert_same_bytes(&first, &threads[i]), hd_buf_free(&threads[i]);
    other.len = 0;
    compile("cpu:x86-64-v2", &other);
    assert_true(first.len != other.len || memcmp(first.data, other.data, first.len));
    hd_buf_free(&first);
    hd_buf_free(&other);
}

// A dot product for a target: the assembly that a dump holds.
static void dump_dot(const char *target_name, HdBuf *out_assembly) {
    char folder[] = "kir-dump-XXXXXX";
    assert_non_null(mkdtemp(folder));
    Kernels kernels = kernels_open(target_name);
    KirFn *fn = kir_new("dot");
    KirRef x = kir_param(fn, KT_PTR, "x");
    kir_store(fn, x,
              kir_dot_u8i8(fn, kir_load(fn, KT_I32x16, x), kir_load(fn, KT_I8x64, x),
                           kir_load(fn, KT_I8x64, kir_offset_const(fn, x, 64))));
    HdBuf object = {0}, prefix = {0}, path = {0};
    hd_buf_printf(&prefix, "%s/001-dot", folder);
    expect_ok(cg_emit_object(kernels.emitter, fn, prefix.data, &object));
    static const struct {
        const char *suffix, *holds;
    } files[] = {{".hkr", "kernel @dot"}, {".mlir", "func.func @dot"}, {".ll", "define void @dot"}, {".s", "dot:"}};
    for (size_t i = 0; i < HD_COUNT(files); i++) {
        path.len = 0;
        hd_buf_free(out_assembly);
        hd_buf_printf(&path, "%s%s", prefix.data, files[i].suffix);
        expect_ok(hd_read_file(path.data, out_assembly));
        assert_non_null(strstr(out_assembly->data, files[i].holds));
        unlink(path.data);
    }
    assert_int_equal(rmdir(folder), 0);
    hd_buf_free(&object);
    hd_buf_free(&prefix);
    hd_buf_free(&path);
    kir_free(fn);
    kernels_close(&kernels);
}

// Targets that this machine may not run are checked by their instructions.
static void test_instructions(void **state) {
    (void)state;
    static const struct { const char *target, *has, *lacks; } cases[] = {
        {"cpu:alderlake", "vpdpbusd", "%zmm"},
        {"cpu:sapphirerapids", "vpdpbusd", "%ymm"},
        {"cpu:znver4", "%zmm", "vpmaddwd"},
        {"cpu:haswell", "vpmaddwd", "%zmm"},
        {"cpu:znver3", "vpmaddwd", "vpdpbusd"},
        {"cpu:x86-64-v4", "vpmaddwd", "vpdpbusd"},
        {"cpu:x86-64-v2", "pmaddwd", "%ymm"},
        {"cpu:x86-64-v3+avxvnni", "{vex}", "%zmm"},
        {"cpu:x86-64-v3+avx512vnni", "vpdpbusd", "%ymm"},
        {"cpu:x86-64-v2+avx", "vpmaddwd", "%zmm"},
        {"cpu:aarch64", "saddlp", "sdot"},
        {"cpu:neoverse-n1", "sdot", "usdot"},
        {"cpu:neoverse-v2", "usdot", "eor"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        HdBuf assembly = {0};
        dump_dot(cases[i].target, &assembly);
        if (!strstr(assembly.data, cases[i].has) || strstr(assembly.data, cases[i].lacks))
            fail_msg("%s: %s", cases[i].target, assembly.data);
        hd_buf_free(&assembly);
    }
}

static void test_link_errors(void **state) {
    (void)state;
    HdBuf shared = {0}, object = {0};
    hd_buf_str(&object, "this is no object file");
    HdStatus *status = cg_link(&(IrTarget){0}, &object, 1, &shared);
    assert_int_equal(hd_status_code(status), HD_INTERNAL);
    assert_non_null(strstr(hd_status_message(status), "linking kernels: "));
    assert_non_null(strstr(hd_status_message(status), "lld"));
    hd_status_free(status);
    hd_buf_free(&object);
    hd_buf_free(&shared);
}

static void test_version(void **state) {
    (void)state;
    assert_non_null(strstr(cg_compiler_version(), "llvm 22."));
    assert_non_null(strstr(cg_compiler_version(), "abi "));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print),      cmocka_unit_test(test_print_distinguishes), cmocka_unit_test(test_constants),
        cmocka_unit_test(test_verify), cmocka_unit_test(test_simt),     cmocka_unit_test(test_builder_aborts),      cmocka_unit_test(test_rows),
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_instructions),        cmocka_unit_test(test_link_errors),
        cmocka_unit_test(test_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
