// SPDX-License-Identifier: Apache-2.0
// What the tests of every device share: the hand-made model opened on the device, three texts. Set hand_device before set_up.
#ifndef HEDDLE_TESTS_SUITE_H
#define HEDDLE_TESTS_SUITE_H

#include "tests/unit/hand_fixture.h"

enum { LENGTH = 61 };                                        // near the context of 64

static HandOptions hand_device;                              // {0}: the CPU
static Hand hand;
static int32_t text[3][LENGTH];

// Another model on the same device.
static inline void open_other(Hand *other, const HandWeights *values, bool cheap)
{
    HandOptions options = hand_device;
    options.cheap = cheap;
    hand_open(other, 1, values, &options, NULL);
}

static int set_up(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) random_tokens(text[i], LENGTH, i + 1);
    hand_open(&hand, 1, NULL, &hand_device, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hand_close(&hand);
    return 0;
}

#endif
