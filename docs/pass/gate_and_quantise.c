// SPDX-License-Identifier: Apache-2.0
// A pass of one's own, as docs/WRITING_A_PASS.md makes it: the gated norm of a row of heads and the quantisation of the row in one kernel.
#include <heddle/pass.h>

#include <string.h>

#define TOGETHER PASS_OWN_RULE(0)
#define ON_GPU PASS_OWN_REASON(0)

static HdStatus *gate_and_quantise(IrGraph *graph, PassCtx *ctx, IrOpRef op)
{
    PassMatch m;
    if (!pass_match(graph, op, "quant_act(reshape(mul(rms_norm(_, _), silu(_))))", &m)) return NULL;
    if (!strcmp(pass_option(ctx, "on"), "no")) pass_missed(ctx, TOGETHER, graph, op, MISSED_option_off);
    else if (ir_target_is_gpu(pass_target(ctx))) pass_missed(ctx, TOGETHER, graph, op, ON_GPU);
    else if (!pass_is_private(graph, &m)) pass_missed(ctx, TOGETHER, graph, op, MISSED_has_uses);
    else pass_fuse(graph, ctx, TOGETHER, IR_GROUP_ROWWISE, m.op, m.ops);
    return NULL;
}

static HdStatus *run(IrGraph *graph, PassCtx *ctx) { return pass_each(graph, ctx, gate_and_quantise); }

HEDDLE_PASSES({
    .name = "gate-and-quantise",
    .doc = "Makes the gated norm of heads and the quantisation of its result one kernel.",
    .numerics = IR_NUMERICS_EXACT,
    .run = run,
    .before = "fuse-epilogue",
    .options = {{"on", "yes", "yes|no", "no: leave them apart, to compare"}},
    .rules = {{"together", "a quantisation, and the gated norm that only it reads", "option_off on_gpu has_uses too_many cycle"}},
    .reasons = {{"on_gpu", "on a GPU the product quantises and the delta rule norms"}},
    .example = "%tokens = input tokens : i32[T]\n"
               "%table = weight \"table\" : f32[100, 64]\n"
               "%gates = weight \"gates\" : f32[100, 64]\n"
               "%norm = weight \"norm\" : f32[32]\n"
               "%w = weight \"w\" : q8_0[32, 64]\n"
               "%x = embed %tokens, %table : f32[T, 64]\n"
               "%h = reshape %x : f32[T, 2, 32]\n"
               "%n = rms_norm %h, %norm {eps = 1e-06} : f32[T, 2, 32]\n"
               "%z = embed %tokens, %gates : f32[T, 64]\n"
               "%g = reshape %z : f32[T, 2, 32]\n"
               "%s = silu %g : f32[T, 2, 32]\n"
               "%o = mul %n, %s : f32[T, 2, 32]\n"
               "%f = reshape %o : f32[T, 64]\n"
               "%a = quant_act %f : q8a[T, 64]\n"
               "%y = linear %a, %w : f32[T, 32]\n"
               "return y = %y\n",
})
