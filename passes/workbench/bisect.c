// SPDX-License-Identifier: Apache-2.0
// --bisect: which rewrite of a pass made the graph wrong. The pass runs again on copies of the graph that it had, each time up to another rewrite; at the next one
// (before which it asks) the graph is as the rewrites so far have left it, and is evaluated. So nothing has to be refused, and mandatory rewrites are found too.
#include "passes/workbench/verify.h"

#include <stdlib.h>
#include <string.h>

typedef struct Search {
    const WbSuspect *suspect;
    uint32_t wanted, fired;                // look when so many have fired
    bool looked, wrong;
    HdBuf *label;                          // of rewrite number `wanted`; NULL: not asked for
} Search;

static bool is_wrong(const WbSuspect *suspect, const IrGraph *graph)
{
    if (suspect->trace) return wb_trace_compare(suspect->trace, graph, suspect->tolerance).failed;
    HdStatus *status = ir_verify(graph);
    bool wrong = status && strstr(suspect->message, hd_status_message(status));
    hd_status_free(status);
    return wrong;
}

static bool on_fire(void *user, const PassEvent *event)
{
    Search *search = user;
    if (!event->fired) return true;
    if (search->fired == search->wanted && !search->looked) {
        search->looked = true;
        search->wrong = is_wrong(search->suspect, event->graph);
    }
    search->fired++;
    if (search->label && search->fired == search->wanted) {
        hd_buf_printf(search->label, "%s", pass_rule_info(event->rule)->name);
        if (event->node) {
            IrNames *names = ir_names_new(search->suspect->before);
            ir_names_follow(names, event->graph);
            hd_buf_str(search->label, " at ");
            ir_names_op(names, event->node, search->label);
            ir_names_free(names);
            if (ir_op(event->graph, event->node)->layer >= 0) hd_buf_printf(search->label, " (layer %d)", ir_op(event->graph, event->node)->layer);
        }
    }
    return true;
}

// Is the graph wrong behind the first `count` rewrites? How many there are in all comes back too.
static bool wrong_after(const WbSuspect *suspect, uint32_t count, uint32_t *out_all, HdBuf *label)
{
    IrGraph *graph = ir_graph_copy(suspect->before);
    Search search = {.suspect = suspect, .wanted = count, .label = label};
    PassConfig config = *suspect->config;
    config.event = on_fire, config.before = NULL, config.after = NULL, config.user = &search;
    PassCtx ctx = {.config = &config, .target = config.target};
    HdStatus *status = pass_run_step(graph, suspect->step, &ctx);
    if (!search.looked) search.wrong = is_wrong(suspect, graph);
    hd_status_free(status);
    *out_all = search.fired;
    ir_graph_free(graph);
    return search.wrong;
}

void wb_find_rewrite(const WbSuspect *suspect, HdBuf *out_text)
{
    uint32_t all, right = 0, wrong, ignored;
    HdBuf label = {0};
    if (wrong_after(suspect, 0, &all, NULL) || !wrong_after(suspect, all, &ignored, NULL)) return;   // not by a rewrite
    for (wrong = all; wrong - right > 1;) {
        uint32_t middle = right + (wrong - right) / 2;
        if (wrong_after(suspect, middle, &ignored, NULL)) wrong = middle;
        else right = middle;
    }
    wrong_after(suspect, wrong, &ignored, &label);
    hd_buf_printf(out_text, "rewrite %u of %u, %s", wrong, all, label.data ? label.data : "");
    hd_buf_free(&label);
}
