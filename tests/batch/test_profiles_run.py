"""Colour profiles through the command line: outputs, the manifest, the summary, and what is done again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from kseg_batch import read_palette, segment
from kseg_batch.images.decode import decode
from tests.support.commands import kseg
from tests.support.faults import HIDE_LITTLECMS, break_module
from tests.support.icc import ADOBE_RGB, DISPLAY_P3, SRGB_CURVE, gamma, matrix_profile, table_profile
from tests.support.image_files import pixels_of, save
from tests.support.images import blocks, noise
from tests.support.outputs import manifest

if TYPE_CHECKING:
    from pathlib import Path

P3 = matrix_profile(DISPLAY_P3, SRGB_CURVE, name="Display P3", version=4)
ADOBE = matrix_profile(ADOBE_RGB, gamma(563 / 256), name="Adobe RGB (1998)")
COLORS = [(200, 40, 30), (40, 160, 60), (30, 50, 180)]


@pytest.fixture
def photos_of_three_spaces(tmp_path: Path) -> Path:
    """A folder p of the same three colours in Display P3, in Adobe RGB and in sRGB; returns its parent."""
    (tmp_path / "p").mkdir()
    for name, profile in (("p3.png", P3), ("adobe.tif", ADOBE), ("srgb.png", None)):
        Image.fromarray(blocks(COLORS)).save(tmp_path / "p" / name, icc_profile=profile)
    return tmp_path


def palette_of(path: Path) -> list[list[int]]:
    with Image.open(path) as picture:
        values = picture.getpalette("RGB")
    assert values is not None
    return [values[3 * i : 3 * i + 3] for i in range(3)]


def notes(out: Path) -> dict[str, list[str]]:
    return {line["name"]: line["notes"] for line in manifest(out)}


def test_outputs_have_the_colors_that_the_maker_meant(photos_of_three_spaces: Path) -> None:
    result = kseg("run", "p", "--save", "segmented,masked", "--disable", 0, cwd=photos_of_three_spaces)
    assert result.returncode == 0
    out = photos_of_three_spaces / "p-kseg"
    assert notes(out) == {
        "p3": ["Display P3 to sRGB"],
        "adobe": ["Adobe RGB (1998) to sRGB"],
        "srgb": [],
    }
    assert "2 images converted to sRGB: noted in the manifest" in result.stdout
    assert "with a note" not in result.stdout
    for name in ("p3.png", "adobe.tif", "srgb.png"):
        rgb = decode((photos_of_three_spaces / "p" / name).read_bytes()).rgb
        stem = name.partition(".")[0]
        expected = segment(rgb, 3)
        assert palette_of(out / f"segmented/{stem}.png") == expected.palette.colors.tolist()
        assert_array_equal(pixels_of(out / f"masked/{stem}.png"), expected.masked(rgb, 0))
    assert palette_of(out / "segmented/srgb.png") == sorted(
        map(list, COLORS), key=lambda color: 299 * color[0] + 587 * color[1] + 114 * color[2]
    )
    assert palette_of(out / "segmented/p3.png") != palette_of(out / "segmented/srgb.png")


def test_profiles_can_be_ignored_and_a_change_does_images_again(photos_of_three_spaces: Path) -> None:
    assert kseg("run", "p", cwd=photos_of_three_spaces).returncode == 0
    assert kseg("run", "p", cwd=photos_of_three_spaces).stdout.startswith("3 images skipped")
    result = kseg("run", "p", "--profile", "ignore", cwd=photos_of_three_spaces)
    out = photos_of_three_spaces / "p-kseg"
    assert result.stdout.startswith("3 images")
    assert notes(out)["p3"] == ["its colour profile was ignored (Display P3)"]
    assert "2 images with a note in the manifest" in result.stdout and "converted" not in result.stdout
    same = palette_of(out / "segmented/srgb.png")
    assert [palette_of(out / f"segmented/{name}.png") for name in ("p3", "adobe")] == [same, same]


def test_colors_are_the_same_without_numba(photos_of_three_spaces: Path) -> None:
    flags = ("--save", "masked", "--disable", 0, "--backend", "opencv")
    assert kseg("run", "p", *flags, "-o", "with", cwd=photos_of_three_spaces).returncode == 0
    broken = break_module(photos_of_three_spaces / "broken", "numba")
    assert kseg("run", "p", *flags, "-o", "without", cwd=photos_of_three_spaces, path=broken).returncode == 0
    assert notes(photos_of_three_spaces / "without")["p3"] == ["Display P3 to sRGB"]
    for name in ("p3", "adobe", "srgb"):
        one, other = (photos_of_three_spaces / out / f"masked/{name}.png" for out in ("with", "without"))
        assert one.read_bytes() == other.read_bytes()


def test_fit_counts_converted_colors(photos_of_three_spaces: Path) -> None:
    assert kseg("fit", "p/p3.png", "-o", "p3.json", cwd=photos_of_three_spaces).returncode == 0
    result = kseg(
        "fit", "p/p3.png", "-o", "raw.json", "--profile", "ignore", "--json", cwd=photos_of_three_spaces
    )
    assert '"its colour profile was ignored (Display P3)"' in result.stdout
    rgb = decode((photos_of_three_spaces / "p/p3.png").read_bytes()).rgb
    assert_array_equal(read_palette(photos_of_three_spaces / "p3.json").centers, segment(rgb, 3).centers)
    assert_array_equal(
        read_palette(photos_of_three_spaces / "raw.json").centers, segment(blocks(COLORS), 3).centers
    )


def test_show_prints_the_conversion(photos_of_three_spaces: Path) -> None:
    result = kseg("show", "p/p3.png", "--save", "a.png", cwd=photos_of_three_spaces)
    assert "p/p3.png: Display P3 to sRGB" in result.stderr
    result = kseg("show", "p/p3.png", "--profile", "ignore", "--save", "a.png", cwd=photos_of_three_spaces)
    assert "p/p3.png: its colour profile was ignored (Display P3)" in result.stderr


def test_littlecms_and_its_absence(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    Image.fromarray(noise(20, 20)).save(tmp_path / "p/a.png", icc_profile=table_profile(b"RGB ", name="t"))
    save(noise(20, 20), tmp_path / "p/b.png")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HIDE_LITTLECMS)
    result = kseg("run", "p", cwd=tmp_path, path=site)
    assert result.returncode == 3
    assert "p/a.png: its colours need LittleCMS" in result.stderr
    assert "--profile ignore takes its numbers as they are" in result.stderr
    assert kseg("run", "p", "--profile", "ignore", cwd=tmp_path, path=site).returncode == 0
    assert notes(tmp_path / "p-kseg")["a"] == ["its colour profile was ignored"]
    assert kseg("run", "p", "--out", "q", cwd=tmp_path).returncode == 0
    assert notes(tmp_path / "q")["a"][0].startswith("t to sRGB by LittleCMS 2.")


def test_the_coco_annotations_of_a_turned_photo_are_upright(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(blocks(COLORS))
    picture.save(tmp_path / "p/turned.png", exif=exif)
    picture.save(tmp_path / "p/turned2.tif", exif=exif)
    picture.save(tmp_path / "p/upright.png")
    assert kseg("run", "p", "--save", "coco", cwd=tmp_path).returncode == 0
    note = "its COCO sizes and masks are those of the upright photo, and not of the pixels as stored"
    assert notes(tmp_path / "p-kseg") == {"turned": [note], "turned2": [note], "upright": []}
    sizes = {line["name"]: line["size"] for line in manifest(tmp_path / "p-kseg")}
    assert sizes["turned"] == sizes["turned2"] == sizes["upright"][::-1]
    assert kseg("run", "p", "--save", "masks", cwd=tmp_path).returncode == 0
    assert notes(tmp_path / "p-kseg") == {"turned": [], "turned2": [], "upright": []}
