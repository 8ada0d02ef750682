// SPDX-License-Identifier: Apache-2.0
// Results of `heddle bench` in llama-bench's formats.
#include "cli/bench.h"

#include <stdlib.h>
#include <string.h>

typedef enum Kind { TEXT, WHOLE, YES_NO, REAL } Kind;
typedef struct Field {
    Kind kind;
    const char *name;
    union {
        const char *text;
        uint64_t whole;
        bool yes_no;
        double real;
    } value;
} Field;

#define MEMBER_TEXT text
#define MEMBER_WHOLE whole
#define MEMBER_YES_NO yes_no
#define MEMBER_REAL real
#define MEMBER(kind) MEMBER_##kind
enum {
#define BENCH_FIELD(kind, name, value) FIELD_##name,
#include "cli/bench_fields.def"
#undef BENCH_FIELD
    FIELD_COUNT
};

static double predicted_speed(const BenchResult *r)
{
    return r->predicted_ns > 0 ? (r->test.prompt + r->test.generate) / r->predicted_ns * 1e9 : 0;
}

static void fill(const Bench *b, const BenchResult *r, Field out_fields[FIELD_COUNT])
{
    const Field fields[FIELD_COUNT] = {
#define BENCH_FIELD(kind, name, v) {kind, #name, {.MEMBER(kind) = v}},
#include "cli/bench_fields.def"
#undef BENCH_FIELD
    };
    memcpy(out_fields, fields, sizeof fields);
}

// ---- csv -------------------------------------------------------------------------------------------------------

static void print_csv_value(const Field *field)
{
    putchar('"');
    switch (field->kind) {
    case TEXT:
        for (const char *c = field->value.text; *c; c++) *c == '"' ? fputs("\"\"", stdout) : putchar(*c);
        break;
    case WHOLE: printf("%llu", (unsigned long long)field->value.whole); break;
    case YES_NO: putchar(field->value.yes_no ? '1' : '0'); break;
    case REAL: printf("%.6f", field->value.real); break;
    }
    putchar('"');
}

static void print_csv(const Bench *benches, size_t count)
{
    Field fields[FIELD_COUNT];
    for (size_t row = 0; row < count * benches->results.len; row++) {
        const Bench *bench = &benches[row / benches->results.len];
        fill(bench, &bench->results.data[row % benches->results.len], fields);
        for (size_t f = 0; row == 0 && f < FIELD_COUNT; f++) printf("%s%s", fields[f].name, f + 1 < FIELD_COUNT ? "," : "\n");
        for (size_t f = 0; f < FIELD_COUNT; f++) {
            print_csv_value(&fields[f]);
            putchar(f + 1 < FIELD_COUNT ? ',' : '\n');
        }
    }
}

// ---- json ------------------------------------------------------------------------------------------------------

static void print_json_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') putchar('\\');
        if ((unsigned char)*text < 32) printf("\\u%04x", *text);
        else putchar(*text);
    }
    putchar('"');
}

static void print_json_value(const Field *field)
{
    switch (field->kind) {
    case TEXT: print_json_text(field->value.text); break;
    case WHOLE: printf("%llu", (unsigned long long)field->value.whole); break;
    case YES_NO: fputs(field->value.yes_no ? "true" : "false", stdout); break;
    case REAL: printf("%.6f", field->value.real); break;
    }
}

static void print_samples(const BenchResult *r, const char *space)
{
    double tokens = r->test.prompt + r->test.generate;
    printf("%s\"samples_ns\": [ ", space);
    for (size_t i = 0; i < r->samples_ns.len; i++) printf("%s%.0f", i ? ", " : "", r->samples_ns.data[i]);
    printf(" ],%s\"samples_cpu_ns\": [ ", space);
    for (size_t i = 0; i < r->samples_cpu_ns.len; i++) printf("%s%.0f", i ? ", " : "", r->samples_cpu_ns.data[i]);
    printf(" ],%s\"samples_ts\": [ ", space);
    for (size_t i = 0; i < r->samples_ns.len; i++) printf("%s%.6g", i ? ", " : "", tokens / r->samples_ns.data[i] * 1e9);
    printf(" ]");
}

static void print_roofline(const BenchResult *r, const char *space)
{
    HdBuf text = {0};
    roofline_json(&text, &r->roofline);
    printf(",%s\"roofline_ns\": %.0f,%s\"roofline\": %s", space, r->roofline.seconds * 1e9, space, text.data);
    hd_buf_free(&text);
}

// An object on one line, or on one line per field.
static void print_object(const Bench *bench, const BenchResult *r, bool lines)
{
    const char *space = lines ? "\n    " : " ";
    Field fields[FIELD_COUNT];
    fill(bench, r, fields);
    printf(lines ? "  {" : "{");
    for (size_t f = 0; f < FIELD_COUNT; f++) {
        printf("%s\"%s\": ", space, fields[f].name);
        print_json_value(&fields[f]);
        putchar(',');
    }
    print_samples(r, space);
    if (bench->by_kernel) print_roofline(r, space);
    printf(lines ? "\n  }" : " }");
}

static void print_json(const Bench *benches, size_t count)
{
    size_t tests = benches->results.len;
    printf("[\n");
    for (size_t row = 0; row < count * tests; row++) {
        print_object(&benches[row / tests], &benches[row / tests].results.data[row % tests], true);
        printf(row + 1 < count * tests ? ",\n" : "\n");
    }
    printf("]\n");
}

static void print_jsonl(const Bench *benches, size_t count)
{
    size_t tests = benches->results.len;
    for (size_t row = 0; row < count * tests; row++) {
        print_object(&benches[row / tests], &benches[row / tests].results.data[row % tests], false);
        printf("\n");
    }
}

// ---- markdown --------------------------------------------------------------------------------------------------

static void test_name(const BenchTest *test, char out_text[64])
{
    int at = 0;
    if (test->prompt && test->generate) at = snprintf(out_text, 64, "pp%u+tg%u", test->prompt, test->generate);
    else at = snprintf(out_text, 64, test->prompt ? "pp%u" : "tg%u", test->prompt ? test->prompt : test->generate);
    if (test->depth) snprintf(out_text + at, 64 - (size_t)at, " @ d%u", test->depth);
}

static void print_limit(const Bench *b)
{
    printf("\n");
    if (b->limits.read_gb_per_s > 0) printf("%s %.2f GB/s; ", b->on_cpu ? "read" : "copy (reads and writes)", b->limits.read_gb_per_s);
}

static void print_one(const Bench *b)
{
    printf("| %-30s | %10s | %10s | %-10s | %7s | %15s | %20s | %8s | %9s |\n", "model", "size", "params", "backend", "threads", "test",
           "t/s", "GB/s", b->on_cpu ? "of read" : "of copy");
    printf("| %.30s | %.9s: | %.9s: | %.10s | %.6s: | %.14s: | %.19s: | %.7s: | %.8s: |\n", "------------------------------",
           "---------", "---------", "----------", "------", "--------------", "-------------------", "-------", "--------");
    for (size_t i = 0; i < b->results.len; i++) {
        const BenchResult *r = &b->results.data[i];
        char size[32], parameters[32], name[64], speed[64];
        double mib = (double)b->bytes / (1 << 20);
        snprintf(size, sizeof size, mib >= 1024 ? "%.2f GiB" : "%.2f MiB", mib >= 1024 ? mib / 1024 : mib);
        snprintf(parameters, sizeof parameters, b->parameters >= 1000000000 ? "%.2f B" : "%.2f M",
                 (double)b->parameters * (b->parameters >= 1000000000 ? 1e-9 : 1e-6));
        test_name(&r->test, name);
        snprintf(speed, sizeof speed, "%.2f ± %.2f", r->speed.mean, r->speed.deviation);
        printf("| %-30s | %10s | %10s | %-10s | %7u | %15s | %21s | %8.2f | %7.1f %% |\n", b->type, size, parameters, b->backend,
               b->threads, name, speed, r->gb_per_s, b->limits.read_gb_per_s > 0 ? 100 * r->gb_per_s / b->limits.read_gb_per_s : 0.0);
    }
    print_limit(b);
    printf("module %.16s; numerics %s; logits", b->info.digest, b->info.numerics);
    for (size_t i = 0; i < b->results.len; i++) printf(" %.16s", b->results.data[i].digest);
    printf("\n");
}

// Rows of a roofline that call one kernel, for whatever weights.
typedef struct KernelSum { uint64_t launches; double seconds, predicted; } KernelSum;

static KernelSum sum_of(const Roofline *roofline, const char *kernel)
{
    KernelSum sum = {0};
    for (size_t i = 0; i + 1 < roofline->rows.len; i++) {
        const RooflineRow *row = &roofline->rows.data[i];
        if (strcmp(row->time.kernel, kernel) != 0) continue;
        sum.launches += row->time.launches, sum.seconds += row->time.seconds, sum.predicted += row->predicted;
    }
    return sum;
}

// The kernels that any variant has, in the order of the first that has them.
typedef HD_VEC(const char *) Kernels;
static Kernels list_kernels(const Bench *benches, size_t count, size_t test)
{
    Kernels kernels = {0};
    for (size_t v = 0; v < count; v++) {
        const Roofline *roofline = &benches[v].results.data[test].roofline;
        for (size_t i = 0; i + 1 < roofline->rows.len; i++) {
            bool known = false;
            for (size_t k = 0; k < kernels.len; k++) known = known || !strcmp(kernels.data[k], roofline->rows.data[i].time.kernel);
            if (!known) hd_vec_push(&kernels, roofline->rows.data[i].time.kernel);
        }
    }
    return kernels;
}

// Measured and predicted, kernel by kernel, the variants below each other.
static void print_kernels(const Bench *benches, size_t count, size_t test, int width)
{
    Kernels kernels = list_kernels(benches, count, test);
    char name[64];
    test_name(&benches->results.data[test].test, name);
    printf("\n%s\n\n| %-26s | %-*s | %8s | %10s | %10s |\n| %.26s | ", name, "kernel", width, "variant", "launches", "ms", "predicted", "--------------------------");
    for (int i = 0; i < width; i++) putchar('-');
    printf(" | %.7s: | %.9s: | %.9s: |\n", "-------", "---------", "---------");
    for (size_t k = 0; k < kernels.len; k++)
        for (size_t v = 0; v < count; v++) {
            KernelSum sum = sum_of(&benches[v].results.data[test].roofline, kernels.data[k]);
            printf("| %-26s | %-*s | %8llu | %10.3f | %10.3f |\n", v ? "" : kernels.data[k], width, benches[v].variant, (unsigned long long)sum.launches,
                   sum.seconds * 1e3, sum.predicted * 1e3);
        }
    hd_vec_free(&kernels);
}

// Variants of one test below each other, each against the first in the same rounds.
static void print_variants(const Bench *benches, size_t count)
{
    int width = 7;
    for (size_t v = 0; v < count; v++) width = HD_MAX(width, (int)strlen(benches[v].variant));
    printf("| %-15s | %-*s | %20s | %10s | %17s | %8s | %8s | %8s | %-16s |\n", "test", width, "variant", "t/s", "predicted", "against the first", "launches", "barriers", "GB/s", "logits");
    printf("| %.15s | ", "---------------");
    for (int i = 0; i < width; i++) putchar('-');
    printf(" | %.19s: | %.9s: | %.16s: | %.7s: | %.7s: | %.7s: | %.16s |\n", "-------------------", "---------", "-----------------", "-------", "-------", "-------", "----------------");
    for (size_t i = 0; i < benches->results.len; i++)
        for (size_t v = 0; v < count; v++) {
            const BenchResult *r = &benches[v].results.data[i];
            char name[64], speed[64], gain[64];
            test_name(&r->test, name);
            snprintf(speed, sizeof speed, "%.2f ± %.2f", r->speed.mean, r->speed.deviation);
            snprintf(gain, sizeof gain, "%.3f ± %.3f", r->gain.mean, r->gain.deviation);
            printf("| %-15s | %-*s | %21s | %10.2f | %18s | %8.1f | %8.1f | %8.2f | %.16s |\n", name, width, benches[v].variant, speed, predicted_speed(r), gain, r->launches, r->barriers,
                   r->gb_per_s, r->digest);
        }
    print_limit(benches);
    printf("%u rounds, in each the variants in turn; launches and barriers per token\n", benches->repetitions);
    for (size_t i = 0; i < benches->results.len && benches->by_kernel; i++) print_kernels(benches, count, i, width);
}

static void print_rooflines(const Bench *b)
{
    for (size_t i = 0; i < b->results.len; i++) {
        char name[64];
        test_name(&b->results.data[i].test, name);
        printf("\n%s%s%s\n\n", name, b->variant[0] ? ", " : "", b->variant);
        roofline_print(stdout, &b->results.data[i].roofline, &b->limits);
    }
}

static void print_md(const Bench *benches, size_t count)
{
    if (count == 1) print_one(benches);
    else print_variants(benches, count);
    for (size_t v = 0; v < count && benches->with_roofline; v++) print_rooflines(&benches[v]);
}

static const struct {
    const char *name;
    void (*print)(const Bench *, size_t);
} formats[] = {{"md", print_md}, {"csv", print_csv}, {"json", print_json}, {"jsonl", print_jsonl}};

void bench_print(const Bench *benches, size_t count, const char *format)
{
    for (size_t i = 0; i < HD_COUNT(formats); i++)
        if (!strcmp(format, formats[i].name)) formats[i].print(benches, count);
}
