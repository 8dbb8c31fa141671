"""kernels/arithmetic.cuh, compiled as plain C++, equals the reference."""

from __future__ import annotations

import ctypes
import importlib.resources
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kseg_batch.images import label_map
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.histogram import SPREAD, from_zorder, zorder
from tests.gpu.emulator.library import SANITIZED, Source, compile_library

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WRAPPER = """
#include <cstdio>
#include "arithmetic.cuh"
#include "undefined.h"

#define EXPORTED __attribute__((visibility("default")))

extern "C" {
EXPORTED char undefined_behaviour[256];
}

static void found_undefined(const char* what, const SourceLocation* where) {
    snprintf(undefined_behaviour, sizeof undefined_behaviour, "%s:%u: %s", where->file, where->line, what);
}

// An array of results from arrays of arguments, all of 64 bits.
#define EACH(name, result)                                                             \\
    extern "C" EXPORTED void each_##name(i64 n, const i64* const* args, i64* results) { \\
        for (i64 i = 0; i < n; i++) results[i] = (i64)(result);                        \\
    }
#define A(j) args[j][i]
#define I(j) ((int)args[j][i])
#define P(j) (Position{I(j), I(j + 1), I(j + 2)})

EACH(pack, pack(I(0), I(1), I(2)))
EACH(unpack_x, unpack(A(0)).x)
EACH(unpack_y, unpack(A(0)).y)
EACH(unpack_z, unpack(A(0)).z)
EACH(spread, spread((u32)A(0)))
EACH(gather, gather((u32)A(0)))
EACH(zorder, zorder((u32)A(0), (u32)A(1), (u32)A(2)))
EACH(zorder_of, zorder_of(A(0)))
EACH(position_of, position_of((u32)A(0)))
EACH(squared_distance, squared_distance(I(0), I(1), I(2), I(3), I(4), I(5)))
EACH(score, score(I(0), I(1), I(2), I(3), I(4), I(5), I(6)))
EACH(rounded_mean, rounded_mean(A(0), A(1)))
EACH(margin, margin(I(0), P(1), I(4), I(5), I(6)))
EACH(can_win, can_win(I(0), I(1), I(2)))
EACH(light, light(I(0), I(1), I(2)))
EACH(in_order, in_order(I(0), I(1), I(2)))
EACH(splitmix64, splitmix64(A(0), A(1)))
EACH(high_product, high_product(A(0), A(1)))
EACH(draw_below, draw_below(A(0), A(1), A(2)))
EACH(seeding_trials, seeding_trials(I(0)))
EACH(coarse_points, coarse_points(I(0)))
EACH(fine_points, fine_points(I(0)))
EACH(index_bits, index_bits(I(0)))
EACH(row_bytes, row_bytes(A(0), I(1)))
"""

WHITE = 255 * 64
MILLION = 1_000_000


class Arithmetic:
    """The functions, each over arrays of arguments."""

    def __init__(self, cache: Path) -> None:
        kernels = importlib.resources.files("kseg_batch.kernels")
        source = Source("arithmetic.cpp", WRAPPER, (f"-I{kernels}", *SANITIZED))
        self._library = ctypes.CDLL(str(compile_library(cache, [source])))
        self.undefined = (ctypes.c_char * 256).in_dll(self._library, "undefined_behaviour")

    def __call__(self, name: str, *args: Any) -> NDArray[np.int64]:
        """The results of a function; its arguments are broadcast, and uint64 passes for int64."""
        arrays = [np.ascontiguousarray(a) for a in np.broadcast_arrays(*(_of_64_bits(a) for a in args))]
        results = np.empty(arrays[0].shape, np.int64)
        pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
        function = self._library[f"each_{name}"]
        function(ctypes.c_int64(results.size), pointers, ctypes.c_void_p(results.ctypes.data))
        assert not self.undefined.value, self.undefined.value.decode()
        return results


def _of_64_bits(values: Any) -> NDArray[np.int64]:
    array = np.asarray(values)
    return array.view(np.int64) if array.dtype == np.uint64 else array.astype(np.int64)


@pytest.fixture(scope="module")
def c(cache: Path) -> Arithmetic:
    return Arithmetic(cache)


def positions(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """(n, 3) in Q8.6; the first 64 are the ends of the range and their neighbours in all combinations."""
    random = rng.integers(0, WHITE + 1, (n, 3))
    ends = np.array([0, 1, WHITE - 1, WHITE])
    random[:64] = np.stack(np.meshgrid(ends, ends, ends), axis=-1).reshape(-1, 3)
    return random


def words(rng: np.random.Generator, n: int) -> NDArray[np.uint64]:
    """(n,) of 64 bits, the first ones extreme."""
    random = rng.integers(0, 1 << 64, n, np.uint64)
    random[:6] = [0, 1, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, (1 << 64) - 1]
    return random


def test_undefined_behaviour_would_be_found(c: Arithmetic) -> None:
    with pytest.raises(AssertionError, match=r"arithmetic.cuh:\d+: a multiplication overflows"):
        c("squared_distance", 1 << 20, 0, 0, 0, 0, 0)
    c.undefined.value = b""


def test_zorder_of_all_colors(c: Arithmetic) -> None:
    assert np.array_equal(c("spread", np.arange(256)), SPREAD)
    for codes in np.arange(1 << 24, dtype=np.uint32).reshape(16, -1):
        colors = from_zorder(codes)
        assert np.array_equal(zorder(colors), codes)
        assert np.array_equal(c("zorder", *colors.T), codes)
        packed = c("position_of", codes)
        assert np.array_equal(packed, c("pack", *(colors.T.astype(np.int64) * 64)))
        assert np.array_equal(c("zorder_of", packed), codes)


def test_gather_ignores_other_bits(c: Arithmetic) -> None:
    codes: NDArray[np.uint32] = np.random.default_rng(0).integers(0, 1 << 32, MILLION, np.uint32)
    assert np.array_equal(c("gather", codes), from_zorder(codes & np.uint32(0xFFFFFF))[:, 2])


def test_packed_positions_keep_their_order(c: Arithmetic) -> None:
    points = positions(np.random.default_rng(1), MILLION)
    packed = c("pack", *points.T)
    for name, channel in zip("xyz", points.T, strict=True):
        assert np.array_equal(c(f"unpack_{name}", packed), channel)
    order = np.lexsort((points[:, 2], points[:, 1], points[:, 0]))
    assert (np.diff(packed[order]) >= 0).all()


def test_distances_and_scores(c: Arithmetic) -> None:
    rng = np.random.default_rng(2)
    points, centers = positions(rng, MILLION), positions(rng, MILLION)
    centers[:64] = centers[63::-1]
    distances = ((points - centers) ** 2).sum(axis=1)
    assert np.array_equal(c("squared_distance", *points.T, *centers.T), distances)
    squares = c("squared_distance", *centers.T, 0, 0, 0)
    scores = c("score", *points.T, *centers.T, squares)
    assert np.array_equal(scores, distances - (points**2).sum(axis=1))


@pytest.mark.parametrize("step", [1, 64, 1024, 4080, 8160])
@pytest.mark.parametrize("k", [1, 2, 17, 256])
def test_nearest_and_ties(c: Arithmetic, k: int, step: int) -> None:
    """A coarse grid has many equal centres, and ties between different centres."""
    rng = np.random.default_rng(k)
    points = rng.integers(0, WHITE // step + 1, (4000, 3)) * step
    centers = rng.integers(0, WHITE // step + 1, (k, 3)) * step
    labels, distances = reference.nearest(points, centers)
    columns = [*(channel[:, None] for channel in points.T), *centers.T]
    measured = c("squared_distance", *columns)
    scores = c("score", *columns, c("squared_distance", *centers.T, 0, 0, 0))
    assert np.array_equal(measured.argmin(axis=1), labels)
    assert np.array_equal(measured.min(axis=1), distances)
    assert np.array_equal(scores.argmin(axis=1), labels)


def test_means_are_rounded_half_up(c: Arithmetic) -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(1, 1 << rng.integers(1, 46, MILLION))
    weights[:4] = [1, 2, 1 << 45, (1 << 45) - 1]
    sums = rng.integers(0, WHITE * weights + 1)
    sums[:4] = WHITE * weights[:4]
    halves = slice(4, 1000)
    weights[halves] = 2 * (weights[halves] >> 1) + 2
    sums[halves] = weights[halves] * rng.integers(0, WHITE, 996) + weights[halves] // 2
    means = c("rounded_mean", sums, weights)
    assert np.array_equal(means, (2 * sums + weights) // (2 * weights))
    assert means[:4].tolist() == [WHITE] * 4
    exact = [(2 * s + w) // (2 * w) for s, w in zip(sums[:20000].tolist(), weights.tolist(), strict=False)]
    assert means[:20000].tolist() == exact
    labels = rng.integers(0, 50, 2000)
    points, counts = positions(rng, 2000), rng.integers(1, 1 << 40, 2000)
    expected, totals = reference.mean_points(points, counts, labels, 50)
    sums = np.zeros((50, 3), np.int64)
    np.add.at(sums, labels, points * counts[:, None])
    assert np.array_equal(c("rounded_mean", sums, totals[:, None]), expected)


def boxes(
    rng: np.random.Generator, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(n, 3) lowest and highest positions of boxes of all sizes, their middles, and their half widths."""
    sizes = rng.integers(0, 1 << rng.integers(0, 15, (n, 3)))
    low = positions(rng, n)
    high = np.minimum(low + sizes, WHITE)
    low[0], high[0] = 0, WHITE
    middle = (low + high) >> 1
    return low, high, middle, high - middle


def test_margin_is_the_least_over_the_corners(c: Arithmetic) -> None:
    rng = np.random.default_rng(4)
    _, _, middle, reach = boxes(rng, 100_000)
    own, other = positions(rng, len(middle)), positions(rng, len(middle))[::-1]

    def ahead(points: NDArray[np.int64]) -> NDArray[np.int64]:
        result: NDArray[np.int64] = ((points - other) ** 2).sum(axis=1) - ((points - own) ** 2).sum(axis=1)
        return result

    corners: NDArray[np.int64] = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), axis=-1).reshape(-1, 3)
    least = np.min([ahead(middle + corner * reach) for corner in corners], axis=0)
    assert np.array_equal(c("margin", ahead(middle), *reach.T, *(other - own).T), least)


@pytest.mark.parametrize("step", [1, 64, 2040])
@pytest.mark.parametrize("k", [1, 2, 7, 60])
def test_the_nearest_centre_is_among_the_candidates(c: Arithmetic, k: int, step: int) -> None:
    rng = np.random.default_rng(k)
    low, high, middle, reach = boxes(rng, 3000)
    low, high = low // step * step, high // step * step
    middle, reach = (low + high) >> 1, high - ((low + high) >> 1)
    centers = rng.integers(0, WHITE // step + 1, (k, 3)) * step
    owners, least = reference.nearest(middle, centers)
    columns = [channel[:, None] for channel in middle.T]
    ahead = c("squared_distance", *columns, *centers.T) - least[:, None]
    away = (centers[None] - centers[owners][:, None]).transpose(2, 0, 1)
    margins = c("margin", ahead, *(channel[:, None] for channel in reach.T), *away)
    candidates = c("can_win", margins, np.arange(k), owners[:, None]).astype(bool)
    rows = np.arange(len(low))
    assert candidates[rows, owners].all()
    for share in (0.0, 1.0, *rng.random((20, 3))):
        labels, _ = reference.nearest(low + np.rint((high - low) * share).astype(np.int64), centers)
        assert candidates[rows, labels].all()
    if step == 1 and k > 1:
        assert candidates.sum(axis=1).min() == 1  # a small box has one candidate


def test_light_sorts_from_dark_to_light(c: Arithmetic) -> None:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 30, (5000, 3)) * np.array([587, 299, 114]) // 10  # the same luma in many ways
    for centers in (positions(rng, MILLION), coarse, rng.integers(0, 20, (5000, 3))):
        order = np.argsort(c("light", *centers.T), kind="stable")
        assert np.array_equal(centers[order], reference.dark_to_light(centers))
        order = np.argsort(c("in_order", *centers.T), kind="stable")
        assert np.array_equal(centers[order], reference.dark_to_light(centers, "lab"))


def test_random_numbers(c: Arithmetic) -> None:
    rng = np.random.default_rng(6)
    a, b, seeds = words(rng, 100_000), words(rng, 100_000), words(rng, 100_000)[::-1].copy()
    b[:36], a[:36] = np.tile(b[:6], 6), np.repeat(a[:6], 6)
    numbers = list(zip(a.tolist(), b.tolist(), seeds.tolist(), strict=True))
    assert c("high_product", a, b).view(np.uint64).tolist() == [(x * y) >> 64 for x, y, _ in numbers]
    expected = [reference.splitmix64(y, x) for x, y, _ in numbers]
    assert c("splitmix64", b, a).view(np.uint64).tolist() == expected
    expected = [(reference.splitmix64(seed, y) * x) >> 64 for x, y, seed in numbers]
    assert c("draw_below", a, seeds, b).view(np.uint64).tolist() == expected


def test_choices_for_every_k(c: Arithmetic) -> None:
    every = range(1, 257)
    assert c("seeding_trials", every).tolist() == [reference.seeding_trials(k) for k in every]
    assert c("coarse_points", every).tolist() == [reference.coarse_points(k) for k in every]
    assert c("fine_points", every).tolist() == [reference.fine_points(k) for k in every]
    assert c("index_bits", every).tolist() == [label_map.index_bits(k) for k in every]


def test_bytes_of_rows(c: Arithmetic) -> None:
    widths = [*range(1, 100), 65535, 1 << 31, 1 << 40]
    for bits in (1, 2, 4, 8):
        assert c("row_bytes", widths, bits).tolist() == [label_map.row_bytes(width, bits) for width in widths]
