"""CPU kernels in Numba: colour histogram, seeding, exact Lloyd iterations, labels.

The kernels run in one thread and release the GIL: a batch runs one image per core. All arrays are
C-contiguous and come from the caller.

    pixels          (3 N,) uint8         R, G, B of each pixel
    codes           (CHUNK,) uint32      z-order codes of a chunk of pixels; scratch
    table           (2**24,) uint8       by z-order code: 0 for no pixel, else (pixels - 1) mod 255 + 1
    fulls           (F,) uint32          code of a colour, for each 255 pixels that its byte dropped
    occupied        (32768,) uint8       1 for each cell of `table` that has a pixel; all 0 between images
    centers         (3, k) int32         R, G, B of the centres, Q8.6
    sums            (k, 4) int64         sums of R, G and B, and the pixel count, of each cluster

Why this way. The z-order code keeps similar colours together, and each colour has one byte in the table, so
that the two million random accesses of a photo stay in about a megabyte. The code also makes every aligned
cube of colours a range. Codes are computed for some thousand pixels at a time, 16 with an instruction, before
the table is accessed one pixel after the other. A Lloyd iteration over distinct colours assigns a whole cell
at once where one centre is nearest to all of its box (the filtering idea of Kanungo et al., IEEE PAMI 24,
2002, on a grid instead of a tree). The colours of the other cells are compared with the few centres that can
be nearest in the cell. Iterations over seeding points do the same with blocks of neighbours. Inner loops run
over contiguous int32 without branches, so that LLVM vectorises them; a squared distance is at most 8.0e8 and
fits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kseg_batch.kernels.jit import function, inlined, kernel

CELL_SIZE = 512
CELL_SHIFT = np.uint32(9)
CELL_REACH = 448  # Q8.6 side of a cell's box, from its lowest to its highest colour: 64 * 7
NARROW = 1 << 22  # with fewer pixels in a cell, sums of its Q8.6 offsets, 448 at most, fit int32
CUBE_SHIFT = 6  # 64 cells form a cube of 32 x 32 x 32 colours
MANY_CENTERS = 32  # more centres are first reduced to candidates for each cube
CUBE_REACH = 1984  # Q8.6 side of a cube's box: 64 * 31
MAX_DISTANCE = np.int32(2147483647)
FULL = 255  # pixels that a byte of the table counts before it restarts at 1
CHUNK = 4096  # pixels whose codes are computed at a time, and stay in the first-level cache
FEW_CENTERS = 3  # at most so many centres are compared for each pixel, which is faster than a table of labels
BLOCK = 64  # seeding points of a block
SCATTERED = 6  # from so many candidates on, the points of a block are added one by one


class Colors(NamedTuple):
    """A histogram, cell by cell.

    A cell holds 8 x 8 x 8 colours, whose z-order codes differ only in the low 9 bits.
    """

    cells: np.ndarray  # (m,) uint16, occupied cells, ascending: code >> 9
    starts: np.ndarray  # (m + 1,) int64, index of the first colour of each cell in slots and counts
    slots: np.ndarray  # (n,) uint16, low 9 bits of the code of each distinct colour, ascending in a cell
    counts: np.ndarray  # (n,) uint32 or int64, pixels of each distinct colour, > 0
    corners: np.ndarray  # (3, 32768) int32, R, G, B of the lowest corner of every cell, grey levels
    sums: np.ndarray  # (m, 4) int64, sums of R, G and B in grey levels, and the pixel count, of each cell


class Points(NamedTuple):
    """The seeding points in z-order, in blocks of 64 neighbours, each with its bounding box."""

    rgb: np.ndarray  # (3, p) int32, R, G, B, Q8.6
    weights: np.ndarray  # (p,) uint32, pixels, > 0, scaled to a sum near 2**32 at most
    labels: np.ndarray  # (p,) int32, nearest centre
    distances: np.ndarray  # (p,) int32, squared, to the nearest centre
    second: np.ndarray  # (p,) int32, squared, to the second nearest centre
    boxes: np.ndarray  # (m, 6) int32, least R, G, B and greatest R, G, B, Q8.6; the sides are even
    sums: np.ndarray  # (m, 4) int64, sums of weight * R, G, B and of weights, of each block
    squares: np.ndarray  # (m,) int64, sum of weight * (R**2 + G**2 + B**2), modulo 2**64
    costs: np.ndarray  # (m,) int64, sum of weight * distance
    reach: np.ndarray  # (m,) int32, greatest distance, or second distance, of the points of each block


class Rows(NamedTuple):
    """Scratch for the colours of one cell, and for the centres that can be nearest in the cell."""

    x: np.ndarray  # (512,) int32, Q8.6 offset from the corner of the cell; y and z likewise
    y: np.ndarray
    z: np.ndarray
    labels: np.ndarray  # (512,) int32; used for the points of a block, too, as are the squared distances
    distances: np.ndarray
    margins: np.ndarray  # (256,) int32
    candidates: np.ndarray  # (256,) int32
    near: np.ndarray  # (3, 256) int32, the centres that can be nearest in the cube of a cell
    numbers: np.ndarray  # (256,) int32, the numbers of these centres among all


# ---- colour histogram ------------------------------------------------------------------------------------


@inlined
def spread_bits(value):
    """Move bit `i` of an 8-bit value to bit `3 * i`."""
    value = np.uint32((value | (value << np.uint32(8))) & np.uint32(0x0F00F))
    value = np.uint32((value | (value << np.uint32(4))) & np.uint32(0x0C30C3))
    return np.uint32((value | (value << np.uint32(2))) & np.uint32(0x249249))


@inlined
def find_codes(pixels, codes):
    """Fill `codes` with the z-order codes of as many pixels."""
    for i in range(codes.shape[0]):
        red = spread_bits(np.uint32(pixels[3 * i]))
        green = spread_bits(np.uint32(pixels[3 * i + 1]))
        blue = spread_bits(np.uint32(pixels[3 * i + 2]))
        codes[i] = (red << np.uint32(2)) | (green << np.uint32(1)) | blue


@kernel
def count_colors(pixels, codes, table, occupied, fulls, n_fulls):
    """Add N pixels to the table; return the new number of entries in `fulls`, with room for N // 255 more."""
    n_pixels = pixels.shape[0] // 3
    for first in range(0, n_pixels, CHUNK):
        n = min(CHUNK, n_pixels - first)
        chunk = codes[:n]
        find_codes(pixels[3 * first : 3 * (first + n)], chunk)
        for i in range(n):
            code = chunk[i]
            count = table[code]
            if count == FULL:
                count = np.uint8(0)
                fulls[n_fulls] = code
                n_fulls += 1
            table[code] = count + np.uint8(1)
            occupied[code >> CELL_SHIFT] = np.uint8(1)
    return n_fulls


@kernel
def drain_table(table, occupied, packed, words, cells, starts, slots, counts):
    """Move the contents of the table to a histogram, clear the table, and return the number of colours.

    In an occupied cell, about one colour in seven occurs, at random, so a branch for each colour would be
    mispredicted. Instead, every slot is written, and the next slot overwrites it if the count was 0. Words of
    eight slots are treated likewise. Slot and count are packed into one number, so that each takes one store,
    and are separated 16 at a time. Indices are unsigned, because Numba tests signed indices for negative
    values.

    packed: (CELL_SIZE + 1,) uint32; words: (CELL_SIZE // 8 + 1,) uint32; scratch.
    """
    eights = table.view(np.uint64)
    m = 0
    first = 0
    for cell in range(occupied.shape[0]):
        if not occupied[cell]:
            continue
        occupied[cell] = np.uint8(0)
        cell_eights = eights[cell * CELL_SIZE // 8 : (cell + 1) * CELL_SIZE // 8]
        cell_bytes = table[cell * CELL_SIZE : (cell + 1) * CELL_SIZE]
        n_words = np.uint64(0)
        for word in range(CELL_SIZE // 8):
            words[n_words] = word
            n_words += np.uint64(cell_eights[word] != 0)
        end = np.uint64(0)
        for i in range(n_words):
            slot = np.uint64(words[i]) << np.uint64(3)
            for _ in range(8):
                count = cell_bytes[slot]
                packed[end] = (slot << np.uint64(8)) | np.uint64(count)
                end += np.uint64(count != 0)
                slot += np.uint64(1)
        cell_eights[:] = 0
        cells[m] = cell
        starts[m] = first
        m += 1
        n = np.int64(end)
        cell_slots, cell_counts = slots[first : first + n], counts[first : first + n]
        for i in range(n):
            cell_slots[i] = np.uint16(packed[i] >> np.uint32(8))
        for i in range(n):
            cell_counts[i] = packed[i] & np.uint32(255)
        first += n
    starts[m] = first
    return first


@kernel
def add_fulls(fulls, cells, starts, slots, counts):
    """Add 255 to the count of a colour for each of its entries in `fulls`."""
    for i in range(fulls.shape[0]):
        cell = np.uint16(fulls[i] >> CELL_SHIFT)
        slot = np.uint16(fulls[i] & np.uint32(CELL_SIZE - 1))
        c = find_sorted(cells, 0, cells.shape[0], cell)
        counts[find_sorted(slots, starts[c], starts[c + 1], slot)] += np.uint32(FULL)


@inlined
def find_sorted(values, first, end, value):
    """Return the index of a value among ascending values from `first` to `end` - 1, which contain it."""
    while end - first > 1:
        middle = (first + end) >> 1
        if values[middle] <= value:
            first = middle
        else:
            end = middle
    return first


@inlined
def find_offsets(slots, x_row, y_row, z_row):
    """Fill the rows with R, G and B of slots from the corner of the cell, Q8.6: every third bit each."""
    for i in range(slots.shape[0]):
        slot = np.int32(slots[i])
        x_row[i] = ((slot & 4) << 4) | ((slot & 32) << 2) | (slot & 256)
        y_row[i] = ((slot & 2) << 5) | ((slot & 16) << 3) | ((slot & 128) << 1)
        z_row[i] = ((slot & 1) << 6) | ((slot & 8) << 4) | ((slot & 64) << 2)


@kernel
def sum_cells(colors, rows):
    """Fill `colors.sums`; return the sum of squares of all channels of all pixels, in grey levels."""
    squares = np.int64(0)
    for c in range(colors.cells.shape[0]):
        cell = colors.cells[c]
        first, end = colors.starts[c], colors.starts[c + 1]
        n = end - first
        counts = colors.counts[first:end]
        x_row, y_row, z_row = rows.x[:n], rows.y[:n], rows.z[:n]
        find_offsets(colors.slots[first:end], x_row, y_row, z_row)
        sum_x, sum_y, sum_z, total = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        inner = np.int64(0)
        for i in range(n):
            count = np.int64(counts[i])
            x, y, z = np.int64(x_row[i]), np.int64(y_row[i]), np.int64(z_row[i])
            sum_x += count * x
            sum_y += count * y
            sum_z += count * z
            total += count
            inner += count * np.int64(np.int32(x * x + y * y + z * z) >> 12)
        sum_x, sum_y, sum_z = sum_x >> 6, sum_y >> 6, sum_z >> 6
        r = np.int64(colors.corners[0, cell])
        g = np.int64(colors.corners[1, cell])
        b = np.int64(colors.corners[2, cell])
        squares += inner + 2 * (r * sum_x + g * sum_y + b * sum_z) + total * (r * r + g * g + b * b)
        colors.sums[c, 0] = sum_x + total * r
        colors.sums[c, 1] = sum_y + total * g
        colors.sums[c, 2] = sum_z + total * b
        colors.sums[c, 3] = total
    return squares


# ---- seeding points --------------------------------------------------------------------------------------


@kernel
def count_cubes(colors, n_cubes):
    """Fill (levels,) `n_cubes` with the number of occupied cubes of side 1, 2, 4, ..."""
    n_cubes[:] = 0
    n_cubes[0] = colors.slots.shape[0]
    for c in range(colors.cells.shape[0]):
        pairs = np.int32(1)
        fours = np.int32(1)
        slots = colors.slots[colors.starts[c] : colors.starts[c + 1]]
        for i in range(slots.shape[0] - 1):
            changed = np.int32(slots[i] ^ slots[i + 1])
            pairs += np.int32(changed >= 8)
            fours += np.int32(changed >= 64)
        n_cubes[1] += pairs
        n_cubes[2] += fours
        cell = np.int64(colors.cells[c])
        before = np.int64(colors.cells[c - 1]) if c > 0 else np.int64(-1)
        for level in range(3, n_cubes.shape[0]):
            n_cubes[level] += (cell >> (3 * (level - 3))) != (before >> (3 * (level - 3)))


@kernel
def sum_cubes(colors, level, rows, cubes, sums):
    """Fill `cubes` and `sums` for the occupied cubes of side 2**level.

    The sums of cubes that are a cell or larger are added up from the sums of cells. level: 0 to 5; cubes:
    (p,) int64, z-order code >> 3 * level, ascending; sums: (p, 4) int64, channel sums and pixel count, all 0
    before.
    """
    p = -1
    cube = np.int64(-1)
    for c in range(colors.cells.shape[0]):
        cell = np.int64(colors.cells[c])
        if level >= 3:
            if cell >> (3 * (level - 3)) != cube:
                cube = cell >> (3 * (level - 3))
                p += 1
                cubes[p] = cube
            for column in range(4):
                sums[p, column] += colors.sums[c, column]
            continue
        first, end = colors.starts[c], colors.starts[c + 1]
        slots, counts = colors.slots[first:end], colors.counts[first:end]
        x_row, y_row, z_row = rows.x[: end - first], rows.y[: end - first], rows.z[: end - first]
        find_offsets(slots, x_row, y_row, z_row)
        r, g, b = colors.corners[0, cell], colors.corners[1, cell], colors.corners[2, cell]
        i = 0
        while i < end - first:
            cube = np.int64(slots[i]) >> (3 * level)
            begin = i
            while i < end - first and np.int64(slots[i]) >> (3 * level) == cube:
                i += 1
            sum_x, sum_y, sum_z, total = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
            for q in range(begin, i):
                count = np.int64(counts[q])
                sum_x += count * x_row[q]
                sum_y += count * y_row[q]
                sum_z += count * z_row[q]
                total += count
            p += 1
            cubes[p] = (cell << (9 - 3 * level)) | cube
            sums[p, 0] = (sum_x >> 6) + total * r
            sums[p, 1] = (sum_y >> 6) + total * g
            sums[p, 2] = (sum_z >> 6) + total * b
            sums[p, 3] = total


@kernel
def merge_cubes(cubes, sums, levels, merged):
    """Add up the sums of the cubes in each cube `levels` levels larger.

    merged: (q, 4) int64, all 0 before.
    """
    q = -1
    last = np.int64(-1)
    for p in range(cubes.shape[0]):
        if cubes[p] >> (3 * levels) != last:
            last = cubes[p] >> (3 * levels)
            q += 1
        for column in range(4):
            merged[q, column] += sums[p, column]


@kernel
def mean_points(sums, weight_shift, points):
    """Fill `points` from (p, 4) int64 sums: rounded mean colours, scaled weights, and the data of blocks."""
    for p in range(sums.shape[0]):
        total = sums[p, 3]
        for channel in range(3):
            points.rgb[channel, p] = np.uint64(128 * sums[p, channel] + total) // np.uint64(2 * total)
        points.weights[p] = max(total >> weight_shift, 1)
    points.sums[:] = 0
    points.squares[:] = 0
    for block in range(points.boxes.shape[0]):
        first = block * BLOCK
        end = min(first + BLOCK, sums.shape[0])
        for channel in range(3):
            low = points.rgb[channel, first]
            high = low
            for p in range(first, end):
                value = points.rgb[channel, p]
                low = min(low, value)
                high = max(high, value)
                part = np.int64(points.weights[p]) * value
                points.sums[block, channel] += part
                points.squares[block] += part * value
            points.boxes[block, channel] = low
            points.boxes[block, 3 + channel] = high + ((high - low) & 1)
        for p in range(first, end):
            points.sums[block, 3] += np.int64(points.weights[p])


# ---- random numbers --------------------------------------------------------------------------------------


@function
def splitmix64(seed, index):
    """Return number `index` of the SplitMix64 sequence of `seed`; all uint64."""
    z = seed + (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@function
def draw_below(bound, seed, index):
    """Return a random int64 in 0 .. bound - 1: the high 64 bits of random * bound, computed by halves."""
    mask = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    a = splitmix64(seed, np.uint64(index))
    b = np.uint64(bound)
    middle = (a >> half) * (b & mask) + (((a & mask) * (b & mask)) >> half)
    carry = (a & mask) * (b >> half) + (middle & mask)
    return np.int64((a >> half) * (b >> half) + (middle >> half) + (carry >> half))


# ---- candidates: centres that can be nearest -------------------------------------------------------------


@inlined
def find_candidates(x, y, z, side_x, side_y, side_z, centers, k, margins, candidates):
    """Fill `candidates` with those of the first k centres, ascending, that can be nearest in a box.

    Let `o` be the centre nearest to the middle (x, y, z) of the box. The difference of the squared distances
    to centre `j` and to `o` is linear over the box. So its least value is the difference in the middle less
    the sum over the channels of side * |c_j - c_o|. If this value is positive, `j` is nearest nowhere in the
    box. If the value is 0, `j` at best ties with `o`, and the lower index wins a tie.

    margins, candidates: (256,) int32; `margins` is scratch.

    Returns:
        The number of candidates.
    """
    least = MAX_DISTANCE
    for j in range(k):
        dx = x - centers[0, j]
        dy = y - centers[1, j]
        dz = z - centers[2, j]
        d = np.int32(dx * dx + dy * dy + dz * dz)
        margins[j] = d
        least = min(least, d)
    owner = 0
    while margins[owner] != least:
        owner += 1
    x, y, z = centers[0, owner], centers[1, owner], centers[2, owner]
    for j in range(k):
        dx = abs(np.int32(centers[0, j] - x))
        dy = abs(np.int32(centers[1, j] - y))
        dz = abs(np.int32(centers[2, j] - z))
        reach = np.int32(side_x * dx + side_y * dy + side_z * dz)
        margins[j] = np.int32(margins[j] - least - reach + (1 if j > owner else 0))
    n = 0
    for j in range(k):
        candidates[n] = j
        n += margins[j] <= 0
    return n


@inlined
def label_nearer(x_row, y_row, z_row, n, x, y, z, label, labels, distances):
    """Give the label to those of the first n colours to which (x, y, z) is nearer than any centre before."""
    for i in range(n):
        dx = x_row[i] - x
        dy = y_row[i] - y
        dz = z_row[i] - z
        d = np.int32(dx * dx + dy * dy + dz * dz)
        labels[i] = label if d < distances[i] else labels[i]
        distances[i] = min(d, distances[i])


# ---- k-means on the seeding points -----------------------------------------------------------------------


@function
def copy_centers(source, target):
    """Copy (3, k) centres to the first k places of the target."""
    for channel in range(3):
        for j in range(source.shape[1]):
            target[channel, j] = source[channel, j]


@inlined
def mass(weight, distance):
    """Return the int64 product of a weight and a squared distance."""
    return np.int64(np.uint64(weight) * np.uint64(np.uint32(distance)))


@inlined
def distance_to_box(boxes, block, x, y, z):
    """Return the squared distance from a colour to the nearest place in the box of a block."""
    dx = max(boxes[block, 0] - x, x - boxes[block, 3], 0)
    dy = max(boxes[block, 1] - y, y - boxes[block, 4], 0)
    dz = max(boxes[block, 2] - z, z - boxes[block, 5], 0)
    return dx * dx + dy * dy + dz * dz


@function
def pick_point(points, seed, index):
    """Return a random point, drawn with a probability proportional to its weight * distance."""
    total = np.int64(0)
    for block in range(points.costs.shape[0]):
        total += points.costs[block]
    target = draw_below(total, seed, index)
    block = 0
    while block < points.costs.shape[0] - 1 and points.costs[block] <= target:
        target -= points.costs[block]
        block += 1
    i = block * BLOCK
    last = min(i + BLOCK, points.weights.shape[0]) - 1
    while i < last:
        target -= mass(points.weights[i], points.distances[i])
        if target < 0:
            break
        i += 1
    return i


@function
def cost_with(points, pick):
    """Return the cost that would remain with an additional centre at the point `pick`."""
    x, y, z = points.rgb[0, pick], points.rgb[1, pick], points.rgb[2, pick]
    cost = np.int64(0)
    for block in range(points.costs.shape[0]):
        if distance_to_box(points.boxes, block, x, y, z) >= points.reach[block]:
            cost += points.costs[block]
            continue
        first = block * BLOCK
        end = min(first + BLOCK, points.weights.shape[0])
        x_row, y_row, z_row = points.rgb[0, first:end], points.rgb[1, first:end], points.rgb[2, first:end]
        weights, distances = points.weights[first:end], points.distances[first:end]
        for i in range(end - first):
            dx = x_row[i] - x
            dy = y_row[i] - y
            dz = z_row[i] - z
            cost += mass(weights[i], min(np.int32(dx * dx + dy * dy + dz * dz), distances[i]))
    return cost


@function
def add_center(points, pick):
    """Update distances, costs and reach for an additional centre at the point `pick`."""
    x, y, z = points.rgb[0, pick], points.rgb[1, pick], points.rgb[2, pick]
    for block in range(points.costs.shape[0]):
        if distance_to_box(points.boxes, block, x, y, z) >= points.reach[block]:
            continue
        first = block * BLOCK
        end = min(first + BLOCK, points.weights.shape[0])
        x_row, y_row, z_row = points.rgb[0, first:end], points.rgb[1, first:end], points.rgb[2, first:end]
        weights, distances = points.weights[first:end], points.distances[first:end]
        cost = np.int64(0)
        reach = np.int32(0)
        for i in range(end - first):
            dx = x_row[i] - x
            dy = y_row[i] - y
            dz = z_row[i] - z
            d = min(np.int32(dx * dx + dy * dy + dz * dz), distances[i])
            distances[i] = d
            reach = max(reach, d)
            cost += mass(weights[i], d)
        points.costs[block] = cost
        points.reach[block] = reach


@function
def kmeans_plus_plus(points, seed, stream, trials, centers):
    """Fill `centers` by greedy k-means++: take the best of `trials` points drawn by weight * distance."""
    points.distances[:] = np.int32(1)
    for block in range(points.costs.shape[0]):
        points.costs[block] = points.sums[block, 3]
    for c in range(centers.shape[1]):
        best_cost = np.int64(-1)
        best = 0
        for t in range(1 if c == 0 else trials):
            pick = pick_point(points, seed, stream | (c << 8) | t)
            cost = cost_with(points, pick) if c > 0 else np.int64(0)
            if best_cost < 0 or cost < best_cost:
                best_cost = cost
                best = pick
        if c == 0:
            points.distances[:] = MAX_DISTANCE
            points.reach[:] = MAX_DISTANCE
        add_center(points, best)
        for channel in range(3):
            centers[channel, c] = points.rgb[channel, best]


@inlined
def sum_labelled(labels, label, n, weights, x_row, y_row, z_row):
    """Return the sums of weight * x, y, z and of weights over the first n colours with the label."""
    sum_x, sum_y, sum_z, total = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(n):
        weight = np.uint64(weights[i]) if labels[i] == label else np.uint64(0)
        sum_x += np.int64(weight * np.uint64(np.uint32(x_row[i])))
        sum_y += np.int64(weight * np.uint64(np.uint32(y_row[i])))
        sum_z += np.int64(weight * np.uint64(np.uint32(z_row[i])))
        total += np.int64(weight)
    return sum_x, sum_y, sum_z, total


@inlined
def sum_labelled_narrow(labels, label, n, weights, x_row, y_row, z_row):
    """Return the same sums as `sum_labelled`, twice as fast, if they fit int32."""
    sum_x, sum_y, sum_z, total = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for i in range(n):
        weight = np.int32(weights[i]) if labels[i] == label else np.int32(0)
        sum_x = np.int32(sum_x + weight * x_row[i])
        sum_y = np.int32(sum_y + weight * y_row[i])
        sum_z = np.int32(sum_z + weight * z_row[i])
        total = np.int32(total + weight)
    return np.int64(sum_x), np.int64(sum_y), np.int64(sum_z), np.int64(total)


@function
def sum_points(points, centers, rows, sums):
    """Fill `sums` with the sums of weight * R, G, B and of weights of the clusters of the given centres."""
    sums[:] = 0
    boxes = points.boxes
    for block in range(boxes.shape[0]):
        side_x = boxes[block, 3] - boxes[block, 0]
        side_y = boxes[block, 4] - boxes[block, 1]
        side_z = boxes[block, 5] - boxes[block, 2]
        x = boxes[block, 0] + (side_x >> 1)
        y = boxes[block, 1] + (side_y >> 1)
        z = boxes[block, 2] + (side_z >> 1)
        n_candidates = find_candidates(
            x, y, z, side_x, side_y, side_z, centers, centers.shape[1], rows.margins, rows.candidates
        )
        last = rows.candidates[n_candidates - 1]
        if n_candidates < SCATTERED:
            for column in range(4):
                sums[last, column] += points.sums[block, column]
        if n_candidates == 1:
            continue
        first = block * BLOCK
        end = min(first + BLOCK, points.weights.shape[0])
        n = end - first
        x_row, y_row, z_row = points.rgb[0, first:end], points.rgb[1, first:end], points.rgb[2, first:end]
        weights = points.weights[first:end]
        for i in range(n):
            rows.distances[i] = MAX_DISTANCE
        for q in range(n_candidates):
            j = rows.candidates[q]
            x, y, z = centers[0, j], centers[1, j], centers[2, j]
            label_nearer(x_row, y_row, z_row, n, x, y, z, j, rows.labels, rows.distances)
        if n_candidates < SCATTERED:
            for q in range(n_candidates - 1):  # the last candidate got the whole block: subtract the others
                j = rows.candidates[q]
                part = sum_labelled(rows.labels, j, n, weights, x_row, y_row, z_row)
                for column in range(4):
                    sums[j, column] += part[column]
                    sums[last, column] -= part[column]
        else:
            for i in range(n):
                j = rows.labels[i]
                weight = np.int64(weights[i])
                sums[j, 0] += weight * x_row[i]
                sums[j, 1] += weight * y_row[i]
                sums[j, 2] += weight * z_row[i]
                sums[j, 3] += weight


@function
def cost_of(points, centers, sums):
    """Return the sum of weight * distance, from the sums of the clusters.

    It is below 2**64, so it may wrap on the way.
    """
    cost = np.int64(0)
    for block in range(points.squares.shape[0]):
        cost += points.squares[block]
    for j in range(centers.shape[1]):
        for channel in range(3):
            center = np.int64(centers[channel, j])
            cost += center * (center * sums[j, 3] - 2 * sums[j, channel])
    return cost


@function
def move_centers(sums, unit, centers):
    """Move centres to the means of their clusters; the centre of an empty cluster stays.

    unit: Q8.6 units per unit of the sums.

    Returns:
        The greatest squared shift, and the number of empty clusters.
    """
    shift = np.int64(0)
    empty = 0
    for j in range(centers.shape[1]):
        count = sums[j, 3]
        if count == 0:
            empty += 1
            continue
        moved = np.int64(0)
        for channel in range(3):
            mean = np.int64(np.uint64(2 * unit * sums[j, channel] + count) // np.uint64(2 * count))
            moved += (mean - centers[channel, j]) ** 2
            centers[channel, j] = mean
        shift = max(shift, moved)
    return shift, empty


@function
def move_empty(points, before, sums, centers):
    """Move the centres of empty clusters to the points that are farthest from their nearest `before` centres.

    On a tie, the lowest (R, G, B) is taken. The code is plain and slow, because empty clusters are rare.
    """
    taken = np.zeros(points.weights.shape[0], np.uint8)
    for empty in range(centers.shape[1]):
        if sums[empty, 3] > 0:
            continue
        far = 0
        far_distance = np.int64(-1)
        for i in range(points.weights.shape[0]):
            distance = np.int64(MAX_DISTANCE)
            for j in range(before.shape[1]):
                dx = points.rgb[0, i] - before[0, j]
                dy = points.rgb[1, i] - before[1, j]
                dz = points.rgb[2, i] - before[2, j]
                distance = min(distance, np.int64(dx * dx + dy * dy + dz * dz))
            if taken[i]:
                distance = np.int64(0)
            if distance > far_distance or (distance == far_distance and is_below(points.rgb, i, far)):
                far = i
                far_distance = distance
        taken[far] = np.uint8(1)
        for channel in range(3):
            centers[channel, empty] = points.rgb[channel, far]


@function
def is_below(rgb, i, j):
    """Return whether the (R, G, B) of colour i is lower than the (R, G, B) of colour j."""
    for channel in range(3):
        if rgb[channel, i] != rgb[channel, j]:
            return rgb[channel, i] < rgb[channel, j]
    return False


@function
def lloyd_points(points, max_iter, max_shift, centers, before, rows, sums):
    """Run Lloyd's algorithm on seeding points; return the final cost.

    before: (3, k) int32, scratch.
    """
    for _ in range(max_iter):
        sum_points(points, centers, rows, sums)
        copy_centers(centers, before)
        shift, empty = move_centers(sums, 1, centers)
        if shift <= max_shift and empty == 0:
            if shift == 0:
                return cost_of(points, centers, sums)
            break
        if empty:
            move_empty(points, before, sums, centers)
    sum_points(points, centers, rows, sums)
    return cost_of(points, centers, sums)


@kernel
def start_centers(
    coarse, fine, seed, attempts, trials, max_iter, max_shift, centers, candidate, before, rows, sums
):
    """Fill `centers` with the best result of several k-means++ starts; return its cost on the fine points.

    Each start converges first on the coarse points, then on the fine points. candidate, before: (3, k) int32,
    scratch.
    """
    best = np.int64(-1)
    for attempt in range(attempts):
        kmeans_plus_plus(coarse, seed, attempt << 16, trials, candidate)
        lloyd_points(coarse, max_iter, max_shift, candidate, before, rows, sums)
        cost = lloyd_points(fine, max_iter, max_shift, candidate, before, rows, sums)
        if best < 0 or cost < best:
            best = cost
            copy_centers(candidate, centers)
    return best


@function
def find_two_nearest(points, centers, rows, losses):
    """Find the two nearest centres of each point: fill labels, the lowest on a tie, and both distances.

    `costs` is updated. `reach` becomes the greatest second distance of each block. (k,) int64 `losses`
    receives the cost of removing each centre. A centre is skipped for a block if its least distance to the
    box is greater than the second smallest of the greatest distances of all centres: no point of the block
    has it among its nearest two.
    """
    losses[:] = 0
    boxes = points.boxes
    for block in range(boxes.shape[0]):
        smallest, limit = np.int32(MAX_DISTANCE), np.int32(MAX_DISTANCE)
        for j in range(centers.shape[1]):
            x, y, z = centers[0, j], centers[1, j], centers[2, j]
            dx = max(x - boxes[block, 0], boxes[block, 3] - x)
            dy = max(y - boxes[block, 1], boxes[block, 4] - y)
            dz = max(z - boxes[block, 2], boxes[block, 5] - z)
            greatest = np.int32(dx * dx + dy * dy + dz * dz)
            limit = min(limit, max(smallest, greatest))
            smallest = min(smallest, greatest)
        first = block * BLOCK
        end = min(first + BLOCK, points.weights.shape[0])
        x_row, y_row, z_row = points.rgb[0, first:end], points.rgb[1, first:end], points.rgb[2, first:end]
        labels, weights = points.labels[first:end], points.weights[first:end]
        distances, second = points.distances[first:end], points.second[first:end]
        distances[:] = MAX_DISTANCE
        second[:] = MAX_DISTANCE
        for j in range(centers.shape[1]):
            x, y, z, label = centers[0, j], centers[1, j], centers[2, j], np.int32(j)
            if distance_to_box(boxes, block, x, y, z) > limit:
                continue
            for i in range(end - first):
                dx = x_row[i] - x
                dy = y_row[i] - y
                dz = z_row[i] - z
                d = np.int32(dx * dx + dy * dy + dz * dz)
                second[i] = min(second[i], max(d, distances[i]))
                labels[i] = label if d < distances[i] else labels[i]
                distances[i] = min(d, distances[i])
        cost = np.int64(0)
        reach = np.int32(0)
        for i in range(end - first):
            cost += mass(weights[i], distances[i])
            reach = max(reach, second[i])
            losses[labels[i]] += mass(weights[i], second[i] - distances[i])
        points.costs[block] = cost
        points.reach[block] = reach


@function
def least_missed(points, pick, losses, without):
    """Return the centre whose removal costs least after an additional centre at the point `pick`.

    losses: (k,) int64, from `find_two_nearest`; without: (k,) int64, scratch.
    """
    x, y, z = points.rgb[0, pick], points.rgb[1, pick], points.rgb[2, pick]
    without[:] = losses
    for block in range(points.costs.shape[0]):
        if distance_to_box(points.boxes, block, x, y, z) >= points.reach[block]:
            continue
        for i in range(block * BLOCK, min((block + 1) * BLOCK, points.weights.shape[0])):
            dx = points.rgb[0, i] - x
            dy = points.rgb[1, i] - y
            dz = points.rgb[2, i] - z
            d = max(np.int32(dx * dx + dy * dy + dz * dz), points.distances[i])
            if d < points.second[i]:
                without[points.labels[i]] -= mass(points.weights[i], points.second[i] - d)
    least = 0
    for j in range(1, without.shape[0]):
        if without[j] < without[least]:
            least = j
    return least


@kernel
def swap_centers(
    points,
    seed,
    stream,
    rounds,
    patience,
    max_iter,
    max_shift,
    cost,
    centers,
    candidate,
    before,
    rows,
    sums,
    losses,
    without,
):
    """Improve `centers`, of the given cost, by random swaps: a new centre replaces the least missed one.

    candidate, before: (3, k) int32; losses, without: (k,) int64; scratch.
    """
    failures = 0
    find_two_nearest(points, centers, rows, losses)
    for swap in range(rounds):
        if cost == 0 or failures == patience:
            break
        pick = pick_point(points, seed, stream | swap)
        least = least_missed(points, pick, losses, without)
        copy_centers(centers, candidate)
        for channel in range(3):
            candidate[channel, least] = points.rgb[channel, pick]
        new_cost = lloyd_points(points, max_iter, max_shift, candidate, before, rows, sums)
        failures += 1
        if new_cost < cost:
            failures = 0
            cost = new_cost
            copy_centers(candidate, centers)
            find_two_nearest(points, centers, rows, losses)


# ---- exact Lloyd iterations over the distinct colours ----------------------------------------------------


@inlined
def box_candidates(corners, cell, reach, centers, k, margins, candidates):
    """Run `find_candidates` for the cube of side `reach` at the lowest corner of a cell."""
    half, side = reach // 2, np.int32(reach)
    x = np.int32(64 * corners[0, cell] + half)
    y = np.int32(64 * corners[1, cell] + half)
    z = np.int32(64 * corners[2, cell] + half)
    return find_candidates(x, y, z, side, side, side, centers, k, margins, candidates)


@function
def find_near(cube, corners, centers, rows):
    """Fill `rows.near` and `rows.numbers` with the centres that can be nearest in a cube; return the number.

    No other centre can be nearest in a cell of the cube. Of 256 centres, a cell is then compared with about
    40.
    """
    k = centers.shape[1]
    n = box_candidates(corners, cube << CUBE_SHIFT, CUBE_REACH, centers, k, rows.margins, rows.candidates)
    for i in range(n):
        j = rows.candidates[i]
        rows.numbers[i] = j
        for channel in range(3):
            rows.near[channel, i] = centers[channel, j]
    return n


@inlined
def near_candidates(corners, cell, near, numbers, n_near, margins, candidates):
    """Fill `candidates` with the centres that can be nearest in a cell; return the number."""
    n = box_candidates(corners, cell, CELL_REACH, near, n_near, margins, candidates)
    for i in range(n):
        candidates[i] = numbers[candidates[i]]
    return n


@inlined
def label_rows(rows, n, r, g, b, centers, n_candidates):
    """Label the first n colours of `rows`, in the cell at corner (r, g, b), with the nearest candidates."""
    for i in range(n):
        rows.distances[i] = MAX_DISTANCE
    for q in range(n_candidates):
        j = rows.candidates[q]
        x = np.int32(centers[0, j] - 64 * r)
        y = np.int32(centers[1, j] - 64 * g)
        z = np.int32(centers[2, j] - 64 * b)
        label_nearer(rows.x, rows.y, rows.z, n, x, y, z, j, rows.labels, rows.distances)


@kernel
def sum_clusters(colors, centers, rows, sums):
    """Fill `sums` with the channel sums and pixel counts of the clusters of the given centres."""
    sums[:] = 0
    margins, candidates, near, numbers = rows.margins, rows.candidates, rows.near, rows.numbers
    corners = colors.corners
    cube, n_near = np.int64(-1), 0
    for c in range(colors.cells.shape[0]):
        cell = np.int64(colors.cells[c])
        r, g, b = corners[0, cell], corners[1, cell], corners[2, cell]
        if centers.shape[1] <= MANY_CENTERS:
            n_candidates = box_candidates(
                corners, cell, CELL_REACH, centers, centers.shape[1], margins, candidates
            )
        else:
            if cell >> CUBE_SHIFT != cube:
                cube = cell >> CUBE_SHIFT
                n_near = find_near(cube, corners, centers, rows)
            n_candidates = near_candidates(corners, cell, near, numbers, n_near, margins, candidates)
        last = candidates[n_candidates - 1]
        for column in range(4):
            sums[last, column] += colors.sums[c, column]
        if n_candidates == 1:
            continue
        first = colors.starts[c]
        n = colors.starts[c + 1] - first
        find_offsets(colors.slots[first : first + n], rows.x, rows.y, rows.z)
        label_rows(rows, n, r, g, b, centers, n_candidates)
        narrow = colors.sums[c, 3] < NARROW
        for q in range(n_candidates - 1):  # the last candidate got the whole cell: subtract the others
            j = candidates[q]
            counts = colors.counts[first : first + n]
            if narrow:
                part = sum_labelled_narrow(rows.labels, j, n, counts, rows.x, rows.y, rows.z)
            else:
                part = sum_labelled(rows.labels, j, n, counts, rows.x, rows.y, rows.z)
            sum_r, sum_g, sum_b, total = part
            part = ((sum_r >> 6) + total * r, (sum_g >> 6) + total * g, (sum_b >> 6) + total * b, total)
            for column in range(4):
                sums[j, column] += part[column]
                sums[last, column] -= part[column]


@function
def farthest_color(colors, centers, rows, taken, n_taken):
    """Return the position and the R, G, B of the colour farthest from its nearest centre.

    The colours in `taken` count as distance 0. On a tie, the lowest (R, G, B) is taken. The code is plain and
    slow, because empty clusters are rare.
    """
    best_distance = np.int64(-1)
    best_packed = np.int64(0)
    position = np.int64(-1)
    for c in range(colors.cells.shape[0]):
        cell = colors.cells[c]
        first, end = colors.starts[c], colors.starts[c + 1]
        find_offsets(colors.slots[first:end], rows.x, rows.y, rows.z)
        for i in range(first, end):
            x = np.int64(colors.corners[0, cell] + (rows.x[i - first] >> 6))
            y = np.int64(colors.corners[1, cell] + (rows.y[i - first] >> 6))
            z = np.int64(colors.corners[2, cell] + (rows.z[i - first] >> 6))
            packed = (x << 16) | (y << 8) | z
            distance = np.int64(MAX_DISTANCE)
            for j in range(centers.shape[1]):
                dx = 64 * x - centers[0, j]
                dy = 64 * y - centers[1, j]
                dz = 64 * z - centers[2, j]
                distance = min(distance, dx * dx + dy * dy + dz * dz)
            for t in range(n_taken):
                if taken[t] == i:
                    distance = np.int64(0)
            if distance > best_distance or (distance == best_distance and packed < best_packed):
                best_distance = distance
                best_packed = packed
                position = i
    return position, best_packed >> 16, (best_packed >> 8) & 255, best_packed & 255


@kernel
def lloyd_colors(colors, max_iter, max_shift, centers, before, rows, sums, taken):
    """Run Lloyd's algorithm over all distinct colours; return the number of iterations.

    before: (3, k) int32; taken: (k,) int64; scratch.
    """
    for iteration in range(max_iter):
        sum_clusters(colors, centers, rows, sums)
        copy_centers(centers, before)
        shift, empty = move_centers(sums, 64, centers)
        if shift <= max_shift and empty == 0:
            return iteration + 1
        n_taken = 0
        for j in range(centers.shape[1] if empty else 0):
            if sums[j, 3] == 0:
                position, r, g, b = farthest_color(colors, before, rows, taken, n_taken)
                taken[n_taken] = position
                n_taken += 1
                centers[0, j] = 64 * r
                centers[1, j] = 64 * g
                centers[2, j] = 64 * b
    return max_iter


# ---- labels ----------------------------------------------------------------------------------------------


@kernel
def fill_lookup(colors, centers, rows, lookup):
    """Fill `lookup` with the labels of the colours of a histogram.

    lookup: (2**24,) uint8, by z-order code.
    """
    margins, candidates, near, numbers = rows.margins, rows.candidates, rows.near, rows.numbers
    corners = colors.corners
    cube, n_near = np.int64(-1), 0
    for c in range(colors.cells.shape[0]):
        cell = np.int64(colors.cells[c])
        labels = lookup[cell * CELL_SIZE : (cell + 1) * CELL_SIZE]
        r, g, b = corners[0, cell], corners[1, cell], corners[2, cell]
        if centers.shape[1] <= MANY_CENTERS:
            n_candidates = box_candidates(
                corners, cell, CELL_REACH, centers, centers.shape[1], margins, candidates
            )
        else:
            if cell >> CUBE_SHIFT != cube:
                cube = cell >> CUBE_SHIFT
                n_near = find_near(cube, corners, centers, rows)
            n_candidates = near_candidates(corners, cell, near, numbers, n_near, margins, candidates)
        if n_candidates == 1:
            labels[:] = np.uint8(candidates[0])
            continue
        first = colors.starts[c]
        n = colors.starts[c + 1] - first
        find_offsets(colors.slots[first : first + n], rows.x, rows.y, rows.z)
        label_rows(rows, n, r, g, b, centers, n_candidates)
        for i in range(n):
            labels[colors.slots[first + i]] = rows.labels[i]


@kernel
def look_up(pixels, codes, lookup, labels):
    """Label pixels with a table that holds all their colours. labels: (N,) uint8."""
    for first in range(0, labels.shape[0], CHUNK):
        n = min(CHUNK, labels.shape[0] - first)
        chunk = codes[:n]
        find_codes(pixels[3 * first : 3 * (first + n)], chunk)
        part = labels[first : first + n]
        for i in range(n):
            part[i] = lookup[chunk[i]]


@function
def label_cell(cell, corners, slots, centers, rows, lookup):
    """Fill the 512 entries of `lookup` for one cell. slots: (512,) uint16, 0 to 511."""
    r, g, b = corners[0, cell], corners[1, cell], corners[2, cell]
    k = centers.shape[1]
    n_candidates = box_candidates(corners, cell, CELL_REACH, centers, k, rows.margins, rows.candidates)
    if n_candidates == 1:
        rows.labels[:] = rows.candidates[0]
    else:
        find_offsets(slots, rows.x, rows.y, rows.z)
        label_rows(rows, CELL_SIZE, r, g, b, centers, n_candidates)
    for slot in range(CELL_SIZE):
        lookup[cell * CELL_SIZE + slot] = rows.labels[slot]


@kernel
def fill_and_look_up(pixels, codes, corners, slots, centers, rows, ready, lookup, labels):
    """Label pixels with a table whose cells are filled when they are first needed.

    ready: (32768,) uint8, 1 for each filled cell of `lookup`; labels: (N,) uint8.
    """
    for first in range(0, labels.shape[0], CHUNK):
        n = min(CHUNK, labels.shape[0] - first)
        chunk = codes[:n]
        find_codes(pixels[3 * first : 3 * (first + n)], chunk)
        part = labels[first : first + n]
        for i in range(n):
            code = chunk[i]
            cell = code >> CELL_SHIFT
            if not ready[cell]:
                ready[cell] = np.uint8(1)
                label_cell(np.int64(cell), corners, slots, centers, rows, lookup)
            part[i] = lookup[code]


@kernel
def compare(pixels, differences, thresholds, labels):
    """Label pixels by comparing up to three centres with each other. labels: (N,) uint8.

    Centre `j` is nearer than centre `i` if 128 x . (c_j - c_i) > c_j . c_j - c_i . c_i: that is, if x . (c_j
    - c_i) is at least the next integer above the right side divided by 128. No value exceeds 3 * 255 * 16320,
    which is below 2**24, so float32 is exact, and twice as fast as int32.

    differences: (3, 3) float32, c_1 - c_0, c_2 - c_0, c_2 - c_1; thresholds: (3,) float32.
    """
    x10, y10, z10 = differences[0, 0], differences[0, 1], differences[0, 2]
    x20, y20, z20 = differences[1, 0], differences[1, 1], differences[1, 2]
    x21, y21, z21 = differences[2, 0], differences[2, 1], differences[2, 2]
    t10, t20, t21 = thresholds[0], thresholds[1], thresholds[2]
    for first in range(0, labels.shape[0], CHUNK):
        n = min(CHUNK, labels.shape[0] - first)
        chunk = pixels[3 * first : 3 * (first + n)]
        part = labels[first : first + n]
        for i in range(n):
            r, g, b = np.float32(chunk[3 * i]), np.float32(chunk[3 * i + 1]), np.float32(chunk[3 * i + 2])
            one = r * x10 + g * y10 + b * z10 >= t10
            two = r * x21 + g * y21 + b * z21 >= t21 if one else r * x20 + g * y20 + b * z20 >= t20
            part[i] = np.uint8(2) if two else (np.uint8(1) if one else np.uint8(0))


# ---- packed label maps -----------------------------------------------------------------------------------


@inlined
def pack_index(labels, width, bits, packed):
    """Pack a row of labels, the leftmost in the highest bits. labels: (8 * n,) uint8, 0 from `width` on.

    Two or four neighbours are read as one integer, and one multiplication brings their bits together: for two
    labels, bits 8 to 15 of (a + 256 b) * (2**12 + 1) hold 16 a + b.
    """
    if bits == 1:
        pack_mask(labels, width, 1, packed)
        return
    if bits == 2:
        fours = labels.view(np.uint32)
        for i in range(packed.shape[0]):
            packed[i] = np.uint8(np.uint32(fours[i] * np.uint32(0x40100401)) >> np.uint32(24))
    elif bits == 4:
        pairs = labels.view(np.uint16)
        for i in range(packed.shape[0]):
            packed[i] = np.uint8((np.uint32(pairs[i]) * np.uint32(0x1001)) >> np.uint32(8))
    else:
        for i in range(packed.shape[0]):
            packed[i] = labels[i]


@inlined
def pack_mask(labels, width, label, packed):
    """Pack a row into one bit per pixel, 1 where the pixel has the label. labels: (8 * n,) uint8.

    Each byte of `other` has its highest bit set if the label of the pixel differs. One multiplication brings
    the eight bits together.
    """
    eights = labels.view(np.uint64)
    low = np.uint64(0x7F7F7F7F7F7F7F7F)
    pattern = np.uint64(label) * np.uint64(0x0101010101010101)
    for i in range(packed.shape[0]):
        difference = eights[i] ^ pattern
        other = ((difference & low) + low) | difference
        ones = (~other >> np.uint64(7)) & np.uint64(0x0101010101010101)
        packed[i] = np.uint8((ones * np.uint64(0x8040201008040201)) >> np.uint64(56))
    if width & 7:  # clear the bits behind the last pixel
        packed[packed.shape[0] - 1] &= np.uint8(0xFF00 >> (width & 7))


@kernel
def label_rows_packed(pixels, few, differences, thresholds, codes, lookup, row, width, bits, index, masks):
    """Label rows of pixels and pack them while they are in the first-level cache.

    few: whether to use `compare` instead of `look_up`; row: (8 * n,) uint8, scratch, 0 from `width` on;
    index: (H, row_bytes(width, bits)) uint8; masks: (k or 0, H, row_bytes(width, 1)) uint8. The first column
    of `index` and of `masks` is all 0 before, and stays so.
    """
    for y in range(index.shape[0]):
        line = pixels[3 * width * y : 3 * width * (y + 1)]
        if few:
            compare(line, differences, thresholds, row[:width])
        else:
            look_up(line, codes, lookup, row[:width])
        pack_index(row, width, bits, index[y, 1:])
        for j in range(masks.shape[0]):
            pack_mask(row, width, j, masks[j, y, 1:])
