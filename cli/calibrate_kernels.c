// SPDX-License-Identifier: Apache-2.0
// The figures of kernels: each kernel's time in steps of one token and of many, in a small model and a large one. The middle of some steps
// counts: what is predicted is the speed that the machine gives at the time.
#include "cli/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ONE_STEPS = 48, MANY_STEPS = 7, MANY = 512 };
typedef enum Run { ONE, RUN_MANY, RUNS } Run;

// A kernel in the steps of one run: what is the same in each, and the times.
typedef struct Point {
    char name[HD_KERNEL_NAME];
    double launches, tokens, bytes, flops;   // tokens: of a launch
    HD_VEC(double) seconds;
} Point;
typedef struct Points {
    HD_VEC(Point) list;
    HD_VEC(double) outside;                  // seconds of a step that are no kernel's
    double bytes;                            // of a step
    size_t done;                             // so many of the list are measured already
    bool are_long;                           // steps, see share_of
} Points;

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

// Of long steps the mean, for an interruption belongs to whichever kernel it hits; of short ones the median.
static double typical(const Points *points, double *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    qsort(values, count, sizeof *values, by_value);
    return points->are_long ? sum / (double)count : values[count / 2];
}

// ---- running -----------------------------------------------------------------------------------------------------

static Point *point_named(Points *points, const char *name)
{
    for (size_t i = 0; i < points->list.len; i++)
        if (!strcmp(points->list.data[i].name, name)) return &points->list.data[i];
    Point fresh = {.launches = 0};
    snprintf(fresh.name, sizeof fresh.name, "%s", name);
    hd_vec_push(&points->list, fresh);
    return &points->list.data[points->list.len - 1];
}

// Adds the step that was timed last; rows of one kernel for different weights are one. share: the part of the time that the step had the processor.
static void take_step(const HeddleSession *session, size_t step, double share, Points *points)
{
    uint32_t count;
    double all, kernels = 0;
    const HeddleKernelTime *rows = heddle_kernel_times(session, &count, &all);
    points->bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        Point *point = point_named(points, rows[i].kernel);
        kernels += rows[i].seconds;
        if ((size_t)(point - points->list.data) < points->done) continue;
        if (point->seconds.len == step) {
            hd_vec_push(&point->seconds, 0);
            point->launches = point->bytes = point->flops = 0;
        }
        point->seconds.data[step] += rows[i].seconds * share;
        point->launches += (double)rows[i].launches, point->bytes += rows[i].bytes, point->flops += rows[i].flops;
        point->tokens = rows[i].tokens / (double)rows[i].launches;
        points->bytes += rows[i].bytes;
    }
    hd_vec_push(&points->outside, (all - kernels) * share);
}

// Others that want the processor interrupt few of short steps, and the median is of one that they left alone; long ones they interrupt each, evenly.
static double share_of(const HeddleSession *session, double cpu, double clock, Points *points)
{
    const double slice = 5e-3;
    points->are_long = cpu > slice && heddle_session_threads(session) == 1;
    return points->are_long ? HD_MIN(cpu / clock, 1) : 1;
}

static HdStatus *run(HeddleSession *session, uint32_t tokens, size_t steps, Points *out_points)
{
    int32_t ids[MANY] = {0};
    HeddlePiece piece = {.tokens = ids, .count = tokens, .logits = HEDDLE_LOGITS_LAST};
    for (size_t step = 0; step <= steps; step++) {         // the first warms up
        if (tokens > 1) HD_TRY(heddle_slot_reset(session, 0));
        HD_TRY(heddle_time_kernels(session, true));
        double start = hd_seconds(), cpu_start = hd_cpu_seconds();
        HD_TRY(heddle_eval(session, &piece, 1));
        double share = share_of(session, hd_cpu_seconds() - cpu_start, hd_seconds() - start, out_points);
        if (step) take_step(session, step - 1, share, out_points);
    }
    return NULL;
}

// form: of the delta rule. The kernels of one token are those of the first form.
static HdStatus *run_form(const CliOptions *options, const char *form, Points out_points[RUNS])
{
    CliModel model;
    HeddleSession *session = NULL;
    HeddleSessionOptions shape = {.context = 2 * MANY, .threads = (uint32_t)options->threads};
    HeddleCompileOptions compile = cli_compile_options(options);
    compile.sets = &form, compile.set_count = 1;
    HD_TRY(cli_load(options, &compile, &model));
    bool first = !out_points[RUN_MANY].done;
    HdStatus *status = heddle_session_create(model.model, &shape, &session);
    if (!status) status = run(session, MANY, MANY_STEPS, &out_points[RUN_MANY]);
    if (!status && first) status = run(session, 1, ONE_STEPS, &out_points[ONE]);   // behind the many: attention has something to read
    out_points[RUN_MANY].done = out_points[RUN_MANY].list.len;
    heddle_session_free(session);
    cli_unload(&model);
    return status;
}

static const char *const forms[] = {"delta-net{form=scan}", "delta-net{form=wy,chunk=16}", "delta-net{form=wy,chunk=32}", "delta-net{form=wy,chunk=64}"};

static HdStatus *run_model(const CliOptions *options, CalibrateSize size, const CalibrateTypes *types, uint32_t threads, Points out_points[RUNS])
{
    int fd;
    char path[64];
    CliOptions how = *options;
    HD_TRY(calibrate_model(size, types, &fd, path));
    how.operand = path, how.threads = threads;
    HdStatus *status = NULL;
    for (size_t i = 0; i < HD_COUNT(forms) && !status; i++) status = run_form(&how, forms[i], out_points);
    close(fd);
    return status;
}

// ---- figures -----------------------------------------------------------------------------------------------------

// A launch: seconds, operations or bytes, tokens.
typedef struct Launch { bool known; double seconds, work, tokens; } Launch;

static bool counts_operations(const char *kernel)
{
    static const char *const names[] = {"matmul", "grouped", "delta"};
    for (size_t i = 0; i < HD_COUNT(names); i++)
        if (!strncmp(kernel, names[i], strlen(names[i]))) return true;
    return false;
}

static bool is_product(const char *kernel) { return !strncmp(kernel, "matmul", 6) || !strncmp(kernel, "grouped", 7); }

static Launch launch_of(const Points *points, const char *name)
{
    for (size_t i = 0; i < points->list.len; i++) {
        const Point *p = &points->list.data[i];
        if (strcmp(p->name, name) != 0) continue;
        double work = hd_work(name, counts_operations(name) ? p->flops : p->bytes, p->tokens);
        return (Launch){work > 0, typical(points, p->seconds.data, p->seconds.len) / p->launches, work / p->launches, p->tokens};
    }
    return (Launch){.known = false};
}

// seconds = own + work * each, through two launches of different size; all of it is the work's when the smaller is not faster.
static void fit(Launch small, Launch large, double *out_own, double *out_each)
{
    double each = (large.seconds - small.seconds) / (large.work - small.work), own = small.seconds - small.work * each;
    bool fits = small.known && large.known && large.work > small.work && each > 0 && own > 0;
    *out_own = fits ? own : 0;
    *out_each = fits ? each : large.seconds / large.work;
}

static void put(HdBuf *out, const char *kernel, HdKernelFigure figure, double value, const char *how)
{
    char name[HD_KERNEL_NAME + 24];
    snprintf(name, sizeof name, "%s.%s", kernel, hd_kernel_figure_name(figure));
    if (value > 0 && isfinite(value)) hd_buf_printf(out, "%-36s = %-10.4g # measured: %s\n", name, value, how);
}

// What is left for each operation or byte among many tokens, when one token's part is taken away: runtime/base/predict.h.
static double many_of(Launch many, double own, double one)
{
    double rest = many.seconds - own - (one > 0 ? many.work / many.tokens * one : 0);
    double each = rest / (many.work * (one > 0 ? 1 - 1 / many.tokens : 1));
    return each > 0 ? each : many.seconds / many.work;
}

static void put_kernel(const Points points[CALIBRATE_SIZES][RUNS], const char *name, HdBuf *out)
{
    bool operations = counts_operations(name);
    Launch one[CALIBRATE_SIZES], many[CALIBRATE_SIZES];
    double own = 0, each = 0, cached = 0;
    for (int size = 0; size < CALIBRATE_SIZES; size++)
        one[size] = launch_of(&points[size][ONE], name), many[size] = launch_of(&points[size][RUN_MANY], name);
    Launch large = one[CALIBRATE_LARGE];
    if (large.known && is_product(name)) {
        each = large.seconds / large.work;
        if (one[CALIBRATE_SMALL].known) cached = one[CALIBRATE_SMALL].seconds / one[CALIBRATE_SMALL].work;
    } else if (large.known) fit(one[CALIBRATE_SMALL], large, &own, &each);
    double most = each;
    if (many[CALIBRATE_LARGE].known && !large.known && !is_product(name)) fit(many[CALIBRATE_SMALL], many[CALIBRATE_LARGE], &own, &most);
    else if (many[CALIBRATE_LARGE].known) most = many_of(many[CALIBRATE_LARGE], own, each);
    if (!(most > 0)) return;
    put(out, name, HD_KERNEL_FIGURE_launch_us, own * 1e6, "what does not grow with the work");
    put(out, name, operations ? HD_KERNEL_FIGURE_gops : HD_KERNEL_FIGURE_gb_per_s, 1e-9 / most, many[CALIBRATE_LARGE].known ? "512 tokens" : "one token");
    if (large.known) put(out, name, operations ? HD_KERNEL_FIGURE_one_gops : HD_KERNEL_FIGURE_one_gb_per_s, 1e-9 / each, "one token, a large model");
    put(out, name, HD_KERNEL_FIGURE_cached_gops, cached > 0 ? 1e-9 / cached : 0, "one token, a small model");
}

static void put_kernels(const Points points[CALIBRATE_SIZES][RUNS], HdBuf *out)
{
    const Points *small = &points[CALIBRATE_SMALL][ONE], *large = &points[CALIBRATE_LARGE][ONE], *many = &points[CALIBRATE_LARGE][RUN_MANY];
    hd_buf_printf(out, "%-16s = %-10.4g # measured: what a step of the small model moves\n", hd_figure_name(HD_FIGURE_cached_mb), small->bytes * 1e-6);
    hd_buf_printf(out, "%-16s = %-10.4g # measured: what a step of the large model moves\n", hd_figure_name(HD_FIGURE_uncached_mb), large->bytes * 1e-6);
    hd_buf_printf(out, "%-16s = %-10.4g # measured: steps of the small model\n", hd_figure_name(HD_FIGURE_step_us),
                  typical(small, small->outside.data, small->outside.len) * 1e6);
    for (size_t i = 0; i < large->list.len; i++) put_kernel(points, large->list.data[i].name, out);
    for (size_t i = 0; i < many->list.len; i++)
        if (!launch_of(large, many->list.data[i].name).known) put_kernel(points, many->list.data[i].name, out);
}

HdStatus *calibrate_kernels(const CliOptions *options, const CalibrateTypes *types, uint32_t threads, HdBuf *out_lines)
{
    Points points[CALIBRATE_SIZES][RUNS] = {0};
    HdStatus *status = NULL;
    for (int size = 0; size < CALIBRATE_SIZES && !status; size++) status = run_model(options, (CalibrateSize)size, types, threads, points[size]);
    if (!status) put_kernels(points, out_lines);
    for (int i = 0; i < CALIBRATE_SIZES * RUNS; i++) {
        Points *p = &points[i / RUNS][i % RUNS];
        for (size_t k = 0; k < p->list.len; k++) hd_vec_free(&p->list.data[k].seconds);
        hd_vec_free(&p->list);
        hd_vec_free(&p->outside);
    }
    return status;
}
