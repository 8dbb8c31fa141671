// What a batch of images is to every kernel: one Image and one State for each, and a grid whose y is the image.
//
// The images of a batch differ in size, in k, and in all that is chosen for one. Their arrays stand one after
// the other, and an Image tells where its own begin. Both records are rows of 64-bit integers, so that the host,
// and the Numba kernels, see them as the columns of an int64 array; kseg_batch/backends/gpu/layout.py names them.

#ifndef KSEG_BATCH_CUH
#define KSEG_BATCH_CUH

#include "arithmetic.cuh"

#define GIVEN 0     // the centres are a palette's: they are neither moved nor sorted
#define BY_LUMA 1   // dark to light, where the channels are R, G and B
#define BY_FIRST 2  // dark to light, where the first channel is the lightness

struct Image {           // written by the host
    i64 pixels;          // its first pixel in `pixels`, a multiple of 16
    i64 height, width;   // pixels
    i64 clusters;        // k as asked for, 1 .. 256
    i64 attempts;        // k-means++ starts
    i64 seed;            // of the random numbers
    i64 max_iter;        // most iterations
    i64 max_shift;       // greatest squared shift in Q8.6 that counts as standing still
    i64 order;           // of the clusters: GIVEN, BY_LUMA or BY_FIRST
    i64 weight_shift;    // by which pixel counts are scaled down to seeding weights
    i64 colors;          // its first colour in `xyz` and `weights`, a multiple of RUN
    i64 bits;            // of an index, 1, 2, 4 or 8; 0 for the fewest that hold its clusters
    i64 rows;            // where its index rows begin in `output`
    i64 masks;           // where its masks begin in `output`; -1 for none
};

struct State {           // written by the kernels, but for `colors` and `clusters` where the host brings those
    i64 colors;          // distinct colours
    i64 clusters;        // k, or the number of colours where those are fewer
    i64 squares;         // sum over the pixels of the squares of their channels, in grey levels
    i64 coarse, fine;    // seeding points
    i64 coarse_level, fine_level;  // log2 of the side of the cubes whose means they are
    i64 energy;          // sum of weight * |x|^2 over the fine points
    i64 iterations;      // of Lloyd's algorithm over all colours
};

#endif
