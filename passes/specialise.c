// SPDX-License-Identifier: Apache-2.0
// Clones the model graph per step class and records the bound its plan holds for: module keys "bounds.<class>" = "T S C R".
#include "passes/internal.h"

#include <string.h>

HdStatus *pass_specialise(IrGraph *graph, PassCtx *ctx)
{
    int64_t small = pass_option_int(ctx, "small"), prefill = pass_option_int(ctx, "prefill");
    int64_t rows = pass_option_int(ctx, "rows"), slots = pass_option_int(ctx, "slots");
    const struct {
        const char *name;
        int64_t tokens;
    } classes[] = {{"decode", 1}, {"small", small}, {"prefill", prefill}};
    if (small > prefill)
        return hd_error(HD_USAGE, "specialise{small=%lld,prefill=%lld}: small may not exceed prefill", (long long)small,
                        (long long)prefill);
    for (size_t i = 0; i < HD_COUNT(classes); i++) {
        char key[64], value[64];
        int64_t tokens = classes[i].tokens;
        if (ir_graph_find(graph->module, classes[i].name)) {
            pass_missed(ctx, RULE_specialise_clone, graph, 0, MISSED_exists);
            continue;
        }
        if (!pass_fire(ctx, RULE_specialise_clone, graph, 0))
            return hd_error(HD_UNSUPPORTED, "class %s was refused, so the graph cannot be compiled", classes[i].name);
        ir_graph_clone(graph, classes[i].name);
        snprintf(key, sizeof key, "bounds.%s", classes[i].name);
        snprintf(value, sizeof value, "%lld %lld 1 %lld", (long long)tokens, (long long)HD_MIN(tokens, slots),
                 (long long)HD_MIN(tokens, rows));
        ir_module_set_key(graph->module, key, value);
    }
    if (!ir_graph_find(graph->module, "load")) ir_graph_new(graph->module, "load");
    return NULL;
}
