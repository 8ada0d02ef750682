// SPDX-License-Identifier: Apache-2.0
// What this machine has to run modules on: its processor, and every Vulkan device with what it lacks.
#include <stdlib.h>
#include <string.h>

#include "runtime/cpu_features.h"
#include "runtime/device/vulkan.h"
#include "runtime/runtime.h"

static void visit_cpu(HeddleDeviceVisit visit, void *user)
{
    char name[256];
    hd_cpu_name(name, sizeof name);
    visit(user, &(HeddleDeviceInfo){.type = "cpu", .number = -1, .name = name, .kind = "processor", .driver = "",
                                    .memory_bytes = heddle_memory_available(), .lacks = ""});
}

static HdStatus *visit_vulkan(HeddleDeviceVisit visit, void *user)
{
    Vulkan vulkan;
    VulkanCard *cards = NULL;
    uint32_t count = 0;
    HdStatus *status = vulkan_open(&vulkan);
    if (!status) status = vulkan_cards(&vulkan, &cards, &count);
    if (!status && !count) status = hd_error(HD_NOT_FOUND, "no Vulkan device: the drivers that are installed find none on this machine");
    for (uint32_t i = 0; i < count; i++)
        visit(user, &(HeddleDeviceInfo){.type = "vulkan", .number = (int32_t)cards[i].number, .name = cards[i].name,
                                        .kind = vulkan_card_kind(&cards[i]), .driver = cards[i].driver,
                                        .memory_bytes = cards[i].memory_bytes, .lacks = cards[i].lacks});
    free(cards);
    vulkan_close(&vulkan);
    return status;
}

void heddle_devices(HeddleDeviceVisit visit, void *user)
{
    visit_cpu(visit, user);
    HdStatus *status = visit_vulkan(visit, user);
    if (status) visit(user, &(HeddleDeviceInfo){"vulkan", -1, "", "", "", 0, hd_status_message(status)});
    hd_status_free(status);
}

void rt_vulkan_lacks(HdBuf *out_text)
{
    Vulkan vulkan;
    VulkanCard card;
    HdStatus *status = vulkan_open(&vulkan);
    if (!status) status = vulkan_pick(&vulkan, NULL, &card);
    if (status) hd_buf_printf(out_text, "a Vulkan device (%s)", hd_status_message(status));
    hd_status_free(status);
    vulkan_close(&vulkan);
}
