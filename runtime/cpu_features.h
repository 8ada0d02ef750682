// SPDX-License-Identifier: Apache-2.0
// What this machine's processor can do and the operating system lets a program use (cpuid and the saved registers; AT_HWCAP).
#ifndef HEDDLE_CPU_FEATURES_H
#define HEDDLE_CPU_FEATURES_H

#include <stdbool.h>
#include <stddef.h>

// Is the extension with LLVM's name ("avx512vnni") there? False for names that are not in ir/targets.def's table of features.
bool hd_cpu_has(const char *feature);
// Is the extension there, and faster than what does without it? Targets that are named after this machine leave the others out.
bool hd_cpu_gains(const char *feature);
// The names that hd_cpu_has knows; NULL after the last.
const char *hd_cpu_feature(size_t index);
// What the processor calls itself; "CPU" where nobody knows.
void hd_cpu_name(char *out_text, size_t size);

#endif
