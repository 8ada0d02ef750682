// SPDX-License-Identifier: Apache-2.0
// The CUDA device over a stand-in for the driver (tests/support/fake_cuda.c): the suites of all devices; what is captured, uploaded and
// refused.
#include "tests/unit/suite_eval.h"
#include "tests/unit/suite_gpu.h"
#include "tests/unit/suite_memory.h"
#include "tests/unit/suite_state.h"

#include <dlfcn.h>

#include "runtime/device/cuda.h"
#include "runtime/runtime.h"

static CudaDevice *device_of(const Hand *of) { return (CudaDevice *)of->model->device; }

// ---- memory ----------------------------------------------------------------------------------------------------

static void only_inputs_are_seen(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    assert_null(rt_host(&session->states[0]));
    assert_non_null(rt_host(&session->inputs));              // the host always writes these in place
    heddle_session_free(session);
}

static void shared_memory_is_used_in_place(void **state)
{
    (void)state;
    RtDevice *device = hand.model->device;
    RtBuffer a;
    uint64_t got[2];
    OK(cuda_memory.base.alloc(device, 64, RT_SHARED, "a test", &a));
    OK(cuda_memory.base.write(device, &a, 8, (uint64_t[]){7, 9}, 16));
    OK(cuda_memory.base.zero(device, &a, 16, 8));
    OK(cuda_memory.base.read(device, &a, 0, 16, got));
    assert_true(got[0] == 0 && got[1] == 7);
    assert_memory_equal(cuda_memory.base.view(device, &a, 8), ((uint64_t[]){7, 0}), 16);
    cuda_memory.base.free(device, &a);
    assert_true(!a.address && !a.host);
    cuda_memory.base.free(device, &a);
}

// ---- capturing -------------------------------------------------------------------------------------------------

static Cuda real;
static uint32_t dispatched, captured, launched;

static CUresult count_kernel(CUfunction function, unsigned int x, unsigned int y, unsigned int z, unsigned int lanes, unsigned int ly,
                             unsigned int lz, unsigned int shared, CUstream stream, void **params, void **extra)
{
    dispatched++;
    return real.cuLaunchKernel(function, x, y, z, lanes, ly, lz, shared, stream, params, extra);
}

static CUresult only_count_groups(CUfunction function, unsigned int x, unsigned int y, unsigned int z, unsigned int lanes, unsigned int ly,
                                  unsigned int lz, unsigned int shared, CUstream stream, void **params, void **extra)
{
    (void)function, (void)y, (void)z, (void)lanes, (void)ly, (void)lz, (void)shared, (void)stream, (void)params, (void)extra;
    groups = x;
    return CUDA_SUCCESS;
}

static CUresult count_graph(CUgraphExec *out_exec, CUgraph graph, unsigned long long flags)
{
    captured++;
    return real.cuGraphInstantiate(out_exec, graph, flags);
}

static CUresult count_launch(CUgraphExec exec, CUstream stream)
{
    launched++;
    return real.cuGraphLaunch(exec, stream);
}

// Counts what an evaluation captures.
static void capture_of(HeddleSession *session, const int32_t *tokens, uint32_t count, HeddleLogits logits)
{
    Cuda *cuda = &device_of(&hand)->cuda;
    dispatched = captured = launched = 0;
    real = *cuda;
    cuda->cuLaunchKernel = count_kernel, cuda->cuGraphInstantiate = count_graph, cuda->cuGraphLaunch = count_launch;
    HdStatus *status = heddle_eval(session, &(HeddlePiece){.tokens = tokens, .count = count, .logits = logits}, 1);
    *cuda = real;
    OK(status);
}

static void steps_are_captured_once(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    const uint32_t launches = hand.module->classes[1].launch_count;
    capture_of(session, text[0], 1, HEDDLE_LOGITS_LAST);
    assert_true(captured == 1 && dispatched == launches && launched == 1);
    for (uint32_t i = 1; i < 20; i++) {
        capture_of(session, text[0] + i, 1, HEDDLE_LOGITS_LAST);
        assert_true(captured == 0 && dispatched == 0 && launched == 1);
    }
    capture_of(session, text[0] + 20, 3, HEDDLE_LOGITS_NONE);   // another class; no rows are wanted, so the head has no units
    assert_true(captured == 1 && dispatched == launches - 1);
    capture_of(session, text[0] + 23, 1, HEDDLE_LOGITS_LAST);
    assert_int_equal(captured, 0);                           // the first is still there
    capture_of(session, text[0] + 24, 2, HEDDLE_LOGITS_LAST);
    assert_int_equal(captured, 1);                           // the second is for other T, R
    append_and_check(&hand, session, 0, text[0], 26, 2);
    heddle_session_free(session);
}

static bool captures(HeddleSession *session, const int32_t *tokens, uint32_t count, HeddleLogits logits)
{
    capture_of(session, tokens, count, logits);
    return captured;
}

static void shapes_are_kept_up_to_a_bound(void **state)
{
    (void)state;
    check_kept_shapes(captures);
}

static void count_groups(bool on)
{
    Cuda *cuda = &device_of(&hand)->cuda;
    if (on) real = *cuda;
    cuda->cuLaunchKernel = on ? only_count_groups : real.cuLaunchKernel;
}

static void groups_keep_within_bounds(void **state)
{
    (void)state;
    check_groups(count_groups);
}

// Whoever embeds the library may use CUDA too.
static void the_callers_context_comes_back(void **state)
{
    (void)state;
    const Cuda *cuda = &device_of(&hand)->cuda;
    CUcontext mine = (CUcontext)&hand, found = NULL;
    assert_int_equal(cuda->cuCtxPushCurrent(mine), CUDA_SUCCESS);
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    append_and_check(&hand, session, 0, text[0], 0, 5);
    heddle_session_free(session);
    assert_int_equal(cuda->cuCtxPopCurrent(&found), CUDA_SUCCESS);
    assert_ptr_equal(found, mine);
}

// ---- refusals: the device --------------------------------------------------------------------------------------

static char chosen[300];                                     // what a model said last about its device

static HdStatus *model_on(const char *device)
{
    HeddleModel *model = NULL;
    HdStatus *status = heddle_model_create(hand.module, hand.weights, &(HeddleModelOptions){.device = device}, &model);
    if (!status) snprintf(chosen, sizeof chosen, "%s", model->device->description ? model->device->description : "");
    heddle_model_free(model);
    return status;
}

static void devices_are_chosen_by_number_and_name(void **state)
{
    (void)state;
    setenv("FAKE_CUDA_DEVICES", "2", 1);
    static const struct { const char *device, *chosen; } good[] = {
        {NULL, "Stand-in A, discrete GPU"}, {"cuda", "Stand-in A, discrete GPU"}, {"1", "Stand-in B, discrete GPU"}, {"cuda:1", "Stand-in B, discrete GPU"},
        {"in b", "Stand-in B, discrete GPU"}, {"null", ""}};
    for (size_t i = 0; i < HD_COUNT(good); i++) {
        OK(model_on(good[i].device));
        assert_string_equal(chosen, good[i].chosen);
    }
    expect(model_on("77"), HD_USAGE, "m.hdl: device '77': no type, number or part of a name; devices: cuda:0 Stand-in A, cuda:1 Stand-in B");
    expect(model_on("stand"), HD_USAGE, "m.hdl: device 'stand': that may be several; devices: cuda:0 ");
    expect(model_on("vulkan"), HD_MISMATCH, "m.hdl: compiled for cuda:hand, device 'vulkan' is asked for: heddle compile");
    unsetenv("FAKE_CUDA_DEVICES");
}

// What a module for `target` says on a device of a compute capability.
static HdStatus *open_on(const char *target, const char *capability)
{
    HeddleModule of = *hand.module;
    RtDevice *device = NULL;
    of.info.target = target;
    setenv("FAKE_CUDA_CAPABILITY", capability, 1);
    HdStatus *status = rt_device_cuda.open(&of, NULL, &device);
    unsetenv("FAKE_CUDA_CAPABILITY");
    if (!status) rt_device_cuda.close(device);
    return status;
}

static void code_is_for_an_architecture(void **state)
{
    (void)state;
    OK(open_on("cuda:sm_80", "80"));
    OK(open_on("cuda:sm_80", "86"));
    OK(open_on("cuda:compute_80", "80"));
    OK(open_on("cuda:compute_80", "120"));
    OK(open_on("cuda:sm_120", "121"));
    expect(open_on("cuda:sm_86", "80"), HD_MISMATCH, "m.hdl: compiled for cuda:sm_86, which no CUDA device here runs: 0, Stand-in A, is "
           "sm_80; compile for it: heddle compile MODEL.gguf --target cuda:sm_80 -o m.hdl");
    expect(open_on("cuda:sm_80", "90"), HD_MISMATCH, "compiled for cuda:sm_80, which no CUDA device here runs: 0, Stand-in A, is sm_90");
    expect(open_on("cuda:sm_90", "120"), HD_MISMATCH, "--target cuda:sm_120 ");
    expect(open_on("cuda:compute_90", "86"), HD_MISMATCH, "compiled for cuda:compute_90, which no CUDA device here runs");
}

static HdStatus *with(const char *name, const char *value)
{
    setenv(name, value, 1);
    HdStatus *status = model_on(NULL);
    unsetenv(name);
    return status;
}

static void drivers_that_cannot_are_one_line(void **state)
{
    (void)state;
    expect(with("FAKE_CUDA_DEVICES", "0"), HD_NOT_FOUND, "m.hdl: no CUDA device: the NVIDIA driver finds none on this machine");
    expect(with("FAKE_CUDA_VERSION", "11020"), HD_UNSUPPORTED, "m.hdl: the NVIDIA driver is too old: it knows CUDA 11.2, 11.4 or newer");
    expect(with("FAKE_CUDA_REFUSE", "222"), HD_MISMATCH, "m.hdl: kernel hand_pack: the NVIDIA driver is too old for its code: it knows CUDA "
           "12.8 (CUDA_ERROR_UNSUPPORTED_PTX_VERSION)");
    expect(with("FAKE_CUDA_REFUSE", "2"), HD_NO_MEMORY, "kernel hand_pack: device Stand-in A: no memory for loading its code");
}

// Of a file for CUDA and for the processor a machine without a device takes the second.
static void files_of_variants_know_the_device(void **state)
{
    (void)state;
    HdBuf parts[2];
    OK(hand_module(&(HandOptions){.cuda = true}, NULL, &parts[0]));
    OK(hand_module(NULL, NULL, &parts[1]));
    HeddleModule *module = open_variants(parts, 2);
    assert_string_equal(module->info.target, "cuda:hand");
    OK(heddle_module_check_machine(module));
    heddle_module_close(module);
    setenv("FAKE_CUDA_DEVICES", "0", 1);
    module = open_variants(parts, 2);
    unsetenv("FAKE_CUDA_DEVICES");
    assert_string_equal(module->info.target, "cpu:x86-64-v2");
    assert_non_null(strstr(module->variants[0].lacks, "a CUDA device (no CUDA device: "));
    heddle_module_close(module);
    hd_buf_free(&parts[0]);
    hd_buf_free(&parts[1]);
}

// ---- refusals: memory, loss ------------------------------------------------------------------------------------

static void full_memory_says_what_for(void **state)
{
    (void)state;
    HeddleSession *session;
    setenv("FAKE_CUDA_MEMORY", "4000", 1);
    HdStatus *status = heddle_session_create(hand.model, &(HeddleSessionOptions){.slots = 3}, &session);
    unsetenv("FAKE_CUDA_MEMORY");
    expect(status, HD_NO_MEMORY, "state of 3 slots with 64 positions: device Stand-in A: no memory for cache: 6144 bytes (6.0 KiB) asked for");
    session = hand_session(&hand, (HeddleSessionOptions){.slots = 3});
    append_and_check(&hand, session, 2, text[0], 0, 5);
    heddle_session_free(session);
}

static CUresult lost(CUstream stream)
{
    (void)stream;
    return CUDA_ERROR_ILLEGAL_ADDRESS;
}

static void a_lost_device_is_one_line(void **state)
{
    (void)state;
    Hand other;
    open_other(&other, NULL, false);
    Cuda *cuda = &device_of(&other)->cuda;
    HeddleSession *session = hand_session(&other, (HeddleSessionOptions){.slots = 2});
    append_and_check(&other, session, 0, text[0], 0, 1);
    real = *cuda;
    cuda->cuStreamSynchronize = lost;
    expect(eval_one(session, 1), HD_IO, "device Stand-in A was lost: a step did not end (CUDA_ERROR_ILLEGAL_ADDRESS); start again");
    expect(heddle_slot_fork(session, 1, 0), HD_IO, "was lost: a copy did not end");
    cuda->cuStreamSynchronize = real.cuStreamSynchronize;
    expect(eval_one(session, 1), HD_NOT_FINITE, "slot 0: an earlier step failed and left its state unusable");
    heddle_session_free(session);
    hand_close(&other);
}

static CUresult refuse_copy(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    (void)to, (void)from, (void)bytes, (void)stream;
    return CUDA_ERROR_LAUNCH_FAILED;
}

static CUresult refuse(CUgraphExec *out_exec, CUgraph graph, unsigned long long flags)
{
    (void)out_exec, (void)graph, (void)flags;
    return CUDA_ERROR_INVALID_VALUE;
}

static CUresult refuse_kernel(CUfunction function, unsigned int x, unsigned int y, unsigned int z, unsigned int lanes, unsigned int ly,
                              unsigned int lz, unsigned int shared, CUstream stream, void **params, void **extra)
{
    (void)function, (void)x, (void)y, (void)z, (void)lanes, (void)ly, (void)lz, (void)shared, (void)stream, (void)params, (void)extra;
    return CUDA_ERROR_INVALID_VALUE;
}

// What a step needs is made anew after it has failed: its arguments, a capture, a graph.
static void failed_preparations_are_repeated(void **state)
{
    (void)state;
    Cuda *cuda = &device_of(&hand)->cuda, broken[3];
    static const char *const what[] = {"was lost: a copy did not end", ": capturing a step failed (CUDA_ERROR_INVALID_VALUE)",
                                       ": capturing a step failed (CUDA_ERROR_INVALID_VALUE)"};
    real = broken[0] = broken[1] = broken[2] = *cuda;
    broken[0].cuMemcpyHtoDAsync = refuse_copy;
    broken[1].cuLaunchKernel = refuse_kernel;
    broken[2].cuGraphInstantiate = refuse;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    for (size_t i = 0; i < HD_COUNT(broken); i++) {
        *cuda = broken[i];
        HdStatus *status = eval_one(session, 1);
        *cuda = real;
        expect(status, HD_IO, what[i]);
        OK(heddle_slot_reset(session, 0));
    }
    append_and_check(&hand, session, 0, text[0], 0, 1);
    heddle_session_free(session);
}

// ---- refusals: the module --------------------------------------------------------------------------------------

// Opens the hand-made module on the device with one kernel changed.
static HdStatus *open_changed(void (*change)(CgProgram *program, CgKernel *kernel))
{
    CgProgram *program = hand_program(&(HandOptions){.cuda = true});
    IrModule *graph = hand_graph();
    HeddleModule *module;
    HeddleModel *model = NULL;
    HdBuf bytes = {0};
    change(program, &program->kernels.data[HAND_MIX]);
    OK(cg_module_write(program, graph, &(IrTarget){.name = "cuda:hand"}, &(CgModuleInfo){.pipeline = "by hand", .producer = "test 1"}, &bytes));
    HdStatus *status = heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module);
    if (!status) {
        status = heddle_model_create(module, hand.weights, NULL, &model);
        heddle_model_free(model);
        heddle_module_close(module);
    }
    hd_buf_free(&bytes);
    ir_module_free(graph);
    cg_program_free(program);
    return status;
}

static void beyond(CgProgram *program, CgKernel *kernel) { (void)program, kernel->offset = 4; }
static void no_name(CgProgram *program, CgKernel *kernel) { (void)program, kernel->name[0] = 'H'; }
static void no_code(CgProgram *program, CgKernel *kernel)
{
    kernel->offset = program->object.len, kernel->bytes = 8;
    hd_buf_bytes(&program->object, "not code", 8);
}

// Moves the kernel to a copy of the code, and takes its name from where it was.
static void apart(CgProgram *program, CgKernel *kernel)
{
    HdBuf copy = {0};
    hd_buf_bytes(&copy, program->object.data, program->object.len);
    for (char *at; (at = memmem(program->object.data, program->object.len, kernel->name, strlen(kernel->name)));) *at = 'H';
    kernel->offset = program->object.len;
    hd_buf_bytes(&program->object, copy.data, copy.len);
    hd_buf_free(&copy);
}

static void kernels_are_in_their_code(void **state)
{
    (void)state;
    expect(open_changed(beyond), HD_BAD_DATA, "m.hdl: key 'heddle.table.kernels': row 5: outside the object");
    expect(open_changed(no_name), HD_IO, "m.hdl: kernel Hand_mix: device Stand-in A: finding it failed (CUDA_ERROR_NOT_FOUND)");
    expect(open_changed(no_code), HD_BAD_DATA, "m.hdl: kernel hand_mix: its code is neither a cubin nor PTX");
    OK(open_changed(apart));                                 // a piece of code of its own
}

// ---- all of it -------------------------------------------------------------------------------------------------

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_EVAL,
        SUITE_STATE,
        cmocka_unit_test(only_inputs_are_seen),
        cmocka_unit_test(bytes_come_back),
        cmocka_unit_test(shared_memory_is_used_in_place),
        cmocka_unit_test(only_what_steps_read_is_uploaded),
        cmocka_unit_test(large_weights_are_packed),
        cmocka_unit_test(steps_are_captured_once),
        cmocka_unit_test(shapes_are_kept_up_to_a_bound),
        cmocka_unit_test(the_plan_counts_work_groups),
        cmocka_unit_test(groups_keep_within_bounds),
        cmocka_unit_test(poison_is_there),
        cmocka_unit_test(sessions_run_side_by_side),
        cmocka_unit_test(the_callers_context_comes_back),
        cmocka_unit_test(devices_are_chosen_by_number_and_name),
        cmocka_unit_test(code_is_for_an_architecture),
        cmocka_unit_test(drivers_that_cannot_are_one_line),
        cmocka_unit_test(files_of_variants_know_the_device),
        cmocka_unit_test(full_memory_says_what_for),
        cmocka_unit_test(a_lost_device_is_one_line),
        cmocka_unit_test(failed_preparations_are_repeated),
        cmocka_unit_test(kernels_are_in_their_code),
    };
    if (!dlopen(FAKE_CUDA, RTLD_NOW)) return fprintf(stderr, "%s\n", dlerror()), 1;   // found by its name from then on
    hand_device.cuda = true;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
