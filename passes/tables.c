// SPDX-License-Identifier: Apache-2.0
// The tables of passes.def and missed.def; behind their rows stand the passes that have been loaded (load.c).
#include "passes/loaded.h"

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
static const struct { PassRule rule; PassMissed reason; } misses[] = {
#define MISS(pass, rule, reason) {RULE_##pass##_##rule, MISSED_##reason},
#include "passes/passes.def"
#undef MISS
};

uint32_t pass_count(void) { return PASS_COUNT + pass_loaded.count; }
uint32_t pass_rule_count(void) { return RULE_COUNT + pass_loaded.rule_count; }
uint32_t pass_missed_count(void) { return MISSED_COUNT + pass_loaded.reason_count; }
const PassInfo *pass_info(PassId pass) { return pass < PASS_COUNT ? &infos[pass] : &pass_loaded.passes[pass - PASS_COUNT].info; }
uint32_t pass_phase(PassId pass) { return pass < PASS_COUNT ? phases[pass] : 0; }
const PassRuleInfo *pass_rule_info(PassRule rule) { return rule < RULE_COUNT ? &rules[rule] : &pass_loaded.rules[rule - RULE_COUNT]; }

const PassMissedInfo *pass_missed_info(PassMissed reason)
{
    return reason < MISSED_COUNT ? &missed[reason] : &pass_loaded.reasons[reason - MISSED_COUNT];
}

const PassOptionInfo *pass_option_info(PassId pass, uint32_t index)
{
    if (pass >= PASS_COUNT) {
        const LoadedPass *loaded = &pass_loaded.passes[pass - PASS_COUNT];
        return index < loaded->option_count ? &loaded->options[index] : NULL;
    }
    for (size_t i = 0; i < HD_COUNT(options); i++)
        if (options[i].pass == pass && index-- == 0) return &options[i];
    return NULL;
}

bool pass_declares(PassRule rule, PassMissed reason)
{
    if (rule >= RULE_COUNT) return pass_loaded_declares(rule, reason);
    for (size_t i = 0; i < HD_COUNT(misses); i++)
        if (misses[i].rule == rule && misses[i].reason == reason) return true;
    return false;
}
