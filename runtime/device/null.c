// SPDX-License-Identifier: Apache-2.0
// The null device: a complete device that computes nothing. It walks the schedule as a real one does and checks every launch;
// results are zero. Used to test everything around the kernels, to plan memory for machines that are not at hand, and as the
// skeleton of a new device.
#include <inttypes.h>
#include <stdlib.h>

#include "runtime/device/device.h"
#include "runtime/runtime.h"

typedef struct NullQueue {
    RtQueue base;
    RtBindings bindings;
    RtBuffer arena;                  // its pages are never written, so they take no memory
    uint32_t scratch_bytes;
    RtPlan **plans;                  // per class; made when first used
} NullQueue;

static HdStatus *null_open(const HeddleModule *module, const char *which, RtDevice **out_device)
{
    (void)which;                                         // there is one
    RtDevice *device = hd_xcalloc(1, sizeof *device);
    *device = (RtDevice){&rt_device_null, module, NULL};
    *out_device = device;
    return NULL;
}

static void null_close(RtDevice *device) { free(device); }

static void null_queue_free(RtQueue *queue)
{
    NullQueue *null = (NullQueue *)queue;
    if (!null) return;
    for (uint32_t i = 0; i < queue->device->module->class_count; i++) rt_plan_free(null->plans[i]);
    free(null->plans);
    rt_free(&null->arena);
    free(null);
}

static HdStatus *null_queue_new(RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes, uint32_t scratch_bytes,
                                RtQueue **out_queue)
{
    NullQueue *queue = hd_xcalloc(1, sizeof *queue);
    queue->base.device = device;
    queue->bindings = *bindings;
    queue->scratch_bytes = scratch_bytes;
    queue->plans = hd_xcalloc(device->module->class_count, sizeof(RtPlan *));
    HdStatus *status = rt_alloc(arena_bytes, "intermediate values", &queue->arena);
    if (status) null_queue_free(&queue->base);
    else *out_queue = &queue->base;
    return status;
}

static HdStatus *bad(const NullQueue *queue, const RtClass *class, const RtLaunch *launch, uint32_t arg, const char *what)
{
    const HeddleModule *module = queue->base.device->module;
    return hd_error(HD_INTERNAL, "%s: class %s, stage %" PRId32 ", kernel %s, argument %" PRIu32 ": %s", module->path,
                    class->name, launch->stage, module->kernels[launch->kernel].name,
                    arg, what);
}

// What a kernel would be given must lie where the queue's memory is.
static HdStatus *check_slot(const NullQueue *queue, const RtClass *class, const RtLaunch *launch, uint32_t a, uint64_t slot)
{
    const RtArg *arg = &queue->base.device->module->args[launch->first_arg + a];
    const RtBuffer *arena = &queue->arena;
    switch (arg->kind) {
    case HEDDLE_ARG_ARENA:
        if (slot >= arena->address && slot - arena->address < arena->bytes) return NULL;
        return bad(queue, class, launch, a, "an address outside the arena");
    case HEDDLE_ARG_STATE: case HEDDLE_ARG_INPUT: case HEDDLE_ARG_STATUS:
        return slot && slot % 4 == 0 ? NULL : bad(queue, class, launch, a, "no address, or one that is not aligned");
    case HEDDLE_ARG_STATE_SLOT: case HEDDLE_ARG_STATE_PLANE:
        if (slot && slot % RT_ALIGN == 0) return NULL;
        return bad(queue, class, launch, a, "a stride of state that is not a multiple of 64");
    default:
        return NULL;
    }
}

static HdStatus *check_launch(const NullQueue *queue, const RtPlan *plan, uint32_t l)
{
    const RtLaunch *launch = &plan->class->launches[l];
    if (launch->scratch > queue->scratch_bytes) return bad(queue, plan->class, launch, 0, "needs more scratch than a thread has");
    const uint64_t *slots = plan->slots + plan->first_slot[l];
    for (uint32_t a = 0; a < launch->arg_count; a++) HD_TRY(check_slot(queue, plan->class, launch, a, slots[a]));
    return NULL;
}

// Every unit of the phase has to be in one chunk, and no launch in two phases.
static HdStatus *check_phase(const NullQueue *queue, const RtPlan *plan, uint32_t phase)
{
    for (uint32_t l = plan->phases[phase].first; l < plan->phases[phase].first + plan->phases[phase].count; l++) {
        const int64_t *cuts = rt_plan_cuts(plan, l);
        const RtLaunch *launch = &plan->class->launches[l];
        for (uint32_t i = 0; i < plan->chunks[phase]; i++)
            if (cuts[i] > cuts[i + 1]) return bad(queue, plan->class, launch, 0, "its chunks overlap");
        if (cuts[0] || cuts[plan->chunks[phase]] != plan->units[l])
            return bad(queue, plan->class, launch, 0, "its chunks leave units out");
        HD_TRY(check_launch(queue, plan, l));
    }
    return NULL;
}

static HdStatus *null_plan(NullQueue *queue, const RtClass *class, const RtBinding *binding, RtPlan **out_plan)
{
    const HeddleModule *module = queue->base.device->module;
    RtPlan **plan = &queue->plans[class - module->classes];
    static HeddleStepStatus nowhere;                     // never written: no kernel runs
    if (!*plan) HD_TRY(rt_plan_new(module, class, &queue->bindings, queue->arena.address, (uint64_t)(uintptr_t)&nowhere, plan));
    *out_plan = *plan;
    return rt_plan_bind(*plan, binding);
}

static HdStatus *null_step(RtQueue *queue, const RtClass *class, const RtBinding *binding, HeddleStepStatus *out_status)
{
    NullQueue *null = (NullQueue *)queue;
    RtPlan *plan;
    HD_TRY(null_plan(null, class, binding, &plan));
    for (uint32_t p = 0; p < plan->phase_count; p++) HD_TRY(check_phase(null, plan, p));
    *out_status = (HeddleStepStatus){0, 0};
    return NULL;
}

static HdStatus *null_launch(RtQueue *queue, const RtClass *class, uint32_t launch, int64_t begin, int64_t end)
{
    RtPlan *plan;
    HD_TRY(null_plan((NullQueue *)queue, class, &class->bound, &plan));
    if (begin < 0 || end > plan->units[launch])
        return bad((NullQueue *)queue, class, &class->launches[launch], 0, "units out of range");
    return check_launch((NullQueue *)queue, plan, launch);
}

static const RtBuffer *null_arena(const RtQueue *queue) { return &((const NullQueue *)queue)->arena; }

const RtDeviceType rt_device_null = {"null", false, &rt_host_memory, null_open, null_close, null_queue_new, null_queue_free,
                                     null_step, null_launch, null_arena};
