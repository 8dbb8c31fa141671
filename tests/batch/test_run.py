"""`kseg-batch run` through the real command line: its outputs, its options, and its messages."""

import json
import os
import pty
import re
import subprocess
import termios
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kseg_batch import segment
from kseg_batch.images.decode import decode
from kseg_batch.kmeans.options import Init
from tests.support.commands import command_line, kseg
from tests.support.faults import break_module
from tests.support.image_files import save
from tests.support.images import blocks, noise, photos
from tests.support.outputs import manifest, tree


def test_a_folder(photo_tree: Path) -> None:
    result = kseg("run", "./photos", "--k", 3, "--workers", 2, cwd=photo_tree)
    assert (result.returncode, result.stderr) == (0, "")
    out = photo_tree / "photos-kseg"
    names = ["coffee", "pets/Chelsea the cat", "trips/2024/china"]
    assert tree(out) == sorted(
        ["manifest.jsonl", "masks/.kseg-batch", "segmented/.kseg-batch"]
        + [f"segmented/{name}.png" for name in names]
        + [f"masks/{name}_mask{i}.png" for name in names for i in range(3)]
    )
    source = decode((photo_tree / "photos/coffee.jpg").read_bytes()).rgb
    expected = segment(source, 3)
    with Image.open(out / "segmented/coffee.png") as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture), expected.labels)
        assert np.array_equal(np.asarray(picture.convert("RGB")), expected.segmented())
    for i in range(3):
        with Image.open(out / f"masks/coffee_mask{i}.png") as picture:
            assert picture.mode == "1"
            assert np.array_equal(np.asarray(picture), expected.mask(i))
    first, *rest = result.stdout.splitlines()
    assert re.fullmatch(r"3 images, 0\.6 megapixels in \d+\.\d\d s: \d+\.\d images/s with numba", first)
    assert rest == [
        "1 file passed over: 1 .txt",
        f"masks      {out}/masks",
        f"segmented  {out}/segmented",
        f"manifest   {out}/manifest.jsonl",
    ]


def test_the_manifest_has_a_line_per_image(photo_tree: Path) -> None:
    kseg("run", "photos", "-k", 2, "-o", "out", cwd=photo_tree)
    lines = manifest(photo_tree / "out")
    lines.sort(key=lambda line: str(line["source"]))
    names = ["coffee.jpg", "pets/Chelsea the cat.PNG", "trips/2024/china.webp"]
    assert [line["source"] for line in lines] == [str(photo_tree / "photos" / name) for name in names]
    s = segment(decode((photo_tree / "photos/coffee.jpg").read_bytes()).rgb, 2)
    line = lines[0]
    assert line.pop("seconds") > 0
    source = photo_tree / "photos/coffee.jpg"
    fingerprint = line.pop("fingerprint")
    assert re.fullmatch(r"[0-9a-f]{16}", str(fingerprint))
    outputs = ["segmented/coffee.png", "masks/coffee_mask0.png", "masks/coffee_mask1.png"]
    assert line == {
        "name": "coffee",
        "source": str(source),
        "status": "done",
        "error": None,
        "size": [600, 400],
        "centers": s.centers.tolist(),
        "counts": s.counts.tolist(),
        "compactness": s.compactness,
        "n_iter": s.n_iter,
        "backend": "numba",
        "notes": [],
        "outputs": {name: (photo_tree / "out" / name).stat().st_size for name in outputs},
        "version": {
            "size": source.stat().st_size,
            "modified": source.stat().st_mtime_ns,
            "checksum": None,
        },
        "filter": "",
        "disabled": [],
    }


def test_every_kind_of_output(tmp_path: Path) -> None:
    rgb = blocks([(0, 0, 0), (200, 0, 0), (255, 255, 255)])
    save(rgb, tmp_path / "photo.png")
    kinds = ["segmented", "masks", "labels", "masked", "kept"]
    flags = [word for kind in kinds for word in ("--save", kind)]
    result = kseg("run", "photo.png", *flags, "--disable", 2, "--disable", 1, cwd=tmp_path)
    assert result.returncode == 0
    out = tmp_path / "photo.png-kseg"
    s = segment(rgb, 3)
    with Image.open(out / "labels/photo.png") as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), s.labels)
    with Image.open(out / "masked/photo.png") as picture:
        assert np.array_equal(np.asarray(picture), s.masked(rgb, [1, 2]))
    with Image.open(out / "kept/photo.png") as picture:
        assert picture.mode == "1"
        assert np.array_equal(np.asarray(picture), s.mask(0))
    assert {path.split("/")[0] for path in tree(out)} == {*kinds, "manifest.jsonl"}


def test_disable_implies_masked_and_save_replaces_the_default(tmp_path: Path) -> None:
    save(noise(9, 9), tmp_path / "a.png")
    kseg("run", "a.png", "--disable", 0, "-o", "one", cwd=tmp_path)
    assert (tmp_path / "one/masked/a.png").exists() and (tmp_path / "one/segmented/a.png").exists()
    kseg("run", "a.png", "--save", "labels", "-o", "two", cwd=tmp_path)
    assert tree(tmp_path / "two") == ["labels/.kseg-batch", "labels/a.png", "manifest.jsonl"]


def test_options_reach_the_algorithm(tmp_path: Path) -> None:
    rgb = photos()["astronaut"][::4, ::4]
    save(rgb, tmp_path / "a.png")
    options = ["--attempts", 1, "--max-iter", 2, "--eps", 0, "--seed", 12345]
    kseg("run", "a.png", "-k", 7, *options, "-o", "out", cwd=tmp_path)
    s = segment(rgb, 7, attempts=1, max_iter=2, eps=0, seed=12345)
    assert manifest(tmp_path / "out")[0]["centers"] == s.centers.tolist()
    assert s.centers.tolist() != segment(rgb, 7, attempts=1, max_iter=2, eps=0).centers.tolist()


def test_the_opencv_backend_and_its_inits(tmp_path: Path) -> None:
    rgb = photos()["astronaut"][::4, ::4]
    save(rgb, tmp_path / "a.png")
    inits: tuple[Init, ...] = ("random", "k-means++")
    for init in inits:
        result = kseg("run", "a.png", "--backend", "opencv", "--init", init, "-o", init, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        s = segment(rgb, 3, backend="opencv", init=init)
        assert manifest(tmp_path / init)[0]["centers"] == s.centers.tolist()
        assert manifest(tmp_path / init)[0]["backend"] == "opencv"


def test_another_color_space(tmp_path: Path) -> None:
    """Files of the same clusters, coloured in RGB; another space is another result, and done again."""
    rgba = np.dstack([photos()["chelsea"], np.full(photos()["chelsea"].shape[:2], 255, np.uint8)])
    rgba[:50] = (7, 8, 9, 0)
    save(photos()["coffee"], tmp_path / "in/coffee.png")
    save(rgba, tmp_path / "in/seen through.png")
    flags = ("run", "in", "--k", 4, "--color-space")
    assert kseg(*flags, "lab", "--disable", 0, cwd=tmp_path).returncode == 0
    s = segment(photos()["coffee"], 4, color_space="lab")
    written = np.array(Image.open(tmp_path / "in-kseg/segmented/coffee.png").convert("RGB"))
    assert np.array_equal(written, s.segmented())
    masked = np.array(Image.open(tmp_path / "in-kseg/masked/coffee.png").convert("RGB"))
    assert np.array_equal(masked, s.masked(photos()["coffee"], [0]))
    line = next(line for line in manifest(tmp_path / "in-kseg") if line["name"] == "coffee")
    assert line["centers"] == s.centers.tolist()
    assert line["compactness"] == s.compactness
    seen = segment(photos()["chelsea"][50:], 4, color_space="lab")
    written = np.array(Image.open(tmp_path / "in-kseg/segmented/seen through.png").convert("RGBA"))
    assert np.array_equal(written[50:, :, :3], seen.segmented())
    assert (written[:50, :, 3] == 0).all()

    again = kseg(*flags, "lab", "--json", cwd=tmp_path)
    assert [json.loads(line).get("status") for line in again.stdout.splitlines()[:2]] == ["skipped"] * 2
    other = kseg(*flags, "oklab", "--json", cwd=tmp_path)
    assert [json.loads(line).get("status") for line in other.stdout.splitlines()[:2]] == ["done"] * 2
    result = kseg(*flags, "hsv", cwd=tmp_path)
    assert result.returncode == 2 and "hsv" in result.stderr


def test_gpu_without_a_gpu_says_so_once_and_runs(tmp_path: Path) -> None:
    save(noise(4, 4), tmp_path / "p/a.png")
    save(noise(4, 4), tmp_path / "p/b.png")
    result = kseg("run", "p", "--gpu", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr.count("\n") == 1
    assert re.match(r"kseg-batch: running on the CPU with numba \(cupy.+numba-cuda: .+\)", result.stderr)
    assert kseg("run", "p", "--no-gpu", cwd=tmp_path).stderr == ""


def test_without_numba_a_run_takes_opencv_and_says_so(tmp_path: Path) -> None:
    blocked = break_module(tmp_path / "blocked", "numba")
    save(noise(8, 8), tmp_path / "a.png")
    result = kseg("run", "a.png", cwd=tmp_path, path=blocked)
    assert result.returncode == 0
    assert "running on the CPU with opencv (numba: Numba cannot be imported (no numba here)" in result.stderr
    assert "with opencv" in result.stdout
    assert (tmp_path / "a.png-kseg/segmented/a.png").exists()


def test_fewer_colors_than_clusters_are_noted(tmp_path: Path) -> None:
    save(blocks([(0, 0, 0), (9, 9, 9)]), tmp_path / "a.png")
    result = kseg("run", "a.png", "--disable", 2, cwd=tmp_path)
    assert result.returncode == 0
    assert "1 image with a note in the manifest" in result.stdout
    assert manifest(tmp_path / "a.png-kseg")[0]["notes"] == [
        "it has 2 colours, so as many clusters",
        "it has no cluster 2",
    ]
    assert len(tree(tmp_path / "a.png-kseg/masks")) == 3


def test_any_name_can_be_printed_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    save(noise(4, 4), tmp_path / "a.png")
    result = kseg("run", "a.png", "-o", "\u65e5", cwd=tmp_path)
    assert result.returncode == 0
    assert "\\u65e5/segmented" in result.stdout


def test_the_bar_on_a_terminal(photo_tree: Path) -> None:
    (photo_tree / "photos/broken.jpg").write_bytes(b"x")
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 80))
    command = command_line("run", "photos", "--no-gpu")
    process = subprocess.Popen(command, cwd=photo_tree, stderr=child, stdout=subprocess.PIPE)
    os.close(child)
    shown = b""
    while True:
        try:
            chunk = os.read(parent, 4096)
        except OSError:  # the terminal is closed
            break
        shown += chunk
    assert process.wait() == 3
    os.close(parent)
    assert process.stdout is not None
    process.stdout.close()
    assert re.search(rb"\d/4 ", shown)
    assert b"failed: photos/broken.jpg: " in shown
    assert b"1 failed" in shown
