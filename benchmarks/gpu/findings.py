"""What a step of the trial has found so far, in a JSON file that is whole whenever the process ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.support.report import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

T = TypeVar("T")


class StepError(Exception):
    """A step did not find what it must, or cannot do what it is for."""


class DifferenceError(StepError):
    """A result is not the reference's.

    Attributes:
        difference: Where the first difference is, for the results file.
    """

    def __init__(self, sentence: str, difference: dict[str, Any]) -> None:
        super().__init__(sentence)
        self.difference = difference


class SkippedError(StepError):
    """A step has nothing to do here; the sentence says why."""


class Findings:
    """The figures of a step, its summary and its failure, written anew whenever one is added."""

    def __init__(self, path: Path, seconds: float = float("inf")) -> None:
        """Begin with nothing.

        Args:
            path: The file.
            seconds: How long the step may take.
        """
        self.content: dict[str, Any] = {"figures": {}}
        self._path = path
        self._deadline = time.monotonic() + seconds

    @property
    def figures(self) -> dict[str, Any]:
        """What was measured or counted, by name."""
        figures: dict[str, Any] = self.content["figures"]
        return figures

    def left(self) -> float:
        """Seconds until the step has to be over."""
        return self._deadline - time.monotonic()

    def as_time_permits(self, things: Iterable[T], describe: Callable[[T], object]) -> Iterator[T]:
        """Yield things to do, and list in `left_out` what there is no time for.

        Something is left out where less than twice the longest time so far is left: some take longer than
        any before.
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
        """Set what the table shows of the step."""
        self.content["summary"] = text
        self.save()

    def save(self) -> None:
        """Write all of it."""
        write_json(self._path, self.content)
