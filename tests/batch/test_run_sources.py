"""The files that a run takes, and their names among the outputs: folders, collisions, links, own outputs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import command_line, kseg
from tests.support.faults import as_ordinary_user
from tests.support.image_files import save
from tests.support.images import noise
from tests.support.nested import nested_folders
from tests.support.outputs import manifest, state, tree


def test_several_sources_keep_their_names(photo_tree: Path) -> None:
    save(noise(5, 5), photo_tree / "one.png")
    result = kseg(
        "run", "photos/pets", "photos/trips/", "one.png", "-o", "out", "--save", "labels", cwd=photo_tree
    )
    assert result.returncode == 0
    assert tree(photo_tree / "out/labels") == [
        ".kseg-batch",
        "one.png",
        "pets/Chelsea the cat.png",
        "trips/2024/china.png",
    ]


def test_several_sources_need_an_output_folder(photo_tree: Path) -> None:
    result = kseg("run", "photos/pets", "photos/trips", cwd=photo_tree)
    assert (result.returncode, result.stdout) == (1, "")
    assert "need -o OUT, which says where to write" in result.stderr


def test_default_output_of_the_current_folder(photo_tree: Path) -> None:
    assert kseg("run", ".", cwd=photo_tree / "photos/pets").returncode == 0
    assert (photo_tree / "photos/pets-kseg/segmented/Chelsea the cat.png").exists()


def test_outputs_inside_the_source_are_never_inputs(photo_tree: Path) -> None:
    assert kseg("run", "photos", "-o", "photos/done", cwd=photo_tree).returncode == 0
    first = tree(photo_tree / "photos/done")
    for out in ("photos/done", "photos/again"):
        result = kseg("run", "photos", "-o", out, "--overwrite", cwd=photo_tree)
        assert result.returncode == 0
        assert result.stdout.startswith("3 images,")
        assert tree(photo_tree / out) == first
    assert "photos/done/segmented passed over: it holds outputs of kseg-batch" in result.stdout


def test_sources_that_would_collide_stop_the_run(photo_tree: Path) -> None:
    save(noise(4, 4), photo_tree / "photos/coffee.png")
    result = kseg("run", "photos", cwd=photo_tree)
    assert (result.returncode, result.stdout) == (1, "")
    assert "photos/coffee.jpg, photos/coffee.png" in result.stderr and "--full-names" in result.stderr
    assert not (photo_tree / "photos-kseg").exists()
    result = kseg("run", "photos", "--full-names", "--save", "labels", cwd=photo_tree)
    assert result.returncode == 0
    assert tree(photo_tree / "photos-kseg/labels") == [
        ".kseg-batch",
        "coffee.jpg.png",
        "coffee.png.png",
        "pets/Chelsea the cat.PNG.png",
        "trips/2024/china.webp.png",
    ]


def test_files_passed_over_are_counted_or_named(photo_tree: Path) -> None:
    (photo_tree / "photos/loop").symlink_to(photo_tree / "photos")
    os.mkfifo(photo_tree / "photos/pipe.jpg")
    (photo_tree / "photos/gone.jpg").symlink_to("nowhere.jpg")
    result = kseg("run", "photos", cwd=photo_tree)
    assert result.returncode == 3
    assert "1 link to folders not followed" in result.stdout
    assert sorted(result.stderr.splitlines()) == [
        "failed: photos/gone.jpg: it cannot be read: No such file or directory",
        "failed: photos/pipe.jpg: it is not a regular file",
    ]


def test_folders_nested_a_thousand_deep(tmp_path: Path, soak: bool) -> None:
    """The system opens no path of more than 4,096 characters, PATH_MAX."""
    every, n = (1, "2,200") if soak else (50, "44")
    with nested_folders(tmp_path / "p", 1100, every), nested_folders(tmp_path / "deeper", 2100, 100):
        result = kseg("run", "p", "--save", "labels,coco", "-o", "out", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"{n} images,")
        for command in (("run", "p", "-o", "new", "--dry-run"), ("fit", "p", "--k", 1)):
            result = kseg(*command, cwd=tmp_path)
            assert (result.returncode, result.stderr) == (0, "")
            assert f"{n} images" in result.stdout
        result = kseg("fit", "deeper", "--k", 1, "-o", "palette.json", cwd=tmp_path)
        assert result.returncode == 3
        assert "1 folder could not be read" in result.stdout
        assert result.stderr.count("File name too long") == len(result.stderr.splitlines()) == 1
        subprocess.run(["rm", "-rf", tmp_path / "out"], check=True)


def test_a_folder_that_cannot_be_entered(photo_tree: Path) -> None:
    (photo_tree / "photos/pets").chmod(0o000)
    (photo_tree / "photos/trips").chmod(0o444)  # may be listed, but not entered
    command = as_ordinary_user(command_line("run", "photos", "--no-gpu"))
    result = subprocess.run(command, cwd=photo_tree, capture_output=True, text=True, timeout=120, check=False)
    for name in ("pets", "trips"):
        (photo_tree / "photos" / name).chmod(0o755)
    assert result.returncode == 3
    lines = result.stderr.splitlines()
    assert lines[0] == "failed: photos/pets: it cannot be read: Permission denied"
    assert all(line.startswith("failed: photos/trips") for line in lines[1:])
    assert result.stdout.startswith("1 image,")


def test_a_run_into_its_own_source_takes_no_outputs_for_inputs(photo_tree: Path) -> None:
    for _ in range(2):
        result = kseg("run", "photos", "-o", "photos", "--overwrite", cwd=photo_tree)
        assert result.returncode == 0
        assert result.stdout.startswith("3 images,")
    assert kseg("run", ".", "-o", "elsewhere", cwd=photo_tree).stdout.startswith("3 images,")


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


def test_a_file_named_twice_is_done_once(photo_tree: Path) -> None:
    result = kseg("run", "photos", "./photos", "photos/coffee.jpg", "-o", "out", cwd=photo_tree)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("3 images,")


def test_collisions_that_full_names_would_not_resolve(tmp_path: Path) -> None:
    save(noise(4, 4, seed=1), tmp_path / "x/a.png")
    save(noise(4, 4, seed=2), tmp_path / "y/a.png")
    result = kseg("run", "x/a.png", "y/a.png", "-o", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert "each with its own -o OUT" in result.stderr and "--full-names" not in result.stderr


def test_a_source_without_images_names_the_files_passed_over(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/loop").symlink_to(tmp_path)
    (tmp_path / "p/notes.txt").touch()
    result = kseg("run", "p", cwd=tmp_path)
    assert result.returncode == 1
    assert "1 file passed over: 1 .txt; 1 link to folders not followed." in result.stderr


def test_sources_are_not_touched(photo_tree: Path) -> None:
    before = state(photo_tree / "photos")
    kseg("run", "photos", cwd=photo_tree)
    assert state(photo_tree / "photos") == before


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
