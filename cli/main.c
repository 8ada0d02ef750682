// SPDX-License-Identifier: Apache-2.0
// The `heddle` program: picks the command, prints an error as one line, and turns its code into the exit status.
#include "cli/cli.h"

#include <stdlib.h>
#include "cli/progress.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

static CliRun *const runs[CLI_COMMAND_COUNT] = {
#define COMMAND(name, operands, help) [CLI_##name] = cmd_##name,
#include "cli/options.def"
#undef COMMAND
};

static int fail(HdStatus *status)
{
    int code = hd_code_exit(hd_status_code(status));
    progress_end();
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

// Where the caller closed a standard descriptor, no file of ours may get its number. Opened the wrong way round, so that using it
// stays an error.
static void fill_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

// The runtime always; the compiler when it is installed.
static void print_version(void)
{
    HdBuf text = {0};
    HdStatus *status = compiler_version(&text);
    printf("heddle %s\n%s\n", heddle_version(), status ? "compiler: not installed (package heddle-compiler)" : text.data);
    hd_status_free(status);
    hd_buf_free(&text);
}

static HdStatus *run_command(const char *name, int argc, char **argv)
{
    CliCommand command;
    CliOptions options;
    bool help = false;
    if (!cli_command_named(name, &command)) return no_command(name);
    HdStatus *status = cli_parse(command, argc, argv, &options, &help);
    if (!status && help) cli_print_help(command);
    if (!status && !help && options.cuda_path) setenv("CUDA_PATH", options.cuda_path, 1);   // the compiler's process inherits it
    if (!status && !help) status = device_files_open(&options);
    if (!status && !help) status = runs[command](&options);
    cli_options_free(&options);
    return status;
}

int main(int argc, char **argv)
{
    HdStatus *status = NULL;
    const char *name = argc > 1 ? argv[1] : "";
    fill_standard_descriptors();
    signal(SIGXFSZ, SIG_IGN);   // a file that may not grow further is an error of its write
    if (argc < 2) cli_print_usage(stderr);
    else if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) cli_print_usage(stdout);
    else if (!strcmp(name, "--version")) print_version();
    else if (!strcmp(name, "--man")) cli_print_man();
    else if (!strcmp(name, "--completion")) cli_print_completion();
    else status = run_command(name, argc - 1, argv + 1);
    if (!status) status = check_output();
    return status ? fail(status) : argc > 1 ? 0 : 2;
}
