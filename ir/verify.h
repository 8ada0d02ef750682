// SPDX-License-Identifier: Apache-2.0
// What verify.c (structure, types, states) and verify_plan.c (stages, placements) share. Private to the IR.
#ifndef HEDDLE_IR_VERIFY_H
#define HEDDLE_IR_VERIFY_H

#include "ir/ir_internal.h"

// "%4 = rms_norm: TEXT"; for a graph whose structure has been checked.
HD_MUST_USE HdStatus *verify_op_error(const IrGraph *graph, IrOpRef op, const char *fmt, ...) HD_PRINTF(3, 4);
// What `op` does to the state that is its operand `index`; of a fused operation: what its region does.
IrEffect verify_state_access(const IrGraph *graph, const IrOp *op, uint32_t index);
bool verify_is_view(const IrOp *op);                                     // moves no data: an alias, not a launch
// A producer's stage is before its consumers', states are touched in program order.
HD_MUST_USE HdStatus *verify_stages(const IrGraph *graph);
// Values that live at the same time do not overlap and stay within the arena, at the bounds in the module's keys.
HD_MUST_USE HdStatus *verify_placements(const IrGraph *graph);

#endif
