// SPDX-License-Identifier: Apache-2.0
// heddle devices: what modules can run on here; the marked ones can.
#include "cli/cli.h"

static void print_device(void *user, const HeddleDeviceInfo *info)
{
    char number[16] = "-", size[HD_SIZE_TEXT];
    (void)user;
    if (info->number >= 0) snprintf(number, sizeof number, "%d", (int)info->number);
    if (!info->name[0]) {
        printf("  %-6s %3s  %s\n", info->type, number, info->lacks);
        return;
    }
    hd_size_text(info->memory_bytes, size);
    printf("%c %-6s %3s  %s, %s, %s", info->lacks[0] ? ' ' : '*', info->type, number, info->name, info->kind, size);
    if (info->driver[0]) printf(", %s", info->driver);
    if (info->lacks[0]) printf("; lacks %s", info->lacks);
    putchar('\n');
}

HdStatus *cmd_devices(CliOptions *options)
{
    (void)options;
    heddle_devices(print_device, NULL);
    return NULL;
}
