// SPDX-License-Identifier: Apache-2.0
// EMBED: rows of a native matrix by token id, decoded exactly. A work unit is a token.
#include "codegen/cpu/blocks.h"
#include "codegen/sched.h"

// Rows of blocks: whole blocks, 16 elements at a time.
static void decode_blocks(KirFn *fn, IrDtype dtype, KirRef row, KirRef columns, KirRef out) {
    const IrDtypeInfo *info = ir_dtype_info(dtype);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_sdiv(fn, columns, kir_i64(fn, info->block)), kir_i64(fn, 1), 0, NULL, &loop);
    KirRef block = kir_at(fn, row, loop.iv, info->block_bytes, 0), to = kir_at(fn, out, loop.iv, 4 * (int64_t)info->block, 0);
    for (uint32_t first = 0; first < info->block; first += 16)
        kir_store(fn, kir_offset_const(fn, to, 4 * first), cg_block_decode(fn, dtype, block, first));
    kir_for_end(fn, &loop, NULL);
}

static void convert_numbers(KirFn *fn, IrDtype dtype, KirRef row, KirRef columns, KirRef out) {
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), columns, kir_i64(fn, 16), 0, NULL, &loop);
    KirRef count = kir_min(fn, kir_sub(fn, columns, loop.iv), kir_i64(fn, 16));
    KirRef numbers = cg_block_decode_part(fn, dtype, kir_at(fn, row, loop.iv, ir_dtype_info(dtype)->block_bytes, 0), count);
    kir_store_part(fn, kir_at(fn, out, loop.iv, 4, 0), count, numbers);
    kir_for_end(fn, &loop, NULL);
}

HdStatus *cg_cpu_EMBED(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    CgEmbed embed;
    HD_TRY(cg_embed_plan(graph, group, cg_block_known, &embed));
    CgBuild *build = cg_embed_begin(builder, graph, &embed, 0);
    KirFn *fn = build->fn;
    KirRef row, to;
    KirLoop units;
    cg_embed_token(fn, &embed, cg_units_begin(build, &units), &row, &to);
    if (ir_dtype_info(embed.dtype)->block == 1) convert_numbers(fn, embed.dtype, row, embed.columns, to);
    else decode_blocks(fn, embed.dtype, row, embed.columns, to);
    cg_units_end(build, &units);
    cg_launch_end(builder);
    return NULL;
}
