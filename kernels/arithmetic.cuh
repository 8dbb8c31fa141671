// The arithmetic on which all backends agree, bit for bit: fixed point, distances, ties, random numbers.
//
// This file is plain C++ as well as CUDA C: without a CUDA compiler, the functions are ordinary inline functions.
// kseg_batch/kmeans/histogram.py and kseg_batch/kmeans/reference.py define and explain the results.
//
// A position is a colour in Q8.6, 0 .. 16320 in each channel. A position packed as x << 32 | y << 16 | z fits in
// 64 bits, and packed positions have the order of (R, G, B). Sums are unsigned and may wrap on the way: a final
// result that fits is exact.

#ifndef KSEG_ARITHMETIC_CUH
#define KSEG_ARITHMETIC_CUH

#ifdef __CUDACC__
#define KSEG_FUNCTION __device__ __forceinline__
#else
#define KSEG_FUNCTION inline
#endif

typedef unsigned char u8;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#define SCALE_BITS 6               // log2 of the Q8.6 units of one grey level
#define MAX_DISTANCE 2147483647    // above every squared distance: at most 3 * 16320^2 = 8.0e8
#define MAX_LEVEL 5                // the largest cubes of colours have side 2^5
#define MAX_COARSE 8192            // most coarse seeding points of an image, at k = 256
#define MAX_FINE 8192              // most fine seeding points of an image
#define MAX_TRIALS 7               // most points that greedy k-means++ tries for a centre, at k = 256

struct Position {
    int x, y, z;
};

KSEG_FUNCTION u64 pack(int x, int y, int z) {
    return (u64)x << 32 | (u64)y << 16 | (u64)z;
}

KSEG_FUNCTION Position unpack(u64 xyz) {
    Position p = {(int)(xyz >> 32), (int)(xyz >> 16) & 0xFFFF, (int)xyz & 0xFFFF};
    return p;
}

// Move bit i of an 8-bit value to bit 3 * i.
KSEG_FUNCTION u32 spread(u32 v) {
    v = (v | v << 8) & 0x00F00Fu;
    v = (v | v << 4) & 0x0C30C3u;
    return (v | v << 2) & 0x249249u;
}

// Return the inverse of `spread`; other bits are ignored.
KSEG_FUNCTION u32 gather(u32 v) {
    v &= 0x249249u;
    v = (v | v >> 2) & 0x0C30C3u;
    v = (v | v >> 4) & 0x00F00Fu;
    return (v | v >> 8) & 0x0000FFu;
}

KSEG_FUNCTION u32 zorder(u32 r, u32 g, u32 b) {
    return spread(r) << 2 | spread(g) << 1 | spread(b);
}

// Return the z-order code of a packed position that is a colour.
KSEG_FUNCTION u32 zorder_of(u64 xyz) {
    Position p = unpack(xyz);
    return zorder(p.x >> SCALE_BITS, p.y >> SCALE_BITS, p.z >> SCALE_BITS);
}

// Return the packed position of the colour with a z-order code.
KSEG_FUNCTION u64 position_of(u32 code) {
    return pack(gather(code >> 2) << SCALE_BITS, gather(code >> 1) << SCALE_BITS, gather(code) << SCALE_BITS);
}

KSEG_FUNCTION int squared_distance(int x, int y, int z, int cx, int cy, int cz) {
    int dx = x - cx, dy = y - cy, dz = z - cz;
    return dx * dx + dy * dy + dz * dz;
}

// Return the squared distance of x to a centre c, less |x|^2: -1.6e9 to 8.0e8.
//
// |x|^2 is the same for all centres, so the nearest centre and ties stay the same. `square` is |c|^2.
KSEG_FUNCTION int score(int x, int y, int z, int cx, int cy, int cz, int square) {
    return square - 2 * (x * cx + y * cy + z * cz);
}

// Return the weighted mean of a sum of positions, rounded half up.
KSEG_FUNCTION int rounded_mean(u64 sum, u64 weight) {
    return (int)((2 * sum + weight) / (2 * weight));
}

// Return the least difference, over a box, of the squared distances to centre j and to centre o.
//
// `ahead` is this difference at a point q of the box. `reach` holds the distance from q to the faces of the box in
// each channel, and (dx, dy, dz) = c_j - c_o. The difference is linear, so its least value is at a corner.
KSEG_FUNCTION int margin(int ahead, Position reach, int dx, int dy, int dz) {
    dx = dx < 0 ? -dx : dx;
    dy = dy < 0 ? -dy : dy;
    dz = dz < 0 ? -dz : dz;
    return ahead - 2 * (reach.x * dx + reach.y * dy + reach.z * dz);
}

// Return whether centre j, with this margin to centre o, can be nearest to a point of the box. With a margin of 0,
// centre j at best ties, and the lower index wins a tie.
KSEG_FUNCTION bool can_win(int margin, int j, int o) {
    return margin < 0 || (margin == 0 && j <= o);
}

// Return the sort key of an RGB centre, dark to light: luma (ITU-R BT.601, in thousandths), R, G. These determine B.
KSEG_FUNCTION u64 light(int x, int y, int z) {
    return (u64)(299 * x + 587 * y + 114 * z) << 32 | (u64)x << 16 | (u64)y;
}

// Return the sort key of a centre whose first channel is the lightness: the channels in order.
KSEG_FUNCTION u64 in_order(int x, int y, int z) {
    return (u64)x << 32 | (u64)y << 16 | (u64)z;
}

// Return number `index` of the SplitMix64 sequence of `seed`.
KSEG_FUNCTION u64 splitmix64(u64 seed, u64 index) {
    u64 z = seed + (index + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

// Return the high 64 bits of a * b.
KSEG_FUNCTION u64 high_product(u64 a, u64 b) {
    u64 mask = 0xFFFFFFFFull;
    u64 middle = (a >> 32) * (b & mask) + ((a & mask) * (b & mask) >> 32);
    u64 carry = (a & mask) * (b >> 32) + (middle & mask);
    return (a >> 32) * (b >> 32) + (middle >> 32) + (carry >> 32);
}

// Return a random number from 0 to bound - 1.
KSEG_FUNCTION u64 draw_below(u64 bound, u64 seed, u64 index) {
    return high_product(splitmix64(seed, index), bound);
}

// Return 2 + floor(log(k)), by comparisons with the powers of e, rounded up.
KSEG_FUNCTION int seeding_trials(int k) {
    return 2 + (k >= 3) + (k >= 8) + (k >= 21) + (k >= 55) + (k >= 149);
}

// Return the greatest number of coarse seeding points.
KSEG_FUNCTION int coarse_points(int k) {
    return k > 64 ? 32 * k : 2048;
}

// Return the greatest number of fine seeding points.
KSEG_FUNCTION int fine_points(int k) {
    return k <= 4 ? coarse_points(k) : MAX_FINE;
}

// Return the fewest bits of a PNG pixel that hold k values.
KSEG_FUNCTION int index_bits(int k) {
    return k <= 2 ? 1 : k <= 4 ? 2 : k <= 16 ? 4 : 8;
}

// Return the bytes of a PNG row: the filter type, then the packed pixels.
KSEG_FUNCTION i64 row_bytes(i64 width, int bits) {
    return 1 + (width * bits + 7) / 8;
}

#endif
