// SPDX-License-Identifier: Apache-2.0
// What the launches of steps move and compute, by the records that the compiler has written, summed up by kernel and weights of all layers.
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

struct RtLedger {
    const HeddleModule *module;
    uint32_t **of_class;             // per class the row of each launch; NULL: the class has not come yet
    HdArena arena;                   // texts
    HD_VEC(HeddleKernelTime) rows;
};

RtLedger *rt_ledger_new(const HeddleModule *module)
{
    RtLedger *ledger = hd_xcalloc(1, sizeof *ledger);
    ledger->module = module;
    ledger->of_class = hd_xcalloc(module->class_count, sizeof *ledger->of_class);
    return ledger;
}

void rt_ledger_free(RtLedger *ledger)
{
    if (!ledger) return;
    for (uint32_t c = 0; c < ledger->module->class_count; c++) free(ledger->of_class[c]);
    free(ledger->of_class);
    hd_vec_free(&ledger->rows);
    hd_arena_free(&ledger->arena);
    free(ledger);
}

const HeddleKernelTime *rt_ledger_rows(const RtLedger *ledger, uint32_t *out_count)
{
    *out_count = (uint32_t)ledger->rows.len;
    return ledger->rows.data;
}

// "blk.3.ffn_up.weight" is ffn_up in all layers.
static HdStr role_of(const char *tensor)
{
    size_t digits = strncmp(tensor, "blk.", 4) ? 0 : strspn(tensor + 4, "0123456789");
    HdStr role = hd_str(digits && tensor[4 + digits] == '.' ? tensor + 5 + digits : tensor);
    const size_t suffix = strlen(".weight");
    if (role.len > suffix && !memcmp(role.data + role.len - suffix, ".weight", suffix)) role.len -= suffix;
    return role;
}

static const char *weights_of(RtLedger *ledger, const RtLaunch *launch)
{
    HdBuf text = {0};
    HdStr last = {0};
    for (uint32_t a = 0; a < launch->arg_count; a++) {
        const RtArg *arg = &ledger->module->args[launch->first_arg + a];
        if (arg->kind != HEDDLE_ARG_WEIGHT) continue;
        HdStr role = role_of(ledger->module->tensors[ledger->module->weights[arg->index].tensor].name);
        if (last.data && hd_str_eq(role, last)) continue;
        hd_buf_printf(&text, "%s" HD_STR_FMT, text.len ? " " : "", HD_STR_ARG(role));
        last = role;
    }
    const char *kept = hd_arena_strndup(&ledger->arena, text.data ? text.data : "", text.len);
    hd_buf_free(&text);
    return kept;
}

// The name without its digest.
static const char *kernel_of(RtLedger *ledger, const RtLaunch *launch)
{
    const char *name = ledger->module->kernels[launch->kernel].name, *digest = strrchr(name, '_');
    return hd_arena_strndup(&ledger->arena, name, digest ? (size_t)(digest - name) : strlen(name));
}

static uint32_t row_for(RtLedger *ledger, const RtClass *class, const RtLaunch *launch)
{
    HeddleKernelTime row = {.step_class = class->name, .kernel = kernel_of(ledger, launch), .weights = weights_of(ledger, launch)};
    for (uint32_t i = 0; i < ledger->rows.len; i++) {
        const HeddleKernelTime *other = &ledger->rows.data[i];
        if (other->step_class == class->name && !strcmp(other->kernel, row.kernel) && !strcmp(other->weights, row.weights)) return i;
    }
    hd_vec_push(&ledger->rows, row);
    return (uint32_t)ledger->rows.len - 1;
}

static const uint32_t *rows_of(RtLedger *ledger, const RtClass *class)
{
    uint32_t **of = &ledger->of_class[class - ledger->module->classes];
    if (*of) return *of;
    *of = hd_xcalloc(class->launch_count, sizeof **of);
    for (uint32_t l = 0; l < class->launch_count; l++) (*of)[l] = row_for(ledger, class, &class->launches[l]);
    return *of;
}

HeddleKernelTime *rt_ledger_row(RtLedger *ledger, const RtClass *class, uint32_t launch)
{
    uint32_t row = rows_of(ledger, class)[launch];         // which may move the rows
    return &ledger->rows.data[row];
}

void rt_ledger_add(RtLedger *ledger, const RtClass *class, const RtBinding *binding)
{
    for (uint32_t l = 0; l < class->launch_count; l++) {
        HeddleKernelTime *row = rt_ledger_row(ledger, class, l);
        int64_t bytes, flops;
        if (rt_expr_eval(&ledger->module->exprs[class->launches[l].bytes], binding, &bytes)) row->bytes += (double)bytes;
        if (rt_expr_eval(&ledger->module->exprs[class->launches[l].flops], binding, &flops)) row->flops += (double)flops;
        row->tokens += (double)binding->value[RT_T];
        row->launches++, row->stages += l == 0 || class->launches[l].stage != class->launches[l - 1].stage;
    }
    for (uint32_t i = 0; i < ledger->rows.len; i++) ledger->rows.data[i].steps += ledger->rows.data[i].step_class == class->name;
}

void rt_ledger_add_call(RtLedger *ledger, uint32_t tokens, uint32_t position)
{
    const RtClass *class = rt_class_for(ledger->module, tokens, 1, 1);
    if (class) rt_ledger_add(ledger, class, &(RtBinding){{tokens, 1, (int64_t)position + tokens, 1}});
}

// ---- predicted times ---------------------------------------------------------------------------------------------

// Bytes of a step of the class that a row is of.
static double step_bytes(const HeddleKernelTime *rows, uint32_t count, const HeddleKernelTime *row)
{
    double bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(rows[i].step_class, row->step_class)) bytes += rows[i].bytes;
    return bytes / (double)HD_MAX(row->steps, 1);
}

double rt_predict_rows(const HdFigures *device, const HeddleKernelTime *rows, uint32_t count, double *out_each)
{
    double sum = 0;
    uint64_t steps = 0, stages = 0;
    for (uint32_t i = 0; i < count; i++) {
        HdWork work = {rows[i].kernel, (double)rows[i].launches, rows[i].tokens / (double)HD_MAX(rows[i].launches, 1), rows[i].bytes, rows[i].flops};
        double seconds = hd_predict(device, &work, step_bytes(rows, count, &rows[i]));
        bool first = true;
        for (uint32_t k = 0; k < i; k++) first = first && strcmp(rows[k].step_class, rows[i].step_class) != 0;
        if (first) steps += rows[i].steps;
        if (out_each) out_each[i] = seconds;
        sum += seconds, stages += rows[i].stages;
    }
    return sum + (double)steps * device->value[HD_FIGURE_step_us] * 1e-6 + hd_predict_waiting(device, (double)stages);
}
