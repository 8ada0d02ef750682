// SPDX-License-Identifier: Apache-2.0
// Sums and maxima over the lanes of a work group, through shared memory: no subgroup operation, so that neither the width of a
// subgroup nor the order of its lanes matters. WAYS lanes fold a share each, then every lane folds these: two barriers. A third is not
// needed: who stores for the next reduction has passed this one's second barrier, behind which nobody reads the first array, and the
// second array is written behind the next one's first.
#include "codegen/codegen.h"

enum { WAYS = 8 };
typedef KirPair Join(KirFn *fn, KirPair a, KirPair b);

static KirPair join_max(KirFn *fn, KirPair a, KirPair b) { return (KirPair){kir_max(fn, a.hi, b.hi), 0}; }
static KirPair join_sum(KirFn *fn, KirPair a, KirPair b) { return (KirPair){kir_add(fn, a.hi, b.hi), 0}; }

static KirPair join_exact(KirFn *fn, KirPair a, KirPair b) {
    KirPair sum = kir_exact_sum(fn, a.hi, b.hi);
    KirRef rest = a.lo && b.lo ? kir_add(fn, a.lo, b.lo) : a.lo ? a.lo : b.lo;
    return (KirPair){sum.hi, rest ? kir_add(fn, sum.lo, rest) : sum.lo};
}

// Arrays for the numbers and what they lack; kept for all reductions of a kernel.
static KirRef array_of(CgBuild *build, uint32_t which, KirScalar scalar, uint32_t count) {
    KirRef *array = &build->shared[scalar == KIR_F32][which];
    if (!*array) *array = kir_shared(build->fn, scalar, count);
    return *array;
}

static KirPair load_pair(CgBuild *build, const KirRef array[2], KirRef index, bool both) {
    return (KirPair){kir_shared_load(build->fn, array[0], index), both ? kir_shared_load(build->fn, array[1], index) : 0};
}

static void store_pair(CgBuild *build, const KirRef array[2], KirRef index, KirPair value) {
    kir_shared_store(build->fn, array[0], index, value.hi);
    if (value.lo) kir_shared_store(build->fn, array[1], index, value.lo);
}

static KirPair fold(CgBuild *build, const KirRef array[2], KirRef first, uint32_t count, bool both, Join *join) {
    KirPair sum = load_pair(build, array, first, both);
    for (uint32_t i = 1; i < count; i++) sum = join(build->fn, sum, load_pair(build, array, kir_add(build->fn, first, kir_i64(build->fn, i)), both));
    return sum;
}

static KirPair reduce(CgBuild *build, KirRef value, bool exact, Join *join) {
    KirFn *fn = build->fn;
    KirScalar scalar = (KirScalar)kir_type(fn, value).scalar;
    if (build->lanes == 1) return (KirPair){value, exact ? kir_float(fn, KT_F32, 0) : 0};
    HD_ASSERT(build->lanes % WAYS == 0);
    KirRef lane = kir_lane(fn), numbers[2] = {array_of(build, 0, scalar, build->lanes), 0}, parts[2];
    for (uint32_t i = 0; i < 2; i++) parts[i] = i == 0 || exact ? array_of(build, 1 + i, scalar, WAYS) : 0;
    store_pair(build, numbers, lane, (KirPair){value, 0});
    cg_barrier(build);
    KirIf first;
    kir_if_begin(fn, kir_cmp(fn, KIR_LT, lane, kir_i64(fn, WAYS)), &first);
    uint32_t share = build->lanes / WAYS;
    store_pair(build, parts, lane, fold(build, numbers, kir_mul(fn, lane, kir_i64(fn, share)), share, false, join));
    kir_if_end(fn, &first, NULL);
    cg_barrier(build);
    return fold(build, parts, kir_i64(fn, 0), WAYS, exact, join);
}

KirRef cg_group_max(CgBuild *build, KirRef value) { return reduce(build, value, false, join_max).hi; }
KirRef cg_group_sum(CgBuild *build, KirRef value) { return reduce(build, value, false, join_sum).hi; }
KirPair cg_group_sum_exact(CgBuild *build, KirRef value) { return reduce(build, value, true, join_exact); }
