// SPDX-License-Identifier: Apache-2.0
// libFuzzer entry: any bytes as graph text. What the parser accepts is verified, printed, read back and printed again,
// which must give the same text. Build with -DHEDDLE_FUZZ=ON (clang) and run
//   fuzz_hir -max_len=8192 CORPUS
#include "ir/ir.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_round_trip(const IrModule *module) {
    IrModule *again;
    HdBuf first = {0}, second = {0};
    ir_print_module(module, &first);
    HdStatus *status = ir_parse_module("again.hir", (HdStr){first.data, first.len}, &again);
    if (status) hd_assert_failed(__FILE__, __LINE__, hd_status_message(status));
    ir_print_module(again, &second);
    HD_ASSERT(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    ir_module_free(again);
    hd_buf_free(&first);
    hd_buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    IrModule *module;
    HdStatus *status = ir_parse_module("fuzz.hir", (HdStr){(const char *)data, len}, &module);
    if (!status) {
        for (size_t i = 0; i < module->graphs.len; i++) hd_status_free(ir_verify(module->graphs.data[i]));
        check_round_trip(module);
        ir_module_free(module);
    }
    hd_status_free(status);
    return 0;
}
