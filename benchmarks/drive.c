// SPDX-License-Identifier: Apache-2.0
// A program under the benchmark's command. usage: drive MODEL MODULE|- THREADS CONTEXT; then on standard input
//
//   prompt N D       seconds for N tokens at once behind D others              (llama-bench's pp N @ dD)
//   generate N D     seconds for N tokens one by one behind D others           (tg N @ dD)
//   logits N FILE    the logits of N tokens, float32 [N][vocab], to a file
//
// one line answers each. Tokens are pseudo-random, the same in both programs. The state behind D tokens is kept, so that they are read once.
#include "drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int kept_depth = -1;

void drive_fail(const char *what)
{
    fprintf(stderr, "drive: %s\n", what);
    exit(1);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int32_t *make_tokens(int count)
{
    int32_t *tokens = malloc((size_t)count * sizeof *tokens);
    uint64_t state = 1;
    if (!tokens) drive_fail("no memory");
    for (int i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)((state >> 33) % (uint64_t)drive_vocab());
    }
    return tokens;
}

static void go_to(const int32_t *tokens, int depth)
{
    if (depth && depth == kept_depth) {
        drive_restore();
        return;
    }
    drive_reset();
    if (!depth) return;
    drive_read(tokens, depth);
    drive_keep();
    kept_depth = depth;
}

// As in llama-bench an evaluation before it is not timed: an idle processor needs some ten milliseconds to come back to its speed.
static double measure(const int32_t *tokens, int count, int depth, int at_once)
{
    enum { WARM_UP = 64 };
    go_to(tokens, depth);
    drive_eval(tokens + depth, at_once < WARM_UP ? at_once : WARM_UP);
    go_to(tokens, depth);
    double start = seconds();
    for (int i = 0; i < count; i += at_once) drive_eval(tokens + depth + i, at_once);
    return seconds() - start;
}

static void write_logits(const int32_t *tokens, int count, const char *path)
{
    size_t values = (size_t)count * (size_t)drive_vocab();
    float *rows = malloc(values * sizeof *rows);
    FILE *file = fopen(path, "wb");
    if (!rows || !file) drive_fail("logits: no memory, or the file cannot be written");
    drive_reset();
    drive_logits(tokens, count, rows);
    if (fwrite(rows, sizeof *rows, values, file) != values || fclose(file)) drive_fail("logits: the file cannot be written");
    free(rows);
}

static void answer(const char *line, const int32_t *tokens, int context)
{
    int count, depth;
    char path[4096];
    if (sscanf(line, "logits %d %4095[^\n]", &count, path) == 2 && count > 0 && count <= context) {
        write_logits(tokens, count, path);
        printf("done\n");
    } else if (sscanf(line, "prompt %d %d", &count, &depth) == 2 && count > 0 && count + depth <= context) {
        printf("%.9f\n", measure(tokens, count, depth, count));
    } else if (sscanf(line, "generate %d %d", &count, &depth) == 2 && count > 0 && count + depth <= context) {
        printf("%.9f\n", measure(tokens, count, depth, 1));
    } else {
        drive_fail(line);
    }
}

int main(int argc, char **argv)
{
    char line[8192];
    if (argc != 5) drive_fail("usage: drive MODEL MODULE|- THREADS CONTEXT");
    DriveOptions options = {argv[1], argv[2], atoi(argv[3]), atoi(argv[4])};
    drive_open(&options);
    int32_t *tokens = make_tokens(options.context);
    drive_describe();
    printf("\n");
    for (fflush(stdout); fgets(line, sizeof line, stdin); fflush(stdout)) answer(line, tokens, options.context);
    free(tokens);
    return 0;
}
