"""Outputs on a disk that ignores the case of names: two photos never share a file, and alternate in none."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING

import pytest

from kseg_batch.batch.manifest import Entry, Manifest
from kseg_batch.batch.storage import folding
from kseg_batch.batch.storage.folding import FOLDS, find_fold, is_one_file, unchanged
from kseg_batch.batch.storage.scan import Scan
from kseg_batch.errors import SourceError
from tests.support.commands import kseg
from tests.support.disks import exfat_disk
from tests.support.image_files import save
from tests.support.images import flat, noise
from tests.support.outputs import manifest, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ON_EXFAT = pytest.mark.needs("mkfs.exfat", "mount.exfat-fuse")

NFC, NFD = "caf\u00e9", "cafe\u0301"
CASE, FORM = (True, False), (False, True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with exfat_disk(tmp_path_factory.mktemp("exfat")) as mounted:
        yield mounted


def photos(folder: Path, *names: str) -> Path:
    """A folder of photos p, each of another colour."""
    for i, name in enumerate(names):
        save(flat(4, 4, (40 * i, 9, 9)), folder / "p" / name)
    return folder


@pytest.mark.parametrize(
    ("ignored", "names", "remedy"),
    [
        (CASE, ("IMG.jpg", "img.png"), "--full-names keeps the extension"),
        (CASE, ("IMG.jpg", "img.JPG"), "segment them in separate runs"),
        (CASE, ("A/x.png", "a/X.jpg"), "--full-names keeps the extension"),
        (FORM, (f"{NFC}.png", f"{NFD}.jpg"), "--full-names keeps the extension"),
        (FORM, (f"{NFC}.png", f"{NFD}.png"), "segment them in separate runs"),
        ((True, True), (f"{NFC.upper()}.png", f"{NFD}.png"), "segment them in separate runs"),
    ],
)
def test_names_that_the_disk_of_the_outputs_treats_as_equal(
    tmp_path: Path, ignored: tuple[bool, bool], names: tuple[str, str], remedy: str
) -> None:
    folder = photos(tmp_path, *names) / "p"
    assert len(list(Scan([folder], fold=unchanged).jobs())) == 2
    with pytest.raises(SourceError, match=remedy) as raised:
        Scan([folder], fold=FOLDS[ignored])
    assert raised.value.details == [f"  {', '.join(str(folder / name) for name in sorted(names))}"]
    if "--full-names" in remedy:
        found = Scan([folder], fold=FOLDS[ignored], full_names=True)
        assert {str(job.stem) for job in found.jobs()} == {*names}
    else:
        with pytest.raises(SourceError, match=remedy):
            Scan([folder], fold=FOLDS[ignored], full_names=True)


def test_other_names_stay_two(tmp_path: Path) -> None:
    photos(tmp_path, "IMG.jpg", "img2.png", f"{NFC}.png", "cafe.png")
    assert Scan([tmp_path / "p"], fold=FOLDS[True, True]).total == 4


def test_the_journal_finds_an_image_by_any_of_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Entry("A/IMG", "/IMG.jpg", "failed", "none", None, "", "", (), {})
    (tmp_path / "manifest.jsonl").write_text(json.dumps(entry.to_line()) + "\n")
    with Manifest(tmp_path) as journal:
        assert journal.last("A/IMG") == entry and journal.last("a/img") is None
    monkeypatch.setattr("kseg_batch.batch.manifest.find_fold", lambda out: FOLDS[CASE])
    with Manifest(tmp_path) as journal:
        assert journal.last("a/img") == journal.last("A/IMG") == entry


def test_an_ordinary_disk_is_told_from_others_and_nothing_stays_of_the_probe(tmp_path: Path) -> None:
    (tmp_path / "aA").touch()
    ignores_case = (tmp_path / "Aa").exists()  # as on macOS
    (tmp_path / NFC).touch()
    ignores_form = (tmp_path / NFD).exists()
    before = tree(tmp_path)
    for out in (tmp_path, tmp_path / "out/deep"):
        assert find_fold(out) is FOLDS[ignores_case, ignores_form]
    assert tree(tmp_path) == before
    assert unicodedata.normalize("NFD", folding.ACCENTS[0]) != folding.ACCENTS[0]


def test_both_photos_are_done_on_a_disk_that_tells_names_apart(tmp_path: Path) -> None:
    photos(tmp_path, "IMG.jpg", "img.png")
    if find_fold(tmp_path) is not unchanged:
        pytest.skip("the disk of the temporary folder ignores case")
    assert kseg("run", "p", "-o", "out", "--save", "labels", cwd=tmp_path).returncode == 0
    assert tree(tmp_path / "out/labels") == [".kseg-batch", "IMG.png", "img.png"]
    assert not is_one_file(tmp_path / "out/labels/IMG.png", tmp_path / "out/labels/img.png")


@ON_EXFAT
def test_two_photos_for_one_file_stop_the_run(tmp_path: Path, disk: Path) -> None:
    photos(tmp_path, "IMG.jpg", "img.png")
    out = disk / "collision"
    for flags in ((), ("--dry-run",)):
        result = kseg("run", "p", "-o", out, "--save", "labels", *flags, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert "These sources would have the same outputs; --full-names" in result.stderr
        assert "  p/IMG.jpg, p/img.png" in result.stderr.splitlines()
        assert not out.exists() and not list(disk.glob(f"{folding.PROBE}*"))
    result = kseg("run", "p", "-o", out, "--save", "labels,coco", "--full-names", cwd=tmp_path)
    assert result.returncode == 0
    assert tree(out / "labels") == [".kseg-batch", "IMG.jpg.png", "img.png.png"]
    assert len(json.loads((out / "annotations.json").read_text())["images"]) == 2


@ON_EXFAT
def test_two_photos_never_alternate_in_one_file(tmp_path: Path, disk: Path) -> None:
    photos(tmp_path, "IMG.jpg")
    save(noise(5, 5), tmp_path / "q/img.png")
    flags = "-o", disk / "nights", "--save", "labels,coco"
    assert kseg("run", "p", *flags, cwd=tmp_path).returncode == 0
    before = tree(disk / "nights")
    for more in ((), ("--dry-run",)):
        result = kseg("run", "q", *flags, *more, cwd=tmp_path)
        assert result.returncode == 1
        assert f"holds the outputs of {tmp_path}/p/IMG.jpg" in result.stderr
        assert "which those of q/img.png would replace" in result.stderr
    assert tree(disk / "nights") == before

    (tmp_path / "p/IMG.jpg").unlink()  # so that the next photo may be the same, with another name
    result = kseg("run", "q", *flags, cwd=tmp_path)
    assert result.returncode == 0
    assert tree(disk / "nights/labels") == [".kseg-batch", "img.png"]
    assert [line["name"] for line in manifest(disk / "nights")] == ["img"]
    (image,) = json.loads((disk / "nights/annotations.json").read_text())["images"]
    assert image["file_name"] == "img.png"
    assert kseg("run", "q", *flags, cwd=tmp_path).stdout.startswith("1 image skipped")


@ON_EXFAT
def test_a_photo_on_such_a_disk_may_get_another_case(tmp_path: Path, disk: Path) -> None:
    save(noise(5, 5), disk / "source/IMG.png")
    flags = "-o", tmp_path / "out", "--save", "labels"
    assert kseg("run", disk / "source", *flags, cwd=tmp_path).returncode == 0
    (disk / "source").rename(disk / "other")
    (disk / "other").rename(disk / "Source")
    result = kseg("run", disk / "Source", *flags, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


@ON_EXFAT
def test_a_source_in_the_outputs_by_another_case_is_refused(tmp_path: Path, disk: Path) -> None:
    photos(tmp_path, "a.png")
    assert kseg("run", "p", "-o", disk / "own", "--save", "labels", cwd=tmp_path).returncode == 0
    result = kseg("run", disk / "OWN/Labels/A.png", "-o", disk / "own", "--save", "labels", cwd=tmp_path)
    assert result.returncode == 1
    assert "lies in the output folder" in result.stderr
