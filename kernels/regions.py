"""CPU kernels in Numba that clean label maps: a majority filter, and the merging of small regions.

The kernels run in one thread and release the GIL, like those of `numba_cpu.py`. All arrays are C-contiguous
and come from the caller.

    labels      (H, W) uint8             cluster of each pixel, below k; k for a pixel in no cluster
    runs        (n + 1, 8) uint32        a row for each run, in raster order; the last row is scratch

        START   number of the first pixel of the run, in raster order
        END     number of the pixel after the last pixel of the run
        LABEL   label of all pixels of the run
        PARENT  an earlier run of the same region; the run itself, if it is the first of its region
        SIZE    pixels of the region, in the row of its first run
        NEXT    another run of the region; all runs of a region form a ring
        ABOVE   the last run of the row above that touches this run; undefined in the first row
        BELOW   the last run of the row below that touches this run; undefined in the last row

A run is a sequence of pixels in a row with the same label. A region is a set of runs of one label that are
connected by the edges of pixels. The number of its first run identifies a region, so that regions are in the
order of their first pixels.

Why this way. Photos have 5 to 100 times as many pixels as runs, and one pass over the runs finds the regions
(He, Chao and Suzuki, IEEE Trans. Image Processing 17, 2008). Two regions are merged by an exchange of two
numbers. All data of a run are in half a cache line, because small regions are visited in the order of their
sizes, all over the image. The smallest region of all is merged first, so that the merged region is at least
twice as large, and a pixel is visited log2(threshold) times at most. The filter counts one label after the
other, for 32 pixels with an instruction, and in a tile only the labels that occur.
"""

from __future__ import annotations

import numpy as np

from kseg_batch.kernels.jit import inlined, kernel

START, END, LABEL, PARENT, SIZE, NEXT, ABOVE, BELOW = range(8)

TILE_HEIGHT = 32
TILE_WIDTH = 256


# ---- majority filter -------------------------------------------------------------------------------------


@inlined
def count_column(row, label, step, votes):
    """Add `step` to the votes of each pixel of a row that has the label. step: 1, or 255 for -1."""
    for x in range(row.shape[0]):
        votes[x] += np.uint8(step if row[x] == label else np.uint8(0))


@inlined
def elect(row, label, last, radius, votes, total, most, chosen):
    """Choose a label for the pixels of a row in whose windows the label has more votes than any label before.

    votes: (TILE_WIDTH + 2 * radius,) uint8, the votes in each column of the window; last: k - 1; total:
    (TILE_WIDTH,) uint8, scratch; most: (TILE_WIDTH,) uint8, the votes of the chosen labels; chosen: like
    `row`.
    """
    n = row.shape[0]
    total[:n] = np.uint8(0)
    for shift in range(2 * radius + 1):
        for x in range(n):
            total[x] += votes[x + shift]
    for x in range(n):
        better = (total[x] > most[x]) | ((total[x] == most[x]) & (row[x] == label))
        better &= row[x] <= last
        most[x] = total[x] if better else most[x]
        chosen[x] = label if better else chosen[x]


@kernel
def smooth(labels, k, radius, votes, total, most, present, smoothed):
    """Give each pixel the most frequent label of the (2 * radius + 1)**2 pixels around it.

    Windows are cut off at the borders of the image. Pixels in no cluster have no vote, and do not change.
    Among several labels with the most votes, a pixel keeps its own label, or takes the lowest. The radius is
    7 at most, so that votes fit in a byte.

    votes, total: like those of `elect`; most: (TILE_HEIGHT, TILE_WIDTH) uint8; present: (257,) uint8; all
    scratch. smoothed: (H, W) uint8, the result.
    """
    height, width = labels.shape
    for top in range(0, height, TILE_HEIGHT):
        bottom = min(top + TILE_HEIGHT, height)
        first, last = max(top - radius, 0), min(bottom + radius, height)
        for left in range(0, width, TILE_WIDTH):
            right = min(left + TILE_WIDTH, width)
            begin, end = max(left - radius, 0), min(right + radius, width)
            inside = votes[begin - left + radius : end - left + radius]
            smoothed[top:bottom, left:right] = labels[top:bottom, left:right]
            present[:] = np.uint8(0)
            for y in range(first, last):
                for x in range(begin, end):
                    present[labels[y, x]] = np.uint8(1)
            if present.sum() == 1:
                continue
            most[:] = np.uint8(0)
            for cluster in range(k):
                if not present[cluster]:
                    continue
                label = np.uint8(cluster)
                votes[:] = np.uint8(0)
                for y in range(first, bottom + radius):
                    if y < height:
                        count_column(labels[y, begin:end], label, np.uint8(1), inside)
                    if y - 2 * radius > first:
                        count_column(labels[y - 2 * radius - 1, begin:end], label, np.uint8(255), inside)
                    center = y - radius
                    if center >= top:
                        row, chosen = labels[center, left:right], smoothed[center, left:right]
                        elect(row, label, np.uint8(k - 1), radius, votes, total, most[center - top], chosen)


# ---- regions ---------------------------------------------------------------------------------------------


@kernel
def count_runs(labels):
    """Return the number of runs."""
    n = labels.shape[0]
    for y in range(labels.shape[0]):
        row = labels[y]
        for x in range(1, row.shape[0]):
            n += row[x] != row[x - 1]
    return n


@inlined
def find_runs(labels, runs):
    """Fill START, END and LABEL of `runs`.

    A pixel that starts no run is written, too, and overwritten by the next pixel: this saves a branch.
    """
    width = labels.shape[1]
    n = np.uint64(0)
    for y in range(labels.shape[0]):
        row = labels[y]
        runs[n, START] = y * width
        runs[n, LABEL] = row[0]
        n += np.uint64(1)
        for x in range(1, width):
            runs[n, START] = y * width + x
            runs[n, LABEL] = row[x]
            n += np.uint64(row[x] != row[x - 1])
    runs[n, START] = labels.size
    runs[n, LABEL] = 0
    for run in range(n):
        runs[run, END] = runs[run + np.uint64(1), START]


@inlined
def find(runs, run):
    """Return the region of a run, and shorten the path to it for the runs on the way (path halving)."""
    while runs[run, PARENT] != run:
        runs[run, PARENT] = runs[runs[run, PARENT], PARENT]
        run = runs[run, PARENT]
    return run


@kernel
def find_regions(labels, runs):
    """Fill all columns of `runs`."""
    find_runs(labels, runs)
    n = np.uint64(runs.shape[0] - 1)
    for run in range(n):
        runs[run, PARENT] = run
    width = np.uint64(labels.shape[1])
    upper = np.uint64(0)
    lower = np.uint64(0)
    while lower < n and runs[lower, START] < width:
        lower += np.uint64(1)
    while lower < n:  # all touching pairs, from left to right and row by row: two rows end together
        runs[lower, ABOVE] = upper
        runs[upper, BELOW] = lower
        if runs[upper, LABEL] == runs[lower, LABEL]:
            one, other = find(runs, upper), find(runs, lower)
            runs[max(one, other), PARENT] = min(one, other)
        upper_end = np.uint64(runs[upper, END]) + width
        lower_end = np.uint64(runs[lower, END])
        upper += np.uint64(upper_end <= lower_end)
        lower += np.uint64(lower_end <= upper_end)
    for run in range(n):  # the parent already points to its region
        region = runs[runs[run, PARENT], PARENT]
        length = runs[run, END] - runs[run, START]
        runs[run, PARENT] = region
        if region == run:
            runs[run, SIZE] = length
            runs[run, NEXT] = run
        else:
            runs[region, SIZE] += length
            runs[run, NEXT] = runs[region, NEXT]
            runs[region, NEXT] = run


@inlined
def find_small(k, threshold, runs, small):
    """Fill `small` with the regions below `threshold` pixels that have a label below k; return the number."""
    n = np.uint64(0)
    for run in range(runs.shape[0] - 1):
        small[n] = run
        is_region = (runs[run, PARENT] == run) & (runs[run, LABEL] < k)
        n += np.uint64(is_region & (runs[run, SIZE] < threshold))
    return np.int64(n)


@inlined
def sort_by_size(small, n, low, high, threshold, runs, ends, ordered):
    """Sort regions of `low` to `high` - 1 pixels by size; regions of the same size keep their order.

    small: n regions. Regions that have become part of another region, or have `threshold` pixels or more, are
    removed. So are regions that still have fewer than `low` pixels, because they have no neighbours.

    Returns:
        The number of regions left in `small`, and the number of regions in `ordered`.
    """
    ends[: high - low] = 0
    n_left = 0
    for i in range(n):
        region = small[i]
        size = np.int64(runs[region, SIZE])
        if runs[region, PARENT] == region and low <= size < threshold:
            small[n_left] = region
            n_left += 1
            if size < high:
                ends[size - low] += 1
    n_ordered = 0
    for i in range(high - low):
        n_ordered += ends[i]
        ends[i] = n_ordered - ends[i]
    for i in range(n_left):
        size = np.int64(runs[small[i], SIZE])
        if size < high:
            ordered[ends[size - low]] = small[i]
            ends[size - low] += 1
    return n_left, n_ordered


@inlined
def note(run, edges, own, k, runs, border, touching, n):
    """Count the edges between a run and a region with the label `own`; return the number of touching runs.

    There are no branches, which would be mispredicted: an entry that does not count is overwritten by the
    next one, or cleared at the end.
    """
    label = runs[run, LABEL]
    border[label] += edges
    touching[n] = run
    return n + np.int64((edges > 0) & (label != own) & (label < k))


@inlined
def note_row(run, start, end, shift, own, k, runs, border, touching, n):
    """Note `run`, and the runs to its left, that touch the pixels `start` to `end`.

    shift: distance in pixels from the row of `run` to the row of these pixels.
    """
    while True:
        begin = np.int64(runs[run, START]) + shift
        edges = min(end, np.int64(runs[run, END]) + shift) - max(start, begin)
        n = note(run, edges, own, k, runs, border, touching, n)
        if begin <= start:
            return n
        run -= 1


@inlined
def find_surroundings(region, height, width, k, runs, border, touching):
    """Fill `touching` with the runs of other labels that touch a region; find the label with most edges.

    Returns:
        The number of touching runs, and the label, the lowest of several. Without touching runs, the label is
        undefined.
    """
    own = runs[region, LABEL]
    n = 0
    run = np.int64(region)
    while True:
        start, end = np.int64(runs[run, START]), np.int64(runs[run, END])
        x = start % width
        n = note(run - 1, np.int64(x > 0), own, k, runs, border, touching, n)
        n = note(run + 1, np.int64(x + end - start < width), own, k, runs, border, touching, n)
        if start >= width:
            above = np.int64(runs[run, ABOVE])
            n = note_row(above, start, end, width, own, k, runs, border, touching, n)
        if end <= (height - 1) * width:
            below = np.int64(runs[run, BELOW])
            n = note_row(below, start, end, -width, own, k, runs, border, touching, n)
        run = np.int64(runs[run, NEXT])
        if run == region:
            break
    best = np.int64(0)
    for i in range(n):
        label = np.int64(runs[touching[i], LABEL])
        best = max(best, (border[label] << 8) | (255 - label))
    for i in range(n):
        border[runs[touching[i], LABEL]] = 0
    border[own] = 0
    border[k] = 0
    return n, 255 - (best & 255)


@inlined
def merge(region, label, runs, touching):
    """Give a region a label, and merge it with the touching regions of this label."""
    run = region
    while True:
        runs[run, LABEL] = label
        run = runs[run, NEXT]
        if run == region:
            break
    for i in range(touching.shape[0]):
        if runs[touching[i], LABEL] == label:
            other = find(runs, touching[i])
            if other != region:
                first, second = min(region, other), max(region, other)
                runs[second, PARENT] = first
                runs[first, SIZE] += runs[second, SIZE]
                runs[first, NEXT], runs[second, NEXT] = runs[second, NEXT], runs[first, NEXT]
                region = first


@inlined
def write_labels(runs, labels):
    """Write the labels of runs that have changed. labels: (N,) uint8."""
    for run in range(runs.shape[0] - 1):
        start, label = runs[run, START], np.uint8(runs[run, LABEL])
        if labels[start] != label:
            labels[start : runs[run, END]] = label


@kernel
def merge_small(labels, k, threshold, runs, small, ordered, ends, border, touching):
    """Merge regions of fewer than `threshold` pixels with their surroundings, the smallest region first.

    Among regions of the same size, the one with the first pixel comes first. A region takes the label with
    which it shares the most edges of pixels, the lowest of several, and is merged with its neighbours of this
    label. A region without neighbours in a cluster stays.

    A merged region has at least twice the smallest size. So the regions of `low` to 2 * low - 1 pixels can be
    sorted at once: no region is added to them meanwhile.

    runs: as `find_regions` has filled it; changed. Scratch: small, ordered: (n,) uint32; ends: (threshold,)
    int64; border: (257,) int64, by label, all 0 before and after; touching: (4 * threshold,) uint32.
    """
    height, width = labels.shape
    n = find_small(k, threshold, runs, small)
    low = 1
    while low < threshold and n:
        high = min(2 * low, threshold)
        n, n_ordered = sort_by_size(small, n, low, high, threshold, runs, ends, ordered)
        for i in range(n_ordered):
            region = ordered[i]
            if runs[region, PARENT] != region or runs[region, SIZE] >= high:
                continue  # the region was merged meanwhile
            n_touching, label = find_surroundings(region, height, width, k, runs, border, touching)
            if n_touching:
                merge(region, np.uint32(label), runs, touching[:n_touching])
        low = high
    write_labels(runs, labels.reshape(-1))


# ---- counts ----------------------------------------------------------------------------------------------


@kernel
def count_labels(labels, counts):
    """Count the pixels of each label. labels: (N,) uint8; counts: (4, 256) int64, all 0 before.

    The count of a label is the sum of its column. Four rows avoid the wait between two successive additions
    to the same address.
    """
    n = labels.shape[0] // 4 * 4
    for i in range(0, n, 4):
        counts[0, labels[i]] += 1
        counts[1, labels[i + 1]] += 1
        counts[2, labels[i + 2]] += 1
        counts[3, labels[i + 3]] += 1
    for i in range(n, labels.shape[0]):
        counts[0, labels[i]] += 1
