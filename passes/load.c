// SPDX-License-Identifier: Apache-2.0
// Passes out of shared objects. A file tells by two symbols what it is: heddle_pass_abi, the number of the headers that it was built with, which is read before any
// of its code runs, and heddle_pass_list. What it calls is what libheddle-compiler exports (cli/libheddle-compiler.map).
#include "passes/loaded.h"
#include "runtime/base/elf.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

LoadedPasses pass_loaded;
typedef struct File { char *absolute, *given; HdDigest digest; } File;
static HD_VEC(File) files;

// ---- the file --------------------------------------------------------------------------------------------------

static HdStatus *check_file(const char *path, const HdMapping *mapping)
{
    static const char *const names[] = {"heddle_pass_abi", "heddle_pass_list"};
    HdElf elf;
    Elf64_Sym symbols[2];
    uint32_t index;
    uint64_t abi = 0;
    if (!hd_elf_open(mapping->data, mapping->len, &elf) || elf.head.e_type != ET_DYN) return hd_error(HD_BAD_DATA, "%s: no shared object", path);
    for (size_t i = 0; i < HD_COUNT(names); i++)
        if (!hd_elf_symbol(&elf, ".dynsym", STT_OBJECT, names[i], &index, &symbols[i]) || symbols[i].st_shndx == SHN_UNDEF)
            return hd_error(HD_BAD_DATA, "%s: symbol %s is missing; HEDDLE_PASSES of heddle/pass.h makes it", path, names[i]);
    if (hd_elf_symbol_data(&elf, &symbols[0], &abi, sizeof abi) && abi == HEDDLE_PASS_ABI) return NULL;
    return hd_error(HD_MISMATCH, "%s: built with the headers of another Heddle (heddle_pass_abi is %016llx, here %016llx): build it again with those of this one", path,
                    (unsigned long long)abi, (unsigned long long)HEDDLE_PASS_ABI);
}

static HdStatus *open_file(const char *path, const char *absolute, HdDigest *out_digest, const PassText **out_list)
{
    HdMapping mapping;
    HD_TRY(hd_map_file(path, &mapping));
    HdStatus *status = check_file(path, &mapping);
    *out_digest = hd_digest(mapping.data, mapping.len);
    hd_unmap_file(&mapping);
    HD_TRY(status);
    void *handle = dlopen(absolute, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return hd_error(HD_BAD_DATA, "%s: it cannot be opened: %s", path, dlerror());
    *out_list = dlsym(handle, "heddle_pass_list");
    return NULL;
}

// ---- what it says of its passes --------------------------------------------------------------------------------

// With "#" and a number it is to fit PASS_STEP_NAME.
static bool is_name(const char *name)
{
    size_t len = name ? strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") : 0;
    return len && len <= 32 && !name[len] && strcmp(name, "default") != 0;
}

static HdStatus *check_pass(const PassText *text)
{
    PassId same;
    HdStatus *none = pass_find(hd_str(text->name), &same);
    if (!is_name(text->name)) return hd_status_free(none), hd_error(HD_BAD_DATA, "the name is to be up to 32 lower-case letters, digits and dashes");
    if (!none) return hd_error(HD_BAD_DATA, "%s has a pass of this name already", pass_file(same) ? pass_file(same) : "Heddle");
    hd_status_free(none);
    if (!text->run || !text->doc) return hd_error(HD_BAD_DATA, "%s is missing", text->run ? "doc" : "run");
    if (text->numerics > IR_NUMERICS_BOUNDED) return hd_error(HD_BAD_DATA, "numerics %d: expected exact, ordered or bounded", (int)text->numerics);
    if (!text->before) return NULL;
    return hd_annotate(pass_find((HdStr){text->before, strcspn(text->before, "#")}, &same), "before");
}

static HdStatus *add_options(LoadedPass *pass)
{
    PassId id = (PassId)(PASS_COUNT + pass_loaded.count);
    for (; pass->option_count < PASS_MOST_OPTIONS && pass->text->options[pass->option_count].name; pass->option_count++) {
        const PassOptionText *o = &pass->text->options[pass->option_count];
        if (!o->initial || !o->values || !o->doc) return hd_error(HD_BAD_DATA, "option %s: initial, values or doc is missing", o->name);
        pass->options[pass->option_count] = (PassOptionInfo){id, o->name, o->initial, o->values, o->doc};
        HD_TRY(pass_check_value(&pass->options[pass->option_count], hd_str(o->initial)));
    }
    return NULL;
}

static HdStatus *add_reasons(LoadedPass *pass)
{
    for (; pass->reason_count < PASS_MOST_OWN && pass->text->reasons[pass->reason_count].name; pass->reason_count++) {
        const PassReasonText *r = &pass->text->reasons[pass->reason_count];
        if (pass_missed_count() == MISSED_MOST) return hd_error(HD_LIMIT, "with this pass there are more than %d reasons", MISSED_MOST - MISSED_COUNT);
        if (!r->text) return hd_error(HD_BAD_DATA, "reason %s: text is missing", r->name);
        pass_loaded.reasons[pass_loaded.reason_count++] = (PassMissedInfo){r->name, r->text};
    }
    return NULL;
}

// The next word of a list with blanks between them; of length 0 behind the last.
static HdStr next_word(const char **at)
{
    *at += strspn(*at, " ");
    HdStr word = {*at, strcspn(*at, " ")};
    *at += word.len;
    return word;
}

// A reason by its name, the pass's own or one of missed.def; MISSED_MOST: there is none.
static uint32_t reason_named(const LoadedPass *pass, HdStr name)
{
    for (uint32_t i = 0; i < pass->reason_count; i++)
        if (hd_str_is(name, pass->text->reasons[i].name)) return MISSED_COUNT + pass->first_reason + i;
    for (uint32_t i = 0; i < MISSED_COUNT; i++)
        if (hd_str_is(name, pass_missed_info((PassMissed)i)->name)) return i;
    return MISSED_MOST;
}

static HdStatus *add_rules(LoadedPass *pass)
{
    for (; pass->rule_count < PASS_MOST_OWN && pass->text->rules[pass->rule_count].name; pass->rule_count++) {
        const PassRuleText *r = &pass->text->rules[pass->rule_count];
        if (pass_rule_count() == RULE_MOST) return hd_error(HD_LIMIT, "with this pass there are more than %d rules", RULE_MOST - RULE_COUNT);
        if (!is_name(r->name) || !r->doc) return hd_error(HD_BAD_DATA, "rule %s: %s", r->name, r->doc ? "a name is up to 32 lower-case letters, digits and dashes" : "doc is missing");
        const char *at = r->misses ? r->misses : "";
        for (HdStr word; (word = next_word(&at)).len;)
            if (reason_named(pass, word) == MISSED_MOST)
                return hd_error(HD_BAD_DATA, "rule %s: there is no reason " HD_STR_FMT " in missed.def or among the pass's own", r->name, HD_STR_ARG(word));
        pass_loaded.rules[pass_loaded.rule_count++] = (PassRuleInfo){(PassId)(PASS_COUNT + pass_loaded.count), r->name, r->doc};
    }
    return NULL;
}

static HdStatus *add_pass(const PassText *text, const char *file)
{
    if (pass_count() == PASS_MOST) return hd_error(HD_LIMIT, "with this pass there are more than %d", PASS_MOST - PASS_COUNT);
    LoadedPass *pass = &pass_loaded.passes[pass_loaded.count];
    *pass = (LoadedPass){.info = {text->name, text->numerics, false, text->run, text->doc}, .text = text, .file = file,
                         .first_rule = pass_loaded.rule_count, .first_reason = pass_loaded.reason_count};
    HD_TRY(check_pass(text));
    HD_TRY(add_options(pass));
    HD_TRY(add_reasons(pass));
    HD_TRY(add_rules(pass));
    pass_loaded.count++;
    return NULL;
}

// All of the file's passes, or none.
static HdStatus *add_passes(const PassText *list, const char *file)
{
    uint32_t count = pass_loaded.count, rules = pass_loaded.rule_count, reasons = pass_loaded.reason_count;
    HdStatus *status = list->name ? NULL : hd_error(HD_BAD_DATA, "%s: heddle_pass_list is empty", file), *wrong = NULL;
    for (const PassText *text = list; text->name && !status; text++)
        if ((wrong = add_pass(text, file))) status = hd_error(HD_BAD_DATA, "%s: pass \"%s\": %s", file, text->name, hd_status_message(wrong));
    hd_status_free(wrong);
    if (status) pass_loaded.count = count, pass_loaded.rule_count = rules, pass_loaded.reason_count = reasons;
    return status;
}

// ---- loading ---------------------------------------------------------------------------------------------------

bool pass_is_loaded_file(const char *path)
{
    for (size_t i = 0; i < files.len; i++)
        if (!strcmp(files.data[i].absolute, path)) return true;
    return false;
}

static HdStatus *load(const char *path)
{
    const PassText *list;
    char *absolute = realpath(path, NULL);
    if (!absolute) return hd_error(errno == ENOENT ? HD_NOT_FOUND : HD_IO, "%s: cannot open: %s", path, strerror(errno));
    File file = {absolute, hd_xstrdup(path), {0, 0}};
    bool known = pass_is_loaded_file(absolute);
    HdStatus *status = known ? NULL : open_file(path, absolute, &file.digest, &list);
    if (!known && !status) status = add_passes(list, file.given);
    if (!known && !status) hd_vec_push(&files, file);
    else free(file.absolute), free(file.given);
    return status;
}

HdStatus *pass_load(const char *const *paths, size_t count)
{
    for (size_t i = 0; i < count; i++) HD_TRY(hd_annotate(load(paths[i]), "--load-pass"));
    return NULL;
}

const PassText *pass_text(PassId pass) { return pass < PASS_COUNT ? NULL : pass_loaded.passes[pass - PASS_COUNT].text; }
const char *pass_file(PassId pass) { return pass < PASS_COUNT ? NULL : pass_loaded.passes[pass - PASS_COUNT].file; }

void pass_hash_loaded(HdHasher *hasher)
{
    for (size_t i = 0; i < files.len; i++) hd_hasher_add(hasher, &files.data[i].digest, sizeof files.data[i].digest);
}

// ---- its own numbers ---------------------------------------------------------------------------------------------

bool pass_own_rule(PassId pass, PassRule *rule)
{
    if (pass < PASS_COUNT) return true;
    const LoadedPass *loaded = &pass_loaded.passes[pass - PASS_COUNT];
    bool has = *rule >= RULE_COUNT && *rule - RULE_COUNT < loaded->rule_count;
    *rule = (PassRule)(*rule + loaded->first_rule);
    return has;
}

bool pass_own_reason(PassId pass, PassMissed *reason)
{
    if (pass < PASS_COUNT || *reason < MISSED_COUNT) return true;
    const LoadedPass *loaded = &pass_loaded.passes[pass - PASS_COUNT];
    bool has = *reason - MISSED_COUNT < loaded->reason_count;
    *reason = (PassMissed)(*reason + loaded->first_reason);
    return has;
}

bool pass_loaded_declares(PassRule rule, PassMissed reason)
{
    const LoadedPass *pass = &pass_loaded.passes[pass_rule_info(rule)->pass - PASS_COUNT];
    const char *at = pass->text->rules[rule - RULE_COUNT - pass->first_rule].misses;
    for (HdStr word; at && (word = next_word(&at)).len;)
        if (reason_named(pass, word) == reason) return true;
    return false;
}
