// Where Lloyd's algorithm over all colours starts from: k-means on a few thousand points of each image.
//
//     xyz, weights, low, high, sums    the sets of points of clusters.cuh: here the distinct colours of all images
//     seed_xyz ... seed_sums           likewise the seeding points: MAX_COARSE + MAX_FINE of each image
//     cube_sums    (images, MAX_COARSE + MAX_FINE, 4) u64   sums of x, y, z and weight of cubes; scratch
//     distances    (images, starts, MAX_FINE) i32           squared distances of points; scratch
//     costs        (images, starts) u64        what the best centres of each block cost
//     attempts     (images, starts) u64        the attempt that found them; ~0 for none
//     found        (images, starts, ROW) int4  those centres
//     centers      (images, ROW) int4          the centres to go on with
//
// gather_points     grid (1, images)        bounds of the colours' runs; the seeding points, the means of cubes
// start_centers     grid (starts, images)   block b takes the attempts b, b + starts, ...
// improve_centers   grid (1, images)        the best of all attempts, improved by random swaps
//
// Blocks of up to MAX_THREADS threads, a power of two. The algorithm is that of kseg_batch/kmeans.py.
//
// Why this way. A block goes through all iterations of an attempt by itself: convergence is tested on the device,
// images need not wait for each other, and the whole batch takes three launches. Ten attempts of 64 images fill
// a large GPU; the swaps, each of which depends on the last, take one block an image.

#include "clusters.cuh"

#define SEEDS (MAX_COARSE + MAX_FINE)

// ---- seeding points --------------------------------------------------------------------------------------

__device__ inline void bound_runs(
    const u64* xyz, const weight_t* weights, int n, u64* lows, u64* highs, u64* sums
) {
    for (int run = threadIdx.x; run * RUN < n; run += blockDim.x) {
        Position low = {65535, 65535, 65535}, high = {0, 0, 0};
        Sums a = {0, 0, 0, 0};
        for (int i = run * RUN; i < min(n, (run + 1) * RUN); i++) {
            Position p = unpack(xyz[i]);
            u64 w = weights[i];
            low.x = min(low.x, p.x);
            low.y = min(low.y, p.y);
            low.z = min(low.z, p.z);
            high.x = max(high.x, p.x);
            high.y = max(high.y, p.y);
            high.z = max(high.z, p.z);
            a.x += w * p.x;
            a.y += w * p.y;
            a.z += w * p.z;
            a.weight += w;
        }
        lows[run] = pack(low.x, low.y, low.z);
        highs[run] = pack(high.x, high.y, high.z);
        sums[4 * run] = a.x;
        sums[4 * run + 1] = a.y;
        sums[4 * run + 2] = a.z;
        sums[4 * run + 3] = a.weight;
    }
}

// Whether the colour begins a cube of side 2^level.
__device__ inline bool begins_cube(const u64* xyz, int i, int level) {
    return i == 0 || (zorder_of(xyz[i]) ^ zorder_of(xyz[i - 1])) >> (3 * level) != 0;
}

__device__ inline void add_to_cube(u64* cube, const Sums& a) {
    atomicAdd(&cube[0], a.x);
    atomicAdd(&cube[1], a.y);
    atomicAdd(&cube[2], a.z);
    atomicAdd(&cube[3], a.weight);
}

// Write the mean and the scaled weight of each occupied cube. A thread takes a range of consecutive colours.
__device__ inline void average_cubes(
    const u64* xyz, const weight_t* weights, int begin, int end, int level, int n_cubes, int weight_shift,
    u64* cube_sums, u64* seed_xyz, weight_t* seed_weights, u64* lanes
) {
    for (int i = threadIdx.x; i < 4 * n_cubes; i += blockDim.x) cube_sums[i] = 0;
    u64 begun = 0, all;
    for (int i = begin; i < end; i++) begun += begins_cube(xyz, i, level);
    i64 cube = (i64)block_scan(begun, lanes, &all) - 1;
    Sums a = {0, 0, 0, 0};
    for (int i = begin; i < end; i++) {
        if (begins_cube(xyz, i, level)) {
            if (a.weight) add_to_cube(cube_sums + 4 * cube, a);
            a.x = a.y = a.z = a.weight = 0;
            cube++;
        }
        Position p = unpack(xyz[i]);
        u64 w = weights[i];
        a.x += w * p.x;
        a.y += w * p.y;
        a.z += w * p.z;
        a.weight += w;
    }
    if (a.weight) add_to_cube(cube_sums + 4 * cube, a);
    __syncthreads();
    for (int i = threadIdx.x; i < n_cubes; i += blockDim.x) {
        const u64* sums = cube_sums + 4 * i;
        u64 weight = sums[3];
        seed_xyz[i] = pack(
            rounded_mean(sums[0], weight), rounded_mean(sums[1], weight), rounded_mean(sums[2], weight));
        u64 scaled = weight >> weight_shift;
        seed_weights[i] = (weight_t)(scaled ? scaled : 1);
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1)
gather_points(
    const Image* images, State* states, const u64* xyz, const weight_t* weights, u64* low, u64* high, u64* sums,
    u64* seed_xyz, weight_t* seed_weights, u64* seed_low, u64* seed_high, u64* seed_sums, u64* cube_sums
) {
    __shared__ u64 lanes[2 * MAX_THREADS];
    Image image = images[blockIdx.y];
    State& state = states[blockIdx.y];
    int n = (int)state.colors;
    xyz += image.colors;
    weights += image.colors;
    i64 run = image.colors / RUN, seed = (i64)blockIdx.y * SEEDS;
    bound_runs(xyz, weights, n, low + run, high + run, sums + 4 * run);

    int share = (n + blockDim.x - 1) / blockDim.x;
    int begin = min(n, (int)threadIdx.x * share), end = min(n, begin + share);
    u64 n_cubes[MAX_LEVEL + 1] = {}, squares = 0;
    for (int i = begin; i < end; i++) {
        u32 changed = i == 0 ? ~0u : zorder_of(xyz[i]) ^ zorder_of(xyz[i - 1]);
        for (int level = 0; level <= MAX_LEVEL; level++) n_cubes[level] += changed >> (3 * level) != 0;
        Position p = unpack(xyz[i]);
        squares += weights[i] * ((u64)squared_distance(p.x, p.y, p.z, 0, 0, 0) >> (2 * SCALE_BITS));
    }
    squares = block_sum(squares, lanes);
    int coarse_level = -1, fine_level = -1, n_coarse = 0, n_fine = 0;
    int most = coarse_points((int)state.clusters);
    for (int level = 0; level <= MAX_LEVEL; level++) {
        int cubes = (int)block_sum(n_cubes[level], lanes);
        if (coarse_level < 0 && cubes <= most) {
            coarse_level = level;
            n_coarse = cubes;
        }
        if (fine_level < 0 && cubes <= MAX_FINE) {
            fine_level = level;
            n_fine = cubes;
        }
    }
    int shift = (int)image.weight_shift;
    average_cubes(xyz, weights, begin, end, coarse_level, n_coarse, shift, cube_sums + 4 * seed,
                  seed_xyz + seed, seed_weights + seed, lanes);
    bound_runs(seed_xyz + seed, seed_weights + seed, n_coarse, seed_low + seed / RUN, seed_high + seed / RUN,
               seed_sums + seed / RUN * 4);
    seed += MAX_COARSE;
    average_cubes(xyz, weights, begin, end, fine_level, n_fine, shift, cube_sums + 4 * seed,
                  seed_xyz + seed, seed_weights + seed, lanes);
    bound_runs(seed_xyz + seed, seed_weights + seed, n_fine, seed_low + seed / RUN, seed_high + seed / RUN,
               seed_sums + seed / RUN * 4);
    u64 energy = 0;
    for (int i = threadIdx.x; i < n_fine; i += blockDim.x) {
        Position p = unpack(seed_xyz[seed + i]);
        energy += seed_weights[seed + i] * (u64)squared_distance(p.x, p.y, p.z, 0, 0, 0);
    }
    energy = block_sum(energy, lanes);
    if (threadIdx.x == 0) {
        state.squares = (i64)squares;
        state.coarse = n_coarse;
        state.fine = n_fine;
        state.energy = (i64)energy;
    }
}

// ---- starts ----------------------------------------------------------------------------------------------

// What `s.centers` cost on the fine points, from the sums of their clusters: sum of w |x - c|^2 written out.
__device__ inline u64 cost_of(const Scratch& s, int k, u64 energy) {
    u64 cost = energy;
    for (int j = 0; j < k; j++) {
        int4 c = s.centers[j];
        const u64* t = s.totals + 4 * j;
        cost += t[3] * (u64)squared_distance(c.x, c.y, c.z, 0, 0, 0) - 2 * (t[0] * c.x + t[1] * c.y + t[2] * c.z);
    }
    return cost;
}

// Lloyd's algorithm until nothing moves; the final cost.
__device__ inline u64 settle(const Points& points, Scratch& s, int k, i64 max_iter, u64 energy) {
    bool still;
    lloyd(points, s, k, max_iter, 0, &still);
    if (!still) sum_clusters(points, s, k);
    return cost_of(s, k, energy);
}

// Find the point at which the running sum of weight * distance passes `target`. `before` is the sum ahead of this
// thread's range and `mine` the sum over it; the thread whose range it is writes the point's number to `pick`.
__device__ inline void find_point(
    const Points& points, const int* distances, int begin, u64 before, u64 mine, u64 target, int* pick
) {
    if (target < before || target >= before + mine) return;
    int i = begin;
    for (u64 sum = before; (sum += (u64)points.weights[i] * distances[i]) <= target;) i++;
    *pick = i;
}

// Greedy k-means++ into `s.centers`: of several points drawn by weight * squared distance, the one that helps most.
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
        lloyd(coarse, s, k, image.max_iter, 0, &still);
        u64 cost = settle(fine, s, k, image.max_iter, state.energy);
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

// Set `s.least` to the centre, the last of `s.centers` excepted, whose removal costs least.
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

// The sum of weight * distance to `s.centers` over this thread's range of points; fills in their distances.
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
        u64 new_cost = settle(fine, s, k, image.max_iter, state.energy);
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
