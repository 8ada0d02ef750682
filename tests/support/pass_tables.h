// SPDX-License-Identifier: Apache-2.0
// What the tests of passes need of passes.def beside its tables: full names of rules, and which reasons a rule may give.
#ifndef HEDDLE_TESTS_PASS_TABLES_H
#define HEDDLE_TESTS_PASS_TABLES_H

#include "passes/passes.h"

static const struct { PassRule rule; PassMissed reason; } pass_table_misses[] = {
#define MISS(pass, rule, reason) {RULE_##pass##_##rule, MISSED_##reason},
#include "passes/passes.def"
#undef MISS
};

// "fuse-epilogue.route"; `out_name` has room for 64 characters.
static inline const char *pass_table_name(PassRule rule, char out_name[64])
{
    snprintf(out_name, 64, "%s.%s", pass_name(pass_rule_info(rule)->pass), pass_rule_name(rule));
    return out_name;
}

// May the rule give this reason? Anyone's rule may be refused.
static inline bool pass_table_declares(PassRule rule, PassMissed reason)
{
    bool found = reason == MISSED_refused;
    for (size_t i = 0; i < HD_COUNT(pass_table_misses) && !found; i++)
        found = pass_table_misses[i].rule == rule && pass_table_misses[i].reason == reason;
    return found;
}

#endif
