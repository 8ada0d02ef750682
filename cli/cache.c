// SPDX-License-Identifier: Apache-2.0
// The cache of compiled modules and kernel objects: files named by the digest of all that decides their content. An entry is
// written beside its place and renamed; reading one touches it, and the entries touched longest ago go first when the cache
// outgrows its cap.
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const uint64_t cap_bytes = 2000000000;

static HdStatus *make_folders(char *path)
{
    for (char *at = path + 1; *at; at++) {
        if (*at != '/') continue;
        *at = 0;
        int made = mkdir(path, 0777);
        *at = '/';
        if (made && errno != EEXIST)
            return hd_error(HD_IO, "cache folder %s: %s; --no-cache works without one", path, strerror(errno));
    }
    if (mkdir(path, 0777) && errno != EEXIST)
        return hd_error(HD_IO, "cache folder %s: %s; --no-cache works without one", path, strerror(errno));
    return NULL;
}

HdStatus *cache_folder(HdBuf *out_path)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (xdg && xdg[0] == '/') hd_buf_printf(out_path, "%s/heddle", xdg);
    else if (home && home[0] == '/') hd_buf_printf(out_path, "%s/.cache/heddle", home);
    else return hd_error(HD_IO, "there is no cache folder: neither XDG_CACHE_HOME nor HOME is set; use --no-cache or --module");
    return make_folders(out_path->data);
}

HdStatus *cache_entry(HdDigest key, HdBuf *out_path)
{
    char hex[33];
    HD_TRY(cache_folder(out_path));
    hd_digest_hex(key, hex);
    hd_buf_printf(out_path, "/%s.hdl", hex);
    return NULL;
}

// ---- entries ---------------------------------------------------------------------------------------------------

typedef struct Entry {
    char name[64];
    uint64_t bytes;
    time_t used;
} Entry;
typedef HD_VEC(Entry) Entries;

// Only names that this cache gives: 32 hexadecimal digits and an ending, or what an interrupted write left.
static bool is_entry(const char *name)
{
    size_t digits = strspn(name, "0123456789abcdef");
    return digits == 32 && (!strncmp(name + 32, ".hdl", 4) || !strncmp(name + 32, ".o", 2)) &&
           strlen(name) < sizeof((Entry *)0)->name;
}

static int by_use(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    return x->used != y->used ? (x->used < y->used ? -1 : 1) : strcmp(x->name, y->name);
}

static HdStatus *read_entries(const char *folder, Entries *out_entries)
{
    DIR *dir = opendir(folder);
    if (!dir) return hd_error(HD_IO, "cache folder %s: %s", folder, strerror(errno));
    for (struct dirent *item; (item = readdir(dir));) {
        char path[4096];
        struct stat info;
        Entry entry;
        if (!is_entry(item->d_name)) continue;
        snprintf(path, sizeof path, "%s/%s", folder, item->d_name);
        if (stat(path, &info)) continue;
        snprintf(entry.name, sizeof entry.name, "%.63s", item->d_name);
        entry.bytes = (uint64_t)info.st_size, entry.used = info.st_mtime;
        hd_vec_push(out_entries, entry);
    }
    closedir(dir);
    if (out_entries->len) qsort(out_entries->data, out_entries->len, sizeof(Entry), by_use);
    return NULL;
}

static void remove_entry(const char *folder, const Entry *entry)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, entry->name);
    unlink(path);
}

static uint64_t total_bytes(const Entries *entries)
{
    uint64_t total = 0;
    for (size_t i = 0; i < entries->len; i++) total += entries->data[i].bytes;
    return total;
}

void cache_trim(const HdLog *log)
{
    HdBuf folder = {0};
    Entries entries = {0};
    HdStatus *status = cache_folder(&folder);
    if (!status) status = read_entries(folder.data, &entries);
    uint64_t total = total_bytes(&entries);
    for (size_t i = 0; i < entries.len && total > cap_bytes; i++) {
        remove_entry(folder.data, &entries.data[i]);
        total -= entries.data[i].bytes;
        hd_log(log, HD_LOG_DEBUG, "cache: removed %s", entries.data[i].name);
    }
    hd_status_free(status);
    hd_vec_free(&entries);
    hd_buf_free(&folder);
}

// ---- heddle cache ----------------------------------------------------------------------------------------------

// A module's own words about itself.
static void print_module(const char *folder, const Entry *entry)
{
    char path[4096];
    HeddleModule *module;
    HeddleModuleInfo info;
    snprintf(path, sizeof path, "%s/%s", folder, entry->name);
    HdStatus *status = heddle_module_open(path, &module);
    if (status) {
        printf("%12llu  %s  damaged\n", (unsigned long long)entry->bytes, entry->name);
        hd_status_free(status);
        return;
    }
    heddle_module_info(module, &info);
    printf("%12llu  %s  %s  %s  %s\n", (unsigned long long)entry->bytes, entry->name, info.architecture, info.target,
           info.numerics);
    heddle_module_close(module);
}

static void list(const char *folder, const Entries *entries)
{
    size_t objects = 0;
    for (size_t i = 0; i < entries->len; i++) {
        if (strstr(entries->data[i].name, ".hdl")) print_module(folder, &entries->data[i]);
        else objects++;
    }
    printf("%s: %zu entries (%zu of them kernel objects), %llu bytes of %llu\n", folder, entries->len, objects,
           (unsigned long long)total_bytes(entries), (unsigned long long)cap_bytes);
}

HdStatus *cmd_cache(CliOptions *options)
{
    HdBuf folder = {0};
    Entries entries = {0};
    bool clear = !strcmp(options->operand, "clear");
    if (!clear && strcmp(options->operand, "list"))
        return hd_error(HD_USAGE, "heddle cache %s: expected list or clear", options->operand);
    HdStatus *status = cache_folder(&folder);
    if (!status) status = read_entries(folder.data, &entries);
    if (!status && clear) {
        for (size_t i = 0; i < entries.len; i++) remove_entry(folder.data, &entries.data[i]);
        printf("%s: %zu entries removed, %llu bytes\n", folder.data, entries.len, (unsigned long long)total_bytes(&entries));
    }
    if (!status && !clear) list(folder.data, &entries);
    hd_vec_free(&entries);
    hd_buf_free(&folder);
    return status;
}
