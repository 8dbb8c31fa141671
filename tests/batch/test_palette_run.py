"""`kseg-batch run --palette`: the same clusters in every image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kseg_batch import Palette, apply_palette, fit_palette, read_palette, write_palette
from kseg_batch.batch.plan import fingerprint
from kseg_batch.batch.workers.jobs import Settings
from kseg_batch.kmeans.color_spaces import ColorSpace, convert
from kseg_batch.kmeans.options import FitOptions
from tests.support.commands import done_again, kseg
from tests.support.image_files import pixels_of, save, with_alpha
from tests.support.images import blocks, flat, noise, photos
from tests.support.outputs import entries, manifest, pngs, tree

GIVEN = ["#fafafa", "#202020", "#a06030"]


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    save(photos()["coffee"][::2, ::2], tmp_path / "p/a.png")
    save(photos()["chelsea"][::2, ::2], tmp_path / "p/b.png")
    save(photos()["china"][::2, ::2], tmp_path / "p/deep/c.png")
    return tmp_path


def labels(out: Path, name: str) -> np.ndarray:
    return pixels_of(out / f"labels/{name}.png")


@pytest.mark.parametrize("k", [2, 9])
@pytest.mark.parametrize("color_space", ["rgb", "lab"])
def test_labels_equal_apply_palette(photo_folder: Path, k: int, color_space: ColorSpace) -> None:
    images = {name: pixels_of(photo_folder / f"p/{name}.png") for name in ("a", "b", "deep/c")}
    palette = fit_palette(images.values(), k=k, color_space=color_space)
    write_palette(photo_folder / "p.json", palette)
    result = kseg("run", "p", "--palette", "p.json", "--save", "labels", "--save", "masks", cwd=photo_folder)
    assert (result.returncode, result.stderr) == (0, "")
    out = photo_folder / "p-kseg"
    counts, compactness = np.zeros(k, np.int64), 0.0
    for line in manifest(out):
        name = str(line["name"])
        expected = apply_palette(images[name], palette)
        assert np.array_equal(labels(out, name), expected)
        for cluster in range(k):
            assert np.array_equal(pixels_of(out / f"masks/{name}_mask{cluster}.png"), expected == cluster)
        assert line["centers"] == palette.centers.tolist()
        assert line["counts"] == np.bincount(expected.ravel(), minlength=k).tolist()
        distances = (convert(images[name], color_space) - palette.fixed_centers[expected] / 64) ** 2
        assert line["compactness"] == distances.sum()  # of multiples of 2**-12, so exact
        counts += line["counts"]
        compactness += distances.sum()
    assert counts.tolist() == palette.counts.tolist()
    assert compactness == palette.compactness


def test_a_cluster_is_the_same_in_every_image_and_some_have_no_pixel(photo_folder: Path) -> None:
    """Clusters keep the order of the list, which is not the order of lightness."""
    save(flat(5, 5, (30, 31, 32)), photo_folder / "p/dark.png")
    save(blocks([(250, 250, 250), (40, 30, 30)]), photo_folder / "p/both.png")
    flags = ("--palette", ",".join(GIVEN), "--save", "labels", "--save", "segmented", "--save", "masks")
    assert kseg("run", "p", *flags, "--disable", 1, cwd=photo_folder).returncode == 0
    out = photo_folder / "p-kseg"
    assert (labels(out, "dark") == 1).all()
    assert set(labels(out, "both")[0].tolist()) == {0, 1}
    assert len([name for name in tree(out) if "dark_mask" in name]) == 3
    with Image.open(out / "segmented/both.png") as picture:
        assert set(map(tuple, np.asarray(picture.convert("RGB"))[0])) == {(250, 250, 250), (32, 32, 32)}
    with Image.open(out / "masked/dark.png") as picture:
        assert not np.asarray(picture).any()


def test_names_stand_in_flags_and_in_the_names_of_masks(photo_folder: Path) -> None:
    (photo_folder / "p.txt").write_text("#fafafa snow\n#202020\n#a06030 old wood\n")
    flags = ("--palette", "p.txt", "--save", "masks", "--disable", "Snow")
    assert kseg("run", "p", *flags, cwd=photo_folder).returncode == 0
    out = photo_folder / "p-kseg"
    masks = ["a_mask1.png", "a_mask_old wood.png", "a_mask_snow.png"]
    assert sorted(path.name for path in (out / "masks").glob("a_*")) == masks
    with Image.open(out / "masked/a.png") as picture, Image.open(out / "masks/a_mask_snow.png") as snow:
        assert not np.asarray(picture)[np.asarray(snow)].any()
    assert {tuple(line["disabled"]) for line in manifest(out)} == {(0,)}
    assert "3 images skipped" in kseg("run", "p", *flags, cwd=photo_folder).stdout


def test_transparent_pixels_are_in_no_cluster(tmp_path: Path) -> None:
    rgba = with_alpha(photos()["coffee"][:40, :50], noise(40, 50, 0, 2)[..., 0] > 0)
    save(rgba, tmp_path / "a.png")
    result = kseg("run", "a.png", "-o", "out", "--palette", ",".join(GIVEN), "--save", "labels", cwd=tmp_path)
    assert result.returncode == 0
    opaque = rgba[..., 3] > 0
    expected = apply_palette(np.ascontiguousarray(rgba[..., :3]), read_palette(",".join(GIVEN)))
    assert np.array_equal(labels(tmp_path / "out", "a"), np.where(opaque, expected, 255))
    counts = manifest(tmp_path / "out")[0]["counts"]
    assert counts == np.bincount(expected[opaque], minlength=3).tolist()


def test_files_of_every_kind(photo_folder: Path) -> None:
    """The same colours from a GIMP palette, with a warning about its useless names, and from a list."""
    gimp = "\n".join(f"{int(c[1:3], 16)} {int(c[3:5], 16)} {int(c[5:], 16)} 7" for c in GIVEN)
    (photo_folder / "p.gpl").write_text(f"GIMP Palette\n{gimp}\n")
    (photo_folder / "p.txt").write_text("\n".join(GIVEN))
    written: dict[str, dict[str, bytes]] = {}
    for palette in ("p.gpl", "p.txt", ",".join(GIVEN)):
        out = f"out{len(written)}"
        result = kseg("run", "p", "-o", out, "--palette", palette, cwd=photo_folder)
        assert result.returncode == 0
        lost = "names that clusters cannot have, or that occur twice, were left out: '7', '7', '7'"
        assert result.stderr == (f"kseg-batch: p.gpl: {lost}\n" if palette == "p.gpl" else "")
        written[palette] = pngs(photo_folder / out)
    assert written["p.gpl"] == written["p.txt"] == written[",".join(GIVEN)]
    assert len(written["p.txt"]) == 12


def test_a_changed_palette_replaces_the_outputs(photo_folder: Path) -> None:
    colors = ("--palette", "p.txt")
    (photo_folder / "p.txt").write_text("\n".join(GIVEN))
    assert done_again(photo_folder, *colors) == ["a", "b", "deep/c"]
    first = entries(photo_folder / "out")["a"]["fingerprint"]
    assert done_again(photo_folder, *colors) == []
    (photo_folder / "p.txt").write_text("\n".join(c.upper() for c in GIVEN) + "\n")
    assert done_again(photo_folder, *colors) == []
    assert done_again(photo_folder, *colors, "--backend", "opencv") == []  # labels of given centres are exact
    (photo_folder / "p.txt").write_text("\n".join(reversed(GIVEN)))
    assert done_again(photo_folder, *colors) == ["a", "b", "deep/c"]
    assert entries(photo_folder / "out")["a"]["fingerprint"] != first
    (photo_folder / "p.txt").write_text("\n".join(GIVEN[:2]))
    assert len(done_again(photo_folder, *colors)) == 3
    assert not (photo_folder / "out/masks/a_mask2.png").exists()


def test_the_fingerprint_is_that_of_all_that_a_palette_decides() -> None:
    zeros = np.zeros(2, np.int64)
    palette = Palette(np.array([[0, 0, 0], [64, 64, 64]], np.int32), zeros, 0.0, None, "", "rgb", ("a", "b"))
    settings = Settings(Path("out"), FitOptions(k=2), frozenset({"masks"}), palette=palette)
    other = [
        settings,
        replace(settings, palette=None),
        replace(settings, alpha="ignore"),
        replace(settings, palette=replace(palette, color_space="lab")),
        replace(settings, palette=replace(palette, color_space="lab", mean_colors=np.zeros((2, 3)))),
        replace(settings, palette=replace(palette, color_space="lab", mean_colors=np.ones((2, 3)))),
        replace(settings, palette=replace(palette, names=("a", "c"))),
        replace(settings, palette=replace(palette, fixed_centers=palette.fixed_centers[::-1])),
        replace(settings, palette=replace(palette, fixed_centers=palette.fixed_centers + np.int32(1))),
    ]
    assert len({fingerprint(each, exact=True) for each in other}) == len(other)
    measured = replace(palette, counts=zeros + 7, compactness=1.0, n_iter=3, backend="numba")
    same = replace(settings, palette=measured, fit=FitOptions(k=2, attempts=1))
    assert fingerprint(same, exact=False) == fingerprint(settings, exact=True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-k", 3], "--k and --palette contradict each other: a palette has its clusters."),
        (["--seed", 0], "--seed and --palette contradict each other"),
        (["--color-space", "rgb"], "--color-space and --palette contradict each other"),
        (["--disable", 3], "--disable 3"),
        (["--palette", "nowhere.json"], "nowhere.json: there is no such file; colours begin with #"),
        (["--palette", "#12345"], "#12345: colour 1 must be like #2e8b57 or #abc, not '#12345'."),
        (["--palette", "p/a.png"], "p/a.png: this is not a palette: the file is not text in UTF-8."),
        (["--palette", "bad.json"], 'bad.json: "counts" must be a list of 3 items, as many as in "centers"'),
    ],
)
def test_wrong_use_gets_one_sentence(photo_folder: Path, flags: list[object], message: str) -> None:
    write_palette(photo_folder / "bad.json", read_palette(",".join(GIVEN)))
    content = json.loads((photo_folder / "bad.json").read_text()) | {"counts": [1]}
    (photo_folder / "bad.json").write_text(json.dumps(content))
    result = kseg("run", "p", "--palette", ",".join(GIVEN), *flags, cwd=photo_folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not (photo_folder / "p-kseg").exists()


def test_256_clusters_and_transparent_pixels(tmp_path: Path) -> None:
    save(with_alpha(noise(4, 4), noise(4, 4, 0, 2)[..., 0] > 0), tmp_path / "a.png")
    palette = ",".join(f"#{i:02x}{i:02x}{i:02x}" for i in range(256))
    result = kseg("run", "a.png", "--palette", palette, cwd=tmp_path)
    assert result.returncode == 1
    assert "256 clusters leave no number for its transparent pixels; use 255, or --alpha" in result.stderr


def test_the_command_line_wins_over_a_file_of_flags(photo_folder: Path) -> None:
    (photo_folder / "k.toml").write_text("k = 5\nseed = 3\n")
    (photo_folder / "both.toml").write_text("k = 5\npalette = '#000000,#ffffff'\n")
    flags = ("--palette", ",".join(GIVEN), "--config", "k.toml", "--save", "masks")
    assert kseg("run", "p", *flags, cwd=photo_folder).returncode == 0
    assert len([name for name in tree(photo_folder / "p-kseg") if "a_mask" in name]) == 3
    more: tuple[str, ...]
    for more in ((), ("--k", "2")):
        result = kseg("run", "p", "--config", "both.toml", *more, cwd=photo_folder)
        assert result.returncode == 2
        assert "--k and --palette contradict each other" in result.stderr
