// SPDX-License-Identifier: Apache-2.0
// Files as other programs write them, which give the same logits bit for bit; and files that are wrong in one place, which are
// refused by a line that names the place.
#include <stdarg.h>
#include <stddef.h>

#include "tests/unit/draft_changes.h"

#define DENSE TEST_DATA "/models/h1-mha-tied.gguf"
#define UNTIED TEST_DATA "/models/h2-gqa4.gguf"
#define MOE TEST_DATA "/models/moe-e16-k4.gguf"
#define WITH_PREDICTION MODEL_DATA "/tiny-dense-q4_k_m.gguf"

enum { TOKENS = 12 };   // enough for every layer to have state, and for positions to matter

// ---- expectations ----------------------------------------------------------------------------------------------

// The draft is refused with one line that has both texts.
static void expect_refusal(Draft *draft, const char *text, const char *more) {
    GgufFile *file = draft_file(draft);
    IrModule *module = NULL;
    HdStatus *status = model_build(file, NULL, &module);
    if (!status) fail_msg("accepted, but a refusal that names %s (%s) was expected", text, more);
    const char *message = hd_status_message(status);
    if (!strstr(message, text) || !strstr(message, more) || strncmp(message, "draft.gguf: ", 12) != 0)
        fail_msg("\"%s\" does not say \"%s\" and \"%s\"", message, text, more);
    assert_null(strchr(message, '\n'));
    assert_null(module);
    hd_status_free(status);
    gguf_close(file);
}

static void expect_accepted(Draft *draft) {
    GgufFile *file = draft_file(draft);
    ir_module_free(build(file, NULL));
    gguf_close(file);
}

static void refused(const char *path, Change *change, const char *text, const char *more) {
    Draft *draft = draft_open(path);
    change(draft);
    expect_refusal(draft, text, more);
    draft_close(draft);
}

// The changed file has the logits of the file itself (of model `name`), bit for bit, or (equal false) others.
static void compare_logits(const char *name, Change *change, bool equal) {
    char path[512];
    snprintf(path, sizeof path, TEST_DATA "/models/%s.gguf", name);
    Golden golden = golden_open(name);
    Draft *plain = draft_open(path), *changed = draft_open(path);
    change(changed);
    float *expected = draft_logits(plain, &golden, TOKENS), *logits = draft_logits(changed, &golden, TOKENS);
    bool same = memcmp(logits, expected, sizeof *logits * TOKENS * golden.vocab) == 0;
    if (same != equal) fail_msg("%s: logits %s", name, equal ? "differ" : "are the same");
    free(expected);
    free(logits);
    draft_close(plain);
    draft_close(changed);
    gguf_close(golden.file);
}

// ---- other writers ---------------------------------------------------------------------------------------------

// Heads as arrays with 0 for layers without attention, three sections, no ".bias", a flat gate, and the parts of other networks.
static void other_dialect(Draft *draft) {
    int64_t blocks = file_int(draft, "block_count"), H[64] = {0}, Hkv[64] = {0};
    for (int64_t i = 0; i < blocks; i++) {
        bool attends = draft_find(draft, block_name(draft, i, "attn_q.weight")) != NULL;
        H[i] = attends ? file_int(draft, "attention.head_count") : 0;
        Hkv[i] = attends ? file_int(draft, "attention.head_count_kv") : 0;
        DraftTensor *bias = draft_find(draft, block_name(draft, i, "ssm_dt.bias"));
        DraftTensor *gate = draft_find(draft, block_name(draft, i, "ffn_gate_inp_shexp.weight"));
        if (bias) bias->name = block_name(draft, i, "ssm_dt");
        if (gate) gate->n_dims = 1;
    }
    draft_ints(draft, "attention.head_count", H, (uint64_t)blocks);
    draft_ints(draft, "attention.head_count_kv", Hkv, (uint64_t)blocks);
    int64_t quarter = file_int(draft, "rope.dimension_count") / 4;
    draft_ints(draft, "rope.dimension_sections", (int64_t[]){quarter, quarter, 0}, 3);
    const float *values = new_values(draft, 4);
    const char *others[] = {"v.blk.0.attn_q.weight", "v.patch_embd.weight", "mm.0.weight", "mtp.fc.weight",
                            "mtp.layers.0.attn_q.weight", "blk.0.attn_qkv.input_scale", "output.input_scale"};
    for (size_t i = 0; i < HD_COUNT(others); i++) draft_add(draft, others[i], 1, (uint64_t[]){4}, values);
}

static void other_sections(Draft *draft) {
    draft_ints(draft, "rope.dimension_sections", (int64_t[]){file_int(draft, "rope.dimension_count") / 2, 0, 0, 0}, 4);
}

static void no_recurrent_layers_key(Draft *draft) { draft_drop_key(draft, draft_key(draft, "attention.recurrent_layers")); }

static void no_layer_keys(Draft *draft) {
    no_recurrent_layers_key(draft);
    draft_drop_key(draft, draft_key(draft, "full_attention_interval"));
}

static void no_optional_lengths(Draft *draft) {
    draft_drop_key(draft, draft_key(draft, "attention.value_length"));
    draft_text(draft, "rope.scaling.type", "none");
    draft_int(draft, "nextn_predict_layers", 0);
}

static void untied_copy(Draft *draft) {
    DraftTensor *embedding = draft_tensor(draft, "token_embd.weight");
    draft_add(draft, "output.weight", 2, embedding->ne, embedding->data);
}

static void untied_other(Draft *draft) {
    DraftTensor *embedding = draft_tensor(draft, "token_embd.weight");
    draft_add(draft, "output.weight", 2, embedding->ne, new_values(draft, draft_elements(embedding)));
}

static void tied(Draft *draft) { draft_drop(draft, "output.weight"); }

static void test_other_writers(void **state) {
    (void)state;
    static Change *const changes[] = {other_dialect,   other_sections,      no_recurrent_layers_key, no_layer_keys,
                                      joined_matrices, no_optional_lengths, scaled_matrices};
    static const char *const names[] = {"h1-mha-tied", "h2-gqa4", "moe-e16-k4"};
    for (size_t i = 0; i < HD_COUNT(changes); i++)
        for (size_t n = 0; n < HD_COUNT(names); n++) compare_logits(names[n], changes[i], true);
}

static void test_heads(void **state) {
    (void)state;
    compare_logits("h1-mha-tied", untied_copy, true);
    compare_logits("h1-mha-tied", untied_other, false);
    compare_logits("h2-gqa4", tied, false);
}

// Two layers, attention first: the pattern is what the file says, not a period.
static void test_layers_in_any_order(void **state) {
    (void)state;
    Draft *draft = draft_open(DENSE);
    static const char *const blocks[] = {"blk.3.", "blk.0."};
    size_t kept = 0;
    for (size_t i = 0; i < draft->tensors.len; i++) {
        DraftTensor tensor = draft->tensors.data[i];
        bool keep = strncmp(tensor.name, "blk.", 4) != 0;
        for (int b = 0; b < 2 && !keep; b++) {
            keep = strncmp(tensor.name, blocks[b], 6) == 0;
            if (keep) tensor.name = block_name(draft, b, tensor.name + 6);
        }
        if (keep) draft->tensors.data[kept++] = tensor;
    }
    draft->tensors.len = kept;
    draft_int(draft, "block_count", 2);
    draft_ints(draft, "attention.recurrent_layers", (int64_t[]){0, 1}, 2);
    GgufFile *file = draft_file(draft);
    IrModule *module = build(file, NULL);
    const IrGraph *graph = model_graph(module);
    int layer_of_attention = -1, layer_of_delta = -1;
    IR_FOR_OPS(graph, 0, ref) {
        const IrOp *op = ir_op(graph, ref);
        if (op->kind == IR_OP_attention) layer_of_attention = op->layer;
        if (op->kind == IR_OP_delta_rule) layer_of_delta = op->layer;
    }
    assert_int_equal(layer_of_attention, 0);
    assert_int_equal(layer_of_delta, 1);
    ir_module_free(module);
    gguf_close(file);
    draft_ints(draft, "attention.recurrent_layers", (int64_t[]){1, 0}, 2);
    expect_refusal(draft, "blk.0.attn_qkv.weight", "is missing");
    draft_close(draft);
}

// ---- tensors, each in turn ---------------------------------------------------------------------------------------

static bool is_optional(const Draft *draft, const char *name) {
    int block = -1;
    bool in_block = sscanf(name, "blk.%d.", &block) == 1;
    int64_t trunk = file_int(draft, "block_count") - file_int(draft, "nextn_predict_layers");
    return strcmp(name, "output.weight") == 0 || (in_block && block >= trunk);
}

static void for_each_tensor(const char *path, void (*check)(Draft *draft, size_t index)) {
    Draft *draft = draft_open(path);
    for (size_t i = 0; i < draft->tensors.len; i++) {
        const DraftTensor saved = draft->tensors.data[i];
        check(draft, i);
        draft->tensors.data[i] = saved;
    }
    draft_close(draft);
}

static void without_tensor(Draft *draft, size_t index) {
    const DraftTensor tensor = draft->tensors.data[index], last = draft->tensors.data[draft->tensors.len - 1];
    draft->tensors.data[index] = last;
    draft->tensors.len--;
    if (is_optional(draft, tensor.name)) {
        expect_accepted(draft);
    } else {
        expect_refusal(draft, tensor.name, "is missing");
    }
    draft->tensors.data[draft->tensors.len++] = last;
}

static void renamed_tensor(Draft *draft, size_t index) {
    DraftTensor *tensor = &draft->tensors.data[index];
    const char *name = tensor->name;
    tensor->name = hd_arena_printf(&draft->arena, "%s.renamed", name);
    if (strcmp(name, "output.weight") == 0) {
        expect_refusal(draft, tensor->name, "no place");
    } else {
        expect_refusal(draft, name, "is missing");
    }
}

static void reshaped_tensor(Draft *draft, size_t index) {
    DraftTensor *tensor = &draft->tensors.data[index];
    uint64_t second = tensor->ne[1];
    if (tensor->n_dims == 1) {
        tensor->n_dims = 2;
        second = 1;
    }
    tensor->ne[1] = tensor->ne[0];
    tensor->ne[0] = second;
    if (tensor->ne[0] == tensor->ne[1]) tensor->ne[0] /= 2;
    expect_refusal(draft, tensor->name, strcmp(tensor->name, "token_embd.weight") ? "expected [" : "rows");
}

static void retyped_tensor(Draft *draft, size_t index) {
    DraftTensor *tensor = &draft->tensors.data[index];
    bool only_f32 = tensor->n_dims == 1 || strstr(tensor->name, "conv1d");
    tensor->type = only_f32 ? GGML_F16 : GGML_I32;
    expect_refusal(draft, tensor->name, only_f32 ? "expected F32" : "has type I32");
}

static void test_each_tensor(void **state) {
    (void)state;
    static const char *const paths[] = {DENSE, UNTIED, MOE};
    for (size_t i = 0; i < HD_COUNT(paths); i++) {
        for_each_tensor(paths[i], without_tensor);
        for_each_tensor(paths[i], renamed_tensor);
        for_each_tensor(paths[i], reshaped_tensor);
        for_each_tensor(paths[i], retyped_tensor);
    }
    for_each_tensor(WITH_PREDICTION, without_tensor);
}

static void transposed_convolution(Draft *draft) {
    DraftTensor *conv = draft_tensor(draft, "blk.1.ssm_conv1d.weight");
    conv->ne[0] = conv->ne[1];
    conv->ne[1] = 4;
}

static void test_left_over_tensors(void **state) {
    (void)state;
    refused(DENSE, transposed_convolution, "blk.1.ssm_conv1d.weight has shape [384, 4], expected [4, 384]", "transposed");
    static const char *const names[] = {"rope_freqs.weight", "blk.0.attn_q.weight", "blk.3.ssm_a", "blk.4.attn_norm.weight",
                                        "blk.1.attn_qkv.bias", "blk.0.ffn_gate_inp.weight"};
    for (size_t i = 0; i < HD_COUNT(names); i++) {
        Draft *draft = draft_open(DENSE);
        draft_add(draft, names[i], 1, (uint64_t[]){4}, new_values(draft, 4));
        expect_refusal(draft, names[i], "no place in a qwen35 model");
        draft_close(draft);
    }
}

// ---- keys --------------------------------------------------------------------------------------------------------

static void test_each_required_key(void **state) {
    (void)state;
    static const char *const keys[] = {
        "block_count", "context_length", "embedding_length", "attention.head_count", "attention.key_length",
        "attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.dimension_count", "rope.dimension_sections",
        "ssm.conv_kernel", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank", "ssm.inner_size", "feed_forward_length",
        "expert_count", "expert_used_count", "expert_feed_forward_length", "expert_shared_feed_forward_length"};
    static const char *const paths[] = {DENSE, MOE};
    for (size_t p = 0; p < HD_COUNT(paths); p++)
        for (size_t i = 0; i < HD_COUNT(keys); i++) {
            Draft *draft = draft_open(paths[p]);
            const char *key = draft_key(draft, keys[i]);
            if (gguf_find_key(draft->source, key)) {
                draft_drop_key(draft, key);
                expect_refusal(draft, key, "missing");
                draft_text(draft, keys[i], "four");
                expect_refusal(draft, key, "string");
            } else {
                assert_non_null(strstr(keys[i], p == 0 ? "expert" : "feed_forward"));
            }
            draft_close(draft);
        }
}

static void test_inconsistent_numbers(void **state) {
    (void)state;
    static const struct { const char *path, *key; int64_t value; const char *text, *more; } cases[] = {
        {DENSE, "block_count", 0, "qwen35.block_count is 0", "1 to"},
        {DENSE, "block_count", 513, "qwen35.block_count is 513", "at most 512"},
        {DENSE, "block_count", (int64_t)1 << 40, "qwen35.block_count", "1 to"},
        {DENSE, "block_count", 3, "qwen35.attention.recurrent_layers has 4 entries", "must be 3"},
        {DENSE, "nextn_predict_layers", 4, "qwen35.nextn_predict_layers is 4", "less than qwen35.block_count (4)"},
        {DENSE, "full_attention_interval", 0, "qwen35.full_attention_interval is 0", "at least 1"},
        {UNTIED, "attention.head_count_kv", 3, "qwen35.attention.head_count is 4",
         "multiple of qwen35.attention.head_count_kv (3)"},
        {DENSE, "attention.value_length", 32, "qwen35.attention.value_length is 32", "equal to qwen35.attention.key_length (64)"},
        {DENSE, "rope.dimension_count", 15, "qwen35.rope.dimension_count is 15", "even"},
        {DENSE, "rope.dimension_count", 128, "qwen35.rope.dimension_count is 128", "at most qwen35.attention.key_length (64)"},
        {DENSE, "rope.dimension_count", 32, "qwen35.rope.dimension_sections is [3, 3, 2, 0]",
         "half of qwen35.rope.dimension_count (32)"},
        {DENSE, "ssm.conv_kernel", 1, "qwen35.ssm.conv_kernel is 1", "at least 2"},
        {UNTIED, "ssm.time_step_rank", 5, "qwen35.ssm.time_step_rank is 5", "multiple of qwen35.ssm.group_count (2)"},
        {UNTIED, "ssm.inner_size", 257, "qwen35.ssm.inner_size is 257", "multiple of qwen35.ssm.time_step_rank (4)"},
        {UNTIED, "ssm.inner_size", 128, "qwen35.ssm.inner_size is 128", "times qwen35.ssm.state_size (64)"},
        {MOE, "expert_count", 1025, "qwen35moe.expert_count is 1025", "at most 1024"},
        {MOE, "expert_used_count", 17, "qwen35moe.expert_used_count is 17", "at most qwen35moe.expert_count (16)"},
        {MOE, "expert_feed_forward_length", 65, "ffn_gate_exps.weight has shape [128, 64, 16]", "expected [128, 65, 16]"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        Draft *draft = draft_open(cases[i].path);
        draft_int(draft, cases[i].key, cases[i].value);
        expect_refusal(draft, cases[i].text, cases[i].more);
        draft_close(draft);
    }
}

static void heads_of_too_few_blocks(Draft *draft) { draft_ints(draft, "attention.head_count", (int64_t[]){0, 0, 2}, 3); }
static void attention_without_heads(Draft *draft) { draft_ints(draft, "attention.head_count_kv", (int64_t[]){2, 2, 2, 0}, 4); }
static void negative_heads(Draft *draft) { draft_ints(draft, "attention.head_count", (int64_t[]){0, 0, 0, -2}, 4); }
static void two_sections(Draft *draft) { draft_ints(draft, "rope.dimension_sections", (int64_t[]){4, 4}, 2); }
static void five_sections(Draft *draft) { draft_ints(draft, "rope.dimension_sections", (int64_t[]){4, 4, 0, 0, 0}, 5); }
static void huge_sections(Draft *draft) { draft_ints(draft, "rope.dimension_sections", (int64_t[]){INT64_MAX, 1, 8}, 3); }
static void yarn(Draft *draft) { draft_text(draft, "rope.scaling.type", "yarn"); }
static void no_epsilon(Draft *draft) { draft_f32(draft, "attention.layer_norm_rms_epsilon", 0); }
static void infinite_theta(Draft *draft) { draft_f32(draft, "rope.freq_base", INFINITY); }
static void other_architecture(Draft *draft) { draft->architecture = "qwen3next"; }
static void adapter(Draft *draft) {
    draft_set(draft, (DraftKey){.key = "general.type", .kind = DRAFT_TEXT, .text = "adapter"});
}
static void next_quantisation(Draft *draft) {
    static const int64_t version = 3;
    draft_set(draft, (DraftKey){.key = "general.quantization_version", .kind = DRAFT_INT, .values = &version, .count = 1});
}
static void fewer_token_types(Draft *draft) {
    static const int64_t types[3] = {1, 1, 1};
    draft_set(draft, (DraftKey){.key = "tokenizer.ggml.token_type", .kind = DRAFT_INTS, .values = types, .count = 3});
}
static void other_tokens(Draft *draft) {
    static const int64_t tokens[3] = {1, 2, 3};
    draft_set(draft, (DraftKey){.key = "tokenizer.ggml.tokens", .kind = DRAFT_INTS, .values = tokens, .count = 3});
}

static void test_other_refusals(void **state) {
    (void)state;
    static const struct { const char *path; Change *change; const char *text, *more; } cases[] = {
        {DENSE, heads_of_too_few_blocks, "qwen35.attention.head_count has 3 entries", "must be 4"},
        {DENSE, attention_without_heads, "qwen35.attention.head_count_kv is [2, 2, 2, 0]", "at least 1 in every attention layer"},
        {DENSE, negative_heads, "entry 3 of qwen35.attention.head_count is -2", "0 to"},
        {DENSE, two_sections, "qwen35.rope.dimension_sections is [4, 4]", "three or four"},
        {DENSE, five_sections, "qwen35.rope.dimension_sections has 5 entries", "at most 4"},
        {DENSE, huge_sections, "entry 0 of qwen35.rope.dimension_sections", "0 to"},
        {DENSE, yarn, "qwen35.rope.scaling.type yarn is not supported", "supported: none"},
        {DENSE, no_epsilon, "qwen35.attention.layer_norm_rms_epsilon is 0", "above 0"},
        {DENSE, infinite_theta, "qwen35.rope.freq_base", "finite"},
        {DENSE, other_architecture, "architecture qwen3next is not supported", "(supported: qwen35, qwen35moe)"},
        {DENSE, adapter, "general.type", "model"},
        {DENSE, next_quantisation, "general.quantization_version", "2"},
        {DENSE, fewer_token_types, "tokenizer.ggml.token_type has 3 entries", "512 rows"},
        {DENSE, other_tokens, "tokenizer.ggml.tokens has 3 entries", "512 rows"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) refused(cases[i].path, cases[i].change, cases[i].text, cases[i].more);
}

// ---- prediction blocks -------------------------------------------------------------------------------------------

static void uncounted_prediction(Draft *draft) { draft_drop_key(draft, draft_key(draft, "nextn_predict_layers")); }

static void only_prediction(Draft *draft) {
    size_t kept = 0;
    for (size_t i = 0; i < draft->tensors.len; i++) {
        const char *name = draft->tensors.data[i].name;
        bool keep = strncmp(name, "blk.", 4) != 0 || strncmp(name, "blk.8.", 6) == 0;
        if (keep) draft->tensors.data[kept++] = draft->tensors.data[i];
    }
    draft->tensors.len = kept;
}

static void test_prediction_blocks(void **state) {
    (void)state;
    refused(WITH_PREDICTION, uncounted_prediction, "qwen35.nextn_predict_layers", "blk.8.nextn.eh_proj.weight");
    refused(WITH_PREDICTION, only_prediction, "only the prediction block", "mtp-");
    GgufFile *file = open_gguf(WITH_PREDICTION);
    IrModule *module = build(file, NULL);
    assert_string_equal(ir_module_key(module, "layers"), "8");
    ir_module_free(module);
    gguf_close(file);
}

// ---- the module --------------------------------------------------------------------------------------------------

static char *module_text(const GgufFile *file, const ModelOptions *options) {
    IrModule *module = build(file, options);
    HdBuf text = {0};
    ir_print_module(module, &text);
    ir_module_free(module);
    return text.data;
}

static void test_header_alone(void **state) {
    (void)state;
    GgufFile *whole = open_gguf(MOE), *header;
    const GgufOptions header_only = {.header_only = true};
    must(gguf_open_memory("header", gguf_header_data(whole), gguf_header_bytes(whole), &header_only, &header));
    char *expected = module_text(whole, NULL), *text = module_text(header, NULL);
    assert_string_equal(text, expected);
    free(expected);
    free(text);
    gguf_close(header);
    gguf_close(whole);
}

static char *fingerprint(Draft *draft) {
    GgufFile *file = draft_file(draft);
    IrModule *module = build(file, NULL);
    char *text = hd_xstrdup(ir_module_key(module, "fingerprint"));
    ir_module_free(module);
    gguf_close(file);
    return text;
}

// It covers what the compiler has read, and nothing else: not the weights' values, not the name or the order of tensors.
static void test_fingerprint(void **state) {
    (void)state;
    Draft *draft = draft_open(DENSE);
    char *first = fingerprint(draft);
    assert_int_equal(strlen(first), 32);
    DraftTensor *norm = draft_tensor(draft, "output_norm.weight"), last = draft->tensors.data[0];
    norm->data = new_values(draft, 128);
    draft->tensors.data[0] = *norm;
    *norm = last;
    draft_set(draft, (DraftKey){.key = "general.name", .kind = DRAFT_TEXT, .text = "another name"});
    char *same = fingerprint(draft);
    assert_string_equal(same, first);
    draft_f32(draft, "rope.freq_base", 1e6f);
    char *other_key = fingerprint(draft);
    assert_string_not_equal(other_key, first);
    draft_tensor(draft, "blk.0.ssm_out.weight")->type = GGML_BF16;
    char *other_type = fingerprint(draft);
    assert_string_not_equal(other_type, other_key);
    free(first);
    free(same);
    free(other_key);
    free(other_type);
    draft_close(draft);
}

static void test_module(void **state) {
    (void)state;
    static const char *const lines[] = {
        "key \"arch\" = \"qwen35\"", "key \"vocab\" = \"512\"", "key \"hidden\" = \"128\"", "key \"layers\" = \"4\"",
        "key \"context_length\" = \"8192\"", "key \"rope.theta\" = \"1e+07\"", "key \"rope.n\" = \"64\"",
        "key \"kv.dtype\" = \"f16\"", "state \"blk.0.conv\" conv : f32[3, 640]",
        "state \"blk.2.delta\" delta : f32[3, 128, 128]",
        "state \"blk.3.k\" kv : f16[C, 1, 256]", "state \"blk.3.v\" kv : f16[C, 1, 256]",
        "hidden.0 = ", "hidden.4 = ", "logits = "};
    GgufFile *file = open_gguf(TEST_DATA "/models/h3-head256.gguf");
    char *text = module_text(file, &(ModelOptions){.kv = MODEL_KV_F16, .probes = true});
    for (size_t i = 0; i < HD_COUNT(lines); i++)
        if (!strstr(text, lines[i])) fail_msg("the module does not say %s", lines[i]);
    free(text);
    text = module_text(file, NULL);
    assert_null(strstr(text, "hidden."));
    assert_non_null(strstr(text, "\"blk.3.k\" kv : f32"));
    free(text);
    gguf_close(file);
    assert_string_equal(model_architectures()[0], "qwen35");
    assert_string_equal(model_architectures()[1], "qwen35moe");
    assert_null(model_architectures()[2]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_writers),        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_layers_in_any_order),  cmocka_unit_test(test_each_tensor),
        cmocka_unit_test(test_left_over_tensors),    cmocka_unit_test(test_each_required_key),
        cmocka_unit_test(test_inconsistent_numbers), cmocka_unit_test(test_other_refusals),
        cmocka_unit_test(test_prediction_blocks),    cmocka_unit_test(test_header_alone),
        cmocka_unit_test(test_fingerprint),          cmocka_unit_test(test_module),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
