// SPDX-License-Identifier: Apache-2.0
// The Vulkan device: the suites of all devices with mapped and with staged memory, under the validation layer; what is recorded, uploaded
// and refused. Without a Vulkan device the test says so and is skipped.
#include "tests/unit/suite_eval.h"
#include "tests/unit/suite_gpu.h"
#include "tests/unit/suite_memory.h"
#include "tests/unit/suite_state.h"

#include "runtime/device/vulkan.h"
#include "runtime/runtime.h"

static bool validates;                                       // the layer is installed

static VulkanDevice *device_of(const Hand *of) { return (VulkanDevice *)of->model->device; }

// ---- memory ----------------------------------------------------------------------------------------------------

static void memory_is_seen_or_staged_as_asked(void **state)
{
    (void)state;
    const VulkanDevice *device = device_of(&hand);
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    bool staging = vulkan_env("HEDDLE_VULKAN_STAGING");
    if (staging) assert_false(device->direct);
    if (device->card.type == VK_PHYSICAL_DEVICE_TYPE_CPU) assert_true(device->direct == !staging);
    assert_true((rt_host(&session->states[0]) != NULL) == device->direct);
    assert_non_null(rt_host(&session->inputs));              // the host always writes these in place
    heddle_session_free(session);
}

// KiB of a mapped file that this process holds.
static long resident(const char *path)
{
    char line[1024];
    long sum = 0, kib;
    bool is_it = false;
    FILE *file = fopen("/proc/self/smaps", "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (strchr("0123456789abcdef", line[0])) is_it = strstr(line, path) != NULL;   // the others begin with a capital
        if (is_it && sscanf(line, "Rss: %ld", &kib) == 1) sum += kib;
    }
    fclose(file);
    return sum;
}

static void uploaded_pages_are_given_back(void **state)
{
    (void)state;
    HandOptions options = hand_device;
    RtBuffer buffer;
    Hand large;
    options.big_bytes = 40 << 20;
    hand_open(&large, 1, NULL, &options, NULL);
    const GgufTensor *tensor = gguf_find_tensor(large.weights->file, "big");
    RtProgress progress = {0};
    OK(vulkan_memory.base.alloc(large.model->device, tensor->bytes, RT_PLAIN, "a test", &buffer));
    OK(rt_upload(large.model, &buffer, 0, tensor->data, tensor->bytes, &progress));
    assert_int_equal(progress.done, tensor->bytes);
    long kib = resident(large.path);
    if (kib > 1024) fail_msg("%ld KiB of the weights are still resident", kib);
    vulkan_memory.base.free(large.model->device, &buffer);
    hand_close(&large);
}

// ---- recording -------------------------------------------------------------------------------------------------

static PFN_vkCmdDispatch real_dispatch;
static PFN_vkCmdPipelineBarrier real_barrier;
static uint32_t dispatched, barriers;

static void VKAPI_PTR count_dispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z)
{
    dispatched++;
    real_dispatch(commands, x, y, z);
}

static void VKAPI_PTR only_count_groups(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z)
{
    (void)commands, (void)y, (void)z;
    groups = x;
}

static void VKAPI_PTR count_barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkPipelineStageFlags to, VkDependencyFlags flags,
                                    uint32_t n, const VkMemoryBarrier *memory, uint32_t buffer_count,
                                    const VkBufferMemoryBarrier *buffers, uint32_t image_count, const VkImageMemoryBarrier *images)
{
    barriers += from == VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT && to == from && n == 1;
    real_barrier(commands, from, to, flags, n, memory, buffer_count, buffers, image_count, images);
}

// Counts what an evaluation records.
static void record_of(HeddleSession *session, const int32_t *tokens, uint32_t count, HeddleLogits logits)
{
    VulkanDevice *device = device_of(&hand);
    dispatched = barriers = 0;
    real_dispatch = device->vkCmdDispatch, real_barrier = device->vkCmdPipelineBarrier;
    device->vkCmdDispatch = count_dispatch, device->vkCmdPipelineBarrier = count_barrier;
    HdStatus *status = heddle_eval(session, &(HeddlePiece){.tokens = tokens, .count = count, .logits = logits}, 1);
    device->vkCmdDispatch = real_dispatch, device->vkCmdPipelineBarrier = real_barrier;
    OK(status);
}

static void commands_are_recorded_once(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    const uint32_t launches = hand.module->classes[1].launch_count, stages = 4 + HAND_LINKS;
    record_of(session, text[0], 1, HEDDLE_LOGITS_LAST);
    assert_true(dispatched == launches && barriers == stages - 1);
    for (uint32_t i = 1; i < 20; i++) {
        record_of(session, text[0] + i, 1, HEDDLE_LOGITS_LAST);
        assert_true(dispatched == 0 && barriers == 0);
    }
    record_of(session, text[0] + 20, 3, HEDDLE_LOGITS_NONE);   // another class; no rows are wanted, so the head has no units
    assert_true(dispatched == launches - 1 && barriers == stages - 2);
    record_of(session, text[0] + 23, 1, HEDDLE_LOGITS_LAST);
    assert_int_equal(dispatched, 0);                         // the first is still there
    append_and_check(&hand, session, 0, text[0], 24, 2);
    heddle_session_free(session);
}

static bool records(HeddleSession *session, const int32_t *tokens, uint32_t count, HeddleLogits logits)
{
    record_of(session, tokens, count, logits);
    return dispatched;
}

static void shapes_are_kept_up_to_a_bound(void **state)
{
    (void)state;
    check_kept_shapes(records);
}

static PFN_vkQueueSubmit real_submit;
static PFN_vkDeviceWaitIdle real_wait;
static uint32_t submitted, failing, waited;                  // failing: the submission that does not work, from 1

static VkResult VKAPI_PTR count_submit(VkQueue queue, uint32_t count, const VkSubmitInfo *submits, VkFence fence)
{
    return ++submitted == failing ? VK_ERROR_OUT_OF_HOST_MEMORY : real_submit(queue, count, submits, fence);
}

static VkResult VKAPI_PTR count_wait(VkDevice device)
{
    waited++;
    return real_wait(device);
}

// Evaluates a token; submission `fail` (0: none) does not work.
static HdStatus *submit_of(HeddleSession *session, int32_t token, uint32_t fail)
{
    VulkanDevice *device = device_of(&hand);
    submitted = waited = 0;
    failing = fail;
    real_submit = device->vkQueueSubmit, real_wait = device->vkDeviceWaitIdle;
    device->vkQueueSubmit = count_submit, device->vkDeviceWaitIdle = count_wait;
    HdStatus *status = eval_one(session, token);
    device->vkQueueSubmit = real_submit, device->vkDeviceWaitIdle = real_wait;
    return status;
}

// Where next to nothing may be in a submission, each is of one unit; where a little more may be, several launches share one.
static void long_steps_are_several_submissions(void **state)
{
    (void)state;
    VulkanDevice *device = device_of(&hand);
    const double most = device->most_cost, bounds[] = {1, 6.5 * (16 << 20), most};   // a launch costs 16 MiB and a little
    const uint32_t launches = hand.module->classes[1].launch_count, reads = !device->direct;   // a submission that fetches logits
    uint32_t counts[HD_COUNT(bounds)];
    for (size_t i = 0; i < HD_COUNT(bounds); i++) {
        HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
        device->most_cost = bounds[i];
        append_and_check(&hand, session, 0, text[0], 0, 20);
        OK(submit_of(session, text[0][20], 0));
        counts[i] = submitted - reads;
        if (i == 0) {
            expect(submit_of(session, text[0][21], 3), HD_NO_MEMORY, ": no host memory for a step");
            assert_true(submitted == 3 && waited == 1);      // the first two do not run on
        }
        device->most_cost = most;
        heddle_session_free(session);
    }
    assert_true(counts[0] > 10 * launches && counts[1] == launches / 6 && counts[2] == 1);
}

static void count_groups(bool on)
{
    VulkanDevice *device = device_of(&hand);
    if (on) real_dispatch = device->vkCmdDispatch;
    device->vkCmdDispatch = on ? only_count_groups : real_dispatch;
}

static void groups_keep_within_bounds(void **state)
{
    (void)state;
    check_groups(count_groups);
}

static void sessions_side_by_side_are_valid(void **state)
{
    sessions_run_side_by_side(state);
    OK(vulkan_complaint(&device_of(&hand)->vulkan));
}

// ---- refusals: the device --------------------------------------------------------------------------------------

static HdStatus *model_on(const char *device)
{
    HeddleModel *model = NULL;
    HdStatus *status = heddle_model_create(hand.module, hand.weights, &(HeddleModelOptions){.device = device}, &model);
    heddle_model_free(model);
    return status;
}

static void devices_are_chosen_by_number_and_name(void **state)
{
    (void)state;
    char number[16];
    const VulkanCard *card = &device_of(&hand)->card;
    snprintf(number, sizeof number, "%u", card->number);
    OK(model_on(number));
    OK(model_on("vulkan"));
    OK(model_on(card->name));
    OK(model_on("null"));
    expect(model_on("77"), HD_USAGE, "m.hdl: device '77': no type, number or part of a name; devices: vulkan:0 ");
    expect(model_on("no such card"), HD_USAGE, "device 'no such card': no type, number or part of a name; devices: vulkan:0 ");
    expect(model_on("cpu"), HD_MISMATCH, "m.hdl: compiled for vulkan:hand, device 'cpu' is asked for: heddle compile");
}

static void keep_line(void *user, int level, const char *line)
{
    if (level == HD_LOG_INFO && !strncmp(line, "device: ", 8)) snprintf(user, 512, "%s", line + 8);
}

static void the_choice_is_told(void **state)
{
    (void)state;
    char line[512] = "";
    HeddleModel *model;
    OK(heddle_model_create(hand.module, hand.weights, &(HeddleModelOptions){.log = keep_line, .log_user = line}, &model));
    heddle_model_free(model);
    const char *name = device_of(&hand)->card.name;
    assert_memory_equal(line, name, strlen(name));
    assert_string_equal(line + strlen(name) + 2, vulkan_card_kind(&device_of(&hand)->card));
}

static PFN_vkGetPhysicalDeviceFeatures2 real_features;

static void VKAPI_PTR without_int16(VkPhysicalDevice device, VkPhysicalDeviceFeatures2 *features)
{
    real_features(device, features);
    features->features.shaderInt16 = VK_FALSE;
}

static void a_missing_feature_is_named(void **state)
{
    (void)state;
    Vulkan vulkan;
    VulkanCard card;
    OK(vulkan_open(&vulkan));
    OK(vulkan_pick(&vulkan, NULL, &card));
    real_features = vulkan.vkGetPhysicalDeviceFeatures2;
    vulkan.vkGetPhysicalDeviceFeatures2 = without_int16;
    expect(vulkan_pick(&vulkan, NULL, &card), HD_MISMATCH, "no Vulkan device has what is needed: ");
    expect(vulkan_pick(&vulkan, "0", &card), HD_MISMATCH, ", lacks shaderInt16");
    vulkan_close(&vulkan);
}

static void hide_drivers(bool hide)
{
    static const char *const names[] = {"VK_ICD_FILENAMES", "VK_DRIVER_FILES"};   // of older and of newer loaders
    for (size_t i = 0; i < HD_COUNT(names); i++) {
        if (hide) setenv(names[i], "/nowhere.json", 1);
        else unsetenv(names[i]);
    }
}

static void no_driver_is_one_line(void **state)
{
    (void)state;
    hide_drivers(true);
    HdStatus *status = model_on(NULL);
    hide_drivers(false);
    expect(status, HD_NOT_FOUND, "m.hdl: no Vulkan device: ");
}

// Of a file for Vulkan and for the processor a machine without a device takes the second.
static void files_of_variants_know_the_device(void **state)
{
    (void)state;
    HdBuf parts[2];
    OK(hand_module(&(HandOptions){.vulkan = true}, NULL, &parts[0]));
    OK(hand_module(NULL, NULL, &parts[1]));
    HeddleModule *module = open_variants(parts, 2);
    assert_string_equal(module->info.target, "vulkan:hand");
    OK(heddle_module_check_machine(module));
    heddle_module_close(module);
    hide_drivers(true);
    module = open_variants(parts, 2);
    hide_drivers(false);
    assert_string_equal(module->info.target, "cpu:x86-64-v2");
    assert_non_null(strstr(module->variants[0].lacks, "a Vulkan device (no Vulkan device: "));
    heddle_module_close(module);
    hd_buf_free(&parts[0]);
    hd_buf_free(&parts[1]);
}

// ---- refusals: memory, loss, validation ------------------------------------------------------------------------

static VkResult VKAPI_PTR full(VkDevice device, const VkMemoryAllocateInfo *info, const VkAllocationCallbacks *callbacks,
                               VkDeviceMemory *out_memory)
{
    (void)device, (void)info, (void)callbacks, (void)out_memory;
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static void full_memory_says_what_for(void **state)
{
    (void)state;
    VulkanDevice *device = device_of(&hand);
    PFN_vkAllocateMemory real = device->vkAllocateMemory;
    HeddleSession *session;
    device->vkAllocateMemory = full;
    HdStatus *status = heddle_session_create(hand.model, &(HeddleSessionOptions){.slots = 3}, &session);
    device->vkAllocateMemory = real;
    expect(status, HD_NO_MEMORY, "no memory for cache: 6144 bytes (6.0 KiB) asked for");
    uint64_t most = device->card.largest_allocation;
    device->card.largest_allocation = 4096;
    status = heddle_session_create(hand.model, &(HeddleSessionOptions){.slots = 3}, &session);
    device->card.largest_allocation = most;
    expect(status, HD_NO_MEMORY, "(6.0 KiB) asked for, its driver gives at most 4.0 KiB at once");
    session = hand_session(&hand, (HeddleSessionOptions){.slots = 3});
    append_and_check(&hand, session, 2, text[0], 0, 5);
    heddle_session_free(session);
}

static VkResult VKAPI_PTR lost_submit(VkQueue queue, uint32_t count, const VkSubmitInfo *submits, VkFence fence)
{
    (void)queue, (void)count, (void)submits, (void)fence;
    return VK_ERROR_DEVICE_LOST;
}

static void a_lost_device_is_one_line(void **state)
{
    (void)state;
    Hand other;
    open_other(&other, NULL, false);
    VulkanDevice *device = device_of(&other);
    HeddleSession *session = hand_session(&other, (HeddleSessionOptions){.slots = 2});
    append_and_check(&other, session, 0, text[0], 0, 5);
    PFN_vkQueueSubmit real = device->vkQueueSubmit;
    device->vkQueueSubmit = lost_submit;
    expect(eval_one(session, 1), HD_IO, "was lost: a step did not end");
    device->vkQueueSubmit = real;
    expect(eval_one(session, 1), HD_NOT_FINITE, "slot 0: an earlier step failed and left its state unusable");
    OK(heddle_slot_reset(session, 0));
    append_and_check(&other, session, 0, text[0], 0, 5);
    if (!device->direct) {
        device->vkQueueSubmit = lost_submit;
        expect(heddle_slot_fork(session, 0, 1), HD_IO, "was lost: a copy did not end");
        expect(heddle_eval(session, &(HeddlePiece){.slot = 1, .tokens = text[0], .count = 1}, 1), HD_NOT_FINITE, "slot 1: an earlier");
        expect(heddle_slot_reset(session, 0), HD_IO, "was lost");
        device->vkQueueSubmit = real;
        expect(heddle_slot_fork(session, 0, 1), HD_NOT_FINITE, "slot 0");   // half of it may be gone
    }
    heddle_session_free(session);
    hand_close(&other);
}

// Adds a barrier between no stages, which Vulkan 1.2 forbids and drivers do not mind.
static void VKAPI_PTR dispatch_and_err(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z)
{
    real_dispatch(commands, x, y, z);
    device_of(&hand)->vkCmdPipelineBarrier(commands, 0, 0, 0, 0, NULL, 0, NULL, 0, NULL);
}

static void the_validation_layer_is_heard(void **state)
{
    (void)state;
    if (!validates) skip();
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    VulkanDevice *device = device_of(&hand);
    real_dispatch = device->vkCmdDispatch;
    device->vkCmdDispatch = dispatch_and_err;
    HdStatus *status = eval_one(session, 1);
    device->vkCmdDispatch = real_dispatch;
    expect(status, HD_INTERNAL, "Vulkan validation: ");
    heddle_session_free(session);
}

// ---- refusals: the module --------------------------------------------------------------------------------------

// Opens the hand-made module with one kernel's row changed.
static HdStatus *open_changed(void (*change)(CgProgram *program, CgKernel *kernel), HeddleModule **out_module)
{
    CgProgram *program = hand_program(&(HandOptions){.vulkan = true});
    IrModule *graph = hand_graph();
    const IrTarget target = {.name = "vulkan:hand"};
    HdBuf bytes = {0};
    change(program, &program->kernels.data[HAND_MIX]);
    OK(cg_module_write(program, graph, &target, &(CgModuleInfo){.pipeline = "by hand", .producer = "test 1"}, &bytes));
    HdStatus *status = heddle_module_open_memory("m.hdl", bytes.data, bytes.len, out_module);
    hd_buf_free(&bytes);
    ir_module_free(graph);
    cg_program_free(program);
    return status;
}

static void beyond(CgProgram *program, CgKernel *kernel) { kernel->offset = program->object.len - kernel->bytes + 4; }
static void far_beyond(CgProgram *program, CgKernel *kernel) { (void)program, kernel->offset = INT64_MAX - 3; }
static void empty(CgProgram *program, CgKernel *kernel) { (void)program, kernel->bytes = 0; }
static void odd(CgProgram *program, CgKernel *kernel) { (void)program, kernel->offset += 2; }
static void many(CgProgram *program, CgKernel *kernel) { (void)program, kernel->lanes = 1025; }
static void none(CgProgram *program, CgKernel *kernel) { (void)program, kernel->lanes = 0; }
static void too_shared(CgProgram *program, CgKernel *kernel) { (void)program, kernel->shared = UINT32_MAX; }
static void no_code(CgProgram *program, CgKernel *kernel) { program->object.data[kernel->offset] ^= 1; }

static void kernels_lie_in_the_object(void **state)
{
    (void)state;
    HeddleModule *module;
    HeddleModel *model;
    expect(open_changed(beyond, &module), HD_BAD_DATA, "m.hdl: key 'heddle.table.kernels': row 5: outside the object");
    expect(open_changed(far_beyond, &module), HD_BAD_DATA, "row 5: outside the object");
    expect(open_changed(empty, &module), HD_BAD_DATA, "row 5: outside the object");
    expect(open_changed(odd, &module), HD_BAD_DATA, "row 5: not aligned to 4 bytes");
    expect(open_changed(many, &module), HD_BAD_DATA, "row 5: lanes have to be 1 to 1024");
    expect(open_changed(too_shared, &module), HD_BAD_DATA, "row 5: shared memory has to be 0 to 2^31 - 1 bytes");
    expect(open_changed(none, &module), HD_BAD_DATA, "row 8: not a row for every kernel");
    OK(open_changed(no_code, &module));                      // that is seen when it is loaded
    expect(heddle_model_create(module, hand.weights, NULL, &model), HD_BAD_DATA, "m.hdl: kernel hand_mix is not SPIR-V");
    heddle_module_close(module);
}

static void groups_beyond_the_device_are_refused(void **state)
{
    (void)state;
    VulkanDevice *device = device_of(&hand);
    RtDevice *opened;
    HeddleModule large = *hand.module;
    RtKernel *kernels = calloc(large.kernel_count, sizeof *kernels);
    memcpy(kernels, large.kernels, large.kernel_count * sizeof *kernels);
    large.kernels = kernels;
    kernels[HAND_COPY].lanes = device->card.most_lanes + 1;
    expect(rt_device_vulkan.open(&large, NULL, &opened), HD_MISMATCH, "m.hdl: kernel hand_copy has work groups of ");
    kernels[HAND_COPY].lanes = 1, kernels[HAND_COPY].shared = device->card.limits.maxComputeSharedMemorySize + 4;
    expect(rt_device_vulkan.open(&large, NULL, &opened), HD_MISMATCH, " bytes of shared memory, device ");
    free(kernels);
}

// ---- all of it -------------------------------------------------------------------------------------------------

static int run_all(const char *staging)
{
    const struct CMUnitTest tests[] = {
        SUITE_EVAL,
        SUITE_STATE,
        cmocka_unit_test(memory_is_seen_or_staged_as_asked),
        cmocka_unit_test(bytes_come_back),
        cmocka_unit_test(only_what_steps_read_is_uploaded),
        cmocka_unit_test(large_weights_are_packed),
        cmocka_unit_test(uploaded_pages_are_given_back),
        cmocka_unit_test(the_plan_counts_work_groups),
        cmocka_unit_test(commands_are_recorded_once),
        cmocka_unit_test(shapes_are_kept_up_to_a_bound),
        cmocka_unit_test(long_steps_are_several_submissions),
        cmocka_unit_test(groups_keep_within_bounds),
        cmocka_unit_test(poison_is_there),
        cmocka_unit_test(sessions_side_by_side_are_valid),
        cmocka_unit_test(devices_are_chosen_by_number_and_name),
        cmocka_unit_test(the_choice_is_told),
        cmocka_unit_test(a_missing_feature_is_named),
        cmocka_unit_test(no_driver_is_one_line),
        cmocka_unit_test(full_memory_says_what_for),
        cmocka_unit_test(a_lost_device_is_one_line),
        cmocka_unit_test(the_validation_layer_is_heard),
        cmocka_unit_test(kernels_lie_in_the_object),
        cmocka_unit_test(groups_beyond_the_device_are_refused),
        cmocka_unit_test(files_of_variants_know_the_device),
    };
    setenv("HEDDLE_VULKAN_STAGING", staging, 1);
    return cmocka_run_group_tests_name(staging[0] == '1' ? "staged memory" : "mapped memory", tests, set_up, tear_down);
}

// Is there a device to run on? What there is, or why there is none, is printed.
static bool probe(void)
{
    Vulkan vulkan;
    VulkanCard card;
    HdStatus *status = vulkan_open(&vulkan);
    if (!status) status = vulkan_pick(&vulkan, NULL, &card);
    if (status) printf("%s\n", hd_status_message(status));
    else printf("Vulkan device %u: %s, %s%s\n", card.number, card.name, card.driver, vulkan.complaint ? ", validated" : "");
    bool found = !status;
    hd_status_free(status);
    vulkan_close(&vulkan);
    return found;
}

int main(void)
{
    enum { SKIPPED = 77 };
    setenv("HEDDLE_VULKAN_VALIDATION", "1", 1);
    validates = probe();
    if (!validates) setenv("HEDDLE_VULKAN_VALIDATION", "0", 1);
    if (!validates && !probe()) {
        printf("SKIPPED: the Vulkan device is not tested here\n");
        return SKIPPED;
    }
    hand_device.vulkan = true;
    hand_tolerance = 1e-6f;
    int failed = run_all("0") + run_all("1");
    return failed ? 1 : 0;
}
