// SPDX-License-Identifier: Apache-2.0
// Binding a class of the schedule: argument slots, and which thread does which units.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device/device.h"

// Cost of a launch is about the bytes it moves; a thread does some four operations in the time of one byte from memory. A thread is worth waking and waiting for from
// THREAD_COST on: at 10 GB/s that is two microseconds, the price of a barrier.
enum { FLOPS_PER_BYTE = 4, THREAD_COST = 16 * 1024 };

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
    case HEDDLE_ARG_INPUT: return (uint64_t)(uintptr_t)bindings->inputs[arg->index];
    case HEDDLE_ARG_CONST: return (uint64_t)arg->index;
    case HEDDLE_ARG_STATUS: return status;
    case HEDDLE_ARG_EXPR: case HEDDLE_ARG_KIND_COUNT: break;
    }
    return 0;
}

static bool needs_session(HeddleArgKind kind)
{
    return kind == HEDDLE_ARG_STATE || kind == HEDDLE_ARG_STATE_SLOT || kind == HEDDLE_ARG_STATE_PLANE || kind == HEDDLE_ARG_INPUT;
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
                return hd_error(HD_BAD_DATA, "%s: class %s, launch %" PRIu32 ": reads state or input, which packing has none of", plan->module->path, plan->class->name, l);
            plan->slots[slot++] = resolve(bindings, arg, arena, status);
        }
    }
    return NULL;
}

// Stages as runs of launches with the same number.
static void find_stages(RtPlan *plan)
{
    const RtLaunch *launches = plan->class->launches;
    for (uint32_t l = 0; l < plan->class->launch_count; l++) {
        if (l == 0 || launches[l].stage != launches[l - 1].stage) plan->stages[plan->stage_count++] = (RtStage){.first = l};
        plan->stages[plan->stage_count - 1].count++;
    }
}

HdStatus *rt_plan_new(const HeddleModule *module, const RtClass *class, const RtBindings *bindings, uint64_t arena, uint64_t status, RtPlan **out_plan)
{
    RtPlan *plan = hd_xcalloc(1, sizeof *plan);
    uint32_t launches = class->launch_count;
    plan->module = module, plan->class = class, plan->threads = bindings->threads;
    plan->slots = hd_xcalloc(class->arg_slots, sizeof *plan->slots);
    plan->first_slot = hd_xcalloc(launches, sizeof *plan->first_slot);
    plan->units = hd_xcalloc(launches, sizeof *plan->units);
    plan->cuts = hd_xcalloc((size_t)launches * (plan->threads + 1), sizeof *plan->cuts);
    plan->stages = hd_xcalloc(launches, sizeof *plan->stages);
    find_stages(plan);
    HdStatus *result = resolve_all(plan, bindings, arena, status);
    if (result) rt_plan_free(plan);
    else *out_plan = plan;
    return result;
}

void rt_plan_free(RtPlan *plan)
{
    if (!plan) return;
    free(plan->slots);
    free(plan->first_slot);
    free(plan->units);
    free(plan->cuts);
    free(plan->stages);
    free(plan);
}

// ---- one step shape ------------------------------------------------------------------------------------------

static HdStatus *bad_launch(const RtPlan *plan, uint32_t launch, const char *what)
{
    const RtLaunch *row = &plan->class->launches[launch];
    return hd_error(HD_BAD_DATA, "%s: class %s, stage %" PRId32 ", kernel %s: %s", plan->module->path, plan->class->name, row->stage, plan->module->kernels[row->kernel].name, what);
}

static HdStatus *bind_launch(RtPlan *plan, const RtBinding *binding, uint32_t l)
{
    const RtLaunch *launch = &plan->class->launches[l];
    for (uint32_t a = 0; a < launch->arg_count; a++) {
        const RtArg *arg = &plan->module->args[launch->first_arg + a];
        int64_t value = 0;
        if (arg->kind != HEDDLE_ARG_EXPR) continue;
        if (!rt_expr_eval(&plan->module->exprs[arg->index], binding, &value)) return bad_launch(plan, l, "an argument does not fit 64 bits");
        plan->slots[plan->first_slot[l] + a] = (uint64_t)value;
    }
    if (!rt_expr_eval(&plan->module->exprs[launch->units], binding, &plan->units[l]) || plan->units[l] < 0 || plan->units[l] > (int64_t)1 << 40)
        return bad_launch(plan, l, "the number of work units is negative or too large");
    return NULL;
}

// Launches whose cost is not stated count as large: better too many threads than too few.
static double launch_cost(const RtPlan *plan, const RtBinding *binding, uint32_t l)
{
    const RtLaunch *launch = &plan->class->launches[l];
    int64_t bytes = 0, flops = 0;
    if (plan->units[l] == 0) return 0;
    bool known = rt_expr_eval(&plan->module->exprs[launch->bytes], binding, &bytes) && rt_expr_eval(&plan->module->exprs[launch->flops], binding, &flops) && bytes >= 0 && flops >= 0;
    double cost = known ? (double)bytes + (double)flops / FLOPS_PER_BYTE : 0;
    return cost > 0 ? cost : (double)plan->units[l] * THREAD_COST;
}

// Cuts the units of a stage where the cost, summed over its launches, passes each thread's share.
static void cut_stage(RtPlan *plan, const RtBinding *binding, RtStage *stage)
{
    double total = 0, start = 0;
    int64_t units = 0;
    for (uint32_t l = stage->first; l < stage->first + stage->count; l++) total += launch_cost(plan, binding, l), units += plan->units[l];
    double wanted = total / THREAD_COST;
    stage->threads = units == 0 ? 0 : (uint32_t)HD_MAX(1, HD_MIN(wanted, (double)HD_MIN(units, (int64_t)plan->threads)));
    for (uint32_t l = stage->first; l < stage->first + stage->count; l++) {
        int64_t *cuts = plan->cuts + (size_t)l * (plan->threads + 1), count = plan->units[l];
        double cost = launch_cost(plan, binding, l);
        for (uint32_t i = 1; i <= plan->threads; i++) {
            double share = i < stage->threads && cost > 0 ? (total * i / stage->threads - start) / cost * (double)count + 0.5 : (double)count;
            cuts[i] = share <= 0 ? 0 : share >= (double)count ? count : (int64_t)share;
        }
        cuts[0] = 0;
        start += cost;
    }
}

// Stages that only the first thread has work in need no barrier between them, and none after the last stage that others have work in.
static void place_barriers(RtPlan *plan)
{
    uint32_t next = 0;                                   // threads of the next stage that has work
    plan->participants = 1;
    plan->parallel_stages = 0;
    for (uint32_t i = plan->stage_count; i-- > 0;) {
        RtStage *stage = &plan->stages[i];
        if (stage->threads > 1 && !plan->parallel_stages) plan->parallel_stages = i + 1;
        plan->participants = HD_MAX(plan->participants, stage->threads);
        stage->barrier = stage->threads && i < plan->parallel_stages && (stage->threads > 1 || next > 1);
        if (stage->threads) next = stage->threads;
    }
}

HdStatus *rt_plan_bind(RtPlan *plan, const RtBinding *binding)
{
    if (plan->is_bound && !memcmp(&plan->binding, binding, sizeof *binding)) return NULL;
    plan->is_bound = false;
    for (uint32_t l = 0; l < plan->class->launch_count; l++) HD_TRY(bind_launch(plan, binding, l));
    for (uint32_t i = 0; i < plan->stage_count; i++) cut_stage(plan, binding, &plan->stages[i]);
    place_barriers(plan);
    plan->binding = *binding;
    plan->is_bound = true;
    return NULL;
}
