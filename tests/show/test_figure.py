"""`kseg-batch show`: the content of its figures, the files and windows, and messages about errors."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, ImageGrab

from kseg_batch import segment
from kseg_batch.backends.registry import load
from kseg_batch.images.decode import Photo
from kseg_batch.kmeans.color_spaces import convert
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.segmentation.segment import Segmentation
from kseg_batch.show import output
from kseg_batch.show.figure import ScoredSegmentation, draw, segment_photo
from tests.support.commands import command_line, kseg
from tests.support.faults import hide_modules
from tests.support.image_files import save
from tests.support.images import Image as Pixels
from tests.support.images import blocks, noise, photos
from tests.support.palettes import palette_of
from tests.support.processes import PATIENCE, wait_until

LONG_NAME = "a" * 300 + ".png"

THREE = blocks([(20, 30, 40), (200, 60, 50), (240, 230, 220)], side=3) + noise(6, 9, 0, 12)


def show(path: Path, *arguments: object) -> str:
    """Run the command, which has to succeed; return its messages."""
    result = kseg("show", path, "--no-gpu", *arguments, cwd=path.parent)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    return result.stderr


def contents(svg: Path) -> tuple[list[Pixels], list[str]]:
    """The images and the texts of a figure, in their order."""
    text = svg.read_text()
    images = re.findall(r'<image xlink:href="data:image/png;base64,\s*([^"]+)"', text)
    arrays = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in images]
    titles = re.findall(r"<!-- (.*?) -->", text, re.DOTALL)
    return [array[::-1] for array in arrays], titles  # an SVG holds images upside down


def reduce(image: Pixels, height: int, width: int) -> Pixels:
    """The (height, width, 3) pixels that were enlarged to an image, read at their middles."""
    y, x = (
        ((np.arange(n) + 0.5) * size / n).astype(int)
        for n, size in zip((height, width), image.shape[:2], strict=True)
    )
    reduced: Pixels = image[y[:, None], x]
    return reduced


def test_each_cluster_alone(tmp_path: Path) -> None:
    height, width = THREE.shape[:2]
    messages = show(save(THREE, tmp_path / "a.png"), "--save", "a.svg")
    assert messages == "kseg-batch: written: a.svg\n"
    images, texts = contents(tmp_path / "a.svg")
    s = segment(THREE, 3)
    alone = [np.where(s.mask(i)[..., None], THREE, 0) for i in range(3)]
    assert len(images) == 5
    for image, expected in zip(images, [THREE, s.segmented(), *alone], strict=True):
        assert np.array_equal(reduce(image, height, width), expected)
    variance = ((THREE - THREE.mean(axis=(0, 1))) ** 2).sum()
    shares = [f"{100 * count / THREE[..., 0].size:.1f}%" for count in s.counts]
    assert texts == [
        "9 × 6",
        f"k = 3, {100 * (1 - s.compactness / variance):.1f}% explained",
        *(f"{i}: {share}" for i, share in enumerate(shares)),
        *(text for i, share in enumerate(shares) for text in (f"{i}", share)),
    ]


def test_several_numbers_of_clusters(tmp_path: Path) -> None:
    photo = photos()["coffee"]
    flags = ("--seed", 3, "--attempts", 2, "--eps", 1, "--color-space", "oklab")
    show(save(photo, tmp_path / "a.png"), "-k", "5,2", *flags, "--save", "a.svg")
    images, texts = contents(tmp_path / "a.svg")
    assert len(images) == 3
    assert texts[0] == "600 × 400"
    colors = convert(photo, "oklab")
    variance = ((colors - colors.mean(axis=(0, 1))) ** 2).sum()
    for image, k in zip(images[1:], (2, 5), strict=True):
        s = segment(photo, k, seed=3, attempts=2, eps=1, color_space="oklab")
        assert {tuple(color) for color in image.reshape(-1, 3)} == {tuple(c) for c in s.palette.colors}
        assert f"k = {k}, {100 * (1 - s.compactness / variance):.1f}% explained" in texts
        wide = s.counts[s.counts > 0.15 * s.counts.sum()]
        assert {f"{100 * count / s.counts.sum():.1f}%" for count in wide} <= set(texts)


def test_a_selected_number_of_clean_clusters(tmp_path: Path) -> None:
    show(
        save(THREE, tmp_path / "a.png"), "-k", "auto:2-6", "--smooth", 1, "--min-region", 4, "--save", "a.svg"
    )
    images, texts = contents(tmp_path / "a.svg")
    s = segment(THREE, "auto:2-6", smooth=1, min_region=4)
    assert not np.array_equal(s.labels, segment(THREE, len(s.counts)).labels)
    assert len(images) == 2 + len(s.counts)
    assert np.array_equal(reduce(images[1], *THREE.shape[:2]), s.segmented())
    assert texts[2] == f"0: {100 * s.counts[0] / s.counts.sum():.1f}%"


def test_transparent_pixels_are_a_checkerboard_and_in_no_cluster(tmp_path: Path) -> None:
    rgba = np.dstack([THREE, np.full(THREE.shape[:2], 255, np.uint8)])
    rgba[:4, :4, 3] = 0
    path = save(rgba, tmp_path / "a.png")
    show(path, "--save", "a.svg")
    images, texts = contents(tmp_path / "a.svg")
    visible = rgba[..., 3] > 0
    s = segment(THREE[visible][None], 3)
    assert texts[2:5] == [f"{i}: {100 * n / visible.sum():.1f}%" for i, n in enumerate(s.counts)]
    y, x = np.mgrid[:4, :4]
    for image in images:
        hidden = reduce(image, *visible.shape)[:4, :4]
        assert np.array_equal(hidden, np.where((x + y) % 2, 205, 255)[..., None].repeat(3, axis=2))
    for i, image in enumerate(images[2:]):
        expected = np.where((s.labels[0] == i)[:, None], THREE[visible], 0)
        assert np.array_equal(reduce(image, *visible.shape)[visible], expected)
    show(path, "--alpha", "ignore", "--min-region", 2, "--save", "b.svg")
    ignored, _ = contents(tmp_path / "b.svg")
    assert np.array_equal(reduce(ignored[0], *visible.shape), THREE)


def test_a_photo_is_shown_upright_and_no_larger_than_its_place(tmp_path: Path) -> None:
    photo = np.asarray(Image.fromarray(photos()["coffee"]).resize((1800, 1200)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(photo).save(tmp_path / "a.jpg", quality=95, exif=exif)
    show(tmp_path / "a.jpg", "--k", 2, "--save", "a.svg", "--dpi", 50)
    images, texts = contents(tmp_path / "a.svg")
    assert texts[0] == "1,200 × 1,800"
    height, width = images[0].shape[:2]
    assert height < 375 and abs(width / height - 2 / 3) < 0.01
    upright = Image.fromarray(np.rot90(photo, -1)).resize((width, height), Image.Resampling.BOX)
    assert np.abs(images[0].astype(int) - np.asarray(upright)).mean() < 4  # turned otherwise: 50


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_photo_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    """Equal to the bytes of another process, at another time."""
    photo = noise(30, 40)
    show(save(photo, tmp_path / "a.png"), "--save", f"a.{kind.upper()}", "--dpi", 80)
    figure = output.create_figure(dpi=80)
    decoded = Photo(photo, ())
    draw(figure, decoded, list(segment_photo(decoded, load("numba"), FitOptions(), [3])))
    output.save_figure(figure, tmp_path / f"b.{kind}")
    content = (tmp_path / f"a.{kind.upper()}").read_bytes()
    assert content == (tmp_path / f"b.{kind}").read_bytes()
    assert content.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind])
    if kind == "png":
        with Image.open(io.BytesIO(content)) as image:
            assert 900 < image.width <= 960 and 400 < image.height <= 600


def test_notes_about_the_photo_are_printed(tmp_path: Path) -> None:
    deep = np.zeros((4, 4), np.uint16)
    deep[1:3] = 40000
    path = save(deep, tmp_path / "a.png")
    messages = show(path, "--k", "3,7", "--save", "a.svg").splitlines()
    assert messages == [
        f"kseg-batch: {path}: 16-bit samples were rounded to 8 bits",
        f"kseg-batch: {path}: it has 2 colours, so as many clusters",
        "kseg-batch: written: a.svg",
    ]
    _, texts = contents(tmp_path / "a.svg")
    assert texts[:2] == ["4 × 4", "k = 2, 100.0% explained"]


@pytest.mark.parametrize("shape", [(300, 1), (60, 20), (20, 30), (3, 90), (1, 1)])
@pytest.mark.parametrize("numbers", [(1,), (3,), (7,), (16,), (32,), (256,), (2, 3, 4, 16)])
def test_no_words_overlap_for_any_shape(shape: tuple[int, int], numbers: tuple[int, ...]) -> None:
    """No words lie on an image or outside the figure, and no images overlap."""
    photo = Photo(np.zeros((*shape, 3), np.uint8), ())
    labels = np.zeros(shape, np.uint8)
    figure = output.create_figure(dpi=100)
    palettes = [palette_of(*[(78, 78, 78)] * k, counts=range(1, k + 1)) for k in numbers]
    draw(figure, photo, [ScoredSegmentation(Segmentation(labels, p), 0.999) for p in palettes])
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    images = [axes.get_window_extent(renderer) for axes in figure.axes if axes.images]
    titles = [axes.title.get_window_extent(renderer) for axes in figure.axes if axes.images]
    numbers_in_palettes = [
        text.get_window_extent(renderer) for axes in figure.axes for text in axes.texts if text.get_text()
    ]
    assert (
        len(images)
        == len(titles)
        == (2 + (numbers[0] if numbers[0] <= 32 else 0) if len(numbers) == 1 else 5)
    )
    x0, y0, x1, y1 = np.array([box.extents for box in images + titles + numbers_in_palettes]).T
    assert (x0 >= 0).all() and (y0 >= 0).all()
    assert (x1 <= figure.bbox.width).all() and (y1 <= figure.bbox.height).all()
    across = (x0[:, None] < x1 - 1) & (x0 < x1[:, None] - 1)  # by more than a pixel
    down = (y0[:, None] < y1 - 1) & (y0 < y1[:, None] - 1)
    assert (across & down).sum() == len(x0)  # each box overlaps itself


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("a.png", "-k", "0"), 2, "--k must be from 1 to 256, not 0."),
        (("a.png", "-k", "three"), 2, "--k must be numbers of clusters such as 2,3,8, not 'three'."),
        (
            ("a.png", "-k", ",".join(map(str, range(1, 26)))),
            2,
            "--k: a figure compares 24 numbers of clusters at most.",
        ),
        (("a.png", "--save", "a.gif"), 2, "--save must be a file that ends in .png, .svg, .pdf, not a.gif."),
        (
            ("a.png", "--save", "no/a.png"),
            2,
            "--save no/a.png: there is no folder no; create the folder, or name another one.",
        ),
        (("a.png", "--save", "out/c.svg"), 2, "--save out/c.svg: out/c.svg is a folder; name a file."),
        (("a.png", "--dpi", "9"), 2, "--dpi must be from 20 to 600, not 9."),
        (("a.png", "--max-pixels", "53"), 1, "a.png: it has 0.0 megapixels, over --max-pixels 53"),
        (("b.png",), 1, "b.png: it cannot be read: No such file or directory"),
        (("text.jpg",), 1, "text.jpg: it is not an image, or of a format that is not read here"),
        (("a.png", "--save", LONG_NAME), 1, f"{LONG_NAME} cannot be written: File name too long."),
    ],
)
def test_impossible_commands_get_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    save(THREE, tmp_path / "a.png")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "out/c.svg").mkdir(parents=True)
    target = () if "--save" in arguments else ("--save", "c.png")
    result = kseg("show", "--no-gpu", *arguments, *target, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (code, "", f"kseg-batch: {message}\n")
    assert not (tmp_path / "c.png").exists()


def window_command(path: Path, **environment: str) -> tuple[list[str], dict[str, str]]:
    """The command that opens a window, and its environment, with no display but the given one."""
    words = command_line("show", path, "--no-gpu")
    gone = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND", "XDG_SESSION_TYPE")
    return words, {name: value for name, value in os.environ.items() if name not in gone} | environment


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({}, "neither DISPLAY nor WAYLAND_DISPLAY is set"),
        pytest.param(
            {"DISPLAY": ":4711"},
            "the display :4711 cannot be opened",
            marks=pytest.mark.needs("tkinter"),  # else the missing toolkit is the reason
        ),
        ({"MPLBACKEND": "agg"}, "MPLBACKEND is agg"),
    ],
)
def test_without_a_display(tmp_path: Path, environment: dict[str, str], reason: str) -> None:
    words, variables = window_command(save(THREE, tmp_path / "a.png"), **environment)
    result = subprocess.run(
        words, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"kseg-batch: No window can be opened here ({reason}); --save FILE.png writes the figure to a file.\n"
    )


def test_without_matplotlib_the_message_names_the_package(tmp_path: Path) -> None:
    path = save(THREE, tmp_path / "a.png")
    result = kseg("show", path, "--save", "a.svg", cwd=tmp_path, code=hide_modules("matplotlib"))
    assert result.returncode == 2
    message = "A figure needs matplotlib; to add it: pip install matplotlib"
    assert result.stderr == f"kseg-batch: {message}\n"


@pytest.mark.needs("tkinter")
def test_a_window(tmp_path: Path, display: str) -> None:
    """The figure is on the screen until the command is interrupted."""
    words, variables = window_command(save(THREE, tmp_path / "a.png"), DISPLAY=display)
    with subprocess.Popen(words, env=variables, stderr=subprocess.PIPE, text=True) as command:
        wanted = {tuple(color) for color in segment(THREE, 3).palette.colors}
        wait_until(lambda: wanted <= colors_on(display), process=command, pause=0.2)
        command.send_signal(signal.SIGINT)
        messages = command.communicate(timeout=PATIENCE)[1]
    assert (command.returncode, messages) == (130, "kseg-batch: interrupted\n")


def colors_on(display: str) -> set[tuple[int, ...]]:
    """The colours on a screen."""
    grabbed = ImageGrab.grab(xdisplay=display).convert("RGB")
    return {color for _, color in grabbed.getcolors(1 << 24) or () if isinstance(color, tuple)}
