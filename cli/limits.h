// SPDX-License-Identifier: Apache-2.0
// What kernels are measured against (limits.c, limits_gpu.c), and where a session's time goes, kernel by kernel, beside it (roofline.c).
#ifndef HEDDLE_CLI_LIMITS_H
#define HEDDLE_CLI_LIMITS_H

#include "cli/cli.h"
#include "runtime/base/predict.h"

typedef enum Peak { PEAK_INT8, PEAK_BF16, PEAK_F32, PEAK_COUNT } Peak;   // by the type of the factors

typedef struct Limits {
    double read_gb_per_s;            // GB/s (1e9) of reading memory, on a GPU of copying; 0: there was not enough of it
    const char *read_kernel;         // which of the ways to read was the fastest
    double gops[PEAK_COUNT];         // additions and multiplications a second, 1e9
} Limits;

// Reads about as much memory as `model_bytes`, at least so much that small caches do not hold it, and multiplies on registers, with this
// many threads.
void limits_measure(uint64_t model_bytes, uint32_t threads, Limits *out_limits);
// GB/s of reading `bytes` in the fastest way, whose name is *out_kernel; 0, and *out_kernel stays: there was not so much memory.
double limits_read(uint64_t bytes, uint32_t threads, const char **out_kernel);

// ---- limits_gpu.c ----------------------------------------------------------------------------------------------

// Copies as much of the memory of a model's GPU as caches do not hold; the bytes are those that are read and those that are written. Other
// limits are zero, all where the device is no GPU.
HD_MUST_USE HdStatus *limits_measure_gpu(HeddleModel *model, Limits *out_limits);

// ---- roofline.c ------------------------------------------------------------------------------------------------

// A row of the table: launches of a step class of one kernel for the same weights of all layers, or their sum.
typedef struct RooflineRow {
    HeddleKernelTime time;
    double predicted;                // seconds by the cost model (runtime/base/predict.h)
    double share;                    // of the time of all evaluations
    double busy;                     // share of the threads' time that they spent in the kernel; the rest is waiting for each other
    double gb_per_s, gops;
    double of_read, of_peak;         // shares of the limits
    const char *bound;               // the largest of these shares: "memory", "arithmetic", "waiting"; all below a half: "instructions"
} RooflineRow;

// Of what was timed (heddle_time_kernels), the longest first, and last the sum, which has no texts.
typedef struct Roofline {
    HdArena arena;                   // texts of the rows
    HD_VEC(RooflineRow) rows;
    double seconds;                  // of all evaluations
} Roofline;

// What times are predicted by without a --device-file: the limits, as roofs.
HdFigures roofline_figures(const Limits *limits);
void roofline_take(const HeddleSession *session, const Limits *limits, const HdFigures *figures, Roofline *out_roofline);
void roofline_free(Roofline *roofline);
// A table in markdown.
void roofline_print(FILE *to, const Roofline *roofline, const Limits *limits);
// The rows without the sum as a JSON array on one line.
void roofline_json(HdBuf *out, const Roofline *roofline);

#endif
