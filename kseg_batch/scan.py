"""Which files are in, and where each one's outputs go. Nothing is opened or written here."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kseg_batch.decoding import EXTENSIONS
from kseg_batch.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARKER = ".kseg-batch"
"""A file of this name in a folder says that kseg-batch wrote all in it, so that no scan enters it."""

SHOWN = 10
"""Most collisions listed in an error."""


def count(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
    """Folders that could not be searched, or entries of them, and why."""
    output_folders: list[Path] = field(default_factory=list)
    """Folders that hold the outputs of a run and were not entered."""

    def passed_over(self) -> list[str]:
        """What was left aside, in words."""
        texts = []
        if self.other_files:
            texts.append(f"{count(self.other_files, 'file')} passed over, not images by name")
        if self.links:
            texts.append(f"{count(self.links, 'link')} to folders not followed")
        if self.unreadable:
            texts.append(f"{count(len(self.unreadable), 'folder')} could not be read")
        texts += [f"{folder} passed over: it holds outputs of kseg-batch" for folder in self.output_folders]
        return texts


def default_output(sources: Sequence[Path]) -> Path:
    """The source's name with -kseg appended, beside it.

    Raises:
        SourceError: There is no such place, because there are several sources or the source is a root.
    """
    source = Path(os.path.abspath(sources[0]))  # noqa: PTH100 - resolve() would follow links
    if len(sources) > 1 or not source.name:
        raise SourceError("With several sources, or the root of a disk, say where to write: -o OUT.")
    return source.with_name(source.name + "-kseg")


def scan(sources: Sequence[Path], *, full_names: bool = False) -> Scan:
    """Find the images in files and folders.

    A folder's tree is mirrored; with several sources, each folder's under its own name. Links to folders
    are not followed.

    Args:
        sources: Files, taken whatever their extension, and folders, searched for `EXTENSIONS`.
        full_names: Keep the extension in output names, so that a.jpg and a.png do not collide.

    Raises:
        SourceError: A source is missing, there are no images, or two would have the same outputs.
    """
    found = Scan()
    for source in sources:
        try:
            if source.is_dir():
                name = Path(os.path.abspath(source)).name  # noqa: PTH100 - resolve() would follow links
                prefix = Path(name) if len(sources) > 1 else Path()
                for path in _walk(source, found):
                    found.jobs.append(_job(path, prefix / path.relative_to(source), full_names))
            elif source.exists():
                found.jobs.append(_job(source, Path(source.name), full_names))
            else:
                raise SourceError(f"{source}: there is no such file or folder.")
        except OSError as error:
            raise SourceError(f"{source} cannot be read: {error.strerror}.") from error
    if not found.jobs:
        endings = " ".join(sorted(EXTENSIONS))
        passed = "".join(f"; {text}" for text in found.passed_over())
        raise SourceError(
            f"{_listed(sources)}: no images there, that is, files that end in {endings}{passed}."
        )
    if len(sources) > 1:
        found.jobs = _without_repeats(found.jobs)
    _refuse_collisions(found.jobs)
    return found


def _job(source: Path, relative: Path, full_names: bool) -> Job:
    return Job(source, relative if full_names else relative.with_suffix(""))


def _without_repeats(jobs: Sequence[Job]) -> list[Job]:
    """The jobs without those whose file is that of one before them, by whatever path."""
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(os.path.realpath(job.source), job)
    return list(first.values())


def _walk(folder: Path, found: Scan) -> Iterator[Path]:
    """The images below a folder, in the order of their paths; counts what is passed over."""
    try:
        with os.scandir(folder) as entries:
            listing = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.unreadable.append((folder, error.strerror or str(error)))
        return
    for entry in listing:
        path = Path(entry.path)
        try:
            if not entry.is_dir():
                if path.suffix.lower() in EXTENSIONS:
                    yield path
                else:
                    found.other_files += 1
            elif entry.is_symlink():
                found.links += 1
            elif (path / MARKER).exists():
                found.output_folders.append(path)
            else:
                yield from _walk(path, found)
        except OSError as error:
            found.unreadable.append((path, error.strerror or str(error)))


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    by_stem: dict[Path, list[Path]] = defaultdict(list)
    for job in jobs:
        by_stem[job.stem].append(job.source)
    groups = [sources for sources in by_stem.values() if len(sources) > 1]
    if not groups:
        return
    lines = [f"  {_listed(sources)}" for sources in groups[:SHOWN]]
    if len(groups) > SHOWN:
        lines.append(f"  and {len(groups) - SHOWN} more")
    if all(len({source.name for source in sources}) == len(sources) for sources in groups):
        remedy = "--full-names keeps the extension in output names and so tells them apart"
    else:
        remedy = "segment them in runs of their own, each with its own -o OUT"
    raise SourceError(f"These sources would have the same outputs; {remedy}:\n" + "\n".join(lines))


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
