// SPDX-License-Identifier: Apache-2.0
// Pipelines as text: "default", "cse,delta-net{form=wy,chunk=32}"; sets, passes left out, where to start and to stop.
#include "passes/passes.h"

#include <stdlib.h>
#include <string.h>

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

// ---- options ---------------------------------------------------------------------------------------------------

HdStatus *pass_check_value(const PassOptionInfo *info, HdStr value)
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

static HdStatus *set_option(PassPipeline *pipeline, PassStep *step, HdStr name, HdStr value)
{
    const PassOptionInfo *info;
    uint32_t index = 0;
    while ((info = pass_option_info(step->pass, index)) && !hd_str_is(name, info->name)) index++;
    if (!info) return hd_error(HD_USAGE, "%s has no option \"" HD_STR_FMT "\"", pass_name(step->pass), HD_STR_ARG(name));
    HD_TRY(pass_check_value(info, value));
    step->options[index] = hd_arena_strndup(&pipeline->arena, value.data, value.len);
    return NULL;
}

// ---- from text to steps ----------------------------------------------------------------------------------------

HdStatus *pass_find(HdStr name, PassId *out_pass)
{
    HdBuf names = {0};
    for (uint32_t i = 0; i < pass_count(); i++) {
        if (hd_str_is(name, pass_name((PassId)i))) {
            *out_pass = (PassId)i;
            hd_buf_free(&names);
            return NULL;
        }
        hd_buf_printf(&names, "%s%s", i ? ", " : "", pass_name((PassId)i));
    }
    HdStatus *status = hd_error(HD_USAGE, "there is no pass \"" HD_STR_FMT "\"; passes are %s", HD_STR_ARG(name), names.data);
    hd_buf_free(&names);
    return status;
}

// "k=v,k=v" into a step.
static HdStatus *parse_options(PassPipeline *pipeline, PassStep *step, HdStr text)
{
    for (HdStr rest = text; rest.data;) {
        HdStr item = hd_next_item(&rest, ',');
        const char *equal = item.len ? memchr(item.data, '=', item.len) : NULL;
        if (!equal)
            return hd_error(HD_USAGE, "%s{" HD_STR_FMT "}: options are written name=value, with commas between them",
                            pass_name(step->pass), HD_STR_ARG(text));
        HdStr name = {item.data, (size_t)(equal - item.data)}, value = {equal + 1, item.len - (size_t)(equal + 1 - item.data)};
        HD_TRY(set_option(pipeline, step, name, value));
    }
    return NULL;
}

// "name" or "name{options}" into a step; `text` is one item.
static HdStatus *parse_step(PassPipeline *pipeline, HdStr text, PassStep *out_step)
{
    const char *brace = memchr(text.data, '{', text.len);
    HdStr name = {text.data, brace ? (size_t)(brace - text.data) : text.len};
    HD_TRY(pass_find(name, &out_step->pass));
    if (!brace) return NULL;
    if (text.data[text.len - 1] != '}')
        return hd_error(HD_USAGE, "pass \"" HD_STR_FMT "\": does not end in \"}\"", HD_STR_ARG(text));
    return parse_options(pipeline, out_step, (HdStr){brace + 1, text.len - name.len - 2});
}

static void append_step(PassPipeline *pipeline, PassStep step)
{
    step.nth = 1;
    for (size_t i = 0; i < pipeline->steps.len; i++) step.nth += pipeline->steps.data[i].pass == step.pass;
    hd_vec_push(&pipeline->steps, step);
}

// Puts the loaded passes that have a place in the default pipeline, which this is, there.
static HdStatus *insert_loaded(PassPipeline *pipeline)
{
    for (uint32_t p = PASS_COUNT; p < pass_count(); p++) {
        PassStep step = {.pass = (PassId)p, .nth = 1};
        char name[PASS_STEP_NAME];
        const char *before = pass_text(step.pass)->before;
        size_t at = 0;
        if (!before) continue;
        while (at < pipeline->steps.len && strcmp(pass_step_name(&pipeline->steps.data[at], name), before) != 0) at++;
        if (at == pipeline->steps.len)
            return hd_error(HD_USAGE, "%s: pass \"%s\" is to run before \"%s\", which the target's default pipeline does not have; name its place in --passes", pass_file(step.pass),
                            pass_name(step.pass), before);
        hd_vec_push(&pipeline->steps, step);
        PassStep *place = &pipeline->steps.data[at];
        memmove(place + 1, place, (pipeline->steps.len - 1 - at) * sizeof *place);
        *place = step;
    }
    return NULL;
}

static HdStatus *parse_list(PassPipeline *pipeline, const PassConfig *config, HdStr text, bool allow_default);

// What "default" stands for, behind the steps that are there. A loaded pass asks for its place by the names that steps have in the default alone.
static HdStatus *append_default(PassPipeline *pipeline, const PassConfig *config)
{
    PassPipeline own = {.arena = pipeline->arena};       // of option values
    HdStatus *status = parse_list(&own, config, hd_str(pass_default_pipeline(config->target)), false);
    if (!status) status = insert_loaded(&own);
    for (size_t i = 0; i < own.steps.len && !status; i++) append_step(pipeline, own.steps.data[i]);
    pipeline->arena = own.arena;
    hd_vec_free(&own.steps);
    return status;
}

static HdStatus *parse_list(PassPipeline *pipeline, const PassConfig *config, HdStr text, bool allow_default)
{
    for (HdStr rest = text; rest.data;) {
        HdStr item = hd_next_item(&rest, ',');
        PassStep step = {.nth = 1};
        if (!item.len) return hd_error(HD_USAGE, "pipeline \"" HD_STR_FMT "\": an item is empty", HD_STR_ARG(text));
        if (allow_default && hd_str_is(item, "default")) {
            HD_TRY(append_default(pipeline, config));
            continue;
        }
        HD_TRY(parse_step(pipeline, item, &step));
        append_step(pipeline, step);
    }
    return NULL;
}

// ---- changing them ---------------------------------------------------------------------------------------------

// --set: changes the options of every step of that pass.
static HdStatus *apply_set(PassPipeline *pipeline, const char *text)
{
    PassStep step = {0};
    bool found = false;
    if (!strchr(text, '{')) return hd_error(HD_USAGE, "--set %s: expected PASS{option=value}", text);
    HD_TRY(parse_step(pipeline, hd_str(text), &step));
    for (size_t i = 0; i < pipeline->steps.len; i++) {
        if (pipeline->steps.data[i].pass != step.pass) continue;
        found = true;
        for (int o = 0; o < PASS_MOST_OPTIONS; o++)
            if (step.options[o]) pipeline->steps.data[i].options[o] = step.options[o];
    }
    return found ? NULL : hd_error(HD_USAGE, "--set %s: the pipeline has no pass %s", text, pass_name(step.pass));
}

const char *pass_step_name(const PassStep *step, char out_name[PASS_STEP_NAME])
{
    snprintf(out_name, PASS_STEP_NAME, step->nth > 1 ? "%s#%u" : "%s", pass_name(step->pass), step->nth);
    return out_name;
}

HdStatus *pass_find_step(const PassPipeline *pipeline, const char *option, const char *name, size_t *out_index)
{
    HdBuf names = {0};
    char step[PASS_STEP_NAME];
    for (size_t i = 0; i < pipeline->steps.len; i++) {
        if (!strcmp(pass_step_name(&pipeline->steps.data[i], step), name)) {
            *out_index = i;
            hd_buf_free(&names);
            return NULL;
        }
        hd_buf_printf(&names, "%s%s", i ? ", " : "", step);
    }
    HdStatus *status = hd_error(HD_USAGE, "%s %s: the pipeline has no such pass; it has %s", option, name, names.len ? names.data : "none");
    hd_buf_free(&names);
    return status;
}

static HdStatus *disable(PassPipeline *pipeline, const char *name)
{
    size_t index;
    HD_TRY(pass_find_step(pipeline, "--disable-pass", name, &index));
    if (pass_info(pipeline->steps.data[index].pass)->mandatory)
        return hd_error(HD_USAGE, "--disable-pass %s: this pass is mandatory, without it nothing can be compiled", name);
    PassStep *at = &pipeline->steps.data[index];
    memmove(at, at + 1, (--pipeline->steps.len - index) * sizeof *at);
    return NULL;
}

static HdStatus *check_order(const PassPipeline *pipeline)
{
    PassId latest = PASS_COUNT;
    for (size_t i = 0; i < pipeline->steps.len; i++) {
        PassId pass = pipeline->steps.data[i].pass;
        if (pass_info(pass)->mandatory && pipeline->steps.data[i].nth > 1)
            return hd_error(HD_USAGE, "the pipeline has pass \"%s\" twice", pass_name(pass));
        if (!pass_phase(pass)) continue;
        if (latest < PASS_COUNT && pass_phase(pass) < pass_phase(latest))
            return hd_error(HD_USAGE, "pass \"%s\" must stand before \"%s\" in the pipeline", pass_name(pass), pass_name(latest));
        latest = pass;
    }
    return NULL;
}

// Leaves the steps from `start_from` to `stop_after`.
static HdStatus *cut(PassPipeline *pipeline, const PassConfig *config)
{
    size_t first = 0, last = pipeline->steps.len - 1;
    if (!config->start_from && !config->stop_after) return NULL;
    if (config->start_from) HD_TRY(pass_find_step(pipeline, "--start-from", config->start_from, &first));
    if (config->stop_after) HD_TRY(pass_find_step(pipeline, "--stop-after", config->stop_after, &last));
    if (first > last)
        return hd_error(HD_USAGE, "--start-from %s --stop-after %s: the first stands behind the second in the pipeline",
                        config->start_from, config->stop_after ? config->stop_after : "");
    memmove(pipeline->steps.data, pipeline->steps.data + first, (last + 1 - first) * sizeof *pipeline->steps.data);
    pipeline->steps.len = last + 1 - first;
    return NULL;
}

void pass_pipeline_free(PassPipeline *pipeline)
{
    hd_vec_free(&pipeline->steps);
    hd_arena_free(&pipeline->arena);
}

static HdStatus *make_pipeline(const PassConfig *config, PassPipeline *pipeline)
{
    HD_TRY(parse_list(pipeline, config, hd_str(config->passes ? config->passes : "default"), true));
    HD_TRY(check_order(pipeline));
    for (size_t i = 0; i < config->disabled_count; i++) HD_TRY(disable(pipeline, config->disabled[i]));
    HD_TRY(cut(pipeline, config));
    for (size_t i = 0; i < config->set_count; i++) HD_TRY(apply_set(pipeline, config->sets[i]));
    return NULL;
}

HdStatus *pass_pipeline(const PassConfig *config, PassPipeline *out_pipeline)
{
    *out_pipeline = (PassPipeline){0};
    HdStatus *status = make_pipeline(config, out_pipeline);
    if (status) pass_pipeline_free(out_pipeline);
    return status;
}

static HdStatus *check_mandatory(const PassPipeline *pipeline)
{
    for (int pass = 0; pass < PASS_COUNT; pass++) {
        bool found = !pass_info((PassId)pass)->mandatory;
        for (size_t i = 0; i < pipeline->steps.len; i++) found = found || (int)pipeline->steps.data[i].pass == pass;
        if (!found)
            return hd_error(HD_USAGE, "the pipeline lacks pass \"%s\", without which nothing can be compiled", pass_name((PassId)pass));
    }
    return NULL;
}

HdStatus *pass_check(const PassConfig *config)
{
    PassPipeline pipeline;
    PassConfig whole = *config;
    HD_TRY(pass_pipeline(config, &pipeline));
    pass_pipeline_free(&pipeline);
    whole.start_from = whole.stop_after = NULL; // what stands before the start has run already
    whole.set_count = 0;
    HD_TRY(pass_pipeline(&whole, &pipeline));
    HdStatus *status = check_mandatory(&pipeline);
    pass_pipeline_free(&pipeline);
    return status;
}

void pass_step_options(const PassStep *step, bool all, HdBuf *out_text)
{
    const char *before = "{";
    const PassOptionInfo *info;
    for (uint32_t o = 0; (info = pass_option_info(step->pass, o)); o++) {
        if (!all && !step->options[o]) continue;
        hd_buf_printf(out_text, "%s%s=%s", before, info->name, step->options[o] ? step->options[o] : info->initial);
        before = ",";
    }
    hd_buf_str(out_text, before[0] == ',' ? "}" : "");
}

void pass_pipeline_text(const PassPipeline *pipeline, HdBuf *out_text)
{
    for (size_t i = 0; i < pipeline->steps.len; i++) {
        hd_buf_printf(out_text, "%s%s", i ? "," : "", pass_name(pipeline->steps.data[i].pass));
        pass_step_options(&pipeline->steps.data[i], true, out_text);
    }
}
