// SPDX-License-Identifier: Apache-2.0
// Inside of the runtime: what its files share. The public side is heddle.h, the module's tables are in module.h, devices in
// device/device.h.
//
//   weights.c ─► model.c (packing) ─► session.c (state) ─► session_eval.c (splits input into steps) ─► device/
//                place.c (where weights lie), pack.c (pack files)
//                                      session_state.c (snapshots, forks), session_file.c (saved slots)
#ifndef HEDDLE_RUNTIME_H
#define HEDDLE_RUNTIME_H

#include <pthread.h>

#include "runtime/device/device.h"
#include "runtime/module.h"

// ---- memory.c: sizes that the input decides ------------------------------------------------------------------

enum { RT_ALIGN = 64 };

// `bytes` of zeroed, page-aligned memory whose pages are taken when first touched. NO_MEMORY names `what` and the size. 0
// bytes: one page.
HD_MUST_USE HdStatus *rt_alloc(uint64_t bytes, const char *what, RtBuffer *out_buffer);
// Asks for large pages, for what is read or written in long strides; the system may have none. `buffer`: of rt_alloc, or host memory.
void rt_prefer_huge_pages(const RtBuffer *buffer);
void rt_free(RtBuffer *buffer);
HD_MUST_USE HdStatus *rt_no_memory(uint64_t bytes, const char *what);
// Zeroes a range of an rt_alloc buffer; whole pages inside go back to the system.
void rt_zero(const RtBuffer *buffer, uint64_t offset, uint64_t bytes);

// The session a caller asked for, with every default filled in and every bound checked.
typedef struct RtShape {
    uint32_t context, slots, planes, threads, tokens;    // tokens: largest step
    bool poison;
} RtShape;
HD_MUST_USE HdStatus *rt_shape(const HeddleModule *module, const HeddleSessionOptions *options, RtShape *out_shape);
// Bytes of one plane of a state (for an append-only state: of its rows), and from one slot to the next.
uint64_t rt_state_plane_bytes(const RtState *state, const RtShape *shape);
uint64_t rt_state_slot_bytes(const RtState *state, const RtShape *shape);
// Offsets of the inputs of a step in one buffer, each aligned; out_offsets[HEDDLE_INPUT_COUNT] is the size of the whole.
void rt_input_layout(const HeddleModule *module, const RtShape *shape, uint64_t out_offsets[HEDDLE_INPUT_COUNT + 1]);
// Everything of HeddleMemory. `mapped`: bytes of the tensors that the step classes read in place.
HD_MUST_USE HdStatus *rt_memory(const HeddleModule *module, const RtShape *shape, HeddleMemory *out_memory);
// Largest scratch of a step class.
uint32_t rt_step_scratch(const HeddleModule *module);
// Scratch memory of a GPU for launches whose work groups have `group_bytes` each: for as many groups as can be started, or as fit.
uint64_t rt_group_scratch(uint64_t group_bytes);
// As many work groups as there are units, within what a launch may have and `scratch_bytes` hold for all of them.
uint32_t rt_group_count(int64_t units, uint64_t group_bytes, uint64_t scratch_bytes);

// ---- weights.c -----------------------------------------------------------------------------------------------

struct HeddleWeights {
    GgufFile *file;
    bool strict, has_identity;
    pthread_mutex_t lock;            // over the identity
    HdDigest identity, full;         // full: of every byte; only when strict
};

// Digests as text; full is "" unless strict.
void rt_weights_identity(HeddleWeights *weights, char out_identity[33], char out_full[33]);
// Is a file that recorded these two digests bound to the same weights? `what` begins the message of MISMATCH, `mend` ends it.
HD_MUST_USE HdStatus *rt_weights_check(HeddleWeights *weights, HdStr identity, HdStr full, const char *what, const char *mend);
// Gives the pages wholly inside a mapped range back to the page cache; they are read again when touched.
void rt_release_pages(const void *data, uint64_t bytes);

// ---- model.c, pack.c -----------------------------------------------------------------------------------------

// A place in the model's blocks.
typedef struct RtHome { uint32_t block; uint64_t offset; } RtHome;
enum { RT_NO_BLOCK = UINT32_MAX };

struct HeddleModel {
    HeddleModule *module;
    HeddleWeights *weights;          // NULL: null device without weights
    RtDevice *device;
    uint64_t *addresses;             // per row of module->weights: device address
    HD_VEC(RtBuffer) blocks;         // memory of the device for weights that do not stay where they are mapped
    RtHome *homes;                   // per row of module->weights: its part of them
    GgufFile *pack;                  // the mapped pack file, when there is one
    HdLog log;
};

// ---- place.c: where weights lie --------------------------------------------------------------------------------
// Packed copies get memory of the device. So do native rows where the device has memory of its own; elsewhere they stay mapped.

// Which rows of the weight table step classes read: 1 per row, [weight_count].
void rt_step_weights(const HeddleModule *module, uint8_t *out_used);
// Memory for packed copies (`packed`) or for the native rows that step classes read, in blocks of bounded size: fills in homes
// and addresses.
HD_MUST_USE HdStatus *rt_place(HeddleModel *model, bool packed);
// Copies mapped bytes to a buffer of the device, piece by piece, and gives each piece's pages back. `progress` may be NULL.
typedef struct RtProgress { void (*report)(void *user, uint64_t done, uint64_t all); void *user; uint64_t done, all; } RtProgress;
HD_MUST_USE HdStatus *rt_upload(HeddleModel *model, const RtBuffer *buffer, uint64_t offset, const void *data, uint64_t bytes,
                                RtProgress *progress);
// The packed copy of a row as the host sees it; `store` as in rt_fetch.
HD_MUST_USE HdStatus *rt_fetch_packed(const HeddleModel *model, uint32_t row, RtBuffer *store, const void **out_data);
void rt_unplace(HeddleModel *model);

// Maps `path`, checks that it belongs to the model's module and weights, and fills in the addresses of packed weights.
HD_MUST_USE HdStatus *rt_pack_open(HeddleModel *model, const char *path);

// ---- device/facts.c -------------------------------------------------------------------------------------------

// Appends why no Vulkan device here runs modules; nothing when one does.
void rt_vulkan_lacks(HdBuf *out_text);
// Appends why no CUDA device here runs this module; nothing when one does.
void rt_cuda_lacks(const HeddleModule *module, HdBuf *out_text);

// ---- session.c -----------------------------------------------------------------------------------------------

// What a slot holds. Tokens 0..filled-1 have valid cache rows; a plane's position says after how many of them its recurrent
// state stands.
typedef struct RtSlot {
    int32_t *tokens;                 // [context]
    uint32_t filled;
    uint32_t plane;                  // written last
    uint32_t *positions;             // [planes]; RT_NO_POSITION: holds nothing of use
    bool broken;                     // a step that failed wrote here
} RtSlot;
enum { RT_NO_POSITION = UINT32_MAX };

// A result that is gathered over the steps of an evaluation.
typedef struct RtKept {
    char *name;
    uint64_t columns, row_count;
    RtRows rows;
    float *data;                     // [cap][columns]
    uint64_t cap;                    // rows
} RtKept;

struct HeddleSession {
    HeddleModel *model;
    const HeddleModule *module;
    RtDevice *device;                // the model's
    const RtMemoryType *memory;      // its memory
    RtShape shape;
    RtQueue *queue;                  // the device's threads, arena and plans
    RtBuffer *states;                // per state of the module
    RtStateView *views;              // the same as kernels see them
    RtSlot *slots;
    RtBuffer inputs;
    void *input[HEDDLE_INPUT_COUNT]; // into `inputs`, as the host sees them
    uint64_t input_address[HEDDLE_INPUT_COUNT];   // and as kernels do
    RtBuffer fetched;                // a result of a device that has memory of its own
    RtBuffer rope;                   // [context][rope_n]: rows computed when first needed; a row of zeros has not been
    double *rope_frequency;          // [rope_n / 2]
    HD_VEC(RtKept) kept;             // the first is "logits"
    HeddleCounters counters;
    RtTrace *trace;                  // of the last heddle_time_kernels; the queue has it too while kernels are timed
};

// Bounds-checks a slot number; USAGE names it.
HD_MUST_USE HdStatus *rt_slot(const HeddleSession *session, uint32_t slot, RtSlot **out_slot);
// The same for a slot whose state is to be read: not one that a failed step has left unusable.
HD_MUST_USE HdStatus *rt_whole_slot(const HeddleSession *session, uint32_t slot, RtSlot **out_slot);
// The bytes of one plane of state `index` of a slot; for an append-only state all its rows (plane is ignored).
uint64_t rt_plane_offset(const HeddleSession *session, uint32_t index, uint32_t slot, uint32_t plane);
// The rotary table row of a position: cosines, then sines.
const float *rt_rope_row(HeddleSession *session, uint32_t position);
static inline uint32_t rt_slot_position(const RtSlot *slot) { return slot->positions[slot->plane]; }

#endif
