// SPDX-License-Identifier: Apache-2.0
// A unified diff of two texts, line by line. Lines that occur once in both are matched first, the longest run of them that is in the same order in both (patience
// diff); what lies between two matches is compared the same way, and what has no such line is a change. Nearly all lines of a graph occur once.
#include "passes/workbench/workbench.h"

#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 3 };

typedef HD_VEC(HdStr) Lines;

// One line of the result: ' ' in both, '-' before only, '+' after only.
typedef struct Edit { char sign; uint32_t a, b; } Edit;         // line numbers in the two texts, from 0
typedef struct Diff { Lines a, b; HD_VEC(Edit) edits; } Diff;

static Lines split(HdStr text)
{
    Lines lines = {0};
    while (text.len) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        hd_vec_push(&lines, ((HdStr){text.data, len}));
        len += end != NULL;
        text = (HdStr){text.data + len, text.len - len};
    }
    return lines;
}

// ---- which lines are the same ------------------------------------------------------------------------------------

typedef struct Match { uint32_t a, b; int32_t before; } Match;  // before: the match in front of it in the longest run, -1: none
typedef HD_VEC(Match) Matches;

enum { MANY = UINT32_MAX };

// Lines first..end-1 by text: their number, or MANY.
static HdMap index_lines(const Lines *lines, uint32_t first, uint32_t end, uint32_t **out_where)
{
    HdMap map = {0};
    uint32_t *where = hd_xmalloc((end - first + 1) * sizeof *where), count = 0;
    for (uint32_t i = first; i < end; i++) {
        uint32_t slot;
        if (hd_map_get(&map, lines->data[i], &slot)) where[slot] = MANY;
        else hd_map_put(&map, lines->data[i], count), where[count++] = i;
    }
    *out_where = where;
    return map;
}

// The number of the line of this text, if there is exactly one.
static bool find_once(const HdMap *map, const uint32_t *where, HdStr line, uint32_t *out_number)
{
    uint32_t slot;
    if (!hd_map_get(map, line, &slot) || where[slot] == MANY) return false;
    *out_number = where[slot];
    return true;
}

// Lines that occur once in both parts, in the order of a.
static Matches match_unique(const Diff *diff, uint32_t a, uint32_t a_end, uint32_t b, uint32_t b_end)
{
    Matches matches = {0};
    uint32_t *in_a, *in_b, self, other;
    HdMap map_a = index_lines(&diff->a, a, a_end, &in_a), map_b = index_lines(&diff->b, b, b_end, &in_b);
    for (uint32_t i = a; i < a_end; i++)
        if (find_once(&map_a, in_a, diff->a.data[i], &self) && find_once(&map_b, in_b, diff->a.data[i], &other))
            hd_vec_push(&matches, ((Match){i, other, -1}));
    hd_map_free(&map_a);
    hd_map_free(&map_b);
    free(in_a);
    free(in_b);
    return matches;
}

// The longest run of matches whose lines rise in b too, by patience sorting: the last of its matches, or -1.
static int32_t longest_run(Matches *matches)
{
    uint32_t *tops = hd_xmalloc((matches->len + 1) * sizeof *tops), piles = 0;
    for (uint32_t i = 0; i < matches->len; i++) {
        uint32_t low = 0, high = piles;
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            if (matches->data[tops[middle]].b < matches->data[i].b) low = middle + 1;
            else high = middle;
        }
        matches->data[i].before = low ? (int32_t)tops[low - 1] : -1;
        tops[low] = i;
        piles = HD_MAX(piles, low + 1);
    }
    int32_t last = piles ? (int32_t)tops[piles - 1] : -1;
    free(tops);
    return last;
}

// ---- edits -------------------------------------------------------------------------------------------------------

static void add_edits(Diff *diff, char sign, uint32_t a, uint32_t b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) hd_vec_push(&diff->edits, ((Edit){sign, a + (sign != '+') * i, b + (sign != '-') * i}));
}

static void compare(Diff *diff, uint32_t a, uint32_t a_end, uint32_t b, uint32_t b_end);

static void compare_between(Diff *diff, const Matches *matches, int32_t last, uint32_t a, uint32_t a_end, uint32_t b, uint32_t b_end)
{
    HD_VEC(Match) run = {0};
    for (int32_t m = last; m >= 0; m = matches->data[m].before) hd_vec_push(&run, matches->data[m]);
    for (size_t i = run.len; i-- > 0;) {
        compare(diff, a, run.data[i].a, b, run.data[i].b);
        add_edits(diff, ' ', run.data[i].a, run.data[i].b, 1);
        a = run.data[i].a + 1, b = run.data[i].b + 1;
    }
    hd_vec_free(&run);
    compare(diff, a, a_end, b, b_end);
}

// Each call takes equal lines at both ends away or matches at least one line, so the depth is that of the nesting of matches.
static void compare(Diff *diff, uint32_t a, uint32_t a_end, uint32_t b, uint32_t b_end)
{
    uint32_t tail = 0;
    for (; a < a_end && b < b_end && hd_str_eq(diff->a.data[a], diff->b.data[b]); a++, b++) add_edits(diff, ' ', a, b, 1);
    for (; a < a_end && b < b_end && hd_str_eq(diff->a.data[a_end - 1], diff->b.data[b_end - 1]); tail++) a_end--, b_end--;
    Matches matches = match_unique(diff, a, a_end, b, b_end);
    int32_t last = longest_run(&matches);
    if (last >= 0) {
        compare_between(diff, &matches, last, a, a_end, b, b_end);
    } else {
        add_edits(diff, '-', a, b, a_end - a);
        add_edits(diff, '+', a_end, b, b_end - b);
    }
    hd_vec_free(&matches);
    add_edits(diff, ' ', a_end, b_end, tail);
}

// ---- print -------------------------------------------------------------------------------------------------------

// The end of the hunk that begins at `first`: behind the context of its last change.
static size_t hunk_end(const Diff *diff, size_t first)
{
    size_t end = first, same = 0;
    for (size_t i = first; i < diff->edits.len && same <= 2 * CONTEXT; i++) {
        same = diff->edits.data[i].sign == ' ' ? same + 1 : 0;
        if (!same) end = i + 1;
    }
    return HD_MIN(end + CONTEXT, diff->edits.len);
}

static void put_hunk(const Diff *diff, size_t first, size_t end, HdBuf *out)
{
    const Edit *edits = diff->edits.data;
    uint32_t a = 0, b = 0;
    for (size_t i = first; i < end; i++) a += edits[i].sign != '+', b += edits[i].sign != '-';
    hd_buf_printf(out, "@@ -%u,%u +%u,%u @@\n", edits[first].a + (a > 0), a, edits[first].b + (b > 0), b);
    for (size_t i = first; i < end; i++) {
        HdStr line = edits[i].sign == '+' ? diff->b.data[edits[i].b] : diff->a.data[edits[i].a];
        hd_buf_bytes(out, &edits[i].sign, 1);
        hd_buf_bytes(out, line.data, line.len);
        hd_buf_str(out, "\n");
    }
}

void wb_diff(HdStr before, HdStr after, const char *before_name, const char *after_name, HdBuf *out_text)
{
    Diff diff = {.a = split(before), .b = split(after)};
    bool named = false;
    compare(&diff, 0, (uint32_t)diff.a.len, 0, (uint32_t)diff.b.len);
    for (size_t i = 0, end = 0; i < diff.edits.len; i++) {
        if (diff.edits.data[i].sign == ' ') continue;
        if (!named) hd_buf_printf(out_text, "--- %s\n+++ %s\n", before_name, after_name);
        named = true;
        size_t first = HD_MAX(end, i > CONTEXT ? i - CONTEXT : 0);
        end = hunk_end(&diff, first);
        put_hunk(&diff, first, end, out_text);
        i = end - 1;
    }
    hd_vec_free(&diff.a);
    hd_vec_free(&diff.b);
    hd_vec_free(&diff.edits);
}
