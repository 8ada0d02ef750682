// SPDX-License-Identifier: Apache-2.0
// Files of several variants: the first that the machine runs is taken, and it is then as if the file held nothing else; what is
// nested is checked like a file of its own, and what the file says about it is compared with it.
#include "tests/unit/hand_fixture.h"

// ---- files -----------------------------------------------------------------------------------------------------

typedef struct Parts { HdBuf modules[RT_MAX_VARIANTS + 1]; const char *targets[RT_MAX_VARIANTS + 1]; uint32_t count; } Parts;

// Replaces `old` (found once) by `new` of equal length, and seals.
static void replace(HdBuf *bytes, const char *old, const char *new)
{
    char *at = memmem(bytes->data, bytes->len, old, strlen(old));
    assert_non_null(at);
    memcpy(at, new, strlen(new));
    rt_module_seal(bytes->data, bytes->len);
}

// A module for a target; `feature`, of six letters, is what it needs ("sse4.2" is there everywhere).
static HdBuf part(const char *name, const char *feature, const GgufFile *model)
{
    HdBuf bytes;
    IrTarget target = {.features = 1u << IR_FEATURE_SSE42};
    snprintf(target.name, sizeof target.name, "%s", name);
    OK(hand_module(&(HandOptions){.target = &target}, model, &bytes));
    replace(&bytes, "sse4.2", feature);
    return bytes;
}

static void add(Parts *parts, const char *name, const char *feature)
{
    parts->targets[parts->count] = name;
    parts->modules[parts->count++] = part(name, feature, NULL);
}

static void free_parts(Parts *parts)
{
    for (uint32_t i = 0; i < parts->count; i++) hd_buf_free(&parts->modules[i]);
}

// What cg_module_join writes, and also what it never would.
static HdBuf join(const Parts *parts, const char *fingerprint)
{
    HdBuf bytes;
    HdStr targets[RT_MAX_VARIANTS + 1];
    GgufWriter *writer = gguf_writer_new(RT_ARCHITECTURE);
    gguf_writer_string(writer, RT_KEY_DIGEST, HD_STR("00000000000000000000000000000000"));
    gguf_writer_u32(writer, RT_KEY_FORMAT, RT_MODULE_FORMAT);
    gguf_writer_u32(writer, RT_KEY_ABI, HEDDLE_ABI_VERSION);
    gguf_writer_string(writer, RT_KEY_FINGERPRINT, hd_str(fingerprint));
    for (uint32_t i = 0; i < parts->count; i++) targets[i] = hd_str(parts->targets[i]);
    gguf_writer_strings(writer, RT_KEY_VARIANTS, targets, parts->count);
    for (uint32_t i = 0; i < parts->count; i++) {
        char name[32];
        uint64_t len = parts->modules[i].len;
        snprintf(name, sizeof name, "variant.%u", i + 1);
        if (len) gguf_writer_tensor(writer, name, GGML_I8, 1, &len, parts->modules[i].data);
    }
    gguf_writer_finish(writer, &bytes);
    gguf_writer_free(writer);
    rt_module_seal(bytes.data, bytes.len);
    return bytes;
}

static void fingerprint_of(const HdBuf *bytes, char out_hex[33])
{
    HeddleModule *module;
    HeddleModuleInfo info;
    OK(heddle_module_open_memory("m.hdl", bytes->data, bytes->len, &module));
    heddle_module_info(module, &info);
    memcpy(out_hex, info.fingerprint, 33);
    heddle_module_close(module);
}

static HeddleModule *open_parts(const Parts *parts)
{
    HdBuf bytes;
    HeddleModule *module;
    OK(cg_module_join(parts->modules, parts->count, &bytes));
    OK(heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module));
    hd_buf_free(&bytes);
    return module;
}

// ---- the choice ------------------------------------------------------------------------------------------------

static void expect_taken(const Parts *parts, uint32_t number)
{
    HeddleModule *module = open_parts(parts), *alone;
    HeddleModuleInfo info, want;
    const HdBuf *part = &parts->modules[number - 1];
    OK(heddle_module_open_memory("alone.hdl", part->data, part->len, &alone));
    heddle_module_info(module, &info);
    heddle_module_info(alone, &want);
    assert_int_equal(info.variant, number);
    assert_int_equal(info.variants, parts->count);
    assert_string_equal(info.path, "m.hdl");
    assert_string_equal(info.target, parts->targets[number - 1]);
    assert_string_equal(info.digest, want.digest);           // so that packs and slots of the one fit the other
    assert_int_equal(module->bytes.len, part->len);          // nothing else stays in memory
    assert_memory_equal(module->object, alone->object, alone->object_len);
    assert_true(want.variant == 1 && want.variants == 1);
    heddle_module_close(alone);
    heddle_module_close(module);
}

static void the_first_that_runs_is_taken(void **state)
{
    (void)state;
    Parts parts = {0};
    add(&parts, "cpu:great", "avx999");
    add(&parts, "cpu:good", "sse4.2");
    add(&parts, "cpu:least", "sse4.2");
    expect_taken(&parts, 2);
    free_parts(&parts);
    parts.count = 0;
    add(&parts, "cpu:great", "avx999");
    add(&parts, "metal:m1", "sse4.2");
    add(&parts, "cpu:least", "sse4.2");
    expect_taken(&parts, 3);
    free_parts(&parts);
}

static void none_runs(void **state)
{
    (void)state;
    Parts parts = {0};
    add(&parts, "cpu:great", "avx999");
    add(&parts, "cpu:good", "avx998");
    expect_taken(&parts, 1);
    HeddleModule *module = open_parts(&parts);
    HeddleModel *model;
    expect(heddle_module_check_machine(module), HD_MISMATCH, "m.hdl: this machine runs none of its 2 variants: cpu:great needs "
           "avx999; cpu:good needs avx998; compile for it: heddle compile");
    OK(heddle_model_create(module, NULL, &(HeddleModelOptions){.device = "null"}, &model));
    heddle_model_free(model);
    heddle_module_close(module);
    free_parts(&parts);
}

// The whole way: the second variant computes the logits.
static void the_variant_computes(void **state)
{
    (void)state;
    Parts parts = {0};
    Hand hand = {.path = "test_variants_XXXXXX"};
    const int32_t tokens[] = {1, 5, 2, 11, 3};
    add(&parts, "cpu:great", "avx999");
    add(&parts, "cpu:good", "sse4.2");
    close(mkstemp(hand.path));
    hand_weights(&hand.values, 3);
    OK(hand_write_weights(hand.path, &hand.values, HAND_CONTEXT, 0));
    OK(heddle_weights_open(hand.path, false, &hand.weights));
    hand.module = open_parts(&parts);
    free_parts(&parts);
    OK(heddle_model_create(hand.module, hand.weights, NULL, &hand.model));
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    append_and_check(&hand, session, 0, tokens, 0, 5);
    heddle_session_free(session);
    hand_close(&hand);
}

static void a_number_asks_for_one(void **state)
{
    (void)state;
    char path[] = "test_variants_XXXXXX";
    Parts parts = {0};
    HdBuf bytes;
    HeddleModule *module;
    add(&parts, "cpu:great", "avx999");
    add(&parts, "cpu:good", "sse4.2");
    close(mkstemp(path));
    OK(cg_module_join(parts.modules, parts.count, &bytes));
    OK(hd_write_file(path, bytes.data, bytes.len));
    for (uint32_t number = 0; number < 3; number++) {
        OK(rt_module_open_variant(path, number, &module));
        assert_int_equal(module->info.variant, number ? number : 2);
        assert_string_equal(module->info.target, parts.targets[number == 1 ? 0 : 1]);
        assert_string_equal(module->variants[0].lacks, "avx999");
        assert_string_equal(module->variants[1].lacks, "");
        heddle_module_close(module);
    }
    expect(rt_module_open_variant(path, 3, &module), HD_USAGE, ": variant 3 is asked for; it has 2");
    unlink(path);
    hd_buf_free(&bytes);
    free_parts(&parts);
}

static void same_input_same_bytes(void **state)
{
    (void)state;
    Parts parts = {0};
    HdBuf a, b, by_hand;
    char fingerprint[33];
    add(&parts, "cpu:great", "avx999");
    add(&parts, "cpu:good", "sse4.2");
    fingerprint_of(&parts.modules[0], fingerprint);
    OK(cg_module_join(parts.modules, parts.count, &a));
    OK(cg_module_join(parts.modules, parts.count, &b));
    by_hand = join(&parts, fingerprint);
    assert_true(a.len == b.len && !memcmp(a.data, b.data, a.len));
    assert_true(a.len == by_hand.len && !memcmp(a.data, by_hand.data, a.len));
    hd_buf_free(&a);
    hd_buf_free(&b);
    hd_buf_free(&by_hand);
    free_parts(&parts);
}

// ---- refusals --------------------------------------------------------------------------------------------------

static void refuses(const Parts *parts, HdCode code, const char *text)
{
    HeddleModule *module;
    HdBuf bytes;
    Parts good = {0};
    char fingerprint[33];
    add(&good, "cpu:good", "sse4.2");
    fingerprint_of(&good.modules[0], fingerprint);
    free_parts(&good);
    bytes = join(parts, fingerprint);
    expect(heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module), code, text);
    hd_buf_free(&bytes);
}

// The variant that this machine takes is whole; the other is not, and the file is sealed again.
static void refuses_bad_variants(void **state)
{
    (void)state;
    Parts parts = {0};
    add(&parts, "cpu:good", "sse4.2");
    add(&parts, "cpu:other", "avx999");
    HdBuf *bad = &parts.modules[1];
    bad->data[bad->len / 2] ^= 1;
    refuses(&parts, HD_BAD_DATA, "m.hdl: variant.2: damaged");
    bad->data[bad->len / 2] ^= 1;
    size_t len = bad->len;
    bad->len = 5;
    refuses(&parts, HD_BAD_DATA, "m.hdl: variant.2: ");
    bad->len = 0;
    refuses(&parts, HD_BAD_DATA, "m.hdl: variant.2: ");
    bad->len = len;
    replace(bad, "heddle.target", "heddle.turret");
    refuses(&parts, HD_NOT_FOUND, "m.hdl: variant.2: key 'heddle.target'");
    replace(bad, "heddle.turret", "heddle.target");
    parts.targets[1] = "cpu:great";
    refuses(&parts, HD_BAD_DATA, "m.hdl: variant.2: compiled for cpu:other, but key 'heddle.variants' says cpu:great");
    free_parts(&parts);
}

static void refuses_variants_of_variants(void **state)
{
    (void)state;
    Parts parts = {0};
    HdBuf inner;
    char fingerprint[33];
    add(&parts, "cpu:great", "avx999");
    add(&parts, "cpu:good", "sse4.2");
    fingerprint_of(&parts.modules[0], fingerprint);
    inner = join(&parts, fingerprint);
    hd_buf_free(&parts.modules[1]);
    parts.modules[1] = inner;
    refuses(&parts, HD_BAD_DATA, "m.hdl: variant.2: holds variants itself");
    HdBuf joined;
    expect(cg_module_join(&inner, 1, &joined), HD_NOT_FOUND, RT_KEY_TARGET);
    free_parts(&parts);
}

// A model's keys are in the fingerprint, so the same tensors with a key more are another model.
static void refuses_a_variant_of_another_model(void **state)
{
    (void)state;
    char path[] = "test_variants_XXXXXX";
    HandWeights weights;
    GgufFile *model;
    Parts parts = {.targets = {"cpu:good", "cpu:other"}, .count = 2};
    close(mkstemp(path));
    hand_weights(&weights, 1);
    OK(hand_write_weights(path, &weights, HAND_CONTEXT, 0));
    OK(gguf_open(path, NULL, &model));
    parts.modules[0] = part("cpu:good", "sse4.2", NULL);
    parts.modules[1] = part("cpu:other", "sse4.2", model);
    refuses(&parts, HD_BAD_DATA, "m.hdl: variant.2: made for another model");
    gguf_close(model);
    unlink(path);
    free_parts(&parts);
}

static void refuses_bad_lists(void **state)
{
    (void)state;
    Parts parts = {0};
    refuses(&parts, HD_BAD_DATA, "key 'heddle.variants' has 0 entries; 1 to 16 are possible");
    for (uint32_t i = 0; i < RT_MAX_VARIANTS + 1; i++) add(&parts, "cpu:good", "sse4.2");
    refuses(&parts, HD_BAD_DATA, "key 'heddle.variants' has 17 entries; 1 to 16 are possible");
    free_parts(&parts);
}

// All refusals for other weights end with the command that makes the whole file again.
static void other_weights_name_all_targets(void **state)
{
    (void)state;
    char path[] = "test_variants_XXXXXX";
    Parts parts = {0};
    HeddleWeights *weights;
    add(&parts, "cpu:great", "avx999");
    add(&parts, "cpu:good", "sse4.2");
    close(mkstemp(path));
    GgufWriter *writer = gguf_writer_new("other");
    OK(gguf_writer_save(writer, path));
    gguf_writer_free(writer);
    OK(heddle_weights_open(path, false, &weights));
    HeddleModule *module = open_parts(&parts);
    expect(heddle_module_check_weights(module, weights), HD_MISMATCH, "--target cpu:great,cpu:good -o m.hdl");
    heddle_module_close(module);
    heddle_weights_close(weights);
    unlink(path);
    free_parts(&parts);
}

// ---- damage ----------------------------------------------------------------------------------------------------

static HdBuf two_variants(size_t *out_header)
{
    Parts parts = {0};
    HdBuf bytes;
    GgufFile *file;
    add(&parts, "cpu:great", "avx999");
    add(&parts, "cpu:good", "sse4.2");
    OK(cg_module_join(parts.modules, parts.count, &bytes));
    OK(gguf_open_memory("m.hdl", bytes.data, bytes.len, NULL, &file));
    *out_header = gguf_header_bytes(file);
    gguf_close(file);
    free_parts(&parts);
    return bytes;
}

static void any_flipped_byte_is_found(void **state)
{
    (void)state;
    size_t header;
    HdBuf bytes = two_variants(&header);
    for (size_t i = 0; i < bytes.len; i += i < header ? 1 : 101) {
        HeddleModule *module;
        bytes.data[i] ^= (char)(1 << i % 8);
        HdStatus *status = heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module);
        if (!status) fail_msg("byte %zu: opens", i);
        assert_memory_equal(hd_status_message(status), "m.hdl: ", 7);
        hd_status_free(status);
        bytes.data[i] ^= (char)(1 << i % 8);
    }
    hd_buf_free(&bytes);
}

// Whatever the file's own header says, opening it is safe; nearly all of it is compared with what is nested.
static void sealed_damage_is_harmless(void **state)
{
    (void)state;
    size_t header;
    HandTries tries = {0, 0};
    HdBuf bytes = two_variants(&header);
    for (size_t i = 140; i < header; i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes.data[i] ^= (char)(1 << bit);
            rt_module_seal(bytes.data, bytes.len);
            hand_try(&bytes, NULL, &tries);
            bytes.data[i] ^= (char)(1 << bit);
        }
    assert_true(tries.refused > 1500 && tries.opened < 20);
    hd_buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_that_runs_is_taken),
        cmocka_unit_test(none_runs),
        cmocka_unit_test(the_variant_computes),
        cmocka_unit_test(a_number_asks_for_one),
        cmocka_unit_test(same_input_same_bytes),
        cmocka_unit_test(refuses_bad_variants),
        cmocka_unit_test(refuses_variants_of_variants),
        cmocka_unit_test(refuses_a_variant_of_another_model),
        cmocka_unit_test(refuses_bad_lists),
        cmocka_unit_test(other_weights_name_all_targets),
        cmocka_unit_test(any_flipped_byte_is_found),
        cmocka_unit_test(sealed_damage_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
