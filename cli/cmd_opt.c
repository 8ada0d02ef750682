// SPDX-License-Identifier: Apache-2.0
// heddle opt, heddle passes: passes over graphs, for those who work on passes. The habits are those of mlir-opt.
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A terminal that may be coloured (https://no-color.org).
static bool is_coloured(void)
{
    const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(STDOUT_FILENO) && (!no || !no[0]) && terminal && strcmp(terminal, "dumb") != 0;
}

static bool starts_gguf(const char *path)
{
    char magic[4] = "";
    FILE *file = fopen(path, "rb");
    bool gguf = file && fread(magic, 1, sizeof magic, file) == sizeof magic && !memcmp(magic, "GGUF", sizeof magic);
    if (file) fclose(file);
    return gguf;
}

// The text of a .hir file or of standard input; of a GGUF file nothing, since it is opened by its name.
static HdStatus *read_input(const char *path, HdBuf *out_text, const char **out_name)
{
    bool standard = !strcmp(path, "-");
    *out_name = standard ? "<stdin>" : path;
    if (!standard && starts_gguf(path)) return NULL;
    HD_TRY(cli_read_text(path, out_text));
    if (out_text->len >= 4 && !memcmp(out_text->data, "GGUF", 4))
        return hd_error(HD_USAGE, "a GGUF file on standard input: give its name instead");
    hd_buf_bytes(out_text, "", 0);   // an empty text is one
    return NULL;
}

static HeddleOptOptions opt_options(const CliOptions *options, const HdBuf *text, const char *name)
{
    return (HeddleOptOptions){.input = name, .text = text->data, .text_len = text->len, .target = options->target,
                              .devices = options->devices, .device_count = options->device_count, .kv_type = options->kv_type,
                              .loads = options->load_pass.items, .load_count = options->load_pass.count,
                              .passes = options->passes, .sets = options->set.items, .set_count = options->set.count,
                              .disabled = options->disable_pass.items, .disabled_count = options->disable_pass.count,
                              .start_from = options->start_from, .stop_after = options->stop_after, .class_name = options->class_,
                              .stage = options->stage, .layers = options->layers, .print_after = options->print_after.items,
                              .print_after_count = options->print_after.count, .requires = options->require.items,
                              .require_count = options->require.count, .explain = options->explain, .diff = options->diff,
                              .cost = options->cost, .timing = options->timing, .verify = options->verify, .bisect = options->bisect,
                              .model = options->model, .json = options->report_ && !strcmp(options->report_, "json"),
                              .colour = is_coloured(), .html = options->html, .dot = options->dot,
                              .context = options->ctx_size == CLI_UNSET ? 0 : options->ctx_size, .device = options->device_file};
}

static bool is_standard(const char *path) { return path && !strcmp(path, "-"); }

// Into a file, all of it or nothing, or to standard output.
static HdStatus *write_text(const char *path, const HdBuf *text)
{
    if (!is_standard(path)) return hd_write_file(path, text->data, text->len);
    fwrite(text->data, 1, text->len, stdout);
    return NULL;
}

// The graph goes to standard output where nothing else is asked for.
static HdStatus *write_result(const CliOptions *options, bool reports, const HeddleOptResult *result)
{
    if (options->html) HD_TRY(write_text(options->html, &result->html));
    if (options->dot) HD_TRY(write_text(options->dot, &result->dot));
    if (options->output) return write_text(options->output, &result->ir);
    return reports || options->html || options->dot ? NULL : write_text("-", &result->ir);
}

static HdStatus *check_outputs(const CliOptions *options, bool reports)
{
    int standard = is_standard(options->html) + is_standard(options->dot);
    if (!standard || standard + reports + is_standard(options->output) == 1) return NULL;
    return hd_error(HD_USAGE, "%s -: standard output gets something else too: give the name of a file", is_standard(options->html) ? "--html" : "--dot");
}

HdStatus *cmd_opt(CliOptions *options)
{
    HdBuf text = {0};
    HeddleOptResult result = {.ir = {0}};
    const char *name;
    HdStatus *status = read_input(options->operand, &text, &name);
    HeddleOptOptions opt = opt_options(options, &text, name);
    bool reports = opt.diff || opt.cost || opt.explain || opt.timing || opt.verify || opt.bisect || opt.json;
    if (!status) status = check_outputs(options, reports);
    if (!status) status = compiler_opt(&opt, &result);
    if (result.report.len) fwrite(result.report.data, 1, result.report.len, stdout);
    if (!status) status = write_result(options, reports, &result);
    hd_buf_free(&text);
    hd_buf_free(&result.ir);
    hd_buf_free(&result.report);
    hd_buf_free(&result.html);
    hd_buf_free(&result.dot);
    return status;
}

HdStatus *cmd_passes(CliOptions *options)
{
    HdBuf text = {0};
    HdStatus *status = compiler_passes(options->operand, options->load_pass.items, options->load_pass.count, is_coloured(), &text);
    if (!status) fwrite(text.data, 1, text.len, stdout);
    hd_buf_free(&text);
    return status;
}
