// SPDX-License-Identifier: Apache-2.0
// heddle devices: what modules can run on here; the marked ones can. With --save, one of them for the compiler of another machine.
#include "cli/cli.h"
#include "runtime/device/facts.h"

#include <stdlib.h>

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

static HdStatus *save(const CliOptions *options)
{
    RtFacts *list;
    uint32_t count;
    const RtFacts *facts;
    HdBuf json = {0};
    rt_facts_all(&list, &count);
    HdStatus *status = rt_facts_pick(list, count, options->device, &facts);
    if (!status) {
        device_file_write(facts, &json);
        status = hd_write_file(options->save, json.data, json.len);
    }
    if (!status)
        hd_log(&options->log, HD_LOG_INFO, "wrote %s: %s, %s; for it: heddle compile MODEL.gguf --target @%s", options->save,
               rt_kind_name(facts->type), facts->name, options->save);
    hd_buf_free(&json);
    free(list);
    return status;
}

HdStatus *cmd_devices(CliOptions *options)
{
    if (options->save) return save(options);
    if (options->device) return hd_error(HD_USAGE, "--device %s: says what --save writes, which is missing", options->device);
    heddle_devices(print_device, NULL);
    return NULL;
}
