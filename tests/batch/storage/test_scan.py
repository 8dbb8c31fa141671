"""The files that a scan takes; tests/batch/test_run_sources.py tests the messages of the command line."""

from pathlib import Path

import pytest

from kseg_batch.batch.storage.scan import FileSelection, Scan
from kseg_batch.errors import SourceError


@pytest.fixture
def photo_files(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.JPEG", "c.txt", "d.jfif", "raw/a.jpg", "raw/deep/e.png", "x.jpg/f.png", ".jpg"):
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
    assert found.passed_over.other_files == 3


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (["*.jfif"], ["d"]),
        (["*.jfif", "*.png"], ["d", "raw/deep/e", "x.jpg/f"]),
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
