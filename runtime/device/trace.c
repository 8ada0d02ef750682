// SPDX-License-Identifier: Apache-2.0
// Where the time of steps goes. Each thread notes how long it was in each launch and when it ended its last chunk of each phase. A phase
// lasts from the end of the one before to its own last end, the last until the step is over; that time is shared out among its launches as
// the threads' time was, so that waiting belongs to the kernels that are waited for, and the launches together last as long as the step.
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

struct RtTrace {
    const HeddleModule *module;
    uint32_t threads, stride;
    double *spent, *ended;           // [threads][stride], of the present step: seconds per launch; when, per phase, 0: no part in it
    double began;                    // the present step
    double seconds;                  // of evaluations, without what is done here
    uint32_t **rows;                 // per class the row of each launch; NULL: the class has not run yet
    HdArena arena;                   // texts
    HD_VEC(HeddleKernelTime) times;
};

RtTrace *rt_trace_new(const HeddleModule *module, uint32_t threads)
{
    RtTrace *trace = hd_xcalloc(1, sizeof *trace);
    uint32_t most = 0;
    for (uint32_t c = 0; c < module->class_count; c++) most = HD_MAX(most, module->classes[c].launch_count);
    trace->module = module, trace->threads = threads;
    trace->stride = (uint32_t)hd_align_up(most, 8) + 8;  // no two threads write to one cache line
    trace->spent = hd_xcalloc((size_t)threads * trace->stride, sizeof *trace->spent);
    trace->ended = hd_xcalloc((size_t)threads * trace->stride, sizeof *trace->ended);
    trace->rows = hd_xcalloc(module->class_count, sizeof *trace->rows);
    return trace;
}

void rt_trace_free(RtTrace *trace)
{
    if (!trace) return;
    for (uint32_t c = 0; c < trace->module->class_count; c++) free(trace->rows[c]);
    free(trace->rows);
    free(trace->spent);
    free(trace->ended);
    hd_vec_free(&trace->times);
    hd_arena_free(&trace->arena);
    free(trace);
}

const HeddleKernelTime *rt_trace_times(const RtTrace *trace, uint32_t *out_count, double *out_seconds)
{
    *out_count = (uint32_t)trace->times.len;
    *out_seconds = trace->seconds;
    return trace->times.data;
}

// ---- while a step runs -----------------------------------------------------------------------------------------

void rt_trace_begin(RtTrace *trace)
{
    size_t bytes = (size_t)trace->threads * trace->stride * sizeof(double);
    memset(trace->spent, 0, bytes);
    memset(trace->ended, 0, bytes);
    trace->began = hd_seconds();
}

double rt_trace_launch(RtTrace *trace, uint32_t thread, uint32_t launch, double since)
{
    double now = hd_seconds();
    trace->spent[(size_t)thread * trace->stride + launch] += now - since;
    return now;
}

void rt_trace_phase(RtTrace *trace, uint32_t thread, uint32_t phase, double now) { trace->ended[(size_t)thread * trace->stride + phase] = now; }

// ---- rows: launches of a class by kernel and weights -----------------------------------------------------------

// "blk.3.ffn_up.weight" is ffn_up in all layers.
static HdStr role_of(const char *tensor)
{
    size_t digits = strncmp(tensor, "blk.", 4) ? 0 : strspn(tensor + 4, "0123456789");
    HdStr role = hd_str(digits && tensor[4 + digits] == '.' ? tensor + 5 + digits : tensor);
    const size_t suffix = strlen(".weight");
    if (role.len > suffix && !memcmp(role.data + role.len - suffix, ".weight", suffix)) role.len -= suffix;
    return role;
}

static const char *weights_of(RtTrace *trace, const RtLaunch *launch)
{
    HdBuf text = {0};
    HdStr last = {0};
    for (uint32_t a = 0; a < launch->arg_count; a++) {
        const RtArg *arg = &trace->module->args[launch->first_arg + a];
        if (arg->kind != HEDDLE_ARG_WEIGHT) continue;
        HdStr role = role_of(trace->module->tensors[trace->module->weights[arg->index].tensor].name);
        if (last.data && hd_str_eq(role, last)) continue;
        hd_buf_printf(&text, "%s" HD_STR_FMT, text.len ? " " : "", HD_STR_ARG(role));
        last = role;
    }
    const char *kept = hd_arena_strndup(&trace->arena, text.data ? text.data : "", text.len);
    hd_buf_free(&text);
    return kept;
}

// The name without its digest.
static const char *kernel_of(RtTrace *trace, const RtLaunch *launch)
{
    const char *name = trace->module->kernels[launch->kernel].name, *digest = strrchr(name, '_');
    return hd_arena_strndup(&trace->arena, name, digest ? (size_t)(digest - name) : strlen(name));
}

static uint32_t row_for(RtTrace *trace, const RtClass *class, const RtLaunch *launch)
{
    HeddleKernelTime row = {.step_class = class->name, .kernel = kernel_of(trace, launch), .weights = weights_of(trace, launch)};
    for (uint32_t i = 0; i < trace->times.len; i++) {
        const HeddleKernelTime *other = &trace->times.data[i];
        if (other->step_class == class->name && !strcmp(other->kernel, row.kernel) && !strcmp(other->weights, row.weights)) return i;
    }
    hd_vec_push(&trace->times, row);
    return (uint32_t)trace->times.len - 1;
}

static const uint32_t *rows_of(RtTrace *trace, const RtClass *class)
{
    uint32_t **rows = &trace->rows[class - trace->module->classes];
    if (*rows) return *rows;
    *rows = hd_xcalloc(class->launch_count, sizeof **rows);
    for (uint32_t l = 0; l < class->launch_count; l++) (*rows)[l] = row_for(trace, class, &class->launches[l]);
    return *rows;
}

// ---- after a step ----------------------------------------------------------------------------------------------

static double spent_in(const RtTrace *trace, uint32_t launch)
{
    double sum = 0;
    for (uint32_t t = 0; t < trace->threads; t++) sum += trace->spent[(size_t)t * trace->stride + launch];
    return sum;
}

static double end_of(const RtTrace *trace, uint32_t phase)
{
    double end = 0;
    for (uint32_t t = 0; t < trace->threads; t++) end = HD_MAX(end, trace->ended[(size_t)t * trace->stride + phase]);
    return end;
}

static void add_phase(RtTrace *trace, const RtPlan *plan, const RtPhase *phase, double seconds)
{
    const uint32_t *rows = rows_of(trace, plan->class);
    double all = 0;
    for (uint32_t l = phase->first; l < phase->first + phase->count; l++) all += spent_in(trace, l);
    for (uint32_t l = phase->first; l < phase->first + phase->count && all > 0; l++) {
        double spent = spent_in(trace, l);
        trace->times.data[rows[l]].seconds += seconds * spent / all;
        trace->times.data[rows[l]].thread_seconds += spent;
    }
}

static void add_costs(RtTrace *trace, const RtClass *class, const RtBinding *binding)
{
    const uint32_t *rows = rows_of(trace, class);
    for (uint32_t l = 0; l < class->launch_count; l++) {
        HeddleKernelTime *time = &trace->times.data[rows[l]];
        int64_t bytes, flops;
        if (rt_expr_eval(&trace->module->exprs[class->launches[l].bytes], binding, &bytes)) time->bytes += (double)bytes;
        if (rt_expr_eval(&trace->module->exprs[class->launches[l].flops], binding, &flops)) time->flops += (double)flops;
        time->launches++;
    }
}

void rt_trace_end(RtTrace *trace, const RtPlan *plan, uint32_t reach)
{
    RtBinding binding = plan->binding;
    double before = trace->began, start = hd_seconds();
    binding.value[RT_C] = reach;
    for (uint32_t p = 0; p < plan->phase_count; p++) {
        double end = p + 1 < plan->phase_count ? end_of(trace, p) : start;
        add_phase(trace, plan, &plan->phases[p], end - before);
        before = end;
    }
    add_costs(trace, plan->class, &binding);
    trace->seconds -= hd_seconds() - start;
}

void rt_trace_evaluation(RtTrace *trace, double start) { trace->seconds += hd_seconds() - start; }
