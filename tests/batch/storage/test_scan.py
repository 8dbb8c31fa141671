"""The files that a scan takes; tests/batch/test_run_sources.py tests the messages of the command line."""

import os
from pathlib import Path

import pytest
from PIL import Image

from kseg_batch.batch.storage.scan import Scan
from kseg_batch.batch.storage.walk import FileSelection
from kseg_batch.errors import SourceError
from tests.support.image_files import encoded
from tests.support.nested import nested_folders


@pytest.fixture
def photo_files(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.JPEG", "c.txt", "d.img", "raw/a.jpg", "raw/deep/e.png", "x.jpg/f.png", ".jpg"):
        path = tmp_path / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "p"


def stems(folder: Path, *include: str, exclude: tuple[str, ...] = ()) -> list[str]:
    found = Scan([folder], selection=FileSelection(include, exclude))
    names = [job.name for job in found.jobs()]
    assert len(names) == found.total
    return names


def test_by_extension(photo_files: Path) -> None:
    found = Scan([photo_files])
    assert stems(photo_files) == ["a", "b", "raw/a", "raw/deep/e", "x.jpg/f"]
    assert found.passed_over.other_files.total == 3


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (["*.img"], ["d"]),
        (["*.img", "*.png"], ["d", "raw/deep/e", "x.jpg/f"]),
        (["raw/*"], ["raw/a", "raw/deep/e"]),
        (["a.*"], ["a", "raw/a"]),
        (["A.*"], None),
        (["[ab].*"], ["a", "b", "raw/a"]),
    ],
)
def test_include(photo_files: Path, include: list[str], expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(SourceError, match=r"no images there, that is, files that match A\.\*"):
            stems(photo_files, *include)
    else:
        assert stems(photo_files, *include) == expected


@pytest.mark.parametrize(
    ("exclude", "expected", "excluded"),
    [
        (["raw"], ["a", "b", "x.jpg/f"], 1),
        (["raw/"], ["a", "b", "x.jpg/f"], 1),
        (["raw/deep"], ["a", "b", "raw/a", "x.jpg/f"], 1),
        (["*.jpg"], ["b", "raw/deep/e"], 4),
        (["*/a.jpg"], ["a", "b", "raw/deep/e", "x.jpg/f"], 1),
    ],
)
def test_exclude(photo_files: Path, exclude: list[str], expected: list[str], excluded: int) -> None:
    found = Scan([photo_files], selection=FileSelection(exclude=tuple(exclude)))
    assert [job.name for job in found.jobs()] == expected
    assert found.passed_over.excluded == excluded


def test_an_image_that_comes_later_is_left_for_the_next_run(photo_files: Path) -> None:
    found = Scan([photo_files])
    (photo_files / "late.jpg").touch()
    (photo_files / "a.png").touch()  # would have the outputs of a.jpg
    (photo_files / "b.JPEG").unlink()
    assert [job.source.name for job in found.jobs()] == ["a.jpg", "a.jpg", "e.png", "f.png"]
    assert found.passed_over.late == 2


def test_loops_and_links_out_of_the_tree(photo_files: Path) -> None:
    (photo_files / "loop").symlink_to(photo_files)
    (photo_files / "raw/up").symlink_to("..")
    outside = photo_files.parent / "outside"
    outside.mkdir()
    (outside / "far.png").touch()
    (photo_files / "out").symlink_to(outside)
    (photo_files / "linked.png").symlink_to(outside / "far.png")
    found = Scan([photo_files])
    assert [job.name for job in found.jobs()] == ["a", "b", "linked", "raw/a", "raw/deep/e", "x.jpg/f"]
    assert found.passed_over.links == 3


def test_full_names_do_not_depend_on_added_files(photo_files: Path) -> None:
    before = {job.name for job in Scan([photo_files], full_names=True).jobs()}
    (photo_files / "a.png").touch()
    with pytest.raises(SourceError, match="--full-names"):
        Scan([photo_files])
    assert {job.name for job in Scan([photo_files], full_names=True).jobs()} == before | {"a.png"}


def png() -> bytes:
    """A small image."""
    return encoded(Image.new("RGB", (4, 4), "red"), "PNG")


def fill(folder: Path, **contents: bytes) -> Path:
    """Write files into a folder; a double underscore stands for the dot of a name."""
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


def lines(folder: Path, *include: str) -> list[str]:
    """What a scan says about the files that it passed over."""
    return Scan([folder], selection=FileSelection(include)).passed_over.as_lines()


@pytest.mark.parametrize("extension", ["jfif", "PJPEG", "jif", "hif", "heics", "avifs", "mpo", "apng", "dib"])
def test_rarer_extensions_of_the_formats_that_are_read(tmp_path: Path, extension: str) -> None:
    (tmp_path / f"a.{extension}").touch()
    assert stems(tmp_path) == ["a"]


def test_files_passed_over_are_counted_by_their_endings(tmp_path: Path) -> None:
    fill(tmp_path, a__png=png(), a__xmp=b"", b__XMP=b"", c__xmp=b"", a__txt=b"P1 is a text", README=b"BMW")
    assert lines(tmp_path) == ["5 files passed over: 3 .xmp, 1 without an ending, 1 .txt"]
    for i in range(2000):
        (tmp_path / f"frame.{i:04}").touch()
    (line,) = lines(tmp_path)
    assert line.startswith("2,005 files passed over: 3 .xmp, 1 without an ending, 1 .0000,")
    assert line.endswith(" with other endings")


def test_images_of_other_endings_are_named_with_the_flag_that_takes_them(tmp_path: Path) -> None:
    fill(tmp_path, a__png=png(), b__img=png(), c__img=png(), d__IMG=png(), e__dat=png(), f__dat=b"none")
    assert lines(tmp_path) == [
        "5 files passed over: 3 .img (images by their content: --include '*.IMG' --include '*.img' takes "
        "them, and nothing else), 2 .dat"
    ]
    assert stems(tmp_path, "*.IMG", "*.img") == ["b", "c", "d"]
    assert lines(tmp_path, "*.dat") == ["4 files passed over: 3 .img, 1 .png"]


def test_images_without_an_ending_are_named_as_sources(tmp_path: Path) -> None:
    fill(tmp_path, a__png=png(), b=png())
    assert lines(tmp_path) == [
        "1 file passed over: 1 without an ending (images by their content: each is taken if it is named as "
        "SRC)"
    ]
    assert [job.name for job in Scan([tmp_path / "b"]).jobs()] == ["b"]


def test_only_three_files_of_an_ending_are_read_and_no_raw_file(tmp_path: Path) -> None:
    """The line is the same when all other files are gone."""
    fill(tmp_path, **{f"{i}__img": png() for i in range(9)}, **{f"{i}__nef": png() for i in range(9)})
    fill(tmp_path, a__png=png())
    passed_over = Scan([tmp_path]).passed_over
    for path in (*sorted(tmp_path.glob("*.img"))[3:], *tmp_path.glob("*.nef")):
        path.unlink()
    assert passed_over.as_lines() == [
        "18 files passed over: 9 .img (images by their content: --include '*.img' takes them, and nothing "
        "else), 9 .nef (camera RAW)"
    ]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    fill(tmp_path, a__png=png())
    for name in ("a.img", "._b.png"):
        os.mkfifo(tmp_path / name)
    assert stems(tmp_path) == ["._b", "a"]
    assert lines(tmp_path) == ["1 file passed over: 1 .img"]


def test_a_raw_file_beside_its_jpeg_is_no_second_photo(tmp_path: Path) -> None:
    fill(tmp_path, IMG__JPG=b"", IMG__NEF=encoded(Image.new("RGB", (4, 4)), "TIFF"))
    assert stems(tmp_path) == ["IMG"]
    assert lines(tmp_path) == ["1 file passed over: 1 .nef (camera RAW)"]
    assert lines(tmp_path, "*.JPG") == ["1 file passed over: 1 .nef (camera RAW)"]


@pytest.mark.parametrize("include", [(), ("*",)])
def test_files_of_macos_and_windows_are_passed_over(tmp_path: Path, include: tuple[str, ...]) -> None:
    fill(tmp_path, a__png=png(), **{"._a__png": b"\0\x05\x16\x07\0\2\0\0", "._b__png": png()})
    fill(tmp_path, Thumbs__db=b"", desktop__ini=b"", __DS_Store=b"")
    fill(tmp_path / "__MACOSX", c__png=png())
    assert stems(tmp_path, *include) == ["._b", "a"]
    assert lines(tmp_path, *include) == ["4 files and 1 folder of macOS or Windows passed over"]


def test_folders_nested_a_thousand_deep(tmp_path: Path) -> None:
    with nested_folders(tmp_path / "p", 1100) as folder:
        names = stems(folder)
    assert names == ["d/" * i + "a" for i in range(1100)] + ["d/" * i + "z" for i in reversed(range(1100))]


def test_the_order_is_that_of_the_names_in_each_folder(tmp_path: Path) -> None:
    for name in ("b/a.png", "b.png", "b-c/a.png", "a/z.png", "a/b/c.png", "c/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert stems(tmp_path) == ["a/b/c", "a/z", "b/a", "b-c/a", "b", "c/a"]
