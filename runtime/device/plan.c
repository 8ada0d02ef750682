// SPDX-License-Identifier: Apache-2.0
// Binding a class of the schedule: argument slots, and which thread does which units.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device/device.h"

// Cost of a launch is about the bytes it moves; a thread does some four operations in the time of one byte from memory. A
// second thread is worth waking and waiting for from THREAD_COST on: in cache that is a microsecond, a few times the price of a
// barrier. Beyond one chunk per thread (which evens out cores of unequal speed) a chunk has to be worth a call of the kernel,
// which may begin with work of its own.
enum { FLOPS_PER_BYTE = 4, THREAD_COST = 32 * 1024, CHUNK_COST = 64 * 1024, CHUNKS_PER_THREAD = 2 };

// ---- argument slots ------------------------------------------------------------------------------------------

// The value of a slot that does not depend on T, S, C, R.
static uint64_t resolve(const RtBindings *bindings, const RtArg *arg, uint64_t arena, uint64_t status)
{
    switch (arg->kind) {
    case HEDDLE_ARG_ARENA: return arena + (uint64_t)arg->index;
    case HEDDLE_ARG_WEIGHT: return bindings->weights[arg->index];
    case HEDDLE_ARG_STATE: return bindings->states[arg->index].address;
    case HEDDLE_ARG_STATE_SLOT: return bindings->states[arg->index].slot_bytes;
    case HEDDLE_ARG_STATE_PLANE: return bindings->states[arg->index].plane_bytes;
    case HEDDLE_ARG_INPUT: return bindings->inputs[arg->index];
    case HEDDLE_ARG_CONST: return (uint64_t)arg->index;
    case HEDDLE_ARG_STATUS: return status;
    case HEDDLE_ARG_EXPR: case HEDDLE_ARG_KIND_COUNT: break;
    }
    return 0;
}

static bool needs_session(HeddleArgKind kind)
{
    return kind == HEDDLE_ARG_STATE || kind == HEDDLE_ARG_STATE_SLOT || kind == HEDDLE_ARG_STATE_PLANE
        || kind == HEDDLE_ARG_INPUT;
}

static HdStatus *resolve_all(RtPlan *plan, const RtBindings *bindings, uint64_t arena, uint64_t status)
{
    uint32_t slot = 0;
    for (uint32_t l = 0; l < plan->class->launch_count; l++) {
        const RtLaunch *launch = &plan->class->launches[l];
        plan->first_slot[l] = slot;
        for (uint32_t a = 0; a < launch->arg_count; a++) {
            const RtArg *arg = &plan->module->args[launch->first_arg + a];
            if (needs_session(arg->kind) && !bindings->states)
                return hd_error(HD_BAD_DATA, "%s: class %s, launch %" PRIu32 ": reads state or input, which packing has none of",
                                plan->module->path, plan->class->name, l);
            plan->slots[slot++] = resolve(bindings, arg, arena, status);
        }
    }
    return NULL;
}

HdStatus *rt_plan_new(const HeddleModule *module, const RtClass *class, const RtBindings *bindings, uint64_t arena,
                      uint64_t status, RtPlan **out_plan)
{
    RtPlan *plan = hd_xcalloc(1, sizeof *plan);
    uint32_t launches = class->launch_count;
    plan->module = module, plan->class = class, plan->bindings = bindings, plan->threads = bindings->threads;
    plan->slots = hd_xcalloc(class->arg_slots, sizeof *plan->slots);
    plan->first_slot = hd_xcalloc(launches, sizeof *plan->first_slot);
    plan->units = hd_xcalloc(launches, sizeof *plan->units);
    plan->most_chunks = plan->threads * CHUNKS_PER_THREAD;
    plan->cuts = hd_xcalloc((size_t)launches * (plan->most_chunks + 1), sizeof *plan->cuts);
    plan->phases = hd_xcalloc(launches, sizeof *plan->phases);
    plan->chunks = hd_xcalloc(launches, sizeof *plan->chunks);
    HdStatus *result = resolve_all(plan, bindings, arena, status);
    if (result) rt_plan_free(plan);
    else *out_plan = plan;
    return result;
}

void rt_plan_refresh(RtPlan *plan, uint32_t launch)
{
    const RtLaunch *row = &plan->class->launches[launch];
    for (uint32_t a = 0; a < row->arg_count; a++) {
        const RtArg *arg = &plan->module->args[row->first_arg + a];
        if (arg->kind == HEDDLE_ARG_WEIGHT) plan->slots[plan->first_slot[launch] + a] = plan->bindings->weights[arg->index];
    }
}

void rt_plan_free(RtPlan *plan)
{
    if (!plan) return;
    free(plan->slots);
    free(plan->first_slot);
    free(plan->units);
    free(plan->cuts);
    free(plan->phases);
    free(plan->chunks);
    free(plan);
}

// ---- one step shape ------------------------------------------------------------------------------------------

static HdStatus *bad_launch(const RtPlan *plan, uint32_t launch, const char *what)
{
    const RtLaunch *row = &plan->class->launches[launch];
    return hd_error(HD_BAD_DATA, "%s: class %s, stage %" PRId32 ", kernel %s: %s", plan->module->path, plan->class->name,
                    row->stage, plan->module->kernels[row->kernel].name, what);
}

static HdStatus *bind_launch(RtPlan *plan, uint32_t l)
{
    const RtLaunch *launch = &plan->class->launches[l];
    for (uint32_t a = 0; a < launch->arg_count; a++) {
        const RtArg *arg = &plan->module->args[launch->first_arg + a];
        int64_t value = 0;
        if (arg->kind != HEDDLE_ARG_EXPR) continue;
        if (!rt_expr_eval(&plan->module->exprs[arg->index], &plan->binding, &value))
            return bad_launch(plan, l, "an argument does not fit 64 bits");
        plan->slots[plan->first_slot[l] + a] = (uint64_t)value;
    }
    if (!rt_expr_eval(&plan->module->exprs[launch->units], &plan->binding, &plan->units[l]) || plan->units[l] < 0
        || plan->units[l] > (int64_t)1 << 40)
        return bad_launch(plan, l, "the number of work units is negative or too large");
    return NULL;
}

// Launches whose cost is not stated count as large: better too many threads than too few.
double rt_plan_cost(const RtPlan *plan, uint32_t l)
{
    const RtLaunch *launch = &plan->class->launches[l];
    const RtBinding *binding = &plan->binding;
    int64_t bytes = 0, flops = 0;
    if (plan->units[l] == 0) return 0;
    bool known = rt_expr_eval(&plan->module->exprs[launch->bytes], binding, &bytes)
        && rt_expr_eval(&plan->module->exprs[launch->flops], binding, &flops) && bytes >= 0 && flops >= 0;
    double cost = known ? (double)bytes + (double)flops / FLOPS_PER_BYTE : 0;
    return cost > 0 ? cost : (double)plan->units[l] * THREAD_COST;
}

static uint32_t chunk_count(const RtPlan *plan, double cost, int64_t units)
{
    double chunks = HD_MIN(cost / THREAD_COST, (double)plan->threads);
    double more = HD_MIN(cost / CHUNK_COST, (double)plan->most_chunks);
    chunks = HD_MAX(HD_MAX(chunks, more), 1);
    if (chunks > plan->threads) chunks -= (uint32_t)chunks % plan->threads;   // so that threads of equal speed finish together
    return (uint32_t)HD_MIN(chunks, (double)units);
}

// Cuts the units of launches where the cost, summed over them, passes each chunk's share.
static void cut(RtPlan *plan, uint32_t first, uint32_t count, double total, uint32_t chunks)
{
    double start = 0;
    for (uint32_t l = first; l < first + count; l++) {
        int64_t *cuts = plan->cuts + (size_t)l * (plan->most_chunks + 1), units = plan->units[l];
        double cost = rt_plan_cost(plan, l);
        cuts[0] = 0;
        for (uint32_t i = 1; i < chunks; i++) {
            double share = cost > 0 ? (total * i / chunks - start) / cost * (double)units + 0.5 : 0;
            cuts[i] = share <= 0 ? 0 : share >= (double)units ? units : (int64_t)share;
        }
        cuts[chunks] = units;
        start += cost;
    }
}

// Adds the stage of launches first..first+count-1, or joins it to the phase before when neither has work for a second thread.
static void add_stage(RtPlan *plan, uint32_t first, uint32_t count)
{
    double total = 0;
    int64_t units = 0;
    for (uint32_t l = first; l < first + count; l++) total += rt_plan_cost(plan, l), units += plan->units[l];
    if (!units) return;
    uint32_t chunks = chunk_count(plan, total, units);
    cut(plan, first, count, total, chunks);
    RtPhase *last = plan->phase_count ? &plan->phases[plan->phase_count - 1] : NULL;
    if (last && chunks == 1 && plan->chunks[plan->phase_count - 1] == 1) {
        last->count = first + count - last->first;       // stages without units between them are among these, and do nothing
        return;
    }
    plan->phases[plan->phase_count] = (RtPhase){first, count};
    plan->chunks[plan->phase_count++] = chunks;
}

HdStatus *rt_plan_bind(RtPlan *plan, const RtBinding *binding)
{
    if (plan->is_bound && !memcmp(&plan->binding, binding, sizeof *binding)) return NULL;
    const RtLaunch *launches = plan->class->launches;
    uint32_t count = plan->class->launch_count;
    plan->is_bound = false;
    plan->binding = *binding;
    for (uint32_t l = 0; l < count; l++) HD_TRY(bind_launch(plan, l));
    plan->phase_count = 0;
    memset(plan->cuts, 0, (size_t)count * (plan->most_chunks + 1) * sizeof *plan->cuts);
    for (uint32_t first = 0, next; first < count; first = next) {
        for (next = first + 1; next < count && launches[next].stage == launches[first].stage;) next++;
        add_stage(plan, first, next - first);
    }
    plan->is_bound = true;
    return NULL;
}
