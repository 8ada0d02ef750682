// SPDX-License-Identifier: Apache-2.0
// From scheduled graphs to a program: kernels as one shared object, and the launch list as data.
//
//   graphs after partition, plan-memory, schedule ──► schedules (one per group kind) ──► kernel IR ──► cpu/ emitter ──► object ──► link
//
// Files in pipeline order: compile.c (walks the graphs, removes duplicate kernels, drives the emitters), group.c (what all
// schedules share), region.c (evaluates the element-wise part of any group), cpu/sched_*.c and simt/sched_*.c (one schedule per
// group kind), cpu/emit.c (kernel IR to MLIR), cpu/object.c (MLIR to object, link), simt/emit.c (kernel IR to GLSL or CUDA C and on).
#ifndef HEDDLE_CODEGEN_H
#define HEDDLE_CODEGEN_H

#include "codegen/kir.h"
#include "ir/ir.h"
#include "ir/target.h"
#include "runtime/abi.h"

// ---- the program: what the module file stores ------------------------------------------------------------------

typedef struct CgArg { HeddleArgKind kind; int64_t index; } CgArg;
typedef struct CgLaunch {
    uint32_t kernel;             // row of kernels
    int32_t stage;               // launches of one stage are independent; a barrier follows each stage
    int32_t layer;               // -1: none
    uint32_t first_arg, arg_count;   // rows of args
    uint32_t units;              // row of exprs: number of work units
    uint32_t scratch;            // bytes per thread
    uint32_t bytes, flops;       // rows of exprs: moved and computed, per launch
} CgLaunch;
typedef struct CgKernel {
    char *name;                  // the symbol in the object
    HdDigest digest;             // of its .hkr text
    uint64_t offset, bytes;      // a GPU's kernel: its part of the object, multiples of 4
    uint32_t lanes, shared;      // of a work group, and its bytes of shared memory; lanes 0: a CPU's kernel
} CgKernel;
typedef struct CgWeight { const char *name; IrType type; uint64_t packed_bytes; } CgWeight;   // packed_bytes 0: mapped, native
typedef struct CgState { const char *name; IrStateKind kind; IrDtype dtype; uint64_t row_bytes; } CgState;      // row: one position (KV), or the whole plane
typedef struct CgResult { const char *name; int64_t arena_offset; IrType type; uint32_t rows; } CgResult;       // rows: row of exprs
typedef struct CgClass {         // "load", "decode", "small", "prefill"
    const char *name;
    IrBinding bound;             // T, S, C, R the plan holds for
    uint64_t arena_bytes;
    HD_VEC(CgLaunch) launches;   // in stage order
    HD_VEC(CgResult) results;
} CgClass;
typedef struct CgProgram {
    HD_VEC(CgKernel) kernels;
    HD_VEC(CgArg) args;
    HD_VEC(IrExpr) exprs;
    HD_VEC(CgWeight) weights;
    HD_VEC(CgState) states;
    HD_VEC(CgClass) classes;
    HdBuf object;                // CPU: an ELF shared object with all kernels; GPU: their code, one after another
} CgProgram;

typedef struct CgOptions {
    uint32_t jobs;               // compile threads, 0: 2
    const char *dump_dir;        // write every stage of every kernel there; NULL: no
    const char *cache_dir;       // objects by content; NULL: none
    const char *cache_salt;      // what decides an object beside kernel and target: the compiler's build; NULL: its version only
    // Called with each kernel before it is compiled, in the order of first use, on the calling thread; may change it, which is
    // how tests break kernels on purpose. NULL: none.
    void (*visit)(void *user, KirFn *kernel);
    void *user;
    void (*progress)(uint64_t done, uint64_t all);   // kernels, from the calling thread; NULL: nobody looks
    bool launches_only;          // kernels get no code: enough to count what a step takes
} CgOptions;

// Compiles every graph of `module` (all in the partitioned, planned, scheduled form). The result does not depend on jobs,
// folder or locale.
HD_MUST_USE HdStatus *cg_compile(const IrModule *module, const IrTarget *target, const CgOptions *options, CgProgram **out_program);
void cg_program_free(CgProgram *program);

// Bytes of a weight in a layout (packed panels are padded to 16 rows); 0: the type has no such form. Layouts are documented in cpu/layout.h
// and simt/split.h.
uint64_t cg_layout_bytes(IrDtype dtype, IrLayout layout, uint64_t rows, uint64_t columns);
// Can this dtype be multiplied in this layout with activations of that type? The text names what is missing.
HD_MUST_USE HdStatus *cg_linear_supported(const IrTarget *target, IrDtype weight, IrLayout layout, IrDtype activation);

// ---- module.c: the program as a module file (.hdl) ----------------------------------------------------------------

// What a module records besides the program and its graph.
typedef struct CgModuleInfo {
    const char *pipeline;        // text of the passes that ran; NULL: the graph module's key "pipeline"
    const char *numerics;        // "ordered" or "bounded"; NULL: "ordered"
    const char *producer;        // NULL: cg_compiler_version()
    const struct GgufFile *model;   // header of the file it was compiled from: its hyperparameters become part of the fingerprint; NULL: none
} CgModuleInfo;

// The module's bytes: the same input gives the same bytes. Names of keys and tables: runtime/module.h. Vocabulary, rotary
// base and width, and the type of the cache are read off the program and the graphs; `final_ir` must hold the keys
// "context_length" (the model's) and "arch" (general.architecture of its file).
HD_MUST_USE HdStatus *cg_module_write(const CgProgram *program, const IrModule *final_ir, const IrTarget *target, const CgModuleInfo *info, HdBuf *out_bytes);
// One file of several modules of the same model, best target first (at most RT_MAX_VARIANTS).
HD_MUST_USE HdStatus *cg_module_join(const HdBuf *modules, uint32_t count, HdBuf *out_bytes);

// ---- between compile.c and the schedules (group.c) -------------------------------------------------------------

// One launch being made: the kernel under construction and the argument list that goes with its parameters.
typedef struct CgBuild {
    const IrTarget *target;
    const IrGraph *graph;        // where the group stands
    IrOpRef group;               // the `fused` operation
    CgProgram *program;          // tables that arguments refer to
    KirFn *fn;
    HD_VEC(CgArg) args;          // args[i] belongs to parameter i
    HD_VEC(KirRef) params;       // the parameter itself
    IrExpr units, bytes, flops;
    uint32_t scratch;
    uint32_t lanes;              // of a work group; 0: SIMD
    int32_t later;               // stages that this launch comes after the group's own, where only the next call reads what it writes
    KirRef shared[2][3];         // of region_group.c: for integers, for floats
} CgBuild;

// Parameter with the base address of a value seen from inside the group: a region argument or yield is resolved to the graph
// value it stands for (result in the arena, weight, state, input). Asking twice gives the same parameter.
KirRef cg_pointer(CgBuild *build, IrValue value);
// Parameter with the value of a dimension in this call: constant for a number, else evaluated from T, S, C, R. i64.
KirRef cg_dim(CgBuild *build, IrDim dim);
KirRef cg_expr(CgBuild *build, const IrExpr *expr, const char *text);
KirRef cg_const(CgBuild *build, int64_t value, const char *text);       // a number as a run-time argument, so that one kernel serves many shapes
KirRef cg_input(CgBuild *build, HeddleInput input);
KirRef cg_status(CgBuild *build);                                       // address of HeddleStepStatus
KirRef cg_state_slot_bytes(CgBuild *build, IrValue state);              // i64 from one slot to the next
KirRef cg_state_plane_bytes(CgBuild *build, IrValue state);
IrValue cg_yield_result(const IrGraph *graph, IrOpRef group, IrValue yielded);   // the group's result that stands for a yielded region value; 0: none
void cg_expr_scale(IrExpr *expr, int64_t factor);
bool cg_expr_add(IrExpr *to, const IrExpr *term);                       // region_unit.c; false, *to unchanged: the sum has too many terms
// units = product of dimensions times factor; at most one of them symbolic
void cg_units(CgBuild *build, const IrDim *dims, uint32_t count, int64_t factor);
// Opens the loop over the launch's work units and gives the unit (i64). SIMD: units begin..end-1; SIMT: every groups-th from the
// work group's own on.
KirRef cg_units_begin(CgBuild *build, KirLoop *out_loop);
void cg_units_end(CgBuild *build, KirLoop *loop);
// SIMT: waits until all lanes are here and see what the others have stored; SIMD: nothing.
void cg_barrier(CgBuild *build);
// Reserves thread scratch; returns the byte offset, 64-byte aligned.
uint32_t cg_scratch(CgBuild *build, uint64_t bytes);

// A schedule makes one or more launches for a group: cg_launch_begin, build the kernel, cg_launch_end.
typedef struct CgGroupBuilder CgGroupBuilder;
CgBuild *cg_launch_begin(CgGroupBuilder *builder, const char *kernel_name);
// The same for a SIMT kernel.
CgBuild *cg_simt_launch_begin(CgGroupBuilder *builder, const char *kernel_name, uint32_t lanes);
void cg_launch_end(CgGroupBuilder *builder);
typedef HdStatus *CgSchedule(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group);
// The schedule of a group kind; one function per IR_GROUP: cg_cpu_rowwise, cg_cpu_matmul, ...
#define IR_GROUP(name, text, doc) CgSchedule cg_cpu_##name, cg_simt_##name;
#include "ir/targets.def"
#undef IR_GROUP
// The row-wise groups of `group`'s stage, of which it is one, in the order of the graph.
const IrOpRef *cg_rowwise_of_stage(const CgGroupBuilder *builder, const IrGraph *graph, IrOpRef group, uint32_t *out_count);

// ---- region_index.c: positions ---------------------------------------------------------------------------------

// A position: constant + sum of term.ref * term.scale, every ref in 0..bound-1 (bound 0: unknown). Sums are kept apart
// because a reshape can then often take rows from columns without a division.
enum { CG_INDEX_TERMS = 6 };
typedef struct CgIndex {
    uint32_t count;
    struct { KirRef ref; int64_t scale, bound; } term[CG_INDEX_TERMS];
    int64_t constant;
} CgIndex;
CgIndex cg_index(KirRef ref, int64_t bound);
CgIndex cg_index_number(int64_t value);
CgIndex cg_index_sum(KirFn *fn, CgIndex a, CgIndex b, int64_t scale);   // a + b * scale
KirRef cg_index_ref(KirFn *fn, const CgIndex *index);                   // as an i64
// The position of the same element in another shape; false (nothing emitted) when a symbolic dimension would be split.
bool cg_index_reshape(KirFn *fn, const IrType *from, const CgIndex *at, const IrType *to, CgIndex *out_at);

// ---- region.c: element-wise parts of any group -----------------------------------------------------------------
// Evaluates a region value for `lanes` neighbours of the last axis. Views become index arithmetic; element-wise operations
// become vector code; a REDUCE operation whose row was prepared with cg_region_reduce is applied element by element; anything
// else must be bound. Values have the lanes' scalar of their data type: f32, or i16 holding f16 and bf16 bits, or i32. What
// depends on the last axis being broadcast is a scalar.
//
// A region belongs to one scope of the kernel: what it is told (bindings, prepared rows) are values of that scope. Make one
// per work unit.

typedef struct CgRegion CgRegion;
// The operation inside the group that makes `value`; NULL for what comes from outside.
const IrOp *cg_region_op(const IrGraph *graph, IrValue value);
// What a yield is before it is only reshaped: the bytes are the same.
IrValue cg_below_reshapes(const IrGraph *graph, IrValue value);
CgRegion *cg_region_new(CgBuild *build);
void cg_region_free(CgRegion *region);
// Says where the row-major numbers of `value` lie: address of the element at coord, given by a base pointer and a byte stride
// for each leading dimension (stride NULL: its natural one; a stride of 0: that coordinate does not move the address). Used
// for results held in scratch. Binding again replaces.
void cg_region_bind_memory(CgRegion *region, IrValue value, KirRef base, const KirRef *strides);
// Gives the lanes of `value` at the coordinate being evaluated: used for accumulators in registers (one fixed coordinate at a
// time).
void cg_region_bind_lanes(CgRegion *region, IrValue value, KirRef lanes);
// Value lanes at leading coordinates coord[0..rank-2] and last coordinate col (i64, of the first lane). lanes: at most
// cg_region_lanes. valid: how many lanes exist (i64), or 0 for all; lanes beyond are unspecified, and nothing is read for
// them.
KirRef cg_region_eval(CgRegion *region, IrValue value, const KirRef *coord, KirRef col, uint32_t lanes, KirRef valid);
// The same at a position per dimension, `at` has as many as the value's rank.
KirRef cg_region_eval_at(CgRegion *region, IrValue value, const CgIndex *at, uint32_t lanes, KirRef valid);
// How many lanes (16, 8, 4, 2 or 1) `value` can be evaluated in, when columns start at multiples of that: fewer than 16 where
// a reshape, slice or rope inside cuts rows elsewhere.
uint32_t cg_region_lanes(const CgRegion *region, IrValue value);
// Can the region evaluator handle every operation that `value` needs? The text names the operation that it cannot, and why.
// Results of contractions and special operations are taken as bound. Used by partition's legality test and by schedules.
HD_MUST_USE HdStatus *cg_region_supported(const IrGraph *graph, IrOpRef group, IrValue value);

// ---- region_row.c: whole rows ----------------------------------------------------------------------------------
// `row` is a position for each leading dimension of the value. Sums have one fixed tree (64 partial sums by column mod 64),
// whatever the lanes.

// Loops over n elements from position `at` (one per dimension of the values, which have equal types) and stores those of
// values[i] from to[i] on, in the data type they have. n: a number, or 0 and then n_ref says it.
void cg_region_store(CgRegion *region, uint32_t count, const IrValue *values, const KirRef *to, const CgIndex *at, int64_t n,
                     KirRef n_ref);
// Prepares `value`, the result of rms_norm, l2_norm, softmax or sum, at a row. An operand that takes work is first written to
// thread scratch.
void cg_region_reduce(CgRegion *region, IrValue value, const CgIndex *row);

// ---- region_group.c: SIMT, over the lanes of a work group --------------------------------------------------------
// One f32 or i32 of every lane; all lanes get the result. In uniform control flow only. Sums have one fixed tree.
KirRef cg_group_max(CgBuild *build, KirRef value);
KirRef cg_group_sum(CgBuild *build, KirRef value);
KirPair cg_group_sum_exact(CgBuild *build, KirRef value);    // f32; with what the additions have lost

// ---- region_quantise.c -----------------------------------------------------------------------------------------

// Where a q8a row goes: K values, a scale per group of 32, a sum per group. Addresses, or (SIMT) places in an i32 array that the lanes
// share, where a group's eight words lie CG_Q8_SHARED_STRIDE apart: no two groups that are read at once on one bank.
typedef struct CgQ8Row { KirRef values, scales, sums, array; } CgQ8Row;    // array 0: addresses
enum { CG_Q8_SHARED_STRIDE = 9 };

// Writes the q8a row of `value`, the result of quant_act, to `to`.
void cg_region_quantise(CgRegion *region, IrValue value, const CgIndex *row, KirRef to);
// region_quantise_group.c, SIMT: the same to either place. On CUDA only: lanes of a warp see each other's numbers.
void cg_region_quantise_group(CgRegion *region, IrValue value, const CgIndex *row, const CgQ8Row *to);

// ---- region_unit.c: all that a work unit of a row-wise group does ----------------------------------------------

// What leaves the unit: a yield (`to`: address of its element 0), or the operand of a kv_append (op), whose row of the cache
// is found from the token's slot and position.
typedef struct CgSink { IrValue value; IrOpRef op; KirRef to; bool done; } CgSink;
typedef struct CgUnit { uint32_t prefix, sink_count; IrDim dims[4]; CgSink sinks[40]; } CgUnit;
// The sinks of the group's region (`to` not filled), and how many leading dimensions a unit can fix: all sinks and all rows
// that are reduced have these (dims[0..prefix-1]) in common.
HD_MUST_USE HdStatus *cg_unit_plan(const IrGraph *graph, IrOpRef group, CgUnit *out_unit);
// Asks for the addresses of the sinks.
void cg_unit_pointers(CgBuild *build, CgUnit *unit);
// Takes a unit number apart: coordinates of dims[0..count-1], of which only the first may be symbolic.
void cg_unit_coords(KirFn *fn, KirRef number, const IrDim *dims, uint32_t count, KirRef *out_coord);
// Emits the unit at coordinates coord[0..prefix-1]: rows that are needed before others, or more than once, are kept in
// scratch. The region may have bindings already (what a special operation of the group has made).
void cg_unit_emit(CgRegion *region, CgUnit *unit, const KirRef *coord);
// to += factor * elements of the type.
void cg_expr_add_elements(IrExpr *to, const IrGraph *graph, const IrType *type, int64_t factor);
// bytes += what the group's operands and results occupy (states excepted); flops += elements of what its region computes.
void cg_account(CgBuild *build);

// ---- cpu/emit.c, cpu/object.c ----------------------------------------------------------------------------------

// A context of MLIR for one thread.
typedef struct CgEmitter CgEmitter;
HD_MUST_USE HdStatus *cg_emitter_new(const IrTarget *target, CgEmitter **out_emitter);
void cg_emitter_free(CgEmitter *emitter);
// Kernel to ELF object bytes. Instructions the target lacks are refused before emission. dump_prefix NULL: no dumps (.hkr,
// .mlir, .ll, .s).
HD_MUST_USE HdStatus *cg_emit_object(CgEmitter *emitter, const KirFn *fn, const char *dump_prefix, HdBuf *out_object);
// Links objects (in this order) into one shared object with lld.
HD_MUST_USE HdStatus *cg_link(const IrTarget *target, const HdBuf *objects, size_t count, HdBuf *out_shared);
// The architectures that the NVRTC found on this machine compiles for (90 for sm_90), from 75 (Turing) on. UNSUPPORTED when there is none.
enum { CG_MOST_CUDA_ARCHS = 64 };
HD_MUST_USE HdStatus *cg_cuda_archs(int out_archs[CG_MOST_CUDA_ARCHS], uint32_t *out_count);
// The best of these for a device of a compute capability (89 for 8.9). UNSUPPORTED: it is older than all, or there is no NVRTC.
HD_MUST_USE HdStatus *cg_cuda_target(uint64_t capability, IrTarget *out_target);
// Identifies the compiler for caches and modules: LLVM version, ABI, schedule version.
const char *cg_compiler_version(void);
// What else of this machine decides the code for a target: which NVRTC there is, or (emulated kernels) what c++ is told of the processor; ""
// for others. UNSUPPORTED: there is no NVRTC.
HD_MUST_USE HdStatus *cg_machine_part(const IrTarget *target, HdBuf *out_text);

#endif
