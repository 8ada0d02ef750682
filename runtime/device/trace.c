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
    RtLedger *ledger;
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
    trace->ledger = rt_ledger_new(module);
    return trace;
}

void rt_trace_free(RtTrace *trace)
{
    if (!trace) return;
    rt_ledger_free(trace->ledger);
    free(trace->spent);
    free(trace->ended);
    free(trace);
}

const HeddleKernelTime *rt_trace_times(const RtTrace *trace, uint32_t *out_count, double *out_seconds)
{
    *out_seconds = trace->seconds;
    return rt_ledger_rows(trace->ledger, out_count);
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
    double all = 0;
    for (uint32_t l = phase->first; l < phase->first + phase->count; l++) all += spent_in(trace, l);
    for (uint32_t l = phase->first; l < phase->first + phase->count && all > 0; l++) {
        double spent = spent_in(trace, l);
        HeddleKernelTime *row = rt_ledger_row(trace->ledger, plan->class, l);
        row->seconds += seconds * spent / all;
        row->thread_seconds += spent;
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
    rt_ledger_add(trace->ledger, plan->class, &binding);
    trace->seconds -= hd_seconds() - start;
}

void rt_trace_evaluation(RtTrace *trace, double start) { trace->seconds += hd_seconds() - start; }
