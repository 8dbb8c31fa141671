"""The journal of a run: manifest.jsonl, one JSON object per image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kseg_batch.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from kseg_batch.worker import Outcome

NAME = "manifest.jsonl"


def entry(outcome: Outcome, out: Path) -> dict[str, Any]:
    """An outcome as it stands in the manifest; output paths are relative to the output folder."""
    line: dict[str, Any] = {
        "source": str(outcome.source),
        "status": outcome.status,
        "error": outcome.error,
        "seconds": round(outcome.seconds, 6),
    }
    if (palette := outcome.palette) is not None:
        line |= {
            "size": list(outcome.size),
            "centers": palette.centers.tolist(),
            "counts": palette.counts.tolist(),
            "compactness": palette.compactness,
            "n_iter": palette.n_iter,
            "backend": palette.backend,
            "outputs": [path.relative_to(out).as_posix() for path in outcome.outputs],
            "notes": list(outcome.notes),
        }
    return line


class Manifest:
    """Writes the journal anew, a line at a time, each flushed."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> Self:
        try:
            self._file = (self._out / NAME).open("w", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self._out / NAME} cannot be written: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as failure:  # the disk is full: what could not be flushed is what `add` reported
            raise OutputError(f"{self._out / NAME} cannot be written: {failure.strerror}") from failure

    def add(self, outcome: Outcome) -> None:
        """Append an image's line."""
        try:
            self._file.write(json.dumps(entry(outcome, self._out)) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self._out / NAME} cannot be written: {error.strerror}") from error
