// Kernels that are right, and kernels with one mistake each, to test the emulator with: see test_emulator.py.

typedef unsigned long long u64;
typedef long long i64;

#define ALL 0xFFFFFFFF

extern "C" __global__ void __launch_bounds__(512, 1)
block_sums(const int* values, i64 n, u64* sums) {
    __shared__ u64 lanes[512];
    int t = threadIdx.x, i = blockIdx.x * blockDim.x + threadIdx.x;
    lanes[t] = i < n ? values[i] : 0;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) lanes[t] += lanes[t + half];
        __syncthreads();
    }
    if (t == 0) sums[blockIdx.x] = lanes[0];
}

extern "C" __global__ void without_barrier(int* values) {
    __shared__ int lanes[512];
    lanes[threadIdx.x] = threadIdx.x;
    values[threadIdx.x] = lanes[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void shared_is_not_zero(int* values) {
    __shared__ int count;
    atomicAdd(&count, 1);
    __syncthreads();
    values[threadIdx.x] = count;
}

extern "C" __global__ void count_twice(u64* total) {
    __shared__ u64 count;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    atomicAdd(&count, 1ull);
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(total, count);
    atomicMax(total, 1ull);
}

extern "C" __global__ void some_end(int* values) {
    if (threadIdx.x == 3) return;
    __syncthreads();
    values[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers(int* values) {
    if (threadIdx.x % 2) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    values[threadIdx.x] = 1;
}

extern "C" __global__ void shuffle(const int* values, int* with_sign, unsigned* without, u64* wide) {
    int t = threadIdx.x;
    with_sign[t] = __shfl_sync(ALL, values[t], t + 1);
    without[t] = __shfl_sync(ALL, (unsigned)values[t], 31 - t % 32);
    wide[t] = __shfl_sync(ALL, (u64)t << 40 | 7, 5);
}

extern "C" __global__ void vote(const int* values, int* all) {
    all[threadIdx.x] = __all_sync(ALL, values[threadIdx.x]);
}

extern "C" __global__ void warp_sums(const int* values, int* sums) {
    int t = threadIdx.x, sum = values[t];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_sync(ALL, sum, t ^ step);
    sums[t] = sum;
}

extern "C" __global__ void uneven_warps(int* values) {
    __shared__ int lanes[512];
    int t = threadIdx.x, value = t;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < t / 32 * (3 - round); i++) value = __shfl_sync(ALL, value, t + 1) + 1;
        lanes[t] = value;
        __syncthreads();
        value = lanes[blockDim.x - 1 - t];
        __syncthreads();
    }
    values[t] = value;
}

extern "C" __global__ void exchange_for_barrier(int* values) {
    __shared__ int lanes[512];
    int t = threadIdx.x;
    lanes[t] = __shfl_sync(ALL, t, t);
    __all_sync(ALL, 1);
    values[t] = lanes[blockDim.x - 1 - t];
}

extern "C" __global__ void lane_ends(int* values) {
    if (threadIdx.x == 35) return;
    values[threadIdx.x] = __shfl_sync(ALL, 1, 0);
}

extern "C" __global__ void lane_ends_early(int* values) {
    for (unsigned i = 0; i < 3 - threadIdx.x / 63; i++) values[threadIdx.x] = __all_sync(ALL, 1);
}

extern "C" __global__ void lane_at_barrier(int* values) {
    if (threadIdx.x == 35) {
        __syncthreads();
    } else {
        values[threadIdx.x] = __shfl_sync(ALL, 1, 0);
    }
}

extern "C" __global__ void two_lines(int* values) {
    if (threadIdx.x == 35) {
        values[threadIdx.x] = __shfl_sync(ALL, 1, 0);
    } else {
        values[threadIdx.x] = __shfl_sync(ALL, 2, 0);
    }
}

extern "C" __global__ void shuffle_or_vote(int* values) {
    values[threadIdx.x] = threadIdx.x == 35 ? __shfl_sync(ALL, 1, 0) : __all_sync(ALL, 1);
}

extern "C" __global__ void short_circuit(int* values) {
    int t = threadIdx.x;
    values[t] = __all_sync(ALL, t != 35 && __shfl_sync(ALL, 1, 0));
}

extern "C" __global__ void warp_ends(int* values) {
    values[threadIdx.x] = __shfl_sync(ALL, 1, 0);
    if (threadIdx.x < 32) __syncthreads();
}

extern "C" __global__ void half_mask(int* values) {
    values[threadIdx.x] = __shfl_sync(0xFFFF, 1, 0);
}

extern "C" __global__ void touch(int* values, i64 at, i64 writes) {
    if (writes) values[at] = 1;
    else values[0] = values[at];
}

extern "C" __global__ void shift(int* values, i64 by) {
    values[0] = 1 << (int)by;
}

extern "C" __global__ void divide(int* values, i64 by) {
    values[0] = 7 / (int)by;
}

extern "C" __global__ void load_four(const int* values, i64 from, int4* to) {
    to[0] = *(const int4*)(values + from);
}

extern "C" __global__ void index_shared(int* values, i64 at) {
    __shared__ int four[4];
    four[at] = 1;
    values[0] = four[0];
}

extern "C" __global__ void numbers(const int* with_sign, const unsigned* without, u64* out) {
    out[0] = __ffs(with_sign[0]);
    out[1] = min(with_sign[0], without[0]);  // the negative one is taken for a large one, as in CUDA
    out[2] = max((i64)with_sign[0], (i64)without[0]);
    u64 most = ~0ull;
    atomicAdd(&most, 3ull);
    out[3] = most;
    int4 four = make_int4(1, 2, 3, 4);
    out[4] = four.x + 10 * four.y + 100 * four.z + 1000 * four.w + 10000 * gridDim.x;
}
