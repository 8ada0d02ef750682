// SPDX-License-Identifier: Apache-2.0
// Runs a table of ways to break a valid random graph: each is tried with 100 seeds and must end in an error of one line
// that names what was broken.
#ifndef HEDDLE_TESTS_IR_BROKEN_H
#define HEDDLE_TESTS_IR_BROKEN_H

#include "tests/support/random_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { BROKEN_VARIATIONS = 100, BROKEN_TRIES = 400 };

typedef struct Broken {
    Rg g;                    // of g only the choices are used
    IrModule *module;
    IrGraph *graph;          // @model
    HdBuf text;              // of the module
    char needle[160];        // must be part of the message
} Broken;

typedef struct BrokenKind {
    const char *name;
    bool (*breaks)(Broken *b);   // false: this graph has no place for it
    bool fuse, plan;             // what the graph must have first
} BrokenKind;

#define NEEDLE(b, ...) snprintf((b)->needle, sizeof(b)->needle, __VA_ARGS__)

static inline void broken_make(Broken *b, const BrokenKind *kind, uint64_t seed) {
    RgOptions options = {.seed = seed, .pieces = 6};
    *b = (Broken){.g = {.state = seed}, .module = ir_module_new("broken")};
    b->graph = rg_graph(b->module, "model", &options);
    if (kind->fuse) rg_fuse(b->graph, seed, 60);
    if (kind->plan) rg_plan(b->graph, seed);
    HdStatus *status = ir_verify(b->graph);
    if (status) fail_msg("%s", hd_status_message(status));
    ir_print_module(b->module, &b->text);
}

static inline void broken_free(Broken *b) {
    ir_module_free(b->module);
    hd_buf_free(&b->text);
}

static inline void broken_judge(const Broken *b, const BrokenKind *kind, HdStatus *status) {
    const char *message = hd_status_message(status);
    if (!status || !*message || strchr(message, '\n') || !strstr(message, b->needle)) {
        print_message("%s: message \"%s\" should be one line with \"%s\"\n%s\n", kind->name, message, b->needle, b->text.data);
        fail();
    }
    hd_status_free(status);
}

// `check` gives the error of a broken graph, parsing its text or verifying it.
static inline void broken_run(const BrokenKind *kinds, size_t count, HdStatus *(*check)(const Broken *b)) {
    for (size_t k = 0; k < count; k++) {
        int variations = 0;
        for (uint64_t seed = 0; seed < BROKEN_TRIES * BROKEN_VARIATIONS && variations < BROKEN_VARIATIONS; seed++) {
            Broken b;
            broken_make(&b, &kinds[k], k * 1000003 + seed);
            if (kinds[k].breaks(&b)) {
                broken_judge(&b, &kinds[k], check(&b));
                variations++;
            }
            broken_free(&b);
        }
        if (variations < BROKEN_VARIATIONS) fail_msg("%s: only %d variations", kinds[k].name, variations);
    }
}

#endif
