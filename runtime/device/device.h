// SPDX-License-Identifier: Apache-2.0
// Devices: what carries out the steps of a schedule. A device holds the loaded kernels of one module and is shared by sessions;
// a queue belongs to one session and holds what a running step needs (threads, arena, scratch).
//
//   null    walks the whole schedule and checks every launch, computes nothing; results are zero
//   cpu     calls the kernels of the module's shared object from a pool of threads
//   vulkan  records the launches of a class as a command buffer of a GPU's queue (vulkan.h)
//   cuda    runs the launches of a class as a graph on a GPU of NVIDIA's (cuda.h)
//
// A new device is a file that defines one RtDeviceType and a row in the table of device.c.
#ifndef HEDDLE_DEVICE_H
#define HEDDLE_DEVICE_H

#include "runtime/base/predict.h"
#include "runtime/module.h"

// Memory of a device. address: what kernels see, in host memory the pointer. host: where this process sees the same bytes, NULL when it
// does not. handle: what the device knows it by, NULL in host memory.
typedef struct RtBuffer { uint64_t address, bytes; void *host, *handle; } RtBuffer;
static inline void *rt_host(const RtBuffer *buffer) { return buffer->host; }

// A state as kernels see it.
typedef struct RtStateView { uint64_t address, slot_bytes, plane_bytes; } RtStateView;

// What stays the same for all steps of a queue; belongs to the caller and must outlive the queue.
typedef struct RtBindings {
    const uint64_t *weights;                     // per row of the weight table
    const RtStateView *states;                   // per row of the state table; NULL: the queue only runs @load
    const uint64_t *inputs;                      // [HEDDLE_INPUT_COUNT]; NULL likewise
    uint32_t threads;
    bool poison;                                 // fill arena and scratch with 0xFF before each step (devices that run kernels)
} RtBindings;

typedef struct RtDevice RtDevice;
typedef struct RtQueue RtQueue;

// What a buffer is for. PLAIN: kernels only, content undefined; ZEROED: the same, zeroes at first; SHARED: `host` is there, so that the
// host can write what kernels read in a step, and zeroes at first.
typedef enum RtUse { RT_PLAIN, RT_ZEROED, RT_SHARED } RtUse;

// The memory of a device. Offsets and sizes lie inside the buffer, those of `zero` are multiples of 4. Every function returns when the
// bytes are there; none runs while a step on the same buffer does.
typedef struct RtMemoryType {
    bool in_place;                               // kernels read this process's memory: mapped weights need no copy
    HdStatus *(*alloc)(RtDevice *device, uint64_t bytes, RtUse use, const char *what, RtBuffer *out_buffer);
    void (*free)(RtDevice *device, RtBuffer *buffer);   // a buffer of zeroes is fine
    HdStatus *(*zero)(RtDevice *device, const RtBuffer *buffer, uint64_t offset, uint64_t bytes);
    HdStatus *(*write)(RtDevice *device, const RtBuffer *buffer, uint64_t offset, const void *data, uint64_t bytes);
    HdStatus *(*read)(RtDevice *device, const RtBuffer *buffer, uint64_t offset, uint64_t bytes, void *out_data);
    HdStatus *(*copy)(RtDevice *device, const RtBuffer *to, uint64_t to_offset, const RtBuffer *from, uint64_t from_offset,
                      uint64_t bytes);
    // Where the host can read these bytes at the speed of its own memory; NULL: use `read`.
    const void *(*view)(const RtDevice *device, const RtBuffer *buffer, uint64_t offset);
    uint64_t (*block_bytes)(const RtDevice *device);   // largest buffer that weights should be put in together
} RtMemoryType;

typedef struct RtDeviceType {
    const char *name;
    bool runs_kernels;                           // false: needs neither weights nor this machine's features
    const RtMemoryType *memory;
    // `which`: the one to take where the machine has several, by number or a part of its name; NULL: any.
    HdStatus *(*open)(const HeddleModule *module, const char *which, RtDevice **out_device);
    void (*close)(RtDevice *device);
    HdStatus *(*queue_new)(RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes, uint32_t scratch_bytes,
                           RtQueue **out_queue);
    void (*queue_free)(RtQueue *queue);
    // Runs every stage of a class for T, S, C, R; returns when all is done. The status word is reset before.
    HdStatus *(*step)(RtQueue *queue, const RtClass *class, const RtBinding *binding, HeddleStepStatus *out_status);
    // Runs units begin <= u < end of one launch (packing a tensor in pieces). The weights' addresses are looked at anew.
    HdStatus *(*launch)(RtQueue *queue, const RtClass *class, uint32_t launch, int64_t begin, int64_t end);
    const RtBuffer *(*arena)(const RtQueue *queue);   // holds the results after a step
} RtDeviceType;

// description: what was chosen, for people; NULL: there was no choice
struct RtDevice { const RtDeviceType *type; const HeddleModule *module; const char *description; };
// trace: NULL unless kernels are timed (trace.c); a device that does not fill it in refuses to be asked. reach: positions that the longest
// sequence of the next step has afterwards, for its costs
struct RtQueue { RtDevice *device; struct RtTrace *trace; uint32_t reach; };

// host_memory.c: of devices whose kernels see this process's memory.
extern const RtMemoryType rt_host_memory;
// Bytes of a buffer as the host sees them: in place, or read into `store`, which grows (rt_alloc) and belongs to the caller.
HD_MUST_USE HdStatus *rt_fetch(RtDevice *device, const RtBuffer *buffer, uint64_t offset, uint64_t bytes, RtBuffer *store,
                               const void **out_data);

// device.c. The device that `name` asks for, NULL: the one the module's target does, and which of several (NULL: any). Errors list
// what would be right.
HD_MUST_USE HdStatus *rt_device_type(const HeddleModule *module, const char *name, const RtDeviceType **out_type,
                                     const char **out_which);
extern const RtDeviceType rt_device_null, rt_device_cpu, rt_device_vulkan, rt_device_cuda;

// ---- plan.c: a class of the schedule, bound to addresses ---------------------------------------------------------
// Argument slots hold addresses for good; only expressions change with T, S, C, R, and only when these do. The units of a stage
// are cut into contiguous chunks of about equal cost, over all of its launches; which thread does a chunk changes no bit of a
// result. Stages with too little work for a second thread are joined: a phase is either one stage of several chunks, or a run
// of stages that one thread does in order.

typedef struct RtPhase { uint32_t first, count; } RtPhase;   // launches

typedef struct RtPlan {
    const HeddleModule *module;
    const RtClass *class;
    const RtBindings *bindings;
    uint32_t threads, most_chunks;
    uint64_t *slots;                             // argument slots of all launches, one after another
    uint32_t *first_slot;                        // per launch
    int64_t *units;                              // per launch
    int64_t *cuts;                               // per launch most_chunks + 1: chunk i does cuts[i] <= u < cuts[i + 1]
    RtPhase *phases; uint32_t phase_count;
    uint32_t *chunks;                            // per phase
    RtBinding binding;
    bool is_bound;
} RtPlan;

// Resolves everything that does not change. `arena` and `status` are addresses.
HD_MUST_USE HdStatus *rt_plan_new(const HeddleModule *module, const RtClass *class, const RtBindings *bindings, uint64_t arena,
                                  uint64_t status, RtPlan **out_plan);
void rt_plan_free(RtPlan *plan);                 // NULL is fine
// Fills in the addresses of a launch's weights as they are now.
void rt_plan_refresh(RtPlan *plan, uint32_t launch);
// Evaluates expressions and cuts units. BAD_DATA names the launch whose units are negative or overflow.
HD_MUST_USE HdStatus *rt_plan_bind(RtPlan *plan, const RtBinding *binding);
// What a launch of a bound plan costs, as about the number of bytes that take as long to move.
double rt_plan_cost(const RtPlan *plan, uint32_t launch);
static inline const int64_t *rt_plan_cuts(const RtPlan *plan, uint32_t launch)
{
    return plan->cuts + (size_t)launch * (plan->most_chunks + 1);
}

// ---- ledger.c: what launches cost ----------------------------------------------------------------------------------

// Rows without times, one per step class, kernel and weights; their pointers hold until a class comes for the first time.
typedef struct RtLedger RtLedger;
RtLedger *rt_ledger_new(const HeddleModule *module);
void rt_ledger_free(RtLedger *ledger);           // NULL is fine
void rt_ledger_add(RtLedger *ledger, const RtClass *class, const RtBinding *binding);
// The step that a call with so many tokens of one sequence behind `position` others takes.
void rt_ledger_add_call(RtLedger *ledger, uint32_t tokens, uint32_t position);
HeddleKernelTime *rt_ledger_row(RtLedger *ledger, const RtClass *class, uint32_t launch);
const HeddleKernelTime *rt_ledger_rows(const RtLedger *ledger, uint32_t *out_count);
// Seconds of the steps that the rows are of, by the cost model, and in out_each (NULL: nobody wants it) of each row.
double rt_predict_rows(const HdFigures *figures, const HeddleKernelTime *rows, uint32_t count, double *out_each);

// ---- trace.c: the time of kernels ----------------------------------------------------------------------------------

typedef struct RtTrace RtTrace;
RtTrace *rt_trace_new(const HeddleModule *module, uint32_t threads);
void rt_trace_free(RtTrace *trace);              // NULL is fine
// Around a step: its plan as it was run. Costs are those of `reach` positions, not of the C that the plan is bound to.
void rt_trace_begin(RtTrace *trace);
void rt_trace_end(RtTrace *trace, const RtPlan *plan, uint32_t reach);
// By the thread that did it: units of a launch since `since`; the present time is the result. A phase, as far as the thread had part in it.
double rt_trace_launch(RtTrace *trace, uint32_t thread, uint32_t launch, double since);
void rt_trace_phase(RtTrace *trace, uint32_t thread, uint32_t phase, double now);
// Adds an evaluation that began at `start` and ends now.
void rt_trace_evaluation(RtTrace *trace, double start);
// Sums of all steps, per class, kernel and weights; seconds of the evaluations.
const HeddleKernelTime *rt_trace_times(const RtTrace *trace, uint32_t *out_count, double *out_seconds);

// ---- pool.c: threads that work together ------------------------------------------------------------------------

// Phases one after another, the chunks of a phase in any order by any threads; a phase starts when all chunks before it are done.
typedef struct RtJob {
    const uint32_t *chunks; uint32_t phase_count;    // chunks: 1 or more per phase
    void (*run)(void *user, uint32_t phase, uint32_t chunk, uint32_t thread);
    void *user;
} RtJob;

typedef struct RtPool RtPool;
// `threads` of them, the caller being number 0. LIMIT when the system gives no more.
HD_MUST_USE HdStatus *rt_pool_new(uint32_t threads, RtPool **out_pool);
void rt_pool_free(RtPool *pool);                 // NULL is fine
// Returns when everything is done.
void rt_pool_run(RtPool *pool, const RtJob *job);

#endif
