// SPDX-License-Identifier: Apache-2.0
// Random numbers that are a function of what they are for. Constants: Salmon et al. (internal.h), table 2 and section 4.
#include "runtime/sampler/internal.h"

#include <math.h>

static void round_once(uint32_t c[4], const uint32_t key[2])
{
    uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ key[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ key[1], (uint32_t)a};
    for (int i = 0; i < 4; i++) c[i] = next[i];
}

void sm_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out_words[4])
{
    uint32_t k[2] = {key[0], key[1]};
    for (int i = 0; i < 4; i++) out_words[i] = counter[i];
    for (int round = 0; round < 10; round++) {
        round_once(out_words, k);
        k[0] += 0x9E3779B9u, k[1] += 0xBB67AE85u;
    }
}

double sm_gumbel(uint64_t seed, uint32_t sequence, uint32_t position, uint32_t id)
{
    const uint32_t counter[4] = {position, id, sequence, 0}, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t words[4];
    sm_philox(counter, key, words);
    double u = ((double)(words[0] >> 5) * 0x1p26 + (double)(words[1] >> 6) + 0.5) * 0x1p-53;   // never 0 or 1
    return -log(-log(u));
}
