// SPDX-License-Identifier: Apache-2.0
// The `heddle` program: picks the command, prints an error as one line, and turns its code into the exit status.
#include "cli/cli.h"

#include <string.h>

static CliRun *const runs[CLI_COMMAND_COUNT] = {
#define COMMAND(name, operands, help) [CLI_##name] = cmd_##name,
#include "cli/options.def"
#undef COMMAND
};

static int fail(HdStatus *status)
{
    int code = hd_code_exit(hd_status_code(status));
    fprintf(stderr, "heddle: %s\n", hd_status_message(status));
    hd_status_free(status);
    return code;
}

static HdStatus *no_command(const char *name)
{
    return hd_error(HD_USAGE, "%s: no such command; `heddle --help` lists them", name);
}

// Text that did not reach stdout (a full disk, a closed pipe) is a failure.
static HdStatus *check_output(void)
{
    if (fflush(stdout) || ferror(stdout)) return hd_error(HD_IO, "standard output could not be written");
    return NULL;
}

int main(int argc, char **argv)
{
    CliCommand command;
    CliOptions options;
    bool help = false;
    const char *name = argc > 1 ? argv[1] : "--help";
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) return cli_print_usage(), argc > 1 ? 0 : 2;
    if (!strcmp(name, "--version")) return printf("heddle %s\n", heddle_version()), 0;
    if (!cli_command_named(name, &command)) return fail(no_command(name));
    HdStatus *status = cli_parse(command, argc - 1, argv + 1, &options, &help);
    if (!status && help) cli_print_help(command);
    if (!status && !help) status = runs[command](&options);
    if (!status) status = check_output();
    cli_options_free(&options);
    return status ? fail(status) : 0;
}
