"""The findings of a step so far, in a JSON file that is whole whenever the process exits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.support.report import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

T = TypeVar("T")


class StepError(Exception):
    """A step found a wrong result, or cannot do its work."""


class DifferenceError(StepError):
    """A result differs from the reference.

    Attributes:
        difference: Place of the first difference, for the results file.
    """

    def __init__(self, sentence: str, difference: dict[str, Any]) -> None:
        super().__init__(sentence)
        self.difference = difference


class SkippedError(StepError):
    """A step cannot run on this machine; the sentence gives the reason."""


class Findings:
    """The figures of a step, its summary and its failure, written anew whenever one is added."""

    def __init__(self, path: Path, seconds: float = float("inf")) -> None:
        """Begin without findings.

        Args:
            path: The JSON file.
            seconds: Time limit of the step.
        """
        self.content: dict[str, Any] = {"figures": {}}
        self._path = path
        self._deadline = time.monotonic() + seconds

    @property
    def figures(self) -> dict[str, Any]:
        """Return the measured or counted figures, by name."""
        figures: dict[str, Any] = self.content["figures"]
        return figures

    def left(self) -> float:
        """Return the seconds until the time limit."""
        return self._deadline - time.monotonic()

    def as_time_permits(self, things: Iterable[T], describe: Callable[[T], object]) -> Iterator[T]:
        """Yield things to do, and list in `left_out` the things for which no time is left.

        A thing is left out where less than twice the longest time so far is left, because some things take
        longer than all before.
        """
        longest = 0.0
        for thing in things:
            before = self.left()
            if before < 2 * longest:
                self.append("left_out", describe(thing))
                continue
            yield thing
            longest = max(longest, before - self.left())

    def add(self, **figures: Any) -> None:
        """Add figures by their names."""
        self.figures.update(figures)
        self.save()

    def append(self, name: str, entry: Any) -> None:
        """Add to a list of figures."""
        self.figures.setdefault(name, []).append(entry)
        self.save()

    def summarise(self, text: str) -> None:
        """Set the line of the step in the table."""
        self.content["summary"] = text
        self.save()

    def save(self) -> None:
        """Write the file."""
        write_json(self._path, self.content)
