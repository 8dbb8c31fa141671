"""Palettes in files: a written palette is read back, and a file that is no palette gets one sentence."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kseg_batch import Palette, fit_palette, read_palette, write_palette
from kseg_batch.errors import OptionError, OutputError, PaletteWarning
from kseg_batch.kmeans.color_spaces import COLOR_SPACES, to_rgb
from tests.support.exactness import assert_same_palette
from tests.support.images import noise, photos

NEITHER = "this is not a palette in JSON, nor a GIMP palette, nor a list of colours"


def assert_same(one: Palette, other: Palette) -> None:
    assert_same_palette(one, other)
    assert one.fixed_centers.dtype == np.int32
    assert one.counts.dtype == np.int64
    assert one.backend == other.backend


@st.composite
def palettes(draw: st.DrawFn) -> Palette:
    k = draw(st.integers(1, 256))
    centers = draw(arrays(np.int32, (k, 3), elements=st.integers(0, 16320), unique=True))
    color_space = draw(st.sampled_from(COLOR_SPACES))
    mean_colors = arrays(np.float64, (k, 3), elements=st.floats(0, 255))
    names = tuple(f"{draw(st.sampled_from(['sky', 'Bäume', 'a b', '日']))} {i}" for i in range(k))
    return Palette(
        fixed_centers=centers,
        counts=draw(arrays(np.int64, k, elements=st.integers(0, 1 << 45))),
        compactness=draw(st.floats(0, 1e300)),
        n_iter=draw(st.none() | st.integers(0, 10**6)),
        backend=draw(st.sampled_from(["numba", "opencv", ""])),
        color_space=color_space,
        names=draw(st.sampled_from([(), names, ("", *names[1:]) if k > 1 else ()])),
        mean_colors=None if color_space == "rgb" else draw(st.none() | mean_colors),
    )


@settings(deadline=None)
@given(palettes())
def test_a_written_palette_is_read_back(tmp_path_factory: pytest.TempPathFactory, palette: Palette) -> None:
    path = tmp_path_factory.mktemp("palette") / "p.json"
    write_palette(path, palette)
    assert_same(read_palette(path), palette)
    before = path.read_bytes()
    write_palette(str(path), read_palette(str(path)), fitted=None)
    assert path.read_bytes() == before


def test_a_fitted_palette_comes_back(tmp_path: Path) -> None:
    palette = fit_palette([photos()["coffee"], photos()["chelsea"]], k=7, color_space="oklab")
    write_palette(tmp_path / "p.json", palette, fitted={"images": 2})
    assert_same(read_palette(tmp_path / "p.json"), palette)
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "p.json").mkdir()
    palette = fit_palette([noise(3, 3)], k=2)
    for path in (tmp_path / "p.json", tmp_path / "nowhere/p.json"):
        with pytest.raises(OutputError, match=f"{re.escape(str(path))} cannot be written: "):
            write_palette(path, palette)
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def written(tmp_path: Path, **changes: Any) -> Path:
    """A palette file of two clusters, with some fields changed, or removed where the value is an ellipsis."""
    path = tmp_path / "p.json"
    write_palette(path, fit_palette([noise(9, 9)], k=2))
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, 'this is not a palette: "format" is not "kseg-batch palette".'),
        ({"format": ...}, 'this is not a palette: "format" is not "kseg-batch palette".'),
        ({"version": 3}, '"version" must be 1 or 2, which this kseg-batch reads, not 3.'),
        ({"version": True}, '"version" must be 1 or 2, which this kseg-batch reads, not true.'),
        ({"version": [1]}, '"version" must be 1 or 2, which this kseg-batch reads, not [1].'),
        ({"version": ...}, '"version" must be 1 or 2, which this kseg-batch reads, not null.'),
        ({"version": 1}, '"mean_colors" is not a field of a palette.'),
        ({"mean_colors": ...}, '"mean_colors" is missing.'),
        (
            {"mean_colors": [[1, 2, 3]] * 2},
            '"mean_colors" must be null in rgb, where "centers" are the mean colours.',
        ),
        (
            {"color_space": "lab", "mean_colors": [[1, 2, 3]]},
            '"mean_colors" must be null, or a list of 2 items, as many as in "centers", not 1.',
        ),
        (
            {"color_space": "lab", "mean_colors": "red"},
            '"mean_colors" must be null, or a list of 2 items, as many as in "centers", but is not a list.',
        ),
        (
            {"color_space": "lab", "mean_colors": [[1, 2, 3], [1, 2]]},
            '"mean_colors": cluster 1 must have three numbers from 0 to 255.',
        ),
        (
            {"color_space": "oklab", "mean_colors": [[1, 2, 255.1], [1, 2, 3]]},
            '"mean_colors": cluster 0 must have three numbers from 0 to 255.',
        ),
        ({"centers": ...}, '"centers" is missing.'),
        ({"name": ["a", "b"]}, '"name" is not a field of a palette.'),
        ({"color_space": "hsv"}, '"color_space" must be one of rgb, lab, oklab, not "hsv".'),
        ({"color_space": ["rgb"]}, '"color_space" must be one of rgb, lab, oklab, not ["rgb"].'),
        ({"centers": []}, '"centers" must be a list of 1 to 256 items, not 0.'),
        ({"centers": [[1, 2, 3]] * 257}, '"centers" must be a list of 1 to 256 items, not 257.'),
        ({"centers": "#112233"}, '"centers" must be a list of 1 to 256 items, but is not a list.'),
        ({"centers": [[1, 2, 3], [1, 2]]}, '"centers": cluster 1 must have three numbers from 0 to 255.'),
        ({"centers": [[1, 2, 255.01], [1, 2, 3]]}, '"centers": cluster 0 must have three numbers from'),
        ({"centers": [[1, 2, 3], [1, 2, -0.1]]}, '"centers": cluster 1 must have three numbers from'),
        ({"centers": [[1, 2, 3], [1, 2, float("nan")]]}, '"centers": cluster 1 must have three numbers'),
        ({"centers": [[1, 2, 3], [1, 2, True]]}, '"centers": cluster 1 must have three numbers'),
        ({"centers": [[1, 2, 3], [1, 2, "3"]]}, '"centers": cluster 1 must have three numbers'),
        ({"counts": [1]}, '"counts" must be a list of 2 items, as many as in "centers", not 1.'),
        ({"counts": [1, -1]}, '"counts" must be whole numbers from 0 to 35184372088832.'),
        ({"counts": [1, 1.5]}, '"counts" must be whole numbers from 0 to 35184372088832.'),
        ({"counts": [1, 10**30]}, '"counts" must be whole numbers from 0 to 35184372088832.'),
        ({"names": ["a"]}, '"names" must be a list of 2 items, as many as in "centers", not 1.'),
        ({"names": ["a", 2]}, '"names" must be strings, and "backend" a string.'),
        ({"names": None}, '"names" must be a list of 2 items, as many as in "centers", but is not a list.'),
        (
            {"names": ["Sky", "sky"]},
            "Two clusters cannot be called 'Sky' and 'sky': names have to differ, ignoring case.",
        ),
        ({"names": ["a/b", ""]}, "A cluster cannot be called 'a/b': "),
        ({"backend": None}, '"names" must be strings, and "backend" a string.'),
        ({"compactness": "low"}, '"compactness" must be a number, 0 or more.'),
        ({"compactness": 10**400}, '"compactness" must be a number, 0 or more.'),
        ({"n_iter": 1.5}, '"n_iter" must be a whole number, 0 or more, or null.'),
        ({"n_iter": True}, '"n_iter" must be a whole number, 0 or more, or null.'),
    ],
)
def test_a_palette_that_is_wrong_gets_a_sentence(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(OptionError) as caught:
        read_palette(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "this is not valid JSON (Expecting property name"),
        (b"[" * 100_000, f"{NEITHER}: colour 1 must be"),
        (b'{"a":' * 100_000, "this is not valid JSON ("),
        (b"\xff\xd8\xff\xe0", "this is not a palette: the file is not text in UTF-8."),
        (b"#123456\n" * 200_000, "this is not a palette: the file has more than 1 MB."),
        (b"", "a palette must have 1 to 256 colours, not 0."),
        (
            b"#123456\n\n#12345\n",
            f"{NEITHER}: colour 3 must be",
        ),
        (
            b"red\n",
            f"{NEITHER}: colour 1 must be like #2e8b57",
        ),
        (b"#112233 a/b\n", "A cluster cannot be called 'a/b': "),
        (
            b"GIMP Palette\n1 2\n",
            "line 2 must be three numbers from 0 to 255, with or without a name after them.",
        ),
        (b"GIMP Palette\nName: x\n1 2 256 a\n", "line 3 must be three numbers from 0 to 255"),
        (b"GIMP Palette\nName: x\n", "a palette must have 1 to 256 colours, not 0."),
        (
            "\n".join(f"{i:06x}" for i in range(257)).encode(),
            "a palette must have 1 to 256 colours, not 257.",
        ),
    ],
)
def test_a_file_that_is_no_palette_gets_a_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(OptionError) as caught:
        read_palette(tmp_path / "p")
    assert str(caught.value).startswith(f"{tmp_path}/p: {message}")
    assert len(str(caught.value)) < 300


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="nowhere: there is no such file; colours begin with #: '#112233"):
        read_palette("nowhere")
    with pytest.raises(OptionError, match=f"{tmp_path}: the file cannot be read: Is a directory"):
        read_palette(tmp_path)


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    """Its mean colours are not known, so that the centres, converted, are the colours."""
    expected = fit_palette([noise(9, 9)], k=2)
    assert_same(read_palette(written(tmp_path, version=1, mean_colors=...)), expected)
    palette = read_palette(written(tmp_path, version=1, mean_colors=..., color_space="lab"))
    assert palette.mean_colors is None
    assert np.array_equal(palette.centers, to_rgb(expected.fixed_centers / 64, "lab"))


def test_mean_colors_may_be_whole_numbers_or_unknown(tmp_path: Path) -> None:
    colors = [[0, 255, 0], [1.5, 2, 3]]
    palette = read_palette(written(tmp_path, color_space="lab", mean_colors=colors))
    assert palette.mean_colors is not None and palette.mean_colors.tolist() == colors
    assert palette.colors.tolist() == [[0, 255, 0], [2, 2, 3]]
    assert read_palette(written(tmp_path, color_space="lab", mean_colors=None)).mean_colors is None


def test_centers_are_read_to_a_64th(tmp_path: Path) -> None:
    path = written(tmp_path, centers=[[0, 1.0078, 1.0079], [254.9921, 254.9922, 255]])
    assert read_palette(path).fixed_centers.tolist() == [[0, 64, 65], [16319, 16320, 16320]]


def colors_of(palette: Palette) -> list[list[int]]:
    assert (palette.fixed_centers % 64 == 0).all()
    assert palette.counts.tolist() == [0] * len(palette.colors)
    assert palette.color_space == "rgb"
    return [[int(channel) for channel in color] for color in palette.colors]


def test_colors_on_the_command_line_and_in_a_file(tmp_path: Path) -> None:
    expected = [[170, 187, 204], [17, 34, 51], [255, 0, 0]]
    assert colors_of(read_palette("#aabbcc,#112233, #F00")) == expected
    (tmp_path / "p.hex").write_bytes(b"\xef\xbb\xbfAABBCC\r\n\r\n  #112233 \r\n#f00")
    palette = read_palette(tmp_path / "p.hex")
    assert (colors_of(palette), palette.names) == (expected, ())
    (tmp_path / "named.txt").write_text("#aabbcc\tlight sky\n112233\n#f00  poppy\n", encoding="utf-8")
    palette = read_palette(str(tmp_path / "named.txt"))
    assert (colors_of(palette), palette.names) == (expected, ("light sky", "", "poppy"))


def test_a_gimp_palette(tmp_path: Path) -> None:
    path = tmp_path / "p.gpl"
    path.write_text(
        "GIMP Palette\nName: Of somebody\nColumns: 3\n#\n"
        "  0   0   0\tnight\n# a remark\n 12 200   7\tUntitled\n\n255 255 255 snow white\n1 2 3\n",
        encoding="utf-8",
    )
    palette = read_palette(path)
    assert colors_of(palette) == [[0, 0, 0], [12, 200, 7], [255, 255, 255], [1, 2, 3]]
    assert palette.names == ("night", "", "snow white", "")


def test_names_of_a_gimp_palette_that_are_of_no_use(tmp_path: Path) -> None:
    path = tmp_path / "p.gpl"
    names = ["Sky", "12", "a/b", "sky", "blue", "x:y", "c*"]
    path.write_text("GIMP Palette\n" + "".join(f"{i} {i} {i} {name}\n" for i, name in enumerate(names)))
    with pytest.warns(PaletteWarning) as caught:
        palette = read_palette(path)
    assert palette.names == ("Sky", "", "", "", "blue", "", "")
    assert [str(warning.message) for warning in caught] == [
        f"{path}: names that clusters cannot have, or that occur twice, were left out: "
        "'12', 'a/b', 'sky', ..."
    ]
    assert caught[0].filename == __file__


def test_a_color_that_is_there_twice(tmp_path: Path) -> None:
    with pytest.warns(PaletteWarning) as caught:
        palette = read_palette("#000,#112233,#000000")
    assert len(palette.counts) == 3
    assert [str(warning.message) for warning in caught] == [
        "#000,#112233,#000000: cluster 2 has the colour of cluster 0, and so gets no pixels"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_palette(tmp_path / "p.json", palette)
    with pytest.warns(PaletteWarning, match="cluster 2 has the colour of cluster 0"):
        read_palette(tmp_path / "p.json")
