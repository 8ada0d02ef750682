// SPDX-License-Identifier: Apache-2.0
// The tables of passes.def and missed.def.
#include "passes/passes.h"

#include <string.h>

#define EXACT IR_NUMERICS_EXACT
#define ORDERED IR_NUMERICS_ORDERED
#define BOUNDED IR_NUMERICS_BOUNDED
static const PassInfo infos[PASS_COUNT] = {
#define PASS(name, text, numerics, mandatory, doc) {text, numerics, mandatory, pass_##name, doc},
#include "passes/passes.def"
#undef PASS
};
static const uint8_t phases[PASS_COUNT] = {
#define PASS_PHASE(pass, number) [PASS_##pass] = number,
#include "passes/passes.def"
#undef PASS_PHASE
};
static const PassOptionInfo options[] = {
#define PASS_OPTION(pass, name, initial, values, doc) {PASS_##pass, name, initial, values, doc},
#include "passes/passes.def"
#undef PASS_OPTION
};
static const PassRuleInfo rules[RULE_COUNT] = {
#define RULE(pass, name, text, doc) {PASS_##pass, text, doc},
#include "passes/passes.def"
#undef RULE
};
static const PassMissedInfo missed[MISSED_COUNT] = {
#define MISSED(name, text) {#name, text},
#include "passes/missed.def"
#undef MISSED
};

const PassInfo *pass_info(PassId pass) { return &infos[pass]; }
uint32_t pass_phase(PassId pass) { return phases[pass]; }
const PassRuleInfo *pass_rule_info(PassRule rule) { return &rules[rule]; }
const PassMissedInfo *pass_missed_info(PassMissed reason) { return &missed[reason]; }

const PassOptionInfo *pass_option_info(PassId pass, uint32_t index)
{
    for (size_t i = 0; i < HD_COUNT(options); i++)
        if (options[i].pass == pass && index-- == 0) return &options[i];
    return NULL;
}
