// SPDX-License-Identifier: Apache-2.0
#ifndef HEDDLE_TESTS_NMSE_H
#define HEDDLE_TESTS_NMSE_H

#include <stdint.h>

// Sum of squared differences over the sum of squares of `want`. Of nothing but zeroes it is no number, or infinite: no bound lets that pass.
static inline double nmse(const float *got, const float *want, uint64_t count)
{
    double error = 0, power = 0;
    for (uint64_t i = 0; i < count; i++) {
        double d = (double)got[i] - (double)want[i];
        error += d * d;
        power += (double)want[i] * (double)want[i];
    }
    return error / power;
}

#endif
