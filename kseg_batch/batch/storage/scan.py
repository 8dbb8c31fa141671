"""The scan for source images: which files are images, and the names of their outputs.

No image is opened here, and nothing is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kseg_batch.batch.storage.source import absolute
from kseg_batch.errors import SourceError, count
from kseg_batch.images.decode import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARKER = ".kseg-batch"
"""Name of the file that marks a folder of outputs, so that no scan enters the folder."""

MAX_SHOWN = 10
"""Most collisions that an error lists."""


def digest(text: str) -> bytes:
    """Return 16 bytes that stand for a path, to save memory where a million paths are remembered."""
    return blake2b(os.fsencode(text), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Job:
    """An image to segment, or to count the colours of."""

    source: Path
    """The image file."""
    stem: Path
    """Path of the outputs below the folder of each kind of output, without an extension."""
    replaces: tuple[str, ...] = ()
    """Names of outputs of an earlier run, which are removed when the new outputs are written."""

    @property
    def name(self) -> str:
        """The stem with slashes: the name of the image in the journal, unique in an output folder."""
        return self.stem.as_posix()

    @property
    def path_below_source(self) -> str:
        """The path of the image file below its source folder, with the extension."""
        return self.stem.with_name(self.source.name).as_posix()


@dataclass(frozen=True, slots=True)
class FileSelection:
    """Which files of a folder are images."""

    include: tuple[str, ...] = ()
    """Globs of the image files. If there are none, images are told by their extension."""
    exclude: tuple[str, ...] = ()
    """Globs of the files and folders to pass over."""

    def includes(self, relative: str, name: str) -> bool:
        """Return whether a file that is not excluded is an image by its name.

        Args:
            relative: The path of the file below its source folder.
            name: The name of the file.
        """
        if self.include:
            return _matches(self.include, relative, name)
        return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 - a Path costs ten times as much

    def excludes(self, relative: str, name: str) -> bool:
        """Return whether a file or folder is excluded."""
        return bool(self.exclude) and _matches(self.exclude, relative, name)


def _matches(globs: Sequence[str], relative: str, name: str) -> bool:
    """Return whether a glob matches: globs with a slash are compared with the path, others with the name."""
    return any(fnmatchcase(relative if "/" in glob else name, glob.rstrip("/")) for glob in globs)


@dataclass(slots=True)
class PassedOverPaths:
    """The files and folders that a scan passed over."""

    other_files: int = 0
    """Files without an extension of an image, or that match no glob of `--include`."""
    excluded: int = 0
    """Files and folders that match a glob of `--exclude`."""
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
        if self.other_files:
            lines.append(f"{count(self.other_files, 'file')} passed over, not images by name")
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


def default_output(sources: Sequence[Path], suffix: str) -> Path:
    """Return the default output path: the only source, with a suffix appended to its name.

    Raises:
        SourceError: There are several sources, or the source is a root folder and has no name. If one of
            several sources is missing, the error names the source.
    """
    source = Path(absolute(sources[0]))
    if len(sources) > 1 or not source.name:
        for path in sources:
            if not os.path.exists(path):  # noqa: PTH110 - False, too, for a name that no file can have
                raise _missing(path)
        raise SourceError("Several sources, or the root of a disk, need -o OUT, which says where to write.")
    return source.with_name(source.name + suffix)


def _missing(source: Path) -> SourceError:
    """Return the error for a source that does not exist."""
    return SourceError(f"{source}: there is no such file or folder.")


class Scan:
    """The images in files and folders, searched in two passes: one counts and checks, one yields the jobs.

    The first pass makes sure that no two images have the same outputs before any image is processed. Between
    the passes no list of images is kept, only 16 bytes per image. Outputs mirror the tree of a source folder;
    with several sources, the tree of each folder lies under the folder's name. Links to folders are not
    followed.

    Attributes:
        total: The number of images.
        passed_over: The files and folders that were passed over.
    """

    def __init__(
        self,
        sources: Sequence[Path],
        *,
        full_names: bool = False,
        outputs: bool = True,
        selection: FileSelection | None = None,
    ) -> None:
        """Make the first pass.

        Args:
            sources: Files, which are images whatever their name, and folders, which are searched for images.
            full_names: Whether output names keep the extension, so that a.jpg and a.png do not collide.
            outputs: Whether images have outputs. If not, none can collide, and stems are absolute paths.
            selection: Which files of the folders are images.

        Raises:
            SourceError: A source is missing, there are no images, or two images would have the same outputs.
        """
        self.passed_over = PassedOverPaths()
        self._sources = sources
        self._full_names = full_names
        self._outputs = outputs
        self._selection = selection or FileSelection()
        self._stems: set[bytes] = set()
        duplicates: set[str] = set()
        for source, relative in self._find(self.passed_over):
            stem = self._stem(source, relative)
            key = digest(stem)
            if key in self._stems:
                duplicates.add(stem)
            self._stems.add(key)
        self.total = len(self._stems)
        if duplicates:
            self._raise_collisions(duplicates)
        if not self.total and not self.passed_over.unreadable:
            self._raise_no_images()

    def jobs(self) -> Iterator[Job]:
        """Yield the images in the order of their paths; to be called once.

        Images that the first pass did not find are left out.
        """
        for source, relative in self._find(PassedOverPaths()):
            stem = self._stem(source, relative)
            key = digest(stem)
            if key in self._stems:
                self._stems.remove(key)
                yield Job(Path(source), Path(stem))
            else:
                self.passed_over.late += 1

    def paths(self) -> Iterator[Path]:
        """Yield the image files, in a pass of its own that leaves the jobs of `jobs` as they are."""
        for source, _ in self._find(PassedOverPaths()):
            yield Path(source)

    def _stem(self, source: str, relative: str) -> str:
        if not self._outputs:
            return absolute(source)
        return relative if self._full_names else os.path.splitext(relative)[0]  # noqa: PTH122

    def _find(self, passed_over: PassedOverPaths) -> Iterator[tuple[str, str]]:
        """Yield each image's path, and its path below the folder of a kind of output, with the extension."""
        known: set[bytes] = set()
        for source, relative in self._find_all(passed_over):
            if len(self._sources) > 1:
                key = digest(os.path.realpath(source))
                if key in known:
                    passed_over.repeats += 1
                    continue
                known.add(key)
            yield source, relative

    def _find_all(self, passed_over: PassedOverPaths) -> Iterator[tuple[str, str]]:
        """Yield the same as `_find`, but a file of several sources several times."""
        for source in self._sources:
            try:
                if source.is_dir():
                    name = Path(absolute(source)).name
                    prefix = f"{name}/" if len(self._sources) > 1 else ""
                    for path, relative in self._walk(str(source), "", passed_over):
                        yield path, prefix + relative
                elif source.exists():
                    yield str(source), source.name
                else:
                    raise _missing(source)
            except OSError as error:
                raise SourceError(f"{source} cannot be read: {error.strerror}.") from error

    def _walk(self, folder: str, prefix: str, passed_over: PassedOverPaths) -> Iterator[tuple[str, str]]:
        """Yield the path of each image in a folder, and its path below the source, in the order of the paths.

        Args:
            folder: The folder.
            prefix: The path of the folder below the source, with a slash at the end if it is not empty.
            passed_over: The record of paths that are passed over.
        """
        try:
            with os.scandir(folder) as entries:
                listing = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            passed_over.unreadable.append((Path(folder), error.strerror or str(error)))
            return
        for entry in listing:
            relative = prefix + entry.name
            try:
                if self._selection.excludes(relative, entry.name):
                    passed_over.excluded += 1
                elif not entry.is_dir():
                    if self._selection.includes(relative, entry.name):
                        yield entry.path, relative
                    else:
                        passed_over.other_files += 1
                elif entry.is_symlink():
                    passed_over.links += 1
                elif Path(entry.path, MARKER).exists():
                    passed_over.output_folders.append(Path(entry.path))
                else:
                    yield from self._walk(entry.path, f"{relative}/", passed_over)
            except OSError as error:
                passed_over.unreadable.append((Path(entry.path), error.strerror or str(error)))

    def _raise_collisions(self, duplicates: set[str]) -> NoReturn:
        """Raise a SourceError that names the images with the same outputs.

        Args:
            duplicates: The stems that several images have.
        """
        groups: dict[str, list[Path]] = {stem: [] for stem in duplicates}
        for source, relative in self._find(PassedOverPaths()):
            if (stem := self._stem(source, relative)) in groups:
                groups[stem].append(Path(source))
        collisions = [group for group in groups.values() if len(group) > 1]
        lines = [f"  {_join(group)}" for group in sorted(collisions)[:MAX_SHOWN]]
        if len(collisions) > MAX_SHOWN:
            lines.append(f"  and {len(collisions) - MAX_SHOWN} more")
        if all(len({source.name for source in group}) == len(group) for group in collisions):
            remedy = "--full-names keeps the extension in output names and so tells them apart"
        else:
            remedy = "segment them in separate runs, each with its own -o OUT"
        raise SourceError(f"These sources would have the same outputs; {remedy}:\n" + "\n".join(lines))

    def _raise_no_images(self) -> NoReturn:
        """Raise a SourceError that says which names an image has, and what was passed over."""
        passed_over = "".join(f"; {line}" for line in self.passed_over.as_lines())
        globs = self._selection.include
        condition = f"match {' '.join(globs)}" if globs else f"end in {' '.join(sorted(EXTENSIONS))}"
        raise SourceError(
            f"{_join(self._sources)}: no images there, that is, files that {condition}{passed_over}."
        )


def _join(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
