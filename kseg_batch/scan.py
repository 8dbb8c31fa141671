"""Which files are in, and where each one's outputs go. Nothing is opened or written here."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kseg_batch.errors import SourceError
from kseg_batch.images import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARKER = ".kseg-batch"
"""A file of this name in a folder says that kseg-batch wrote it, so that no scan enters it."""

SHOWN = 10
"""Most collisions listed in an error."""


@dataclass(frozen=True, slots=True)
class Job:
    """One image to do."""

    source: Path
    """The file to read."""
    stem: Path
    """Where its outputs go below each output kind's folder, without an extension."""


@dataclass(slots=True)
class Scan:
    """What a search found."""

    jobs: list[Job] = field(default_factory=list)
    """The images, in the order of their paths."""
    other_files: int = 0
    """Files without an image's extension."""
    links: int = 0
    """Links to folders, which are not followed."""
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    """Folders that could not be read, and why."""
    output_folders: list[Path] = field(default_factory=list)
    """Folders that hold the outputs of a run and were not entered."""


def default_output(sources: Sequence[Path]) -> Path:
    """The source's name with -kseg appended, beside it.

    Raises:
        SourceError: There is no such place, because there are several sources or the source is a root.
    """
    source = Path(os.path.abspath(sources[0]))  # noqa: PTH100 - resolve() would follow links
    if len(sources) > 1 or not source.name:
        raise SourceError("With several sources, or the root of a disk, say where to write: -o OUT.")
    return source.with_name(source.name + "-kseg")


def scan(sources: Sequence[Path], out: Path, *, full_names: bool = False) -> Scan:
    """Find the images in files and folders.

    A folder's tree is mirrored; with several sources, each folder's under its own name. Links to folders
    are not followed.

    Args:
        sources: Files, taken whatever their extension, and folders, searched for `EXTENSIONS`.
        out: The output folder, which is never entered.
        full_names: Keep the extension in output names, so that a.jpg and a.png do not collide.

    Raises:
        SourceError: A source is missing, there are no images, or two would have the same outputs.
    """
    found = Scan()
    for source in sources:
        if source.is_dir():
            name = Path(os.path.abspath(source)).name  # noqa: PTH100 - resolve() would follow links
            prefix = Path(name) if len(sources) > 1 else Path()
            for path in _walk(source, out, found):
                found.jobs.append(_job(path, prefix / path.relative_to(source), full_names))
        elif source.exists():
            found.jobs.append(_job(source, Path(source.name), full_names))
        else:
            raise SourceError(f"{source}: there is no such file or folder.")
    if not found.jobs:
        endings = " ".join(sorted(EXTENSIONS))
        raise SourceError(f"{_listed(sources)}: no images there, that is, files that end in {endings}.")
    _refuse_collisions(found.jobs)
    return found


def _job(source: Path, relative: Path, full_names: bool) -> Job:
    return Job(source, relative if full_names else relative.with_suffix(""))


def _walk(folder: Path, out: Path, found: Scan) -> Iterator[Path]:
    """The images below a folder, in the order of their paths; counts what is passed over."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        found.unreadable.append((folder, error.strerror or str(error)))
        return
    for entry in entries:
        if entry.is_dir():
            if entry.is_symlink():
                found.links += 1
            elif (entry / MARKER).exists() or (out.exists() and entry.samefile(out)):
                found.output_folders.append(entry)
            else:
                yield from _walk(entry, out, found)
        elif entry.suffix.lower() in EXTENSIONS:
            yield entry
        else:
            found.other_files += 1


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    by_stem: dict[Path, list[Path]] = defaultdict(list)
    for job in jobs:
        by_stem[job.stem].append(job.source)
    groups = [sources for sources in by_stem.values() if len(sources) > 1]
    if groups:
        lines = [f"  {_listed(sources)}" for sources in groups[:SHOWN]]
        if len(groups) > SHOWN:
            lines.append(f"  and {len(groups) - SHOWN} more")
        raise SourceError(
            "These sources would have the same outputs; --full-names keeps the extension in output names "
            "and so tells them apart:\n" + "\n".join(lines)
        )


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
