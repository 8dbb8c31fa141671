// The records of a batch for all kernels: an Image and a State for each image. The y index of a block is the image.
//
// The images of a batch may differ in size, in k, and in all other options. Their data stand one after the other in
// the arrays, and an Image holds the offsets of its data. Both records are rows of 64-bit integers: the host and the
// Numba kernels use them as rows of an int64 array, whose columns kseg_batch/backends/gpu/layout.py names.

#ifndef KSEG_BATCH_CUH
#define KSEG_BATCH_CUH

#include "arithmetic.cuh"

#define GIVEN 0     // the centres come from a palette: they are neither moved nor sorted
#define BY_LUMA 1   // dark to light, where the channels are R, G and B
#define BY_FIRST 2  // dark to light, where the first channel is the lightness

struct Image {           // written by the host
    i64 pixels;          // number of its first pixel in `pixels`, a multiple of 16
    i64 height, width;   // in pixels
    i64 clusters;        // requested k, 1 .. 256
    i64 attempts;        // number of k-means++ starts
    i64 seed;            // seed of the random number generator
    i64 max_iter;        // greatest number of iterations
    i64 max_shift;       // greatest squared shift in Q8.6 that counts as converged
    i64 order;           // order of the clusters: GIVEN, BY_LUMA or BY_FIRST
    i64 weight_shift;    // right shift that scales pixel counts to seeding weights
    i64 colors;          // number of its first colour in `xyz` and `weights`, a multiple of RUN
    i64 bits;            // bits of a label, 1, 2, 4 or 8; 0 for the fewest that hold its clusters
    i64 rows;            // offset of its rows of labels in `output`
    i64 masks;           // offset of its masks in `output`; -1 for no masks
};

struct State {           // written by the kernels; `colors` and `clusters` sometimes by the host
    i64 colors;          // number of distinct colours
    i64 clusters;        // k, or the number of colours if there are fewer
    i64 squares;         // sum of squares of all channels of all pixels, in grey levels
    i64 coarse, fine;    // numbers of seeding points
    i64 coarse_level, fine_level;  // log2 of the side of the cubes whose means the seeding points are
    i64 energy;          // sum of weight * |x|^2 over the fine points
    i64 iterations;      // iterations of Lloyd's algorithm over all colours
};

#endif
