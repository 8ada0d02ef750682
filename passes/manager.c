// SPDX-License-Identifier: Apache-2.0
// The pass manager: pipelines as text, options, the verifier between passes, and the count of what fired and what did not.
#include "passes/passes.h"

#include <stdlib.h>
#include <string.h>

typedef struct PassInfo {
    const char *name;
    IrNumerics numerics;
    bool mandatory;
    PassRun *run;
    const char *doc;
} PassInfo;
typedef struct OptionInfo {
    PassId pass;
    const char *name, *initial, *values;
} OptionInfo;

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
static const OptionInfo options[] = {
#define PASS_OPTION(pass, name, initial, values, doc) {PASS_##pass, name, initial, values},
#include "passes/passes.def"
#undef PASS_OPTION
};
static const char *const rule_names[RULE_COUNT] = {
#define RULE(pass, name, text, doc) text,
#include "passes/passes.def"
#undef RULE
};
static const char *const missed_texts[MISSED_COUNT] = {
#define MISSED(name, text) text,
#include "passes/missed.def"
#undef MISSED
};

const char *pass_name(PassId pass) { return infos[pass].name; }
const char *pass_rule_name(PassRule rule) { return rule_names[rule]; }
const char *pass_missed_text(PassMissed reason) { return missed_texts[reason]; }

// The default pipelines, one per target family.
const char *pass_default_pipeline(const IrTarget *target)
{
    if (ir_target_is_gpu(target))
        return "canonicalize,cse,dce,arg-max,specialise,delta-net{form=wy,chunk=32,least=64},split-attention,moe-dispatch{tile=32},"
               "quantise-activations,cse,"
               "merge-projections,select-layout{layout=native},fuse-epilogue,fuse-norm,dce,partition,schedule,plan-memory";
    return "canonicalize,cse,dce,specialise,delta-net,moe-dispatch,quantise-activations,cse,merge-projections,select-layout,"
           "fuse-epilogue,fuse-norm,dce,partition,schedule,plan-memory";
}

// ---- what rules report -----------------------------------------------------------------------------------------

bool pass_fire(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node)
{
    PassEvent event = {ctx->pass, rule, graph, node, true, MISSED_refused};
    if (ctx->config->event && !ctx->config->event(ctx->config->user, &event)) {
        ctx->missed[rule][MISSED_refused]++;
        return false;
    }
    ctx->fired[rule]++;
    return true;
}

void pass_missed(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node, PassMissed reason)
{
    PassEvent event = {ctx->pass, rule, graph, node, false, reason};
    if (ctx->config->event) (void)ctx->config->event(ctx->config->user, &event);
    ctx->missed[rule][reason]++;
}

// ---- options ---------------------------------------------------------------------------------------------------

// Index among the options of its pass, as in PassCtx.options; -1 when the pass has no such option.
static int option_index(PassId pass, HdStr name, const OptionInfo **out_info)
{
    int index = 0;
    for (size_t i = 0; i < HD_COUNT(options); i++) {
        if (options[i].pass != pass) continue;
        *out_info = &options[i];
        if (hd_str_is(name, options[i].name)) return index;
        index++;
    }
    return -1;
}

const char *pass_option(const PassCtx *ctx, const char *name)
{
    const OptionInfo *info;
    int index = option_index(ctx->pass, hd_str(name), &info);
    HD_ASSERT(index >= 0);
    return ctx->options[index] ? ctx->options[index] : info->initial;
}

int64_t pass_option_int(const PassCtx *ctx, const char *name)
{
    int64_t value;
    HD_ASSERT(hd_parse_i64(hd_str(pass_option(ctx, name)), &value));
    return value;
}

static HdStatus *check_value(const OptionInfo *info, HdStr value)
{
    long long low, high;
    int64_t number;
    if (sscanf(info->values, "int %lld %lld", &low, &high) == 2) {
        if (hd_parse_i64(value, &number) && number >= low && number <= high) return NULL;
        return hd_error(HD_USAGE, "%s{%s=" HD_STR_FMT "}: expected a number from %lld to %lld", pass_name(info->pass), info->name,
                        HD_STR_ARG(value), low, high);
    }
    for (const char *word = info->values; word; word = strchr(word, '|') ? strchr(word, '|') + 1 : NULL) {
        size_t len = strcspn(word, "|");
        if (value.len == len && !memcmp(value.data, word, len)) return NULL;
    }
    return hd_error(HD_USAGE, "%s{%s=" HD_STR_FMT "}: expected one of %s", pass_name(info->pass), info->name, HD_STR_ARG(value),
                    info->values);
}

// ---- pipelines -------------------------------------------------------------------------------------------------

typedef struct Step {
    PassId pass;
    const char *options[8];
} Step;
typedef struct Pipeline {
    HdArena arena;
    HD_VEC(Step) steps;
} Pipeline;

static HdStatus *find_pass(HdStr name, PassId *out_pass)
{
    HdBuf names = {0};
    for (int i = 0; i < PASS_COUNT; i++) {
        if (hd_str_is(name, infos[i].name)) {
            *out_pass = (PassId)i;
            hd_buf_free(&names);
            return NULL;
        }
        hd_buf_printf(&names, "%s%s", i ? ", " : "", infos[i].name);
    }
    HdStatus *status = hd_error(HD_USAGE, "there is no pass \"" HD_STR_FMT "\"; passes are %s", HD_STR_ARG(name), names.data);
    hd_buf_free(&names);
    return status;
}

// The first item of a list separated by commas outside braces; out_rest is what follows the comma, NULL when there is none.
static HdStr first_item(HdStr text, HdStr *out_rest)
{
    int depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '{') depth++;
        if (text.data[i] == '}') depth--;
        if (text.data[i] != ',' || depth) continue;
        *out_rest = (HdStr){text.data + i + 1, text.len - i - 1};
        return (HdStr){text.data, i};
    }
    *out_rest = (HdStr){NULL, 0};
    return text;
}

// "k=v,k=v" into a step.
static HdStatus *parse_options(Pipeline *pipeline, Step *step, HdStr text)
{
    for (HdStr rest = text; rest.data;) {
        HdStr item = first_item(rest, &rest);
        const char *equal = item.len ? memchr(item.data, '=', item.len) : NULL;
        if (!equal)
            return hd_error(HD_USAGE, "%s{" HD_STR_FMT "}: options are written name=value, with commas between them",
                            pass_name(step->pass), HD_STR_ARG(text));
        HdStr name = {item.data, (size_t)(equal - item.data)}, value = {equal + 1, item.len - (size_t)(equal + 1 - item.data)};
        const OptionInfo *info = NULL;
        int index = option_index(step->pass, name, &info);
        if (index < 0) return hd_error(HD_USAGE, "%s has no option \"" HD_STR_FMT "\"", pass_name(step->pass), HD_STR_ARG(name));
        HD_TRY(check_value(info, value));
        step->options[index] = hd_arena_strndup(&pipeline->arena, value.data, value.len);
    }
    return NULL;
}

// "name" or "name{options}" into a step; `text` is one item.
static HdStatus *parse_step(Pipeline *pipeline, HdStr text, Step *out_step)
{
    const char *brace = memchr(text.data, '{', text.len);
    HdStr name = {text.data, brace ? (size_t)(brace - text.data) : text.len};
    HD_TRY(find_pass(name, &out_step->pass));
    if (!brace) return NULL;
    if (text.data[text.len - 1] != '}')
        return hd_error(HD_USAGE, "pass \"" HD_STR_FMT "\": does not end in \"}\"", HD_STR_ARG(text));
    return parse_options(pipeline, out_step, (HdStr){brace + 1, text.len - name.len - 2});
}

static HdStatus *parse_list(Pipeline *pipeline, const PassConfig *config, HdStr text, bool allow_default)
{
    for (HdStr rest = text; rest.data;) {
        HdStr item = first_item(rest, &rest);
        Step step = {0};
        if (!item.len) return hd_error(HD_USAGE, "pipeline \"" HD_STR_FMT "\": an item is empty", HD_STR_ARG(text));
        if (allow_default && hd_str_is(item, "default")) {
            HD_TRY(parse_list(pipeline, config, hd_str(pass_default_pipeline(config->target)), false));
        } else {
            HD_TRY(parse_step(pipeline, item, &step));
            hd_vec_push(&pipeline->steps, step);
        }
    }
    return NULL;
}

// --set: changes the options of every step of that pass.
static HdStatus *apply_set(Pipeline *pipeline, const char *text)
{
    Step step = {0};
    bool found = false;
    if (!strchr(text, '{')) return hd_error(HD_USAGE, "--set %s: expected PASS{option=value}", text);
    HD_TRY(parse_step(pipeline, hd_str(text), &step));
    for (size_t i = 0; i < pipeline->steps.len; i++) {
        if (pipeline->steps.data[i].pass != step.pass) continue;
        found = true;
        for (int o = 0; o < 8; o++)
            if (step.options[o]) pipeline->steps.data[i].options[o] = step.options[o];
    }
    return found ? NULL : hd_error(HD_USAGE, "--set %s: the pipeline has no pass %s", text, pass_name(step.pass));
}

static bool has_pass(const Pipeline *pipeline, PassId pass, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (pipeline->steps.data[i].pass == pass) return true;
    return false;
}

static HdStatus *check_order(const Pipeline *pipeline)
{
    PassId latest = PASS_COUNT;
    for (size_t i = 0; i < pipeline->steps.len; i++) {
        PassId pass = pipeline->steps.data[i].pass;
        if (infos[pass].mandatory && has_pass(pipeline, pass, i))
            return hd_error(HD_USAGE, "the pipeline has pass \"%s\" twice", pass_name(pass));
        if (!phases[pass]) continue;
        if (latest < PASS_COUNT && phases[pass] < phases[latest])
            return hd_error(HD_USAGE, "pass \"%s\" must stand before \"%s\" in the pipeline", pass_name(pass), pass_name(latest));
        latest = pass;
    }
    return NULL;
}

static HdStatus *check_mandatory(const Pipeline *pipeline)
{
    for (int i = 0; i < PASS_COUNT; i++)
        if (infos[i].mandatory && !has_pass(pipeline, (PassId)i, pipeline->steps.len))
            return hd_error(HD_USAGE, "the pipeline lacks pass \"%s\", without which nothing can be compiled", infos[i].name);
    return NULL;
}

static void pipeline_free(Pipeline *pipeline)
{
    hd_vec_free(&pipeline->steps);
    hd_arena_free(&pipeline->arena);
}

static HdStatus *parse_pipeline(const PassConfig *config, Pipeline *out_pipeline)
{
    *out_pipeline = (Pipeline){0};
    HdStatus *status = parse_list(out_pipeline, config, hd_str(config->passes ? config->passes : "default"), true);
    for (size_t i = 0; i < config->set_count && !status; i++) status = apply_set(out_pipeline, config->sets[i]);
    if (!status) status = check_order(out_pipeline);
    if (status) pipeline_free(out_pipeline);
    return status;
}

HdStatus *pass_check(const PassConfig *config)
{
    Pipeline pipeline;
    HD_TRY(parse_pipeline(config, &pipeline));
    HdStatus *status = check_mandatory(&pipeline);
    pipeline_free(&pipeline);
    return status;
}

// The pipeline as text with every option, for the module.
static void describe(const Pipeline *pipeline, HdBuf *out_text)
{
    for (size_t i = 0; i < pipeline->steps.len; i++) {
        const Step *step = &pipeline->steps.data[i];
        hd_buf_printf(out_text, "%s%s", i ? "," : "", pass_name(step->pass));
        int index = 0;
        for (size_t o = 0; o < HD_COUNT(options); o++) {
            if (options[o].pass != step->pass) continue;
            hd_buf_printf(out_text, "%s%s=%s", index ? "," : "{", options[o].name,
                          step->options[index] ? step->options[index] : options[o].initial);
            index++;
        }
        if (index) hd_buf_str(out_text, "}");
    }
}

// ---- running ---------------------------------------------------------------------------------------------------

static HdStatus *run_on(IrGraph *graph, PassCtx *ctx)
{
    const PassConfig *config = ctx->config;
    HdStatus *status = infos[ctx->pass].run(graph, ctx);
    if (!status) status = ir_verify(graph);
    if (!status && config->after) config->after(config->user, pass_name(ctx->pass), graph);
    return hd_annotate(status, "pass %s on @%s", pass_name(ctx->pass), graph->name);
}

static HdStatus *run_step(IrModule *module, const Step *step, PassCtx *ctx)
{
    ctx->pass = step->pass;
    memcpy(ctx->options, step->options, sizeof ctx->options);
    bool specialised = module->graphs.len > 1 || step->pass == PASS_specialise;
    for (size_t i = 0; i < module->graphs.len; i++) {
        IrGraph *graph = module->graphs.data[i];
        bool is_model = !strcmp(graph->name, "model");
        if (step->pass == PASS_specialise ? !is_model : specialised && is_model) continue;
        HD_TRY(run_on(graph, ctx));
        if (step->pass == PASS_specialise) break; // it adds graphs
    }
    return NULL;
}

HdStatus *pass_run(IrModule *module, const PassConfig *config, PassCtx *out_counts)
{
    Pipeline pipeline;
    PassCtx local = {0}, *ctx = out_counts ? out_counts : &local;
    HD_TRY(parse_pipeline(config, &pipeline));
    *ctx = (PassCtx){.config = config, .target = config->target};
    HdBuf text = {0};
    describe(&pipeline, &text);
    ir_module_set_key(module, "pipeline", text.data ? text.data : "");
    hd_buf_free(&text);
    HdStatus *status = NULL;
    for (size_t i = 0; i < module->graphs.len && !status; i++)
        status = hd_annotate(ir_verify(module->graphs.data[i]), "@%s before all passes", module->graphs.data[i]->name);
    for (size_t i = 0; i < pipeline.steps.len && !status; i++) status = run_step(module, &pipeline.steps.data[i], ctx);
    memset(ctx->options, 0, sizeof ctx->options); // they belong to the pipeline
    pipeline_free(&pipeline);
    return status;
}
