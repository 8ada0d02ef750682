// SPDX-License-Identifier: Apache-2.0
// The `heddle` program: one file per subcommand, options in options.def. Text goes to stdout, all else to stderr; exit codes are 0 done, 1 bad data
// or failure, 2 wrong usage.
#ifndef HEDDLE_CLI_H
#define HEDDLE_CLI_H

#include "cli/compiler.h"
#include "runtime/base/base.h"
#include "runtime/gguf.h"
#include "runtime/heddle.h"

typedef enum CliCommand {
#define COMMAND(name, operands, help) CLI_##name,
#include "cli/options.def"
#undef COMMAND
    CLI_COMMAND_COUNT
} CliCommand;

typedef struct CliList { const char **items; size_t count; } CliList;
typedef const char *CliText;         // NULL: not given; "" of a MAYBE: given without a value
typedef bool CliFlag;
typedef int64_t CliNumber;           // CLI_UNSET: not given
typedef double CliReal;              // NAN: not given
enum { CLI_UNSET = INT32_MIN };

typedef struct CliOptions {
    CliCommand command;
    const char *operand;             // MODEL.gguf, FILE, list or clear
#define TEXT CliText
#define WORD CliText
#define MAYBE CliText
#define FLAG CliFlag
#define NUMBER CliNumber
#define REAL CliReal
#define LIST CliList
#define OPTION(name, short, kind, argument, commands, help) kind name;
#include "cli/options.def"
#undef OPTION
#undef TEXT
#undef WORD
#undef MAYBE
#undef FLAG
#undef NUMBER
#undef REAL
#undef LIST
    struct RtFacts *devices;         // of the files that --target names (device_file.c)
    size_t device_count;
    HdLog log;
} CliOptions;

// ---- options.c -----------------------------------------------------------------------------------------------
// The tables of options.def.
typedef enum CliKind { CLI_TEXT, CLI_WORD, CLI_MAYBE, CLI_FLAG, CLI_NUMBER, CLI_REAL, CLI_LIST } CliKind;
typedef struct CliOptionInfo {
    const char *name;                // as in the table: no_cache; a last _ keeps options of one name for different commands apart
    char letter;                     // 0: none
    CliKind kind;
    const char *argument;            // "" for a flag; alternatives stand as "f32|f16"
    uint32_t commands;               // bit c: command c has it
    size_t offset;                   // in CliOptions
    const char *help;
} CliOptionInfo;
typedef struct CliCommandInfo { const char *name, *operands, *help; } CliCommandInfo;
#define CLI_ALL_COMMANDS (~0u)
size_t cli_option_count(void);
const CliOptionInfo *cli_option_info(size_t index);
const CliCommandInfo *cli_command_info(CliCommand command);
void cli_long_name(const char *name, char out_text[32]);             // "no_cache" is written --no-cache, "report_" --report
// Parses argv after the command's name. USAGE errors name the option and what would be right. Help was asked for: *out_help is set.
HD_MUST_USE HdStatus *cli_parse(CliCommand command, int argc, char **argv, CliOptions *out_options, bool *out_help);
void cli_options_free(CliOptions *options);
void cli_print_help(CliCommand command);
void cli_print_usage(FILE *to);
bool cli_command_named(const char *name, CliCommand *out_command);

// ---- device_file.c: a device as a JSON file, which `heddle devices --save` writes and --target @FILE reads ------
void device_file_write(const struct RtFacts *facts, HdBuf *out_json);
// The text of a file; BAD_DATA names `path` and the key that is wrong. What is not used of the facts is zero.
HD_MUST_USE HdStatus *device_file_read(const char *path, HdStr json, struct RtFacts *out_facts);
// Reads the files of --target into options->devices, which cli_options_free frees.
HD_MUST_USE HdStatus *device_files_open(CliOptions *options);

// ---- manual.c ------------------------------------------------------------------------------------------------
void cli_print_man(void);            // the manual page, roff
void cli_print_completion(void);     // a script for bash

// ---- cache.c -------------------------------------------------------------------------------------------------
// The cache folder ($XDG_CACHE_HOME/heddle, else ~/.cache/heddle), made when missing. IO when it cannot be.
HD_MUST_USE HdStatus *cache_folder(HdBuf *out_path);
// Path of the entry for a key.
HD_MUST_USE HdStatus *cache_entry(HdDigest key, HdBuf *out_path);
// Can this entry be read? It counts as used now.
bool cache_use(const char *path);
// Is this the name of a module in the cache?
bool cache_is_module(const char *name);
// Removes the entries used longest ago until the cache is below its cap of 2 GB, and what interrupted writes left.
void cache_trim(const HdLog *log);

// ---- shortcut.c: to a cached module without opening the compiler ---------------------------------------------
// 32 digits that stand for the model's header, what is asked for and the compiler that would answer; "" when the model or the
// compiler's file is not found.
void shortcut_name(const char *model, const HeddleCompileOptions *options, char out_hex[33]);
// The module that the compiler made when it was last asked this, if it and the compiler are still there unchanged.
bool shortcut_find(const char *folder, const char *name, HdBuf *out_path);
// Called where the compiler is open: its files are part of the shortcut. module: path of the entry in `folder`.
void shortcut_write(const char *folder, const char *name, const char *module);

// ---- library.c: libheddle-compiler, opened when first needed -------------------------------------------------
HD_MUST_USE HdStatus *compiler_check(const HeddleCompileOptions *options);
HD_MUST_USE HdStatus *compiler_compile(const char *path, const HeddleCompileOptions *options, HdBuf *out_module);
HD_MUST_USE HdStatus *compiler_key(const char *path, const HeddleCompileOptions *options, HdDigest *out_key);
HD_MUST_USE HdStatus *compiler_interpret(const char *path, const HeddleCompileOptions *options, const int32_t *tokens, uint32_t count,
                                         float **out_logits, uint32_t *out_vocab);
HD_MUST_USE HdStatus *compiler_opt(const HeddleOptOptions *options, HeddleOptResult *out_result);
HD_MUST_USE HdStatus *compiler_passes(const char *pass, const char *const *loads, size_t load_count, bool colour, HdBuf *out_text);
HD_MUST_USE HdStatus *compiler_list_targets(const struct RtFacts *list, uint32_t count, HdBuf *out_text);
// Where the library lies; false when only the loader's cache may know it.
bool compiler_path(HdBuf *out_path);
HD_MUST_USE HdStatus *compiler_version(HdBuf *out_text);
// Run the compiler in a process of its own, so that its memory is given back and its defects end only itself. compiler_cache_apart gives the
// path of the module in the cache, where it is only compiled when it is not there yet, and to which `shortcut` will lead.
HD_MUST_USE HdStatus *compiler_compile_apart(const char *path, const HeddleCompileOptions *options, HdBuf *out_module);
HD_MUST_USE HdStatus *compiler_cache_apart(const char *path, const HeddleCompileOptions *options, const char *shortcut, HdBuf *out_path);

// ---- load.c: what all commands that compute share ------------------------------------------------------------
typedef struct CliModel { HeddleWeights *weights; HeddleModule *module; HeddleModel *model; } CliModel;
// A whole file; "-" is standard input.
HD_MUST_USE HdStatus *cli_read_text(const char *path, HdBuf *out_text);
HeddleCompileOptions cli_compile_options(const CliOptions *options);
// The module alone: given (--module), cached, or compiled now. Nothing of the weights is read but the header.
HD_MUST_USE HdStatus *cli_open_module(const CliOptions *options, const HeddleCompileOptions *compile, HeddleModule **out_module);
// Opens the weights and finds the module (--module, the cache, or compiled now). Also after an error to be unloaded.
HD_MUST_USE HdStatus *cli_open(const CliOptions *options, const HeddleCompileOptions *compile, CliModel *out_model);
// Creates the model of what was opened: weights are packed and, on a GPU, copied.
HD_MUST_USE HdStatus *cli_create(const CliOptions *options, const HeddleCompileOptions *compile, CliModel *model);
// Both; nothing is left after an error. Who loads several models opens all first: what is compiled in a process of its own is forked
// while there are no threads yet, whose locks a child would find taken forever.
HD_MUST_USE HdStatus *cli_load(const CliOptions *options, const HeddleCompileOptions *compile, CliModel *out_model);
void cli_unload(CliModel *model);
HeddleSessionOptions cli_session_options(const CliOptions *options);

// ---- one function per command; the result is the exit status ---------------------------------------------------
typedef HdStatus *CliRun(CliOptions *options);
#define COMMAND(name, operands, help) CliRun cmd_##name;
#include "cli/options.def"
#undef COMMAND

#endif
