// SPDX-License-Identifier: Apache-2.0
// The cost model: how long work takes on a device of which some figures are known. Passes ask it of operations (passes/workbench/cost.c), `heddle bench` and
// --roofline of launches. Figures are those of figures.def, or of files that `heddle calibrate` makes.
#ifndef HEDDLE_PREDICT_H
#define HEDDLE_PREDICT_H

#include "runtime/base/base.h"
#include "runtime/heddle.h"

typedef enum RtFigure {
#define FIGURE(name, low, high, doc) RT_FIGURE_##name,
#include "runtime/figures.def"
#undef FIGURE
    RT_FIGURE_COUNT
} RtFigure;
typedef enum RtKernelFigure {
#define KERNEL_FIGURE(name, low, high, doc) RT_KERNEL_FIGURE_##name,
#include "runtime/figures.def"
#undef KERNEL_FIGURE
    RT_KERNEL_FIGURE_COUNT
} RtKernelFigure;

enum { RT_MOST_KERNELS = 160, RT_KERNEL_NAME = 48 };
typedef struct RtKernelFigures {
    char name[RT_KERNEL_NAME];             // "matmul_q8_0_q8a"
    double value[RT_KERNEL_FIGURE_COUNT];  // 0: not known
} RtKernelFigures;
typedef struct RtFigures {
    char name[128];                        // of the device
    double value[RT_FIGURE_COUNT];         // 0: not known
    char source[RT_FIGURE_COUNT][160];     // "measured: ..", "data sheet: .."
    RtKernelFigures kernels[RT_MOST_KERNELS];
    uint32_t kernel_count;
} RtFigures;

const char *rt_figure_name(RtFigure figure);
const char *rt_kernel_figure_name(RtKernelFigure figure);
// A device of figures.def, or a device file, whose lines are "FIGURE = value # source" or "KERNEL.FIGURE = value # source". Errors of a file begin with
// "FILE:LINE: "; USAGE lists the devices when `name` is neither.
HD_MUST_USE HdStatus *rt_figures(const char *name, RtFigures *out_figures);

// Launches of one kernel that are alike.
typedef struct RtWork {
    const char *kernel;                    // without its digest
    double launches, tokens;               // tokens of one launch
    double bytes, flops;                   // of all launches
} RtWork;
// What grows with a kernel's time: its operations or bytes; of attention, whose tokens pass over the bytes one by one, their product.
double rt_work(const char *kernel, double amount, double tokens);
// Seconds. step_bytes: what the whole step moves, which decides where it is fed from. Of a kernel with figures:
//     launches * launch_us + work / many + work / tokens * (1 / one - 1 / many)
// which is what one token takes, and for each further token what it takes among many; `one` lies between cached_.. and one_.. as the logarithm of step_bytes
// does between their steps. Of others: a launch each, and the bytes or the arithmetic, whichever takes longer.
double rt_predict(const RtFigures *figures, const RtWork *work, double step_bytes);
// Is there a time that can be predicted at all?
static inline bool rt_can_predict(const RtFigures *figures) { return figures->value[RT_FIGURE_memory_gb_per_s] > 0; }
// Seconds of the steps that the rows are of, and in out_each (NULL: nobody wants it) of each row. Without the time between stages, which only
// a device without figures of kernels needs: these have it in them.
double rt_predict_rows(const RtFigures *figures, const HeddleKernelTime *rows, uint32_t count, double *out_each);

#endif
