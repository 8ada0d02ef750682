// SPDX-License-Identifier: Apache-2.0
// A temporary file for a group of tests: setup and teardown for cmocka_run_group_tests. Included once, after cmocka's headers.
#ifndef HEDDLE_TESTS_TEMPORARY_H
#define HEDDLE_TESTS_TEMPORARY_H

#include <stdlib.h>
#include <unistd.h>

static char temporary[] = "test_file-XXXXXX";

static int make_temporary(void **state)
{
    (void)state;
    int fd = mkstemp(temporary);
    return fd < 0 || close(fd);
}

static int remove_temporary(void **state)
{
    (void)state;
    return unlink(temporary);
}

#endif
