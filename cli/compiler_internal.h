// SPDX-License-Identifier: Apache-2.0
// What the files of the compiler's library share.
#ifndef HEDDLE_COMPILER_INTERNAL_H
#define HEDDLE_COMPILER_INTERNAL_H

#include "cli/compiler.h"
#include "ir/ir.h"
#include "ir/target.h"

// ---- compiler.c ------------------------------------------------------------------------------------------------

// A target by its name; "@FILE" is the next of the devices, *used of which have been taken.
HD_MUST_USE HdStatus *compiler_target(const char *name, const struct RtFacts *devices, size_t device_count, size_t *used, IrTarget *out_target);

// ---- compiler_graph.c: graphs in text form ---------------------------------------------------------------------

// Errors begin with "name:line:column: ", or with the name where the graph as a whole is wrong.
HD_MUST_USE HdStatus *compiler_graph_parse(const char *name, HdStr text, IrModule **out_module);
// The graph of a .hir file that is to be compiled for a model, whose own module gives the keys that the text lacks. `model` is freed in any case.
HD_MUST_USE HdStatus *compiler_graph_read(const char *path, IrModule *model, IrModule **out_module);
// Has plan-memory been over all its graphs?
bool compiler_graph_is_done(const IrModule *module);
// Has it what the code generator takes for granted of what passes have made? UNSUPPORTED says what is missing.
HD_MUST_USE HdStatus *compiler_graph_check(const IrModule *module);

#endif
