// SPDX-License-Identifier: Apache-2.0
// A cubin is an ELF file. Its section ".nv.info" is a list of attributes, each a format, a number and a value; those of format SVAL hold the
// symbol of a kernel and a number of it. (NVIDIA documents none of this; `readelf -S` and what ptxas reports agree, which
// tests/cli/gpu.py holds every kernel to.)
#include "runtime/device/cubin.h"

#include <elf.h>
#include <string.h>

enum { NVIDIA_CUDA = 190 };                              // e_machine
enum { SVAL = 4, REGISTER_COUNT = 0x2f, MIN_STACK_SIZE = 0x12 };

typedef struct Cubin { const uint8_t *data; uint64_t bytes; Elf64_Ehdr head; } Cubin;
typedef struct Attribute { uint8_t format, number; uint16_t len; } Attribute;      // len: of the value behind it, of format SVAL
typedef struct OfSymbol { uint32_t symbol, value; } OfSymbol;

// Copies, since nothing in the file need be aligned. False: that is not in the file.
static bool copy(const Cubin *cubin, uint64_t offset, void *out, size_t len)
{
    if (offset > cubin->bytes || len > cubin->bytes - offset) return false;
    memcpy(out, cubin->data + offset, len);
    return true;
}

static bool section_at(const Cubin *cubin, uint32_t index, Elf64_Shdr *out_section)
{
    if (index >= cubin->head.e_shnum || cubin->head.e_shoff > cubin->bytes) return false;
    if (!copy(cubin, cubin->head.e_shoff + (uint64_t)index * sizeof *out_section, out_section, sizeof *out_section)) return false;
    return out_section->sh_offset <= cubin->bytes && out_section->sh_size <= cubin->bytes - out_section->sh_offset;
}

// Is this the name at an offset of a table of names?
static bool is_named(const Cubin *cubin, const Elf64_Shdr *names, uint64_t offset, const char *name)
{
    size_t len = strlen(name) + 1;
    return offset <= names->sh_size && len <= names->sh_size - offset && !memcmp(cubin->data + names->sh_offset + offset, name, len);
}

static bool find_section(const Cubin *cubin, const char *name, Elf64_Shdr *out_section)
{
    Elf64_Shdr names;
    if (!section_at(cubin, cubin->head.e_shstrndx, &names)) return false;
    for (uint32_t i = 1; i < cubin->head.e_shnum; i++)
        if (section_at(cubin, i, out_section) && is_named(cubin, &names, out_section->sh_name, name)) return true;
    return false;
}

static bool find_symbol(const Cubin *cubin, const char *name, uint32_t *out_index)
{
    Elf64_Shdr table, names;
    Elf64_Sym symbol;
    if (!find_section(cubin, ".symtab", &table) || !section_at(cubin, table.sh_link, &names)) return false;
    for (uint64_t i = 0; i < table.sh_size / sizeof symbol; i++) {
        if (!copy(cubin, table.sh_offset + i * sizeof symbol, &symbol, sizeof symbol)) return false;
        if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && is_named(cubin, &names, symbol.st_name, name)) return *out_index = (uint32_t)i, true;
    }
    return false;
}

static void take(const Attribute *attribute, uint32_t value, CubinUse *use)
{
    if (attribute->number == REGISTER_COUNT) use->registers = value;
    if (attribute->number == MIN_STACK_SIZE) use->local_bytes = value;
}

static bool read_info(const Cubin *cubin, const Elf64_Shdr *info, uint32_t symbol, CubinUse *out_use)
{
    Attribute attribute;
    OfSymbol value;
    for (uint64_t at = info->sh_offset, end = at + info->sh_size; at < end;) {
        if (!copy(cubin, at, &attribute, sizeof attribute)) return false;
        at += sizeof attribute;
        if (attribute.format != SVAL) continue;          // its value stands where others have a length
        bool of_symbol = attribute.len == sizeof value && copy(cubin, at, &value, sizeof value);
        if (of_symbol && value.symbol == symbol) take(&attribute, value.value, out_use);
        at += attribute.len;
    }
    return out_use->registers > 0;
}

bool rt_cubin_use(const uint8_t *data, uint64_t bytes, const char *kernel, CubinUse *out_use)
{
    Cubin cubin = {.data = data, .bytes = bytes};
    Elf64_Shdr info;
    uint32_t symbol;
    *out_use = (CubinUse){0};
    if (!copy(&cubin, 0, &cubin.head, sizeof cubin.head) || memcmp(cubin.head.e_ident, ELFMAG, SELFMAG) != 0) return false;
    if (cubin.head.e_ident[EI_CLASS] != ELFCLASS64 || cubin.head.e_machine != NVIDIA_CUDA) return false;
    return find_symbol(&cubin, kernel, &symbol) && find_section(&cubin, ".nv.info", &info) && read_info(&cubin, &info, symbol, out_use);
}
