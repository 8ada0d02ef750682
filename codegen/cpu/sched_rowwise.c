// SPDX-License-Identifier: Apache-2.0
// ROWWISE: groups without a contraction. One work unit per element of the leading dimensions that all results share; the unit
// planner does the rest.
#include "codegen/codegen.h"

HdStatus *cg_cpu_ROWWISE(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    CgUnit unit;
    HD_TRY(cg_unit_plan(graph, group, &unit));
    CgBuild *build = cg_launch_begin(builder, "rowwise");
    cg_units(build, unit.dims, unit.prefix, 1);
    cg_account(build);
    cg_unit_pointers(build, &unit);
    KirLoop loop;
    KirRef coord[4];
    cg_unit_coords(build->fn, cg_units_begin(build, &loop), unit.dims, unit.prefix, coord);
    CgRegion *region = cg_region_new(build);
    cg_unit_emit(region, &unit, coord);
    cg_region_free(region);
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}
