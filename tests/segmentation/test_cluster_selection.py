"""Choosing clusters by number, name and colour."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageColor

from kseg_batch import Palette, segment
from kseg_batch.backends import load
from kseg_batch.batch.manifest import Journal
from kseg_batch.batch.plan import Planner, Step
from kseg_batch.batch.storage.outputs import KINDS, Save, names, prepare
from kseg_batch.batch.storage.scan import Job
from kseg_batch.batch.workers.process_image import Settings, process
from kseg_batch.errors import MissingClusterWarning, OptionError
from kseg_batch.kmeans.color_spaces import COLOR_SPACES, ColorSpace, to_lab
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.segmentation.cluster_selection import TOLERANCE, ClusterFilter
from tests.support.commands import kseg
from tests.support.image_files import pixels_of, save
from tests.support.images import blocks, flat, photos
from tests.support.outputs import entries, tree
from tests.support.palettes import palette_of

BLACK, GREEN, LIME, WHITE = (0, 0, 0), (0, 128, 0), (0, 255, 0), (255, 255, 255)


def resolve(found: Palette, *, k: int | None = None, **flags: Any) -> tuple[list[int], list[str]]:
    """The disabled clusters and the notes."""
    chosen = ClusterFilter.parse(**flags, k=k or len(found.counts), names=found.names)
    resolved = chosen.resolve(found)
    return list(resolved.disabled), list(resolved.notes)


def test_numbers_names_and_colors() -> None:
    found = palette_of(BLACK, (60, 120, 50), (20, 90, 200), WHITE, names=("", "tree", "Red", "snow"))
    assert resolve(found) == ([], [])
    assert resolve(found, disable=[3, "0", np.int64(1)]) == ([0, 1, 3], [])
    assert resolve(found, disable="tree") == ([1], [])
    assert resolve(found, keep="TREE") == ([0, 2, 3], [])
    assert resolve(found, keep=["green", "#fff"]) == ([0, 2], [])
    assert resolve(found, keep="red") == ([0, 1, 3], [])  # the palette's, which is blue
    assert resolve(found, disable=["snow", "#FFFFFF", "White", 3]) == ([3], [])
    assert resolve(found, keep=[]) == ([0, 1, 2, 3], [])


def test_the_nearest_within_the_tolerance_and_the_first_of_equals() -> None:
    assert resolve(palette_of(LIME, (0, 120, 0), GREEN, GREEN), disable="green") == ([2], [])
    assert resolve(palette_of(BLACK, GREEN), keep="green", tolerance=0) == ([0], [])
    greys = palette_of(BLACK, (119, 119, 119))
    distance = float(np.linalg.norm(to_lab((119, 119, 119)) - to_lab(GREEN)))
    note = f"no cluster is within 55 of green: the nearest is {distance:.1f} away"
    assert resolve(greys, keep="green") == ([0, 1], [note])
    assert resolve(greys, disable=["green", 0]) == ([0], [note])
    assert resolve(greys, keep="green", tolerance=distance) == ([0], [])
    assert resolve(greys, keep="green", tolerance=np.nextafter(distance, 0))[1] != []


def test_colors_are_compared_with_the_centers_themselves() -> None:
    """The rounded ones would tie."""
    assert resolve(palette_of((10.4, 10, 10), (10.2, 10, 10)), disable="#0a0a0a") == ([1], [])


def test_what_an_image_does_not_have_is_noted() -> None:
    found = palette_of(BLACK, WHITE, names=("night", "snow"), counts=[9, 0])
    assert resolve(found, k=4, disable=[2, 0]) == ([0], ["it has no cluster 2"])
    assert resolve(found, keep="snow") == ([0], ["none of its pixels is in the cluster snow"])


def test_filters_that_do_the_same_have_the_same_text() -> None:
    def text(**flags: Any) -> str:
        return str(ClusterFilter.parse(**flags, k=5, names=("", "Big tree", "", "", "")))

    assert text() == ""
    assert text(disable=["02", 1, 2]) == "--disable 1 --disable 2"
    assert text(disable=[1, 2], tolerance=7) == text(disable=[2, 1])
    assert text(keep=["big TREE"]) == "--keep 'Big tree'"
    assert text(keep=["#0A0", "Green"], tolerance=7.5) == "--keep '#00aa00' --keep green --tolerance 7.5"
    assert text(keep=["green"]) != text(disable=["green"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"disable": [1, 3]}, "--disable 3: the clusters are 0 to 2."),
        ({"keep": ["-1"]}, "--keep -1: the clusters are 0 to 2."),
        ({"disable": "9" * 5000}, "the clusters are 0 to 2."),
        ({"disable": [1], "keep": []}, "--disable and --keep contradict each other"),
        ({"keep": "#12345"}, "--keep #12345: a colour has 3 or 6 hexadecimal digits, such as #2e8b57."),
        ({"keep": "#"}, "--keep #: a colour has 3 or 6"),
        ({"keep": ["green", "tre"]}, "--keep tre: there is no such .+ did you mean tree, "),
        ({"disable": "darkgren"}, "did you mean darkgreen, "),
        ({"disable": "xyzzy"}, "of that name; give a number, #rrggbb or a name such as green."),
        ({"disable": ""}, "--disable '': there is no such colour"),
        ({"disable": "rgb(1,2,3)"}, "there is no such colour"),
        ({"disable": True}, "--disable True: there is no such colour"),
        ({"tolerance": -1}, "--tolerance must be a Delta E, 0 or more, not -1."),
        ({"tolerance": float("nan")}, "--tolerance must be a Delta E, 0 or more, not nan."),
    ],
)
def test_what_names_no_cluster(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ClusterFilter.parse(**flags, k=3, names=("", "tree", ""))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a/b", "/ cannot stand in a file name"),
        ("a\\b", "cannot stand in a file name"),
        ("a\nb", "control characters"),
        ("\ud800", "control characters"),
        (" a", "spaces at an end"),
        ("12", "taken for a number"),
        ("-1", "taken for a number"),
        ("#tree", "begins with # or a dot"),
        (".tree", "begins with # or a dot"),
        ("mask1", "has _mask in it"),
        ("x_MASK2", "has _mask in it"),
        ("x" * 65, "more than 64 characters"),
    ],
)
def test_what_cannot_be_a_name(name: str, fault: str) -> None:
    with pytest.raises(OptionError, match=f"^A cluster cannot be called .+: .*{re.escape(fault)}"):
        palette_of(BLACK, WHITE, names=("", name))


def test_names_have_to_differ_on_every_file_system() -> None:
    for other in ("tree", "TREE"):
        with pytest.raises(OptionError, match="Two clusters cannot be called 'tree' and"):
            palette_of(BLACK, GREEN, WHITE, names=("tree", "", other))
    with pytest.raises(OptionError, match="have to differ"):
        palette_of(BLACK, WHITE, names=("caf\u00e9", "cafe\u0301"))
    with pytest.raises(OptionError, match="a name for each cluster or none: 2, not 1"):
        palette_of(BLACK, WHITE, names=("tree",))
    palette_of(BLACK, WHITE, names=("", ""))
    palette_of(BLACK, WHITE, names=("x" * 64, "big tree, \u6728"))


def test_no_two_images_have_masks_of_the_same_name() -> None:
    called = ("tree", "", "unmask", "x")
    stems = ["a", "a_mask", "a_mask_tree", "a_mask1", "a_mask_x", "a_mask_mask1", "a_mask_unmask"]
    found = [name for stem in stems for name in names(Job(Path(), Path(stem)), ["masks"], 4, called)]
    assert found[:4] == [f"masks/a_mask{end}.png" for end in ("_tree", "1", "_unmask", "_x")]
    assert len(set(found)) == len(found) == 4 * len(stems)


def test_named_clusters_have_masks_of_their_name(tmp_path: Path) -> None:
    """And all of the outputs agree about a photo that is partly transparent."""

    class Naming:
        """Our backend, which finds names for the clusters, too."""

        def __getattr__(self, name: str) -> Any:
            return getattr(load("numba"), name)

        def fit(self, *arguments: Any) -> Palette:
            return replace(load("numba").fit(*arguments), names=("", "tree", "sky"))

    rgb = photos()["china"][100:200, 50:200]
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[::3] = 0
    save(np.dstack([rgb, alpha]), tmp_path / "photo.png")
    settings = Settings(
        tmp_path,
        FitOptions(k=3),
        frozenset(KINDS),
        ClusterFilter.parse(keep=["tree", 2], k=3, names=("", "tree", "sky")),
    )
    prepare(tmp_path, KINDS, [])
    outcome = process(Job(tmp_path / "photo.png", Path("photo")), settings, Naming())
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
    assert np.array_equal(masked[..., 3], alpha)


@pytest.mark.parametrize("space", COLOR_SPACES)
def test_in_python(space: ColorSpace) -> None:
    rgb = photos()["flower"]
    s = segment(rgb, 5, color_space=space)
    teal = int(np.linalg.norm(to_lab(s.centers) - to_lab((0, 70, 70)), axis=1).argmin())
    petals = s.masked(rgb, disable=["#004646", 0])
    assert np.array_equal(petals, np.where(np.isin(s.labels, [teal, 0])[..., None], 0, rgb))
    assert np.array_equal(s.masked(rgb, keep="#004646"), np.where(s.mask(teal)[..., None], rgb, 0))
    assert np.array_equal(s.masked(rgb), rgb)
    with pytest.warns(MissingClusterWarning, match=r"no cluster is within 55 of blue: the nearest is \d+\."):
        assert not s.masked(rgb, keep=["blue"]).any()
    with pytest.warns(MissingClusterWarning, match=r"within 0\.5 of"):
        s.masked(rgb, keep="#004646", tolerance=0.5)
    with pytest.raises(OptionError, match="did you mean lime"):
        s.masked(rgb, disable="limee")


MEADOW, NO_GREEN = (90, 150, 50), (150, 140, 130)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Green in another place among the clusters of each image, and none in one."""
    folder = tmp_path_factory.mktemp("album")
    save(blocks([MEADOW, (120, 170, 240), WHITE]), folder / "p/day.png")
    save(blocks([(10, 12, 40), (60, 60, 70), MEADOW]), folder / "p/night.png")
    save(blocks([NO_GREEN, (40, 30, 30), (220, 210, 220)]), folder / "p/indoors.png")
    save(flat(4, 4, MEADOW), folder / "p/lawn.png")
    return folder


def test_a_color_over_photos_of_different_scenes(album: Path) -> None:
    kinds = ("--save", "kept", "--save", "labels")
    result = kseg("run", "p", "-o", "out", "--keep", "green", *kinds, cwd=album)
    assert result.returncode == 0
    assert "2 images with a note in the manifest" in result.stdout
    lines = entries(album / "out")
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
        rgb = pixels_of(album / f"p/{name}.png")
        kept = pixels_of(album / f"out/kept/{name}.png")
        assert np.array_equal(kept, (rgb == MEADOW).all(axis=2))
        masked = pixels_of(album / f"out/masked/{name}.png")
        assert np.array_equal(masked, np.where(kept[..., None], rgb, 0))


def test_another_choice_is_done_again_and_nothing_else(album: Path) -> None:
    out = album / "again"

    def n_done(*flags: object) -> int:
        result = kseg("run", "p", "-o", out, "--json", *flags, cwd=album)
        done: int = json.loads(result.stdout.splitlines()[-1])["summary"]["done"]
        return done

    assert n_done("--keep", "green", "--save", "masked", "--save", "kept", "--save", "labels") == 4
    labels = (out / "labels/day.png").stat().st_mtime_ns
    assert n_done("--keep", "Green", "--tolerance", 55, "--save", "kept") == 0
    stricter = ("--keep", "green", "--tolerance", 9, "--save", "kept")
    plan = kseg("run", "p", "-o", out, "--dry-run", *stricter, cwd=album).stdout
    assert plan.startswith("do   p/day.png: it was done with --keep green --tolerance 55\n")
    assert n_done(*stricter) == 4
    assert entries(out)["day"]["disabled"] == [0, 1, 2]
    assert n_done("--disable", 1, "--save", "masked") == 4
    assert entries(out)["day"]["disabled"] == [1]
    assert not (out / "kept/day.png").exists()  # it would show other clusters than masked
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
        prepare(tmp_path, kinds, [])
        return Settings(tmp_path, FitOptions(k=2), frozenset(kinds), ClusterFilter.parse(keep=keep, k=2))

    def step(journal: Journal, wanted: Settings) -> Step:
        (found,) = Planner(journal, wanted, exact=True).steps([job])
        return found

    with Journal(tmp_path) as journal:
        first = settings("green", "masked", "labels")
        begun = step(journal, first)
        journal.add(begun.finished(process(begun.job, first, load("numba")), first))
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
def test_flags_from_a_file(album: Path, tmp_path: Path, line: str, text: str) -> None:
    (tmp_path / "kseg.toml").write_text(f"{line}\n")
    result = kseg("run", album / "p/day.png", "--config", "kseg.toml", "-o", "out", cwd=tmp_path)
    assert result.returncode == 0
    assert entries(tmp_path / "out")["day"]["filter"] == text


@pytest.mark.parametrize("k", [3, 5, 8])
def test_photos_without_green_have_none_by_default(k: int) -> None:
    for name in ("astronaut", "chelsea", "coffee"):
        (note,) = ClusterFilter.parse(keep="green", k=k).resolve(segment(photos()[name], k).palette).notes
        assert note.startswith("no cluster is within 55 of green: ")


def test_grass_and_leaves_are_green_by_default() -> None:
    """Centres of photos of them at k = 5: meadow, wet leaves, weeds, garden, dry grass, shade."""
    for color in ("#5e9d2a", "#388222", "#6c8432", "#86913f", "#665e0d", "#404419"):
        assert resolve(palette_of(BLACK, ImageColor.getrgb(color), WHITE), keep="green") == ([0, 2], [])
