// SPDX-License-Identifier: Apache-2.0
// Memory of a device that has its own: what is written comes back, and weights are there only as far as steps read them.
#ifndef HEDDLE_TESTS_SUITE_MEMORY_H
#define HEDDLE_TESTS_SUITE_MEMORY_H

#include "tests/unit/suite.h"

#include "runtime/runtime.h"

// Larger than the staging buffer, at places that are multiples of nothing.
static void bytes_come_back(void **state)
{
    (void)state;
    enum { BYTES = (40 << 20) + 24, FROM = 13, COUNT = BYTES - FROM };
    RtDevice *device = hand.model->device;
    const RtMemoryType *memory = device->type->memory;
    RtBuffer a, b;
    uint8_t *want = malloc(BYTES), *got = malloc(BYTES);
    OK(memory->alloc(device, BYTES, RT_ZEROED, "a test", &a));
    OK(memory->alloc(device, BYTES, RT_PLAIN, "a test", &b));
    OK(memory->read(device, &a, 0, BYTES, got));
    for (size_t i = 0; i < BYTES; i++) assert_true(got[i] == 0);
    for (size_t i = 0; i < BYTES; i++) want[i] = (uint8_t)(i * 2654435761u >> 24);
    OK(memory->write(device, &a, FROM, want + FROM, COUNT));
    OK(memory->copy(device, &b, 4, &a, 4, BYTES - 4));
    OK(memory->read(device, &b, FROM, COUNT, got));
    assert_memory_equal(got, want + FROM, COUNT);
    OK(memory->zero(device, &b, 1024, 32 << 20));
    OK(memory->read(device, &b, FROM, COUNT, got));
    memset(want + 1024, 0, 32 << 20);
    assert_memory_equal(got, want + FROM, COUNT);
    memory->free(device, &a);
    memory->free(device, &b);
    free(want);
    free(got);
}

static void only_what_steps_read_is_uploaded(void **state)
{
    (void)state;
    const HeddleModel *model = hand.model;
    float embed[HAND_VOCAB][HAND_DIM];
    const RtHome *home = &model->homes[HAND_W_EMBED];
    assert_true(home->block != RT_NO_BLOCK && model->homes[HAND_W_PACKED].block != RT_NO_BLOCK);
    assert_true(model->homes[HAND_W_OUT].block == RT_NO_BLOCK && model->addresses[HAND_W_OUT] == 0);
    OK(model->device->type->memory->read(model->device, &model->blocks.data[home->block], home->offset, sizeof embed, embed));
    assert_memory_equal(embed, hand.values.embed, sizeof embed);
}

// A tensor that is only packed is on the device while that is done, in several pieces.
static void large_weights_are_packed(void **state)
{
    (void)state;
    const uint64_t big = 70 << 20;
    HandOptions options = hand_device;
    options.big_bytes = big;
    Hand large;
    RtBuffer store = {0};
    const void *data;
    hand_open(&large, 1, NULL, &options, NULL);
    OK(rt_fetch_packed(large.model, HAND_W_BIG_PACKED, &store, &data));
    for (uint64_t i = 0; i < big; i += 8) {
        uint64_t value;
        memcpy(&value, (const uint8_t *)data + i, 8);
        assert_true(value == i);
    }
    rt_free(&store);
    hand_close(&large);
}

#endif
