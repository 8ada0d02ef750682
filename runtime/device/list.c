// SPDX-License-Identifier: Apache-2.0
// What this machine has to run modules on: its processor, and every Vulkan and CUDA device with what it lacks.
#include <stdlib.h>
#include <string.h>

#include "runtime/cpu_features.h"
#include "runtime/device/cuda.h"
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

static HdStatus *visit_cuda(HeddleDeviceVisit visit, void *user)
{
    Cuda cuda;
    CudaCard *cards = NULL;
    uint32_t count = 0;
    char driver[64];
    HdStatus *status = cuda_open(&cuda);
    if (!status) status = cuda_cards(&cuda, &cards, &count);
    for (uint32_t i = 0; i < count; i++) {
        bool is_old = cards[i].capability < CUDA_OLDEST_CAPABILITY;
        snprintf(driver, sizeof driver, "sm_%d, driver of CUDA %d.%d", cards[i].capability, cuda.version / 1000, cuda.version / 10 % 100);
        visit(user, &(HeddleDeviceInfo){.type = "cuda", .number = (int32_t)cards[i].number, .name = cards[i].name,
                                        .kind = cuda_card_kind(&cards[i]), .driver = driver,
                                        .memory_bytes = cards[i].memory_bytes, .lacks = is_old ? "compute capability 7.5" : ""});
    }
    free(cards);
    return status;
}

// The devices of one kind, or a line that says why there is none.
static void visit_all(HeddleDeviceVisit visit, void *user, const char *type, HdStatus *(*visit_each)(HeddleDeviceVisit, void *))
{
    HdStatus *status = visit_each(visit, user);
    if (status) visit(user, &(HeddleDeviceInfo){type, -1, "", "", "", 0, hd_status_message(status)});
    hd_status_free(status);
}

void heddle_devices(HeddleDeviceVisit visit, void *user)
{
    visit_cpu(visit, user);
    visit_all(visit, user, "vulkan", visit_vulkan);
    visit_all(visit, user, "cuda", visit_cuda);
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

void rt_cuda_lacks(const HeddleModule *module, HdBuf *out_text)
{
    Cuda cuda;
    CudaCard card;
    HdStatus *status = cuda_open(&cuda);
    if (!status) status = cuda_pick(&cuda, module, NULL, &card);
    if (status) hd_buf_printf(out_text, "a CUDA device (%s)", hd_status_message(status));
    hd_status_free(status);
}
