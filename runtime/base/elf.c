// SPDX-License-Identifier: Apache-2.0
// ELF files: sections and symbols by name.
#include "runtime/base/elf.h"

#include <string.h>

bool hd_elf_open(const uint8_t *data, uint64_t bytes, HdElf *out_elf)
{
    *out_elf = (HdElf){.data = data, .bytes = bytes};
    const unsigned char *id = out_elf->head.e_ident;
    return hd_elf_copy(out_elf, 0, &out_elf->head, sizeof out_elf->head) && !memcmp(id, ELFMAG, SELFMAG) && id[EI_CLASS] == ELFCLASS64 &&
           id[EI_DATA] == ELFDATA2LSB;
}

bool hd_elf_copy(const HdElf *elf, uint64_t offset, void *out, size_t len)
{
    if (offset > elf->bytes || len > elf->bytes - offset) return false;
    memcpy(out, elf->data + offset, len);
    return true;
}

bool hd_elf_section(const HdElf *elf, uint32_t index, Elf64_Shdr *out_section)
{
    if (index >= elf->head.e_shnum || elf->head.e_shoff > elf->bytes) return false;
    if (!hd_elf_copy(elf, elf->head.e_shoff + (uint64_t)index * sizeof *out_section, out_section, sizeof *out_section)) return false;
    return out_section->sh_offset <= elf->bytes && out_section->sh_size <= elf->bytes - out_section->sh_offset;
}

// Is this the name at an offset of a table of names?
static bool is_named(const HdElf *elf, const Elf64_Shdr *names, uint64_t offset, const char *name)
{
    size_t len = strlen(name) + 1;
    return offset <= names->sh_size && len <= names->sh_size - offset && !memcmp(elf->data + names->sh_offset + offset, name, len);
}

bool hd_elf_section_named(const HdElf *elf, const char *name, Elf64_Shdr *out_section)
{
    Elf64_Shdr names;
    if (!hd_elf_section(elf, elf->head.e_shstrndx, &names)) return false;
    for (uint32_t i = 1; i < elf->head.e_shnum; i++)
        if (hd_elf_section(elf, i, out_section) && is_named(elf, &names, out_section->sh_name, name)) return true;
    return false;
}

bool hd_elf_symbol(const HdElf *elf, const char *table, int type, const char *name, uint32_t *out_index, Elf64_Sym *out_symbol)
{
    Elf64_Shdr symbols, names;
    if (!hd_elf_section_named(elf, table, &symbols) || !hd_elf_section(elf, symbols.sh_link, &names)) return false;
    for (uint64_t i = 0; i < symbols.sh_size / sizeof *out_symbol; i++) {
        if (!hd_elf_copy(elf, symbols.sh_offset + i * sizeof *out_symbol, out_symbol, sizeof *out_symbol)) return false;
        if (ELF64_ST_TYPE(out_symbol->st_info) == type && is_named(elf, &names, out_symbol->st_name, name)) return *out_index = (uint32_t)i, true;
    }
    return false;
}

bool hd_elf_symbol_data(const HdElf *elf, const Elf64_Sym *symbol, void *out, size_t len)
{
    Elf64_Shdr section;
    if (symbol->st_shndx == SHN_UNDEF || !hd_elf_section(elf, symbol->st_shndx, &section)) return false;
    if (symbol->st_value < section.sh_addr || symbol->st_value - section.sh_addr > section.sh_size || symbol->st_size < len) return false;
    return len <= section.sh_size - (symbol->st_value - section.sh_addr) &&
           hd_elf_copy(elf, section.sh_offset + (symbol->st_value - section.sh_addr), out, len);
}
