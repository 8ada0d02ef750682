// SPDX-License-Identifier: Apache-2.0
// The manual page and the completion of shells, from the tables that --help is made of: they cannot say anything else.
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>

// ---- heddle --man ------------------------------------------------------------------------------------------------

// roff reads a line that begins with a dot or an apostrophe as a request, a backslash as an escape, and a hyphen as a hyphen.
static void print_roff(const char *text)
{
    for (const char *c = text; *c; c++) {
        if (c == text && (*c == '.' || *c == '\'')) fputs("\\&", stdout);
        if (*c == '\\') fputs("\\e", stdout);
        else if (*c == '-') fputs("\\-", stdout);
        else putchar(*c);
    }
}

static void print_man_option(const CliOptionInfo *option)
{
    char name[32];
    cli_long_name(option->name, name);
    printf(".TP\n.B ");
    if (option->letter) printf("\\-%c, ", option->letter);
    printf("\\-\\-");
    print_roff(name);
    if (option->argument[0]) {
        printf(option->kind == CLI_MAYBE ? "\\fI" : " \\fI");
        print_roff(option->argument);
        printf("\\fR");
    }
    printf("\n");
    print_roff(option->help);
    printf("\n");
}

static void print_man_command(CliCommand command)
{
    const CliCommandInfo *info = cli_command_info(command);
    printf(".SS heddle %s ", info->name);
    print_roff(info->operands);
    printf("\n");
    print_roff(info->help);
    printf(".\n");
    for (size_t i = 0; i < cli_option_count(); i++) {
        const CliOptionInfo *option = cli_option_info(i);
        if ((option->commands >> command & 1) && option->commands != CLI_ALL_COMMANDS) print_man_option(option);
    }
}

void cli_print_man(void)
{
    printf(".TH HEDDLE 1 \"\" \"heddle %s\" \"User commands\"\n.SH NAME\nheddle \\- compile Qwen3.5 models ahead of time and run them\n", heddle_version());
    printf(".SH SYNOPSIS\n.B heddle\n.I COMMAND\n[options]\n.SH DESCRIPTION\nHeddle compiles the language models Qwen3.5 (dense and mixture of experts) to "
           "modules, and runs modules over the weights of a GGUF file. Text goes to standard output, all else to standard error.\n.SH COMMANDS\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) print_man_command((CliCommand)i);
    printf(".SH OPTIONS OF ALL COMMANDS\n");
    for (size_t i = 0; i < cli_option_count(); i++)
        if (cli_option_info(i)->commands == CLI_ALL_COMMANDS) print_man_option(cli_option_info(i));
    printf(".SH EXIT STATUS\n0 done, 1 bad data or failure, 2 wrong usage.\n.SH FILES\n.TP\n.I ~/.cache/heddle\ncompiled modules and kernels "
           "($XDG_CACHE_HOME/heddle where that is set); `heddle cache clear` empties it.\n");
}

// ---- heddle --completion bash --------------------------------------------------------------------------------------

static void print_words(CliCommand command)
{
    for (size_t i = 0; i < cli_option_count(); i++) {
        const CliOptionInfo *option = cli_option_info(i);
        char name[32];
        if (!(option->commands >> command & 1)) continue;
        cli_long_name(option->name, name);
        printf(" --%s", name);
    }
}

// "run --kv-type|bench --kv-type": an option means what it means to its command.
static void print_owners(const CliOptionInfo *option, const char *name)
{
    const char *before = "    ";
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (!(option->commands >> i & 1)) continue;
        printf("%s'%s --%s'", before, cli_command_info((CliCommand)i)->name, name);
        before = "|";
    }
}

// An option whose argument is written as alternatives ("f32|f16") completes to these; what is in capitals stands for something else.
static void print_choices(void)
{
    for (size_t i = 0; i < cli_option_count(); i++) {
        const CliOptionInfo *option = cli_option_info(i);
        char name[32];
        if (!strchr(option->argument, '|')) continue;
        cli_long_name(option->name, name);
        print_owners(option, name);
        printf(") words='");
        for (const char *c = option->argument; *c; c++)
            if (!isupper((unsigned char)*c)) putchar(*c == '|' ? ' ' : *c);
        printf("' ;;\n");
    }
}

void cli_print_completion(void)
{
    printf("# bash completion for heddle; made by `heddle --completion bash`\n_heddle() {\n  local current=${COMP_WORDS[COMP_CWORD]} "
           "previous=${COMP_WORDS[COMP_CWORD-1]} words=\n  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    words='");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) printf("%s ", cli_command_info((CliCommand)i)->name);
    printf("--help --version'\n  elif [[ $current == -* ]]; then\n    case ${COMP_WORDS[1]} in\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        printf("    %s) words='", cli_command_info((CliCommand)i)->name);
        print_words((CliCommand)i);
        printf("' ;;\n");
    }
    printf("    esac\n  else\n    case \"${COMP_WORDS[1]} $previous\" in\n");
    print_choices();
    printf("    esac\n  fi\n  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n}\ncomplete -o default -F _heddle heddle\n");
}
