"""Images that fail while the run goes on, and command lines that a run refuses with one sentence."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from kseg_batch.cli import app
from kseg_batch.cli.exit_codes import EXIT_NOTHING_DONE, EXIT_USAGE
from tests.support.commands import kseg
from tests.support.faults import break_module
from tests.support.image_files import save
from tests.support.images import noise
from tests.support.outputs import entries, manifest, tree


def test_a_broken_file_is_named_and_the_rest_go_on(photo_tree: Path) -> None:
    whole = (photo_tree / "photos/coffee.jpg").read_bytes()
    (photo_tree / "photos/broken.jpg").write_bytes(whole[: len(whole) // 2])
    (photo_tree / "photos/empty.png").touch()
    (photo_tree / "photos/text.webp").write_text("not an image at all")
    result = kseg("run", "photos", cwd=photo_tree)
    assert result.returncode == 3
    lines = sorted(result.stderr.splitlines())
    assert [line.split(": ")[:2] for line in lines] == [
        ["failed", "photos/broken.jpg"],
        ["failed", "photos/empty.png"],
        ["failed", "photos/text.webp"],
    ]
    assert "truncated" in lines[0] and "empty" in lines[1]
    assert "3 images failed: listed above and in the manifest" in result.stdout
    by_source = {line["source"]: line for line in manifest(photo_tree / "photos-kseg")}
    assert len(by_source) == 6
    broken = by_source[str(photo_tree / "photos/broken.jpg")]
    assert (broken["status"], broken["outputs"]) == ("failed", {})
    assert by_source[str(photo_tree / "photos/coffee.jpg")]["status"] == "done"
    assert not any("broken" in name for name in tree(photo_tree / "photos-kseg"))


def test_nothing_but_broken_files(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/empty.jpg").touch()
    assert kseg("run", "photos", cwd=tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing"], 1, "missing: there is no such file or folder."),
        (["empty"], 1, "empty: no images there, that is, files that end in .apng"),
        (["a.png", "--k", "0"], 2, "--k must be from 1 to 256, not 0."),
        (["a.png", "--k", "257"], 2, "--k must be from 1 to 256, not 257."),
        (
            ["a.png", "--backend", "tpu"],
            2,
            "--backend must be one of auto, cupy, numba-cuda, numba, opencv, not tpu.",
        ),
        (["a.png", "--backend", "cupy"], 2, "cupy: "),
        (["a.png", "--backend", "numba-cuda"], 2, "numba-cuda: "),
        (["a.png", "--require-gpu"], 2, "cupy: "),
        (["a.png", "--backend", "numba", "--gpu"], 2, "The backend numba does not run on the GPU."),
        (["a.png", "--backend", "cupy", "--no-gpu"], 2, "The backend cupy does not run on the CPU."),
        (["a.png", "--require-gpu", "--no-gpu"], 2, "contradict"),
        (["a.png", "--disable", "3"], 2, "--disable 3: the clusters are 0 to 2."),
        (["a.png", "--init", "random"], 2, "The backend numba has no random init"),
        (["a.png", "--init", "forgy"], 2, "--init must be one of k-means++, random, not 'forgy'."),
        (["a.png", "--attempts", "0"], 2, "--attempts must be from 1"),
        (["a.png", "--max-iter", "0"], 2, "--max-iter must be from 1 to 1000000, not 0."),
        (["a.png", "--max-iter", "9" * 20], 2, "--max-iter must be from 1 to 1000000"),
        (["a.png", "--backend", "opencv", "--max-iter", "500"], 2, "--max-iter must be from 2 to 100 with"),
        (["a.png", "--backend", "opencv", "--seed", "9999999999"], 2, "--seed must be from 0 to"),
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
    """The system refuses even to look for the file."""
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
def test_unknown_flags_and_values(tmp_path: Path, arguments: list[str]) -> None:
    result = kseg("run", ".", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert arguments[0] in result.stderr


def test_an_output_that_cannot_be_written_fails_that_image(photo_tree: Path) -> None:
    save(noise(4, 4), photo_tree / f"photos/{'x' * 250}.png")  # its masks' names are over 255 bytes
    result = kseg("run", "photos", cwd=photo_tree)
    assert result.returncode == 3
    assert "cannot be written: File name too long" in result.stderr
    assert result.stdout.startswith("3 images,")
    assert not [
        name for name in tree(photo_tree / "photos-kseg") if "xxx" in name
    ]  # no output of the failed image is left


def test_without_numba_each_image_is_noted(tmp_path: Path) -> None:
    """Unless cv2.kmeans was asked for, or a palette makes every backend exact."""
    for name in ("a", "b"):
        save(noise(20, 30), tmp_path / f"p/{name}.png")
    modules = break_module(tmp_path / "modules", "numba")
    result = kseg("run", "p", cwd=tmp_path, path=modules)
    assert result.returncode == 0
    assert "running on the CPU with opencv (numba: Numba cannot be imported (no numba here)" in result.stderr
    assert "2 images with a note in the manifest" in result.stdout
    for line in entries(tmp_path / "p-kseg").values():
        (note,) = line["notes"]
        assert note.startswith(
            "clustered by cv2.kmeans, which is not exact: Numba cannot be imported (no numba"
        )
    for flags in (["--backend", "opencv"], ["--palette", "#ff0000,#00ff00", "--no-gpu"]):
        result = kseg("run", "p", "-o", "out", "--overwrite", *flags, cwd=tmp_path, path=modules)
        assert result.returncode == 0
        assert [line["notes"] for line in entries(tmp_path / "out").values()] == [[], []]
