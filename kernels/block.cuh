// Sums, prefix sums and maxima over the threads of a block, computed in shared memory.
//
// All threads of the block call each function together. `lanes` is shared memory, (2 * MAX_THREADS,) u64; blockDim.x
// is at most MAX_THREADS. There are no warp intrinsics, which need full warps, so blocks may have any size.

#ifndef KSEG_BLOCK_CUH
#define KSEG_BLOCK_CUH

#include "arithmetic.cuh"

#ifndef MAX_THREADS
#define MAX_THREADS 512
#endif

// Return the sum of `value` over the threads before this thread; `total` receives the sum over all threads.
__device__ inline u64 block_scan(u64 value, u64* lanes, u64* total) {
    int t = threadIdx.x, threads = blockDim.x;
    u64 *from = lanes, *to = lanes + MAX_THREADS;
    from[t] = value;
    __syncthreads();
    for (int step = 1; step < threads; step *= 2) {
        to[t] = from[t] + (t >= step ? from[t - step] : 0);
        __syncthreads();
        u64* last = from;
        from = to;
        to = last;
    }
    u64 through = from[t];
    *total = from[threads - 1];
    __syncthreads();
    return through - value;
}

__device__ inline u64 block_sum(u64 value, u64* lanes) {
    u64 total;
    block_scan(value, lanes, &total);
    return total;
}

__device__ inline u64 block_max(u64 value, u64* lanes) {
    int t = threadIdx.x, threads = blockDim.x;
    u64 *from = lanes, *to = lanes + MAX_THREADS;
    from[t] = value;
    __syncthreads();
    for (int step = 1; step < threads; step *= 2) {
        u64 other = t >= step ? from[t - step] : 0;
        to[t] = from[t] > other ? from[t] : other;
        __syncthreads();
        u64* last = from;
        from = to;
        to = last;
    }
    u64 greatest = from[threads - 1];
    __syncthreads();
    return greatest;
}

#endif
