"""Choosing clusters by number, name and colour."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from PIL import ImageColor

from kseg_batch import Palette, segment
from kseg_batch.errors import MissingClusterWarning, OptionError
from kseg_batch.kmeans.color_spaces import COLOR_SPACES, ColorSpace, to_lab
from kseg_batch.segmentation.cluster_selection import ClusterSelection
from tests.support.images import photos
from tests.support.palettes import palette_of

BLACK, GREEN, LIME, WHITE = (0, 0, 0), (0, 128, 0), (0, 255, 0), (255, 255, 255)


def resolve(found: Palette, *, k: int | None = None, **flags: Any) -> tuple[list[int], list[str]]:
    """The disabled clusters and the notes."""
    chosen = ClusterSelection.parse(**flags, k=k or len(found.counts), names=found.names)
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
    """Rounded centres would tie."""
    assert resolve(palette_of((10.4, 10, 10), (10.2, 10, 10)), disable="#0a0a0a") == ([1], [])


def test_missing_clusters_are_noted() -> None:
    found = palette_of(BLACK, WHITE, names=("night", "snow"), counts=[9, 0])
    assert resolve(found, k=4, disable=[2, 0]) == ([0], ["it has no cluster 2"])
    assert resolve(found, keep="snow") == ([0], ["none of its pixels is in the cluster snow"])


def test_filters_that_do_the_same_have_the_same_text() -> None:
    def text(**flags: Any) -> str:
        return str(ClusterSelection.parse(**flags, k=5, names=("", "Big tree", "", "", "")))

    assert text() == ""
    assert text(disable=["02", 1, 2]) == "--disable 1 --disable 2"
    assert text(disable=[1, 2], tolerance=7) == text(disable=[2, 1])
    assert text(keep=["big TREE"]) == "--keep 'Big tree'"
    assert text(keep=["#0A0", "Green"], tolerance=7.5) == "--keep '#00aa00' --keep green --tolerance 7.5"
    assert text(keep=["green"]) != text(disable=["green"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"disable": [1, 3]}, "^disable 3: the clusters are 0 to 2."),
        ({"keep": ["-1"]}, "^keep -1: the clusters are 0 to 2."),
        ({"disable": "9" * 5000}, "the clusters are 0 to 2."),
        ({"disable": [1], "keep": []}, "^disable and keep contradict each other"),
        ({"keep": "#12345"}, "^keep #12345: a colour has 3 or 6 hexadecimal digits, such as #2e8b57."),
        ({"keep": "#"}, "^keep #: a colour has 3 or 6"),
        ({"keep": ["green", "tre"]}, "^keep tre: there is no such .+ did you mean tree, "),
        ({"disable": "darkgren"}, "did you mean darkgreen, "),
        ({"disable": "xyzzy"}, "of that name; give a number, #rrggbb or a name such as green."),
        ({"disable": ""}, "^disable '': there is no such colour"),
        ({"disable": "rgb(1,2,3)"}, "there is no such colour"),
        ({"disable": True}, "^disable True: there is no such colour"),
        ({"tolerance": -1}, "^tolerance must be a Delta E, 0 or more, not -1."),
        ({"tolerance": float("nan")}, "^tolerance must be a Delta E, 0 or more, not nan."),
    ],
)
def test_values_that_name_no_cluster(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ClusterSelection.parse(**flags, k=3, names=("", "tree", ""))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a/b", "some file systems do not allow / in file names"),
        ("a\\b", "some file systems do not allow"),
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
def test_names_that_a_cluster_cannot_have(name: str, fault: str) -> None:
    with pytest.raises(OptionError, match=f"^A cluster cannot be called .+: .*{re.escape(fault)}"):
        palette_of(BLACK, WHITE, names=("", name))


def test_names_have_to_differ_on_every_file_system() -> None:
    for other in ("tree", "TREE"):
        with pytest.raises(OptionError, match="Two clusters cannot be called 'tree' and"):
            palette_of(BLACK, GREEN, WHITE, names=("tree", "", other))
    with pytest.raises(OptionError, match="have to differ"):
        palette_of(BLACK, WHITE, names=("caf\u00e9", "cafe\u0301"))
    with pytest.raises(OptionError, match="names must be 2 names, one for each cluster, or none, not 1"):
        palette_of(BLACK, WHITE, names=("tree",))
    palette_of(BLACK, WHITE, names=("", ""))
    palette_of(BLACK, WHITE, names=("x" * 64, "big tree, \u6728"))


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


@pytest.mark.parametrize("k", [3, 5, 8])
def test_photos_without_green_have_none_by_default(k: int) -> None:
    for name in ("astronaut", "chelsea", "coffee"):
        (note,) = ClusterSelection.parse(keep="green", k=k).resolve(segment(photos()[name], k).palette).notes
        assert note.startswith("no cluster is within 55 of green: ")


def test_grass_and_leaves_are_green_by_default() -> None:
    """Centres of photos of grass and leaves at k = 5: meadow, wet leaves, weeds, garden, dry grass, shade."""
    for color in ("#5e9d2a", "#388222", "#6c8432", "#86913f", "#665e0d", "#404419"):
        assert resolve(palette_of(BLACK, ImageColor.getrgb(color), WHITE), keep="green") == ([0, 2], [])
