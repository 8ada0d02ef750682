// SPDX-License-Identifier: Apache-2.0
// A slot in a file: GGUF of architecture "heddle-slot". Bound to the module's digest, to the identity of the weights and to the
// tokens; a digest over all of its content finds damage. Tensor "tokens" holds the ids; "state.N" row N of the state table: the
// cache's rows, or the plane written last.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

#define SLOT_ARCHITECTURE "heddle-slot"
#define SLOT_FORMAT "heddle.slot.format"
#define SLOT_MODULE "heddle.slot.module"
#define SLOT_IDENTITY "heddle.slot.identity"
#define SLOT_FULL "heddle.slot.full"
#define SLOT_TOKENS "heddle.slot.tokens"
#define SLOT_CONTENT "heddle.slot.content"

enum { FORMAT = 1 };

static uint64_t state_bytes(const RtState *state, uint32_t tokens) { return state->append_only ? state->row_bytes * tokens
                                                                    : state->row_bytes; }

static uint64_t state_offset(const HeddleSession *session, uint32_t state, uint32_t slot)
{
    return rt_plane_offset(session, state, slot, session->slots[slot].plane);
}

static void state_name(uint32_t state, char out_name[32]) { snprintf(out_name, 32, "state.%" PRIu32, state); }

// ---- saving ----------------------------------------------------------------------------------------------------

// A slot as the host sees it; a row per state.
typedef struct Content { const RtSlot *row; uint32_t count; const void **data; RtBuffer *copies; } Content;

static HdStatus *fetch_content(const HeddleSession *session, uint32_t slot, Content *content)
{
    for (uint32_t i = 0; i < session->module->state_count; i++)
        HD_TRY(rt_fetch(session->device, &session->states[i], state_offset(session, i, slot),
                        state_bytes(&session->module->states[i], content->count), &content->copies[i], &content->data[i]));
    return NULL;
}

static void content_digest(const HeddleModule *module, const Content *content, char out_hex[33])
{
    HdHasher *hasher = hd_hasher_new();
    hd_hasher_add(hasher, content->row->tokens, content->count * sizeof(int32_t));
    for (uint32_t i = 0; i < module->state_count; i++)
        hd_hasher_add(hasher, content->data[i], (size_t)state_bytes(&module->states[i], content->count));
    hd_digest_hex(hd_hasher_finish(hasher), out_hex);
}

static void add_keys(GgufWriter *writer, const HeddleSession *session, const Content *content)
{
    char identity[33] = "", full[33] = "", digest[33];
    if (session->model->weights) rt_weights_identity(session->model->weights, identity, full);
    content_digest(session->module, content, digest);
    gguf_writer_u32(writer, SLOT_FORMAT, FORMAT);
    gguf_writer_string(writer, SLOT_MODULE, hd_str(session->module->info.digest));
    gguf_writer_string(writer, SLOT_IDENTITY, hd_str(identity));
    gguf_writer_string(writer, SLOT_FULL, hd_str(full));
    gguf_writer_u32(writer, SLOT_TOKENS, content->count);
    gguf_writer_string(writer, SLOT_CONTENT, hd_str(digest));
}

static HdStatus *write_content(const HeddleSession *session, const Content *content, const char *path)
{
    GgufWriter *writer = gguf_writer_new(SLOT_ARCHITECTURE);
    add_keys(writer, session, content);
    if (content->count) gguf_writer_tensor(writer, "tokens", GGML_I32, 1, &(uint64_t){content->count}, content->row->tokens);
    for (uint32_t i = 0; i < session->module->state_count && content->count; i++) {
        char name[32];
        uint64_t bytes = state_bytes(&session->module->states[i], content->count);
        state_name(i, name);
        gguf_writer_tensor(writer, name, GGML_I8, 1, &bytes, content->data[i]);
    }
    HdStatus *status = gguf_writer_save(writer, path);
    gguf_writer_free(writer);
    return status;
}

HeddleStatus *heddle_slot_save(HeddleSession *session, uint32_t slot, const char *path)
{
    RtSlot *row;
    uint32_t states = session->module->state_count;
    HD_TRY(rt_whole_slot(session, slot, &row));
    Content content = {row, rt_slot_position(row), hd_xcalloc(states, sizeof(void *)), hd_xcalloc(states, sizeof(RtBuffer))};
    HdStatus *status = fetch_content(session, slot, &content);
    if (!status) status = write_content(session, &content, path);
    for (uint32_t i = 0; i < states; i++) rt_free(&content.copies[i]);
    free(content.copies);
    free(content.data);
    return status;
}

// ---- loading: everything is compared before the slot changes -----------------------------------------------------

static HdStatus *check_owner(HeddleSession *session, const GgufFile *file)
{
    static const char mend[] = "evaluate the prompt again and save it anew";
    HdStr architecture, module, identity, full;
    uint32_t format;
    HD_TRY(gguf_get_string(file, "general.architecture", &architecture));
    if (!hd_str_is(architecture, SLOT_ARCHITECTURE))
        return hd_error(HD_BAD_DATA, "%s: a GGUF file of architecture '" HD_STR_FMT "', not a saved slot", gguf_path(file),
                        HD_STR_ARG(architecture));
    HD_TRY(gguf_get_u32(file, SLOT_FORMAT, &format));
    if (format != FORMAT) return hd_error(HD_UNSUPPORTED, "%s: slot format %" PRIu32 ", this program reads format %d; %s",
                                          gguf_path(file), format, FORMAT, mend);
    HD_TRY(gguf_get_string(file, SLOT_MODULE, &module));
    if (!hd_str_is(module, session->module->info.digest))
        return hd_error(HD_MISMATCH, "%s: saved with another module (digest " HD_STR_FMT ") than %s (%s); %s", gguf_path(file),
                        HD_STR_ARG(module), session->module->path,
                        session->module->info.digest, mend);
    HD_TRY(gguf_get_string(file, SLOT_IDENTITY, &identity));
    HD_TRY(gguf_get_string(file, SLOT_FULL, &full));
    return session->model->weights ? rt_weights_check(session->model->weights, identity, full, gguf_path(file), mend) : NULL;
}

static HdStatus *check_tensor(const GgufFile *file, const char *name, GgmlType type, uint64_t bytes, HdHasher *hasher,
                              const uint8_t **out_data)
{
    const GgufTensor *tensor = gguf_find_tensor(file, name);
    if (!tensor || tensor->type->id != (uint32_t)type || tensor->bytes != bytes)
        return hd_error(HD_BAD_DATA, "%s: tensor %s has to be %" PRIu64 " bytes of %s", gguf_path(file), name, bytes,
                        ggml_type_info(type)->name);
    hd_hasher_add(hasher, tensor->data, (size_t)bytes);
    *out_data = tensor->data;
    return NULL;
}

static HdStatus *check_tensors(const HeddleSession *session, const GgufFile *file, uint32_t count, HdHasher *hasher,
                               const uint8_t **out_tokens, const uint8_t **out_states)
{
    HD_TRY(check_tensor(file, "tokens", GGML_I32, (uint64_t)count * sizeof(int32_t), hasher, out_tokens));
    for (uint32_t i = 0; i < session->module->state_count; i++) {
        char name[32];
        state_name(i, name);
        HD_TRY(check_tensor(file, name, GGML_I8, state_bytes(&session->module->states[i], count), hasher, &out_states[i]));
    }
    return NULL;
}

static HdStatus *check_tokens(const HeddleSession *session, const GgufFile *file, const uint8_t *tokens, uint32_t count,
                              const int32_t *prefix, uint32_t prefix_count)
{
    for (uint32_t i = 0; i < count; i++) {
        int32_t token;
        memcpy(&token, tokens + i * sizeof token, sizeof token);
        if (token < 0 || (uint32_t)token >= session->module->info.vocab)
            return hd_error(HD_BAD_DATA, "%s: token %" PRIu32 " is %" PRId32 ", outside the vocabulary", gguf_path(file), i,
                            token);
        if (prefix && (i >= prefix_count || prefix[i] != token))
            return hd_error(HD_MISMATCH, "%s: the saved slot continues differently from token %" PRIu32 " of %" PRIu32 " on",
                            gguf_path(file), i, count);
    }
    return NULL;
}

// What a checked file says: views into its mapping. `states` has a row per state.
typedef struct Saved { uint32_t count; const uint8_t *tokens, **states; } Saved;

static HdStatus *check(HeddleSession *session, const GgufFile *file, Saved *saved)
{
    HdStr content;
    char hex[33];
    HD_TRY(check_owner(session, file));
    HD_TRY(gguf_get_u32(file, SLOT_TOKENS, &saved->count));
    HD_TRY(gguf_get_string(file, SLOT_CONTENT, &content));
    if (saved->count > session->shape.context)
        return hd_error(HD_LIMIT, "%s: holds %" PRIu32 " tokens, this session's context is %" PRIu32
                        "; use a larger context (-c)", gguf_path(file), saved->count, session->shape.context);
    if (!saved->count) return NULL;
    HdHasher *hasher = hd_hasher_new();
    HdStatus *status = check_tensors(session, file, saved->count, hasher, &saved->tokens, saved->states);
    hd_digest_hex(hd_hasher_finish(hasher), hex);
    if (status || hd_str_is(content, hex)) return status;
    return hd_error(HD_BAD_DATA, "%s: damaged: its content does not match its digest", gguf_path(file));
}

static HdStatus *fill_slot(HeddleSession *session, uint32_t slot, const Saved *saved)
{
    HD_TRY(heddle_slot_reset(session, slot));
    RtSlot *row = &session->slots[slot];
    if (!saved->count) return NULL;
    memcpy(row->tokens, saved->tokens, saved->count * sizeof(int32_t));
    row->broken = true;                                  // until all of it is there
    for (uint32_t i = 0; i < session->module->state_count; i++)
        HD_TRY(session->memory->write(session->device, &session->states[i], state_offset(session, i, slot), saved->states[i],
                                      state_bytes(&session->module->states[i], saved->count)));
    row->broken = false;
    for (uint32_t p = 1; p < session->shape.planes; p++) row->positions[p] = RT_NO_POSITION;
    row->positions[0] = row->filled = saved->count;
    return NULL;
}

HeddleStatus *heddle_slot_load(HeddleSession *session, uint32_t slot, const char *path, const int32_t *prefix,
                               uint32_t prefix_count)
{
    RtSlot *row;
    GgufFile *file;
    Saved saved = {0};
    HD_TRY(rt_slot(session, slot, &row));
    HD_TRY(gguf_open(path, NULL, &file));
    saved.states = hd_xcalloc(session->module->state_count, sizeof *saved.states);
    HdStatus *status = check(session, file, &saved);
    if (!status) status = check_tokens(session, file, saved.tokens, saved.count, prefix, prefix_count);
    if (!status) status = fill_slot(session, slot, &saved);
    free(saved.states);
    gguf_close(file);
    return status;
}
