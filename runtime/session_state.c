// SPDX-License-Identifier: Apache-2.0
// Slots: reset, fork, snapshots. The cache is append-only, so a snapshot needs none of it: going back means forgetting its
// later rows. What a snapshot does need is proof that the earlier rows are still those it was taken after; it keeps a digest of
// the tokens.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

struct HeddleSnapshot {
    const HeddleModule *module;
    uint32_t position;
    HdDigest prefix;                 // of tokens 0..position-1
    RtBuffer recurrent;              // a plane of every recurrent state, each row_bytes, one after another
};

static HdDigest prefix_digest(const RtSlot *slot, uint32_t count) { return hd_digest(slot->tokens, count * sizeof(int32_t)); }

const int32_t *heddle_slot_tokens(const HeddleSession *session, uint32_t slot, uint32_t *out_count)
{
    if (slot >= session->shape.slots) {
        *out_count = 0;
        return NULL;
    }
    *out_count = rt_slot_position(&session->slots[slot]);
    return session->slots[slot].tokens;
}

HeddleStatus *heddle_slot_reset(HeddleSession *session, uint32_t slot)
{
    RtSlot *row;
    HD_TRY(rt_slot(session, slot, &row));
    row->broken = true;                                  // until all of it is done
    row->filled = 0;
    for (uint32_t i = 0; i < session->module->state_count; i++)   // rows of a cache beyond `filled` are never read
        if (!session->module->states[i].append_only)
            HD_TRY(session->memory->zero(session->device, &session->states[i], rt_plane_offset(session, i, slot, 0), session->views[i].slot_bytes));
    for (uint32_t p = 0; p < session->shape.planes; p++) row->positions[p] = 0;
    row->plane = 0;
    row->broken = false;
    return NULL;
}

HeddleStatus *heddle_slot_fork(HeddleSession *session, uint32_t from, uint32_t to)
{
    RtSlot *source, *target;
    HD_TRY(rt_whole_slot(session, from, &source));
    HD_TRY(rt_slot(session, to, &target));
    if (from == to) return NULL;
    target->broken = true;
    target->filled = 0;
    for (uint32_t i = 0; i < session->module->state_count; i++) {
        const RtState *state = &session->module->states[i];
        uint64_t bytes = state->append_only ? state->row_bytes * source->filled : session->views[i].slot_bytes;
        HD_TRY(session->memory->copy(session->device, &session->states[i], rt_plane_offset(session, i, to, 0),
                                     &session->states[i], rt_plane_offset(session, i, from, 0), bytes));
    }
    memcpy(target->tokens, source->tokens, source->filled * sizeof(int32_t));
    memcpy(target->positions, source->positions, session->shape.planes * sizeof(uint32_t));
    target->filled = source->filled, target->plane = source->plane;
    target->broken = false;
    return NULL;
}

// ---- snapshots -------------------------------------------------------------------------------------------------

static uint64_t recurrent_bytes(const HeddleModule *module)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < module->state_count; i++)
        if (!module->states[i].append_only) bytes += module->states[i].row_bytes;
    return bytes;
}

// Between the slot's planes and the snapshot's bytes.
static HdStatus *copy_recurrent(const HeddleSession *session, uint32_t slot, uint32_t plane, uint8_t *bytes, bool to_slot)
{
    const RtMemoryType *memory = session->memory;
    for (uint32_t i = 0; i < session->module->state_count; i++) {
        const RtState *state = &session->module->states[i];
        const RtBuffer *buffer = &session->states[i];
        uint64_t offset = rt_plane_offset(session, i, slot, plane);
        if (state->append_only) continue;
        if (to_slot) HD_TRY(memory->write(session->device, buffer, offset, bytes, state->row_bytes));
        else HD_TRY(memory->read(session->device, buffer, offset, state->row_bytes, bytes));
        bytes += state->row_bytes;
    }
    return NULL;
}

HeddleStatus *heddle_snapshot_take(const HeddleSession *session, uint32_t slot, HeddleSnapshot **out_snapshot)
{
    RtSlot *row;
    RtBuffer recurrent;
    HD_TRY(rt_whole_slot(session, slot, &row));
    HD_TRY(rt_alloc(recurrent_bytes(session->module), "a snapshot", &recurrent));
    HeddleSnapshot *snapshot = hd_xcalloc(1, sizeof *snapshot);
    snapshot->module = session->module;
    snapshot->position = rt_slot_position(row);
    snapshot->prefix = prefix_digest(row, snapshot->position);
    snapshot->recurrent = recurrent;
    HdStatus *status = copy_recurrent(session, slot, row->plane, rt_host(&recurrent), false);
    if (status) heddle_snapshot_free(snapshot);
    else *out_snapshot = snapshot;
    return status;
}

HeddleStatus *heddle_snapshot_restore(HeddleSession *session, uint32_t slot, const HeddleSnapshot *snapshot)
{
    RtSlot *row;
    HD_TRY(rt_slot(session, slot, &row));
    if (snapshot->module != session->module)
        return hd_error(HD_MISMATCH, "slot %" PRIu32 ": the snapshot was taken with another module", slot);
    HdDigest have = {0, 0};
    if (snapshot->position <= row->filled) have = prefix_digest(row, snapshot->position);
    if (have.lo != snapshot->prefix.lo || have.hi != snapshot->prefix.hi)
        return hd_error(HD_MISMATCH, "slot %" PRIu32 ": its cache no longer begins with the %" PRIu32 " tokens after which the "
                        "snapshot was taken", slot, snapshot->position);
    row->broken = true;
    HD_TRY(copy_recurrent(session, slot, row->plane, rt_host(&snapshot->recurrent), true));
    row->positions[row->plane] = snapshot->position;
    row->broken = false;
    return NULL;
}

uint32_t heddle_snapshot_position(const HeddleSnapshot *snapshot) { return snapshot->position; }
uint64_t heddle_snapshot_bytes(const HeddleSnapshot *snapshot) { return snapshot->recurrent.bytes; }

void heddle_snapshot_free(HeddleSnapshot *snapshot)
{
    if (!snapshot) return;
    rt_free(&snapshot->recurrent);
    free(snapshot);
}
