// The first centres of Lloyd's algorithm over all colours: k-means on a few thousand seeding points of each image.
//
//     xyz, weights, low, high, sums    sets of points, see clusters.cuh: the distinct colours of all images
//     seed_xyz ... seed_sums           sets of points: up to MAX_COARSE + MAX_FINE seeding points of each image
//     squares      (runs,) u64     for each run of colours, the sum of pixels * |x|^2 in grey levels
//     begun        (runs,) u32     for each run, the number of cubes of side 2^level that begin in it: 5 bits a level
//     firsts       (runs, 2) u32   for each run, the numbers of coarse and of fine cubes that begin before it
//     cube_sums    (images, MAX_COARSE + MAX_FINE, 4) u64   sums of x, y, z and weight of cubes
//     distances    (images, starts, MAX_FINE) i32           squared distances of points to their centres; scratch
//     costs        (images, starts) u64        cost of the best centres that each block has found
//     attempts     (images, starts) u64        attempt that found these centres; ~0 for none
//     found        (images, starts, ROW) int4  these centres
//     centers      (images, ROW) int4          the result: the first centres for lloyd.cu
//
// bound_colors      grid (any, images)      fills bounds and sums of runs, `squares` and `begun`; clears
//                                           `cube_sums`
// number_cubes      grid (1, images)        fills the levels in the states, and `firsts`
// sum_cubes         grid (any, images)      fills `cube_sums`
// average_cubes     grid (any, images)      fills the seeding points, and the bounds and sums of their runs
// start_centers     grid (starts, images)   block b runs the attempts b, b + starts, ...
// improve_centers   grid (1, images)        fills `centers`: the best of all attempts, improved by random swaps
//
// Blocks have up to MAX_THREADS threads, a power of two. kseg_batch/kmeans/reference.py explains the algorithm.
//
// Why this way. A cube of colours is a range in z-order, so cubes are found by comparing neighbours, and a thread
// adds up its colours of a cube before it needs an atomic. Then one block runs all iterations of an attempt:
// convergence is tested on the device, images need not wait for each other, and the whole batch takes one launch. Ten
// attempts for each of 64 images fill a large GPU. Each swap depends on the swap before, so one block runs all swaps
// of an image.

#include "clusters.cuh"

#define SEEDS (MAX_COARSE + MAX_FINE)

// ---- seeding points --------------------------------------------------------------------------------------

struct Bounds {
    Position low, high;
    Sums sums;
};

__device__ inline Bounds no_bounds() {
    Bounds b = {{65535, 65535, 65535}, {0, 0, 0}, {0, 0, 0, 0}};
    return b;
}

__device__ inline void extend(Bounds& b, Position p, u64 w) {
    b.low.x = min(b.low.x, p.x);
    b.low.y = min(b.low.y, p.y);
    b.low.z = min(b.low.z, p.z);
    b.high.x = max(b.high.x, p.x);
    b.high.y = max(b.high.y, p.y);
    b.high.z = max(b.high.z, p.z);
    b.sums.x += w * p.x;
    b.sums.y += w * p.y;
    b.sums.z += w * p.z;
    b.sums.weight += w;
}

__device__ inline void store_bounds(const Bounds& b, i64 run, u64* low, u64* high, u64* sums) {
    low[run] = pack(b.low.x, b.low.y, b.low.z);
    high[run] = pack(b.high.x, b.high.y, b.high.z);
    sums[4 * run] = b.sums.x;
    sums[4 * run + 1] = b.sums.y;
    sums[4 * run + 2] = b.sums.z;
    sums[4 * run + 3] = b.sums.weight;
}

// Return the code of the colour before a run; for the first run, a code that differs from the first in every bit.
__device__ inline u32 code_before(const u64* xyz, int first) {
    return first == 0 ? ~zorder_of(xyz[0]) : zorder_of(xyz[first - 1]);
}

__device__ inline int begun_at(u32 begun, int level) {
    return begun >> (5 * level) & 31;
}

extern "C" __global__ void bound_colors(
    const Image* images, const State* states, const u64* xyz, const weight_t* weights, u64* low, u64* high,
    u64* sums, u64* squares, u32* begun, u64* cube_sums
) {
    Image image = images[blockIdx.y];
    int n = (int)states[blockIdx.y].colors, step = gridDim.x * blockDim.x;
    i64 first_run = image.colors / RUN;
    xyz += image.colors;
    weights += image.colors;
    cube_sums += (i64)blockIdx.y * SEEDS * 4;
    for (int run = blockIdx.x * blockDim.x + threadIdx.x; run * RUN < n; run += step) {
        Bounds b = no_bounds();
        u64 square = 0;
        u32 before = code_before(xyz, run * RUN), counts = 0;
        for (int i = run * RUN; i < min(n, (run + 1) * RUN); i++) {
            u64 position = xyz[i], w = weights[i];
            Position p = unpack(position);
            extend(b, p, w);
            square += w * ((u64)squared_distance(p.x, p.y, p.z, 0, 0, 0) >> (2 * SCALE_BITS));
            u32 code = zorder_of(position), changed = code ^ before;
            before = code;
#pragma unroll
            for (int level = 0; level <= MAX_LEVEL; level++) {
                counts += (u32)(changed >> (3 * level) != 0) << (5 * level);
            }
        }
        store_bounds(b, first_run + run, low, high, sums);
        squares[first_run + run] = square;
        begun[first_run + run] = counts;
    }
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < 4 * SEEDS; i += step) cube_sums[i] = 0;
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1)
number_cubes(const Image* images, State* states, const u64* squares, const u32* begun, u32* firsts) {
    __shared__ u64 lanes[2 * MAX_THREADS];
    State& state = states[blockIdx.y];
    i64 first_run = images[blockIdx.y].colors / RUN;
    int runs = ((int)state.colors + RUN - 1) / RUN, threads = blockDim.x;
    squares += first_run;
    begun += first_run;
    firsts += 2 * first_run;
    u64 square = 0, n_cubes[MAX_LEVEL + 1] = {};
    for (int run = threadIdx.x; run < runs; run += threads) {
        u32 counts = begun[run];
#pragma unroll
        for (int level = 0; level <= MAX_LEVEL; level++) n_cubes[level] += begun_at(counts, level);
        square += squares[run];
    }
    square = block_sum(square, lanes);
    int levels[2] = {-1, -1}, cubes[2] = {};
    int most[2] = {coarse_points((int)state.clusters), fine_points((int)state.clusters)};
#pragma unroll
    for (int level = 0; level <= MAX_LEVEL; level++) {
        int total = (int)block_sum(n_cubes[level], lanes);
#pragma unroll
        for (int set = 0; set < 2; set++) {
            if (levels[set] < 0 && total <= most[set]) {
                levels[set] = level;
                cubes[set] = total;
            }
        }
    }
    int share = (runs + threads - 1) / threads;
    int begin = min(runs, (int)threadIdx.x * share), end = min(runs, begin + share);
#pragma unroll
    for (int set = 0; set < 2; set++) {
        u64 mine = 0, total;
        for (int run = begin; run < end; run++) mine += begun_at(begun[run], levels[set]);
        u32 first = (u32)block_scan(mine, lanes, &total);
        for (int run = begin; run < end; run++) {
            firsts[2 * run + set] = first;
            first += begun_at(begun[run], levels[set]);
        }
    }
    if (threadIdx.x == 0) {
        state.squares = (i64)square;
        state.coarse = cubes[0];
        state.fine = cubes[1];
        state.coarse_level = levels[0];
        state.fine_level = levels[1];
        state.energy = 0;
    }
}

__device__ inline void add_to_cube(u64* cube, const Sums& a) {
    atomicAdd(&cube[0], a.x);
    atomicAdd(&cube[1], a.y);
    atomicAdd(&cube[2], a.z);
    atomicAdd(&cube[3], a.weight);
}

extern "C" __global__ void sum_cubes(
    const Image* images, const State* states, const u64* xyz, const weight_t* weights, const u32* firsts,
    u64* cube_sums
) {
    Image image = images[blockIdx.y];
    State state = states[blockIdx.y];
    int n = (int)state.colors, step = gridDim.x * blockDim.x;
    xyz += image.colors;
    weights += image.colors;
    firsts += 2 * (image.colors / RUN);
    for (int run = blockIdx.x * blockDim.x + threadIdx.x; run * RUN < n; run += step) {
#pragma unroll
        for (int set = 0; set < 2; set++) {
            int shift = 3 * (int)(set == 0 ? state.coarse_level : state.fine_level);
            i64 first = (i64)blockIdx.y * SEEDS + set * MAX_COARSE + firsts[2 * run + set];
            u64* cube = cube_sums + 4 * (first - 1);  // the cube of the first colours may have begun before
            u32 before = code_before(xyz, run * RUN);
            Sums a = {0, 0, 0, 0};
            for (int i = run * RUN; i < min(n, (run + 1) * RUN); i++) {
                u64 position = xyz[i], w = weights[i];
                u32 code = zorder_of(position);
                if ((code ^ before) >> shift != 0) {
                    if (a.weight) add_to_cube(cube, a);
                    a.x = a.y = a.z = a.weight = 0;
                    cube += 4;
                }
                before = code;
                Position p = unpack(position);
                a.x += w * p.x;
                a.y += w * p.y;
                a.z += w * p.z;
                a.weight += w;
            }
            add_to_cube(cube, a);
        }
    }
}

extern "C" __global__ void average_cubes(
    const Image* images, State* states, const u64* cube_sums, u64* seed_xyz, weight_t* seed_weights, u64* seed_low,
    u64* seed_high, u64* seed_sums
) {
    int shift = (int)images[blockIdx.y].weight_shift, step = gridDim.x * blockDim.x;
    State& state = states[blockIdx.y];
    i64 seed = (i64)blockIdx.y * SEEDS;
    for (int run = blockIdx.x * blockDim.x + threadIdx.x; run * RUN < SEEDS; run += step) {
        bool fine = run * RUN >= MAX_COARSE;
        int end = fine ? MAX_COARSE + (int)state.fine : (int)state.coarse;
        if (run * RUN >= end) continue;
        Bounds b = no_bounds();
        u64 energy = 0;
        for (i64 i = seed + run * RUN; i < seed + min(end, (run + 1) * RUN); i++) {
            u64 total = cube_sums[4 * i + 3], scaled = total >> shift;
            Position p = {rounded_mean(cube_sums[4 * i], total), rounded_mean(cube_sums[4 * i + 1], total),
                          rounded_mean(cube_sums[4 * i + 2], total)};
            u64 w = scaled ? scaled : 1;
            extend(b, p, w);
            energy += w * (u64)squared_distance(p.x, p.y, p.z, 0, 0, 0);
            seed_xyz[i] = pack(p.x, p.y, p.z);
            seed_weights[i] = (weight_t)w;
        }
        store_bounds(b, seed / RUN + run, seed_low, seed_high, seed_sums);
        if (fine) atomicAdd((u64*)&state.energy, energy);
    }
}

// ---- starts ----------------------------------------------------------------------------------------------

// Return the cost of `s.centers` on the fine points, from the sums of their clusters: the sum of w |x - c|^2, expanded.
__device__ inline u64 cost_of(const Scratch& s, int k, u64 energy) {
    u64 cost = energy;
    for (int j = 0; j < k; j++) {
        int4 c = s.centers[j];
        const u64* t = s.totals + 4 * j;
        cost += t[3] * (u64)squared_distance(c.x, c.y, c.z, 0, 0, 0) - 2 * (t[0] * c.x + t[1] * c.y + t[2] * c.z);
    }
    return cost;
}

// Run Lloyd's algorithm; return the final cost.
__device__ inline u64 settle(const Points& points, Scratch& s, int k, const Image& image, u64 energy) {
    bool still;
    lloyd(points, s, k, image.max_iter, image.max_shift, &still);
    if (!still) sum_clusters(points, s, k);
    return cost_of(s, k, energy);
}

// Find the point at which the running sum of weight * distance passes `target`. `before` is the sum before the range
// of this thread, and `mine` the sum over it. The thread that has the point in its range writes its number to `pick`.
__device__ inline void find_point(
    const Points& points, const int* distances, int begin, u64 before, u64 mine, u64 target, int* pick
) {
    if (target < before || target >= before + mine) return;
    int i = begin;
    for (u64 sum = before; (sum += (u64)points.weights[i] * distances[i]) <= target;) i++;
    *pick = i;
}

// Fill `s.centers` by greedy k-means++: take the best of several points drawn by weight * squared distance.
__device__ inline void plus_plus(const Points& points, Scratch& s, int* distances, int k, u64 seed, u64 stream) {
    int share = (points.n + blockDim.x - 1) / blockDim.x;
    int begin = min(points.n, (int)threadIdx.x * share), end = min(points.n, begin + share);
    for (int i = begin; i < end; i++) distances[i] = 1;
    for (int c = 0; c < k; c++) {
        int trials = c == 0 ? 1 : seeding_trials(k);
        u64 mine = 0, total;
        for (int i = begin; i < end; i++) mine += (u64)points.weights[i] * distances[i];
        u64 before = block_scan(mine, s.lanes, &total);
        for (int trial = 0; trial < trials; trial++) {
            u64 target = draw_below(total, seed, stream | (u64)c << 8 | trial);
            find_point(points, distances, begin, before, mine, target, &s.picks[trial]);
        }
        __syncthreads();
        u64 least = ~0ull;
        int best = 0;
        for (int trial = 0; trial < trials && trials > 1; trial++) {
            Position q = unpack(points.xyz[s.picks[trial]]);
            u64 cost = 0;
            for (int i = begin; i < end; i++) {
                Position p = unpack(points.xyz[i]);
                int d = squared_distance(p.x, p.y, p.z, q.x, q.y, q.z);
                cost += (u64)points.weights[i] * min(d, distances[i]);
            }
            cost = block_sum(cost, s.lanes);
            if (cost < least) {
                least = cost;
                best = trial;
            }
        }
        Position q = unpack(points.xyz[s.picks[best]]);
        for (int i = begin; i < end; i++) {
            Position p = unpack(points.xyz[i]);
            int d = squared_distance(p.x, p.y, p.z, q.x, q.y, q.z);
            distances[i] = c == 0 ? d : min(d, distances[i]);
        }
        if (threadIdx.x == 0) s.centers[c] = make_int4(q.x, q.y, q.z, 0);
        __syncthreads();
    }
}

__device__ inline Points seeds(
    const u64* xyz, const weight_t* weights, const u64* low, const u64* high, const u64* sums, i64 first, i64 n
) {
    Points points = {xyz + first,        weights + first,        low + first / RUN,
                     high + first / RUN, sums + first / RUN * 4, (int)n};
    return points;
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1)
start_centers(
    const Image* images, const State* states, const u64* seed_xyz, const weight_t* seed_weights,
    const u64* seed_low, const u64* seed_high, const u64* seed_sums, int* distances, u64* costs, u64* attempts,
    int4* found
) {
    __shared__ Scratch s;
    Image image = images[blockIdx.y];
    State state = states[blockIdx.y];
    i64 block = (i64)blockIdx.y * gridDim.x + blockIdx.x, seed = (i64)blockIdx.y * SEEDS;
    int k = (int)state.clusters;
    Points coarse = seeds(seed_xyz, seed_weights, seed_low, seed_high, seed_sums, seed, state.coarse);
    Points fine = seeds(seed_xyz, seed_weights, seed_low, seed_high, seed_sums, seed + MAX_COARSE, state.fine);
    u64 least = ~0ull, chosen = ~0ull;
    for (i64 attempt = blockIdx.x; attempt < image.attempts; attempt += gridDim.x) {
        plus_plus(coarse, s, distances + block * MAX_FINE, k, image.seed, (u64)attempt << 16);
        bool still;
        lloyd(coarse, s, k, image.max_iter, image.max_shift, &still);
        u64 cost = settle(fine, s, k, image, state.energy);
        if (chosen == ~0ull || cost < least) {
            least = cost;
            chosen = attempt;
            store_centers(s, found + block * ROW, k);
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        costs[block] = least;
        attempts[block] = chosen;
    }
}

// ---- swaps -----------------------------------------------------------------------------------------------

// Set `s.least` to the centre whose removal costs least, except the last of `s.centers`.
__device__ inline void find_least_missed(const Points& points, Scratch& s, int n_centers) {
    int replicas = replicas_of(n_centers), label = -1;
    int share = (points.n + blockDim.x - 1) / blockDim.x;
    int begin = min(points.n, (int)threadIdx.x * share), end = min(points.n, begin + share);
    u64 loss = 0;
    clear_sums(s);
    for (int i = begin; i < end; i++) {
        Position p = unpack(points.xyz[i]);
        int first = MAX_DISTANCE, second = MAX_DISTANCE, nearest = 0;
        for (int j = 0; j < n_centers; j++) {
            int d = distance_to(p, s.centers[j]);
            second = min(second, max(d, first));
            if (d < first) {
                first = d;
                nearest = j;
            }
        }
        if (nearest != label) {
            if (label >= 0) add_to_sum(s, label, replicas, loss);
            label = nearest;
            loss = 0;
        }
        loss += (u64)points.weights[i] * (second - first);
    }
    if (label >= 0) add_to_sum(s, label, replicas, loss);
    collect_sums(s, n_centers, replicas);
    if (threadIdx.x == 0) {
        s.least = 0;
        for (int j = 1; j < n_centers - 1; j++) {
            if (s.totals[j] < s.totals[s.least]) s.least = j;
        }
    }
    __syncthreads();
}

// Fill the distances of this thread's range of points to `s.centers`; return the sum of weight * distance.
__device__ inline u64 measure_range(const Points& points, const Scratch& s, int k, int begin, int end, int* distances) {
    u64 sum = 0;
    for (int i = begin; i < end; i++) {
        int d;
        nearest(unpack(points.xyz[i]), s.centers, k, &d);
        distances[i] = d;
        sum += (u64)points.weights[i] * d;
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1)
improve_centers(
    const Image* images, const State* states, const u64* seed_xyz, const weight_t* seed_weights,
    const u64* seed_low, const u64* seed_high, const u64* seed_sums, i64 starts, u64 stream, i64 rounds,
    i64 patience, int* distances, const u64* costs, const u64* attempts, const int4* found, int4* centers
) {
    __shared__ Scratch s;
    Image image = images[blockIdx.y];
    State state = states[blockIdx.y];
    int k = (int)state.clusters;
    i64 block = (i64)blockIdx.y * starts;
    int best = 0;
    for (int b = 1; b < starts; b++) {  // a block without an attempt has the highest number and loses every tie
        bool cheaper = costs[block + b] < costs[block + best];
        bool earlier = costs[block + b] == costs[block + best] && attempts[block + b] < attempts[block + best];
        if (attempts[block + b] != ~0ull && (cheaper || earlier)) best = b;
    }
    u64 cost = costs[block + best];
    centers += (i64)blockIdx.y * ROW;
    load_centers(s, found + (block + best) * ROW, k);
    store_centers(s, centers, k);
    if (k == 1) return;

    Points fine = seeds(seed_xyz, seed_weights, seed_low, seed_high, seed_sums,
                        (i64)blockIdx.y * SEEDS + MAX_COARSE, state.fine);
    distances += block * MAX_FINE;
    int share = (fine.n + blockDim.x - 1) / blockDim.x;
    int begin = min(fine.n, (int)threadIdx.x * share), end = min(fine.n, begin + share);
    u64 total, mine = measure_range(fine, s, k, begin, end, distances);
    u64 before = block_scan(mine, s.lanes, &total);
    for (int swap = 0, failures = 0; swap < rounds && failures < patience && cost > 0; swap++) {
        u64 target = draw_below(total, image.seed, stream | swap);
        find_point(fine, distances, begin, before, mine, target, &s.picks[0]);
        __syncthreads();
        Position q = unpack(fine.xyz[s.picks[0]]);
        if (threadIdx.x == 0) s.centers[k] = make_int4(q.x, q.y, q.z, 0);
        __syncthreads();
        find_least_missed(fine, s, k + 1);
        if (threadIdx.x == 0) s.centers[s.least] = s.centers[k];
        __syncthreads();
        u64 new_cost = settle(fine, s, k, image, state.energy);
        failures++;
        if (new_cost < cost) {
            cost = new_cost;
            failures = 0;
            store_centers(s, centers, k);
            mine = measure_range(fine, s, k, begin, end, distances);
            before = block_scan(mine, s.lanes, &total);
        } else {
            load_centers(s, centers, k);
        }
    }
}
