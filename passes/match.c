// SPDX-License-Identifier: Apache-2.0
// Patterns: a tree of operations as text, matched against the graph from its root to its operands; and what a rule that replaces what it has found needs.
#include "passes/internal.h"

#include <string.h>

typedef struct Matcher {
    const IrGraph *graph;
    PassMatch *match;
    HdStr words[PASS_MOST_MATCHED];        // by number in match->value
} Matcher;

// The word at the beginning of a tree, and what is behind it.
static HdStr take_word(const char **at)
{
    *at += strspn(*at, " ");
    HdStr word = {*at, strcspn(*at, " (),")};
    *at += word.len;
    *at += strspn(*at, " ");
    if (!word.len) hd_assert_failed(__FILE__, __LINE__, *at);
    return word;
}

// What follows a tree: "," or ")" or the end of the pattern.
static const char *skip_tree(const char *at)
{
    for (int depth = 0; *at && (depth || !strchr(",)", *at)); at++) depth += *at == '(' ? 1 : *at == ')' ? -1 : 0;
    return at;
}

static bool match_word(Matcher *m, HdStr word, IrValue value)
{
    if (hd_str_is(word, "_")) return true;
    for (uint32_t i = 0; i < m->match->values; i++)
        if (hd_str_eq(m->words[i], word)) return m->match->value[i] == value;
    HD_ASSERT(m->match->values < PASS_MOST_MATCHED);
    m->words[m->match->values] = word;
    m->match->value[m->match->values++] = value;
    return true;
}

static bool match_op(Matcher *m, const char *pattern, IrOpRef ref);

static bool match_tree(Matcher *m, const char *pattern, IrValue value)
{
    const char *behind = pattern;
    HdStr word = take_word(&behind);
    if (*behind != '(') return match_word(m, word, value);
    IrOpRef producer = pass_producer(m->graph, value);
    return producer && ir_op(m->graph, producer)->results[0] == value && match_op(m, pattern, producer);
}

// `trees`: what stands behind the operation's "(". In both orders of the operands the words get their numbers in the order of the text.
static bool match_operands(Matcher *m, const char *trees, const IrOp *op, bool swapped)
{
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const char *end = skip_tree(trees);
        if (!match_tree(m, trees, op->operands[swapped ? 1 - i : i])) return false;
        if (*end != (i + 1 < op->operand_count ? ',' : ')')) return false;
        trees = end + 1;
    }
    return true;
}

static bool match_op(Matcher *m, const char *pattern, IrOpRef ref)
{
    const IrOp *op = ir_op(m->graph, ref);
    IrOpKind kind;
    HdStr name = take_word(&pattern);
    if (!ir_op_named(name, &kind)) hd_assert_failed(__FILE__, __LINE__, name.data);
    if (op->kind != kind) return false;
    HD_ASSERT(*pattern == '(');
    HD_ASSERT(m->match->ops < PASS_MOST_MATCHED);
    m->match->op[m->match->ops++] = ref;
    const PassMatch before = *m->match;
    if (match_operands(m, pattern + 1, op, false)) return true;
    if (kind != IR_OP_add && kind != IR_OP_mul) return false;
    *m->match = before;
    return match_operands(m, pattern + 1, op, true);
}

bool pass_match(const IrGraph *graph, IrOpRef root, const char *pattern, PassMatch *out_match)
{
    Matcher matcher = {.graph = graph, .match = out_match};
    *out_match = (PassMatch){.ops = 0};
    return match_op(&matcher, pattern, root);
}

bool pass_is_private(const IrGraph *graph, const PassMatch *match)
{
    for (uint32_t i = 1; i < match->ops; i++) {
        const IrOp *op = ir_op(graph, match->op[i]);
        uint32_t reads = 0;
        for (uint32_t r = 0; r < op->result_count; r++) reads += ir_use_count(graph, op->results[r]);
        if (reads > 1) return false;
    }
    return true;
}

// ---- rules that build and replace ----------------------------------------------------------------------------------------

HdStatus *pass_each(IrGraph *graph, PassCtx *ctx, HdStatus *(*rule)(IrGraph *graph, PassCtx *ctx, IrOpRef op))
{
    PassWalk walk = pass_walk_begin(graph);
    HdStatus *status = NULL;
    for (IrOpRef ref; !status && (ref = pass_walk_next(&walk));) status = rule(graph, ctx, ref);
    pass_walk_end(&walk);
    return status;
}

static IrOpRef build_in_layer(IrGraph *graph, const IrBuild *build, IrOpRef like, HdStatus **out_status)
{
    IrOpRef made = ir_build(graph, build, out_status);
    if (made) ir_op(graph, made)->layer = like ? ir_op(graph, like)->layer : -1;
    return made;
}

IrOpRef pass_build(IrGraph *graph, const IrBuild *build, IrOpRef like)
{
    HdStatus *status;
    IrOpRef made = build_in_layer(graph, build, like, &status);
    if (status) hd_assert_failed(__FILE__, __LINE__, hd_status_message(status));
    return made;
}

IrOpRef pass_try_build(IrGraph *graph, const IrBuild *build, IrOpRef like)
{
    HdStatus *status;
    IrOpRef made = build_in_layer(graph, build, like, &status);
    hd_status_free(status);
    return made;
}

HdStatus *pass_make(IrGraph *graph, IrOpRef at, const IrBuild *build, IrValue *out_value)
{
    HdStatus *status;
    IrBuild placed = *build;
    placed.block = ir_op(graph, at)->block, placed.before = at;
    IrOpRef made = build_in_layer(graph, &placed, at, &status);
    if (made) *out_value = ir_op(graph, made)->results[0];
    return status;
}

void pass_replace(IrGraph *graph, IrOpRef op, IrValue by)
{
    ir_replace_uses(graph, ir_op(graph, op)->results[0], by);
    ir_erase(graph, op);
}
