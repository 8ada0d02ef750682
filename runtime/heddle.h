// SPDX-License-Identifier: Apache-2.0
// Heddle's runtime: runs a compiled module (.hdl) over the weights of a GGUF file. Needs libc and pthread only.
//
//   HeddleWeights ─┐
//                  ├─► HeddleModel (packed weights, kernels) ─► HeddleSession (state of slots, threads) ─► logits
//   HeddleModule ──┘
//
// Handles are opaque and there are no globals. What stands further left must outlive what stands further right. Weights, module
// and model do not change after they were made: any number of sessions in any threads may share them. One session belongs to
// one thread at a time.
//
// Every function that can fail returns a HeddleStatus *: NULL is success, anything else belongs to the caller
// (heddle_status_free) and is one line of text that names the file, key, tensor or option that is wrong and what would be
// right. Out-parameters are untouched after an error.
#ifndef HEDDLE_H
#define HEDDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HEDDLE_API __attribute__((visibility("default")))
#define HEDDLE_MUST_USE __attribute__((warn_unused_result))
#else
#define HEDDLE_API
#define HEDDLE_MUST_USE
#endif

// ---- status --------------------------------------------------------------------------------------------------

typedef struct HdStatus HeddleStatus;

typedef enum HeddleCode {
    HEDDLE_OK,
    HEDDLE_USAGE,        // an argument, option or combination of options is wrong
    HEDDLE_BAD_DATA,     // a file breaks the rules of its format, or contradicts itself
    HEDDLE_UNSUPPORTED,  // well-formed, but nothing here can handle it
    HEDDLE_MISMATCH,     // module and weights, or module and machine, do not belong together
    HEDDLE_NOT_FOUND,    // a file, key, tensor or result that has to exist does not
    HEDDLE_IO,           // the operating system refused to open, read, write or map
    HEDDLE_NO_MEMORY,    // an allocation failed; the text says how much was asked for
    HEDDLE_LIMIT,        // a bound was reached: context, slots, threads
    HEDDLE_NOT_FINITE,   // a value became infinite or not a number; the text says at which position and layer
    HEDDLE_INTERNAL      // a defect of this library
} HeddleCode;

HEDDLE_API HeddleCode heddle_status_code(const HeddleStatus *status);          // HEDDLE_OK for NULL
HEDDLE_API const char *heddle_status_message(const HeddleStatus *status);      // "" for NULL; lives as long as the status
HEDDLE_API void heddle_status_free(HeddleStatus *status);                      // NULL is fine
HEDDLE_API const char *heddle_code_name(HeddleCode code);                      // "BAD_DATA"
HEDDLE_API int heddle_code_exit(HeddleCode code);                              // what a program should exit with: 0, 1 or 2
HEDDLE_API const char *heddle_version(void);                                   // "0.1.0"

// ---- weights -------------------------------------------------------------------------------------------------
// A GGUF file (or part 1 of a split one), mapped for as long as the handle lives.

typedef struct HeddleWeights HeddleWeights;

// Opens `path`. `strict`: the identity covers every byte of every tensor, not only samples; pack files and saved slots must
// then carry it too.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_weights_open(const char *path, bool strict, HeddleWeights **out_weights);
HEDDLE_API void heddle_weights_close(HeddleWeights *weights);                  // NULL is fine
// Digest of the header, of all tensors up to 64 KiB and of samples of the larger ones: 32 hexadecimal digits and a NUL.
// Computed when first asked for. Two files with equal shapes and other weights (a fine-tune) differ in it.
HEDDLE_API void heddle_weights_identity(HeddleWeights *weights, char out_hex[33]);
HEDDLE_API const char *heddle_weights_path(const HeddleWeights *weights);
// The opened file for those who read its metadata (runtime/gguf.h); belongs to the handle.
HEDDLE_API const struct GgufFile *heddle_weights_gguf(const HeddleWeights *weights);

// ---- module --------------------------------------------------------------------------------------------------

typedef struct HeddleModule HeddleModule;

// Reads and checks a module. It is untrusted input: its digest is compared first, then every count, index and offset. Of a file of
// several variants the first whose features this machine has is taken; when none fits, the first, which
// heddle_module_check_machine then refuses.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_module_open(const char *path, HeddleModule **out_module);
// The same from memory; the bytes are copied. `name` stands for the path in messages.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_module_open_memory(const char *name, const void *data, size_t len,
                                                                   HeddleModule **out_module);
HEDDLE_API void heddle_module_close(HeddleModule *module);                     // NULL is fine

typedef struct HeddleModuleInfo {
    const char *path, *name, *architecture;        // name: of the graph module; architecture: general.architecture of the model
    const char *target, *producer, *numerics;      // "cpu:znver4"; compiler version; "ordered" or "bounded"
    const char *kv_type;                           // "f16", "f32", or "" when there is no cache
    const char *pipeline;                          // the passes that made it
    const char *graph; size_t graph_len;           // the final graph as text (.hir)
    char digest[33], fingerprint[33];              // of the module; of the model it was made for
    uint32_t variant, variants;                    // which of the file's variants was taken, from 1, and of how many
    uint32_t vocab;                                // entries of a logits row
    uint32_t context_length;                       // the model's
    uint32_t tokens_per_step, slots_per_step, rows_per_step;   // bounds of the largest step class
    // memory for weights that are repacked when a model is made; 0: all are used as they lie in the file
    uint64_t packed_bytes;
    uint32_t kernels, weights, states;
    uint64_t object_bytes;
    bool argmax;                                   // its steps find the largest logit: what heddle_eval_greedy is for
    uint32_t top;                                  // so many of the largest, for heddle_eval_top; 0: none
} HeddleModuleInfo;
// Texts live as long as the module.
HEDDLE_API void heddle_module_info(const HeddleModule *module, HeddleModuleInfo *out_info);
// Does this machine have every feature the module needs? MISMATCH lists the missing ones, of every variant, and the command that
// mends it.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_module_check_machine(const HeddleModule *module);
// Was the module made for these weights (architecture, hyperparameters, tensor names, types, shapes)? MISMATCH names the first
// difference: "blk.3.ffn_down.weight: module Q4_K, file Q6_K".
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_module_check_weights(const HeddleModule *module, const HeddleWeights *weights);

// ---- devices -------------------------------------------------------------------------------------------------

typedef struct HeddleDeviceInfo {
    const char *type;                              // "cpu", "vulkan", "cuda": modules compiled for it run there
    int32_t number;                                // of a GPU, as HeddleModelOptions.device takes it; else -1
    const char *name, *kind, *driver;              // kind: "processor", "discrete GPU", "integrated GPU", "virtual GPU", "software", "other"
    uint64_t memory_bytes;                         // free now on the processor; a GPU's own
    const char *lacks;                             // "": it runs modules; else the features it would need
} HeddleDeviceInfo;
// Texts live as long as the call.
typedef void (*HeddleDeviceVisit)(void *user, const HeddleDeviceInfo *info);
// Calls `visit` for the processor and for every Vulkan and CUDA device. Where there is none of a type, once with number -1 and no name:
// `lacks` says why.
HEDDLE_API void heddle_devices(HeddleDeviceVisit visit, void *user);

// ---- model ---------------------------------------------------------------------------------------------------
// Module and weights together: kernels loaded, weights packed. Shared by its sessions.

typedef struct HeddleModel HeddleModel;

typedef enum HeddleLayout {
    // packed copies are made when they fit in the memory that is free now, else NO_MEMORY says what to do
    HEDDLE_LAYOUT_AUTO,
    HEDDLE_LAYOUT_PACKED,    // packed copies are made without asking how much memory is free
    HEDDLE_LAYOUT_NATIVE     // a demand: a module that needs packed copies is refused
} HeddleLayout;

// What the library tells people while it works; level: 1 warning, 2 information, 3 debug.
typedef void (*HeddleLogSink)(void *user, int level, const char *line);

typedef struct HeddleModelOptions {
    uint32_t threads;        // for packing; 0: heddle_default_threads()
    HeddleLayout layout;
    const char *pack_path;   // pack file made by heddle_pack_save: mapped instead of packing; NULL: none
    // "cpu", "null", "vulkan", "cuda", or which GPU of those that the module is for: its number or a part of its name; NULL: the
    // module's, the best of them. A demand, never a hint
    const char *device;
    HeddleLogSink log;       // NULL: silence
    void (*progress)(void *user, uint64_t done, uint64_t all);   // bytes uploaded, then bytes packed; NULL: nobody looks
    void *log_user;          // of both
} HeddleModelOptions;

// Checks machine and weights, loads the kernels, runs the module's @load once (or maps the pack file). Source pages of a packed
// tensor are released while it is packed, so that peak memory holds weights once. `options` may be NULL. `weights` may be NULL
// for the null device.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_model_create(HeddleModule *module, HeddleWeights *weights,
                                                             const HeddleModelOptions *options,
                                                             HeddleModel **out_model);
HEDDLE_API void heddle_model_free(HeddleModel *model);                         // NULL is fine; after its sessions
HEDDLE_API const HeddleModule *heddle_model_module(const HeddleModel *model);
// Writes the packed weights to `path`, bound to the module's layout and the identity of the weights. A module without packed
// weights is USAGE.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_pack_save(const HeddleModel *model, const char *path);

// ---- session -------------------------------------------------------------------------------------------------
// State for some slots. A slot holds one sequence: an append-only part (KV cache, a row per position) and a recurrent part
// (convolution window, delta matrix) in one or more planes. A call reads one plane and writes one (the same: in place).

typedef struct HeddleSession HeddleSession;

enum { HEDDLE_CONTEXT_MODEL = -1, HEDDLE_MAX_THREADS = 512 };

typedef struct HeddleSessionOptions {
    int64_t context;         // positions per slot; 0: the smaller of the model's and 8192; HEDDLE_CONTEXT_MODEL: the model's
    uint32_t slots;          // 0: 1
    uint32_t planes;         // of each recurrent state; 0: 1
    uint32_t threads;        // 0: heddle_default_threads()
    uint32_t tokens_per_call;   // largest step; 0: the module's bound (512)
    bool poison;             // for tests: scratch memory is filled with 0xFF before each step; results must not change
} HeddleSessionOptions;

// `options` may be NULL. All state is zero, all slots are empty.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_session_create(HeddleModel *model, const HeddleSessionOptions *options,
                                                               HeddleSession **out_session);
HEDDLE_API void heddle_session_free(HeddleSession *session);                   // NULL is fine
HEDDLE_API uint32_t heddle_session_context(const HeddleSession *session);      // positions per slot
HEDDLE_API uint32_t heddle_session_slots(const HeddleSession *session);
HEDDLE_API uint32_t heddle_session_threads(const HeddleSession *session);

// Memory, to the byte.
typedef struct HeddleMemory {
    uint64_t weights_mapped;   // tensors used as they lie in the file; a GPU with memory of its own holds a copy of them
    uint64_t weights_packed;   // packed copies (or the mapped pack file)
    uint64_t append_per_slot;  // sum over KV states of context * bytes of a row, rounded up to 64
    uint64_t recurrent_per_slot;   // sum over recurrent states of planes * (bytes of a plane, rounded up to 64)
    uint64_t state;            // slots * (append_per_slot + recurrent_per_slot)
    uint64_t arena;            // intermediate values: the largest step class
    uint64_t scratch;          // threads * the largest launch, rounded up to 64, plus 64; on a GPU work groups * the largest launch
    uint64_t inputs;           // of a step: tokens, segments, rows, rotations
    uint64_t rope;             // rotary table: context * rotated channels * 4; its pages become resident as positions are reached
    uint64_t total;            // of the above, weights_mapped included
    uint32_t context, slots, threads, tokens_per_call;   // what it is for: the options with every default filled in
} HeddleMemory;
// What a model and a session with these options take; before either is made.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_memory_plan(const HeddleModule *module, const HeddleSessionOptions *options,
                                                            HeddleMemory *out_memory);
HEDDLE_API void heddle_session_memory(const HeddleSession *session, HeddleMemory *out_memory);
// One step of one slot, by the records of the module's launches.
typedef struct HeddleStepCost {
    double bytes;                // of weights, states and intermediate values: read and written
    uint32_t launches, barriers; // calls of kernels; stages, at whose ends all threads wait for each other
} HeddleStepCost;
// What `tokens` tokens behind `position` others cost, of which the last wants its logits. `tokens` are at most info.tokens_per_step.
HEDDLE_API HeddleStepCost heddle_step_cost(const HeddleModule *module, uint32_t tokens, uint32_t position);
// Bytes that can be allocated now without swapping: available memory, reduced by the limits of the control group.
HEDDLE_API uint64_t heddle_memory_available(void);
// Physical cores that this process may use: affinity mask and CPU quota of the control group; at least 1.
HEDDLE_API uint32_t heddle_default_threads(void);

// ---- evaluation ----------------------------------------------------------------------------------------------

typedef enum HeddleLogits { HEDDLE_LOGITS_NONE, HEDDLE_LOGITS_LAST, HEDDLE_LOGITS_ALL } HeddleLogits;

// The next tokens of one sequence.
typedef struct HeddlePiece {
    uint32_t slot;
    const int32_t *tokens;   // [count], each 0..vocab-1
    uint32_t count;          // 0: nothing happens to this slot
    HeddleLogits logits;     // after which of the tokens logits are wanted
    uint32_t plane_in;       // the plane to continue from; its position is where the tokens start
    uint32_t plane_out;      // the plane that holds the state afterwards; equal: in place
} HeddlePiece;

// Appends the tokens of every piece to its slot and computes the wanted logits; pieces name different slots. Any length: the
// input is split into steps that keep within the module's bounds, which changes no bit of the results where numerics are
// "ordered". Everything that can be known before is checked before anything is computed: a slot that would grow beyond the
// context is LIMIT and no slot has changed. A value that becomes infinite or not a number is NOT_FINITE with position and
// layer; slots of that step then refuse further tokens until they are reset or restored.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_eval(HeddleSession *session, const HeddlePiece *pieces, uint32_t piece_count);
// Rows of the last heddle_eval, in the order of the pieces and their tokens: [rows][vocab]. Valid until the next evaluation.
// NULL when there are none.
HEDDLE_API const float *heddle_logits(const HeddleSession *session, uint64_t *out_rows);
// The same without keeping the rows: `sink` is called for each wanted row with the piece's number, the token's index in it and
// the row [vocab], in rising order within a piece. It must not use the session.
typedef void (*HeddleRowSink)(void *user, uint32_t piece, uint32_t index, const float *logits);
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_eval_rows(HeddleSession *session, const HeddlePiece *pieces,
                                                          uint32_t piece_count, HeddleRowSink sink, void *user);

// The same for greedy generation: out_ids[i] becomes the id of the largest logit of wanted row i, as heddle_argmax gives it. The logits
// are not kept: heddle_logits has none afterwards. Where the module's steps find the largest themselves (HeddleModuleInfo.argmax: those for
// GPUs), a GPU sends a number per row and not the logits. After an error out_ids is undefined.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_eval_greedy(HeddleSession *session, const HeddlePiece *pieces, uint32_t piece_count,
                                                            int32_t *out_ids);

// A token that may come next.
typedef struct HeddleCandidate { int32_t id; float logit; } HeddleCandidate;
#define HEDDLE_MOST_TOP 64
// The same for generation that samples from the largest logits (heddle_sampler_pick_top): `count` candidates from out_candidates[i * count] on
// become those of wanted row i, the largest first, of equal ones the lowest id; bit for bit what the logits hold. count: 1 to HEDDLE_MOST_TOP,
// and no more than the vocabulary has, else USAGE. Where the module's steps find as many (HeddleModuleInfo.top), a GPU sends some KiB per row
// and not the logits. After another error out_candidates is undefined.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_eval_top(HeddleSession *session, const HeddlePiece *pieces, uint32_t piece_count,
                                                         uint32_t count, HeddleCandidate *out_candidates);

// Asks for another result of the graph by name ("hidden.3": the residual stream before layer 3) from the next evaluation on.
// NOT_FOUND when the module has none.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_keep_result(HeddleSession *session, const char *name);
// Rows of the last evaluation: one per token, or one per wanted logits row. NULL when it was not asked for.
HEDDLE_API const float *heddle_result(const HeddleSession *session, const char *name, uint64_t *out_rows, uint64_t *out_columns);

// The largest of `count` logits; ties go to the lowest index. NOT_FINITE when one is not a number: such logits are never sampled.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_argmax(const float *logits, uint32_t count, int32_t *out_id);

// Counts since the session was made.
// steps: passes over the weights; rows: logits rows computed
typedef struct HeddleCounters { uint64_t steps, tokens, rows; } HeddleCounters;
HEDDLE_API void heddle_session_counters(const HeddleSession *session, HeddleCounters *out_counters);

// Where the time of steps goes: the launches of one step class that call one kernel for the same weights of any layer.
typedef struct HeddleKernelTime {
    const char *step_class;          // "decode"
    const char *kernel, *weights;    // "matmul_q8_0_q8a"; "ffn_gate ffn_up": names of tensors without layer and ".weight"
    uint64_t launches, stages, steps;   // stages: that these launches begin; steps: of the class
    double tokens;                   // of each launch those of its step, all launches together
    double seconds;                  // by the clock, waiting for the slowest thread included; those of a step add up to the step
    double thread_seconds;           // that threads spent in the kernel; all of them worked all the time: threads * seconds
    double bytes, flops;             // by the records of the launches: read and written; additions and multiplications of any type
} HeddleKernelTime;
// Times the kernels of all evaluations from now on, from zero, or no more. It costs some tens of nanoseconds per launch and thread; off,
// nothing. UNSUPPORTED on devices other than the processor.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_time_kernels(HeddleSession *session, bool on);
// What was timed since it was last turned on, valid until then or the next evaluation. out_seconds: of the evaluations as a whole, with
// filling in inputs and looking through logits.
HEDDLE_API const HeddleKernelTime *heddle_kernel_times(const HeddleSession *session, uint32_t *out_count, double *out_seconds);

// ---- slots ---------------------------------------------------------------------------------------------------

// Tokens that the slot's state has absorbed (that of the plane written last); count is the next position. Valid until the slot
// changes.
HEDDLE_API const int32_t *heddle_slot_tokens(const HeddleSession *session, uint32_t slot, uint32_t *out_count);
// Empties the slot: cache, convolution window and delta matrix.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_slot_reset(HeddleSession *session, uint32_t slot);
// Makes `to` equal to `from`; continues independently afterwards.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_slot_fork(HeddleSession *session, uint32_t from, uint32_t to);

// A copy of the recurrent state at the slot's present position. The cache is not copied: it is append-only, so restoring means
// shortening it. A slot cannot be rewound without a snapshot (or an older plane), because the recurrent part has no inverse.
typedef struct HeddleSnapshot HeddleSnapshot;
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_snapshot_take(const HeddleSession *session, uint32_t slot,
                                                              HeddleSnapshot **out_snapshot);
// Puts the slot back to the snapshot's position. MISMATCH, with the slot unchanged, when its cache no longer holds the tokens
// the snapshot was taken after.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_snapshot_restore(HeddleSession *session, uint32_t slot,
                                                                 const HeddleSnapshot *snapshot);
HEDDLE_API uint32_t heddle_snapshot_position(const HeddleSnapshot *snapshot);
HEDDLE_API uint64_t heddle_snapshot_bytes(const HeddleSnapshot *snapshot);
HEDDLE_API void heddle_snapshot_free(HeddleSnapshot *snapshot);                // NULL is fine

// Writes the slot (tokens, cache, recurrent state) to a file bound to the module, the identity of the weights and the tokens.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_slot_save(HeddleSession *session, uint32_t slot, const char *path);
// Reads it back into any slot of any session of the same module and weights. `prefix`: the tokens the caller is about to
// continue with; the saved ones must be the beginning of these (NULL: any). MISMATCH names what differs; the slot is then
// unchanged.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_slot_load(HeddleSession *session, uint32_t slot, const char *path,
                                                          const int32_t *prefix, uint32_t prefix_count);

#ifdef __cplusplus
}
#endif

#endif
