// SPDX-License-Identifier: Apache-2.0
// The tokenizer against ids by Hugging Face's tokenizers (tests/tools/make_tokenizer_golden.py), its decoder, and vocabularies
// that contradict themselves.
#include "jsonl.h"
#include "runtime/gguf.h"
#include "runtime/tokenizer.h"
#include "tests/unit/temporary.h"

#include <setjmp.h>
#include <unistd.h>

#include <cmocka.h>

static const char model[] = MODEL_DATA "/tiny-dense-q8_0.gguf";

static void must(HeddleStatus *status) {
    if (status) fail_msg("%s", heddle_status_message(status));
}

// A tokenizer with the weights that it reads.
typedef struct Opened { HeddleWeights *weights; HeddleTokenizer *tokenizer; } Opened;

static void close_tokenizer(Opened *opened) {
    heddle_tokenizer_free(opened->tokenizer);
    heddle_weights_close(opened->weights);
}

static HeddleStatus *open_tokenizer(const char *path, Opened *out_opened) {
    *out_opened = (Opened){0};
    must(heddle_weights_open(path, false, &out_opened->weights));
    return heddle_tokenizer_create(out_opened->weights, &out_opened->tokenizer);
}

// The tokenizer.ggml keys of the model, without `dropped` and with what `edit` adds.
typedef void Edit(GgufWriter *writer, const void *user);

static void write_vocabulary(const char *path, const char *dropped, Edit *edit, const void *user) {
    GgufFile *file;
    GgufWriter *writer = gguf_writer_new("qwen35");
    must(gguf_open(model, NULL, &file));
    for (size_t i = 0; i < gguf_key_count(file); i++) {
        const GgufValue *value = gguf_key_at(file, i);
        if (hd_str_starts(value->key, "tokenizer.ggml.") && !hd_str_is(value->key, dropped)) gguf_writer_copy_key(writer, value);
    }
    if (edit) edit(writer, user);
    must(gguf_writer_save(writer, path));
    gguf_writer_free(writer);
    gguf_close(file);
}

// ---- ids -----------------------------------------------------------------------------------------------------

typedef struct Record { HdBuf text, decoded, pre; JsonInts ids; bool special; } Record;

static void read_record(const char *text, Record *record) {
    JsonLine line = {text};
    HdBuf key = {0};
    record->special = true;
    record->decoded.len = record->pre.len = 0;
    bool has_decoded = false;
    while (json_more(&line)) {
        json_string(&line, &key);
        if (!strcmp(key.data, "text")) json_string(&line, &record->text);
        else if (!strcmp(key.data, "nfc")) json_string(&line, &record->decoded), has_decoded = true;
        else if (!strcmp(key.data, "pre")) json_string(&line, &record->pre);
        else if (!strcmp(key.data, "ids")) json_ints(&line, &record->ids);
        else if (!strcmp(key.data, "special")) record->special = json_bool(&line);
        else fail_msg("unknown key %s", key.data);
    }
    if (!has_decoded) hd_buf_bytes(&record->decoded, record->text.data, record->text.len);
    hd_buf_free(&key);
}

static void free_record(Record *record) {
    hd_buf_free(&record->text);
    hd_buf_free(&record->decoded);
    hd_buf_free(&record->pre);
    hd_vec_free(&record->ids);
}

static void check_ids(const HeddleTokenizer *tokenizer, const Record *record, size_t line) {
    int32_t *ids;
    uint32_t count;
    must(heddle_tokenize(tokenizer, record->text.data, record->text.len, record->special, &ids, &count));
    for (uint32_t i = 0; i < count && i < record->ids.len; i++)
        if (ids[i] != record->ids.data[i])
            fail_msg("line %zu, \"%s\": id %u is %d, expected %d", line, record->text.data, i, ids[i], record->ids.data[i]);
    if (count != record->ids.len)
        fail_msg("line %zu, \"%s\": %u ids, expected %zu", line, record->text.data, count, record->ids.len);
    free(ids);
}

static void check_decoded(const HeddleTokenizer *tokenizer, const Record *record, size_t line) {
    HdBuf text = {0};
    for (size_t i = 0; i < record->ids.len; i++) {
        size_t len;
        const char *bytes = heddle_token_bytes(tokenizer, record->ids.data[i], &len);
        hd_buf_bytes(&text, bytes, len);
    }
    if (text.len != record->decoded.len || (text.len && memcmp(text.data, record->decoded.data, text.len)))
        fail_msg("line %zu: decoded to \"%s\", expected \"%s\"", line, text.data, record->decoded.data);
    hd_buf_free(&text);
}

// Tokens one by one: every part is whole code points, and together they are the text.
static void check_stream(const HeddleTokenizer *tokenizer, const Record *record, size_t line) {
    HeddleDecoder *decoder = heddle_decoder_new(tokenizer);
    size_t at = 0, len;
    for (size_t i = 0; i < record->ids.len; i++) {
        const char *part = heddle_decoder_push(decoder, record->ids.data[i], &len);
        if (len && (part[0] & 0xC0) == 0x80) fail_msg("line %zu: part %zu begins inside a code point", line, i);
        assert_true(at + len <= record->decoded.len);
        if (len) assert_memory_equal(part, record->decoded.data + at, len);
        at += len;
    }
    heddle_decoder_finish(decoder, &len);
    assert_int_equal(len, 0);
    assert_int_equal(at, record->decoded.len);
    heddle_decoder_free(decoder);
}

static void set_pre(GgufWriter *writer, const void *name) { gguf_writer_string(writer, "tokenizer.ggml.pre", hd_str(name)); }

static void test_golden(void **state) {
    (void)state;
    Opened now, qwen2;
    HdBuf text = {0};
    Record record = {0};
    size_t lines = 0, of_qwen2 = 0, plain = 0;
    write_vocabulary(temporary, "tokenizer.ggml.pre", set_pre, "qwen2");
    must(open_tokenizer(model, &now));
    must(open_tokenizer(temporary, &qwen2));
    must(hd_read_file(TEST_DATA "/tokenizer-tiny.jsonl", &text));
    for (char *line = strtok(text.data, "\n"); line; line = strtok(NULL, "\n")) {
        lines++;
        read_record(line, &record);
        const HeddleTokenizer *tokenizer = record.pre.len ? qwen2.tokenizer : now.tokenizer;
        of_qwen2 += record.pre.len > 0;
        plain += !record.special;
        check_ids(tokenizer, &record, lines);
        check_decoded(tokenizer, &record, lines);
        check_stream(tokenizer, &record, lines);
    }
    assert_int_equal(lines, 295);
    assert_int_equal(of_qwen2, 48);
    assert_int_equal(plain, 16);
    free_record(&record);
    hd_buf_free(&text);
    close_tokenizer(&now);
    close_tokenizer(&qwen2);
}

// What is no UTF-8 is read as Python's decode(errors="replace") reads it.
static void test_ill_formed(void **state) {
    (void)state;
    static const struct { const char *bytes, *as; } cases[] = {
        {"a\xFF" "b", "a\uFFFDb"},
        {"\x80\x80", "\uFFFD\uFFFD"},
        {"\xC0\xAF", "\uFFFD\uFFFD"},
        {"\xE4\xB8", "\uFFFD"},
        {"\xE4\xB8 x", "\uFFFD x"},
        {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
        {"\xF0\x9F\x98" "A", "\uFFFDA"},
        {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
        {"\xE0\x80\xAF", "\uFFFD\uFFFD\uFFFD"},
        {"\xF8\x88", "\uFFFD\uFFFD"},
        {"ok \xC3", "ok \uFFFD"},
        {"\xC3<|im_end|>", "\uFFFD<|im_end|>"},
    };
    Opened opened;
    must(open_tokenizer(model, &opened));
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        int32_t *found, *expected;
        uint32_t found_count, expected_count;
        must(heddle_tokenize(opened.tokenizer, cases[i].bytes, strlen(cases[i].bytes), true, &found, &found_count));
        must(heddle_tokenize(opened.tokenizer, cases[i].as, strlen(cases[i].as), true, &expected, &expected_count));
        assert_int_equal(found_count, expected_count);
        assert_memory_equal(found, expected, expected_count * sizeof *found);
        free(found);
        free(expected);
    }
    close_tokenizer(&opened);
}

// ---- long texts ----------------------------------------------------------------------------------------------

// A million of the same: anything quadratic runs into the test's time limit.
static void test_long(void **state) {
    (void)state;
    static const struct { const char *unit, *end; } cases[] = {
        {"a", ""},      {" ", "x"},      {"=", "\n"},  {"\n", " x"}, {"the", ""}, {"\u0316\u0301", "a"}, {"\u0301\u0316", ""},
        {"\u00e9", ""}, {"<|im_en", ""}, {"\xE4", ""}, {" \r", "."},
    };
    enum { UNITS = 1000000 };
    Opened opened;
    must(open_tokenizer(model, &opened));
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        HdBuf text = {0};
        int32_t *ids;
        uint32_t count;
        for (size_t n = 0; n < UNITS; n++) hd_buf_str(&text, cases[i].unit);
        hd_buf_str(&text, cases[i].end);
        must(heddle_tokenize(opened.tokenizer, text.data, text.len, true, &ids, &count));
        size_t total = 0, len;
        for (uint32_t k = 0; k < count; k++) heddle_token_bytes(opened.tokenizer, ids[k], &len), total += len;
        assert_int_equal(total, cases[i].unit[0] == '\xE4' ? 3 * UNITS : text.len);
        free(ids);
        hd_buf_free(&text);
    }
    close_tokenizer(&opened);
}

// ---- tokens --------------------------------------------------------------------------------------------------

static void test_tokens(void **state) {
    (void)state;
    Opened opened;
    size_t len;
    must(open_tokenizer(model, &opened));
    const HeddleTokenizer *tokenizer = opened.tokenizer;
    assert_int_equal(heddle_token_count(tokenizer), 4096);
    assert_int_equal(heddle_token_named(tokenizer, "<|endoftext|>"), 4091);
    assert_int_equal(heddle_token_named(tokenizer, "<|nothing|>"), -1);
    assert_true(heddle_token_is_end(tokenizer, 4091));     // the file's eos
    assert_true(heddle_token_is_end(tokenizer, 4093));     // <|im_end|>, by its text
    assert_false(heddle_token_is_end(tokenizer, 4092));
    assert_false(heddle_token_is_end(tokenizer, 0));
    assert_string_equal(heddle_token_bytes(tokenizer, 4096, &len), "");
    assert_int_equal(len, 0);
    heddle_token_bytes(tokenizer, -1, &len);
    assert_int_equal(len, 0);
    assert_false(heddle_token_is_end(tokenizer, -1));
    assert_false(heddle_token_is_end(tokenizer, 4096));
    close_tokenizer(&opened);
}

// The token of one byte. The first 256 ids are the bytes, printable ones first.
static int32_t byte_token(const HeddleTokenizer *tokenizer, uint8_t byte) {
    for (int32_t id = 0; id < 256; id++) {
        size_t len;
        const char *bytes = heddle_token_bytes(tokenizer, id, &len);
        if (len == 1 && (uint8_t)bytes[0] == byte) return id;
    }
    fail_msg("there is no token for byte %02x", byte);
    return -1;
}

static void push(HeddleDecoder *decoder, const HeddleTokenizer *tokenizer, uint8_t byte, const char *expected) {
    size_t len;
    const char *part = heddle_decoder_push(decoder, byte_token(tokenizer, byte), &len);
    assert_int_equal(len, strlen(expected));
    if (len) assert_memory_equal(part, expected, len);
}

static void test_held_back(void **state) {
    (void)state;
    Opened opened;
    size_t len;
    must(open_tokenizer(model, &opened));
    HeddleDecoder *decoder = heddle_decoder_new(opened.tokenizer);
    push(decoder, opened.tokenizer, 0xF0, "");             // an emoji, byte by byte
    push(decoder, opened.tokenizer, 0x9F, "");
    push(decoder, opened.tokenizer, 0x98, "");
    push(decoder, opened.tokenizer, 0x8A, "\xF0\x9F\x98\x8A");
    push(decoder, opened.tokenizer, 0xE4, "");             // a beginning that is then broken off passes as it is
    push(decoder, opened.tokenizer, 'x', "\xE4x");
    push(decoder, opened.tokenizer, 0x80, "\x80");         // bytes that begin nothing are not held back
    push(decoder, opened.tokenizer, 0xFF, "\xFF");
    push(decoder, opened.tokenizer, 0xE0, "");
    push(decoder, opened.tokenizer, 0x80, "\xE0\x80");     // E0 80 can become nothing
    push(decoder, opened.tokenizer, 0xE4, "");
    push(decoder, opened.tokenizer, 0xB8, "");
    assert_memory_equal(heddle_decoder_finish(decoder, &len), "\xE4\xB8", 2);
    assert_int_equal(len, 2);
    push(decoder, opened.tokenizer, 'a', "a");             // ready for another text
    heddle_decoder_finish(decoder, &len);
    assert_int_equal(len, 0);
    heddle_decoder_free(decoder);
    close_tokenizer(&opened);
}

// ---- added tokens ----------------------------------------------------------------------------------------------

static void expect_ids(const HeddleTokenizer *tokenizer, const char *text, bool special, const int32_t *expected,
                       uint32_t expected_count) {
    int32_t *ids;
    uint32_t count;
    must(heddle_tokenize(tokenizer, text, strlen(text), special, &ids, &count));
    assert_int_equal(count, expected_count);
    assert_memory_equal(ids, expected, count * sizeof *ids);
    free(ids);
}

// 256 byte tokens, and "<a>", "<a>b" and "b>" as `types` says.
static void write_added(GgufWriter *writer, const void *user) {
    static char texts[256][3];
    HdStr tokens[259];
    int64_t types[259];
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t code = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173) ? byte : next++;
        int len = code < 0x80 ? snprintf(texts[byte], 3, "%c", (char)code)
                              : snprintf(texts[byte], 3, "%c%c", (char)(0xC0 | code >> 6), (char)(0x80 | (code & 0x3F)));
        tokens[byte] = (HdStr){texts[byte], (size_t)len};
        types[byte] = 1;
    }
    tokens[256] = HD_STR("<a>"), tokens[257] = HD_STR("<a>b"), tokens[258] = HD_STR("b>");
    memcpy(types + 256, user, 3 * sizeof *types);
    gguf_writer_string(writer, "tokenizer.ggml.model", HD_STR("gpt2"));
    gguf_writer_string(writer, "tokenizer.ggml.pre", HD_STR("qwen35"));
    gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, 259);
    gguf_writer_ints(writer, "tokenizer.ggml.token_type", types, 259);
    gguf_writer_strings(writer, "tokenizer.ggml.merges", NULL, 0);
}

static void open_added(int64_t first, int64_t second, int64_t third, Opened *out_opened) {
    GgufWriter *writer = gguf_writer_new("qwen35");
    write_added(writer, (int64_t[]){first, second, third});
    must(gguf_writer_save(writer, temporary));
    gguf_writer_free(writer);
    must(open_tokenizer(temporary, out_opened));
}

static void test_added(void **state) {
    (void)state;
    enum { CONTROL = 3, USER = 4, UNUSED = 5 };
    Opened opened;
    open_added(CONTROL, USER, UNUSED, &opened);            // user-defined: always; control: on request; unused: never
    expect_ids(opened.tokenizer, "<a>b", false, (int32_t[]){257}, 1);
    expect_ids(opened.tokenizer, "<a>", false, (int32_t[]){'<', 'a', '>'}, 3);
    expect_ids(opened.tokenizer, "<a><a>b", true, (int32_t[]){256, 257}, 2);
    expect_ids(opened.tokenizer, "b>", true, (int32_t[]){'b', '>'}, 2);
    close_tokenizer(&opened);
    open_added(USER, CONTROL, USER, &opened);              // the longest that is allowed; leftmost before longer
    expect_ids(opened.tokenizer, "<a>b>", false, (int32_t[]){256, 258}, 2);
    expect_ids(opened.tokenizer, "<a>b>", true, (int32_t[]){257, '>'}, 2);
    close_tokenizer(&opened);
}

// ---- refusals --------------------------------------------------------------------------------------------------

static void expect_refusal(const char *dropped, Edit *edit, const void *user, HeddleCode code, const char *fragment) {
    Opened opened;
    write_vocabulary(temporary, dropped, edit, user);
    HeddleStatus *status = open_tokenizer(temporary, &opened);
    if (!status) fail_msg("accepted; expected %s", fragment);
    if (!strstr(heddle_status_message(status), fragment))
        fail_msg("\"%s\" does not say \"%s\"", heddle_status_message(status), fragment);
    if (!strstr(heddle_status_message(status), temporary))
        fail_msg("\"%s\" does not name the file", heddle_status_message(status));
    assert_int_equal(heddle_status_code(status), code);
    heddle_status_free(status);
    close_tokenizer(&opened);
}

static void set_model(GgufWriter *writer, const void *name) { gguf_writer_string(writer, "tokenizer.ggml.model", hd_str(name)); }
static void set_eos(GgufWriter *writer, const void *id) {
    gguf_writer_u32(writer, "tokenizer.ggml.eos_token_id", *(const uint32_t *)id);
}
static void add_eot(GgufWriter *writer, const void *id) {
    gguf_writer_u32(writer, "tokenizer.ggml.eot_token_id", *(const uint32_t *)id);
}
static void set_merge(GgufWriter *writer, const void *merge) {
    gguf_writer_strings(writer, "tokenizer.ggml.merges", (HdStr[]){HD_STR("t h"), hd_str(merge)}, 2);
}

static void set_types(GgufWriter *writer, const void *last) {
    static int64_t types[4096];
    for (size_t i = 0; i < 4096; i++) types[i] = 1;
    types[4095] = *(const int64_t *)last;
    gguf_writer_ints(writer, "tokenizer.ggml.token_type", types, types[4095] ? 4096 : 4095);
}

static void set_tokens(GgufWriter *writer, const void *user) {
    (void)user;
    gguf_writer_strings(writer, "tokenizer.ggml.tokens", (HdStr[]){HD_STR("a"), HD_STR("b"), HD_STR("a")}, 3);
}

static void add_embedding(GgufWriter *writer, const void *user) {
    static float rows[8 * 4095];
    (void)user;
    gguf_writer_tensor(writer, "token_embd.weight", GGML_F32, 2, (uint64_t[]){8, 4095}, rows);
}

static void test_refusals(void **state) {
    (void)state;
    static const char *const required[] = {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                                           "tokenizer.ggml.token_type", "tokenizer.ggml.merges"};
    for (size_t i = 0; i < HD_COUNT(required); i++) expect_refusal(required[i], NULL, NULL, HEDDLE_NOT_FOUND, required[i]);
    expect_refusal("tokenizer.ggml.model", set_model, "llama", HEDDLE_UNSUPPORTED,
                   "tokenizer.ggml.model is \"llama\", known is gpt2");
    expect_refusal("tokenizer.ggml.pre", set_pre, "default", HEDDLE_UNSUPPORTED,
                   "tokenizer.ggml.pre is \"default\", known are qwen35, qwen2");
    expect_refusal("tokenizer.ggml.pre", set_pre, "", HEDDLE_UNSUPPORTED, "tokenizer.ggml.pre is \"\"");
    expect_refusal("tokenizer.ggml.eos_token_id", set_eos, &(uint32_t){4096}, HEDDLE_BAD_DATA,
                   "tokenizer.ggml.eos_token_id is 4096");
    expect_refusal("", add_eot, &(uint32_t){UINT32_MAX}, HEDDLE_BAD_DATA, "tokenizer.ggml.eot_token_id is 4294967295");
    expect_refusal("tokenizer.ggml.merges", set_merge, "th", HEDDLE_BAD_DATA,
                   "tokenizer.ggml.merges[1] \"th\": expected two tokens");
    expect_refusal("tokenizer.ggml.merges", set_merge, "", HEDDLE_BAD_DATA, "tokenizer.ggml.merges[1] \"\": expected two tokens");
    expect_refusal("tokenizer.ggml.merges", set_merge, "t qqqqq", HEDDLE_BAD_DATA,
                   "tokenizer.ggml.merges[1] \"t qqqqq\": a part is not");
    expect_refusal("tokenizer.ggml.merges", set_merge, "q q", HEDDLE_BAD_DATA,
                   "tokenizer.ggml.merges[1] \"q q\": the joined text is not");
    expect_refusal("tokenizer.ggml.token_type", set_types, &(int64_t){6}, HEDDLE_BAD_DATA,
                   "tokenizer.ggml.token_type[4095] is 6");
    expect_refusal("tokenizer.ggml.token_type", set_types, &(int64_t){-1}, HEDDLE_BAD_DATA,
                   "tokenizer.ggml.token_type[4095] is -1");
    expect_refusal("tokenizer.ggml.token_type", set_types, &(int64_t){0}, HEDDLE_BAD_DATA,
                   "tokenizer.ggml.token_type has 4095 entries");
    expect_refusal("tokenizer.ggml.tokens", set_tokens, NULL, HEDDLE_BAD_DATA, "tokenizer.ggml.tokens[0] and [2] are both \"a\"");
    expect_refusal("", add_embedding, NULL, HEDDLE_BAD_DATA, "token_embd.weight has 4095 rows");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),   cmocka_unit_test(test_ill_formed), cmocka_unit_test(test_long),
        cmocka_unit_test(test_tokens),   cmocka_unit_test(test_held_back),  cmocka_unit_test(test_added),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make_temporary, remove_temporary);
}
