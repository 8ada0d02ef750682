// SPDX-License-Identifier: Apache-2.0
// heddle plan: what a model takes in memory, to the byte and before anything is loaded: only headers are read. Not counted are the
// program, the tokenizer's tables and the row of logits that a sampler looks at.
#include "cli/cli.h"
#include "runtime/module.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// ---- bytes as people write them ----------------------------------------------------------------------------------

// "8G", "512MiB", "1.5g", "1000": powers of 1024.
static HdStatus *parse_bytes(const char *text, uint64_t *out_bytes)
{
    static const char units[] = "KMGT";
    size_t digits = strspn(text, "0123456789.");
    const char *unit = text[digits] ? strchr(units, toupper((unsigned char)text[digits])) : NULL;
    const char *rest = text + digits + (unit != NULL);
    double number;
    bool good = hd_parse_f64((HdStr){text, digits}, &number) && (!*rest || !strcasecmp(rest, "B") || (unit && !strcasecmp(rest, "iB")));
    for (const char *u = units; unit && u <= unit; u++) number *= 1024;
    if (!good || !(number >= 1 && number < 0x1p62)) return hd_error(HD_USAGE, "--fit %s: expected bytes, such as 6000000000, 512M or 8G", text);
    *out_bytes = (uint64_t)number;
    return NULL;
}

static void print_size(const char *what, uint64_t bytes)
{
    char size[HD_SIZE_TEXT];
    hd_size_text(bytes, size);
    printf("%-34s %16llu", what, (unsigned long long)bytes);
    printf(bytes < 1024 ? "\n" : "  %s\n", size);
}

// ---- does it fit? ------------------------------------------------------------------------------------------------

typedef struct Fit {
    bool asked, fits;
    uint64_t bytes;
    uint32_t context;                // the largest that fits; 0: not even one token does
} Fit;

static HdStatus *total_at(const HeddleModule *module, HeddleSessionOptions session, uint32_t context, uint64_t *out_total)
{
    HeddleMemory memory;
    session.context = context;
    HD_TRY(heddle_memory_plan(module, &session, &memory));
    *out_total = memory.total;
    return NULL;
}

// Memory grows with the context, so the largest is found by halving.
static HdStatus *find_context(const HeddleModule *module, const HeddleSessionOptions *session, uint32_t limit, Fit *fit)
{
    uint32_t low = 0, high = limit;
    while (low < high) {
        uint32_t middle = high - (high - low) / 2;
        uint64_t total;
        HD_TRY(total_at(module, *session, middle, &total));
        if (total <= fit->bytes) low = middle;
        else high = middle - 1;
    }
    fit->context = low;
    return NULL;
}

// ---- output ------------------------------------------------------------------------------------------------------

typedef struct Plan {
    const char *model;
    HeddleModuleInfo info;
    HeddleMemory memory;
    Fit fit;
} Plan;

static void print_text(const Plan *p)
{
    const HeddleMemory *m = &p->memory;
    printf("%s for %s: context %u, slots %u, tokens per call %u, threads %u, cache %s\n\n", p->model, p->info.target,
           m->context, m->slots, m->tokens_per_call, m->threads, p->info.kv_type);
    print_size("weights as they lie in the file", m->weights_mapped);
    print_size("weights, packed copies", m->weights_packed);
    print_size("state of a slot, grows with context", m->append_per_slot);
    print_size("state of a slot, fixed", m->recurrent_per_slot);
    print_size("state of all slots", m->state);
    print_size("intermediate values", m->arena);
    print_size("scratch of the threads", m->scratch);
    print_size("inputs of a step", m->inputs);
    print_size("rotary table", m->rope);
    print_size("total", m->total);
    if (!p->fit.asked) return;
    printf("\nfits %llu bytes: %s; largest context: ", (unsigned long long)p->fit.bytes, p->fit.fits ? "yes" : "no");
    printf(p->fit.context ? "%u\n" : "none\n", p->fit.context);
}

static void print_json(const Plan *p)
{
    const HeddleMemory *m = &p->memory;
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {{"context", m->context},                   {"slots", m->slots},
                {"tokens_per_call", m->tokens_per_call},   {"threads", m->threads},
                {"weights_mapped", m->weights_mapped},     {"weights_packed", m->weights_packed},
                {"append_per_slot", m->append_per_slot},   {"recurrent_per_slot", m->recurrent_per_slot},
                {"state", m->state},                       {"arena", m->arena},
                {"scratch", m->scratch},                   {"inputs", m->inputs},
                {"rope", m->rope},                         {"total", m->total}};
    printf("{\"target\": \"%s\", \"kv_type\": \"%s\"", p->info.target, p->info.kv_type);
    for (size_t i = 0; i < HD_COUNT(rows); i++) printf(", \"%s\": %llu", rows[i].name, (unsigned long long)rows[i].value);
    if (p->fit.asked)
        printf(", \"fit_bytes\": %llu, \"fits\": %s, \"largest_context\": %u", (unsigned long long)p->fit.bytes,
               p->fit.fits ? "true" : "false", p->fit.context);
    printf("}\n");
}

// A given module says all that a plan needs, but not that it is a plan of this model.
static HdStatus *check_model(const CliOptions *options, const HeddleModule *module)
{
    GgufFile *file;
    GgufOptions header_only = {.header_only = true};
    if (!options->module) return NULL;
    HD_TRY(gguf_open(options->operand, &header_only, &file));
    HdStatus *status = rt_module_check_file(module, file);
    gguf_close(file);
    return status;
}

static HdStatus *make_plan(const CliOptions *options, const HeddleModule *module, Plan *out_plan)
{
    HeddleSessionOptions session = cli_session_options(options);
    if (options->slots != CLI_UNSET) session.slots = (uint32_t)options->slots;
    heddle_module_info(module, &out_plan->info);
    HD_TRY(heddle_memory_plan(module, &session, &out_plan->memory));
    if (!options->fit) return NULL;
    out_plan->fit.asked = true;
    HD_TRY(parse_bytes(options->fit, &out_plan->fit.bytes));
    out_plan->fit.fits = out_plan->memory.total <= out_plan->fit.bytes;
    return find_context(module, &session, out_plan->info.context_length, &out_plan->fit);
}

HdStatus *cmd_plan(CliOptions *options)
{
    HeddleModule *module;
    Plan plan = {.model = options->operand};
    HeddleCompileOptions compile = cli_compile_options(options);
    const char *format = options->format ? options->format : "text";
    HD_TRY(cli_open_module(options, &compile, &module));
    HdStatus *status = check_model(options, module);
    if (!status) status = make_plan(options, module, &plan);
    if (!status) (!strcmp(format, "json") ? print_json : print_text)(&plan);
    heddle_module_close(module);
    return status;
}
