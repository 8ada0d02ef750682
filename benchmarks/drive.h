// SPDX-License-Identifier: Apache-2.0
// What benchmarks/cpu.py measures with: drive.c with one of two programs behind it, drive_heddle.c or drive_llama.c. Both are driven the same way
// and hold the watch the same way, around calls of the program's C interface.
#ifndef HEDDLE_BENCHMARKS_DRIVE_H
#define HEDDLE_BENCHMARKS_DRIVE_H

#include <stdint.h>

typedef struct DriveOptions {
    const char *model, *module;      // GGUF file; compiled module (Heddle only)
    int threads, context;
} DriveOptions;

// Each ends the process with one line on stderr when the program fails.
void drive_open(const DriveOptions *options);
int drive_vocab(void);
void drive_describe(void);           // one line on stdout, without its end
// An empty sequence; then tokens without logits.
void drive_reset(void);
void drive_read(const int32_t *tokens, int count);
// Keeps the sequence as it is now; goes back to it.
void drive_keep(void);
void drive_restore(void);
// Appends tokens and computes the logits behind the last of them; returns when they are there.
void drive_eval(const int32_t *tokens, int count);
// The same with logits behind all of them: [count][vocab].
void drive_logits(const int32_t *tokens, int count, float *out_rows);

_Noreturn void drive_fail(const char *what);

#endif
