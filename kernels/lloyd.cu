// Lloyd's algorithm over all distinct colours of each image, to convergence.
//
//     xyz, weights, low, high, sums    the sets of points of clusters.cuh: the distinct colours of all images
//     centers      (images, ROW) int4    in: the first centres; out: the result, sorted from dark to light;
//                                        unchanged if the order of the image is GIVEN
//     clusters     (images, ROW, 4) u64  out: sums of x, y, z (Q8.6), and pixel count, of each cluster
//
// converge_centers    grid (1, images), blocks of up to MAX_THREADS threads, a power of two
//
// Why this way. One block runs all iterations of an image and tests its convergence; a batch takes one launch.
//
// Four methods were compared by the work of an iteration, counted in distances of a point to a centre
// (benchmarks/studies/lloyd_ways.py). None is timed on a GPU yet. For a 1080p photo of 109,000 colours, in millions:
//
//                                           k = 3      16      64     256
//     every pixel, every centre              6.22   33.18  132.71  530.84
//     every distinct colour, every centre    0.33    1.75    7.00   27.99
//     columns of equal R and G               0.07    0.38    1.52    6.07
//     runs of 16 colours in z-order          0.05    0.28    1.03    3.88
//
// Pixels need by far the most distances, and the histogram that replaces them takes a single pass. In columns, each
// centre owns an interval of B, and prefix sums add up the interval. Columns need fewer distances than colours, but
// also an envelope of k lines for each of the many short columns of a photo, and prefix sums of their own. Runs were
// chosen: they need the fewest distances and no tables, and the same code serves the seeding points.

#include "clusters.cuh"

__device__ inline u64 rank(int4 c, i64 order) {
    return order == BY_LUMA ? light(c.x, c.y, c.z) : in_order(c.x, c.y, c.z);
}

// Sort `s.centers` from dark to light: the place of a centre is the number of centres before it.
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
