// SPDX-License-Identifier: Apache-2.0
// The cost model: how long work takes on a device of which some figures are known. Passes ask it of operations (passes/workbench/cost.c), `heddle bench` and
// --roofline of launches. Figures are those of figures.def, or of files that `heddle calibrate` makes.
#ifndef HEDDLE_BASE_PREDICT_H
#define HEDDLE_BASE_PREDICT_H

#include "runtime/base/base.h"

typedef enum HdFigure {
#define FIGURE(name, low, high, doc) HD_FIGURE_##name,
#include "runtime/base/figures.def"
#undef FIGURE
    HD_FIGURE_COUNT
} HdFigure;
typedef enum HdKernelFigure {
#define KERNEL_FIGURE(name, low, high, doc) HD_KERNEL_FIGURE_##name,
#include "runtime/base/figures.def"
#undef KERNEL_FIGURE
    HD_KERNEL_FIGURE_COUNT
} HdKernelFigure;

enum { HD_MOST_KERNELS = 160, HD_KERNEL_NAME = 48 };
typedef struct HdKernelFigures {
    char name[HD_KERNEL_NAME];             // "matmul_q8_0_q8a"
    double value[HD_KERNEL_FIGURE_COUNT];  // 0: not known
} HdKernelFigures;
typedef struct HdFigures {
    char name[128];                        // of the device
    double value[HD_FIGURE_COUNT];         // 0: not known
    char source[HD_FIGURE_COUNT][160];     // "measured: ..", "data sheet: .."
    HdKernelFigures kernels[HD_MOST_KERNELS];
    uint32_t kernel_count;
} HdFigures;

const char *hd_figure_name(HdFigure figure);
const char *hd_kernel_figure_name(HdKernelFigure figure);
// A device of figures.def, or a device file, whose lines are "FIGURE = value # source" or "KERNEL.FIGURE = value # source". Errors of a file begin with
// "FILE:LINE: "; USAGE lists the devices when `name` is neither.
HD_MUST_USE HdStatus *hd_figures(const char *name, HdFigures *out_figures);

// Launches of one kernel that are alike.
typedef struct HdWork {
    const char *kernel;                    // without its digest
    double launches, tokens;               // tokens of one launch
    double bytes, flops;                   // of all launches
} HdWork;
// What grows with a kernel's time: its operations or bytes; of attention, whose tokens pass over the bytes one by one, their product.
double hd_work(const char *kernel, double amount, double tokens);
// Seconds. step_bytes: what the whole step moves, which decides where it is fed from. Of a kernel with figures:
//     launches * launch_us + work / many + work / tokens * (1 / one - 1 / many)
// which is what one token takes, and for each further token what it takes among many; `one` lies between cached_.. and one_.. as the logarithm of step_bytes
// does between their steps. Of others: a launch each, and the bytes or the arithmetic, whichever takes longer.
double hd_predict(const HdFigures *figures, const HdWork *work, double step_bytes);
// What the stages of a step wait for one another, where that is known and not in the figures of kernels.
double hd_predict_waiting(const HdFigures *figures, double stages);
// The peak of a kernel's factors, by its name: matmul_q8_0_q8a multiplies bytes, matmul_bf16_bf16 bf16, all others float32.
HdFigure hd_peak_of(const char *kernel);
// Is there a time that can be predicted at all?
static inline bool hd_can_predict(const HdFigures *figures) { return figures->value[HD_FIGURE_memory_gb_per_s] > 0; }

#endif
