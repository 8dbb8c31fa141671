// k-means on weighted positions, by one block: nearest centres with pruning, exact sums, Lloyd's algorithm.
//
// The distinct colours of an image and its seeding points are both sets of points:
//
//     xyz      (n,) u64             packed positions, distinct, in z-order
//     weights  (n,) weight_t        > 0
//     low      (ceil(n / RUN),) u64     lowest x, y, z of each run of RUN consecutive points
//     high     (ceil(n / RUN),) u64     highest x, y, z
//     sums     (ceil(n / RUN), 4) u64   sums of weight * x, * y, * z, and of the weight
//
// Why this way. Neighbours in z-order are neighbours in colour space, so a run lies in a small box. A thread takes
// a run and drops the centres that are nearest nowhere in its box (exactly: see `margin`). If one centre remains, the
// sums of the run are added to its cluster. Otherwise, points of the same centre are added up in registers; the sums
// go to shared memory when the centre changes. They go to one of up to 32 replicas, so that the lanes of a warp do not
// add to the same address. Both halves of a 64-bit sum are added by 32-bit atomics with a carry, because shared memory
// has no 64-bit adder: the compiler would use a compare-and-swap loop.
//
// Compile with -D MAX_CLUSTERS=32 for a batch in which no k is greater than 32, and with -D WIDE_WEIGHTS for counts of
// 64 bits, which the merged histogram of a dataset has.

#ifndef KSEG_CLUSTERS_CUH
#define KSEG_CLUSTERS_CUH

#include "batch.cuh"
#include "block.cuh"

#ifndef MAX_CLUSTERS
#define MAX_CLUSTERS 256
#endif

#ifdef WIDE_WEIGHTS
typedef u64 weight_t;
#else
typedef u32 weight_t;
#endif

#define RUN 16                             // points of a run
#define WORDS ((MAX_CLUSTERS + 31) / 32)   // words of a set of centres, a bit for each centre
#define ROW 256                            // places for centres that each image has in global memory
#define SLOTS 2048                         // sums in shared memory, including all replicas
#define MAX_REPLICAS 32

struct Points {
    const u64* xyz;
    const weight_t* weights;
    const u64 *low, *high, *sums;
    int n;
};

struct Scratch {                       // shared memory of a block
    int4 centers[MAX_CLUSTERS + 1];    // x, y, z in Q8.6
    int4 moved[MAX_CLUSTERS + 1];
    u32 low[SLOTS], high[SLOTS];       // halves of the sums, replica by replica
    u64 totals[4 * MAX_CLUSTERS + 4];
    u64 lanes[2 * MAX_THREADS];
    u64 taken[MAX_CLUSTERS];           // points that empty clusters moved to
    int picks[MAX_TRIALS];
    int shift, empty, least;
};

struct Sums {
    u64 x, y, z, weight;
};

__device__ inline int distance_to(Position p, int4 c) {
    return squared_distance(p.x, p.y, p.z, c.x, c.y, c.z);
}

// ---- sums in shared memory -------------------------------------------------------------------------------

// Return the number of replicas of the sums for which there is room: a power of two.
__device__ inline int replicas_of(int sums) {
    int replicas = MAX_REPLICAS;
    while (replicas * sums > SLOTS) replicas /= 2;
    return replicas;
}

__device__ inline void clear_sums(Scratch& s) {
    for (int i = threadIdx.x; i < SLOTS; i += blockDim.x) s.low[i] = s.high[i] = 0;
    __syncthreads();
}

__device__ inline void add_to_sum(Scratch& s, int sum, int replicas, u64 value) {
    int slot = sum * replicas + (threadIdx.x & (replicas - 1));
    u32 low = (u32)value;
    u32 before = atomicAdd(&s.low[slot], low);
    u32 high = (u32)(value >> 32) + (before + low < low);
    if (high) atomicAdd(&s.high[slot], high);
}

// Add up the replicas into `totals`.
__device__ inline void collect_sums(Scratch& s, int sums, int replicas) {
    __syncthreads();
    for (int i = threadIdx.x; i < sums; i += blockDim.x) {
        u64 total = 0;
        for (int r = 0; r < replicas; r++) {  // each thread begins elsewhere, to avoid conflicts in one bank
            int slot = i * replicas + ((r + i) & (replicas - 1));
            total += (u64)s.high[slot] << 32 | s.low[slot];
        }
        s.totals[i] = total;
    }
    __syncthreads();
}

__device__ inline void flush(Scratch& s, int replicas, int label, const Sums& a) {
    add_to_sum(s, 4 * label, replicas, a.x);
    add_to_sum(s, 4 * label + 1, replicas, a.y);
    add_to_sum(s, 4 * label + 2, replicas, a.z);
    add_to_sum(s, 4 * label + 3, replicas, a.weight);
}

// ---- nearest centres -------------------------------------------------------------------------------------

// Return the nearest of all k centres, the lowest on a tie; `distance` receives the squared distance.
__device__ inline int nearest(Position p, const int4* centers, int k, int* distance) {
    int best = MAX_DISTANCE, label = 0;
    for (int j = 0; j < k; j++) {
        int d = distance_to(p, centers[j]);
        if (d < best) {
            best = d;
            label = j;
        }
    }
    *distance = best;
    return label;
}

// Set a bit in `words` for each centre that can be nearest to a point of the box. Return the centre nearest to the
// middle of the box; its bit is set, too. `only` receives whether no other bit is set.
__device__ inline int find_candidates(
    u64 low, u64 high, const int4* centers, int k, u32 (&words)[WORDS], bool* only
) {
    Position a = unpack(low), b = unpack(high);
    Position q = {(a.x + b.x) >> 1, (a.y + b.y) >> 1, (a.z + b.z) >> 1};
    Position reach = {b.x - q.x, b.y - q.y, b.z - q.z};
    int least, owner = nearest(q, centers, k, &least);
    int4 o = centers[owner];
    u32 others = 0;
#pragma unroll
    for (int w = 0; w < WORDS; w++) {
        u32 bits = 0;
        for (int j = 32 * w; j < 32 * w + 32 && j < k; j++) {
            int4 c = centers[j];
            int m = margin(distance_to(q, c) - least, reach, c.x - o.x, c.y - o.y, c.z - o.z);
            if (can_win(m, j, owner)) bits |= 1u << (j & 31);
        }
        words[w] = bits;
        others |= w == owner >> 5 ? bits & ~(1u << (owner & 31)) : bits;
    }
    *only = others == 0;
    return owner;
}

// Return the nearest of the centres in `words`, the lowest on a tie.
__device__ inline int nearest_among(Position p, const int4* centers, const u32 (&words)[WORDS]) {
    int best = MAX_DISTANCE, label = 0;
#pragma unroll
    for (int w = 0; w < WORDS; w++) {
        for (u32 bits = words[w]; bits; bits &= bits - 1) {
            int j = 32 * w + __ffs(bits) - 1;
            int d = distance_to(p, centers[j]);
            if (d < best) {
                best = d;
                label = j;
            }
        }
    }
    return label;
}

// Fill the first 4 * k of `totals` with the sums of x, y, z and weight of the clusters of `s.centers`.
__device__ inline void sum_clusters(const Points& points, Scratch& s, int k) {
    int replicas = replicas_of(4 * k), label = -1;
    Sums a = {0, 0, 0, 0};
    clear_sums(s);
    for (int run = threadIdx.x; run * RUN < points.n; run += blockDim.x) {
        u32 words[WORDS];
        bool only;
        int owner = find_candidates(points.low[run], points.high[run], s.centers, k, words, &only);
        int first = run * RUN, last = only ? first + 1 : min(points.n, first + RUN);
        for (int i = first; i < last; i++) {
            Position p = unpack(points.xyz[i]);
            int j = only ? owner : nearest_among(p, s.centers, words);
            if (j != label) {
                if (label >= 0) flush(s, replicas, label, a);
                label = j;
                a.x = a.y = a.z = a.weight = 0;
            }
            if (only) {
                a.x += points.sums[4 * run];
                a.y += points.sums[4 * run + 1];
                a.z += points.sums[4 * run + 2];
                a.weight += points.sums[4 * run + 3];
            } else {
                u64 w = points.weights[i];
                a.x += w * p.x;
                a.y += w * p.y;
                a.z += w * p.z;
                a.weight += w;
            }
        }
    }
    if (label >= 0) flush(s, replicas, label, a);
    collect_sums(s, 4 * k, replicas);
}

// ---- Lloyd's algorithm -----------------------------------------------------------------------------------

// Return the point farthest from its nearest centre; on a tie, the lowest (R, G, B). Points in `s.taken` count as
// distance 0. The code is plain and slow, because empty clusters are rare.
__device__ inline u64 farthest(const Points& points, Scratch& s, int k, int n_taken) {
    u64 best = 0;
    for (int pass = 0; pass < 2; pass++) {  // first the greatest distance, then the lowest point that has it
        u64 mine = 0;
        for (int i = threadIdx.x; i < points.n; i += blockDim.x) {
            u64 xyz = points.xyz[i];
            int distance;
            nearest(unpack(xyz), s.centers, k, &distance);
            for (int t = 0; t < n_taken; t++) {
                if (s.taken[t] == xyz) distance = 0;
            }
            u64 value = pass == 0 ? (u64)distance : (u64)distance == best ? ~xyz : 0;
            if (value > mine) mine = value;
        }
        u64 greatest = block_max(mine, s.lanes);
        if (pass == 1) return ~greatest;
        best = greatest;
    }
    return 0;
}

// Run Lloyd's algorithm from `s.centers`, k <= n. Return the number of iterations.
//
// The iterations stop when no centre has moved by more than the squared distance `max_shift`. The centres of empty
// clusters move, in the order of their index, to the point farthest from its nearest centre, to the next farthest, and
// so on. An iteration with an empty cluster is the last one only if it reaches `max_iter`. `still` receives whether
// the last iteration moved no centre at all, so that `totals` belong to the final centres.
__device__ inline int lloyd(
    const Points& points, Scratch& s, int k, i64 max_iter, i64 max_shift, bool* still
) {
    for (i64 iteration = 1;; iteration++) {
        sum_clusters(points, s, k);
        if (threadIdx.x == 0) s.shift = s.empty = 0;
        __syncthreads();
        for (int j = threadIdx.x; j < k; j += blockDim.x) {
            u64 weight = s.totals[4 * j + 3];
            int4 c = s.centers[j], m = c;
            if (weight == 0) {
                atomicAdd(&s.empty, 1);
            } else {
                m.x = rounded_mean(s.totals[4 * j], weight);
                m.y = rounded_mean(s.totals[4 * j + 1], weight);
                m.z = rounded_mean(s.totals[4 * j + 2], weight);
                atomicMax(&s.shift, squared_distance(m.x, m.y, m.z, c.x, c.y, c.z));
            }
            s.moved[j] = m;
        }
        __syncthreads();
        int shift = s.shift, empty = s.empty;
        for (int j = 0, n_taken = 0; n_taken < empty; j++) {
            if (s.totals[4 * j + 3] == 0) {
                u64 xyz = farthest(points, s, k, n_taken);
                Position p = unpack(xyz);
                if (threadIdx.x == 0) {
                    s.taken[n_taken] = xyz;
                    s.moved[j] = make_int4(p.x, p.y, p.z, 0);
                }
                n_taken++;
                __syncthreads();
            }
        }
        for (int j = threadIdx.x; j < k; j += blockDim.x) s.centers[j] = s.moved[j];
        __syncthreads();
        bool converged = shift <= max_shift && empty == 0;
        if (converged || iteration == max_iter) {
            *still = shift == 0 && empty == 0;
            return (int)iteration;
        }
    }
}

// Copy the centres of an image from global memory (`load_centers`), or to it (`store_centers`).
__device__ inline void load_centers(Scratch& s, const int4* from, int k) {
    __syncthreads();
    for (int j = threadIdx.x; j < k; j += blockDim.x) s.centers[j] = from[j];
    __syncthreads();
}

__device__ inline void store_centers(const Scratch& s, int4* to, int k) {
    for (int j = threadIdx.x; j < k; j += blockDim.x) to[j] = s.centers[j];
    __syncthreads();
}

#endif
