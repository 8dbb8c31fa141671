// The distinct colours of each image, with their pixel counts.
//
//     pixels       (N, 3) u8              RGB; the first pixel of each image has a multiple of 16 as its number
//     table        (images, 2^24) u32     pixel counts by z-order code; all 0 before and after, so that the images
//                                         of the next launch can use the same tables
//     in_cell      (images, 32768) u32    distinct colours of each cell of 512 codes; all 0 before and after
//     starts       (images, 32768) u32    number of the first colour of each cell
//     xyz          (C,) u64               packed positions of the distinct colours, in z-order
//     weights      (C,) u32               pixel counts of these colours
//
// count_pixels    grid (any, images), any block   a thread takes 16 pixels at a time
// number_cells    grid (1, images), one block     fills `starts`, and `clusters` and `colors` of the state
// drain_table     grid (any, images), any block   a thread takes a cell at a time
//
// Why this way. The two million pixels of a photo have about 100,000 colours, in a few thousand cells that the z-order
// code keeps together. So the counts of a photo stay in the second-level cache although its table has 64 MB. The cache
// holds the counts of only a few images: the host lets a few images be counted at a time, and drains their tables
// before the next images. Neighbouring pixels are often equal: a thread counts them in registers, and adds them with
// one atomic. On a flat image or a white page, the atomics of all threads would wait for each other at one address. So
// a warp that has 512 pixels of one colour adds them with one atomic; a shuffle and a vote detect this. In a warp with
// fewer threads or fewer pixels, each thread adds its own count. The thread that finds a count of 0 counts the colour
// for its cell. So no kernel has to search the table before it is drained, and empty cells are never read.

#include "batch.cuh"
#include "block.cuh"
#include "pixels.cuh"

#define CELLS 32768
#define CELL_SHIFT 9
#define WARP 32
#define ALL_LANES 0xFFFFFFFF

__device__ inline void count(u32* table, u32* in_cell, u32 code, u32 pixels) {
    if (atomicAdd(&table[code], pixels) == 0) atomicAdd(&in_cell[code >> CELL_SHIFT], 1u);
}

// Return whether each thread of a warp has counted GROUP pixels, all of one colour. All 32 threads call this together.
__device__ inline bool warp_has_one_color(u32 code, u32 equal) {
    u32 first_code = __shfl_sync(ALL_LANES, code, 0);
    return __all_sync(ALL_LANES, equal == GROUP && code == first_code);
}

extern "C" __global__ void count_pixels(const Image* images, const u8* pixels, u32* tables, u32* in_cells) {
    Image image = images[blockIdx.y];
    const u8* from = pixels + 3 * image.pixels;
    u32* table = tables + (i64)blockIdx.y * (1 << 24);
    u32* in_cell = in_cells + (i64)blockIdx.y * CELLS;
    i64 n = image.height * image.width, step = (i64)gridDim.x * blockDim.x * GROUP;
    int lane = threadIdx.x % WARP;
    bool full_warps = blockDim.x % WARP == 0;
    for (i64 first = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * GROUP; first < n; first += step) {
        u32 words[3 * GROUP / 4];
        int size = (int)min(n - first, (i64)GROUP);
        load_group(from + 3 * first, size, words);
        u32 code = 0, equal = 0;
#pragma unroll
        for (int i = 0; i < GROUP; i++) {
            if (i < size) {
                u32 next = zorder(byte(words, 3 * i), byte(words, 3 * i + 1), byte(words, 3 * i + 2));
                if (equal && next != code) {
                    count(table, in_cell, code, equal);
                    equal = 0;
                }
                code = next;
                equal++;
            }
        }
        bool may_ask = full_warps && n - (first - lane * GROUP) >= WARP * GROUP;  // equal in all lanes of the warp
        if (may_ask && warp_has_one_color(code, equal)) {
            if (lane == 0) count(table, in_cell, code, WARP * GROUP);
        } else {
            count(table, in_cell, code, equal);
        }
    }
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1)
number_cells(const Image* images, State* states, const u32* in_cells, u32* starts) {
    __shared__ u64 lanes[2 * MAX_THREADS];
    in_cells += (i64)blockIdx.y * CELLS;
    starts += (i64)blockIdx.y * CELLS;
    int share = (CELLS + blockDim.x - 1) / blockDim.x;
    int begin = min(CELLS, (int)threadIdx.x * share), end = min(CELLS, begin + share);
    u64 mine = 0, total;
    for (int cell = begin; cell < end; cell++) mine += in_cells[cell];
    u32 start = (u32)block_scan(mine, lanes, &total);
    for (int cell = begin; cell < end; cell++) {
        starts[cell] = start;
        start += in_cells[cell];
    }
    if (threadIdx.x == 0) {
        State& state = states[blockIdx.y];
        state.colors = (i64)total;
        i64 clusters = images[blockIdx.y].clusters;
        state.clusters = images[blockIdx.y].order == GIVEN ? clusters : min(clusters, (i64)total);
    }
}

extern "C" __global__ void drain_table(
    const Image* images, u32* tables, u32* in_cells, const u32* starts, u64* xyz, u32* weights
) {
    Image image = images[blockIdx.y];
    u32* table = tables + (i64)blockIdx.y * (1 << 24);
    u32* in_cell = in_cells + (i64)blockIdx.y * CELLS;
    starts += (i64)blockIdx.y * CELLS;
    for (int cell = blockIdx.x * blockDim.x + threadIdx.x; cell < CELLS; cell += gridDim.x * blockDim.x) {
        u32 left = in_cell[cell];
        if (left == 0) continue;
        in_cell[cell] = 0;
        i64 position = image.colors + starts[cell];
        for (u32 code = (u32)cell << CELL_SHIFT; left > 0; code += 8) {
            uint4* fours = (uint4*)(table + code);
            uint4 a = fours[0], b = fours[1];
            if ((a.x | a.y | a.z | a.w | b.x | b.y | b.z | b.w) == 0) continue;
            fours[0] = fours[1] = make_uint4(0, 0, 0, 0);
            u32 counts[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                if (counts[i]) {
                    xyz[position] = position_of(code + i);
                    weights[position] = counts[i];
                    position++;
                    left--;
                }
            }
        }
    }
}
