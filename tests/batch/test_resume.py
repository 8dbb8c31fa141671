"""A second run, through the real command line: the images and outputs that the run does again."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from kseg_batch.batch.plan import fingerprint
from kseg_batch.batch.workers.jobs import Settings
from kseg_batch.kmeans.options import FitOptions, RegionOptions
from tests.support.commands import again, done_again, kseg
from tests.support.faults import held_by_another_process
from tests.support.image_files import save
from tests.support.images import blocks, noise
from tests.support.outputs import entries, manifest, pngs, state, tree

OTHER_VALUES: dict[str, Any] = {
    "k": 4,
    "attempts": 3,
    "max_iter": 7,
    "eps": 0.1,
    "seed": 1,
    "init": "k-means++",
    "color_space": "lab",
}


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Three small images, and the outputs of a run in out."""
    for i, name in enumerate(("a", "b", "deep/c")):
        save(noise(12, 17, seed=i), tmp_path / f"p/{name}.png")
    assert again(tmp_path, "--k", 3).returncode == 0
    return tmp_path


def test_images_that_are_done_are_skipped(photo_folder: Path) -> None:
    before = state(photo_folder / "out")
    result = again(photo_folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("3 images skipped: ")
    assert state(photo_folder / "out") == before


def test_a_changed_source_is_done_again(photo_folder: Path) -> None:
    before = state(photo_folder / "out")
    save(noise(12, 17, seed=9), photo_folder / "p/b.png")
    assert done_again(photo_folder) == ["b"]
    after = state(photo_folder / "out")
    assert {n for n in after if after[n][1] != before[n][1]} == {
        "segmented/b.png", "masks/b_mask0.png", "masks/b_mask1.png", "masks/b_mask2.png", "manifest.jsonl"
    }  # fmt: skip
    assert len(manifest(photo_folder / "out")) == 3


def test_size_and_time_decide_or_the_content(photo_folder: Path) -> None:
    source = photo_folder / "p/a.png"
    assert done_again(photo_folder, "--checksum") == ["a", "b", "deep/c"]  # the first run took no checksums
    assert done_again(photo_folder, "--checksum") == []
    os.utime(source, ns=(1, 1))
    assert done_again(photo_folder, "--checksum") == []
    assert done_again(photo_folder) == ["a"]
    assert done_again(photo_folder) == []

    data, times = bytearray(source.read_bytes()), source.stat()
    assert done_again(photo_folder, "--checksum") == ["a"]  # the last run took none
    data[-10] ^= 1  # damaged, and of the same size
    source.write_bytes(data)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert done_again(photo_folder) == []
    assert done_again(photo_folder, "--checksum") == ["a"]
    failed = entries(photo_folder / "out")["a"]
    assert failed["status"] == "failed"
    assert all(
        (photo_folder / "out" / name).stat().st_size == size for name, size in failed["outputs"].items()
    )
    assert len(failed["outputs"]) == 4  # the outputs from before the damage


def test_changed_options_replace_the_outputs(photo_folder: Path) -> None:
    assert done_again(photo_folder, "--k", 2) == ["a", "b", "deep/c"]
    assert not [name for name in tree(photo_folder / "out") if "mask2" in name]
    assert set(entries(photo_folder / "out")["a"]["outputs"]) == {
        "segmented/a.png",
        "masks/a_mask0.png",
        "masks/a_mask1.png",
    }
    assert done_again(photo_folder, "--k", 2) == []


def test_every_option_that_changes_the_bytes_changes_the_fingerprint() -> None:
    settings = Settings(Path("out"), FitOptions(), frozenset({"masks"}))
    changed = [
        replace(settings, alpha="ignore"),
        replace(settings, profile="ignore"),
        replace(settings, regions=RegionOptions(smooth=1)),
        replace(settings, regions=RegionOptions(min_region=2)),
        *(
            replace(settings, fit=replace(settings.fit, **{name: value}))
            for name, value in OTHER_VALUES.items()
        ),
    ]
    assert set(OTHER_VALUES) == {field.name for field in fields(FitOptions)}
    found = {fingerprint(s, exact=True) for s in (settings, *changed)} | {fingerprint(settings, exact=False)}
    assert len(found) == len(changed) + 2
    same = replace(settings, out=Path("other"), save=frozenset({"labels"}), max_pixels=1, checksum=True)
    assert fingerprint(same, exact=True) == fingerprint(settings, exact=True)


def test_fewer_colors_leave_no_masks_behind(photo_folder: Path) -> None:
    save(blocks([(0, 0, 0), (9, 9, 9)]), photo_folder / "p/a.png")
    assert done_again(photo_folder) == ["a"]
    assert not (photo_folder / "out/masks/a_mask2.png").exists()


def test_other_kinds_of_output(photo_folder: Path) -> None:
    before = state(photo_folder / "out")
    assert done_again(photo_folder, "--save", "segmented") == []
    assert done_again(photo_folder, "--save", "labels") == ["a", "b", "deep/c"]
    after = state(photo_folder / "out")
    assert all(after[name] == before[name] for name in before if name != "manifest.jsonl")
    assert len(entries(photo_folder / "out")["a"]["outputs"]) == 5
    assert done_again(photo_folder, "--save", "labels", "--save", "masks", "--disable", 1) == [
        "a",
        "b",
        "deep/c",
    ]
    assert len(done_again(photo_folder, "--disable", 2)) == 3
    assert done_again(photo_folder) == []
    assert len(entries(photo_folder / "out")["a"]["outputs"]) == 6
    assert len(done_again(photo_folder, "--save", "labels", "--k", 2)) == 3
    assert set(entries(photo_folder / "out")["a"]["outputs"]) == {"labels/a.png"}
    assert [name for name in tree(photo_folder / "out") if "a." in name or "a_" in name] == ["labels/a.png"]


@pytest.mark.parametrize("change", ["deleted", "emptied", "cut"])
def test_missing_and_damaged_outputs_are_written_again(photo_folder: Path, change: str) -> None:
    path = photo_folder / "out/masks/b_mask1.png"
    whole = path.read_bytes()
    if change == "deleted":
        path.unlink()
    else:
        path.write_bytes(whole[: 0 if change == "emptied" else 30])
    result = again(photo_folder, "--dry-run")
    assert "do   p/b.png: masks/b_mask1.png is gone or is not what was written" in result.stdout
    assert done_again(photo_folder) == ["b"]
    assert path.read_bytes() == whole


def test_failed_images(photo_folder: Path) -> None:
    (photo_folder / "p/broken.png").write_bytes(b"x")
    assert again(photo_folder).returncode == 3
    save(noise(5, 5), photo_folder / "p/new.png")
    assert done_again(photo_folder, "--retry-failed") == ["broken"]
    shutil.copy(photo_folder / "p/a.png", photo_folder / "p/broken.png")
    result = again(photo_folder, "--retry-failed")
    assert result.returncode == 0
    assert entries(photo_folder / "out")["broken"]["status"] == "done"
    assert done_again(photo_folder) == ["new"]


def test_overwrite(photo_folder: Path) -> None:
    before = pngs(photo_folder / "out")
    assert done_again(photo_folder, "--overwrite") == ["a", "b", "deep/c"]
    assert pngs(photo_folder / "out") == before
    result = again(photo_folder, "--overwrite", "--retry-failed")
    assert (result.returncode, result.stderr) == (
        2,
        "kseg-batch: --overwrite and --retry-failed contradict each other.\n",
    )


def test_a_dry_run_writes_nothing(photo_folder: Path) -> None:
    save(noise(5, 5), photo_folder / "p/new.png")
    before = state(photo_folder)
    result = again(photo_folder, "--dry-run")
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        "skip p/a.png: done",
        "skip p/b.png: done",
        "skip p/deep/c.png: done",
        "do   p/new.png: new",
        "1 image to do, 3 to skip; nothing was written",
    ]
    assert kseg("run", "p", "-o", "nowhere", "--dry-run", cwd=photo_folder).stdout.count("\ndo ") == 3
    lines = again(photo_folder, "--dry-run", "--json", "--k", 2).stdout.splitlines()
    assert json.loads(lines[0]) == {
        "source": str(photo_folder / "p/a.png"),
        "action": "do",
        "reason": "the options changed",
    }
    assert state(photo_folder) == before


def test_two_runs_at_a_time(photo_folder: Path) -> None:
    before = state(photo_folder / "out")
    with held_by_another_process(photo_folder / "out/.kseg-lock"):
        result = again(photo_folder, "--overwrite")
    assert result.returncode == 1
    assert (
        result.stderr
        == "kseg-batch: Another run is writing to out: wait for its end, or choose another -o.\n"
    )
    assert state(photo_folder / "out") == before
    assert again(photo_folder).returncode == 0


def test_outputs_of_another_dataset_are_not_replaced(photo_folder: Path) -> None:
    save(noise(7, 7), photo_folder / "q/a.png")
    before = state(photo_folder / "out")
    result = kseg("run", "q", "-o", "out", cwd=photo_folder)
    assert result.returncode == 1
    assert (
        f"out holds the outputs of {photo_folder}/p/a.png, which those of q/a.png would replace"
        in result.stderr
    )
    assert state(photo_folder / "out") == before


def test_a_dataset_that_has_moved(photo_folder: Path) -> None:
    (photo_folder / "p").rename(photo_folder / "elsewhere")
    result = kseg("run", "elsewhere", "-o", "out", cwd=photo_folder)
    assert result.stdout.startswith("3 images skipped: ")


def test_outputs_of_a_removed_source_stay(photo_folder: Path) -> None:
    before = state(photo_folder / "out")
    (photo_folder / "p/a.png").unlink()
    assert again(photo_folder).stdout.startswith("2 images skipped: ")
    assert state(photo_folder / "out") == before


def test_leftovers_of_a_run_that_was_killed(photo_folder: Path) -> None:
    """Leftovers are removed, and a user's file of a similar name stays."""
    ours = photo_folder / f"out/masks/deep/.{'0a' * 16}-3.kseg-tmp"
    theirs = [
        photo_folder / "out/masks/my.kseg-tmp",
        photo_folder / "out/.0a-1.kseg-tmp",
        photo_folder / f"p/{ours.name}",
    ]
    for path in (ours, *theirs):
        path.write_bytes(b"half")
    assert "1 incomplete file of a killed run removed" in again(photo_folder).stdout
    assert not ours.exists()
    assert all(path.exists() for path in theirs)


def test_any_number_of_workers_writes_the_same(photo_folder: Path) -> None:
    for n in (1, 3):
        assert kseg("run", "p", "-o", f"{n}", "--workers", n, cwd=photo_folder).returncode == 0
    one, three = (pngs(photo_folder / n) for n in "13")
    assert one == three
    assert len(one) == 12
