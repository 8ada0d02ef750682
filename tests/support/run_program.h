// SPDX-License-Identifier: Apache-2.0
// Compiles graphs made of `fused` groups and runs the program in this process, one thread, launch after launch: what kernel tests compare with
// the interpreter. A tenth of the runtime, on purpose: no module file, no session; every arena byte is poisoned before a run.
#ifndef HEDDLE_TESTS_RUN_PROGRAM_H
#define HEDDLE_TESTS_RUN_PROGRAM_H

#include "codegen/codegen.h"
#include "tests/support/nmse.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Weights as the tests hold them: native bytes by name.
typedef struct RunWeight { const char *name; const void *native; } RunWeight;

typedef struct RunProgram {
    CgProgram *program;
    void *library;
    int fd;                      // stays open while the library is loaded: dlopen takes two files of one name for the same library
    const RunWeight *weights;
    size_t weight_count;
    void **packed;               // per row of program->weights; NULL where native
    uint8_t **states;            // per row of program->states
    uint32_t slots, planes, context;
    uint8_t *arena;
    uint64_t arena_bytes;
    HeddleStepStatus step_status;
    float notes[16];             // what kernels wrote before their scratch: only those that a test has changed do (change_kernel.h)
} RunProgram;

typedef struct RunCall {
    const int32_t *tokens; uint32_t token_count;
    const int32_t *segments; uint32_t segment_count;     // [S][8]
    const int32_t *rows; uint32_t row_count;
    double theta; uint32_t rope_n;
} RunCall;

// A test graph is placed and staged without the passes: every result of every group gets bytes of its own, each group a stage.
static inline void run_place(IrGraph *graph, const IrBinding *bound)
{
    int64_t at = 0;
    int32_t stage = 0;
    IR_FOR_OPS(graph, 0, ref) {
        IrOp *op = ir_op(graph, ref);
        op->stage = stage++;
        for (uint32_t i = 0; i < op->result_count; i++) {
            IrValueData *value = ir_value(graph, op->results[i]);
            value->offset = at;
            at += (ir_type_bytes(graph, &value->type, bound) + 63) / 64 * 64 + 64;
        }
    }
    graph->arena_bytes = at;
}

static inline uint64_t run_state_plane(const RunProgram *run, const CgState *state)
{
    return state->kind == IR_STATE_KV ? state->row_bytes * run->context : (state->row_bytes + 63) / 64 * 64;
}

static inline uint64_t run_state_slot(const RunProgram *run, const CgState *state)
{
    return run_state_plane(run, state) * (state->kind == IR_STATE_KV ? 1 : run->planes);
}

static inline void run_free(RunProgram *run)
{
    for (size_t i = 0; run->packed && i < run->program->weights.len; i++) free(run->packed[i]);
    for (size_t i = 0; run->states && i < run->program->states.len; i++) free(run->states[i]);
    free(run->packed);
    free(run->states);
    free(run->arena);
    if (run->library) dlclose(run->library), close(run->fd);
    cg_program_free(run->program);
    memset(run, 0, sizeof *run);
}

static inline HdStatus *run_step(RunProgram *run, const char *class_name, const RunCall *call);

// Compiles the module for `target_name` ("cpu:native"), allocates zeroed state, and runs @load when there is one. `options` may be NULL.
static inline HdStatus *run_compile(const IrModule *module, const char *target_name, const CgOptions *options, const RunWeight *weights, size_t weight_count,
                                    uint32_t slots, uint32_t planes, uint32_t context, RunProgram *out_run)
{
    IrTarget target;
    memset(out_run, 0, sizeof *out_run);
    HD_TRY(ir_target_parse(target_name, &target));
    HD_TRY(cg_compile(module, &target, options, &out_run->program));
    CgProgram *program = out_run->program;
    out_run->weights = weights, out_run->weight_count = weight_count;
    out_run->slots = slots, out_run->planes = planes, out_run->context = context;
    int fd = out_run->fd = memfd_create("kernels", 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    HD_ASSERT(write(fd, program->object.data, program->object.len) == (ssize_t)program->object.len);
    out_run->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!out_run->library) return hd_error(HD_INTERNAL, "dlopen: %s", dlerror());
    out_run->packed = calloc(program->weights.len + 1, sizeof(void *));
    for (size_t i = 0; i < program->weights.len; i++)
        if (program->weights.data[i].packed_bytes) {
            out_run->packed[i] = aligned_alloc(64, (program->weights.data[i].packed_bytes + 63) / 64 * 64);
            memset(out_run->packed[i], 0xff, program->weights.data[i].packed_bytes);
        }
    out_run->states = calloc(program->states.len + 1, sizeof(uint8_t *));
    for (size_t i = 0; i < program->states.len; i++)
        out_run->states[i] = calloc(slots, run_state_slot(out_run, &program->states.data[i]));
    for (size_t i = 0; i < program->classes.len; i++)
        if (!strcmp(program->classes.data[i].name, "load")) HD_TRY(run_step(out_run, "load", &(RunCall){0}));
    return NULL;
}

typedef struct RunInputs { int32_t *info; float *rope; const void *pointers[HEDDLE_INPUT_COUNT]; } RunInputs;

static inline RunInputs run_inputs(const RunCall *call)
{
    RunInputs in = {.info = calloc(call->token_count + 1, 16), .rope = calloc((size_t)call->token_count + 1, (call->rope_n + 1) * sizeof(float))};
    for (uint32_t s = 0; s < call->segment_count; s++) {
        const int32_t *segment = call->segments + 8 * s;
        for (int32_t i = 0; i < segment[3]; i++) {
            int32_t t = segment[2] + i, position = segment[1] + i;
            memcpy(in.info + 4 * t, (int32_t[4]){(int32_t)s, segment[0], position, i}, 16);
            for (uint32_t f = 0; f < call->rope_n / 2; f++) {
                double angle = position * pow(call->theta, -2.0 * f / call->rope_n);
                in.rope[(size_t)t * call->rope_n + f] = (float)cos(angle);
                in.rope[(size_t)t * call->rope_n + call->rope_n / 2 + f] = (float)sin(angle);
            }
        }
    }
    in.pointers[HEDDLE_INPUT_TOKENS] = call->tokens;
    in.pointers[HEDDLE_INPUT_SEGMENTS] = call->segments;
    in.pointers[HEDDLE_INPUT_ROWS] = call->rows;
    in.pointers[HEDDLE_INPUT_ROPE] = in.rope;
    in.pointers[HEDDLE_INPUT_TOKEN_INFO] = in.info;
    return in;
}

static inline uint64_t run_arg(RunProgram *run, const CgArg *arg, const IrBinding *binding, const RunInputs *in)
{
    const CgProgram *program = run->program;
    switch (arg->kind) {
    case HEDDLE_ARG_ARENA: return (uint64_t)(uintptr_t)(run->arena + arg->index);
    case HEDDLE_ARG_WEIGHT: {
        if (run->packed[arg->index]) return (uint64_t)(uintptr_t)run->packed[arg->index];
        for (size_t i = 0; i < run->weight_count; i++)
            if (!strcmp(run->weights[i].name, program->weights.data[arg->index].name)) return (uint64_t)(uintptr_t)run->weights[i].native;
        HD_ASSERT(!"a weight that the test did not give");
        return 0;
    }
    case HEDDLE_ARG_STATE: return (uint64_t)(uintptr_t)run->states[arg->index];
    case HEDDLE_ARG_INPUT: return (uint64_t)(uintptr_t)in->pointers[arg->index];
    case HEDDLE_ARG_EXPR: return (uint64_t)ir_expr_eval(&program->exprs.data[arg->index], binding);
    case HEDDLE_ARG_CONST: return (uint64_t)arg->index;
    case HEDDLE_ARG_STATE_SLOT: return run_state_slot(run, &program->states.data[arg->index]);
    case HEDDLE_ARG_STATE_PLANE: return run_state_plane(run, &program->states.data[arg->index]);
    case HEDDLE_ARG_STATUS: return (uint64_t)(uintptr_t)&run->step_status;
    case HEDDLE_ARG_KIND_COUNT: break;
    }
    HD_ASSERT(!"unknown argument kind");
    return 0;
}

// Units are done in two calls with a cut in the middle, in the order second, first: a kernel may depend on neither.
static inline HdStatus *run_launch(RunProgram *run, const CgLaunch *launch, const IrBinding *binding, const RunInputs *in)
{
    const CgProgram *program = run->program;
    uint64_t args[64];
    HD_ASSERT(launch->arg_count <= HD_COUNT(args));
    for (uint32_t i = 0; i < launch->arg_count; i++) args[i] = run_arg(run, &program->args.data[launch->first_arg + i], binding, in);
    HeddleKernel *kernel;
    *(void **)&kernel = dlsym(run->library, program->kernels.data[launch->kernel].name);
    if (!kernel) return hd_error(HD_INTERNAL, "kernel %s is not in the object", program->kernels.data[launch->kernel].name);
    int64_t units = ir_expr_eval(&program->exprs.data[launch->units], binding);
    float *notes = aligned_alloc(64, (launch->scratch + sizeof run->notes + 127) / 64 * 64);
    uint8_t *scratch = (uint8_t *)notes + sizeof run->notes;
    memset(notes, 0, sizeof run->notes);
    memset(scratch, 0xff, launch->scratch);
    kernel(args, units / 2, units, scratch);
    kernel(args, 0, units / 2, scratch);
    for (size_t i = 0; i < HD_COUNT(run->notes); i++) run->notes[i] += notes[i];
    free(notes);
    return NULL;
}

static inline HdStatus *run_step(RunProgram *run, const char *class_name, const RunCall *call)
{
    const CgClass *class = NULL;
    for (size_t i = 0; i < run->program->classes.len; i++)
        if (!strcmp(run->program->classes.data[i].name, class_name)) class = &run->program->classes.data[i];
    if (!class) return hd_error(HD_NOT_FOUND, "no class %s", class_name);
    if (run->arena_bytes < class->arena_bytes) {
        free(run->arena);
        run->arena_bytes = class->arena_bytes;
        run->arena = aligned_alloc(64, (run->arena_bytes + 63) / 64 * 64);
    }
    if (run->arena) memset(run->arena, 0xff, run->arena_bytes);
    IrBinding binding = {{call->token_count, call->segment_count, run->context, call->row_count}};
    RunInputs in = run_inputs(call);
    run->step_status = (HeddleStepStatus){0, 0};
    HdStatus *status = NULL;
    for (size_t i = 0; i < class->launches.len && !status; i++) status = run_launch(run, &class->launches.data[i], &binding, &in);
    free(in.info);
    free(in.rope);
    return status;
}

// Address and byte offset of a result by name; NULL when there is none.
static inline const void *run_result(const RunProgram *run, const char *class_name, const char *name)
{
    for (size_t i = 0; i < run->program->classes.len; i++) {
        const CgClass *class = &run->program->classes.data[i];
        for (size_t r = 0; r < class->results.len && !strcmp(class->name, class_name); r++)
            if (!strcmp(class->results.data[r].name, name)) return run->arena + class->results.data[r].arena_offset;
    }
    return NULL;
}

#endif
