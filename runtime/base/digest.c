// SPDX-License-Identifier: Apache-2.0
// Content digests: XXH3, 128 bits, whose value is part of its specification and the same on every machine.
#include "runtime/base/base.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct HdHasher {
    XXH3_state_t *state;
};

static HdDigest digest_of(XXH128_hash_t hash) { return (HdDigest){hash.low64, hash.high64}; }

HdHasher *hd_hasher_new(void) {
    HdHasher *hasher = hd_xmalloc(sizeof *hasher);
    hasher->state = XXH3_createState();                    // aligned to 64 bytes, as the algorithm wants
    HD_ASSERT(hasher->state);
    XXH3_128bits_reset(hasher->state);
    return hasher;
}

void hd_hasher_add(HdHasher *hasher, const void *data, size_t len) {
    if (len) XXH3_128bits_update(hasher->state, data, len);
}

void hd_hasher_text(HdHasher *hasher, const char *text) { hd_hasher_add(hasher, text ? text : "", text ? strlen(text) + 1 : 1); }

HdDigest hd_hasher_finish(HdHasher *hasher) {
    HdDigest digest = digest_of(XXH3_128bits_digest(hasher->state));
    XXH3_freeState(hasher->state);
    free(hasher);
    return digest;
}

HdDigest hd_digest(const void *data, size_t len) { return digest_of(XXH3_128bits(len ? data : "", len)); }

void hd_digest_hex(HdDigest digest, char out_hex[33]) {
    snprintf(out_hex, 33, "%016llx%016llx", (unsigned long long)digest.hi, (unsigned long long)digest.lo);
}
