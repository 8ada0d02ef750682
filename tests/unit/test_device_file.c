// SPDX-License-Identifier: Apache-2.0
// Devices as JSON files (cli/device_file.c, which is part of this test): what is written is read back, anything else is refused in one line;
// and which device of several is meant (runtime/device/facts.c).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "runtime/device/facts.h"

static const RtFacts cpu = {.type = RT_KIND_CPU, .name = "A \"fast\" one", .kind = "processor", .memory_bytes = 1ull << 40,
                            .features = "sse4.2 avx"};
static const RtFacts vulkan = {.type = RT_KIND_VULKAN, .name = "Radeon \xc3\xa9", .kind = "discrete GPU", .driver = "radv 22",
                               .memory_bytes = 8ull << 30, .features = "shaderInt64", .api_version = "1.3.230", .group_lanes = 1024,
                               .groups = 65535, .shared_bytes = 65536, .push_bytes = 256, .allocation_bytes = INT64_MAX};
static const RtFacts cuda = {.type = RT_KIND_CUDA, .name = "H100", .kind = "discrete GPU", .driver = "sm_90", .memory_bytes = 80ull << 30,
                             .shared_bytes = 49152, .capability = 90};

static void expect(HdStatus *status, HdCode code, const char *part)
{
    assert_non_null(status);
    if (hd_status_code(status) != code || !strstr(hd_status_message(status), part)) fail_msg("%s", hd_status_message(status));
    assert_null(strchr(hd_status_message(status), '\n'));
    hd_status_free(status);
}

// ---- files -----------------------------------------------------------------------------------------------------

static void what_is_written_is_read(void **state)
{
    (void)state;
    const RtFacts *const all[] = {&cpu, &vulkan, &cuda};
    for (size_t i = 0; i < HD_COUNT(all); i++) {
        HdBuf json = {0};
        RtFacts facts;
        device_file_write(all[i], &json);
        assert_null(device_file_read("d.json", (HdStr){json.data, json.len}, &facts));
        assert_memory_equal(&facts, all[i], sizeof facts);
        hd_buf_free(&json);
    }
}

// The file of a CUDA device with `old` replaced by `new`; without: `new` alone.
static HdStatus *read_changed(const char *old, const char *new)
{
    HdBuf json = {0}, changed = {0};
    RtFacts facts;
    device_file_write(&cuda, &json);
    char *at = old ? strstr(json.data, old) : NULL;
    assert_true(!old || at);
    if (at) hd_buf_bytes(&changed, json.data, (size_t)(at - json.data));
    hd_buf_str(&changed, new);
    if (at) hd_buf_str(&changed, at + strlen(old));
    HdStatus *status = device_file_read("d.json", (HdStr){changed.data, changed.len}, &facts);
    hd_buf_free(&json);
    hd_buf_free(&changed);
    return status;
}

static void wrong_files_are_one_line(void **state)
{
    (void)state;
    static const struct { const char *old, *new, *message; } wrong[] = {
        {NULL, "", "d.json: JSON, byte 1: expected a value"},
        {NULL, "[1, 2]", "d.json: not a description of a device: `heddle devices --save` writes one"},
        {NULL, "{\"a\": 1}", "d.json: not a description of a device"},
        {NULL, "{\"heddle_device\": 2}", "d.json: key 'type': expected \"cpu\", \"vulkan\" or \"cuda\""},
        {"\"cuda\"", "\"metal\"", "d.json: key 'type': expected \"cpu\", \"vulkan\" or \"cuda\""},
        {"\"cuda\"", "[\"cuda\"]", "d.json: key 'type': expected"},
        {"\"cuda\"", "\"cpu\"", "d.json: key 'shared_bytes': none of a cpu device"},
        {"\"capability\"", "\"ability\"", "d.json: key 'ability': none of a cuda device"},
        {"\"capability\"", "\"features\"", "d.json: key 'features': none of a cuda device"},
        {",\n  \"capability\": 90", "", "d.json: key 'capability': is missing"},
        {"90\n", "\"90\"\n", "d.json: key 'capability': expected a whole number that is not negative"},
        {"90\n", "9.0\n", "d.json: key 'capability': expected a whole number"},
        {"90\n", "-90\n", "d.json: key 'capability': expected a whole number"},
        {"90\n", "99999999999999999999\n", "d.json: key 'capability': expected a whole number"},
        {"\"H100\"", "100", "d.json: key 'name': expected a text"},
        {"\"H100\"", "\"H\\u0000\"", "d.json: key 'name': the text is too long, or holds a 0"},
        {"49152,", "49152", "d.json: JSON, byte "}};
    for (size_t i = 0; i < HD_COUNT(wrong); i++) expect(read_changed(wrong[i].old, wrong[i].new), HD_BAD_DATA, wrong[i].message);
    expect(read_changed("device\": 2", "device\": 1"), HD_UNSUPPORTED, "d.json: key 'heddle_device': this program reads version 2");
    char name[600];
    memset(name, 'a', sizeof name);
    name[0] = name[598] = '"', name[599] = 0;
    expect(read_changed("\"H100\"", name), HD_BAD_DATA, "d.json: key 'name': the text is too long");
}

static void lists_are_of_words(void **state)
{
    (void)state;
    static const char head[] = "{\"heddle_device\": 2, \"type\": \"cpu\", \"name\": \"\", \"kind\": \"\", \"driver\": \"\", \"memory_bytes\": 0, ";
    static const struct { const char *rest, *message; } wrong[] = {
        {"\"features\": \"avx\"}", "key 'features': expected a list of texts"},
        {"\"features\": [\"avx\", 2]}", "key 'features': expected a list of texts without blanks"},
        {"\"features\": [\"avx avx2\"]}", "key 'features': expected a list of texts without blanks"},
        {"\"features\": [\"\"]}", "key 'features': expected a list of texts without blanks"}};
    HdBuf json = {0};
    RtFacts facts;
    for (size_t i = 0; i < HD_COUNT(wrong); i++) {
        json.len = 0;
        hd_buf_printf(&json, "%s%s", head, wrong[i].rest);
        expect(device_file_read("d.json", (HdStr){json.data, json.len}, &facts), HD_BAD_DATA, wrong[i].message);
    }
    json.len = 0;
    hd_buf_printf(&json, "%s\"features\": [\"avx\"", head);
    for (int i = 0; i < 200; i++) hd_buf_str(&json, ", \"avx512vnni\"");
    hd_buf_str(&json, "]}");
    expect(device_file_read("d.json", (HdStr){json.data, json.len}, &facts), HD_BAD_DATA, "key 'features': the list is too long");
    hd_buf_free(&json);
}

static void damage_is_no_danger(void **state)
{
    (void)state;
    HdBuf json = {0};
    uint32_t seed = 1, refused = 0;
    device_file_write(&vulkan, &json);
    for (int round = 0; round < 5000; round++) {
        size_t len = round < (int)json.len ? (size_t)round : json.len;       // shorter ones, then changed ones
        char *copy = malloc(len ? len : 1);
        RtFacts facts;
        memcpy(copy, json.data, len);
        for (int i = 0; i < 3 && len == json.len; i++) {
            seed = seed * 1664525 + 1013904223;
            copy[(seed >> 8) % len] = "\"{}[],:0 9\\u\xff\x01""e-"[seed % 16];
        }
        HdStatus *status = device_file_read("d.json", (HdStr){copy, len}, &facts);
        refused += status != NULL;
        hd_status_free(status);
        free(copy);
    }
    assert_true(refused > 4000);
    hd_buf_free(&json);
}

// ---- choosing --------------------------------------------------------------------------------------------------

// The index of what is meant among a processor, two Vulkan devices and two of CUDA.
static int picked(const char *which, HdStatus **out_status)
{
    RtFacts list[] = {cpu, vulkan, vulkan, cuda, cuda};
    const RtFacts *facts = NULL;
    list[0].number = -1, list[2].number = list[4].number = 1;
    strcpy(list[2].name, "llvmpipe"), strcpy(list[2].kind, "software"), strcpy(list[4].name, "T4");
    if (which && !strcmp(which, "none")) list[3].name[0] = 0, strcpy(list[3].lacks, "no driver"), which = "cuda";
    *out_status = rt_facts_pick(list, HD_COUNT(list), which, &facts);
    return facts ? (int)(facts - list) : -1;
}

static void a_device_is_meant(void **state)
{
    (void)state;
    HdStatus *status;
    static const struct { const char *which; int index; } good[] = {{NULL, 3}, {"cpu", 0}, {"vulkan", 1}, {"cuda", 3}, {"cuda:1", 4},
                                                                     {"vulkan:1", 2}, {"Vulkan:llvm", 2}, {"h100", 3}, {"fast", 0}};
    for (size_t i = 0; i < HD_COUNT(good); i++) {
        assert_int_equal(picked(good[i].which, &status), good[i].index);
        assert_null(status);
    }
    static const struct { const char *which; HdCode code; const char *message; } bad[] = {
        {"1", HD_USAGE, "device '1': that may be several; devices: cpu A \"fast\" one, vulkan:0 Radeon \xc3\xa9, vulkan:1 llvmpipe, cuda:0 H100, cuda:1 T4"},
        {"7", HD_USAGE, "device '7': no type, number or part of a name; devices: cpu "},
        {"a", HD_USAGE, "device 'a': that may be several"},
        {"none", HD_NOT_FOUND, "device 'cuda': no driver"}};
    for (size_t i = 0; i < HD_COUNT(bad); i++) {
        assert_int_equal(picked(bad[i].which, &status), -1);
        expect(status, bad[i].code, bad[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read), cmocka_unit_test(wrong_files_are_one_line), cmocka_unit_test(lists_are_of_words),
        cmocka_unit_test(damage_is_no_danger),     cmocka_unit_test(a_device_is_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
