// SPDX-License-Identifier: Apache-2.0
// The rows of loaded passes behind those of the tables. Private to load.c and tables.c.
#ifndef HEDDLE_LOADED_H
#define HEDDLE_LOADED_H

#include "passes/passes.h"

typedef struct LoadedPass {
    PassInfo info;
    const PassText *text;
    const char *file;                      // as it was given
    PassOptionInfo options[PASS_MOST_OPTIONS];
    uint32_t option_count;
    uint32_t first_rule, rule_count;       // its own, in `rules`
    uint32_t first_reason, reason_count;
} LoadedPass;

typedef struct LoadedPasses {
    LoadedPass passes[PASS_MOST - PASS_COUNT];
    PassRuleInfo rules[RULE_MOST - RULE_COUNT];
    PassMissedInfo reasons[MISSED_MOST - MISSED_COUNT];
    uint32_t count, rule_count, reason_count;
} LoadedPasses;
extern LoadedPasses pass_loaded;           // load.c; grows, and is never changed otherwise

bool pass_loaded_declares(PassRule rule, PassMissed reason);

#endif
