// SPDX-License-Identifier: Apache-2.0
// The module file: what is written is read back, damage is found, and a module that does not belong to a machine or a weight
// file says so in one line.
#include "tests/unit/hand_fixture.h"

static char model_path[] = "test_module_XXXXXX";

static HdBuf module_with(const HandOptions *options)
{
    HdBuf bytes;
    GgufFile *model;
    OK(gguf_open(model_path, NULL, &model));
    OK(hand_module(options, model, &bytes));
    gguf_close(model);
    return bytes;
}

static HdBuf module_bytes(void) { return module_with(NULL); }

static HeddleModule *open_bytes(const HdBuf *bytes)
{
    HeddleModule *module;
    OK(heddle_module_open_memory("m.hdl", bytes->data, bytes->len, &module));
    return module;
}

// ---- round trip ------------------------------------------------------------------------------------------------

static void same_schedule(const HeddleModule *module, const CgProgram *program)
{
    uint32_t arg = 0;
    assert_int_equal(module->class_count, program->classes.len);
    for (uint32_t c = 0; c < module->class_count; c++) {
        const RtClass *got = &module->classes[c];
        const CgClass *want = &program->classes.data[c];
        assert_string_equal(got->name, want->name);
        assert_memory_equal(got->bound.value, want->bound.value, sizeof got->bound.value);
        assert_int_equal(got->arena_bytes, want->arena_bytes);
        assert_int_equal(got->launch_count, want->launches.len);
        for (uint32_t l = 0; l < got->launch_count; l++) {
            const RtLaunch *a = &got->launches[l];
            const CgLaunch *b = &want->launches.data[l];
            assert_true(a->kernel == b->kernel && a->stage == b->stage && a->layer == b->layer && a->first_arg == b->first_arg
                        && a->arg_count == b->arg_count);
            assert_true(a->units == b->units && a->scratch == b->scratch && a->bytes == b->bytes && a->flops == b->flops);
            arg += a->arg_count;
        }
        assert_int_equal(got->result_count, want->results.len);
        for (uint32_t r = 0; r < got->result_count; r++) {
            assert_string_equal(got->results[r].name, want->results.data[r].name);
            assert_int_equal(got->results[r].offset, want->results.data[r].arena_offset);
            assert_int_equal(got->results[r].columns, want->results.data[r].type.dims[1]);
            assert_int_equal(got->results[r].rows, want->results.data[r].type.dims[0] == IR_DIM_T ? RT_ROWS_TOKENS
                             : RT_ROWS_WANTED);
        }
    }
    assert_int_equal(arg, module->arg_count);
}

static void same_tables(const HeddleModule *module, const CgProgram *program)
{
    assert_int_equal(module->kernel_count, program->kernels.len);
    for (uint32_t i = 0; i < module->kernel_count; i++) assert_string_equal(module->kernels[i].name,
        program->kernels.data[i].name);
    assert_int_equal(module->arg_count, program->args.len);
    for (uint32_t i = 0; i < module->arg_count; i++) assert_true(module->args[i].kind == program->args.data[i].kind
                                                                 && module->args[i].index == program->args.data[i].index);
    assert_int_equal(module->expr_count, program->exprs.len);
    for (uint32_t i = 0; i < module->expr_count; i++)
        for (int64_t t = 1; t < 9; t++) {
            int64_t value;
            assert_true(rt_expr_eval(&module->exprs[i], &(RtBinding){{t, t + 1, 7 * t, 9 - t}}, &value));
            assert_int_equal(value, ir_expr_eval(&program->exprs.data[i], &(IrBinding){{t, t + 1, 7 * t, 9 - t}}));
        }
    assert_int_equal(module->weight_count, program->weights.len);
    for (uint32_t i = 0; i < module->weight_count; i++) {
        assert_string_equal(module->tensors[module->weights[i].tensor].name, program->weights.data[i].name);
        assert_string_equal(module->weights[i].layout, ir_layout_name(program->weights.data[i].type.layout));
        assert_int_equal(module->weights[i].packed_bytes, program->weights.data[i].packed_bytes);
    }
    assert_int_equal(module->tensor_count, 2);               // "out" twice in the weight table
    assert_int_equal(module->state_count, 2);
    assert_true(module->states[0].append_only && !module->states[1].append_only);
    assert_int_equal(module->states[1].row_bytes, HAND_DIM * 4);
    assert_int_equal(module->object_len, program->object.len);
    assert_memory_equal(module->object, program->object.data, program->object.len);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    HdBuf bytes = module_bytes(), text = {0};
    HeddleModule *module = open_bytes(&bytes);
    CgProgram *program = hand_program(&(HandOptions){0});
    IrModule *graph = hand_graph();
    same_tables(module, program);
    same_schedule(module, program);
    HeddleModuleInfo info;
    heddle_module_info(module, &info);
    ir_print_module(graph, &text);
    assert_int_equal(info.graph_len, text.len);
    assert_memory_equal(info.graph, text.data, text.len);
    assert_string_equal(info.architecture, "hand");
    assert_string_equal(info.target, "cpu:x86-64-v2");
    assert_string_equal(info.numerics, "ordered");
    assert_string_equal(info.pipeline, "by hand");
    assert_string_equal(info.kv_type, "f32");
    assert_true(info.vocab == HAND_VOCAB && info.context_length == HAND_CONTEXT && info.tokens_per_step == HAND_T
                && info.slots_per_step == HAND_S && info.rows_per_step == HAND_R);
    assert_true(module->rope_n == HAND_ROPE && module->rope_theta == (double)HAND_THETA);
    assert_int_equal(strlen(info.digest), 32);
    hd_buf_free(&text);
    ir_module_free(graph);
    cg_program_free(program);
    heddle_module_close(module);
    hd_buf_free(&bytes);
}

static void same_input_same_bytes(void **state)
{
    (void)state;
    HdBuf a = module_bytes(), b = module_bytes();
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    hd_buf_free(&a);
    hd_buf_free(&b);
}

// ---- damage ----------------------------------------------------------------------------------------------------

static void any_flipped_byte_is_found(void **state)
{
    (void)state;
    HdBuf bytes = module_bytes();
    for (size_t i = 0; i < bytes.len; i++) {
        HeddleModule *module;
        bytes.data[i] ^= (char)(1 << i % 8);
        HdStatus *status = heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module);
        if (!status) fail_msg("byte %zu: opens", i);
        if (strncmp(hd_status_message(status), "m.hdl: ", 7) || strpbrk(hd_status_message(status),
            "\n\r")) fail_msg("byte %zu: %s", i, hd_status_message(status));
        hd_status_free(status);
        bytes.data[i] ^= (char)(1 << i % 8);
    }
    hd_buf_free(&bytes);
}

static void any_cut_is_found(void **state)
{
    (void)state;
    HdBuf bytes = module_bytes();
    for (size_t len = 0; len < bytes.len; len += len < 4096 ? 1 : 97) {
        HeddleModule *module;
        char *copy = malloc(len + 1);                        // exact, so that reading beyond the end is seen
        memcpy(copy, bytes.data, len);
        HdStatus *status = heddle_module_open_memory("m.hdl", copy, len, &module);
        assert_non_null(status);
        hd_status_free(status);
        free(copy);
    }
    hd_buf_free(&bytes);
}

// Runs what the module says on the null device, which follows every index without calling a kernel.
static void walk(HeddleModule *module)
{
    HeddleModel *model;
    HeddleSession *session;
    const int32_t tokens[] = {1, 2, 3, 4, 5};
    HeddleCandidate top[5 * 4];
    HdStatus *status = heddle_model_create(module, NULL, &(HeddleModelOptions){.device = "null"}, &model);
    if (!status) {
        status = heddle_session_create(model, &(HeddleSessionOptions){.slots = 2, .threads = 2}, &session);
        if (!status) {
            status = heddle_eval(session, &(HeddlePiece){.tokens = tokens, .count = 5, .logits = HEDDLE_LOGITS_ALL}, 1);
            if (!status) status = heddle_eval_top(session, &(HeddlePiece){.slot = 1, .tokens = tokens, .count = 5, .logits = HEDDLE_LOGITS_ALL}, 1, 4, top);
            heddle_session_free(session);
        }
        heddle_model_free(model);
    }
    hd_status_free(status);
}

// A module is untrusted even when its digest is right: whatever the numbers in its tables are, opening and walking it is safe.
static void sealed_damage_is_harmless(void **state)
{
    (void)state;
    HdBuf bytes = module_with(&(HandOptions){.top = 1});
    GgufFile *file;
    OK(gguf_open_memory("m.hdl", bytes.data, bytes.len, NULL, &file));
    size_t header = gguf_header_bytes(file);
    HandTries tries = {0, 0};
    gguf_close(file);
    uint32_t seed = 1;
    for (size_t i = 140; i < header; i++) {
        seed = seed * 1664525u + 1013904223u;
        char old = bytes.data[i];
        bytes.data[i] = i % 3 == 0 ? (char)(seed >> 24) : i % 3 == 1 ? (char)(old ^ (char)0x80) : (char)0xff;
        rt_module_seal(bytes.data, bytes.len);
        hand_try(&bytes, walk, &tries);
        bytes.data[i] = old;
    }
    assert_true(tries.opened > 100 && tries.refused > 1000);
    hd_buf_free(&bytes);
}

// ---- refusals --------------------------------------------------------------------------------------------------

// Replaces `old` (found once) by `new` of equal length, and seals.
static void replace(HdBuf *bytes, const void *old, const void *new, size_t len)
{
    char *at = memmem(bytes->data, bytes->len, old, len);
    assert_non_null(at);
    memcpy(at, new, len);
    rt_module_seal(bytes->data, bytes->len);
}

static void refuses_another_version(void **state)
{
    (void)state;
    HeddleModule *module;
    HdBuf bytes = module_bytes();
    replace(&bytes, "heddle.format\4\0\0\0\2", "heddle.format\4\0\0\0\3", 18);
    expect(heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module), HD_UNSUPPORTED,
           "m.hdl: module format 3, this program reads format 2");
    hd_buf_free(&bytes);
    bytes = module_bytes();
    replace(&bytes, "heddle.abi\4\0\0\0\1", "heddle.abi\4\0\0\0\7", 15);
    expect(heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module), HD_UNSUPPORTED,
           "m.hdl: kernel interface 7, this program has 1");
    hd_buf_free(&bytes);
    expect(heddle_module_open(model_path, &module), HD_BAD_DATA, "architecture 'hand', not a compiled module");
    expect(heddle_module_open("no-such.hdl", &module), HD_NOT_FOUND, "no-such.hdl");
}

// A row of 16 logits has one run.
static void refuses_more_runs_than_there_are(void **state)
{
    (void)state;
    HeddleModule *module;
    HdBuf bytes = module_with(&(HandOptions){.top = 2});
    expect(heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module), HD_BAD_DATA, "top needs R rows of some runs of the vocabulary");
    hd_buf_free(&bytes);
}

static void refuses_another_machine(void **state)
{
    (void)state;
    HdBuf bytes = module_bytes();
    replace(&bytes, "sse4.2", "avx999", 6);
    HeddleModule *module = open_bytes(&bytes);
    expect(heddle_module_check_machine(module), HD_MISMATCH,
           "compiled for cpu:x86-64-v2, which needs avx999: this machine does not have that; compile for it: heddle compile");
    heddle_module_close(module);
    hd_buf_free(&bytes);
    bytes = module_bytes();
    replace(&bytes, "cpu:x86-64-v2", "metal:m1-abcd", 13);
    module = open_bytes(&bytes);
    HeddleModel *model;
    expect(heddle_model_create(module, NULL, NULL, &model), HD_UNSUPPORTED,
           "compiled for metal:m1-abcd; this program runs cpu, vulkan and cuda modules");
    expect(heddle_module_check_machine(module), HD_UNSUPPORTED, "metal:m1-abcd");
    heddle_module_close(module);
    hd_buf_free(&bytes);
    bytes = module_bytes();
    module = open_bytes(&bytes);
    expect(heddle_model_create(module, NULL, &(HeddleModelOptions){.device = "vulkan"}, &model), HD_MISMATCH,
           "m.hdl: compiled for cpu:x86-64-v2, device 'vulkan' is asked for: heddle compile MODEL.gguf --target vulkan");
    expect(heddle_model_create(module, NULL, &(HeddleModelOptions){.device = "cuda"}, &model), HD_MISMATCH,
           "device 'cuda' is asked for: heddle compile MODEL.gguf --target cuda:compute_75 -o m.hdl");
    expect(heddle_model_create(module, NULL, &(HeddleModelOptions){.device = "1"}, &model), HD_USAGE,
           "device '1': m.hdl is compiled for cpu:x86-64-v2; the devices for that are cpu and null");
    heddle_module_close(module);
    hd_buf_free(&bytes);
}

typedef struct Other { const char *architecture, *name; GgmlType type; uint64_t rows; uint32_t context; bool extra_key; } Other;

// A weight file that differs in one way.
static HdStatus *check_other(const HeddleModule *module, const Other *other)
{
    static float data[64 * HAND_DIM];
    char path[] = "test_module_other_XXXXXX";
    HeddleWeights *weights;
    close(mkstemp(path));
    GgufWriter *writer = gguf_writer_new(other->architecture);
    gguf_writer_u32(writer, "hand.context_length", other->context);
    gguf_writer_f32(writer, "hand.rope.freq_base", HAND_THETA);
    if (other->extra_key) gguf_writer_u32(writer, "hand.attention.sinks", 1);
    gguf_writer_string(writer, "general.name", HD_STR("of no matter"));
    gguf_writer_tensor(writer, "embed", GGML_F32, 2, (const uint64_t[]){HAND_DIM, HAND_VOCAB}, data);
    gguf_writer_tensor(writer, other->name, other->type, 2, (const uint64_t[]){HAND_DIM, other->rows}, data);
    gguf_writer_tensor(writer, "unused", GGML_F32, 1, (const uint64_t[]){3}, data);
    OK(gguf_writer_save(writer, path));
    gguf_writer_free(writer);
    OK(heddle_weights_open(path, false, &weights));
    HdStatus *status = heddle_module_check_weights(module, weights);
    heddle_weights_close(weights);
    unlink(path);
    return status;
}

static void refuses_another_model(void **state)
{
    (void)state;
    HdBuf bytes = module_bytes();
    HeddleModule *module = open_bytes(&bytes);
    OK(check_other(module, &(Other){"hand", "out", GGML_F32, HAND_VOCAB, HAND_CONTEXT, false}));
    expect(check_other(module, &(Other){"hind", "out", GGML_F32, HAND_VOCAB, HAND_CONTEXT, false}), HD_MISMATCH,
           "general.architecture: module hand, file hind");
    expect(check_other(module, &(Other){"hand", "oat", GGML_F32, HAND_VOCAB, HAND_CONTEXT, false}), HD_MISMATCH,
           "out: not in the file");
    expect(check_other(module, &(Other){"hand", "out", GGML_F16, HAND_VOCAB, HAND_CONTEXT, false}), HD_MISMATCH,
           "out: module F32, file F16; make it again: heddle compile test_module_other_");
    expect(check_other(module, &(Other){"hand", "out", GGML_F32, 7, HAND_CONTEXT, false}), HD_MISMATCH,
           "out: module [8, 16], file [8, 7]");
    expect(check_other(module, &(Other){"hand", "out", GGML_F32, HAND_VOCAB, 32, false}), HD_MISMATCH,
           "hand.context_length: module 64, file 32");
    expect(check_other(module, &(Other){"hand", "out", GGML_F32, HAND_VOCAB, HAND_CONTEXT, true}), HD_MISMATCH,
           "hand.attention.sinks: the module was made without it");
    heddle_module_close(module);
    hd_buf_free(&bytes);
}

// ---- the writer's own checks --------------------------------------------------------------------------------------

static void writer_refuses_what_it_cannot_state(void **state)
{
    (void)state;
    CgProgram *program = hand_program(&(HandOptions){0});
    IrModule *graph = hand_graph();
    IrTarget target = {.name = "cpu:x86-64-v2"};
    CgModuleInfo info = {.producer = "test 1"};
    HdBuf bytes = {0};
    ir_module_set_key(graph, "context_length", "many");
    expect(cg_module_write(program, graph, &target, &info, &bytes), HD_INTERNAL, "context_length");
    ir_module_set_key(graph, "context_length", "64");
    program->classes.data[1].results.data[1].type.dims[1] = IR_DIM_C;
    expect(cg_module_write(program, graph, &target, &info, &bytes), HD_INTERNAL, "chain");
    program->classes.data[1].results.data[1].type.dims[1] = HAND_WIDE;
    IrGraph *other = ir_graph_new(graph, "prefill");
    ir_input(other, IR_INPUT_ROPE, (IrType){IR_F32, IR_LAYOUT_NATIVE, 2, {IR_DIM_T, HAND_ROPE}}, 500.0f);
    expect(cg_module_write(program, graph, &target, &info, &bytes), HD_UNSUPPORTED, "different rotary tables");
    ir_module_free(graph);
    cg_program_free(program);
}

static int set_up(void **state)
{
    (void)state;
    HandWeights weights;
    close(mkstemp(model_path));
    hand_weights(&weights, 1);
    return hand_write_weights(model_path, &weights, HAND_CONTEXT, 0) ? 1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(model_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(same_input_same_bytes),
        cmocka_unit_test(any_flipped_byte_is_found),
        cmocka_unit_test(any_cut_is_found),
        cmocka_unit_test(sealed_damage_is_harmless),
        cmocka_unit_test(refuses_another_version),
        cmocka_unit_test(refuses_more_runs_than_there_are), cmocka_unit_test(refuses_another_machine),
        cmocka_unit_test(refuses_another_model),
        cmocka_unit_test(writer_refuses_what_it_cannot_state),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
