// SPDX-License-Identifier: Apache-2.0
#ifndef HEDDLE_TESTS_FOLDER_H
#define HEDDLE_TESTS_FOLDER_H

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

// Removes a folder that holds files only. 0, or -1 if something is left.
static inline int remove_folder(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return -1;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.') unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    return rmdir(path);
}

#endif
