// SPDX-License-Identifier: Apache-2.0
// PACK: native rows to the packed layout (layout.h), in @load. A work unit is a panel; the panels of experts follow each other.
#include "codegen/cpu/mm.h"
#include "codegen/sched.h"

HdStatus *cg_cpu_PACK(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    HD_TRY(cg_group_op(graph, group, IR_OP_pack, &op));
    const IrType type = ir_value(graph, op->operands[0])->type;
    int64_t columns = type.dims[type.rank - 1], rows = type.dims[type.rank - 2], experts = type.rank == 3 ? type.dims[0] : 1;
    int64_t panels = hd_ceil_div(rows, CG_PANEL_ROWS), bytes = (int64_t)cg_panel_bytes(type.dtype, (uint64_t)columns);
    int64_t row_bytes = ir_dtype_row_bytes(type.dtype, columns);
    if (!bytes)
        return hd_error(HD_UNSUPPORTED, "@%s: %s weights have no %s layout", graph->name, ir_dtype_info(type.dtype)->name,
                        ir_layout_name(op->attr[IR_ATTR_LAYOUT].layout));
    char name[48];
    snprintf(name, sizeof name, "pack_%s", ir_dtype_info(type.dtype)->name);
    CgBuild *build = cg_launch_begin(builder, name);
    KirFn *fn = build->fn;
    KirRef from = cg_pointer(build, op->operands[0]), to = cg_pointer(build, ir_op(graph, group)->results[0]);
    KirRef k = cg_const(build, columns, "K"), n = cg_const(build, rows, "N"),
           per_expert = cg_const(build, panels, "panels of an expert");
    cg_units(build, NULL, 0, panels * experts);
    build->bytes.constant = experts * (panels * bytes + rows * row_bytes);
    KirLoop units;
    KirRef unit = cg_units_begin(build, &units), expert = kir_sdiv(fn, unit, per_expert),
           first = kir_mul(fn, kir_srem(fn, unit, per_expert), kir_i64(fn, CG_PANEL_ROWS));
    KirRef valid = kir_min(fn, kir_sub(fn, n, first), kir_i64(fn, CG_PANEL_ROWS));
    KirRef row = kir_add(fn, kir_mul(fn, expert, n), first);
    KirRef source = kir_offset(fn, from, kir_mul(fn, row, cg_const(build, row_bytes, "bytes of a native row")));
    KirRef panel = kir_offset(fn, to, kir_mul(fn, unit, cg_const(build, bytes, "bytes of a panel")));
    mm_pack(fn, type.dtype, source, columns, k, valid, panel);
    cg_units_end(build, &units);
    cg_launch_end(builder);
    return NULL;
}
