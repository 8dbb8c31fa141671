"""The record of the files and folders that a scan passed over."""

from __future__ import annotations

import glob
import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kseg_batch.batch.storage.source import first_bytes
from kseg_batch.errors import count
from kseg_batch.images.extensions import RAW_EXTENSIONS
from kseg_batch.images.formats import SIGNATURE_BYTES, is_image

if TYPE_CHECKING:
    from pathlib import Path

MAX_ENDINGS = 100
"""Most endings that are remembered. Files of further endings are counted together."""

MAX_SHOWN_ENDINGS = 5
"""Most endings that a line names."""

EXAMPLES = 3
"""Number of files of an ending whose first bytes say whether files of this ending are images."""


MAX_SPELLINGS = 8
"""Most spellings of an ending that are remembered: all that three letters can have."""


@dataclass(slots=True)
class _Ending:
    """The files of one ending."""

    spellings: set[str] = field(default_factory=set)
    """The ending as the names have it, in upper and lower case."""
    files: int = 0
    examples: list[str] = field(default_factory=list)
    """The paths of the first files."""


class OtherFiles:
    """The number of files that are not taken, by the ending of their names.

    Attributes:
        total: The number of files.
    """

    def __init__(self, *, propose: bool) -> None:
        """Begin with no file.

        Args:
            propose: Whether to name the flag that takes files which are images by their first bytes.
        """
        self.total = 0
        self._propose = propose
        self._endings: dict[str, _Ending] = {}

    def add(self, path: str, name: str) -> None:
        """Count a file with this path and name."""
        self.total += 1
        spelling = os.path.splitext(name)[1]  # noqa: PTH122 - a Path costs ten times as much
        ending = self._endings.get(spelling.lower())
        if ending is None:
            if len(self._endings) == MAX_ENDINGS:
                return
            ending = self._endings[spelling.lower()] = _Ending()
        ending.files += 1
        if len(ending.examples) < EXAMPLES:
            ending.examples.append(path)
        if len(ending.spellings) < MAX_SPELLINGS:
            ending.spellings.add(spelling)

    def describe(self) -> str:
        """Return the number of files of each ending, the greatest first."""
        endings = sorted(self._endings.items(), key=lambda item: (-item[1].files, item[0]))
        shown = [self._describe(name, ending) for name, ending in endings[:MAX_SHOWN_ENDINGS]]
        rest = self.total - sum(ending.files for _, ending in endings[:MAX_SHOWN_ENDINGS])
        return ", ".join([*shown, f"{rest:,} with other endings"] if rest else shown)

    def _describe(self, name: str, ending: _Ending) -> str:
        """Return the number of files of one ending, and what their first bytes say."""
        text = f"{ending.files:,} {name or 'without an ending'}"
        if name in RAW_EXTENSIONS:
            return f"{text} (camera RAW)"
        if not (
            self._propose and all(is_image(first_bytes(path, SIGNATURE_BYTES)) for path in ending.examples)
        ):
            return text
        if not name:
            return f"{text} (images by their content: each is taken if it is named as SRC)"
        flags = (f"--include {shlex.quote('*' + glob.escape(end))}" for end in sorted(ending.spellings))
        return f"{text} (images by their content: {' '.join(flags)} takes them, and nothing else)"


@dataclass(slots=True)
class PassedOverPaths:
    """The files and folders that a scan passed over."""

    other_files: OtherFiles
    """Files without an extension of an image, or that match no glob of `--include`."""
    excluded: int = 0
    """Files and folders that match a glob of `--exclude`."""
    system_files: int = 0
    """Files that macOS and Windows leave in folders, such as Thumbs.db."""
    system_folders: int = 0
    """Folders that macOS leaves in archives."""
    links: int = 0
    """Links to folders, which are not followed."""
    repeats: int = 0
    """Files that belong to several sources, by whatever path. Each is processed once."""
    late: int = 0
    """Images that appeared after the first pass of the scan."""
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    """Folders and entries that could not be read, each with the reason."""
    output_folders: list[Path] = field(default_factory=list)
    """Folders that hold the outputs of a run, which are not entered."""

    def as_lines(self) -> list[str]:
        """Return a line for each kind of path that was passed over."""
        lines = []
        if self.other_files.total:
            number = count(self.other_files.total, "file")
            lines.append(f"{number} passed over: {self.other_files.describe()}")
        if self.system_files or self.system_folders:
            found = ((self.system_files, "file"), (self.system_folders, "folder"))
            numbers = " and ".join(count(number, noun) for number, noun in found if number)
            lines.append(f"{numbers} of macOS or Windows passed over")
        if self.excluded:
            lines.append(f"{self.excluded:,} passed over by --exclude")
        if self.links:
            lines.append(f"{count(self.links, 'link')} to folders not followed")
        if self.repeats:
            lines.append(f"{count(self.repeats, 'file')} named several times, processed once")
        if self.late:
            lines.append(f"{count(self.late, 'image')} appeared during the run, left for the next run")
        if self.unreadable:
            lines.append(f"{count(len(self.unreadable), 'folder')} could not be read")
        lines += [f"{folder} passed over: it holds outputs of kseg-batch" for folder in self.output_folders]
        return lines

    def totals(self) -> dict[str, int]:
        """Return the number of each kind of path, for programs."""
        return {
            "other_files": self.other_files.total,
            "excluded": self.excluded,
            "system_files": self.system_files,
            "system_folders": self.system_folders,
            "links": self.links,
            "repeats": self.repeats,
            "late": self.late,
            "unreadable": len(self.unreadable),
            "output_folders": len(self.output_folders),
        }
