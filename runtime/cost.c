// SPDX-License-Identifier: Apache-2.0
// What a step costs, by what the compiler has written down about each launch.
#include "runtime/module.h"

HeddleStepCost heddle_step_cost(const HeddleModule *module, uint32_t tokens, uint32_t position)
{
    HeddleStepCost cost = {0, 0, 0};
    const RtClass *class = rt_class_for(module, tokens, 1, 1);
    const RtBinding binding = {{tokens, 1, (int64_t)position + tokens, 1}};
    for (uint32_t i = 0; class && i < class->launch_count; i++) {
        const RtLaunch *launch = &class->launches[i];
        int64_t bytes;
        if (rt_expr_eval(&module->exprs[launch->bytes], &binding, &bytes)) cost.bytes += (double)bytes;
        cost.launches++;
        cost.barriers += i == 0 || launch->stage != class->launches[i - 1].stage;
    }
    return cost;
}
