"""The journal of all runs into an output folder: manifest.jsonl, one JSON object per line.

A line is appended when the work on an image begins, and when the image is done or has failed. The last line
of an image is valid. So even after a run is killed, the next run knows which files may have been written.
When a run ends, the lines that are no longer valid are removed, so that one line per image is left.

Only the offset of each image's last line is kept in memory, 150 bytes per image.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from kseg_batch.atomic import replacing
from kseg_batch.batch.storage.folding import find_fold
from kseg_batch.batch.storage.lock import acquire_lock
from kseg_batch.batch.storage.scan import digest
from kseg_batch.batch.storage.source import SourceVersion
from kseg_batch.errors import OutputError, OutputGoneError
from kseg_batch.segmentation.select_k import as_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO, Self

    from kseg_batch.batch.workers.jobs import Outcome

MANIFEST_NAME = "manifest.jsonl"
LOCK = ".kseg-lock"

EntryStatus = Literal["started", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """The state of an image in the journal."""

    name: str
    """The stem of the image, `Job.name`."""
    source: str
    """The absolute path of the image file."""
    status: EntryStatus
    """The status. `started` stays where a run ended before the image was done or had failed."""
    error: str | None
    """Why the image failed; None if it did not."""
    version: SourceVersion | None
    """The version of the image file that the outputs were made from; None if the image is not done."""
    fingerprint: str
    """The fingerprint of the options that the outputs were made with."""
    selection: str
    """The flags that chose the clusters of the `masked` and `kept` outputs; empty if they are not known."""
    disabled: tuple[int, ...]
    """The clusters that are not shown in the `masked` and `kept` outputs."""
    outputs: Mapping[str, int | None]
    """The name of each output file, and its size in bytes; None for a file that may be incomplete."""

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Self:
        """Return the entry of a line of the journal.

        Raises:
            KeyError: The line was not written by this version of kseg-batch.
        """
        version = line["version"]
        return cls(
            name=line["name"],
            source=line["source"],
            status=line["status"],
            error=line["error"],
            version=None if version is None else SourceVersion(**version),
            fingerprint=line["fingerprint"],
            selection=line["filter"],
            disabled=tuple(line["disabled"]),
            outputs=line["outputs"],
        )

    def to_line(self, outcome: Outcome | None = None) -> dict[str, Any]:
        """Return the line of the entry, with the figures and notes of the outcome if there is one."""
        line: dict[str, Any] = {
            "name": self.name,
            "source": self.source,
            "status": self.status,
            "error": self.error,
        }
        if outcome is not None:
            line["seconds"] = round(outcome.seconds, 6)
            if (palette := outcome.palette) is not None:
                line |= {
                    "size": list(outcome.size),
                    "centers": palette.centers.tolist(),
                    "counts": palette.counts.tolist(),
                    "compactness": palette.compactness,
                    "n_iter": palette.n_iter,
                    "backend": palette.backend,
                }
            if outcome.k_curve is not None:
                line["k_curve"] = as_pairs(outcome.k_curve)
            line["notes"] = list(outcome.notes)
        return line | {
            "outputs": dict(self.outputs),
            "version": None if self.version is None else asdict(self.version),
            "fingerprint": self.fingerprint,
            "filter": self.selection,
            "disabled": list(self.disabled),
        }


class Manifest:
    """The journal, for reading. A `Journal` also writes.

    Attributes:
        path: The path of the file.
        fold: How the file system of the output folder folds names. Images whose names it takes for equal are
            one image, as they have the same outputs.
    """

    def __init__(self, out: Path) -> None:
        """Find the last line of every image. Ignore an incomplete last line of a run that was killed.

        Args:
            out: The output folder.

        Raises:
            OutputError: The journal cannot be read, or was not written by this version of kseg-batch.
        """
        self.path = out / MANIFEST_NAME
        self.fold = find_fold(out)
        self._offsets: dict[bytes, int] = {}  # of the last line of each image, by its key
        self._n_lines = 0
        self._end = 0  # offset behind the last complete line
        self._reader: BinaryIO | None = None
        try:
            if self.path.exists():
                self._read()
        except BaseException:
            Manifest.close(self)
            raise

    def _read(self) -> None:
        try:
            if not self.path.is_file():
                raise OutputError(f"{self.path} is not a regular file: move it away, or choose another -o.")
            self._reader = self.path.open("rb")
            for raw in self._reader:
                if not raw.endswith(b"\n"):
                    break
                if raw.strip(b"\0\n"):  # after a power cut a file system may leave zeros
                    self._offsets[self._key(Entry.from_line(json.loads(raw)).name)] = self._end
                self._n_lines += 1
                self._end += len(raw)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be read: {error.strerror}.") from error
        except (ValueError, TypeError, KeyError) as error:
            raise OutputError(
                f"{self.path}, line {self._n_lines + 1}, was not written by this version: move the file "
                "away, or choose another -o."
            ) from error

    def _key(self, name: str) -> bytes:
        return digest(self.fold(name))

    def last(self, name: str) -> Entry | None:
        """Return the last entry of the image with this name; None if there is none."""
        offset = self._offsets.get(self._key(name))
        if offset is None or self._reader is None:
            return None
        self._reader.seek(offset)
        return Entry.from_line(json.loads(self._reader.readline()))

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Journal(Manifest):
    """The journal, for the one run that writes to the output folder."""

    def __init__(self, out: Path) -> None:
        """Lock the output folder against other runs, and remove an incomplete last line.

        Args:
            out: The output folder.

        Raises:
            OutputError: Another run writes to the folder, or the journal cannot be read or written.
        """
        self._lock = acquire_lock(out / LOCK, out, f"Another run is writing to {out}")
        try:
            super().__init__(out)
            with self._as_output_error():
                self._writer = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
                if os.fstat(self._writer).st_size > self._end:
                    os.truncate(self._writer, self._end)
            if self._reader is None:
                self._reader = self.path.open("rb")
        except BaseException:
            super().close()
            self._lock.release()
            raise

    def add(self, entry: Entry, outcome: Outcome | None = None) -> dict[str, Any]:
        """Append the line of an image, hand it to the operating system at once, and return it.

        Args:
            entry: The state of the image.
            outcome: The outcome of the image; None when the work on it begins.

        Raises:
            OutputGoneError: The line cannot be written, as when the disk is full.
        """
        line = entry.to_line(outcome)
        data = memoryview(json.dumps(line).encode() + b"\n")
        try:
            with self._as_output_error():
                written = 0
                while written < len(data):
                    written += os.write(self._writer, data[written:])
        except OutputError:
            with contextlib.suppress(OSError):
                os.truncate(self._writer, self._end)
            raise
        self._offsets[self._key(entry.name)] = self._end
        self._n_lines += 1
        self._end += len(data)
        return line

    def close(self) -> None:
        """Write all lines to the disk, and leave one line per image.

        Raises:
            OutputGoneError: The lines cannot be written to the disk.
        """
        try:
            with self._as_output_error():
                os.fsync(self._writer)
            if self._n_lines > len(self._offsets):
                self._compact()
        finally:
            os.close(self._writer)
            super().close()
            self._lock.release()

    def _compact(self) -> None:
        with (
            contextlib.suppress(OutputError),  # such as a full disk: the journal stays valid, only longer
            replacing(self.path) as file,
            self.path.open("rb") as reader,
        ):
            for offset in sorted(self._offsets.values()):
                reader.seek(offset)
                file.write(reader.readline())

    @contextlib.contextmanager
    def _as_output_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputGoneError(f"{self.path} cannot be written: {error.strerror}") from error
