// SPDX-License-Identifier: Apache-2.0
// What the queues of all GPUs share (gpu_queue.c): buffers, arguments, and which shapes of a step are kept recorded. A back end (cuda_queue.c,
// vulkan_queue.c) begins its queue with a GpuQueue and says by a GpuQueueType how a shape is recorded and run.
#ifndef HEDDLE_GPU_QUEUE_H
#define HEDDLE_GPU_QUEUE_H

#include "runtime/abi.h"
#include "runtime/device/device.h"

// Shapes that a queue keeps; of more, that used longest ago is forgotten. A session alternates among few: one token, whole steps, the
// rest of a prompt.
enum { GPU_MOST_SHAPES = 16 };

// A class of the schedule for one T, S, C, R. Everything else that changes between steps is in buffers that the host writes.
typedef struct GpuShape {
    RtPlan *plan;                                // bound; NULL: an empty place
    RtBuffer slots;                              // the plan's argument slots
    void *recorded;                              // all its launches, as the back end keeps them; NULL: not recorded yet
    uint64_t used;                               // the queue's count of uses at the last one
} GpuShape;

typedef struct GpuQueue GpuQueue;
typedef struct GpuQueueType {
    RtUse slots;                                 // where kernels read arguments fast
    size_t bytes;                                // of the back end's queue
    HdStatus *(*open)(GpuQueue *queue);          // what the back end needs beside the buffers
    void (*close)(GpuQueue *queue);              // also of one that did not open; all shapes are forgotten
    HdStatus *(*record)(GpuQueue *queue, GpuShape *shape);
    void (*forget)(GpuQueue *queue, GpuShape *shape);          // what was recorded, also where that failed half way
    HdStatus *(*run)(GpuQueue *queue, const GpuShape *shape);   // what was recorded; returns when it is done
    HdStatus *(*run_one)(GpuQueue *queue, const GpuShape *shape, uint32_t launch, int64_t begin, int64_t end);   // the same of begin <= unit < end
} GpuQueueType;

struct GpuQueue {
    RtQueue base;
    const GpuQueueType *type;
    RtBindings bindings;                         // of one thread
    RtBuffer arena, scratch, status;
    GpuShape shapes[GPU_MOST_SHAPES];
    uint64_t uses;
};

HD_MUST_USE HdStatus *gpu_queue_new(const GpuQueueType *type, RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes,
                                    uint32_t scratch_bytes, RtQueue **out_queue);
// RtDeviceType's functions.
void gpu_queue_free(RtQueue *queue);
HD_MUST_USE HdStatus *gpu_step(RtQueue *queue, const RtClass *class, const RtBinding *binding, HeddleStepStatus *out_status);
HD_MUST_USE HdStatus *gpu_launch(RtQueue *queue, const RtClass *class, uint32_t launch, int64_t begin, int64_t end);
const RtBuffer *gpu_arena(const RtQueue *queue);
// How a launch's units begin <= u < end are given to its kernel; returns the number of work groups that do them.
uint32_t gpu_dispatch(const GpuQueue *queue, const GpuShape *shape, uint32_t launch, int64_t begin, int64_t end,
                      HeddleGpuLaunch *out_values);

#endif
