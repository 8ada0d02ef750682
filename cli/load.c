// SPDX-License-Identifier: Apache-2.0
// From options to a model that is ready to run: weights, module (given, cached, or compiled now), packed copies.
#include "cli/cli.h"
#include "cli/progress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

HdStatus *cli_read_text(const char *path, HdBuf *out_text)
{
    char part[65536];
    if (strcmp(path, "-")) return hd_read_file(path, out_text);
    for (size_t n; (n = fread(part, 1, sizeof part, stdin)) > 0;) hd_buf_bytes(out_text, part, n);
    return ferror(stdin) ? hd_error(HD_IO, "standard input could not be read") : NULL;
}

// What is compiled without a target is for the device that is asked for: the processor, or (a number, a part of a name) a Vulkan device.
static const char *target_of(const CliOptions *options)
{
    if (options->target || !options->device) return options->target;
    bool processor = !strcmp(options->device, "cpu") || !strcmp(options->device, "null");
    return processor ? NULL : "vulkan";
}

HeddleCompileOptions cli_compile_options(const CliOptions *options)
{
    return (HeddleCompileOptions){.target = target_of(options),
                                  .devices = options->devices,
                                  .device_count = options->device_count,
                                  .loads = options->load_pass.items,
                                  .load_count = options->load_pass.count,
                                  .passes = options->passes,
                                  .sets = options->set.items,
                                  .set_count = options->set.count,
                                  .kv_type = options->kv_type,
                                  .layout = options->layout,
                                  .activations = options->act,
                                  .numerics = options->numerics,
                                  .requires = options->require.items,
                                  .require_count = options->require.count,
                                  .model = options->model,
                                  .start_from = options->start_from,
                                  .dump_dir = options->dump,
                                  .jobs = options->jobs == CLI_UNSET ? 0 : (uint32_t)options->jobs,
                                  .progress = progress_compiling,
                                  .log = &options->log};
}

HeddleSessionOptions cli_session_options(const CliOptions *options)
{
    HeddleSessionOptions session = {0};
    if (options->threads != CLI_UNSET) session.threads = (uint32_t)options->threads;
    if (options->ctx_size != CLI_UNSET) session.context = options->ctx_size ? options->ctx_size : HEDDLE_CONTEXT_MODEL;
    if (options->batch_size != CLI_UNSET) session.tokens_per_call = (uint32_t)options->batch_size;
    return session;
}

// Options that decide what is compiled say nothing to a module that is compiled already.
static HdStatus *check_module_options(const CliOptions *options)
{
    const struct {
        const char *name;
        bool given;
    } compile[] = {{"--target", options->target},
                   {"--load-pass", options->load_pass.count > 0},
                   {"--passes", options->passes || options->passes_.count > 0},
                   {"--set", options->set.count > 0},
                   {"--kv-type", options->kv_type},
                   {"--act", options->act},
                   {"--require", options->require.count > 0}};
    for (size_t i = 0; i < HD_COUNT(compile); i++)
        if (compile[i].given)
            return hd_error(HD_USAGE, "%s has no effect on --module %s, which is compiled already: leave out one of the two",
                            compile[i].name, options->module);
    return NULL;
}

// --numerics is a demand that a compiled module meets or does not.
static HdStatus *check_module_numerics(const CliOptions *options, const HeddleModuleInfo *info)
{
    if (!options->numerics || !strcmp(options->numerics, info->numerics)) return NULL;
    return hd_error(HD_MISMATCH, "%s: its numerics are %s, %s are asked for: heddle compile %s --numerics %s -o %s", info->path,
                    info->numerics, options->numerics, options->operand, options->numerics, info->path);
}

// What is compiled here runs here.
static HdStatus *check_one_target(const CliOptions *options)
{
    if (!options->target || !strchr(options->target, ',')) return NULL;
    return hd_error(HD_USAGE, "--target %s: a list of targets is for `heddle compile`; name one", options->target);
}

// A module that is kept nowhere.
static HdStatus *compile_once(const CliOptions *options, const HeddleCompileOptions *compile, HeddleModule **out_module)
{
    HdBuf module = {0};
    HdStatus *status = compiler_compile_apart(options->operand, compile, &module);
    if (!status) status = heddle_module_open_memory("the compiled module", module.data, module.len, out_module);
    hd_buf_free(&module);
    return status;
}

// IO when the entry stays, so that the next to compile would be led to it again.
static HdStatus *remove_damaged(const CliOptions *options, const char *path, HdStatus *damage)
{
    hd_log(&options->log, HD_LOG_INFO, "cache: %s; compiling again", hd_status_message(damage));
    hd_status_free(damage);
    return !unlink(path) || errno == ENOENT ? NULL : hd_error(HD_IO, "%s: cannot remove: %s", path, strerror(errno));
}

// The cached module; a damaged entry is removed and compiled again.
static HdStatus *open_cached(const CliOptions *options, const HeddleCompileOptions *compile, HeddleModule **out_module)
{
    HdBuf path = {0};
    char shortcut[33];
    HdStatus *status = NULL;
    shortcut_name(options->operand, compile, shortcut);
    if (!shortcut_find(compile->cache_dir, shortcut, &path))
        status = compiler_cache_apart(options->operand, compile, shortcut, &path);
    if (!status) {
        status = heddle_module_open(path.data, out_module);
        if (status) {
            status = remove_damaged(options, path.data, status);
            hd_buf_free(&path);
            if (!status) status = compiler_cache_apart(options->operand, compile, shortcut, &path);
            if (!status) status = heddle_module_open(path.data, out_module);
        }
    }
    hd_buf_free(&path);
    return status;
}

HdStatus *cli_open_module(const CliOptions *options, const HeddleCompileOptions *compile, HeddleModule **out_module)
{
    if (options->module) {
        HeddleModuleInfo info;
        HD_TRY(check_module_options(options));
        HD_TRY(heddle_module_open(options->module, out_module));
        heddle_module_info(*out_module, &info);
        HdStatus *status = check_module_numerics(options, &info);
        if (status) return heddle_module_close(*out_module), *out_module = NULL, status;
        hd_log(&options->log, HD_LOG_DEBUG, "%s: variant %u of %u, %s", info.path, info.variant, info.variants, info.target);
        return NULL;
    }
    HD_TRY(check_one_target(options));
    HdBuf folder = {0};
    if (options->no_cache) return compile_once(options, compile, out_module);
    HdStatus *status = cache_folder(&folder);
    HeddleCompileOptions cached = *compile;
    cached.cache_dir = folder.data;
    if (!status) status = open_cached(options, &cached, out_module);
    if (hd_status_code(status) == HD_IO) { // without a place for a cache the work is only slower
        hd_log(&options->log, HD_LOG_WARNING, "%s; compiling without a cache", hd_status_message(status));
        hd_status_free(status);
        status = compile_once(options, compile, out_module);
    }
    hd_buf_free(&folder);
    return status;
}

static void log_line(void *user, int level, const char *line) { hd_log(user, (HdLogLevel)level, "%s", line); }

static HeddleModelOptions model_options(const CliOptions *options)
{
    HeddleModelOptions model = {
        .pack_path = options->pack, .device = options->device, .log = log_line, .progress = progress_packing, .log_user = (void *)&options->log};
    if (options->threads != CLI_UNSET) model.threads = (uint32_t)options->threads;
    if (options->layout && !strcmp(options->layout, "packed")) model.layout = HEDDLE_LAYOUT_PACKED;
    if (options->layout && !strcmp(options->layout, "native")) model.layout = HEDDLE_LAYOUT_NATIVE;
    return model;
}

// --layout auto: where packed copies do not fit, the model is compiled once more for the mapped rows.
static bool falls_back(const CliOptions *options, uint64_t packed_bytes, const HdStatus *status)
{
    if (hd_status_code(status) != HD_NO_MEMORY || options->module) return false;
    return packed_bytes && (!options->layout || !strcmp(options->layout, "auto"));
}

// What a GPU does not heed is said.
static void tell_unheeded(const CliOptions *options, const HeddleModuleInfo *info)
{
    if (options->threads == CLI_UNSET || !strncmp(info->target, "cpu:", 4)) return;
    hd_log(&options->log, HD_LOG_WARNING, "-t %lld has no effect on a module for %s", (long long)options->threads, info->target);
}

HdStatus *cli_open(const CliOptions *options, const HeddleCompileOptions *compile, CliModel *out_model)
{
    *out_model = (CliModel){0};
    HD_TRY(heddle_weights_open(options->operand, options->strict, &out_model->weights));
    return cli_open_module(options, compile, &out_model->module);
}

HdStatus *cli_create(const CliOptions *options, const HeddleCompileOptions *compile, CliModel *model)
{
    HeddleModelOptions how = model_options(options);
    HeddleModuleInfo info;
    heddle_module_info(model->module, &info);
    tell_unheeded(options, &info);
    HdStatus *status = heddle_model_create(model->module, model->weights, &how, &model->model);
    progress_end();
    if (!falls_back(options, info.packed_bytes, status)) return status;
    hd_log(&options->log, HD_LOG_WARNING, "%s; using the rows as they are mapped (--layout native), which is slower",
           hd_status_message(status));
    hd_status_free(status);
    HeddleCompileOptions native = *compile;
    native.layout = "native";
    heddle_module_close(model->module);
    model->module = NULL;
    HD_TRY(cli_open_module(options, &native, &model->module));
    return heddle_model_create(model->module, model->weights, &how, &model->model);
}

HdStatus *cli_load(const CliOptions *options, const HeddleCompileOptions *compile, CliModel *out_model)
{
    HdStatus *status = cli_open(options, compile, out_model);
    if (!status) status = cli_create(options, compile, out_model);
    if (status) cli_unload(out_model);
    return status;
}

void cli_unload(CliModel *model)
{
    heddle_model_free(model->model);
    heddle_module_close(model->module);
    heddle_weights_close(model->weights);
    *model = (CliModel){0};
}
