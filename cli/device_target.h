// SPDX-License-Identifier: Apache-2.0
#ifndef HEDDLE_DEVICE_TARGET_H
#define HEDDLE_DEVICE_TARGET_H

#include "ir/target.h"

struct RtFacts;
// The target for a device, whose name and limits it keeps. `path`: of the file that describes it, for errors: BAD_DATA names the key,
// UNSUPPORTED what the device lacks, or what NVRTC compiles for.
HD_MUST_USE HdStatus *device_target(const struct RtFacts *facts, const char *path, IrTarget *out_target);

#endif
