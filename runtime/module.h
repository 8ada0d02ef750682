// SPDX-License-Identifier: Apache-2.0
// The module file (.hdl): what it holds and its reader. The writer is codegen/module.c; both use the names below.
//
// A module is a GGUF file of architecture "heddle". Metadata holds texts and integer tables, two byte tensors hold the shared
// object with the kernels and the final graph. The second key, "heddle.digest", stands at a fixed place and covers every other
// byte, so that damage is noticed before anything is parsed.
//
//   general.architecture  "heddle"             heddle.features       strings: LLVM's names of what the kernels use
//   heddle.digest         32 hex digits        heddle.numerics       "ordered" or "bounded"
//   heddle.format         RT_MODULE_FORMAT     heddle.fingerprint    digest over all heddle.model.* keys
//   heddle.abi            HEDDLE_ABI_VERSION   heddle.pipeline       text of the passes
//   heddle.producer       compiler version     heddle.vocab, .context_length, .rope.theta, .rope.n
//   heddle.target         "cpu:znver4"
//   heddle.model.name, .architecture                    of the model it was made for
//   heddle.model.keys, .values      strings   its hyperparameters: every key with the architecture's prefix, its value as text
//   heddle.model.tensors, .types    strings   the tensors it reads
//   heddle.model.ne                 i64       their shapes, fastest dimension first, four numbers each
//   heddle.kernels, .kernel_digests, .states, .state_kinds, .state_types, .weight_layouts, .classes, .results: strings
//   heddle.table.*                  i64       tables: rows of the columns below, one after another
//
// The object of a CPU module is a shared object. That of a Vulkan module is the SPIR-V of all kernels, of a CUDA module their cubins or PTX,
// and heddle.table.kernels says where each lies; what the digest cannot tell damaged is handed to the driver as it is.
//
// A file of variants holds the same model compiled for several targets. It is a GGUF file of the same architecture with the keys
// heddle.digest, .format, .abi and .fingerprint, and these, and nothing else:
//
//   heddle.variants       strings   the targets, best first; the first whose features the machine has is taken
//   variant.1, .2, ..     i8        tensors: for each target a module as above, byte for byte what it is in a file of its own
#ifndef HEDDLE_MODULE_H
#define HEDDLE_MODULE_H

#include "runtime/abi.h"
#include "runtime/gguf.h"
#include "runtime/heddle.h"

enum { RT_MODULE_FORMAT = 2, RT_MAX_VARIANTS = 16 };

#define RT_ARCHITECTURE "heddle"
#define RT_KEY_DIGEST "heddle.digest"
#define RT_KEY_FORMAT "heddle.format"
#define RT_KEY_ABI "heddle.abi"
#define RT_KEY_PRODUCER "heddle.producer"
#define RT_KEY_TARGET "heddle.target"
#define RT_KEY_FEATURES "heddle.features"
#define RT_KEY_NUMERICS "heddle.numerics"
#define RT_KEY_FINGERPRINT "heddle.fingerprint"
#define RT_KEY_PIPELINE "heddle.pipeline"
#define RT_KEY_VOCAB "heddle.vocab"
#define RT_KEY_CONTEXT "heddle.context_length"
#define RT_KEY_ROPE_THETA "heddle.rope.theta"
#define RT_KEY_ROPE_N "heddle.rope.n"
#define RT_KEY_MODEL_NAME "heddle.model.name"
#define RT_KEY_MODEL_ARCH "heddle.model.architecture"
#define RT_KEY_MODEL_KEYS "heddle.model.keys"
#define RT_KEY_MODEL_VALUES "heddle.model.values"
#define RT_KEY_MODEL_TENSORS "heddle.model.tensors"
#define RT_KEY_MODEL_TYPES "heddle.model.types"
#define RT_KEY_MODEL_NE "heddle.model.ne"
#define RT_KEY_KERNELS "heddle.kernels"
#define RT_KEY_KERNEL_DIGESTS "heddle.kernel_digests"
#define RT_KEY_STATES "heddle.states"
#define RT_KEY_STATE_KINDS "heddle.state_kinds"
#define RT_KEY_STATE_TYPES "heddle.state_types"
#define RT_KEY_LAYOUTS "heddle.weight_layouts"
#define RT_KEY_CLASSES "heddle.classes"
#define RT_KEY_RESULTS "heddle.results"
#define RT_KEY_VARIANTS "heddle.variants"
#define RT_TENSOR_OBJECT "object"
#define RT_TENSOR_GRAPH "graph"
#define RT_TENSOR_VARIANT "variant.%u"              // from 1
#define RT_STATE_APPEND "kv"        // the state kind that is append-only; all others are recurrent

#define RT_RESULT_ARGMAX "argmax"   // of each wanted row the number of the largest logit, -1 where one is not finite
// Of each wanted row the runs of RT_RUN logits (or all where there are fewer) that hold the largest, in falling order of these, of equal ones by
// number: the number, then the logits. Runs with a logit that is not finite come before all others.
#define RT_RESULT_TOP "top"
enum { RT_RUN = 64, RT_MOST_RUNS = 1 << 24 };        // numbers that a float32 holds
static inline uint32_t rt_run_width(uint32_t vocab) { return HD_MIN(vocab, (uint32_t)RT_RUN); }
static inline uint32_t rt_run_count(uint32_t vocab) { return (vocab - 1) / rt_run_width(vocab) + 1; }

// Columns of the integer tables, key "heddle.table." and the lower-case name.
enum { RT_ARG_KIND, RT_ARG_INDEX, RT_ARG_COLUMNS };
enum { RT_EXPR_CONSTANT, RT_EXPR_T, RT_EXPR_S, RT_EXPR_C, RT_EXPR_R, RT_EXPR_CEILS, RT_EXPR_CEIL0,
       RT_EXPR_COLUMNS = RT_EXPR_CEIL0 + 6 };            // twice coef, div, sym
// in the object: multiples of 4; lanes of a work group and its bytes of shared memory
enum { RT_KERNEL_OFFSET, RT_KERNEL_BYTES, RT_KERNEL_LANES, RT_KERNEL_SHARED, RT_KERNEL_COLUMNS };
enum { RT_WEIGHT_TENSOR, RT_WEIGHT_PACKED_BYTES, RT_WEIGHT_COLUMNS };
enum { RT_STATE_ROW_BYTES, RT_STATE_COLUMNS };
// RT_CLASS_LAUNCHES, RT_CLASS_RESULTS: how many
enum { RT_CLASS_T, RT_CLASS_S, RT_CLASS_C, RT_CLASS_R, RT_CLASS_ARENA, RT_CLASS_LAUNCHES, RT_CLASS_RESULTS, RT_CLASS_COLUMNS };
enum { RT_LAUNCH_KERNEL, RT_LAUNCH_STAGE, RT_LAUNCH_LAYER, RT_LAUNCH_FIRST_ARG, RT_LAUNCH_ARGS, RT_LAUNCH_UNITS,
       RT_LAUNCH_SCRATCH, RT_LAUNCH_BYTES, RT_LAUNCH_FLOPS, RT_LAUNCH_COLUMNS };
enum { RT_RESULT_OFFSET, RT_RESULT_ROWS, RT_RESULT_COLUMNS_OF_ROW, RT_RESULT_COLUMNS };
#define RT_TABLE_KERNELS "heddle.table.kernels"        // of modules for a GPU; a row per entry of heddle.kernels
#define RT_TABLE_ARGS "heddle.table.args"
#define RT_TABLE_EXPRS "heddle.table.exprs"
#define RT_TABLE_WEIGHTS "heddle.table.weights"
#define RT_TABLE_STATES "heddle.table.states"
#define RT_TABLE_CLASSES "heddle.table.classes"
#define RT_TABLE_LAUNCHES "heddle.table.launches"      // of all classes, one class after another
#define RT_TABLE_RESULTS "heddle.table.results"

// ---- the module in memory ------------------------------------------------------------------------------------
// Everything an index points to has been checked: argument indices lie in their tables, arena offsets in the class's arena,
// results inside it at the class's bounds; expressions the schedule uses evaluate without overflow there.

enum { RT_T, RT_S, RT_C, RT_R, RT_SYMS };

typedef struct RtBinding { int64_t value[RT_SYMS]; } RtBinding;      // T, S, C, R of one step
// constant + sum of coef[s] * s + sum of ceil_coef[i] * ceil(sym[i] / div[i])
typedef struct RtExpr {
    int64_t constant, coef[RT_SYMS];
    uint32_t ceils;
    struct { int64_t coef, div; uint32_t sym; } ceil[2];
} RtExpr;
typedef struct RtArg { HeddleArgKind kind; int64_t index; } RtArg;
// offset, bytes: its part of the object; all numbers are 0 in a CPU module
typedef struct RtKernel { const char *name, *digest; uint64_t offset, bytes; uint32_t lanes, shared; } RtKernel;
typedef struct RtTensor { const char *name; const GgmlTypeInfo *type; uint64_t ne[4], bytes; } RtTensor;
// packed_bytes 0: used as it lies in the file
typedef struct RtWeight { uint32_t tensor; const char *layout; uint64_t packed_bytes; } RtWeight;
// row: one position, or a whole plane
typedef struct RtState { const char *name, *kind, *type; bool append_only; uint64_t row_bytes; } RtState;
typedef enum RtRows { RT_ROWS_TOKENS, RT_ROWS_WANTED } RtRows;       // a result row per token, or per wanted logits row
typedef struct RtResult { const char *name; uint64_t offset, columns; RtRows rows; } RtResult;      // float32; RT_RESULT_ARGMAX: int32
typedef struct RtLaunch {
    uint32_t kernel;
    int32_t stage, layer;            // layer -1: none
    uint32_t first_arg, arg_count, scratch;
    uint32_t units, bytes, flops;    // rows of exprs
} RtLaunch;
typedef struct RtClass {
    const char *name;
    RtBinding bound;
    uint64_t arena_bytes;
    const RtLaunch *launches; uint32_t launch_count;                 // stages rise
    const RtResult *results; uint32_t result_count;
    uint32_t arg_slots;                                              // sum of the launches' argument counts
    uint32_t scratch;                                                // largest of a launch
} RtClass;
typedef struct RtModelKey { const char *key, *value; } RtModelKey;
// lacks: the features that this machine has not, "" when it runs the variant
typedef struct RtVariant { const char *target, *lacks; } RtVariant;

struct HeddleModule {
    char *path;
    HdBuf bytes;                     // the file, or the variant in it
    GgufFile *gguf;                  // over `bytes`
    HdArena arena;
    HeddleModuleInfo info;
    const RtVariant *variants; uint32_t variant_count;               // of the file; info.variant says which this is
    const char **features; uint32_t feature_count;
    const RtModelKey *model_keys; uint32_t model_key_count;
    const RtTensor *tensors; uint32_t tensor_count;
    const RtKernel *kernels; uint32_t kernel_count;
    const RtArg *args; uint32_t arg_count;
    const RtExpr *exprs; uint32_t expr_count;
    const RtWeight *weights; uint32_t weight_count;
    const RtState *states; uint32_t state_count;
    const RtClass *classes; uint32_t class_count;
    const RtClass *largest;          // the step class with the largest T; NULL when there is none
    uint32_t top_runs;               // of a row of RT_RESULT_TOP; 0: there is no such result
    const uint8_t *object; size_t object_len;
    double rope_theta;
    uint32_t rope_n;                 // 0: the model has no rotary embedding
};

// NULL when there is no class of this name.
const RtClass *rt_class_find(const HeddleModule *module, const char *name);
bool rt_class_is_step(const RtClass *class);             // all but "load"
// A result of every step class under one name; NULL when a class lacks it.
const RtResult *rt_result_named(const HeddleModule *module, const char *name);
// Does the module's target begin with "device:"?
bool rt_module_is_for(const HeddleModule *module, const char *device);
bool rt_module_is_for_gpu(const HeddleModule *module);   // kernels of work groups (runtime/abi.h)
// The step class with the smallest T whose bounds hold such a step; the largest when none does.
const RtClass *rt_class_for(const HeddleModule *module, int64_t tokens, int64_t segments, int64_t rows);
// False on overflow.
HD_MUST_USE bool rt_expr_eval(const RtExpr *expr, const RtBinding *binding, int64_t *out_value);

// ---- module_seal.c: for the writer and the reader ----------------------------------------------------------------

// Fills in heddle.digest over a finished file. `bytes` must begin as a module does.
void rt_module_seal(void *bytes, size_t len);
// Compares it. BAD_DATA when the content was damaged. A file that does not even begin like a module passes: the parser says
// what it is.
HD_MUST_USE HdStatus *rt_module_check_seal(const char *name, const void *bytes, size_t len);
// A hyperparameter as text, the same for writer and reader: "24", "1e-06", "[true, true, false]"; long ones by count and digest.
void rt_model_value_text(const GgufValue *value, HdBuf *out_text);
// Does this key of a model file belong to its fingerprint (prefix "<architecture>.")?
bool rt_is_model_key(HdStr key, const char *architecture);

// ---- module.c: one module ------------------------------------------------------------------------------------

// Reads and checks a module; takes `bytes` over. Of a file of variants only heddle.digest and .fingerprint are read: opening what
// it holds is left to the caller. The list of variants is left empty.
HD_MUST_USE HdStatus *rt_module_read(const char *name, HdBuf bytes, HeddleModule **out_module);
// A byte tensor of the module. Absent: no bytes.
HdStr rt_module_bytes(const HeddleModule *module, const char *tensor);

// ---- module_variants.c: files of one module or of several variants -----------------------------------------------

// heddle_module_open for variant `number` of the file, counted from 1, whether or not this machine runs it; 0: the first that it
// does. USAGE when there are fewer.
HD_MUST_USE HdStatus *rt_module_open_variant(const char *path, uint32_t number, HeddleModule **out_module);
// What --target has to be to make the file again: "cpu:x86-64-v4,cpu:x86-64-v2".
void rt_module_targets(const HeddleModule *module, HdBuf *out_text);
// heddle_module_check_weights for a file of which the header may be all there is.
HD_MUST_USE HdStatus *rt_module_check_file(const HeddleModule *module, const GgufFile *file);
// The error for a module of a target that no device here runs.
HD_MUST_USE HD_NONNULL HdStatus *rt_other_target(const HeddleModule *module);

// ---- module_tables.c -----------------------------------------------------------------------------------------
// Reads and checks all tables of module->gguf into the module.
HD_MUST_USE HdStatus *rt_module_read_tables(HeddleModule *module);

#endif
