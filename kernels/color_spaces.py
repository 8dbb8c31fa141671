"""CPU kernels for colour spaces: sRGB to 8-bit Oklab in integer arithmetic, and the colours of clusters.

    pixels    (3 * N,) uint8             sRGB
    linear    (256,) int32               each channel value as linear light, 0 .. 65535
    roots     (65536,) int32             the cube root of each cone response, 0 .. 65535
    to_lms    (3, 3) int64, Q16          linear light to cone responses; rows sum to 1.0
    to_oklab  (3, 3) int64, Q24          roots of the responses to scaled L, a and b
    offsets   (3,) int64, Q24            offsets of L, a and b, plus one half for rounding
    oklab     (3 * N,) uint8             the result: L, a and b of each pixel

    labels    (N,) uint8                 cluster of each pixel
    sums      (256, 3) int64             the result: sums of R, G and B over the pixels of each cluster

Why this way. A table of all colours would take 48 MB and a cache miss for each pixel; the tables `linear` and
`roots` take 257 KB. Cube roots come from a table because libraries differ in the last digit of a cube root.
Sums take 1.3 to 2.6 ms for two megapixels. For few clusters, neither several partial sums, so that pixels of
one cluster need not wait for each other, nor three channels packed into one integer save time.
"""

from kseg_batch.kernels.jit import kernel


@kernel
def to_oklab(pixels, linear, roots, to_lms, to_oklab, offsets, oklab):
    for i in range(0, len(pixels), 3):
        r = linear[pixels[i]]
        g = linear[pixels[i + 1]]
        b = linear[pixels[i + 2]]
        long = roots[(to_lms[0, 0] * r + to_lms[0, 1] * g + to_lms[0, 2] * b) >> 16]
        medium = roots[(to_lms[1, 0] * r + to_lms[1, 1] * g + to_lms[1, 2] * b) >> 16]
        short = roots[(to_lms[2, 0] * r + to_lms[2, 1] * g + to_lms[2, 2] * b) >> 16]
        for channel in range(3):
            row = to_oklab[channel]
            total = row[0] * long + row[1] * medium + row[2] * short + offsets[channel]
            oklab[i + channel] = total >> 24


@kernel
def sum_colors(pixels, labels, sums):
    for i in range(len(labels)):
        cluster = labels[i]
        sums[cluster, 0] += pixels[3 * i]
        sums[cluster, 1] += pixels[3 * i + 1]
        sums[cluster, 2] += pixels[3 * i + 2]
