// Loads of sixteen RGB pixels at a time: 48 bytes, in three loads of 16 bytes.

#ifndef KSEG_PIXELS_CUH
#define KSEG_PIXELS_CUH

#include "arithmetic.cuh"

#define GROUP 16

// Return byte i of a group.
__device__ inline u32 byte(const u32* words, int i) {
    return words[i / 4] >> (8 * (i % 4)) & 255;
}

// Load the bytes of a group of `size` pixels into `words`, four to a word; the bytes of missing pixels are 0.
__device__ inline void load_group(const u8* from, int size, u32* words) {
    if (size == GROUP) {
        const uint4* quads = (const uint4*)from;
#pragma unroll
        for (int i = 0; i < 3; i++) {
            uint4 quad = quads[i];
            words[4 * i] = quad.x;
            words[4 * i + 1] = quad.y;
            words[4 * i + 2] = quad.z;
            words[4 * i + 3] = quad.w;
        }
    } else {
#pragma unroll
        for (int i = 0; i < 3 * GROUP / 4; i++) words[i] = 0;
#pragma unroll
        for (int i = 0; i < 3 * GROUP; i++) {
            if (i < 3 * size) words[i / 4] |= (u32)from[i] << (8 * (i % 4));
        }
    }
}

#endif
