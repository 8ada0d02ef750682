// SPDX-License-Identifier: Apache-2.0
// Sessions: the memory of their slots, and what a step reads.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device/float_mode.h"
#include "runtime/runtime.h"

// ---- creation ------------------------------------------------------------------------------------------------

static HdStatus *create_states(HeddleSession *session)
{
    const HeddleModule *module = session->module;
    session->states = hd_xcalloc(module->state_count, sizeof *session->states);
    session->views = hd_xcalloc(module->state_count, sizeof *session->views);
    for (uint32_t i = 0; i < module->state_count; i++) {
        const RtState *state = &module->states[i];
        uint64_t slot = rt_state_slot_bytes(state, &session->shape);
        // rt_memory has checked the product
        HdStatus *status = session->memory->alloc(session->device, slot * session->shape.slots, RT_ZEROED, state->name,
                                                  &session->states[i]);
        if (status)
            return hd_annotate(status, "state of %" PRIu32 " slots with %" PRIu32 " positions", session->shape.slots,
                               session->shape.context);
        session->views[i] = (RtStateView){session->states[i].address, slot, rt_state_plane_bytes(state, &session->shape)};
    }
    return NULL;
}

static HdStatus *create_slots(HeddleSession *session)
{
    const RtShape *shape = &session->shape;
    uint64_t bytes = (uint64_t)shape->context * sizeof(int32_t) + shape->planes * sizeof(uint32_t) + sizeof(RtSlot);
    session->slots = calloc(shape->slots, sizeof *session->slots);
    bool ok = session->slots != NULL;
    for (uint32_t i = 0; i < shape->slots && ok; i++) {
        session->slots[i].tokens = malloc(shape->context * sizeof(int32_t));
        session->slots[i].positions = calloc(shape->planes, sizeof(uint32_t));
        ok = session->slots[i].tokens && session->slots[i].positions;
    }
    return ok ? NULL : rt_no_memory(bytes * shape->slots, "the tokens of the slots");
}

static HdStatus *create_inputs(HeddleSession *session)
{
    uint64_t offsets[HEDDLE_INPUT_COUNT + 1];
    uint32_t n = session->module->rope_n;
    rt_input_layout(session->module, &session->shape, offsets);
    HD_TRY(session->memory->alloc(session->device, offsets[HEDDLE_INPUT_COUNT], RT_SHARED, "the inputs of a step",
                                  &session->inputs));
    for (int i = 0; i < HEDDLE_INPUT_COUNT; i++) {
        session->input[i] = (uint8_t *)rt_host(&session->inputs) + offsets[i];
        session->input_address[i] = session->inputs.address + offsets[i];
    }
    session->rope_frequency = hd_xcalloc(n / 2, sizeof(double));
    unsigned int saved = rt_float_mode_enter();
    for (uint32_t i = 0; i < n / 2; i++) session->rope_frequency[i] = pow(session->module->rope_theta, -2.0 * i / n);
    rt_float_mode_leave(saved);
    return rt_alloc((uint64_t)session->shape.context * n * sizeof(float), "the rotary table", &session->rope);
}

HeddleStatus *heddle_keep_result(HeddleSession *session, const char *name)
{
    for (size_t i = 0; i < session->kept.len; i++)
        if (!strcmp(session->kept.data[i].name, name)) return NULL;
    if (!strcmp(name, RT_RESULT_ARGMAX)) return hd_error(HD_USAGE, "result '%s': heddle_eval_greedy gives it, and numbers are not kept", name);
    const RtResult *result = rt_result_named(session->module, name);
    if (!result) return hd_error(HD_NOT_FOUND, "%s: not every step class has a result '%s'", session->module->path, name);
    hd_vec_push(&session->kept, ((RtKept){.name = hd_xstrdup(name), .columns = result->columns, .rows = result->rows}));
    return NULL;
}

static HdStatus *create(HeddleSession *session)
{
    const HeddleModule *module = session->module;
    HeddleMemory memory;
    HD_TRY(rt_memory(module, &session->shape, &memory));
    HD_TRY(heddle_keep_result(session, "logits"));
    HD_TRY(create_states(session));
    HD_TRY(create_slots(session));
    HD_TRY(create_inputs(session));
    RtBindings bindings = {session->model->addresses, session->views, session->input_address, session->shape.threads,
                           session->shape.poison};
    return session->device->type->queue_new(session->device, &bindings, memory.arena, rt_step_scratch(module), &session->queue);
}

HeddleStatus *heddle_session_create(HeddleModel *model, const HeddleSessionOptions *options, HeddleSession **out_session)
{
    RtShape shape;
    HD_TRY(rt_shape(model->module, options, &shape));
    HeddleSession *session = hd_xcalloc(1, sizeof *session);
    session->model = model, session->module = model->module, session->shape = shape;
    session->device = model->device, session->memory = model->device->type->memory;
    HdStatus *status = create(session);
    if (status) heddle_session_free(session);
    else *out_session = session;
    return status;
}

void heddle_session_free(HeddleSession *session)
{
    if (!session) return;
    if (session->queue) session->device->type->queue_free(session->queue);
    rt_trace_free(session->trace);
    for (uint32_t i = 0; session->states && i < session->module->state_count; i++)
        session->memory->free(session->device, &session->states[i]);
    for (uint32_t i = 0; session->slots && i < session->shape.slots; i++) {
        free(session->slots[i].tokens);
        free(session->slots[i].positions);
    }
    for (size_t i = 0; i < session->kept.len; i++) {
        free(session->kept.data[i].name);
        free(session->kept.data[i].data);
    }
    hd_vec_free(&session->kept);
    session->memory->free(session->device, &session->inputs);
    rt_free(&session->fetched);
    rt_free(&session->rope);
    free(session->rope_frequency);
    free(session->states);
    free(session->views);
    free(session->slots);
    free(session);
}

// ---- what others ask -----------------------------------------------------------------------------------------

uint32_t heddle_session_context(const HeddleSession *session) { return session->shape.context; }
uint32_t heddle_session_slots(const HeddleSession *session) { return session->shape.slots; }
uint32_t heddle_session_threads(const HeddleSession *session) { return session->shape.threads; }
void heddle_session_counters(const HeddleSession *session, HeddleCounters *out_counters) { *out_counters = session->counters; }

HeddleStatus *heddle_time_kernels(HeddleSession *session, bool on)
{
    if (session->device->type != &rt_device_cpu)
        return hd_error(HD_UNSUPPORTED, "%s: only the processor's kernels can be timed, this module runs on %s", session->module->path,
                        session->device->type->name);
    session->queue->trace = NULL;
    if (!on) return NULL;
    rt_trace_free(session->trace);
    session->queue->trace = session->trace = rt_trace_new(session->module, session->shape.threads);
    return NULL;
}

const HeddleKernelTime *heddle_kernel_times(const HeddleSession *session, uint32_t *out_count, double *out_seconds)
{
    *out_count = 0;
    *out_seconds = 0;
    return session->trace ? rt_trace_times(session->trace, out_count, out_seconds) : NULL;
}

void heddle_session_memory(const HeddleSession *session, HeddleMemory *out_memory)
{
    HdStatus *status = rt_memory(session->module, &session->shape, out_memory);
    HD_ASSERT(!status);                                  // it was computed when the session was made
}

HdStatus *rt_slot(const HeddleSession *session, uint32_t slot, RtSlot **out_slot)
{
    if (slot >= session->shape.slots)
        return hd_error(HD_USAGE, "slot %" PRIu32 ": this session has slots 0 to %" PRIu32, slot, session->shape.slots - 1);
    *out_slot = &session->slots[slot];
    return NULL;
}

HdStatus *rt_whole_slot(const HeddleSession *session, uint32_t slot, RtSlot **out_slot)
{
    HD_TRY(rt_slot(session, slot, out_slot));
    if (!(*out_slot)->broken) return NULL;
    return hd_error(HD_NOT_FINITE, "slot %" PRIu32 ": an earlier step failed and left its state unusable; reset it or restore a "
                    "snapshot", slot);
}

uint64_t rt_plane_offset(const HeddleSession *session, uint32_t index, uint32_t slot, uint32_t plane)
{
    const RtStateView *view = &session->views[index];
    return slot * view->slot_bytes + (session->module->states[index].append_only ? 0 : plane * view->plane_bytes);
}

const float *rt_rope_row(HeddleSession *session, uint32_t position)
{
    uint32_t n = session->module->rope_n;
    float *row = (float *)rt_host(&session->rope) + (size_t)position * n;
    if (!n || row[0] != 0 || row[n / 2] != 0) return row;   // a cosine and a sine of one angle are never both zero
    unsigned int saved = rt_float_mode_enter();
    for (uint32_t i = 0; i < n / 2; i++) {
        double angle = position * session->rope_frequency[i];
        row[i] = (float)cos(angle);
        row[n / 2 + i] = (float)sin(angle);
    }
    rt_float_mode_leave(saved);
    return row;
}

HeddleStatus *heddle_argmax(const float *logits, uint32_t count, int32_t *out_id)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (isnan(logits[i])) return hd_error(HD_NOT_FINITE, "logit %" PRIu32 " of %" PRIu32 " is not a number", i, count);
        if (logits[i] > logits[best]) best = i;
    }
    if (!count) return hd_error(HD_USAGE, "the largest of no logits is asked for");
    *out_id = (int32_t)best;
    return NULL;
}
