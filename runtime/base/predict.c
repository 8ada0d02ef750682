// SPDX-License-Identifier: Apache-2.0
// What is known of devices, those in figures.def and files that `heddle calibrate` makes, and the times that follow from it.
#include "runtime/base/predict.h"

#include <math.h>
#include <string.h>

typedef struct Figure {
    const char *name, *doc;
    double low, high;
} Figure;
static const Figure figures[HD_FIGURE_COUNT] = {
#define FIGURE(name, low, high, doc) {#name, doc, low, high},
#include "runtime/base/figures.def"
#undef FIGURE
};
static const Figure kernel_figures[HD_KERNEL_FIGURE_COUNT] = {
#define KERNEL_FIGURE(name, low, high, doc) {#name, doc, low, high},
#include "runtime/base/figures.def"
#undef KERNEL_FIGURE
};
static const struct {
    const char *id, *name;
} devices[] = {
#define DEVICE(id, name) {#id, name},
#include "runtime/base/figures.def"
#undef DEVICE
};
static const struct {
    const char *id;
    HdFigure figure;
    double value;
    const char *source;
} known[] = {
#define DEVICE_FIGURE(id, figure, value, source) {#id, HD_FIGURE_##figure, value, source},
#include "runtime/base/figures.def"
#undef DEVICE_FIGURE
};

static HdStatus *check_complete(const char *path, const HdFigures *device)
{
    for (int f = HD_FIGURE_memory_gb_per_s; f <= HD_FIGURE_gflops; f++)
        if (!(device->value[f] > 0)) return hd_error(HD_BAD_DATA, "%s: %s is missing: %s", path, figures[f].name, figures[f].doc);
    return NULL;
}

static HdStr trim(HdStr text)
{
    while (text.len && strchr(" \t\r", text.data[0])) text.data++, text.len--;
    while (text.len && strchr(" \t\r", text.data[text.len - 1])) text.len--;
    return text;
}

typedef struct Line { HdStr name, value, source; } Line;

static HdStatus *take_value(const Figure *figure, const Line *line, double *out_value)
{
    if (!hd_parse_f64(line->value, out_value) || !(*out_value >= figure->low && *out_value <= figure->high))
        return hd_error(HD_BAD_DATA, HD_STR_FMT " = " HD_STR_FMT ": expected a number from %g to %g: %s", HD_STR_ARG(line->name), HD_STR_ARG(line->value),
                        figure->low, figure->high, figure->doc);
    if (!hd_str_starts(line->source, "measured") && !hd_str_starts(line->source, "data sheet"))
        return hd_error(HD_BAD_DATA, HD_STR_FMT ": its source is missing; expected \"# measured: ..\" or \"# data sheet: ..\" behind the number",
                        HD_STR_ARG(line->name));
    return NULL;
}

static const Figure *find_figure(const Figure *list, int count, HdStr name)
{
    for (int f = 0; f < count; f++)
        if (hd_str_is(name, list[f].name)) return &list[f];
    return NULL;
}

// says: how the list of those that there are begins.
static HdStatus *no_figure(const Figure *list, int count, const char *says, HdStr name)
{
    HdBuf names = {0};
    for (int f = 0; f < count; f++) hd_buf_printf(&names, "%s%s", f ? ", " : "", list[f].name);
    HdStatus *status = hd_error(HD_BAD_DATA, "there is no figure \"" HD_STR_FMT "\"; %s%s", HD_STR_ARG(name), says, names.data);
    hd_buf_free(&names);
    return status;
}

static const HdKernelFigures *find_kernel(const HdFigures *device, const char *name)
{
    for (uint32_t i = 0; i < device->kernel_count; i++)
        if (!strcmp(device->kernels[i].name, name)) return &device->kernels[i];
    return NULL;
}

// "kernel.figure"; the kernel gets a place when it has none.
static HdStatus *read_kernel_figure(const Line *line, const char *dot, HdFigures *device)
{
    size_t len = (size_t)(dot - line->name.data);
    HdStr name = {dot + 1, line->name.len - len - 1};
    const Figure *figure = find_figure(kernel_figures, HD_KERNEL_FIGURE_COUNT, name);
    char kernel[HD_KERNEL_NAME];
    if (!figure) return no_figure(kernel_figures, HD_KERNEL_FIGURE_COUNT, "those of kernels are ", name);
    if (!len || len >= sizeof kernel) return hd_error(HD_BAD_DATA, HD_STR_FMT ": expected the name of a kernel before the dot", HD_STR_ARG(line->name));
    snprintf(kernel, sizeof kernel, "%.*s", (int)len, line->name.data);
    HdKernelFigures *found = (HdKernelFigures *)find_kernel(device, kernel);
    if (!found && device->kernel_count == HD_MOST_KERNELS) return hd_error(HD_LIMIT, "figures of more than %d kernels", HD_MOST_KERNELS);
    if (!found) {
        found = &device->kernels[device->kernel_count++];
        memcpy(found->name, kernel, sizeof kernel);
    }
    return take_value(figure, line, &found->value[figure - kernel_figures]);
}

static HdStatus *read_figure(const Line *line, HdFigures *device)
{
    const char *dot = memchr(line->name.data, '.', line->name.len);
    if (dot) return read_kernel_figure(line, dot, device);
    const Figure *figure = find_figure(figures, HD_FIGURE_COUNT, line->name);
    if (!figure) return no_figure(figures, HD_FIGURE_COUNT, "there are name, ", line->name);
    size_t f = (size_t)(figure - figures);
    HD_TRY(take_value(figure, line, &device->value[f]));
    snprintf(device->source[f], sizeof device->source[f], "%.*s", (int)HD_MIN(line->source.len, sizeof device->source[f] - 1), line->source.data);
    return NULL;
}

// "figure = value # source"; a figure without a source is worth nothing.
static HdStatus *read_line(HdStr line, HdFigures *device)
{
    HdStr text = trim(line);
    const char *equal = text.len ? memchr(text.data, '=', text.len) : NULL;
    if (!text.len || text.data[0] == '#') return NULL;
    if (!equal) return hd_error(HD_BAD_DATA, "expected NAME = VALUE # SOURCE, found \"" HD_STR_FMT "\"", HD_STR_ARG(text));
    HdStr name = trim((HdStr){text.data, (size_t)(equal - text.data)}), rest = trim((HdStr){equal + 1, text.len - (size_t)(equal + 1 - text.data)});
    if (hd_str_is(name, "name")) {
        snprintf(device->name, sizeof device->name, "%.*s", (int)HD_MIN(rest.len, sizeof device->name - 1), rest.data);
        return NULL;
    }
    const char *hash = rest.len ? memchr(rest.data, '#', rest.len) : NULL;
    size_t len = hash ? (size_t)(hash - rest.data) : rest.len;
    Line parts = {name, trim((HdStr){rest.data, len}), hash ? trim((HdStr){hash + 1, rest.len - len - 1}) : (HdStr){"", 0}};
    return read_figure(&parts, device);
}

static HdStatus *read_file(const char *path, HdFigures *device)
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

HdStatus *hd_figures(const char *name, HdFigures *out_device)
{
    HdBuf names = {0};
    *out_device = (HdFigures){0};
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

const char *hd_figure_name(HdFigure figure) { return figures[figure].name; }

const char *hd_kernel_figure_name(HdKernelFigure figure) { return kernel_figures[figure].name; }

// ---- times -------------------------------------------------------------------------------------------------------

HdFigure hd_peak_of(const char *kernel)
{
    return strstr(kernel, "_q8a") ? HD_FIGURE_int8_gops : strstr(kernel, "_bf16_bf16") ? HD_FIGURE_bf16_gops : HD_FIGURE_gflops;
}

static double peak_gops(const HdFigures *device, const char *kernel)
{
    HdFigure peak = hd_peak_of(kernel);
    return device->value[peak] > 0 ? device->value[peak] : device->value[HD_FIGURE_gflops];
}

static double roof(const HdFigures *device, const HdWork *work, double step_bytes)
{
    bool cached = device->value[HD_FIGURE_cache_gb_per_s] > 0 && step_bytes <= device->value[HD_FIGURE_cache_mb] * 1e6;
    double rate = device->value[cached ? HD_FIGURE_cache_gb_per_s : HD_FIGURE_memory_gb_per_s], gops = peak_gops(device, work->kernel);
    double seconds = fmax(work->bytes / rate, gops > 0 ? work->flops / gops : 0) * 1e-9;
    return seconds + work->launches * device->value[HD_FIGURE_launch_us] * 1e-6;
}

// 0: all of the step comes from a cache, 1: from memory.
static double uncached_share(const HdFigures *device, double step_bytes)
{
    double low = device->value[HD_FIGURE_cached_mb] * 1e6, high = device->value[HD_FIGURE_uncached_mb] * 1e6;
    if (!(low > 0 && high > low)) return 1;
    return fmin(fmax(log(step_bytes / low) / log(high / low), 0), 1);
}

// Nanoseconds of an operation or a byte of one token's launch.
static double one_ns(const HdFigures *device, const double *value, bool operations, double step_bytes)
{
    double many = 1 / value[operations ? HD_KERNEL_FIGURE_gops : HD_KERNEL_FIGURE_gb_per_s];
    double one = value[operations ? HD_KERNEL_FIGURE_one_gops : HD_KERNEL_FIGURE_one_gb_per_s], cached = value[HD_KERNEL_FIGURE_cached_gops];
    double slow = one > 0 ? 1 / one : many, fast = operations && cached > 0 ? 1 / cached : slow, share = uncached_share(device, step_bytes);
    return share * slow + (1 - share) * fast;
}

double hd_work(const char *kernel, double amount, double tokens) { return strcmp(kernel, "attention") ? amount : amount * tokens; }

double hd_predict(const HdFigures *device, const HdWork *work, double step_bytes)
{
    const HdKernelFigures *kernel = find_kernel(device, work->kernel);
    const double *value = kernel ? kernel->value : NULL;
    bool operations = kernel && value[HD_KERNEL_FIGURE_gops] > 0;
    if (!kernel || !(operations || value[HD_KERNEL_FIGURE_gb_per_s] > 0)) return roof(device, work, step_bytes);
    double many = 1 / value[operations ? HD_KERNEL_FIGURE_gops : HD_KERNEL_FIGURE_gb_per_s], amount = hd_work(work->kernel, operations ? work->flops : work->bytes, work->tokens);
    double ns = amount * many + amount / HD_MAX(work->tokens, 1) * (one_ns(device, value, operations, step_bytes) - many);
    return ns * 1e-9 + work->launches * value[HD_KERNEL_FIGURE_launch_us] * 1e-6;
}

double hd_predict_waiting(const HdFigures *device, double stages)
{
    return device->kernel_count ? 0 : stages * device->value[HD_FIGURE_barrier_us] * 1e-6;
}
