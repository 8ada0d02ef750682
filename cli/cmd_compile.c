// SPDX-License-Identifier: Apache-2.0
// heddle compile, heddle targets
#include "cli/cli.h"
#include "cli/progress.h"
#include "runtime/device/facts.h"

#include <stdlib.h>
#include <string.h>

// The packed weights beside the module: "M.hdl" -> "M.pack.gguf".
static HdStatus *write_pack(const CliOptions *options)
{
    HdBuf path = {0};
    CliModel model = {0};
    size_t len = strlen(options->output);
    if (len > 4 && !strcmp(options->output + len - 4, ".hdl")) len -= 4;
    hd_buf_printf(&path, "%.*s.pack.gguf", (int)len, options->output);
    HdStatus *status = heddle_weights_open(options->model ? options->model : options->operand, options->strict, &model.weights);
    if (!status) status = heddle_module_open(options->output, &model.module);
    if (!status) status = heddle_model_create(model.module, model.weights, &(HeddleModelOptions){.progress = progress_packing}, &model.model);
    progress_end();
    if (!status) status = heddle_pack_save(model.model, path.data);
    if (!status) hd_log(&options->log, HD_LOG_INFO, "wrote %s", path.data);
    cli_unload(&model);
    hd_buf_free(&path);
    return status;
}

// What is for a graph in text form, or not.
static HdStatus *check_graph(const CliOptions *options)
{
    size_t len = strlen(options->operand);
    bool named = len > 4 && !strcmp(options->operand + len - 4, ".hir");
    if (named && !options->model) return hd_error(HD_USAGE, "%s: a graph in text form is compiled for the weights of a model; give --model MODEL.gguf", options->operand);
    if (options->start_from && !options->model) return hd_error(HD_USAGE, "--start-from is for a graph in text form, compiled with --model MODEL.gguf");
    if (options->kv_type && options->model) return hd_error(HD_USAGE, "--kv-type has no effect on a graph in text form, whose states have their types");
    return NULL;
}

HdStatus *cmd_compile(CliOptions *options)
{
    HeddleCompileOptions compile = cli_compile_options(options);
    HdBuf module = {0}, folder = {0};
    if (!options->output || !options->output[0]) return hd_error(HD_USAGE, "the module's name is missing; give -o MODULE.hdl");
    HD_TRY(check_graph(options));
    HD_TRY(compiler_check(&compile));
    bool by_hand = options->model || options->load_pass.count; // who knows what that does
    HdStatus *status = options->cached ? cache_folder(&folder) : NULL;
    compile.cache_dir = folder.data;
    if (!status) status = by_hand ? compiler_compile_apart(options->operand, &compile, &module) : compiler_compile(options->operand, &compile, &module);
    progress_end();
    if (options->cached) cache_trim(&options->log);
    hd_buf_free(&folder);
    HD_TRY(status);
    status = hd_write_file(options->output, module.data, module.len);
    if (!status) hd_log(&options->log, HD_LOG_INFO, "wrote %s, %zu bytes", options->output, module.len);
    hd_buf_free(&module);
    if (!status && options->pack_weights) status = write_pack(options);
    return status;
}

HdStatus *cmd_targets(CliOptions *options)
{
    HdBuf text = {0};
    RtFacts *list;
    uint32_t count;
    (void)options;
    rt_facts_all(&list, &count);
    HdStatus *status = compiler_list_targets(list, count, &text);
    if (!status) fputs(text.data, stdout);
    hd_buf_free(&text);
    free(list);
    return status;
}
