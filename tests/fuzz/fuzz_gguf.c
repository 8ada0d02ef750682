// SPDX-License-Identifier: Apache-2.0
// libFuzzer entry: any bytes, opened both ways and read to the end. Build with -DHEDDLE_FUZZ=ON (clang) and run
//   fuzz_gguf -max_len=4096 CORPUS
#include "tests/unit/gguf_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    for (int header_only = 0; header_only < 2; header_only++) {
        GgufFile *file;
        HdStatus *status = gguf_open_memory("fuzz.gguf", data, len, &(GgufOptions){.header_only = header_only}, &file);
        if (!status) gguf_walk(file);
        hd_status_free(status);
        gguf_close(file);
    }
    return 0;
}
