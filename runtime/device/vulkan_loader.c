// SPDX-License-Identifier: Apache-2.0
// The Vulkan loader by dlopen, an instance, and the validation layer with a messenger that keeps its first complaint.
#include "runtime/device/vulkan.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static const char layer[] = "VK_LAYER_KHRONOS_validation";

bool vulkan_env(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] && strcmp(value, "0") != 0;
}

// ---- functions -----------------------------------------------------------------------------------------------

static HdStatus *lacks_function(const char *name)
{
    return hd_error(HD_UNSUPPORTED, "the Vulkan loader has no function %s: Vulkan 1.2 or later is needed", name);
}

static HdStatus *find_global_functions(Vulkan *vulkan)
{
#define VK_GLOBAL(name)                                                                                                          \
    vulkan->name = (PFN_##name)vulkan->vkGetInstanceProcAddr(NULL, #name);                                                       \
    if (!vulkan->name) return lacks_function(#name);
#include "runtime/device/vulkan_functions.def"
#undef VK_GLOBAL
    return NULL;
}

static HdStatus *find_instance_functions(Vulkan *vulkan)
{
#define VK_DEBUG(name) vulkan->name = (PFN_##name)vulkan->vkGetInstanceProcAddr(vulkan->instance, #name);
#define VK_INSTANCE(name)                                                                                                        \
    vulkan->name = (PFN_##name)vulkan->vkGetInstanceProcAddr(vulkan->instance, #name);                                           \
    if (!vulkan->name) return lacks_function(#name);
#include "runtime/device/vulkan_functions.def"
#undef VK_INSTANCE
#undef VK_DEBUG
    return NULL;
}

static HdStatus *open_library(Vulkan *vulkan)
{
    vulkan->library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!vulkan->library) {
        const char *reason = dlerror();
        return hd_error(HD_NOT_FOUND, "no Vulkan loader: %s; install it (Debian: libvulkan1 and a driver, such as mesa-vulkan-drivers)",
                        reason ? reason : "libvulkan.so.1");
    }
    void *symbol = dlsym(vulkan->library, "vkGetInstanceProcAddr");
    if (!symbol) return lacks_function("vkGetInstanceProcAddr");
    memcpy(&vulkan->vkGetInstanceProcAddr, &symbol, sizeof symbol);
    return find_global_functions(vulkan);
}

// ---- validation ----------------------------------------------------------------------------------------------

static VKAPI_ATTR VkBool32 VKAPI_CALL complain(VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT types,
                                               const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    VulkanComplaint *complaint = user;
    (void)severity, (void)types;
    pthread_mutex_lock(&complaint->lock);
    if (!complaint->count++) snprintf(complaint->text, sizeof complaint->text, "%s", data->pMessage);
    pthread_mutex_unlock(&complaint->lock);
    return VK_FALSE;
}

static VkDebugUtilsMessengerCreateInfoEXT messenger_info(VulkanComplaint *complaint)
{
    return (VkDebugUtilsMessengerCreateInfoEXT){
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = complain,
        .pUserData = complaint};
}

HdStatus *vulkan_complaint(Vulkan *vulkan)
{
    VulkanComplaint *complaint = vulkan->complaint;
    HdStatus *status = NULL;
    if (!complaint) return NULL;
    pthread_mutex_lock(&complaint->lock);
    if (complaint->count) status = hd_error(HD_INTERNAL, "Vulkan validation: %s", complaint->text);
    complaint->count = 0;
    pthread_mutex_unlock(&complaint->lock);
    return status;
}

static HdStatus *check_layer(const Vulkan *vulkan)
{
    uint32_t count = 0;
    vulkan->vkEnumerateInstanceLayerProperties(&count, NULL);
    VkLayerProperties *layers = hd_xcalloc(count, sizeof *layers);
    bool found = false;
    vulkan->vkEnumerateInstanceLayerProperties(&count, layers);
    for (uint32_t i = 0; i < count; i++) found = found || !strcmp(layers[i].layerName, layer);
    free(layers);
    if (found) return NULL;
    return hd_error(HD_NOT_FOUND, "HEDDLE_VULKAN_VALIDATION is set, but there is no %s (Debian: vulkan-validationlayers)", layer);
}

static HdStatus *prepare_validation(Vulkan *vulkan)
{
    if (!vulkan_env("HEDDLE_VULKAN_VALIDATION")) return NULL;
    HD_TRY(check_layer(vulkan));
    vulkan->complaint = hd_xcalloc(1, sizeof *vulkan->complaint);
    pthread_mutex_init(&vulkan->complaint->lock, NULL);
    return NULL;
}

// ---- the instance --------------------------------------------------------------------------------------------

static HdStatus *create_instance(Vulkan *vulkan)
{
    const char *const layers[] = {layer}, *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    uint32_t validation = vulkan->complaint ? 1 : 0;
    VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info(vulkan->complaint);
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "heddle",
                                     .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pNext = validation ? &messenger : NULL,
                                 .pApplicationInfo = &application,
                                 .enabledLayerCount = validation, .ppEnabledLayerNames = layers,
                                 .enabledExtensionCount = validation, .ppEnabledExtensionNames = extensions};
    VkResult result = vulkan->vkCreateInstance(&info, NULL, &vulkan->instance);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return hd_error(HD_NOT_FOUND, "no Vulkan device: the loader finds no driver (Debian: mesa-vulkan-drivers; NVIDIA's comes with its own)");
    if (result) return hd_error(HD_UNSUPPORTED, "Vulkan cannot be started: vkCreateInstance says %d", (int)result);
    HD_TRY(find_instance_functions(vulkan));
    if (validation) vulkan->vkCreateDebugUtilsMessengerEXT(vulkan->instance, &messenger, NULL, &vulkan->messenger);
    return NULL;
}

HdStatus *vulkan_open(Vulkan *out_vulkan)
{
    *out_vulkan = (Vulkan){0};
    HD_TRY(open_library(out_vulkan));
    HD_TRY(prepare_validation(out_vulkan));
    return create_instance(out_vulkan);
}

void vulkan_close(Vulkan *vulkan)
{
    if (vulkan->messenger) vulkan->vkDestroyDebugUtilsMessengerEXT(vulkan->instance, vulkan->messenger, NULL);
    if (vulkan->instance && vulkan->vkDestroyInstance) vulkan->vkDestroyInstance(vulkan->instance, NULL);
    if (vulkan->complaint) pthread_mutex_destroy(&vulkan->complaint->lock);
    free(vulkan->complaint);
    if (vulkan->library) dlclose(vulkan->library);
    *vulkan = (Vulkan){0};
}
