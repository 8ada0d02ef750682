// SPDX-License-Identifier: Apache-2.0
// --roofline: for each group of launches its time, what it moves and computes, and how near that is to what the machine can do.
#include "cli/limits.h"
#include "runtime/device/device.h"

#include <stdlib.h>
#include <string.h>

static Peak peak_of(const char *kernel)
{
    HdFigure peak = hd_peak_of(kernel);
    return peak == HD_FIGURE_int8_gops ? PEAK_INT8 : peak == HD_FIGURE_bf16_gops ? PEAK_BF16 : PEAK_F32;
}

static const char *bound_of(const RooflineRow *row)
{
    double waiting = 1 - row->busy;
    if (HD_MAX(HD_MAX(row->of_read, row->of_peak), waiting) < 0.5) return "instructions";
    if (waiting > HD_MAX(row->of_read, row->of_peak)) return "waiting";
    return row->of_read > row->of_peak ? "memory" : "arithmetic";
}

static RooflineRow row_of(const HeddleKernelTime *time, const Limits *limits, double seconds, double threads)
{
    RooflineRow row = {.time = *time};
    double peak = time->kernel ? limits->gops[peak_of(time->kernel)] : 0;
    row.share = seconds > 0 ? time->seconds / seconds : 0;
    if (time->seconds > 0) {
        row.busy = time->thread_seconds / (time->seconds * threads);
        row.gb_per_s = time->bytes / time->seconds * 1e-9, row.gops = time->flops / time->seconds * 1e-9;
    }
    row.of_read = limits->read_gb_per_s > 0 ? row.gb_per_s / limits->read_gb_per_s : 0;
    row.of_peak = peak > 0 ? row.gops / peak : 0;
    row.bound = time->kernel ? bound_of(&row) : "";
    return row;
}

static int by_time(const void *a, const void *b)
{
    double left = ((const RooflineRow *)a)->time.seconds, right = ((const RooflineRow *)b)->time.seconds;
    return left < right ? 1 : left > right ? -1 : 0;
}

// The session's texts end with it.
static void keep_texts(HdArena *arena, HeddleKernelTime *time)
{
    const char **texts[] = {&time->step_class, &time->kernel, &time->weights};
    for (size_t i = 0; i < HD_COUNT(texts); i++) *texts[i] = hd_arena_strndup(arena, *texts[i], strlen(*texts[i]));
}

HdFigures roofline_figures(const Limits *limits)
{
    return (HdFigures){.value = {[HD_FIGURE_memory_gb_per_s] = limits->read_gb_per_s, [HD_FIGURE_gflops] = limits->gops[PEAK_F32],
                                 [HD_FIGURE_int8_gops] = limits->gops[PEAK_INT8], [HD_FIGURE_bf16_gops] = limits->gops[PEAK_BF16]}};
}

void roofline_take(const HeddleSession *session, const Limits *limits, const HdFigures *figures, Roofline *out_roofline)
{
    uint32_t count;
    double threads = heddle_session_threads(session);
    HeddleKernelTime sum = {0};
    const HeddleKernelTime *times = heddle_kernel_times(session, &count, &out_roofline->seconds);
    double *predicted = hd_xcalloc(count + 1, sizeof *predicted);
    predicted[count] = hd_can_predict(figures) ? rt_predict_rows(figures, times, count, predicted) : 0;
    for (uint32_t i = 0; i < count; i++) {
        sum.launches += times[i].launches, sum.seconds += times[i].seconds, sum.thread_seconds += times[i].thread_seconds;
        sum.bytes += times[i].bytes, sum.flops += times[i].flops;
        hd_vec_push(&out_roofline->rows, row_of(&times[i], limits, out_roofline->seconds, threads));
        out_roofline->rows.data[i].predicted = predicted[i];
        keep_texts(&out_roofline->arena, &out_roofline->rows.data[i].time);
    }
    if (count) qsort(out_roofline->rows.data, count, sizeof(RooflineRow), by_time);
    hd_vec_push(&out_roofline->rows, row_of(&sum, limits, out_roofline->seconds, threads));
    out_roofline->rows.data[count].predicted = predicted[count];
    free(predicted);
}

void roofline_free(Roofline *roofline)
{
    hd_vec_free(&roofline->rows);
    hd_arena_free(&roofline->arena);
}

void roofline_print(FILE *to, const Roofline *roofline, const Limits *limits)
{
    fprintf(to, "| %-8s | %-26s | %-28s | %8s | %10s | %10s | %7s | %7s | %8s | %9s | %8s | %9s | %-12s |\n", "class", "kernel", "weights", "launches",
            "ms", "predicted", "of time", "busy", "GB/s", "of read", "GOP/s", "of peak", "bound");
    fprintf(to, "| %.8s | %.26s | %.28s | %.7s: | %.9s: | %.9s: | %.6s: | %.6s: | %.7s: | %.8s: | %.7s: | %.8s: | %.12s |\n", "--------",
            "--------------------------", "----------------------------", "-------", "---------", "---------", "------", "------", "-------", "--------", "-------",
            "--------", "------------");
    for (size_t i = 0; i < roofline->rows.len; i++) {
        const RooflineRow *r = &roofline->rows.data[i];
        fprintf(to, "| %-8s | %-26s | %-28s | %8llu | %10.3f | %10.3f | %5.1f %% | %5.1f %% | %8.2f | %7.1f %% | %8.1f | %7.1f %% | %-12s |\n",
                r->time.kernel ? r->time.step_class : "sum", r->time.kernel ? r->time.kernel : "", r->time.kernel ? r->time.weights : "",
                (unsigned long long)r->time.launches, r->time.seconds * 1e3, r->predicted * 1e3, 100 * r->share, 100 * r->busy, r->gb_per_s, 100 * r->of_read,
                r->gops, 100 * r->of_peak, r->bound);
    }
    fprintf(to, "\nevaluations %.3f ms; read %.2f GB/s (%s); peak int8 %.0f, bf16 %.0f, float32 %.0f GOP/s\n", roofline->seconds * 1e3,
            limits->read_gb_per_s, limits->read_kernel, limits->gops[PEAK_INT8], limits->gops[PEAK_BF16], limits->gops[PEAK_F32]);
}

void roofline_json(HdBuf *out, const Roofline *roofline)
{
    hd_buf_str(out, "[");
    for (size_t i = 0; i + 1 < roofline->rows.len; i++) {
        const RooflineRow *r = &roofline->rows.data[i];
        const struct { const char *key, *text; } texts[] = {{"class", r->time.step_class}, {"kernel", r->time.kernel}, {"weights", r->time.weights},
                                                            {"bound", r->bound}};
        const struct { const char *key; double value; } numbers[] = {
            {"launches", (double)r->time.launches}, {"ns", r->time.seconds * 1e9}, {"thread_ns", r->time.thread_seconds * 1e9}, {"predicted_ns", r->predicted * 1e9}, {"share", r->share},
            {"busy", r->busy}, {"bytes", r->time.bytes}, {"flops", r->time.flops}, {"gb_per_s", r->gb_per_s}, {"gops", r->gops},
            {"read_share", r->of_read}, {"peak_share", r->of_peak}};
        for (size_t k = 0; k < HD_COUNT(texts); k++) {
            hd_buf_printf(out, "%s\"%s\": ", k ? ", " : i ? ", {" : "{", texts[k].key);
            hd_buf_json(out, hd_str(texts[k].text), true);
        }
        for (size_t k = 0; k < HD_COUNT(numbers); k++) {
            hd_buf_printf(out, ", \"%s\": ", numbers[k].key);
            hd_buf_f64(out, numbers[k].value);
        }
        hd_buf_str(out, "}");
    }
    hd_buf_str(out, "]");
}
