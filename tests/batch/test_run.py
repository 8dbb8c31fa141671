"""`kseg-batch run`, through the real command line."""

import os
import pty
import re
import shutil
import subprocess
import termios
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from kseg_batch import segment
from kseg_batch.cli import app
from kseg_batch.cli.exit_codes import EXIT_NOTHING_DONE, EXIT_USAGE
from kseg_batch.images.decode import decode
from kseg_batch.kmeans.options import Init
from tests.support.commands import command_line, kseg
from tests.support.faults import as_ordinary_user, break_module
from tests.support.image_files import save
from tests.support.images import blocks, noise, photos
from tests.support.outputs import manifest, state, tree


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Three photos in a tree, one file that is no image."""
    save(photos()["coffee"], tmp_path / "photos/coffee.jpg")
    save(photos()["chelsea"], tmp_path / "photos/pets/Chelsea the cat.PNG")
    save(photos()["china"], tmp_path / "photos/trips/2024/china.webp")
    (tmp_path / "photos/notes.txt").write_text("none of these is a dog")
    return tmp_path


def test_a_folder(album: Path) -> None:
    result = kseg("run", "./photos", "--k", 3, "--workers", 2, cwd=album)
    assert (result.returncode, result.stderr) == (0, "")
    out = album / "photos-kseg"
    names = ["coffee", "pets/Chelsea the cat", "trips/2024/china"]
    assert tree(out) == sorted(
        ["manifest.jsonl", "masks/.kseg-batch", "segmented/.kseg-batch"]
        + [f"segmented/{name}.png" for name in names]
        + [f"masks/{name}_mask{i}.png" for name in names for i in range(3)]
    )
    source = decode((album / "photos/coffee.jpg").read_bytes()).rgb
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
        "1 file passed over, not images by name",
        f"masks      {out}/masks",
        f"segmented  {out}/segmented",
        f"manifest   {out}/manifest.jsonl",
    ]


def test_the_manifest_has_a_line_per_image(album: Path) -> None:
    kseg("run", "photos", "-k", 2, "-o", "out", cwd=album)
    lines = manifest(album / "out")
    lines.sort(key=lambda line: str(line["source"]))
    names = ["coffee.jpg", "pets/Chelsea the cat.PNG", "trips/2024/china.webp"]
    assert [line["source"] for line in lines] == [str(album / "photos" / name) for name in names]
    s = segment(decode((album / "photos/coffee.jpg").read_bytes()).rgb, 2)
    line = lines[0]
    assert line.pop("seconds") > 0
    source = album / "photos/coffee.jpg"
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
        "outputs": {name: (album / "out" / name).stat().st_size for name in outputs},
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


def test_several_sources_keep_their_names(album: Path) -> None:
    save(noise(5, 5), album / "one.png")
    result = kseg(
        "run", "photos/pets", "photos/trips/", "one.png", "-o", "out", "--save", "labels", cwd=album
    )
    assert result.returncode == 0
    assert tree(album / "out/labels") == [
        ".kseg-batch",
        "one.png",
        "pets/Chelsea the cat.png",
        "trips/2024/china.png",
    ]


def test_several_sources_need_an_output_folder(album: Path) -> None:
    result = kseg("run", "photos/pets", "photos/trips", cwd=album)
    assert (result.returncode, result.stdout) == (1, "")
    assert "say where to write: -o OUT" in result.stderr


def test_default_output_of_the_current_folder(album: Path) -> None:
    assert kseg("run", ".", cwd=album / "photos/pets").returncode == 0
    assert (album / "photos/pets-kseg/segmented/Chelsea the cat.png").exists()


def test_a_broken_file_is_named_and_the_rest_go_on(album: Path) -> None:
    whole = (album / "photos/coffee.jpg").read_bytes()
    (album / "photos/broken.jpg").write_bytes(whole[: len(whole) // 2])
    (album / "photos/empty.png").touch()
    (album / "photos/text.webp").write_text("not an image at all")
    result = kseg("run", "photos", cwd=album)
    assert result.returncode == 3
    lines = sorted(result.stderr.splitlines())
    assert [line.split(": ")[:2] for line in lines] == [
        ["failed", "photos/broken.jpg"],
        ["failed", "photos/empty.png"],
        ["failed", "photos/text.webp"],
    ]
    assert "damaged" in lines[0] and "empty" in lines[1]
    assert "3 images failed: named above, and in the manifest" in result.stdout
    by_source = {line["source"]: line for line in manifest(album / "photos-kseg")}
    assert len(by_source) == 6
    broken = by_source[str(album / "photos/broken.jpg")]
    assert (broken["status"], broken["outputs"]) == ("failed", {})
    assert by_source[str(album / "photos/coffee.jpg")]["status"] == "done"
    assert not any("broken" in name for name in tree(album / "photos-kseg"))


def test_nothing_but_broken_files(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/empty.jpg").touch()
    assert kseg("run", "photos", cwd=tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing"], 1, "missing: there is no such file or folder."),
        (["empty"], 1, "empty: no images there, that is, files that end in .avif"),
        (["a.png", "--k", "0"], 2, "--k must be from 1 to 256, not 0."),
        (["a.png", "--k", "257"], 2, "--k must be from 1 to 256, not 257."),
        (["a.png", "--backend", "tpu"], 2, "There is no backend 'tpu': choose from auto, cupy,"),
        (["a.png", "--backend", "cupy"], 2, "cupy: "),
        (["a.png", "--backend", "numba-cuda"], 2, "numba-cuda: "),
        (["a.png", "--require-gpu"], 2, "cupy: "),
        (["a.png", "--backend", "numba", "--gpu"], 2, "The backend numba does not run on the GPU."),
        (["a.png", "--backend", "cupy", "--no-gpu"], 2, "The backend cupy does not run on the CPU."),
        (["a.png", "--require-gpu", "--no-gpu"], 2, "contradict"),
        (["a.png", "--disable", "3"], 2, "--disable 3: the clusters are 0 to 2."),
        (["a.png", "--init", "random"], 2, "The backend numba has no --init random"),
        (["a.png", "--init", "forgy"], 2, "--init must be k-means++ or random, not forgy."),
        (["a.png", "--attempts", "0"], 2, "--attempts must be from 1"),
        (["a.png", "--max-iter", "0"], 2, "--max-iter must be from 1 to 1000000, not 0."),
        (["a.png", "--max-iter", "9" * 20], 2, "--max-iter must be from 1 to 1000000"),
        (["a.png", "--backend", "opencv", "--max-iter", "500"], 2, "opencv takes --max-iter from 2 to 100"),
        (["a.png", "--backend", "opencv", "--seed", "9999999999"], 2, "opencv takes --seed from 0 to"),
        (["a.png", "--save", "masked"], 2, "--save masked needs --disable or --keep"),
        (["a.png", "--save", "kept"], 2, "--save kept needs --disable or --keep"),
        (["a.png", "--keep", "1", "--disable", "2"], 2, "--disable and --keep contradict each other"),
        (["a.png", "--keep", "grene"], 2, "nor a cluster of that name; did you mean green, grey, seagreen?"),
        ([""], 2, "A path is empty"),
        (["a.png", "-o", ""], 2, "A path is empty"),
        (["a.png", "--eps", "-1"], 2, "--eps must be a distance"),
        (["a.png", "--seed", "-1"], 2, "--seed must be from 0"),
        (["a.png", "-o", "a.png"], 1, "a.png/masks cannot be written: "),
    ],
)
def test_wrong_use_gets_one_sentence(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    save(noise(4, 4), tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    before = tree(tmp_path)
    result = kseg("run", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("kseg-batch: ")
    assert message in result.stderr
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "LONG"],
        ["run", "photo.png", "-o", "LONG"],
        ["run", "photo.png", "-o", "LONG/out"],
        ["run", "photo.png", "--config", "LONG"],
        ["run", "photo.png", "--palette", "LONG.json"],
        ["run", "photo.png", "--log-file", "LONG"],
        ["fit", "LONG"],
        ["fit", "photo.png", "-o", "LONG"],
        ["live", "--source", "LONG", "--no-window"],
        ["live", "--source", "photo.png", "--no-window", "--save", "LONG"],
        ["live", "--source", "photo.png", "--no-window", "--save", "LONG.mp4"],
        ["bench", "LONG"],
        ["bench", "photo.png", "--json", "LONG"],
        ["bench", "photo.png", "--plot", "LONG.png"],
    ],
)
def test_names_that_no_file_can_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """The system refuses even to look whether they are there."""
    monkeypatch.chdir(tmp_path)
    save(noise(20, 30), tmp_path / "photo.png")
    result = CliRunner().invoke(app, [text.replace("LONG", "x" * 300) for text in arguments])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code in (EXIT_NOTHING_DONE, EXIT_USAGE)
    said = result.stderr.splitlines()[-1]
    assert said.startswith("kseg-batch: ")
    assert "x" * 300 in said
    assert said.rstrip(".").endswith("File name too long")


@pytest.mark.parametrize("arguments", [["--save", "everything"], ["--k", "three"], ["--nonsense"]])
def test_what_is_not_a_flag_or_a_value(tmp_path: Path, arguments: list[str]) -> None:
    result = kseg("run", ".", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert arguments[0] in result.stderr


def test_gpu_without_a_gpu_says_so_once_and_runs(tmp_path: Path) -> None:
    save(noise(4, 4), tmp_path / "p/a.png")
    save(noise(4, 4), tmp_path / "p/b.png")
    result = kseg("run", "p", "--gpu", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr.count("\n") == 1
    assert re.match(r"kseg-batch: running on the CPU with numba \(cupy: .+; numba-cuda: .+\)", result.stderr)
    assert kseg("run", "p", "--no-gpu", cwd=tmp_path).stderr == ""


def test_without_numba_it_runs_through_opencv_and_says_so(tmp_path: Path) -> None:
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


def test_outputs_inside_the_source_are_never_inputs(album: Path) -> None:
    assert kseg("run", "photos", "-o", "photos/done", cwd=album).returncode == 0
    first = tree(album / "photos/done")
    for out in ("photos/done", "photos/again"):
        result = kseg("run", "photos", "-o", out, "--overwrite", cwd=album)
        assert result.returncode == 0
        assert result.stdout.startswith("3 images,")
        assert tree(album / out) == first
    assert "photos/done/segmented passed over: it holds outputs of kseg-batch" in result.stdout


def test_sources_that_would_collide_stop_the_run(album: Path) -> None:
    save(noise(4, 4), album / "photos/coffee.png")
    result = kseg("run", "photos", cwd=album)
    assert (result.returncode, result.stdout) == (1, "")
    assert "photos/coffee.jpg, photos/coffee.png" in result.stderr and "--full-names" in result.stderr
    assert not (album / "photos-kseg").exists()
    result = kseg("run", "photos", "--full-names", "--save", "labels", cwd=album)
    assert result.returncode == 0
    assert tree(album / "photos-kseg/labels") == [
        ".kseg-batch",
        "coffee.jpg.png",
        "coffee.png.png",
        "pets/Chelsea the cat.PNG.png",
        "trips/2024/china.webp.png",
    ]


def test_what_is_passed_over_is_said(album: Path) -> None:
    (album / "photos/loop").symlink_to(album / "photos")
    os.mkfifo(album / "photos/pipe.jpg")
    (album / "photos/gone.jpg").symlink_to("nowhere.jpg")
    result = kseg("run", "photos", cwd=album)
    assert result.returncode == 3
    assert "1 link to folders not followed" in result.stdout
    assert sorted(result.stderr.splitlines()) == [
        "failed: photos/gone.jpg: it cannot be read: No such file or directory",
        "failed: photos/pipe.jpg: it is not a regular file",
    ]


def test_a_folder_that_cannot_be_entered(album: Path) -> None:
    (album / "photos/pets").chmod(0o000)
    (album / "photos/trips").chmod(0o444)  # may be listed, but nothing in it looked at
    command = as_ordinary_user(command_line("run", "photos", "--no-gpu"))
    result = subprocess.run(command, cwd=album, capture_output=True, text=True, timeout=120, check=False)
    for name in ("pets", "trips"):
        (album / "photos" / name).chmod(0o755)
    assert result.returncode == 3
    lines = result.stderr.splitlines()
    assert lines[0] == "failed: photos/pets: it cannot be read: Permission denied"
    assert all(line.startswith("failed: photos/trips") for line in lines[1:])
    assert result.stdout.startswith("1 image,")


def test_a_run_into_its_own_source_takes_no_outputs_for_inputs(album: Path) -> None:
    for _ in range(2):
        result = kseg("run", "photos", "-o", "photos", "--overwrite", cwd=album)
        assert result.returncode == 0
        assert result.stdout.startswith("3 images,")
    assert kseg("run", ".", "-o", "elsewhere", cwd=album).stdout.startswith("3 images,")


def test_a_source_is_never_overwritten(tmp_path: Path) -> None:
    source = save(noise(8, 8), tmp_path / "segmented/x.png")
    before = source.read_bytes()
    result = kseg("run", "segmented", "-o", ".", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "segmented holds files that kseg-batch did not write: choose another -o." in result.stderr
    assert source.read_bytes() == before

    save(noise(8, 8), tmp_path / "a.png")
    assert kseg("run", "a.png", "-o", "out", cwd=tmp_path).returncode == 0
    result = kseg("run", "out/segmented/a.png", "-o", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert "out/segmented/a.png lies in the output folder out/segmented" in result.stderr


def test_a_file_named_twice_is_done_once(album: Path) -> None:
    result = kseg("run", "photos", "./photos", "photos/coffee.jpg", "-o", "out", cwd=album)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("3 images,")


def test_collisions_that_full_names_would_not_resolve(tmp_path: Path) -> None:
    save(noise(4, 4, seed=1), tmp_path / "x/a.png")
    save(noise(4, 4, seed=2), tmp_path / "y/a.png")
    result = kseg("run", "x/a.png", "y/a.png", "-o", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert "each with its own -o OUT" in result.stderr and "--full-names" not in result.stderr


def test_no_images_says_what_was_passed_over(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/loop").symlink_to(tmp_path)
    (tmp_path / "p/notes.txt").touch()
    result = kseg("run", "p", cwd=tmp_path)
    assert result.returncode == 1
    assert "1 file passed over, not images by name; 1 link to folders not followed." in result.stderr


def test_any_name_can_be_printed_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    save(noise(4, 4), tmp_path / "a.png")
    result = kseg("run", "a.png", "-o", "\u65e5", cwd=tmp_path)
    assert result.returncode == 0
    assert "\\u65e5/segmented" in result.stdout


def test_sources_are_not_touched(album: Path) -> None:
    before = state(album / "photos")
    kseg("run", "photos", cwd=album)
    assert state(album / "photos") == before


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"new\nline.png", "\u00e9\U0001f600 '\".png".encode()])
def test_any_file_name(tmp_path: Path, name: bytes) -> None:
    folder = os.fsencode(tmp_path / "p")
    os.makedirs(folder)  # noqa: PTH103 - a path of bytes
    shutil.copy(os.fsencode(save(noise(4, 4), tmp_path / "a.png")), os.path.join(folder, name))  # noqa: PTH118
    Path(os.fsdecode(os.path.join(folder, b"broken " + name))).touch()  # noqa: PTH118
    result = kseg("run", "p", cwd=tmp_path)
    assert result.returncode == 3
    lines = manifest(tmp_path / "p-kseg")
    assert {os.fsencode(str(line["source"])) for line in lines} == {
        os.fsencode(tmp_path / "p") + b"/" + part + name for part in (b"", b"broken ")
    }
    written = os.listdir(os.fsencode(tmp_path / "p-kseg/segmented"))  # noqa: PTH208 - names of bytes
    assert sorted(written) == sorted([name, b".kseg-batch"])


def test_an_output_that_cannot_be_written_fails_that_image(album: Path) -> None:
    save(noise(4, 4), album / f"photos/{'x' * 250}.png")  # its masks' names are over 255 bytes
    result = kseg("run", "photos", cwd=album)
    assert result.returncode == 3
    assert "cannot be written: File name too long" in result.stderr
    assert result.stdout.startswith("3 images,")
    assert not [
        name for name in tree(album / "photos-kseg") if "xxx" in name
    ]  # its segmented.png is gone too


def test_the_bar_on_a_terminal(album: Path) -> None:
    (album / "photos/broken.jpg").write_bytes(b"x")
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 80))
    command = command_line("run", "photos", "--no-gpu")
    process = subprocess.Popen(command, cwd=album, stderr=child, stdout=subprocess.PIPE)
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
