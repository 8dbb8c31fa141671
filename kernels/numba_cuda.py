"""The GPU kernels in Numba CUDA: the readable twin of the `.cu` files, with the same names and arguments.

The comments at the top of histogram.cu, seeding.cu, lloyd.cu and labels.cu describe the arrays, their shapes
and dtypes, and the shapes of the launches. Images and states are the int64 records of batch.cuh. Arrays of
int4 are flat int32 arrays here, with four numbers for each centre. Numbers of 64 bits are int64 here, where
nothing wraps. All arrays are one-dimensional.

Why this way. The algorithms are those of the `.cu` files, without the parts that serve only speed: bits for
sets of centres, halves of sums, costs from the sums of clusters, one atomic operation for a warp. Shared
arrays are passed as arguments, and there are no warp intrinsics, so that Numba's CUDA simulator runs
everything with blocks of any size.

All kernels are in one file, because Numba's cache notices changes only in the file of a compiled function.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import cuda, int32, int64

from kseg_batch.kernels.cuda_cache import keep

MAX_THREADS = 512
MAX_CLUSTERS = 256
MOST_CENTERS = MAX_CLUSTERS + 1  # during a swap, there is one more centre
TOTALS = 4 * MAX_CLUSTERS
MAX_DISTANCE = 2147483647
MAX_LEVEL = 5
MAX_COARSE = 8192
MAX_FINE = 8192
SEEDS = MAX_COARSE + MAX_FINE
CODES = 1 << 24
CELLS = 32768
CELL_SIZE = 512
RUN = 16
ROW = 256
SLOTS = 2048
MAX_REPLICAS = 32

# Columns of an Image and of a State: see batch.cuh.
PIXELS, HEIGHT, WIDTH, CLUSTERS, ATTEMPTS, SEED, MAX_ITER, MAX_SHIFT, ORDER = range(9)
WEIGHT_SHIFT, FIRST_COLOR, BITS, ROWS, MASKS = range(9, 14)
IMAGE_COLUMNS = 14
GIVEN, BY_LUMA, BY_FIRST = range(3)
N_COLORS, N_CLUSTERS, SQUARES, N_COARSE, N_FINE, COARSE_LEVEL, FINE_LEVEL, ENERGY, ITERATIONS = range(9)
STATE_COLUMNS = 9


class Points(NamedTuple):
    """A set of points, see clusters.cuh: n points of the arrays, from number `first` on."""

    xyz: np.ndarray
    weights: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sums: np.ndarray
    first: int  # a multiple of RUN
    n: int


class Scratch(NamedTuple):
    """The shared memory of a block."""

    centers: np.ndarray  # (MOST_CENTERS, 3) int32, Q8.6
    moved: np.ndarray  # (MOST_CENTERS, 3) int32
    slots: np.ndarray  # (SLOTS,) int64, sums, replica by replica
    totals: np.ndarray  # (TOTALS,) int64, the sums
    lanes: np.ndarray  # (2, MAX_THREADS) int64
    taken: np.ndarray  # (MAX_CLUSTERS,) int64, points that empty clusters moved to
    picks: np.ndarray  # (8,) int32, points drawn


def kernel(python_function):
    return keep(cuda.jit(python_function))


def function(python_function):
    return keep(cuda.jit(device=True)(python_function))


# ---- arithmetic: see arithmetic.cuh ----------------------------------------------------------------------


@function
def spread(v):
    """Move bit i of an 8-bit value to bit 3 * i."""
    v = (v | (v << 8)) & 0x00F00F
    v = (v | (v << 4)) & 0x0C30C3
    return (v | (v << 2)) & 0x249249


@function
def gather(v):
    """Return the inverse of `spread`; other bits are ignored."""
    v = v & 0x249249
    v = (v | (v >> 2)) & 0x0C30C3
    v = (v | (v >> 4)) & 0x00F00F
    return (v | (v >> 8)) & 0x0000FF


@function
def zorder(r, g, b):
    return (spread(r) << 2) | (spread(g) << 1) | spread(b)


@function
def zorder_of(position):
    """Return the z-order code of a packed position that is a colour."""
    return zorder((position >> 38) & 255, (position >> 22) & 255, (position >> 6) & 255)


@function
def position_of(code):
    """Return the packed position of the colour with a z-order code."""
    return (gather(code >> 2) << 38) | (gather(code >> 1) << 22) | (gather(code) << 6)


@function
def distance(position, centers, j):
    """Return the squared distance of a packed position to centre j."""
    x = (position >> 32) - centers[j, 0]
    y = ((position >> 16) & 0xFFFF) - centers[j, 1]
    z = (position & 0xFFFF) - centers[j, 2]
    return x * x + y * y + z * z


@function
def distance_between(a, b):
    """Return the squared distance of two packed positions."""
    x = (a >> 32) - (b >> 32)
    y = ((a >> 16) & 0xFFFF) - ((b >> 16) & 0xFFFF)
    z = (a & 0xFFFF) - (b & 0xFFFF)
    return x * x + y * y + z * z


@function
def rounded_mean(total, weight):
    return (2 * total + weight) // (2 * weight)


@function
def splitmix64(seed, index):
    """Return number `index` of the SplitMix64 sequence of `seed`; all uint64."""
    z = seed + (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@function
def draw_below(bound, seed, index):
    """Return a random number in 0 .. bound - 1: the high 64 bits of random * bound, computed by halves."""
    mask = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    a = splitmix64(np.uint64(seed), np.uint64(index))
    b = np.uint64(bound)
    middle = (a >> half) * (b & mask) + (((a & mask) * (b & mask)) >> half)
    carry = (a & mask) * (b >> half) + (middle & mask)
    return int64((a >> half) * (b >> half) + (middle >> half) + (carry >> half))


@function
def seeding_trials(k):
    """Return 2 + floor(log(k)), by comparisons with the powers of e, rounded up."""
    trials = 2
    if k >= 3:
        trials += 1
    if k >= 8:
        trials += 1
    if k >= 21:
        trials += 1
    if k >= 55:
        trials += 1
    if k >= 149:
        trials += 1
    return trials


@function
def index_bits(k):
    """Return the fewest bits of a PNG pixel that hold k values."""
    if k <= 2:
        return 1
    if k <= 4:
        return 2
    return 4 if k <= 16 else 8


@function
def row_bytes(width, bits):
    return 1 + (width * bits + 7) // 8


# ---- sums over a block: see block.cuh --------------------------------------------------------------------


@function
def block_scan(value, lanes):
    """Return the sums of `value` up to this thread, and over all threads.

    lanes: (2, MAX_THREADS) int64, shared.
    """
    t = cuda.threadIdx.x
    source = 0
    lanes[0, t] = value
    cuda.syncthreads()
    step = 1
    while step < cuda.blockDim.x:
        total = lanes[source, t]
        if t >= step:
            total += lanes[source, t - step]
        source = 1 - source
        lanes[source, t] = total
        cuda.syncthreads()
        step *= 2
    through = lanes[source, t]
    total = lanes[source, cuda.blockDim.x - 1]
    cuda.syncthreads()
    return through, total


@function
def block_max(value, lanes):
    t = cuda.threadIdx.x
    lanes[0, t] = value
    cuda.syncthreads()
    if t == 0:
        for i in range(1, cuda.blockDim.x):
            lanes[0, 0] = max(lanes[0, 0], lanes[0, i])
    cuda.syncthreads()
    greatest = lanes[0, 0]
    cuda.syncthreads()
    return greatest


@function
def share_of(n):
    """Return the range of this thread, where each thread takes consecutive numbers of 0 .. n - 1."""
    share = (n + cuda.blockDim.x - 1) // cuda.blockDim.x
    begin = min(n, cuda.threadIdx.x * share)
    return begin, min(n, begin + share)


# ---- histogram: see histogram.cu -------------------------------------------------------------------------


@kernel
def clear(array):
    """Fill an array with zeros. Grid (any, 1)."""
    for i in range(cuda.grid(1), array.shape[0], cuda.gridsize(1)):
        array[i] = 0


@function
def add_color(tables, in_cells, image, code, pixels):
    if cuda.atomic.add(tables, image * CODES + code, pixels) == 0:
        cuda.atomic.add(in_cells, image * CELLS + code // CELL_SIZE, 1)


@kernel
def count_pixels(images, pixels, tables, in_cells):
    image = cuda.blockIdx.y
    row = image * IMAGE_COLUMNS
    first = 3 * images[row + PIXELS]
    n = images[row + HEIGHT] * images[row + WIDTH]
    threads = cuda.gridDim.x * cuda.blockDim.x
    for begin in range((cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 16, n, threads * 16):
        code = int64(0)
        equal = int64(0)
        for i in range(begin, min(n, begin + 16)):
            p = first + 3 * i
            following = int64(zorder(int64(pixels[p]), int64(pixels[p + 1]), int64(pixels[p + 2])))
            if equal > 0 and following != code:
                add_color(tables, in_cells, image, code, equal)
                equal = int64(0)
            code = following
            equal += 1
        add_color(tables, in_cells, image, code, equal)


@kernel
def number_cells(images, states, in_cells, starts):
    lanes = cuda.shared.array((2, MAX_THREADS), int64)
    image = cuda.blockIdx.y
    begin, end = share_of(CELLS)
    mine = int64(0)
    for cell in range(begin, end):
        mine += in_cells[image * CELLS + cell]
    through, total = block_scan(mine, lanes)
    start = through - mine
    for cell in range(begin, end):
        starts[image * CELLS + cell] = start
        start += in_cells[image * CELLS + cell]
    if cuda.threadIdx.x == 0:
        states[image * STATE_COLUMNS + N_COLORS] = total
        clusters = images[image * IMAGE_COLUMNS + CLUSTERS]
        given = images[image * IMAGE_COLUMNS + ORDER] == GIVEN
        states[image * STATE_COLUMNS + N_CLUSTERS] = clusters if given else min(clusters, total)


@kernel
def drain_table(images, tables, in_cells, starts, xyz, weights):
    image = cuda.blockIdx.y
    first = images[image * IMAGE_COLUMNS + FIRST_COLOR]
    threads = cuda.gridDim.x * cuda.blockDim.x
    for cell in range(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x, CELLS, threads):
        left = int64(in_cells[image * CELLS + cell])
        in_cells[image * CELLS + cell] = 0
        position = first + int64(starts[image * CELLS + cell])
        code = int64(cell) * CELL_SIZE
        while left > 0:
            count = tables[image * CODES + code]
            if count > 0:
                tables[image * CODES + code] = 0
                xyz[position] = position_of(code)
                weights[position] = count
                position += 1
                left -= 1
            code += 1


# ---- nearest centres and Lloyd's algorithm: see clusters.cuh ---------------------------------------------


@function
def replicas_of(sums):
    """Return the number of replicas of the sums for which there is room: a power of two."""
    replicas = MAX_REPLICAS
    while replicas * sums > SLOTS:
        replicas //= 2
    return replicas


@function
def shared_scratch():
    return Scratch(
        cuda.shared.array((MOST_CENTERS, 3), int32),
        cuda.shared.array((MOST_CENTERS, 3), int32),
        cuda.shared.array(SLOTS, int64),
        cuda.shared.array(TOTALS, int64),
        cuda.shared.array((2, MAX_THREADS), int64),
        cuda.shared.array(MAX_CLUSTERS, int64),
        cuda.shared.array(8, int32),
    )


@function
def clear_sums(s):
    for i in range(cuda.threadIdx.x, SLOTS, cuda.blockDim.x):
        s.slots[i] = 0
    cuda.syncthreads()


@function
def collect_sums(s, sums, replicas):
    """Add up the replicas of the sums into `s.totals`."""
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, sums, cuda.blockDim.x):
        total = int64(0)
        for r in range(replicas):
            total += s.slots[i * replicas + r]
        s.totals[i] = total
    cuda.syncthreads()


@function
def flush(s, replicas, label, x, y, z, weight):
    """Add to the sums of a cluster, in the replica of this thread."""
    lane = cuda.threadIdx.x % replicas
    cuda.atomic.add(s.slots, (4 * label) * replicas + lane, x)
    cuda.atomic.add(s.slots, (4 * label + 1) * replicas + lane, y)
    cuda.atomic.add(s.slots, (4 * label + 2) * replicas + lane, z)
    cuda.atomic.add(s.slots, (4 * label + 3) * replicas + lane, weight)


@function
def nearest(position, centers, k):
    """Return the nearest of all k centres, the lowest on a tie, and its squared distance."""
    best = int64(MAX_DISTANCE)
    label = 0
    for j in range(k):
        d = distance(position, centers, j)
        if d < best:
            best = d
            label = j
    return label, best


@function
def find_candidates(low, high, centers, k, candidates):
    """Fill `candidates` with the centres, ascending, that can be nearest in a box; return the number."""
    x = ((low >> 32) + (high >> 32)) >> 1
    y = (((low >> 16) & 0xFFFF) + ((high >> 16) & 0xFFFF)) >> 1
    z = ((low & 0xFFFF) + (high & 0xFFFF)) >> 1
    reach_x = (high >> 32) - x
    reach_y = ((high >> 16) & 0xFFFF) - y
    reach_z = (high & 0xFFFF) - z
    middle = (x << 32) | (y << 16) | z
    o, least = nearest(middle, centers, k)
    n = 0
    for j in range(k):
        reach = reach_x * abs(centers[j, 0] - centers[o, 0])
        reach += reach_y * abs(centers[j, 1] - centers[o, 1])
        reach += reach_z * abs(centers[j, 2] - centers[o, 2])
        margin = distance(middle, centers, j) - least - 2 * reach
        if margin < 0 or (margin == 0 and j <= o):
            candidates[n] = j
            n += 1
    return n


@function
def nearest_among(position, centers, candidates, n):
    """Return the nearest of n candidates, the lowest on a tie."""
    best = int64(MAX_DISTANCE)
    label = 0
    for c in range(n):
        d = distance(position, centers, candidates[c])
        if d < best:
            best = d
            label = candidates[c]
    return int64(label)


@function
def set_center(centers, j, position):
    """Put a centre at a packed position."""
    centers[j, 0] = position >> 32
    centers[j, 1] = (position >> 16) & 0xFFFF
    centers[j, 2] = position & 0xFFFF


@function
def sum_clusters(points, s, k):
    """Fill the first 4 * k of `s.totals` with the sums of x, y, z and weight of each cluster."""
    candidates = cuda.local.array(MAX_CLUSTERS, int32)
    replicas = replicas_of(4 * k)
    clear_sums(s)
    runs = (points.n + RUN - 1) // RUN
    for r in range(cuda.threadIdx.x, runs, cuda.blockDim.x):
        run = points.first // RUN + r
        n = find_candidates(points.low[run], points.high[run], s.centers, k, candidates)
        if n == 1:
            sums = points.sums[4 * run : 4 * run + 4]
            flush(s, replicas, int64(candidates[0]), sums[0], sums[1], sums[2], sums[3])
            continue
        label = int64(-1)
        x, y, z, weight = int64(0), int64(0), int64(0), int64(0)
        for i in range(points.first + r * RUN, points.first + min(points.n, (r + 1) * RUN)):
            position = points.xyz[i]
            j = nearest_among(position, s.centers, candidates, n)
            if j != label:
                if label >= 0:
                    flush(s, replicas, label, x, y, z, weight)
                label = j
                x, y, z, weight = int64(0), int64(0), int64(0), int64(0)
            w = int64(points.weights[i])
            x += w * (position >> 32)
            y += w * ((position >> 16) & 0xFFFF)
            z += w * (position & 0xFFFF)
            weight += w
        flush(s, replicas, label, x, y, z, weight)
    collect_sums(s, 4 * k, replicas)


@function
def farthest(points, s, k, n_taken):
    """Return the point farthest from its nearest centre; on a tie, the lowest.

    Taken points have distance 0.
    """
    greatest = int64(0)
    lowest = int64(0)
    for search in range(2):  # first the greatest distance, then the lowest point that has it
        mine = int64(-1) << 62
        for i in range(points.first + cuda.threadIdx.x, points.first + points.n, cuda.blockDim.x):
            _, d = nearest(points.xyz[i], s.centers, k)
            for t in range(n_taken):
                if s.taken[t] == points.xyz[i]:
                    d = int64(0)
            if search == 0:
                mine = max(mine, d)
            elif d == greatest:
                mine = max(mine, -points.xyz[i])
        found = block_max(mine, s.lanes)
        if search == 0:
            greatest = found
        else:
            lowest = -found
    return lowest


@function
def move_centers(s, k):
    for j in range(cuda.threadIdx.x, k, cuda.blockDim.x):
        for channel in range(3):
            s.centers[j, channel] = s.moved[j, channel]
    cuda.syncthreads()


@function
def lloyd(points, s, k, max_iter, max_shift):
    """Run Lloyd's algorithm from `s.centers`; return the number of iterations."""
    iteration = int64(0)
    while True:
        iteration += 1
        sum_clusters(points, s, k)
        shift = int64(0)
        empty = int64(0)
        for j in range(k):  # every thread computes all shifts, so that all decide alike
            weight = s.totals[4 * j + 3]
            if weight == 0:
                empty += 1
                continue
            step = int64(0)
            for channel in range(3):
                mean = rounded_mean(s.totals[4 * j + channel], weight)
                step += (mean - s.centers[j, channel]) * (mean - s.centers[j, channel])
                if j % cuda.blockDim.x == cuda.threadIdx.x:
                    s.moved[j, channel] = mean
            shift = max(shift, step)
        n_taken = 0
        for j in range(k if empty > 0 else 0):
            if s.totals[4 * j + 3] == 0:
                position = farthest(points, s, k, n_taken)
                if cuda.threadIdx.x == 0:
                    s.taken[n_taken] = position
                    set_center(s.moved, j, position)
                n_taken += 1
                cuda.syncthreads()
        cuda.syncthreads()
        move_centers(s, k)
        if (shift <= max_shift and empty == 0) or iteration == max_iter:
            return iteration


@function
def load_centers(source, first, centers, k):
    cuda.syncthreads()
    for j in range(cuda.threadIdx.x, k, cuda.blockDim.x):
        for channel in range(3):
            centers[j, channel] = source[4 * (first + j) + channel]
    cuda.syncthreads()


@function
def store_centers(centers, target, first, k):
    for j in range(cuda.threadIdx.x, k, cuda.blockDim.x):
        for channel in range(3):
            target[4 * (first + j) + channel] = centers[j, channel]
    cuda.syncthreads()


# ---- seeding: see seeding.cu -----------------------------------------------------------------------------


@function
def code_before(xyz, first, i):
    """Return the code of the colour before number i; for the first, a code that differs in every bit."""
    if i == first:
        return ~int64(zorder_of(xyz[i]))
    return int64(zorder_of(xyz[i - 1]))


@function
def bound_run(xyz, weights, begin, end, run, low, high, sums):
    """Store the bounds and the sums of a run of points, number `begin` to `end` - 1."""
    low_x, low_y, low_z = int64(65535), int64(65535), int64(65535)
    high_x, high_y, high_z = int64(0), int64(0), int64(0)
    sum_x, sum_y, sum_z, total = int64(0), int64(0), int64(0), int64(0)
    for i in range(begin, end):
        x = xyz[i] >> 32
        y = (xyz[i] >> 16) & 0xFFFF
        z = xyz[i] & 0xFFFF
        w = int64(weights[i])
        low_x, low_y, low_z = min(low_x, x), min(low_y, y), min(low_z, z)
        high_x, high_y, high_z = max(high_x, x), max(high_y, y), max(high_z, z)
        sum_x += w * x
        sum_y += w * y
        sum_z += w * z
        total += w
    low[run] = (low_x << 32) | (low_y << 16) | low_z
    high[run] = (high_x << 32) | (high_y << 16) | high_z
    sums[4 * run] = sum_x
    sums[4 * run + 1] = sum_y
    sums[4 * run + 2] = sum_z
    sums[4 * run + 3] = total


@kernel
def bound_colors(images, states, xyz, weights, low, high, sums, squares, begun, cube_sums):
    image = cuda.blockIdx.y
    first = images[image * IMAGE_COLUMNS + FIRST_COLOR]
    n = states[image * STATE_COLUMNS + N_COLORS]
    thread = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    threads = cuda.gridDim.x * cuda.blockDim.x
    for r in range(thread, (n + RUN - 1) // RUN, threads):
        run = first // RUN + r
        begin = first + r * RUN
        end = first + min(n, (r + 1) * RUN)
        bound_run(xyz, weights, begin, end, run, low, high, sums)
        square = int64(0)
        counts = int64(0)
        before = code_before(xyz, first, begin)
        for i in range(begin, end):
            square += int64(weights[i]) * (distance_between(xyz[i], int64(0)) >> 12)
            code = int64(zorder_of(xyz[i]))
            for level in range(MAX_LEVEL + 1):
                if (code ^ before) >> (3 * level) != 0:
                    counts += int64(1) << (5 * level)
            before = code
        squares[run] = square
        begun[run] = counts
    for i in range(4 * image * SEEDS + thread, 4 * (image + 1) * SEEDS, threads):
        cube_sums[i] = 0


@kernel
def number_cubes(images, states, squares, begun, firsts):
    lanes = cuda.shared.array((2, MAX_THREADS), int64)
    image = cuda.blockIdx.y
    state = image * STATE_COLUMNS
    first_run = images[image * IMAGE_COLUMNS + FIRST_COLOR] // RUN
    runs = (states[state + N_COLORS] + RUN - 1) // RUN
    k = states[state + N_CLUSTERS]
    begin, end = share_of(runs)
    square = int64(0)
    for run in range(first_run + begin, first_run + end):
        square += squares[run]
    _, square = block_scan(square, lanes)
    if cuda.threadIdx.x == 0:
        states[state + SQUARES] = square
    for chosen in range(2):  # the coarse points, then the fine points
        most = MAX_FINE if chosen == 1 and k > 4 else (32 * k if k > 64 else 2048)
        level = -1
        cubes = most + 1
        while cubes > most:
            level += 1
            mine = int64(0)
            for run in range(first_run + begin, first_run + end):
                mine += (int64(begun[run]) >> (5 * level)) & 31
            through, cubes = block_scan(mine, lanes)
        number = through - mine
        for run in range(first_run + begin, first_run + end):
            firsts[2 * run + chosen] = number
            number += (int64(begun[run]) >> (5 * level)) & 31
        if cuda.threadIdx.x == 0:
            states[state + N_COARSE + chosen] = cubes
            states[state + COARSE_LEVEL + chosen] = level


@function
def add_to_cube(cube_sums, cube, x, y, z, weight):
    cuda.atomic.add(cube_sums, 4 * cube, x)
    cuda.atomic.add(cube_sums, 4 * cube + 1, y)
    cuda.atomic.add(cube_sums, 4 * cube + 2, z)
    cuda.atomic.add(cube_sums, 4 * cube + 3, weight)


@kernel
def sum_cubes(images, states, xyz, weights, firsts, cube_sums):
    image = cuda.blockIdx.y
    first = images[image * IMAGE_COLUMNS + FIRST_COLOR]
    n = states[image * STATE_COLUMNS + N_COLORS]
    thread = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    threads = cuda.gridDim.x * cuda.blockDim.x
    for r in range(thread, (n + RUN - 1) // RUN, threads):
        begin = first + r * RUN
        for chosen in range(2):
            shift = 3 * states[image * STATE_COLUMNS + COARSE_LEVEL + chosen]
            cube = image * SEEDS + chosen * MAX_COARSE + int64(firsts[2 * (first // RUN + r) + chosen]) - 1
            before = code_before(xyz, first, begin)
            x, y, z, weight = int64(0), int64(0), int64(0), int64(0)
            for i in range(begin, first + min(n, (r + 1) * RUN)):
                code = int64(zorder_of(xyz[i]))
                if (code ^ before) >> shift != 0:
                    if weight > 0:
                        add_to_cube(cube_sums, cube, x, y, z, weight)
                    x, y, z, weight = int64(0), int64(0), int64(0), int64(0)
                    cube += 1
                before = code
                w = int64(weights[i])
                x += w * (xyz[i] >> 32)
                y += w * ((xyz[i] >> 16) & 0xFFFF)
                z += w * (xyz[i] & 0xFFFF)
                weight += w
            add_to_cube(cube_sums, cube, x, y, z, weight)


@kernel
def average_cubes(images, states, cube_sums, seed_xyz, seed_weights, seed_low, seed_high, seed_sums):
    image = cuda.blockIdx.y
    shift = images[image * IMAGE_COLUMNS + WEIGHT_SHIFT]
    thread = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    threads = cuda.gridDim.x * cuda.blockDim.x
    for chosen in range(2):
        first = image * SEEDS + chosen * MAX_COARSE
        n = states[image * STATE_COLUMNS + N_COARSE + chosen]
        for r in range(thread, (n + RUN - 1) // RUN, threads):
            begin = first + r * RUN
            end = first + min(n, (r + 1) * RUN)
            for p in range(begin, end):
                weight = cube_sums[4 * p + 3]
                x = rounded_mean(cube_sums[4 * p], weight)
                y = rounded_mean(cube_sums[4 * p + 1], weight)
                z = rounded_mean(cube_sums[4 * p + 2], weight)
                seed_xyz[p] = (x << 32) | (y << 16) | z
                seed_weights[p] = max(weight >> shift, 1)
            bound_run(seed_xyz, seed_weights, begin, end, first // RUN + r, seed_low, seed_high, seed_sums)


@function
def find_point(points, distances, begin, before, mine, target, s, trial):
    """Write the point where the running sum of weight * distance passes the target, if this thread has it."""
    if before <= target < before + mine:
        i = begin
        total = before + int64(points.weights[points.first + i]) * distances[i]
        while total <= target:
            i += 1
            total += int64(points.weights[points.first + i]) * distances[i]
        s.picks[trial] = i


@function
def plus_plus(points, s, distances, k, seed, stream):
    """Fill `s.centers` by greedy k-means++: take the best of several points drawn by weight * distance."""
    begin, end = share_of(points.n)
    for i in range(begin, end):
        distances[i] = 1
    for c in range(k):
        trials = 1 if c == 0 else seeding_trials(k)
        mine = int64(0)
        for i in range(begin, end):
            mine += int64(points.weights[points.first + i]) * distances[i]
        through, total = block_scan(mine, s.lanes)
        for trial in range(trials):
            target = draw_below(total, seed, stream | (c << 8) | trial)
            find_point(points, distances, begin, through - mine, mine, target, s, trial)
        cuda.syncthreads()
        least = int64(-1)
        best = 0
        for trial in range(trials):
            pick = points.xyz[points.first + s.picks[trial]]
            cost = int64(0)
            for i in range(begin, end):
                d = distance_between(points.xyz[points.first + i], pick)
                if c > 0:
                    d = min(d, int64(distances[i]))
                cost += int64(points.weights[points.first + i]) * d
            _, cost = block_scan(cost, s.lanes)
            if least < 0 or cost < least:
                least = cost
                best = trial
        pick = points.xyz[points.first + s.picks[best]]
        for i in range(begin, end):
            d = distance_between(points.xyz[points.first + i], pick)
            if c > 0:
                d = min(d, int64(distances[i]))
            distances[i] = d
        if cuda.threadIdx.x == 0:
            set_center(s.centers, c, pick)
        cuda.syncthreads()


@function
def cost_of(points, s, k, distances):
    """Fill `distances`; return the sums of weight * distance over this thread's points, and over all."""
    begin, end = share_of(points.n)
    mine = int64(0)
    for i in range(begin, end):
        _, d = nearest(points.xyz[points.first + i], s.centers, k)
        distances[i] = d
        mine += int64(points.weights[points.first + i]) * d
    _, total = block_scan(mine, s.lanes)
    return mine, total


@kernel
def start_centers(
    images,
    states,
    seed_xyz,
    seed_weights,
    seed_low,
    seed_high,
    seed_sums,
    distances,
    costs,
    attempts,
    found,
):
    s = shared_scratch()
    image = cuda.blockIdx.y
    row = image * IMAGE_COLUMNS
    state = image * STATE_COLUMNS
    block = image * cuda.gridDim.x + cuda.blockIdx.x
    mine = distances[block * MAX_FINE : (block + 1) * MAX_FINE]
    seeds = (seed_xyz, seed_weights, seed_low, seed_high, seed_sums)
    coarse = Points(*seeds, image * SEEDS, states[state + N_COARSE])
    fine = Points(*seeds, image * SEEDS + MAX_COARSE, states[state + N_FINE])
    k = states[state + N_CLUSTERS]
    max_iter, max_shift = images[row + MAX_ITER], images[row + MAX_SHIFT]
    least = int64(-1)
    chosen = int64(-1)
    for attempt in range(cuda.blockIdx.x, images[row + ATTEMPTS], cuda.gridDim.x):
        plus_plus(coarse, s, mine, k, images[row + SEED], int64(attempt) << 16)
        lloyd(coarse, s, k, max_iter, max_shift)
        lloyd(fine, s, k, max_iter, max_shift)
        _, cost = cost_of(fine, s, k, mine)
        if least < 0 or cost < least:
            least = cost
            chosen = int64(attempt)
            store_centers(s.centers, found, block * ROW, k)
        cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        costs[block] = least
        attempts[block] = chosen


@function
def find_least_missed(points, s, n_centers):
    """Return the centre whose removal costs least, except the last centre."""
    replicas = replicas_of(n_centers)
    lane = cuda.threadIdx.x % replicas
    clear_sums(s)
    begin, end = share_of(points.n)
    for i in range(points.first + begin, points.first + end):
        nearer = int64(MAX_DISTANCE)
        second = int64(MAX_DISTANCE)
        label = 0
        for j in range(n_centers):
            d = distance(points.xyz[i], s.centers, j)
            second = min(second, max(d, nearer))
            if d < nearer:
                nearer = d
                label = j
        cuda.atomic.add(s.slots, label * replicas + lane, int64(points.weights[i]) * (second - nearer))
    collect_sums(s, n_centers, replicas)
    least = 0
    for j in range(1, n_centers - 1):
        if s.totals[j] < s.totals[least]:
            least = j
    cuda.syncthreads()
    return least


@kernel
def improve_centers(
    images,
    states,
    seed_xyz,
    seed_weights,
    seed_low,
    seed_high,
    seed_sums,
    starts,
    stream,
    rounds,
    patience,
    distances,
    costs,
    attempts,
    found,
    result,
):
    s = shared_scratch()
    image = cuda.blockIdx.y
    row = image * IMAGE_COLUMNS
    state = image * STATE_COLUMNS
    k = states[state + N_CLUSTERS]
    max_iter, max_shift = images[row + MAX_ITER], images[row + MAX_SHIFT]
    block = image * starts
    best = block
    for b in range(block + 1, block + starts):
        if attempts[b] >= 0 and (
            costs[b] < costs[best] or (costs[b] == costs[best] and attempts[b] < attempts[best])
        ):
            best = b
    cost = costs[best]
    load_centers(found, best * ROW, s.centers, k)
    store_centers(s.centers, result, image * ROW, k)
    if k == 1:
        return

    seeds = (seed_xyz, seed_weights, seed_low, seed_high, seed_sums)
    fine = Points(*seeds, image * SEEDS + MAX_COARSE, states[state + N_FINE])
    kept = distances[block * MAX_FINE : (block + 1) * MAX_FINE]  # distances to the centres before a swap
    begin, _ = share_of(fine.n)
    mine, total = cost_of(fine, s, k, kept)
    through, _ = block_scan(mine, s.lanes)
    swap = int64(0)
    failures = int64(0)
    while swap < rounds and failures < patience and cost > 0:
        target = draw_below(total, images[row + SEED], stream | swap)
        find_point(fine, kept, begin, through - mine, mine, target, s, 0)
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            set_center(s.centers, k, fine.xyz[fine.first + s.picks[0]])
        cuda.syncthreads()
        least = find_least_missed(fine, s, k + 1)
        for channel in range(cuda.threadIdx.x, 3, cuda.blockDim.x):
            s.centers[least, channel] = s.centers[k, channel]
        cuda.syncthreads()
        lloyd(fine, s, k, max_iter, max_shift)
        trial = int64(0)
        for i in range(begin, share_of(fine.n)[1]):
            _, d = nearest(fine.xyz[fine.first + i], s.centers, k)
            trial += int64(fine.weights[fine.first + i]) * d
        _, trial = block_scan(trial, s.lanes)
        swap += 1
        failures += 1
        if trial < cost:
            cost = trial
            failures = int64(0)
            store_centers(s.centers, result, image * ROW, k)
            mine, total = cost_of(fine, s, k, kept)
            through, _ = block_scan(mine, s.lanes)
        else:
            load_centers(result, image * ROW, s.centers, k)


# ---- all colours: see lloyd.cu ---------------------------------------------------------------------------


@function
def is_darker(centers, i, j, order):
    """Return whether centre i comes before centre j: by luma in RGB, then by channels, then by number."""
    if order == BY_LUMA:
        a = 299 * centers[i, 0] + 587 * centers[i, 1] + 114 * centers[i, 2]
        b = 299 * centers[j, 0] + 587 * centers[j, 1] + 114 * centers[j, 2]
        if a != b:
            return a < b
    for channel in range(3):
        if centers[i, channel] != centers[j, channel]:
            return centers[i, channel] < centers[j, channel]
    return i < j


@kernel
def converge_centers(images, states, xyz, weights, low, high, sums, result, clusters):
    s = shared_scratch()
    image = cuda.blockIdx.y
    row = image * IMAGE_COLUMNS
    state = image * STATE_COLUMNS
    k = states[state + N_CLUSTERS]
    colors = Points(xyz, weights, low, high, sums, images[row + FIRST_COLOR], states[state + N_COLORS])
    load_centers(result, image * ROW, s.centers, k)
    iterations = int64(0)
    order = images[row + ORDER]
    if order != GIVEN:
        iterations = lloyd(colors, s, k, images[row + MAX_ITER], images[row + MAX_SHIFT])
        for j in range(cuda.threadIdx.x, k, cuda.blockDim.x):
            place = 0
            for i in range(k):
                if is_darker(s.centers, i, j, order):
                    place += 1
            for channel in range(3):
                s.moved[place, channel] = s.centers[j, channel]
        cuda.syncthreads()
        move_centers(s, k)
    sum_clusters(colors, s, k)
    store_centers(s.centers, result, image * ROW, k)
    for i in range(cuda.threadIdx.x, 4 * k, cuda.blockDim.x):
        clusters[4 * image * ROW + i] = s.totals[i]
    if cuda.threadIdx.x == 0:
        states[state + ITERATIONS] = iterations


# ---- labels: see labels.cu -------------------------------------------------------------------------------


@kernel
def label_pixels(images, states, pixels, source, output):
    centers = cuda.shared.array((MAX_CLUSTERS, 3), int32)
    labels = cuda.local.array(8, int32)
    image = cuda.blockIdx.y
    row = image * IMAGE_COLUMNS
    k = states[image * STATE_COLUMNS + N_CLUSTERS]
    load_centers(source, image * ROW, centers, k)
    height = images[row + HEIGHT]
    width = images[row + WIDTH]
    bits = images[row + BITS] if images[row + BITS] > 0 else int64(index_bits(k))
    pitch = row_bytes(width, bits)
    mask_pitch = row_bytes(width, 1)
    masks = images[row + MASKS]
    groups_per_row = (width + 7) // 8
    threads = cuda.gridDim.x * cuda.blockDim.x
    for g in range(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x, height * groups_per_row, threads):
        y = g // groups_per_row
        group = g % groups_per_row
        size = min(width - 8 * group, 8)
        for i in range(8):
            labels[i] = -1
        for i in range(size):
            p = 3 * (images[row + PIXELS] + y * width + 8 * group + i)
            position = (int64(pixels[p]) << 38) | (int64(pixels[p + 1]) << 22) | (int64(pixels[p + 2]) << 6)
            labels[i], _ = nearest(position, centers, k)
        start = images[row + ROWS] + y * pitch
        if group == 0:
            output[start] = 0
        for i in range((size * bits + 7) // 8):
            byte = int64(0)
            for pixel in range(i * 8 // bits, (i + 1) * 8 // bits):
                byte = (byte << bits) | max(int64(labels[pixel]), 0)
            output[start + 1 + group * bits + i] = byte
        for j in range(k if masks >= 0 else 0):
            byte = int64(0)
            for i in range(8):
                byte = (byte << 1) | int64(labels[i] == j)
            start = masks + (j * height + y) * mask_pitch
            if group == 0:
                output[start] = 0
            output[start + 1 + group] = byte
