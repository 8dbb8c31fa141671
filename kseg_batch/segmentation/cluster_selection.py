"""Selection of the clusters of an image to show or to black out, by number, name or colour.

A colour selects the cluster with the nearest centre by Delta E CIE76, the distance in CIE Lab (CIE 15).
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np

from kseg_batch.errors import OptionError, did_you_mean
from kseg_batch.kmeans.cluster_names import NUMBER, normalize_name
from kseg_batch.kmeans.color_spaces import to_lab

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kseg_batch.kmeans.palette import Palette

TOLERANCE = 55.0
"""Default for the greatest Delta E CIE76 between a colour and the centre that it selects.

The value is large because named colours are saturated and photos are not. In photos of plants, the centre
nearest to `green` was up to 53 away, in other photos 59 and more, at k = 5 and 8.
docs/colors-and-regions.md has the command.
"""

ClusterSpec: TypeAlias = "int | str | Iterable[int | str]"
"""One cluster or several, each given by its number, its name or a colour."""

RGB: TypeAlias = "tuple[int, ...]"
"""A colour: R, G and B, 0 .. 255."""


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster that a user asked for, by its number, its name or a colour."""

    text: str
    """Canonical spelling of the number, name or colour."""
    meaning: int | RGB
    """The number of the cluster, or a colour that selects the nearest one."""


@dataclass(frozen=True, slots=True)
class ResolvedSelection:
    """A selection applied to the palette of an image."""

    disabled: tuple[int, ...]
    """Numbers of the clusters to black out, ascending."""
    notes: tuple[str, ...]
    """A note for each requested cluster that the image lacks, or that has no pixels."""


@dataclass(frozen=True, slots=True)
class ClusterSelection:
    """The clusters to show of any image. By default all clusters are shown."""

    targets: tuple[Target, ...] = ()
    """The requested clusters without duplicates, in the order of their texts."""
    keep: bool = False
    """Whether the targets are the clusters to show; otherwise they are blacked out."""
    tolerance: float = TOLERANCE
    """Greatest Delta E CIE76 between a colour and the centre that it selects."""

    @classmethod
    def parse(
        cls,
        disable: ClusterSpec = (),
        keep: ClusterSpec | None = None,
        tolerance: float = TOLERANCE,
        *,
        k: int,
        names: Sequence[str] = (),
    ) -> Self:
        """Parse clusters given as a number, a cluster's name, or a colour, tried in this order.

        Args:
            disable: Clusters to black out, such as 2, "tree", "#2e8b57", "#0a0" or a CSS colour like "green".
            keep: Clusters to show while all others are black, given in the same way; None to use `disable`.
            tolerance: Greatest Delta E CIE76 between a colour and the centre that it selects.
            k: Most clusters that an image can have.
            names: Names of the clusters, if all images share a palette that has names.

        Raises:
            OptionError: A value is no number below k, name or colour; `tolerance` is not 0 or more; or both
                `disable` and `keep` are given.
        """
        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise OptionError(f"tolerance must be a Delta E, 0 or more, not {tolerance:g}.", "tolerance")
        parameter, texts = "disable", _texts(disable)
        if keep is not None:
            if texts:
                raise OptionError(
                    "disable and keep contradict each other: all clusters but the kept ones are black.",
                    "disable",
                    "keep",
                )
            parameter, texts = "keep", _texts(keep)
        targets = {_target(parameter, text, k, names) for text in texts}
        return cls(tuple(sorted(targets, key=lambda target: target.text)), keep is not None, tolerance)

    def __str__(self) -> str:
        """Return the equivalent flags of the command line; an empty string for no targets."""
        flag = "--keep" if self.keep else "--disable"
        words = [word for target in self.targets for word in (flag, target.text)]
        if any(isinstance(target.meaning, tuple) for target in self.targets):
            words += ["--tolerance", f"{self.tolerance:g}"]
        return shlex.join(words)

    def resolve(self, palette: Palette) -> ResolvedSelection:
        """Apply the selection to an image's palette. A colour takes the first of equally near centres."""
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
                if not palette.counts[cluster]:  # a palette fitted to other images can have such clusters
                    notes.append(f"none of its pixels is in the cluster {target.text}")
        return ResolvedSelection(tuple(c for c in range(k) if (c in found) != self.keep), tuple(notes))


ALL_CLUSTERS = ClusterSelection()
"""The selection that shows all clusters."""


def _nearest(target: Target, palette: Palette) -> tuple[int, float]:
    """Return the cluster that a target means, and its Delta E CIE76; 0 for a number."""
    if isinstance(target.meaning, int):
        return target.meaning, 0.0
    distances = np.linalg.norm(to_lab(palette.centers) - to_lab(target.meaning), axis=1)
    return int(distances.argmin()), float(distances.min())


def _texts(spec: ClusterSpec) -> list[str]:
    """Return one text for each cluster, as the command line would pass it."""
    clusters = spec if isinstance(spec, Iterable) and not isinstance(spec, str) else [spec]
    return [str(cluster).strip() for cluster in clusters]


def _target(parameter: str, text: str, k: int, names: Sequence[str]) -> Target:
    """Parse a text as a number, a name or a colour."""
    if NUMBER.fullmatch(text):
        if len(text) > 9 or not 0 <= int(text) < k:
            raise OptionError(f"{parameter} {text}: the clusters are 0 to {k - 1}.", parameter)
        return Target(str(int(text)), int(text))
    numbers = {normalize_name(name): number for number, name in enumerate(names) if name}
    number = numbers.get(normalize_name(text))
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
    """Return what to say of an unknown name, with similar names if there are any."""
    from PIL import ImageColor

    near = did_you_mean(name, [*filter(None, names), *ImageColor.colormap])
    hint = near or "; give a number, #rrggbb or a name such as green."
    return f"there is no such colour in CSS, nor a cluster of that name{hint}"
