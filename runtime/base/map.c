// SPDX-License-Identifier: Apache-2.0
// A string map: open addressing with linear probing, at most two thirds full, capacity a power of two.
#include "runtime/base/base.h"

#include <stdlib.h>

struct HdMapSlot {
    uint64_t hash;                                         // 0: the slot is free
    HdStr key;
    uint32_t value;
};

static uint64_t hash_of(HdStr key) { return hd_digest(key.data, key.len).lo | 1; }

// The slot that holds `key`, or the free one where it belongs.
static struct HdMapSlot *find_slot(const HdMap *map, HdStr key, uint64_t hash) {
    size_t mask = map->cap - 1;
    for (size_t i = (size_t)(hash >> 1) & mask;; i = (i + 1) & mask) {
        struct HdMapSlot *slot = &map->slots[i];
        if (!slot->hash || (slot->hash == hash && hd_str_eq(slot->key, key))) return slot;
    }
}

static void grow(HdMap *map, size_t cap) {
    HdMap grown = {.cap = cap, .len = map->len};
    grown.slots = hd_xcalloc(grown.cap, sizeof *grown.slots);
    for (size_t i = 0; i < map->cap; i++)
        if (map->slots[i].hash) *find_slot(&grown, map->slots[i].key, map->slots[i].hash) = map->slots[i];
    free(map->slots);
    *map = grown;
}

void hd_map_reserve(HdMap *map, size_t len) {
    size_t cap = HD_MAX(map->cap, (size_t)16);
    while (len > cap / 3 * 2) cap *= 2;
    if (cap > map->cap) grow(map, cap);
}

bool hd_map_put(HdMap *map, HdStr key, uint32_t value) {
    hd_map_reserve(map, map->len + 1);
    uint64_t hash = hash_of(key);
    struct HdMapSlot *slot = find_slot(map, key, hash);
    if (slot->hash) return false;
    *slot = (struct HdMapSlot){hash, key, value};
    map->len++;
    return true;
}

bool hd_map_get(const HdMap *map, HdStr key, uint32_t *out_value) {
    if (!map->cap) return false;
    const struct HdMapSlot *slot = find_slot(map, key, hash_of(key));
    if (!slot->hash) return false;
    *out_value = slot->value;
    return true;
}

void hd_map_free(HdMap *map) {
    free(map->slots);
    *map = (HdMap){0};
}
