// SPDX-License-Identifier: Apache-2.0
// What NVIDIA's machine code says of itself.
#ifndef HEDDLE_CUBIN_H
#define HEDDLE_CUBIN_H

#include "runtime/base/base.h"

// Per thread. local_bytes: the stack in the device's slow memory, where registers go that there were too few of.
typedef struct CubinUse { uint32_t registers, local_bytes; } CubinUse;

// What a kernel of a cubin uses; false where the bytes are no cubin (PTX, SPIR-V), hold no such kernel or are damaged.
bool rt_cubin_use(const uint8_t *data, uint64_t bytes, const char *kernel, CubinUse *out_use);

#endif
