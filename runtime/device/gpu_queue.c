// SPDX-License-Identifier: Apache-2.0
// The steps of a session on a GPU: a shape is bound and recorded when it is first used, and run as often as it comes again.
#include "runtime/device/gpu_queue.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

static const RtMemoryType *memory_of(const GpuQueue *queue) { return queue->base.device->type->memory; }

// ---- queues --------------------------------------------------------------------------------------------------

static HdStatus *create(GpuQueue *queue, uint64_t arena_bytes, uint32_t scratch_bytes)
{
    const RtMemoryType *memory = memory_of(queue);
    RtDevice *device = queue->base.device;
    HD_TRY(memory->alloc(device, arena_bytes, RT_PLAIN, "intermediate values", &queue->arena));
    HD_TRY(memory->alloc(device, rt_group_scratch(scratch_bytes), RT_PLAIN, "scratch of the work groups", &queue->scratch));
    HD_TRY(memory->alloc(device, sizeof(HeddleStepStatus), RT_SHARED, "the status of a step", &queue->status));
    return queue->type->open(queue);
}

HdStatus *gpu_queue_new(const GpuQueueType *type, RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes,
                        uint32_t scratch_bytes, RtQueue **out_queue)
{
    GpuQueue *queue = hd_xcalloc(1, type->bytes);
    queue->base.device = device;
    queue->type = type;
    queue->bindings = *bindings;
    queue->bindings.threads = 1;
    HdStatus *status = create(queue, arena_bytes, scratch_bytes);
    if (status) gpu_queue_free(&queue->base);
    else *out_queue = &queue->base;
    return status;
}

static void empty(GpuQueue *queue, GpuShape *shape)
{
    if (!shape->plan) return;
    queue->type->forget(queue, shape);
    memory_of(queue)->free(queue->base.device, &shape->slots);
    rt_plan_free(shape->plan);
    *shape = (GpuShape){0};
}

void gpu_queue_free(RtQueue *base)
{
    GpuQueue *queue = (GpuQueue *)base;
    if (!queue) return;
    for (size_t i = 0; i < GPU_MOST_SHAPES; i++) empty(queue, &queue->shapes[i]);
    queue->type->close(queue);
    memory_of(queue)->free(base->device, &queue->status);
    memory_of(queue)->free(base->device, &queue->scratch);
    memory_of(queue)->free(base->device, &queue->arena);
    free(queue);
}

const RtBuffer *gpu_arena(const RtQueue *queue) { return &((const GpuQueue *)queue)->arena; }

// ---- shapes --------------------------------------------------------------------------------------------------

static HdStatus *write_slots(const GpuQueue *queue, const GpuShape *shape, uint32_t first, uint32_t count)
{
    const uint64_t *slots = shape->plan->slots + first;
    return memory_of(queue)->write(queue->base.device, &shape->slots, first * sizeof *slots, slots, count * sizeof *slots);
}

static HdStatus *fill(GpuQueue *queue, GpuShape *shape, const RtBinding *binding)
{
    const RtPlan *plan = shape->plan;
    HD_TRY(rt_plan_bind(shape->plan, binding));
    HD_TRY(memory_of(queue)->alloc(queue->base.device, plan->class->arg_slots * sizeof *plan->slots, queue->type->slots,
                                   "arguments of the kernels", &shape->slots));
    return write_slots(queue, shape, 0, plan->class->arg_slots);
}

static bool is_shape(const GpuShape *shape, const RtClass *class, const RtBinding *binding)
{
    return shape->plan && shape->plan->class == class && !memcmp(&shape->plan->binding, binding, sizeof *binding);
}

// The shape, bound; where it is none of those that are kept, in the place of the one used longest ago.
static HdStatus *find(GpuQueue *queue, const RtClass *class, const RtBinding *binding, GpuShape **out_shape)
{
    GpuShape *oldest = queue->shapes;
    for (GpuShape *shape = queue->shapes; shape < queue->shapes + GPU_MOST_SHAPES; shape++) {
        if (is_shape(shape, class, binding)) return shape->used = ++queue->uses, *out_shape = shape, NULL;
        if (shape->used < oldest->used) oldest = shape;
    }
    empty(queue, oldest);
    HD_TRY(rt_plan_new(queue->base.device->module, class, &queue->bindings, queue->arena.address, queue->status.address, &oldest->plan));
    HdStatus *status = fill(queue, oldest, binding);
    if (status) return empty(queue, oldest), status;
    oldest->used = ++queue->uses;
    *out_shape = oldest;
    return NULL;
}

// ---- running -------------------------------------------------------------------------------------------------

uint32_t gpu_dispatch(const GpuQueue *queue, const GpuShape *shape, uint32_t launch, int64_t begin, int64_t end,
                      HeddleGpuLaunch *out_values)
{
    const RtPlan *plan = shape->plan;
    *out_values = (HeddleGpuLaunch){shape->slots.address + plan->first_slot[launch] * sizeof *plan->slots, begin, end, queue->scratch.address};
    return rt_group_count(end - begin, plan->class->launches[launch].scratch, queue->scratch.bytes);
}

static HdStatus *record(GpuQueue *queue, GpuShape *shape)
{
    HdStatus *status = shape->recorded ? NULL : queue->type->record(queue, shape);
    if (status) empty(queue, shape);                     // and is begun anew
    return status;
}

HdStatus *gpu_step(RtQueue *base, const RtClass *class, const RtBinding *binding, HeddleStepStatus *out_status)
{
    GpuQueue *queue = (GpuQueue *)base;
    GpuShape *shape;
    HD_TRY(find(queue, class, binding, &shape));
    HD_TRY(record(queue, shape));
    memset(rt_host(&queue->status), 0, sizeof *out_status);
    HD_TRY(queue->type->run(queue, shape));
    memcpy(out_status, rt_host(&queue->status), sizeof *out_status);
    return NULL;
}

HdStatus *gpu_launch(RtQueue *base, const RtClass *class, uint32_t launch, int64_t begin, int64_t end)
{
    GpuQueue *queue = (GpuQueue *)base;
    GpuShape *shape;
    HD_TRY(find(queue, class, &class->bound, &shape));
    rt_plan_refresh(shape->plan, launch);
    HD_TRY(write_slots(queue, shape, shape->plan->first_slot[launch], class->launches[launch].arg_count));
    return begin < end ? queue->type->run_one(queue, shape, launch, begin, end) : NULL;
}
