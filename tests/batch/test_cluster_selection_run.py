"""Runs with `--keep` and `--disable`: names of masks, photos of different scenes, and another choice."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseg_batch import Palette
from kseg_batch.backends.registry import load
from kseg_batch.batch.manifest import Journal
from kseg_batch.batch.plan import Planner, Step
from kseg_batch.batch.storage.outputs import KINDS, Save, output_names, prepare_folders
from kseg_batch.batch.storage.scan import Job
from kseg_batch.batch.workers.jobs import Settings
from kseg_batch.batch.workers.process_image import process_image
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.segmentation.cluster_selection import TOLERANCE, ClusterSelection
from tests.support.commands import kseg
from tests.support.image_files import pixels_of, save, with_alpha
from tests.support.images import blocks, flat, photos
from tests.support.outputs import entries, tree

GREEN, WHITE = (0, 128, 0), (255, 255, 255)


def test_no_two_images_have_masks_of_the_same_name() -> None:
    called = ("tree", "", "unmask", "x")
    stems = ["a", "a_mask", "a_mask_tree", "a_mask1", "a_mask_x", "a_mask_mask1", "a_mask_unmask"]
    found = [name for stem in stems for name in output_names(Job(Path(), Path(stem)), ["masks"], 4, called)]
    assert found[:4] == [f"masks/a_mask{end}.png" for end in ("_tree", "1", "_unmask", "_x")]
    assert len(set(found)) == len(found) == 4 * len(stems)


def test_named_clusters_have_masks_of_their_name(tmp_path: Path) -> None:
    """All outputs agree about a partly transparent photo."""

    class Naming:
        """The numba backend with names for the clusters."""

        def __getattr__(self, name: str) -> Any:
            return getattr(load("numba"), name)

        def fit(self, *arguments: Any) -> Palette:
            return replace(load("numba").fit(*arguments), names=("", "tree", "sky"))

    rgb = photos()["china"][100:200, 50:200]
    opaque = np.ones(rgb.shape[:2], bool)
    opaque[::3] = False
    save(with_alpha(rgb, opaque), tmp_path / "photo.png")
    settings = Settings(
        tmp_path,
        FitOptions(k=3),
        frozenset(KINDS),
        ClusterSelection.parse(keep=["tree", 2], k=3, names=("", "tree", "sky")),
    )
    prepare_folders(tmp_path, KINDS, [])
    outcome = process_image(Job(tmp_path / "photo.png", Path("photo")), settings, Naming())
    assert (outcome.error, outcome.disabled) == (None, (0,))
    written = {
        output.name: pixels_of(tmp_path / output.name)
        for output in outcome.outputs
        if not output.name.startswith(("segmented", "coco"))
    }
    ends = ("0", "_tree", "_sky")
    assert sorted(written) == sorted(
        ["labels/photo.png", "masked/photo.png", "kept/photo.png"]
        + [f"masks/photo_mask{end}.png" for end in ends]
    )
    kept, masked = written["kept/photo.png"], written["masked/photo.png"]
    assert np.array_equal(kept, written["masks/photo_mask_tree.png"] | written["masks/photo_mask_sky.png"])
    assert np.array_equal(kept, np.isin(written["labels/photo.png"], [1, 2]))
    assert not kept[::3].any() and kept.any()
    assert np.array_equal(masked[..., :3], np.where(kept[..., None], rgb, 0))
    assert np.array_equal(masked[..., 3], opaque * np.uint8(255))


MEADOW, NO_GREEN = (90, 150, 50), (150, 140, 130)


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in which green is another cluster each time, and an image without green."""
    folder = tmp_path_factory.mktemp("photo_folder")
    save(blocks([MEADOW, (120, 170, 240), WHITE]), folder / "p/day.png")
    save(blocks([(10, 12, 40), (60, 60, 70), MEADOW]), folder / "p/night.png")
    save(blocks([NO_GREEN, (40, 30, 30), (220, 210, 220)]), folder / "p/indoors.png")
    save(flat(4, 4, MEADOW), folder / "p/lawn.png")
    return folder


def test_a_color_over_photos_of_different_scenes(photo_folder: Path) -> None:
    kinds = ("--save", "kept", "--save", "labels")
    result = kseg("run", "p", "-o", "out", "--keep", "green", *kinds, cwd=photo_folder)
    assert result.returncode == 0
    assert "2 images with a note in the manifest" in result.stdout
    lines = entries(photo_folder / "out")
    assert {name: line["disabled"] for name, line in lines.items()} == {
        "day": [1, 2],
        "night": [0, 1],
        "indoors": [0, 1, 2],
        "lawn": [],
    }
    assert {line["filter"] for line in lines.values()} == {f"--keep green --tolerance {TOLERANCE:g}"}
    (note,) = lines["indoors"]["notes"]
    assert re.fullmatch(r"no cluster is within 55 of green: the nearest is \d\d\.\d away", note)
    assert lines["day"]["notes"] == lines["night"]["notes"] == []
    for name in lines:
        rgb = pixels_of(photo_folder / f"p/{name}.png")
        kept = pixels_of(photo_folder / f"out/kept/{name}.png")
        assert np.array_equal(kept, (rgb == MEADOW).all(axis=2))
        masked = pixels_of(photo_folder / f"out/masked/{name}.png")
        assert np.array_equal(masked, np.where(kept[..., None], rgb, 0))


def test_another_choice_is_done_again_and_nothing_else(photo_folder: Path) -> None:
    out = photo_folder / "again"

    def n_done(*flags: object) -> int:
        result = kseg("run", "p", "-o", out, "--json", *flags, cwd=photo_folder)
        done: int = json.loads(result.stdout.splitlines()[-1])["summary"]["done"]
        return done

    assert n_done("--keep", "green", "--save", "masked", "--save", "kept", "--save", "labels") == 4
    labels = (out / "labels/day.png").stat().st_mtime_ns
    assert n_done("--keep", "Green", "--tolerance", 55, "--save", "kept") == 0
    stricter = ("--keep", "green", "--tolerance", 9, "--save", "kept")
    plan = kseg("run", "p", "-o", out, "--dry-run", *stricter, cwd=photo_folder).stdout
    assert plan.startswith("do   p/day.png: it was done with --keep green --tolerance 55\n")
    assert n_done(*stricter) == 4
    assert entries(out)["day"]["disabled"] == [0, 1, 2]
    assert n_done("--disable", 1, "--save", "masked") == 4
    assert entries(out)["day"]["disabled"] == [1]
    assert not (out / "kept/day.png").exists()  # the kinds would show different clusters
    assert n_done("--save", "labels") == 0
    assert entries(out)["day"]["filter"] == "--disable 1"
    assert (out / "labels/day.png").stat().st_mtime_ns == labels
    assert [name for name in tree(out) if "lawn" in name] == ["labels/lawn.png", "masked/lawn.png"]
    assert entries(out)["lawn"]["notes"] == [
        "it has 1 colour, so as many clusters",
        "it has no cluster 1",
    ]


def test_a_run_that_is_killed_leaves_no_two_choices_behind(tmp_path: Path) -> None:
    """Outputs of both choices may be there, so the next run replaces all."""
    source = save(blocks([GREEN, WHITE]), tmp_path / "a.png")
    job = Job(source, Path("a"))

    def settings(keep: str, *kinds: Save) -> Settings:
        prepare_folders(tmp_path, kinds, [])
        return Settings(tmp_path, FitOptions(k=2), frozenset(kinds), ClusterSelection.parse(keep=keep, k=2))

    def step(journal: Journal, wanted: Settings) -> Step:
        (found,) = Planner(journal, wanted, exact=True).steps([job])
        return found

    with Journal(tmp_path) as journal:
        first = settings("green", "masked", "labels")
        begun = step(journal, first)
        journal.add(begun.finished(process_image(begun.job, first, load("numba")), first))
        assert step(journal, settings("green", "kept")).kept.keys() == {"masked/a.png", "labels/a.png"}
        killed = step(journal, settings("white", "kept"))
        assert killed.kept.keys() == {"labels/a.png"}
        journal.add(killed.entry)
        for keep in ("white", "green"):
            again = step(journal, settings(keep, "masked"))
            assert (again.reason, again.kept) == ("it was interrupted", {})
            assert set(again.job.replaces) == {"masked/a.png", "kept/a.png", "labels/a.png"}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("disable = [0, 2]", "--disable 0 --disable 2"),
        (
            'keep = ["green", "#789", 1]\ntolerance = 30',
            "--keep '#778899' --keep 1 --keep green --tolerance 30",
        ),
    ],
)
def test_flags_from_a_file(photo_folder: Path, tmp_path: Path, line: str, text: str) -> None:
    (tmp_path / "kseg.toml").write_text(f"{line}\n")
    result = kseg("run", photo_folder / "p/day.png", "--config", "kseg.toml", "-o", "out", cwd=tmp_path)
    assert result.returncode == 0
    assert entries(tmp_path / "out")["day"]["filter"] == text
