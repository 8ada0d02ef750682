// SPDX-License-Identifier: Apache-2.0
// Our numbers are defined for rounding to nearest and with subnormal numbers, whatever the calling program has set in its thread.
#ifndef HEDDLE_FLOAT_MODE_H
#define HEDDLE_FLOAT_MODE_H

#if defined(__x86_64__)
#include <immintrin.h>

static inline unsigned int rt_float_mode_enter(void)
{
    unsigned int saved = _mm_getcsr();
    _mm_setcsr(0x1f80);                                  // the state a thread starts with: all exceptions masked
    return saved;
}

static inline void rt_float_mode_leave(unsigned int saved) { _mm_setcsr(saved); }
#elif defined(__aarch64__)
static inline void rt_float_mode_leave(unsigned int saved) { __asm__ volatile("msr fpcr, %0" : : "r"((unsigned long)saved)); }

static inline unsigned int rt_float_mode_enter(void)
{
    unsigned long saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    rt_float_mode_leave(0);                              // the state a thread starts with; the register has 32 bits
    return (unsigned int)saved;
}
#else
static inline unsigned int rt_float_mode_enter(void) { return 0; }
static inline void rt_float_mode_leave(unsigned int saved) { (void)saved; }
#endif

#endif
