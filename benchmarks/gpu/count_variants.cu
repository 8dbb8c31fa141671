// Alternative kernels that count the colours of an image, timed beside count_pixels of kernels/histogram.cu.
//
// count_pixels reads the previous count from each atomic, and counts a colour for its cell where this count was 0.
// An atomic without a reader returns nothing. The kernels here read no previous count: they mark the touched cells,
// whose colours are counted afterwards.
//
//     touched    (images, 32768) u32    1 where a colour of the cell was counted; all 0 before
//
// count_unread          grid (any, images)   the table alone: the least time of the atomics
// count_marking         grid (any, images)   the table, and `touched` in global memory
// count_marking_shared  grid (any, images)   the same, with a bit for each cell in shared memory
// tally_cells           grid (any, images)   a thread takes 16 codes of a touched cell; fills `in_cell`, all 0 before

#include "batch.cuh"
#include "pixels.cuh"

#define CODES (1 << 24)
#define CELLS 32768
#define CELL_SHIFT 9

// Call `counted(code, pixels)` for each run of equal neighbours, 16 pixels at a time.
template <class Counted>
__device__ inline void count_runs(const Image& image, const u8* pixels, Counted counted) {
    const u8* from = pixels + 3 * image.pixels;
    i64 n = image.height * image.width, step = (i64)gridDim.x * blockDim.x * GROUP;
    for (i64 first = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * GROUP; first < n; first += step) {
        u32 words[3 * GROUP / 4], code = 0, equal = 0;
        int size = (int)min(n - first, (i64)GROUP);
        load_group(from + 3 * first, size, words);
#pragma unroll
        for (int i = 0; i < GROUP; i++) {
            if (i < size) {
                u32 next = zorder(byte(words, 3 * i), byte(words, 3 * i + 1), byte(words, 3 * i + 2));
                if (equal && next != code) {
                    counted(code, equal);
                    equal = 0;
                }
                code = next;
                equal++;
            }
        }
        counted(code, equal);
    }
}

extern "C" __global__ void count_unread(const Image* images, const u8* pixels, u32* tables) {
    u32* table = tables + (i64)blockIdx.y * CODES;
    count_runs(images[blockIdx.y], pixels, [=](u32 code, u32 equal) { atomicAdd(&table[code], equal); });
}

extern "C" __global__ void count_marking(const Image* images, const u8* pixels, u32* tables, u32* touched) {
    u32* table = tables + (i64)blockIdx.y * CODES;
    u32* mark = touched + (i64)blockIdx.y * CELLS;
    count_runs(images[blockIdx.y], pixels, [=](u32 code, u32 equal) {
        atomicAdd(&table[code], equal);
        if (mark[code >> CELL_SHIFT] == 0) mark[code >> CELL_SHIFT] = 1;
    });
}

extern "C" __global__ void count_marking_shared(const Image* images, const u8* pixels, u32* tables, u32* touched) {
    __shared__ u32 bits[CELLS / 32];
    u32* table = tables + (i64)blockIdx.y * CODES;
    u32* mark = touched + (i64)blockIdx.y * CELLS;
    for (int i = threadIdx.x; i < CELLS / 32; i += blockDim.x) bits[i] = 0;
    __syncthreads();
    count_runs(images[blockIdx.y], pixels, [=](u32 code, u32 equal) {
        atomicAdd(&table[code], equal);
        u32 cell = code >> CELL_SHIFT, bit = 1u << (cell & 31);
        if ((bits[cell >> 5] & bit) == 0) atomicOr(&bits[cell >> 5], bit);
    });
    __syncthreads();
    for (int cell = threadIdx.x; cell < CELLS; cell += blockDim.x) {
        if (bits[cell >> 5] >> (cell & 31) & 1) mark[cell] = 1;
    }
}

extern "C" __global__ void tally_cells(const u32* tables, const u32* touched, u32* in_cells) {
    const u32* table = tables + (i64)blockIdx.y * CODES;
    const u32* mark = touched + (i64)blockIdx.y * CELLS;
    u32* in_cell = in_cells + (i64)blockIdx.y * CELLS;
    int step = gridDim.x * blockDim.x;
    for (int part = blockIdx.x * blockDim.x + threadIdx.x; part < CODES / 16; part += step) {
        int cell = part >> (CELL_SHIFT - 4);
        if (mark[cell] == 0) continue;
        u32 colors = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint4 counts = ((const uint4*)table)[4 * part + i];
            colors += (counts.x != 0) + (counts.y != 0) + (counts.z != 0) + (counts.w != 0);
        }
        if (colors) atomicAdd(&in_cell[cell], colors);
    }
}
