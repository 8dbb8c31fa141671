"""`kseg-batch fit`, through the real command line, or in this process where many fits are needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kseg_batch import read_palette, segment
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.registry import load
from kseg_batch.batch.workers.count_colors import CountPool
from kseg_batch.errors import OutputError
from kseg_batch.kmeans.color_spaces import ColorSpace
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from tests.gpu.emulator.device import failing_gpu
from tests.support.commands import kseg
from tests.support.exactness import assert_same_palette
from tests.support.faults import held_by_another_process
from tests.support.fits import files_beside, fit_by, pixels_below
from tests.support.image_files import save, with_alpha
from tests.support.images import blocks, noise, photos


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Photos of different sizes and kinds in a tree, one partly transparent; a.jpg and a.png among them."""
    opaque = noise(40, 60, 0, 2, seed=1)[..., 0] > 0
    save(photos()["coffee"], tmp_path / "p/a.jpg")
    save(photos()["chelsea"][:77], tmp_path / "p/a.png")
    save(photos()["china"][:, :201], tmp_path / "p/deep/er/c.webp")
    save(with_alpha(photos()["astronaut"][:40, :60], opaque), tmp_path / "p/deep/clear.png")
    (tmp_path / "p/notes.txt").touch()
    return tmp_path


@pytest.mark.parametrize(("k", "color_space"), [(8, "rgb"), (5, "oklab")])
def test_a_fit_is_a_segmentation_of_all_photos_glued_together(
    photo_folder: Path, k: int, color_space: ColorSpace
) -> None:
    flags = ("-k", k, "--attempts", 3, "--seed", 7, "--max-iter", 50, "--eps", 0.1)
    result = kseg("fit", "p", *flags, "--color-space", color_space, cwd=photo_folder)
    assert (result.returncode, result.stderr) == (0, "")
    glued = pixels_below(photo_folder / "p")
    s = segment(glued, k, attempts=3, seed=7, max_iter=50, eps=0.1, color_space=color_space)
    path = photo_folder / "p-palette.json"
    palette = read_palette(path)
    assert_same_palette(palette, s.palette)
    assert (palette.color_space, palette.names, palette.backend) == (color_space, (), "numba")
    assert json.loads(path.read_text())["fitted"] == {
        "images": 4,
        "failed": 0,
        "pixels": glued.shape[1],
        "colors": len(np.unique(glued[0], axis=0)),
        "algorithm": 3,
        "k": k,
        "attempts": 3,
        "max_iter": 50,
        "eps": 0.1,
        "seed": 7,
        "init": None,
        "color_space": color_space,
        "alpha": "keep",
        "profile": "convert",
        "max_pixels": 200_000_000,
    }
    assert result.stdout.splitlines()[-1] == f"palette    {path}"
    assert f"      0  #{bytes(palette.colors[0]).hex()}  " in result.stdout
    assert "1 file passed over: 1 .txt" in result.stdout
    assert files_beside(photo_folder) == ["p-palette.json"]


def test_neither_order_nor_workers_nor_names_matter(photo_folder: Path, pool: CountPool) -> None:
    images = sorted(path for path in photo_folder.rglob("*.*") if path.suffix in (".jpg", ".png", ".webp"))
    for i, path in enumerate(reversed(images)):
        (photo_folder / f"other/{i % 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, photo_folder / f"other/{i % 2}/{i}{path.suffix}")
    assert kseg("fit", "p", "--workers", 3, cwd=photo_folder).returncode == 0
    expected = (photo_folder / "p-palette.json").read_bytes()
    some = [photo_folder / "p" / name for name in ("deep", "a.png", "a.jpg", "a.png")]
    for sources in ([photo_folder / "p"], [photo_folder / "other"], some, images[::-1]):
        fit_by(pool, photo_folder / "p.json", sources)
        assert (photo_folder / "p.json").read_bytes() == expected


def test_the_same_names_in_several_folders(tmp_path: Path, pool: CountPool) -> None:
    for folder in ("x/p", "y/p"):
        save(noise(5, 5, seed=ord(folder[0])), tmp_path / folder / "a.png")
    sources = [tmp_path / "x/p", tmp_path / "y/p", tmp_path / "x/p/a.png"]
    fit_by(pool, tmp_path / "p.json", sources)
    assert read_palette(tmp_path / "p.json").counts.sum() == 50


def test_colors_under_transparent_pixels(photo_folder: Path, pool: CountPool) -> None:
    fit_by(pool, photo_folder / "p.json", [photo_folder / "p/deep/clear.png"], alpha="ignore")
    assert read_palette(photo_folder / "p.json").counts.sum() == 40 * 60


def test_images_with_too_many_pixels(photo_folder: Path, pool: CountPool) -> None:
    summary, _ = fit_by(pool, photo_folder / "p.json", [photo_folder / "p"], max_pixels=100_000)
    assert (summary.counted, summary.failed) == (3, 1)


def test_names_are_not_lost(photo_folder: Path, pool: CountPool) -> None:
    """Given on the command line, or by hand, and then a fit every night."""
    path = photo_folder / "p-palette.json"
    assert kseg("fit", "p", "--names", "shadow, tree,", cwd=photo_folder).returncode == 0
    first = path.read_bytes()
    assert read_palette(path).names == ("shadow", "tree", "")
    path.write_text(path.read_text().replace('"shadow"', '"in the dark"'))
    result = kseg("fit", "p", cwd=photo_folder)
    assert result.returncode == 1
    assert result.stderr == (
        f"kseg-batch: {path} has names, which would be lost: repeat them with --names 'in the dark,tree,'.\n"
    )
    fit_by(pool, path, [photo_folder / "p"], names=("shadow", "tree", ""))
    assert path.read_bytes() == first


def test_a_palette_is_replaced_and_nothing_else(photo_folder: Path, pool: CountPool) -> None:
    path = photo_folder / "p-palette.json"
    fit_by(pool, path, [photo_folder / "p"])
    first = path.read_bytes()
    save(noise(99, 99), photo_folder / "p/new.png")
    result = kseg("fit", "p", "--quiet", cwd=photo_folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert path.read_bytes() != first
    for content in ("{}", "[]", "#112233\n", "mine"):
        path.write_text(content)
        with pytest.raises(OutputError, match="exists, and no fit wrote it: choose another -o"):
            fit_by(pool, path, [photo_folder / "p"])
        assert path.read_text() == content
    before = (photo_folder / "p/a.png").read_bytes()
    with pytest.raises(OutputError, match="png exists, and no fit wrote it"):
        fit_by(pool, photo_folder / "p/a.png", [photo_folder / "p"])
    assert (photo_folder / "p/a.png").read_bytes() == before


def test_json(photo_folder: Path) -> None:
    save(noise(4, 4), photo_folder / "p/one.gif")
    frames = [Image.fromarray(noise(4, 4, seed=i)) for i in range(2)]
    frames[0].save(photo_folder / "p/two.gif", save_all=True, append_images=frames[1:])
    (photo_folder / "p/broken.png").write_bytes(b"x")
    result = kseg("fit", "p", "--json", "-o", "new/folder/p.json", cwd=photo_folder)
    assert result.returncode == 3
    *lines, last = map(json.loads, result.stdout.splitlines())
    by_name = {Path(line["source"]).name: line for line in lines}
    assert len(by_name) == len(lines) == 7
    assert by_name["a.jpg"].pop("seconds") > 0
    assert by_name["a.jpg"] == {
        "source": str(photo_folder / "p/a.jpg"), "status": "done", "error": None,
        "size": [600, 400], "notes": []
    }  # fmt: skip
    assert by_name["two.gif"]["notes"] == ["the first of 2 frames"]
    assert by_name["broken.png"]["status"] == "failed"
    summary = last["summary"]
    assert (summary["counted"], summary["failed"], summary["noted"], summary["resumed"]) == (6, 1, 1, 0)
    assert summary["palette"] == "new/folder/p.json"
    assert read_palette(photo_folder / "new/folder/p.json").counts.sum() == summary["pixels"]
    assert "1 image with a note: --json shows the notes" in result.stderr


def test_damaged_images_are_named_and_left_out(photo_folder: Path, pool: CountPool) -> None:
    fit_by(pool, photo_folder / "whole.json", [photo_folder / "p"])
    whole = (photo_folder / "p/a.jpg").read_bytes()
    (photo_folder / "p/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photo_folder / "p/empty.png").touch()
    result = kseg("fit", "p", cwd=photo_folder)
    assert result.returncode == 3
    assert sorted(line.split(": ")[:2] for line in result.stderr.splitlines()) == [
        ["failed", "p/cut.jpg"],
        ["failed", "p/empty.png"],
    ]
    assert "2 images failed: listed above" in result.stdout
    content = json.loads((photo_folder / "p-palette.json").read_text())
    assert content["fitted"].pop("failed") == 2
    expected = json.loads((photo_folder / "whole.json").read_text())
    assert expected["fitted"].pop("failed") == 0
    assert content == expected
    assert files_beside(photo_folder) == ["p-palette.json", "whole.json"]


def test_nothing_but_damaged_images(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/empty.png").touch()
    result = kseg("fit", "p", cwd=tmp_path)
    assert result.returncode == 1
    assert "failed: p/empty.png: the file is empty" in result.stderr
    assert files_beside(tmp_path) == []


def test_a_gpu_clusters_and_the_cpu_where_it_fails(
    photo_folder: Path, pool: CountPool, emulated: GpuBackend, cache: Path
) -> None:
    palettes = {}
    for name, gpu in (("whole", emulated), ("failing", failing_gpu(cache, 3))):
        _, messages = fit_by(pool, photo_folder / f"{name}.json", [photo_folder / "p/a.png"], 4, backend=gpu)
        palettes[name] = read_palette(photo_folder / f"{name}.json")
        assert len(messages) == (name == "failing")
    assert messages[0].startswith("clustered on the CPU: cupy: ")
    assert {name: palette.backend for name, palette in palettes.items()} == {
        "whole": "cupy",
        "failing": "numba",
    }
    assert_same_palette(palettes["whole"], palettes["failing"])


def test_opencv_clusters_fewer_colors_than_clusters(tmp_path: Path) -> None:
    image = blocks([(0, 0, 0), (9, 9, 9)])
    save(image, tmp_path / "p/a.png")
    result = kseg("fit", "p", "-k", 5, "--backend", "opencv", "-o", "p.json", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "2 clusters, not 5: there are no more colours" in result.stdout
    palette = read_palette(tmp_path / "p.json")
    expected = load("opencv").fit(ColorHistogram.from_pixels(image), FitOptions(k=5))
    assert palette.backend == "opencv"
    assert np.array_equal(palette.fixed_centers, expected.fixed_centers)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["p", "a.png"], 1, "need -o OUT, which says where to write."),
        (["a.png", "-o", "a.png/p.json"], 1, "a.png/p.json cannot be written: "),
        (["a.png", "-o", "p"], 1, "p exists, and no fit wrote it: choose another -o."),
        (["a.png", "--names", "a,b"], 2, "--names must be 3 names, one for each cluster, or none, not 2."),
        (["a.png", "--names", "a,b,2"], 2, "A cluster cannot be called '2': it would be taken for a number."),
        (["a.png", "--backend", "cupy"], 2, "cupy: "),
        (["a.png", "--timeout", 0], 2, "--timeout must be a number of seconds above 0"),
    ],
)
def test_wrong_use_gets_one_sentence(
    tmp_path: Path, arguments: list[object], code: int, message: str
) -> None:
    save(noise(4, 4), tmp_path / "a.png")
    (tmp_path / "p").mkdir()
    result = kseg("fit", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("kseg-batch: ")
    assert message in result.stderr
    assert files_beside(tmp_path) == ["a.png"]


def test_two_fits_at_a_time(photo_folder: Path) -> None:
    with held_by_another_process(photo_folder / ".p-palette.json.kseg-lock"):
        result = kseg("fit", "p", cwd=photo_folder)
    assert (result.returncode, result.stdout) == (1, "")
    path = photo_folder / "p-palette.json"
    assert result.stderr == (
        f"kseg-batch: Another process is about to write {path}: wait for its end, or choose another -o.\n"
    )
    assert files_beside(photo_folder) == []


PEAK = """
import atexit, resource
rusage = resource.getrusage
atexit.register(lambda: print("peak", rusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr))
import sys
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """Noise in 2 million colours: four images have most of the colours, and sixteen more add few.

    To keep all histograms would take 60 MB more, and to keep all pixels 50 MB; the bound is a third.
    """
    peaks = []
    for i in range(20):
        save(noise(1000, 900, 0, 128, seed=i), tmp_path / f"{'few' if i < 4 else 'many'}/{i}.bmp")
    for sources in (["few"], ["few", "many"]):
        result = kseg("fit", *sources, "-o", "p.json", "--workers", 2, cwd=tmp_path, code=PEAK)
        assert result.returncode == 0
        peaks.append(int(result.stderr.split("peak ")[1]))
    assert json.loads((tmp_path / "p.json").read_text())["fitted"]["images"] == 20
    assert peaks[1] < peaks[0] + 20, peaks


def test_the_number_of_clusters_is_chosen_for_all_photos_together(tmp_path: Path) -> None:
    """Six colours, three in each of two images; `--k` is the minimum of the curve."""
    colors = [(10, 10, 20), (200, 20, 20), (30, 220, 40), (20, 30, 230), (240, 230, 60), (250, 250, 250)]
    rng = np.random.default_rng(0)
    for name, three in (("a", colors[:3]), ("b", colors[3:])):
        image = blocks(three, side=30).astype(int) + rng.integers(-5, 6, (33, 90, 3))
        save(np.clip(image, 0, 255).astype(np.uint8), tmp_path / f"p/{name}.png")
    assert kseg("fit", "p", "--k", "auto:2-9", "--no-gpu", cwd=tmp_path).returncode == 0
    chosen = json.loads((tmp_path / "p-palette.json").read_text())
    assert len(chosen["centers"]) == chosen["fitted"]["k"] == 6
    curve = chosen["fitted"]["k_curve"]
    assert [k for k, _ in curve] == list(range(2, 10))
    assert min(curve, key=lambda pair: pair[1])[0] == 6
    assert kseg("fit", "p", "--k", 6, "-o", "six.json", "--no-gpu", cwd=tmp_path).returncode == 0
    assert_same_palette(read_palette(tmp_path / "p-palette.json"), read_palette(tmp_path / "six.json"))
    result = kseg("fit", "p", "--k", "auto", "--names", "a,b", cwd=tmp_path)
    assert result.returncode == 2 and "--names needs a number for --k" in result.stderr
