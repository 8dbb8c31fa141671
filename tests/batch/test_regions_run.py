"""`--smooth` and `--min-region` through the real command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kseg_batch import segment
from kseg_batch.segmentation.regions import load_cleaner, merged, smoothed
from tests.support.commands import kseg
from tests.support.faults import break_module
from tests.support.image_files import pixels_of, save, with_alpha
from tests.support.images import noise, photos
from tests.support.labels import random_labels, region_sizes
from tests.support.outputs import manifest

SAVE = [word for kind in ("segmented", "masks", "labels") for word in ("--save", kind)]


@pytest.fixture(scope="module", autouse=True)
def compiled_kernels_of_regions() -> None:
    """Compile the kernels of regions, so that no command says that it compiles them."""
    load_cleaner().warm_up()


def test_a_run_writes_and_counts_clean_labels(tmp_path: Path) -> None:
    rgb = photos()["china"][::2, ::2]
    save(rgb, tmp_path / "p/china.png")
    flags = ["--k", 4, "--smooth", 1, "--min-region", 50, *SAVE]
    result = kseg("run", "p", *flags, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    out = tmp_path / "p-kseg"
    labels = pixels_of(out / "labels/china.png")
    s = segment(rgb, 4, smooth=1, min_region=50)
    assert np.array_equal(labels, s.labels)
    assert min(region_sizes(labels, 4)) >= 50 > min(region_sizes(segment(rgb, 4).labels, 4))
    assert np.array_equal(pixels_of(out / "segmented/china.png"), labels)
    masks = [pixels_of(out / f"masks/china_mask{i}.png") for i in range(4)]
    assert all(np.array_equal(mask, labels == i) for i, mask in enumerate(masks))
    (line,) = manifest(out)
    assert line["counts"] == [int(mask.sum()) for mask in masks] == s.counts.tolist()
    assert line["compactness"] == segment(rgb, 4).compactness

    assert kseg("run", "p", *flags, cwd=tmp_path).stdout.startswith("1 image skipped: ")
    plan = kseg("run", "p", *flags, "--min-region", 51, "--dry-run", cwd=tmp_path)
    assert "do   p/china.png: the options changed" in plan.stdout
    assert kseg("run", "p", "--k", 4, *SAVE, cwd=tmp_path).stdout.startswith("1 image, ")
    assert np.array_equal(pixels_of(out / "labels/china.png"), segment(rgb, 4).labels)


def test_transparent_pixels_stay_and_have_no_say(tmp_path: Path) -> None:
    rgb = photos()["coffee"][100:140, 100:150]
    opaque = random_labels(40, 50, 5, seed=1) > 0
    save(with_alpha(rgb, opaque), tmp_path / "photo.png")
    kseg("run", "photo.png", *SAVE, "-o", "plain", cwd=tmp_path)
    kseg("run", "photo.png", *SAVE, "-o", "clean", "--smooth", 1, "--min-region", 40, cwd=tmp_path)
    plain = np.where(opaque, pixels_of(tmp_path / "plain/labels/photo.png"), 3).astype(np.uint8)
    expected = merged(smoothed(plain, 3, 1), 3, 40)
    labels = pixels_of(tmp_path / "clean/labels/photo.png")
    assert np.array_equal(labels, np.where(opaque, expected, 255))
    assert not np.array_equal(expected, plain)
    assert manifest(tmp_path / "clean")[0]["counts"] == [int((labels == i).sum()) for i in range(3)]


@pytest.mark.parametrize(("flag", "value"), [("--smooth", 8), ("--smooth", -1), ("--min-region", -3)])
def test_flags_out_of_range(tmp_path: Path, flag: str, value: int) -> None:
    save(noise(4, 4), tmp_path / "a.png")
    result = kseg("run", "a.png", flag, value, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"kseg-batch: {flag} must be ")
    assert result.stderr.count("\n") == 1


def test_without_numba_nothing_is_left_out_in_silence(tmp_path: Path) -> None:
    blocked = break_module(tmp_path / "blocked", "numba")
    save(noise(8, 8), tmp_path / "a.png")
    flags = ["--backend", "opencv", "--min-region", 5]
    result = kseg("run", "a.png", *flags, cwd=tmp_path, path=blocked)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "kseg-batch: Smoothing labels and merging small regions need Numba: "
        "Numba cannot be imported (no numba here)"
    )
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "a.png-kseg").exists()
