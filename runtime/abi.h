// SPDX-License-Identifier: Apache-2.0
// What generated kernels and the runtime share. Freestanding: no other header of the project, no libc beyond stdint.
// Any change here raises HEDDLE_ABI_VERSION; a module records the version it was made for.
#ifndef HEDDLE_ABI_H
#define HEDDLE_ABI_H

#include <stdint.h>

#define HEDDLE_ABI_VERSION 1

// A CPU kernel does the work units unit_begin <= u < unit_end. args: one 8-byte slot per parameter: an address, or an i64. scratch: this
// thread's memory, 64-byte aligned, as many bytes as the launch says. Every thread calls it with units of its own.
typedef void HeddleKernel(const uint64_t *args, int64_t unit_begin, int64_t unit_end, uint8_t *scratch);

// A kernel of a GPU is one SPIR-V module with the entry point `main`, work groups of one dimension and a fixed size ("lanes" in the module's
// kernel table), no descriptor sets, and these push constants. Work group g of G does the units begin + g, begin + g + G, ... < end: the
// runtime starts as many groups as there are units, or fewer. All addresses are buffer device addresses, argument slots are as above.
typedef struct HeddleGpuLaunch {
    uint64_t args;           // address of this launch's argument slots
    int64_t begin, end;      // units
    uint64_t scratch;        // address of scratch memory: group g has the launch's scratch bytes at scratch + g * bytes
} HeddleGpuLaunch;           // 32 bytes, no padding
enum {
    HEDDLE_GPU_MAX_GROUPS = 65535,           // of a launch: what every Vulkan device can do
    HEDDLE_GPU_MAX_LANES = 1024,
    HEDDLE_GPU_SCRATCH_BYTES = 32 << 20      // of all groups of a launch, unless a single one has more
};

// Where an argument slot gets its value when a step starts.
typedef enum HeddleArgKind {
    HEDDLE_ARG_ARENA,        // index: byte offset in the arena of this step class
    HEDDLE_ARG_WEIGHT,       // index: row of the module's weight table: mapped data, or the packed copy
    HEDDLE_ARG_STATE,        // index: row of the state table: base address of all slots
    HEDDLE_ARG_INPUT,        // index: HeddleInput
    HEDDLE_ARG_EXPR,         // index: row of the expression table, evaluated over T, S, C, R
    HEDDLE_ARG_CONST,        // index: the value itself
    HEDDLE_ARG_STATE_SLOT,   // index: row of the state table: bytes from one slot to the next
    HEDDLE_ARG_STATE_PLANE,  // index: row of the state table: bytes from one plane to the next
    HEDDLE_ARG_STATUS,       // address of the step's HeddleStepStatus
    HEDDLE_ARG_KIND_COUNT
} HeddleArgKind;

typedef enum HeddleInput {
    HEDDLE_INPUT_TOKENS,     // i32 [T]
    HEDDLE_INPUT_SEGMENTS,   // i32 [S][8]: slot, first position, first token, count, plane in, plane out, 0, 0
    HEDDLE_INPUT_ROWS,       // i32 [R]: token rows whose logits are wanted, rising
    HEDDLE_INPUT_ROPE,       // f32 [T][n]: cosines, then sines, of each token's position
    HEDDLE_INPUT_TOKEN_INFO, // i32 [T][4]: segment, slot, position, index in its segment; derived from the segments
    HEDDLE_INPUT_COUNT
} HeddleInput;

// Kernels with an RMS norm report a non-finite sum of squares here: the lowest layer wins (a racing plain store of i32 is fine on our targets).
typedef struct HeddleStepStatus { int32_t layer_plus_1, token; } HeddleStepStatus;   // layer_plus_1 0: all finite

#endif
