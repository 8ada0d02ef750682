// SPDX-License-Identifier: Apache-2.0
// A model compiled in memory, for tests that run it by the runtime.
#ifndef HEDDLE_TESTS_COMPILE_FIXTURE_H
#define HEDDLE_TESTS_COMPILE_FIXTURE_H

#include "tests/unit/model_fixture.h"

#include "codegen/codegen.h"
#include "passes/passes.h"
#include "runtime/module.h"

// The default pipeline for this target with options as for --set.
static inline HeddleModule *compile_model(const GgufFile *file, const char *target_name, const char *const *sets, size_t set_count,
                                          const CgOptions *options) {
    IrTarget target;
    IrModule *graphs = build(file, NULL);
    must(ir_target_parse(target_name, &target));
    must(pass_run(graphs, &(PassConfig){.target = &target, .sets = sets, .set_count = set_count}, NULL));
    CgProgram *program;
    must(cg_compile(graphs, &target, options, &program));
    ir_graph_remove(graphs, ir_graph_find(graphs, "model"));
    HdBuf bytes;
    HeddleModule *module;
    must(cg_module_write(program, graphs, &target, &(CgModuleInfo){.model = file}, &bytes));
    must(heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module));
    hd_buf_free(&bytes);
    cg_program_free(program);
    ir_module_free(graphs);
    return module;
}

#endif
