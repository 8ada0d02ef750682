// SPDX-License-Identifier: Apache-2.0
// From scheduled graphs to a program.
//
// Every group of every graph goes to the schedule of its kind, which makes launches. Kernels are identified by their .hkr text:
// the layers of a model and its step classes share them. The kernels are then compiled by a few threads, each with an MLIR
// context of its own, taking the next kernel from a counter; objects are linked in the order of first use, so the result does not
// depend on the number of threads.
#include "codegen/internal.h"
#include "codegen/simt/emit.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef HD_VEC(IrOpRef) Groups;

struct CgGroupBuilder {
    CgProgram *program;
    CgClass *class;
    CgBuild build;
    HD_VEC(KirFn *) kernels; // beside program->kernels
    HdMap by_digest; // hex digest of the .hkr text -> kernel
    HD_VEC(Groups) rowwise; // of the graph, by stage + 1
    HdArena arena;
};

// ---- launches --------------------------------------------------------------------------------------------------

CgBuild *cg_launch_begin(CgGroupBuilder *builder, const char *kernel_name)
{
    builder->build.fn = kir_new(kernel_name);
    builder->build.units = (IrExpr){.constant = 1};
    builder->build.bytes = builder->build.flops = (IrExpr){0};
    builder->build.scratch = builder->build.lanes = 0;
    builder->build.later = 0;
    memset(builder->build.shared, 0, sizeof builder->build.shared);
    builder->build.args.len = builder->build.params.len = 0;
    return &builder->build;
}

CgBuild *cg_simt_launch_begin(CgGroupBuilder *builder, const char *kernel_name, uint32_t lanes)
{
    CgBuild *build = cg_launch_begin(builder, kernel_name);
    build->lanes = lanes;
    kir_set_lanes(build->fn, lanes);
    return build;
}

// The row of the kernel in builder->build.fn: an equal one that exists already, or this one under a name made of its digest.
static uint32_t kernel_row(CgGroupBuilder *builder)
{
    HdBuf text = {0};
    kir_print(builder->build.fn, &text);
    HdDigest digest = hd_digest(text.data, text.len);
    hd_buf_free(&text);
    char hex[33];
    hd_digest_hex(digest, hex);
    uint32_t row;
    if (hd_map_get(&builder->by_digest, hd_str(hex), &row)) {
        kir_free(builder->build.fn);
        return row;
    }
    row = (uint32_t)builder->kernels.len;
    CgKernel kernel = {.name = hd_xstrdup(hd_arena_printf(&builder->arena, "%s_%.10s", kir_name(builder->build.fn), hex)),
                       .digest = digest,
                       .lanes = kir_lanes(builder->build.fn),
                       .shared = kir_shared_bytes(builder->build.fn)};
    kir_set_name(builder->build.fn, kernel.name);
    hd_map_put(&builder->by_digest, hd_str(hd_arena_strndup(&builder->arena, hex, 32)), row);
    hd_vec_push(&builder->program->kernels, kernel);
    hd_vec_push(&builder->kernels, builder->build.fn);
    return row;
}

void cg_launch_end(CgGroupBuilder *builder)
{
    CgBuild *build = &builder->build;
    CgProgram *program = builder->program;
    const IrOp *op = ir_op(build->graph, build->group);
    if (build->lanes && build->scratch) {   // work groups find their part by its size
        build->scratch = (uint32_t)hd_align_up(build->scratch, 64);
        kir_set_scratch_bytes(build->fn, cg_const(build, build->scratch, "scratch of a work group"));
    }
    HD_ASSERT(build->args.len == kir_param_count(build->fn));
    IrGroup kind;
    HD_ASSERT(ir_op_group(ir_op(build->graph, build->group), &kind) && build->later <= ir_group_later(build->target, kind));
    CgLaunch launch = {
        .stage = op->stage + build->later, .layer = op->layer, .scratch = build->scratch, .first_arg = (uint32_t)program->args.len};
    launch.arg_count = (uint32_t)build->args.len;
    launch.units = cg_expr_row(program, &build->units);
    launch.bytes = cg_expr_row(program, &build->bytes);
    launch.flops = cg_expr_row(program, &build->flops);
    for (size_t i = 0; i < build->args.len; i++) hd_vec_push(&program->args, build->args.data[i]);
    launch.kernel = kernel_row(builder);
    build->fn = NULL;
    hd_vec_push(&builder->class->launches, launch);
}

static CgSchedule *const schedules[IR_GROUP_COUNT][2] = {   // SIMD, SIMT
#define IR_GROUP(name, text, doc) [IR_GROUP_##name] = {cg_cpu_##name, cg_simt_##name},
#include "ir/targets.def"
#undef IR_GROUP
};

static void find_rowwise(CgGroupBuilder *builder, const IrGraph *graph)
{
    IrGroup kind;
    for (size_t i = 0; i < builder->rowwise.len; i++) builder->rowwise.data[i].len = 0;
    IR_FOR_OPS(graph, 0, ref)
    {
        if (!ir_op_group(ir_op(graph, ref), &kind) || kind != IR_GROUP_ROWWISE) continue;
        size_t stage = (size_t)(ir_op(graph, ref)->stage + 1);     // 0: without stages
        while (builder->rowwise.len <= stage) hd_vec_push(&builder->rowwise, (Groups){0});
        hd_vec_push(&builder->rowwise.data[stage], ref);
    }
}

const IrOpRef *cg_rowwise_of_stage(const CgGroupBuilder *builder, const IrGraph *graph, IrOpRef group, uint32_t *out_count)
{
    const Groups *groups = &builder->rowwise.data[ir_op(graph, group)->stage + 1];
    *out_count = (uint32_t)groups->len;
    return groups->data;
}

static HdStatus *build_group(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef ref)
{
    IrGroup kind;
    if (!ir_op_group(ir_op(graph, ref), &kind))
        return hd_error(HD_INTERNAL, "@%s: %s is not a group: partition has not run, or left it out", graph->name,
                        ir_op_info(ir_op(graph, ref)->kind)->name);
    builder->build.target = target;
    builder->build.graph = graph;
    builder->build.group = ref;
    builder->build.program = builder->program;
    return schedules[kind][ir_target_is_gpu(target)](builder, target, graph, ref);
}

static int by_stage(const void *a, const void *b)
{
    const CgLaunch *x = a, *y = b;
    if (x->stage != y->stage) return x->stage < y->stage ? -1 : 1;
    return x->first_arg < y->first_arg ? -1 : x->first_arg > y->first_arg; // order of creation
}

// ---- graphs ----------------------------------------------------------------------------------------------------

static HdStatus *build_graph(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph)
{
    CgClass class = {.name = hd_xstrdup(graph->name),
                     .bound = {{1, 1, 1, 1}},
                     .arena_bytes = graph->arena_bytes < 0 ? 0 : (uint64_t)graph->arena_bytes};
    ir_graph_bound(graph, &class.bound);
    builder->class = &class;
    find_rowwise(builder, graph);
    HdStatus *status = NULL;
    IR_FOR_OPS(graph, 0, op)
    {
        status = build_group(builder, target, graph, op);
        if (status) break;
    }
    for (size_t i = 0; i < graph->results.len && !status; i++) {
        const IrValueData *value = ir_value(graph, graph->results.data[i].value);
        if (!strcmp(graph->name, "load")) break; // the results of @load are packed weights
        IrExpr rows = ir_dim_expr(graph, value->type.dims[0]);
        CgResult result = {hd_xstrdup(graph->results.data[i].name), value->offset, value->type,
                           cg_expr_row(builder->program, &rows)};
        hd_vec_push(&class.results, result);
    }
    if (class.launches.len) qsort(class.launches.data, class.launches.len, sizeof *class.launches.data, by_stage);
    hd_vec_push(&builder->program->classes, class);
    return status;
}

// ---- compiling -------------------------------------------------------------------------------------------------

typedef struct Job {
    const IrTarget *target;
    const CgOptions *options;
    KirFn *const *kernels;
    size_t kernel_count, count;  // count: of objects
    HdBuf *objects;
    HdStatus **statuses;
    HdBuf machine;               // cg_machine_part
    atomic_size_t next;
} Job;

static bool is_emulated(const IrTarget *target) { return target->backend == IR_EMULATED || target->backend == IR_STAND_IN; }

HdStatus *cg_machine_part(const IrTarget *target, HdBuf *out_text)
{
    if (target->backend == IR_CUDA) return simt_nvrtc_version(out_text);
    hd_buf_str(out_text, is_emulated(target) ? simt_emulated_option() : "");
    return NULL;
}

// Path of an object in the cache. `text`: all that decides its bytes. NULL: there is no cache.
static char *cache_path(HdArena *arena, const CgOptions *options, const HdBuf *text)
{
    char hex[33];
    if (!options->cache_dir) return NULL;
    hd_digest_hex(hd_digest(text->data, text->len), hex);
    return hd_arena_printf(arena, "%s/%s.o", options->cache_dir, hex);
}

static char *kernel_path(HdArena *arena, const Job *job, const KirFn *fn)
{
    HdBuf text = {0};
    const char *salt = job->options->cache_salt;
    hd_buf_printf(&text, "%s\n%s\n%s\n%s\n", cg_compiler_version(), salt ? salt : "", job->target->name, job->machine.data);
    kir_print(fn, &text);
    char *path = cache_path(arena, job->options, &text);
    hd_buf_free(&text);
    return path;
}

// A cached object is followed by its digest, so that a damaged one is compiled again.
static bool cache_read(const char *path, HdBuf *out_object)
{
    HdStatus *status = path ? hd_read_file(path, out_object) : NULL;
    bool ok = path && !status && out_object->len > sizeof(HdDigest);
    if (ok) {
        HdDigest stored, found;
        out_object->len -= sizeof stored;
        memcpy(&stored, out_object->data + out_object->len, sizeof stored);
        found = hd_digest(out_object->data, out_object->len);
        ok = stored.lo == found.lo && stored.hi == found.hi;
    }
    hd_status_free(status);
    if (!ok) hd_buf_free(out_object);
    return ok;
}

static void cache_write(const char *path, const HdBuf *object)
{
    if (!path) return;
    HdBuf all = {0};
    HdDigest digest = hd_digest(object->data, object->len);
    hd_buf_bytes(&all, object->data, object->len);
    hd_buf_bytes(&all, &digest, sizeof digest);
    hd_status_free(hd_write_file(path, all.data, all.len)); // a cache that cannot be written is only slower
    hd_buf_free(&all);
}

static HdStatus *compile_kernel(Job *job, CgEmitter *emitter, size_t index)
{
    HdArena arena = {0};
    char *dump = job->options->dump_dir
                     ? hd_arena_printf(&arena, "%s/%03zu-%s", job->options->dump_dir, index, kir_name(job->kernels[index]))
                     : NULL;
    bool gpu = ir_target_is_gpu(job->target);
    char *path = dump && !gpu ? NULL : kernel_path(&arena, job, job->kernels[index]);     // a CPU's stages come of compiling
    HdStatus *status = NULL;
    bool cached = cache_read(path, &job->objects[index]);
    if (!cached || dump) {
        status = kir_verify(job->kernels[index], gpu ? KIR_SIMT : KIR_SIMD);
        if (!status && gpu) status = simt_emit(job->kernels[index], job->target, dump, &job->objects[index]);
        else if (!status) status = cg_emit_object(emitter, job->kernels[index], dump, &job->objects[index]);
        if (!status && !cached) cache_write(path, &job->objects[index]);
    }
    hd_arena_free(&arena);
    return hd_annotate(status, "kernel %s", kir_name(job->kernels[index]));
}

// Kernel `index` as C++; behind the last one, the fibres that all run on. The source decides, whichever compiler of ours wrote it, and it is the
// same for both targets.
static HdStatus *emulate_kernel(Job *job, size_t index)
{
    KirFn *fn = index < job->kernel_count ? job->kernels[index] : NULL;
    HdArena arena = {0};
    HdBuf source = {0}, *object = &job->objects[index];
    HdStatus *status = fn ? kir_verify(fn, KIR_SIMT) : NULL;
    if (!status) status = simt_print_emulated(fn, &source);
    const char *path = cache_path(&arena, job->options, &source);
    if (!status && !cache_read(path, object)) {
        status = simt_compile_emulated(&source, object);
        if (!status) cache_write(path, object);
    }
    hd_arena_free(&arena);
    hd_buf_free(&source);
    return hd_annotate(status, "kernel %s", fn ? kir_name(fn) : "fibres");
}

typedef struct Worker {
    Job *job;
    CgEmitter *emitter;
    pthread_t thread;
    bool first;                  // runs in the calling thread
} Worker;

static void *work(void *user)
{
    Worker *worker = user;
    Job *job = worker->job;
    bool reports = worker->first && job->options->progress;
    for (size_t i; (i = atomic_fetch_add(&job->next, 1)) < job->count;) {
        if (reports) job->options->progress(i, job->count);
        job->statuses[i] = is_emulated(job->target) ? emulate_kernel(job, i) : compile_kernel(job, worker->emitter, i);
    }
    return NULL;
}

static HdStatus *run_workers(Job *job, uint32_t jobs)
{
    Worker workers[16] = {{0}};
    jobs = HD_MIN(jobs ? jobs : 2, HD_COUNT(workers));
    HdStatus *status = NULL;
    for (uint32_t i = 0; i < jobs && !status; i++) {
        workers[i].job = job;
        workers[i].first = i == 0;
        if (!ir_target_is_gpu(job->target)) status = cg_emitter_new(job->target, &workers[i].emitter);
    }
    for (uint32_t i = 1; i < jobs && !status; i++)
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) workers[i].thread = 0;
    if (!status) work(&workers[0]);
    for (uint32_t i = 0; i < jobs; i++) {
        if (workers[i].thread) pthread_join(workers[i].thread, NULL);
        cg_emitter_free(workers[i].emitter);
    }
    return status;
}

// Keeps the first error in kernel order and frees the rest.
static HdStatus *first_error(HdStatus **statuses, size_t count)
{
    HdStatus *first = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!first) first = statuses[i];
        else hd_status_free(statuses[i]);
    }
    return first;
}

static void pad(HdBuf *bytes, size_t unit)
{
    while (bytes->len % unit) hd_buf_bytes(bytes, "", 1);
}

// The code of a GPU's kernels, one after another.
static void join_objects(const HdBuf *objects, CgProgram *program)
{
    for (size_t i = 0; i < program->kernels.len; i++) {
        CgKernel *kernel = &program->kernels.data[i];
        kernel->offset = program->object.len;
        hd_buf_bytes(&program->object, objects[i].data, objects[i].len);
        pad(&program->object, 4);                        // PTX may have any length; it ends with a 0
        kernel->bytes = program->object.len - kernel->offset;
        pad(&program->object, 16);
    }
}

// CUDA's kernels as functions of one shared object. The CPU device finds them as its own, the CUDA device as kernels that all have the
// same code.
static void place_emulated(CgProgram *program, bool of_gpu)
{
    if (of_gpu) pad(&program->object, 4);
    for (size_t i = 0; i < program->kernels.len; i++) {
        CgKernel *kernel = &program->kernels.data[i];
        kernel->bytes = of_gpu ? program->object.len : 0;
        kernel->lanes = of_gpu ? HD_MAX(kernel->lanes, 1) : 0;
    }
}

static HdStatus *check_buffer(const IrTarget *target, const char *what, const char *name, uint64_t bytes)
{
    if (!target->most_buffer || bytes <= target->most_buffer) return NULL;
    return hd_error(HD_UNSUPPORTED, "%s %s needs %" PRIu64 " bytes in one piece, %s gives at most %" PRIu64, what, name, bytes, target->device,
                    target->most_buffer);
}

// What a device keeps in one buffer: a weight, the values of a step.
static HdStatus *check_buffers(const CgProgram *program, const IrTarget *target)
{
    for (size_t i = 0; i < program->weights.len; i++) {
        const CgWeight *weight = &program->weights.data[i];
        uint64_t bytes = weight->packed_bytes ? weight->packed_bytes : (uint64_t)ir_type_bytes(NULL, &weight->type, NULL);
        HD_TRY(check_buffer(target, "weight", weight->name, bytes));
    }
    for (size_t i = 0; i < program->classes.len; i++)
        HD_TRY(check_buffer(target, "the arena of", program->classes.data[i].name, program->classes.data[i].arena_bytes));
    return NULL;
}

// A device that is known may have less than others of its kind.
static HdStatus *check_limits(const CgProgram *program, const IrTarget *target)
{
    HD_TRY(check_buffers(program, target));
    for (size_t i = 0; i < program->kernels.len; i++) {
        const CgKernel *kernel = &program->kernels.data[i];
        if (target->most_lanes && kernel->lanes > target->most_lanes)
            return hd_error(HD_UNSUPPORTED, "kernel %s has work groups of %u lanes, %s at most %u", kernel->name, kernel->lanes,
                            target->device, target->most_lanes);
        if (target->most_shared && kernel->shared > target->most_shared)
            return hd_error(HD_UNSUPPORTED, "kernel %s needs %u bytes of shared memory, %s has %u", kernel->name, kernel->shared,
                            target->device, target->most_shared);
    }
    return NULL;
}

static HdStatus *take_objects(CgProgram *program, const IrTarget *target, const HdBuf *objects, size_t count)
{
    if (!ir_target_is_gpu(target)) return cg_link(target, objects, count, &program->object);
    if (!is_emulated(target)) return join_objects(objects, program), NULL;
    HD_TRY(simt_link_emulated(objects, count, &program->object));
    place_emulated(program, target->backend == IR_STAND_IN);
    return NULL;
}

static HdStatus *compile_kernels(CgGroupBuilder *builder, const IrTarget *target, const CgOptions *options)
{
    Job job = {.target = target, .options = options, .kernels = builder->kernels.data, .kernel_count = builder->kernels.len};
    job.count = job.kernel_count + is_emulated(target);
    if (!job.kernel_count) return NULL;
    HD_TRY(check_limits(builder->program, target));
    for (size_t i = 0; options->visit && i < job.kernel_count; i++) options->visit(options->user, builder->kernels.data[i]);
    job.objects = hd_xcalloc(job.count, sizeof *job.objects);
    job.statuses = hd_xcalloc(job.count, sizeof(HdStatus *));
    HdStatus *status = cg_machine_part(target, &job.machine);
    if (!status) status = run_workers(&job, options->jobs);
    if (!status) status = first_error(job.statuses, job.count);
    if (!status) status = take_objects(builder->program, target, job.objects, job.count);
    for (size_t i = 0; i < job.count; i++) hd_buf_free(&job.objects[i]);
    hd_buf_free(&job.machine);
    free(job.objects);
    free(job.statuses);
    return status;
}

HdStatus *cg_compile(const IrModule *module, const IrTarget *target, const CgOptions *options, CgProgram **out_program)
{
    static const CgOptions defaults = {0};
    if (!options) options = &defaults;
    if (options->dump_dir && mkdir(options->dump_dir, 0777) && access(options->dump_dir, W_OK))
        return hd_error(HD_IO, "--dump %s: cannot create or write this folder", options->dump_dir);
    CgGroupBuilder builder = {.program = hd_xcalloc(1, sizeof(CgProgram))};
    HdStatus *status = NULL;
    for (size_t i = 0; i < module->graphs.len && !status; i++)
        if (strcmp(module->graphs.data[i]->name, "model")) status = build_graph(&builder, target, module->graphs.data[i]);
    if (!status && !options->launches_only) status = compile_kernels(&builder, target, options);
    for (size_t i = 0; i < builder.kernels.len; i++) kir_free(builder.kernels.data[i]);
    hd_vec_free(&builder.kernels);
    hd_vec_free(&builder.build.args);
    hd_vec_free(&builder.build.params);
    for (size_t i = 0; i < builder.rowwise.len; i++) hd_vec_free(&builder.rowwise.data[i]);
    hd_vec_free(&builder.rowwise);
    hd_map_free(&builder.by_digest);
    hd_arena_free(&builder.arena);
    if (status) cg_program_free(builder.program);
    else *out_program = builder.program;
    return status;
}

void cg_program_free(CgProgram *program)
{
    if (!program) return;
    for (size_t i = 0; i < program->kernels.len; i++) free(program->kernels.data[i].name);
    for (size_t i = 0; i < program->weights.len; i++) free((char *)program->weights.data[i].name);
    for (size_t i = 0; i < program->states.len; i++) free((char *)program->states.data[i].name);
    for (size_t i = 0; i < program->classes.len; i++) {
        CgClass *class = &program->classes.data[i];
        for (size_t r = 0; r < class->results.len; r++) free((char *)class->results.data[r].name);
        hd_vec_free(&class->results);
        hd_vec_free(&class->launches);
        free((char *)class->name);
    }
    hd_vec_free(&program->kernels);
    hd_vec_free(&program->args);
    hd_vec_free(&program->exprs);
    hd_vec_free(&program->weights);
    hd_vec_free(&program->states);
    hd_vec_free(&program->classes);
    hd_buf_free(&program->object);
    free(program);
}
