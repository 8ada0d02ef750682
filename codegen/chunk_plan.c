// SPDX-License-Identifier: Apache-2.0
// See sched.h.
#include "codegen/sched.h"

enum { CHUNK_UNIT = 16, MOST_CHUNK = 128 };

HdStatus *cg_chunk_op(const IrGraph *graph, IrOpRef group, IrOpKind kind, const IrOp **out_op) {
    HD_TRY(cg_group_op(graph, group, kind, out_op));
    HD_TRY(cg_check_results(graph, group, *out_op));
    int64_t size = (*out_op)->attr[IR_ATTR_CHUNK].i;
    if (size % CHUNK_UNIT == 0 && size <= MOST_CHUNK) return NULL;
    return hd_error(HD_UNSUPPORTED, "%s: chunk = %lld, must be a multiple of %d, at most %d", ir_op_info(kind)->name, (long long)size, CHUNK_UNIT,
                    MOST_CHUNK);
}

CgChunk cg_chunk(CgBuild *build, const IrOp *op, const IrType *value) {
    const IrType *k = cg_type(build->graph, op->operands[1]);
    return (CgChunk){.build = build,
                   .fn = build->fn,
                   .op = op,
                   .nk = k->dims[1],
                   .dk = k->dims[2],
                   .nv = value->dims[1],
                   .dv = value->dims[2],
                   .size = op->attr[IR_ATTR_CHUNK].i,
                   .q = cg_operand(build, op->operands[0]),
                   .k = cg_operand(build, op->operands[1])};
}

KirRef cg_chunk_key_row(const CgChunk *x, KirRef base, KirRef i) {
    KirRef token = kir_add(x->fn, x->first, i);
    return cg_element(x->fn, base, 2, (KirRef[2]){token, x->key_head}, (int64_t[2]){0, x->nk}, x->dk * 4);
}

KirRef cg_chunk_padded_row(const CgChunk *x, KirRef base, KirRef i, int64_t n) {
    KirRef row = kir_add(x->fn, x->row, i);
    return cg_element(x->fn, base, 2, (KirRef[2]){row, x->head}, (int64_t[2]){0, x->nv}, n * 4);
}

KirRef cg_chunk_token_row(const CgChunk *x, KirRef base, KirRef i, int64_t n) {
    KirRef token = kir_add(x->fn, x->first, i);
    return cg_element(x->fn, base, 2, (KirRef[2]){token, x->head}, (int64_t[2]){0, x->nv}, n * 4);
}

void cg_chunk_find(CgChunk *x, KirRef index) {
    CgPart part = cg_find_part(x->build, index, x->size);
    x->first = kir_add(x->fn, part.segment.first, part.passed);
    x->m = part.count;
    x->row = kir_mul(x->fn, index, kir_i64(x->fn, x->size));
}

KirRef cg_chunk_rows_before(const CgChunk *c, KirRef segment) {
    KirFn *fn = c->fn;
    KirLoop loop;
    KirRef zero = kir_i64(fn, 0);
    kir_for_begin(fn, zero, segment, kir_i64(fn, 1), 1, &zero, &loop);
    KirRef next = kir_add(fn, loop.carried[0], cg_ceil_div(fn, cg_segment(c->build, loop.iv).count, c->size));
    kir_for_end(fn, &loop, &next);
    return kir_mul(fn, loop.results[0], kir_i64(fn, c->size));
}

IrExpr cg_chunk_units(const CgBuild *build, const IrOp *op) {
    const IrType *U = cg_type(build->graph, op->results[0]);
    IrExpr chunks = ir_dim_expr(build->graph, U->dims[0]);      // E = size * chunks
    int64_t size = op->attr[IR_ATTR_CHUNK].i;
    chunks.constant /= size;
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) chunks.coef[i] /= size;
    for (uint32_t i = 0; i < chunks.ceils; i++) chunks.ceil[i].coef /= size;
    cg_expr_scale(&chunks, U->dims[1]);
    return chunks;
}
