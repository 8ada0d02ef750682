// SPDX-License-Identifier: Apache-2.0
// 64-bit little-endian ELF files, read with every offset checked and nothing of them run.
#ifndef HEDDLE_ELF_H
#define HEDDLE_ELF_H

#include "runtime/base/base.h"

#include <elf.h>

typedef struct HdElf { const uint8_t *data; uint64_t bytes; Elf64_Ehdr head; } HdElf;

// False: it is no such file. The bytes are to outlive *out_elf.
bool hd_elf_open(const uint8_t *data, uint64_t bytes, HdElf *out_elf);
// Copies, since nothing in the file need be aligned. False: that is not in the file.
bool hd_elf_copy(const HdElf *elf, uint64_t offset, void *out, size_t len);
// A section whose contents are in the file, by its number or its name.
bool hd_elf_section(const HdElf *elf, uint32_t index, Elf64_Shdr *out_section);
bool hd_elf_section_named(const HdElf *elf, const char *name, Elf64_Shdr *out_section);
// A symbol of this type (STT_FUNC, ..) in a table (".symtab", ".dynsym"), and its number there.
bool hd_elf_symbol(const HdElf *elf, const char *table, int type, const char *name, uint32_t *out_index, Elf64_Sym *out_symbol);
// The first bytes of a symbol's contents. False: the symbol is not defined in this file, or is smaller.
bool hd_elf_symbol_data(const HdElf *elf, const Elf64_Sym *symbol, void *out, size_t len);

#endif
