"""The journal of all runs into an output folder: manifest.jsonl, one JSON object per line.

A line is appended when an image is begun and when it is done or failed; the last line of an image counts.
So whatever moment a run is killed at, the next one knows which files may have been written. When a run ends,
the lines that no longer count are taken out, which leaves one per image.

Only the place of each image's last line is kept in memory, 150 bytes an image.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from kseg_batch.atomic import SUFFIX
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

NAME = "manifest.jsonl"
LOCK = ".kseg-lock"

EntryStatus = Literal["started", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal knows of an image."""

    name: str
    """Its stem: what its outputs are called."""
    source: str
    """The absolute path of its file."""
    status: EntryStatus
    """`started` for one that was begun by a run that did not live to see its end."""
    error: str | None
    """Why it failed."""
    version: SourceVersion | None
    """Of the source, when it was done."""
    fingerprint: str
    """Of the options that its outputs were made with."""
    filter: str
    """The flags that chose the clusters of its `masked` and `kept` outputs; empty if they are not known."""
    disabled: tuple[int, ...]
    """The clusters that are not shown in them."""
    outputs: Mapping[str, int | None]
    """Its files below the output folder, and their bytes; None for one that may not be complete."""

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> Self:
        """The entry of a line of the journal.

        Raises:
            KeyError: It is none of ours.
        """
        version = line["version"]
        return cls(
            name=line["name"],
            source=line["source"],
            status=line["status"],
            error=line["error"],
            version=None if version is None else SourceVersion(**version),
            fingerprint=line["fingerprint"],
            filter=line["filter"],
            disabled=tuple(line["disabled"]),
            outputs=line["outputs"],
        )

    def line(self, outcome: Outcome | None = None) -> dict[str, Any]:
        """The entry as a line, with what there is to tell of the outcome."""
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
            "filter": self.filter,
            "disabled": list(self.disabled),
        }


class Manifest:
    """The journal, for reading; a `Journal` also writes it."""

    def __init__(self, out: Path) -> None:
        """Find every image's last line. A torn last line, of a run that was killed, is left aside.

        Raises:
            OutputError: The journal cannot be read, or is none of ours.
        """
        self.path = out / NAME
        self._places: dict[bytes, int] = {}
        self._n_lines = 0
        self._end = 0
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
                    self._places[digest(Entry.of_line(json.loads(raw)).name)] = self._end
                self._n_lines += 1
                self._end += len(raw)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be read: {error.strerror}.") from error
        except (ValueError, TypeError, KeyError) as error:
            raise OutputError(
                f"{self.path}, line {self._n_lines + 1}, was not written by this version: move the file "
                "away, or choose another -o."
            ) from error

    def last(self, name: str) -> Entry | None:
        """What the journal knows of the image with that stem."""
        place = self._places.get(digest(name))
        if place is None or self._reader is None:
            return None
        self._reader.seek(place)
        return Entry.of_line(json.loads(self._reader.readline()))

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
        """Lock the output folder against other runs, and mend a torn last line.

        Raises:
            OutputError: Another run writes there, or the journal cannot be read or written.
        """
        self._lock = FileLock(out / LOCK)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise OutputError(f"Another run is writing to {out}: let it end, or choose another -o.") from None
        except OSError as error:
            raise OutputError(f"{out} cannot be written: {error.strerror}.") from error
        try:
            super().__init__(out)
            with self._explained():
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
        """Append an image's line, which goes to the disk's cache at once, and return it.

        Raises:
            OutputGoneError: There is no room for it, or the like.
        """
        line = entry.line(outcome)
        data = memoryview(json.dumps(line).encode() + b"\n")
        try:
            with self._explained():
                written = 0
                while written < len(data):
                    written += os.write(self._writer, data[written:])
        except OutputError:
            with contextlib.suppress(OSError):
                os.truncate(self._writer, self._end)
            raise
        self._places[digest(entry.name)] = self._end
        self._n_lines += 1
        self._end += len(data)
        return line

    def close(self) -> None:
        """Leave one line per image, and see that they are on the disk.

        Raises:
            OutputGoneError: What was written did not reach the disk.
        """
        try:
            with self._explained():
                os.fsync(self._writer)
            if self._n_lines > len(self._places):
                self._compact()
        finally:
            os.close(self._writer)
            super().close()
            self._lock.release()

    def _compact(self) -> None:
        temporary = self.path.with_name(f"{NAME}{SUFFIX}")
        try:
            with temporary.open("wb") as file, self.path.open("rb") as reader:
                for place in sorted(self._places.values()):
                    reader.seek(place)
                    file.write(reader.readline())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError:  # as for want of room: the journal is whole without it, only longer
            with contextlib.suppress(OSError):
                temporary.unlink()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputGoneError(f"{self.path} cannot be written: {error.strerror}") from error
