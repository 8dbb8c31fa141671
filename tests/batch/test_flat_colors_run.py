"""Colours in lab and oklab through `run` and `fit`: exact in files and manifest, and the same on a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from kseg_batch import read_palette, segment
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.registry import load
from kseg_batch.batch.storage.scan import Scan
from kseg_batch.batch.workers.count_colors import CountPool
from kseg_batch.batch.workers.gpu_pipeline import process_on_gpu
from kseg_batch.batch.workers.jobs import Outcome, Settings
from kseg_batch.batch.workers.process_image import process_image
from kseg_batch.kmeans.color_spaces import ColorSpace
from kseg_batch.kmeans.options import FitOptions, KRange, RegionOptions
from kseg_batch.kmeans.palette import Palette
from tests.support.commands import kseg
from tests.support.executors import comparable, settings_for
from tests.support.fits import fit_by
from tests.support.image_files import pixels_of, save, with_alpha
from tests.support.images import FLAT, blocks, noise, photos
from tests.support.outputs import entries, pngs

SPACES: tuple[ColorSpace, ...] = ("lab", "oklab")


def picture(path: Path) -> np.ndarray:
    """The RGB pixels of an indexed PNG."""
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"))


@pytest.mark.parametrize("space", SPACES)
def test_flat_colors_stay_what_they_are(tmp_path: Path, space: ColorSpace) -> None:
    """In the pictures and the manifest of a run; and with the palette of a fit, also in another photo."""
    image, other = blocks(FLAT), np.full((4, 5, 3), (3, 250, 6), np.uint8)
    save(image, tmp_path / "p/flat.png")
    how = ("--color-space", space, "-k", len(FLAT))
    assert kseg("run", "p", *how, "-o", "own", "--save", "segmented", cwd=tmp_path).returncode == 0
    assert_array_equal(picture(tmp_path / "own/segmented/flat.png"), image)
    assert sorted(entries(tmp_path / "own")["flat"]["centers"]) == sorted(map(list, FLAT))
    result = kseg("fit", "p", *how, "-o", "p.json", cwd=tmp_path)
    assert result.returncode == 0 and "#00ff00" in result.stdout
    save(other, tmp_path / "p/other.png")
    assert kseg("run", "p", "--palette", "p.json", "-o", "given", cwd=tmp_path).returncode == 0
    assert_array_equal(picture(tmp_path / "given/segmented/flat.png"), image)
    assert (picture(tmp_path / "given/segmented/other.png") == (0, 255, 0)).all()
    expected = read_palette(tmp_path / "p.json").centers.tolist()
    assert [line["centers"] for line in entries(tmp_path / "given").values()] == [expected] * 2


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos, one of them partly transparent with loud colours below."""
    folder = tmp_path_factory.mktemp("photo_folder")
    save(photos()["coffee"][::6, ::6], folder / "a.png")
    opaque = noise(50, 75, 0, 3, seed=1)[..., 0] > 0
    rgb = photos()["chelsea"][::6, ::6][:50, :75].copy()
    rgb[~opaque] = (255, 0, 255)
    save(with_alpha(rgb, opaque), folder / "clear.png")
    return folder


def on_both(
    folder: Path, settings: Settings, gpu: GpuBackend
) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
    """The outcomes on the CPU and on a GPU, by name; all files have to be equal."""
    settings_for(settings.out / "cpu"), settings_for(settings.out / "gpu")
    on_cpu, on_gpu = (replace(settings, out=settings.out / name) for name in ("cpu", "gpu"))
    expected = [process_image(job, on_cpu, load("numba")) for job in Scan([folder]).jobs()]
    found = [o for o in process_on_gpu(Scan([folder]).jobs(), on_gpu, gpu) if isinstance(o, Outcome)]
    assert pngs(on_gpu.out) == pngs(on_cpu.out) != {}
    assert comparable(found) == comparable(expected)
    by_name = [{outcome.job.name: outcome for outcome in outcomes} for outcomes in (expected, found)]
    return by_name[0], by_name[1]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("regions", [RegionOptions(), RegionOptions(smooth=1, min_region=20)])
@pytest.mark.parametrize("k_range", [None, KRange(2, 5)])
def test_colors_are_the_mean_of_the_opaque_pixels_before_cleaning(
    photo_folder: Path,
    tmp_path: Path,
    emulated: GpuBackend,
    space: ColorSpace,
    regions: RegionOptions,
    k_range: KRange | None,
) -> None:
    settings = replace(
        settings_for(tmp_path, regions=regions),
        fit=FitOptions(5, attempts=2, color_space=space),
        k_range=k_range,
    )
    for outcomes in on_both(photo_folder, settings, emulated):
        for name, outcome in outcomes.items():
            palette = outcome.palette
            assert palette is not None and palette.mean_colors is not None
            pixels = pixels_of(photo_folder / f"{name}.png")
            rgb = pixels[..., :3] if name == "a" else pixels[pixels[..., 3] > 0][None, :, :3]
            k = len(palette.counts)
            plain = segment(rgb, k, attempts=2, color_space=space)
            means = [rgb[plain.labels == cluster].mean(axis=0) for cluster in range(k)]
            assert_array_equal(palette.mean_colors, means)
            labels = pixels_of(tmp_path / f"cpu/labels/{name}.png")
            colors = picture(tmp_path / f"cpu/segmented/{name}.png")
            opaque = labels < 255
            assert_array_equal(colors[opaque], palette.colors[labels[opaque]])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("regions", [RegionOptions(), RegionOptions(smooth=1)])
def test_a_palette_has_its_own_colors_in_every_photo(
    photo_folder: Path, tmp_path: Path, emulated: GpuBackend, known: bool, regions: RegionOptions
) -> None:
    """Also a palette whose mean colours are not known: those of no photo take their place."""
    palette = segment(photos()["china"][::8, ::8], 4, color_space="oklab").palette
    palette = palette if known else replace(palette, mean_colors=None)
    fit = FitOptions(4, color_space="oklab")
    settings = replace(settings_for(tmp_path, regions=regions), fit=fit, palette=palette)
    for outcomes in on_both(photo_folder, settings, emulated):
        for outcome in outcomes.values():
            assert outcome.palette is not None
            assert_array_equal(outcome.palette.mean_colors, palette.mean_colors)
            assert_array_equal(outcome.palette.centers, palette.centers)


@pytest.mark.parametrize("space", SPACES)
def test_a_fit_to_one_photo_is_its_segmentation(
    photo_folder: Path, tmp_path: Path, pool: CountPool, emulated: GpuBackend, space: ColorSpace
) -> None:
    expected = segment(pixels_of(photo_folder / "a.png"), 6, color_space=space).palette
    palettes: list[Palette] = []
    for backend in (load("numba"), emulated):
        fit_by(pool, tmp_path / "p.json", [photo_folder / "a.png"], 6, backend=backend, color_space=space)
        palettes.append(read_palette(tmp_path / "p.json"))
    for palette in palettes:
        assert_array_equal(palette.fixed_centers, expected.fixed_centers)
        assert_array_equal(palette.mean_colors, expected.mean_colors)
        assert_array_equal(palette.counts, expected.counts)
