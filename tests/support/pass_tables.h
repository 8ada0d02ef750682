// SPDX-License-Identifier: Apache-2.0
// The tables of passes.def and missed.def as the tests of passes need them: full names of rules, words of reasons, and which
// reasons a rule may give.
#ifndef HEDDLE_TESTS_PASS_TABLES_H
#define HEDDLE_TESTS_PASS_TABLES_H

#include "passes/passes.h"

typedef struct PassTableRule { PassId pass; const char *text; } PassTableRule;
static const PassTableRule pass_table_rules[RULE_COUNT] = {
#define RULE(pass, name, text, doc) {PASS_##pass, text},
#include "passes/passes.def"
#undef RULE
};
static const char *const pass_table_reasons[MISSED_COUNT] = {
#define MISSED(name, text) #name,
#include "passes/missed.def"
#undef MISSED
};
static const struct { PassRule rule; PassMissed reason; } pass_table_misses[] = {
#define MISS(pass, rule, reason) {RULE_##pass##_##rule, MISSED_##reason},
#include "passes/passes.def"
#undef MISS
};
static const bool pass_table_mandatory[PASS_COUNT] = {
#define PASS(name, text, numerics, mandatory, doc) mandatory,
#include "passes/passes.def"
#undef PASS
};

// "fuse-epilogue.route"; `out_name` has room for 64 characters.
static inline const char *pass_table_name(PassRule rule, char out_name[64])
{
    snprintf(out_name, 64, "%s.%s", pass_name(pass_table_rules[rule].pass), pass_table_rules[rule].text);
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
