// SPDX-License-Identifier: Apache-2.0
// A stable merge sort whose comparisons may fail.
#include "runtime/template/internal.h"

#include <string.h>

typedef struct Sorter { TplRun *run; const TplValue *keys; bool reverse; } Sorter;

// Must `right` come before `left`, which stood in front of it?
static HdStatus *swaps(const Sorter *sorter, size_t left, size_t right, bool *out) {
    const TplValue *a = &sorter->keys[right], *b = &sorter->keys[left];
    int order;
    HD_TRY(sorter->reverse ? tpl_order(sorter->run, b, a, &order) : tpl_order(sorter->run, a, b, &order));
    *out = order < 0;
    return NULL;
}

// from[start..middle) and from[middle..end), both sorted, into to[start..end).
static HdStatus *merge(const Sorter *sorter, const size_t *from, size_t *to, size_t start, size_t middle, size_t end) {
    size_t left = start, right = middle;
    for (size_t at = start; at < end; at++) {
        bool second = left == middle;
        if (left < middle && right < end) HD_TRY(swaps(sorter, from[left], from[right], &second));
        to[at] = second ? from[right++] : from[left++];
    }
    return NULL;
}

HdStatus *tpl_sorted(TplRun *run, const TplValue *keys, size_t count, bool reverse, size_t **out_order) {
    Sorter sorter = {run, keys, reverse};
    HD_TRY(tpl_room(run, 2 * count * sizeof(size_t)));
    size_t *order = HD_NEW_ARRAY(&run->arena, size_t, count), *other = HD_NEW_ARRAY(&run->arena, size_t, count);
    for (size_t i = 0; i < count; i++) order[i] = i;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t start = 0; start < count; start += 2 * width)
            HD_TRY(merge(&sorter, order, other, start, HD_MIN(start + width, count), HD_MIN(start + 2 * width, count)));
        size_t *swapped = order;
        order = other;
        other = swapped;
    }
    *out_order = order;
    return NULL;
}
