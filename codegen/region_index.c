// SPDX-License-Identifier: Apache-2.0
// Positions as sums of loop variables, and how a reshape changes them.
#include "codegen/region_internal.h"

CgIndex cg_index(KirRef ref, int64_t bound) { return (CgIndex){.count = 1, .term = {{ref, 1, bound}}}; }
CgIndex cg_index_number(int64_t value) { return (CgIndex){.constant = value}; }

static void add_term(KirFn *fn, CgIndex *sum, KirRef ref, int64_t scale, int64_t bound) {
    for (uint32_t i = 0; i < sum->count; i++)
        if (sum->term[i].ref == ref) {
            sum->term[i].scale += scale;
            return;
        }
    if (sum->count == CG_INDEX_TERMS) {   // too many to keep apart
        CgIndex all = {.count = sum->count};
        for (uint32_t i = 0; i < sum->count; i++) all.term[i] = sum->term[i];
        KirRef folded = cg_index_ref(fn, &all);
        *sum = (CgIndex){.count = 1, .term = {{folded, 1, 0}}, .constant = sum->constant};
    }
    sum->term[sum->count].ref = ref;
    sum->term[sum->count].scale = scale;
    sum->term[sum->count++].bound = bound;
}

CgIndex cg_index_sum(KirFn *fn, CgIndex a, CgIndex b, int64_t scale) {
    a.constant += b.constant * scale;
    for (uint32_t i = 0; i < b.count && scale; i++) add_term(fn, &a, b.term[i].ref, b.term[i].scale * scale, b.term[i].bound);
    return a;
}

KirRef cg_index_ref(KirFn *fn, const CgIndex *index) {
    KirRef sum = kir_i64(fn, 0);
    for (uint32_t i = 0; i < index->count; i++)
        sum = kir_add(fn, sum, kir_mul(fn, index->term[i].ref, kir_i64(fn, index->term[i].scale)));
    return kir_add(fn, sum, kir_i64(fn, index->constant));
}

// Takes the terms that are whole multiples of `size` as the quotient; true when what is left is surely below it.
static bool divide_by_terms(const CgIndex *index, int64_t size, CgIndex *out_quotient, CgIndex *out_rest) {
    *out_quotient = cg_index_number(index->constant / size);
    *out_rest = cg_index_number(index->constant % size);
    int64_t most = out_rest->constant;
    for (uint32_t i = 0; i < index->count; i++) {
        int64_t scale = index->term[i].scale, bound = index->term[i].bound;
        CgIndex *to = scale % size ? out_rest : out_quotient;
        to->term[to->count] = index->term[i];
        to->term[to->count++].scale = scale % size ? scale : scale / size;
        if (scale % size && (!bound || scale < 0 || bound > size)) return false;
        if (scale % size) most += (bound - 1) * scale;
    }
    return most < size;
}

static void divide(KirFn *fn, const CgIndex *index, int64_t size, CgIndex *out_quotient, CgIndex *out_rest) {
    if (divide_by_terms(index, size, out_quotient, out_rest)) return;
    KirRef ref = cg_index_ref(fn, index);
    *out_quotient = cg_index(kir_sdiv(fn, ref, kir_i64(fn, size)), 0);
    *out_rest = cg_index(kir_srem(fn, ref, kir_i64(fn, size)), size);
}

// Takes one more dimension into a group, if it is a number.
static bool extend(const IrDim *dims, uint32_t *at, IrDim *product) {
    if (*at == 0 || ir_dim_is_sym(dims[*at - 1])) return false;
    *product *= dims[--*at];
    return true;
}

bool cg_split_dims(uint32_t rank_a, const IrDim *a, uint32_t rank_b, const IrDim *b, CgDimGroup out_groups[4],
                   uint32_t *out_count) {
    uint32_t i = rank_a, j = rank_b;
    for (*out_count = 0;; ++*out_count) {
        while (i && a[i - 1] == 1) i--;
        while (j && b[j - 1] == 1) j--;
        if (!i && !j) return true;
        if (!i || !j) return false;
        CgDimGroup *group = &out_groups[*out_count];
        *group = (CgDimGroup){.a1 = i, .b1 = j};
        IrDim x = a[--i], y = b[--j];
        bool numbers = true;
        while (x != y && numbers) {
            if (ir_dim_is_sym(x) || ir_dim_is_sym(y)) numbers = false;
            else numbers = x < y ? extend(a, &i, &x) : extend(b, &j, &y);
        }
        if (!numbers) i = j = 0;   // symbols stand in front: all that is left is one group
        group->a0 = i, group->b0 = j;
        for (uint32_t k = i + 1; k < group->a1; k++) if (ir_dim_is_sym(a[k])) return false;
        for (uint32_t k = j + 1; k < group->b1; k++) if (ir_dim_is_sym(b[k])) return false;
    }
}

// Row-major position within dimensions begin..end-1.
static CgIndex linear_in(KirFn *fn, const CgPlace *place, uint32_t begin, uint32_t end) {
    CgIndex sum = {0};
    int64_t stride = 1;
    for (uint32_t i = end; i-- > begin;) {
        sum = cg_index_sum(fn, sum, place->at[i], stride);
        HD_ASSERT(i == begin || !ir_dim_is_sym(place->dims[i]));
        stride *= place->dims[i];
    }
    return sum;
}

CgIndex cg_place_linear(KirFn *fn, const CgPlace *place) { return linear_in(fn, place, 0, place->rank); }

CgPlace cg_place_in(KirFn *fn, const CgPlace *place, const IrType *type) {
    if (cg_place_has_dims(place->rank, place->dims, type)) return *place;
    CgPlace to = {.rank = type->rank};
    for (uint32_t i = 0; i < type->rank; i++) to.dims[i] = type->dims[i];
    CgDimGroup groups[4];
    uint32_t count;
    HD_ASSERT(cg_split_dims(place->rank, place->dims, to.rank, to.dims, groups, &count));
    for (uint32_t g = 0; g < count; g++) {
        CgIndex rest = linear_in(fn, place, groups[g].a0, groups[g].a1);
        for (uint32_t i = groups[g].b1; i-- > groups[g].b0 + 1;) {
            CgIndex whole = rest;
            divide(fn, &whole, to.dims[i], &rest, &to.at[i]);
        }
        to.at[groups[g].b0] = rest;
    }
    return to;
}

bool cg_index_reshape(KirFn *fn, const IrType *from, const CgIndex *at, const IrType *to, CgIndex *out_at) {
    CgPlace place = {.rank = from->rank};
    for (uint32_t i = 0; i < from->rank; i++) place.dims[i] = from->dims[i], place.at[i] = at[i];
    CgDimGroup groups[4];
    uint32_t count;
    if (!cg_split_dims(from->rank, from->dims, to->rank, to->dims, groups, &count)) return false;
    place = cg_place_in(fn, &place, to);
    for (uint32_t i = 0; i < to->rank; i++) out_at[i] = place.at[i];
    return true;
}
