// SPDX-License-Identifier: Apache-2.0
// Shared by compile.c and group.c only.
#ifndef HEDDLE_CODEGEN_INTERNAL_H
#define HEDDLE_CODEGEN_INTERNAL_H

#include "codegen/codegen.h"

// The row of the program's expression table that holds `expr`; added when new.
uint32_t cg_expr_row(CgProgram *program, const IrExpr *expr);

#endif
