"""CPU kernels in Numba that clean label maps: a majority filter, and the merging of small regions.

Single-threaded and without the GIL, like `cpu.py`. All arrays are C-contiguous and come from the caller.

    labels      (H, W) uint8             cluster of each pixel, below k; k where a pixel is in none
    runs        (n + 1, 8) uint32        a row for each run, in raster order; the last one is scratch

        START   the first pixel of the run, as its number in raster order
        END     the pixel after its last one
        LABEL   of all its pixels
        PARENT  a run of the same region that stands before it; itself, if it is the region's first
        SIZE    pixels of the region, in the row of its first run
        NEXT    another run of the region; all of them make a ring
        ABOVE   the last run of the row above that touches it; undefined in the first row
        BELOW   the last run of the row below that touches it; undefined in the last row

A run is a stretch of a row with one label. A region is all runs of one label that hang together by the edges
of pixels. It is known by the number of its first run, so that regions are in the order of their first pixels.

Why this way. Photos have 5 to 100 times as many pixels as runs, and one pass over those finds the regions
(He, Chao and Suzuki, IEEE Trans. Image Processing 17, 2008). Two regions become one by an exchange of two
numbers. What concerns a run is in half a cache line, because small regions are met in the order of their
sizes, all over the image. The region that is merged is the smallest of all, so that the new one is at least
twice as large, and a pixel is visited log2(threshold) times at most. The filter counts one label after the
other, for 32 pixels by an instruction, and in a tile those labels alone that are there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

START, END, LABEL, PARENT, SIZE, NEXT, ABOVE, BELOW = range(8)

TILE_HEIGHT = 32
TILE_WIDTH = 256

kernel = njit(cache=True, nogil=True)
inlined = njit(cache=True, nogil=True, forceinline=True)


# ---- majority filter -------------------------------------------------------------------------------------


@inlined
def count_column(row, label, step, votes):
    """Add `step`, 1 or 255 for -1, to the votes of each pixel of a row that has the label."""
    for x in range(row.shape[0]):
        votes[x] += np.uint8(step if row[x] == label else np.uint8(0))


@inlined
def elect(row, label, last, radius, votes, total, most, chosen):
    """Give the pixels of a row a label that has more votes in their windows than any before.

    votes: (TILE_WIDTH + 2 * radius,) uint8, of each column of the window's height; last: k - 1; total:
    (TILE_WIDTH,) uint8, scratch; most: (TILE_WIDTH,) uint8, the votes of the labels chosen; chosen: as `row`.
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

    A window ends where the image does. Pixels in no cluster have no vote, and stay. Of the labels with the
    most votes, a pixel keeps its own, or takes the lowest. The radius is 7 at most, so that votes fit a byte.

    votes, total: as `elect`; most: (TILE_HEIGHT, TILE_WIDTH) uint8; present: (257,) uint8; all scratch.
    smoothed: (H, W) uint8.
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
    """How many runs there are."""
    n = labels.shape[0]
    for y in range(labels.shape[0]):
        row = labels[y]
        for x in range(1, row.shape[0]):
            n += row[x] != row[x - 1]
    return n


@inlined
def find_runs(labels, runs):
    """Fill in START, END and LABEL. A pixel that starts none is written, too, and overwritten by the next."""
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
    """The region of a run. Those on the way to it get a shorter one (path halving)."""
    while runs[run, PARENT] != run:
        runs[run, PARENT] = runs[runs[run, PARENT], PARENT]
        run = runs[run, PARENT]
    return run


@kernel
def find_regions(labels, runs):
    """Fill in all of `runs`."""
    find_runs(labels, runs)
    n = np.uint64(runs.shape[0] - 1)
    for run in range(n):
        runs[run, PARENT] = run
    width = np.uint64(labels.shape[1])
    upper = np.uint64(0)
    lower = np.uint64(0)
    while lower < n and runs[lower, START] < width:
        lower += np.uint64(1)
    while lower < n:  # all pairs that touch, from left to right, and row by row, for two rows end at once
        runs[lower, ABOVE] = upper
        runs[upper, BELOW] = lower
        if runs[upper, LABEL] == runs[lower, LABEL]:
            one, other = find(runs, upper), find(runs, lower)
            runs[max(one, other), PARENT] = min(one, other)
        upper_end = np.uint64(runs[upper, END]) + width
        lower_end = np.uint64(runs[lower, END])
        upper += np.uint64(upper_end <= lower_end)
        lower += np.uint64(lower_end <= upper_end)
    for run in range(n):  # the way from a parent is at its end already
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
    """Collect the regions in a cluster that have fewer pixels than `threshold`; return how many they are."""
    n = np.uint64(0)
    for run in range(runs.shape[0] - 1):
        small[n] = run
        is_region = (runs[run, PARENT] == run) & (runs[run, LABEL] < k)
        n += np.uint64(is_region & (runs[run, SIZE] < threshold))
    return np.int64(n)


@inlined
def sort_by_size(small, n, low, high, threshold, runs, ends, ordered):
    """Sort regions of `low` to `high` - 1 pixels by size, and leave those of a size in their order.

    small: its first n entries lose what has become part of another region, has as many pixels as `threshold`,
    or less than `low` still, for want of neighbours.

    Returns:
        How many are left in `small`, and how many are ordered.
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
    """Count the edges between a run and a region of the label `own`; return how many runs are touching it.

    Without branches, which would be mispredicted: what does not count is overwritten, or cleared at the end.
    """
    label = runs[run, LABEL]
    border[label] += edges
    touching[n] = run
    return n + np.int64((edges > 0) & (label != own) & (label < k))


@inlined
def note_row(run, start, end, shift, own, k, runs, border, touching, n):
    """Note `run` and those to its left that touch the pixels `start` to `end`, which are `shift` away."""
    while True:
        begin = np.int64(runs[run, START]) + shift
        edges = min(end, np.int64(runs[run, END]) + shift) - max(start, begin)
        n = note(run, edges, own, k, runs, border, touching, n)
        if begin <= start:
            return n
        run -= 1


@inlined
def find_surroundings(region, height, width, k, runs, border, touching):
    """Collect the runs of other labels that touch a region, and find the label with the longest border.

    Returns:
        How many runs are touching, and the label, the lowest of several; if there are none, any.
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
    """Give a region a label, and make it one with the regions of that label that it touches."""
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
    """Write the labels of runs where they have changed. labels: (N,)."""
    for run in range(runs.shape[0] - 1):
        start, label = runs[run, START], np.uint8(runs[run, LABEL])
        if labels[start] != label:
            labels[start : runs[run, END]] = label


@kernel
def merge_small(labels, k, threshold, runs, small, ordered, ends, border, touching):
    """Give the label of their surroundings to regions of fewer pixels than `threshold`, the smallest first.

    Of regions of one size, the one with the first pixel is first. It takes the label that it has the most
    edges of pixels in common with, the lowest of several, and is one region then with its neighbours of
    that label. One that has no neighbours in a cluster stays.

    A merger makes a region of at least twice the smallest size, so those of `low` to 2 * low - 1 pixels can
    be sorted at once: none is added to them on the way.

    runs: as `find_regions` has left it, changed. Scratch: small, ordered: (n,) uint32; ends: (threshold,)
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
                continue  # it has become part of another one, or another one of it
            n_touching, label = find_surroundings(region, height, width, k, runs, border, touching)
            if n_touching:
                merge(region, np.uint32(label), runs, touching[:n_touching])
        low = high
    write_labels(runs, labels.reshape(-1))


# ---- counts ----------------------------------------------------------------------------------------------


@kernel
def count_labels(labels, counts):
    """Add up the pixels of each label. labels: (N,) uint8; counts: (4, 256) int64, all 0; their sum counts.

    Four rows, because adding to the same place twice in a row has to wait.
    """
    n = labels.shape[0] // 4 * 4
    for i in range(0, n, 4):
        counts[0, labels[i]] += 1
        counts[1, labels[i + 1]] += 1
        counts[2, labels[i + 2]] += 1
        counts[3, labels[i + 3]] += 1
    for i in range(n, labels.shape[0]):
        counts[0, labels[i]] += 1
