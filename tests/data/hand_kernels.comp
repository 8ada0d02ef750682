// SPDX-License-Identifier: Apache-2.0
// The kernels of hand_kernels.c once more for a GPU: one is chosen with -Dhand_NAME. A work group does a unit, its lanes share the columns.
// Doubles are not asked of a device, so the sum of hand_mix is a float with the rounding error carried along.
#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

#if defined(hand_pack)
#define LANES 16
#elif defined(hand_copy)
#define LANES 64
#elif defined(hand_embed) || defined(hand_append) || defined(hand_recur) || defined(hand_mix)
#define LANES 8
#else
#define LANES 1
#endif
layout(local_size_x = LANES) in;

layout(push_constant, scalar) uniform Launch { uint64_t args; int64_t begin, end; uint64_t scratch; } launch;
layout(buffer_reference, scalar, buffer_reference_align = 8) buffer Slots { uint64_t at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Floats { float at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Ints { int at[]; };

const int DIM = 8, ROPE = 4, PANEL = 16, WIDE = 64, BLOCK = 8192;
#define lane int(gl_LocalInvocationIndex)
#define ARG(i) Slots(launch.args).at[i]
#define FLOATS(i) Floats(ARG(i))
#define INTS(i) Ints(ARG(i))

#if defined(hand_pack)
void unit(int k)
{
    FLOATS(1).at[k * PANEL + lane] = FLOATS(0).at[lane * DIM + k];
}
#elif defined(hand_copy)
void unit(int block)
{
    for (int i = lane; i < BLOCK; i += LANES) Slots(ARG(1)).at[block * BLOCK + i] = Slots(ARG(0)).at[block * BLOCK + i];
}
#elif defined(hand_embed)
void unit(int t)
{
    FLOATS(2).at[t * DIM + lane] = FLOATS(1).at[INTS(0).at[t] * DIM + lane];
}
#elif defined(hand_append)
void unit(int t)
{
    int slot = INTS(3).at[4 * t + 1], position = INTS(3).at[4 * t + 2];
    Floats(ARG(1) + uint64_t(slot) * ARG(2)).at[position * DIM + lane] = FLOATS(0).at[t * DIM + lane];
}
#elif defined(hand_recur)
void unit(int s)
{
    Floats w = Floats(launch.scratch + gl_WorkGroupID.x * 64u);
    int slot = INTS(4).at[8 * s], first = INTS(4).at[8 * s + 2], count = INTS(4).at[8 * s + 3];
    uint64_t base = ARG(1) + uint64_t(slot) * ARG(2);
    w.at[lane] = Floats(base + uint64_t(INTS(4).at[8 * s + 4]) * ARG(3)).at[lane];
    for (int t = first; t < first + count; t++) {
        w.at[lane] = w.at[lane] * 0.5 + FLOATS(0).at[t * DIM + lane];
        FLOATS(5).at[t * DIM + lane] = w.at[lane];
    }
    Floats(base + uint64_t(INTS(4).at[8 * s + 5]) * ARG(3)).at[lane] = w.at[lane];
}
#elif defined(hand_mix)
// Lane 0 looks at all lanes' sums, by way of scratch memory.
void report(int t, float sum)
{
    Floats sums = Floats(launch.scratch + gl_WorkGroupID.x * 96u);
    sums.at[lane] = sum;
    memoryBarrierBuffer();
    barrier();
    bool finite = true;
    for (int d = 0; d < DIM; d++) finite = finite && (floatBitsToUint(sums.at[d]) & 0x7f800000u) != 0x7f800000u;
    if (lane == 0 && !finite) {
        INTS(6).at[0] = 3;
        INTS(6).at[1] = t;
    }
    barrier();
}

void unit(int t)
{
    int slot = INTS(2).at[4 * t + 1], position = INTS(2).at[4 * t + 2];
    Floats rows = Floats(ARG(0) + uint64_t(slot) * ARG(1));
    precise float sum = 0, lost = 0;
    for (int p = 0; p <= position; p++) {
        precise float term = rows.at[p * DIM + lane] / float(1 + position - p) - lost, next = sum + term;
        lost = (next - sum) - term;
        sum = next;
    }
    FLOATS(5).at[t * DIM + lane] = sum + FLOATS(3).at[t * DIM + lane] + FLOATS(4).at[t * ROPE + lane % ROPE];
    report(t, sum);
}
#elif defined(hand_head)
void unit(int u)
{
    int r = u / PANEL, v = u % PANEL;
    precise float sum = 0;
    for (int k = 0; k < DIM; k++) sum += FLOATS(0).at[INTS(2).at[r] * DIM + k] * FLOATS(1).at[k * PANEL + v];
    FLOATS(3).at[u] = sum;
}
#elif defined(hand_seed)
void unit(int u)
{
    FLOATS(1).at[u] = float(INTS(0).at[u / WIDE] + u % WIDE);
}
#elif defined(hand_chain)
void unit(int i)
{
    int n = int(ARG(2)), t = i / n, u = i % n;
    FLOATS(1).at[i] = (FLOATS(0).at[i] + FLOATS(0).at[t * n + (u + 1) % n]) * 0.5;
}
#endif

void main()
{
    for (int64_t u = launch.begin + int64_t(gl_WorkGroupID.x); u < launch.end; u += int64_t(gl_NumWorkGroups.x)) unit(int(u));
}
