// The nearest centre of every pixel, packed as a PNG writer needs it.
//
//     pixels     (N, 3) u8             RGB
//     centers    (images, ROW) int4    Q8.6
//     output     (bytes,) u8           for each image: the rows of labels, then, if requested, the rows of k masks
//
// A row begins with the PNG filter type 0. The pixels follow, with `bits` bits each, the leftmost in the highest bits.
// In a mask, each pixel has one bit: 1 if the pixel is in the cluster.
//
// label_pixels    grid (any, images), any block    a thread takes 8 neighbours of a row at a time
//
// Why this way. At most one byte per pixel travels to the host, which only has to deflate the rows. The squared
// distance less |x|^2, which is the same for all centres, is linear in x: three multiplications. There is no table of
// labels: for few clusters, the comparison costs less than two million reads from a table of all colours.

#include "batch.cuh"

#define ROW 256
#define GROUP 8

extern "C" __global__ void label_pixels(
    const Image* images, const State* states, const u8* pixels, const int4* centers, u8* output
) {
    __shared__ int4 shared[ROW];  // x, y, z and |c|^2
    Image image = images[blockIdx.y];
    int k = (int)states[blockIdx.y].clusters;
    centers += (i64)blockIdx.y * ROW;
    for (int j = threadIdx.x; j < k; j += blockDim.x) {
        int4 c = centers[j];
        c.w = squared_distance(c.x, c.y, c.z, 0, 0, 0);
        shared[j] = c;
    }
    __syncthreads();

    int bits = image.bits ? (int)image.bits : index_bits(k);
    u32 width = (u32)image.width, groups_per_row = (width + GROUP - 1) / GROUP;
    u32 groups = (u32)image.height * groups_per_row;
    i64 pitch = row_bytes(width, bits), mask_pitch = row_bytes(width, 1);
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 g = (i64)blockIdx.x * blockDim.x + threadIdx.x; g < groups; g += step) {
        u32 y = (u32)g / groups_per_row, group = (u32)g - y * groups_per_row, x = group * GROUP;
        int size = (int)min(width - x, (u32)GROUP);
        const u8* from = pixels + 3 * (image.pixels + (i64)y * width + x);
        int red[GROUP], green[GROUP], blue[GROUP], best[GROUP], label[GROUP];
#pragma unroll
        for (int i = 0; i < GROUP; i++) {
            bool there = i < size;
            red[i] = there ? from[3 * i] << SCALE_BITS : 0;
            green[i] = there ? from[3 * i + 1] << SCALE_BITS : 0;
            blue[i] = there ? from[3 * i + 2] << SCALE_BITS : 0;
            best[i] = MAX_DISTANCE;
            label[i] = 0;
        }
        for (int j = 0; j < k; j++) {
            int4 c = shared[j];
#pragma unroll
            for (int i = 0; i < GROUP; i++) {
                int d = score(red[i], green[i], blue[i], c.x, c.y, c.z, c.w);
                if (d < best[i]) {
                    best[i] = d;
                    label[i] = j;
                }
            }
        }
        u64 packed = 0;
#pragma unroll
        for (int i = 0; i < GROUP; i++) {
            if (i >= size) label[i] = -1;
            packed |= (u64)(i < size ? label[i] : 0) << (bits * (GROUP - 1 - i));
        }
        u8* row = output + image.rows + y * pitch;
        if (group == 0) row[0] = 0;
        for (int i = 0; 8 * i < size * bits; i++) row[1 + group * bits + i] = (u8)(packed >> (8 * (bits - 1 - i)));
        if (image.masks < 0) continue;
        for (int j = 0; j < k; j++) {
            u32 mask = 0;
#pragma unroll
            for (int i = 0; i < GROUP; i++) mask |= (u32)(label[i] == j) << (GROUP - 1 - i);
            u8* mask_row = output + image.masks + (j * image.height + y) * mask_pitch;
            if (group == 0) mask_row[0] = 0;
            mask_row[1 + group] = (u8)mask;
        }
    }
}
