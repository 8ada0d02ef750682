// SPDX-License-Identifier: Apache-2.0
// The compiler from end to end: header of a GGUF file -> model graph -> passes -> kernels -> module.
#include "cli/compiler_internal.h"
#include "cli/device_target.h"

#include "codegen/codegen.h"
#include "models/models.h"
#include "passes/passes.h"
#include "runtime/cpu_features.h"
#include "runtime/device/facts.h"
#include "runtime/module.h"
#include "passes/workbench/workbench.h"

#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- options ---------------------------------------------------------------------------------------------------

enum { MAX_SETS = 64 };

// The options as a pass configuration; the texts of `--layout`, `--act` and `--numerics` become settings of their passes.
typedef struct Setup {
    IrTarget targets[RT_MAX_VARIANTS];
    uint32_t target_count;
    PassConfig passes; // for one target after another
    const char *sets[MAX_SETS + 3];
    HdArena arena;
} Setup;

static HdStatus *check_word(const char *option, const char *value, const char *const *words)
{
    HdBuf list = {0};
    for (size_t i = 0; words[i]; i++) {
        if (!value || !strcmp(value, words[i])) {
            hd_buf_free(&list);
            return NULL;
        }
        hd_buf_printf(&list, "%s%s", i ? ", " : "", words[i]);
    }
    HdStatus *status = hd_error(HD_USAGE, "%s %s: expected %s", option, value, list.data);
    hd_buf_free(&list);
    return status;
}

static void add_set(Setup *setup, const char *pass, const char *option, const char *value)
{
    if (value) setup->sets[setup->passes.set_count++] = hd_arena_printf(&setup->arena, "%s{%s=%s}", pass, option, value);
}

HdStatus *compiler_target(const char *name, const struct RtFacts *devices, size_t device_count, size_t *used, IrTarget *out_target)
{
    if (*name != '@') return ir_target_parse(name, out_target);
    if (*used == device_count) return hd_error(HD_INTERNAL, "target %s: the file has not been read", name);
    return device_target(&devices[(*used)++], name + 1, out_target);
}

static HdStatus *add_target(Setup *setup, const HeddleCompileOptions *options, const char *name, size_t *used)
{
    IrTarget *target = &setup->targets[setup->target_count];
    if (setup->target_count == RT_MAX_VARIANTS)
        return hd_error(HD_USAGE, "more than %d targets; a module takes no more", RT_MAX_VARIANTS);
    HD_TRY(compiler_target(name, options->devices, options->device_count, used, target));
    for (uint32_t i = 0; i < setup->target_count; i++)
        if (setup->targets[i].backend == target->backend && !(setup->targets[i].features & ~target->features)
            && (!ir_target_is_gpu(target) || !strcmp(setup->targets[i].name, target->name)))
            return hd_error(HD_USAGE, "%s would never be taken: %s stands before it and needs no more; the best comes first",
                            target->name, setup->targets[i].name);
    setup->target_count++;
    return NULL;
}

static HdStatus *parse_targets(Setup *setup, const HeddleCompileOptions *options)
{
    const char *list = options->target ? options->target : "cpu:native";
    size_t used = 0; // of the devices
    for (HdStr rest = hd_str(list); rest.data;) {
        HdStr name = hd_next_item(&rest, ',');
        HdStatus *status = add_target(setup, options, hd_arena_strndup(&setup->arena, name.data, name.len), &used);
        if (status) return strchr(list, ',') ? hd_annotate(status, "target %u of the list", setup->target_count + 1) : status;
    }
    return NULL;
}

static HdStatus *read_options(const HeddleCompileOptions *options, Setup *out_setup)
{
    HD_TRY(pass_load(options->loads, options->load_count));
    HD_TRY(check_word("--kv-type", options->kv_type, (const char *const[]){"f32", "f16", NULL}));
    HD_TRY(check_word("--layout", options->layout, (const char *const[]){"native", "packed", "auto", NULL}));
    HD_TRY(check_word("--act", options->activations, (const char *const[]){"auto", "f32", NULL}));
    HD_TRY(check_word("--numerics", options->numerics, (const char *const[]){"ordered", "bounded", NULL}));
    if (options->set_count > MAX_SETS)
        return hd_error(HD_USAGE, "--set is given %zu times, at most %d", options->set_count, MAX_SETS);
    HD_TRY(parse_targets(out_setup, options));
    HD_TRY(wb_check_requires(options->requires, options->require_count));
    out_setup->passes = (PassConfig){.passes = options->passes, .sets = out_setup->sets, .start_from = options->start_from};
    // What the general options say comes first, so that an explicit --set wins.
    add_set(out_setup, "select-layout", "layout", options->layout);
    add_set(out_setup, "quantise-activations", "act", options->activations);
    bool gpu = ir_target_is_gpu(&out_setup->targets[0]);   // whose kernels are bounded anyway
    if (options->numerics && !strcmp(options->numerics, "bounded") && !gpu) add_set(out_setup, "delta-net", "form", "wy");
    for (size_t i = 0; i < options->set_count; i++) out_setup->sets[out_setup->passes.set_count++] = options->sets[i];
    for (uint32_t i = 0; i < out_setup->target_count; i++) {
        out_setup->passes.target = &out_setup->targets[i];
        HD_TRY(pass_check(&out_setup->passes));
    }
    return NULL;
}

static HdStatus *make_setup(const HeddleCompileOptions *options, Setup *out_setup)
{
    *out_setup = (Setup){0};
    HdStatus *status = read_options(options, out_setup);
    if (status) hd_arena_free(&out_setup->arena);
    return status;
}

HdStatus *heddle_compile_check(const HeddleCompileOptions *options)
{
    Setup setup;
    HD_TRY(make_setup(options, &setup));
    hd_arena_free(&setup.arena);
    return NULL;
}

// ---- who compiles -----------------------------------------------------------------------------------------------

// The linker's identity of a loaded object: what a distribution's update of LLVM changes even when its version stays.
static int hash_build_id(struct dl_phdr_info *object, size_t size, void *hasher)
{
    (void)size;
    if (!strchr(object->dlpi_name, '/')) return 0; // the program, which compiles nothing, and the kernel's part
    if (pass_is_loaded_file(object->dlpi_name)) return 0; // what a pass changes is seen in the graph
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type == PT_NOTE)
            hd_hasher_add(hasher, (const void *)(object->dlpi_addr + header->p_vaddr), header->p_memsz);
    }
    return 0;
}

// The compiler is the shared object that holds this function, and LLVM: another build of either may compile the same input to
// other bytes.
static HdStatus *compiler_digest(char out_hex[33])
{
    Dl_info self;
    HdMapping mapping;
    if (!dladdr((void *)(uintptr_t)compiler_digest, &self))
        return hd_error(HD_INTERNAL, "the compiler's own file cannot be found");
    HD_TRY(hd_map_file(self.dli_fname, &mapping));
    HdHasher *hasher = hd_hasher_new();
    hd_hasher_text(hasher, cg_compiler_version());
    hd_hasher_add(hasher, mapping.data, mapping.len);
    dl_iterate_phdr(hash_build_id, hasher);
    hd_digest_hex(hd_hasher_finish(hasher), out_hex);
    hd_unmap_file(&mapping);
    return NULL;
}

// ---- the stages ------------------------------------------------------------------------------------------------

typedef struct Dump {
    const char *folder;
    uint32_t number;
} Dump;

// Writes a graph after a pass to "<folder>/pass-012-fuse-norm-decode.hir".
static HdStatus *dump_graph(void *user, const PassStep *step, const IrGraph *graph)
{
    Dump *dump = user;
    char path[4096];
    HdBuf text = {0};
    ir_print_graph(graph, &text);
    snprintf(path, sizeof path, "%s/pass-%03u-%s-%s.hir", dump->folder, dump->number++, pass_name(step->pass), graph->name);
    HdStatus *status = hd_write_file(path, text.data, text.len);
    hd_buf_free(&text);
    return status;
}

// Exact activations are exact in the cache too, unless its type is given.
static ModelKv kv_of(const HeddleCompileOptions *options)
{
    if (options->kv_type) return strcmp(options->kv_type, "f16") ? MODEL_KV_F32 : MODEL_KV_F16;
    return options->activations && !strcmp(options->activations, "f32") ? MODEL_KV_F32 : MODEL_KV_AUTO;
}

static HdStatus *build_model(const char *path, const HeddleCompileOptions *options, GgufFile **out_file, IrModule **out_module)
{
    GgufOptions header_only = {.header_only = true};
    ModelOptions model = {.kv = kv_of(options), .probes = options->probes};
    HD_TRY(gguf_open(options->model ? options->model : path, &header_only, out_file));
    HdStatus *status = model_build(*out_file, &model, out_module);
    if (!status && options->model) status = compiler_graph_read(path, *out_module, out_module);
    if (status) gguf_close(*out_file);
    return status;
}

// The passes over the module. A graph in text form may have them behind it.
static HdStatus *run_passes(const HeddleCompileOptions *options, PassConfig *passes, IrModule *module)
{
    PassCtx counts = {0};
    Dump dump = {options->dump_dir, 0};
    if (options->dump_dir) passes->after = dump_graph, passes->user = &dump;
    if (!options->model || !compiler_graph_is_done(module)) HD_TRY(pass_run(module, passes, &counts));
    HD_TRY(wb_require(counts.fired, counts.missed, options->requires, options->require_count));
    return options->model || options->load_count ? compiler_graph_check(module) : NULL;
}

// BOUNDED when an operation of some step graph is, and on GPUs, where one token's products are summed in another order than many's.
static const char *numerics_of(const IrModule *module, const IrTarget *target)
{
    for (size_t g = 0; g < module->graphs.len; g++) {
        const IrGraph *graph = module->graphs.data[g];
        if (!strcmp(graph->name, "model")) continue; // before the passes chose
        for (size_t i = 1; i < graph->ops.len; i++)
            if (!graph->ops.data[i].dead && ir_op_info(graph->ops.data[i].kind)->numerics == IR_NUMERICS_BOUNDED)
                return "bounded";
    }
    return ir_target_is_gpu(target) ? "bounded" : "ordered";
}

static HdStatus *check_numerics(const IrModule *module, const IrTarget *target, const HeddleCompileOptions *options)
{
    const char *found = numerics_of(module, target);
    if (options->numerics && !strcmp(options->numerics, "ordered") && ir_target_is_gpu(target))
        return hd_error(HD_USAGE, "--numerics ordered: the kernels for %s are bounded; ordered ones are those for cpu", target->name);
    if (options->numerics && !strcmp(options->numerics, "ordered") && strcmp(found, "ordered"))
        return hd_error(HD_USAGE, "--numerics ordered contradicts the pipeline, which has a bounded operation "
                                  "(delta-net{form=wy}): leave out one of the two");
    return NULL;
}

static HdStatus *generate(const GgufFile *file, IrModule *module, const IrTarget *target, const HeddleCompileOptions *options,
                          HdBuf *out_module)
{
    char compiler[33];
    CgOptions codegen = {.jobs = options->jobs, .dump_dir = options->dump_dir, .cache_dir = options->cache_dir,
                         .cache_salt = compiler, .progress = options->progress};
    CgProgram *program;
    HD_TRY(check_numerics(module, target, options));
    HD_TRY(compiler_digest(compiler));
    HD_TRY(cg_compile(module, target, &codegen, &program));
    ir_graph_remove(module, ir_graph_find(module, "model")); // what is left is what was compiled
    CgModuleInfo info = {.model = file, .numerics = numerics_of(module, target)};
    HdStatus *status = cg_module_write(program, module, target, &info, out_module);
    cg_program_free(program);
    return status;
}

static HdStatus *make_dump_dir(const char *folder)
{
    struct stat info;
    if (!folder || !mkdir(folder, 0777) || (!stat(folder, &info) && S_ISDIR(info.st_mode) && !access(folder, W_OK))) return NULL;
    return hd_error(HD_IO, "--dump %s: cannot create or write this folder", folder);
}

static HdStatus *compile_for(const char *path, const HeddleCompileOptions *options, PassConfig *passes, HdBuf *out_module)
{
    GgufFile *file;
    IrModule *module;
    HD_TRY(make_dump_dir(options->dump_dir));
    HD_TRY(build_model(path, options, &file, &module));
    hd_log(options->log, HD_LOG_INFO, "compiling %s for %s", path, passes->target->name);
    HdStatus *status = run_passes(options, passes, module);
    if (options->model) status = hd_annotate(status, "%s", path);
    if (!status) status = generate(file, module, passes->target, options, out_module);
    ir_module_free(module);
    gguf_close(file);
    return status;
}

// Each target as if it were the only one, then all in one file. Dumps go to a folder for each.
static HdStatus *compile_variants(const char *path, const HeddleCompileOptions *options, Setup *setup, HdBuf *out_module)
{
    HdBuf modules[RT_MAX_VARIANTS] = {0};
    HdStatus *status = make_dump_dir(options->dump_dir);
    for (uint32_t i = 0; i < setup->target_count && !status; i++) {
        HeddleCompileOptions one = *options;
        if (one.dump_dir) one.dump_dir = hd_arena_printf(&setup->arena, "%s/" RT_TENSOR_VARIANT, options->dump_dir, i + 1);
        setup->passes.target = &setup->targets[i];
        status = compile_for(path, &one, &setup->passes, &modules[i]);
    }
    if (!status) status = cg_module_join(modules, setup->target_count, out_module);
    for (uint32_t i = 0; i < setup->target_count; i++) hd_buf_free(&modules[i]);
    return status;
}

HdStatus *heddle_compile(const char *path, const HeddleCompileOptions *options, HdBuf *out_module)
{
    Setup setup;
    HD_TRY(make_setup(options, &setup));
    HdStatus *status = setup.target_count > 1 ? compile_variants(path, options, &setup, out_module)
                                              : compile_for(path, options, &setup.passes, out_module);
    hd_arena_free(&setup.arena);
    return status;
}

// ---- the key ----------------------------------------------------------------------------------------------------

static HdStatus *machine_parts(const Setup *setup, HdBuf *out_text)
{
    HdStatus *status = NULL;
    for (uint32_t i = 0; i < setup->target_count && !status; i++) status = cg_machine_part(&setup->targets[i], out_text);
    return status;
}

HdStatus *heddle_compile_key(const char *path, const HeddleCompileOptions *options, HdDigest *out_key)
{
    Setup setup;
    GgufFile *file;
    char compiler[33];
    HdBuf machine = {0};
    GgufOptions header_only = {.header_only = true};
    HD_TRY(compiler_digest(compiler));
    HD_TRY(make_setup(options, &setup));
    HdStatus *status = machine_parts(&setup, &machine);
    if (!status) status = gguf_open(path, &header_only, &file);
    if (!status) {
        HdHasher *hasher = hd_hasher_new();
        gguf_hash_header(file, hasher);
        gguf_close(file);
        hd_hasher_text(hasher, compiler);
        hd_hasher_text(hasher, machine.data);
        pass_hash_loaded(hasher);
        for (uint32_t i = 0; i < setup.target_count; i++) {
            hd_hasher_text(hasher, setup.targets[i].name);
            hd_hasher_add(hasher, &setup.targets[i].most_lanes, sizeof setup.targets[i].most_lanes); // which may refuse
            hd_hasher_add(hasher, &setup.targets[i].most_shared, sizeof setup.targets[i].most_shared);
            hd_hasher_add(hasher, &setup.targets[i].most_buffer, sizeof setup.targets[i].most_buffer);
            hd_hasher_text(hasher, options->passes ? options->passes : pass_default_pipeline(&setup.targets[i]));
        }
        for (size_t i = 0; i < setup.passes.set_count; i++) hd_hasher_text(hasher, setup.sets[i]);
        for (size_t i = 0; i < options->require_count; i++) hd_hasher_text(hasher, "require"), hd_hasher_text(hasher, options->requires[i]);
        hd_hasher_text(hasher, options->kv_type);
        hd_hasher_text(hasher, options->numerics); // "ordered" may be refused
        hd_hasher_text(hasher, options->probes ? "probes" : "");
        *out_key = hd_hasher_finish(hasher);
    }
    hd_buf_free(&machine);
    hd_arena_free(&setup.arena);
    return status;
}

// ---- the interpreter -------------------------------------------------------------------------------------------

HdStatus *heddle_interpret(const char *path, const HeddleCompileOptions *options, const int32_t *tokens, uint32_t count,
                           float **out_logits, uint32_t *out_vocab)
{
    GgufFile *file;
    IrModule *module;
    HD_TRY(gguf_open(path, NULL, &file));
    ModelOptions model = {.kv = kv_of(options)};
    HdStatus *status = model_build(file, &model, &module);
    if (!status) {
        IrWeights weights = {file, ir_weights_from_gguf};
        IrInterp *interp = ir_interp_new(&weights, 1, 1, count);
        int32_t segment[8] = {0, 0, 0, (int32_t)count, 0, 0, 0, 0};
        int32_t *rows = hd_xmalloc(count * sizeof *rows);
        for (uint32_t i = 0; i < count; i++) rows[i] = (int32_t)i;
        IrCall call = {tokens, count, segment, 1, rows, count};
        uint64_t values = 0;
        status = ir_interp_run(interp, ir_graph_find(module, "model"), &call);
        const float *logits = status ? NULL : ir_interp_result(interp, "logits", &values);
        if (logits) {
            *out_logits = hd_xmalloc(values * sizeof **out_logits);
            memcpy(*out_logits, logits, values * sizeof **out_logits);
            *out_vocab = (uint32_t)(values / count);
        }
        free(rows);
        ir_interp_free(interp);
        ir_module_free(module);
    }
    gguf_close(file);
    return status;
}

void heddle_compiler_version(HdBuf *out_text) { hd_buf_printf(out_text, "compiler: %s; back ends: cpu, vulkan, cuda", cg_compiler_version()); }
