// SPDX-License-Identifier: Apache-2.0
// What `heddle calibrate` measures kernels by: two models without content (calibrate_model.c) that run for a while (calibrate_kernels.c).
#ifndef HEDDLE_CLI_CALIBRATE_H
#define HEDDLE_CLI_CALIBRATE_H

#include "cli/cli.h"
#include "runtime/base/predict.h"

enum { CALIBRATE_MOST_TYPES = 40 };
typedef struct CalibrateTypes { const GgmlTypeInfo *type[CALIBRATE_MOST_TYPES]; uint32_t count; } CalibrateTypes;
typedef enum CalibrateSize { CALIBRATE_SMALL, CALIBRATE_LARGE, CALIBRATE_SIZES } CalibrateSize;

// A mixture of experts with zero weights, whose layers have the types in turn, in anonymous memory: a GGUF file under the name out_path as long as *out_fd is open. The
// time of no kernel depends on its weights. Of the large one a step reads more than caches hold.
HD_MUST_USE HdStatus *calibrate_model(CalibrateSize size, const CalibrateTypes *types, int *out_fd, char out_path[64]);

// Compiles and runs both models for the processor and appends lines of a device file: figures of kernels, and what a step takes beside them.
HD_MUST_USE HdStatus *calibrate_kernels(const CliOptions *options, const CalibrateTypes *types, uint32_t threads, HdBuf *out_lines);

#endif
