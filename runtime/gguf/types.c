// SPDX-License-Identifier: Apache-2.0
// The table of tensor types.
#include "runtime/gguf.h"

#include <strings.h>

enum { PLAIN = false, QUANT = true };

static const GgmlTypeInfo type_table[] = {
#define GGML_TYPE(name, text, id, block, bytes, flags) {text, id, block, bytes, flags},
#include "runtime/ggml_types.def"
#undef GGML_TYPE
};

const GgmlTypeInfo *ggml_type_info(uint32_t id) {
    for (size_t i = 0; i < HD_COUNT(type_table); i++)
        if (type_table[i].id == id) return &type_table[i];
    return NULL;
}

const GgmlTypeInfo *ggml_type_named(HdStr name) {
    for (size_t i = 0; i < HD_COUNT(type_table); i++) {
        HdStr known = hd_str(type_table[i].name);
        if (known.len == name.len && strncasecmp(known.data, name.data, name.len) == 0) return &type_table[i];
    }
    return NULL;
}

uint64_t ggml_row_bytes(const GgmlTypeInfo *type, uint64_t ne0) {
    HD_ASSERT(ne0 % type->block == 0);
    return ne0 / type->block * type->block_bytes;
}
