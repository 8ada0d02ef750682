// SPDX-License-Identifier: Apache-2.0
// Which events a reader asks for, and what must have fired.
#include "passes/workbench/workbench.h"

#include <string.h>

// "norm" or "fuse-norm.norm".
static bool is_rule(PassRule rule, HdStr name)
{
    char full[96];
    const PassRuleInfo *info = pass_rule_info(rule);
    snprintf(full, sizeof full, "%s.%s", pass_name(info->pass), info->name);
    return hd_str_is(name, full) || hd_str_is(name, info->name);
}

static HdStatus *find_rule(const char *option, HdStr name, PassRule *out_rule)
{
    for (uint32_t rule = 0; rule < pass_rule_count(); rule++)
        if (is_rule((PassRule)rule, name)) return *out_rule = (PassRule)rule, NULL;
    return hd_error(HD_USAGE, "%s " HD_STR_FMT ": there is no such rule; `heddle passes` lists them", option, HD_STR_ARG(name));
}

HdStatus *wb_check_explain(const char *only)
{
    PassRule rule;
    if (!only || !only[0] || only[0] == '%') return NULL;
    return find_rule("--explain", hd_str(only), &rule);
}

// Is `value` ("%12") a result of the node ("%12, %13 = topk"), or, of one without results, an operand?
static bool names_value(const char *node, const char *value)
{
    size_t len = strlen(value);
    for (const char *at = node; (at = strstr(at, value)); at += len)
        if (!strchr("0123456789", at[len]) || !at[len]) return true;
    return false;
}

bool wb_explains(const WbOptions *options, const WbEvent *event)
{
    const char *only = options->explain_only;
    if (!only || !only[0]) return true;
    return only[0] == '%' ? names_value(event->node, only) || !strcmp(event->operand, only) : is_rule(event->rule, hd_str(only));
}

// ---- --require ---------------------------------------------------------------------------------------------------

static HdStatus *parse_require(const char *text, PassRule *out_rule, int64_t *out_count)
{
    const char *colon = strchr(text, ':');
    *out_count = 1;
    HD_TRY(find_rule("--require", (HdStr){text, colon ? (size_t)(colon - text) : strlen(text)}, out_rule));
    if (!colon || (hd_parse_i64(hd_str(colon + 1), out_count) && *out_count > 0)) return NULL;
    return hd_error(HD_USAGE, "--require %s: expected RULE or RULE:N with N from 1", text);
}

HdStatus *wb_check_requires(const char *const *requires, size_t count)
{
    PassRule rule;
    int64_t least;
    for (size_t i = 0; i < count; i++) HD_TRY(parse_require(requires[i], &rule, &least));
    return NULL;
}

// "; it did not for: the reader is in another group already (48), .."
static void put_reasons(const uint32_t missed[MISSED_MOST], HdBuf *out)
{
    const char *before = "; where it did not: ";
    for (uint32_t reason = 0; reason < pass_missed_count(); reason++) {
        if (!missed[reason]) continue;
        hd_buf_printf(out, "%s%s (%u)", before, pass_missed_info((PassMissed)reason)->text, missed[reason]);
        before = ", ";
    }
    hd_buf_str(out, before[0] == ';' ? "; nothing was near to it" : "");
}

HdStatus *wb_require(const uint32_t fired[RULE_MOST], const uint32_t missed[RULE_MOST][MISSED_MOST], const char *const *requires, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        PassRule rule;
        int64_t least;
        HdBuf reasons = {0};
        HD_TRY(parse_require(requires[i], &rule, &least));
        if (fired[rule] >= least) continue;
        put_reasons(missed[rule], &reasons);
        HdStatus *status = hd_error(HD_MISMATCH, "--require %s: the rule fired %u times%s", requires[i], fired[rule], reasons.data);
        hd_buf_free(&reasons);
        return status;
    }
    return NULL;
}
