"""`--k auto`: the number of clusters chosen by the colours of each image."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from kseg_batch import fit_palette, segment
from kseg_batch.backends import load
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.batch.plan import fingerprint
from kseg_batch.batch.storage.scan import Scan
from kseg_batch.batch.workers.gpu_pipeline import process_on_gpu
from kseg_batch.batch.workers.process_image import Lost, Outcome, process
from kseg_batch.errors import FewerColorsWarning
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.color_spaces import COLOR_SPACES, convert
from kseg_batch.kmeans.options import FitOptions, KRange
from kseg_batch.segmentation.select_k import FEW_PENALTY, choose_k
from tests.gpu.emulator.device import EmulatedDevice
from tests.support.commands import kseg
from tests.support.exactness import assert_same_palette
from tests.support.executors import settings_for
from tests.support.image_files import save, with_alpha
from tests.support.images import PHOTOS, Image, blocks, flat, gradient, noise, photos, two_colors
from tests.support.outputs import manifest, pngs, tree
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from kseg_batch.backends.base import Backend
    from kseg_batch.kmeans.color_spaces import ColorSpace

APART = np.array(list(itertools.product((40, 128, 216), repeat=3)))
"""Colours that are 88 grey levels from each other, or more."""


def blobs(k: int, spread: float, seed: int, side: int = 120) -> Image:
    """Noise about k colours; the first has six times the pixels of the last."""
    rng = np.random.default_rng(seed)
    colors = APART[rng.permutation(len(APART))[:k]]
    ends = np.cumsum(np.linspace(6, 1, k))
    labels = np.searchsorted(ends / ends[-1], np.linspace(0, 1, side * side, endpoint=False), side="right")
    pixels = colors[labels] + rng.normal(0, spread, (side * side, 3))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8).reshape(side, side, 3)


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


def n_masks(out: Path) -> int:
    return len(list((out / "masks").rglob("*.png")))


# ---- which k ---------------------------------------------------------------------------------------------


def test_the_true_number_is_found_whatever_the_noise(tmp_path: Path) -> None:
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
def test_distances_are_those_of_the_color_space(color_space: ColorSpace) -> None:
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


def test_the_curve_in_the_readme_is_true() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").split('"k_curve": ')[1].split("]]")[0] + "]]"
    curve = segment(photos()["coffee"], "auto").k_curve
    assert curve is not None
    assert json.loads(text) == [[tried.k, round(tried.value, 6)] for tried in curve]


# ---- all backends alike ----------------------------------------------------------------------------------

ORACLE = cast(
    "Backend",
    SimpleNamespace(
        fit=reference.fit, assign=lambda image, palette, _histogram: reference.assign(image, palette)
    ),
)
"""What `choose_k` needs of a backend, in plain NumPy."""


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
    expected = choose_k(ORACLE, histogram, options, k_range)
    alone = reference.fit(histogram, replace(options, k=len(expected.palette.counts)))
    assert np.array_equal(expected.palette.fixed_centers, alone.fixed_centers)
    for backend in (load("numba"), emulated):
        found = choose_k(backend, histogram, options, k_range)
        assert found.curve == expected.curve  # to the last bit
        assert np.array_equal(found.palette.fixed_centers, expected.palette.fixed_centers)


def test_opencv_finds_the_true_number() -> None:
    assert len(segment(blobs(4, 5, seed=2, side=60), "auto:2-6", backend="opencv", attempts=3).counts) == 4


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several numbers of clusters, one partly transparent, one of a single colour."""
    folder = tmp_path_factory.mktemp("album")
    for k in (2, 3, 5):
        save(blobs(k, 5, seed=k, side=40), folder / f"{k}.png")
    save(with_alpha(blobs(4, 3, seed=9, side=40), noise(40, 40, 0, 2)[..., 0] > 0), folder / "clear.png")
    save(flat(9, 9), folder / "flat.png")
    return folder


def test_a_run_on_a_gpu_gives_the_same_files(album: Path, tmp_path: Path, emulated: GpuBackend) -> None:
    k_range = KRange(2, 6)
    on_cpu, on_gpu = (replace(settings_for(tmp_path / name, k=6), k_range=k_range) for name in ("cpu", "gpu"))
    expected = [process(job, on_cpu, load("numba")) for job in Scan([album]).jobs()]
    found = [cast("Outcome", done) for done in process_on_gpu(Scan([album]).jobs(), on_gpu, emulated)]
    assert pngs(tmp_path / "gpu") == pngs(tmp_path / "cpu")
    curves = {outcome.job.name: outcome.k_curve for outcome in expected}
    assert {outcome.job.name: outcome.k_curve for outcome in found} == curves
    palettes = {outcome.job.name: outcome.palette for outcome in found}
    assert {name: len(p.counts) for name, p in palettes.items() if p} == {
        "2": 2, "3": 3, "5": 5, "clear": 4, "flat": 1
    }  # fmt: skip
    for outcome in expected:
        one, other = outcome.palette, palettes[outcome.job.name]
        assert one and other
        assert_same_palette(one, other)


def test_an_image_too_large_for_the_gpu_is_left_to_the_cpu(tmp_path: Path, cache: Path) -> None:
    save(noise(1400, 1500, 0, 9), tmp_path / "p/large.png")
    save(blobs(3, 3, seed=0, side=30), tmp_path / "p/small.png")
    limit = 240 << 20
    gpu = GpuBackend("cupy", EmulatedDevice(cache, memory=limit), limit)
    settings = replace(settings_for(tmp_path / "out", k=4), k_range=KRange(2, 4))
    results = {r.job.name: r for r in process_on_gpu(Scan([tmp_path / "p"]).jobs(), settings, gpu)}
    large, small = results["large"], results["small"]
    assert isinstance(large, Lost) and "MB of GPU memory" in large.reason
    assert isinstance(small, Outcome) and small.error is None


# ---- a run, and the next one -----------------------------------------------------------------------------


def done(folder: Path, *flags: object) -> dict[str, int]:
    """The images that a run does, and their clusters."""
    result = kseg("run", "p", "-o", "out", "--json", *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()[:-1]]
    return {line["name"]: len(line["counts"]) for line in lines if line["status"] == "done"}


def test_what_is_chosen_is_done_once_and_again_when_the_range_changes(tmp_path: Path) -> None:
    save(blobs(5, 4, seed=1, side=40), tmp_path / "p/five.png")
    out = tmp_path / "out"
    assert done(tmp_path, "--k", 7) == {"five": 7}
    assert n_masks(out) == 7
    assert done(tmp_path, "--k", "auto") == {"five": 5}
    assert n_masks(out) == 5  # those of the larger k are gone
    assert done(tmp_path, "--k", "auto") == done(tmp_path, "--k", "auto:2-12") == {}
    assert done(tmp_path, "--k", "auto:2-4")["five"] <= 4
    assert done(tmp_path, "--k", 3) == {"five": 3}
    assert n_masks(out) == 3
    (line,) = manifest(out)
    assert "k_curve" not in line
    (tmp_path / "kseg.toml").write_text('k = "auto:3-9"\n')
    assert done(tmp_path, "--config", "kseg.toml") == {"five": 5}
    assert done(tmp_path, "--k", 12) == {"five": 12}  # the end of the default range is not that range


def test_fingerprints_know_the_range(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, k=12)
    ranges = (None, KRange(2, 12), KRange(3, 12))
    prints = {fingerprint(replace(settings, k_range=k_range), exact=True) for k_range in ranges}
    assert len(prints) == 3


def test_few_colours_and_disabled_clusters(tmp_path: Path) -> None:
    save(flat(8, 9, (7, 8, 9)), tmp_path / "p/flat.png")
    save(two_colors(), tmp_path / "p/two.png")
    flags = ("--k", "auto:3-6", "--save", "masked", "--disable", 1, "--disable", 5)
    assert done(tmp_path, *flags) == {"flat": 1, "two": 2}
    lines: dict[object, Any] = {line["name"]: line for line in manifest(tmp_path / "out")}
    missing = ["it has no cluster 1", "it has no cluster 5"]
    assert lines["flat"]["notes"] == ["it has 1 colour, so as many clusters", *missing]
    assert lines["two"]["notes"] == ["it has 2 colours, so as many clusters", missing[1]]
    assert lines["flat"]["k_curve"] == lines["two"]["k_curve"] == []
    assert done(tmp_path, "--k", "auto", "-o", "other") == {"flat": 1, "two": 2}
    (flat_line, two_line) = sorted(manifest(tmp_path / "other"), key=lambda line: str(line["name"]))
    assert (flat_line["k_curve"], two_line["k_curve"]) == ([], [[2, 0.0]])
    assert (flat_line["notes"], two_line["notes"]) == (["it has 1 colour, so as many clusters"], [])


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--k", "many"], "--k must be a whole number, auto, or a range such as auto:2-20, not 'many'."),
        (["--k", "auto:9-4"], "the lower number first, not 9-4."),
        (["--k", "auto", "--disable", "12"], "--disable 12: the clusters are 0 to 11."),
    ],
)
def test_wrong_values(tmp_path: Path, flags: list[str], reason: str) -> None:
    save(flat(2, 2), tmp_path / "a.png")
    result = kseg("run", "a.png", *flags, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("kseg-batch: --") and reason in result.stderr
    assert tree(tmp_path) == ["a.png"]


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
    with pytest.warns(FewerColorsWarning, match="1 distinct colours, so as many clusters instead of 2"):
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
    chosen = choose_k(emptying, histogram, FitOptions(), KRange(2, 6))
    assert chosen.curve is not None
    assert [tried.k for tried in chosen.curve] == [2, 3]
    assert len(choose_k(emptying, histogram, FitOptions(), KRange(4, 6)).palette.counts) == 4
