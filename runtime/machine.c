// SPDX-License-Identifier: Apache-2.0
// What this machine has to give: free memory and processor cores, within the limits of the control group.
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/runtime.h"

// The text of a small file of the kernel; false when it is not there.
static bool read_text(const char *path, char *out_text, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file) return false;
    size_t len = fread(out_text, 1, size - 1, file);
    fclose(file);
    out_text[len] = 0;
    return len > 0;
}

// ---- control groups ------------------------------------------------------------------------------------------
// A limit holds for a group and all its ancestors, so the walk goes up to the root of the mount.

// Path of this process's group in the unified hierarchy ("/a/b"), or of `controller` in the older one.
static bool group_path(const char *controller, char *out_path, size_t size)
{
    char text[4096];
    if (!read_text("/proc/self/cgroup", text, sizeof text)) return false;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        if (strcmp(names + 1, controller)) continue;     // "" for the unified hierarchy
        snprintf(out_path, size, "%s", path);
        return true;
    }
    return false;
}

typedef void GroupVisit(const char *folder, void *user);

static void visit_groups(const char *mount, const char *controller, GroupVisit *visit, void *user)
{
    char path[2048], folder[4096];
    if (!group_path(controller, path, sizeof path)) snprintf(path, sizeof path, "/");
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s", mount, strcmp(path, "/") ? path : "");
        visit(folder, user);
        char *slash = strrchr(path, '/');
        if (!slash || !path[1]) return;
        slash[slash == path ? 1 : 0] = 0;
    }
}

static bool read_number(const char *folder, const char *name, double *out_value)
{
    char path[4608], text[256], *end;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!read_text(path, text, sizeof text)) return false;
    *out_value = strtod(text, &end);
    return end != text;                                  // "max": no limit
}

// ---- memory --------------------------------------------------------------------------------------------------

static void lower_by_group(const char *folder, void *user)
{
    double limit, used, *available = user;
    bool unified = read_number(folder, "memory.max", &limit) && read_number(folder, "memory.current", &used);
    if (!unified && !(read_number(folder, "memory.limit_in_bytes", &limit) && read_number(folder, "memory.usage_in_bytes",
        &used))) return;
    *available = HD_MIN(*available, HD_MAX(limit - used, 0));
}

uint64_t heddle_memory_available(void)
{
    char text[8192];
    double available = 1e18;
    const char *line = read_text("/proc/meminfo", text, sizeof text) ? strstr(text, "MemAvailable:") : NULL;
    if (line) available = strtod(line + strlen("MemAvailable:"), NULL) * 1024;
    visit_groups("/sys/fs/cgroup", "", lower_by_group, &available);
    visit_groups("/sys/fs/cgroup/memory", "memory", lower_by_group, &available);
    return (uint64_t)available;
}

// ---- cores ---------------------------------------------------------------------------------------------------

static void lower_by_quota(const char *folder, void *user)
{
    double quota, period, *cores = user;
    char path[4608], text[256], *end;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (read_text(path, text, sizeof text)) {            // "200000 100000" or "max 100000"
        quota = strtod(text, &end);
        if (end == text) return;
        period = strtod(end, NULL);
    } else if (!read_number(folder, "cpu.cfs_quota_us", &quota) || !read_number(folder, "cpu.cfs_period_us", &period)) {
        return;
    }
    if (quota > 0 && period > 0) *cores = HD_MIN(*cores, quota / period);
}

// The lowest processor that shares a core with `cpu`; `cpu` itself when that is not known.
static size_t core_of(size_t cpu)
{
    char path[128], text[256], *end;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list", cpu);
    if (!read_text(path, text, sizeof text)) return cpu;
    size_t first = strtoul(text, &end, 10);              // "0-1", "0,4": rising
    return end == text || first > cpu ? cpu : first;
}

uint32_t heddle_default_threads(void)
{
    cpu_set_t mask, cores;
    CPU_ZERO(&cores);
    double count = (double)sysconf(_SC_NPROCESSORS_ONLN);   // for a machine of more processors than the mask has bits
    if (!sched_getaffinity(0, sizeof mask, &mask)) {
        for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &mask)) CPU_SET(core_of(cpu), &cores);
        count = CPU_COUNT(&cores);
    }
    visit_groups("/sys/fs/cgroup", "", lower_by_quota, &count);
    visit_groups("/sys/fs/cgroup/cpu", "cpu", lower_by_quota, &count);
    visit_groups("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct", lower_by_quota, &count);
    uint32_t threads = (uint32_t)(count + 0.5);          // a quota of 1.5 cores is better used by two threads than by one
    return HD_MAX(1, HD_MIN(threads, (uint32_t)HEDDLE_MAX_THREADS));
}
