// SPDX-License-Identifier: Apache-2.0
// The cache of compiled modules, kernel objects and shortcuts to modules: files named by the digest of all that decides their
// content. An entry is written beside its place and renamed; reading one touches it, and the entries touched longest ago go first
// when the cache outgrows its cap.
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const uint64_t cap_bytes = 2000000000;

static HdStatus *make_folder(const char *path)
{
    if (!mkdir(path, 0777) || errno == EEXIST) return NULL;
    return hd_error(HD_IO, "cache folder %s: %s", path, strerror(errno));
}

static HdStatus *make_folders(char *path)
{
    for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = 0;
        HdStatus *status = make_folder(path);
        *at = '/';
        if (status) return status;
    }
    return make_folder(path);
}

HdStatus *cache_folder(HdBuf *out_path)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (xdg && xdg[0] == '/') hd_buf_printf(out_path, "%s/heddle", xdg);
    else if (home && home[0] == '/') hd_buf_printf(out_path, "%s/.cache/heddle", home);
    else return hd_error(HD_IO, "there is no cache folder: neither XDG_CACHE_HOME nor HOME is set");
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

bool cache_use(const char *path)
{
    if (access(path, R_OK)) return false;
    (void)utimensat(AT_FDCWD, path, NULL, 0); // a folder that cannot be written can still be read
    return true;
}

// ---- entries ---------------------------------------------------------------------------------------------------

typedef enum EntryKind { MODULE, OBJECT, SHORTCUT, UNFINISHED, KIND_COUNT } EntryKind;
static const char *const endings[] = {[MODULE] = ".hdl", [OBJECT] = ".o", [SHORTCUT] = ".ref"};

typedef struct Entry {
    EntryKind kind;
    char name[64];
    uint64_t bytes;
    struct timespec used;
} Entry;
typedef HD_VEC(Entry) Entries;

// Only names that this cache gives: 32 hexadecimal digits and an ending, behind which ".tmp" marks what is being written.
static bool kind_of(const char *name, EntryKind *out_kind)
{
    size_t len = strlen(name);
    if (strspn(name, "0123456789abcdef") != 32 || len >= sizeof((Entry *)0)->name) return false;
    for (size_t i = 0; i < HD_COUNT(endings); i++) {
        size_t ending = strlen(endings[i]);
        if (strncmp(name + 32, endings[i], ending)) continue;
        *out_kind = len == 32 + ending ? (EntryKind)i : UNFINISHED;
        return len == 32 + ending || !strcmp(name + len - 4, ".tmp");
    }
    return false;
}

bool cache_is_module(const char *name)
{
    EntryKind kind;
    return kind_of(name, &kind) && kind == MODULE;
}

static int by_use(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    if (x->used.tv_nsec != y->used.tv_nsec) return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
    return strcmp(x->name, y->name);
}

static HdStatus *read_entries(const char *folder, Entries *out_entries)
{
    DIR *dir = opendir(folder);
    if (!dir) return hd_error(HD_IO, "cache folder %s: %s", folder, strerror(errno));
    for (struct dirent *item; (item = readdir(dir));) {
        struct stat info;
        Entry entry;
        if (!kind_of(item->d_name, &entry.kind) || fstatat(dirfd(dir), item->d_name, &info, 0)) continue;
        snprintf(entry.name, sizeof entry.name, "%.63s", item->d_name);
        entry.bytes = (uint64_t)info.st_size, entry.used = info.st_mtim;
        hd_vec_push(out_entries, entry);
    }
    closedir(dir);
    if (out_entries->len) qsort(out_entries->data, out_entries->len, sizeof(Entry), by_use);
    return NULL;
}

static bool remove_entry(const char *folder, const Entry *entry)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, entry->name);
    return unlink(path) == 0 || errno == ENOENT; // another process may trim too
}

static uint64_t total_bytes(const Entries *entries)
{
    uint64_t total = 0;
    for (size_t i = 0; i < entries->len; i++) total += entries->data[i].bytes;
    return total;
}

// What a write left that was interrupted; a younger file may be growing still.
static bool is_abandoned(const Entry *entry)
{
    enum { HOUR = 3600 };
    return entry->kind == UNFINISHED && time(NULL) - entry->used.tv_sec > HOUR;
}

void cache_trim(const HdLog *log)
{
    HdBuf folder = {0};
    Entries entries = {0};
    HdStatus *status = cache_folder(&folder);
    if (!status) status = read_entries(folder.data, &entries);
    uint64_t total = total_bytes(&entries);
    for (size_t i = 0; i < entries.len; i++) {
        const Entry *entry = &entries.data[i];
        if (!is_abandoned(entry) && (total <= cap_bytes || entry->kind == UNFINISHED)) continue;
        if (!remove_entry(folder.data, entry)) continue;
        total -= entry->bytes;
        hd_log(log, HD_LOG_DEBUG, "cache: removed %s", entry->name);
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
    size_t counts[KIND_COUNT] = {0};
    for (size_t i = 0; i < entries->len; i++) {
        counts[entries->data[i].kind]++;
        if (entries->data[i].kind == MODULE) print_module(folder, &entries->data[i]);
    }
    printf("%s: %zu modules, %zu kernel objects, %zu shortcuts, %zu unfinished, %llu bytes of %llu\n", folder, counts[MODULE],
           counts[OBJECT], counts[SHORTCUT], counts[UNFINISHED], (unsigned long long)total_bytes(entries),
           (unsigned long long)cap_bytes);
}

static HdStatus *clear(const char *folder, const Entries *entries)
{
    for (size_t i = 0; i < entries->len; i++)
        if (!remove_entry(folder, &entries->data[i]))
            return hd_error(HD_IO, "cache folder %s: cannot remove %s: %s", folder, entries->data[i].name, strerror(errno));
    printf("%s: %zu entries removed, %llu bytes\n", folder, entries->len, (unsigned long long)total_bytes(entries));
    return NULL;
}

HdStatus *cmd_cache(CliOptions *options)
{
    HdBuf folder = {0};
    Entries entries = {0};
    bool clearing = !strcmp(options->operand, "clear");
    if (!clearing && strcmp(options->operand, "list"))
        return hd_error(HD_USAGE, "%s: expected list or clear", options->operand);
    HdStatus *status = cache_folder(&folder);
    if (!status) status = read_entries(folder.data, &entries);
    if (!status && clearing) status = clear(folder.data, &entries);
    else if (!status) list(folder.data, &entries);
    hd_vec_free(&entries);
    hd_buf_free(&folder);
    return status;
}
