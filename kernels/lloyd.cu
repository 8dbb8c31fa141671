// Lloyd's algorithm over all distinct colours of each image, to convergence.
//
//     xyz, weights, low, high, sums    the sets of points of clusters.cuh: the distinct colours of all images
//     centers      (images, ROW) int4    in: where to start; out: the result, sorted from dark to light; unchanged
//                                        where the image's order is GIVEN
//     clusters     (images, ROW, 4) u64  out: sums of x, y, z (Q8.6) and pixels of each cluster of the result
//
// converge_centers    grid (1, images), blocks of up to MAX_THREADS threads, a power of two
//
// Why this way. One block takes an image through all iterations and tests its convergence; a batch is one launch.
//
// Four ways were weighed by what an iteration has to compute, counted in distances of a point to a centre
// (benchmarks/studies/lloyd_ways.py). None is timed on a GPU yet. For one 1080p photo of 109,000 colours, in millions:
//
//                                           k = 3      16      64     256
//     every pixel, every centre              6.22   33.18  132.71  530.84
//     every distinct colour, every centre    0.33    1.75    7.00   27.99
//     columns of equal R and G               0.07    0.38    1.52    6.07
//     runs of 16 colours in z-order          0.05    0.28    1.03    3.88
//
// Pixels lose by far; the histogram that spares them is a single pass. Columns, in which the centres own intervals
// of B and prefix sums add them up, win over colours, but need an envelope of k lines for each of a photo's many
// short columns, and prefix sums of their own. Runs stayed: fewest distances, no tables, and the same code for
// seeding points.

#include "clusters.cuh"

__device__ inline u64 rank(int4 c, i64 order) {
    return order == BY_LUMA ? light(c.x, c.y, c.z) : in_order(c.x, c.y, c.z);
}

// Sort `s.centers` from dark to light: each goes to the place that is the number of those before it.
__device__ inline void sort_centers(Scratch& s, int k, i64 order) {
    for (int j = threadIdx.x; j < k; j += blockDim.x) {
        int4 c = s.centers[j];
        u64 mine = rank(c, order);
        int place = 0;
        for (int i = 0; i < k; i++) {
            u64 other = rank(s.centers[i], order);
            place += other < mine || (other == mine && i < j);
        }
        s.moved[place] = c;
    }
    __syncthreads();
    for (int j = threadIdx.x; j < k; j += blockDim.x) s.centers[j] = s.moved[j];
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1)
converge_centers(
    const Image* images, State* states, const u64* xyz, const weight_t* weights, const u64* low, const u64* high,
    const u64* sums, int4* centers, u64* clusters
) {
    __shared__ Scratch s;
    Image image = images[blockIdx.y];
    State& state = states[blockIdx.y];
    int k = (int)state.clusters;
    i64 run = image.colors / RUN;
    Points points = {xyz + image.colors, weights + image.colors, low + run,
                     high + run,         sums + 4 * run,         (int)state.colors};
    centers += (i64)blockIdx.y * ROW;
    clusters += (i64)blockIdx.y * ROW * 4;
    load_centers(s, centers, k);
    int iterations = 0;
    if (image.order != GIVEN) {
        bool still;
        iterations = lloyd(points, s, k, image.max_iter, image.max_shift, &still);
        sort_centers(s, k, image.order);
    }
    sum_clusters(points, s, k);
    store_centers(s, centers, k);
    for (int i = threadIdx.x; i < 4 * k; i += blockDim.x) clusters[i] = s.totals[i];
    if (threadIdx.x == 0) state.iterations = iterations;
}
