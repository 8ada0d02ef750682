// SPDX-License-Identifier: Apache-2.0
// A cubin is an ELF file. Its section ".nv.info" is a list of attributes, each a format, a number and a value; those of format SVAL hold the
// symbol of a kernel and a number of it. (NVIDIA documents none of this; `readelf -S` and what ptxas reports agree, which
// tests/cli/gpu.py holds every kernel to.)
#include "runtime/device/cubin.h"
#include "runtime/base/elf.h"

enum { NVIDIA_CUDA = 190 };                              // e_machine
enum { SVAL = 4, REGISTER_COUNT = 0x2f, MIN_STACK_SIZE = 0x12 };

typedef struct Attribute { uint8_t format, number; uint16_t len; } Attribute;      // len: of the value behind it, of format SVAL
typedef struct OfSymbol { uint32_t symbol, value; } OfSymbol;

static void take(const Attribute *attribute, uint32_t value, CubinUse *use)
{
    if (attribute->number == REGISTER_COUNT) use->registers = value;
    if (attribute->number == MIN_STACK_SIZE) use->local_bytes = value;
}

static bool read_info(const HdElf *cubin, const Elf64_Shdr *info, uint32_t symbol, CubinUse *out_use)
{
    Attribute attribute;
    OfSymbol value;
    for (uint64_t at = info->sh_offset, end = at + info->sh_size; at < end;) {
        if (!hd_elf_copy(cubin, at, &attribute, sizeof attribute)) return false;
        at += sizeof attribute;
        if (attribute.format != SVAL) continue;          // its value stands where others have a length
        bool of_symbol = attribute.len == sizeof value && hd_elf_copy(cubin, at, &value, sizeof value);
        if (of_symbol && value.symbol == symbol) take(&attribute, value.value, out_use);
        at += attribute.len;
    }
    return out_use->registers > 0;
}

bool rt_cubin_use(const uint8_t *data, uint64_t bytes, const char *kernel, CubinUse *out_use)
{
    HdElf cubin;
    Elf64_Shdr info;
    Elf64_Sym found;
    uint32_t symbol;
    *out_use = (CubinUse){0};
    return hd_elf_open(data, bytes, &cubin) && cubin.head.e_machine == NVIDIA_CUDA && hd_elf_symbol(&cubin, ".symtab", STT_FUNC, kernel, &symbol, &found) &&
           hd_elf_section_named(&cubin, ".nv.info", &info) && read_info(&cubin, &info, symbol, out_use);
}
