// SPDX-License-Identifier: Apache-2.0
// What is known of devices: those in figures.def, and files that `heddle calibrate` makes.
#include "passes/workbench/workbench.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name, *doc;
    double low, high;
} figures[WB_FIGURE_COUNT] = {
#define FIGURE(name, low, high, doc) {#name, doc, low, high},
#include "passes/workbench/figures.def"
#undef FIGURE
};
static const struct {
    const char *id, *name;
} devices[] = {
#define DEVICE(id, name) {#id, name},
#include "passes/workbench/figures.def"
#undef DEVICE
};
static const struct {
    const char *id;
    WbFigure figure;
    double value;
    const char *source;
} known[] = {
#define DEVICE_FIGURE(id, figure, value, source) {#id, WB_FIGURE_##figure, value, source},
#include "passes/workbench/figures.def"
#undef DEVICE_FIGURE
};

static HdStatus *check_complete(const char *path, const WbDevice *device)
{
    for (int f = WB_FIGURE_memory_gb_per_s; f <= WB_FIGURE_gflops; f++)
        if (!(device->value[f] > 0)) return hd_error(HD_BAD_DATA, "%s: %s is missing: %s", path, figures[f].name, figures[f].doc);
    return NULL;
}

static HdStr trim(HdStr text)
{
    while (text.len && strchr(" \t\r", text.data[0])) text.data++, text.len--;
    while (text.len && strchr(" \t\r", text.data[text.len - 1])) text.len--;
    return text;
}

// "figure = value # source"; a figure without a source is worth nothing.
static HdStatus *read_figure(HdStr name, HdStr rest, WbDevice *device)
{
    const char *hash = rest.len ? memchr(rest.data, '#', rest.len) : NULL;
    HdStr value = trim((HdStr){rest.data, hash ? (size_t)(hash - rest.data) : rest.len});
    HdStr source = hash ? trim((HdStr){hash + 1, rest.len - (size_t)(hash + 1 - rest.data)}) : (HdStr){"", 0};
    for (int f = 0; f < WB_FIGURE_COUNT; f++) {
        if (!hd_str_is(name, figures[f].name)) continue;
        if (!hd_parse_f64(value, &device->value[f]) || !(device->value[f] >= figures[f].low && device->value[f] <= figures[f].high))
            return hd_error(HD_BAD_DATA, "%s = " HD_STR_FMT ": expected a number from %g to %g: %s", figures[f].name, HD_STR_ARG(value), figures[f].low,
                            figures[f].high, figures[f].doc);
        if (!hd_str_starts(source, "measured") && !hd_str_starts(source, "data sheet"))
            return hd_error(HD_BAD_DATA, "%s: its source is missing; expected \"# measured: ..\" or \"# data sheet: ..\" behind the number", figures[f].name);
        snprintf(device->source[f], sizeof device->source[f], "%.*s", (int)HD_MIN(source.len, sizeof device->source[f] - 1), source.data);
        return NULL;
    }
    HdBuf names = {0};
    for (int f = 0; f < WB_FIGURE_COUNT; f++) hd_buf_printf(&names, ", %s", figures[f].name);
    HdStatus *status = hd_error(HD_BAD_DATA, "there is no figure \"" HD_STR_FMT "\"; there are name%s", HD_STR_ARG(name), names.data);
    hd_buf_free(&names);
    return status;
}

static HdStatus *read_line(HdStr line, WbDevice *device)
{
    HdStr text = trim(line);
    const char *equal = text.len ? memchr(text.data, '=', text.len) : NULL;
    if (!text.len || text.data[0] == '#') return NULL;
    if (!equal) return hd_error(HD_BAD_DATA, "expected NAME = VALUE # SOURCE, found \"" HD_STR_FMT "\"", HD_STR_ARG(text));
    HdStr name = trim((HdStr){text.data, (size_t)(equal - text.data)}), rest = {equal + 1, text.len - (size_t)(equal + 1 - text.data)};
    if (!hd_str_is(name, "name")) return read_figure(name, rest, device);
    rest = trim(rest);
    snprintf(device->name, sizeof device->name, "%.*s", (int)HD_MIN(rest.len, sizeof device->name - 1), rest.data);
    return NULL;
}

static HdStatus *read_file(const char *path, WbDevice *device)
{
    HdBuf file = {0};
    HD_TRY(hd_read_file(path, &file));
    HdStatus *status = NULL;
    unsigned number = 1;
    snprintf(device->name, sizeof device->name, "%s", path);
    for (size_t at = 0; at < file.len && !status; number++) {
        const char *end = memchr(file.data + at, '\n', file.len - at);
        size_t len = end ? (size_t)(end - file.data) - at : file.len - at;
        status = hd_annotate(read_line((HdStr){file.data + at, len}, device), "%s:%u", path, number);
        at += len + 1;
    }
    hd_buf_free(&file);
    return status ? status : check_complete(path, device);
}

HdStatus *wb_device(const char *name, WbDevice *out_device)
{
    HdBuf names = {0};
    *out_device = (WbDevice){0};
    for (size_t i = 0; i < HD_COUNT(devices); i++) {
        hd_buf_printf(&names, "%s%s", i ? ", " : "", devices[i].id);
        if (strcmp(name, devices[i].id) != 0) continue;
        snprintf(out_device->name, sizeof out_device->name, "%s", devices[i].name);
        for (size_t k = 0; k < HD_COUNT(known); k++) {
            if (strcmp(known[k].id, name) != 0) continue;
            out_device->value[known[k].figure] = known[k].value;
            snprintf(out_device->source[known[k].figure], sizeof out_device->source[0], "%s", known[k].source);
        }
    }
    bool found = out_device->name[0] != 0;
    HdStatus *status = found ? NULL : read_file(name, out_device);
    if (hd_status_code(status) == HD_NOT_FOUND) {
        hd_status_free(status);
        status = hd_error(HD_USAGE, "--device-file %s: no such file, and no known device; these are %s", name, names.data);
    }
    hd_buf_free(&names);
    return status;
}

const char *wb_figure_name(WbFigure figure) { return figures[figure].name; }

// A roof for each operation: the slower of memory and arithmetic; then what launches and stages take by themselves.
double wb_predict(const WbDevice *device, const IrGraph *graph, const IrBinding *at, WbSeconds *out_each)
{
    double bytes = 0, seconds = 0;
    int32_t stages = 0, launches = 0;
    IR_FOR_OPS(graph, 0, ref)
    {
        IrCost cost = ir_op_cost(graph, ref, at);
        bytes += cost.bytes_read + cost.bytes_written;
        launches += ir_op_info(ir_op(graph, ref)->kind)->role != IR_ROLE_VIEW;
        stages = HD_MAX(stages, ir_op(graph, ref)->stage + 1);
    }
    bool cached = device->value[WB_FIGURE_cache_gb_per_s] > 0 && bytes <= device->value[WB_FIGURE_cache_mb] * 1e6;
    double rate = device->value[cached ? WB_FIGURE_cache_gb_per_s : WB_FIGURE_memory_gb_per_s] * 1e9;
    IR_FOR_OPS(graph, 0, ref)
    {
        IrCost cost = ir_op_cost(graph, ref, at);
        double roof = fmax((cost.bytes_read + cost.bytes_written) / rate, cost.flops / (device->value[WB_FIGURE_gflops] * 1e9));
        if (out_each) hd_vec_push(out_each, roof);
        seconds += roof;
    }
    return seconds + (launches * device->value[WB_FIGURE_launch_us] + (stages ? stages : launches) * device->value[WB_FIGURE_barrier_us]) * 1e-6;
}
