"""`kseg-batch fit`, through the real command line; where many fits are needed, by what stands behind it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kseg_batch import read_palette, segment
from kseg_batch.backends import load
from kseg_batch.backends.base import Backend
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.batch.dataset_histogram import Summary
from kseg_batch.batch.fit import Task, fit
from kseg_batch.batch.storage.scan import Scan
from kseg_batch.batch.workers.count_colors import Counting, CountPool, count_pool
from kseg_batch.batch.workers.process_image import Outcome
from kseg_batch.errors import OptionError, OutputError
from kseg_batch.images.decode import decode
from kseg_batch.kmeans.color_spaces import ColorSpace, convert
from kseg_batch.kmeans.histogram import ColorHistogram
from kseg_batch.kmeans.options import FitOptions
from tests.gpu.emulator.device import failing_gpu
from tests.support.commands import begin, kseg
from tests.support.exactness import assert_same_palette
from tests.support.faults import crash_workers, held_by_another_process
from tests.support.image_files import save, save_noise, with_alpha
from tests.support.images import blocks, noise, photos
from tests.support.processes import PATIENCE, wait_until, wait_until_session_is_over

READ_SLOWLY = """
import os, pathlib, sys, time
if "spawn_main" in " ".join(sys.orig_argv):
    whole_open = pathlib.Path.open

    def slow_open(path, *args, **kwargs):
        if path.suffix == ".bmp":
            time.sleep(float(os.environ.get("DELAY", "0")))
            with whole_open(pathlib.Path(os.environ["READ"]), "a") as log:
                log.write(path.name + "\\n")
        return whole_open(path, *args, **kwargs)

    pathlib.Path.open = slow_open
"""
"""For workers: note each image that is read, and take some time for it."""


NUMBA = load("numba")


class Told:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.lines: list[dict[str, object]] = []

    def resumed(self, n_images: int) -> None:
        """The summary has it, too."""

    def finished(self, outcome: Outcome, line: dict[str, object]) -> None:
        """Keep the line."""
        self.lines.append(line)

    def message(self, text: str) -> None:
        """Keep the text."""
        self.messages.append(text)


@pytest.fixture(scope="module")
def pool() -> Iterator[CountPool]:
    """One worker for all fits that are not commands of their own."""
    with count_pool(1, None) as workers:
        yield workers


def fit_by(
    pool: CountPool,
    out: Path,
    sources: list[Path],
    k: int = 3,
    names: tuple[str, ...] = (),
    backend: Backend = NUMBA,
    **how: Any,
) -> tuple[Summary, list[str]]:
    """Write a palette as the command does; return the totals, and the messages."""
    counting = Counting(**{"alpha": "keep", "max_pixels": 200_000_000, **how})
    options = FitOptions(k=k, color_space=counting.color_space)
    told = Told()
    found = Scan(sources, outputs=False)
    summary, _ = fit(found, Task(out, options, counting, names), pool, "numba", backend, told)
    assert len(told.lines) == summary.counted + summary.failed == found.total - summary.resumed
    return summary, told.messages


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Photos of different sizes and kinds in a tree, one partly transparent; a.jpg and a.png among them."""
    opaque = noise(40, 60, 0, 2, seed=1)[..., 0] > 0
    save(photos()["coffee"], tmp_path / "p/a.jpg")
    save(photos()["chelsea"][:77], tmp_path / "p/a.png")
    save(photos()["china"][:, :201], tmp_path / "p/deep/er/c.webp")
    save(with_alpha(photos()["astronaut"][:40, :60], opaque), tmp_path / "p/deep/clear.png")
    (tmp_path / "p/notes.txt").touch()
    return tmp_path


def pixels(folder: Path) -> np.ndarray:
    """(1, N, 3) all opaque pixels of all images of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".txt"]
    found = [decode(path.read_bytes()).pixels.reshape(-1, 3) for path in files]
    return np.concatenate(found)[None]


@pytest.mark.parametrize(("k", "color_space"), [(8, "rgb"), (5, "oklab")])
def test_a_fit_is_a_segmentation_of_all_photos_glued_together(
    album: Path, k: int, color_space: ColorSpace
) -> None:
    flags = ("-k", k, "--attempts", 3, "--seed", 7, "--max-iter", 50, "--eps", 0.1)
    result = kseg("fit", "p", *flags, "--color-space", color_space, cwd=album)
    assert (result.returncode, result.stderr) == (0, "")
    glued = pixels(album / "p")
    s = segment(glued, k, attempts=3, seed=7, max_iter=50, eps=0.1, color_space=color_space)
    path = album / "p-palette.json"
    palette = read_palette(path)
    assert np.array_equal(palette.fixed_centers, s.palette.fixed_centers)
    assert np.array_equal(palette.counts, s.counts)
    assert (palette.compactness, palette.n_iter) == (s.compactness, s.n_iter)
    assert (palette.color_space, palette.names, palette.backend) == (color_space, (), "numba")
    assert json.loads(path.read_text())["fitted"] == {
        "images": 4,
        "failed": 0,
        "pixels": glued.shape[1],
        "colors": len(np.unique(convert(glued, color_space)[0], axis=0)),
        "algorithm": 2,
        "k": k,
        "attempts": 3,
        "max_iter": 50,
        "eps": 0.1,
        "seed": 7,
        "init": None,
        "color_space": color_space,
        "alpha": "keep",
        "max_pixels": 200_000_000,
    }
    assert result.stdout.splitlines()[-1] == f"palette    {path}"
    assert f"      0  #{bytes(palette.colors[0]).hex()}  " in result.stdout
    assert "1 file passed over, not images by name" in result.stdout
    assert left(album) == ["p-palette.json"]


def left(folder: Path) -> list[str]:
    """The files beside the source, but the lock."""
    return sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.endswith(".kseg-lock"))


def test_neither_order_nor_workers_nor_names_matter(album: Path, pool: CountPool) -> None:
    images = sorted(path for path in album.rglob("*.*") if path.suffix in (".jpg", ".png", ".webp"))
    for i, path in enumerate(reversed(images)):
        (album / f"other/{i % 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, album / f"other/{i % 2}/{i}{path.suffix}")
    assert kseg("fit", "p", "--workers", 3, cwd=album).returncode == 0
    expected = (album / "p-palette.json").read_bytes()
    some = [album / "p" / name for name in ("deep", "a.png", "a.jpg", "a.png")]
    for sources in ([album / "p"], [album / "other"], some, images[::-1]):
        fit_by(pool, album / "p.json", sources)
        assert (album / "p.json").read_bytes() == expected


def test_the_same_names_in_several_folders(tmp_path: Path, pool: CountPool) -> None:
    for folder in ("x/p", "y/p"):
        save(noise(5, 5, seed=ord(folder[0])), tmp_path / folder / "a.png")
    sources = [tmp_path / "x/p", tmp_path / "y/p", tmp_path / "x/p/a.png"]
    fit_by(pool, tmp_path / "p.json", sources)
    assert read_palette(tmp_path / "p.json").counts.sum() == 50


def test_colors_under_transparent_pixels(album: Path, pool: CountPool) -> None:
    fit_by(pool, album / "p.json", [album / "p/deep/clear.png"], alpha="ignore")
    assert read_palette(album / "p.json").counts.sum() == 40 * 60


def test_images_with_too_many_pixels(album: Path, pool: CountPool) -> None:
    summary, _ = fit_by(pool, album / "p.json", [album / "p"], max_pixels=100_000)
    assert (summary.counted, summary.failed) == (3, 1)


def test_names_are_not_lost(album: Path, pool: CountPool) -> None:
    """Given on the command line, or by hand, and then a fit every night."""
    path = album / "p-palette.json"
    assert kseg("fit", "p", "--names", "shadow, tree,", cwd=album).returncode == 0
    first = path.read_bytes()
    assert read_palette(path).names == ("shadow", "tree", "")
    path.write_text(path.read_text().replace('"shadow"', '"in the dark"'))
    result = kseg("fit", "p", cwd=album)
    assert result.returncode == 1
    assert result.stderr == (
        f"kseg-batch: {path} has names, which would be lost: give them by --names 'in the dark,tree,'.\n"
    )
    fit_by(pool, path, [album / "p"], names=("shadow", "tree", ""))
    assert path.read_bytes() == first


def test_a_palette_is_replaced_and_nothing_else(album: Path, pool: CountPool) -> None:
    path = album / "p-palette.json"
    fit_by(pool, path, [album / "p"])
    first = path.read_bytes()
    save(noise(99, 99), album / "p/new.png")
    result = kseg("fit", "p", "--quiet", cwd=album)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert path.read_bytes() != first
    for content in ("{}", "[]", "#112233\n", "mine"):
        path.write_text(content)
        with pytest.raises(OutputError, match="is there, and no fit wrote it: choose another -o"):
            fit_by(pool, path, [album / "p"])
        assert path.read_text() == content
    before = (album / "p/a.png").read_bytes()
    with pytest.raises(OutputError, match="png is there, and no fit wrote it"):
        fit_by(pool, album / "p/a.png", [album / "p"])
    assert (album / "p/a.png").read_bytes() == before


def test_json(album: Path) -> None:
    save(noise(4, 4), album / "p/one.gif")
    frames = [Image.fromarray(noise(4, 4, seed=i)) for i in range(2)]
    frames[0].save(album / "p/two.gif", save_all=True, append_images=frames[1:])
    (album / "p/broken.png").write_bytes(b"x")
    result = kseg("fit", "p", "--json", "-o", "new/folder/p.json", cwd=album)
    assert result.returncode == 3
    *lines, last = map(json.loads, result.stdout.splitlines())
    by_name = {Path(line["source"]).name: line for line in lines}
    assert len(by_name) == len(lines) == 7
    assert by_name["a.jpg"].pop("seconds") > 0
    assert by_name["a.jpg"] == {
        "source": str(album / "p/a.jpg"), "status": "done", "error": None, "size": [600, 400], "notes": []
    }  # fmt: skip
    assert by_name["two.gif"]["notes"] == ["the first of 2 frames"]
    assert by_name["broken.png"]["status"] == "failed"
    summary = last["summary"]
    assert (summary["counted"], summary["failed"], summary["noted"], summary["resumed"]) == (6, 1, 1, 0)
    assert summary["palette"] == "new/folder/p.json"
    assert read_palette(album / "new/folder/p.json").counts.sum() == summary["pixels"]
    assert "1 image with a note: --json shows it" in result.stderr


def test_damaged_images_are_named_and_left_out(album: Path, pool: CountPool) -> None:
    fit_by(pool, album / "whole.json", [album / "p"])
    whole = (album / "p/a.jpg").read_bytes()
    (album / "p/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (album / "p/empty.png").touch()
    result = kseg("fit", "p", cwd=album)
    assert result.returncode == 3
    assert sorted(line.split(": ")[:2] for line in result.stderr.splitlines()) == [
        ["failed", "p/cut.jpg"],
        ["failed", "p/empty.png"],
    ]
    assert "2 images failed: named above" in result.stdout
    content = json.loads((album / "p-palette.json").read_text())
    assert content["fitted"].pop("failed") == 2
    expected = json.loads((album / "whole.json").read_text())
    assert expected["fitted"].pop("failed") == 0
    assert content == expected
    assert left(album) == ["p-palette.json", "whole.json"]


def test_nothing_but_damaged_images(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/empty.png").touch()
    result = kseg("fit", "p", cwd=tmp_path)
    assert result.returncode == 1
    assert "failed: p/empty.png: the file is empty" in result.stderr
    assert left(tmp_path) == []


def test_a_gpu_clusters_and_the_cpu_where_it_fails(
    album: Path, pool: CountPool, emulated: GpuBackend, cache: Path
) -> None:
    palettes = {}
    for name, gpu in (("whole", emulated), ("failing", failing_gpu(cache, 3))):
        _, messages = fit_by(pool, album / f"{name}.json", [album / "p/a.png"], 4, backend=gpu)
        palettes[name] = read_palette(album / f"{name}.json")
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
        (["p", "a.png"], 1, "say where to write: -o OUT."),
        (["a.png", "-o", "a.png/p.json"], 1, "a.png/p.json cannot be written: "),
        (["a.png", "-o", "p"], 1, "p is there, and no fit wrote it: choose another -o."),
        (["a.png", "--names", "a,b"], 2, "A palette has a name for each cluster or none: 3, not 2."),
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
    assert left(tmp_path) == ["a.png"]


# ---- going on --------------------------------------------------------------------------------------------


def many(folder: Path, number: int) -> Path:
    save_noise(folder, number, side=30)
    (folder / "sitecustomize.py").write_text(READ_SLOWLY)
    return folder


def begin_fit(folder: Path, *flags: object, delay: float = 0) -> subprocess.Popen[str]:
    """Start a fit that notes in read.log each image that a worker reads, and takes some time for each."""
    (folder / "read.log").write_text("")
    log = str(folder / "read.log")
    return begin(folder, *flags, command="fit", path=folder, READ=log, DELAY=str(delay))


def read_again(folder: Path) -> int:
    names = (folder / "read.log").read_text().split()
    assert len(names) == len(set(names))
    return len(names)


def again(folder: Path, *flags: object) -> tuple[int, subprocess.CompletedProcess[str]]:
    """How many images the same command reads now."""
    process = begin_fit(folder, *flags)
    output, errors = process.communicate(timeout=PATIENCE)
    result = subprocess.CompletedProcess("", process.returncode, output, errors)
    return read_again(folder), result


def test_a_fit_that_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    many(tmp_path, 120)
    assert kseg("fit", "p", "-o", "whole.json", cwd=tmp_path).returncode == 0
    partial = tmp_path / "p-palette.json.partial"
    process = begin_fit(tmp_path, delay=0.03)
    wait_until(partial.exists, process=process, pause=0.005)
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until_session_is_over(process.pid)
    assert left(tmp_path) == ["p-palette.json.partial", "read.log", "sitecustomize.py", "whole.json"]
    with np.load(partial) as file:
        counted = len(file["images"]) // 16
    n_read, result = again(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert 0 < counted < 120
    assert n_read == 120 - counted
    assert f"{counted} images had been counted before" in result.stdout
    assert (tmp_path / "p-palette.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not partial.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_fit_that_is_interrupted_goes_on(tmp_path: Path, number: int, code: int) -> None:
    many(tmp_path, 60)
    process = begin_fit(tmp_path, delay=0.05)
    wait_until(lambda: read_again(tmp_path) >= 10, process=process, pause=0.005)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert errors == "interrupted: ending the images under way; once more stops at once\n"
    assert "interrupted: the same command goes on with the rest" in output
    wait_until_session_is_over(process.pid)
    n_before = read_again(tmp_path)
    assert 10 <= n_before < 60
    n_read, result = again(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert n_read == 60 - n_before
    assert read_palette(tmp_path / "p-palette.json").counts.sum() == 60 * 900
    assert left(tmp_path) == ["p-palette.json", "read.log", "sitecustomize.py"]


@pytest.fixture
def counted(tmp_path: Path, pool: CountPool) -> Path:
    """A dataset whose images are counted, of too few colours for the names that they were to get."""
    for i in range(4):
        save(blocks([(0, 0, 0), (9, 9, 9 + i % 2)]), tmp_path / f"p/{i}.bmp")
    with pytest.raises(OptionError, match="A palette has a name for each cluster or none: 3, not 4"):
        fit_by(pool, tmp_path / "p.json", [tmp_path / "p"], 4, ("a", "b", "c", "d"))
    assert left(tmp_path) == ["p.json.partial"]
    return tmp_path


def test_what_is_counted_serves_other_clusters(counted: Path, pool: CountPool) -> None:
    save(noise(5, 5), counted / "p/new.bmp")
    summary, messages = fit_by(pool, counted / "p.json", [counted / "p"], 2, ("a", "b"))
    assert (summary.counted, summary.resumed, messages) == (1, 4, [])
    palette = read_palette(counted / "p.json")
    assert palette.names == ("a", "b")
    assert left(counted) == ["p.json"]
    expected = segment(pixels(counted / "p"), 2)
    assert np.array_equal(palette.fixed_centers, expected.palette.fixed_centers)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("touched", "1 image of those counted changed or left"),
        ("replaced", "1 image of those counted changed or left"),
        ("gone", "2 images of those counted changed or left"),
        ("other options", "it was counted with other options"),
        ("torn", "it is damaged, or no such file"),
        ("flipped", "it is damaged, or no such file"),
        ("foreign", "it is damaged, or no such file"),
        ("another array", "it is damaged, or no such file"),
        ("empty", "it is damaged, or no such file"),
    ],
)
def test_what_is_counted_and_of_no_use(counted: Path, pool: CountPool, change: str, reason: str) -> None:
    """All is counted anew, and nothing twice."""
    partial = counted / "p.json.partial"
    data = partial.read_bytes()
    if change == "touched":
        os.utime(counted / "p/1.bmp", ns=(1, 1))
    elif change == "replaced":
        save(noise(5, 5), counted / "p/1.bmp")
    elif change == "gone":
        (counted / "p/1.bmp").unlink()
        (counted / "p/2.bmp").unlink()
    elif change == "another array":
        with partial.open("wb") as file:
            np.save(file, np.arange(3))
    elif change == "flipped":
        middle = data.index(b"counts.npy") + 200  # in the last of the counts
        partial.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    elif change != "other options":
        content = {"torn": data[: len(data) // 2], "foreign": b"a letter", "empty": b""}
        partial.write_bytes(content[change])
    how: dict[str, Any] = {"color_space": "lab"} if change == "other options" else {}
    summary, messages = fit_by(pool, counted / "p.json", [counted / "p"], 2, **how)
    assert messages == [f"{partial}: {reason}: starting anew"]
    assert (summary.resumed, summary.counted) == (0, len(list((counted / "p").iterdir())))
    assert read_palette(counted / "p.json").counts.sum() == pixels(counted / "p").shape[1]
    assert left(counted) == ["p.json"]


@pytest.mark.parametrize("limited", [False, True])
def test_images_that_kill_and_hang_their_worker(tmp_path: Path, limited: bool) -> None:
    """In groups, or one by one where there is a limit to their time."""
    crash_workers(tmp_path)
    for i in range(20):
        save(noise(9, 9, seed=i), tmp_path / f"p/{i}.bmp")
    for name in ("exit", "segfault", "hang"):
        if name != "hang" or limited:
            save(noise(4, 4), tmp_path / f"p/{name}.png")
    again = ", and again when it was tried alone"
    expected = [
        f"failed: p/exit.png: its worker ended with exit code 3{again}",
        f"failed: p/hang.png: it took longer than 1 seconds{again}",
        f"failed: p/segfault.png: its worker was killed by SIGSEGV{again}",
    ]
    flags = ("--timeout", 1) if limited else ("--workers", 1)  # one worker makes groups of several images
    process = begin(tmp_path, *flags, command="fit", path=tmp_path)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert sorted(errors.splitlines()) == (expected if limited else expected[::2])
    content = json.loads((tmp_path / "p-palette.json").read_text())
    assert (content["fitted"]["images"], content["fitted"]["failed"]) == (20, 3 if limited else 2)
    assert sum(content["counts"]) == 20 * 81


def test_two_fits_at_a_time(album: Path) -> None:
    with held_by_another_process(album / ".p-palette.json.kseg-lock"):
        result = kseg("fit", "p", cwd=album)
    assert (result.returncode, result.stdout) == (1, "")
    path = album / "p-palette.json"
    assert result.stderr == (
        f"kseg-batch: Another process is about to write {path}: let it end, or choose another -o.\n"
    )
    assert left(album) == []


PEAK = """
import atexit, resource
rusage = resource.getrusage
atexit.register(lambda: print("peak", rusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr))
import sys
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """Of noise in 2 million colours, of which four images have most and sixteen more bring few.

    Their histograms would take 60 MB more if they were kept, and their pixels 50; the bound is a third.
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
    """Six colours, three in each of two images; and `--k` is what the curve says."""
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
