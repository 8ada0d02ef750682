// SPDX-License-Identifier: Apache-2.0
// Options from the table: getopt_long's array, the checks of numbers, and --help.
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef CliOptionInfo Option;

#define C(command) (1u << CLI_##command)
#define COMPUTE (C(run) | C(chat) | C(bench) | C(verify) | C(perplexity))
#define MODULE (COMPUTE | C(plan))
#define CHAT (C(run) | C(chat))
#define GENERATE CHAT
#define ALL CLI_ALL_COMMANDS
static const Option table[] = {
#define OPTION(name, short, kind, argument, commands, help)                                                                      \
    {#name, short, CLI_##kind, argument, commands, offsetof(CliOptions, name), help},
#include "cli/options.def"
#undef OPTION
};

static const CliCommandInfo commands[CLI_COMMAND_COUNT] = {
#define COMMAND(name, operands, help) {#name, operands, help},
#include "cli/options.def"
#undef COMMAND
};

// Numbers: the range, and what to type instead of a value outside it.
static const struct {
    size_t offset;
    double low, high;
    const char *hint;
} ranges[] = {
    {offsetof(CliOptions, threads), 1, HEDDLE_MAX_THREADS, "leave -t out to use all usable physical cores"},
    {offsetof(CliOptions, ctx_size), 0, 1 << 24, "-c 0 stands for the model's own context"},
    {offsetof(CliOptions, batch_size), 1, 512, "a step takes at most 512 tokens"},
    {offsetof(CliOptions, predict), 0, 1 << 24, "for as much as fits, give the context size: -n 8192"},
    {offsetof(CliOptions, slots), 1, 64, "1 is the default"},
    {offsetof(CliOptions, jobs), 1, 16, "2 is the default"},
    {offsetof(CliOptions, variant), 1, 16, "leave it out for the one that runs here"},
    {offsetof(CliOptions, think_budget), 0, 1 << 24, "0 ends the thinking at once"},
    {offsetof(CliOptions, repetitions), 1, 10000, "5 is the default"},
    {offsetof(CliOptions, seed), -1, UINT32_MAX, "-1 takes a random one"},
#define SAMPLING(name, kind, initial, low, high, key, help) {offsetof(CliOptions, name), low, high, help},
#include "runtime/sampler/sampling.def"
#undef SAMPLING
};

bool cli_command_named(const char *name, CliCommand *out_command)
{
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (strcmp(name, commands[i].name)) continue;
        *out_command = (CliCommand)i;
        return true;
    }
    return false;
}

size_t cli_option_count(void) { return HD_COUNT(table); }
const CliOptionInfo *cli_option_info(size_t index) { return &table[index]; }
const CliCommandInfo *cli_command_info(CliCommand command) { return &commands[command]; }

void cli_long_name(const char *name, char out_text[32])
{
    size_t i = 0;
    for (; name[i] && i < 31; i++) out_text[i] = name[i] == '_' ? '-' : name[i];
    if (i && name[i - 1] == '_') i--;
    out_text[i] = 0;
}

// ---- help ------------------------------------------------------------------------------------------------------

void cli_print_usage(FILE *to)
{
    fprintf(to, "usage: heddle COMMAND [options]\n\nHeddle compiles Qwen3.5 models ahead of time and runs them.\n\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(to, "\n`heddle COMMAND --help` shows the options of a command; `heddle --version` the version, `heddle --man` the manual page,\n"
                "`heddle --completion` a script by which bash completes commands and options.\n");
}

void cli_print_help(CliCommand command)
{
    printf("usage: heddle %s %s [options]\n\n%s\n\n", commands[command].name, commands[command].operands, commands[command].help);
    for (size_t i = 0; i < HD_COUNT(table); i++) {
        char name[32], left[64], letter[8] = "    ";
        if (!(table[i].commands >> command & 1)) continue;
        cli_long_name(table[i].name, name);
        if (table[i].letter) snprintf(letter, sizeof letter, "-%c, ", table[i].letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, name, table[i].kind == CLI_MAYBE ? "" : " ", table[i].argument);
        printf("  %-36s %s\n", left, table[i].help);
    }
}

// ---- parsing ---------------------------------------------------------------------------------------------------

static bool read_number(const Option *option, const char *text, void *place, double *out_value)
{
    int64_t whole;
    if (option->kind == CLI_REAL) return hd_parse_f64(hd_str(text), out_value) && (*(CliReal *)place = *out_value, true);
    return hd_parse_i64(hd_str(text), &whole) && (*out_value = (double)(*(CliNumber *)place = whole), true);
}

static HdStatus *take_number(const Option *option, const char *text, void *place)
{
    char name[32];
    double value;
    cli_long_name(option->name, name);
    for (size_t i = 0; i < HD_COUNT(ranges); i++) {
        if (ranges[i].offset != option->offset) continue;
        if (read_number(option, text, place, &value) && value >= ranges[i].low && value <= ranges[i].high) return NULL;
        return hd_error(HD_USAGE, "--%s %s: expected a %snumber from %.10g to %.10g; %s", name, text, option->kind == CLI_REAL ? "" : "whole ",
                        ranges[i].low, ranges[i].high, ranges[i].hint);
    }
    return hd_error(HD_INTERNAL, "--%s has no range", name);
}

static HdStatus *take_word(const Option *option, const char *text, CliText *out_value)
{
    char name[32];
    size_t len = strlen(text);
    for (const char *word = option->argument; word[0]; word += word[0] == '|') {
        size_t word_len = strcspn(word, "|");
        if (len == word_len && !memcmp(text, word, len)) return *out_value = text, NULL;
        word += word_len;
    }
    cli_long_name(option->name, name);
    return hd_error(HD_USAGE, "--%s %s: expected %s", name, text, option->argument);
}

static HdStatus *take(const Option *option, const char *text, CliOptions *options)
{
    void *place = (char *)options + option->offset;
    switch (option->kind) {
    case CLI_TEXT: *(CliText *)place = text; break;
    case CLI_MAYBE: *(CliText *)place = text ? text : ""; break;
    case CLI_WORD: return take_word(option, text, place);
    case CLI_FLAG: *(CliFlag *)place = true; break;
    case CLI_NUMBER:
    case CLI_REAL: return take_number(option, text, place);
    case CLI_LIST: {
        CliList *list = place;
        char name[32];
        cli_long_name(option->name, name);
        if (!*text) return hd_error(HD_USAGE, "--%s: the value is empty; expected %s", name, option->argument);
        list->items = hd_xrealloc(list->items, (list->count + 1) * sizeof *list->items);
        list->items[list->count++] = text;
        break;
    }
    }
    return NULL;
}

// getopt's arrays for one command; val is the row of the table + 1000.
static void fill_getopt(CliCommand command, char (*names)[32], struct option *longs, char *shorts)
{
    size_t count = 0, letters = 0;
    shorts[letters++] = ':';
    for (size_t i = 0; i < HD_COUNT(table); i++) {
        if (!(table[i].commands >> command & 1)) continue;
        cli_long_name(table[i].name, names[i]);
        int takes = table[i].kind == CLI_FLAG ? no_argument : table[i].kind == CLI_MAYBE ? optional_argument : required_argument;
        longs[count++] = (struct option){names[i], takes, NULL, (int)i + 1000};
        if (!table[i].letter) continue;
        shorts[letters++] = table[i].letter;
        if (table[i].kind != CLI_FLAG) shorts[letters++] = ':';
    }
    longs[count] = (struct option){0};
    shorts[letters] = 0;
}

static const Option *by_letter(CliCommand command, int letter)
{
    for (size_t i = 0; i < HD_COUNT(table); i++)
        if (table[i].letter == letter && (table[i].commands >> command & 1)) return &table[i];
    return NULL;
}

static HdStatus *unknown_option(CliCommand command, char **argv, int index)
{
    return hd_error(HD_USAGE, "%s: no such option for `heddle %s`, or it takes no value; see `heddle %s --help`", argv[index],
                    commands[command].name, commands[command].name);
}

static HdStatus *take_operand(CliCommand command, int argc, char **argv, CliOptions *options)
{
    const char *operands = commands[command].operands;
    bool takes = operands[0] != 0, wants = takes && operands[0] != '[';
    if (optind < argc) options->operand = argv[optind++];
    if (optind < argc)
        return hd_error(HD_USAGE, "%s: one operand is enough; usage: heddle %s %s", argv[optind], commands[command].name,
                        commands[command].operands);
    if (wants && !options->operand)
        return hd_error(HD_USAGE, "usage: heddle %s %s", commands[command].name, commands[command].operands);
    if (!takes && options->operand)
        return hd_error(HD_USAGE, "%s: `heddle %s` takes no operand", options->operand, commands[command].name);
    return NULL;
}

HdStatus *cli_parse(CliCommand command, int argc, char **argv, CliOptions *out_options, bool *out_help)
{
    char names[HD_COUNT(table)][32], shorts[2 * HD_COUNT(table) + 2];
    struct option longs[HD_COUNT(table) + 1];
    memset(out_options, 0, sizeof *out_options);
    out_options->command = command;
    for (size_t i = 0; i < HD_COUNT(table); i++) {
        void *place = (char *)out_options + table[i].offset;
        if (table[i].kind == CLI_NUMBER) *(CliNumber *)place = CLI_UNSET;
        if (table[i].kind == CLI_REAL) *(CliReal *)place = NAN;
    }
    fill_getopt(command, names, longs, shorts);
    optind = 1;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        const Option *option = c >= 1000 ? &table[c - 1000] : c != '?' && c != ':' ? by_letter(command, c) : NULL;
        if (c == ':') return hd_error(HD_USAGE, "%s: a value is missing", argv[optind - 1]);
        if (!option) return unknown_option(command, argv, optind - 1);
        HD_TRY(take(option, optarg, out_options));
    }
    *out_help = out_options->help;
    out_options->log.level = out_options->verbose ? HD_LOG_DEBUG : HD_LOG_INFO;
    return *out_help ? NULL : take_operand(command, argc, argv, out_options);
}

void cli_options_free(CliOptions *options)
{
    free(options->set.items);
    free(options->load_pass.items);
    free(options->passes_.items);
    free(options->disable_pass.items);
    free(options->print_after.items);
    free(options->require.items);
    free(options->stop.items);
    free(options->pg.items);
    free(options->devices);
}
