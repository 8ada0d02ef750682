// SPDX-License-Identifier: Apache-2.0
// Shared by the shipped passes, beside pass.h; nothing here is for others.
#ifndef HEDDLE_PASSES_INTERNAL_H
#define HEDDLE_PASSES_INTERNAL_H

#include "passes/passes.h"

// match.c. Builds an operation whose types the pass knows to be right (else it aborts with the rule's text), in the layer of `like` (0: none).
IrOpRef pass_build(IrGraph *graph, const IrBuild *build, IrOpRef like);
// The same where the shapes of a graph may not allow the operation: 0 then. (A token count with a ceil has no quotient that is a dimension.)
IrOpRef pass_try_build(IrGraph *graph, const IrBuild *build, IrOpRef like);
// Where dce did not run, or was refused, views are left that no group takes with it, and that look like readers of a group.
void pass_erase_unread_views(IrGraph *graph);                            // partition.c

#endif
