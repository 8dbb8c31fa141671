"""`--k auto`: the number of clusters chosen by the colours of each image."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from kseg_batch import fit_palette, segment
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.registry import load
from kseg_batch.errors import FewerColorsWarning
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.color_spaces import COLOR_SPACES, convert
from kseg_batch.kmeans.options import FitOptions, KRange
from kseg_batch.segmentation.select_k import FEW_PENALTY, select_k
from tests.support.commands import kseg
from tests.support.docs import PAGES
from tests.support.image_files import save
from tests.support.images import (
    APART,
    PHOTOS,
    Image,
    blobs,
    blocks,
    flat,
    gradient,
    noise,
    photos,
    two_colors,
)
from tests.support.outputs import manifest, n_masks

if TYPE_CHECKING:
    from pathlib import Path

    from kseg_batch.backends.base import Backend
    from kseg_batch.kmeans.color_spaces import ColorSpace


def published(rgb: Image, k: int, color_space: ColorSpace = "rgb") -> float:
    """The index from its definition, in floats, on the pixels of a segmentation into k clusters."""
    s = segment(rgb, k, color_space=color_space)
    pixels, centers = convert(rgb, color_space).astype(float), s.palette.fixed_centers / 64
    spreads = [np.linalg.norm(pixels[s.mask(j)] - centers[j], axis=1) for j in range(k)]
    s_q = [np.sqrt((distances**2).mean()) for distances in spreads]

    def ratio(i: int, j: int) -> float:
        return float((s_q[i] + s_q[j]) / np.linalg.norm(centers[i] - centers[j]))

    davies_bouldin = np.mean([max(ratio(i, j) for j in range(k) if j != i) for i in range(k)])
    density = np.exp(-((k - 2) ** 2) / 2) / np.sqrt(2 * np.pi)
    return float(davies_bouldin * (1 + FEW_PENALTY * density))


# ---- which k ---------------------------------------------------------------------------------------------


def test_the_true_number_is_found_under_any_noise(tmp_path: Path) -> None:
    true = {f"{k}-{spread}": k for k in range(2, 11) for spread in (1, 4, 8)}
    for name, k in true.items():
        save(blobs(k, float(name.split("-")[1]), seed=k), tmp_path / f"p/{name}.png")
    result = kseg("run", "p", "--k", "auto", "--save", "labels", "-o", "out", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    lines: list[Any] = manifest(tmp_path / "out")
    assert {line["name"]: len(line["counts"]) for line in lines} == true


def test_the_curve_is_the_published_formula(tmp_path: Path) -> None:
    rgb = photos()["coffee"]
    save(rgb, tmp_path / "coffee.png")
    kseg("run", "coffee.png", "--k", "auto:3-8", "-o", "out", cwd=tmp_path)
    (line,) = manifest(tmp_path / "out")
    curve: Any = line["k_curve"]
    expected = [published(rgb, k) for k in range(3, 9)]
    assert [k for k, _ in curve] == [3, 4, 5, 6, 7, 8]
    assert [value for _, value in curve] == pytest.approx(expected, rel=3e-4)  # the density has four digits
    best = 3 + int(np.argmin(expected))
    s = segment(rgb, best)
    assert (line["centers"], line["compactness"], line["n_iter"]) == (
        s.centers.tolist(),
        s.compactness,
        s.n_iter,
    )
    assert line["notes"] == []
    assert n_masks(tmp_path / "out") == best


@pytest.mark.parametrize("color_space", COLOR_SPACES)
def test_distances_are_measured_in_the_color_space(color_space: ColorSpace) -> None:
    rgb = photos()["astronaut"][::3, ::3]
    curve = segment(rgb, "auto:2-6", color_space=color_space).k_curve
    assert curve is not None
    expected = [published(rgb, k, color_space) for k in range(2, 7)]
    assert [tried.value for tried in curve] == pytest.approx(expected, rel=3e-4)
    fits = [segment(rgb, k, color_space=color_space) for k in range(2, 7)]
    assert [tried.compactness for tried in curve] == [s.compactness for s in fits]


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_get_neither_end_of_the_range_and_the_same_at_half_the_size(name: str) -> None:
    import cv2

    rgb = photos()[name]
    found = len(segment(rgb, "auto").counts)
    assert 2 < found < 12
    half = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert len(segment(np.asarray(half, np.uint8), "auto").counts) == found


def test_repeated_pixels_change_nothing() -> None:
    rgb = photos()["china"][::4, ::4]
    one, many = segment(rgb, "auto"), segment(np.tile(rgb, (4, 4, 1)), "auto")
    assert np.array_equal(one.centers, many.centers)
    assert one.k_curve is not None and many.k_curve is not None
    assert [tried.value for tried in one.k_curve] == [tried.value for tried in many.k_curve]
    assert [16 * tried.compactness for tried in one.k_curve] == [t.compactness for t in many.k_curve]


@pytest.mark.parametrize("colors", [2, 3, 7])
def test_flat_colours_get_a_cluster_each(colors: int) -> None:
    """Also where the range could go on."""
    s = segment(blocks([tuple(color) for color in APART[:colors].tolist()]), "auto")
    assert len(s.counts) == colors
    assert s.k_curve is not None
    assert [tried.k for tried in s.k_curve] == list(range(2, colors + 1))
    assert s.compactness == s.k_curve[-1].value == 0


def test_the_curve_in_the_docs_is_true() -> None:
    text = PAGES["docs/colors-and-regions.md"].split('"k_curve": ')[1].split("]]")[0] + "]]"
    curve = segment(photos()["coffee"], "auto").k_curve
    assert curve is not None
    assert json.loads(text) == [[tried.k, round(tried.value, 6)] for tried in curve]


# ---- all backends alike ----------------------------------------------------------------------------------

REFERENCE = cast(
    "Backend",
    SimpleNamespace(
        fit=reference.fit, assign=lambda image, palette, _histogram: reference.assign(image, palette)
    ),
)
"""The functions of a backend that `select_k` calls, in plain NumPy."""


@pytest.mark.parametrize(
    "image",
    [
        photos()["chelsea"][100:130:2, 150:200:2],
        gradient(24, 32),
        noise(20, 30, seed=3),
        blobs(4, 5, seed=1, side=50),
        two_colors(),
    ],
    ids=["photo", "gradient", "noise", "blobs", "two colours"],
)
def test_numba_and_the_emulated_gpu_choose_as_numpy_does(image: Image, emulated: GpuBackend) -> None:
    options, k_range = FitOptions(attempts=1), KRange(2, 6)
    histogram = emulated.histogram(image)
    expected = select_k(REFERENCE, histogram, options, k_range)
    alone = reference.fit(histogram, replace(options, k=len(expected.palette.counts)))
    assert np.array_equal(expected.palette.fixed_centers, alone.fixed_centers)
    for backend in (load("numba"), emulated):
        found = select_k(backend, histogram, options, k_range)
        assert found.curve == expected.curve  # to the last bit
        assert np.array_equal(found.palette.fixed_centers, expected.palette.fixed_centers)


def test_opencv_finds_the_true_number() -> None:
    assert len(segment(blobs(4, 5, seed=2, side=60), "auto:2-6", backend="opencv", attempts=3).counts) == 4


# ---- from Python -----------------------------------------------------------------------------------------


def test_segment_and_fit_palette() -> None:
    rgb = blobs(6, 4, seed=3, side=40)
    s = segment(rgb, k="auto")
    assert np.array_equal(s.centers, segment(rgb, k=6).centers)
    assert segment(rgb, k=6).k_curve is None
    assert segment(rgb, k="auto", smooth=1).k_curve == s.k_curve
    palette = fit_palette([rgb[:20], rgb[20:]], k="auto:2-8")
    assert np.array_equal(palette.fixed_centers, s.palette.fixed_centers)
    assert segment(rgb, "3").counts.tolist() == segment(rgb, 3).counts.tolist()


def test_fewer_colours_than_the_range_warn() -> None:
    with pytest.warns(FewerColorsWarning, match="only 1 distinct colour, so 1 cluster instead of 2"):
        segment(flat(3, 3), "auto")


def test_an_empty_cluster_makes_no_candidate() -> None:
    """After a single iteration a cluster may have no pixel; such a fit does not have k clusters."""
    backend = load("numba")
    histogram = backend.histogram(noise(30, 30, seed=1))

    def fit(histogram: Any, options: FitOptions) -> Any:
        palette = backend.fit(histogram, options)
        return (
            replace(palette, counts=palette.counts * (np.arange(options.k) > 0)) if options.k > 3 else palette
        )

    emptying = cast("Backend", SimpleNamespace(fit=fit, assign=backend.assign))
    chosen = select_k(emptying, histogram, FitOptions(), KRange(2, 6))
    assert chosen.curve is not None
    assert [tried.k for tried in chosen.curve] == [2, 3]
    assert len(select_k(emptying, histogram, FitOptions(), KRange(4, 6)).palette.counts) == 4
