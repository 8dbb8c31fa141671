"""Which clusters of an image are shown: chosen by number, by name or by colour.

A colour stands for the nearest centre, by Delta E CIE76, which is the distance in CIE Lab (CIE 15).
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np

from kseg_batch.errors import OptionError
from kseg_batch.kmeans.cluster_names import NUMBER, folded
from kseg_batch.kmeans.color_spaces import to_lab

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kseg_batch.kmeans.palette import Palette

TOLERANCE = 55.0
"""Farthest Delta E at which a centre still stands for a colour, unless a user says otherwise.

So large because colours that have a name are saturated and photos are not: in photos of plants the centre
nearest to `green` was up to 53 away, in others 59 and more, at k = 5 and 8. The README has the command.
"""

Named: TypeAlias = "int | str | Iterable[int | str]"
"""A cluster or several, each by its number, its name or a colour."""

RGB: TypeAlias = "tuple[int, ...]"
"""A colour, 0 .. 255 each."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that a user named."""

    text: str
    """What it is called, however the user spelt it."""
    meaning: int | RGB
    """A cluster's number, or a colour."""


@dataclass(frozen=True, slots=True)
class ResolvedSelection:
    """What a filter makes of one image's clusters."""

    disabled: tuple[int, ...]
    """Those that are black, ascending."""
    notes: tuple[str, ...]
    """What was named and is not there."""


@dataclass(frozen=True, slots=True)
class ClusterSelection:
    """Which clusters are to be shown of any image; all of them, unless it says otherwise."""

    targets: tuple[Target, ...] = ()
    """What the user named, each once, in the order of the texts."""
    keep: bool = False
    """Whether those are the clusters to show, not those to black out."""
    tolerance: float = TOLERANCE
    """Farthest Delta E CIE76 at which a centre still stands for a colour."""

    @classmethod
    def parse(
        cls,
        disable: Named = (),
        keep: Named | None = None,
        tolerance: float = TOLERANCE,
        *,
        k: int,
        names: Sequence[str] = (),
    ) -> Self:
        """Understand what a user named: a number, a cluster's name, or a colour, tried in this order.

        Args:
            disable: Clusters to black out: 2, "tree", "#2e8b57", "#0a0" or a name of CSS such as "green".
            keep: Clusters to show in place of all others, likewise; None for those that are not disabled.
            tolerance: Farthest Delta E CIE76 of the centre that is nearest to a colour.
            k: Most clusters that an image can have.
            names: Those of the palette that all images share, if they share one.

        Raises:
            OptionError: Something is none of these, or both `disable` and `keep` are given.
        """
        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise OptionError(f"tolerance must be a Delta E, 0 or more, not {tolerance:g}.", "tolerance")
        parameter, texts = "disable", _texts(disable)
        if keep is not None:
            if texts:
                raise OptionError(
                    "disable and keep contradict each other: what is not kept is black.", "disable", "keep"
                )
            parameter, texts = "keep", _texts(keep)
        targets = {_target(parameter, text, k, names) for text in texts}
        return cls(tuple(sorted(targets, key=lambda target: target.text)), keep is not None, tolerance)

    def __str__(self) -> str:
        """The flags that say the same; none if nothing was named."""
        flag = "--keep" if self.keep else "--disable"
        words = [word for target in self.targets for word in (flag, target.text)]
        if any(isinstance(target.meaning, tuple) for target in self.targets):
            words += ["--tolerance", f"{self.tolerance:g}"]
        return shlex.join(words)

    def resolve(self, palette: Palette) -> ResolvedSelection:
        """Find the clusters in an image's palette. Of centres equally near to a colour the first is taken."""
        k = len(palette.counts)
        found, notes = set(), []
        for target in self.targets:
            cluster, distance = _nearest(target, palette)
            if cluster >= k:
                notes.append(f"it has no cluster {target.text}")
            elif distance > self.tolerance:
                missed = f"no cluster is within {self.tolerance:g} of {target.text}"
                notes.append(f"{missed}: the nearest is {distance:.1f} away")
            else:
                found.add(cluster)
                if not palette.counts[cluster]:  # as with a palette that was fitted to other images
                    notes.append(f"none of its pixels is in the cluster {target.text}")
        return ResolvedSelection(tuple(c for c in range(k) if (c in found) != self.keep), tuple(notes))


ALL_CLUSTERS = ClusterSelection()
"""The filter that leaves none out."""


def _nearest(target: Target, palette: Palette) -> tuple[int, float]:
    """The cluster that a target means, and its distance; a number has none."""
    if isinstance(target.meaning, int):
        return target.meaning, 0.0
    distances = np.linalg.norm(to_lab(palette.centers) - to_lab(target.meaning), axis=1)
    return int(distances.argmin()), float(distances.min())


def _texts(named: Named) -> list[str]:
    """What was named as the command line would have it."""
    several = named if isinstance(named, Iterable) and not isinstance(named, str) else [named]
    return [str(one).strip() for one in several]


def _target(parameter: str, text: str, k: int, names: Sequence[str]) -> Target:
    """What a text stands for."""
    if NUMBER.fullmatch(text):
        if len(text) > 9 or not 0 <= int(text) < k:
            raise OptionError(f"{parameter} {text}: the clusters are 0 to {k - 1}.", parameter)
        return Target(str(int(text)), int(text))
    numbers = {folded(name): number for number, name in enumerate(names) if name}
    number = numbers.get(folded(text))
    return _color(parameter, text, names) if number is None else Target(names[number], number)


def _color(parameter: str, text: str, names: Sequence[str]) -> Target:
    from PIL import ImageColor

    name = text.lower()
    if name.startswith("#"):
        if not re.fullmatch("#([0-9a-f]{3}){1,2}", name):
            raise OptionError(
                f"{parameter} {text}: a colour has 3 or 6 hexadecimal digits, such as #2e8b57.", parameter
            )
    elif name not in ImageColor.colormap:
        raise OptionError(f"{parameter} {shlex.quote(text)}: {_unknown(name, names)}", parameter)
    color = ImageColor.getrgb(name)
    return Target("#" + bytes(color).hex() if name.startswith("#") else name, color)


def _unknown(name: str, names: Sequence[str]) -> str:
    """What to say of a name that there is none of."""
    from difflib import get_close_matches

    from PIL import ImageColor

    near = ", ".join(get_close_matches(name, [*filter(None, names), *ImageColor.colormap]))
    hint = f"did you mean {near}?" if near else "give a number, #rrggbb or a name such as green."
    return f"there is no such colour in CSS, nor a cluster of that name; {hint}"
